#include "accounts/internal.h"

#include "core/crypto.h"
#include "core/json.h"
#include <apr_strings.h>
#include <stdlib.h>
#include <string.h>

#define ACCESS_TYP "at+jwt"     /* RFC 9068 section 2.1 */
#define REFRESH_TYP "rt+jwt"

sa_session_t *sa_session_new(sa_call_t *call, const char *amr, const sa_client_t *client)
{
    const sa_settings_t *settings = call->settings;
    sa_session_t *session = apr_pcalloc(call->pool, sizeof(*session));

    session->sid = sa_random_uuid(call->pool);
    session->jti = sa_random_hex(call->pool, 16);
    session->iat = session->auth_time = call->now;
    session->expires = call->now + settings->session_lifetime;
    session->exp = call->now + settings->refresh_lifetime;
    if (session->exp > session->expires) {
        session->exp = session->expires;
    }
    session->amr = amr;
    session->mount = settings->mount;
    session->client_id = client ? client->id : NULL;
    session->scope = client ? client->scope : NULL;
    session->third_party = client && client->third_party;
    return session->sid && session->jti ? session : NULL;
}

/* The claims both kinds of token share. NULL when there is no memory for them all. */
static json_t *claims_make(sa_call_t *call, const sa_user_t *user, const sa_session_t *session,
                           const char *token_type, const char *jti, apr_int64_t iat,
                           apr_int64_t exp)
{
    json_t *claims = json_pack(
        "{s:s, s:I, s:I, s:s, s:s, s:s, s:s, s:s, s:I, s:[s], s:s*, s:s*}",
        "token_type", token_type, "exp", (json_int_t) exp, "iat", (json_int_t) iat, "jti", jti,
        "iss", call->settings->issuer, "sub", user->id, "aud", call->settings->audience,
        "sid", session->sid, "auth_time", (json_int_t) session->auth_time,
        "amr", session->amr, "client_id", session->client_id, "scope", session->scope);

    json_object_set_new(claims, "user_id",
                        user->id_is_integer ? json_integer(strtoll(user->id, NULL, 10))
                                            : json_string(user->id));
    if (session->third_party) {
        json_object_set_new(claims, "third_party", json_true());
    }
    /* jansson leaves out an optional member that it cannot allocate. */
    size_t wanted = 11u + (session->client_id != NULL) + (session->scope != NULL)
                    + (session->third_party != 0);
    sa_json_own(call->pool, claims);
    return json_object_size(claims) == wanted ? claims : NULL;
}

static const char *sign(sa_call_t *call, const char *typ, const json_t *claims)
{
    const sa_key_t *key = sa_keyset_signer(call->settings->keys);
    return claims && key ? sa_jwt_sign(call->pool, key, typ, claims) : NULL;
}

/* Seconds: an access token does not outlive its session. */
static int access_lifetime(const sa_call_t *call, const sa_session_t *session)
{
    apr_int64_t left = session->expires - call->now;
    return left < call->settings->access_lifetime ? (int)left : call->settings->access_lifetime;
}

static const char *sign_access(sa_call_t *call, const sa_user_t *user,
                               const sa_session_t *session)
{
    const char *jti = sa_random_hex(call->pool, 16);
    return jti ? sign(call, ACCESS_TYP,
                      claims_make(call, user, session, "access", jti, call->now,
                                  call->now + access_lifetime(call, session))) : NULL;
}

static const char *sign_refresh(sa_call_t *call, const sa_user_t *user,
                                const sa_session_t *session)
{
    return sign(call, REFRESH_TYP, claims_make(call, user, session, "refresh", session->jti,
                                               session->iat, session->exp));
}

static sa_error_t *not_signed(sa_call_t *call)
{
    return sa_error(call->pool, SA_E_UNAVAILABLE, NULL, "a token could not be signed");
}

sa_error_t *sa_tokens_issue(sa_call_t *call, const sa_user_t *user, const sa_session_t *session,
                            sa_tokens_t *tokens)
{
    *tokens = (sa_tokens_t) {
        .access = sign_access(call, user, session), .refresh = sign_refresh(call, user, session),
        .scope = session->scope, .expires_in = access_lifetime(call, session), .user = user,
        .sid = session->sid,
    };
    return tokens->access && tokens->refresh ? NULL : not_signed(call);
}

