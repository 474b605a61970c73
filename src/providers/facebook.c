#include "providers/common.h"

#include "core/crypto.h"
#include "core/form.h"
#include "core/json.h"
#include "core/text.h"

#include <apr_escape.h>
#include <apr_strings.h>
#include <string.h>

#define WWW "https://www.facebook.com"
#define GRAPH "https://graph.facebook.com"
#define API_VERSION "24.0"
#define BAD_TOKEN 190           /* Graph's error code for an access token it does not accept */

/* ---- configuration ---- */

/* The query that /me is asked with, but for the token and its proof; NULL and *why. */
static const char *read_profile_params(apr_pool_t *p, const char *text, const char **why)
{
    json_t *params = sa_form_parse(p, text, strlen(text), why);
    const char *query = "";
    const char *name;
    json_t *value;

    if (!params) {
        return NULL;
    }
    if (json_object_get(params, "access_token") || json_object_get(params, "appsecret_proof")) {
        *why = "access_token and appsecret_proof are added to each request";
        return NULL;
    }
    if (!json_object_get(params, "fields")) {
        query = "fields=id,email,first_name,last_name&";
    }
    json_object_foreach(params, name, value) {
        query = apr_pstrcat(p, query, sa_form_encode(p, name, json_string_value(value), NULL), "&",
                            NULL);
    }
    return query;
}

static void fill_urls(sa_provider_t *provider, apr_pool_t *p)
{
    const char *version = provider->api_version ? provider->api_version : API_VERSION;
    const char *graph = apr_pstrcat(p, GRAPH "/v", version, NULL);

    sa_fill(&provider->authorize_url, apr_pstrcat(p, WWW "/v", version, "/dialog/oauth", NULL));
    sa_fill(&provider->token_url, apr_pstrcat(p, graph, "/oauth/access_token", NULL));
    sa_fill(&provider->userinfo_url, apr_pstrcat(p, graph, "/me", NULL));
    sa_fill(&provider->token_check_url, apr_pstrcat(p, graph, "/debug_token", NULL));
}

static const char *finish(sa_provider_t *provider, apr_pool_t *p)
{
    const char *params = provider->profile_params ? provider->profile_params : "";
    const char *why = NULL;

    provider->profile_params = read_profile_params(p, params, &why);
    if (!provider->profile_params) {
        return apr_psprintf(p, "profile-params='%s' must be a query such as "
                            "fields=id,email,name&locale=en_US: %s", params, why);
    }
    sa_fill(&provider->issuer, WWW);
    sa_fill(&provider->scope, "email,public_profile");
    fill_urls(provider, p);
    if (provider->client_ids->nelts == 0) {
        provider->disabled_because = "client-id is missing";
    } else if (!provider->client_secret) {
        provider->disabled_because = "client-secret is missing";
    }
    return NULL;
}

/* ---- Graph ---- */

/* An answer of Graph: an object without an error. */
static sa_error_t *read_answer(const sa_provider_t *provider, apr_pool_t *p,
                               const sa_http_response_t *response, const char *what,
                               json_t **answer)
{
    const char *why = "not a JSON object";
    json_t *json = sa_json_parse(p, response->body, response->len, &why);
    const json_t *error = json_object_get(json, "error");

    if (response->status < 500 &&
        json_integer_value(json_object_get(error, "code")) == BAD_TOKEN) {
        return sa_error(p, SA_E_PROVIDER_REJECTED, provider->label,
                        "%s: %s: the access token was refused", provider->name, what);
    }
    if (response->status != 200) {
        return sa_provider_failed(provider, p, APR_SUCCESS, response, what);
    }
    if (!json_is_object(json) || error) {
        return sa_provider_garbled(provider, p, what, error ? "an error with status 200" : why);
    }
    *answer = json;
    return NULL;
}

/* GET url?query with the access token and the proof that it is ours who hold it: HMAC-SHA-256
 * under the app secret. query is empty or ends in '&'. */
