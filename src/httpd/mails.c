/* The outbox of mails: one row is leased, turned into a message, handed over, and settled. */
#include "httpd/watchdog.h"

#include <apr_strings.h>
#include <http_log.h>

#include "core/text.h"
#include "httpd/runtime.h"

APLOG_USE_MODULE(social_auth);

#define LEASE_SPARE 10          /* seconds beyond what the mailer may take */

/* Seconds to wait before attempt n+1. A mail that has expired is not sent any more. */
static const int pauses[] = { 5, 15, 60, 120, 300, 600, 1800, 3600, 7200, 14400 };
#define MAX_ATTEMPTS ((int) (sizeof(pauses) / sizeof(*pauses)))

typedef struct {
    server_rec *s;
    const sa_mount_t *mount;            /* its database */
    const apr_array_header_t *mounts;
    const char *known;                  /* URLs of mounts that write mails on it, a line each */
    int lease;                          /* seconds */
} post_t;

static int writes_mails(const sa_mount_t *mount, const sa_mount_t *database)
{
    return mount->mail.mailer && sa_mount_same_database(mount, database);
}

static const sa_mount_t *mount_of(const post_t *post, const char *url)
{
    for (int i = 0; i < post->mounts->nelts; i++) {
        const sa_mount_t *mount = APR_ARRAY_IDX(post->mounts, i, const sa_mount_t *);
        if (writes_mails(mount, post->mount) && !strcmp(mount->settings.url, url)) {
            return mount;
        }
    }
    return NULL;
}

static const char *utc(apr_pool_t *p, apr_int64_t seconds)
{
    apr_time_exp_t t;

    apr_time_exp_gmt(&t, apr_time_from_sec(seconds));
    return apr_psprintf(p, "%04d-%02d-%02d %02d:%02d UTC", t.tm_year + 1900, t.tm_mon + 1,
                        t.tm_mday, t.tm_hour, t.tm_min);
}

/* The front end's address with the token in it, or behind it as a fragment: no server, proxy or
 * Referer header ever sees that. */
static const char *link_with(apr_pool_t *p, const char *url, const char *token)
{
    const char *place = strstr(url, SA_MAIL_TOKEN_PLACE);

    return place ? apr_pstrcat(p, apr_pstrmemdup(p, url, (apr_size_t)(place - url)), token,
                               place + strlen(SA_MAIL_TOKEN_PLACE), NULL)
                 : apr_pstrcat(p, url, "#token=", token, NULL);
}

/* NULL when the token could not be signed. */
static const apr_table_t *values(apr_pool_t *p, const sa_mount_t *mount, const sa_mail_t *mail,
                                 sa_mail_kind_t kind)
{
    apr_table_t *table = apr_table_make(p, 5);

    if (sa_mail_has_link(kind)) {
        const char *token = sa_mail_token(p, &mount->settings, mail,
                                          apr_time_sec(apr_time_now()));
        if (!token) {
            return NULL;
        }
        apr_table_setn(table, "link", link_with(p, mount->mail.links[kind], token));
    }
    apr_table_setn(table, "email", mail->email);
    apr_table_setn(table, "site", mount->mail.site);
    apr_table_setn(table, "provider", mail->data && kind == SA_MAIL_NEW_LINK ? mail->data : "");
    apr_table_setn(table, "expires", utc(p, mail->expires));
    return table;
}

static const char *compose(apr_pool_t *p, const sa_mount_t *mount, const sa_mail_t *mail,
                           const char **why)
{
    sa_mail_kind_t kind = sa_mail_kind(mail->kind);
    if (kind == SA_MAIL_KINDS) {
        *why = "it is of an unknown kind";
        return NULL;
    }
    const apr_table_t *table = values(p, mount, mail, kind);
    if (!table) {
        *why = "its link could not be signed";
        return NULL;
    }
    const sa_mail_template_t *template = &mount->mail.templates[kind];
    const sa_message_t message = {
        .from = &mount->mail.from, .to = mail->email,
        .subject = sa_mail_template_fill(p, template->subject, table),
        .body = sa_mail_template_fill(p, template->body, table),
        .id = mail->id, .date = apr_time_now(),
    };
    return sa_message_text(p, &message, why);
}

