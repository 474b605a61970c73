/* Tokens that front ends got from a provider themselves: GitHub, Google, OpenID Connect. Facebook's
 * are in test_facebook. */
#include "provider_fixture.h"

#include "core/base64url.h"
#include "core/json.h"

#define TOKEN "gho_16C7e42F292c6912E7710c838347Ae178B4a"
#define GOOGLE_CLIENTS "web.apps.googleusercontent.com,android.apps.googleusercontent.com"
#define GOOGLE_TOKEN "ya29.c.a0AfH6SM"

static void gives(const sa_provider_t *provider, const char *path, int status, const char *body,
                  int kind)
{
    sa_identity_t *identity;

    serve(path, status, body);
    sa_error_t *error = by_provider_token(provider, TOKEN, &identity);
    if ((error ? (int)error->kind : -1) != kind) {
        fail_msg("%s: %d %s: %s", path, status, body, error ? error->log : "accepted");
    }
    if (error) {
        assert_no_secrets(error);
    }
}

/* ---- GitHub ---- */

static sa_provider_t *make_checked_github(void)
{
    sa_provider_t *provider = make_github();

    provider->token_check_url = mock_url(mock, pool, "/check");
    serve("/check", 200, "{\"id\":1,\"app\":{\"client_id\":\"" CLIENT "\",\"name\":\"a\"},"
                         "\"token\":\"" TOKEN "\",\"user\":{\"id\":583231}}");
    return provider;
}

static void test_T22_github_token(void **state)
{
    sa_identity_t *identity;
    /* printf %s "$CLIENT:$SECRET" | base64 */
    const char *basic = "Authorization: Basic Y2xpZW50LTE6czNjcjN0LW9mLXRoZS1jbGllbnQ=\r\n";

    (void)state;
    assert_works(by_provider_token(make_checked_github(), TOKEN, &identity));
    assert_string_equal(identity->issuer, "https://github.com");
    assert_string_equal(identity->subject, "583231");
    assert_string_equal(identity->email, "ada@example.test");
    assert_true(identity->email_verified && identity->email_vouched);
    assert_string_equal(identity->last_name, "Octocat");
    const char *sent = mock_last(mock, pool, "/check");
    assert_non_null(strstr(sent, "POST /check HTTP/1.1\r\n"));
    assert_non_null(strstr(sent, basic));
    assert_non_null(strstr(sent, "Content-Type: application/json\r\n"));
    assert_non_null(strstr(sent, "X-GitHub-Api-Version: "));
    assert_non_null(strstr(sent, "\r\n\r\n{\"access_token\":\"" TOKEN "\"}"));
    sent = mock_last(mock, pool, "/user");
    assert_non_null(strstr(sent, "Authorization: Bearer " TOKEN "\r\n"));
    assert_null(strstr(sent, "Basic"));
    assert_non_null(strstr(mock_last(mock, pool, "/emails"), "Authorization: Bearer " TOKEN));
}

static void test_T22_github_token_of_another_application(void **state)
{
    const sa_provider_t *provider = make_checked_github();

    (void)state;
    gives(provider, "/check", 404, "{\"message\":\"Not Found\"}", SA_E_PROVIDER_REJECTED);
    gives(provider, "/check", 422, "{\"message\":\"evil\"}", SA_E_PROVIDER_REJECTED);
    gives(provider, "/check", 200, "{\"app\":{\"client_id\":\"client-2\"}}",
          SA_E_PROVIDER_REJECTED);
    gives(provider, "/check", 200, "{\"app\":{\"client_id\":\"CLIENT-1\"}}",
          SA_E_PROVIDER_REJECTED);
    gives(provider, "/check", 200, "{\"app\":{\"client_id\":\"\"}}", SA_E_PROVIDER_REJECTED);
    assert_int_equal(mock_count(mock, NULL), mock_count(mock, "/check"));
}

