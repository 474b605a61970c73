/* import django: everything in one transaction, so that it is there as a whole or not at all. */
#include "ctl/import.h"

#include <apr_strings.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define TIMEOUT_MS (4 * 3600 * 1000)

void ctl_import_note(ctl_import_t *import, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    const char *note = apr_pvsprintf(import->ctl->pool, fmt, args);
    va_end(args);
    if (!import->ctl->json) {
        printf("note: %s\n", note);
    }
    json_array_append_new(import->notes, ctl_json(import->ctl, note));
}

/* ---- where from ---- */

/* Arguments can be read by everybody on the machine. */
static int has_password(const char *params)
{
    const char *at = strstr(params, "://"), *user_end = at ? strchr(at, '@') : NULL;

    if (user_end && memchr(at + 3, ':', (apr_size_t)(user_end - at - 3))) {
        return 1;
    }
    for (; *params; params++) {
        if (!strncasecmp(params, "password", 8)
            && params[8 + strspn(params + 8, " \t")] == '=') {
            return 1;
        }
    }
    return 0;
}

static const char *from_stdin(apr_pool_t *p)
{
    char line[4096];

    if (!fgets(line, sizeof(line), stdin)) {
        return "";
    }
    line[strcspn(line, "\r\n")] = '\0';
    return apr_pstrdup(p, line);
}

/* What is wrong with the command line, or NULL. */
static const char *usage_problem(const ctl_t *ctl)
{
    const char *driver = ctl->from_driver;

    if (!driver || (strcmp(driver, "pgsql") && strcmp(driver, "sqlite3"))) {
        return "--from-driver must be pgsql or sqlite3";
    }
    if (!ctl->from_params == !ctl->from_params_stdin) {
        return "one of --from-params and --from-params-stdin is needed";
    }
    if (ctl->from_params && has_password(ctl->from_params)) {
        return "--from-params may not hold a password: use --from-params-stdin, PGPASSWORD or a "
               "passfile";
    }
    return NULL;
}

static const char *open_source(ctl_t *ctl, sa_db_source_t *source)
{
    const char *params = ctl->from_params_stdin ? from_stdin(ctl->pool) : ctl->from_params;

    if (!strcmp(ctl->from_driver, "sqlite3") && access(params, R_OK)) {
        return apr_psprintf(ctl->pool, "%s cannot be read", params);    /* SQLite would make it */
    }
    return ctl_open_database(ctl->pool, ctl->from_driver, params, TIMEOUT_MS, source);
}

/* ---- what was done ---- */

static json_t *tally_json(const ctl_tally_t *tally)
{
    return json_pack("{s:i, s:i, s:i}", "imported", tally->counts[SA_IMPORT_DONE],
                     "there_before", tally->counts[SA_IMPORT_THERE],
                     "left_out", tally->counts[SA_IMPORT_CONFLICT]);
}

static void print_tally(const char *what, const ctl_tally_t *tally)
{
    printf("%s: %d imported, %d there before, %d left out\n", what,
           tally->counts[SA_IMPORT_DONE], tally->counts[SA_IMPORT_THERE],
           tally->counts[SA_IMPORT_CONFLICT]);
}

static json_t *unknown_json(const ctl_import_t *import)
{
    json_t *unknown = json_object();

    for (apr_hash_index_t *i = apr_hash_first(import->ctl->pool, import->unknown); i;
         i = apr_hash_next(i)) {
        const char *name = ctl_shown(import->ctl, apr_hash_this_key(i));
        json_object_set_new(unknown, name, json_integer(*(int *)apr_hash_this_val(i)));
    }
    return unknown;
}

static void print_end(const ctl_import_t *import, int changes)
{
    puts(import->ctl->dry_run ? "dry run: nothing was written"
         : changes ? "done" : "nothing was new");
}

