/* Secrets: written out, in a file, or printed by a program. Read while the configuration is read
 * (as root where httpd starts as root), never later; wiped with the configuration pool. */
#include "httpd/dir_conf.h"
#include "core/crypto.h"

#include <apr_file_io.h>
#include <apr_signal.h>
#include <apr_strings.h>
#include <apr_thread_proc.h>

#define SECRET_MAX 65536
#define EXEC_TIMEOUT apr_time_from_sec(30)

typedef enum {
    KEEP_LINE = 0,              /* one line of text */
    KEEP_ALL = 1                /* everything, PEM has many lines */
} sa_keep_t;

static const char *status_text(apr_pool_t *p, apr_status_t rv)
{
    char buf[120];

    return apr_pstrdup(p, apr_strerror(rv, buf, sizeof(buf)));
}

/* The file is judged by its open handle, so that what was checked is what is read. */
static const char *file_problem(apr_pool_t *p, const char *path, apr_file_t *file)
{
    apr_finfo_t info;
    apr_status_t rv = apr_file_info_get(&info, APR_FINFO_TYPE | APR_FINFO_PROT | APR_FINFO_SIZE,
                                        file);

    if (rv != APR_SUCCESS && rv != APR_INCOMPLETE) {
        return apr_psprintf(p, "file %s cannot be read: %s", path, status_text(p, rv));
    }
    if (info.filetype != APR_REG) {
        return apr_psprintf(p, "%s is not a regular file", path);
    }
    if (info.protection & (APR_FPROT_WREAD | APR_FPROT_WWRITE | APR_FPROT_WEXECUTE)) {
        return apr_psprintf(p, "file %s is open to everybody; take the rights of others away "
                            "(chmod o-rwx %s)", path, path);
    }
    if (info.size > SECRET_MAX) {
        return apr_psprintf(p, "file %s is longer than %d bytes", path, SECRET_MAX);
    }
    return NULL;
}

static const char *read_file(apr_pool_t *p, apr_pool_t *ptemp, const char *name, char *buf,
                             apr_size_t *len)
{
    const char *path = ap_server_root_relative(ptemp, name);
    if (!*name || !path) {
        return "file: must be followed by the path of a file";
    }
    apr_file_t *file;
    apr_status_t rv = apr_file_open(&file, path, APR_FOPEN_READ, APR_FPROT_OS_DEFAULT, ptemp);
    if (rv != APR_SUCCESS) {
        return apr_psprintf(p, "file %s cannot be read: %s", path, status_text(p, rv));
    }
    const char *problem = file_problem(p, path, file);
    if (!problem) {
        rv = apr_file_read_full(file, buf, SECRET_MAX, len);
        if (rv != APR_SUCCESS && rv != APR_EOF) {
            problem = apr_psprintf(p, "file %s cannot be read: %s", path, status_text(p, rv));
        }
        else if (*len == 0) {
            problem = apr_psprintf(p, "file %s is empty", path);
        }
    }
    apr_file_close(file);
    return problem;
}

/* Runs argv without a shell, with httpd's own environment and stderr, and /dev/null as stdin. */
static apr_status_t start_program(apr_pool_t *ptemp, char **argv, apr_proc_t *proc)
{
    apr_procattr_t *attr;
    apr_status_t rv = apr_procattr_create(&attr, ptemp);

    if (rv == APR_SUCCESS) {
        rv = apr_procattr_io_set(attr, APR_NO_FILE, APR_FULL_BLOCK, APR_NO_PIPE);
    }
    if (rv == APR_SUCCESS) {
        rv = apr_procattr_cmdtype_set(attr, APR_PROGRAM_ENV);
    }
    if (rv == APR_SUCCESS) {
        rv = apr_procattr_error_check_set(attr, 1);
    }
    if (rv == APR_SUCCESS) {
        rv = apr_proc_create(proc, argv[0], (const char *const *)argv, NULL, attr, ptemp);
    }
    return rv;
}

/* Reads until the program closes its output; APR_TIMEUP after EXEC_TIMEOUT of silence. */
static apr_status_t read_output(apr_proc_t *proc, char *buf, apr_size_t *len)
{
    apr_status_t rv;

    *len = 0;
    apr_file_pipe_timeout_set(proc->out, EXEC_TIMEOUT);
    do {
        apr_size_t n = SECRET_MAX - *len;
        if (n == 0) {
            return APR_ENOSPC;
        }
        rv = apr_file_read(proc->out, buf + *len, &n);
        if (rv == APR_SUCCESS) {
            *len += n;
        }
    } while (rv == APR_SUCCESS);
    return APR_STATUS_IS_EOF(rv) ? APR_SUCCESS : rv;
}

