// @ts-check
// A front end's side of mod_social_auth, without dependencies: an ES module for browsers.
//
//   import { SocialAuth, keepIn } from "./social-auth.js";
//   const auth = new SocialAuth({ api: "/api/social-auth", store: keepIn(localStorage) });
//   await auth.restore();                       // is somebody signed in already?
//   await auth.finish();                        // comes somebody back from a provider?
//   await auth.signIn({ email, password });
//   const answer = await auth.fetch("/app/data");
//
// The page that people come back to from a provider, after signInWith(), is to be listed in
// redirect-uri= of SocialAuthProvider. All tabs of an origin are one session. The files
// social-auth-*.js belong beside this one.
import { expect, isRefusal, read, SocialAuthError } from "./social-auth-answers.js";
import { keepIn, SharedSession } from "./social-auth-tabs.js";
import { foundBy, keepTrip, makeProof, takeFound, takeTrip } from "./social-auth-trips.js";

export { keepIn, SocialAuthError };

/** @typedef {import("./social-auth-tabs.js").Tokens} Tokens */
/** @typedef {import("./social-auth-tabs.js").Store} Store */
/** @typedef {import("./social-auth-trips.js").Provider} Provider */
/** @typedef {import("./social-auth-trips.js").Purpose} Purpose */
/** @typedef {import("./social-auth-trips.js").Trip} Trip */
/** @typedef {import("./social-auth-trips.js").Found} Found */

/**
 * api: the mount's URL. delivery: as the server's SocialAuthTokenDelivery has it. client: the
 * application, for the OAuth2 dialect. store: what outlives the page; nothing does without.
 * origins: who gets the access token from fetch() besides the page's and the API's own origin.
 * credentials: the page is on another origin, which SocialAuthAllowCredentials lets send cookies.
 * @typedef {{
 *   api: string, delivery?: "json" | "cookie", client?: {id: string, secret?: string},
 *   store?: Store, origins?: string[], credentials?: boolean,
 *   fetch?: (request: Request) => Promise<Response>,
 * }} Options
 */
/**
 * association_id: for disconnect-backend, with a client.
 * @typedef {{
 *   label: string, name: string, is_linked: boolean, email: string | null,
 *   linked_at: string | null, association_id?: number,
 * }} LinkedAccount
 */

const CLOSE_MS = 1000;          // when the page that opened the popup does not close it
const CALL_MS = 30_000;         // no tab may keep the others waiting for longer

/**
 * @template T
 * @param {Promise<T>} promise
 * @param {AbortSignal} signal ends the waiting, not what is waited for
 * @returns {Promise<T>}
 */
function wait(promise, signal) {
  return Promise.race([promise, new Promise((_, reject) => {
    signal.throwIfAborted();
    signal.addEventListener("abort", () => reject(signal.reason));
  })]);
}

export class SocialAuth {
  /** @type {Promise<void> | null} */
  #refreshing = null;
  #api;
  #options;
  #isCookie;
  #trusted;
  #session;

  /** @param {Options} options */
  constructor(options) {
    this.#options = options;
    this.#api = new URL(options.api, location.href).href.replace(/\/$/, "");
    this.#isCookie = options.delivery === "cookie";
    this.#trusted = new Set([location.origin, new URL(this.#api).origin, ...options.origins ?? []]);
    const client = options.client ? ` ${options.client.id}` : "";
    this.#session = new SharedSession(`social-auth${client} ${this.#api}`, options.store,
      this.#isCookie ? {} : null);
  }

  /** Cookies are not seen: until restore() or a first answer says otherwise, they are assumed. */
  get isSignedIn() {
    return this.#session.tokens !== null;
  }

  /** @returns {Readonly<Tokens> | null} */
  get tokens() {
    return this.#session.tokens;
  }

  /**
   * The tokens have changed, here or in another tab.
   * @param {() => void} listener
   * @returns {() => void} ends it
   */
  onChange(listener) {
    this.#session.addEventListener("change", listener);
    return () => this.#session.removeEventListener("change", listener);
  }

  close() {
    this.#session.close();
  }

  // ---- requests

