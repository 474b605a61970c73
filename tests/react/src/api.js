// The API, as drf-social-oauth2's front ends call it: tokens in localStorage, or, with
// config.credentials, in cookies that only the server reads.
import axios from "axios";

const STORE = "tokens";

const isRefusal = (error) => [400, 401].includes(error.response?.status);
const stored = () => JSON.parse(localStorage.getItem(STORE) ?? "null");

export function makeApi(config) {
  const api = axios.create({ baseURL: config.api, withCredentials: config.credentials });
  let tokens = stored();
  let refreshing = null;
  let generation = 0;       // of the tokens: which ones a request was sent with

  function keep(answer) {
    generation += 1;
    tokens = answer && !config.credentials ? answer : null;
    if (tokens) {
      localStorage.setItem(STORE, JSON.stringify(tokens));
    } else {
      localStorage.removeItem(STORE);
    }
  }

  async function grant(path, fields) {
    const { data } = await api.post(path, { client_id: config.clientId, ...fields },
      { isGrant: true });
    keep(data);
  }

  /** What another tab has stored. */
  function adopt() {
    generation += 1;
    tokens = stored();
  }

  addEventListener("storage", adopt);

  /** One tab at a time: another may just have done it. */
  async function exchange() {
    if (stored()?.refresh_token !== tokens?.refresh_token) {
      adopt();
      return;
    }
    try {
      await grant("token", { grant_type: "refresh_token", refresh_token: tokens?.refresh_token });
    } catch (error) {
      if (isRefusal(error)) {
        keep(null);
      }
      throw error;
    }
  }

  function refresh() {
    refreshing ??= navigator.locks.request(STORE, exchange).finally(() => { refreshing = null; });
    return refreshing;
  }

  api.interceptors.request.use((request) => {
    request.generation = generation;
    if (tokens && !request.isGrant) {
      request.headers.set("Authorization", `Bearer ${tokens.access_token}`);
    }
    return request;
  });

  api.interceptors.response.use(undefined, async (error) => {
    const { config: request, response } = error;
    if (response?.status !== 401 || request.isGrant || request.isRetry
        || !(tokens || config.credentials)) {
      throw error;
    }
    if (request.generation === generation) {
      await refresh().catch((reason) => { throw isRefusal(reason) ? error : reason; });
    }
    return api.request({ ...request, isRetry: true });
  });

  const get = async (path) => (await api.get(path)).data;

  return {
    signIn: (username, password) => grant("token", { grant_type: "password", username, password }),
    convert: (backend, token) =>
      grant("convert-token", { grant_type: "convert_token", backend, token }),
    async signUp(user) {
      await api.post("create/", user, { isGrant: true });
      await this.signIn(user.email, user.password);
    },
    async signOut() {
      if (config.credentials) {
        await refresh();        // the server finds the session by an access cookie that is not old
      }
      await api.post("revoke-token", { client_id: config.clientId });
      keep(null);
    },
    /** All at once, as a page does that shows everything. */
    async account() {
      const [user, linked, sessions] = await Promise.all(
        ["currentUser/", "linked-accounts/", "sessions/"].map(get));
      return { user, providers: linked.providers, sessions };
    },
  };
}

/** The first thing in an answer that a person can read. */
export function sentence(error) {
  const body = error.response?.data;
  if (!body) {
    return error.message;
  }
  return body.error_description ?? body.detail
    ?? Object.values(body).flat().filter((text) => typeof text === "string")[0];
}
