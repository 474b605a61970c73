"""Tokens in cookies as Chromium keeps them, and the login by redirect that sets them."""
import functools
import html
import http.server
import pathlib
import threading
import urllib.parse

import pytest
from selenium.webdriver.support.ui import WebDriverWait

from support import paths
from support.client import Browser
from support.database import Databases
from support.fake_provider import FakeProvider
from support.site import STRONG, Settings, Site

CALL = """
const [path, body, done] = arguments;
fetch("/api/social-auth/" + path, {
    method: body === null ? "GET" : "POST",
    headers: body === null ? {} : {"Content-Type": "application/json"},
    body: body === null ? undefined : JSON.stringify(body)
}).then(async answer => done([answer.status, await answer.json()]), e => done([0, String(e)]));
"""
EVIL = """<!DOCTYPE html><title>evil</title>
<form method="post" action="%s/api/social-auth/%s" %s><input name="x" value="y"></form>"""
PAGE = """<!DOCTYPE html><title>page</title>
<a href="/api/social-auth/login/github/?next=/page.html%3Fwelcome%23top">Sign in with GitHub</a>"""


@pytest.fixture(scope="module")
def site():
    databases, provider = Databases(), FakeProvider(host="127.0.0.1")       # another site
    made = Site("cookies", "event", databases.make("sqlite3"), provider,
                Settings(mount="SocialAuthTokenDelivery cookie\n"
                               "SocialAuthLoginErrorURL /page.html#sorry"))
    made.httpd.start()
    made.make_user("ada@example.org", "ada")
    (pathlib.Path(made.httpd.docs) / "page.html").write_text(PAGE)
    yield made
    made.httpd.stop()
    provider.close()
    databases.close()
    paths.forget_scratch()


@pytest.fixture
def elsewhere(tmp_path):
    """elsewhere(page) -> its URL on another site"""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def serve(page):
        (tmp_path / "evil.html").write_text(page)
        return "http://127.0.0.1:%d/evil.html" % server.server_address[1]
    yield serve
    server.shutdown()
    server.server_close()


def call(browser, path, body=None):
    return browser.execute_async_script(CALL, path, body)


def sign_in(browser, site):
    browser.get(site.url + "/page.html")
    status, body = call(browser, "token/", {"email": "ada@example.org", "password": STRONG})
    assert (status, body) == (200, {"expires_in": 3600})


def test_T135_scripts_do_not_see_the_tokens(browser, site):
    sign_in(browser, site)
    assert browser.execute_script("return document.cookie") == ""
    assert call(browser, "linked-accounts/")[0] == 200
    browser.delete_cookie("__Host-sa-access")           # as when it is old
    browser.refresh()
    assert call(browser, "linked-accounts/")[0] == 401
    assert call(browser, "token/refresh/", {}) == [200, {"expires_in": 3600}]
    assert call(browser, "linked-accounts/")[0] == 200
    assert call(browser, "token/blacklist/", {})[0] == 200
    assert call(browser, "linked-accounts/")[0] == 401


@pytest.mark.parametrize("encoding", ["", 'enctype="text/plain"'], ids=["form", "text"])
@pytest.mark.parametrize("path", ["token/blacklist/", "revoke-token", "google/unlink/"])
def test_T137_T144_a_form_of_another_site_changes_nothing(browser, site, elsewhere, path, encoding):
    sign_in(browser, site)
    before = site.db.dump()
    browser.get(elsewhere(EVIL % (site.url, path, encoding)))
    browser.execute_script("document.forms[0].submit()")
    WebDriverWait(browser, 20).until(lambda b: b.current_url.endswith(path))
    assert site.db.dump() == before
    browser.get(site.url + "/page.html")
    assert call(browser, "linked-accounts/")[0] == 200
    assert call(browser, "token/refresh/", {})[0] == 200


# ---- the login by redirect

def click_sign_in(browser, site):
    browser.get(site.url + "/page.html")
    browser.find_element("tag name", "a").click()
    WebDriverWait(browser, 20).until(lambda b: "?" in b.current_url and "page.html" in b.current_url)


def nobody(browser, site):
    browser.get(site.url + "/page.html")
    assert call(browser, "linked-accounts/")[0] == 401


