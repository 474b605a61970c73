#include "httpd/runtime.h"

#include <ap_mpm.h>
#include <http_core.h>
#include <http_log.h>

#include "core/crypto.h"
#include "httpd/watchdog.h"
#include "providers/jwks_cache.h"

APLOG_USE_MODULE(social_auth);

#define HASH_WAIT_MS 2000
#define RETAINED "mod_social_auth:shared"

/* Set once: in the parent before children exist, and in each child before its threads. */
static sa_shared_t *shared;
static sa_provider_env_t env;
static sa_hash_gate_t *hash_gate;
static sa_http_t *webhook_http;         /* a receiver that hangs takes no login's place */

sa_shared_t *sa_runtime_shared(void)
{
    return shared;
}

const sa_provider_env_t *sa_runtime_env(void)
{
    return &env;
}

sa_hash_gate_t *sa_runtime_hash_gate(void)
{
    return hash_gate;
}

sa_http_t *sa_runtime_webhook_http(void)
{
    return webhook_http;
}

/* The segment of the server's former life when there is one: throttle counters and spent states
 * outlive a graceful restart. */
static apr_status_t find_or_create_shared(apr_size_t bytes)
{
    struct retained_t {
        sa_shared_t *shared;
        apr_size_t bytes;
    } *retained = ap_retained_data_get(RETAINED);
    apr_status_t rv;

    if (!retained) {
        retained = ap_retained_data_create(RETAINED, sizeof(*retained));
    }
    if (!retained->shared || retained->bytes != bytes
        || !sa_shared_compatible(retained->shared)) {
        rv = sa_shared_create(&retained->shared, bytes);
        if (rv != APR_SUCCESS) {
            retained->shared = NULL;
            return rv;
        }
        retained->bytes = bytes;
    }
    shared = retained->shared;
    return APR_SUCCESS;
}

int sa_runtime_post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    const apr_array_header_t *mounts = sa_mounts(s);
    apr_size_t bytes = 0;

    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG || !mounts->nelts) {
        return OK;
    }
    for (int i = 0; i < mounts->nelts; i++) {
        apr_size_t own = APR_ARRAY_IDX(mounts, i, const sa_mount_t *)->shared_bytes;
        bytes = own > bytes ? own : bytes;
    }
    apr_status_t rv = sa_crypto_init();
    if (rv == APR_SUCCESS) {
        rv = sa_http_global_init();
    }
    if (rv == APR_SUCCESS) {
        rv = find_or_create_shared(bytes);
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_EMERG, rv, s, "SA0001: mod_social_auth could not set up "
                     "OpenSSL, libcurl or %" APR_SIZE_T_FMT " bytes of shared memory", bytes);
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    return OK;
}

/* Half of a child's threads may wait for providers; the others stay free for everything else. */
static int max_outbound_calls(void)
{
    int threads = 1;

    ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads);
    return threads > 2 ? threads / 2 : 1;
}

/* Where there are several providers, one that hangs leaves the others half of the places. */
static int max_calls_per_provider(const apr_array_header_t *mounts)
{
    int providers = 0;

    for (int i = 0; i < mounts->nelts; i++) {
        providers += APR_ARRAY_IDX(mounts, i, const sa_mount_t *)->settings.providers->nelts;
    }
    return providers > 1 ? (max_outbound_calls() + 1) / 2 : max_outbound_calls();
}

/* As with providers: half of the threads, of this child and of all, may hash or wait for it. With
 * prefork only the number over all children is a limit. */
static sa_hash_limits_t hash_limits(const apr_array_header_t *mounts)
{
    int turns = APR_ARRAY_IDX(mounts, 0, const sa_mount_t *)->hash_concurrency;
    int threads = 1, children = 1;

    ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads);
    ap_mpm_query(AP_MPMQ_MAX_DAEMONS, &children);
    return (sa_hash_limits_t) {
        .turns = turns,
        .waiting = children * threads / 2 - turns,
        .per_process = threads > 2 ? threads / 2 : 1,
        .wait_ms = HASH_WAIT_MS,
    };
}

void sa_runtime_child_init(apr_pool_t *p, server_rec *s)
{
    const apr_array_header_t *mounts = sa_mounts(s);

    if (!mounts->nelts) {
        return;
    }
    apr_status_t rv = sa_crypto_init();
    if (rv == APR_SUCCESS) {
        rv = sa_http_create(&env.http, p, max_outbound_calls(), max_calls_per_provider(mounts));
    }
    if (rv == APR_SUCCESS) {
        rv = sa_http_create(&webhook_http, p, 1, 1);
    }
    if (rv == APR_SUCCESS) {
        rv = sa_jwks_cache_create(&env.jwks, p);
    }
    if (rv == APR_SUCCESS) {
        rv = sa_dbd_child_init(p, mounts);
    }
    sa_watchdog_child_init(p);
    const sa_hash_limits_t limits = hash_limits(mounts);
    hash_gate = sa_hash_gate_create(p, shared, &limits);
    env.shared = shared;
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s,
                     "SA0002: mod_social_auth could not set up this child");
        exit(APEXIT_CHILDFATAL);
    }
}
