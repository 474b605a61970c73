/* Facebook: the code flow, and tokens that front ends bring. */
#include "provider_fixture.h"

#define APP "138483919580948"
#define TOKEN "EAAB-token"
/* printf %s "$TOKEN" | openssl dgst -sha256 -hmac "$SECRET" */
#define PROOF "f1b8916175bf8309c1703286dcfe1a06255198661e88e627c28879a4c89a36d6"

/* printf %s "$APP|$SECRET" | openssl dgst -sha256 -hmac "$SECRET" */
#define APP_PROOF "b3912d117ab5b417f77bb87e6989a2e879ed595f8493792c9c1321324e418f3a"
#define DATA(more) "{\"data\":{\"is_valid\":true,\"app_id\":\"" APP "\",\"type\":\"USER\"," \
                   "\"expires_at\":4102444800,\"user_id\":\"1207059\",\"scopes\":[\"email\"]" more "}}"

/* All endpoints are the mock's and answer well. */
static sa_provider_t *make_facebook(const char *key, const char *value)
{
    serve("/token", 200, "{\"access_token\":\"" TOKEN "\",\"token_type\":\"bearer\","
                         "\"expires_in\":5183944}");
    serve("/me", 200, "{\"id\":\"1207059\",\"email\":\"Ada@Example.Test\","
                      "\"first_name\":\"Ada\",\"last_name\":\"Lovelace\"}");
    serve("/debug_token", 200, DATA(""));
    return make_provider("facebook", "client-id", APP, "client-secret", SECRET, "token-url",
                         mock_url(mock, pool, "/token"), "userinfo-url",
                         mock_url(mock, pool, "/me"), "token-check-url",
                         mock_url(mock, pool, "/debug_token"), key, value, NULL);
}

static void assert_asked(const char *path, const char *target)
{
    const char *sent = mock_last(mock, pool, path);
    const char *line = apr_pstrcat(pool, "GET ", target, " HTTP/1.1\r\n", NULL);

    if (strncmp(sent, line, strlen(line))) {
        fail_msg("not '%s' but:\n%s", target, sent);
    }
}

/* ---- code flow ---- */

static void test_login(void **state)
{
    sa_identity_t *identity;

    (void)state;
    assert_works(by_code(make_facebook(NULL, NULL), &identity));
    assert_string_equal(identity->issuer, "https://www.facebook.com");
    assert_string_equal(identity->subject, "1207059");
    assert_string_equal(identity->email, "ada@example.test");
    assert_false(identity->email_verified || identity->email_vouched);
    assert_string_equal(identity->first_name, "Ada");
    assert_string_equal(identity->last_name, "Lovelace");
    assert_non_null(strstr(mock_last(mock, pool, "/token"),
                           "client_id=" APP "&client_secret=" SECRET "&code=" CODE));
    assert_null(strstr(mock_last(mock, pool, "/token"), "redirect_uri"));
    assert_asked("/me", "/me?fields=id,email,first_name,last_name&access_token=" TOKEN
                        "&appsecret_proof=" PROOF);
}

static void test_the_only_redirect_uri_is_sent(void **state)
{
    sa_identity_t *identity;

    (void)state;
    assert_works(by_code(make_facebook("redirect-uri", "https://a.test/cb"), &identity));
    assert_non_null(strstr(mock_last(mock, pool, "/token"),
                           "&redirect_uri=https%3A%2F%2Fa.test%2Fcb"));
}

