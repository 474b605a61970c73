/* Published vectors: RFC examples, Wycheproof, hostile tokens. */
#include "vectors.h"

#include "core/base64url.h"
#include "core/crypto.h"
#include "core/json.h"
#include "core/jwt.h"
#include "core/key.h"
#include "core/state.h"

#include <apr_general.h>
#include <openssl/err.h>

#define NOW 1800000000          /* 2027: inside the life of the hostile set's tokens */

static apr_pool_t *pool;

static int setup(void **state)
{
    apr_pool_create(&pool, NULL);
    return 0;
}

static int teardown(void **state)
{
    apr_pool_destroy(pool);
    return 0;
}

static const char *as_text(const json_t *j)
{
    return json_is_string(j) ? json_string_value(j) : sa_json_dump(pool, j);
}

/* A key, or a set of keys, as the set a verifier holds. NULL when it is refused. */
static sa_keyset_t *load_keys(const json_t *jwk, sa_alg_t fallback)
{
    const char *why = NULL;
    if (json_object_get(jwk, "keys") != NULL) {
        const char *text = sa_json_dump(pool, jwk);
        sa_keyset_t *set = sa_keyset_from_jwks(pool, text, strlen(text), SA_ALG_NONE, 0, &why);
        assert_true(set != NULL || why != NULL);
        return set;
    }
    const sa_key_t *key = sa_key_from_jwk(pool, jwk, fallback, 0, &why);
    if (key == NULL) {
        assert_non_null(why);
        return NULL;
    }
    sa_keyset_t *set = sa_keyset_make(pool);
    assert_int_equal(sa_keyset_add(set, key), APR_SUCCESS);
    return set;
}

typedef struct {
    json_t *header;
    const unsigned char *payload;
    apr_size_t payload_len;
    const sa_key_t *key;
} jws_t;

/* The token is read from an allocation of its exact size. */
static sa_jwt_status_t verify(const char *text, const sa_keyset_t *set, jws_t *jws)
{
    const char *why = NULL;
    apr_size_t len = strlen(text);
    char *token = malloc(len > 0 ? len : 1);
    assert_non_null(token);
    memcpy(token, text, len);
    sa_jwt_status_t status = sa_jws_verify(pool, token, len, set, &jws->header, &jws->payload,
                                           &jws->payload_len, &jws->key, &why);
    free(token);
    assert_true(status == SA_JWT_OK || why != NULL);
    assert_int_equal(ERR_peek_error(), 0);
    return status;
}

/* --- RFC examples --- */

static int accepts_base64url(const json_t *v)
{
    unsigned char *data;
    apr_size_t len;
    const char *text = text_of(v, "text");
    if (sa_base64url_decode(&data, &len, pool, text, strlen(text)) != APR_SUCCESS) {
        return 0;
    }
    size_t due_len;
    unsigned char *due = hex_of(v, "hex", &due_len);
    assert_int_equal(len, due_len);
    assert_memory_equal(data, due, len);
    assert_string_equal(sa_base64url_encode(pool, due, due_len), text);
    free(due);
    return 1;
}

static sa_alg_t fallback_of(const json_t *v)
{
    const char *kty = text_of(json_object_get(v, "jwk"), "kty");
    return text_of(v, "alg") != NULL ? sa_alg_from_name(text_of(v, "alg"))
        : kty != NULL && strcmp(kty, "oct") == 0 ? SA_ALG_HS256 : SA_ALG_NONE;
}

static void check_signing(const char *token, const jws_t *jws)
{
    if (sa_key_can_sign(jws->key)) {
        assert_string_equal(sa_jws_sign(pool, jws->key, NULL, jws->payload, jws->payload_len),
                            token);
    }
}

static int accepts_jws(const json_t *v)
{
    jws_t jws;
    const char *payload = text_of(v, "payload_utf8");
    const char *token = as_text(json_object_get(v, "jws"));
    const sa_keyset_t *set = load_keys(json_object_get(v, "jwk"), fallback_of(v));
    if (set == NULL) {
        return 0;
    }
    if (verify(token, set, &jws) != SA_JWT_OK) {
        return 0;
    }
    if (payload != NULL) {
        assert_int_equal(jws.payload_len, strlen(payload));
        assert_memory_equal(jws.payload, payload, jws.payload_len);
    }
    if (json_is_true(json_object_get(v, "deterministic"))) {
        assert_true(sa_key_can_sign(jws.key));
        check_signing(token, &jws);
    }
    return 1;
}

