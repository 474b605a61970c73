/* The HTTP client and what providers do to it: hanging, cutting, flooding. The server's side
 * decides when things happen; nothing here measures a clock. */
#include "provider_fixture.h"

#include <apr_thread_proc.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

static sa_http_response_t get(const char *url)
{
    sa_http_request_t request = { .url = url };
    sa_http_response_t response;

    assert_int_equal(sa_http_perform(env.http, pool, &limits, &request, 1, &response),
                     APR_SUCCESS);
    assert_non_null(response.body);
    assert_true(response.outcome == SA_HTTP_DONE || response.problem);
    return response;
}

static sa_http_response_t post(const char *url)
{
    sa_http_request_t request = { .url = url, .body = "code=" CODE };
    sa_http_response_t response;

    assert_int_equal(sa_http_perform(env.http, pool, &limits, &request, 1, &response),
                     APR_SUCCESS);
    return response;
}

/* A port of loopback that nobody listens on: it is taken until the caller closes *taken. */
static int closed_port(int *taken)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *taken = fd;
    return ntohs(address.sin_port);
}

/* ---- the HTTP client ---- */

static void test_response_is_read(void **state)
{
    (void)state;
    mock_reply(mock, &(mock_reply_t){ .path = "/a", .status = 418,
                                      .type = "Application/JSON; charset=utf-8",
                                      .headers = "Cache-Control: max-age=5\r\n",
                                      .body = "{\"a\":1}" });
    sa_http_response_t response = get(mock_url(mock, pool, "/a"));
    assert_int_equal(response.outcome, SA_HTTP_DONE);
    assert_int_equal(response.status, 418);
    assert_string_equal(response.content_type, "application/json");
    assert_string_equal(response.cache_control, "max-age=5");
    assert_string_equal(response.body, "{\"a\":1}");
    assert_int_equal(response.len, 7);
}

static void test_T194_refused_and_not_tls(void **state)
{
    int taken;

    (void)state;
    sa_http_response_t response =
        get(apr_psprintf(pool, "http://127.0.0.1:%d/", closed_port(&taken)));
    assert_int_equal(response.outcome, SA_HTTP_UNREACHABLE);
    close(taken);
    response = get(apr_psprintf(pool, "https://127.0.0.1:%d/", mock_port(mock)));
    assert_int_equal(response.outcome, SA_HTTP_UNREACHABLE);
}

static void test_T194_login_while_unreachable_is_502(void **state)
{
    sa_provider_t *provider = make_github();
    sa_identity_t *identity;
    int taken;

    (void)state;
    provider->token_url = apr_psprintf(pool, "http://127.0.0.1:%d/token", closed_port(&taken));
    sa_error_t *error = by_code(provider, &identity);
    close(taken);
    assert_kind(error, SA_E_PROVIDER_UNAVAILABLE);
    assert_int_equal(error->status, 502);
    assert_string_equal(error->text, "Unable to contact GitHub. Please try again later.");
}

static void test_T195_hang_ends_at_the_deadline_of_the_call(void **state)
{
    const sa_http_limits_t brief = { .total_ms = 1500 };     /* enough for the good one */
    sa_http_request_t requests[3] = { { .url = mock_url(mock, pool, "/silent") },
                                      { .url = mock_url(mock, pool, "/stall") },
                                      { .url = mock_url(mock, pool, "/good") } };
    sa_http_response_t responses[3];

    (void)state;
    mock_reply(mock, &(mock_reply_t){ .path = "/silent", .way = MOCK_SILENT });
    mock_reply(mock, &(mock_reply_t){ .path = "/stall", .way = MOCK_STALL, .body = "{\"a\":1}" });
    serve("/good", 200, "{}");
    assert_int_equal(sa_http_perform(env.http, pool, &brief, requests, 3, responses),
                     APR_SUCCESS);
    assert_int_equal(responses[0].outcome, SA_HTTP_TIMEOUT);
    assert_int_equal(responses[1].outcome, SA_HTTP_TIMEOUT);
    assert_int_equal(responses[2].outcome, SA_HTTP_DONE);
    assert_int_equal(get(mock_url(mock, pool, "/good")).outcome, SA_HTTP_DONE);
}

static void test_T195_login_while_hanging_is_504(void **state)
{
    sa_provider_t *provider = make_github();
    sa_identity_t *identity;

    (void)state;
    provider->limits.total_ms = 200;
    mock_reply(mock, &(mock_reply_t){ .path = "/emails", .way = MOCK_SILENT });
    sa_error_t *error = by_code(provider, &identity);
    assert_kind(error, SA_E_PROVIDER_TIMEOUT);
    assert_int_equal(error->status, 504);
    assert_works(by_code(make_github(), &identity));
}