static void test_profile_params(void **state)
{
    sa_identity_t *identity;
    sa_provider_t *provider = make_facebook("profile-params", "fields=id, name&locale=de_DE");

    (void)state;
    serve("/me", 200, "{\"id\":\"1207059\",\"name\":\"Ada Augusta Lovelace\"}");
    assert_works(by_code(provider, &identity));
    assert_asked("/me", "/me?fields=id%2C%20name&locale=de_DE&access_token=" TOKEN
                        "&appsecret_proof=" PROOF);
    assert_null(identity->email);
    assert_string_equal(identity->first_name, "Ada");
    assert_string_equal(identity->last_name, "Augusta Lovelace");
    assert_works(by_code(make_facebook("profile-params", "locale=de_DE"), &identity));
    assert_non_null(strstr(mock_last(mock, pool, "/me"),
                           "/me?fields=id,email,first_name,last_name&locale=de_DE&access_token="));
    assert_works(by_code(make_facebook("userinfo-url", mock_url(mock, pool, "/me?a=b")),
                         &identity));
    assert_non_null(strstr(mock_last(mock, pool, "/me"), "/me?a=b&fields=id"));
}

static void trusted(const char *trust, int verified)
{
    sa_identity_t *identity;

    assert_works(by_code(make_facebook("email-trust", trust), &identity));
    assert_int_equal(identity->email_verified, verified);
    assert_int_equal(identity->email_vouched, verified);
}

static void test_T33_address_counts_where_it_is_trusted(void **state)
{
    (void)state;
    trusted("none", 0);
    trusted("verified", 1);
    trusted("example.test", 1);
    trusted("other.test", 0);
}

static void me_gives(const char *body, int status, sa_error_kind_t kind)
{
    const sa_provider_t *provider = make_facebook(NULL, NULL);
    sa_identity_t *identity;

    serve("/me", status, body);
    sa_error_t *error = by_code(provider, &identity);
    if (!error || error->kind != kind) {
        fail_msg("%d %s: %s", status, body, error ? error->log : "accepted");
    }
    assert_no_secrets(error);
    assert_null(strstr(error->log, TOKEN));
}

static void test_T199_hostile_answers_of_me(void **state)
{
    static const char *const garbled[] = {
        "", "false", "null", "[]", "{}", "{\"id\":null}", "{\"id\":\"\"}", "{\"id\":0}",
        "{\"id\":-1}", "{\"id\":1.5}", "{\"id\":1e3}", "{\"id\":\"12a\"}", "{\"id\":\" 12\"}",
        "{\"id\":[\"1\"]}", "{\"id\":true}", "{\"id\":\"1\",\"id\":\"2\"}", "{\"id\":\"1\\u0000\"}",
        "{\"id\":9223372036854775808}", "{\"id\":\"1\",\"error\":{}}", "{\"id\":\"1\"} x",
        "{\"error\":{\"code\":4,\"message\":\"evil\"}}", "{\"error\":\"evil\"}",
        "{\"id\":\"11111111111111111111111111111111111111111111111111111111111111111\"}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(garbled) / sizeof(garbled[0]); ++i) {
        me_gives(garbled[i], 200, SA_E_PROVIDER_UNAVAILABLE);
    }
    me_gives("{\"error\":{\"code\":190,\"message\":\"evil\"}}", 400, SA_E_PROVIDER_REJECTED);
    me_gives("{\"error\":{\"code\":190,\"message\":\"evil\"}}", 200, SA_E_PROVIDER_REJECTED);
    me_gives("{\"error\":{\"code\":\"190\"}}", 400, SA_E_PROVIDER_UNAVAILABLE);
    me_gives("{\"error\":{\"code\":4}}", 403, SA_E_PROVIDER_UNAVAILABLE);
    me_gives("{\"error\":{\"code\":190}}", 500, SA_E_PROVIDER_UNAVAILABLE);
    me_gives("{\"id\":\"1207059\"}", 302, SA_E_PROVIDER_UNAVAILABLE);
}

static void test_values_of_other_types_are_left_out(void **state)
{
    const sa_provider_t *provider = make_facebook("email-trust", "verified");
    sa_identity_t *identity;

    (void)state;
    serve("/me", 200, "{\"id\":9007199254740993,\"email\":[\"ada@example.test\"],"
                      "\"first_name\":7,\"last_name\":{},\"name\":null}");
    assert_works(by_code(provider, &identity));
    assert_string_equal(identity->subject, "9007199254740993");
    assert_null(identity->email);
    assert_false(identity->email_verified || identity->email_vouched);
    assert_string_equal(identity->first_name, "");
    assert_string_equal(identity->last_name, "");
}

