/* One mount's settings: defaults for what no scope set, and the rules between directives. */
#include "httpd/dir_conf.h"
#include "core/crypto.h"
#include "core/hash_gate.h"
#include "core/url.h"

#include <apr_strings.h>
#include <unistd.h>

/* What django-cors-headers allows unless told otherwise, so that its front ends keep working. */
#define DEFAULT_ALLOW_HEADERS \
    "accept, authorization, content-type, user-agent, x-csrftoken, x-requested-with"

#define VALUE(name, fallback) (conf->name != -1 ? conf->name : (fallback))

static const sa_rate_t rate_10_minute = { 10, 60 * 1000 };
static const sa_rate_t rate_100_hour = { 100, 3600 * 1000 };

static void fill_identity(sa_check_t *check, sa_mount_t *mount, const sa_dir_conf_t *conf)
{
    sa_settings_t *settings = &mount->settings;

    if (!conf->base_url) {
        sa_check_problem(check, mount->defn, "SocialAuthBaseURL is missing: add the site's address "
                         "as browsers see it, like SocialAuthBaseURL https://www.example.org");
    }
    mount->base_url = conf->base_url ? conf->base_url : "https://localhost";
    mount->secure = sa_url_is_https(mount->base_url) || sa_url_is_loopback(mount->base_url);
    if (!mount->secure) {
        sa_check_warning(check, mount->defn, "SocialAuthBaseURL %s is not https: tokens and "
                         "cookies of the mount %s can be read on their way", mount->base_url,
                         SA_SHOWN(mount->path));
    }
    settings->mount = mount->path;
    settings->url = apr_pstrcat(check->p, mount->base_url, mount->path, NULL);
    settings->issuer = conf->issuer ? conf->issuer
                                    : apr_pstrcat(check->p, mount->base_url, mount->path, NULL);
    settings->audience = conf->audience ? conf->audience : settings->issuer;
}

static void fill_tokens(sa_check_t *check, sa_settings_t *settings, const sa_dir_conf_t *conf)
{
    settings->access_lifetime = VALUE(access_lifetime, 3600);
    settings->refresh_lifetime = VALUE(refresh_lifetime, 86400);
    settings->session_lifetime = VALUE(session_lifetime, 30 * 86400);
    settings->leeway = VALUE(leeway, 0);
    settings->rotate = VALUE(rotate, 1);
    settings->blacklist_after_rotation = VALUE(blacklist_after_rotation, 1);
    settings->reuse_interval = VALUE(reuse_interval, 10);
    settings->accept_simplejwt = VALUE(accept_simplejwt, 0);
    settings->revocation_check = (sa_revocation_check_t)VALUE(revocation_check,
                                                              SA_REVOCATION_SHARED);
    settings->auth_header_types = conf->auth_header_types;
    if (!settings->auth_header_types) {
        settings->auth_header_types = apr_array_make(check->p, 1, sizeof(const char *));
        APR_ARRAY_PUSH(settings->auth_header_types, const char *) = "Bearer";
    }
}

static void fill_rules(sa_settings_t *settings, const sa_dir_conf_t *conf)
{
    settings->state_max_age = VALUE(state_max_age, 300);
    settings->state_binding = (sa_state_binding_t)VALUE(state_binding, SA_BINDING_AUTO);
    settings->shared_state_in_database = VALUE(shared_state, 0);
    settings->max_token_age = VALUE(max_token_age, 600);
    settings->email_linking = (sa_email_linking_t)VALUE(email_linking, SA_LINKING_VERIFIED);
    settings->linked_email_update = VALUE(linked_email_update, 1);
    settings->password_login = VALUE(password_login, 1);
    settings->registration = VALUE(registration, 1);
    settings->registration_login = VALUE(registration_login, 0);
    settings->user_list = (sa_user_list_t)VALUE(user_list, SA_USER_LIST_STAFF);
    settings->unlink_requires_password = VALUE(unlink_requires_password, 0);
    settings->throttle = *(conf->throttle ? conf->throttle : &rate_10_minute);
    settings->password_throttle = *(conf->password_throttle ? conf->password_throttle
                                                            : &rate_10_minute);
    settings->account_throttle = *(conf->account_throttle ? conf->account_throttle
                                                          : &rate_100_hour);
    settings->password_policy = (sa_password_policy_t) {
        .min_length = VALUE(policy_min_length, 8),
        .similarity = VALUE(policy_similarity, 1),
        .common = VALUE(policy_common, 1),
        .numeric = VALUE(policy_numeric, 1),
        .list = conf->common_passwords ? conf->common_passwords : &sa_common_passwords,
    };
    settings->notify = VALUE(notify, 0);
}

