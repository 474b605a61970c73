/* PostgreSQL by libpq's asynchronous calls: no wait is longer than the work's deadline. */
#include "store/db.h"

#include <apr_strings.h>
#include <errno.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define STATE_KEY "sa-store-pgsql"
#define OID_BIGINT 20
#define OID_TEXT 25
#define MAX_PARAMS 32
#define MAX_TRIES 3             /* of a statement that lost to a concurrent one */

/* What is remembered per pooled connection. */
typedef struct {
    apr_pool_t *pool;
    apr_hash_t *prepared;       /* statement name -> const prepared_t * */
    int backend;                /* pid that the rest is true for; 0 = none */
    int is_dying;               /* it said good-bye while idle */
    int timeout_ms;             /* what it was told last */
    int answered;               /* results before the failure of what was sent last */
    int schema_known;
} state_t;

typedef enum {
    UNKNOWN,                    /* to this backend */
    PREPARED,
    STALE                       /* prepared, but its plan is refused: the table changed */
} prepared_t;

static const prepared_t prepared_states[] = { UNKNOWN, PREPARED, STALE };

static void note(state_t *state, const char *name, prepared_t prepared)
{
    if (!apr_hash_get(state->prepared, name, APR_HASH_KEY_STRING)) {
        name = apr_pstrdup(state->pool, name);
    }
    apr_hash_set(state->prepared, name, APR_HASH_KEY_STRING, &prepared_states[prepared]);
}

static PGconn *native(const sa_db_t *db)
{
    return db->connection.native;
}

static void init_state(void *made, apr_pool_t *pool)
{
    state_t *state = made;

    state->pool = pool;
    state->prepared = apr_hash_make(pool);
}

/* Everything known about the old backend is forgotten; names stay allocated for the next. */
static void forget(state_t *state)
{
    for (apr_hash_index_t *i = apr_hash_first(NULL, state->prepared); i; i = apr_hash_next(i)) {
        note(state, apr_hash_this_key(i), UNKNOWN);
    }
    state->backend = 0;
    state->is_dying = 0;
    state->schema_known = 0;
}

/* ---- failures ---- */

static const char *one_line(apr_pool_t *p, const char *text)
{
    char *line = apr_pstrdup(p, text ? text : "");

    for (char *c = line; *c; c++) {
        if ((unsigned char)*c < ' ') {
            *c = ' ';
        }
    }
    for (apr_size_t n = strlen(line); n && line[n - 1] == ' '; n--) {
        line[n - 1] = '\0';
    }
    return line;
}

static sa_error_t *lost(sa_db_t *db, const char *what)
{
    db->broken = 1;
    return sa_error(db->pool, SA_E_UNAVAILABLE, NULL, "database: %s: %s", what,
                    one_line(db->pool, PQerrorMessage(native(db))));
}

/* The answer to what was sent may come any time later, so nobody may use this connection
 * as it is: with its socket shut down the next one who takes it finds it dead and resets it. */
static void cut(sa_db_t *db)
{
    int fd = PQsocket(native(db));

    if (fd >= 0) {
        shutdown(fd, SHUT_RDWR);
    }
    db->broken = 1;
}

static sa_error_t *too_slow(sa_db_t *db, const char *what)
{
    cut(db);
    return sa_error(db->pool, SA_E_UNAVAILABLE, NULL,
                    "database: %s: no answer within SocialAuthDBTimeout", what);
}

static int is_conflict(const char *sqlstate)
{
    return !strcmp(sqlstate, "23505") || !strcmp(sqlstate, "23503")
           || !strcmp(sqlstate, "40001") || !strcmp(sqlstate, "40P01");
}

static int is_lost_race(const char *sqlstate)
{
    return !strcmp(sqlstate, "40001") || !strcmp(sqlstate, "40P01");
}

static int is_stale(const char *sqlstate)
{
    return !strcmp(sqlstate, "26000") || !strcmp(sqlstate, "0A000");
}

static int is_not_a_key(const char *sqlstate)
{
    return !strcmp(sqlstate, "22P02") || !strcmp(sqlstate, "22003");
}

