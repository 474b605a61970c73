"""conf/js/social-auth.js in Chromium: one refresh for many, sign-in by redirect and popup."""
import functools
import http.server
import pathlib
import shutil
import socket
import threading
import time

import pytest
from selenium.webdriver.support.ui import WebDriverWait

from support import paths
from support.client import Browser
from support.database import Databases
from support.dialogs import Dialogs
from support.fake_provider import GITHUB_CLIENT, GOOGLE_CLIENT, FakeProvider
from support.httpd import STATUS
from support.site import STRONG, Settings, Site

JS = pathlib.Path(__file__).resolve().parents[2] / "conf" / "js"
ADA = "ada@example.org"
# A slow tab is given more than the module's second, and no popup closes by itself in time. Where
# nobody will answer, the test sets the patience.
PAGE = """<!DOCTYPE html><title>page</title><script>
const timer = setTimeout;
window.setTimeout = (task, ms, ...more) =>
    timer(task, ms === 1000 ? window.patience ?? 15000 : ms, ...more);
</script><script type="module">
import * as client from "./social-auth.js";
if (opener) {
    new client.SocialAuth({api: "/api/social-auth"}).finish();
}
Object.assign(window, client, {isReady: true});
</script>"""
RUN = """
const done = arguments[arguments.length - 1];
const given = arguments[0];
(async () => { %s })().then((value) => done({value: value ?? null}),
    (e) => done({code: e.code ?? String(e), status: e.status, retryAfter: e.retryAfter, provider: e.provider,
                 fields: e.fields, message: e.message}));
"""
# How long the access tokens live; as the clock goes ahead of the provider's, its tokens are old.
LIFETIME = 60
SHORT = ("SocialAuthAccessTokenLifetime %d\nSocialAuthRefreshReuseInterval 0\n"
         "SocialAuthMaxTokenAge 1d" % LIFETIME)
LIVE = "SELECT count(*) FROM sa_sessions WHERE revoked_at IS NULL"
MODES = pytest.mark.parametrize("mode", ["json", "cookie"])


@pytest.fixture(scope="module")
def world():
    """A database, providers and the sites made of them."""
    databases, provider = Databases(), FakeProvider()
    sites = {}

    def make(*lines, throttle="off"):
        key = (lines, throttle)
        if key not in sites:
            github, google, facebook = provider.github, provider.google, provider.facebook
            sites[key] = site = Site(
                "client%d" % len(sites), "event", databases.make("sqlite3"), provider,
                Settings(mount="\n".join(lines), throttle=throttle, faketime="+0", more=STATUS,
                         providers=[
                             github.options + " redirect-uri=http://localhost:{port}/page.html",
                             google.options, facebook.options]))
            site.httpd.start()
            for file in JS.iterdir():
                shutil.copy(file, site.httpd.docs)
            (pathlib.Path(site.httpd.docs) / "page.html").write_text(PAGE)
            site.make_user(ADA, "ada")
        return sites[key]
    make.provider = provider
    yield make
    for site in sites.values():
        site.httpd.stop()
    provider.close()
    databases.close()
    paths.forget_scratch()


@pytest.fixture
def site(world):
    """site(*mount lines): its error log must stay clean."""
    used = []

    def get(*lines, **kw):
        used.append(world(*lines, **kw))
        used[-1].httpd.mark()
        return used[-1]
    yield get
    for each in used:
        assert each.httpd.unexpected_log() == []


