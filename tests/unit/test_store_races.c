/* Many at once: whatever the order, the database ends in a state that one of them made. */
#include "store_fixture.h"

#define THREADS 32
#define ROUNDS 10
#define TRIES 50

/* ---- first login ---- */

typedef struct {
    int own_identity;           /* every thread brings an identity of its own */
    const char *email;
    int round;
} newcomer_t;

/* What accounts/login does with one new identity, told in the store's words. */
static sa_error_t *first_login(runner_t *r, sa_work_t *work, const char *issuer,
                               const newcomer_t *who)
{
    char sid[64], username[64], event[64];
    apr_snprintf(sid, sizeof(sid), "sid-%d-%d", who->round, r->index);
    apr_snprintf(username, sizeof(username), "ada-%d-%d", who->round, r->index);
    apr_snprintf(event, sizeof(event), "evt-%d-%d", who->round, r->index);
    sa_session_t *session = new_session(r->pool, sid);
    sa_new_user_t made = { who->email, username, "", "", "!", 1, 1, 0, 0, NULL, 0 };
    sa_link_t link = { "p", issuer, "1", who->email, NOW };
    const char *id = NULL, *taken = NULL;
    sa_user_t *user = NULL;
    sa_email_match_t match = { 0, NULL, 0 };

    sa_error_t *error = sa_store_login_linked(work, issuer, "1", NULL, 0, session, NULL, NULL, &user);
    if (error || user) {
        r->text = user ? user->id : NULL;
        return error;
    }
    error = sa_work_begin(work);
    if (!error && who->email) {
        error = sa_store_user_by_email(work, who->email, issuer, &match);
    }
    if (error || match.count) {
        sa_work_rollback(work);
        r->outcome = match.count ? 409 : r->outcome;
        return error ? error : sa_error(r->pool, SA_E_CONFLICT, NULL, "an account exists");
    }
    error = sa_store_create_user(work, &made, NOW, &id, &taken);
    if (!error && taken) {
        error = sa_error(r->pool, SA_E_CONFLICT, NULL, "taken: %s", taken);
    }
    if (!error) {
        error = sa_store_create_link(work, id, &link);
    }
    if (!error) {
        error = sa_store_start_session(work, id, session,
                                       new_event(r->pool, event, "new_user_registered"), 1, &user);
    }
    if (!error) {
        error = sa_work_commit(work);
    }
    sa_work_rollback(work);
    r->text = error ? NULL : id;
    return error;
}

static void run_first_login(runner_t *r)
{
    const newcomer_t *who = r->arg;
    const char *issuer = who->own_identity ? apr_psprintf(r->pool, "iss-%d", r->index) : "iss";
    sa_error_t *error = NULL;

    for (int i = 0; i < TRIES; i++) {
        sa_work_t *work = NULL;
        error = sa_work_open(&work, r->db->store, &r->db->source, r->pool);
        error = error ? error : first_login(r, work, issuer, who);
        sa_work_close(work);
        if (!error || error->kind != SA_E_CONFLICT || (r->outcome == 409 && who->own_identity)) {
            break;
        }
    }
    r->outcome = !error ? 200 : error->kind == SA_E_CONFLICT ? 409 : 503;
    if (r->outcome == 503) {
        print_error("%s\n", error->log);
    }

}

static void test_T54_first_login_makes_one_user(void **state)
{
    db_t *db = *state;
    static const char *const emails[] = { "ada@x.test", NULL };
    runner_t runners[THREADS];

    for (size_t e = 0; e < COUNT(emails); e++) {
        for (int round = 0; round < ROUNDS; round++) {
            newcomer_t who = { 0, emails[e], round + 100 * (int)e };
            db_exec(db, "DELETE FROM sa_sessions");
            db_exec(db, "DELETE FROM sa_outbox");
            db_exec(db, "DELETE FROM sa_links");
            db_exec(db, "DELETE FROM sa_users");
            at_once(db, THREADS, run_first_login, &who, runners);
            for (int i = 0; i < THREADS; i++) {
                assert_int_equal(runners[i].outcome, 200);
                assert_string_equal(runners[i].text, runners[0].text);
            }
            assert_int_equal(db_int(db, "SELECT count(*) FROM sa_users"), 1);
            assert_int_equal(db_int(db, "SELECT count(*) FROM sa_links"), 1);
            assert_int_equal(db_int(db, "SELECT count(*) FROM sa_sessions"), THREADS);
            assert_int_equal(db_int(db, "SELECT count(*) FROM sa_outbox"), 1);
        }
    }
}

