#include "providers/google.h"

#include "core/crypto.h"
#include "core/form.h"
#include "core/json.h"
#include "providers/common.h"
#include "providers/id_token.h"

#include <apr_strings.h>
#include <string.h>

static sa_error_t *refused(const sa_provider_t *provider, apr_pool_t *p, const char *what,
                           const char *why)
{
    return sa_error(p, SA_E_PROVIDER_REJECTED, provider->label, "%s: %s: %s", provider->name, what,
                    why);
}

/* One call, whose refusals (4xx) are the token's fault. */
static sa_error_t *ask(const sa_provider_t *provider, const sa_provider_env_t *env, apr_pool_t *p,
                       const sa_http_request_t *request, const char *what, json_t **answer)
{
    sa_http_response_t response;
    const char *why = "not a JSON object";
    apr_status_t rv = sa_provider_perform(provider, env, p, request, 1, &response);

    if (rv != APR_SUCCESS || response.outcome != SA_HTTP_DONE) {
        return sa_provider_failed(provider, p, rv, &response, what);
    }
    if (response.status == 400 || response.status == 401 || response.status == 403) {
        return refused(provider, p, what, "the access token was refused");
    }
    if (response.status != 200) {
        return sa_provider_failed(provider, p, APR_SUCCESS, &response, what);
    }
    *answer = sa_json_parse(p, response.body, response.len, &why);
    return json_is_object(*answer) ? NULL : sa_provider_garbled(provider, p, what, why);
}

/* ---- tokeninfo: its numbers are strings ---- */

static int has_expired(const json_t *info, apr_int64_t now)
{
    const json_t *exp = json_object_get(info, "exp");
    const char *text = json_string_value(exp);
    apr_int64_t until = json_is_integer(exp) ? (apr_int64_t)json_integer_value(exp) : 0;

    if (text && *text && strlen(text) <= 18 && !text[strspn(text, "0123456789")]) {
        until = apr_atoi64(text);
    }
    return until <= now;
}

static sa_error_t *check_token(const sa_provider_t *provider, const sa_provider_env_t *env,
                               apr_pool_t *p, const char *token, apr_int64_t now,
                               const char **subject)
{
    char *body = sa_form_encode(p, "access_token", token, NULL);
    const sa_http_request_t request = { .url = provider->token_check_url, .body = body };
    json_t *info = NULL;
    sa_error_t *error = ask(provider, env, p, &request, "tokeninfo", &info);

    sa_wipe(body, strlen(body));
    if (error) {
        return error;
    }
    const char *why = sa_check_audience(provider, info);
    if (!why && has_expired(info, now)) {
        why = "exp is missing or over";
    }
    *subject = sa_json_string(info, "sub");
    if (!why && !*subject) {
        why = "sub is missing: the token grants neither openid nor email nor profile";
    }
    return why ? refused(provider, p, "tokeninfo", why) : NULL;
}

/* ---- identity ---- */

static sa_error_t *read_userinfo(const sa_provider_t *provider, apr_pool_t *p,
                                 const json_t *claims, const char *subject,
                                 sa_identity_t **identity)
{
    const char *why = sa_check_subject(provider, claims);

    if (!why && strcmp(sa_json_string(claims, "sub"), subject)) {
        why = "sub is not tokeninfo's";
    }
    if (why) {
        return refused(provider, p, "userinfo", why);
    }
    sa_identity_t *found = apr_pcalloc(p, sizeof(*found));
    found->issuer = provider->issuer;
    found->subject = subject;
    sa_identity_set_claims(provider, p, claims, claims, found);
    *identity = found;
    return NULL;
}

sa_error_t *sa_google_identify(const sa_provider_t *provider, const sa_provider_env_t *env,
                               apr_pool_t *p, const char *token, apr_int64_t now,
                               sa_identity_t **identity)
{
    const sa_http_request_t userinfo = { .url = provider->userinfo_url, .bearer = token };
    const char *subject = NULL;
    json_t *claims = NULL;

    sa_error_t *error = sa_check_access_token(provider, p, token);
    if (!error) {
        error = check_token(provider, env, p, token, now, &subject);
    }
    if (!error) {
        error = ask(provider, env, p, &userinfo, "userinfo", &claims);
    }
    return error ? error : read_userinfo(provider, p, claims, subject, identity);
}
