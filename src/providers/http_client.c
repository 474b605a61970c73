#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "providers/http_client.h"

#include "core/clock.h"
#include "core/crypto.h"
#include "core/url.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <apr_thread_cond.h>
#include <apr_thread_mutex.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define PLACE_WAIT apr_time_from_msec(500)

#ifdef PACKAGE_VERSION
#define USER_AGENT "mod_social_auth/" PACKAGE_VERSION
#else
#define USER_AGENT "mod_social_auth"
#endif

#define MAX_REQUESTS 4
#define MAX_HEADER_BYTES 65536
#define DEFAULT_CONNECT_MS 2000
#define DEFAULT_TOTAL_MS 10000
#define DEFAULT_MAX_RESPONSE ((apr_size_t)1024 * 1024)

/* A multi handle owns the warm connections, so it and its easy handles stay together. libcurl would
 * take a warm connection over whatever it was checked against: a client has one trust for life. */
typedef struct client_t {
    const sa_trust_t *trust;
    CURLM *multi;
    CURL *easy[MAX_REQUESTS];
    struct client_t *next;
} client_t;

/* The places that one owner's calls take. */
typedef struct share_t {
    const void *owner;
    int calls, max_calls;
    int saturated;              /* somebody waited in vain and no call has ended since */
    struct share_t *next;
} share_t;

struct sa_http_t {
    apr_thread_mutex_t *mutex;
    apr_thread_cond_t *released;
    client_t *idle;             /* last used first: its connections are the warmest */
    share_t *shares;            /* one per owner ever seen: there are as many as providers */
    int calls, max_calls, max_per_owner;
};

typedef struct {
    const sa_http_request_t *request;
    CURL *easy;
    struct curl_slist *headers;
    apr_size_t sent;            /* bytes of the body handed to curl */
    char *body;                 /* malloc'd while it grows */
    apr_size_t len, room, max;
    apr_size_t header_bytes;
    int too_large;
    int finished;
    CURLcode code;
    char problem[CURL_ERROR_SIZE];
} transfer_t;

apr_int64_t sa_http_clock(void)
{
    return apr_time_as_msec(sa_steady_time());
}

/* ---- callbacks ---- */

static size_t on_body(char *data, size_t size, size_t count, void *ctx)
{
    transfer_t *t = ctx;
    apr_size_t n = size * count;

    if (n > t->max - t->len) {
        t->too_large = 1;
        return 0;
    }
    if (n > t->room - t->len) {
        apr_size_t room = t->room ? t->room * 2 : 4096;
        while (room < t->len + n) {
            room *= 2;
        }
        char *grown = realloc(t->body, room);
        if (!grown) {
            return 0;
        }
        t->body = grown;
        t->room = room;
    }
    memcpy(t->body + t->len, data, n);
    t->len += n;
    return n;
}

static size_t on_header(char *data, size_t size, size_t count, void *ctx)
{
    transfer_t *t = ctx;

    (void)data;
    t->header_bytes += size * count;
    if (t->header_bytes > MAX_HEADER_BYTES) {
        t->too_large = 1;
        return 0;
    }
    return size * count;
}

/* The body is read, not handed over: curl cannot rewind it, so an authorization code
 * that was sent once is never sent again on another connection. */
static size_t on_read(char *data, size_t size, size_t count, void *ctx)
{
    transfer_t *t = ctx;
    apr_size_t left = strlen(t->request->body) - t->sent;
    apr_size_t n = size * count < left ? size * count : left;

    memcpy(data, t->request->body + t->sent, n);
    t->sent += n;
    return n;
}

/* Addresses no provider lives at, but cloud metadata services do; checked after name resolution,
 * so that DNS cannot point a good name there. */
static int address_refused(const struct curl_sockaddr *address)
{
    if (address->family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, &address->addr, sizeof(in));
        return sa_address_forbidden((const unsigned char *)&in.sin_addr, 4);
    }
    if (address->family == AF_INET6 && address->addrlen >= sizeof(struct sockaddr_in6)) {
        struct sockaddr_in6 in6;
        memcpy(&in6, (const void *)&address->addr, sizeof(in6));
        return sa_address_forbidden((const unsigned char *)&in6.sin6_addr, 16);
    }
    return 0;
}

