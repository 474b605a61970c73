#include "core/key.h"
#include "core/crypto.h"
#include "core/json.h"

#include <apr_errno.h>
#include <apr_strings.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

/* In the order of preference per key type and curve: the first is the natural one. */
static const sa_alg_info_t algs[] = {
    {SA_ALG_HS256, "HS256", SA_KTY_OCT, 256, 0, NULL, NULL, 0},
    {SA_ALG_HS384, "HS384", SA_KTY_OCT, 384, 0, NULL, NULL, 0},
    {SA_ALG_HS512, "HS512", SA_KTY_OCT, 512, 0, NULL, NULL, 0},
    {SA_ALG_RS256, "RS256", SA_KTY_RSA, 256, 0, NULL, NULL, 0},
    {SA_ALG_RS384, "RS384", SA_KTY_RSA, 384, 0, NULL, NULL, 0},
    {SA_ALG_RS512, "RS512", SA_KTY_RSA, 512, 0, NULL, NULL, 0},
    {SA_ALG_PS256, "PS256", SA_KTY_RSA, 256, 1, NULL, NULL, 0},
    {SA_ALG_PS384, "PS384", SA_KTY_RSA, 384, 1, NULL, NULL, 0},
    {SA_ALG_PS512, "PS512", SA_KTY_RSA, 512, 1, NULL, NULL, 0},
    {SA_ALG_ES256, "ES256", SA_KTY_EC, 256, 0, "P-256", "prime256v1", 32},
    {SA_ALG_ES384, "ES384", SA_KTY_EC, 384, 0, "P-384", "secp384r1", 48},
    {SA_ALG_ES512, "ES512", SA_KTY_EC, 512, 0, "P-521", "secp521r1", 66},
    {SA_ALG_EDDSA, "EdDSA", SA_KTY_OKP, 0, 0, "Ed25519", "ED25519", 32},
};
#define ALGS (sizeof(algs) / sizeof(algs[0]))

static const char *const kty_names[] = {"oct", "RSA", "EC", "OKP"};

const sa_alg_info_t *sa_alg_info(sa_alg_t alg)
{
    return alg > SA_ALG_NONE && (apr_size_t)alg <= ALGS ? &algs[alg - 1] : NULL;
}

const sa_alg_info_t *sa_alg_natural(sa_kty_t kty, const char *crv)
{
    for (apr_size_t i = 0; i < ALGS; i++) {
        if (algs[i].kty == kty
            && (algs[i].crv == NULL || (crv != NULL && strcmp(algs[i].crv, crv) == 0))) {
            return &algs[i];
        }
    }
    return NULL;
}

sa_alg_t sa_alg_from_name(const char *name)
{
    for (apr_size_t i = 0; name != NULL && i < ALGS; i++) {
        if (strcmp(algs[i].name, name) == 0) {
            return algs[i].alg;
        }
    }
    return SA_ALG_NONE;
}

const char *sa_alg_name(sa_alg_t alg)
{
    const sa_alg_info_t *info = sa_alg_info(alg);
    return info != NULL ? info->name : NULL;
}

int sa_kty_from_name(const char *name, sa_kty_t *kty)
{
    for (int i = SA_KTY_OCT; name != NULL && i <= SA_KTY_OKP; i++) {
        if (strcmp(kty_names[i], name) == 0) {
            *kty = (sa_kty_t)i;
            return 1;
        }
    }
    return 0;
}

const char *sa_kty_name(sa_kty_t kty)
{
    return kty_names[kty];
}

const char *sa_key_kid(const sa_key_t *key)
{
    return key->kid;
}

sa_alg_t sa_key_alg(const sa_key_t *key)
{
    return key->alg;
}

int sa_key_can_sign(const sa_key_t *key)
{
    return key->can_sign;
}

static apr_status_t release(void *data)
{
    sa_key_t *key = data;
    EVP_MAC_CTX_free(key->mac);
    EVP_PKEY_free(key->pkey);
    return APR_SUCCESS;
}

/* The header is written here, once, and not for every token. */
static void set_kid(apr_pool_t *p, sa_key_t *key, const char *kid)
{
    key->kid = apr_pstrdup(p, kid);
    if (key->can_sign) {
        const char *alg = sa_alg_name(key->alg);
        json_t *header = kid != NULL ? json_pack("{s:s, s:s}", "alg", alg, "kid", kid)
            : json_pack("{s:s}", "alg", alg);
        const char *text = sa_json_dump(p, sa_json_own(p, header));
        key->header = text != NULL ? text + 1 : NULL;
    }
}

static sa_key_t *make_key(apr_pool_t *p, sa_alg_t alg, const char *kid, int can_sign)
{
    sa_key_t *key = apr_pcalloc(p, sizeof(*key));
    key->alg = alg;
    key->can_sign = can_sign;
    set_kid(p, key, kid);
    apr_pool_cleanup_register(p, key, release, apr_pool_cleanup_null);
    return key;
}