static sa_error_t *ask(const sa_provider_t *provider, const sa_provider_env_t *env, apr_pool_t *p,
                       const char *url, const char *query, const char *token, const char *what,
                       json_t **answer)
{
    const char *secret = provider->client_secret;
    unsigned char mac[SA_SHA256_LEN];
    sa_http_response_t response;

    sa_hmac_sha256(secret, strlen(secret), token, strlen(token), mac);
    char *tail = sa_form_encode(p, "access_token", token, "appsecret_proof",
                                apr_pescape_hex(p, mac, sizeof(mac), 0), NULL);
    char *full = apr_pstrcat(p, url, strchr(url, '?') ? "&" : "?", query, tail, NULL);
    sa_http_request_t request = { .url = full };
    apr_status_t rv = sa_provider_perform(provider, env, p, &request, 1, &response);
    sa_wipe(tail, strlen(tail));
    sa_wipe(full, strlen(full));
    if (rv != APR_SUCCESS || response.outcome != SA_HTTP_DONE) {
        return sa_provider_failed(provider, p, rv, &response, what);
    }
    return read_answer(provider, p, &response, what, answer);
}

/* An id of Graph's, a decimal number that it writes as a string or as a number; NULL when it is
 * neither. */
static const char *id_text(apr_pool_t *p, const json_t *id)
{
    const char *text = json_string_value(id);

    if (json_is_integer(id) && json_integer_value(id) > 0) {
        return apr_psprintf(p, "%" APR_INT64_T_FMT, (apr_int64_t)json_integer_value(id));
    }
    return text && *text && strlen(text) <= 64 && !text[strspn(text, "0123456789")] ? text : NULL;
}

/* Facebook never says that an address is verified: it counts only as far as email-trust= goes. */
static sa_error_t *read_me(const sa_provider_t *provider, apr_pool_t *p, const json_t *me,
                           sa_identity_t **identity)
{
    const char *id = id_text(p, json_object_get(me, "id"));
    const char *email = sa_json_string(me, "email");

    if (!id) {
        return sa_provider_garbled(provider, p, "me", "no usable id");
    }
    sa_identity_t *found = apr_pcalloc(p, sizeof(*found));
    found->issuer = provider->issuer;
    found->subject = id;
    found->email = email ? sa_email_canonical(p, email) : NULL;
    if (found->email) {
        found->email_vouched = sa_provider_vouches(provider, found->email, 0);
        found->email_verified = found->email_vouched;
    }
    sa_identity_set_names(p, found, sa_json_string(me, "first_name"),
                          sa_json_string(me, "last_name"), sa_json_string(me, "name"));
    *identity = found;
    return NULL;
}

static sa_error_t *about_user(const sa_provider_t *provider, const sa_provider_env_t *env,
                              apr_pool_t *p, const char *token, sa_identity_t **identity)
{
    json_t *me = NULL;
    sa_error_t *error = ask(provider, env, p, provider->userinfo_url, provider->profile_params,
                            token, "me", &me);

    return error ? error : read_me(provider, p, me, identity);
}

/* ---- flows ---- */

static sa_error_t *identify(const sa_provider_t *provider, const sa_provider_env_t *env,
                            apr_pool_t *p, const sa_credential_t *credential,
                            sa_identity_t **identity, sa_proof_t *proof)
{
    const sa_credential_t full = sa_with_redirect_uri(provider, credential);
    const char *token;
    json_t *answer;

    memset(proof, 0, sizeof(*proof));
    *identity = NULL;
    sa_error_t *error = sa_exchange_code(provider, env, p, &full, provider->token_url, &token,
                                         &answer);
    return error ? error : about_user(provider, env, p, token, identity);
}

/* ---- a token that a front end brought ---- */

static int is_over(const json_t *data, const char *name, apr_int64_t now)
{
    apr_int64_t until = (apr_int64_t)json_integer_value(json_object_get(data, name));

    return until != 0 && until <= now;      /* 0: never */
}

