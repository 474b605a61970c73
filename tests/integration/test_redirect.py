"""The redirect flow: login/{backend}/, the provider, complete/{backend}/ (threat sections A and H)."""
import hashlib
import os
import re
import urllib.parse

import pytest

from support import check, jose, vectors
from support.client import Browser, at_once
from support.fake_provider import GITHUB_CLIENT, GOOGLE_CLIENT, Reply

pytestmark = pytest.mark.db
ACCESS, REFRESH = "__Host-sa-access", "__Secure-sa-refresh"
STATE = re.compile(r"^__Host-sa-state-[0-9a-f]{8}$")
APP = "https://app.example.test"
BACKENDS = pytest.mark.parametrize("backend", ["github", "google"])


@pytest.fixture
def shop(make_site, provider):
    """shop(mode, further lines) -> a site whose GitHub and Google know who comes by"""
    def make(mode="cookie", *lines, **kw):
        kw.setdefault("providers", [provider.github.options, provider.google.code_options])
        site = make_site(mount="\n".join(["SocialAuthTokenDelivery " + mode, *lines]), **kw)
        provider.github.visitor = provider.github.user()
        provider.google.visitor = {"sub": "77"}
        return site
    return make


# ---- the steps, as a browser takes them

def start(browser, backend="github", query="", **kw):
    return browser.get("login/%s/%s" % (backend, query), **kw)


def target(answer):
    """Where a 302 goes -> (URL without query, its fields)"""
    assert answer.status == 302 and answer.body == b"", answer
    assert answer.header("Cache-Control") == "no-store", answer
    assert answer.header("Referrer-Policy") == "no-referrer", answer
    url, _, query = answer.header("Location").partition("?")
    return url, dict(urllib.parse.parse_qsl(query, keep_blank_values=True))


def at_provider(site, answer):
    """The browser at the provider -> the way back, as a target of our server"""
    url = urllib.parse.urlsplit(answer.header("Location"))
    visit = Browser(site.provider.port, mount="", held=False)
    back = visit.get("%s?%s" % (url.path, url.query))
    visit.close()
    assert back.status == 302, back
    found = urllib.parse.urlsplit(back.header("Location"))
    assert "%s://%s" % (found.scheme, found.netloc) == site.url
    return "%s?%s" % (found.path, found.query)


def with_field(way_back, name, value):
    path, _, query = way_back.partition("?")
    fields = dict(urllib.parse.parse_qsl(query))
    fields[name] = value
    return path + "?" + urllib.parse.urlencode({k: v for k, v in fields.items() if v is not None})


def sign_in(site, browser=None, backend="github", query=""):
    browser = browser or site.browser()
    return browser.get(at_provider(site, start(browser, backend, query)))


def signed_in(browser, answer, where):
    """The cookies are there and work; the state's own is gone."""
    assert target(answer)[0] == where.partition("?")[0]
    assert answer.header("Location") == where
    assert set(browser.cookies) == {ACCESS, REFRESH}, browser.cookies
    assert browser.get("linked-accounts/").status == 200
    return jose.claims_of(browser.cookies[ACCESS])["sub"]


def nobody(site, answer, word):
    """Refused in JSON, no token cookie, no session."""
    check.json_headers(answer)
    assert answer.word == word, answer
    assert not {ACCESS, REFRESH} & set(answer.set_cookies()), answer
    assert site.db.value("SELECT count(*) FROM sa_sessions") == 0


# ---- what works

