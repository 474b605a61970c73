"""The authorization endpoint and the authorization_code grant (RFC 6749 section 4.1, RFC 7636, RFC 8252,
RFC 9207, RFC 9700)."""
import base64
import hashlib
import html.parser
import time
import urllib.parse

import pytest

from support import check, jose
from support.client import at_once, in_background
from support.database import Sqlite
from support.site import STRONG
from test_oauth2 import basic, granted, oauth_refused

pytestmark = pytest.mark.db
ADA = "ada@example.org"
CALLBACK = "https://shop.example.test/cb"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"        # RFC 7636 appendix B
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
CODE = "authorization_code refresh_token"
COOKIE = "SocialAuthTokenDelivery both"
LOGIN = "SocialAuthLoginURL /login/"


def challenge_of(verifier):
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


@pytest.fixture
def make_shop(make_site):
    """make_shop(lines, application) -> a site with a user, an application and a browser signed in by cookie."""
    def make(*lines, trusted=True, public=True, redirect_uris=CALLBACK, **kw):
        site = make_site(mount="\n".join([COOKIE, *lines]), **kw)
        site.ada = site.make_user(ADA, "ada")
        site.app = site.application(CODE, public=public, trusted=trusted, redirect_uris=redirect_uris)
        site.signed_in = signed_in(site)
        return site
    return make


@pytest.fixture
def shop(make_shop):
    return make_shop(LOGIN)


def signed_in(site, user=ADA):
    browser = site.browser()
    assert site.password_login(user, browser=browser).status == 200
    assert "__Host-sa-access" in browser.cookies
    return browser


def query(site, **more):
    request = {"response_type": "code", "client_id": site.app["client_id"], "redirect_uri": CALLBACK,
               "state": "a state & more", "code_challenge": CHALLENGE, "code_challenge_method": "S256", **more}
    return urllib.parse.urlencode({k: v for k, v in request.items() if v is not None})


def ask(site, browser=None, bearer=None, **more):
    return (browser or site.signed_in).get("authorize?" + query(site, **more), bearer=bearer)


def sent_to(answer, target=CALLBACK, status=302):
    """The parameters of a redirect to `target`."""
    assert answer.status == status, answer
    assert answer.header("Cache-Control") == "no-store" and answer.header("Referrer-Policy") == "no-referrer"
    location = answer.header("Location")
    head = target + ("&" if "?" in target else "?")
    assert location.startswith(head), location
    pairs = urllib.parse.parse_qsl(location[len(head):], strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def code_of(site, answer, state="a state & more", **kw):
    got = sent_to(answer, **kw)
    assert set(got) == {"code", "iss"} | ({"state"} if state else set()), got
    assert got["iss"] == site.issuer and got.get("state") == state
    assert len(got["code"]) >= 43
    return got["code"]


def told(site, answer, word, state="a state & more", **kw):
    """An error that the client is told."""
    got = sent_to(answer, **kw)
    assert got.pop("error_description"), got
    wanted = {"error": word, "iss": site.issuer, **({"state": state} if state else {})}
    assert got == wanted, got


def not_told(answer):
    """An error for the user's eyes: nobody is sent anywhere."""
    oauth_refused(answer, "invalid_request")
    assert answer.header("Location") is None


def exchange(site, code, app=None, headers=(), browser=None, **more):
    body = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER,
            **(app if app is not None else site.app), **more}
    return (browser or site.browser()).request("POST", "token", form={k: v for k, v in body.items()
                                                                      if v is not None}, headers=headers)


# ---- the whole way

