/* Password hashes: ours, Django's, and what must never match or cost. */
#include "vectors.h"

#include "core/crypto.h"
#include "core/password.h"

#include <apr_base64.h>
#include <apr_general.h>
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

/* CPU time of this thread: other work on the machine does not count. */
static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Verifies from an allocation of exactly `len` bytes: no NUL follows. */
static sa_password_verdict_t verify(const char *encoded, const char *password, size_t len)
{
    char *exact = malloc(len ? len : 1);
    assert_non_null(exact);
    memcpy(exact, password, len);
    sa_password_verdict_t verdict = sa_password_verify(pool, encoded, exact, len);
    free(exact);
    return verdict;
}

static double wrong_password_ms(void)
{
    char *ours = sa_password_hash(pool, "right", 5);
    assert_non_null(ours);
    double start = cpu_ms();
    for (int i = 0; i < 5; i++) {
        assert_int_equal(verify(ours, "wrong", 5), SA_PASSWORD_MISMATCH);
    }
    return (cpu_ms() - start) / 5;
}

/* Only these parameters need no new hash. */
static sa_password_verdict_t good_verdict(const char *encoded)
{
    return strncmp(encoded, "argon2$argon2id$v=19$m=19456,t=2,p=1$", 37)
        ? SA_PASSWORD_MATCH_REHASH : SA_PASSWORD_MATCH;
}

static void test_T68_T69_T70_T73_django_vectors(void **state)
{
    json_t *file = vectors_load(pool, "django/password_hashes.json");
    double wrong = wrong_password_ms();
    vectors_t v = {0, 0};
    size_t i;
    json_t *c;

    json_array_foreach(json_object_get(file, "cases"), i, c) {
        const json_t *password = json_object_get(c, "password");
        const char *encoded = text_of(c, "encoded"), *expect = text_of(c, "expect");
        double start = cpu_ms();
        sa_password_verdict_t verdict = verify(encoded, json_string_value(password),
                                               json_string_length(password));
        double spent = cpu_ms() - start;

        if (!strcmp(expect, "match")) {
            vectors_case(&v, verdict == good_verdict(encoded), text_of(c, "id"), "no match");
        }
        else if (!strcmp(expect, "no_match")) {
            vectors_case(&v, verdict == SA_PASSWORD_MISMATCH, text_of(c, "id"), "matches");
        }
        else {
            /* unusable, reject_format, reject_cost: also the time of a wrong password */
            vectors_case(&v, verdict == SA_PASSWORD_MISMATCH && spent < 3 * wrong + 20
                                 && spent > wrong / 3,
                         text_of(c, "id"), "matches, or takes another time");
        }
    }
    vectors_end(&v, number_of(file, "count"));
}

static void test_wycheproof_pbkdf2(void **state)
{
    json_t *file = vectors_load(pool, "wycheproof/pbkdf2_hmacsha256_test.json");
    vectors_t v = {0, 0};
    size_t i, k;
    json_t *group, *t;

    json_array_foreach(json_object_get(file, "testGroups"), i, group) {
        json_array_foreach(json_object_get(group, "tests"), k, t) {
            size_t len, salt_len, dk_len;
            unsigned char *password = hex_of(t, "password", &len);
            unsigned char *salt = hex_of(t, "salt", &salt_len);
            unsigned char *dk = hex_of(t, "dk", &dk_len);
            unsigned char *out = malloc(dk_len);
            assert_non_null(out);
            apr_status_t rv = sa_pbkdf2_sha256((char *)password, len, salt, salt_len,
                                               number_of(t, "iterationCount"), out, dk_len);
            int equal = rv == APR_SUCCESS && !memcmp(out, dk, dk_len);
            vectors_case(&v, equal == !strcmp(text_of(t, "result"), "valid"),
                         apr_itoa(pool, number_of(t, "tcId")), "wrong key");
            free(password);
            free(salt);
            free(dk);
            free(out);
        }
    }
    vectors_end(&v, number_of(file, "numberOfTests"));
}

/* Those that are no hash in Django's notation, which is all that is read here. */
static const struct {
    const char *id, *why;
} no_hash[] = {
    {"rfc7914-12-1", "an empty salt"},
    {"rfc9106-5.3", "a secret and associated data"},
};

static int is_no_hash(const char *id)
{
    for (size_t i = 0; i < sizeof(no_hash) / sizeof(no_hash[0]); i++) {
        if (!strcmp(id, no_hash[i].id)) {
            print_message("note: %s has %s\n", id, no_hash[i].why);
            return 1;
        }
    }
    return 0;
}

