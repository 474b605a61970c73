/* OpenID Connect against a mock server: the ID token, trust in addresses, the code flow. */
#include "provider_fixture.h"

#include "core/base64url.h"
#include "core/crypto.h"
#include "core/jwt.h"
#include "providers/discovery.h"

/* ---- OIDC: the ID token ---- */

static const sa_key_t *idp_key;

static sa_provider_t *make_idp_with_key(void)
{
    idp_key = make_key(SA_ALG_ES256, "k1");
    serve("/jwks", 200, jwks_of(idp_key, NULL));
    return make_idp();
}

static void refuses(const sa_provider_t *provider, const char *name, json_t *value)
{
    sa_identity_t *identity;

    assert_kind(by_token(provider, token_with(idp_key, name, value), &identity),
                SA_E_ID_TOKEN_INVALID);
}

static void accepts(const sa_provider_t *provider, const char *name, json_t *value)
{
    sa_identity_t *identity;

    assert_works(by_token(provider, token_with(idp_key, name, value), &identity));
}

static void test_T25_audience(void **state)
{
    const sa_provider_t *provider = make_idp_with_key();

    (void)state;
    accepts(provider, "aud", json_string("client-2"));
    accepts(provider, "aud", json_pack("[s]", CLIENT));
    accepts(provider, "azp", json_string("client-2"));
    refuses(provider, "aud", json_pack("[s,s]", CLIENT, "client-2"));       /* no azp */
    refuses(provider, "aud", json_pack("[s,s]", CLIENT, "foreign"));
    refuses(provider, "aud", json_pack("[s,i]", CLIENT, 1));
    refuses(provider, "aud", json_array());
    refuses(provider, "aud", json_object());
    refuses(provider, "aud", NULL);
    refuses(provider, "azp", json_string("foreign"));
    refuses(provider, "azp", json_null());
}

static void test_T26_T42_issuer(void **state)
{
    const sa_provider_t *provider = make_idp_with_key();
    const char *why;

    (void)state;
    refuses(provider, "iss", json_string(mock_url(mock, pool, "/evil")));
    refuses(provider, "iss", json_string("https://idp.example.test/"));
    refuses(provider, "iss", json_string("https://IDP.example.test"));
    refuses(provider, "iss", json_string("https://login.test/{tenantid}/v2.0"));
    refuses(provider, "iss", NULL);
    assert_int_equal(mock_count(mock, NULL), 1);        /* the key set, nothing else */
    sa_provider_t *entra = sa_provider_make(pool, "entra", &why);
    assert_null(sa_provider_set(entra, pool, "type", "oidc"));
    assert_null(sa_provider_set(entra, pool, "issuer", "https://login.test/{tenantid}/v2.0"));
    assert_non_null(strstr(sa_provider_finish(entra, pool), "template"));
}

static void test_T27_signature(void **state)
{
    const sa_provider_t *provider = make_idp_with_key();
    const sa_key_t *foreign = make_key(SA_ALG_ES256, "k1");
    const char *why;
    const sa_key_t *hmac = sa_key_from_secret(pool, SECRET "-made-longer-than-32-bytes",
                                              strlen(SECRET) + 26, SA_ALG_HS256, "k1", &why);
    sa_identity_t *identity;

    (void)state;
    assert_kind(by_token(provider, token_with(foreign, NULL, NULL), &identity),
                SA_E_ID_TOKEN_INVALID);
    assert_kind(by_token(provider, token_with(hmac, NULL, NULL), &identity),
                SA_E_ID_TOKEN_INVALID);
    assert_kind(by_token(provider, "", &identity), SA_E_ID_TOKEN_INVALID);
    assert_kind(by_token(provider, "a.b.c", &identity), SA_E_ID_TOKEN_INVALID);
    char *huge = apr_palloc(pool, 20001);
    memset(huge, 'a', 20000);
    huge[20000] = '\0';
    assert_kind(by_token(provider, huge, &identity), SA_E_ID_TOKEN_INVALID);
    accepts(provider, NULL, NULL);
}

