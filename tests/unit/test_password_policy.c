/* Django's four password validators, against Django itself and at their edges. */
#include "vectors.h"

#include "core/crypto.h"
#include "core/password.h"
#include "core/password_policy.h"

#include <apr_general.h>
#include <apr_time.h>
#include <stdio.h>
#include <time.h>

static apr_pool_t *pool;
static const sa_password_owner_t nobody = { NULL, NULL, NULL, NULL };

static int setup(void **state)
{
    return apr_pool_create(&pool, NULL) == APR_SUCCESS ? 0 : -1;
}

static int teardown(void **state)
{
    apr_pool_destroy(pool);
    return 0;
}

static const sa_password_policy_t *usual(void)
{
    static sa_password_policy_t policy = { .min_length = 8, .similarity = 1, .common = 1,
                                           .numeric = 1 };
    policy.list = &sa_common_passwords;
    return &policy;
}

/* Everything that is said, joined by '|'. */
static const char *said(const sa_password_policy_t *policy, const sa_password_owner_t *owner,
                        const char *password)
{
    sa_error_t *errors = NULL;
    const char *out = "";

    sa_password_judge(pool, policy, owner, password, "password", &errors);
    for (int i = 0; errors && i < errors->fields->nelts; i++) {
        const sa_field_error_t *field = &APR_ARRAY_IDX(errors->fields, i, sa_field_error_t);
        assert_string_equal(field->name, "password");
        assert_string_equal(errors->word, "invalid");
        out = apr_pstrcat(pool, out, *out ? "|" : "", field->text, NULL);
    }
    return out;
}

static const char *top(void)
{
    const char *dir = getenv("SA_TOP_SRCDIR");
    return dir ? dir : ".";
}

static json_t *ask_django(void)
{
    const char *command = apr_psprintf(pool, "/usr/bin/python3 '%s/tests/unit/django_passwords.py' "
                                       "'%s/conf/common-passwords.txt'", top(), top());
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    json_t *cases = sa_json_own(pool, json_loadf(pipe, 0, NULL));
    assert_int_equal(pclose(pipe), 0);
    return cases;
}

static void test_T74_as_django_says(void **state)
{
    vectors_t v = {0, 0};
    size_t i, k;
    json_t *one, *message;

    if (system("/usr/bin/python3 -c 'import django' 2>/dev/null") != 0) {
        skip();
    }
    json_t *cases = ask_django();
    json_array_foreach(cases, i, one) {
        const char *text[5], *expected = "";
        for (k = 0; k < 5; k++) {
            text[k] = json_string_value(json_array_get(one, k));
        }
        json_array_foreach(json_array_get(one, 5), k, message) {
            expected = apr_pstrcat(pool, expected, *expected ? "|" : "",
                                   json_string_value(message), NULL);
        }
        const sa_password_owner_t owner = { text[1], text[2], text[3], text[4] };
        const char *got = said(usual(), &owner, text[0]);
        vectors_case(&v, !strcmp(got, expected), text[0],
                     apr_pstrcat(pool, "we say: ", got, "; Django: ", expected, NULL));
    }
    assert_true(json_array_size(cases) > 1000);
    vectors_end(&v, (int)json_array_size(cases));
}

static void test_T74_several_at_once(void **state)
{
    const sa_password_owner_t owner = { .username = "123" };

    assert_string_equal(said(usual(), &nobody, "password1"), "This password is too common.");
    assert_string_equal(said(usual(), &owner, "1234"),
                        "The password is too similar to the username.|This password is too short. "
                        "It must contain at least 8 characters.|This password is too common.|"
                        "This password is entirely numeric.");
    assert_string_equal(said(usual(), &nobody, "correct horse"), "");
}

static void test_each_can_be_switched_off(void **state)
{
    const sa_password_owner_t owner = { .username = "123" };
    sa_password_policy_t policy = *usual();

    policy.similarity = policy.common = policy.numeric = policy.min_length = 0;
    assert_string_equal(said(&policy, &owner, "1234"), "");
    policy.min_length = 1;
    assert_string_equal(said(&policy, &owner, ""), "This password is too short. It must contain "
                        "at least 1 character.");
    policy.min_length = 0;
    policy.numeric = 1;
    assert_string_equal(said(&policy, &owner, "1234"), "This password is entirely numeric.");
    policy.numeric = 0;
    policy.common = 1;
    assert_string_equal(said(&policy, &owner, "1234"), "This password is too common.");
    policy.common = 0;
    policy.similarity = 1;
    assert_string_equal(said(&policy, &owner, "1234"),
                        "The password is too similar to the username.");
}

