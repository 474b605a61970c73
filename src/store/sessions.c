/* Sign-in and sessions: one row per family of refresh tokens. */
#include "store/work.h"

#include <string.h>

#define CLOCKS_DIFFER 120       /* seconds: of servers that share what is spent */
#define OUTBOX_KEPT (30 * 86400)        /* seconds: what nobody took, or was given up */
#define REVOCATIONS_KEPT (SA_REVOCATION_MEMORY_MAX + 3600)      /* seconds, by the database's clock */

/* ---- sign-in ---- */

sa_error_t *sa_store_login_linked(sa_work_t *work, const char *issuer, const char *subject,
                                  const char *email, int update_email,
                                  const sa_session_t *session, const sa_event_t *event,
                                  const sa_event_t *registered, sa_user_t **user)
{
    sa_param_t params[SA_EVENT_PARAMS + SA_SESSION_PARAMS + 4 + SA_EVENT_PARAMS];
    sa_param_t *own = params + SA_EVENT_PARAMS + SA_SESSION_PARAMS;
    sa_rows_t *rows = NULL;

    sa_event_params(params, event);
    sa_session_params(params + SA_EVENT_PARAMS, session);
    own[0] = sa_text(issuer);
    own[1] = sa_text(subject);
    own[2] = sa_text(email);
    own[3] = sa_number(update_email ? 1 : 0);
    sa_event_params(own + 4, registered);
    sa_error_t *error = sa_work_run(work, SA_OP_LOGIN_LINKED, params, SA_COUNT_OF(params),
                                    &rows);
    *user = !error && rows->n ? sa_user_from_row(work, rows, 0, 0) : NULL;
    return error;
}

static sa_error_t *start_session(sa_work_t *work, const char *user_id,
                                 const sa_session_t *session, const sa_event_t *events, int n,
                                 sa_user_t **user)
{
    sa_param_t params[SA_EVENT_PARAMS + SA_SESSION_PARAMS + 1 + SA_EVENT_PARAMS];
    sa_param_t *own = params + SA_EVENT_PARAMS + SA_SESSION_PARAMS;
    sa_rows_t *rows = NULL;

    sa_event_params(params, n > 0 ? &events[0] : NULL);
    sa_session_params(params + SA_EVENT_PARAMS, session);
    own[0] = sa_column(user_id);
    sa_event_params(own + 1, n > 1 ? &events[1] : NULL);
    sa_error_t *error = sa_work_run(work, SA_OP_START_SESSION, params, SA_COUNT_OF(params),
                                    &rows);
    *user = !error && rows->n ? sa_user_from_row(work, rows, 0, 0) : NULL;
    for (int i = 2; !error && *user && (*user)->usable && i < n; i++) {
        error = sa_store_event(work, user_id, &events[i]);
    }
    return error;
}

sa_error_t *sa_store_start_session(sa_work_t *work, const char *user_id,
                                   const sa_session_t *session, const sa_event_t *events, int n,
                                   sa_user_t **user)
{
    *user = NULL;
    if (!sa_work_is_key(work, user_id)) {
        return NULL;
    }
    if (n <= 2 || work->db.in_transaction) {
        return start_session(work, user_id, session, events, n, user);
    }
    sa_error_t *error = sa_work_begin(work);
    if (!error) {
        error = start_session(work, user_id, session, events, n, user);
    }
    if (!error) {
        error = sa_work_commit(work);
    }
    sa_work_rollback(work);
    return error;
}

/* ---- refresh tokens ---- */

/* The SQL speaks in the numbers of these words. */
_Static_assert(SA_REFRESH_ROTATED == 0 && SA_REFRESH_SUCCESSOR == 1 && SA_REFRESH_REUSED == 2
                   && SA_REFRESH_REVOKED == 3 && SA_REFRESH_UNKNOWN == 4
                   && SA_REFRESH_USER_GONE == 5, "verdicts of SA_OP_REFRESH");

