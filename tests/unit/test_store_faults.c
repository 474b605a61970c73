/* The database goes away, hangs, fills up or is busy: a clear failure in time, and no damage. */
#include "store_fixture.h"

#include "core/clock.h"

#include <libpq-fe.h>
#include <signal.h>
#include <sys/socket.h>

#define SHORT_MS 1000           /* for what must fail in time */
#define LONG_MS 30000           /* for what must succeed, or fail at once */
#define IN_TIME_MS 10000

static int elapsed_ms(apr_time_t since)
{
    return (int)apr_time_as_msec(sa_steady_time() - since);
}

static sa_error_t *look(db_t *db)
{
    sa_user_t *user = NULL;
    sa_work_t *work = NULL;

    sa_error_t *error = sa_work_open(&work, db->store, &db->source, db->pool);
    if (!error) {
        error = sa_store_user_by_id(work, "1", &user);
    }
    sa_work_close(work);
    return error;
}

static sa_error_t *write_session(db_t *db, const char *user_id, const char *sid)
{
    sa_user_t *user = NULL;
    sa_work_t *work = NULL;

    sa_error_t *error = sa_work_open(&work, db->store, &db->source, db->pool);
    if (!error) {
        error = sa_store_start_session(work, user_id, new_session(db->pool, sid), NULL, 0, &user);
    }
    sa_work_close(work);
    return error;
}

/* Opens n connections and lets all of them prepare a few statements. */
static void warm_up(db_t *db, const char *user_id, int n)
{
    sa_work_t *works[16];
    sa_user_t *user = NULL;

    for (int i = 0; i < n; i++) {
        works[i] = work_of(db);
        ok(sa_store_user_by_id(works[i], user_id, &user));
        ok(sa_store_start_session(works[i], user_id,
                                  new_session(db->pool, apr_psprintf(db->pool, "warm%d", i)),
                                  NULL, 0, &user));
    }
    for (int i = 0; i < n; i++) {
        sa_work_close(works[i]);
    }
    assert_int_equal(db_connections(db), n);
}

