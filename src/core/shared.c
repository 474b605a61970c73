#include "core/shared_layout.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MAGIC 0x73612d7368617265ull     /* "sa-share" */
#define LAYOUT_VERSION 2
#define BYTES_MIN (1024 * 1024)
#define DOCUMENTS_MIN 4
#define DOCUMENTS_USUAL 32
#define DOCUMENTS_MAX 64

#ifdef CLOCK_BOOTTIME
#define STEADY_CLOCK CLOCK_BOOTTIME     /* goes on while the machine sleeps */
#else
#define STEADY_CLOCK CLOCK_MONOTONIC
#endif

uint64_t sa_shared_now(void)
{
    struct timespec now;

    if (clock_gettime(STEADY_CLOCK, &now)) {
        clock_gettime(CLOCK_MONOTONIC, &now);
    }
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000 + 1;
}

/* --- locks --- */

apr_status_t sa_shared_mutex_init(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attr;
    int rv = pthread_mutexattr_init(&attr);

    if (rv) {
        return rv;
    }
    rv = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    if (!rv) {
        rv = pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    }
    if (!rv) {
        rv = pthread_mutex_init(mutex, &attr);
    }
    pthread_mutexattr_destroy(&attr);
    return rv;
}

int sa_shared_lock(pthread_mutex_t *mutex, void (*mend)(void *arg), void *arg)
{
    int rv = pthread_mutex_lock(mutex);

    if (rv == EOWNERDEAD) {
        /* Consistent only once mended: should this process die too, the next one
         * sees EOWNERDEAD again. */
        mend(arg);
        rv = pthread_mutex_consistent(mutex);
        if (rv) {
            pthread_mutex_unlock(mutex);
        }
    }
    return rv == 0;
}

void sa_shared_unlock(pthread_mutex_t *mutex)
{
    pthread_mutex_unlock(mutex);
}

/* --- the segment --- */

static uint64_t layout(void)
{
    uint64_t fold = LAYOUT_VERSION;

    fold = fold * 8191 + sizeof(sa_shared_t);
    fold = fold * 8191 + sizeof(pthread_mutex_t);
    fold = fold * 8191 + sa_throttle_layout();
    fold = fold * 8191 + sa_spent_layout();
    fold = fold * 8191 + sa_revocations_layout();
    fold = fold * 8191 + sa_documents_layout();
    return fold * 8191 + sa_hashing_layout();
}

static uint64_t align_down(uint64_t n)
{
    return n / SA_SHARED_ALIGN * SA_SHARED_ALIGN;
}

/* The turns of hashing come first. Half for documents, but no more than the usual number of them
 * needs in a segment under 16 MiB; a sixteenth for revocations; what is left goes to the throttle
 * and to spent things alike. */
static apr_status_t format(sa_shared_t *shared)
{
    uint64_t first = align_down(sizeof(sa_shared_t) + SA_SHARED_ALIGN - 1);
    uint64_t start = first + sa_hashing_bytes();
    uint64_t room = shared->bytes - start, half;
    uint32_t most = shared->bytes < 16 * BYTES_MIN ? DOCUMENTS_USUAL : DOCUMENTS_MAX;
    uint32_t slots = DOCUMENTS_MIN;
    apr_status_t rv = sa_hashing_format(shared, first);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    while (slots < most && sa_documents_bytes(slots + 1) <= room * 9 / 16) {
        slots++;
    }
    rv = sa_documents_format(shared, start, sa_documents_bytes(slots));
    if (rv != APR_SUCCESS) {
        return rv;
    }
    start += sa_documents_bytes(slots);
    rv = sa_revocations_format(shared, start, align_down(shared->bytes / 16));
    if (rv != APR_SUCCESS) {
        return rv;
    }
    start += align_down(shared->bytes / 16);
    half = align_down((shared->bytes - start) / 2);
    rv = sa_throttle_format(shared, start, half);
    return rv != APR_SUCCESS ? rv : sa_spent_format(shared, start + half, half);
}

apr_status_t sa_shared_create(sa_shared_t **shared, apr_size_t bytes)
{
    apr_size_t page = (apr_size_t)sysconf(_SC_PAGESIZE);
    sa_shared_t *segment;
    apr_status_t rv;

    *shared = NULL;
    if (bytes < BYTES_MIN || bytes > (apr_size_t)1 << 40) {
        return APR_EINVAL;
    }
    bytes = (bytes + page - 1) / page * page;
    segment = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (segment == MAP_FAILED) {
        return errno;
    }
#ifdef MADV_DONTDUMP
    madvise(segment, bytes, MADV_DONTDUMP);
#endif
    segment->bytes = bytes;
    segment->layout = layout();
    rv = sa_random(segment->key, sizeof(segment->key));
    if (rv == APR_SUCCESS) {
        rv = format(segment);
    }
    if (rv != APR_SUCCESS) {
        munmap(segment, bytes);
        return rv;
    }
    SA_COMMIT(segment->magic, MAGIC);
    *shared = segment;
    return APR_SUCCESS;
}

int sa_shared_compatible(const sa_shared_t *shared)
{
    return shared && shared->magic == MAGIC && shared->layout == layout();
}

const unsigned char *sa_shared_key(const sa_shared_t *shared)
{
    return shared->key;
}

void *sa_shared_part(sa_shared_t *shared, const sa_room_t *room, uint32_t index)
{
    return (char *)shared + room->start + room->bytes * index;
}
