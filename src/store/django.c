/* Django's tables as its migrations make them, and user tables of the site's own whose
 * columns are found by name. */
#include "store/django.h"
#include "store/work.h"

#include <apr_strings.h>
#include <string.h>

struct sa_django_t {
    sa_work_t *work;
    sa_store_t store;
};

/* Names that user models give to a column, the likeliest first. */
static const char *const names[SA_ROLE_COUNT] = {
    [SA_ROLE_EMAIL] = "email mail email_address",
    [SA_ROLE_USERNAME] = "username user_name login",
    [SA_ROLE_FIRST_NAME] = "first_name given_name given firstname",
    [SA_ROLE_LAST_NAME] = "last_name family_name family surname lastname",
    [SA_ROLE_PASSWORD] = "password",
    [SA_ROLE_IS_ACTIVE] = "is_active active",
    [SA_ROLE_IS_STAFF] = "is_staff staff is_admin",
    [SA_ROLE_IS_SUPERUSER] = "is_superuser superuser",
    [SA_ROLE_DATE_JOINED] = "date_joined joined joined_at created_at created date_created",
    [SA_ROLE_LAST_LOGIN] = "last_login",
};

/* ---- asking ---- */

static int is_pgsql(const sa_django_t *django)
{
    return django->store.mapping.dialect == &sa_dialect_pgsql;
}

static sa_error_t *ask(sa_django_t *django, const char *sql, const char *parameter,
                       sa_rows_t **rows)
{
    const sa_template_t template = { "Django's tables", SA_STATEMENT_READS, sql };
    const sa_param_t params[] = { sa_text(parameter) };
    const sa_mapping_t *mapping = &django->store.mapping;
    sa_work_t *work = django->work;

    return mapping->dialect->backend->run(
        &work->db, sa_sql_statement(mapping, work->pool, &template), params, parameter ? 1 : 0,
        rows);
}

static sa_error_t *wrong(const sa_django_t *django, const char *table, const char *what)
{
    return sa_error(django->work->pool, SA_E_UNAVAILABLE, NULL, "Django's table %s %s", table,
                    what);
}

/* Columns of a table as rows of name, whether it is the key; none when there is no such table. */
static sa_error_t *columns_of(sa_django_t *django, const char *table, sa_rows_t **rows)
{
    const char *sql = is_pgsql(django)
        ? "SELECT a.attname, EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = a.attrelid "
          "AND i.indisprimary AND a.attnum = ANY (i.indkey)) FROM pg_attribute a "
          "WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped"
        : "SELECT name, pk > 0 FROM pragma_table_info(trim($1, '\"'))";

    return ask(django, sql, table, rows);
}

static int has_column(const sa_rows_t *rows, const char *name, apr_size_t len)
{
    for (int row = 0; row < rows->n; row++) {
        const char *column = sa_rows_text(rows, row, 0);
        if (strlen(column) == len && !memcmp(column, name, len)) {
            return 1;
        }
    }
    return 0;
}

static sa_error_t *table_exists(sa_django_t *django, const char *table, int *exists)
{
    sa_rows_t *rows = NULL;
    sa_error_t *error = columns_of(django, table, &rows);

    *exists = !error && rows->n > 0;
    return error;
}

/* ---- the user table ---- */

static const char *find_column(apr_pool_t *p, const sa_rows_t *rows, const char *candidates)
{
    for (const char *name = candidates; name && *name; name += strspn(name, " ")) {
        apr_size_t len = strcspn(name, " ");
        if (has_column(rows, name, len)) {
            return apr_pstrmemdup(p, name, len);
        }
        name += len;
    }
    return NULL;
}

