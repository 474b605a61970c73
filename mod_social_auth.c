/* The module record: directives and hooks, wiring only. */
#include <httpd.h>
#include <http_config.h>
#include <http_protocol.h>
#include <http_request.h>

#include "httpd/config.h"
#include "httpd/request.h"
#include "httpd/runtime.h"
#include "httpd/watchdog.h"

/* A mount's URLs are ours before mod_proxy, mod_alias or mod_rewrite can map them
 * elsewhere, and no file or .htaccess is looked for. */
static int translate_name(request_rec *r)
{
    const char *rest;

    if (!sa_mount_find(r->server, r->uri, &rest)) {
        return DECLINED;
    }
    r->filename = (char *) "social-auth:";
    return OK;
}

static int map_to_storage(request_rec *r)
{
    const char *rest;

    return sa_mount_find(r->server, r->uri, &rest) ? OK : DECLINED;
}

/* The core may have replaced the handler by a media type's, and a RewriteRule in a <Location> all three:
 * mod_proxy goes by the other two. */
static int fixups(request_rec *r)
{
    const char *rest;

    if (sa_mount_find(r->server, r->uri, &rest)) {
        r->handler = "social-auth";
        r->filename = (char *) "social-auth:";
        r->proxyreq = PROXYREQ_NONE;
    }
    return DECLINED;
}

static int is_ours(const request_rec *r)
{
    return r->handler && !strcmp(r->handler, "social-auth");
}

/* Before mod_proxy and whoever else answers. */
static int strip_cookies(request_rec *r)
{
    if (!is_ours(r)) {
        sa_cookies_strip(r);
    }
    return DECLINED;
}

static int handler(request_rec *r)
{
    return is_ours(r) ? sa_handle(r) : DECLINED;
}

static void register_hooks(apr_pool_t *p)
{
    static const char *const before_mappers[] = {
        "mod_proxy.c", "mod_alias.c", "mod_rewrite.c", NULL
    };
    /* Its post_config makes the mutexes of the workers that are registered by then. */
    static const char *const before_watchdog[] = { "mod_watchdog.c", NULL };
    static const char *const before_dbd[] = { "mod_dbd.c", NULL };

    ap_hook_check_config(sa_check_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_test_config(sa_test_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(sa_runtime_post_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(sa_watchdog_post_config, NULL, before_watchdog, APR_HOOK_MIDDLE);
    ap_hook_child_init(sa_runtime_child_init, NULL, before_dbd, APR_HOOK_FIRST);
    ap_hook_optional_fn_retrieve(sa_dbd_retrieve, NULL, NULL, APR_HOOK_MIDDLE);

    ap_hook_translate_name(translate_name, NULL, before_mappers, APR_HOOK_FIRST);
    ap_hook_map_to_storage(map_to_storage, NULL, before_mappers, APR_HOOK_FIRST);
    ap_hook_fixups(fixups, NULL, NULL, APR_HOOK_REALLY_LAST);
    ap_hook_handler(strip_cookies, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_handler(handler, NULL, NULL, APR_HOOK_MIDDLE);
}

AP_DECLARE_MODULE(social_auth) = {
    STANDARD20_MODULE_STUFF,
    sa_dir_conf_create,
    sa_dir_conf_merge,
    sa_server_conf_create,
    NULL,
    sa_directives,
    register_hooks,
    AP_MODULE_FLAG_NONE
};
