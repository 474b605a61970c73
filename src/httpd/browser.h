/* The redirect flow (CONTRACT section 2): a browser goes to the provider, comes back, and has
 * session cookies. A link in a page is all that it takes. */
#ifndef SA_HTTPD_BROWSER_H
#define SA_HTTPD_BROWSER_H

#include "httpd/request.h"

/* 1 when req->provider can be signed in with like this: it has a code flow, and the mount delivers
 * cookies. */
int sa_browser_usable(const sa_request_t *req);

int sa_browser_login(sa_request_t *req);
int sa_browser_complete(sa_request_t *req);

#endif
