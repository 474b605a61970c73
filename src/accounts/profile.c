/* What signed-in users see and change of their own, and who sees all of them. */
#include "accounts/internal.h"

#include "core/json.h"
#include "core/text.h"
#include <apr_strings.h>
#include <stdlib.h>
#include <string.h>

json_t *sa_user_describe(const sa_user_t *user)
{
    json_t *out = json_object();

    json_object_set_new(out, "id", user->id_is_integer ? json_integer(strtoll(user->id, NULL, 10))
                                                       : json_string(user->id));
    json_t *rest = json_pack("{s:s?, s:s?, s:s?, s:s?}", "email", sa_utf8_or_null(user->email),
                             "username", sa_utf8_or_null(user->username),
                             "first_name", sa_utf8_or_null(user->first_name),
                             "last_name", sa_utf8_or_null(user->last_name));
    int failed = json_object_update(out, rest);
    json_decref(rest);
    if (failed || json_object_size(out) != 5) {
        json_decref(out);
        return NULL;
    }
    return out;
}

sa_error_t *sa_accounts_profile(sa_call_t *call, const sa_bearer_t *bearer, sa_user_t **user)
{
    apr_array_header_t *links;
    return sa_bearer_user(call, bearer, user, &links);
}

/* ---- change ---- */

static const char *new_or(const char *given, const char *old)
{
    return given ? given : old;
}

static sa_error_t *name_is_taken(sa_call_t *call)
{
    sa_error_t *error = NULL;

    sa_username_taken(call, &error);
    return error;
}

static sa_error_t *store_profile(sa_call_t *call, const sa_user_t *user, const sa_profile_t *changes)
{
    const sa_profile_t profile = {
        new_or(changes->username, user->username), new_or(changes->first_name, user->first_name),
        new_or(changes->last_name, user->last_name)
    };
    int done = 0;
    sa_work_t *work;

    sa_error_t *error = sa_open(call, &work);
    if (!error) {
        error = sa_store_set_profile(work, user->id, &profile, &done);
    }
    sa_work_close(work);
    return (!error && !done) || (error && error->kind == SA_E_CONFLICT) ? name_is_taken(call)
                                                                         : error;
}

sa_error_t *sa_accounts_change_profile(sa_call_t *call, const sa_bearer_t *bearer,
                                       const sa_profile_t *changes, sa_user_t **user)
{
    sa_error_t *error = sa_accounts_profile(call, bearer, user);

    if (!error && changes->username && !strcmp(changes->username, (*user)->username)) {
        /* A name from before these rules may stay. */
        const sa_profile_t others = { NULL, changes->first_name, changes->last_name };
        sa_profile_check(call, &others, &error);
    }
    else if (!error) {
        sa_profile_check(call, changes, &error);
    }
    if (!error) {
        error = store_profile(call, *user, changes);
    }
    return error ? error : sa_accounts_profile(call, bearer, user);
}

/* ---- the end ---- */

/* As deleted, or where the table cannot say so, as inactive. Either ends all sessions. */
static sa_error_t *store_end(sa_call_t *call, sa_work_t *work, const sa_user_t *user,
                             const sa_event_t *event)
{
    int done = 0;

    sa_error_t *error = sa_work_begin(work);
    if (!error) {
        error = sa_store_delete_user(work, user->id, call->now, &done);
    }
    if (!error && !done) {
        error = sa_store_set_active(work, user->id, 0, &done);
    }
    if (!error && !done) {
        error = sa_error(call->pool, SA_E_FORBIDDEN, NULL,
                         "the user table can mark nobody as deleted or inactive");
    }
    if (!error) {
        error = sa_store_event(work, user->id, event);
    }
    return error ? error : sa_work_commit(work);
}

static sa_error_t *end_account(sa_call_t *call, const sa_user_t *user)
{
    sa_event_t event;
    sa_work_t *work;

    sa_event_fill(call, &event, "user_deleted", NULL);
    sa_error_t *error = sa_open(call, &work);
    if (!error) {
        error = store_end(call, work, user, &event);
    }
    if (!error) {
        sa_events_publish(call, work, &event, 1, user->id);
    }
    sa_work_close(work);
    return error;
}

