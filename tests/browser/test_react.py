"""The tutorial's app (tests/react: React and axios, built with Vite) on another origin than the API."""
import functools
import http.server
import json
import pathlib
import subprocess
import threading

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from support import paths
from support.database import Databases
from support.dialogs import Dialogs
from support.fake_provider import FACEBOOK_APP, GOOGLE_CLIENT, FakeProvider
from support.httpd import STATUS
from support.site import STRONG, Settings, Site

REACT = pathlib.Path(__file__).resolve().parents[1] / "react"
LIFETIME = 60          # seconds, of the access tokens
CORS = ("SocialAuthAllowOrigin %s\nSocialAuthAccessTokenLifetime %d\n"
        "SocialAuthRefreshReuseInterval 0\n")
CREDENTIALS = "SocialAuthAllowCredentials On\nSocialAuthTokenDelivery cookie"
DATABASES = pytest.mark.parametrize("db", ["pgsql", "sqlite3"], scope="module")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("react")
    subprocess.run([str(REACT / "node_modules" / ".bin" / "vite"), "build", "--logLevel", "warn",
                    "--outDir", str(out), "--emptyOutDir"], cwd=REACT, check=True, timeout=100)
    return out


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def origin(built):
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(built)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield "http://localhost:%d" % server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def provider():
    made = FakeProvider()
    yield made
    made.close()
    paths.forget_scratch()


@pytest.fixture(scope="module")
def dialogs(provider):
    made = Dialogs(provider)
    made.who = {"google": provider.google.claims(given_name="Grace"),
                "facebook": provider.facebook.user(first_name="Barbara")}
    yield made
    made.close()


@pytest.fixture(scope="module", params=["tokens", "cookies"])
def site(request, db, origin, provider):
    """tokens: CORS without credentials; cookies: with."""
    databases = Databases()
    more = CREDENTIALS if request.param == "cookies" else ""
    made = Site("react-%s-%s" % (db, request.param), "event", databases.make(db), provider,
                Settings(mount=CORS % (origin, LIFETIME) + more, faketime="+0", more=STATUS,
                         providers=[provider.google.options, provider.facebook.options]))
    made.httpd.start()
    made.in_cookies = request.param == "cookies"
    made.app = made.application("password refresh_token convert_token", public=True)
    yield made
    made.httpd.stop()
    databases.close()


@pytest.fixture
def app(site, built, origin, dialogs, browser):
    (built / "config.json").write_text(json.dumps({
        "api": site.url + "/api/social-auth/", "credentials": site.in_cookies,
        "clientId": site.app["client_id"],
        "dialogs": {
            "google-oauth2": {"label": "Google", "dialog": dialogs.url + "/google",
                              "clientId": GOOGLE_CLIENT, "scope": "openid email profile"},
            "facebook": {"label": "Facebook", "dialog": dialogs.url + "/facebook",
                         "clientId": FACEBOOK_APP, "scope": "email public_profile"}}}))
    dialogs.answer = "agree"
    site.httpd.mark()
    page = App(browser, origin, site)
    yield page
    assert site.httpd.unexpected_log() == []


class App:
    def __init__(self, browser, origin, site):
        self.browser, self.origin, self.site = browser, origin, site
        self.open()

    def open(self):
        self.browser.get(self.origin + "/")
        self.wait()

    def wait(self):
        """Until the app shows what it has been told."""
        WebDriverWait(self.browser, 15, 0.05).until(lambda _: self.browser.execute_script(
            "return location.origin === arguments[0] && !window.isLeft"
            " && document.querySelector('#app')?.ariaBusy === 'false'", self.origin))

    def click(self, selector):
        self.browser.find_element(By.CSS_SELECTOR, selector).click()
        self.wait()

    def leave(self, selector):
        """Away to the provider, and back: to a page that is idle and new."""
        self.browser.execute_script("window.isLeft = true")
        self.click(selector)

    def send(self, form, **fields):
        for name, value in fields.items():
            field = self.browser.find_element(By.CSS_SELECTOR, "#%s [name=%s]" % (form, name))
            field.clear()
            field.send_keys(value)
        self.click("#%s button" % form)

    def sign_up(self, email):
        self.send("sign-up", email=email, username=email.partition("@")[0], first_name="Ada",
                  last_name="Lovelace", password=STRONG)

    def expire(self):
        """The access token runs out, at the server and, where it is a cookie, in the browser."""
        self.site.httpd.advance_clock(LIFETIME + 1)
        self.browser.delete_cookie("__Host-sa-access")

    def shows(self, selector):
        return [found.text for found in self.browser.find_elements(By.CSS_SELECTOR, selector)]

    def problem(self):
        return self.shows("#problem")[0]

    def kept(self):
        """All that scripts of this origin can find."""
        return self.browser.execute_script("return Object.values(localStorage).join() + document.cookie")


