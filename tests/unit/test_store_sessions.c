/* Sign-in, refresh, links, events: the same answers from SQLite and from PostgreSQL. */
#include "store_fixture.h"

/* ---- sign-in ---- */

static void test_login_linked(void **state)
{
    db_t *db = *state;
    sa_user_t *user = NULL;

    const char *id = make_user(db, "ada@x.test", "ada");
    make_link(db, id, "iss", "Sub 1");
    sa_work_t *work = work_of(db);
    ok(sa_store_login_linked(work, "iss", "Sub 2", "new@x.test", 1, new_session(db->pool, "s0"),
                             new_event(db->pool, "e0", "login_successful"), NULL, &user));
    assert_null(user);
    ok(sa_store_login_linked(work, "iss", "sub 1", NULL, 1, new_session(db->pool, "s0"), NULL, NULL,
                             &user));
    assert_null(user);                          /* byte-exact */
    ok(sa_store_login_linked(work, "iss", "Sub 1 ", NULL, 1, new_session(db->pool, "s0"), NULL, NULL,
                             &user));
    assert_null(user);
    ok(sa_store_login_linked(work, "iss", "Sub 1", "new@x.test", 1, new_session(db->pool, "s1"),
                             new_event(db->pool, "e1", "login_successful"), NULL, &user));
    assert_string_equal(user->id, id);
    assert_true(user->usable && user->was_new);
    ok(sa_store_login_linked(work, "iss", "Sub 1", "third@x.test", 0,
                             new_session(db->pool, "s2"), NULL, NULL, &user));
    assert_false(user->was_new);
    ok(sa_store_login_linked(work, "iss", "Sub 1", NULL, 1, new_session(db->pool, "s3"), NULL, NULL,
                             &user));
    sa_work_close(work);
    assert_string_equal(db_text(db, "SELECT email FROM sa_links"), "new@x.test");
    assert_string_equal(db_text(db, "SELECT email FROM sa_users"), "ada@x.test");
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_sessions WHERE user_id = %s", id), 3);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_outbox WHERE id = 'e1' AND user_id = %s",
                            id), 1);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_outbox"), 1);
    assert_string_equal(db_text(db, is_pgsql(db)
                                ? "SELECT to_char(last_login AT TIME ZONE 'UTC', "
                                  "'YYYY-MM-DD HH24:MI:SS') FROM sa_users"
                                : "SELECT last_login FROM sa_users"), "2027-01-15 08:00:00");
}

static void test_unusable_accounts_write_nothing(void **state)
{
    db_t *db = *state;
    static const char *const how[] = { "is_active = %s", "deleted_at = '2026-01-01 00:00:00'" };
    sa_user_t *user = NULL;

    const char *id = make_user(db, "ada@x.test", "ada");
    make_link(db, id, "iss", "1");
    for (size_t i = 0; i < COUNT(how); i++) {
        const char *set = i ? how[i] : is_pgsql(db) ? "is_active = false" : "is_active = 0";
        db_exec(db, "UPDATE sa_users SET is_active = %s, deleted_at = NULL",
                is_pgsql(db) ? "true" : "1");
        db_exec(db, "UPDATE sa_users SET %s", set);
        sa_work_t *work = work_of(db);
        ok(sa_store_login_linked(work, "iss", "1", "new@x.test", 1, new_session(db->pool, "s1"),
                                 new_event(db->pool, "e1", "login_successful"), NULL, &user));
        assert_non_null(user);
        assert_false(user->usable);
        ok(sa_store_start_session(work, id, new_session(db->pool, "s2"),
                                  new_event(db->pool, "e2", "login_successful"), 1, &user));
        assert_false(user->usable);
        sa_work_close(work);
        assert_int_equal(db_int(db, "SELECT count(*) FROM sa_sessions"), 0);
        assert_int_equal(db_int(db, "SELECT count(*) FROM sa_outbox"), 0);
        assert_string_equal(db_text(db, "SELECT email FROM sa_links"), "mail@x.test");
        assert_null(db_text(db, "SELECT last_login FROM sa_users"));
    }
}

