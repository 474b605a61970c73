/* CORS (Fetch standard, section 3.2): an exact list of origins, never "*", never "null". */
#include "httpd/routes.h"

#include <apr_strings.h>

/* RFC 9700 section 2.6. */
static int is_page(const sa_request_t *req)
{
    return req->route && (req->route->flags & SA_ROUTE_PAGE);
}

void sa_cors_headers(sa_request_t *req)
{
    apr_table_t *headers = req->r->headers_out;

    if (!req->mount->allow_origins->nelts || is_page(req)) {
        return;
    }
    apr_table_mergen(headers, "Vary", "Origin");
    if (!req->origin_listed) {
        return;
    }
    apr_table_setn(headers, "Access-Control-Allow-Origin", req->origin);
    apr_table_setn(headers, "Access-Control-Expose-Headers", "Retry-After, WWW-Authenticate");
    if (req->mount->allow_credentials) {
        apr_table_setn(headers, "Access-Control-Allow-Credentials", "true");
    }
}

void sa_cors_preflight(sa_request_t *req, const char *allow)
{
    apr_table_t *headers = req->r->headers_out;

    if (!req->origin_listed || is_page(req)
        || !apr_table_get(req->r->headers_in, "Access-Control-Request-Method")) {
        return;
    }
    apr_table_setn(headers, "Access-Control-Allow-Methods", allow);
    apr_table_setn(headers, "Access-Control-Allow-Headers", req->mount->allow_headers);
    apr_table_setn(headers, "Access-Control-Max-Age", "600");
}
