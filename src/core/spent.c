/* Things that may be used once: chained hash tables of digests with an expiry.
 *
 * A node is in the set from the store of its `expires` on until that time, whoever dies
 * when. Chains and the free list are derived from the nodes; mend() makes them anew. */
#include "core/shared_layout.h"

#include <string.h>

#define SHARDS_MAX 8
#define SHARD_BYTES_MIN (64 * 1024)
#define DIGEST_KEPT 16          /* bytes: 2^64 attempts find two ids that collide */
#define TTL_MAX (10 * 365 * 24 * 3600 * 1000ll)

typedef struct {
    uint64_t expires;           /* 0 = free */
    unsigned char digest[DIGEST_KEPT];
    uint32_t next;              /* in the bucket, or among the free nodes */
    uint32_t reserved;
} node_t;

typedef struct {
    pthread_mutex_t mutex;
    uint32_t cells, buckets;
    uint32_t fresh;             /* nodes above this were never used */
    uint32_t free;
    uint64_t sweep_at;          /* nothing expires before: a full shard need not be searched */
} shard_t;

#define SHARD_HEAD ((sizeof(shard_t) + 63) / 64 * 64)

static node_t *node(shard_t *shard, uint32_t number)
{
    void *nodes = (char *)shard + SHARD_HEAD;

    return (node_t *)nodes + (number - 1);
}

static uint32_t *buckets(shard_t *shard)
{
    void *end = node(shard, shard->cells + 1);

    return end;
}

static uint32_t *bucket(shard_t *shard, const unsigned char *digest)
{
    uint32_t n;

    memcpy(&n, digest, sizeof(n));
    return buckets(shard) + n % shard->buckets;
}

/* Drops what has expired, makes chains and free list from what is left. */
static void rebuild(shard_t *shard, uint64_t now)
{
    shard->free = 0;
    shard->sweep_at = UINT64_MAX;
    memset(buckets(shard), 0, shard->buckets * sizeof(uint32_t));
    for (uint32_t i = shard->fresh; i; i--) {
        node_t *n = node(shard, i);
        uint32_t *link = &shard->free;

        if (n->expires > now) {
            link = bucket(shard, n->digest);
            shard->sweep_at = n->expires < shard->sweep_at ? n->expires : shard->sweep_at;
        }
        else {
            SA_COMMIT(n->expires, 0);
        }
        n->next = *link;
        *link = i;
    }
}

static void mend(void *arg)
{
    rebuild(arg, sa_shared_now());
}

static uint32_t take_node(shard_t *shard, uint64_t now)
{
    uint32_t number;

    if (!shard->free && shard->fresh < shard->cells) {
        number = shard->fresh + 1;
        SA_COMMIT(shard->fresh, number);
        return number;
    }
    if (!shard->free && now >= shard->sweep_at) {
        rebuild(shard, now);
    }
    number = shard->free;
    if (number) {
        shard->free = node(shard, number)->next;
    }
    return number;
}

/* 1 when the digest is in the set. Expired nodes met on the way are freed. */
static int is_spent(shard_t *shard, const unsigned char *digest, uint64_t now)
{
    uint32_t *link = bucket(shard, digest);

    while (*link) {
        uint32_t number = *link;
        node_t *n = node(shard, number);

        if (n->expires > now) {
            if (!memcmp(n->digest, digest, DIGEST_KEPT)) {
                return 1;
            }
            link = &n->next;
            continue;
        }
        SA_COMMIT(n->expires, 0);
        SA_COMMIT(*link, n->next);
        n->next = shard->free;
        shard->free = number;
    }
    return 0;
}

static sa_spent_t spend(shard_t *shard, const unsigned char *digest, uint64_t ttl)
{
    uint64_t now = sa_shared_now();
    uint32_t number, *link;
    node_t *n;

    if (is_spent(shard, digest, now)) {
        return SA_SPENT_AGAIN;
    }
    number = take_node(shard, now);
    if (!number) {
        return SA_SPENT_FULL;
    }
    n = node(shard, number);
    link = bucket(shard, digest);
    memcpy(n->digest, digest, DIGEST_KEPT);
    n->next = *link;
    if (now + ttl < shard->sweep_at) {
        shard->sweep_at = now + ttl;
    }
    SA_COMMIT(n->expires, now + ttl);
    SA_COMMIT(*link, number);
    return SA_SPENT_FIRST;
}

sa_spent_t sa_spend(sa_shared_t *shared, const unsigned char id[32], apr_int64_t ttl_ms)
{
    uint64_t ttl = ttl_ms < 1 ? 1 : ttl_ms > TTL_MAX ? TTL_MAX : (uint64_t)ttl_ms;
    unsigned char digest[SA_SHA256_LEN];
    const sa_room_t *room = &shared->spent;
    shard_t *shard;
    sa_spent_t answer;

    sa_sha256(id, 32, digest);
    shard = sa_shared_part(shared, room, digest[DIGEST_KEPT] % room->count);
    if (!sa_shared_lock(&shard->mutex, mend, shard)) {
        return SA_SPENT_FULL;
    }
    answer = spend(shard, digest, ttl);
    sa_shared_unlock(&shard->mutex);
    return answer;
}

/* --- layout --- */

uint64_t sa_spent_layout(void)
{
    return (uint64_t)sizeof(shard_t) * 4096 + sizeof(node_t) * 16 + SHARDS_MAX;
}

apr_status_t sa_spent_format(sa_shared_t *shared, uint64_t start, uint64_t bytes)
{
    sa_room_t *room = &shared->spent;
    uint64_t count = bytes / SHARD_BYTES_MIN;

    room->start = start;
    room->count = count < 1 ? 1 : count > SHARDS_MAX ? SHARDS_MAX : (uint32_t)count;
    room->bytes = bytes / room->count / SA_SHARED_ALIGN * SA_SHARED_ALIGN;
    room->cells = (uint32_t)((room->bytes - SHARD_HEAD) / (sizeof(node_t) + sizeof(uint32_t)));
    room->buckets = room->cells;
    for (uint32_t i = 0; i < room->count; i++) {
        shard_t *shard = sa_shared_part(shared, room, i);
        apr_status_t rv = sa_shared_mutex_init(&shard->mutex);

        if (rv != APR_SUCCESS) {
            return rv;
        }
        shard->cells = room->cells;
        shard->buckets = room->buckets;
        shard->sweep_at = UINT64_MAX;
    }
    return APR_SUCCESS;
}
