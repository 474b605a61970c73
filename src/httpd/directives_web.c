/* The directives about what is spoken with browsers, front ends and providers. */
#include "httpd/dir_conf.h"
#include "core/url.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_config.h>

static void push_word(apr_pool_t *p, apr_array_header_t **list, const char *word)
{
    if (!*list) {
        *list = apr_array_make(p, 4, sizeof(const char *));
    }
    APR_ARRAY_PUSH(*list, const char *) = word;
}

const char *sa_add_header_type(cmd_parms *cmd, void *data, const char *value)
{
    sa_dir_conf_t *conf = data;
    const char *problem = sa_directive_begin(cmd, conf);

    if (problem) {
        return problem;
    }
    if (!sa_is_http_token(value)) {
        return sa_directive_error(cmd, value, "must be a word like Bearer or JWT");
    }
    push_word(cmd->pool, &conf->auth_header_types, value);
    return NULL;
}

const char *sa_add_allow_origin(cmd_parms *cmd, void *data, const char *value)
{
    sa_dir_conf_t *conf = data;
    const char *problem = sa_directive_begin(cmd, conf);

    if (problem) {
        return problem;
    }
    problem = sa_origin_problem(value);
    if (problem) {
        return sa_directive_error(cmd, value,
                                  apr_pstrcat(cmd->pool, problem, "; it must be an origin as "
                                              "browsers send it, like https://app.example.org",
                                              NULL));
    }
    push_word(cmd->pool, &conf->allow_origins, value);
    return NULL;
}

const char *sa_set_login_error_url(cmd_parms *cmd, void *data, const char *value)
{
    sa_dir_conf_t *conf = data;
    const char *problem = sa_directive_begin(cmd, conf);

    if (problem) {
        return problem;
    }
    const char *page = apr_pstrmemdup(cmd->pool, value, strcspn(value, "#"));
    problem = *value != '/' ? sa_endpoint_problem(page, 0)
        : sa_return_to_valid(value, NULL) ? NULL : "is not a plain path";
    if (problem) {
        return sa_directive_error(cmd, value, apr_pstrcat(cmd->pool, problem, "; it must be a page "
                                  "of this site, like /sign-in, or an https:// URL", NULL));
    }
    conf->login_error_url = value;
    return NULL;
}

const char *sa_add_allow_header(cmd_parms *cmd, void *data, const char *value)
{
    sa_dir_conf_t *conf = data;
    const char *problem = sa_directive_begin(cmd, conf);

    if (problem) {
        return problem;
    }
    if (!sa_is_http_token(value) || strcmp(value, "*") == 0) {
        return sa_directive_error(cmd, value, "must be the name of a request header, like "
                                  "X-Request-ID");
    }
    char *name = apr_pstrdup(cmd->pool, value);
    ap_str_tolower(name);
    push_word(cmd->pool, &conf->allow_headers, name);
    return NULL;
}

const char *sa_set_timeout(cmd_parms *cmd, void *data, const char *value)
{
    sa_dir_conf_t *conf = data;
    const char *problem = sa_directive_begin(cmd, conf);

    if (problem) {
        return problem;
    }
    if (strncmp(value, "connect=", 8) == 0) {
        problem = sa_parse_number(cmd->pool, value + 8, SA_UNIT_MILLIS, 50, 60000,
                                  &conf->connect_ms);
    }
    else if (strncmp(value, "total=", 6) == 0) {
        problem = sa_parse_number(cmd->pool, value + 6, SA_UNIT_MILLIS, 50, 120000,
                                  &conf->total_ms);
    }
    else {
        problem = "must be connect=time or total=time, like connect=2 total=10";
    }
    if (!problem && conf->connect_ms > 0 && conf->total_ms > 0
        && conf->connect_ms > conf->total_ms) {
        problem = "connect= must not be longer than total=";
    }
    return problem ? sa_directive_error(cmd, value, problem) : NULL;
}

const char *sa_set_ca_bundle(cmd_parms *cmd, void *data, const char *value)
{
    sa_dir_conf_t *conf = data;
    const char *why;
    const char *problem = sa_directive_begin(cmd, conf);

    if (problem) {
        return problem;
    }
    const char *path = ap_server_root_relative(cmd->pool, value);
    if (!path || !sa_trust_load(cmd->pool, path, NULL, &why)) {
        return sa_directive_error(cmd, value, "must be a readable file with certificates in PEM "
                                  "form");
    }
    conf->ca_bundle = path;
    return NULL;
}

const char *sa_set_login_url(cmd_parms *cmd, void *data, const char *value)
{
    sa_dir_conf_t *conf = data;
    const char *problem = sa_directive_begin(cmd, conf);

    if (problem) {
        return problem;
    }
    if (strchr(value, '#')
        || (!sa_return_to_valid(value, NULL) && sa_endpoint_problem(value, 0))) {
        return sa_directive_error(cmd, value, "must be a path of this server, like /login/, or an "
                                  "https:// address, without #");
    }
    conf->login_url = value;
    return NULL;
}

const char *sa_set_outgoing_proxy(cmd_parms *cmd, void *data, const char *value)
{
    sa_dir_conf_t *conf = data;
    const char *problem = sa_directive_begin(cmd, conf);

    if (problem) {
        return problem;
    }
    if (ap_cstr_casecmp(value, "none") == 0) {
        conf->outgoing_proxy = "";
        return NULL;
    }
    if (sa_parse_base_url(cmd->pool, value, &conf->outgoing_proxy)) {
        return sa_directive_error(cmd, value, "must be none or http://host:port or "
                                  "https://host:port");
    }
    return NULL;
}