static void test_T27_algorithm_is_the_configured_one(void **state)
{
    const sa_key_t *ec = make_key(SA_ALG_ES256, "ec");
    const sa_key_t *ed = make_key(SA_ALG_EDDSA, "ed");
    const sa_provider_t *provider = make_idp();
    sa_identity_t *identity;

    (void)state;
    serve("/jwks", 200, jwks_of(ec, ed));
    assert_works(by_token(provider, token_with(ec, NULL, NULL), &identity));
    assert_kind(by_token(provider, token_with(ed, NULL, NULL), &identity),
                SA_E_ID_TOKEN_INVALID);
}

static void test_T28_times_and_subject(void **state)
{
    const sa_provider_t *provider = make_idp_with_key();
    char long_sub[257];

    (void)state;
    memset(long_sub, 's', 256);
    long_sub[256] = '\0';
    accepts(provider, "exp", json_integer(NOW - 59));
    refuses(provider, "exp", json_integer(NOW - 61));
    refuses(provider, "exp", json_string("4102444800"));
    refuses(provider, "exp", NULL);
    accepts(provider, "iat", json_integer(NOW + 59));
    refuses(provider, "iat", json_integer(NOW + 61));
    refuses(provider, "iat", json_string("1"));
    refuses(provider, "iat", NULL);
    accepts(provider, "nbf", json_integer(NOW + 59));
    refuses(provider, "nbf", json_integer(NOW + 61));
    accepts(provider, "sub", json_string(long_sub + 1));
    refuses(provider, "sub", json_string(long_sub));
    refuses(provider, "sub", json_string(""));
    refuses(provider, "sub", json_integer(1));
    refuses(provider, "sub", NULL);
}

/* Other tokens of the issuer for the same audience are no ID tokens (RFC 8725 section 3.11). */
static void test_T91_other_tokens_of_the_issuer(void **state)
{
    static const char *const good[] = { "JWT", "jwt", "application/jwt", "id_token+jwt", NULL };
    static const char *const bad[] = { "at+jwt", "logout+jwt", "application/at+jwt", "rt+jwt", "" };
    const sa_provider_t *provider = make_idp_with_key();
    sa_identity_t *identity;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); ++i) {
        assert_works(by_token(provider, sa_jwt_sign(pool, idp_key, good[i], good_claims()),
                              &identity));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); ++i) {
        assert_kind(by_token(provider, sa_jwt_sign(pool, idp_key, bad[i], good_claims()),
                             &identity), SA_E_ID_TOKEN_INVALID);
    }
    refuses(provider, "events", json_pack("{s:{}}",
                                          "http://schemas.openid.net/event/backchannel-logout"));
}

static sa_error_t *with_credential(const sa_provider_t *provider, const char *token,
                                   const char *nonce, int max_age, sa_proof_t *proof)
{
    sa_credential_t credential = { .flow = SA_FLOW_ID_TOKEN, .id_token = token, .nonce = nonce,
                                   .now = NOW, .max_token_age = max_age };
    sa_identity_t *identity;

    return provider->type->identify(provider, &env, pool, &credential, &identity, proof);
}

static void test_T29_old_token(void **state)
{
    const sa_provider_t *provider = make_idp_with_key();
    sa_proof_t proof;

    (void)state;
    char *token = token_with(idp_key, "iat", json_integer(NOW - 601));
    assert_kind(with_credential(provider, token, NULL, 600, &proof), SA_E_ID_TOKEN_INVALID);
    assert_works(with_credential(provider, token, NULL, 0, &proof));
    token = token_with(idp_key, "iat", json_integer(NOW - 600));
    assert_works(with_credential(provider, token, NULL, 600, &proof));
}