static int is_missing(const char *sqlstate)
{
    return !strcmp(sqlstate, "42P01") || !strcmp(sqlstate, "42703");
}

/* The server's words, where they cannot hold a value somebody sent. */
static const char *server_words(sa_db_t *db, const PGresult *result, const char *sqlstate)
{
    static const char *const classes = "08 0A 25 26 28 40 42 53 54 55 57 58 XX";
    const char *constraint = PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME);
    const char *column = PQresultErrorField(result, PG_DIAG_COLUMN_NAME);

    if (strstr(classes, apr_pstrmemdup(db->pool, sqlstate, 2))) {
        return one_line(db->pool, PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
    }
    return constraint ? constraint : column ? column : "a value was refused";
}

static sa_error_t *refused(sa_db_t *db, const char *what, const PGresult *result)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    if (!sqlstate || PQstatus(native(db)) != CONNECTION_OK) {
        return lost(db, what);
    }
    /* A statement that went stale inside a transaction has aborted it: from the start again. */
    sa_error_kind_t kind = is_conflict(sqlstate) || is_stale(sqlstate) ? SA_E_CONFLICT
                                                                       : SA_E_UNAVAILABLE;
    return sa_error(db->pool, kind, NULL, "database: %s: SQLSTATE %s, %s%s", what, sqlstate,
                    server_words(db, result, sqlstate),
                    is_missing(sqlstate) ? ": " SA_DB_MIGRATE_HINT : "");
}

/* ---- waiting ---- */

/* 0 = the descriptor is ready, -1 = the deadline passed. */
static int wait_for(sa_db_t *db, short events)
{
    struct pollfd fd = { PQsocket(native(db)), events, 0 };

    for (;;) {
        int left = sa_db_remaining(db);
        int n = fd.fd < 0 ? 1 : poll(&fd, 1, left);
        if (n > 0) {
            return 0;
        }
        if (n == 0 || left == 0 || errno != EINTR) {
            return -1;
        }
    }
}

/* Waits until PQgetResult would not block. */
static sa_error_t *wait_result(sa_db_t *db, const char *what)
{
    PGconn *conn = native(db);

    for (;;) {
        int unsent = PQflush(conn);
        if (unsent < 0) {
            return NULL;        /* PQgetResult tells; the server's last words may be there */
        }
        if (!unsent && !PQisBusy(conn)) {
            return NULL;
        }
        if (wait_for(db, (short)(unsent ? POLLIN | POLLOUT : POLLIN))) {
            return too_slow(db, what);
        }
        if (!PQconsumeInput(conn)) {
            return NULL;
        }
    }
}

/* All results of what was sent; the first that is an error, else the last. *result may be NULL. */
static sa_error_t *collect(sa_db_t *db, const char *what, PGresult **result)
{
    PGresult *kept = NULL;
    state_t *state = db->state;

    state->answered = 0;
    for (;;) {
        sa_error_t *error = wait_result(db, what);
        if (error) {
            PQclear(kept);
            return error;
        }
        PGresult *next = PQgetResult(native(db));
        if (!next) {
            break;
        }
        if (kept && PQresultStatus(kept) == PGRES_FATAL_ERROR) {
            PQclear(next);
            continue;
        }
        state->answered += PQresultStatus(next) != PGRES_FATAL_ERROR;
        PQclear(kept);
        kept = next;
    }
    *result = kept;
    return kept ? NULL : lost(db, what);
}

static int is_good(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

/* Simple protocol: any number of statements, no parameters. *tag (may be NULL): the last's. */
static sa_error_t *simple(sa_db_t *db, const char *what, const char *sql, const char **tag)
{
    PGresult *result = NULL;

    if (!PQsendQuery(native(db), sql)) {
        return lost(db, what);
    }
    sa_error_t *error = collect(db, what, &result);
    if (error) {
        return error;
    }
    if (!is_good(result)) {
        error = refused(db, what, result);
    }
    else if (tag) {
        *tag = apr_pstrdup(db->pool, PQcmdStatus(result));
    }
    PQclear(result);
    return error;
}

/* ---- ready ---- */

/* Nothing is printed. A failure that comes while nobody asked is a notice, too. */
static void on_notice(void *arg, const PGresult *result)
{
    state_t *state = arg;
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);

    if (severity && (!strcmp(severity, "FATAL") || !strcmp(severity, "PANIC"))) {
        state->is_dying = 1;
    }
}

