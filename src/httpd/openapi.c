#include "httpd/openapi.h"

int sa_openapi(sa_request_t *req)
{
    return sa_answer_document(req, &sa_openapi_document);
}
