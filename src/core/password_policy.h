/* Which new passwords are good enough: Django's four validators, in its order and with its
 * messages. */
#ifndef SA_CORE_PASSWORD_POLICY_H
#define SA_CORE_PASSWORD_POLICY_H

#include "core/error.h"

/* Words in lower case, one a line, sorted bytewise. */
typedef struct {
    const char *text;
    apr_size_t len;
} sa_common_passwords_t;

/* conf/common-passwords.txt, compiled in. */
extern const sa_common_passwords_t sa_common_passwords;

/* A file of one password a line, in any order and case; lines that begin with "# " are comments.
 * NULL when fine, else a phrase. *list lives in p. */
const char *sa_common_passwords_load(apr_pool_t *p, const char *path,
                                     const sa_common_passwords_t **list);

typedef struct {
    int min_length;             /* characters */
    int similarity, common, numeric;    /* 1 = checked */
    const sa_common_passwords_t *list;
} sa_password_policy_t;

/* Whose password it will be; each may be NULL. */
typedef struct {
    const char *username, *first_name, *last_name, *email;
} sa_password_owner_t;

/* Adds to *errors, under `field`, everything that is wrong with a password (valid UTF-8) as
 * SA_E_INVALID. One over SA_PASSWORD_MAX bytes is not looked at any further. */
void sa_password_judge(apr_pool_t *p, const sa_password_policy_t *policy,
                       const sa_password_owner_t *owner, const char *password,
                       const char *field, sa_error_t **errors);

#endif
