"""The description of the API: that it is served, and that the check of every answer against it
(support/openapi.py) is one that can fail."""
import http.server
import json
import os
import threading

import pytest

from support import openapi, paths
from support.client import Answer, Browser

NO_STORE = ("Cache-Control", "no-store")
MARK = ("X-Content-Type-Options", "nosniff")
JSON = ("Content-Type", "application/json")
GOOD = [NO_STORE, MARK, JSON]
CHALLENGE = ("WWW-Authenticate", 'Bearer realm="api"')
PAIR = {"access": "a.b.c", "refresh": "a.b.c"}
USER = {"id": 1, "email": "a@example.org", "username": "a", "first_name": "A", "last_name": "B"}
FORBIDDEN = {"detail": "CSRF Failed: Origin checking failed.", "error": "forbidden"}
NOT_FOUND = {"detail": "Not found.", "error": "not_found"}
THROTTLED = {"detail": "Request was throttled. Expected available in 1 second.", "error": "throttled"}
NOT_AUTHENTICATED = {"detail": "Authentication credentials were not provided.",
                     "error": "not_authenticated"}
WRONG_METHOD = {"detail": 'Method "PUT" not allowed.', "error": "method_not_allowed"}
INVALID_CLIENT = {"error": "invalid_client", "error_description": "Client authentication failed."}
OAUTH = {"access_token": "a.b.c", "expires_in": 3600, "token_type": "Bearer", "scope": "read"}
PAGE = b"<!DOCTYPE HTML PUBLIC ...>"


def hold(method, path, status, body=b"", headers=GOOD):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    openapi.hold("/mount", method, "/mount/" + path, Answer(status, headers, body))


@pytest.mark.parametrize("method, path, status, body, headers", [
    ("POST", "token/", 200, PAIR, GOOD),
    ("POST", "token", 200, OAUTH, GOOD),
    ("POST", "google/login/?next=%2f", 200, {"expires_in": 60}, GOOD),
    ("POST", "github/login/", 400, {"code": ["This field is required."], "error": "required"}, GOOD),
    ("POST", "nobody/login/", 404, NOT_FOUND, GOOD),
    ("PUT", "nobody/login/", 404, NOT_FOUND, GOOD),
    ("POST", "%74oken//verify/", 200, {}, GOOD),
    ("POST", "./all/../token/verify", 200, {}, GOOD),
    ("POST", "create/", 201, b"", [NO_STORE, MARK]),
    ("POST", "create/", 201, PAIR, GOOD),
    ("HEAD", "currentUser/", 200, b"", GOOD),
    ("GET", "currentUser/", 401, NOT_AUTHENTICATED, GOOD + [CHALLENGE]),
    ("POST", "introspect", 401, INVALID_CLIENT, GOOD + [("WWW-Authenticate", 'Basic realm="api"')]),
    ("DELETE", "sessions/123/", 204, b"", [NO_STORE, MARK]),
    ("PUT", "currentUser/", 405, WRONG_METHOD, GOOD + [("Allow", "GET, HEAD, PATCH, DELETE, OPTIONS")]),
    ("OPTIONS", "all/", 204, b"", [NO_STORE, MARK, ("Allow", "GET, HEAD, OPTIONS")]),
    ("GET", "nothing/here/", 404, NOT_FOUND, GOOD),
    ("POST", "token/", 413, PAGE, [("Content-Type", "text/html; charset=iso-8859-1")]),
])
def test_right_answers(method, path, status, body, headers):
    hold(method, path, status, body, headers)