sa_error_t *sa_accounts_client_token(sa_call_t *call, const sa_client_t *client,
                                     sa_tokens_t *tokens)
{
    const sa_settings_t *settings = call->settings;
    const char *jti = sa_random_hex(call->pool, 16);

    if (!jti) {
        return sa_no_random(call);
    }
    const json_t *claims = sa_json_own(call->pool, json_pack(
        "{s:s, s:I, s:I, s:s, s:s, s:s, s:s, s:s, s:s}",
        "token_type", "access", "exp", (json_int_t) (call->now + settings->access_lifetime),
        "iat", (json_int_t) call->now, "jti", jti, "iss", settings->issuer, "sub", client->id,
        "aud", settings->audience, "client_id", client->id, "scope", client->scope));
    *tokens = (sa_tokens_t) { .access = sign(call, ACCESS_TYP, claims), .scope = client->scope,
                              .expires_in = settings->access_lifetime };
    return tokens->access ? NULL : not_signed(call);
}

/* NULL when `token` is one of ours, of this type, and in time; else why not. */
static const char *check(sa_call_t *call, const char *token, const char *type, const char *typ,
                         int require_typ, sa_jwt_t *jwt)
{
    const sa_settings_t *settings = call->settings;
    const char *why = NULL;

    if (sa_jwt_verify(call->pool, token, strlen(token), settings->keys, jwt, &why)
        != SA_JWT_OK) {
        return why;
    }
    return sa_jwt_check_access(jwt, settings->issuer, settings->audience, type, typ, require_typ,
                               call->now, settings->leeway);
}

const char *sa_token_refused(sa_call_t *call, const char *token, sa_token_kind_t kind,
                             sa_jwt_t *jwt)
{
    return kind == SA_TOKEN_ACCESS ? check(call, token, "access", ACCESS_TYP, 1, jwt)
                                   : check(call, token, "refresh", REFRESH_TYP, 1, jwt);
}

/* An access token that SimpleJWT signed with our HS256 key: typ JWT, iss and aud only when present
 * (SocialAuthAcceptSimpleJWT). It has a sid when SimpleJWT made it of a refresh token of ours. */
static const char *check_simplejwt(sa_call_t *call, const char *token, sa_jwt_t *jwt)
{
    const sa_settings_t *settings = call->settings;
    const char *why = NULL;

    if (!settings->accept_simplejwt) {
        return "SocialAuthAcceptSimpleJWT is off";
    }
    if (sa_jwt_verify(call->pool, token, strlen(token), settings->keys, jwt, &why)
        != SA_JWT_OK) {
        return why;
    }
    if (sa_key_alg(jwt->key) != SA_ALG_HS256) {
        return "not an access token of SimpleJWT";
    }
    return sa_jwt_check_access(jwt, settings->issuer, settings->audience, "access", "JWT", 0,
                               call->now, settings->leeway);
}

/* user_id of a SimpleJWT token: an integer or a string of 1..255 bytes. */
static const char *simplejwt_user(apr_pool_t *p, const json_t *claims)
{
    const json_t *id = json_object_get(claims, "user_id");

    if (json_is_integer(id)) {
        return apr_psprintf(p, "%" APR_INT64_T_FMT, (apr_int64_t) json_integer_value(id));
    }
    const char *text = json_string_value(id);
    return text && *text && strlen(text) <= 255 ? text : NULL;
}

/* A good access token, whether or not its session has ended. */
static sa_error_t *read_bearer(sa_call_t *call, const char *token, sa_bearer_t *bearer)
{
    const char *why = sa_token_refused(call, token, SA_TOKEN_ACCESS, &bearer->jwt);

    if (!why) {
        bearer->user_id = sa_json_string(bearer->jwt.claims, "sub");
        why = sa_json_string(bearer->jwt.claims, "sid") ? NULL : "no sid";
    }
    else if (!check_simplejwt(call, token, &bearer->jwt)) {
        bearer->user_id = simplejwt_user(call->pool, bearer->jwt.claims);
        why = bearer->user_id ? NULL : "no user_id";
    }
    if (why) {
        return sa_error(call->pool, SA_E_TOKEN_NOT_VALID, NULL, "access token refused: %s", why);
    }
    bearer->sid = sa_json_string(bearer->jwt.claims, "sid");
    bearer->client_id = sa_json_string(bearer->jwt.claims, "client_id");
    bearer->third_party = json_is_true(json_object_get(bearer->jwt.claims, "third_party"));
    return NULL;
}

