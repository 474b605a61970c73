#include "ctl/ctl.h"

#include <apr_getopt.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/crypto.h"
#include "core/password.h"

int ctl_fail(const char *fmt, ...)
{
    va_list args;

    fputs("socialauthctl: ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    return CTL_FAILED;
}

int ctl_fail_error(const sa_error_t *error)
{
    return ctl_fail("%s", error->log ? error->log : error->text);
}

void ctl_say(const ctl_t *ctl, json_t *value, const char *fmt, ...)
{
    va_list args;

    if (ctl->json) {
        json_dumpf(value, stdout, JSON_COMPACT);
        fputc('\n', stdout);
    }
    else {
        va_start(args, fmt);
        vprintf(fmt, args);
        va_end(args);
        fputc('\n', stdout);
    }
    json_decref(value);
}

static char *from_stdin(apr_pool_t *p)
{
    char line[SA_PASSWORD_MAX + 2];

    if (!fgets(line, sizeof(line), stdin)) {
        return NULL;
    }
    line[strcspn(line, "\r\n")] = '\0';
    char *password = apr_pstrdup(p, line);
    sa_wipe(line, sizeof(line));
    return password;
}

static char *from_terminal(apr_pool_t *p)
{
    char first[SA_PASSWORD_MAX + 1], again[SA_PASSWORD_MAX + 1];
    apr_size_t size = sizeof(first), size_again = sizeof(again);
    char *password = NULL;

    if (apr_password_get("Password: ", first, &size) != APR_SUCCESS
        || apr_password_get("Password (again): ", again, &size_again) != APR_SUCCESS) {
        return NULL;
    }
    if (strcmp(first, again)) {
        fputs("The two passwords differ.\n", stderr);
    }
    else {
        password = apr_pstrdup(p, first);
    }
    sa_wipe(first, sizeof(first));
    sa_wipe(again, sizeof(again));
    return password;
}

char *ctl_read_password(const ctl_t *ctl)
{
    char *password = NULL;

    if (ctl->password_stdin) {
        password = from_stdin(ctl->pool);
    }
    else if (isatty(STDIN_FILENO)) {
        password = from_terminal(ctl->pool);
    }
    else {
        ctl_fail("standard input is not a terminal: use --password-stdin");
        return NULL;
    }
    if (!password || !*password || strlen(password) > SA_PASSWORD_MAX) {
        ctl_fail("a password of 1 to %d bytes is needed", SA_PASSWORD_MAX);
        return NULL;
    }
    return password;
}
