#include "core/error.h"

#include <apr_strings.h>
#include <stdarg.h>
#include <string.h>

typedef struct {
    const char *word;
    int status;
    const char *member;
    const char *text;           /* %s is the label */
} shape_t;

static const shape_t shapes[] = {
    [SA_E_REQUIRED] = { "required", 400, NULL, "This field is required." },
    [SA_E_BLANK] = { "blank", 400, NULL, "This field may not be blank." },
    [SA_E_NULL] = { "null", 400, NULL, "This field may not be null." },
    [SA_E_INVALID] = { "invalid", 400, NULL, "Not a valid string." },
    [SA_E_PARSE_ERROR] = { "parse_error", 400, "detail", "JSON parse error - %s" },
    [SA_E_UNSUPPORTED_MEDIA_TYPE] = { "unsupported_media_type", 415, "detail",
                                      "Unsupported media type \"%s\" in request." },
    [SA_E_METHOD_NOT_ALLOWED] = { "method_not_allowed", 405, "detail",
                                  "Method \"%s\" not allowed." },
    [SA_E_BODY_TOO_LARGE] = { "body_too_large", 413, "detail", "Request body too large." },
    [SA_E_NOT_AUTHENTICATED] = { "not_authenticated", 401, "detail",
                                 "Authentication credentials were not provided." },
    [SA_E_TOKEN_NOT_VALID] = { "token_not_valid", 401, "detail",
                               "Given token not valid for any token type" },
    [SA_E_REFRESH_NOT_VALID] = { "token_not_valid", 401, "detail",
                                 "Token is invalid or expired" },
    [SA_E_REFRESH_OF_ANOTHER] = { "token_not_valid", 401, "detail",
                                  "Token is invalid or expired" },
    [SA_E_TOKEN_BLACKLISTED] = { "token_blacklisted", 401, "detail", "Token is blacklisted" },
    [SA_E_BAD_CREDENTIALS] = { "bad_credentials", 401, "detail",
                               "No active account found with the given credentials" },
    [SA_E_STATE_INVALID] = { "state_invalid", 400, "message",
                             "Invalid or expired authentication state." },
    [SA_E_PROVIDER_REJECTED] = { "provider_rejected", 400, "message",
                                 "%s authentication could not be completed." },
    [SA_E_PROVIDER_UNAVAILABLE] = { "provider_unavailable", 502, "message",
                                    "Unable to contact %s. Please try again later." },
    [SA_E_PROVIDER_TIMEOUT] = { "provider_timeout", 504, "message",
                                "%s took too long to respond. Please try again." },
    [SA_E_ID_TOKEN_INVALID] = { "id_token_invalid", 400, "message",
                                "%s authentication could not be completed." },
    [SA_E_EMAIL_MISSING] = { "email_missing", 400, "message",
                             "Your %s account does not have a primary verified email address." },
    [SA_E_EMAIL_UNVERIFIED] = { "email_unverified", 400, "message",
                                "Your %s account email address is not verified." },
    [SA_E_ACCOUNT_EXISTS] = { "account_exists", 400, "message",
                              "An account with this email already exists. "
                              "Sign in and link %s from your account." },
    [SA_E_IDENTITY_TAKEN] = { "identity_taken", 400, "message",
                              "This %s account is already linked to another user." },
    [SA_E_ACCOUNT_UNAVAILABLE] = { "account_unavailable", 400, "message",
                                   "This account is no longer available." },
    [SA_E_NOT_LINKED] = { "not_linked", 400, "non_field_errors", "No linked %s account found." },
    [SA_E_WRONG_PASSWORD] = { "wrong_password", 400, "non_field_errors", "Incorrect password." },
    [SA_E_LAST_LOGIN_METHOD] = { "last_login_method", 400, "non_field_errors",
                                 "This is the only way to sign in to this account." },
    [SA_E_THROTTLED] = { "throttled", 429, "detail",
                         "Request was throttled. Expected available in %d second%s." },
    [SA_E_UNAVAILABLE] = { "unavailable", 503, "detail",
                           "Service temporarily unavailable, try again later." },
    [SA_E_BUSY] = { "busy", 503, "detail", "Service temporarily unavailable, try again later." },
    [SA_E_LINK_INVALID] = { "link_invalid", 400, "message",
                            "This link is not valid any more. Please ask for a new one." },
    [SA_E_EMAIL_NOT_CONFIRMED] = { "email_not_confirmed", 401, "detail",
                                   "The email address is not verified yet. Follow the link in the "
                                   "mail that was sent to it." },
    [SA_E_NOT_FOUND] = { "not_found", 404, "detail", "Not found." },
    [SA_E_FORBIDDEN] = { "forbidden", 403, "detail",
                         "You do not have permission to perform this action." },
    [SA_E_INVALID_REQUEST] = { "invalid_request", 400, "detail", "The request is malformed." },
    [SA_E_INVALID_CLIENT] = { "invalid_client", 401, "detail", "Client authentication failed." },
    [SA_E_INVALID_GRANT] = { "invalid_grant", 400, "detail",
                             "The grant is invalid, expired, revoked or was issued to another "
                             "client." },
    [SA_E_UNAUTHORIZED_CLIENT] = { "unauthorized_client", 400, "detail",
                                   "The client may not use this grant type." },
    [SA_E_UNSUPPORTED_GRANT_TYPE] = { "unsupported_grant_type", 400, "detail",
                                      "The grant type is not supported." },
    [SA_E_INVALID_SCOPE] = { "invalid_scope", 400, "detail",
                             "The requested scope is invalid, unknown or exceeds what may be "
                             "granted." },
    [SA_E_ACCESS_DENIED] = { "access_denied", 403, "detail", "The user has refused." },
    [SA_E_UNSUPPORTED_RESPONSE_TYPE] = { "unsupported_response_type", 400, "detail",
                                         "The response type must be code." },
    [SA_E_LOGIN_REQUIRED] = { "login_required", 401, "detail", "The user is not signed in." },
    [SA_E_CONFLICT] = { "unavailable", 503, "detail",
                        "Service temporarily unavailable, try again later." },
};