static const char *base64(const unsigned char *data, size_t len)
{
    char *text = apr_palloc(pool, (apr_size_t)apr_base64_encode_len((int)len));
    apr_base64_encode_binary(text, data, (int)len);
    return text;
}

/* NULL when the vector is of another type. PBKDF2's blocks are independent: Django keeps one. */
static const char *in_djangos_notation(const json_t *v)
{
    const char *type = text_of(v, "type"), *salt = text_of(v, "salt");
    int is_pbkdf2 = !strcmp(type, "pbkdf2_sha256");
    size_t len;

    if (!is_pbkdf2 && strcmp(type, "scrypt")) {
        return NULL;
    }
    unsigned char *hash = hex_of(v, "hex", &len);
    const char *encoded = is_pbkdf2
        ? apr_psprintf(pool, "pbkdf2_sha256$%d$%s$%s", number_of(v, "c"), salt, base64(hash, 32))
        : apr_psprintf(pool, "scrypt$%d$%s$%d$%d$%s", number_of(v, "n"), salt, number_of(v, "r"),
                       number_of(v, "p"), base64(hash, len));
    free(hash);
    return encoded;
}

static void test_T88_rfc_passwords(void **state)
{
    json_t *file = vectors_load(pool, "rfc/rfc_vectors.json");
    vectors_t v = {0, 0};
    int left_out = 0;
    size_t i;
    json_t *vector;

    json_array_foreach(json_object_get(file, "vectors"), i, vector) {
        const char *id = text_of(vector, "id"), *password = text_of(vector, "password");
        if (is_no_hash(id)) {
            left_out++;
            continue;
        }
        const char *encoded = in_djangos_notation(vector);
        if (encoded) {
            vectors_case(&v, verify(encoded, password, strlen(password)) == SA_PASSWORD_MATCH_REHASH
                             && verify(encoded, password, strlen(password) - 1)
                                == SA_PASSWORD_MISMATCH, id, "another hash");
        }
    }
    assert_int_equal(left_out, sizeof(no_hash) / sizeof(no_hash[0]));
    vectors_end(&v, 2);
}

static void test_hash_and_verify(void **state)
{
    char *one = sa_password_hash(pool, "correct horse", 13);
    char *two = sa_password_hash(pool, "correct horse", 13);

    assert_non_null(one);
    assert_non_null(two);
    assert_string_not_equal(one, two);
    assert_int_equal(strncmp(one, "argon2$argon2id$v=19$m=19456,t=2,p=1$", 37), 0);
    assert_int_equal(strlen(one), 37 + 22 + 1 + 43);
    assert_int_equal(verify(one, "correct horse", 13), SA_PASSWORD_MATCH);
    assert_int_equal(verify(one, "correct horsf", 13), SA_PASSWORD_MISMATCH);
    assert_int_equal(verify(one, "correct hors", 12), SA_PASSWORD_MISMATCH);
    assert_int_equal(verify(one, "", 0), SA_PASSWORD_MISMATCH);
    assert_true(sa_password_usable(one));
}

static void test_T71_nul_bytes_count(void **state)
{
    char *hash = sa_password_hash(pool, "pw\0x", 4);

    assert_non_null(hash);
    assert_int_equal(verify(hash, "pw\0x", 4), SA_PASSWORD_MATCH);
    assert_int_equal(verify(hash, "pw", 2), SA_PASSWORD_MISMATCH);
    assert_int_equal(verify(hash, "pw\0", 3), SA_PASSWORD_MISMATCH);
    assert_int_equal(verify(hash, "pw\0y", 4), SA_PASSWORD_MISMATCH);
}

static void test_T72_length_limit(void **state)
{
    char *longest = apr_palloc(pool, SA_PASSWORD_MAX + 1);
    memset(longest, 'x', SA_PASSWORD_MAX + 1);
    char *hash = sa_password_hash(pool, longest, SA_PASSWORD_MAX);

    assert_non_null(hash);
    assert_int_equal(verify(hash, longest, SA_PASSWORD_MAX), SA_PASSWORD_MATCH);
    longest[SA_PASSWORD_MAX - 1] = 'y';
    assert_int_equal(verify(hash, longest, SA_PASSWORD_MAX), SA_PASSWORD_MISMATCH);
    longest[SA_PASSWORD_MAX - 1] = 'x';
    assert_null(sa_password_hash(pool, longest, SA_PASSWORD_MAX + 1));
    double best = 1000;
    for (int i = 0; i < 10; i++) {
        double start = cpu_ms();
        assert_int_equal(verify(hash, longest, SA_PASSWORD_MAX + 1), SA_PASSWORD_MISMATCH);
        double took = cpu_ms() - start;
        best = took < best ? took : best;
    }
    assert_true(best < 5);
}