@pytest.mark.parametrize("why, method, path, status, body, headers", [
    ("a member more", "POST", "token/", 200, dict(PAIR, user="x"), GOOD),
    ("a member less", "POST", "token/", 200, {"access": "a.b.c"}, GOOD),
    ("a member of another shape", "POST", "token/", 200, dict(PAIR, access="a"), GOOD),
    ("what another path answers", "GET", "currentUser/", 200, PAIR, GOOD),
    ("a member more, deep", "GET", "linked-accounts/", 200,
     {"providers": [{"label": "X", "is_linked": False, "name": "x", "email": None, "linked_at": None,
                     "subject": "1"}]}, GOOD),
    ("null where it may not be", "GET", "currentUser/", 200, dict(USER, id=None), GOOD),
    ("another status", "POST", "token/", 201, PAIR, GOOD),
    ("a refusal that does not occur", "GET", "currentUser/", 403, FORBIDDEN, GOOD),
    ("another word", "GET", "currentUser/", 401, dict(NOT_AUTHENTICATED, error="forbidden"),
     GOOD + [CHALLENGE]),
    ("another text", "GET", "currentUser/", 401, dict(NOT_AUTHENTICATED, detail="No."),
     GOOD + [CHALLENGE]),
    ("no word", "POST", "github/login/", 400, {"code": ["This field is required."]}, GOOD),
    ("a field nobody sends there", "POST", "github/login/", 400, {"email": ["…"], "error": "invalid"}, GOOD),
    ("an RFC 6749 refusal of the other dialect", "GET", "currentUser/", 401, INVALID_CLIENT,
     GOOD + [CHALLENGE]),
    ("the other dialect's refusal", "POST", "introspect", 400,
     {"token": ["This field is required."], "error": "required"}, GOOD),
    ("a forbidden character", "POST", "introspect", 400,
     {"error": "invalid_request", "error_description": 'a "b"'}, GOOD),
    ("no challenge", "GET", "currentUser/", 401, NOT_AUTHENTICATED, GOOD),
    ("another challenge", "GET", "currentUser/", 401, NOT_AUTHENTICATED,
     GOOD + [("WWW-Authenticate", 'Basic realm="api"')]),
    ("no Retry-After", "POST", "github/login/", 429, THROTTLED, GOOD),
    ("no number in Retry-After", "POST", "github/login/", 429, THROTTLED, GOOD + [("Retry-After", "0")]),
    ("no Cache-Control", "POST", "token/", 200, PAIR, [MARK, JSON]),
    ("another Cache-Control", "POST", "token/", 200, PAIR, [MARK, JSON, ("Cache-Control", "no-cache")]),
    ("Cache-Control twice", "POST", "token/", 200, PAIR, GOOD + [NO_STORE]),
    ("another type", "POST", "token/", 200, PAIR, [NO_STORE, MARK, ("Content-Type", "text/plain")]),
    ("no type", "POST", "token/", 200, PAIR, [NO_STORE, MARK]),
    ("no body", "POST", "token/", 200, b"", GOOD),
    ("a body", "DELETE", "sessions/123/", 204, {}, GOOD),
    ("a wrong body where one may be", "POST", "create/", 201, {}, GOOD),
    ("a cookie that scripts read", "POST", "token/", 200, PAIR, GOOD + [("Set-Cookie", "sa-access=x")]),
    ("an unknown path that works", "POST", "nothing/", 200, {}, GOOD),
    ("an unknown method that works", "PUT", "currentUser/", 200, USER, GOOD),
    ("no Allow", "PUT", "currentUser/", 405, WRONG_METHOD, GOOD),
    ("an Allow with too few", "PUT", "currentUser/", 405, WRONG_METHOD,
     GOOD + [("Allow", "GET, HEAD, OPTIONS")]),
    ("an Allow with too many", "OPTIONS", "all/", 204, b"",
     [NO_STORE, MARK, ("Allow", "GET, HEAD, DELETE, OPTIONS")]),
    ("404 where all is there", "GET", "currentUser/", 404, NOT_FOUND, GOOD),
    ("405 of a method that is there", "GET", "currentUser/", 405, WRONG_METHOD, GOOD),
    ("JSON without the handler's mark", "POST", "token/", 200, PAIR, [NO_STORE, JSON]),
    ("JSON without it, refused", "GET", "currentUser/", 401, NOT_AUTHENTICATED, [NO_STORE, JSON, CHALLENGE]),
    ("a page that is no error", "GET", "currentUser/", 200, PAGE, [("Content-Type", "text/html")]),
    ("304 of what is not cached", "GET", "currentUser/", 304, b"", [NO_STORE]),
])
def test_wrong_answers_are_found(why, method, path, status, body, headers):
    with pytest.raises(openapi.Wrong):
        hold(method, path, status, body, headers)


def test_other_paths_are_not_held():
    openapi.hold("/mount", "GET", "/mounted/token/", Answer(299, [MARK], b"?"))


@pytest.fixture
def liar():
    """A server that answers everything in the same wrong way."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            for name, value in GOOD + [("Content-Length", "2")]:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *arguments):
            pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_browser_holds_its_answers(liar):
    browser = Browser(liar)
    assert browser.get("/elsewhere/currentUser/").status == 200
    with pytest.raises(openapi.Wrong, match="currentUser"):
        browser.get("currentUser/")
    browser.close()


# ---- served

@pytest.fixture(scope="module")
def built():
    with open(os.path.join(paths.BUILD, "conf", "openapi.json"), encoding="utf-8") as f:
        return json.load(f)


def test_served_as_built(browser, built):
    answer = browser.get("openapi.json")
    assert answer.status == 200
    assert answer.json() == built
    assert built["info"]["title"] == "mod_social_auth"
    assert built["info"]["version"][0].isdigit()
    assert "@" not in json.dumps(built["info"])
    assert browser.get("openapi.json/").body == answer.body
    head = browser.request("HEAD", "openapi.json")
    assert head.body == b"" and head.header("Content-Length") == str(len(answer.body))
    assert head.header("ETag") == answer.header("ETag")


def test_not_sent_twice(browser):
    answer = browser.get("openapi.json")
    etag = answer.header("ETag")
    assert etag.strip('"') and answer.header("Cache-Control") == "no-cache"
    again = browser.get("openapi.json", headers={"If-None-Match": etag})
    assert again.status == 304 and again.body == b""
    assert again.header("ETag") == etag and again.header("Cache-Control") == "no-cache"
    assert browser.get("openapi.json", headers={"If-None-Match": '"other"'}).body == answer.body


def test_read_from_another_origin(make_site):
    site = make_site(mount="SocialAuthAllowOrigin https://docs.example")
    answer = site.browser(origin="https://docs.example").get("openapi.json")
    assert answer.header("Access-Control-Allow-Origin") == "https://docs.example"
    assert answer.header("Vary") == "Origin"
    assert site.browser(origin="https://evil.example").get(
        "openapi.json").header("Access-Control-Allow-Origin") is None


def test_paths_hang_below_the_server(browser, built):
    """A relative server URL is resolved against the document's own; tools then append the path, some
    without looking at the slash that is there already."""
    server, = built["servers"]
    assert server["url"] == "./"
    for path in ("/", "//"):
        answer = browser.fetch("GET", browser.mount + path + ".well-known/jwks.json")
        assert answer.status == 200, answer