sa_error_t *sa_accounts_bearer(sa_call_t *call, const char *token, sa_bearer_t *bearer)
{
    sa_error_t *error = read_bearer(call, token, bearer);

    return error || !bearer->sid ? error
           : sa_check_revocation(call, bearer->sid, bearer->jwt.claims);
}

static sa_error_t *not_valid(sa_call_t *call, const char *why)
{
    return sa_error(call->pool, SA_E_REFRESH_NOT_VALID, NULL, "token refused: %s", why);
}

/* NULL when the claims are of a token that was given to this client, or to none. */
static const char *other_owner(const json_t *claims, const sa_client_t *client)
{
    const char *owner = sa_json_string(claims, "client_id");

    if (!client) {
        return owner ? "it belongs to an application" : NULL;
    }
    return owner && !strcmp(owner, client->id) ? NULL : "it belongs to another client, or to none";
}

/* A refresh token of this client (NULL: of the REST dialect): ours, and in time. */
static sa_error_t *check_refresh(sa_call_t *call, const char *token, const sa_client_t *client,
                                 sa_jwt_t *jwt, const char **sid, const char **jti)
{
    const char *why = sa_token_refused(call, token, SA_TOKEN_REFRESH, jwt);

    if (!why) {
        *sid = sa_json_string(jwt->claims, "sid");
        *jti = sa_json_string(jwt->claims, "jti");
        why = *sid ? NULL : "no sid";
    }
    if (why) {
        return not_valid(call, why);
    }
    why = other_owner(jwt->claims, client);
    return why ? sa_error(call->pool, SA_E_REFRESH_OF_ANOTHER, NULL, "token refused: %s", why) : NULL;
}

static sa_error_t *refresh_failure(sa_call_t *call, sa_refresh_verdict_t verdict)
{
    switch (verdict) {
    case SA_REFRESH_REUSED:
        return sa_error(call->pool, SA_E_TOKEN_BLACKLISTED, NULL,
                        "a rotated refresh token came back: its family is revoked");
    case SA_REFRESH_REVOKED:
        return sa_error(call->pool, SA_E_TOKEN_BLACKLISTED, NULL, NULL);
    case SA_REFRESH_USER_GONE:
        return sa_error(call->pool, SA_E_BAD_CREDENTIALS, NULL, "refresh for an inactive user");
    case SA_REFRESH_UNKNOWN:
        return not_valid(call, "no such session");
    default:
        return NULL;
    }
}

static sa_error_t *rotate(sa_call_t *call, sa_refresh_t *refresh, sa_session_t **session,
                          sa_user_t **user)
{
    sa_refresh_verdict_t verdict = SA_REFRESH_UNKNOWN;
    sa_event_t reuse;
    sa_work_t *work;

    sa_event_fill(call, &reuse, "token_reuse_detected", NULL);
    refresh->reuse_event = &reuse;
    sa_error_t *error = sa_open(call, &work);
    if (!error) {
        error = sa_store_refresh(work, refresh, &verdict, session, user);
    }
    if (!error) {
        error = refresh_failure(call, verdict);
        if (verdict == SA_REFRESH_REUSED || verdict == SA_REFRESH_USER_GONE) {
            sa_session_ended(call, refresh->sid);
        }
        if (verdict == SA_REFRESH_REUSED) {
            sa_events_publish(call, work, &reuse, 1, *user ? (*user)->id : NULL);
        }
    }
    sa_work_close(work);
    return error;
}

static sa_error_t *rotate_or_retry(sa_call_t *call, sa_refresh_t *refresh, sa_session_t **session,
                                   sa_user_t **user)
{
    sa_error_t *error = rotate(call, refresh, session, user);

    for (int try = 1; try < SA_TRIES && error && error->kind == SA_E_CONFLICT; try++) {
        error = rotate(call, refresh, session, user);
    }
    return error;
}

/* What the access token of a refresh may say: no more than the refresh token did, and than the client
 * may have by now. */
