/* Each turn, and each place in the queue, is a robust mutex that guards nothing but itself: when
 * its holder dies the kernel hands it on, and there is nothing to mend. (No condition variable
 * survives the death of a process inside it.) Only the head of the queue takes turns, one
 * after the other, so that no two wait for each other's. */
#include "core/hash_gate.h"

#include "core/clock.h"
#include "core/shared_layout.h"

#include <errno.h>
#include <time.h>

#define SLICE apr_time_from_msec(10)    /* the head waits for one turn, then looks at all again */
#define PACE_COUNTS (24 * 3600 * 1000ull)       /* ms */
#define PACE_LOSES 64           /* a part of itself, with each that was faster */
#define PAUSE_MAX apr_time_from_sec(1)

typedef struct {
    pthread_mutex_t head;
    pthread_mutex_t place[SA_HASH_QUEUE_MAX];
    pthread_mutex_t turn[SA_HASH_TURNS_MAX];
    apr_time_t pace;            /* 0 = none yet */
    uint64_t paced_at;          /* sa_shared_now */
} room_t;

struct sa_hash_gate_t {
    room_t *room;
    sa_hash_limits_t limits;
    int inside;
};

/* --- locks --- */

static int is_locked(pthread_mutex_t *mutex, int rv)
{
    return rv == 0 || (rv == EOWNERDEAD && !pthread_mutex_consistent(mutex));
}

static int try_lock(pthread_mutex_t *mutex)
{
    return is_locked(mutex, pthread_mutex_trylock(mutex));
}

static int lock_until(pthread_mutex_t *mutex, apr_time_t deadline)
{
    const struct timespec until = { apr_time_sec(deadline), apr_time_usec(deadline) * 1000 };

    return is_locked(mutex, pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &until));
}

/* --- turns --- */

static void give_back(room_t *room, uint64_t held)
{
    for (int i = 0; i < SA_HASH_TURNS_MAX; i++) {
        if (held >> i & 1) {
            pthread_mutex_unlock(&room->turn[i]);
        }
    }
}

static uint64_t take_free(sa_hash_gate_t *gate, uint64_t held, int wanted)
{
    for (int i = 0; i < gate->limits.turns && __builtin_popcountll(held) < wanted; i++) {
        if (!(held >> i & 1) && try_lock(&gate->room->turn[i])) {
            held |= 1ull << i;
        }
    }
    return held;
}

/* As the head of the queue. 0 when they did not come in time. */
static uint64_t take_turns(sa_hash_gate_t *gate, int wanted, apr_time_t deadline)
{
    uint64_t held = take_free(gate, 0, wanted);

    for (int i = 0; __builtin_popcountll(held) < wanted; i = (i + 1) % gate->limits.turns) {
        apr_time_t now = sa_steady_time();

        if (now >= deadline) {
            give_back(gate->room, held);
            return 0;
        }
        if (!(held >> i & 1)
            && lock_until(&gate->room->turn[i], now + SLICE < deadline ? now + SLICE : deadline)) {
            held |= 1ull << i;
        }
        held = take_free(gate, held, wanted);
    }
    return held;
}

static pthread_mutex_t *take_place(sa_hash_gate_t *gate)
{
    for (int i = 0; i < gate->limits.waiting; i++) {
        if (try_lock(&gate->room->place[i])) {
            return &gate->room->place[i];
        }
    }
    return NULL;
}

static uint64_t queue_up(sa_hash_gate_t *gate, int wanted)
{
    apr_time_t deadline = sa_steady_time() + apr_time_from_msec(gate->limits.wait_ms);
    pthread_mutex_t *place = take_place(gate);
    uint64_t held = 0;

    if (!place) {
        return 0;
    }
    if (lock_until(&gate->room->head, deadline)) {
        held = take_turns(gate, wanted, deadline);
        pthread_mutex_unlock(&gate->room->head);
    }
    pthread_mutex_unlock(place);
    return held;
}

