#include "ctl/ctl.h"

#include <apr_strings.h>
#include <stdio.h>
#include <string.h>

#include "core/crypto.h"
#include "core/password.h"
#include "core/text.h"

static apr_int64_t now(void)
{
    return apr_time_sec(apr_time_now());
}

static json_t *describe(const sa_user_t *user)
{
    json_t *out = json_pack("{s:s?, s:s, s:s, s:s, s:b, s:b, s:b, s:b}", "email", user->email,
                            "username", user->username, "first_name", user->first_name,
                            "last_name", user->last_name, "is_active", user->usable,
                            "is_staff", user->is_staff, "is_superuser", user->is_superuser,
                            "has_password", sa_password_usable(user->password));
    json_object_set_new(out, "id", user->id_is_integer ? json_integer(apr_atoi64(user->id))
                                                       : json_string(user->id));
    return out;
}

/* By e-mail or user name, then by id. */
static int find(ctl_t *ctl, const char *name, sa_user_t **user)
{
    sa_work_t *work;
    sa_error_t *error = ctl_open(ctl, &work);

    if (!error) {
        error = sa_store_user_by_login(work, sa_email_canonical(ctl->pool, name), name, user);
    }
    if (!error && !*user) {
        error = sa_store_user_by_id(work, name, user);
    }
    sa_work_close(work);
    if (error) {
        return ctl_fail_error(error);
    }
    return *user ? CTL_OK : ctl_fail("there is no user \"%s\" (or more than one)", name);
}

/* NULL after saying why. */
static const char *ask_for_hash(ctl_t *ctl)
{
    char *password = ctl_read_password(ctl);

    if (!password) {
        return NULL;
    }
    const char *hash = sa_password_hash(ctl->pool, password, strlen(password));
    sa_wipe(password, strlen(password));
    if (!hash) {
        ctl_fail("the password was not hashed");
    }
    return hash;
}

static int create(ctl_t *ctl, const sa_new_user_t *user)
{
    const char *id = NULL, *taken = NULL;
    sa_work_t *work;
    sa_error_t *error = ctl_open(ctl, &work);

    if (!error) {
        error = sa_store_create_user(work, user, now(), &id, &taken);
    }
    sa_work_close(work);
    if (error) {
        return ctl_fail_error(error);
    }
    if (taken) {
        return ctl_fail("this %s is in use", taken);
    }
    ctl_say(ctl, json_pack("{s:s, s:s, s:s}", "id", id, "email", user->email,
                           "username", user->username),
            "created user %s (%s)", id, user->email);
    return CTL_OK;
}

int ctl_users_create(ctl_t *ctl, const char **operands)
{
    const char *email = ctl->email ? sa_email_canonical(ctl->pool, ctl->email) : NULL;

    if (!email) {
        ctl_fail(ctl->email ? "--email is not an e-mail address" : "--email is needed");
        return CTL_USAGE;
    }
    sa_new_user_t user = {
        .email = email,
        .username = ctl->username ? ctl->username : sa_username_from_email(ctl->pool, email),
        .first_name = ctl->first_name ? ctl->first_name : "",
        .last_name = ctl->last_name ? ctl->last_name : "",
        .password = ctl->no_password ? sa_password_unusable(ctl->pool) : ask_for_hash(ctl),
        .email_verified = 1, .is_active = 1,
        .is_staff = ctl->staff, .is_superuser = ctl->superuser,
    };
    return user.password ? create(ctl, &user) : CTL_FAILED;
}

/* A change of one user that ends its sessions, and who hears of it. */
typedef struct {
    const char *type;           /* of the event */
    const char *id;
    sa_error_t *(*apply)(sa_work_t *work, const char *user_id, const void *value, int *done);
    const void *value;
} change_t;

static sa_event_t event_of(ctl_t *ctl, const change_t *change)
{
    return (sa_event_t) {
        .id = change->id, .type = change->type, .time = now(), .targets = ctl->webhooks,
    };
}

