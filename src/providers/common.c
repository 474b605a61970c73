#include "providers/common.h"

#include "core/crypto.h"
#include "core/form.h"
#include "core/json.h"
#include "core/text.h"

#include <apr_strings.h>
#include <string.h>
#include <strings.h>

#define ACCESS_TOKEN_MAX 4096

const char *sa_list_at(const apr_array_header_t *list, int i)
{
    return ((const char *const *)(const void *)list->elts)[i];
}

int sa_list_has(const apr_array_header_t *list, const char *text)
{
    for (int i = 0; list && i < list->nelts; ++i) {
        if (!strcmp(sa_list_at(list, i), text)) {
            return 1;
        }
    }
    return 0;
}

void sa_fill(const char **member, const char *text)
{
    if (!*member) {
        *member = text;
    }
}

apr_status_t sa_provider_perform(const sa_provider_t *provider, const sa_provider_env_t *env,
                                 apr_pool_t *p, const sa_http_request_t *requests, int n,
                                 sa_http_response_t *responses)
{
    sa_http_limits_t limits = provider->limits;

    apr_int64_t left = env->deadline - sa_http_clock();

    for (int i = 0; env->deadline && left <= 0 && i < n; ++i) {
        responses[i] = (sa_http_response_t){ .outcome = SA_HTTP_TIMEOUT, .body = "",
                                             .problem = "no time is left for this call" };
    }
    if (env->deadline && left <= 0) {
        return APR_SUCCESS;
    }
    limits.owner = provider;
    limits.total_ms = env->deadline ? (int)left : limits.total_ms;
    return sa_http_perform(env->http, p, &limits, requests, n, responses);
}

sa_error_t *sa_provider_garbled(const sa_provider_t *provider, apr_pool_t *p, const char *what,
                                const char *why)
{
    return sa_error(p, SA_E_PROVIDER_UNAVAILABLE, provider->label, "%s: %s: %s", provider->name,
                    what, why);
}

sa_error_t *sa_provider_failed(const sa_provider_t *provider, apr_pool_t *p, apr_status_t rv,
                               const sa_http_response_t *response, const char *what)
{
    if (APR_STATUS_IS_EAGAIN(rv)) {
        return sa_error_retry(p, SA_E_BUSY, 1, "%s: %s: too many outbound calls are under way",
                              provider->name, what);
    }
    if (rv != APR_SUCCESS) {
        return sa_provider_garbled(provider, p, what, "no HTTP client could be had");
    }
    if (response->outcome == SA_HTTP_TIMEOUT) {
        return sa_error(p, SA_E_PROVIDER_TIMEOUT, provider->label, "%s: %s: %s", provider->name,
                        what, response->problem);
    }
    if (response->outcome != SA_HTTP_DONE) {
        return sa_provider_garbled(provider, p, what, response->problem);
    }
    return sa_provider_garbled(provider, p, what,
                               apr_psprintf(p, "unexpected status %d", response->status));
}

/* ---- code exchange ---- */

/* The provider's error code for the log: only when it looks like one of RFC 6749's, as a
 * hostile one might echo what we sent; or Facebook's number. */
static const char *error_code(apr_pool_t *p, const json_t *answer)
{
    const char *code = sa_json_string(answer, "error");
    const json_t *number = json_object_get(json_object_get(answer, "error"), "code");

    if (json_is_integer(number)) {
        return apr_psprintf(p, "%" APR_INT64_T_FMT, (apr_int64_t)json_integer_value(number));
    }
    if (!code || strlen(code) > 64 ||
        code[strspn(code, "abcdefghijklmnopqrstuvwxyz_")] != '\0') {
        return "no error code";
    }
    return code;
}

/* Our registration is wrong, not the user's code (RFC 6749 section 5.2, GitHub's own words, and
 * Facebook's numbers for a client secret and an application that it does not know). */
static int is_our_fault(const char *code)
{
    static const char *const codes[] = {
        "invalid_client", "unauthorized_client", "unsupported_grant_type",
        "incorrect_client_credentials", "redirect_uri_mismatch", "1", "101"
    };

    for (apr_size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); ++i) {
        if (!strcmp(code, codes[i])) {
            return 1;
        }
    }
    return 0;
}

static sa_error_t *rejected(const sa_provider_t *provider, apr_pool_t *p, int status,
                            const json_t *answer)
{
    const char *code = error_code(p, answer);
    sa_error_t *error = sa_error(p, SA_E_PROVIDER_REJECTED, provider->label,
                                 "%s: token endpoint: status %d, %s", provider->name, status, code);

    error->operator_acts = is_our_fault(code);
    return error;
}

