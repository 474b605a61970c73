/* The shared segment after a death at any instruction: a child is stepped through one
 * operation; whenever an instruction changed the segment, a copy of it, as a death
 * at that instruction would leave it, is examined. */
#include "vectors.h"

#include "core/crypto.h"
#include "core/shared.h"

#include <apr_general.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define MIB (1024 * 1024)
#define HOUR (3600 * 1000)

static apr_pool_t *pool;
static int64_t steady_offset_ms;

/* What the stepped child says about itself. */
typedef struct {
    int inside;                 /* 1 = begun, 2 = ended */
    int done;                   /* answers of the operation */
    size_t held;                /* offset of the mutex it holds, 0 = none */
} report_t;

static report_t *report;
static char *base;              /* of the segment in use */
static size_t dead_lock;        /* offset of the mutex whose holder is dead, 0 = none */
static int mended;

/* --- clock and locks, in place of the C library's: one process at a time is at work --- */

int clock_gettime(clockid_t id, struct timespec *t)
{
    int rv = (int)syscall(SYS_clock_gettime, id, t);
    if (rv == 0 && (id == CLOCK_BOOTTIME || id == CLOCK_MONOTONIC)) {
        t->tv_sec += steady_offset_ms / 1000;
    }
    return rv;
}

static size_t offset_of(const pthread_mutex_t *mutex)
{
    size_t offset = (size_t)((const char *)mutex - base);
    return base && (const char *)mutex > base && offset < MIB ? offset : 0;
}

int pthread_mutex_lock(pthread_mutex_t *mutex)
{
    size_t offset = offset_of(mutex);
    if (offset && offset == dead_lock) {
        return EOWNERDEAD;
    }
    if (offset) {
        __atomic_store_n(&report->held, offset, __ATOMIC_SEQ_CST);
    }
    return 0;
}

int pthread_mutex_consistent(pthread_mutex_t *mutex)
{
    mended += offset_of(mutex) == dead_lock;
    dead_lock = 0;
    return 0;
}

int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    if (offset_of(mutex)) {
        __atomic_store_n(&report->held, 0, __ATOMIC_SEQ_CST);
    }
    return 0;
}

/* --- stepping --- */

typedef struct {
    void (*prepare)(sa_shared_t *shared);
    void (*operate)(sa_shared_t *shared);
    void (*examine)(sa_shared_t *shared);
    int every;                  /* examine each state, each second, … */
    long limit;                 /* steps; 0 = to the end */
} scene_t;

static int setup(void **state)
{
    apr_pool_create(&pool, NULL);
    report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                  0);
    return report == MAP_FAILED ? -1 : 0;
}

static int teardown(void **state)
{
    apr_pool_destroy(pool);
    return munmap(report, sizeof(*report));
}

static pid_t start(const scene_t *scene, sa_shared_t *shared)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid) {
        return pid;
    }
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL)) {
        _exit(77);
    }
    raise(SIGSTOP);
    __atomic_store_n(&report->inside, 1, __ATOMIC_RELEASE);
    scene->operate(shared);
    __atomic_store_n(&report->inside, 2, __ATOMIC_RELEASE);
    for (;;) {
        pause();
    }
}

/* A dead child's report and a copy of its segment, at another address, are examined. */
static void examine(const scene_t *scene, const char *state)
{
    char *segment = base, *copy = NULL;
    size_t held = report->held;

    assert_int_equal(posix_memalign((void **)&copy, 4096, MIB), 0);
    memcpy(copy, state, MIB);
    base = copy;
    dead_lock = held;
    void *shared = copy;
    scene->examine(shared);
    base = segment;
    dead_lock = 0;
    report->held = held;
    free(copy);
}

static int step(pid_t pid)
{
    int status;
    return !ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) && waitpid(pid, &status, 0) == pid
        && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP;
}