static curl_socket_t on_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)ctx;
    if (purpose != CURLSOCKTYPE_IPCXN || address_refused(address)) {
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* ---- certificates ---- */

/* libcurl makes no difference between a TLS proxy's context and its server's, but ca_bundle is for
 * the server alone. */
static const sa_trust_t *trust_for(const sa_http_limits_t *limits)
{
    int tls_proxy = limits->proxy && strncasecmp(limits->proxy, "https:", 6) == 0;
    return tls_proxy ? NULL : limits->trust;
}

static CURLcode on_tls(CURL *easy, void *ssl_ctx, void *trust)
{
    (void)easy;
    sa_trust_use(trust, ssl_ctx);
    return CURLE_OK;
}

/* Whoever fails to set the callback trusts nobody. */
static void set_trust(CURL *e, const sa_http_limits_t *limits)
{
    const sa_trust_t *trust = trust_for(limits);

    if (trust) {
        curl_easy_setopt(e, CURLOPT_CAINFO, NULL);
        curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
#if LIBCURL_VERSION_NUM >= 0x075700
        curl_easy_setopt(e, CURLOPT_CA_CACHE_TIMEOUT, 0L);
#endif
        curl_easy_setopt(e, CURLOPT_SSL_CTX_FUNCTION, on_tls);
        curl_easy_setopt(e, CURLOPT_SSL_CTX_DATA, trust);
    }
    else if (limits->ca_bundle) {
        curl_easy_setopt(e, CURLOPT_CAINFO, limits->ca_bundle);
        curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
    }
}

/* ---- one request ---- */

static int clean(const char *text)
{
    for (; text && *text; ++text) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f) {
            return 0;
        }
    }
    return 1;
}

static const char *header_at(const sa_http_request_t *request, int i)
{
    return ((const char *const *)(const void *)request->headers->elts)[i];
}

static int request_clean(const sa_http_request_t *request)
{
    if (!request->url || !clean(request->url) || !clean(request->content_type) ||
        !clean(request->accept) || !clean(request->bearer)) {
        return 0;
    }
    for (int i = 0; request->headers && i < request->headers->nelts; ++i) {
        const char *header = header_at(request, i);
        if (!clean(header) || !strchr(header, ':')) {
            return 0;
        }
    }
    return 1;
}

static int add_header(transfer_t *t, apr_pool_t *p, const char *name, const char *value)
{
    char *line = apr_pstrcat(p, name, value, NULL);
    struct curl_slist *list = curl_slist_append(t->headers, line);

    sa_wipe(line, strlen(line));
    if (!list) {
        return 0;
    }
    t->headers = list;
    return 1;
}

static int add_headers(transfer_t *t, apr_pool_t *p)
{
    const sa_http_request_t *request = t->request;
    int ok = add_header(t, p, "Accept: ", request->accept ? request->accept : "application/json");

    if (request->body) {
        ok = ok && add_header(t, p, "Content-Type: ",
                              request->content_type ? request->content_type
                                                    : "application/x-www-form-urlencoded");
        ok = ok && add_header(t, p, "Expect:", "");
    }
    if (request->bearer) {
        ok = ok && add_header(t, p, "Authorization: Bearer ", request->bearer);
    }
    for (int i = 0; ok && request->headers && i < request->headers->nelts; ++i) {
        ok = add_header(t, p, header_at(request, i), "");
    }
    return ok;
}

static void set_rules(transfer_t *t, const sa_http_limits_t *limits, long total_ms)
{
    CURL *e = t->easy;

    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    set_trust(e, limits);
    /* "" switches the environment's proxies off; CURLOPT_NOPROXY likewise. */
    curl_easy_setopt(e, CURLOPT_PROXY, limits->proxy ? limits->proxy : "");
    curl_easy_setopt(e, CURLOPT_NOPROXY, "");
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
    /* Do not wait for a resolver thread that hangs: the deadline holds for DNS as well. */
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
#endif
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)(limits->connect_ms > 0 ? limits->connect_ms : DEFAULT_CONNECT_MS));
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, total_ms);
    curl_easy_setopt(e, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)t->max);
    curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING, "gzip");
    curl_easy_setopt(e, CURLOPT_USERAGENT, USER_AGENT);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_socket);
}

static void set_callbacks(transfer_t *t)
{
    curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->problem);
    curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
    curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(t->easy, CURLOPT_READDATA, t);
}

