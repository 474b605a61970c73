#include "accounts/internal.h"

#include "core/text.h"
#include <apr_strings.h>
#include <string.h>

typedef struct {
    const char *login;          /* as typed */
    const char *email;          /* its canonical form, NULL when it is no address */
    int is_email;               /* as the field was called, or -1 */
    const char *password;
} credentials_t;

static sa_error_t *find(sa_call_t *call, const credentials_t *given, sa_user_t **user)
{
    sa_work_t *work;

    sa_error_t *error = sa_open(call, &work);
    if (!error) {
        error = sa_store_user_by_login(work, given->email,
                                       given->is_email == 1 ? NULL : given->login, user);
    }
    sa_work_close(work);
    return error;
}

/* Spellings of one address are one account also where it is nobody's. */
static const char *account_of(sa_call_t *call, const credentials_t *given, const sa_user_t *user)
{
    return user ? user->id : apr_pstrcat(call->pool, "?", given->email ? given->email
                                                                       : given->login, NULL);
}

/* Stores the session, and the better hash when there is one. SA_E_CONFLICT when the hash that
 * the password was right for is no longer the user's: while it was computed somebody may have
 * bettered it, changed the password, or taken it away. */
static sa_error_t *store_entry(sa_call_t *call, sa_work_t *work, sa_user_t **user,
                               const sa_session_t *session, const sa_event_t *event,
                               const char *new_hash)
{
    const char *id = (*user)->id, *hash = (*user)->password;
    int done = 0;

    sa_error_t *error = sa_work_begin(work);
    if (!error && new_hash) {
        error = sa_store_set_password(work, id, hash, new_hash, &done);
    }
    if (!error) {
        error = sa_store_start_session(work, id, session, event, 1, user);
    }
    if (!error && !(*user && (*user)->usable)) {
        error = sa_error(call->pool, SA_E_BAD_CREDENTIALS, NULL, NULL);
    }
    if (!error && strcmp((*user)->password, done ? new_hash : hash)) {
        error = sa_error(call->pool, SA_E_CONFLICT, NULL, "the password changed meanwhile");
    }
    return error ? error : sa_work_commit(work);
}

static sa_error_t *enter(sa_call_t *call, sa_user_t **user, const sa_session_t *session,
                         const char *new_hash)
{
    sa_event_t event;
    sa_work_t *work;

    sa_event_fill(call, &event, "login_successful", NULL);
    sa_error_t *error = sa_open(call, &work);
    if (!error) {
        error = store_entry(call, work, user, session, &event, new_hash);
    }
    if (!error) {
        sa_events_publish(call, work, &event, 1, (*user)->id);
    }
    sa_work_close(work);
    return error;
}

/* The log may know what the answer must not tell. What was typed is in neither: people type their
 * password into the wrong field. */
static sa_error_t *bad_credentials(sa_call_t *call, const sa_user_t *user)
{
    return sa_error(call->pool, SA_E_BAD_CREDENTIALS, NULL, "%s%s",
                    !user ? "no such account" : user->usable ? "wrong password for user "
                                                             : "not an active account: user ",
                    user ? user->id : "");
}

static sa_error_t *attempt(sa_call_t *call, const credentials_t *given,
                           const sa_client_t *client, sa_tokens_t *tokens)
{
    sa_user_t *user = NULL;
    const char *new_hash = NULL;
    sa_password_verdict_t verdict;

    sa_error_t *error = find(call, given, &user);
    if (!error) {
        error = sa_password_guess(call, account_of(call, given, user), user, given->password,
                                  &verdict);
    }
    if (error) {
        return error;
    }
    if (verdict == SA_PASSWORD_MISMATCH) {
        return bad_credentials(call, user);
    }
    error = sa_require_verified_email(call, user);
    if (error) {
        return error;
    }
    if (verdict == SA_PASSWORD_MATCH_REHASH && sa_password_make(call, given->password, &new_hash)) {
        new_hash = NULL;        /* there is no time for it now: at the next sign-in */
    }
    sa_session_t *session = sa_session_new(call, "pwd", client);
    if (!session) {
        return sa_no_random(call);
    }
    error = enter(call, &user, session, new_hash);
    return error ? error : sa_tokens_issue(call, user, session, tokens);
}

sa_error_t *sa_accounts_password_login(sa_call_t *call, const char *login, int is_email,
                                       const char *password, const sa_client_t *client,
                                       sa_tokens_t *tokens)
{
    const credentials_t given = {
        .login = login, .email = sa_email_canonical(call->pool, login), .is_email = is_email,
        .password = password
    };

    sa_error_t *error = attempt(call, &given, client, tokens);
    for (int try = 1; try < SA_TRIES && error && error->kind == SA_E_CONFLICT; try++) {
        error = attempt(call, &given, client, tokens);
    }
    return error;
}
