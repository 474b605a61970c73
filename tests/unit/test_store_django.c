/* A site's own user table: a real Django project, whose users sign in here and whose ORM reads
 * what we wrote. */
#include "store_fixture.h"

#include <stdio.h>

static int projects;
static char project[256];       /* directory of the one in use */

static const char *script(void)
{
    const char *top = getenv("SA_TOP_SRCDIR");
    static char path[512];
    snprintf(path, sizeof(path), "%s/tests/unit/django_project.py", top ? top : ".");
    return path;
}

/* Runs Python inside the project; what it printed, without the last newline. */
static const char *django(db_t *db, const char *code)
{
    const char *command = apr_psprintf(db->pool, "/usr/bin/python3 '%s' run %s \"%s\"", script(),
                                       project, code);
    char out[4096];
    FILE *pipe = popen(command, "r");

    assert_non_null(pipe);
    size_t n = fread(out, 1, sizeof(out) - 1, pipe);
    if (pclose(pipe) != 0) {
        fail_msg("%s", command);
    }
    out[n] = '\0';
    if (n && out[n - 1] == '\n') {
        out[n - 1] = '\0';
    }
    return apr_pstrdup(db->pool, out);
}

static const sa_user_map_t auth_user = { .table = "auth_user" };
static const sa_user_map_t person = {
    .table = "people_person", .username = "", .first_name = "", .last_name = "",
    .is_active = "active", .is_staff = "", .is_superuser = "", .email_verified = "confirmed",
    .date_joined = "joined", .deleted = "is_deleted",
};

static void set_up(void **state, const char *kind, const sa_user_map_t *map)
{
    int from, to;
    const char *sql = NULL, *problem = NULL;

    setup_empty(state);
    db_t *db = *state;
    snprintf(project, sizeof(project), "%s/django%d", fixture_dir(), ++projects);
    const char *where = is_pgsql(db)
        ? apr_psprintf(db->pool, "postgresql %s %s/pg", db_text(db, "SELECT current_database()"),
                       fixture_dir())
        : apr_psprintf(db->pool, "sqlite3 %s", db->place);
    const char *command = apr_psprintf(db->pool, "/usr/bin/python3 '%s' make %s %s %s", script(),
                                       project, kind, where);
    if (system(command) != 0) {
        fail_msg("%s", command);
    }
    db->store = db_store(db, map);
    sa_work_t *work = work_of(db);
    ok(sa_store_check_mapping(work, &problem));
    assert_null(problem);
    ok(sa_store_migrate(work, 0, &from, &to, &sql));
    sa_work_close(work);
}

static int setup_auth(void **state)
{
    set_up(state, "auth", &auth_user);
    return 0;
}

static int setup_uuid(void **state)
{
    set_up(state, "uuid", &person);
    return 0;
}

static const char *create(db_t *db, const sa_new_user_t *user, const char **taken)
{
    const char *id = NULL;
    sa_work_t *work = work_of(db);
    ok(sa_store_create_user(work, user, NOW, &id, taken));
    sa_work_close(work);
    return id;
}

static void test_auth_user_signs_in(void **state)
{
    db_t *db = *state;
    sa_email_match_t match;
    sa_user_t *user = NULL;
    const char *id = django(db, "print(User.objects.create_user('ada', 'Ada@X.test', 'pw', "
                                "first_name='A\xc3\xa4', is_staff=True).pk)");

    sa_work_t *work = work_of(db);
    ok(sa_work_begin(work));
    ok(sa_store_user_by_email(work, "ada@x.test", "iss", &match));
    assert_int_equal(match.count, 1);
    assert_string_equal(match.user->id, id);
    assert_true(match.user->id_is_integer && match.user->usable && match.user->is_staff);
    assert_true(match.user->was_new);
    assert_false(match.user->email_verified);   /* Django's table does not know */
    assert_string_equal(match.user->first_name, "A\xc3\xa4");
    assert_int_equal(strncmp(match.user->password, "md5$", 4), 0);
    ok(sa_work_commit(work));
    ok(sa_store_user_by_login(work, NULL, "ada", &user));
    assert_string_equal(user->id, id);
    sa_work_close(work);

    make_link(db, id, "iss", "1");
    work = work_of(db);
    ok(sa_store_login_linked(work, "iss", "1", NULL, 0, new_session(db->pool, "s"), NULL, NULL, &user));
    assert_true(user->was_new);
    sa_work_close(work);
    assert_string_equal(django(db, "print(User.objects.get().last_login.isoformat())"),
                        "2027-01-15T08:00:00+00:00");
    assert_string_equal(django(db, "import datetime, pytz; print(User.objects.filter(last_login="
                                   "datetime.datetime(2027, 1, 15, 8, tzinfo=pytz.utc)).count())"),
                        "1");

    django(db, "u = User.objects.get(); u.is_active = False; u.save()");
    work = work_of(db);
    ok(sa_store_login_linked(work, "iss", "1", NULL, 0, new_session(db->pool, "t"), NULL, NULL, &user));
    assert_false(user->usable);
    sa_work_close(work);
    django(db, "User.objects.all().delete()");  /* takes links and sessions along */
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_links"), 0);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_sessions"), 0);
}

