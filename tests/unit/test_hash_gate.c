/* The gate before password hashing: exact over processes, bounded in time and number, and none the
 * worse for those who are killed inside. */
#include "vectors.h"

#include "core/crypto.h"
#include "core/hash_gate.h"

#include <apr_general.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define MIB (1024 * 1024)
#define PROCESSES 12

static apr_pool_t *pool;
static sa_shared_t *shared;

/* What all processes of a test see. */
typedef struct {
    int inside, most;           /* turns that are held */
    int entered, refused;
} board_t;

static board_t *board;

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

static sa_hash_gate_t *fresh_gate(int turns, int waiting, int per_process, int wait_ms)
{
    const sa_hash_limits_t limits = { turns, waiting, per_process, wait_ms };

    assert_int_equal(sa_shared_create(&shared, MIB), APR_SUCCESS);
    memset(board, 0, sizeof(*board));
    return sa_hash_gate_create(pool, shared, &limits);
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void come_and_go(sa_hash_gate_t *gate, int turns, int ms)
{
    sa_hash_stay_t stay;

    if (!sa_hash_gate_enter(gate, turns, &stay)) {
        __atomic_add_fetch(&board->refused, 1, __ATOMIC_SEQ_CST);
        return;
    }
    int inside = __atomic_add_fetch(&board->inside, turns, __ATOMIC_SEQ_CST);
    int most = __atomic_load_n(&board->most, __ATOMIC_SEQ_CST);
    while (inside > most && !__atomic_compare_exchange_n(&board->most, &most, inside, 0,
                                                         __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
    }
    apr_sleep(ms * 1000);
    __atomic_sub_fetch(&board->inside, turns, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&board->entered, 1, __ATOMIC_SEQ_CST);
    sa_hash_gate_leave(gate, &stay, 0);
}

/* A process that runs work(gate) and ends. */
static pid_t process(void (*work)(sa_hash_gate_t *), sa_hash_gate_t *gate)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (!pid) {
        work(gate);
        _exit(0);
    }
    return pid;
}

static void all_end(const pid_t *pids, int n)
{
    for (int i = 0; i < n; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
}

static void work_by_weight(sa_hash_gate_t *gate)
{
    for (int i = 0; i < 20; i++) {
        come_and_go(gate, 1 + i % 3, 1);
    }
}

static void test_T75_never_more_than_there_are_turns(void **state)
{
    sa_hash_gate_t *gate = fresh_gate(3, SA_HASH_QUEUE_MAX, 4, 60000);
    pid_t pids[PROCESSES];

    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = process(work_by_weight, gate);
    }
    all_end(pids, PROCESSES);
    assert_int_equal(board->entered, PROCESSES * 20);
    assert_int_equal(board->refused, 0);
    assert_int_equal(board->most, 3);
}

static void *work_in_thread(void *gate)
{
    for (int i = 0; i < 40; i++) {
        come_and_go(gate, 1, 1);
    }
    return NULL;
}

static void test_T75_threads_of_one_process(void **state)
{
    sa_hash_gate_t *gate = fresh_gate(2, SA_HASH_QUEUE_MAX, 8, 60000);
    pthread_t threads[8];

    for (int i = 0; i < 8; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, work_in_thread, gate), 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(board->entered, 8 * 40);
    assert_int_equal(board->most, 2);
}

static void work_once(sa_hash_gate_t *gate)
{
    come_and_go(gate, 1, 0);
}

/* Somebody stays inside: of six who come, two may wait, in vain, and four hear at once. */
static void test_T75_bounded_queue_and_time(void **state)
{
    sa_hash_gate_t *gate = fresh_gate(1, 2, 2, 6000);
    sa_hash_stay_t stay;

    assert_true(sa_hash_gate_enter(gate, 1, &stay));
    int64_t start = now_ms();
    for (int i = 0; i < 6; i++) {
        process(work_once, gate);
    }
    while (__atomic_load_n(&board->refused, __ATOMIC_SEQ_CST) < 4) {
        apr_sleep(1000);
    }
    assert_true(now_ms() - start < 5500);
    while (waitpid(-1, NULL, 0) > 0) {
    }
    assert_in_range(now_ms() - start, 5990, 20000);
    assert_int_equal(board->refused, 6);
    sa_hash_gate_leave(gate, &stay, 0);
    come_and_go(gate, 1, 0);
    assert_int_equal(board->entered, 1);
}

static void *enter_once(void *gate)
{
    come_and_go(gate, 1, 1500);
    return NULL;
}

/* Half of a child's threads, or what the caller says: the rest is for other requests. */
static void test_T75_a_process_has_its_share(void **state)
{
    sa_hash_gate_t *gate = fresh_gate(8, SA_HASH_QUEUE_MAX, 3, 5000);
    pthread_t threads[6];

    for (int i = 0; i < 6; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, enter_once, gate), 0);
    }
    for (int i = 0; i < 6; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(board->entered + board->refused, 6);
    assert_in_range(board->entered, 3, 5);      /* a late thread may find an early one gone */
    come_and_go(gate, 1, 0);
    come_and_go(gate, 1, 0);
    come_and_go(gate, 1, 0);
    come_and_go(gate, 1, 0);
    assert_int_equal(board->entered + board->refused, 10);
    assert_in_range(board->entered, 7, 9);
}

