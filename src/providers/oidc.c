#include "providers/common.h"

#include "core/base64url.h"
#include "core/crypto.h"
#include "core/json.h"
#include "providers/discovery.h"
#include "providers/google.h"
#include "providers/id_token.h"
#include "providers/jwks_cache.h"

#include <apr_strings.h>
#include <string.h>

/* ---- configuration ---- */

static void fill_google(sa_provider_t *provider)
{
    sa_fill(&provider->authorize_url, SA_GOOGLE "/o/oauth2/v2/auth");
    sa_fill(&provider->token_url, "https://oauth2.googleapis.com/token");
    sa_fill(&provider->userinfo_url, "https://openidconnect.googleapis.com/v1/userinfo");
    sa_fill(&provider->jwks_url, "https://www.googleapis.com/oauth2/v3/certs");
    sa_fill(&provider->token_check_url, "https://oauth2.googleapis.com/tokeninfo");
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
        sa_fill(&provider->issuer, SA_GOOGLE);
    }
    if (!provider->issuer) {
        return "issuer= is missing: the exact iss of the provider's ID tokens";
    }
    if (strpbrk(provider->issuer, "{}")) {
        return "issuer= must be one issuer, not a template with { and }";
    }
    if (sa_is_google(provider)) {
        fill_google(provider);
    } else if (provider->token_check_url) {
        return "token-check-url= is for github, google and facebook";
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

/* ---- identity ---- */

static sa_error_t *refused(const sa_provider_t *provider, apr_pool_t *p, const char *what,
                           const char *why)
{
    return sa_error(p, SA_E_ID_TOKEN_INVALID, provider->label, "%s: %s: %s", provider->name, what,
                    why);
}

static sa_error_t *verify(const sa_provider_t *provider, const sa_provider_env_t *env,
                          apr_pool_t *p, const sa_credential_t *credential, const char *token,
                          sa_jwt_t *jwt, sa_identity_t **identity)
{
    sa_error_t *error = sa_jwks_verify(provider, env, p, token, jwt);
    const char *why = error ? NULL : sa_check_id_token(provider, credential, jwt);

    if (error || why) {
        return error ? error : refused(provider, p, "ID token", why);
    }
    sa_identity_t *found = apr_pcalloc(p, sizeof(*found));
    found->issuer = provider->issuer;
    found->subject = sa_json_string(jwt->claims, "sub");
    sa_identity_set_claims(provider, p, jwt->claims, jwt->claims, found);
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
    sa_identity_set_claims(provider, p, claims, id_claims, identity);
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

static sa_error_t *by_code(const sa_provider_t *provider, const sa_provider_env_t *env,
                           apr_pool_t *p, const sa_credential_t *credential,
                           sa_identity_t **identity)
{
    const sa_credential_t full = sa_with_redirect_uri(provider, credential);
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
    const char *why = sa_check_hash(p, &jwt, "at_hash", access_token);
    if (!why) {
        why = sa_check_hash(p, &jwt, "c_hash", credential->code);
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

/* A compact JWS starts with its header, a JSON object; no access token of Google's does. */
static int is_jws(apr_pool_t *p, const char *token)
{
    const char *dot = strchr(token, '.');
    unsigned char *header;
    apr_size_t len;

    return dot && sa_base64url_decode(&header, &len, p, token, (apr_size_t)(dot - token)) ==
                      APR_SUCCESS && len > 0 && *header == '{';
}

static sa_error_t *identify_token(const sa_provider_t *provider, const sa_provider_env_t *env,
                                  apr_pool_t *p, const sa_credential_t *credential,
                                  sa_identity_t **identity, sa_proof_t *proof)
{
    sa_credential_t as_id_token = *credential;

    if (sa_is_google(provider) && !is_jws(p, credential->token)) {
        memset(proof, 0, sizeof(*proof));
        *identity = NULL;
        return sa_google_identify(provider, env, p, credential->token, credential->now, identity);
    }
    as_id_token.flow = SA_FLOW_ID_TOKEN;
    as_id_token.id_token = credential->token;
    return identify(provider, env, p, &as_id_token, identity, proof);
}

const sa_provider_type_t sa_provider_oidc = {
    .name = "oidc",
    .flows = SA_FLOW_CODE | SA_FLOW_ID_TOKEN,
    .finish = finish,
    .identify = identify,
    .identify_token = identify_token,
    .keep = sa_jwks_keep,
};
