#include "providers/id_token.h"

#include "core/base64url.h"
#include "core/crypto.h"
#include "core/json.h"
#include "core/text.h"
#include "providers/common.h"

#include <apr_strings.h>
#include <string.h>
#include <strings.h>

#define GOOGLE_BARE "accounts.google.com"       /* iss of some of Google's tokens */

int sa_is_google(const sa_provider_t *provider)
{
    return !strcmp(provider->issuer, SA_GOOGLE);
}

/* ---- checks: each returns NULL or why it failed ---- */

static const char *check_issuer(const sa_provider_t *provider, const json_t *claims)
{
    const char *iss = sa_json_string(claims, "iss");

    if (iss && (!strcmp(iss, provider->issuer) ||
                (sa_is_google(provider) && !strcmp(iss, GOOGLE_BARE)))) {
        return NULL;
    }
    return "iss is not the configured issuer";
}

/* Every audience must be one of our clients: a token that others may use as well is none for us. */
const char *sa_check_audience(const sa_provider_t *provider, const json_t *claims)
{
    const json_t *aud = json_object_get(claims, "aud");
    const json_t *azp = json_object_get(claims, "azp");
    apr_size_t count = json_is_array(aud) ? json_array_size(aud) : 1;

    for (apr_size_t i = 0; i < count; ++i) {
        const json_t *one = json_is_array(aud) ? json_array_get(aud, i) : aud;
        if (!json_is_string(one) ||
            !sa_list_has(provider->client_ids, json_string_value(one))) {
            return "aud is not one of our client ids";
        }
    }
    if (count == 0) {
        return "aud is empty";
    }
    if (count > 1 && !azp) {
        return "several audiences without azp";
    }
    if (azp && (!json_is_string(azp) ||
                !sa_list_has(provider->client_ids, json_string_value(azp)))) {
        return "azp is not one of our client ids";
    }
    return NULL;
}

static const char *check_time(const sa_credential_t *credential, const json_t *claims)
{
    apr_int64_t iat = 0;
    const char *why = sa_claims_check_time(claims, credential->now, SA_PROVIDER_LEEWAY);

    if (why) {
        return why;
    }
    if (sa_claim_time(claims, "iat", &iat) != 1) {
        return "iat is missing or unusable";
    }
    if (credential->max_token_age > 0 && credential->now - iat > credential->max_token_age) {
        return "iat is too long ago";
    }
    return NULL;
}

static const char *check_nonce(const sa_credential_t *credential, const json_t *claims)
{
    const json_t *claim = json_object_get(claims, "nonce");
    const char *nonce = json_string_value(claim);

    if (!credential->nonce
        || (!claim && credential->flow == SA_FLOW_CODE && !credential->nonce_sent)) {
        return NULL;
    }
    if (!nonce || !sa_equal(nonce, strlen(nonce), credential->nonce, strlen(credential->nonce))) {
        return "nonce is missing or another one";
    }
    return NULL;
}

const char *sa_check_subject(const sa_provider_t *provider, const json_t *claims)
{
    const char *sub = sa_json_string(claims, "sub");
    const char *hd = sa_json_string(claims, "hd");

    if (!sub || !*sub || strlen(sub) > 255) {
        return "sub is not a string of 1 to 255 bytes";
    }
    if (provider->hosted_domain && (!hd || strcmp(hd, provider->hosted_domain))) {
        return "hd is not the configured domain";
    }
    return NULL;
}

/* Other tokens of the same issuer may have our client as audience (RFC 8725 section 3.11): access
 * tokens of RFC 9068, logout tokens. */
static const char *check_kind(const sa_jwt_t *jwt)
{
    const json_t *typ = json_object_get(jwt->header, "typ");
    const char *text = json_string_value(typ);

    if (text && !strncasecmp(text, "application/", 12)) {
        text += 12;
    }
    if (typ && (!text || (strcasecmp(text, "JWT") && strcasecmp(text, "id_token+jwt")))) {
        return "typ is not that of an ID token";
    }
    return json_object_get(jwt->claims, "events") ? "it is a security event, not an ID token" : NULL;
}

const char *sa_check_id_token(const sa_provider_t *provider, const sa_credential_t *credential,
                              const sa_jwt_t *jwt)
{
    const json_t *claims = jwt->claims;
    const char *why = check_kind(jwt);

    if (!why) {
        why = check_issuer(provider, claims);
    }
    if (!why) {
        why = sa_check_audience(provider, claims);
    }
    if (!why) {
        why = check_time(credential, claims);
    }
    if (!why) {
        why = sa_check_subject(provider, claims);
    }
    if (!why) {
        why = check_nonce(credential, claims);
    }
    return why;
}

/* The left half of the hash that alg names (OIDC Core 3.1.3.6); NULL when alg names none. */
static const char *half_hash(apr_pool_t *p, sa_alg_t alg, const char *text)
{
    unsigned char digest[64];
    const char *name = sa_alg_name(alg);
    int bits = 0;

    if (alg == SA_ALG_EDDSA) {
        bits = 512;
    } else if (name && strlen(name) == 5) {     /* "RS256" */
        bits = (int)apr_atoi64(name + 2);
    }
    if (sa_sha2(bits, text, strlen(text), digest) != APR_SUCCESS) {
        return NULL;
    }
    return sa_base64url_encode(p, digest, (apr_size_t)bits / 16);
}

const char *sa_check_hash(apr_pool_t *p, const sa_jwt_t *jwt, const char *name, const char *text)
{
    const json_t *claim = json_object_get(jwt->claims, name);
    const char *value = json_string_value(claim);

    if (!claim) {
        return NULL;
    }
    const char *expected = half_hash(p, sa_key_alg(jwt->key), text);
    if (!value || !expected ||
        !sa_equal(value, strlen(value), expected, strlen(expected))) {
        return apr_pstrcat(p, name, " does not match", NULL);
    }
    return NULL;
}

/* ---- what they say ---- */

/* Google is authoritative for its own mail domains and for the domains it hosts. */
static int google_vouches(const sa_provider_t *provider, const char *canonical,
                          const json_t *claims)
{
    const char *domain = sa_email_domain(canonical);
    const char *hd = sa_json_string(claims, "hd");

    return sa_is_google(provider) && (!strcmp(domain, "gmail.com") ||
                                   !strcmp(domain, "googlemail.com") ||
                                   (hd && !strcmp(hd, domain)));
}

static void read_email(const sa_provider_t *provider, apr_pool_t *p, const json_t *claims,
                       const json_t *hd_claims, sa_identity_t *identity)
{
    const char *email = sa_json_string(claims, "email");

    identity->email = email ? sa_email_canonical(p, email) : NULL;
    if (identity->email && json_is_true(json_object_get(claims, "email_verified"))) {
        identity->email_verified = 1;
        identity->email_vouched = sa_provider_vouches(
            provider, identity->email, google_vouches(provider, identity->email, hd_claims));
    }
}

void sa_identity_set_claims(const sa_provider_t *provider, apr_pool_t *p, const json_t *claims,
                            const json_t *hd_claims, sa_identity_t *identity)
{
    read_email(provider, p, claims, hd_claims, identity);
    if ((!identity->first_name || !*identity->first_name) &&
        (!identity->last_name || !*identity->last_name)) {
        sa_identity_set_names(p, identity, sa_json_string(claims, "given_name"),
                              sa_json_string(claims, "family_name"),
                              sa_json_string(claims, "name"));
    }
}
