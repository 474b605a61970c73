#include "core/base64url.h"

#include <apr_errno.h>

#define NOT_A_DIGIT 64

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

char *sa_base64url_encode(apr_pool_t *p, const void *data, apr_size_t len)
{
    const unsigned char *in = data;
    char *text = apr_palloc(p, len / 3 * 4 + 5);
    char *out = text;
    while (len >= 3) {
        *out++ = digits[in[0] >> 2];
        *out++ = digits[(in[0] & 3) << 4 | in[1] >> 4];
        *out++ = digits[(in[1] & 15) << 2 | in[2] >> 6];
        *out++ = digits[in[2] & 63];
        in += 3;
        len -= 3;
    }
    if (len > 0) {
        unsigned int second = len == 2 ? in[1] : 0;
        *out++ = digits[in[0] >> 2];
        *out++ = digits[(in[0] & 3) << 4 | second >> 4];
        if (len == 2) {
            *out++ = digits[(second & 15) << 2];
        }
    }
    *out = '\0';
    return text;
}

static unsigned int digit_value(unsigned char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '-' ? 62 : c == '_' ? 63 : NOT_A_DIGIT;
}

apr_status_t sa_base64url_decode(unsigned char **data, apr_size_t *len, apr_pool_t *p,
                                 const char *text, apr_size_t text_len)
{
    *data = NULL;
    *len = 0;
    if (text_len % 4 == 1) {
        return APR_EINVAL;
    }
    unsigned char *start = apr_palloc(p, text_len / 4 * 3 + 4);
    unsigned char *out = start;
    unsigned int bits = 0;
    unsigned int held = 0;      /* how many low bits of `bits` are not written yet */
    for (apr_size_t i = 0; i < text_len; i++) {
        unsigned int value = digit_value((unsigned char)text[i]);
        if (value == NOT_A_DIGIT) {
            return APR_EINVAL;
        }
        bits = (bits << 6 | value) & 0xffff;
        held += 6;
        if (held >= 8) {
            held -= 8;
            *out++ = (unsigned char)(bits >> held);
        }
    }
    /* The bits that fill the last digit must be zero, or a value had several spellings. */
    if ((bits & ((1u << held) - 1)) != 0) {
        return APR_EINVAL;
    }
    *out = '\0';
    *data = start;
    *len = (apr_size_t)(out - start);
    return APR_SUCCESS;
}