static void at_every_step(const scene_t *scene)
{
    sa_shared_t *shared;
    long states = 0, steps = 0;
    int status, last_done = 0;
    char *last = malloc(MIB);

    assert_non_null(last);
    memset(report, 0, sizeof(*report));
    steady_offset_ms = 0;
    mended = 0;
    assert_int_equal(sa_shared_create(&shared, MIB), APR_SUCCESS);
    base = (char *)shared;
    scene->prepare(shared);
    memcpy(last, shared, MIB);
    pid_t pid = start(scene, shared);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFSTOPPED(status)) {
        print_message("note: no ptrace here, nothing counted\n");
        skip();
    }
    while (report->inside < 2 && (!scene->limit || steps < scene->limit) && step(pid)) {
        steps += report->inside;
        /* Only inside a lock and at its end can the segment change. */
        if (!report->held || (!memcmp(last, shared, MIB) && last_done == report->done)) {
            continue;
        }
        memcpy(last, shared, MIB);
        last_done = report->done;
        if (states++ % scene->every == 0) {
            examine(scene, last);
        }
    }
    assert_true(report->inside == 2 || (scene->limit && steps >= scene->limit));
    examine(scene, (char *)shared);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    print_message("%ld states, %d locks mended\n", states, mended);
    assert_true(states >= 10 && mended >= 10);
    base = NULL;
    munmap(shared, MIB);
    free(last);
}

/* --- throttle --- */

static const sa_rate_t once = {1, HOUR}, rate = {30, HOUR};
enum { HOT = 7, FIRST_KEY = 100, FILL = 3000, NEW_KEY = 900000 };

static long how_many_left(sa_shared_t *shared, apr_uint64_t key)
{
    long n = 0;
    while (!sa_throttle_hit(shared, key, &rate)) {
        n++;
    }
    return n;
}

/* The newest `count` of the keys 100, 101, … are all still known. */
static void keys_are_known(sa_shared_t *shared, int last, int count)
{
    for (int i = last - count + 1; i <= last; i++) {
        assert_true(sa_throttle_peek(shared, (apr_uint64_t)i, &once) > 0);
    }
}

/* No cell got lost: as many keys as before fit in, and work. */
static void capacity_is_kept(sa_shared_t *shared)
{
    enum { FITS = 1500 };
    for (int i = 0; i < FITS; i++) {
        assert_int_equal(sa_throttle_hit(shared, (apr_uint64_t)(NEW_KEY + 10 + i), &once), 0);
    }
    for (int i = 0; i < FITS; i++) {
        assert_true(sa_throttle_hit(shared, (apr_uint64_t)(NEW_KEY + 10 + i), &once) > 0);
    }
}

/* A full shard, in which one key's log cell is full too. */
static void prepare_full(sa_shared_t *shared)
{
    for (int i = 0; i < FILL; i++) {
        sa_throttle_hit(shared, (apr_uint64_t)(FIRST_KEY + i), &once);
        steady_offset_ms += i % 100 ? 0 : 1000;     /* so that "oldest" is plain */
    }
    for (int i = 0; i < 14; i++) {
        sa_throttle_hit(shared, HOT, &rate);
    }
}

/* The 15th event takes a cell, and with it another key's place; so does a new key. */
static void operate_evict(sa_shared_t *shared)
{
    report->done += !sa_throttle_hit(shared, HOT, &rate);
    report->done += !sa_throttle_hit(shared, NEW_KEY, &rate);
}

static void examine_evict(sa_shared_t *shared)
{
    long left = how_many_left(shared, HOT), left_new = how_many_left(shared, NEW_KEY);

    /* An event may count that nobody was told of, never the other way round. */
    assert_in_range(left, 15, report->done >= 1 ? 15 : 16);
    assert_in_range(left_new, 29, report->done >= 2 ? 29 : 30);
    keys_are_known(shared, FIRST_KEY + FILL - 1, 1500);
    capacity_is_kept(shared);
}

static void test_T222_T178_killed_while_evicting(void **state)
{
    static const scene_t scene = {prepare_full, operate_evict, examine_evict, 1, 0};
    at_every_step(&scene);
}

