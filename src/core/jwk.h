/* Keys: JWK (RFC 7517, 7518, 8037), PEM and shared secrets as one opaque
 * sa_key_t that is bound to exactly one algorithm (RFC 8725 section 3.1). A key
 * is const once made and may be used by many threads. */
#ifndef SA_CORE_JWK_H
#define SA_CORE_JWK_H

#include <apr_pools.h>
#include <apr_tables.h>
#include <jansson.h>

typedef enum {
    SA_ALG_NONE = 0,            /* unknown or absent: never verifies */
    SA_ALG_HS256, SA_ALG_HS384, SA_ALG_HS512,
    SA_ALG_RS256, SA_ALG_RS384, SA_ALG_RS512,
    SA_ALG_PS256, SA_ALG_PS384, SA_ALG_PS512,
    SA_ALG_ES256, SA_ALG_ES384, SA_ALG_ES512,
    SA_ALG_EDDSA                /* Ed25519 only */
} sa_alg_t;

/* Exact, case-sensitive names of RFC 7518 section 3.1; SA_ALG_NONE / NULL when unknown. */
sa_alg_t sa_alg_from_name(const char *name);
const char *sa_alg_name(sa_alg_t alg);

typedef struct sa_key_t sa_key_t;

const char *sa_key_kid(const sa_key_t *key);    /* NULL when it has none */
sa_alg_t sa_key_alg(const sa_key_t *key);
int sa_key_can_sign(const sa_key_t *key);

/* A symmetric key; data is copied and wiped with p. Refused (NULL, *why) when
 * shorter than the hash of alg (RFC 7518 section 3.2). */
sa_key_t *sa_key_from_secret(apr_pool_t *p, const void *data, apr_size_t len, sa_alg_t alg,
                             const char *kid, const char **why);

/* A private or public key in PEM. alg must fit the key's type and curve; kid
 * NULL means its RFC 7638 thumbprint. NULL and *why on: not PEM, encrypted, RSA
 * under 2048 bits, a curve alg does not name, type and alg at odds. */
sa_key_t *sa_key_from_pem(apr_pool_t *p, const char *pem, apr_size_t len, sa_alg_t alg,
                          const char *kid, const char **why);

/* A new key as its file holds it, wiped with p: PKCS #8 in PEM, or for HS* a line of 64
 * base64url characters. bits: of an RSA modulus, 0 = 3072; 0 for all others. NULL and *why when bits do
 * not fit or OpenSSL fails. */
const char *sa_key_generate(apr_pool_t *p, sa_alg_t alg, int bits, const char **why);

#define SA_JWK_PUBLIC_ONLY 1    /* ignore private members; refuse kty oct */

/* A JWK. `fallback` is the algorithm when the JWK names none: SA_ALG_NONE then
 * takes the natural one (RSA RS256, P-256 ES256, P-384 ES384, P-521 ES512,
 * Ed25519 EdDSA; oct is refused). Refuses use other than "sig", key_ops without
 * "verify" (or "sign"), weak or malformed keys, off-curve points. */
sa_key_t *sa_key_from_jwk(apr_pool_t *p, const json_t *jwk, sa_alg_t fallback, int flags,
                          const char **why);

/* The public JWK (kty, crv, x, y, n, e, kid, alg, use=sig), owned by p; NULL for a
 * symmetric key. */
json_t *sa_key_public_jwk(apr_pool_t *p, const sa_key_t *key);
/* RFC 7638 SHA-256 thumbprint, base64url; NULL for a symmetric key. */
const char *sa_key_thumbprint(apr_pool_t *p, const sa_key_t *key);

/* An ordered set of keys; the first that can sign, signs. */
typedef struct sa_keyset_t sa_keyset_t;
struct sa_keyset_t {
    apr_array_header_t *keys;   /* const sa_key_t * */
};

sa_keyset_t *sa_keyset_make(apr_pool_t *p);
/* APR_EEXIST when a key of the same kid is there. */
apr_status_t sa_keyset_add(sa_keyset_t *set, const sa_key_t *key);
const sa_key_t *sa_keyset_signer(const sa_keyset_t *set);

/* A provider's JWKS (RFC 7517 section 5): unusable entries are skipped; refused
 * (NULL, *why) when it is not a JWKS, no key is usable, two keys share a kid, or
 * symmetric and asymmetric keys are mixed. fallback: the algorithm of keys that name none and can do
 * it (SA_ALG_NONE: each has its natural one). */
sa_keyset_t *sa_keyset_from_jwks(apr_pool_t *p, const char *text, apr_size_t len,
                                 sa_alg_t fallback, int flags,
                                 const char **why);
/* The public keys as a JWKS document, owned by p ({"keys":[]} when all are symmetric). */
json_t *sa_keyset_public_jwks(apr_pool_t *p, const sa_keyset_t *set);

#endif
