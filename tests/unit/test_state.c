/* The login state and PKCE. */
#include "vectors.h"

#include "core/base64url.h"
#include "core/crypto.h"
#include "core/state.h"

#include <apr_general.h>

#define NOW 1800000000
#define CHALLENGE "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"     /* RFC 7636 appendix B */
#define VERIFIER "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

static apr_pool_t *pool;
static const unsigned char key[SA_STATE_KEY_LEN] = "0123456789abcdef0123456789abcde";

static int setup(void **state)
{
    apr_pool_create(&pool, NULL);
    return 0;
}

static int teardown(void **state)
{
    apr_pool_destroy(pool);
    return 0;
}

static char *make(sa_state_t *made)
{
    memset(made, 0, sizeof(*made));
    made->provider = "github";
    made->purpose = "login";
    char *text = sa_state_make(pool, key, made, NOW);
    assert_non_null(text);
    return text;
}

static const char *check(const char *text, sa_state_t *got)
{
    return sa_state_check(pool, key, text, "github", "login", NOW + 10, 300, got);
}

/* A state of any payload, rightly signed. */
static char *sign(const char *payload)
{
    unsigned char mac[SA_SHA256_LEN];
    char *text = sa_base64url_encode(pool, payload, strlen(payload));
    sa_hmac_sha256(key, sizeof(key), text, strlen(text), mac);
    return apr_pstrcat(pool, text, ".", sa_base64url_encode(pool, mac, sizeof(mac)), NULL);
}

