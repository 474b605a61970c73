/* Tokens in HttpOnly cookies (RFC 6265bis), and who may make a browser use them. */
#include "httpd/routes.h"

#include <http_log.h>
#include <http_protocol.h>
#include <apr_strings.h>

#include "core/json.h"
#include "core/url.h"

#define COOKIE_MAX 4096         /* bytes of name and value that browsers keep */

static int is_on(const sa_request_t *req)
{
    return req->mount->token_delivery & SA_DELIVER_COOKIE;
}

/* ---- other people's pages ---- */

static int is_ours(const sa_request_t *req, const char *origin)
{
    return !strcmp(origin, sa_url_origin(req->r->pool, req->mount->base_url))
           || (req->origin_listed && req->mount->allow_credentials);
}

/* What the browser says about the page that sends this: 1 = trusted, 0 = not, -1 = nothing. */
static int page_is_trusted(const sa_request_t *req)
{
    const char *site = apr_table_get(req->r->headers_in, "Sec-Fetch-Site");

    if (req->origin && is_ours(req, req->origin)) {
        return 1;
    }
    if (req->origin && !strcmp(req->origin, "null")) {
        return 0;
    }
    if (site) {
        return !strcmp(site, "same-origin") || !strcmp(site, "none");
    }
    return req->origin ? 0 : -1;
}

/* What a page of another site cannot send unless a preflight allows it. */
static int needs_preflight(const request_rec *r)
{
    return apr_table_get(r->headers_in, "X-Requested-With")
           || sa_is_media_type(apr_table_get(r->headers_in, "Content-Type"), "application/json");
}

static sa_error_t *csrf_failed(const sa_request_t *req, const char *why)
{
    sa_error_t *error = sa_error(req->r->pool, SA_E_FORBIDDEN, NULL, "CSRF: %s", why);

    error->text = apr_pstrcat(req->r->pool, "CSRF Failed: ", why, NULL);
    return error;
}

static sa_error_t *forgery_problem(const sa_request_t *req)
{
    if (req->r->method_number == M_GET || req->r->method_number == M_OPTIONS) {
        return NULL;
    }
    if (page_is_trusted(req) != 1) {
        return csrf_failed(req, "Origin checking failed.");
    }
    /* A page's form has a token of its own for this. */
    return (req->route->flags & SA_ROUTE_PAGE) || needs_preflight(req->r)
           ? NULL : csrf_failed(req, "Send application/json or the header X-Requested-With.");
}

/* ---- names ---- */

static const char *name_of(const sa_request_t *req, sa_token_cookie_t which)
{
    static const char *const names[][2] = {
        [SA_COOKIE_ACCESS] = { SA_ACCESS_COOKIE, "__Host-" SA_ACCESS_COOKIE },
        [SA_COOKIE_REFRESH] = { SA_REFRESH_COOKIE, "__Secure-" SA_REFRESH_COOKIE },
    };

    return apr_pstrcat(req->r->pool, names[which][req->mount->secure != 0],
                       req->mount->cookie_tag, NULL);
}

/* ---- reading ---- */

sa_error_t *sa_token_cookie(sa_request_t *req, sa_token_cookie_t which, sa_error_kind_t bad,
                            const char **token)
{
    const char *pos = is_on(req) ? apr_table_get(req->r->headers_in, "Cookie") : NULL;
    const char *wanted = name_of(req, which), *name, *value;
    size_t name_len, value_len;

    *token = NULL;
    while (pos && sa_next_cookie(&pos, &name, &name_len, &value, &value_len)) {
        if (name_len != strlen(wanted) || strncmp(name, wanted, name_len)) {
            continue;
        }
        if (*token) {
            *token = NULL;
            return sa_error(req->r->pool, bad, NULL, "two cookies called %s", wanted);
        }
        *token = apr_pstrmemdup(req->r->pool, value, value_len);
    }
    return *token ? forgery_problem(req) : NULL;
}

static int is_empty(const json_t *value)
{
    return !value || json_is_null(value)
           || (json_is_string(value) && !*json_string_value(value));
}

const char *sa_refresh_field(sa_request_t *req, const char *name, sa_error_t **error)
{
    const char *token = NULL;

    if (is_empty(json_object_get(req->body, name)) && !*error) {
        *error = sa_token_cookie(req, SA_COOKIE_REFRESH, SA_E_REFRESH_NOT_VALID, &token);
        req->refresh_cookie = token || *error;
    }
    return token || *error ? token : sa_field(req, name, SA_FIELD_REQUIRED, error);
}

