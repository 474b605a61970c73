/* Providers against a mock server: hostile vectors, and GitHub. The group facebook_debug of
 * provider_responses.json is driven by test_facebook. */
#include "provider_fixture.h"

#include "core/json.h"
#include "providers/discovery.h"

#define GOOGLE_NOW 1800000000   /* inside the life of the vector tokens */

/* ---- provider_responses.json ---- */

static void serve_vector(const char *path, const json_t *c)
{
    const char *location = text_of(c, "location");

    mock_reply(mock, &(mock_reply_t){
        .path = path,
        .status = number_of(c, "status"),
        .type = text_of(c, "content_type"),
        .body = text_of(c, "body"),
        .headers = location ? apr_psprintf(pool, "Location: %s\r\n", location) : NULL,
    });
}

/* 1 when the error is one of the answers a client may get, without the provider's words. */
static int is_good_failure(const sa_error_t *error)
{
    assert_no_secrets(error);
    return error->status == 400 || error->status == 502 || error->status == 504;
}

typedef int (*judge_t)(const json_t *c, sa_error_t *error, const sa_identity_t *identity);

/* Drives every case of a group through a login, each followed by a good one. */
static void drive_github(const char *group, const char *path, judge_t is_right, int due)
{
    vectors_t v = { 0 };
    json_t *file = vectors_load(pool, "hostile/provider_responses.json");
    size_t i;
    json_t *c;

    json_array_foreach(json_object_get(file, "cases"), i, c) {
        if (strcmp(text_of(c, "group"), group)) {
            continue;
        }
        const sa_provider_t *provider = make_github();
        sa_identity_t *identity;
        serve_vector(path, c);
        sa_error_t *error = by_code(provider, &identity);
        int works = !error && identity->email;
        int expected = !strcmp(text_of(c, "expect"), "ok");
        int good = error ? is_good_failure(error) : 1;
        good = good && (works == expected || json_is_true(json_object_get(c, "either")));
        vectors_case(&v, good && is_right(c, error, identity), text_of(c, "id"),
                     text_of(c, "why"));
        make_github();
        assert_works(by_code(provider, &identity));
    }
    vectors_end(&v, due);
}

static int token_right(const json_t *c, sa_error_t *error, const sa_identity_t *identity)
{
    int status = number_of(c, "status");

    if (!error) {
        return !strcmp(identity->subject, "583231");
    }
    if (status >= 400 && status < 500 && status != 429) {
        return error->kind == SA_E_PROVIDER_REJECTED;
    }
    if (status == 200 && strstr(text_of(c, "body"), "\"error\"")) {
        return error->kind == SA_E_PROVIDER_REJECTED;
    }
    return error->kind == SA_E_PROVIDER_UNAVAILABLE;
}

static void test_T36_T199_github_token_vectors(void **state)
{
    (void)state;
    drive_github("github_token", "/token", token_right, 26);
    /* No refused token was ever put in a header. */
    assert_null(strstr(mock_last(mock, pool, "/user"), "aaaaaaaa"));
}

static int user_right(const json_t *c, sa_error_t *error, const sa_identity_t *identity)
{
    int big = strstr(text_of(c, "body"), "9007199254740993") != NULL;

    return error || !strcmp(identity->subject, big ? "9007199254740993" : "583231");
}

static void test_T38_T199_github_user_vectors(void **state)
{
    (void)state;
    drive_github("github_user", "/user", user_right, 16);
}

static int emails_right(const json_t *c, sa_error_t *error, const sa_identity_t *identity)
{
    (void)c;
    return error || !identity->email ||
           (!strcmp(identity->email, "ada@example.test") && identity->email_vouched);
}

static void test_T35_T199_github_emails_vectors(void **state)
{
    (void)state;
    drive_github("github_emails", "/emails", emails_right, 12);
}

/* The key sets of the vectors hold the key that signed the Google vectors. */
static const char *google_token(const char *id)
{
    json_t *file = vectors_load(pool, "hostile/google_id_token.json");
    size_t i;
    json_t *c;

    json_array_foreach(json_object_get(file, "cases"), i, c) {
        if (!strcmp(text_of(c, "id"), id)) {
            return text_of(c, "token");
        }
    }
    fail_msg("no case %s", id);
    return NULL;
}

static sa_provider_t *make_google(const char *jwks_path)
{
    return make_provider("google", "client-id", "1234567890-abc.apps.googleusercontent.com",
                         "jwks-url", mock_url(mock, pool, jwks_path), NULL);
}

static void test_T199_jwks_vectors(void **state)
{
    vectors_t v = { 0 };
    json_t *file = vectors_load(pool, "hostile/provider_responses.json");
    const char *token = google_token("g-ok");
    size_t i;
    json_t *c;

    (void)state;
    json_array_foreach(json_object_get(file, "cases"), i, c) {
        if (strcmp(text_of(c, "group"), "jwks")) {
            continue;
        }
        char *path = apr_pstrcat(pool, "/", text_of(c, "id"), NULL);
        sa_identity_t *identity;
        serve_vector(path, c);
        sa_error_t *error = by_token(make_google(path), token, &identity);
        int good = !strcmp(text_of(c, "expect"), "ok")
                       ? !error
                       : error && error->kind == SA_E_PROVIDER_UNAVAILABLE &&
                             is_good_failure(error);
        vectors_case(&v, good && mock_count(mock, path) == 1, text_of(c, "id"),
                     text_of(c, "why"));
    }
    vectors_end(&v, 18);
}

