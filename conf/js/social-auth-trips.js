// @ts-check
// To a provider and back: RFC 6749 section 4.1 with RFC 7636, or an ID token in the fragment.
import { SocialAuthError } from "./social-auth-answers.js";

/**
 * redirectUri: a page of this origin that calls finish(), registered at the provider and, for
 * codes, in redirect-uri= of SocialAuthProvider; the current page unless given.
 * @typedef {{
 *   name: string, authorizeUrl: string, clientId: string, scope: string,
 *   flow?: "code" | "id_token", redirectUri?: string, parameters?: Record<string, string>,
 * }} Provider
 */
/** @typedef {"login" | "link"} Purpose */
/**
 * from: the address that somebody left for the provider.
 * @typedef {{
 *   state: string, provider: string, purpose: Purpose, from: string, redirectUri: string,
 *   verifier: string,
 * }} Trip
 */
/** @typedef {Record<string, string>} Found  what a provider put into our address */
const TRIP = "social-auth-trip";
const POPUP_POLL_MS = 250;
// RFC 6749, RFC 9207, OpenID Connect, and Google's: not of the redirect URI.
const ANSWER = ["code", "state", "id_token", "error", "error_description", "error_uri", "iss",
  "session_state", "scope", "authuser", "prompt", "hd"];

/** @param {ArrayBuffer | Uint8Array} bytes */
function base64url(bytes) {
  return btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** RFC 7636. */
export async function makeProof() {
  const verifier = base64url(crypto.getRandomValues(new Uint8Array(32)));
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  return {
    verifier,
    query: { code_challenge: base64url(hash), code_challenge_method: "S256" },
  };
}

/**
 * Takes the provider's answer out of the address bar.
 * @returns {Found | null}
 */
export function takeFound() {
  const inHash = location.hash.includes("state=");
  const found = new URLSearchParams(inHash ? location.hash.slice(1) : location.search);
  if (!found.has("state") || !["code", "id_token", "error"].some((name) => found.has(name))) {
    return null;
  }
  const rest = new URL(location.href);
  rest.hash = "";
  if (!inHash) {
    ANSWER.forEach((name) => rest.searchParams.delete(name));
  }
  history.replaceState(history.state, "", rest);
  return Object.fromEntries(found);
}

/** @param {Trip} trip for the page that this tab will come back to */
export function keepTrip(trip) {
  sessionStorage.setItem(TRIP, JSON.stringify(trip));
}

/** @param {Found} found the trip of this tab that it ends */
export function takeTrip(found) {
  /** @type {Trip | null} */
  const trip = JSON.parse(sessionStorage.getItem(TRIP) ?? "null");
  if (trip?.state !== found.state) {
    return null;
  }
  sessionStorage.removeItem(TRIP);
  return trip;
}

/**
 * What finish() sends from the popup.
 * @param {Window} popup
 * @param {Trip} trip
 * @returns {Promise<Found>}
 */
export function foundBy(popup, trip) {
  const origin = new URL(trip.redirectUri).origin;
  return new Promise((resolve, reject) => {
    /** @param {MessageEvent} event */
    function hear(event) {
      if (event.origin === origin && event.source === popup && event.data?.state === trip.state) {
        clearInterval(watch);
        removeEventListener("message", hear);
        resolve(event.data);
      }
    }
    const watch = setInterval(() => {
      if (popup.closed) {
        clearInterval(watch);
        removeEventListener("message", hear);
        reject(new SocialAuthError("popup_closed", "The window was closed before it was done."));
      }
    }, POPUP_POLL_MS);
    addEventListener("message", hear);
  });
}
