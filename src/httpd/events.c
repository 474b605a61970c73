#include "httpd/events.h"

#include <apr_hooks.h>
#include <http_log.h>

#include "mod_social_auth.h"

APLOG_USE_MODULE(social_auth);

APR_IMPLEMENT_OPTIONAL_HOOK_RUN_ALL(social_auth, SOCIAL_AUTH, int, event,
                                    (request_rec *r, const social_auth_event_t *event),
                                    (r, event), OK, DECLINED)

void sa_event_dispatch(sa_call_t *call, const sa_event_t *event, const char *user_id)
{
    request_rec *r = call->who;
    const social_auth_event_t out = {
        .size = sizeof(out),
        .id = event->id,
        .type = event->type,
        .user_id = user_id,
        .provider = event->provider,
        .address = event->address,
        .request_id = event->request_id,
        .mount = call->settings->mount,
        .time = apr_time_from_sec(event->time),
    };

    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, "SA0200: %s user=%s provider=%s", event->type,
                  user_id ? user_id : "-", event->provider ? event->provider : "-");
    apr_table_setn(r->notes, "social-auth-event", event->type);
    if (user_id) {
        apr_table_setn(r->notes, "social-auth-user-id", user_id);
    }
    social_auth_run_event(r, &out);
}
