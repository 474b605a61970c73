#include "httpd/rest.h"

#include <http_protocol.h>
#include <apr_strings.h>
#include <errno.h>

#include "core/json.h"
#include "core/password.h"
#include "httpd/routes.h"

int sa_rest_answer_tokens(sa_request_t *req, int status, const sa_tokens_t *tokens)
{
    /* Not "s:s*", which leaves out as well what there is no memory for. */
    json_t *body = sa_json_own(req->r->pool, tokens->refresh
                               ? json_pack("{s:s, s:s}", "access", tokens->access,
                                           "refresh", tokens->refresh)
                               : json_pack("{s:s}", "access", tokens->access));
    sa_error_t *error = sa_token_cookies_deliver(req, tokens, body, "access", "refresh");

    return error ? sa_answer_error(req, error) : sa_answer_json(req, status, body);
}

static int answer_empty_object(sa_request_t *req)
{
    return sa_answer_json(req, HTTP_OK, sa_json_own(req->r->pool, json_object()));
}

/* ---- state ---- */

/* The S256 challenge of the query string, NULL when there is none. */
static const char *challenge(sa_request_t *req, sa_error_t **errors)
{
    apr_pool_t *p = req->r->pool;
    const json_t *query = sa_query_parse(req, errors);
    const char *value = sa_json_string(query, "code_challenge");
    const char *method = sa_json_string(query, "code_challenge_method");
    if (value && !sa_pkce_challenge_valid(value)) {
        sa_error_field(p, errors, "code_challenge", SA_E_INVALID, "Not a valid S256 challenge.");
    }
    if ((value || method) && (!method || strcmp(method, "S256"))) {
        sa_error_field(p, errors, "code_challenge_method", SA_E_INVALID,
                       "Only S256 is supported.");
    }
    return value;
}

int sa_rest_state(sa_request_t *req)
{
    sa_error_t *error = NULL;
    sa_new_state_t state;
    const char *code_challenge = challenge(req, &error);

    if (!error) {
        error = sa_accounts_new_state(&req->call, req->provider, code_challenge,
                                      req->bearer.user_id, &state);
    }
    if (error) {
        return sa_answer_error(req, error);
    }
    if (!req->r->header_only) {
        sa_state_cookie_set(req, &state);
    }
    return sa_answer_json(req, HTTP_OK,
                          sa_json_own(req->r->pool,
                                      state.nonce
                                      ? json_pack("{s:s, s:s}", "state", state.state,
                                                  "nonce", state.nonce)
                                      : json_pack("{s:s}", "state", state.state)));
}

/* ---- login, link ---- */

static int redirect_uri_listed(const sa_provider_t *provider, const char *uri)
{
    for (int i = 0; i < provider->redirect_uris->nelts; i++) {
        if (!strcmp(uri, APR_ARRAY_IDX(provider->redirect_uris, i, const char *))) {
            return 1;
        }
    }
    return 0;
}

/* Which of code and token this provider takes here; both or neither is an error. */
static void read_credential(sa_request_t *req, sa_attempt_t *attempt, sa_error_t **errors)
{
    int flows = sa_provider_flows(req->provider);
    int has_code = json_object_get(req->body, "code") != NULL;

    if (has_code && (flows & SA_FLOW_ID_TOKEN) && json_object_get(req->body, "token")) {
        sa_error_field(req->r->pool, errors, "non_field_errors", SA_E_INVALID,
                       "Send either code or token, not both.");
        return;
    }
    if ((has_code && (flows & SA_FLOW_CODE)) || !(flows & SA_FLOW_ID_TOKEN)) {
        attempt->code = sa_field(req, "code", SA_FIELD_REQUIRED, errors);
    }
    else {
        attempt->token = sa_field(req, "token", SA_FIELD_REQUIRED, errors);
    }
}

