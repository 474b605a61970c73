// The page of conf/quickstart: a front end for mod_social_auth with its own client, social-auth.js.
// config.json, written by conf/quickstart, says where the API and the providers are.
import { keepIn, SocialAuth } from "./social-auth.js";

const $ = (id) => document.getElementById(id);
const store = {
  get: (key) => JSON.parse(sessionStorage.getItem(key)),
  set: (key, value) => sessionStorage.setItem(key, JSON.stringify(value)),
};

let config;
let auth;

// What the page asks is shown on it.
async function notedFetch(request) {
  const started = performance.now();
  const response = await fetch(request).catch(() => null);
  note(request.method, new URL(request.url).pathname, response, performance.now() - started);
  if (!response) {
    throw new TypeError("Failed to fetch");
  }
  return response;
}

const settingsOf = (provider) => ({
  name: provider.name, flow: provider.flow, scope: provider.scope, clientId: provider.client_id,
  authorizeUrl: provider.authorize_url, redirectUri: config.redirect_uri,
});

const providerNamed = (wanted) => config.providers.find(({ name }) => name === wanted);

async function comeBack() {
  const trip = await auth.finish();
  const label = trip && providerNamed(trip.provider).label;
  return !trip ? "" : trip.purpose === "link" ? `${label} is linked.` : `Signed in with ${label}.`;
}

// What to tell somebody about it.
function sentence(error) {
  if (error.code === "unreachable") {
    return "The server cannot be reached. Is quickstart still running?";
  }
  if (!error.provider) {
    return error.message;
  }
  const { label } = providerNamed(error.provider);
  return error.code === "access_denied"
    ? `You cancelled at ${label}.` : `${label} answered: ${error.message}.`;
}

// ---- what is on the page

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function note(method, path, response, ms) {
  const row = element("li", { className: response?.ok ? "" : "failed" },
    element("b", {}, String(response?.status ?? "–")),
    element("span", {}, `${method} ${path}`),
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
  const { tokens } = auth;
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
  const accounts = await auth.linkedAccounts();
  $("accounts").replaceChildren(...accounts.map((account) => {
    const provider = config.providers.find(({ name, label }) =>
      account.name ? name === account.name : label === account.label);
    const button = element("button", { type: "button" }, account.is_linked ? "Unlink" : "Link");
    button.setAttribute("aria-label", `${button.textContent} ${account.label}`);
    button.addEventListener("click", () => run(button, () =>
      account.is_linked ? unlink(provider) : auth.link(settingsOf(provider))));
    return element("li", { id: `account-${provider.name}`,
      className: account.is_linked ? "linked" : "" },
      badge(account.label),
      element("div", {}, account.label, element("small", {},
        account.is_linked ? account.email ?? "linked" : "not linked")),
      button);
  }));
}

async function unlink(provider) {
  await auth.unlink(provider.name);
  return `${provider.label} is no longer linked.`;
}

function showWhoIsIn() {
  $("signed-out").hidden = auth.isSignedIn;
  $("signed-in").hidden = !auth.isSignedIn;
}

async function show() {
  if (auth.isSignedIn) {
    await showAccounts();
  }
  if (auth.isSignedIn) {
    showTokens();
  } else {
    $("tokens").replaceChildren();
    $("accounts").replaceChildren();
  }
  showWhoIsIn();
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
    const done = await task();
    await show();
    $("status").textContent = done;
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
  $("message").textContent = sentence(error);
  $("message").hidden = false;
  await show().catch(showWhoIsIn);
  $("message").focus();
}

function prepare() {
  $("where").textContent = location.origin + config.api;
  $("demo-note").hidden = !config.providers.some(({ demo }) => demo);
  for (const provider of config.providers) {
    const button = element("button", { type: "button", id: `login-${provider.name}` },
      badge(provider.label),
      `Continue with ${provider.label}${provider.demo ? " (demo)" : ""}`);
    button.addEventListener("click", () =>
      run(button, () => auth.signInWith(settingsOf(provider))));
    $("sign-in-with").append(button);
  }
  $("password-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const form = event.target;
    run(form.querySelector("button"), async () => {
      await auth.signIn(Object.fromEntries(new FormData(form)));
      form.reset();
      return "Signed in with a password.";
    });
  });
  $("refresh").addEventListener("click", () => run($("refresh"), async () => {
    await auth.refresh();
    return "The tokens are new.";
  }));
  $("sign-out").addEventListener("click", () => run($("sign-out"), async () => {
    await auth.signOut();
    return "Signed out; the refresh token is dead.";
  }));
}

async function start() {
  config = await (await fetch("config.json")).json();
  auth = new SocialAuth({
    api: config.api, fetch: notedFetch,
    store: keepIn(sessionStorage, { access: true }),
  });
  prepare();
  restoreRequests();
  await run(null, async () => {
    await auth.restore();
    return comeBack();
  });
  auth.onChange(() => $("main").getAttribute("aria-busy") === "true" || show().catch(fail));
}

start().catch(() => {
  $("main").setAttribute("aria-busy", "false");
  $("message").textContent = "config.json cannot be read. Did conf/quickstart make this page?";
  $("message").hidden = false;
});