static void test_start_session_with_any_number_of_events(void **state)
{
    db_t *db = *state;
    sa_user_t *user = NULL;

    const char *id = make_user(db, "ada@x.test", "ada");
    for (int n = 0; n <= 4; n++) {
        sa_event_t events[4];
        for (int i = 0; i < n; i++) {
            events[i] = *new_event(db->pool, apr_psprintf(db->pool, "e%d-%d", n, i), "x");
        }
        sa_work_t *work = work_of(db);
        ok(sa_store_start_session(work, id, new_session(db->pool, apr_psprintf(db->pool, "s%d", n)),
                                  events, n, &user));
        assert_non_null(user);
        assert_int_equal(user->was_new, n == 0);
        sa_work_close(work);
        assert_int_equal(db_int(db, "SELECT count(*) FROM sa_outbox WHERE id LIKE 'e%d-%%'", n), n);
    }
    sa_event_t silent = *new_event(db->pool, "silent", "x");
    silent.targets = NULL;
    sa_work_t *work = work_of(db);
    ok(sa_store_start_session(work, id, new_session(db->pool, "quiet"), &silent, 1, &user));
    ok(sa_store_start_session(work, "4711", new_session(db->pool, "none"), NULL, 0, &user));
    assert_null(user);
    sa_work_close(work);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_outbox WHERE id = 'silent'"), 0);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_sessions"), 6);
}

static void test_reclaim_leaves_nothing_of_the_squatter(void **state)
{
    db_t *db = *state;
    sa_user_t *user = NULL;
    int live, revoked;

    const char *id = make_user(db, "ada@x.test", "ada");
    const char *other = make_user(db, "eve@x.test", "eve");
    db_exec(db, "UPDATE sa_users SET email_verified = %s", is_pgsql(db) ? "false" : "0");
    make_link(db, id, "iss", "1");
    make_link(db, other, "iss", "2");
    make_session(db, id, "s1");
    make_session(db, other, "s2");
    sa_work_t *work = work_of(db);
    ok(sa_store_reclaim_user(work, id, "!gone", NOW));
    ok(sa_store_user_by_id(work, id, &user));
    assert_string_equal(user->password, "!gone");
    assert_true(user->email_verified);
    ok(sa_store_session_live(work, "s1", NULL, NOW, &live, &revoked));
    assert_false(live);
    ok(sa_store_session_live(work, "s2", NULL, NOW, &live, &revoked));
    assert_true(live);
    sa_work_close(work);
    assert_string_equal(db_text(db, "SELECT subject FROM sa_links"), "2");
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_links"), 1);
}

/* ---- refresh ---- */

typedef struct {
    sa_refresh_verdict_t verdict;
    sa_session_t *session;
    sa_user_t *user;
} refreshed_t;

static refreshed_t refresh(db_t *db, const sa_refresh_t *asked)
{
    refreshed_t out;
    sa_work_t *work = work_of(db);
    ok(sa_store_refresh(work, asked, &out.verdict, &out.session, &out.user));
    sa_work_close(work);
    return out;
}

static void test_refresh_rotates(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada");
    make_session(db, id, "s");

    sa_refresh_t asked = new_refresh("s", "s-1", "s-2");
    refreshed_t got = refresh(db, &asked);
    assert_int_equal(got.verdict, SA_REFRESH_ROTATED);
    assert_string_equal(got.session->sid, "s");
    assert_string_equal(got.session->jti, "s-2");
    assert_int_equal(got.session->iat, NOW + 10);
    assert_int_equal(got.session->exp, NOW + 1010);
    assert_int_equal(got.session->expires, NOW + 5000);
    assert_int_equal(got.session->auth_time, NOW - 1);
    assert_string_equal(got.session->amr, "pwd");
    assert_string_equal(got.session->mount, "/api");
    assert_null(got.session->client_id);
    assert_null(got.session->scope);
    assert_string_equal(got.session->user_id, id);
    assert_string_equal(got.user->id, id);
    assert_string_equal(got.user->email, "ada@x.test");

    asked = new_refresh("s", "s-2", "s-3");     /* never beyond the family's end */
    asked.next_exp = NOW + 999999;
    got = refresh(db, &asked);
    assert_int_equal(got.verdict, SA_REFRESH_ROTATED);
    assert_int_equal(got.session->exp, NOW + 5000);

    asked = new_refresh("s", "s-3", NULL);      /* only looking */
    asked.rotate = 0;
    got = refresh(db, &asked);
    assert_int_equal(got.verdict, SA_REFRESH_ROTATED);
    assert_string_equal(got.session->jti, "s-3");
}

