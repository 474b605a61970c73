/* Schema, mapping, users: the same answers from SQLite and from PostgreSQL. */
#include "store_fixture.h"

#include <stdio.h>

/* ---- schema and mapping ---- */

static void test_T217_migrate_installs_once(void **state)
{
    db_t *db = *state;
    int from = -1, to = -1, version = -1;
    const char *sql = NULL;

    sa_work_t *work = work_of(db);
    ok(sa_store_schema_version(work, &version));
    assert_int_equal(version, 0);
    ok(sa_store_migrate(work, 1, &from, &to, &sql));
    assert_non_null(strstr(sql, "CREATE TABLE sa_users"));
    assert_null(strchr(sql, '{'));
    ok(sa_store_schema_version(work, &version));
    assert_int_equal(version, 0);

    ok(sa_store_migrate(work, 0, &from, &to, &sql));
    assert_int_equal(from, 0);
    assert_int_equal(to, SA_SCHEMA_VERSION);
    ok(sa_store_migrate(work, 0, &from, &to, &sql));
    assert_int_equal(from, SA_SCHEMA_VERSION);
    assert_int_equal(to, SA_SCHEMA_VERSION);
    ok(sa_store_migrate(work, 1, &from, &to, &sql));
    assert_string_equal(sql, "");
    ok(sa_store_schema_version(work, &version));
    assert_int_equal(version, SA_SCHEMA_VERSION);
    sa_work_close(work);
    if (!is_pgsql(db)) {
        assert_string_equal(db_text(db, "PRAGMA journal_mode"), "wal");
    }
}

static void test_T217_dry_run_is_a_script_that_works(void **state)
{
    db_t *db = *state;
    int from, to;
    const char *sql = NULL;

    sa_work_t *work = work_of(db);
    ok(sa_store_migrate(work, 1, &from, &to, &sql));
    sa_work_close(work);
    db_exec(db, "%s", sql);
    assert_non_null(make_user(db, "ada@x.test", "ada"));
}

/* A database of the first release, with somebody in it. */
static void install_first_version(db_t *db, const char **id)
{
    static const char end[] = "COMMIT;\n";
    int from, to;
    const char *sql = NULL;

    sa_work_t *work = work_of(db);
    ok(sa_store_migrate(work, 1, &from, &to, &sql));
    sa_work_close(work);
    const char *first = strstr(sql, end);
    db_exec(db, "%.*s", (int)(first - sql + sizeof(end) - 1), sql);
    db_exec(db, "INSERT INTO sa_users (email, username, date_joined) "
                "VALUES ('ada@x.test', 'ada', '2026-01-01 00:00:00')");
    *id = db_text(db, "SELECT id FROM sa_users");
}

static void test_T217_an_older_schema_becomes_the_newest(void **state)
{
    db_t *db = *state;
    int from, to;
    const char *id, *sql = NULL;
    sa_user_t *user = NULL;

    install_first_version(db, &id);
    sa_work_t *work = work_of(db);
    failed_as(sa_store_user_by_id(work, id, &user), SA_E_UNAVAILABLE);
    sa_work_close(work);
    work = work_of(db);
    ok(sa_store_migrate(work, 1, &from, &to, &sql));
    assert_null(strstr(sql, "CREATE TABLE sa_users"));
    assert_int_equal(from, 1);
    ok(sa_store_migrate(work, 0, &from, &to, &sql));
    assert_int_equal(from, 1);
    assert_int_equal(to, SA_SCHEMA_VERSION);
    ok(sa_store_user_by_id(work, id, &user));
    sa_work_close(work);
    assert_string_equal(user->email, "ada@x.test");
}

static void test_T219_missing_schema_says_migrate(void **state)
{
    db_t *db = *state;
    sa_user_t *user = NULL;
    int from, to;
    const char *sql = NULL;

    sa_work_t *work = work_of(db);
    sa_error_t *error = sa_store_user_by_id(work, "1", &user);
    failed_as(error, SA_E_UNAVAILABLE);
    assert_non_null(strstr(error->log, "run \"socialauthctl migrate\""));
    failed_as(sa_work_begin(work), SA_E_UNAVAILABLE);       /* the work is dead */
    sa_work_close(work);

    work = work_of(db);                                     /* but not the connection */
    ok(sa_store_migrate(work, 0, &from, &to, &sql));
    ok(sa_store_user_by_id(work, "1", &user));
    assert_null(user);
    sa_work_close(work);
    assert_int_equal(db_connections(db), 1);

    db_exec(db, "DROP TABLE sa_links");                     /* found by the statement itself */
    work = work_of(db);
    apr_array_header_t *links = NULL;
    error = sa_store_links(work, "1", NULL, NOW, &user, &links);
    failed_as(error, SA_E_UNAVAILABLE);
    assert_non_null(strstr(error->log, "run \"socialauthctl migrate\""));
    sa_work_close(work);
}

