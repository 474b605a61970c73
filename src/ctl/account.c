/* Whom a command means, and what is done to an account: the change, the end of its sessions and the
 * event in one transaction, as the server does it. */
#include "ctl/ctl.h"

#include <apr_strings.h>

#include "core/crypto.h"
#include "core/text.h"

apr_int64_t ctl_now(void)
{
    return apr_time_sec(apr_time_now());
}

int ctl_find_user(ctl_t *ctl, const char *name, sa_user_t **user)
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
    return *user ? CTL_OK : ctl_fail("there is no user \"%s\" (or more than one)",
                                     ctl_shown(ctl, name));
}

int ctl_make_event(ctl_t *ctl, sa_event_t *event, const char *type, const char *provider)
{
    const char *random = sa_random_text(ctl->pool, 16);

    if (!random) {
        return ctl_fail("OpenSSL gave no random bytes");
    }
    *event = (sa_event_t) {
        .id = apr_pstrcat(ctl->pool, "evt_", random, NULL), .type = type, .provider = provider,
        .time = ctl_now(), .targets = ctl->webhooks,
    };
    return CTL_OK;
}

sa_error_t *ctl_notify(ctl_t *ctl, sa_work_t *work, const sa_event_t *event)
{
    return ctl->notify ? sa_store_notify(work, event->id, event->type) : NULL;
}

static sa_error_t *apply(sa_work_t *work, const char *user_id, const ctl_change_t *change,
                         const sa_event_t *event, int *done)
{
    int n;
    sa_error_t *error = sa_work_begin(work);

    if (!error) {
        error = change->apply(work, user_id, change->value, done);
    }
    if (!error && *done && change->type) {
        error = sa_store_revoke_user(work, user_id, NULL, event->time, &n);
    }
    if (!error && *done && change->type) {
        error = sa_store_event(work, user_id, event);
    }
    return error ? error : sa_work_commit(work);
}

int ctl_change_user(ctl_t *ctl, const char *user_id, const ctl_change_t *change)
{
    sa_event_t event;
    sa_work_t *work;
    int done = 0;

    if (ctl_make_event(ctl, &event, change->type, NULL) != CTL_OK) {
        return CTL_FAILED;
    }
    sa_error_t *error = ctl_open(ctl, &work);
    if (!error) {
        error = apply(work, user_id, change, &event, &done);
    }
    if (!error && done && change->type) {
        error = ctl_notify(ctl, work, &event);
    }
    sa_work_close(work);
    if (error && error->kind == SA_E_CONFLICT && change->conflict) {
        return ctl_fail("%s (%s)", change->conflict, error->log);
    }
    return error ? ctl_fail_error(error) : done ? CTL_OK : ctl_fail("%s", change->missing);
}
