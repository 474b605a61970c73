/* Password hashes: new ones are Argon2id PHC strings under Django's "argon2$"
 * prefix, so that Django reads them back; Django's pbkdf2_sha256, argon2, scrypt
 * and bcrypt_sha256 verify. No function here holds a lock or a connection. */
#ifndef SA_CORE_PASSWORD_H
#define SA_CORE_PASSWORD_H

#include <apr_pools.h>

#define SA_PASSWORD_MAX 4096    /* bytes; longer ones are refused before hashing */

typedef enum {
    SA_PASSWORD_MATCH,
    SA_PASSWORD_MATCH_REHASH,   /* right, and the hash should be replaced by sa_password_hash's */
    SA_PASSWORD_MISMATCH,       /* wrong, unusable, malformed or too costly: all alike */
    SA_PASSWORD_UNKNOWN         /* there was no memory to find out */
} sa_password_verdict_t;

/* argon2$argon2id$v=19$m=19456,t=2,p=1$salt$hash (RFC 9106), NULL on failure
 * (no memory, no random bytes, length over SA_PASSWORD_MAX). */
char *sa_password_hash(apr_pool_t *p, const char *password, apr_size_t len);

/* Verifies byte-exact. `encoded` NULL or unusable costs what a wrong password
 * costs (a hash of the same parameters is computed). Parameters beyond the caps
 * (pbkdf2 10,000,000 iterations, argon2 m 256 MiB, t 16, p 16 and m*t
 * 512 MiB, scrypt 128*N*r 128 MiB and p 16, bcrypt cost 15) are a mismatch. */
sa_password_verdict_t sa_password_verify(apr_pool_t *p, const char *encoded,
                                         const char *password, apr_size_t len);

typedef struct {
    int weight;                 /* its memory in hashes of ours, rounded up; at least 1 */
    int is_ours;                /* takes the time that a hash of ours takes */
} sa_password_cost_t;
/* What sa_password_verify of `encoded` (may be NULL) costs. */
sa_password_cost_t sa_password_cost(const char *encoded);

/* 1 when the stored value can ever match ("!…" and "" cannot). */
int sa_password_usable(const char *encoded);
/* A value that never matches, Django's form: "!" + 40 random characters. */
char *sa_password_unusable(apr_pool_t *p);

/* PBKDF2 with HMAC-SHA-256 (RFC 8018 section 5.2); APR_EGENERAL on failure. */
apr_status_t sa_pbkdf2_sha256(const char *password, apr_size_t len, const void *salt,
                              apr_size_t salt_len, int iterations, unsigned char *out,
                              apr_size_t out_len);

#endif