static void test_T217_other_schema_version_is_refused(void **state)
{
    db_t *db = *state;
    sa_user_t *user = NULL;
    int from, to;
    const char *sql = NULL;

    db_exec(db, "INSERT INTO sa_schema (version) VALUES (%d)", SA_SCHEMA_VERSION + 1);
    db_drop_connections(db);
    sa_work_t *work = work_of(db);
    sa_error_t *error = sa_store_user_by_id(work, "1", &user);
    failed_as(error, SA_E_UNAVAILABLE);
    assert_non_null(strstr(error->log, "socialauthctl migrate"));
    sa_work_close(work);
    work = work_of(db);
    failed_as(sa_store_migrate(work, 0, &from, &to, &sql), SA_E_FORBIDDEN);
    sa_work_close(work);

    db_exec(db, "DELETE FROM sa_schema");
    work = work_of(db);
    error = sa_store_user_by_id(work, "1", &user);
    failed_as(error, SA_E_UNAVAILABLE);
    assert_non_null(strstr(error->log, "run \"socialauthctl migrate\""));
    sa_work_close(work);
}

static void test_mapping_names_are_checked(void **state)
{
    db_t *db = *state;
    const char *why = NULL;
    static const char *const bad[] = { "", "a b", "1a", "a\"b", "a.b.c", ".a", "a.", "a;b", "a-b",
        "a1234567890123456789012345678901234567890123456789012345678901234", "n\xc3\xa4me" };

    for (size_t i = 0; i < COUNT(bad); i++) {
        sa_user_map_t map = { .table = bad[i] };
        why = NULL;
        assert_null(sa_store_make(db->pool, db->driver, &map, &why));
        assert_non_null(why);
        map = (sa_user_map_t) { .table = "t", .email = bad[i] };
        if (*bad[i]) {
            assert_null(sa_store_make(db->pool, db->driver, &map, &why));
        }
    }
    sa_user_map_t keyless = { .table = "t", .id = "" };
    assert_null(sa_store_make(db->pool, db->driver, &keyless, &why));
    assert_null(sa_store_make(db->pool, "mysql", NULL, &why));
    assert_non_null(strstr(why, "pgsql or sqlite3"));
    sa_user_map_t good = { .table = "public.auth_user", .username = "", .is_active = "Act$1" };
    sa_store_t *store = sa_store_make(db->pool, db->driver, &good, &why);
    assert_non_null(store);
    assert_false(sa_store_is_own(store));
    assert_true(sa_store_is_own(db->store));
}

static void test_check_mapping(void **state)
{
    db_t *db = *state;
    const char *problem = "x";
    sa_user_map_t map = { .table = "people", .username = "", .first_name = "", .last_name = "",
                          .password = "", .is_active = "", .is_staff = "", .is_superuser = "",
                          .date_joined = "", .last_login = "" };
    sa_work_t *work = NULL;

    work = work_of(db);
    ok(sa_store_check_mapping(work, &problem));
    assert_null(problem);
    sa_work_close(work);

    sa_store_t *people = db_store(db, &map);
    ok(sa_work_open(&work, people, &db->source, db->pool));
    ok(sa_store_check_mapping(work, &problem));
    assert_non_null(strstr(problem, "made for another"));
    sa_work_close(work);
    db_unbind(db);
    ok(sa_work_open(&work, people, &db->source, db->pool));
    ok(sa_store_check_mapping(work, &problem));
    assert_non_null(strstr(problem, "does not exist"));
    sa_work_close(work);
    db_exec(db, "CREATE TABLE people (id integer PRIMARY KEY, mail text)");
    ok(sa_work_open(&work, people, &db->source, db->pool));
    ok(sa_store_check_mapping(work, &problem));
    assert_non_null(strstr(problem, "no column \"email\""));
    sa_work_close(work);
    map.email = "mail";
    ok(sa_work_open(&work, db_store(db, &map), &db->source, db->pool));
    ok(sa_store_check_mapping(work, &problem));
    assert_null(problem);
    sa_work_close(work);
}

