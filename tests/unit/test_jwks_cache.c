/* The key cache: floods, rotation, outages, herds. The server's side decides when things
 * happen; nothing here measures a clock. */
#include "provider_fixture.h"

#include "core/base64url.h"
#include "core/json.h"
#include "core/jwt.h"
#include "core/key.h"
#include "providers/document.h"

#include <apr_thread_proc.h>

#define HERD 200

/* ---- the key cache ---- */

static sa_error_t *verify(const sa_provider_t *provider, const sa_key_t *key)
{
    apr_pool_t *p;
    sa_jwt_t jwt;
    char *token = token_with(key, NULL, NULL);

    apr_pool_create(&p, pool);
    return sa_jwks_verify(provider, &env, p, token, &jwt);
}

static void prime(const sa_provider_t *provider, const char *jwks, int ttl_ms)
{
    assert_int_equal(sa_document_put(env.shared, provider->jwks_url, jwks, strlen(jwks), ttl_ms),
                     APR_SUCCESS);
}

static void test_T201_unknown_kid_flood_is_one_refetch(void **state)
{
    const sa_provider_t *provider = make_idp();
    const sa_key_t *key = make_key(SA_ALG_ES256, "k1");
    char *token = token_with(key, NULL, NULL);
    char *rest = strchr(token, '.');
    apr_pool_t *p;
    sa_jwt_t jwt;

    (void)state;
    prime(provider, jwks_of(key, NULL), 3600000);
    serve("/jwks", 200, jwks_of(key, NULL));
    apr_pool_create(&p, pool);
    for (int i = 0; i < 10000; ++i) {
        const char *header = apr_psprintf(p, "{\"alg\":\"ES256\",\"kid\":\"%d\"}", i);
        char *forged = apr_pstrcat(p, sa_base64url_encode(p, header, strlen(header)), rest, NULL);
        assert_kind(sa_jwks_verify(provider, &env, p, forged, &jwt), SA_E_ID_TOKEN_INVALID);
        apr_pool_clear(p);
    }
    assert_int_equal(mock_count(mock, "/jwks"), 1);
    assert_works(verify(provider, key));
    assert_int_equal(sa_document_fetches(env.shared), 1);
}

static void test_T201_flood_does_not_wait_for_the_refetch(void **state)
{
    const sa_provider_t *provider = make_idp();
    const sa_key_t *key = make_key(SA_ALG_ES256, "k1");
    const sa_key_t *unknown = make_key(SA_ALG_ES256, "k2");
    login_t login = { .provider = provider, .token = token_with(unknown, NULL, NULL) };

    (void)state;
    prime(provider, jwks_of(key, NULL), 3600000);
    mock_reply(mock, &(mock_reply_t){ .path = "/jwks", .way = MOCK_HELD,
                                      .body = jwks_of(key, NULL) });
    apr_thread_t *thread = spawn(&login);
    mock_wait(mock, "/jwks", 1);
    for (int i = 0; i < 20; ++i) {
        assert_kind(verify(provider, unknown), SA_E_ID_TOKEN_INVALID);
        assert_works(verify(provider, key));
    }
    mock_release(mock);
    join(thread);
    assert_true(login.failed && login.failure == SA_E_ID_TOKEN_INVALID);
    assert_int_equal(mock_count(mock, "/jwks"), 1);
}

/* Verifies with the old key while the set is replaced by this thread, again and again. */
static void *APR_THREAD_FUNC verify_thread(apr_thread_t *thread, void *data)
{
    login_t *login = data;

    for (int i = 0; i < 200 && !login->failed; ++i) {
        login_thread(thread, login);
    }
    return NULL;
}

static void test_T113_T202_sets_are_replaced_under_load(void **state)
{
    const sa_provider_t *provider = make_idp();
    const sa_key_t *key = make_key(SA_ALG_ES256, "k1");
    char *jwks = jwks_of(key, make_key(SA_ALG_ES256, "k2"));
    char *token = token_with(key, NULL, NULL);
    login_t logins[8];
    apr_thread_t *threads[8];

    (void)state;
    prime(provider, jwks, 3600000);
    for (int i = 0; i < 8; ++i) {
        logins[i] = (login_t){ .provider = provider, .token = token };
        assert_int_equal(apr_thread_create(&threads[i], NULL, verify_thread, &logins[i], pool),
                         APR_SUCCESS);
    }
    for (int i = 0; i < 300; ++i) {
        prime(provider, jwks, 3600000);
        apr_sleep(100);
    }
    for (int i = 0; i < 8; ++i) {
        join(threads[i]);
        assert_false(logins[i].failed);
    }
    assert_int_equal(mock_count(mock, NULL), 0);
}

