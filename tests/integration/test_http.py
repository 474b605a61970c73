"""HTTP itself: bodies in pieces, half requests, smuggling, HTTP/2, keep-alive (threat section L)."""
import gzip
import json
import socket
import subprocess
import threading
import time
import zlib

import pytest

from support import check, jose
from support.client import Browser, curl, raw, raw_one, split_answers

PATH = b"/api/social-auth/"


def request(path, body=b"", content_type=b"application/json", more=b"", length=True, version=b"1.1",
            method=b"POST", close=True):
    lines = [method + b" " + PATH + path + b" HTTP/" + version, b"Host: localhost",
             b"Content-Type: " + content_type]
    if length:
        lines.append(b"Content-Length: %d" % len(body))
    if close:
        lines.append(b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n" + more + b"\r\n" + body


def chunked(body, size=1, extension=b"", trailer=b""):
    out = b""
    for i in range(0, len(body), size):
        part = body[i:i + size]
        out += b"%x%s\r\n%s\r\n" % (len(part), extension, part)
    return out + b"0\r\n" + trailer + b"\r\n"


@pytest.fixture
def flow(site):
    """flow() -> (JSON body of a GitHub login that works, its Cookie header line)"""
    def make():
        browser = site.browser()
        state = site.state(browser)["state"]
        body = json.dumps({"code": site.provider.github.code(site.provider.github.user()), "state": state})
        cookie = "; ".join("%s=%s" % kv for kv in browser.cookies.items())
        return body.encode(), b"Cookie: " + cookie.encode() + b"\r\n"
    return make


# ---- sizes and speeds (T184, T185)

def test_T184_promised_gigabyte_is_not_read(site):
    start = time.monotonic()
    answer = raw_one(site.port, request(b"token/", length=False, more=b"Content-Length: 1073741824\r\n"))
    assert answer.status == 413 and time.monotonic() - start < 9
    check.json_headers(answer)


def test_T184_endless_chunks(site):
    head = request(b"token/", length=False, more=b"Transfer-Encoding: chunked\r\n")
    before = site.httpd.largest()
    parts = [head] + [b"2000\r\n" + b"a" * 8192 + b"\r\n"] * 8000
    data = raw(site.port, b"", chunks=parts, timeout=10)
    answers = split_answers(data)
    # The connection may be reset while we still send; the server must not have read on.
    assert not answers or answers[0].status == 413
    assert site.httpd.largest() - before < 20000
    check.signed_in(site.github_login())


def test_T184_limit_is_exact(make_site):
    site = make_site(mount="SocialAuthMaxBody 1024")
    for size, status in ((1024, 401), (1025, 413)):
        body = b'{"refresh":"' + b"a" * (size - 14) + b'"}'
        assert len(body) == size
        for send in (request(b"token/refresh/", body),
                     request(b"token/refresh/", chunked(body, 100), length=False,
                             more=b"Transfer-Encoding: chunked\r\n")):
            assert raw_one(site.port, send).status == status, (size, send[:80])


def test_T184_httpds_own_limit(make_site):
    site = make_site(more='<Location "/">\nLimitRequestBody 500\n</Location>', private=True)
    answer = raw_one(site.port, request(b"token/refresh/", b'{"refresh":"' + b"a" * 600 + b'"}'))
    assert answer.status == 413


@pytest.mark.limit(60)
def test_T185_slow_body(make_site):
    site = make_site(server="RequestReadTimeout header=5 body=2,MinRate=500", private=True)
    with socket.create_connection(("127.0.0.1", site.port), 15) as s:
        s.sendall(request(b"token/", length=False, more=b"Content-Length: 500\r\n"))
        start = time.monotonic()
        data = b""
        s.settimeout(0.25)
        while time.monotonic() - start < 12:
            try:
                s.sendall(b"a")
                got = s.recv(65536)
                if not got:
                    break
                data += got
            except socket.timeout:
                continue
            except (BrokenPipeError, ConnectionResetError):
                break
        assert time.monotonic() - start < 8
    answers = split_answers(data)
    assert not answers or answers[0].status in (408, 400)


@pytest.mark.cell("event", "pgsql")      # prefork would need a child for each
def test_T185_slow_bodies_hold_no_database_connection(make_site):
    site = make_site(private=True, dbd="DBDMin 1\nDBDKeep 1\nDBDMax 2\nDBDExptime 60")
    slow = []
    for _ in range(15):
        s = socket.create_connection(("127.0.0.1", site.port), 10)
        s.sendall(request(b"token/", length=False, more=b"Content-Length: 500\r\n") + b"{")
        slow.append(s)
    start = time.monotonic()
    for i in range(5):
        check.signed_in(site.google_login(sub=str(i + 1)))
    assert time.monotonic() - start < 15
    for s in slow:
        s.close()


# ---- a client that goes away (T186)

def test_T186_client_leaves_at_every_stage(site, flow):
    for cut in (10, 60, 150, 300):
        body, cookie = flow()
        whole = request(b"github/login/", body, more=cookie)
        with socket.create_connection(("127.0.0.1", site.port), 5) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            s.sendall(whole[:cut])
    for _ in range(4):                                  # the whole request, but nobody waits
        body, cookie = flow()
        with socket.create_connection(("127.0.0.1", site.port), 5) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            s.sendall(request(b"github/login/", body, more=cookie))
    check.signed_in(site.github_login())
    time.sleep(0.3)
    assert site.db.broken_invariants() == []


# ---- transfer codings (T187)

@pytest.mark.parametrize("size,extension,trailer", [
    (1, b"", b""), (7, b"", b""), (10000, b"", b""), (5, b";a=b", b""), (5, b"", b"X-Trailer: 1\r\n"),
    (3, b";x=\"y\"", b"")])
def test_T187_chunked_bodies(site, flow, size, extension, trailer):
    body, cookie = flow()
    answer = raw_one(site.port, request(b"github/login/", chunked(body, size, extension, trailer),
                                        length=False, more=cookie + b"Transfer-Encoding: chunked\r\n"))
    check.signed_in(answer)


def test_T187_body_in_single_bytes(site, flow):
    body, cookie = flow()
    whole = request(b"github/login/", body, more=cookie)
    data = raw(site.port, b"", chunks=[whole[i:i + 1] for i in range(len(whole))])
    check.signed_in(split_answers(data)[0])


def test_T187_expect_100_continue(site, flow):
    body, cookie = flow()
    head = request(b"github/login/", b"", length=False, more=cookie + b"Expect: 100-continue\r\n"
                   b"Content-Length: %d\r\n" % len(body))
    with socket.create_connection(("127.0.0.1", site.port), 10) as s:
        s.sendall(head)
        assert s.recv(100).startswith(b"HTTP/1.1 100")
        s.sendall(body)
        data = b""
        while True:
            got = s.recv(65536)
            if not got:
                break
            data += got
    check.signed_in(split_answers(data)[0])


def test_T187_refusal_before_100_continue(site):
    """What headers alone decide is answered without asking for the body."""
    for head in (request(b"github/login/", length=False, content_type=b"text/plain",
                         more=b"Expect: 100-continue\r\nContent-Length: 100\r\n"),
                 request(b"github/link/", length=False,
                         more=b"Expect: 100-continue\r\nContent-Length: 100\r\n"),
                 request(b"token/", length=False,
                         more=b"Expect: 100-continue\r\nContent-Length: 1000000\r\n")):
        data = raw(site.port, head)
        assert not data.startswith(b"HTTP/1.1 100"), data[:200]
        assert split_answers(data)[0].status in (401, 413, 415)


def test_http_1_0(site, flow):
    body, cookie = flow()
    check.signed_in(raw_one(site.port, request(b"github/login/", body, more=cookie, version=b"1.0")))


def test_absolute_form(site, flow):
    """T10: and another host in it changes nothing."""
    body, cookie = flow()
    for host in (b"localhost", b"evil.test"):
        whole = request(b"github/login/", body, more=cookie).replace(b"POST /", b"POST http://" + host + b"/")
        answer = raw_one(site.port, whole)
        assert answer.status in (200, 400), answer
        if answer.status == 200:
            assert b"evil.test" not in answer.body


def test_T10_host_header_names_nothing(site):
    browser = site.browser()
    headers = {"Host": "evil.test", "X-Forwarded-Host": "evil.test", "X-Forwarded-Proto": "https"}
    state = browser.get("github/state/", headers=headers).json()["state"]
    answer = browser.post("github/login/", {"code": site.provider.github.code(site.provider.github.user()),
                                            "state": state}, headers=headers)
    tokens = check.signed_in(answer)
    assert jose.claims_of(tokens["access"])["iss"] == site.issuer
    assert "evil.test" not in answer.text


# ---- smuggling (T188)

@pytest.mark.parametrize("more", [
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"Content-Length: 5\r\nContent-Length: 6\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b"Transfer-Encoding: xchunked\r\n",
    b"Content-Length : 5\r\n", b"Content-Length: +5\r\n", b"Content-Length: 5, 5\r\n",
    b"Content-Length: -1\r\n", b"Content-Length: 0x5\r\n", b"Transfer-Encoding: chunked, identity\r\n",
    b" folded: x\r\n", b"X: a\x00b\r\n", b"X\x00: a\r\n"])
def test_T188_ambiguous_framing(site, more):
    smuggled = b"GET " + PATH + b"linked-accounts/ HTTP/1.1\r\nHost: localhost\r\nX-Smuggled: 1\r\n\r\n"
    whole = request(b"token/refresh/", length=False, more=more, close=False) + b"0\r\n\r\n" + smuggled
    answers = split_answers(raw(site.port, whole, half_close=True))
    assert answers, more
    assert answers[0].status >= 400
    assert len(answers) == 1 or answers[0].status in (401, 400, 415), (more, answers)
    assert not any(a.status == 401 and "credentials were not provided" in a.text for a in answers[1:]) \
        or more.startswith((b"Content-Length: 5\r\nTransfer", b"Transfer-Encoding: chunked\r\nTransfer")), answers


@pytest.mark.parametrize("path,content_type,status", [
    (b"github/link/", b"application/json", 401), (b"token/", b"text/plain", 415),
    (b"nosuch/", b"application/json", 404), (b"linked-accounts/", b"application/json", 405)])
def test_T188_unread_body_is_not_the_next_request(site, path, content_type, status):
    inner = b"GET " + PATH + b"github/state/ HTTP/1.1\r\nHost: localhost\r\n\r\n"
    follow = b"GET " + PATH + b".well-known/jwks.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answers = split_answers(raw(site.port, request(path, inner, content_type, close=False) + follow))
    assert answers[0].status == status
    for answer in answers[1:]:
        assert "keys" in answer.json(), answers
    assert len(answers) <= 2


def test_T188_throttled_body_is_not_the_next_request(make_site):
    site = make_site(throttle="1/minute", private=True)
    site.browser().get("github/state/")
    inner = b"GET " + PATH + b".well-known/jwks.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answers = split_answers(raw(site.port, request(b"github/login/", inner, close=False), half_close=True))
    assert [a.status for a in answers] == [429]


# ---- content codings (T189)

def test_T189_compressed_body(site, flow):
    body, cookie = flow()
    for encoding, data in ((b"gzip", gzip.compress(body)), (b"deflate", zlib.compress(body)),
                           (b"gzip", gzip.compress(b" " * (20 << 20)))):
        answer = raw_one(site.port, request(b"github/login/", data,
                                            more=cookie + b"Content-Encoding: " + encoding + b"\r\n"))
        assert answer.status in (400, 415, 413), answer
    assert site.provider.asked() == []


def test_T189_inflated_body_is_counted_after(make_site):
    site = make_site(modules=["deflate", "filter"], private=True,
                     more='<Location "/api">\nSetInputFilter DEFLATE\n</Location>')
    site.expect_log("deflate|DEFLATE|Inflate|inflate")
    bomb = gzip.compress(b'{"refresh":"' + b" " * (50 << 20) + b'"}')
    before = site.httpd.largest()
    answer = raw_one(site.port, request(b"token/refresh/", bomb, more=b"Content-Encoding: gzip\r\n"))
    assert answer.status in (400, 413, 415), answer
    assert site.httpd.largest() - before < 30000


# ---- one connection, several people (T192)

def test_T192_pipelined_identities(site):
    access = [site.tokens(site.github_login())["access"] for _ in range(2)]
    one = b"GET " + PATH + b"linked-accounts/ HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
    bearer = [b"Authorization: Bearer " + a.encode() + b"\r\n" for a in access]
    data = raw(site.port, one % bearer[0] + one % b"" + one % bearer[1] + one % b"Connection: close\r\n")
    assert [a.status for a in split_answers(data)] == [200, 401, 200, 401]


def test_T192_keep_alive(site):
    browser = site.browser()
    tokens = site.tokens(site.github_login(browser))
    for _ in range(20):
        assert browser.get("linked-accounts/", bearer=tokens["access"]).status == 200
        assert browser.get("linked-accounts/").status == 401


def test_keep_alive_after_success(site):
    """A hundred requests need no hundred connections."""
    with socket.create_connection(("127.0.0.1", site.port), 10) as s:
        for _ in range(10):
            s.sendall(b"GET " + PATH + b"github/state/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert s.recv(65536).startswith(b"HTTP/1.1 200")


# ---- parsers (T105..T107)

@pytest.mark.parametrize("cookie", [b"=", b";;;", b"a" * 7000, b"a=b; a=c; =d", b"\xff\xfe=\x80", b'"', b'a="b',
                                    b"__Host-sa-state-=x", b"__Host-sa-state-0123456=x",
                                    b"__Host-sa-state-0123456789=x", b"__Host-sa-state-ZZZZZZZZ=x",
                                    b"; ".join(b"c%d=x" % i for i in range(500))])
def test_T106_cookies(site, flow, cookie):
    body, good = flow()
    answer = raw_one(site.port, request(b"github/login/", body, more=b"Cookie: " + cookie + b"\r\n"))
    assert answer.status in (400, 431), answer
    answer = raw_one(site.port, request(b"github/login/", body,
                                        more=good + b"Cookie: " + cookie[:3000] + b"\r\n"))
    assert answer.status in (200, 400), answer


@pytest.mark.parametrize("query", [b"?", b"?&", b"?%", b"?%00", b"?code_challenge", b"?code_challenge=%zz",
                                   b"?=&=&=", b"?a=" + b"b" * 6000, b"?%ff=%fe", b"?code_challenge=a&code_challenge=b",
                                   b"?&" * 300])
def test_T105_queries(site, query):
    answer = raw_one(site.port, b"GET " + PATH + b"github/state/" + query
                     + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert answer.status in (200, 400), answer
    check.json_headers(answer)


@pytest.mark.parametrize("path", [b"%00", b"github%00/login", b"github/login%00", b"a%2fb", b"%ff%fe", b"..%2f..%2f",
                                  b"github/login/%2e%2e", b"\xff", b"a\\b", b"?", b";", b"%", b"%zz"])
def test_T110_paths(site, path):
    site.expect_log("AH10244: invalid URI path")
    answer = raw_one(site.port, b"POST " + PATH + path + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
                     b"Connection: close\r\n\r\n")
    assert answer.status in (400, 403, 404, 405), answer


# ---- HTTP/2 (T191)

@pytest.fixture
def h2(make_site):
    return make_site(modules=["http2"], server="Protocols h2c http/1.1")


def h2_curl(site, path, *arguments):
    return curl("--http2-prior-knowledge", *arguments, "%s%s/%s" % (site.url, site.settings.path, path))


@pytest.mark.threaded
def test_T191_login_over_http2(h2):
    browser = h2.browser()
    state = h2.state(browser)["state"]
    cookies = ["-H", "Cookie: " + "; ".join("%s=%s" % kv for kv in browser.cookies.items())]
    body = json.dumps({"code": h2.provider.github.code(h2.provider.github.user()), "state": state})
    answer = h2_curl(h2, "github/login/", *cookies, "-H", "Content-Type: application/json", "-d", body)
    assert answer.reason.startswith("HTTP/2")
    check.signed_in(answer)


@pytest.mark.threaded
def test_T191_split_cookies(h2):
    browser = h2.browser()
    state = h2.state(browser)["state"]
    h2.state(browser)
    crumbs = sum((["-H", "Cookie: %s=%s" % kv] for kv in browser.cookies.items()), [])
    body = json.dumps({"code": h2.provider.github.code(h2.provider.github.user()), "state": state})
    check.signed_in(h2_curl(h2, "github/login/", *crumbs, "-H", "Content-Type: application/json", "-d", body))


@pytest.mark.threaded
def test_T191_errors_over_http2(h2):
    for path, arguments, status in (
            ("token/", ["-X", "GET"], 405), ("linked-accounts/", [], 401), ("nosuch", [], 404),
            ("github/login/", ["-d", "{}", "-H", "Content-Type: application/json"], 400),
            ("github/login/", ["-X", "POST"], 400)):
        answer = h2_curl(h2, path, *arguments)
        assert answer.status == status, (path, answer)
        check.json_headers(answer)


@pytest.mark.threaded
def test_T191_body_too_large(make_site, h2):
    site = make_site(modules=["http2"], server="Protocols h2c http/1.1", mount="SocialAuthMaxBody 1024")
    answer = h2_curl(site, "token/", "-d", "x" * 1500, "-H", "Content-Type: application/json")
    assert answer.status == 413 and answer.word == "body_too_large", answer


@pytest.mark.threaded
def test_T191_many_streams(h2):
    done = subprocess.run(["h2load", "-n", "400", "-c", "4", "-m", "50",
                           "%s%s/github/state/" % (h2.url, h2.settings.path)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert "400 succeeded, 0 failed" in done.stdout and "status codes: 400 2xx" in done.stdout, done.stdout


# ---- beside other modules

def test_proxypass_of_everything_leaves_the_mount(make_site):
    site = make_site(modules=["proxy", "proxy_http"], more='ProxyPass "/" "http://127.0.0.1:9/"', private=True)
    check.signed_in(site.github_login())
    assert site.browser().get("linked-accounts/").status == 401


def test_rewrite_of_everything_leaves_the_mount(make_site):
    site = make_site(modules=["rewrite"], private=True,
                     more="RewriteEngine On\nRewriteRule ^ /index.html [L]")
    check.signed_in(site.github_login())


def test_mount_inside_a_protected_tree(make_site):
    site = make_site(private=True, more='<Location "/api">\nRequire all denied\n</Location>'
                                        '\n<Location "/api/social-auth">\nRequire all granted\n</Location>')
    check.signed_in(site.github_login())


def test_error_documents_stay_out(make_site):
    site = make_site(private=True, more="ErrorDocument 401 /login.html\nErrorDocument 404 /404.html"
                                        "\nErrorDocument 400 nonsense\nErrorDocument 503 /503.html")
    browser = site.browser()
    check.not_signed_in(browser.get("linked-accounts/"))
    assert browser.get("nosuch").word == "not_found"
    assert browser.post("github/login/", {}).word == "required"


def test_T133_requests_do_not_mix_under_load(site):
    """Different questions at once, each gets its own answer."""
    access = site.tokens(site.github_login())["access"]
    wrong = []

    def ask(i):
        browser = Browser(site.port)
        for _ in range(25):
            for path, status, bearer in (("linked-accounts/", 200, access), ("linked-accounts/", 401, None),
                                         ("github/state/", 200, None), ("nosuch", 404, None)):
                answer = browser.get(path, bearer=bearer)
                if answer.status != status:
                    wrong.append((path, status, answer))
        browser.close()
    threads = [threading.Thread(target=ask, args=(i,)) for i in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []
