/* Inside providers only: where a provider's endpoints are, by configuration or by OpenID
 * Connect Discovery. */
#ifndef SA_PROVIDERS_DISCOVERY_H
#define SA_PROVIDERS_DISCOVERY_H

#include "core/error.h"
#include "providers/provider.h"

enum { SA_NEED_AUTHORIZE = 1, SA_NEED_TOKEN = 2, SA_NEED_JWKS = 4 };

typedef struct {
    const char *authorize_url, *token_url, *jwks_url;
    const char *userinfo_url;   /* NULL when the provider has none */
    int sends_iss;              /* it promises to, when it sends a browser back (RFC 9207) */
} sa_endpoints_t;

/* Configured endpoints win; the document is looked at only when one of `need` is not configured.
 * It must name exactly the configured issuer, and only endpoints that sa_endpoint_problem accepts;
 * plain http and loopback only when the document itself came from there or allow-http=on. */
sa_error_t *sa_discover(const sa_provider_t *provider, const sa_provider_env_t *env, apr_pool_t *p,
                        int need, sa_endpoints_t *endpoints);

/* For the background worker: keeps the discovery document fresh when there is one. The URL of the
 * key set, NULL while it is not known. */
const char *sa_discovery_keep(const sa_provider_t *provider, const sa_provider_env_t *env,
                              apr_pool_t *p);

#endif
