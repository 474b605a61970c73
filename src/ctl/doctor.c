/* doctor: whether the server, as it is configured, can do its work; and if not, what to do. */
#include "ctl/doctor.h"

#include <apr_file_info.h>
#include <apr_strings.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/json.h"
#include "core/url.h"

void ctl_doctor_say(doctor_t *doctor, doctor_level_t level, const char *check, const char *todo,
                    const char *fmt, ...)
{
    static const char *const words[] = { "ok", "warning", "error" };
    va_list args;

    va_start(args, fmt);
    const char *text = ctl_shown(doctor->ctl, apr_pvsprintf(doctor->ctl->pool, fmt, args));
    va_end(args);
    doctor->warnings += level == DOCTOR_WARNING;
    doctor->errors += level == DOCTOR_ERROR;
    json_array_append_new(doctor->findings, json_pack(
        "{s:s, s:s, s:s, s:s?}", "level", words[level], "check", check, "text", text,
        "todo", todo));
    if (!doctor->ctl->json) {
        printf("%-8s %-14s %s%s%s\n", words[level], check, text, todo ? ": " : "",
               todo ? todo : "");
    }
}

/* ---- the configuration ---- */

static const json_t *member(const doctor_t *doctor, const char *name)
{
    return json_object_get(doctor->ctl->dump, name);
}

static const char *name_of(const doctor_t *doctor, const json_t *mount)
{
    const char *path = sa_json_string(mount, "mount");

    return apr_pstrcat(doctor->ctl->pool, sa_json_string(mount, "server"), *path ? path : "/",
                       NULL);
}

static int wants_webhooks(const doctor_t *doctor)
{
    size_t i;
    json_t *mount;

    json_array_foreach(member(doctor, "mounts"), i, mount) {
        if (json_array_size(json_object_get(mount, "webhooks"))) {
            return 1;
        }
    }
    return 0;
}

static void check_modules(doctor_t *doctor)
{
    if (json_is_true(member(doctor, "watchdog"))) {
        ctl_doctor_say(doctor, DOCTOR_OK, "modules", NULL, "mod_dbd and mod_watchdog are loaded");
        return;
    }
    int webhooks = wants_webhooks(doctor);
    ctl_doctor_say(doctor, webhooks ? DOCTOR_ERROR : DOCTOR_WARNING, "modules",
                   "LoadModule watchdog_module modules/mod_watchdog.so", "mod_watchdog is not "
                   "loaded, so that %snobody deletes expired rows",
                   webhooks ? "no webhook is delivered and " : "");
}

static const char *directory_of(apr_pool_t *p, const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash == path ? "/" : apr_pstrmemdup(p, path, slash - path) : ".";
}

/* Files named in the configuration hold secrets that only who starts httpd reads. */
static void check_secret(doctor_t *doctor, const char *path)
{
    apr_pool_t *p = doctor->ctl->pool;
    const char *user = sa_json_string(doctor->ctl->dump, "user");
    const char *directory = directory_of(p, path);
    apr_finfo_t file, around;

    if (apr_stat(&file, path, APR_FINFO_PROT, p) != APR_SUCCESS
        || apr_stat(&around, directory, APR_FINFO_PROT, p) != APR_SUCCESS) {
        ctl_doctor_say(doctor, DOCTOR_ERROR, "secrets", "run this as the user that starts httpd",
                       "%s cannot be looked at", path);
    }
    else if ((around.protection & APR_FPROT_WWRITE) && !(around.protection & APR_FPROT_WSTICKY)) {
        ctl_doctor_say(doctor, DOCTOR_ERROR, "secrets",
                       apr_pstrcat(p, "chmod o-w ", directory, NULL),
                       "anybody can put another file in the place of %s", path);
    }
    else if (file.protection & (APR_FPROT_GREAD | APR_FPROT_GWRITE)) {
        ctl_doctor_say(doctor, DOCTOR_WARNING, "secrets",
                       apr_pstrcat(p, "chmod g-rwx ", path, NULL), "the group of %s has rights on it", path);
    }
    else if (geteuid() == 0 && *user && strcmp(user, "root")
             && ctl_user_may(user, path, R_OK) == 1) {
        ctl_doctor_say(doctor, DOCTOR_WARNING, "secrets", apr_pstrcat(p, "chown root ", path, NULL),
                       "%s, who answers requests, can read %s; only httpd's first process needs to",
                       user, path);
    }
    else {
        ctl_doctor_say(doctor, DOCTOR_OK, "secrets", NULL, "%s is for its owner alone", path);
    }
}

