/* JWK to key and back (RFC 7517, 7518 section 6, 8037 section 2, 7638). */
#include "core/base64url.h"
#include "core/crypto.h"
#include "core/json.h"
#include "core/key.h"

#include <apr_errno.h>
#include <apr_strings.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <stdlib.h>
#include <string.h>

/* A leading zero byte is tolerated: RFC 7518 section 6.3.1.1 knows who writes it. */
#define MAX_NUMBER (SA_RSA_MAX_BITS / 8 + 1)
#define RSA_MEMBERS 8
#define RSA_PUBLIC_MEMBERS 2

static const struct {
    const char *name;
    const char *param;
} rsa_members[RSA_MEMBERS] = {
    {"n", OSSL_PKEY_PARAM_RSA_N},
    {"e", OSSL_PKEY_PARAM_RSA_E},
    {"d", OSSL_PKEY_PARAM_RSA_D},
    {"p", OSSL_PKEY_PARAM_RSA_FACTOR1},
    {"q", OSSL_PKEY_PARAM_RSA_FACTOR2},
    {"dp", OSSL_PKEY_PARAM_RSA_EXPONENT1},
    {"dq", OSSL_PKEY_PARAM_RSA_EXPONENT2},
    {"qi", OSSL_PKEY_PARAM_RSA_COEFFICIENT1},
};

/* Octets of a base64url member; NULL when it is absent, malformed or longer than max. */
static unsigned char *get_octets(apr_pool_t *p, const json_t *jwk, const char *name,
                                 apr_size_t max, apr_size_t *len)
{
    const char *text = sa_json_string(jwk, name);
    unsigned char *data = NULL;
    *len = 0;
    if (text == NULL || strlen(text) > max * 4 / 3 + 2
        || sa_base64url_decode(&data, len, p, text, strlen(text)) != APR_SUCCESS) {
        return NULL;
    }
    return data;
}

static unsigned char *get_exact(apr_pool_t *p, const json_t *jwk, const char *name,
                                apr_size_t due)
{
    apr_size_t len;
    unsigned char *data = get_octets(p, jwk, name, due, &len);
    return len == due ? data : NULL;
}

static BIGNUM *get_number(apr_pool_t *p, const json_t *jwk, const char *name)
{
    apr_size_t len;
    unsigned char *data = get_octets(p, jwk, name, MAX_NUMBER, &len);
    if (data == NULL || len == 0) {
        return NULL;
    }
    BIGNUM *number = BN_bin2bn(data, (int)len, NULL);
    sa_wipe(data, len);
    return number;
}

static int has(const json_t *jwk, const char *name)
{
    return json_object_get(jwk, name) != NULL;
}

static EVP_PKEY *build(const char *type, OSSL_PARAM_BLD *bld, int is_private)
{
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (params == NULL || ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1
        || EVP_PKEY_fromdata(ctx, &pkey, is_private ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY,
                             params) != 1) {
        pkey = NULL;
    }
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return pkey;
}

/* How many members of an RSA key to read; 0 when the private ones are a torso. */
static int count_rsa_members(const json_t *jwk, int is_private)
{
    int crt = 0;
    if (!is_private) {
        return RSA_PUBLIC_MEMBERS;
    }
    for (int i = RSA_PUBLIC_MEMBERS + 1; i < RSA_MEMBERS; i++) {
        crt += has(jwk, rsa_members[i].name);
    }
    if (has(jwk, "oth")) {
        return 0;               /* more than two primes */
    }
    return crt == 0 ? RSA_PUBLIC_MEMBERS + 1
        : crt == RSA_MEMBERS - RSA_PUBLIC_MEMBERS - 1 ? RSA_MEMBERS : 0;
}

static EVP_PKEY *read_rsa(apr_pool_t *p, const json_t *jwk, int is_private)
{
    EVP_PKEY *pkey = NULL;
    BIGNUM *numbers[RSA_MEMBERS] = {NULL};
    int count = count_rsa_members(jwk, is_private);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    int good = bld != NULL && count > 0;
    for (int i = 0; good && i < count; i++) {
        numbers[i] = get_number(p, jwk, rsa_members[i].name);
        good = numbers[i] != NULL
            && OSSL_PARAM_BLD_push_BN(bld, rsa_members[i].param, numbers[i]);
    }
    if (good) {
        pkey = build("RSA", bld, is_private);
    }
    OSSL_PARAM_BLD_free(bld);
    for (int i = 0; i < RSA_MEMBERS; i++) {
        BN_clear_free(numbers[i]);
    }
    return pkey;
}

