/* Writing what was read elsewhere into our own tables, so that doing it again changes nothing.
 *
 * An imported user is known again by when it joined and its id or user name. All of it
 * happens inside one transaction of the caller's. */
#ifndef SA_STORE_IMPORT_H
#define SA_STORE_IMPORT_H

#include "store/store.h"

typedef enum {
    SA_IMPORT_DONE,
    SA_IMPORT_THERE,            /* was imported before, or came about otherwise */
    SA_IMPORT_CONFLICT          /* something else is in its place; nothing was written */
} sa_import_verdict_t;

/* *largest: id of a user, 0 when there is none. */
sa_error_t *sa_import_begin(sa_work_t *work, apr_int64_t *largest);
/* Before the commit. */
sa_error_t *sa_import_end(sa_work_t *work);

/* Who was imported with this id (NULL: of another kind) or this user name; NULL for nobody. */
sa_error_t *sa_import_find_user(sa_work_t *work, const char *id, const char *username,
                                apr_int64_t joined, const char **user_id);
/* *done 0 when the id, the e-mail or the user name is in use. */
sa_error_t *sa_import_user(sa_work_t *work, const char *id, const sa_new_user_t *user,
                           apr_int64_t joined, int *done);
/* A conflict: the identity is somebody else's, or the user has another one of the issuer. */
sa_error_t *sa_import_link(sa_work_t *work, const char *user_id, const sa_link_t *link,
                           sa_import_verdict_t *verdict);
/* A link whose subject is not known, but its canonical e-mail: see sa_store_take_pending. */
sa_error_t *sa_import_pending(sa_work_t *work, const char *user_id, const sa_link_t *link,
                              sa_import_verdict_t *verdict);

#endif
