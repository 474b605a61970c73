/* The database of a Django project, read in its own tables; nothing is written into it.
 *
 * Everything read is of one snapshot and lives in the work's pool. */
#ifndef SA_STORE_DJANGO_H
#define SA_STORE_DJANGO_H

#include "store/store.h"

typedef struct sa_django_t sa_django_t;

/* A snapshot of the database behind `source`, whose users are in user_table ("auth_user",
 * "schema.people_person"). SA_E_UNAVAILABLE when it cannot be read or there is no such table.
 * Ends with sa_django_close, which is safe after a failure. */
sa_error_t *sa_django_open(sa_django_t **django, const char *driver, const char *user_table,
                           const sa_db_source_t *source, apr_pool_t *p);
void sa_django_close(sa_django_t *django);

typedef struct {
    const char *id;
    int id_is_integer;
    const char *email;          /* as it is; NULL or "" when none */
    const char *username;       /* without such a column: the e-mail; NULL or "" when none */
    const char *first_name, *last_name, *password;      /* NULL when none */
    int is_active, is_staff, is_superuser;
    int email_verified;         /* as allauth's account_emailaddress says */
    apr_int64_t date_joined;    /* 0 when not known */
    apr_int64_t last_login;     /* 0 when never */
} sa_django_user_t;
/* Those with a verified address come first, then in the order of their ids. */
sa_error_t *sa_django_users(sa_django_t *django, apr_array_header_t **users);

typedef struct {
    const char *user_id;
    const char *provider, *uid; /* as the package calls them */
    const char *table;          /* which */
} sa_django_link_t;
/* Of social-auth-app-django, allauth and django-social-auth-rest, where their tables exist. */
sa_error_t *sa_django_links(sa_django_t *django, apr_array_header_t **links);

typedef struct {
    const char *client_id, *name, *secret, *client_type, *grant, *redirect_uris;
    const char *user_id;        /* its owner; NULL when none */
    int trusted;                /* skip_authorization */
} sa_django_application_t;
/* Of django-oauth-toolkit. */
sa_error_t *sa_django_applications(sa_django_t *django, apr_array_header_t **applications);

#endif
