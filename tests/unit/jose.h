/* Keys, tokens and claims for the tests of src/core/jw*.c. */
#ifndef TESTS_UNIT_JOSE_H
#define TESTS_UNIT_JOSE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/base64url.h"
#include "core/crypto.h"
#include "core/json.h"
#include "core/jwt.h"
#include "core/key.h"

#include <apr_errno.h>
#include <apr_general.h>
#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

#define NOW 1800000000
#define ISSUER "https://sso.example.test/api"
#define AUDIENCE "api.example.test"

/* Keys that take long to make are made once. */
static EVP_PKEY *rsa;
static apr_pool_t *pool;

static inline int make_rsa(void **state)
{
    rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    return rsa == NULL;
}

static inline int free_rsa(void **state)
{
    EVP_PKEY_free(rsa);
    return 0;
}

static inline int setup(void **state)
{
    apr_pool_create(&pool, NULL);
    return 0;
}

static inline int teardown(void **state)
{
    unsigned long left = ERR_peek_error();
    apr_pool_destroy(pool);
    return left != 0;           /* nothing may stay in OpenSSL's error queue */
}

static inline const char *pem_of(EVP_PKEY *pkey, int is_private)
{
    char *text;
    BIO *bio = BIO_new(BIO_s_mem());
    assert_true(is_private ? PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL)
                : PEM_write_bio_PUBKEY(bio, pkey));
    long len = BIO_get_mem_data(bio, &text);
    const char *copy = apr_pstrmemdup(pool, text, (apr_size_t)len);
    BIO_free(bio);
    return copy;
}

/* A new key pair; RSA is the shared one. The caller frees it. */
static inline EVP_PKEY *make_pkey(sa_alg_t alg)
{
    const sa_alg_info_t *info = sa_alg_info(alg);
    if (info->kty == SA_KTY_RSA) {
        EVP_PKEY_up_ref(rsa);
        return rsa;
    }
    return info->kty == SA_KTY_EC ? EVP_PKEY_Q_keygen(NULL, NULL, "EC", info->group)
        : EVP_PKEY_Q_keygen(NULL, NULL, info->group);
}

static inline sa_key_t *load(const char *pem, sa_alg_t alg, const char *kid, const char **why)
{
    *why = NULL;
    sa_key_t *key = sa_key_from_pem(pool, pem, strlen(pem), alg, kid, why);
    assert_true((key == NULL) == (*why != NULL));
    return key;
}

static inline sa_key_t *make_key(sa_alg_t alg, const char *kid)
{
    const char *why;
    if (sa_alg_info(alg)->kty == SA_KTY_OCT) {
        unsigned char secret[64];
        assert_int_equal(sa_random(secret, sizeof(secret)), APR_SUCCESS);
        return sa_key_from_secret(pool, secret, sizeof(secret), alg, kid, &why);
    }
    EVP_PKEY *pkey = make_pkey(alg);
    sa_key_t *key = load(pem_of(pkey, 1), alg, kid, &why);
    EVP_PKEY_free(pkey);
    assert_non_null(key);
    return key;
}

static inline sa_keyset_t *set_of(const sa_key_t *first, const sa_key_t *second)
{
    sa_keyset_t *set = sa_keyset_make(pool);
    assert_int_equal(sa_keyset_add(set, first), APR_SUCCESS);
    if (second != NULL) {
        assert_int_equal(sa_keyset_add(set, second), APR_SUCCESS);
    }
    return set;
}

static inline json_t *claims_of(void)
{
    return sa_json_own(pool, json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I}",
                                       "token_type", "access", "iss", ISSUER, "aud", AUDIENCE,
                                       "sub", "1001", "jti", "j-1",
                                       "exp", (json_int_t)NOW + 300, "iat", (json_int_t)NOW));
}

static inline sa_jwt_status_t verify(const char *token, const sa_keyset_t *set, sa_jwt_t *jwt)
{
    const char *why = NULL;
    sa_jwt_status_t status = sa_jwt_verify(pool, token, strlen(token), set, jwt, &why);
    assert_true(status == SA_JWT_OK || why != NULL);
    assert_int_equal(status == SA_JWT_OK, jwt->claims != NULL);
    return status;
}

/* A copy with one member put in its place, or (value NULL) taken out. */
static inline json_t *with(const json_t *jwk, const char *name, json_t *value)
{
    json_t *copy = sa_json_own(pool, json_deep_copy(jwk));
    if (value != NULL) {
        json_object_set_new(copy, name, value);
    }
    else {
        json_object_del(copy, name);
    }
    return copy;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
