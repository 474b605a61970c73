/* The database, opened with the same driver mod_dbd uses. */
#include "ctl/ctl.h"

#include <apr_dbd.h>
#include <apr_strings.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TIMEOUT_MS 30000

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

const char *ctl_open_database(apr_pool_t *pool, const char *driver_name, const char *params,
                              int timeout_ms, sa_db_source_t *source)
{
    apr_pool_t *p;              /* one per connection: what the store keeps hangs on it */
    apr_pool_create(&p, pool);
    sa_connection_t *connection = apr_pcalloc(p, sizeof(*connection));
    opened_t *opened = apr_palloc(p, sizeof(*opened));
    const apr_dbd_driver_t *driver;
    apr_dbd_t *handle;
    const char *why = NULL;

    if (apr_dbd_get_driver(pool, driver_name, &driver) != APR_SUCCESS) {
        return apr_psprintf(pool, "the apr_dbd driver \"%s\" is not installed", driver_name);
    }
    if (apr_dbd_open_ex(driver, p, params, &handle, &why) != APR_SUCCESS) {
        return apr_psprintf(pool, "the database cannot be opened: %s",
                            why ? one_line(pool, why) : "unknown");
    }
    *opened = (opened_t) { driver, handle };
    apr_pool_cleanup_register(p, opened, close_database, apr_pool_cleanup_null);
    connection->driver = driver_name;
    connection->native = apr_dbd_native_handle(driver, handle);
    connection->pool = p;
    connection->handle = handle;
    *source = (sa_db_source_t) {
        .ctx = connection, .acquire = acquire, .release = release, .timeout_ms = timeout_ms
    };
    return NULL;
}

/* A new file belongs to its directory's owner, who answers requests, and is nobody else's to read: it
 * will hold password hashes. What goes wrong here SQLite finds as well, and says. */
static void make_sqlite_file(apr_pool_t *p, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *directory = slash ? apr_pstrmemdup(p, path, (apr_size_t)(slash - path) + 1) : ".";
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    struct stat found;

    if (fd < 0) {
        return;
    }
    if (geteuid() == 0 && !stat(directory, &found) && fchown(fd, found.st_uid, found.st_gid)) {
        unlink(path);
    }
    close(fd);
}

const char *ctl_connect(ctl_t *ctl)
{
    if (!strcmp(ctl->driver, "sqlite3")) {
        make_sqlite_file(ctl->pool, ctl->params);
    }
    const char *why = ctl_open_database(ctl->pool, ctl->driver, ctl->params, TIMEOUT_MS,
                                        &ctl->source);

    if (!why) {
        ctl->store = sa_store_make(ctl->pool, ctl->driver, &ctl->map, &why);
    }
    return why;
}

sa_error_t *ctl_open(ctl_t *ctl, sa_work_t **work)
{
    return sa_work_open(work, ctl->store, &ctl->source, ctl->pool);
}
