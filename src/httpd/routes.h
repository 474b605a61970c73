/* What is answered where: methods, authentication, throttle and body of each path are
 * decided by one table. */
#ifndef SA_HTTPD_ROUTES_H
#define SA_HTTPD_ROUTES_H

#include "httpd/request.h"

typedef enum {
    SA_ROUTE_PROVIDER = 1,      /* the path is {provider}/<path> */
    SA_ROUTE_BODY = 2,          /* reads a body */
    SA_ROUTE_BEARER = 4,        /* needs an access token */
    SA_ROUTE_BEARER_OPTIONAL = 8,       /* takes one into account: a bad one is refused */
    SA_ROUTE_SOCIAL = 16,       /* counts as a social request for the throttle */
    SA_ROUTE_PASSWORD = 32,     /* takes a password, and counts as a password login */
    SA_ROUTE_ID = 64,           /* the path is <path>/{id}: req->id */
    SA_ROUTE_OAUTH = 128,       /* refuses in the words of RFC 6749 section 5.2 */
    SA_ROUTE_BROWSER = 256,     /* a step of the redirect flow: the id names a provider, the query
                                 * string is not logged */
    SA_ROUTE_PAGE = 512,        /* a browser asks, no script: cookies count, CORS does not */
    SA_ROUTE_OWN = 1024,        /* about the account itself: no token of a third party is enough */
    SA_ROUTE_RESET = 2048       /* counts as a password reset: those, and what else sends mails */
} sa_route_flags_t;

/* A path with several methods has a line for each, one after the other. */
typedef struct sa_route_t {
    const char *path;
    int method;                 /* M_GET, M_POST, M_PATCH or M_DELETE */
    int flags;
    int (*handle)(sa_request_t *req);
} sa_route_t;

extern const sa_route_t sa_routes[];    /* ends with path NULL */

/* The mount's provider of this name or alias, NULL when there is none or it is disabled. */
const sa_provider_t *sa_provider_enabled(const sa_settings_t *settings, const char *name);

#endif