static void test_T202_rotation(void **state)
{
    const sa_provider_t *provider = make_idp();
    const sa_key_t *old = make_key(SA_ALG_ES256, "k1");
    const sa_key_t *new = make_key(SA_ALG_ES256, "k2");

    (void)state;
    prime(provider, jwks_of(old, NULL), 3600000);
    assert_works(verify(provider, old));
    serve("/jwks", 200, jwks_of(old, new));
    assert_works(verify(provider, new));        /* signed with at once */
    assert_works(verify(provider, old));
    assert_int_equal(mock_count(mock, "/jwks"), 1);
    prime(provider, jwks_of(new, NULL), 3600000);
    assert_kind(verify(provider, old), SA_E_ID_TOKEN_INVALID);
    assert_works(verify(provider, new));
}

/* The fetch that brought the first set is nobody's renewal: the next rotation is found at once. */
static void test_T202_rotation_right_after_the_first_fetch(void **state)
{
    const sa_provider_t *provider = make_idp();
    const sa_key_t *old = make_key(SA_ALG_ES256, "k1");
    const sa_key_t *new = make_key(SA_ALG_ES256, "k2");

    (void)state;
    serve("/jwks", 200, jwks_of(old, NULL));
    assert_works(verify(provider, old));
    serve("/jwks", 200, jwks_of(old, new));
    assert_works(verify(provider, new));
    for (int i = 0; i < 20; ++i) {              /* but not the one after that */
        assert_kind(verify(provider, make_key(SA_ALG_ES256, "k3")), SA_E_ID_TOKEN_INVALID);
    }
    assert_int_equal(mock_count(mock, "/jwks"), 2);
}

/* A key in use stays valid although its set is replaced meanwhile. */
static void test_T202_replaced_set_lives_as_long_as_its_users(void **state)
{
    const sa_provider_t *provider = make_idp();
    const sa_key_t *key = make_key(SA_ALG_ES256, "k1");
    apr_pool_t *p;
    sa_jwt_t jwt;

    (void)state;
    apr_pool_create(&p, pool);
    prime(provider, jwks_of(key, NULL), 3600000);
    assert_works(sa_jwks_verify(provider, &env, p, token_with(key, NULL, NULL), &jwt));
    for (int i = 0; i < 50; ++i) {
        prime(provider, jwks_of(key, NULL), 3600000);
        assert_works(verify(provider, key));
    }
    assert_string_equal(sa_key_kid(jwt.key), "k1");
    apr_pool_destroy(p);
}

static void test_T203_outage_keeps_the_last_good_set(void **state)
{
    const sa_key_t *key = make_key(SA_ALG_ES256, "k1");
    const mock_reply_t faults[] = {
        { .path = "/f0", .status = 500, .body = "{}" },
        { .path = "/f1", .body = "garbage" },
        { .path = "/f2", .body = "{\"keys\":[]}" },
        { .path = "/f3", .way = MOCK_CUT },
        { .path = "/f4", .way = MOCK_SILENT },
        { .path = "/f5", .status = 301, .body = "{}", .headers = "Location: /steal\r\n" },
        { .path = "/f6", .status = 404, .body = "{}" },
        { .path = "/f7", .status = 429, .body = "{}" },
        { .path = "/f8", .way = MOCK_ENDLESS },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); ++i) {
        sa_provider_t *provider = make_idp();
        provider->jwks_url = mock_url(mock, pool, faults[i].path);
        provider->limits.total_ms = 200;
        mock_reply(mock, &faults[i]);
        prime(provider, jwks_of(key, NULL), 0);         /* due at once */
        for (int n = 0; n < 5; ++n) {
            assert_works(verify(provider, key));
        }
        assert_int_equal(sa_document_fetches(env.shared), i + 1);
    }
    assert_int_equal(mock_count(mock, "/steal"), 0);
}

