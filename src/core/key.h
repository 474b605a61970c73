/* Inside core only: what a key is made of, and the operations on raw bytes. */
#ifndef SA_CORE_KEY_H
#define SA_CORE_KEY_H

#include "core/jwk.h"
#include <openssl/evp.h>

#define SA_RSA_MIN_BITS 2048
#define SA_RSA_MAX_BITS 16384
#define SA_JWK_MAX_SECRET 1024  /* bytes of an oct key */
#define SA_SIGNATURE_MAX (SA_RSA_MAX_BITS / 8)

struct sa_key_t {
    sa_alg_t alg;
    const char *kid;
    const char *header;         /* of its tokens, after typ: "alg":…,"kid":…}; NULL = none */
    int can_sign;
    EVP_MAC_CTX *mac;           /* HS*: ready for a message, duplicated for each */
    EVP_PKEY *pkey;             /* all others */
};

typedef enum { SA_KTY_OCT, SA_KTY_RSA, SA_KTY_EC, SA_KTY_OKP } sa_kty_t;

typedef struct {
    sa_alg_t alg;
    const char *name;
    sa_kty_t kty;
    int bits;                   /* of the hash; 0 for Ed25519 */
    int pss;
    const char *crv;            /* RFC 7518's name, and OpenSSL's */
    const char *group;
    apr_size_t coordinate;      /* bytes of x, y, d, r and s */
} sa_alg_info_t;

/* NULL for SA_ALG_NONE. */
const sa_alg_info_t *sa_alg_info(sa_alg_t alg);
/* The first algorithm for a key type (and curve, where it has one), NULL when there is none. */
const sa_alg_info_t *sa_alg_natural(sa_kty_t kty, const char *crv);
/* 0 when `name` is no key type we know. */
int sa_kty_from_name(const char *name, sa_kty_t *kty);
const char *sa_kty_name(sa_kty_t kty);

/* SHA-2 of 256, 384 or 512 bits; owned by the process. */
const EVP_MD *sa_digest(int bits);
/* HMAC with a key set, ready for a message. NULL on failure; the caller frees it. */
EVP_MAC_CTX *sa_mac_make(int bits, const void *key, apr_size_t len);
/* The full tag of one message; `keyed` is not changed. 1 = done. */
int sa_mac_message(const EVP_MAC_CTX *keyed, const void *data, apr_size_t len,
                   unsigned char out[EVP_MAX_MD_SIZE], apr_size_t *out_len);

/* Takes pkey over in every case. NULL and *why when it does not fit alg, is weak, or
 * (is_private) its two halves do not belong together. kid NULL stays NULL. */
sa_key_t *sa_key_adopt(apr_pool_t *p, EVP_PKEY *pkey, int is_private, sa_alg_t alg,
                       const char *kid, const char **why);

/* Key i of a set, 0 <= i < set->keys->nelts. */
const sa_key_t *sa_keyset_at(const sa_keyset_t *set, int i);

/* A JWS signature (RFC 7518 section 3) over raw bytes. 1 = done / it verifies. */
int sa_key_sign(const sa_key_t *key, const void *data, apr_size_t len,
                unsigned char signature[SA_SIGNATURE_MAX], apr_size_t *signature_len);
int sa_key_verify(const sa_key_t *key, const void *data, apr_size_t len,
                  const unsigned char *signature, apr_size_t signature_len);

#endif
