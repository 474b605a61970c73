/* What the provider tests share: one pool, one mock server and one fresh environment per
 * test, keys that sign, and ID tokens. */
#ifndef TESTS_UNIT_PROVIDER_FIXTURE_H
#define TESTS_UNIT_PROVIDER_FIXTURE_H

#include "vectors.h"

#include "mock_http.h"
#include "providers/http_client.h"
#include "providers/jwks_cache.h"
#include "providers/provider.h"

#include <apr_thread_proc.h>

#define NOW 1800000000
#define CLIENT "client-1"
#define SECRET "s3cr3t-of-the-client"
#define CODE "the-code-of-the-user"

extern apr_pool_t *pool;
extern mock_t *mock;
extern sa_provider_env_t env;
extern sa_http_limits_t limits;         /* short, for providers made by make_provider */

/* cmocka fixtures, and those of the whole program. */
int fixture_setup(void **state);
int fixture_teardown(void **state);
int fixture_start(void **state);
int fixture_stop(void **state);

/* A finished provider: name, then key, value, …, NULL. Fails the test when it is refused. */
sa_provider_t *make_provider(const char *name, ...) __attribute__((sentinel));
/* GitHub whose endpoints are the mock's /token, /user and /emails, all answering well. */
sa_provider_t *make_github(void);
/* OIDC "idp": issuer https://idp.example.test, endpoints /token, /userinfo and /jwks of the
 * mock, ES256. */
sa_provider_t *make_idp(void);

void serve(const char *path, int status, const char *body);

/* A new ES256 (or other) key with this kid. */
const sa_key_t *make_key(sa_alg_t alg, const char *kid);
/* {"keys":[…]} of one or two keys (the second may be NULL). */
char *jwks_of(const sa_key_t *a, const sa_key_t *b);
/* Good claims of idp for NOW, to be changed by the test; owned by pool. */
json_t *good_claims(void);
/* good_claims with one member replaced (value stolen; NULL removes it), signed. */
char *token_with(const sa_key_t *key, const char *name, json_t *value);

/* What a login by code or by ID token gives; *identity NULL on failure. */
sa_error_t *by_code(const sa_provider_t *provider, sa_identity_t **identity);
sa_error_t *by_token(const sa_provider_t *provider, const char *token, sa_identity_t **identity);
/* What a token that a front end got from the provider gives; the same. */
sa_error_t *by_provider_token(const sa_provider_t *provider, const char *token,
                              sa_identity_t **identity);
/* by_provider_token again and again, jansson's first allocation failing, then its second, … until
 * none does. Fails the test when one of the failures is none that a client may get. */
void assert_survives_allocations(const sa_provider_t *provider, const char *token);
/* One check of an ID token's signature, by a thread of its own. */
typedef struct {
    const sa_provider_t *provider;
    const char *token;
    sa_error_kind_t failure;
    int failed;
} login_t;
void *APR_THREAD_FUNC login_thread(apr_thread_t *thread, void *data);
apr_thread_t *spawn(login_t *login);
void join(apr_thread_t *thread);
/* Fails the test unless the text and the log text are free of what the mock was sent. */
void assert_no_secrets(const sa_error_t *error);

#define assert_kind(error, expected) \
    do { \
        const sa_error_t *error_ = (error); \
        assert_non_null(error_); \
        assert_int_equal(error_->kind, expected); \
    } while (0)

#define assert_works(error) \
    do { \
        const sa_error_t *error_ = (error); \
        if (error_) { \
            fail_msg("%s:%d: %s", __FILE__, __LINE__, error_->log); \
        } \
    } while (0)

#endif