/* If the check cannot be made, the token is not taken. */
static void test_T22_T199_github_check_that_says_nothing(void **state)
{
    static const char *const bodies[] = {
        "", "[]", "null", "{}", "{\"app\":null}", "{\"app\":\"client-1\"}", "{\"app\":[]}",
        "{\"app\":{\"client_id\":1}}", "{\"app\":{\"client_id\":[\"" CLIENT "\"]}}",
        "{\"client_id\":\"" CLIENT "\"}", "{\"app\":{\"client_id\":\"" CLIENT "\\u0000\"}}",
        "{\"app\":{\"client_id\":\"" CLIENT "\",\"client_id\":\"" CLIENT "\"}}",
        "{\"app\":{\"client_id\":\"" CLIENT "\"},\"app\":{}}",
        "{\"app\":{\"client_id\":\"" CLIENT "\"}} x", "\xef\xbb\xbf{}",
    };
    const sa_provider_t *provider = make_checked_github();
    char *deep = memset(apr_pcalloc(pool, 100001), '[', 100000);
    char *large = memset(apr_pcalloc(pool, 2000001), ' ', 2000000);

    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); ++i) {
        gives(provider, "/check", 200, bodies[i], SA_E_PROVIDER_UNAVAILABLE);
    }
    gives(provider, "/check", 200, deep, SA_E_PROVIDER_UNAVAILABLE);
    gives(provider, "/check", 200, large, SA_E_PROVIDER_UNAVAILABLE);
    gives(provider, "/check", 204, "", SA_E_PROVIDER_UNAVAILABLE);
    gives(provider, "/check", 302, "", SA_E_PROVIDER_UNAVAILABLE);
    gives(provider, "/check", 403, "", SA_E_PROVIDER_UNAVAILABLE);
    gives(provider, "/check", 429, "", SA_E_PROVIDER_UNAVAILABLE);
    gives(provider, "/check", 500, "", SA_E_PROVIDER_UNAVAILABLE);
    assert_int_equal(mock_count(mock, NULL), mock_count(mock, "/check"));
}

static void test_github_wrong_secret_is_for_the_operator(void **state)
{
    const sa_provider_t *provider = make_checked_github();
    sa_identity_t *identity;

    (void)state;
    serve("/check", 401, "{\"message\":\"Bad credentials\"}");
    assert_int_equal(by_provider_token(provider, TOKEN, &identity)->operator_acts, 1);
    serve("/check", 404, "{}");
    assert_int_equal(by_provider_token(provider, TOKEN, &identity)->operator_acts, 0);
}

static void test_github_user_of_a_good_token(void **state)
{
    const sa_provider_t *provider = make_checked_github();

    (void)state;
    gives(provider, "/user", 401, "{}", SA_E_PROVIDER_REJECTED);
    gives(provider, "/user", 200, "{\"id\":\"583231\"}", SA_E_PROVIDER_UNAVAILABLE);
    gives(provider, "/user", 200, "{\"id\":583231}", -1);
    gives(provider, "/emails", 403, "{}", -1);
    gives(provider, "/emails", 500, "{}", SA_E_PROVIDER_UNAVAILABLE);
}

static void test_github_text_that_is_no_token(void **state)
{
    const sa_provider_t *provider = make_checked_github();
    char *longest = memset(apr_pcalloc(pool, 4098), 'x', 4097);
    const char *const bad[] = { "", " ", "a b", "a\nb", "a\x7f", "\xc3\xbc", longest };
    sa_identity_t *identity;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); ++i) {
        assert_kind(by_provider_token(provider, bad[i], &identity), SA_E_PROVIDER_REJECTED);
    }
    assert_int_equal(mock_count(mock, NULL), 0);
    longest[4096] = '\0';
    assert_works(by_provider_token(provider, longest, &identity));
    assert_works(by_provider_token(provider, "a\"},\\{", &identity));
    assert_non_null(strstr(mock_last(mock, pool, "/check"), "{\"access_token\":\"a\\\"},\\\\{\"}"));
}

static void test_T111_github_allocations_fail(void **state)
{
    (void)state;
    assert_survives_allocations(make_checked_github(), TOKEN);
}

/* ---- Google: access tokens ---- */

#define INFO(aud, more) "{\"aud\":\"" aud "\",\"sub\":\"1101\",\"scope\":\"openid\"" more "}"
#define EXP ",\"exp\":\"1800000300\",\"expires_in\":\"300\""
#define WEB "web.apps.googleusercontent.com"
#define ANDROID "android.apps.googleusercontent.com"

static sa_provider_t *make_google(const char *key, const char *value)
{
    serve("/tokeninfo", 200, INFO(WEB, ",\"azp\":\"" ANDROID "\",\"email\":\"eve@gmail.com\","
                                       "\"email_verified\":\"true\"" EXP));
    serve("/userinfo", 200, "{\"sub\":\"1101\",\"email\":\"Ada@Gmail.com\","
                            "\"email_verified\":true,\"given_name\":\"Ada\","
                            "\"family_name\":\"Lovelace\",\"name\":\"A L\"}");
    return make_provider("google", "client-id", GOOGLE_CLIENTS, "token-check-url",
                         mock_url(mock, pool, "/tokeninfo"), "userinfo-url",
                         mock_url(mock, pool, "/userinfo"), "jwks-url",
                         mock_url(mock, pool, "/certs"), key, value, NULL);
}

