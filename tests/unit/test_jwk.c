#include "jose.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <time.h>

static void test_alg_names(void **state)
{
    for (int alg = SA_ALG_HS256; alg <= SA_ALG_EDDSA; alg++) {
        assert_int_equal(sa_alg_from_name(sa_alg_name((sa_alg_t)alg)), alg);
    }
    static const char *const unknown[] = {NULL, "", "none", "hs256", "HS256 ", "ES256K", "RSA-OAEP",
                                          "Ed25519", "eddsa", "dir"};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        assert_int_equal(sa_alg_from_name(unknown[i]), SA_ALG_NONE);
    }
    assert_null(sa_alg_name(SA_ALG_NONE));
}

/* --- PEM --- */

static void test_pem_private_and_public(void **state)
{
    static const sa_alg_t algs[] = {SA_ALG_RS256, SA_ALG_PS512, SA_ALG_ES256, SA_ALG_ES384,
                                    SA_ALG_ES512, SA_ALG_EDDSA};
    for (size_t i = 0; i < sizeof(algs) / sizeof(algs[0]); i++) {
        const char *why;
        EVP_PKEY *pkey = make_pkey(algs[i]);
        const sa_key_t *both = load(pem_of(pkey, 1), algs[i], NULL, &why);
        const sa_key_t *half = load(pem_of(pkey, 0), algs[i], NULL, &why);
        EVP_PKEY_free(pkey);
        assert_true(sa_key_can_sign(both));
        assert_false(sa_key_can_sign(half));
        assert_int_equal(sa_key_alg(half), algs[i]);
        assert_int_equal(strlen(sa_key_kid(both)), 43);
        assert_string_equal(sa_key_kid(both), sa_key_kid(half));
        assert_string_equal(sa_key_kid(both), sa_key_thumbprint(pool, both));

        sa_jwt_t jwt;
        const char *token = sa_jwt_sign(pool, both, NULL, claims_of());
        assert_int_equal(verify(token, set_of(half, NULL), &jwt), SA_JWT_OK);
    }
}

static void test_pem_traditional_forms(void **state)
{
    const char *why;
    char *text;
    EVP_PKEY *pkey = make_pkey(SA_ALG_ES256);
    BIO *bio = BIO_new(BIO_s_mem());
    /* As `openssl ecparam -genkey` writes it: parameters first. */
    BIO_puts(bio, "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n"
             "-----END EC PARAMETERS-----\n");
    assert_true(PEM_write_bio_PrivateKey_traditional(bio, pkey, NULL, NULL, 0, NULL, NULL));
    long len = BIO_get_mem_data(bio, &text);
    assert_non_null(sa_key_from_pem(pool, text, (apr_size_t)len, SA_ALG_ES256, "x", &why));
    BIO_free(bio);
    EVP_PKEY_free(pkey);
}

static void test_T82_pem_alg_must_fit(void **state)
{
    static const sa_alg_t algs[] = {SA_ALG_NONE, SA_ALG_HS256, SA_ALG_ES256, SA_ALG_ES384,
                                    SA_ALG_EDDSA};
    const char *why;
    const char *pem = pem_of(rsa, 0);
    for (size_t i = 0; i < sizeof(algs) / sizeof(algs[0]); i++) {
        assert_null(load(pem, algs[i], NULL, &why));
    }
    EVP_PKEY *p256 = make_pkey(SA_ALG_ES256);
    pem = pem_of(p256, 1);
    EVP_PKEY_free(p256);
    assert_null(load(pem, SA_ALG_ES384, NULL, &why));
    assert_null(load(pem, SA_ALG_ES512, NULL, &why));
    assert_null(load(pem, SA_ALG_RS256, NULL, &why));
    assert_non_null(load(pem, SA_ALG_ES256, NULL, &why));
}

static void test_T89_pem_other_curves(void **state)
{
    static const char *const curves[] = {"secp256k1", "brainpoolP256r1", "secp224r1"};
    for (int i = 0; i < 3; i++) {
        const char *why;
        EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "EC", curves[i]);
        assert_non_null(pkey);
        assert_null(load(pem_of(pkey, 1), SA_ALG_ES256, NULL, &why));
        EVP_PKEY_free(pkey);
    }
    const char *why;
    EVP_PKEY *ed448 = EVP_PKEY_Q_keygen(NULL, NULL, "ED448");
    assert_null(load(pem_of(ed448, 1), SA_ALG_EDDSA, NULL, &why));
    EVP_PKEY_free(ed448);
}

