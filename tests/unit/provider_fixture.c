#include "provider_fixture.h"

#include "core/crypto.h"
#include "core/json.h"
#include "core/jwt.h"

#include <apr_general.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <signal.h>
#include <stdarg.h>

apr_pool_t *pool;
mock_t *mock;
sa_provider_env_t env;
sa_http_limits_t limits = { .connect_ms = 8000, .total_ms = 9000 };

int fixture_start(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    apr_initialize();
    assert_int_equal(sa_crypto_init(), APR_SUCCESS);
    assert_int_equal(sa_http_global_init(), APR_SUCCESS);
    return 0;
}

int fixture_stop(void **state)
{
    (void)state;
    apr_terminate();
    return 0;
}

int fixture_setup(void **state)
{
    (void)state;
    apr_pool_create(&pool, NULL);
    mock = mock_start();
    assert_int_equal(sa_shared_create(&env.shared, 4 * 1024 * 1024), APR_SUCCESS);
    env.deadline = 0;
    assert_int_equal(sa_http_create(&env.http, pool, 64, 64), APR_SUCCESS);
    assert_int_equal(sa_jwks_cache_create(&env.jwks, pool), APR_SUCCESS);
    return 0;
}

int fixture_teardown(void **state)
{
    (void)state;
    mock_stop(mock);
    apr_pool_destroy(pool);
    return 0;
}

/* ---- providers ---- */

sa_provider_t *make_provider(const char *name, ...)
{
    const char *why = NULL;
    sa_provider_t *provider = sa_provider_make(pool, name, &why);
    va_list args;
    const char *key;

    if (!provider) {
        fail_msg("%s", why);
        return NULL;
    }
    va_start(args, name);
    while ((key = va_arg(args, const char *))) {
        const char *problem = sa_provider_set(provider, pool, key, va_arg(args, const char *));
        if (problem) {
            fail_msg("%s", problem);
        }
    }
    va_end(args);
    const char *problem = sa_provider_finish(provider, pool);
    if (problem) {
        fail_msg("%s", problem);
    }
    provider->limits = limits;
    return provider;
}

void serve(const char *path, int status, const char *body)
{
    mock_reply(mock, &(mock_reply_t){ .path = path, .status = status, .body = body });
}

sa_provider_t *make_github(void)
{
    serve("/token", 200, "{\"access_token\":\"gho_abc\",\"token_type\":\"bearer\"}");
    serve("/user", 200, "{\"login\":\"octocat\",\"id\":583231,\"name\":\"The Octocat\","
                        "\"email\":\"public@example.test\"}");
    serve("/emails", 200, "[{\"email\":\"Ada@Example.Test\",\"primary\":true,\"verified\":true},"
                          "{\"email\":\"old@example.test\",\"primary\":false,\"verified\":true}]");
    return make_provider("github", "client-id", CLIENT, "client-secret", SECRET, "token-url",
                         mock_url(mock, pool, "/token"), "userinfo-url",
                         mock_url(mock, pool, "/user"), "emails-url",
                         mock_url(mock, pool, "/emails"), NULL);
}

sa_provider_t *make_idp(void)
{
    return make_provider("idp", "type", "oidc", "issuer", "https://idp.example.test", "client-id",
                         CLIENT ",client-2", "client-secret", SECRET, "token-url",
                         mock_url(mock, pool, "/token"), "userinfo-url",
                         mock_url(mock, pool, "/userinfo"), "jwks-url",
                         mock_url(mock, pool, "/jwks"), "id-token-alg", "ES256", NULL);
}

/* ---- keys and tokens ---- */

static EVP_PKEY *generate(sa_alg_t alg)
{
    switch (alg) {
    case SA_ALG_ES384:
        return EVP_EC_gen("P-384");
    case SA_ALG_EDDSA:
        return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    case SA_ALG_RS256:
    case SA_ALG_RS512:
        return EVP_RSA_gen(2048);
    default:
        return EVP_EC_gen("P-256");
    }
}

const sa_key_t *make_key(sa_alg_t alg, const char *kid)
{
    EVP_PKEY *pkey = generate(alg);
    BIO *bio = BIO_new(BIO_s_mem());
    char *pem;
    const char *why = NULL;

    assert_non_null(pkey);
    assert_int_equal(PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL), 1);
    long len = BIO_get_mem_data(bio, &pem);
    const sa_key_t *key = sa_key_from_pem(pool, pem, (apr_size_t)len, alg, kid, &why);
    BIO_free(bio);
    EVP_PKEY_free(pkey);
    assert_non_null(key);
    return key;
}