static void kill_backends(db_t *db)
{
    db_text(db, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()");
    for (int i = 0; i < 200; i++) {
        if (db_int(db, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                   "AND pid <> pg_backend_pid()") == 0) {
            return;
        }
        apr_sleep(apr_time_from_msec(10));
    }
    fail_msg("the backends live on");
}

/* ---- PostgreSQL goes away ---- */

static void test_T208_killed_backends_are_not_noticed(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada");

    warm_up(db, id, 8);
    for (int round = 0; round < 3; round++) {
        kill_backends(db);
        for (int i = 0; i < 20; i++) {
            ok(write_session(db, id, apr_psprintf(db->pool, "s%d-%d", round, i)));
        }
        db_exec(db, "DELETE FROM sa_sessions WHERE sid LIKE 'warm%%'");
        sa_work_t *works[8];
        sa_user_t *user = NULL;
        for (int i = 0; i < 8; i++) {
            works[i] = work_of(db);
            ok(sa_store_user_by_id(works[i], id, &user));
            assert_non_null(user);
        }
        for (int i = 0; i < 8; i++) {
            sa_work_close(works[i]);
        }
    }
    assert_int_equal(db_connections(db), 8);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_sessions"), 60);
}

/* After the connection was looked at, before its first statement. */
static void test_T208_backend_killed_under_an_open_work(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada");
    sa_user_t *user = NULL;

    warm_up(db, id, 1);
    sa_work_t *work = work_of(db);
    kill_backends(db);
    ok(sa_store_user_by_id(work, id, &user));
    assert_non_null(user);
    sa_work_close(work);
    work = work_of(db);
    kill_backends(db);
    ok(sa_work_begin(work));
    ok(sa_store_start_session(work, id, new_session(db->pool, "s"), NULL, 0, &user));
    ok(sa_work_commit(work));
    sa_work_close(work);
    assert_false(db_last_broken(db));
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_sessions WHERE sid = 's'"), 1);
}

static void expect_setting(db_t *db, const char *name, const char *value)
{
    native_exec(db, db_native(db, 0),
                apr_psprintf(db->pool, "DO $$ BEGIN IF current_setting('%s') <> '%s' THEN RAISE "
                             "EXCEPTION '%s is %%', current_setting('%s'); END IF; END $$", name,
                             value, name, name));
}

/* What the statements are written for does not depend on the database's defaults; and mounts share
 * connections, but each has its own time limit. */
static void test_settings_of_a_connection(void **state)
{
    db_t *db = *state;
    const char *name = db_text(db, "SELECT current_database()");

    db_exec(db, "ALTER DATABASE %s SET default_transaction_isolation = 'serializable'", name);
    db_exec(db, "ALTER DATABASE %s SET client_encoding = 'LATIN1'", name);
    db_exec(db, "ALTER DATABASE %s SET statement_timeout = '1h'", name);
    db_drop_connections(db);
    db->source.timeout_ms = 5000;
    for (int round = 0; round < 2; round++) {
        sa_work_close(work_of(db));
        expect_setting(db, "default_transaction_isolation", "read committed");
        expect_setting(db, "client_encoding", "UTF8");
        expect_setting(db, "statement_timeout", round ? "700ms" : "5s");
        db->source.timeout_ms = 700;
    }
    assert_int_equal(db_connections(db), 1);
    make_user(db, "zofie@x.test", "zofie");
    db_exec(db, "UPDATE sa_users SET first_name = '\u017dofie'");
    sa_user_t *user = NULL;
    sa_work_t *work = work_of(db);
    ok(sa_store_user_by_login(work, "zofie@x.test", NULL, &user));
    assert_string_equal(user->first_name, "\u017dofie");
    sa_work_close(work);
}

static void test_T208_restart_of_the_server(void **state)
{
    db_t *db = *state;
    static const char *const how[] = { "fast", "immediate", "fast" };
    const char *id = make_user(db, "ada@x.test", "ada");

    warm_up(db, id, 8);
    for (size_t round = 0; round < COUNT(how); round++) {
        pg_server("restart", how[round]);
        for (int i = 0; i < 100; i++) {
            ok(write_session(db, id, apr_psprintf(db->pool, "s%d-%d", (int)round, i)));
        }
    }
    assert_int_equal(db_connections(db), 8);
}

static void test_T208_while_it_is_down(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada");

    warm_up(db, id, 2);
    pg_server("stop", NULL);
    db->source.timeout_ms = LONG_MS;
    for (int i = 0; i < 5; i++) {
        apr_time_t start = sa_steady_time();
        sa_error_t *error = write_session(db, id, "down");
        failed_as(error, SA_E_UNAVAILABLE);
        assert_int_equal(error->status, 503);
        assert_true(error->retry_after > 0);
        assert_true(elapsed_ms(start) <= IN_TIME_MS);
        assert_true(db_last_broken(db));
    }
    pg_server("up", NULL);
    for (int i = 0; i < 20; i++) {
        ok(write_session(db, id, apr_psprintf(db->pool, "up%d", i)));
    }
}

static void test_T209_killed_inside_a_transaction(void **state)
{
    db_t *db = *state;
    sa_new_user_t user = { "ada@x.test", "ada", "", "", "", 0, 1, 0, 0, NULL, 0 };
    sa_link_t link = { "p", "i", "1", NULL, NOW };
    const char *id = NULL, *taken = NULL;

    ok(look(db));
    for (int step = 0; step < 3; step++) {
        sa_work_t *work = work_of(db);
        ok(sa_work_begin(work));
        if (step == 0) {
            kill_backends(db);
        }
        sa_error_t *error = sa_store_create_user(work, &user, NOW, &id, &taken);
        if (step == 1) {
            ok(error);
            kill_backends(db);
        }
        error = error ? error : sa_store_create_link(work, id, &link);
        if (step == 2) {
            ok(error);
            kill_backends(db);
        }
        error = error ? error : sa_work_commit(work);
        failed_as(error, SA_E_UNAVAILABLE);
        failed_as(sa_work_begin(work), SA_E_UNAVAILABLE);
        sa_work_close(work);
        assert_int_equal(db_int(db, "SELECT count(*) FROM sa_users"), 0);
    }
    make_link(db, make_user(db, "ada@x.test", "ada"), "i", "1");
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_users"), 1);
}

static void test_T210_a_hanging_backend(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada");

    ok(look(db));
    for (int in_transaction = 0; in_transaction < 2; in_transaction++) {
        sa_user_t *user = NULL;
        db->source.timeout_ms = SHORT_MS;
        sa_work_t *work = work_of(db);
        if (in_transaction) {
            ok(sa_work_begin(work));
        }
        int backend = PQbackendPID(db_native(db, 0));
        kill(backend, SIGSTOP);
        apr_time_t start = sa_steady_time();
        sa_error_t *error = sa_store_user_by_id(work, id, &user);
        int took = elapsed_ms(start);
        failed_as(error, SA_E_UNAVAILABLE);
        failed_as(sa_store_user_by_id(work, id, &user), SA_E_UNAVAILABLE);
        sa_work_close(work);
        assert_true(took <= IN_TIME_MS);
        assert_true(elapsed_ms(start) - took < SHORT_MS);   /* the second did not wait again */
        assert_true(db_last_broken(db));
        char end;                               /* nobody can use it by mistake */
        assert_int_equal(recv(PQsocket(db_native(db, 0)), &end, 1, MSG_PEEK | MSG_DONTWAIT), 0);
        db->source.timeout_ms = LONG_MS;
        ok(look(db));                           /* a new backend, while the old one sleeps on */
        assert_int_not_equal(PQbackendPID(db_native(db, 0)), backend);
        kill(backend, SIGCONT);
        ok(write_session(db, id, apr_psprintf(db->pool, "s%d", in_transaction)));
    }
    assert_int_equal(db_connections(db), 1);
}

static void test_T210_the_whole_server_hangs(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada");
    int postmaster = db_int(db, "SELECT pg_read_file('postmaster.pid', 0, 12)");

    ok(look(db));
    db->source.timeout_ms = SHORT_MS;
    int backend = PQbackendPID(db_native(db, 0));
    assert_true(postmaster > 1);
    kill(postmaster, SIGSTOP);
    kill(backend, SIGSTOP);
    for (int i = 0; i < 3; i++) {
        apr_time_t start = sa_steady_time();
        sa_error_t *error = look(db);
        int took = elapsed_ms(start);
        if (!error || took > IN_TIME_MS) {
            kill(backend, SIGCONT);
            kill(postmaster, SIGCONT);
        }
        failed_as(error, SA_E_UNAVAILABLE);
        assert_true(took <= IN_TIME_MS);
    }
    kill(backend, SIGCONT);
    kill(postmaster, SIGCONT);
    db->source.timeout_ms = LONG_MS;
    for (int i = 0; i < 5; i++) {
        ok(write_session(db, id, apr_psprintf(db->pool, "s%d", i)));
    }
}

static void test_T210_a_row_locked_by_somebody(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada");

    make_session(db, id, "s");
    db->source.timeout_ms = SHORT_MS;
    db_drop_connections(db);
    void *other = db_connect(db);
    native_exec(db, other, "BEGIN; SELECT * FROM sa_sessions FOR UPDATE");
    sa_refresh_t asked = new_refresh("s", "s-1", "s-2");
    sa_refresh_verdict_t verdict;
    sa_session_t *session = NULL;
    sa_user_t *user = NULL;
    apr_time_t start = sa_steady_time();
    sa_work_t *work = work_of(db);
    failed_as(sa_store_refresh(work, &asked, &verdict, &session, &user), SA_E_UNAVAILABLE);
    sa_work_close(work);
    assert_true(elapsed_ms(start) <= IN_TIME_MS);
    for (int i = 0; i < 300; i++) {             /* nothing of ours goes on waiting in the server */
        if (db_int(db, "SELECT count(*) FROM pg_locks WHERE NOT granted") == 0) {
            break;
        }
        apr_sleep(apr_time_from_msec(10));
    }
    assert_int_equal(db_int(db, "SELECT count(*) FROM pg_locks WHERE NOT granted"), 0);
    db_disconnect(db, other);
    db->source.timeout_ms = LONG_MS;
    work = work_of(db);
    ok(sa_store_refresh(work, &asked, &verdict, &session, &user));
    sa_work_close(work);
    assert_int_equal(verdict, SA_REFRESH_ROTATED);
}

/* ---- others on the same connection ---- */

static void test_prepared_statements_vanish_or_go_stale(void **state)
{
    db_t *db = *state;
    apr_array_header_t *links = NULL;
    sa_user_t *user = NULL;
    const char *id = make_user(db, "ada@x.test", "ada");
    static const char *const what[] = {
        "DEALLOCATE ALL", "ALTER TABLE sa_links ALTER COLUMN email TYPE varchar(400)",
        "DISCARD ALL", "ALTER TABLE sa_links ALTER COLUMN email TYPE text" };

    make_link(db, id, "i", "1");
    for (size_t i = 0; i < 2 * COUNT(what); i++) {
        sa_work_t *work = work_of(db);
        ok(sa_store_links(work, id, NULL, NOW, &user, &links));
        sa_work_close(work);
        native_exec(db, db_native(db, 0), what[i % COUNT(what)]);
        work = work_of(db);
        ok(sa_store_links(work, id, NULL, NOW, &user, &links));
        assert_int_equal(links->nelts, 1);
        sa_work_close(work);

        native_exec(db, db_native(db, 0), what[i % COUNT(what)]);
        int tries = 0;                          /* inside a transaction: from its start again */
        sa_error_t *error = NULL;
        do {
            work = work_of(db);
            ok(sa_work_begin(work));
            error = sa_store_links(work, id, NULL, NOW, &user, &links);
            error = error ? error : sa_work_commit(work);
            sa_work_close(work);
        } while (error && error->kind == SA_E_CONFLICT && ++tries < 3);
        ok(error);
    }
}

static void test_schema_changes_under_prepared_statements(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada");

    make_session(db, id, "s1");
    db_exec(db, "ALTER TABLE sa_sessions ADD COLUMN more text");
    db_exec(db, "ALTER TABLE sa_users ADD COLUMN more text");
    make_session(db, id, "s2");
    ok(look(db));
}

static void test_somebodys_transaction_is_not_ours(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada");

    native_exec(db, db_native(db, 0), "BEGIN");
    native_exec(db, db_native(db, 0), "DELETE FROM sa_users");
    make_session(db, id, "s");
    assert_int_equal(db_connections(db), 1);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_users"), 1);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_sessions"), 1);
}