@pytest.mark.parametrize("mode", ["cookie", "both"])
def test_T7_T12_T135_github(shop, mode):
    site = shop(mode)
    browser = site.browser()
    answer = start(browser, query="?next=/welcome%3Fa%3D1%26b%3D2")
    where, asked = target(answer)
    assert where == site.provider.url + "/github/authorize"
    challenge, state = asked.pop("code_challenge"), asked.pop("state")
    assert len(challenge) == 43 and len(state) <= 1024
    assert asked == {"response_type": "code", "client_id": GITHUB_CLIENT,
                     "redirect_uri": site.issuer + "/complete/github/",
                     "scope": "read:user user:email", "code_challenge_method": "S256"}
    (name, (_, attributes)), = answer.set_cookies().items()
    assert STATE.match(name) and attributes["samesite"] == "Lax" and "httponly" in attributes
    answer = browser.get(at_provider(site, answer), headers={"Sec-Fetch-Site": "cross-site"})
    signed_in(browser, answer, "/welcome?a=1&b=2")
    cookies = answer.set_cookies()
    assert set(cookies) == {name, ACCESS, REFRESH} and cookies[name][1]["max-age"] == "0"
    assert cookies[ACCESS][1] == {"max-age": "3600", "path": "/", "secure": "", "httponly": "",
                                  "samesite": "Lax"}
    sent, = site.provider.asked("/github/token")
    assert jose.b64(hashlib.sha256(sent.form["code_verifier"].encode()).digest()) == challenge
    assert sent.form["redirect_uri"] == site.issuer + "/complete/github/"


@pytest.mark.parametrize("backend", ["google", "google-oauth2"])
def test_google_by_both_names(shop, backend):
    site = shop()
    browser = site.browser()
    answer = start(browser, backend)
    where, asked = target(answer)
    assert where == site.provider.url + "/google/authorize"
    assert asked["client_id"] == GOOGLE_CLIENT and asked["scope"] == "openid email profile"
    assert asked["redirect_uri"] == "%s/complete/%s/" % (site.issuer, backend)
    assert len(asked["nonce"]) == 43 and asked["nonce"] != asked["code_challenge"]
    user = signed_in(browser, browser.get(at_provider(site, answer)), "/")
    assert site.links() == [("https://accounts.google.com", "77")]
    assert str(site.db.value("SELECT user_id FROM sa_links")) == user


def test_it_is_the_login_that_a_front_end_makes(shop):
    """One user, one link, the same events, whichever way in."""
    site = shop("both")
    browser = site.browser()
    user = signed_in(browser, sign_in(site, browser), "/")
    again = site.tokens(site.github_login(user=site.provider.github.visitor))
    assert site.user_id(again) == user
    assert len(site.links()) == 1
    assert [row[0] for row in site.db.query("SELECT amr FROM sa_sessions")] == ["github"] * 2


def test_T7_every_flow_has_its_own_secrets(shop):
    site = shop()
    seen = [target(start(site.browser(), "google"))[1] for _ in range(20)]
    for name in ("state", "nonce", "code_challenge"):
        assert len({asked[name] for asked in seen}) == 20


def test_two_tabs_at_once(shop):
    site = shop()
    browser = site.browser()
    first, second = [at_provider(site, start(browser, query="?next=" + n)) for n in ("/a", "/b")]
    assert browser.get(second).header("Location") == "/b"
    assert browser.get(first).header("Location") == "/a"


def test_the_refresh_cookie_works(shop):
    site = shop()
    browser = site.browser()
    sign_in(site, browser)
    answer = browser.post("token/refresh/", headers={"Sec-Fetch-Site": "same-origin",
                                                     "X-Requested-With": "XMLHttpRequest"})
    assert answer.status == 200, answer


# ---- whose login it is

@pytest.mark.parametrize("binding", ["auto", "required", "off"])
@BACKENDS
def test_T1_a_way_back_is_for_the_browser_that_set_out(shop, backend, binding):
    """The attacker's own code and state do nothing in the victim's browser."""
    site = shop("cookie", "SocialAuthStateBinding " + binding, "SocialAuthAllowOrigin " + APP)
    attacker, victim = site.browser(), site.browser(origin=APP)
    way_back = at_provider(site, start(attacker, backend))
    start(victim, backend)
    nobody(site, victim.get(way_back), "state_invalid")
    assert site.provider.asked("/%s/token" % backend) == []
    signed_in(attacker, attacker.get(way_back), "/")


