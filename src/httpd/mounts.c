/* From directives to mounts: for every server its <Location>s with our handler, each with the
 * configuration that httpd itself would merge for it, finished and checked once. */
#include "httpd/dir_conf.h"
#include "core/crypto.h"

#include <apr_fnmatch.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>

APLOG_USE_MODULE(social_auth);

static void say_once(sa_check_t *check, int level, const char *tag, const char *defn,
                     const char *text)
{
    const char *line = apr_psprintf(check->ptemp, "%s: %s: %s", tag, defn, text);

    if (!apr_table_get(check->said, line)) {
        apr_table_setn(check->said, line, "");
        ap_log_error(APLOG_MARK, check->log_flags | level, 0, check->s, "%s", line);
    }
}

void sa_check_problem(sa_check_t *check, const char *defn, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    say_once(check, APLOG_EMERG, "SA0102", defn, apr_pvsprintf(check->ptemp, fmt, args));
    va_end(args);
    check->failed = 1;
}

void sa_check_warning(sa_check_t *check, const char *defn, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    if (check->warn) {
        say_once(check, APLOG_NOTICE, "SA0101", defn, apr_pvsprintf(check->ptemp, fmt, args));
    }
    va_end(args);
}

/* 1 when a section for `section` applies to everything below path, as ap_location_walk has it. */
static int covers(apr_pool_t *p, const char *section, const char *path)
{
    const char *subject = apr_pstrcat(p, path, "/", NULL);
    apr_size_t len = strlen(section);

    return strncmp(section, subject, len) == 0
        && (len == 0 || section[len - 1] == '/' || subject[len] == '/' || subject[len] == '\0');
}

static const apr_array_header_t *url_sections(const server_rec *s)
{
    const core_server_config *core = ap_get_core_module_config(s->module_config);

    return core->sec_url;
}

static int is_literal(const core_dir_config *section)
{
    return section->d && !section->r && !section->d_is_fnmatch;
}

static const sa_dir_conf_t *merged_conf(sa_check_t *check, const char *path)
{
    const apr_array_header_t *sections = url_sections(check->s);
    ap_conf_vector_t *conf = check->s->lookup_defaults;

    for (int i = 0; i < sections->nelts; i++) {
        ap_conf_vector_t *section = SA_AT(sections, i, ap_conf_vector_t *);
        const core_dir_config *core = ap_get_core_module_config(section);

        if (is_literal(core) && covers(check->ptemp, core->d, path)) {
            conf = ap_merge_per_dir_configs(check->p, conf, section);
        }
    }
    const sa_dir_conf_t *merged = ap_get_module_config(conf, &social_auth_module);
    return merged ? merged : sa_dir_conf_create(check->p, NULL);
}

static int is_visible(const sa_location_t *location, const ap_directive_t *host)
{
    return !location->host || location->host == host;
}

/* The <Location> whose SetHandler decides for path: the last one that covers it, those of the
 * virtual host after the main server's, as in sec_url. */
static const sa_location_t *deciding(sa_check_t *check, const apr_array_header_t *locations,
                                     const ap_directive_t *host, const char *path)
{
    const sa_location_t *found = NULL;

    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < locations->nelts; i++) {
            const sa_location_t *location = &SA_AT(locations, i, sa_location_t);
            if ((location->host != NULL) == pass && is_visible(location, host)
                && covers(check->ptemp, location->path, path)) {
                found = location;
            }
        }
    }
    return found;
}

static const sa_mount_t *mount_at(const apr_array_header_t *mounts, const char *path)
{
    for (int i = 0; i < mounts->nelts; i++) {
        const sa_mount_t *mount = SA_AT(mounts, i, const sa_mount_t *);
        if (strcmp(mount->path, path) == 0) {
            return mount;
        }
    }
    return NULL;
}

/* Longest path first. */
static void insert_mount(apr_array_header_t *mounts, const sa_mount_t *mount)
{
    int i = mounts->nelts;

    apr_array_push(mounts);
    for (; i > 0; i--) {
        const sa_mount_t *other = SA_AT(mounts, i - 1, const sa_mount_t *);
        if (strlen(other->path) >= strlen(mount->path)) {
            break;
        }
        SA_AT(mounts, i, const sa_mount_t *) = other;
    }
    SA_AT(mounts, i, const sa_mount_t *) = mount;
}

static void build_mount(sa_check_t *check, sa_server_conf_t *server_conf,
                        sa_server_conf_t *main_conf, const sa_location_t *location,
                        const ap_directive_t *host)
{
    sa_mount_t *mount = apr_pcalloc(check->p, sizeof(*mount));
    const sa_dir_conf_t *conf = merged_conf(check, location->path);

    mount->path = apr_pstrdup(check->p, location->path);        /* a location is temporary */
    mount->defn = apr_pstrdup(check->p, location->defn);
    mount->server = check->s;
    mount->elsewhere = apr_array_make(check->p, 0, sizeof(const char *));
    sa_mount_fill(check, mount, conf);
    sa_mount_keys(check, mount, conf);
    sa_mount_database(check, mount, conf, host, main_conf->all);
    sa_mount_mail(check, mount, conf);
    insert_mount(server_conf->mounts, mount);
    APR_ARRAY_PUSH(main_conf->all, const sa_mount_t *) = mount;
}

