/* The authorization request, and what a browser brings back besides a code. */
#include "provider_fixture.h"

#define CHALLENGE "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
#define PARAMETERS \
    "response_type=code&client_id=" CLIENT \
    "&redirect_uri=https%3A%2F%2Fwww.example.test%2Fcomplete%2Fx%2F&scope="
#define END "&state=a.b&code_challenge=" CHALLENGE "&code_challenge_method=S256"

static const sa_authorization_request_t request = {
    .redirect_uri = "https://www.example.test/complete/x/", .state = "a.b",
    .challenge = CHALLENGE, .nonce = "n-1",
};

static const char *url_of(const sa_provider_t *provider)
{
    const char *url = NULL;

    assert_works(sa_provider_authorize(provider, &env, pool, &request, &url));
    return url;
}

static void test_T7_challenge_is_always_sent(void **state)
{
    (void)state;
    const sa_provider_t *github = make_provider("github", "client-id", CLIENT, "client-secret",
                                                SECRET, NULL);
    const sa_provider_t *facebook = make_provider("facebook", "client-id", CLIENT,
                                                  "client-secret", SECRET, NULL);
    const sa_provider_t *google = make_provider("google", "client-id", CLIENT, "hd",
                                                "example.test", NULL);

    assert_string_equal(url_of(github), "https://github.com/login/oauth/authorize?" PARAMETERS
                        "read%3Auser%20user%3Aemail" END);
    assert_string_equal(url_of(facebook), "https://www.facebook.com/v24.0/dialog/oauth?" PARAMETERS
                        "email%2Cpublic_profile" END);
    assert_string_equal(url_of(google), "https://accounts.google.com/o/oauth2/v2/auth?" PARAMETERS
                        "openid%20email%20profile" END "&nonce=n-1&hd=example.test");
}

static void test_an_endpoint_with_a_query(void **state)
{
    (void)state;
    const sa_provider_t *provider = make_provider("github", "client-id", CLIENT, "client-secret",
                                                  SECRET, "authorize-url",
                                                  "https://id.example.test/?tenant=1", NULL);

    assert_string_equal(url_of(provider), "https://id.example.test/?tenant=1&" PARAMETERS
                        "read%3Auser%20user%3Aemail" END);
}

static void test_an_endpoint_that_must_be_discovered(void **state)
{
    (void)state;
    const char *issuer = mock_url(mock, pool, ""), *url;
    const sa_provider_t *provider = make_provider("idp", "type", "oidc", "issuer", issuer,
                                                  "client-id", CLIENT, NULL);

    serve("/.well-known/openid-configuration", 500, "");
    assert_kind(sa_provider_authorize(provider, &env, pool, &request, &url),
                SA_E_PROVIDER_UNAVAILABLE);
    const sa_provider_t *other = make_provider("other", "type", "oidc", "issuer", issuer,
                                               "client-id", CLIENT, "discovery-url",
                                               mock_url(mock, pool, "/good"), NULL);
    serve("/good", 200,
          apr_psprintf(pool, "{\"issuer\":\"%s\",\"authorization_endpoint\":\"%s/a\","
                       "\"token_endpoint\":\"%s/t\",\"jwks_uri\":\"%s/j\"}", issuer, issuer,
                       issuer, issuer));
    const char *wanted = apr_pstrcat(pool, issuer, "/a?" PARAMETERS, NULL);
    assert_memory_equal(url_of(other), wanted, strlen(wanted));
}

static void test_T6_an_iss_that_was_promised(void **state)
{
    (void)state;
    const char *issuer = mock_url(mock, pool, "");
    const char *const promises[] = { "true", "false", "1", "null" };

    for (size_t i = 0; i < sizeof(promises) / sizeof(promises[0]); i++) {
        const char *path = apr_psprintf(pool, "/promise-%d", (int)i);
        const sa_provider_t *provider = make_provider("idp", "type", "oidc", "issuer", issuer,
                                                      "client-id", CLIENT, "discovery-url",
                                                      mock_url(mock, pool, path), NULL);
        serve(path, 200,
              apr_psprintf(pool, "{\"issuer\":\"%s\",\"authorization_endpoint\":\"%s/a\","
                           "\"token_endpoint\":\"%s/t\",\"jwks_uri\":\"%s/j\","
                           "\"authorization_response_iss_parameter_supported\":%s}",
                           issuer, issuer, issuer, issuer, promises[i]));
        assert_null(sa_provider_came_back(provider, &env, pool, NULL, issuer));
        const sa_error_t *error = sa_provider_came_back(provider, &env, pool, NULL, NULL);
        const sa_error_t *refused = sa_provider_came_back(provider, &env, pool, "access_denied",
                                                          NULL);
        if (i == 0) {
            assert_kind(error, SA_E_PROVIDER_REJECTED);
            assert_string_equal(refused->log, "idp: authorization endpoint: iss is missing");
        }
        else {
            assert_null(error);
            assert_string_equal(refused->log, "idp: authorization endpoint: access_denied");
        }
    }
}

static void test_T6_T14_what_came_back(void **state)
{
    (void)state;
    const sa_provider_t *github = make_github(), *idp = make_idp();

    assert_null(sa_provider_came_back(idp, &env, pool, NULL, "https://idp.example.test"));
    assert_kind(sa_provider_came_back(idp, &env, pool, NULL, "https://idp.example.test/"),
                SA_E_PROVIDER_REJECTED);
    assert_null(sa_provider_came_back(github, &env, pool, NULL, "https://github.com/login/oauth"));
    assert_kind(sa_provider_came_back(github, &env, pool, "access_denied", NULL),
                SA_E_PROVIDER_REJECTED);
    assert_kind(sa_provider_came_back(github, &env, pool, "server_error", NULL),
                SA_E_PROVIDER_UNAVAILABLE);
    assert_kind(sa_provider_came_back(github, &env, pool, "temporarily_unavailable", NULL),
                SA_E_PROVIDER_UNAVAILABLE);
    const sa_error_t *error = sa_provider_came_back(github, &env, pool, "<script>\r\n", NULL);
    assert_string_equal(error->log, "github: authorization endpoint: no error code");
    assert_null(strstr(error->text, "script"));
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_T7_challenge_is_always_sent),
        CASE(test_an_endpoint_with_a_query),
        CASE(test_an_endpoint_that_must_be_discovered),
        CASE(test_T6_an_iss_that_was_promised),
        CASE(test_T6_T14_what_came_back),
    };

    return cmocka_run_group_tests_name("authorize", tests, fixture_start, fixture_stop);
}