sa_key_t *sa_key_from_secret(apr_pool_t *p, const void *data, apr_size_t len, sa_alg_t alg,
                             const char *kid, const char **why)
{
    static const char pem[] = "-----BEGIN ";
    const sa_alg_info_t *info = sa_alg_info(alg);
    if (info == NULL || info->kty != SA_KTY_OCT) {
        *why = "a shared secret only serves HS256, HS384 and HS512";
        return NULL;
    }
    if (len < (apr_size_t)info->bits / 8) {
        *why = apr_psprintf(p, "a secret for %s needs at least %d bytes", info->name,
                            info->bits / 8);
        return NULL;
    }
    /* A public key used as an HMAC key is known to everybody. */
    if (len >= sizeof(pem) - 1 && memcmp(data, pem, sizeof(pem) - 1) == 0) {
        *why = "a PEM key is no shared secret";
        return NULL;
    }
    if (sa_crypto_init() != APR_SUCCESS) {
        *why = "OpenSSL lacks HMAC or SHA-2";
        return NULL;
    }
    sa_key_t *key = make_key(p, alg, kid, 1);
    key->mac = sa_mac_make(info->bits, data, len);
    if (key->mac == NULL) {
        ERR_clear_error();
        *why = "the HMAC context could not be made";
        return NULL;
    }
    return key;
}

/* Small or even exponents are weak (1 signs nothing); huge ones are slow. */
static const char *rsa_problem(const EVP_PKEY *pkey)
{
    int bits = EVP_PKEY_get_bits(pkey);
    if (bits < SA_RSA_MIN_BITS) {
        return "the RSA key has fewer than 2048 bits";
    }
    if (bits > SA_RSA_MAX_BITS) {
        return "the RSA key has more than 16384 bits";
    }
    const char *problem = NULL;
    BIGNUM *n = NULL;
    BIGNUM *e = NULL;
    if (!EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &n)
        || !EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &e)) {
        problem = "the RSA key is incomplete";
    }
    else if (!BN_is_odd(n)) {
        problem = "the RSA modulus is even";
    }
    else if (!BN_is_odd(e) || BN_is_one(e) || BN_num_bits(e) > 64) {
        problem = "the RSA exponent is not an odd number from 3 to 2^64";
    }
    BN_free(n);
    BN_free(e);
    return problem;
}

static const char *ec_problem(EVP_PKEY *pkey, const sa_alg_info_t *info)
{
    char group[64];
    if (!EVP_PKEY_get_group_name(pkey, group, sizeof(group), NULL)
        || strcmp(group, info->group) != 0) {
        return "the key's curve is not the algorithm's";
    }
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    int good = ctx != NULL && EVP_PKEY_public_check(ctx) == 1;
    EVP_PKEY_CTX_free(ctx);
    return good ? NULL : "the public point is not on its curve";
}

static const char *pkey_problem(EVP_PKEY *pkey, const sa_alg_info_t *info)
{
    static const char *const types[] = {NULL, "RSA", "EC", "ED25519"};
    if (info == NULL || info->kty == SA_KTY_OCT) {
        return "the algorithm takes no public or private key";
    }
    if (!EVP_PKEY_is_a(pkey, types[info->kty])) {
        return "the key's type is not the algorithm's";
    }
    return info->kty == SA_KTY_RSA ? rsa_problem(pkey)
        : info->kty == SA_KTY_EC ? ec_problem(pkey, info) : NULL;
}

/* A private key whose halves do not match would sign what nobody can verify. */
static int halves_match(const sa_key_t *key)
{
    static const char text[] = "self-test";
    unsigned char signature[SA_SIGNATURE_MAX];
    apr_size_t len;
    return sa_key_sign(key, text, sizeof(text), signature, &len)
        && sa_key_verify(key, text, sizeof(text), signature, len);
}

sa_key_t *sa_key_adopt(apr_pool_t *p, EVP_PKEY *pkey, int is_private, sa_alg_t alg,
                       const char *kid, const char **why)
{
    if (sa_crypto_init() != APR_SUCCESS) {
        EVP_PKEY_free(pkey);
        *why = "OpenSSL lacks HMAC or SHA-2";
        return NULL;
    }
    sa_key_t *key = make_key(p, alg, kid, is_private);
    key->pkey = pkey;
    const char *problem = pkey_problem(pkey, sa_alg_info(alg));
    if (problem == NULL && is_private && !halves_match(key)) {
        problem = "the private and the public part do not belong together";
    }
    if (problem != NULL) {
        ERR_clear_error();
        *why = problem;
        return NULL;
    }
    return key;
}

/* Without a callback OpenSSL would ask for the password on the terminal. */
static int no_password(char *buf, int size, int rwflag, void *asked)
{
    *(int *)asked = 1;
    return -1;
}

static EVP_PKEY *read_pem(const char *pem, apr_size_t len, int *is_private, int *asked)
{
    EVP_PKEY *pkey = NULL;
    BIO *bio = len <= 65536 ? BIO_new_mem_buf(pem, (int)len) : NULL;
    if (bio != NULL) {
        *is_private = 1;
        pkey = PEM_read_bio_PrivateKey_ex(bio, NULL, no_password, asked, NULL, NULL);
    }
    if (bio != NULL && pkey == NULL && !*asked && BIO_reset(bio) == 1) {
        *is_private = 0;
        pkey = PEM_read_bio_PUBKEY_ex(bio, NULL, no_password, asked, NULL, NULL);
    }
    BIO_free(bio);
    ERR_clear_error();
    return pkey;
}

sa_key_t *sa_key_from_pem(apr_pool_t *p, const char *pem, apr_size_t len, sa_alg_t alg,
                          const char *kid, const char **why)
{
    int is_private = 0;
    int asked = 0;
    EVP_PKEY *pkey = read_pem(pem, len, &is_private, &asked);
    if (pkey == NULL) {
        *why = asked ? "the key is encrypted" : "not a private or public key in PEM";
        return NULL;
    }
    sa_key_t *key = sa_key_adopt(p, pkey, is_private, alg, kid, why);
    if (key != NULL && kid == NULL) {
        set_kid(p, key, sa_key_thumbprint(p, key));
    }
    return key;
}
