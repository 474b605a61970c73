// A front end as people write them for django-social-auth-rest: fetch, two tokens in storage, a
// refresh when an access token has run out. It was not written for this server.
//
//   node front_end.mjs API [stores-refresh] [origin=https://app.test]
//
// With origin= it is on another origin than the API, and the browser's part (preflights, no
// cookies, answers it may not read) is played here too.
// What to do comes as JSON lines on standard input, [method, ...arguments]; each is answered by
// one JSON line: {"result": …} or {"problem": what it shows its user, "status": …}.
import { createInterface } from 'node:readline';

const api = process.argv[2];
const options = process.argv.slice(3);
const storesRefresh = options.includes('stores-refresh');
const origin = options.find((option) => option.startsWith('origin='))?.slice(7);
const cookies = new Map();      // a browser would keep these
const storage = new Map();      // localStorage

class ApiError extends Error {
  constructor(response, body) {
    super(ApiError.sentence(body));
    this.status = response.status;
    this.code = body?.code;
  }

  // The keys django-social-auth-rest and DRF document; there are no others to know of.
  static sentence(body) {
    const fields = Object.entries(body ?? {}).find(([, value]) => Array.isArray(value));
    return body?.message?.[0] ?? body?.non_field_errors?.[0] ?? body?.detail
      ?? (fields ? `${fields[0]}: ${fields[1][0]}` : 'Something went wrong.');
  }
}

// ---- the browser, for a page on another origin

function mayRead(response) {
  const allowed = response.headers.get('Access-Control-Allow-Origin');
  if (allowed !== origin && allowed !== '*') {
    throw new TypeError('Failed to fetch');
  }
}

function words(response, name) {
  return (response.headers.get(name) ?? '').toLowerCase().split(',').map((word) => word.trim());
}

async function preflight(method, url, headers) {
  const asked = Object.keys(headers).map((name) => name.toLowerCase())
    .filter((name) => ['authorization', 'content-type'].includes(name));
  if (asked.length === 0) {
    return;
  }
  const response = await fetch(url, {
    method: 'OPTIONS',
    headers: {
      Origin: origin,
      'Access-Control-Request-Method': method,
      'Access-Control-Request-Headers': asked.join(','),
    },
  });
  mayRead(response);
  const isSimple = ['GET', 'HEAD', 'POST'].includes(method);
  if (!response.ok
    || !(isSimple || words(response, 'Access-Control-Allow-Methods').includes(method.toLowerCase()))
    || !asked.every((name) => words(response, 'Access-Control-Allow-Headers').includes(name))) {
    throw new TypeError('Failed to fetch');
  }
}

async function browserFetch(url, { method, headers, body }) {
  if (origin) {
    await preflight(method, url, headers);
    const response = await fetch(url, { method, headers: { ...headers, Origin: origin }, body });
    mayRead(response);
    return response;
  }
  const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
  const sent = cookie ? { ...headers, Cookie: cookie } : headers;
  const response = await fetch(url, { method, headers: sent, body });
  for (const line of response.headers.getSetCookie()) {
    const [, name, value] = /^([^=]*)=([^;]*)/.exec(line);
    if (value === '' || /; *max-age=0\b/i.test(line)) {
      cookies.delete(name);
    } else {
      cookies.set(name, value);
    }
  }
  return response;
}

// ---- the page

async function call(method, path, body, token) {
  const headers = { Accept: 'application/json' };
  if (body) {
    headers['Content-Type'] = 'application/json';
  }
  if (token) {
    headers.Authorization = `Bearer ${token}`;
  }
  const response = await browserFetch(api + path, {
    method, headers, body: body && JSON.stringify(body),
  });
  const answer = response.status === 204 ? null : await response.json();
  if (!response.ok) {
    throw new ApiError(response, answer);
  }
  return answer;
}

function signOut() {
  storage.clear();
}

async function refresh() {
  try {
    const answer = await call('POST', '/token/refresh/', { refresh: storage.get('refresh') });
    storage.set('access', answer.access);
    if (storesRefresh && answer.refresh) {
      storage.set('refresh', answer.refresh);
    }
  } catch (error) {
    if (error.status === 401) {
      signOut();
    }
    throw error;
  }
}

async function signedInCall(method, path, body) {
  try {
    return await call(method, path, body, storage.get('access'));
  } catch (error) {
    if (error.status !== 401 || error.code !== 'token_not_valid') {
      throw error;
    }
    await refresh();
    return call(method, path, body, storage.get('access'));
  }
}

function keep({ access, refresh: token }) {
  storage.set('access', access);
  storage.set('refresh', token);
}

const page = {
  async loginWithGithub(code) {
    const { state } = await call('GET', '/github/state/');
    keep(await call('POST', '/github/login/', { code, state }));
  },
  async loginWithGoogle(token) {
    keep(await call('POST', '/google/login/', { token }));
  },
  async loginWithStolenState(code, state) {
    keep(await call('POST', '/github/login/', { code, state }));
  },
  async loginWithPassword(username, password) {
    keep(await call('POST', '/token/', { username, password }));
  },
  async linkGithub(code) {
    const { state } = await call('GET', '/github/state/');
    await signedInCall('POST', '/github/link/', { code, state });
  },
  async linkGoogle(token) {
    await signedInCall('POST', '/google/link/', { token });
  },
  async unlink(provider) {
    await signedInCall('POST', `/${provider}/unlink/`);
  },
  async accounts() {
    const { providers } = await signedInCall('GET', '/linked-accounts/');
    return Object.fromEntries(providers.map(({ label, is_linked: linked }) => [label, linked]));
  },
  async isStillGood() {
    await call('POST', '/token/verify/', { token: storage.get('access') });
  },
  async leave() {
    await call('POST', '/token/blacklist/', { refresh: storage.get('refresh') });
    signOut();
  },
  refresh,
  async isSignedIn() {
    return storage.has('access');
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...rest] = JSON.parse(line);
  try {
    console.log(JSON.stringify({ result: await page[name](...rest) ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ problem: error.message, status: error.status ?? 0 }));
  }
}
