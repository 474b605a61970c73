/* Databases for the store's tests: a SQLite file or a private PostgreSQL, fresh per test, behind a
 * pool of connections that behaves as mod_dbd's does (it keeps and gives out what comes back). */
#ifndef TESTS_UNIT_STORE_FIXTURE_H
#define TESTS_UNIT_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "store/store.h"

#include <apr_strings.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define KNOWN "https://hook.test/ https://b.test/"      /* receivers of events */
#define NOW 1800000000          /* tests' own time, where time is a parameter */

typedef struct {
    const char *driver;
    apr_pool_t *pool;           /* lives for one test */
    const char *place;          /* SQLite: the file; PostgreSQL: the connection string */
    sa_store_t *store;
    sa_db_source_t source;
    struct pool_t *connections;
    void *admin;                /* a connection beside the pool, PGconn * or sqlite3 * */
} db_t;

/* ---- life ---- */
int setup_empty(void **state);          /* nothing installed */
int setup_own(void **state);            /* our own tables */
int teardown(void **state);
int is_pgsql(const db_t *db);
const char *fixture_dir(void);

/* A test under both databases; where PostgreSQL is missing on purpose
 * (SA_WITHOUT_POSTGRES=1), main() leaves those out. */
extern const char fixture_sqlite[], fixture_pgsql[];
#define ON_SQLITE(f, setup) { #f " [sqlite3]", f, setup, teardown, (void *)fixture_sqlite }
#define ON_PGSQL(f, setup) { #f " [pgsql]", f, setup, teardown, (void *)fixture_pgsql }
#define ON_BOTH(f, setup) ON_SQLITE(f, setup), ON_PGSQL(f, setup)
int fixture_main(const char *name, const struct CMUnitTest *tests, size_t n);

/* ---- beside the store ---- */
void db_exec(db_t *db, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* First column of the first row, NULL for NULL or no row. */
const char *db_text(db_t *db, const char *format, ...) __attribute__((format(printf, 2, 3)));
int db_int(db_t *db, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A second store over the same connections. */
sa_store_t *db_store(db_t *db, const sa_user_map_t *map);
/* Our tables no longer refer to the user table they were made for. */
void db_unbind(db_t *db);
void *db_connect(db_t *db);             /* a native connection of the test's own */
void db_disconnect(db_t *db, void *native);
void db_drop_connections(db_t *db);
int db_connections(db_t *db);
void *db_native(db_t *db, int i);       /* of the pool's i-th connection */
void native_exec(db_t *db, void *native, const char *sql);
int db_last_broken(db_t *db);
void pg_server(const char *what, const char *how);      /* tests/pg what DIR how */

/* ---- works ---- */
sa_work_t *work_on(db_t *db, apr_pool_t *p);
sa_work_t *work_of(db_t *db);           /* in the test's pool */
void ok(sa_error_t *error);             /* fails the test, printing the log text */
void failed_as(sa_error_t *error, sa_error_kind_t kind);

/* ---- records ---- */
const char *make_user(db_t *db, const char *email, const char *username);
void make_link(db_t *db, const char *user_id, const char *issuer, const char *subject);
sa_session_t *new_session(apr_pool_t *p, const char *sid);
sa_event_t *new_event(apr_pool_t *p, const char *id, const char *type);
/* A session of the user with live jti "<sid>-1". */
void make_session(db_t *db, const char *user_id, const char *sid);
sa_refresh_t new_refresh(const char *sid, const char *jti, const char *next);

/* ---- threads ---- */
typedef struct {
    db_t *db;
    int index;
    apr_pool_t *pool;
    void *arg;
    int outcome;
    const char *text;
} runner_t;
/* Runs f n times at once; the outcomes are in runners[0..n-1]. */
void at_once(db_t *db, int n, void (*f)(runner_t *), void *arg, runner_t *runners);

#endif
