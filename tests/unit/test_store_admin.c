/* What administrators ask and do: the same answers from SQLite and from PostgreSQL. */
#include "store_fixture.h"

#include <stdio.h>

#define USERS_OF_A_SITE                                                                          \
    "CREATE TABLE people (id integer PRIMARY KEY, email text, username text, first_name text, "  \
    "last_name text, password text, is_active boolean, is_staff boolean, is_superuser boolean, " \
    "date_joined text, last_login text, gone %s)"

/* The tables of a site whose deleted field has this type; user 7 is in it. */
static sa_store_t *site_with_deleted(db_t *db, const char *type)
{
    sa_user_map_t map = { .table = "people", .deleted = "gone" };

    db_exec(db, "DROP TABLE IF EXISTS people");
    db_exec(db, USERS_OF_A_SITE, type);
    db_exec(db, "INSERT INTO people (id, is_active) VALUES (7, '1'), (8, '1')");
    return db_store(db, &map);
}

static void test_rights(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada"), *other = make_user(db, "b@x.test", "b");
    sa_user_t *user = NULL;
    int done = 0;

    sa_work_t *work = work_of(db);
    ok(sa_store_set_right(work, id, SA_RIGHT_SUPERUSER, 1, &done));
    assert_int_equal(done, 1);
    ok(sa_store_user_by_id(work, id, &user));
    assert_true(user->is_superuser && !user->is_staff);
    ok(sa_store_set_right(work, id, SA_RIGHT_STAFF, 1, &done));
    ok(sa_store_set_right(work, id, SA_RIGHT_SUPERUSER, 0, &done));
    ok(sa_store_user_by_id(work, id, &user));
    assert_true(!user->is_superuser && user->is_staff);
    ok(sa_store_user_by_id(work, other, &user));
    assert_true(!user->is_superuser && !user->is_staff);
    ok(sa_store_set_right(work, "4711", SA_RIGHT_STAFF, 1, &done));
    assert_int_equal(done, 0);
    sa_work_close(work);
}

static void test_T60_delete_own_user(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada"), *other = make_user(db, "b@x.test", "b");
    sa_user_t *user = NULL;
    int done = 0, live = 1, revoked = 0;

    make_link(db, id, "i", "s");
    make_session(db, id, "mine");
    make_session(db, other, "others");
    sa_work_t *work = work_of(db);
    ok(sa_store_delete_user(work, id, NOW, &done));
    assert_int_equal(done, 1);
    ok(sa_store_user_by_id(work, id, &user));
    assert_false(user->usable);
    ok(sa_store_session_live(work, "mine", NULL, NOW, &live, &revoked));
    assert_true(!live && revoked);
    ok(sa_store_session_live(work, "others", NULL, NOW, &live, &revoked));
    assert_true(live);
    ok(sa_store_user_by_id(work, other, &user));
    assert_true(user->usable);
    ok(sa_store_delete_user(work, "4711", NOW, &done));
    assert_int_equal(done, 0);
    sa_work_close(work);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_links"), 1);
    assert_string_equal(db_text(db, is_pgsql(db)
                            ? "SELECT to_char(deleted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') "
                              "FROM sa_users WHERE id = %s"
                            : "SELECT deleted_at FROM sa_users WHERE id = %s", id),
                        "2027-01-15 08:00:00");
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_revocations WHERE sid = 'mine'"), 1);
}

static void test_T60_delete_in_a_sites_table(void **state)
{
    db_t *db = *state;
    static const struct {
        const char *type, *mark;        /* mark: as both databases' text of it begins */
    } kinds[] = {
        { "boolean", NULL }, { "integer", "1" }, { "text", "1" },
        { "timestamp", "2027-01-15 08:00:00" }, { "date", "2027-01-15" },
    };

    db_unbind(db);
    for (size_t i = 0; i < COUNT(kinds); i++) {
        sa_store_t *store = site_with_deleted(db, kinds[i].type);
        sa_user_t *user = NULL, *other = NULL;
        sa_work_t *work = NULL;
        int done = 0;

        db_drop_connections(db);        /* the table is another one now */
        ok(sa_work_open(&work, store, &db->source, db->pool));
        ok(sa_store_delete_user(work, "7", NOW, &done));
        assert_int_equal(done, 1);
        ok(sa_store_user_by_id(work, "7", &user));
        ok(sa_store_user_by_id(work, "8", &other));
        sa_work_close(work);
        assert_false(user->usable);
        assert_true(other->usable);
        const char *mark = db_text(db, "SELECT CAST(gone AS text) FROM people WHERE id = 7");
        if (kinds[i].mark) {
            assert_memory_equal(mark, kinds[i].mark, strlen(kinds[i].mark));
        }
    }
}

