#include "providers/common.h"

#include "core/base64url.h"
#include "core/crypto.h"
#include "core/json.h"
#include "core/text.h"
#include "providers/discovery.h"
#include "providers/jwks_cache.h"

#include <apr_strings.h>
#include <string.h>
#include <strings.h>

#define GOOGLE "https://accounts.google.com"
#define GOOGLE_BARE "accounts.google.com"       /* iss of some of Google's tokens */

/* ---- configuration ---- */

static int is_google(const sa_provider_t *provider)
{
    return !strcmp(provider->issuer, GOOGLE);
}

static void fill_google(sa_provider_t *provider)
{
    sa_fill(&provider->authorize_url, GOOGLE "/o/oauth2/v2/auth");
    sa_fill(&provider->token_url, "https://oauth2.googleapis.com/token");
    sa_fill(&provider->userinfo_url, "https://openidconnect.googleapis.com/v1/userinfo");
    sa_fill(&provider->jwks_url, "https://www.googleapis.com/oauth2/v3/certs");
}

static int asks_for_openid(const char *scope)
{
    for (const char *c = scope; *c; c += strcspn(c, " "), c += strspn(c, " ")) {
        if (!strncmp(c, "openid", 6) && (c[6] == ' ' || c[6] == '\0')) {
            return 1;
        }
    }
    return 0;
}

/* OpenID Connect Discovery section 4: a terminating / is removed first. */
static const char *well_known(apr_pool_t *p, const char *issuer)
{
    apr_size_t len = strlen(issuer);

    len -= len > 0 && issuer[len - 1] == '/';
    return apr_pstrcat(p, apr_pstrmemdup(p, issuer, len), "/.well-known/openid-configuration",
                       NULL);
}

static const char *finish(sa_provider_t *provider, apr_pool_t *p)
{
    if (!strcmp(provider->name, "google")) {
        sa_fill(&provider->issuer, GOOGLE);
    }
    if (!provider->issuer) {
        return "issuer= is missing: the exact iss of the provider's ID tokens";
    }
    if (strpbrk(provider->issuer, "{}")) {
        return "issuer= must be one issuer, not a template with { and }";
    }
    if (provider->emails_url) {
        return "emails-url= is for type=github";
    }
    if (is_google(provider)) {
        fill_google(provider);
    }
    sa_fill(&provider->scope, "openid email profile");
    if (!asks_for_openid(provider->scope)) {
        return "scope= must contain 'openid'";
    }
    if (!provider->discovery_url) {
        provider->discovery_url = well_known(p, provider->issuer);
    }
    if (provider->client_ids->nelts == 0) {
        provider->disabled_because = "client-id is missing";
    }
    return NULL;
}

/* ---- claims of an ID token: each check returns NULL or why it failed ---- */

static const char *check_issuer(const sa_provider_t *provider, const json_t *claims)
{
    const char *iss = sa_json_string(claims, "iss");

    if (iss && (!strcmp(iss, provider->issuer) ||
                (is_google(provider) && !strcmp(iss, GOOGLE_BARE)))) {
        return NULL;
    }
    return "iss is not the configured issuer";
}

/* Every audience must be one of our clients: a token that others may use as well is none for us. */
static const char *check_audience(const sa_provider_t *provider, const json_t *claims)
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

    if (!credential->nonce || (!claim && credential->flow == SA_FLOW_CODE)) {
        return NULL;
    }
    if (!nonce || !sa_equal(nonce, strlen(nonce), credential->nonce, strlen(credential->nonce))) {
        return "nonce is missing or another one";
    }
    return NULL;
}

static const char *check_subject(const sa_provider_t *provider, const json_t *claims)
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

