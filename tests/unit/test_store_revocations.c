/* The feed of ended sessions: nothing that was committed is missed, whoever wrote it and in
 * whatever order. */
#include "store_fixture.h"

#include <apr_hash.h>
#include <unistd.h>

#define MEMORY 3600

typedef struct {
    db_t *db;
    const char *cursor;
    apr_hash_t *seen;           /* sid -> "" */
    int n;                      /* told by the last poll */
    apr_int64_t left;           /* of the last one told */
} feed_t;

static feed_t feed_on(db_t *db)
{
    return (feed_t) { .db = db, .seen = apr_hash_make(db->pool) };
}

static void poll_feed(feed_t *feed)
{
    apr_array_header_t *ended = NULL;
    sa_work_t *work = work_of(feed->db);

    ok(sa_store_revocations(work, MEMORY, feed->cursor, &ended, &feed->cursor));
    sa_work_close(work);
    assert_non_null(feed->cursor);
    feed->n = ended->nelts;
    for (int i = 0; i < ended->nelts; i++) {
        const sa_revocation_t *each = (sa_revocation_t *)(void *)ended->elts + i;
        apr_hash_set(feed->seen, each->sid, APR_HASH_KEY_STRING, "");
        feed->left = each->left;
    }
}

static int seen(const feed_t *feed, const char *sid)
{
    return apr_hash_get(feed->seen, sid, APR_HASH_KEY_STRING) != NULL;
}

static void end_session(db_t *db, const char *sid)
{
    int found, was_live;
    sa_work_t *work = work_of(db);

    ok(sa_store_revoke_session(work, sid, NOW, &found, &was_live));
    sa_work_close(work);
    assert_true(was_live);
}

static void make_sessions(db_t *db, int n)
{
    const char *ada = make_user(db, "ada@x.test", "ada");

    for (int i = 1; i <= n; i++) {
        make_session(db, ada, apr_psprintf(db->pool, "s%d", i));
    }
}

static void test_T127_what_ended_is_told(void **state)
{
    db_t *db = *state;
    feed_t feed = feed_on(db), late = feed_on(db);

    make_sessions(db, 4);
    poll_feed(&feed);
    assert_int_equal(feed.n, 0);
    end_session(db, "s1");
    end_session(db, "s2");
    poll_feed(&feed);
    assert_int_equal(feed.n, 2);
    assert_true(seen(&feed, "s1") && seen(&feed, "s2"));
    assert_in_range(feed.left, MEMORY - 10, MEMORY + 1);
    poll_feed(&feed);
    assert_int_equal(feed.n, 0);
    end_session(db, "s3");
    poll_feed(&feed);
    assert_int_equal(feed.n, 1);
    assert_true(seen(&feed, "s3") && !seen(&feed, "s4"));
    poll_feed(&late);                           /* as after a restart */
    assert_int_equal(late.n, 3);
}

/* Deactivation, removal and reclaim, and SQL of somebody else. */
static void test_T60_T127_whoever_ends_it(void **state)
{
    db_t *db = *state;
    feed_t feed = feed_on(db);
    int done;

    const char *ada = make_user(db, "ada@x.test", "ada"), *bob = make_user(db, "bob@x.test", "bob");
    const char *eve = make_user(db, "eve@x.test", "eve");
    make_session(db, ada, "a1");
    make_session(db, ada, "a2");
    make_session(db, bob, "b1");
    make_session(db, eve, "e1");
    poll_feed(&feed);
    sa_work_t *work = work_of(db);
    ok(sa_store_set_active(work, ada, 0, &done));
    sa_work_close(work);
    poll_feed(&feed);
    assert_true(feed.n == 2 && seen(&feed, "a1") && seen(&feed, "a2"));
    work = work_of(db);
    ok(sa_store_reclaim_user(work, bob, "!x", NOW));
    sa_work_close(work);
    poll_feed(&feed);
    assert_true(feed.n == 1 && seen(&feed, "b1"));
    db_exec(db, "%sDELETE FROM sa_users WHERE id = %s",
            is_pgsql(db) ? "" : "PRAGMA foreign_keys = ON; ", eve);
    poll_feed(&feed);
    assert_true(feed.n == 1 && seen(&feed, "e1"));
}

