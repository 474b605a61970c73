/* Users: finding, making, passwords. */
#include "store/work.h"

#include "core/crypto.h"
#include "core/text.h"
#include <apr_strings.h>
#include <stdlib.h>
#include <string.h>

static sa_user_t *only_user(sa_work_t *work, const sa_rows_t *rows)
{
    return rows->n == 1 ? sa_user_from_row(work, rows, 0, 0) : NULL;
}

/* ---- finding ---- */

sa_error_t *sa_store_user_by_email(sa_work_t *work, const char *email, const char *issuer,
                                   sa_email_match_t *match)
{
    const sa_param_t params[] = { sa_text(email), sa_text(issuer) };
    sa_rows_t *rows = NULL;
    sa_error_t *error = NULL;

    memset(match, 0, sizeof(*match));
    if (work->db.in_transaction && !work->store->mapping.own) {
        /* The site's table may have no unique e-mail: two first logins queue up here, so that
         * the second sees the first one's user. */
        error = sa_work_run(work, SA_OP_EMAIL_LOCK, params, 1, &rows);
    }
    if (!error) {
        error = sa_work_run(work, SA_OP_USER_BY_EMAIL, params, SA_COUNT_OF(params), &rows);
    }
    if (error) {
        return error;
    }
    match->count = rows->n;
    match->user = only_user(work, rows);
    match->has_issuer = match->user && sa_rows_true(rows, 0, SA_USER_COLUMNS);
    return NULL;
}

sa_error_t *sa_store_user_by_login(sa_work_t *work, const char *email, const char *username,
                                   sa_user_t **user)
{
    const sa_param_t params[] = { sa_text(email), sa_text(username) };
    sa_rows_t *rows = NULL;
    int by_email = 0;

    *user = NULL;
    sa_error_t *error = sa_work_run(work, SA_OP_USER_BY_LOGIN, params, SA_COUNT_OF(params),
                                    &rows);
    if (error || !rows->n) {
        return error;
    }
    /* Rows found by e-mail come first. A user name that looks like somebody's address neither
     * signs in for them nor keeps them out. */
    for (int row = 0; row < rows->n; row++) {
        by_email += sa_rows_true(rows, row, SA_USER_COLUMNS);
    }
    if (by_email == 1 || rows->n == 1) {
        *user = sa_user_from_row(work, rows, 0, 0);
    }
    return NULL;
}

sa_error_t *sa_store_user_by_id(sa_work_t *work, const char *user_id, sa_user_t **user)
{
    const sa_param_t params[] = { sa_column(user_id) };
    sa_rows_t *rows = NULL;

    *user = NULL;
    if (!sa_work_is_key(work, user_id)) {
        return NULL;
    }
    sa_error_t *error = sa_work_run(work, SA_OP_USER_BY_ID, params, SA_COUNT_OF(params), &rows);
    if (!error) {
        *user = only_user(work, rows);
    }
    return error;
}

/* ---- making ---- */

/* What the site's own table wants of an INSERT. */
typedef struct {
    const char *id;             /* NULL when the table makes its keys itself */
    const char *deleted;        /* "0" where the column may not be NULL, else NULL */
    const char *no_email;       /* "" where the column may not be NULL, else NULL */
    int username_max, first_name_max, last_name_max;    /* characters; 0 = any number */
} wants_t;

static const char *new_key(sa_work_t *work, const char *type)
{
    char *uuid = sa_random_uuid(work->pool);

    if (uuid && strstr(type, "(32)")) {         /* Django keeps UUIDs in 32 hex digits here */
        char *to = uuid;
        for (const char *from = uuid; *from; from++) {
            if (*from != '-') {
                *to++ = *from;
            }
        }
        *to = '\0';
    }
    return uuid;
}

static int makes_keys(const sa_rows_t *rows, int row)
{
    const char *type = sa_rows_text(rows, row, 1);
    return sa_rows_true(rows, row, 3) || strstr(type, "int") || strstr(type, "INT");
}

/* n of "varchar(n)" or "character varying(n)", 0 of other types. */
static int longest_text(const char *type)
{
    const char *bracket = strchr(type, '(');

    return bracket && (strstr(type, "char") || strstr(type, "CHAR")) ? atoi(bracket + 1) : 0;
}

