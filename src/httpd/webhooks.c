/* The outbox, delivered at least once: rows are leased, sent, and only then removed; what a
 * receiver refuses comes back with growing pauses. */
#include "httpd/watchdog.h"

#include <apr_base64.h>
#include <apr_strings.h>
#include <http_log.h>

#include "core/crypto.h"
#include "core/json.h"
#include "core/text.h"
#include "httpd/runtime.h"

APLOG_USE_MODULE(social_auth);

#define LEASE_SPARE 45          /* seconds beyond what all receivers of a row may take */
#define GONE 410

/* Seconds to wait before attempt n+1 (Standard Webhooks, "deliverability"). */
static const int pauses[] = { 5, 30, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400 };
#define MAX_ATTEMPTS ((int) (sizeof(pauses) / sizeof(*pauses)))

typedef struct {
    apr_pool_t *p;
    server_rec *s;
    const sa_mount_t *mount;            /* its database */
    const apr_array_header_t *mounts;
    const char *known;                  /* URLs of this configuration on it, space-separated */
    int seconds;                        /* that the receivers of one row may take */
} delivery_t;

static const char *payload(apr_pool_t *p, const sa_outbox_row_t *row)
{
    const sa_event_t *event = &row->event;

    return sa_json_dump(p, sa_json_own(p, json_pack(
        "{s:s, s:s, s:{s:s?, s:s?, s:s?, s:s?}}", "type", event->type, "timestamp",
        sa_iso_time(p, event->time), "data", "user_id", row->user_id, "provider", event->provider,
        "address", event->address, "request_id", event->request_id)));
}

const char *sa_webhook_signature(apr_pool_t *p, const sa_webhook_t *webhook, const char *id,
                                 apr_int64_t timestamp, const char *body)
{
    unsigned char mac[SA_SHA256_LEN];
    const char *signed_text = apr_psprintf(p, "%s.%" APR_INT64_T_FMT ".%s", id, timestamp, body);
    char *text = apr_palloc(p, (apr_size_t) apr_base64_encode_len(sizeof(mac)));

    sa_hmac_sha256(webhook->secret_key, webhook->secret_key_len, signed_text,
                   strlen(signed_text), mac);
    apr_base64_encode_binary(text, mac, sizeof(mac));
    return apr_pstrcat(p, "v1,", text, NULL);
}

/* The webhook of this URL in any mount on the same database, and that mount's limits; NULL when
 * the configuration no longer has it. */
static const sa_webhook_t *webhook_of(const delivery_t *delivery, const char *url,
                                      const sa_http_limits_t **limits)
{
    for (int i = 0; i < delivery->mounts->nelts; i++) {
        const sa_mount_t *mount = APR_ARRAY_IDX(delivery->mounts, i, const sa_mount_t *);
        int ours = sa_mount_same_database(mount, delivery->mount);
        for (int j = 0; ours && j < mount->webhooks->nelts; j++) {
            const sa_webhook_t *webhook = &APR_ARRAY_IDX(mount->webhooks, j, sa_webhook_t);
            if (!strcmp(webhook->url, url)) {
                *limits = &mount->limits;
                return webhook;
            }
        }
    }
    return NULL;
}

typedef enum {
    TAKEN,                      /* or the receiver says it never will */
    REFUSED,
    NOT_OURS                    /* a server with another configuration knows this URL, or did */
} sent_t;

static sent_t send_one(const delivery_t *delivery, const sa_outbox_row_t *row, const char *url)
{
    const sa_http_limits_t *limits;
    const sa_webhook_t *webhook = webhook_of(delivery, url, &limits);
    apr_pool_t *p = delivery->p;
    apr_int64_t now = apr_time_sec(apr_time_now());
    sa_http_response_t response = { .outcome = SA_HTTP_UNREACHABLE };

    if (!webhook) {
        return NOT_OURS;
    }
    const char *body = payload(p, row);
    if (!body) {
        return REFUSED;
    }
    apr_array_header_t *headers = apr_array_make(p, 3, sizeof(const char *));
    APR_ARRAY_PUSH(headers, const char *) = apr_pstrcat(p, "webhook-id: ", row->event.id, NULL);
    APR_ARRAY_PUSH(headers, const char *) =
        apr_psprintf(p, "webhook-timestamp: %" APR_INT64_T_FMT, now);
    APR_ARRAY_PUSH(headers, const char *) =
        apr_pstrcat(p, "webhook-signature: ",
                    sa_webhook_signature(p, webhook, row->event.id, now, body), NULL);
    const sa_http_request_t request = {
        .url = url, .body = body, .content_type = "application/json", .headers = headers
    };
    apr_status_t rv = sa_http_perform(sa_runtime_webhook_http(), p, limits, &request, 1,
                                      &response);
    int answered = rv == APR_SUCCESS && response.outcome == SA_HTTP_DONE;
    if (answered && (response.status / 100 == 2 || response.status == GONE)) {
        return TAKEN;
    }
    ap_log_error(APLOG_MARK, APLOG_INFO, 0, delivery->s,
                 "SA0310: webhook %s was not taken by %s (attempt %d, status %d)", row->event.id,
                 sa_log_safe(p, url, 200), row->attempts, answered ? response.status : 0);
    return REFUSED;
}

