/* A connection that waits for nobody: opened as mod_dbd would, but not one of its pool. */
#include <apr_dbd.h>
#include <apr_strings.h>

#include "core/text.h"
#include "httpd/runtime.h"

typedef struct {
    const sa_mount_t *mount;
    sa_db_source_t source;
    apr_pool_t *pool;           /* of the source */
    apr_pool_t *opened;         /* of the connection, NULL = none */
    const apr_dbd_driver_t *driver;
    apr_dbd_t *handle;
} own_t;

/* Runs after the store has finalized its statements. */
static apr_status_t close_handle(void *data)
{
    own_t *own = data;

    return apr_dbd_close(own->driver, own->handle);
}

static sa_error_t *open_handle(own_t *own, apr_pool_t *p)
{
    const char *why = NULL;
    const sa_mount_t *mount = own->mount;

    apr_pool_create(&own->opened, own->pool);
    apr_status_t rv = apr_dbd_get_driver(own->opened, mount->db_driver, &own->driver);
    if (rv == APR_SUCCESS) {
        rv = apr_dbd_open_ex(own->driver, own->opened, mount->db_params, &own->handle, &why);
    }
    if (rv == APR_SUCCESS) {
        apr_pool_cleanup_register(own->opened, own, close_handle, apr_pool_cleanup_null);
        return NULL;
    }
    sa_error_t *error = sa_error(p, SA_E_UNAVAILABLE, NULL, "database: it cannot be opened: %s",
                                 why ? sa_log_safe(p, why, 300) : "no driver");
    apr_pool_destroy(own->opened);
    own->opened = NULL;
    return error;
}

static sa_error_t *acquire(void *ctx, apr_pool_t *p, apr_time_t deadline, sa_connection_t *out)
{
    own_t *own = ctx;
    sa_error_t *error = own->opened ? NULL : open_handle(own, p);

    if (!error) {
        out->driver = own->mount->db_driver;
        out->native = apr_dbd_native_handle(own->driver, own->handle);
        out->pool = own->opened;
        out->handle = own->handle;
    }
    return error;
}

static void release(void *ctx, sa_connection_t *connection, int broken)
{
    own_t *own = ctx;

    if (broken) {
        sa_dbd_own_close(&own->source);
    }
}

void sa_dbd_own_close(const sa_db_source_t *source)
{
    own_t *own = source->ctx;

    if (own->opened) {
        apr_pool_destroy(own->opened);
        own->opened = NULL;
    }
}

const sa_db_source_t *sa_dbd_own_source(apr_pool_t *p, const sa_mount_t *mount, int timeout_ms)
{
    own_t *own = apr_pcalloc(p, sizeof(*own));

    own->mount = mount;
    own->pool = p;
    own->source = (sa_db_source_t) {
        .ctx = own, .acquire = acquire, .release = release, .timeout_ms = timeout_ms
    };
    return &own->source;
}
