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
    const json_t *dump;         /* with -f: what httpd says its mounts are */
    /* with -f: of all mounts on the chosen one's database */
    const char *webhooks;       /* space-separated; NULL = none */
    int notify;                 /* one of them has SocialAuthNotify On */
    const char *issuers;        /* that people can sign in with, a line each; NULL = not known */
    int no_passwords;           /* nobody can sign in with a password */
    sa_store_t *store;
    sa_db_source_t source;
    /* how */
    int json;                   /* --json */
    int dry_run;                /* --dry-run */
    const char *email, *username, *first_name, *last_name;
    int password_stdin, no_password, staff, superuser;
    const char *name, *client_id, *grants, *scopes, *redirect_uris;     /* of an application */
    const char *owner;          /* of it: a USER */
    int public_client, trusted, secret_stdin;
    int limit;
    const char *after;
    int yes, force, purge, off, all, only_dead;
    const char *user;           /* --user */
    int bits;
    const char *kid, *output;
    const char *from_driver, *from_params, *from_user_table;    /* where to import from */
    int from_params_stdin;
    /* what */
    apr_array_header_t *given;  /* names of the options, const char * */
    int argc;                   /* operands: command words and names */
    const char **argv;
} ctl_t;

#define CTL_NO_DATABASE 1       /* the command needs none, or looks for it itself */
#define CTL_OPTIONAL 2          /* its last operand may be left out */

typedef struct {
    const char *words;          /* "users create" */
    int operands;               /* how many follow */
    int (*run)(ctl_t *ctl, const char **operands);      /* operands end with NULL */
    /* "users create --email ADDRESS …": the operands and options it takes. An option that no
     * command names goes with all of them. --help, completion and tests/check_ctl read it. */
    const char *help;
    int flags;
} ctl_command_t;

extern const ctl_command_t ctl_commands[];      /* ends with words NULL */

/* options.c: fills ctl; CTL_OK, or CTL_USAGE after saying why. -1: --help or --version was
 * printed. */
int ctl_options(ctl_t *ctl, int argc, const char *const *argv);
/* CTL_OK, or CTL_USAGE after saying which operand or option is not one of command's. */
int ctl_options_fit(const ctl_t *ctl, const ctl_command_t *command, int operands);
void ctl_usage(FILE *to);

/* conf.c: what httpd says about its configuration. NULL, or what is wrong. */
const char *ctl_read_conf(ctl_t *ctl);  /* fills dump */
const char *ctl_locate(ctl_t *ctl);     /* the one database that is meant, of it or given */
/* The database of one mount of dump, and who listens there. */
void ctl_use_mount(ctl_t *ctl, const json_t *mount);
int ctl_mount_is_wanted(const ctl_t *ctl, const json_t *mount);        /* --mount, --server */
int ctl_same_database(const json_t *a, const json_t *b);

/* source.c: one connection to that database, and a store over it. NULL, or what is wrong. */
const char *ctl_connect(ctl_t *ctl);
/* A connection of its own; a work over it may take timeout_ms. */
const char *ctl_open_database(apr_pool_t *pool, const char *driver_name, const char *params,
                              int timeout_ms, sa_db_source_t *source);
/* A work on it, with its own time limit: not open while somebody types. */
sa_error_t *ctl_open(ctl_t *ctl, sa_work_t **work);