static void test_T23_google_access_token(void **state)
{
    sa_identity_t *identity;
    sa_proof_t proof = { .id_token_exp = 1 };
    sa_credential_t credential = { .token = GOOGLE_TOKEN, .now = NOW, .max_token_age = 600 };
    const sa_provider_t *google = make_google(NULL, NULL);

    (void)state;
    assert_works(google->type->identify_token(google, &env, pool, &credential, &identity, &proof));
    assert_int_equal(proof.id_token_exp, 0);
    assert_string_equal(identity->issuer, "https://accounts.google.com");
    assert_string_equal(identity->subject, "1101");
    assert_string_equal(identity->email, "ada@gmail.com");
    assert_true(identity->email_verified && identity->email_vouched);
    assert_string_equal(identity->first_name, "Ada");
    assert_string_equal(identity->last_name, "Lovelace");
    const char *sent = mock_last(mock, pool, "/tokeninfo");
    assert_non_null(strstr(sent, "POST /tokeninfo HTTP/1.1\r\n"));
    assert_non_null(strstr(sent, "\r\n\r\naccess_token=" GOOGLE_TOKEN));
    assert_non_null(strstr(mock_last(mock, pool, "/userinfo"),
                           "Authorization: Bearer " GOOGLE_TOKEN "\r\n"));
    assert_int_equal(mock_count(mock, "/certs"), 0);
}

static void test_T23_google_token_of_another_client(void **state)
{
    static const char *const bodies[] = {
        INFO("other", EXP), INFO("", EXP), INFO(WEB "x", EXP), INFO("WEB.apps", EXP),
        INFO(WEB, ",\"azp\":\"other\"" EXP), INFO(WEB, ",\"azp\":null" EXP),
        INFO(WEB, ",\"azp\":[\"" WEB "\"]" EXP), "{}", "{\"sub\":\"1101\"" EXP "}",
        "{\"azp\":\"" WEB "\",\"sub\":\"1101\"" EXP "}", "{\"aud\":1,\"sub\":\"1101\"" EXP "}",
        "{\"aud\":[],\"sub\":\"1101\"" EXP "}", "{\"aud\":{},\"sub\":\"1101\"" EXP "}",
        "{\"aud\":[\"" WEB "\",\"other\"],\"azp\":\"" WEB "\",\"sub\":\"1101\"" EXP "}",
        "{\"audience\":\"" WEB "\",\"user_id\":\"1101\",\"expires_in\":300}",
    };
    const sa_provider_t *google = make_google(NULL, NULL);

    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); ++i) {
        gives(google, "/tokeninfo", 200, bodies[i], SA_E_PROVIDER_REJECTED);
    }
    gives(google, "/tokeninfo", 400, "{\"error\":\"invalid_token\",\"error_description\":\"evil\"}",
          SA_E_PROVIDER_REJECTED);
    gives(google, "/tokeninfo", 401, "{}", SA_E_PROVIDER_REJECTED);
    assert_int_equal(mock_count(mock, NULL), mock_count(mock, "/tokeninfo"));
}

static void test_google_token_that_is_over(void **state)
{
    static const char *const over[] = {
        INFO(WEB, ""), INFO(WEB, ",\"exp\":\"1800000000\""), INFO(WEB, ",\"exp\":1800000000"),
        INFO(WEB, ",\"exp\":\"\""), INFO(WEB, ",\"exp\":\"1800000300x\""), INFO(WEB, ",\"exp\":true"),
        INFO(WEB, ",\"exp\":\" 1800000300\""), INFO(WEB, ",\"exp\":\"-1800000300\""),
        INFO(WEB, ",\"exp\":1800000300.5"), INFO(WEB, ",\"exp\":\"99999999999999999999\""),
        INFO(WEB, ",\"exp\":null"), INFO(WEB, ",\"expires_in\":\"300\""),
    };
    const sa_provider_t *google = make_google(NULL, NULL);

    (void)state;
    for (size_t i = 0; i < sizeof(over) / sizeof(over[0]); ++i) {
        gives(google, "/tokeninfo", 200, over[i], SA_E_PROVIDER_REJECTED);
    }
    gives(google, "/tokeninfo", 200, INFO(WEB, ",\"exp\":\"1800000001\""), -1);
    gives(google, "/tokeninfo", 200, INFO(WEB, ",\"exp\":1800000001"), -1);
    assert_int_equal(mock_count(mock, "/userinfo"), 2);
}

