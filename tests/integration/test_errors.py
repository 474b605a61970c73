"""Every row of CONTRACT section 1's table of errors, body for body; and methods, content
types, slashes, HEAD, OPTIONS."""
import json
import re

import pytest

from support import check, jose, vectors
from support.client import raw_one
from support.check import BLANK, NOT_STRING, NULL, REQUIRED
from support.fake_provider import Reply
from support.site import STRONG

GETS = ["github/state", "google/state", "linked-accounts", ".well-known/jwks.json"]
POSTS = ["github/login", "google/login", "github/link", "google/link", "github/unlink", "token",
         "token/refresh", "token/verify", "token/blacklist"]
BEARER = ["github/link", "google/link", "github/unlink"]

# path, fields that must be there (as the first choice names them)
FIELDS = [("github/login", ("code", "state")), ("google/login", ("token",)), ("token/refresh", ("refresh",)),
          ("token/verify", ("token",)), ("token/blacklist", ("refresh",)),
          ("github/link", ("code", "state")), ("google/link", ("token",))]


@pytest.fixture
def access(site):
    return site.tokens(site.github_login())["access"]


def bearer_for(path, access):
    return access if path in BEARER else None


def with_slash(paths):
    return [p + s for p in paths for s in ("", "/")]


# ---- fields

@pytest.mark.parametrize("path,fields", FIELDS)
@pytest.mark.parametrize("slash", ["", "/"])
def test_missing_fields_all_at_once(site, access, path, fields, slash):
    browser, bearer = site.browser(), bearer_for(path, access)
    for send in (dict(json={}), dict(form={}), dict(json={"x": 1}), dict()):
        answer = browser.request("POST", path + slash, bearer=bearer, **send)
        check.field_refused(answer, "required", **{f: REQUIRED for f in fields})


@pytest.mark.parametrize("path,fields", FIELDS)
def test_blank_null_and_other_types(site, access, path, fields):
    browser, bearer = site.browser(), bearer_for(path, access)
    for value, word, text in (("", "blank", BLANK), ("   ", "blank", BLANK), (None, "null", NULL),
                              ([], "invalid", NOT_STRING), ({}, "invalid", NOT_STRING),
                              (True, "invalid", NOT_STRING), (["a"], "invalid", NOT_STRING)):
        answer = browser.request("POST", path, json={f: value for f in fields}, bearer=bearer)
        check.field_refused(answer, word, **{f: text for f in fields})


def test_field_errors_are_mixed(site, browser):
    answer = browser.post("github/login/", {"code": ""})
    assert answer.status == 400
    body = answer.json()
    assert body.pop("error") in ("blank", "required")
    assert body == {"code": [BLANK], "state": [REQUIRED]}


def test_token_pair_fields(site, browser):
    answer = browser.post("token/", {})
    body = answer.json()
    assert answer.status == 400 and body.pop("error") == "required"
    assert body in ({"username": [REQUIRED], "password": [REQUIRED]},
                    {"email": [REQUIRED], "password": [REQUIRED]}), body
    check.field_refused(browser.post("token/", {"email": "a@b.example"}), "required", password=REQUIRED)
    check.field_refused(browser.post("token/", {"username": "", "password": ""}), "blank",
                        username=BLANK, password=BLANK)
    check.field_refused(browser.post("token/", {"email": None, "password": "x"}), "null", email=NULL)


def test_blank_form_fields(site, browser):
    check.field_refused(browser.request("POST", "github/login", form={"code": "", "state": ""}), "blank",
                        code=BLANK, state=BLANK)


@pytest.mark.parametrize("path,field", [("github/login", "code"), ("github/login", "state"),
                                        ("google/login", "token"), ("token/refresh", "refresh"),
                                        ("token/verify", "token"), ("token", "password")])
def test_T98_nul_in_a_field(site, browser, path, field):
    body = {"code": "c", "state": "s", "token": "t", "refresh": "r", "username": "u", "password": "p"}
    body = {k: v for k, v in body.items() if path != "github/login" or k != "token"}
    body[field] = "a\x00b"
    answer = browser.post(path, body)
    assert answer.status in (400, 401), answer
    assert site.provider.asked() == []
    form = browser.request("POST", path, form=body)
    assert form.status in (400, 401), form


# ---- bodies that are none

