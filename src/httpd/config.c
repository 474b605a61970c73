/* Scopes: their creation, their merge, and the look-up of finished mounts. */
#include "httpd/dir_conf.h"

#include <apr_strings.h>
#include <http_log.h>

APLOG_USE_MODULE(social_auth);

void *sa_dir_conf_create(apr_pool_t *p, char *dir)
{
    sa_dir_conf_t *conf = apr_pcalloc(p, sizeof(*conf));

    conf->state_max_age = -1;
    conf->state_binding = -1;
    conf->shared_state = -1;
    conf->max_token_age = -1;
    conf->linked_email_update = -1;
    conf->email_linking = -1;
    conf->access_lifetime = -1;
    conf->refresh_lifetime = -1;
    conf->session_lifetime = -1;
    conf->rotate = -1;
    conf->blacklist_after_rotation = -1;
    conf->reuse_interval = -1;
    conf->algorithm = -1;
    conf->leeway = -1;
    conf->accept_simplejwt = -1;
    conf->revocation_check = -1;
    conf->token_delivery = -1;
    conf->allow_credentials = -1;
    conf->connect_ms = -1;
    conf->total_ms = -1;
    conf->max_response = -1;
    conf->max_body = -1;
    conf->db_connections = -1;
    conf->db_timeout_ms = -1;
    conf->password_login = -1;
    conf->registration = -1;
    conf->registration_login = -1;
    conf->user_list = -1;
    conf->unlink_requires_password = -1;
    conf->policy_min_length = -1;
    conf->policy_similarity = -1;
    conf->policy_common = -1;
    conf->policy_numeric = -1;
    conf->hash_concurrency = -1;
    conf->notify = -1;
    conf->shared_bytes = -1;
    conf->strip_cookies = -1;
    conf->email_verification = -1;
    conf->security_mails = -1;
    conf->verify_lifetime = -1;
    conf->reset_lifetime = -1;
    return conf;
}

/* A provider of the inner scope takes the place of the outer one of its name; others are added. */
static apr_array_header_t *merge_providers(apr_pool_t *p, apr_array_header_t *base,
                                           apr_array_header_t *add)
{
    if (!base || !add) {
        return add ? add : base;
    }
    apr_array_header_t *merged = apr_array_copy(p, base);
    for (int i = 0; i < add->nelts; i++) {
        sa_provider_t *provider = SA_AT(add, i, sa_provider_t *);
        int at = 0;
        while (at < base->nelts
               && !sa_provider_is_named(SA_AT(base, at, sa_provider_t *),
                                        provider->name)) {
            at++;
        }
        if (at < base->nelts) {
            SA_AT(merged, at, sa_provider_t *) = provider;
        }
        else {
            APR_ARRAY_PUSH(merged, sa_provider_t *) = provider;
        }
    }
    return merged;
}

#define MERGE_POINTER(name) conf->name = add->name ? add->name : base->name
#define MERGE_INT(name) conf->name = add->name != -1 ? add->name : base->name