@pytest.mark.parametrize("path", ["authorize", "authorize/"])
def test_a_trusted_application_gets_a_code_and_tokens(shop, path):
    code = code_of(shop, shop.signed_in.get("%s?%s" % (path, query(shop))))
    assert code not in str(shop.db.query("SELECT * FROM sa_codes"))
    got = granted(exchange(shop, code))
    access, refresh = jose.claims_of(got["access_token"]), jose.claims_of(got["refresh_token"])
    mine = jose.claims_of(shop.signed_in.cookies["__Host-sa-access"])
    assert access["sub"] == mine["sub"] and access["sid"] == refresh["sid"] != mine["sid"]
    assert access["client_id"] == shop.app["client_id"] and access["scope"] == "read write"
    assert access["amr"] == ["pwd"] and access["auth_time"] == mine["auth_time"]
    assert shop.browser().get("linked-accounts/", bearer=got["access_token"]).status == 200
    again = shop.browser().post("token", {"grant_type": "refresh_token", "refresh_token": got["refresh_token"],
                                          **shop.app})
    assert jose.claims_of(granted(again)["refresh_token"])["sid"] == refresh["sid"]


def test_a_confidential_client_needs_its_secret_and_may_do_without_pkce(make_shop):
    shop = make_shop(public=False)
    code = code_of(shop, ask(shop, code_challenge=None, code_challenge_method=None, scope="read"))
    bare = {"client_id": shop.app["client_id"]}
    oauth_refused(exchange(shop, code, bare, code_verifier=None), "invalid_client", 401)
    got = granted(exchange(shop, code, {}, basic(shop.app["client_id"], shop.app["client_secret"]),
                           code_verifier=None), "read")
    assert jose.claims_of(got["access_token"])["scope"] == "read"
    # With a challenge it needs the verifier; without one it must not send it (RFC 9700 section 4.8.2).
    oauth_refused(exchange(shop, code_of(shop, ask(shop)), code_verifier=None), "invalid_grant")
    code = code_of(shop, ask(shop, code_challenge=None, code_challenge_method=None))
    oauth_refused(exchange(shop, code), "invalid_grant")


def test_state_is_sent_back_as_it_came_or_not_at_all(shop):
    code_of(shop, ask(shop, state=None), state=None)
    code_of(shop, ask(shop, state=""), state=None)
    for state in ('"><script>', "\u00e4\u20ac", "a+b%20c", "x" * 2000):
        code_of(shop, ask(shop, state=state), state=state)
    told(shop, ask(shop, state='"><', scope="admin"), "invalid_scope", state='"><')


def test_signed_in_by_bearer(shop):
    pair = shop.tokens(shop.password_login(ADA))
    code_of(shop, ask(shop, shop.browser(), bearer=pair["access"]))
    check.access_refused(ask(shop, shop.browser(), bearer="x.y.z"))


# ---- who is not signed in

def test_who_is_not_signed_in_is_sent_to_the_login_page(shop):
    for browser in (shop.browser(), shop.signed_in):
        if browser is shop.signed_in:
            browser.cookies["__Host-sa-access"] += "x"
        answer = ask(shop, browser)
        assert answer.status == 302, answer
        page, _, rest = answer.header("Location").partition("?")
        assert page == "/login/"
        (name, following), = urllib.parse.parse_qsl(rest, strict_parsing=True)
        assert name == "next" and following == shop.settings.path + "/authorize?" + query(shop)
    code_of(shop, signed_in(shop).get(following))
    # What is wrong is said before anybody signs in.
    not_told(ask(shop, shop.browser(), client_id="nobody"))
    told(shop, ask(shop, shop.browser(), scope="admin"), "invalid_scope")


def test_login_page_with_a_query_of_its_own(make_shop):
    shop = make_shop("SocialAuthLoginURL https://www.example.test/login?lang=en")
    assert ask(shop, shop.browser()).header("Location").startswith(
        "https://www.example.test/login?lang=en&next=%2Fapi%2F")


def test_without_a_login_page_the_client_is_told(make_shop):
    shop = make_shop()
    told(shop, ask(shop, shop.browser()), "login_required")


