/* Handing one mail over: to an SMTP server, by libcurl, or to a local program like sendmail. */
#ifndef SA_PROVIDERS_SMTP_H
#define SA_PROVIDERS_SMTP_H

#include "providers/http_client.h"

typedef enum { SA_STARTTLS_REQUIRED, SA_STARTTLS_OPTIONAL, SA_STARTTLS_OFF } sa_starttls_t;

typedef struct {
    const char *url;            /* smtp://host[:port] or smtps://…, NULL = the program */
    char *const *argv;          /* of the program, absolute path first; NULL = the server */
    const char *user, *password;        /* NULL = none */
    sa_starttls_t starttls;     /* of smtp:// */
} sa_mailer_t;

typedef enum {
    SA_SENT,
    SA_SENT_LATER,              /* not now: unreachable, too slow, refused for the time being */
    SA_SENT_NEVER               /* the receiver refuses it for good */
} sa_sent_t;

typedef struct {
    const char *from, *to;      /* of the envelope: addresses */
    const char *helo;           /* our name for EHLO */
    const char *text;           /* the whole message, CRLF line ends */
} sa_envelope_t;

/* Waits limits->total_ms at most, and until stop() says 1 (may be NULL). Certificates are always
 * verified; no proxy is used. *why is a log text in p unless SA_SENT. */
sa_sent_t sa_mailer_send(const sa_mailer_t *mailer, apr_pool_t *p, const sa_http_limits_t *limits,
                         const sa_envelope_t *envelope, int (*stop)(void), const char **why);

#endif
