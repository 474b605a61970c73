#include "core/mail.h"

#include "core/text.h"

#include <apr_base64.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <stdio.h>
#include <string.h>

#define LINE_MAX_QP 76          /* RFC 2045 section 6.7, rule 5 */
#define WORD_BYTES 45           /* 60 characters of base64: an encoded word stays under 75 */
#define PLAIN_MAX 400           /* a header line may have 998 characters (RFC 5322 section 2.1.1) */

/* ---- headers ---- */

/* Nothing that ends a line, in ASCII or, to a reader of UTF-8, beyond it. */
static int is_one_line(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c < 0x20 || *c == 0x7F || (c[0] == 0xC2 && c[1] < 0xA0)
            || (c[0] == 0xE2 && c[1] == 0x80 && (c[2] == 0xA8 || c[2] == 0xA9))) {
            return 0;
        }
    }
    return sa_utf8_valid(text, strlen(text));
}

static int is_plain(const char *text)
{
    for (const char *c = text; *c; c++) {
        if ((unsigned char)*c >= 0x80) {
            return 0;
        }
    }
    return strlen(text) <= PLAIN_MAX && !strstr(text, "=?");
}

static const char *encoded_word(apr_pool_t *p, const char *text, apr_size_t len)
{
    char *base64 = apr_palloc(p, (apr_size_t)apr_base64_encode_len((int)len));

    apr_base64_encode_binary(base64, (const unsigned char *)text, (int)len);
    return apr_pstrcat(p, "=?UTF-8?B?", base64, "?=", NULL);
}

static const char *encoded_words(apr_pool_t *p, const char *text)
{
    const char *out = "";

    while (*text) {
        apr_size_t len = strlen(text);
        if (len > WORD_BYTES) {
            len = WORD_BYTES;
            while ((text[len] & 0xC0) == 0x80) {
                len--;
            }
        }
        out = apr_pstrcat(p, out, *out ? "\r\n " : "", encoded_word(p, text, len), NULL);
        text += len;
    }
    return out;
}

static const char *unstructured(apr_pool_t *p, const char *text)
{
    return is_plain(text) ? text : encoded_words(p, text);
}

/* RFC 5322 section 3.2.4. */
static const char *quoted_string(apr_pool_t *p, const char *text)
{
    char *out = apr_palloc(p, 2 * strlen(text) + 3), *to = out;

    *to++ = '"';
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') {
            *to++ = '\\';
        }
        *to++ = *text;
    }
    *to++ = '"';
    *to = '\0';
    return out;
}

static const char *mailbox(apr_pool_t *p, const sa_mailbox_t *box)
{
    if (!*box->name) {
        return box->address;
    }
    return apr_pstrcat(p, is_plain(box->name) ? quoted_string(p, box->name)
                                              : encoded_words(p, box->name),
                       " <", box->address, ">", NULL);
}

static const char *date(apr_pool_t *p, apr_time_t when)
{
    char *text = apr_palloc(p, APR_RFC822_DATE_LEN);

    apr_rfc822_date(text, when);
    text[strcspn(text, "G")] = '\0';    /* its zone is "GMT", which RFC 5322 calls obsolete */
    return apr_pstrcat(p, text, "+0000", NULL);
}

const char *sa_mailbox_parse(apr_pool_t *p, const char *text, sa_mailbox_t *box)
{
    const char *open = strrchr(text, '<');
    apr_size_t len = strlen(text);

    if (!is_one_line(text) || (open && text[len - 1] != '>')) {
        return "must be an address, or \"Name <address>\"";
    }
    box->name = "";
    box->address = text;
    if (open) {
        char *name = apr_pstrmemdup(p, text, (apr_size_t)(open - text));
        apr_size_t end = strlen(name);
        while (end && name[end - 1] == ' ') {
            name[--end] = '\0';
        }
        if (end > 1 && name[0] == '"' && name[end - 1] == '"') {
            name[end - 1] = '\0';
            name++;
        }
        box->name = name;
        box->address = apr_pstrmemdup(p, open + 1, len - 2 - (apr_size_t)(open - text));
    }
    return sa_email_canonical(p, box->address) ? NULL
                                               : "must have an address like noreply@example.org";
}

/* ---- body ---- */

static int must_encode(const char *c, int column)
{
    unsigned char byte = (unsigned char)*c;
    int ends_line = !c[1] || c[1] == '\n' || (c[1] == '\r' && c[2] == '\n');

    if (byte == ' ' || byte == '\t') {
        return ends_line;
    }
    /* A lone dot ends a message for a sendmail without -i. */
    return byte < 0x21 || byte > 0x7E || byte == '=' || (byte == '.' && column == 0);
}

