/* The background worker: one thread in one child of the whole server (mod_watchdog's
 * singleton) delivers webhooks and mails from their outboxes, deletes expired rows and renews
 * providers' keys. As long as it is this child's, threads beside it hear which sessions end: none
 * of that may wait for a receiver that hangs. */
#ifndef SA_HTTPD_WATCHDOG_H
#define SA_HTTPD_WATCHDOG_H

#include "httpd/config.h"

/* Hook post_config, after sa_runtime_post_config: registers the worker when mod_watchdog is there. */
int sa_watchdog_post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp,
                            server_rec *s);

/* In child_init: the worker's tick ends before the child's pool does. */
void sa_watchdog_child_init(apr_pool_t *p);
/* 1 when the child is ending: begin nothing more. */
int sa_watchdog_is_stopping(void);

/* A work on the mount's database. */
sa_error_t *sa_watchdog_open(const sa_mount_t *mount, apr_pool_t *p, sa_work_t **work);
/* Calls one(), each time with a pool of its own, while it returns 1, for a few seconds at most. */
void sa_watchdog_drain(apr_pool_t *p, int (*one)(void *ctx, apr_pool_t *p), void *ctx);
/* Logs "what: error" once per outage of a database, not at every tick; error NULL ends it. */
void sa_watchdog_note_outage(apr_pool_t *p, server_rec *s, const sa_mount_t *mount,
                             const char *what, const sa_error_t *error);

/* ---- revocations.c: one thread per database, in the child that has the worker ---- */
void sa_revocations_start(server_rec *s);
/* Waits for them, for a few seconds at most. Safe to call more than once. */
void sa_revocations_stop(void);

/* Sends what is due in the database of `mount`, for a few seconds at most. */
void sa_mails_send(apr_pool_t *p, server_rec *s, const sa_mount_t *mount,
                   const apr_array_header_t *mounts);

/* ---- webhooks.c ---- */
/* Delivers what is due in the database of `mount`, for a few seconds at most. */
void sa_webhooks_deliver(apr_pool_t *p, server_rec *s, const sa_mount_t *mount,
                         const apr_array_header_t *mounts);

/* Standard Webhooks 1.0: "v1," + base64(HMAC-SHA-256(key, id.timestamp.body)). In p. */
const char *sa_webhook_signature(apr_pool_t *p, const sa_webhook_t *webhook, const char *id,
                                 apr_int64_t timestamp, const char *body);

#endif
