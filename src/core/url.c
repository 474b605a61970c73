#include "core/url.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define URL_MAX 2048
#define HOST_MAX 253

/* An http or https URL taken apart; the parts point into it. */
typedef struct {
    int https;
    const char *host;           /* without brackets */
    apr_size_t host_len;
    int is_ipv6;
    int port;                   /* 0 = none given */
    const char *rest;           /* what follows the authority */
} parts_t;

/* --- taking apart --- */

static const char *split_port(const char *s, apr_size_t len, int *port)
{
    *port = 0;
    if (!len) {
        return NULL;
    }
    if (s[0] != ':' || len < 2 || len > 6 || s[1] == '0') {
        return "has a malformed port";
    }
    for (apr_size_t i = 1; i < len; i++) {
        if (!apr_isdigit(s[i])) {
            return "has a malformed port";
        }
        *port = *port * 10 + (s[i] - '0');
    }
    return *port > 65535 ? "has a port over 65535" : NULL;
}

/* Splits; NULL when it worked, else a phrase. Checks only what it must to split. */
static const char *split(const char *url, parts_t *parts)
{
    const char *authority;
    apr_size_t len, skip = 0;

    memset(parts, 0, sizeof(*parts));
    parts->https = !strncmp(url, "https://", 8);
    if (!parts->https && strncmp(url, "http://", 7)) {
        return "does not start with https:// or http://";
    }
    authority = url + (parts->https ? 8 : 7);
    len = strcspn(authority, "/?#");
    parts->rest = authority + len;
    if (memchr(authority, '@', len)) {
        return "must not carry a user name or password";
    }
    parts->host = authority;
    if (len && authority[0] == '[') {
        const char *close = memchr(authority, ']', len);
        if (!close) {
            return "has a malformed IPv6 address";
        }
        parts->is_ipv6 = 1;
        parts->host++;
        parts->host_len = (apr_size_t)(close - parts->host);
        skip = parts->host_len + 2;
    }
    else {
        const char *colon = memchr(authority, ':', len);
        parts->host_len = skip = colon ? (apr_size_t)(colon - authority) : len;
    }
    if (!parts->host_len) {
        return "has no host";
    }
    return split_port(authority + skip, len - skip, &parts->port);
}

/* --- hosts --- */

static int host_is(const parts_t *parts, const char *name)
{
    return parts->host_len == strlen(name) && !strncasecmp(parts->host, name, parts->host_len);
}

static int host_ends(const parts_t *parts, const char *suffix)
{
    apr_size_t len = strlen(suffix);

    return parts->host_len > len
        && !strncasecmp(parts->host + parts->host_len - len, suffix, len);
}

/* The host as an address: 4 or 6 and its bytes, 0 when it is a name. Only the forms
 * every client reads alike are addresses; the others fail in host_problem. */
static int host_address(const parts_t *parts, unsigned char bytes[16])
{
    char text[INET6_ADDRSTRLEN];

    if (parts->host_len >= sizeof(text)) {
        return 0;
    }
    memcpy(text, parts->host, parts->host_len);
    text[parts->host_len] = '\0';
    if (parts->is_ipv6) {
        return inet_pton(AF_INET6, text, bytes) == 1 ? 6 : 0;
    }
    return inet_pton(AF_INET, text, bytes) == 1 ? 4 : 0;
}

/* A last label that a browser or curl would take for a number ("1", "0x7f"). */
static int last_label_is_number(const char *label, apr_size_t len)
{
    apr_size_t i = 0;

    if (len > 1 && label[0] == '0' && (label[1] | 0x20) == 'x') {
        return 1;
    }
    while (i < len && apr_isdigit(label[i])) {
        i++;
    }
    return i == len;
}

static const char *name_problem(const char *host, apr_size_t len)
{
    apr_size_t start = 0;

    if (len > HOST_MAX) {
        return "has a host name over 253 characters";
    }
    for (apr_size_t i = 0; i <= len; i++) {
        unsigned char c = i < len ? (unsigned char)host[i] : '.';

        if (c != '.') {
            if (c >= 0x80 || !(apr_isalnum(c) || c == '-' || c == '_')) {
                return "has a host name with characters other than letters, digits, - . and _";
            }
            continue;
        }
        if (i == start || i - start > 63 || host[start] == '-' || host[i - 1] == '-') {
            return "has a malformed host name";
        }
        if (i == len && last_label_is_number(host + start, i - start)) {
            return "has a host that is neither a name nor a plain IP address";
        }
        start = i + 1;
    }
    return NULL;
}