/* 28 old events in two cells, 5 young ones. */
static void prepare_old(sa_shared_t *shared)
{
    for (int i = 0; i < 500; i++) {
        sa_throttle_hit(shared, (apr_uint64_t)(FIRST_KEY + i), &once);
    }
    for (int i = 0; i < 20; i++) {
        sa_throttle_hit(shared, HOT, &rate);
    }
    steady_offset_ms += 1800 * 1000;
    for (int i = 0; i < 5; i++) {
        sa_throttle_hit(shared, HOT, &rate);
    }
    for (int i = 500; i < 1000; i++) {
        sa_throttle_hit(shared, (apr_uint64_t)(FIRST_KEY + i), &once);
    }
    steady_offset_ms += 1801 * 1000;
}

static void operate_trim(sa_shared_t *shared)
{
    report->done += !sa_throttle_hit(shared, HOT, &rate);
    report->done += !sa_throttle_hit(shared, FIRST_KEY, &once);     /* its one event is old */
}

static void examine_trim(sa_shared_t *shared)
{
    assert_in_range(how_many_left(shared, HOT), 24, report->done >= 1 ? 24 : 25);
    if (report->done >= 2) {
        assert_true(sa_throttle_hit(shared, FIRST_KEY, &once) > 0);
    }
    keys_are_known(shared, FIRST_KEY + 999, 500);
    capacity_is_kept(shared);
}

static void test_T222_killed_while_trimming(void **state)
{
    static const scene_t scene = {prepare_old, operate_trim, examine_trim, 1, 0};
    at_every_step(&scene);
}

/* 29 events in three cells: the last cell goes with its one event. */
static void prepare_undo(sa_shared_t *shared)
{
    for (int i = 0; i < 500; i++) {
        sa_throttle_hit(shared, (apr_uint64_t)(FIRST_KEY + i), &once);
    }
    for (int i = 0; i < 29; i++) {
        sa_throttle_hit(shared, HOT, &rate);
    }
}

static void operate_undo(sa_shared_t *shared)
{
    sa_throttle_undo(shared, HOT);
    report->done = 1;
    sa_throttle_undo(shared, HOT);
    sa_throttle_undo(shared, FIRST_KEY + 499);
    report->done = 3;
    report->done += !sa_throttle_hit(shared, HOT, &rate);
    report->done += !sa_throttle_hit(shared, HOT, &rate);
}

static void examine_undo(sa_shared_t *shared)
{
    static const long least[] = { 1, 2, 2, 2, 1, 1 }, most[] = { 2, 3, 3, 3, 2, 1 };
    long left = how_many_left(shared, HOT);

    assert_in_range(left, least[report->done], most[report->done]);
    if (report->done >= 3) {
        assert_int_equal(sa_throttle_peek(shared, FIRST_KEY + 499, &once), 0);
    }
    keys_are_known(shared, FIRST_KEY + 498, 499);
    capacity_is_kept(shared);
}

static void test_T222_killed_while_undoing(void **state)
{
    static const scene_t scene = {prepare_undo, operate_undo, examine_undo, 1, 0};
    at_every_step(&scene);
}

/* --- spent --- */

enum { LIVE = 2000, OLD = 300 };
enum { SWEEPER = 500001 };     /* old nodes in its own bucket would save it the sweep */

static void id_of(unsigned char id[32], uint32_t n)
{
    memset(id, 0, 32);
    memcpy(id + 5, &n, sizeof(n));
}

static sa_spent_t spend(sa_shared_t *shared, uint32_t n, apr_int64_t ttl)
{
    unsigned char id[32];
    id_of(id, n);
    return sa_spend(shared, id, ttl);
}

static void prepare_spent(sa_shared_t *shared)
{
    for (uint32_t i = 0; i < LIVE; i++) {
        spend(shared, i, 2 * HOUR);
    }
    for (uint32_t i = 0; i < OLD; i++) {
        spend(shared, 100000 + i, 1000);
    }
    steady_offset_ms += 2000;
}