static void test_nonce_and_proof(void **state)
{
    const sa_provider_t *provider = make_idp_with_key();
    char *token = token_with(idp_key, "nonce", json_string("n-1"));
    sa_proof_t proof;
    unsigned char expected[32];

    (void)state;
    assert_works(with_credential(provider, token, "n-1", 0, &proof));
    assert_int_equal(proof.id_token_exp, NOW + 300);
    sa_sha256(token, (apr_size_t)(strrchr(token, '.') - token), expected);
    assert_memory_equal(proof.id_token_hash, expected, sizeof(expected));
    assert_works(with_credential(provider, token, NULL, 0, &proof));
    assert_kind(with_credential(provider, token, "n-2", 0, &proof), SA_E_ID_TOKEN_INVALID);
    assert_kind(with_credential(provider, token, "n-", 0, &proof), SA_E_ID_TOKEN_INVALID);
    token = token_with(idp_key, NULL, NULL);
    assert_kind(with_credential(provider, token, "n-1", 0, &proof), SA_E_ID_TOKEN_INVALID);
}

static void test_T38_T39_subjects_are_byte_exact_and_per_issuer(void **state)
{
    const sa_provider_t *provider = make_idp_with_key();
    sa_identity_t *upper, *lower;

    (void)state;
    assert_works(by_token(provider, token_with(idp_key, "sub", json_string("Abc")), &upper));
    assert_works(by_token(provider, token_with(idp_key, "sub", json_string("abc")), &lower));
    assert_string_equal(upper->subject, "Abc");
    assert_string_equal(lower->subject, "abc");
    sa_provider_t *second =
        make_provider("other-name", "type", "oidc", "issuer", "https://second.test", "client-id",
                      CLIENT, "jwks-url", mock_url(mock, pool, "/jwks"), "id-token-alg", "ES256",
                      NULL);
    char *token = token_with(idp_key, "iss", json_string("https://second.test"));
    assert_works(by_token(second, token, &upper));
    assert_string_equal(upper->issuer, "https://second.test");
    assert_kind(by_token(provider, token, &lower), SA_E_ID_TOKEN_INVALID);
}

/* ---- OIDC: who vouches for an address ---- */

static int vouched(const char *trust, const char *email)
{
    sa_provider_t *provider = make_idp();
    sa_identity_t *identity;

    if (trust) {
        assert_null(sa_provider_set(provider, pool, "email-trust", trust));
    }
    assert_works(by_token(provider, token_with(idp_key, "email", json_string(email)), &identity));
    assert_true(identity->email_verified);
    return identity->email_vouched;
}

static void test_T33_T34_email_trust(void **state)
{
    const sa_provider_t *provider = make_idp_with_key();
    sa_identity_t *identity;

    (void)state;
    assert_int_equal(vouched(NULL, "a@gmail.com"), 0);
    assert_int_equal(vouched("none", "a@example.test"), 0);
    assert_int_equal(vouched("verified", "a@example.test"), 1);
    assert_int_equal(vouched("example.test,corp.test", "a@CORP.test"), 1);
    assert_int_equal(vouched("example.test", "a@evil-example.test"), 0);
    assert_int_equal(vouched("example.test", "a@sub.example.test"), 0);
    assert_works(by_token(provider, token_with(idp_key, "email_verified", NULL), &identity));
    assert_false(identity->email_verified);
    assert_works(by_token(provider, token_with(idp_key, "email_verified", json_string("true")),
                          &identity));
    assert_false(identity->email_verified);
}

static int google_vouched(const sa_provider_t *google, const char *email, const char *hd)
{
    json_t *claims = good_claims();
    sa_identity_t *identity;

    json_object_set_new(claims, "iss", json_string("accounts.google.com"));
    json_object_set_new(claims, "email", json_string(email));
    if (hd) {
        json_object_set_new(claims, "hd", json_string(hd));
    }
    assert_works(by_token(google, sa_jwt_sign(pool, idp_key, NULL, claims), &identity));
    return identity->email_vouched;
}