static char *quoted_printable(apr_pool_t *p, const char *text)
{
    static const char hex[] = "0123456789ABCDEF";
    apr_size_t len = strlen(text);
    char *out = apr_palloc(p, len * 4 + len / 8 + 16), *to = out;
    int column = 0;

    for (const char *c = text; *c; c++) {
        if (*c == '\n' || (*c == '\r' && c[1] == '\n')) {
            c += *c == '\r';
            memcpy(to, "\r\n", 2);
            to += 2;
            column = 0;
            continue;
        }
        int width = must_encode(c, column) ? 3 : 1;
        if (column + width > LINE_MAX_QP - 1) {
            memcpy(to, "=\r\n", 3);
            to += 3;
            column = 0;
            width = must_encode(c, column) ? 3 : 1;
        }
        if (width == 3) {
            *to++ = '=';
            *to++ = hex[(unsigned char)*c >> 4];
            *to++ = hex[(unsigned char)*c & 15];
        }
        else {
            *to++ = *c;
        }
        column += width;
    }
    *to = '\0';
    return out;
}

char *sa_message_text(apr_pool_t *p, const sa_message_t *message, const char **why)
{
    const sa_mailbox_t *from = message->from;

    if (!sa_email_canonical(p, message->to) || !sa_email_canonical(p, from->address)) {
        *why = "not an address";
        return NULL;
    }
    if (!is_one_line(from->name) || !is_one_line(message->subject)
        || !sa_utf8_valid(message->body, strlen(message->body))) {
        *why = "a header with a control character, or text that is not UTF-8";
        return NULL;
    }
    return apr_pstrcat(p, "Date: ", date(p, message->date),
                       "\r\nFrom: ", mailbox(p, from),
                       "\r\nTo: ", message->to,
                       "\r\nSubject: ", unstructured(p, message->subject),
                       "\r\nMessage-ID: <", message->id, "@", sa_email_domain(from->address),
                       ">\r\nAuto-Submitted: auto-generated"
                       "\r\nMIME-Version: 1.0"
                       "\r\nContent-Type: text/plain; charset=utf-8"
                       "\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
                       quoted_printable(p, message->body), NULL);
}

/* ---- templates ---- */

/* The length of a {word} at text, braces included; 0 when there is none. */
static apr_size_t placeholder(const char *text)
{
    apr_size_t len = strspn(text + 1, "abcdefghijklmnopqrstuvwxyz");

    return *text == '{' && len && text[len + 1] == '}' ? len + 2 : 0;
}

static int is_known(const char *const words[], const char *word, apr_size_t len)
{
    for (; *words; words++) {
        if (strlen(*words) == len && !memcmp(*words, word, len)) {
            return 1;
        }
    }
    return 0;
}

static const char *words_problem(apr_pool_t *p, const char *text, const char *const words[],
                                 int *line)
{
    for (const char *c = text; *c; c++) {
        apr_size_t len = placeholder(c);
        if (*c == '\n') {
            (*line)++;
        }
        else if (((unsigned char)*c < 0x20 && *c != '\t' && *c != '\r') || *c == 0x7F) {
            return "there is a control character";
        }
        else if (len && !is_known(words, c + 1, len - 2)) {
            const char *known = "";
            for (; *words; words++) {
                known = apr_pstrcat(p, known, *known ? ", {" : "{", *words, "}", NULL);
            }
            return apr_psprintf(p, "%.*s is unknown here; there are %s", (int)len, c, known);
        }
    }
    return NULL;
}

const char *sa_mail_template_parse(apr_pool_t *p, const char *text, apr_size_t len,
                                   const char *const words[], const char *needed,
                                   sa_mail_template_t *template, int *line)
{
    static const char field[] = "Subject: ";
    const char *copy = apr_pstrmemdup(p, text, len);
    apr_size_t end = strcspn(copy, "\r\n");

    *line = 1;
    if (!sa_utf8_valid(text, len)) {
        return "the file is not UTF-8 text";
    }
    if (strncmp(copy, field, sizeof(field) - 1) != 0 || end <= sizeof(field) - 1) {
        return "the first line must be \"Subject: \" and the subject";
    }
    const char *problem = words_problem(p, copy, words, line);
    if (problem) {
        return problem;
    }
    *line = 1;
    template->subject = apr_pstrmemdup(p, copy + sizeof(field) - 1, end - (sizeof(field) - 1));
    template->body = copy + end + strspn(copy + end, "\r\n");
    if (strstr(template->subject, "{link}")) {
        return "{link} must stand in the text, not in the subject";
    }
    if (!*template->body) {
        return "there is no text below the subject";
    }
    if (needed && !strstr(template->body, apr_pstrcat(p, "{", needed, "}", NULL))) {
        return apr_psprintf(p, "{%s} is missing in the text", needed);
    }
    return NULL;
}

char *sa_mail_template_fill(apr_pool_t *p, const char *text, const apr_table_t *values)
{
    apr_array_header_t *parts = apr_array_make(p, 16, sizeof(const char *));
    const char *from = text;

    for (const char *c = text; *c; c++) {
        apr_size_t len = placeholder(c);
        const char *value = len ? apr_table_get(values, apr_pstrmemdup(p, c + 1, len - 2)) : NULL;
        if (value) {
            APR_ARRAY_PUSH(parts, const char *) = apr_pstrmemdup(p, from, (apr_size_t)(c - from));
            APR_ARRAY_PUSH(parts, const char *) = value;
            c += len - 1;
            from = c + 1;
        }
    }
    APR_ARRAY_PUSH(parts, const char *) = from;
    return apr_array_pstrcat(p, parts, 0);
}