static void test_two_mappings_share_a_connection(void **state)
{
    db_t *db = *state;
    sa_user_map_t map = { .table = "people", .username = "", .first_name = "", .last_name = "",
                          .password = "", .is_active = "", .is_staff = "", .is_superuser = "",
                          .date_joined = "", .last_login = "" };
    sa_user_t *user = NULL;
    const char *id = make_user(db, "ada@x.test", "ada");

    db_exec(db, "CREATE TABLE people (id integer PRIMARY KEY, email text)");
    db_exec(db, "INSERT INTO people VALUES (%s, 'eve@y.test')", id);
    sa_store_t *people = db_store(db, &map);
    for (int i = 0; i < 4; i++) {
        sa_work_t *work = NULL;
        ok(sa_work_open(&work, i % 2 ? people : db->store, &db->source, db->pool));
        ok(sa_store_user_by_id(work, id, &user));
        sa_work_close(work);
        assert_string_equal(user->email, i % 2 ? "eve@y.test" : "ada@x.test");
    }
    assert_int_equal(db_connections(db), 1);
}

/* ---- full, read-only, busy ---- */

static void test_T212_disk_full(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada");
    sa_error_t *error = NULL;
    int i = 0, pages = db_int(db, "PRAGMA page_count");

    native_exec(db, db_native(db, 0), apr_psprintf(db->pool, "PRAGMA max_page_count = %d",
                                                   pages + 2));
    while (!error && i < 10000) {
        error = write_session(db, id, apr_psprintf(db->pool, "s%d", i++));
    }
    failed_as(error, SA_E_UNAVAILABLE);
    assert_int_equal(error->status, 503);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_sessions"), i - 1);
    failed_as(write_session(db, id, "again"), SA_E_UNAVAILABLE);
    ok(look(db));
    native_exec(db, db_native(db, 0), "PRAGMA max_page_count = 100000");
    ok(write_session(db, id, "after"));
    assert_int_equal(db_connections(db), 1);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_sessions"), i);
}

