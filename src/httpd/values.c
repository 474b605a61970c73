/* The values directives take: one parser per kind, each with a phrase that says what is allowed. */
#include "httpd/dir_conf.h"
#include "core/crypto.h"
#include "core/text.h"
#include "core/url.h"

#include <apr_base64.h>
#include <apr_lib.h>
#include <apr_strings.h>

typedef struct {
    const char *suffix;
    apr_int64_t factor;
} sa_unit_t;

static const sa_unit_t units_seconds[] = {
    { "", 1 }, { "s", 1 }, { "m", 60 }, { "min", 60 }, { "h", 3600 }, { "d", 86400 }, { NULL, 0 }
};
static const sa_unit_t units_millis[] = {
    { "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "min", 60000 }, { NULL, 0 }
};
static const sa_unit_t units_bytes[] = {
    { "", 1 }, { "k", 1024 }, { "m", 1024 * 1024 }, { NULL, 0 }
};
static const sa_unit_t units_count[] = { { "", 1 }, { NULL, 0 } };

static const sa_unit_t *const units[] = {
    [SA_UNIT_SECONDS] = units_seconds,
    [SA_UNIT_MILLIS] = units_millis,
    [SA_UNIT_BYTES] = units_bytes,
    [SA_UNIT_COUNT] = units_count
};

static const char *number_allowed(apr_pool_t *p, int unit, int min, int max)
{
    switch (unit) {
    case SA_UNIT_SECONDS:
        return apr_psprintf(p, "must be a whole number of seconds from %d to %d "
                            "(or one with s, m, h or d behind it)", min, max);
    case SA_UNIT_MILLIS:
        return apr_psprintf(p, "must be a time from %dms to %ds: whole seconds, "
                            "or a number with ms, s or m behind it", min, max / 1000);
    case SA_UNIT_BYTES:
        return apr_psprintf(p, "must be a number of bytes from %d to %d "
                            "(or one with K or M behind it)", min, max);
    default:
        return apr_psprintf(p, "must be a whole number from %d to %d", min, max);
    }
}

const char *sa_parse_number(apr_pool_t *p, const char *text, int unit, int min, int max,
                            int *value)
{
    const char *c = text;
    apr_int64_t n = 0;

    while (apr_isdigit(*c) && n <= APR_INT32_MAX) {
        n = n * 10 + (*c++ - '0');
    }
    if (c == text || n > APR_INT32_MAX) {
        return number_allowed(p, unit, min, max);
    }
    for (const sa_unit_t *u = units[unit]; u->suffix; u++) {
        if (ap_cstr_casecmp(c, u->suffix) == 0) {
            n *= u->factor;
            if (n < min || n > max) {
                break;
            }
            *value = (int)n;
            return NULL;
        }
    }
    return number_allowed(p, unit, min, max);
}

static apr_size_t identifier_length(const char *text)
{
    const char *c = text;

    if (!apr_isalpha(*c) && *c != '_') {
        return 0;
    }
    while (apr_isalnum(*c) || *c == '_' || *c == '$') {
        c++;
    }
    return (apr_size_t)(c - text);
}

const char *sa_parse_identifier(const char *text, int dotted)
{
    apr_size_t len = identifier_length(text);

    if (dotted && len > 0 && len <= 63 && text[len] == '.') {
        text += len + 1;
        len = identifier_length(text);
    }
    if (len > 0 && len <= 63 && text[len] == '\0') {
        return NULL;
    }
    return dotted
        ? "must be a table name or schema.table, each of letters, digits, '_' and '$', at most "
          "63, not starting with a digit"
        : "must be a column name of letters, digits, '_' and '$', at most 63, not starting with "
          "a digit";
}

int sa_is_http_token(const char *text)
{
    if (!*text) {
        return 0;
    }
    for (; *text; text++) {
        if (!apr_isalnum(*text) && !strchr("!#$%&'*+-.^_`|~", *text)) {
            return 0;
        }
    }
    return 1;
}

static int is_base64(const char *text)
{
    apr_size_t len = strlen(text);
    apr_size_t body = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                   "0123456789+/");

    return len > 0 && len % 4 == 0 && len - body <= 2
        && strspn(text + body, "=") == len - body;
}

const char *sa_parse_webhook_secret(apr_pool_t *p, const char *text, const unsigned char **key,
                                    apr_size_t *len)
{
    static const char phrase[] = "the secret must be whsec_ and the base64 text of 24 to 64 random "
                                 "bytes";
    unsigned char buf[128];

    if (strncmp(text, "whsec_", 6) != 0 || !is_base64(text + 6) || strlen(text + 6) > 88) {
        return phrase;
    }
    int n = apr_base64_decode_binary(buf, text + 6);
    if (n < 24 || n > 64) {
        sa_wipe(buf, sizeof(buf));
        return phrase;
    }
    *key = (unsigned char *)sa_secret_keep(p, (char *)buf, (apr_size_t)n);
    *len = (apr_size_t)n;
    sa_wipe(buf, sizeof(buf));
    return NULL;
}

const char *sa_parse_base_url(apr_pool_t *p, const char *text, const char **url)
{
    apr_size_t len = strlen(text);
    char *origin = apr_pstrmemdup(p, text, len > 0 && text[len - 1] == '/' ? len - 1 : len);
    const char *problem = sa_origin_problem(origin);

    if (problem) {
        return apr_psprintf(p, "%s; it must be the site's address alone, like "
                            "https://www.example.org, without path and query", problem);
    }
    *url = origin;
    return NULL;
}

const char *sa_parse_string_or_uri(const char *text)
{
    if (!*text || strlen(text) > 255) {
        return "must be 1 to 255 characters long";
    }
    if (!sa_utf8_valid(text, strlen(text))) {
        return "must be UTF-8 text";
    }
    for (const char *c = text; *c; c++) {
        if (apr_iscntrl(*c) || apr_isspace(*c)) {
            return "must not contain spaces or control characters";
        }
    }
    if (ap_cstr_casecmpn(text, "http:", 5) == 0 && !sa_url_is_loopback(text)) {
        return "must be an https:// URL (http:// is for localhost only) or a plain name";
    }
    return NULL;
}