static void test_T36_refused_code(void **state)
{
    const sa_provider_t *provider = make_facebook(NULL, NULL);
    sa_identity_t *identity;

    (void)state;
    serve("/token", 400, "{\"error\":{\"message\":\"evil\",\"type\":\"OAuthException\","
                         "\"code\":100,\"error_subcode\":36007}}");
    sa_error_t *error = by_code(provider, &identity);
    assert_kind(error, SA_E_PROVIDER_REJECTED);
    assert_no_secrets(error);
    assert_non_null(strstr(error->log, "400, 100"));
    assert_int_equal(error->operator_acts, 0);
    serve("/token", 400, "{\"error\":{\"type\":\"OAuthException\",\"code\":1}}");
    error = by_code(provider, &identity);
    assert_kind(error, SA_E_PROVIDER_REJECTED);
    assert_int_equal(error->operator_acts, 1);
    assert_int_equal(mock_count(mock, "/me"), 0);
}

/* ---- tokens that front ends bring ---- */

static void test_T21_token_is_checked_before_me_is_asked(void **state)
{
    sa_identity_t *identity;

    (void)state;
    assert_works(by_provider_token(make_facebook("email-trust", "verified"), TOKEN, &identity));
    assert_string_equal(identity->issuer, "https://www.facebook.com");
    assert_string_equal(identity->subject, "1207059");
    assert_string_equal(identity->email, "ada@example.test");
    assert_true(identity->email_verified && identity->email_vouched);
    assert_asked("/debug_token", "/debug_token?input_token=" TOKEN "&access_token=" APP "%7C"
                                 SECRET "&appsecret_proof=" APP_PROOF);
    assert_asked("/me", "/me?fields=id,email,first_name,last_name&access_token=" TOKEN
                        "&appsecret_proof=" PROOF);
    assert_int_equal(mock_count(mock, "/token"), 0);
}

static void test_T21_T199_debug_token_vectors(void **state)
{
    vectors_t v = { 0 };
    json_t *file = vectors_load(pool, "hostile/provider_responses.json");
    size_t i;
    json_t *c;

    (void)state;
    json_array_foreach(json_object_get(file, "cases"), i, c) {
        if (strcmp(text_of(c, "group"), "facebook_debug")) {
            continue;
        }
        const sa_provider_t *provider = make_facebook("email-trust", "verified");
        int asked = mock_count(mock, "/me");
        sa_identity_t *identity;
        serve("/debug_token", number_of(c, "status"), text_of(c, "body"));
        sa_error_t *error = by_provider_token(provider, TOKEN, &identity);
        int expected = !strcmp(text_of(c, "expect"), "ok");
        int good = (error == NULL) == expected || json_is_true(json_object_get(c, "either"));
        if (error) {
            assert_no_secrets(error);
            good = good && (error->status == 400 || error->status == 502);
            /* Only a user_id can be compared with /me, all else is known before it. */
            good = good && (mock_count(mock, "/me") == asked || strstr(error->log, "of me"));
        } else {
            good = good && !strcmp(identity->subject, "1207059");
            good = good && (!identity->email || strstr(text_of(c, "body"), "\"email\""));
        }
        vectors_case(&v, good, text_of(c, "id"), text_of(c, "why"));
    }
    vectors_end(&v, 19);
}

static void debug_gives(const char *body, int status, int kind)
{
    const sa_provider_t *provider = make_facebook(NULL, NULL);
    int asked = mock_count(mock, "/me");
    sa_identity_t *identity;

    serve("/debug_token", status, body);
    sa_error_t *error = by_provider_token(provider, TOKEN, &identity);
    if ((error ? (int)error->kind : -1) != kind) {
        fail_msg("%d %s: %s", status, body, error ? error->log : "accepted");
    }
    assert_int_equal(mock_count(mock, "/me"), asked + !error);
}