static void work_for_ever(sa_hash_gate_t *gate)
{
    come_and_go(gate, 2, 100000);
}

/* Two hold all turns, others stand in line, one of them as its head; all are killed. */
static void test_T222_T75_killed_inside(void **state)
{
    sa_hash_gate_t *gate = fresh_gate(4, 6, 2, 100000);
    pid_t pids[6];

    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 6; i++) {
            pids[i] = process(work_for_ever, gate);
        }
        while (__atomic_load_n(&board->inside, __ATOMIC_SEQ_CST) < 4) {
            apr_sleep(1000);
        }
        apr_sleep(50000);
        for (int i = 0; i < 6; i++) {
            kill(pids[i], SIGKILL);
            waitpid(pids[i], NULL, 0);
        }
        board->inside = 0;
        int64_t start = now_ms();
        for (int i = 0; i < 20; i++) {
            come_and_go(gate, 4, 0);
        }
        assert_int_equal(board->entered, 20 * (round + 1));
        assert_int_equal(board->refused, 0);
        assert_true(now_ms() - start < 50000);
    }
    /* Those who were killed in line took no place with them. */
    sa_hash_stay_t stay;
    assert_true(sa_hash_gate_enter(gate, 4, &stay));
    for (int i = 0; i < 6; i++) {
        pids[i] = process(work_once, gate);
    }
    apr_sleep(300000);
    assert_int_equal(board->refused, 0);
    sa_hash_gate_leave(gate, &stay, 0);
    all_end(pids, 6);
    assert_int_equal(board->refused, 0);
}

/* Waiters are woken when the holder dies, not only when it leaves. */
static void test_T222_T75_a_death_lets_the_next_in(void **state)
{
    sa_hash_gate_t *gate = fresh_gate(2, 4, 1, 30000);
    pid_t holder = process(work_for_ever, gate);

    while (__atomic_load_n(&board->inside, __ATOMIC_SEQ_CST) < 2) {
        apr_sleep(1000);
    }
    pid_t waiter = process(work_once, gate);
    apr_sleep(100000);
    assert_int_equal(board->entered, 0);
    kill(holder, SIGKILL);
    waitpid(holder, NULL, 0);
    int64_t start = now_ms();
    all_end(&waiter, 1);
    assert_int_equal(board->entered, 1);
    assert_true(now_ms() - start < 20000);
}

static int64_t stay_ms(sa_hash_gate_t *gate, int outcome, int busy_ms)
{
    sa_hash_stay_t stay;
    int64_t start = now_ms();

    assert_true(sa_hash_gate_enter(gate, 1, &stay));
    apr_sleep(busy_ms * 1000);
    sa_hash_gate_leave(gate, &stay, outcome);
    return now_ms() - start;
}

/* As long as hashes of other costs are about, all refusals take as long as theirs. */
static void test_T181_refusals_keep_one_pace(void **state)
{
    sa_hash_gate_t *gate = fresh_gate(1, 2, 1, 600);

    assert_true(stay_ms(gate, SA_HASH_REFUSED, 0) < 850);
    stay_ms(gate, SA_HASH_SLOW, 900);
    assert_in_range(stay_ms(gate, SA_HASH_REFUSED, 0), 895, 5000);
    assert_in_range(stay_ms(gate, SA_HASH_REFUSED | SA_HASH_SLOW, 20), 880, 5000);
    assert_true(stay_ms(gate, 0, 0) < 850);
    /* One that was slow by accident is forgotten. */
    for (int i = 0; i < 64; i++) {
        stay_ms(gate, SA_HASH_SLOW, 10);
    }
    assert_in_range(stay_ms(gate, SA_HASH_REFUSED, 0), 20, 850);
    stay_ms(gate, SA_HASH_SLOW, 900);
    /* The pause holds no turn. */
    pid_t other = fork();
    assert_true(other >= 0);
    if (!other) {
        stay_ms(gate, SA_HASH_REFUSED, 0);
        _exit(0);
    }
    apr_sleep(30000);
    come_and_go(gate, 1, 0);
    all_end(&other, 1);
    assert_int_equal(board->entered, 1);
}

static void test_without_a_gate(void **state)
{
    sa_hash_stay_t stay;

    assert_true(sa_hash_gate_enter(NULL, 3, &stay));
    sa_hash_gate_leave(NULL, &stay, SA_HASH_REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_T75_never_more_than_there_are_turns),
        cmocka_unit_test(test_T75_threads_of_one_process),
        cmocka_unit_test(test_T75_bounded_queue_and_time),
        cmocka_unit_test(test_T75_a_process_has_its_share),
        cmocka_unit_test(test_T222_T75_killed_inside),
        cmocka_unit_test(test_T222_T75_a_death_lets_the_next_in),
        cmocka_unit_test(test_T181_refusals_keep_one_pace),
        cmocka_unit_test(test_without_a_gate),
    };

    apr_initialize();
    if (sa_crypto_init() != APR_SUCCESS) {
        return 1;
    }
    return cmocka_run_group_tests(tests, setup, teardown);
}