static void test_T34_google_is_authoritative_for_its_own_domains(void **state)
{
    (void)state;
    make_idp_with_key();
    sa_provider_t *google =
        make_provider("google-oauth2", "client-id", CLIENT, "jwks-url",
                      mock_url(mock, pool, "/jwks"), "id-token-alg", "ES256", NULL);
    assert_int_equal(google_vouched(google, "Ada@Gmail.com", NULL), 1);
    assert_int_equal(google_vouched(google, "ada@googlemail.com", NULL), 1);
    assert_int_equal(google_vouched(google, "victim@corp.test", NULL), 0);
    assert_int_equal(google_vouched(google, "victim@corp.test", "evil.test"), 0);
    assert_int_equal(google_vouched(google, "ada@corp.test", "corp.test"), 1);
    assert_int_equal(google_vouched(google, "ada@sub.corp.test", "corp.test"), 0);
    assert_int_equal(google_vouched(google, "ada@gmail.com.evil.test", NULL), 0);
}

/* ---- OIDC: the code flow ---- */

static void serve_tokens(const char *id_token)
{
    serve("/token", 200,
          id_token ? apr_psprintf(pool,
                                  "{\"access_token\":\"at-1\",\"token_type\":\"Bearer\","
                                  "\"id_token\":\"%s\"}",
                                  id_token)
                   : "{\"access_token\":\"at-1\",\"token_type\":\"Bearer\"}");
}

static void test_code_flow(void **state)
{
    const sa_provider_t *provider = make_idp_with_key();
    sa_identity_t *identity;

    (void)state;
    serve_tokens(token_with(idp_key, NULL, NULL));
    assert_works(by_code(provider, &identity));
    assert_string_equal(identity->subject, "subject-1");
    assert_string_equal(identity->email, "ada@example.test");
    assert_int_equal(mock_count(mock, "/userinfo"), 0);
    assert_non_null(strstr(mock_last(mock, pool, "/token"),
                           "grant_type=authorization_code&client_id=" CLIENT));
    serve_tokens(NULL);
    assert_kind(by_code(provider, &identity), SA_E_ID_TOKEN_INVALID);
    serve_tokens(token_with(idp_key, "aud", json_string("foreign")));
    assert_kind(by_code(provider, &identity), SA_E_ID_TOKEN_INVALID);
    serve("/token", 400, "{\"error\":\"invalid_grant\"}");
    assert_kind(by_code(provider, &identity), SA_E_PROVIDER_REJECTED);
}

static void test_code_flow_nonce_is_compared_when_there_is_one(void **state)
{
    const sa_provider_t *provider = make_idp_with_key();
    sa_credential_t credential = { .flow = SA_FLOW_CODE, .code = CODE, .now = NOW,
                                   .nonce = "n-1" };
    sa_identity_t *identity;
    sa_proof_t proof;

    (void)state;
    serve_tokens(token_with(idp_key, NULL, NULL));
    assert_works(provider->type->identify(provider, &env, pool, &credential, &identity, &proof));
    assert_int_equal(proof.id_token_exp, 0);
    serve_tokens(token_with(idp_key, "nonce", json_string("n-1")));
    assert_works(provider->type->identify(provider, &env, pool, &credential, &identity, &proof));
    serve_tokens(token_with(idp_key, "nonce", json_string("n-2")));
    assert_kind(provider->type->identify(provider, &env, pool, &credential, &identity, &proof),
                SA_E_ID_TOKEN_INVALID);
}

/* The left half of SHA-2, computed here from OIDC Core 3.1.3.6. */
static char *half(int bits, const char *text)
{
    unsigned char digest[64];

    assert_int_equal(sa_sha2(bits, text, strlen(text), digest), APR_SUCCESS);
    return sa_base64url_encode(pool, digest, (apr_size_t)bits / 16);
}