def test_T12_T135_a_link_signs_in(browser, site):
    site.provider.github.visitor = site.provider.github.user(email="grace@example.com")
    click_sign_in(browser, site)
    assert browser.current_url == site.url + "/page.html?welcome#top"
    assert browser.execute_script("return [document.cookie, document.referrer]") == ["", ""]
    status, body = call(browser, "linked-accounts/")
    assert status == 200
    assert {p["label"]: p["is_linked"] for p in body["providers"]} == \
        {"GitHub": True, "Google": False}
    names = {cookie["name"] for cookie in browser.get_cookies()}
    assert names == {"__Host-sa-access"}                # the state's is gone
    assert call(browser, "token/refresh/", {})[0] == 200
    assert browser.execute_script("return history.length") <= 3


def test_a_cancelled_login_ends_at_the_page_for_it(browser, site):
    site.provider.github.visitor = None
    click_sign_in(browser, site)
    assert browser.current_url == site.url + "/page.html?error=provider_rejected#sorry"
    nobody(browser, site)


def test_T1_a_way_back_that_somebody_else_began(browser, site):
    """Login CSRF: it is whole, and Mallory's."""
    site.provider.github.visitor = site.provider.github.user()
    mallory = site.browser()
    there = urllib.parse.urlsplit(mallory.get("login/github/").header("Location"))
    visit = Browser(site.provider.port, mount="", held=False)
    back = visit.get("%s?%s" % (there.path, there.query)).header("Location")
    browser.get(back)
    assert browser.current_url == site.url + "/page.html?error=state_invalid#sorry"
    nobody(browser, site)
    assert mallory.get(back.removeprefix(site.url)).header("Location") == "/"


def test_T16_an_image_of_another_site_signs_nobody_in(browser, site, elsewhere):
    site.provider.reset()
    site.provider.github.visitor = site.provider.github.user()
    before = site.db.value("SELECT count(*) FROM sa_sessions")
    browser.get(elsewhere('<!DOCTYPE html><title>evil</title><img onerror="done = 1" '
                          'src="%s/api/social-auth/login/github/">' % site.url))
    WebDriverWait(browser, 20).until(lambda b: b.execute_script("return window.done"))
    assert len(site.provider.asked("/github/authorize")) == 1 and \
        site.provider.asked("/github/token") == []
    nobody(browser, site)
    assert site.db.value("SELECT count(*) FROM sa_sessions") == before


# ---- the authorization endpoint

def test_the_page_that_asks_for_consent(browser, site, elsewhere):
    """Its form is sent with our Origin, and its answer leads to another site."""
    callback = elsewhere("<!DOCTYPE html><title>callback</title>")
    app = site.application("authorization_code", public=True, redirect_uris=callback, name="Bob's <b>Shop</b>")
    url = site.issuer + "/authorize?" + urllib.parse.urlencode({
        "response_type": "code", "client_id": app["client_id"], "redirect_uri": callback, "state": "s",
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "code_challenge_method": "S256"})
    sign_in(browser, site)
    for decision, name in (("Allow", "code"), ("Deny", "error")):
        browser.get(url)
        assert browser.find_element("tag name", "h1").text == "Bob's <b>Shop</b>"
        browser.find_element("xpath", "//button[.='%s']" % decision).click()
        WebDriverWait(browser, 20).until(lambda b: b.title == "callback")
        page, _, query = browser.current_url.partition("?")
        got = dict(urllib.parse.parse_qsl(query))
        assert page == callback and got["state"] == "s" and got["iss"] == site.issuer and got[name], got
    assert got["error"] == "access_denied"


def test_T20_the_page_is_not_shown_in_a_frame(browser, site):
    app = site.application("authorization_code", redirect_uris="https://app.test/cb")
    sign_in(browser, site)
    url = site.issuer + "/authorize?response_type=code&client_id=" + app["client_id"]
    browser.get(url)
    assert browser.find_elements("tag name", "button")
    (pathlib.Path(site.httpd.docs) / "frame.html").write_text(
        '<!DOCTYPE html><title>frame</title><iframe src="%s"></iframe>' % html.escape(url))
    browser.get(site.url + "/frame.html")
    browser.switch_to.frame(browser.find_element("tag name", "iframe"))
    assert not browser.find_elements("tag name", "button")
