#include "mock_http.h"

#include <apr_strings.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_ROUTES 64
#define MAX_OPEN 512
#define PATIENCE 10             /* seconds until a wait is a failure of the test */

typedef struct {
    char *path, *type, *headers, *body, *last;
    size_t len;
    int status, count;
    mock_way_t way;
} route_t;

struct mock_t {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_t acceptor;
    int listener, port;
    int stopping, released, met, meeting;
    int connections, open, total;
    int fds[MAX_OPEN];
    route_t routes[MAX_ROUTES];
    int routes_used;
};

typedef struct {
    mock_t *mock;
    int fd;
} connection_t;

static void die(const char *what)
{
    fprintf(stderr, "mock server: %s: %s\n", what, strerror(errno));
    abort();
}

static char *copy_of(const char *text)
{
    char *copy = strdup(text ? text : "");
    if (!copy) {
        die("strdup");
    }
    return copy;
}

/* With the mutex held. */
static route_t *route_of(mock_t *mock, const char *path)
{
    for (int i = 0; i < mock->routes_used; ++i) {
        if (!strcmp(mock->routes[i].path, path)) {
            return &mock->routes[i];
        }
    }
    if (mock->routes_used == MAX_ROUTES) {
        die("too many routes");
    }
    route_t *route = &mock->routes[mock->routes_used++];
    route->path = copy_of(path);
    route->type = copy_of("application/json");
    route->headers = copy_of("");
    route->body = copy_of("{}");
    route->last = copy_of("");
    route->len = 2;
    route->status = 404;
    return route;
}

static void wait_changed(mock_t *mock)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += PATIENCE;
    if (pthread_cond_clockwait(&mock->changed, &mock->mutex, CLOCK_MONOTONIC, &until) == ETIMEDOUT) {
        die("nothing happened for too long");
    }
}

/* ---- one connection ---- */

static int send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n <= 0) {
            return 0;
        }
        data += n;
        len -= (size_t)n;
    }
    return 1;
}

static size_t content_length(const char *head)
{
    const char *found = strcasestr(head, "\r\nContent-Length:");
    return found ? strtoul(found + 17, NULL, 10) : 0;
}

/* The whole request, malloc'd; NULL when the peer is gone. */
static char *read_request(int fd)
{
    size_t len = 0, room = 8192;
    char *text = malloc(room);

    while (text) {
        if (room - len < 4096) {
            char *grown = realloc(text, room *= 2);
            if (!grown) {
                break;
            }
            text = grown;
        }
        ssize_t n = recv(fd, text + len, room - len - 1, 0);
        if (n <= 0) {
            break;
        }
        len += (size_t)n;
        text[len] = '\0';
        if (text[0] == 0x16) {                  /* a TLS handshake: we speak plain HTTP */
            break;
        }
        const char *end = strstr(text, "\r\n\r\n");
        if (end && len >= (size_t)(end + 4 - text) + content_length(text)) {
            return text;
        }
    }
    free(text);
    return NULL;
}

/* The path of "GET /path HTTP/1.1" or, for a proxy, of "GET http://host/path HTTP/1.1". */
static void path_of(const char *request, char *path, size_t size)
{
    const char *start = strchr(request, ' ');
    start = start ? start + 1 : "/";
    if (!strncmp(start, "http://", 7)) {
        start = strchr(start + 7, '/');
    }
    size_t n = start ? strcspn(start, " ?\r\n") : 0;
    snprintf(path, size, "%.*s", (int)n, start ? start : "");
}