static int accepts_jwt(const json_t *v)
{
    sa_jwt_t jwt;
    const char *why;
    const char *token = text_of(v, "jws");
    const sa_keyset_t *set = load_keys(json_object_get(v, "jwk"), fallback_of(v));
    assert_non_null(set);
    if (sa_jwt_verify(pool, token, strlen(token), set, &jwt, &why) != SA_JWT_OK) {
        return 0;
    }
    int accept_at = number_of(v, "accept_at");
    if (accept_at != 0) {
        assert_null(sa_claims_check_time(jwt.claims, accept_at, 0));
        assert_non_null(sa_claims_check_time(jwt.claims, accept_at + 1, 0));
    }
    return sa_claims_check_time(jwt.claims, NOW, 0) == NULL;
}

static int accepts_jwk(const json_t *v)
{
    const char *why;
    const sa_key_t *key = sa_key_from_jwk(pool, json_object_get(v, "jwk"), SA_ALG_NONE, 0, &why);
    if (key == NULL) {
        return 0;
    }
    json_t *out = sa_key_public_jwk(pool, key);
    assert_null(json_object_get(out, "d"));
    return 1;
}

static int accepts_thumbprint(const json_t *v)
{
    const char *why;
    const sa_key_t *key = sa_key_from_jwk(pool, json_object_get(v, "jwk"), SA_ALG_NONE, 0, &why);
    assert_non_null(key);
    return strcmp(sa_key_thumbprint(pool, key), text_of(v, "sha256")) == 0;
}

static json_t *okp_jwk(const json_t *v)
{
    size_t len;
    unsigned char *pk = hex_of(v, "pk", &len);
    unsigned char *sk = hex_of(v, "sk", &len);
    json_t *jwk = json_pack("{s:s, s:s, s:s, s:s}", "kty", "OKP", "crv", "Ed25519",
                            "x", sa_base64url_encode(pool, pk, 32),
                            "d", sa_base64url_encode(pool, sk, 32));
    free(pk);
    free(sk);
    return sa_json_own(pool, jwk);
}

static int accepts_ed25519(const json_t *v)
{
    const char *why;
    unsigned char signature[SA_SIGNATURE_MAX];
    apr_size_t signature_len;
    size_t msg_len;
    size_t due_len;
    unsigned char *msg = hex_of(v, "msg", &msg_len);
    unsigned char *due = hex_of(v, "sig", &due_len);
    const sa_key_t *key = sa_key_from_jwk(pool, okp_jwk(v), SA_ALG_NONE, 0, &why);
    assert_non_null(key);
    assert_true(sa_key_sign(key, msg, msg_len, signature, &signature_len));
    int good = sa_equal(signature, signature_len, due, due_len)
        && sa_key_verify(key, msg, msg_len, due, due_len);
    free(msg);
    free(due);
    return good;
}

static int accepts_hmac(const json_t *v)
{
    static const struct {
        int bits;
        const char *member;
    } hashes[] = {{256, "sha256"}, {384, "sha384"}, {512, "sha512"}};
    int good = 1;
    size_t key_len;
    size_t msg_len;
    unsigned char *key = hex_of(v, "key", &key_len);
    unsigned char *msg = hex_of(v, "msg", &msg_len);
    for (int i = 0; i < 3; i++) {
        unsigned char tag[EVP_MAX_MD_SIZE];
        apr_size_t tag_len;
        size_t due_len;
        unsigned char *due = hex_of(v, hashes[i].member, &due_len);
        EVP_MAC_CTX *mac = sa_mac_make(hashes[i].bits, key, key_len);
        assert_true(sa_mac_message(mac, msg, msg_len, tag, &tag_len));
        good = good && sa_equal(tag, tag_len, due, due_len);
        EVP_MAC_CTX_free(mac);
        free(due);
    }
    free(key);
    free(msg);
    return good;
}