static void test_T55_one_address_from_many_identities(void **state)
{
    db_t *db = *state;
    runner_t runners[THREADS];

    for (int round = 0; round < ROUNDS; round++) {
        newcomer_t who = { 1, "ada@x.test", round };
        int won = 0;
        db_exec(db, "DELETE FROM sa_sessions");
        db_exec(db, "DELETE FROM sa_outbox");
        db_exec(db, "DELETE FROM sa_links");
        db_exec(db, "DELETE FROM sa_users");
        at_once(db, THREADS, run_first_login, &who, runners);
        for (int i = 0; i < THREADS; i++) {
            won += runners[i].outcome == 200;
            assert_true(runners[i].outcome == 200 || runners[i].outcome == 409);
        }
        assert_int_equal(won, 1);
        assert_int_equal(db_int(db, "SELECT count(*) FROM sa_users"), 1);
        assert_int_equal(db_int(db, "SELECT count(*) FROM sa_links"), 1);
    }
}

/* The same on a table of the site's own, which has no unique e-mail. */
static void test_T55_one_address_on_a_table_without_unique_email(void **state)
{
    db_t *db = *state;
    runner_t runners[THREADS];
    sa_user_map_t map = { .table = "people", .password = "", .is_staff = "", .is_superuser = "" };
    int from, to;
    const char *sql;

    db_exec(db, "CREATE TABLE people (id %s, email text NOT NULL, username text NOT NULL UNIQUE, "
            "first_name text, last_name text, is_active %s NOT NULL, date_joined %s, "
            "last_login %s)", is_pgsql(db) ? "serial PRIMARY KEY" : "integer PRIMARY KEY",
            is_pgsql(db) ? "boolean" : "bool", is_pgsql(db) ? "timestamptz" : "datetime",
            is_pgsql(db) ? "timestamptz" : "datetime");
    db->store = db_store(db, &map);
    sa_work_t *work = work_of(db);
    ok(sa_store_migrate(work, 0, &from, &to, &sql));
    sa_work_close(work);
    for (int round = 0; round < ROUNDS; round++) {
        newcomer_t who = { 1, "ada@x.test", round };
        int won = 0;
        db_exec(db, "DELETE FROM sa_sessions");
        db_exec(db, "DELETE FROM sa_outbox");
        db_exec(db, "DELETE FROM sa_links");
        db_exec(db, "DELETE FROM people");
        at_once(db, THREADS, run_first_login, &who, runners);
        for (int i = 0; i < THREADS; i++) {
            won += runners[i].outcome == 200;
            assert_true(runners[i].outcome == 200 || runners[i].outcome == 409);
        }
        assert_int_equal(won, 1);
        assert_int_equal(db_int(db, "SELECT count(*) FROM people"), 1);
        assert_int_equal(db_int(db, "SELECT count(*) FROM sa_links"), 1);
    }
}

static void run_login(runner_t *r)
{
    char sid[64];
    sa_user_t *user = NULL;

    apr_snprintf(sid, sizeof(sid), "%s-%d", (const char *)r->arg, r->index);
    sa_work_t *work = NULL;
    sa_error_t *error = sa_work_open(&work, r->db->store, &r->db->source, r->pool);
    if (!error) {
        error = sa_store_login_linked(work, "iss", "1", "new@x.test", 1, new_session(r->pool, sid),
                                      NULL, NULL, &user);
    }
    sa_work_close(work);
    r->outcome = error || !user ? -1 : user->was_new;
}

/* A login that read a stale copy believes that nobody is linked. What it writes goes to the primary,
 * whose unique keys refuse it; nothing of it stays. */
static void test_T218_a_stale_read_makes_no_second_user(void **state)
{
    db_t *db = *state;
    const char *owner = make_user(db, "ada@x.test", "ada"), *id = NULL, *taken = NULL;
    sa_link_t link = { .provider = "github", .issuer = "iss", .subject = "1", .linked_at = NOW };
    sa_new_user_t made = { .username = "ada_2", .first_name = "", .last_name = "",
                           .password = "!", .is_active = 1 };

    make_link(db, owner, "iss", "1");
    sa_work_t *work = work_of(db);
    ok(sa_work_begin(work));
    ok(sa_store_create_user(work, &made, NOW, &id, &taken));
    assert_non_null(id);
    failed_as(sa_store_create_link(work, id, &link), SA_E_CONFLICT);
    sa_work_close(work);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_users"), 1);
    assert_string_equal(db_text(db, "SELECT user_id FROM sa_links"), owner);

    made.email = "ada@x.test";          /* nor by the e-mail it did not see */
    work = work_of(db);
    ok(sa_work_begin(work));
    ok(sa_store_create_user(work, &made, NOW, &id, &taken));
    assert_string_equal(taken, "email");
    sa_work_close(work);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_users"), 1);
}

