#include "providers/common.h"

#include "core/form.h"
#include "core/url.h"
#include "providers/discovery.h"

#include <apr_strings.h>
#include <string.h>

sa_error_t *sa_provider_authorize(const sa_provider_t *provider, const sa_provider_env_t *env,
                                  apr_pool_t *p, const sa_authorization_request_t *request,
                                  const char **url)
{
    int has_id_tokens = provider->type->flows & SA_FLOW_ID_TOKEN;
    sa_endpoints_t endpoints;
    sa_error_t *error = sa_discover(provider, env, p, SA_NEED_AUTHORIZE, &endpoints);

    if (error) {
        return error;
    }
    const char *query = sa_form_encode(p, "response_type", "code", "client_id",
                                       sa_list_at(provider->client_ids, 0), "redirect_uri",
                                       request->redirect_uri, "scope", provider->scope, "state",
                                       request->state, "code_challenge", request->challenge,
                                       "code_challenge_method", "S256", "nonce",
                                       has_id_tokens ? request->nonce : NULL, "hd",
                                       provider->hosted_domain, NULL);
    *url = sa_url_with_query(p, endpoints.authorize_url, query);
    return NULL;
}

/* The browser brings it: it is logged only when it looks like a code of RFC 6749. */
static const char *shown(const char *code)
{
    return strlen(code) <= 64 && !code[strspn(code, "abcdefghijklmnopqrstuvwxyz_")]
               ? code : "no error code";
}

/* RFC 9207 section 2.4. */
static sa_error_t *check_issuer(const sa_provider_t *provider, const sa_provider_env_t *env,
                                apr_pool_t *p, const char *issuer)
{
    sa_endpoints_t endpoints;

    if (provider->type != &sa_provider_oidc || (issuer && !strcmp(issuer, provider->issuer))) {
        return NULL;
    }
    if (issuer) {
        return sa_error(p, SA_E_PROVIDER_REJECTED, provider->label,
                        "%s: authorization endpoint: iss is another provider", provider->name);
    }
    sa_error_t *error = sa_discover(provider, env, p, SA_NEED_AUTHORIZE, &endpoints);
    return error || !endpoints.sends_iss ? error
           : sa_error(p, SA_E_PROVIDER_REJECTED, provider->label,
                      "%s: authorization endpoint: iss is missing", provider->name);
}

sa_error_t *sa_provider_came_back(const sa_provider_t *provider, const sa_provider_env_t *env,
                                  apr_pool_t *p, const char *word, const char *issuer)
{
    sa_error_t *error = check_issuer(provider, env, p, issuer);

    if (error || !word) {
        return error;
    }
    int is_down = !strcmp(word, "server_error") || !strcmp(word, "temporarily_unavailable");
    return sa_error(p, is_down ? SA_E_PROVIDER_UNAVAILABLE : SA_E_PROVIDER_REJECTED,
                    provider->label, "%s: authorization endpoint: %s", provider->name,
                    shown(word));
}