static int accepts_pkce(const json_t *v)
{
    const json_t *verifier = json_object_get(v, "verifier");
    /* A verifier with NUL inside never becomes a C string: the JSON and form rules refuse it. */
    if (json_string_length(verifier) != strlen(json_is_string(verifier)
                                               ? json_string_value(verifier) : "")) {
        return 0;
    }
    return sa_pkce_matches(json_string_value(verifier), text_of(v, "challenge"));
}

static const struct {
    const char *type;
    int (*accepts)(const json_t *v);
    int due;
} rfc_types[] = {
    {"base64url", accepts_base64url, 13},
    {"jws", accepts_jws, 18},
    {"jwt", accepts_jwt, 2},
    {"jwk_parse", accepts_jwk, 4},
    {"jwk_thumbprint", accepts_thumbprint, 1},
    {"ed25519", accepts_ed25519, 2},
    {"hmac", accepts_hmac, 4},
    {"pkce", accepts_pkce, 15},
};

static void drive_rfc(const char *type)
{
    vectors_t v = {0, 0};
    int t = 0;
    while (strcmp(rfc_types[t].type, type) != 0) {
        t++;
    }
    json_t *file = vectors_load(pool, "rfc/rfc_vectors.json");
    size_t i;
    json_t *vector;
    json_array_foreach(json_object_get(file, "vectors"), i, vector) {
        if (strcmp(text_of(vector, "type"), type) == 0) {
            int due = strcmp(text_of(vector, "expect"), "accept") == 0;
            vectors_case(&v, rfc_types[t].accepts(vector) == due, text_of(vector, "id"),
                         due ? "refused" : "accepted");
        }
    }
    vectors_end(&v, rfc_types[t].due);
}

static void test_T103_rfc_base64url(void **state) { drive_rfc("base64url"); }
static void test_T88_rfc_jws(void **state) { drive_rfc("jws"); }
static void test_T88_rfc_jwt(void **state) { drive_rfc("jwt"); }
static void test_T88_rfc_jwk(void **state) { drive_rfc("jwk_parse"); }
static void test_T88_rfc_thumbprint(void **state) { drive_rfc("jwk_thumbprint"); }
static void test_T88_rfc_ed25519(void **state) { drive_rfc("ed25519"); }
static void test_T88_rfc_hmac(void **state) { drive_rfc("hmac"); }
static void test_T88_rfc_pkce(void **state) { drive_rfc("pkce"); }

/* Every vector belongs to a test above or to test_T88_rfc_passwords in test_password.c. */
static void test_T88_rfc_every_type_is_driven(void **state)
{
    static const char *const elsewhere[] = {"pbkdf2_sha256", "scrypt", "argon2id"};
    json_t *file = vectors_load(pool, "rfc/rfc_vectors.json");
    int due = 0;
    int others = 0;
    size_t i;
    json_t *vector;
    for (size_t t = 0; t < sizeof(rfc_types) / sizeof(rfc_types[0]); t++) {
        due += rfc_types[t].due;
    }
    json_array_foreach(json_object_get(file, "vectors"), i, vector) {
        for (int e = 0; e < 3; e++) {
            others += strcmp(text_of(vector, "type"), elsewhere[e]) == 0;
        }
    }
    assert_int_equal(due + others, number_of(file, "count"));
}

/* --- Wycheproof --- */

enum { REJECT, ACCEPT, EITHER };

static int policy_of(const json_t *policy, const char *name, const json_t *test)
{
    static const char *const verdicts[] = {"reject", "accept", "either"};
    const char *result = text_of(test, "result");
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(policy, "cases"), i, entry) {
        if (strcmp(text_of(entry, "file"), name) == 0
            && number_of(entry, "tcId") == number_of(test, "tcId")) {
            for (int verdict = REJECT; verdict <= EITHER; verdict++) {
                if (strcmp(text_of(entry, "expect"), verdicts[verdict]) == 0) {
                    return verdict;
                }
            }
            fail_msg("POLICY.json: unknown verdict");
        }
    }
    return strcmp(result, "valid") == 0 ? ACCEPT : strcmp(result, "invalid") == 0 ? REJECT : EITHER;
}

typedef int accepts_fn(const json_t *group, const json_t *test, sa_alg_t alg);