def test_T127_an_ended_session_or_user_gets_no_code(shop):
    for column, value in (("revoked_at", 1), ("expires", 1)):
        browser = signed_in(shop)
        shop.db.query("UPDATE sa_sessions SET %s = ? WHERE sid = ?" % column, value,
                      jose.claims_of(browser.cookies["__Host-sa-access"])["sid"])
        assert ask(shop, browser).header("Location").startswith("/login/?next=")
    browser = signed_in(shop)
    shop.db.query("UPDATE sa_users SET is_active = ?", False)
    assert ask(shop, browser).header("Location").startswith("/login/?next=")
    assert shop.db.value("SELECT count(*) FROM sa_codes") == 0


def test_a_code_of_a_user_who_is_gone(shop):
    code = code_of(shop, ask(shop))
    shop.db.ctl("users", "deactivate", ADA)
    oauth_refused(exchange(shop, code), "invalid_grant")


# ---- where answers go

def test_T9_no_redirect_for_an_unknown_client_or_address(shop):
    for more in ({"client_id": None}, {"client_id": "nobody"}, {"client_id": shop.app["client_id"] + " "},
                 {"client_id": "' OR 1=1--"}, {"redirect_uri": "https://evil.example/cb"},
                 {"redirect_uri": CALLBACK + "/"}, {"redirect_uri": CALLBACK + "?x"},
                 {"redirect_uri": CALLBACK + "#x"}, {"redirect_uri": CALLBACK.upper()},
                 {"redirect_uri": CALLBACK.replace("https", "http")},
                 {"redirect_uri": CALLBACK.replace("/cb", ":443/cb")},
                 {"redirect_uri": CALLBACK.replace("shop.", "x@shop.")},
                 {"redirect_uri": CALLBACK + ".evil.example"}, {"redirect_uri": "//evil.example"},
                 {"redirect_uri": CALLBACK + " https://evil.example/"}, {"redirect_uri": "/cb"},
                 {"redirect_uri": "javascript:alert(1)"}, {"redirect_uri": CALLBACK + "/../x"}):
        for other in ({}, {"response_type": "token"}):
            not_told(ask(shop, **more, **other))
    for extra in ("&client_id=" + shop.app["client_id"], "&redirect_uri=https://evil.example/", "&state=x",
                  "&x=%zz", "&x=%00", "&x=%ff"):
        not_told(shop.signed_in.get("authorize?" + query(shop) + extra))
    assert shop.db.value("SELECT count(*) FROM sa_codes") == 0


def test_the_only_address_need_not_be_named(make_shop):
    shop = make_shop()
    granted(exchange(shop, code_of(shop, ask(shop, redirect_uri=None)), redirect_uri=None))
    granted(exchange(shop, code_of(shop, ask(shop, redirect_uri="")), redirect_uri=None))
    shop.app = shop.application(CODE, public=True, trusted=True, redirect_uris=CALLBACK + " https://b.test/")
    not_told(ask(shop, redirect_uri=None))
    code_of(shop, ask(shop, redirect_uri="https://b.test/"), target="https://b.test/")
    shop.app = shop.application(CODE, public=True, trusted=True)
    not_told(ask(shop, redirect_uri=None))
    not_told(ask(shop))


def test_an_address_with_a_query_keeps_it(make_shop):
    shop = make_shop(redirect_uris="https://a.test/cb?tenant=1")
    code_of(shop, ask(shop, redirect_uri="https://a.test/cb?tenant=1"), target="https://a.test/cb?tenant=1")