static void test_T54_a_user_is_new_once(void **state)
{
    db_t *db = *state;
    runner_t runners[THREADS];

    const char *id = make_user(db, "ada@x.test", "ada");
    make_link(db, id, "iss", "1");
    for (int round = 0; round < ROUNDS; round++) {
        int news = 0;
        db_exec(db, "UPDATE sa_users SET last_login = NULL");
        at_once(db, THREADS, run_login, apr_psprintf(db->pool, "r%d", round), runners);
        for (int i = 0; i < THREADS; i++) {
            assert_true(runners[i].outcome >= 0);
            news += runners[i].outcome;
        }
        assert_int_equal(news, 1);
    }
}

/* ---- refresh ---- */

typedef struct {
    const char *sid;
    int reuse_interval;
} family_t;

static void run_refresh(runner_t *r)
{
    const family_t *family = r->arg;
    sa_refresh_t asked = new_refresh(family->sid,
                                     apr_pstrcat(r->pool, family->sid, "-1", NULL),
                                     apr_psprintf(r->pool, "%s-next-%d", family->sid, r->index));
    sa_refresh_verdict_t verdict = SA_REFRESH_UNKNOWN;
    sa_session_t *session = NULL;
    sa_user_t *user = NULL;
    sa_work_t *work = NULL;

    asked.reuse_interval = family->reuse_interval;
    asked.reuse_event = new_event(r->pool, apr_psprintf(r->pool, "%s-%d", family->sid, r->index),
                                  "token_reuse_detected");
    sa_error_t *error = sa_work_open(&work, r->db->store, &r->db->source, r->pool);
    if (!error) {
        error = sa_store_refresh(work, &asked, &verdict, &session, &user);
    }
    if (error) {
        print_error("%s\n", error->log);
    }
    sa_work_close(work);
    r->outcome = error ? -1 : (int)verdict;
    r->text = !error && session ? session->jti : NULL;
}

static void test_T115_refresh_leaves_one_leaf(void **state)
{
    db_t *db = *state;
    runner_t runners[THREADS];
    const char *id = make_user(db, "ada@x.test", "ada");

    for (int round = 0; round < ROUNDS; round++) {
        family_t family = { apr_psprintf(db->pool, "s%d", round), 10 };
        int rotated = 0;
        make_session(db, id, family.sid);
        at_once(db, THREADS, run_refresh, &family, runners);
        const char *leaf = db_text(db, "SELECT jti FROM sa_sessions WHERE sid = '%s'", family.sid);
        for (int i = 0; i < THREADS; i++) {
            rotated += runners[i].outcome == SA_REFRESH_ROTATED;
            assert_true(runners[i].outcome == SA_REFRESH_ROTATED
                        || runners[i].outcome == SA_REFRESH_SUCCESSOR);
            assert_string_equal(runners[i].text, leaf);
        }
        assert_int_equal(rotated, 1);
    }
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_outbox"), 0);
}

static void test_T115_refresh_without_grace(void **state)
{
    db_t *db = *state;
    runner_t runners[THREADS];
    const char *id = make_user(db, "ada@x.test", "ada");

    for (int round = 0; round < ROUNDS; round++) {
        family_t family = { apr_psprintf(db->pool, "s%d", round), 0 };
        int counts[6] = { 0 };
        make_session(db, id, family.sid);
        at_once(db, THREADS, run_refresh, &family, runners);
        for (int i = 0; i < THREADS; i++) {
            assert_true(runners[i].outcome >= 0);
            counts[runners[i].outcome]++;
        }
        assert_int_equal(counts[SA_REFRESH_ROTATED], 1);
        assert_int_equal(counts[SA_REFRESH_REUSED], 1);
        assert_int_equal(counts[SA_REFRESH_REVOKED], THREADS - 2);
        assert_int_equal(db_int(db, "SELECT count(*) FROM sa_outbox"), round + 1);
    }
}

/* ---- links ---- */

static void run_unlink(runner_t *r)
{
    sa_unlink_verdict_t verdict = SA_UNLINK_NO_USER;
    sa_work_t *work = NULL;

    sa_error_t *error = sa_work_open(&work, r->db->store, &r->db->source, r->pool);
    if (!error) {
        error = sa_store_unlink(work, r->arg, NULL, r->index % 2 ? "i1" : "i2", "i1\ni2", 1, NULL, NOW,
                                &verdict);
    }
    sa_work_close(work);
    r->outcome = error ? -1 : (int)verdict;
}

