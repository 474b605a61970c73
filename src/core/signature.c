/* JWS signatures over raw bytes (RFC 7518 section 3, RFC 8037 section 3.1). */
#include "core/key.h"
#include "core/crypto.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

static int set_padding(EVP_PKEY_CTX *ctx, const sa_alg_info_t *info)
{
    return !info->pss || (EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) > 0
        && EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) > 0);
}

/* An ECDSA signature as OpenSSL wants it; the caller frees *der. Length, or -1. */
static int raw_to_der(const unsigned char *raw, apr_size_t half, unsigned char **der)
{
    int len = -1;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, (int)half, NULL);
    BIGNUM *s = BN_bin2bn(raw + half, (int)half, NULL);
    if (sig != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(sig, r, s)) {
        r = s = NULL;           /* sig owns them now */
        len = i2d_ECDSA_SIG(sig, der);
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(sig);
    return len;
}

static int der_to_raw(const unsigned char *der, apr_size_t len, apr_size_t half,
                      unsigned char *raw)
{
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);
    int done = sig != NULL
        && BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, (int)half) == (int)half
        && BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + half, (int)half) == (int)half;
    ECDSA_SIG_free(sig);
    return done;
}

static int pkey_verify(const sa_key_t *key, const sa_alg_info_t *info, const void *data,
                       apr_size_t len, const unsigned char *signature, apr_size_t signature_len)
{
    EVP_PKEY_CTX *pctx = NULL;  /* owned by ctx */
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int good = ctx != NULL
        && EVP_DigestVerifyInit(ctx, &pctx, sa_digest(info->bits), NULL, key->pkey) == 1
        && set_padding(pctx, info)
        && EVP_DigestVerify(ctx, signature, signature_len, data, len) == 1;
    EVP_MD_CTX_free(ctx);
    return good;
}

static int ecdsa_verify(const sa_key_t *key, const sa_alg_info_t *info, const void *data,
                        apr_size_t len, const unsigned char *raw, apr_size_t raw_len)
{
    unsigned char *der = NULL;
    if (raw_len != 2 * info->coordinate) {
        return 0;
    }
    int der_len = raw_to_der(raw, info->coordinate, &der);
    int good = der_len > 0 && pkey_verify(key, info, data, len, der, (apr_size_t)der_len);
    OPENSSL_free(der);
    return good;
}

static int mac_verify(const sa_key_t *key, const void *data, apr_size_t len,
                      const unsigned char *tag, apr_size_t tag_len)
{
    unsigned char due[EVP_MAX_MD_SIZE];
    apr_size_t due_len;
    return sa_mac_message(key->mac, data, len, due, &due_len)
        && sa_equal(due, due_len, tag, tag_len);
}

int sa_key_verify(const sa_key_t *key, const void *data, apr_size_t len,
                  const unsigned char *signature, apr_size_t signature_len)
{
    const sa_alg_info_t *info = sa_alg_info(key->alg);
    int good = 0;
    switch (info->kty) {
    case SA_KTY_OCT:
        good = mac_verify(key, data, len, signature, signature_len);
        break;
    case SA_KTY_EC:
        good = ecdsa_verify(key, info, data, len, signature, signature_len);
        break;
    case SA_KTY_RSA:
    case SA_KTY_OKP:
        /* OpenSSL's PSS takes a signature without its leading zeros. */
        good = signature_len == (apr_size_t)EVP_PKEY_get_size(key->pkey)
            && pkey_verify(key, info, data, len, signature, signature_len);
        break;
    }
    if (!good) {
        ERR_clear_error();      /* mod_ssl would report them as its own */
    }
    return good;
}

static int pkey_sign(const sa_key_t *key, const sa_alg_info_t *info, const void *data,
                     apr_size_t len, unsigned char *signature, apr_size_t *signature_len)
{
    EVP_PKEY_CTX *pctx = NULL;  /* owned by ctx */
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int done = ctx != NULL
        && EVP_DigestSignInit(ctx, &pctx, sa_digest(info->bits), NULL, key->pkey) == 1
        && set_padding(pctx, info)
        && EVP_DigestSign(ctx, signature, signature_len, data, len) == 1;
    EVP_MD_CTX_free(ctx);
    return done;
}

static int ecdsa_sign(const sa_key_t *key, const sa_alg_info_t *info, const void *data,
                      apr_size_t len, unsigned char *raw, apr_size_t *raw_len)
{
    unsigned char der[160];     /* P-521: 139 */
    apr_size_t der_len = sizeof(der);
    *raw_len = 2 * info->coordinate;
    return pkey_sign(key, info, data, len, der, &der_len)
        && der_to_raw(der, der_len, info->coordinate, raw);
}

int sa_key_sign(const sa_key_t *key, const void *data, apr_size_t len,
                unsigned char signature[SA_SIGNATURE_MAX], apr_size_t *signature_len)
{
    const sa_alg_info_t *info = sa_alg_info(key->alg);
    int done = 0;
    if (!key->can_sign) {
        return 0;
    }
    switch (info->kty) {
    case SA_KTY_OCT:
        done = sa_mac_message(key->mac, data, len, signature, signature_len);
        break;
    case SA_KTY_EC:
        done = ecdsa_sign(key, info, data, len, signature, signature_len);
        break;
    case SA_KTY_RSA:
    case SA_KTY_OKP:
        *signature_len = SA_SIGNATURE_MAX;
        done = pkey_sign(key, info, data, len, signature, signature_len);
        break;
    }
    if (!done) {
        ERR_clear_error();
    }
    return done;
}
