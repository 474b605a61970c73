/* Installing and checking the schema. */
#include "store/work.h"

#include "core/clock.h"

#include <apr_strings.h>
#include <string.h>

#define MIGRATION_TIMEOUT_MS (10 * 60 * 1000)

sa_error_t *sa_store_schema_version(sa_work_t *work, int *version)
{
    sa_rows_t *rows = NULL;

    *version = 0;
    sa_error_t *error = sa_work_run_raw(work, SA_OP_SCHEMA_EXISTS, NULL, 0, &rows);
    if (error || !sa_rows_true(rows, 0, 0)) {
        return error;
    }
    error = sa_work_run_raw(work, SA_OP_SCHEMA_VERSION, NULL, 0, &rows);
    if (!error) {
        *version = (int)sa_rows_number(rows, 0, 0);
    }
    return error;
}

static sa_error_t *columns(sa_work_t *work, sa_rows_t **rows)
{
    const sa_mapping_t *mapping = &work->store->mapping;
    const sa_param_t params[] = { sa_text(mapping->users), sa_text(mapping->table),
                                  sa_text(mapping->schema) };
    return sa_work_run_raw(work, SA_OP_COLUMNS, params, SA_COUNT_OF(params), rows);
}

static int find_column(const sa_rows_t *rows, const char *name)
{
    for (int row = 0; row < rows->n; row++) {
        if (!strcmp(sa_rows_text(rows, row, 0), name)) {
            return row;
        }
    }
    return -1;
}

sa_error_t *sa_store_column_type(sa_work_t *work, sa_role_t role, const char **type)
{
    const char *name = work->store->mapping.columns[role];
    sa_rows_t *rows = NULL;

    sa_error_t *error = columns(work, &rows);
    int row = !error && name ? find_column(rows, name) : -1;
    *type = row < 0 ? NULL : sa_rows_text(rows, row, 1);
    return error;
}

/* ---- migrations ---- */

/* The SQL type of the mapped key, as the catalogue spells it. */
static sa_error_t *key_type(sa_work_t *work, const char **type)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_ (),";
    const sa_mapping_t *mapping = &work->store->mapping;

    if (mapping->own) {
        *type = mapping->dialect->backend == &sa_backend_sqlite ? "INTEGER" : "bigint";
        return NULL;
    }
    sa_error_t *error = sa_store_column_type(work, SA_ROLE_ID, type);
    if (error) {
        return error;
    }
    if (!*type || (*type)[strspn(*type, allowed)]) {
        return sa_error(work->pool, SA_E_UNAVAILABLE, NULL,
                        "database: the user table %s has no usable key column \"%s\"",
                        mapping->users, mapping->columns[SA_ROLE_ID]);
    }
    return NULL;
}

static const char *migration_sql(sa_work_t *work, const sa_migration_t *migration,
                                 const char *type)
{
    sa_mapping_t mapping = work->store->mapping;

    mapping.key_type = type;
    return apr_pstrcat(work->pool,
                       mapping.own && migration->own
                           ? sa_sql_expand(&mapping, work->pool, migration->own) : "",
                       sa_sql_expand(&mapping, work->pool, migration->common), NULL);
}

static sa_error_t *apply_one(sa_work_t *work, const sa_migration_t *migration, const char *type)
{
    const sa_backend_t *backend = work->store->mapping.dialect->backend;
    sa_rows_t *rows = NULL;
    int version = 0;

    sa_error_t *error = backend->control(&work->db, SA_BEGIN);
    if (error) {
        return error;
    }
    work->db.in_transaction = 1;
    if (backend == &sa_backend_pgsql) {
        error = backend->script(&work->db, "SET LOCAL statement_timeout = 0");
    }
    if (!error) {
        error = sa_work_run_raw(work, SA_OP_SCHEMA_LOCK, NULL, 0, &rows);
    }
    if (!error) {
        error = sa_store_schema_version(work, &version);
    }
    if (!error && version < migration->version) {       /* nobody else did it meanwhile */
        error = backend->script(&work->db, migration_sql(work, migration, type));
    }
    if (!error) {
        error = sa_work_commit(work);
    }
    sa_work_rollback(work);
    return error;
}

static sa_error_t *apply(sa_work_t *work, int from, const char *type)
{
    const sa_dialect_t *dialect = work->store->mapping.dialect;
    sa_error_t *error = NULL;

    if (dialect->backend == &sa_backend_sqlite) {
        error = dialect->backend->script(&work->db, "PRAGMA journal_mode = WAL");
    }
    for (const sa_migration_t *m = dialect->migrations; !error && m->version; m++) {
        if (m->version > from) {
            error = apply_one(work, m, type);
        }
    }
    return error;
}

static const char *preview(sa_work_t *work, int from, const char *type)
{
    const char *sql = "";

    for (const sa_migration_t *m = work->store->mapping.dialect->migrations; m->version; m++) {
        if (m->version > from) {
            sql = apr_pstrcat(work->pool, sql, "BEGIN;\n", migration_sql(work, m, type),
                              "COMMIT;\n", NULL);
        }
    }
    return sql;
}

sa_error_t *sa_store_migrate(sa_work_t *work, int dry_run, int *from, int *to, const char **sql)
{
    const char *type = NULL;

    *from = *to = 0;
    if (sql) {
        *sql = NULL;
    }
    work->db.timeout_ms = MIGRATION_TIMEOUT_MS;
    work->db.deadline = sa_steady_time() + apr_time_from_msec(MIGRATION_TIMEOUT_MS);
    sa_error_t *error = sa_store_schema_version(work, from);
    if (error) {
        return error;
    }
    *to = *from;
    if (*from > SA_SCHEMA_VERSION) {
        return sa_error(work->pool, SA_E_FORBIDDEN, NULL,
                        "database: the schema is version %d, newer than this build's %d", *from,
                        SA_SCHEMA_VERSION);
    }
    error = key_type(work, &type);
    if (error) {
        return error;
    }
    if (dry_run && sql) {
        *sql = preview(work, *from, type);
    }
    error = dry_run ? NULL : apply(work, *from, type);
    if (!error) {
        *to = SA_SCHEMA_VERSION;
    }
    return error;
}

/* ---- mapping ---- */

sa_error_t *sa_store_check_mapping(sa_work_t *work, const char **problem)
{
    const sa_mapping_t *mapping = &work->store->mapping;
    sa_rows_t *rows = NULL;

    int version = 0;

    *problem = NULL;
    sa_error_t *error = sa_store_schema_version(work, &version);
    if (!error && version) {
        error = sa_work_run_raw(work, SA_OP_SCHEMA_VERSION, NULL, 0, &rows);
    }
    if (!error && version && sa_rows_true(rows, 0, 1)) {
        *problem = apr_psprintf(work->pool, "The user table is %s, but " SA_DB_OTHER_TABLE ".",
                                mapping->users);
        return NULL;
    }
    if (!error) {
        error = columns(work, &rows);
    }
    if (error) {
        return error;
    }
    if (!rows->n) {
        *problem = apr_psprintf(work->pool, "The user table %s does not exist%s.",
                                mapping->users,
                                mapping->own ? ": " SA_DB_MIGRATE_HINT : "");
        return NULL;
    }
    for (int role = 0; role < SA_ROLE_COUNT; role++) {
        const char *name = mapping->columns[role];
        if (name && find_column(rows, name) < 0) {
            *problem = apr_psprintf(work->pool, "The user table %s has no column \"%s\" (%s).",
                                    mapping->users, name, sa_role_name((sa_role_t)role));
            return NULL;
        }
    }
    return NULL;
}