static void check_base_url(doctor_t *doctor, const json_t *mount)
{
    const char *url = sa_json_string(mount, "base_url");

    if (sa_url_is_https(url)) {
        ctl_doctor_say(doctor, DOCTOR_OK, "base URL", NULL, "%s has %s", name_of(doctor, mount),
                       url);
        return;
    }
    ctl_doctor_say(doctor, DOCTOR_WARNING, "base URL",
                   "SocialAuthBaseURL https://…, and TLS in front", sa_url_is_loopback(url)
                       ? "%s has %s, which is good for development only"
                       : "%s has %s: tokens and cookies can be read on the way",
                   name_of(doctor, mount), url);
}

static void check_providers(doctor_t *doctor, const json_t *mount)
{
    size_t i;
    json_t *provider;

    json_array_foreach(json_object_get(mount, "providers"), i, provider) {
        const char *why = sa_json_string(provider, "disabled_because");
        if (why) {
            ctl_doctor_say(doctor, DOCTOR_WARNING, "providers",
                           "complete its SocialAuthProvider line, or remove it",
                           "%s of %s is switched off: %s", sa_json_string(provider, "name"),
                           name_of(doctor, mount), why);
        }
    }
}

/* ---- all of it ---- */

static int same_tables(const json_t *a, const json_t *b)
{
    return ctl_same_database(a, b)
           && json_equal(json_object_get(a, "user_table"), json_object_get(b, "user_table"))
           && json_equal(json_object_get(a, "user_columns"), json_object_get(b, "user_columns"))
           && json_equal(json_object_get(a, "user_deleted"), json_object_get(b, "user_deleted"));
}

/* Whether a mount before the nth that is meant has the same tables. */
static int was_seen(const doctor_t *doctor, size_t n)
{
    const json_t *mounts = member(doctor, "mounts"), *mount = json_array_get(mounts, n);

    for (size_t i = 0; i < n; i++) {
        const json_t *other = json_array_get(mounts, i);
        if (ctl_mount_is_wanted(doctor->ctl, other) && same_tables(other, mount)) {
            return 1;
        }
    }
    return 0;
}

static void check_mounts(doctor_t *doctor)
{
    int found = 0;
    size_t i;
    json_t *mount;

    json_array_foreach(member(doctor, "mounts"), i, mount) {
        if (!ctl_mount_is_wanted(doctor->ctl, mount)) {
            continue;
        }
        found = 1;
        check_base_url(doctor, mount);
        check_providers(doctor, mount);
        if (!was_seen(doctor, i)) {
            ctl_use_mount(doctor->ctl, mount);
            ctl_doctor_database(doctor, name_of(doctor, mount));
        }
    }
    if (!found) {
        ctl_doctor_say(doctor, DOCTOR_ERROR, "mounts", "<Location \"/api/social-auth\"> with "
                       "SetHandler social-auth", "%s has no such mount", doctor->ctl->conf);
    }
}

static void check_configuration(doctor_t *doctor)
{
    size_t i;
    json_t *path;
    const char *why = ctl_read_conf(doctor->ctl);

    if (why) {
        ctl_doctor_say(doctor, DOCTOR_ERROR, "configuration",
                       "correct what it complains about, then run doctor again", "%s", why);
        return;
    }
    ctl_doctor_say(doctor, DOCTOR_OK, "configuration", NULL, "httpd accepts %s",
                   doctor->ctl->conf);
    check_modules(doctor);
    json_array_foreach(member(doctor, "secret_files"), i, path) {
        check_secret(doctor, json_string_value(path));
    }
    check_mounts(doctor);
}

int ctl_doctor(ctl_t *ctl, const char **operands)
{
    doctor_t doctor = { .ctl = ctl, .findings = json_array() };

    if (ctl->conf) {
        check_configuration(&doctor);
    }
    else if (ctl->driver && ctl->params) {
        ctl_doctor_database(&doctor, ctl->driver);
    }
    else {
        json_decref(doctor.findings);
        return ctl_fail("%s", ctl_locate(ctl));
    }
    ctl_say_list(ctl, json_pack("{s:i, s:i, s:o}", "errors", doctor.errors,
                                "warnings", doctor.warnings, "findings", doctor.findings));
    return doctor.errors ? CTL_FAILED : CTL_OK;
}
