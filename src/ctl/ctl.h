/* socialauthctl: administration of the same database, without httpd.
 *
 * Exit codes: 0 done, 1 it could not be done (said why on stderr), 2 wrong usage. */
#ifndef SA_CTL_H
#define SA_CTL_H

#include "core/error.h"
#include "store/store.h"

#include <jansson.h>

#define CTL_OK 0
#define CTL_FAILED 1
#define CTL_USAGE 2

typedef struct {
    apr_pool_t *pool;
    /* where */
    const char *conf;           /* -f: httpd.conf to ask httpd about */
    const char *httpd;          /* --httpd: the program that reads it */
    const char *mount;          /* --mount: which mount of it, NULL = any */
    const char *server;         /* --server: of which virtual host, NULL = any */
    const char *driver, *params;
    sa_user_map_t map;
    const char *webhooks;       /* with -f: those of its mounts, space-separated; NULL = none */
    int notify;                 /* with -f: one of its mounts has SocialAuthNotify On */
    sa_store_t *store;
    sa_db_source_t source;
    /* how */
    int json;                   /* --json */
    int dry_run;                /* --dry-run */
    const char *email, *username, *first_name, *last_name;
    int password_stdin, no_password, staff, superuser;
    int limit;
    const char *after;
    /* what */
    int argc;                   /* operands: command words and names */
    const char **argv;
} ctl_t;

typedef struct {
    const char *words;          /* "users create" */
    int operands;               /* how many follow */
    int (*run)(ctl_t *ctl, const char **operands);
    const char *help;           /* "users create --email ADDRESS …" */
} ctl_command_t;

extern const ctl_command_t ctl_commands[];      /* ends with words NULL */

/* options.c: fills ctl; CTL_OK, or CTL_USAGE after saying why. -1: --help or --version was printed. */
int ctl_options(ctl_t *ctl, int argc, const char *const *argv);
void ctl_usage(FILE *to);

/* source.c: where the database is, and one connection to it. */
const char *ctl_locate(ctl_t *ctl);     /* NULL, or what is wrong */
const char *ctl_connect(ctl_t *ctl);
/* A work on it, with its own time limit: not open while somebody types. */
sa_error_t *ctl_open(ctl_t *ctl, sa_work_t **work);

/* output.c */
int ctl_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int ctl_fail_error(const sa_error_t *error);
/* Prints `value` as JSON with --json, else `fmt` as a line. Takes the reference of value. */
void ctl_say(const ctl_t *ctl, json_t *value, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* A password from stdin (first line) or, on a terminal, from two prompts; the caller wipes it. NULL after
 * saying why. */
char *ctl_read_password(const ctl_t *ctl);

/* commands */
int ctl_users_create(ctl_t *ctl, const char **operands);
int ctl_users_set_password(ctl_t *ctl, const char **operands);
int ctl_users_activate(ctl_t *ctl, const char **operands);
int ctl_users_deactivate(ctl_t *ctl, const char **operands);
int ctl_users_list(ctl_t *ctl, const char **operands);
int ctl_migrate(ctl_t *ctl, const char **operands);
int ctl_migrate_status(ctl_t *ctl, const char **operands);
int ctl_purge(ctl_t *ctl, const char **operands);

#endif
