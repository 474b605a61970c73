#include "core/password_policy.h"
#include "core/password.h"
#include "core/text.h"

#include <apr_file_io.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <locale.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <wctype.h>

#define LIST_MAX (16 * 1024 * 1024)

/* --- characters --- */

static locale_t unicode;

static void open_unicode(void)
{
    unicode = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

/* Letters of all scripts, whatever the server's own locale; (locale_t)0 when there is none. */
static locale_t letters(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, open_unicode);
    return unicode;
}

static apr_uint32_t lower(apr_uint32_t c)
{
    if (c < 0x80) {
        return (apr_uint32_t)apr_tolower(c);
    }
    return letters() ? (apr_uint32_t)towlower_l((wint_t)c, letters()) : c;
}

/* A letter, a digit or '_', as in a regular expression's \w. */
static int is_word(apr_uint32_t c)
{
    if (c < 0x80) {
        return apr_isalnum(c) || c == '_';
    }
    return letters() ? iswalnum_l((wint_t)c, letters()) : 1;
}

/* A decimal digit of any script (Unicode's Nd). */
static int is_digit(apr_uint32_t c)
{
    static const apr_uint32_t zeros[] = {
        '0', 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66,
        0xDE6, 0xE50, 0xED0, 0xF20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80,
        0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50,
        0xABF0, 0xFF10, 0x104A0, 0x10D30, 0x11066, 0x110F0, 0x11136, 0x111D0, 0x112F0, 0x11450,
        0x114D0, 0x11650, 0x116C0, 0x11730, 0x118E0, 0x11950, 0x11C50, 0x11D50, 0x11DA0, 0x16A60,
        0x16AC0, 0x16B50, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6, 0x1E140, 0x1E2F0, 0x1E950,
        0x1FBF0
    };

    for (apr_size_t i = 0; i < sizeof(zeros) / sizeof(*zeros); i++) {
        if (c >= zeros[i] && c < zeros[i] + 10) {
            return 1;
        }
    }
    return 0;
}

typedef struct {
    apr_uint32_t *at;
    apr_size_t n;
} chars_t;

static chars_t lower_chars(apr_pool_t *p, const char *text)
{
    chars_t chars = { apr_palloc(p, (strlen(text) + 1) * sizeof(apr_uint32_t)), 0 };

    while (*text) {
        chars.at[chars.n++] = lower(sa_utf8_next(&text));
    }
    return chars;
}

/* Lower case, without white space around it. */
static char *folded(apr_pool_t *p, const char *text)
{
    chars_t chars = lower_chars(p, text);
    char *out = apr_palloc(p, 4 * chars.n + 1), *end = out;

    for (apr_size_t i = 0; i < chars.n; i++) {
        end = sa_utf8_put(end, chars.at[i]);
    }
    *end = '\0';
    while (end > out && apr_isspace(end[-1])) {
        *--end = '\0';
    }
    while (apr_isspace(*out)) {
        out++;
    }
    return out;
}

/* --- common passwords --- */

/* As strcmp, with a line of the list. */
static int compare_line(const char *word, const char *line, apr_size_t len)
{
    apr_size_t word_len = strlen(word);
    int order = memcmp(word, line, word_len < len ? word_len : len);

    return order ? order : (word_len > len) - (word_len < len);
}