static void print_summary(const ctl_import_t *import, int changes)
{
    json_t *unknown = unknown_json(import), *links;
    const char *provider;

    print_tally("users", &import->users);
    print_tally("links", &import->links);
    print_tally("links that wait for their first login", &import->pending);
    print_tally("applications", &import->applications);
    json_object_foreach(unknown, provider, links) {
        printf("links of %s, which is not known here: %d left out\n", provider,
               (int)json_integer_value(links));
    }
    json_decref(unknown);
    if (import->without_email || import->strange_passwords) {
        printf("users without their e-mail address: %d; with a password that must be reset: %d\n",
               import->without_email, import->strange_passwords);
    }
    print_end(import, changes);
}

int ctl_import_say_users(ctl_import_t *import)
{
    int changes = import->users.counts[SA_IMPORT_DONE];

    if (import->ctl->json) {
        ctl_say_list(import->ctl, json_pack(
            "{s:b, s:b, s:o, s:o}", "dry_run", import->ctl->dry_run,
            "changed", changes && !import->ctl->dry_run, "users", tally_json(&import->users),
            "notes", import->notes));
        return CTL_OK;
    }
    print_tally("users", &import->users);
    print_end(import, changes);
    json_decref(import->notes);
    return CTL_OK;
}

static int say_summary(ctl_import_t *import)
{
    int changes = import->users.counts[SA_IMPORT_DONE] + import->links.counts[SA_IMPORT_DONE]
                  + import->pending.counts[SA_IMPORT_DONE]
                  + import->applications.counts[SA_IMPORT_DONE];

    if (!import->ctl->json) {
        print_summary(import, changes);
        json_decref(import->notes);
        return CTL_OK;
    }
    ctl_say_list(import->ctl, json_pack(
        "{s:b, s:b, s:o, s:o, s:o, s:o, s:o, s:i, s:i, s:o}", "dry_run", import->ctl->dry_run,
        "changed", changes && !import->ctl->dry_run, "users", tally_json(&import->users),
        "links", tally_json(&import->links), "pending_links", tally_json(&import->pending),
        "applications", tally_json(&import->applications),
        "unknown_providers", unknown_json(import), "without_email", import->without_email,
        "strange_passwords", import->strange_passwords, "notes", import->notes));
    return CTL_OK;
}

/* ---- doing it ---- */

static sa_error_t *import_all(ctl_import_t *import)
{
    sa_error_t *error = sa_work_begin(import->work);

    if (!error) {
        error = ctl_import_users(import);
    }
    if (!error) {
        error = ctl_import_links(import);
    }
    if (!error) {
        error = ctl_import_applications(import);
    }
    sa_django_close(import->django);    /* a reader of the same SQLite file may delay the commit */
    if (error || import->ctl->dry_run) {
        return error;
    }
    error = sa_store_is_own(import->ctl->store) ? sa_import_end(import->work) : NULL;
    return error ? error : sa_work_commit(import->work);
}

static int run(ctl_import_t *import, const sa_db_source_t *from)
{
    ctl_t *ctl = import->ctl;
    const char *table = ctl->from_user_table ? ctl->from_user_table : "auth_user";
    sa_error_t *error = sa_django_open(&import->django, ctl->from_driver, table, from, ctl->pool);

    if (!error) {
        ctl->source.timeout_ms = TIMEOUT_MS;
        error = ctl_open(ctl, &import->work);
    }
    if (!error) {
        error = import_all(import);
    }
    sa_django_close(import->django);
    sa_work_close(import->work);
    return error ? ctl_fail_error(error) : say_summary(import);
}

int ctl_import_django(ctl_t *ctl, const char **operands)
{
    ctl_import_t import = {
        .ctl = ctl, .ids = apr_hash_make(ctl->pool), .unknown = apr_hash_make(ctl->pool)
    };
    sa_db_source_t from;
    const char *why = usage_problem(ctl);

    if (why) {
        ctl_fail("%s", why);
        return CTL_USAGE;
    }
    why = open_source(ctl, &from);
    if (why) {
        return ctl_fail("%s", why);
    }
    import.notes = json_array();
    return run(&import, &from);
}
