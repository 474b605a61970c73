#include "store/import.h"
#include "store/work.h"

#include <string.h>

sa_error_t *sa_import_begin(sa_work_t *work, apr_int64_t *largest)
{
    sa_rows_t *rows = NULL;
    sa_error_t *error = sa_work_run(work, SA_OP_IMPORT_BEGIN, NULL, 0, &rows);

    *largest = error ? 0 : sa_rows_number(rows, 0, 0);
    return error;
}

sa_error_t *sa_import_end(sa_work_t *work)
{
    sa_rows_t *rows = NULL;

    return sa_work_run(work, SA_OP_IMPORT_END, NULL, 0, &rows);
}

sa_error_t *sa_import_find_user(sa_work_t *work, const char *id, const char *username,
                                apr_int64_t joined, const char **user_id)
{
    const sa_param_t params[] = { sa_column(sa_work_is_key(work, id) ? id : NULL),
                                  sa_text(username), sa_number(joined) };
    sa_rows_t *rows = NULL;

    sa_error_t *error = sa_work_run(work, SA_OP_IMPORTED_USER, params, SA_COUNT_OF(params), &rows);
    *user_id = !error && rows->n ? sa_rows_text(rows, 0, 0) : NULL;
    return error;
}

sa_error_t *sa_import_user(sa_work_t *work, const char *id, const sa_new_user_t *user,
                           apr_int64_t joined, int *done)
{
    const sa_param_t params[] = {
        sa_column(id), sa_text(user->email), sa_text(user->username), sa_text(user->first_name),
        sa_text(user->last_name), sa_text(user->password), sa_flag(user->is_active),
        sa_flag(user->is_staff), sa_flag(user->is_superuser), sa_flag(user->email_verified),
        sa_number(joined), sa_column(NULL), sa_text(user->email), sa_number(user->last_login),
    };
    sa_rows_t *rows = NULL;

    sa_error_t *error = sa_work_run(work, SA_OP_CREATE_USER_KEYED, params, SA_COUNT_OF(params),
                                    &rows);
    *done = !error && rows->n > 0;
    return error;
}

static sa_error_t *held(sa_work_t *work, const char *user_id, const sa_link_t *link,
                        const char **holder, const char **subject)
{
    const sa_param_t params[] = { sa_text(link->issuer), sa_text(link->subject),
                                  sa_column(user_id) };
    sa_rows_t *rows = NULL;

    sa_error_t *error = sa_work_run(work, SA_OP_LINK_HELD, params, SA_COUNT_OF(params), &rows);
    *holder = error ? NULL : sa_rows_text(rows, 0, 0);
    *subject = error ? NULL : sa_rows_text(rows, 0, 1);
    return error;
}

sa_error_t *sa_import_link(sa_work_t *work, const char *user_id, const sa_link_t *link,
                           sa_import_verdict_t *verdict)
{
    const char *holder, *subject;
    sa_error_t *error = held(work, user_id, link, &holder, &subject);

    *verdict = holder || subject ? SA_IMPORT_CONFLICT : SA_IMPORT_DONE;
    if (holder && !strcmp(holder, user_id)) {
        *verdict = SA_IMPORT_THERE;
    }
    return error || *verdict != SA_IMPORT_DONE ? error
                                               : sa_store_create_link(work, user_id, link);
}

static sa_error_t *create_pending(sa_work_t *work, const char *user_id, const sa_link_t *link,
                                  sa_import_verdict_t *verdict)
{
    const sa_param_t params[] = { sa_text(link->issuer), sa_text(link->email), sa_column(user_id),
                                  sa_text(link->provider) };
    sa_rows_t *rows = NULL;

    sa_error_t *error = sa_work_run(work, SA_OP_CREATE_PENDING, params, 4, &rows);
    if (error || rows->n) {
        *verdict = SA_IMPORT_DONE;
        return error;
    }
    error = sa_work_run(work, SA_OP_PENDING, params, 2, &rows);
    *verdict = !error && rows->n && !strcmp(sa_rows_text(rows, 0, 0), user_id)
                   ? SA_IMPORT_THERE : SA_IMPORT_CONFLICT;
    return error;
}

sa_error_t *sa_import_pending(sa_work_t *work, const char *user_id, const sa_link_t *link,
                              sa_import_verdict_t *verdict)
{
    const char *holder, *subject;
    sa_error_t *error = held(work, user_id, link, &holder, &subject);

    if (error || subject) {
        *verdict = SA_IMPORT_THERE;     /* it was bound meanwhile */
        return error;
    }
    return create_pending(work, user_id, link, verdict);
}