@pytest.fixture
def dialogs(world):
    world.provider.reset()
    made = Dialogs(world.provider)
    made.who = {"github": world.provider.github.user(), "google": world.provider.google.claims(),
                "facebook": world.provider.facebook.user()}
    yield made
    made.close()


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """The page on an origin of its own."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for file in JS.iterdir():
        shutil.copy(file, folder)
    (folder / "page.html").write_text(PAGE)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(
        Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield "http://localhost:%d" % server.server_address[1]
    server.shutdown()
    server.server_close()


class Tab:
    def __init__(self, browser, site, origin=None, first=False):
        if not first:
            browser.switch_to.new_window("tab")
        self.browser, self.site, self.handle = browser, site, browser.current_window_handle
        self.origin = origin or site.url
        self.open()

    def open(self):
        self.show()
        self.browser.get(self.origin + "/page.html")
        self.loaded()
        return self

    def show(self):
        self.browser.switch_to.window(self.handle)

    def loaded(self):
        deadline = time.monotonic() + 15
        while not self.browser.execute_script(
                "return location.pathname === '/page.html' && window.isReady"):
            assert time.monotonic() < deadline, self.browser.current_url
            time.sleep(0.02)

    def ask(self, script, given=None):
        self.show()
        return self.browser.execute_async_script(RUN % script, given)

    def __call__(self, script, given=None):
        answer = self.ask(script, given)
        assert "value" in answer, answer
        return answer["value"]

    def fails(self, script, given=None):
        answer = self.ask(script, given)
        assert "code" in answer, answer
        return answer

    def make(self, options="{}"):
        self("window.auth = new SocialAuth({api: '/api/social-auth', ...%s})" % options)
        return self

    def sign_in(self):
        self("await auth.signIn(given)", {"email": ADA, "password": STRONG})
        return self

    def expire(self):
        """The access token runs out, at the server and, where it is a cookie, in the browser."""
        self.show()
        self.site.httpd.advance_clock(LIFETIME + 1)
        self.browser.delete_cookie("__Host-sa-access")

    def signed_in(self):
        return self("return auth.isSignedIn")

    def is_told(self):
        """Another tab has signed out; its message may take a while."""
        WebDriverWait(self.browser, 15).until(lambda _: not self.signed_in())

    def linked(self):
        return {account["label"] for account in self("return auth.linkedAccounts()")
                if account["is_linked"]}


@pytest.fixture
def tab(browser):
    tabs = []

    def new(site, origin=None):
        tabs.append(Tab(browser, site, origin, first=not tabs))
        return tabs[-1]
    return new


def refreshes(site, path="token/refresh/"):
    """How often the server was asked to refresh."""
    return site.httpd.whole_access_log().count("POST /api/social-auth/%s " % path)


def options_of(mode, more=""):
    return "{delivery: '%s', %s}" % (mode, more)


def stored(site):
    return "social-auth " + site.issuer


def of_mode(mode, *lines):
    return [*lines, "SocialAuthTokenDelivery " + mode]


def together(first, second, script):
    """The script in both tabs at once; a hidden tab's timers are late, its messages are not."""
    wait = """
        const go = new BroadcastChannel("go");
        window.done = new Promise((resolve) => { go.onmessage = resolve; })
            .then(async () => { %s });
    """ % script
    first(wait)
    second(wait)
    second("go = new BroadcastChannel('go'); go.postMessage(1)")
    return first("return window.done"), second("return window.done")


CALLS = """
    const calls = Array.from({length: 5}, () => auth.fetch("/api/social-auth/linked-accounts/"));
    return (await Promise.all(calls)).map((answer) => answer.status);
"""


# ---- refreshing

@MODES
def test_parallel_401s_make_one_refresh(site, tab, mode):
    shop = site(*of_mode(mode, SHORT))
    page = tab(shop).make(options_of(mode)).sign_in()
    for _ in range(2):
        before = refreshes(shop)
        assert page(CALLS) == [200] * 5
        assert refreshes(shop) == before
        page.expire()
        assert page(CALLS) == [200] * 5
        assert refreshes(shop) == before + 1


@MODES
def test_T116_two_tabs_refresh_once(site, tab, mode):
    """Twice would be a reuse, which ends the session and is logged."""
    shop = site(*of_mode(mode, SHORT))
    first = tab(shop).make(options_of(mode)).sign_in()
    second = tab(shop).make(options_of(mode))
    assert second("return auth.restore()") is True
    for _ in range(3):
        first.expire()
        before = refreshes(shop)
        assert together(first, second, CALLS) == ([200] * 5, [200] * 5)
        assert refreshes(shop) == before + 1


