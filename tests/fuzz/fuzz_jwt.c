/* libFuzzer targets. The first byte chooses: a token as it came, a JWKS, or a
 * header and a payload (split at the first newline) that get a right signature, so
 * that the claim checks are reached. */
#include "core/base64url.h"
#include "core/crypto.h"
#include "core/jwt.h"
#include "modes.h"

#include <apr_general.h>
#include <apr_strings.h>
#include <openssl/err.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const char secret[] = "0123456789abcdef0123456789abcdef";

static apr_pool_t *process;
static sa_keyset_t *keys;

/* APR's pools are mapped, not allocated, and the leak checker does not look into
 * them: what the keys hold for the life of the process would be taken for lost. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

static void add(sa_keyset_t *set, const sa_key_t *key)
{
    if (key == NULL || sa_keyset_add(set, key) != APR_SUCCESS) {
        abort();
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char jwks[] = "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"ed\","
        "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";
    const char *why;
    apr_initialize();
    apr_pool_create(&process, NULL);
    if (__lsan_disable != NULL) {
        __lsan_disable();
    }
    keys = sa_keyset_from_jwks(process, jwks, strlen(jwks), SA_ALG_NONE, 0, &why);
    if (keys == NULL) {
        abort();
    }
    add(keys, sa_key_from_secret(process, secret, strlen(secret), SA_ALG_HS256, NULL, &why));
    add(keys, sa_key_from_secret(process, secret, strlen(secret), SA_ALG_HS256, "k", &why));
    if (__lsan_enable != NULL) {
        __lsan_enable();
    }
    return 0;
}

static void check_token(apr_pool_t *p, const char *token, size_t len)
{
    sa_jwt_t jwt;
    const char *why = NULL;
    if (sa_jwt_verify(p, token, len, keys, &jwt, &why) != SA_JWT_OK) {
        if (why == NULL || jwt.claims != NULL) {
            abort();
        }
        return;
    }
    sa_jwt_check_access(&jwt, "https://a.test", "b", "access", "at+jwt", 1, 1800000000, 60);
    sa_jwt_check_access(&jwt, "https://a.test", "b", "access", "at+jwt", 0, 1800000000, 60);
    if (sa_jwt_sign(p, jwt.key, "at+jwt", jwt.claims) == NULL && sa_key_can_sign(jwt.key)) {
        abort();
    }
}

static void check_signed(apr_pool_t *p, const char *text, size_t len)
{
    unsigned char mac[SA_SHA256_LEN];
    const char *end = memchr(text, '\n', len);
    size_t header_len = end != NULL ? (size_t)(end - text) : len;
    size_t payload_len = end != NULL ? len - header_len - 1 : 0;
    const char *body = apr_pstrcat(p, sa_base64url_encode(p, text, header_len), ".",
                                   sa_base64url_encode(p, text + len - payload_len, payload_len),
                                   NULL);
    sa_hmac_sha256(secret, strlen(secret), body, strlen(body), mac);
    const char *token = apr_pstrcat(p, body, ".", sa_base64url_encode(p, mac, sizeof(mac)), NULL);
    check_token(p, token, strlen(token));
}

static void check_jwks(apr_pool_t *p, const char *text, size_t len)
{
    const char *why = NULL;
    const sa_keyset_t *set = sa_keyset_from_jwks(p, text, len, SA_ALG_NONE, 0, &why);
    if (set == NULL ? why == NULL : set->keys->nelts == 0) {
        abort();
    }
    if (set != NULL) {
        sa_keyset_public_jwks(p, set);
    }
}

static int one(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    apr_pool_t *p;
    apr_pool_create(&p, process);
    const char *text = (const char *)data + 1;
    switch (data[0] % 3) {
    case 0:
        check_token(p, text, size - 1);
        break;
    case 1:
        check_jwks(p, text, size - 1);
        break;
    default:
        check_signed(p, text, size - 1);
        break;
    }
    apr_pool_destroy(p);
    if (ERR_peek_error() != 0) {
        abort();
    }
    return 0;
}
