/* Applications: the same answers from SQLite and from PostgreSQL. */
#include "store_fixture.h"

static sa_application_t an_application(const char *client_id, const char *secret)
{
    return (sa_application_t) {
        .client_id = client_id, .name = "Shop", .secret = secret, .grants = "password",
        .scopes = "read write", .redirect_uris = "https://a.test/cb https://b.test/cb",
        .created = NOW,
    };
}

static void store(db_t *db, const char *client_id, const char *secret)
{
    sa_application_t application = an_application(client_id, secret);
    int done;

    sa_work_t *work = work_of(db);
    ok(sa_store_create_application(work, &application, &done));
    sa_work_close(work);
    assert_true(done);
}

static void test_what_is_stored_comes_back(void **state)
{
    db_t *db = *state;
    const char *owner = make_user(db, "ada@x.test", "ada");
    sa_application_t given = an_application("C1", "hash"), *found;
    int done;

    given.owner_id = owner;
    given.trusted = 1;
    sa_work_t *work = work_of(db);
    ok(sa_store_create_application(work, &given, &done));
    assert_true(done);
    ok(sa_store_application(work, "C1", &found));
    assert_string_equal(found->client_id, "C1");
    assert_string_equal(found->name, "Shop");
    assert_string_equal(found->secret, "hash");
    assert_string_equal(found->grants, "password");
    assert_string_equal(found->scopes, "read write");
    assert_string_equal(found->redirect_uris, "https://a.test/cb https://b.test/cb");
    assert_string_equal(found->owner_id, owner);
    assert_int_equal(found->created, NOW);
    assert_true(found->trusted);
    ok(sa_store_application(work, "c1", &found));       /* byte-exact */
    assert_null(found);
    ok(sa_store_application(work, "C1 ", &found));
    assert_null(found);
    sa_work_close(work);
    db_exec(db, "%sDELETE FROM sa_users", is_pgsql(db) ? "" : "PRAGMA foreign_keys = ON; ");
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_applications WHERE owner_id IS NULL"), 1);
}

static void test_client_id_is_taken_once(void **state)
{
    db_t *db = *state;
    sa_application_t again = an_application("C1", NULL);
    int done;

    store(db, "C1", "hash");
    sa_work_t *work = work_of(db);
    ok(sa_store_create_application(work, &again, &done));
    assert_false(done);
    sa_work_close(work);
    assert_string_equal(db_text(db, "SELECT client_secret FROM sa_applications"), "hash");
}

static void test_list(void **state)
{
    db_t *db = *state;
    apr_array_header_t *list;

    store(db, "C2", NULL);
    store(db, "C1", "hash");
    store(db, "C3", NULL);
    sa_work_t *work = work_of(db);
    ok(sa_store_list_applications(work, NULL, 2, &list));
    assert_int_equal(list->nelts, 2);
    assert_string_equal(APR_ARRAY_IDX(list, 0, sa_application_t).client_id, "C1");
    assert_null(APR_ARRAY_IDX(list, 1, sa_application_t).secret);
    assert_false(APR_ARRAY_IDX(list, 1, sa_application_t).trusted);
    ok(sa_store_list_applications(work, "C2", 2, &list));
    assert_int_equal(list->nelts, 1);
    assert_string_equal(APR_ARRAY_IDX(list, 0, sa_application_t).client_id, "C3");
    sa_work_close(work);
}

static void test_set_client_secret(void **state)
{
    db_t *db = *state;
    int done;

    store(db, "C1", "old");
    store(db, "C2", NULL);
    sa_work_t *work = work_of(db);
    ok(sa_store_set_client_secret(work, "C1", "other", "new", &done));
    assert_false(done);
    ok(sa_store_set_client_secret(work, "C1", "old", "new", &done));
    assert_true(done);
    ok(sa_store_set_client_secret(work, "C1", NULL, "newer", &done));
    assert_true(done);
    ok(sa_store_set_client_secret(work, "C2", NULL, "new", &done));     /* a public one */
    assert_false(done);
    sa_work_close(work);
    assert_string_equal(db_text(db, "SELECT client_secret FROM sa_applications "
                                "WHERE client_id = 'C1'"), "newer");
    assert_null(db_text(db, "SELECT client_secret FROM sa_applications WHERE client_id = 'C2'"));
}

/* A session of the client. */
static void make_client_session(db_t *db, const char *user, const char *sid, const char *client)
{
    make_session(db, user, sid);
    db_exec(db, "UPDATE sa_sessions SET client_id = '%s' WHERE sid = '%s'", client, sid);
}

static int is_revoked(db_t *db, const char *sid)
{
    return db_int(db, "SELECT count(*) FROM sa_sessions WHERE sid = '%s' "
                  "AND revoked_at IS NOT NULL", sid);
}

static void test_T126_deleted_application_ends_its_sessions(void **state)
{
    db_t *db = *state;
    int done;

    const char *ada = make_user(db, "ada@x.test", "ada");
    store(db, "C1", "hash");
    make_client_session(db, ada, "s1", "C1");
    make_session(db, ada, "s2");
    sa_work_t *work = work_of(db);
    ok(sa_store_delete_application(work, "C1", NOW, &done));
    assert_true(done);
    ok(sa_store_delete_application(work, "C1", NOW, &done));
    assert_false(done);
    sa_work_close(work);
    assert_true(is_revoked(db, "s1"));
    assert_false(is_revoked(db, "s2"));
}

static void test_end_of_what_a_client_was_given(void **state)
{
    db_t *db = *state;
    sa_refresh_verdict_t verdict;
    sa_session_t *session = NULL;
    sa_user_t *user = NULL;
    int live, revoked;

    const char *ada = make_user(db, "ada@x.test", "ada");
    const char *bob = make_user(db, "bob@x.test", "bob");
    make_client_session(db, ada, "s1", "C1");
    make_client_session(db, ada, "s2", "C2");
    make_client_session(db, bob, "s3", "C1");
    sa_work_t *work = work_of(db);
    ok(sa_store_end_client(work, ada, "C1", SA_END_REFRESH_TOKENS, NOW));
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_revocations"), 0);
    sa_refresh_t refresh = new_refresh("s1", "s1-1", "s1-2");
    ok(sa_store_refresh(work, &refresh, &verdict, &session, &user));
    assert_int_equal(verdict, SA_REFRESH_REVOKED);
    ok(sa_store_session_live(work, "s1", "s1-1", NOW, &live, &revoked));
    assert_false(live);
    ok(sa_store_session_live(work, "s1", NULL, NOW, &live, &revoked));
    assert_true(live);                          /* the access token */
    refresh = new_refresh("s2", "s2-1", "s2-2");
    ok(sa_store_refresh(work, &refresh, &verdict, &session, &user));
    assert_int_equal(verdict, SA_REFRESH_ROTATED);

    ok(sa_store_end_client(work, ada, "C1", SA_END_SESSIONS, NOW));
    sa_work_close(work);
    assert_true(is_revoked(db, "s1"));
    assert_false(is_revoked(db, "s2"));
    assert_false(is_revoked(db, "s3"));
}

static const struct CMUnitTest tests[] = {
    ON_BOTH(test_what_is_stored_comes_back, setup_own),
    ON_BOTH(test_client_id_is_taken_once, setup_own),
    ON_BOTH(test_list, setup_own),
    ON_BOTH(test_set_client_secret, setup_own),
    ON_BOTH(test_T126_deleted_application_ends_its_sessions, setup_own),
    ON_BOTH(test_end_of_what_a_client_was_given, setup_own),
};

int main(void)
{
    return fixture_main("store applications", tests, COUNT(tests));
}
