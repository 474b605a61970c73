/* What is asked of the person at the terminal, or read from a pipe. */
#include "ctl/ctl.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "core/crypto.h"
#include "core/password.h"

/* The readers return "" when there is none, NULL after saying what is wrong. */

static char *from_stdin(apr_pool_t *p)
{
    char line[SA_PASSWORD_MAX + 2];

    if (!fgets(line, sizeof(line), stdin)) {
        return apr_pstrdup(p, "");
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
        password = apr_pstrdup(p, "");
    }
    else if (strcmp(first, again)) {
        ctl_fail("the two passwords differ");
    }
    else {
        password = apr_pstrdup(p, first);
    }
    sa_wipe(first, sizeof(first));
    sa_wipe(again, sizeof(again));
    return password;
}

static char *read_password(const ctl_t *ctl)
{
    if (!ctl->password_stdin && !isatty(STDIN_FILENO)) {
        ctl_fail("standard input is not a terminal: use --password-stdin");
        return NULL;
    }
    char *password = ctl->password_stdin ? from_stdin(ctl->pool) : from_terminal(ctl->pool);
    if (password && (!*password || strlen(password) > SA_PASSWORD_MAX)) {
        ctl_fail("a password of 1 to %d bytes is needed", SA_PASSWORD_MAX);
        return NULL;
    }
    return password;
}

const char *ctl_password_hash(ctl_t *ctl)
{
    char *password = read_password(ctl);

    if (!password) {
        return NULL;
    }
    const char *hash = sa_password_hash(ctl->pool, password, strlen(password));
    sa_wipe(password, strlen(password));
    if (!hash) {
        ctl_fail("the password was not hashed");
    }
    return hash;
}

int ctl_confirm(const ctl_t *ctl, const char *question)
{
    char answer[8];

    if (ctl->yes) {
        return CTL_OK;
    }
    if (!isatty(STDIN_FILENO)) {
        return ctl_fail("%s Standard input is not a terminal: add --yes", question);
    }
    fprintf(stderr, "%s [y/N] ", question);
    if (fgets(answer, sizeof(answer), stdin) && (!strcasecmp(answer, "y\n")
                                                 || !strcasecmp(answer, "yes\n"))) {
        return CTL_OK;
    }
    return ctl_fail("nothing was done");
}
