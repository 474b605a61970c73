/* doctor's look at one database: reached, of the right schema, in time, and not silting up. */
#include "ctl/doctor.h"

#include <apr_strings.h>
#include <string.h>
#include <unistd.h>

#include "core/json.h"

#define CLOCKS_AGREE 5          /* seconds; asking takes some, too */
#define CLOCKS_DIFFER 120       /* what the server allows for between servers */
#define OVERDUE 3600            /* the server purges every five minutes */

#define MIGRATE "socialauthctl migrate"

/* SQLite writes files beside its own: it needs the directory as well. */
static void check_sqlite_file(doctor_t *doctor, const char *name)
{
    ctl_t *ctl = doctor->ctl;
    const char *user = sa_json_string(ctl->dump, "user"), *slash = strrchr(ctl->params, '/');
    const char *directory = slash && slash > ctl->params
        ? apr_pstrmemdup(ctl->pool, ctl->params, slash - ctl->params) : slash ? "/" : ".";

    if (strcmp(ctl->driver, "sqlite3") || !user) {
        return;
    }
    if (!ctl_user_may(user, ctl->params, W_OK) || !ctl_user_may(user, directory, W_OK)) {
        ctl_doctor_say(doctor, DOCTOR_ERROR, "database",
                       apr_psprintf(ctl->pool, "chown %s %s %s", user, directory, ctl->params),
                       "%s: %s, who answers requests, cannot write %s and its directory", name,
                       user, ctl->params);
    }
}

static void check_clock(doctor_t *doctor, const char *name, apr_int64_t ahead)
{
    apr_int64_t off = ahead < 0 ? -ahead : ahead;

    if (off <= CLOCKS_AGREE) {
        ctl_doctor_say(doctor, DOCTOR_OK, "clock", NULL, "%s: the database's clock is ours", name);
        return;
    }
    ctl_doctor_say(doctor, off > CLOCKS_DIFFER ? DOCTOR_ERROR : DOCTOR_WARNING, "clock",
                   "let both machines follow NTP", "%s: the database's clock is %" APR_INT64_T_FMT
                   " seconds %s ours", name, off, ahead < 0 ? "behind" : "ahead of");
}

static void check_expired(doctor_t *doctor, const char *name, apr_int64_t expired)
{
    if (expired) {
        ctl_doctor_say(doctor, DOCTOR_WARNING, "expired rows", "start httpd with mod_watchdog, or "
                       "run socialauthctl purge from cron", "%s: %" APR_INT64_T_FMT " rows that "
                       "expired over an hour ago are still there", name, expired);
    }
    else {
        ctl_doctor_say(doctor, DOCTOR_OK, "expired rows", NULL, "%s: none is left over", name);
    }
}

static void check_backlog(doctor_t *doctor, const char *name, const char *what,
                          const sa_backlog_t *backlog, const char *revive, const char *send)
{
    if (backlog->dead) {
        ctl_doctor_say(doctor, DOCTOR_WARNING, what, revive, "%s: %" APR_INT64_T_FMT " %s were "
                       "given up", name, backlog->dead, what);
    }
    if (backlog->late) {
        ctl_doctor_say(doctor, DOCTOR_WARNING, what, send, "%s: %" APR_INT64_T_FMT " %s are "
                       "due for over an hour", name, backlog->late, what);
    }
    if (!backlog->dead && !backlog->late) {
        ctl_doctor_say(doctor, DOCTOR_OK, what, NULL, "%s: none waits for its receiver", name);
    }
}

static sa_error_t *check_contents(doctor_t *doctor, sa_work_t *work, const char *name)
{
    sa_health_t health;
    apr_int64_t now = ctl_now();
    sa_error_t *error = sa_store_health(work, now - OVERDUE, &health);

    if (!error) {
        check_clock(doctor, name, health.clock - now);
        check_expired(doctor, name, health.expired);
        check_backlog(doctor, name, "events", &health.events, "socialauthctl events list --dead; "
                      "when the receiver is well again, socialauthctl events retry --all", "start "
                      "httpd with mod_watchdog and the SocialAuthWebhook that they are for");
        check_backlog(doctor, name, "mails", &health.mails, "look for SA0321 in the error log; who "
                      "needs one asks for it again", "start httpd with mod_watchdog and "
                      "SocialAuthSMTP");
    }
    return error;
}

/* What stands between this build and the tables; 1 when they fit. */
static int check_schema(doctor_t *doctor, const char *name, int version, const char *problem)
{
    if (version < SA_SCHEMA_VERSION) {
        ctl_doctor_say(doctor, DOCTOR_ERROR, "schema", MIGRATE, version
                       ? "%s: the schema is version %d, and %d is needed"
                       : "%s: there are no tables yet (version %d of %d)", name, version,
                       SA_SCHEMA_VERSION);
    }
    else if (version > SA_SCHEMA_VERSION) {
        ctl_doctor_say(doctor, DOCTOR_ERROR, "schema", "install the mod_social_auth that made it",
                       "%s: the schema is version %d, newer than this build's %d", name, version,
                       SA_SCHEMA_VERSION);
    }
    else {
        ctl_doctor_say(doctor, DOCTOR_OK, "schema", NULL, "%s: version %d", name, version);
    }
    if (problem && version) {
        ctl_doctor_say(doctor, DOCTOR_ERROR, "user table", "correct SocialAuthUserTable, "
                       "SocialAuthUserColumn or SocialAuthUserDeletedField", "%s: %s", name,
                       problem);
    }
    else if (version == SA_SCHEMA_VERSION) {
        ctl_doctor_say(doctor, DOCTOR_OK, "user table", NULL, "%s: has all its columns", name);
    }
    return version == SA_SCHEMA_VERSION && !problem;
}

static sa_error_t *check_tables(doctor_t *doctor, const char *name)
{
    const char *problem = NULL;
    int version = 0;
    sa_work_t *work;
    sa_error_t *error = ctl_open(doctor->ctl, &work);

    if (!error) {
        error = sa_store_schema_version(work, &version);
    }
    if (!error) {
        error = sa_store_check_mapping(work, &problem);
    }
    if (!error) {
        ctl_doctor_say(doctor, DOCTOR_OK, "database", NULL, "%s: reached", name);
        if (check_schema(doctor, name, version, problem)) {
            error = check_contents(doctor, work, name);
        }
    }
    sa_work_close(work);
    return error;
}

void ctl_doctor_database(doctor_t *doctor, const char *name)
{
    /* Opening it would make it, for us and not for the server. */
    if (!strcmp(doctor->ctl->driver, "sqlite3") && access(doctor->ctl->params, F_OK)) {
        ctl_doctor_say(doctor, DOCTOR_ERROR, "database", MIGRATE " as the user that answers "
                       "requests, or correct DBDParams", "%s: there is no file %s", name,
                       doctor->ctl->params);
        return;
    }
    const char *why = ctl_connect(doctor->ctl);
    sa_error_t *error = why ? NULL : check_tables(doctor, name);

    if (error) {
        why = error->log ? error->log : error->text;
    }
    if (why) {
        ctl_doctor_say(doctor, DOCTOR_ERROR, "database",
                       "start it, or correct DBDriver and DBDParams", "%s: %s", name, why);
    }
    else {
        check_sqlite_file(doctor, name);
    }
}
