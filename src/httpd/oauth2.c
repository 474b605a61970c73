#include "httpd/oauth2.h"

#include <http_protocol.h>
#include <apr_strings.h>

#include "core/json.h"
#include "core/password.h"
#include "core/text.h"
#include "httpd/rest.h"
#include "httpd/routes.h"

#define CONVERT_TOKEN "convert_token"
#define INTROSPECTION "introspection"   /* the scope that may look into anybody's tokens */

/* ---- RFC 6749 section 5.1 ---- */

/* The answer with one member more, NULL when there is no memory for it. */
static json_t *with_member(json_t *body, const char *name, json_t *value)
{
    if (json_object_set_new(body, name, value)) {
        json_decref(body);
        return NULL;
    }
    return body;
}

static json_t *token_answer(const sa_tokens_t *tokens)
{
    json_t *body = json_pack("{s:s, s:i, s:s, s:s}", "access_token", tokens->access,
                             "expires_in", tokens->expires_in, "token_type", "Bearer",
                             "scope", tokens->scope);

    return tokens->refresh ? with_member(body, "refresh_token", json_string(tokens->refresh)) : body;
}

static int answer(sa_request_t *req, int status, const sa_tokens_t *tokens, json_t *body)
{
    sa_json_own(req->r->pool, body);
    sa_error_t *error = sa_token_cookies_deliver(req, tokens, body, "access_token",
                                                 "refresh_token");
    if (error) {
        return sa_answer_error(req, error);
    }
    apr_table_setn(req->r->headers_out, "Pragma", "no-cache");
    return sa_answer_json(req, status, body);
}

int sa_oauth2_answer_tokens(sa_request_t *req, int status, const sa_tokens_t *tokens)
{
    return answer(req, status, tokens, token_answer(tokens));
}

/* ---- grants ---- */

static sa_error_t *unsupported(sa_request_t *req)
{
    return sa_error(req->r->pool, SA_E_UNSUPPORTED_GRANT_TYPE, NULL, NULL);
}

/* The client of this request, once it may use the grant and have the scope. */
static sa_error_t *client_for(sa_request_t *req, const char *grant, const char *scope,
                              sa_client_t *client)
{
    sa_application_t *application;
    sa_error_t *error = sa_oauth2_client(req, &application);

    if (error) {
        return error;
    }
    error = sa_token_cookies_problem(req);
    return error ? error : sa_client_grant(&req->call, application, grant, scope, client);
}

static const char *optional(sa_request_t *req, const char *name, sa_error_t **error)
{
    return sa_field(req, name, SA_FIELD_OPTIONAL, error);
}

static const char *required(sa_request_t *req, const char *name, sa_error_t **error)
{
    return sa_field(req, name, SA_FIELD_REQUIRED, error);
}

/* RFC 6749 section 4.3. */
static sa_error_t *grant_password(sa_request_t *req, sa_tokens_t *tokens)
{
    sa_error_t *error = NULL;
    const char *scope = optional(req, "scope", &error);
    const char *username = required(req, "username", &error);
    const char *password = required(req, "password", &error);
    sa_client_t client;

    if (!req->mount->settings.password_login) {
        return unsupported(req);
    }
    if (!error) {
        error = sa_throttle(req, "password", &req->mount->settings.password_throttle);
    }
    if (!error) {
        error = client_for(req, "password", scope, &client);
    }
    if (!error && strlen(password) > SA_PASSWORD_MAX) {
        error = sa_error(req->r->pool, SA_E_BAD_CREDENTIALS, NULL, "the password is too long");
    }
    return error ? error
                 : sa_accounts_password_login(&req->call, username, -1, password, &client, tokens);
}

/* RFC 6749 section 4.1.3. */
static sa_error_t *grant_code(sa_request_t *req, sa_tokens_t *tokens)
{
    sa_error_t *error = NULL;
    const char *code = required(req, "code", &error);
    const char *redirect_uri = optional(req, "redirect_uri", &error);
    const char *verifier = optional(req, "code_verifier", &error);
    sa_client_t client;

    if (!error) {
        error = client_for(req, SA_GRANT_CODE, NULL, &client);
    }
    return error ? error : sa_accounts_exchange(&req->call, &client, code, redirect_uri, verifier,
                                                tokens);
}

/* RFC 6749 section 6. */
static sa_error_t *grant_refresh(sa_request_t *req, sa_tokens_t *tokens)
{
    sa_error_t *error = NULL;
    const char *scope = optional(req, "scope", &error);
    const char *token = sa_refresh_field(req, "refresh_token", &error);
    sa_client_t client;

    if (!error) {
        error = client_for(req, "refresh_token", NULL, &client);
    }
    return error ? error : sa_accounts_refresh(&req->call, token, &client, scope, tokens);
}

