#include "providers/smtp.h"

#include <apr_strings.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define POLL_MS 50

/* ---- a server ---- */

typedef struct {
    const char *text;
    size_t sent, len;
    int (*stop)(void);
} upload_t;

static size_t on_read(char *data, size_t size, size_t count, void *ctx)
{
    upload_t *upload = ctx;
    size_t left = upload->len - upload->sent;
    size_t n = size * count < left ? size * count : left;

    memcpy(data, upload->text + upload->sent, n);
    upload->sent += n;
    return n;
}

static int on_progress(void *ctx, curl_off_t dltotal, curl_off_t dlnow, curl_off_t ultotal,
                       curl_off_t ulnow)
{
    const upload_t *upload = ctx;

    return upload->stop && upload->stop();
}

static void set_trust(CURL *e, const sa_mailer_t *mailer, const sa_http_limits_t *limits)
{
    static const long levels[] = {
        [SA_STARTTLS_REQUIRED] = CURLUSESSL_ALL, [SA_STARTTLS_OPTIONAL] = CURLUSESSL_TRY,
        [SA_STARTTLS_OFF] = CURLUSESSL_NONE
    };

    curl_easy_setopt(e, CURLOPT_USE_SSL, levels[mailer->starttls]);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (limits->ca_bundle) {
        curl_easy_setopt(e, CURLOPT_CAINFO, limits->ca_bundle);
        curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
    }
}

static void set_rules(CURL *e, const sa_http_limits_t *limits, upload_t *upload, char *problem)
{
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
#endif
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)limits->connect_ms);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)limits->total_ms);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, problem);
    curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(e, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(e, CURLOPT_READDATA, upload);
    curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)upload->len);
    curl_easy_setopt(e, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(e, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(e, CURLOPT_XFERINFODATA, upload);
}

/* 55x is about this mail; 53x would be about us, and passes once somebody corrects it. */
static sa_sent_t outcome(CURL *e, CURLcode code)
{
    long status = 0;

    if (code == CURLE_OK) {
        return SA_SENT;
    }
    curl_easy_getinfo(e, CURLINFO_RESPONSE_CODE, &status);
    return status / 10 == 55 && code != CURLE_LOGIN_DENIED ? SA_SENT_NEVER : SA_SENT_LATER;
}

/* When it cleans up, libcurl says QUIT and would wait two minutes for the answer: now there is none. */
static void expect_no_more(CURL *e)
{
    curl_socket_t fd;

    if (curl_easy_getinfo(e, CURLINFO_ACTIVESOCKET, &fd) == CURLE_OK && fd != CURL_SOCKET_BAD) {
        shutdown(fd, SHUT_RD);
    }
}

static sa_sent_t send_with(CURL *e, struct curl_slist *to, const sa_mailer_t *mailer,
                           apr_pool_t *p, const sa_http_limits_t *limits,
                           const sa_envelope_t *envelope, upload_t *upload, const char **why)
{
    char problem[CURL_ERROR_SIZE] = "";

    set_rules(e, limits, upload, problem);
    set_trust(e, mailer, limits);
    curl_easy_setopt(e, CURLOPT_URL, apr_pstrcat(p, mailer->url, "/", envelope->helo, NULL));
    curl_easy_setopt(e, CURLOPT_MAIL_FROM, envelope->from);
    curl_easy_setopt(e, CURLOPT_MAIL_RCPT, to);
    if (mailer->user) {
        curl_easy_setopt(e, CURLOPT_USERNAME, mailer->user);
        curl_easy_setopt(e, CURLOPT_PASSWORD, mailer->password);
    }
    CURLcode code = curl_easy_perform(e);
    expect_no_more(e);
    sa_sent_t sent = outcome(e, code);
    *why = apr_pstrdup(p, *problem ? problem : curl_easy_strerror(code));
    return sent;
}

static sa_sent_t send_by_smtp(const sa_mailer_t *mailer, apr_pool_t *p,
                              const sa_http_limits_t *limits, const sa_envelope_t *envelope,
                              int (*stop)(void), const char **why)
{
    upload_t upload = { .text = envelope->text, .len = strlen(envelope->text), .stop = stop };
    CURL *e = curl_easy_init();
    struct curl_slist *to = curl_slist_append(NULL, envelope->to);
    sa_sent_t sent = SA_SENT_LATER;

    *why = "out of memory";
    if (e && to) {
        sent = send_with(e, to, mailer, p, limits, envelope, &upload, why);
    }
    curl_slist_free_all(to);
    curl_easy_cleanup(e);
    return sent;
}

/* ---- a program ---- */

/* Starts it with `in` as standard input and nobody to read what it prints, and as if no thread of a
 * server had started it: those block signals. */
static int start(char *const *argv, int in, pid_t *pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, pipe_signal;

    sigemptyset(&none);
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &pipe_signal);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int failed = posix_spawn(pid, argv[0], &files, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    return failed;
}

/* 1 when all of it went through the pipe in time. */
static int feed(int out, const char *text, apr_int64_t deadline, int (*stop)(void))
{
    size_t left = strlen(text);

    while (left && sa_http_clock() < deadline && !(stop && stop())) {
        struct pollfd ready = { .fd = out, .events = POLLOUT };
        if (poll(&ready, 1, POLL_MS) <= 0) {
            continue;
        }
        ssize_t n = write(out, text, left);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return 0;
        }
        text += n > 0 ? n : 0;
        left -= n > 0 ? (size_t)n : 0;
    }
    return !left;
}