static void operate_spent(sa_shared_t *shared)
{
    report->done += spend(shared, 500000, 2 * HOUR) == SA_SPENT_FIRST;
    report->done += spend(shared, 100000, 2 * HOUR) == SA_SPENT_FIRST;  /* once more */
}

static void examine_spent(sa_shared_t *shared)
{
    static const uint32_t ids[] = {500000, 100000};
    int fits = 0;

    for (int i = 0; i < 2; i++) {
        if (report->done > i) {
            assert_int_equal(spend(shared, ids[i], 2 * HOUR), SA_SPENT_AGAIN);
        }
        assert_int_not_equal(spend(shared, ids[i], 2 * HOUR), SA_SPENT_FULL);
        assert_int_equal(spend(shared, ids[i], 2 * HOUR), SA_SPENT_AGAIN);
    }
    for (uint32_t i = 0; i < LIVE; i++) {
        assert_int_equal(spend(shared, i, 2 * HOUR), SA_SPENT_AGAIN);
    }
    while (fits < 100000 && spend(shared, 1000000 + (uint32_t)fits, 2 * HOUR) == SA_SPENT_FIRST) {
        fits++;
    }
    assert_in_range(fits, 2000, 99999);         /* no node got lost, and it does end */
}

static void test_T222_T2_killed_while_spending(void **state)
{
    static const scene_t scene = {prepare_spent, operate_spent, examine_spent, 1, 0};
    at_every_step(&scene);
}

#define FEW_LIVE (LIVE / 4)     /* they must leave room for what is swept */

/* All shards full, two nodes of three old: the operation sweeps a whole shard. */
static void prepare_sweep(sa_shared_t *shared)
{
    for (uint32_t i = 0; i < FEW_LIVE; i++) {
        spend(shared, i, 2 * HOUR);
    }
    for (uint32_t i = 0; i < 20000; i++) {
        spend(shared, 200000 + i, 1000);
    }
    assert_int_equal(spend(shared, SWEEPER, 1000), SA_SPENT_FULL);
    steady_offset_ms += 2000;
}

static void operate_sweep(sa_shared_t *shared)
{
    report->done += spend(shared, SWEEPER, 2 * HOUR) == SA_SPENT_FIRST;
}

static void examine_sweep(sa_shared_t *shared)
{
    if (report->done) {
        assert_int_equal(spend(shared, SWEEPER, 2 * HOUR), SA_SPENT_AGAIN);
    }
    for (uint32_t i = 0; i < FEW_LIVE; i++) {
        assert_int_equal(spend(shared, i, 2 * HOUR), SA_SPENT_AGAIN);
    }
}

static void test_T222_T2_killed_while_sweeping(void **state)
{
    static const scene_t scene = {prepare_sweep, operate_sweep, examine_sweep, 1, 20000};
    at_every_step(&scene);
}

/* --- revocations --- */

enum { ENDED = 1500 };

static const char *sid_of(int n)
{
    static char sid[32];
    snprintf(sid, sizeof(sid), "sid-%d", n);
    return sid;
}

static void prepare_revocations(sa_shared_t *shared)
{
    for (int i = 0; i < ENDED; i++) {
        sa_revoke(shared, "db", sid_of(i), 2 * HOUR);
    }
    for (int i = 0; i < 1000; i++) {
        sa_revoke(shared, "db", sid_of(100000 + i), 1000);
    }
    sa_revocations_known(shared, "db", sa_revocations_moment());
    steady_offset_ms += 2000;
}

static const int ended[4] = {500000, 100000, 500001, 500002};    /* one of them had ended before */

static void operate_revocations(sa_shared_t *shared)
{
    for (int i = 0; i < 4; i++) {
        report->done += sa_revoke(shared, "db", sid_of(ended[i]), 2 * HOUR);
    }
    report->done += sa_revocations_known(shared, "db", sa_revocations_moment());
}

