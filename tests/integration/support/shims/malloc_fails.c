/* Preloaded into httpd: when armed, the n-th allocation that the module or a library it stands on
 * asks for fails, counted over all processes. httpd's and APR's own allocations are left alone:
 * those end the process by design. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

typedef struct {
    int armed, fail_at, count, failed;
} control_t;

static control_t off;
static volatile control_t *control = &off;

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("SA_MALLOC_CONTROL");
    int fd = path ? open(path, O_RDWR) : -1;

    if (fd >= 0) {
        void *map = mmap(NULL, sizeof(control_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        control = map == MAP_FAILED ? &off : map;
    }
}

/* jansson's reader asserts that its text buffer could grow: 16, 32, 64 … bytes. */
static int is_text_of_jansson(const char *library, size_t size)
{
    return strstr(library, "libjansson") && size >= 16 && !(size & (size - 1));
}

static int is_ours(const void *caller, size_t size)
{
    static const char *const libraries[] = {
        "mod_social_auth", "libjansson", "libcrypto", "libcurl", "libpq", "libsqlite3",
        "libargon2", NULL
    };
    Dl_info info;

    if (!dladdr(caller, &info) || !info.dli_fname) {
        return 0;
    }
    if (is_text_of_jansson(info.dli_fname, size)) {
        return 0;
    }
    for (const char *const *name = libraries; *name; name++) {
        if (strstr(info.dli_fname, *name)) {
            return 1;
        }
    }
    return 0;
}

static int fails(const void *caller, size_t size)
{
    if (!control->armed || !is_ours(caller, size)) {
        return 0;
    }
    if (__atomic_add_fetch(&control->count, 1, __ATOMIC_SEQ_CST) != control->fail_at) {
        return 0;
    }
    control->failed = 1;
    return 1;
}

void *malloc(size_t size)
{
    return fails(__builtin_return_address(0), size) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return fails(__builtin_return_address(0), n * size) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
    return fails(__builtin_return_address(0), size) ? NULL : __libc_realloc(p, size);
}