JSON_BODIES = [b"{", b"x", b"[1,2", b'{"a":1,}', b"{'a':1}", b'{"a":1}x', b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}",
               b'{"code":"\xff"}', b'{"code":"\xed\xa0\x80"}', b'{"code":"\\ud800"}', b'{"a":NaN}',
               b'{"code":"a","code":"b"}', b"[" * 3000, b'{"a":' * 3000, b'{"code":1e999}', b"\x00",
               b'{"code":"\\u0000"}']


@pytest.mark.parametrize("body", JSON_BODIES, ids=lambda b: repr(b[:20]))
def test_T99_T102_body_is_not_json(site, browser, body):
    answer = browser.request("POST", "github/login/", body=body, content_type="application/json")
    assert answer.status == 400, answer
    got = answer.json()
    assert got["error"] == "parse_error" and set(got) == {"error", "detail"}, answer
    assert got["detail"].startswith("JSON parse error - "), answer


@pytest.mark.parametrize("body", [b"[]", b"1", b'"x"', b"null", b"true", b"[{}]"])
def test_json_that_is_no_object(site, browser, body):
    answer = browser.request("POST", "github/login/", body=body, content_type="application/json")
    assert answer.status == 400, answer
    assert "error" in answer.json()


@pytest.mark.parametrize("body", [b"code=%", b"code=%0", b"code=%zz&state=1", b"code=%00&state=1",
                                  b"code=%ff&state=s", b"code=a&code=b&state=s", b"&&&&", b"=", b"a[]=",
                                  b"=x&=y", b"%=", b"code", b"&code&", b"?&", b";" * 50, b"a=1&" * 10000])
def test_T105_T13_form_bodies(site, browser, body):
    answer = browser.request("POST", "github/login/", body=body,
                             content_type="application/x-www-form-urlencoded")
    assert answer.status == 400, answer
    check.json_headers(answer)
    assert site.provider.asked() == []


def test_T13_query_is_no_body(site, browser):
    answer = browser.request("POST", "github/login/?code=a&state=b")
    check.field_refused(answer, "required", code=REQUIRED, state=REQUIRED)


# ---- content types

@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("content_type", [
    "text/plain", "multipart/form-data; boundary=x", "application/xml", "application/jsonx", "text/json",
    "application", ";", "application/json, text/plain", "application/x-www-form-urlencodedx", " "])
def test_T190_T108_wrong_content_type(site, access, path, content_type):
    answer = site.browser().request("POST", path, body=b'{"code":"a","state":"b"}',
                                    content_type=content_type, bearer=bearer_for(path, access))
    assert answer.status == 415, answer
    check.json_headers(answer)
    body = answer.json()
    assert body["error"] == "unsupported_media_type" and set(body) == {"error", "detail"}


@pytest.mark.parametrize("path", POSTS)
def test_T108_body_without_content_type(site, access, path):
    answer = site.browser().request("POST", path, body=b'{"code":"a"}', bearer=bearer_for(path, access))
    assert answer.status in (415, 400), answer
    assert "error" in answer.json()


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8",
                                          "APPLICATION/JSON", "application/json;charset=UTF-8",
                                          "application/json ; x=y"])
def test_json_content_types(site, content_type):
    browser = site.browser()
    state = site.state(browser)["state"]
    body = json.dumps({"code": site.provider.github.code(site.provider.github.user()), "state": state})
    check.signed_in(browser.request("POST", "github/login/", body=body, content_type=content_type))


def test_T190_other_charset(site, browser):
    answer = browser.request("POST", "github/login/", body='{"code":"a","state":"b"}'.encode("utf-16"),
                             content_type="application/json; charset=utf-16")
    assert answer.status in (400, 415), answer


def test_T190_two_content_types(site, browser):
    answer = browser.request("POST", "github/login/", body=b"code=a&state=b",
                             headers=[("Content-Type", "application/json"),
                                      ("Content-Type", "application/x-www-form-urlencoded")])
    assert answer.status in (400, 415), answer


# ---- sizes

@pytest.mark.parametrize("path", ["github/login", "token", "token/refresh"])
def test_T184_body_too_large(site, path):
    for body, content_type in ((b'{"code":"' + b"a" * 66000 + b'"}', "application/json"),
                               (b"code=" + b"a" * 66000, "application/x-www-form-urlencoded")):
        answer = site.browser().request("POST", path, body=body, content_type=content_type)
        assert answer.status == 413, answer
        check.json_headers(answer)
        assert answer.word == "body_too_large"
        assert set(answer.json()) == {"error", "detail"}


