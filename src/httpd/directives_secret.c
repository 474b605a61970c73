/* The directives that hold secrets: no message of theirs repeats a value that could be one. */
#include "httpd/dir_conf.h"
#include "httpd/routes.h"
#include "core/text.h"
#include "core/url.h"

#include <apr_strings.h>

#define SECRET_MIN 32
#define HIDDEN "(hidden)"

const char *sa_set_secret(cmd_parms *cmd, void *data, const char *spec)
{
    sa_dir_conf_t *conf = data;
    const char *problem = sa_directive_begin(cmd, conf);

    if (sa_secret_is_literal(spec)) {
        sa_directive_show_instead(cmd, HIDDEN);
    }
    if (problem || sa_config_is_only_shown()) {
        return problem;
    }
    problem = sa_secret_resolve(cmd->pool, cmd->temp_pool, spec, &conf->secret, &conf->secret_len);
    if (!problem && conf->secret_len < SECRET_MIN) {
        problem = apr_psprintf(cmd->pool, "the secret is %" APR_SIZE_T_FMT " bytes long, at least "
                               "%d are needed; \"openssl rand -base64 48\" makes one",
                               conf->secret_len, SECRET_MIN);
    }
    return problem ? sa_directive_error(cmd, NULL, problem) : NULL;
}

static int is_reserved(const char *name)
{
    apr_size_t len = strlen(name);

    for (const sa_route_t *route = sa_routes; route->path; route++) {
        if (!(route->flags & SA_ROUTE_PROVIDER) && strcspn(route->path, "/") == len
            && ap_cstr_casecmpn(name, route->path, len) == 0) {
            return 1;
        }
    }
    return 0;
}

static const char *set_client_secret(cmd_parms *cmd, sa_provider_t *provider, const char *spec)
{
    const char *secret;
    apr_size_t len;

    if (!*spec || sa_config_is_only_shown()) {
        return NULL;
    }
    const char *problem = sa_secret_resolve(cmd->pool, cmd->temp_pool, spec, &secret, &len);
    if (problem) {
        return apr_pstrcat(cmd->pool, "client-secret: ", problem, NULL);
    }
    if (!sa_utf8_valid(secret, len) || strpbrk(secret, "\r\n\t ")) {
        return "client-secret: the secret must be one line of text without spaces";
    }
    return sa_provider_set(provider, cmd->pool, "client-secret", secret);
}

/* What is not clearly a key may be a secret that lost its key, and is not repeated. */
static int looks_like_key(const char *option)
{
    apr_size_t len = strspn(option, "abcdefghijklmnopqrstuvwxyz-_");

    return len > 0 && len <= 20 && option[len] == '=';
}

static const char *set_option(cmd_parms *cmd, sa_provider_t *provider, const char *option)
{
    if (!looks_like_key(option)) {
        return "each option must be of the form key=value, without spaces around the =";
    }
    const char *value = strchr(option, '=') + 1;
    const char *key = apr_pstrmemdup(cmd->pool, option, (apr_size_t)(value - option - 1));
    if (strcmp(key, "client-secret") == 0) {
        return set_client_secret(cmd, provider, value);
    }
    if (!*value && strcmp(key, "client-id") == 0) {
        return NULL;            /* an empty credential is a missing one: the provider is off */
    }
    return sa_provider_set(provider, cmd->pool, key, value);
}

static const char *make_provider(cmd_parms *cmd, int argc, char *const argv[],
                                 sa_provider_t **made)
{
    const char *problem = NULL;

    if (is_reserved(argv[0])) {
        return "this name is a path of the API itself; choose another and add type=";
    }
    sa_provider_t *provider = sa_provider_make(cmd->pool, argv[0], &problem);
    if (!provider) {
        return problem;
    }
    provider->defn = sa_defn(cmd->pool, cmd->directive);
    for (int i = 1; i < argc && !problem; i++) {
        problem = set_option(cmd, provider, argv[i]);
    }
    *made = provider;
    return problem ? problem : sa_provider_finish(provider, cmd->pool);
}

/* What follows the name of an option that is not clearly one is hidden as well. */
static const char *shown_option(apr_pool_t *p, const char *option)
{
    if (!looks_like_key(option)) {
        return HIDDEN;
    }
    const char *value = strchr(option, '=') + 1;
    if (strncmp(option, "client-secret=", value - option) == 0 && sa_secret_is_literal(value)) {
        return "client-secret=" HIDDEN;
    }
    return strpbrk(option, " \t") ? apr_pstrcat(p, "\"", option, "\"", NULL) : option;
}

static void hide_client_secret(cmd_parms *cmd, int argc, char *const argv[])
{
    apr_array_header_t *shown = apr_array_make(cmd->temp_pool, argc, sizeof(const char *));

    for (int i = 0; i < argc; i++) {
        APR_ARRAY_PUSH(shown, const char *) = i ? shown_option(cmd->temp_pool, argv[i]) : argv[i];
    }
    sa_directive_show_instead(cmd, apr_array_pstrcat(cmd->pool, shown, ' '));
}

