/* Ended sessions in shared memory: what was told is known to everybody, what is not known is said
 * to be unknown, and nothing that still counts is dropped. */
#include "vectors.h"

#include "core/crypto.h"
#include "core/shared.h"

#include <apr_general.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define MIB (1024 * 1024)
#define HOUR (3600 * 1000)
#define DB "pgsql|dbname=one"

static int64_t steady_ms = 5000000;     /* all threads read it */

/* Replaces the C library's for this program: time stands still but for advance(). */
int clock_gettime(clockid_t id, struct timespec *t)
{
    if (id == CLOCK_BOOTTIME || id == CLOCK_MONOTONIC) {
        int64_t ms = __atomic_load_n(&steady_ms, __ATOMIC_RELAXED);
        t->tv_sec = ms / 1000;
        t->tv_nsec = ms % 1000 * 1000000;
        return 0;
    }
    return (int)syscall(SYS_clock_gettime, id, t);
}

static void advance(int64_t ms)
{
    __atomic_add_fetch(&steady_ms, ms, __ATOMIC_RELAXED);
}

static sa_shared_t *segment(apr_size_t bytes)
{
    sa_shared_t *shared;
    assert_int_equal(sa_shared_create(&shared, bytes), APR_SUCCESS);
    return shared;
}

static void known(sa_shared_t *shared, const char *database)
{
    assert_int_equal(sa_revocations_known(shared, database, sa_revocations_moment()), 1);
}

static const char *sid(char buf[64], int thread, int n)
{
    snprintf(buf, 64, "%08x-0000-4000-8000-%012x", (unsigned)thread, (unsigned)n);
    return buf;
}

static void test_T157_unknown_until_told(void **state)
{
    sa_shared_t *shared = segment(MIB);

    assert_int_equal(sa_revoked(shared, DB, "a"), SA_REVOKED_UNKNOWN);
    assert_int_equal(sa_revoke(shared, DB, "a", HOUR), 1);
    assert_int_equal(sa_revoked(shared, DB, "a"), SA_REVOKED);
    assert_int_equal(sa_revoked(shared, DB, "b"), SA_REVOKED_UNKNOWN);
    known(shared, DB);
    assert_int_equal(sa_revoked(shared, DB, "a"), SA_REVOKED);
    assert_int_equal(sa_revoked(shared, DB, "b"), SA_NOT_REVOKED);
    assert_int_equal(sa_revoked(shared, "sqlite3|/two", "a"), SA_REVOKED_UNKNOWN);
    known(shared, "sqlite3|/two");
    assert_int_equal(sa_revoked(shared, "sqlite3|/two", "a"), SA_NOT_REVOKED);
    munmap(shared, MIB);
}

/* What was known a second ago is not known now; what ended has ended all the same. */
static void test_T127_T157_stale(void **state)
{
    sa_shared_t *shared = segment(MIB);
    apr_uint64_t moment = sa_revocations_moment();

    sa_revoke(shared, DB, "a", HOUR);
    advance(400);                               /* the database took so long */
    assert_int_equal(sa_revocations_known(shared, DB, moment), 1);
    assert_int_equal(sa_revoked(shared, DB, "b"), SA_NOT_REVOKED);
    advance(SA_REVOCATIONS_STALE_MS - 401);
    assert_int_equal(sa_revoked(shared, DB, "b"), SA_NOT_REVOKED);
    advance(1);
    assert_int_equal(sa_revoked(shared, DB, "b"), SA_REVOKED_UNKNOWN);
    assert_int_equal(sa_revoked(shared, DB, "a"), SA_REVOKED);
    known(shared, DB);
    assert_int_equal(sa_revocations_known(shared, DB, moment), 1);      /* a slower one of two */
    assert_int_equal(sa_revoked(shared, DB, "b"), SA_NOT_REVOKED);
    munmap(shared, MIB);
}

static void test_entries_expire(void **state)
{
    sa_shared_t *shared = segment(MIB);

    sa_revoke(shared, DB, "a", 10000);
    sa_revoke(shared, DB, "b", 20000);
    sa_revoke(shared, DB, "b", 10000);          /* never less than before */
    sa_revoke(shared, DB, "c", 10000);
    sa_revoke(shared, DB, "c", 20000);
    advance(9999);
    known(shared, DB);
    assert_int_equal(sa_revoked(shared, DB, "a"), SA_REVOKED);
    advance(1);
    assert_int_equal(sa_revoked(shared, DB, "a"), SA_NOT_REVOKED);
    assert_int_equal(sa_revoked(shared, DB, "b"), SA_REVOKED);
    assert_int_equal(sa_revoked(shared, DB, "c"), SA_REVOKED);
    sa_revoke(shared, DB, "a", 10000);
    assert_int_equal(sa_revoked(shared, DB, "a"), SA_REVOKED);
    munmap(shared, MIB);
}

