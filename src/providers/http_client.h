/* Outbound HTTP over libcurl: pooled, warm connections; several requests at the
 * same time; hard limits. Redirects are never followed, only http and https are
 * spoken, certificates are always verified, no environment proxy is used. */
#ifndef SA_PROVIDERS_HTTP_CLIENT_H
#define SA_PROVIDERS_HTTP_CLIENT_H

#include "core/trust.h"

#include <apr_pools.h>
#include <apr_tables.h>

typedef struct sa_http_t sa_http_t;

typedef struct {
    int connect_ms;             /* default 2000 */
    int total_ms;               /* default 10000; counts from the call, all requests together */
    apr_size_t max_response;    /* bytes after decoding; default 1 MiB */
    const char *ca_bundle;      /* NULL = system */
    const sa_trust_t *trust;    /* the same, read once by sa_http_share_trust; NULL = libcurl reads
                                   it for each connection */
    const char *proxy;          /* NULL = none */
    const void *owner;          /* whose calls these are; one owner takes a part of the places only */
} sa_http_limits_t;

typedef struct {
    const char *url;
    const char *body;           /* NULL = GET, else POST */
    const char *content_type;   /* of body; NULL = application/x-www-form-urlencoded */
    const char *accept;         /* NULL = application/json */
    const char *bearer;         /* Authorization: Bearer …; NULL = none */
    const char *basic_user, *basic_password;    /* HTTP Basic; NULL = none */
    const apr_array_header_t *headers;  /* const char * "Name: value", NULL = none */
} sa_http_request_t;

typedef enum {
    SA_HTTP_DONE,               /* an answer arrived, whatever its status */
    SA_HTTP_UNREACHABLE,        /* DNS, connect, TLS, protocol error, connection cut */
    SA_HTTP_TIMEOUT,
    SA_HTTP_TOO_LARGE,
    SA_HTTP_BAD_REQUEST         /* our own request was unusable (CR/LF in a header, bad URL) */
} sa_http_outcome_t;

typedef struct {
    sa_http_outcome_t outcome;
    int status;
    const char *content_type;   /* media type, lower case, no parameters; NULL when none */
    const char *cache_control;  /* NULL when none */
    const char *body;           /* NUL-terminated, never NULL */
    apr_size_t len;
    const char *problem;        /* log text when not SA_HTTP_DONE */
} sa_http_response_t;

/* Sets limits->trust, in p, where libcurl can use it. In the parent, before threads. */
void sa_http_share_trust(apr_pool_t *p, sa_http_limits_t *limits);
/* libcurl's global set-up; in the parent, before threads. */
apr_status_t sa_http_global_init(void);
/* Milliseconds that never step. */
apr_int64_t sa_http_clock(void);
/* One client per child: at most max_calls sa_http_perform at a time, of them at most max_per_owner of
 * one owner. One more waits up to half a second for a place, then answers APR_EAGAIN ("busy"), as do all
 * others of its owner at once until a call ends. Destroyed with p, which must outlive all callers. */
apr_status_t sa_http_create(sa_http_t **http, apr_pool_t *p, int max_calls, int max_per_owner);
/* Takes a place among owner's calls for a caller that waits for somebody else's call; APR_EAGAIN as
 * sa_http_perform. sa_http_leave gives it back. */
apr_status_t sa_http_enter(sa_http_t *http, const void *owner);
void sa_http_leave(sa_http_t *http, const void *owner);
/* Performs n ≤ 4 requests at the same time; responses[i] lives in p. APR_SUCCESS even when
 * requests fail (see outcome); APR_EAGAIN when max_calls are under way. A GET that failed because a warm
 * connection had been closed is tried once more by libcurl itself; nothing else is retried. */
apr_status_t sa_http_perform(sa_http_t *http, apr_pool_t *p, const sa_http_limits_t *limits,
                             const sa_http_request_t *requests, int n,
                             sa_http_response_t *responses);

#endif
