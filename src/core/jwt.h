/* Compact JWS (RFC 7515) and JWT (RFC 7519) with RFC 8725's rules: the key
 * decides the algorithm, "none", crit, b64=false and zip are refused, base64url
 * is canonical, no header member is ever followed to a key. */
#ifndef SA_CORE_JWT_H
#define SA_CORE_JWT_H

#include "core/jwk.h"
#include <apr_time.h>

#define SA_JWT_MAX 16384        /* bytes of a compact token that are looked at at all */

typedef struct {
    json_t *header;             /* owned by the pool of sa_jwt_verify */
    json_t *claims;             /* a JSON object */
    const sa_key_t *key;        /* the key that verified it */
} sa_jwt_t;

typedef enum {
    SA_JWT_OK,
    SA_JWT_MALFORMED,           /* not a compact JWS, bad header, bad payload */
    SA_JWT_NO_KEY,              /* header names a kid that is not in the set */
    SA_JWT_BAD_SIGNATURE        /* no eligible key verifies it */
} sa_jwt_status_t;

/* Verifies the signature of a compact JWS whose payload may be any bytes.
 * With a kid in the header only the key of that kid is tried; without one, all
 * keys of the header's alg. */
sa_jwt_status_t sa_jws_verify(apr_pool_t *p, const char *token, apr_size_t len,
                              const sa_keyset_t *keys, json_t **header,
                              const unsigned char **payload, apr_size_t *payload_len,
                              const sa_key_t **key, const char **why);

/* sa_jws_verify + the payload is a JSON object. *why is a short log text. With any status
 * jwt->header is set where there was one; trust it with SA_JWT_OK only. */
sa_jwt_status_t sa_jwt_verify(apr_pool_t *p, const char *token, apr_size_t len,
                              const sa_keyset_t *keys, sa_jwt_t *jwt, const char **why);

/* header {"typ":typ,"alg":…,"kid":…} (typ NULL leaves it out, else it is plain text that JSON
 * need not escape; kid only when the key has one). Owned by p. NULL when signing failed. */
char *sa_jwt_sign(apr_pool_t *p, const sa_key_t *key, const char *typ, const json_t *claims);
char *sa_jws_sign(apr_pool_t *p, const sa_key_t *key, const char *typ, const void *payload,
                  apr_size_t len);

/* An integer NumericDate in 0 .. 253402300799 (year 9999); reals with no
 * fraction are accepted. 0 = absent, -1 = present and unusable, 1 = *value set. */
int sa_claim_time(const json_t *claims, const char *name, apr_int64_t *value);

/* 1 when claim `name` is the string `value`, or an array of strings of which one
 * is `value`. Any element that is not a string makes it 0. */
int sa_claim_has(const json_t *claims, const char *name, const char *value);

/* exp (required), nbf and iat (when present) against `now` (seconds) with
 * `leeway` seconds. NULL when they hold, else a short log text. */
const char *sa_claims_check_time(const json_t *claims, apr_int64_t now, int leeway);

/* What a verified token of ours must say: token_type equal; typ in the header (any
 * case, with or without "application/"); exp, nbf, iat; iss equal; aud containing
 * audience; jti a non-empty string; sub a string of 1 to 255 bytes. NULL when it
 * holds, else a short log text.
 *
 * require_typ 0 is for tokens that SimpleJWT signed: typ may be absent or "JWT", and
 * iss, aud and sub may be absent (they are checked when present). */
const char *sa_jwt_check_access(const sa_jwt_t *jwt, const char *issuer, const char *audience,
                                const char *token_type, const char *typ, int require_typ,
                                apr_int64_t now, int leeway);

#endif