static void drive_wycheproof(const char *name, accepts_fn *accepts, sa_alg_t alg)
{
    vectors_t v = {0, 0};
    json_t *policy = vectors_load(pool, "wycheproof/POLICY.json");
    json_t *file = vectors_load(pool, apr_pstrcat(pool, "wycheproof/", name, NULL));
    size_t g;
    size_t t;
    json_t *group;
    json_t *test;
    json_array_foreach(json_object_get(file, "testGroups"), g, group) {
        json_array_foreach(json_object_get(group, "tests"), t, test) {
            int due = policy_of(policy, name, test);
            int got = accepts(group, test, alg);
            vectors_case(&v, due == EITHER || got == due,
                         apr_psprintf(pool, "%s %d", name, number_of(test, "tcId")),
                         got ? "accepted" : "refused");
        }
    }
    int due = number_of(file, "numberOfTests");
    assert_true(due > 0);
    vectors_end(&v, due);
}

static int verify_hex(const sa_key_t *key, const json_t *test)
{
    size_t msg_len;
    size_t sig_len;
    unsigned char *msg = hex_of(test, "msg", &msg_len);
    unsigned char *sig = hex_of(test, "sig", &sig_len);
    int good = sa_key_verify(key, msg, msg_len, sig, sig_len);
    free(msg);
    free(sig);
    assert_int_equal(ERR_peek_error(), 0);
    return good;
}

/* The key as PEM, and as JWK where the group has one: both must say the same. */
static int accepts_signature(const json_t *group, const json_t *test, sa_alg_t alg)
{
    const char *why;
    const char *pem = text_of(group, "publicKeyPem");
    json_t *jwk = json_object_get(group, "publicKeyJwk");
    assert_non_null(pem);
    const sa_key_t *key = sa_key_from_pem(pool, pem, strlen(pem), alg, NULL, &why);
    assert_non_null(key);
    int good = verify_hex(key, test);
    jwk = jwk != NULL ? jwk : json_object_get(group, "keyJwk");
    if (jwk != NULL) {
        key = sa_key_from_jwk(pool, jwk, alg, SA_JWK_PUBLIC_ONLY, &why);
        assert_non_null(key);
        assert_int_equal(verify_hex(key, test), good);
    }
    return good;
}

static int accepts_tag(const json_t *group, const json_t *test, sa_alg_t alg)
{
    const char *why;
    const sa_alg_info_t *info = sa_alg_info(alg);
    size_t key_len;
    size_t msg_len;
    size_t tag_len;
    unsigned char *key = hex_of(test, "key", &key_len);
    unsigned char *msg = hex_of(test, "msg", &msg_len);
    unsigned char *tag = hex_of(test, "tag", &tag_len);
    unsigned char due[EVP_MAX_MD_SIZE];
    apr_size_t due_len;
    apr_size_t tag_size = (apr_size_t)number_of(group, "tagSize") / 8;
    EVP_MAC_CTX *mac = sa_mac_make(info->bits, key, key_len);
    assert_true(sa_mac_message(mac, msg, msg_len, due, &due_len));
    EVP_MAC_CTX_free(mac);
    int good = sa_equal(due, tag_size, tag, tag_len);

    /* As a JWS key: refused when short, and only the full tag counts. */
    const sa_key_t *secret = sa_key_from_secret(pool, key, key_len, alg, NULL, &why);
    assert_int_equal(secret != NULL, key_len >= (size_t)info->bits / 8);
    if (secret != NULL) {
        assert_int_equal(sa_key_verify(secret, msg, msg_len, tag, tag_len),
                         good && tag_size == due_len);
    }
    free(key);
    free(msg);
    free(tag);
    return good;
}

/* The payload may be anything for a JWS; as a JWT it must be an object. */
static void check_jwt_layer(const char *token, const sa_keyset_t *set, const jws_t *jws)
{
    sa_jwt_t jwt;
    const char *why = NULL;
    json_error_t error;
    json_t *claims = json_loadb((const char *)jws->payload, jws->payload_len, 0, &error);
    assert_int_equal(sa_jwt_verify(pool, token, strlen(token), set, &jwt, &why) == SA_JWT_OK,
                     json_is_object(claims));
    json_decref(claims);
}