/* output.c */
int ctl_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int ctl_fail_error(const sa_error_t *error);
/* Prints `value` as JSON with --json, else `fmt` as a line. Takes the reference of value. */
void ctl_say(const ctl_t *ctl, json_t *value, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* A list: with --json `list` as a whole, else nothing, since its lines are printed. Takes the
 * reference. */
void ctl_say_list(const ctl_t *ctl, json_t *list);
/* What a table holds, for a terminal: control characters and broken UTF-8 escaped, "-" for NULL. */
const char *ctl_shown(const ctl_t *ctl, const char *text);
/* The same for JSON, null for NULL. */
json_t *ctl_json(const ctl_t *ctl, const char *text);
json_t *ctl_json_time(const ctl_t *ctl, apr_int64_t seconds);

/* input.c */
/* The hash of a password from stdin (first line) or, on a terminal, from two prompts. NULL after
 * saying why. */
const char *ctl_password_hash(ctl_t *ctl);
/* CTL_OK with --yes or when a person at a terminal says so; else CTL_FAILED after saying why. */
int ctl_confirm(const ctl_t *ctl, const char *question);

/* applications.c: NULL, or what is wrong with one redirect URI; with a client id. */
const char *ctl_redirect_uri_problem(const char *uri);
int ctl_client_id_is_good(const char *id);

/* account.c: whom a command means, and one change of it with its event. */
apr_int64_t ctl_now(void);
/* By e-mail or user name, then by id. CTL_FAILED after saying that there is none. */
int ctl_find_user(ctl_t *ctl, const char *name, sa_user_t **user);
/* An event of now; CTL_FAILED after saying that no random bytes could be had. */
int ctl_make_event(ctl_t *ctl, sa_event_t *event, const char *type, const char *provider);
/* NOTIFY, where a mount wants it; after commit. */
sa_error_t *ctl_notify(ctl_t *ctl, sa_work_t *work, const sa_event_t *event);

typedef struct {
    const char *type;           /* of the event; the sessions end. NULL = no event, they go on */
    sa_error_t *(*apply)(sa_work_t *work, const char *user_id, const void *value, int *done);
    const void *value;
    const char *missing;        /* what is wrong when apply did nothing */
    const char *conflict;       /* what a conflict means; NULL = say the database's words */
} ctl_change_t;
int ctl_change_user(ctl_t *ctl, const char *user_id, const ctl_change_t *change);

/* files.c */
/* 1 when the system user `name` may do `mode` (R_OK, W_OK) to a file; without being root, whether we
 * may. -1 = cannot be told. */
int ctl_user_may(const char *name, const char *path, int mode);
/* Makes a file for its owner alone. NULL, or what is wrong; an existing file is left alone. */
const char *ctl_write_secret(apr_pool_t *p, const char *path, const char *text);

/* links.c */
json_t *ctl_describe_links(const ctl_t *ctl, const apr_array_header_t *links);

/* commands */
int ctl_users_create(ctl_t *ctl, const char **operands);
int ctl_users_show(ctl_t *ctl, const char **operands);
int ctl_users_list(ctl_t *ctl, const char **operands);
int ctl_users_import(ctl_t *ctl, const char **operands);
int ctl_users_set_password(ctl_t *ctl, const char **operands);
int ctl_users_activate(ctl_t *ctl, const char **operands);
int ctl_users_deactivate(ctl_t *ctl, const char **operands);
int ctl_applications_create(ctl_t *ctl, const char **operands);
int ctl_applications_list(ctl_t *ctl, const char **operands);
int ctl_applications_rotate_secret(ctl_t *ctl, const char **operands);
int ctl_applications_delete(ctl_t *ctl, const char **operands);
int ctl_users_staff(ctl_t *ctl, const char **operands);
int ctl_users_superuser(ctl_t *ctl, const char **operands);
int ctl_users_delete(ctl_t *ctl, const char **operands);
int ctl_links_list(ctl_t *ctl, const char **operands);
int ctl_links_delete(ctl_t *ctl, const char **operands);
int ctl_tokens_list(ctl_t *ctl, const char **operands);
int ctl_tokens_revoke(ctl_t *ctl, const char **operands);
int ctl_keys_generate(ctl_t *ctl, const char **operands);
int ctl_keys_rotate(ctl_t *ctl, const char **operands);
int ctl_keys_list(ctl_t *ctl, const char **operands);
int ctl_events_list(ctl_t *ctl, const char **operands);
int ctl_events_retry(ctl_t *ctl, const char **operands);
int ctl_import_django(ctl_t *ctl, const char **operands);
int ctl_migrate(ctl_t *ctl, const char **operands);
int ctl_migrate_status(ctl_t *ctl, const char **operands);
int ctl_purge(ctl_t *ctl, const char **operands);
int ctl_doctor(ctl_t *ctl, const char **operands);

#endif