static void test_T57_unlink_of_the_last_two(void **state)
{
    db_t *db = *state;
    static const int threads[] = { 2, THREADS };
    runner_t runners[THREADS];
    const char *id = make_user(db, "ada@x.test", "ada");

    db_exec(db, "UPDATE sa_users SET password = '!'");
    for (int round = 0; round < 10 * ROUNDS; round++) {
        int n = threads[round % 2], done = 0;
        db_exec(db, "DELETE FROM sa_links");
        make_link(db, id, "i1", "1");
        make_link(db, id, "i2", "2");
        at_once(db, n, run_unlink, (void *)(uintptr_t)id, runners);
        for (int i = 0; i < n; i++) {
            done += runners[i].outcome == SA_UNLINK_DONE;
            assert_true(runners[i].outcome >= 0 && runners[i].outcome != SA_UNLINK_NO_USER);
        }
        assert_int_equal(done, 1);
        assert_int_equal(db_int(db, "SELECT count(*) FROM sa_links"), 1);
    }
}

typedef struct {
    const char *users[THREADS];
} users_t;

static void run_link(runner_t *r)
{
    const users_t *users = r->arg;
    sa_link_t link = { "p", "iss", "1", NULL, NOW };
    sa_link_verdict_t verdict = SA_LINK_NO_USER;
    sa_work_t *work = NULL;

    sa_error_t *error = sa_work_open(&work, r->db->store, &r->db->source, r->pool);
    if (!error) {
        error = sa_store_link(work, users->users[r->index], NULL, &link, NULL, NOW, &verdict);
    }
    sa_work_close(work);
    r->outcome = error ? -1 : (int)verdict;
}

static void test_one_identity_links_to_one_user(void **state)
{
    db_t *db = *state;
    runner_t runners[THREADS];
    users_t users;

    for (int i = 0; i < THREADS; i++) {
        users.users[i] = make_user(db, apr_psprintf(db->pool, "u%d@x.test", i),
                                   apr_psprintf(db->pool, "u%d", i));
    }
    for (int round = 0; round < ROUNDS; round++) {
        int done = 0;
        db_exec(db, "DELETE FROM sa_links");
        at_once(db, THREADS, run_link, &users, runners);
        for (int i = 0; i < THREADS; i++) {
            done += runners[i].outcome == SA_LINK_DONE;
            assert_true(runners[i].outcome == SA_LINK_DONE
                        || runners[i].outcome == SA_LINK_TAKEN);
        }
        assert_int_equal(done, 1);
        assert_int_equal(db_int(db, "SELECT count(*) FROM sa_links"), 1);
    }
}

/* Runner 0 takes the account back; the others come while it has not committed. */
static int reclaimed;

static void wait_for_reclaim(void)
{
    while (!__atomic_load_n(&reclaimed, __ATOMIC_ACQUIRE)) {
        apr_sleep(1000);
    }
}

static void run_reclaim(runner_t *r)
{
    sa_email_match_t match;
    sa_work_t *work = work_on(r->db, r->pool);

    ok(sa_work_begin(work));
    ok(sa_store_user_by_email(work, "ada@x.test", "theirs", &match));
    ok(sa_store_reclaim_user(work, match.user->id, "!", NOW));
    __atomic_store_n(&reclaimed, 1, __ATOMIC_RELEASE);
    apr_sleep(apr_time_from_msec(300));
    ok(sa_work_commit(work));
    sa_work_close(work);
}

static void run_login_into_reclaim(runner_t *r)
{
    sa_user_t *user = NULL;

    if (!r->index) {
        run_reclaim(r);
        return;
    }
    wait_for_reclaim();
    sa_work_t *work = work_on(r->db, r->pool);
    ok(sa_store_login_linked(work, "iss", "1", NULL, 0, new_session(r->pool, "late"), NULL, NULL,
                             &user));
    sa_work_close(work);
    r->outcome = user != NULL;
}

static void run_link_into_reclaim(runner_t *r)
{
    sa_link_t link = { "p", "iss", "2", NULL, NOW };
    sa_link_verdict_t verdict = SA_LINK_DONE;

    if (!r->index) {
        run_reclaim(r);
        return;
    }
    wait_for_reclaim();
    sa_work_t *work = work_on(r->db, r->pool);
    ok(sa_store_link(work, r->arg, "early", &link, NULL, NOW, &verdict));
    sa_work_close(work);
    r->outcome = (int)verdict;
}

