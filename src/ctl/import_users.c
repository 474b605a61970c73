/* Users. They keep their ids where those are numbers and free, so that tokens and tables that name
 * them go on meaning the same person. */
#include "ctl/import.h"

#include <apr_strings.h>
#include <string.h>

#include "core/password.h"
#include "core/text.h"

int ctl_is_django_hash(const char *stored)
{
    static const char *const known[] = { "argon2$", "pbkdf2_sha256$", "scrypt$", "bcrypt_sha256$" };

    for (apr_size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (!strncmp(stored, known[i], strlen(known[i]))) {
            return 1;
        }
    }
    return 0;
}

static const char *shown(const ctl_import_t *import, const char *text)
{
    return ctl_shown(import->ctl, text);
}

static const char *name_of(const ctl_import_t *import, const sa_django_user_t *from)
{
    const char *name = from->username && *from->username ? from->username : from->email;

    return name && *name ? name : apr_pstrcat(import->ctl->pool, "user_", from->id, NULL);
}

/* The canonical address, or NULL after saying why there is none. */
static const char *email_of(ctl_import_t *import, const sa_django_user_t *from, int taken)
{
    const char *email = from->email && *from->email
                            ? sa_email_canonical(import->ctl->pool, from->email) : NULL;

    if (!from->email || !*from->email || (email && !taken)) {
        return email;
    }
    import->without_email++;
    ctl_import_note(import, "user %s (%s): without the e-mail address %s, which %s",
                    shown(import, from->id), shown(import, from->username),
                    shown(import, from->email), email ? "is somebody else's" : "is not one");
    return NULL;
}

/* Its own id, or the next that nobody has here or in Django. */
static sa_error_t *choose_id(ctl_import_t *import, const sa_django_user_t *from,
                             apr_int64_t *largest, const char **id)
{
    sa_user_t *there = NULL;
    sa_error_t *error = NULL;

    *id = from->id;
    int is_good = from->id_is_integer && apr_atoi64(from->id) > 0;
    if (is_good) {
        error = sa_store_user_by_id(import->work, from->id, &there);
    }
    if (!is_good || there) {
        *id = apr_psprintf(import->ctl->pool, "%" APR_INT64_T_FMT, ++*largest);
    }
    return error;
}

static sa_error_t *make_user(ctl_import_t *import, const sa_django_user_t *from,
                             const char *email, const char *id)
{
    const char *password = from->password && *from->password
                               ? from->password : sa_password_unusable(import->ctl->pool);
    const sa_new_user_t user = {
        .email = email, .username = name_of(import, from),
        .first_name = from->first_name ? from->first_name : "",
        .last_name = from->last_name ? from->last_name : "", .password = password,
        .email_verified = email && from->email_verified, .is_active = from->is_active,
        .is_staff = from->is_staff, .is_superuser = from->is_superuser,
        .last_login = from->last_login,
    };
    int done = 0;
    sa_error_t *error = sa_import_user(import->work, id, &user, from->date_joined, &done);

    if (!error && !done) {
        return sa_error(import->ctl->pool, SA_E_CONFLICT, NULL,
                        "somebody else took the place of user %s just now: try again", from->id);
    }
    import->users.counts[SA_IMPORT_DONE]++;
    import->strange_passwords += sa_password_usable(password) && !ctl_is_django_hash(password);
    apr_hash_set(import->ids, from->id, APR_HASH_KEY_STRING, id);
    return error;
}

static sa_error_t *new_user(ctl_import_t *import, const sa_django_user_t *from,
                            apr_int64_t *largest)
{
    const char *id, *name = name_of(import, from);
    const char *email = from->email ? sa_email_canonical(import->ctl->pool, from->email) : NULL;
    sa_taken_t taken;

    sa_error_t *error = sa_store_taken(import->work, email, name, &taken);
    if (error) {
        return error;
    }
    if (taken.username) {
        import->users.counts[SA_IMPORT_CONFLICT]++;
        ctl_import_note(import, "user %s: left out, the user name %s is somebody else's",
                        shown(import, from->id), shown(import, name));
        return NULL;
    }
    email = email_of(import, from, taken.email);
    error = choose_id(import, from, largest, &id);
    return error ? error : make_user(import, from, email, id);
}

static sa_error_t *import_user(ctl_import_t *import, const sa_django_user_t *from,
                               apr_int64_t *largest)
{
    const char *there;
    sa_error_t *error = sa_import_find_user(import->work, from->id_is_integer ? from->id : NULL,
                                            name_of(import, from), from->date_joined, &there);

    if (error || !there) {
        return error ? error : new_user(import, from, largest);
    }
    import->users.counts[SA_IMPORT_THERE]++;
    apr_hash_set(import->ids, from->id, APR_HASH_KEY_STRING, there);
    return NULL;
}

static sa_error_t *import_into_own(ctl_import_t *import, const apr_array_header_t *users)
{
    apr_int64_t largest;
    sa_error_t *error = sa_import_begin(import->work, &largest);

    for (int i = 0; !error && i < users->nelts; i++) {
        const sa_django_user_t *user = &APR_ARRAY_IDX(users, i, sa_django_user_t);
        apr_int64_t id = user->id_is_integer ? apr_atoi64(user->id) : 0;
        largest = id > largest ? id : largest;
    }
    for (int i = 0; !error && i < users->nelts; i++) {
        error = import_user(import, &APR_ARRAY_IDX(users, i, sa_django_user_t), &largest);
    }
    return error;
}

/* ---- a mapped table holds them already ---- */

static int is_same_person(const ctl_import_t *import, const sa_django_user_t *from,
                          const sa_user_t *there)
{
    apr_pool_t *p = import->ctl->pool;
    const char *email = from->email ? sa_email_canonical(p, from->email) : NULL;
    const char *theirs = there->email ? sa_email_canonical(p, there->email) : NULL;

    return (from->username && !strcmp(from->username, there->username))
           || (email && theirs && !strcmp(email, theirs));
}

static sa_error_t *find_user(ctl_import_t *import, const sa_django_user_t *from)
{
    sa_user_t *there = NULL;
    sa_error_t *error = sa_store_user_by_id(import->work, from->id, &there);

    if (error) {
        return error;
    }
    if (there && is_same_person(import, from, there)) {
        import->users.counts[SA_IMPORT_THERE]++;
        apr_hash_set(import->ids, from->id, APR_HASH_KEY_STRING, from->id);
        return NULL;
    }
    import->users.counts[SA_IMPORT_CONFLICT]++;
    ctl_import_note(import, "user %s (%s): left out, %s of this id in SocialAuthUserTable",
                    shown(import, from->id), shown(import, from->username),
                    there ? "somebody else is" : "nobody is");
    return NULL;
}

sa_error_t *ctl_import_users(ctl_import_t *import)
{
    apr_array_header_t *users;
    sa_error_t *error = sa_django_users(import->django, &users);

    if (!error && sa_store_is_own(import->ctl->store)) {
        return import_into_own(import, users);
    }
    for (int i = 0; !error && i < users->nelts; i++) {
        error = find_user(import, &APR_ARRAY_IDX(users, i, sa_django_user_t));
    }
    return error;
}
