#include "providers/common.h"

#include "core/crypto.h"
#include "core/form.h"
#include "core/json.h"
#include "core/text.h"

#include <apr_strings.h>
#include <string.h>

static void fill_urls(sa_provider_t *provider, apr_pool_t *p)
{
    const char *base = provider->base_url ? provider->base_url : "https://github.com";
    const char *api = provider->base_url ? apr_pstrcat(p, provider->base_url, "/api/v3", NULL)
                                         : "https://api.github.com";

    sa_fill(&provider->issuer, base);
    sa_fill(&provider->authorize_url, apr_pstrcat(p, base, "/login/oauth/authorize", NULL));
    sa_fill(&provider->token_url, apr_pstrcat(p, base, "/login/oauth/access_token", NULL));
    sa_fill(&provider->userinfo_url, apr_pstrcat(p, api, "/user", NULL));
    sa_fill(&provider->emails_url, apr_pstrcat(p, api, "/user/emails", NULL));
    if (provider->client_ids->nelts > 0) {
        const char *id = sa_percent_encode(p, sa_list_at(provider->client_ids, 0));
        sa_fill(&provider->token_check_url,
                apr_pstrcat(p, api, "/applications/", id, "/token", NULL));
    }
}

static const char *finish(sa_provider_t *provider, apr_pool_t *p)
{
    fill_urls(provider, p);
    sa_fill(&provider->scope, "read:user user:email");
    if (provider->client_ids->nelts == 0) {
        provider->disabled_because = "client-id is missing";
    } else if (!provider->client_secret) {
        provider->disabled_because = "client-secret is missing";
    }
    return NULL;
}

/* "login", "email" and the other members of /user may change hands or be public only: none of
 * them is looked at, except for the name. */
static sa_error_t *read_user(const sa_provider_t *provider, apr_pool_t *p,
                             const sa_http_response_t *response, sa_identity_t *identity)
{
    const char *why = NULL;

    if (response->outcome == SA_HTTP_DONE && response->status == 401) {
        return sa_error(p, SA_E_PROVIDER_REJECTED, provider->label,
                        "%s: user: the access token was refused", provider->name);
    }
    if (response->outcome != SA_HTTP_DONE || response->status != 200) {
        return sa_provider_failed(provider, p, APR_SUCCESS, response, "user");
    }
    json_t *user = sa_json_parse(p, response->body, response->len, &why);
    const json_t *id = json_object_get(user, "id");
    if (!json_is_integer(id) || json_integer_value(id) <= 0) {
        return sa_provider_garbled(provider, p, "user", why ? why : "no usable id");
    }
    identity->issuer = provider->issuer;
    identity->subject = apr_psprintf(p, "%" APR_INT64_T_FMT,
                                     (apr_int64_t)json_integer_value(id));
    sa_identity_set_names(p, identity, NULL, NULL, sa_json_string(user, "name"));
    return NULL;
}

/* The address of the one entry that is primary and verified; NULL when there is none or more. */
static const char *primary_email(const json_t *emails)
{
    const char *found = NULL;
    int count = 0;
    size_t i;
    json_t *entry;

    json_array_foreach(emails, i, entry) {
        if (json_is_true(json_object_get(entry, "primary")) &&
            json_is_true(json_object_get(entry, "verified"))) {
            found = sa_json_string(entry, "email");
            ++count;
        }
    }
    return count == 1 ? found : NULL;
}

static int is_list_of_objects(const json_t *list)
{
    size_t i;
    json_t *entry;

    if (!json_is_array(list)) {
        return 0;
    }
    json_array_foreach(list, i, entry) {
        if (!json_is_object(entry)) {
            return 0;
        }
    }
    return 1;
}

static sa_error_t *read_emails(const sa_provider_t *provider, apr_pool_t *p,
                               const sa_http_response_t *response, sa_identity_t *identity)
{
    const char *why = "not a list of e-mail addresses";

    /* 403, 404: the user did not grant user:email. A linked identity does not need it. */
    if (response->outcome == SA_HTTP_DONE &&
        (response->status == 403 || response->status == 404)) {
        return NULL;
    }
    if (response->outcome != SA_HTTP_DONE || response->status != 200) {
        return sa_provider_failed(provider, p, APR_SUCCESS, response, "e-mail addresses");
    }
    json_t *emails = sa_json_parse(p, response->body, response->len, &why);
    if (!is_list_of_objects(emails)) {
        return sa_provider_garbled(provider, p, "e-mail addresses", why);
    }
    const char *email = primary_email(emails);
    identity->email = email ? sa_email_canonical(p, email) : NULL;
    if (identity->email) {
        identity->email_verified = 1;
        identity->email_vouched = sa_provider_vouches(provider, identity->email, 1);
    }
    return NULL;
}