static void test_T117_lost_reply_gets_the_same_successor(void **state)
{
    db_t *db = *state;
    make_session(db, make_user(db, "ada@x.test", "ada"), "s");

    sa_refresh_t asked = new_refresh("s", "s-1", "s-2");
    refreshed_t first = refresh(db, &asked);
    asked = new_refresh("s", "s-1", "s-other");
    asked.now += 10;
    refreshed_t again = refresh(db, &asked);
    assert_int_equal(again.verdict, SA_REFRESH_SUCCESSOR);
    assert_string_equal(again.session->jti, "s-2");
    assert_int_equal(again.session->iat, first.session->iat);
    assert_int_equal(again.session->exp, first.session->exp);
    assert_string_equal(again.user->id, first.user->id);

    asked = new_refresh("s", "s-2", "s-3");     /* the successor was used: no more */
    assert_int_equal(refresh(db, &asked).verdict, SA_REFRESH_ROTATED);
    asked = new_refresh("s", "s-1", "s-4");
    assert_int_equal(refresh(db, &asked).verdict, SA_REFRESH_REUSED);
    asked = new_refresh("s", "s-3", "s-4");
    assert_int_equal(refresh(db, &asked).verdict, SA_REFRESH_REVOKED);
}

static void test_T116_reuse_ends_the_family(void **state)
{
    db_t *db = *state;
    static const int intervals[] = { 10, 0 };
    const char *id = make_user(db, "ada@x.test", "ada");

    for (size_t i = 0; i < COUNT(intervals); i++) {
        const char *sid = apr_psprintf(db->pool, "s%d", (int)i);
        const char *first = apr_pstrcat(db->pool, sid, "-1", NULL);
        make_session(db, id, sid);
        sa_refresh_t asked = new_refresh(sid, first, "next");
        asked.reuse_interval = intervals[i];
        assert_int_equal(refresh(db, &asked).verdict, SA_REFRESH_ROTATED);
        asked.now += intervals[i] ? 11 : 0;
        asked.next_jti = "evil";
        asked.reuse_event = new_event(db->pool, sid, "token_reuse_detected");
        assert_int_equal(refresh(db, &asked).verdict, SA_REFRESH_REUSED);
        asked.reuse_event = new_event(db->pool, "not again", "token_reuse_detected");
        assert_int_equal(refresh(db, &asked).verdict, SA_REFRESH_REVOKED);
        asked.jti = "next";
        assert_int_equal(refresh(db, &asked).verdict, SA_REFRESH_REVOKED);
        assert_int_equal(db_int(db, "SELECT count(*) FROM sa_outbox WHERE id = '%s' "
                                "AND user_id = %s", sid, id), 1);
    }
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_outbox"), 2);
}

static void test_refresh_of_ended_families(void **state)
{
    db_t *db = *state;
    const char *id = make_user(db, "ada@x.test", "ada");

    make_session(db, id, "s");
    sa_refresh_t asked = new_refresh("unknown", "s-1", "s-2");
    refreshed_t got = refresh(db, &asked);
    assert_int_equal(got.verdict, SA_REFRESH_UNKNOWN);
    assert_null(got.session);
    assert_null(got.user);
    asked = new_refresh("s", "s-1", "s-2");
    asked.now = NOW + 5000;
    assert_int_equal(refresh(db, &asked).verdict, SA_REFRESH_UNKNOWN);
    db_exec(db, "UPDATE sa_users SET is_active = %s", is_pgsql(db) ? "false" : "0");
    asked.now = NOW + 1;
    assert_int_equal(refresh(db, &asked).verdict, SA_REFRESH_USER_GONE);
    db_exec(db, "UPDATE sa_users SET is_active = %s", is_pgsql(db) ? "true" : "1");
    assert_int_equal(refresh(db, &asked).verdict, SA_REFRESH_REVOKED);
    make_session(db, id, "t");
    db_exec(db, "DELETE FROM sa_users");
    asked = new_refresh("t", "t-1", "t-2");
    if (!is_pgsql(db)) {                        /* the test's own connection has no foreign keys */
        db_exec(db, "DELETE FROM sa_sessions");
    }
    assert_int_equal(refresh(db, &asked).verdict, SA_REFRESH_UNKNOWN);
}

static void test_refresh_without_blacklist(void **state)
{
    db_t *db = *state;
    make_session(db, make_user(db, "ada@x.test", "ada"), "s");

    sa_refresh_t asked = new_refresh("s", "s-1", "s-2");
    asked.blacklist = 0;
    assert_int_equal(refresh(db, &asked).verdict, SA_REFRESH_ROTATED);
    asked.now += 100;
    asked.next_jti = "s-3";
    refreshed_t got = refresh(db, &asked);      /* s-1 again, long after */
    assert_int_equal(got.verdict, SA_REFRESH_ROTATED);
    assert_string_equal(got.session->jti, "s-3");
    asked.jti = "s-2";
    asked.next_jti = "s-4";
    asked.now += 100;
    assert_int_equal(refresh(db, &asked).verdict, SA_REFRESH_ROTATED);
    asked.rotate = 0;
    asked.jti = "s-1";
    got = refresh(db, &asked);
    assert_int_equal(got.verdict, SA_REFRESH_ROTATED);
    assert_string_equal(got.session->jti, "s-4");
}