static void test_pem_garbage(void **state)
{
    static const char *const bad[] = {
        "", "x", "-----BEGIN PRIVATE KEY-----\n", "-----BEGIN PUBLIC KEY-----\nAAAA\n"
        "-----END PUBLIC KEY-----\n", "-----BEGIN CERTIFICATE-----\nAAAA\n"
        "-----END CERTIFICATE-----\n",
    };
    const char *why;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_null(load(bad[i], SA_ALG_RS256, NULL, &why));
    }
}

/* Must say so and must not ask on a terminal. */
static void test_pem_encrypted(void **state)
{
    const char *why;
    char *text;
    EVP_PKEY *pkey = make_pkey(SA_ALG_ES256);
    for (int i = 0; i < 2; i++) {
        BIO *bio = BIO_new(BIO_s_mem());
        assert_true(i == 0 ? PEM_write_bio_PKCS8PrivateKey(bio, pkey, EVP_aes_128_cbc(),
                                                          "password", 8, NULL, NULL)
                    : PEM_write_bio_PrivateKey_traditional(bio, pkey, EVP_aes_128_cbc(),
                                                          (const unsigned char *)"password", 8,
                                                          NULL, NULL));
        long len = BIO_get_mem_data(bio, &text);
        assert_null(sa_key_from_pem(pool, text, (apr_size_t)len, SA_ALG_ES256, NULL, &why));
        assert_non_null(strstr(why, "encrypted"));
        BIO_free(bio);
    }
    EVP_PKEY_free(pkey);
}

/* --- weak and malformed keys --- */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* An RSA public key of n = 2^bits - less (nobody checks for primes) in PEM. */
static const char *fake_modulus(int bits, unsigned long less, unsigned long exponent)
{
    EVP_PKEY *pkey = NULL;
    BIGNUM *n = BN_new();
    BIGNUM *e = BN_new();
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    assert_true(BN_set_bit(n, bits) && BN_sub_word(n, less) && BN_set_word(e, exponent));
    assert_true(OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n));
    assert_true(OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, e));
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
    assert_int_equal(EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params), 1);
    const char *pem = pem_of(pkey, 0);
    EVP_PKEY_free(pkey);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    BN_free(n);
    BN_free(e);
    return pem;
}

static const char *fake_rsa(int bits, unsigned long exponent)
{
    return fake_modulus(bits, 1, exponent);
}

static void test_T89_rsa_bounds(void **state)
{
    const char *why;
    assert_null(load(fake_rsa(2047, 65537), SA_ALG_RS256, NULL, &why));
    assert_non_null(load(fake_rsa(2048, 65537), SA_ALG_RS256, NULL, &why));
    assert_non_null(load(fake_rsa(2048, 3), SA_ALG_RS256, NULL, &why));
    assert_null(load(fake_modulus(2048, 2, 65537), SA_ALG_RS256, NULL, &why));
    assert_null(load(fake_rsa(2048, 1), SA_ALG_RS256, NULL, &why));
    assert_null(load(fake_rsa(2048, 2), SA_ALG_RS256, NULL, &why));
    assert_null(load(fake_rsa(2048, 65536), SA_ALG_PS256, NULL, &why));
    assert_non_null(load(fake_rsa(16384, 65537), SA_ALG_RS256, NULL, &why));
    assert_null(load(fake_rsa(16385, 65537), SA_ALG_RS256, NULL, &why));
}

static json_t *rsa_jwk(apr_size_t bytes, const char *e)
{
    unsigned char *n = apr_palloc(pool, bytes);
    memset(n, 0xff, bytes);
    return sa_json_own(pool, json_pack("{s:s, s:s, s:s}", "kty", "RSA", "e", e,
                                       "n", sa_base64url_encode(pool, n, bytes)));
}

