/* mod_dbd's pool behind a timed gate. apr_reslist waits without limit and connects
 * while holding its lock, so: one caller at a time asks it, everyone waits at most
 * until its deadline, and after a failed connect nobody connects again for a moment.
 * A burst may wait with all threads; when nothing moves, only some of them go on waiting. */
#include <ap_mpm.h>
#include <apr_dbd.h>
#include <mod_dbd.h>

#include <apr_env.h>
#include <apr_strings.h>
#include <apr_thread_cond.h>
#include <apr_thread_mutex.h>

#include "core/clock.h"
#include "httpd/runtime.h"

#define DOWN_FOR apr_time_from_msec(500)        /* after a connect that failed */
#define PATIENCE apr_time_from_msec(500)        /* of those who would be one too many */
#define MIN_CONNECT_TIMEOUT 2                   /* seconds, libpq's own minimum */

typedef struct {
    const sa_mount_t *mount;    /* the first of its database */
    apr_thread_mutex_t *mutex;
    apr_thread_cond_t *ready;
    int max, in_use;
    int made;                   /* connections that exist, as far as is known */
    int sound;                  /* those in use when somebody began to connect, without what broke since */
    int waiting, max_waiting;
    int stuck;                  /* somebody's patience ended and nothing has moved since */
    int connecting;             /* somebody is inside ap_dbd_open */
    apr_time_t down_until;
} gate_t;

/* A mount's way through the gate: its time limit is its own. */
typedef struct {
    const sa_mount_t *mount;
    sa_db_source_t source;
} way_t;

static APR_OPTIONAL_FN_TYPE(ap_dbd_open) *dbd_open;
static APR_OPTIONAL_FN_TYPE(ap_dbd_close) *dbd_close;
static apr_array_header_t *gates;       /* gate_t *, per child */
static apr_array_header_t *ways;        /* way_t, one per mount */

void sa_dbd_retrieve(void)
{
    dbd_open = APR_RETRIEVE_OPTIONAL_FN(ap_dbd_open);
    dbd_close = APR_RETRIEVE_OPTIONAL_FN(ap_dbd_close);
}

/* While nobody connects, those that exist have to do. */
static int must_wait(const gate_t *gate)
{
    int limit = sa_steady_time() < gate->down_until ? gate->made : gate->max;

    return gate->connecting || gate->in_use >= limit;
}

/* How long to wait for the next change, 0 = no longer. */
static apr_interval_time_t may_wait(gate_t *gate, apr_time_t since, apr_time_t deadline)
{
    apr_time_t now = sa_steady_time(), until = deadline;

    if (gate->waiting > gate->max_waiting) {
        until = gate->stuck ? now : since + PATIENCE;
        gate->stuck = until <= now;
    }
    until = until < deadline ? until : deadline;
    return until > now ? until - now : 0;
}

/* Waits for its turn, with the mutex held. */
static const char *enter(gate_t *gate, apr_time_t deadline)
{
    apr_time_t since = sa_steady_time();
    apr_interval_time_t left = 1;

    gate->waiting++;
    while (must_wait(gate)) {
        if (!gate->connecting && !gate->made && since < gate->down_until) {
            left = 0;
        }
        left = left ? may_wait(gate, since, deadline) : 0;
        if (!left) {
            break;
        }
        apr_thread_cond_timedwait(gate->ready, gate->mutex, left);
    }
    gate->waiting--;
    return left ? NULL
           : gate->made ? "all database connections are in use"
                        : "the database could not be reached just now";
}

/* With the mutex held before and after. */
static ap_dbd_t *open_through(gate_t *gate, apr_pool_t *p)
{
    gate->connecting = 1;
    gate->sound = gate->in_use++;
    apr_thread_mutex_unlock(gate->mutex);

    ap_dbd_t *db = dbd_open(p, gate->mount->server);

    apr_thread_mutex_lock(gate->mutex);
    gate->connecting = 0;
    if (!db) {
        gate->in_use--;
        gate->made = gate->sound;       /* some may be free again by now */
        gate->down_until = sa_steady_time() + DOWN_FOR;
    }
    else if (gate->made < gate->in_use) {
        gate->made = gate->in_use;
    }
    return db;
}