/* Sends to every target still open; those that do not have it, space-separated. */
static const char *send_all(const delivery_t *delivery, const sa_outbox_row_t *row, int *refused)
{
    char *last, *targets = apr_pstrdup(delivery->p, row->event.targets);
    const char *open = "";

    *refused = 0;
    for (char *url = apr_strtok(targets, " ", &last); url; url = apr_strtok(NULL, " ", &last)) {
        sent_t sent = send_one(delivery, row, url);
        if (sent != TAKEN) {
            open = *open ? apr_pstrcat(delivery->p, open, " ", url, NULL) : url;
        }
        *refused |= sent == REFUSED;
    }
    return open;
}

/* What is left to others need not wait for them. */
static sa_error_t *settle(const delivery_t *delivery, const sa_outbox_row_t *row,
                          const char *open, int refused)
{
    sa_work_t *work;
    int tried = row->attempts < 1 ? 1 : row->attempts;  /* claiming has counted this attempt */
    int dead = refused && tried >= MAX_ATTEMPTS;
    int pause = refused ? pauses[tried < MAX_ATTEMPTS ? tried - 1 : MAX_ATTEMPTS - 1] : 0;

    if (dead) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, delivery->s, "SA0311: webhook %s is given up after "
                     "%d attempts", row->event.id, tried);
    }
    sa_error_t *error = sa_watchdog_open(delivery->mount, delivery->p, &work);
    if (!error) {
        error = sa_store_outbox_settle(work, row->event.id, open,
                                       apr_time_sec(apr_time_now()) + pause, dead);
    }
    sa_work_close(work);
    return error;
}

/* One row, leased until its receivers have been asked for sure. */
static sa_error_t *claim(const delivery_t *delivery, apr_array_header_t **rows)
{
    sa_work_t *work;
    sa_error_t *error = sa_watchdog_open(delivery->mount, delivery->p, &work);

    if (!error) {
        error = sa_store_outbox_claim(work, apr_time_sec(apr_time_now()),
                                      delivery->seconds + LEASE_SPARE, 1, delivery->known, rows);
    }
    sa_work_close(work);
    return error;
}

static const char *known_urls(apr_pool_t *p, const apr_array_header_t *mounts,
                              const sa_mount_t *database)
{
    const char *known = "";

    for (int i = 0; i < mounts->nelts; i++) {
        const sa_mount_t *mount = APR_ARRAY_IDX(mounts, i, const sa_mount_t *);
        if (mount->settings.webhook_targets && sa_mount_same_database(mount, database)) {
            known = apr_pstrcat(p, known, *known ? " " : "", mount->settings.webhook_targets,
                                NULL);
        }
    }
    return known;
}

/* How many seconds the receivers of one row, those of one mount, may take together; 0 when there
 * are none on this database. */
static int longest_row(const apr_array_header_t *mounts, const sa_mount_t *database)
{
    int longest = 0;

    for (int i = 0; i < mounts->nelts; i++) {
        const sa_mount_t *mount = APR_ARRAY_IDX(mounts, i, const sa_mount_t *);
        int seconds = mount->webhooks->nelts * (mount->limits.total_ms / 1000 + 1);
        if (seconds > longest && sa_mount_same_database(mount, database)) {
            longest = seconds;
        }
    }
    return longest;
}

/* Delivers one row that is due; 0 when there is none. */
static int deliver_one(void *ctx, apr_pool_t *p)
{
    delivery_t *delivery = ctx;
    apr_array_header_t *rows = NULL;
    int refused;

    delivery->p = p;
    sa_error_t *error = claim(delivery, &rows);
    int found = !error && rows->nelts;

    if (found) {
        const sa_outbox_row_t *row = &APR_ARRAY_IDX(rows, 0, sa_outbox_row_t);
        const char *open = send_all(delivery, row, &refused);
        error = settle(delivery, row, open, refused);
    }
    sa_watchdog_note_outage(p, delivery->s, delivery->mount, "the outbox was not delivered",
                            error);
    return found && !error;
}

void sa_webhooks_deliver(apr_pool_t *p, server_rec *s, const sa_mount_t *mount,
                         const apr_array_header_t *mounts)
{
    delivery_t delivery = {
        .s = s, .mount = mount, .mounts = mounts, .known = known_urls(p, mounts, mount)
    };

    delivery.seconds = longest_row(mounts, mount);
    if (delivery.seconds) {
        sa_watchdog_drain(p, deliver_one, &delivery);
    }
}
