/* What the databases say of ended sessions, told to all children through shared memory. */
#include "httpd/watchdog.h"

#include <apr_atomic.h>
#include <apr_poll.h>
#include <apr_signal.h>
#include <apr_thread_proc.h>
#include <http_log.h>

#include "httpd/runtime.h"

APLOG_USE_MODULE(social_auth);

#define POLL_EVERY apr_time_from_msec(300)      /* three times before what is known is stale */
#define TROUBLES_LOGGED 2
#define REST_WHEN_FULL 15        /* polls left out before all is read again, to see if it fits */
#define DB_TIMEOUT 2000         /* milliseconds: an older answer is worth nothing */
#define STOP_WAIT apr_time_from_msec(10)
#define STOP_WAITS 250

/* One database, and its thread. */
typedef struct {
    server_rec *s;
    const sa_mount_t *mount;
    apr_int64_t memory;         /* seconds */
    const sa_db_source_t *source;
    apr_pool_t *pool;
    const char *cursor;         /* NULL = nothing has been read yet */
    int rest;                   /* polls to leave out */
    int troubles;               /* looks in a row that failed */
} feed_t;

/* Of this child. Closing the pipe's end wakes all threads. */
static apr_uint32_t running, stopping;
static apr_file_t *pipe_in, *pipe_out;

/* ---- one look ---- */

/* The first time as one that might write: where SQLite may only read its files, because somebody else is
 * just making them, it would let no connection of this process write as long as ours is open. */
static sa_error_t *ask(feed_t *feed, apr_pool_t *p, apr_array_header_t **ended, const char **next)
{
    sa_work_t *work = NULL;
    sa_error_t *error = sa_work_open(&work, feed->mount->store, feed->source, p);

    if (!error && !feed->cursor) {
        error = sa_work_begin(work);
    }
    if (!error) {
        error = sa_store_revocations(work, feed->memory, feed->cursor, ended, next);
    }
    sa_work_close(work);
    if (error) {
        sa_dbd_own_close(feed->source);
    }
    return error;
}

/* NULL, or why not all of it is in shared memory. */
static const char *tell(const feed_t *feed, const apr_array_header_t *ended, apr_uint64_t moment)
{
    sa_shared_t *shared = sa_runtime_shared();
    const char *database = feed->mount->settings.database;
    int fits = 1;

    for (int i = 0; i < ended->nelts; i++) {
        const sa_revocation_t *each = &APR_ARRAY_IDX(ended, i, sa_revocation_t);
        fits &= sa_revoke(shared, database, each->sid, each->left * 1000);
    }
    return fits && sa_revocations_known(shared, database, moment) ? NULL
           : "no room for more of them: raise SocialAuthSharedMemory";
}

/* One look that failed is made good before anybody would notice. */
static void note_trouble(feed_t *feed, const char *trouble)
{
    if (trouble && ++feed->troubles == TROUBLES_LOGGED) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, feed->s, "SA0330: ended sessions are not known, each "
                     "access token is looked up in the database: %s", trouble);
    }
    if (!trouble && feed->troubles >= TROUBLES_LOGGED) {
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, feed->s, "SA0331: ended sessions are known again");
    }
    feed->troubles = trouble ? feed->troubles : 0;
}

/* p holds the next cursor. After any trouble all is read again. */
static void look(feed_t *feed, apr_pool_t *p)
{
    apr_uint64_t moment = sa_revocations_moment();
    apr_array_header_t *ended = NULL;
    const char *next = NULL, *full = NULL;
    sa_error_t *error = ask(feed, p, &ended, &next);

    if (!error) {
        full = tell(feed, ended, moment);
    }
    note_trouble(feed, !error ? full : error->log ? error->log : error->text);
    feed->cursor = error || full ? NULL : next;
    feed->rest = full ? REST_WHEN_FULL : 0;
}

/* ---- threads ---- */

