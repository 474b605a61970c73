/* The directives about users and their passwords. */
#include "httpd/dir_conf.h"

#include <apr_strings.h>
#include <http_config.h>

const char *sa_set_user_table(cmd_parms *cmd, void *data, const char *value)
{
    sa_dir_conf_t *conf = data;
    const char *problem = sa_directive_begin(cmd, conf);

    if (problem) {
        return problem;
    }
    problem = sa_parse_identifier(value, 1);
    conf->user_table = value;
    return problem ? sa_directive_error(cmd, value, problem) : NULL;
}

const char *sa_set_deleted_field(cmd_parms *cmd, void *data, const char *value)
{
    sa_dir_conf_t *conf = data;
    const char *problem = sa_directive_begin(cmd, conf);

    if (problem) {
        return problem;
    }
    problem = sa_parse_identifier(value, 0);
    conf->deleted_field = value;
    return problem ? sa_directive_error(cmd, value, problem) : NULL;
}

static const char *column_problem(const char *role, const char *column)
{
    static const char *const roles[] = {
        "id", "email", "username", "first_name", "last_name", "password", "is_active", "is_staff",
        "is_superuser", "email_verified", "date_joined", "last_login"
    };

    for (apr_size_t i = 0; i < sizeof(roles) / sizeof(*roles); i++) {
        if (strcmp(role, roles[i]) != 0) {
            continue;
        }
        if (*column) {
            return sa_parse_identifier(column, 0);
        }
        return i < 2 ? "id and email must have a column" : NULL;
    }
    return "must be role=column, where role is one of id email username first_name last_name "
           "password is_active is_staff is_superuser email_verified date_joined last_login";
}

const char *sa_add_user_column(cmd_parms *cmd, void *data, const char *value)
{
    sa_dir_conf_t *conf = data;
    const char *problem = sa_directive_begin(cmd, conf);
    const char *column = strchr(value, '=');

    if (problem) {
        return problem;
    }
    const char *role = column ? apr_pstrmemdup(cmd->pool, value, (apr_size_t)(column - value)) : "";
    column = column ? column + 1 : "";
    problem = column_problem(role, column);
    if (problem) {
        return sa_directive_error(cmd, value, problem);
    }
    if (!conf->user_columns) {
        conf->user_columns = apr_table_make(cmd->pool, 12);
    }
    if (apr_table_get(conf->user_columns, role)) {
        return sa_directive_error(cmd, value, "this role has a column already");
    }
    apr_table_setn(conf->user_columns, role, column);
    return NULL;
}

static const char *policy_problem(cmd_parms *cmd, sa_dir_conf_t *conf, const char *key,
                                  const char *value)
{
    const struct {
        const char *key;
        int *flag;
    } flags[] = {
        { "common", &conf->policy_common }, { "similarity", &conf->policy_similarity },
        { "numeric", &conf->policy_numeric },
    };

    if (!strcmp(key, "min-length")) {
        return sa_parse_number(cmd->pool, value, SA_UNIT_COUNT, 1, 128, &conf->policy_min_length);
    }
    for (apr_size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
        if (!strcmp(key, flags[i].key)) {
            *flags[i].flag = !ap_cstr_casecmp(value, "on");
            return *flags[i].flag || !ap_cstr_casecmp(value, "off") ? NULL : "must be on or off";
        }
    }
    return "must be min-length=number, common=on|off, similarity=on|off or numeric=on|off";
}

const char *sa_set_password_policy(cmd_parms *cmd, void *data, const char *value)
{
    const char *problem = sa_directive_begin(cmd, data);
    const char *equals = strchr(value, '=');

    if (!problem) {
        const char *key = equals ? apr_pstrmemdup(cmd->pool, value, (apr_size_t)(equals - value))
                                 : "";
        problem = policy_problem(cmd, data, key, equals ? equals + 1 : "");
        problem = problem ? sa_directive_error(cmd, value, problem) : NULL;
    }
    return problem;
}

const char *sa_set_common_passwords(cmd_parms *cmd, void *data, const char *value)
{
    sa_dir_conf_t *conf = data;
    const char *problem = sa_directive_begin(cmd, conf);

    if (problem) {
        return problem;
    }
    const char *path = ap_server_root_relative(cmd->pool, value);
    problem = path ? sa_common_passwords_load(cmd->pool, path, &conf->common_passwords)
                   : "must be the name of a file";
    return problem ? sa_directive_error(cmd, value, problem) : NULL;
}
