/* One mount's mails: who takes them, what they say, and where their links lead. */
#include "httpd/dir_conf.h"
#include "core/url.h"

#include <apr_file_io.h>
#include <apr_strings.h>

#define TEMPLATE_MAX 65536
#define VALUE(name, fallback) (conf->name != -1 ? conf->name : (fallback))

static const sa_rate_t rate_5_hour = { 5, 3600 * 1000 };

static const char *const plain_words[] = { "email", "site", NULL };
static const char *const link_words[] = { "link", "email", "site", "expires", NULL };
static const char *const provider_words[] = { "email", "site", "provider", NULL };

static const char *const *words_of(sa_mail_kind_t kind)
{
    return sa_mail_has_link(kind) ? link_words
           : kind == SA_MAIL_NEW_LINK ? provider_words : plain_words;
}

static const char *own_text(sa_mail_kind_t kind)
{
    const sa_mail_text_t *text = sa_mail_texts;

    while (text->name && strcmp(text->name, sa_mail_kind_name(kind))) {
        text++;
    }
    return text->text;
}

/* The site's own text at path; NULL when it has none. */
static const char *site_text(sa_check_t *check, const char *path, apr_size_t *len)
{
    apr_file_t *file;
    char buf[120];
    char *text = apr_palloc(check->p, TEMPLATE_MAX + 1);

    apr_status_t rv = apr_file_open(&file, path, APR_FOPEN_READ, 0, check->ptemp);
    if (APR_STATUS_IS_ENOENT(rv)) {
        return NULL;
    }
    if (rv == APR_SUCCESS) {
        rv = apr_file_read_full(file, text, TEMPLATE_MAX + 1, len);
        apr_file_close(file);
    }
    if ((rv != APR_SUCCESS && rv != APR_EOF) || *len > TEMPLATE_MAX) {
        sa_check_problem(check, path, "the mail's text cannot be read: %s", rv != APR_SUCCESS
                         && rv != APR_EOF ? apr_strerror(rv, buf, sizeof(buf))
                                          : "it is longer than 65536 bytes");
        return NULL;
    }
    return text;
}

static void fill_template(sa_check_t *check, sa_mount_t *mount, sa_mail_kind_t kind,
                          const char *directory)
{
    const char *path = directory ? apr_pstrcat(check->p, directory, "/", sa_mail_kind_name(kind),
                                               ".txt", NULL) : "";
    apr_size_t len = 0;
    int line;

    const char *text = directory ? site_text(check, path, &len) : NULL;
    if (!text) {
        text = own_text(kind);
        len = strlen(text);
    }
    const char *problem = sa_mail_template_parse(check->p, text, len, words_of(kind),
                                                 sa_mail_has_link(kind) ? "link" : NULL,
                                                 &mount->mail.templates[kind], &line);
    if (problem) {
        sa_check_problem(check, apr_psprintf(check->p, "%s:%d", path, line), "%s", problem);
    }
}

static void fill_links(sa_check_t *check, sa_mount_t *mount, const sa_dir_conf_t *conf)
{
    static const char *const pages[] = {
        [SA_MAIL_VERIFY] = "/verify-email", [SA_MAIL_RESET] = "/reset-password",
        [SA_MAIL_EMAIL_CHANGE] = "/change-email"
    };

    for (int kind = 0; sa_mail_has_link((sa_mail_kind_t)kind); kind++) {
        const char *name = sa_mail_kind_name((sa_mail_kind_t)kind);
        const char *set = conf->mail_links ? apr_table_get(conf->mail_links, name) : NULL;
        mount->mail.links[kind] = set ? set : apr_pstrcat(check->p, mount->base_url, pages[kind],
                                                          NULL);
    }
}

static const char *host_of(apr_pool_t *p, const char *base_url)
{
    const char *host = strstr(base_url, "://") + 3;

    return apr_pstrmemdup(p, host, *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":"));
}

static void fill_mail(sa_check_t *check, sa_mount_t *mount, const sa_dir_conf_t *conf)
{
    if (!conf->mail_from) {
        sa_check_problem(check, mount->defn, "SocialAuthMailFrom is missing: add the sender of "
                         "mails, like SocialAuthMailFrom \"Example <noreply@example.org>\"");
        return;
    }
    mount->mail.mailer = conf->mailer;
    mount->mail.from = *conf->mail_from;
    mount->mail.site = host_of(check->p, mount->base_url);
    fill_links(check, mount, conf);
    for (int kind = 0; kind < SA_MAIL_KINDS; kind++) {
        fill_template(check, mount, (sa_mail_kind_t)kind, conf->mail_templates);
    }
}

static void check_verification(sa_check_t *check, const sa_mount_t *mount, int can_verify)
{
    if (mount->settings.email_verification == SA_VERIFICATION_OFF) {
        return;
    }
    if (!mount->settings.mails) {
        sa_check_problem(check, mount->defn, "SocialAuthEmailVerification needs SocialAuthSMTP: "
                         "there is nobody to send its mails");
    }
    else if (!can_verify) {
        sa_check_problem(check, mount->defn, "SocialAuthEmailVerification needs a column that says "
                         "that an address is verified: name it by SocialAuthUserColumn "
                         "email_verified=COLUMN, or set SocialAuthEmailVerification off");
    }
}

void sa_mount_mail(sa_check_t *check, sa_mount_t *mount, const sa_dir_conf_t *conf)
{
    sa_settings_t *settings = &mount->settings;
    int can_verify = mount->store && sa_store_can_verify(mount->store);

    settings->mails = conf->mailer && (conf->mailer->url || conf->mailer->argv);
    settings->email_verification = (sa_email_verification_t)
        VALUE(email_verification, settings->mails && can_verify ? SA_VERIFICATION_OPTIONAL
                                                                : SA_VERIFICATION_OFF);
    settings->security_mails = VALUE(security_mails, 1) && settings->mails;
    settings->verify_lifetime = VALUE(verify_lifetime, 3600);
    settings->reset_lifetime = VALUE(reset_lifetime, 3600);
    settings->mail_throttle = *(conf->mail_throttle ? conf->mail_throttle : &rate_5_hour);
    if (mount->store) {
        check_verification(check, mount, can_verify);
    }
    if (conf->security_mails == 1 && !settings->mails) {
        sa_check_problem(check, mount->defn, "SocialAuthSecurityMails On needs SocialAuthSMTP");
    }
    if (settings->mails) {
        fill_mail(check, mount, conf);
    }
}
