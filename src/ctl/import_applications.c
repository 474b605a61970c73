/* Applications of django-oauth-toolkit. */
#include "ctl/import.h"

#include <apr_strings.h>
#include <string.h>

#include "accounts/accounts.h"

#define SCOPES "read write"     /* what the toolkit gives without a configuration */

static const struct {
    const char *django, *grants;
} known[] = {
    { "password", "password refresh_token convert_token" },
    { "authorization-code", "authorization_code refresh_token" },
    { "client-credentials", "client_credentials" },
};

static const char *grants_of(const char *django)
{
    for (apr_size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (!strcmp(django, known[i].django)) {
            return known[i].grants;
        }
    }
    return NULL;
}

/* Those that are allowed here, with single spaces between. */
static const char *redirect_uris_of(ctl_import_t *import, const sa_django_application_t *from)
{
    apr_pool_t *p = import->ctl->pool;
    char *last = NULL;
    const char *uris = "";

    for (char *uri = apr_strtok(apr_pstrdup(p, from->redirect_uris), " \t\r\n", &last); uri;
         uri = apr_strtok(NULL, " \t\r\n", &last)) {
        if (ctl_redirect_uri_problem(uri)) {
            ctl_import_note(import, "application %s: without the redirect URI %s, which is not "
                            "allowed", from->client_id, ctl_shown(import->ctl, uri));
        }
        else {
            uris = apr_pstrcat(p, uris, *uris ? " " : "", uri, NULL);
        }
    }
    return uris;
}

/* What is stored of a secret; older toolkits kept it as it is. NULL when it cannot be used. */
static const char *secret_of(const ctl_import_t *import, const char *secret)
{
    apr_size_t word = strspn(secret, "abcdefghijklmnopqrstuvwxyz0123456789_");

    if (ctl_is_django_hash(secret)) {
        return secret;
    }
    int is_other_hash = (!strncmp(secret, "pbkdf2_", 7) || !strncmp(secret, "bcrypt", 6))
                        && secret[word] == '$';
    return !*secret || is_other_hash ? NULL : sa_client_secret_hash(import->ctl->pool, secret);
}

/* NULL, or why an application cannot be taken. */
static const char *problem(const sa_django_application_t *from, const sa_application_t *application)
{
    if (!ctl_client_id_is_good(from->client_id)) {
        return "its client id has characters that cannot be used";
    }
    if (!application->grants) {
        return "its grant type is not supported";
    }
    return !application->secret && strcmp(from->client_type, "public")
           ? "its secret is missing, or hashed in a way that is not known" : NULL;
}

static sa_error_t *import_application(ctl_import_t *import, const sa_django_application_t *from)
{
    int done = 0, is_public = !strcmp(from->client_type, "public");
    sa_application_t application = {
        .client_id = from->client_id, .name = *from->name ? from->name : from->client_id,
        .secret = is_public ? NULL : secret_of(import, from->secret),
        .grants = grants_of(from->grant), .scopes = SCOPES, .created = ctl_now(),
        .trusted = from->trusted,
        .owner_id = from->user_id ? apr_hash_get(import->ids, from->user_id, APR_HASH_KEY_STRING)
                                  : NULL,
    };
    sa_application_t *there = NULL;
    const char *why = problem(from, &application);

    if (why) {
        import->applications.counts[SA_IMPORT_CONFLICT]++;
        ctl_import_note(import, "application %s: left out, %s",
                        ctl_shown(import->ctl, from->client_id), why);
        return NULL;
    }
    sa_error_t *error = sa_store_application(import->work, from->client_id, &there);
    if (!error && !there) {
        application.redirect_uris = redirect_uris_of(import, from);
        error = sa_store_create_application(import->work, &application, &done);
    }
    import->applications.counts[done ? SA_IMPORT_DONE : SA_IMPORT_THERE]++;
    return error;
}

sa_error_t *ctl_import_applications(ctl_import_t *import)
{
    apr_array_header_t *applications;
    sa_error_t *error = sa_django_applications(import->django, &applications);

    for (int i = 0; !error && i < applications->nelts; i++) {
        error = import_application(import, &APR_ARRAY_IDX(applications, i,
                                                          sa_django_application_t));
    }
    return error;
}
