/* The inside of the shared segment, for shared.c and the rooms that live in it.
 *
 * The segment may be mapped anywhere: nothing in it is a pointer. Cells are named by
 * 1-based numbers, 0 is none. A process may be killed between any two stores,
 * also while it holds a lock; what it leaves must be mendable by the next taker:
 * each room commits a change by one store and derives all lists from committed
 * cells in its mend function. */
#ifndef SA_CORE_SHARED_LAYOUT_H
#define SA_CORE_SHARED_LAYOUT_H

#include "core/crypto.h"
#include "core/shared.h"

#include <pthread.h>
#include <stdint.h>

/* Commits a store: the compiler moves none of the stores before it behind it. */
#define SA_COMMIT(lvalue, value) __atomic_store_n(&(lvalue), (value), __ATOMIC_RELEASE)

/* `count` equal, separately locked parts of `bytes` each, from offset `start`. */
typedef struct {
    uint64_t start;
    uint64_t bytes;
    uint32_t count;
    uint32_t cells;             /* per part */
    uint32_t buckets;           /* per part */
    uint32_t reserved;
} sa_room_t;

struct sa_shared_t {
    uint64_t magic;
    uint64_t layout;
    uint64_t bytes;
    uint64_t fetches;           /* see sa_document_fetches */
    unsigned char key[SA_SHA256_LEN];
    sa_room_t throttle;
    sa_room_t spent;
    sa_room_t revocations;
    sa_room_t documents;
    sa_room_t hashing;
};

/* Milliseconds that never step, > 0. */
uint64_t sa_shared_now(void);

/* Formats a robust, process-shared mutex. */
apr_status_t sa_shared_mutex_init(pthread_mutex_t *mutex);

/* Locks. When the last holder died inside, mend(arg) puts the data right first.
 * 0 = the lock cannot be had any more: the caller takes the refusing answer. */
int sa_shared_lock(pthread_mutex_t *mutex, void (*mend)(void *arg), void *arg);
void sa_shared_unlock(pthread_mutex_t *mutex);

/* Part `index` of a room, index < room->count. */
void *sa_shared_part(sa_shared_t *shared, const sa_room_t *room, uint32_t index);

/* Lay a room out in [start, start + bytes), zeroed memory, and format it.
 * Offsets and sizes are multiples of SA_SHARED_ALIGN. */
#define SA_SHARED_ALIGN 64
apr_status_t sa_throttle_format(sa_shared_t *shared, uint64_t start, uint64_t bytes);
apr_status_t sa_spent_format(sa_shared_t *shared, uint64_t start, uint64_t bytes);
apr_status_t sa_revocations_format(sa_shared_t *shared, uint64_t start, uint64_t bytes);
apr_status_t sa_documents_format(sa_shared_t *shared, uint64_t start, uint64_t bytes);
apr_status_t sa_hashing_format(sa_shared_t *shared, uint64_t start);
uint64_t sa_hashing_bytes(void);
/* The bytes that `slots` documents take. */
uint64_t sa_documents_bytes(uint32_t slots);

/* Sizes of a room's structures, folded: differs when another build lays them out otherwise. */
uint64_t sa_throttle_layout(void);
uint64_t sa_spent_layout(void);
uint64_t sa_revocations_layout(void);
uint64_t sa_documents_layout(void);
uint64_t sa_hashing_layout(void);

#endif