def test_RFC8252_any_port_on_the_users_own_machine(make_shop):
    registered = "http://127.0.0.1/cb http://[::1]:1/cb http://localhost:3000/cb com.example.app:/cb"
    shop = make_shop(redirect_uris=registered)
    def code_for(uri):
        """Trusted or not, the user is asked: any program may listen there (section 8.6)."""
        return code_of(shop, answer_page(shop, Page(ask(shop, redirect_uri=uri))), target=uri, status=303)
    for uri in ("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb", "http://[::1]:8/cb", "http://[::1]/cb",
                "http://localhost:3000/cb", "com.example.app:/cb"):
        granted(exchange(shop, code_for(uri), redirect_uri=uri))
    for uri in ("http://127.0.0.1:51004/", "http://127.0.0.1:51004/cb/", "http://127.0.0.2/cb",
                "http://127.0.0.1:x/cb", "http://127.0.0.1:/cb", "http://127.0.0.1:123456/cb",
                "http://127.0.0.1:80@evil.example/cb", "http://127.0.0.1.evil.example/cb",
                "https://127.0.0.1/cb", "http://[::1].evil.example/cb", "http://[::2]/cb",
                "http://localhost:3001/cb", "http://localhost/cb", "http://127.0.0.1:80/cb?x",
                "com.example.app:/cb2"):
        not_told(ask(shop, redirect_uri=uri))
    # The code is bound to the port that was named.
    code = code_for("http://127.0.0.1:5001/cb")
    oauth_refused(exchange(shop, code, redirect_uri="http://127.0.0.1:5002/cb"), "invalid_grant")


# ---- what clients are told

def test_errors_that_the_client_is_told(shop):
    for more, word in (({"response_type": None}, "invalid_request"),
                       ({"response_type": "token"}, "unsupported_response_type"),
                       ({"response_type": "code token"}, "unsupported_response_type"),
                       ({"response_mode": "fragment"}, "invalid_request"),
                       ({"response_mode": "form_post"}, "invalid_request"),
                       ({"scope": "read admin"}, "invalid_scope"), ({"scope": "read\n"}, "invalid_scope"),
                       ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
                       ({"code_challenge": None}, "invalid_request"),
                       ({"code_challenge_method": None}, "invalid_request"),        # means plain
                       ({"code_challenge_method": "plain"}, "invalid_request"),
                       ({"code_challenge_method": "s256"}, "invalid_request"),
                       ({"code_challenge": CHALLENGE[:-1]}, "invalid_request"),
                       ({"code_challenge": CHALLENGE + "="}, "invalid_request"),
                       ({"code_challenge": CHALLENGE[:-1] + "N"}, "invalid_request"),
                       ({"code_challenge": CHALLENGE[:-1] + "+"}, "invalid_request")):
        told(shop, ask(shop, **more), word)
    code_of(shop, ask(shop, response_mode="query"))
    shop.app = shop.application("refresh_token", public=True, trusted=True, redirect_uris=CALLBACK)
    told(shop, ask(shop), "unauthorized_client")


# ---- the code

def test_T122_exchange_refusals(shop):
    def new():
        return code_of(shop, ask(shop))
    other = shop.application(CODE, public=True, redirect_uris=CALLBACK)
    for more, word in (({"code": None}, "invalid_request"), ({"code": ""}, "invalid_request"), ({"code": "x"}, "invalid_grant"),
                       ({"code_verifier": None}, "invalid_grant"),
                       ({"code_verifier": VERIFIER[:-1] + "K"}, "invalid_grant"),
                       ({"code_verifier": VERIFIER[:-1]}, "invalid_request"),
                       ({"code_verifier": "x" * 129}, "invalid_request"),
                       ({"code_verifier": VERIFIER + " "}, "invalid_request"),
                       ({"code_verifier": CHALLENGE}, "invalid_grant"),
                       ({"redirect_uri": None}, "invalid_grant"),
                       ({"redirect_uri": CALLBACK + "/"}, "invalid_grant"),
                       ({"client_secret": "x"}, "invalid_client"), ({"client_id": "x"}, "invalid_client"),
                       (other, "invalid_grant")):
        oauth_refused(exchange(shop, more.pop("code", new()), **more), word, 401 if word == "invalid_client" else 400)
    assert shop.db.value("SELECT count(*) FROM sa_sessions WHERE client_id IS NOT NULL") == 0
    without = shop.application("refresh_token", public=True, redirect_uris=CALLBACK)
    oauth_refused(exchange(shop, new(), without), "unauthorized_client")


def test_a_verifier_of_the_greatest_length(shop):
    verifier = "~" * 128
    granted(exchange(shop, code_of(shop, ask(shop, code_challenge=challenge_of(verifier))), code_verifier=verifier))