static EVP_PKEY *read_ec(apr_pool_t *p, const json_t *jwk, const sa_alg_info_t *info,
                         int is_private)
{
    apr_size_t size = info->coordinate;
    const unsigned char *x = get_exact(p, jwk, "x", size);
    const unsigned char *y = get_exact(p, jwk, "y", size);
    unsigned char *d = is_private ? get_exact(p, jwk, "d", size) : NULL;
    if (x == NULL || y == NULL || (is_private && d == NULL)) {
        return NULL;
    }
    unsigned char *point = apr_palloc(p, 2 * size + 1);
    point[0] = POINT_CONVERSION_UNCOMPRESSED;
    memcpy(point + 1, x, size);
    memcpy(point + 1 + size, y, size);

    EVP_PKEY *pkey = NULL;
    BIGNUM *number = is_private ? BN_bin2bn(d, (int)size, NULL) : NULL;
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    if (bld != NULL
        && OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, info->group, 0)
        && OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, 2 * size + 1)
        && (!is_private || OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_PRIV_KEY, number))) {
        pkey = build("EC", bld, is_private);
    }
    OSSL_PARAM_BLD_free(bld);
    BN_clear_free(number);
    if (d != NULL) {
        sa_wipe(d, size);
    }
    return pkey;
}

static EVP_PKEY *read_okp(apr_pool_t *p, const json_t *jwk, const sa_alg_info_t *info,
                          int is_private)
{
    apr_size_t size = info->coordinate;
    const unsigned char *x = get_exact(p, jwk, "x", size);
    if (x == NULL) {
        return NULL;
    }
    if (!is_private) {
        return EVP_PKEY_new_raw_public_key_ex(NULL, info->group, NULL, x, size);
    }
    unsigned char *d = get_exact(p, jwk, "d", size);
    EVP_PKEY *pkey = NULL;
    if (d != NULL) {
        pkey = EVP_PKEY_new_raw_private_key_ex(NULL, info->group, NULL, d, size);
        sa_wipe(d, size);
    }
    unsigned char due[32];
    size_t due_len = sizeof(due);
    /* The public half is derived from d, so x must be compared, not tested. */
    if (pkey != NULL && (!EVP_PKEY_get_raw_public_key(pkey, due, &due_len)
                         || !sa_equal(due, due_len, x, size))) {
        EVP_PKEY_free(pkey);
        return NULL;
    }
    return pkey;
}

static int names_op(const json_t *ops, const char *op)
{
    size_t i;
    json_t *item;
    json_array_foreach(ops, i, item) {
        if (json_is_string(item) && strcmp(json_string_value(item), op) == 0) {
            return 1;
        }
    }
    return 0;
}

/* What use and key_ops say. NULL when the key may sign or verify. */
static const char *purpose_problem(const json_t *jwk, int *may_sign)
{
    const json_t *use = json_object_get(jwk, "use");
    const json_t *ops = json_object_get(jwk, "key_ops");
    *may_sign = ops == NULL || names_op(ops, "sign");
    if (use != NULL && (!json_is_string(use) || strcmp(json_string_value(use), "sig") != 0)) {
        return "the JWK's use is not sig";
    }
    if (ops != NULL && !*may_sign && !names_op(ops, "verify")) {
        return "the JWK's key_ops allow no signatures";
    }
    return NULL;
}

/* The one algorithm of a JWK: its own, else fallback, else the natural one. */
static const char *find_alg(const json_t *jwk, sa_kty_t kty, sa_alg_t fallback,
                            const sa_alg_info_t **info)
{
    const json_t *name = json_object_get(jwk, "alg");
    const char *crv = sa_json_string(jwk, "crv");
    if (name != NULL) {
        *info = sa_alg_info(sa_alg_from_name(json_string_value(name)));
    }
    else if (fallback != SA_ALG_NONE || kty == SA_KTY_OCT) {
        *info = sa_alg_info(fallback);
    }
    else {
        *info = sa_alg_natural(kty, crv);
    }
    if (*info == NULL) {
        return "the JWK's algorithm is missing or unknown";
    }
    if ((*info)->kty != kty
        || ((*info)->crv != NULL && (crv == NULL || strcmp(crv, (*info)->crv) != 0))) {
        return "the JWK's algorithm does not fit its type or curve";
    }
    return NULL;
}

static sa_key_t *secret_from_jwk(apr_pool_t *p, const json_t *jwk, sa_alg_t alg,
                                 const char *kid, const char **why)
{
    apr_size_t len;
    unsigned char *data = get_octets(p, jwk, "k", SA_JWK_MAX_SECRET, &len);
    if (data == NULL) {
        *why = "the JWK's k is missing or malformed";
        return NULL;
    }
    sa_key_t *key = sa_key_from_secret(p, data, len, alg, kid, why);
    sa_wipe(data, len);
    return key;
}

static sa_key_t *pkey_from_jwk(apr_pool_t *p, const json_t *jwk, const sa_alg_info_t *info,
                               const char *kid, int is_private, const char **why)
{
    EVP_PKEY *pkey = info->kty == SA_KTY_RSA ? read_rsa(p, jwk, is_private)
        : info->kty == SA_KTY_EC ? read_ec(p, jwk, info, is_private)
        : read_okp(p, jwk, info, is_private);
    if (pkey == NULL) {
        ERR_clear_error();
        *why = "the JWK's numbers are missing, malformed or no key";
        return NULL;
    }
    return sa_key_adopt(p, pkey, is_private, info->alg, kid, why);
}