LATE = """
    const Channel = BroadcastChannel;
    window.BroadcastChannel = class extends Channel {
        set onmessage(hear) { super.onmessage = (event) => setTimeout(hear, 300, event); }
    };
"""


def test_T116_a_tab_that_hears_late_waits(site, tab):
    """It has the lock before it has the tokens of the one that had the lock."""
    shop = site("SocialAuthRefreshReuseInterval 0")
    first, second = tab(shop).make(), tab(shop)
    second(LATE)
    second.make()
    first.sign_in()
    assert second("return auth.restore()") is True
    for _ in range(3):
        before = refreshes(shop)
        first("await auth.refresh()")
        second("await auth.refresh()")
        assert refreshes(shop) == before + 1
        time.sleep(0.4)
        assert second("return auth.tokens") == first("return auth.tokens")


def test_what_is_closed_ends_what_it_began(site, tab):
    page = tab(site()).make().sign_in()
    page("const refreshed = auth.refresh(); auth.close(); await refreshed")
    assert page.linked() == set()


def test_a_listener_that_leaves(site, tab):
    page = tab(site()).make()
    page("window.heard = []; window.leave = auth.onChange(() => heard.push(auth.isSignedIn))")
    page.sign_in()
    page("leave(); await auth.signOut()")
    assert page("return heard") == [True]


def test_a_tab_that_cannot_mark_its_turn(site, tab):
    """The others may hear late; it is signed in."""
    page = tab(site()).make()
    page("""const request = navigator.locks.request.bind(navigator.locks);
            navigator.locks.request = (name, ...more) => / \\d+$/.test(name)
                ? Promise.reject(new DOMException("", "InvalidStateError")) : request(name, ...more)""")
    assert page.sign_in().linked() == set()


def test_two_tabs_that_start_from_the_store(site, tab):
    shop = site("SocialAuthRefreshReuseInterval 0")
    store = "{store: keepIn(localStorage)}"
    first, second = tab(shop).make(store).sign_in(), tab(shop)
    kept = first("return JSON.parse(localStorage.getItem(given))", stored(shop))
    assert kept["refresh"].count(".") == 2 and "access" not in kept
    before = refreshes(shop)
    first.open().make(store)
    second.make(store)
    restored = together(first, second, "return auth.restore()")
    assert restored == (True, True) and refreshes(shop) == before + 1
    assert first.linked() == second.linked() == set()
    first("await auth.signOut()")
    assert second("return localStorage.getItem(given)", stored(shop)) is None
    second.is_told()


def test_what_a_tab_that_is_closed_has_left_in_the_store(site, tab):
    shop = site(SHORT)
    store = "{store: keepIn(localStorage)}"
    first, second = tab(shop).make(store).sign_in(), tab(shop)
    second("BroadcastChannel = class extends EventTarget { postMessage() {} close() {} }")
    second.make(store)
    assert second("return auth.restore()") is True
    first("window.patience = 1000; await auth.refresh()")
    first.show()
    first.browser.close()
    second.expire()
    assert second.linked() == set() and second.signed_in()


def test_two_clients_in_one_store(site, tab):
    shop = site()
    page = tab(shop)
    for name in ("shop", "desk"):
        app = shop.application("password refresh_token", public=True)
        page.make("{client: {id: '%s'}, store: keepIn(localStorage)}" % app["client_id"])
        assert page("return auth.restore()") is False
        page.sign_in()
        page("window.%s = auth" % name)
    page("await desk.signOut()")
    assert page("return [shop.isSignedIn, Object.keys(localStorage).length]") == [True, 1]
    page("await shop.refresh()")


def test_nothing_outlives_the_page_without_a_store(site, tab):
    page = tab(site()).make().sign_in()
    assert page("return Object.keys(localStorage).concat(Object.keys(sessionStorage))") == []
    page.open().make()
    assert page("return auth.restore()") is False
    assert page("return (await auth.fetch('/api/social-auth/linked-accounts/')).status") == 401


