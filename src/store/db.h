/* The two databases behind one small table of functions. Private to store/.
 *
 * A backend never decides anything about accounts: it runs one statement on a native
 * connection before a deadline, copies the rows into the caller's pool and says what kind
 * of failure it was. No PGresult and no sqlite3_stmt leaves its file. */
#ifndef SA_STORE_DB_H
#define SA_STORE_DB_H

#include "store/store.h"
#include <apr_hash.h>

/* ---- parameters ---- */
typedef enum {
    SA_PARAM_TEXT,
    SA_PARAM_NUMBER,
    SA_PARAM_COLUMN             /* text whose SQL type is that of the column it meets */
} sa_param_kind_t;

typedef struct {
    sa_param_kind_t kind;
    const char *text;           /* NULL = SQL NULL */
    apr_int64_t number;
} sa_param_t;

static inline sa_param_t sa_text(const char *text)
{
    return (sa_param_t) { SA_PARAM_TEXT, text, 0 };
}

static inline sa_param_t sa_number(apr_int64_t number)
{
    return (sa_param_t) { SA_PARAM_NUMBER, NULL, number };
}

static inline sa_param_t sa_column(const char *text)
{
    return (sa_param_t) { SA_PARAM_COLUMN, text, 0 };
}

static inline sa_param_t sa_flag(int flag)
{
    return (sa_param_t) { SA_PARAM_COLUMN, flag ? "1" : "0", 0 };
}

/* ---- rows, copied ---- */
typedef struct {
    int n, columns;
    const char **cells;         /* n * columns, row by row; NULL = SQL NULL */
    unsigned char *integer;     /* per column: 1 = an integer type */
} sa_rows_t;

const char *sa_rows_text(const sa_rows_t *rows, int row, int column);
apr_int64_t sa_rows_number(const sa_rows_t *rows, int row, int column);     /* NULL = 0 */
int sa_rows_true(const sa_rows_t *rows, int row, int column);               /* NULL = 0 */

/* ---- statements ---- */
#define SA_STATEMENT_READS 1    /* writes nothing: may be run again after a lost connection */
#define SA_STATEMENT_KEYED 2    /* has a key given by a caller: text that is no key finds nobody */

typedef struct {
    const char *op;             /* for log lines */
    const char *name;           /* unique per SQL text: several mappings may share a connection */
    int flags;
    const char **parts;         /* SQL; PostgreSQL one, SQLite any number, NULL-terminated */
} sa_statement_t;

/* ---- a connection in use ---- */
typedef struct {
    sa_connection_t connection;
    apr_pool_t *pool;           /* the caller's: rows and errors */
    apr_time_t deadline;        /* of sa_steady_time */
    int timeout_ms;             /* the server's own limit for each statement */
    int in_transaction;
    int broken;                 /* out: do not give this connection out again as it is */
    void *state;                /* the backend's own, per pooled connection */
    int *schema_known;          /* out of ready: 1 once this connection's schema was seen right */
} sa_db_t;

typedef enum { SA_BEGIN, SA_COMMIT, SA_ROLLBACK } sa_control_t;

typedef struct sa_backend_t {
    const char *driver;
    /* Makes an acquired connection usable: alive, outside any transaction, set up. */
    sa_error_t *(*ready)(sa_db_t *db);
    sa_error_t *(*run)(sa_db_t *db, const sa_statement_t *statement, const sa_param_t *params,
                       int n, sa_rows_t **rows);
    sa_error_t *(*control)(sa_db_t *db, sa_control_t what);
    /* Several statements without parameters, as a migration has them. */
    sa_error_t *(*script)(sa_db_t *db, const char *sql);
    /* The connection goes back to the pool; sets db->broken. */
    void (*leave)(sa_db_t *db);
} sa_backend_t;

extern const sa_backend_t sa_backend_pgsql;
extern const sa_backend_t sa_backend_sqlite;

/* Milliseconds until the deadline, 0 when it has passed. */
int sa_db_remaining(const sa_db_t *db);
/* What a backend keeps per pooled connection: found under key, or zeroed and made by init with a
 * pool of its own, whose cleanups run before the connection is closed. NULL = out of memory. */
void *sa_db_state(const sa_db_t *db, const char *key, apr_size_t size,
                  void (*init)(void *state, apr_pool_t *pool));

#define SA_DB_OTHER_TABLE \
    "sa_links and the other tables of this database were made for another one: set " \
    "SocialAuthUserTable as it was, or use another database"
#define SA_DB_MIGRATE_HINT "run \"socialauthctl migrate\""

#endif