static sa_error_t *read_attempt(sa_request_t *req, sa_attempt_t *attempt)
{
    int is_code, state_required;
    sa_error_t *errors = NULL;

    *attempt = (sa_attempt_t) {
        .cookie = sa_state_cookie, .who = req,
        .binding_exempt = req->origin_listed && !req->mount->allow_credentials,
    };
    read_credential(req, attempt, &errors);
    is_code = !attempt->token && !(sa_provider_flows(req->provider) & SA_FLOW_ID_TOKEN);
    state_required = is_code || attempt->code
                     || req->mount->settings.state_binding == SA_BINDING_REQUIRED;
    attempt->state = sa_field(req, "state", state_required ? SA_FIELD_REQUIRED
                                                           : SA_FIELD_OPTIONAL, &errors);
    attempt->code_verifier = sa_field(req, "code_verifier", SA_FIELD_OPTIONAL, &errors);
    attempt->redirect_uri = sa_field(req, "redirect_uri", SA_FIELD_OPTIONAL, &errors);
    if (attempt->redirect_uri && !redirect_uri_listed(req->provider, attempt->redirect_uri)) {
        sa_error_field(req->r->pool, &errors, "redirect_uri", SA_E_INVALID,
                       "Not a registered redirect URI.");
    }
    return errors;
}

void sa_rest_note_provider(sa_request_t *req)
{
    apr_table_setn(req->r->notes, "social-auth-provider", req->provider->name);
}

int sa_rest_login(sa_request_t *req)
{
    sa_attempt_t attempt;
    sa_tokens_t tokens;
    sa_error_t *error = read_attempt(req, &attempt);

    sa_rest_note_provider(req);
    if (!error) {
        error = sa_token_cookies_problem(req);
    }
    if (!error) {
        error = sa_accounts_login(&req->call, req->provider, &attempt, &tokens);
    }
    if (attempt.spent_cookie) {
        sa_state_cookie_clear(req, attempt.spent_cookie);
    }
    return error ? sa_answer_error(req, error) : sa_rest_answer_tokens(req, HTTP_OK, &tokens);
}

int sa_rest_link(sa_request_t *req)
{
    sa_attempt_t attempt;
    sa_error_t *error = read_attempt(req, &attempt);

    sa_rest_note_provider(req);
    if (!error) {
        error = sa_accounts_link(&req->call, req->provider, &req->bearer, &attempt);
    }
    if (attempt.spent_cookie) {
        sa_state_cookie_clear(req, attempt.spent_cookie);
    }
    return error ? sa_answer_error(req, error) : sa_answer_empty(req, HTTP_NO_CONTENT);
}

/* ---- unlink ---- */

static int unlink_provider(sa_request_t *req, const apr_int64_t *association, sa_error_t *error)
{
    const char *password = sa_field(req, "password", SA_FIELD_OPTIONAL, &error);

    if (!error && password && strlen(password) > SA_PASSWORD_MAX) {
        error = sa_error(req->r->pool, SA_E_WRONG_PASSWORD, NULL, NULL);
    }
    if (!error) {
        error = sa_accounts_unlink(&req->call, req->provider, &req->bearer, association, password);
    }
    return error ? sa_answer_error(req, error) : sa_answer_empty(req, HTTP_NO_CONTENT);
}

int sa_rest_unlink(sa_request_t *req)
{
    sa_rest_note_provider(req);
    return unlink_provider(req, NULL, NULL);
}

/* A whole number, as JSON's or in digits; 0 when something is wrong with it. */
static apr_int64_t integer_field(sa_request_t *req, const char *name, sa_error_t **errors)
{
    const json_t *value = json_object_get(req->body, name);
    char *end = NULL;

    if (json_is_integer(value)) {
        return json_integer_value(value);
    }
    if (!value || json_is_null(value) || json_is_string(value)) {
        const char *text = sa_field(req, name, SA_FIELD_REQUIRED, errors);
        errno = 0;
        apr_int64_t number = text ? apr_strtoi64(text, &end, 10) : 0;
        if (!text || (!*end && !errno)) {
            return number;
        }
    }
    sa_error_field(req->r->pool, errors, name, SA_E_INVALID, "A valid integer is required.");
    return 0;
}

