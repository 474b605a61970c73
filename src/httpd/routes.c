#include "httpd/routes.h"

#include <http_core.h>
#include <http_protocol.h>
#include <apr_strings.h>

#include "core/text.h"
#include "httpd/account.h"
#include "httpd/browser.h"
#include "httpd/oauth2.h"
#include "httpd/openapi.h"
#include "httpd/password.h"
#include "httpd/email.h"
#include "httpd/rest.h"

const sa_route_t sa_routes[] = {
    { "state", M_GET, SA_ROUTE_PROVIDER | SA_ROUTE_BEARER_OPTIONAL | SA_ROUTE_SOCIAL,
      sa_rest_state },
    { "login", M_POST, SA_ROUTE_PROVIDER | SA_ROUTE_BODY | SA_ROUTE_SOCIAL, sa_rest_login },
    { "link", M_POST, SA_ROUTE_PROVIDER | SA_ROUTE_BODY | SA_ROUTE_BEARER | SA_ROUTE_SOCIAL
      | SA_ROUTE_OWN, sa_rest_link },
    { "unlink", M_POST, SA_ROUTE_PROVIDER | SA_ROUTE_BODY | SA_ROUTE_BEARER | SA_ROUTE_SOCIAL
      | SA_ROUTE_OWN, sa_rest_unlink },
    { "disconnect-backend", M_POST, SA_ROUTE_BODY | SA_ROUTE_BEARER | SA_ROUTE_SOCIAL
      | SA_ROUTE_OWN, sa_rest_disconnect_backend },
    { "linked-accounts", M_GET, SA_ROUTE_BEARER | SA_ROUTE_OWN, sa_rest_linked_accounts },
    { "login", M_GET, SA_ROUTE_ID | SA_ROUTE_BROWSER | SA_ROUTE_SOCIAL, sa_browser_login },
    { "complete", M_GET, SA_ROUTE_ID | SA_ROUTE_BROWSER | SA_ROUTE_SOCIAL, sa_browser_complete },
    { "token", M_POST, SA_ROUTE_BODY, sa_oauth2_token },
    { "token/refresh", M_POST, SA_ROUTE_BODY, sa_rest_token_refresh },
    { "token/verify", M_POST, SA_ROUTE_BODY, sa_rest_token_verify },
    { "token/blacklist", M_POST, SA_ROUTE_BODY, sa_rest_token_blacklist },
    { "convert-token", M_POST, SA_ROUTE_BODY | SA_ROUTE_SOCIAL | SA_ROUTE_OAUTH,
      sa_oauth2_convert_token },
    { "create", M_POST, SA_ROUTE_BODY, sa_account_create },
    { "currentUser", M_GET, SA_ROUTE_BEARER, sa_account_show },
    { "currentUser", M_PATCH, SA_ROUTE_BEARER | SA_ROUTE_BODY | SA_ROUTE_OWN, sa_account_change },
    { "currentUser", M_DELETE, SA_ROUTE_BEARER | SA_ROUTE_BODY | SA_ROUTE_OWN, sa_account_delete },
    { "all", M_GET, SA_ROUTE_BEARER_OPTIONAL | SA_ROUTE_OWN, sa_account_list },
    { "sessions", M_GET, SA_ROUTE_BEARER | SA_ROUTE_OWN, sa_account_sessions },
    { "sessions", M_DELETE, SA_ROUTE_BEARER | SA_ROUTE_ID | SA_ROUTE_OWN, sa_account_end_session },
    { "revoke-token", M_POST, SA_ROUTE_BODY | SA_ROUTE_BEARER_OPTIONAL | SA_ROUTE_OAUTH,
      sa_oauth2_revoke },
    { "invalidate-sessions", M_POST, SA_ROUTE_BODY | SA_ROUTE_BEARER | SA_ROUTE_OWN,
      sa_oauth2_invalidate_sessions },
    { "invalidate-refresh-tokens", M_POST, SA_ROUTE_BODY | SA_ROUTE_BEARER | SA_ROUTE_OWN,
      sa_oauth2_invalidate_refresh_tokens },
    { "introspect", M_POST, SA_ROUTE_BODY | SA_ROUTE_OAUTH, sa_oauth2_introspect },
    { "authorize", M_GET, SA_ROUTE_OAUTH | SA_ROUTE_PAGE | SA_ROUTE_OWN, sa_authorize },
    { "authorize", M_POST, SA_ROUTE_OAUTH | SA_ROUTE_PAGE | SA_ROUTE_BODY | SA_ROUTE_OWN,
      sa_authorize_decide },
    { "password/change", M_POST, SA_ROUTE_BEARER | SA_ROUTE_BODY | SA_ROUTE_PASSWORD | SA_ROUTE_OWN,
      sa_rest_password_change },
    { "email/verify", M_POST, SA_ROUTE_BODY, sa_email_verify },
    { "email/verify/resend", M_POST, SA_ROUTE_BEARER | SA_ROUTE_RESET | SA_ROUTE_OWN,
      sa_email_verify_resend },
    { "email/change", M_POST, SA_ROUTE_BODY | SA_ROUTE_BEARER | SA_ROUTE_PASSWORD | SA_ROUTE_OWN,
      sa_email_change },
    { "password/reset", M_POST, SA_ROUTE_BODY | SA_ROUTE_RESET, sa_email_password_reset },
    { "password/reset/confirm", M_POST, SA_ROUTE_BODY | SA_ROUTE_RESET,
      sa_email_password_reset_confirm },
    { ".well-known/jwks.json", M_GET, 0, sa_rest_jwks },
    { ".well-known/oauth-authorization-server", M_GET, 0, sa_oauth2_metadata },
    { "openapi.json", M_GET, 0, sa_openapi },
    { NULL, 0, 0, NULL }
};

