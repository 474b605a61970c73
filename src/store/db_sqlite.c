/* SQLite on the pooled connection's own handle. */
#include "store/db.h"

#include "core/clock.h"

#include <apr_strings.h>
#include <sqlite3.h>
#include <string.h>

#define STATE_KEY "sa-store-sqlite"

/* What is remembered per pooled connection. */
typedef struct {
    apr_pool_t *pool;
    apr_hash_t *prepared;       /* statement name -> sqlite3_stmt *[], as many as it has parts */
    apr_array_header_t *all;    /* sqlite3_stmt *, to be finalized */
    apr_time_t deadline;        /* of the work in progress, for the busy handler */
    int is_set_up;
    int schema_known;
} state_t;

static sqlite3 *native(const sa_db_t *db)
{
    return db->connection.native;
}

/* Runs before the connection is closed, which SQLite refuses while statements live. */
static apr_status_t finalize_all(void *data)
{
    state_t *state = data;

    sqlite3_stmt **all = (void *)state->all->elts;
    for (int i = 0; i < state->all->nelts; i++) {
        sqlite3_finalize(all[i]);
    }
    return APR_SUCCESS;
}

static void init_state(void *made, apr_pool_t *pool)
{
    state_t *state = made;

    state->pool = pool;
    state->prepared = apr_hash_make(pool);
    state->all = apr_array_make(pool, 32, sizeof(sqlite3_stmt *));
    apr_pool_cleanup_register(pool, state, finalize_all, apr_pool_cleanup_null);
}

/* ---- failures ---- */

/* Read before anything else touches the connection. */
static sa_error_t *failed(sa_db_t *db, const char *what)
{
    int code = sqlite3_extended_errcode(native(db));
    const char *words = sqlite3_errstr(code);
    const char *hint = "";
    sa_error_kind_t kind = SA_E_UNAVAILABLE;

    switch (code & 0xff) {
    case SQLITE_CONSTRAINT:
        kind = code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY
                       || code == SQLITE_CONSTRAINT_FOREIGNKEY
                   ? SA_E_CONFLICT : SA_E_UNAVAILABLE;
        break;
    case SQLITE_BUSY:
        kind = code == SQLITE_BUSY_SNAPSHOT ? SA_E_CONFLICT : SA_E_UNAVAILABLE;
        break;
    case SQLITE_ERROR:
        words = apr_pstrdup(db->pool, sqlite3_errmsg(native(db)));
        hint = strncmp(words, "no such ", 8) ? "" : ": " SA_DB_MIGRATE_HINT;
        break;
    default:
        break;
    }
    return sa_error(db->pool, kind, NULL, "database: %s: SQLite error %d, %s%s", what, code,
                    words, hint);
}

/* Waits in short steps: a writer holds the lock for a millisecond or less. */
static int wait_busy(void *data, int count)
{
    const state_t *state = data;
    apr_interval_time_t left = state->deadline - sa_steady_time();
    apr_interval_time_t step = 200 * (count < 20 ? count + 1 : 20);

    if (left <= 0) {
        return 0;
    }
    apr_sleep(step < left ? step : left);
    return 1;
}

/* ---- ready ---- */

static sa_error_t *simple(sa_db_t *db, const char *what, const char *sql)
{
    return sqlite3_exec(native(db), sql, NULL, NULL, NULL) == SQLITE_OK ? NULL : failed(db, what);
}

static sa_error_t *lite_ready(sa_db_t *db)
{
    state_t *state = sa_db_state(db, STATE_KEY, sizeof(*state), init_state);
    sa_error_t *error = NULL;

    if (!state) {
        return sa_error(db->pool, SA_E_UNAVAILABLE, NULL, "database: out of memory");
    }
    db->state = state;
    db->schema_known = &state->schema_known;
    state->deadline = db->deadline;
    sqlite3_busy_handler(native(db), wait_busy, state);
    if (!sqlite3_get_autocommit(native(db))) {
        error = simple(db, "rollback of somebody's transaction", "ROLLBACK");
    }
    if (!error && !state->is_set_up) {
        /* FULL: a logout or a rotation that was answered survives a power cut. */
        error = simple(db, "connection set-up",
                       "PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL");
        state->is_set_up = error == NULL;
    }
    return error;
}

/* ---- statements ---- */

#define MAX_PARTS 8

static sa_error_t *prepare(sa_db_t *db, const sa_statement_t *statement, sqlite3_stmt ***out)
{
    state_t *state = db->state;
    sqlite3_stmt *made[MAX_PARTS + 1] = { NULL };
    int n = 0;

    *out = apr_hash_get(state->prepared, statement->name, APR_HASH_KEY_STRING);
    if (*out) {
        return NULL;
    }
    for (; statement->parts[n] && n < MAX_PARTS; n++) {
        if (sqlite3_prepare_v3(native(db), statement->parts[n], -1, SQLITE_PREPARE_PERSISTENT,
                               &made[n], NULL) != SQLITE_OK) {
            sa_error_t *error = failed(db, statement->op);
            while (n) {
                sqlite3_finalize(made[--n]);
            }
            return error;
        }
    }
    for (int i = 0; i < n; i++) {
        APR_ARRAY_PUSH(state->all, sqlite3_stmt *) = made[i];
    }
    *out = apr_pmemdup(state->pool, made, sizeof(*made) * ((apr_size_t)n + 1));
    apr_hash_set(state->prepared, apr_pstrdup(state->pool, statement->name),
                 APR_HASH_KEY_STRING, *out);
    return NULL;
}