/* ---- writing ---- */

static void set(sa_request_t *req, sa_token_cookie_t which, const char *value, int max_age)
{
    apr_pool_t *p = req->r->pool;
    const char *path = which == SA_COOKIE_REFRESH
        ? apr_pstrcat(p, req->mount->path, "/token", NULL) : "/";

    apr_table_addn(req->r->err_headers_out, "Set-Cookie",
                   apr_psprintf(p, "%s=%s; Max-Age=%d; Path=%s; %sHttpOnly; SameSite=Lax",
                                name_of(req, which), value, max_age, path,
                                req->mount->secure ? "Secure; " : ""));
}

static sa_error_t *too_long(sa_request_t *req, sa_token_cookie_t which, const char *token)
{
    size_t len = token ? strlen(name_of(req, which)) + strlen(token) : 0;

    return len <= COOKIE_MAX ? NULL
        : sa_error(req->r->pool, SA_E_UNAVAILABLE, NULL, "%s would have %" APR_SIZE_T_FMT
                   " bytes; browsers keep %d: give the application fewer scopes, or use "
                   "SocialAuthTokenDelivery json", name_of(req, which), (apr_size_t) len,
                   COOKIE_MAX);
}

/* Nobody could end the session that the browser had before, once its cookies are overwritten. The login
 * stands whether this succeeds or not. */
static void end_former_session(sa_request_t *req, const sa_tokens_t *tokens)
{
    const char *token;

    sa_token_cookie(req, SA_COOKIE_ACCESS, SA_E_TOKEN_NOT_VALID, &token);
    if (!token) {
        sa_token_cookie(req, SA_COOKIE_REFRESH, SA_E_TOKEN_NOT_VALID, &token);
    }
    if (token && sa_accounts_replace(&req->call, token, tokens)) {
        req->call.log(&req->call, APLOG_WARNING,
                      "the session that a browser had before it signed in anew was not ended");
    }
}

sa_error_t *sa_token_cookies_set(sa_request_t *req, const sa_tokens_t *tokens)
{
    const sa_settings_t *settings = &req->mount->settings;
    sa_error_t *error = too_long(req, SA_COOKIE_ACCESS, tokens->access);

    if (!error) {
        error = too_long(req, SA_COOKIE_REFRESH, tokens->refresh);
    }
    if (error) {
        return error;
    }
    end_former_session(req, tokens);
    set(req, SA_COOKIE_ACCESS, tokens->access, tokens->expires_in);
    if (tokens->refresh) {
        set(req, SA_COOKIE_REFRESH, tokens->refresh, settings->refresh_lifetime);
    }
    return NULL;
}

sa_error_t *sa_token_cookies_problem(const sa_request_t *req)
{
    return req->mount->token_delivery == SA_DELIVER_COOKIE && !req->no_cookies
           && !page_is_trusted(req) ? csrf_failed(req, "Origin checking failed.") : NULL;
}

sa_error_t *sa_token_cookies_deliver(sa_request_t *req, const sa_tokens_t *tokens, json_t *body,
                                     const char *access, const char *refresh)
{
    int json_too = req->mount->token_delivery & SA_DELIVER_JSON;

    if (!is_on(req) || !tokens->user || req->no_cookies) {
        return NULL;
    }
    if (!page_is_trusted(req)) {
        return sa_token_cookies_problem(req);
    }
    sa_error_t *error = sa_token_cookies_set(req, tokens);
    if (!error && !json_too) {
        json_object_del(body, access);
        json_object_del(body, refresh);
        json_object_set_new(body, "expires_in", json_integer(tokens->expires_in));
    }
    return error;
}

void sa_token_cookies_clear(sa_request_t *req)
{
    if (is_on(req) && page_is_trusted(req)) {
        set(req, SA_COOKIE_ACCESS, "", 0);
        set(req, SA_COOKIE_REFRESH, "", 0);
    }
}

void sa_token_cookies_refused(sa_request_t *req, const sa_error_t *error)
{
    if (req->refresh_cookie && error
        && (error->kind == SA_E_REFRESH_NOT_VALID || error->kind == SA_E_TOKEN_BLACKLISTED
            || error->kind == SA_E_INVALID_GRANT || error->kind == SA_E_BAD_CREDENTIALS)) {
        sa_token_cookies_clear(req);
    }
}