  /** @param {Request} request */
  #fetch(request) {
    return this.#options.fetch ? this.#options.fetch(request) : fetch(request);
  }

  /** @param {string} method @param {string} path @param {object} [body] */
  #request(method, path, body) {
    /** @type {Record<string, string>} */
    const headers = { Accept: "application/json" };
    if (method !== "GET") {
      headers["Content-Type"] = "application/json";
    }
    return new Request(this.#api + path, {
      method, headers,
      body: method === "GET" ? undefined : JSON.stringify(body ?? {}),
      credentials: this.#isCookie || this.#options.credentials ? "include" : "same-origin",
      signal: AbortSignal.timeout(CALL_MS),
    });
  }

  /** @param {string} method @param {string} path @param {object} [body] @returns {Promise<any>} */
  async #call(method, path, body, fetch = (/** @type {Request} */ r) => this.#fetch(r)) {
    try {
      return await read(await fetch(this.#request(method, path, body)));
    } catch (error) {
      throw error instanceof TypeError
          || error instanceof DOMException && error.name === "TimeoutError"
        ? new SocialAuthError("unreachable", "The server cannot be reached.") : error;
    }
  }

  /** @param {string} method @param {string} path @param {object} [body] @returns {Promise<any>} */
  #callSignedIn(method, path, body) {
    return this.#call(method, path, body, (request) => this.fetch(request));
  }

  /** @param {Request} request */
  #sendSignedIn(request) {
    if (!this.#isCookie) {
      request.headers.set("Authorization", `Bearer ${this.#session.tokens?.access}`);
      return this.#fetch(request);
    }
    if (!["GET", "HEAD"].includes(request.method)) {
      request.headers.set("X-Requested-With", "XMLHttpRequest");    // no form can: CSRF
    }
    return this.#fetch(new Request(request, { credentials: "include" }));
  }

  /**
   * fetch() as the one who is signed in. When the access token has run out it is refreshed, once
   * for all who wait for it, and the request sent again. A 401 that comes back is final.
   * @param {RequestInfo | URL} input
   * @param {RequestInit} [init]
   * @returns {Promise<Response>}
   */
  async fetch(input, init) {
    const request = new Request(input, init);
    if (!this.#session.tokens || request.headers.has("Authorization")
        || !this.#trusted.has(new URL(request.url).origin)) {
      return this.#fetch(request);
    }
    if (this.#lacksAccess()) {
      await wait(this.#refreshIfAlive(this.#session.turn), request.signal);
    }
    const { turn, tokens } = this.#session;
    if (!tokens) {
      return this.#fetch(request);
    }
    const answer = await this.#sendSignedIn(request.clone());
    if (answer.status !== 401) {
      return answer;
    }
    await wait(this.#refreshIfAlive(turn), request.signal);
    return this.#session.tokens ? this.#sendSignedIn(request) : answer;
  }

  // ---- refreshing

  /** As when the store has given the tokens. */
  #lacksAccess() {
    const { tokens } = this.#session;
    return tokens !== null && !this.#isCookie && !tokens.access;
  }

  /** New tokens now; fails when the session is over. */
  refresh() {
    return this.#refresh(this.#session.turn);
  }

  /** @param {number} turn of the tokens that are too old */
  #refresh(turn) {
    const isDue = () => this.#session.turn === turn || this.#lacksAccess();
    if (!isDue()) {
      return Promise.resolve();
    }
    this.#refreshing ??= this.#session.alone(async () => {
      if (isDue()) {
        await this.#exchange();
      }
    }).finally(() => { this.#refreshing = null; });
    return this.#refreshing;
  }

  /** @param {number} turn */
  async #refreshIfAlive(turn) {
    await this.#refresh(turn).catch((error) => {
      if (!isRefusal(error)) {
        throw error;
      }
    });
  }

  #clientFields() {
    const { client } = this.#options;
    return client
      ? { client_id: client.id, ...client.secret && { client_secret: client.secret } } : {};
  }

  /** @param {boolean} rest @returns {Promise<Tokens>} */
  async #renew(rest) {
    const refresh = this.#session.tokens?.refresh;
    const answer = await (rest
      ? this.#call("POST", "/token/refresh/", { refresh })
      : this.#call("POST", "/token",
        { grant_type: "refresh_token", refresh_token: refresh, ...this.#clientFields() }));
    return this.#tokensOf(answer, rest, refresh);
  }

  /** Cookies do not tell whose they are: when one dialect refuses them, the other may not. */
  async #exchange() {
    const { client } = this.#options;
    const rest = !client || Boolean(this.#session.tokens?.rest);
    try {
      await this.#session.become(await this.#renew(rest).catch((error) => {
        if (!client || !this.#isCookie || !isRefusal(error)) {
          throw error;
        }
        return this.#renew(!rest);
      }));
    } catch (error) {
      if (isRefusal(error) && this.#session.tokens) {
        await this.#session.become(null);
      }
      throw error;
    }
  }

  /**
   * Of both dialects. Without rotation the refresh token stays as it was.
   * @param {any} answer
   * @param {boolean} rest
   * @param {string} [refresh]
   * @returns {Tokens}
   */
  #tokensOf(answer, rest, refresh) {
    /** @type {Tokens} */
    const tokens = rest && this.#options.client ? { rest } : {};
    expect(answer);
    return this.#isCookie ? tokens : {
      ...tokens,
      access: expect(answer.access ?? answer.access_token),
      refresh: answer.refresh ?? answer.refresh_token ?? refresh,
    };
  }

  /** @param {any} answer */
  async #signedIn(answer, rest = false) {
    await this.#session.alone(() => this.#session.become(this.#tokensOf(answer, rest)));
  }

  // ---- signing in and out

  /**
   * Whether somebody is signed in, as another tab, the store or the cookies know.
   * @returns {Promise<boolean>}
   */
  async restore() {
    if (this.#isCookie) {
      await this.#askTheCookies();
    } else {
      await this.#session.alone(async () => {});
    }
    if (this.#lacksAccess()) {
      await this.#refreshIfAlive(this.#session.turn);
    }
    return this.isSignedIn;
  }

  /** They may have changed without this module: another tab's word is not asked for. */
  async #askTheCookies() {
    if (!this.#session.tokens) {
      await this.#refreshIfAlive(this.#session.turn);
      return;
    }
    try {
      await this.linkedAccounts();
      if (!this.#session.turn) {
        await this.#session.alone(() => this.#session.become({}));
      }
    } catch (error) {
      if (!isRefusal(error)) {
        throw error;
      }
    }
  }

  /** @param {{email?: string, username?: string, password: string}} who */
  async signIn({ email, username, password }) {
    await this.#signedIn(await (this.#options.client
      ? this.#call("POST", "/token",
        { grant_type: "password", username: email ?? username, password, ...this.#clientFields() })
      : this.#call("POST", "/token/", { email, username, password })));
  }

  /**
   * With what the provider's own script gave the page: an ID token, or with a client its access
   * token.
   * @param {string} provider
   * @param {string} token
   */
  async signInWithToken(provider, token) {
    await this.#signedIn(await (this.#options.client
      ? this.#call("POST", "/convert-token",
        { grant_type: "convert_token", backend: provider, token, ...this.#clientFields() })
      : this.#call("POST", `/${provider}/login/`, { token })));
  }

  /**
   * @param {{email: string, username: string, first_name: string, last_name?: string,
   *   password: string}} fields
   * @returns {Promise<boolean>} whether the new user is signed in already
   */
  async register(fields) {
    const answer = await this.#call("POST", "/create/", { ...fields, ...this.#clientFields() });
    if (answer) {
      await this.#signedIn(answer);
    }
    return Boolean(answer);
  }

  /** In all tabs. Without the server's answer, tokens in cookies stay. */
  async signOut() {
    await this.#session.alone(async () => {
      const { tokens } = this.#session;
      if (tokens && !this.#isCookie) {
        await this.#session.become(null);
      }
      if (tokens) {
        await this.#end(tokens).catch((error) => {
          if (!isRefusal(error)) {
            throw error;
          }
        });
      }
      if (this.#session.tokens) {
        await this.#session.become(null);
      }
    });
  }

  /** @param {Tokens} tokens */
  async #end({ refresh, rest }) {
    const { client } = this.#options;
    if (client && this.#isCookie) {
      await this.#exchange();       // revoke-token sees the access cookie only, which may be old
      rest = this.#session.tokens?.rest;
    }
    await (client && !rest
      ? this.#call("POST", "/revoke-token", { token: refresh, ...this.#clientFields() })
      : this.#call("POST", "/token/blacklist/", { refresh }));
  }

  // ---- providers

  /**
   * Resolves when somebody is signed in by the popup; without popup the page is left, and
   * finish() goes on. Ask for a popup in a click's handler: browsers block others.
   * @param {Provider} provider
   */
  async signInWith(provider, { popup = false } = {}) {
    return popup ? this.#byPopup(provider, "login") : this.#byRedirect(provider, "login");
  }

  /**
   * As signInWith(), for the account of the one who is signed in.
   * @param {Provider} provider
   */
  async link(provider, { popup = false } = {}) {
    return popup ? this.#byPopup(provider, "link") : this.#byRedirect(provider, "link");
  }

  /** @param {string} provider @param {string} [password] */
  async unlink(provider, password) {
    await this.#callSignedIn("POST", `/${provider}/unlink/`, { password });
  }

  /** @returns {Promise<LinkedAccount[]>} */
  async linkedAccounts() {
    return expect((await this.#callSignedIn("GET", "/linked-accounts/"))?.providers);
  }

  /**
   * For the page at redirectUri, when it has loaded: does what the provider's answer is for. In
   * a popup it hands the answer to the page that waits for it, and never returns.
   * @returns {Promise<Trip | null>} null when there is no answer in the address
   */
  async finish() {
    const found = takeFound();
    const trip = found && takeTrip(found);
    if (found && !trip && window.opener) {
      window.opener.postMessage(found, location.origin);
      setTimeout(() => window.close(), CLOSE_MS);
      return new Promise(() => {});
    }
    if (found && !trip) {
      throw new SocialAuthError("unknown_sign_in",
        "That answer belongs to no sign-in started in this tab. Please try again.");
    }
    if (found && trip) {
      await this.#arrive(trip, found);
    }
    return trip;
  }

  /** @param {Provider} provider @param {Purpose} purpose @returns {Promise<never>} */
  async #byRedirect(provider, purpose) {
    const { url, trip } = await this.#prepare(provider, purpose);
    keepTrip(trip);
    location.assign(url);
    return new Promise(() => {});
  }

  /** @param {Provider} provider @param {Purpose} purpose */
  async #byPopup(provider, purpose) {
    const popup = window.open("", "_blank", "popup,width=520,height=680");
    if (!popup) {
      throw new SocialAuthError("popup_blocked", "The browser did not open a window.");
    }
    try {
      const { url, trip } = await this.#prepare(provider, purpose);
      popup.location.replace(url);
      const found = await foundBy(popup, trip);
      await this.#arrive(trip, found);
    } finally {
      popup.close();
    }
  }

  /** @param {Provider} provider @param {Purpose} purpose */
  async #prepare(provider, purpose) {
    const redirectUri = provider.redirectUri ?? location.origin + location.pathname;
    const proof = await makeProof();
    const path = `/${provider.name}/state/?${new URLSearchParams(proof.query)}`;
    const { state, nonce } = expect(purpose === "link"
      ? await this.#callSignedIn("GET", path) : await this.#call("GET", path));
    const url = new URL(provider.authorizeUrl);
    const query = {
      client_id: provider.clientId, redirect_uri: redirectUri, scope: provider.scope,
      state: expect(state),
      response_type: provider.flow ?? "code", ...nonce && { nonce },
      ...provider.flow !== "id_token" && proof.query, ...provider.parameters,
    };
    Object.entries(query).forEach(([name, value]) => url.searchParams.set(name, value));
    /** @type {Trip} */
    const trip = {
      state, provider: provider.name, purpose, from: location.href, redirectUri,
      verifier: proof.verifier,
    };
    return { url: url.href, trip };
  }

  /** @param {Trip} trip @param {Found} found */
  async #arrive({ state, provider, purpose, redirectUri, verifier }, found) {
    if (found.error) {
      throw new SocialAuthError(found.error, found.error_description ?? found.error, { provider });
    }
    const body = {
      state, code_verifier: verifier,
      ...found.id_token
        ? { token: found.id_token } : { code: found.code, redirect_uri: redirectUri },
    };
    const path = `/${provider}/${purpose}/`;
    if (purpose === "link") {
      if (!this.isSignedIn) {
        await this.restore();       // the page is new, and the tokens may be in another tab
      }
      await this.#callSignedIn("POST", path, body);
    } else {
      await this.#signedIn(await this.#call("POST", path, body), true);
    }
  }
}