static void test_google_token_without_a_subject(void **state)
{
    const sa_provider_t *google = make_google(NULL, NULL);

    (void)state;
    gives(google, "/tokeninfo", 200, "{\"aud\":\"" WEB "\",\"scope\":\"drive\"" EXP "}",
          SA_E_PROVIDER_REJECTED);
    gives(google, "/tokeninfo", 200, "{\"aud\":\"" WEB "\",\"sub\":1101" EXP "}",
          SA_E_PROVIDER_REJECTED);
    assert_int_equal(mock_count(mock, "/userinfo"), 0);
}

static void test_T199_google_check_that_says_nothing(void **state)
{
    static const char *const bodies[] = {
        "", "[]", "null", "\"x\"", INFO(WEB, EXP ",\"aud\":\"other\""), INFO(WEB, EXP) "x",
        INFO(WEB, EXP ",\"x\":\"\xff\""), INFO(WEB, EXP ",\"x\":\"\\u0000\""),
    };
    const sa_provider_t *google = make_google(NULL, NULL);
    char *deep = memset(apr_pcalloc(pool, 100001), '[', 100000);

    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); ++i) {
        gives(google, "/tokeninfo", 200, bodies[i], SA_E_PROVIDER_UNAVAILABLE);
    }
    gives(google, "/tokeninfo", 200, deep, SA_E_PROVIDER_UNAVAILABLE);
    gives(google, "/tokeninfo", 302, "{}", SA_E_PROVIDER_UNAVAILABLE);
    gives(google, "/tokeninfo", 429, "{}", SA_E_PROVIDER_UNAVAILABLE);
    gives(google, "/tokeninfo", 500, "{}", SA_E_PROVIDER_UNAVAILABLE);
    assert_int_equal(mock_count(mock, "/userinfo"), 0);
}

static void test_T30_google_userinfo_of_another_user(void **state)
{
    const sa_provider_t *google = make_google(NULL, NULL);

    (void)state;
    gives(google, "/userinfo", 200, "{\"sub\":\"1102\"}", SA_E_PROVIDER_REJECTED);
    gives(google, "/userinfo", 200, "{\"sub\":1101}", SA_E_PROVIDER_REJECTED);
    gives(google, "/userinfo", 200, "{}", SA_E_PROVIDER_REJECTED);
    gives(google, "/userinfo", 401, "{}", SA_E_PROVIDER_REJECTED);
    gives(google, "/userinfo", 200, "[]", SA_E_PROVIDER_UNAVAILABLE);
    gives(google, "/userinfo", 200, "{\"sub\":\"1101\",\"sub\":\"1101\"}",
          SA_E_PROVIDER_UNAVAILABLE);
    gives(google, "/userinfo", 500, "{}", SA_E_PROVIDER_UNAVAILABLE);
    gives(google, "/userinfo", 200, "{\"sub\":\"1101\"}", -1);
}

static void email_of(const char *userinfo, int verified, int vouched)
{
    const sa_provider_t *google = make_google(NULL, NULL);
    sa_identity_t *identity;

    serve("/userinfo", 200, userinfo);
    assert_works(by_provider_token(google, GOOGLE_TOKEN, &identity));
    assert_int_equal(identity->email_verified, verified);
    assert_int_equal(identity->email_vouched, vouched);
}

static void test_T33_T34_google_address_of_a_token(void **state)
{
    (void)state;
    email_of("{\"sub\":\"1101\",\"email\":\"a@gmail.com\",\"email_verified\":true}", 1, 1);
    email_of("{\"sub\":\"1101\",\"email\":\"a@gmail.com\",\"email_verified\":\"false\"}", 0, 0);
    email_of("{\"sub\":\"1101\",\"email\":\"a@gmail.com\",\"email_verified\":\"true\"}", 0, 0);
    email_of("{\"sub\":\"1101\",\"email\":\"a@gmail.com\"}", 0, 0);
    email_of("{\"sub\":\"1101\",\"email_verified\":true}", 0, 0);
    email_of("{\"sub\":\"1101\",\"email\":\"a@corp.test\",\"email_verified\":true}", 1, 0);
    email_of("{\"sub\":\"1101\",\"email\":\"a@corp.test\",\"email_verified\":true,"
             "\"hd\":\"corp.test\"}", 1, 1);
}