static CURLcode set_up(transfer_t *t, apr_pool_t *p, const sa_http_limits_t *limits, long total_ms)
{
    const sa_http_request_t *request = t->request;

    t->max = limits->max_response ? limits->max_response : DEFAULT_MAX_RESPONSE;
    set_rules(t, limits, total_ms);
    set_callbacks(t);
    CURLcode rc = curl_easy_setopt(t->easy, CURLOPT_URL, request->url);
    if (rc == CURLE_OK && request->body) {
        curl_easy_setopt(t->easy, CURLOPT_POST, 1L);
        rc = curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE,
                              (curl_off_t)strlen(request->body));
    }
    if (rc == CURLE_OK && request->basic_user) {
        curl_easy_setopt(t->easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        curl_easy_setopt(t->easy, CURLOPT_USERNAME, request->basic_user);
        rc = curl_easy_setopt(t->easy, CURLOPT_PASSWORD,
                              request->basic_password ? request->basic_password : "");
    }
    if (rc == CURLE_OK && !add_headers(t, p)) {
        rc = CURLE_OUT_OF_MEMORY;
    }
    if (rc == CURLE_OK) {
        rc = curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
    }
    return rc;
}

static void tear_down(transfer_t *t)
{
    if (t->easy) {
        curl_easy_reset(t->easy);
    }
    for (struct curl_slist *h = t->headers; h; h = h->next) {
        sa_wipe(h->data, strlen(h->data));
    }
    curl_slist_free_all(t->headers);
    if (t->body) {
        sa_wipe(t->body, t->len);
        free(t->body);
    }
}

/* ---- the answer ---- */

static sa_http_outcome_t outcome(const transfer_t *t)
{
    if (t->too_large) {
        return SA_HTTP_TOO_LARGE;
    }
    switch (t->code) {
    case CURLE_OK:
        return SA_HTTP_DONE;
    case CURLE_OPERATION_TIMEDOUT:
        return SA_HTTP_TIMEOUT;
    case CURLE_FILESIZE_EXCEEDED:
        return SA_HTTP_TOO_LARGE;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_BAD_FUNCTION_ARGUMENT:
        return SA_HTTP_BAD_REQUEST;
    default:
        return SA_HTTP_UNREACHABLE;
    }
}

static const char *media_type(apr_pool_t *p, CURL *easy)
{
    const char *type = NULL;

    if (curl_easy_getinfo(easy, CURLINFO_CONTENT_TYPE, &type) != CURLE_OK || !type) {
        return NULL;
    }
    char *copy = apr_pstrmemdup(p, type, strcspn(type, "; \t"));
    for (char *c = copy; *c; ++c) {
        *c = (char)apr_tolower(*c);
    }
    return *copy ? copy : NULL;
}

static void read_response(apr_pool_t *p, const transfer_t *t, sa_http_response_t *response)
{
    response->outcome = outcome(t);
    response->body = "";
    if (response->outcome != SA_HTTP_DONE) {
        const char *problem = t->problem[0] ? t->problem : curl_easy_strerror(t->code);
        response->problem = t->too_large ? "the answer is too large" : apr_pstrdup(p, problem);
        return;
    }
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    response->status = (int)status;
    response->content_type = media_type(p, t->easy);
    struct curl_header *header;
    if (curl_easy_header(t->easy, "Cache-Control", 0, CURLH_HEADER, -1, &header) == CURLHE_OK) {
        response->cache_control = apr_pstrdup(p, header->value);
    }
    if (t->len > 0) {
        response->body = apr_pstrmemdup(p, t->body, t->len);
        response->len = t->len;
    }
}

/* ---- clients ---- */

static void client_free(client_t *client)
{
    for (int i = 0; i < MAX_REQUESTS; ++i) {
        curl_easy_cleanup(client->easy[i]);
    }
    curl_multi_cleanup(client->multi);
    free(client);
}

static client_t *client_make(const sa_trust_t *trust)
{
    client_t *client = calloc(1, sizeof(*client));

    if (!client) {
        return NULL;
    }
    client->trust = trust;
    client->multi = curl_multi_init();
    if (!client->multi) {
        free(client);
        return NULL;
    }
    curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, 8L);
    return client;
}

