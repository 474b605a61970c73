/* Directives and what they become: one finished, const sa_mount_t per
 * <Location> with `SetHandler social-auth` and virtual host.
 *
 * Directives write into a per-directory sa_dir_conf_t where NULL / -1 is "not set"; merging is one
 * rule per member; check_config (so that `httpd -t` sees it) turns every mount's merged
 * configuration into an sa_mount_t with defaults applied, and reports what is wrong
 * with file and line. Nothing is merged or validated per request. */
#ifndef SA_HTTPD_CONFIG_H
#define SA_HTTPD_CONFIG_H

#include <httpd.h>
#include <http_config.h>

#include "accounts/accounts.h"
#include "core/mail.h"
#include "providers/smtp.h"

typedef struct {
    const char *url;
    const char *secret;         /* "whsec_…" decoded key bytes are secret_key */
    const unsigned char *secret_key;
    apr_size_t secret_key_len;
} sa_webhook_t;

/* In a SocialAuthMailLink: where the token goes. */
#define SA_MAIL_TOKEN_PLACE "{token}"

typedef struct {
    const sa_mailer_t *mailer;  /* NULL = no mails; the rest is set only with it */
    sa_mailbox_t from;
    const char *site;           /* host of base_url */
    const char *links[SA_MAIL_KINDS];   /* addresses of the front end; NULL for mails without a link */
    sa_mail_template_t templates[SA_MAIL_KINDS];
} sa_mount_mail_t;

/* How tokens reach a client; bits. */
typedef enum { SA_DELIVER_JSON = 1, SA_DELIVER_COOKIE = 2 } sa_delivery_t;

typedef struct {
    const char *path;           /* "/api/social-auth": no trailing slash; "" for <Location "/"> */
    sa_settings_t settings;
    server_rec *server;
    const char *base_url;       /* SocialAuthBaseURL, no trailing slash; a mount without it is an error */
    int secure;                 /* base_url is https, or http on a loopback host: __Host- and Secure cookies */
    apr_size_t max_body;        /* bytes */
    apr_array_header_t *allow_origins;  /* const char *, exact */
    int allow_credentials;
    int token_delivery;         /* of sa_delivery_t */
    apr_array_header_t *next_origins;   /* const char *: ours and allow_origins, where a redirect
                                 * login may end */
    const char *login_error_url;        /* where one that failed ends; NULL = in a JSON answer */
    const char *cookie_tag;     /* ends the names of token cookies: "", or "-" + 8 hex digits
                                 * where the virtual host has several mounts */
    const char *login_url;      /* the site's page for signing in: a path or a URL; NULL = none */
    const char *allow_headers;  /* for Access-Control-Allow-Headers: "authorization, content-type, …" */
    apr_array_header_t *webhooks;       /* sa_webhook_t */
    sa_mount_mail_t mail;
    sa_http_limits_t limits;    /* SocialAuthTimeout, …: for webhooks; providers have their own copy */
    const char *db_driver, *db_params;  /* of the virtual host's mod_dbd, for socialauthctl and the watchdog */
    const sa_store_t *store;    /* NULL when DBDriver is missing (a configtest error) */
    sa_user_map_t user_map;
    int db_connections;         /* per child */
    int db_timeout_ms;
    apr_size_t shared_bytes;
    int hash_concurrency;       /* over all children */
    apr_array_header_t *elsewhere;      /* const char *: paths in it that another SetHandler has */
    const char *defn;           /* "file:line" of the <Location> */
} sa_mount_t;

/* The mount that owns uri (already normalised by httpd: r->uri), or NULL; *rest points into uri, at
 * what follows the mount's path and one slash (a trailing slash stays). Longest path wins; what a
 * <Location> inside the mount gives to another handler is nobody's. */
const sa_mount_t *sa_mount_find(const server_rec *s, const char *uri, const char **rest);
/* All mounts of all servers, const sa_mount_t *. */
const apr_array_header_t *sa_mounts(const server_rec *main_server);

/* 1 when both use the same pool of mod_dbd: one driver with the same parameters. */
int sa_mount_same_database(const sa_mount_t *a, const sa_mount_t *b);

/* For mod_social_auth.c */
extern const command_rec sa_directives[];
void *sa_dir_conf_create(apr_pool_t *p, char *dir);
void *sa_dir_conf_merge(apr_pool_t *p, void *base, void *add);
void *sa_server_conf_create(apr_pool_t *p, server_rec *s);
/* Hook check_config: OK or HTTP_INTERNAL_SERVER_ERROR after logging what is wrong. */
int sa_check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s);
/* Hook test_config (httpd -t -D DUMP_SOCIAL_AUTH): prints what socialauthctl needs as one line of JSON:
 * {"mounts":[{"server","mount","driver","params","user_table","user_deleted",
 * "user_columns":{role:column},"settings":{},"providers":[],...}],"secret_files":[path],"user","watchdog"},
 * in order; no secrets but DBDParams. */
void sa_test_config(apr_pool_t *pconf, server_rec *s);

/* "literal", "file:/path", "exec:/program args" -> the secret in p, wiped with p. A phrase on failure
 * (unreadable, readable by others, empty, program failed). */
const char *sa_secret_resolve(apr_pool_t *p, apr_pool_t *ptemp, const char *spec,
                              const char **secret, apr_size_t *len);

#endif
