/* Users: making them, looking at them. */
#include "ctl/ctl.h"

#include <apr_strings.h>
#include <stdio.h>
#include <string.h>

#include "core/password.h"
#include "core/text.h"

static json_t *describe(const ctl_t *ctl, const sa_user_t *user)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:b, s:b, s:b, s:b}",
                     "id", user->id_is_integer ? json_integer(apr_atoi64(user->id))
                                               : ctl_json(ctl, user->id),
                     "email", ctl_json(ctl, user->email),
                     "username", ctl_json(ctl, user->username),
                     "first_name", ctl_json(ctl, user->first_name),
                     "last_name", ctl_json(ctl, user->last_name), "is_active", user->usable,
                     "is_staff", user->is_staff, "is_superuser", user->is_superuser,
                     "has_password", sa_password_usable(user->password));
}

static int create(ctl_t *ctl, const sa_new_user_t *user)
{
    const char *id = NULL, *taken = NULL;
    sa_work_t *work;
    sa_error_t *error = ctl_open(ctl, &work);

    if (!error) {
        error = sa_store_create_user(work, user, ctl_now(), &id, &taken);
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
        .password = ctl->no_password ? sa_password_unusable(ctl->pool) : ctl_password_hash(ctl),
        .email_verified = 1, .is_active = 1,
        .is_staff = ctl->staff, .is_superuser = ctl->superuser,
    };
    return user.password ? create(ctl, &user) : CTL_FAILED;
}

/* Its links and its live sessions besides. */
static int load(ctl_t *ctl, sa_user_t **user, apr_array_header_t **links,
                apr_array_header_t **sessions)
{
    const char *id = (*user)->id;
    sa_work_t *work;
    sa_error_t *error = ctl_open(ctl, &work);

    if (!error) {
        error = sa_store_links(work, id, NULL, ctl_now(), user, links);
    }
    if (!error) {
        error = sa_store_sessions(work, id, ctl_now(), sessions);
    }
    sa_work_close(work);
    if (error) {
        return ctl_fail_error(error);
    }
    return *user ? CTL_OK : ctl_fail("the user has gone meanwhile");
}

static void print_profile(const ctl_t *ctl, const sa_user_t *user,
                          const apr_array_header_t *links, int sessions)
{
    printf("id\t%s\nemail\t%s%s\nusername\t%s\nname\t%s %s\n", user->id,
           ctl_shown(ctl, user->email), user->email_verified ? "" : " (not verified)",
           ctl_shown(ctl, user->username), ctl_shown(ctl, user->first_name),
           ctl_shown(ctl, user->last_name));
    printf("status\t%s%s%s\npassword\t%s\nsessions\t%d\n",
           user->usable ? "active" : "inactive or deleted", user->is_staff ? ", staff" : "",
           user->is_superuser ? ", superuser" : "",
           sa_password_usable(user->password) ? "yes" : "no", sessions);
    for (int i = 0; i < links->nelts; i++) {
        const sa_link_t *link = &APR_ARRAY_IDX(links, i, sa_link_t);
        printf("link\t%s\t%s\n", ctl_shown(ctl, link->provider), ctl_shown(ctl, link->email));
    }
}

int ctl_users_show(ctl_t *ctl, const char **operands)
{
    apr_array_header_t *links, *sessions;
    sa_user_t *user;

    if (ctl_find_user(ctl, operands[0], &user) != CTL_OK
        || load(ctl, &user, &links, &sessions) != CTL_OK) {
        return CTL_FAILED;
    }
    if (ctl->json) {
        json_t *profile = describe(ctl, user);
        json_object_set_new(profile, "email_verified", json_boolean(user->email_verified));
        json_object_set_new(profile, "links", ctl_describe_links(ctl, links));
        json_object_set_new(profile, "sessions", json_integer(sessions->nelts));
        ctl_say_list(ctl, profile);
    }
    else {
        print_profile(ctl, user, links, sessions->nelts);
    }
    return CTL_OK;
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
        json_array_append_new(list, describe(ctl, user));
        if (!ctl->json) {
            printf("%s\t%s\t%s\t%s\n", user->id, ctl_shown(ctl, user->email),
                   ctl_shown(ctl, user->username), user->usable ? "active" : "inactive");
        }
    }
    ctl_say_list(ctl, list);
    return CTL_OK;
}
