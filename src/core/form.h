/* application/x-www-form-urlencoded, and query strings. */
#ifndef SA_CORE_FORM_H
#define SA_CORE_FORM_H

#include <apr_pools.h>
#include <jansson.h>

#define SA_FORM_MAX_PAIRS 100

/* Parses len bytes into a JSON object of strings, owned by p. A field given twice,
 * a bad or %00 escape, invalid UTF-8, control characters other than TAB CR LF, or
 * more than SA_FORM_MAX_PAIRS pairs: NULL and *why. An empty name is ignored. */
json_t *sa_form_parse(apr_pool_t *p, const char *text, apr_size_t len, const char **why);

/* RFC 6749 section 2.3.1: what follows "Basic " in an Authorization header, two halves that are each encoded
 * as above, in p. 0 when it is not that. */
int sa_basic_parse(apr_pool_t *p, const char *encoded, const char **id, const char **secret);

/* name=value pairs (name, value, name, value, …, NULL), percent-encoded, in p.
 * A NULL value leaves its pair out. */
char *sa_form_encode(apr_pool_t *p, const char *name, ...) __attribute__((sentinel));
/* One component percent-encoded (RFC 3986 unreserved stay). */
char *sa_percent_encode(apr_pool_t *p, const char *text);

#endif
