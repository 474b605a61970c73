/* Stores and works: one mapping's statements, and one borrowed connection. */
#include "store/work.h"

#include "core/clock.h"

#include <apr_strings.h>
#include <string.h>

/* ---- store ---- */

sa_store_t *sa_store_make(apr_pool_t *p, const char *driver, const sa_user_map_t *map,
                          const char **why)
{
    const sa_dialect_t *dialect = !strcmp(driver, "pgsql") ? &sa_dialect_pgsql
                                  : !strcmp(driver, "sqlite3") ? &sa_dialect_sqlite : NULL;
    if (!dialect) {
        *why = apr_psprintf(p, "the database driver \"%s\" is not supported: "
                            "use pgsql or sqlite3", driver);
        return NULL;
    }

    sa_store_t *store = apr_pcalloc(p, sizeof(*store));
    *why = sa_mapping_make(&store->mapping, p, dialect, map);
    if (*why) {
        return NULL;
    }
    for (int op = 0; op < SA_OP_COUNT; op++) {
        store->statements[op] = sa_sql_statement(&store->mapping, p, &dialect->templates[op]);
    }
    return store;
}

int sa_store_is_own(const sa_store_t *store)
{
    return store->mapping.own;
}

/* ---- work ---- */

static const sa_backend_t *backend(const sa_work_t *work)
{
    return work->store->mapping.dialect->backend;
}

/* Remembers a failure that ends the work. */
static sa_error_t *note(sa_work_t *work, sa_error_t *error)
{
    if (error && error->kind != SA_E_CONFLICT) {
        work->dead = error;
    }
    return error;
}

static apr_status_t close_work(void *work)
{
    sa_work_close(work);
    return APR_SUCCESS;
}

sa_error_t *sa_work_open(sa_work_t **out, const sa_store_t *store, const sa_db_source_t *source,
                         apr_pool_t *p)
{
    sa_work_t *work = apr_pcalloc(p, sizeof(*work));

    *out = work;
    work->pool = p;
    work->store = store;
    work->source = source;
    work->db.pool = p;
    work->db.timeout_ms = source->timeout_ms;
    work->db.deadline = sa_steady_time() + apr_time_from_msec(source->timeout_ms);
    sa_error_t *error = source->acquire(source->ctx, p, work->db.deadline,
                                        &work->db.connection);
    if (error) {
        return note(work, error);
    }
    work->is_open = 1;
    apr_pool_cleanup_register(p, work, close_work, apr_pool_cleanup_null);
    if (strcmp(work->db.connection.driver, backend(work)->driver)) {
        return note(work, sa_error(p, SA_E_UNAVAILABLE, NULL, "database: a connection of driver "
                                   "%s where %s is needed", work->db.connection.driver,
                                   backend(work)->driver));
    }
    return note(work, backend(work)->ready(&work->db));
}

void sa_work_close(sa_work_t *work)
{
    if (!work || !work->is_open) {
        return;
    }
    apr_pool_cleanup_kill(work->pool, work, close_work);
    sa_work_rollback(work);
    work->is_open = 0;
    if (work->db.state) {
        backend(work)->leave(&work->db);
    }
    work->source->release(work->source->ctx, &work->db.connection, work->db.broken);
    if (!work->dead) {
        work->dead = sa_error(work->pool, SA_E_UNAVAILABLE, NULL, "database: closed work used");
    }
}

/* ---- schema, looked at once per connection ---- */

static sa_error_t *check_schema(sa_work_t *work)
{
    sa_rows_t *rows = NULL;

    sa_error_t *error = sa_work_run_raw(work, SA_OP_SCHEMA_VERSION, NULL, 0, &rows);
    if (error) {
        return error;
    }
    apr_int64_t version = rows->n ? sa_rows_number(rows, 0, 0) : 0;
    if (rows->n && sa_rows_true(rows, 0, 1)) {
        return note(work, sa_error(work->pool, SA_E_UNAVAILABLE, NULL, "database: the user table is "
                                   "%s, but " SA_DB_OTHER_TABLE, work->store->mapping.users));
    }
    if (version == SA_SCHEMA_VERSION) {
        *work->db.schema_known = 1;
        return NULL;
    }
    return note(work, sa_error(work->pool, SA_E_UNAVAILABLE, NULL,
                               "database: the schema is version %" APR_INT64_T_FMT
                               " and this build needs %d: %s", version, SA_SCHEMA_VERSION,
                               version < SA_SCHEMA_VERSION
                                   ? SA_DB_MIGRATE_HINT
                                   : "install the mod_social_auth that made it, whose "
                                     "socialauthctl can " SA_DB_MIGRATE_HINT));
}

static sa_error_t *usable_work(sa_work_t *work)
{
    if (work->dead) {
        return work->dead;
    }
    return *work->db.schema_known ? NULL : check_schema(work);
}