def test_T1_T2_a_way_back_is_good_once(shop):
    site = shop()
    browser = site.browser()
    way_back = at_provider(site, start(browser))
    cookies = dict(browser.cookies)
    again = [site.browser() for _ in range(8)]
    for each in again:
        each.cookies = dict(cookies)
    statuses = sorted(a.status for a in at_once([lambda b=b: b.get(way_back) for b in again]))
    assert statuses == [302] + [400] * 7
    assert len(site.provider.asked("/github/token")) == 1


def test_T3_states_of_the_two_flows_are_not_exchanged(shop):
    site = shop("both")
    browser = site.browser()
    way_back = at_provider(site, start(browser))
    fields = dict(urllib.parse.parse_qsl(way_back.partition("?")[2]))
    nobody(site, browser.post("github/login/", fields), "state_invalid")
    other = site.state(browser)["state"]
    nobody(site, browser.get(with_field(way_back, "state", other)), "state_invalid")
    for bad in (fields["state"][:-1], fields["state"] + "A", "", None):
        nobody(site, browser.get(with_field(way_back, "state", bad)), "state_invalid")
    assert site.provider.asked("/github/token") == []
    assert browser.get(way_back).status == 302


def test_T5_T6_a_way_back_of_another_provider(shop):
    site = shop()
    browser = site.browser()
    way_back = at_provider(site, start(browser))
    nobody(site, browser.get(way_back.replace("/github/", "/google/")), "state_invalid")
    way_back = at_provider(site, start(browser, "google"))
    nobody(site, browser.get(with_field(way_back, "iss", "https://evil.test")),
           "provider_rejected")
    assert site.provider.asked("/github/token") == site.provider.asked("/google/token") == []
    way_back = at_provider(site, start(browser, "google"))
    assert browser.get(with_field(way_back, "iss", None)).status == 302


@BACKENDS
def test_T8_the_victims_code_in_the_attackers_flow(shop, backend):
    site = shop()
    victim, attacker = site.browser(), site.browser()
    stolen = at_provider(site, start(victim, backend))
    code = dict(urllib.parse.parse_qsl(stolen.partition("?")[2]))["code"]
    own = at_provider(site, start(attacker, backend))
    nobody(site, attacker.get(with_field(own, "code", code)), "provider_rejected")


@pytest.mark.parametrize("nonce", [None, "another"])
def test_T18_the_nonce_was_sent_so_it_must_come_back(shop, nonce):
    site = shop()
    site.provider.google.visitor = {"sub": "77", "nonce": nonce}
    nobody(site, sign_in(site, backend="google"), "id_token_invalid")


def test_T136_a_login_replaces_what_was_there(shop):
    """Whoever planted session cookies, or a state's, does not have those of the login."""
    site = shop()
    mallory, browser = site.browser(), site.browser()
    site.provider.github.visitor = site.provider.github.user()
    sign_in(site, mallory)
    planted = dict(mallory.cookies)
    start(mallory)
    browser.cookies, browser.paths = dict(mallory.cookies), dict(mallory.paths)
    site.provider.github.visitor = site.provider.github.user()
    assert sign_in(site, browser).status == 302
    assert not set(planted.values()) & set(browser.cookies.values())
    assert jose.claims_of(browser.cookies[ACCESS])["sub"] != \
        jose.claims_of(planted[ACCESS])["sub"]


def test_T15_two_hundred_tabs(shop):
    site = shop()
    browser = site.browser()
    for _ in range(200):
        answer = start(browser, query="?next=/" + "x" * 300)
        assert answer.status == 302, answer
    assert len([name for name in browser.cookies if STATE.match(name)]) <= 8
    assert sum(len(k) + len(v) + 4 for k, v in answer.all_headers) < 8000
    browser.get(at_provider(site, start(browser)))
    assert browser.get("linked-accounts/").status == 200


def test_T16_starting_changes_nothing(shop):
    site = shop()
    browser = site.browser()
    sign_in(site, browser)
    before, session = site.db.dump(), browser.cookies[ACCESS]
    for headers in ({"Sec-Fetch-Dest": "image", "Sec-Fetch-Site": "cross-site"},
                    {"Sec-Purpose": "prefetch"}):
        answer = start(browser, headers=headers)
        assert all(STATE.match(name) for name in answer.set_cookies()), answer
    assert browser.cookies[ACCESS] == session and site.db.dump() == before