static sa_error_t *apply(ctl_t *ctl, sa_work_t *work, const char *user_id, const change_t *change,
                         int *done)
{
    const sa_event_t event = event_of(ctl, change);
    int n;

    sa_error_t *error = sa_work_begin(work);
    if (!error) {
        error = change->apply(work, user_id, change->value, done);
    }
    if (!error && *done && change->type) {
        error = sa_store_revoke_user(work, user_id, NULL, now(), &n);
    }
    if (!error && *done && change->type) {
        error = sa_store_event(work, user_id, &event);
    }
    return error ? error : sa_work_commit(work);
}

/* missing: what is wrong when nothing could be changed. */
static int change_user(ctl_t *ctl, const char *user_id, change_t *change, const char *missing)
{
    const char *random = sa_random_text(ctl->pool, 16);
    sa_work_t *work;
    int done = 0;

    if (!random) {
        return ctl_fail("OpenSSL gave no random bytes");
    }
    change->id = apr_pstrcat(ctl->pool, "evt_", random, NULL);
    sa_error_t *error = ctl_open(ctl, &work);
    if (!error) {
        error = apply(ctl, work, user_id, change, &done);
    }
    if (!error && done && change->type && ctl->notify) {
        error = sa_store_notify(work, change->id, change->type);
    }
    sa_work_close(work);
    return error ? ctl_fail_error(error) : done ? CTL_OK : ctl_fail("%s", missing);
}

static sa_error_t *set_password(sa_work_t *work, const char *user_id, const void *hash, int *done)
{
    return sa_store_set_password(work, user_id, NULL, hash, done);
}

int ctl_users_set_password(ctl_t *ctl, const char **operands)
{
    change_t change = { .type = "password_changed", .apply = set_password };
    sa_user_t *user;

    if (find(ctl, operands[0], &user) != CTL_OK || !(change.value = ask_for_hash(ctl))
        || change_user(ctl, user->id, &change, "the user table has no password column")) {
        return CTL_FAILED;
    }
    ctl_say(ctl, json_pack("{s:s, s:b}", "id", user->id, "changed", 1),
            "changed the password of user %s and ended its sessions", user->id);
    return CTL_OK;
}

static sa_error_t *apply_active(sa_work_t *work, const char *user_id, const void *active, int *done)
{
    return sa_store_set_active(work, user_id, *(const int *)active, done);
}

static int set_active(ctl_t *ctl, const char *name, int active)
{
    change_t change = {
        .type = active ? NULL : "user_deactivated", .apply = apply_active, .value = &active
    };
    sa_user_t *user;

    if (find(ctl, name, &user) != CTL_OK
        || change_user(ctl, user->id, &change, "the user table has no is_active column")) {
        return CTL_FAILED;
    }
    ctl_say(ctl, json_pack("{s:s, s:b}", "id", user->id, "is_active", active),
            "%s user %s", active ? "activated" : "deactivated", user->id);
    return CTL_OK;
}

int ctl_users_activate(ctl_t *ctl, const char **operands)
{
    return set_active(ctl, operands[0], 1);
}

int ctl_users_deactivate(ctl_t *ctl, const char **operands)
{
    return set_active(ctl, operands[0], 0);
}

int ctl_users_list(ctl_t *ctl, const char **operands)
{
    apr_array_header_t *users;
    sa_work_t *work;
    sa_error_t *error = ctl_open(ctl, &work);

    if (!error) {
        error = sa_store_list_users(work, ctl->after, ctl->limit, &users);
    }
    sa_work_close(work);
    if (error) {
        return ctl_fail_error(error);
    }
    json_t *list = json_array();
    for (int i = 0; i < users->nelts; i++) {
        const sa_user_t *user = &APR_ARRAY_IDX(users, i, sa_user_t);
        json_array_append_new(list, describe(user));
        if (!ctl->json) {
            printf("%s\t%s\t%s\t%s\n", user->id, user->email ? user->email : "-", user->username,
                   user->usable ? "active" : "inactive");
        }
    }
    if (ctl->json) {
        ctl_say(ctl, list, "%s", "");
    }
    else {
        json_decref(list);
    }
    return CTL_OK;
}
