#include "accounts/internal.h"

#include "core/crypto.h"
#include "core/json.h"
#include "core/text.h"
#include <apr_strings.h>
#include <string.h>

static sa_error_t *link_failure(sa_call_t *call, const sa_provider_t *provider,
                                sa_link_verdict_t verdict)
{
    switch (verdict) {
    case SA_LINK_TAKEN:
        return sa_error(call->pool, SA_E_IDENTITY_TAKEN, provider->label, NULL);
    case SA_LINK_NO_USER:
        return sa_session_gone(call);
    case SA_LINK_UNAVAILABLE:
        return sa_error(call->pool, SA_E_ACCOUNT_UNAVAILABLE, NULL, NULL);
    default:
        return NULL;
    }
}

/* The link and the mail that tells of it, in one unit of work. */
static sa_error_t *insert_link(sa_call_t *call, sa_work_t *work, const sa_bearer_t *bearer,
                               const sa_link_t *link, const char *label, const sa_event_t *event,
                               sa_link_verdict_t *verdict)
{
    int told = call->settings->mails && call->settings->security_mails;
    sa_user_t *user = NULL;

    sa_error_t *error = told ? sa_work_begin(work) : NULL;
    if (!error) {
        error = sa_store_link(work, bearer->user_id, bearer->sid, link, event, call->now,
                              verdict);
    }
    if (error || !told) {
        return error;
    }
    if (*verdict == SA_LINK_DONE) {
        error = sa_store_user_by_id(work, bearer->user_id, &user);
    }
    if (!error && user) {
        error = sa_mail_queue(call, work, SA_MAIL_NEW_LINK, user->id, user->email, label);
    }
    return error ? error : sa_work_commit(work);
}

/* One try; SA_E_CONFLICT when a concurrent change won. */
static sa_error_t *store_link(sa_call_t *call, const sa_provider_t *provider,
                              const sa_bearer_t *bearer, const sa_link_t *link)
{
    sa_link_verdict_t verdict = SA_LINK_TAKEN;
    sa_event_t event;
    sa_work_t *work;

    sa_event_fill(call, &event, "link_account_successful", provider->name);
    sa_error_t *error = sa_open(call, &work);
    if (!error) {
        error = insert_link(call, work, bearer, link, provider->label, &event, &verdict);
    }
    if (!error) {
        error = link_failure(call, provider, verdict);
    }
    if (!error) {
        sa_events_publish(call, work, &event, 1, bearer->user_id);
    }
    sa_work_close(work);
    return error;
}

sa_error_t *sa_accounts_link(sa_call_t *call, const sa_provider_t *provider,
                             const sa_bearer_t *bearer, sa_attempt_t *attempt)
{
    sa_identity_t *identity;
    sa_error_t *error = sa_prove(call, provider, attempt, bearer->user_id, &identity);

    if (error) {
        return error;
    }
    const sa_link_t link = {
        .provider = provider->name, .issuer = identity->issuer, .subject = identity->subject,
        .email = sa_verified_email(identity), .linked_at = call->now,
    };
    error = store_link(call, provider, bearer, &link);
    for (int try = 1; try < SA_TRIES && error && error->kind == SA_E_CONFLICT; try++) {
        error = store_link(call, provider, bearer, &link);
    }
    return error;
}

sa_error_t *sa_bearer_user(sa_call_t *call, const sa_bearer_t *bearer, sa_user_t **user,
                           apr_array_header_t **links)
{
    sa_work_t *work;
    sa_error_t *error = sa_open(call, &work);

    if (!error) {
        error = sa_store_links(work, bearer->user_id, bearer->sid, call->now, user, links);
    }
    sa_work_close(work);
    if (!error && !(*user && (*user)->usable)) {
        error = sa_session_gone(call);
    }
    return error;
}

static const sa_link_t *link_of(const apr_array_header_t *links, const sa_provider_t *provider)
{
    for (int i = 0; i < links->nelts; i++) {
        const sa_link_t *link = &APR_ARRAY_IDX(links, i, sa_link_t);
        if (!strcmp(link->issuer, provider->issuer)) {
            return link;
        }
    }
    return NULL;
}

/* The same wherever it is asked for, and small enough for JavaScript's numbers. Unlike the subject
 * it may stand in a front end's addresses and logs. */
static apr_int64_t association_id(sa_call_t *call, const sa_link_t *link)
{
    const char *text = apr_pstrcat(call->pool, link->issuer, "\n", link->subject, NULL);
    unsigned char digest[SA_SHA256_LEN];
    apr_int64_t id = 0;

    sa_sha256(text, strlen(text), digest);
    for (int i = 0; i < 6; i++) {
        id = id << 8 | digest[i];
    }
    return id;
}

