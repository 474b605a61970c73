/* What lives between requests: shared memory in the parent, one set of clients
 * (HTTP, keys, database gate) per child. */
#ifndef SA_HTTPD_RUNTIME_H
#define SA_HTTPD_RUNTIME_H

#include "httpd/config.h"

/* Hook post_config: shared memory and global library set-up. */
int sa_runtime_post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp,
                           server_rec *s);
/* Hook child_init; must run before mod_dbd's. */
void sa_runtime_child_init(apr_pool_t *p, server_rec *s);
/* Hook optional_fn_retrieve: mod_dbd's functions. */
void sa_dbd_retrieve(void);

sa_shared_t *sa_runtime_shared(void);
const sa_provider_env_t *sa_runtime_env(void);
/* This child's way to the turns of hashing. */
sa_hash_gate_t *sa_runtime_hash_gate(void);
/* The worker's own, for one call at a time. */
sa_http_t *sa_runtime_webhook_http(void);

/* The gate of a mount's virtual host to mod_dbd's pool: at most SocialAuthDBConnections callers
 * at a time, never waiting longer than SocialAuthDBTimeout. Made in child_init. */
apr_status_t sa_dbd_child_init(apr_pool_t *p, const apr_array_header_t *mounts);
const sa_db_source_t *sa_dbd_source(const sa_mount_t *mount);
/* A connection of the caller's own to the mount's database, beside mod_dbd's pool: opened when it is
 * needed, kept, closed with p. For one thread. */
const sa_db_source_t *sa_dbd_own_source(apr_pool_t *p, const sa_mount_t *mount, int timeout_ms);
/* Closes it; the next work opens another one. */
void sa_dbd_own_close(const sa_db_source_t *source);

#endif