static void test_session_live_and_revoke(void **state)
{
    db_t *db = *state;
    int live = -1, revoked = -1, found = -1, was_live = -1, n = -1;
    const char *id = make_user(db, "ada@x.test", "ada");

    make_session(db, id, "a");
    make_session(db, id, "b");
    make_session(db, id, "c");
    sa_work_t *work = work_of(db);
    ok(sa_store_session_live(work, "a", NULL, NOW, &live, &revoked));
    assert_true(live && !revoked);
    ok(sa_store_session_live(work, "a", "a-1", NOW, &live, &revoked));
    assert_true(live && !revoked);
    ok(sa_store_session_live(work, "a", "a-0", NOW, &live, &revoked));
    assert_true(!live && revoked);
    ok(sa_store_session_live(work, "a", "a-1", NOW + 5000, &live, &revoked));
    assert_true(!live && !revoked);
    ok(sa_store_session_live(work, "x", NULL, NOW, &live, &revoked));
    assert_true(!live && !revoked);

    ok(sa_store_revoke_session(work, "a", NOW, &found, &was_live));
    assert_true(found && was_live);
    ok(sa_store_revoke_session(work, "a", NOW, &found, &was_live));
    assert_true(found && !was_live);
    ok(sa_store_revoke_session(work, "x", NOW, &found, &was_live));
    assert_true(!found && !was_live);
    ok(sa_store_session_live(work, "a", NULL, NOW, &live, &revoked));
    assert_true(!live && revoked);

    ok(sa_store_revoke_user(work, id, "b", NOW, &n));
    assert_int_equal(n, 1);
    ok(sa_store_session_live(work, "b", NULL, NOW, &live, &revoked));
    assert_true(live);
    ok(sa_store_session_live(work, "c", NULL, NOW, &live, &revoked));
    assert_false(live);
    ok(sa_store_revoke_user(work, id, NULL, NOW, &n));
    assert_int_equal(n, 1);
    ok(sa_store_revoke_user(work, id, NULL, NOW, &n));
    assert_int_equal(n, 0);
    sa_work_close(work);
}

/* ---- links ---- */

static void test_T65_links_of_a_bearer(void **state)
{
    db_t *db = *state;
    sa_user_t *user = NULL;
    apr_array_header_t *links = NULL;
    int found, was_live;

    const char *ada = make_user(db, "ada@x.test", "ada");
    const char *eve = make_user(db, "eve@x.test", "eve");
    make_link(db, ada, "i1", "1");
    make_link(db, ada, "i2", "2");
    make_link(db, eve, "i1", "3");
    make_session(db, ada, "s");
    sa_work_t *work = work_of(db);
    ok(sa_store_links(work, ada, "s", NOW, &user, &links));
    assert_string_equal(user->id, ada);
    assert_int_equal(links->nelts, 2);
    const sa_link_t *link = (void *)links->elts;
    assert_string_equal(link[0].issuer, "i1");
    assert_string_equal(link[0].subject, "1");
    assert_string_equal(link[0].provider, "p");
    assert_string_equal(link[0].email, "mail@x.test");
    assert_int_equal(link[0].linked_at, NOW);
    assert_string_equal(link[1].issuer, "i2");

    ok(sa_store_links(work, eve, "s", NOW, &user, &links));         /* ada's session */
    assert_null(user);
    ok(sa_store_links(work, ada, "x", NOW, &user, &links));
    assert_null(user);
    ok(sa_store_links(work, ada, "s", NOW + 5000, &user, &links));
    assert_null(user);
    ok(sa_store_links(work, ada, NULL, NOW + 5000, &user, &links));
    assert_non_null(user);
    ok(sa_store_revoke_session(work, "s", NOW, &found, &was_live));
    ok(sa_store_links(work, ada, "s", NOW, &user, &links));
    assert_null(user);
    sa_work_close(work);
    const char *bob = make_user(db, "bob@x.test", "bob");
    work = work_of(db);
    ok(sa_store_links(work, bob, NULL, NOW, &user, &links));
    assert_non_null(user);
    assert_int_equal(links->nelts, 0);
    sa_work_close(work);
}