static void test_T40_T41_discovery_vectors(void **state)
{
    vectors_t v = { 0 };
    json_t *file = vectors_load(pool, "hostile/provider_responses.json");
    size_t i;
    json_t *c;

    (void)state;
    json_array_foreach(json_object_get(file, "cases"), i, c) {
        if (strcmp(text_of(c, "group"), "discovery")) {
            continue;
        }
        char *path = apr_pstrcat(pool, "/", text_of(c, "id"), NULL);
        sa_provider_t *provider =
            make_provider("idp", "type", "oidc", "issuer", "https://idp.example.test",
                          "client-id", CLIENT, "discovery-url", mock_url(mock, pool, path), NULL);
        sa_endpoints_t found;
        serve_vector(path, c);
        sa_error_t *error = sa_discover(provider, &env, pool, SA_NEED_TOKEN, &found);
        int good = error ? error->kind == SA_E_PROVIDER_UNAVAILABLE
                         : !strcmp(found.token_url, "https://idp.example.test/t") &&
                               !strcmp(found.jwks_url, "https://idp.example.test/k");
        vectors_case(&v, good && !error == !strcmp(text_of(c, "expect"), "ok"),
                     text_of(c, "id"), text_of(c, "why"));
    }
    vectors_end(&v, 8);
}

/* ---- google_id_token.json ---- */

static int judge_google(const json_t *c, const sa_error_t *error, const sa_identity_t *identity)
{
    const char *expect = text_of(c, "expect");

    if (!strcmp(expect, "reject")) {
        return error && error->kind == SA_E_ID_TOKEN_INVALID;
    }
    if (error) {
        return 0;
    }
    if (strcmp(identity->issuer, "https://accounts.google.com")) {
        return 0;
    }
    if (!strcmp(expect, "accept")) {
        return identity->email && !strcmp(identity->email, "ada@example.test") &&
               identity->email_verified && !strcmp(identity->first_name, "Ada") &&
               !strcmp(identity->last_name, "L");
    }
    return !identity->email_vouched && (!identity->email || !identity->email_verified);
}

static void test_T25_T26_T27_T28_T32_T33_google_vectors(void **state)
{
    vectors_t v = { 0 };
    json_t *file = vectors_load(pool, "hostile/google_id_token.json");
    size_t i;
    json_t *c;

    (void)state;
    serve("/certs", 200, sa_json_dump(pool, json_object_get(file, "jwks")));
    sa_provider_t *any = make_google("/certs");
    sa_provider_t *hosted = make_google("/certs");
    assert_null(sa_provider_set(hosted, pool, "hd", "example.test"));
    json_array_foreach(json_object_get(file, "cases"), i, c) {
        const sa_provider_t *provider = strcmp(text_of(c, "config"), "default") ? hosted : any;
        sa_credential_t credential = { .flow = SA_FLOW_ID_TOKEN, .id_token = text_of(c, "token"),
                                       .nonce = text_of(file, "nonce_sent"), .now = GOOGLE_NOW };
        sa_identity_t *identity = NULL;
        sa_proof_t proof;
        sa_error_t *error = provider->type->identify(provider, &env, pool, &credential,
                                                     &identity, &proof);
        vectors_case(&v, judge_google(c, error, identity), text_of(c, "id"), text_of(c, "why"));
    }
    vectors_end(&v, 40);
    /* The key set, and once more for the unknown kid of g-kid; no issuer of a token was asked. */
    assert_int_equal(mock_count(mock, "/certs"), 2);
    assert_int_equal(mock_count(mock, NULL), 2);
}

/* ---- GitHub ---- */

static void test_github_login(void **state)
{
    const sa_provider_t *provider = make_github();
    sa_credential_t credential = { .flow = SA_FLOW_CODE, .code = CODE, .now = NOW,
                                   .redirect_uri = "https://a.test/cb?x=1&y=2",
                                   .code_verifier = "verifier-~1" };
    sa_identity_t *identity;
    sa_proof_t proof;

    (void)state;
    assert_works(provider->type->identify(provider, &env, pool, &credential, &identity, &proof));
    assert_string_equal(identity->issuer, "https://github.com");
    assert_string_equal(identity->subject, "583231");
    assert_string_equal(identity->email, "ada@example.test");
    assert_true(identity->email_verified && identity->email_vouched);
    assert_string_equal(identity->first_name, "The");
    assert_string_equal(identity->last_name, "Octocat");
    assert_int_equal(proof.id_token_exp, 0);
    const char *sent = mock_last(mock, pool, "/token");
    assert_non_null(strstr(sent, "POST /token HTTP/1.1\r\n"));
    assert_non_null(strstr(sent, "Accept: application/json\r\n"));
    assert_non_null(strstr(sent, "User-Agent: mod_social_auth"));
    assert_non_null(strstr(sent, "client_id=" CLIENT "&client_secret=" SECRET "&code=" CODE
                                 "&redirect_uri=https%3A%2F%2Fa.test%2Fcb%3Fx%3D1%26y%3D2"
                                 "&code_verifier=verifier-~1"));
    assert_non_null(strstr(mock_last(mock, pool, "/emails"), "Authorization: Bearer gho_abc\r\n"));

    credential.redirect_uri = NULL;
    credential.code_verifier = NULL;
    assert_works(provider->type->identify(provider, &env, pool, &credential, &identity, &proof));
    assert_null(strstr(mock_last(mock, pool, "/token"), "redirect_uri"));
    assert_null(strstr(mock_last(mock, pool, "/token"), "code_verifier"));
}

