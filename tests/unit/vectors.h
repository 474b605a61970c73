/* Test vectors: where they are, and one verdict per case.
 *
 * A case that fails prints its id; the test fails at the end, so that one run names
 * them all. vectors_end also fails when fewer cases ran than the file was known to hold. */
#ifndef TESTS_UNIT_VECTORS_H
#define TESTS_UNIT_VECTORS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/json.h"

#include <apr_pools.h>
#include <apr_strings.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    int driven;
    int failed;
} vectors_t;

static int vectors_missing;

/* main's result: 77 (automake's SKIP) when nothing failed but vectors were missing. */
static inline int vectors_result(int failed)
{
    return failed == 0 && vectors_missing > 0 ? 77 : failed;
}

/* The parsed file, owned by p. Without it the test is skipped, or fails if SA_REQUIRE_VECTORS=1. */
static inline json_t *vectors_load(apr_pool_t *p, const char *name)
{
    const char *dir = getenv("SA_VECTORS");
    const char *required = getenv("SA_REQUIRE_VECTORS");
    const char *path = apr_pstrcat(p, dir != NULL ? dir : "../shared/vectors", "/", name, NULL);
    json_error_t error;
    if (access(path, R_OK) != 0) {
        if (required != NULL && strcmp(required, "1") == 0) {
            fail_msg("%s is missing (set SA_VECTORS)", path);
        }
        print_message("note: %s is missing, nothing counted\n", path);
        vectors_missing++;
        skip();
    }
    json_t *file = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (file == NULL) {
        fail_msg("%s: %s", path, error.text);
    }
    return sa_json_own(p, file);
}

static inline void vectors_case(vectors_t *v, int good, const char *id, const char *what)
{
    v->driven++;
    if (!good) {
        v->failed++;
        print_error("case %s: %s\n", id, what);
    }
}

static inline void vectors_end(const vectors_t *v, int due)
{
    assert_int_equal(v->failed, 0);
    assert_int_equal(v->driven, due);
}

static inline const char *text_of(const json_t *j, const char *name)
{
    return json_string_value(json_object_get(j, name));
}

static inline int number_of(const json_t *j, const char *name)
{
    return (int)json_integer_value(json_object_get(j, name));
}

/* The bytes of the hexadecimal member `name`, in an allocation of exactly their
 * size, so that a sanitizer sees a read past their end; the caller frees it. */
static inline unsigned char *hex_of(const json_t *j, const char *name, size_t *len)
{
    const char *text = text_of(j, name);
    assert_non_null(text);
    *len = strlen(text) / 2;
    unsigned char *data = malloc(*len > 0 ? *len : 1);
    assert_non_null(data);
    for (size_t i = 0; i < *len; i++) {
        char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};
        data[i] = (unsigned char)strtoul(pair, NULL, 16);
    }
    return data;
}

#endif
