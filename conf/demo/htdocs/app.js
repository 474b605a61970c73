// The page of conf/quickstart: a front end for mod_social_auth, without dependencies.
// config.json, written by conf/quickstart, says where the API and the providers are.

const $ = (id) => document.getElementById(id);
const store = {
  get: (key) => JSON.parse(sessionStorage.getItem(key)),
  set: (key, value) => sessionStorage.setItem(key, JSON.stringify(value)),
  take(key) {
    const value = this.get(key);
    sessionStorage.removeItem(key);
    return value;
  },
};

let config;
let tokens = store.get("tokens");   // {access, refresh} or null
let refreshing = null;              // one refresh at a time, whoever asks

class ApiError extends Error {
  constructor(status, body) {
    super(sentence(body) || `The server answered ${status}.`);
    this.status = status;
    this.word = body?.error;
  }
}

// The first thing a person can read in an error body: {detail}, {message: []},
// {non_field_errors: []} or {field: []}.
function sentence(body) {
  if (!body) {
    return "";
  }
  if (body.detail) {
    return body.detail;
  }
  const general = body.message ?? body.non_field_errors;
  if (general) {
    return [general].flat().join(" ");
  }
  return Object.entries(body)
    .filter(([key]) => key !== "error")
    .map(([field, texts]) => `${field}: ${[texts].flat().join(" ")}`)
    .join(" ");
}

// ---- the API

async function send(method, path, { body, bearer } = {}) {
  const headers = { Accept: "application/json" };
  if (body) {
    headers["Content-Type"] = "application/json";
  }
  if (bearer) {
    headers.Authorization = `Bearer ${bearer}`;
  }
  const started = performance.now();
  const response = await fetch(config.api + path, {
    method, headers, body: body && JSON.stringify(body),
  }).catch(() => null);
  note(method, path, response, performance.now() - started);
  if (!response) {
    throw new Error("The server cannot be reached. Is quickstart still running?");
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok) {
    throw new ApiError(response.status, answer);
  }
  return answer;
}

// With the access token; an expired one is refreshed once, and the request sent again.
async function sendSignedIn(method, path, body) {
  try {
    return await send(method, path, { body, bearer: tokens.access });
  } catch (error) {
    if (error.word !== "token_not_valid") {
      throw error;
    }
    await refresh();
    return send(method, path, { body, bearer: tokens.access });
  }
}

function refresh() {
  refreshing ??= send("POST", "/token/refresh/", { body: { refresh: tokens.refresh } })
    .then((answer) => keep({ ...tokens, ...answer }))
    .catch((error) => {
      if (error.status === 401) {
        keep(null);
      }
      throw error;
    })
    .finally(() => { refreshing = null; });
  return refreshing;
}

function keep(pair) {
  tokens = pair;
  if (pair) {
    store.set("tokens", pair);
  } else {
    sessionStorage.removeItem("tokens");
  }
}

// ---- to the provider and back

function base64url(bytes) {
  return btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

async function pkce() {
  const verifier = base64url(crypto.getRandomValues(new Uint8Array(32)));
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  return { verifier, challenge: base64url(hash) };
}

// purpose: "login" or "link"
async function leaveFor(provider, purpose) {
  const query = new URLSearchParams({
    client_id: provider.client_id,
    redirect_uri: config.redirect_uri,
    scope: provider.scope,
  });
  const trip = { provider: provider.name, purpose };
  let path = `/${provider.name}/state/`;
  if (provider.flow === "code") {
    const { verifier, challenge } = await pkce();
    const proof = { code_challenge: challenge, code_challenge_method: "S256" };
    path += `?${new URLSearchParams(proof)}`;
    for (const [name, value] of Object.entries({ response_type: "code", ...proof })) {
      query.set(name, value);
    }
    trip.verifier = verifier;
  }
  const answer = purpose === "link" ? await sendSignedIn("GET", path) : await send("GET", path);
  query.set("state", answer.state);
  if (provider.flow === "id_token") {
    query.set("response_type", "id_token");
    query.set("nonce", answer.nonce);
  }
  trip.state = answer.state;
  store.set("trip", trip);
  location.assign(`${provider.authorize_url}?${query}`);
}

// What the provider put into our address, or null. It is removed from the address bar.
function broughtBack() {
  const found = new URLSearchParams(location.hash.slice(1) || location.search);
  if (!["code", "id_token", "error"].some((name) => found.has(name))) {
    return null;
  }
  history.replaceState(null, "", location.pathname);
  return found;
}

async function arrive(found) {
  const trip = store.take("trip");
  if (!trip || found.get("state") !== trip.state) {
    throw new Error("That answer belongs to no sign-in started in this tab. Please try again.");
  }
  const provider = config.providers.find(({ name }) => name === trip.provider);
  if (found.has("error")) {
    throw new Error(found.get("error") === "access_denied"
      ? `You cancelled at ${provider.label}.`
      : `${provider.label} answered: ${found.get("error_description") ?? found.get("error")}.`);
  }
  const body = { state: trip.state };
  if (provider.flow === "code") {
    body.code = found.get("code");
    body.code_verifier = trip.verifier;
    body.redirect_uri = config.redirect_uri;
  } else {
    body.token = found.get("id_token");
  }
  const path = `/${provider.name}/${trip.purpose}/`;
  if (trip.purpose === "link") {
    await sendSignedIn("POST", path, body);
    return `${provider.label} is linked.`;
  }
  keep(await send("POST", path, { body }));
  return `Signed in with ${provider.label}.`;
}

// ---- what is on the page

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function note(method, path, response, ms) {
  const [route] = path.split("?");
  const row = element("li", { className: response?.ok ? "" : "failed" },
    element("b", {}, String(response?.status ?? "–")),
    element("span", {}, `${method} ${config.api}${route}`),
    element("i", {}, `${Math.round(ms)} ms`));
  $("requests").prepend(row);
  $("no-requests").hidden = true;
  const rows = [...$("requests").children].slice(0, 12);
  $("requests").replaceChildren(...rows);
  store.set("requests", rows.map((li) =>
    [li.className, ...[...li.children].map((child) => child.textContent)]));
}

function restoreRequests() {
  for (const [className, status, what, took] of store.get("requests") ?? []) {
    $("requests").append(element("li", { className }, element("b", {}, status),
      element("span", {}, what), element("i", {}, took)));
  }
  $("no-requests").hidden = $("requests").children.length > 0;
}

function claimsOf(token) {
  const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
  const bytes = Uint8Array.from(atob(payload), (c) => c.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes));
}

