/* The throttle: per key the exact times of its events (a sliding log, as Django REST
 * Framework's), oldest first, in a chain of cells.
 *
 * What is committed: a key cell counts from the store of its `kind` on, and its log is
 * what `log` says, one word. Bucket lists, the order of use, free cells and
 * `tail` are derived from that; mend() makes them anew. */
#include "core/shared_layout.h"

#include <stdlib.h>
#include <string.h>

#define COUNT_MAX SA_RATE_MAX
#define STAMPS 14               /* per log cell */
#define PERIOD_MAX (10 * 24 * 3600 * 1000ll)

enum { FREE_CELL = 0, KEY_CELL = 1, LOG_CELL = 2 };

/* Times are kept in 32 bits: every touch drops what is older than the period, so no
 * kept time is older than two periods, which is far under 2^31 ms. */
typedef struct {
    uint32_t kind;
    uint32_t next;              /* in the log, or among the free cells */
    uint32_t stamp[STAMPS];
} log_cell_t;

typedef struct {
    uint32_t kind;
    uint32_t next;              /* in the bucket */
    uint64_t hash;
    uint64_t log;               /* first cell << 32 | first stamp in it << 24 | stamps */
    uint64_t touched;           /* time of the last hit, also of a refused one */
    uint32_t tail;              /* last cell of the log, 0 when there is none */
    uint32_t newer, older;      /* in the order of use */
    uint32_t reserved[3];
} key_cell_t;

typedef union {
    uint32_t kind;
    log_cell_t log;
    key_cell_t key;
} cell_t;

typedef struct {
    pthread_mutex_t mutex;
    uint32_t cells, buckets;    /* how many there are */
    uint32_t fresh;             /* cells above this were never used */
    uint32_t free;
    uint32_t newest, oldest;
} shard_t;

_Static_assert(sizeof(cell_t) == 64, "one cell is one cache line");

#define SHARD_BYTES 64          /* of the bucket array and cells, from the shard's start */
#define SHARD_HEAD ((sizeof(shard_t) + SHARD_BYTES - 1) / SHARD_BYTES * SHARD_BYTES)

static cell_t *cell(shard_t *shard, uint32_t number)
{
    void *cells = (char *)shard + SHARD_HEAD;

    return (cell_t *)cells + (number - 1);
}

static uint32_t *bucket(shard_t *shard, uint64_t hash)
{
    void *buckets = cell(shard, shard->cells + 1);

    return (uint32_t *)buckets + hash % shard->buckets;
}

/* --- the log word --- */

static uint64_t log_word(uint32_t head, uint32_t first, uint32_t count)
{
    return (uint64_t)head << 32 | (uint64_t)first << 24 | count;
}

static uint32_t log_head(const key_cell_t *key)
{
    return (uint32_t)(key->log >> 32);
}

static uint32_t log_first(const key_cell_t *key)
{
    return (uint32_t)(key->log >> 24) & 0xFF;
}

static uint32_t log_count(const key_cell_t *key)
{
    return (uint32_t)key->log & 0xFFFFFF;
}

/* --- cells --- */

static void give_back(shard_t *shard, uint32_t number)
{
    cell_t *c = cell(shard, number);

    SA_COMMIT(c->kind, FREE_CELL);
    c->log.next = shard->free;
    shard->free = number;
}

static void give_back_log(shard_t *shard, uint32_t number, uint32_t stamps)
{
    for (uint32_t left = (stamps + STAMPS - 1) / STAMPS; left && number; left--) {
        uint32_t next = cell(shard, number)->log.next;
        give_back(shard, number);
        number = next;
    }
}

static void link_use(shard_t *shard, uint32_t number)
{
    key_cell_t *key = &cell(shard, number)->key;

    key->newer = 0;
    key->older = shard->newest;
    if (shard->newest) {
        cell(shard, shard->newest)->key.newer = number;
    }
    else {
        shard->oldest = number;
    }
    shard->newest = number;
}

static void unlink_use(shard_t *shard, uint32_t number)
{
    const key_cell_t *key = &cell(shard, number)->key;

    if (key->newer) {
        cell(shard, key->newer)->key.older = key->older;
    }
    else {
        shard->newest = key->older;
    }
    if (key->older) {
        cell(shard, key->older)->key.newer = key->newer;
    }
    else {
        shard->oldest = key->newer;
    }
}

