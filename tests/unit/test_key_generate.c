/* Keys that socialauthctl makes are keys that the server takes. */
#include "jose.h"

static const char *generate(sa_alg_t alg, int bits)
{
    const char *why = NULL;
    const char *text = sa_key_generate(pool, alg, bits, &why);
    assert_non_null(text);
    return text;
}

static void sign_and_verify(const sa_key_t *key)
{
    unsigned char signature[SA_SIGNATURE_MAX];
    apr_size_t len;

    assert_non_null(key);
    assert_true(sa_key_can_sign(key));
    assert_true(sa_key_sign(key, "text", 4, signature, &len));
    assert_true(sa_key_verify(key, "text", 4, signature, len));
}

static void test_pairs(void **state)
{
    static const sa_alg_t algs[] = {SA_ALG_RS256, SA_ALG_PS256, SA_ALG_ES256, SA_ALG_ES384,
                                    SA_ALG_ES512, SA_ALG_EDDSA};
    for (size_t i = 0; i < sizeof(algs) / sizeof(algs[0]); i++) {
        const char *why = NULL;
        const char *pem = generate(algs[i], 0);
        assert_memory_equal(pem, "-----BEGIN PRIVATE KEY-----\n", 28);
        assert_string_equal(pem + strlen(pem) - 26, "-----END PRIVATE KEY-----\n");
        sign_and_verify(sa_key_from_pem(pool, pem, strlen(pem), algs[i], NULL, &why));
        assert_string_not_equal(pem, generate(algs[i], 0));
    }
}

static int modulus_bits(const char *pem)
{
    const char *why = NULL;
    const sa_key_t *key = sa_key_from_pem(pool, pem, strlen(pem), SA_ALG_RS256, NULL, &why);
    assert_non_null(key);
    return EVP_PKEY_get_bits(key->pkey);
}

static void test_T89_sizes(void **state)
{
    assert_int_equal(modulus_bits(generate(SA_ALG_RS256, 0)), 3072);
    assert_int_equal(modulus_bits(generate(SA_ALG_RS256, 2048)), 2048);

    static const struct {
        sa_alg_t alg;
        int bits;
    } wrong[] = {
        {SA_ALG_RS256, 1024}, {SA_ALG_RS256, 2047}, {SA_ALG_PS256, 16385}, {SA_ALG_PS256, -1},
        {SA_ALG_ES256, 256}, {SA_ALG_EDDSA, 256}, {SA_ALG_HS256, 256}, {SA_ALG_NONE, 0},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const char *why = NULL;
        assert_null(sa_key_generate(pool, wrong[i].alg, wrong[i].bits, &why));
        assert_non_null(why);
    }
}

static void test_T89_secrets(void **state)
{
    static const char base64url[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const char *why = NULL;
    const char *text = generate(SA_ALG_HS256, 0);

    assert_int_equal(strlen(text), 64);
    assert_int_equal(strspn(text, base64url), 64);
    assert_string_not_equal(text, generate(SA_ALG_HS256, 0));
    sign_and_verify(sa_key_from_secret(pool, text, 64, SA_ALG_HS256, NULL, &why));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_pairs),
        CASE(test_T89_sizes),
        CASE(test_T89_secrets),
    };
    apr_initialize();
    return cmocka_run_group_tests(tests, make_rsa, free_rsa);
}