sa_error_t *sa_store_refresh(sa_work_t *work, const sa_refresh_t *refresh,
                             sa_refresh_verdict_t *verdict, sa_session_t **session,
                             sa_user_t **user)
{
    sa_param_t params[SA_EVENT_PARAMS + 8];
    sa_param_t *own = params + SA_EVENT_PARAMS;
    sa_rows_t *rows = NULL;

    *verdict = SA_REFRESH_UNKNOWN;
    *session = NULL;
    *user = NULL;
    sa_event_params(params, refresh->reuse_event);
    own[0] = sa_text(refresh->sid);
    own[1] = sa_text(refresh->jti);
    own[2] = sa_number(refresh->now);
    own[3] = sa_number(refresh->reuse_interval);
    own[4] = sa_number(refresh->rotate ? 1 : 0);
    own[5] = sa_number(refresh->blacklist ? 1 : 0);
    own[6] = sa_text(refresh->next_jti);
    own[7] = sa_number(refresh->next_exp);
    sa_error_t *error = sa_work_run(work, SA_OP_REFRESH, params, SA_COUNT_OF(params), &rows);
    if (error || !rows->n) {
        return error;
    }
    *verdict = (sa_refresh_verdict_t)sa_rows_number(rows, 0, 0);
    if (*verdict != SA_REFRESH_UNKNOWN) {
        *session = sa_session_from_row(work, rows, 0, 1);
        *user = sa_user_from_row(work, rows, 0, 1 + SA_SESSION_COLUMNS);
    }
    return NULL;
}

sa_error_t *sa_store_session_live(sa_work_t *work, const char *sid, const char *jti,
                                  apr_int64_t now, int *live, int *revoked)
{
    const sa_param_t params[] = { sa_text(sid), sa_text(jti), sa_number(now) };
    sa_rows_t *rows = NULL;

    *live = 0;
    *revoked = 0;
    sa_error_t *error = sa_work_run(work, SA_OP_SESSION_LIVE, params, SA_COUNT_OF(params),
                                    &rows);
    if (error || !rows->n) {
        return error;
    }
    int is_leaf = sa_rows_true(rows, 0, 1);
    *live = sa_rows_true(rows, 0, 0) && is_leaf;
    *revoked = sa_rows_true(rows, 0, 2) || !is_leaf;
    return NULL;
}

sa_error_t *sa_store_revoke_session(sa_work_t *work, const char *sid, apr_int64_t now, int *found,
                                    int *was_live)
{
    const sa_param_t params[] = { sa_text(sid), sa_number(now) };
    sa_rows_t *rows = NULL;

    *found = 0;
    *was_live = 0;
    sa_error_t *error = sa_work_run(work, SA_OP_REVOKE_SESSION, params, SA_COUNT_OF(params),
                                    &rows);
    if (error || !rows->n) {
        return error;
    }
    *was_live = sa_rows_number(rows, 0, 0) > 0;
    *found = sa_rows_number(rows, 0, 1) > 0;
    return NULL;
}

sa_error_t *sa_store_revoke_user(sa_work_t *work, const char *user_id, const char *keep_sid,
                                 apr_int64_t now, int *n)
{
    const sa_param_t params[] = { sa_column(user_id), sa_text(keep_sid), sa_number(now) };
    sa_rows_t *rows = NULL;

    *n = 0;
    if (!sa_work_is_key(work, user_id)) {
        return NULL;
    }
    sa_error_t *error = sa_work_run(work, SA_OP_REVOKE_USER, params, SA_COUNT_OF(params),
                                    &rows);
    if (!error && rows->n) {
        *n = (int)sa_rows_number(rows, 0, 0);
    }
    return error;
}

/* ---- upkeep ---- */

sa_error_t *sa_store_purge(sa_work_t *work, apr_int64_t now, int limit, int *n)
{
    const struct {
        sa_op_t op;
        apr_int64_t limit;
    } kinds[] = {
        { SA_OP_PURGE_SESSIONS, now },
        { SA_OP_PURGE_SPENT, now - CLOCKS_DIFFER },
        { SA_OP_PURGE_OUTBOX, now - OUTBOX_KEPT },
        { SA_OP_PURGE_MAILS, now - CLOCKS_DIFFER },
        { SA_OP_PURGE_REVOCATIONS, REVOCATIONS_KEPT },
        { SA_OP_PURGE_CODES, now - SA_CODES_KEPT },
    };
    sa_error_t *error = NULL;

    *n = 0;
    for (int i = 0; !error && i < SA_COUNT_OF(kinds); i++) {
        const sa_param_t params[] = { sa_number(kinds[i].limit), sa_number(limit) };
        sa_rows_t *rows = NULL;
        error = sa_work_run(work, kinds[i].op, params, SA_COUNT_OF(params), &rows);
        *n += !error && rows->n ? (int)sa_rows_number(rows, 0, 0) : 0;
    }
    return error;
}