static const char *access_token_problem(const char *token)
{
    if (!token || !*token) {
        return "no access_token";
    }
    if (strlen(token) > ACCESS_TOKEN_MAX) {
        return "the access_token is too long";
    }
    for (const char *c = token; *c; ++c) {
        if (*c <= 0x20 || *c >= 0x7f) {
            return "the access_token has characters that a header cannot carry";
        }
    }
    return NULL;
}

sa_error_t *sa_check_access_token(const sa_provider_t *provider, apr_pool_t *p, const char *token)
{
    const char *why = access_token_problem(token);

    return why ? sa_error(p, SA_E_PROVIDER_REJECTED, provider->label, "%s: %s", provider->name,
                          why) : NULL;
}

static const char *token_problem(const json_t *answer, const char **access_token)
{
    const char *token = sa_json_string(answer, "access_token");
    const json_t *type = json_object_get(answer, "token_type");
    const char *why = access_token_problem(token);

    if (why) {
        return why;
    }
    if (type && (!json_is_string(type) || strcasecmp(json_string_value(type), "bearer"))) {
        return "token_type is not bearer";
    }
    *access_token = token;
    return NULL;
}

static sa_error_t *read_token(const sa_provider_t *provider, apr_pool_t *p,
                              const sa_http_response_t *response, const char **access_token,
                              json_t **answer)
{
    const char *why = NULL;
    json_t *json = sa_json_parse(p, response->body, response->len, &why);

    if (response->status >= 400 && response->status < 500 && response->status != 429) {
        return rejected(provider, p, response->status, json);
    }
    if (response->status != 200) {
        return sa_provider_failed(provider, p, APR_SUCCESS, response, "token endpoint");
    }
    if (!json_is_object(json)) {
        return sa_provider_garbled(provider, p, "token endpoint",
                                   "the answer is not a JSON object");
    }
    if (json_object_get(json, "error")) {       /* GitHub: errors come with status 200 */
        return rejected(provider, p, response->status, json);
    }
    why = token_problem(json, access_token);
    if (why) {
        return sa_provider_garbled(provider, p, "token endpoint", why);
    }
    *answer = json;
    return NULL;
}

sa_credential_t sa_with_redirect_uri(const sa_provider_t *provider,
                                     const sa_credential_t *credential)
{
    sa_credential_t full = *credential;

    if (!full.redirect_uri && provider->redirect_uris->nelts == 1) {
        full.redirect_uri = sa_list_at(provider->redirect_uris, 0);
    }
    return full;
}

sa_error_t *sa_exchange_code(const sa_provider_t *provider, const sa_provider_env_t *env,
                             apr_pool_t *p, const sa_credential_t *credential,
                             const char *token_url, const char **access_token, json_t **answer)
{
    char *body = sa_form_encode(p, "grant_type", "authorization_code", "client_id",
                                sa_list_at(provider->client_ids, 0), "client_secret",
                                provider->client_secret, "code", credential->code, "redirect_uri",
                                credential->redirect_uri, "code_verifier",
                                credential->code_verifier, NULL);
    sa_http_request_t request = { .url = token_url, .body = body };
    sa_http_response_t response;
    apr_status_t rv = sa_provider_perform(provider, env, p, &request, 1, &response);

    sa_wipe(body, strlen(body));
    if (rv != APR_SUCCESS || response.outcome != SA_HTTP_DONE) {
        return sa_provider_failed(provider, p, rv, &response, "token endpoint");
    }
    return read_token(provider, p, &response, access_token, answer);
}

/* ---- identities ---- */

int sa_provider_vouches(const sa_provider_t *provider, const char *canonical, int by_default)
{
    switch (provider->email_trust) {
    case SA_EMAIL_TRUST_NONE:
        return 0;
    case SA_EMAIL_TRUST_VERIFIED:
        return 1;
    case SA_EMAIL_TRUST_DOMAINS:
        return sa_list_has(provider->email_domains, sa_email_domain(canonical));
    case SA_EMAIL_TRUST_DEFAULT:
        break;
    }
    return by_default;
}

static void split_name(apr_pool_t *p, sa_identity_t *identity, const char *name)
{
    const char *full = sa_clean_name(p, name ? name : "", 2 * SA_NAME_MAX);
    const char *gap = strchr(full, ' ');
    const char *first = gap ? apr_pstrmemdup(p, full, (apr_size_t)(gap - full)) : full;

    identity->first_name = sa_clean_name(p, first, SA_NAME_MAX);
    identity->last_name = gap ? sa_clean_name(p, gap, SA_NAME_MAX) : "";
}

void sa_identity_set_names(apr_pool_t *p, sa_identity_t *identity, const char *given,
                           const char *family, const char *name)
{
    if (!given && !family) {
        split_name(p, identity, name);
        return;
    }
    identity->first_name = sa_clean_name(p, given ? given : "", SA_NAME_MAX);
    identity->last_name = sa_clean_name(p, family ? family : "", SA_NAME_MAX);
}
