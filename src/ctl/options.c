#include "ctl/ctl.h"

#include <apr_getopt.h>
#include <apr_strings.h>
#include <stdio.h>
#include <string.h>

#include "config.h"

enum {
    OPT_CONF = 'f', OPT_HELP = 'h', OPT_OUTPUT = 'o',
    OPT_HTTPD = 256, OPT_MOUNT, OPT_SERVER, OPT_DRIVER, OPT_PARAMS, OPT_USER_TABLE, OPT_JSON,
    OPT_DRY_RUN,
    OPT_EMAIL, OPT_USERNAME, OPT_FIRST_NAME, OPT_LAST_NAME, OPT_PASSWORD_STDIN, OPT_NO_PASSWORD,
    OPT_STAFF, OPT_SUPERUSER, OPT_NAME, OPT_CLIENT_ID, OPT_PUBLIC, OPT_SECRET_STDIN, OPT_GRANTS,
    OPT_SCOPES, OPT_REDIRECT_URIS, OPT_OWNER, OPT_LIMIT, OPT_AFTER, OPT_YES, OPT_PURGE, OPT_OFF,
    OPT_FORCE, OPT_TRUSTED, OPT_USER, OPT_ALL, OPT_DEAD, OPT_BITS, OPT_KID, OPT_FROM_DRIVER,
    OPT_FROM_PARAMS, OPT_FROM_PARAMS_STDIN, OPT_FROM_USER_TABLE, OPT_VERSION
};

static const apr_getopt_option_t options[] = {
    { "conf", OPT_CONF, 1, "FILE  the server's configuration: database and user table come from it" },
    { "httpd", OPT_HTTPD, 1, "PROGRAM  what reads that file (default: apachectl or httpd)" },
    { "mount", OPT_MOUNT, 1, "PATH  which mount of it, when their databases differ" },
    { "server", OPT_SERVER, 1, "NAME[:PORT]  of which virtual host" },
    { "driver", OPT_DRIVER, 1, "pgsql|sqlite3  instead of -f: DBDriver" },
    { "params", OPT_PARAMS, 1, "TEXT  instead of -f: DBDParams" },
    { "user-table", OPT_USER_TABLE, 1, "TABLE  with --driver: SocialAuthUserTable" },
    { "json", OPT_JSON, 0, "answers as JSON" },
    { "dry-run", OPT_DRY_RUN, 0, "migrate: print the SQL, run nothing; import: count, write nothing" },
    { "email", OPT_EMAIL, 1, "ADDRESS" },
    { "username", OPT_USERNAME, 1, "NAME  (default: from the address)" },
    { "first-name", OPT_FIRST_NAME, 1, "NAME" },
    { "last-name", OPT_LAST_NAME, 1, "NAME" },
    { "password-stdin", OPT_PASSWORD_STDIN, 0, "the password is the first line of standard input" },
    { "no-password", OPT_NO_PASSWORD, 0, "no password: social sign-in only" },
    { "staff", OPT_STAFF, 0, "the user is staff" },
    { "superuser", OPT_SUPERUSER, 0, "the user is a superuser (and staff)" },
    { "name", OPT_NAME, 1, "NAME  of the application" },
    { "client-id", OPT_CLIENT_ID, 1, "ID  (default: a random one)" },
    { "public", OPT_PUBLIC, 0, "it cannot keep a secret: a page in a browser, a program" },
    { "secret-stdin", OPT_SECRET_STDIN, 0, "the secret is the first line of standard input" },
    { "grants", OPT_GRANTS, 1, "GRANTS  with spaces between (default: convert_token refresh_token)" },
    { "scopes", OPT_SCOPES, 1, "SCOPES  with spaces between (default: read write)" },
    { "redirect-uris", OPT_REDIRECT_URIS, 1, "URIS  where authorization codes may go, with spaces between" },
    { "owner", OPT_OWNER, 1, "USER  whose application it is" },
    { "trusted", OPT_TRUSTED, 0, "it is the site's own: users are not asked, and it may change accounts" },
    { "limit", OPT_LIMIT, 1, "N  (default 100)" },
    { "after", OPT_AFTER, 1, "ID  those after this one" },
    { "off", OPT_OFF, 0, "takes the right away" },
    { "yes", OPT_YES, 0, "asks nothing" },
    { "purge", OPT_PURGE, 0, "removes the row, and what belongs to it" },
    { "force", OPT_FORCE, 0, "even the last way to sign in" },
    { "user", OPT_USER, 1, "USER  all sessions of this user" },
    { "all", OPT_ALL, 0, "tokens: the sessions of all users; events: all that were given up" },
    { "dead", OPT_DEAD, 0, "only events that were given up" },
    { "bits", OPT_BITS, 1, "N  size of an RSA key (default 3072)" },
    { "kid", OPT_KID, 1, "KID  the key's name (default: made of the key, or random)" },
    { "output", OPT_OUTPUT, 1, "FILE  a new file for the key (default: standard output)" },
    { "from-driver", OPT_FROM_DRIVER, 1, "pgsql|sqlite3  of the database that is read" },
    { "from-params", OPT_FROM_PARAMS, 1, "TEXT  where it is, as in DBDParams; without a password" },
    { "from-params-stdin", OPT_FROM_PARAMS_STDIN, 0, "the same is the first line of standard input" },
    { "from-user-table", OPT_FROM_USER_TABLE, 1, "TABLE  its users (default: auth_user)" },
    { "version", OPT_VERSION, 0, "the version" },
    { "help", OPT_HELP, 0, "this text" },
    { NULL, 0, 0, NULL }
};

