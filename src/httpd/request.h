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
    json_t *body;               /* an object, for routes that take one */
    sa_bearer_t bearer;         /* user_id NULL = anonymous */
} sa_request_t;

/* ---- request.c ---- */
void sa_request_init(sa_request_t *req, request_rec *r, const sa_mount_t *mount);

/* Reads the whole body, at most max_body bytes. OK, or a status that must be returned to httpd as it
 * is (the connection is gone or already answered); *error for everything we answer. */
int sa_body_read(sa_request_t *req, sa_error_t **error);
/* 1 when the client announced a body that nobody has read. */
int sa_body_unread(const request_rec *r);

/* The access token of the Authorization header: *token NULL when there is none of our kind. */
sa_error_t *sa_bearer_token(sa_request_t *req, const char **token);
/* Fills req->bearer; SA_E_NOT_AUTHENTICATED without a token when required. */
sa_error_t *sa_bearer_load(sa_request_t *req, int required);

typedef enum { SA_FIELD_OPTIONAL = 0, SA_FIELD_REQUIRED = 1, SA_FIELD_MAY_BE_BLANK = 2 }
    sa_field_flags_t;
/* The body's string field `name`; NULL when absent. What is wrong with it is added to *errors. */
const char *sa_field(sa_request_t *req, const char *name, int flags, sa_error_t **errors);

/* ---- cookies.c ---- */
/* Value of the state cookie with these 8 hex digits, NULL when none. `who` is the sa_request_t. */
const char *sa_state_cookie(void *who, const char *hex8);
void sa_state_cookie_set(sa_request_t *req, const sa_new_state_t *state);
void sa_state_cookie_clear(sa_request_t *req, const char *hex8);

/* ---- cors.c ---- */
void sa_cors_headers(sa_request_t *req);
void sa_cors_preflight(sa_request_t *req, const char *allow);

/* ---- throttle.c ---- */
/* The client's address, or the /64 it is from. */
const char *sa_client_network(const request_rec *r);
/* Counts one request of `kind` ("social", "password") for this client. */
sa_error_t *sa_throttle(sa_request_t *req, const char *kind, const sa_rate_t *rate);

/* ---- response.c ---- */
/* All return OK for the handler. */
int sa_answer_json(sa_request_t *req, int status, const json_t *body);
int sa_answer_empty(sa_request_t *req, int status);
int sa_answer_error(sa_request_t *req, const sa_error_t *error);

/* ---- routes.c ---- */
/* The content handler. */
int sa_handle(request_rec *r);

#endif