/* Links of one user table's people must never be taken for another's. */
static void test_another_user_table_is_refused(void **state)
{
    db_t *db = *state;
    sa_user_map_t map = { .table = "people" };
    sa_work_t *work = NULL;
    sa_user_t *user = NULL;

    make_link(db, make_user(db, "ada@x.test", "ada"), "iss", "1");
    db_exec(db, "CREATE TABLE people AS SELECT * FROM sa_users");
    db_drop_connections(db);
    ok(sa_work_open(&work, db_store(db, &map), &db->source, db->pool));
    sa_error_t *error = sa_store_login_linked(work, "iss", "1", NULL, 0,
                                              new_session(db->pool, "s"), NULL, NULL, &user);
    failed_as(error, SA_E_UNAVAILABLE);
    assert_non_null(strstr(error->log, "SocialAuthUserTable"));
    sa_work_close(work);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_sessions"), 0);
}

/* ---- users ---- */

static void test_create_and_find(void **state)
{
    db_t *db = *state;
    sa_user_t *user = NULL;
    sa_email_match_t match;

    const char *id = make_user(db, "ada@x.test", "ada");
    sa_work_t *work = work_of(db);
    ok(sa_store_user_by_id(work, id, &user));
    assert_string_equal(user->id, id);
    assert_true(user->id_is_integer);
    assert_string_equal(user->email, "ada@x.test");
    assert_string_equal(user->username, "ada");
    assert_string_equal(user->first_name, "Ada");
    assert_string_equal(user->last_name, "Lovelace");
    assert_string_equal(user->password, "argon2$x");
    assert_true(user->usable && user->email_verified && user->was_new);
    assert_false(user->is_staff || user->is_superuser);

    ok(sa_store_user_by_email(work, "ada@x.test", "iss", &match));
    assert_int_equal(match.count, 1);
    assert_string_equal(match.user->id, id);
    assert_false(match.has_issuer);
    ok(sa_store_user_by_email(work, "ada@x.test", NULL, &match));
    assert_int_equal(match.count, 1);
    ok(sa_store_user_by_email(work, "nobody@x.test", "iss", &match));
    assert_int_equal(match.count, 0);
    assert_null(match.user);
    sa_work_close(work);

    make_link(db, id, "iss", "1");
    work = work_of(db);
    ok(sa_store_user_by_email(work, "ada@x.test", "iss", &match));
    assert_true(match.has_issuer);
    ok(sa_store_user_by_email(work, "ada@x.test", "other", &match));
    assert_false(match.has_issuer);
    sa_work_close(work);
}

static void test_create_says_what_is_taken(void **state)
{
    db_t *db = *state;
    sa_new_user_t user = { "ada@x.test", "other", "", "", "", 0, 1, 0, 0, NULL, 0 };
    const char *id = NULL, *taken = NULL;

    make_user(db, "ada@x.test", "ada");
    sa_work_t *work = work_of(db);
    ok(sa_work_begin(work));
    ok(sa_store_create_user(work, &user, NOW, &id, &taken));
    assert_null(id);
    assert_string_equal(taken, "email");
    user.email = "other@x.test";
    user.username = "ada";
    ok(sa_store_create_user(work, &user, NOW, &id, &taken));
    assert_null(id);
    assert_string_equal(taken, "username");
    user.username = "ada_1";                    /* the transaction stays usable */
    ok(sa_store_create_user(work, &user, NOW, &id, &taken));
    assert_non_null(id);
    assert_null(taken);
    ok(sa_work_commit(work));
    user = (sa_new_user_t) { NULL, "github_1", NULL, NULL, NULL, 0, 1, 0, 0, NULL, 0 };
    ok(sa_store_create_user(work, &user, NOW, &id, &taken));
    assert_non_null(id);
    user.username = "github_2";                 /* any number may have no e-mail */
    ok(sa_store_create_user(work, &user, NOW, &id, &taken));
    assert_non_null(id);
    sa_work_close(work);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_users WHERE email IS NULL"), 2);
}

