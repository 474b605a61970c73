/* Mails in the database: one is sent by one worker, its link is used by one caller. */
#include "store_fixture.h"

#define SITE "https://x.test/api"

static void queue(db_t *db, const char *id, const char *kind, const char *user, int is_decoy)
{
    const sa_mail_t mail = {
        .id = id, .kind = kind, .user_id = user, .email = "ada@x.test", .mount = SITE, .data = "d",
        .created = NOW, .expires = NOW + 100
    };
    sa_work_t *work = work_of(db);
    ok(sa_store_queue_mail(work, &mail, is_decoy));
    sa_work_close(work);
}

static sa_mail_t *claim(db_t *db, apr_int64_t now, const char *known)
{
    sa_mail_t *mail = NULL;
    sa_work_t *work = work_of(db);
    ok(sa_store_mails_claim(work, now, 30, known, &mail));
    sa_work_close(work);
    return mail;
}

static void settle(db_t *db, const char *id, apr_int64_t sent, apr_int64_t next, int dead)
{
    sa_work_t *work = work_of(db);
    ok(sa_store_mails_settle(work, id, sent, next, dead));
    sa_work_close(work);
}

static sa_mail_t *use(db_t *db, const char *id, const char *kind, apr_int64_t now)
{
    sa_mail_t *mail = NULL;
    sa_work_t *work = work_of(db);
    ok(sa_store_use_mail(work, id, kind, now, &mail));
    sa_work_close(work);
    return mail;
}

static void test_claim_and_settle(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada");

    queue(db, "m1", "reset", id, 0);
    assert_null(claim(db, NOW, "https://other.test/api\n" SITE "/more"));
    assert_null(claim(db, NOW - 1, SITE));
    sa_mail_t *mail = claim(db, NOW, "https://other.test\n" SITE);
    assert_string_equal(mail->id, "m1");
    assert_string_equal(mail->kind, "reset");
    assert_string_equal(mail->user_id, id);
    assert_string_equal(mail->email, "ada@x.test");
    assert_string_equal(mail->mount, SITE);
    assert_string_equal(mail->data, "d");
    assert_true(mail->expires == NOW + 100);
    assert_int_equal(mail->attempts, 1);
    assert_null(claim(db, NOW + 29, SITE));             /* leased */
    assert_int_equal(claim(db, NOW + 30, SITE)->attempts, 2);
    settle(db, "m1", 0, NOW + 40, 0);
    assert_null(claim(db, NOW + 39, SITE));
    assert_int_equal(claim(db, NOW + 40, SITE)->attempts, 3);
    settle(db, "m1", NOW + 40, NOW + 50, 0);
    assert_null(claim(db, NOW + 90, SITE));
    queue(db, "m2", "reset", id, 0);
    settle(db, "m2", 0, NOW, 1);
    assert_null(claim(db, NOW + 90, SITE));             /* dead */
    queue(db, "m3", "reset", NULL, 1);
    assert_null(claim(db, NOW + 90, SITE));             /* a decoy */
    queue(db, "m4", "reset", id, 0);
    assert_null(claim(db, NOW + 100, SITE));            /* expired */
    assert_non_null(use(db, "m4", "reset", NOW));
    assert_null(claim(db, NOW + 90, SITE));             /* of no use any more */
}

static void test_T181_the_user_of_a_mail_is_found_later(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada");

    queue(db, "m1", "reset", NULL, 0);
    queue(db, "m2", "reset", NULL, 0);
    sa_mail_t *mail = claim(db, NOW, SITE);
    assert_null(mail->user_id);
    mail->user_id = id;
    mail->email = "ADA@x.test";
    mail->data = "e";
    sa_work_t *work = work_of(db);
    ok(sa_store_address_mail(work, mail));
    ok(sa_store_drop_mail(work, "m2"));
    sa_work_close(work);
    assert_null(claim(db, NOW, SITE));
    mail = claim(db, NOW + 30, SITE);
    assert_string_equal(mail->id, "m1");
    assert_string_equal(mail->user_id, id);
    assert_string_equal(mail->email, "ADA@x.test");
    assert_string_equal(mail->data, "e");
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_mails"), 1);
}