/* What a gate must know beforehand: Django's own Argon2 takes the memory of six of ours. */
static void test_T75_cost_of_a_stored_hash(void **state)
{
    static const struct {
        const char *encoded;
        int weight, is_ours;
    } cases[] = {
        { NULL, 1, 1 }, { "", 1, 1 }, { "!abc", 1, 1 }, { "md5$x$y", 1, 1 },
        { "argon2$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA", 1, 1 },
        { "argon2$argon2id$v=19$m=19457,t=2,p=1$c2FsdHNhbHQ$aGFzaA", 2, 0 },
        { "argon2$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA", 1, 0 },
        { "argon2$argon2id$v=19$m=102400,t=2,p=8$c2FsdHNhbHQ$aGFzaA", 6, 0 },
        { "argon2$argon2id$v=19$m=99999999,t=2,p=8$c2FsdHNhbHQ$aGFzaA", 1, 1 },
        { "pbkdf2_sha256$260000$salt$hash", 1, 0 }, { "bcrypt_sha256$$2b$12$x", 1, 0 },
        { "scrypt$16384$salt$8$1$hash", 1, 0 }, { "scrypt$65536$salt$8$1$hash", 4, 0 },
        { "scrypt$99999$salt$8$1$hash", 1, 1 },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        sa_password_cost_t cost = sa_password_cost(cases[i].encoded);
        assert_int_equal(cost.weight, cases[i].weight);
        assert_int_equal(cost.is_ours, cases[i].is_ours);
    }
}

static void test_T76_unusable(void **state)
{
    char *one = sa_password_unusable(pool), *two = sa_password_unusable(pool);

    assert_non_null(one);
    assert_non_null(two);
    assert_int_equal(one[0], '!');
    assert_int_equal(strlen(one), 41);
    assert_string_not_equal(one, two);
    assert_false(sa_password_usable(one));
    assert_false(sa_password_usable(""));
    assert_false(sa_password_usable(NULL));
    assert_int_equal(verify(one, "", 0), SA_PASSWORD_MISMATCH);
    assert_int_equal(verify(one, one, strlen(one)), SA_PASSWORD_MISMATCH);
    assert_int_equal(verify(one, one + 1, 40), SA_PASSWORD_MISMATCH);
    assert_int_equal(verify("", "", 0), SA_PASSWORD_MISMATCH);
    assert_int_equal(verify("", "null", 4), SA_PASSWORD_MISMATCH);
}

static void test_unknown_user_costs_a_hash(void **state)
{
    double wrong = wrong_password_ms();
    double start = cpu_ms();

    for (int i = 0; i < 5; i++) {
        assert_int_equal(verify(NULL, "some password", 13), SA_PASSWORD_MISMATCH);
    }
    double unknown = (cpu_ms() - start) / 5;
    assert_true(unknown > wrong / 3 && unknown < wrong * 3);
}

/* Every value here is one change away from one that matches. */
static void test_T69_strict_reading(void **state)
{
    static const char *const good[] = {
        "pbkdf2_sha256$1$s1$NpvbShiLBm1icjd6kcO+D7qsyN06Z1IXUxdSekf3KFo=",
    };
    static const char *const bad[] = {
        "pbkdf2_sha256$01$s1$NpvbShiLBm1icjd6kcO+D7qsyN06Z1IXUxdSekf3KFo=",
        "pbkdf2_sha256$+1$s1$NpvbShiLBm1icjd6kcO+D7qsyN06Z1IXUxdSekf3KFo=",
        "pbkdf2_sha256$0$s1$NpvbShiLBm1icjd6kcO+D7qsyN06Z1IXUxdSekf3KFo=",
        "pbkdf2_sha256$1$s1$NpvbShiLBm1icjd6kcO-D7qsyN06Z1IXUxdSekf3KFo=",
        "pbkdf2_sha256$1$s1$NpvbShiLBm1icjd6kcO+D7qsyN06Z1IXUxdSekf3KFp=",
        "pbkdf2_sha256$1$s1$NpvbShiLBm1icjd6kcO+D7qsyN06Z1IXUxdSekf3KFo",
        "pbkdf2_sha256$1$s1$NpvbShiLBm1icjd6kcO+D7qsyN06Z1IXUxdSekf3KFo==",
        "pbkdf2_sha256$1$s1$NpvbShiLBm1icjd6kcO+D7qsyN06Z1IXUxdSekf3KFo=$",
        "pbkdf2_sha256$1$s1$NpvbShiLBm1icjd6kcO+D7qsyN06Z1IXUxdSekf3KFo= ",
        " pbkdf2_sha256$1$s1$NpvbShiLBm1icjd6kcO+D7qsyN06Z1IXUxdSekf3KFo=",
        "PBKDF2_SHA256$1$s1$NpvbShiLBm1icjd6kcO+D7qsyN06Z1IXUxdSekf3KFo=",
        "!pbkdf2_sha256$1$s1$NpvbShiLBm1icjd6kcO+D7qsyN06Z1IXUxdSekf3KFo=",
    };
    static const char password[] = "correct horse battery staple";

    assert_int_equal(verify(good[0], password, strlen(password)), SA_PASSWORD_MATCH_REHASH);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(verify(bad[i], password, strlen(password)), SA_PASSWORD_MISMATCH);
    }
    for (size_t len = 0; len < strlen(good[0]); len += 3) {
        const char *cut = apr_pstrmemdup(pool, good[0], len);
        assert_int_equal(verify(cut, password, strlen(password)), SA_PASSWORD_MISMATCH);
    }
}