static void test_round_trip(void **state)
{
    sa_state_t made, got;
    char *text = make(&made);

    assert_null(check(text, &got));
    assert_string_equal(got.provider, "github");
    assert_string_equal(got.purpose, "login");
    assert_int_equal(got.issued, NOW);
    assert_string_equal(got.nonce, made.nonce);
    assert_int_equal(strlen(got.nonce), 22);
    assert_null(got.challenge);
    assert_null(got.user);
    assert_memory_equal(got.id, made.id, sizeof(got.id));
    for (const char *c = text; *c; c++) {
        assert_true((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z')
                    || (*c >= '0' && *c <= '9') || strchr("-_.", *c));
    }
}

static void test_bound_state(void **state)
{
    sa_state_t made = { .provider = "github", .purpose = "login", .challenge = CHALLENGE,
                        .user = "4f\"\\x\xc3\xb6" };
    sa_state_t got;
    char *text = sa_state_make(pool, key, &made, NOW);

    assert_non_null(text);
    assert_null(check(text, &got));
    assert_string_equal(got.challenge, CHALLENGE);
    assert_string_equal(got.user, made.user);
}

/* What is spent (T2) differs for each state and depends on every byte. */
static void test_T9_where_a_redirect_ends(void **state)
{
    char *next = apr_palloc(pool, SA_STATE_NEXT_MAX + 1);
    char *provider = apr_palloc(pool, 65);
    sa_state_t got;

    memset(next, '/', SA_STATE_NEXT_MAX);
    memset(provider, 'p', 64);
    next[SA_STATE_NEXT_MAX] = provider[64] = '\0';
    sa_state_t made = { .provider = provider, .purpose = "redirect", .next = next };
    char *text = sa_state_make(pool, key, &made, NOW);
    assert_non_null(text);
    assert_null(sa_state_check(pool, key, text, provider, "redirect", NOW, 300, &got));
    assert_string_equal(got.next, next);
    assert_non_null(sa_state_check(pool, key, text, provider, "login", NOW, 300, &got));
    assert_non_null(check(sign("{\"v\":1,\"p\":\"github\",\"u\":\"login\",\"t\":1800000000,"
                               "\"n\":\"aaaaaaaaaaaaaaaaaaaaaa\",\"r\":1}"), &got));
}

static void test_T2_ids_are_unique(void **state)
{
    sa_state_t one, two;
    char *a = make(&one), *b = make(&two);

    assert_string_not_equal(a, b);
    assert_string_not_equal(one.nonce, two.nonce);
    assert_memory_not_equal(one.id, two.id, sizeof(one.id));
}

static void test_wrong_place(void **state)
{
    static const unsigned char other[SA_STATE_KEY_LEN] = "another key";
    sa_state_t made, got;
    char *text = make(&made);

    assert_null(sa_state_check(pool, key, text, "github", "login", NOW, 300, &got));
    assert_non_null(sa_state_check(pool, key, text, "google", "login", NOW, 300, &got));
    assert_non_null(sa_state_check(pool, key, text, "git", "login", NOW, 300, &got));
    assert_non_null(sa_state_check(pool, key, text, "github", "redirect", NOW, 300, &got));
    assert_non_null(sa_state_check(pool, other, text, "github", "login", NOW, 300, &got));
    assert_non_null(check(NULL, &got));
    assert_non_null(check("", &got));
    assert_non_null(check(".", &got));
    assert_non_null(check("abc", &got));
    assert_null(got.nonce);
}

static void test_age(void **state)
{
    sa_state_t made, got;
    char *text = make(&made);
    static const struct { int at, good; } cases[] = {
        {-6, 0}, {-5, 1}, {0, 1}, {300, 1}, {301, 0}, {100000, 0}
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *why = sa_state_check(pool, key, text, "github", "login", NOW + cases[i].at,
                                         300, &got);
        assert_int_equal(why == NULL, cases[i].good);
    }
}

static void test_every_changed_character_is_refused(void **state)
{
    sa_state_t made, got;
    char *text = make(&made);
    size_t len = strlen(text);

    for (size_t i = 0; i < len; i++) {
        for (int bit = 0; bit < 8; bit++) {
            char *changed = apr_pstrmemdup(pool, text, len);
            changed[i] = (char)(changed[i] ^ 1 << bit);
            assert_non_null(check(changed, &got));
        }
        assert_non_null(check(apr_pstrmemdup(pool, text, i), &got));
    }
    assert_non_null(check(apr_pstrcat(pool, text, "=", NULL), &got));
    assert_non_null(check(apr_pstrcat(pool, text, ".", NULL), &got));
    assert_non_null(check(apr_pstrcat(pool, " ", text, NULL), &got));
}

#define PAYLOAD(v, t, n, more) \
    "{\"v\":" v ",\"p\":\"github\",\"u\":\"login\",\"t\":" t ",\"n\":" n more "}"
#define NONCE "\"AAAAAAAAAAAAAAAAAAAAAA\""

static void test_signed_but_malformed(void **state)
{
    static const char *const bad[] = {
        "", "{}", "[]", "null", "1", "{", PAYLOAD("2", "1800000000", NONCE, ""),
        PAYLOAD("\"1\"", "1800000000", NONCE, ""), PAYLOAD("1", "\"1800000000\"", NONCE, ""),
        PAYLOAD("1", "1800000000.0", NONCE, ""), PAYLOAD("1", "1800000000", "1", ""),
        PAYLOAD("1", "1800000000", "\"short\"", ""), PAYLOAD("1", "1800000000", "null", ""),
        PAYLOAD("1", "1800000000", "\"AAAAAAAAAAAAAAAAAAAAA.\"", ""),
        PAYLOAD("1", "1800000000", NONCE, ",\"c\":\"short\""),
        PAYLOAD("1", "1800000000", NONCE, ",\"c\":null"),
        PAYLOAD("1", "1800000000", NONCE, ",\"s\":1"),
        PAYLOAD("1", "1800000000", NONCE, ",\"s\":\"a\",\"s\":\"b\""),
        PAYLOAD("1", "1800000000", NONCE, ",\"s\":\"a\\u0000b\""),
        PAYLOAD("1", "1800000000", NONCE, "") "x",
        PAYLOAD("1", "99999999999999999999", NONCE, ""), PAYLOAD("1", "-1", NONCE, ""),
    };
    sa_state_t got;

    assert_null(check(sign(PAYLOAD("1", "1800000000", NONCE, "")), &got));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (!check(sign(bad[i]), &got)) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
}

static void test_length_limit(void **state)
{
    char user[2000];
    sa_state_t made = { .provider = "github", .purpose = "login", .user = user }, got;

    memset(user, 'x', sizeof(user));
    user[400] = '\0';
    char *text = sa_state_make(pool, key, &made, NOW);
    assert_non_null(text);
    assert_true(strlen(text) <= SA_STATE_MAX);
    assert_null(check(text, &got));
    user[400] = 'x';
    user[sizeof(user) - 1] = '\0';
    assert_null(sa_state_make(pool, key, &made, NOW));
    char *payload = apr_pstrcat(pool, "{\"v\":1,\"p\":\"github\",\"u\":\"login\",\"t\":1800000000,"
                                "\"n\":" NONCE ",\"s\":\"", user, "\"}", NULL);
    assert_non_null(check(sign(payload), &got));
}

static void test_T7_pkce(void **state)
{
    assert_string_equal(sa_pkce_challenge(pool, VERIFIER), CHALLENGE);
    assert_true(sa_pkce_matches(VERIFIER, CHALLENGE));
    assert_false(sa_pkce_matches(CHALLENGE, CHALLENGE));        /* no "plain" */
    assert_false(sa_pkce_matches(VERIFIER "x", CHALLENGE));
    assert_false(sa_pkce_matches(VERIFIER, CHALLENGE "="));
    assert_false(sa_pkce_matches(VERIFIER, ""));
    assert_false(sa_pkce_matches("", CHALLENGE));
    assert_false(sa_pkce_matches(NULL, CHALLENGE));
    assert_false(sa_pkce_matches(VERIFIER, NULL));
    assert_true(sa_pkce_challenge_valid(CHALLENGE));
    assert_false(sa_pkce_challenge_valid(CHALLENGE "="));
    assert_false(sa_pkce_challenge_valid("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw+cM"));
    assert_false(sa_pkce_challenge_valid(""));
    assert_false(sa_pkce_challenge_valid(NULL));
}

static void test_T7_pkce_verifier_form(void **state)
{
    static const struct { int len; char last; int good; } cases[] = {
        {42, 'a', 0}, {43, 'a', 1}, {43, '~', 1}, {43, '.', 1}, {43, '+', 0}, {43, ' ', 0},
        {43, '\x80', 0}, {128, 'a', 1}, {129, 'a', 0}, {4000, 'a', 0}
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *verifier = apr_palloc(pool, (apr_size_t)cases[i].len + 1);
        memset(verifier, 'a', (size_t)cases[i].len);
        verifier[cases[i].len - 1] = cases[i].last;
        verifier[cases[i].len] = '\0';
        assert_int_equal(sa_pkce_matches(verifier, sa_pkce_challenge(pool, verifier)),
                         cases[i].good);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_bound_state),
        cmocka_unit_test(test_T9_where_a_redirect_ends),
        cmocka_unit_test(test_T2_ids_are_unique),
        cmocka_unit_test(test_wrong_place),
        cmocka_unit_test(test_age),
        cmocka_unit_test(test_every_changed_character_is_refused),
        cmocka_unit_test(test_signed_but_malformed),
        cmocka_unit_test(test_length_limit),
        cmocka_unit_test(test_T7_pkce),
        cmocka_unit_test(test_T7_pkce_verifier_form),
    };

    apr_initialize();
    if (sa_crypto_init() != APR_SUCCESS) {
        return 1;
    }
    return cmocka_run_group_tests(tests, setup, teardown);
}
