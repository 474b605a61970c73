/* How providers are configured: names, options, presets, phrases. */
#include "provider_fixture.h"

static sa_provider_t *named(const char *name)
{
    const char *why = NULL;
    sa_provider_t *provider = sa_provider_make(pool, name, &why);

    if (!provider) {
        fail_msg("%s", why);
    }
    return provider;
}

static void test_names(void **state)
{
    static const char *const bad[] = { "", "a b", "a/b", "a.b", "git\xc3\xbc", "a%00", "a:b" };
    char too_long[66];
    const char *why;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); ++i) {
        why = NULL;
        assert_null(sa_provider_make(pool, bad[i], &why));
        assert_non_null(why);
    }
    memset(too_long, 'a', 65);
    too_long[65] = '\0';
    assert_null(sa_provider_make(pool, too_long, &why));
    too_long[64] = '\0';
    assert_non_null(sa_provider_make(pool, too_long, &why));
    assert_string_equal(named("My_idp-2")->name, "My_idp-2");
    sa_provider_t *google = named("google-oauth2");
    assert_string_equal(google->name, "google");
    assert_true(sa_provider_is_named(google, "google"));
    assert_true(sa_provider_is_named(google, "google-oauth2"));
    assert_false(sa_provider_is_named(google, "Google"));
    assert_false(sa_provider_is_named(named("github"), "google-oauth2"));
}

static void test_presets(void **state)
{
    (void)state;
    sa_provider_t *github = make_provider("github", "client-id", "a", "client-secret", "b", NULL);
    assert_null(github->disabled_because);
    assert_string_equal(github->label, "GitHub");
    assert_string_equal(github->issuer, "https://github.com");
    assert_string_equal(github->token_url, "https://github.com/login/oauth/access_token");
    assert_string_equal(github->authorize_url, "https://github.com/login/oauth/authorize");
    assert_string_equal(github->userinfo_url, "https://api.github.com/user");
    assert_string_equal(github->emails_url, "https://api.github.com/user/emails");
    assert_string_equal(github->token_check_url, "https://api.github.com/applications/a/token");
    assert_int_equal(sa_provider_flows(github), SA_FLOW_CODE);
    assert_int_equal(github->email_required, 1);

    sa_provider_t *google = make_provider("google", "client-id", "a, b,c", NULL);
    assert_string_equal(google->label, "Google");
    assert_string_equal(google->issuer, "https://accounts.google.com");
    assert_string_equal(google->jwks_url, "https://www.googleapis.com/oauth2/v3/certs");
    assert_string_equal(google->token_url, "https://oauth2.googleapis.com/token");
    assert_string_equal(google->authorize_url, "https://accounts.google.com/o/oauth2/v2/auth");
    assert_string_equal(google->userinfo_url,
                        "https://openidconnect.googleapis.com/v1/userinfo");
    assert_string_equal(google->token_check_url, "https://oauth2.googleapis.com/tokeninfo");
    assert_int_equal(google->client_ids->nelts, 3);
    assert_int_equal(google->id_token_alg, SA_ALG_RS256);
    assert_int_equal(sa_provider_flows(google), SA_FLOW_ID_TOKEN);
    assert_null(sa_provider_set(google, pool, "client-secret", "x"));
    assert_int_equal(sa_provider_flows(google), SA_FLOW_ID_TOKEN | SA_FLOW_CODE);
}

static void test_facebook_preset(void **state)
{
    (void)state;
    sa_provider_t *facebook = make_provider("facebook", "client-id", "1", NULL);
    assert_string_equal(facebook->label, "Facebook");
    assert_string_equal(facebook->issuer, "https://www.facebook.com");
    assert_string_equal(facebook->authorize_url, "https://www.facebook.com/v24.0/dialog/oauth");
    assert_string_equal(facebook->token_url,
                        "https://graph.facebook.com/v24.0/oauth/access_token");
    assert_string_equal(facebook->userinfo_url, "https://graph.facebook.com/v24.0/me");
    assert_string_equal(facebook->token_check_url, "https://graph.facebook.com/v24.0/debug_token");
    assert_string_equal(facebook->scope, "email,public_profile");
    assert_int_equal(facebook->email_required, 0);
    assert_string_equal(facebook->disabled_because, "client-secret is missing");
    facebook = make_provider("work", "type", "facebook", "api-version", "25.0", "token-url",
                             "https://a.test/t", "email-required", "on", "client-secret", "s",
                             NULL);
    assert_string_equal(facebook->userinfo_url, "https://graph.facebook.com/v25.0/me");
    assert_string_equal(facebook->token_url, "https://a.test/t");
    assert_int_equal(facebook->email_required, 1);
    assert_string_equal(facebook->disabled_because, "client-id is missing");
    facebook = make_provider("facebook", "client-id", "1", "client-secret", "s", NULL);
    assert_null(facebook->disabled_because);
    assert_int_equal(sa_provider_flows(facebook), SA_FLOW_CODE);
}

