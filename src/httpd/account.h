/* Accounts in the OAuth2 dialect (CONTRACT section 2): registration, one's own profile and
 * sessions, the list of users. */
#ifndef SA_HTTPD_ACCOUNT_H
#define SA_HTTPD_ACCOUNT_H

#include "httpd/request.h"

int sa_account_create(sa_request_t *req);
int sa_account_show(sa_request_t *req);
int sa_account_change(sa_request_t *req);
int sa_account_delete(sa_request_t *req);
int sa_account_list(sa_request_t *req);         /* ?limit=&after=, pages by Link (RFC 8288) */
int sa_account_sessions(sa_request_t *req);
int sa_account_end_session(sa_request_t *req);

#endif