const char *sa_set_provider(cmd_parms *cmd, void *data, int argc, char *const argv[])
{
    sa_dir_conf_t *conf = data;
    sa_provider_t *provider = NULL;
    const char *problem = sa_directive_begin(cmd, conf);

    hide_client_secret(cmd, argc, argv);
    if (problem) {
        return problem;
    }
    if (argc < 1) {
        return sa_directive_error(cmd, NULL, "a name and key=value options must follow");
    }
    problem = make_provider(cmd, argc, argv, &provider);
    if (problem) {
        return apr_psprintf(cmd->pool, "SocialAuthProvider %s: %s", argv[0], problem);
    }
    if (!conf->providers) {
        conf->providers = apr_array_make(cmd->pool, 4, sizeof(sa_provider_t *));
    }
    for (int i = 0; i < conf->providers->nelts; i++) {
        const sa_provider_t *other = SA_AT(conf->providers, i, sa_provider_t *);
        if (sa_provider_is_named(other, provider->name)) {
            return apr_psprintf(cmd->pool, "SocialAuthProvider %s: it is configured already at %s; "
                                "put all its options on one line (a \\ at the end continues it)",
                                argv[0], other->defn);
        }
    }
    APR_ARRAY_PUSH(conf->providers, sa_provider_t *) = provider;
    return NULL;
}

const char *sa_set_jwt_key(cmd_parms *cmd, void *data, const char *first, const char *second)
{
    sa_dir_conf_t *conf = data;
    sa_key_conf_t key = { NULL, NULL, 0, NULL };
    const char *problem = sa_directive_begin(cmd, conf);

    if (problem || sa_config_is_only_shown()) {
        return problem;
    }
    if (second) {
        if (strncmp(first, "kid=", 4) != 0 || !sa_is_http_token(first + 4)) {
            return sa_directive_error(cmd, NULL, "the first of two values must be kid= and a name "
                                      "of letters, digits and punctuation without spaces");
        }
        key.kid = first + 4;
    }
    problem = sa_secret_read_key(cmd->pool, cmd->temp_pool, second ? second : first, &key.text,
                                 &key.len);
    if (problem) {
        return sa_directive_error(cmd, NULL, problem);
    }
    key.defn = sa_defn(cmd->pool, cmd->directive);
    if (!conf->jwt_keys) {
        conf->jwt_keys = apr_array_make(cmd->pool, 2, sizeof(sa_key_conf_t));
    }
    APR_ARRAY_PUSH(conf->jwt_keys, sa_key_conf_t) = key;
    return NULL;
}

static const char *make_webhook(cmd_parms *cmd, const char *url, const char *spec,
                                sa_webhook_t *hook)
{
    apr_size_t len;
    const char *problem = sa_endpoint_problem(url, 0);

    if (problem) {
        /* The two values may have been swapped. */
        return ap_cstr_casecmpn(url, "http", 4) == 0
            ? apr_psprintf(cmd->pool, "\"%s\" %s", url, problem)
            : "the first value must be the URL: https://, or http:// on localhost";
    }
    hook->url = url;
    problem = sa_secret_resolve(cmd->pool, cmd->temp_pool, spec, &hook->secret, &len);
    if (problem) {
        return problem;
    }
    return sa_parse_webhook_secret(cmd->pool, hook->secret, &hook->secret_key,
                                   &hook->secret_key_len);
}

const char *sa_set_webhook(cmd_parms *cmd, void *data, const char *url, const char *secret)
{
    sa_dir_conf_t *conf = data;
    sa_webhook_t hook;
    const char *problem = sa_directive_begin(cmd, conf);

    if (sa_secret_is_literal(secret)) {
        sa_directive_show_instead(cmd, sa_endpoint_problem(url, 0) ? HIDDEN
                          : apr_pstrcat(cmd->pool, url, " " HIDDEN, NULL));
    }
    if (problem || sa_config_is_only_shown()) {
        return problem;
    }
    problem = make_webhook(cmd, url, secret, &hook);
    if (problem) {
        return sa_directive_error(cmd, NULL, problem);
    }
    if (!conf->webhooks) {
        conf->webhooks = apr_array_make(cmd->pool, 2, sizeof(sa_webhook_t));
    }
    for (int i = 0; i < conf->webhooks->nelts; i++) {
        if (strcmp(SA_AT(conf->webhooks, i, sa_webhook_t).url, url) == 0) {
            return sa_directive_error(cmd, url, "is configured twice");
        }
    }
    APR_ARRAY_PUSH(conf->webhooks, sa_webhook_t) = hook;
    return NULL;
}