def test_a_request_with_a_body_is_sent_again(site, tab):
    shop = site(SHORT)
    page = tab(shop).make().sign_in()
    page.expire()
    assert page("""
        const answer = await auth.fetch("/api/social-auth/currentUser/", {
            method: "PATCH", headers: {"Content-Type": "application/json"},
            body: JSON.stringify({first_name: "Augusta"})});
        return (await answer.json()).first_name""") == "Augusta"


def test_a_refresh_that_fails_in_passing_signs_nobody_out(site, tab):
    shop = site(SHORT)
    page = tab(shop).make("""{fetch: (request) => window.broken && request.url.includes("/token/")
        ? Promise.reject(new TypeError("Failed to fetch")) : fetch(request)}""").sign_in()
    page.expire()
    page("window.broken = true")
    assert page.fails("await auth.linkedAccounts()")["code"] == "unreachable"
    assert page.signed_in()
    page("window.broken = false")
    assert page.linked() == set()


def test_nobody_waits_for_ever(site, tab):
    """Neither for a server that does not answer, nor, who has had enough, for a refresh."""
    silent = socket.create_server(("127.0.0.1", 0))
    page = tab(site(SHORT))
    page("""const timeout = AbortSignal.timeout.bind(AbortSignal);
            AbortSignal.timeout = () => timeout(window.limit)""")
    page("Object.assign(window, given)", {
        "limit": 5000, "silent": "http://localhost:%d" % silent.getsockname()[1]})
    page.make("""{fetch: (request) => window.broken && request.url.includes("/token/")
        ? fetch(silent, {signal: request.signal}) : fetch(request)}""").sign_in()
    page.expire()
    page("window.broken = true; window.limit = 300")
    assert page.fails("await auth.refresh()")["code"] == "unreachable"
    page("window.limit = 5000")
    assert page("""
        const stop = new AbortController(), start = Date.now();
        setTimeout(() => stop.abort(), 100);
        const answer = auth.fetch("/api/social-auth/linked-accounts/", {signal: stop.signal});
        return [await answer.catch((e) => e.name), Date.now() - start < 4000]""") == ["AbortError", True]
    page("window.broken = false; await auth.refresh().catch(() => {})")
    assert page.linked() == set()
    silent.close()


@MODES
def test_a_dead_session_is_over_in_all_tabs(site, tab, mode):
    shop = site(*of_mode(mode, SHORT))
    first = tab(shop).make(options_of(mode)).sign_in()
    second = tab(shop).make(options_of(mode))
    second("return auth.restore()")
    shop.db.query("UPDATE sa_sessions SET revoked_at = 1 WHERE revoked_at IS NULL")
    first.expire()
    assert first.fails("await auth.linkedAccounts()")["status"] == 401
    assert not first.signed_in()
    second.is_told()


def test_the_access_token_goes_to_whom_it_is_for(site, tab, dialogs):
    page = tab(site()).make("{origins: ['%s']}" % dialogs.url).sign_in()
    page("await auth.fetch(given)", dialogs.url + "/data")
    assert dialogs.asked[-1]["Authorization"].startswith("Bearer ey")
    page = tab(page.site).make()
    assert page("await auth.restore(); return auth.isSignedIn")
    page("await auth.fetch(given)", dialogs.url + "/data")
    assert "Authorization" not in dialogs.asked[-1]


# ---- signing in and out

@MODES
def test_signing_out_ends_the_session(site, tab, mode):
    shop = site(*of_mode(mode))
    page = tab(shop).make(options_of(mode)).sign_in()
    assert page("return document.cookie") == ""
    tokens = page("return auth.tokens")
    before = shop.db.value(LIVE)
    page("await auth.signOut()")
    assert not page.signed_in() and shop.db.value(LIVE) == before - 1
    assert page.fails("await auth.linkedAccounts()")["code"] == "not_authenticated"
    if mode == "json":
        answer = Browser(shop.port).post("token/refresh/", {"refresh": tokens["refresh"]})
        assert answer.status == 401
    else:
        assert tokens == {}


