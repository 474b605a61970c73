#include "store_fixture.h"

#include <apr_allocator.h>
#include <apr_general.h>
#include <ftw.h>
#include <libpq-fe.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_CONNECTIONS 64
#define TIMEOUT_MS 5000

const char fixture_sqlite[] = "sqlite3", fixture_pgsql[] = "pgsql";

static char dir[] = "/tmp/sa-store-XXXXXX";
static int has_server;
static int databases;
static apr_pool_t *root;

typedef struct {
    sa_connection_t connection;
    int is_free;
} slot_t;

struct pool_t {
    pthread_mutex_t mutex;
    db_t *db;
    slot_t slots[MAX_CONNECTIONS];
    int n;
    int last_broken;
};

int is_pgsql(const db_t *db)
{
    return db->driver == fixture_pgsql;
}

const char *fixture_dir(void)
{
    return dir;
}

/* ---- native ---- */

void *db_connect(db_t *db)
{
    if (is_pgsql(db)) {
        PGconn *conn = PQconnectdb(db->place);
        if (PQstatus(conn) != CONNECTION_OK) {
            print_error("connect: %s\n", PQerrorMessage(conn));
        }
        return conn;
    }
    sqlite3 *lite = NULL;
    if (sqlite3_open(db->place, &lite) != SQLITE_OK) {
        print_error("open: %s\n", sqlite3_errmsg(lite));
    }
    return lite;
}

void db_disconnect(db_t *db, void *native)
{
    if (is_pgsql(db)) {
        PQfinish(native);
    }
    else if (sqlite3_close(native) != SQLITE_OK) {
        fail_msg("sqlite3_close: statements were left behind");
    }
}

static const char *pg_query(db_t *db, const char *sql)
{
    PGconn *conn = db->admin;
    const char *text = NULL;

    if (PQstatus(conn) != CONNECTION_OK) {
        PQreset(conn);
    }
    PGresult *result = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        fail_msg("%s: %s", sql, PQerrorMessage(conn));
    }
    if (PQntuples(result) > 0 && !PQgetisnull(result, 0, 0)) {
        text = apr_pstrdup(db->pool, PQgetvalue(result, 0, 0));
    }
    PQclear(result);
    return text;
}

static int first_cell(void *out, int n, char **values, char **names)
{
    const char **text = out;
    if (n > 0 && values[0] && !*text) {
        *text = strdup(values[0]);
    }
    return 0;
}

static const char *lite_query(db_t *db, const char *sql)
{
    char *text = NULL;
    sqlite3_busy_timeout(db->admin, TIMEOUT_MS);
    if (sqlite3_exec(db->admin, sql, first_cell, &text, NULL) != SQLITE_OK) {
        fail_msg("%s: %s", sql, sqlite3_errmsg(db->admin));
    }
    const char *copy = text ? apr_pstrdup(db->pool, text) : NULL;
    free(text);
    return copy;
}

static const char *query(db_t *db, const char *format, va_list args)
{
    const char *sql = apr_pvsprintf(db->pool, format, args);
    return is_pgsql(db) ? pg_query(db, sql) : lite_query(db, sql);
}

void db_exec(db_t *db, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    query(db, format, args);
    va_end(args);
}

const char *db_text(db_t *db, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const char *text = query(db, format, args);
    va_end(args);
    return text;
}

int db_int(db_t *db, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const char *text = query(db, format, args);
    va_end(args);
    return text ? atoi(text) : -1;
}

/* ---- connections ---- */

static apr_pool_t *pool_with_allocator(apr_pool_t *parent)
{
    apr_allocator_t *allocator = NULL;
    apr_pool_t *pool = NULL;

    assert_int_equal(apr_allocator_create(&allocator), APR_SUCCESS);
    assert_int_equal(apr_pool_create_ex(&pool, parent, NULL, allocator), APR_SUCCESS);
    apr_allocator_owner_set(allocator, pool);
    return pool;
}

static apr_status_t close_native(void *data)
{
    slot_t *slot = data;

    if (slot->connection.driver == fixture_pgsql) {
        PQfinish(slot->connection.native);
    }
    else if (sqlite3_close(slot->connection.native) != SQLITE_OK) {
        print_error("sqlite3_close: statements were left behind\n");
        abort();
    }
    return APR_SUCCESS;
}

static sa_error_t *acquire(void *ctx, apr_pool_t *p, apr_time_t deadline, sa_connection_t *out)
{
    struct pool_t *pool = ctx;
    sa_error_t *error = NULL;
    slot_t *slot = NULL;

    pthread_mutex_lock(&pool->mutex);
    for (int i = 0; i < pool->n && !slot; i++) {
        slot = pool->slots[i].is_free ? &pool->slots[i] : NULL;
    }
    if (!slot && pool->n < MAX_CONNECTIONS) {
        slot = &pool->slots[pool->n++];
        slot->connection.driver = pool->db->driver;
        slot->connection.native = db_connect(pool->db);
        slot->connection.pool = pool_with_allocator(NULL);
        slot->connection.handle = slot;
        apr_pool_cleanup_register(slot->connection.pool, slot, close_native,
                                  apr_pool_cleanup_null);
    }
    if (slot) {
        slot->is_free = 0;
        *out = slot->connection;
    }
    else {
        error = sa_error(p, SA_E_UNAVAILABLE, NULL, "test: no connection left");
    }
    pthread_mutex_unlock(&pool->mutex);
    return error;
}