sa_key_t *sa_key_from_jwk(apr_pool_t *p, const json_t *jwk, sa_alg_t fallback, int flags,
                          const char **why)
{
    sa_kty_t kty;
    int may_sign;
    const sa_alg_info_t *info = NULL;
    const json_t *kid = json_object_get(jwk, "kid");
    if (!sa_kty_from_name(sa_json_string(jwk, "kty"), &kty)) {
        *why = "not a JWK, or of an unknown type";
        return NULL;
    }
    if (kid != NULL && !json_is_string(kid)) {
        *why = "the JWK's kid is not a string";
        return NULL;
    }
    const char *problem = purpose_problem(jwk, &may_sign);
    if (problem == NULL) {
        problem = find_alg(jwk, kty, fallback, &info);
    }
    if (problem == NULL && kty == SA_KTY_OCT && (flags & SA_JWK_PUBLIC_ONLY)) {
        problem = "a symmetric key is not public";
    }
    if (problem != NULL) {
        *why = problem;
        return NULL;
    }
    int is_private = has(jwk, "d") && !(flags & SA_JWK_PUBLIC_ONLY);
    sa_key_t *key = kty == SA_KTY_OCT
        ? secret_from_jwk(p, jwk, info->alg, json_string_value(kid), why)
        : pkey_from_jwk(p, jwk, info, json_string_value(kid), is_private, why);
    if (key != NULL && !may_sign) {
        key->can_sign = 0;
    }
    return key;
}

static void set_octets(apr_pool_t *p, json_t *jwk, const char *name, const unsigned char *data,
                       apr_size_t len)
{
    json_object_set_new(jwk, name, json_string(sa_base64url_encode(p, data, len)));
}

/* size 0: as many bytes as the number needs. */
static void set_number(apr_pool_t *p, json_t *jwk, const char *name, const EVP_PKEY *pkey,
                       const char *param, apr_size_t size)
{
    unsigned char data[SA_RSA_MAX_BITS / 8];
    BIGNUM *number = NULL;
    if (EVP_PKEY_get_bn_param(pkey, param, &number)) {
        int len = BN_bn2binpad(number, data, size > 0 ? (int)size : BN_num_bytes(number));
        if (len > 0) {
            set_octets(p, jwk, name, data, (apr_size_t)len);
        }
    }
    BN_free(number);
}

/* Exactly the members that RFC 7638 section 3.2 and RFC 8037 section 2 require. */
static json_t *required_members(apr_pool_t *p, const sa_key_t *key)
{
    const sa_alg_info_t *info = sa_alg_info(key->alg);
    const EVP_PKEY *pkey = key->pkey;
    json_t *jwk = sa_json_own(p, json_object());
    json_object_set_new(jwk, "kty", json_string(sa_kty_name(info->kty)));
    if (info->kty == SA_KTY_RSA) {
        set_number(p, jwk, "n", pkey, OSSL_PKEY_PARAM_RSA_N, 0);
        set_number(p, jwk, "e", pkey, OSSL_PKEY_PARAM_RSA_E, 0);
        return jwk;
    }
    json_object_set_new(jwk, "crv", json_string(info->crv));
    if (info->kty == SA_KTY_EC) {
        set_number(p, jwk, "x", pkey, OSSL_PKEY_PARAM_EC_PUB_X, info->coordinate);
        set_number(p, jwk, "y", pkey, OSSL_PKEY_PARAM_EC_PUB_Y, info->coordinate);
    }
    else {
        unsigned char data[32];
        size_t len = sizeof(data);
        if (EVP_PKEY_get_raw_public_key(pkey, data, &len)) {
            set_octets(p, jwk, "x", data, len);
        }
    }
    return jwk;
}

json_t *sa_key_public_jwk(apr_pool_t *p, const sa_key_t *key)
{
    if (key->pkey == NULL) {
        return NULL;
    }
    json_t *jwk = required_members(p, key);
    if (key->kid != NULL) {
        json_object_set_new(jwk, "kid", json_string(key->kid));
    }
    json_object_set_new(jwk, "alg", json_string(sa_alg_name(key->alg)));
    json_object_set_new(jwk, "use", json_string("sig"));
    return jwk;
}

const char *sa_key_thumbprint(apr_pool_t *p, const sa_key_t *key)
{
    unsigned char digest[SA_SHA256_LEN];
    if (key->pkey == NULL) {
        return NULL;
    }
    char *text = json_dumps(required_members(p, key), JSON_COMPACT | JSON_SORT_KEYS);
    if (text == NULL) {
        return NULL;
    }
    sa_sha256(text, strlen(text), digest);
    free(text);
    return sa_base64url_encode(p, digest, sizeof(digest));
}