@MODES
def test_the_other_dialect(site, tab, dialogs, mode):
    """client: access_token and refresh_token, and how they end."""
    shop = site(*of_mode(mode, SHORT, "SocialAuthRegistrationLogin On"))
    app = shop.application("password refresh_token convert_token", public=True)
    options = options_of(mode, "client: {id: '%s'}" % app["client_id"])
    live = LIVE + " AND client_id IS NOT NULL"
    page = tab(shop).make(options).sign_in()
    before = refreshes(shop, "token")
    page.expire()
    assert page(CALLS) == [200] * 5 and refreshes(shop, "token") == before + 1
    page.expire()
    page("await auth.signOut()")
    assert shop.db.value(live) == 0 and not page.signed_in()
    token = dialogs.found("facebook", {"response_type": "token"})["access_token"]
    page("await auth.signInWithToken('facebook', given)", token)
    assert page.linked() == {"Facebook"}
    page("await auth.signOut()")
    assert page("return auth.register(given)", {
        "email": "%s@example.org" % mode, "username": mode, "first_name": "Grace",
        "password": STRONG}) is True
    assert page.signed_in() and page.linked() == set()


@pytest.mark.parametrize("is_old", [False, True])
def test_who_signed_out_and_comes_back_by_a_link(site, tab, world, dialogs, is_old):
    shop = site(*of_mode("cookie", SHORT))
    world.provider.github.visitor = dialogs.who["github"]
    page, other = tab(shop).make(options_of("cookie")).sign_in(), tab(shop)
    page("await auth.signOut()")
    assert page("return auth.restore()") is False
    other.show()
    other.browser.get(shop.url + "/api/social-auth/login/github/?next=/page.html")
    other.loaded()
    if is_old:
        other.expire()
    assert page("return auth.restore()") is True and page.linked() == {"GitHub"}


def test_registration_without_login(site, tab):
    shop = site()
    page = tab(shop).make()
    user = {"email": "grace@example.org", "username": "grace", "first_name": "Grace",
            "password": STRONG}
    assert page("return auth.register(given)", user) is False
    assert not page.signed_in()
    problem = page.fails("await auth.register(given)", user)
    assert problem["status"] == 400 and set(problem["fields"]) >= {"email"}, problem


def test_what_is_wrong_comes_as_one_class(site, tab):
    page = tab(site("SocialAuthPasswordThrottleRate 2/hour", throttle=None)).make()
    wrong = ("await auth.signIn(given)", {"email": ADA, "password": "wrong"})
    problem = page.fails(*wrong)
    assert (problem["code"], problem["status"], problem["retryAfter"]) == \
        ("bad_credentials", 401, None)
    assert problem["message"] == "No active account found with the given credentials"
    page.fails(*wrong)
    problem = page.fails(*wrong)
    assert (problem["code"], problem["status"]) == ("throttled", 429)
    assert 3500 < problem["retryAfter"] <= 3600
    problem = page.fails("await new SocialAuth({api: '/nowhere'}).signIn({})")
    assert (problem["code"], problem["status"]) == ("unexpected_answer", 404)
    problem = page.fails("await new SocialAuth({api: 'http://localhost:9/x'}).signIn({})")
    assert (problem["code"], problem["status"]) == ("unreachable", 0)
    assert page("""try { await auth.signIn({}) } catch (e) { return e instanceof SocialAuthError
                   && e instanceof Error && e.name === "SocialAuthError" }""") is True


@MODES
@pytest.mark.parametrize("body", ["<!DOCTYPE html>", "", "null", "{}"])
def test_an_answer_that_is_none(site, tab, dialogs, mode, body):
    """Of a proxy or of the page's own server, say."""
    page = tab(site(*of_mode(mode)))
    page("window.body = given", body)
    page.make(options_of(mode, "fetch: (request) => Promise.resolve(new Response(body))"))
    calls = ["linkedAccounts()", "signInWith(%s.google, {popup: true})" % providers(dialogs)]
    if (mode, body) != ("cookie", "{}"):
        calls += ["signIn({})", "refresh()"]
    for call in calls:
        assert page.fails("await auth." + call)["code"] == "unexpected_answer"
    assert page.signed_in() == (mode == "cookie")


