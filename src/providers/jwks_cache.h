/* A provider's public keys: one fetched document for all children (core/shared),
 * parsed once per child and generation. Fetched again before it expires (max-age
 * clamped to 60 s … 24 h), at most once per 60 s for an unknown kid (or, without a
 * kid, a signature that no key verifies) over all children, one fetch at a time while
 * the others are served the old set; in an outage the last good set stays in use until
 * 24 h after it was fetched. */
#ifndef SA_PROVIDERS_JWKS_CACHE_H
#define SA_PROVIDERS_JWKS_CACHE_H

#include "core/error.h"
#include "core/jwt.h"
#include "providers/provider.h"

typedef struct sa_jwks_cache_t sa_jwks_cache_t;

/* One per child; thread-safe; freed with p. */
apr_status_t sa_jwks_cache_create(sa_jwks_cache_t **cache, apr_pool_t *p);

/* Verifies an ID token's signature with the provider's keys, fetching them when needed.
 * SA_E_ID_TOKEN_INVALID, or SA_E_PROVIDER_UNAVAILABLE/_TIMEOUT when there has never been a
 * usable set. jwt's values live in p. */
sa_error_t *sa_jwks_verify(const sa_provider_t *provider, const sa_provider_env_t *env,
                           apr_pool_t *p, const char *token, sa_jwt_t *jwt);

/* For the background worker: fetches again what of the provider's documents will soon expire. */
void sa_jwks_keep(const sa_provider_t *provider, const sa_provider_env_t *env, apr_pool_t *p);

#endif