static void drop_key(shard_t *shard, uint32_t number)
{
    key_cell_t *key = &cell(shard, number)->key;
    uint32_t *link = bucket(shard, key->hash);
    uint32_t head = log_head(key), stamps = log_first(key) + log_count(key);

    while (*link && *link != number) {
        link = &cell(shard, *link)->key.next;
    }
    *link = *link ? key->next : 0;
    unlink_use(shard, number);
    give_back(shard, number);
    give_back_log(shard, head, stamps);
}

/* A cell, if need be of the keys that were not used for longest; never of `keep`. */
static uint32_t take_cell(shard_t *shard, uint32_t keep)
{
    uint32_t number;

    while (!shard->free && shard->fresh >= shard->cells) {
        if (!shard->oldest || shard->oldest == keep) {
            return 0;
        }
        drop_key(shard, shard->oldest);
    }
    if (shard->free) {
        number = shard->free;
        shard->free = cell(shard, number)->log.next;
        return number;
    }
    number = shard->fresh + 1;
    SA_COMMIT(shard->fresh, number);
    return number;
}

/* --- mending --- */

/* Claims the cells of a key's log; 0 when it is not what it should be. */
static int mend_log(shard_t *shard, key_cell_t *key)
{
    uint32_t number = log_head(key);
    uint32_t left = (log_first(key) + log_count(key) + STAMPS - 1) / STAMPS;

    key->tail = 0;
    while (left--) {
        cell_t *c;
        if (!number || number > shard->fresh) {
            return 0;
        }
        c = cell(shard, number);
        if (c->kind != FREE_CELL) {
            return 0;
        }
        c->kind = LOG_CELL;
        key->tail = number;
        number = c->log.next;
    }
    return 1;
}

typedef struct {
    uint64_t touched;
    uint32_t number;
} use_t;

static int by_use(const void *a, const void *b)
{
    const use_t *x = a, *y = b;

    return (x->touched > y->touched) - (x->touched < y->touched);
}

/* Without memory for sorting the order of cells stands in for the order of use. */
static void mend_use(shard_t *shard, uint32_t keys)
{
    use_t *uses = keys ? malloc(keys * sizeof(*uses)) : NULL;
    uint32_t n = 0;

    shard->newest = shard->oldest = 0;
    for (uint32_t i = 1; i <= shard->fresh; i++) {
        const key_cell_t *key = &cell(shard, i)->key;
        if (key->kind == KEY_CELL && uses) {
            uses[n++] = (use_t){ key->touched, i };
        }
        else if (key->kind == KEY_CELL) {
            link_use(shard, i);
        }
    }
    if (uses) {
        qsort(uses, n, sizeof(*uses), by_use);
    }
    for (uint32_t i = 0; i < n; i++) {
        link_use(shard, uses[i].number);
    }
    free(uses);
}

static void mend(void *arg)
{
    shard_t *shard = arg;
    uint32_t keys = 0;

    memset(bucket(shard, 0), 0, shard->buckets * sizeof(uint32_t));
    for (uint32_t i = 1; i <= shard->fresh; i++) {
        if (cell(shard, i)->kind != KEY_CELL) {
            cell(shard, i)->kind = FREE_CELL;
        }
    }
    for (uint32_t i = 1; i <= shard->fresh; i++) {
        key_cell_t *key = &cell(shard, i)->key;
        uint32_t *link;

        if (key->kind != KEY_CELL) {
            continue;
        }
        keys++;
        if (!mend_log(shard, key)) {
            key->log = 0;
            key->tail = 0;
        }
        link = bucket(shard, key->hash);
        key->next = *link;
        *link = i;
    }
    mend_use(shard, keys);
    shard->free = 0;
    for (uint32_t i = shard->fresh; i; i--) {
        if (cell(shard, i)->kind == FREE_CELL) {
            give_back(shard, i);
        }
    }
}

/* --- one key --- */

static uint32_t find_key(shard_t *shard, uint64_t hash)
{
    uint32_t number = *bucket(shard, hash);

    while (number && cell(shard, number)->key.hash != hash) {
        number = cell(shard, number)->key.next;
    }
    return number;
}