static void test_T203_never_a_set_fails_closed(void **state)
{
    sa_provider_t *provider = make_idp();
    const sa_key_t *key = make_key(SA_ALG_ES256, "k1");

    (void)state;
    serve("/jwks", 500, "{}");
    assert_kind(verify(provider, key), SA_E_PROVIDER_UNAVAILABLE);
    provider->jwks_url = mock_url(mock, pool, "/hang");
    provider->limits.total_ms = 200;
    mock_reply(mock, &(mock_reply_t){ .path = "/hang", .way = MOCK_SILENT });
    assert_kind(verify(provider, key), SA_E_PROVIDER_TIMEOUT);
    char *large = apr_palloc(pool, SA_DOCUMENT_MAX + 1000);
    memset(large, ' ', SA_DOCUMENT_MAX + 999);
    large[SA_DOCUMENT_MAX + 999] = '\0';
    char *jwks = jwks_of(key, NULL);
    memcpy(large, jwks, strlen(jwks));
    provider->jwks_url = mock_url(mock, pool, "/large");
    serve("/large", 200, large);
    assert_kind(verify(provider, key), SA_E_PROVIDER_UNAVAILABLE);
}

static void test_T204_lifetimes_are_clamped(void **state)
{
    static const struct { const char *text; int seconds; } cases[] = {
        { NULL, 3600 },
        { "", 3600 },
        { "public", 3600 },
        { "max-age=0", 60 },
        { "max-age=59", 60 },
        { "max-age=61", 61 },
        { "public, Max-Age=19000, must-revalidate, no-transform", 19000 },
        { "max-age=\"300\"", 300 },
        { "s-maxage=5, max-age=200", 200 },
        { "max-age=86401", 86400 },
        { "max-age=1000000000000", 86400 },
        { "max-age=99999999999999999999999999", 86400 },
        { "max-age=-1", 60 },
        { "max-age=", 60 },
        { "no-store", 60 },
        { "private, no-cache, max-age=900", 60 },
        { ",,, ,", 3600 },
    };
    const sa_provider_t *provider = make_idp();
    const sa_key_t *key = make_key(SA_ALG_ES256, "k1");
    sa_document_t doc;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        assert_int_equal(sa_document_ttl(cases[i].text), cases[i].seconds * 1000);
    }
    mock_reply(mock, &(mock_reply_t){ .path = "/jwks", .headers = "Cache-Control: max-age=1e12\r\n",
                                      .body = jwks_of(key, NULL) });
    assert_works(verify(provider, key));
    assert_int_equal(sa_document_get(env.shared, pool, provider->jwks_url, 0, &doc), APR_SUCCESS);
    assert_int_equal(doc.ttl_ms, 60000);
}

static void test_T205_herd_at_expiry_is_served_the_old_set(void **state)
{
    const sa_provider_t *provider = make_idp();
    const sa_key_t *old = make_key(SA_ALG_ES256, "k1");
    const sa_key_t *new = make_key(SA_ALG_ES256, "k2");
    login_t login = { .provider = provider, .token = token_with(old, NULL, NULL) };

    (void)state;
    prime(provider, jwks_of(old, NULL), 0);
    mock_reply(mock, &(mock_reply_t){ .path = "/jwks", .way = MOCK_HELD,
                                      .body = jwks_of(old, new) });
    apr_thread_t *thread = spawn(&login);
    mock_wait(mock, "/jwks", 1);
    for (int i = 0; i < HERD; ++i) {            /* while that one's fetch is unanswered */
        assert_works(verify(provider, old));
    }
    assert_int_equal(mock_count(mock, "/jwks"), 1);
    mock_release(mock);
    join(thread);
    assert_false(login.failed);
    assert_works(verify(provider, new));
    assert_int_equal(mock_count(mock, "/jwks"), 1);
}

static void test_T205_herd_at_first_use_is_one_fetch(void **state)
{
    const sa_provider_t *provider = make_idp();
    const sa_key_t *key = make_key(SA_ALG_ES256, "k1");
    char *token = token_with(key, NULL, NULL);
    login_t *logins = apr_pcalloc(pool, HERD * sizeof(*logins));
    apr_thread_t **threads = apr_pcalloc(pool, HERD * sizeof(apr_thread_t *));

    (void)state;
    mock_reply(mock, &(mock_reply_t){ .path = "/jwks", .way = MOCK_HELD,
                                      .body = jwks_of(key, NULL) });
    for (int i = 0; i < HERD; ++i) {
        logins[i].provider = provider;
        logins[i].token = token;
        threads[i] = spawn(&logins[i]);
    }
    mock_wait(mock, "/jwks", 1);
    mock_release(mock);
    for (int i = 0; i < HERD; ++i) {
        join(threads[i]);
        assert_false(logins[i].failed);
    }
    assert_int_equal(mock_count(mock, "/jwks"), 1);
    assert_int_equal(sa_document_fetches(env.shared), 1);
}