static void test_T63_confusable_addresses_are_different(void **state)
{
    db_t *db = *state;
    static const char *const emails[] = {
        "ada@x.test", "ADA@x.test", "ad\xc3\xa0@x.test", "a\xcc\x80-da@x.test",
        "\xc4\xb0@x.test",
        "i@x.test", "\xc5\xbf@x.test", "s@x.test", "\xc3\x89@x.test", "\xc3\xa9@x.test",
        "ada@x.test.", " ada@x.test", "ada@x.test " };
    sa_email_match_t match;

    for (size_t i = 0; i < COUNT(emails); i++) {
        make_user(db, emails[i], apr_psprintf(db->pool, "u%d", (int)i));
    }
    sa_work_t *work = work_of(db);
    for (size_t i = 0; i < COUNT(emails); i++) {
        ok(sa_store_user_by_email(work, emails[i], NULL, &match));
        assert_int_equal(match.count, 1);
        assert_string_equal(match.user->username, apr_psprintf(db->pool, "u%d", (int)i));
    }
    sa_work_close(work);
}

static const char *const hostile[] = {
    "' OR 1=1--", "\"; DROP TABLE sa_users;--", "%s%n%s", "\\", "\\'", "$1", "?1", "{users}", "{",
    ";", "a;b", "\xe2\x80\xae", "\r\n", "NULL", "" };

static void test_T109_hostile_text_is_text(void **state)
{
    db_t *db = *state;
    sa_user_t *user = NULL;
    apr_array_header_t *links = NULL;

    for (size_t i = 0; i < COUNT(hostile); i++) {
        const char *text = hostile[i];
        sa_new_user_t made = { apr_psprintf(db->pool, "%d%s", (int)i, text),
                               apr_psprintf(db->pool, "u%d%s", (int)i, text), text, text, text,
                               0, 1, 0, 0, NULL, 0 };
        sa_link_t link = { text, apr_psprintf(db->pool, "i%d%s", (int)i, text), text, text, NOW };
        const char *id = NULL, *taken = NULL;
        sa_work_t *work = work_of(db);
        ok(sa_store_create_user(work, &made, NOW, &id, &taken));
        assert_non_null(id);
        ok(sa_store_create_link(work, id, &link));
        ok(sa_store_links(work, id, NULL, NOW, &user, &links));
        assert_string_equal(user->email, made.email);
        assert_string_equal(user->username, made.username);
        assert_string_equal(user->first_name, text);
        assert_string_equal(user->password, text);
        assert_int_equal(links->nelts, 1);
        const sa_link_t *found = (void *)links->elts;
        assert_string_equal(found->provider, text);
        assert_string_equal(found->issuer, link.issuer);
        assert_string_equal(found->subject, text);
        ok(sa_store_user_by_login(work, made.email, NULL, &user));
        assert_string_equal(user->id, id);
        ok(sa_store_user_by_login(work, NULL, made.username, &user));
        assert_string_equal(user->id, id);
        sa_work_close(work);
    }
}

static void test_T109_what_is_no_key_finds_nobody(void **state)
{
    db_t *db = *state;
    static const char *const ids[] = { "", "abc", "1e0", "1.0", " 1", "1 ", "+1", "0x1", "-1",
        "01x",
        "99999999999999999999", "9223372036854775807", "' OR 1=1--", "1; DROP TABLE sa_users" };
    sa_user_t *user = NULL;
    apr_array_header_t *links = NULL;
    sa_link_t link = { "p", "i", "s", NULL, NOW };
    sa_link_verdict_t linked;
    sa_unlink_verdict_t unlinked;
    int n = 0;

    make_user(db, "ada@x.test", "ada");
    for (size_t i = 0; i < COUNT(ids); i++) {
        sa_work_t *work = work_of(db);
        ok(sa_store_user_by_id(work, ids[i], &user));
        assert_null(user);
        ok(sa_store_links(work, ids[i], NULL, NOW, &user, &links));
        assert_null(user);
        ok(sa_store_start_session(work, ids[i], new_session(db->pool, "s"), NULL, 0, &user));
        assert_null(user);
        ok(sa_store_set_password(work, ids[i], NULL, "x", &n));
        assert_int_equal(n, 0);
        ok(sa_store_set_active(work, ids[i], 0, &n));
        assert_int_equal(n, 0);
        ok(sa_store_revoke_user(work, ids[i], NULL, NOW, &n));
        assert_int_equal(n, 0);
        ok(sa_store_link(work, ids[i], NULL, &link, NULL, NOW, &linked));
        assert_int_equal(linked, SA_LINK_NO_USER);
        ok(sa_store_unlink(work, ids[i], NULL, "i", "i", 1, NULL, NOW, &unlinked));
        assert_int_equal(unlinked, SA_UNLINK_NO_USER);
        ok(sa_store_reclaim_user(work, ids[i], "!", NOW));
        sa_work_close(work);
    }
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_users WHERE password = 'argon2$x'"), 1);
}