static void test_T78_use(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada");
    sa_mail_t *mail;

    queue(db, "m1", "reset", id, 0);
    assert_null(use(db, "m2", "reset", NOW));
    assert_null(use(db, "m1", "verify", NOW));
    assert_null(use(db, "m1", "reset", NOW + 100));
    sa_work_t *work = work_of(db);
    ok(sa_store_mail(work, "m1", "reset", NOW + 99, &mail));    /* a look does not use it */
    assert_non_null(mail);
    ok(sa_work_begin(work));
    ok(sa_store_use_mail(work, "m1", "reset", NOW, &mail));
    assert_non_null(mail);
    sa_work_close(work);                                        /* nor does what is rolled back */
    mail = use(db, "m1", "reset", NOW + 99);
    assert_string_equal(mail->user_id, id);
    assert_string_equal(mail->data, "d");
    assert_null(use(db, "m1", "reset", NOW + 99));
    work = work_of(db);
    ok(sa_store_mail(work, "m1", "reset", NOW, &mail));
    assert_null(mail);
    sa_work_close(work);
}

static void run_use(runner_t *r)
{
    sa_mail_t *mail = NULL;
    sa_work_t *work = work_on(r->db, r->pool);
    ok(sa_store_use_mail(work, "m1", "reset", NOW, &mail));
    sa_work_close(work);
    r->outcome = mail != NULL;
}

static void run_claim(runner_t *r)
{
    sa_mail_t *mail = NULL;
    sa_work_t *work = work_on(r->db, r->pool);
    ok(sa_store_mails_claim(work, NOW, 30, SITE, &mail));
    sa_work_close(work);
    r->outcome = mail != NULL;
}

static void one_of(db_t *db, void (*f)(runner_t *))
{
    runner_t runners[16];
    int winners = 0;

    at_once(db, 16, f, NULL, runners);
    for (int i = 0; i < 16; i++) {
        winners += runners[i].outcome;
    }
    assert_int_equal(winners, 1);
}

static void test_T78_one_of_sixteen(void **state)
{
    db_t *db = *state;

    queue(db, "m1", "reset", make_user(db, "ada@x.test", "ada"), 0);
    one_of(db, run_claim);
    one_of(db, run_use);
}

static int verified(db_t *db, const char *id)
{
    return db_int(db, "SELECT count(*) FROM sa_users WHERE id = %s AND email_verified = %s", id,
                  is_pgsql(db) ? "true" : "1");
}

static int links(db_t *db, const char *id)
{
    return db_int(db, "SELECT count(*) FROM sa_links WHERE user_id = %s", id);
}

static void test_verify_email(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada"), *other = make_user(db, "b@x.test", "b");
    int done;

    db_exec(db, "UPDATE sa_users SET email_verified = %s", is_pgsql(db) ? "false" : "0");
    make_link(db, other, "one", "1");
    make_link(db, id, "one", "2");
    make_link(db, id, "two", "2");
    make_link(db, id, "three", "2");
    db_exec(db, "UPDATE sa_links SET email = 'Ada@X.test' WHERE issuer = 'two'");
    db_exec(db, "UPDATE sa_links SET email = NULL WHERE issuer = 'three'");
    sa_work_t *work = work_of(db);
    ok(sa_store_verify_email(work, id, "old@x.test", SA_LINKS_GO, &done));
    assert_false(done || verified(db, id));
    assert_int_equal(links(db, id), 3);
    ok(sa_store_verify_email(work, id, "ada@x.test", SA_LINKS_STAY, &done));
    assert_true(done && verified(db, id) && !verified(db, other));
    assert_int_equal(links(db, id), 3);
    ok(sa_store_verify_email(work, id, "ada@x.test", SA_LINKS_OF_OTHER_EMAILS_GO, &done));
    assert_int_equal(links(db, id), 1);
    assert_string_equal(db_text(db, "SELECT issuer FROM sa_links WHERE user_id = %s", id), "two");
    ok(sa_store_verify_email(work, id, "ada@x.test", SA_LINKS_GO, &done));
    assert_int_equal(links(db, id), 0);
    assert_int_equal(links(db, other), 1);
    ok(sa_store_verify_email(work, "x", "ada@x.test", SA_LINKS_GO, &done));
    assert_false(done);
    sa_work_close(work);
}

