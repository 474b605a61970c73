/* Cookies of ours are for us: who else answers a request, a back end or a program, does not see them
 * (SocialAuthStripCookies). */
#include "httpd/dir_conf.h"
#include "httpd/request.h"

#include <apr_strings.h>
#include <http_log.h>

APLOG_USE_MODULE(social_auth);

static int skip(const char **text, const char *prefix)
{
    size_t n = strlen(prefix);

    if (strncmp(*text, prefix, n)) {
        return 0;
    }
    *text += n;
    return 1;
}

static int ends_with_tag(const char *text)
{
    return sa_is_cookie_tag(text) && text[SA_COOKIE_TAG] == '=';
}

/* 1 when a cookie of ours begins here, of whatever mount. */
static int is_ours(const char *cookie)
{
    (void) (skip(&cookie, "__Host-") || skip(&cookie, "__Secure-"));
    if (skip(&cookie, SA_STATE_COOKIE)) {
        return ends_with_tag(cookie);
    }
    return (skip(&cookie, SA_ACCESS_COOKIE) || skip(&cookie, SA_REFRESH_COOKIE))
           && (*cookie == '=' || (*cookie == '-' && ends_with_tag(cookie + 1)));
}

/* All else as it was. Two Cookie lines have become one with a comma between them, which values of
 * ours cannot have. */
static char *without_ours(apr_pool_t *p, const char *cookies)
{
    char *kept = apr_palloc(p, strlen(cookies) + 1), *end = kept;

    while (*cookies) {
        size_t gap = strspn(cookies, ";, \t"), len = strcspn(cookies + gap, ";,");
        if (!is_ours(cookies + gap)) {
            size_t from = end == kept ? gap : 0;
            memcpy(end, cookies + from, gap + len - from);
            end += gap + len - from;
        }
        cookies += gap + len;
    }
    *end = '\0';
    return kept;
}

void sa_cookies_strip(request_rec *r)
{
    const sa_dir_conf_t *conf = ap_get_module_config(r->per_dir_config, &social_auth_module);
    const char *cookies = apr_table_get(r->headers_in, "Cookie");

    if (!cookies || !strstr(cookies, "sa-") || conf->strip_cookies == 0) {
        return;
    }
    const char *kept = without_ours(r->pool, cookies);
    if (*kept) {
        apr_table_setn(r->headers_in, "Cookie", kept);
    }
    else {
        apr_table_unset(r->headers_in, "Cookie");
    }
    apr_table_unset(r->subprocess_env, "HTTP_COOKIE");      /* where mod_authnz_fcgi made it */
    ap_set_module_config(r->request_config, &social_auth_module, (void *) cookies);
}

void sa_cookies_restore(request_rec *r)
{
    for (const request_rec *before = r; before; before = before->prev ? before->prev : before->main) {
        const char *cookies = ap_get_module_config(before->request_config, &social_auth_module);
        if (cookies) {
            apr_table_setn(r->headers_in, "Cookie", cookies);
        }
    }
}