static sa_error_t *refresh_scope(sa_call_t *call, const sa_client_t *client, const json_t *claims,
                                 const char *wanted, const char **scope)
{
    const char *had = sa_json_string(claims, "scope");

    *scope = client ? sa_scope_common(call->pool, had ? had : "", client->scope) : NULL;
    if (client && wanted) {
        *scope = sa_scope_within(call->pool, wanted, *scope);
    }
    return *scope || !client ? NULL : sa_error(call->pool, SA_E_INVALID_SCOPE, NULL, NULL);
}

sa_error_t *sa_accounts_refresh(sa_call_t *call, const char *token, const sa_client_t *client,
                                const char *wanted_scope, sa_tokens_t *tokens)
{
    const sa_settings_t *settings = call->settings;
    sa_refresh_t refresh = {
        .now = call->now,
        .reuse_interval = settings->reuse_interval,
        .rotate = settings->rotate,
        .blacklist = settings->blacklist_after_rotation,
        .next_jti = sa_random_hex(call->pool, 16),
        .next_exp = call->now + settings->refresh_lifetime,
    };
    sa_session_t *session = NULL;
    sa_user_t *user = NULL;
    const char *scope = NULL;
    sa_jwt_t jwt;

    sa_error_t *error = check_refresh(call, token, client, &jwt, &refresh.sid, &refresh.jti);
    if (!error) {
        error = refresh_scope(call, client, jwt.claims, wanted_scope, &scope);
    }
    if (!error && !refresh.next_jti) {
        error = sa_no_random(call);
    }
    if (!error) {
        error = rotate_or_retry(call, &refresh, &session, &user);
    }
    if (error) {
        return error;
    }
    session->third_party = client && client->third_party;
    sa_session_t narrowed = *session;
    narrowed.scope = scope;
    *tokens = (sa_tokens_t) {
        .access = sign_access(call, user, &narrowed), .scope = scope,
        .expires_in = access_lifetime(call, session), .user = user, .sid = session->sid,
        .refresh = settings->rotate ? sign_refresh(call, user, session) : client ? token : NULL,
    };
    return tokens->access && (tokens->refresh || !settings->rotate) ? NULL : not_signed(call);
}

sa_error_t *sa_session_alive(sa_call_t *call, const char *sid, const char *jti)
{
    sa_work_t *work;
    int live = 0, revoked = 0;

    sa_error_t *error = sa_open(call, &work);
    if (!error) {
        error = sa_store_session_live(work, sid, jti, call->now, &live, &revoked);
    }
    sa_work_close(work);
    if (error || live) {
        return error;
    }
    return revoked ? sa_error(call->pool, SA_E_TOKEN_BLACKLISTED, NULL, NULL)
                   : not_valid(call, "its session or user is gone");
}

/* What ends a token without a session, of SimpleJWT's. */
static sa_error_t *user_alive(sa_call_t *call, const char *user_id)
{
    sa_user_t *user = NULL;
    sa_work_t *work;

    sa_error_t *error = sa_open(call, &work);
    if (!error) {
        error = sa_store_user_by_id(work, user_id, &user);
    }
    sa_work_close(work);
    return error || (user && user->usable) ? error : not_valid(call, "its user is gone");
}

sa_error_t *sa_accounts_verify(sa_call_t *call, const char *token)
{
    sa_bearer_t bearer;
    const char *sid, *jti;
    sa_jwt_t jwt;

    if (!read_bearer(call, token, &bearer)) {
        return bearer.sid ? sa_session_alive(call, bearer.sid, NULL)
                          : user_alive(call, bearer.user_id);
    }
    sa_error_t *error = check_refresh(call, token, NULL, &jwt, &sid, &jti);
    if (error) {
        return error;
    }
    return sa_session_alive(call, sid, call->settings->blacklist_after_rotation ? jti : NULL);
}

sa_error_t *sa_accounts_blacklist(sa_call_t *call, const char *token)
{
    const char *sid, *jti;
    sa_jwt_t jwt;
    sa_work_t *work;
    int found, was_live;

    sa_error_t *error = check_refresh(call, token, NULL, &jwt, &sid, &jti);
    if (!error) {
        error = sa_session_alive(call, sid, call->settings->blacklist_after_rotation ? jti : NULL);
    }
    if (error) {
        return error;
    }
    error = sa_open(call, &work);
    if (!error) {
        error = sa_store_revoke_session(work, sid, call->now, &found, &was_live);
    }
    sa_work_close(work);
    if (!error) {
        sa_session_ended(call, sid);
    }
    return error;
}
