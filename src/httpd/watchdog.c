#include "httpd/watchdog.h"

#include <apr_atomic.h>
#include <apr_hash.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <mod_watchdog.h>

#include "core/clock.h"
#include "httpd/runtime.h"

APLOG_USE_MODULE(social_auth);

#define NAME "_social_auth_"
#define TICK apr_time_from_sec(1)
#define PURGE_EVERY apr_time_from_sec(300)
#define PURGE_BATCH 1000
#define SESSION apr_time_from_sec(5)    /* then purging and other databases have their turn */
#define STOP_WAIT apr_time_from_msec(10)
#define STOP_WAITS 200          /* two seconds: less than httpd waits for a child */

/* Of this child: mod_watchdog's thread may still run while the child's pool is destroyed. */
static apr_uint32_t working, stopping;

int sa_watchdog_is_stopping(void)
{
    return apr_atomic_read32(&stopping) != 0;
}

/* Before anything the worker uses is torn down; not for ever, a receiver may hang. */
static apr_status_t let_worker_end(void *data)
{
    apr_atomic_set32(&stopping, 1);
    sa_revocations_stop();
    for (int i = 0; i < STOP_WAITS && apr_atomic_read32(&working); i++) {
        apr_sleep(STOP_WAIT);
    }
    return APR_SUCCESS;
}

void sa_watchdog_child_init(apr_pool_t *p)
{
    apr_pool_pre_cleanup_register(p, NULL, let_worker_end);
}

/* ---- what its jobs share ---- */

sa_error_t *sa_watchdog_open(const sa_mount_t *mount, apr_pool_t *p, sa_work_t **work)
{
    *work = NULL;
    return sa_work_open(work, mount->store, sa_dbd_source(mount), p);
}

void sa_watchdog_drain(apr_pool_t *p, int (*one)(void *ctx, apr_pool_t *p), void *ctx)
{
    apr_time_t until = sa_steady_time() + SESSION;
    int more = 1;

    while (more && sa_steady_time() < until && !sa_watchdog_is_stopping()) {
        apr_pool_t *pool;
        apr_pool_create(&pool, p);
        more = one(ctx, pool);
        apr_pool_destroy(pool);
    }
}

void sa_watchdog_note_outage(apr_pool_t *p, server_rec *s, const sa_mount_t *mount,
                             const char *what, const sa_error_t *error)
{
    static apr_hash_t *down;    /* the worker is one thread */
    static apr_pool_t *own;
    const char *key = apr_pstrcat(p, what, "|", mount->settings.database, NULL);

    if (!down) {
        apr_pool_create(&own, NULL);
        down = apr_hash_make(own);
    }
    char *said = apr_hash_get(down, key, APR_HASH_KEY_STRING);
    if (!said) {
        said = apr_pcalloc(own, 1);
        apr_hash_set(down, apr_pstrdup(own, key), APR_HASH_KEY_STRING, said);
    }
    if (error && !*said) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s, "SA0312: %s: %s", what,
                     error->log ? error->log : error->text);
    }
    *said = error != NULL;
}

/* 1 when more is left than one batch may take. */
static int purge(apr_pool_t *p, server_rec *s, const sa_mount_t *mount)
{
    sa_work_t *work;
    int n = 0;
    sa_error_t *error = sa_watchdog_open(mount, p, &work);

    if (!error) {
        error = sa_store_purge(work, apr_time_sec(apr_time_now()), PURGE_BATCH, &n);
    }
    sa_work_close(work);
    if (error) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s, "SA0301: expired rows were not purged: %s",
                     error->log ? error->log : error->text);
    }
    else if (n) {
        ap_log_error(APLOG_MARK, APLOG_INFO, 0, s, "SA0302: purged %d expired rows", n);
    }
    return !error && n >= PURGE_BATCH;
}

static void keep_documents(apr_pool_t *p, const sa_mount_t *mount)
{
    const apr_array_header_t *providers = mount->settings.providers;

    for (int i = 0; i < providers->nelts; i++) {
        const sa_provider_t *provider = APR_ARRAY_IDX(providers, i, const sa_provider_t *);
        if (provider->type->keep && !provider->disabled_because && !sa_watchdog_is_stopping()) {
            provider->type->keep(provider, sa_runtime_env(), p);
        }
    }
}

static int is_first_of_database(const apr_array_header_t *mounts, int i)
{
    const sa_mount_t *mount = APR_ARRAY_IDX(mounts, i, const sa_mount_t *);

    for (int j = 0; j < i; j++) {
        if (sa_mount_same_database(APR_ARRAY_IDX(mounts, j, const sa_mount_t *), mount)) {
            return 0;
        }
    }
    return 1;
}

static void work(apr_pool_t *p, server_rec *s)
{
    static apr_time_t last_purge;       /* of this child; the singleton runs in one thread */
    const apr_array_header_t *mounts = sa_mounts(s);
    apr_time_t now = apr_time_now();
    int more = 0;

    int purge_is_due = now - last_purge > PURGE_EVERY || now < last_purge;
    for (int i = 0; i < mounts->nelts; i++) {
        const sa_mount_t *mount = APR_ARRAY_IDX(mounts, i, const sa_mount_t *);
        keep_documents(p, mount);
        if (!is_first_of_database(mounts, i) || sa_watchdog_is_stopping()) {
            continue;
        }
        sa_webhooks_deliver(p, s, mount, mounts);
        sa_mails_send(p, s, mount, mounts);
        if (purge_is_due && !sa_watchdog_is_stopping()) {
            more |= purge(p, s, mount);
        }
    }
    last_purge = purge_is_due && !more ? now : last_purge;
}

static apr_status_t tick(int state, void *data, apr_pool_t *p)
{
    switch (state) {
    case AP_WATCHDOG_STATE_STARTING:
        sa_revocations_start(data);
        break;
    case AP_WATCHDOG_STATE_RUNNING:
        apr_atomic_set32(&working, 1);
        work(p, data);
        apr_atomic_set32(&working, 0);
        break;
    default:
        sa_revocations_stop();
    }
    return APR_SUCCESS;
}

static void say_without_watchdog(server_rec *s)
{
    const apr_array_header_t *mounts = sa_mounts(s);
    int webhooks = 0, mails = 0;

    for (int i = 0; i < mounts->nelts; i++) {
        const sa_mount_t *mount = APR_ARRAY_IDX(mounts, i, const sa_mount_t *);
        webhooks += mount->webhooks->nelts;
        mails += mount->settings.mails;
    }
    ap_log_error(APLOG_MARK, webhooks || mails ? APLOG_WARNING : APLOG_NOTICE, 0, s,
                 "SA0300: mod_watchdog is not loaded: %s%severy access token is looked up in the "
                 "database; run \"socialauthctl purge\" from cron",
                 webhooks ? "no webhook is delivered; " : "", mails ? "no mail is sent; " : "");
}

int sa_watchdog_post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    APR_OPTIONAL_FN_TYPE(ap_watchdog_get_instance) *get_instance;
    APR_OPTIONAL_FN_TYPE(ap_watchdog_register_callback) *register_callback;
    ap_watchdog_t *watchdog;

    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG || !sa_mounts(s)->nelts) {
        return OK;
    }
    get_instance = APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_get_instance);
    register_callback = APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_register_callback);
    if (!get_instance || !register_callback) {
        say_without_watchdog(s);
        return OK;
    }
    apr_status_t rv = get_instance(&watchdog, NAME, 0, 1, s->process->pool);
    if (rv == APR_SUCCESS) {
        rv = register_callback(watchdog, TICK, s, tick);
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s, "SA0303: mod_watchdog refused the worker");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    return OK;
}
