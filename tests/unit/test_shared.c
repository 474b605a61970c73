/* The shared segment: exact over processes, mended after deaths, blind to clock steps. */
#include "vectors.h"

#include "core/crypto.h"
#include "core/shared.h"

#include <apr_general.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#define MIB (1024 * 1024)
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static apr_pool_t *pool;

/* What all processes of a test see. */
typedef struct {
    long allowed;               /* throttle events granted */
    long mended;                /* locks recovered */
    long wrong;                 /* something that must not be */
    int go;
    unsigned char first[20000]; /* SA_SPENT_FIRST answers, by id */
} board_t;

static board_t *board;

/* --- clocks and locks, as this program sees them --- */

static int64_t steady_ms = 5000000, wall_offset_ms;
static int steady_runs;         /* the steady clock stands still but for advance() */

/* These replace the C library's for this program. */
int clock_gettime(clockid_t id, struct timespec *t)
{
    if ((id == CLOCK_BOOTTIME || id == CLOCK_MONOTONIC) && !steady_runs) {
        t->tv_sec = steady_ms / 1000;
        t->tv_nsec = steady_ms % 1000 * 1000000;
        return 0;
    }
    int rv = (int)syscall(SYS_clock_gettime, id, t);
    if (rv == 0 && id == CLOCK_REALTIME) {
        t->tv_sec += wall_offset_ms / 1000;
    }
    return rv;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
    struct timespec t;
    int rv = clock_gettime(CLOCK_REALTIME, &t);
    tv->tv_sec = t.tv_sec;
    tv->tv_usec = t.tv_nsec / 1000;
    return rv;
}

time_t time(time_t *out)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (out) {
        *out = t.tv_sec;
    }
    return t.tv_sec;
}

int pthread_mutex_consistent(pthread_mutex_t *mutex)
{
    static int (*real)(pthread_mutex_t *);
    if (!real) {
        void *found = dlsym(RTLD_NEXT, "pthread_mutex_consistent");
        memcpy(&real, &found, sizeof(real));
    }
    __atomic_add_fetch(&board->mended, 1, __ATOMIC_RELAXED);
    return real(mutex);
}

static int setup(void **state)
{
    apr_pool_create(&pool, NULL);
    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : 0;
}

static int teardown(void **state)
{
    apr_pool_destroy(pool);
    return munmap(board, sizeof(*board));
}

static sa_shared_t *segment(apr_size_t bytes)
{
    sa_shared_t *shared;
    assert_int_equal(sa_shared_create(&shared, bytes), APR_SUCCESS);
    memset(board, 0, sizeof(*board));
    return shared;
}

static void advance(int64_t ms)
{
    steady_ms += ms;
}

static uint64_t scramble(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    return *seed ^= *seed << 17;
}

