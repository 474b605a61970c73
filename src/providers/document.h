/* Inside providers only: a provider's published documents (key sets, discovery), fetched
 * once for all children (core/shared) and parsed once per child and generation.
 *
 * A document is fetched again after four fifths of its life (max-age clamped to 60 s … 24 h,
 * one hour without one) by the background worker, or after nine tenths by exactly one request,
 * while everybody else goes on with the old one; when that fails the old one stays in use until
 * 24 h after it was fetched. */
#ifndef SA_PROVIDERS_DOCUMENT_H
#define SA_PROVIDERS_DOCUMENT_H

#include "core/error.h"
#include "providers/provider.h"

typedef struct {
    const char *what;           /* "key set": for log texts */
    /* The text as a const value in `pool`; NULL and *why when it is of no use, which makes
     * it count as not fetched. */
    void *(*parse)(apr_pool_t *pool, const sa_provider_t *provider, const char *text,
                   apr_size_t len, const char **why);
} sa_document_kind_t;

typedef struct {
    const void *value;          /* lives as long as the pool it was asked for with */
    apr_uint64_t generation;
} sa_document_use_t;

/* The document at url. SA_E_PROVIDER_UNAVAILABLE/_TIMEOUT or SA_E_BUSY when there is none that may
 * be used. The first fetch is waited for, within the provider's total time-out. */
sa_error_t *sa_document_use(const sa_provider_t *provider, const sa_provider_env_t *env,
                            apr_pool_t *p, const sa_document_kind_t *kind, const char *url,
                            sa_document_use_t *use);
/* *renewed 1 when there is a newer one than *use, which it then replaces: fetches it unless
 * anybody renewed it in the last 60 s, and never waits for somebody else's fetch. SA_E_BUSY when it
 * should have been fetched and too many calls are under way; any other failure leaves the old one. */
sa_error_t *sa_document_renew(const sa_provider_t *provider, const sa_provider_env_t *env,
                              apr_pool_t *p, const sa_document_kind_t *kind, const char *url,
                              sa_document_use_t *use, int *renewed);
/* For the background worker: the document at url when there is one, fetched again when four fifths of
 * its life are over; NULL when nobody has asked for it yet. Lives as long as p. */
const void *sa_document_keep(const sa_provider_t *provider, const sa_provider_env_t *env,
                             apr_pool_t *p, const sa_document_kind_t *kind, const char *url);
/* Milliseconds a document may be used, by its Cache-Control (NULL = none). */
apr_int64_t sa_document_ttl(const char *cache_control);

#endif
