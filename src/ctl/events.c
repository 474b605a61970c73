/* Events on their way to webhooks. */
#include "ctl/ctl.h"

#include <stdio.h>

#include "core/text.h"

static json_t *describe(const ctl_t *ctl, const sa_outbox_row_t *row)
{
    const sa_event_t *event = &row->event;

    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:o, s:b}",
                     "id", ctl_json(ctl, event->id), "type", ctl_json(ctl, event->type),
                     "user_id", ctl_json(ctl, row->user_id),
                     "provider", ctl_json(ctl, event->provider),
                     "request_id", ctl_json(ctl, event->request_id),
                     "time", ctl_json_time(ctl, event->time),
                     "targets", ctl_json(ctl, event->targets), "attempts", row->attempts,
                     "next_attempt", ctl_json_time(ctl, row->next_attempt), "dead", row->dead);
}

static void print_event(const ctl_t *ctl, const sa_outbox_row_t *row)
{
    const sa_event_t *event = &row->event;

    printf("%s\t%s\t%s\t%s\t%d\t%s\t%s\n", ctl_shown(ctl, event->id),
           sa_iso_time(ctl->pool, event->time), ctl_shown(ctl, event->type),
           ctl_shown(ctl, row->user_id), row->attempts,
           row->dead ? "dead" : sa_iso_time(ctl->pool, row->next_attempt),
           ctl_shown(ctl, event->targets));
}

int ctl_events_list(ctl_t *ctl, const char **operands)
{
    apr_array_header_t *rows;
    sa_work_t *work;
    sa_error_t *error = ctl_open(ctl, &work);

    if (!error) {
        error = sa_store_outbox_list(work, ctl->only_dead, ctl->limit, &rows);
    }
    sa_work_close(work);
    if (error) {
        return ctl_fail_error(error);
    }
    json_t *list = json_array();
    for (int i = 0; i < rows->nelts; i++) {
        const sa_outbox_row_t *row = &APR_ARRAY_IDX(rows, i, sa_outbox_row_t);
        json_array_append_new(list, describe(ctl, row));
        if (!ctl->json) {
            print_event(ctl, row);
        }
    }
    ctl_say_list(ctl, list);
    return CTL_OK;
}

int ctl_events_retry(ctl_t *ctl, const char **operands)
{
    sa_work_t *work;
    int n;

    if ((operands[0] != NULL) + ctl->all != 1) {
        ctl_fail("events retry takes either ID or --all");
        return CTL_USAGE;
    }
    sa_error_t *error = ctl_open(ctl, &work);
    if (!error) {
        error = sa_store_outbox_retry(work, operands[0], ctl_now(), &n);
    }
    sa_work_close(work);
    if (error) {
        return ctl_fail_error(error);
    }
    if (operands[0] && !n) {
        return ctl_fail("no event %s waits", ctl_shown(ctl, operands[0]));
    }
    ctl_say(ctl, json_pack("{s:i}", "retried", n), "%d event%s due now", n,
            n == 1 ? " is" : "s are");
    return CTL_OK;
}