function time(seconds) {
  return new Date(seconds * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

function badge(label) {
  const capitals = label.replace(/[^A-Z]/g, "").slice(0, 2) || label[0];
  const made = element("span", { className: "badge" }, capitals);
  made.setAttribute("aria-hidden", "true");
  return made;
}

function showTokens() {
  const access = claimsOf(tokens.access);
  const rows = [["access", access], ["refresh", claimsOf(tokens.refresh)]];
  const before = [...$("tokens").querySelectorAll("td:first-of-type")].map((td) => td.title);
  $("tokens").replaceChildren(...rows.map(([name, claims], i) => {
    const changed = before[i] && before[i] !== claims.jti;
    return element("tr", { id: `token-${name}` },
      element("th", { scope: "row" }, name),
      element("td", { className: changed ? "new" : "", title: claims.jti },
        `${claims.jti.slice(0, 13)}… ${changed ? "(new)" : ""}`),
      element("td", {}, time(claims.exp)));
  }));
  $("claims").textContent = JSON.stringify(access, null, 2);
  $("who").textContent =
    `User ${access.user_id}, session until ${time(claimsOf(tokens.refresh).exp)}`;
}

async function showAccounts() {
  const { providers } = await sendSignedIn("GET", "/linked-accounts/");
  $("accounts").replaceChildren(...providers.map((account) => {
    const provider = config.providers.find(({ name, label }) =>
      account.name ? name === account.name : label === account.label);
    const button = element("button", { type: "button" }, account.is_linked ? "Unlink" : "Link");
    button.setAttribute("aria-label", `${button.textContent} ${account.label}`);
    button.addEventListener("click", () => run(button, () =>
      account.is_linked ? unlink(provider) : leaveFor(provider, "link")));
    return element("li", { id: `account-${provider.name}`,
      className: account.is_linked ? "linked" : "" },
      badge(account.label),
      element("div", {}, account.label, element("small", {},
        account.is_linked ? account.email ?? "linked" : "not linked")),
      button);
  }));
}

async function unlink(provider) {
  await sendSignedIn("POST", `/${provider.name}/unlink/`);
  await show();
  return `${provider.label} is no longer linked.`;
}

async function show() {
  if (tokens) {
    await showAccounts();
  }
  if (tokens) {
    showTokens();
  } else {
    $("tokens").replaceChildren();
    $("accounts").replaceChildren();
  }
  $("signed-out").hidden = Boolean(tokens);
  $("signed-in").hidden = !tokens;
}

// Runs what somebody asked for; it returns the sentence to show.
async function run(button, task) {
  $("message").hidden = true;
  $("status").textContent = "";
  $("main").setAttribute("aria-busy", "true");
  if (button) {
    button.disabled = true;
  }
  try {
    $("status").textContent = await task() ?? "";
  } catch (error) {
    await fail(error);
  } finally {
    $("main").setAttribute("aria-busy", "false");
    if (button) {
      button.disabled = false;
    }
  }
}

async function fail(error) {
  $("message").textContent = error.message;
  $("message").hidden = false;
  if (tokens && error.word === "token_not_valid") {
    keep(null);
  }
  await show().catch(() => {
    $("signed-out").hidden = Boolean(tokens);
    $("signed-in").hidden = !tokens;
  });
  $("message").focus();
}

function prepare() {
  $("where").textContent = location.origin + config.api;
  $("demo-note").hidden = !config.providers.some(({ demo }) => demo);
  for (const provider of config.providers) {
    const button = element("button", { type: "button", id: `login-${provider.name}` },
      badge(provider.label),
      `Continue with ${provider.label}${provider.demo ? " (demo)" : ""}`);
    button.addEventListener("click", () => run(button, () => leaveFor(provider, "login")));
    $("sign-in-with").append(button);
  }
  $("password-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const form = event.target;
    run(form.querySelector("button"), async () => {
      keep(await send("POST", "/token/", { body: Object.fromEntries(new FormData(form)) }));
      form.reset();
      await show();
      return "Signed in with a password.";
    });
  });
  $("refresh").addEventListener("click", () => run($("refresh"), async () => {
    await refresh();
    showTokens();
    return "The tokens are new.";
  }));
  $("sign-out").addEventListener("click", () => run($("sign-out"), async () => {
    const { refresh: token } = tokens;
    keep(null);
    await show();
    await send("POST", "/token/blacklist/", { body: { refresh: token } });
    return "Signed out; the refresh token is dead.";
  }));
}

async function start() {
  const found = broughtBack();
  config = await (await fetch("config.json")).json();
  prepare();
  restoreRequests();
  await run(null, async () => {
    const done = found ? await arrive(found) : "";
    await show();
    return done;
  });
}

start().catch(() => {
  $("main").setAttribute("aria-busy", "false");
  $("message").textContent = "config.json cannot be read. Did conf/quickstart make this page?";
  $("message").hidden = false;
});