# ---- providers

def providers(dialogs):
    return """{
        github: {name: "github", authorizeUrl: "%s/github", clientId: "%s", scope: "user:email"},
        google: {name: "google", authorizeUrl: "%s/google", clientId: "%s", scope: "openid email",
                 flow: "id_token"}}""" % (dialogs.url, GITHUB_CLIENT, dialogs.url, GOOGLE_CLIENT)


KEPT = "{delivery: '%s', store: keepIn(sessionStorage, {access: true})}"


def leave(page, dialogs, method, name):
    """Away to the provider, and back."""
    page("void auth.%s(%s.%s)" % (method, providers(dialogs), name))
    deadline = time.monotonic() + 15
    while "state=" not in page.browser.current_url:
        assert time.monotonic() < deadline, page.browser.current_url
        time.sleep(0.02)
    page.loaded()


@MODES
def test_by_redirect(site, tab, dialogs, mode):
    shop = site(*of_mode(mode))
    page = tab(shop).make(KEPT % mode)
    leave(page, dialogs, "signInWith", "github")
    page.make(KEPT % mode)
    trip = page("return auth.finish()")
    assert (trip["provider"], trip["purpose"]) == ("github", "login")
    assert page("return location.href") == shop.url + "/page.html"
    assert page.linked() == {"GitHub"}
    leave(page, dialogs, "link", "google")
    page.make(KEPT % mode)
    assert page("return auth.finish()")["purpose"] == "link"
    assert page.linked() == {"GitHub", "Google"}
    page("await auth.unlink('github')")
    assert page.linked() == {"Google"}
    assert page("return auth.finish()") is None
    assert page("return sessionStorage.getItem('social-auth-trip')") is None


@MODES
def test_a_client_that_signs_in_with_a_provider(site, tab, dialogs, mode):
    """The tokens are not the client's: another dialect refreshes and ends them."""
    shop = site(*of_mode(mode, SHORT))
    app = shop.application("password refresh_token", public=True)
    page = tab(shop).make(options_of(mode, "client: {id: '%s'}" % app["client_id"]))
    before = shop.db.value(LIVE)
    for _ in range(2):
        page("await auth.signInWith(%s.google, {popup: true})" % providers(dialogs))
        for _ in range(2):
            page.expire()
            asked, mistaken = refreshes(shop), refreshes(shop, "token")
            assert page(CALLS) == [200] * 5 and page.linked() == {"Google"}
            assert (refreshes(shop), refreshes(shop, "token")) == (asked + 1, mistaken)
        page("await auth.signOut()")
        assert not page.signed_in() and shop.db.value(LIVE) == before
    page.expire()
    page.sign_in()
    asked = refreshes(shop, "token")
    page.expire()
    assert page(CALLS) == [200] * 5 and refreshes(shop, "token") == asked + 1


def test_a_client_of_somebody_whom_a_link_signed_in(site, tab, world, dialogs):
    """The cookies do not tell whose they are; what refreshed them is remembered."""
    shop = site(*of_mode("cookie", SHORT))
    app = shop.application("password refresh_token", public=True)
    options = options_of("cookie", "client: {id: '%s'}" % app["client_id"])
    world.provider.github.visitor = dialogs.who["github"]
    page, before = tab(shop), shop.db.value(LIVE)
    for expires in (True, False):
        page.browser.get(shop.url + "/api/social-auth/login/github/?next=/page.html")
        page.loaded()
        page.make(options)
        assert page("return auth.restore()") is True and page.linked() == {"GitHub"}
        for tries in (2, 1) if expires else ():
            page.expire()
            asked = refreshes(shop) + refreshes(shop, "token")
            assert page(CALLS) == [200] * 5
            assert refreshes(shop) + refreshes(shop, "token") == asked + tries
        page("await auth.signOut()")
        assert not page.signed_in() and shop.db.value(LIVE) == before


