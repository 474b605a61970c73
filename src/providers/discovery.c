#include "providers/discovery.h"

#include "core/json.h"
#include "core/url.h"
#include "providers/common.h"
#include "providers/document.h"

#include <apr_strings.h>
#include <string.h>

typedef struct {
    const char *issuer;
    sa_endpoints_t endpoints;
} metadata_t;

static const char *endpoint_problem(const sa_provider_t *provider, const char *url)
{
    int inside = provider->allow_http || sa_url_is_loopback(provider->discovery_url);
    const char *problem = sa_endpoint_problem(url, provider->allow_http ? SA_URL_ALLOW_HTTP : 0);

    if (!problem && !inside && (!sa_url_is_https(url) || sa_url_is_loopback(url))) {
        problem = "points to this machine or to plain http";
    }
    return problem;
}

/* NULL when the endpoint `name` may be used, or is absent and optional. */
static const char *read_endpoint(apr_pool_t *p, const sa_provider_t *provider,
                                 const json_t *document, const char *name, int required,
                                 const char **url)
{
    const json_t *value = json_object_get(document, name);

    if (!value && !required) {
        return NULL;
    }
    if (!json_is_string(value)) {
        return apr_psprintf(p, "%s is missing or not a string", name);
    }
    const char *problem = endpoint_problem(provider, json_string_value(value));
    if (problem) {
        return apr_psprintf(p, "%s %s", name, problem);
    }
    *url = json_string_value(value);
    return NULL;
}

static const char *read_endpoints(apr_pool_t *p, const sa_provider_t *provider,
                                  const json_t *document, sa_endpoints_t *endpoints)
{
    const char *why = read_endpoint(p, provider, document, "authorization_endpoint", 1,
                                    &endpoints->authorize_url);
    if (!why) {
        why = read_endpoint(p, provider, document, "token_endpoint", 1, &endpoints->token_url);
    }
    if (!why) {
        why = read_endpoint(p, provider, document, "jwks_uri", 1, &endpoints->jwks_url);
    }
    if (!why) {
        why = read_endpoint(p, provider, document, "userinfo_endpoint", 0,
                            &endpoints->userinfo_url);
    }
    return why;
}

static void *parse(apr_pool_t *p, const sa_provider_t *provider, const char *text, apr_size_t len,
                   const char **why)
{
    const json_t *document = sa_json_parse(p, text, len, why);

    if (!document) {
        return NULL;
    }
    metadata_t *metadata = apr_pcalloc(p, sizeof(*metadata));
    metadata->issuer = sa_json_string(document, "issuer");
    if (!metadata->issuer || strcmp(metadata->issuer, provider->issuer)) {
        *why = "its issuer is not the configured one";
        return NULL;
    }
    metadata->endpoints.sends_iss = json_is_true(
        json_object_get(document, "authorization_response_iss_parameter_supported"));
    *why = read_endpoints(p, provider, document, &metadata->endpoints);
    return *why ? NULL : metadata;
}

static const sa_document_kind_t discovery_kind = { .what = "discovery document", .parse = parse };

/* A document is cached by its URL: another provider may have read it by other rules. */
static int suits(const sa_provider_t *provider, const metadata_t *metadata)
{
    const sa_endpoints_t *found = &metadata->endpoints;

    return !strcmp(metadata->issuer, provider->issuer) &&
           !endpoint_problem(provider, found->authorize_url) &&
           !endpoint_problem(provider, found->token_url) &&
           !endpoint_problem(provider, found->jwks_url) &&
           (!found->userinfo_url || !endpoint_problem(provider, found->userinfo_url));
}

const char *sa_discovery_keep(const sa_provider_t *provider, const sa_provider_env_t *env,
                              apr_pool_t *p)
{
    const metadata_t *metadata;

    if (provider->jwks_url && provider->token_url) {
        return provider->jwks_url;
    }
    metadata = sa_document_keep(provider, env, p, &discovery_kind, provider->discovery_url);
    return provider->jwks_url ? provider->jwks_url
           : metadata && suits(provider, metadata) ? metadata->endpoints.jwks_url : NULL;
}

sa_error_t *sa_discover(const sa_provider_t *provider, const sa_provider_env_t *env, apr_pool_t *p,
                        int need, sa_endpoints_t *endpoints)
{
    sa_document_use_t use;

    endpoints->authorize_url = provider->authorize_url;
    endpoints->token_url = provider->token_url;
    endpoints->jwks_url = provider->jwks_url;
    endpoints->userinfo_url = provider->userinfo_url;
    endpoints->sends_iss = 0;
    if ((endpoints->authorize_url || !(need & SA_NEED_AUTHORIZE)) &&
        (endpoints->token_url || !(need & SA_NEED_TOKEN)) &&
        (endpoints->jwks_url || !(need & SA_NEED_JWKS))) {
        return NULL;
    }
    sa_error_t *error = sa_document_use(provider, env, p, &discovery_kind,
                                        provider->discovery_url, &use);
    if (error) {
        return error;
    }
    const metadata_t *metadata = use.value;
    if (!suits(provider, metadata)) {
        return sa_provider_garbled(provider, p, discovery_kind.what,
                                   "its issuer or an endpoint is not acceptable");
    }
    sa_fill(&endpoints->authorize_url, metadata->endpoints.authorize_url);
    sa_fill(&endpoints->token_url, metadata->endpoints.token_url);
    sa_fill(&endpoints->jwks_url, metadata->endpoints.jwks_url);
    sa_fill(&endpoints->userinfo_url, metadata->endpoints.userinfo_url);
    endpoints->sends_iss = metadata->endpoints.sends_iss;
    return NULL;
}