/* n bytes of zeros in gzip, with one block of fixed Huffman codes (RFC 1951 section 3.2.6). */
typedef struct { unsigned char *data; size_t len; unsigned bits, count; } bits_t;

static void put_bits(bits_t *b, unsigned value, unsigned n)
{
    for (unsigned i = 0; i < n; ++i) {
        b->bits |= ((value >> i) & 1u) << b->count;
        if (++b->count == 8) {
            b->data[b->len++] = (unsigned char)b->bits;
            b->bits = b->count = 0;
        }
    }
}

static size_t make_bomb(unsigned char *data, int repeats)
{
    static const unsigned char head[10] = { 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3 };
    bits_t b = { .data = data };

    memcpy(data, head, sizeof(head));
    b.len = sizeof(head);
    put_bits(&b, 1, 1);                         /* last block, */
    put_bits(&b, 1, 2);                         /* fixed codes */
    put_bits(&b, 0x0c, 8);                      /* literal 0: 00110000, most significant first */
    for (int i = 0; i < repeats; ++i) {
        put_bits(&b, 0xa3, 8);                  /* length 258: 11000101 */
        put_bits(&b, 0, 5);                     /* distance 1 */
    }
    put_bits(&b, 0, 7);                         /* end of block */
    put_bits(&b, 0, 7);
    return b.len;
}

static void test_T197_too_large_answers(void **state)
{
    static unsigned char bomb[64 * 1024];
    char *big = apr_palloc(pool, 1024 * 1024 + 2);

    (void)state;
    memset(big, 'x', 1024 * 1024 + 1);
    big[1024 * 1024 + 1] = '\0';
    serve("/big", 200, big);
    assert_int_equal(get(mock_url(mock, pool, "/big")).outcome, SA_HTTP_TOO_LARGE);
    serve("/fits", 200, big + 1);
    assert_int_equal(get(mock_url(mock, pool, "/fits")).len, 1024 * 1024);
    mock_reply(mock, &(mock_reply_t){ .path = "/endless", .way = MOCK_ENDLESS });
    assert_int_equal(get(mock_url(mock, pool, "/endless")).outcome, SA_HTTP_TOO_LARGE);

    mock_reply(mock, &(mock_reply_t){ .path = "/bomb", .headers = "Content-Encoding: gzip\r\n",
                                      .body = (const char *)bomb,
                                      .len = make_bomb(bomb, 30000) });
    assert_int_equal(get(mock_url(mock, pool, "/bomb")).outcome, SA_HTTP_TOO_LARGE);
    const sa_http_limits_t wide = { .max_response = 8 * 1024 * 1024 };
    sa_http_request_t request = { .url = mock_url(mock, pool, "/bomb") };
    sa_http_response_t response;
    sa_http_perform(env.http, pool, &wide, &request, 1, &response);
    assert_int_equal(response.outcome == SA_HTTP_TOO_LARGE, 0);         /* it was the cap */

    mock_reply(mock, &(mock_reply_t){ .path = "/good", .body = "{}" });
    assert_int_equal(get(mock_url(mock, pool, "/good")).outcome, SA_HTTP_DONE);
}

static void test_T200_a_sent_code_is_never_sent_again(void **state)
{
    char *url = mock_url(mock, pool, "/token");

    (void)state;
    serve("/token", 200, "{}");
    assert_int_equal(post(url).outcome, SA_HTTP_DONE);
    mock_reply(mock, &(mock_reply_t){ .path = "/token", .way = MOCK_CUT });
    assert_int_equal(post(url).outcome, SA_HTTP_UNREACHABLE);   /* on the warm connection */
    assert_int_equal(mock_count(mock, "/token"), 2);
    assert_int_equal(post(url).outcome, SA_HTTP_UNREACHABLE);   /* on a new one */
    assert_int_equal(mock_count(mock, "/token"), 3);
    serve("/token", 503, "{}");
    assert_int_equal(post(url).status, 503);
    assert_int_equal(mock_count(mock, "/token"), 4);
}

static void test_T207_connection_closed_between_calls(void **state)
{
    char *url = mock_url(mock, pool, "/a");

    (void)state;
    for (int i = 1; i <= 4; ++i) {
        mock_reply(mock, &(mock_reply_t){ .path = "/a", .way = MOCK_CLOSE, .body = "{}" });
        sa_http_response_t response = i % 2 ? get(url) : post(url);
        assert_int_equal(response.outcome, SA_HTTP_DONE);
        mock_wait_closed(mock);
        assert_int_equal(mock_count(mock, "/a"), i);
        assert_int_equal(mock_connections(mock), i);
    }
}

