#include "jose.h"

#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

/* --- round trips --- */

static void check_tampering(const char *token, const sa_keyset_t *set)
{
    sa_jwt_t jwt;
    char *copy = apr_pstrdup(pool, token);
    char *payload = strchr(copy, '.') + 1;
    *payload = *payload == 'e' ? 'f' : 'e';
    assert_int_not_equal(verify(copy, set, &jwt), SA_JWT_OK);
    copy = apr_pstrdup(pool, token);
    char *signature = strrchr(copy, '.') + 1;
    *signature = *signature == 'A' ? 'B' : 'A';
    assert_int_equal(verify(copy, set, &jwt), SA_JWT_BAD_SIGNATURE);
    copy = apr_pstrdup(pool, token);
    copy[strlen(copy) - 4] = '\0';
    assert_int_not_equal(verify(copy, set, &jwt), SA_JWT_OK);
}

static void test_round_trip_every_alg(void **state)
{
    for (int alg = SA_ALG_HS256; alg <= SA_ALG_EDDSA; alg++) {
        sa_jwt_t jwt;
        const sa_key_t *key = make_key((sa_alg_t)alg, "k-1");
        sa_keyset_t *set = set_of(key, NULL);
        const char *token = sa_jwt_sign(pool, key, "at+jwt", claims_of());
        assert_non_null(token);
        assert_int_equal(verify(token, set, &jwt), SA_JWT_OK);
        assert_ptr_equal(jwt.key, key);
        assert_string_equal(sa_json_string(jwt.header, "alg"), sa_alg_name((sa_alg_t)alg));
        assert_string_equal(sa_json_string(jwt.header, "typ"), "at+jwt");
        assert_string_equal(sa_json_string(jwt.header, "kid"), "k-1");
        assert_true(json_equal(jwt.claims, claims_of()));
        check_tampering(token, set);
    }
}

/* --- choosing the key --- */

static void test_T84_kid_chooses_the_key(void **state)
{
    sa_jwt_t jwt;
    const sa_key_t *a = make_key(SA_ALG_HS256, "a");
    const sa_key_t *b = make_key(SA_ALG_HS256, "b");
    const sa_key_t *bare = make_key(SA_ALG_HS256, NULL);
    const char *by_a = sa_jwt_sign(pool, a, NULL, claims_of());
    const char *by_bare = sa_jwt_sign(pool, bare, NULL, claims_of());
    assert_int_equal(verify(by_a, set_of(b, a), &jwt), SA_JWT_OK);
    assert_ptr_equal(jwt.key, a);
    assert_int_equal(verify(by_a, set_of(b, NULL), &jwt), SA_JWT_NO_KEY);
    assert_int_equal(verify(by_a, set_of(bare, NULL), &jwt), SA_JWT_NO_KEY);
    assert_int_equal(verify(by_a, set_of(make_key(SA_ALG_HS256, "a"), NULL), &jwt),
                     SA_JWT_BAD_SIGNATURE);
    assert_int_equal(verify(by_a, set_of(make_key(SA_ALG_HS512, "a"), NULL), &jwt),
                     SA_JWT_BAD_SIGNATURE);
    /* Without a kid every key of that alg is tried. */
    assert_int_equal(verify(by_bare, set_of(a, bare), &jwt), SA_JWT_OK);
    assert_int_equal(verify(by_bare, set_of(a, b), &jwt), SA_JWT_BAD_SIGNATURE);
    assert_int_equal(verify(by_bare, sa_keyset_make(pool), &jwt), SA_JWT_BAD_SIGNATURE);
}

/* --- structure --- */

/* The token of a header and a payload given as text, rightly signed. */
static const char *signed_text(const char *secret, const char *header, const char *payload)
{
    unsigned char mac[SA_SHA256_LEN];
    const char *text = apr_pstrcat(pool, sa_base64url_encode(pool, header, strlen(header)), ".",
                                   sa_base64url_encode(pool, payload, strlen(payload)), NULL);
    sa_hmac_sha256(secret, strlen(secret), text, strlen(text), mac);
    return apr_pstrcat(pool, text, ".", sa_base64url_encode(pool, mac, sizeof(mac)), NULL);
}