/* Runs work(shared, n) in `count` processes that start together; all must exit with 0. */
static void in_processes(int count, void (*work)(sa_shared_t *, int), sa_shared_t *shared)
{
    pid_t pids[64];
    assert_true(count <= 64);
    board->go = 0;
    for (int i = 0; i < count; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (!pids[i]) {
            while (!__atomic_load_n(&board->go, __ATOMIC_ACQUIRE)) {
                usleep(100);
            }
            work(shared, i);
            _exit(0);
        }
    }
    __atomic_store_n(&board->go, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < count; i++) {
        int status = -1;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
}

/* --- the segment --- */

static void test_segment_sizes(void **state)
{
    static const apr_size_t good[] = {MIB, MIB + 1, 2 * MIB, 4 * MIB, 8 * MIB, 64 * MIB};
    sa_shared_t *shared;
    unsigned char zero[SA_SHA256_LEN] = {0};

    for (size_t i = 0; i < COUNT(good); i++) {
        sa_rate_t rate = {3, 1000};
        unsigned char id[32] = {1};
        sa_document_t doc;
        shared = segment(good[i]);
        assert_true(sa_shared_compatible(shared));
        assert_memory_not_equal(sa_shared_key(shared), zero, sizeof(zero));
        assert_int_equal(sa_throttle_hit(shared, 1, &rate), 0);
        assert_int_equal(sa_spend(shared, id, 1000), SA_SPENT_FIRST);
        assert_int_equal(sa_spend(shared, id, 1000), SA_SPENT_AGAIN);
        assert_int_equal(sa_document_put(shared, "x", "text", 4, 1000), APR_SUCCESS);
        assert_int_equal(sa_document_get(shared, pool, "x", 0, &doc), APR_SUCCESS);
        assert_string_equal(doc.text, "text");
        munmap(shared, good[i]);
    }
    assert_int_not_equal(sa_shared_create(&shared, MIB - 1), APR_SUCCESS);
    assert_int_not_equal(sa_shared_create(&shared, 0), APR_SUCCESS);
    assert_int_not_equal(sa_shared_create(&shared, (apr_size_t)1 << 60), APR_SUCCESS);
    assert_null(shared);
}

static void test_other_layouts_are_not_compatible(void **state)
{
    sa_shared_t *shared = segment(MIB);
    unsigned char *bytes = (unsigned char *)shared;

    assert_false(sa_shared_compatible(NULL));
    for (int i = 0; i < 16; i++) {
        bytes[i] ^= 1;
        assert_false(sa_shared_compatible(shared));
        bytes[i] ^= 1;
    }
    assert_true(sa_shared_compatible(shared));
    munmap(shared, MIB);
}

/* --- throttle --- */

static void test_rate_parse(void **state)
{
    static const struct { const char *text; int count; apr_int64_t period; } good[] = {
        {"10/minute", 10, 60000}, {"5/s", 5, 1000}, {"100/hour", 100, 3600000},
        {"1000/day", 1000, 86400000}, {"1/sec", 1, 1000}, {"1/second", 1, 1000},
        {"1/m", 1, 60000}, {"1/min", 1, 60000}, {"1/h", 1, 3600000}, {"1/hr", 1, 3600000},
        {"1/d", 1, 86400000}, {"100000/day", 100000, 86400000}, {"off", 0, 0}, {"Off", 0, 0}
    };
    static const char *const bad[] = {
        "", "10", "10/", "/minute", "0/minute", "-1/minute", "+1/minute", "100001/day",
        "99999999999999999999/day", "10/month", "10/week", "10/x", "10 / minute", "10/minute ",
        " 10/minute", "10/minute/s", "1.5/minute", "ten/minute", "10/m1n", "10minute", "none"
    };
    sa_rate_t rate;

    for (size_t i = 0; i < COUNT(good); i++) {
        assert_null(sa_rate_parse(good[i].text, &rate));
        assert_int_equal(rate.count, good[i].count);
        assert_int_equal(rate.period_ms, good[i].period);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        if (!sa_rate_parse(bad[i], &rate)) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
}

static void test_window(void **state)
{
    sa_shared_t *shared = segment(MIB);
    sa_rate_t rate = {3, 60000}, off = {0, 60000};

    for (int i = 0; i < 3; i++) {
        assert_int_equal(sa_throttle_peek(shared, 7, &rate), 0);
        assert_int_equal(sa_throttle_hit(shared, 7, &rate), 0);
        advance(10000);
    }
    apr_int64_t wait = sa_throttle_hit(shared, 7, &rate);
    assert_int_equal(wait, 30000);
    assert_int_equal(sa_throttle_peek(shared, 7, &rate), 30000);
    assert_int_equal(sa_throttle_hit(shared, 8, &rate), 0);
    assert_int_equal(sa_throttle_hit(shared, 7, &off), 0);
    advance(wait - 1);
    assert_int_equal(sa_throttle_hit(shared, 7, &rate), 1);
    advance(1);
    assert_int_equal(sa_throttle_hit(shared, 7, &rate), 0);
    assert_int_equal(sa_throttle_hit(shared, 7, &rate), 10000);
    munmap(shared, MIB);
}

/* T175: looking costs nothing, a refusal is not recorded, other keys do not matter. */
static void test_T175_refusals_do_not_prolong(void **state)
{
    sa_shared_t *shared = segment(MIB);
    sa_rate_t rate = {2, 60000};

    for (int i = 0; i < 100; i++) {
        assert_int_equal(sa_throttle_peek(shared, 1, &rate), 0);
    }
    assert_int_equal(sa_throttle_hit(shared, 1, &rate), 0);
    assert_int_equal(sa_throttle_hit(shared, 1, &rate), 0);
    for (int i = 0; i < 59; i++) {
        assert_true(sa_throttle_hit(shared, 1, &rate) > 0);
        assert_int_equal(sa_throttle_hit(shared, (apr_uint64_t)i + 100, &rate), 0);
        advance(1000);
    }
    advance(1000);
    assert_int_equal(sa_throttle_hit(shared, 1, &rate), 0);
    assert_int_equal(sa_throttle_hit(shared, 1, &rate), 0);
    assert_true(sa_throttle_hit(shared, 1, &rate) > 0);
    munmap(shared, MIB);
}

/* Against the plainest log there is: an array of times per key. */
static void test_window_against_model(void **state)
{
    enum { KEYS = 12, EVENTS = 4000 };
    static int64_t log[KEYS][EVENTS];
    static const sa_rate_t rates[] = {{1, 5000}, {3, 7000}, {14, 30000}, {15, 30000}, {29, 9000},
                                      {100, 60000}};
    sa_shared_t *shared = segment(MIB);
    int length[KEYS] = {0};
    uint64_t seed = 88172645463325252ull;
    int64_t now = 0;

    for (int step = 0; step < 20000; step++) {
        int k = (int)(scramble(&seed) % KEYS);
        const sa_rate_t *rate = &rates[(size_t)k % COUNT(rates)];
        int64_t pass = scramble(&seed) % 10 == 0 ? (int64_t)(scramble(&seed) % 4000) : 0;
        int live = 0;
        int64_t freed_by = 0;

        pass = scramble(&seed) % 1000 == 0 ? pass + 100000 : pass;
        advance(pass);
        now += pass;
        for (int i = length[k] - 1; i >= 0 && now - log[k][i] < rate->period_ms; i--) {
            live++;
            if (live == rate->count) {
                freed_by = log[k][i] + rate->period_ms - now;
            }
        }
        apr_int64_t wait = sa_throttle_hit(shared, (apr_uint64_t)k * 7919 + 1, rate);
        if (live < rate->count) {
            assert_int_equal(wait, 0);
            assert_true(length[k] < EVENTS);
            log[k][length[k]++] = now;
        }
        else {
            assert_true(wait > 0 && wait == freed_by);
        }
        if (scramble(&seed) % 5 == 0) {
            sa_throttle_undo(shared, (apr_uint64_t)k * 7919 + 1);
            length[k] -= length[k] > 0;
        }
    }
    munmap(shared, MIB);
}

static const sa_rate_t many = {5000, 3600 * 1000};

static void hit_often(sa_shared_t *shared, int n)
{
    for (int i = 0; i < 2000; i++) {
        if (!sa_throttle_hit(shared, 42, &many)) {
            __atomic_add_fetch(&board->allowed, 1, __ATOMIC_RELAXED);
        }
    }
}

static void test_T172_T173_exact_over_processes(void **state)
{
    sa_shared_t *shared = segment(4 * MIB);

    in_processes(8, hit_often, shared);
    assert_int_equal(board->allowed, many.count);
    assert_true(sa_throttle_hit(shared, 42, &many) > 0);
    munmap(shared, 4 * MIB);
}

static void test_highest_rate_fits(void **state)
{
    static const apr_size_t sizes[] = {4 * MIB, 8 * MIB};
    sa_rate_t rate = {100000, 86400 * 1000};

    for (size_t s = 0; s < COUNT(sizes); s++) {
        sa_shared_t *shared = segment(sizes[s]);
        for (int round = 0; round < 2; round++) {
            long allowed = 0;
            for (int i = 0; i < 100200; i++) {
                allowed += !sa_throttle_hit(shared, 99, &rate);
            }
            assert_int_equal(allowed, rate.count);
            advance(rate.period_ms + 1000);
        }
        munmap(shared, sizes[s]);
    }
}

/* One key alone may ask for more than the smallest segment holds: refused, not let through. */
static void test_T178_full_is_refused(void **state)
{
    sa_shared_t *shared = segment(MIB);
    sa_rate_t rate = {100000, 1000 * 1000};
    long allowed = 0;
    int refused = 0;

    while (allowed < rate.count && !refused) {
        refused = sa_throttle_hit(shared, 99, &rate) > 0;
        allowed += !refused;
    }
    assert_true(refused && allowed > 10000);
    assert_true(sa_throttle_hit(shared, 99, &rate) > 0);
    advance(rate.period_ms + 1000);
    assert_int_equal(sa_throttle_hit(shared, 99, &rate), 0);
    munmap(shared, MIB);
}

static void test_T178_million_keys(void **state)
{
    sa_shared_t *shared = segment(8 * MIB);
    sa_rate_t rate = {2, 3600 * 1000};
    const unsigned char *key = sa_shared_key(shared);

    for (uint32_t i = 0; i < 1000000; i++) {
        apr_uint64_t h = ((apr_uint64_t)i * 0x9E3779B97F4A7C15ull) ^ key[0];
        assert_int_equal(sa_throttle_hit(shared, h, &rate), 0);
        if (i % 1000 == 0) {
            /* used again and again, so never the least recently used */
            apr_int64_t wait = sa_throttle_hit(shared, 1, &rate);
            assert_int_equal(wait > 0, i / 1000 >= 2);
        }
    }
    munmap(shared, 8 * MIB);
}

static void test_T178_wall_clock_steps_change_nothing(void **state)
{
    static const int64_t steps[] = {-3600000, 3600000, 86400000ll * 365, -86400000ll * 365};
    sa_shared_t *shared = segment(MIB);
    sa_rate_t rate = {1, 60000};
    unsigned char id[32] = {9};

    assert_int_equal(sa_throttle_hit(shared, 5, &rate), 0);
    assert_int_equal(sa_spend(shared, id, 60000), SA_SPENT_FIRST);
    assert_int_equal(sa_document_put(shared, "d", "t", 1, 1000), APR_SUCCESS);
    for (size_t i = 0; i < COUNT(steps); i++) {
        sa_document_t doc;
        apr_time_t before = apr_time_now();
        wall_offset_ms += steps[i];
        assert_true((apr_time_now() < before) == (steps[i] < 0));
        assert_int_equal(sa_throttle_hit(shared, 5, &rate), 60000);
        assert_int_equal(sa_spend(shared, id, 60000), SA_SPENT_AGAIN);
        assert_int_equal(sa_document_get(shared, pool, "d", 0, &doc), APR_SUCCESS);
        assert_int_equal(doc.age_ms, 0);
    }
    wall_offset_ms = 0;
    munmap(shared, MIB);
}

/* --- spent --- */

static void id_of(unsigned char id[32], uint32_t n)
{
    memset(id, 0, 32);
    memcpy(id + 28, &n, sizeof(n));
}

static void spend_all(sa_shared_t *shared, int n)
{
    for (uint32_t i = 0; i < 3000; i++) {
        unsigned char id[32];
        uint32_t which = n % 2 ? i : 2999 - i;
        id_of(id, which);
        switch (sa_spend(shared, id, 3600 * 1000)) {
        case SA_SPENT_FIRST:
            __atomic_add_fetch(&board->first[which], 1, __ATOMIC_RELAXED);
            break;
        case SA_SPENT_AGAIN:
            break;
        case SA_SPENT_FULL:
            __atomic_add_fetch(&board->wrong, 1, __ATOMIC_RELAXED);
        }
    }
}

static void test_T2_spent_once_over_processes(void **state)
{
    sa_shared_t *shared = segment(4 * MIB);

    in_processes(16, spend_all, shared);
    assert_int_equal(board->wrong, 0);
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(board->first[i], 1);
    }
    munmap(shared, 4 * MIB);
}

static void test_T2_spent_until_it_expires(void **state)
{
    sa_shared_t *shared = segment(MIB);
    unsigned char a[32] = {1}, b[32] = {2};

    assert_int_equal(sa_spend(shared, a, 300000), SA_SPENT_FIRST);
    assert_int_equal(sa_spend(shared, b, 600000), SA_SPENT_FIRST);
    advance(290000);
    assert_int_equal(sa_spend(shared, a, 300000), SA_SPENT_AGAIN);
    advance(11000);
    assert_int_equal(sa_spend(shared, b, 1), SA_SPENT_AGAIN);
    assert_int_equal(sa_spend(shared, a, 300000), SA_SPENT_FIRST);
    assert_int_equal(sa_spend(shared, a, 300000), SA_SPENT_AGAIN);
    munmap(shared, MIB);
}

static void test_T2_full_never_forgets(void **state)
{
    sa_shared_t *shared = segment(MIB);
    unsigned char id[32];
    uint32_t taken[100000 / 32 + 1] = {0};
    int first = 0, full = 0;

    for (uint32_t i = 0; i < 100000; i++) {
        id_of(id, i);
        sa_spent_t answer = sa_spend(shared, id, 300000);
        assert_int_not_equal(answer, SA_SPENT_AGAIN);
        taken[i / 32] |= answer == SA_SPENT_FIRST ? 1u << i % 32 : 0;
        first += answer == SA_SPENT_FIRST;
        full += answer == SA_SPENT_FULL;
    }
    assert_true(first > 3000 && full > 0);
    for (uint32_t i = 0; i < 100000; i++) {
        id_of(id, i);
        if (taken[i / 32] & 1u << i % 32) {
            assert_int_equal(sa_spend(shared, id, 300000), SA_SPENT_AGAIN);
        }
    }
    advance(301000);
    for (uint32_t i = 0; i < 3000; i++) {
        id_of(id, i + 500000);
        assert_int_equal(sa_spend(shared, id, 300000), SA_SPENT_FIRST);
    }
    munmap(shared, MIB);
}

/* --- documents --- */

static void test_documents(void **state)
{
    sa_shared_t *shared = segment(MIB);
    sa_document_t doc;
    char *large = apr_palloc(pool, SA_DOCUMENT_MAX + 1);

    assert_int_equal(sa_document_get(shared, pool, "u", 0, &doc), APR_SUCCESS);
    assert_null(doc.text);
    assert_int_equal(doc.generation, 0);
    assert_int_equal(sa_document_put(shared, "u", "one", 3, 5000), APR_SUCCESS);
    assert_int_equal(sa_document_get(shared, pool, "u", 0, &doc), APR_SUCCESS);
    assert_string_equal(doc.text, "one");
    assert_int_equal(doc.len, 3);
    assert_int_equal(doc.ttl_ms, 5000);
    apr_uint64_t first = doc.generation;
    advance(7000);
    assert_int_equal(sa_document_get(shared, pool, "u", first, &doc), APR_SUCCESS);
    assert_null(doc.text);
    assert_int_equal(doc.generation, first);
    assert_int_equal(doc.age_ms, 7000);
    assert_int_equal(sa_document_put(shared, "u", "two", 3, 5000), APR_SUCCESS);
    assert_int_equal(sa_document_get(shared, pool, "u", first, &doc), APR_SUCCESS);
    assert_string_equal(doc.text, "two");
    assert_true(doc.generation > first);
    memset(large, 'x', SA_DOCUMENT_MAX + 1);
    assert_int_equal(sa_document_put(shared, "u", large, SA_DOCUMENT_MAX + 1, 1), APR_ENOSPC);
    assert_int_equal(sa_document_get(shared, pool, "u", 0, &doc), APR_SUCCESS);
    assert_string_equal(doc.text, "two");
    assert_int_equal(sa_document_put(shared, "u", large, SA_DOCUMENT_MAX, 1), APR_SUCCESS);
    assert_int_equal(sa_document_get(shared, pool, "u", 0, &doc), APR_SUCCESS);
    assert_int_equal(doc.len, SA_DOCUMENT_MAX);
    assert_memory_equal(doc.text, large, SA_DOCUMENT_MAX);
    munmap(shared, MIB);
}

static void test_T203_failed_fetch_keeps_the_text(void **state)
{
    sa_shared_t *shared = segment(MIB);
    sa_document_t doc;

    assert_int_equal(sa_document_claim(shared, "u", 1000), 1);
    assert_int_equal(sa_document_put(shared, "u", "good", 4, 5000), APR_SUCCESS);
    advance(2000);
    assert_int_equal(sa_document_claim(shared, "u", 1000), 1);
    assert_int_equal(sa_document_put(shared, "u", NULL, 0, 0), APR_SUCCESS);
    assert_int_equal(sa_document_get(shared, pool, "u", 0, &doc), APR_SUCCESS);
    assert_string_equal(doc.text, "good");
    assert_int_equal(sa_document_claim(shared, "u", 1000), 0);
    advance(2000);
    assert_int_equal(sa_document_claim(shared, "u", 1000), 1);
    munmap(shared, MIB);
}

static void claim_often(sa_shared_t *shared, int n)
{
    for (int i = 0; i < 1000; i++) {
        if (sa_document_claim(shared, "https://idp.example.test/jwks", 60000)) {
            __atomic_add_fetch(&board->allowed, 1, __ATOMIC_RELAXED);
        }
    }
}

static void test_T201_T205_one_fetch_over_processes(void **state)
{
    sa_shared_t *shared = segment(4 * MIB);
    const char *name = "https://idp.example.test/jwks";

    in_processes(16, claim_often, shared);
    assert_int_equal(board->allowed, 1);
    assert_int_equal(sa_document_fetches(shared), 1);
    assert_int_equal(sa_document_put(shared, name, "{}", 2, 1000), APR_SUCCESS);
    in_processes(16, claim_often, shared);      /* within the interval */
    assert_int_equal(board->allowed, 1);
    advance(61000);
    in_processes(16, claim_often, shared);
    assert_int_equal(board->allowed, 2);
    assert_int_equal(sa_document_fetches(shared), 2);
    munmap(shared, 4 * MIB);
}

static void test_T205_dead_fetch(void **state)
{
    sa_shared_t *shared = segment(MIB);

    assert_int_equal(sa_document_claim(shared, "u", 0), 1);
    advance(29000);
    assert_int_equal(sa_document_claim(shared, "u", 0), 0);
    advance(2000);
    assert_int_equal(sa_document_claim(shared, "u", 0), 1);
    assert_int_equal(sa_document_put(shared, "u", "x", 1, 0), APR_SUCCESS);
    assert_int_equal(sa_document_claim(shared, "u", 0), 1);
    munmap(shared, MIB);
}

/* A key that changes right after the first fetch is found at once, but only once. */
static void test_T201_T202_first_renewal(void **state)
{
    sa_shared_t *shared = segment(MIB);

    assert_int_equal(sa_document_claim(shared, "u", 60000), 1);
    assert_int_equal(sa_document_claim_renewal(shared, "u", 60000), 0);     /* under way */
    assert_int_equal(sa_document_put(shared, "u", "one", 3, 1000), APR_SUCCESS);
    assert_int_equal(sa_document_claim(shared, "u", 60000), 0);
    assert_int_equal(sa_document_claim_renewal(shared, "u", 60000), 1);
    assert_int_equal(sa_document_claim_renewal(shared, "u", 60000), 0);
    assert_int_equal(sa_document_put(shared, "u", "two", 3, 1000), APR_SUCCESS);
    assert_int_equal(sa_document_claim_renewal(shared, "u", 60000), 0);
    advance(60000);
    assert_int_equal(sa_document_claim_renewal(shared, "u", 60000), 1);
    munmap(shared, MIB);
}

static void test_document_slots(void **state)
{
    sa_shared_t *shared = segment(4 * MIB);
    sa_document_t doc;
    int slots = 0;
    char *large = apr_palloc(pool, SA_DOCUMENT_MAX);

    while (slots < 1000) {
        memset(large, 'a' + slots % 26, SA_DOCUMENT_MAX);
        if (sa_document_put(shared, apr_itoa(pool, slots), large, SA_DOCUMENT_MAX, 1)) {
            break;
        }
        slots++;
    }
    assert_in_range(slots, 32, 64);
    for (int i = 0; i < slots; i++) {
        assert_int_equal(sa_document_get(shared, pool, apr_itoa(pool, i), 0, &doc), APR_SUCCESS);
        assert_int_equal(doc.len, SA_DOCUMENT_MAX);
        for (size_t k = 0; k < doc.len; k++) {
            assert_int_equal(doc.text[k], 'a' + i % 26);
        }
    }
    assert_int_equal(sa_document_get(shared, pool, "more", 0, &doc), APR_ENOSPC);
    assert_int_equal(sa_document_claim(shared, "more", 0), 0);
    advance(3601 * 1000);
    assert_int_equal(sa_document_get(shared, pool, "0", 0, &doc), APR_SUCCESS);
    assert_int_equal(sa_document_claim(shared, "more", 0), 1);
    assert_int_equal(sa_document_put(shared, "more", "x", 1, 1), APR_SUCCESS);
    assert_int_equal(sa_document_get(shared, pool, "more", 0, &doc), APR_SUCCESS);
    assert_string_equal(doc.text, "x");
    assert_int_equal(sa_document_get(shared, pool, "0", 0, &doc), APR_SUCCESS);
    assert_int_equal(doc.len, SA_DOCUMENT_MAX);
    munmap(shared, 4 * MIB);
}

/* --- deaths --- */

static const sa_rate_t mortal_rate = {30000, 3600 * 1000};
enum { MORTAL_IDS = 20000, KILLS = 250 };

/* Every text ever stored is one letter, as long as the letter says. */
static int text_is_whole(const sa_document_t *doc)
{
    if (!doc->text) {
        return 1;
    }
    for (size_t i = 0; i < doc->len; i++) {
        if (doc->text[i] != doc->text[0]) {
            return 0;
        }
    }
    return doc->len == (size_t)(doc->text[0] - 'a' + 1) * 2000;
}

static void live_until_killed(sa_shared_t *shared, int n)
{
    static char text[26 * 2000];
    uint64_t seed = (uint64_t)n * 2654435761u + 1;

    for (;;) {
        sa_rate_t other = {40, 2};
        unsigned char id[32];
        uint32_t which = (uint32_t)(scramble(&seed) % MORTAL_IDS);

        if (!sa_throttle_hit(shared, 42, &mortal_rate)) {
            __atomic_add_fetch(&board->allowed, 1, __ATOMIC_RELAXED);
        }
        for (int i = 0; i < 20; i++) {
            sa_throttle_hit(shared, 1000 + scramble(&seed) % 500, &other);
            sa_throttle_hit(shared, scramble(&seed), &other);
        }
        id_of(id, which);
        if (sa_spend(shared, id, 3600 * 1000) == SA_SPENT_FIRST) {
            __atomic_add_fetch(&board->first[which], 1, __ATOMIC_RELAXED);
        }
        id_of(id, 1000000 + (uint32_t)(scramble(&seed) % 1000));
        sa_spend(shared, id, 2);
        if (scramble(&seed) % 16 == 0) {
            char letter = (char)('a' + scramble(&seed) % 26);
            apr_size_t len = (apr_size_t)(letter - 'a' + 1) * 2000;
            sa_document_t doc;
            apr_pool_t *p;
            memset(text, letter, len);
            sa_document_put(shared, scramble(&seed) % 2 ? "one" : "two", text, len, 1000);
            apr_pool_create(&p, NULL);
            if (sa_document_get(shared, p, "one", 0, &doc) != APR_SUCCESS || !text_is_whole(&doc)) {
                __atomic_add_fetch(&board->wrong, 1, __ATOMIC_RELAXED);
            }
            apr_pool_destroy(p);
        }
    }
}

static pid_t start_mortal(sa_shared_t *shared, int n)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        live_until_killed(shared, n);
    }
    return pid;
}