static sa_link_verdict_t link_to(db_t *db, const char *user, const char *sid, const char *issuer,
                                 const char *subject, const char *event)
{
    sa_link_t link = { "p", issuer, subject, NULL, NOW };
    sa_link_verdict_t verdict;
    sa_work_t *work = work_of(db);
    ok(sa_store_link(work, user, sid, &link, new_event(db->pool, event, "link"), NOW, &verdict));
    sa_work_close(work);
    return verdict;
}

static void test_link_verdicts(void **state)
{
    db_t *db = *state;
    const char *ada = make_user(db, "ada@x.test", "ada");
    const char *eve = make_user(db, "eve@x.test", "eve");

    make_session(db, ada, "s");
    assert_int_equal(link_to(db, ada, "s", "i1", "1", "e1"), SA_LINK_DONE);
    assert_int_equal(link_to(db, eve, NULL, "i1", "1", "e2"), SA_LINK_TAKEN);
    assert_int_equal(link_to(db, ada, NULL, "i1", "2", "e3"), SA_LINK_TAKEN);
    assert_int_equal(link_to(db, eve, "s", "i1", "3", "e4"), SA_LINK_NO_USER);
    assert_int_equal(link_to(db, "4711", NULL, "i1", "3", "e5"), SA_LINK_NO_USER);
    db_exec(db, "UPDATE sa_users SET deleted_at = '2026-01-01 00:00:00' WHERE id = %s", eve);
    assert_int_equal(link_to(db, eve, NULL, "i1", "3", "e6"), SA_LINK_UNAVAILABLE);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_links"), 1);
    assert_string_equal(db_text(db, "SELECT id FROM sa_outbox WHERE user_id = %s", ada), "e1");
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_outbox"), 1);
}

static sa_unlink_verdict_t unlink_from(db_t *db, const char *user, const char *sid,
                                       const char *issuer, int password_counts, const char *event)
{
    sa_unlink_verdict_t verdict;
    sa_work_t *work = work_of(db);
    ok(sa_store_unlink(work, user, sid, issuer, "i1\ni2\ni3", password_counts,
                       new_event(db->pool, event, "unlink"), NOW, &verdict));
    sa_work_close(work);
    return verdict;
}

static void test_T56_unlink_leaves_a_way_in(void **state)
{
    db_t *db = *state;
    static const char *const unusable[] = { "", "!", "!x", "pbkdf2_sha1$1$x$y", "md5$x$y", "plain" };
    static const char *const known[] = { "argon2$x", "pbkdf2_sha256$x", "scrypt$x", "bcrypt_sha256$x" };
    const char *ada = make_user(db, "ada@x.test", "ada");

    make_session(db, ada, "s");
    make_link(db, ada, "i1", "1");
    make_link(db, ada, "i2", "2");
    assert_int_equal(unlink_from(db, ada, "s", "i3", 1, "e1"), SA_UNLINK_NOT_LINKED);
    assert_int_equal(unlink_from(db, ada, "x", "i1", 1, "e2"), SA_UNLINK_NO_USER);
    assert_int_equal(unlink_from(db, ada, "s", "i1", 0, "e3"), SA_UNLINK_DONE);
    assert_int_equal(unlink_from(db, ada, "s", "i2", 0, "e4"), SA_UNLINK_LAST);
    for (size_t i = 0; i < COUNT(unusable); i++) {
        db_exec(db, "UPDATE sa_users SET password = '%s'", unusable[i]);
        assert_int_equal(unlink_from(db, ada, "s", "i2", 1, "e5"), SA_UNLINK_LAST);
    }
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_links"), 1);
    for (size_t i = 0; i < COUNT(known); i++) {
        db_exec(db, "UPDATE sa_users SET password = '%s'", known[i]);
        assert_int_equal(unlink_from(db, ada, NULL, "i2", 1, "e6"), SA_UNLINK_DONE);
        if (i + 1 < COUNT(known)) {
            make_link(db, ada, "i2", "2");
            db_exec(db, "DELETE FROM sa_outbox WHERE id = 'e6'");
        }
    }
    assert_int_equal(unlink_from(db, ada, NULL, "i2", 1, "e7"), SA_UNLINK_NOT_LINKED);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_links"), 0);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_outbox WHERE id IN ('e3', 'e6')"), 2);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_outbox"), 2);
    db_exec(db, "UPDATE sa_users SET is_active = %s", is_pgsql(db) ? "false" : "0");
    assert_int_equal(unlink_from(db, ada, NULL, "i2", 1, "e8"), SA_UNLINK_NO_USER);
}

