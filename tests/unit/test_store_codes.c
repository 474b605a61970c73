/* Authorization codes: the same answers from SQLite and from PostgreSQL. */
#include "store_fixture.h"

#define THREADS 16

static sa_code_t a_code(const char *id, const char *user)
{
    return (sa_code_t) {
        .id = id, .client_id = "C1", .user_id = user, .redirect_uri = "https://a.test/cb",
        .scope = "read", .challenge = "challenge", .auth_time = NOW - 77, .amr = "google",
        .expires = NOW + 60,
    };
}

static sa_code_use_t a_use(const char *id)
{
    return (sa_code_use_t) {
        .id = id, .client_id = "C1", .redirect_uri = "https://a.test/cb",
        .challenge = "challenge", .now = NOW,
    };
}

static const char *setup_client(db_t *db)
{
    sa_application_t application = {
        .client_id = "C1", .name = "Shop", .grants = "authorization_code", .scopes = "read",
        .redirect_uris = "https://a.test/cb", .created = NOW, .trusted = 1,
    };
    int done;

    sa_work_t *work = work_of(db);
    ok(sa_store_create_application(work, &application, &done));
    sa_work_close(work);
    return make_user(db, "ada@x.test", "ada");
}

static int create(db_t *db, const sa_code_t *code, const char *sid)
{
    int done;

    sa_work_t *work = work_of(db);
    ok(sa_store_create_code(work, code, sid, NOW, &done));
    sa_work_close(work);
    return done;
}

/* Uses the code for a session called `sid`. */
static sa_code_verdict_t use(db_t *db, const sa_code_use_t *given, const char *sid)
{
    sa_session_t *session = new_session(db->pool, sid);
    sa_code_verdict_t verdict;
    const char *used_by;
    sa_user_t *user;

    sa_work_t *work = work_of(db);
    ok(sa_store_use_code(work, given, session, &verdict, &used_by, &user));
    sa_work_close(work);
    return verdict;
}

static int is_live(db_t *db, const char *sid)
{
    return db_int(db, "SELECT count(*) FROM sa_sessions WHERE sid = '%s' AND revoked_at IS NULL",
                  sid);
}

static void test_a_code_becomes_a_session(void **state)
{
    db_t *db = *state;
    const char *ada = setup_client(db), *used_by;
    sa_code_t code = a_code("c1", ada);
    sa_code_use_t given = a_use("c1");
    sa_session_t *session = new_session(db->pool, "s1");
    sa_code_verdict_t verdict;
    sa_user_t *user;

    assert_true(create(db, &code, NULL));
    sa_work_t *work = work_of(db);
    ok(sa_store_use_code(work, &given, session, &verdict, &used_by, &user));
    sa_work_close(work);
    assert_int_equal(verdict, SA_CODE_GOOD);
    assert_null(used_by);
    assert_string_equal(user->username, "ada");
    assert_int_equal(session->auth_time, NOW - 77);
    assert_string_equal(session->amr, "google");
    assert_string_equal(session->scope, "read");
    assert_string_equal(
        db_text(db, "SELECT jti || ' ' || iat || ' ' || exp || ' ' || expires || ' ' || auth_time "
                "|| ' ' || amr || ' ' || mount || ' ' || client_id || ' ' || scope "
                "FROM sa_sessions WHERE sid = 's1' AND user_id = %s", ada),
        apr_psprintf(db->pool, "s1-1 %d %d %d %d google /api C1 read", NOW, NOW + 1000,
                     NOW + 5000, NOW - 77));
}