static void test_herd_at_first_use_fails_together(void **state)
{
    const sa_provider_t *provider = make_idp();
    login_t logins[20];
    apr_thread_t *threads[20];

    (void)state;
    memset(logins, 0, sizeof(logins));
    mock_reply(mock, &(mock_reply_t){ .path = "/jwks", .way = MOCK_HELD, .status = 500 });
    for (int i = 0; i < 20; ++i) {
        logins[i].provider = provider;
        logins[i].token = "a.b.c";
        threads[i] = spawn(&logins[i]);
    }
    mock_wait(mock, "/jwks", 1);
    mock_release(mock);
    for (int i = 0; i < 20; ++i) {
        join(threads[i]);
        assert_true(logins[i].failed && logins[i].failure == SA_E_PROVIDER_UNAVAILABLE);
    }
}

/* A renewal that found no place has not happened. */
static void test_T201_busy_renewal_uses_up_nothing(void **state)
{
    const sa_provider_t *provider = make_idp();
    const sa_key_t *old = make_key(SA_ALG_ES256, "k1");
    const sa_key_t *new = make_key(SA_ALG_ES256, "k2");

    (void)state;
    prime(provider, jwks_of(old, NULL), 3600000);
    serve("/jwks", 200, jwks_of(old, new));
    assert_int_equal(sa_http_create(&env.http, pool, 1, 1), APR_SUCCESS);
    assert_int_equal(sa_http_enter(env.http, "somebody else"), APR_SUCCESS);
    assert_kind(verify(provider, new), SA_E_BUSY);
    assert_works(verify(provider, old));
    assert_int_equal(sa_document_fetches(env.shared), 0);
    sa_http_leave(env.http, "somebody else");
    assert_works(verify(provider, new));
    assert_int_equal(sa_document_fetches(env.shared), 1);
}

/* Waits until so many of them have failed. */
static void wait_failed(const login_t *logins, int n, int wanted)
{
    for (int tries = 0; tries < 10000; ++tries) {
        int failed = 0;
        for (int i = 0; i < n; ++i) {
            failed += __atomic_load_n(&logins[i].failed, __ATOMIC_ACQUIRE);
        }
        if (failed >= wanted) {
            return;
        }
        apr_sleep(apr_time_from_msec(1));
    }
    fail_msg("fewer than %d have failed", wanted);
}

static void test_T195_waiters_for_the_first_set_are_bounded(void **state)
{
    const sa_provider_t *provider = make_idp();
    const sa_key_t *key = make_key(SA_ALG_ES256, "k1");
    login_t logins[12];
    apr_thread_t *threads[12];
    int busy = 0;

    (void)state;
    assert_int_equal(sa_http_create(&env.http, pool, 4, 4), APR_SUCCESS);
    mock_reply(mock, &(mock_reply_t){ .path = "/jwks", .way = MOCK_HELD,
                                      .body = jwks_of(key, NULL) });
    for (int i = 0; i < 12; ++i) {
        logins[i] = (login_t){ .provider = provider, .token = token_with(key, NULL, NULL) };
        threads[i] = spawn(&logins[i]);
    }
    mock_wait(mock, "/jwks", 1);
    wait_failed(logins, 12, 8);
    mock_release(mock);
    for (int i = 0; i < 12; ++i) {
        join(threads[i]);
        busy += logins[i].failed && logins[i].failure == SA_E_BUSY;
    }
    assert_int_equal(busy, 8);
    assert_works(verify(provider, key));
}

/* The same key, whose tokens name no kid. */
static const sa_key_t *make_nameless(sa_alg_t alg)
{
    sa_key_t *key = apr_pmemdup(pool, make_key(alg, NULL), sizeof(sa_key_t));

    key->header = apr_pstrcat(pool, "\"alg\":\"", sa_alg_name(alg), "\"}", NULL);
    return key;
}

static char *without_kids(const char *jwks)
{
    const char *why;
    json_t *set = sa_json_parse(pool, jwks, strlen(jwks), &why), *key;
    size_t i;

    json_array_foreach(json_object_get(set, "keys"), i, key) {
        json_object_del(key, "kid");
        json_object_del(key, "alg");
    }
    return sa_json_dump(pool, set);
}