def test_body_limit_is_a_setting(make_site):
    site = make_site(mount="SocialAuthMaxBody 1024")
    assert site.browser().post("github/login/", {"code": "x" * 2000}).status == 413
    assert site.browser().post("github/login/", {"code": "x" * 500}).status == 400


# ---- methods

@pytest.mark.parametrize("path", with_slash(GETS))
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "FOO"])
def test_get_paths_refuse_other_methods(site, path, method):
    wrong_method(site.browser().request(method, path), method, {"GET", "HEAD", "OPTIONS"})


@pytest.mark.parametrize("path", with_slash(POSTS))
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "FOO"])
def test_T124_post_paths_refuse_other_methods(site, path, method):
    wrong_method(site.browser().request(method, path), method, {"POST", "OPTIONS"})


def wrong_method(answer, method, allowed):
    check.refusal(answer, 405, "method_not_allowed", {"detail": 'Method "%s" not allowed.' % method})
    assert set(re.split(r",\s*", answer.header("Allow"))) == allowed, answer


@pytest.mark.parametrize("path", with_slash(POSTS))
def test_head_on_a_post_path(site, path):
    answer = site.browser().request("HEAD", path)
    assert answer.status == 405 and answer.body == b"", answer
    assert "POST" in answer.header("Allow")


@pytest.mark.parametrize("path", with_slash(GETS))
def test_head_is_get_without_a_body(site, access, path):
    browser = site.browser()
    get, head = (browser.request(m, path, bearer=access) for m in ("GET", "HEAD"))
    assert (get.status, head.status, head.body) == (200, 200, b"")
    assert head.header("Content-Type") == get.header("Content-Type")
    assert head.header("Cache-Control") == get.header("Cache-Control")


def test_T102_method_that_is_no_text(make_site):
    """httpd passes any bytes on when told to; what is answered is JSON all the same."""
    site = make_site(more="HttpProtocolOptions Unsafe")
    answer = raw_one(site.port, b"\xff\xfe /api/social-auth/token/ HTTP/1.1\r\nHost: localhost\r\n"
                                b"Connection: close\r\n\r\n")
    assert answer.status == 405 and answer.word == "method_not_allowed", answer


@pytest.mark.parametrize("path", with_slash(GETS + POSTS))
def test_options(site, path):
    answer = site.browser().request("OPTIONS", path)
    assert answer.status in (200, 204), answer
    allowed = set(re.split(r",\s*", answer.header("Allow")))
    assert allowed == ({"GET", "HEAD", "OPTIONS"} if path.rstrip("/") in GETS else {"POST", "OPTIONS"})
    assert answer.header("Access-Control-Allow-Origin") is None


def test_trace_and_connect(site):
    for method in (b"TRACE", b"CONNECT"):
        answer = raw_one(site.port, method + b" /api/social-auth/token/ HTTP/1.1\r\nHost: localhost\r\n"
                                             b"Connection: close\r\n\r\n")
        assert answer.status in (400, 404, 405), answer


# ---- paths

@pytest.mark.parametrize("path", ["", "/", "nosuch", "github", "github/", "github/nosuch/", "github/login/x",
                                  "token/x", "tokens", "state", "login", "github/state/state",
                                  "linked-accounts/1", "github/login/login"])
def test_T177_unknown_paths(site, browser, path):
    target = site.settings.path + ("" if path in ("", "/") else "/") + path
    for method in ("GET", "POST"):
        answer = browser.request(method, target)
        assert answer.status == 404, (method, path, answer)
        check.refusal(answer, 404, "not_found", {"detail": "Not found."})


@pytest.mark.parametrize("case", vectors.cases("hostile/http_inputs.json", "path_variant"))
def test_T177_path_variants(site, case):
    """Another spelling is the same endpoint with all its rules, or nothing."""
    path = case["value"].replace("/auth", site.settings.path, 1).replace("/AUTH", site.settings.path.upper(), 1)
    path = path.replace("/login", "/github/login").replace("/%6Cogin", "/github/%6Cogin")
    for method in (b"GET", b"POST"):
        answer = raw_one(site.port, method + b" " + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\n"
                                             b"Content-Length: 0\r\nConnection: close\r\n\r\n")
        if answer.status in (404, 403):
            continue
        assert answer.status == (405 if method == b"GET" else 400), (path, answer)
        assert answer.json()["error"] in ("method_not_allowed", "required"), answer


