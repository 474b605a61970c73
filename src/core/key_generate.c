/* New keys, as text for a file. */
#include "core/crypto.h"
#include "core/key.h"

#include <apr_strings.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

#define RSA_BITS 3072
#define SECRET_BYTES 48         /* 64 characters */

static const char *secret_text(apr_pool_t *p)
{
    char *random = sa_random_text(p, SECRET_BYTES);

    if (random == NULL) {
        return NULL;
    }
    const char *text = sa_secret_keep(p, random, strlen(random));
    sa_wipe(random, strlen(random));
    return text;
}

static EVP_PKEY *make_pkey(const sa_alg_info_t *info, int bits)
{
    return info->kty == SA_KTY_RSA ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)bits)
        : info->kty == SA_KTY_EC ? EVP_PKEY_Q_keygen(NULL, NULL, "EC", info->group)
        : EVP_PKEY_Q_keygen(NULL, NULL, info->group);
}

static const char *pem_text(apr_pool_t *p, EVP_PKEY *pkey)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    const char *text = NULL;
    char *data;

    if (bio != NULL && PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL) == 1) {
        long len = BIO_get_mem_data(bio, &data);
        text = sa_secret_keep(p, data, (apr_size_t)len);
    }
    BIO_free(bio);
    return text;
}

const char *sa_key_generate(apr_pool_t *p, sa_alg_t alg, int bits, const char **why)
{
    const sa_alg_info_t *info = sa_alg_info(alg);

    if (info == NULL || (bits != 0 && info->kty != SA_KTY_RSA)) {
        *why = info == NULL ? "the algorithm is not known" : "only RSA keys come in several sizes";
        return NULL;
    }
    if (bits != 0 && (bits < SA_RSA_MIN_BITS || bits > SA_RSA_MAX_BITS)) {
        *why = apr_psprintf(p, "an RSA key has %d to %d bits", SA_RSA_MIN_BITS, SA_RSA_MAX_BITS);
        return NULL;
    }
    *why = "OpenSSL could not make the key";
    if (info->kty == SA_KTY_OCT) {
        return secret_text(p);
    }
    EVP_PKEY *pkey = make_pkey(info, bits != 0 ? bits : RSA_BITS);
    const char *text = pkey != NULL ? pem_text(p, pkey) : NULL;
    EVP_PKEY_free(pkey);
    ERR_clear_error();
    return text;
}
