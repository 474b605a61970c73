/* Sessions that ended before their time: a table of 64-bit ids, each with the time until which it
 * counts. An id has a place in either of two buckets and nowhere else, so that a look-up
 * reads four cache lines and takes no lock.
 *
 * That everything is known which a database told until some moment is an entry as well: the id of
 * the database itself, which counts for SA_REVOCATIONS_STALE_MS from that moment on.
 *
 * A slot whose time has passed is taken over in two stores: first the new id, then the new time. A
 * writer that dies in between leaves a free slot; there is nothing to mend. */
#include "core/shared_layout.h"

#include <string.h>

#define BUCKET 8
#define TTL_MAX (400 * 24 * 3600 * 1000ll)

typedef struct {
    uint64_t id;                /* 0 = never used */
    uint64_t until;             /* a time that has passed = free */
} slot_t;

typedef struct {
    pthread_mutex_t mutex;      /* of writers */
    uint32_t buckets;
    uint32_t reserved;
} head_t;

#define HEAD_BYTES ((sizeof(head_t) + 63) / 64 * 64)

static head_t *room(const sa_shared_t *shared)
{
    return sa_shared_part((sa_shared_t *)shared, &shared->revocations, 0);
}

/* The first or the second bucket of an id. */
static slot_t *bucket(head_t *head, uint64_t id, int second)
{
    void *slots = (char *)head + HEAD_BYTES;
    uint64_t n = (second ? id >> 32 : id & 0xffffffffu) % head->buckets;

    return (slot_t *)slots + n * BUCKET;
}

/* Until when the slot's id counts; 0 when it is another one. The id is looked at once more, since
 * somebody may have taken the slot over before its time was read. */
static uint64_t read_slot(const slot_t *slot, uint64_t id)
{
    if (__atomic_load_n(&slot->id, __ATOMIC_ACQUIRE) != id) {
        return 0;
    }
    uint64_t until = __atomic_load_n(&slot->until, __ATOMIC_ACQUIRE);
    return __atomic_load_n(&slot->id, __ATOMIC_ACQUIRE) == id ? until : 0;
}

static int counts(head_t *head, uint64_t id, uint64_t now)
{
    const slot_t *first = bucket(head, id, 0), *second = bucket(head, id, 1);

    for (int i = 0; i < BUCKET; i++) {
        if (read_slot(&first[i], id) > now || read_slot(&second[i], id) > now) {
            return 1;
        }
    }
    return 0;
}

/* The id's own slot, else a free one in the emptier of its buckets, else NULL. */
static slot_t *place(head_t *head, uint64_t id, uint64_t now)
{
    slot_t *best = NULL;
    int most = 0;

    for (int second = 0; second < 2; second++) {
        slot_t *slots = bucket(head, id, second), *last = NULL;
        int free = 0;
        for (int i = 0; i < BUCKET; i++) {
            if (slots[i].id == id) {
                return &slots[i];
            }
            if (slots[i].until <= now) {
                last = &slots[i];
                free++;
            }
        }
        if (free > most) {
            most = free;
            best = last;
        }
    }
    return best;
}

static void mend(void *arg)
{
}

/* 0 when there is no room. */
static int add(sa_shared_t *shared, uint64_t id, uint64_t until)
{
    head_t *head = room(shared);

    if (!sa_shared_lock(&head->mutex, mend, head)) {
        return 0;
    }
    slot_t *slot = place(head, id, sa_shared_now());
    if (slot && slot->id != id) {
        SA_COMMIT(slot->id, id);
    }
    if (slot && slot->until < until) {
        SA_COMMIT(slot->until, until);
    }
    sa_shared_unlock(&head->mutex);
    return slot != NULL;
}

static uint64_t id_of(const sa_shared_t *shared, const char *text)
{
    return sa_keyed_hash(shared->key, text, strlen(text));
}

static uint64_t session_id(const sa_shared_t *shared, uint64_t database, const char *sid)
{
    uint64_t id = id_of(shared, sid) ^ database;

    return id ? id : 1;
}

sa_revoked_t sa_revoked(const sa_shared_t *shared, const char *database, const char *sid)
{
    uint64_t mark = id_of(shared, database), now = sa_shared_now();
    /* First, since what it vouches for was there before it. */
    int is_current = counts(room(shared), mark, now);

    if (counts(room(shared), session_id(shared, mark, sid), now)) {
        return SA_REVOKED;
    }
    return is_current ? SA_NOT_REVOKED : SA_REVOKED_UNKNOWN;
}

int sa_revoke(sa_shared_t *shared, const char *database, const char *sid, apr_int64_t ttl_ms)
{
    uint64_t ttl = ttl_ms < 1 ? 1 : ttl_ms > TTL_MAX ? TTL_MAX : (uint64_t)ttl_ms;

    return add(shared, session_id(shared, id_of(shared, database), sid), sa_shared_now() + ttl);
}

apr_uint64_t sa_revocations_moment(void)
{
    return sa_shared_now();
}

int sa_revocations_known(sa_shared_t *shared, const char *database, apr_uint64_t moment)
{
    return add(shared, id_of(shared, database), moment + SA_REVOCATIONS_STALE_MS);
}

/* --- layout --- */

uint64_t sa_revocations_layout(void)
{
    return (uint64_t)sizeof(head_t) * 4096 + sizeof(slot_t) * 16 + BUCKET;
}

apr_status_t sa_revocations_format(sa_shared_t *shared, uint64_t start, uint64_t bytes)
{
    sa_room_t *own = &shared->revocations;

    own->start = start;
    own->bytes = bytes;
    own->count = 1;
    own->buckets = (uint32_t)((bytes - HEAD_BYTES) / (BUCKET * sizeof(slot_t)));
    own->cells = own->buckets * BUCKET;
    room(shared)->buckets = own->buckets;
    return sa_shared_mutex_init(&room(shared)->mutex);
}