/* One hash keeps one processor busy. */
static int processors(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n < 1 ? 1 : n > SA_HASH_TURNS_MAX ? SA_HASH_TURNS_MAX : (int)n;
}

static sa_http_limits_t http_limits(const sa_dir_conf_t *conf)
{
    sa_http_limits_t limits = {
        .connect_ms = VALUE(connect_ms, 2000),
        .total_ms = VALUE(total_ms, 10000),
        .max_response = (apr_size_t)VALUE(max_response, 1048576),
        .ca_bundle = conf->ca_bundle,
        .proxy = conf->outgoing_proxy && *conf->outgoing_proxy ? conf->outgoing_proxy : NULL
    };

    if (limits.connect_ms > limits.total_ms) {  /* one of the two is a default */
        limits.connect_ms = limits.total_ms = VALUE(total_ms, limits.connect_ms);
    }
    return limits;
}

/* Each mount has its own copies: two mounts may share a directive but not the time limits. */
static void fill_providers(sa_check_t *check, sa_mount_t *mount, const sa_dir_conf_t *conf)
{
    int n = conf->providers ? conf->providers->nelts : 0;

    mount->limits = http_limits(conf);
    if (check->serves) {
        sa_http_share_trust(check->p, &mount->limits);
    }
    mount->settings.providers = apr_array_make(check->p, n + 1, sizeof(sa_provider_t *));
    for (int i = 0; i < n; i++) {
        sa_provider_t *provider = apr_pmemdup(check->p,
                                              SA_AT(conf->providers, i, sa_provider_t *),
                                              sizeof(sa_provider_t));
        provider->limits = mount->limits;
        APR_ARRAY_PUSH(mount->settings.providers, sa_provider_t *) = provider;
        if (provider->disabled_because) {
            sa_check_warning(check, provider->defn, "SocialAuthProvider %s is disabled at %s: %s",
                             provider->name, SA_SHOWN(mount->path),
                             provider->disabled_because);
        }
    }
}

static const char *allow_headers(apr_pool_t *p, const sa_dir_conf_t *conf)
{
    static const char always[] = "authorization, content-type, x-requested-with";
    const char *list = always;

    if (!conf->allow_headers) {
        return DEFAULT_ALLOW_HEADERS;
    }
    for (int i = 0; i < conf->allow_headers->nelts; i++) {
        const char *name = SA_AT(conf->allow_headers, i, const char *);
        if (!ap_find_list_item(p, always, name)) {
            list = apr_pstrcat(p, list, ", ", name, NULL);
        }
    }
    return list;
}

static void fill_http(sa_check_t *check, sa_mount_t *mount, const sa_dir_conf_t *conf)
{
    mount->max_body = (apr_size_t)VALUE(max_body, 65536);
    mount->allow_origins = conf->allow_origins ? conf->allow_origins
                                               : apr_array_make(check->p, 1, sizeof(const char *));
    mount->allow_credentials = VALUE(allow_credentials, 0);
    mount->token_delivery = VALUE(token_delivery, SA_DELIVER_JSON);
    mount->next_origins = apr_array_copy(check->p, mount->allow_origins);
    APR_ARRAY_PUSH(mount->next_origins, const char *) = mount->base_url;
    mount->login_error_url = conf->login_error_url;
    mount->cookie_tag = "";
    mount->login_url = conf->login_url;
    mount->allow_headers = allow_headers(check->p, conf);
    mount->hash_concurrency = VALUE(hash_concurrency, processors());
    mount->shared_bytes = (apr_size_t)VALUE(shared_bytes, 8388608);
    if (mount->allow_credentials && mount->allow_origins->nelts == 0) {
        sa_check_warning(check, mount->defn, "SocialAuthAllowCredentials On has no effect at %s "
                         "without SocialAuthAllowOrigin", SA_SHOWN(mount->path));
    }
    if (mount->login_error_url && !(mount->token_delivery & SA_DELIVER_COOKIE)) {
        sa_check_warning(check, mount->defn, "SocialAuthLoginErrorURL has no effect at %s without "
                         "SocialAuthTokenDelivery cookie or both", SA_SHOWN(mount->path));
    }
}

void sa_mount_fill(sa_check_t *check, sa_mount_t *mount, const sa_dir_conf_t *conf)
{
    fill_identity(check, mount, conf);
    fill_tokens(check, &mount->settings, conf);
    fill_rules(&mount->settings, conf);
    fill_providers(check, mount, conf);
    fill_http(check, mount, conf);
}
