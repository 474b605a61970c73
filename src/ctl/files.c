/* Files: who may do what to them, and new ones for one pair of eyes. */
#include "ctl/ctl.h"

#include <apr_file_io.h>
#include <apr_strings.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* "www-data", or as httpd's User also takes it, "#33". */
static const struct passwd *system_user(const char *name)
{
    return *name == '#' ? getpwuid((uid_t)atol(name + 1)) : getpwnam(name);
}

int ctl_user_may(const char *name, const char *path, int mode)
{
    int status;

    if (geteuid() != 0) {
        return access(path, mode) == 0;
    }
    const struct passwd *user = system_user(name);
    pid_t child = user ? fork() : -1;
    if (child == 0) {
        _exit(setgid(user->pw_gid) || initgroups(user->pw_name, user->pw_gid)
              || setuid(user->pw_uid) ? 2 : access(path, mode) == 0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)
        || WEXITSTATUS(status) > 1) {
        return -1;
    }
    return WEXITSTATUS(status);
}

const char *ctl_write_secret(apr_pool_t *p, const char *path, const char *text)
{
    char reason[120];
    apr_file_t *file;
    apr_status_t rv = apr_file_open(&file, path, APR_FOPEN_WRITE | APR_FOPEN_CREATE
                                    | APR_FOPEN_EXCL, APR_FPROT_UREAD | APR_FPROT_UWRITE, p);

    if (APR_STATUS_IS_EEXIST(rv)) {
        return apr_psprintf(p, "%s is there already; nothing was written", path);
    }
    if (rv == APR_SUCCESS) {
        rv = apr_file_write_full(file, text, strlen(text), NULL);
        apr_status_t closed = apr_file_close(file);
        rv = rv == APR_SUCCESS ? closed : rv;
        if (rv != APR_SUCCESS) {
            apr_file_remove(path, p);
        }
    }
    return rv == APR_SUCCESS ? NULL
        : apr_psprintf(p, "%s cannot be written: %s", path,
                       apr_strerror(rv, reason, sizeof(reason)));
}