def test_other_urls_are_not_ours(site, browser):
    for path in ("/", "/api", "/api/", "/api/social-authx/token/", "/api/social-aut"):
        answer = browser.get(path)
        assert answer.status in (403, 404) and b'"error"' not in answer.body, (path, answer)


# ---- who

def test_no_credentials(site, browser):
    for path in BEARER:
        check.not_signed_in(browser.post(path, {}))
    check.not_signed_in(browser.get("linked-accounts"))


def test_bad_token(site, browser):
    for path in BEARER:
        check.access_refused(browser.post(path, {}, bearer="x.y.z"))
    check.access_refused(browser.get("linked-accounts", bearer="x.y.z"))


def test_expired_token(make_site):
    site = make_site(mount="SocialAuthAccessTokenLifetime 60", faketime="+0", private=True)
    site.httpd.set_clock("+0")
    access = site.tokens(site.github_login())["access"]
    site.httpd.set_clock("+30")
    assert site.browser().get("linked-accounts/", bearer=access).status == 200
    site.httpd.set_clock("+62")
    check.access_refused(site.browser().get("linked-accounts/", bearer=access))
    answer = site.browser().post("token/verify/", {"token": access})
    check.refresh_refused(answer)


def test_refused_refresh_and_verify_have_the_short_body(site, browser):
    check.refresh_refused(browser.post("token/refresh/", {"refresh": "x"}))
    check.refresh_refused(browser.post("token/verify/", {"token": "x"}))
    check.refresh_refused(browser.post("token/blacklist/", {"refresh": "x"}))


def test_wrong_password_body(site, browser):
    check.refused(browser.post("token/", {"email": "a@b.example", "password": "x"}), "bad_credentials")


# ---- providers and accounts

def test_state_invalid_body(site, browser):
    check.refused(browser.post("github/login/", {"code": "c", "state": "s"}), "state_invalid")


def test_provider_rejected_body(site, browser):
    state = site.state(browser)["state"]
    check.refused(browser.post("github/login/", {"code": "c", "state": state}), "provider_rejected",
                  "GitHub")


def test_provider_unavailable_body(site):
    site.expect_log("github|GitHub")
    with site.provider.scripted("/github/token", Reply(drop=True)):
        check.refused(site.github_login(), "provider_unavailable", "GitHub")


def test_provider_timeout_body(make_site):
    site = make_site(mount="SocialAuthTimeout connect=1 total=1")
    site.expect_log("github|GitHub")
    with site.provider.scripted("/github/token", Reply(hang=True)):
        check.refused(site.github_login(), "provider_timeout", "GitHub")


def test_id_token_refused_body(site, browser):
    check.refused(browser.post("google/login/", {"token": "x.y.z"}), "id_token_invalid", "Google")


def test_email_bodies(site):
    check.refused(site.google_login(email_verified=False), "email_unverified", "Google")
    check.refused(site.github_login(user=site.provider.github.user(emails=[])), "email_missing", "GitHub")


def test_account_exists_body(site):
    site.make_user("ada@example.com", email_verified=False)
    answer = site.github_login(user=site.provider.github.user(email="ada@example.com"))
    check.refused(answer, "account_exists", "GitHub")


def test_identity_taken_body(site):
    user = site.provider.github.user()
    site.github_login(user=user)
    access = site.tokens(site.google_login())["access"]
    browser = site.browser()
    state = site.state(browser)["state"]
    answer = browser.post("github/link/", {"code": site.provider.github.code(user), "state": state},
                          bearer=access)
    check.refused(answer, "identity_taken", "GitHub")


def test_account_unavailable_body(site):
    user = site.provider.github.user(email="ada@example.com")
    site.github_login(user=user)
    site.db.ctl("users", "deactivate", "ada@example.com")
    check.refused(site.github_login(user=user), "account_unavailable")