static sa_error_t *acquire(void *ctx, apr_pool_t *p, apr_time_t deadline, sa_connection_t *out)
{
    gate_t *gate = ctx;
    ap_dbd_t *db = NULL;
    const char *why;

    apr_thread_mutex_lock(gate->mutex);
    do {
        why = enter(gate, deadline);
        db = why ? NULL : open_through(gate, p);
    } while (!why && !db && gate->made);        /* no more of them can be had: wait for one */
    apr_thread_cond_signal(gate->ready);
    apr_thread_mutex_unlock(gate->mutex);
    if (!db) {
        return sa_error(p, SA_E_UNAVAILABLE, NULL, "%s", why ? why : "mod_dbd gave no connection");
    }
    out->driver = apr_dbd_name(db->driver);
    out->native = apr_dbd_native_handle(db->driver, db->handle);
    out->pool = db->pool;
    out->handle = db;
    return NULL;
}

static void release(void *ctx, sa_connection_t *connection, int broken)
{
    gate_t *gate = ctx;

    dbd_close(gate->mount->server, connection->handle);
    apr_thread_mutex_lock(gate->mutex);
    gate->in_use--;
    if (broken) {
        gate->made--;
        gate->sound--;
    }
    gate->stuck = 0;
    apr_thread_cond_signal(gate->ready);
    apr_thread_mutex_unlock(gate->mutex);
}

static gate_t *gate_of(const sa_mount_t *mount)
{
    for (int i = 0; i < gates->nelts; i++) {
        gate_t *gate = APR_ARRAY_IDX(gates, i, gate_t *);
        if (sa_mount_same_database(gate->mount, mount)) {
            return gate;
        }
    }
    return NULL;
}

/* Together with those at work, half of a child's threads. */
static int max_waiting(int working)
{
    int threads = 1;

    ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads);
    return threads / 2 > working ? threads / 2 - working : 1;
}

static apr_status_t gate_make(apr_pool_t *p, const sa_mount_t *mount)
{
    gate_t *gate = apr_pcalloc(p, sizeof(*gate));
    apr_status_t rv = apr_thread_mutex_create(&gate->mutex, APR_THREAD_MUTEX_DEFAULT, p);

    if (rv == APR_SUCCESS) {
        rv = apr_thread_cond_create(&gate->ready, p);
    }
    gate->mount = mount;
    gate->max = mount->db_connections;
    gate->max_waiting = max_waiting(gate->max);
    APR_ARRAY_PUSH(gates, gate_t *) = gate;
    return rv;
}

/* libpq's default for connections mod_dbd opens without connect_timeout in DBDParams. */
static void bound_connect_time(apr_pool_t *p, const apr_array_header_t *mounts)
{
    char *set;
    int seconds = 0;

    for (int i = 0; i < mounts->nelts; i++) {
        int own = APR_ARRAY_IDX(mounts, i, const sa_mount_t *)->db_timeout_ms / 1000;
        seconds = !seconds || own < seconds ? own : seconds;
    }
    if (seconds < MIN_CONNECT_TIMEOUT) {
        seconds = MIN_CONNECT_TIMEOUT;
    }
    if (apr_env_get(&set, "PGCONNECT_TIMEOUT", p) != APR_SUCCESS) {
        apr_env_set("PGCONNECT_TIMEOUT", apr_itoa(p, seconds), p);
    }
}

apr_status_t sa_dbd_child_init(apr_pool_t *p, const apr_array_header_t *mounts)
{
    apr_status_t rv = APR_SUCCESS;

    gates = apr_array_make(p, 4, sizeof(gate_t *));
    ways = apr_array_make(p, mounts->nelts, sizeof(way_t));
    bound_connect_time(p, mounts);
    for (int i = 0; rv == APR_SUCCESS && i < mounts->nelts; i++) {
        const sa_mount_t *mount = APR_ARRAY_IDX(mounts, i, const sa_mount_t *);
        if (!gate_of(mount)) {
            rv = gate_make(p, mount);
        }
        APR_ARRAY_PUSH(ways, way_t) = (way_t) { mount, {
            .ctx = gate_of(mount), .acquire = acquire, .release = release,
            .timeout_ms = mount->db_timeout_ms
        } };
    }
    return rv;
}

const sa_db_source_t *sa_dbd_source(const sa_mount_t *mount)
{
    for (int i = 0; ways && i < ways->nelts; i++) {
        const way_t *way = &APR_ARRAY_IDX(ways, i, way_t);
        if (way->mount == mount) {
            return &way->source;
        }
    }
    return NULL;
}
