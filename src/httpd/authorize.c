/* The authorization endpoint (RFC 6749 section 3.1): who asks, whether the user is signed in and
 * willing, and where the answer goes. */
#include "httpd/oauth2.h"

#include <apr_strings.h>

#include "core/form.h"
#include "core/json.h"
#include "core/url.h"

typedef struct {
    const char *text;           /* the request, as a query */
    sa_authorization_t request;
    sa_application_t *application;
    const char *redirect;       /* where its answer goes */
    sa_client_t client;         /* what it may have */
} asked_t;

/* ---- answers ---- */

static int send_back(sa_request_t *req, const asked_t *asked, const char *code, const char *word,
                     const char *description)
{
    apr_pool_t *p = req->r->pool;

    return sa_answer_redirect(req, sa_url_with_query(p, asked->redirect, sa_form_encode(
        p, "code", code, "error", word, "error_description", description,
        "state", asked->request.state, "iss", req->mount->settings.issuer, NULL)));
}

static int refuse(sa_request_t *req, const asked_t *asked, const sa_error_t *error)
{
    const char *description, *word = sa_refusal(req, error, &description);

    return send_back(req, asked, NULL, word, description);
}

/* To the site's page for that, which leads back here. */
static int sign_in(sa_request_t *req, const asked_t *asked)
{
    apr_pool_t *p = req->r->pool;
    const char *page = req->mount->login_url;

    if (!page) {
        return refuse(req, asked, sa_error(p, SA_E_LOGIN_REQUIRED, NULL, NULL));
    }
    const char *next = apr_pstrcat(p, req->mount->path, "/authorize?", asked->text, NULL);
    return sa_answer_redirect(req, sa_url_with_query(p, page, sa_form_encode(p, "next", next, NULL)));
}

static int give_code(sa_request_t *req, const asked_t *asked)
{
    const char *code;
    sa_error_t *error = sa_authorize_code(&req->call, &asked->request, &asked->client,
                                          &req->bearer, &code);

    if (error && error->kind == SA_E_LOGIN_REQUIRED) {
        return sign_in(req, asked);
    }
    return error ? refuse(req, asked, error) : send_back(req, asked, code, NULL, NULL);
}

static int ask_user(sa_request_t *req, const asked_t *asked)
{
    sa_user_t *user;
    sa_error_t *error = sa_accounts_profile(&req->call, &req->bearer, &user);

    if (error) {
        return error->kind == SA_E_TOKEN_NOT_VALID ? sign_in(req, asked)
                                                   : refuse(req, asked, error);
    }
    return sa_answer_page(req, sa_consent_page(req, asked->application, asked->client.scope, user,
                                               asked->redirect, asked->text));
}

/* ---- questions ---- */

/* A parameter without a value counts as left out (RFC 6749 section 3.1). */
static const char *parameter(const json_t *query, const char *name)
{
    const char *value = sa_json_string(query, name);

    return value && *value ? value : NULL;
}

static sa_error_t *read_request(sa_request_t *req, const char *text, asked_t *asked)
{
    const char *why = "";
    const json_t *query = sa_form_parse(req->r->pool, text, strlen(text), &why);

    asked->text = text;
    if (!query) {
        sa_error_t *error = sa_error(req->r->pool, SA_E_INVALID_REQUEST, NULL, NULL);
        error->text = apr_pstrcat(req->r->pool, "Query parse error - ", why, NULL);
        return error;
    }
    asked->request = (sa_authorization_t) {
        .client_id = parameter(query, "client_id"),
        .redirect_uri = parameter(query, "redirect_uri"),
        .response_type = parameter(query, "response_type"),
        .response_mode = parameter(query, "response_mode"),
        .scope = parameter(query, "scope"), .state = parameter(query, "state"),
        .code_challenge = parameter(query, "code_challenge"),
        .code_challenge_method = parameter(query, "code_challenge_method"),
    };
    return sa_authorize_client(&req->call, &asked->request, &asked->application,
                               &asked->redirect);
}

/* Reads the request and goes on with `next` for a user who is signed in. */
static int with_user(sa_request_t *req, const char *text,
                     int (*next)(sa_request_t *req, const asked_t *asked))
{
    asked_t asked;
    sa_error_t *error = read_request(req, text, &asked);

    if (error) {
        return sa_answer_error(req, error);
    }
    error = sa_authorize_check(&req->call, &asked.request, asked.application, &asked.client);
    if (error) {
        return refuse(req, &asked, error);
    }
    error = sa_bearer_load(req, 0);
    if (!error) {
        error = sa_throttle(req, "social", &req->mount->settings.throttle);
    }
    if (error) {
        return sa_answer_error(req, error);
    }
    return req->bearer.user_id ? next(req, &asked) : sign_in(req, &asked);
}

/* Another scheme than https, or http on the user's own machine, is any program's that takes it first
 * (RFC 8252 section 8.6). */
static int is_certain(const asked_t *asked)
{
    return asked->application->trusted && sa_url_is_https(asked->redirect);
}

static int begin(sa_request_t *req, const asked_t *asked)
{
    return is_certain(asked) && !req->r->header_only ? give_code(req, asked) : ask_user(req, asked);
}

int sa_authorize(sa_request_t *req)
{
    return with_user(req, req->args ? req->args : "", begin);
}

static int decide(sa_request_t *req, const asked_t *asked)
{
    apr_pool_t *p = req->r->pool;
    const char *token = sa_json_string(req->body, "token");
    const char *decision = sa_json_string(req->body, "decision");

    if (!token || !sa_consent_verify(&req->call, &req->bearer, asked->text, token)) {
        sa_error_t *error = sa_error(p, SA_E_FORBIDDEN, NULL, "consent without a good token");
        error->text = "This page has expired. Go back to the application and try again.";
        return sa_answer_error(req, error);
    }
    return decision && !strcmp(decision, "allow") ? give_code(req, asked)
           : refuse(req, asked, sa_error(p, SA_E_ACCESS_DENIED, NULL, NULL));
}

int sa_authorize_decide(sa_request_t *req)
{
    sa_error_t *error = NULL;
    const char *question = sa_field(req, "request", SA_FIELD_REQUIRED, &error);

    return error ? sa_answer_error(req, error) : with_user(req, question, decide);
}
