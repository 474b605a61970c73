/* Mails as text: messages as RFC 5322 has them, and the templates they are made from. */
#ifndef SA_CORE_MAIL_H
#define SA_CORE_MAIL_H

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>

typedef struct {
    const char *name;           /* "" when none; UTF-8 */
    const char *address;
} sa_mailbox_t;

/* "Name <address>", "\"Name\" <address>" or "address". NULL when fine, else a phrase. */
const char *sa_mailbox_parse(apr_pool_t *p, const char *text, sa_mailbox_t *box);

typedef struct {
    const sa_mailbox_t *from;
    const char *to;             /* an address */
    const char *subject;
    const char *body;           /* lines end in \n */
    const char *id;             /* of Message-ID, without its domain; letters, digits, '-', '_' */
    apr_time_t date;
} sa_message_t;

/* The message with CRLF line ends: UTF-8 text as quoted-printable (RFC 2045 section 6.7), other than
 * ASCII in headers as encoded words (RFC 2047), and Auto-Submitted (RFC 3834). NULL and *why when a
 * header would hold a control character, or `to` is no address. */
char *sa_message_text(apr_pool_t *p, const sa_message_t *message, const char **why);

/* A first line "Subject: …", empty lines, and the text. {word} stands for a value. */
typedef struct {
    const char *subject, *body;
} sa_mail_template_t;

/* words: those a template may use; needed: the one its text must have, NULL = none. NULL when fine, else
 * a phrase that completes "file:line: …", and *line. */
const char *sa_mail_template_parse(apr_pool_t *p, const char *text, apr_size_t len,
                                   const char *const words[], const char *needed,
                                   sa_mail_template_t *template, int *line);
/* text with the values in place of {word}; what the table has not is left as it is. */
char *sa_mail_template_fill(apr_pool_t *p, const char *text, const apr_table_t *values);

/* The templates this module comes with: conf/mail/<name>.txt. Ends with name NULL. */
typedef struct {
    const char *name, *text;
} sa_mail_text_t;
extern const sa_mail_text_t sa_mail_texts[];

#endif
