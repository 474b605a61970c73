#include "accounts/internal.h"

#include "core/crypto.h"
#include "core/json.h"
#include "core/text.h"
#include <string.h>

static int owns(const sa_owner_t *owner, const json_t *claims)
{
    const char *client = sa_json_string(claims, "client_id");
    const char *user = sa_json_string(claims, "sub");

    return (!owner->client_id || (client && !strcmp(client, owner->client_id)))
           && (!owner->user_id || (user && !strcmp(user, owner->user_id)));
}

/* The claims of a token of either kind that is good by itself and the owner's, NULL of another. */
static const json_t *claims_of(sa_call_t *call, const char *token, const sa_owner_t *owner)
{
    sa_jwt_t jwt;

    if (sa_token_refused(call, token, SA_TOKEN_ACCESS, &jwt)
        && sa_token_refused(call, token, SA_TOKEN_REFRESH, &jwt)) {
        return NULL;
    }
    return owns(owner, jwt.claims) ? jwt.claims : NULL;
}

/* What a token without a session is remembered by once it is revoked. */
static void token_id(const json_t *claims, unsigned char id[SA_SHA256_LEN])
{
    const char *jti = sa_json_string(claims, "jti");

    sa_sha256(jti ? jti : "", jti ? strlen(jti) : 0, id);
}

static sa_error_t *end(sa_call_t *call, sa_work_t *work, const json_t *claims)
{
    const char *sid = sa_json_string(claims, "sid");
    unsigned char id[SA_SHA256_LEN];
    apr_int64_t exp = 0;
    int found, was_live;

    if (!sid) {
        token_id(claims, id);
        sa_claim_time(claims, "exp", &exp);
        return sa_store_spend(work, id, exp + call->settings->leeway, &found);
    }
    sa_error_t *error = sa_store_revoke_session(work, sid, call->now, &found, &was_live);
    if (!error) {
        sa_session_ended(call, sid);
    }
    return error;
}

static sa_error_t *revoke_claims(sa_call_t *call, const json_t *claims)
{
    sa_work_t *work;
    sa_error_t *error = sa_open(call, &work);

    if (!error) {
        error = end(call, work, claims);
    }
    sa_work_close(work);
    return error;
}

sa_error_t *sa_accounts_revoke(sa_call_t *call, const char *token, const sa_owner_t *owner)
{
    const json_t *claims = claims_of(call, token, owner);

    return claims ? revoke_claims(call, claims) : NULL;
}

sa_error_t *sa_accounts_replace(sa_call_t *call, const char *token, const sa_tokens_t *tokens)
{
    static const sa_owner_t anybody;
    const json_t *claims = claims_of(call, token, &anybody);
    const char *sid = claims ? sa_json_string(claims, "sid") : NULL;

    return sid && strcmp(sid, tokens->sid) ? revoke_claims(call, claims) : NULL;
}

sa_error_t *sa_session_gone(sa_call_t *call)
{
    return sa_error(call->pool, SA_E_TOKEN_NOT_VALID, NULL,
                    "access token refused: its session or user is gone");
}

/* 1 in *live when the bearer's session, if it has one, is not over. */
static sa_error_t *is_live(sa_work_t *work, const char *sid, const char *jti, apr_int64_t now,
                           int *live)
{
    int revoked;

    *live = 1;
    return sid ? sa_store_session_live(work, sid, jti, now, live, &revoked) : NULL;
}

static sa_error_t *check_application(sa_call_t *call, sa_work_t *work, const char *client_id)
{
    sa_application_t *application;
    sa_error_t *error = sa_store_application(work, client_id, &application);

    if (!error && !application) {
        sa_error_field(call->pool, &error, "client_id", SA_E_INVALID, "Invalid client_id.");
    }
    return error;
}

sa_error_t *sa_accounts_end_client(sa_call_t *call, const sa_bearer_t *bearer,
                                   const char *client_id, sa_end_t what)
{
    int live;
    sa_work_t *work;

    sa_error_t *error = sa_open(call, &work);
    if (!error) {
        error = is_live(work, bearer->sid, NULL, call->now, &live);
    }
    if (!error && !live) {
        error = sa_session_gone(call);
    }
    if (!error) {
        error = check_application(call, work, client_id);
    }
    if (!error) {
        error = sa_store_end_client(work, bearer->user_id, client_id, what, call->now);
    }
    sa_work_close(work);
    return error;
}

/* ---- introspection ---- */

/* A refresh token lives as long as it is its session's newest. */
static const char *leaf(const json_t *claims)
{
    const char *type = sa_json_string(claims, "token_type");
    return type && !strcmp(type, "refresh") ? sa_json_string(claims, "jti") : NULL;
}

static sa_error_t *look_up(sa_call_t *call, const json_t *claims, int *live, sa_user_t **user)
{
    const char *sid = sa_json_string(claims, "sid");
    unsigned char id[SA_SHA256_LEN];
    sa_work_t *work;

    *user = NULL;
    *live = 0;
    sa_error_t *error = sa_open(call, &work);
    if (!error && sid) {
        error = is_live(work, sid, leaf(claims), call->now, live);
    }
    else if (!error) {          /* a client's own token */
        token_id(claims, id);
        error = sa_store_client_token_live(work, sa_json_string(claims, "client_id"), id, live);
    }
    if (!error && *live && sid) {
        error = sa_store_user_by_id(work, sa_json_string(claims, "sub"), user);
    }
    sa_work_close(work);
    return error;
}

static json_t *describe(const json_t *claims, const sa_user_t *user)
{
    static const char *const copied[] = {
        "scope", "client_id", "exp", "iat", "sub", "aud", "iss", "jti"
    };
    json_t *answer = json_pack("{s:b, s:s*, s:s*}", "active", 1,
                               "token_type", leaf(claims) ? NULL : "Bearer",
                               "username", user ? sa_utf8_or_null(user->username) : NULL);

    for (size_t i = 0; i < sizeof(copied) / sizeof(copied[0]); i++) {
        json_t *value = json_object_get(claims, copied[i]);
        if (value) {
            json_object_set(answer, copied[i], value);
        }
    }
    return answer;
}

sa_error_t *sa_accounts_introspect(sa_call_t *call, const char *token, const sa_owner_t *owner,
                                   json_t **answer)
{
    const json_t *claims = claims_of(call, token, owner);
    sa_user_t *user = NULL;
    int live = 0;

    sa_error_t *error = claims ? look_up(call, claims, &live, &user) : NULL;
    *answer = sa_json_own(call->pool, live ? describe(claims, user)
                                           : json_pack("{s:b}", "active", 0));
    return error;
}
