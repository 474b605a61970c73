/* httpd -t -D DUMP_SOCIAL_AUTH: the finished mounts as one line of JSON, for socialauthctl. Secrets
 * are left out, except those inside DBDParams, which it needs to reach the database. */
#include "httpd/dir_conf.h"
#include "core/json.h"

#include <apr_file_io.h>
#include <apr_strings.h>
#include <http_core.h>
#include <unixd.h>

static void set(json_t *object, const char *key, const char *text)
{
    json_object_set_new(object, key, text ? json_string(text) : json_null());
}

static json_t *dump_strings(const apr_array_header_t *list)
{
    json_t *array = json_array();

    for (int i = 0; i < list->nelts; i++) {
        json_array_append_new(array, json_string(SA_AT(list, i, const char *)));
    }
    return array;
}

static json_t *dump_user_columns(const sa_user_map_t *map)
{
    json_t *object = json_object();

    set(object, "id", map->id);
    set(object, "email", map->email);
    set(object, "username", map->username);
    set(object, "first_name", map->first_name);
    set(object, "last_name", map->last_name);
    set(object, "password", map->password);
    set(object, "is_active", map->is_active);
    set(object, "is_staff", map->is_staff);
    set(object, "is_superuser", map->is_superuser);
    set(object, "email_verified", map->email_verified);
    set(object, "date_joined", map->date_joined);
    set(object, "last_login", map->last_login);
    return object;
}

static json_t *dump_rate(const sa_rate_t *rate)
{
    return json_pack("{s:i, s:I}", "count", rate->count, "period_ms", (json_int_t)rate->period_ms);
}

/* Public parts only: of a shared secret nothing, not even its digest. */
static json_t *dump_keys(apr_pool_t *p, const sa_keyset_t *keys)
{
    json_t *array = json_array();

    for (int i = 0; i < keys->keys->nelts; i++) {
        const sa_key_t *key = SA_AT(keys->keys, i, const sa_key_t *);
        json_array_append_new(array, json_pack(
            "{s:s?, s:s, s:b, s:s?, s:O?}", "kid", sa_key_kid(key),
            "alg", sa_alg_name(sa_key_alg(key)), "signs", key == sa_keyset_signer(keys),
            "thumbprint", sa_key_thumbprint(p, key), "jwk", sa_key_public_jwk(p, key)));
    }
    return array;
}

static json_t *dump_settings(apr_pool_t *p, const sa_settings_t *settings)
{
    static const char *const linking[] = { "verified", "reclaim", "always", "never" };
    static const char *const binding[] = { "auto", "required", "off" };
    static const char *const revocation[] = { "shared", "database", "off" };

    return json_pack(
        "{s:s, s:s, s:o, s:o, s:i, s:i, s:i, s:i, s:b, s:b, s:i, s:b, s:i, s:s, s:b, s:i, s:s,"
        " s:b, s:b, s:b, s:{s:i, s:b, s:b, s:b}, s:o, s:o, s:o, s:s?, s:b, s:s}",
        "issuer", settings->issuer, "audience", settings->audience,
        "keys", dump_keys(p, settings->keys),
        "auth_header_types", dump_strings(settings->auth_header_types),
        "access_lifetime", settings->access_lifetime,
        "refresh_lifetime", settings->refresh_lifetime,
        "session_lifetime", settings->session_lifetime, "leeway", settings->leeway,
        "rotate", settings->rotate,
        "blacklist_after_rotation", settings->blacklist_after_rotation,
        "reuse_interval", settings->reuse_interval,
        "accept_simplejwt", settings->accept_simplejwt,
        "state_max_age", settings->state_max_age,
        "state_binding", binding[settings->state_binding],
        "shared_state_in_database", settings->shared_state_in_database,
        "max_token_age", settings->max_token_age,
        "email_linking", linking[settings->email_linking],
        "linked_email_update", settings->linked_email_update,
        "password_login", settings->password_login,
        "unlink_requires_password", settings->unlink_requires_password,
        "password_policy", "min_length", settings->password_policy.min_length,
        "common", settings->password_policy.common,
        "similarity", settings->password_policy.similarity,
        "numeric", settings->password_policy.numeric,
        "throttle", dump_rate(&settings->throttle),
        "password_throttle", dump_rate(&settings->password_throttle),
        "account_throttle", dump_rate(&settings->account_throttle),
        "webhook_targets", settings->webhook_targets, "notify", settings->notify,
        "revocation_check", revocation[settings->revocation_check]);
}

