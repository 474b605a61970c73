/* One mount's database: what mod_dbd was told for its virtual host, and the site's user table. */
#include "httpd/dir_conf.h"

#include <apr_strings.h>
#include <stdlib.h>

#define DEFAULT_CONNECTIONS 4
#define DBD_DEFAULT_MAX 10      /* mod_dbd's own */

#define ADD_LINES "add the lines DBDriver pgsql and DBDParams \"host=/run/postgresql " \
                  "dbname=NAME\", or DBDriver sqlite3 and DBDParams /path/of/file.db"

static const char *dbd_setting(sa_check_t *check, const ap_directive_t *host, const char *name)
{
    const char *args = sa_tree_args(host, name);

    return args ? ap_getword_conf(check->p, &args) : NULL;
}

static void find_driver(sa_check_t *check, sa_mount_t *mount, const ap_directive_t *host)
{
    if (!ap_find_linked_module("mod_dbd.c")) {
        sa_check_problem(check, mount->defn, "mod_dbd is not loaded: add LoadModule dbd_module "
                         "modules/mod_dbd.so (on Debian: a2enmod dbd), and " ADD_LINES);
        return;
    }
    const char *driver = dbd_setting(check, host, "DBDriver");
    const char *params = dbd_setting(check, host, "DBDParams");
    if (!driver) {
        sa_check_problem(check, mount->defn, "DBDriver is missing: " ADD_LINES);
    }
    else if (strcmp(driver, "pgsql") != 0 && strcmp(driver, "sqlite3") != 0) {
        sa_check_problem(check, mount->defn, "DBDriver %s cannot be used: it must be pgsql or "
                         "sqlite3", driver);
    }
    else if (!params || !*params) {
        sa_check_problem(check, mount->defn, "DBDParams is missing: " ADD_LINES);
    }
    else {
        mount->db_driver = driver;
        mount->db_params = params;
        mount->settings.database = apr_pstrcat(check->p, driver, "|", params, NULL);
    }
}

static void limit_connections(sa_check_t *check, sa_mount_t *mount, const sa_dir_conf_t *conf,
                              const ap_directive_t *host)
{
    const char *text = dbd_setting(check, host, "DBDMax");
    int max = text ? atoi(text) : DBD_DEFAULT_MAX;

    max = max < 1 ? 1 : max;
    if (conf->db_connections > max) {
        sa_check_problem(check, mount->defn, "SocialAuthDBConnections %d must not be more than "
                         "DBDMax, which is %d", conf->db_connections, max);
    }
    mount->db_connections = conf->db_connections;
    if (mount->db_connections == -1) {
        mount->db_connections = max < DEFAULT_CONNECTIONS ? max : DEFAULT_CONNECTIONS;
    }
    mount->db_timeout_ms = conf->db_timeout_ms != -1 ? conf->db_timeout_ms : 5000;
}

static const char *column(const sa_dir_conf_t *conf, const char *role)
{
    return conf->user_columns ? apr_table_get(conf->user_columns, role) : NULL;
}

static void fill_user_map(sa_user_map_t *map, const sa_dir_conf_t *conf)
{
    map->table = conf->user_table;
    map->id = column(conf, "id");
    map->email = column(conf, "email");
    map->username = column(conf, "username");
    map->first_name = column(conf, "first_name");
    map->last_name = column(conf, "last_name");
    map->password = column(conf, "password");
    map->is_active = column(conf, "is_active");
    map->is_staff = column(conf, "is_staff");
    map->is_superuser = column(conf, "is_superuser");
    map->email_verified = column(conf, "email_verified");
    map->date_joined = column(conf, "date_joined");
    map->last_login = column(conf, "last_login");
    map->deleted = conf->deleted_field;
}

static void check_user_map(sa_check_t *check, const sa_mount_t *mount, const sa_dir_conf_t *conf)
{
    if (conf->user_table) {
        if (mount->settings.email_linking == SA_LINKING_RECLAIM) {
            sa_check_problem(check, mount->defn, "SocialAuthEmailLinking reclaim cannot be used "
                             "with SocialAuthUserTable: it must be verified, always or never");
        }
        return;
    }
    if (conf->user_columns) {
        sa_check_problem(check, mount->defn, "SocialAuthUserColumn needs SocialAuthUserTable: the "
                         "module's own tables have fixed columns");
    }
    if (conf->deleted_field) {
        sa_check_problem(check, mount->defn, "SocialAuthUserDeletedField needs "
                         "SocialAuthUserTable: the module's own tables have their own mark");
    }
}

static int same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static int same_map(const sa_user_map_t *a, const sa_user_map_t *b)
{
    return same(a->table, b->table) && same(a->id, b->id) && same(a->email, b->email)
        && same(a->username, b->username) && same(a->first_name, b->first_name)
        && same(a->last_name, b->last_name) && same(a->password, b->password)
        && same(a->is_active, b->is_active) && same(a->is_staff, b->is_staff)
        && same(a->is_superuser, b->is_superuser) && same(a->email_verified, b->email_verified)
        && same(a->date_joined, b->date_joined) && same(a->last_login, b->last_login)
        && same(a->deleted, b->deleted);
}

/* Mounts with the same statements share one store, so that a connection prepares them once. */
static const sa_store_t *find_store(const sa_mount_t *mount, const apr_array_header_t *others)
{
    for (int i = 0; i < others->nelts; i++) {
        const sa_mount_t *other = SA_AT(others, i, const sa_mount_t *);
        if (other->store && strcmp(other->db_driver, mount->db_driver) == 0
            && same_map(&other->user_map, &mount->user_map)) {
            return other->store;
        }
    }
    return NULL;
}

void sa_mount_database(sa_check_t *check, sa_mount_t *mount, const sa_dir_conf_t *conf,
                       const ap_directive_t *host, const apr_array_header_t *others)
{
    const char *why = NULL;

    find_driver(check, mount, host);
    limit_connections(check, mount, conf, host);
    fill_user_map(&mount->user_map, conf);
    check_user_map(check, mount, conf);
    if (!mount->db_driver) {
        return;
    }
    mount->store = find_store(mount, others);
    if (!mount->store) {
        mount->store = sa_store_make(check->p, mount->db_driver, &mount->user_map, &why);
    }
    if (!mount->store) {
        sa_check_problem(check, mount->defn, "SocialAuthUserTable, SocialAuthUserColumn or "
                         "SocialAuthUserDeletedField: %s", why ? why : "unusable");
    }
}