static void test_auth_user_made_here_is_djangos(void **state)
{
    db_t *db = *state;
    const char *taken = NULL;
    sa_new_user_t made = { "ada@x.test", "ada", "Ada", "Lovelace", "!", 1, 1, 0, 0, NULL, 0 };

    const char *id = create(db, &made, &taken);
    assert_non_null(id);
    assert_string_equal(django(db, "u = User.objects.get(); print(u.pk, u.username, u.email, "
                                   "u.get_full_name(), u.is_active, u.is_staff, u.is_superuser, "
                                   "u.has_usable_password(), u.last_login, "
                                   "u.date_joined.isoformat())"),
                        apr_psprintf(db->pool, "%s ada ada@x.test Ada Lovelace True False False "
                                     "False None 2027-01-15T08:00:00+00:00", id));
    made.username = "other";
    made.email = "ada@x.test";
    assert_null(create(db, &made, &taken));
    assert_string_equal(taken, "email");
    django(db, "User.objects.update(email='ADA@X.TEST')");
    assert_null(create(db, &made, &taken));
    assert_string_equal(taken, "email");
    made.email = "other@x.test";
    made.username = "ada";
    assert_null(create(db, &made, &taken));
    assert_string_equal(taken, "username");
    made = (sa_new_user_t) { NULL, "github_1", "", "", "!", 0, 1, 0, 0, NULL, 0 };
    assert_non_null(create(db, &made, &taken));
    made.username = "github_2";
    assert_non_null(create(db, &made, &taken));
    assert_string_equal(django(db, "print(User.objects.filter(email='').count())"), "2");
}

static void test_T216_two_users_with_one_address(void **state)
{
    db_t *db = *state;
    sa_email_match_t match;
    sa_user_t *user = NULL;

    django(db, "[User.objects.create_user(n, e) for n, e in [('a', 'ada@x.test'), "
               "('b', 'ADA@x.test'), ('c', 'ada@x.test'), ('d', '')]]");
    sa_work_t *work = work_of(db);
    ok(sa_store_user_by_email(work, "ada@x.test", NULL, &match));
    assert_int_equal(match.count, 2);
    assert_null(match.user);
    ok(sa_store_user_by_login(work, "ada@x.test", NULL, &user));
    assert_null(user);
    ok(sa_store_user_by_login(work, NULL, "b", &user));
    assert_non_null(user);
    ok(sa_store_user_by_login(work, NULL, "d", &user));
    assert_null(user->email);
    sa_work_close(work);
}

/* Older tables have short columns (first_name varchar(30)): longer names are cut, not refused; and a
 * user name keeps what makes it another one. */
static void test_short_columns(void **state)
{
    db_t *db = *state;
    sa_user_map_t map = { .table = "people", .password = "", .is_active = "", .is_staff = "",
                          .is_superuser = "", .date_joined = "", .last_login = "" };
    sa_new_user_t made = { "a@x.test", "abcdefghijkl", "\u017d\u017d\u017d\u017d\u017d\u017d", "123456", "", 0, 1,
                           0, 0, NULL, 0 };
    const char *id = NULL, *taken = NULL;
    sa_work_t *work = NULL;

    db_unbind(db);
    db_exec(db, "CREATE TABLE people (id %s, email varchar(254) UNIQUE, username varchar(10) UNIQUE, "
            "first_name varchar(5), last_name varchar(5))",
            is_pgsql(db) ? "serial PRIMARY KEY" : "integer PRIMARY KEY");
    ok(sa_work_open(&work, db_store(db, &map), &db->source, db->pool));
    ok(sa_store_create_user(work, &made, NOW, &id, &taken));
    assert_non_null(id);
    made.email = "b@x.test";
    ok(sa_store_create_user(work, &made, NOW, &id, &taken));
    assert_string_equal(taken, "username");
    made.username_suffix = "_0a1b";
    ok(sa_store_create_user(work, &made, NOW, &id, &taken));
    assert_non_null(id);
    for (int i = 0; i < 2; i++) {               /* any number may be without an address */
        made.email = NULL;
        made.username_suffix = i ? "_1" : "_2";
        ok(sa_store_create_user(work, &made, NOW, &id, &taken));
        assert_non_null(id);
    }
    sa_work_close(work);
    assert_int_equal(db_int(db, "SELECT count(*) FROM people WHERE first_name = '\u017d\u017d\u017d\u017d\u017d' "
                            "AND last_name = '12345'"), 4);
    assert_int_equal(db_int(db, "SELECT count(*) FROM people WHERE username IN ('abcdefghij', "
                            "'abcde_0a1b', 'abcdefgh_1', 'abcdefgh_2')"), 4);
    assert_int_equal(db_int(db, "SELECT count(*) FROM people WHERE email IS NULL"), 2);
}