int sa_hash_gate_enter(sa_hash_gate_t *gate, int turns, sa_hash_stay_t *stay)
{
    *stay = (sa_hash_stay_t) { .held = 0 };
    if (!gate) {
        return 1;
    }
    if (__atomic_fetch_add(&gate->inside, 1, __ATOMIC_RELAXED) < gate->limits.per_process) {
        stay->held = queue_up(gate, turns < gate->limits.turns ? turns : gate->limits.turns);
    }
    if (!stay->held) {
        __atomic_fetch_sub(&gate->inside, 1, __ATOMIC_RELAXED);
        return 0;
    }
    stay->began = sa_steady_time();
    return 1;
}

/* --- the pace of refusals --- */

/* What a busy machine stretches counts as it was; one that was stretched very much is forgotten
 * little by little. That two write at once does no harm. */
static void note_slow(room_t *room, apr_time_t took)
{
    apr_time_t pace = __atomic_load_n(&room->pace, __ATOMIC_RELAXED);

    pace -= pace / PACE_LOSES;
    pace = took > pace ? took : pace;
    __atomic_store_n(&room->pace, pace < PAUSE_MAX ? pace : PAUSE_MAX, __ATOMIC_RELAXED);
    __atomic_store_n(&room->paced_at, sa_shared_now(), __ATOMIC_RELAXED);
}

static void pause_since(const room_t *room, apr_time_t began)
{
    apr_time_t pace = __atomic_load_n(&room->pace, __ATOMIC_RELAXED);
    apr_time_t left = began + pace - sa_steady_time();

    if (left > 0
        && sa_shared_now() - __atomic_load_n(&room->paced_at, __ATOMIC_RELAXED) <= PACE_COUNTS) {
        apr_sleep(left);
    }
}

void sa_hash_gate_leave(sa_hash_gate_t *gate, const sa_hash_stay_t *stay, int outcome)
{
    if (!gate) {
        return;
    }
    if (outcome & SA_HASH_SLOW) {
        note_slow(gate->room, sa_steady_time() - stay->began);
    }
    give_back(gate->room, stay->held);
    if (outcome & SA_HASH_REFUSED) {
        pause_since(gate->room, stay->began);
    }
    __atomic_fetch_sub(&gate->inside, 1, __ATOMIC_RELAXED);
}

/* --- set-up --- */

static int within(int n, int most)
{
    return n < 1 ? 1 : n > most ? most : n;
}

sa_hash_gate_t *sa_hash_gate_create(apr_pool_t *p, sa_shared_t *shared,
                                    const sa_hash_limits_t *limits)
{
    sa_hash_gate_t *gate = apr_pcalloc(p, sizeof(*gate));

    gate->room = sa_shared_part(shared, &shared->hashing, 0);
    gate->limits = *limits;
    gate->limits.turns = within(limits->turns, SA_HASH_TURNS_MAX);
    gate->limits.waiting = within(limits->waiting, SA_HASH_QUEUE_MAX);
    return gate;
}

uint64_t sa_hashing_layout(void)
{
    return sizeof(room_t);
}

uint64_t sa_hashing_bytes(void)
{
    return (sizeof(room_t) + SA_SHARED_ALIGN - 1) / SA_SHARED_ALIGN * SA_SHARED_ALIGN;
}

apr_status_t sa_hashing_format(sa_shared_t *shared, uint64_t start)
{
    shared->hashing = (sa_room_t) { .start = start, .bytes = sa_hashing_bytes(), .count = 1 };

    room_t *room = sa_shared_part(shared, &shared->hashing, 0);
    apr_status_t rv = sa_shared_mutex_init(&room->head);
    for (int i = 0; rv == APR_SUCCESS && i < SA_HASH_QUEUE_MAX; i++) {
        rv = sa_shared_mutex_init(&room->place[i]);
    }
    for (int i = 0; rv == APR_SUCCESS && i < SA_HASH_TURNS_MAX; i++) {
        rv = sa_shared_mutex_init(&room->turn[i]);
    }
    return rv;
}