/* A literal <Location> that says something, where it was first said. */
typedef struct {
    const char *path, *defn;
} section_t;

static apr_array_header_t *sections_of(const sa_check_t *check)
{
    const apr_array_header_t *sections = url_sections(check->s);
    apr_array_header_t *found = apr_array_make(check->ptemp, 8, sizeof(section_t));

    for (int i = 0; i < sections->nelts; i++) {
        ap_conf_vector_t *section = SA_AT(sections, i, ap_conf_vector_t *);
        const core_dir_config *core = ap_get_core_module_config(section);
        const sa_dir_conf_t *conf = ap_get_module_config(section, &social_auth_module);

        if (conf && conf->defn && is_literal(core)) {
            APR_ARRAY_PUSH(found, section_t) = (section_t) { core->d, conf->defn };
        }
    }
    return found;
}

static const sa_mount_t *mount_inside(sa_check_t *check, const apr_array_header_t *mounts,
                                      const char *outer)
{
    for (int i = 0; i < mounts->nelts; i++) {
        const sa_mount_t *mount = SA_AT(mounts, i, const sa_mount_t *);
        if (covers(check->ptemp, outer, mount->path)) {
            return mount;
        }
    }
    return NULL;
}

static const sa_mount_t *mount_around(const sa_check_t *check, const apr_array_header_t *mounts,
                                      const char *inner)
{
    for (int i = 0; i < mounts->nelts; i++) {
        const sa_mount_t *mount = SA_AT(mounts, i, const sa_mount_t *);
        if (covers(check->ptemp, mount->path, inner)) {
            return mount;
        }
    }
    return NULL;
}

static void report_dead(sa_check_t *check, const section_t *section, const sa_mount_t *around)
{
    if (around) {
        sa_check_problem(check, section->defn, "SocialAuth directives in <Location \"%s\"> have no "
                         "effect: put them into <Location \"%s\">, the mount as a whole, or give "
                         "this one its own SetHandler social-auth", section->path,
                         SA_SHOWN(around->path));
    }
    else {
        sa_check_problem(check, section->defn, "SocialAuth directives in <Location \"%s\"> have no "
                         "effect: there is no SetHandler social-auth in it", section->path);
    }
}

/* A mount that another section has taken the handler from. */
static int was_a_mount(const apr_array_header_t *locations, const char *path)
{
    for (int i = 0; i < locations->nelts; i++) {
        const sa_location_t *location = &SA_AT(locations, i, sa_location_t);
        if (!strcmp(location->handler, "social-auth") && !strcmp(location->path, path)) {
            return 1;
        }
    }
    return 0;
}

/* Directives that configure no mount of any server would be ignored without a word. */
static void check_dead_sections(sa_check_t *check, const apr_array_header_t *locations,
                                server_rec *main_server)
{
    apr_table_t *used = apr_table_make(check->ptemp, 8);

    for (int pass = 0; pass < 2; pass++) {
        for (check->s = main_server; check->s; check->s = check->s->next) {
            const sa_server_conf_t *conf = ap_get_module_config(check->s->module_config,
                                                                &social_auth_module);
            const apr_array_header_t *sections = sections_of(check);
            for (int i = 0; i < sections->nelts; i++) {
                const section_t *section = &SA_AT(sections, i, section_t);
                if (mount_inside(check, conf->mounts, section->path)) {
                    apr_table_setn(used, section->defn, "");
                }
                else if (pass && !apr_table_get(used, section->defn)
                         && !was_a_mount(locations, section->path)) {
                    report_dead(check, section, mount_around(check, conf->mounts, section->path));
                }
            }
        }
    }
}

/* Cookies know no paths but prefixes: mounts of one host must not take one another's. */
static void tag_cookies(sa_check_t *check, const apr_array_header_t *mounts)
{
    unsigned char digest[SA_SHA256_LEN];

    for (int i = 0; mounts->nelts > 1 && i < mounts->nelts; i++) {
        sa_mount_t *mount = SA_AT(mounts, i, sa_mount_t *);
        sa_sha256(mount->path, strlen(mount->path), digest);
        mount->cookie_tag = apr_psprintf(check->p, "-%02x%02x%02x%02x", digest[0], digest[1],
                                         digest[2], digest[3]);
    }
}

static void give_away(const sa_check_t *check, const apr_array_header_t *mounts, const char *path)
{
    const sa_mount_t *mount = mount_around(check, mounts, path);

    if (mount) {
        APR_ARRAY_PUSH(mount->elsewhere, const char *) = apr_pstrdup(check->p, path);
    }
}

