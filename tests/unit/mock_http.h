/* A scripted HTTP/1.1 server on loopback: one thread per connection, keep-alive. */
#ifndef TESTS_UNIT_MOCK_HTTP_H
#define TESTS_UNIT_MOCK_HTTP_H

#include <apr_pools.h>
#include <stddef.h>

typedef struct mock_t mock_t;

typedef enum {
    MOCK_REPLY,
    MOCK_SILENT,                /* takes the request and never answers */
    MOCK_STALL,                 /* headers and half of the body, then nothing more */
    MOCK_CUT,                   /* takes the request and closes */
    MOCK_CLOSE,                 /* answers, and closes without having said so */
    MOCK_ENDLESS,               /* chunks for as long as anybody reads */
    MOCK_HELD,                  /* answers after mock_release */
    MOCK_MEET                   /* answers once two MOCK_MEET requests are unanswered together */
} mock_way_t;

typedef struct {
    const char *path;
    mock_way_t way;
    int status;                 /* 0 = 200 */
    const char *type;           /* NULL = application/json */
    const char *headers;        /* further "Name: value\r\n" lines, NULL = none */
    const char *body;           /* NULL = "" */
    size_t len;                 /* 0 = strlen(body) */
} mock_reply_t;

/* Never returns NULL (aborts). */
mock_t *mock_start(void);
void mock_stop(mock_t *mock);
/* http://127.0.0.1:port + path */
char *mock_url(const mock_t *mock, apr_pool_t *p, const char *path);
int mock_port(const mock_t *mock);
/* What is answered to a path from now on (copied); 404 until then. */
void mock_reply(mock_t *mock, const mock_reply_t *reply);
void mock_release(mock_t *mock);
/* Requests that arrived for path, or at all (NULL). */
int mock_count(mock_t *mock, const char *path);
/* Returns when mock_count(path) >= n; aborts after ten seconds. */
void mock_wait(mock_t *mock, const char *path, int n);
int mock_connections(mock_t *mock);
/* Returns when no connection is open any more on this side. */
void mock_wait_closed(mock_t *mock);
/* The whole text of the last request for path; "" when there was none. */
char *mock_last(mock_t *mock, apr_pool_t *p, const char *path);

#endif
