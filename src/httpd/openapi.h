/* The description of what the handler answers (OpenAPI 3.1). */
#ifndef SA_HTTPD_OPENAPI_H
#define SA_HTTPD_OPENAPI_H

#include "httpd/request.h"

extern const sa_static_document_t sa_openapi_document;      /* made of conf/openapi.json.in */

int sa_openapi(sa_request_t *req);

#endif
