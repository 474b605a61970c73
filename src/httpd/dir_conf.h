/* What the directives of one scope (server, virtual host, <Location>) said, and the value
 * parsers they share. Private to the files that make a sa_mount_t of it. */
#ifndef SA_HTTPD_DIR_CONF_H
#define SA_HTTPD_DIR_CONF_H

#include <stddef.h>

#include "httpd/config.h"

/* APR_ARRAY_IDX without its cast from char *, which clang takes for a misaligned one. */
#define SA_AT(list, i, type) (((type *)(void *)(list)->elts)[i])
/* A mount's path for messages. */
#define SA_SHOWN(path) (*(path) ? (path) : "/")

/* One SocialAuthJWTKey, read but not yet parsed: the algorithm may be set in another scope. */
typedef struct {
    const char *kid;            /* NULL = none given */
    const char *text;
    apr_size_t len;
    const char *defn;           /* "file:line" */
} sa_key_conf_t;

/* NULL and -1 mean "not set". Arrays of an inner scope replace those of the outer one, except
 * providers, which are replaced one by one. */
typedef struct {
    const char *defn;           /* "file:line" of the first directive, NULL = scope says nothing */

    const char *base_url;
    const char *secret;
    apr_size_t secret_len;      /* valid with secret */
    apr_array_header_t *providers;      /* sa_provider_t *, finished */

    const char *state_salt;
    int state_max_age;
    int state_binding;
    int shared_state;           /* 1 = database */
    int max_token_age;
    const sa_rate_t *throttle;
    const sa_rate_t *password_throttle;
    const sa_rate_t *account_throttle;

    const char *user_table;
    apr_table_t *user_columns;  /* role -> column, "" = none */
    const char *deleted_field;
    int linked_email_update;
    int email_linking;

    int access_lifetime;
    int refresh_lifetime;
    int session_lifetime;
    int rotate;
    int blacklist_after_rotation;
    int reuse_interval;
    apr_array_header_t *auth_header_types;      /* const char * */
    int algorithm;              /* sa_alg_t */
    apr_array_header_t *jwt_keys;       /* sa_key_conf_t */
    const char *issuer;
    const char *audience;
    int leeway;
    int accept_simplejwt;
    int revocation_check;       /* sa_revocation_check_t */

    apr_array_header_t *allow_origins;  /* const char * */
    int allow_credentials;
    int token_delivery;         /* of sa_delivery_t */
    const char *login_error_url;
    const char *login_url;
    apr_array_header_t *allow_headers;  /* const char *, lower case */

    int connect_ms;
    int total_ms;
    int max_response;
    const char *ca_bundle;
    const char *outgoing_proxy; /* "" = none */
    int max_body;
    int db_connections;
    int db_timeout_ms;

    int password_login;
    int registration;
    int registration_login;
    int user_list;
    int unlink_requires_password;
    int policy_min_length;
    int policy_similarity;
    int policy_common;
    int policy_numeric;
    const sa_common_passwords_t *common_passwords;
    int hash_concurrency;
    apr_array_header_t *webhooks;       /* sa_webhook_t */
    int notify;
    int shared_bytes;
    int strip_cookies;          /* the one setting that is not a mount's */

    const sa_mailer_t *mailer;  /* without url and argv: switched off */
    const sa_mailbox_t *mail_from;
    apr_table_t *mail_links;    /* kind -> URL */
    const char *mail_templates; /* directory */
    int email_verification;
    int security_mails;
    int verify_lifetime;
    int reset_lifetime;
    const sa_rate_t *mail_throttle;
} sa_dir_conf_t;

/* Per server: the mounts it serves, longest path first. */
typedef struct {
    apr_array_header_t *mounts; /* const sa_mount_t * */
    apr_array_header_t *all;    /* const sa_mount_t * of all servers; main server only */
} sa_server_conf_t;

/* ---- values.c: NULL when fine, else a phrase that completes "Directive value: …" ---- */
#define SA_UNIT_SECONDS 0       /* plain numbers are seconds; s, m, min, h, d */
#define SA_UNIT_MILLIS  1       /* the same and ms; *value is milliseconds */
#define SA_UNIT_BYTES   2       /* plain bytes; K, M */
#define SA_UNIT_COUNT   3       /* a plain number */
/* *value within [min, max]; the phrase names both. */
const char *sa_parse_number(apr_pool_t *p, const char *text, int unit, int min, int max,
                            int *value);
/* An SQL identifier; dotted allows "schema.table". */
const char *sa_parse_identifier(const char *text, int dotted);
/* RFC 9110 token characters only, at least one. */
int sa_is_http_token(const char *text);
/* "whsec_" + base64 of 24 to 64 bytes (Standard Webhooks); the key is wiped with p. */
const char *sa_parse_webhook_secret(apr_pool_t *p, const char *text, const unsigned char **key,
                                    apr_size_t *len);
/* SocialAuthBaseURL: an origin; one trailing slash is dropped. */
const char *sa_parse_base_url(apr_pool_t *p, const char *text, const char **url);
/* SocialAuthIssuer, SocialAuthAudience: StringOrURI of RFC 7519, never http to a foreign host. */
const char *sa_parse_string_or_uri(const char *text);

/* ---- directives.c ---- */
/* Every handler's first line: a sentence when the directive may not stand here, else NULL. */
const char *sa_directive_begin(cmd_parms *cmd, sa_dir_conf_t *conf);
/* The sentence for a wrong value; value NULL = secret, not shown. */
const char *sa_directive_error(cmd_parms *cmd, const char *value, const char *phrase);
/* 1 in httpd -S and the like, which show the configuration and need no secret. */
int sa_config_is_only_shown(void);
/* mod_info prints the arguments of every directive, and nothing else reads those of ours once the
 * directive is done: from here on the tree shows these. */
