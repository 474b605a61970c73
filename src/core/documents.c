/* Texts fetched once for all children. One lock: each answer but a changed text takes
 * well under a microsecond.
 *
 * A text is written into the block that no slot uses and becomes the slot's by one
 * store, so a writer that dies leaves the old text. Each word is right by
 * itself after any store; there is nothing to mend. */
#include "core/shared_layout.h"

#include <apr_strings.h>
#include <string.h>

#define FETCH_DEAD_MS 30000
#define UNUSED_MS (3600 * 1000) /* a slot not asked for this long may be given away */

typedef struct {
    uint64_t generation;
    uint64_t stored;            /* time */
    uint64_t ttl;
    uint64_t len;
    char text[SA_DOCUMENT_MAX];
} block_t;

typedef struct {
    uint32_t used;
    uint32_t block;             /* 1-based; 0 = no text yet */
    uint32_t fetching;
    uint32_t first;             /* no fetch has begun since the one that brought the first text */
    uint64_t begun;             /* when the last fetch began; 0 = never */
    uint64_t asked;             /* when it was asked for last */
    unsigned char name[SA_SHA256_LEN];
} slot_t;

typedef struct {
    pthread_mutex_t mutex;
    uint32_t slots;
    uint32_t reserved;
    uint64_t generation;        /* of the last text stored in any slot */
} head_t;

#define HEAD_BYTES ((sizeof(head_t) + 63) / 64 * 64)

_Static_assert(sizeof(slot_t) % 64 == 0, "blocks stay aligned");

static slot_t *slots(head_t *head)
{
    void *first = (char *)head + HEAD_BYTES;

    return first;
}

static block_t *block(head_t *head, uint32_t number)
{
    void *blocks = slots(head) + head->slots;

    return (block_t *)blocks + (number - 1);
}

static void mend(void *arg)
{
}

static head_t *lock(sa_shared_t *shared)
{
    head_t *head = sa_shared_part(shared, &shared->documents, 0);

    return sa_shared_lock(&head->mutex, mend, head) ? head : NULL;
}

/* --- slots --- */

static slot_t *find(head_t *head, const unsigned char *name)
{
    slot_t *slot = slots(head);

    for (uint32_t i = 0; i < head->slots; i++, slot++) {
        if (slot->used && !memcmp(slot->name, name, SA_SHA256_LEN)) {
            return slot;
        }
    }
    return NULL;
}

/* A slot that is free or that nobody asked for in the last hour, or NULL. */
static slot_t *find_room(head_t *head, uint64_t now)
{
    slot_t *slot = slots(head), *best = NULL;

    for (uint32_t i = 0; i < head->slots; i++, slot++) {
        if (!slot->used) {
            return slot;
        }
        if (now - slot->asked >= UNUSED_MS && (!best || slot->asked < best->asked)) {
            best = slot;
        }
    }
    return best;
}

static slot_t *find_or_add(head_t *head, const unsigned char *name, uint64_t now)
{
    slot_t *slot = find(head, name);

    if (!slot && (slot = find_room(head, now))) {
        SA_COMMIT(slot->used, 0);
        slot->block = 0;
        slot->fetching = 0;
        slot->first = 0;
        slot->begun = 0;
        memcpy(slot->name, name, SA_SHA256_LEN);
        slot->asked = now;
        SA_COMMIT(slot->used, 1);
    }
    return slot;
}

/* There is one block more than slots, so one is always free. */
static uint32_t free_block(head_t *head)
{
    const slot_t *slot = slots(head);
    uint64_t taken[2] = { 0, 0 };
    uint32_t number = 1;

    for (uint32_t i = 0; i < head->slots; i++, slot++) {
        if (slot->used && slot->block) {
            taken[slot->block / 64] |= 1ull << slot->block % 64;
        }
    }
    while (taken[number / 64] >> number % 64 & 1) {
        number++;
    }
    return number;
}

/* --- the questions --- */

static apr_status_t get(head_t *head, apr_pool_t *p, const unsigned char *name,
                        apr_uint64_t known_generation, sa_document_t *doc)
{
    uint64_t now = sa_shared_now();
    slot_t *slot = find(head, name);
    const block_t *b;

    if (!slot) {
        return find_room(head, now) ? APR_SUCCESS : APR_ENOSPC;
    }
    slot->asked = now;
    if (!slot->block) {
        return APR_SUCCESS;
    }
    b = block(head, slot->block);
    doc->generation = b->generation;
    doc->age_ms = (apr_int64_t)(now - b->stored);
    doc->ttl_ms = (apr_int64_t)b->ttl;
    if (b->generation != known_generation) {
        doc->text = apr_pstrmemdup(p, b->text, b->len);
        doc->len = b->len;
    }
    return APR_SUCCESS;
}

apr_status_t sa_document_get(sa_shared_t *shared, apr_pool_t *p, const char *name,
                             apr_uint64_t known_generation, sa_document_t *doc)
{
    unsigned char digest[SA_SHA256_LEN];
    apr_status_t rv;
    head_t *head;

    memset(doc, 0, sizeof(*doc));
    sa_sha256(name, strlen(name), digest);
    head = lock(shared);
    if (!head) {
        return APR_EGENERAL;
    }
    rv = get(head, p, digest, known_generation, doc);
    sa_shared_unlock(&head->mutex);
    return rv;
}

