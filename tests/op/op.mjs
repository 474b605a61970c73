// npm's oidc-provider playing Google (or any OpenID provider) for the tests.
//
//   node op.mjs --port 4443 --issuer https://localhost:4443 --cert chain.pem --cert-key leaf.key \
//       --client ID:SECRET --redirect https://app.test/callback [--google] [--lean] …
//
// The pages are plain forms: whoever types a name is that person. Commands come as JSON lines on
// standard input, each answered by one JSON line; the end of standard input ends the process.
//   {"do": "person", "login": "ada", "claims": {…}}    what is said of ada from now on
//   {"do": "rotate", "drop": false}                    a new key signs; drop: the old ones go
//   {"do": "asked"}                                    ["GET /jwks", …] so far
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { exportJWK, generateKeyPair } from 'jose';
import { Provider } from 'oidc-provider';
import { Memory } from './memory.mjs';

const { values: options } = parseArgs({
  options: {
    port: { type: 'string' },
    address: { type: 'string', default: '127.0.0.1' },
    issuer: { type: 'string' },
    cert: { type: 'string' },
    'cert-key': { type: 'string' },
    client: { type: 'string', multiple: true },
    redirect: { type: 'string', multiple: true },
    alg: { type: 'string', default: 'RS256' },
    google: { type: 'boolean', default: false },    // Google's paths, and azp in ID tokens
    lean: { type: 'boolean', default: false },      // e-mail and names in userinfo only
  },
});

const GOOGLE_ROUTES = {
  authorization: '/o/oauth2/v2/auth',
  token: '/token',
  jwks: '/oauth2/v3/certs',
  userinfo: '/v1/userinfo',
};

// ---- people

const people = new Map();       // login -> claims that differ from the usual ones
const logins = new Map();       // sub -> login

function claimsOf(login) {
  const digits = createHash('sha256').update(login).digest('hex').replace(/\D/g, '');
  return {
    sub: `1${digits.slice(0, 20).padStart(20, '7')}`,
    email: `${login}@gmail.com`,
    email_verified: true,
    name: `${login[0].toUpperCase()}${login.slice(1)} Tester`,
    given_name: `${login[0].toUpperCase()}${login.slice(1)}`,
    family_name: 'Tester',
    ...people.get(login),
  };
}

// ---- keys; a Provider's are fixed, so a rotation makes a new Provider over the same store

const store = new Map();
let keys = [];
let made = 0;
let provider;
let answer;

async function addKey() {
  const { privateKey } = await generateKeyPair(options.alg, { extractable: true });
  made += 1;
  keys.unshift({ ...await exportJWK(privateKey), kid: `op-${made}`, use: 'sig', alg: options.alg });
}

function configuration() {
  return {
    adapter: class extends Memory {
      constructor(kind) {
        super(kind, store);
      }
    },
    jwks: { keys },
    conformIdTokenClaims: options.lean,
    routes: options.google ? GOOGLE_ROUTES : {},
    clients: options.client.map((client) => ({
      client_id: client.split(':')[0],
      client_secret: client.split(':')[1],
      redirect_uris: options.redirect,
      grant_types: ['authorization_code', 'implicit'],
      response_types: ['code', 'id_token'],
      token_endpoint_auth_method: 'client_secret_post',
      id_token_signed_response_alg: options.alg,
    })),
    responseTypes: ['code', 'id_token'],
    scopes: ['openid', 'email', 'profile'],
    claims: {
      openid: ['sub', 'azp', 'hd'],
      email: ['email', 'email_verified'],
      profile: ['name', 'given_name', 'family_name'],
    },
    enabledJWA: { idTokenSigningAlgValues: [options.alg] },
    pkce: { required: () => false },
    allowOmittingSingleRegisteredRedirectUri: false,
    cookies: { keys: ['only for tests'] },
    ttl: {
      AccessToken: 3600,
      AuthorizationCode: 60,
      Grant: 3600,
      IdToken: 3600,
      Interaction: 600,
      Session: 3600,
    },
    features: { devInteractions: { enabled: false } },
    // oidc-provider's own page asks for fonts elsewhere
    async renderError(ctx, { error, error_description: description }) {
      ctx.type = 'text/plain';
      ctx.body = `${error}: ${description}`;
    },
    interactions: { url: (ctx, interaction) => `/sign-in/${interaction.uid}` },
    async findAccount(ctx, sub) {
      const login = logins.get(sub);
      const azp = options.google ? { azp: ctx.oidc.client?.clientId } : {};
      return login && { accountId: sub, claims: async () => ({ ...claimsOf(login), ...azp }) };
    },
    async loadExistingGrant(ctx) {      // nobody is asked for consent
      const { client, session } = ctx.oidc;
      const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
      grant.addOIDCScope('openid email profile');
      await grant.save();
      return grant;
    },
  };
}

function build() {
  provider = new Provider(options.issuer, configuration());
  provider.proxy = true;
  provider.on('server_error', (ctx, error) => console.error(error));
  answer = provider.callback();
}

// ---- the sign-in page

async function readForm(request) {
  let body = '';
  for await (const chunk of request) {
    body += chunk;
  }
  return new URLSearchParams(body);
}

async function signIn(request, response) {
  if (request.method !== 'POST') {
    await provider.interactionDetails(request, response);
    response.setHeader('Content-Type', 'text/html');
    response.end('<!doctype html><title>Sign in</title><form method="post"><input name="login">'
      + '<button>Sign in</button><button name="no" value="1">Cancel</button></form>');
    return;
  }
  const form = await readForm(request);
  if (form.has('no')) {
    await provider.interactionFinished(request, response, { error: 'access_denied' });
    return;
  }
  const { sub } = claimsOf(form.get('login'));
  logins.set(sub, form.get('login'));
  await provider.interactionFinished(request, response, { login: { accountId: sub } });
}

// ---- the server

const asked = [];

async function serve(request, response) {
  const { pathname } = new URL(request.url, options.issuer);
  asked.push(`${request.method} ${pathname}`);
  try {
    if (pathname.startsWith('/sign-in/')) {
      await signIn(request, response);
    } else {
      await answer(request, response);
    }
  } catch (error) {
    console.error(error);
    response.statusCode = 500;
    response.end();
  }
}

const commands = {
  person({ login, claims }) {
    people.set(login, claims);
    return claimsOf(login);
  },
  async rotate({ drop }) {
    if (drop) {
      keys = [];
    }
    await addKey();
    build();
    return keys.map(({ kid }) => kid);
  },
  asked: () => asked,
};

async function obey() {
  for await (const line of createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    console.log(JSON.stringify(await commands[command.do](command)));
  }
  process.exit(0);
}

await addKey();
build();
const tls = options.cert && {
  cert: readFileSync(options.cert),
  key: readFileSync(options['cert-key']),
};
const server = tls ? https.createServer(tls, serve) : http.createServer(serve);
server.listen(Number(options.port), options.address, () => console.log('"ready"'));
await obey();
