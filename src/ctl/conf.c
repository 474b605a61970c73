/* The configuration: asked of httpd itself, which alone knows how to read it. */
#include "ctl/ctl.h"

#include <apr_strings.h>
#include <apr_thread_proc.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "config.h"
#include "core/json.h"

/* A file for what httpd says besides, which matters only when it refuses. NULL = none could be made. */
static apr_file_t *make_complaints(apr_pool_t *p)
{
    const char *dir;
    apr_file_t *file;

    if (apr_temp_dir_get(&dir, p) != APR_SUCCESS
        || apr_file_mktemp(&file, apr_pstrcat(p, dir, "/socialauthctl.XXXXXX", NULL), 0, p)
               != APR_SUCCESS) {
        return NULL;
    }
    return file;
}

static void show_complaints(apr_file_t *file)
{
    char buf[4096];
    apr_size_t n = sizeof(buf);
    apr_off_t start = 0;

    if (file && apr_file_seek(file, APR_SET, &start) == APR_SUCCESS) {
        while (apr_file_read(file, buf, &n) == APR_SUCCESS) {
            fwrite(buf, 1, n, stderr);
            n = sizeof(buf);
        }
    }
}

/* Runs httpd -t -D DUMP_SOCIAL_AUTH -f conf; its standard output in *text. */
static const char *ask_httpd(ctl_t *ctl, char **text)
{
    const char *program = ctl->httpd ? ctl->httpd : SA_APACHECTL;
    const char *const args[] = {
        program, "-t", "-D", "DUMP_SOCIAL_AUTH", "-f", ctl->conf, NULL
    };
    apr_procattr_t *attr;
    apr_file_t *complaints = make_complaints(ctl->pool);
    apr_proc_t proc;
    int exit_code = 1;
    apr_exit_why_e why;
    apr_size_t size = 1 << 20, used = 0;

    *text = apr_palloc(ctl->pool, size);
    apr_procattr_create(&attr, ctl->pool);
    apr_procattr_io_set(attr, APR_NO_PIPE, APR_FULL_BLOCK, APR_NO_PIPE);
    if (complaints) {
        apr_procattr_child_err_set(attr, complaints, NULL);
    }
    apr_procattr_cmdtype_set(attr, APR_PROGRAM_PATH);
    if (apr_proc_create(&proc, program, args, NULL, attr, ctl->pool) != APR_SUCCESS) {
        return apr_psprintf(ctl->pool, "%s could not be started: use --httpd", program);
    }
    while (used < size - 1) {
        apr_size_t n = size - 1 - used;
        if (apr_file_read(proc.out, *text + used, &n) != APR_SUCCESS) {
            break;
        }
        used += n;
    }
    (*text)[used] = '\0';
    apr_proc_wait(&proc, &exit_code, &why, APR_WAIT);
    if (exit_code) {
        show_complaints(complaints);
    }
    return exit_code ? apr_psprintf(ctl->pool, "%s does not accept %s", program, ctl->conf) : NULL;
}

/* The JSON line among whatever else httpd printed. */
static json_t *find_dump(apr_pool_t *p, char *text)
{
    char *last, *line;

    for (line = apr_strtok(text, "\n", &last); line; line = apr_strtok(NULL, "\n", &last)) {
        const char *why;
        json_t *dump = *line == '{' ? sa_json_parse(p, line, strlen(line), &why) : NULL;
        if (json_is_array(json_object_get(dump, "mounts"))) {
            return dump;
        }
    }
    return NULL;
}

static int same_text(const json_t *a, const json_t *b, const char *member)
{
    return json_equal(json_object_get(a, member), json_object_get(b, member));
}

int ctl_same_database(const json_t *a, const json_t *b)
{
    return same_text(a, b, "driver") && same_text(a, b, "params");
}

/* --server NAME or NAME:PORT */
static int is_on_server(const json_t *mount, const char *server)
{
    const char *name = sa_json_string(mount, "server");
    apr_size_t len = strlen(server);

    return name && !strncasecmp(name, server, len) && (!name[len] || name[len] == ':');
}

int ctl_mount_is_wanted(const ctl_t *ctl, const json_t *mount)
{
    const char *path = sa_json_string(mount, "mount");

    return (!ctl->mount || (path && !strcmp(path, ctl->mount)))
           && (!ctl->server || is_on_server(mount, ctl->server));
}

/* The first mount that is meant, where all that are have one database; else what there is to choose from
 * in *choice. */
static const json_t *only_database(ctl_t *ctl, const json_t *mounts, int on_main,
                                   const char **choice)
{
    const json_t *chosen = NULL;
    int differ = 0;
    size_t i;
    json_t *mount;

    *choice = "";
    json_array_foreach(mounts, i, mount) {
        if (!ctl_mount_is_wanted(ctl, mount)
            || (on_main && !json_is_true(json_object_get(mount, "is_main")))) {
            continue;
        }
        differ |= chosen && !ctl_same_database(chosen, mount);
        chosen = chosen ? chosen : mount;
        *choice = apr_pstrcat(ctl->pool, *choice, **choice ? ", or --server " : " --server ",
                              sa_json_string(mount, "server"), " --mount ",
                              sa_json_string(mount, "mount"), NULL);
    }
    return differ ? NULL : chosen;
}

