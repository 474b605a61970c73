/* Events leave the process: to other modules by optional hook, to webhooks by the outbox. */
#ifndef SA_HTTPD_EVENTS_H
#define SA_HTTPD_EVENTS_H

#include "httpd/config.h"

/* sa_call_t's on_event: runs the optional hook and writes the audit log line. */
void sa_event_dispatch(sa_call_t *call, const sa_event_t *event, const char *user_id);

#endif