static void test_set_email(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada");
    int done;

    make_user(db, "b@x.test", "b");
    db_exec(db, "UPDATE sa_users SET email_verified = %s", is_pgsql(db) ? "false" : "0");
    sa_work_t *work = work_of(db);
    ok(sa_work_begin(work));
    ok(sa_store_set_email(work, id, "b@x.test", &done));
    assert_false(done);
    ok(sa_store_set_email(work, id, "new@x.test", &done));
    assert_true(done);
    ok(sa_store_set_email(work, id, "new@x.test", &done));      /* one's own */
    assert_true(done);
    ok(sa_work_commit(work));
    sa_work_close(work);
    assert_string_equal(db_text(db, "SELECT email FROM sa_users WHERE id = %s", id), "new@x.test");
    assert_true(verified(db, id));
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_users WHERE email = 'b@x.test'"), 1);
}

/* A table that cannot say that an address is verified, and lets two people have one. */
static int setup_mapped(void **state)
{
    static const sa_user_map_t map = {
        .table = "people", .first_name = "", .last_name = "", .password = "", .is_active = "",
        .is_staff = "", .is_superuser = "", .date_joined = "", .last_login = ""
    };
    int from, to;
    const char *sql;

    setup_empty(state);
    db_t *db = *state;
    db_exec(db, "CREATE TABLE people (id integer PRIMARY KEY, email text, username text)");
    db_exec(db, "INSERT INTO people VALUES (1, 'Ada@X.test', 'ada'), (2, 'B@X.test', 'b')");
    db->store = db_store(db, &map);
    sa_work_t *work = work_of(db);
    ok(sa_store_migrate(work, 0, &from, &to, &sql));
    sa_work_close(work);
    return 0;
}

static void test_site_table(void **state)
{
    db_t *db = *state;
    int done;

    assert_false(sa_store_can_verify(db->store));
    make_link(db, "1", "one", "1");
    make_link(db, "1", "two", "1");
    db_exec(db, "UPDATE sa_links SET email = 'ada@x.test' WHERE issuer = 'two'");
    sa_work_t *work = work_of(db);
    ok(sa_store_verify_email(work, "1", "Ada@X.test", SA_LINKS_OF_OTHER_EMAILS_GO, &done));
    assert_true(done);
    assert_int_equal(links(db, "1"), 1);
    ok(sa_work_begin(work));
    ok(sa_store_set_email(work, "1", "b@x.test", &done));
    assert_false(done);
    ok(sa_store_set_email(work, "1", "new@x.test", &done));
    assert_true(done);
    ok(sa_work_commit(work));
    sa_work_close(work);
    assert_string_equal(db_text(db, "SELECT email FROM people WHERE id = 1"), "new@x.test");
    queue(db, "m1", "reset", "1", 0);
    assert_string_equal(claim(db, NOW, SITE)->user_id, "1");
}

static void test_purge_and_deleted_users(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada");
    int n;

    queue(db, "m1", "reset", id, 0);
    queue(db, "m2", "reset", NULL, 1);
    sa_work_t *work = work_of(db);
    ok(sa_store_purge(work, NOW + 101, 100, &n));
    assert_int_equal(n, 0);
    ok(sa_store_purge(work, NOW + 100 + 120, 1, &n));
    assert_int_equal(n, 1);
    ok(sa_store_purge(work, NOW + 100 + 120, 100, &n));
    assert_int_equal(n, 1);
    sa_work_close(work);
    queue(db, "m3", "reset", id, 0);
    if (!is_pgsql(db)) {
        db_exec(db, "PRAGMA foreign_keys = ON");
    }
    db_exec(db, "DELETE FROM sa_users");
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_mails"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(test_claim_and_settle, setup_own),
        ON_BOTH(test_T181_the_user_of_a_mail_is_found_later, setup_own),
        ON_BOTH(test_T78_use, setup_own),
        ON_BOTH(test_T78_one_of_sixteen, setup_own),
        ON_BOTH(test_verify_email, setup_own),
        ON_BOTH(test_set_email, setup_own),
        ON_BOTH(test_site_table, setup_mapped),
        ON_BOTH(test_purge_and_deleted_users, setup_own),
    };
    return fixture_main("store mails", tests, COUNT(tests));
}
