#include "httpd/browser.h"

#include <apr_strings.h>

#include "core/json.h"
#include "core/url.h"
#include "httpd/rest.h"

int sa_browser_usable(const sa_request_t *req)
{
    return (req->mount->token_delivery & SA_DELIVER_COOKIE)
           && (sa_provider_flows(req->provider) & SA_FLOW_CODE);
}

/* As it is registered at the provider: with the name that the path uses, which may be an alias. */
static const char *redirect_uri(const sa_request_t *req)
{
    return apr_pstrcat(req->r->pool, req->mount->settings.url, "/complete/", req->id, "/", NULL);
}

/* Where the query asks to go afterwards, NULL when it does not. */
static const char *next_of(sa_request_t *req, sa_error_t **error)
{
    const json_t *query = sa_query_parse(req, error);
    const char *next = sa_json_string(query, "next");

    if (next && (strlen(next) > SA_STATE_NEXT_MAX
                 || !sa_return_to_valid(next, req->mount->next_origins))) {
        sa_error_field(req->r->pool, error, "next", SA_E_INVALID,
                       "Not a path of this site or an address of an allowed origin.");
    }
    return next;
}

int sa_browser_login(sa_request_t *req)
{
    sa_error_t *error = NULL;
    sa_new_state_t state;
    const char *location, *next = next_of(req, &error);

    sa_rest_note_provider(req);
    if (!error) {
        error = sa_accounts_start_redirect(&req->call, req->provider, redirect_uri(req), next,
                                           &state, &location);
    }
    if (error) {
        return sa_answer_error(req, error);
    }
    if (!req->r->header_only) {
        sa_state_cookie_set(req, &state);
    }
    return sa_answer_redirect(req, location);
}

static sa_error_t *read_attempt(sa_request_t *req, sa_attempt_t *attempt)
{
    sa_error_t *error = NULL;
    const json_t *query = sa_query_parse(req, &error);

    *attempt = (sa_attempt_t) {
        .redirect = 1, .cookie = sa_state_cookie, .who = req, .redirect_uri = redirect_uri(req),
        .code = sa_json_string(query, "code"), .state = sa_json_string(query, "state"),
        .error = sa_json_string(query, "error"), .issuer = sa_json_string(query, "iss"),
    };
    if (!error && !attempt->error && !(attempt->code && *attempt->code)) {
        sa_error_field(req->r->pool, &error, "code", SA_E_REQUIRED, NULL);
    }
    return error;
}

int sa_browser_complete(sa_request_t *req)
{
    sa_attempt_t attempt;
    sa_tokens_t tokens;

    if (req->r->header_only) {          /* nobody is signed in by a look at the headers */
        return sa_answer_empty(req, HTTP_NO_CONTENT);
    }
    sa_error_t *error = read_attempt(req, &attempt);
    sa_rest_note_provider(req);
    if (!error) {
        error = sa_accounts_login(&req->call, req->provider, &attempt, &tokens);
    }
    if (attempt.spent_cookie) {
        sa_state_cookie_clear(req, attempt.spent_cookie);
    }
    if (!error) {
        error = sa_token_cookies_set(req, &tokens);
    }
    return error ? sa_answer_error(req, error)
                 : sa_answer_redirect(req, attempt.next ? attempt.next : "/");
}