def test_a_look_at_the_headers_signs_nobody_in(shop):
    site = shop()
    browser = site.browser()
    answer = browser.request("HEAD", "login/github/")
    assert answer.status == 302 and answer.set_cookies() == {}, answer
    way_back = at_provider(site, start(browser))
    answer = browser.request("HEAD", way_back)
    assert answer.status == 204 and answer.set_cookies() == {}, answer
    signed_in(browser, browser.get(way_back), "/")


# ---- where it ends

def refused_next(site, value):
    browser = site.browser()
    answer = start(browser, query="?" + urllib.parse.urlencode({"next": value}))
    assert answer.set_cookies() == {} and answer.header("Location") is None, (value, answer)
    if len(value) > 8000:                               # LimitRequestLine
        assert answer.status == 414, answer
        return
    assert answer.status == 400, (value, answer)
    check.json_headers(answer)
    assert set(answer.json()) <= {"next", "error", "detail"}, answer


@pytest.mark.parametrize("case", vectors.cases("hostile/http_inputs.json", "return_to"))
def test_T9_next_vectors(shop, case):
    site = shop("cookie", "SocialAuthAllowOrigin " + APP)
    if case["expect"] == "refuse":
        refused_next(site, case["value"])
        return
    browser = site.browser()
    query = "?" + urllib.parse.urlencode({"next": case["value"]})
    signed_in(browser, sign_in(site, browser, query=query), case["value"])


@pytest.mark.parametrize("value", [
    "//evil.test", "/\\evil.test", "\t//evil.test", "/\x01", "/\x7f", "/a\r\nSet-Cookie: x=1",
    "/%0d%0aSet-Cookie:%20x=1", "/%5cevil.test", "https://app.example.test@evil.test/",
    "http://app.example.test/", "https://evil.test/", "javascript:alert(1)", "", "welcome",
    "/" + "x" * 512, "/\"><script>",
])
def test_T9_T14_hostile_next_by_hand(shop, value):
    refused_next(shop("cookie", "SocialAuthAllowOrigin " + APP), value)


def test_T9_own_and_listed_origins(shop):
    site = shop("cookie", "SocialAuthAllowOrigin " + APP)
    for where in (site.url + "/page?x=1#y", site.url, APP + "/page", "/" + "x" * 511):
        browser = site.browser()
        query = "?" + urllib.parse.urlencode({"next": where})
        answer = sign_in(site, browser, query=query)
        assert answer.status == 302 and answer.header("Location") == where, answer


def test_T9_an_origin_that_is_not_listed(shop):
    refused_next(shop(), APP + "/page")


def test_T10_the_host_header_does_not_say_where(shop):
    site = shop()
    for headers in ({"Host": "evil.test"}, {"X-Forwarded-Host": "evil.test"}):
        _, asked = target(start(site.browser(), headers=headers))
        assert asked["redirect_uri"] == site.issuer + "/complete/github/"


@pytest.mark.parametrize("query", ["?next=/a&next=/b", "?next=%zz", "?next=%00"])
def test_T13_malformed_login_query(shop, query):
    answer = start(shop().browser(), query=query)
    assert answer.status == 400 and answer.word == "parse_error", answer


@pytest.mark.parametrize("name", ["code", "state", "iss"])
def test_T13_a_field_twice(shop, name):
    site = shop()
    browser = site.browser()
    way_back = at_provider(site, start(browser, "google"))
    again = way_back + "&" + urllib.parse.urlencode({name: "x"})
    nobody(site, browser.get(again), "parse_error")
    assert site.provider.asked("/google/token") == []


@pytest.mark.parametrize("code", [None, ""])
def test_neither_code_nor_error(shop, code):
    site = shop()
    browser = site.browser()
    way_back = at_provider(site, start(browser))
    nobody(site, browser.get(with_field(way_back, "code", code)), "required")
    assert browser.get(way_back).status == 302          # nothing is used up