/* A provider that was taken from the configuration lets nobody in. */
static void test_T56_links_of_other_providers_do_not_count(void **state)
{
    db_t *db = *state;
    const char *ada = make_user(db, "ada@x.test", "ada");

    make_link(db, ada, "i1", "1");
    make_link(db, ada, "i", "2");
    assert_int_equal(unlink_from(db, ada, NULL, "i1", 0, "e1"), SA_UNLINK_LAST);
    make_link(db, ada, "i2", "4");
    assert_int_equal(unlink_from(db, ada, NULL, "i1", 0, "e2"), SA_UNLINK_DONE);
    assert_int_equal(unlink_from(db, ada, NULL, "i", 0, "e3"), SA_UNLINK_DONE);
    assert_int_equal(unlink_from(db, ada, NULL, "i2", 0, "e4"), SA_UNLINK_LAST);
}

/* ---- single use, outbox, upkeep ---- */

static void test_spend_once(void **state)
{
    db_t *db = *state;
    unsigned char id[32] = { 0, 1, 2, 255, 0 }, other[32] = { 0 };
    int first = -1;

    sa_work_t *work = work_of(db);
    ok(sa_store_spend(work, id, NOW + 10, &first));
    assert_int_equal(first, 1);
    ok(sa_store_spend(work, id, NOW + 20, &first));
    assert_int_equal(first, 0);
    ok(sa_store_spend(work, other, NOW + 10, &first));
    assert_int_equal(first, 1);
    sa_work_close(work);
}

static void test_outbox(void **state)
{
    db_t *db = *state;
    apr_array_header_t *rows = NULL;
    const char *id = make_user(db, "ada@x.test", "ada");

    sa_work_t *work = work_of(db);
    for (int i = 0; i < 3; i++) {
        sa_event_t *event = new_event(db->pool, apr_psprintf(db->pool, "e%d", i), "login");
        event->time = NOW + i;
        event->provider = i ? "github" : NULL;
        ok(sa_store_event(work, i ? id : NULL, event));
    }
    ok(sa_store_outbox_claim(work, NOW - 1, 30, 10, KNOWN, &rows));
    assert_int_equal(rows->nelts, 0);           /* none is due yet */
    ok(sa_store_outbox_claim(work, NOW + 5, 30, 2, KNOWN, &rows));
    assert_int_equal(rows->nelts, 2);
    ok(sa_store_outbox_claim(work, NOW + 5, 30, 2, KNOWN, &rows));
    assert_int_equal(rows->nelts, 1);
    const sa_outbox_row_t *row = (void *)rows->elts;
    assert_string_equal(row->event.id, "e2");
    assert_string_equal(row->event.type, "login");
    assert_string_equal(row->event.provider, "github");
    assert_string_equal(row->event.address, "192.0.2.1");
    assert_string_equal(row->event.request_id, "req");
    assert_string_equal(row->event.targets, "https://hook.test/");
    assert_int_equal(row->event.time, NOW + 2);
    assert_string_equal(row->user_id, id);
    assert_int_equal(row->attempts, 1);
    ok(sa_store_outbox_claim(work, NOW + 5, 30, 2, KNOWN, &rows));
    assert_int_equal(rows->nelts, 0);           /* all are leased */

    ok(sa_store_outbox_settle(work, "e0", NULL, 0, 0));
    ok(sa_store_outbox_settle(work, "e1", "", 0, 0));
    ok(sa_store_outbox_settle(work, "e2", "https://b.test/", NOW + 100, 0));
    ok(sa_store_outbox_claim(work, NOW + 99, 30, 10, KNOWN, &rows));
    assert_int_equal(rows->nelts, 0);
    ok(sa_store_outbox_claim(work, NOW + 100, 30, 10, KNOWN, &rows));
    assert_int_equal(rows->nelts, 1);
    row = (void *)rows->elts;
    assert_string_equal(row->event.targets, "https://b.test/");
    assert_int_equal(row->attempts, 2);
    ok(sa_store_outbox_claim(work, NOW + 130, 30, 10, KNOWN, &rows));
    assert_int_equal(rows->nelts, 1);           /* a lease ends */
    ok(sa_store_outbox_settle(work, "e2", "https://b.test/", NOW, 1));
    ok(sa_store_outbox_claim(work, NOW + 1000, 30, 10, KNOWN, &rows));
    assert_int_equal(rows->nelts, 0);           /* given up, and kept */
    ok(sa_store_outbox_settle(work, "e2", "https://b.test/", NOW, 0));
    ok(sa_store_outbox_claim(work, NOW + 1000, 30, 10, "https://b.test https://b.test/x", &rows));
    assert_int_equal(rows->nelts, 0);           /* somebody else's */
    ok(sa_store_outbox_claim(work, NOW + 1000, 30, 10, "https://a.test/ https://b.test/", &rows));
    assert_int_equal(rows->nelts, 1);
    ok(sa_store_outbox_settle(work, "e2", "https://b.test/", NOW, 1));
    sa_work_close(work);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_outbox WHERE dead = 1"), 1);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_outbox"), 1);
}