def test_a_code_is_good_for_a_minute(shop):
    code = code_of(shop, ask(shop))
    left = shop.db.value("SELECT expires - auth_time FROM sa_codes")
    assert 60 <= left <= 120, left
    shop.db.query("UPDATE sa_codes SET expires = expires - 61")
    oauth_refused(exchange(shop, code), "invalid_grant")


def test_a_code_that_comes_back_ends_what_it_gave(shop):
    """RFC 6749 sections 4.1.2 and 10.5."""
    code = code_of(shop, ask(shop))
    first = granted(exchange(shop, code))
    assert shop.browser().get("linked-accounts/", bearer=first["access_token"]).status == 200
    oauth_refused(exchange(shop, code), "invalid_grant")
    check.access_refused(shop.browser().get("linked-accounts/", bearer=first["access_token"]))
    oauth_refused(shop.browser().post("token", {"grant_type": "refresh_token", **shop.app,
                                                "refresh_token": first["refresh_token"]}), "invalid_grant")
    code_of(shop, ask(shop))                            # the user's own session goes on


def test_a_code_that_comes_back_while_it_is_used(shop):
    """The second waits for the first, and then ends a session that was not there when it began."""
    code = code_of(shop, ask(shop))
    first = shop.db.connect()
    if isinstance(shop.db, Sqlite):
        first.isolation_level = None
        first.execute("BEGIN IMMEDIATE")
    cursor = first.cursor()
    cursor.execute("UPDATE sa_codes SET used_by = 'first'")
    cursor.execute("INSERT INTO sa_sessions (sid, user_id, jti, iat, exp, expires, auth_time) "
                   "SELECT 'first', user_id, 'j', auth_time, expires, expires + 1000, auth_time FROM sa_codes")
    second = in_background(lambda: exchange(shop, code))
    time.sleep(1)
    first.commit()
    first.close()
    oauth_refused(second(), "invalid_grant")
    assert shop.db.value("SELECT revoked_at FROM sa_sessions WHERE sid = 'first'")
    assert shop.db.value("SELECT count(*) FROM sa_revocations WHERE sid = 'first'") == 1


@pytest.mark.parametrize("end", ["password/change/", "revoke-token", "sessions/"])
def test_T127_a_code_ends_with_the_session_it_came_from(shop, end):
    pair = shop.tokens(shop.password_login(ADA))
    code = code_of(shop, ask(shop, shop.browser(), bearer=pair["access"]))
    browser = shop.browser()
    if end == "sessions/":
        end += jose.claims_of(pair["access"])["sid"]
    body = {"old_password": STRONG, "new_password": STRONG + " new"} if "password" in end else {}
    other = shop.tokens(shop.password_login(ADA))["access"]
    answer = browser.request("DELETE" if "sessions" in end else "POST", end, json=body,
                             bearer=other if "password" in end else pair["access"])
    assert answer.status in (200, 204), answer
    oauth_refused(exchange(shop, code), "invalid_grant")
    assert shop.db.value("SELECT count(*) FROM sa_sessions WHERE client_id IS NOT NULL") == 0


def test_of_parallel_exchanges_one_succeeds(shop):
    code = code_of(shop, ask(shop))
    answers = at_once([lambda: exchange(shop, code) for _ in range(8)])
    assert sorted(answer.status for answer in answers) == [200] + [400] * 7
    got, = (answer for answer in answers if answer.status == 200)
    check.access_refused(shop.browser().get("linked-accounts/", bearer=got.json()["access_token"]))


def test_a_code_is_good_at_its_own_mount(make_site):
    site = make_site(more='<Location "/second">\nSetHandler social-auth\n</Location>')
    site.make_user(ADA, "ada")
    site.app = site.application(CODE, public=True, trusted=True, redirect_uris=CALLBACK)
    access = site.tokens(site.password_login(ADA))["access"]
    code = code_of(site, ask(site, site.browser(), bearer=access))
    oauth_refused(exchange(site, code, browser=site.browser(mount="/second")), "invalid_grant")
    granted(exchange(site, code))


