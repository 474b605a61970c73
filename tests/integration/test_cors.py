"""Cross-origin requests (threat section J)."""
import pytest

from support import check, vectors
from support.client import raw_one

LISTED = "https://app.example.test"
ALLOW = "SocialAuthAllowOrigin https://app.example.test http://localhost:5173\n"
CREDENTIALS = ALLOW + "SocialAuthAllowCredentials On"
PREFLIGHT = [("Access-Control-Request-Method", "POST"),
             ("Access-Control-Request-Headers", "authorization,content-type")]
CORS = ("Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Allow-Methods",
        "Access-Control-Allow-Headers", "Access-Control-Expose-Headers", "Access-Control-Max-Age")


@pytest.fixture(params=[ALLOW, CREDENTIALS], ids=["plain", "credentials"])
def open_site(make_site, request):
    site = make_site(mount=request.param)
    site.credentials = request.param is CREDENTIALS
    return site


def varies(answer):
    return any("origin" in v.lower() for v in answer.headers("Vary"))


def allowed(site, answer, origin=LISTED):
    assert answer.headers("Access-Control-Allow-Origin") == [origin], answer
    assert answer.header("Access-Control-Allow-Credentials") == ("true" if site.credentials else None)
    assert varies(answer), answer


def closed(answer):
    assert all(answer.header(name) is None for name in CORS[:4]), answer
    assert varies(answer), answer


def test_T163_listed_origin(open_site):
    for origin in (LISTED, "http://localhost:5173"):
        answer = open_site.browser(origin=origin).get("github/state/")
        assert answer.status == 200
        allowed(open_site, answer, origin)


@pytest.mark.parametrize("case", vectors.cases("hostile/http_inputs.json", "cors_origin"))
def test_T163_origin_vectors(open_site, case):
    value = case["value"].encode()
    for line in (b"GET /api/social-auth/github/state/", b"OPTIONS /api/social-auth/github/login/",
                 b"POST /api/social-auth/token/"):
        answer = raw_one(open_site.port, line + b" HTTP/1.1\r\nHost: localhost\r\nOrigin: " + value
                         + b"\r\nAccess-Control-Request-Method: POST\r\nContent-Length: 0\r\n"
                           b"Connection: close\r\n\r\n")
        # Optional white space around a field's value is no part of it (RFC 9110 5.5).
        if value.strip(b" \t") == LISTED.encode():
            allowed(open_site, answer)
        else:
            closed(answer)


def test_T163_two_origin_headers(open_site):
    answer = open_site.browser().get("github/state/", headers=[("Origin", LISTED),
                                                                ("Origin", "https://evil.example")])
    assert answer.header("Access-Control-Allow-Origin") is None


def test_T164_vary_without_an_origin(open_site):
    browser = open_site.browser()
    for answer in (browser.get("github/state/"), browser.get("nosuch"), browser.post("token/", {}),
                   browser.get("linked-accounts/")):
        closed(answer)


def test_no_list_no_headers(site):
    answer = site.browser(origin=LISTED).get("github/state/")
    assert answer.status == 200
    assert all(answer.header(name) is None for name in CORS)


def test_T165_preflight(open_site):
    for path, method in (("github/login/", "POST"), ("linked-accounts/", "GET"), ("token/refresh", "POST")):
        answer = open_site.browser(origin=LISTED).request(
            "OPTIONS", path, headers=[("Access-Control-Request-Method", method),
                                      ("Access-Control-Request-Headers", "authorization,content-type")])
        assert answer.status == 204 and answer.body == b"", answer
        allowed(open_site, answer)
        assert method in answer.header("Access-Control-Allow-Methods")
        names = {h.strip().lower() for h in answer.header("Access-Control-Allow-Headers").split(",")}
        assert {"authorization", "content-type"} <= names and "*" not in names


