/* The cookies that bind a login state to the browser that asked for it: one per
 * state, at most MAX_STATE_COOKIES, the oldest dropped. */
#include "httpd/request.h"

#include <apr_lib.h>
#include <apr_strings.h>

#define MAX_STATE_COOKIES 8
#define MAX_DROPPED 32          /* in one answer, to keep its head small */

static const char *prefix(const sa_request_t *req)
{
    return req->mount->secure ? "__Host-" SA_STATE_COOKIE : SA_STATE_COOKIE;
}

int sa_next_cookie(const char **pos, const char **name, size_t *name_len, const char **value,
                   size_t *value_len)
{
    const char *start = *pos + strspn(*pos, "; \t");
    size_t len = strcspn(start, ";");
    const char *equals = memchr(start, '=', len);

    if (!*start) {
        return 0;
    }
    *pos = start + len;
    *name = start;
    *name_len = equals ? (size_t) (equals - start) : len;
    *value = equals ? equals + 1 : start + len;
    *value_len = equals ? len - *name_len - 1 : 0;
    while (*value_len && apr_isspace((*value)[*value_len - 1])) {
        --*value_len;
    }
    return 1;
}

int sa_is_cookie_tag(const char *text)
{
    for (int i = 0; i < SA_COOKIE_TAG; i++) {
        if (!apr_isxdigit(text[i])) {
            return 0;
        }
    }
    return 1;
}

/* The 8 hex digits of a state cookie's name, NULL for other cookies. */
static const char *state_digits(const sa_request_t *req, const char *name, size_t len)
{
    size_t n = strlen(prefix(req));

    return len == n + SA_COOKIE_TAG && !strncmp(name, prefix(req), n) && sa_is_cookie_tag(name + n)
           ? name + n : NULL;
}

const char *sa_state_cookie(void *who, const char *hex8)
{
    sa_request_t *req = who;
    const char *pos = apr_table_get(req->r->headers_in, "Cookie");
    const char *name, *value, *found = NULL;
    size_t name_len, value_len;

    while (pos && sa_next_cookie(&pos, &name, &name_len, &value, &value_len)) {
        const char *digits = state_digits(req, name, name_len);
        if (!digits || strncmp(digits, hex8, SA_COOKIE_TAG)) {
            continue;
        }
        if (found) {
            return "";          /* two of one name: neither is trusted */
        }
        found = apr_pstrmemdup(req->r->pool, value, value_len);
    }
    return found;
}

static void add(sa_request_t *req, const char *hex8, const char *value, int max_age)
{
    apr_table_addn(req->r->err_headers_out, "Set-Cookie",
                   apr_psprintf(req->r->pool, "%s%.8s=%s; Max-Age=%d; Path=/; %sHttpOnly; "
                                "SameSite=Lax", prefix(req), hex8, value, max_age,
                                req->mount->secure ? "Secure; " : ""));
}

/* Browsers send the oldest cookie of a path first. */
static void drop_oldest(sa_request_t *req)
{
    const char *header = apr_table_get(req->r->headers_in, "Cookie");
    const char *pos, *name, *value;
    size_t name_len, value_len;
    int count = 0, dropped = 0;

    for (pos = header; pos && sa_next_cookie(&pos, &name, &name_len, &value, &value_len);) {
        count += state_digits(req, name, name_len) != NULL;
    }
    for (pos = header; count >= MAX_STATE_COOKIES && dropped < MAX_DROPPED
         && sa_next_cookie(&pos, &name, &name_len, &value, &value_len);) {
        const char *digits = state_digits(req, name, name_len);
        if (digits) {
            add(req, digits, "", 0);
            count--;
            dropped++;
        }
    }
}

void sa_state_cookie_set(sa_request_t *req, const sa_new_state_t *state)
{
    drop_oldest(req);
    add(req, state->cookie_name, state->cookie_value, req->mount->settings.state_max_age);
}

void sa_state_cookie_clear(sa_request_t *req, const char *hex8)
{
    add(req, hex8, "", 0);
}