# ---- consent

class Page(html.parser.HTMLParser):
    """The page's tags and texts, and what its form posts."""

    def __init__(self, answer):
        super().__init__()
        assert answer.status == 200 and answer.header("Content-Type") == "text/html; charset=utf-8", answer
        self.tags, self.words, self.form, self.fields, self.buttons = [], [], {}, {}, []
        self.feed(answer.text)
        self.close()
        assert not {"script", "style", "img", "link", "iframe", "a"} & set(self.tags), answer

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        assert not [name for name in attributes if name.startswith("on")], attributes
        if tag == "form":
            self.form = attributes
        elif tag == "input":
            assert attributes["type"] == "hidden"
            self.fields[attributes["name"]] = attributes["value"]
        elif tag == "button":
            self.buttons.append((attributes["name"], attributes["value"]))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def answer_page(site, page, decision="allow", browser=None, headers=None, **more):
    assert page.form["method"] == "post" and ("decision", decision) in page.buttons
    headers = {"Origin": site.url, "Sec-Fetch-Site": "same-origin"} if headers is None else headers
    form = {**page.fields, "decision": decision, **more}
    return (browser or site.signed_in).request("POST", page.form["action"], headers=headers,
                                               form={k: v for k, v in form.items() if v is not None})


@pytest.fixture
def stranger(make_shop):
    """An application that is not the site's own."""
    return make_shop(LOGIN, trusted=False)


def test_others_get_a_code_when_the_user_allows_it(stranger):
    page = Page(ask(stranger, scope="read"))
    for word in ("Shop", "ada", "read", "https://shop.example.test"):
        assert word in page.text, page.text
    assert "write" not in page.text
    assert stranger.db.value("SELECT count(*) FROM sa_codes") == 0
    got = granted(exchange(stranger, code_of(stranger, answer_page(stranger, page), status=303)), "read")
    assert jose.claims_of(got["access_token"])["client_id"] == stranger.app["client_id"]
    told(stranger, answer_page(stranger, page, "deny"), "access_denied", status=303)
    Page(ask(stranger))                                 # nobody is asked once for all


def tokens_of_the_stranger(site):
    page = Page(ask(site))
    return granted(exchange(site, code_of(site, answer_page(site, page), status=303)))


def test_T123_a_strangers_token_gets_no_code(stranger):
    """Neither for another application nor for more than it has, in whatever header it comes."""
    got = tokens_of_the_stranger(stranger)
    again = stranger.browser().post("token", {"grant_type": "refresh_token", **stranger.app,
                                              "refresh_token": got["refresh_token"]})
    codes = stranger.db.value("SELECT count(*) FROM sa_codes")
    stranger.app = stranger.application(CODE, public=True, trusted=True, redirect_uris=CALLBACK)
    for access in (got["access_token"], granted(again)["access_token"]):
        forbidden(ask(stranger, stranger.browser(), bearer=access))
        browser = stranger.browser()
        browser.cookies["__Host-sa-access"] = access
        answer = ask(stranger, browser)
        assert answer.status == 302 and answer.header("Location").startswith("/login/?"), answer
    assert stranger.db.value("SELECT count(*) FROM sa_codes") == codes


def forbidden(answer):
    assert answer.status == 403 and answer.word == "forbidden" and not answer.header("Location"), answer


OWN = [("GET", "linked-accounts/", None), ("GET", "sessions/", None), ("GET", "all/", None),
       ("PATCH", "currentUser/", {"first_name": "X"}), ("DELETE", "currentUser/", {}),
       ("POST", "github/link/", {"code": "x", "state": "x"}), ("POST", "github/unlink/", {}),
       ("POST", "disconnect-backend", {"provider": "github"}),
       ("POST", "password/change/", {"old_password": STRONG, "new_password": STRONG + "2"}),
       ("POST", "email/verify/resend/", None), ("POST", "email/change/", {"email": "x@example.org"}),
       ("POST", "invalidate-sessions", {}), ("POST", "invalidate-refresh-tokens", {})]