const sa_provider_t *sa_provider_enabled(const sa_settings_t *settings, const char *name)
{
    for (int i = 0; i < settings->providers->nelts; i++) {
        const sa_provider_t *provider = APR_ARRAY_IDX(settings->providers, i,
                                                      const sa_provider_t *);
        if (!provider->disabled_because && sa_provider_is_named(provider, name)) {
            return provider;
        }
    }
    return NULL;
}

/* Every path works with and without one trailing slash. */
static const char *without_slash(apr_pool_t *p, const char *path)
{
    size_t len = strlen(path);

    return len && path[len - 1] == '/' ? apr_pstrmemdup(p, path, len - 1) : path;
}

/* The first line of a path. */
static const sa_route_t *route_of(const char *path, int flags)
{
    for (const sa_route_t *route = sa_routes; route->path; route++) {
        if ((route->flags & (SA_ROUTE_PROVIDER | SA_ROUTE_ID)) == flags
            && !strcmp(route->path, path)) {
            return route;
        }
    }
    return NULL;
}

static int find_provider_route(sa_request_t *req, const char *path, const char *slash)
{
    req->route = route_of(slash + 1, SA_ROUTE_PROVIDER);
    if (!req->route) {
        return 0;
    }
    req->provider = sa_provider_enabled(&req->mount->settings,
                                        apr_pstrmemdup(req->r->pool, path, slash - path));
    return req->provider != NULL;
}

static int find_id_route(sa_request_t *req, const char *path, const char *slash)
{
    req->route = route_of(apr_pstrmemdup(req->r->pool, path, slash - path), SA_ROUTE_ID);
    req->id = slash + 1;
    if (!req->route || !*req->id || ap_strchr_c(req->id, '/')) {
        return 0;
    }
    if (!(req->route->flags & SA_ROUTE_BROWSER)) {
        return 1;
    }
    req->provider = sa_provider_enabled(&req->mount->settings, req->id);
    return req->provider && sa_browser_usable(req);
}

/* Finds route and provider or id for the path below the mount; 0 when there is nothing. */
static int find(sa_request_t *req, const char *path)
{
    req->route = route_of(path, 0);
    if (req->route) {
        return 1;
    }
    const char *slash = ap_strchr_c(path, '/');
    return slash && (find_provider_route(req, path, slash) || find_id_route(req, path, slash));
}

