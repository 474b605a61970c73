/* password/…: what users do with their passwords (CONTRACT section 2). */
#ifndef SA_HTTPD_PASSWORD_H
#define SA_HTTPD_PASSWORD_H

#include "httpd/request.h"

int sa_rest_password_change(sa_request_t *req);

#endif
