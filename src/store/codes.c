/* Authorization codes: made for a signed-in user, used once. */
#include "store/work.h"

/* The SQL speaks in the numbers of these words. */
_Static_assert(SA_CODE_GOOD == 0 && SA_CODE_REUSED == 1 && SA_CODE_FOREIGN == 2
                   && SA_CODE_WRONG == 3 && SA_CODE_USER_GONE == 4, "verdicts of SA_OP_USE_CODE");

sa_error_t *sa_store_create_code(sa_work_t *work, const sa_code_t *code, const char *sid,
                                 apr_int64_t now, int *done)
{
    const sa_param_t params[] = {
        sa_text(code->id), sa_text(code->client_id), sa_column(code->user_id),
        sa_text(code->redirect_uri), sa_text(code->scope), sa_text(code->challenge),
        sa_number(code->auth_time), sa_text(code->amr), sa_number(code->expires), sa_text(sid),
        sa_number(now),
    };
    sa_rows_t *rows = NULL;

    *done = 0;
    if (!sa_work_is_key(work, code->user_id)) {
        return NULL;
    }
    sa_error_t *error = sa_work_run(work, SA_OP_CREATE_CODE, params, SA_COUNT_OF(params), &rows);
    *done = !error && rows->n > 0;
    return error;
}

/* In a statement of its own: the one that waited for the code's row cannot see a session which was
 * made meanwhile. */
static sa_error_t *end_of(sa_work_t *work, const char *sid, apr_int64_t now)
{
    int found, was_live;

    return sa_store_revoke_session(work, sid, now, &found, &was_live);
}

sa_error_t *sa_store_use_code(sa_work_t *work, const sa_code_use_t *use, sa_session_t *session,
                              sa_code_verdict_t *verdict, const char **used_by, sa_user_t **user)
{
    sa_param_t params[SA_EVENT_PARAMS + 10];
    sa_param_t *own = params + SA_EVENT_PARAMS;
    sa_rows_t *rows = NULL;

    *verdict = SA_CODE_UNKNOWN;
    *used_by = NULL;
    *user = NULL;
    sa_event_params(params, use->reuse_event);
    own[0] = sa_text(use->id);
    own[1] = sa_text(use->client_id);
    own[2] = sa_text(use->redirect_uri);
    own[3] = sa_text(use->challenge);
    own[4] = sa_number(use->now);
    own[5] = sa_text(session->sid);
    own[6] = sa_text(session->jti);
    own[7] = sa_number(session->exp);
    own[8] = sa_number(session->expires);
    own[9] = sa_text(session->mount);
    sa_error_t *error = sa_work_run(work, SA_OP_USE_CODE, params, SA_COUNT_OF(params), &rows);
    if (error || !rows->n) {
        return error;
    }
    *verdict = (sa_code_verdict_t)sa_rows_number(rows, 0, 0);
    *used_by = sa_rows_text(rows, 0, 1);
    session->auth_time = sa_rows_number(rows, 0, 2);
    session->amr = sa_rows_text(rows, 0, 3);
    session->scope = sa_rows_text(rows, 0, 4);
    *user = sa_user_from_row(work, rows, 0, 5);
    return *verdict == SA_CODE_REUSED ? end_of(work, *used_by, use->now) : NULL;
}