/* NULL, or why what debug_token says of a token makes it none for us. */
static const char *token_problem(const sa_provider_t *provider, apr_pool_t *p, const json_t *data,
                                 apr_int64_t now)
{
    const char *app = id_text(p, json_object_get(data, "app_id"));
    const char *type = sa_json_string(data, "type");

    if (!json_is_true(json_object_get(data, "is_valid")) || json_object_get(data, "error")) {
        return "the token is not valid";
    }
    if (!app || strcmp(app, sa_list_at(provider->client_ids, 0))) {
        return "it was issued to another application";
    }
    if (!type || strcmp(type, "USER")) {
        return "it is not a user's";
    }
    if (!json_is_integer(json_object_get(data, "expires_at")) ||
        is_over(data, "expires_at", now) || is_over(data, "data_access_expires_at", now)) {
        return "it has expired";
    }
    return id_text(p, json_object_get(data, "user_id")) ? NULL : "it names no user";
}

static sa_error_t *refused(const sa_provider_t *provider, apr_pool_t *p, const char *why)
{
    return sa_error(p, SA_E_PROVIDER_REJECTED, provider->label, "%s: debug_token: %s",
                    provider->name, why);
}

/* *data is what Facebook says of a token that was issued to us. */
static sa_error_t *check_token(const sa_provider_t *provider, const sa_provider_env_t *env,
                               apr_pool_t *p, const char *token, apr_int64_t now,
                               const json_t **data)
{
    char *app_token = apr_pstrcat(p, sa_list_at(provider->client_ids, 0), "|",
                                  provider->client_secret, NULL);
    char *input = apr_pstrcat(p, sa_form_encode(p, "input_token", token, NULL), "&", NULL);
    json_t *answer = NULL;
    sa_error_t *error = ask(provider, env, p, provider->token_check_url, input, app_token,
                            "debug_token", &answer);

    sa_wipe(app_token, strlen(app_token));
    if (error) {
        error->operator_acts = error->kind == SA_E_PROVIDER_REJECTED;   /* the token was our own */
        return error;
    }
    *data = json_object_get(answer, "data");
    if (!json_is_object(*data)) {
        return sa_provider_garbled(provider, p, "debug_token", "data is not an object");
    }
    const char *why = token_problem(provider, p, *data, now);
    return why ? refused(provider, p, why) : NULL;
}

static int grants_email(const json_t *data)
{
    size_t i;
    json_t *scope;

    json_array_foreach(json_object_get(data, "scopes"), i, scope) {
        if (json_is_string(scope) && !strcmp(json_string_value(scope), "email")) {
            return 1;
        }
    }
    return 0;
}

static sa_error_t *identify_token(const sa_provider_t *provider, const sa_provider_env_t *env,
                                  apr_pool_t *p, const sa_credential_t *credential,
                                  sa_identity_t **identity, sa_proof_t *proof)
{
    sa_identity_t *found = NULL;
    const json_t *data = NULL;

    memset(proof, 0, sizeof(*proof));
    *identity = NULL;
    sa_error_t *error = sa_check_access_token(provider, p, credential->token);
    if (!error) {
        error = check_token(provider, env, p, credential->token, credential->now, &data);
    }
    if (!error) {
        error = about_user(provider, env, p, credential->token, &found);
    }
    if (error) {
        return error;
    }
    if (strcmp(found->subject, id_text(p, json_object_get(data, "user_id")))) {
        return refused(provider, p, "user_id is not the id of me");
    }
    if (!grants_email(data)) {
        found->email = NULL;
        found->email_verified = found->email_vouched = 0;
    }
    *identity = found;
    return NULL;
}

const sa_provider_type_t sa_provider_facebook = {
    .name = "facebook",
    .flows = SA_FLOW_CODE,
    .finish = finish,
    .identify = identify,
    .identify_token = identify_token,
};