static void test_T85_T98_structure(void **state)
{
    static const char secret[] = "0123456789abcdef0123456789abcdef";
    static const struct {
        const char *header;
        const char *payload;
        sa_jwt_status_t due;
    } cases[] = {
        {"{\"alg\":\"HS256\"}", "{}", SA_JWT_OK},
        {"{\"alg\":\"HS256\",\"jku\":\"file:///etc/passwd\",\"x\":1}", "{}", SA_JWT_OK},
        {"{\"alg\":\"HS256\",\"typ\":1}", "{}", SA_JWT_MALFORMED},
        {"{\"alg\":\"HS256\",\"typ\":null}", "{}", SA_JWT_MALFORMED},
        {"{\"alg\":\"HS256\",\"kid\":null}", "{}", SA_JWT_MALFORMED},
        {"{\"alg\":\"HS256\",\"kid\":\"\"}", "{}", SA_JWT_NO_KEY},
        {"{\"alg\":\"HS256\",\"crit\":null}", "{}", SA_JWT_MALFORMED},
        {"{\"alg\":\"HS256\",\"b64\":true}", "{}", SA_JWT_MALFORMED},
        {"{\"alg\":\"HS256\",\"zip\":\"DEF\"}", "{}", SA_JWT_MALFORMED},
        {"{\"alg\":\"none\"}", "{}", SA_JWT_MALFORMED},
        {"{\"alg\":null}", "{}", SA_JWT_MALFORMED},
        {"{\"alg\":\"HS384\"}", "{}", SA_JWT_BAD_SIGNATURE},
        {"{\"alg\":\"HS256\"}", "[]", SA_JWT_MALFORMED},
        {"{\"alg\":\"HS256\"}", "", SA_JWT_MALFORMED},
        {"{\"alg\":\"HS256\"}", "{} ", SA_JWT_OK},
        {"{\"alg\":\"HS256\"}", "{}x", SA_JWT_MALFORMED},
        {"{\"alg\":\"HS256\"}", "{\"a\":1,\"a\":1}", SA_JWT_MALFORMED},
        {"[\"HS256\"]", "{}", SA_JWT_MALFORMED},
        {"{\"alg\":\"HS256\",\"alg\":\"HS256\"}", "{}", SA_JWT_MALFORMED},
    };
    const char *why;
    sa_jwt_t jwt;
    sa_keyset_t *set = set_of(sa_key_from_secret(pool, secret, strlen(secret), SA_ALG_HS256, NULL,
                                                 &why), NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *token = signed_text(secret, cases[i].header, cases[i].payload);
        if (verify(token, set, &jwt) != cases[i].due) {
            fail_msg("%s %s", cases[i].header, cases[i].payload);
        }
    }
    const char *good = signed_text(secret, cases[0].header, "{}");
    static const char *const spoiled[] = {"%s.", ".%s", "%s=", " %s", "%s ", "%s\n", "%s.%s",
                                          "a.b"};
    for (size_t i = 0; i < sizeof(spoiled) / sizeof(spoiled[0]); i++) {
        char *token = apr_pstrcat(pool, spoiled[i], NULL);
        char *place;
        while ((place = strstr(token, "%s")) != NULL) {
            token = apr_pstrcat(pool, apr_pstrmemdup(pool, token, (apr_size_t)(place - token)),
                                good, place + 2, NULL);
        }
        assert_int_equal(verify(token, set, &jwt), SA_JWT_MALFORMED);
    }
    assert_int_equal(verify("", set, &jwt), SA_JWT_MALFORMED);
    assert_int_equal(verify("..", set, &jwt), SA_JWT_MALFORMED);
}

static void test_T97_too_long(void **state)
{
    sa_jwt_t jwt;
    const sa_key_t *key = make_key(SA_ALG_HS256, NULL);
    json_t *claims = claims_of();
    char *filler = apr_pcalloc(pool, SA_JWT_MAX);
    memset(filler, 'x', SA_JWT_MAX - 1);
    json_object_set_new(claims, "x", json_stringn(filler, 11000));
    assert_int_equal(verify(sa_jwt_sign(pool, key, NULL, claims), set_of(key, NULL), &jwt),
                     SA_JWT_OK);
    json_object_set_new(claims, "x", json_stringn(filler, SA_JWT_MAX - 1));
    assert_int_equal(verify(sa_jwt_sign(pool, key, NULL, claims), set_of(key, NULL), &jwt),
                     SA_JWT_MALFORMED);
}

/* --- claims --- */

static int time_of(const char *text, apr_int64_t *value)
{
    const char *why;
    json_t *claims = sa_json_parse(pool, text, strlen(text), &why);
    assert_non_null(claims);
    return sa_claim_time(claims, "t", value);
}