static void release(void *ctx, sa_connection_t *connection, int broken)
{
    struct pool_t *pool = ctx;
    slot_t *slot = connection->handle;

    pthread_mutex_lock(&pool->mutex);
    slot->is_free = 1;
    pool->last_broken = broken;
    pthread_mutex_unlock(&pool->mutex);
}

void db_drop_connections(db_t *db)
{
    for (int i = 0; i < db->connections->n; i++) {
        if (!db->connections->slots[i].is_free) {
            print_error("a work was not closed\n");
        }
        apr_pool_destroy(db->connections->slots[i].connection.pool);
    }
    db->connections->n = 0;
}

int db_connections(db_t *db)
{
    return db->connections->n;
}

void *db_native(db_t *db, int i)
{
    return db->connections->slots[i].connection.native;
}

void native_exec(db_t *db, void *native, const char *sql)
{
    if (is_pgsql(db)) {
        PGresult *result = PQexec(native, sql);
        ExecStatusType status = PQresultStatus(result);
        PQclear(result);
        if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
            fail_msg("%s: %s", sql, PQerrorMessage(native));
        }
    }
    else if (sqlite3_exec(native, sql, NULL, NULL, NULL) != SQLITE_OK) {
        fail_msg("%s: %s", sql, sqlite3_errmsg(native));
    }
}

int db_last_broken(db_t *db)
{
    return db->connections->last_broken;
}

void db_unbind(db_t *db)
{
    db_exec(db, "DROP TABLE sa_links");
    db_exec(db, "CREATE TABLE sa_links (issuer text, subject text, user_id integer, provider text, "
                "email text, linked_at bigint)");
}

sa_store_t *db_store(db_t *db, const sa_user_map_t *map)
{
    const char *why = NULL;
    sa_store_t *store = sa_store_make(db->pool, db->driver, map, &why);
    if (!store) {
        fail_msg("sa_store_make: %s", why);
    }
    return store;
}

/* ---- life ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static int run_server_script(const char *what, const char *how)
{
    const char *top = getenv("SA_TOP_SRCDIR");
    return system(apr_psprintf(root, "'%s/tests/pg' %s %s/pg %s", top ? top : ".", what, dir,
                               how ? how : ""));
}

static void clean_up(void)
{
    if (has_server && run_server_script("stop", NULL) != 0) {
        print_error("the server in %s did not stop\n", dir);
    }
    has_server = 0;
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void pg_server(const char *what, const char *how)
{
    if (run_server_script(what, how) != 0) {
        print_error("tests/pg %s failed. The store must be tested on PostgreSQL, too (without a "
                    "server: SA_WITHOUT_POSTGRES=1)\n", what);
        clean_up();
        exit(1);
    }
}

static void start_server(void)
{
    if (!has_server) {
        pg_server("start", NULL);
        has_server = 1;
    }
}

int fixture_main(const char *name, const struct CMUnitTest *tests, size_t n)
{
    const char *without = getenv("SA_WITHOUT_POSTGRES");
    struct CMUnitTest *chosen = calloc(n, sizeof(*chosen));
    size_t count = 0;

    apr_initialize();
    apr_pool_create(&root, NULL);
    if (!chosen || !mkdtemp(dir)) {
        return 1;
    }
    chmod(dir, 0755);
    for (size_t i = 0; i < n; i++) {
        int leave_out = without && *without && tests[i].initial_state == (void *)fixture_pgsql;
        if (!leave_out) {
            chosen[count++] = tests[i];
        }
    }
    if (count < n) {
        print_message("note: %zu tests on PostgreSQL left out\n", n - count);
    }
    int failures = _cmocka_run_group_tests(name, chosen, count, NULL, NULL);
    clean_up();
    free(chosen);
    return failures;
}

int setup_empty(void **state)
{
    apr_pool_t *pool = pool_with_allocator(NULL);
    db_t *db = apr_pcalloc(pool, sizeof(*db));

    db->driver = *state;
    db->pool = pool;
    db->connections = apr_pcalloc(pool, sizeof(*db->connections));
    db->connections->db = db;
    pthread_mutex_init(&db->connections->mutex, NULL);
    db->source = (sa_db_source_t) { db->connections, acquire, release, TIMEOUT_MS };
    databases++;
    if (db->driver == fixture_pgsql) {
        start_server();
        db->place = apr_psprintf(pool, "host=%s/pg user=postgres dbname=postgres", dir);
        db->admin = db_connect(db);
        db_exec(db, "CREATE DATABASE t%d", databases);
        PQfinish(db->admin);
        db->place = apr_psprintf(pool, "host=%s/pg user=postgres dbname=t%d", dir, databases);
    }
    else {
        db->place = apr_psprintf(pool, "%s/t%d.db", dir, databases);
    }
    db->admin = db_connect(db);
    db->store = db_store(db, NULL);
    *state = db;
    return 0;
}

int setup_own(void **state)
{
    int from, to;
    const char *sql = NULL;

    setup_empty(state);
    sa_work_t *work = work_of(*state);
    ok(sa_store_migrate(work, 0, &from, &to, &sql));
    sa_work_close(work);
    return 0;
}

int teardown(void **state)
{
    db_t *db = *state;

    db_drop_connections(db);
    db_disconnect(db, db->admin);
    apr_pool_destroy(db->pool);
    return 0;
}

/* ---- works ---- */

