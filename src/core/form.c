#include "core/form.h"
#include "core/json.h"
#include "core/text.h"

#include <apr_encode.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <stdarg.h>
#include <string.h>

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int is_allowed(unsigned char c)
{
    return (c >= 0x20 && c != 0x7F) || c == '\t' || c == '\r' || c == '\n';
}

/* One percent-decoded component in p; NULL and *why when it is not text. */
static char *decode(apr_pool_t *p, const char *text, apr_size_t len, apr_size_t *out_len,
                    const char **why)
{
    char *out = apr_palloc(p, len + 1);
    apr_size_t n = 0;

    for (apr_size_t i = 0; i < len; i++) {
        int c = text[i] == '+' ? ' ' : (unsigned char)text[i];

        if (c == '%') {
            int high = i + 2 < len ? hex_value(text[i + 1]) : -1;
            int low = i + 2 < len ? hex_value(text[i + 2]) : -1;

            if (high < 0 || low < 0) {
                *why = "malformed percent escape";
                return NULL;
            }
            c = high << 4 | low;
            i += 2;
        }
        if (!is_allowed((unsigned char)c)) {
            *why = "control character";
            return NULL;
        }
        out[n++] = (char)c;
    }
    out[n] = '\0';
    if (!sa_utf8_valid(out, n)) {
        *why = "invalid UTF-8";
        return NULL;
    }
    *out_len = n;
    return out;
}

/* Adds one "name=value"; 0 and *why when it cannot be. */
static int add_pair(apr_pool_t *p, json_t *form, const char *pair, apr_size_t len,
                    const char **why)
{
    const char *equals = memchr(pair, '=', len);
    apr_size_t name_len = equals ? (apr_size_t)(equals - pair) : len;
    apr_size_t value_len = equals ? len - name_len - 1 : 0;
    char *name = decode(p, pair, name_len, &name_len, why);
    char *value = name ? decode(p, equals ? equals + 1 : "", value_len, &value_len, why) : NULL;

    if (!value) {
        return 0;
    }
    if (!name_len) {
        return 1;
    }
    if (json_object_get(form, name)) {
        *why = "a field is given twice";
        return 0;
    }
    if (json_object_set_new_nocheck(form, name, json_stringn_nocheck(value, value_len))) {
        *why = "out of memory";
        return 0;
    }
    return 1;
}

json_t *sa_form_parse(apr_pool_t *p, const char *text, apr_size_t len, const char **why)
{
    const char *end = text + len;
    json_t *form = sa_json_own(p, json_object());
    int pairs = 0;

    if (!form) {
        *why = "out of memory";
        return NULL;
    }
    while (text < end) {
        const char *amp = memchr(text, '&', (apr_size_t)(end - text));
        const char *stop = amp ? amp : end;

        if (stop > text) {
            if (++pairs > SA_FORM_MAX_PAIRS) {
                *why = "too many fields";
                return NULL;
            }
            if (!add_pair(p, form, text, (apr_size_t)(stop - text), why)) {
                return NULL;
            }
        }
        text = stop + 1;
    }
    return form;
}

int sa_basic_parse(apr_pool_t *p, const char *encoded, const char **id, const char **secret)
{
    apr_size_t len = 0, ignored;
    const char *why;
    const char *pair = apr_pdecode_base64(p, encoded, APR_ENCODE_STRING, APR_ENCODE_NONE, &len);
    const char *colon = pair ? memchr(pair, ':', len) : NULL;

    if (!colon) {
        return 0;
    }
    *id = decode(p, pair, (apr_size_t)(colon - pair), &ignored, &why);
    *secret = decode(p, colon + 1, (apr_size_t)(pair + len - colon - 1), &ignored, &why);
    return *id && *secret;
}

static int is_unreserved(unsigned char c)
{
    return c < 0x80 && (apr_isalnum(c) || c == '-' || c == '.' || c == '_' || c == '~');
}

char *sa_percent_encode(apr_pool_t *p, const char *text)
{
    static const char hex[] = "0123456789ABCDEF";
    char *out = apr_palloc(p, strlen(text) * 3 + 1);
    char *o = out;

    for (const unsigned char *s = (const unsigned char *)text; *s; s++) {
        if (is_unreserved(*s)) {
            *o++ = (char)*s;
            continue;
        }
        *o++ = '%';
        *o++ = hex[*s >> 4];
        *o++ = hex[*s & 15];
    }
    *o = '\0';
    return out;
}

char *sa_form_encode(apr_pool_t *p, const char *name, ...)
{
    char *out = apr_pstrdup(p, "");
    va_list args;

    va_start(args, name);
    while (name) {
        const char *value = va_arg(args, const char *);
        if (value) {
            out = apr_pstrcat(p, out, *out ? "&" : "", sa_percent_encode(p, name), "=",
                              sa_percent_encode(p, value), NULL);
        }
        name = va_arg(args, const char *);
    }
    va_end(args);
    return out;
}