/* RFC 6749 section 4.4: for clients that can keep a secret. */
static sa_error_t *grant_client_credentials(sa_request_t *req, sa_tokens_t *tokens)
{
    sa_error_t *error = NULL;
    const char *scope = optional(req, "scope", &error);
    sa_application_t *application;
    sa_client_t client;

    if (!error) {
        error = sa_oauth2_client(req, &application);
    }
    if (!error && !application->secret) {
        error = sa_error(req->r->pool, SA_E_UNAUTHORIZED_CLIENT, NULL, "a public client");
    }
    if (!error) {
        error = sa_client_grant(&req->call, application, "client_credentials", scope, &client);
    }
    return error ? error : sa_accounts_client_token(&req->call, &client, tokens);
}

static const struct {
    const char *name;
    sa_error_t *(*run)(sa_request_t *req, sa_tokens_t *tokens);
} grants[] = {
    { "password", grant_password },
    { "refresh_token", grant_refresh },
    { "client_credentials", grant_client_credentials },
    { SA_GRANT_CODE, grant_code },
};
#define GRANTS (sizeof(grants) / sizeof(grants[0]))

static sa_error_t *run_grant(sa_request_t *req, sa_tokens_t *tokens)
{
    sa_error_t *error = NULL;
    const char *name = required(req, "grant_type", &error);

    for (size_t i = 0; !error && i < GRANTS; i++) {
        if (!strcmp(name, grants[i].name)) {
            return grants[i].run(req, tokens);
        }
    }
    return error ? error : unsupported(req);
}

int sa_oauth2_is_meant(const sa_request_t *req)
{
    return sa_is_media_type(apr_table_get(req->r->headers_in, "Content-Type"),
                            "application/x-www-form-urlencoded")
           || sa_oauth2_names_client(req);
}

/* The grant that has an endpoint of its own, and is throttled as there. */
static int grant_convert(sa_request_t *req)
{
    sa_error_t *error = sa_throttle(req, "social", &req->mount->settings.throttle);

    return error ? sa_answer_error(req, error) : sa_oauth2_convert_token(req);
}

int sa_oauth2_token(sa_request_t *req)
{
    const char *grant = sa_json_string(req->body, "grant_type");
    sa_tokens_t tokens;

    if (!json_object_get(req->body, "grant_type") && !sa_oauth2_names_client(req)) {
        return sa_rest_token(req);
    }
    req->oauth = 1;
    if (grant && !strcmp(grant, CONVERT_TOKEN)) {
        return grant_convert(req);
    }
    sa_error_t *error = run_grant(req, &tokens);
    sa_token_cookies_refused(req, error);
    return error ? sa_answer_error(req, error) : sa_oauth2_answer_tokens(req, HTTP_OK, &tokens);
}

/* ---- convert_token ---- */

/* The provider that `backend` names, when it can say whom a token was issued to. */
static sa_error_t *backend_of(sa_request_t *req, const char *name)
{
    req->provider = sa_provider_enabled(&req->mount->settings, name);
    if (req->provider && sa_provider_takes_tokens(req->provider)) {
        return NULL;
    }
    sa_error_t *error = sa_error(req->r->pool, SA_E_INVALID_REQUEST, NULL,
                                 req->provider ? "this provider cannot tell whose a token is"
                                               : "no such backend");
    error->text = "Invalid backend parameter.";
    return error;
}

static sa_error_t *convert(sa_request_t *req, sa_tokens_t *tokens)
{
    sa_error_t *error = NULL;
    const char *grant = required(req, "grant_type", &error);
    const char *backend = required(req, "backend", &error);
    const char *token = required(req, "token", &error);
    const char *scope = optional(req, "scope", &error);
    sa_client_t client;

    if (grant && strcmp(grant, CONVERT_TOKEN)) {
        return unsupported(req);
    }
    if (!error) {
        error = client_for(req, CONVERT_TOKEN, scope, &client);
    }
    if (!error) {
        error = backend_of(req, backend);
    }
    return error ? error
                 : sa_accounts_convert(&req->call, req->provider, token, &client, tokens);
}

int sa_oauth2_convert_token(sa_request_t *req)
{
    sa_tokens_t tokens;
    sa_error_t *error = convert(req, &tokens);

    if (error) {
        return sa_answer_error(req, error);
    }
    return answer(req, HTTP_OK, &tokens, with_member(token_answer(&tokens), "user", json_pack(
        "{s:s?, s:s?, s:s?}", "email", sa_utf8_or_null(tokens.user->email),
        "first_name", sa_utf8_or_null(tokens.user->first_name),
        "last_name", sa_utf8_or_null(tokens.user->last_name))));
}

/* ---- ending ---- */

