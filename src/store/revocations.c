/* The feed of ended sessions, as triggers of the schema write it. */
#include "store/work.h"

static apr_array_header_t *ended_from_rows(sa_work_t *work, const sa_rows_t *rows)
{
    apr_array_header_t *ended = apr_array_make(work->pool, rows->n, sizeof(sa_revocation_t));

    for (int row = 0; row < rows->n; row++) {
        const char *sid = sa_rows_text(rows, row, 1);
        apr_int64_t left = sa_rows_number(rows, row, 2);
        if (sid && left > 0) {
            APR_ARRAY_PUSH(ended, sa_revocation_t) = (sa_revocation_t) { sid, left };
        }
    }
    return ended;
}

sa_error_t *sa_store_revocations(sa_work_t *work, apr_int64_t memory, const char *cursor,
                                 apr_array_header_t **ended, const char **next)
{
    const sa_param_t params[] = { sa_number(memory), sa_text(cursor) };
    sa_rows_t *rows = NULL;
    sa_error_t *error = NULL;

    *next = NULL;
    if (cursor) {
        error = sa_work_run(work, SA_OP_REVOCATIONS, params, 2, &rows);
        *next = error ? NULL : sa_rows_text(rows, 0, 0);
    }
    if (!error && !*next) {     /* the first time, or a copy of the database was put in its place */
        error = sa_work_run(work, SA_OP_REVOCATIONS_ALL, params, 1, &rows);
        *next = error ? NULL : sa_rows_text(rows, 0, 0);
    }
    *ended = error ? NULL : ended_from_rows(work, rows);
    return error;
}
