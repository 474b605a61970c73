/* Random bytes, digests, HMAC and key derivation: the only door to OpenSSL for
 * the rooms above core that need a digest. */
#ifndef SA_CORE_CRYPTO_H
#define SA_CORE_CRYPTO_H

#include <apr_pools.h>

#define SA_SHA256_LEN 32

/* Fetches algorithms once per process; call before any other function here.
 * APR_EGENERAL when OpenSSL lacks them. Idempotent. */
apr_status_t sa_crypto_init(void);

/* RAND_bytes. APR_EGENERAL on failure: the caller must not go on. */
apr_status_t sa_random(void *buf, apr_size_t len);
/* `bytes` random bytes as base64url / lower-case hex text in p; NULL on failure. The text never
 * begins with '-': a command would take it for an option. */
char *sa_random_text(apr_pool_t *p, apr_size_t bytes);
char *sa_random_hex(apr_pool_t *p, apr_size_t bytes);
/* A random UUID, version 4 (RFC 9562 section 5.4), 36 characters; NULL on failure. */
char *sa_random_uuid(apr_pool_t *p);

void sa_sha256(const void *data, apr_size_t len, unsigned char out[SA_SHA256_LEN]);
/* SHA-2 of 256, 384 or 512 bits; the first bits / 8 bytes of out are set. APR_EGENERAL for
 * another size or on failure. */
apr_status_t sa_sha2(int bits, const void *data, apr_size_t len, unsigned char out[64]);
/* HMAC-SHA-256 (RFC 2104). */
void sa_hmac_sha256(const void *key, apr_size_t key_len, const void *data, apr_size_t len,
                    unsigned char out[SA_SHA256_LEN]);
/* HKDF-SHA-256 (RFC 5869) with `salt` and `info` as text; APR_EGENERAL on failure. */
apr_status_t sa_hkdf(const void *key, apr_size_t key_len, const char *salt, const char *info,
                     unsigned char *out, apr_size_t out_len);
/* SipHash-like keyed 64-bit hash for tables (from HMAC, truncated); never 0. */
apr_uint64_t sa_keyed_hash(const unsigned char key[SA_SHA256_LEN], const char *text,
                           apr_size_t len);

/* Constant-time comparison; lengths are not secret. 1 = equal. */
int sa_equal(const void *a, apr_size_t a_len, const void *b, apr_size_t b_len);
/* A copy in p that is wiped when p is cleared. */
char *sa_secret_keep(apr_pool_t *p, const char *secret, apr_size_t len);
/* Overwrites memory in a way the compiler keeps. */
void sa_wipe(void *buf, apr_size_t len);

#endif
