/* The database: asked of httpd itself (which alone knows how to read its configuration), or
 * given on the command line; opened with the same driver mod_dbd uses. */
#include "ctl/ctl.h"

#include <apr_dbd.h>
#include <apr_strings.h>
#include <apr_thread_proc.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config.h"
#include "core/json.h"

#define TIMEOUT_MS 30000

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
static const char *ask_httpd(ctl_t *ctl, char **text, apr_size_t *len)
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
    *len = used;
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

static int same_database(const json_t *a, const json_t *b)
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

static int is_wanted(const ctl_t *ctl, const json_t *mount)
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
        if (!is_wanted(ctl, mount)
            || (on_main && !json_is_true(json_object_get(mount, "is_main")))) {
            continue;
        }
        differ |= chosen && !same_database(chosen, mount);
        chosen = chosen ? chosen : mount;
        *choice = apr_pstrcat(ctl->pool, *choice, **choice ? ", or --server " : " --server ",
                              sa_json_string(mount, "server"), " --mount ",
                              sa_json_string(mount, "mount"), NULL);
    }
    return differ ? NULL : chosen;
}

/* A mount that virtual hosts inherit is the main server's unless --server says otherwise. */
static const char *choose_mount(ctl_t *ctl, const json_t *mounts, const json_t **chosen)
{
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

/* Whoever hears of events on this database hears of what is done here. */
static void take_listeners(ctl_t *ctl, const json_t *mounts, const json_t *chosen)
{
    size_t i, n;
    json_t *mount, *url;

    json_array_foreach(mounts, i, mount) {
        if (!same_database(chosen, mount)) {
            continue;
        }
        ctl->notify |= json_is_true(json_object_get(json_object_get(mount, "settings"), "notify"));
        json_array_foreach(json_object_get(mount, "webhooks"), n, url) {
            const char *text = json_string_value(url);
            if (!ctl->webhooks || !strstr(apr_pstrcat(ctl->pool, " ", ctl->webhooks, " ", NULL),
                                          apr_pstrcat(ctl->pool, " ", text, " ", NULL))) {
                ctl->webhooks = ctl->webhooks ? apr_pstrcat(ctl->pool, ctl->webhooks, " ", text,
                                                            NULL) : text;
            }
        }
    }
}

const char *ctl_locate(ctl_t *ctl)
{
    char *text;
    apr_size_t len;

    if (!ctl->conf) {
        return ctl->driver && ctl->params ? NULL : "say where the database is: -f httpd.conf, or "
                                                   "--driver and --params";
    }
    const char *why = ask_httpd(ctl, &text, &len);
    if (why) {
        return why;
    }
    const json_t *dump = find_dump(ctl->pool, text);
    if (!dump) {
        return apr_psprintf(ctl->pool, "%s does not load mod_social_auth", ctl->conf);
    }
    const json_t *mounts = json_object_get(dump, "mounts"), *mount;
    why = choose_mount(ctl, mounts, &mount);
    if (why) {
        return why;
    }
    ctl->driver = sa_json_string(mount, "driver");
    ctl->params = sa_json_string(mount, "params");
    take_map(&ctl->map, mount);
    take_listeners(ctl, mounts, mount);
    return ctl->driver && ctl->params ? NULL : "that mount has no DBDriver or DBDParams";
}

static sa_error_t *acquire(void *ctx, apr_pool_t *p, apr_time_t deadline, sa_connection_t *out)
{
    *out = *(sa_connection_t *) ctx;
    return NULL;
}

static void release(void *ctx, sa_connection_t *connection, int broken)
{
}

static const char *one_line(apr_pool_t *p, const char *text)
{
    char *out = apr_pstrdup(p, text), *last;
    const char *line = "";

    for (char *word = apr_strtok(out, " \t\r\n", &last); word;
         word = apr_strtok(NULL, " \t\r\n", &last)) {
        line = *line ? apr_pstrcat(p, line, " ", word, NULL) : word;
    }
    return line;
}

typedef struct {
    const apr_dbd_driver_t *driver;
    apr_dbd_t *handle;
} opened_t;

/* Runs after the store has finalized its statements: only then SQLite closes, and takes the files
 * of its log away, which must not stay behind as the administrator's. */
static apr_status_t close_database(void *data)
{
    const opened_t *opened = data;

    return apr_dbd_close(opened->driver, opened->handle);
}

const char *ctl_connect(ctl_t *ctl)
{
    sa_connection_t *connection = apr_pcalloc(ctl->pool, sizeof(*connection));
    opened_t *opened = apr_palloc(ctl->pool, sizeof(*opened));
    const apr_dbd_driver_t *driver;
    apr_dbd_t *handle;
    const char *why = NULL;

    if (apr_dbd_get_driver(ctl->pool, ctl->driver, &driver) != APR_SUCCESS) {
        return apr_psprintf(ctl->pool, "the apr_dbd driver \"%s\" is not installed", ctl->driver);
    }
    if (apr_dbd_open_ex(driver, ctl->pool, ctl->params, &handle, &why) != APR_SUCCESS) {
        return apr_psprintf(ctl->pool, "the database cannot be opened: %s",
                            why ? one_line(ctl->pool, why) : "unknown");
    }
    *opened = (opened_t) { driver, handle };
    apr_pool_cleanup_register(ctl->pool, opened, close_database, apr_pool_cleanup_null);
    connection->driver = ctl->driver;
    connection->native = apr_dbd_native_handle(driver, handle);
    connection->pool = ctl->pool;
    connection->handle = handle;
    ctl->source = (sa_db_source_t) {
        .ctx = connection, .acquire = acquire, .release = release, .timeout_ms = TIMEOUT_MS
    };
    return NULL;
}

sa_error_t *ctl_open(ctl_t *ctl, sa_work_t **work)
{
    return sa_work_open(work, ctl->store, &ctl->source, ctl->pool);
}