/* NULL = out of memory. Called with the mutex held. */
static share_t *share_of(sa_http_t *http, const void *owner)
{
    share_t *share = http->shares;

    while (share && share->owner != owner) {
        share = share->next;
    }
    if (!share && (share = calloc(1, sizeof(*share)))) {
        share->owner = owner;
        share->max_calls = owner ? http->max_per_owner : http->max_calls;
        share->next = http->shares;
        http->shares = share;
    }
    return share;
}

static int is_full(const sa_http_t *http, const share_t *share)
{
    return http->calls >= http->max_calls || share->calls >= share->max_calls;
}

/* A burst passes: calls end within milliseconds and their places are taken over. When they do not,
 * the provider hangs, and its callers are turned away at once. Called with the mutex held. */
static void wait_for_place(sa_http_t *http, share_t *share)
{
    apr_time_t until = sa_steady_time() + PLACE_WAIT;
    apr_interval_time_t left = PLACE_WAIT;

    while (is_full(http, share) && !share->saturated && left > 0) {
        apr_thread_cond_timedwait(http->released, http->mutex, left);
        left = until - sa_steady_time();
    }
    share->saturated = is_full(http, share);
}

/* Called with the mutex held. */
static apr_status_t take_place(sa_http_t *http, const void *owner)
{
    share_t *share = share_of(http, owner);

    if (!share) {
        return APR_ENOMEM;
    }
    wait_for_place(http, share);
    if (share->saturated) {
        return APR_EAGAIN;
    }
    ++http->calls;
    ++share->calls;
    return APR_SUCCESS;
}

/* Called with the mutex held. */
static void leave_place(sa_http_t *http, const void *owner)
{
    int was_full = http->calls-- >= http->max_calls;

    for (share_t *share = http->shares; share; share = share->next) {
        share->calls -= share->owner == owner;
        share->saturated = share->saturated && !was_full && share->owner != owner;
    }
    apr_thread_cond_broadcast(http->released);
}

static client_t *take_idle(sa_http_t *http, const sa_trust_t *trust)
{
    client_t **at = &http->idle;

    while (*at && (*at)->trust != trust) {
        at = &(*at)->next;
    }
    client_t *client = *at;
    if (client) {
        *at = client->next;
    }
    return client;
}

/* APR_EAGAIN when max_calls are under way. */
static apr_status_t client_acquire(sa_http_t *http, const void *owner, const sa_trust_t *trust,
                                   client_t **client)
{
    apr_thread_mutex_lock(http->mutex);
    apr_status_t rv = take_place(http, owner);
    if (rv == APR_SUCCESS) {
        *client = take_idle(http, trust);
    }
    apr_thread_mutex_unlock(http->mutex);

    if (rv == APR_SUCCESS && !*client) {
        *client = client_make(trust);
    }
    return rv;
}

static void client_release(sa_http_t *http, const void *owner, client_t *client)
{
    apr_thread_mutex_lock(http->mutex);
    if (client) {
        client->next = http->idle;
        http->idle = client;
    }
    leave_place(http, owner);
    apr_thread_mutex_unlock(http->mutex);
}

/* ---- all requests of a call ---- */

static void start(client_t *client, transfer_t *t, int i, apr_pool_t *p,
                  const sa_http_limits_t *limits, long total_ms)
{
    t->code = CURLE_FAILED_INIT;
    t->finished = 1;
    if (!request_clean(t->request)) {
        t->code = CURLE_BAD_FUNCTION_ARGUMENT;
        apr_cpystrn(t->problem, "control character in a URL or header", sizeof(t->problem));
        return;
    }
    if (!client->easy[i]) {
        client->easy[i] = curl_easy_init();
    }
    t->easy = client->easy[i];
    if (!t->easy) {
        return;
    }
    t->code = set_up(t, p, limits, total_ms);
    if (t->code == CURLE_OK && curl_multi_add_handle(client->multi, t->easy) == CURLM_OK) {
        t->code = CURLE_OPERATION_TIMEDOUT;     /* until curl says how it ended */
        t->finished = 0;
    }
}

static void collect(client_t *client)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(client->multi, &left))) {
        char *private = NULL;
        if (message->msg == CURLMSG_DONE &&
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private) == CURLE_OK) {
            transfer_t *t = (transfer_t *)(void *)private;
            t->code = message->data.result;
            t->finished = 1;
        }
    }
}

