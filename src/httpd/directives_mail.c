/* The directives about mails. */
#include "httpd/dir_conf.h"
#include "core/text.h"
#include "core/url.h"

#include <apr_strings.h>
#include <http_core.h>

#define MAILER_VALUES "must be smtp://host[:port], smtps://host[:port], sendmail:/path of a program, " \
                      "or off"

static const sa_mailer_t no_mailer;

/* The host and port behind smtp:// or smtps://, as a URL that the rules for URLs know; NULL. */
static const char *as_http(cmd_parms *cmd, const char *url)
{
    const char *checked;

    if (strncmp(url, "smtp://", 7) != 0 && strncmp(url, "smtps://", 8) != 0) {
        return NULL;
    }
    const char *http = apr_pstrcat(cmd->pool, "http://", strchr(url, '/') + 2, NULL);
    apr_size_t len = strlen(http);
    return http[len - 1] != '/' && !sa_parse_base_url(cmd->pool, http, &checked) ? http : NULL;
}

static const char *set_password(cmd_parms *cmd, sa_mailer_t *mailer, const char *spec)
{
    apr_size_t len;

    if (sa_config_is_only_shown()) {
        mailer->password = "";
        return NULL;
    }
    const char *problem = sa_secret_resolve(cmd->pool, cmd->temp_pool, spec, &mailer->password,
                                            &len);
    if (problem) {
        return apr_pstrcat(cmd->pool, "password: ", problem, NULL);
    }
    return sa_utf8_valid(mailer->password, len) && !strpbrk(mailer->password, "\r\n")
               ? NULL : "password: it must be one line of text";
}

static const char *set_option(cmd_parms *cmd, sa_mailer_t *mailer, int *starttls,
                              const char *option)
{
    if (!strncmp(option, "user=", 5) && option[5]) {
        mailer->user = option + 5;
        return sa_utf8_valid(option, strlen(option)) ? NULL : "user= must be UTF-8 text";
    }
    if (!strncmp(option, "password=", 9)) {
        return set_password(cmd, mailer, option + 9);
    }
    if (!strncmp(option, "starttls=", 9)) {
        *starttls = !strcmp(option + 9, "required") ? SA_STARTTLS_REQUIRED
                    : !strcmp(option + 9, "optional") ? SA_STARTTLS_OPTIONAL
                    : !strcmp(option + 9, "off") ? SA_STARTTLS_OFF : -1;
        return *starttls == -1 ? "starttls= must be required, optional or off" : NULL;
    }
    return "an option must be user=, password= or starttls=";
}

static const char *set_server(cmd_parms *cmd, sa_mailer_t *mailer, int argc, char *const argv[])
{
    const char *http = as_http(cmd, argv[0]), *problem = NULL;
    int starttls = -1;

    if (!http) {
        return MAILER_VALUES;
    }
    int is_tls = argv[0][4] == 's', is_local = sa_url_is_loopback(http);
    for (int i = 1; !problem && i < argc; i++) {
        problem = set_option(cmd, mailer, &starttls, argv[i]);
    }
    if (problem) {
        return problem;
    }
    if (is_tls && starttls != -1) {
        return "starttls= is for smtp://; smtps:// is encrypted from the start";
    }
    if (!mailer->user != !mailer->password) {
        return "user= and password= need each other";
    }
    mailer->url = argv[0];
    mailer->starttls = starttls != -1 ? (sa_starttls_t)starttls
                       : is_local ? SA_STARTTLS_OFF : SA_STARTTLS_REQUIRED;
    return mailer->user && !is_tls && !is_local && mailer->starttls != SA_STARTTLS_REQUIRED
               ? "a password is sent to another host only with starttls=required, or by smtps://"
               : NULL;
}

static const char *set_program(cmd_parms *cmd, sa_mailer_t *mailer, int argc, char *const argv[])
{
    static const char *const usual[] = { "-t", "-i" };
    apr_array_header_t *list = apr_array_make(cmd->pool, argc + 3, sizeof(const char *));

    APR_ARRAY_PUSH(list, const char *) = argv[0] + strlen("sendmail:");
    for (int i = 1; i < argc; i++) {
        APR_ARRAY_PUSH(list, const char *) = argv[i];
    }
    for (int i = 0; argc == 1 && i < 2; i++) {
        APR_ARRAY_PUSH(list, const char *) = usual[i];
    }
    APR_ARRAY_PUSH(list, const char *) = NULL;
    mailer->argv = (void *)list->elts;
    return access(mailer->argv[0], X_OK) == 0 && mailer->argv[0][0] == '/'
               ? NULL : "sendmail: must be followed by the absolute path of a program";
}

