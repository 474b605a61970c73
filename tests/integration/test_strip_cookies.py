"""SocialAuthStripCookies: the module's cookies go to nobody else (threats T139, T140)."""
import os

import pytest

from support.client import curl
from support.fake_provider import Reply

pytestmark = pytest.mark.db
ADA = "ada@example.org"
MODULES = ["proxy", "proxy_http", "cgid", "rewrite", "include"]
OTHERS = """
ScriptSock cgi.sock
ScriptAlias "/cgi/" "{root}/cgi/"
<Directory "{root}">
Require all granted
</Directory>
ProxyPass "/app/" "{provider}/app/"
ProxyPass "/trusted/" "{provider}/trusted/"
<Location "/trusted/">
SocialAuthStripCookies Off
</Location>
<Directory "{root}/cgi/trusted">
SocialAuthStripCookies Off
</Directory>
RewriteEngine On
RewriteRule "^/moved/(.*)" "{provider}/app/$1" [P]
<Location "/cgi/authorized">
SetEnvIf Cookie "(.*)" HTTP_COOKIE=$1
</Location>
<Location "/page.shtml">
Options +Includes
SetOutputFilter INCLUDES
</Location>
"""
ECHO = '#!/bin/sh\nprintf "Content-Type: text/plain\\n\\n%s" "$HTTP_COOKIE"\n'
TO_THE_MODULE = '#!/bin/sh\nprintf "Location: /api/social-auth/linked-accounts/\\n\\n"\n'


@pytest.fixture
def site(make_site):
    site = make_site(mount="SocialAuthTokenDelivery cookie", modules=MODULES, more=OTHERS)
    for name, text in (("echo", ECHO), ("trusted/echo", ECHO), ("authorized", ECHO),
                       ("moves", TO_THE_MODULE)):
        path = os.path.join(site.httpd.root, "cgi", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, 0o755)
    with open(os.path.join(site.httpd.docs, "page.shtml"), "w") as f:
        f.write('<!--#include virtual="/api/social-auth/currentUser/" -->'
                '[<!--#echo var="HTTP_COOKIE" -->]')
    site.make_user(ADA, "ada")
    return site


@pytest.fixture
def browser(site):
    """Signed in, in the middle of another login, and with a cookie of the site's own."""
    browser = site.browser()
    assert site.password_login(ADA, browser=browser).status == 200
    assert browser.get("github/state/").status == 200
    browser.cookies["theme"] = "dark"
    ours = [name for name in browser.cookies if "sa-" in name]
    assert len(ours) == 3 and all(name.startswith(("__Host-sa-", "__Secure-sa-")) for name in ours)
    browser.paths.clear()           # as if the refresh cookie went everywhere
    return browser


def seen(provider, browser, path, headers=None, arrives=None):
    """The Cookie header as the back end got it, None when it got none."""
    provider.script(arrives or path, Reply(200))
    before = len(provider.asked(arrives or path))
    assert browser.fetch("GET", path, headers=headers or {}).status == 200
    request, = provider.asked(arrives or path)[before:]
    return request.headers.get("cookie")


def test_T139_T140_a_back_end_sees_no_cookie_of_ours(provider, browser):
    assert seen(provider, browser, "/app/a") == "theme=dark"
    assert seen(provider, browser, "/moved/b", arrives="/app/b") == "theme=dark"
    del browser.cookies["theme"]
    assert seen(provider, browser, "/app/c") is None


def test_T140_a_program_sees_no_cookie_of_ours(browser):
    assert browser.fetch("GET", "/cgi/echo").text == "theme=dark"


def test_a_back_end_that_is_trusted_sees_them(provider, browser):
    sent = "; ".join("%s=%s" % kv for kv in browser.cookies.items())
    assert seen(provider, browser, "/trusted/a") == sent
    assert browser.fetch("GET", "/cgi/trusted/echo").text == sent