static void test_T212_read_only(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada");

    native_exec(db, db_native(db, 0), is_pgsql(db) ? "SET default_transaction_read_only = on"
                                                   : "PRAGMA query_only = on");
    failed_as(write_session(db, id, "s"), SA_E_UNAVAILABLE);
    ok(look(db));
    native_exec(db, db_native(db, 0), is_pgsql(db) ? "SET default_transaction_read_only = off"
                                                   : "PRAGMA query_only = off");
    ok(write_session(db, id, "s"));
}

static void test_T219_missing_privilege(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada");

    db_exec(db, "DROP ROLE IF EXISTS visitor");
    db_exec(db, "CREATE ROLE visitor LOGIN");
    db_exec(db, "GRANT SELECT ON sa_schema TO visitor");
    native_exec(db, db_native(db, 0), "SET ROLE visitor");
    sa_error_t *error = write_session(db, id, "s");
    failed_as(error, SA_E_UNAVAILABLE);
    assert_non_null(strstr(error->log, "42501"));
    native_exec(db, db_native(db, 0), "RESET ROLE");
    ok(write_session(db, id, "s"));
}

static void test_T213_writer_holds_the_lock(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada");
    void *other = db_connect(db);

    db->source.timeout_ms = SHORT_MS;
    native_exec(db, other, "BEGIN IMMEDIATE");
    native_exec(db, other, "UPDATE sa_users SET first_name = 'x'");
    apr_time_t start = sa_steady_time();
    sa_error_t *error = write_session(db, id, "s");
    failed_as(error, SA_E_UNAVAILABLE);
    assert_int_equal(error->status, 503);
    assert_true(elapsed_ms(start) >= SHORT_MS - 50 && elapsed_ms(start) <= IN_TIME_MS);
    db->source.timeout_ms = LONG_MS;
    ok(look(db));                               /* readers are not kept waiting */
    native_exec(db, other, "ROLLBACK");
    ok(write_session(db, id, "s"));
    db_disconnect(db, other);
}

