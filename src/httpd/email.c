#include "httpd/email.h"

#include "core/password.h"

/* Without SocialAuthSMTP these paths are not there. */
static sa_error_t *available(const sa_request_t *req, int is_on)
{
    return req->mount->settings.mails && is_on
               ? NULL : sa_error(req->r->pool, SA_E_NOT_FOUND, NULL, NULL);
}

static int answer(sa_request_t *req, int status, const sa_error_t *error)
{
    return error ? sa_answer_error(req, error) : sa_answer_empty(req, status);
}

int sa_email_verify(sa_request_t *req)
{
    sa_error_t *error = available(req, 1);

    if (error) {
        return sa_answer_error(req, error);
    }
    const char *token = sa_field(req, "token", SA_FIELD_REQUIRED, &error);
    if (!error) {
        error = sa_accounts_verify_email(&req->call, token);
    }
    return answer(req, HTTP_NO_CONTENT, error);
}

int sa_email_verify_resend(sa_request_t *req)
{
    sa_error_t *error = available(req, req->mount->settings.email_verification
                                           != SA_VERIFICATION_OFF);

    if (!error) {
        error = sa_accounts_resend_verification(&req->call, &req->bearer);
    }
    return answer(req, HTTP_ACCEPTED, error);
}

int sa_email_change(sa_request_t *req)
{
    sa_error_t *error = available(req, 1);

    if (error) {
        return sa_answer_error(req, error);
    }
    const char *email = sa_field(req, "email", SA_FIELD_REQUIRED, &error);
    const char *password = sa_field(req, "password", SA_FIELD_OPTIONAL, &error);
    if (!error && password && strlen(password) > SA_PASSWORD_MAX) {
        error = sa_error(req->r->pool, SA_E_WRONG_PASSWORD, NULL, NULL);
    }
    if (!error) {
        error = sa_accounts_change_email(&req->call, &req->bearer, email, password);
    }
    return answer(req, HTTP_ACCEPTED, error);
}

int sa_email_password_reset(sa_request_t *req)
{
    sa_error_t *error = available(req, req->mount->settings.password_login);

    if (error) {
        return sa_answer_error(req, error);
    }
    const char *email = sa_field(req, "email", SA_FIELD_REQUIRED, &error);
    if (!error) {
        error = sa_accounts_reset_password(&req->call, email);
    }
    return answer(req, HTTP_ACCEPTED, error);
}

int sa_email_password_reset_confirm(sa_request_t *req)
{
    sa_error_t *error = available(req, req->mount->settings.password_login);

    if (error) {
        return sa_answer_error(req, error);
    }
    const char *token = sa_field(req, "token", SA_FIELD_REQUIRED, &error);
    const char *password = sa_field(req, "new_password", SA_FIELD_REQUIRED, &error);
    if (!error) {
        error = sa_accounts_confirm_reset(&req->call, token, password);
    }
    return answer(req, HTTP_NO_CONTENT, error);
}
