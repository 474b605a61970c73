/* The REST dialect (CONTRACT section 1): one function per endpoint. Each parses,
 * calls accounts, answers, and returns what the handler returns. */
#ifndef SA_HTTPD_REST_H
#define SA_HTTPD_REST_H

#include "httpd/request.h"

int sa_rest_state(sa_request_t *req);
int sa_rest_login(sa_request_t *req);
int sa_rest_link(sa_request_t *req);
int sa_rest_unlink(sa_request_t *req);
int sa_rest_disconnect_backend(sa_request_t *req);     /* unlink in the OAuth2 dialect */
int sa_rest_linked_accounts(sa_request_t *req);
int sa_rest_token(sa_request_t *req);
int sa_rest_token_refresh(sa_request_t *req);
int sa_rest_token_verify(sa_request_t *req);
int sa_rest_token_blacklist(sa_request_t *req);
int sa_rest_jwks(sa_request_t *req);

/* Names the provider for access logs. */
void sa_rest_note_provider(sa_request_t *req);
/* {"access","refresh"} */
int sa_rest_answer_tokens(sa_request_t *req, int status, const sa_tokens_t *tokens);

#endif