void ctl_usage(FILE *to)
{
    fputs("usage: socialauthctl (-f httpd.conf | --driver pgsql|sqlite3 --params TEXT) COMMAND\n\n"
          "commands (USER is an e-mail address, a user name or an id):\n", to);
    for (const ctl_command_t *command = ctl_commands; command->words; command++) {
        fprintf(to, "  %s\n", command->help);
    }
    fputs("\noptions:\n", to);
    for (const apr_getopt_option_t *option = options; option->name; option++) {
        const char *brief = option->optch == OPT_CONF ? ", -f"
                            : option->optch == OPT_OUTPUT ? ", -o" : "";
        /* An argument stands one space behind its option, an explanation two. */
        fprintf(to, "  --%s%s%s%s\n", option->name, brief, option->has_arg ? " " : "  ",
                option->description);
    }
}

static const char *name_of(int option)
{
    const apr_getopt_option_t *known = options;

    while (known->optch != option) {
        known++;
    }
    return known->name;
}

static int take_number(const char *name, const char *value, int max, int *number)
{
    *number = (int)apr_atoi64(value);
    if (value[strspn(value, "0123456789")] || strlen(value) > 9 || *number < 1 || *number > max) {
        ctl_fail("--%s must be 1 to %d", name, max);
        return CTL_USAGE;
    }
    return CTL_OK;
}

static int take_text(ctl_t *ctl, int option, const char *value)
{
    switch (option) {
    case OPT_CONF: ctl->conf = value; break;
    case OPT_HTTPD: ctl->httpd = value; break;
    case OPT_MOUNT: ctl->mount = value; break;
    case OPT_SERVER: ctl->server = value; break;
    case OPT_DRIVER: ctl->driver = value; break;
    case OPT_PARAMS: ctl->params = value; break;
    case OPT_USER_TABLE: ctl->map.table = value; break;
    case OPT_EMAIL: ctl->email = value; break;
    case OPT_USERNAME: ctl->username = value; break;
    case OPT_NAME: ctl->name = value; break;
    case OPT_CLIENT_ID: ctl->client_id = value; break;
    case OPT_GRANTS: ctl->grants = value; break;
    case OPT_SCOPES: ctl->scopes = value; break;
    case OPT_REDIRECT_URIS: ctl->redirect_uris = value; break;
    case OPT_OWNER: ctl->owner = value; break;
    case OPT_FIRST_NAME: ctl->first_name = value; break;
    case OPT_LAST_NAME: ctl->last_name = value; break;
    case OPT_AFTER: ctl->after = value; break;
    case OPT_USER: ctl->user = value; break;
    case OPT_KID: ctl->kid = value; break;
    case OPT_OUTPUT: ctl->output = value; break;
    case OPT_FROM_DRIVER: ctl->from_driver = value; break;
    case OPT_FROM_PARAMS: ctl->from_params = value; break;
    case OPT_FROM_USER_TABLE: ctl->from_user_table = value; break;
    case OPT_LIMIT: return take_number("limit", value, 100000, &ctl->limit);
    case OPT_BITS: return take_number("bits", value, 100000, &ctl->bits);
    }
    return CTL_OK;
}