static sa_sent_t send_mail(const post_t *post, apr_pool_t *p, const sa_mail_t *mail)
{
    const sa_mount_t *mount = mount_of(post, mail->mount);
    const char *why = "no mount sends it";
    sa_sent_t sent = SA_SENT_LATER;

    const char *text = mount ? compose(p, mount, mail, &why) : NULL;
    if (text) {
        const sa_envelope_t envelope = {
            .from = mount->mail.from.address, .to = mail->email, .helo = mount->mail.site,
            .text = text,
        };
        sent = sa_mailer_send(mount->mail.mailer, p, &mount->limits, &envelope,
                              sa_watchdog_is_stopping, &why);
    }
    if (sent != SA_SENT) {
        int level = sa_watchdog_is_stopping() ? APLOG_INFO : APLOG_WARNING;
        ap_log_error(APLOG_MARK, level, 0, post->s, "SA0320: mail %s (%s) was not sent "
                     "(attempt %d): %s", mail->id, mail->kind, mail->attempts,
                     sa_log_safe(p, why, 300));
    }
    return sent;
}

static sa_error_t *settle(const post_t *post, apr_pool_t *p, const sa_mail_t *mail, sa_sent_t sent)
{
    apr_int64_t now = apr_time_sec(apr_time_now());
    int tried = mail->attempts < 1 ? 1 : mail->attempts;        /* claiming has counted this one */
    int dead = sent == SA_SENT_NEVER || (sent == SA_SENT_LATER && tried >= MAX_ATTEMPTS);
    int pause = pauses[tried < MAX_ATTEMPTS ? tried - 1 : MAX_ATTEMPTS - 1];
    sa_work_t *work;

    if (dead) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, post->s, "SA0321: mail %s (%s) to user %s is given "
                     "up after %d attempts", mail->id, mail->kind,
                     mail->user_id ? mail->user_id : "-", tried);
    }
    sa_error_t *error = sa_watchdog_open(post->mount, p, &work);
    if (!error) {
        error = sa_store_mails_settle(work, mail->id, sent == SA_SENT ? now : 0, now + pause,
                                      dead);
    }
    sa_work_close(work);
    return error;
}

static int post_one(void *ctx, apr_pool_t *p)
{
    const post_t *post = ctx;
    sa_mail_t *mail = NULL;
    sa_work_t *work;

    sa_error_t *error = sa_watchdog_open(post->mount, p, &work);
    if (!error) {
        error = sa_store_mails_claim(work, apr_time_sec(apr_time_now()), post->lease,
                                     post->known, &mail);
    }
    if (!error && mail) {
        error = sa_mail_find_user(work, p, mail);
    }
    sa_work_close(work);
    if (!error && mail && mail->email) {
        error = settle(post, p, mail, send_mail(post, p, mail));
    }
    sa_watchdog_note_outage(p, post->s, post->mount, "mails were not sent", error);
    return mail && !error;
}

void sa_mails_send(apr_pool_t *p, server_rec *s, const sa_mount_t *mount,
                   const apr_array_header_t *mounts)
{
    post_t post = { .s = s, .mount = mount, .mounts = mounts };

    for (int i = 0; i < mounts->nelts; i++) {
        const sa_mount_t *each = APR_ARRAY_IDX(mounts, i, const sa_mount_t *);
        if (!writes_mails(each, mount)) {
            continue;
        }
        int lease = each->limits.total_ms / 1000 + 1 + LEASE_SPARE;
        post.lease = lease > post.lease ? lease : post.lease;
        post.known = post.known ? apr_pstrcat(p, post.known, "\n", each->settings.url, NULL)
                                : each->settings.url;
    }
    if (post.known) {
        sa_watchdog_drain(p, post_one, &post);
    }
}
