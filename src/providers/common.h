/* Inside providers only: what the provider types share. */
#ifndef SA_PROVIDERS_COMMON_H
#define SA_PROVIDERS_COMMON_H

#include "core/error.h"
#include "providers/provider.h"
#include <jansson.h>

#define SA_NAME_MAX 150         /* bytes of a first or last name that are kept */

/* Element i of an array of const char *, and whether `text` is one of them (byte-exact). */
const char *sa_list_at(const apr_array_header_t *list, int i);
int sa_list_has(const apr_array_header_t *list, const char *text);

/* *member = text unless it is set. */
void sa_fill(const char **member, const char *text);

/* sa_http_perform under the provider's limits and what is left of env's deadline. */
apr_status_t sa_provider_perform(const sa_provider_t *provider, const sa_provider_env_t *env,
                                 apr_pool_t *p, const sa_http_request_t *requests, int n,
                                 sa_http_response_t *responses);
/* The failure for a call that gave no usable answer: busy, timeout or unavailable. `what`
 * names the call in the log; rv is sa_http_perform's. */
sa_error_t *sa_provider_failed(const sa_provider_t *provider, apr_pool_t *p, apr_status_t rv,
                               const sa_http_response_t *response, const char *what);
/* SA_E_PROVIDER_UNAVAILABLE for an answer that arrived and makes no sense. */
sa_error_t *sa_provider_garbled(const sa_provider_t *provider, apr_pool_t *p, const char *what,
                                const char *why);

/* The credential with the redirect_uri of the authorization request, which OIDC Core 3.1.3.1 and
 * Facebook want: a front end that names none used the only one there is. */
sa_credential_t sa_with_redirect_uri(const sa_provider_t *provider,
                                     const sa_credential_t *credential);

/* Exchanges the credential's code (RFC 6749 section 4.1.3, client_secret_post). The access
 * token is printable ASCII without spaces, at most 4096 bytes; *answer is the whole object. */
sa_error_t *sa_exchange_code(const sa_provider_t *provider, const sa_provider_env_t *env,
                             apr_pool_t *p, const sa_credential_t *credential,
                             const char *token_url, const char **access_token, json_t **answer);

/* SA_E_PROVIDER_REJECTED for an access token of a front end's that is none: anything but printable
 * ASCII without spaces, 1 to 4096 bytes. */
sa_error_t *sa_check_access_token(const sa_provider_t *provider, apr_pool_t *p,
                                  const char *token);

/* 1 when the provider vouches for a verified canonical address, by email-trust=;
 * `by_default` is the answer of its type. */
int sa_provider_vouches(const sa_provider_t *provider, const char *canonical, int by_default);

/* first_name and last_name, cleaned; a full name is cut at its first space where there is neither.
 * Each may be NULL. */
void sa_identity_set_names(apr_pool_t *p, sa_identity_t *identity, const char *given,
                           const char *family, const char *name);

#endif