static void assert_nothing_lost(sa_shared_t *shared)
{
    sa_document_t doc;
    unsigned char id[32];
    long granted = board->allowed;

    /* A grant whose owner died before it could say so is counted by nobody. */
    assert_true(granted <= mortal_rate.count);
    while (!sa_throttle_hit(shared, 42, &mortal_rate)) {
        granted++;
    }
    assert_in_range(granted, mortal_rate.count - KILLS, mortal_rate.count);
    for (uint32_t i = 0; i < MORTAL_IDS; i++) {
        assert_true(board->first[i] <= 1);
        if (board->first[i]) {
            id_of(id, i);
            assert_int_equal(sa_spend(shared, id, 3600 * 1000), SA_SPENT_AGAIN);
        }
    }
    assert_int_equal(sa_document_get(shared, pool, "one", 0, &doc), APR_SUCCESS);
    assert_true(doc.text && text_is_whole(&doc));
    assert_int_equal(board->wrong, 0);
}

/* Children are killed at random moments, also inside; others go on at once. The
 * count of mended locks shows that some did die holding one. */
static void test_T222_killed_children(void **state)
{
    sa_shared_t *shared = segment(4 * MIB);
    pid_t pids[3];
    uint64_t seed = 4242;

    steady_runs = 1;
    for (int i = 0; i < 3; i++) {
        pids[i] = start_mortal(shared, i);
    }
    for (int i = 0; i < KILLS; i++) {
        usleep((useconds_t)(500 + scramble(&seed) % 5000));
        assert_int_equal(kill(pids[i % 3], SIGKILL), 0);
        assert_int_equal(waitpid(pids[i % 3], NULL, 0), pids[i % 3]);
        pids[i % 3] = start_mortal(shared, i + 3);
    }
    for (int i = 0; i < 3; i++) {
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }
    print_message("%ld locks mended, %ld events granted\n", board->mended, board->allowed);
    assert_true(board->mended > 0);
    assert_nothing_lost(shared);
    steady_runs = 0;
    munmap(shared, 4 * MIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segment_sizes),
        cmocka_unit_test(test_other_layouts_are_not_compatible),
        cmocka_unit_test(test_rate_parse),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_T175_refusals_do_not_prolong),
        cmocka_unit_test(test_window_against_model),
        cmocka_unit_test(test_T172_T173_exact_over_processes),
        cmocka_unit_test(test_highest_rate_fits),
        cmocka_unit_test(test_T178_full_is_refused),
        cmocka_unit_test(test_T178_million_keys),
        cmocka_unit_test(test_T178_wall_clock_steps_change_nothing),
        cmocka_unit_test(test_T2_spent_once_over_processes),
        cmocka_unit_test(test_T2_spent_until_it_expires),
        cmocka_unit_test(test_T2_full_never_forgets),
        cmocka_unit_test(test_documents),
        cmocka_unit_test(test_T203_failed_fetch_keeps_the_text),
        cmocka_unit_test(test_T201_T205_one_fetch_over_processes),
        cmocka_unit_test(test_T205_dead_fetch),
        cmocka_unit_test(test_T201_T202_first_renewal),
        cmocka_unit_test(test_document_slots),
        cmocka_unit_test(test_T222_killed_children),
    };

    apr_initialize();
    if (sa_crypto_init() != APR_SUCCESS) {
        return 1;
    }
    return cmocka_run_group_tests(tests, setup, teardown);
}
