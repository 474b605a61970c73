#include "accounts/internal.h"

#include "core/base64url.h"
#include "core/crypto.h"
#include <apr_strings.h>
#include <string.h>

#define LOGIN "login"           /* purposes of states */
#define REDIRECT "redirect"

/* A value only we can derive from a state: text in base64url. */
static const char *derive(sa_call_t *call, const char *what, const char *text)
{
    unsigned char mac[SA_SHA256_LEN];
    const char *data = apr_pstrcat(call->pool, what, ":", text, NULL);

    sa_hmac_sha256(call->settings->state_key, SA_STATE_KEY_LEN, data, strlen(data), mac);
    return sa_base64url_encode(call->pool, mac, sizeof(mac));
}

static const char *cookie_name(apr_pool_t *p, const sa_state_t *state)
{
    return apr_psprintf(p, "%02x%02x%02x%02x", state->id[0], state->id[1], state->id[2],
                        state->id[3]);
}

static sa_error_t *new_state(sa_call_t *call, const sa_provider_t *provider, sa_state_t *state,
                             sa_new_state_t *out)
{
    state->provider = provider->name;
    out->state = sa_state_make(call->pool, call->settings->state_key, state, call->now);
    if (!out->state) {
        return sa_no_random(call);
    }
    out->nonce = sa_provider_flows(provider) & SA_FLOW_ID_TOKEN
                     ? derive(call, "nonce", state->nonce) : NULL;
    out->cookie_name = cookie_name(call->pool, state);
    out->cookie_value = derive(call, "cookie", out->state);
    return NULL;
}

sa_error_t *sa_accounts_new_state(sa_call_t *call, const sa_provider_t *provider,
                                  const char *challenge, const char *user, sa_new_state_t *out)
{
    sa_state_t state = { .purpose = LOGIN, .challenge = challenge, .user = user };

    return new_state(call, provider, &state, out);
}

/* The code_verifier (RFC 7636 section 4.1) of the redirect flow, which nobody has to keep. */
static const char *verifier(sa_call_t *call, const sa_state_t *state)
{
    return derive(call, "pkce", state->nonce);
}

sa_error_t *sa_accounts_start_redirect(sa_call_t *call, const sa_provider_t *provider,
                                       const char *redirect_uri, const char *next,
                                       sa_new_state_t *out, const char **location)
{
    sa_state_t state = { .purpose = REDIRECT, .next = next };
    sa_provider_env_t env = *call->env;
    sa_error_t *error = new_state(call, provider, &state, out);

    if (error) {
        return error;
    }
    const sa_authorization_request_t request = {
        .redirect_uri = redirect_uri, .state = out->state, .nonce = out->nonce,
        .challenge = sa_pkce_challenge(call->pool, verifier(call, &state)),
    };
    env.deadline = sa_http_clock() + provider->limits.total_ms;
    return sa_provider_authorize(provider, &env, call->pool, &request, location);
}

sa_error_t *sa_spend_once(sa_call_t *call, const unsigned char id[32], apr_int64_t expires,
                          int *first)
{
    if (call->settings->shared_state_in_database) {
        sa_work_t *work;
        sa_error_t *error = sa_open(call, &work);
        if (!error) {
            error = sa_store_spend(work, id, expires, first);
        }
        sa_work_close(work);
        return error;
    }
    apr_int64_t left = expires > call->now ? expires - call->now : 0;
    sa_spent_t spent = sa_spend(call->shared, id, (left + 1) * 1000);
    if (spent == SA_SPENT_FULL) {
        return sa_error(call->pool, SA_E_UNAVAILABLE, NULL,
                        "no room for more spent states: raise SocialAuthSharedMemory");
    }
    *first = spent == SA_SPENT_FIRST;
    return NULL;
}

static sa_error_t *invalid(sa_call_t *call, const char *why)
{
    return sa_error(call->pool, SA_E_STATE_INVALID, NULL, "state refused: %s", why);
}

/* NULL when the attempt may use this state: whatever binding it brings must match, and one must
 * be there unless the mount's mode lets it go. */
static const char *binding_problem(sa_call_t *call, const sa_state_t *state,
                                   sa_attempt_t *attempt, const char *bearer_user)
{
    sa_state_binding_t mode = attempt->redirect ? SA_BINDING_REQUIRED
                                                : call->settings->state_binding;
    int bound = 0;

    if (state->user && (!bearer_user || strcmp(state->user, bearer_user))) {
        return "it belongs to another user";
    }
    if (state->challenge || attempt->code_verifier) {
        if (!state->challenge || !attempt->code_verifier
            || !sa_pkce_matches(attempt->code_verifier, state->challenge)) {
            return "code_verifier does not match";
        }
        bound = 1;
    }
    const char *name = cookie_name(call->pool, state);
    const char *cookie = attempt->cookie ? attempt->cookie(attempt->who, name) : NULL;
    if (cookie) {
        const char *expected = derive(call, "cookie", attempt->state);
        if (!sa_equal(cookie, strlen(cookie), expected, strlen(expected))) {
            return "its cookie does not match";
        }
        attempt->spent_cookie = name;
        bound = 1;
    }
    if (bound || mode == SA_BINDING_OFF
        || (mode == SA_BINDING_AUTO && attempt->binding_exempt)) {
        return NULL;
    }
    return "neither its cookie nor a code_verifier came with it";
}

sa_error_t *sa_state_use(sa_call_t *call, const sa_provider_t *provider, sa_attempt_t *attempt,
                         const char *bearer_user, const char **nonce)
{
    const sa_settings_t *settings = call->settings;
    sa_state_t state;
    int first;

    const char *why = sa_state_check(call->pool, settings->state_key, attempt->state,
                                     provider->name, attempt->redirect ? REDIRECT : LOGIN,
                                     call->now, settings->state_max_age, &state);
    if (!why) {
        why = binding_problem(call, &state, attempt, bearer_user);
    }
    if (why) {
        return invalid(call, why);
    }
    sa_error_t *error = sa_spend_once(call, state.id, state.issued + settings->state_max_age,
                                      &first);
    if (error) {
        return error;
    }
    if (!first) {
        return invalid(call, "used before");
    }
    *nonce = derive(call, "nonce", state.nonce);
    if (attempt->redirect) {
        attempt->code_verifier = verifier(call, &state);
        attempt->next = state.next;
    }
    return NULL;
}
