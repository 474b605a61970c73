#include "providers/document.h"

#include "providers/common.h"
#include "providers/jwks_cache.h"

#include <apr_allocator.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <apr_thread_mutex.h>
#include <string.h>
#include <strings.h>

#define TTL_MIN (60 * (apr_int64_t)1000)
#define TTL_MAX (24 * 3600 * (apr_int64_t)1000)
#define TTL_DEFAULT (3600 * (apr_int64_t)1000)
#define RENEW_INTERVAL (60 * (apr_int64_t)1000)
/* A login renews what the background worker should have renewed. */
#define LATE_INTERVAL (2 * RENEW_INTERVAL)
#define FIRST_INTERVAL ((apr_int64_t)1000)      /* while there is none at all */
#define WAIT_STEP apr_time_from_msec(10)
#define DEFAULT_TOTAL_MS 10000
#define FETCH_MAX_MS 25000      /* shared memory counts a fetch of 30 s as dead */

/* One generation of one document. Whoever lets go last frees it. */
typedef struct {
    apr_pool_t *pool;
    apr_uint32_t users;
    apr_uint64_t generation;
    const void *value;
} parsed_t;

typedef struct entry_t {
    const sa_document_kind_t *kind;     /* part of the key, as is alg: they decide what `value` is */
    sa_alg_t alg;
    const char *url;
    parsed_t *current;          /* NULL until first used */
    apr_int64_t failed;         /* when this child's last fetch failed, 0 = never */
    sa_error_kind_t failure;
    struct entry_t *next;
} entry_t;

struct sa_jwks_cache_t {
    apr_pool_t *pool;           /* touched with the mutex held only */
    apr_thread_mutex_t *mutex;
    entry_t *entries;
};

/* What one call works with. */
typedef struct {
    const sa_provider_t *provider;
    const sa_provider_env_t *env;
    apr_pool_t *p;
    const sa_document_kind_t *kind;
    const char *url;
    sa_document_t doc;          /* as last looked at, without its text */
    sa_document_use_t *use;
} job_t;

/* ---- the child's parsed documents ---- */

static apr_status_t parsed_release(void *data)
{
    parsed_t *parsed = data;

    if (__atomic_sub_fetch(&parsed->users, 1, __ATOMIC_ACQ_REL) == 0) {
        apr_pool_destroy(parsed->pool);
    }
    return APR_SUCCESS;
}

static parsed_t *parsed_make(void)
{
    apr_allocator_t *allocator;
    apr_pool_t *pool;

    if (apr_allocator_create(&allocator) != APR_SUCCESS) {
        return NULL;
    }
    if (apr_pool_create_unmanaged_ex(&pool, NULL, allocator) != APR_SUCCESS) {
        apr_allocator_destroy(allocator);
        return NULL;
    }
    apr_allocator_owner_set(allocator, pool);
    parsed_t *parsed = apr_pcalloc(pool, sizeof(*parsed));
    parsed->pool = pool;
    parsed->users = 1;
    return parsed;
}

static apr_status_t cache_destroy(void *data)
{
    sa_jwks_cache_t *cache = data;

    for (entry_t *entry = cache->entries; entry; entry = entry->next) {
        if (entry->current) {
            parsed_release(entry->current);
            entry->current = NULL;
        }
    }
    return APR_SUCCESS;
}