void ok(sa_error_t *error)
{
    if (error) {
        fail_msg("%s: %s", error->word, error->log ? error->log : "(no text)");
    }
}

void failed_as(sa_error_t *error, sa_error_kind_t kind)
{
    assert_non_null(error);
    if (error->kind != kind) {
        print_error("%s: %s\n", error->word, error->log ? error->log : "(no text)");
    }
    assert_int_equal(error->kind, kind);
}

sa_work_t *work_on(db_t *db, apr_pool_t *p)
{
    sa_work_t *work = NULL;
    ok(sa_work_open(&work, db->store, &db->source, p));
    return work;
}

sa_work_t *work_of(db_t *db)
{
    return work_on(db, db->pool);
}

/* ---- records ---- */

const char *make_user(db_t *db, const char *email, const char *username)
{
    sa_new_user_t user = { email, username, "Ada", "Lovelace", "argon2$x", 1, 1, 0, 0, NULL, 0 };
    const char *id = NULL, *taken = NULL;

    sa_work_t *work = work_of(db);
    ok(sa_store_create_user(work, &user, NOW, &id, &taken));
    sa_work_close(work);
    assert_null(taken);
    assert_non_null(id);
    return id;
}

void make_link(db_t *db, const char *user_id, const char *issuer, const char *subject)
{
    sa_link_t link = { "p", issuer, subject, "mail@x.test", NOW };

    sa_work_t *work = work_of(db);
    ok(sa_store_create_link(work, user_id, &link));
    sa_work_close(work);
}

sa_session_t *new_session(apr_pool_t *p, const char *sid)
{
    sa_session_t *session = apr_pcalloc(p, sizeof(*session));

    session->sid = apr_pstrdup(p, sid);
    session->jti = apr_pstrcat(p, sid, "-1", NULL);
    session->iat = NOW;
    session->exp = NOW + 1000;
    session->expires = NOW + 5000;
    session->auth_time = NOW - 1;
    session->amr = "pwd";
    session->mount = "/api";
    return session;
}

sa_event_t *new_event(apr_pool_t *p, const char *id, const char *type)
{
    sa_event_t *event = apr_pcalloc(p, sizeof(*event));

    event->id = apr_pstrdup(p, id);
    event->type = type;
    event->provider = "github";
    event->address = "192.0.2.1";
    event->request_id = "req";
    event->time = NOW;
    event->targets = "https://hook.test/";
    return event;
}

void make_session(db_t *db, const char *user_id, const char *sid)
{
    sa_user_t *user = NULL;

    sa_work_t *work = work_of(db);
    ok(sa_store_start_session(work, user_id, new_session(db->pool, sid), NULL, 0, &user));
    sa_work_close(work);
    assert_non_null(user);
}

sa_refresh_t new_refresh(const char *sid, const char *jti, const char *next)
{
    return (sa_refresh_t) { sid, jti, NOW + 10, 10, 1, 1, next, NOW + 1010, NULL };
}

/* ---- threads ---- */

typedef struct {
    pthread_barrier_t *start;
    void (*f)(runner_t *);
    runner_t *runner;
} thread_t;

static void *run_one(void *data)
{
    thread_t *thread = data;
    pthread_barrier_wait(thread->start);
    thread->f(thread->runner);
    return NULL;
}

void at_once(db_t *db, int n, void (*f)(runner_t *), void *arg, runner_t *runners)
{
    pthread_barrier_t start;
    pthread_t ids[MAX_CONNECTIONS];
    thread_t threads[MAX_CONNECTIONS];

    assert_true(n <= MAX_CONNECTIONS);
    pthread_barrier_init(&start, NULL, (unsigned)n);
    for (int i = 0; i < n; i++) {
        runners[i] = (runner_t) { db, i, pool_with_allocator(NULL), arg, -1, NULL };
        threads[i] = (thread_t) { &start, f, &runners[i] };
        assert_int_equal(pthread_create(&ids[i], NULL, run_one, &threads[i]), 0);
    }
    for (int i = 0; i < n; i++) {
        pthread_join(ids[i], NULL);
        if (runners[i].text) {
            runners[i].text = apr_pstrdup(db->pool, runners[i].text);
        }
        apr_pool_destroy(runners[i].pool);
    }
    pthread_barrier_destroy(&start);
}