static void test_T216_user_without_anything(void **state)
{
    db_t *db = *state;
    sa_user_t *user = NULL;
    sa_user_map_t map = { .table = "people", .email_verified = "checked", .deleted = "gone" };
    sa_email_match_t match;

    db_unbind(db);
    db_exec(db, "CREATE TABLE people (id integer PRIMARY KEY, email text, username text, "
            "first_name text, last_name text, password text, is_active %s, is_staff %s, "
            "is_superuser %s, checked %s, date_joined text, last_login text, gone text)",
            is_pgsql(db) ? "boolean" : "bool", is_pgsql(db) ? "boolean" : "bool",
            is_pgsql(db) ? "boolean" : "bool", is_pgsql(db) ? "boolean" : "bool");
    db_exec(db, "INSERT INTO people (id) VALUES (7), (8)");
    db_exec(db, "INSERT INTO people (id, email) VALUES (9, 'Twin@x.test'), (10, 'tWIN@x.test')");
    sa_work_t *work = NULL;
    ok(sa_work_open(&work, db_store(db, &map), &db->source, db->pool));
    ok(sa_store_user_by_id(work, "7", &user));
    assert_null(user->email);
    assert_string_equal(user->username, "");
    assert_string_equal(user->first_name, "");
    assert_string_equal(user->password, "");
    assert_false(user->usable || user->email_verified || user->is_staff || user->is_superuser);
    ok(sa_store_user_by_email(work, "twin@x.test", NULL, &match));
    assert_int_equal(match.count, 2);
    assert_null(match.user);
    ok(sa_store_user_by_login(work, "twin@x.test", NULL, &user));
    assert_null(user);
    ok(sa_store_user_by_email(work, "", NULL, &match));
    assert_int_equal(match.count, 0);
    ok(sa_store_user_by_login(work, NULL, NULL, &user));
    assert_null(user);
    sa_work_close(work);
}

static void test_login_by_mail_or_name(void **state)
{
    db_t *db = *state;
    sa_user_t *user = NULL;

    const char *ada = make_user(db, "ada@x.test", "ada");
    make_user(db, "eve@x.test", "ada@x.test");      /* a name that looks like ada's address */
    sa_work_t *work = work_of(db);
    ok(sa_store_user_by_login(work, "ada@x.test", "ada@x.test", &user));
    assert_string_equal(user->id, ada);
    ok(sa_store_user_by_login(work, "ada@x.test", NULL, &user));
    assert_string_equal(user->id, ada);
    ok(sa_store_user_by_login(work, NULL, "ada", &user));
    assert_string_equal(user->id, ada);
    ok(sa_store_user_by_login(work, NULL, "ADA", &user));
    assert_null(user);
    ok(sa_store_user_by_login(work, NULL, "ada@x.test", &user));
    assert_string_not_equal(user->id, ada);
    ok(sa_store_user_by_login(work, "no@x.test", "no", &user));
    assert_null(user);
    sa_work_close(work);
}

static void test_set_password(void **state)
{
    db_t *db = *state;
    sa_user_t *user = NULL;
    int done = 0;

    const char *id = make_user(db, "ada@x.test", "ada");
    sa_work_t *work = work_of(db);
    ok(sa_store_set_password(work, id, "wrong", "new", &done));
    assert_int_equal(done, 0);
    ok(sa_store_set_password(work, id, "argon2$x", "new", &done));
    assert_int_equal(done, 1);
    ok(sa_store_set_password(work, id, NULL, "newer", &done));
    assert_int_equal(done, 1);
    ok(sa_store_set_password(work, "4711", NULL, "newer", &done));
    assert_int_equal(done, 0);
    ok(sa_store_user_by_id(work, id, &user));
    assert_string_equal(user->password, "newer");
    sa_work_close(work);
}

static void test_set_profile(void **state)
{
    db_t *db = *state;
    const sa_profile_t lovelace = { "countess", "Augusta", "King" }, taken = { "bob", "A", "B" };
    sa_taken_t who;
    int done;

    const char *id = make_user(db, "ada@x.test", "ada");
    make_user(db, "bob@x.test", "bob");
    sa_work_t *work = work_of(db);
    ok(sa_store_set_profile(work, id, &lovelace, &done));
    assert_true(done);
    ok(sa_store_set_profile(work, id, &lovelace, &done));       /* one's own name */
    assert_true(done);
    ok(sa_store_set_profile(work, id, &taken, &done));
    assert_false(done);
    ok(sa_store_set_profile(work, "999", &lovelace, &done));
    assert_false(done);
    ok(sa_store_taken(work, "ada@x.test", "nobody", &who));
    assert_true(who.email && !who.username);
    ok(sa_store_taken(work, NULL, "bob", &who));
    assert_true(!who.email && who.username);
    sa_work_close(work);
    assert_string_equal(db_text(db, "SELECT username || first_name || last_name FROM sa_users "
                                "WHERE id = %s", id), "countessAugustaKing");
}