static int is_listed(const sa_common_passwords_t *list, const char *word)
{
    const char *low = list->text, *high = list->text + list->len;

    while (low < high) {
        const char *line = low + (high - low) / 2;
        while (line > low && line[-1] != '\n') {
            line--;
        }
        const char *end = memchr(line, '\n', (apr_size_t)(high - line));
        end = end ? end : high;
        int order = compare_line(word, line, (apr_size_t)(end - line));
        if (!order) {
            return 1;
        }
        low = order < 0 ? low : end + 1;
        high = order < 0 ? line : high;
    }
    return 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static char *read_list(apr_pool_t *p, const char *path)
{
    apr_file_t *file;
    apr_finfo_t info;
    apr_size_t len;

    if (apr_file_open(&file, path, APR_READ, APR_OS_DEFAULT, p) != APR_SUCCESS) {
        return NULL;
    }
    char *text = NULL;
    if (apr_file_info_get(&info, APR_FINFO_SIZE | APR_FINFO_TYPE, file) == APR_SUCCESS
        && info.filetype == APR_REG && info.size <= LIST_MAX) {
        text = apr_palloc(p, (apr_size_t)info.size + 1);
        if (apr_file_read_full(file, text, (apr_size_t)info.size, &len) != APR_SUCCESS) {
            len = 0;
        }
        text[len] = '\0';
        text = len == (apr_size_t)info.size && strlen(text) == len ? text : NULL;
    }
    apr_file_close(file);
    return text;
}

const char *sa_common_passwords_load(apr_pool_t *p, const char *path,
                                     const sa_common_passwords_t **list)
{
    sa_common_passwords_t *made = apr_pcalloc(p, sizeof(*made));
    apr_pool_t *scratch;
    char *last;

    apr_pool_create(&scratch, p);
    char *text = read_list(scratch, path);
    if (!text) {
        apr_pool_destroy(scratch);
        return "must be a readable text file of at most 16 MB";
    }
    apr_array_header_t *words = apr_array_make(scratch, 4096, sizeof(const char *));
    char *out = apr_palloc(p, 2 * strlen(text) + 2);
    for (char *line = apr_strtok(text, "\n", &last); line; line = apr_strtok(NULL, "\n", &last)) {
        const char *word = folded(scratch, line);
        if (*word && strncmp(line, "# ", 2)) {
            APR_ARRAY_PUSH(words, const char *) = word;
        }
    }
    qsort(words->elts, (apr_size_t)words->nelts, sizeof(const char *), by_text);
    made->text = out;
    for (int i = 0; i < words->nelts; i++) {
        out = apr_cpystrn(out, APR_ARRAY_IDX(words, i, const char *), LIST_MAX);
        *out++ = '\n';
    }
    made->len = (apr_size_t)(out - made->text);
    apr_pool_destroy(scratch);
    *list = made;
    return NULL;
}

/* --- similarity --- */

static int by_code(const void *a, const void *b)
{
    const apr_uint32_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* How many characters two sorted texts have in common. */
static apr_size_t count_common(const chars_t *a, const chars_t *b)
{
    apr_size_t n = 0;

    for (apr_size_t i = 0, k = 0; i < a->n && k < b->n;) {
        int order = by_code(&a->at[i], &b->at[k]);
        n += order == 0;
        i += order <= 0;
        k += order >= 0;
    }
    return n;
}

/* difflib's SequenceMatcher.quick_ratio() >= 0.7. What differs so much in length that it cannot be
 * is not looked at: long passwords and long names cost no more than reading them. */
static int is_similar(const chars_t *password, const apr_uint32_t *part, apr_size_t n,
                      apr_uint32_t *scratch)
{
    const chars_t sorted = { scratch, n };
    apr_size_t both = password->n + n;

    if (20 * (n < password->n ? n : password->n) < 7 * both) {
        return 0;
    }
    memcpy(scratch, part, n * sizeof(*part));
    qsort(scratch, n, sizeof(*scratch), by_code);
    return 20 * count_common(password, &sorted) >= 7 * both;
}

/* As a whole, or one of the words it consists of. */
static int resembles(apr_pool_t *p, const chars_t *password, const char *text)
{
    chars_t chars = lower_chars(p, text);
    apr_uint32_t *scratch = apr_palloc(p, (chars.n + 1) * sizeof(*scratch));
    apr_size_t from = 0;

    for (apr_size_t i = 0; i <= chars.n; i++) {
        if (i == chars.n || !is_word(chars.at[i])) {
            if (is_similar(password, chars.at + from, i - from, scratch)) {
                return 1;
            }
            from = i + 1;
        }
    }
    return is_similar(password, chars.at, chars.n, scratch);
}

static const char *similar_to(apr_pool_t *p, chars_t password, const sa_password_owner_t *owner)
{
    const struct {
        const char *value, *name;
    } attributes[] = {
        { owner->username, "username" }, { owner->first_name, "first name" },
        { owner->last_name, "last name" }, { owner->email, "email address" },
    };

    qsort(password.at, password.n, sizeof(*password.at), by_code);
    for (apr_size_t i = 0; i < sizeof(attributes) / sizeof(*attributes); i++) {
        if (attributes[i].value && *attributes[i].value
            && resembles(p, &password, attributes[i].value)) {
            return attributes[i].name;
        }
    }
    return NULL;
}

/* --- the verdict --- */

static int is_numeric(const chars_t *chars)
{
    for (apr_size_t i = 0; i < chars->n; i++) {
        if (!is_digit(chars->at[i])) {
            return 0;
        }
    }
    return chars->n > 0;
}

void sa_password_judge(apr_pool_t *p, const sa_password_policy_t *policy,
                       const sa_password_owner_t *owner, const char *password,
                       const char *field, sa_error_t **errors)
{
    const char *similar;

    if (strlen(password) > SA_PASSWORD_MAX) {
        sa_error_field(p, errors, field, SA_E_INVALID,
                       "Ensure this field has no more than 4096 characters.");
        return;
    }
    chars_t chars = lower_chars(p, password);
    if (policy->similarity && (similar = similar_to(p, lower_chars(p, password), owner))) {
        sa_error_field(p, errors, field, SA_E_INVALID,
                       apr_psprintf(p, "The password is too similar to the %s.", similar));
    }
    if (chars.n < (apr_size_t)policy->min_length) {
        sa_error_field(p, errors, field, SA_E_INVALID,
                       apr_psprintf(p, "This password is too short. It must contain at least %d "
                                    "character%s.", policy->min_length,
                                    policy->min_length == 1 ? "" : "s"));
    }
    if (policy->common && is_listed(policy->list, folded(p, password))) {
        sa_error_field(p, errors, field, SA_E_INVALID, "This password is too common.");
    }
    if (policy->numeric && is_numeric(&chars)) {
        sa_error_field(p, errors, field, SA_E_INVALID, "This password is entirely numeric.");
    }
}