static sa_key_t *from_jwk(const json_t *jwk, sa_alg_t fallback, int flags)
{
    const char *why = NULL;
    sa_key_t *key = sa_key_from_jwk(pool, jwk, fallback, flags, &why);
    assert_true((key == NULL) == (why != NULL));
    return key;
}

static void test_T89_rsa_65536_bits_in_bounded_time(void **state)
{
    const char *why;
    const char *pem = fake_rsa(65536, 65537);
    double start = seconds();
    assert_null(load(pem, SA_ALG_RS256, NULL, &why));
    assert_null(from_jwk(rsa_jwk(8192, "AQAB"), SA_ALG_NONE, SA_JWK_PUBLIC_ONLY));
    assert_true(seconds() - start < 0.5);
}

static void test_T89_jwk_rsa(void **state)
{
    assert_non_null(from_jwk(rsa_jwk(256, "AQAB"), SA_ALG_NONE, 0));
    assert_non_null(from_jwk(rsa_jwk(256, "AAEAAQ"), SA_ALG_NONE, 0));
    assert_null(from_jwk(rsa_jwk(255, "AQAB"), SA_ALG_NONE, 0));
    assert_null(from_jwk(rsa_jwk(256, "AQ"), SA_ALG_NONE, 0));
    assert_null(from_jwk(rsa_jwk(256, "AA"), SA_ALG_NONE, 0));
    assert_null(from_jwk(rsa_jwk(256, ""), SA_ALG_NONE, 0));
    assert_null(from_jwk(rsa_jwk(256, "AQAB="), SA_ALG_NONE, 0));
    assert_null(from_jwk(rsa_jwk(256, "AQAAAAAAAAAAAQ"), SA_ALG_NONE, 0));  /* over 64 bits */
    assert_null(from_jwk(rsa_jwk(2049, "AQAB"), SA_ALG_NONE, 0));
    assert_non_null(from_jwk(rsa_jwk(2048, "AQAB"), SA_ALG_NONE, 0));
}

static void test_T89_short_secrets(void **state)
{
    static const struct {
        sa_alg_t alg;
        apr_size_t min;
    } rules[] = {{SA_ALG_HS256, 32}, {SA_ALG_HS384, 48}, {SA_ALG_HS512, 64}};
    unsigned char secret[64] = {0};
    const char *why = NULL;
    for (int i = 0; i < 3; i++) {
        assert_null(sa_key_from_secret(pool, secret, rules[i].min - 1, rules[i].alg, NULL, &why));
        assert_non_null(why);
        assert_non_null(sa_key_from_secret(pool, secret, rules[i].min, rules[i].alg, NULL, &why));
    }
    assert_null(sa_key_from_secret(pool, secret, 64, SA_ALG_RS256, NULL, &why));
    assert_null(sa_key_from_secret(pool, secret, 64, SA_ALG_NONE, NULL, &why));
    assert_null(sa_key_from_secret(pool, NULL, 0, SA_ALG_HS256, NULL, &why));
}

static void test_T82_a_pem_is_no_secret(void **state)
{
    const char *why = NULL;
    const char *pem = pem_of(rsa, 0);
    assert_null(sa_key_from_secret(pool, pem, strlen(pem), SA_ALG_HS256, NULL, &why));
    assert_non_null(strstr(why, "PEM"));
}

/* --- JWK --- */

/* The JWK of a new key with its private member d. */
static json_t *private_jwk(sa_alg_t alg, const char *d_param)
{
    EVP_PKEY *pkey = make_pkey(alg);
    const char *why;
    const sa_key_t *key = load(pem_of(pkey, 1), alg, "k-1", &why);
    json_t *jwk = sa_key_public_jwk(pool, key);
    unsigned char d[256];
    size_t len = sa_alg_info(alg)->coordinate;
    if (alg == SA_ALG_EDDSA) {
        assert_true(EVP_PKEY_get_raw_private_key(pkey, d, &len));
    }
    else {
        BIGNUM *number = NULL;
        assert_true(EVP_PKEY_get_bn_param(pkey, d_param, &number));
        len = len != 0 ? len : (size_t)BN_num_bytes(number);
        assert_int_equal(BN_bn2binpad(number, d, (int)len), len);
        BN_clear_free(number);
    }
    json_object_set_new(jwk, "d", json_string(sa_base64url_encode(pool, d, len)));
    EVP_PKEY_free(pkey);
    return jwk;
}