static int accepts_compact(const json_t *group, const json_t *test, sa_alg_t alg)
{
    jws_t jws;
    const json_t *jwk = json_object_get(group, "public");
    const json_t *token = json_object_get(test, "jws");
    const sa_keyset_t *set = load_keys(jwk != NULL ? jwk : json_object_get(group, "private"),
                                       SA_ALG_NONE);
    if (set == NULL) {
        return 0;
    }
    if (verify(as_text(token), set, &jws) != SA_JWT_OK) {
        return 0;
    }
    check_jwt_layer(as_text(token), set, &jws);
    return 1;
}

static void test_T86_wycheproof_es256(void **state)
{
    drive_wycheproof("ecdsa_secp256r1_sha256_p1363_test.json", accepts_signature, SA_ALG_ES256);
}

static void test_T86_wycheproof_es384(void **state)
{
    drive_wycheproof("ecdsa_secp384r1_sha384_p1363_test.json", accepts_signature, SA_ALG_ES384);
}

static void test_T86_wycheproof_es512(void **state)
{
    drive_wycheproof("ecdsa_secp521r1_sha512_p1363_test.json", accepts_signature, SA_ALG_ES512);
}

static void test_T86_wycheproof_ed25519(void **state)
{
    drive_wycheproof("ed25519_test.json", accepts_signature, SA_ALG_EDDSA);
}

static void test_T86_wycheproof_rs256(void **state)
{
    drive_wycheproof("rsa_signature_2048_sha256_test.json", accepts_signature, SA_ALG_RS256);
    drive_wycheproof("rsa_signature_3072_sha256_test.json", accepts_signature, SA_ALG_RS256);
    drive_wycheproof("rsa_signature_4096_sha256_test.json", accepts_signature, SA_ALG_RS256);
}

static void test_T86_wycheproof_rs384(void **state)
{
    drive_wycheproof("rsa_signature_2048_sha384_test.json", accepts_signature, SA_ALG_RS384);
}

static void test_T86_wycheproof_rs512(void **state)
{
    drive_wycheproof("rsa_signature_2048_sha512_test.json", accepts_signature, SA_ALG_RS512);
}

static void test_T86_wycheproof_pss(void **state)
{
    drive_wycheproof("rsa_pss_2048_sha256_mgf1_32_test.json", accepts_signature, SA_ALG_PS256);
    drive_wycheproof("rsa_pss_2048_sha384_mgf1_48_test.json", accepts_signature, SA_ALG_PS384);
    drive_wycheproof("rsa_pss_4096_sha512_mgf1_64_test.json", accepts_signature, SA_ALG_PS512);
}

static void test_T86_wycheproof_hmac(void **state)
{
    drive_wycheproof("hmac_sha256_test.json", accepts_tag, SA_ALG_HS256);
    drive_wycheproof("hmac_sha384_test.json", accepts_tag, SA_ALG_HS384);
    drive_wycheproof("hmac_sha512_test.json", accepts_tag, SA_ALG_HS512);
}

static void test_T87_wycheproof_json_web_key(void **state)
{
    drive_wycheproof("json_web_key_test.json", accepts_compact, SA_ALG_NONE);
}

static void test_T87_wycheproof_json_web_signature(void **state)
{
    drive_wycheproof("json_web_signature_test.json", accepts_compact, SA_ALG_NONE);
}

/* A JWE is refused whatever its own verdict: its key is none of ours, and its five
 * parts are malformed to a verifier that has a key. */
static int refuses_jwe(const json_t *test)
{
    jws_t jws;
    const char *why;
    unsigned char secret[32] = {1};
    sa_keyset_t *set = sa_keyset_make(pool);
    const sa_key_t *key = sa_key_from_secret(pool, secret, sizeof(secret), SA_ALG_HS256, NULL,
                                             &why);
    assert_non_null(key);
    assert_int_equal(sa_keyset_add(set, key), APR_SUCCESS);
    return verify(as_text(json_object_get(test, "jwe")), set, &jws) == SA_JWT_MALFORMED;
}