static void test_a_code_that_comes_back_ends_what_it_gave(void **state)
{
    db_t *db = *state;
    const char *ada = setup_client(db), *used_by;
    sa_code_t code = a_code("c1", ada);
    sa_code_use_t given = a_use("c1");
    sa_session_t *session = new_session(db->pool, "s2");
    sa_code_verdict_t verdict;
    sa_user_t *user;

    assert_true(create(db, &code, NULL));
    assert_int_equal(use(db, &given, "s1"), SA_CODE_GOOD);
    given.reuse_event = new_event(db->pool, "e1", "token_reuse_detected");
    given.client_id = "C2";                     /* whoever brings it */
    given.now = NOW + 3600;                     /* and whenever */
    sa_work_t *work = work_of(db);
    ok(sa_store_use_code(work, &given, session, &verdict, &used_by, &user));
    sa_work_close(work);
    assert_int_equal(verdict, SA_CODE_REUSED);
    assert_string_equal(used_by, "s1");
    assert_false(is_live(db, "s1"));
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_sessions"), 1);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_outbox WHERE id = 'e1'"), 1);
}

static void test_what_a_code_is_bound_to(void **state)
{
    db_t *db = *state;
    const char *ada = setup_client(db);
    const struct {
        const char *redirect_uri, *challenge;
        int later;
    } wrong[] = {
        { "https://a.test/", "challenge", 0 }, { NULL, "challenge", 0 },
        { "https://a.test/cb", "Challenge", 0 }, { "https://a.test/cb", NULL, 0 },
        { "https://a.test/cb", "challenge", 60 },
    };

    for (size_t i = 0; i < COUNT(wrong); i++) {
        const char *id = apr_itoa(db->pool, (int)i);
        sa_code_t code = a_code(id, ada);
        sa_code_use_t given = a_use(id);
        assert_true(create(db, &code, NULL));
        given.redirect_uri = wrong[i].redirect_uri;
        given.challenge = wrong[i].challenge;
        given.now = NOW + wrong[i].later;
        assert_int_equal(use(db, &given, "s1"), SA_CODE_WRONG);
        given = a_use(id);
        given.reuse_event = new_event(db->pool, "e1", "token_reuse_detected");
        assert_int_equal(use(db, &given, "s2"), SA_CODE_WRONG);         /* one try is all */
    }
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_sessions"), 0);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_outbox"), 0);      /* nothing was given */
}

static void test_what_was_not_asked_for_is_not_compared(void **state)
{
    db_t *db = *state;
    const char *ada = setup_client(db);
    sa_code_t code = a_code("c1", ada);
    sa_code_use_t given = a_use("c1");

    code.redirect_uri = "";
    code.challenge = NULL;
    assert_true(create(db, &code, NULL));
    assert_int_equal(use(db, &given, "s1"), SA_CODE_WRONG);     /* RFC 9700 4.8.2 */
    code.id = given.id = "c2";
    given.challenge = NULL;
    assert_true(create(db, &code, NULL));
    assert_int_equal(use(db, &given, "s2"), SA_CODE_GOOD);
}

static void test_other_clients_and_unknown_codes(void **state)
{
    db_t *db = *state;
    const char *ada = setup_client(db);
    sa_code_t code = a_code("c1", ada);
    sa_code_use_t given = a_use("c1");

    assert_true(create(db, &code, NULL));
    given.client_id = "C2";
    assert_int_equal(use(db, &given, "s1"), SA_CODE_FOREIGN);
    given.id = "C1";
    assert_int_equal(use(db, &given, "s1"), SA_CODE_UNKNOWN);
    given = a_use("c1");
    assert_int_equal(use(db, &given, "s1"), SA_CODE_GOOD);
}