static void test_T35_github_two_primary_addresses(void **state)
{
    const sa_provider_t *provider = make_github();
    sa_identity_t *identity;

    (void)state;
    serve("/emails", 200, "[{\"email\":\"a@x.test\",\"primary\":true,\"verified\":true},"
                          "{\"email\":\"b@x.test\",\"primary\":true,\"verified\":true}]");
    assert_works(by_code(provider, &identity));
    assert_null(identity->email);
    assert_false(identity->email_verified || identity->email_vouched);
}

static void test_T37_github_key_is_the_id(void **state)
{
    const sa_provider_t *provider = make_github();
    sa_identity_t *before, *renamed, *other;

    (void)state;
    assert_works(by_code(provider, &before));
    serve("/user", 200, "{\"login\":\"new-name\",\"id\":583231}");
    assert_works(by_code(provider, &renamed));
    serve("/user", 200, "{\"login\":\"octocat\",\"id\":583232}");
    assert_works(by_code(provider, &other));
    assert_string_equal(before->subject, renamed->subject);
    assert_string_not_equal(before->subject, other->subject);
}

static void test_github_refused_access_token(void **state)
{
    const sa_provider_t *provider = make_github();
    sa_identity_t *identity;

    (void)state;
    serve("/user", 401, "{\"message\":\"Bad credentials\"}");
    assert_kind(by_code(provider, &identity), SA_E_PROVIDER_REJECTED);
    serve("/user", 403, "{\"message\":\"rate limit\"}");
    assert_kind(by_code(provider, &identity), SA_E_PROVIDER_UNAVAILABLE);
    make_github();
    serve("/emails", 500, "{}");
    assert_kind(by_code(provider, &identity), SA_E_PROVIDER_UNAVAILABLE);
}

/* Each of the two is answered only once both have arrived. */
static void test_github_user_and_emails_are_asked_at_the_same_time(void **state)
{
    const sa_provider_t *provider = make_github();
    sa_identity_t *identity;

    (void)state;
    mock_reply(mock, &(mock_reply_t){ .path = "/user", .way = MOCK_MEET, .body = "{\"id\":7}" });
    mock_reply(mock, &(mock_reply_t){ .path = "/emails", .way = MOCK_MEET, .body = "[]" });
    assert_works(by_code(provider, &identity));
    assert_string_equal(identity->subject, "7");
}

static void test_github_second_login_is_on_warm_connections(void **state)
{
    const sa_provider_t *provider = make_github();
    sa_identity_t *identity;

    (void)state;
    for (int i = 0; i < 5; ++i) {
        assert_works(by_code(provider, &identity));
    }
    assert_int_equal(mock_count(mock, NULL), 15);
    assert_true(mock_connections(mock) <= 2);
}

static void test_T198_redirect_is_not_followed_and_the_secret_not_resent(void **state)
{
    static const int statuses[] = { 301, 302, 303, 307, 308 };
    const sa_provider_t *provider = make_github();
    sa_identity_t *identity;

    (void)state;
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); ++i) {
        mock_reply(mock, &(mock_reply_t){
            .path = "/token", .status = statuses[i], .body = "{}",
            .headers = apr_psprintf(pool, "Location: %s\r\n", mock_url(mock, pool, "/steal")) });
        assert_kind(by_code(provider, &identity), SA_E_PROVIDER_UNAVAILABLE);
    }
    assert_int_equal(mock_count(mock, "/steal"), 0);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_T36_T199_github_token_vectors),
        CASE(test_T38_T199_github_user_vectors),
        CASE(test_T35_T199_github_emails_vectors),
        CASE(test_T199_jwks_vectors),
        CASE(test_T40_T41_discovery_vectors),
        CASE(test_T25_T26_T27_T28_T32_T33_google_vectors),
        CASE(test_github_login),
        CASE(test_T35_github_two_primary_addresses),
        CASE(test_T37_github_key_is_the_id),
        CASE(test_github_refused_access_token),
        CASE(test_github_user_and_emails_are_asked_at_the_same_time),
        CASE(test_github_second_login_is_on_warm_connections),
        CASE(test_T198_redirect_is_not_followed_and_the_secret_not_resent),
    };

    return cmocka_run_group_tests_name("providers", tests, fixture_start, fixture_stop);
}
