/* libFuzzer targets. The first byte chooses what reads the rest: forms, e-mail
 * addresses and names, URLs, clients' credentials, states. */
#include "core/crypto.h"
#include "core/form.h"
#include "core/shared.h"
#include "core/state.h"
#include "core/text.h"
#include "core/url.h"
#include "modes.h"

#include <apr_general.h>
#include <apr_strings.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const unsigned char key[SA_STATE_KEY_LEN];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    apr_initialize();
    return sa_crypto_init() != APR_SUCCESS;
}

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

static void read_form(apr_pool_t *p, const char *text, size_t len)
{
    const char *why = NULL, *name;
    json_t *value, *form = sa_form_parse(p, text, len, &why);

    must((form != NULL) == (why == NULL));
    if (form) {
        json_object_foreach(form, name, value) {
            const char *encoded = sa_form_encode(p, name, json_string_value(value), NULL);
            json_t *again = sa_form_parse(p, encoded, strlen(encoded), &why);
            must(again && json_equal(json_object_get(again, name), value));
        }
    }
}

static void read_address(apr_pool_t *p, const char *text)
{
    const char *canonical = sa_email_canonical(p, text);
    const char *clean = sa_clean_name(p, text, 50);

    must(strlen(clean) <= 50 && sa_utf8_valid(clean, strlen(clean)));
    must(!strcmp(sa_clean_name(p, clean, 50), clean));
    must(strlen(sa_log_safe(p, text, 60)) <= 60);
    if (canonical) {
        must(!strcmp(sa_email_canonical(p, canonical), canonical));
        must(*sa_email_domain(canonical) && *sa_username_from_email(p, canonical));
    }
}

static void read_url(apr_pool_t *p, const char *text)
{
    const char *origin = sa_url_origin(p, text);
    sa_rate_t rate;

    sa_endpoint_problem(text, 0);
    sa_url_is_loopback(text);
    sa_rate_parse(text, &rate);
    if (sa_return_to_valid(text, NULL)) {
        must(text[0] == '/' && text[1] != '/' && !strpbrk(text, "\\\r\n\t "));
    }
    if (!sa_origin_problem(text)) {
        must(origin && !strcmp(origin, text));
    }
}

static void read_basic(apr_pool_t *p, const char *text)
{
    const char *id, *secret;

    if (sa_basic_parse(p, text, &id, &secret)) {
        must(sa_utf8_valid(id, strlen(id)) && sa_utf8_valid(secret, strlen(secret)));
    }
}

static int one(const uint8_t *data, size_t size)
{
    sa_state_t state;
    apr_pool_t *p;
    char *text;

    if (!size) {
        return 0;
    }
    apr_pool_create(&p, NULL);
    text = calloc(1, size);     /* the rest and a NUL, exactly */
    must(text != NULL);
    memcpy(text, data + 1, size - 1);
    switch (data[0] % 5) {
    case 0:
        read_form(p, text, size - 1);
        break;
    case 1:
        read_address(p, text);
        break;
    case 2:
        read_url(p, text);
        break;
    case 3:
        read_basic(p, text);
        break;
    default:
        sa_state_check(p, key, text, "github", "login", 1800000000, 300, &state);
        sa_pkce_matches(text, text);
    }
    free(text);
    apr_pool_destroy(p);
    return 0;
}
