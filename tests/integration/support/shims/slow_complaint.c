/* Whoever logs that mod_dbd had no connection (AH02655) needs some time for it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

ssize_t write(int fd, const void *data, size_t len)
{
    static ssize_t (*real)(int, const void *, size_t);

    if (!real) {
        real = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    }
    if (memmem(data, len, "AH02655", 7)) {
        usleep(100000);
    }
    return real(fd, data, len);
}
