#include "ctl/ctl.h"

#include <apr_strings.h>
#include <stdio.h>

#define PURGE_BATCH 1000

int ctl_migrate_status(ctl_t *ctl, const char **operands)
{
    int version;
    const char *problem = NULL;
    sa_work_t *work;
    sa_error_t *error = ctl_open(ctl, &work);

    if (!error) {
        error = sa_store_schema_version(work, &version);
    }
    if (!error && version) {
        error = sa_store_check_mapping(work, &problem);
    }
    sa_work_close(work);
    if (problem) {
        return ctl_fail("%s", problem);
    }
    if (error) {
        return ctl_fail_error(error);
    }
    ctl_say(ctl, json_pack("{s:i, s:i}", "schema", version, "wanted", SA_SCHEMA_VERSION),
            "schema version %d, this build needs %d%s", version, SA_SCHEMA_VERSION,
            version < SA_SCHEMA_VERSION ? ": run socialauthctl migrate"
            : version > SA_SCHEMA_VERSION ? ": the schema is newer than this build" : "");
    return version == SA_SCHEMA_VERSION ? CTL_OK : CTL_FAILED;
}

static sa_error_t *migrate(ctl_t *ctl, int *from, int *to, const char **sql,
                           const char **problem)
{
    sa_work_t *work;
    int version = 0;
    sa_error_t *error = ctl_open(ctl, &work);

    if (!error) {
        error = sa_store_schema_version(work, &version);
    }
    if (!error && (ctl->map.table || version)) {
        error = sa_store_check_mapping(work, problem);
    }
    if (!error && !*problem) {
        error = sa_store_migrate(work, ctl->dry_run, from, to, sql);
    }
    sa_work_close(work);
    return error;
}

int ctl_migrate(ctl_t *ctl, const char **operands)
{
    int from = 0, to = 0;
    const char *sql = NULL, *problem = NULL;
    sa_error_t *error = migrate(ctl, &from, &to, &sql, &problem);

    if (error || problem) {
        return problem ? ctl_fail("%s", problem) : ctl_fail_error(error);
    }
    if (ctl->dry_run) {
        ctl_say(ctl, json_pack("{s:i, s:i, s:s?}", "from", from, "to", to, "sql", sql), "%s",
                sql ? sql : "-- nothing to do");
        return CTL_OK;
    }
    ctl_say(ctl, json_pack("{s:i, s:i}", "from", from, "to", to),
            "schema version %d -> %d%s", from, to, from == to ? " (nothing to do)" : "");
    return CTL_OK;
}

static sa_error_t *purge_batch(ctl_t *ctl, int *n)
{
    sa_work_t *work;
    sa_error_t *error = ctl_open(ctl, &work);

    *n = 0;
    if (!error) {
        error = sa_store_purge(work, apr_time_sec(apr_time_now()), PURGE_BATCH, n);
    }
    sa_work_close(work);
    return error;
}

int ctl_purge(ctl_t *ctl, const char **operands)
{
    int total = 0, n;

    do {
        sa_error_t *error = purge_batch(ctl, &n);
        if (error) {
            return ctl_fail_error(error);
        }
        total += n;
    } while (n);
    ctl_say(ctl, json_pack("{s:i}", "purged", total), "purged %d expired rows", total);
    return CTL_OK;
}
