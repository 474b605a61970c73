/* Wrong passwords of one account, from all clients together.
 *
 * A guess counts before it is checked, so that no burst overshoots, and is taken back when it was
 * right or nobody checked it. Of the account's rate a share is kept for clients that signed in to
 * it before: somebody who fails on purpose from elsewhere uses up the others' share and does not
 * lock the owner out; both shares together are the rate. */
#include "accounts/internal.h"

#include "core/crypto.h"
#include <apr_strings.h>
#include <string.h>

/* A client is known for so long after it was last right, or until the throttle's memory is full. */
static const sa_rate_t known_for = { 1, 10 * 86400 * 1000ll };

/* Guesses count wherever they are made: mounts on one database have the same accounts. */
static apr_uint64_t key_of(sa_call_t *call, const char *what, const char *client,
                           const char *account)
{
    const char *key = apr_pstrcat(call->pool, call->settings->database, "|", what, "|", client,
                                  "|", account, NULL);

    return sa_keyed_hash(sa_shared_key(call->shared), key, strlen(key));
}

static int share_of_known(int count)
{
    return count < 2 ? 0 : count < 10 ? 1 : count / 5;
}

static int is_known(sa_call_t *call, const char *account)
{
    return call->client
           && sa_throttle_peek(call->shared, key_of(call, "known", call->client, account),
                               &known_for) > 0;
}

sa_error_t *sa_guess_count(sa_call_t *call, const char *account, sa_guess_t *guess)
{
    sa_rate_t rate = call->settings->account_throttle;
    int share = share_of_known(rate.count), known = share && is_known(call, account);

    rate.count = known ? share : rate.count - share;
    guess->account = account;
    guess->key = key_of(call, known ? "guess of known" : "guess", "", account);
    apr_int64_t wait = sa_throttle_hit(call->shared, guess->key, &rate);
    return wait ? sa_error_retry(call->pool, SA_E_THROTTLED, (int) ((wait + 999) / 1000),
                                 "too many wrong passwords for one account")
                : NULL;
}

void sa_guess_unchecked(sa_call_t *call, const sa_guess_t *guess)
{
    sa_throttle_undo(call->shared, guess->key);
}

void sa_guess_right(sa_call_t *call, const sa_guess_t *guess)
{
    sa_throttle_undo(call->shared, guess->key);
    if (call->client && call->settings->account_throttle.count) {
        apr_uint64_t key = key_of(call, "known", call->client, guess->account);
        sa_throttle_undo(call->shared, key);    /* its time starts anew */
        sa_throttle_hit(call->shared, key, &known_for);
    }
}
