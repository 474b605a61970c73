#include "store/sql.h"

#include <apr_strings.h>
#include <string.h>

typedef enum { KIND_KEY, KIND_TEXT, KIND_FLAG, KIND_TIME } kind_t;

static const struct {
    const char *name;
    kind_t kind;
    const char *django;         /* the column's name when the mapping does not say */
} roles[SA_ROLE_COUNT] = {
    [SA_ROLE_ID] = { "id", KIND_KEY, "id" },
    [SA_ROLE_EMAIL] = { "email", KIND_TEXT, "email" },
    [SA_ROLE_USERNAME] = { "username", KIND_TEXT, "username" },
    [SA_ROLE_FIRST_NAME] = { "first_name", KIND_TEXT, "first_name" },
    [SA_ROLE_LAST_NAME] = { "last_name", KIND_TEXT, "last_name" },
    [SA_ROLE_PASSWORD] = { "password", KIND_TEXT, "password" },
    [SA_ROLE_IS_ACTIVE] = { "is_active", KIND_FLAG, "is_active" },
    [SA_ROLE_IS_STAFF] = { "is_staff", KIND_FLAG, "is_staff" },
    [SA_ROLE_IS_SUPERUSER] = { "is_superuser", KIND_FLAG, "is_superuser" },
    [SA_ROLE_EMAIL_VERIFIED] = { "email_verified", KIND_FLAG, NULL },
    [SA_ROLE_DATE_JOINED] = { "date_joined", KIND_TIME, "date_joined" },
    [SA_ROLE_LAST_LOGIN] = { "last_login", KIND_TIME, "last_login" },
    [SA_ROLE_DELETED] = { "deleted", KIND_FLAG, NULL },
};

const char *sa_role_name(sa_role_t role)
{
    return roles[role].name;
}

/* ---- mapping ---- */

