/* A work from inside: what the files of questions share. Private to store/. */
#ifndef SA_STORE_WORK_H
#define SA_STORE_WORK_H

#include "store/sql.h"

struct sa_store_t {
    sa_mapping_t mapping;
    const sa_statement_t *statements[SA_OP_COUNT];
};

struct sa_work_t {
    apr_pool_t *pool;
    const sa_store_t *store;
    const sa_db_source_t *source;
    sa_db_t db;
    int is_open;
    sa_error_t *dead;           /* the failure after which only closing is left */
};

/* Runs one operation; the schema has been looked at before. */
sa_error_t *sa_work_run(sa_work_t *work, sa_op_t op, const sa_param_t *params, int n,
                        sa_rows_t **rows);
/* The same without a look at the schema. */
sa_error_t *sa_work_run_raw(sa_work_t *work, sa_op_t op, const sa_param_t *params, int n,
                            sa_rows_t **rows);
/* 1 when text can be a key of this user table; a wrong one finds nobody. */
int sa_work_is_key(const sa_work_t *work, const char *user_id);

#define SA_EVENT_PARAMS 7
#define SA_CODES_KEPT 86400     /* seconds behind their end: one that comes back ends what it gave */
#define SA_SESSION_PARAMS 10
void sa_event_params(sa_param_t *params, const sa_event_t *event);      /* event may be NULL */
void sa_session_params(sa_param_t *params, const sa_session_t *session);

/* From {user} beginning at `column`. */
sa_user_t *sa_user_from_row(sa_work_t *work, const sa_rows_t *rows, int row, int column);
/* From the columns of a session beginning at `column`. */
sa_session_t *sa_session_from_row(sa_work_t *work, const sa_rows_t *rows, int row, int column);
/* From the columns of SA_OP_OUTBOX_CLAIM. */
sa_outbox_row_t sa_outbox_from_row(const sa_rows_t *rows, int row);

/* The SQL type of a mapped column, as the catalogue spells it; NULL when the table has none. */
sa_error_t *sa_store_column_type(sa_work_t *work, sa_role_t role, const char **type);

#define SA_COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

#endif