# ---- what goes wrong

def cancelled(site, browser):
    site.provider.github.visitor = None
    return browser.get(at_provider(site, start(browser))), 400, "provider_rejected"


def of_another_browser(site, browser):
    return browser.get(at_provider(site, start(site.browser()))), 400, "state_invalid"


def provider_is_down(site, browser):
    site.expect_log("SA0100: provider_unavailable: ")
    site.provider.script("/github/token", Reply(500))
    return sign_in(site, browser), 502, "provider_unavailable"


def provider_says_it_is_down(site, browser):
    site.expect_log("SA0100: provider_unavailable: ")
    way_back = at_provider(site, start(browser))
    way_back = with_field(with_field(way_back, "code", None), "error", "temporarily_unavailable")
    return browser.get(way_back), 502, "provider_unavailable"


def account_is_there(site, browser):
    site.make_user("ada@example.org", "ada", email_verified=False)
    site.provider.github.visitor = site.provider.github.user(email="ada@example.org")
    return sign_in(site, browser), 400, "account_exists"


def hostile_next(site, browser):
    return start(browser, query="?next=//evil.test"), 400, "invalid"


FAULTS = pytest.mark.parametrize("fault", [cancelled, of_another_browser, provider_is_down,
                                           provider_says_it_is_down, account_is_there,
                                           hostile_next], ids=lambda f: f.__name__)


@FAULTS
def test_T12_a_failure_is_json(shop, fault):
    site = shop()
    answer, status, word = fault(site, site.browser())
    assert answer.status == status, answer
    assert answer.header("Referrer-Policy") == "no-referrer", answer
    nobody(site, answer, word)


@pytest.mark.parametrize("page,shown", [("/sign-in", "/sign-in?error=%s"),
                                        (APP + "/?a=1#/in", APP + "/?a=1&error=%s#/in")])
@FAULTS
def test_T11_T12_a_failure_ends_at_the_page_for_it(shop, fault, page, shown):
    site = shop("cookie", "SocialAuthLoginErrorURL " + page)
    browser = site.browser()
    answer, _, word = fault(site, browser)
    target(answer)
    assert answer.header("Location") == shown % word
    assert not {ACCESS, REFRESH} & set(answer.set_cookies())
    assert site.db.value("SELECT count(*) FROM sa_sessions") == 0


def test_a_cancelled_login_uses_its_state_up(shop):
    site = shop()
    browser = site.browser()
    answer, _, _ = cancelled(site, browser)
    assert browser.cookies == {}, answer
    site.provider.github.visitor = site.provider.github.user()
    signed_in(browser, sign_in(site, browser), "/")


def test_T14_an_error_is_not_repeated(shop):
    site = shop()
    browser = site.browser()
    way_back = with_field(at_provider(site, start(browser)), "code", None)
    way_back = with_field(way_back, "error", "<script>alert(1)</script>")
    way_back = with_field(way_back, "error_description", "x\r\nSet-Cookie: evil=1")
    answer = browser.get(way_back)
    nobody(site, answer, "provider_rejected")
    assert "script" not in answer.text + str(answer.all_headers)
    assert "evil" not in str(answer.all_headers)
    assert "script" not in site.httpd.recent_log()


@pytest.mark.parametrize("page", [None, "/sign-in"])
def test_T183_the_throttle_comes_first(shop, page):
    site = shop("cookie", *["SocialAuthLoginErrorURL " + page] if page else [],
                throttle="4/hour", private=True)
    browser = site.browser()
    way_back = at_provider(site, start(browser))
    for _ in range(3):
        assert start(browser).status == 302
    for answer in (browser.get(way_back), start(browser)):
        assert int(answer.header("Retry-After")) > 0
        if page:
            assert target(answer) == (page, {"error": "throttled"})
        else:
            assert answer.status == 429
            nobody(site, answer, "throttled")
    assert site.provider.asked("/github/token") == []


# ---- where there is no such flow

def not_there(answer):
    check.refusal(answer, 404, "not_found", {"detail": "Not found."})