static void test_T202_rotation_without_a_kid(void **state)
{
    const sa_provider_t *provider = make_idp();
    const sa_key_t *old = make_nameless(SA_ALG_ES256), *new = make_nameless(SA_ALG_ES256);

    (void)state;
    prime(provider, without_kids(jwks_of(old, NULL)), 3600000);
    serve("/jwks", 200, without_kids(jwks_of(new, NULL)));
    assert_works(verify(provider, old));
    assert_works(verify(provider, new));
    assert_kind(verify(provider, old), SA_E_ID_TOKEN_INVALID);
    assert_int_equal(mock_count(mock, "/jwks"), 1);
}

/* alg is optional in a JWK (RFC 7517 section 4.4): then the configured one is meant. */
static void test_keys_that_name_no_algorithm(void **state)
{
    sa_provider_t *provider = make_idp();
    const sa_key_t *key = make_nameless(SA_ALG_RS512), *ec = make_nameless(SA_ALG_ES256);

    (void)state;
    provider->id_token_alg = SA_ALG_RS512;
    prime(provider, without_kids(jwks_of(ec, key)), 3600000);
    assert_works(verify(provider, key));
    assert_kind(verify(provider, ec), SA_E_ID_TOKEN_INVALID);
    provider->id_token_alg = SA_ALG_ES256;      /* another provider of the same set */
    assert_works(verify(provider, ec));
    assert_kind(verify(provider, key), SA_E_ID_TOKEN_INVALID);
}

static void test_no_room_is_said_at_once(void **state)
{
    sa_provider_t *provider = make_idp();

    (void)state;
    provider->limits.total_ms = 60000;
    assert_int_equal(sa_shared_create(&env.shared, 1024 * 1024), APR_SUCCESS);
    for (int i = 0; sa_document_put(env.shared, apr_itoa(pool, i), "{}", 2, 1000) == APR_SUCCESS;
         ++i) {
        assert_true(i < 64);
    }
    sa_error_t *error = verify(provider, make_key(SA_ALG_ES256, "k1"));
    assert_kind(error, SA_E_PROVIDER_UNAVAILABLE);
    assert_non_null(strstr(error->log, "SocialAuthSharedMemory"));
    assert_int_equal(mock_count(mock, NULL), 0);
}

/* The background worker is first: at four fifths of a set's life. */
static void test_T205_kept_fresh_in_the_background(void **state)
{
    const sa_provider_t *provider = make_idp();
    const sa_key_t *key = make_key(SA_ALG_ES256, "k1");

    (void)state;
    serve("/jwks", 200, jwks_of(key, NULL));
    provider->type->keep(provider, &env, pool);         /* nobody has asked for it */
    assert_int_equal(mock_count(mock, NULL), 0);
    prime(provider, jwks_of(key, NULL), 3600000);
    provider->type->keep(provider, &env, pool);
    assert_int_equal(mock_count(mock, NULL), 0);
    prime(provider, jwks_of(key, NULL), 0);
    provider->type->keep(provider, &env, pool);
    assert_int_equal(mock_count(mock, "/jwks"), 1);
    assert_works(verify(provider, key));
    provider->type->keep(provider, &env, pool);
    assert_int_equal(mock_count(mock, NULL), 1);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_T201_unknown_kid_flood_is_one_refetch),
        CASE(test_T201_flood_does_not_wait_for_the_refetch),
        CASE(test_T113_T202_sets_are_replaced_under_load),
        CASE(test_T202_rotation),
        CASE(test_T202_rotation_right_after_the_first_fetch),
        CASE(test_T202_replaced_set_lives_as_long_as_its_users),
        CASE(test_T203_outage_keeps_the_last_good_set),
        CASE(test_T203_never_a_set_fails_closed),
        CASE(test_T204_lifetimes_are_clamped),
        CASE(test_T201_busy_renewal_uses_up_nothing),
        CASE(test_T195_waiters_for_the_first_set_are_bounded),
        CASE(test_T202_rotation_without_a_kid),
        CASE(test_keys_that_name_no_algorithm),
        CASE(test_no_room_is_said_at_once),
        CASE(test_T205_kept_fresh_in_the_background),
        CASE(test_T205_herd_at_expiry_is_served_the_old_set),
        CASE(test_T205_herd_at_first_use_is_one_fetch),
        CASE(test_herd_at_first_use_fails_together),
    };

    return cmocka_run_group_tests_name("key cache", tests, fixture_start, fixture_stop);
}
