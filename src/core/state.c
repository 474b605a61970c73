#include "core/state.h"
#include "core/base64url.h"
#include "core/crypto.h"
#include "core/json.h"

#include <apr_strings.h>
#include <openssl/evp.h>
#include <string.h>

#define STATE_VERSION 1
#define NONCE_BYTES 16
#define NONCE_LEN 22
#define CHALLENGE_LEN 43
#define FUTURE_MAX 5            /* seconds the clocks of two servers may differ */

static int is_base64url(const char *text, apr_size_t len)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    return strlen(text) == len && strspn(text, alphabet) == len;
}

static char *signature(apr_pool_t *p, const unsigned char *key, const char *payload,
                       apr_size_t len)
{
    unsigned char mac[SA_SHA256_LEN];

    sa_hmac_sha256(key, SA_STATE_KEY_LEN, payload, len, mac);
    return sa_base64url_encode(p, mac, sizeof(mac));
}

/* --- making --- */

static char *payload_text(apr_pool_t *p, const sa_state_t *state)
{
    json_t *payload = sa_json_own(p, json_pack("{s:i, s:s, s:s, s:I, s:s, s:s*, s:s*, s:s*}",
                                               "v", STATE_VERSION,
                                               "p", state->provider,
                                               "u", state->purpose,
                                               "t", (json_int_t)state->issued,
                                               "n", state->nonce,
                                               "c", state->challenge,
                                               "s", state->user,
                                               "r", state->next));
    /* jansson leaves out an optional member that it cannot allocate; these bind the state. */
    size_t wanted = 5u + (state->challenge != NULL) + (state->user != NULL)
                    + (state->next != NULL);
    char *text = json_object_size(payload) == wanted ? sa_json_dump(p, payload) : NULL;

    return text ? sa_base64url_encode(p, text, strlen(text)) : NULL;
}

char *sa_state_make(apr_pool_t *p, const unsigned char key[SA_STATE_KEY_LEN],
                    sa_state_t *state, apr_int64_t now)
{
    char *payload, *text;

    state->issued = now;
    state->nonce = sa_random_text(p, NONCE_BYTES);
    if (!state->nonce || !(payload = payload_text(p, state))) {
        return NULL;
    }
    text = apr_pstrcat(p, payload, ".", signature(p, key, payload, strlen(payload)), NULL);
    if (strlen(text) > SA_STATE_MAX) {
        return NULL;
    }
    sa_sha256(text, strlen(text), state->id);
    return text;
}

/* --- checking --- */

/* The payload of a state whose signature holds, else NULL and *why. */
static json_t *open_state(apr_pool_t *p, const unsigned char *key, const char *text,
                          const char **why)
{
    const char *dot = strchr(text, '.');
    const char *mac;
    unsigned char *data;
    apr_size_t len;
    json_t *payload;

    if (!dot) {
        *why = "state is malformed";
        return NULL;
    }
    mac = signature(p, key, text, (apr_size_t)(dot - text));
    if (!sa_equal(mac, strlen(mac), dot + 1, strlen(dot + 1))) {
        *why = "state signature does not match";
        return NULL;
    }
    if (sa_base64url_decode(&data, &len, p, text, (apr_size_t)(dot - text)) != APR_SUCCESS
        || !(payload = sa_json_parse(p, (const char *)data, len, why))
        || !json_is_object(payload)) {
        *why = "state payload is malformed";
        return NULL;
    }
    return payload;
}

static int has_text(const json_t *payload, const char *member, const char *expected)
{
    const char *text = sa_json_string(payload, member);

    return text && !strcmp(text, expected);
}

/* An optional member must be absent or text. */
static int take_optional(const json_t *payload, const char *member, const char **value)
{
    *value = sa_json_string(payload, member);
    return *value || !json_object_get(payload, member);
}

static const char *fill(const json_t *payload, sa_state_t *state)
{
    const json_t *issued = json_object_get(payload, "t");

    state->nonce = sa_json_string(payload, "n");
    if (!json_is_integer(issued) || !state->nonce || !is_base64url(state->nonce, NONCE_LEN)
        || !take_optional(payload, "c", &state->challenge)
        || !take_optional(payload, "s", &state->user)
        || !take_optional(payload, "r", &state->next)
        || (state->challenge && !sa_pkce_challenge_valid(state->challenge))) {
        return "state payload is malformed";
    }
    state->issued = (apr_int64_t)json_integer_value(issued);
    return NULL;
}

const char *sa_state_check(apr_pool_t *p, const unsigned char key[SA_STATE_KEY_LEN],
                           const char *text, const char *provider, const char *purpose,
                           apr_int64_t now, int max_age, sa_state_t *state)
{
    const char *why = NULL;
    apr_size_t len = text ? strnlen(text, SA_STATE_MAX + 1) : 0;
    json_t *payload;

    memset(state, 0, sizeof(*state));
    if (!len || len > SA_STATE_MAX) {
        return len ? "state is too long" : "state is missing";
    }
    payload = open_state(p, key, text, &why);
    if (!payload) {
        return why;
    }
    if (json_integer_value(json_object_get(payload, "v")) != STATE_VERSION) {
        return "state has another version";
    }
    if (!has_text(payload, "p", provider)) {
        return "state is for another provider";
    }
    if (!has_text(payload, "u", purpose)) {
        return "state is for another purpose";
    }
    why = fill(payload, state);
    if (why) {
        return why;
    }
    if (state->issued > now + FUTURE_MAX) {
        return "state was issued in the future";
    }
    if (state->issued < now - max_age) {
        return "state has expired";
    }
    state->provider = sa_json_string(payload, "p");
    state->purpose = sa_json_string(payload, "u");
    sa_sha256(text, len, state->id);
    return NULL;
}

/* --- PKCE --- */

int sa_pkce_verifier_valid(const char *text)
{
    static const char unreserved[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    apr_size_t len = strnlen(text, 129);

    return len >= 43 && len <= 128 && strspn(text, unreserved) == len;
}

int sa_pkce_challenge_valid(const char *text)
{
    return text && is_base64url(text, CHALLENGE_LEN)
           && strchr("AEIMQUYcgkosw048", text[CHALLENGE_LEN - 1]);      /* 256 bits end there */
}

char *sa_pkce_challenge(apr_pool_t *p, const char *verifier)
{
    unsigned char digest[SA_SHA256_LEN];

    sa_sha256(verifier, strlen(verifier), digest);
    return sa_base64url_encode(p, digest, sizeof(digest));
}

int sa_pkce_matches(const char *verifier, const char *challenge)
{
    unsigned char digest[SA_SHA256_LEN];
    unsigned char expected[CHALLENGE_LEN + 2];      /* "=" and NUL */

    if (!verifier || !challenge || !sa_pkce_verifier_valid(verifier)) {
        return 0;
    }
    sa_sha256(verifier, strlen(verifier), digest);
    EVP_EncodeBlock(expected, digest, sizeof(digest));
    for (int i = 0; i < CHALLENGE_LEN; i++) {
        expected[i] = expected[i] == '+' ? '-' : expected[i] == '/' ? '_' : expected[i];
    }
    return sa_equal(expected, CHALLENGE_LEN, challenge, strlen(challenge));
}