static const char *run_program(apr_pool_t *p, apr_pool_t *ptemp, const char *command, char *buf,
                               apr_size_t *len)
{
    char **argv;
    apr_proc_t proc;
    int code = 0;
    apr_exit_why_e why = APR_PROC_EXIT;

    if (apr_tokenize_to_argv(command, &argv, ptemp) != APR_SUCCESS || !argv[0]
        || argv[0][0] != '/') {
        return "exec: must be followed by the absolute path of a program and its arguments";
    }
    apr_status_t rv = start_program(ptemp, argv, &proc);
    if (rv != APR_SUCCESS) {
        return apr_psprintf(p, "program %s cannot be run: %s", argv[0], status_text(p, rv));
    }
    rv = read_output(&proc, buf, len);
    apr_file_close(proc.out);
    if (rv != APR_SUCCESS) {
        apr_proc_kill(&proc, SIGKILL);
    }
    apr_proc_wait(&proc, &code, &why, APR_WAIT);
    if (rv != APR_SUCCESS) {
        return apr_psprintf(p, "program %s was stopped: %s", argv[0],
                            rv == APR_ENOSPC ? "it prints more than 65536 bytes"
                                             : "it printed nothing for 30 seconds");
    }
    if (!APR_PROC_CHECK_EXIT(why) || code != 0) {
        return apr_psprintf(p, "program %s failed (%s %d)", argv[0],
                            APR_PROC_CHECK_EXIT(why) ? "exit status" : "signal", code);
    }
    if (*len == 0) {
        return apr_psprintf(p, "program %s printed nothing", argv[0]);
    }
    return NULL;
}

/* A file's last line end, and all but the first line of a program's output, are not the secret. */
static apr_size_t trimmed(const char *buf, apr_size_t len, int first_line)
{
    if (first_line) {
        const char *end = memchr(buf, '\n', len);
        len = end ? (apr_size_t)(end - buf) : len;
    }
    else if (len > 0 && buf[len - 1] == '\n') {
        len--;
    }
    return len > 0 && buf[len - 1] == '\r' ? len - 1 : len;
}

static const char *resolve(apr_pool_t *p, apr_pool_t *ptemp, const char *spec, sa_keep_t keep,
                           const char **secret, apr_size_t *len)
{
    int is_exec = strncmp(spec, "exec:", 5) == 0;
    char *buf = apr_palloc(ptemp, SECRET_MAX);
    apr_size_t n = 0;
    const char *problem = is_exec ? run_program(p, ptemp, spec + 5, buf, &n)
                                  : read_file(p, ptemp, spec + 5, buf, &n);

    if (!problem) {
        apr_size_t kept = trimmed(buf, n, is_exec && keep == KEEP_LINE);
        if (kept == 0) {
            problem = is_exec ? "the program's first line is empty"
                              : "the file holds an empty line";
        }
        else {
            *secret = sa_secret_keep(p, buf, kept);
            *len = kept;
        }
    }
    sa_wipe(buf, n);
    return problem;
}

int sa_secret_is_literal(const char *spec)
{
    return *spec && strncmp(spec, "file:", 5) != 0 && strncmp(spec, "exec:", 5) != 0;
}

static int is_reference(const char *spec)
{
    return strncmp(spec, "file:", 5) == 0 || strncmp(spec, "exec:", 5) == 0;
}

const char *sa_secret_resolve(apr_pool_t *p, apr_pool_t *ptemp, const char *spec,
                              const char **secret, apr_size_t *len)
{
    if (is_reference(spec)) {
        return resolve(p, ptemp, spec, KEEP_LINE, secret, len);
    }
    if (!*spec) {
        return "the secret is empty";
    }
    *len = strlen(spec);
    *secret = sa_secret_keep(p, spec, *len);
    return NULL;
}

const char *sa_secret_read_key(apr_pool_t *p, apr_pool_t *ptemp, const char *spec,
                               const char **text, apr_size_t *len)
{
    if (!is_reference(spec)) {
        return "the key must be given as file:path or exec:program";
    }
    return resolve(p, ptemp, spec, KEEP_ALL, text, len);
}
