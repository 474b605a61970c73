/* Inside providers only: whom an access token of Google's names. */
#ifndef SA_PROVIDERS_GOOGLE_H
#define SA_PROVIDERS_GOOGLE_H

#include "core/error.h"
#include "providers/provider.h"

/* tokeninfo says whether the token was issued to us and is still good; only then is userinfo asked,
 * which must have the same sub. Its hd counts: it came from Google over TLS. now is in seconds.
 * SA_E_PROVIDER_REJECTED for a token that was not issued to us or is over. */
sa_error_t *sa_google_identify(const sa_provider_t *provider, const sa_provider_env_t *env,
                               apr_pool_t *p, const char *token, apr_int64_t now,
                               sa_identity_t **identity);

#endif