static const struct {
    sa_alg_t alg;
    const char *d_param;
} private_kinds[] = {
    {SA_ALG_RS256, OSSL_PKEY_PARAM_RSA_D},
    {SA_ALG_ES256, OSSL_PKEY_PARAM_PRIV_KEY},
    {SA_ALG_ES384, OSSL_PKEY_PARAM_PRIV_KEY},
    {SA_ALG_ES512, OSSL_PKEY_PARAM_PRIV_KEY},
    {SA_ALG_EDDSA, NULL},
};

static void test_jwk_private(void **state)
{
    for (size_t i = 0; i < sizeof(private_kinds) / sizeof(private_kinds[0]); i++) {
        sa_jwt_t jwt;
        json_t *jwk = private_jwk(private_kinds[i].alg, private_kinds[i].d_param);
        const sa_key_t *both = from_jwk(jwk, SA_ALG_NONE, 0);
        assert_non_null(both);
        assert_true(sa_key_can_sign(both));
        const sa_key_t *half = from_jwk(jwk, SA_ALG_NONE, SA_JWK_PUBLIC_ONLY);
        assert_false(sa_key_can_sign(half));
        const char *token = sa_jwt_sign(pool, both, NULL, claims_of());
        assert_int_equal(verify(token, set_of(half, NULL), &jwt), SA_JWT_OK);
    }
}

static void test_T89_jwk_halves_must_match(void **state)
{
    for (size_t i = 1; i < sizeof(private_kinds) / sizeof(private_kinds[0]); i++) {
        json_t *one = private_jwk(private_kinds[i].alg, private_kinds[i].d_param);
        json_t *two = private_jwk(private_kinds[i].alg, private_kinds[i].d_param);
        json_object_set(one, "d", json_object_get(two, "d"));
        assert_null(from_jwk(one, SA_ALG_NONE, 0));
        assert_non_null(from_jwk(one, SA_ALG_NONE, SA_JWK_PUBLIC_ONLY));
    }
    json_t *jwk = private_jwk(SA_ALG_RS256, OSSL_PKEY_PARAM_RSA_D);
    json_object_set_new(jwk, "d", json_string("AQAB"));
    assert_null(from_jwk(jwk, SA_ALG_NONE, 0));
}

static void test_jwk_rsa_private_torso(void **state)
{
    json_t *jwk = private_jwk(SA_ALG_RS256, OSSL_PKEY_PARAM_RSA_D);
    json_object_set_new(jwk, "p", json_string("Aw"));
    assert_null(from_jwk(jwk, SA_ALG_NONE, 0));
    json_object_del(jwk, "p");
    assert_non_null(from_jwk(jwk, SA_ALG_NONE, 0));
    json_object_set_new(jwk, "oth", json_array());
    assert_null(from_jwk(jwk, SA_ALG_NONE, 0));
}

