// What independent OAuth 2.0 clients do with an authorization server.
//
//   node oauth_clients.mjs openid-client|oauth4webapi
//
// Reads {"issuer","client_id","client_secret"?,"redirect_uri","cookie","username"?,"password"?} from standard
// input; cookie is that of a browser that is signed in. Writes {"step": tokens or what it saw, …}.
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';

const given = JSON.parse(await new Promise((resolve) => {
  let text = '';
  process.stdin.on('data', (data) => { text += data; }).on('end', () => resolve(text));
}));
const metadata = new URL(`${given.issuer}/.well-known/oauth-authorization-server`);
const seen = {};

async function browse(url) {
  const response = await fetch(url, { headers: { Cookie: given.cookie }, redirect: 'manual' });
  return new URL(response.headers.get('Location'));
}

async function openidClient() {
  const authentication = given.client_secret ? openid.ClientSecretBasic(given.client_secret) : openid.None();
  const config = await openid.discovery(metadata, given.client_id, undefined, authentication,
                                        { execute: [openid.allowInsecureRequests] });
  const verifier = openid.randomPKCECodeVerifier();
  const state = openid.randomState();
  const url = openid.buildAuthorizationUrl(config, {
    redirect_uri: given.redirect_uri, scope: 'read', state, code_challenge_method: 'S256',
    code_challenge: await openid.calculatePKCECodeChallenge(verifier),
  });
  seen.code = await openid.authorizationCodeGrant(config, await browse(url),
                                                  { pkceCodeVerifier: verifier, expectedState: state });
  seen.refresh = await openid.refreshTokenGrant(config, seen.code.refresh_token);
  if (given.client_secret) {
    seen.credentials = await openid.clientCredentialsGrant(config, { scope: 'write' });
    seen.password = await openid.genericGrantRequest(config, 'password',
                                                     { username: given.username, password: given.password });
    seen.introspected = await openid.tokenIntrospection(config, seen.refresh.access_token);
  }
  await openid.tokenRevocation(config, seen.refresh.refresh_token);
  seen.dead = await openid.refreshTokenGrant(config, seen.refresh.refresh_token).catch((e) => e.error);
  url.searchParams.set('scope', 'admin');
  const refused = await browse(url);
  seen.refused = await openid.authorizationCodeGrant(config, refused, { expectedState: state })
    .catch((e) => e.error);
}

async function oauth4webapi() {
  const insecure = { [oauth.allowInsecureRequests]: true };
  const client = { client_id: given.client_id };
  const authentication = given.client_secret ? oauth.ClientSecretPost(given.client_secret) : oauth.None();
  const server = await oauth.processDiscoveryResponse(new URL(given.issuer), await fetch(metadata));
  const verifier = oauth.generateRandomCodeVerifier();
  const state = oauth.generateRandomState();
  const url = new URL(server.authorization_endpoint);
  url.search = new URLSearchParams({
    response_type: 'code', client_id: given.client_id, redirect_uri: given.redirect_uri, state, scope: 'read',
    code_challenge_method: 'S256', code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
  });
  const callback = oauth.validateAuthResponse(server, client, await browse(url), state);
  seen.code = await oauth.processAuthorizationCodeResponse(
    server, client, await oauth.authorizationCodeGrantRequest(
      server, client, authentication, callback, given.redirect_uri, verifier, insecure));
  const refresh = async (token) => oauth.processRefreshTokenResponse(
    server, client, await oauth.refreshTokenGrantRequest(server, client, authentication, token, insecure));
  seen.refresh = await refresh(seen.code.refresh_token);
  if (given.client_secret) {
    seen.credentials = await oauth.processClientCredentialsResponse(
      server, client, await oauth.clientCredentialsGrantRequest(
        server, client, authentication, { scope: 'write' }, insecure));
    seen.password = await oauth.processGenericTokenEndpointResponse(
      server, client, await oauth.genericTokenEndpointRequest(
        server, client, authentication, 'password',
        { username: given.username, password: given.password }, insecure));
    seen.introspected = await oauth.processIntrospectionResponse(
      server, client, await oauth.introspectionRequest(
        server, client, authentication, seen.refresh.access_token, insecure));
  }
  await oauth.processRevocationResponse(await oauth.revocationRequest(
    server, client, authentication, seen.refresh.refresh_token, insecure));
  seen.dead = await refresh(seen.refresh.refresh_token).catch((e) => e.error);
  url.searchParams.set('scope', 'admin');
  try {
    oauth.validateAuthResponse(server, client, await browse(url), state);
  } catch (e) {
    seen.refused = e.error;
  }
}

await { 'openid-client': openidClient, oauth4webapi }[process.argv[2]]();
console.log(JSON.stringify(seen));
