#include "providers/jwks_cache.h"

#include "providers/discovery.h"
#include "providers/document.h"

#include <string.h>

static void *parse(apr_pool_t *p, const sa_provider_t *provider, const char *text, apr_size_t len,
                   const char **why)
{
    return sa_keyset_from_jwks(p, text, len, provider->id_token_alg, SA_JWK_PUBLIC_ONLY, why);
}

static const sa_document_kind_t jwks_kind = { .what = "key set", .parse = parse };

static sa_error_t *refused(const sa_provider_t *provider, apr_pool_t *p, const char *why)
{
    return sa_error(p, SA_E_ID_TOKEN_INVALID, provider->label, "%s: ID token: %s", provider->name,
                    why);
}

/* The provider may have published a key since its set was fetched. */
static int may_be_a_new_key(sa_jwt_status_t status, const sa_jwt_t *jwt)
{
    return status == SA_JWT_NO_KEY
           || (status == SA_JWT_BAD_SIGNATURE && !json_object_get(jwt->header, "kid"));
}

sa_error_t *sa_jwks_verify(const sa_provider_t *provider, const sa_provider_env_t *env,
                           apr_pool_t *p, const char *token, sa_jwt_t *jwt)
{
    apr_size_t len = strlen(token);
    sa_endpoints_t endpoints;
    sa_document_use_t use;
    const char *why = NULL;

    if (len > SA_JWT_MAX) {
        return refused(provider, p, "it is too long");
    }
    sa_error_t *error = sa_discover(provider, env, p, SA_NEED_JWKS, &endpoints);
    if (!error) {
        error = sa_document_use(provider, env, p, &jwks_kind, endpoints.jwks_url, &use);
    }
    if (error) {
        return error;
    }
    sa_jwt_status_t status = sa_jwt_verify(p, token, len, use.value, jwt, &why);
    if (may_be_a_new_key(status, jwt)) {
        int renewed;
        error = sa_document_renew(provider, env, p, &jwks_kind, endpoints.jwks_url, &use,
                                  &renewed);
        if (error) {
            return error;
        }
        status = renewed ? sa_jwt_verify(p, token, len, use.value, jwt, &why) : status;
    }
    if (status != SA_JWT_OK) {
        return refused(provider, p, why ? why : "its signature does not verify");
    }
    if (sa_key_alg(jwt->key) != provider->id_token_alg) {
        return refused(provider, p, "its algorithm is not the configured id-token-alg");
    }
    return NULL;
}

void sa_jwks_keep(const sa_provider_t *provider, const sa_provider_env_t *env, apr_pool_t *p)
{
    const char *url = sa_discovery_keep(provider, env, p);

    if (url) {
        sa_document_keep(provider, env, p, &jwks_kind, url);
    }
}
