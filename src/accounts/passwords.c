/* All hashing of passwords. No connection is held meanwhile. */
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
