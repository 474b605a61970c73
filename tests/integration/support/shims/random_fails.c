/* Preloaded into httpd: OpenSSL gives no random bytes while the file SA_RANDOM_FAILS exists. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

typedef int (*rand_bytes_t)(unsigned char *buf, int n);

static int give(const char *name, unsigned char *buf, int n)
{
    const char *path = getenv("SA_RANDOM_FAILS");
    rand_bytes_t real = (rand_bytes_t)dlsym(RTLD_NEXT, name);

    return path && access(path, F_OK) == 0 ? 0 : real ? real(buf, n) : 0;
}

int RAND_bytes(unsigned char *buf, int n)
{
    return give("RAND_bytes", buf, n);
}

int RAND_priv_bytes(unsigned char *buf, int n)
{
    return give("RAND_priv_bytes", buf, n);
}