def test_what_a_program_sends_to_the_module_is_still_signed_in(browser):
    answer = browser.fetch("GET", "/cgi/moves")
    assert answer.status == 200 and "providers" in answer.json(), answer


def test_what_a_page_includes_is_still_signed_in(browser):
    page = browser.fetch("GET", "/page.shtml").text
    assert '"username":"ada"' in page.replace(" ", "") and page.endswith("[theme=dark]"), page


def test_T140_what_an_authorizer_was_told_is_taken_back(browser):
    """mod_authnz_fcgi makes the environment before; here SetEnvIf does."""
    assert browser.fetch("GET", "/cgi/authorized").text == "theme=dark"
    del browser.cookies["theme"]
    assert browser.fetch("GET", "/cgi/authorized").text == ""


def test_T140_a_rule_that_proxies_everything_leaves_the_mount(make_site, provider):
    """In a <Location> it comes after all that maps names."""
    site = make_site(mount="SocialAuthTokenDelivery cookie", modules=["proxy", "proxy_http", "rewrite"],
                     more='<Location "/">\nRewriteEngine On\n'
                          'RewriteRule "^" "{provider}/all%{REQUEST_URI}" [P]\n</Location>')
    site.make_user(ADA, "ada")
    browser = site.browser()
    assert site.password_login(ADA, browser=browser).status == 200
    assert browser.get("currentUser/").json()["username"] == "ada"
    assert site.password_login(ADA).status == 200
    assert seen(provider, browser, "/a", arrives="/all/a") is None
    assert not [r for r in provider.requests if r.path.startswith("/all/api")]


OURS = ["__Host-sa-access", "__Secure-sa-refresh", "__Host-sa-state-0123abcd", "sa-access",
        "sa-refresh", "sa-state-89abcdef", "__Host-sa-access-0123abcd",
        "__Secure-sa-refresh-0123abcd", "sa-access-89abcdef", "sa-refresh-89abcdef"]
OTHERS_LIKE_OURS = ["sa-accessibility", "xsa-access", "sa-access-log", "sa-state-xyz", "sa-refreshed",
                    "__Host-session", "sa-state-0123abcde", "theme"]


@pytest.mark.parametrize("name", OURS)
def test_T140_by_every_name_that_a_mount_may_have_given_it(provider, site, name):
    browser = site.browser()
    for cookies in ("a=1; {}=x.y.z; b=2", "{}=x; a=1; b=2", "a=1; b=2; {}=", "{0}=1;{0}=2; a=1; b=2"):
        assert seen(provider, browser, "/app/a", {"Cookie": cookies.format(name)}) == "a=1; b=2"


@pytest.mark.parametrize("name", OTHERS_LIKE_OURS)
def test_a_cookie_of_somebody_else_stays_as_it_is(provider, site, name):
    cookies = 'a="x, y";%s=sa-access; b;  c=1,2=sa-;' % name
    assert seen(provider, site.browser(), "/app/a", {"Cookie": cookies}) == cookies


def test_T140_two_cookie_lines(provider, site):
    headers = [("Cookie", "a=1"), ("Cookie", "__Host-sa-access=x.y.z"), ("Cookie", "b=2")]
    assert seen(provider, site.browser(), "/app/a", headers) == "a=1, b=2"


@pytest.mark.threaded
def test_T140_over_http2(make_site):
    """There each cookie may come in a field of its own. (The answer's header says what its handler could see:
    with pools under debugging mod_proxy_http and mod_cgid end the server at any request by HTTP/2.)"""
    site = make_site(modules=["http2"], server="Protocols h2c http/1.1",
                     more='Header always set X-Seen "expr=[%{HTTP_COOKIE}]"')
    answer = curl("--http2-prior-knowledge", "-H", "Cookie: a=1", "-H", "Cookie: sa-access=x.y.z",
                  "-H", "Cookie: b=2", site.url + "/")
    assert answer.header("X-Seen") in ("[a=1; b=2]", "[a=1, b=2]"), answer