/* A mount that virtual hosts inherit is the main server's unless --server says otherwise. */
static const char *choose_mount(ctl_t *ctl, const json_t **chosen)
{
    const json_t *mounts = json_object_get(ctl->dump, "mounts");
    const char *choice, *main_choice;

    *chosen = only_database(ctl, mounts, 0, &choice);
    if (!*chosen && ctl->mount && !ctl->server) {
        *chosen = only_database(ctl, mounts, 1, &main_choice);
    }
    if (*chosen) {
        return NULL;
    }
    if (*choice) {
        return apr_psprintf(ctl->pool, "%s has mounts with different databases; say which one:%s",
                            ctl->conf, choice);
    }
    return apr_psprintf(ctl->pool, "%s has no mount %s%s%s", ctl->conf,
                        ctl->mount ? ctl->mount : "(<Location> with SetHandler social-auth)",
                        ctl->server ? " on the server " : "", ctl->server ? ctl->server : "");
}

static void take_map(sa_user_map_t *map, const json_t *mount)
{
    const json_t *columns = json_object_get(mount, "user_columns");
    struct {
        const char *role;
        const char **column;
    } roles[] = {
        { "id", &map->id }, { "email", &map->email }, { "username", &map->username },
        { "first_name", &map->first_name }, { "last_name", &map->last_name },
        { "password", &map->password }, { "is_active", &map->is_active },
        { "is_staff", &map->is_staff }, { "is_superuser", &map->is_superuser },
        { "email_verified", &map->email_verified }, { "date_joined", &map->date_joined },
        { "last_login", &map->last_login },
    };

    map->table = sa_json_string(mount, "user_table");
    map->deleted = sa_json_string(mount, "user_deleted");
    for (size_t i = 0; i < sizeof(roles) / sizeof(*roles); i++) {
        *roles[i].column = sa_json_string(columns, roles[i].role);
    }
}

static void add_webhook(ctl_t *ctl, const char *url)
{
    if (!ctl->webhooks) {
        ctl->webhooks = url;
    }
    else if (!strstr(apr_pstrcat(ctl->pool, " ", ctl->webhooks, " ", NULL),
                     apr_pstrcat(ctl->pool, " ", url, " ", NULL))) {
        ctl->webhooks = apr_pstrcat(ctl->pool, ctl->webhooks, " ", url, NULL);
    }
}

/* Whoever hears of events on this database hears of what is done here. */
static void take_listeners(ctl_t *ctl, const json_t *mount)
{
    size_t i;
    json_t *url;

    ctl->notify |= json_is_true(json_object_get(json_object_get(mount, "settings"), "notify"));
    json_array_foreach(json_object_get(mount, "webhooks"), i, url) {
        add_webhook(ctl, json_string_value(url));
    }
}

/* What people can sign in with at some mount of this database. */
static void take_ways_in(ctl_t *ctl, const json_t *mount)
{
    const json_t *settings = json_object_get(mount, "settings");
    size_t i;
    json_t *provider;

    ctl->no_passwords &= !json_is_true(json_object_get(settings, "password_login"));
    json_array_foreach(json_object_get(mount, "providers"), i, provider) {
        const char *issuer = sa_json_string(provider, "issuer");
        if (issuer && !sa_json_string(provider, "disabled_because")) {
            ctl->issuers = apr_pstrcat(ctl->pool, ctl->issuers, issuer, "\n", NULL);
        }
    }
}

void ctl_use_mount(ctl_t *ctl, const json_t *chosen)
{
    size_t i;
    json_t *mount;

    ctl->driver = sa_json_string(chosen, "driver");
    ctl->params = sa_json_string(chosen, "params");
    take_map(&ctl->map, chosen);
    ctl->webhooks = NULL;
    ctl->notify = 0;
    ctl->no_passwords = 1;
    ctl->issuers = "";
    json_array_foreach(json_object_get(ctl->dump, "mounts"), i, mount) {
        if (ctl_same_database(chosen, mount)) {
            take_listeners(ctl, mount);
            take_ways_in(ctl, mount);
        }
    }
}

const char *ctl_read_conf(ctl_t *ctl)
{
    char *text;

    if (!ctl->conf) {
        return "say which configuration: -f httpd.conf";
    }
    const char *why = ask_httpd(ctl, &text);
    if (why) {
        return why;
    }
    ctl->dump = find_dump(ctl->pool, text);
    return ctl->dump ? NULL : apr_psprintf(ctl->pool, "%s does not load mod_social_auth",
                                           ctl->conf);
}

const char *ctl_locate(ctl_t *ctl)
{
    const json_t *mount;

    if (!ctl->conf) {
        return ctl->driver && ctl->params ? NULL : "say where the database is: -f httpd.conf, or "
                                                   "--driver and --params";
    }
    const char *why = ctl_read_conf(ctl);
    if (!why) {
        why = choose_mount(ctl, &mount);
    }
    if (why) {
        return why;
    }
    ctl_use_mount(ctl, mount);
    return ctl->driver && ctl->params ? NULL : "that mount has no DBDriver or DBDParams";
}
