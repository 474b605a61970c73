/* libFuzzer targets: what providers answer. The first byte chooses a flow, by code or by a token that
 * the front end brought; the rest, split
 * at 0xff, are the bodies of the answers in the order of the requests, each led by a byte that
 * chooses its status and type. Nothing goes over the network. */
#include "core/crypto.h"
#include "core/text.h"
#include "providers/jwks_cache.h"
#include "providers/provider.h"
#include "modes.h"

#include <apr_general.h>
#include <apr_strings.h>
#include <openssl/err.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* In the order of fuzz_seeds. */
enum { GITHUB, GOOGLE, OIDC, FACEBOOK, GITHUB_TOKEN, GOOGLE_TOKEN, FACEBOOK_TOKEN, FLOWS };

#define SHARED_BYTES (4 * 1024 * 1024)
#define SHARED_INPUTS 8         /* so many have room for their documents */

void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

static sa_shared_t *shared;
static const uint8_t *input, *input_end;
static unsigned inputs;

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    apr_initialize();
    must(sa_crypto_init() == APR_SUCCESS);
    return 0;
}

static void answer(apr_pool_t *p, sa_http_response_t *response)
{
    static const int statuses[] = { 200, 200, 200, 400, 401, 404, 500, 302 };
    static const char *const types[] = {
        "application/json", "application/x-www-form-urlencoded", "text/html", NULL
    };
    const uint8_t *end = memchr(input, 0xff, (size_t)(input_end - input));
    uint8_t kind = input < input_end ? *input++ : 0;

    end = end && end > input ? end : input_end;
    size_t len = end > input ? (size_t)(end - input) : 0;
    char *body = malloc(len + 1);       /* exactly, for the sanitizer */
    must(body != NULL);
    memcpy(body, input, len);
    body[len] = '\0';
    apr_pool_cleanup_register(p, body, (apr_status_t (*)(void *))(void *)free,
                              apr_pool_cleanup_null);
    *response = (sa_http_response_t) {
        .outcome = kind & 0x80 ? SA_HTTP_TIMEOUT : SA_HTTP_DONE, .status = statuses[kind & 7],
        .content_type = types[kind >> 3 & 3], .cache_control = kind & 0x40 ? body : NULL,
        .body = body, .len = len, .problem = kind & 0x80 ? "slow" : NULL
    };
    input = end < input_end ? end + 1 : input_end;
}

apr_int64_t sa_http_clock(void)
{
    static apr_int64_t now;
    return now += 10;
}

apr_status_t sa_http_enter(sa_http_t *http, const void *owner)
{
    return APR_SUCCESS;
}

void sa_http_leave(sa_http_t *http, const void *owner)
{
}

apr_status_t sa_http_perform(sa_http_t *http, apr_pool_t *p, const sa_http_limits_t *limits,
                             const sa_http_request_t *requests, int n,
                             sa_http_response_t *responses)
{
    for (int i = 0; i < n; i++) {
        must(strchr(requests[i].url, '\n') == NULL);
        must(!requests[i].bearer || !strpbrk(requests[i].bearer, "\r\n "));
        must(!strncmp(requests[i].url, "https://", 8));
        answer(p, &responses[i]);
    }
    return APR_SUCCESS;
}

static sa_provider_t *make(apr_pool_t *p, const char *name, const char *const *options)
{
    const char *why;
    sa_provider_t *provider = sa_provider_make(p, name, &why);

    must(provider != NULL);
    for (; *options; options += 2) {
        must(!sa_provider_set(provider, p, options[0], options[1]));
    }
    must(!sa_provider_finish(provider, p) && !provider->disabled_because);
    return provider;
}

static void renew_shared(void)
{
    if (inputs % SHARED_INPUTS == 0) {
        must(!shared || !munmap(shared, SHARED_BYTES));
        must(sa_shared_create(&shared, SHARED_BYTES) == APR_SUCCESS);
    }
}

static sa_provider_t *choose(apr_pool_t *p, int flow)
{
    /* Its own address each time, so that documents are fetched each time; as long as the others. */
    const char *url = apr_psprintf(p, "https://op.test/%u", inputs++ % SHARED_INPUTS);
    const char *const github[] = { "client-id", "c", "client-secret", "s", NULL };
    const char *const google[] = { "client-id", "c", "jwks-url", url, NULL };
    const char *const oidc[] = {
        "type", "oidc", "client-id", "c", "client-secret", "s", "issuer", url, NULL
    };

    const char *const facebook[] = {
        "client-id", "1", "client-secret", "s", "email-trust", "verified", NULL
    };

    switch (flow) {
    case GITHUB: case GITHUB_TOKEN:
        return make(p, "github", github);
    case GOOGLE: case GOOGLE_TOKEN:
        return make(p, "google", google);
    case FACEBOOK: case FACEBOOK_TOKEN:
        return make(p, "facebook", facebook);
    default:
        return make(p, "op", oidc);
    }
}

static void check(apr_pool_t *p, const sa_provider_t *provider, const sa_identity_t *identity)
{
    size_t len = strlen(identity->subject);

    must(len >= 1 && len <= 255 && sa_utf8_valid(identity->subject, len));
    must(*identity->issuer && !identity->email_vouched == !(identity->email_vouched
                                                            && identity->email));
    must(!identity->email || !strcmp(sa_email_canonical(p, identity->email), identity->email));
    must(sa_utf8_valid(identity->first_name, strlen(identity->first_name)));
    must(sa_utf8_valid(identity->last_name, strlen(identity->last_name)));
    must(!strcmp(provider->name, "github") == !strcmp(identity->issuer, "https://github.com"));
}

static int one(const uint8_t *data, size_t size)
{
    /* header.claims.signature of no key: what the reader sees before it asks for keys */
    static const char id_token[] = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsifQ."
        "eyJpc3MiOiJodHRwczovL2FjY291bnRzLmdvb2dsZS5jb20ifQ.AAAA";
    apr_pool_t *p;
    sa_proof_t proof = { .id_token_exp = 0 };
    sa_identity_t *identity = NULL;

    if (!size) {
        return 0;
    }
    renew_shared();
    sa_provider_env_t env = { .shared = shared };
    input = data + 1;
    input_end = data + size;
    apr_pool_create(&p, NULL);
    must(sa_jwks_cache_create(&env.jwks, p) == APR_SUCCESS);
    int flow = data[0] % FLOWS;
    const sa_provider_t *provider = choose(p, flow);
    const sa_credential_t credential = {
        .flow = flow == GOOGLE ? SA_FLOW_ID_TOKEN : SA_FLOW_CODE, .code = "code",
        .id_token = id_token, .token = "token", .now = 1800000000, .max_token_age = 600,
    };
    sa_error_t *error = (flow < GITHUB_TOKEN ? provider->type->identify
                                             : provider->type->identify_token)(
        provider, &env, p, &credential, &identity, &proof);
    must(!error == !!identity);
    if (identity) {
        check(p, provider, identity);
    }
    must(ERR_peek_error() == 0);
    apr_pool_destroy(p);
    return 0;
}