static void *hold_for_a_while(void *data)
{
    runner_t *r = data;
    native_exec(r->db, r->arg, "BEGIN IMMEDIATE");
    __atomic_store_n(&r->outcome, 1, __ATOMIC_RELEASE);
    apr_sleep(apr_time_from_msec(300));
    __atomic_store_n(&r->outcome, 2, __ATOMIC_RELEASE);
    native_exec(r->db, r->arg, "COMMIT");
    return NULL;
}

static void test_T213_writer_lets_go_in_time(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada");
    runner_t r = { db, 0, db->pool, db_connect(db), 0, NULL };
    pthread_t thread;

    pthread_create(&thread, NULL, hold_for_a_while, &r);
    for (int i = 0; i < 1000 && !__atomic_load_n(&r.outcome, __ATOMIC_ACQUIRE); i++) {
        apr_sleep(1000);
    }
    ok(write_session(db, id, "s"));
    assert_int_equal(__atomic_load_n(&r.outcome, __ATOMIC_ACQUIRE), 2);
    pthread_join(thread, NULL);
    db_disconnect(db, r.arg);
}

static void run_writes(runner_t *r)
{
    sa_user_t *user = NULL;

    r->outcome = 0;
    for (int i = 0; i < 20; i++) {
        sa_work_t *work = NULL;
        sa_error_t *error = sa_work_open(&work, r->db->store, &r->db->source, r->pool);
        if (!error) {
            error = sa_store_start_session(work, r->arg,
                                           new_session(r->pool, apr_psprintf(r->pool, "s%d-%d",
                                                                             r->index, i)),
                                           NULL, 0, &user);
        }
        sa_work_close(work);
        r->outcome += error ? 1 : 0;
    }
}