def test_T19_without_cookies_there_is_no_redirect_flow(shop):
    site = shop("json", "SocialAuthLoginErrorURL /sign-in", private=True)
    assert re.search("SocialAuthLoginErrorURL has no effect at /api/social-auth without "
                     "SocialAuthTokenDelivery cookie or both", site.httpd.recent_log())
    for path in ("login/github/", "complete/github/?code=x&state=y"):
        not_there(site.browser().get(path))


def test_T19_providers_that_cannot(shop):
    """A Google without client-secret= has ID tokens only."""
    site = shop(providers=["google client-id=" + GOOGLE_CLIENT])
    for name in ("google", "github", "GitHub", "google%20", "nosuch", "google/x"):
        for path in ("login/%s/", "complete/%s/?code=x&state=y"):
            not_there(site.browser().get(path % name))
    assert site.provider.asked() == []


def test_other_methods(shop):
    site = shop("cookie", "SocialAuthLoginErrorURL /sign-in")
    for path in ("login/github/", "complete/github/"):
        answer = site.browser().post(path, {})
        assert (answer.status, answer.word) == (405, "method_not_allowed"), answer
        assert answer.header("Allow") == "GET, HEAD, OPTIONS"
        assert site.browser().request("OPTIONS", path).status == 204


def test_without_their_slash(shop):
    site = shop()
    browser = site.browser()
    answer = browser.get("login/github?next=/x")
    signed_in(browser, browser.get(at_provider(site, answer).replace("github/?", "github?")), "/x")


def test_T136_the_former_session_ends(shop):
    site = shop()
    site.make_user("ada@example.org", "ada")
    browser = site.browser()
    assert site.password_login("ada@example.org", browser=browser).status == 200
    former = dict(browser.cookies)
    answer = start(browser)
    assert site.db.value("SELECT count(*) FROM sa_sessions WHERE revoked_at IS NULL") == 1
    signed_in(browser, browser.get(at_provider(site, answer)), "/")
    assert site.db.value("SELECT count(*) FROM sa_sessions WHERE revoked_at IS NULL") == 1
    check.access_refused(site.browser().get("linked-accounts/", headers={
        "Cookie": "%s=%s" % (ACCESS, former[ACCESS])}))


# ---- what is written down

@pytest.mark.cell("event", "pgsql")      # one child, so that its status shows what it did
def test_T230_T233_neither_code_nor_state_is_logged(shop):
    status = 'ExtendedStatus On\n<Location "/server-status">\nSetHandler server-status\n</Location>'
    moved = ('\n<Directory "{root}/htdocs">\nRewriteEngine On\n'
             'RewriteRule "^complete/(.*)" "/api/social-auth/complete/$1" [L]\n</Directory>')
    site = shop(more=status + '\nCustomLog "full.log" "%r %q %U %{Referer}i"' + moved,
                modules=["rewrite"], private=True)
    browser = site.browser()
    secrets = set()
    for way in (lambda back: browser.get(back, headers={"Referer": "https://github.test/?" + back}),
                lambda back: site.browser().get(back), lambda back: browser.post(back, {}),
                lambda back: browser.get(back.replace("/github/", "/gone/")),
                lambda back: browser.fetch("GET", "/" + back[back.index("complete/"):])):
        answer = start(browser, query="?next=/a")
        secrets |= {target(answer)[1][name] for name in ("state", "code_challenge")}
        back = at_provider(site, answer)
        secrets |= {v for k, v in urllib.parse.parse_qsl(back.partition("?")[2])}
        way(back)
    assert len(secrets) == 15
    shown = browser.get("/server-status").text
    access = ""
    for name in (site.httpd.access_log, os.path.join(site.httpd.root, "full.log")):
        with open(name) as f:
            access += f.read()
    assert "GET /api/social-auth/complete/github/ HTTP/1.1" in access
    assert "GET /complete/github/ HTTP/1.1" in access
    assert "GET /api/social-auth/complete/github/ HTTP/1.1" in shown
    for text in (access, shown, site.httpd.log()):
        assert [s for s in secrets if s in text] == []