static void test_only_what_must_be_remembered(void **state)
{
    db_t *db = *state;
    feed_t feed = feed_on(db);

    make_sessions(db, 2);
    end_session(db, "s1");
    end_session(db, "s2");
    db_exec(db, "UPDATE sa_revocations SET at = at - %d WHERE sid = 's1'", MEMORY + 1);
    db_exec(db, "UPDATE sa_revocations SET at = at - %d WHERE sid = 's2'", MEMORY - 100);
    poll_feed(&feed);
    assert_true(feed.n == 1 && seen(&feed, "s2"));
    assert_in_range(feed.left, 90, 101);
}

/* A backup was put in the database's place: it counts in another way. */
static void test_T157_another_past(void **state)
{
    db_t *db = *state;
    feed_t feed = feed_on(db);

    make_sessions(db, 2);
    end_session(db, "s1");
    feed.cursor = is_pgsql(db) ? "4000000000:4000000000:" : "4000000000";
    poll_feed(&feed);
    assert_true(feed.n == 1 && seen(&feed, "s1"));
    end_session(db, "s2");
    poll_feed(&feed);
    assert_true(feed.n == 1 && seen(&feed, "s2"));
}

/* Numbers are given in the order of writing, but what counts is the order of commit. */
static void test_T127_a_transaction_that_stays_open(void **state)
{
    db_t *db = *state;
    feed_t feed = feed_on(db);
    void *slow = db_connect(db), *slower = db_connect(db), *never = db_connect(db);

    make_sessions(db, 6);
    poll_feed(&feed);
    native_exec(db, never, "BEGIN; UPDATE sa_sessions SET revoked_at = 1 WHERE sid = 's6'");
    native_exec(db, slow, "BEGIN; SAVEPOINT a; UPDATE sa_sessions SET revoked_at = 1 "
                "WHERE sid = 's1'; RELEASE a");
    end_session(db, "s2");
    poll_feed(&feed);
    assert_true(feed.n == 1 && seen(&feed, "s2"));
    native_exec(db, slower, "BEGIN; DELETE FROM sa_sessions WHERE sid = 's3'");
    end_session(db, "s4");
    for (int i = 0; i < 3; i++) {
        poll_feed(&feed);
        assert_int_equal(feed.n, i == 0);
    }
    native_exec(db, slow, "COMMIT");
    poll_feed(&feed);
    assert_true(feed.n == 1 && seen(&feed, "s1"));
    native_exec(db, never, "ROLLBACK");
    end_session(db, "s5");
    poll_feed(&feed);
    assert_true(feed.n == 1 && seen(&feed, "s5"));
    native_exec(db, slower, "COMMIT");
    poll_feed(&feed);
    assert_true(feed.n == 1 && seen(&feed, "s3"));
    assert_false(seen(&feed, "s6"));
    db_disconnect(db, slow);
    db_disconnect(db, slower);
    db_disconnect(db, never);
}

/* What an uncommitted change of a session holds up is every new token of it, so that the moment of
 * the change, not that of the transaction's begin, counts. */
static void test_T127_at_is_the_moment_of_the_change(void **state)
{
    db_t *db = *state;
    void *slow = db_connect(db);

    make_sessions(db, 1);
    native_exec(db, slow, "BEGIN; SELECT now()");
    sleep(2);
    const char *before = db_text(db, "SELECT extract(epoch FROM clock_timestamp())::bigint");
    native_exec(db, slow, "UPDATE sa_sessions SET revoked_at = 1 WHERE sid = 's1'; COMMIT");
    assert_string_equal(db_text(db, "SELECT at >= %s FROM sa_revocations", before), "t");
    db_disconnect(db, slow);
}

enum { ENDERS = 8, EACH = 25 };

static int enders_at_work;