static uint32_t add_key(shard_t *shard, uint64_t hash)
{
    uint32_t number = take_cell(shard, 0);
    key_cell_t *key;
    uint32_t *link;

    if (!number) {
        return 0;
    }
    key = &cell(shard, number)->key;
    link = bucket(shard, hash);
    key->hash = hash;
    key->log = 0;
    key->touched = 0;
    key->tail = 0;
    key->next = *link;
    SA_COMMIT(key->kind, KEY_CELL);
    SA_COMMIT(*link, number);
    link_use(shard, number);
    return number;
}

static void clear_log(shard_t *shard, key_cell_t *key)
{
    uint32_t head = log_head(key), stamps = log_first(key) + log_count(key);

    SA_COMMIT(key->log, 0);
    key->tail = 0;
    give_back_log(shard, head, stamps);
}

/* Forgets the events that left the window. */
static void trim(shard_t *shard, key_cell_t *key, uint64_t now, uint64_t period)
{
    if (log_count(key) && now - key->touched >= period) {
        clear_log(shard, key);
    }
    while (log_count(key)) {
        uint32_t head = log_head(key), first = log_first(key), count = log_count(key);
        const log_cell_t *log = &cell(shard, head)->log;

        if ((uint32_t)now - log->stamp[first] < period) {
            return;
        }
        if (first + 1 < STAMPS && count > 1) {
            SA_COMMIT(key->log, log_word(head, first + 1, count - 1));
            continue;
        }
        if (count == 1) {
            clear_log(shard, key);
            return;
        }
        SA_COMMIT(key->log, log_word(log->next, 0, count - 1));
        give_back(shard, head);
    }
}

/* Milliseconds until the oldest events but `keep` have left the window. */
static uint64_t wait_for(shard_t *shard, const key_cell_t *key, uint64_t now, uint64_t period,
                         uint32_t keep)
{
    uint32_t number = log_head(key);
    uint32_t at = log_first(key) + log_count(key) - keep - 1;

    for (; at >= STAMPS; at -= STAMPS) {
        number = cell(shard, number)->log.next;
    }
    return period - ((uint32_t)now - cell(shard, number)->log.stamp[at]);
}

/* Records an event at `now`; 0 when there is no room. */
static int append(shard_t *shard, uint32_t number, uint64_t now)
{
    key_cell_t *key = &cell(shard, number)->key;
    uint32_t head = log_head(key), first = log_first(key), count = log_count(key);
    uint32_t at = (first + count) % STAMPS;

    if (!count || !at) {
        uint32_t fresh = take_cell(shard, number);
        log_cell_t *log;

        if (!fresh) {
            return 0;
        }
        log = &cell(shard, fresh)->log;
        log->next = 0;
        log->stamp[0] = (uint32_t)now;
        SA_COMMIT(log->kind, LOG_CELL);
        if (count) {
            SA_COMMIT(cell(shard, key->tail)->log.next, fresh);
        }
        key->tail = fresh;
        SA_COMMIT(key->log, count ? log_word(head, first, count + 1) : log_word(fresh, 0, 1));
        return 1;
    }
    cell(shard, key->tail)->log.stamp[at] = (uint32_t)now;
    SA_COMMIT(key->log, log_word(head, first, count + 1));
    return 1;
}

/* Forgets the newest event; the log's last cell with it when that held no other. */
static void drop_newest(shard_t *shard, key_cell_t *key)
{
    uint32_t head = log_head(key), first = log_first(key), count = log_count(key);
    uint32_t last = head;

    if (count < 2) {
        clear_log(shard, key);
        return;
    }
    SA_COMMIT(key->log, log_word(head, first, count - 1));
    if ((first + count - 1) % STAMPS) {
        return;
    }
    for (uint32_t cells = (first + count - 1) / STAMPS; cells > 1; cells--) {
        last = cell(shard, last)->log.next;
    }
    give_back(shard, key->tail);
    key->tail = last;
}

/* --- the questions --- */