static void test_no_deleted_column(void **state)
{
    db_t *db = *state;
    sa_user_map_t map = { .table = "people", .is_staff = "", .is_superuser = "" };
    sa_work_t *work = NULL;
    sa_user_t *user = NULL;
    int done = 1;

    db_unbind(db);
    site_with_deleted(db, "boolean");
    ok(sa_work_open(&work, db_store(db, &map), &db->source, db->pool));
    ok(sa_store_delete_user(work, "7", NOW, &done));
    assert_int_equal(done, 0);
    ok(sa_store_set_right(work, "7", SA_RIGHT_STAFF, 1, &done));
    assert_int_equal(done, 0);
    ok(sa_store_set_right(work, "7", SA_RIGHT_SUPERUSER, 1, &done));
    assert_int_equal(done, 0);
    ok(sa_store_user_by_id(work, "7", &user));
    assert_true(user->usable);
    sa_work_close(work);
}

static void test_remove_user(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada"), *other = make_user(db, "b@x.test", "b");
    int done = 0;

    make_link(db, id, "i", "s");
    make_link(db, other, "i", "t");
    make_session(db, id, "mine");
    sa_work_t *work = work_of(db);
    ok(sa_store_remove_user(work, id, &done));
    assert_int_equal(done, 1);
    ok(sa_store_remove_user(work, id, &done));
    assert_int_equal(done, 0);
    sa_work_close(work);
    assert_string_equal(db_text(db, "SELECT id FROM sa_users"), other);
    assert_string_equal(db_text(db, "SELECT subject FROM sa_links"), "t");
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_sessions"), 0);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_revocations WHERE sid = 'mine'"), 1);
}

static void test_remove_user_who_is_referred_to(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada");
    int done = 0;

    db_exec(db, "CREATE TABLE orders (owner bigint REFERENCES sa_users (id))");
    db_exec(db, "INSERT INTO orders VALUES (%s)", id);
    sa_work_t *work = work_of(db);
    failed_as(sa_store_remove_user(work, id, &done), SA_E_CONFLICT);
    sa_work_close(work);
    assert_int_equal(done, 0);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_users"), 1);
}

static void test_delete_link(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada"), *other = make_user(db, "b@x.test", "b");
    int done = 0;

    make_link(db, id, "i", "s");
    make_link(db, id, "j", "s");
    make_link(db, other, "i", "t");
    sa_work_t *work = work_of(db);
    ok(sa_store_delete_link(work, id, "k", new_event(db->pool, "e1", "unlinked"), &done));
    assert_int_equal(done, 0);
    ok(sa_store_delete_link(work, id, "i", new_event(db->pool, "e2", "unlinked"), &done));
    assert_int_equal(done, 1);
    ok(sa_store_delete_link(work, id, "j", NULL, &done));
    assert_int_equal(done, 1);
    sa_work_close(work);
    assert_string_equal(db_text(db, "SELECT subject FROM sa_links"), "t");
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_outbox"), 1);
    assert_string_equal(db_text(db, "SELECT user_id FROM sa_outbox WHERE id = 'e2'"), id);
}

static void test_sessions(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada"), *other = make_user(db, "b@x.test", "b");
    apr_array_header_t *sessions = NULL;
    sa_session_t *session = NULL;
    int found, was_live;

    make_session(db, id, "s1");
    make_session(db, id, "s2");
    make_session(db, id, "ended");
    make_session(db, id, "expired");
    make_session(db, other, "s3");
    db_exec(db, "UPDATE sa_sessions SET auth_time = auth_time - 60, client_id = 'app' "
            "WHERE sid = 's1'");
    db_exec(db, "UPDATE sa_sessions SET expires = %d WHERE sid = 'expired'", NOW);
    sa_work_t *work = work_of(db);
    ok(sa_store_revoke_session(work, "ended", NOW, &found, &was_live));
    ok(sa_store_sessions(work, id, NOW, &sessions));
    assert_int_equal(sessions->nelts, 2);
    const sa_session_t *listed = (void *)sessions->elts;
    assert_string_equal(listed[0].sid, "s2");
    assert_string_equal(listed[1].sid, "s1");
    assert_string_equal(listed[1].client_id, "app");
    assert_string_equal(listed[1].user_id, id);
    ok(sa_store_sessions(work, "4711", NOW, &sessions));
    assert_int_equal(sessions->nelts, 0);
    ok(sa_store_session(work, "ended", &session));
    assert_string_equal(session->user_id, id);
    ok(sa_store_session(work, "nobody's", &session));
    assert_null(session);
    sa_work_close(work);
}

