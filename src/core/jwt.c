#include "core/jwt.h"
#include "core/base64url.h"
#include "core/json.h"
#include "core/key.h"

#include <apr_errno.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <string.h>
#include <strings.h>

#define LATEST_TIME APR_INT64_C(253402300799)   /* 9999-12-31T23:59:59Z */
#define MAX_SUBJECT 255

typedef struct {
    const char *header;
    apr_size_t header_len;
    const char *payload;
    apr_size_t payload_len;
    const char *signature;
    apr_size_t signature_len;
    apr_size_t signed_len;      /* header "." payload, from header */
} parts_t;

static int split(const char *token, apr_size_t len, parts_t *parts)
{
    const char *end = token + len;
    const char *first = memchr(token, '.', len);
    const char *second = first != NULL ? memchr(first + 1, '.', (apr_size_t)(end - first - 1))
        : NULL;
    if (second == NULL || memchr(second + 1, '.', (apr_size_t)(end - second - 1)) != NULL) {
        return 0;
    }
    parts->header = token;
    parts->header_len = (apr_size_t)(first - token);
    parts->payload = first + 1;
    parts->payload_len = (apr_size_t)(second - first - 1);
    parts->signature = second + 1;
    parts->signature_len = (apr_size_t)(end - second - 1);
    parts->signed_len = (apr_size_t)(second - token);
    return parts->header_len > 0 && parts->signature_len > 0;
}

static int absent_or_string(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return value == NULL || json_is_string(value);
}

/* jwk, jku, x5u and x5c are not looked at: a header never brings a key. */
static const char *header_problem(const json_t *header)
{
    if (!json_is_object(header)) {
        return "header is not an object";
    }
    if (sa_alg_from_name(sa_json_string(header, "alg")) == SA_ALG_NONE) {
        return "alg is missing or unknown";
    }
    if (!absent_or_string(header, "kid") || !absent_or_string(header, "typ")) {
        return "kid or typ is not a string";
    }
    if (json_object_get(header, "crit") != NULL || json_object_get(header, "b64") != NULL
        || json_object_get(header, "zip") != NULL) {
        return "crit, b64 or zip in the header";
    }
    return NULL;
}

static json_t *read_header(apr_pool_t *p, const parts_t *parts, const char **why)
{
    unsigned char *text;
    apr_size_t len;
    if (sa_base64url_decode(&text, &len, p, parts->header, parts->header_len) != APR_SUCCESS) {
        *why = "header is not base64url";
        return NULL;
    }
    json_t *header = sa_json_parse(p, (const char *)text, len, why);
    if (header == NULL) {
        *why = "header is not JSON";
        return NULL;
    }
    const char *problem = header_problem(header);
    if (problem != NULL) {
        *why = problem;
        return NULL;
    }
    return header;
}

/* Tries the key named by kid, or every key when kid is NULL; each only for its own alg. */
static sa_jwt_status_t try_keys(const sa_keyset_t *keys, sa_alg_t alg, const char *kid,
                                const parts_t *parts, const unsigned char *signature,
                                apr_size_t signature_len, const sa_key_t **used)
{
    sa_jwt_status_t status = kid != NULL ? SA_JWT_NO_KEY : SA_JWT_BAD_SIGNATURE;
    for (int i = 0; i < keys->keys->nelts; i++) {
        const sa_key_t *key = sa_keyset_at(keys, i);
        if (kid != NULL) {
            if (key->kid == NULL || strcmp(key->kid, kid) != 0) {
                continue;
            }
            status = SA_JWT_BAD_SIGNATURE;
        }
        if (key->alg == alg && sa_key_verify(key, parts->header, parts->signed_len, signature,
                                             signature_len)) {
            *used = key;
            return SA_JWT_OK;
        }
    }
    return status;
}

