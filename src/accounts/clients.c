#include "accounts/internal.h"

#include "core/crypto.h"
#include "core/password.h"
#include "core/text.h"
#include <apr_strings.h>
#include <apr_escape.h>
#include <string.h>

#define SCHEME "sha256$"
#define SCOPE_MAX 1024          /* bytes */

const char *sa_client_secret_hash(apr_pool_t *p, const char *secret)
{
    unsigned char digest[SA_SHA256_LEN];

    sa_sha256(secret, strlen(secret), digest);
    return apr_pstrcat(p, SCHEME, apr_pescape_hex(p, digest, sizeof(digest), 0), NULL);
}

/* Secrets made by us are random, and need no slow hash; others were imported, with Django's. */
static sa_error_t *verify(sa_call_t *call, const sa_application_t *application, const char *secret,
                          sa_password_verdict_t *verdict)
{
    const char *stored = application->secret;
    const sa_user_t holder = { .id = application->client_id, .password = stored, .usable = 1 };

    if (!strncmp(stored, SCHEME, sizeof(SCHEME) - 1)) {
        const char *given = sa_client_secret_hash(call->pool, secret);
        *verdict = sa_equal(given, strlen(given), stored, strlen(stored)) ? SA_PASSWORD_MATCH
                                                                          : SA_PASSWORD_MISMATCH;
        return NULL;
    }
    sa_error_t *error = sa_password_guess(call, apr_pstrcat(call->pool, "client:", holder.id, NULL),
                                          &holder, secret, verdict);
    if (!error && *verdict == SA_PASSWORD_MATCH) {
        *verdict = SA_PASSWORD_MATCH_REHASH;
    }
    return error;
}

sa_error_t *sa_client_find(sa_call_t *call, const char *client_id, sa_application_t **application)
{
    sa_work_t *work;
    sa_error_t *error = sa_open(call, &work);

    if (!error) {
        error = sa_store_application(work, client_id, application);
    }
    sa_work_close(work);
    return error;
}

/* An imported secret need not be verified slowly twice. Losing a race here loses nothing. */
static sa_error_t *keep_fast_hash(sa_call_t *call, const sa_application_t *application,
                                  const char *secret)
{
    sa_work_t *work;
    int done;
    sa_error_t *error = sa_open(call, &work);

    if (!error) {
        error = sa_store_set_client_secret(work, application->client_id, application->secret,
                                           sa_client_secret_hash(call->pool, secret), &done);
    }
    sa_work_close(work);
    return error;
}

static sa_error_t *refuse(sa_call_t *call, const char *why)
{
    return sa_error(call->pool, SA_E_INVALID_CLIENT, NULL, "%s", why);
}

static sa_error_t *check_secret(sa_call_t *call, const sa_application_t *application,
                                const char *secret)
{
    if (!application->secret) {
        return *secret ? refuse(call, "a public client sent a secret") : NULL;
    }
    sa_password_verdict_t verdict;
    sa_error_t *error = verify(call, application, secret, &verdict);
    if (error) {
        return error;
    }
    if (verdict == SA_PASSWORD_MISMATCH) {
        return refuse(call, *secret ? "wrong client secret" : "no client secret");
    }
    return verdict == SA_PASSWORD_MATCH_REHASH ? keep_fast_hash(call, application, secret) : NULL;
}

sa_error_t *sa_client_authenticate(sa_call_t *call, const char *client_id, const char *secret,
                                   sa_application_t **application)
{
    sa_error_t *error = sa_client_find(call, client_id, application);

    if (error) {
        return error;
    }
    if (secret && strlen(secret) > SA_PASSWORD_MAX) {
        return refuse(call, "the client secret is too long");
    }
    return *application ? check_secret(call, *application, secret ? secret : "")
                        : refuse(call, "no such client");
}

/* ---- what a client may have ---- */

/* The words of `wanted` that are in `allowed`, each once; *all 0 when one is not. */
static const char *common(apr_pool_t *p, const char *wanted, const char *allowed, int *all)
{
    const char *out = "";

    *all = 1;
    for (wanted += strspn(wanted, " "); *wanted; wanted += strspn(wanted, " ")) {
        apr_size_t len = strcspn(wanted, " ");
        if (!sa_words_have(allowed, wanted, len)) {
            *all = 0;
        }
        else if (!sa_words_have(out, wanted, len)) {
            out = apr_pstrcat(p, out, *out ? " " : "", apr_pstrmemdup(p, wanted, len), NULL);
        }
        wanted += len;
    }
    return out;
}

const char *sa_scope_within(apr_pool_t *p, const char *wanted, const char *allowed)
{
    int all = 0;
    const char *scope = strlen(wanted) <= SCOPE_MAX ? common(p, wanted, allowed, &all) : NULL;

    return all ? scope : NULL;
}

const char *sa_scope_common(apr_pool_t *p, const char *scope, const char *allowed)
{
    int all;
    return common(p, scope, allowed, &all);
}

/* One that users let in by the authorization endpoint, and are asked for: another site, or a program. */
static int is_third_party(const sa_application_t *application)
{
    return !application->trusted
           && sa_words_have(application->grants, SA_GRANT_CODE, strlen(SA_GRANT_CODE));
}

sa_error_t *sa_client_grant(sa_call_t *call, const sa_application_t *application,
                            const char *grant, const char *scope, sa_client_t *client)
{
    if (!sa_words_have(application->grants, grant, strlen(grant))) {
        return sa_error(call->pool, SA_E_UNAUTHORIZED_CLIENT, NULL, "client %s may not use %s",
                        application->client_id, grant);
    }
    client->id = application->client_id;
    client->third_party = is_third_party(application);
    client->scope = scope ? sa_scope_within(call->pool, scope, application->scopes)
                          : application->scopes;
    return client->scope ? NULL
                         : sa_error(call->pool, SA_E_INVALID_SCOPE, NULL, "client %s",
                                    application->client_id);
}