char *jwks_of(const sa_key_t *a, const sa_key_t *b)
{
    sa_keyset_t *set = sa_keyset_make(pool);

    assert_int_equal(sa_keyset_add(set, a), APR_SUCCESS);
    if (b) {
        assert_int_equal(sa_keyset_add(set, b), APR_SUCCESS);
    }
    return sa_json_dump(pool, sa_keyset_public_jwks(pool, set));
}

json_t *good_claims(void)
{
    return sa_json_own(pool, json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:b, s:s}", "iss",
                                       "https://idp.example.test", "aud", CLIENT, "sub",
                                       "subject-1", "iat", (json_int_t)NOW - 10, "exp",
                                       (json_int_t)NOW + 300, "email", "ada@example.test",
                                       "email_verified", 1, "name", "Ada Lovelace"));
}

char *token_with(const sa_key_t *key, const char *name, json_t *value)
{
    json_t *claims = good_claims();

    if (value) {
        json_object_set_new(claims, name, value);
    } else if (name) {
        json_object_del(claims, name);
    }
    return sa_jwt_sign(pool, key, "JWT", claims);
}

/* ---- logins ---- */

sa_error_t *by_code(const sa_provider_t *provider, sa_identity_t **identity)
{
    sa_credential_t credential = { .flow = SA_FLOW_CODE, .code = CODE, .now = NOW };
    sa_proof_t proof;

    *identity = NULL;
    sa_error_t *error = provider->type->identify(provider, &env, pool, &credential, identity,
                                                 &proof);
    assert_true(error ? !*identity : *identity != NULL);
    return error;
}

sa_error_t *by_token(const sa_provider_t *provider, const char *token, sa_identity_t **identity)
{
    sa_credential_t credential = { .flow = SA_FLOW_ID_TOKEN, .id_token = token, .now = NOW };
    sa_proof_t proof;

    *identity = NULL;
    sa_error_t *error = provider->type->identify(provider, &env, pool, &credential, identity,
                                                 &proof);
    assert_true(error ? !*identity : *identity != NULL);
    return error;
}

sa_error_t *by_provider_token(const sa_provider_t *provider, const char *token,
                              sa_identity_t **identity)
{
    sa_credential_t credential = { .token = token, .now = NOW, .max_token_age = 600 };
    sa_proof_t proof;

    assert_true(sa_provider_takes_tokens(provider));
    *identity = NULL;
    sa_error_t *error = provider->type->identify_token(provider, &env, pool, &credential, identity,
                                                       &proof);
    assert_true(error ? !*identity : *identity != NULL);
    return error;
}

static int allocations_left;

static void *scarce(size_t size)
{
    return allocations_left-- > 0 ? malloc(size) : NULL;
}

void assert_survives_allocations(const sa_provider_t *provider, const char *token)
{
    sa_identity_t *identity;
    sa_error_t *error = NULL;
    int n = 0;

    do {
        allocations_left = n;
        json_set_alloc_funcs(scarce, free);
        error = by_provider_token(provider, token, &identity);
        json_set_alloc_funcs(malloc, free);
        if (error && error->kind != SA_E_PROVIDER_UNAVAILABLE && error->kind != SA_E_UNAVAILABLE) {
            fail_msg("allocation %d: %s", n, error->log);
        }
    } while (error && ++n < 1000);
    assert_true(n > 5 && n < 1000);
}

void assert_no_secrets(const sa_error_t *error)
{
    const char *texts[] = { error->text, error->log ? error->log : "" };
    const char *secrets[] = { SECRET, CODE, "gho_", "example.test", "evil", "steal" };

    for (size_t t = 0; t < sizeof(texts) / sizeof(texts[0]); ++t) {
        for (size_t s = 0; s < sizeof(secrets) / sizeof(secrets[0]); ++s) {
            if (strstr(texts[t], secrets[s])) {
                fail_msg("'%s' is in '%s'", secrets[s], texts[t]);
            }
        }
    }
}

void *APR_THREAD_FUNC login_thread(apr_thread_t *thread, void *data)
{
    login_t *login = data;
    apr_pool_t *p;
    sa_jwt_t jwt;

    (void)thread;
    apr_pool_create(&p, NULL);
    sa_error_t *error = sa_jwks_verify(login->provider, &env, p, login->token, &jwt);
    login->failure = error ? error->kind : SA_E_REQUIRED;
    __atomic_store_n(&login->failed, error != NULL, __ATOMIC_RELEASE);
    apr_pool_destroy(p);
    return NULL;
}

apr_thread_t *spawn(login_t *login)
{
    apr_thread_t *thread;

    assert_int_equal(apr_thread_create(&thread, NULL, login_thread, login, pool), APR_SUCCESS);
    return thread;
}

void join(apr_thread_t *thread)
{
    apr_status_t rv;
    apr_thread_join(&rv, thread);
}
