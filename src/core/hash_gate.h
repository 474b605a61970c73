/* The gate before password hashing: all processes of a server together compute at most so many
 * hashes at once, and few wait for it, so that a flood of logins takes neither the memory nor
 * the threads of everybody else. A hash that needs more memory than one of ours takes
 * several turns at once. Whoever dies inside leaves nothing behind.
 *
 * Nobody may enter with a database connection in hand. */
#ifndef SA_CORE_HASH_GATE_H
#define SA_CORE_HASH_GATE_H

#include "core/shared.h"

#define SA_HASH_TURNS_MAX 64
#define SA_HASH_QUEUE_MAX 128

typedef struct {
    int turns;                  /* over all processes, 1..SA_HASH_TURNS_MAX */
    int waiting;                /* over all processes, 1..SA_HASH_QUEUE_MAX */
    int per_process;            /* threads of one process inside: waiting, hashing or pausing */
    int wait_ms;
} sa_hash_limits_t;

/* One process's way to the turns. */
typedef struct sa_hash_gate_t sa_hash_gate_t;

sa_hash_gate_t *sa_hash_gate_create(apr_pool_t *p, sa_shared_t *shared,
                                    const sa_hash_limits_t *limits);

typedef struct {
    apr_uint64_t held;          /* a bit for each turn */
    apr_time_t began;           /* of sa_steady_time */
} sa_hash_stay_t;

/* 1 = inside, with `turns` turns (at most all there are): sa_hash_gate_leave must follow, by the
 * same thread. 0 = busy: too many wait already (said at once), or no turn came in time. gate NULL:
 * no limit. */
int sa_hash_gate_enter(sa_hash_gate_t *gate, int turns, sa_hash_stay_t *stay);

typedef enum {
    SA_HASH_SLOW = 1,           /* what was checked costs something else than a hash of ours */
    SA_HASH_REFUSED = 2         /* the password was wrong */
} sa_hash_outcome_t;

/* Gives the turns back. A refusal then pauses until the stay was as long as the slowest of the last
 * SA_HASH_SLOW ones were (at most a second, forgotten after a day without one): who is refused does
 * not learn from the time what is stored for the account, or whether there is one. */
void sa_hash_gate_leave(sa_hash_gate_t *gate, const sa_hash_stay_t *stay, int outcome);

#endif
