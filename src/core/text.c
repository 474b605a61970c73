#include "core/text.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <apr_time.h>
#include <string.h>

#define EMAIL_MAX 254
#define LOCAL_MAX 64
#define LABEL_MAX 63
#define USERNAME_MAX 140

/* The length of the character at s (1..4) and its code point, 0 when the bytes
 * are not the shortest form of a Unicode scalar value (RFC 3629 section 4). */
static apr_size_t utf8_char(const unsigned char *s, apr_size_t left, apr_uint32_t *code)
{
    static const apr_uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
    apr_size_t need;

    if (s[0] < 0x80) {
        *code = s[0];
        return 1;
    }
    if (s[0] < 0xC2 || s[0] > 0xF4) {
        return 0;
    }
    need = s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    if (left < need) {
        return 0;
    }
    *code = s[0] & (0x7Fu >> need);
    for (apr_size_t i = 1; i < need; i++) {
        if ((s[i] & 0xC0) != 0x80) {
            return 0;
        }
        *code = *code << 6 | (s[i] & 0x3Fu);
    }
    if (*code < smallest[need] || *code > 0x10FFFF || (*code >= 0xD800 && *code <= 0xDFFF)) {
        return 0;
    }
    return need;
}

int sa_utf8_valid(const char *text, apr_size_t len)
{
    const unsigned char *s = (const unsigned char *)text;
    apr_uint32_t code;

    while (len) {
        apr_size_t n = utf8_char(s, len, &code);
        if (!n || !code) {
            return 0;
        }
        s += n;
        len -= n;
    }
    return 1;
}

const char *sa_utf8_or_null(const char *text)
{
    return text && sa_utf8_valid(text, strlen(text)) ? text : NULL;
}

apr_uint32_t sa_utf8_next(const char **text)
{
    const unsigned char *s = (const unsigned char *)*text;
    apr_uint32_t code = s[0];
    apr_size_t n = utf8_char(s, strnlen(*text, 4), &code);

    *text += n ? n : 1;
    return n ? code : s[0];
}

char *sa_utf8_put(char *out, apr_uint32_t code)
{
    static const unsigned char lead[] = { 0, 0, 0xC0, 0xE0, 0xF0 };
    int n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;

    for (int i = n - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3F));
        code >>= 6;
    }
    out[0] = (char)(lead[n] | code);
    return out + n;
}

apr_size_t sa_utf8_prefix(const char *text, int max)
{
    const char *end = text;

    for (; *end; end++) {
        if ((*end & 0xC0) != 0x80 && max-- <= 0) {
            break;
        }
    }
    return (apr_size_t)(end - text);
}

/* --- e-mail addresses --- */

static int is_atom_char(unsigned char c)
{
    return c >= 0x80 || apr_isalnum(c) || (c && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

static int is_local_part(const char *s, apr_size_t len)
{
    if (!len || len > LOCAL_MAX || s[0] == '.' || s[len - 1] == '.') {
        return 0;
    }
    for (apr_size_t i = 0; i < len; i++) {
        if (s[i] == '.' ? s[i - 1] == '.' : !is_atom_char((unsigned char)s[i])) {
            return 0;
        }
    }
    return 1;
}

static int is_label(const char *s, apr_size_t len)
{
    if (!len || len > LABEL_MAX || s[0] == '-' || s[len - 1] == '-') {
        return 0;
    }
    for (apr_size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x80 || !(apr_isalnum(c) || c == '-')) {
            return 0;
        }
    }
    return 1;
}

/* As Django's: at least two labels, or localhost. An all-digit last label would be
 * an address literal, not a name. */
static int is_mail_domain(const char *domain)
{
    const char *label = domain;
    int labels = 0;

    for (;;) {
        apr_size_t len = strcspn(label, ".");
        if (!is_label(label, len)) {
            return 0;
        }
        labels++;
        if (!label[len]) {
            break;
        }
        label += len + 1;
    }
    if (labels == 1) {
        return !strcasecmp(domain, "localhost");
    }
    return label[strspn(label, "0123456789")] != '\0';
}

static void ascii_lower(char *s)
{
    for (; *s; s++) {
        if (*s >= 'A' && *s <= 'Z') {
            *s = (char)(*s + ('a' - 'A'));
        }
    }
}

char *sa_email_canonical(apr_pool_t *p, const char *email)
{
    const char *at;
    apr_size_t len;
    char *canonical;

    if (!email || !(len = strlen(email)) || len > EMAIL_MAX || !sa_utf8_valid(email, len)) {
        return NULL;
    }
    at = strchr(email, '@');
    if (!at || strchr(at + 1, '@') || !is_local_part(email, (apr_size_t)(at - email))
        || !is_mail_domain(at + 1)) {
        return NULL;
    }
    canonical = apr_pstrmemdup(p, email, len);
    ascii_lower(canonical);
    /* C1 controls are valid UTF-8 and would reach mail headers and logs. */
    for (const unsigned char *c = (const unsigned char *)canonical; *c; c++) {
        if (c[0] == 0xC2 && c[1] < 0xA0) {
            return NULL;
        }
    }
    return canonical;
}

const char *sa_email_domain(const char *canonical)
{
    const char *at = strrchr(canonical, '@');

    return at ? at + 1 : canonical + strlen(canonical);
}

/* --- names --- */

int sa_username_reserved(const char *name)
{
    static const char *const reserved[] = {
        "abuse", "admin", "administrator", "anonymous", "api", "daemon", "guest", "help",
        "hostmaster", "info", "mailer-daemon", "me", "moderator", "nobody", "no-reply", "noreply",
        "none", "null", "operator", "owner", "postmaster", "root", "security", "staff",
        "superuser", "support", "sysadmin", "system", "undefined", "user", "webmaster", "www",
    };

    for (apr_size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        if (!strcasecmp(name, reserved[i])) {
            return 1;
        }
    }
    return 0;
}

char *sa_username_from_email(apr_pool_t *p, const char *canonical)
{
    apr_size_t len = strcspn(canonical, "@");
    char *name;

    if (len > USERNAME_MAX) {
        len = USERNAME_MAX;
    }
    if (!len) {
        return apr_pstrdup(p, "user_user");
    }
    name = apr_pstrmemdup(p, canonical, len);
    for (char *c = name; *c; c++) {
        if ((unsigned char)*c >= 0x80 || !(apr_isalnum(*c) || strchr("._+@-", *c))) {
            *c = '_';
        }
    }
    return sa_username_reserved(name) ? apr_pstrcat(p, name, "_user", NULL) : name;
}

int sa_username_valid(const char *name)
{
    return *name && !name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                       "@.+-_")];
}