@pytest.mark.parametrize("method, path, body", OWN, ids=[path for _, path, _ in OWN])
def test_T123_a_strangers_token_leaves_the_account_as_it_is(stranger, method, path, body):
    """The user lets a site in, not have her account: linked elsewhere, it would be that site's own."""
    before = stranger.db.query("SELECT * FROM sa_users"), stranger.db.query("SELECT * FROM sa_links")
    access = tokens_of_the_stranger(stranger)["access_token"]
    body = None if body is None else {"client_id": stranger.app["client_id"], **body}
    browser = stranger.browser()
    forbidden(browser.request(method, path, json=body, bearer=access))
    browser.cookies["__Host-sa-access"] = access
    forbidden(browser.request(method, path, json=body, headers={"Origin": stranger.url, "X-Requested-With": "x"})
              if path != "all/" else browser.request(method, path, bearer=access))
    assert before == (stranger.db.query("SELECT * FROM sa_users"), stranger.db.query("SELECT * FROM sa_links"))


def test_what_a_strangers_token_is_for(stranger):
    got = tokens_of_the_stranger(stranger)
    browser = stranger.browser()
    assert browser.get("currentUser/", bearer=got["access_token"]).json()["username"] == "ada"
    sid = stranger.db.one("SELECT sid FROM sa_sessions WHERE client_id = ?", stranger.app["client_id"])[0]
    assert browser.request("DELETE", "sessions/" + sid, bearer=got["access_token"]).status == 403
    assert browser.post("revoke-token", {"token": got["access_token"], **stranger.app}).status == 200
    check.access_refused(browser.get("currentUser/", bearer=got["access_token"]))


def test_trust_counts_from_the_next_refresh(stranger):
    got = tokens_of_the_stranger(stranger)
    stranger.db.query("UPDATE sa_applications SET trusted = 1")
    forbidden(stranger.browser().get("linked-accounts/", bearer=got["access_token"]))
    again = granted(stranger.browser().post("token", {"grant_type": "refresh_token", **stranger.app,
                                                      "refresh_token": got["refresh_token"]}))
    assert stranger.browser().get("linked-accounts/", bearer=again["access_token"]).status == 200


def test_T20_the_page_cannot_be_framed_and_runs_nothing(stranger):
    answer = ask(stranger)
    policy = {part.strip() for part in answer.header("Content-Security-Policy").split(";")}
    assert policy == {"default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"}
    assert answer.header("X-Frame-Options") == "DENY"
    assert answer.header("X-Content-Type-Options") == "nosniff"
    assert answer.header("Cache-Control") == "no-store"
    assert answer.header("Referrer-Policy") == "same-origin"


def test_everything_on_the_page_is_escaped(stranger):
    hostile = '</title><script>alert(1)</script>"\'<img src=x onerror=y>&amp;'
    stranger.db.query("UPDATE sa_applications SET name = ?", hostile)
    stranger.db.query("UPDATE sa_users SET username = ?", hostile)
    page = Page(ask(stranger, state=hostile))
    assert page.text.count(hostile) == 3                # title, heading, user
    code_of(stranger, answer_page(stranger, page), status=303, state=hostile)
    raw = stranger.signed_in.get('authorize?%s&x=<b>"><script>' % query(stranger))
    Page(raw)


