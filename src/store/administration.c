/* What only administrators ask, and do. */
#include "store/work.h"

#include <apr_strings.h>
#include <string.h>

/* Runs an operation that answers with a row when it was done. */
static sa_error_t *run_on_user(sa_work_t *work, sa_op_t op, const sa_param_t *params, int n,
                               int *done)
{
    sa_rows_t *rows = NULL;

    *done = 0;
    sa_error_t *error = sa_work_run(work, op, params, n, &rows);
    *done = !error && rows->n > 0;
    return error;
}

/* ---- users ---- */

sa_error_t *sa_store_set_active(sa_work_t *work, const char *user_id, int active, int *done)
{
    const sa_param_t params[] = { sa_column(user_id), sa_flag(active),
                                  sa_number(apr_time_sec(apr_time_now())), sa_number(active) };

    *done = 0;
    if (!work->store->mapping.columns[SA_ROLE_IS_ACTIVE] || !sa_work_is_key(work, user_id)) {
        return NULL;
    }
    return run_on_user(work, SA_OP_SET_ACTIVE, params, SA_COUNT_OF(params), done);
}

sa_error_t *sa_store_set_right(sa_work_t *work, const char *user_id, sa_right_t right, int on,
                               int *done)
{
    const sa_param_t params[] = { sa_column(user_id), sa_flag(on) };
    int is_staff = right == SA_RIGHT_STAFF;

    *done = 0;
    if (!work->store->mapping.columns[is_staff ? SA_ROLE_IS_STAFF : SA_ROLE_IS_SUPERUSER]
        || !sa_work_is_key(work, user_id)) {
        return NULL;
    }
    return run_on_user(work, is_staff ? SA_OP_SET_STAFF : SA_OP_SET_SUPERUSER, params,
                       SA_COUNT_OF(params), done);
}

/* What marks a user as deleted: a time where the column holds one, else true. */
static sa_error_t *deleted_mark(sa_work_t *work, apr_int64_t now, const char **mark)
{
    const sa_mapping_t *mapping = &work->store->mapping;
    const char *type = "timestamp";
    apr_time_exp_t t;

    if (!mapping->own) {
        sa_error_t *error = sa_store_column_type(work, SA_ROLE_DELETED, &type);
        if (error) {
            return error;
        }
    }
    if (!type || !(strstr(type, "time") || strstr(type, "date") || strstr(type, "TIME")
                   || strstr(type, "DATE"))) {
        *mark = "1";
        return NULL;
    }
    apr_time_exp_gmt(&t, apr_time_from_sec(now));
    *mark = apr_psprintf(work->pool, "%04d-%02d-%02d %02d:%02d:%02d%s", t.tm_year + 1900,
                         t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec,
                         mapping->dialect->time_zone);
    return NULL;
}

sa_error_t *sa_store_delete_user(sa_work_t *work, const char *user_id, apr_int64_t now, int *done)
{
    const char *mark = NULL;

    *done = 0;
    if (!work->store->mapping.columns[SA_ROLE_DELETED] || !sa_work_is_key(work, user_id)) {
        return NULL;
    }
    sa_error_t *error = deleted_mark(work, now, &mark);
    if (error) {
        return error;
    }
    const sa_param_t params[] = { sa_column(user_id), sa_column(mark), sa_number(now) };
    return run_on_user(work, SA_OP_MARK_DELETED, params, SA_COUNT_OF(params), done);
}

sa_error_t *sa_store_remove_user(sa_work_t *work, const char *user_id, int *done)
{
    const sa_param_t params[] = { sa_column(user_id) };

    *done = 0;
    if (!sa_work_is_key(work, user_id)) {
        return NULL;
    }
    return run_on_user(work, SA_OP_REMOVE_USER, params, SA_COUNT_OF(params), done);
}

sa_error_t *sa_store_delete_link(sa_work_t *work, const char *user_id, const char *issuer,
                                 const sa_event_t *event, int *done)
{
    sa_param_t params[SA_EVENT_PARAMS + 2];

    *done = 0;
    if (!sa_work_is_key(work, user_id)) {
        return NULL;
    }
    sa_event_params(params, event);
    params[SA_EVENT_PARAMS] = sa_column(user_id);
    params[SA_EVENT_PARAMS + 1] = sa_text(issuer);
    return run_on_user(work, SA_OP_DELETE_LINK, params, SA_COUNT_OF(params), done);
}