static void look_at_column(sa_work_t *work, const sa_rows_t *rows, int row, sa_role_t role,
                           wants_t *wants)
{
    const char *type = sa_rows_text(rows, row, 1);
    int is_required = sa_rows_true(rows, row, 2);

    switch (role) {
    case SA_ROLE_ID:
        wants->id = makes_keys(rows, row) ? NULL : new_key(work, type);
        break;
    case SA_ROLE_DELETED:
        wants->deleted = is_required ? "0" : NULL;
        break;
    case SA_ROLE_EMAIL:
        wants->no_email = is_required ? "" : NULL;
        break;
    case SA_ROLE_USERNAME:
        wants->username_max = longest_text(type);
        break;
    case SA_ROLE_FIRST_NAME:
        wants->first_name_max = longest_text(type);
        break;
    case SA_ROLE_LAST_NAME:
        wants->last_name_max = longest_text(type);
        break;
    default:
        break;
    }
}

static sa_error_t *look_at_table(sa_work_t *work, wants_t *wants)
{
    const sa_mapping_t *mapping = &work->store->mapping;
    const sa_param_t params[] = { sa_text(mapping->users), sa_text(mapping->table),
                                  sa_text(mapping->schema) };
    sa_rows_t *rows = NULL;

    sa_error_t *error = sa_work_run(work, SA_OP_COLUMNS, params, SA_COUNT_OF(params), &rows);
    for (int row = 0; !error && row < rows->n; row++) {
        const char *name = sa_rows_text(rows, row, 0);
        for (int role = 0; role < SA_ROLE_COUNT; role++) {
            if (mapping->columns[role] && !strcmp(name, mapping->columns[role])) {
                look_at_column(work, rows, row, (sa_role_t)role, wants);
            }
        }
    }
    return error;
}

/* `text` and `suffix` in at most max characters, of which the suffix keeps all. */
static const char *fit(apr_pool_t *p, const char *text, const char *suffix, int max)
{
    int left = max - (int)strlen(suffix);

    if (max > 0) {
        text = apr_pstrmemdup(p, text, sa_utf8_prefix(text, left > 0 ? left : 0));
    }
    return *suffix ? apr_pstrcat(p, text, suffix, NULL) : text;
}

static const char *suffix_of(const sa_new_user_t *user)
{
    return user->username_suffix ? user->username_suffix : "";
}

static sa_error_t *insert_user(sa_work_t *work, const sa_new_user_t *user, apr_int64_t now,
                               const wants_t *wants, const char **id)
{
    apr_pool_t *p = work->pool;
    const char *first = user->first_name ? user->first_name : "";
    const char *last = user->last_name ? user->last_name : "";
    const sa_param_t params[] = {
        sa_column(wants->id), sa_text(user->email ? user->email : wants->no_email),
        sa_text(fit(p, user->username, suffix_of(user), wants->username_max)),
        sa_text(fit(p, first, "", wants->first_name_max)),
        sa_text(fit(p, last, "", wants->last_name_max)),
        sa_text(user->password ? user->password : ""),
        sa_flag(user->is_active), sa_flag(user->is_staff), sa_flag(user->is_superuser),
        sa_flag(user->email_verified), sa_number(now), sa_column(wants->deleted),
        sa_text(user->email),
        sa_number(user->last_login),
    };
    sa_op_t op = wants->id ? SA_OP_CREATE_USER_KEYED : SA_OP_CREATE_USER;
    sa_rows_t *rows = NULL;

    sa_error_t *error = sa_work_run(work, op, params, SA_COUNT_OF(params), &rows);
    *id = !error && rows->n ? sa_rows_text(rows, 0, 0) : NULL;
    return error;
}

static sa_error_t *who_took(sa_work_t *work, const sa_new_user_t *user, const wants_t *wants,
                            const char **taken)
{
    const sa_param_t params[] = {
        sa_text(user->email),
        sa_text(fit(work->pool, user->username, suffix_of(user), wants->username_max)),
    };
    sa_rows_t *rows = NULL;

    sa_error_t *error = sa_work_run(work, SA_OP_TAKEN, params, SA_COUNT_OF(params), &rows);
    if (error) {
        return error;
    }
    *taken = sa_rows_true(rows, 0, 0) ? "email" : sa_rows_true(rows, 0, 1) ? "username" : NULL;
    if (!*taken && !user->email && wants->no_email) {
        return sa_error(work->pool, SA_E_UNAVAILABLE, NULL, "database: new user: the e-mail column "
                        "is NOT NULL and UNIQUE, so that only one user can be without an address");
    }
    return *taken ? NULL
                  : sa_error(work->pool, SA_E_CONFLICT, NULL,
                             "database: new user: somebody else's came and went");
}