sa_error_t *sa_work_begin(sa_work_t *work)
{
    sa_error_t *error = usable_work(work);
    if (!error) {
        error = note(work, backend(work)->control(&work->db, SA_BEGIN));
    }
    work->db.in_transaction = !error;
    return error;
}

sa_error_t *sa_work_commit(sa_work_t *work)
{
    if (work->dead) {
        return work->dead;
    }
    sa_error_t *error = note(work, backend(work)->control(&work->db, SA_COMMIT));
    if (error) {
        sa_work_rollback(work);
    }
    work->db.in_transaction = 0;
    return error;
}

void sa_work_rollback(sa_work_t *work)
{
    if (!work->is_open || !work->db.in_transaction) {
        return;
    }
    work->db.in_transaction = 0;
    if (!work->db.broken) {
        note(work, backend(work)->control(&work->db, SA_ROLLBACK));
    }
}

/* ---- operations ---- */

sa_error_t *sa_work_run_raw(sa_work_t *work, sa_op_t op, const sa_param_t *params, int n,
                            sa_rows_t **rows)
{
    if (work->dead) {
        return work->dead;
    }
    return note(work, backend(work)->run(&work->db, work->store->statements[op], params, n,
                                         rows));
}

sa_error_t *sa_work_run(sa_work_t *work, sa_op_t op, const sa_param_t *params, int n,
                        sa_rows_t **rows)
{
    sa_error_t *error = usable_work(work);
    return error ? error : sa_work_run_raw(work, op, params, n, rows);
}

int sa_work_is_key(const sa_work_t *work, const char *user_id)
{
    if (!user_id || !*user_id) {
        return 0;
    }
    if (!work->store->mapping.own) {
        return 1;
    }
    return strlen(user_id) <= 18 && user_id[strspn(user_id, "0123456789")] == '\0';
}

void sa_event_params(sa_param_t *params, const sa_event_t *event)
{
    static const sa_event_t none;

    if (!event) {
        event = &none;
    }
    params[0] = sa_text(event->id);
    params[1] = sa_text(event->type);
    params[2] = sa_text(event->provider);
    params[3] = sa_text(event->address);
    params[4] = sa_text(event->request_id);
    params[5] = sa_number(event->time);
    params[6] = sa_text(event->targets && *event->targets ? event->targets : NULL);
}

void sa_session_params(sa_param_t *params, const sa_session_t *session)
{
    params[0] = sa_text(session->sid);
    params[1] = sa_text(session->jti);
    params[2] = sa_number(session->iat);
    params[3] = sa_number(session->exp);
    params[4] = sa_number(session->expires);
    params[5] = sa_number(session->auth_time);
    params[6] = sa_text(session->amr);
    params[7] = sa_text(session->mount);
    params[8] = sa_text(session->client_id);
    params[9] = sa_text(session->scope);
}

sa_user_t *sa_user_from_row(sa_work_t *work, const sa_rows_t *rows, int row, int column)
{
    sa_user_t *user = apr_pcalloc(work->pool, sizeof(*user));

    user->id = sa_rows_text(rows, row, column);
    user->id_is_integer = rows->integer[column];
    user->email = sa_rows_text(rows, row, column + 1);
    user->username = sa_rows_text(rows, row, column + 2);
    user->first_name = sa_rows_text(rows, row, column + 3);
    user->last_name = sa_rows_text(rows, row, column + 4);
    user->password = sa_rows_text(rows, row, column + 5);
    user->usable = sa_rows_true(rows, row, column + 6);
    user->email_verified = sa_rows_true(rows, row, column + 7);
    user->is_staff = sa_rows_true(rows, row, column + 8);
    user->is_superuser = sa_rows_true(rows, row, column + 9);
    user->was_new = sa_rows_true(rows, row, column + 10);
    return user;
}

sa_session_t *sa_session_from_row(sa_work_t *work, const sa_rows_t *rows, int row, int column)
{
    sa_session_t *session = apr_pcalloc(work->pool, sizeof(*session));

    session->sid = sa_rows_text(rows, row, column);
    session->user_id = sa_rows_text(rows, row, column + 1);
    session->jti = sa_rows_text(rows, row, column + 2);
    session->iat = sa_rows_number(rows, row, column + 3);
    session->exp = sa_rows_number(rows, row, column + 4);
    session->expires = sa_rows_number(rows, row, column + 5);
    session->auth_time = sa_rows_number(rows, row, column + 6);
    session->amr = sa_rows_text(rows, row, column + 7);
    session->mount = sa_rows_text(rows, row, column + 8);
    session->client_id = sa_rows_text(rows, row, column + 9);
    session->scope = sa_rows_text(rows, row, column + 10);
    return session;
}
