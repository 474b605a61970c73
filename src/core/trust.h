/* The certificate authorities that servers are checked against: one X509_STORE for all connections,
 * read in the parent so that children share its memory. */
#ifndef SA_CORE_TRUST_H
#define SA_CORE_TRUST_H

#include <apr_pools.h>

typedef struct sa_trust_t sa_trust_t;

/* A file of certificates (PEM) and a directory of such with hashed names; either may be NULL,
 * both NULL = OpenSSL's own places. Read once per pool, which owns it: while the configuration is
 * read, not in threads. NULL and *why when the file is unreadable or holds no certificate. */
const sa_trust_t *sa_trust_load(apr_pool_t *p, const char *file, const char *directory,
                                const char **why);

/* 1 when `library`, as libcurl spells its TLS library ("OpenSSL/3.0.2"), is the OpenSSL we run
 * with: only its contexts may be given to sa_trust_use. */
int sa_trust_serves(const char *library);
/* Has an SSL_CTX check its peers against trust, which any number of threads may share. */
void sa_trust_use(const sa_trust_t *trust, void *ssl_ctx);

#endif
