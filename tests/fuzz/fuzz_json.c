/* libFuzzer targets. The first byte chooses: JSON, base64url, or lines of provider options as
 * the configuration has them (a name, then key=value). */
#include "core/base64url.h"
#include "core/crypto.h"
#include "core/json.h"
#include "providers/provider.h"
#include "modes.h"

#include <apr_general.h>
#include <apr_strings.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    apr_initialize();
    return sa_crypto_init() != APR_SUCCESS;
}

static void read_json(apr_pool_t *p, const char *text, size_t len)
{
    const char *why = NULL;
    json_t *value = sa_json_parse(p, text, len, &why);

    must((value != NULL) == (why == NULL));
    if (value) {
        const char *dumped = sa_json_dump(p, value);
        must(dumped != NULL);
        json_t *again = sa_json_parse(p, dumped, strlen(dumped), &why);
        must(again != NULL);
    }
}

static void read_base64url(apr_pool_t *p, const char *text, size_t len)
{
    apr_size_t n = 0;
    unsigned char *bytes;

    if (sa_base64url_decode(&bytes, &n, p, text, len) == APR_SUCCESS) {     /* one spelling only */
        const char *again = sa_base64url_encode(p, bytes, n);
        must(strlen(again) == len && !memcmp(again, text, len));
    }
}

static void read_options(apr_pool_t *p, char *text)
{
    const char *why = NULL, *problem = NULL;
    char *last, *line = apr_strtok(text, "\n", &last);
    sa_provider_t *provider = line ? sa_provider_make(p, line, &why) : NULL;

    must(!line || (provider != NULL) == (why == NULL));
    while (provider && !problem && (line = apr_strtok(NULL, "\n", &last))) {
        char *value = strchr(line, '=');
        if (value) {
            *value++ = '\0';
            problem = sa_provider_set(provider, p, line, value);
        }
    }
    if (provider && !problem && !sa_provider_finish(provider, p)) {
        must(provider->disabled_because || provider->client_ids->nelts > 0);
        must(*provider->name && *provider->label && !strpbrk(provider->name, "/?#% "));
    }
}

static int one(const uint8_t *data, size_t size)
{
    apr_pool_t *p;

    if (!size) {
        return 0;
    }
    apr_pool_create(&p, NULL);
    char *text = calloc(1, size);       /* the rest and a NUL, exactly */
    must(text != NULL);
    memcpy(text, data + 1, size - 1);
    switch (data[0] % 3) {
    case 0:
        read_json(p, text, size - 1);
        break;
    case 1:
        read_base64url(p, text, size - 1);
        break;
    default:
        read_options(p, text);
        break;
    }
    free(text);
    apr_pool_destroy(p);
    return 0;
}