static void examine_revocations(sa_shared_t *shared)
{
    for (int i = 0; i < 4; i++) {
        if (report->done > i) {
            assert_int_equal(sa_revoked(shared, "db", sid_of(ended[i])), SA_REVOKED);
        }
    }
    if (report->done < 4) {
        assert_int_equal(sa_revoked(shared, "db", sid_of(600000)), SA_REVOKED_UNKNOWN);
    }
    for (int i = 0; i < ENDED; i++) {
        assert_int_equal(sa_revoked(shared, "db", sid_of(i)), SA_REVOKED);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(sa_revoke(shared, "db", sid_of(ended[i]), 2 * HOUR), 1);
        assert_int_equal(sa_revoked(shared, "db", sid_of(ended[i])), SA_REVOKED);
    }
    for (int i = 0; i < 800; i++) {             /* no slot got lost */
        assert_int_equal(sa_revoke(shared, "db", sid_of(700000 + i), 2 * HOUR), 1);
    }
    assert_int_equal(sa_revocations_known(shared, "db", sa_revocations_moment()), 1);
    assert_int_equal(sa_revoked(shared, "db", sid_of(600000)), SA_NOT_REVOKED);
}

static void test_T222_T127_killed_while_revoking(void **state)
{
    static const scene_t scene = {prepare_revocations, operate_revocations, examine_revocations, 1,
                                  0};
    at_every_step(&scene);
}

/* --- documents --- */

static char old_text[700], new_text[900];

static void prepare_document(sa_shared_t *shared)
{
    memset(old_text, 'o', sizeof(old_text));
    memset(new_text, 'n', sizeof(new_text));
    sa_document_put(shared, "other", "other", 5, HOUR);
    sa_document_put(shared, "u", old_text, sizeof(old_text), HOUR);
}

static void operate_document(sa_shared_t *shared)
{
    report->done += sa_document_put(shared, "u", new_text, sizeof(new_text), HOUR) == APR_SUCCESS;
    report->done += sa_document_claim(shared, "new", 1000);
}

static void examine_document(sa_shared_t *shared)
{
    sa_document_t doc;

    assert_int_equal(sa_document_get(shared, pool, "u", 0, &doc), APR_SUCCESS);
    assert_non_null(doc.text);
    if (doc.len == sizeof(old_text)) {
        assert_int_equal(report->done, 0);
        assert_memory_equal(doc.text, old_text, doc.len);
    }
    else {
        assert_int_equal(doc.len, sizeof(new_text));
        assert_memory_equal(doc.text, new_text, doc.len);
    }
    assert_int_equal(sa_document_get(shared, pool, "other", 0, &doc), APR_SUCCESS);
    assert_string_equal(doc.text, "other");
    assert_int_equal(sa_document_put(shared, "u", "last", 4, HOUR), APR_SUCCESS);
    assert_int_equal(sa_document_put(shared, "new", "first", 5, HOUR), APR_SUCCESS);
    assert_int_equal(sa_document_get(shared, pool, "u", 0, &doc), APR_SUCCESS);
    assert_string_equal(doc.text, "last");
    assert_int_equal(sa_document_get(shared, pool, "other", 0, &doc), APR_SUCCESS);
    assert_string_equal(doc.text, "other");
}

static void test_T222_T203_killed_while_storing(void **state)
{
    static const scene_t scene = {prepare_document, operate_document, examine_document, 1, 0};
    at_every_step(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_T222_T178_killed_while_evicting),
        cmocka_unit_test(test_T222_killed_while_trimming),
        cmocka_unit_test(test_T222_killed_while_undoing),
        cmocka_unit_test(test_T222_T2_killed_while_spending),
        cmocka_unit_test(test_T222_T2_killed_while_sweeping),
        cmocka_unit_test(test_T222_T127_killed_while_revoking),
        cmocka_unit_test(test_T222_T203_killed_while_storing),
    };

    apr_initialize();
    if (sa_crypto_init() != APR_SUCCESS) {
        return 1;
    }
    return cmocka_run_group_tests(tests, setup, teardown);
}