/* RFC 7009 section 2.1: the client's own tokens. */
static sa_error_t *revoke_as_client(sa_request_t *req)
{
    sa_error_t *error = NULL;
    const char *token = required(req, "token", &error);
    sa_application_t *application;

    if (!error) {
        error = sa_oauth2_client(req, &application);
    }
    if (error) {
        return error;
    }
    const sa_owner_t owner = { .client_id = application->client_id };
    return sa_accounts_revoke(&req->call, token, &owner);
}

/* The bearer's own tokens, of the client when one is named. */
static sa_error_t *revoke_as_user(sa_request_t *req, const char *access)
{
    sa_error_t *error = NULL;
    const char *token = optional(req, "token", &error);
    sa_owner_t owner = { .user_id = req->bearer.user_id };
    sa_application_t *application;

    if (!error && sa_oauth2_names_client(req)) {
        error = sa_oauth2_client(req, &application);
        owner.client_id = error ? NULL : application->client_id;
    }
    return error ? error : sa_accounts_revoke(&req->call, token ? token : access, &owner);
}

int sa_oauth2_revoke(sa_request_t *req)
{
    const char *access;
    sa_error_t *error = sa_bearer_token(req, &access);

    if (!req->bearer.user_id) {
        access = NULL;
    }
    if (!error) {
        error = access ? revoke_as_user(req, access) : revoke_as_client(req);
    }
    if (!error) {
        sa_token_cookies_clear(req);
    }
    return error ? sa_answer_error(req, error)
                 : sa_answer_empty(req, access ? HTTP_NO_CONTENT : HTTP_OK);
}

static int end_client(sa_request_t *req, sa_end_t what)
{
    sa_error_t *error = NULL;
    const char *client_id = required(req, "client_id", &error);

    if (!error) {
        error = sa_accounts_end_client(&req->call, &req->bearer, client_id, what);
    }
    return error ? sa_answer_error(req, error) : sa_answer_empty(req, HTTP_NO_CONTENT);
}

int sa_oauth2_invalidate_sessions(sa_request_t *req)
{
    return end_client(req, SA_END_SESSIONS);
}

int sa_oauth2_invalidate_refresh_tokens(sa_request_t *req)
{
    return end_client(req, SA_END_REFRESH_TOKENS);
}

/* ---- looking into ---- */

static int is_introspector(const sa_application_t *application)
{
    return sa_words_have(application->scopes, INTROSPECTION, strlen(INTROSPECTION));
}

int sa_oauth2_introspect(sa_request_t *req)
{
    sa_error_t *error = NULL;
    sa_application_t *application;
    json_t *answer;
    const char *token = required(req, "token", &error);

    if (!error) {
        error = sa_oauth2_client(req, &application);
    }
    if (!error && !application->secret) {
        error = sa_error(req->r->pool, SA_E_INVALID_CLIENT, NULL, "a public client");
    }
    if (!error) {
        const sa_owner_t owner = {
            .client_id = is_introspector(application) ? NULL : application->client_id
        };
        error = sa_accounts_introspect(&req->call, token, &owner, &answer);
    }
    return error ? sa_answer_error(req, error) : sa_answer_json(req, HTTP_OK, answer);
}

static json_t *grant_names(const sa_settings_t *settings)
{
    json_t *names = json_array();

    for (size_t i = 0; i < GRANTS; i++) {
        if (settings->password_login || grants[i].run != grant_password) {
            json_array_append_new(names, json_string(grants[i].name));
        }
    }
    json_array_append_new(names, json_string(CONVERT_TOKEN));
    return names;
}

/* How clients prove who they are (RFC 6749 section 2.3). */
static json_t *auth_methods(int public_too)
{
    return json_pack("[s, s, s*]", "client_secret_basic", "client_secret_post",
                     public_too ? "none" : NULL);
}

int sa_oauth2_metadata(sa_request_t *req)
{
    apr_pool_t *p = req->r->pool;
    const sa_settings_t *settings = &req->mount->settings;
    const char *base = apr_pstrcat(p, settings->url, "/", NULL);
    json_t *body = json_pack(
        "{s:s, s:s+, s:s+, s:s+, s:s+, s:s+, s:[s], s:[s], s:[s], s:b, s:o, s:o, s:o, s:o}",
        "issuer", settings->issuer, "authorization_endpoint", base, "authorize",
        "token_endpoint", base, "token", "revocation_endpoint", base, "revoke-token",
        "introspection_endpoint", base, "introspect",
        "jwks_uri", base, ".well-known/jwks.json",
        "response_types_supported", "code", "response_modes_supported", "query",
        "code_challenge_methods_supported", "S256",
        "authorization_response_iss_parameter_supported", 1,
        "grant_types_supported", grant_names(settings),
        "token_endpoint_auth_methods_supported", auth_methods(1),
        "revocation_endpoint_auth_methods_supported", auth_methods(1),
        "introspection_endpoint_auth_methods_supported", auth_methods(0));

    return sa_answer_json(req, HTTP_OK, sa_json_own(p, body));
}