/* By a clock that does not step. */
static void wait_for_next_poll(void)
{
    apr_pollfd_t end = { .desc_type = APR_POLL_FILE, .reqevents = APR_POLLIN, .desc.f = pipe_in };
    apr_int32_t n;

    apr_poll(&end, 1, &n, POLL_EVERY);
}

static void *APR_THREAD_FUNC run(apr_thread_t *thread, void *data)
{
    feed_t *feed = data;
    apr_pool_t *pools[2];       /* a cursor lives until the next look is over */

    apr_setup_signal_thread();
    apr_pool_create(&pools[0], feed->pool);
    apr_pool_create(&pools[1], feed->pool);
    for (int turn = 0; !apr_atomic_read32(&stopping); turn = !turn) {
        apr_pool_clear(pools[turn]);
        look(feed, pools[turn]);
        for (int i = 0; i <= feed->rest && !apr_atomic_read32(&stopping); i++) {
            wait_for_next_poll();
        }
    }
    apr_pool_destroy(feed->pool);
    apr_atomic_dec32(&running);
    return NULL;
}

static apr_status_t start(apr_pool_t *pool, server_rec *s, const sa_mount_t *mount,
                          apr_int64_t memory)
{
    apr_pool_t *own;
    apr_thread_t *thread;
    apr_status_t rv = apr_pool_create_unmanaged_ex(&own, NULL, NULL);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    feed_t *feed = apr_pcalloc(own, sizeof(*feed));
    *feed = (feed_t) { .s = s, .mount = mount, .memory = memory, .pool = own };
    feed->source = sa_dbd_own_source(own, mount, mount->db_timeout_ms < DB_TIMEOUT
                                                     ? mount->db_timeout_ms : DB_TIMEOUT);
    apr_atomic_inc32(&running);
    rv = apr_thread_create(&thread, NULL, run, feed, pool);
    if (rv != APR_SUCCESS) {
        apr_atomic_dec32(&running);
    }
    return rv;
}

static int is_fed(const sa_mount_t *mount)
{
    return mount->settings.revocation_check == SA_REVOCATION_SHARED;
}

/* As long as the longest-lived access tokens of this server need it. 0 when an earlier mount
 * has the same database. */
static apr_int64_t memory_of(const apr_array_header_t *mounts, int n)
{
    const sa_mount_t *mount = APR_ARRAY_IDX(mounts, n, const sa_mount_t *);
    apr_int64_t longest = 0;

    for (int i = 0; i < mounts->nelts; i++) {
        const sa_mount_t *other = APR_ARRAY_IDX(mounts, i, const sa_mount_t *);
        apr_int64_t memory = sa_revocation_memory(other->settings.access_lifetime);
        if (!is_fed(other) || !sa_mount_same_database(mount, other)) {
            continue;
        }
        if (i < n) {
            return 0;
        }
        longest = memory > longest ? memory : longest;
    }
    return longest;
}

/* Pools have no parent: a thread that hangs in libpq when the child ends still has its own. */
void sa_revocations_start(server_rec *s)
{
    const apr_array_header_t *mounts = sa_mounts(s);
    apr_pool_t *pool;
    apr_status_t rv = apr_pool_create_unmanaged_ex(&pool, NULL, NULL);

    if (rv == APR_SUCCESS) {
        rv = apr_file_pipe_create(&pipe_in, &pipe_out, pool);
    }
    for (int i = 0; rv == APR_SUCCESS && i < mounts->nelts; i++) {
        const sa_mount_t *mount = APR_ARRAY_IDX(mounts, i, const sa_mount_t *);
        apr_int64_t memory = is_fed(mount) ? memory_of(mounts, i) : 0;
        rv = memory ? start(pool, s, mount, memory) : APR_SUCCESS;
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, s, "SA0332: no thread for ended sessions: each access "
                     "token is looked up in the database");
    }
}

void sa_revocations_stop(void)
{
    if (!apr_atomic_xchg32(&stopping, 1) && pipe_out) {
        apr_file_close(pipe_out);
    }
    for (int i = 0; i < STOP_WAITS && apr_atomic_read32(&running); i++) {
        apr_sleep(STOP_WAIT);
    }
}
