#include "core/crypto.h"
#include "core/base64url.h"
#include "core/key.h"

#include <apr_errno.h>
#include <apr_strings.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Fetched once: a fetch by name costs more than the digest of a token. */
typedef struct {
    int bits;
    const char *name;
    EVP_MD *md;
    EVP_MAC_CTX *mac;           /* HMAC with this digest, without a key */
} hash_t;

static hash_t hashes[] = {
    {256, "SHA256", NULL, NULL},
    {384, "SHA384", NULL, NULL},
    {512, "SHA512", NULL, NULL},
};
#define HASHES (sizeof(hashes) / sizeof(hashes[0]))

static pthread_once_t once = PTHREAD_ONCE_INIT;
static apr_status_t init_status;

static int fetch_hash(hash_t *hash, EVP_MAC *hmac)
{
    char name[8];
    apr_cpystrn(name, hash->name, sizeof(name));
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
        OSSL_PARAM_construct_end()
    };
    hash->md = EVP_MD_fetch(NULL, hash->name, NULL);
    hash->mac = EVP_MAC_CTX_new(hmac);
    return hash->md != NULL && hash->mac != NULL && EVP_MAC_CTX_set_params(hash->mac, params);
}

static void fetch_all(void)
{
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    init_status = hmac != NULL ? APR_SUCCESS : APR_EGENERAL;
    for (apr_size_t i = 0; i < HASHES && init_status == APR_SUCCESS; i++) {
        if (!fetch_hash(&hashes[i], hmac)) {
            init_status = APR_EGENERAL;
        }
    }
    EVP_MAC_free(hmac);         /* the contexts hold it */
    ERR_clear_error();
}

apr_status_t sa_crypto_init(void)
{
    return pthread_once(&once, fetch_all) == 0 ? init_status : APR_EGENERAL;
}

static const hash_t *find_hash(int bits)
{
    int ready = sa_crypto_init() == APR_SUCCESS;
    for (apr_size_t i = 0; ready && i < HASHES; i++) {
        if (hashes[i].bits == bits) {
            return &hashes[i];
        }
    }
    return NULL;
}

const EVP_MD *sa_digest(int bits)
{
    const hash_t *hash = find_hash(bits);
    return hash != NULL ? hash->md : NULL;
}

apr_status_t sa_random(void *buf, apr_size_t len)
{
    unsigned char *out = buf;
    while (len > 0) {
        int part = len > 4096 ? 4096 : (int)len;
        if (RAND_bytes(out, part) != 1) {
            ERR_clear_error();
            return APR_EGENERAL;
        }
        out += part;
        len -= (apr_size_t)part;
    }
    return APR_SUCCESS;
}

char *sa_random_text(apr_pool_t *p, apr_size_t bytes)
{
    unsigned char *data = apr_palloc(p, bytes + 1);
    char *text;

    do {
        if (sa_random(data, bytes) != APR_SUCCESS) {
            return NULL;
        }
        text = sa_base64url_encode(p, data, bytes);
    } while (*text == '-');
    return text;
}

static char *put_hex(char *out, const unsigned char *data, apr_size_t len)
{
    for (apr_size_t i = 0; i < len; i++) {
        *out++ = "0123456789abcdef"[data[i] >> 4];
        *out++ = "0123456789abcdef"[data[i] & 15];
    }
    *out = '\0';
    return out;
}

char *sa_random_hex(apr_pool_t *p, apr_size_t bytes)
{
    unsigned char *data = apr_palloc(p, bytes + 1);
    char *text = apr_palloc(p, 2 * bytes + 1);
    if (sa_random(data, bytes) != APR_SUCCESS) {
        return NULL;
    }
    put_hex(text, data, bytes);
    return text;
}

char *sa_random_uuid(apr_pool_t *p)
{
    unsigned char data[16];
    if (sa_random(data, sizeof(data)) != APR_SUCCESS) {
        return NULL;
    }
    data[6] = (data[6] & 0x0f) | 0x40;
    data[8] = (data[8] & 0x3f) | 0x80;
    char *text = apr_palloc(p, 37);
    char *out = put_hex(text, data, 4);
    for (int i = 4; i < 10; i += 2) {
        *out++ = '-';
        out = put_hex(out, data + i, 2);
    }
    *out++ = '-';
    put_hex(out, data + 10, 6);
    return text;
}

/* A digest can only fail for want of memory. The callers compare what they get or
 * use it as a key, so unpredictable bytes fail closed and known ones would not. */
static void fail_closed(unsigned char out[SA_SHA256_LEN])
{
    ERR_clear_error();
    if (sa_random(out, SA_SHA256_LEN) != APR_SUCCESS) {
        abort();
    }
}