sa_jwt_status_t sa_jws_verify(apr_pool_t *p, const char *token, apr_size_t len,
                              const sa_keyset_t *keys, json_t **header,
                              const unsigned char **payload, apr_size_t *payload_len,
                              const sa_key_t **key, const char **why)
{
    parts_t parts;
    unsigned char *signature;
    apr_size_t signature_len;
    unsigned char *data;
    if (len > SA_JWT_MAX || !split(token, len, &parts)) {
        *why = len > SA_JWT_MAX ? "too long" : "not three parts";
        return SA_JWT_MALFORMED;
    }
    *header = read_header(p, &parts, why);
    if (*header == NULL) {
        return SA_JWT_MALFORMED;
    }
    if (sa_base64url_decode(&data, payload_len, p, parts.payload, parts.payload_len)
        != APR_SUCCESS
        || sa_base64url_decode(&signature, &signature_len, p, parts.signature,
                               parts.signature_len) != APR_SUCCESS) {
        *why = "payload or signature is not base64url";
        return SA_JWT_MALFORMED;
    }
    *payload = data;
    sa_jwt_status_t status = try_keys(keys, sa_alg_from_name(sa_json_string(*header, "alg")),
                                      sa_json_string(*header, "kid"), &parts, signature,
                                      signature_len, key);
    if (status != SA_JWT_OK) {
        *why = status == SA_JWT_NO_KEY ? "kid names no key" : "signature does not verify";
    }
    return status;
}

sa_jwt_status_t sa_jwt_verify(apr_pool_t *p, const char *token, apr_size_t len,
                              const sa_keyset_t *keys, sa_jwt_t *jwt, const char **why)
{
    const sa_key_t *key;
    const unsigned char *payload;
    apr_size_t payload_len;
    memset(jwt, 0, sizeof(*jwt));
    sa_jwt_status_t status = sa_jws_verify(p, token, len, keys, &jwt->header, &payload,
                                           &payload_len, &key, why);
    if (status != SA_JWT_OK) {
        return status;
    }
    json_t *claims = sa_json_parse(p, (const char *)payload, payload_len, why);
    if (!json_is_object(claims)) {
        *why = "payload is not a JSON object";
        return SA_JWT_MALFORMED;
    }
    jwt->claims = claims;
    jwt->key = key;
    return SA_JWT_OK;
}

static const char *header_text(apr_pool_t *p, const sa_key_t *key, const char *typ)
{
    return typ != NULL ? apr_pstrcat(p, "{\"typ\":\"", typ, "\",", key->header, NULL)
        : apr_pstrcat(p, "{", key->header, NULL);
}

char *sa_jws_sign(apr_pool_t *p, const sa_key_t *key, const char *typ, const void *payload,
                  apr_size_t len)
{
    unsigned char signature[SA_SIGNATURE_MAX];
    apr_size_t signature_len;
    if (key->header == NULL) {
        return NULL;
    }
    const char *header = header_text(p, key, typ);
    const char *text = apr_pstrcat(p, sa_base64url_encode(p, header, strlen(header)), ".",
                                   sa_base64url_encode(p, payload, len), NULL);
    if (!sa_key_sign(key, text, strlen(text), signature, &signature_len)) {
        return NULL;
    }
    return apr_pstrcat(p, text, ".", sa_base64url_encode(p, signature, signature_len), NULL);
}

char *sa_jwt_sign(apr_pool_t *p, const sa_key_t *key, const char *typ, const json_t *claims)
{
    const char *payload = sa_json_dump(p, claims);
    return payload != NULL ? sa_jws_sign(p, key, typ, payload, strlen(payload)) : NULL;
}