static void test_only_a_usable_user_with_a_live_session(void **state)
{
    db_t *db = *state;
    const char *ada = setup_client(db), *bob = make_user(db, "bob@x.test", "bob");
    sa_code_t code = a_code("c1", ada);
    sa_code_use_t given = a_use("c1");

    make_session(db, ada, "mine");
    make_session(db, bob, "his");
    make_session(db, ada, "over");
    db_exec(db, "UPDATE sa_sessions SET revoked_at = 1 WHERE sid = 'over'");
    assert_false(create(db, &code, "his"));
    assert_false(create(db, &code, "over"));
    assert_false(create(db, &code, "none"));
    assert_true(create(db, &code, "mine"));
    db_exec(db, "UPDATE sa_users SET is_active = %s", is_pgsql(db) ? "false" : "0");
    assert_int_equal(use(db, &given, "s1"), SA_CODE_USER_GONE);
    code.id = given.id = "c2";
    assert_false(create(db, &code, "mine"));
    db_exec(db, "UPDATE sa_users SET is_active = %s", is_pgsql(db) ? "true" : "1");
    assert_true(create(db, &code, "mine"));
    db_exec(db, "UPDATE sa_sessions SET revoked_at = 1 WHERE sid = 'mine'");
    assert_int_equal(use(db, &given, "s1"), SA_CODE_USER_GONE);     /* signed out meanwhile */
    code.user_id = "x";
    assert_false(create(db, &code, NULL));
    assert_int_equal(is_live(db, "s1"), 0);
}

static void race(runner_t *r)
{
    sa_session_t *session = new_session(r->pool, apr_itoa(r->pool, r->index));
    sa_code_use_t given = a_use("c1");
    sa_code_verdict_t verdict = SA_CODE_UNKNOWN;
    const char *used_by;
    sa_user_t *user;
    sa_work_t *work;

    sa_error_t *error = sa_work_open(&work, r->db->store, &r->db->source, r->pool);
    if (!error) {
        error = sa_store_use_code(work, &given, session, &verdict, &used_by, &user);
    }
    sa_work_close(work);
    r->outcome = error ? -1 : (int)verdict;
}

static void test_of_many_at_once_one_wins_and_loses_it_again(void **state)
{
    db_t *db = *state;
    sa_code_t code = a_code("c1", setup_client(db));
    runner_t runners[THREADS];
    int good = 0, reused = 0;

    assert_true(create(db, &code, NULL));
    at_once(db, THREADS, race, NULL, runners);
    for (int i = 0; i < THREADS; i++) {
        good += runners[i].outcome == SA_CODE_GOOD;
        reused += runners[i].outcome == SA_CODE_REUSED;
    }
    assert_int_equal(good, 1);
    assert_int_equal(reused, THREADS - 1);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_sessions"), 1);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_sessions WHERE revoked_at IS NULL"), 0);
}

static void test_purge_keeps_codes_that_may_come_back(void **state)
{
    db_t *db = *state;
    const char *ada = setup_client(db);
    int n;

    for (int i = 0; i < 3; i++) {
        sa_code_t code = a_code(apr_itoa(db->pool, i), ada);
        assert_true(create(db, &code, NULL));
    }
    sa_work_t *work = work_of(db);
    ok(sa_store_purge(work, NOW + 60 + 86399, 2, &n));
    assert_int_equal(n, 0);
    ok(sa_store_purge(work, NOW + 60 + 86400, 2, &n));
    assert_int_equal(n, 2);
    ok(sa_store_purge(work, NOW + 60 + 86400, 2, &n));
    assert_int_equal(n, 1);
    sa_work_close(work);
}

static const struct CMUnitTest tests[] = {
    ON_BOTH(test_a_code_becomes_a_session, setup_own),
    ON_BOTH(test_a_code_that_comes_back_ends_what_it_gave, setup_own),
    ON_BOTH(test_what_a_code_is_bound_to, setup_own),
    ON_BOTH(test_what_was_not_asked_for_is_not_compared, setup_own),
    ON_BOTH(test_other_clients_and_unknown_codes, setup_own),
    ON_BOTH(test_only_a_usable_user_with_a_live_session, setup_own),
    ON_BOTH(test_of_many_at_once_one_wins_and_loses_it_again, setup_own),
    ON_BOTH(test_purge_keeps_codes_that_may_come_back, setup_own),
};

int main(void)
{
    return fixture_main("store codes", tests, COUNT(tests));
}