/* A copy of the route, its strings duplicated while the mutex is held. */
static route_t arrive(mock_t *mock, char *request)
{
    char path[512];
    route_t copy;

    path_of(request, path, sizeof(path));
    pthread_mutex_lock(&mock->mutex);
    route_t *route = route_of(mock, path);
    ++route->count;
    ++mock->total;
    free(route->last);
    route->last = request;
    copy = *route;
    copy.type = copy_of(route->type);
    copy.headers = copy_of(route->headers);
    copy.body = malloc(route->len + 1);
    if (!copy.body) {
        die("malloc");
    }
    memcpy(copy.body, route->body, route->len + 1);
    pthread_cond_broadcast(&mock->changed);
    if (copy.way == MOCK_MEET && ++mock->meeting >= 2) {
        mock->met = 1;
    }
    while (!mock->stopping && ((copy.way == MOCK_HELD && !mock->released) ||
                               (copy.way == MOCK_MEET && !mock->met) ||
                               copy.way == MOCK_SILENT)) {
        pthread_cond_wait(&mock->changed, &mock->mutex);
    }
    pthread_mutex_unlock(&mock->mutex);
    return copy;
}

static int answer_endless(int fd)
{
    char chunk[4096 + 16];
    int n = snprintf(chunk, sizeof(chunk), "1000\r\n");

    memset(chunk + n, 'x', 4096);
    memcpy(chunk + n + 4096, "\r\n", 2);
    if (!send_all(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 47)) {
        return 0;
    }
    while (send_all(fd, chunk, (size_t)n + 4096 + 2)) {
    }
    return 0;
}

/* 1 = the connection stays open. */
static int answer(mock_t *mock, int fd, const route_t *route)
{
    char head[2048];

    if (route->way == MOCK_CUT || route->way == MOCK_SILENT) {
        return 0;
    }
    if (route->way == MOCK_ENDLESS) {
        return answer_endless(fd);
    }
    int n = snprintf(head, sizeof(head),
                     "HTTP/1.1 %d Status\r\nContent-Type: %s\r\nContent-Length: %lu\r\n%s\r\n",
                     route->status, route->type,
                     (unsigned long)(route->status == 204 ? 0 : route->len), route->headers);
    size_t len = route->status == 204 ? 0 : route->len;
    if (route->way == MOCK_STALL) {
        len /= 2;
    }
    if (!send_all(fd, head, (size_t)n) || !send_all(fd, route->body, len)) {
        return 0;
    }
    if (route->way == MOCK_STALL) {
        pthread_mutex_lock(&mock->mutex);
        while (!mock->stopping) {
            pthread_cond_wait(&mock->changed, &mock->mutex);
        }
        pthread_mutex_unlock(&mock->mutex);
        return 0;
    }
    return route->way != MOCK_CLOSE;
}

static void *serve(void *data)
{
    connection_t connection = *(connection_t *)data;
    mock_t *mock = connection.mock;
    int open = 1;
    char *request;

    free(data);
    while (open && (request = read_request(connection.fd))) {
        route_t route = arrive(mock, request);
        open = answer(mock, connection.fd, &route);
        free(route.type);
        free(route.headers);
        free(route.body);
    }
    pthread_mutex_lock(&mock->mutex);
    for (int i = 0; i < MAX_OPEN; ++i) {
        if (mock->fds[i] == connection.fd) {
            mock->fds[i] = -1;
        }
    }
    close(connection.fd);
    --mock->open;
    pthread_cond_broadcast(&mock->changed);
    pthread_mutex_unlock(&mock->mutex);
    return NULL;
}

/* ---- the server ---- */