def test_T137_the_answer_of_the_page_cannot_be_forged(stranger):
    stranger.make_user("eve@example.org", "eve")
    eve = signed_in(stranger, "eve@example.org")
    mine, hers = Page(ask(stranger)), Page(ask(stranger, eve))
    other = Page(ask(stranger, state="other"))
    again = signed_in(stranger)                         # another session of the same user
    for kw in ({"token": None}, {"token": ""}, {"token": "x"}, {"token": hers.fields["token"]},
               {"token": other.fields["token"]}, {"request": other.fields["request"]},
               {"token": "9" * 12 + mine.fields["token"][10:]}, {"browser": again},
               {"headers": {}}, {"headers": {"Origin": "null"}}, {"headers": {"Origin": "https://evil.example"}},
               {"headers": {"Sec-Fetch-Site": "cross-site"}}):
        answer = answer_page(stranger, mine, **kw)
        check.json_headers(answer)
        assert answer.status == 403 and answer.word == "forbidden" and not answer.header("Location"), (kw, answer)
    oauth_refused(answer_page(stranger, mine, request=None), "invalid_request")
    not_told(answer_page(stranger, mine, request="client_id=nobody"))
    assert answer_page(stranger, mine, browser=stranger.browser()).header("Location").startswith("/login/?next=")
    assert stranger.db.value("SELECT count(*) FROM sa_codes") == 0
    told(stranger, answer_page(stranger, mine, "deny"), "access_denied", status=303)
    code_of(stranger, answer_page(stranger, mine), status=303)


def test_a_page_that_lay_open_too_long(make_shop):
    site = make_shop(trusted=False, private=True, faketime="+0")
    page = Page(ask(site))
    code_of(site, answer_page(site, page), status=303)
    site.httpd.set_clock("+605")
    assert answer_page(site, page).status == 403


def test_CORS_does_not_open_the_page(make_shop):
    """RFC 9700 section 2.6."""
    shop = make_shop("SocialAuthAllowOrigin https://app.test", "SocialAuthAllowCredentials On", trusted=False)
    browser = shop.signed_in
    browser.origin = "https://app.test"
    answers = [ask(shop), browser.request("OPTIONS", "authorize",
                                          headers={"Access-Control-Request-Method": "POST"})]
    for answer in answers:
        assert not [name for name, _ in answer.all_headers if name.lower().startswith("access-control-")], answer


def test_methods(shop):
    answer = shop.signed_in.request("PUT", "authorize")
    assert answer.status == 405 and answer.header("Allow") == "GET, HEAD, POST, OPTIONS"
    answer = shop.signed_in.request("HEAD", "authorize?" + query(shop))
    assert answer.status == 200 and answer.header("Location") is None, answer
    assert shop.db.value("SELECT count(*) FROM sa_codes") == 0          # a look at it gives nothing away


def test_T183_codes_are_not_made_without_end(make_shop):
    shop = make_shop(throttle="2/minute")
    for _ in range(2):
        code_of(shop, ask(shop))
    answer = ask(shop)
    assert answer.status == 429 and int(answer.header("Retry-After")) > 0 and not answer.header("Location"), answer
    assert shop.db.value("SELECT count(*) FROM sa_codes") == 2


# ---- tokens and cookies

@pytest.mark.parametrize("browser_says", [{}, {"Sec-Fetch-Site": "same-origin"}], ids=["program", "page"])
def test_tokens_of_a_code_are_never_cookies(make_site, browser_says):
    site = make_site(mount="SocialAuthTokenDelivery cookie")
    site.make_user(ADA, "ada")
    site.app = site.application(CODE, public=True, trusted=True, redirect_uris=CALLBACK)
    site.signed_in = signed_in(site)
    answer = exchange(site, code_of(site, ask(site)), headers=browser_says)
    got = granted(answer)
    assert answer.set_cookies() == {}
    answer = site.browser().post("token", {"grant_type": "refresh_token", "refresh_token": got["refresh_token"],
                                           **site.app}, headers=browser_says)
    granted(answer)
    assert answer.set_cookies() == {}


# ---- faults

def test_a_fault_behind_the_address_is_told_to_the_client(make_shop):
    shop = make_shop(private=True)
    shop.db.query("ALTER TABLE sa_codes RENAME TO elsewhere")
    shop.expect_log("sa_codes")
    told(shop, ask(shop), "temporarily_unavailable")
