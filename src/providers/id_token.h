/* Inside providers only: what an ID token must say (OpenID Connect Core section 3.1.3.7), and the
 * same claims where they come in another answer. A check returns NULL or a log text. */
#ifndef SA_PROVIDERS_ID_TOKEN_H
#define SA_PROVIDERS_ID_TOKEN_H

#include "core/jwt.h"
#include "providers/provider.h"
#include <jansson.h>

#define SA_GOOGLE "https://accounts.google.com"

/* 1 when the provider's issuer is Google, whatever its name. */
int sa_is_google(const sa_provider_t *provider);

/* All that does not need the signature: jwt's was verified. */
const char *sa_check_id_token(const sa_provider_t *provider, const sa_credential_t *credential,
                              const sa_jwt_t *jwt);
/* Every aud, and azp if present, is one of our client ids. */
const char *sa_check_audience(const sa_provider_t *provider, const json_t *claims);
/* sub is usable, and hd is the configured domain where there is one. */
const char *sa_check_subject(const sa_provider_t *provider, const json_t *claims);
/* at_hash, c_hash: claim `name` is the hash of `text`, or absent. */
const char *sa_check_hash(apr_pool_t *p, const sa_jwt_t *jwt, const char *name, const char *text);

/* The e-mail address and what is known of it by `claims`, where hd counts in hd_claims; the names
 * too, unless the identity has one. */
void sa_identity_set_claims(const sa_provider_t *provider, apr_pool_t *p, const json_t *claims,
                            const json_t *hd_claims, sa_identity_t *identity);

#endif