def grants(site):
    return site.httpd.whole_access_log().count('"POST /api/social-auth/token HTTP')


@DATABASES
def test_up_in_and_out(app, site):
    assert app.problem() == "" and app.shows("#account") == []
    app.sign_up("ada@example.org")
    assert app.shows("#email") == ["ada@example.org"] and app.shows("#linked li") == []
    assert (app.kept() == "") == site.in_cookies
    app.open()
    assert app.shows("h1") == ["Ada"]
    app.click("#sign-out")
    assert app.shows("#account") == [] and app.kept() == ""
    assert site.db.value("SELECT count(*) FROM sa_sessions WHERE revoked_at IS NULL") == 0
    app.open()
    assert app.shows("#account") == []
    app.send("sign-in", email="ada@example.org", password="wrong")
    assert app.problem() == "No active account found with the given credentials"
    app.send("sign-in", email="ada@example.org", password=STRONG)
    assert app.shows("#email") == ["ada@example.org"]
    app.click("#sign-out")
    app.sign_up("ada@example.org")
    assert "already exists" in app.problem()


@DATABASES
def test_T116_parallel_401s_refresh_once(app, site):
    """A second refresh with the same token would end the session and be logged."""
    app.sign_up("grace@example.org")
    for _ in range(2):
        app.expire()
        before = grants(site)
        app.click("#reload")
        assert app.shows("#email") == ["grace@example.org"] and app.problem() == ""
        assert grants(site) == before + 1
    app.expire()
    app.open()
    assert app.shows("#email") == ["grace@example.org"]
    app.expire()
    app.click("#sign-out")
    assert app.problem() == "" and app.shows("#account") == []


@DATABASES
def test_a_session_that_ended_elsewhere(app, site):
    app.sign_up("barbara@example.org")
    site.db.query("UPDATE sa_sessions SET revoked_at = 1 WHERE revoked_at IS NULL")
    app.expire()
    app.click("#reload")
    assert app.shows("#account") == [] and app.problem() != "" and app.kept() == ""


@DATABASES
def test_two_tabs(app, site, origin):
    """The tokens of a tab are old when the other has refreshed."""
    app.sign_up("joan@example.org")
    first = app.browser.current_window_handle
    app.browser.switch_to.new_window("tab")
    App(app.browser, origin, site)
    second = app.browser.current_window_handle
    for handle in (first, second, first):
        app.expire()
        app.browser.switch_to.window(handle)
        app.click("#reload")
        assert app.shows("#email") == ["joan@example.org"] and app.problem() == ""


@DATABASES
def test_a_refresh_that_fails_in_passing(app, site):
    """Here with 501, of the page's own server."""
    app.sign_up("hedy@example.org")
    app.expire()
    app.browser.execute_script("""
        const open = XMLHttpRequest.prototype.open;
        XMLHttpRequest.prototype.open = function (method, url, ...more) {
            return open.call(this, method, window.broken && url.endsWith("/token") ? "/broken" : url, ...more);
        };
        window.broken = true""")
    app.click("#reload")
    assert app.problem() != "" and app.shows("#email") == ["hedy@example.org"]
    app.browser.execute_script("broken = false")
    app.click("#reload")
    assert app.problem() == "" and app.shows("#email") == ["hedy@example.org"]


@DATABASES
@pytest.mark.parametrize("backend, name, label", [("google-oauth2", "Grace", "Google"),
                                                  ("facebook", "Barbara", "Facebook")])
def test_the_buttons(app, site, dialogs, backend, name, label):
    app.leave("#" + backend)
    assert app.problem() == ""
    assert app.shows("h1") == [name] and app.shows("#linked li") == [label]
    assert "access_token" not in app.browser.current_url
    app.click("#sign-out")
    dialogs.answer = "refuse"
    app.leave("#" + backend)
    assert app.problem() == "Not today." and app.shows("#account") == []
    dialogs.answer = "cancel"
    app.leave("#" + backend)
    assert app.problem() == "access_denied"