static void test_T87_T96_wycheproof_json_web_crypto(void **state)
{
    vectors_t v = {0, 0};
    json_t *policy = vectors_load(pool, "wycheproof/POLICY.json");
    json_t *file = vectors_load(pool, "wycheproof/json_web_crypto_test.json");
    size_t g;
    size_t t;
    json_t *group;
    json_t *test;
    json_array_foreach(json_object_get(file, "testGroups"), g, group) {
        json_array_foreach(json_object_get(group, "tests"), t, test) {
            const char *id = apr_psprintf(pool, "json_web_crypto %d", number_of(test, "tcId"));
            if (json_object_get(test, "jwe") != NULL) {
                vectors_case(&v, refuses_jwe(test)
                             && load_keys(json_object_get(group, "private"), SA_ALG_NONE) == NULL,
                             id, "a JWE was not refused");
                continue;
            }
            int due = policy_of(policy, "json_web_crypto_test.json", test);
            int got = accepts_compact(group, test, SA_ALG_NONE);
            vectors_case(&v, due == EITHER || due == got, id, got ? "accepted" : "refused");
        }
    }
    vectors_end(&v, 55);
}

/* --- Hostile tokens --- */

static const char *judge(const json_t *file, const json_t *test, const sa_keyset_t *set)
{
    const json_t *due = json_object_get(file, "required");
    const char *text = text_of(test, "token");
    const char *why = NULL;
    sa_jwt_t jwt;
    apr_size_t len = strlen(text);
    char *token = malloc(len > 0 ? len : 1);
    assert_non_null(token);
    memcpy(token, text, len);
    sa_jwt_status_t status = sa_jwt_verify(pool, token, len, set, &jwt, &why);
    free(token);
    assert_int_equal(ERR_peek_error(), 0);
    if (status != SA_JWT_OK) {
        assert_non_null(why);
        assert_null(jwt.claims);
        return why;
    }
    return sa_jwt_check_access(&jwt, text_of(due, "iss"), text_of(due, "aud"),
                               text_of(due, "token_type"), text_of(due, "typ"), 1, NOW, 0);
}

static void test_T81_to_T85_T90_to_T92_hostile_tokens(void **state)
{
    vectors_t v = {0, 0};
    json_t *file = vectors_load(pool, "hostile/jwt_hostile.json");
    size_t i;
    json_t *test;
    json_array_foreach(json_object_get(file, "cases"), i, test) {
        const char *expect = text_of(test, "expect");
        const json_t *keys = json_object_get(json_object_get(file, "keys"),
                                             text_of(test, "verifier"));
        const sa_keyset_t *set = load_keys(keys, SA_ALG_NONE);
        assert_non_null(set);
        const char *problem = judge(file, test, set);
        const char *verdict = problem == NULL ? "accept" : "reject";
        vectors_case(&v, strcmp(expect, "either") == 0 || strcmp(expect, verdict) == 0,
                     text_of(test, "id"), problem == NULL ? "accepted" : problem);
    }
    int due = number_of(file, "count");
    assert_true(due >= 164);
    vectors_end(&v, due);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_T103_rfc_base64url),
        CASE(test_T88_rfc_jws),
        CASE(test_T88_rfc_jwt),
        CASE(test_T88_rfc_jwk),
        CASE(test_T88_rfc_thumbprint),
        CASE(test_T88_rfc_ed25519),
        CASE(test_T88_rfc_hmac),
        CASE(test_T88_rfc_pkce),
        CASE(test_T88_rfc_every_type_is_driven),
        CASE(test_T86_wycheproof_es256),
        CASE(test_T86_wycheproof_es384),
        CASE(test_T86_wycheproof_es512),
        CASE(test_T86_wycheproof_ed25519),
        CASE(test_T86_wycheproof_rs256),
        CASE(test_T86_wycheproof_rs384),
        CASE(test_T86_wycheproof_rs512),
        CASE(test_T86_wycheproof_pss),
        CASE(test_T86_wycheproof_hmac),
        CASE(test_T87_wycheproof_json_web_key),
        CASE(test_T87_wycheproof_json_web_signature),
        CASE(test_T87_T96_wycheproof_json_web_crypto),
        CASE(test_T81_to_T85_T90_to_T92_hostile_tokens),
    };
    apr_initialize();
    return vectors_result(cmocka_run_group_tests(tests, NULL, NULL));
}
