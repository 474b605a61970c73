/* All hashing of passwords, and their change. No connection is held while one is hashed. */
#include "accounts/internal.h"

#include "core/password.h"
#include <string.h>

static sa_error_t *busy(sa_call_t *call)
{
    return sa_error(call->pool, SA_E_BUSY, NULL, "too many passwords wait to be hashed");
}

static sa_error_t *no_memory(sa_call_t *call)
{
    return sa_error(call->pool, SA_E_UNAVAILABLE, NULL, "there was no memory to hash a password");
}

/* ---- hashing ---- */

sa_error_t *sa_password_make(sa_call_t *call, const char *password, const char **hash)
{
    sa_hash_stay_t stay;

    if (!sa_hash_gate_enter(call->gate, 1, &stay)) {
        return busy(call);
    }
    *hash = sa_password_hash(call->pool, password, strlen(password));
    sa_hash_gate_leave(call->gate, &stay, 0);
    return *hash ? NULL : no_memory(call);
}

/* An account that may not sign in, or is none, is a mismatch that took as long. */
static sa_error_t *check(sa_call_t *call, const sa_user_t *user, const char *password,
                         sa_password_verdict_t *verdict)
{
    const char *encoded = user ? user->password : NULL;
    sa_password_cost_t cost = sa_password_cost(encoded);
    sa_hash_stay_t stay;

    if (!sa_hash_gate_enter(call->gate, cost.weight, &stay)) {
        return busy(call);
    }
    *verdict = sa_password_verify(call->pool, encoded, password, strlen(password));
    if (*verdict != SA_PASSWORD_UNKNOWN && !(user && user->usable)) {
        *verdict = SA_PASSWORD_MISMATCH;
    }
    sa_hash_gate_leave(call->gate, &stay,
                       (cost.is_ours ? 0 : SA_HASH_SLOW)
                       | (*verdict == SA_PASSWORD_MISMATCH ? SA_HASH_REFUSED : 0));
    return *verdict == SA_PASSWORD_UNKNOWN ? no_memory(call) : NULL;
}

sa_error_t *sa_password_guess(sa_call_t *call, const char *account, const sa_user_t *user,
                              const char *password, sa_password_verdict_t *verdict)
{
    sa_guess_t guess;

    sa_error_t *error = sa_guess_count(call, account, &guess);
    if (error) {
        return error;
    }
    error = check(call, user, password, verdict);
    if (error) {
        sa_guess_unchecked(call, &guess);
    }
    else if (*verdict != SA_PASSWORD_MISMATCH) {
        sa_guess_right(call, &guess);
    }
    return error;
}

/* ---- new passwords ---- */

void sa_password_policy_check(sa_call_t *call, const char *password,
                              const sa_password_owner_t *owner, const char *field,
                              sa_error_t **errors)
{
    sa_password_judge(call->pool, &call->settings->password_policy, owner, password, field,
                      errors);
}

static sa_error_t *store_password(sa_call_t *call, sa_work_t *work, const sa_user_t *user,
                                  const char *hash, const char *keep_sid,
                                  const sa_event_t *event)
{
    int done, ended;

    sa_error_t *error = sa_work_begin(work);
    if (!error) {
        error = sa_store_set_password(work, user->id, user->password, hash, &done);
    }
    if (!error && !done) {
        error = sa_error(call->pool, SA_E_CONFLICT, NULL, "the password changed meanwhile");
    }
    if (!error) {
        error = sa_store_revoke_user(work, user->id, keep_sid, call->now, &ended);
    }
    if (!error) {
        error = sa_store_event(work, user->id, event);
    }
    if (!error) {
        error = sa_mail_queue(call, work, SA_MAIL_PASSWORD_CHANGED, user->id, user->email, NULL);
    }
    return error ? error : sa_work_commit(work);
}

sa_error_t *sa_password_set(sa_call_t *call, const sa_user_t *user, const char *new_password,
                            const char *field, const char *keep_sid)
{
    const sa_password_owner_t owner = {
        .username = user->username, .first_name = user->first_name,
        .last_name = user->last_name, .email = user->email
    };
    const char *hash;
    sa_event_t event;
    sa_work_t *work;
    sa_error_t *error = NULL;

    sa_password_policy_check(call, new_password, &owner, field, &error);
    if (!error) {
        error = sa_password_make(call, new_password, &hash);
    }
    if (error) {
        return error;
    }
    sa_event_fill(call, &event, "password_changed", NULL);
    error = sa_open(call, &work);
    if (!error) {
        error = store_password(call, work, user, hash, keep_sid, &event);
    }
    if (!error) {
        sa_events_publish(call, work, &event, 1, user->id);
    }
    sa_work_close(work);
    return error;
}

/* ---- by the user ---- */

static sa_error_t *wrong_old(sa_call_t *call, const char *text)
{
    sa_error_t *error = NULL;

    sa_error_field(call->pool, &error, "old_password", SA_E_WRONG_PASSWORD, text);
    return error;
}

static sa_error_t *change(sa_call_t *call, const sa_bearer_t *bearer, const char *old_password,
                          const char *new_password)
{
    sa_user_t *user;
    apr_array_header_t *links;
    sa_password_verdict_t verdict;

    sa_error_t *error = sa_bearer_user(call, bearer, &user, &links);
    if (!error && !sa_password_usable(user->password)) {
        error = wrong_old(call, "This account has no password yet. Set one by resetting it.");
    }
    if (!error) {
        error = sa_password_guess(call, user->id, user, old_password, &verdict);
    }
    if (!error && verdict == SA_PASSWORD_MISMATCH) {
        error = wrong_old(call, NULL);
    }
    return error ? error
                 : sa_password_set(call, user, new_password, "new_password", bearer->sid);
}

sa_error_t *sa_accounts_change_password(sa_call_t *call, const sa_bearer_t *bearer,
                                        const char *old_password, const char *new_password)
{
    sa_error_t *error = change(call, bearer, old_password, new_password);

    for (int try = 1; try < SA_TRIES && error && error->kind == SA_E_CONFLICT; try++) {
        error = change(call, bearer, old_password, new_password);
    }
    return error;
}
