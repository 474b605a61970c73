"""Tokens in cookies as Chromium keeps them: SocialAuthTokenDelivery cookie."""
import functools
import http.server
import pathlib
import threading

import pytest

from support import paths
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


@pytest.fixture(scope="module")
def site():
    databases, provider = Databases(), FakeProvider()
    made = Site("cookies", "event", databases.make("sqlite3"), provider,
                Settings(mount="SocialAuthTokenDelivery cookie"))
    made.httpd.start()
    made.make_user("ada@example.org", "ada")
    (pathlib.Path(made.httpd.docs) / "page.html").write_text("<!DOCTYPE html><title>page</title>")
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
    browser.execute_async_script("setTimeout(arguments[0], 200)")
    assert browser.current_url.endswith(path)
    assert site.db.dump() == before
    browser.get(site.url + "/page.html")
    assert call(browser, "linked-accounts/")[0] == 200
    assert call(browser, "token/refresh/", {})[0] == 200
