/* Links between users and their accounts at providers. */
#include "ctl/ctl.h"

#include <apr_strings.h>
#include <stdio.h>
#include <string.h>

json_t *ctl_describe_links(const ctl_t *ctl, const apr_array_header_t *links)
{
    json_t *list = json_array();

    for (int i = 0; i < links->nelts; i++) {
        const sa_link_t *link = &APR_ARRAY_IDX(links, i, sa_link_t);
        json_array_append_new(list, json_pack(
            "{s:o, s:o, s:o, s:o, s:o}", "provider", ctl_json(ctl, link->provider),
            "issuer", ctl_json(ctl, link->issuer), "subject", ctl_json(ctl, link->subject),
            "email", ctl_json(ctl, link->email), "linked_at", ctl_json_time(ctl, link->linked_at)));
    }
    return list;
}

static int load(ctl_t *ctl, const char *name, sa_user_t **user, apr_array_header_t **links)
{
    sa_work_t *work;

    if (ctl_find_user(ctl, name, user) != CTL_OK) {
        return CTL_FAILED;
    }
    const char *id = (*user)->id;
    sa_error_t *error = ctl_open(ctl, &work);
    if (!error) {
        error = sa_store_links(work, id, NULL, ctl_now(), user, links);
    }
    sa_work_close(work);
    if (error) {
        return ctl_fail_error(error);
    }
    return *user ? CTL_OK : ctl_fail("the user has gone meanwhile");
}

int ctl_links_list(ctl_t *ctl, const char **operands)
{
    apr_array_header_t *links;
    sa_user_t *user;

    if (load(ctl, operands[0], &user, &links) != CTL_OK) {
        return CTL_FAILED;
    }
    json_t *list = ctl_describe_links(ctl, links);
    for (int i = 0; !ctl->json && i < links->nelts; i++) {
        const sa_link_t *link = &APR_ARRAY_IDX(links, i, sa_link_t);
        printf("%s\t%s\t%s\t%s\t%s\n", ctl_shown(ctl, link->provider),
               ctl_shown(ctl, link->issuer), ctl_shown(ctl, link->subject),
               ctl_shown(ctl, link->email),
               json_string_value(json_object_get(json_array_get(list, (size_t)i), "linked_at")));
    }
    ctl_say_list(ctl, list);
    return CTL_OK;
}

/* The one link of this provider or issuer; NULL after saying why. */
static const sa_link_t *find_link(const ctl_t *ctl, const apr_array_header_t *links,
                                  const char *name)
{
    const sa_link_t *found = NULL;

    for (int i = 0; i < links->nelts; i++) {
        const sa_link_t *link = &APR_ARRAY_IDX(links, i, sa_link_t);
        if (!strcmp(link->issuer, name)) {
            return link;
        }
        if (strcmp(link->provider, name)) {
            continue;
        }
        if (found) {
            ctl_fail("there are several links called %s: give the issuer (socialauthctl links "
                     "list)", ctl_shown(ctl, name));
            return NULL;
        }
        found = link;
    }
    if (!found) {
        ctl_fail("the user has no link of %s", ctl_shown(ctl, name));
    }
    return found;
}

/* Where no configuration says what people can sign in with, each of the user's links counts. */
static const char *usable_issuers(const ctl_t *ctl, const apr_array_header_t *links)
{
    const char *out = "";

    if (ctl->issuers) {
        return ctl->issuers;
    }
    for (int i = 0; i < links->nelts; i++) {
        out = apr_pstrcat(ctl->pool, out, APR_ARRAY_IDX(links, i, sa_link_t).issuer, "\n", NULL);
    }
    return out;
}

static sa_error_t *delete_link(ctl_t *ctl, const sa_user_t *user, const sa_link_t *link,
                               const char *issuers, sa_unlink_verdict_t *verdict)
{
    sa_event_t event;
    sa_work_t *work;
    int done = 0;

    if (ctl_make_event(ctl, &event, "unlink_account_successful", link->provider) != CTL_OK) {
        return sa_error(ctl->pool, SA_E_UNAVAILABLE, NULL, "nothing was done");
    }
    sa_error_t *error = ctl_open(ctl, &work);
    if (!error && ctl->force) {
        error = sa_store_delete_link(work, user->id, link->issuer, &event, &done);
        *verdict = done ? SA_UNLINK_DONE : SA_UNLINK_NOT_LINKED;
    }
    else if (!error) {
        error = sa_store_unlink(work, user->id, NULL, link->issuer, issuers, !ctl->no_passwords,
                                &event, event.time, verdict);
    }
    if (!error && *verdict == SA_UNLINK_DONE) {
        error = ctl_notify(ctl, work, &event);
    }
    sa_work_close(work);
    return error;
}

int ctl_links_delete(ctl_t *ctl, const char **operands)
{
    sa_unlink_verdict_t verdict = SA_UNLINK_NO_USER;
    apr_array_header_t *links;
    sa_user_t *user;

    if (load(ctl, operands[0], &user, &links) != CTL_OK) {
        return CTL_FAILED;
    }
    const sa_link_t *link = find_link(ctl, links, operands[1]);
    if (!link) {
        return CTL_FAILED;
    }
    sa_error_t *error = delete_link(ctl, user, link, usable_issuers(ctl, links), &verdict);
    if (error) {
        return ctl_fail_error(error);
    }
    switch (verdict) {
    case SA_UNLINK_LAST:
        return ctl_fail("this is the user's only way to sign in: --force takes it all the same");
    case SA_UNLINK_NO_USER:
        return ctl_fail("the user is inactive or deleted: --force takes the link all the same");
    case SA_UNLINK_NOT_LINKED:
        return ctl_fail("the link has gone meanwhile");
    default:
        ctl_say(ctl, json_pack("{s:s, s:o, s:b}", "id", user->id,
                               "provider", ctl_json(ctl, link->provider), "deleted", 1),
                "deleted the link of user %s to %s", user->id, ctl_shown(ctl, link->provider));
        return CTL_OK;
    }
}