static void test_T157_full_never_forgets(void **state)
{
    static unsigned char taken[20000];
    sa_shared_t *shared = segment(MIB);
    char buf[64];
    int n = 0, refused = 0;

    known(shared, DB);
    for (int i = 0; i < 20000; i++) {
        taken[i] = (unsigned char)sa_revoke(shared, DB, sid(buf, 1, i), HOUR);
        refused += !taken[i] && !refused ? i : 0;
        n += taken[i];
    }
    print_message("%d fit in, the first refusal came after %d\n", n, refused);
    assert_in_range(n, 3800, 4096);
    assert_in_range(refused, 2500, 4096);
    for (int i = 0; i < 20000; i++) {
        if (taken[i]) {
            assert_int_equal(sa_revoked(shared, DB, sid(buf, 1, i)), SA_REVOKED);
        }
    }
    advance(HOUR + 1);
    known(shared, DB);
    for (int i = 0; i < 2000; i++) {
        assert_int_equal(sa_revoked(shared, DB, sid(buf, 1, i)), SA_NOT_REVOKED);
        assert_int_equal(sa_revoke(shared, DB, sid(buf, 2, i), HOUR), 1);
        assert_int_equal(sa_revoked(shared, DB, sid(buf, 2, i)), SA_REVOKED);
    }
    munmap(shared, MIB);
}

static void test_default_size_holds(void **state)
{
    sa_shared_t *shared = segment(8 * MIB);
    char buf[64];

    for (int i = 0; i < 20000; i++) {
        assert_int_equal(sa_revoke(shared, DB, sid(buf, 1, i), HOUR), 1);
    }
    munmap(shared, 8 * MIB);
}

/* --- several at once --- */

typedef struct {
    sa_shared_t *shared;
    int n;                      /* of the writer, or of the process */
    int done;                   /* what the writer has told so far */
    long wrong;
} worker_t;

enum { WRITERS = 3, TOLD = 600 };

static worker_t writers[WRITERS];

/* Ids that count among ids that do not, so that slots are taken over all the time. */
static void *write_all(void *arg)
{
    worker_t *w = arg;
    char buf[64];

    for (int i = 0; i < TOLD; i++) {
        w->wrong += !sa_revoke(w->shared, DB, sid(buf, w->n, i), HOUR);
        __atomic_store_n(&w->done, i + 1, __ATOMIC_RELEASE);
        for (int k = 0; k < 20; k++) {
            sa_revoke(w->shared, DB, sid(buf, 100 + w->n, i * 20 + k), 1);
            advance(1);
        }
        w->wrong += !sa_revocations_known(w->shared, DB, sa_revocations_moment());
    }
    return NULL;
}

static void *read_all(void *arg)
{
    worker_t *r = arg;
    char buf[64];
    int all = 0;

    while (all < WRITERS * TOLD) {
        all = 0;
        for (int n = 0; n < WRITERS; n++) {
            int done = __atomic_load_n(&writers[n].done, __ATOMIC_ACQUIRE);
            for (int i = done > 50 ? done - 50 : 0; i < done; i++) {
                r->wrong += sa_revoked(r->shared, DB, sid(buf, n, i)) != SA_REVOKED;
            }
            r->wrong += sa_revoked(r->shared, DB, sid(buf, 200, n)) == SA_REVOKED;
            all += done;
        }
    }
    return NULL;
}

static void test_T127_read_while_written(void **state)
{
    sa_shared_t *shared = segment(MIB);
    pthread_t threads[WRITERS + 2];
    worker_t readers[2] = {{ .shared = shared }, { .shared = shared }};

    for (int n = 0; n < WRITERS; n++) {
        writers[n] = (worker_t) { .shared = shared, .n = n };
        assert_int_equal(pthread_create(&threads[n], NULL, write_all, &writers[n]), 0);
    }
    for (int n = 0; n < 2; n++) {
        assert_int_equal(pthread_create(&threads[WRITERS + n], NULL, read_all, &readers[n]), 0);
    }
    for (int n = 0; n < WRITERS + 2; n++) {
        pthread_join(threads[n], NULL);
    }
    assert_int_equal(readers[0].wrong + readers[1].wrong, 0);
    for (int n = 0; n < WRITERS; n++) {
        assert_int_equal(writers[n].wrong, 0);
    }
    munmap(shared, MIB);
}

static void test_T127_told_by_one_process_known_to_all(void **state)
{
    sa_shared_t *shared = segment(MIB);
    char buf[64];
    int status;

    for (int n = 0; n < 8; n++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (!pid) {
            int told = 0;
            for (int i = 0; i < 100; i++) {
                told += sa_revoke(shared, DB, sid(buf, n, i), HOUR);
            }
            _exit(told == 100 ? 0 : 1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        for (int i = 0; i < 100; i++) {
            assert_int_equal(sa_revoked(shared, DB, sid(buf, n, i)), SA_REVOKED);
        }
    }
    munmap(shared, MIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_T157_unknown_until_told),
        cmocka_unit_test(test_T127_T157_stale),
        cmocka_unit_test(test_entries_expire),
        cmocka_unit_test(test_T157_full_never_forgets),
        cmocka_unit_test(test_default_size_holds),
        cmocka_unit_test(test_T127_read_while_written),
        cmocka_unit_test(test_T127_told_by_one_process_known_to_all),
    };

    apr_initialize();
    if (sa_crypto_init() != APR_SUCCESS) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