static int take(ctl_t *ctl, int option, const char *value)
{
    switch (option) {
    case OPT_JSON: ctl->json = 1; break;
    case OPT_DRY_RUN: ctl->dry_run = 1; break;
    case OPT_PASSWORD_STDIN: ctl->password_stdin = 1; break;
    case OPT_NO_PASSWORD: ctl->no_password = 1; break;
    case OPT_STAFF: ctl->staff = 1; break;
    case OPT_SUPERUSER: ctl->staff = ctl->superuser = 1; break;
    case OPT_PUBLIC: ctl->public_client = 1; break;
    case OPT_TRUSTED: ctl->trusted = 1; break;
    case OPT_SECRET_STDIN: ctl->secret_stdin = 1; break;
    case OPT_LIMIT:
        ctl->limit = atoi(value);
        if (ctl->limit < 1 || ctl->limit > 100000) {
            fputs("socialauthctl: --limit must be 1 to 100000\n", stderr);
            return CTL_USAGE;
        }
        break;
    case OPT_OFF: ctl->off = 1; break;
    case OPT_YES: ctl->yes = 1; break;
    case OPT_PURGE: ctl->purge = 1; break;
    case OPT_FORCE: ctl->force = 1; break;
    case OPT_ALL: ctl->all = 1; break;
    case OPT_FROM_PARAMS_STDIN: ctl->from_params_stdin = 1; break;
    case OPT_DEAD: ctl->only_dead = 1; break;
    case OPT_VERSION:
        puts("socialauthctl " PACKAGE_VERSION);
        return -1;
    case OPT_HELP:
        ctl_usage(stdout);
        return -1;
    default:
        return take_text(ctl, option, value);
    }
    return CTL_OK;
}

int ctl_options(ctl_t *ctl, int argc, const char *const *argv)
{
    apr_getopt_t *scan;
    const char *value;
    apr_status_t rv;
    int option;

    ctl->limit = 100;
    ctl->given = apr_array_make(ctl->pool, 8, sizeof(const char *));
    apr_getopt_init(&scan, ctl->pool, argc, argv);
    scan->interleave = 1;
    while ((rv = apr_getopt_long(scan, options, &option, &value)) == APR_SUCCESS) {
        APR_ARRAY_PUSH(ctl->given, const char *) = name_of(option);
        int status = take(ctl, option, value);
        if (status != CTL_OK) {
            return status;
        }
    }
    if (rv != APR_EOF) {
        fputs("try: socialauthctl --help\n", stderr);
        return CTL_USAGE;
    }
    ctl->argc = argc - scan->ind;
    ctl->argv = (const char **) scan->argv + scan->ind;
    return CTL_OK;
}

static int is_name_character(char c)
{
    return (c >= 'a' && c <= 'z') || c == '-';
}

/* Whether a command's help speaks of an option, as a whole word. */
static int names(const char *help, const char *option)
{
    apr_size_t len = strlen(option);

    for (const char *at = help; (at = strstr(at, "--")); at += 2) {
        if (!strncmp(at + 2, option, len) && !is_name_character(at[2 + len])) {
            return 1;
        }
    }
    return 0;
}

static int goes_with_all(const char *option)
{
    for (const ctl_command_t *command = ctl_commands; command->words; command++) {
        if (names(command->help, option)) {
            return 0;
        }
    }
    return 1;
}

int ctl_options_fit(const ctl_t *ctl, const ctl_command_t *command, int operands)
{
    int fewest = command->operands - !!(command->flags & CTL_OPTIONAL);

    if (operands > command->operands || operands < fewest) {
        fprintf(stderr, "usage: socialauthctl %s\n", command->help);
        return CTL_USAGE;
    }
    for (int i = 0; i < ctl->given->nelts; i++) {
        const char *option = APR_ARRAY_IDX(ctl->given, i, const char *);
        if (!names(command->help, option) && !goes_with_all(option)) {
            ctl_fail("%s takes no --%s", command->words, option);
            return CTL_USAGE;
        }
    }
    return CTL_OK;
}