static apr_array_header_t *api_headers(apr_pool_t *p)
{
    apr_array_header_t *headers = apr_array_make(p, 1, sizeof(const char *));

    *(const char **)apr_array_push(headers) = "X-GitHub-Api-Version: 2022-11-28";
    return headers;
}

static sa_error_t *about_user(const sa_provider_t *provider, const sa_provider_env_t *env,
                              apr_pool_t *p, const char *token, sa_identity_t **identity)
{
    const apr_array_header_t *headers = api_headers(p);
    sa_http_request_t requests[2] = {
        { .url = provider->userinfo_url, .bearer = token, .headers = headers },
        { .url = provider->emails_url, .bearer = token, .headers = headers },
    };
    sa_http_response_t responses[2];
    apr_status_t rv = sa_provider_perform(provider, env, p, requests, 2, responses);
    if (rv != APR_SUCCESS) {
        return sa_provider_failed(provider, p, rv, NULL, "user");
    }
    sa_identity_t *found = apr_pcalloc(p, sizeof(*found));
    sa_error_t *error = read_user(provider, p, &responses[0], found);
    if (!error) {
        error = read_emails(provider, p, &responses[1], found);
    }
    *identity = error ? NULL : found;
    return error;
}

static sa_error_t *identify(const sa_provider_t *provider, const sa_provider_env_t *env,
                            apr_pool_t *p, const sa_credential_t *credential,
                            sa_identity_t **identity, sa_proof_t *proof)
{
    const char *token;
    json_t *answer;

    memset(proof, 0, sizeof(*proof));
    *identity = NULL;
    sa_error_t *error = sa_exchange_code(provider, env, p, credential, provider->token_url,
                                         &token, &answer);
    return error ? error : about_user(provider, env, p, token, identity);
}

/* ---- a token that a front end brought ---- */

/* GitHub answers 404 for a token of another application, and 422 for what it never issued. */
static sa_error_t *read_check(const sa_provider_t *provider, apr_pool_t *p,
                              const sa_http_response_t *response)
{
    const char *why = NULL;
    int status = response->status;

    if (status == 401 || status == 404 || status == 422) {
        sa_error_t *error = sa_error(p, SA_E_PROVIDER_REJECTED, provider->label,
                                     "%s: token check: status %d", provider->name, status);
        error->operator_acts = status == 401;   /* our own credentials */
        return error;
    }
    if (status != 200) {
        return sa_provider_failed(provider, p, APR_SUCCESS, response, "token check");
    }
    const json_t *app = json_object_get(sa_json_parse(p, response->body, response->len, &why),
                                        "app");
    const char *client_id = sa_json_string(app, "client_id");
    if (!client_id) {
        return sa_provider_garbled(provider, p, "token check", why ? why : "no app.client_id");
    }
    return !strcmp(client_id, sa_list_at(provider->client_ids, 0))
               ? NULL
               : sa_error(p, SA_E_PROVIDER_REJECTED, provider->label,
                          "%s: token check: issued to another application", provider->name);
}

static sa_error_t *check_token(const sa_provider_t *provider, const sa_provider_env_t *env,
                               apr_pool_t *p, const char *token)
{
    char *body = sa_json_dump(p, sa_json_own(p, json_pack("{s:s}", "access_token", token)));
    const sa_http_request_t request = {
        .url = provider->token_check_url, .body = body, .content_type = "application/json",
        .basic_user = sa_list_at(provider->client_ids, 0),
        .basic_password = provider->client_secret, .headers = api_headers(p)
    };
    sa_http_response_t response;

    if (!body) {
        return sa_error(p, SA_E_UNAVAILABLE, NULL, "%s: out of memory", provider->name);
    }
    apr_status_t rv = sa_provider_perform(provider, env, p, &request, 1, &response);
    sa_wipe(body, strlen(body));
    if (rv != APR_SUCCESS || response.outcome != SA_HTTP_DONE) {
        return sa_provider_failed(provider, p, rv, &response, "token check");
    }
    return read_check(provider, p, &response);
}

static sa_error_t *identify_token(const sa_provider_t *provider, const sa_provider_env_t *env,
                                  apr_pool_t *p, const sa_credential_t *credential,
                                  sa_identity_t **identity, sa_proof_t *proof)
{
    memset(proof, 0, sizeof(*proof));
    *identity = NULL;
    sa_error_t *error = sa_check_access_token(provider, p, credential->token);
    if (!error) {
        error = check_token(provider, env, p, credential->token);
    }
    return error ? error : about_user(provider, env, p, credential->token, identity);
}

const sa_provider_type_t sa_provider_github = {
    .name = "github",
    .flows = SA_FLOW_CODE,
    .finish = finish,
    .identify = identify,
    .identify_token = identify_token,
};