static const char *check_claims(const sa_provider_t *provider, const sa_credential_t *credential,
                                const sa_jwt_t *jwt)
{
    const json_t *claims = jwt->claims;
    const char *why = check_kind(jwt);

    if (!why) {
        why = check_issuer(provider, claims);
    }
    if (!why) {
        why = check_audience(provider, claims);
    }
    if (!why) {
        why = check_time(credential, claims);
    }
    if (!why) {
        why = check_subject(provider, claims);
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

static const char *check_hash(apr_pool_t *p, const sa_jwt_t *jwt, const char *name,
                              const char *text)
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

/* ---- identity ---- */

static sa_error_t *refused(const sa_provider_t *provider, apr_pool_t *p, const char *what,
                           const char *why)
{
    return sa_error(p, SA_E_ID_TOKEN_INVALID, provider->label, "%s: %s: %s", provider->name, what,
                    why);
}

/* Google is authoritative for its own mail domains and for the domains it hosts. */
static int google_vouches(const sa_provider_t *provider, const char *canonical,
                          const json_t *claims)
{
    const char *domain = sa_email_domain(canonical);
    const char *hd = sa_json_string(claims, "hd");

    return is_google(provider) && (!strcmp(domain, "gmail.com") ||
                                   !strcmp(domain, "googlemail.com") ||
                                   (hd && !strcmp(hd, domain)));
}

/* `claims` are userinfo's or the ID token's own; hd counts in the signed token only. */
static void read_email(const sa_provider_t *provider, apr_pool_t *p, const json_t *claims,
                       const json_t *id_claims, sa_identity_t *identity)
{
    const char *email = sa_json_string(claims, "email");

    identity->email = email ? sa_email_canonical(p, email) : NULL;
    if (identity->email && json_is_true(json_object_get(claims, "email_verified"))) {
        identity->email_verified = 1;
        identity->email_vouched = sa_provider_vouches(
            provider, identity->email, google_vouches(provider, identity->email, id_claims));
    }
}

static void read_names(apr_pool_t *p, const json_t *claims, sa_identity_t *identity)
{
    const char *given = sa_json_string(claims, "given_name");
    const char *family = sa_json_string(claims, "family_name");

    if (!given && !family) {
        sa_identity_set_name(p, identity, sa_json_string(claims, "name"));
        return;
    }
    identity->first_name = sa_clean_name(p, given ? given : "", SA_NAME_MAX);
    identity->last_name = sa_clean_name(p, family ? family : "", SA_NAME_MAX);
}

static sa_error_t *verify(const sa_provider_t *provider, const sa_provider_env_t *env,
                          apr_pool_t *p, const sa_credential_t *credential, const char *token,
                          sa_jwt_t *jwt, sa_identity_t **identity)
{
    sa_error_t *error = sa_jwks_verify(provider, env, p, token, jwt);
    const char *why = error ? NULL : check_claims(provider, credential, jwt);

    if (error || why) {
        return error ? error : refused(provider, p, "ID token", why);
    }
    sa_identity_t *found = apr_pcalloc(p, sizeof(*found));
    found->issuer = provider->issuer;
    found->subject = sa_json_string(jwt->claims, "sub");
    read_email(provider, p, jwt->claims, jwt->claims, found);
    read_names(p, jwt->claims, found);
    *identity = found;
    return NULL;
}

/* ---- userinfo ---- */

static sa_error_t *read_userinfo(const sa_provider_t *provider, apr_pool_t *p,
                                 const sa_http_response_t *response, const json_t *id_claims,
                                 sa_identity_t *identity)
{
    const char *why = "not a JSON object";
    const json_t *claims = sa_json_parse(p, response->body, response->len, &why);
    const char *sub = sa_json_string(claims, "sub");

    if (!json_is_object(claims)) {
        return refused(provider, p, "userinfo", why);
    }
    if (!sub || strcmp(sub, identity->subject)) {
        return refused(provider, p, "userinfo", "sub is not the ID token's");
    }
    read_email(provider, p, claims, id_claims, identity);
    if (!*identity->first_name && !*identity->last_name) {
        read_names(p, claims, identity);
    }
    return NULL;
}

static sa_error_t *ask_userinfo(const sa_provider_t *provider, const sa_provider_env_t *env,
                                apr_pool_t *p, const char *url, const char *access_token,
                                const json_t *id_claims, sa_identity_t *identity)
{
    sa_http_request_t request = { .url = url, .bearer = access_token };
    sa_http_response_t response;
    apr_status_t rv = sa_provider_perform(provider, env, p, &request, 1, &response);

    /* The user granted no e-mail address: a linked identity does not need it. */
    if (rv == APR_SUCCESS && response.outcome == SA_HTTP_DONE &&
        (response.status == 401 || response.status == 403)) {
        return NULL;
    }
    if (rv != APR_SUCCESS || response.outcome != SA_HTTP_DONE || response.status != 200) {
        return sa_provider_failed(provider, p, rv, &response, "userinfo");
    }
    return read_userinfo(provider, p, &response, id_claims, identity);
}

/* ---- flows ---- */

static sa_error_t *by_id_token(const sa_provider_t *provider, const sa_provider_env_t *env,
                               apr_pool_t *p, const sa_credential_t *credential,
                               sa_identity_t **identity, sa_proof_t *proof)
{
    sa_jwt_t jwt;
    sa_error_t *error = verify(provider, env, p, credential, credential->id_token, &jwt,
                               identity);

    if (!error) {
        const char *signature = strrchr(credential->id_token, '.');
        apr_size_t len = signature ? (apr_size_t)(signature - credential->id_token) : 0;
        sa_sha256(credential->id_token, len, proof->id_token_hash);
        sa_claim_time(jwt.claims, "exp", &proof->id_token_exp);
        sa_claim_time(jwt.claims, "iat", &proof->id_token_iat);
    }
    return error;
}

/* OIDC Core 3.1.3.1 wants the redirect_uri of the authorization request; a front end that names none
 * used the only one there is. */
static sa_credential_t with_redirect_uri(const sa_provider_t *provider,
                                         const sa_credential_t *credential)
{
    sa_credential_t full = *credential;

    if (!full.redirect_uri && provider->redirect_uris->nelts == 1) {
        full.redirect_uri = sa_list_at(provider->redirect_uris, 0);
    }
    return full;
}

static sa_error_t *by_code(const sa_provider_t *provider, const sa_provider_env_t *env,
                           apr_pool_t *p, const sa_credential_t *credential,
                           sa_identity_t **identity)
{
    const sa_credential_t full = with_redirect_uri(provider, credential);
    const char *access_token;
    json_t *answer;
    sa_endpoints_t endpoints;
    sa_jwt_t jwt;

    sa_error_t *error = sa_discover(provider, env, p, SA_NEED_TOKEN | SA_NEED_JWKS, &endpoints);
    if (!error) {
        error = sa_exchange_code(provider, env, p, &full, endpoints.token_url, &access_token,
                                 &answer);
    }
    if (error) {
        return error;
    }
    const char *id_token = sa_json_string(answer, "id_token");
    if (!id_token) {
        return refused(provider, p, "token endpoint", "no id_token");
    }
    error = verify(provider, env, p, credential, id_token, &jwt, identity);
    if (error) {
        return error;
    }
    const char *why = check_hash(p, &jwt, "at_hash", access_token);
    if (!why) {
        why = check_hash(p, &jwt, "c_hash", credential->code);
    }
    if (why) {
        return refused(provider, p, "ID token", why);
    }
    if (sa_json_string(jwt.claims, "email") || !endpoints.userinfo_url) {
        return NULL;
    }
    return ask_userinfo(provider, env, p, endpoints.userinfo_url, access_token, jwt.claims,
                        *identity);
}

static sa_error_t *identify(const sa_provider_t *provider, const sa_provider_env_t *env,
                            apr_pool_t *p, const sa_credential_t *credential,
                            sa_identity_t **identity, sa_proof_t *proof)
{
    sa_error_t *error;

    memset(proof, 0, sizeof(*proof));
    *identity = NULL;
    if (credential->flow == SA_FLOW_ID_TOKEN) {
        error = by_id_token(provider, env, p, credential, identity, proof);
    } else {
        error = by_code(provider, env, p, credential, identity);
    }
    if (error) {
        *identity = NULL;
    }
    return error;
}

const sa_provider_type_t sa_provider_oidc = {
    .name = "oidc",
    .flows = SA_FLOW_CODE | SA_FLOW_ID_TOKEN,
    .finish = finish,
    .identify = identify,
    .keep = sa_jwks_keep,
};