static void test_T32_google_domain_of_a_token(void **state)
{
    const sa_provider_t *google = make_google("hd", "corp.test");

    (void)state;
    gives(google, "/userinfo", 200, "{\"sub\":\"1101\",\"email\":\"a@corp.test\"}",
          SA_E_PROVIDER_REJECTED);
    gives(google, "/userinfo", 200, "{\"sub\":\"1101\",\"hd\":\"evil.corp.test\"}",
          SA_E_PROVIDER_REJECTED);
    gives(google, "/userinfo", 200, "{\"sub\":\"1101\",\"hd\":\"corp.test\"}", -1);
}

static void test_T111_google_allocations_fail(void **state)
{
    (void)state;
    assert_survives_allocations(make_google(NULL, NULL), GOOGLE_TOKEN);
}

/* ---- ID tokens ---- */

static void test_google_id_token_as_token(void **state)
{
    json_t *file = vectors_load(pool, "hostile/google_id_token.json");
    const char *token = text_of(json_array_get(json_object_get(file, "cases"), 0), "token");
    sa_credential_t credential = { .flow = SA_FLOW_CODE, .token = token, .now = NOW };
    const sa_provider_t *google = make_google("client-id",
                                              "1234567890-abc.apps.googleusercontent.com");
    sa_identity_t *identity;
    sa_proof_t proof;

    (void)state;
    serve("/certs", 200, sa_json_dump(pool, json_object_get(file, "jwks")));
    assert_works(google->type->identify_token(google, &env, pool, &credential, &identity, &proof));
    assert_string_equal(identity->issuer, "https://accounts.google.com");
    assert_true(proof.id_token_exp > NOW && proof.id_token_iat > 0);
    assert_int_equal(mock_count(mock, NULL), mock_count(mock, "/certs"));
    google = make_google(NULL, NULL);
    assert_kind(by_provider_token(google, token, &identity), SA_E_ID_TOKEN_INVALID);
    assert_int_equal(mock_count(mock, NULL), mock_count(mock, "/certs"));
}

static void test_T24_T29_oidc_takes_id_tokens_only(void **state)
{
    const sa_key_t *key = make_key(SA_ALG_ES256, "k1");
    const sa_provider_t *idp = make_idp();
    sa_identity_t *identity;

    (void)state;
    serve("/jwks", 200, jwks_of(key, NULL));
    assert_works(by_provider_token(idp, token_with(key, NULL, NULL), &identity));
    assert_string_equal(identity->subject, "subject-1");
    assert_kind(by_provider_token(idp, token_with(key, "aud", json_string("other")), &identity),
                SA_E_ID_TOKEN_INVALID);
    assert_kind(by_provider_token(idp, token_with(key, "iat", json_integer(NOW - 601)), &identity),
                SA_E_ID_TOKEN_INVALID);
    assert_kind(by_provider_token(idp, "opaque", &identity), SA_E_ID_TOKEN_INVALID);
    assert_kind(by_provider_token(idp, GOOGLE_TOKEN, &identity), SA_E_ID_TOKEN_INVALID);
    assert_kind(by_provider_token(idp, "", &identity), SA_E_ID_TOKEN_INVALID);
    assert_int_equal(mock_count(mock, NULL), mock_count(mock, "/jwks"));
}

static void test_who_takes_tokens(void **state)
{
    (void)state;
    assert_true(sa_provider_takes_tokens(make_github()));
    assert_true(sa_provider_takes_tokens(make_google(NULL, NULL)));
    assert_true(sa_provider_takes_tokens(make_idp()));
    assert_false(sa_provider_takes_tokens(make_provider("github", "client-id", "a", NULL)));
    assert_false(sa_provider_takes_tokens(make_provider("facebook", NULL)));
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_T22_github_token),
        CASE(test_T22_github_token_of_another_application),
        CASE(test_T22_T199_github_check_that_says_nothing),
        CASE(test_github_wrong_secret_is_for_the_operator),
        CASE(test_github_user_of_a_good_token),
        CASE(test_github_text_that_is_no_token),
        CASE(test_T111_github_allocations_fail),
        CASE(test_T23_google_access_token),
        CASE(test_T23_google_token_of_another_client),
        CASE(test_google_token_that_is_over),
        CASE(test_google_token_without_a_subject),
        CASE(test_T199_google_check_that_says_nothing),
        CASE(test_T30_google_userinfo_of_another_user),
        CASE(test_T33_T34_google_address_of_a_token),
        CASE(test_T32_google_domain_of_a_token),
        CASE(test_T111_google_allocations_fail),
        CASE(test_google_id_token_as_token),
        CASE(test_T24_T29_oidc_takes_id_tokens_only),
        CASE(test_who_takes_tokens),
    };

    return cmocka_run_group_tests_name("provider tokens", tests, fixture_start, fixture_stop);
}