static apr_int64_t ask(shard_t *shard, uint64_t hash, uint32_t limit, uint64_t period,
                       int record)
{
    /* Read under the lock, so that a key's times never go down. */
    uint64_t now = sa_shared_now();
    uint32_t number = find_key(shard, hash);
    key_cell_t *key;

    if (!number) {
        if (!record) {
            return 0;
        }
        number = add_key(shard, hash);
        if (!number) {
            return (apr_int64_t)period;
        }
    }
    key = &cell(shard, number)->key;
    trim(shard, key, now, period);
    if (record) {
        key->touched = now;
        unlink_use(shard, number);
        link_use(shard, number);
    }
    if (log_count(key) >= limit) {
        return (apr_int64_t)wait_for(shard, key, now, period, limit - 1);
    }
    if (!record || append(shard, number, now)) {
        return 0;
    }
    /* This one key fills the shard: refused until its oldest event is gone. */
    return log_count(key)
        ? (apr_int64_t)wait_for(shard, key, now, period, log_count(key) - 1)
        : (apr_int64_t)period;
}

static apr_int64_t ask_locked(sa_shared_t *shared, uint64_t hash, const sa_rate_t *rate,
                              int record)
{
    const sa_room_t *room = &shared->throttle;
    shard_t *shard = sa_shared_part(shared, room, (uint32_t)(hash >> 32) % room->count);
    apr_int64_t period = rate->period_ms > PERIOD_MAX ? PERIOD_MAX : rate->period_ms;
    apr_int64_t wait;

    if (rate->count <= 0 || period <= 0) {
        return 0;
    }
    if (!sa_shared_lock(&shard->mutex, mend, shard)) {
        return period;
    }
    wait = ask(shard, hash, rate->count > COUNT_MAX ? COUNT_MAX : (uint32_t)rate->count,
               (uint64_t)period, record);
    sa_shared_unlock(&shard->mutex);
    return wait;
}

apr_int64_t sa_throttle_hit(sa_shared_t *shared, apr_uint64_t key, const sa_rate_t *rate)
{
    return ask_locked(shared, key, rate, 1);
}

apr_int64_t sa_throttle_peek(sa_shared_t *shared, apr_uint64_t key, const sa_rate_t *rate)
{
    return ask_locked(shared, key, rate, 0);
}

void sa_throttle_undo(sa_shared_t *shared, apr_uint64_t hash)
{
    const sa_room_t *room = &shared->throttle;
    shard_t *shard = sa_shared_part(shared, room, (uint32_t)(hash >> 32) % room->count);

    if (sa_shared_lock(&shard->mutex, mend, shard)) {
        uint32_t number = find_key(shard, hash);
        if (number) {
            drop_newest(shard, &cell(shard, number)->key);
        }
        sa_shared_unlock(&shard->mutex);
    }
}

/* --- layout --- */

uint64_t sa_throttle_layout(void)
{
    return (uint64_t)sizeof(shard_t) * 4096 + sizeof(cell_t) * 16 + STAMPS;
}

/* As many shards as leave each room for one key of COUNT_MAX events. */
apr_status_t sa_throttle_format(sa_shared_t *shared, uint64_t start, uint64_t bytes)
{
    const uint64_t cell_bytes = sizeof(cell_t) + sizeof(uint32_t) / 2;
    const uint64_t enough = SHARD_HEAD + SHARD_BYTES + (COUNT_MAX / STAMPS + 8) * cell_bytes;
    sa_room_t *room = &shared->throttle;
    uint64_t count = bytes / enough;

    room->start = start;
    room->count = count < 1 ? 1 : count > 16 ? 16 : (uint32_t)count;
    room->bytes = bytes / room->count / SA_SHARED_ALIGN * SA_SHARED_ALIGN;
    room->cells = (uint32_t)((room->bytes - SHARD_HEAD - SHARD_BYTES) / cell_bytes);
    room->buckets = room->cells / 2;
    for (uint32_t i = 0; i < room->count; i++) {
        shard_t *shard = sa_shared_part(shared, room, i);
        apr_status_t rv = sa_shared_mutex_init(&shard->mutex);

        if (rv != APR_SUCCESS) {
            return rv;
        }
        shard->cells = room->cells;
        shard->buckets = room->buckets;
    }
    return APR_SUCCESS;
}