static void test_T92_claim_time(void **state)
{
    static const char *const bad[] = {
        "{\"t\":-1}", "{\"t\":253402300800}", "{\"t\":9223372036854775807}", "{\"t\":1.5}",
        "{\"t\":1e300}", "{\"t\":-0.5}", "{\"t\":\"1\"}", "{\"t\":null}", "{\"t\":true}",
        "{\"t\":[1]}", "{\"t\":{}}", "{\"t\":253402300799.5}",
    };
    static const struct {
        const char *text;
        apr_int64_t due;
    } good[] = {
        {"{\"t\":0}", 0}, {"{\"t\":253402300799}", APR_INT64_C(253402300799)},
        {"{\"t\":1.0}", 1}, {"{\"t\":2e9}", 2000000000}, {"{\"t\":1800000000.0}", NOW},
    };
    apr_int64_t value = 0;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(time_of(bad[i], &value), -1);
    }
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(time_of(good[i].text, &value), 1);
        assert_true(value == good[i].due);
    }
    assert_int_equal(time_of("{}", &value), 0);
}

static const char *check_time(const char *text, int leeway)
{
    const char *why;
    return sa_claims_check_time(sa_json_parse(pool, text, strlen(text), &why), 1000, leeway);
}

static void test_T93_claims_check_time(void **state)
{
    assert_null(check_time("{\"exp\":1001}", 0));
    assert_non_null(check_time("{\"exp\":1000}", 0));
    assert_null(check_time("{\"exp\":1000}", 1));
    assert_non_null(check_time("{\"exp\":940}", 60));
    assert_null(check_time("{\"exp\":941}", 60));
    assert_non_null(check_time("{}", 300));
    assert_non_null(check_time("{\"exp\":\"1001\"}", 0));
    assert_null(check_time("{\"exp\":2000,\"nbf\":1000,\"iat\":1000}", 0));
    assert_non_null(check_time("{\"exp\":2000,\"nbf\":1001}", 0));
    assert_null(check_time("{\"exp\":2000,\"nbf\":1001}", 1));
    assert_non_null(check_time("{\"exp\":2000,\"iat\":1001}", 0));
    assert_null(check_time("{\"exp\":2000,\"iat\":1060}", 60));
    assert_non_null(check_time("{\"exp\":2000,\"iat\":1061}", 60));
    assert_non_null(check_time("{\"exp\":2000,\"nbf\":null}", 0));
    assert_non_null(check_time("{\"exp\":2000,\"iat\":\"x\"}", 0));
}

static int has(const char *text, const char *value)
{
    const char *why;
    return sa_claim_has(sa_json_parse(pool, text, strlen(text), &why), "aud", value);
}

static void test_T90_claim_has(void **state)
{
    assert_true(has("{\"aud\":\"a\"}", "a"));
    assert_true(has("{\"aud\":[\"b\",\"a\"]}", "a"));
    assert_false(has("{\"aud\":\"aa\"}", "a"));
    assert_false(has("{\"aud\":\"A\"}", "a"));
    assert_false(has("{\"aud\":[]}", "a"));
    assert_false(has("{\"aud\":[\"a\",1]}", "a"));
    assert_false(has("{\"aud\":[1,\"a\"]}", "a"));
    assert_false(has("{\"aud\":[[\"a\"]]}", "a"));
    assert_false(has("{\"aud\":{\"a\":\"a\"}}", "a"));
    assert_false(has("{\"aud\":null}", "a"));
    assert_false(has("{}", "a"));
}

static const char *check(const char *typ, json_t *claims, int require_typ)
{
    sa_jwt_t jwt = {sa_json_own(pool, json_object()), claims, NULL};
    if (typ != NULL) {
        json_object_set_new(jwt.header, "typ", json_string(typ));
    }
    return sa_jwt_check_access(&jwt, ISSUER, AUDIENCE, "access", "at+jwt", require_typ, NOW, 0);
}

static void test_T91_check_access_typ(void **state)
{
    json_t *claims = claims_of();
    assert_null(check("at+jwt", claims, 1));
    assert_null(check("AT+JWT", claims, 1));
    assert_null(check("application/at+jwt", claims, 1));
    assert_null(check("Application/At+Jwt", claims, 1));
    assert_non_null(check(NULL, claims, 1));
    assert_non_null(check("JWT", claims, 1));
    assert_non_null(check("", claims, 1));
    assert_non_null(check("rt+jwt", claims, 1));
    assert_non_null(check("text/at+jwt", claims, 1));
    assert_non_null(check("application/application/at+jwt", claims, 1));
    assert_null(check(NULL, claims, 0));
    assert_null(check("JWT", claims, 0));
    assert_null(check("at+jwt", claims, 0));
    assert_non_null(check("rt+jwt", claims, 0));
    assert_non_null(check("id_token", claims, 0));
}

