/* libFuzzer target: the Cookie header as a browser, or somebody else, sends it. */
#include "httpd/cookies.c"

#include <apr_general.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    return apr_initialize() != APR_SUCCESS;
}

static int count(void *n, const char *key, const char *value)
{
    must(!strcmp(key, "Set-Cookie") && !strpbrk(value, "\r\n") && strlen(value) < 200);
    ++*(int *) n;
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *p;
    char *header;
    int cookies = 0;

    if (!size) {
        return 0;
    }
    apr_pool_create(&p, NULL);
    header = calloc(1, size);           /* the rest and a NUL, exactly */
    must(header != NULL);
    memcpy(header, data + 1, size - 1);
    sa_mount_t *mount = apr_pcalloc(p, sizeof(*mount));
    mount->secure = data[0] & 1;
    request_rec *r = apr_pcalloc(p, sizeof(*r));
    r->pool = p;
    r->headers_in = apr_table_make(p, 1);
    r->err_headers_out = apr_table_make(p, 1);
    apr_table_setn(r->headers_in, "Cookie", header);
    sa_request_t req = { .r = r, .mount = mount };
    const char *value = sa_state_cookie(&req, "0123abcd");
    must(!value || (!strchr(value, ';') && strlen(value) < size));
    const sa_new_state_t state = { .cookie_name = "0123abcd", .cookie_value = "v" };
    sa_state_cookie_set(&req, &state);
    apr_table_do(count, &cookies, r->err_headers_out, NULL);
    must(cookies >= 1 && cookies <= 1 + MAX_DROPPED);
    free(header);
    apr_pool_destroy(p);
    return 0;
}