static void run_ender(runner_t *r)
{
    for (int i = 0; i < EACH; i++) {
        sa_work_t *work = work_on(r->db, r->pool);
        int found, was_live, other = i % 3 == 0;
        sa_error_t *error = other ? sa_work_begin(work) : NULL;
        if (!error) {
            error = sa_store_revoke_session(work, apr_psprintf(r->pool, "s%d",
                                                               r->index * EACH + i + 1),
                                            NOW, &found, &was_live);
        }
        if (!error && other) {
            usleep(2000);
            error = sa_work_commit(work);
        }
        sa_work_close(work);
        r->outcome += !error;
    }
}

static void run_one_of_them(runner_t *r)
{
    r->outcome = 0;
    if (r->index < ENDERS) {
        run_ender(r);
        __atomic_sub_fetch(&enders_at_work, 1, __ATOMIC_RELEASE);
        return;
    }
    feed_t *feed = r->arg;
    int last;
    do {
        sa_work_t *work = work_on(r->db, r->pool);
        apr_array_header_t *ended = NULL;
        last = !__atomic_load_n(&enders_at_work, __ATOMIC_ACQUIRE);
        sa_error_t *error = sa_store_revocations(work, MEMORY, feed->cursor, &ended, &feed->cursor);
        sa_work_close(work);
        for (int i = 0; !error && i < ended->nelts; i++) {
            apr_hash_set(feed->seen, ((sa_revocation_t *)(void *)ended->elts)[i].sid,
                         APR_HASH_KEY_STRING, "");
        }
        r->outcome += error != NULL;
    } while (!last);
}

static void test_T127_nothing_is_missed_under_load(void **state)
{
    db_t *db = *state;
    feed_t feed = feed_on(db);
    runner_t runners[ENDERS + 1];

    make_sessions(db, ENDERS * EACH);
    enders_at_work = ENDERS;
    at_once(db, ENDERS + 1, run_one_of_them, &feed, runners);
    for (int i = 0; i < ENDERS; i++) {
        assert_int_equal(runners[i].outcome, EACH);
    }
    assert_int_equal(runners[ENDERS].outcome, 0);
    assert_int_equal(apr_hash_count(feed.seen), ENDERS * EACH);
}

/* Kept as long as any access token that is trusted without a look at the database. */
static void test_T127_purge_keeps_what_counts(void **state)
{
    db_t *db = *state;
    int n;

    make_sessions(db, 5);
    for (int i = 1; i <= 5; i++) {
        end_session(db, apr_psprintf(db->pool, "s%d", i));
        db_exec(db, "UPDATE sa_revocations SET at = at - %d WHERE sid = 's%d'",
                i == 1 ? SA_REVOCATION_MEMORY_MAX : SA_REVOCATION_MEMORY_MAX + 3590 + i * 5, i);
    }
    sa_work_t *work = work_of(db);
    ok(sa_store_purge(work, 2, 1, &n));
    assert_int_equal(n, 1);
    ok(sa_store_purge(work, 2, 100, &n));
    assert_int_equal(n, 3);
    ok(sa_store_purge(work, 2, 100, &n));
    assert_int_equal(n, 0);
    sa_work_close(work);
    assert_string_equal(db_text(db, "SELECT sid FROM sa_revocations"), "s1");
}

static const struct CMUnitTest tests[] = {
    ON_BOTH(test_T127_what_ended_is_told, setup_own),
    ON_BOTH(test_T60_T127_whoever_ends_it, setup_own),
    ON_BOTH(test_only_what_must_be_remembered, setup_own),
    ON_BOTH(test_T157_another_past, setup_own),
    ON_PGSQL(test_T127_a_transaction_that_stays_open, setup_own),
    ON_PGSQL(test_T127_at_is_the_moment_of_the_change, setup_own),
    ON_BOTH(test_T127_nothing_is_missed_under_load, setup_own),
    ON_BOTH(test_T127_purge_keeps_what_counts, setup_own),
};

int main(void)
{
    return fixture_main("store revocations", tests, COUNT(tests));
}