static sa_error_t *unlink_failure(sa_call_t *call, const sa_provider_t *provider,
                                  sa_unlink_verdict_t verdict)
{
    switch (verdict) {
    case SA_UNLINK_NOT_LINKED:
        return sa_error(call->pool, SA_E_NOT_LINKED, provider->name, NULL);
    case SA_UNLINK_LAST:
        return sa_error(call->pool, SA_E_LAST_LOGIN_METHOD, NULL, NULL);
    case SA_UNLINK_NO_USER:
        return sa_session_gone(call);
    default:
        return NULL;
    }
}

/* The issuers that people can sign in with here, a line each. */
static const char *usable_issuers(sa_call_t *call)
{
    const apr_array_header_t *configured = call->settings->providers;
    const char *out = "";

    for (int i = 0; i < configured->nelts; i++) {
        const sa_provider_t *provider = APR_ARRAY_IDX(configured, i, const sa_provider_t *);
        if (!provider->disabled_because) {
            out = apr_pstrcat(call->pool, out, provider->issuer, "\n", NULL);
        }
    }
    return out;
}

static sa_error_t *remove_link(sa_call_t *call, const sa_provider_t *provider,
                               const sa_bearer_t *bearer)
{
    sa_unlink_verdict_t verdict = SA_UNLINK_NO_USER;
    sa_event_t event;
    sa_work_t *work;

    sa_event_fill(call, &event, "unlink_account_successful", provider->name);
    sa_error_t *error = sa_open(call, &work);
    if (!error) {
        error = sa_store_unlink(work, bearer->user_id, bearer->sid, provider->issuer,
                                usable_issuers(call),
                                call->settings->password_login, &event, call->now, &verdict);
    }
    if (!error) {
        error = unlink_failure(call, provider, verdict);
    }
    if (!error) {
        sa_events_publish(call, work, &event, 1, bearer->user_id);
    }
    sa_work_close(work);
    return error;
}

/* Guesses at a password count against the account, wherever they are made. */
sa_error_t *sa_check_password(sa_call_t *call, const sa_user_t *user, const char *password)
{
    sa_password_verdict_t verdict;
    sa_error_t *error = sa_password_guess(call, user->id, user, password, &verdict);

    return !error && verdict == SA_PASSWORD_MISMATCH
           ? sa_error(call->pool, SA_E_WRONG_PASSWORD, NULL, NULL) : error;
}

/* Whether the link that is there is the one meant, and the password, when sent, the user's. */
static sa_error_t *check_unlink(sa_call_t *call, const sa_provider_t *provider,
                                const sa_bearer_t *bearer, const apr_int64_t *association,
                                const char *password)
{
    sa_user_t *user;
    apr_array_header_t *links;
    sa_error_t *error = sa_bearer_user(call, bearer, &user, &links);

    if (error) {
        return error;
    }
    const sa_link_t *link = link_of(links, provider);
    if (!link || (association && *association != association_id(call, link))) {
        return unlink_failure(call, provider, SA_UNLINK_NOT_LINKED);
    }
    return password ? sa_check_password(call, user, password) : NULL;
}

sa_error_t *sa_accounts_unlink(sa_call_t *call, const sa_provider_t *provider,
                               const sa_bearer_t *bearer, const apr_int64_t *association,
                               const char *password)
{
    sa_error_t *error = NULL;

    if (call->settings->unlink_requires_password && !password) {
        sa_error_field(call->pool, &error, "password", SA_E_REQUIRED, NULL);
        return error;
    }
    if (association || password) {
        error = check_unlink(call, provider, bearer, association, password);
    }
    return error ? error : remove_link(call, provider, bearer);
}

static json_t *describe(sa_call_t *call, const sa_provider_t *provider, const sa_link_t *link,
                        int with_id)
{
    const char *email = link ? sa_utf8_or_null(link->email) : NULL;
    return json_pack("{s:s, s:b, s:s, s:s?, s:s?, s:o*}", "label", provider->label,
                     "is_linked", link != NULL, "name", provider->name,
                     "email", email, "linked_at",
                     link ? sa_iso_time(call->pool, link->linked_at) : NULL,
                     "association_id",
                     link && with_id ? json_integer(association_id(call, link)) : NULL);
}

sa_error_t *sa_accounts_linked(sa_call_t *call, const sa_bearer_t *bearer, json_t **providers)
{
    const apr_array_header_t *configured = call->settings->providers;
    sa_user_t *user;
    apr_array_header_t *links;
    sa_error_t *error = sa_bearer_user(call, bearer, &user, &links);

    if (error) {
        return error;
    }
    int failed = 0;
    *providers = sa_json_own(call->pool, json_array());
    for (int i = 0; i < configured->nelts; i++) {
        const sa_provider_t *provider = APR_ARRAY_IDX(configured, i, const sa_provider_t *);
        if (!provider->disabled_because) {
            failed |= json_array_append_new(*providers,
                                            describe(call, provider, link_of(links, provider),
                                                     bearer->client_id != NULL));
        }
    }
    return failed ? sa_error(call->pool, SA_E_UNAVAILABLE, NULL, "out of memory") : NULL;
}