static void hash_case(sa_alg_t alg, int bits)
{
    const sa_key_t *key = make_key(alg, NULL);
    const char *path = apr_psprintf(pool, "/jwks-%s", sa_alg_name(alg));
    sa_provider_t *provider = make_idp();
    sa_identity_t *identity;

    provider->jwks_url = mock_url(mock, pool, path);
    provider->id_token_alg = alg;
    serve(path, 200, jwks_of(key, NULL));
    serve_tokens(token_with(key, "at_hash", json_string(half(bits, "at-1"))));
    assert_works(by_code(provider, &identity));
    serve_tokens(token_with(key, "at_hash", json_string(half(bits, "at-2"))));
    assert_kind(by_code(provider, &identity), SA_E_ID_TOKEN_INVALID);
    serve_tokens(token_with(key, "at_hash", json_integer(1)));
    assert_kind(by_code(provider, &identity), SA_E_ID_TOKEN_INVALID);
    serve_tokens(token_with(key, "c_hash", json_string(half(bits, CODE))));
    assert_works(by_code(provider, &identity));
    serve_tokens(token_with(key, "c_hash", json_string(half(bits, "x"))));
    assert_kind(by_code(provider, &identity), SA_E_ID_TOKEN_INVALID);
}

static void test_T31_at_hash_and_c_hash(void **state)
{
    (void)state;
    /* RFC-independent known answer: OpenID Connect Core, Appendix A.3's access token. */
    assert_string_equal(half(256, "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"),
                        "77QmUPtjPfzWtF2AnpK9RQ");
    hash_case(SA_ALG_RS256, 256);
    hash_case(SA_ALG_ES384, 384);
    hash_case(SA_ALG_EDDSA, 512);
}

static void userinfo_case(const sa_provider_t *provider, int status, const char *body,
                          sa_error_kind_t kind)
{
    sa_identity_t *identity;

    serve("/userinfo", status, body);
    assert_kind(by_code(provider, &identity), kind);
}

static void test_T30_userinfo(void **state)
{
    const sa_provider_t *provider = make_idp_with_key();
    sa_identity_t *identity;

    (void)state;
    serve_tokens(token_with(idp_key, "email", NULL));
    serve("/userinfo", 200, "{\"sub\":\"subject-1\",\"email\":\"u@example.test\","
                            "\"email_verified\":true}");
    assert_works(by_code(provider, &identity));
    assert_string_equal(identity->email, "u@example.test");
    assert_true(identity->email_verified);
    assert_non_null(strstr(mock_last(mock, pool, "/userinfo"), "Authorization: Bearer at-1\r\n"));
    userinfo_case(provider, 200, "{\"sub\":\"subject-2\",\"email\":\"u@example.test\"}",
                  SA_E_ID_TOKEN_INVALID);
    userinfo_case(provider, 200, "{\"email\":\"u@example.test\"}", SA_E_ID_TOKEN_INVALID);
    userinfo_case(provider, 200, "[{\"sub\":\"subject-1\"}]", SA_E_ID_TOKEN_INVALID);
    userinfo_case(provider, 200, token_with(idp_key, NULL, NULL), SA_E_ID_TOKEN_INVALID);
    userinfo_case(provider, 500, "{}", SA_E_PROVIDER_UNAVAILABLE);
    serve("/userinfo", 403, "{}");
    assert_works(by_code(provider, &identity));
    assert_null(identity->email);
}

static void test_code_flow_by_discovery(void **state)
{
    sa_identity_t *identity;
    const char *issuer = mock_url(mock, pool, "");

    (void)state;
    idp_key = make_key(SA_ALG_ES256, "k1");
    serve("/jwks", 200, jwks_of(idp_key, NULL));
    serve("/.well-known/openid-configuration", 200,
          apr_psprintf(pool,
                       "{\"issuer\":\"%s\",\"authorization_endpoint\":\"%s/a\","
                       "\"token_endpoint\":\"%s/token\",\"jwks_uri\":\"%s/jwks\"}",
                       issuer, issuer, issuer, issuer));
    serve_tokens(token_with(idp_key, "iss", json_string(issuer)));
    const sa_provider_t *provider =
        make_provider("idp", "type", "oidc", "issuer", issuer, "client-id", CLIENT,
                      "client-secret", SECRET, "id-token-alg", "ES256", NULL);
    for (int i = 0; i < 3; ++i) {
        assert_works(by_code(provider, &identity));
    }
    assert_string_equal(identity->issuer, issuer);
    assert_int_equal(mock_count(mock, "/.well-known/openid-configuration"), 1);
    assert_int_equal(mock_count(mock, "/jwks"), 1);
    assert_int_equal(mock_count(mock, "/token"), 3);
}