static void drive(client_t *client, apr_int64_t deadline)
{
    int running = 1;

    while (curl_multi_perform(client->multi, &running) == CURLM_OK && running) {
        apr_int64_t left = deadline - sa_http_clock();
        if (left <= 0) {
            break;
        }
        collect(client);
        if (curl_multi_poll(client->multi, NULL, 0, left < 1000 ? (int)left : 1000, NULL)) {
            break;
        }
    }
    collect(client);
}

static void perform(client_t *client, apr_pool_t *p, const sa_http_limits_t *limits,
                    const sa_http_request_t *requests, int n, sa_http_response_t *responses)
{
    transfer_t transfers[MAX_REQUESTS];
    long total_ms = limits->total_ms > 0 ? limits->total_ms : DEFAULT_TOTAL_MS;
    apr_int64_t deadline = sa_http_clock() + total_ms;

    memset(transfers, 0, sizeof(transfers));
    for (int i = 0; i < n; ++i) {
        transfers[i].request = &requests[i];
        start(client, &transfers[i], i, p, limits, total_ms);
    }
    drive(client, deadline);
    for (int i = 0; i < n; ++i) {
        if (transfers[i].easy) {
            curl_multi_remove_handle(client->multi, transfers[i].easy);
        }
        read_response(p, &transfers[i], &responses[i]);
        tear_down(&transfers[i]);
    }
}

/* ---- public ---- */

void sa_http_share_trust(apr_pool_t *p, sa_http_limits_t *limits)
{
    const curl_version_info_data *curl = curl_version_info(CURLVERSION_NOW);
    const char *why;

    if (sa_trust_serves(curl->ssl_version)) {
        limits->trust = limits->ca_bundle ? sa_trust_load(p, limits->ca_bundle, NULL, &why)
                                          : sa_trust_load(p, curl->cainfo, curl->capath, &why);
    }
}

apr_status_t sa_http_global_init(void)
{
    return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? APR_SUCCESS : APR_EGENERAL;
}

static apr_status_t http_destroy(void *data)
{
    sa_http_t *http = data;

    while (http->idle) {
        client_t *client = http->idle;
        http->idle = client->next;
        client_free(client);
    }
    while (http->shares) {
        share_t *share = http->shares;
        http->shares = share->next;
        free(share);
    }
    return APR_SUCCESS;
}

apr_status_t sa_http_create(sa_http_t **http, apr_pool_t *p, int max_calls, int max_per_owner)
{
    sa_http_t *made = apr_pcalloc(p, sizeof(*made));
    apr_status_t rv = apr_thread_mutex_create(&made->mutex, APR_THREAD_MUTEX_DEFAULT, p);

    if (rv == APR_SUCCESS) {
        rv = apr_thread_cond_create(&made->released, p);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    made->max_calls = max_calls > 0 ? max_calls : 1;
    made->max_per_owner = max_per_owner > 0 ? max_per_owner : 1;
    apr_pool_cleanup_register(p, made, http_destroy, apr_pool_cleanup_null);
    *http = made;
    return APR_SUCCESS;
}

apr_status_t sa_http_enter(sa_http_t *http, const void *owner)
{
    apr_thread_mutex_lock(http->mutex);
    apr_status_t rv = take_place(http, owner);
    apr_thread_mutex_unlock(http->mutex);
    return rv;
}

void sa_http_leave(sa_http_t *http, const void *owner)
{
    apr_thread_mutex_lock(http->mutex);
    leave_place(http, owner);
    apr_thread_mutex_unlock(http->mutex);
}

apr_status_t sa_http_perform(sa_http_t *http, apr_pool_t *p, const sa_http_limits_t *limits,
                             const sa_http_request_t *requests, int n,
                             sa_http_response_t *responses)
{
    client_t *client = NULL;

    if (n < 1 || n > MAX_REQUESTS) {
        return APR_EINVAL;
    }
    apr_status_t rv = client_acquire(http, limits->owner, trust_for(limits), &client);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    memset(responses, 0, sizeof(*responses) * (apr_size_t)n);
    if (client) {
        perform(client, p, limits, requests, n, responses);
    } else {
        rv = APR_ENOMEM;
    }
    client_release(http, limits->owner, client);
    return rv;
}