static void test_enterprise_and_other_issuers(void **state)
{
    (void)state;
    sa_provider_t *ghe = make_provider("work", "type", "github", "token-url",
                                       "https://other.test/t", "base-url", "https://ghe.test/",
                                       "label", "Work", "client-id", "a/b", NULL);
    assert_string_equal(ghe->issuer, "https://ghe.test");
    assert_string_equal(ghe->token_url, "https://other.test/t");
    assert_string_equal(ghe->userinfo_url, "https://ghe.test/api/v3/user");
    assert_string_equal(ghe->emails_url, "https://ghe.test/api/v3/user/emails");
    assert_string_equal(ghe->token_check_url,
                        "https://ghe.test/api/v3/applications/a%2Fb/token");
    assert_string_equal(ghe->authorize_url, "https://ghe.test/login/oauth/authorize");
    assert_string_equal(ghe->label, "Work");
    assert_string_equal(ghe->disabled_because, "client-secret is missing");

    sa_provider_t *idp = make_provider("idp", "type", "oidc", "issuer", "https://idp.test/realm/",
                                       "client-id", "", NULL);
    assert_string_equal(idp->label, "idp");
    assert_string_equal(idp->discovery_url,
                        "https://idp.test/realm/.well-known/openid-configuration");
    assert_null(idp->jwks_url);
    assert_string_equal(idp->disabled_because, "client-id is missing");
    /* Another issuer under Google's name gets none of Google's endpoints. */
    sa_provider_t *google = make_provider("google", "issuer", "https://idp.test", NULL);
    assert_null(google->jwks_url);
    assert_null(google->token_url);
}

static void wrong(const char *key, const char *value, const char *part)
{
    const char *problem = sa_provider_set(named("github"), pool, key, value);

    assert_non_null(problem);
    if (!strstr(problem, part) || !strstr(problem, key)) {
        fail_msg("%s='%s' gives \"%s\"", key, value, problem);
    }
}

static void test_wrong_options_name_what_is_allowed(void **state)
{
    (void)state;
    wrong("label", "Gesch\xe4" "ft", "must be UTF-8 text");
    wrong("client_id", "x", "must be one of 'type', 'label', 'client-id'");
    wrong("clientid", "x", "'allow-http'");
    wrong("type", "saml", "'github', 'facebook' or 'oidc'");
    wrong("email-trust", "Example.test", "'none', 'verified'");
    wrong("email-trust", "", "'none', 'verified'");
    wrong("email-trust", "a.test,b_c", "'none', 'verified'");
    wrong("email-required", "yes", "'on' or 'off'");
    wrong("allow-http", "1", "'on' or 'off'");
    wrong("id-token-alg", "none", "RS256");
    wrong("id-token-alg", "HS256", "RS256");
    wrong("id-token-alg", "rs256", "RS256");
    wrong("redirect-uri", "/cb", "absolute URI");
    wrong("redirect-uri", "https://a.test/#f", "absolute URI");
    wrong("redirect-uri", "https://a.test/a b", "absolute URI");
    wrong("hd", "Example.test", "domain");
    wrong("api-version", "v24.0", "24.0");
    wrong("api-version", "24/..", "24.0");
    wrong("scope", "a\nb", "control characters");
    const char *problem = sa_provider_set(named("github"), pool, "client-secret", "s3cr\x01t");
    assert_null(strstr(problem, "s3cr"));
    assert_non_null(strstr(sa_provider_set(named("idp"), pool, "base-url", "https://a.test"),
                           "type=github"));
}

static void unfinished(const char *name, const char *key, const char *value, const char *part)
{
    sa_provider_t *provider = named(name);
    const char *problem;

    if (key) {
        assert_null(sa_provider_set(provider, pool, key, value));
    }
    problem = sa_provider_finish(provider, pool);
    if (!problem || !strstr(problem, part)) {
        fail_msg("%s %s='%s' gives \"%s\"", name, key, value, problem ? problem : "nothing");
    }
}