static void test_T206_environment_proxy_is_ignored(void **state)
{
    mock_t *proxy = mock_start();
    char *proxy_url = mock_url(proxy, pool, "");
    sa_http_limits_t with_proxy = { .proxy = proxy_url };
    sa_http_request_t request = { .url = mock_url(mock, pool, "/a") };
    sa_http_response_t response;

    (void)state;
    serve("/a", 200, "{}");
    mock_reply(proxy, &(mock_reply_t){ .path = "/a", .status = 203, .body = "{}" });
    setenv("http_proxy", proxy_url, 1);
    setenv("all_proxy", proxy_url, 1);
    assert_int_equal(get(mock_url(mock, pool, "/a")).status, 200);
    assert_int_equal(mock_count(proxy, NULL), 0);
    setenv("no_proxy", "*", 1);
    sa_http_perform(env.http, pool, &with_proxy, &request, 1, &response);
    unsetenv("http_proxy");
    unsetenv("all_proxy");
    unsetenv("no_proxy");
    assert_int_equal(response.status, 203);
    assert_int_equal(mock_count(proxy, "/a"), 1);
    mock_stop(proxy);
}

static void test_T41_addresses_and_schemes_that_are_never_called(void **state)
{
    static const char *const schemes[] = { "file:///etc/passwd", "gopher://127.0.0.1/x",
                                           "dict://127.0.0.1/x", "ftp://127.0.0.1/x", "not a url" };
    static const char *const hosts[] = { "0.0.0.0", "[::]", "[::ffff:0.0.0.0]",
                                         "169.254.169.254", "[::ffff:169.254.169.254]",
                                         "[fe80::1]" };
    const char *why;

    (void)state;
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); ++i) {
        assert_int_equal(get(schemes[i]).outcome, SA_HTTP_BAD_REQUEST);
    }
    serve("/a", 200, "{}");
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); ++i) {
        char *url = apr_psprintf(pool, "http://%s:%d/a", hosts[i], mock_port(mock));
        assert_int_equal(get(url).outcome, SA_HTTP_UNREACHABLE);
        sa_provider_t *provider = sa_provider_make(pool, "idp", &why);
        assert_null(sa_provider_set(provider, pool, "type", "oidc"));
        assert_null(sa_provider_set(provider, pool, "issuer", "https://idp.test"));
        assert_null(sa_provider_set(provider, pool, "allow-http", "on"));
        assert_null(sa_provider_set(provider, pool, "jwks-url", url));
        assert_non_null(sa_provider_finish(provider, pool));
    }
    assert_int_equal(mock_count(mock, NULL), 0);
}

static void test_own_request_with_control_characters(void **state)
{
    apr_array_header_t *headers = apr_array_make(pool, 1, sizeof(char *));
    char *url = mock_url(mock, pool, "/a");
    sa_http_request_t requests[3] = { { .url = url, .bearer = "a\r\nX: y" },
                                      { .url = apr_pstrcat(pool, url, "\r\nX: y", NULL) },
                                      { .url = url, .headers = headers } };
    sa_http_response_t responses[3];

    (void)state;
    *(const char **)apr_array_push(headers) = "A: b\nC: d";
    sa_http_perform(env.http, pool, &limits, requests, 3, responses);
    for (int i = 0; i < 3; ++i) {
        assert_int_equal(responses[i].outcome, SA_HTTP_BAD_REQUEST);
    }
    assert_int_equal(mock_count(mock, NULL), 0);
}

/* ---- threads ---- */

static void test_busy_when_all_calls_are_under_way(void **state)
{
    sa_provider_t *provider = make_github();
    sa_identity_t *identity;
    login_t login = { .provider = make_idp(), .token = "a.b.c" };

    (void)state;
    assert_int_equal(sa_http_create(&env.http, pool, 1, 1), APR_SUCCESS);
    mock_reply(mock, &(mock_reply_t){ .path = "/jwks", .way = MOCK_HELD, .body = "{}" });
    apr_thread_t *thread = spawn(&login);
    mock_wait(mock, "/jwks", 1);
    sa_error_t *error = by_code(provider, &identity);
    assert_kind(error, SA_E_BUSY);
    assert_int_equal(error->status, 503);
    assert_true(error->retry_after > 0);
    mock_release(mock);
    join(thread);
    assert_works(by_code(provider, &identity));
}