static json_t *dump_accounts(const sa_settings_t *settings)
{
    static const char *const lists[] = { "off", "staff", "authenticated", "public" };
    static const char *const verification[] = { "off", "optional", "required" };

    return json_pack("{s:b, s:b, s:s, s:s, s:b, s:s, s:b, s:i, s:i, s:o}",
                     "registration", settings->registration,
                     "registration_login", settings->registration_login,
                     "user_list", lists[settings->user_list],
                     "url", settings->url, "mails", settings->mails,
                     "email_verification", verification[settings->email_verification],
                     "security_mails", settings->security_mails,
                     "verify_lifetime", settings->verify_lifetime,
                     "reset_lifetime", settings->reset_lifetime,
                     "mail_throttle", dump_rate(&settings->mail_throttle));
}

static json_t *dump_providers(const apr_array_header_t *providers)
{
    json_t *array = json_array();

    for (int i = 0; i < providers->nelts; i++) {
        const sa_provider_t *provider = SA_AT(providers, i, const sa_provider_t *);
        const sa_http_limits_t *limits = &provider->limits;
        json_array_append_new(array, json_pack(
            "{s:s, s:s?, s:s?, s:s?, s:s, s:i, s:i, s:i, s:s?, s:s?}",
            "name", provider->name, "label", provider->label, "issuer", provider->issuer,
            "disabled_because", provider->disabled_because, "defn", provider->defn,
            "connect_ms", limits->connect_ms, "total_ms", limits->total_ms,
            "max_response", (int)limits->max_response, "ca_bundle", limits->ca_bundle,
            "proxy", limits->proxy));
    }
    return array;
}

static json_t *dump_mount(apr_pool_t *p, const sa_mount_t *mount, const server_rec *main_server)
{
    static const char *const delivery[] = { "", "json", "cookie", "both" };
    const server_rec *s = mount->server;
    json_t *webhooks = json_array(), *settings = dump_settings(p, &mount->settings);

    json_object_update_new(settings, dump_accounts(&mount->settings));
    for (int i = 0; i < mount->webhooks->nelts; i++) {
        json_array_append_new(webhooks,
                              json_string(SA_AT(mount->webhooks, i, sa_webhook_t).url));
    }
    return json_pack(
        "{s:s, s:b, s:s, s:s, s:s, s:b, s:s?, s:s?, s:s?, s:s?, s:o, s:i, s:i, s:i, s:I, s:i, s:o, s:b, s:s,"
        " s:s, s:s?, s:s?, s:o, s:o, s:o}",
        "server", s->port ? apr_psprintf(p, "%s:%u", s->server_hostname, (unsigned)s->port)
                          : s->server_hostname,
        "is_main", s == main_server, "mount", mount->path, "defn", mount->defn, "base_url", mount->base_url,
        "secure", mount->secure, "driver", mount->db_driver, "params", mount->db_params,
        "user_table", mount->user_map.table, "user_deleted", mount->user_map.deleted,
        "user_columns", dump_user_columns(&mount->user_map),
        "db_connections", mount->db_connections, "db_timeout_ms", mount->db_timeout_ms,
        "max_body", (int)mount->max_body, "shared_bytes", (json_int_t)mount->shared_bytes,
        "hash_concurrency", mount->hash_concurrency,
        "allow_origins", dump_strings(mount->allow_origins),
        "allow_credentials", mount->allow_credentials, "allow_headers", mount->allow_headers,
        "token_delivery", delivery[mount->token_delivery],
        "login_error_url", mount->login_error_url,
        "login_url", mount->login_url,
        "webhooks", webhooks, "settings", settings,
        "providers", dump_providers(mount->settings.providers));
}

void sa_test_config(apr_pool_t *pconf, server_rec *s)
{
    apr_file_t *out;

    if (!ap_exists_config_define("DUMP_SOCIAL_AUTH")
        || apr_file_open_stdout(&out, pconf) != APR_SUCCESS) {
        return;
    }
    const apr_array_header_t *mounts = sa_mounts(s);
    json_t *array = json_array();
    for (int i = 0; i < mounts->nelts; i++) {
        json_array_append_new(array, dump_mount(pconf, SA_AT(mounts, i, const sa_mount_t *), s));
    }
    json_t *dump = sa_json_own(pconf, json_pack(
        "{s:o, s:o, s:s, s:b}", "mounts", array,
        "secret_files", dump_strings(sa_tree_secret_files(pconf)),
        "user", ap_unixd_config.user_name ? ap_unixd_config.user_name : "",
        "watchdog", ap_find_linked_module("mod_watchdog.c") != NULL));
    apr_file_printf(out, "%s\n", sa_json_dump(pconf, dump));
}