sa_error_t *sa_store_list_users(sa_work_t *work, const char *after_id, int limit,
                                apr_array_header_t **users)
{
    const sa_param_t params[] = { sa_column(after_id), sa_number(limit) };
    sa_rows_t *rows = NULL;

    *users = apr_array_make(work->pool, limit > 0 ? limit : 1, sizeof(sa_user_t));
    if (after_id && !sa_work_is_key(work, after_id)) {
        return NULL;
    }
    sa_error_t *error = sa_work_run(work, SA_OP_LIST_USERS, params, SA_COUNT_OF(params), &rows);
    for (int row = 0; !error && row < rows->n; row++) {
        APR_ARRAY_PUSH(*users, sa_user_t) = *sa_user_from_row(work, rows, row, 0);
    }
    return error;
}

/* ---- sessions ---- */

sa_error_t *sa_store_session(sa_work_t *work, const char *sid, sa_session_t **session)
{
    const sa_param_t params[] = { sa_text(sid) };
    sa_rows_t *rows = NULL;

    *session = NULL;
    sa_error_t *error = sa_work_run(work, SA_OP_SESSION, params, SA_COUNT_OF(params), &rows);
    if (!error && rows->n) {
        *session = sa_session_from_row(work, rows, 0, 0);
    }
    return error;
}

sa_error_t *sa_store_sessions(sa_work_t *work, const char *user_id, apr_int64_t now,
                              apr_array_header_t **sessions)
{
    const sa_param_t params[] = { sa_column(user_id), sa_number(now) };
    sa_rows_t *rows = NULL;

    *sessions = apr_array_make(work->pool, 4, sizeof(sa_session_t));
    if (!sa_work_is_key(work, user_id)) {
        return NULL;
    }
    sa_error_t *error = sa_work_run(work, SA_OP_SESSIONS, params, SA_COUNT_OF(params), &rows);
    for (int row = 0; !error && row < rows->n; row++) {
        APR_ARRAY_PUSH(*sessions, sa_session_t) = *sa_session_from_row(work, rows, row, 0);
    }
    return error;
}

sa_error_t *sa_store_revoke_all(sa_work_t *work, apr_int64_t now, int limit, const char **after,
                                int *n)
{
    const sa_param_t params[] = { sa_number(now), sa_text(*after), sa_number(limit) };
    sa_rows_t *rows = NULL;

    *n = 0;
    sa_error_t *error = sa_work_run(work, SA_OP_REVOKE_ALL, params, SA_COUNT_OF(params), &rows);
    for (int row = 0; !error && row < rows->n; row++) {
        const char *sid = sa_rows_text(rows, row, 0);
        *after = strcmp(sid, *after) > 0 ? sid : *after;
        ++*n;
    }
    return error;
}

/* ---- events ---- */

sa_error_t *sa_store_outbox_list(sa_work_t *work, int only_dead, int limit,
                                 apr_array_header_t **listed)
{
    const sa_param_t params[] = { sa_number(only_dead ? 1 : 0), sa_number(limit) };
    sa_rows_t *rows = NULL;

    *listed = apr_array_make(work->pool, 8, sizeof(sa_outbox_row_t));
    sa_error_t *error = sa_work_run(work, SA_OP_OUTBOX_LIST, params, SA_COUNT_OF(params), &rows);
    for (int row = 0; !error && row < rows->n; row++) {
        sa_outbox_row_t *out = apr_array_push(*listed);
        *out = sa_outbox_from_row(rows, row);
        out->next_attempt = sa_rows_number(rows, row, 9);
        out->dead = sa_rows_true(rows, row, 10);
    }
    return error;
}

sa_error_t *sa_store_outbox_retry(sa_work_t *work, const char *event_id, apr_int64_t now, int *n)
{
    const sa_param_t params[] = { sa_text(event_id), sa_number(now) };
    sa_rows_t *rows = NULL;

    sa_error_t *error = sa_work_run(work, SA_OP_OUTBOX_RETRY, params, SA_COUNT_OF(params), &rows);
    *n = !error && rows->n ? (int)sa_rows_number(rows, 0, 0) : 0;
    return error;
}

/* ---- health ---- */

sa_error_t *sa_store_health(sa_work_t *work, apr_int64_t since, sa_health_t *health)
{
    const sa_param_t params[] = { sa_number(since), sa_number(since - SA_CODES_KEPT) };
    sa_rows_t *rows = NULL;

    memset(health, 0, sizeof(*health));
    sa_error_t *error = sa_work_run(work, SA_OP_HEALTH, params, SA_COUNT_OF(params), &rows);
    if (!error) {
        health->clock = sa_rows_number(rows, 0, 0);
        health->expired = sa_rows_number(rows, 0, 1);
        health->events = (sa_backlog_t) { sa_rows_number(rows, 0, 2), sa_rows_number(rows, 0, 3) };
        health->mails = (sa_backlog_t) { sa_rows_number(rows, 0, 4), sa_rows_number(rows, 0, 5) };
    }
    return error;
}
