/* Mails on their way, the single use of their links, and what a used link changes. */
#include "store/work.h"

#include <apr_strings.h>

sa_error_t *sa_store_queue_mail(sa_work_t *work, const sa_mail_t *mail, int is_decoy)
{
    sa_param_t params[] = {
        sa_text(mail->id), sa_text(mail->kind),
        sa_column(sa_work_is_key(work, mail->user_id) ? mail->user_id : NULL),
        sa_text(mail->email), sa_text(mail->mount), sa_text(mail->data),
        sa_number(mail->created), sa_number(mail->expires), sa_column(NULL),
    };
    sa_rows_t *rows = NULL;

    if (is_decoy) {
        params[8] = sa_number(mail->created);
    }
    return sa_work_run(work, SA_OP_QUEUE_MAIL, params, SA_COUNT_OF(params), &rows);
}

static sa_error_t *find(sa_work_t *work, sa_op_t op, const char *id, const char *kind,
                        apr_int64_t now, sa_mail_t **mail)
{
    const sa_param_t params[] = { sa_text(id), sa_text(kind), sa_number(now) };
    sa_rows_t *rows = NULL;

    *mail = NULL;
    sa_error_t *error = sa_work_run(work, op, params, SA_COUNT_OF(params), &rows);
    if (!error && rows->n) {
        *mail = apr_pcalloc(work->pool, sizeof(**mail));
        (*mail)->id = id;
        (*mail)->kind = kind;
        (*mail)->user_id = sa_rows_text(rows, 0, 0);
        (*mail)->email = sa_rows_text(rows, 0, 1);
        (*mail)->data = sa_rows_text(rows, 0, 2);
    }
    return error;
}

sa_error_t *sa_store_mail(sa_work_t *work, const char *id, const char *kind, apr_int64_t now,
                          sa_mail_t **mail)
{
    return find(work, SA_OP_MAIL, id, kind, now, mail);
}

sa_error_t *sa_store_use_mail(sa_work_t *work, const char *id, const char *kind, apr_int64_t now,
                              sa_mail_t **mail)
{
    return find(work, SA_OP_USE_MAIL, id, kind, now, mail);
}

sa_error_t *sa_store_mails_claim(sa_work_t *work, apr_int64_t now, int lease, const char *known,
                                 sa_mail_t **mail)
{
    const sa_param_t params[] = { sa_number(now), sa_number(now + lease), sa_text(known) };
    sa_rows_t *rows = NULL;

    *mail = NULL;
    sa_error_t *error = sa_work_run(work, SA_OP_MAILS_CLAIM, params, SA_COUNT_OF(params), &rows);
    if (error || !rows->n) {
        return error;
    }
    *mail = apr_pcalloc(work->pool, sizeof(**mail));
    **mail = (sa_mail_t) {
        .id = sa_rows_text(rows, 0, 0), .kind = sa_rows_text(rows, 0, 1),
        .user_id = sa_rows_text(rows, 0, 2), .email = sa_rows_text(rows, 0, 3),
        .mount = sa_rows_text(rows, 0, 4), .data = sa_rows_text(rows, 0, 5),
        .expires = sa_rows_number(rows, 0, 6), .attempts = (int)sa_rows_number(rows, 0, 7),
    };
    return NULL;
}

sa_error_t *sa_store_address_mail(sa_work_t *work, const sa_mail_t *mail)
{
    const sa_param_t params[] = { sa_text(mail->id), sa_column(mail->user_id), sa_text(mail->email),
                                  sa_text(mail->data) };
    sa_rows_t *rows = NULL;

    return sa_work_run(work, SA_OP_ADDRESS_MAIL, params, SA_COUNT_OF(params), &rows);
}

sa_error_t *sa_store_drop_mail(sa_work_t *work, const char *id)
{
    const sa_param_t params[] = { sa_text(id) };
    sa_rows_t *rows = NULL;

    return sa_work_run(work, SA_OP_DROP_MAIL, params, SA_COUNT_OF(params), &rows);
}

sa_error_t *sa_store_mails_settle(sa_work_t *work, const char *id, apr_int64_t sent_at,
                                  apr_int64_t next_attempt, int dead)
{
    const sa_param_t params[] = { sa_text(id), sent_at ? sa_number(sent_at) : sa_column(NULL),
                                  sa_number(next_attempt), sa_number(dead ? 1 : 0) };
    sa_rows_t *rows = NULL;

    return sa_work_run(work, SA_OP_MAILS_SETTLE, params, SA_COUNT_OF(params), &rows);
}

int sa_store_can_verify(const sa_store_t *store)
{
    return store->mapping.columns[SA_ROLE_EMAIL_VERIFIED] != NULL;
}

sa_error_t *sa_store_verify_email(sa_work_t *work, const char *user_id, const char *email,
                                  sa_links_fate_t links, int *done)
{
    const sa_param_t params[] = { sa_column(user_id), sa_text(email), sa_number(links) };
    sa_rows_t *rows = NULL;

    *done = 0;
    if (!sa_work_is_key(work, user_id)) {
        return NULL;
    }
    sa_error_t *error = sa_work_run(work, SA_OP_VERIFY_EMAIL, params, SA_COUNT_OF(params), &rows);
    *done = !error && rows->n > 0;
    return error;
}

sa_error_t *sa_store_set_email(sa_work_t *work, const char *user_id, const char *email, int *done)
{
    const sa_param_t params[] = { sa_column(user_id), sa_text(email), sa_text(email) };
    sa_rows_t *rows = NULL;
    sa_error_t *error = NULL;

    *done = 0;
    if (!sa_work_is_key(work, user_id)) {
        return NULL;
    }
    if (!work->store->mapping.own) {
        /* The site's table may have no unique e-mail: whoever makes a user of it waits. */
        error = sa_work_run(work, SA_OP_EMAIL_LOCK, &params[2], 1, &rows);
    }
    if (!error) {
        error = sa_work_run(work, SA_OP_SET_EMAIL, params, SA_COUNT_OF(params), &rows);
    }
    *done = !error && rows->n > 0;
    return error;
}
