/* Sessions: one per sign-in, the family of its refresh tokens. */
#include "ctl/ctl.h"

#include <stdio.h>

#include "core/text.h"

#define BATCH 1000
#define EVENT "sessions_revoked"

static json_t *describe(const ctl_t *ctl, const sa_session_t *session)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
                     "sid", ctl_json(ctl, session->sid),
                     "made", ctl_json_time(ctl, session->auth_time),
                     "refreshed", ctl_json_time(ctl, session->iat),
                     "refresh_expires", ctl_json_time(ctl, session->exp),
                     "expires", ctl_json_time(ctl, session->expires),
                     "mount", ctl_json(ctl, session->mount),
                     "client_id", ctl_json(ctl, session->client_id),
                     "scope", ctl_json(ctl, session->scope), "amr", ctl_json(ctl, session->amr));
}

static void print_session(const ctl_t *ctl, const sa_session_t *session)
{
    printf("%s\t%s\t%s\t%s\t%s\t%s\t%s\n", ctl_shown(ctl, session->sid),
           sa_iso_time(ctl->pool, session->auth_time), sa_iso_time(ctl->pool, session->iat),
           sa_iso_time(ctl->pool, session->expires), ctl_shown(ctl, session->mount),
           ctl_shown(ctl, session->client_id), ctl_shown(ctl, session->amr));
}

int ctl_tokens_list(ctl_t *ctl, const char **operands)
{
    apr_array_header_t *sessions;
    sa_user_t *user;
    sa_work_t *work;

    if (ctl_find_user(ctl, operands[0], &user) != CTL_OK) {
        return CTL_FAILED;
    }
    sa_error_t *error = ctl_open(ctl, &work);
    if (!error) {
        error = sa_store_sessions(work, user->id, ctl_now(), &sessions);
    }
    sa_work_close(work);
    if (error) {
        return ctl_fail_error(error);
    }
    json_t *list = json_array();
    for (int i = 0; i < sessions->nelts; i++) {
        const sa_session_t *session = &APR_ARRAY_IDX(sessions, i, sa_session_t);
        json_array_append_new(list, describe(ctl, session));
        if (!ctl->json) {
            print_session(ctl, session);
        }
    }
    ctl_say_list(ctl, list);
    return CTL_OK;
}

/* Ends one session, or with sid NULL all of the user. *user_id NULL when the session is not
 * known. */
static sa_error_t *end_sessions(sa_work_t *work, const char *sid, const char **user_id,
                                const sa_event_t *event, int *n)
{
    sa_session_t *session;
    int found;
    sa_error_t *error = sa_work_begin(work);

    if (!error && sid) {
        error = sa_store_session(work, sid, &session);
        *user_id = !error && session ? session->user_id : NULL;
    }
    if (!error && sid) {
        error = sa_store_revoke_session(work, sid, event->time, &found, n);
    }
    else if (!error) {
        error = sa_store_revoke_user(work, *user_id, NULL, event->time, n);
    }
    if (!error && *n) {
        error = sa_store_event(work, *user_id, event);
    }
    return error ? error : sa_work_commit(work);
}

static int revoke_some(ctl_t *ctl, const char *sid, const char *user_id)
{
    sa_event_t event;
    sa_work_t *work;
    int n = 0;

    if (ctl_make_event(ctl, &event, EVENT, NULL) != CTL_OK) {
        return CTL_FAILED;
    }
    sa_error_t *error = ctl_open(ctl, &work);
    if (!error) {
        error = end_sessions(work, sid, &user_id, &event, &n);
    }
    if (!error && n) {
        error = ctl_notify(ctl, work, &event);
    }
    sa_work_close(work);
    if (error) {
        return ctl_fail_error(error);
    }
    if (!user_id) {
        return ctl_fail("there is no session %s", ctl_shown(ctl, sid));
    }
    ctl_say(ctl, json_pack("{s:s, s:i}", "id", user_id, "revoked", n),
            "ended %d session%s of user %s", n, n == 1 ? "" : "s", user_id);
    return CTL_OK;
}

/* No event: it would be one per user, and whoever does this knows. */
static int revoke_all(ctl_t *ctl)
{
    const char *after = "";
    int total = 0, n = 0;

    if (ctl_confirm(ctl, "End the sessions of all users?") != CTL_OK) {
        return CTL_FAILED;
    }
    do {
        sa_work_t *work;
        sa_error_t *error = ctl_open(ctl, &work);
        if (!error) {
            error = sa_store_revoke_all(work, ctl_now(), BATCH, &after, &n);
        }
        sa_work_close(work);
        if (error) {
            return ctl_fail_error(error);
        }
        total += n;
    } while (n);
    ctl_say(ctl, json_pack("{s:i}", "revoked", total), "ended %d sessions", total);
    return CTL_OK;
}

int ctl_tokens_revoke(ctl_t *ctl, const char **operands)
{
    sa_user_t *user;

    if ((operands[0] != NULL) + (ctl->user != NULL) + ctl->all != 1) {
        ctl_fail("tokens revoke takes one of SID, --user USER and --all");
        return CTL_USAGE;
    }
    if (ctl->all) {
        return revoke_all(ctl);
    }
    if (!ctl->user) {
        return revoke_some(ctl, operands[0], NULL);
    }
    return ctl_find_user(ctl, ctl->user, &user) == CTL_OK ? revoke_some(ctl, NULL, user->id)
                                                          : CTL_FAILED;
}
