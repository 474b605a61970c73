/* Preloaded into httpd: the wall clock is the real one plus the seconds that the file SA_CLOCK holds; with
 * SA_CLOCK_ALL=1 the clocks that never step are ahead by as much. Works beside AddressSanitizer, which
 * libfaketime does not: nothing is allocated or looked up before the program runs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset(void)
{
    const char *path = getenv("SA_CLOCK");
    char text[32] = "";
    int fd = path ? (int)syscall(SYS_open, path, O_RDONLY | O_CLOEXEC) : -1;

    if (fd < 0) {
        return 0;
    }
    if (syscall(SYS_read, fd, text, sizeof(text) - 1) < 0) {
        text[0] = '\0';
    }
    syscall(SYS_close, fd);
    return atol(text);
}

static int is_shifted(clockid_t clock)
{
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) {
        return 1;
    }
    return (clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME || clock == CLOCK_MONOTONIC_RAW
            || clock == CLOCK_MONOTONIC_COARSE) && getenv("SA_CLOCK_ALL");
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int rv = (int)syscall(SYS_clock_gettime, clock, now);

    if (rv == 0 && is_shifted(clock)) {
        now->tv_sec += offset();
    }
    return rv;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    int rv = (int)syscall(SYS_gettimeofday, now, zone);

    if (rv == 0) {
        now->tv_sec += offset();
    }
    return rv;
}

time_t time(time_t *result)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (result) {
        *result = now.tv_sec;
    }
    return now.tv_sec;
}

/* The kernel waits by its own clock. */
int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until)
{
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    struct timespec shifted = *until;

    if (!real) {
        real = (int (*)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *))dlvsym(
            RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    }
    shifted.tv_sec -= offset();
    return real(cond, mutex, &shifted);
}