static int announced(db_t *db, const char *sid)
{
    return db_int(db, "SELECT count(*) FROM sa_revocations WHERE sid = '%s'", sid);
}

/* However a session ends before its time, the feed of sa_revocations says so, once. */
static void test_T127_an_ended_session_is_announced(void **state)
{
    db_t *db = *state;
    sa_refresh_verdict_t verdict;
    sa_session_t *session = NULL;
    sa_user_t *user = NULL;
    int found, was_live, n;

    const char *ada = make_user(db, "ada@x.test", "ada");
    const char *bob = make_user(db, "bob@x.test", "bob");
    make_session(db, ada, "s1");
    make_session(db, ada, "s2");
    make_session(db, bob, "s3");
    make_session(db, bob, "s4");
    db_exec(db, "UPDATE sa_sessions SET expires = 1 WHERE sid = 's4'");
    sa_work_t *work = work_of(db);
    sa_refresh_t refresh = new_refresh("s1", "s1-1", "s1-2");
    ok(sa_store_refresh(work, &refresh, &verdict, &session, &user));
    assert_int_equal(verdict, SA_REFRESH_ROTATED);
    assert_int_equal(db_int(db, "SELECT count(*) FROM sa_revocations"), 0);
    ok(sa_store_revoke_session(work, "s1", NOW, &found, &was_live));
    ok(sa_store_revoke_session(work, "s1", NOW, &found, &was_live));
    ok(sa_store_revoke_user(work, ada, NULL, NOW, &n));
    ok(sa_store_purge(work, 2, 100, &n));
    sa_work_close(work);
    assert_int_equal(announced(db, "s1"), 1);
    assert_int_equal(announced(db, "s2"), 1);
    assert_int_equal(announced(db, "s3"), 0);
    db_exec(db, "%sDELETE FROM sa_users",       /* as somebody else's program may */
            is_pgsql(db) ? "" : "PRAGMA foreign_keys = ON; ");
    assert_int_equal(announced(db, "s1"), 1);
    assert_int_equal(announced(db, "s3"), 1);
    assert_int_equal(announced(db, "s4"), 0);   /* it had expired */
    assert_true(db_int(db, "SELECT min(at) FROM sa_revocations") > 1700000000);
}

static void test_purge(void **state)
{
    db_t *db = *state;
    unsigned char id[32] = { 0 };
    int n = -1, first;
    const char *user = make_user(db, "ada@x.test", "ada");

    for (int i = 0; i < 5; i++) {
        make_session(db, user, apr_psprintf(db->pool, "s%d", (int)i));
        id[0] = (unsigned char)i;
        sa_work_t *work = work_of(db);
        ok(sa_store_spend(work, id, NOW + 5000, &first));
        sa_work_close(work);
    }
    sa_work_t *work = work_of(db);
    ok(sa_store_purge(work, NOW + 4999, 3, &n));
    assert_int_equal(n, 0);
    ok(sa_store_purge(work, NOW + 5000, 3, &n));
    assert_int_equal(n, 3);                     /* what is spent stays: clocks differ */
    ok(sa_store_purge(work, NOW + 5120, 3, &n));
    assert_int_equal(n, 5);
    ok(sa_store_purge(work, NOW + 5120, 3, &n));
    assert_int_equal(n, 2);
    ok(sa_store_purge(work, NOW + 5120, 3, &n));
    assert_int_equal(n, 0);
    ok(sa_store_event(work, user, new_event(db->pool, "e1", "login")));
    ok(sa_store_purge(work, NOW + 30 * 86400 - 1, 3, &n));
    assert_int_equal(n, 0);
    ok(sa_store_purge(work, NOW + 30 * 86400, 3, &n));
    assert_int_equal(n, 1);
    ok(sa_store_notify(work, "evt_1", "login_successful"));
    sa_work_close(work);
}

/* ---- transactions ---- */