static void test_T21_what_debug_token_must_say(void **state)
{
#define HEAD "{\"data\":{\"is_valid\":true,"
#define TAIL ",\"type\":\"USER\",\"expires_at\":4102444800,\"user_id\":\"1207059\"}}"
    static const char *const foreign[] = {
        DATA(",\"error\":{}"), DATA(",\"error\":null"), DATA(",\"data_access_expires_at\":-1"),
        DATA(",\"data_access_expires_at\":1800000000"),
        HEAD "\"app_id\":138483919580949" TAIL, HEAD "\"app_id\":1.38483919580948e14" TAIL,
        HEAD "\"app_id\":\" " APP "\"" TAIL, HEAD "\"app_id\":\"" APP "0\"" TAIL,
        HEAD "\"app_id\":[\"" APP "\"]" TAIL, HEAD "\"app_id\":null" TAIL,
        HEAD "\"app_id\":\"0" APP "\"" TAIL,
        HEAD "\"app_id\":\"" APP "\",\"expires_at\":0,\"user_id\":\"1207059\"}}",
        HEAD "\"app_id\":\"" APP "\",\"type\":\"PAGE\",\"expires_at\":0,\"user_id\":\"1\"}}",
        HEAD "\"app_id\":\"" APP "\",\"type\":\"USER\",\"user_id\":\"1207059\"}}",
        HEAD "\"app_id\":\"" APP "\",\"type\":\"USER\",\"expires_at\":\"4102444800\","
             "\"user_id\":\"1207059\"}}",
        HEAD "\"app_id\":\"" APP "\",\"type\":\"USER\",\"expires_at\":1800000000,"
             "\"user_id\":\"1207059\"}}",
        HEAD "\"app_id\":\"" APP "\",\"type\":\"USER\",\"expires_at\":0,\"user_id\":{}}}",
        "{\"data\":{\"is_valid\":\"true\",\"app_id\":\"" APP "\"" TAIL, "{\"data\":{}}",
    };
    static const char *const garbled[] = {
        "", "[]", "true", "{}", "{\"data\":null}", "{\"data\":\"x\"}", "{\"data\":[{}]}",
        "{\"error\":{\"code\":1}}", DATA(",\"is_valid\":true"), DATA(",\"app_id\":\"1\""),
        DATA("") "x", "\xff", "{\"data\":{},\"data\":{}}",
    };

    (void)state;
    debug_gives(DATA(""), 200, -1);
    debug_gives(HEAD "\"app_id\":" APP TAIL, 200, -1);
    debug_gives(HEAD "\"app_id\":" APP ",\"type\":\"USER\",\"expires_at\":1800000001,"
                     "\"user_id\":1207059}}", 200, -1);
    debug_gives(DATA(",\"data_access_expires_at\":0"), 200, -1);
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); ++i) {
        debug_gives(foreign[i], 200, SA_E_PROVIDER_REJECTED);
    }
    for (size_t i = 0; i < sizeof(garbled) / sizeof(garbled[0]); ++i) {
        debug_gives(garbled[i], 200, SA_E_PROVIDER_UNAVAILABLE);
    }
    debug_gives(DATA(""), 302, SA_E_PROVIDER_UNAVAILABLE);
    debug_gives(DATA(""), 404, SA_E_PROVIDER_UNAVAILABLE);
    debug_gives("{\"error\":{\"code\":4}}", 403, SA_E_PROVIDER_UNAVAILABLE);
}

