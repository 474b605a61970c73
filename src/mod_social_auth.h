/* mod_social_auth's interface for other modules: events, as an optional hook.
 *
 *     static int on_event(request_rec *r, const social_auth_event_t *event) { ...; return OK; }
 *     APR_OPTIONAL_HOOK(social_auth, event, on_event, NULL, NULL, APR_HOOK_MIDDLE);
 *
 * in register_hooks is all a subscriber needs; it does not link with this module. Hooks run after the
 * database has committed, in the thread of the request, and cannot change its outcome: the return
 * value is OK or DECLINED, anything else ends the run of hooks. Keep them short. What socialauthctl does
 * happens in another process: webhooks and NOTIFY tell of it, hooks do not. */
#ifndef MOD_SOCIAL_AUTH_H
#define MOD_SOCIAL_AUTH_H

#include <httpd.h>
#include <apr_hooks.h>          /* before apr_optional_hooks.h, which needs it */
#include <apr_optional_hooks.h>
#include <apr_time.h>

#define SOCIAL_AUTH_DECLARE(type) type

typedef struct {
    unsigned int size;          /* sizeof of this struct in the module that runs the hook: members are
                                 * only ever added at the end, look at `size` before using later ones */
    const char *id;             /* unique; the same as the webhook's webhook-id */
    const char *type;           /* "new_user_registered", "login_successful",
                                 * "link_account_successful", "unlink_account_successful",
                                 * "token_reuse_detected", "password_changed", "email_changed",
                                 * "email_verified", "user_deactivated", "user_deleted" */
    const char *user_id;        /* text form of the user's key; NULL when the user is not known */
    const char *provider;       /* configured name; NULL for a password login */
    const char *address;        /* of the client */
    const char *request_id;     /* httpd's log id; NULL when there is none */
    const char *mount;          /* path of the mount, "/api/social-auth" */
    apr_time_t time;
} social_auth_event_t;

APR_DECLARE_EXTERNAL_HOOK(social_auth, SOCIAL_AUTH, int, event,
                          (request_rec *r, const social_auth_event_t *event))

#endif