void *sa_dir_conf_merge(apr_pool_t *p, void *base_data, void *add_data)
{
    const sa_dir_conf_t *base = base_data, *add = add_data;
    sa_dir_conf_t *conf = apr_palloc(p, sizeof(*conf));

    MERGE_POINTER(defn);
    MERGE_POINTER(base_url);
    MERGE_POINTER(secret);
    conf->secret_len = add->secret ? add->secret_len : base->secret_len;
    conf->providers = merge_providers(p, base->providers, add->providers);
    MERGE_POINTER(state_salt);
    MERGE_INT(state_max_age);
    MERGE_INT(state_binding);
    MERGE_INT(shared_state);
    MERGE_INT(max_token_age);
    MERGE_POINTER(throttle);
    MERGE_POINTER(password_throttle);
    MERGE_POINTER(account_throttle);
    MERGE_POINTER(user_table);
    MERGE_POINTER(user_columns);
    MERGE_POINTER(deleted_field);
    MERGE_INT(linked_email_update);
    MERGE_INT(email_linking);
    MERGE_INT(access_lifetime);
    MERGE_INT(refresh_lifetime);
    MERGE_INT(session_lifetime);
    MERGE_INT(rotate);
    MERGE_INT(blacklist_after_rotation);
    MERGE_INT(reuse_interval);
    MERGE_POINTER(auth_header_types);
    MERGE_INT(algorithm);
    MERGE_POINTER(jwt_keys);
    MERGE_POINTER(issuer);
    MERGE_POINTER(audience);
    MERGE_INT(leeway);
    MERGE_INT(accept_simplejwt);
    MERGE_INT(revocation_check);
    MERGE_POINTER(allow_origins);
    MERGE_INT(allow_credentials);
    MERGE_INT(token_delivery);
    MERGE_POINTER(login_error_url);
    MERGE_POINTER(login_url);
    MERGE_POINTER(allow_headers);
    MERGE_INT(connect_ms);
    MERGE_INT(total_ms);
    MERGE_INT(max_response);
    MERGE_POINTER(ca_bundle);
    MERGE_POINTER(outgoing_proxy);
    MERGE_INT(max_body);
    MERGE_INT(db_connections);
    MERGE_INT(db_timeout_ms);
    MERGE_INT(password_login);
    MERGE_INT(registration);
    MERGE_INT(registration_login);
    MERGE_INT(user_list);
    MERGE_INT(unlink_requires_password);
    MERGE_INT(policy_min_length);
    MERGE_INT(policy_similarity);
    MERGE_INT(policy_common);
    MERGE_INT(policy_numeric);
    MERGE_POINTER(common_passwords);
    MERGE_INT(hash_concurrency);
    MERGE_POINTER(webhooks);
    MERGE_INT(notify);
    MERGE_INT(shared_bytes);
    MERGE_INT(strip_cookies);
    MERGE_POINTER(mailer);
    MERGE_POINTER(mail_from);
    MERGE_POINTER(mail_links);
    MERGE_POINTER(mail_templates);
    MERGE_INT(email_verification);
    MERGE_INT(security_mails);
    MERGE_INT(verify_lifetime);
    MERGE_INT(reset_lifetime);
    MERGE_POINTER(mail_throttle);
    return conf;
}

void *sa_server_conf_create(apr_pool_t *p, server_rec *s)
{
    sa_server_conf_t *conf = apr_pcalloc(p, sizeof(*conf));

    conf->mounts = apr_array_make(p, 2, sizeof(const sa_mount_t *));
    conf->all = apr_array_make(p, 2, sizeof(const sa_mount_t *));
    return conf;
}

/* What follows path in uri, from its slash on; NULL when uri is not in path. */
static const char *below(const char *path, const char *uri)
{
    apr_size_t len = strlen(path);
    return strncmp(uri, path, len) == 0 && (uri[len] == '/' || uri[len] == '\0') ? uri + len : NULL;
}

static int is_elsewhere(const sa_mount_t *mount, const char *uri)
{
    for (int i = 0; i < mount->elsewhere->nelts; i++) {
        if (below(SA_AT(mount->elsewhere, i, const char *), uri)) {
            return 1;
        }
    }
    return 0;
}

const sa_mount_t *sa_mount_find(const server_rec *s, const char *uri, const char **rest)
{
    const sa_server_conf_t *conf = ap_get_module_config(s->module_config, &social_auth_module);

    for (int i = 0; i < conf->mounts->nelts; i++) {
        const sa_mount_t *mount = SA_AT(conf->mounts, i, const sa_mount_t *);
        const char *path = below(mount->path, uri);
        if (path) {
            *rest = path + (*path == '/');
            return is_elsewhere(mount, uri) ? NULL : mount;
        }
    }
    return NULL;
}

const apr_array_header_t *sa_mounts(const server_rec *main_server)
{
    const sa_server_conf_t *conf = ap_get_module_config(main_server->module_config,
                                                        &social_auth_module);

    return conf->all;
}

int sa_mount_same_database(const sa_mount_t *a, const sa_mount_t *b)
{
    return !strcmp(a->db_driver, b->db_driver) && !strcmp(a->db_params, b->db_params);
}