static void test_T41_wrong_combinations(void **state)
{
    (void)state;
    unfinished("idp", NULL, NULL, "type= is missing");
    unfinished("idp", "type", "oidc", "issuer= is missing");
    unfinished("google", "scope", "email profile", "openid");
    unfinished("google", "scope", "email openidx", "openid");
    unfinished("google", "emails-url", "https://a.test/", "type=github");
    unfinished("github", "jwks-url", "https://a.test/", "type=oidc");
    unfinished("github", "hd", "a.test", "type=oidc");
    unfinished("facebook", "discovery-url", "https://a.test/", "type=oidc");
    unfinished("github", "api-version", "24.0", "type=facebook");
    unfinished("google", "profile-params", "locale=de_DE", "type=facebook");
    unfinished("facebook", "profile-params", "fields=id&fields=email", "given twice");
    unfinished("facebook", "profile-params", "fields=%zz", "profile-params='fields=%zz'");
    unfinished("facebook", "profile-params", "access_token=x", "are added");
    unfinished("facebook", "profile-params", "appsecret_proof=x", "are added");
    unfinished("facebook", "userinfo-url", "http://a.test/", "userinfo-url=");
    unfinished("google", "token-check-url", "http://a.test/", "token-check-url=");
    unfinished("github", "token-url", "http://a.test/", "token-url='http://a.test/'");
    unfinished("github", "token-url", "file:///etc/passwd", "token-url=");
    unfinished("github", "emails-url", "https://u:p@a.test/", "emails-url=");
    unfinished("github", "userinfo-url", "https://169.254.169.254/", "userinfo-url=");
    unfinished("google", "jwks-url", "https://[::1%25lo]/", "jwks-url=");
    unfinished("google", "discovery-url", "https:///x", "discovery-url=");
    unfinished("github", "issuer", "ftp://a.test", "issuer=");
    sa_provider_t *inside = named("github");
    assert_null(sa_provider_set(inside, pool, "allow-http", "on"));
    assert_null(sa_provider_set(inside, pool, "token-url", "http://a.test/"));
    assert_null(sa_provider_finish(inside, pool));
}

static void test_token_check_url_needs_somebody_who_checks(void **state)
{
    sa_provider_t *provider = named("idp");

    (void)state;
    assert_null(sa_provider_set(provider, pool, "type", "oidc"));
    assert_null(sa_provider_set(provider, pool, "issuer", "https://idp.test"));
    assert_null(sa_provider_set(provider, pool, "token-check-url", "https://idp.test/check"));
    assert_non_null(strstr(sa_provider_finish(provider, pool), "github, google and facebook"));
}

static void test_redirect_uris_add_up(void **state)
{
    sa_provider_t *provider = named("github");

    (void)state;
    assert_null(sa_provider_set(provider, pool, "redirect-uri", "https://a.test/cb"));
    assert_null(sa_provider_set(provider, pool, "redirect-uri", "com.example.app:/cb?x=1"));
    assert_int_equal(provider->redirect_uris->nelts, 2);
}

static void email_case(const char *name, const char *email, const char *word, const char *text)
{
    sa_provider_t *provider = make_provider(name, "client-id", "a", NULL);
    sa_identity_t identity = { .email = email };
    sa_error_t *error = sa_provider_email_error(provider, pool, &identity);

    assert_string_equal(error->word, word);
    assert_string_equal(error->text, text);
    assert_string_equal(error->member, "message");
    assert_int_equal(error->status, 400);
}

static void test_email_errors(void **state)
{
    (void)state;
    email_case("github", NULL, "email_missing",
               "Your GitHub account does not have a primary verified email address.");
    email_case("github", "a@b.test", "email_unverified",
               "Your GitHub account does not have a primary verified email address.");
    email_case("google", NULL, "email_missing",
               "Your Google account email address is not verified.");
    email_case("google", "a@b.test", "email_unverified",
               "Your Google account email address is not verified.");
    email_case("facebook", "a@b.test", "email_unverified",
               "Your Facebook account email address is not verified.");
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_names),
        CASE(test_presets),
        CASE(test_facebook_preset),
        CASE(test_enterprise_and_other_issuers),
        CASE(test_wrong_options_name_what_is_allowed),
        CASE(test_T41_wrong_combinations),
        CASE(test_token_check_url_needs_somebody_who_checks),
        CASE(test_redirect_uris_add_up),
        CASE(test_email_errors),
    };

    return cmocka_run_group_tests_name("provider configuration", tests, fixture_start,
                                       fixture_stop);
}
