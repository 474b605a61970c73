#include "core/json.h"
#include "core/key.h"

#include <apr_errno.h>
#include <string.h>

/* Each EC key costs a point multiplication to check. */
#define MAX_KEYS 100

sa_keyset_t *sa_keyset_make(apr_pool_t *p)
{
    sa_keyset_t *set = apr_palloc(p, sizeof(*set));
    set->keys = apr_array_make(p, 4, sizeof(const sa_key_t *));
    return set;
}

const sa_key_t *sa_keyset_at(const sa_keyset_t *set, int i)
{
    /* APR_ARRAY_IDX casts char * to more alignment, which clang warns of. */
    const void *elements = set->keys->elts;
    return ((const sa_key_t *const *)elements)[i];
}

apr_status_t sa_keyset_add(sa_keyset_t *set, const sa_key_t *key)
{
    const char *kid = sa_key_kid(key);
    for (int i = 0; kid != NULL && i < set->keys->nelts; i++) {
        const char *other = sa_key_kid(sa_keyset_at(set, i));
        if (other != NULL && strcmp(other, kid) == 0) {
            return APR_EEXIST;
        }
    }
    APR_ARRAY_PUSH(set->keys, const sa_key_t *) = key;
    return APR_SUCCESS;
}

const sa_key_t *sa_keyset_signer(const sa_keyset_t *set)
{
    for (int i = 0; i < set->keys->nelts; i++) {
        if (sa_key_can_sign(sa_keyset_at(set, i))) {
            return sa_keyset_at(set, i);
        }
    }
    return NULL;
}

static int is_symmetric(const json_t *jwk)
{
    const char *kty = sa_json_string(jwk, "kty");
    return kty != NULL && strcmp(kty, "oct") == 0;
}

/* The kid of an entry that claims to be for signatures, usable or not. */
static const char *claimed_kid(const json_t *jwk)
{
    const char *use = sa_json_string(jwk, "use");
    return use == NULL || strcmp(use, "sig") == 0 ? sa_json_string(jwk, "kid") : NULL;
}

/* A broken key beside a good one of its kid is as ambiguous as two good ones. */
static int shares_kid(const json_t *keys)
{
    int shared = 0;
    size_t i;
    json_t *jwk;
    json_t *seen = json_object();
    json_array_foreach(keys, i, jwk) {
        const char *kid = claimed_kid(jwk);
        if (kid != NULL) {
            shared |= json_object_get(seen, kid) != NULL;
            json_object_set_new(seen, kid, json_true());
        }
    }
    json_decref(seen);
    return shared;
}

static const char *fill(apr_pool_t *p, sa_keyset_t *set, const json_t *keys, sa_alg_t fallback,
                        int flags)
{
    size_t i;
    json_t *jwk;
    int symmetric = 0;
    const char *last = "no key in it";
    json_array_foreach(keys, i, jwk) {
        symmetric += is_symmetric(jwk);
        const sa_key_t *key = sa_key_from_jwk(p, jwk, fallback, flags, &last);
        if (key == NULL && fallback != SA_ALG_NONE) {
            key = sa_key_from_jwk(p, jwk, SA_ALG_NONE, flags, &last);
        }
        if (key != NULL) {
            sa_keyset_add(set, key);    /* kids are distinct */
        }
    }
    if (symmetric > 0 && (size_t)symmetric < json_array_size(keys)) {
        return "symmetric and asymmetric keys are mixed";
    }
    return set->keys->nelts > 0 ? NULL : last;
}

sa_keyset_t *sa_keyset_from_jwks(apr_pool_t *p, const char *text, apr_size_t len,
                                 sa_alg_t fallback, int flags, const char **why)
{
    json_t *jwks = sa_json_parse(p, text, len, why);
    if (jwks == NULL) {
        return NULL;
    }
    const json_t *keys = json_object_get(jwks, "keys");
    if (!json_is_array(keys)) {
        *why = "not a JWK set";
        return NULL;
    }
    if (json_array_size(keys) > MAX_KEYS) {
        *why = "more than 100 keys";
        return NULL;
    }
    if (shares_kid(keys)) {
        *why = "two keys have the same kid";
        return NULL;
    }
    sa_keyset_t *set = sa_keyset_make(p);
    const char *problem = fill(p, set, keys, fallback, flags);
    if (problem != NULL) {
        *why = problem;
        return NULL;
    }
    return set;
}

json_t *sa_keyset_public_jwks(apr_pool_t *p, const sa_keyset_t *set)
{
    json_t *keys = json_array();
    for (int i = 0; i < set->keys->nelts; i++) {
        json_t *jwk = sa_key_public_jwk(p, sa_keyset_at(set, i));
        if (jwk != NULL) {
            json_array_append(keys, jwk);
        }
    }
    json_t *jwks = json_object();
    json_object_set_new(jwks, "keys", keys);
    return sa_json_own(p, jwks);
}