def test_unlink_bodies(site):
    site.make_user("ada@example.org")
    access = site.tokens(site.password_login("ada@example.org"))["access"]
    browser = site.browser()
    check.refusal(browser.post("github/unlink/", bearer=access), 400, "not_linked",
                  {"non_field_errors": ["No linked github account found."]})
    only = site.tokens(site.github_login())["access"]
    check.refused(browser.post("github/unlink/", bearer=only), "last_login_method")
    browser.post("google/link/", {"token": site.provider.google.id_token()}, bearer=access)
    check.refused(browser.post("google/unlink/", {"password": "wrong"}, bearer=access), "wrong_password")


def test_throttled_body(make_site):
    site = make_site(throttle="2/minute")
    browser = site.browser(source="127.0.0.77")
    for _ in range(2):
        browser.get("github/state/")
    throttled(browser.get("github/state/"))


def throttled(answer):
    assert answer.status == 429, answer
    check.json_headers(answer)
    seconds = int(answer.header("Retry-After"))
    body = answer.json()
    assert 1 <= seconds <= 60
    assert body["error"] == "throttled"
    match = re.match(r"^Request was throttled\. Expected available in (\d+) seconds?\.$", body["detail"])
    assert match and int(match.group(1)) == seconds, answer
    assert set(body) == {"error", "detail"}


@pytest.mark.db
def test_database_unreachable_body(make_site, databases, cell):
    if cell[1] == "pgsql":
        cluster = databases.cluster("pg-down")
        site = make_site(database=databases.make("pgsql", cluster), mount="SocialAuthDBTimeout 2")
        cluster.stop("immediate")
    else:
        import os
        site = make_site(database=databases.make("sqlite3"), mount="SocialAuthDBTimeout 2")
        os.rename(site.db.path, site.db.path + ".away")
        os.mkdir(site.db.path)
        site.httpd.stop()          # an open connection would still see the renamed file
        site.httpd.start()
    site.expect_log(r".")
    check.refused(site.google_login(with_state=False), "unavailable")
    check.refused(site.password_login("a@b.example"), "unavailable")
    assert site.browser().get("github/state/").status == 200       # needs none


def test_schema_missing(make_site, databases, cell):
    site = make_site(database=databases.make(cell[1], migrated=False))
    site.expect_log(r".")
    check.refused(site.google_login(), "unavailable")
    assert "socialauthctl migrate" in site.httpd.recent_log()


# ---- headers of every answer

def test_T167_headers_everywhere(site, access):
    browser = site.browser()
    answers = [browser.get("github/state/"), browser.get("linked-accounts/", bearer=access),
               browser.get("linked-accounts/"), browser.post("github/login/", {}), browser.get("nosuch"),
               browser.get("token/"), browser.request("POST", "token/", body=b"{", content_type="application/json"),
               browser.request("POST", "token/", body=b"x", content_type="text/plain")]
    for answer in answers:
        check.json_headers(answer)
        assert answer.header("X-Content-Type-Options") == "nosniff", answer
        assert answer.header("ETag") is None and answer.header("Last-Modified") is None
        json.loads(answer.body)


def test_T169_answers_hold_no_inner_words(site, access):
    browser = site.browser()
    answers = [browser.post("github/login/", {"code": "'\"<script>", "state": "'"}),
               browser.get("<script>alert(1)</script>"), browser.get("nosuch%3Cscript%3E"),
               browser.post("token/", {"username": "'; DROP TABLE sa_users;--", "password": "x"})]
    for answer in answers:
        for word in ("SELECT", "sqlite", "psql", "/src/", ".c:", "<script"):
            assert word not in answer.text, answer


@pytest.mark.parametrize("value", ["x' OR '1'='1", "%s%n%x%p", "$1", "?1", ":a", "\\", "\"", "`", "–", "\u202e"])
def test_T109_metacharacters_are_text(site, value):
    browser = site.browser()
    for path, body in (("token/", {"username": value, "password": value}),
                       ("token/", {"email": value, "password": value}),
                       ("token/refresh/", {"refresh": value}), ("google/login/", {"token": value}),
                       ("github/login/", {"code": value, "state": value})):
        answer = browser.post(path, body)
        assert answer.status in (400, 401), answer
    site.make_user("q@example.org", username=value + "u", password=STRONG)
    check.signed_in(browser.post("token/", {"username": value + "u", "password": STRONG}))


def test_error_key_is_on_every_refusal(site):
    """And never on success."""
    tokens = site.tokens(site.github_login())
    assert "error" not in tokens and jose.claims_of(tokens["access"])
