#include "store/db.h"

#include "core/clock.h"

#include <apr_allocator.h>
#include <apr_strings.h>
#include <string.h>

const char *sa_rows_text(const sa_rows_t *rows, int row, int column)
{
    return rows->cells[row * rows->columns + column];
}

apr_int64_t sa_rows_number(const sa_rows_t *rows, int row, int column)
{
    const char *text = sa_rows_text(rows, row, column);
    return text ? apr_atoi64(text) : 0;
}

int sa_rows_true(const sa_rows_t *rows, int row, int column)
{
    const char *text = sa_rows_text(rows, row, column);
    return text && (!strcmp(text, "t") || !strcmp(text, "1"));
}

int sa_db_remaining(const sa_db_t *db)
{
    apr_interval_time_t left = db->deadline - sa_steady_time();

    return left > 0 ? (int)apr_time_as_msec(left) : 0;
}

/* A pool below the pooled connection's with an allocator of its own, since the one above may be
 * shared between threads. */
static apr_pool_t *make_pool(const sa_db_t *db)
{
    apr_allocator_t *allocator = NULL;
    apr_pool_t *pool = NULL;

    if (apr_allocator_create(&allocator) != APR_SUCCESS) {
        return NULL;
    }
    if (apr_pool_create_ex(&pool, db->connection.pool, NULL, allocator) != APR_SUCCESS) {
        apr_allocator_destroy(allocator);
        return NULL;
    }
    apr_allocator_owner_set(allocator, pool);
    return pool;
}

void *sa_db_state(const sa_db_t *db, const char *key, apr_size_t size,
                  void (*init)(void *state, apr_pool_t *pool))
{
    void *state = NULL;

    apr_pool_userdata_get(&state, key, db->connection.pool);
    if (state) {
        return state;
    }
    apr_pool_t *pool = make_pool(db);
    if (!pool) {
        return NULL;
    }
    state = apr_pcalloc(pool, size);
    init(state, pool);
    apr_pool_userdata_setn(state, key, NULL, db->connection.pool);
    return state;
}