static void test_T47_no_login_slips_through_a_reclaim(void **state)
{
    db_t *db = *state;
    runner_t runners[2];

    make_link(db, make_user(db, "ada@x.test", "ada"), "iss", "1");
    reclaimed = 0;
    at_once(db, 2, run_login_into_reclaim, NULL, runners);
    assert_int_equal(runners[1].outcome, 0);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_sessions"), 0);
}

static void test_T48_no_link_slips_through_a_reclaim(void **state)
{
    db_t *db = *state;
    runner_t runners[2];
    const char *id = make_user(db, "ada@x.test", "ada");

    make_session(db, id, "early");
    reclaimed = 0;
    at_once(db, 2, run_link_into_reclaim, (void *)(uintptr_t)id, runners);
    assert_int_equal(runners[1].outcome, SA_LINK_NO_USER);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_links"), 0);
}

/* ---- single use, outbox ---- */

static void run_spend(runner_t *r)
{
    unsigned char id[32] = { 0 };
    int first = 0;
    sa_work_t *work = NULL;

    memcpy(id, r->arg, sizeof(int));
    sa_error_t *error = sa_work_open(&work, r->db->store, &r->db->source, r->pool);
    if (!error) {
        error = sa_store_spend(work, id, NOW, &first);
    }
    sa_work_close(work);
    r->outcome = error ? -1 : first;
}

static void test_spent_by_one(void **state)
{
    db_t *db = *state;
    runner_t runners[THREADS];

    for (int round = 0; round < ROUNDS; round++) {
        int firsts = 0;
        at_once(db, THREADS, run_spend, &round, runners);
        for (int i = 0; i < THREADS; i++) {
            assert_true(runners[i].outcome >= 0);
            firsts += runners[i].outcome;
        }
        assert_int_equal(firsts, 1);
    }
}

static void run_claim(runner_t *r)
{
    apr_array_header_t *rows = NULL;
    sa_work_t *work = NULL;

    sa_error_t *error = sa_work_open(&work, r->db->store, &r->db->source, r->pool);
    if (!error) {
        error = sa_store_outbox_claim(work, NOW + 1, 60, 3, KNOWN, &rows);
    }
    r->outcome = error ? -1 : rows->nelts;
    for (int i = 0; i < r->outcome; i++) {
        const sa_outbox_row_t *row = (void *)rows->elts;
        error = sa_store_outbox_settle(work, row[i].event.id, NULL, 0, 0);
        r->outcome = error ? -1 : r->outcome;
    }
    sa_work_close(work);
}

static void test_an_event_is_claimed_once(void **state)
{
    db_t *db = *state;
    runner_t runners[THREADS];
    int claimed = 0;

    sa_work_t *work = work_of(db);
    for (int i = 0; i < 50; i++) {
        ok(sa_store_event(work, NULL, new_event(db->pool, apr_psprintf(db->pool, "e%d", i), "x")));
    }
    sa_work_close(work);
    for (int round = 0; round < 50 && db_int(db, "SELECT count(*) FROM sa_outbox"); round++) {
        at_once(db, 8, run_claim, NULL, runners);
        for (int i = 0; i < 8; i++) {
            assert_true(runners[i].outcome >= 0);
            claimed += runners[i].outcome;
        }
    }
    assert_int_equal(claimed, 50);
}

static const struct CMUnitTest tests[] = {
    ON_BOTH(test_T54_first_login_makes_one_user, setup_own),
    ON_BOTH(test_T55_one_address_from_many_identities, setup_own),
    ON_BOTH(test_T55_one_address_on_a_table_without_unique_email, setup_empty),
    ON_BOTH(test_T54_a_user_is_new_once, setup_own),
    ON_BOTH(test_T218_a_stale_read_makes_no_second_user, setup_own),
    ON_BOTH(test_T115_refresh_leaves_one_leaf, setup_own),
    ON_BOTH(test_T115_refresh_without_grace, setup_own),
    ON_BOTH(test_T57_unlink_of_the_last_two, setup_own),
    ON_BOTH(test_one_identity_links_to_one_user, setup_own),
    ON_BOTH(test_T47_no_login_slips_through_a_reclaim, setup_own),
    ON_BOTH(test_T48_no_link_slips_through_a_reclaim, setup_own),
    ON_BOTH(test_spent_by_one, setup_own),
    ON_BOTH(test_an_event_is_claimed_once, setup_own),
};

int main(void)
{
    return fixture_main("store races", tests, COUNT(tests));
}