/* A peer that vanished is noticed by the kernel, too. */
static void set_user_timeout(sa_db_t *db)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    int fd = PQsocket(native(db));

    if (fd < 0 || getsockname(fd, (struct sockaddr *)&address, &len)) {
        return;
    }
    if (address.ss_family == AF_INET || address.ss_family == AF_INET6) {
        unsigned timeout = (unsigned)db->timeout_ms;
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof(timeout));
    }
}

/* The server gives up about when we do. Mounts share connections, but not their time limits. */
static sa_error_t *set_timeouts(sa_db_t *db, state_t *state)
{
    set_user_timeout(db);
    const char *sql = apr_psprintf(db->pool, "SET statement_timeout = %d; "
                                   "SET idle_in_transaction_session_timeout = %d",
                                   db->timeout_ms, 2 * db->timeout_ms);
    sa_error_t *error = simple(db, "connection set-up", sql, NULL);
    state->timeout_ms = error ? 0 : db->timeout_ms;
    return error;
}

/* Whatever the database's or the role's defaults are: the statements are written for these. */
#define SESSION \
    "SET client_encoding = 'UTF8'; SET default_transaction_isolation = 'read committed'"

static sa_error_t *set_up(sa_db_t *db, state_t *state)
{
    PGconn *conn = native(db);

    forget(state);
    PQsetNoticeReceiver(conn, on_notice, state);
    PQsetnonblocking(conn, 1);
    sa_error_t *error = simple(db, "connection set-up", SESSION, NULL);
    if (!error) {
        error = set_timeouts(db, state);
    }
    if (!error && PQserverVersion(conn) >= 140000) {
        /* A running statement whose client is gone ends; not every platform can do it. */
        simple(db, "connection set-up", "SET client_connection_check_interval = 1000", NULL);
        error = PQstatus(conn) == CONNECTION_OK && !db->broken ? NULL : lost(db, "connection");
    }
    if (!error) {
        state->backend = PQbackendPID(conn);
    }
    return error;
}

static sa_error_t *reset(sa_db_t *db)
{
    PGconn *conn = native(db);
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;

    if (!PQresetStart(conn)) {
        return lost(db, "connection");
    }
    while (status == PGRES_POLLING_READING || status == PGRES_POLLING_WRITING) {
        if (wait_for(db, status == PGRES_POLLING_READING ? POLLIN : POLLOUT)) {
            return too_slow(db, "connection");
        }
        status = PQresetPoll(conn);
    }
    return status == PGRES_POLLING_OK ? NULL : lost(db, "connection");
}

/* An idle connection that can be read has been closed, or has a notice: a server that goes
 * away says so first, and only the read after that finds the end. */
static void look_for_end(PGconn *conn)
{
    struct pollfd fd = { PQsocket(conn), POLLIN, 0 };

    for (int n = 4; n && fd.fd >= 0 && poll(&fd, 1, 0) > 0; n--) {
        if (!PQconsumeInput(conn)) {
            return;
        }
        PQisBusy(conn);         /* hands notices over */
    }
}

static sa_error_t *pg_ready(sa_db_t *db)
{
    PGconn *conn = native(db);
    state_t *state = db->state ? db->state
                               : sa_db_state(db, STATE_KEY, sizeof(*state), init_state);
    sa_error_t *error = NULL;

    if (!state) {
        return sa_error(db->pool, SA_E_UNAVAILABLE, NULL, "database: out of memory");
    }
    db->state = state;
    db->schema_known = &state->schema_known;
    db->broken = 0;
    look_for_end(conn);
    if (PQstatus(conn) != CONNECTION_OK || state->is_dying
        || PQtransactionStatus(conn) == PQTRANS_ACTIVE) {
        state->backend = 0;
        error = reset(db);
    }
    if (!error && state->backend != PQbackendPID(conn)) {
        error = set_up(db, state);
    }
    if (!error && PQtransactionStatus(conn) != PQTRANS_IDLE) {
        error = simple(db, "rollback of somebody's transaction", "ROLLBACK", NULL);
    }
    if (!error && state->timeout_ms != db->timeout_ms) {
        error = set_timeouts(db, state);
    }
    db->broken = error != NULL;
    return error;
}