static void test_T213_many_writers(void **state)
{
    db_t *db = *state;
    runner_t runners[32];
    const char *id = make_user(db, "ada@x.test", "ada");

    db->source.timeout_ms = 60000;
    at_once(db, 32, run_writes, (void *)(uintptr_t)id, runners);
    for (int i = 0; i < 32; i++) {
        assert_int_equal(runners[i].outcome, 0);
    }
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_sessions"), 640);
}

/* ---- serialization ---- */

static void inject(db_t *db, const char *sqlstate, int times)
{
    db_exec(db, "DROP SEQUENCE IF EXISTS tries; CREATE SEQUENCE tries;"
            "CREATE OR REPLACE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF nextval('tries') <= %d THEN RAISE EXCEPTION 'ada@x.test' USING ERRCODE = '%s'; "
            "END IF; RETURN NEW; END $$;"
            "DROP TRIGGER IF EXISTS lose ON sa_sessions;"
            "CREATE TRIGGER lose BEFORE INSERT ON sa_sessions FOR EACH ROW "
            "EXECUTE FUNCTION lose()", times, sqlstate);
}

static void test_T214_lost_races_are_run_again(void **state)
{
    db_t *db = *state;
    static const char *const states[] = { "40001", "40P01" };
    const char *id = make_user(db, "ada@x.test", "ada");

    for (size_t i = 0; i < COUNT(states); i++) {
        inject(db, states[i], 2);
        ok(write_session(db, id, states[i]));
        assert_int_equal(db_int(db, "SELECT last_value FROM tries"), 3);
        inject(db, states[i], 1000);
        sa_error_t *error = write_session(db, id, "s");
        failed_as(error, SA_E_CONFLICT);
        assert_int_equal(error->status, 503);
        assert_int_equal(db_int(db, "SELECT last_value FROM tries"), 3);

        inject(db, states[i], 1);               /* in a transaction it is the caller's */
        sa_user_t *user = NULL;
        sa_work_t *work = work_of(db);
        ok(sa_work_begin(work));
        failed_as(sa_store_start_session(work, id, new_session(db->pool, "t"), NULL, 0, &user),
                  SA_E_CONFLICT);
        failed_as(sa_work_commit(work), SA_E_CONFLICT);
        ok(sa_work_begin(work));
        ok(sa_store_start_session(work, id, new_session(db->pool,
                                                        apr_psprintf(db->pool, "t%d", (int)i)),
                                  NULL, 0, &user));
        ok(sa_work_commit(work));
        sa_work_close(work);
    }
}

