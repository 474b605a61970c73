/* One failure value for the whole module.
 *
 * A failure is made once, where it is understood, and becomes an HTTP answer
 * once, in httpd/response. Functions that can fail for a reason a user or an
 * operator should hear return `sa_error_t *`: NULL is success. The value lives
 * in the pool it was made in. Public texts never carry secrets, SQL or a
 * provider's own words; the log text may name ids but no credential.
 */
#ifndef SA_CORE_ERROR_H
#define SA_CORE_ERROR_H

#include <apr_pools.h>
#include <apr_tables.h>

typedef enum {
    SA_E_REQUIRED,              /* a field is missing            (field errors) */
    SA_E_BLANK,                 /* a field is empty              (field errors) */
    SA_E_NULL,                  /* a field is JSON null          (field errors) */
    SA_E_INVALID,               /* a field is not a string, ...  (field errors) */
    SA_E_PARSE_ERROR,
    SA_E_UNSUPPORTED_MEDIA_TYPE,
    SA_E_METHOD_NOT_ALLOWED,
    SA_E_BODY_TOO_LARGE,
    SA_E_NOT_AUTHENTICATED,
    SA_E_TOKEN_NOT_VALID,       /* a Bearer that is not accepted */
    SA_E_REFRESH_NOT_VALID,     /* token/refresh, token/verify: word token_not_valid */
    SA_E_REFRESH_OF_ANOTHER,    /* good, but not for this client: answered in the same words */
    SA_E_TOKEN_BLACKLISTED,
    SA_E_BAD_CREDENTIALS,
    SA_E_STATE_INVALID,
    SA_E_PROVIDER_REJECTED,
    SA_E_PROVIDER_UNAVAILABLE,
    SA_E_PROVIDER_TIMEOUT,
    SA_E_ID_TOKEN_INVALID,
    SA_E_EMAIL_MISSING,
    SA_E_EMAIL_UNVERIFIED,
    SA_E_ACCOUNT_EXISTS,
    SA_E_IDENTITY_TAKEN,
    SA_E_ACCOUNT_UNAVAILABLE,
    SA_E_NOT_LINKED,
    SA_E_WRONG_PASSWORD,
    SA_E_LAST_LOGIN_METHOD,
    SA_E_THROTTLED,
    SA_E_UNAVAILABLE,           /* the database (or our own resources) failed */
    SA_E_BUSY,
    SA_E_LINK_INVALID,          /* of a mail: forged, used, expired, overtaken */
    SA_E_EMAIL_NOT_CONFIRMED,   /* password right, but our own mail was not answered */
    SA_E_NOT_FOUND,
    SA_E_FORBIDDEN,
    SA_E_INVALID_REQUEST,       /* RFC 6749 section 5.2, from here … */
    SA_E_INVALID_CLIENT,
    SA_E_INVALID_GRANT,
    SA_E_UNAUTHORIZED_CLIENT,
    SA_E_UNSUPPORTED_GRANT_TYPE,
    SA_E_INVALID_SCOPE,         /* … to here */
    SA_E_ACCESS_DENIED,         /* RFC 6749 section 4.1.2.1, these two */
    SA_E_UNSUPPORTED_RESPONSE_TYPE,
    SA_E_LOGIN_REQUIRED,        /* OpenID Connect Core section 3.1.2.6 */
    SA_E_CONFLICT               /* internal: a concurrent change won; the caller looks again */
} sa_error_kind_t;

typedef struct {
    const char *name;           /* the body's member */
    const char *text;
} sa_field_error_t;

typedef struct sa_error_t {
    sa_error_kind_t kind;
    const char *word;           /* stable machine word: the answer's "error" */
    int status;                 /* HTTP status */
    const char *member;         /* body member for `text`: "detail", "message", "non_field_errors" */
    const char *text;           /* public text */
    const char *log;            /* operator's text, NULL when there is nothing to add */
    apr_array_header_t *fields; /* sa_field_error_t, those of one name are one list; NULL = none */
    int retry_after;            /* seconds, 0 = no Retry-After */
    int operator_acts;          /* 1 = the log must show it: it goes on until somebody changes something */
} sa_error_t;

/* A failure of `kind`. `label` (a provider's label such as "GitHub", or its
 * name for SA_E_NOT_LINKED) fills the public text where it has a place for
 * one; NULL elsewhere. log_fmt may be NULL. Never fails. */
sa_error_t *sa_error(apr_pool_t *p, sa_error_kind_t kind, const char *label,
                     const char *log_fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* SA_E_THROTTLED / SA_E_UNAVAILABLE / SA_E_BUSY with Retry-After `seconds`. */
sa_error_t *sa_error_retry(apr_pool_t *p, sa_error_kind_t kind, int seconds,
                           const char *log_fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Adds one field's failure to *list (made when NULL), DRF's text for `kind`
 * unless `text` is given. The first one added decides the machine word. */
void sa_error_field(apr_pool_t *p, sa_error_t **list, const char *name,
                    sa_error_kind_t kind, const char *text);

#endif