/* The password of an account that has one. */
static sa_error_t *confirm(sa_call_t *call, const sa_user_t *user, const char *password)
{
    sa_password_verdict_t verdict;
    sa_error_t *error = NULL;

    if (!sa_password_usable(user->password)) {
        return NULL;
    }
    if (!password) {
        sa_error_field(call->pool, &error, "password", SA_E_REQUIRED, NULL);
        return error;
    }
    error = sa_password_guess(call, user->id, user, password, &verdict);
    if (!error && verdict == SA_PASSWORD_MISMATCH) {
        error = sa_error(call->pool, SA_E_WRONG_PASSWORD, NULL, NULL);
    }
    return error;
}

sa_error_t *sa_accounts_delete_own(sa_call_t *call, const sa_bearer_t *bearer, const char *password)
{
    sa_user_t *user;
    sa_error_t *error = sa_accounts_profile(call, bearer, &user);

    if (!error) {
        error = confirm(call, user, password);
    }
    return error ? error : end_account(call, user);
}

/* ---- all users ---- */

static sa_error_t *may_list(sa_call_t *call, const sa_bearer_t *bearer)
{
    sa_user_list_t who = call->settings->user_list;
    sa_user_t *user = NULL;

    if (who == SA_USER_LIST_OFF) {
        return sa_error(call->pool, SA_E_NOT_FOUND, NULL, NULL);
    }
    if (who == SA_USER_LIST_PUBLIC) {
        return NULL;
    }
    if (!bearer->user_id) {
        return sa_error(call->pool, SA_E_NOT_AUTHENTICATED, NULL, NULL);
    }
    sa_error_t *error = sa_accounts_profile(call, bearer, &user);
    if (!error && who == SA_USER_LIST_STAFF && !user->is_staff && !user->is_superuser) {
        error = sa_error(call->pool, SA_E_FORBIDDEN, NULL, "the list of users is for staff");
    }
    return error;
}

sa_error_t *sa_accounts_list(sa_call_t *call, const sa_bearer_t *bearer, const char *after,
                             int limit, apr_array_header_t **users)
{
    sa_work_t *work;
    sa_error_t *error = may_list(call, bearer);

    if (error) {
        return error;
    }
    error = sa_open(call, &work);
    if (!error) {
        error = sa_store_list_users(work, after, limit, users);
    }
    sa_work_close(work);
    return error;
}

/* ---- sessions ---- */

static json_t *describe_session(sa_call_t *call, const sa_session_t *session,
                                const sa_bearer_t *bearer)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s?, s:s?, s:b}", "id", session->sid,
                     "created", sa_iso_time(call->pool, session->auth_time),
                     "last_used", sa_iso_time(call->pool, session->iat),
                     "expires", sa_iso_time(call->pool, session->expires),
                     "method", session->amr, "client_id", session->client_id,
                     "current", bearer->sid && !strcmp(bearer->sid, session->sid));
}

sa_error_t *sa_accounts_sessions(sa_call_t *call, const sa_bearer_t *bearer, json_t **list)
{
    apr_array_header_t *sessions;
    sa_user_t *user;
    sa_work_t *work;

    sa_error_t *error = sa_accounts_profile(call, bearer, &user);
    if (error) {
        return error;
    }
    error = sa_open(call, &work);
    if (!error) {
        error = sa_store_sessions(work, user->id, call->now, &sessions);
    }
    sa_work_close(work);
    *list = sa_json_own(call->pool, json_array());
    for (int i = 0; !error && i < sessions->nelts; i++) {
        json_array_append_new(*list, describe_session(call, &APR_ARRAY_IDX(sessions, i, sa_session_t),
                                                      bearer));
    }
    return error;
}

static sa_error_t *end_session(sa_call_t *call, sa_work_t *work, const char *user_id,
                               const char *sid)
{
    sa_session_t *session = NULL;
    int found = 0, was_live;

    sa_error_t *error = sa_store_session(work, sid, &session);
    if (!error && session && !strcmp(session->user_id, user_id)) {
        error = sa_store_revoke_session(work, sid, call->now, &found, &was_live);
    }
    return error || found ? error : sa_error(call->pool, SA_E_NOT_FOUND, NULL, NULL);
}

sa_error_t *sa_accounts_end_session(sa_call_t *call, const sa_bearer_t *bearer, const char *sid)
{
    sa_user_t *user;
    sa_work_t *work;

    sa_error_t *error = sa_accounts_profile(call, bearer, &user);
    if (error) {
        return error;
    }
    error = sa_open(call, &work);
    if (!error) {
        error = end_session(call, work, user->id, sid);
    }
    if (!error) {
        sa_session_ended(call, sid);
    }
    sa_work_close(work);
    return error;
}