/* Two calls to the one that hangs, and a place is still there for the other. */
static void test_T195_one_provider_does_not_take_all_places(void **state)
{
    sa_provider_t *github = make_github(), *idp = make_idp();
    sa_identity_t *identity;
    login_t logins[2] = { { .provider = idp, .token = "a.b.c" }, { .provider = idp, .token = "a.b.c" } };
    apr_thread_t *threads[2];

    (void)state;
    assert_int_equal(sa_http_create(&env.http, pool, 3, 2), APR_SUCCESS);
    mock_reply(mock, &(mock_reply_t){ .path = "/jwks", .way = MOCK_HELD, .body = "{}" });
    threads[0] = spawn(&logins[0]);
    mock_wait(mock, "/jwks", 1);
    threads[1] = spawn(&logins[1]);             /* waits for the other's fetch, in a place */
    while (sa_http_enter(env.http, idp) == APR_SUCCESS) {
        sa_http_leave(env.http, idp);
    }
    for (int i = 0; i < 3; ++i) {
        assert_works(by_code(github, &identity));
    }
    mock_release(mock);
    join(threads[0]);
    join(threads[1]);
    assert_int_equal(sa_http_enter(env.http, idp), APR_SUCCESS);
    sa_http_leave(env.http, idp);
}

/* What is left of the login's time is all that a call gets. */
static void test_T195_deadline_of_the_login(void **state)
{
    sa_provider_t *provider = make_github();
    sa_identity_t *identity;

    (void)state;
    env.deadline = sa_http_clock() + 3000;
    mock_reply(mock, &(mock_reply_t){ .path = "/user", .way = MOCK_SILENT });
    provider->limits.total_ms = 60000;
    assert_kind(by_code(provider, &identity), SA_E_PROVIDER_TIMEOUT);
    assert_true(sa_http_clock() < env.deadline + 5000);
    assert_kind(by_code(provider, &identity), SA_E_PROVIDER_TIMEOUT);       /* none is left */
    assert_int_equal(mock_count(mock, "/user"), 1);
}

typedef struct {
    const sa_provider_t *provider;
    int failures;
} worker_t;

static void *APR_THREAD_FUNC worker_thread(apr_thread_t *thread, void *data)
{
    worker_t *worker = data;

    (void)thread;
    for (int i = 0; i < 50; ++i) {
        sa_credential_t credential = { .flow = SA_FLOW_CODE, .code = CODE, .now = NOW };
        sa_identity_t *identity;
        sa_proof_t proof;
        apr_pool_t *p;
        apr_pool_create(&p, NULL);
        sa_error_t *error = worker->provider->type->identify(worker->provider, &env, p,
                                                             &credential, &identity, &proof);
        worker->failures += error || strcmp(identity->subject, "583231");
        apr_pool_destroy(p);
    }
    return NULL;
}

static void test_T113_parallel_logins_share_a_pool_of_connections(void **state)
{
    const sa_provider_t *provider = make_github();
    worker_t workers[16];
    apr_thread_t *threads[16];

    (void)state;
    for (int i = 0; i < 16; ++i) {
        workers[i] = (worker_t){ .provider = provider };
        assert_int_equal(apr_thread_create(&threads[i], NULL, worker_thread, &workers[i], pool),
                         APR_SUCCESS);
    }
    for (int i = 0; i < 16; ++i) {
        join(threads[i]);
        assert_int_equal(workers[i].failures, 0);
    }
    assert_int_equal(mock_count(mock, NULL), 16 * 50 * 3);
    assert_true(mock_connections(mock) <= 16 * 2);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_response_is_read),
        CASE(test_T194_refused_and_not_tls),
        CASE(test_T194_login_while_unreachable_is_502),
        CASE(test_T195_hang_ends_at_the_deadline_of_the_call),
        CASE(test_T195_login_while_hanging_is_504),
        CASE(test_T197_too_large_answers),
        CASE(test_T200_a_sent_code_is_never_sent_again),
        CASE(test_T207_connection_closed_between_calls),
        CASE(test_T206_environment_proxy_is_ignored),
        CASE(test_T41_addresses_and_schemes_that_are_never_called),
        CASE(test_own_request_with_control_characters),
        CASE(test_busy_when_all_calls_are_under_way),
        CASE(test_T195_one_provider_does_not_take_all_places),
        CASE(test_T195_deadline_of_the_login),
        CASE(test_T113_parallel_logins_share_a_pool_of_connections),
    };

    return cmocka_run_group_tests_name("http client", tests, fixture_start, fixture_stop);
}