/* Where the column may not be NULL and is unique, only one can be without an address; that is said. */
static void test_second_user_without_an_address(void **state)
{
    db_t *db = *state;
    sa_user_map_t map = { .table = "people", .first_name = "", .last_name = "", .password = "",
                          .is_active = "", .is_staff = "", .is_superuser = "", .date_joined = "",
                          .last_login = "" };
    sa_new_user_t made = { NULL, "a", "", "", "", 0, 1, 0, 0, NULL, 0 };
    const char *id = NULL, *taken = NULL;
    sa_work_t *work = NULL;

    db_unbind(db);
    db_exec(db, "CREATE TABLE people (id %s, email varchar(254) NOT NULL UNIQUE, username text)",
            is_pgsql(db) ? "serial PRIMARY KEY" : "integer PRIMARY KEY");
    ok(sa_work_open(&work, db_store(db, &map), &db->source, db->pool));
    ok(sa_store_create_user(work, &made, NOW, &id, &taken));
    made.username = "b";
    sa_error_t *error = sa_store_create_user(work, &made, NOW, &id, &taken);
    failed_as(error, SA_E_UNAVAILABLE);
    assert_non_null(strstr(error->log, "NOT NULL and UNIQUE"));
    sa_work_close(work);
}

static void test_T109_what_is_no_key_finds_nobody(void **state)
{
    db_t *db = *state;
    static const char *const ids[] = { "", "abc", "99999999999999999999", "1e400", "' OR 1=1--",
                                       "550e8400-e29b-41d4-a716-44665544000" };
    sa_user_t *user = NULL;
    apr_array_header_t *links = NULL;
    int done;

    for (size_t i = 0; i < COUNT(ids); i++) {
        sa_work_t *work = work_of(db);
        ok(sa_store_user_by_id(work, ids[i], &user));
        assert_null(user);
        ok(sa_store_links(work, ids[i], NULL, NOW, &user, &links));
        assert_null(user);
        ok(sa_store_start_session(work, ids[i], new_session(db->pool, "s"), NULL, 0, &user));
        assert_null(user);
        ok(sa_store_revoke_user(work, ids[i], NULL, NOW, &done));
        assert_int_equal(done, 0);
        sa_work_close(work);
    }
}

static void test_uuid_user_made_here_is_djangos(void **state)
{
    db_t *db = *state;
    const char *taken = NULL;
    sa_new_user_t made = { "ada@x.test", "ignored", "Ada", "", "!", 1, 1, 0, 0, NULL, 0 };
    sa_user_t *user = NULL;
    apr_array_header_t *links = NULL;

    const char *id = create(db, &made, &taken);
    assert_non_null(id);
    assert_string_equal(django(db, "u = User.objects.get(); print(u.email, u.confirmed, u.active, "
                                   "u.is_deleted, u.last_login, u.joined.isoformat())"),
                        "ada@x.test True True False None 2027-01-15T08:00:00+00:00");
    assert_string_equal(django(db, apr_psprintf(db->pool, "print(User.objects.filter(pk='%s')"
                                                ".count())", id)), "1");
    assert_string_equal(django(db, "u = User.objects.get(); print(u.pk.version)"), "4");
    assert_null(create(db, &made, &taken));
    assert_string_equal(taken, "email");

    make_link(db, id, "iss", "1");
    make_session(db, id, "s");
    sa_work_t *work = work_of(db);
    ok(sa_store_links(work, id, "s", NOW, &user, &links));
    assert_string_equal(user->id, id);
    assert_false(user->id_is_integer);
    assert_true(user->usable && user->email_verified);
    assert_string_equal(user->username, "");
    assert_int_equal(links->nelts, 1);
    sa_work_close(work);
}

