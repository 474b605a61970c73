/* What a URL or an origin may look like. */
#ifndef SA_CORE_URL_H
#define SA_CORE_URL_H

#include <apr_pools.h>
#include <apr_tables.h>

/* RFC 6454 origin as browsers send it: scheme://host[:port], lower case, http or
 * https, default ports left out. NULL when fine, else what is wrong (a phrase
 * for a configuration error). */
const char *sa_origin_problem(const char *origin);

#define SA_URL_ALLOW_HTTP 1     /* http to any host; without it only https, and http to loopback */

/* An endpoint we may call or send a browser to: https (see flag), a host, no
 * userinfo, no fragment, no control or space, not a link-local, unspecified or
 * metadata address (169.254/16, fe80::/10, 0.0.0.0, [::]). NULL when fine,
 * else a phrase. */
const char *sa_endpoint_problem(const char *url, int flags);

/* 1 when an address (4 bytes of IPv4, 16 of IPv6, network order) is one that sa_endpoint_problem
 * refuses; for what a name resolves to. */
int sa_address_forbidden(const unsigned char *bytes, int len);

/* 1 when the URL's (or origin's) host is localhost, *.localhost, 127/8 or [::1]. */
int sa_url_is_loopback(const char *url);
/* 1 when it starts with https:// */
int sa_url_is_https(const char *url);
/* scheme://host[:port] of an absolute URL, in p; NULL when it has none. */
char *sa_url_origin(apr_pool_t *p, const char *url);

/* The URL with more in its query, before its fragment. pairs: as sa_form_encode makes them. In p. */
char *sa_url_with_query(apr_pool_t *p, const char *url, const char *pairs);

/* 1 when a browser may be sent to `value` after a sign-in: a path of this server
 * ("/…", never "//…" or anything a browser reads as that), or a URL that starts
 * with one of `origins` (const char *, as sa_origin_problem accepts; may be NULL). */
int sa_return_to_valid(const char *value, const apr_array_header_t *origins);

#endif
