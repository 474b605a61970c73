/* One import, from Django or of users alone: where it reads and writes, what it counted. Private to its
 * files. */
#ifndef SA_CTL_IMPORT_H
#define SA_CTL_IMPORT_H

#include "ctl/ctl.h"
#include "store/django.h"
#include "store/import.h"

#include <apr_hash.h>

typedef struct {
    int counts[3];              /* by sa_import_verdict_t; a conflict is something left out */
} ctl_tally_t;

typedef struct {
    ctl_t *ctl;
    sa_work_t *work;            /* inside a transaction */
    sa_django_t *django;        /* NULL: from a file */
    apr_hash_t *ids;            /* Django's id of a user -> ours */
    ctl_tally_t users, links, pending, applications;
    int without_email;          /* users who lost an address on the way */
    int strange_passwords;      /* hashes that nobody can sign in with */
    apr_hash_t *unknown;        /* provider nobody knows -> int *, how many links */
    json_t *notes;              /* what people should know, a sentence each */
} ctl_import_t;

/* Something that was left out or changed. */
void ctl_import_note(ctl_import_t *import, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* The summary when users are all there was to import. */
int ctl_import_say_users(ctl_import_t *import);

sa_error_t *ctl_import_users(ctl_import_t *import);
sa_error_t *ctl_import_links(ctl_import_t *import);     /* after the users, as the next */
sa_error_t *ctl_import_applications(ctl_import_t *import);

/* A value stored by one of Django's password hashers that can be verified here. */
int ctl_is_django_hash(const char *stored);

#endif