static void test_uuid_user_deleted_softly(void **state)
{
    db_t *db = *state;
    sa_user_t *user = NULL;
    sa_refresh_verdict_t verdict;
    sa_session_t *session = NULL;

    const char *made = django(db, "print(User.objects.create(email='ada@x.test', confirmed=True)"
                                  ".pk)");
    sa_work_t *work = work_of(db);
    ok(sa_store_user_by_login(work, "ada@x.test", NULL, &user));
    assert_non_null(user);
    const char *id = user->id;
    sa_work_close(work);
    if (is_pgsql(db)) {
        assert_string_equal(id, made);
    }
    make_link(db, id, "iss", "1");
    make_session(db, id, "s");
    django(db, "User.objects.update(is_deleted=True)");
    work = work_of(db);
    ok(sa_store_login_linked(work, "iss", "1", NULL, 0, new_session(db->pool, "t"), NULL, NULL, &user));
    assert_false(user->usable);
    sa_refresh_t asked = new_refresh("s", "s-1", "s-2");
    ok(sa_store_refresh(work, &asked, &verdict, &session, &user));
    assert_int_equal(verdict, SA_REFRESH_USER_GONE);
    ok(sa_store_refresh(work, &asked, &verdict, &session, &user));
    assert_int_equal(verdict, SA_REFRESH_REVOKED);
    sa_work_close(work);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_sessions"), 1);
}

static void test_deleted_flag_of_any_type(void **state)
{
    db_t *db = *state;
    static const struct { const char *type, *live, *gone; } kinds[] = {
        { "boolean NOT NULL", "false", "true" },
        { "integer NOT NULL", "0", "5" },
        { "timestamp", "NULL", "'2026-01-01 00:00:00'" },
        { "boolean", "NULL", "true" },
        { "text", "''", "'yes'" },
    };
    sa_user_map_t map = { .table = "people", .username = "", .first_name = "", .last_name = "",
                          .password = "", .is_active = "", .is_staff = "", .is_superuser = "",
                          .date_joined = "", .last_login = "", .deleted = "gone" };
    sa_new_user_t made = { "new@x.test", "", "", "", "", 0, 1, 0, 0, NULL, 0 };
    sa_user_t *user = NULL;
    const char *id = NULL, *taken = NULL;

    db_unbind(db);
    for (size_t i = 0; i < COUNT(kinds); i++) {
        sa_work_t *work = NULL;
        map.table = apr_psprintf(db->pool, "people%d", (int)i);
        db_exec(db, "CREATE TABLE people%d (id %s, email text, gone %s)", (int)i,
                is_pgsql(db) ? "serial PRIMARY KEY" : "integer PRIMARY KEY", kinds[i].type);
        db_exec(db, "INSERT INTO people%d (id, email, gone) VALUES (7, 'a', %s), (8, 'b', %s)",
                (int)i, kinds[i].live, kinds[i].gone);
        ok(sa_work_open(&work, db_store(db, &map), &db->source, db->pool));
        ok(sa_store_user_by_id(work, "7", &user));
        assert_true(user->usable);
        ok(sa_store_user_by_id(work, "8", &user));
        assert_false(user->usable);
        ok(sa_store_create_user(work, &made, NOW, &id, &taken));
        assert_non_null(id);
        ok(sa_store_user_by_id(work, id, &user));
        assert_true(user->usable);
        sa_work_close(work);
    }
}

static const struct CMUnitTest tests[] = {
    ON_BOTH(test_auth_user_signs_in, setup_auth),
    ON_BOTH(test_auth_user_made_here_is_djangos, setup_auth),
    ON_BOTH(test_T216_two_users_with_one_address, setup_auth),
    ON_BOTH(test_T109_what_is_no_key_finds_nobody, setup_auth),
    ON_BOTH(test_T109_what_is_no_key_finds_nobody, setup_uuid),
    ON_BOTH(test_uuid_user_made_here_is_djangos, setup_uuid),
    ON_BOTH(test_uuid_user_deleted_softly, setup_uuid),
    ON_BOTH(test_short_columns, setup_own),
    ON_BOTH(test_second_user_without_an_address, setup_own),
    ON_BOTH(test_deleted_flag_of_any_type, setup_own),
};

int main(void)
{
    if (system("/usr/bin/python3 -c 'import django, psycopg2' 2>/dev/null") != 0) {
        print_message("note: Django is not installed, nothing was tested\n");
        return 77;
    }
    return fixture_main("store on Django's tables", tests, COUNT(tests));
}