static void test_revoke_all(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada");
    const char *after = "";
    int n, found, was_live;

    for (int i = 0; i < 5; i++) {
        make_session(db, id, apr_psprintf(db->pool, "s%d", i));
    }
    sa_work_t *work = work_of(db);
    ok(sa_store_revoke_session(work, "s1", NOW - 9, &found, &was_live));
    ok(sa_store_revoke_all(work, NOW, 3, &after, &n));
    assert_int_equal(n, 3);
    assert_string_equal(after, "s3");
    ok(sa_store_revoke_all(work, NOW, 3, &after, &n));
    assert_int_equal(n, 1);
    ok(sa_store_revoke_all(work, NOW, 3, &after, &n));
    assert_int_equal(n, 0);
    sa_work_close(work);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_sessions WHERE revoked_at = %d", NOW), 4);
}

/* An event in the outbox: its age, its attempts, and whether it was given up. */
static void make_event(db_t *db, const char *id, int age, int attempts, int dead)
{
    db_exec(db, "INSERT INTO sa_outbox (id, type, at, targets, attempts, next_attempt, dead) "
            "VALUES ('%s', 't', %d, 'https://hook.test/', %d, %d, %d)", id, NOW - age, attempts,
            NOW - age, dead);
}

static void test_outbox(void **state)
{
    db_t *db = *state;
    apr_array_header_t *rows = NULL;
    int n = 0;

    make_event(db, "young", 1, 2, 0);
    make_event(db, "old", 9, 0, 0);
    make_event(db, "dead", 5, 10, 1);
    make_event(db, "dead too", 4, 10, 1);
    sa_work_t *work = work_of(db);
    ok(sa_store_outbox_list(work, 0, 3, &rows));
    assert_int_equal(rows->nelts, 3);
    const sa_outbox_row_t *row = (void *)rows->elts;
    assert_string_equal(row[0].event.id, "old");
    assert_string_equal(row[1].event.id, "dead");
    assert_true(!row[0].dead && row[1].dead);
    assert_int_equal(row[1].attempts, 10);
    assert_true(row[1].next_attempt == NOW - 5);
    ok(sa_store_outbox_list(work, 1, 9, &rows));
    assert_int_equal(rows->nelts, 2);

    ok(sa_store_outbox_retry(work, "nothing", NOW, &n));
    assert_int_equal(n, 0);
    ok(sa_store_outbox_retry(work, "young", NOW, &n));
    assert_int_equal(n, 1);
    ok(sa_store_outbox_retry(work, "dead", NOW + 1, &n));
    assert_int_equal(n, 1);
    ok(sa_store_outbox_retry(work, NULL, NOW + 2, &n));
    assert_int_equal(n, 1);
    sa_work_close(work);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_outbox WHERE dead = 1"), 0);
    assert_int_equal(db_int(db, "SELECT attempts FROM sa_outbox WHERE id = 'young'"), 2);
    assert_int_equal(db_int(db, "SELECT attempts FROM sa_outbox WHERE id = 'dead'"), 0);
    assert_int_equal(db_int(db, "SELECT next_attempt FROM sa_outbox WHERE id = 'dead'"), NOW + 1);
    assert_int_equal(db_int(db, "SELECT next_attempt FROM sa_outbox WHERE id = 'dead too'"),
                     NOW + 2);
    assert_int_equal(db_int(db, "SELECT next_attempt FROM sa_outbox WHERE id = 'old'"), NOW - 9);
}

static void test_health(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada");
    sa_health_t health;

    make_event(db, "young", 5, 2, 0);
    make_event(db, "late", 10, 0, 0);
    make_event(db, "dead", 20, 10, 1);
    make_event(db, "dead too", 5, 10, 1);
    make_session(db, id, "live");
    make_session(db, id, "over");
    db_exec(db, "UPDATE sa_sessions SET expires = %d WHERE sid = 'over'", NOW - 10);
    db_exec(db, "INSERT INTO sa_spent (id, expires) VALUES ('a', %d), ('b', %d), ('c', %d)",
            NOW - 10, NOW - 11, NOW - 9);
    sa_work_t *work = work_of(db);
    ok(sa_store_health(work, NOW - 10, &health));
    sa_work_close(work);
    assert_int_equal(health.expired, 3);
    assert_int_equal(health.events.dead, 2);
    assert_int_equal(health.events.late, 1);
    assert_int_equal(health.mails.dead + health.mails.late, 0);
    apr_int64_t off = health.clock - apr_time_sec(apr_time_now());
    assert_true(off >= -60 && off <= 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(test_rights, setup_own),
        ON_BOTH(test_T60_delete_own_user, setup_own),
        ON_BOTH(test_T60_delete_in_a_sites_table, setup_own),
        ON_BOTH(test_no_deleted_column, setup_own),
        ON_BOTH(test_remove_user, setup_own),
        ON_BOTH(test_remove_user_who_is_referred_to, setup_own),
        ON_BOTH(test_delete_link, setup_own),
        ON_BOTH(test_sessions, setup_own),
        ON_BOTH(test_revoke_all, setup_own),
        ON_BOTH(test_outbox, setup_own),
        ON_BOTH(test_health, setup_own),
    };
    return fixture_main("store_admin", tests, COUNT(tests));
}