static const char *host_problem(const parts_t *parts)
{
    unsigned char bytes[16];
    int family = host_address(parts, bytes);

    if (parts->is_ipv6) {
        return family ? NULL : "has a malformed IPv6 address";
    }
    return family ? NULL : name_problem(parts->host, parts->host_len);
}

/* The IPv4 address an IPv6 one stands for (mapped, compatible, NAT64, 6to4), or NULL. */
static const unsigned char *embedded_ipv4(const unsigned char b[16])
{
    static const unsigned char zeros[12];
    static const unsigned char nat64[12] = { 0, 0x64, 0xff, 0x9b };

    if (!memcmp(b, nat64, 12) || !memcmp(b, zeros, 12)
        || (!memcmp(b, zeros, 10) && b[10] == 0xff && b[11] == 0xff)) {
        return b + 12;
    }
    return b[0] == 0x20 && b[1] == 0x02 ? b + 2 : NULL;
}

static int ipv4_forbidden(const unsigned char b[4])
{
    static const unsigned char alibaba[4] = { 100, 100, 100, 200 };

    return b[0] == 0 || (b[0] == 169 && b[1] == 254) || !memcmp(b, alibaba, 4)
        || (b[0] & 0xF0) == 0xE0 || (b[0] & b[1] & b[2] & b[3]) == 0xFF;
}

static int ipv6_forbidden(const unsigned char b[16])
{
    static const unsigned char loopback[16] = { [15] = 1 };
    static const unsigned char aws[16] = { 0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54 };
    const unsigned char *v4 = embedded_ipv4(b);

    if (!memcmp(b, loopback, 16)) {
        return 0;
    }
    return (v4 && ipv4_forbidden(v4)) || (b[0] == 0xfe && (b[1] & 0xC0) == 0x80)
        || b[0] == 0xff || !memcmp(b, aws, 16);
}

int sa_address_forbidden(const unsigned char *bytes, int len)
{
    return len == 4 ? ipv4_forbidden(bytes) : ipv6_forbidden(bytes);
}

static int host_forbidden(const parts_t *parts)
{
    unsigned char bytes[16];
    int family = host_address(parts, bytes);

    if (!family) {
        return host_is(parts, "metadata.google.internal");
    }
    return sa_address_forbidden(bytes, family == 4 ? 4 : 16);
}

static int host_is_loopback(const parts_t *parts)
{
    static const unsigned char loopback[16] = { [15] = 1 };
    unsigned char bytes[16];
    int family = host_address(parts, bytes);

    if (family == 4) {
        return bytes[0] == 127;
    }
    if (family == 6) {
        return !memcmp(bytes, loopback, 16);
    }
    return !parts->is_ipv6 && (host_is(parts, "localhost") || host_ends(parts, ".localhost"));
}

/* --- the questions --- */

static int is_canonical_host(const parts_t *parts)
{
    unsigned char bytes[16];
    char text[INET6_ADDRSTRLEN];

    for (apr_size_t i = 0; i < parts->host_len; i++) {
        if (apr_isupper(parts->host[i])) {
            return 0;
        }
    }
    return host_address(parts, bytes) != 6
        || (inet_ntop(AF_INET6, bytes, text, sizeof(text)) && host_is(parts, text));
}

const char *sa_origin_problem(const char *origin)
{
    parts_t parts;
    const char *problem = split(origin, &parts);

    if (!problem) {
        problem = host_problem(&parts);
    }
    if (problem) {
        return problem;
    }
    if (*parts.rest) {
        return "has something behind the host and port: "
               "an origin is scheme://host[:port] without a path";
    }
    if (!is_canonical_host(&parts)) {
        return "is not written as browsers send it: host in lower case, IPv6 in short form";
    }
    if (parts.port == (parts.https ? 443 : 80)) {
        return "names the default port, which browsers leave out";
    }
    return NULL;
}

static int has_odd_character(const char *url)
{
    for (const unsigned char *c = (const unsigned char *)url; *c; c++) {
        if (*c <= 0x20 || *c >= 0x7F || strchr("\"<>\\^`{|}", *c)) {
            return 1;
        }
    }
    return 0;
}