static void test_jwk_members(void **state)
{
    json_t *jwk = sa_key_public_jwk(pool, make_key(SA_ALG_ES256, "k-1"));
    const char *x = sa_json_string(jwk, "x");
    assert_non_null(from_jwk(jwk, SA_ALG_NONE, 0));
    assert_non_null(from_jwk(with(jwk, "alg", NULL), SA_ALG_NONE, 0));
    assert_non_null(from_jwk(with(jwk, "alg", NULL), SA_ALG_ES256, 0));
    assert_null(from_jwk(with(jwk, "alg", NULL), SA_ALG_ES384, 0));
    assert_non_null(from_jwk(with(jwk, "use", NULL), SA_ALG_NONE, 0));
    assert_non_null(from_jwk(with(jwk, "kid", NULL), SA_ALG_NONE, 0));
    assert_null(from_jwk(with(jwk, "use", json_string("enc")), SA_ALG_NONE, 0));
    assert_null(from_jwk(with(jwk, "use", json_integer(1)), SA_ALG_NONE, 0));
    assert_null(from_jwk(with(jwk, "kid", json_integer(1)), SA_ALG_NONE, 0));
    assert_null(from_jwk(with(jwk, "alg", json_string("RS256")), SA_ALG_NONE, 0));
    assert_null(from_jwk(with(jwk, "alg", json_string("ES384")), SA_ALG_NONE, 0));
    assert_null(from_jwk(with(jwk, "alg", json_string("none")), SA_ALG_NONE, 0));
    assert_null(from_jwk(with(jwk, "alg", json_null()), SA_ALG_NONE, 0));
    assert_null(from_jwk(with(jwk, "kty", json_string("ec")), SA_ALG_NONE, 0));
    assert_null(from_jwk(with(jwk, "kty", json_string("oct")), SA_ALG_NONE, 0));
    assert_null(from_jwk(with(jwk, "kty", NULL), SA_ALG_NONE, 0));
    assert_null(from_jwk(with(jwk, "crv", json_string("P-384")), SA_ALG_NONE, 0));
    assert_null(from_jwk(with(jwk, "crv", NULL), SA_ALG_NONE, 0));
    assert_null(from_jwk(with(jwk, "y", NULL), SA_ALG_NONE, 0));
    assert_null(from_jwk(with(jwk, "y", json_string(x)), SA_ALG_NONE, 0));  /* off the curve */
    assert_null(from_jwk(with(jwk, "x", json_string(apr_pstrcat(pool, x, "AA", NULL))),
                         SA_ALG_NONE, 0));
    assert_null(from_jwk(json_null(), SA_ALG_NONE, 0));
    assert_null(from_jwk(NULL, SA_ALG_NONE, 0));
}

static void test_jwk_natural_algs(void **state)
{
    static const sa_alg_t algs[] = {SA_ALG_RS256, SA_ALG_ES256, SA_ALG_ES384, SA_ALG_ES512,
                                    SA_ALG_EDDSA};
    for (size_t i = 0; i < sizeof(algs) / sizeof(algs[0]); i++) {
        json_t *jwk = sa_key_public_jwk(pool, make_key(algs[i], NULL));
        assert_int_equal(sa_key_alg(from_jwk(with(jwk, "alg", NULL), SA_ALG_NONE, 0)), algs[i]);
    }
    json_t *jwk = with(rsa_jwk(256, "AQAB"), "alg", json_string("PS384"));
    assert_int_equal(sa_key_alg(from_jwk(jwk, SA_ALG_RS256, 0)), SA_ALG_PS384);
    assert_int_equal(sa_key_alg(from_jwk(rsa_jwk(256, "AQAB"), SA_ALG_PS256, 0)), SA_ALG_PS256);
}

static void test_jwk_key_ops(void **state)
{
    json_t *jwk = with(private_jwk(SA_ALG_ES256, OSSL_PKEY_PARAM_PRIV_KEY), "use", NULL);
    const sa_key_t *key = from_jwk(with(jwk, "key_ops", json_pack("[s]", "verify")),
                                   SA_ALG_NONE, 0);
    assert_false(sa_key_can_sign(key));
    key = from_jwk(with(jwk, "key_ops", json_pack("[s]", "sign")), SA_ALG_NONE, 0);
    assert_true(sa_key_can_sign(key));
    assert_null(from_jwk(with(jwk, "key_ops", json_pack("[s]", "encrypt")), SA_ALG_NONE, 0));
    assert_null(from_jwk(with(jwk, "key_ops", json_array()), SA_ALG_NONE, 0));
    assert_null(from_jwk(with(jwk, "key_ops", json_string("verify")), SA_ALG_NONE, 0));
}

static void test_jwk_oct(void **state)
{
    json_t *jwk = sa_json_own(pool, json_pack("{s:s, s:s}", "kty", "oct", "k",
                                              sa_random_text(pool, 32)));
    assert_null(from_jwk(jwk, SA_ALG_NONE, 0));
    assert_null(from_jwk(jwk, SA_ALG_HS256, SA_JWK_PUBLIC_ONLY));
    assert_null(from_jwk(jwk, SA_ALG_HS384, 0));
    assert_null(from_jwk(jwk, SA_ALG_RS256, 0));
    assert_non_null(from_jwk(jwk, SA_ALG_HS256, 0));
    assert_null(from_jwk(with(jwk, "k", json_string("")), SA_ALG_HS256, 0));
    assert_null(from_jwk(with(jwk, "k", NULL), SA_ALG_HS256, 0));
}