def test_a_link_of_whom_another_tab_has_the_tokens(site, tab, dialogs):
    page, other = tab(site()).make().sign_in(), tab(site())
    other.make()
    assert other("return auth.restore()") is True
    leave(page, dialogs, "link", "google")
    page.make()
    page("await auth.finish()")
    assert page.linked() == {"Google"}


@MODES
def test_by_popup(site, tab, dialogs, mode):
    """Nothing has to be kept for it."""
    shop = site(*of_mode(mode))
    page = tab(shop).make(options_of(mode))
    for method, name in (("signInWith", "google"), ("link", "github")):
        page("await auth.%s(%s.%s, {popup: true})" % (method, providers(dialogs), name))
    assert page.linked() == {"GitHub", "Google"}
    WebDriverWait(page.browser, 10).until(lambda b: b.window_handles == [page.handle])


@MODES
def test_a_page_on_another_origin(site, tab, dialogs, elsewhere, mode):
    """CORS: tokens without credentials, cookies with."""
    credentials = ["SocialAuthAllowCredentials On"] if mode == "cookie" else []
    shop = site(*of_mode(mode, SHORT, "SocialAuthAllowOrigin " + elsewhere, *credentials))
    page = tab(shop, elsewhere).make(options_of(mode, "api: '%s'" % shop.issuer))
    page("await auth.signInWith(%s.google, {popup: true})" % providers(dialogs))
    page.expire()
    before = refreshes(shop)
    calls = "return (await Promise.all([1, 2, 3].map(() => auth.linkedAccounts()))).length"
    assert page(calls) == 3 and refreshes(shop) == before + 1
    assert page.linked() == {"Google"}
    again = page.fails("await auth.link(%s.google, {popup: true})" % providers(dialogs))
    assert again["code"] == "identity_taken"
    page("await auth.signOut()")
    assert not page.signed_in()
    assert page.fails("await auth.linkedAccounts()")["code"] == "not_authenticated"


def test_a_trip_for_an_id_token_is_bound_without_cookies(site, tab, dialogs, elsewhere):
    shop = site("SocialAuthAllowOrigin " + elsewhere, "SocialAuthStateBinding required")
    page = tab(shop, elsewhere).make("{api: '%s'}" % shop.issuer)
    page("await auth.signInWith(%s.google, {popup: true})" % providers(dialogs))
    assert page.linked() == {"Google"}
    assert not any("code_challenge" in path for path in dialogs.paths)


def test_a_message_of_another_origin_is_not_heard(site, tab, dialogs):
    page = tab(site()).make()
    dialogs.answer = "lure"
    problem = page.fails("await auth.signInWith(%s.google, {popup: true})" % providers(dialogs))
    assert problem["code"] == "popup_closed"
    assert not page.signed_in()


def test_what_the_redirect_uri_itself_asks_for_stays(site, tab):
    shop = site()
    page = tab(shop)
    for there, left in (("?tenant=1&code=x&state=y&iss=z&scope=a+b#_=_", "?tenant=1"),
                        ("?tenant=1#id_token=x&state=y", "?tenant=1"), ("?state=y&error=x", "")):
        page.browser.get(shop.url + "/page.html" + there)
        page.loaded()
        page.make().fails("await auth.finish()")
        assert page("return location.href") == shop.url + "/page.html" + left
        page.browser.get("about:blank")


def test_who_refuses_at_the_provider(site, tab, dialogs):
    page = tab(site()).make()
    dialogs.answer = "refuse"
    leave(page, dialogs, "signInWith", "github")
    problem = page.make().fails("await auth.finish()")
    assert (problem["code"], problem["message"], problem["provider"]) == \
        ("access_denied", "Not today.", "github")


def test_T1_an_answer_of_somebody_elses_sign_in(site, tab, dialogs):
    shop = site()
    page = tab(shop).make()
    page.browser.get(shop.url + "/page.html?code=stolen&state=unknown")
    page.loaded()
    assert page.make().fails("await auth.finish()")["code"] == "unknown_sign_in"
    assert page("return location.search") == ""