/* ---- statements ---- */

static int uses_param(const char *sql, int number)
{
    for (const char *c = strchr(sql, '$'); c; c = strchr(c + 1, '$')) {
        if (apr_atoi64(c + 1) == number) {
            return 1;
        }
    }
    return 0;
}

static sa_error_t *send_prepare(sa_db_t *db, const sa_statement_t *statement,
                                const sa_param_t *params, int n, PGresult **result)
{
    Oid types[MAX_PARAMS] = { 0 };

    for (int i = 0; i < n; i++) {
        if (params[i].kind == SA_PARAM_NUMBER) {
            types[i] = OID_BIGINT;
        }
        else if (params[i].kind == SA_PARAM_TEXT || !uses_param(statement->parts[0], i + 1)) {
            types[i] = OID_TEXT;
        }
    }
    if (!PQsendPrepare(native(db), statement->name, statement->parts[0], n, types)) {
        return lost(db, statement->op);
    }
    return collect(db, statement->op, result);
}

/* Once per backend. */
static sa_error_t *prepare(sa_db_t *db, const sa_statement_t *statement,
                           const sa_param_t *params, int n)
{
    state_t *state = db->state;
    PGresult *result = NULL;
    sa_error_t *error = NULL;

    const prepared_t *known = apr_hash_get(state->prepared, statement->name,
                                           APR_HASH_KEY_STRING);
    if (known && *known == PREPARED) {
        return NULL;
    }
    if (known && *known == STALE) {
        error = simple(db, statement->op,
                       apr_pstrcat(db->pool, "DEALLOCATE ", statement->name, NULL), NULL);
        note(state, statement->name, UNKNOWN);
    }
    if (!error) {
        error = send_prepare(db, statement, params, n, &result);
    }
    if (error) {
        return error;
    }
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (is_good(result) || (sqlstate && !strcmp(sqlstate, "42P05"))) {
        note(state, statement->name, PREPARED);
    }
    else {
        error = refused(db, statement->op, result);
    }
    PQclear(result);
    return error;
}

static int send_statement(sa_db_t *db, const sa_statement_t *statement,
                          const sa_param_t *params, int n)
{
    const char *values[MAX_PARAMS];

    for (int i = 0; i < n; i++) {
        values[i] = params[i].kind == SA_PARAM_NUMBER
                        ? apr_psprintf(db->pool, "%" APR_INT64_T_FMT, params[i].number)
                        : params[i].text;
    }
    return PQsendQueryPrepared(native(db), statement->name, n, values, NULL, NULL, 0);
}

static sa_rows_t *copy_rows(sa_db_t *db, const PGresult *result)
{
    sa_rows_t *rows = apr_pcalloc(db->pool, sizeof(*rows));

    rows->n = PQntuples(result);
    rows->columns = PQnfields(result);
    rows->cells = apr_pcalloc(db->pool, (apr_size_t)rows->n * (apr_size_t)rows->columns
                                            * sizeof(*rows->cells));
    rows->integer = apr_pcalloc(db->pool, (apr_size_t)rows->columns + 1);
    for (int column = 0; column < rows->columns; column++) {
        Oid type = PQftype(result, column);
        rows->integer[column] = type == 20 || type == 21 || type == 23;
        for (int row = 0; row < rows->n; row++) {
            if (!PQgetisnull(result, row, column)) {
                rows->cells[row * rows->columns + column] =
                    apr_pstrmemdup(db->pool, PQgetvalue(result, row, column),
                                   (apr_size_t)PQgetlength(result, row, column));
            }
        }
    }
    return rows;
}

typedef enum {
    DONE,                       /* or failed for good */
    AGAIN,                      /* nothing was done: prepare and run once more */
    RESET                       /* the connection is gone, and nothing can have been done */
} outcome_t;

