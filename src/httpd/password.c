#include "httpd/password.h"

int sa_rest_password_change(sa_request_t *req)
{
    sa_error_t *error = NULL;

    if (!req->mount->settings.password_login) {
        return sa_answer_error(req, sa_error(req->r->pool, SA_E_NOT_FOUND, NULL, NULL));
    }
    const char *old_password = sa_field(req, "old_password", SA_FIELD_REQUIRED, &error);
    const char *new_password = sa_field(req, "new_password", SA_FIELD_REQUIRED, &error);
    if (!error) {
        error = sa_accounts_change_password(&req->call, &req->bearer, old_password,
                                            new_password);
    }
    return error ? sa_answer_error(req, error) : sa_answer_empty(req, HTTP_NO_CONTENT);
}
