/* One of the store's own operations on a bare SQLite connection, as often as it goes.
 *
 *   sqlite_loop DATABASE OPERATION SECONDS full|normal ROUND USERS <parameters
 *   sqlite_loop - OPERATION                (prints the statements)
 *
 * The SQL comes from the store. A line of standard input gives a parameter: NUMBER KIND [VALUE];
 * KIND is null, int, text (constants), or what changes from one execution to the next:
 * uid, sid (the user's), subject, email, session, jti, next, fresh. Prints "operations seconds". */
#include "store/sql.h"

#include <apr_general.h>
#include <apr_strings.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_PARAMS 32
#define MAX_PARTS 8
#define SLOTS 1024              /* sessions that are refreshed in turn */

typedef struct {
    char kind[12];
    char value[256];
} param_t;

typedef struct {
    sqlite3 *db;
    sqlite3_stmt *parts[MAX_PARTS];
    int n;
    int writes;
    int round, users;
    long count;
    param_t params[MAX_PARAMS + 1];
} loop_t;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "sqlite_loop: %s: %s\n", what, why);
    exit(1);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static sa_op_t find_op(const char *name)
{
    static const struct {
        const char *name;
        sa_op_t op;
    } known[] = {
        { "login", SA_OP_LOGIN_LINKED }, { "refresh", SA_OP_REFRESH }, { "links", SA_OP_LINKS },
        { "verify", SA_OP_SESSION_LIVE },
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (!strcmp(known[i].name, name)) {
            return known[i].op;
        }
    }
    die(name, "unknown operation");
    return SA_OP_COUNT;
}

static sa_statement_t *statement_of(apr_pool_t *p, sa_op_t op)
{
    static const sa_user_map_t own;
    sa_mapping_t *mapping = apr_pcalloc(p, sizeof(*mapping));
    const char *why = sa_mapping_make(mapping, p, &sa_dialect_sqlite, &own);

    if (why) {
        die("mapping", why);
    }
    return sa_sql_statement(mapping, p, &sa_dialect_sqlite.templates[op]);
}

static void run_sql(sqlite3 *db, const char *sql)
{
    char *why = NULL;

    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK) {
        die(sql, why);
    }
}

static void read_params(loop_t *loop)
{
    char line[400];
    int number, at;
    param_t param;

    while (fgets(line, sizeof(line), stdin)) {
        line[strcspn(line, "\n")] = '\0';
        memset(&param, 0, sizeof(param));
        if (sscanf(line, "%d %11s%n", &number, param.kind, &at) < 2 || number < 1
            || number > MAX_PARAMS) {
            die("parameter", line);
        }
        snprintf(param.value, sizeof(param.value), "%s", line[at] ? line + at + 1 : "");
        loop->params[number] = param;
    }
}

/* The names the rows were made with: see statements.py. */
static void bind_param(loop_t *loop, sqlite3_stmt *stmt, int i, int user)
{
    const param_t *param = &loop->params[i];
    const char *kind = param->kind;
    long slot = loop->count % SLOTS, turn = loop->count / SLOTS;
    char text[300];

    if (!*kind || !strcmp(kind, "null")) {
        sqlite3_bind_null(stmt, i);
        return;
    }
    if (!strcmp(kind, "int") || !strcmp(kind, "uid")) {
        sqlite3_bind_int64(stmt, i, *kind == 'u' ? 1000000 + user : atoll(param->value));
        return;
    }
    if (!strcmp(kind, "sid")) {
        snprintf(text, sizeof(text), "00000000-0000-4000-8000-%012d", user);
    }
    else if (!strcmp(kind, "subject")) {
        snprintf(text, sizeof(text), "s-%020d", user);
    }
    else if (!strcmp(kind, "email")) {
        snprintf(text, sizeof(text), "bench%d@gmail.com", user);
    }
    else if (!strcmp(kind, "session")) {
        snprintf(text, sizeof(text), "00000000-0000-4000-9%03d-%012ld", loop->round, slot);
    }
    else if (!strcmp(kind, "jti") || !strcmp(kind, "next")) {
        snprintf(text, sizeof(text), "%032ld", turn + (*kind == 'n'));
    }
    else if (!strcmp(kind, "fresh")) {
        snprintf(text, sizeof(text), "%08lx-%04lx-4%03lx-8%03d-%012ld", (long)getpid(),
                 random() & 0xffff, random() & 0xfff, loop->round, loop->count);
    }
    else {
        snprintf(text, sizeof(text), "%s", param->value);
    }
    sqlite3_bind_text(stmt, i, text, -1, SQLITE_TRANSIENT);
}

static void execute(loop_t *loop)
{
    int user = 1 + (int)(random() % loop->users);

    if (loop->writes) {
        run_sql(loop->db, "BEGIN IMMEDIATE");
    }
    for (int part = 0; part < loop->n; part++) {
        sqlite3_stmt *stmt = loop->parts[part];
        int rows = 0, rv;
        for (int i = sqlite3_bind_parameter_count(stmt); i > 0; i--) {
            bind_param(loop, stmt, i, user);
        }
        while ((rv = sqlite3_step(stmt)) == SQLITE_ROW) {
            rows++;
        }
        if (rv != SQLITE_DONE) {
            die("step", sqlite3_errmsg(loop->db));
        }
        if (part == 0 && rows == 0) {
            die("step", "no row was found");
        }
        sqlite3_reset(stmt);
    }
    if (loop->writes) {
        run_sql(loop->db, "COMMIT");
    }
    loop->count++;
}

int main(int argc, char **argv)
{
    loop_t loop = { .count = 0 };
    apr_pool_t *p;

    apr_initialize();
    apr_pool_create(&p, NULL);
    if (argc != 7 && argc != 3) {
        die("usage", "sqlite_loop DATABASE OPERATION SECONDS full|normal ROUND USERS");
    }
    sa_statement_t *statement = statement_of(p, find_op(argv[2]));
    if (argc == 3) {
        for (int i = 0; statement->parts[i]; i++) {
            puts(statement->parts[i]);
        }
        return 0;
    }
    srandom((unsigned)getpid());
    loop.round = atoi(argv[5]);
    loop.users = atoi(argv[6]);
    loop.writes = !(statement->flags & SA_STATEMENT_READS);
    read_params(&loop);
    if (sqlite3_open(argv[1], &loop.db) != SQLITE_OK) {
        die(argv[1], sqlite3_errmsg(loop.db));
    }
    run_sql(loop.db, "PRAGMA foreign_keys = ON");
    run_sql(loop.db, apr_pstrcat(p, "PRAGMA synchronous = ", argv[4], NULL));
    for (loop.n = 0; statement->parts[loop.n] && loop.n < MAX_PARTS; loop.n++) {
        if (sqlite3_prepare_v2(loop.db, statement->parts[loop.n], -1, &loop.parts[loop.n], NULL)
            != SQLITE_OK) {
            die(statement->parts[loop.n], sqlite3_errmsg(loop.db));
        }
    }
    double begin = now(), end = begin + atof(argv[3]);
    while (loop.count % 16 || now() < end) {
        execute(&loop);
    }
    printf("%ld %.6f\n", loop.count, now() - begin);
    for (int i = 0; i < loop.n; i++) {
        sqlite3_finalize(loop.parts[i]);
    }
    sqlite3_close(loop.db);
    return 0;
}