static int claim(slot_t *slot, uint64_t now, apr_int64_t min_interval_ms)
{
    uint64_t since = now - slot->begun;

    if (slot->begun && ((slot->fetching && since <= FETCH_DEAD_MS)
                        || (min_interval_ms > 0 && since < (uint64_t)min_interval_ms))) {
        return 0;
    }
    slot->asked = now;
    SA_COMMIT(slot->begun, now);
    SA_COMMIT(slot->first, 0);
    SA_COMMIT(slot->fetching, 1);
    return 1;
}

typedef enum { FETCH, RENEWAL } purpose_t;

static int claim_for(sa_shared_t *shared, const char *name, apr_int64_t min_interval_ms,
                     purpose_t purpose)
{
    unsigned char digest[SA_SHA256_LEN];
    uint64_t now;
    slot_t *slot;
    head_t *head;
    int claimed;

    sa_sha256(name, strlen(name), digest);
    head = lock(shared);
    if (!head) {
        return 0;
    }
    now = sa_shared_now();
    slot = find_or_add(head, digest, now);
    if (slot && slot->first && purpose == RENEWAL) {
        min_interval_ms = 0;
    }
    claimed = slot && claim(slot, now, min_interval_ms);
    if (claimed) {
        __atomic_add_fetch(&shared->fetches, 1, __ATOMIC_RELAXED);
    }
    sa_shared_unlock(&head->mutex);
    return claimed;
}

int sa_document_claim(sa_shared_t *shared, const char *name, apr_int64_t min_interval_ms)
{
    return claim_for(shared, name, min_interval_ms, FETCH);
}

int sa_document_claim_renewal(sa_shared_t *shared, const char *name, apr_int64_t min_interval_ms)
{
    return claim_for(shared, name, min_interval_ms, RENEWAL);
}

void sa_document_unclaim(sa_shared_t *shared, const char *name)
{
    unsigned char digest[SA_SHA256_LEN];
    head_t *head;
    slot_t *slot;

    sa_sha256(name, strlen(name), digest);
    head = lock(shared);
    if (!head) {
        return;
    }
    slot = find(head, digest);
    if (slot) {
        SA_COMMIT(slot->fetching, 0);
        SA_COMMIT(slot->begun, 0);
    }
    __atomic_sub_fetch(&shared->fetches, 1, __ATOMIC_RELAXED);
    sa_shared_unlock(&head->mutex);
}

static void store(head_t *head, slot_t *slot, const char *text, apr_size_t len,
                  apr_int64_t ttl_ms)
{
    uint32_t number = free_block(head);
    block_t *b = block(head, number);

    memcpy(b->text, text, len);
    b->len = len;
    b->ttl = ttl_ms > 0 ? (uint64_t)ttl_ms : 0;
    b->stored = sa_shared_now();
    SA_COMMIT(head->generation, head->generation + 1);
    b->generation = head->generation;
    SA_COMMIT(slot->block, number);
}

apr_status_t sa_document_put(sa_shared_t *shared, const char *name, const char *text,
                             apr_size_t len, apr_int64_t ttl_ms)
{
    unsigned char digest[SA_SHA256_LEN];
    apr_status_t rv = APR_SUCCESS;
    slot_t *slot;
    head_t *head;

    sa_sha256(name, strlen(name), digest);
    head = lock(shared);
    if (!head) {
        return APR_EGENERAL;
    }
    slot = text ? find_or_add(head, digest, sa_shared_now()) : find(head, digest);
    if (text && (!slot || len > SA_DOCUMENT_MAX)) {
        rv = APR_ENOSPC;
    }
    else if (text) {
        SA_COMMIT(slot->first, !slot->block);
        store(head, slot, text, len, ttl_ms);
    }
    if (slot) {
        SA_COMMIT(slot->fetching, 0);
    }
    sa_shared_unlock(&head->mutex);
    return rv;
}

apr_uint64_t sa_document_fetches(const sa_shared_t *shared)
{
    return __atomic_load_n(&shared->fetches, __ATOMIC_RELAXED);
}

/* --- layout --- */

uint64_t sa_documents_layout(void)
{
    return (uint64_t)sizeof(head_t) * 4096 + sizeof(slot_t) * 16 + sizeof(block_t);
}

uint64_t sa_documents_bytes(uint32_t count)
{
    uint64_t bytes = HEAD_BYTES + count * sizeof(slot_t) + (count + 1) * sizeof(block_t);

    return (bytes + SA_SHARED_ALIGN - 1) / SA_SHARED_ALIGN * SA_SHARED_ALIGN;
}

apr_status_t sa_documents_format(sa_shared_t *shared, uint64_t start, uint64_t bytes)
{
    sa_room_t *room = &shared->documents;
    head_t *head;

    room->start = start;
    room->bytes = bytes;
    room->count = 1;
    room->cells = (uint32_t)((bytes - HEAD_BYTES - sizeof(block_t))
                             / (sizeof(slot_t) + sizeof(block_t)));
    head = sa_shared_part(shared, room, 0);
    head->slots = room->cells;
    return sa_shared_mutex_init(&head->mutex);
}
