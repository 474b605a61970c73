#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/base64url.h"
#include "core/crypto.h"
#include "core/json.h"
#include "core/key.h"

#include <apr_errno.h>
#include <apr_general.h>
#include <apr_strings.h>
#include <locale.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

static const char *hex(const unsigned char *data, apr_size_t len)
{
    char *text = apr_pcalloc(pool, 2 * len + 1);
    for (apr_size_t i = 0; i < len; i++) {
        apr_snprintf(text + 2 * i, 3, "%02x", data[i]);
    }
    return text;
}

static void test_init_is_idempotent(void **state)
{
    assert_int_equal(sa_crypto_init(), APR_SUCCESS);
    assert_int_equal(sa_crypto_init(), APR_SUCCESS);
    assert_null(sa_digest(160));
    assert_int_equal(EVP_MD_get_size(sa_digest(384)), 48);
}

static void test_sha256(void **state)
{
    unsigned char out[SA_SHA256_LEN];
    sa_sha256("abc", 3, out);
    assert_string_equal(hex(out, sizeof(out)),
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sa_sha256("", 0, out);
    assert_string_equal(hex(out, sizeof(out)),
                        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

/* FIPS 180-4's example "abc". */
static void test_sha2(void **state)
{
    unsigned char out[64];
    assert_int_equal(sa_sha2(384, "abc", 3, out), APR_SUCCESS);
    assert_string_equal(hex(out, 48),
                        "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
                        "8086072ba1e7cc2358baeca134c825a7");
    assert_int_equal(sa_sha2(512, "abc", 3, out), APR_SUCCESS);
    assert_string_equal(hex(out, 64),
                        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
                        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f");
    assert_int_equal(sa_sha2(160, "abc", 3, out), APR_EGENERAL);
}

/* RFC 4231 test cases 1 and 2; the empty key from RFC 2104's construction. */
static void test_hmac_sha256(void **state)
{
    unsigned char out[SA_SHA256_LEN];
    unsigned char key[20];
    memset(key, 0x0b, sizeof(key));
    sa_hmac_sha256(key, sizeof(key), "Hi There", 8, out);
    assert_string_equal(hex(out, sizeof(out)),
                        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    sa_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, out);
    assert_string_equal(hex(out, sizeof(out)),
                        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    sa_hmac_sha256(NULL, 0, "", 0, out);
    assert_string_equal(hex(out, sizeof(out)),
                        "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void test_mac_leaves_its_key_unchanged(void **state)
{
    unsigned char first[EVP_MAX_MD_SIZE];
    unsigned char again[EVP_MAX_MD_SIZE];
    apr_size_t len;
    EVP_MAC_CTX *mac = sa_mac_make(512, "key", 3);
    assert_true(sa_mac_message(mac, "text", 4, first, &len));
    assert_int_equal(len, 64);
    assert_true(sa_mac_message(mac, "text", 4, again, &len));
    assert_memory_equal(first, again, 64);
    assert_true(sa_mac_message(mac, "other", 5, again, &len));
    assert_memory_not_equal(first, again, 64);
    EVP_MAC_CTX_free(mac);
    assert_null(sa_mac_make(160, "key", 3));
}

/* RFC 5869 A.3: the one test case whose salt and info are text (both empty). */
static void test_hkdf_rfc5869(void **state)
{
    static const char okm[] = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
        "9d201395faa4b61a96c8";
    unsigned char key[22];
    unsigned char out[42];
    memset(key, 0x0b, sizeof(key));
    assert_int_equal(sa_hkdf(key, sizeof(key), "", "", out, sizeof(out)), APR_SUCCESS);
    assert_string_equal(hex(out, sizeof(out)), okm);
    assert_int_equal(sa_hkdf(key, sizeof(key), NULL, NULL, out, sizeof(out)), APR_SUCCESS);
    assert_string_equal(hex(out, sizeof(out)), okm);
}

/* RFC 5869 section 2 written out with HMAC, for a salt, an info and three blocks. */
static void test_hkdf_by_construction(void **state)
{
    static const char salt[] = "social-auth-state-salt";
    static const char info[] = "state";
    unsigned char key[32] = {1, 2, 3};
    unsigned char prk[SA_SHA256_LEN];
    unsigned char block[SA_SHA256_LEN + sizeof(info)];
    unsigned char due[3 * SA_SHA256_LEN];
    unsigned char out[80];
    sa_hmac_sha256(salt, strlen(salt), key, sizeof(key), prk);
    for (int i = 0; i < 3; i++) {
        apr_size_t len = i == 0 ? 0 : SA_SHA256_LEN;
        if (len > 0) {
            memcpy(block, due + (i - 1) * SA_SHA256_LEN, len);
        }
        memcpy(block + len, info, strlen(info));
        block[len + strlen(info)] = (unsigned char)(i + 1);
        sa_hmac_sha256(prk, sizeof(prk), block, len + strlen(info) + 1, due + i * SA_SHA256_LEN);
    }
    assert_int_equal(sa_hkdf(key, sizeof(key), salt, info, out, sizeof(out)), APR_SUCCESS);
    assert_memory_equal(out, due, sizeof(out));
    assert_int_equal(sa_hkdf(key, sizeof(key), salt, "cookie", out, sizeof(out)), APR_SUCCESS);
    assert_memory_not_equal(out, due, 32);
}

static void test_hkdf_refuses_too_much(void **state)
{
    unsigned char *out = malloc(255 * 32 + 1);
    assert_non_null(out);
    assert_int_equal(sa_hkdf("key", 3, "s", "i", out, 255 * 32), APR_SUCCESS);
    assert_int_equal(sa_hkdf("key", 3, "s", "i", out, 255 * 32 + 1), APR_EGENERAL);
    assert_int_equal(ERR_peek_error(), 0);
    free(out);
}

static void test_random(void **state)
{
    unsigned char *a = apr_pcalloc(pool, 10000);
    unsigned char *b = apr_pcalloc(pool, 10000);
    assert_int_equal(sa_random(a, 10000), APR_SUCCESS);
    assert_int_equal(sa_random(b, 10000), APR_SUCCESS);
    assert_memory_not_equal(a, b, 10000);
    /* Every part is filled: 16 zero bytes in a row happen once in 2^128. */
    for (int i = 0; i < 10000 - 16; i += 16) {
        assert_memory_not_equal(a + i, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
    }
    assert_int_equal(sa_random(a, 0), APR_SUCCESS);
}

static void test_random_texts(void **state)
{
    const char *text = sa_random_text(pool, 16);
    assert_int_equal(strlen(text), 22);
    assert_string_not_equal(text, sa_random_text(pool, 16));
    for (int i = 0; i < 2000; i++) {
        assert_int_not_equal(*sa_random_text(pool, 16), '-');
    }
    const char *digits = sa_random_hex(pool, 20);
    assert_int_equal(strlen(digits), 40);
    assert_int_equal(strspn(digits, "0123456789abcdef"), 40);
    assert_string_not_equal(digits, sa_random_hex(pool, 20));
}

static void test_random_uuid(void **state)
{
    for (int i = 0; i < 64; i++) {
        const char *uuid = sa_random_uuid(pool);
        assert_int_equal(strlen(uuid), 36);
        for (int c = 0; c < 36; c++) {
            int dash = c == 8 || c == 13 || c == 18 || c == 23;
            assert_int_equal(strspn(uuid + c, dash ? "-" : "0123456789abcdef") > 0, 1);
        }
        assert_int_equal(uuid[14], '4');
        assert_non_null(strchr("89ab", uuid[19]));
        assert_string_not_equal(uuid, sa_random_uuid(pool));
    }
}

static void test_keyed_hash(void **state)
{
    unsigned char key[SA_SHA256_LEN] = {1};
    unsigned char other[SA_SHA256_LEN] = {2};
    apr_uint64_t hash = sa_keyed_hash(key, "192.0.2.1", 9);
    assert_true(hash != 0);
    assert_true(hash == sa_keyed_hash(key, "192.0.2.1", 9));
    assert_true(hash != sa_keyed_hash(key, "192.0.2.2", 9));
    assert_true(hash != sa_keyed_hash(other, "192.0.2.1", 9));
}

static void test_T94_equal(void **state)
{
    assert_true(sa_equal("abc", 3, "abc", 3));
    assert_true(sa_equal("", 0, "", 0));
    assert_false(sa_equal("abc", 3, "abd", 3));
    assert_false(sa_equal("xbc", 3, "abc", 3));
    assert_false(sa_equal("abc", 3, "abcd", 4));
    assert_false(sa_equal("ab\0c", 4, "ab\0d", 4));
}

enum { LONG = 64 * 1024, AT_ONCE = 100 };

/* The least that comparing two texts took that differ in one byte: a busy machine only adds. */
static double comparing_us(unsigned char *a, unsigned char *b, size_t at)
{
    double least = 1e9;
    b[at] ^= 1;
    for (int i = 0; i < 20; i++) {
        struct timespec from, to;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
        for (int k = 0; k < AT_ONCE; k++) {
            assert_false(sa_equal(a, LONG, b, LONG));
        }
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
        double us = (double)(to.tv_sec - from.tv_sec) * 1e6
                    + (double)(to.tv_nsec - from.tv_nsec) / 1e3;
        least = us < least ? us : least;
    }
    b[at] ^= 1;
    return least;
}

/* memcmp, at its quickest, shows a ratio over 100. */
static void test_T94_time_does_not_tell_where(void **state)
{
    unsigned char *a = apr_pcalloc(pool, LONG), *b = apr_pcalloc(pool, LONG);
    double at_first = comparing_us(a, b, 0);
    double in_the_middle = comparing_us(a, b, LONG / 2);
    double at_last = comparing_us(a, b, LONG - 1);
    assert_true(at_last < 1.5 * at_first && at_first < 1.5 * at_last);
    assert_true(in_the_middle < 1.5 * at_first && at_first < 1.5 * in_the_middle);
}

static void test_wipe(void **state)
{
    char secret[] = "secret";
    sa_wipe(secret, sizeof(secret));
    assert_memory_equal(secret, "\0\0\0\0\0\0\0", sizeof(secret));
}

static int decodes(const char *text, apr_size_t len)
{
    unsigned char *data;
    apr_size_t data_len;
    char *exact = malloc(len > 0 ? len : 1);
    assert_non_null(exact);
    memcpy(exact, text, len);
    apr_status_t rv = sa_base64url_decode(&data, &data_len, pool, exact, len);
    free(exact);
    if (rv != APR_SUCCESS) {
        assert_int_equal(rv, APR_EINVAL);
        assert_null(data);
        assert_int_equal(data_len, 0);
        return 0;
    }
    assert_int_equal(data[data_len], 0);
    return 1;
}

/* Every two-character text: exactly one spelling per byte value. */
static void test_T103_base64url_one_spelling(void **state)
{
    int good = 0;
    for (int a = 0; a < 256; a++) {
        for (int b = 0; b < 256; b++) {
            char text[2] = {(char)a, (char)b};
            good += decodes(text, 2);
        }
        apr_pool_clear(pool);
    }
    assert_int_equal(good, 256);
}

static void test_base64url_round_trip(void **state)
{
    unsigned char data[300];
    assert_int_equal(sa_random(data, sizeof(data)), APR_SUCCESS);
    for (apr_size_t len = 0; len <= sizeof(data); len++) {
        unsigned char *back;
        apr_size_t back_len;
        const char *text = sa_base64url_encode(pool, data, len);
        assert_int_equal(strlen(text), (len * 4 + 2) / 3);
        assert_int_equal(sa_base64url_decode(&back, &back_len, pool, text, strlen(text)),
                         APR_SUCCESS);
        assert_int_equal(back_len, len);
        assert_memory_equal(back, data, len);
    }
}

static void test_T103_base64url_refuses(void **state)
{
    static const char *const bad[] = {
        "A", "AAAAA", "Zg=", "Zg==", "Zm9v=", "+/+/", "Zm 9v", "Zm9v\n", "Zm9v ", " Zm9v",
        "Zm.v", "Zm9v%3D", "Zh", "Zm9", "Z\xc3\xa9zv",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(decodes(bad[i], strlen(bad[i])));
    }
    assert_false(decodes("Zm9v\0AAA", 8));
    assert_true(decodes("", 0));
    assert_true(decodes("-_-_", 4));
}

static json_t *parse(const char *text, apr_size_t len, const char **why)
{
    char *exact = malloc(len > 0 ? len : 1);
    assert_non_null(exact);
    memcpy(exact, text, len);
    *why = NULL;
    json_t *j = sa_json_parse(pool, exact, len, why);
    free(exact);
    assert_true((j == NULL) == (*why != NULL));
    return j;
}

static void test_json_refuses(void **state)
{
    static const char *const bad[] = {
        "", " ", "{", "[1,]", "{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}",
        "{\"a\":{\"b\":1,\"b\":1}}", "\"\\u0000\"", "{\"\\u0000\":1}", "{} x", "{}{}", "'a'",
        "{a:1}", "\"\xff\"", "\"\xed\xa0\x80\"", "\"\\ud800\"", "nul", "01", "+1", ".5", "1.",
        "NaN", "Infinity", "1e400", "99999999999999999999", "//x\n1", "\xef\xbb\xbf{}",
        "\"\n\"", "{\"a\":1},",
    };
    const char *why;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (parse(bad[i], strlen(bad[i]), &why) != NULL) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
    assert_null(parse("{}\0", 3, &why));
    assert_null(parse("{\"a\0\":1}", 8, &why));
}

static void test_json_accepts_any_value(void **state)
{
    static const char *const good[] = {"{}", "[]", "1", "-0.5e3", "\"x\"", "true", "null",
                                       " \t\r\n{\"a\" : [1, {\"b\":\"\\ud83d\\ude00\"}]} "};
    const char *why;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_non_null(parse(good[i], strlen(good[i]), &why));
    }
}

static void test_json_depth(void **state)
{
    const char *why;
    char text[202];
    for (int depth = 100; depth <= 101; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        assert_int_equal(parse(text, 2 * (apr_size_t)depth, &why) != NULL, depth == 100);
    }
    /* Brackets in strings are no depth. */
    char quoted[402] = "\"";
    memset(quoted + 1, '[', 398);
    memcpy(quoted + 396, "\\\"[\"", 4);
    assert_non_null(parse(quoted, 400, &why));
    assert_null(parse("\"\\", 2, &why));
}

/* A reason goes to logs and answers: it may say where, never what. */
static void test_json_reason_holds_no_text(void **state)
{
    const char *why;
    assert_null(parse("{\"password\": hunter2}", 21, &why));
    assert_null(strstr(why, "hunter"));
    assert_non_null(strstr(why, "line 1 column"));
    assert_null(parse("{\"hunter2\":1,\"hunter2\":1}", 25, &why));
    assert_null(strstr(why, "hunter"));
}

static void test_json_ignores_the_locale(void **state)
{
    const char *why;
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "C"};
    for (int i = 0; i < 3; i++) {
        if (setlocale(LC_ALL, names[i]) == NULL) {
            continue;           /* C always exists */
        }
        json_t *j = parse("[1.5]", 5, &why);
        assert_non_null(j);
        assert_int_equal((int)(json_real_value(json_array_get(j, 0)) * 1000), 1500);
        assert_string_equal(sa_json_dump(pool, j), "[1.5]");
    }
    setlocale(LC_ALL, "C");
}

static void test_json_dump_and_string(void **state)
{
    const char *why;
    json_t *j = parse("{ \"a\" : \"x\", \"b\": 1 }", 21, &why);
    assert_non_null(j);
    assert_string_equal(sa_json_dump(pool, j), "{\"a\":\"x\",\"b\":1}");
    assert_string_equal(sa_json_string(j, "a"), "x");
    assert_null(sa_json_string(j, "b"));
    assert_null(sa_json_string(j, "c"));
    assert_null(sa_json_string(NULL, "c"));
    assert_null(sa_json_own(pool, NULL));
    assert_null(sa_json_dump(pool, NULL));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_init_is_idempotent),
        CASE(test_sha256),
        CASE(test_sha2),
        CASE(test_hmac_sha256),
        CASE(test_mac_leaves_its_key_unchanged),
        CASE(test_hkdf_rfc5869),
        CASE(test_hkdf_by_construction),
        CASE(test_hkdf_refuses_too_much),
        CASE(test_random),
        CASE(test_random_texts),
        CASE(test_random_uuid),
        CASE(test_keyed_hash),
        CASE(test_T94_equal),
        CASE(test_T94_time_does_not_tell_where),
        CASE(test_wipe),
        CASE(test_T103_base64url_one_spelling),
        CASE(test_base64url_round_trip),
        CASE(test_T103_base64url_refuses),
        CASE(test_json_refuses),
        CASE(test_json_accepts_any_value),
        CASE(test_json_depth),
        CASE(test_json_reason_holds_no_text),
        CASE(test_json_ignores_the_locale),
        CASE(test_json_dump_and_string),
    };
    apr_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