static void test_last_login_of_a_new_user(void **state)
{
    db_t *db = *state;
    sa_new_user_t user = { .email = "ada@x.test", .username = "ada", .password = "", .is_active = 1,
                           .last_login = NOW };
    const char *id, *taken;
    sa_user_t *found;

    sa_work_t *work = work_of(db);
    ok(sa_store_create_user(work, &user, NOW, &id, &taken));
    ok(sa_store_user_by_id(work, id, &found));
    sa_work_close(work);
    assert_false(found->was_new);
}

static void test_list_and_set_active(void **state)
{
    db_t *db = *state;
    apr_array_header_t *users = NULL;
    int done = 0, live = 0, revoked = 0;
    const char *ids[5];

    for (int i = 0; i < 5; i++) {
        ids[i] = make_user(db, apr_psprintf(db->pool, "u%d@x.test", i),
                           apr_psprintf(db->pool, "u%d", (int)i));
    }
    make_session(db, ids[2], "s");
    sa_work_t *work = work_of(db);
    ok(sa_store_list_users(work, NULL, 3, &users));
    assert_int_equal(users->nelts, 3);
    const sa_user_t *found = (void *)users->elts;
    assert_string_equal(found[2].id, ids[2]);
    ok(sa_store_list_users(work, found[2].id, 3, &users));
    assert_int_equal(users->nelts, 2);
    found = (void *)users->elts;
    assert_string_equal(found[0].id, ids[3]);

    ok(sa_store_set_active(work, ids[2], 0, &done));
    assert_int_equal(done, 1);
    ok(sa_store_session_live(work, "s", NULL, NOW, &live, &revoked));
    assert_true(!live && revoked);
    ok(sa_store_set_active(work, ids[2], 1, &done));
    assert_int_equal(done, 1);
    ok(sa_store_session_live(work, "s", NULL, NOW, &live, &revoked));
    assert_true(!live && revoked);
    ok(sa_store_set_active(work, "4711", 0, &done));
    assert_int_equal(done, 0);
    sa_work_close(work);
}

static void test_timestamps_as_django_writes_them(void **state)
{
    db_t *db = *state;
    make_user(db, "ada@x.test", "ada");
    assert_string_equal(db_text(db, "SELECT date_joined FROM sa_users"), "2027-01-15 08:00:00");
}

static const struct CMUnitTest tests[] = {
    ON_BOTH(test_T217_migrate_installs_once, setup_empty),
    ON_BOTH(test_T217_dry_run_is_a_script_that_works, setup_empty),
    ON_BOTH(test_T217_an_older_schema_becomes_the_newest, setup_empty),
    ON_BOTH(test_T219_missing_schema_says_migrate, setup_empty),
    ON_BOTH(test_T217_other_schema_version_is_refused, setup_own),
    ON_BOTH(test_mapping_names_are_checked, setup_empty),
    ON_BOTH(test_another_user_table_is_refused, setup_own),
    ON_BOTH(test_check_mapping, setup_own),
    ON_BOTH(test_create_and_find, setup_own),
    ON_BOTH(test_create_says_what_is_taken, setup_own),
    ON_BOTH(test_T63_confusable_addresses_are_different, setup_own),
    ON_BOTH(test_T109_hostile_text_is_text, setup_own),
    ON_BOTH(test_T109_what_is_no_key_finds_nobody, setup_own),
    ON_BOTH(test_T216_user_without_anything, setup_own),
    ON_BOTH(test_login_by_mail_or_name, setup_own),
    ON_BOTH(test_set_password, setup_own),
    ON_BOTH(test_set_profile, setup_own),
    ON_BOTH(test_last_login_of_a_new_user, setup_own),
    ON_BOTH(test_list_and_set_active, setup_own),
    ON_SQLITE(test_timestamps_as_django_writes_them, setup_own),
};

int main(void)
{
    return fixture_main("store", tests, COUNT(tests));
}
