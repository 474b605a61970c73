/* The handlers of email/ and password/reset: they parse, call accounts, and answer. */
#ifndef SA_HTTPD_EMAIL_H
#define SA_HTTPD_EMAIL_H

#include "httpd/request.h"

int sa_email_verify(sa_request_t *req);
int sa_email_verify_resend(sa_request_t *req);
int sa_email_change(sa_request_t *req);
int sa_email_password_reset(sa_request_t *req);
int sa_email_password_reset_confirm(sa_request_t *req);

#endif
