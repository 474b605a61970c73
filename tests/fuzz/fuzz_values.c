/* libFuzzer target: what directives take (src/httpd/values.c), whatever it is. */
#include "httpd/dir_conf.h"
#include "core/shared.h"

#include <apr_cstr.h>
#include <apr_general.h>
#include <apr_strings.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* httpd's, which is not there. */
int ap_cstr_casecmp(const char *a, const char *b)
{
    return apr_cstr_casecmp(a, b);
}

int ap_cstr_casecmpn(const char *a, const char *b, apr_size_t n)
{
    return apr_cstr_casecmpn(a, b, n);
}

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

static void read_numbers(apr_pool_t *p, const char *text)
{
    for (int unit = SA_UNIT_SECONDS; unit <= SA_UNIT_COUNT; unit++) {
        int value = -7;
        if (!sa_parse_number(p, text, unit, 1, 300, &value)) {
            must(value >= 1 && value <= 300);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = calloc(1, size + 1);
    const char *url = NULL;
    const unsigned char *key;
    apr_size_t len;
    sa_rate_t rate;
    apr_pool_t *p;

    must(text != NULL);
    memcpy(text, data, size);
    apr_pool_create(&p, NULL);
    read_numbers(p, text);
    if (!sa_parse_identifier(text, 1)) {
        must(*text && !strpbrk(text, "\"' ;"));
    }
    if (sa_is_http_token(text)) {
        must(*text && !strpbrk(text, " \t\r\n,;:\""));
    }
    if (!sa_parse_base_url(p, text, &url)) {
        must(!strncmp(url, "http", 4) && url[strlen(url) - 1] != '/');
    }
    if (!sa_parse_webhook_secret(p, text, &key, &len)) {
        must(len >= 24 && len <= 64);
    }
    if (!sa_rate_parse(text, &rate)) {
        must(rate.count >= 0 && rate.count <= SA_RATE_MAX);
    }
    sa_parse_string_or_uri(text);
    free(text);
    apr_pool_destroy(p);
    return 0;
}