static sa_error_t *look_at_users(sa_django_t *django)
{
    sa_mapping_t *mapping = &django->store.mapping;
    sa_rows_t *rows = NULL;
    sa_error_t *error = columns_of(django, mapping->users, &rows);

    if (error) {
        return error;
    }
    if (!rows->n) {
        return wrong(django, mapping->users, "is not there: say --from-user-table");
    }
    for (int role = 0; role < SA_ROLE_COUNT; role++) {
        mapping->columns[role] = find_column(django->work->pool, rows, names[role]);
    }
    for (int row = 0; row < rows->n; row++) {
        if (sa_rows_true(rows, row, 1)) {
            mapping->columns[SA_ROLE_ID] = sa_rows_text(rows, row, 0);
        }
    }
    if (!mapping->columns[SA_ROLE_ID]) {
        return wrong(django, mapping->users, "has no primary key");
    }
    return mapping->columns[SA_ROLE_EMAIL] || mapping->columns[SA_ROLE_USERNAME]
           ? NULL : wrong(django, mapping->users, "has neither an e-mail nor a user name column");
}

static const char *quoted(const sa_django_t *django, sa_role_t role)
{
    const char *column = django->store.mapping.columns[role];

    return column ? apr_pstrcat(django->work->pool, "u.\"", column, "\"", NULL) : "NULL";
}

static const char *time_of(const sa_django_t *django, sa_role_t role)
{
    const char *column = quoted(django, role);

    if (!strcmp(column, "NULL")) {
        return column;
    }
    return is_pgsql(django)
           ? apr_pstrcat(django->work->pool, "floor(extract(epoch FROM ", column, "))::bigint",
                         NULL)
           : apr_pstrcat(django->work->pool, "CAST(strftime('%s', ", column, ") AS INTEGER)",
                         NULL);
}

static sa_error_t *users_sql(sa_django_t *django, const char **sql)
{
    apr_pool_t *p = django->work->pool;
    const char *id = quoted(django, SA_ROLE_ID), *email = quoted(django, SA_ROLE_EMAIL);
    int has_allauth;

    sa_error_t *error = table_exists(django, "account_emailaddress", &has_allauth);
    const char *verified = has_allauth && django->store.mapping.columns[SA_ROLE_EMAIL]
        ? apr_pstrcat(p, "EXISTS (SELECT 1 FROM account_emailaddress a WHERE a.user_id = ", id,
                      " AND lower(a.email) = lower(", email, ") AND a.verified)", NULL)
        : is_pgsql(django) ? "false" : "0";
    *sql = apr_pstrcat(p, "SELECT ", id, ", ", email, ", ", quoted(django, SA_ROLE_USERNAME), ", ",
                       quoted(django, SA_ROLE_FIRST_NAME), ", ",
                       quoted(django, SA_ROLE_LAST_NAME), ", ", quoted(django, SA_ROLE_PASSWORD),
                       ", {u.is_active}, {u.is_staff}, {u.is_superuser}, ", verified, ", ",
                       time_of(django, SA_ROLE_DATE_JOINED), ", ",
                       time_of(django, SA_ROLE_LAST_LOGIN), 
                       " FROM {users} AS u ORDER BY 10 DESC, 1", NULL);
    return error;
}

sa_error_t *sa_django_users(sa_django_t *django, apr_array_header_t **users)
{
    const char *sql = NULL;
    sa_rows_t *rows = NULL;
    int has_name = django->store.mapping.columns[SA_ROLE_USERNAME] != NULL;

    *users = apr_array_make(django->work->pool, 64, sizeof(sa_django_user_t));
    sa_error_t *error = users_sql(django, &sql);
    if (!error) {
        error = ask(django, sql, NULL, &rows);
    }
    for (int row = 0; !error && row < rows->n; row++) {
        APR_ARRAY_PUSH(*users, sa_django_user_t) = (sa_django_user_t) {
            .id = sa_rows_text(rows, row, 0), .id_is_integer = rows->integer[0],
            .email = sa_rows_text(rows, row, 1), .username = sa_rows_text(rows, row, has_name + 1),
            .first_name = sa_rows_text(rows, row, 3), .last_name = sa_rows_text(rows, row, 4),
            .password = sa_rows_text(rows, row, 5), .is_active = sa_rows_true(rows, row, 6),
            .is_staff = sa_rows_true(rows, row, 7), .is_superuser = sa_rows_true(rows, row, 8),
            .email_verified = sa_rows_true(rows, row, 9),
            .date_joined = sa_rows_number(rows, row, 10),
            .last_login = sa_rows_number(rows, row, 11),
        };
    }
    return error;
}