static int is_identifier(const char *name, apr_size_t len)
{
    static const char first[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
    static const char rest[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz0123456789$";

    return len >= 1 && len <= 63 && strchr(first, *name) && strspn(name, rest) >= len;
}

static const char *map_table(sa_mapping_t *mapping, apr_pool_t *p, const char *name)
{
    const char *dot = strchr(name, '.');
    const char *table = dot ? dot + 1 : name;

    if ((dot && !is_identifier(name, dot - name)) || !is_identifier(table, strlen(table))) {
        return apr_psprintf(p, "the user table's name \"%s\" is not an SQL identifier "
                            "(name or schema.name)", name);
    }
    mapping->schema = dot ? apr_pstrmemdup(p, name, dot - name) : NULL;
    mapping->table = apr_pstrdup(p, table);
    mapping->users = dot ? apr_pstrcat(p, "\"", mapping->schema, "\".\"", table, "\"", NULL)
                         : apr_pstrcat(p, "\"", table, "\"", NULL);
    return NULL;
}

static const char *map_column(sa_mapping_t *mapping, apr_pool_t *p, sa_role_t role,
                              const char *name)
{
    if (!name) {
        name = roles[role].django;
    }
    if (!name || !*name) {
        mapping->columns[role] = NULL;
        return role == SA_ROLE_ID ? "the user table needs a key column (id)" : NULL;
    }
    if (!is_identifier(name, strlen(name))) {
        return apr_psprintf(p, "the column name \"%s\" for %s is not an SQL identifier", name,
                            roles[role].name);
    }
    mapping->columns[role] = apr_pstrdup(p, name);
    return NULL;
}

static const sa_user_map_t own_table = {
    .table = "sa_users", .email_verified = "email_verified", .deleted = "deleted_at",
};

const char *sa_mapping_make(sa_mapping_t *mapping, apr_pool_t *p, const sa_dialect_t *dialect,
                            const sa_user_map_t *map)
{
    memset(mapping, 0, sizeof(*mapping));
    mapping->dialect = dialect;
    mapping->own = !map || !map->table;
    if (mapping->own) {
        map = &own_table;
    }
    const char *names[SA_ROLE_COUNT] = {
        map->id, map->email, map->username, map->first_name, map->last_name, map->password,
        map->is_active, map->is_staff, map->is_superuser, map->email_verified,
        map->date_joined, map->last_login, map->deleted,
    };

    const char *problem = map_table(mapping, p, map->table);
    for (int role = 0; !problem && role < SA_ROLE_COUNT; role++) {
        problem = map_column(mapping, p, (sa_role_t)role, names[role]);
    }
    return problem;
}

/* ---- templates ---- */

static const char *replace(apr_pool_t *p, const char *format, const char *value)
{
    const char *at = strstr(format, "%s");
    return apr_pstrcat(p, apr_pstrmemdup(p, format, at - format), value, at + 2, NULL);
}

static const char *column(const sa_mapping_t *mapping, apr_pool_t *p, sa_role_t role)
{
    return apr_pstrcat(p, "u.\"", mapping->columns[role], "\"", NULL);
}

static const char *constant(const sa_mapping_t *mapping, sa_role_t role)
{
    if (role == SA_ROLE_IS_ACTIVE) {
        return mapping->dialect->yes;
    }
    return roles[role].kind == KIND_FLAG ? mapping->dialect->no : "''";
}

/* The column's value as the rest of a template may use it: text never NULL, flags boolean. */
static const char *value(const sa_mapping_t *mapping, apr_pool_t *p, sa_role_t role)
{
    if (!mapping->columns[role]) {
        return constant(mapping, role);
    }
    const char *name = column(mapping, p, role);
    if (roles[role].kind == KIND_FLAG) {
        return mapping->own && role != SA_ROLE_DELETED
                   ? name : replace(p, mapping->dialect->truthy, name);
    }
    if (roles[role].kind == KIND_TEXT && role != SA_ROLE_EMAIL) {
        return apr_pstrcat(p, "COALESCE(", name, ", '')", NULL);
    }
    return name;
}

static const char *usable(const sa_mapping_t *mapping, apr_pool_t *p)
{
    const char *active = value(mapping, p, SA_ROLE_IS_ACTIVE);

    if (!mapping->columns[SA_ROLE_DELETED]) {
        return apr_pstrcat(p, "(", active, ")", NULL);
    }
    if (mapping->own) {
        return apr_pstrcat(p, "(", active, " AND ", column(mapping, p, SA_ROLE_DELETED),
                           " IS NULL)", NULL);
    }
    return apr_pstrcat(p, "(", active, " AND NOT ", value(mapping, p, SA_ROLE_DELETED), ")",
                       NULL);
}

static const char *is_new(const sa_mapping_t *mapping, apr_pool_t *p)
{
    return mapping->columns[SA_ROLE_LAST_LOGIN]
               ? apr_pstrcat(p, "(", column(mapping, p, SA_ROLE_LAST_LOGIN), " IS NULL)", NULL)
               : mapping->dialect->no;
}

static const char *user_columns(const sa_mapping_t *mapping, apr_pool_t *p)
{
    const char *email = mapping->columns[SA_ROLE_EMAIL]
        ? apr_pstrcat(p, "NULLIF(", column(mapping, p, SA_ROLE_EMAIL), ", '')", NULL)
        : "NULL";

    return apr_pstrcat(p, column(mapping, p, SA_ROLE_ID), " AS uid, ", email, " AS u_email, ",
                       value(mapping, p, SA_ROLE_USERNAME), " AS u_username, ",
                       value(mapping, p, SA_ROLE_FIRST_NAME), " AS u_first, ",
                       value(mapping, p, SA_ROLE_LAST_NAME), " AS u_last, ",
                       value(mapping, p, SA_ROLE_PASSWORD), " AS u_password, ",
                       usable(mapping, p), " AS usable, ",
                       value(mapping, p, SA_ROLE_EMAIL_VERIFIED), " AS u_verified, ",
                       value(mapping, p, SA_ROLE_IS_STAFF), " AS u_staff, ",
                       value(mapping, p, SA_ROLE_IS_SUPERUSER), " AS u_superuser, ",
                       is_new(mapping, p), " AS u_new", NULL);
}

#define USER_OUT "uid, u_email, u_username, u_first, u_last, u_password, usable, u_verified, " \
                 "u_staff, u_superuser, u_new"

static const char *email_is(const sa_mapping_t *mapping, apr_pool_t *p, const char *what)
{
    if (!mapping->columns[SA_ROLE_EMAIL]) {
        return mapping->dialect->no;
    }
    const char *name = column(mapping, p, SA_ROLE_EMAIL);
    if (mapping->own) {
        return apr_pstrcat(p, name, " = ", what, NULL);
    }
    return replace(p, replace(p, mapping->dialect->email_is, name), what);
}

static int role_of(const char *name, apr_size_t len)
{
    for (int role = 0; role < SA_ROLE_COUNT; role++) {
        if (strlen(roles[role].name) == len && !memcmp(roles[role].name, name, len)) {
            return role;
        }
    }
    return -1;
}

/* "a=x|b=y": joins the names (what 'n'), the values ('v') or both ('b') of the roles there are. */
static const char *pairs(const sa_mapping_t *mapping, apr_pool_t *p, const char *list, char what)
{
    char *last = NULL;
    const char *out = "";

    for (char *pair = apr_strtok(apr_pstrdup(p, list), "|", &last); pair;
         pair = apr_strtok(NULL, "|", &last)) {
        char *equals = strchr(pair, '=');
        int role = role_of(pair, equals - pair);
        if (role < 0 || !mapping->columns[role]) {
            continue;
        }
        const char *name = apr_pstrcat(p, "\"", mapping->columns[role], "\"", NULL);
        const char *item = what == 'n' ? name : what == 'v' ? equals + 1
                           : apr_pstrcat(p, name, " = ", equals + 1, NULL);
        out = apr_pstrcat(p, out, *out ? ", " : "", item, NULL);
    }
    return out;
}

static const char *set(const sa_mapping_t *mapping, apr_pool_t *p, const char *list)
{
    const char *out = pairs(mapping, p, list, 'b');
    const char *id = mapping->columns[SA_ROLE_ID];
    return *out ? out : apr_pstrcat(p, "\"", id, "\" = \"", id, "\"", NULL);
}

/* A hash of a format that sa_password_verify knows: no other lets anybody in. */
static const char *has_password(apr_pool_t *p, const char *password)
{
    return apr_pstrcat(p, "(substr(", password, ", 1, 7) IN ('argon2$', 'scrypt$') OR substr(",
                       password, ", 1, 14) IN ('pbkdf2_sha256$', 'bcrypt_sha256$'))", NULL);
}

static const char *expand_one(const sa_mapping_t *mapping, apr_pool_t *p, const char *word)
{
    if (!strncmp(word, "u.", 2)) {
        return value(mapping, p, (sa_role_t)role_of(word + 2, strlen(word + 2)));
    }
    if (!strncmp(word, "email_is ", 9)) {
        return email_is(mapping, p, word + 9);
    }
    if (!strncmp(word, "is username ", 12)) {
        return mapping->columns[SA_ROLE_USERNAME]
                   ? apr_pstrcat(p, column(mapping, p, SA_ROLE_USERNAME), " = ", word + 12, NULL)
                   : mapping->dialect->no;
    }
    if (!strncmp(word, "insert ", 7)) {
        return apr_pstrcat(p, "(", pairs(mapping, p, word + 7, 'n'), ") SELECT ",
                           pairs(mapping, p, word + 7, 'v'), NULL);
    }
    if (!strncmp(word, "set ", 4)) {
        return set(mapping, p, word + 4);
    }
    if (!strcmp(word, "has_password")) {
        return has_password(p, value(mapping, p, SA_ROLE_PASSWORD));
    }
    return !strcmp(word, "users") ? mapping->users
           : !strcmp(word, "id") ? apr_pstrcat(p, "\"", mapping->columns[SA_ROLE_ID], "\"", NULL)
           : !strcmp(word, "user") ? user_columns(mapping, p)
           : !strcmp(word, "out") ? USER_OUT
           : !strcmp(word, "usable") ? usable(mapping, p)
           : !strcmp(word, "is_new") ? is_new(mapping, p)
           : !strcmp(word, "table") ? mapping->table
           : mapping->key_type;
}

const char *sa_sql_expand(const sa_mapping_t *mapping, apr_pool_t *p, const char *template)
{
    apr_array_header_t *out = apr_array_make(p, 32, sizeof(const char *));

    for (const char *open; (open = strchr(template, '{')); ) {
        const char *close = strchr(open, '}');
        APR_ARRAY_PUSH(out, const char *) = apr_pstrmemdup(p, template, open - template);
        APR_ARRAY_PUSH(out, const char *) =
            expand_one(mapping, p, apr_pstrmemdup(p, open + 1, close - open - 1));
        template = close + 1;
    }
    APR_ARRAY_PUSH(out, const char *) = template;
    return apr_array_pstrcat(p, out, 0);
}

/* ---- statements ---- */

/* FNV-1a: names differ where the SQL differs. */
static const char *statement_name(apr_pool_t *p, const char *sql)
{
    apr_uint64_t hash = APR_UINT64_C(14695981039346656037);

    for (const unsigned char *c = (const unsigned char *)sql; *c; c++) {
        hash = (hash ^ *c) * APR_UINT64_C(1099511628211);
    }
    return apr_psprintf(p, "sa_%016" APR_UINT64_T_HEX_FMT, hash);
}

sa_statement_t *sa_sql_statement(const sa_mapping_t *mapping, apr_pool_t *p,
                                 const sa_template_t *template)
{
    sa_statement_t *statement = apr_pcalloc(p, sizeof(*statement));
    apr_array_header_t *parts = apr_array_make(p, 4, sizeof(const char *));
    const char *sql = sa_sql_expand(mapping, p, template->sql);
    char *last = NULL;

    statement->op = template->name;
    statement->flags = template->flags;
    statement->name = statement_name(p, sql);
    for (char *part = apr_strtok(apr_pstrdup(p, sql), ";", &last); part;
         part = apr_strtok(NULL, ";", &last)) {
        APR_ARRAY_PUSH(parts, const char *) = part + strspn(part, " ");
    }
    APR_ARRAY_PUSH(parts, const char *) = NULL;
    statement->parts = (void *)parts->elts;
    return statement;
}