/* Text stays the caller's until the statement is reset. */
static void bind_all(sqlite3_stmt *stmt, const sa_param_t *params, int n)
{
    int used = sqlite3_bind_parameter_count(stmt);

    for (int i = 0; i < n && i < used; i++) {
        if (params[i].kind == SA_PARAM_NUMBER) {
            sqlite3_bind_int64(stmt, i + 1, params[i].number);
        }
        else if (params[i].text) {
            sqlite3_bind_text(stmt, i + 1, params[i].text, -1, SQLITE_STATIC);
        }
        else {
            sqlite3_bind_null(stmt, i + 1);
        }
    }
}

typedef struct {
    apr_array_header_t *cells;  /* const char * */
    sa_rows_t *rows;
} reader_t;

static void copy_row(sa_db_t *db, sqlite3_stmt *stmt, reader_t *reader)
{
    sa_rows_t *rows = reader->rows;

    if (!reader->cells) {
        rows->columns = sqlite3_column_count(stmt);
        rows->integer = apr_pcalloc(db->pool, (apr_size_t)rows->columns + 1);
        reader->cells = apr_array_make(db->pool, rows->columns, sizeof(const char *));
    }
    for (int column = 0; column < rows->columns; column++) {
        const char *text = NULL;
        if (rows->n == 0) {
            rows->integer[column] = sqlite3_column_type(stmt, column) == SQLITE_INTEGER;
        }
        if (sqlite3_column_type(stmt, column) != SQLITE_NULL) {
            text = (const char *)sqlite3_column_text(stmt, column);
            text = apr_pstrmemdup(db->pool, text ? text : "",
                                  (apr_size_t)sqlite3_column_bytes(stmt, column));
        }
        APR_ARRAY_PUSH(reader->cells, const char *) = text;
    }
    rows->n++;
}

/* One part. *rows is replaced when the part returns rows at all. */
static sa_error_t *step(sa_db_t *db, const char *what, sqlite3_stmt *stmt,
                        const sa_param_t *params, int n, sa_rows_t **rows)
{
    reader_t reader = { NULL, apr_pcalloc(db->pool, sizeof(sa_rows_t)) };
    sa_error_t *error = NULL;
    int rc;

    bind_all(stmt, params, n);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        copy_row(db, stmt, &reader);
    }
    if (rc != SQLITE_DONE) {
        error = failed(db, what);
    }
    else if (sqlite3_column_count(stmt) > 0) {
        reader.rows->cells = reader.cells ? (void *)reader.cells->elts : NULL;
        *rows = reader.rows;
    }
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
    return error;
}

static sa_error_t *run_parts(sa_db_t *db, const sa_statement_t *statement, sqlite3_stmt **parts,
                             const sa_param_t *params, int n, sa_rows_t **rows)
{
    for (; *parts; parts++) {
        sa_error_t *error = step(db, statement->op, *parts, params, n, rows);
        if (error) {
            return error;
        }
        if (sqlite3_stmt_readonly(*parts) && (*rows)->n == 0) {
            return NULL;        /* found nothing to work on */
        }
    }
    return NULL;
}

static const char *begin[] = { "BEGIN IMMEDIATE", NULL }, *commit[] = { "COMMIT", NULL },
                  *rollback[] = { "ROLLBACK", NULL };

static const sa_statement_t controls[] = {
    [SA_BEGIN] = { "BEGIN", "begin", 0, begin },
    [SA_COMMIT] = { "COMMIT", "commit", 0, commit },
    [SA_ROLLBACK] = { "ROLLBACK", "rollback", 0, rollback },
};

static sa_error_t *lite_control(sa_db_t *db, sa_control_t what)
{
    sqlite3_stmt **parts = NULL;
    sa_rows_t *rows = NULL;

    if (what == SA_ROLLBACK && sqlite3_get_autocommit(native(db))) {
        return NULL;            /* a severe failure has rolled back by itself */
    }
    sa_error_t *error = prepare(db, &controls[what], &parts);
    return error ? error : step(db, controls[what].op, *parts, NULL, 0, &rows);
}

static sa_error_t *lite_run(sa_db_t *db, const sa_statement_t *statement,
                            const sa_param_t *params, int n, sa_rows_t **rows)
{
    sqlite3_stmt **parts = NULL;

    *rows = apr_pcalloc(db->pool, sizeof(**rows));
    sa_error_t *error = prepare(db, statement, &parts);
    if (error || !*parts) {
        return error;
    }
    if (db->in_transaction || !parts[1]) {
        return run_parts(db, statement, parts, params, n, rows);
    }
    error = lite_control(db, SA_BEGIN);
    if (error) {
        return error;
    }
    error = run_parts(db, statement, parts, params, n, rows);
    if (!error) {
        error = lite_control(db, SA_COMMIT);
    }
    if (error) {
        lite_control(db, SA_ROLLBACK);
    }
    return error;
}

/* Outside of a transaction it may be a change of the journal's mode, for which SQLite does not ask the busy
 * handler: two that migrate a new file would get into each other's way. */
static sa_error_t *lite_script(sa_db_t *db, const char *sql)
{
    int code, count = 0;

    do {
        code = sqlite3_exec(native(db), sql, NULL, NULL, NULL);
    } while (code == SQLITE_BUSY && sqlite3_get_autocommit(native(db))
             && wait_busy(db->state, count++));
    return code == SQLITE_OK ? NULL : failed(db, "migration");
}

static void lite_leave(sa_db_t *db)
{
    if (!sqlite3_get_autocommit(native(db))) {
        db->broken = lite_control(db, SA_ROLLBACK) != NULL;
    }
    sqlite3_busy_handler(native(db), NULL, NULL);
}

const sa_backend_t sa_backend_sqlite = {
    "sqlite3", lite_ready, lite_run, lite_control, lite_script, lite_leave
};
