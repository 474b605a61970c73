/* Applications: the OAuth 2.0 clients of a site. */
#include "store/work.h"

static void from_row(sa_application_t *application, const sa_rows_t *rows, int row)
{
    *application = (sa_application_t) {
        .client_id = sa_rows_text(rows, row, 0),
        .name = sa_rows_text(rows, row, 1),
        .secret = sa_rows_text(rows, row, 2),
        .grants = sa_rows_text(rows, row, 3),
        .scopes = sa_rows_text(rows, row, 4),
        .redirect_uris = sa_rows_text(rows, row, 5),
        .owner_id = sa_rows_text(rows, row, 6),
        .created = sa_rows_number(rows, row, 7),
        .trusted = sa_rows_true(rows, row, 8),
    };
}

/* Runs an operation whose one row says that something was done. */
static sa_error_t *run_done(sa_work_t *work, sa_op_t op, const sa_param_t *params, int n, int *done)
{
    sa_rows_t *rows = NULL;
    sa_error_t *error = sa_work_run(work, op, params, n, &rows);

    *done = !error && rows->n > 0;
    return error;
}

sa_error_t *sa_store_application(sa_work_t *work, const char *client_id,
                                 sa_application_t **application)
{
    const sa_param_t params[] = { sa_text(client_id) };
    sa_rows_t *rows = NULL;

    *application = NULL;
    sa_error_t *error = sa_work_run(work, SA_OP_APPLICATION, params, SA_COUNT_OF(params), &rows);
    if (!error && rows->n) {
        *application = apr_palloc(work->pool, sizeof(**application));
        from_row(*application, rows, 0);
    }
    return error;
}

sa_error_t *sa_store_list_applications(sa_work_t *work, const char *after_id, int limit,
                                       apr_array_header_t **applications)
{
    const sa_param_t params[] = { sa_text(after_id), sa_number(limit) };
    sa_rows_t *rows = NULL;

    *applications = apr_array_make(work->pool, 8, sizeof(sa_application_t));
    sa_error_t *error = sa_work_run(work, SA_OP_LIST_APPLICATIONS, params, SA_COUNT_OF(params),
                                    &rows);
    for (int row = 0; !error && row < rows->n; row++) {
        from_row(apr_array_push(*applications), rows, row);
    }
    return error;
}

sa_error_t *sa_store_create_application(sa_work_t *work, const sa_application_t *application,
                                        int *done)
{
    const sa_param_t params[] = {
        sa_text(application->client_id), sa_text(application->name),
        sa_text(application->secret), sa_text(application->grants),
        sa_text(application->scopes), sa_text(application->redirect_uris),
        sa_column(application->owner_id), sa_number(application->created),
        sa_number(application->trusted ? 1 : 0),
    };
    return run_done(work, SA_OP_CREATE_APPLICATION, params, SA_COUNT_OF(params), done);
}

sa_error_t *sa_store_set_client_secret(sa_work_t *work, const char *client_id, const char *old_hash,
                                       const char *new_hash, int *done)
{
    const sa_param_t params[] = { sa_text(client_id), sa_text(old_hash), sa_text(new_hash) };

    return run_done(work, SA_OP_SET_CLIENT_SECRET, params, SA_COUNT_OF(params), done);
}

sa_error_t *sa_store_delete_application(sa_work_t *work, const char *client_id, apr_int64_t now,
                                        int *done)
{
    const sa_param_t params[] = { sa_text(client_id), sa_number(now) };

    return run_done(work, SA_OP_DELETE_APPLICATION, params, SA_COUNT_OF(params), done);
}

sa_error_t *sa_store_end_client(sa_work_t *work, const char *user_id, const char *client_id,
                                sa_end_t what, apr_int64_t now)
{
    const sa_param_t params[] = { sa_column(user_id), sa_text(client_id), sa_number(now) };
    sa_rows_t *rows = NULL;

    if (!sa_work_is_key(work, user_id)) {
        return NULL;
    }
    return what == SA_END_SESSIONS
           ? sa_work_run(work, SA_OP_END_CLIENT_SESSIONS, params, 3, &rows)
           : sa_work_run(work, SA_OP_END_CLIENT_REFRESH, params, 2, &rows);
}