static void test_T220_rolled_back_is_not_there(void **state)
{
    db_t *db = *state;
    sa_new_user_t user = { "ada@x.test", "ada", "", "", "", 0, 1, 0, 0, NULL, 0 };
    sa_link_t link = { "p", "i", "1", NULL, NOW };
    sa_event_t *event = new_event(db->pool, "e", "new_user_registered");
    const char *id = NULL, *taken = NULL;
    sa_user_t *found = NULL;

    for (int how = 0; how < 3; how++) {
        sa_work_t *work = work_of(db);
        ok(sa_work_begin(work));
        ok(sa_store_create_user(work, &user, NOW, &id, &taken));
        assert_non_null(id);
        ok(sa_store_create_link(work, id, &link));
        ok(sa_store_start_session(work, id, new_session(db->pool, "s"), event, 1, &found));
        assert_non_null(found);
        if (how == 0) {
            sa_work_rollback(work);
            ok(sa_store_user_by_id(work, id, &found));
            assert_null(found);
        }
        if (how == 2) {
            ok(sa_work_commit(work));
        }
        sa_work_close(work);                    /* 1: forgotten */
        sa_work_close(work);
        assert_int_equal(db_int(db, "SELECT (SELECT count(*) FROM sa_users) + "
                                "(SELECT count(*) FROM sa_links) + "
                                "(SELECT count(*) FROM sa_sessions) + "
                                "(SELECT count(*) FROM sa_outbox)"), how == 2 ? 4 : 0);
    }
    assert_int_equal(db_connections(db), 1);
}

static void test_conflict_and_look_again(void **state)
{
    db_t *db = *state;
    sa_link_t link = { "p", "i", "1", NULL, NOW };
    sa_user_t *user = NULL;
    const char *ada = make_user(db, "ada@x.test", "ada");
    const char *eve = make_user(db, "eve@x.test", "eve");

    make_link(db, ada, "i", "1");
    sa_work_t *work = work_of(db);
    ok(sa_work_begin(work));
    sa_error_t *error = sa_store_create_link(work, eve, &link);
    failed_as(error, SA_E_CONFLICT);
    assert_null(strstr(error->log, "DETAIL"));
    sa_work_rollback(work);
    ok(sa_work_begin(work));
    ok(sa_store_user_by_id(work, eve, &user));
    assert_non_null(user);
    link.subject = "2";
    failed_as(sa_store_create_link(work, ada, &link), SA_E_CONFLICT);   /* (user, issuer) */
    sa_work_rollback(work);
    failed_as(sa_store_create_link(work, "4711", &link), SA_E_CONFLICT);        /* no such user */
    ok(sa_store_create_link(work, eve, &link));
    sa_work_close(work);
    assert_false(db_last_broken(db));
}

static void test_work_ends_with_its_pool(void **state)
{
    db_t *db = *state;
    apr_pool_t *pool = NULL;

    apr_pool_create(&pool, db->pool);
    sa_work_t *work = work_on(db, pool);
    ok(sa_work_begin(work));
    apr_pool_destroy(pool);
    make_user(db, "ada@x.test", "ada");
    assert_int_equal(db_connections(db), 1);
    assert_false(db_last_broken(db));
}

static const struct CMUnitTest tests[] = {
    ON_BOTH(test_login_linked, setup_own),
    ON_BOTH(test_unusable_accounts_write_nothing, setup_own),
    ON_BOTH(test_start_session_with_any_number_of_events, setup_own),
    ON_BOTH(test_reclaim_leaves_nothing_of_the_squatter, setup_own),
    ON_BOTH(test_refresh_rotates, setup_own),
    ON_BOTH(test_T117_lost_reply_gets_the_same_successor, setup_own),
    ON_BOTH(test_T116_reuse_ends_the_family, setup_own),
    ON_BOTH(test_refresh_of_ended_families, setup_own),
    ON_BOTH(test_refresh_without_blacklist, setup_own),
    ON_BOTH(test_session_live_and_revoke, setup_own),
    ON_BOTH(test_T65_links_of_a_bearer, setup_own),
    ON_BOTH(test_link_verdicts, setup_own),
    ON_BOTH(test_T56_links_of_other_providers_do_not_count, setup_own),
    ON_BOTH(test_T56_unlink_leaves_a_way_in, setup_own),
    ON_BOTH(test_spend_once, setup_own),
    ON_BOTH(test_outbox, setup_own),
    ON_BOTH(test_T127_an_ended_session_is_announced, setup_own),
    ON_BOTH(test_purge, setup_own),
    ON_BOTH(test_T220_rolled_back_is_not_there, setup_own),
    ON_BOTH(test_conflict_and_look_again, setup_own),
    ON_BOTH(test_work_ends_with_its_pool, setup_own),
};

int main(void)
{
    return fixture_main("store sessions", tests, COUNT(tests));
}