/* Costs beyond the caps, for every format, in the time of a wrong password. */
static void test_T70_cost_caps(void **state)
{
    static const char *const bombs[] = {
        "pbkdf2_sha256$10000001$s1$NpvbShiLBm1icjd6kcO+D7qsyN06Z1IXUxdSekf3KFo=",
        "argon2$argon2id$v=19$m=262145,t=1,p=1$c2Vhc2FsdE5hQ2w$AAAAAAAAAAAAAAAAAAAAAA",
        "argon2$argon2id$v=19$m=8,t=17,p=1$c2Vhc2FsdE5hQ2w$AAAAAAAAAAAAAAAAAAAAAA",
        "argon2$argon2id$v=19$m=1024,t=1,p=17$c2Vhc2FsdE5hQ2w$AAAAAAAAAAAAAAAAAAAAAA",
        "argon2$argon2id$v=19$m=262144,t=3,p=1$c2Vhc2FsdE5hQ2w$AAAAAAAAAAAAAAAAAAAAAA",
        "argon2$argon2id$v=19$m=4294967304,t=1,p=1$c2Vhc2FsdE5hQ2w$AAAAAAAAAAAAAAAAAAAAAA",
        "argon2$argon2id$v=19$m=15,t=1,p=2$c2Vhc2FsdE5hQ2w$AAAAAAAAAAAAAAAAAAAAAA",
        "scrypt$262144$salt$8$1$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
            "AAAAAAAAAAAAAAAAAAAAAA==",
        "scrypt$16384$salt$8$17$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
            "AAAAAAAAAAAAAAAAAAAAAA==",
        "scrypt$131072$salt$8$5$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
            "AAAAAAAAAAAAAAAAAAAAAA==",
        "bcrypt_sha256$$2b$16$abcdefghijklmnopqrstuuPVQW4ylDLKKUqjTSQ0gYQYVQjI2bKVW",
        "bcrypt_sha256$$2b$03$abcdefghijklmnopqrstuuPVQW4ylDLKKUqjTSQ0gYQYVQjI2bKVW",
    };
    double wrong = wrong_password_ms();

    for (size_t i = 0; i < sizeof(bombs) / sizeof(bombs[0]); i++) {
        double start = cpu_ms();
        assert_int_equal(verify(bombs[i], "password", 8), SA_PASSWORD_MISMATCH);
        assert_true(cpu_ms() - start < 3 * wrong + 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_T68_T69_T70_T73_django_vectors),
        cmocka_unit_test(test_wycheproof_pbkdf2),
        cmocka_unit_test(test_T88_rfc_passwords),
        cmocka_unit_test(test_hash_and_verify),
        cmocka_unit_test(test_T71_nul_bytes_count),
        cmocka_unit_test(test_T72_length_limit),
        cmocka_unit_test(test_T75_cost_of_a_stored_hash),
        cmocka_unit_test(test_T76_unusable),
        cmocka_unit_test(test_unknown_user_costs_a_hash),
        cmocka_unit_test(test_T69_strict_reading),
        cmocka_unit_test(test_T70_cost_caps),
    };

    apr_initialize();
    if (sa_crypto_init() != APR_SUCCESS) {
        return 1;
    }
    return cmocka_run_group_tests(tests, setup, teardown);
}