static void test_T90_check_access_claims(void **state)
{
    static const char *const names[] = {"token_type", "iss", "aud", "sub", "jti", "exp"};
    static const int needed_without_typ[] = {1, 0, 0, 0, 1, 1};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        json_t *without = with(claims_of(), names[i], NULL);
        assert_non_null(check("at+jwt", without, 1));
        assert_int_equal(check("JWT", without, 0) != NULL, needed_without_typ[i]);
        /* Present and wrong is never forgiven. */
        static const char *const wrong[] = {"[]", "{}", "null", "1.5", "\"\"", "true"};
        for (size_t w = 0; w < sizeof(wrong) / sizeof(wrong[0]); w++) {
            json_t *value = json_loads(wrong[w], JSON_DECODE_ANY, NULL);
            json_t *claims = with(claims_of(), names[i], value);
            assert_non_null(check("at+jwt", claims, 1));
            assert_non_null(check("JWT", claims, 0));
        }
    }
    char sub[257];
    memset(sub, 's', 256);
    sub[256] = '\0';
    assert_non_null(check("at+jwt", with(claims_of(), "sub", json_string(sub)), 1));
    assert_null(check("at+jwt", with(claims_of(), "sub", json_stringn(sub, 255)), 1));
    json_t *aud = json_pack("[s, s]", "other", AUDIENCE);
    assert_null(check("at+jwt", with(claims_of(), "aud", aud), 1));
}

/* --- threads --- */

typedef struct {
    const sa_keyset_t *set;
    const char *const *tokens;
    int good;
} worker_t;

static void *verify_many(void *data)
{
    worker_t *worker = data;
    apr_pool_t *p;
    apr_pool_create(&p, NULL);
    for (int i = 0; i < 300; i++) {
        sa_jwt_t jwt;
        const char *why;
        const char *token = worker->tokens[i % 3];
        worker->good += sa_jwt_verify(p, token, strlen(token), worker->set, &jwt, &why)
            == SA_JWT_OK;
        apr_pool_clear(p);
    }
    apr_pool_destroy(p);
    return NULL;
}

/* A locale of its own making, so that none need be installed. */
static void speak_german(char *directory)
{
    char command[200], number[10];
    assert_non_null(mkdtemp(directory));
    snprintf(command, sizeof(command), "localedef --no-archive -c -i de_DE -f UTF-8 %s/de_DE.UTF-8 "
             ">/dev/null 2>&1", directory);
    assert_true(system(command) != -1);
    setenv("LOCPATH", directory, 1);
    assert_non_null(setlocale(LC_ALL, "de_DE.UTF-8"));  /* the package locales has its source */
    snprintf(number, sizeof(number), "%.1f", 1.5);
    assert_string_equal(number, "1,5");
}

static void test_T101_numbers_in_another_locale(void **state)
{
    char directory[] = "/tmp/sa-locale-XXXXXX", command[100];
    const char *why;
    speak_german(directory);
    test_T92_claim_time(state);
    json_t *real = sa_json_parse(pool, "[1.5,-2.25e3]", 13, &why);
    assert_non_null(real);
    assert_string_equal(sa_json_dump(pool, real), "[1.5,-2250.0]");
    assert_null(sa_json_parse(pool, "{\"t\":1,5}", 9, &why));
    setlocale(LC_ALL, "C");
    unsetenv("LOCPATH");
    snprintf(command, sizeof(command), "rm -rf %s", directory);
    assert_int_equal(system(command), 0);
}

static void test_T113_keys_are_shared_by_threads(void **state)
{
    static const sa_alg_t algs[] = {SA_ALG_HS256, SA_ALG_RS256, SA_ALG_ES256};
    const char *tokens[3];
    sa_keyset_t *set = sa_keyset_make(pool);
    for (int i = 0; i < 3; i++) {
        const sa_key_t *key = make_key(algs[i], sa_alg_name(algs[i]));
        assert_int_equal(sa_keyset_add(set, key), APR_SUCCESS);
        tokens[i] = sa_jwt_sign(pool, key, NULL, claims_of());
    }
    pthread_t threads[4];
    worker_t workers[4];
    for (int i = 0; i < 4; i++) {
        workers[i] = (worker_t){set, tokens, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, verify_many, &workers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(workers[i].good, 300);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_round_trip_every_alg),
        CASE(test_T84_kid_chooses_the_key),
        CASE(test_T85_T98_structure),
        CASE(test_T97_too_long),
        CASE(test_T92_claim_time),
        CASE(test_T101_numbers_in_another_locale),
        CASE(test_T93_claims_check_time),
        CASE(test_T90_claim_has),
        CASE(test_T91_check_access_typ),
        CASE(test_T90_check_access_claims),
        CASE(test_T113_keys_are_shared_by_threads),
    };
    apr_initialize();
    return cmocka_run_group_tests(tests, make_rsa, free_rsa);
}