void sa_directive_show_instead(cmd_parms *cmd, const char *args);
/* ---- directives_secret.c: the directives that hold secrets ---- */
const char *sa_set_secret(cmd_parms *cmd, void *conf, const char *spec);
const char *sa_set_provider(cmd_parms *cmd, void *conf, int argc, char *const argv[]);
const char *sa_set_jwt_key(cmd_parms *cmd, void *conf, const char *first, const char *second);
const char *sa_set_webhook(cmd_parms *cmd, void *conf, const char *url, const char *secret);

/* ---- directives_users.c ---- */
const char *sa_set_user_table(cmd_parms *cmd, void *conf, const char *value);
const char *sa_set_deleted_field(cmd_parms *cmd, void *conf, const char *value);
const char *sa_add_user_column(cmd_parms *cmd, void *conf, const char *value);
const char *sa_set_password_policy(cmd_parms *cmd, void *conf, const char *value);
const char *sa_set_common_passwords(cmd_parms *cmd, void *conf, const char *value);

/* ---- directives_web.c ---- */
const char *sa_add_header_type(cmd_parms *cmd, void *conf, const char *value);
const char *sa_add_allow_origin(cmd_parms *cmd, void *conf, const char *value);
const char *sa_add_allow_header(cmd_parms *cmd, void *conf, const char *value);
const char *sa_set_login_url(cmd_parms *cmd, void *conf, const char *value);
const char *sa_set_login_error_url(cmd_parms *cmd, void *conf, const char *value);
const char *sa_set_timeout(cmd_parms *cmd, void *conf, const char *value);
const char *sa_set_ca_bundle(cmd_parms *cmd, void *conf, const char *value);
const char *sa_set_outgoing_proxy(cmd_parms *cmd, void *conf, const char *value);

/* ---- directives_mail.c ---- */
const char *sa_set_smtp(cmd_parms *cmd, void *conf, int argc, char *const argv[]);
const char *sa_set_mail_from(cmd_parms *cmd, void *conf, const char *value);
const char *sa_add_mail_link(cmd_parms *cmd, void *conf, const char *value);
const char *sa_set_mail_templates(cmd_parms *cmd, void *conf, const char *value);

/* ---- secrets.c ---- */
/* 1 when spec is the secret itself, neither file: nor exec:. */
int sa_secret_is_literal(const char *spec);
/* As sa_secret_resolve, but keeps all lines (PEM) and refuses literals. */
const char *sa_secret_read_key(apr_pool_t *p, apr_pool_t *ptemp, const char *spec,
                               const char **text, apr_size_t *len);

/* ---- config_tree.c: what the parsed configuration says where ---- */
/* One literal <Location> that has SetHandler. */
typedef struct {
    const char *path;           /* as configured, no trailing slash, "" for "/" */
    const char *handler;
    const ap_directive_t *host; /* its <VirtualHost>, NULL = main server */
    const char *defn;           /* "file:line" of the <Location> */
} sa_location_t;

const char *sa_defn(apr_pool_t *p, const ap_directive_t *directive);
/* NULL when directives of ours may stand where `directive` stands, else a phrase: where not. */
const char *sa_scope_problem(apr_pool_t *p, const ap_directive_t *directive);
/* All literal <Location>s with a SetHandler, in order (sa_location_t). Each misplaced
 * SetHandler social-auth adds "file:line: sentence" (const char *) to problems. */
apr_array_header_t *sa_tree_locations(apr_pool_t *p, apr_array_header_t *problems);
/* The <VirtualHost> of s, NULL for the main server. */
const ap_directive_t *sa_tree_host(const server_rec *s, const server_rec *main_server);
/* Arguments of a directive outside of sections: the host's last, else the main server's last, else
 * NULL. */
const char *sa_tree_args(const ap_directive_t *host, const char *name);
/* The files that directives of ours name as file:…, absolute, each once (const char *). */
apr_array_header_t *sa_tree_secret_files(apr_pool_t *p);

/* ---- mount_build.c ---- */
typedef struct {
    apr_pool_t *p, *ptemp;
    server_rec *s;
    int failed;
    int log_flags;              /* APLOG_STARTUP while the terminal is the log */
    int warn;                   /* 0 = the pass whose warnings nobody needs twice */
    int serves;                 /* 0 = this configuration will answer no request */
    apr_table_t *said;          /* what was reported, to say it once for all virtual hosts */
} sa_check_t;

/* Logs "defn: text" as an error, once, and marks the check as failed. */
void sa_check_problem(sa_check_t *check, const char *defn, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void sa_check_warning(sa_check_t *check, const char *defn, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Everything that needs no look outside of conf. path, defn and server are set. */
void sa_mount_fill(sa_check_t *check, sa_mount_t *mount, const sa_dir_conf_t *conf);
/* ---- mount_keys.c: settings.keys, state_key and webhooks ---- */
void sa_mount_keys(sa_check_t *check, sa_mount_t *mount, const sa_dir_conf_t *conf);
/* ---- mount_mail.c: mail and what of settings is about it; needs the store ---- */
void sa_mount_mail(sa_check_t *check, sa_mount_t *mount, const sa_dir_conf_t *conf);
/* ---- mount_database.c: driver, params, user map, store, connections ---- */
void sa_mount_database(sa_check_t *check, sa_mount_t *mount, const sa_dir_conf_t *conf,
                       const ap_directive_t *host, const apr_array_header_t *others);

#endif