/* The access token of that call is made of our own client-id and client-secret. */
static void test_wrong_secret_is_for_the_operator(void **state)
{
    const sa_provider_t *provider = make_facebook(NULL, NULL);
    sa_identity_t *identity;

    (void)state;
    serve("/debug_token", 400, "{\"error\":{\"code\":190,\"message\":\"evil\"}}");
    sa_error_t *error = by_provider_token(provider, TOKEN, &identity);
    assert_kind(error, SA_E_PROVIDER_REJECTED);
    assert_int_equal(error->operator_acts, 1);
    assert_no_secrets(error);
    serve("/debug_token", 200, "{\"data\":{\"is_valid\":false}}");
    error = by_provider_token(provider, TOKEN, &identity);
    assert_int_equal(error->operator_acts, 0);
}

static void test_address_that_was_not_granted_is_left_out(void **state)
{
    static const char *const scopes[] = { "[]", "[\"public_profile\"]", "null", "\"email\"",
                                          "[[\"email\"]]", "{\"0\":\"email\"}" };
    const sa_provider_t *provider = make_facebook("email-trust", "verified");
    sa_identity_t *identity;

    (void)state;
    for (size_t i = 0; i < sizeof(scopes) / sizeof(scopes[0]); ++i) {
        serve("/debug_token", 200, apr_pstrcat(pool, HEAD "\"scopes\":", scopes[i],
                                               ",\"app_id\":\"" APP "\"" TAIL, NULL));
        assert_works(by_provider_token(provider, TOKEN, &identity));
        assert_null(identity->email);
        assert_false(identity->email_verified || identity->email_vouched);
    }
}

static void test_T21_token_of_another_user(void **state)
{
    const sa_provider_t *provider = make_facebook(NULL, NULL);
    sa_identity_t *identity;

    (void)state;
    serve("/me", 200, "{\"id\":\"666\"}");
    assert_kind(by_provider_token(provider, TOKEN, &identity), SA_E_PROVIDER_REJECTED);
    serve("/me", 400, "{\"error\":{\"code\":190}}");
    assert_kind(by_provider_token(provider, TOKEN, &identity), SA_E_PROVIDER_REJECTED);
    serve("/me", 500, "");
    assert_kind(by_provider_token(provider, TOKEN, &identity), SA_E_PROVIDER_UNAVAILABLE);
}

static void test_text_that_is_no_token_asks_nothing(void **state)
{
    const sa_provider_t *provider = make_facebook(NULL, NULL);
    sa_identity_t *identity;

    (void)state;
    assert_kind(by_provider_token(provider, "", &identity), SA_E_PROVIDER_REJECTED);
    assert_kind(by_provider_token(provider, "a b", &identity), SA_E_PROVIDER_REJECTED);
    assert_kind(by_provider_token(provider, "a\r\nX: y", &identity), SA_E_PROVIDER_REJECTED);
    assert_int_equal(mock_count(mock, NULL), 0);
    assert_works(by_provider_token(provider, "a&b=c|%d/..", &identity));
    assert_non_null(strstr(mock_last(mock, pool, "/debug_token"),
                           "?input_token=a%26b%3Dc%7C%25d%2F..&access_token=" APP));
}

static void test_T111_allocations_fail(void **state)
{
    (void)state;
    assert_survives_allocations(make_facebook(NULL, NULL), TOKEN);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_login),
        CASE(test_the_only_redirect_uri_is_sent),
        CASE(test_profile_params),
        CASE(test_T33_address_counts_where_it_is_trusted),
        CASE(test_T199_hostile_answers_of_me),
        CASE(test_values_of_other_types_are_left_out),
        CASE(test_T36_refused_code),
        CASE(test_T21_token_is_checked_before_me_is_asked),
        CASE(test_T21_T199_debug_token_vectors),
        CASE(test_T21_what_debug_token_must_say),
        CASE(test_wrong_secret_is_for_the_operator),
        CASE(test_address_that_was_not_granted_is_left_out),
        CASE(test_T21_token_of_another_user),
        CASE(test_text_that_is_no_token_asks_nothing),
        CASE(test_T111_allocations_fail),
    };

    return cmocka_run_group_tests_name("facebook", tests, fixture_start, fixture_stop);
}