static sa_error_t *create_user(sa_work_t *work, const sa_new_user_t *user, apr_int64_t now,
                               const char **id, const char **taken)
{
    const sa_param_t email = sa_text(user->email);
    wants_t wants = { .id = NULL };
    sa_error_t *error = NULL;
    sa_rows_t *rows = NULL;

    if (!work->store->mapping.own) {
        error = look_at_table(work, &wants);
        if (!error && user->email) {
            error = sa_work_run(work, SA_OP_EMAIL_LOCK, &email, 1, &rows);
        }
    }
    if (!error) {
        error = insert_user(work, user, now, &wants, id);
    }
    return error || *id ? error : who_took(work, user, &wants, taken);
}

sa_error_t *sa_store_create_user(sa_work_t *work, const sa_new_user_t *user, apr_int64_t now,
                                 const char **id, const char **taken)
{
    *id = NULL;
    *taken = NULL;
    if (work->db.in_transaction || work->store->mapping.own) {
        return create_user(work, user, now, id, taken);
    }
    sa_error_t *error = sa_work_begin(work);
    if (!error) {
        error = create_user(work, user, now, id, taken);
    }
    if (!error) {
        error = sa_work_commit(work);
    }
    sa_work_rollback(work);
    return error;
}

sa_error_t *sa_store_reclaim_user(sa_work_t *work, const char *user_id, const char *unusable,
                                  apr_int64_t now)
{
    const sa_param_t params[] = { sa_column(user_id), sa_text(unusable) };
    sa_rows_t *rows = NULL;

    if (!sa_work_is_key(work, user_id)) {
        return NULL;
    }
    return sa_work_run(work, SA_OP_RECLAIM_USER, params, SA_COUNT_OF(params), &rows);
}

sa_error_t *sa_store_taken(sa_work_t *work, const char *email, const char *username,
                           sa_taken_t *taken)
{
    const sa_param_t params[] = { sa_text(email), sa_text(username) };
    sa_rows_t *rows = NULL;

    sa_error_t *error = sa_work_run(work, SA_OP_TAKEN, params, SA_COUNT_OF(params), &rows);
    *taken = (sa_taken_t) {
        .email = !error && sa_rows_true(rows, 0, 0),
        .username = !error && sa_rows_true(rows, 0, 1),
        .both = !error && sa_rows_true(rows, 0, 2),
    };
    return error;
}

/* ---- changing ---- */

static sa_error_t *set_profile(sa_work_t *work, const char *user_id, const sa_profile_t *profile,
                               const wants_t *wants, int *done)
{
    apr_pool_t *p = work->pool;
    const sa_param_t params[] = {
        sa_column(user_id), sa_text(fit(p, profile->username, "", wants->username_max)),
        sa_text(fit(p, profile->first_name, "", wants->first_name_max)),
        sa_text(fit(p, profile->last_name, "", wants->last_name_max)),
    };
    sa_rows_t *rows = NULL;

    sa_error_t *error = sa_work_run(work, SA_OP_SET_PROFILE, params, SA_COUNT_OF(params), &rows);
    *done = !error && rows->n > 0;
    return error;
}

sa_error_t *sa_store_set_profile(sa_work_t *work, const char *user_id, const sa_profile_t *profile,
                                 int *done)
{
    wants_t wants = { .id = NULL };
    sa_error_t *error = NULL;

    *done = 0;
    if (!sa_work_is_key(work, user_id)) {
        return NULL;
    }
    if (!work->store->mapping.own) {
        error = look_at_table(work, &wants);
    }
    return error ? error : set_profile(work, user_id, profile, &wants, done);
}

sa_error_t *sa_store_set_password(sa_work_t *work, const char *user_id, const char *old_hash,
                                  const char *new_hash, int *done)
{
    const sa_param_t params[] = { sa_column(user_id), sa_text(old_hash), sa_text(new_hash) };
    sa_rows_t *rows = NULL;

    *done = 0;
    if (!work->store->mapping.columns[SA_ROLE_PASSWORD] || !sa_work_is_key(work, user_id)) {
        return NULL;
    }
    sa_error_t *error = sa_work_run(work, SA_OP_SET_PASSWORD, params, SA_COUNT_OF(params),
                                    &rows);
    *done = !error && rows->n > 0;
    return error;
}