/* RFC 7638 section 3.1's example. */
static void test_T88_thumbprint_rsa(void **state)
{
    const sa_key_t *key = from_jwk(sa_json_own(pool, json_pack(
        "{s:s, s:s, s:s, s:s, s:s}", "kty", "RSA", "e", "AQAB", "alg", "RS256", "kid",
        "2011-04-29", "n",
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_B"
        "JECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_F"
        "DW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4"
        "vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw")),
        SA_ALG_NONE, 0);
    assert_string_equal(sa_key_thumbprint(pool, key),
                        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

/* --- sets --- */

static void test_keyset_kids(void **state)
{
    sa_keyset_t *set = sa_keyset_make(pool);
    assert_null(sa_keyset_signer(set));
    const sa_key_t *first = make_key(SA_ALG_HS256, "a");
    assert_int_equal(sa_keyset_add(set, first), APR_SUCCESS);
    assert_int_equal(sa_keyset_add(set, make_key(SA_ALG_HS512, "a")), APR_EEXIST);
    assert_int_equal(sa_keyset_add(set, make_key(SA_ALG_HS256, NULL)), APR_SUCCESS);
    assert_int_equal(sa_keyset_add(set, make_key(SA_ALG_HS256, NULL)), APR_SUCCESS);
    assert_int_equal(set->keys->nelts, 3);
    assert_ptr_equal(sa_keyset_signer(set), first);
}

static sa_keyset_t *parse_jwks(json_t *jwks, int flags, const char **why)
{
    const char *text = sa_json_dump(pool, sa_json_own(pool, jwks));
    *why = NULL;
    sa_keyset_t *set = sa_keyset_from_jwks(pool, text, strlen(text), SA_ALG_NONE, flags, why);
    assert_true((set == NULL) == (*why != NULL));
    return set;
}

static void test_T89_jwks_rules(void **state)
{
    const char *why;
    json_t *a = sa_key_public_jwk(pool, make_key(SA_ALG_ES256, "a"));
    json_t *b = sa_key_public_jwk(pool, make_key(SA_ALG_EDDSA, "b"));
    json_t *oct = sa_json_own(pool, json_pack("{s:s, s:s, s:s}", "kty", "oct", "alg", "HS256",
                                              "k", sa_random_text(pool, 32)));
    json_t *weak = rsa_jwk(128, "AQAB");
    json_t *enc = with(with(a, "use", json_string("enc")), "kid", json_string("b"));

    assert_int_equal(parse_jwks(json_pack("{s:[O,O]}", "keys", a, b), 0, &why)->keys->nelts, 2);
    assert_int_equal(parse_jwks(json_pack("{s:[O,O,O]}", "keys", a, weak, b), 0, &why)
                     ->keys->nelts, 2);
    assert_int_equal(parse_jwks(json_pack("{s:[O,O,i,n]}", "keys", enc, b, 1), 0, &why)
                     ->keys->nelts, 1);
    assert_null(parse_jwks(json_pack("{s:[O,O]}", "keys", a, with(b, "kid", json_string("a"))),
                           0, &why));
    assert_null(parse_jwks(json_pack("{s:[O,O]}", "keys", a, oct), 0, &why));
    assert_null(parse_jwks(json_pack("{s:[O,O]}", "keys", a, oct), SA_JWK_PUBLIC_ONLY, &why));
    assert_int_equal(parse_jwks(json_pack("{s:[O]}", "keys", oct), 0, &why)->keys->nelts, 1);
    assert_null(parse_jwks(json_pack("{s:[O]}", "keys", oct), SA_JWK_PUBLIC_ONLY, &why));
    assert_null(parse_jwks(json_pack("{s:[O]}", "keys", weak), 0, &why));
    assert_null(parse_jwks(json_pack("{s:[]}", "keys"), 0, &why));
    assert_null(parse_jwks(json_pack("{s:{}}", "keys"), 0, &why));
    assert_null(parse_jwks(json_pack("[O]", a), 0, &why));
    assert_null(parse_jwks(json_deep_copy(a), 0, &why));
    assert_null(sa_keyset_from_jwks(pool, "{\"keys\":[", 9, SA_ALG_NONE, 0, &why));
}

static void test_jwks_of_too_many_keys(void **state)
{
    const char *why;
    json_t *keys = json_array();
    for (int i = 0; i < 101; i++) {
        json_array_append_new(keys, json_pack("{s:s, s:s}", "kty", "EC", "crv", "P-256"));
    }
    assert_null(parse_jwks(json_pack("{s:o}", "keys", keys), 0, &why));
    assert_non_null(strstr(why, "100"));
}

/* --- publishing --- */

/* What the JWKS document shows is enough to verify, and nothing more. */
static void test_T134_jwks_round_trip(void **state)
{
    sa_keyset_t *own = sa_keyset_make(pool);
    for (int alg = SA_ALG_RS256; alg <= SA_ALG_EDDSA; alg++) {
        const char *kid = sa_alg_name((sa_alg_t)alg);
        assert_int_equal(sa_keyset_add(own, make_key((sa_alg_t)alg, kid)), APR_SUCCESS);
    }
    const char *why = NULL;
    const char *text = sa_json_dump(pool, sa_keyset_public_jwks(pool, own));
    static const char *const secrets[] = {"\"d\":", "\"p\":", "\"q\":", "\"dp\":", "\"k\":"};
    for (int i = 0; i < 5; i++) {
        assert_null(strstr(text, secrets[i]));
    }
    sa_keyset_t *theirs = sa_keyset_from_jwks(pool, text, strlen(text), SA_ALG_NONE, SA_JWK_PUBLIC_ONLY, &why);
    assert_non_null(theirs);
    assert_int_equal(theirs->keys->nelts, own->keys->nelts);
    assert_null(sa_keyset_signer(theirs));
    for (int i = 0; i < own->keys->nelts; i++) {
        sa_jwt_t jwt;
        const sa_key_t *key = sa_keyset_at(own, i);
        const char *token = sa_jwt_sign(pool, key, NULL, claims_of());
        assert_int_equal(verify(token, theirs, &jwt), SA_JWT_OK);
        assert_string_equal(sa_key_kid(jwt.key), sa_key_kid(key));
        assert_string_equal(sa_key_thumbprint(pool, jwt.key), sa_key_thumbprint(pool, key));
        assert_null(sa_jwt_sign(pool, jwt.key, NULL, claims_of()));
    }
}

static void test_T134_symmetric_keys_are_not_published(void **state)
{
    const sa_key_t *key = make_key(SA_ALG_HS256, "h");
    assert_null(sa_key_public_jwk(pool, key));
    assert_null(sa_key_thumbprint(pool, key));
    assert_string_equal(sa_json_dump(pool, sa_keyset_public_jwks(pool, set_of(key, NULL))),
                        "{\"keys\":[]}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_alg_names),
        CASE(test_T134_jwks_round_trip),
        CASE(test_T134_symmetric_keys_are_not_published),
        CASE(test_pem_private_and_public),
        CASE(test_pem_traditional_forms),
        CASE(test_T82_pem_alg_must_fit),
        CASE(test_T89_pem_other_curves),
        CASE(test_pem_garbage),
        CASE(test_pem_encrypted),
        CASE(test_T89_rsa_bounds),
        CASE(test_T89_rsa_65536_bits_in_bounded_time),
        CASE(test_T89_jwk_rsa),
        CASE(test_T89_short_secrets),
        CASE(test_T82_a_pem_is_no_secret),
        CASE(test_jwk_private),
        CASE(test_T89_jwk_halves_must_match),
        CASE(test_jwk_rsa_private_torso),
        CASE(test_jwk_members),
        CASE(test_jwk_natural_algs),
        CASE(test_jwk_key_ops),
        CASE(test_jwk_oct),
        CASE(test_T88_thumbprint_rsa),
        CASE(test_keyset_kids),
        CASE(test_T89_jwks_rules),
        CASE(test_jwks_of_too_many_keys),
    };
    apr_initialize();
    return cmocka_run_group_tests(tests, make_rsa, free_rsa);
}
