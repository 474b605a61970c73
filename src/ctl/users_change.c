/* Changes of one user. */
#include "ctl/ctl.h"

#include <apr_strings.h>

static sa_error_t *set_password(sa_work_t *work, const char *user_id, const void *hash, int *done)
{
    return sa_store_set_password(work, user_id, NULL, hash, done);
}

int ctl_users_set_password(ctl_t *ctl, const char **operands)
{
    ctl_change_t change = {
        .type = "password_changed", .apply = set_password,
        .missing = "the user table has no password column",
    };
    sa_user_t *user;

    if (ctl_find_user(ctl, operands[0], &user) != CTL_OK
        || !(change.value = ctl_password_hash(ctl))
        || ctl_change_user(ctl, user->id, &change) != CTL_OK) {
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
    const ctl_change_t change = {
        .type = active ? NULL : "user_deactivated", .apply = apply_active, .value = &active,
        .missing = "the user table has no is_active column",
    };
    sa_user_t *user;

    if (ctl_find_user(ctl, name, &user) != CTL_OK
        || ctl_change_user(ctl, user->id, &change) != CTL_OK) {
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

/* ---- rights ---- */

static sa_error_t *apply_staff(sa_work_t *work, const char *user_id, const void *on, int *done)
{
    return sa_store_set_right(work, user_id, SA_RIGHT_STAFF, *(const int *)on, done);
}

/* A superuser is staff as well, as with users create; who is no longer one may stay staff. */
static sa_error_t *apply_superuser(sa_work_t *work, const char *user_id, const void *on, int *done)
{
    int is_on = *(const int *)on, ignored;
    sa_error_t *error = sa_store_set_right(work, user_id, SA_RIGHT_SUPERUSER, is_on, done);

    return error || !is_on || !*done ? error : sa_store_set_right(work, user_id, SA_RIGHT_STAFF, 1,
                                                                  &ignored);
}

static int set_right(ctl_t *ctl, const char *name, const char *what, ctl_change_t change)
{
    int on = !ctl->off;
    sa_user_t *user;

    change.value = &on;
    if (ctl_find_user(ctl, name, &user) != CTL_OK
        || ctl_change_user(ctl, user->id, &change) != CTL_OK) {
        return CTL_FAILED;
    }
    ctl_say(ctl, json_pack("{s:s, s:b}", "id", user->id, apr_pstrcat(ctl->pool, "is_", what, NULL),
                           on),
            "user %s is %s %s", user->id, on ? "now" : "no longer", what);
    return CTL_OK;
}

int ctl_users_staff(ctl_t *ctl, const char **operands)
{
    const ctl_change_t change = {
        .apply = apply_staff, .missing = "the user table has no is_staff column",
    };
    return set_right(ctl, operands[0], "staff", change);
}

int ctl_users_superuser(ctl_t *ctl, const char **operands)
{
    const ctl_change_t change = {
        .apply = apply_superuser, .missing = "the user table has no is_superuser column",
    };
    return set_right(ctl, operands[0], "superuser", change);
}

/* ---- deletion ---- */

static sa_error_t *apply_deletion(sa_work_t *work, const char *user_id, const void *unused,
                                  int *done)
{
    return sa_store_delete_user(work, user_id, ctl_now(), done);
}

static sa_error_t *apply_removal(sa_work_t *work, const char *user_id, const void *unused,
                                 int *done)
{
    return sa_store_remove_user(work, user_id, done);
}

static const char *deletion_question(ctl_t *ctl, const sa_user_t *user)
{
    return apr_psprintf(ctl->pool, "%s user %s (%s)%s?", ctl->purge ? "Remove" : "Delete", user->id,
                        ctl_shown(ctl, user->email ? user->email : user->username),
                        ctl->purge ? ", its links and sessions for good" : "");
}

int ctl_users_delete(ctl_t *ctl, const char **operands)
{
    const ctl_change_t change = {
        .type = "user_deleted", .apply = ctl->purge ? apply_removal : apply_deletion,
        .missing = ctl->purge ? "the user has gone meanwhile"
                              : "the user table has no column that marks deleted users "
                                "(SocialAuthUserDeletedField): use users deactivate, or --purge",
        .conflict = "other tables refer to this user, so its row stays; delete it without --purge",
    };
    sa_user_t *user;

    if (ctl_find_user(ctl, operands[0], &user) != CTL_OK
        || ctl_confirm(ctl, deletion_question(ctl, user)) != CTL_OK
        || ctl_change_user(ctl, user->id, &change) != CTL_OK) {
        return CTL_FAILED;
    }
    ctl_say(ctl, json_pack("{s:s, s:b, s:b}", "id", user->id, "deleted", 1, "purged", ctl->purge),
            "%s user %s", ctl->purge ? "removed" : "deleted", user->id);
    return CTL_OK;
}
