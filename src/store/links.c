/* Links between users and what providers say about them; things that may be used once. */
#include "store/work.h"

#include <apr_escape.h>

sa_error_t *sa_store_create_link(sa_work_t *work, const char *user_id, const sa_link_t *link)
{
    const sa_param_t params[] = { sa_column(user_id), sa_text(link->provider),
                                  sa_text(link->issuer), sa_text(link->subject),
                                  sa_text(link->email), sa_number(link->linked_at) };
    sa_rows_t *rows = NULL;

    return sa_work_run(work, SA_OP_CREATE_LINK, params, SA_COUNT_OF(params), &rows);
}

sa_error_t *sa_store_take_pending(sa_work_t *work, const char *issuer, const char *email,
                                  const char **user_id)
{
    const sa_param_t params[] = { sa_text(issuer), sa_text(email) };
    sa_rows_t *rows = NULL;

    sa_error_t *error = sa_work_run(work, SA_OP_TAKE_PENDING, params, SA_COUNT_OF(params), &rows);
    *user_id = !error && rows->n ? sa_rows_text(rows, 0, 0) : NULL;
    return error;
}

sa_error_t *sa_store_links(sa_work_t *work, const char *user_id, const char *sid, apr_int64_t now,
                           sa_user_t **user, apr_array_header_t **links)
{
    const sa_param_t params[] = { sa_column(user_id), sa_text(sid), sa_number(now) };
    sa_rows_t *rows = NULL;

    *user = NULL;
    *links = apr_array_make(work->pool, 4, sizeof(sa_link_t));
    if (!sa_work_is_key(work, user_id)) {
        return NULL;
    }
    sa_error_t *error = sa_work_run(work, SA_OP_LINKS, params, SA_COUNT_OF(params), &rows);
    if (error || !rows->n) {
        return error;
    }
    *user = sa_user_from_row(work, rows, 0, 0);
    for (int row = 0; row < rows->n && sa_rows_text(rows, row, SA_USER_COLUMNS); row++) {
        sa_link_t *link = apr_array_push(*links);
        link->provider = sa_rows_text(rows, row, SA_USER_COLUMNS);
        link->issuer = sa_rows_text(rows, row, SA_USER_COLUMNS + 1);
        link->subject = sa_rows_text(rows, row, SA_USER_COLUMNS + 2);
        link->email = sa_rows_text(rows, row, SA_USER_COLUMNS + 3);
        link->linked_at = sa_rows_number(rows, row, SA_USER_COLUMNS + 4);
    }
    return NULL;
}

/* The SQL speaks in the numbers of these words. */
_Static_assert(SA_LINK_DONE == 0 && SA_LINK_TAKEN == 1 && SA_LINK_UNAVAILABLE == 3
                   && SA_UNLINK_DONE == 0 && SA_UNLINK_NOT_LINKED == 1 && SA_UNLINK_LAST == 2,
               "verdicts of SA_OP_LINK and SA_OP_UNLINK");

sa_error_t *sa_store_link(sa_work_t *work, const char *user_id, const char *sid,
                          const sa_link_t *link, const sa_event_t *event, apr_int64_t now,
                          sa_link_verdict_t *verdict)
{
    sa_param_t params[SA_EVENT_PARAMS + 8];
    sa_param_t *own = params + SA_EVENT_PARAMS;
    sa_rows_t *rows = NULL;

    *verdict = SA_LINK_NO_USER;
    if (!sa_work_is_key(work, user_id)) {
        return NULL;
    }
    sa_event_params(params, event);
    own[0] = sa_column(user_id);
    own[1] = sa_text(sid);
    own[2] = sa_number(now);
    own[3] = sa_text(link->provider);
    own[4] = sa_text(link->issuer);
    own[5] = sa_text(link->subject);
    own[6] = sa_text(link->email);
    own[7] = sa_number(link->linked_at);
    sa_error_t *error = sa_work_run(work, SA_OP_LINK, params, SA_COUNT_OF(params), &rows);
    if (!error && rows->n) {
        *verdict = (sa_link_verdict_t)sa_rows_number(rows, 0, 0);
    }
    return error;
}

sa_error_t *sa_store_unlink(sa_work_t *work, const char *user_id, const char *sid,
                            const char *issuer, const char *issuers, int password_counts,
                            const sa_event_t *event, apr_int64_t now,
                            sa_unlink_verdict_t *verdict)
{
    sa_param_t params[SA_EVENT_PARAMS + 6];
    sa_param_t *own = params + SA_EVENT_PARAMS;
    sa_rows_t *rows = NULL;

    *verdict = SA_UNLINK_NO_USER;
    if (!sa_work_is_key(work, user_id)) {
        return NULL;
    }
    sa_event_params(params, event);
    own[0] = sa_column(user_id);
    own[1] = sa_text(sid);
    own[2] = sa_number(now);
    own[3] = sa_text(issuer);
    own[4] = sa_number(password_counts ? 1 : 0);
    own[5] = sa_text(issuers);
    sa_error_t *error = sa_work_run(work, SA_OP_UNLINK, params, SA_COUNT_OF(params), &rows);
    if (!error && rows->n) {
        *verdict = (sa_unlink_verdict_t)sa_rows_number(rows, 0, 0);
    }
    return error;
}

static sa_param_t hex(const sa_work_t *work, const unsigned char id[32])
{
    return sa_text(apr_pescape_hex(work->pool, id, 32, 0));
}

sa_error_t *sa_store_spend(sa_work_t *work, const unsigned char id[32], apr_int64_t expires,
                           int *first)
{
    const sa_param_t params[] = { hex(work, id), sa_number(expires) };
    sa_rows_t *rows = NULL;

    sa_error_t *error = sa_work_run(work, SA_OP_SPEND, params, SA_COUNT_OF(params), &rows);
    *first = !error && rows->n > 0;
    return error;
}

sa_error_t *sa_store_client_token_live(sa_work_t *work, const char *client_id,
                                       const unsigned char id[32], int *live)
{
    const sa_param_t params[] = { sa_text(client_id), hex(work, id) };
    sa_rows_t *rows = NULL;

    sa_error_t *error = sa_work_run(work, SA_OP_CLIENT_TOKEN_LIVE, params, SA_COUNT_OF(params),
                                    &rows);
    *live = !error && sa_rows_true(rows, 0, 0);
    return error;
}