/* ---- the packages' tables ---- */

/* Asks a table that may not be there; *rows NULL then. */
static sa_error_t *ask_table(sa_django_t *django, const char *table, const char *columns,
                             sa_rows_t **rows)
{
    int exists;
    sa_error_t *error = table_exists(django, table, &exists);

    *rows = NULL;
    if (error || !exists) {
        return error;
    }
    return ask(django, apr_psprintf(django->work->pool, "SELECT %s FROM %s ORDER BY id", columns,
                                    table), NULL, rows);
}

sa_error_t *sa_django_links(sa_django_t *django, apr_array_header_t **links)
{
    static const struct {
        const char *table, *columns;
    } tables[] = {
        { "social_auth_usersocialauth", "user_id, provider, uid" },
        { "socialaccount_socialaccount", "user_id, provider, uid" },
        { "django_social_auth_rest_socialaccountlinked", "user_id, provider, provider_user_id" },
    };
    sa_error_t *error = NULL;

    *links = apr_array_make(django->work->pool, 64, sizeof(sa_django_link_t));
    for (int i = 0; !error && i < SA_COUNT_OF(tables); i++) {
        sa_rows_t *rows;
        error = ask_table(django, tables[i].table, tables[i].columns, &rows);
        for (int row = 0; !error && rows && row < rows->n; row++) {
            APR_ARRAY_PUSH(*links, sa_django_link_t) = (sa_django_link_t) {
                .user_id = sa_rows_text(rows, row, 0), .provider = sa_rows_text(rows, row, 1),
                .uid = sa_rows_text(rows, row, 2), .table = tables[i].table,
            };
        }
    }
    return error;
}

sa_error_t *sa_django_applications(sa_django_t *django, apr_array_header_t **applications)
{
    sa_rows_t *rows;
    sa_error_t *error = ask_table(django, "oauth2_provider_application",
                                  "client_id, name, client_secret, client_type, "
                                  "authorization_grant_type, redirect_uris, user_id, "
                                  "skip_authorization", &rows);

    *applications = apr_array_make(django->work->pool, 8, sizeof(sa_django_application_t));
    for (int row = 0; !error && rows && row < rows->n; row++) {
        APR_ARRAY_PUSH(*applications, sa_django_application_t) = (sa_django_application_t) {
            .client_id = sa_rows_text(rows, row, 0), .name = sa_rows_text(rows, row, 1),
            .secret = sa_rows_text(rows, row, 2), .client_type = sa_rows_text(rows, row, 3),
            .grant = sa_rows_text(rows, row, 4), .redirect_uris = sa_rows_text(rows, row, 5),
            .user_id = sa_rows_text(rows, row, 6), .trusted = sa_rows_true(rows, row, 7),
        };
    }
    return error;
}

/* ---- opening ---- */

static sa_error_t *begin(sa_django_t *django)
{
    const char *sql = is_pgsql(django) ? "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
                                       : "BEGIN";
    sa_work_t *work = django->work;
    sa_error_t *error = django->store.mapping.dialect->backend->script(&work->db, sql);

    work->db.in_transaction = !error;
    return error;
}

sa_error_t *sa_django_open(sa_django_t **out, const char *driver, const char *user_table,
                           const sa_db_source_t *source, apr_pool_t *p)
{
    const sa_user_map_t map = { .table = user_table };
    sa_django_t *django = apr_pcalloc(p, sizeof(*django));
    const sa_dialect_t *dialect = !strcmp(driver, "pgsql") ? &sa_dialect_pgsql
                                                           : &sa_dialect_sqlite;

    *out = django;
    const char *why = sa_mapping_make(&django->store.mapping, p, dialect, &map);
    if (why) {
        return sa_error(p, SA_E_UNAVAILABLE, NULL, "--from-user-table: %s", why);
    }
    sa_error_t *error = sa_work_open(&django->work, &django->store, source, p);
    if (!error) {
        error = begin(django);
    }
    return error ? error : look_at_users(django);
}

void sa_django_close(sa_django_t *django)
{
    sa_work_close(django->work);
}