static void check_server(sa_check_t *check, const apr_array_header_t *locations,
                         server_rec *main_server)
{
    sa_server_conf_t *conf = sa_server_conf_create(check->p, check->s);
    const ap_directive_t *host = sa_tree_host(check->s, main_server);

    /* Never shared: a virtual host without directives would inherit the main server's. */
    ap_set_module_config(check->s->module_config, &social_auth_module, conf);
    sa_server_conf_t *main_conf = ap_get_module_config(main_server->module_config,
                                                       &social_auth_module);
    for (int ours = 1; ours >= 0; ours--) {
        for (int i = 0; i < locations->nelts; i++) {
            const sa_location_t *location = &SA_AT(locations, i, sa_location_t);
            const sa_location_t *last = is_visible(location, host)
                ? deciding(check, locations, host, location->path) : NULL;

            if (!last || strcmp(last->path, location->path)
                || ours != (strcmp(last->handler, "social-auth") == 0)) {
                continue;
            }
            if (!ours) {
                give_away(check, conf->mounts, last->path);
            }
            else if (!mount_at(conf->mounts, location->path)) {
                build_mount(check, conf, main_conf, last, host);
            }
        }
    }
    tag_cookies(check, conf->mounts);
}

/* httpd reads its configuration twice when it starts: at first, and in `httpd -t`, what is logged
 * goes to the terminal, afterwards to the error log. Hints belong into one of the two. */
static void set_up_log(sa_check_t *check)
{
    int is_test = ap_state_query(AP_SQ_RUN_MODE) == AP_SQ_RM_CONFIG_TEST;
    int is_first = ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG;

    check->warn = is_test || !is_first;
    check->serves = !is_test && !is_first;
    check->log_flags = is_test || is_first ? APLOG_STARTUP : 0;
    check->said = apr_table_make(check->ptemp, 4);
}

static const sa_webhook_t *webhook_of(const sa_mount_t *mount, const char *url)
{
    for (int i = 0; i < mount->webhooks->nelts; i++) {
        const sa_webhook_t *webhook = &SA_AT(mount->webhooks, i, sa_webhook_t);
        if (strcmp(webhook->url, url) == 0) {
            return webhook;
        }
    }
    return NULL;
}

static void check_webhook_pair(sa_check_t *check, const sa_mount_t *mount, const sa_mount_t *other)
{
    for (int i = 0; i < mount->webhooks->nelts; i++) {
        const sa_webhook_t *webhook = &SA_AT(mount->webhooks, i, sa_webhook_t);
        const sa_webhook_t *same = webhook_of(other, webhook->url);
        if (same && !sa_equal(same->secret_key, same->secret_key_len, webhook->secret_key,
                              webhook->secret_key_len)) {
            sa_check_problem(check, mount->defn, "SocialAuthWebhook %s has another secret in the "
                             "mount %s on the same database: give both the same one, or another "
                             "URL", webhook->url, other->path);
        }
    }
}

/* Links and sessions refer to one table's people; mounts with the same one share a store. */
static void check_user_tables(sa_check_t *check, const sa_mount_t *mount, const sa_mount_t *other)
{
    if (mount->store != other->store) {
        sa_check_problem(check, mount->defn, "the mount %s has another SocialAuthUserTable, "
                         "SocialAuthUserColumn or SocialAuthUserDeletedField than the mount %s on "
                         "the same database: set them once, outside of both", SA_SHOWN(mount->path),
                         SA_SHOWN(other->path));
    }
}

/* What mounts on one database must agree on. The outbox remembers the URL of a receiver: it has one
 * secret. */
static void check_shared_databases(sa_check_t *check, const apr_array_header_t *mounts)
{
    for (int i = 0; i < mounts->nelts; i++) {
        const sa_mount_t *mount = SA_AT(mounts, i, const sa_mount_t *);
        for (int j = 0; j < i; j++) {
            const sa_mount_t *other = SA_AT(mounts, j, const sa_mount_t *);
            if (sa_mount_same_database(mount, other)) {
                check_user_tables(check, mount, other);
                check_webhook_pair(check, mount, other);
            }
        }
    }
}

int sa_check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    sa_check_t check = { .p = pconf, .ptemp = ptemp, .s = s };
    apr_array_header_t *problems = apr_array_make(ptemp, 2, sizeof(const char *));

    if (sa_config_is_only_shown()) {
        return OK;
    }
    set_up_log(&check);
    if (sa_crypto_init() != APR_SUCCESS) {
        sa_check_problem(&check, "mod_social_auth", "OpenSSL lacks the algorithms it needs");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    apr_array_header_t *locations = sa_tree_locations(ptemp, problems);
    for (int i = 0; i < problems->nelts; i++) {
        ap_log_error(APLOG_MARK, check.log_flags | APLOG_EMERG, 0, s, "SA0102: %s",
                     SA_AT(problems, i, const char *));
        check.failed = 1;
    }
    for (server_rec *each = s; each; each = each->next) {
        check.s = each;
        check_server(&check, locations, s);
    }
    check_dead_sections(&check, locations, s);
    if (!check.failed) {
        check_shared_databases(&check, sa_mounts(s));
    }
    return check.failed ? HTTP_INTERNAL_SERVER_ERROR : OK;
}
