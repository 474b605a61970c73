/* One API request on its way through the handler. */
#ifndef SA_HTTPD_REQUEST_H
#define SA_HTTPD_REQUEST_H

#include "httpd/config.h"

struct sa_route_t;

typedef struct sa_request_t {
    request_rec *r;
    const sa_mount_t *mount;
    const struct sa_route_t *route;
    const sa_provider_t *provider;      /* of routes that name one */
    const char *id;             /* of routes that have one, never "" */
    sa_call_t call;
    const char *origin;         /* Origin header, NULL when none */
    int origin_listed;          /* and SocialAuthAllowOrigin has it */
    int oauth;                  /* refusals are in the words of RFC 6749 section 5.2 */
    int browser;                /* refusals go to SocialAuthLoginErrorURL */
    const char *args;           /* the query string, NULL when none */
    json_t *body;               /* an object, for routes that take one */
    sa_bearer_t bearer;         /* user_id NULL = anonymous */
    int refresh_cookie;         /* the refresh token came in the cookie */
    int no_cookies;             /* the tokens are not for this browser */
} sa_request_t;

/* ---- request.c ---- */
void sa_request_init(sa_request_t *req, request_rec *r, const sa_mount_t *mount);
/* The fields of the query string; NULL and *error when it has no meaning. */
json_t *sa_query_parse(sa_request_t *req, sa_error_t **error);
/* Takes the query string out of all that is logged or shown from here on; req->args keeps it. */
void sa_query_hide(sa_request_t *req);

/* Reads the whole body, at most max_body bytes. OK, or a status that must be returned to httpd as it
 * is (the connection is gone or already answered); *error for everything we answer. */
int sa_body_read(sa_request_t *req, sa_error_t **error);
/* 1 when the value of a Content-Type header (NULL = none) is this type, with parameters or without. */
int sa_is_media_type(const char *header, const char *type);
/* 1 when the client announced a body that nobody has read. */
int sa_body_unread(const request_rec *r);

/* The access token of the Authorization header, else of the cookie: *token NULL when there is
 * none of our kind. SA_E_FORBIDDEN as sa_token_cookie. A GET of a state does not look for a cookie: it
 * is bound to the user only when the front end asks for that. */
sa_error_t *sa_bearer_token(sa_request_t *req, const char **token);
/* Fills req->bearer; SA_E_NOT_AUTHENTICATED without a token when required, SA_E_FORBIDDEN for a third
 * party's where the account's own is needed. When not required, a cookie's token that is no good
 * counts as none. */
sa_error_t *sa_bearer_load(sa_request_t *req, int required);

typedef enum { SA_FIELD_OPTIONAL = 0, SA_FIELD_REQUIRED = 1, SA_FIELD_MAY_BE_BLANK = 2 }
    sa_field_flags_t;
/* The body's string field `name`; NULL when absent. What is wrong with it is added to *errors. */
const char *sa_field(sa_request_t *req, const char *name, int flags, sa_error_t **errors);

/* ---- cookies.c ---- */
/* How the names of our cookies begin, behind "__Host-" or "__Secure-". */
#define SA_STATE_COOKIE "sa-state-"
#define SA_ACCESS_COOKIE "sa-access"
#define SA_REFRESH_COOKIE "sa-refresh"
#define SA_COOKIE_TAG 8         /* hexadecimal digits that may end them */
/* Walks the Cookie header's name=value pairs; *pos starts at the header. 0 at the end. */
int sa_next_cookie(const char **pos, const char **name, size_t *name_len, const char **value,
                   size_t *value_len);
/* 1 when the text begins with the digits that end the names of ours. */
int sa_is_cookie_tag(const char *text);
/* Value of the state cookie with these 8 hex digits, NULL when none. `who` is the sa_request_t. */
const char *sa_state_cookie(void *who, const char *hex8);
void sa_state_cookie_set(sa_request_t *req, const sa_new_state_t *state);
void sa_state_cookie_clear(sa_request_t *req, const char *hex8);

/* ---- strip_cookies.c: SocialAuthStripCookies ---- */
/* Takes our cookies out of a request that somebody else answers. */
void sa_cookies_strip(request_rec *r);
/* Gives a request that an internal redirect or a page that includes us brought the cookies that it
 * came with. */
void sa_cookies_restore(request_rec *r);

/* ---- token_cookies.c: SocialAuthTokenDelivery ---- */
typedef enum { SA_COOKIE_ACCESS, SA_COOKIE_REFRESH } sa_token_cookie_t;
/* The token in the cookie, *token NULL when there is none. Refusals: two cookies of the name
 * (`bad`), and SA_E_FORBIDDEN for a request that changes something and may be another site's. */
sa_error_t *sa_token_cookie(sa_request_t *req, sa_token_cookie_t which, sa_error_kind_t bad,
                            const char **token);
/* The refresh token of the body's field `name`, else of the cookie. */
const char *sa_refresh_field(sa_request_t *req, const char *name, sa_error_t **error);
/* Where only cookies are delivered: SA_E_FORBIDDEN for a page that is given none. To be asked before
 * anybody is signed in. */
sa_error_t *sa_token_cookies_problem(const sa_request_t *req);
/* Delivers a user's tokens as the mount is configured to: sets the cookies and takes `access` and
 * `refresh`, which are names of members, out of the body. Fails when a cookie cannot hold its
 * token, and where only cookies are delivered, for pages that are given none. */
sa_error_t *sa_token_cookies_deliver(sa_request_t *req, const sa_tokens_t *tokens, json_t *body,
                                     const char *access, const char *refresh);
/* Sets the cookies whatever page asks: for a login that its own state cookie has proven to be this
 * browser's. Fails when a cookie cannot hold its token. */
sa_error_t *sa_token_cookies_set(sa_request_t *req, const sa_tokens_t *tokens);
/* Deletes both, unless the request comes from a page that is given none. */
void sa_token_cookies_clear(sa_request_t *req);
/* After a refresh: deletes both when it was the cookie's token that was refused. */
void sa_token_cookies_refused(sa_request_t *req, const sa_error_t *error);

/* ---- cors.c ---- */
void sa_cors_headers(sa_request_t *req);
void sa_cors_preflight(sa_request_t *req, const char *allow);

/* ---- throttle.c ---- */
/* The client's address, or the /64 it is from. */
const char *sa_client_network(const request_rec *r);
/* Counts one request of `kind` ("social", "password") for this client. */
sa_error_t *sa_throttle(sa_request_t *req, const char *kind, const sa_rate_t *rate);

/* ---- response.c ---- */
/* JSON that is the same for everybody. */
typedef struct {
    const char *text;
    apr_size_t len;
    const char *etag;           /* with its quotation marks */
} sa_static_document_t;

/* What the handler returns: OK, or for a client that has it already HTTP_NOT_MODIFIED. */
int sa_answer_document(sa_request_t *req, const sa_static_document_t *document);
/* These return OK for the handler. */
int sa_answer_json(sa_request_t *req, int status, const json_t *body);
int sa_answer_empty(sa_request_t *req, int status);
int sa_answer_error(sa_request_t *req, const sa_error_t *error);
/* Sends the browser to `url`; what was posted is not posted there. */
int sa_answer_redirect(sa_request_t *req, const char *url);
/* A page without scripts and styles, which nobody may frame. */
int sa_answer_page(sa_request_t *req, const char *html);
/* Logs a refusal that a redirect tells: its word of RFC 6749 section 4.1.2.1. */
const char *sa_refusal(sa_request_t *req, const sa_error_t *error, const char **description);

/* ---- routes.c ---- */
/* The content handler. */
int sa_handle(request_rec *r);

#endif