void sa_sha256(const void *data, apr_size_t len, unsigned char out[SA_SHA256_LEN])
{
    if (!EVP_Digest(data, len, out, NULL, sa_digest(256), NULL)) {
        fail_closed(out);
    }
}

apr_status_t sa_sha2(int bits, const void *data, apr_size_t len, unsigned char out[64])
{
    const EVP_MD *md = sa_digest(bits);
    if (md == NULL || !EVP_Digest(data, len, out, NULL, md, NULL)) {
        ERR_clear_error();
        return APR_EGENERAL;
    }
    return APR_SUCCESS;
}

EVP_MAC_CTX *sa_mac_make(int bits, const void *key, apr_size_t len)
{
    const hash_t *hash = find_hash(bits);
    EVP_MAC_CTX *mac = hash != NULL ? EVP_MAC_CTX_dup(hash->mac) : NULL;
    /* A NULL key would leave the context without one, and is not the empty key. */
    if (mac != NULL && !EVP_MAC_init(mac, len > 0 ? key : "", len, NULL)) {
        EVP_MAC_CTX_free(mac);
        mac = NULL;
    }
    return mac;
}

int sa_mac_message(const EVP_MAC_CTX *keyed, const void *data, apr_size_t len,
                   unsigned char out[EVP_MAX_MD_SIZE], apr_size_t *out_len)
{
    EVP_MAC_CTX *mac = EVP_MAC_CTX_dup(keyed);
    int done = mac != NULL && EVP_MAC_update(mac, data, len)
        && EVP_MAC_final(mac, out, out_len, EVP_MAX_MD_SIZE);
    EVP_MAC_CTX_free(mac);
    return done;
}

void sa_hmac_sha256(const void *key, apr_size_t key_len, const void *data, apr_size_t len,
                    unsigned char out[SA_SHA256_LEN])
{
    EVP_MAC_CTX *mac = sa_mac_make(256, key, key_len);
    apr_size_t out_len;
    if (mac == NULL || !EVP_MAC_update(mac, data, len)
        || !EVP_MAC_final(mac, out, &out_len, SA_SHA256_LEN)) {
        fail_closed(out);
    }
    EVP_MAC_CTX_free(mac);
}

/* OpenSSL's parameters are not const, though it only reads them. */
static OSSL_PARAM octets(const char *name, const void *data, apr_size_t len)
{
    union { const void *in; void *out; } plain = {data};
    return OSSL_PARAM_construct_octet_string(name, plain.out, len);
}

apr_status_t sa_hkdf(const void *key, apr_size_t key_len, const char *salt, const char *info,
                     unsigned char *out, apr_size_t out_len)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        octets(OSSL_KDF_PARAM_KEY, key, key_len),
        octets(OSSL_KDF_PARAM_SALT, salt != NULL ? salt : "", salt != NULL ? strlen(salt) : 0),
        octets(OSSL_KDF_PARAM_INFO, info != NULL ? info : "", info != NULL ? strlen(info) : 0),
        OSSL_PARAM_construct_end()
    };
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = kdf != NULL ? EVP_KDF_CTX_new(kdf) : NULL;
    int done = ctx != NULL && EVP_KDF_derive(ctx, out, out_len, params) == 1;
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    if (!done) {
        ERR_clear_error();
        return APR_EGENERAL;
    }
    return APR_SUCCESS;
}

apr_uint64_t sa_keyed_hash(const unsigned char key[SA_SHA256_LEN], const char *text,
                           apr_size_t len)
{
    unsigned char mac[SA_SHA256_LEN];
    apr_uint64_t hash;
    sa_hmac_sha256(key, SA_SHA256_LEN, text, len, mac);
    memcpy(&hash, mac, sizeof(hash));
    return hash != 0 ? hash : 1;
}

int sa_equal(const void *a, apr_size_t a_len, const void *b, apr_size_t b_len)
{
    return a_len == b_len && CRYPTO_memcmp(a, b, a_len) == 0;
}

void sa_wipe(void *buf, apr_size_t len)
{
    OPENSSL_cleanse(buf, len);
}

typedef struct {
    char *data;
    apr_size_t len;
} sa_kept_t;

static apr_status_t wipe_kept(void *data)
{
    sa_kept_t *kept = data;

    sa_wipe(kept->data, kept->len);
    return APR_SUCCESS;
}

char *sa_secret_keep(apr_pool_t *p, const char *secret, apr_size_t len)
{
    sa_kept_t *kept = apr_palloc(p, sizeof(*kept));

    kept->data = apr_palloc(p, len + 1);
    kept->len = len;
    memcpy(kept->data, secret, len);
    kept->data[len] = '\0';
    apr_pool_cleanup_register(p, kept, wipe_kept, apr_pool_cleanup_null);
    return kept->data;
}