static void spawn(mock_t *mock, int fd)
{
    connection_t *connection = malloc(sizeof(*connection));
    pthread_t thread = 0;
    int one = 1, slot = 0;

    if (!connection) {
        die("malloc");
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    connection->mock = mock;
    connection->fd = fd;
    pthread_mutex_lock(&mock->mutex);
    while (slot < MAX_OPEN && mock->fds[slot] != -1) {
        ++slot;
    }
    if (slot == MAX_OPEN || pthread_create(&thread, NULL, serve, connection)) {
        die("too many connections");
    }
    pthread_detach(thread);
    mock->fds[slot] = fd;
    ++mock->connections;
    ++mock->open;
    pthread_mutex_unlock(&mock->mutex);
}

static void *accept_all(void *data)
{
    mock_t *mock = data;
    int fd;

    while ((fd = accept(mock->listener, NULL, NULL)) >= 0) {
        spawn(mock, fd);
    }
    return NULL;
}

mock_t *mock_start(void)
{
    mock_t *mock = calloc(1, sizeof(*mock));
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t len = sizeof(address);

    if (!mock) {
        die("calloc");
    }
    memset(mock->fds, -1, sizeof(mock->fds));
    pthread_mutex_init(&mock->mutex, NULL);
    pthread_cond_init(&mock->changed, NULL);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    mock->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (mock->listener < 0 ||
        bind(mock->listener, (struct sockaddr *)&address, sizeof(address)) ||
        listen(mock->listener, 256) ||
        getsockname(mock->listener, (struct sockaddr *)&address, &len) ||
        pthread_create(&mock->acceptor, NULL, accept_all, mock)) {
        die("start");
    }
    mock->port = ntohs(address.sin_port);
    return mock;
}

void mock_stop(mock_t *mock)
{
    shutdown(mock->listener, SHUT_RDWR);
    pthread_join(mock->acceptor, NULL);
    close(mock->listener);
    pthread_mutex_lock(&mock->mutex);
    mock->stopping = 1;
    pthread_cond_broadcast(&mock->changed);
    for (int i = 0; i < MAX_OPEN; ++i) {
        if (mock->fds[i] != -1) {
            shutdown(mock->fds[i], SHUT_RDWR);
        }
    }
    while (mock->open > 0) {
        wait_changed(mock);
    }
    pthread_mutex_unlock(&mock->mutex);
    for (int i = 0; i < mock->routes_used; ++i) {
        free(mock->routes[i].path);
        free(mock->routes[i].type);
        free(mock->routes[i].headers);
        free(mock->routes[i].body);
        free(mock->routes[i].last);
    }
    free(mock);
}

char *mock_url(const mock_t *mock, apr_pool_t *p, const char *path)
{
    return apr_psprintf(p, "http://127.0.0.1:%d%s", mock->port, path);
}

int mock_port(const mock_t *mock)
{
    return mock->port;
}

void mock_reply(mock_t *mock, const mock_reply_t *reply)
{
    pthread_mutex_lock(&mock->mutex);
    route_t *route = route_of(mock, reply->path);
    free(route->type);
    free(route->headers);
    free(route->body);
    route->type = copy_of(reply->type ? reply->type : "application/json");
    route->headers = copy_of(reply->headers);
    route->len = reply->len ? reply->len : strlen(reply->body ? reply->body : "");
    route->body = calloc(1, route->len + 1);
    if (!route->body) {
        die("calloc");
    }
    memcpy(route->body, reply->body ? reply->body : "", route->len);
    route->status = reply->status ? reply->status : 200;
    route->way = reply->way;
    pthread_mutex_unlock(&mock->mutex);
}

void mock_release(mock_t *mock)
{
    pthread_mutex_lock(&mock->mutex);
    mock->released = 1;
    pthread_cond_broadcast(&mock->changed);
    pthread_mutex_unlock(&mock->mutex);
}

int mock_count(mock_t *mock, const char *path)
{
    pthread_mutex_lock(&mock->mutex);
    int count = path ? route_of(mock, path)->count : mock->total;
    pthread_mutex_unlock(&mock->mutex);
    return count;
}

void mock_wait(mock_t *mock, const char *path, int n)
{
    pthread_mutex_lock(&mock->mutex);
    while (route_of(mock, path)->count < n) {
        wait_changed(mock);
    }
    pthread_mutex_unlock(&mock->mutex);
}

int mock_connections(mock_t *mock)
{
    pthread_mutex_lock(&mock->mutex);
    int connections = mock->connections;
    pthread_mutex_unlock(&mock->mutex);
    return connections;
}

void mock_wait_closed(mock_t *mock)
{
    pthread_mutex_lock(&mock->mutex);
    while (mock->open > 0) {
        wait_changed(mock);
    }
    pthread_mutex_unlock(&mock->mutex);
}

char *mock_last(mock_t *mock, apr_pool_t *p, const char *path)
{
    pthread_mutex_lock(&mock->mutex);
    char *last = apr_pstrdup(p, route_of(mock, path)->last);
    pthread_mutex_unlock(&mock->mutex);
    return last;
}