def test_T165_preflight_asks_for_more(open_site):
    browser = open_site.browser(origin=LISTED)
    answer = browser.request("OPTIONS", "github/login/", headers=[
        ("Access-Control-Request-Method", "DELETE"), ("Access-Control-Request-Headers", "x-evil")])
    assert "DELETE" not in (answer.header("Access-Control-Allow-Methods") or "")
    assert "x-evil" not in (answer.header("Access-Control-Allow-Headers") or "").lower()


def test_T165_preflight_of_a_stranger(open_site):
    answer = open_site.browser(origin="https://evil.example").request("OPTIONS", "github/login/",
                                                                      headers=PREFLIGHT)
    assert answer.status in (200, 204, 403)
    closed(answer)


def test_T165_preflight_needs_nobody_and_counts_nothing(make_site):
    site = make_site(mount=ALLOW, throttle="2/minute")
    site.credentials = False
    browser = site.browser(origin=LISTED, source="127.0.0.66")
    for _ in range(10):
        answer = browser.request("OPTIONS", "github/link/", headers=PREFLIGHT)
        assert answer.status == 204, answer
        allowed(site, answer)
    assert browser.get("github/state/").status == 200


def test_T165_long_header_list(open_site):
    wanted = ",".join("x-%d" % i for i in range(1200))
    answer = open_site.browser(origin=LISTED).request("OPTIONS", "github/login/", headers=[
        ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", wanted[:7000])])
    assert answer.status in (200, 204)
    assert len(answer.header("Access-Control-Allow-Headers") or "") < 500


def test_further_headers_may_be_allowed(make_site):
    site = make_site(mount=ALLOW + "SocialAuthAllowHeaders X-CSRF-Token Authorization")
    answer = site.browser(origin=LISTED).request("OPTIONS", "github/login/", headers=PREFLIGHT)
    names = [h.strip().lower() for h in answer.header("Access-Control-Allow-Headers").split(",")]
    assert sorted(names) == ["authorization", "content-type", "x-csrf-token", "x-requested-with"]


def test_T166_errors_can_be_read(make_site):
    site = make_site(mount=CREDENTIALS, throttle="3/minute")
    site.credentials = True
    browser = site.browser(origin=LISTED, source="127.0.0.67")
    answers = [browser.get("linked-accounts/"), browser.get("linked-accounts/", bearer="x"),
               browser.post("github/login/", {}), browser.get("nosuch"), browser.get("token/"),
               browser.request("POST", "token/", body=b"x", content_type="text/plain"),
               browser.request("POST", "token/", body=b"{", content_type="application/json"),
               browser.request("POST", "token/refresh/", body=b"x" * 70000, content_type="application/json")]
    assert {a.status for a in answers} >= {400, 401, 404, 405, 413, 415}
    for _ in range(6):
        answers.append(browser.get("github/state/"))
    assert answers[-1].status == 429
    for answer in answers:
        allowed(site, answer)


def test_T166_database_trouble_can_be_read(make_site, databases, cell):
    site = make_site(database=databases.make(cell[1], migrated=False), mount=ALLOW)
    site.credentials = False
    site.expect_log(".")
    answer = site.browser(origin=LISTED).post("token/", {"email": "a@b.example", "password": "x"})
    check.refused(answer, "unavailable")
    allowed(site, answer)


def test_no_cookie_comes_from_a_stranger(open_site):
    """What a stranger's script triggers stays unreadable to it; the state cookie it causes is harmless."""
    answer = open_site.browser(origin="https://evil.example").get("github/state/")
    closed(answer)


@pytest.mark.parametrize("value", ["*", "null", "https://app.example.test/", "https://app.example.test/x",
                                   "app.example.test", "ftp://app.example.test", "https://", "https://a b",
                                   "https://user@app.example.test", "https://*.example.test",
                                   "https://app.example.test:99999", "HTTPS://x?y", "https://app.example.test#f"])
def test_T163_list_takes_origins_only(site, value):
    status, said = site.httpd.try_edit("SetHandler social-auth",
                                       'SetHandler social-auth\nSocialAuthAllowOrigin "%s"' % value)
    assert status != 0 and "SocialAuthAllowOrigin" in said, said
