#include "accounts/internal.h"

#include "core/crypto.h"
#include <apr_strings.h>

void sa_event_fill(sa_call_t *call, sa_event_t *event, const char *type, const char *provider)
{
    const char *random = sa_random_text(call->pool, 16);

    *event = (sa_event_t) {
        .id = random ? apr_pstrcat(call->pool, "evt_", random, NULL) : NULL,
        .type = type,
        .provider = provider,
        .address = call->address,
        .request_id = call->request_id,
        .time = call->now,
        .targets = call->settings->webhook_targets,
    };
}

void sa_events_publish(sa_call_t *call, sa_work_t *work, const sa_event_t *events, int n,
                       const char *user_id)
{
    for (int i = 0; i < n; i++) {
        if (call->settings->notify
            && sa_store_notify(work, events[i].id, events[i].type) && call->log) {
            call->log(call, 4, "an event is stored but NOTIFY failed");
        }
    }
    sa_work_close(work);
    for (int i = 0; call->on_event && i < n; i++) {
        call->on_event(call, &events[i], user_id);
    }
}

sa_error_t *sa_open(sa_call_t *call, sa_work_t **work)
{
    *work = NULL;
    return sa_work_open(work, call->store, call->db, call->pool);
}

sa_error_t *sa_no_random(sa_call_t *call)
{
    return sa_error(call->pool, SA_E_UNAVAILABLE, NULL, "OpenSSL gave no random bytes");
}