/* Characters that do not print by themselves but change how a line reads. */
static int is_invisible(apr_uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c <= 0x9F) || c == 0xAD || c == 0x061C || c == 0x180E
        || (c >= 0x200B && c <= 0x200F) || (c >= 0x2028 && c <= 0x202E)
        || (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF || (c >= 0xFFF9 && c <= 0xFFFB)
        || (c & 0xFFFE) == 0xFFFE || (c >= 0xE0000 && c <= 0xE007F);
}

static int is_space(apr_uint32_t c)
{
    return c == ' ' || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x202F
        || c == 0x205F || c == 0x3000;
}

char *sa_clean_name(apr_pool_t *p, const char *name, apr_size_t max)
{
    const unsigned char *s = (const unsigned char *)(name ? name : "");
    apr_size_t left = strlen((const char *)s);
    char *out = apr_palloc(p, left + 1);
    apr_size_t len = 0, trimmed = 0;

    while (left) {
        apr_uint32_t code = 0;
        apr_size_t n = utf8_char(s, left, &code);
        int keep = n && !is_invisible(code) && (len || !is_space(code));

        if (keep && len + n > max) {
            break;
        }
        if (keep) {
            memcpy(out + len, s, n);
            len += n;
            trimmed = is_space(code) ? trimmed : len;
        }
        s += n ? n : 1;
        left -= n ? n : 1;
    }
    out[trimmed] = '\0';
    return out;
}

char *sa_log_safe(apr_pool_t *p, const char *text, apr_size_t max)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *s = (const unsigned char *)(text ? text : "");
    apr_size_t len = 0, room = strlen((const char *)s);
    char *out;

    /* Each byte becomes at most four; the result stops at max all the same. */
    room = room > max ? max : room * 4 > max ? max : room * 4;
    out = apr_palloc(p, room + 1);
    for (; *s; s++) {
        int plain = *s >= 0x20 && *s < 0x7F && *s != '"' && *s != '\\';

        if (len + (plain ? 1 : 4) > room) {
            break;
        }
        if (plain) {
            out[len++] = (char)*s;
            continue;
        }
        out[len++] = '\\';
        out[len++] = 'x';
        out[len++] = hex[*s >> 4];
        out[len++] = hex[*s & 15];
    }
    out[len] = '\0';
    return out;
}

int sa_words_have(const char *words, const char *word, apr_size_t len)
{
    while (len && *words) {
        apr_size_t n = strcspn(words, " ");
        if (n == len && !memcmp(words, word, len)) {
            return 1;
        }
        words += n + strspn(words + n, " ");
    }
    return 0;
}

char *sa_iso_time(apr_pool_t *p, apr_int64_t seconds)
{
    apr_time_exp_t t;

    apr_time_exp_gmt(&t, apr_time_from_sec(seconds));
    return apr_psprintf(p, "%04d-%02d-%02dT%02d:%02d:%02dZ", t.tm_year + 1900, t.tm_mon + 1,
                        t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec);
}
