// @ts-check
// What mod_social_auth answers, and what is wrong with it.

/**
 * code: the server's machine word, or unreachable, unexpected_answer, unknown_sign_in,
 * popup_blocked, popup_closed, or the provider's own (access_denied). status: of HTTP, 0 without
 * an answer. retryAfter: seconds. fields: the texts by field. provider: the one that refused.
 */
export class SocialAuthError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{status?: number, retryAfter?: number | null, fields?: Record<string, string[]>,
   *   provider?: string | null}} more
   */
  constructor(code, message, { status = 0, retryAfter = null, fields = {}, provider = null } = {}) {
    super(message);
    this.name = "SocialAuthError";
    this.code = code;
    this.status = status;
    this.retryAfter = retryAfter;
    this.fields = fields;
    this.provider = provider;
  }
}

/** @param {any} body */
function fieldsOf(body) {
  return Object.fromEntries(Object.entries(body ?? {}).filter(([name, texts]) =>
    Array.isArray(texts) && !["message", "messages", "non_field_errors"].includes(name)));
}

/** @param {any} body the first thing in it that a person can read */
function sentenceOf(body) {
  const general = body?.detail ?? body?.message ?? body?.non_field_errors
    ?? body?.error_description;
  return general
    ? [general].flat().join(" ")
    : Object.entries(fieldsOf(body)).map(([name, texts]) => `${name}: ${texts.join(" ")}`)
      .join(" ");
}

/** @param {string | null} header */
function secondsOf(header) {
  const seconds = header === null ? NaN : /^\d+$/.test(header) ? Number(header)
    : Math.ceil((Date.parse(header) - Date.now()) / 1000);
  return Number.isNaN(seconds) ? null : Math.max(0, seconds);
}

/**
 * @template T
 * @param {T | null | undefined} part of an answer, which it must have
 * @returns {T}
 */
export function expect(part) {
  if (part === null || part === undefined) {
    throw new SocialAuthError("unexpected_answer", "The server answered something else.");
  }
  return part;
}

/** @param {Response} response */
export async function read(response) {
  const text = await response.text();
  let body = null;
  try {
    body = text ? JSON.parse(text) : null;
  } catch {
    // A proxy's page, say: no body that we know.
  }
  if (response.ok) {
    return text ? expect(body) : null;
  }
  throw new SocialAuthError(
    typeof body?.error === "string" ? body.error : "unexpected_answer",
    sentenceOf(body) || `The server answered ${response.status}.`,
    {
      status: response.status,
      retryAfter: secondsOf(response.headers.get("Retry-After")),
      fields: fieldsOf(body),
    });
}

/** @param {unknown} error whether the refresh token is no good any more */
export function isRefusal(error) {
  return error instanceof SocialAuthError && [400, 401].includes(error.status)
    && error.code !== "invalid_client";
}