#define DEFAULT_RETRY_AFTER 5   /* seconds, for failures that pass by themselves */

static sa_error_t *make(apr_pool_t *p, sa_error_kind_t kind, const char *log_fmt, va_list args)
{
    const shape_t *shape = &shapes[kind];
    sa_error_t *error = apr_pcalloc(p, sizeof(*error));

    error->kind = kind;
    error->word = shape->word;
    error->status = shape->status;
    error->member = shape->member;
    error->text = shape->text;
    error->log = log_fmt ? apr_pvsprintf(p, log_fmt, args) : NULL;
    error->retry_after = shape->status == 503 ? DEFAULT_RETRY_AFTER : 0;
    return error;
}

sa_error_t *sa_error(apr_pool_t *p, sa_error_kind_t kind, const char *label,
                     const char *log_fmt, ...)
{
    va_list args;
    va_start(args, log_fmt);
    sa_error_t *error = make(p, kind, log_fmt, args);
    va_end(args);

    const char *gap = strstr(error->text, "%s");
    if (gap) {
        error->text = apr_pstrcat(p, apr_pstrmemdup(p, error->text, gap - error->text),
                                  label ? label : "", gap + 2, NULL);
    }
    return error;
}

sa_error_t *sa_error_retry(apr_pool_t *p, sa_error_kind_t kind, int seconds,
                           const char *log_fmt, ...)
{
    va_list args;
    va_start(args, log_fmt);
    sa_error_t *error = make(p, kind, log_fmt, args);
    va_end(args);

    error->retry_after = seconds > 0 ? seconds : 1;
    if (kind == SA_E_THROTTLED) {
        error->text = apr_psprintf(p, "Request was throttled. Expected available in %d second%s.",
                                   error->retry_after, error->retry_after == 1 ? "" : "s");
    }
    return error;
}

void sa_error_field(apr_pool_t *p, sa_error_t **list, const char *name, sa_error_kind_t kind,
                    const char *text)
{
    if (!*list) {
        *list = sa_error(p, kind, NULL, NULL);
        (*list)->fields = apr_array_make(p, 4, sizeof(sa_field_error_t));
    }
    sa_field_error_t *field = apr_array_push((*list)->fields);
    field->name = name;
    field->text = text ? text : shapes[kind].text;
}