int sa_claim_time(const json_t *claims, const char *name, apr_int64_t *value)
{
    const json_t *claim = json_object_get(claims, name);
    if (claim == NULL) {
        return 0;
    }
    if (json_is_integer(claim)) {
        *value = json_integer_value(claim);
    }
    else if (json_is_real(claim)) {
        double real = json_real_value(claim);
        /* The range first: converting a greater number would be undefined. */
        if (!(real >= 0 && real <= (double)LATEST_TIME)) {
            return -1;
        }
        *value = (apr_int64_t)real;
        if ((double)*value < real) {
            return -1;
        }
    }
    else {
        return -1;
    }
    return *value >= 0 && *value <= LATEST_TIME ? 1 : -1;
}

int sa_claim_has(const json_t *claims, const char *name, const char *value)
{
    const json_t *claim = json_object_get(claims, name);
    size_t i;
    json_t *item;
    int found = 0;
    if (json_is_string(claim)) {
        return strcmp(json_string_value(claim), value) == 0;
    }
    json_array_foreach(claim, i, item) {
        if (!json_is_string(item)) {
            return 0;
        }
        found |= strcmp(json_string_value(item), value) == 0;
    }
    return found;
}

const char *sa_claims_check_time(const json_t *claims, apr_int64_t now, int leeway)
{
    apr_int64_t when;
    if (sa_claim_time(claims, "exp", &when) != 1) {
        return "exp is missing or unusable";
    }
    if (now >= when + leeway) {
        return "expired";
    }
    int found = sa_claim_time(claims, "nbf", &when);
    if (found < 0) {
        return "nbf is unusable";
    }
    if (found && when > now + leeway) {
        return "not valid yet";
    }
    found = sa_claim_time(claims, "iat", &when);
    if (found < 0) {
        return "iat is unusable";
    }
    return found && when > now + leeway ? "issued in the future" : NULL;
}

/* RFC 7515 section 4.1.9: case-insensitive, and "application/" may be left out. */
static int type_is(const char *typ, const char *due)
{
    static const char prefix[] = "application/";
    if (strncasecmp(typ, prefix, sizeof(prefix) - 1) == 0) {
        typ += sizeof(prefix) - 1;
    }
    return strcasecmp(typ, due) == 0;
}

static int string_is(const json_t *claims, const char *name, const char *due)
{
    const char *value = sa_json_string(claims, name);
    return value != NULL && strcmp(value, due) == 0;
}

/* A required string of 1 to max bytes. */
static int string_fits(const json_t *claims, const char *name, apr_size_t max)
{
    const json_t *value = json_object_get(claims, name);
    apr_size_t len = json_string_length(value);
    return len >= 1 && len <= max;
}

static const char *identity_problem(const json_t *claims, const char *issuer,
                                    const char *audience, int lenient)
{
    if (!string_is(claims, "iss", issuer)
        && !(lenient && json_object_get(claims, "iss") == NULL)) {
        return "iss is not ours";
    }
    if (!sa_claim_has(claims, "aud", audience)
        && !(lenient && json_object_get(claims, "aud") == NULL)) {
        return "aud is not ours";
    }
    if (!string_fits(claims, "jti", SA_JWT_MAX)) {
        return "jti is missing or unusable";
    }
    if (!string_fits(claims, "sub", MAX_SUBJECT)
        && !(lenient && json_object_get(claims, "sub") == NULL)) {
        return "sub is missing or unusable";
    }
    return NULL;
}

const char *sa_jwt_check_access(const sa_jwt_t *jwt, const char *issuer, const char *audience,
                                const char *token_type, const char *typ, int require_typ,
                                apr_int64_t now, int leeway)
{
    const char *header_typ = sa_json_string(jwt->header, "typ");
    if (header_typ == NULL ? require_typ
        : !type_is(header_typ, typ) && (require_typ || !type_is(header_typ, "JWT"))) {
        return "typ is not the one due";
    }
    if (!string_is(jwt->claims, "token_type", token_type)) {
        return "token_type is not the one due";
    }
    const char *problem = sa_claims_check_time(jwt->claims, now, leeway);
    if (problem == NULL) {
        problem = identity_problem(jwt->claims, issuer, audience, !require_typ);
    }
    return problem;
}