/* The list is searched by bisection: each of its lines must be found, and nothing beside them. */
static void test_T74_all_common_passwords(void **state)
{
    sa_password_policy_t policy = { .common = 1, .list = &sa_common_passwords };
    const char *line = sa_common_passwords.text;
    int n = 0;

    while (*line) {
        const char *end = strchr(line, '\n');
        assert_non_null(end);
        char *word = apr_pstrmemdup(pool, line, (apr_size_t)(end - line));
        assert_string_equal(said(&policy, &nobody, word), "This password is too common.");
        assert_string_equal(said(&policy, &nobody, apr_pstrcat(pool, word, "\x7f", NULL)), "");
        line = end + 1;
        n++;
    }
    assert_in_range(n, 3000, 100000);
    assert_string_equal(said(&policy, &nobody, "\t TRUSTNO1 "), "This password is too common.");
    assert_string_equal(said(&policy, &nobody, ""), "");
}

static const char *write_file(const char *text, size_t len)
{
    char *path = apr_pstrdup(pool, "/tmp/sa-words-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), len);
    close(fd);
    return path;
}

static void test_a_list_of_ones_own(void **state)
{
    static const char text[] = "# a comment\nzebra\n  Пароль \r\n\n#1\nAardvark";
    const char *path = write_file(text, strlen(text));
    sa_password_policy_t policy = { .common = 1 };

    assert_null(sa_common_passwords_load(pool, path, &policy.list));
    unlink(path);
    static const char *const found[] = { "zebra", "ПАРОЛЬ", "#1", "aardvark", " ZEBRA" };
    static const char *const not_found[] = { "# a comment", "a comment", "", "zebr", "123456" };
    for (int i = 0; i < 5; i++) {
        assert_string_equal(said(&policy, &nobody, found[i]), "This password is too common.");
        assert_string_equal(said(&policy, &nobody, not_found[i]), "");
    }
    path = write_file("", 0);
    assert_null(sa_common_passwords_load(pool, path, &policy.list));
    unlink(path);
    assert_string_equal(said(&policy, &nobody, "zebra"), "");
}

static void test_lists_that_are_none(void **state)
{
    const sa_common_passwords_t *list;
    const char *path = write_file("a\0b\n", 4);

    assert_non_null(sa_common_passwords_load(pool, path, &list));
    unlink(path);
    assert_non_null(sa_common_passwords_load(pool, path, &list));
    assert_non_null(sa_common_passwords_load(pool, "/tmp", &list));
    assert_non_null(sa_common_passwords_load(pool, "/dev/zero", &list));
}

static void test_T72_longest(void **state)
{
    char *longest = apr_palloc(pool, SA_PASSWORD_MAX + 2);

    for (int i = 0; i <= SA_PASSWORD_MAX; i++) {
        longest[i] = (char)('a' + i % 23);
    }
    longest[SA_PASSWORD_MAX + 1] = '\0';
    assert_string_equal(said(usual(), &nobody, longest),
                        "Ensure this field has no more than 4096 characters.");
    longest[SA_PASSWORD_MAX] = '\0';
    assert_string_equal(said(usual(), &nobody, longest), "");
}

static double cpu_ms(void)
{
    return (double)clock() * 1000 / CLOCKS_PER_SEC;
}

/* The longest password against names as long as a body can bring, of any number of words. */
static void test_T72_similarity_costs_little(void **state)
{
    enum { NAME = 60000 };
    static char name[NAME + 1], password[SA_PASSWORD_MAX + 1];
    static const int words[] = { 1, 5, 100, 2300, 4096, 4500, NAME };
    const sa_password_owner_t owner = { name, name, name, name };

    memset(password, 'p', SA_PASSWORD_MAX);
    for (int w = 0; w < 7; w++) {
        memset(name, 'n', NAME);
        for (int i = words[w]; i < NAME; i += words[w] + 1) {
            name[i] = '.';
        }
        double start = cpu_ms();
        assert_string_equal(said(usual(), &owner, password), "");
        assert_true(cpu_ms() - start < 500);
    }
}

/* A table may hold any bytes. */
static void test_attributes_that_are_no_utf8(void **state)
{
    const sa_password_owner_t owner = { "\xff\xfe\x80", "\xc3", "ada\xe2\x82", "\xf0\x9f" };

    assert_string_equal(said(usual(), &owner, "correct horse"), "");
    assert_string_equal(said(usual(), &owner, "adaadaada"), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_T74_as_django_says),
        cmocka_unit_test(test_T74_several_at_once),
        cmocka_unit_test(test_each_can_be_switched_off),
        cmocka_unit_test(test_T74_all_common_passwords),
        cmocka_unit_test(test_a_list_of_ones_own),
        cmocka_unit_test(test_lists_that_are_none),
        cmocka_unit_test(test_T72_longest),
        cmocka_unit_test(test_T72_similarity_costs_little),
        cmocka_unit_test(test_attributes_that_are_no_utf8),
    };

    apr_initialize();
    if (sa_crypto_init() != APR_SUCCESS) {
        return 1;
    }
    return vectors_result(cmocka_run_group_tests(tests, setup, teardown));
}