apr_status_t sa_jwks_cache_create(sa_jwks_cache_t **cache, apr_pool_t *p)
{
    sa_jwks_cache_t *made = apr_pcalloc(p, sizeof(*made));
    apr_allocator_t *allocator;
    apr_status_t rv = apr_thread_mutex_create(&made->mutex, APR_THREAD_MUTEX_DEFAULT, p);

    if (rv == APR_SUCCESS) {
        rv = apr_allocator_create(&allocator);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    /* Its own allocator: worker threads allocate from it while others use p. */
    rv = apr_pool_create_ex(&made->pool, p, NULL, allocator);
    if (rv != APR_SUCCESS) {
        apr_allocator_destroy(allocator);
        return rv;
    }
    apr_allocator_owner_set(allocator, made->pool);
    apr_pool_pre_cleanup_register(p, made, cache_destroy);
    *cache = made;
    return APR_SUCCESS;
}

/* With the mutex held. */
static entry_t *entry_find(sa_jwks_cache_t *cache, const job_t *job)
{
    for (entry_t *entry = cache->entries; entry; entry = entry->next) {
        if (entry->kind == job->kind && entry->alg == job->provider->id_token_alg
            && !strcmp(entry->url, job->url)) {
            return entry;
        }
    }
    entry_t *entry = apr_pcalloc(cache->pool, sizeof(*entry));
    entry->kind = job->kind;
    entry->alg = job->provider->id_token_alg;
    entry->url = apr_pstrdup(cache->pool, job->url);
    entry->next = cache->entries;
    cache->entries = entry;
    return entry;
}

/* The current one, kept alive until p is cleared; NULL when there is none. */
static parsed_t *parsed_hold(job_t *job)
{
    sa_jwks_cache_t *cache = job->env->jwks;

    apr_thread_mutex_lock(cache->mutex);
    parsed_t *parsed = entry_find(cache, job)->current;
    if (parsed) {
        __atomic_add_fetch(&parsed->users, 1, __ATOMIC_RELAXED);
    }
    apr_thread_mutex_unlock(cache->mutex);
    if (parsed) {
        apr_pool_cleanup_register(job->p, parsed, parsed_release, apr_pool_cleanup_null);
    }
    return parsed;
}

/* Takes over the caller's hold of `parsed`. */
static void parsed_install(job_t *job, parsed_t *parsed)
{
    sa_jwks_cache_t *cache = job->env->jwks;

    __atomic_add_fetch(&parsed->users, 1, __ATOMIC_RELAXED);
    apr_pool_cleanup_register(job->p, parsed, parsed_release, apr_pool_cleanup_null);

    apr_thread_mutex_lock(cache->mutex);
    entry_t *entry = entry_find(cache, job);
    parsed_t *old = entry->current;
    entry->current = parsed;
    apr_thread_mutex_unlock(cache->mutex);
    if (old) {
        parsed_release(old);
    }
}

static void note_failure(job_t *job, sa_error_kind_t failure)
{
    sa_jwks_cache_t *cache = job->env->jwks;

    apr_thread_mutex_lock(cache->mutex);
    entry_t *entry = entry_find(cache, job);
    entry->failed = sa_http_clock();
    entry->failure = failure;
    apr_thread_mutex_unlock(cache->mutex);
}

/* The failure of a fetch of this child that ended after `since`, NULL when there was none. */
static sa_error_t *failure_since(job_t *job, apr_int64_t since)
{
    sa_jwks_cache_t *cache = job->env->jwks;

    apr_thread_mutex_lock(cache->mutex);
    const entry_t *entry = entry_find(cache, job);
    int failed = entry->failed > since;
    sa_error_kind_t failure = entry->failure;
    apr_thread_mutex_unlock(cache->mutex);
    return failed ? sa_error(job->p, failure, job->provider->label,
                             "%s: %s: another request's fetch failed", job->provider->name,
                             job->kind->what)
                  : NULL;
}

/* ---- looking ---- */

static const parsed_t *parse_stored(job_t *job)
{
    const char *why = NULL;
    parsed_t *parsed = parsed_make();

    if (!parsed) {
        return NULL;
    }
    parsed->generation = job->doc.generation;
    parsed->value = job->kind->parse(parsed->pool, job->provider, job->doc.text, job->doc.len,
                                     &why);
    if (!parsed->value) {
        parsed_release(parsed);
        return NULL;
    }
    parsed_install(job, parsed);
    return parsed;
}

typedef enum { FOUND, NONE, NO_ROOM } look_t;

/* FOUND when shared memory has one that may be used; *use and job->doc are then set. */
static look_t look(job_t *job)
{
    const parsed_t *parsed = parsed_hold(job);
    apr_status_t rv = sa_document_get(job->env->shared, job->p, job->url,
                                      parsed ? parsed->generation : 0, &job->doc);

    if (rv != APR_SUCCESS) {
        return NO_ROOM;
    }
    if (!job->doc.generation || job->doc.age_ms > TTL_MAX) {
        return NONE;
    }
    if (!parsed || parsed->generation != job->doc.generation) {
        parsed = parse_stored(job);
    }
    if (!parsed) {
        return NONE;
    }
    job->use->value = parsed->value;
    job->use->generation = parsed->generation;
    return FOUND;
}

/* ---- fetching ---- */

apr_int64_t sa_document_ttl(const char *cache_control)
{
    for (const char *c = cache_control; c && *c; c += strcspn(c, ","), c += strspn(c, ", \t")) {
        if (!strncasecmp(c, "no-store", 8) || !strncasecmp(c, "no-cache", 8)) {
            return TTL_MIN;
        }
        if (strncasecmp(c, "max-age=", 8)) {
            continue;
        }
        c += 8;
        c += *c == '"';
        apr_int64_t seconds = 0;
        for (; apr_isdigit(*c) && seconds < TTL_MAX; ++c) {
            seconds = seconds * 10 + (*c - '0');
        }
        apr_int64_t ttl = seconds < TTL_MAX ? seconds * 1000 : TTL_MAX;
        return ttl < TTL_MIN ? TTL_MIN : ttl > TTL_MAX ? TTL_MAX : ttl;
    }
    return TTL_DEFAULT;
}

static sa_error_t *store(job_t *job, const sa_http_response_t *response)
{
    const char *why = "it is of no use";

    if (!job->kind->parse(job->p, job->provider, response->body, response->len, &why)) {
        return sa_provider_garbled(job->provider, job->p, job->kind->what, why);
    }
    apr_status_t rv =
        sa_document_put(job->env->shared, job->url, response->body, response->len,
                        sa_document_ttl(response->cache_control));
    if (rv != APR_SUCCESS) {
        return sa_provider_garbled(job->provider, job->p, job->kind->what,
                                   "too large, or no room for it in shared memory");
    }
    return NULL;
}

static sa_error_t *no_room(job_t *job)
{
    return sa_provider_garbled(job->provider, job->p, job->kind->what,
                               "no room for it in shared memory: raise SocialAuthSharedMemory");
}

static int total_ms(const job_t *job)
{
    int total = job->provider->limits.total_ms;
    return total > 0 ? total : DEFAULT_TOTAL_MS;
}

static sa_provider_env_t env_for_fetch(const job_t *job)
{
    sa_provider_env_t env = *job->env;
    int most = total_ms(job) < FETCH_MAX_MS ? total_ms(job) : FETCH_MAX_MS;
    apr_int64_t end = sa_http_clock() + most;

    if (!env.deadline || env.deadline > end) {
        env.deadline = end;
    }
    return env;
}

/* After a successful sa_document_claim. A fetch that found no place is nobody's failure. */
static sa_error_t *fetch(job_t *job)
{
    sa_provider_env_t env = env_for_fetch(job);
    sa_http_request_t request = { .url = job->url };
    sa_http_response_t response;
    sa_error_t *error;
    apr_status_t rv = sa_provider_perform(job->provider, &env, job->p, &request, 1, &response);

    if (rv != APR_SUCCESS || response.outcome != SA_HTTP_DONE || response.status != 200) {
        error = sa_provider_failed(job->provider, job->p, rv, &response, job->kind->what);
    } else {
        error = store(job, &response);
    }
    if (APR_STATUS_IS_EAGAIN(rv)) {
        sa_document_unclaim(job->env->shared, job->url);
    } else if (error) {
        sa_document_put(job->env->shared, job->url, NULL, 0, 0);
        note_failure(job, error->kind);
    }
    return error;
}

static sa_error_t *not_in_time(job_t *job)
{
    return sa_error(job->p, SA_E_PROVIDER_TIMEOUT, job->provider->label,
                    "%s: %s: another request's fetch did not end in time", job->provider->name,
                    job->kind->what);
}

/* One step of waiting for another request's fetch, in a place among the provider's calls: not all
 * of a child's threads may wait. */
static sa_error_t *wait_for_other(job_t *job, int *waits)
{
    if (*waits) {
        apr_sleep(WAIT_STEP);
        return NULL;
    }
    apr_status_t rv = sa_http_enter(job->env->http, job->provider);
    *waits = rv == APR_SUCCESS;
    return *waits ? NULL : sa_provider_failed(job->provider, job->p, rv, NULL, job->kind->what);
}

static void end_waiting(job_t *job, int *waits)
{
    if (*waits) {
        sa_http_leave(job->env->http, job->provider);
    }
    *waits = 0;
}

/* There is none yet: fetches it, or waits for whoever does. */
static sa_error_t *first(job_t *job)
{
    apr_int64_t started = sa_http_clock();
    apr_int64_t deadline = job->env->deadline ? job->env->deadline : started + total_ms(job);
    look_t found = NONE;
    sa_error_t *error = NULL;
    int waits = 0;

    while (!error && found == NONE) {
        if (sa_document_claim(job->env->shared, job->url, FIRST_INTERVAL)) {
            end_waiting(job, &waits);
            error = fetch(job);
        } else {
            error = wait_for_other(job, &waits);
        }
        found = error ? NONE : look(job);
        if (!error && found == NONE) {
            error = failure_since(job, started);
        }
        if (!error && found == NONE && sa_http_clock() >= deadline) {
            error = not_in_time(job);
        }
    }
    end_waiting(job, &waits);
    return found == NO_ROOM ? no_room(job) : error;
}

sa_error_t *sa_document_use(const sa_provider_t *provider, const sa_provider_env_t *env,
                            apr_pool_t *p, const sa_document_kind_t *kind, const char *url,
                            sa_document_use_t *use)
{
    job_t job = { .provider = provider, .env = env, .p = p, .kind = kind, .url = url,
                  .use = use };

    switch (look(&job)) {
    case NONE:
        return first(&job);
    case NO_ROOM:
        return no_room(&job);
    case FOUND:
        break;
    }
    if (job.doc.age_ms >= job.doc.ttl_ms / 10 * 9
        && sa_document_claim_renewal(env->shared, url, LATE_INTERVAL)) {
        fetch(&job);
        look(&job);
    }
    return NULL;
}

sa_error_t *sa_document_renew(const sa_provider_t *provider, const sa_provider_env_t *env,
                              apr_pool_t *p, const sa_document_kind_t *kind, const char *url,
                              sa_document_use_t *use, int *renewed)
{
    apr_uint64_t known = use->generation;
    sa_error_t *error = NULL;
    job_t job = { .provider = provider, .env = env, .p = p, .kind = kind, .url = url,
                  .use = use };

    if (sa_document_claim_renewal(env->shared, url, RENEW_INTERVAL)) {
        error = fetch(&job);
    }
    *renewed = look(&job) == FOUND && use->generation != known;
    return error && error->kind == SA_E_BUSY ? error : NULL;
}

const void *sa_document_keep(const sa_provider_t *provider, const sa_provider_env_t *env,
                             apr_pool_t *p, const sa_document_kind_t *kind, const char *url)
{
    sa_document_use_t use = { .value = NULL };
    job_t job = { .provider = provider, .env = env, .p = p, .kind = kind, .url = url,
                  .use = &use };

    if (look(&job) == FOUND && job.doc.age_ms >= job.doc.ttl_ms / 5 * 4
        && sa_document_claim_renewal(env->shared, url, RENEW_INTERVAL)) {
        fetch(&job);
        look(&job);
    }
    return use.value;
}