/* Also what is not clearly an option: it may be a password that lost its key. */
static const char *shown(cmd_parms *cmd, int argc, char *const argv[])
{
    const char *text = argv[0];

    for (int i = 1; i < argc; i++) {
        int is_safe = !strncmp(argv[i], "user=", 5) || !strncmp(argv[i], "starttls=", 9)
                      || (!strncmp(argv[i], "password=", 9) && !sa_secret_is_literal(argv[i] + 9));
        text = apr_pstrcat(cmd->pool, text, " ", is_safe ? argv[i] : "(hidden)", NULL);
    }
    return text;
}

const char *sa_set_smtp(cmd_parms *cmd, void *data, int argc, char *const argv[])
{
    sa_dir_conf_t *conf = data;
    sa_mailer_t *mailer = apr_pcalloc(cmd->pool, sizeof(*mailer));
    const char *problem = sa_directive_begin(cmd, conf);

    if (problem) {
        return problem;
    }
    if (argc < 1) {
        return sa_directive_error(cmd, NULL, MAILER_VALUES);
    }
    if (argc == 1 && !ap_cstr_casecmp(argv[0], "off")) {
        conf->mailer = &no_mailer;
        return NULL;
    }
    int is_program = !strncmp(argv[0], "sendmail:", 9);
    if (!is_program) {
        sa_directive_show_instead(cmd, shown(cmd, argc, argv));
    }
    problem = is_program ? set_program(cmd, mailer, argc, argv)
                         : set_server(cmd, mailer, argc, argv);
    conf->mailer = mailer;
    return problem ? sa_directive_error(cmd, NULL, problem) : NULL;
}

const char *sa_set_mail_from(cmd_parms *cmd, void *data, const char *value)
{
    sa_dir_conf_t *conf = data;
    sa_mailbox_t *box = apr_palloc(cmd->pool, sizeof(*box));
    const char *problem = sa_directive_begin(cmd, conf);

    if (problem) {
        return problem;
    }
    problem = sa_mailbox_parse(cmd->pool, value, box);
    conf->mail_from = box;
    return problem ? sa_directive_error(cmd, value, problem) : NULL;
}

/* A URL whose fragment, if it has one, says where the token goes. */
static const char *page_problem(apr_pool_t *p, const char *url)
{
    const char *place = strstr(url, SA_MAIL_TOKEN_PLACE), *fragment = strchr(url, '#');

    if (fragment && !place) {
        return "has a fragment: say by " SA_MAIL_TOKEN_PLACE " where the token goes";
    }
    const char *end = fragment ? fragment : url + strlen(url);
    if (place && place < end) {
        return "would put the token where servers log it: " SA_MAIL_TOKEN_PLACE " must stand behind "
               "the #";
    }
    return sa_endpoint_problem(apr_pstrmemdup(p, url, (apr_size_t)(end - url)), 0);
}

const char *sa_add_mail_link(cmd_parms *cmd, void *data, const char *value)
{
    sa_dir_conf_t *conf = data;
    const char *problem = sa_directive_begin(cmd, conf);
    const char *url = strchr(value, '=');

    if (problem) {
        return problem;
    }
    const char *name = url ? apr_pstrmemdup(cmd->pool, value, (apr_size_t)(url - value)) : "";
    sa_mail_kind_t kind = sa_mail_kind(name);
    if (kind == SA_MAIL_KINDS || !sa_mail_has_link(kind)) {
        return sa_directive_error(cmd, value, "must be verify=URL, reset=URL or email-change=URL");
    }
    problem = page_problem(cmd->pool, url + 1);
    if (problem) {
        return sa_directive_error(cmd, value, problem);
    }
    if (!conf->mail_links) {
        conf->mail_links = apr_table_make(cmd->pool, 3);
    }
    apr_table_setn(conf->mail_links, name, url + 1);
    return NULL;
}

const char *sa_set_mail_templates(cmd_parms *cmd, void *data, const char *value)
{
    sa_dir_conf_t *conf = data;
    const char *problem = sa_directive_begin(cmd, conf);

    if (problem) {
        return problem;
    }
    conf->mail_templates = ap_server_root_relative(cmd->pool, value);
    return conf->mail_templates && ap_is_directory(cmd->temp_pool, conf->mail_templates)
               ? NULL : sa_directive_error(cmd, value, "must be a directory");
}
