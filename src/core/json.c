#include "core/json.h"

#include <apr_strings.h>

#define MAX_DEPTH 100

static apr_status_t release(void *j)
{
    json_decref(j);
    return APR_SUCCESS;
}

json_t *sa_json_own(apr_pool_t *p, json_t *j)
{
    if (j != NULL) {
        apr_pool_cleanup_register(p, j, release, apr_pool_cleanup_null);
    }
    return j;
}

/* The parser recurses per level, so depth is bounded before it runs. Brackets
 * inside strings do not count; text that is not JSON is the parser's to refuse. */
static int too_deep(const char *text, apr_size_t len)
{
    int depth = 0;
    int in_string = 0;
    for (apr_size_t i = 0; i < len; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\') {
                i++;
            }
            else if (c == '"') {
                in_string = 0;
            }
        }
        else if (c == '"') {
            in_string = 1;
        }
        else if (c == '[' || c == '{') {
            if (++depth > MAX_DEPTH) {
                return 1;
            }
        }
        else if (c == ']' || c == '}') {
            depth--;
        }
    }
    return 0;
}

/* jansson's own messages quote the text, which may hold a secret. */
static const char *reason(const json_error_t *error)
{
    switch (json_error_code(error)) {
    case json_error_out_of_memory:
        return "Out of memory";
    case json_error_premature_end_of_input:
        return "Unexpected end";
    case json_error_end_of_input_expected:
        return "Extra data";
    case json_error_invalid_utf8:
        return "Invalid UTF-8";
    case json_error_duplicate_key:
        return "Duplicate member";
    case json_error_null_character:
    case json_error_null_byte_in_key:
        return "NUL character";
    case json_error_numeric_overflow:
        return "Number out of range";
    default:
        return "Invalid syntax";
    }
}

json_t *sa_json_parse(apr_pool_t *p, const char *text, apr_size_t len, const char **why)
{
    if (too_deep(text, len)) {
        *why = "Nested too deeply";
        return NULL;
    }
    json_error_t error;
    json_t *j = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (j == NULL) {
        *why = apr_psprintf(p, "%s: line %d column %d", reason(&error), error.line, error.column);
    }
    return sa_json_own(p, j);
}

char *sa_json_dump(apr_pool_t *p, const json_t *j)
{
    /* Not json_dumps: when its buffer cannot grow it leaves out a piece and goes on. */
    size_t len = json_dumpb(j, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
    char *text = len ? apr_palloc(p, len + 1) : NULL;
    if (text == NULL || json_dumpb(j, text, len, JSON_COMPACT | JSON_ENCODE_ANY) != len) {
        return NULL;
    }
    text[len] = '\0';
    return text;
}

const char *sa_json_string(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}