/* A backend that was told to stop says 57P01 instead of an answer when it has not committed. */
static int did_nothing(const sa_db_t *db, const sa_statement_t *statement, const char *sqlstate)
{
    const state_t *state = db->state;
    return (statement->flags & SA_STATEMENT_READS)
           || (sqlstate && !strcmp(sqlstate, "57P01") && !state->answered);
}

static outcome_t judge(sa_db_t *db, const sa_statement_t *statement, const PGresult *result,
                       sa_rows_t **rows, sa_error_t **error)
{
    if (is_good(result)) {
        *rows = copy_rows(db, result);
        return DONE;
    }
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    *error = refused(db, statement->op, result);
    if (!sqlstate || PQstatus(native(db)) != CONNECTION_OK) {
        return did_nothing(db, statement, sqlstate) ? RESET : DONE;
    }
    if (is_not_a_key(sqlstate) && (statement->flags & SA_STATEMENT_KEYED)) {
        *rows = apr_pcalloc(db->pool, sizeof(**rows));
        *error = db->in_transaction ? *error : NULL;
        return DONE;
    }
    if (is_stale(sqlstate)) {
        note(db->state, statement->name, strcmp(sqlstate, "26000") ? STALE : UNKNOWN);
    }
    return is_lost_race(sqlstate) || is_stale(sqlstate) ? AGAIN : DONE;
}

static outcome_t attempt(sa_db_t *db, const sa_statement_t *statement, const sa_param_t *params,
                         int n, sa_rows_t **rows, sa_error_t **error)
{
    PGconn *conn = native(db);
    PGresult *result = NULL;

    *error = prepare(db, statement, params, n);
    if (*error) {
        return PQstatus(conn) == CONNECTION_OK ? DONE : RESET;
    }
    if (!send_statement(db, statement, params, n)) {
        *error = lost(db, statement->op);
        return RESET;
    }
    *error = collect(db, statement->op, &result);
    if (*error) {
        return DONE;
    }
    outcome_t outcome = judge(db, statement, result, rows, error);
    PQclear(result);
    return outcome;
}

static sa_error_t *pg_run(sa_db_t *db, const sa_statement_t *statement,
                          const sa_param_t *params, int n, sa_rows_t **rows)
{
    sa_error_t *error = NULL;
    int resets = 0;

    *rows = apr_pcalloc(db->pool, sizeof(**rows));
    for (int tries = 0; tries < MAX_TRIES; tries++) {
        outcome_t outcome = attempt(db, statement, params, n, rows, &error);
        if (outcome == DONE || db->in_transaction || sa_db_remaining(db) == 0) {
            return error;
        }
        if (outcome == RESET && (resets++ || (error = pg_ready(db)) != NULL)) {
            return error;
        }
    }
    return error;
}

static sa_error_t *pg_control(sa_db_t *db, sa_control_t what)
{
    static const char *const words[] = { "BEGIN", "COMMIT", "ROLLBACK" };
    const char *tag = NULL;

    sa_error_t *error = simple(db, words[what], words[what], &tag);
    if (error && what == SA_BEGIN && PQstatus(native(db)) != CONNECTION_OK
        && !pg_ready(db)) {
        error = simple(db, words[what], words[what], &tag);
    }
    if (!error && what == SA_COMMIT && strcmp(tag, "COMMIT")) {
        error = sa_error(db->pool, SA_E_CONFLICT, NULL,
                         "database: COMMIT: the transaction had failed before");
    }
    return error;
}

static sa_error_t *pg_script(sa_db_t *db, const char *sql)
{
    return simple(db, "migration", sql, NULL);
}

static void pg_leave(sa_db_t *db)
{
    PGconn *conn = native(db);

    if (PQstatus(conn) != CONNECTION_OK || PQtransactionStatus(conn) != PQTRANS_IDLE) {
        db->broken = 1;
    }
    if (db->broken) {
        ((state_t *)db->state)->backend = 0;    /* whoever resets it, it is set up anew */
        cut(db);
    }
}

const sa_backend_t sa_backend_pgsql = {
    "pgsql", pg_ready, pg_run, pg_control, pg_script, pg_leave
};