static sa_error_t *discover_primed(const sa_provider_t *provider, const char *jwks_uri)
{
    const char *text = apr_psprintf(pool,
                                    "{\"issuer\":\"https://idp.example.test\","
                                    "\"authorization_endpoint\":\"https://idp.example.test/a\","
                                    "\"token_endpoint\":\"https://idp.example.test/t\","
                                    "\"jwks_uri\":\"%s\"}",
                                    jwks_uri);
    sa_endpoints_t found;

    assert_int_equal(sa_document_put(env.shared, provider->discovery_url, text, strlen(text),
                                     3600000),
                     APR_SUCCESS);
    return sa_discover(provider, &env, pool, SA_NEED_JWKS, &found);
}

/* A document that came from elsewhere does not make us call our own machine. */
static void test_T41_remote_document_may_not_point_inside(void **state)
{
    sa_provider_t *provider =
        make_provider("idp", "type", "oidc", "issuer", "https://idp.example.test", "client-id",
                      CLIENT, NULL);

    (void)state;
    provider->limits.proxy = mock_url(mock, pool, "");  /* any fetch ends here, as 404 */
    provider->limits.total_ms = 300;
    assert_works(discover_primed(provider, "https://idp.example.test/k"));
    assert_non_null(discover_primed(provider, mock_url(mock, pool, "/jwks")));
    assert_non_null(discover_primed(provider, "https://localhost/k"));
    assert_non_null(discover_primed(provider, "https://[::1]/k"));
    assert_non_null(discover_primed(provider, "http://idp.example.test/k"));
    assert_non_null(discover_primed(provider, "https://169.254.169.254/k"));
    assert_int_equal(mock_count(mock, "/jwks"), 0);
    provider->allow_http = 1;
    assert_works(discover_primed(provider, "http://idp.example.test/k"));
}

/* A key set's address that is the discovery document's own must not confuse the two. */
static void test_T40_discovery_document_is_not_a_key_set(void **state)
{
    sa_identity_t *identity;
    const char *issuer = mock_url(mock, pool, "");

    (void)state;
    idp_key = make_key(SA_ALG_ES256, "k1");
    serve("/.well-known/openid-configuration", 200,
          apr_psprintf(pool,
                       "{\"issuer\":\"%s\",\"authorization_endpoint\":\"%s/a\","
                       "\"token_endpoint\":\"%s/token\","
                       "\"jwks_uri\":\"%s/.well-known/openid-configuration\"}",
                       issuer, issuer, issuer, issuer));
    sa_provider_t *provider = make_provider("idp", "type", "oidc", "issuer", issuer, "client-id",
                                            CLIENT, "id-token-alg", "ES256", NULL);
    assert_kind(by_token(provider, token_with(idp_key, NULL, NULL), &identity),
                SA_E_PROVIDER_UNAVAILABLE);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_T25_audience),
        CASE(test_T26_T42_issuer),
        CASE(test_T27_signature),
        CASE(test_T27_algorithm_is_the_configured_one),
        CASE(test_T28_times_and_subject),
        CASE(test_T91_other_tokens_of_the_issuer),
        CASE(test_T29_old_token),
        CASE(test_nonce_and_proof),
        CASE(test_T38_T39_subjects_are_byte_exact_and_per_issuer),
        CASE(test_T33_T34_email_trust),
        CASE(test_T34_google_is_authoritative_for_its_own_domains),
        CASE(test_code_flow),
        CASE(test_code_flow_nonce_is_compared_when_there_is_one),
        CASE(test_T31_at_hash_and_c_hash),
        CASE(test_T30_userinfo),
        CASE(test_code_flow_by_discovery),
        CASE(test_T41_remote_document_may_not_point_inside),
        CASE(test_T40_discovery_document_is_not_a_key_set),
    };

    return cmocka_run_group_tests_name("oidc", tests, fixture_start, fixture_stop);
}