/* The next line of the same path, NULL after the last. */
static const sa_route_t *next_of(const sa_route_t *route)
{
    const sa_route_t *next = route + 1;

    return next->path && !strcmp(next->path, route->path)
           && !((next->flags ^ route->flags) & (SA_ROUTE_PROVIDER | SA_ROUTE_ID)) ? next : NULL;
}

static const char *methods(apr_pool_t *p, const sa_route_t *route)
{
    const char *out = "";

    for (; route; route = next_of(route)) {
        const char *name = route->method == M_GET ? "GET, HEAD"
                                                  : ap_method_name_of(p, route->method);
        out = apr_pstrcat(p, out, *out ? ", " : "", name, NULL);
    }
    return out;
}

static void allow(sa_request_t *req)
{
    apr_table_setn(req->r->headers_out, "Allow",
                   apr_pstrcat(req->r->pool, methods(req->r->pool, req->route), ", OPTIONS", NULL));
}

static int options(sa_request_t *req)
{
    allow(req);
    sa_cors_preflight(req, methods(req->r->pool, req->route));
    return sa_answer_empty(req, HTTP_NO_CONTENT);
}

static int wrong_method(sa_request_t *req)
{
    allow(req);
    /* Its bytes are the client's: HttpProtocolOptions Unsafe takes any. */
    const char *method = req->r->method;
    return sa_answer_error(req, sa_error(req->r->pool, SA_E_METHOD_NOT_ALLOWED,
                                         sa_utf8_valid(method, strlen(method)) ? method : "",
                                         NULL));
}

static const sa_route_t *with_method(const sa_route_t *route, int method)
{
    while (route && route->method != method) {
        route = next_of(route);
    }
    return route;
}

/* Who asks, and how often: in the order of Django REST Framework, before the body is read. */
static sa_error_t *admit(sa_request_t *req)
{
    const sa_settings_t *settings = &req->mount->settings;
    int flags = req->route->flags;
    sa_error_t *error = NULL;

    if (flags & (SA_ROUTE_BEARER | SA_ROUTE_BEARER_OPTIONAL)) {
        error = sa_bearer_load(req, flags & SA_ROUTE_BEARER);
    }
    if (!error && (flags & SA_ROUTE_SOCIAL)) {
        error = sa_throttle(req, "social", &settings->throttle);
    }
    if (!error && (flags & SA_ROUTE_PASSWORD)) {
        error = sa_throttle(req, "password", &settings->password_throttle);
    }
    if (!error && (flags & SA_ROUTE_RESET)) {
        error = sa_throttle(req, "reset", &settings->password_throttle);
    }
    return error;
}

static int run(sa_request_t *req)
{
    sa_error_t *error = admit(req);

    if (!error && (req->route->flags & SA_ROUTE_BODY)) {
        int status = sa_body_read(req, &error);
        if (status != OK) {
            return status;
        }
        req->oauth |= error && req->route->handle == sa_oauth2_token && sa_oauth2_is_meant(req);
    }
    return error ? sa_answer_error(req, error) : req->route->handle(req);
}

int sa_handle(request_rec *r)
{
    const char *path;
    sa_request_t req;
    const sa_mount_t *mount = sa_mount_find(r->server, r->uri, &path);

    if (!mount) {
        return HTTP_NOT_FOUND;
    }
    sa_cookies_restore(r);
    sa_request_init(&req, r, mount);
    if (!find(&req, without_slash(r->pool, path))) {
        sa_query_hide(&req);    /* it may hold a code, for a provider that is gone */
        return sa_answer_error(&req, sa_error(r->pool, SA_E_NOT_FOUND, NULL, NULL));
    }
    if (req.route->flags & SA_ROUTE_BROWSER) {
        sa_query_hide(&req);
    }
    if (r->method_number == M_OPTIONS) {
        return options(&req);
    }
    const sa_route_t *route = with_method(req.route, r->method_number);
    if (!route) {
        return wrong_method(&req);
    }
    req.route = route;
    req.oauth = route->flags & SA_ROUTE_OAUTH;
    req.browser = route->flags & SA_ROUTE_BROWSER;
    return run(&req);
}
