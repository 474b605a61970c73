/* Access tokens whose session has ended before their time. */
#include "accounts/internal.h"

/* A token is accepted a leeway after its end (300 s at most), and clocks of servers differ. */
#define SLACK 600

apr_int64_t sa_revocation_memory(int access_lifetime)
{
    apr_int64_t memory = (apr_int64_t)access_lifetime + SLACK;

    return memory < SA_REVOCATION_MEMORY_MAX ? memory : SA_REVOCATION_MEMORY_MAX;
}

/* 1 when the end of its session would still be remembered: the token lives no longer than those of this
 * mount, which another configuration, or another server, may have made otherwise. */
static int is_remembered(const sa_settings_t *settings, const json_t *claims)
{
    apr_int64_t memory = sa_revocation_memory(settings->access_lifetime), iat, exp;

    return sa_claim_time(claims, "iat", &iat) == 1 && sa_claim_time(claims, "exp", &exp) == 1
           && exp - iat + SLACK <= memory;
}

static sa_error_t *refused(sa_call_t *call)
{
    return sa_error(call->pool, SA_E_TOKEN_NOT_VALID, NULL,
                    "access token refused: its session has ended");
}

sa_error_t *sa_check_revocation(sa_call_t *call, const char *sid, const json_t *claims)
{
    const sa_settings_t *settings = call->settings;
    sa_revoked_t revoked = SA_REVOKED_UNKNOWN;

    if (settings->revocation_check == SA_REVOCATION_OFF) {
        return NULL;
    }
    if (settings->revocation_check == SA_REVOCATION_SHARED && is_remembered(settings, claims)) {
        revoked = sa_revoked(call->shared, settings->database, sid);
    }
    if (revoked != SA_REVOKED_UNKNOWN) {
        return revoked == SA_REVOKED ? refused(call) : NULL;
    }
    sa_error_t *error = sa_session_alive(call, sid, NULL);
    return error && error->status == 401 ? refused(call) : error;
}

void sa_session_ended(sa_call_t *call, const char *sid)
{
    const sa_settings_t *settings = call->settings;

    sa_revoke(call->shared, settings->database, sid,
              sa_revocation_memory(settings->access_lifetime) * 1000);
}
