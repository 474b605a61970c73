/* users import: people from another program's JSON, all of them or none. */
#include "ctl/import.h"

#include <apr_strings.h>
#include <string.h>

#include "core/json.h"
#include "core/password.h"
#include "core/text.h"

typedef struct {
    const char *name;
    json_type type;
} member_t;

/* id and has_password are in what "users list --json" prints, and say nothing here. */
static const member_t members[] = {
    { "email", JSON_STRING }, { "username", JSON_STRING }, { "first_name", JSON_STRING },
    { "last_name", JSON_STRING }, { "password", JSON_STRING }, { "email_verified", JSON_TRUE },
    { "is_active", JSON_TRUE }, { "is_staff", JSON_TRUE }, { "is_superuser", JSON_TRUE },
    { "id", JSON_NULL }, { "has_password", JSON_NULL },
};

static const member_t *member_of(const char *name)
{
    for (apr_size_t i = 0; i < sizeof(members) / sizeof(*members); i++) {
        if (!strcmp(members[i].name, name)) {
            return &members[i];
        }
    }
    return NULL;
}

static int fits(const member_t *member, const json_t *value)
{
    return member->type == JSON_NULL || json_is_null(value)
           || (member->type == JSON_TRUE ? json_is_boolean(value) : json_is_string(value));
}

static const char *members_problem(const ctl_t *ctl, json_t *entry)
{
    const char *name;
    json_t *value;

    if (!json_is_object(entry)) {
        return "is not an object";
    }
    json_object_foreach(entry, name, value) {
        const member_t *member = member_of(name);
        if (!member || !fits(member, value)) {
            return apr_psprintf(ctl->pool, member ? "%s must be %s" : "has an unknown member, %s",
                                ctl_shown(ctl, name),
                                member && member->type == JSON_TRUE ? "true or false" : "a string");
        }
    }
    return NULL;
}

static const char *text_of(const json_t *entry, const char *name)
{
    const char *text = sa_json_string(entry, name);

    return text ? text : "";
}

static int flag_of(const json_t *entry, const char *name, int otherwise)
{
    const json_t *value = json_object_get(entry, name);

    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

/* NULL, or what is wrong with the entry. */
static const char *read_user(const ctl_t *ctl, json_t *entry, sa_new_user_t *user)
{
    const char *problem = members_problem(ctl, entry);

    if (problem) {
        return problem;
    }
    const char *password = text_of(entry, "password"), *username = text_of(entry, "username");
    const char *email = sa_email_canonical(ctl->pool, text_of(entry, "email"));
    if (!email) {
        return "email must be an e-mail address";
    }
    if (*password && *password != '!' && !ctl_is_django_hash(password)) {
        return "password must be a hash of pbkdf2_sha256, argon2, scrypt or bcrypt_sha256 as Django "
               "writes it";
    }
    *user = (sa_new_user_t) {
        .email = email,
        .username = *username ? username : sa_username_from_email(ctl->pool, email),
        .first_name = text_of(entry, "first_name"), .last_name = text_of(entry, "last_name"),
        .password = *password && *password != '!' ? password : sa_password_unusable(ctl->pool),
        .email_verified = flag_of(entry, "email_verified", 0),
        .is_active = flag_of(entry, "is_active", 1),
        .is_staff = flag_of(entry, "is_staff", 0) || flag_of(entry, "is_superuser", 0),
        .is_superuser = flag_of(entry, "is_superuser", 0),
    };
    return NULL;
}

static sa_error_t *import_user(ctl_import_t *import, const sa_new_user_t *user)
{
    const ctl_t *ctl = import->ctl;
    const char *id, *in_use = NULL;
    sa_taken_t taken;

    sa_error_t *error = sa_store_taken(import->work, user->email, user->username, &taken);
    if (!error && taken.both) {
        import->users.counts[SA_IMPORT_THERE]++;
        return NULL;
    }
    if (!error) {
        error = sa_store_create_user(import->work, user, ctl_now(), &id, &in_use);
    }
    if (!error && in_use) {
        ctl_import_note(import, "user %s (%s): left out, the %s is somebody else's",
                        ctl_shown(ctl, user->email), ctl_shown(ctl, user->username), in_use);
    }
    import->users.counts[in_use ? SA_IMPORT_CONFLICT : SA_IMPORT_DONE] += !error;
    return error;
}

static sa_error_t *import_all(ctl_import_t *import, const sa_new_user_t *users, apr_size_t n)
{
    sa_error_t *error = sa_work_begin(import->work);

    for (apr_size_t i = 0; !error && i < n; i++) {
        error = import_user(import, &users[i]);
    }
    return error || import->ctl->dry_run ? error : sa_work_commit(import->work);
}

/* The users of the file, NULL after saying what is wrong with it. */
static sa_new_user_t *read_file(ctl_t *ctl, const char *path, apr_size_t *n)
{
    json_error_t why;
    json_t *list = sa_json_own(ctl->pool, json_load_file(path, JSON_REJECT_DUPLICATES, &why));

    if (!json_is_array(list)) {
        ctl_fail("%s: %s", path, list ? "an array of users is needed"
                                      : apr_psprintf(ctl->pool, "line %d: %s", why.line, why.text));
        return NULL;
    }
    *n = json_array_size(list);
    sa_new_user_t *users = apr_pcalloc(ctl->pool, (*n + 1) * sizeof(*users));
    for (apr_size_t i = 0; i < *n; i++) {
        const char *problem = read_user(ctl, json_array_get(list, i), &users[i]);
        if (problem) {
            ctl_fail("%s: user %d: %s", path, (int)i + 1, problem);
            return NULL;
        }
    }
    return users;
}

int ctl_users_import(ctl_t *ctl, const char **operands)
{
    ctl_import_t import = { .ctl = ctl };
    apr_size_t n;
    const sa_new_user_t *users = read_file(ctl, operands[0], &n);

    if (!users) {
        return CTL_FAILED;
    }
    import.notes = json_array();
    sa_error_t *error = ctl_open(ctl, &import.work);
    if (!error) {
        error = import_all(&import, users, n);
    }
    sa_work_close(import.work);
    return error ? ctl_fail_error(error) : ctl_import_say_users(&import);
}