static int wait_for(pid_t pid, apr_int64_t deadline, int (*stop)(void), int *status)
{
    pid_t done;

    while ((done = waitpid(pid, status, WNOHANG)) == 0 && sa_http_clock() < deadline
           && !(stop && stop())) {
        poll(NULL, 0, POLL_MS);
    }
    return done == pid;
}

static sa_sent_t judge(apr_pool_t *p, int status, const char **why)
{
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;

    if (code == EX_OK) {
        return SA_SENT;
    }
    *why = code < 0 ? apr_psprintf(p, "the program ended by signal %d", WTERMSIG(status))
                    : apr_psprintf(p, "the program ended with status %d", code);
    return code == EX_NOUSER || code == EX_NOHOST || code == EX_DATAERR ? SA_SENT_NEVER
                                                                         : SA_SENT_LATER;
}

static sa_sent_t send_by_program(const sa_mailer_t *mailer, apr_pool_t *p,
                                 const sa_http_limits_t *limits, const sa_envelope_t *envelope,
                                 int (*stop)(void), const char **why)
{
    apr_int64_t deadline = sa_http_clock() + limits->total_ms;
    int ends[2], status = 0;
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC)) {
        *why = "no pipe could be made";
        return SA_SENT_LATER;
    }
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    int failed = start(mailer->argv, ends[0], &pid);
    close(ends[0]);
    if (failed) {
        close(ends[1]);
        *why = apr_psprintf(p, "%s could not be started: %s", mailer->argv[0], strerror(failed));
        return SA_SENT_LATER;
    }
    int fed = feed(ends[1], envelope->text, deadline, stop);
    if (!fed) {
        kill(pid, SIGKILL);     /* before it takes the end of the pipe for the end of the mail */
    }
    close(ends[1]);
    if (!wait_for(pid, deadline, stop, &status)) {
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        *why = "the program took too long";
        return SA_SENT_LATER;
    }
    sa_sent_t sent = judge(p, status, why);
    if (sent == SA_SENT && !fed) {
        *why = "the program did not read the mail";
        return SA_SENT_LATER;
    }
    return sent;
}

sa_sent_t sa_mailer_send(const sa_mailer_t *mailer, apr_pool_t *p, const sa_http_limits_t *limits,
                         const sa_envelope_t *envelope, int (*stop)(void), const char **why)
{
    *why = NULL;
    return mailer->argv ? send_by_program(mailer, p, limits, envelope, stop, why)
                        : send_by_smtp(mailer, p, limits, envelope, stop, why);
}