static void test_T169_log_texts_hold_no_values(void **state)
{
    db_t *db = *state;
    static const char *const states[] = { "P0001", "23514", "22000" };
    const char *id = make_user(db, "ada@x.test", "ada");

    for (size_t i = 0; i < COUNT(states); i++) {
        inject(db, states[i], 1000);
        sa_error_t *error = write_session(db, id, "s");
        failed_as(error, SA_E_UNAVAILABLE);
        assert_null(strstr(error->log, "ada@x.test"));
        assert_non_null(strstr(error->log, states[i]));
        assert_null(strstr(error->text, "database"));
    }
    inject(db, "23505", 0);
    sa_link_t link = { "p", "secret-issuer", "secret-subject", NULL, NOW };
    make_link(db, id, link.issuer, link.subject);
    sa_work_t *work = work_of(db);
    sa_error_t *error = sa_store_create_link(work, id, &link);
    failed_as(error, SA_E_CONFLICT);
    assert_null(strstr(error->log, "secret"));
    sa_work_close(work);
}

static void run_refresh(runner_t *r)
{
    sa_refresh_t asked = new_refresh("s", "s-1", apr_psprintf(r->pool, "s-next-%d", r->index));
    sa_refresh_verdict_t verdict = SA_REFRESH_UNKNOWN;
    sa_session_t *session = NULL;
    sa_user_t *user = NULL;
    sa_work_t *work = NULL;

    sa_error_t *error = sa_work_open(&work, r->db->store, &r->db->source, r->pool);
    if (!error) {
        error = sa_store_refresh(work, &asked, &verdict, &session, &user);
    }
    sa_work_close(work);
    r->outcome = !error ? (int)verdict : error->kind == SA_E_CONFLICT ? 100 : 200;
}

static void test_T214_serializable_by_default(void **state)
{
    db_t *db = *state;
    runner_t runners[32];
    int rotated = 0;
    const char *id = make_user(db, "ada@x.test", "ada");

    make_session(db, id, "s");
    db_exec(db, "ALTER DATABASE \"%s\" SET default_transaction_isolation = 'serializable'",
            db_text(db, "SELECT current_database()"));
    db_drop_connections(db);
    at_once(db, 32, run_refresh, NULL, runners);
    for (int i = 0; i < 32; i++) {
        rotated += runners[i].outcome == SA_REFRESH_ROTATED;
        assert_true(runners[i].outcome == SA_REFRESH_ROTATED || runners[i].outcome == 100
                    || runners[i].outcome == SA_REFRESH_SUCCESSOR);
    }
    assert_int_equal(rotated, 1);
}

static const struct CMUnitTest tests[] = {
    ON_PGSQL(test_T208_killed_backends_are_not_noticed, setup_own),
    ON_PGSQL(test_T208_backend_killed_under_an_open_work, setup_own),
    ON_PGSQL(test_settings_of_a_connection, setup_own),
    ON_PGSQL(test_T208_restart_of_the_server, setup_own),
    ON_PGSQL(test_T208_while_it_is_down, setup_own),
    ON_PGSQL(test_T209_killed_inside_a_transaction, setup_own),
    ON_PGSQL(test_T210_a_hanging_backend, setup_own),
    ON_PGSQL(test_T210_the_whole_server_hangs, setup_own),
    ON_PGSQL(test_T210_a_row_locked_by_somebody, setup_own),
    ON_PGSQL(test_prepared_statements_vanish_or_go_stale, setup_own),
    ON_BOTH(test_schema_changes_under_prepared_statements, setup_own),
    ON_BOTH(test_somebodys_transaction_is_not_ours, setup_own),
    ON_BOTH(test_two_mappings_share_a_connection, setup_own),
    ON_SQLITE(test_T212_disk_full, setup_own),
    ON_BOTH(test_T212_read_only, setup_own),
    ON_PGSQL(test_T219_missing_privilege, setup_own),
    ON_SQLITE(test_T213_writer_holds_the_lock, setup_own),
    ON_SQLITE(test_T213_writer_lets_go_in_time, setup_own),
    ON_BOTH(test_T213_many_writers, setup_own),
    ON_PGSQL(test_T214_lost_races_are_run_again, setup_own),
    ON_PGSQL(test_T214_serializable_by_default, setup_own),
    ON_PGSQL(test_T169_log_texts_hold_no_values, setup_own),
};

int main(void)
{
    return fixture_main("store faults", tests, COUNT(tests));
}
