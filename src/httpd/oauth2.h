/* The OAuth2 dialect (CONTRACT section 2): token endpoint and what goes with it. Each function
 * parses, calls accounts, answers, and returns what the handler returns. */
#ifndef SA_HTTPD_OAUTH2_H
#define SA_HTTPD_OAUTH2_H

#include "httpd/request.h"

/* RFC 6749 section 3.2; without a grant_type and a client, SimpleJWT's pair. */
int sa_oauth2_token(sa_request_t *req);
int sa_oauth2_convert_token(sa_request_t *req);
/* RFC 7009, or with a Bearer drf-social-oauth2's way. */
int sa_oauth2_revoke(sa_request_t *req);
int sa_oauth2_invalidate_sessions(sa_request_t *req);
int sa_oauth2_invalidate_refresh_tokens(sa_request_t *req);
int sa_oauth2_introspect(sa_request_t *req);    /* RFC 7662 */
int sa_oauth2_metadata(sa_request_t *req);      /* RFC 8414 */

/* RFC 6749 section 5.1 */
int sa_oauth2_answer_tokens(sa_request_t *req, int status, const sa_tokens_t *tokens);

/* ---- authorize.c: RFC 6749 section 4.1, RFC 7636, RFC 9207 ---- */
int sa_authorize(sa_request_t *req);
/* The answer of the page that asks the user. */
int sa_authorize_decide(sa_request_t *req);

/* ---- consent.c ---- */
/* The page: may the application have `scope` of the account? question: the request as a query. */
const char *sa_consent_page(sa_request_t *req, const sa_application_t *application,
                            const char *scope, const sa_user_t *user, const char *redirect,
                            const char *question);

/* ---- client_auth.c ---- */
/* The client of the Authorization header or the body, authenticated (RFC 6749 section 2.3). */
sa_error_t *sa_oauth2_client(sa_request_t *req, sa_application_t **application);
/* 1 when the request names a client in one of these ways. */
int sa_oauth2_names_client(const sa_request_t *req);
/* token/ speaks both dialects. 1 when a body that could not be read is rather of this one: a form, or a
 * client that names itself. */
int sa_oauth2_is_meant(const sa_request_t *req);

#endif