const char *sa_endpoint_problem(const char *url, int flags)
{
    parts_t parts;
    const char *problem;

    if (strlen(url) > URL_MAX) {
        return "is longer than 2048 characters";
    }
    if (has_odd_character(url)) {
        return "contains a space, a control or another character that must be percent-encoded";
    }
    if (strchr(url, '#')) {
        return "must not have a fragment (#)";
    }
    problem = split(url, &parts);
    if (!problem) {
        problem = host_problem(&parts);
    }
    if (problem) {
        return problem;
    }
    if (host_forbidden(&parts)) {
        return "points to a link-local, unspecified, multicast or metadata address";
    }
    if (!parts.https && !(flags & SA_URL_ALLOW_HTTP) && !host_is_loopback(&parts)) {
        return "must start with https:// (http:// is for loopback hosts only)";
    }
    return NULL;
}

int sa_url_is_loopback(const char *url)
{
    parts_t parts;

    return !split(url, &parts) && host_is_loopback(&parts);
}

int sa_url_is_https(const char *url)
{
    return !strncmp(url, "https://", 8);
}

char *sa_url_origin(apr_pool_t *p, const char *url)
{
    parts_t parts;
    char *host;

    if (split(url, &parts) || host_problem(&parts)) {
        return NULL;
    }
    host = apr_pstrmemdup(p, parts.host, parts.host_len);
    for (char *c = host; *c; c++) {
        *c = (char)apr_tolower(*c);
    }
    if (parts.is_ipv6) {
        host = apr_pstrcat(p, "[", host, "]", NULL);
    }
    if (!parts.port || parts.port == (parts.https ? 443 : 80)) {
        return apr_pstrcat(p, parts.https ? "https://" : "http://", host, NULL);
    }
    return apr_psprintf(p, "%s://%s:%d", parts.https ? "https" : "http", host, parts.port);
}

/* --- where a browser may be sent back to --- */

/* The length of the character at s as a browser or a careless next hop may read it,
 * decoded into *c: "%2f" is '/'. 0 when it is a malformed escape. */
static apr_size_t path_char(const char *s, int *c)
{
    char digits[3] = { 0 };

    if (s[0] != '%') {
        *c = (unsigned char)s[0];
        return 1;
    }
    if (!apr_isxdigit(s[1]) || !apr_isxdigit(s[2])) {
        return 0;
    }
    memcpy(digits, s + 1, 2);
    *c = (int)strtol(digits, NULL, 16);
    return 3;
}

/* No malformed escapes, and in the path no "//" and no "\", also not written as
 * escapes or as escapes of escapes. */
static int path_is_plain(const char *s)
{
    int in_path = 1, last = 0;

    while (*s) {
        int c = 0;
        apr_size_t n = path_char(s, &c);

        in_path = in_path && *s != '?' && *s != '#';
        if (!n) {
            return 0;
        }
        if (in_path && (c < 0x20 || c == 0x7F || c == '\\' || c == '%'
                        || (c == '/' && last == '/'))) {
            return 0;
        }
        last = c;
        s += n;
    }
    return 1;
}

char *sa_url_with_query(apr_pool_t *p, const char *url, const char *pairs)
{
    const char *fragment = url + strcspn(url, "#");
    const char *page = apr_pstrmemdup(p, url, (apr_size_t)(fragment - url));
    const char *query = strchr(page, '?');

    return apr_pstrcat(p, page, !query ? "?" : query[1] ? "&" : "", pairs, fragment, NULL);
}

int sa_return_to_valid(const char *value, const apr_array_header_t *origins)
{
    const char *const *list = origins ? (const void *)origins->elts : NULL;

    if (!value || strlen(value) > URL_MAX) {
        return 0;
    }
    for (const unsigned char *c = (const unsigned char *)value; *c; c++) {
        if (*c <= 0x20 || *c >= 0x7F || strchr("\\\"<>", *c)) {
            return 0;
        }
    }
    if (value[0] == '/') {
        return path_is_plain(value);
    }
    for (int i = 0; list && i < origins->nelts; i++) {
        apr_size_t len = strlen(list[i]);

        if (len && !strncmp(value, list[i], len) && (!value[len] || strchr("/?#", value[len]))) {
            return path_is_plain(value + len);
        }
    }
    return 0;
}
