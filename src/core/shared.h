/* The shared memory of one server: throttle counters, spent states, ended sessions, cached JWKS,
 * and the turns of password hashing (core/hash_gate.h).
 *
 * One anonymous segment, made in the parent before children exist and kept over
 * graceful restarts (the caller keeps the pointer in process-lifetime memory). Each
 * part has its own robust process-shared mutexes: a child that dies inside leaves
 * a lock that the next taker recovers, and data that is valid at every step.
 * Times are CLOCK_BOOTTIME/MONOTONIC inside, so wall-clock steps change nothing. */
#ifndef SA_CORE_SHARED_H
#define SA_CORE_SHARED_H

#include <apr_pools.h>
#include <apr_time.h>

typedef struct sa_shared_t sa_shared_t;

/* Maps and formats `bytes` (≥ 1 MiB; rounded up to pages). APR error when it cannot be had. Never
 * unmapped: old children of a graceful restart still use it. */
apr_status_t sa_shared_create(sa_shared_t **shared, apr_size_t bytes);
/* 1 when a segment found in retained memory has this build's layout. */
int sa_shared_compatible(const sa_shared_t *shared);
/* A random key made at creation, for sa_keyed_hash. */
const unsigned char *sa_shared_key(const sa_shared_t *shared);

/* --- throttle: at most `count` events in any window of `period_ms` per key --- */
#define SA_RATE_MAX 100000
typedef struct {
    int count;                  /* 0 = off */
    apr_int64_t period_ms;
} sa_rate_t;

/* Records one event for key unless that would be more than rate->count within
 * the window. 0 = allowed (and recorded); > 0 = refused, milliseconds until the next
 * would be allowed. Refused events are not recorded (as DRF). Exact over all processes. When
 * memory is full the least recently used key of the shard is dropped. rate off: always 0. */
apr_int64_t sa_throttle_hit(sa_shared_t *shared, apr_uint64_t key, const sa_rate_t *rate);
/* The same answer without recording. */
apr_int64_t sa_throttle_peek(sa_shared_t *shared, apr_uint64_t key, const sa_rate_t *rate);
/* Takes back one event that sa_throttle_hit recorded for key: the newest one, whoever's it is. */
void sa_throttle_undo(sa_shared_t *shared, apr_uint64_t key);
/* "10/minute", "5/s", "100/hour", "1000/day", "off" -> *rate (count ≤ 100000; second, sec, s, minute,
 * min, m, hour, hr, h, day, d as DRF: only the first letter counts). NULL when fine, else
 * a phrase that says what is allowed. */
const char *sa_rate_parse(const char *text, sa_rate_t *rate);

/* --- spent: things that may be used once --- */
typedef enum { SA_SPENT_FIRST, SA_SPENT_AGAIN, SA_SPENT_FULL } sa_spent_t;
/* Marks a 32-byte id as used for the next ttl_ms. SA_SPENT_AGAIN when it already was;
 * SA_SPENT_FULL when there is no room (live entries are never dropped: the caller refuses). */
sa_spent_t sa_spend(sa_shared_t *shared, const unsigned char id[32], apr_int64_t ttl_ms);

/* --- revocations: sessions that ended before their time, by their database and sid --- */
#define SA_REVOCATIONS_STALE_MS 1000
typedef enum {
    SA_NOT_REVOKED,             /* it had not ended SA_REVOCATIONS_STALE_MS ago */
    SA_REVOKED,
    SA_REVOKED_UNKNOWN          /* nobody has said lately what ended: ask the database */
} sa_revoked_t;
/* Takes no lock. */
sa_revoked_t sa_revoked(const sa_shared_t *shared, const char *database, const char *sid);
/* Remembers for ttl_ms that a session has ended. 0 = there is no room (what counts is never dropped):
 * sa_revocations_known must not be called before it was told once more. */
int sa_revoke(sa_shared_t *shared, const char *database, const char *sid, apr_int64_t ttl_ms);
/* Now, for sa_revocations_known. */
apr_uint64_t sa_revocations_moment(void);
/* Every session of this database that had ended at `moment`, and whose access tokens may still be in
 * time, has been told to sa_revoke. 0 = there is no room. */
int sa_revocations_known(sa_shared_t *shared, const char *database, apr_uint64_t moment);

/* --- documents: small texts fetched once for all children (JWKS, discovery) --- */
#define SA_DOCUMENT_MAX 65536
typedef struct {
    const char *text;           /* in the caller's pool; NULL when there is none yet */
    apr_size_t len;
    apr_uint64_t generation;    /* grows with every successful store */
    apr_int64_t age_ms;         /* since it was stored */
    apr_int64_t ttl_ms;         /* as given to sa_document_put */
} sa_document_t;

/* The current text for `name` (a URL), generation 0 when there is none. If
 * known_generation equals the stored generation the text is not copied. APR_ENOSPC: no slot. */
apr_status_t sa_document_get(sa_shared_t *shared, apr_pool_t *p, const char *name,
                             apr_uint64_t known_generation, sa_document_t *doc);
/* 1 when this caller should fetch: nobody started a fetch within the last min_interval_ms and none is
 * under way (a fetch that began over 30 s ago counts as dead). Marks it as begun. */
int sa_document_claim(sa_shared_t *shared, const char *name, apr_int64_t min_interval_ms);
/* The same to replace a text by a newer one: the fetch that brought the first text does not
 * count, so that what changes right after it is found. */
int sa_document_claim_renewal(sa_shared_t *shared, const char *name, apr_int64_t min_interval_ms);
/* A claimed fetch that was not begun after all: as if nobody had claimed it. */
void sa_document_unclaim(sa_shared_t *shared, const char *name);
/* Ends a claimed fetch: with text (stored; APR_ENOSPC when over SA_DOCUMENT_MAX), or
 * text NULL for a failure (the last good text stays). */
apr_status_t sa_document_put(sa_shared_t *shared, const char *name, const char *text,
                             apr_size_t len, apr_int64_t ttl_ms);
/* Fetches begun since creation, for tests and status. */
apr_uint64_t sa_document_fetches(const sa_shared_t *shared);

#endif
