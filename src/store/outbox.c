/* Events on their way to webhooks. */
#include "store/work.h"

#include <apr_strings.h>

sa_error_t *sa_store_event(sa_work_t *work, const char *user_id, const sa_event_t *event)
{
    sa_param_t params[SA_EVENT_PARAMS + 1];
    sa_rows_t *rows = NULL;

    sa_event_params(params, event);
    if (!params[SA_EVENT_PARAMS - 1].text) {
        return NULL;            /* nobody to tell */
    }
    params[SA_EVENT_PARAMS] = sa_column(sa_work_is_key(work, user_id) ? user_id : NULL);
    return sa_work_run(work, SA_OP_EVENT, params, SA_COUNT_OF(params), &rows);
}

sa_error_t *sa_store_notify(sa_work_t *work, const char *event_id, const char *type)
{
    const sa_param_t params[] = { sa_text(event_id), sa_text(type) };
    sa_rows_t *rows = NULL;

    return sa_work_run(work, SA_OP_NOTIFY, params, SA_COUNT_OF(params), &rows);
}

sa_outbox_row_t sa_outbox_from_row(const sa_rows_t *rows, int row)
{
    return (sa_outbox_row_t) {
        .event = {
            .id = sa_rows_text(rows, row, 0), .type = sa_rows_text(rows, row, 1),
            .provider = sa_rows_text(rows, row, 3), .address = sa_rows_text(rows, row, 4),
            .request_id = sa_rows_text(rows, row, 5), .time = sa_rows_number(rows, row, 6),
            .targets = sa_rows_text(rows, row, 7),
        },
        .user_id = sa_rows_text(rows, row, 2),
        .attempts = (int)sa_rows_number(rows, row, 8),
    };
}

sa_error_t *sa_store_outbox_claim(sa_work_t *work, apr_int64_t now, int lease, int max,
                                  const char *known, apr_array_header_t **claimed)
{
    const sa_param_t params[] = { sa_number(now), sa_number(now + lease), sa_number(max),
                                  sa_text(known) };
    sa_rows_t *rows = NULL;

    *claimed = apr_array_make(work->pool, max > 0 ? max : 1, sizeof(sa_outbox_row_t));
    sa_error_t *error = sa_work_run(work, SA_OP_OUTBOX_CLAIM, params, SA_COUNT_OF(params),
                                    &rows);
    for (int row = 0; !error && row < rows->n; row++) {
        APR_ARRAY_PUSH(*claimed, sa_outbox_row_t) = sa_outbox_from_row(rows, row);
    }
    return error;
}

sa_error_t *sa_store_outbox_settle(sa_work_t *work, const char *event_id, const char *targets,
                                   apr_int64_t next_attempt, int dead)
{
    const sa_param_t params[] = { sa_text(event_id),
                                  sa_text(targets && *targets ? targets : NULL),
                                  sa_number(next_attempt), sa_number(dead ? 1 : 0) };
    sa_rows_t *rows = NULL;

    return sa_work_run(work, SA_OP_OUTBOX_SETTLE, params, SA_COUNT_OF(params), &rows);
}