int sa_rest_disconnect_backend(sa_request_t *req)
{
    sa_error_t *error = NULL;
    const char *backend = sa_field(req, "backend", SA_FIELD_REQUIRED, &error);
    apr_int64_t association = integer_field(req, "association_id", &error);

    req->provider = backend ? sa_provider_enabled(&req->mount->settings, backend) : NULL;
    if (req->provider) {
        sa_rest_note_provider(req);
    }
    else if (backend) {
        sa_error_field(req->r->pool, &error, "backend", SA_E_INVALID, "Invalid backend.");
    }
    return unlink_provider(req, &association, error);
}

int sa_rest_linked_accounts(sa_request_t *req)
{
    json_t *providers;
    sa_error_t *error = sa_accounts_linked(&req->call, &req->bearer, &providers);

    if (error) {
        return sa_answer_error(req, error);
    }
    return sa_answer_json(req, HTTP_OK,
                          sa_json_own(req->r->pool, json_pack("{s:O}", "providers", providers)));
}

/* ---- tokens ---- */

/* SimpleJWT's pair: "username" or "email", and "password". */
int sa_rest_token(sa_request_t *req)
{
    const sa_settings_t *settings = &req->mount->settings;
    sa_tokens_t tokens;
    int is_email = json_object_get(req->body, "email") != NULL;
    sa_error_t *error = settings->password_login
        ? sa_throttle(req, "password", &settings->password_throttle)
        : sa_error(req->r->pool, SA_E_NOT_FOUND, NULL, NULL);

    if (!error) {
        error = sa_token_cookies_problem(req);
    }
    if (error) {
        return sa_answer_error(req, error);
    }
    const char *login = sa_field(req, is_email ? "email" : "username", SA_FIELD_REQUIRED, &error);
    const char *password = sa_field(req, "password", SA_FIELD_REQUIRED, &error);
    if (password && strlen(password) > SA_PASSWORD_MAX) {
        sa_error_field(req->r->pool, &error, "password", SA_E_INVALID,
                       "Ensure this field has no more than 4096 characters.");
    }
    if (!error) {
        error = sa_accounts_password_login(&req->call, login, is_email, password, NULL, &tokens);
    }
    return error ? sa_answer_error(req, error) : sa_rest_answer_tokens(req, HTTP_OK, &tokens);
}

int sa_rest_token_refresh(sa_request_t *req)
{
    sa_error_t *error = NULL;
    sa_tokens_t tokens;
    const char *refresh = sa_refresh_field(req, "refresh", &error);

    if (!error) {
        error = sa_token_cookies_problem(req);
    }
    if (!error) {
        error = sa_accounts_refresh(&req->call, refresh, NULL, NULL, &tokens);
    }
    sa_token_cookies_refused(req, error);
    return error ? sa_answer_error(req, error) : sa_rest_answer_tokens(req, HTTP_OK, &tokens);
}

int sa_rest_token_verify(sa_request_t *req)
{
    sa_error_t *error = NULL;
    const char *token = sa_field(req, "token", SA_FIELD_REQUIRED, &error);

    if (!error) {
        error = sa_accounts_verify(&req->call, token);
    }
    return error ? sa_answer_error(req, error) : answer_empty_object(req);
}

int sa_rest_token_blacklist(sa_request_t *req)
{
    sa_error_t *error = NULL;
    const char *refresh = sa_refresh_field(req, "refresh", &error);

    if (!error) {
        error = sa_accounts_blacklist(&req->call, refresh);
    }
    if (!error) {
        sa_token_cookies_clear(req);
    }
    sa_token_cookies_refused(req, error);
    return error ? sa_answer_error(req, error) : answer_empty_object(req);
}

/* RFC 7517 section 5: the public keys, oldest and newest alike. */
int sa_rest_jwks(sa_request_t *req)
{
    return sa_answer_json(req, HTTP_OK, sa_keyset_public_jwks(req->r->pool,
                                                              req->mount->settings.keys));
}
