"""SocialAuthTokenDelivery: tokens in HttpOnly cookies (threat section H)."""
import pytest

from support import check, jose
from support.site import STRONG

pytestmark = pytest.mark.db
ADA = "ada@example.org"
ACCESS, REFRESH = "__Host-sa-access", "__Secure-sa-refresh"
APP = "https://app.example.test"
COOKIE, BOTH = "SocialAuthTokenDelivery cookie", "SocialAuthTokenDelivery both"
SAME = {"Sec-Fetch-Site": "same-origin", "X-Requested-With": "XMLHttpRequest"}
FORM = "application/x-www-form-urlencoded"
MODES = pytest.mark.parametrize("mode", [COOKIE, BOTH], ids=["cookie", "both"])


@pytest.fixture
def shop(make_site):
    """shop(mode, further lines) -> a site with a user and an application"""
    def make(mode=COOKIE, *lines, **kw):
        site = make_site(mount="\n".join([mode, *lines]), **kw)
        site.ada = site.make_user(ADA, "ada")
        site.app = site.application("password refresh_token client_credentials convert_token")
        return site
    return make


def signed_in(site, browser=None, **kw):
    browser = browser or site.browser()
    answer = site.password_login(ADA, browser=browser, **kw)
    assert answer.status == 200, answer
    return browser


def refresh(browser, headers=SAME, **kw):
    return browser.post("token/refresh/", headers=headers, **kw)


def sessions(site):
    return site.db.value("SELECT count(*) FROM sa_sessions WHERE revoked_at IS NULL")


def cleared(answer):
    for name in (ACCESS, REFRESH):
        value, attributes = answer.set_cookies()[name]
        assert value == "" and attributes["max-age"] == "0", answer


def forged(answer):
    check.json_headers(answer)
    assert answer.status == 403, answer
    body = answer.json()
    assert body["detail"].startswith("CSRF Failed: ") and body["error"] == "forbidden", body
    assert answer.set_cookies() == {}, answer


# ---- setting

def logins(site):
    """Every way to be signed in, in both dialects."""
    def password(browser):
        return site.password_login(ADA, browser=browser)

    def grant(browser):
        return browser.post("token", {"grant_type": "password", "username": ADA,
                                      "password": STRONG, **site.app})

    def google(browser):
        return site.google_login(browser)

    def by_refresh(browser):
        signed_in(site, browser)
        return refresh(browser)

    def by_refresh_grant(browser):
        grant(browser)
        return browser.post("token", {"grant_type": "refresh_token", **site.app}, headers=SAME)
    return password, grant, google, by_refresh, by_refresh_grant


@MODES
def test_T135_T139_every_login_sets_both_cookies(shop, mode):
    site = shop(mode)
    for login in logins(site):
        browser = site.browser()
        answer = login(browser)
        assert answer.status == 200, answer
        cookies = answer.set_cookies()
        value, access = cookies[ACCESS]
        assert access == {"max-age": "3600", "path": "/", "secure": "", "httponly": "",
                          "samesite": "Lax"}, login
        assert jose.claims_of(value)["iss"] == site.issuer
        token, attributes = cookies[REFRESH]
        assert attributes == {"max-age": "86400", "path": site.settings.path + "/token",
                              "secure": "", "httponly": "", "samesite": "Lax"}, login
        body = answer.json()
        if mode is BOTH:
            assert value in body.values() and token in body.values()
        else:
            assert set(body) - {"token_type", "scope"} == {"expires_in"}, body
            assert body["expires_in"] == 3600
        assert set(browser.cookies_for(site.settings.path + "/linked-accounts/")) == {ACCESS}
        assert set(browser.cookies_for("/")) == {ACCESS}
        assert REFRESH in browser.cookies_for(site.settings.path + "/token/refresh/")


def test_json_is_the_default_and_sees_no_cookie(site):
    site.make_user(ADA, "ada")
    browser = site.browser()
    answer = site.password_login(ADA, browser=browser)
    tokens = check.signed_in(answer)
    assert answer.set_cookies() == {}
    browser.cookies = {ACCESS: tokens["access"], REFRESH: tokens["refresh"]}
    check.not_signed_in(browser.get("linked-accounts/"))
    answer = refresh(browser)
    assert answer.status == 400 and answer.json()["refresh"] == ["This field is required."], answer


@MODES
def test_tokens_of_an_application_itself_are_in_the_body(shop, mode):
    site = shop(mode)
    answer = site.browser().post("token", {"grant_type": "client_credentials", **site.app})
    assert answer.status == 200 and answer.json()["access_token"]
    assert answer.set_cookies() == {}


def test_T143_plain_http_has_no_secure_cookies(shop):
    site = shop(base_url="http://www.example.test")
    site.expect_log("SA0101")
    cookies = site.password_login(ADA).set_cookies()
    assert set(cookies) == {"sa-access", "sa-refresh"}
    assert all("secure" not in attributes and "httponly" in attributes
               for _, attributes in cookies.values())


@MODES
def test_T142_a_token_too_long_for_a_cookie_is_refused(shop, mode):
    site = shop(mode)
    site.expect_log("SA0100: unavailable: __Host-sa-access would have [0-9]+ bytes")
    scopes = " ".join("scope%04d" % i for i in range(400))
    app = site.application("password", scopes=scopes)
    answer = site.browser().post("token", {"grant_type": "password", "username": ADA,
                                           "password": STRONG, **app})
    assert answer.status == 503 and answer.set_cookies() == {}, answer
    assert "access_token" not in answer.json()


# ---- reading

@MODES
def test_the_cookies_are_enough(shop, mode):
    site = shop(mode)
    browser = signed_in(site)
    assert browser.get("linked-accounts/").status == 200
    before = dict(browser.cookies)
    assert refresh(browser, json={"refresh": ""}).status == 200
    assert browser.cookies[ACCESS] != before[ACCESS]
    assert browser.cookies[REFRESH] != before[REFRESH]
    assert browser.get("linked-accounts/").status == 200


def test_T125_the_header_counts_before_the_cookie(shop):
    site = shop(BOTH)
    browser = signed_in(site)
    other = check.signed_in(site.google_login())["access"]
    linked = browser.get("linked-accounts/", bearer=other).json()["providers"]
    assert [p["is_linked"] for p in linked if p["label"].lower().startswith("google")] == [True]
    check.access_refused(browser.get("linked-accounts/", bearer="x.y.z"))


def test_T138_two_cookies_of_one_name(shop):
    site = shop()
    browser = signed_in(site)
    access, token = browser.cookies[ACCESS], browser.cookies[REFRESH]
    twice = {"Cookie": "%s=%s; %s=%s" % (ACCESS, access, ACCESS, access)}
    check.access_refused(browser.get("linked-accounts/", headers=twice))
    twice = {"Cookie": "%s=x; %s=%s" % (REFRESH, REFRESH, token), **SAME}
    answer = refresh(browser, headers=twice)
    check.refresh_refused(answer)
    cleared(answer)
    assert sessions(site) == 1


def test_T141_tampered_cookies(shop):
    site = shop()
    browser = signed_in(site)
    good = browser.cookies[ACCESS]
    for bad in (good[:-2] + ("AA" if good[-2:] != "AA" else "BB"), "", browser.cookies[REFRESH]):
        browser.cookies[ACCESS] = bad
        check.access_refused(browser.get("linked-accounts/"))
    token = browser.cookies[REFRESH]
    browser.cookies[REFRESH] = token[:-2] + ("AA" if token[-2:] != "AA" else "BB")
    answer = refresh(browser)
    check.refresh_refused(answer)
    cleared(answer)


def test_T136_a_login_replaces_what_was_there(shop):
    site = shop()
    mallory = signed_in(site)
    preset = dict(mallory.cookies)
    browser = site.browser()
    browser.cookies, browser.paths = dict(preset), dict(mallory.paths)
    assert site.google_login(browser).status == 200
    assert browser.cookies[ACCESS] != preset[ACCESS] and browser.cookies[REFRESH] != preset[REFRESH]
    assert jose.claims_of(browser.cookies[ACCESS])["sub"] != str(site.ada)
    check.access_refused(mallory.get("linked-accounts/"))
    assert refresh(mallory).status == 401
    assert sessions(site) == 1 and refresh(browser).status == 200


def test_T136_the_former_session_ends_with_each_way_to_sign_in(shop):
    site = shop()
    browser = signed_in(site)
    for login in logins(site)[:3]:
        former = dict(browser.cookies)
        assert login(browser).status == 200
        assert sessions(site) == 1
        check.access_refused(site.browser().get("linked-accounts/", headers={
            "Cookie": "%s=%s" % (ACCESS, former[ACCESS])}))
    del browser.cookies[ACCESS]             # it is gone before the refresh cookie
    signed_in(site, browser)
    assert sessions(site) == 1 and browser.get("linked-accounts/").status == 200


def test_a_login_that_fails_ends_nothing(shop):
    site = shop()
    browser = signed_in(site)
    check.refused(site.password_login(ADA, "wrong", browser=browser), "bad_credentials")
    assert sessions(site) == 1 and browser.get("linked-accounts/").status == 200


def test_a_stale_cookie_is_not_in_the_way_of_a_login(shop):
    site = shop()
    browser = signed_in(site)
    for value in (browser.cookies[ACCESS], "rotten"):
        browser.cookies[ACCESS] = value
        assert site.google_login(browser, sub="77").status == 200


def test_T141_two_mounts_of_one_host(shop):
    """Their cookies have names of their own, and a renamed one is no good."""
    second = ('<Location "/second">\nSetHandler social-auth\nSocialAuthTokenDelivery cookie\n'
              "SocialAuthPasswordThrottleRate off\nSocialAuthAccountThrottleRate off\n</Location>")
    site = shop(more=second)
    browser, other = site.browser(), site.browser(mount="/second")
    other.cookies, other.paths = browser.cookies, browser.paths
    for each in (browser, other):
        assert site.password_login(ADA, browser=each).status == 200
    assert len(browser.cookies) == 4
    ours, theirs = sorted(browser.cookies)[:2]
    assert ours.startswith(ACCESS + "-") and theirs.startswith(ACCESS + "-")
    assert browser.get("linked-accounts/").status == other.get("linked-accounts/").status == 200
    cookies = browser.cookies
    cookies[ours], cookies[theirs] = cookies[theirs], cookies[ours]
    for each in (browser, other):
        check.access_refused(each.get("linked-accounts/"))


HOSTS = """<VirtualHost *:{port}>
ServerName one.test
</VirtualHost>
<VirtualHost *:{port}>
ServerName two.test
%s
</VirtualHost>
"""


@pytest.mark.parametrize("line", ['SocialAuthSecret "of-the-second-host-0123456789-0123456789-0123456"',
                                  "SocialAuthBaseURL https://two.test"], ids=["secret", "address"])
def test_T141_cookies_of_another_virtual_host(shop, line):
    """Of the same database, mount and names of cookies."""
    site = shop(more=HOSTS % line)
    one, two = site.browser(host="one.test"), site.browser(host="two.test")
    for browser in (one, two):
        signed_in(site, browser)
        assert set(browser.cookies) == {ACCESS, REFRESH}
        assert browser.get("linked-accounts/").status == 200
    own = dict(one.cookies), dict(two.cookies)
    one.cookies, two.cookies = dict(own[1]), dict(own[0])
    for browser in (one, two):
        check.access_refused(browser.get("linked-accounts/"))
        answer = refresh(browser)
        check.refresh_refused(answer)
        cleared(answer)
    one.cookies, two.cookies = own
    for browser in (one, two):
        assert browser.get("linked-accounts/").status == refresh(browser).status == 200


# ---- ending

def test_T141_sign_out_by_blacklist(shop):
    site = shop()
    browser = signed_in(site)
    before = dict(browser.cookies)
    answer = browser.post("token/blacklist/", headers=SAME)
    assert answer.status == 200, answer
    cleared(answer)
    assert browser.cookies == {} and sessions(site) == 0
    browser.cookies = dict(before)
    check.access_refused(browser.get("linked-accounts/"))
    answer = refresh(browser)
    assert answer.status == 401 and answer.json()["code"] == "token_not_valid"
    cleared(answer)


def test_T141_sign_out_by_revoke_token(shop):
    site = shop()
    browser = signed_in(site)
    before = dict(browser.cookies)
    answer = browser.post("revoke-token", headers=SAME)
    assert answer.status == 204, answer
    cleared(answer)
    assert sessions(site) == 0
    browser.cookies = before
    check.access_refused(browser.get("linked-accounts/"))


def test_a_revocation_that_fails_leaves_the_cookies(shop):
    site = shop()
    browser = signed_in(site)
    answer = browser.post("revoke-token", {**site.app, "client_secret": "wrong"}, headers=SAME)
    assert answer.status == 401 and answer.set_cookies() == {}, answer
    assert sessions(site) == 1 and refresh(browser).status == 200


def test_the_cookie_counts_for_the_list_of_users(shop):
    site = shop(COOKIE, "SocialAuthUserList authenticated")
    assert site.browser().get("all/").status == 401
    assert [u["username"] for u in signed_in(site).get("all/").json()] == ["ada"]


def test_T144_a_sign_out_is_no_get_and_not_another_sites(shop):
    site = shop()
    browser = signed_in(site)
    for path in ("token/blacklist/", "revoke-token"):
        assert browser.get(path).status == 405
        answer = browser.post(path, headers={"Sec-Fetch-Site": "cross-site", "Origin": APP})
        forged(answer)
    assert sessions(site) == 1 and refresh(browser).status == 200


# ---- CSRF

REFUSED = {
    "no origin": {"X-Requested-With": "x"},
    "cross-site": {"X-Requested-With": "x", "Sec-Fetch-Site": "cross-site"},
    "same-site": {"X-Requested-With": "x", "Sec-Fetch-Site": "same-site"},
    "foreign origin": {"X-Requested-With": "x", "Origin": "https://evil.example.test"},
    "null": {"X-Requested-With": "x", "Origin": "null"},
    "null, same-origin": {"X-Requested-With": "x", "Origin": "null", "Sec-Fetch-Site": "same-origin"},
    "no preflight": {"Sec-Fetch-Site": "same-origin"},
    "form": {"Sec-Fetch-Site": "same-origin", "Content-Type": FORM},
    "text": {"Sec-Fetch-Site": "same-origin", "Content-Type": "text/plain"},
    "json in disguise": {"Sec-Fetch-Site": "same-origin",
                         "Content-Type": "text/plain; x=application/json"},
}


ACCOUNT = "SELECT email, username, password, is_active FROM sa_users"
MAILS = ("SocialAuthSMTP smtp://127.0.0.1:9", "SocialAuthMailFrom noreply@site.example",
         "SocialAuthEmailVerification optional")


def acts(site, sid):
    """What the cookie alone would do, with good fields."""
    client = {"client_id": site.app["client_id"]}
    return [("POST", "token/refresh/", {}), ("POST", "token/blacklist/", {}), ("POST", "revoke-token", {}),
            ("POST", "token", {"grant_type": "refresh_token", **site.app}),
            ("POST", "google/link/", {"token": site.provider.google.id_token()}),
            ("POST", "github/unlink/", {}),
            ("POST", "disconnect-backend", {"backend": "github", "association_id": "1"}),
            ("PATCH", "currentUser/", {"username": "eve"}), ("DELETE", "currentUser/", {"password": STRONG}),
            ("DELETE", "sessions/%s/" % sid, {}),
            ("POST", "invalidate-sessions", client), ("POST", "invalidate-refresh-tokens", client),
            ("POST", "password/change/", {"old_password": STRONG, "new_password": STRONG + "!"}),
            ("POST", "email/change/", {"email": "eve@example.org", "password": STRONG}),
            ("POST", "email/verify/resend/", {})]


@MODES
@pytest.mark.parametrize("headers", REFUSED.values(), ids=list(REFUSED))
def test_T137_what_another_site_could_send(shop, mode, headers):
    """Whether its fields are all right, or are none."""
    site = shop(mode, *MAILS)
    browser = signed_in(site)
    site.db.query("INSERT INTO sa_links (issuer, subject, user_id, provider, linked_at)"
                  " VALUES ('https://github.com', '1', ?, 'github', 1)", site.ada)
    sid = site.db.value("SELECT sid FROM sa_sessions")
    before = site.counts(), site.db.one(ACCOUNT)
    untyped = {name: value for name, value in headers.items() if name != "Content-Type"}
    for method, path, fields in acts(site, sid):
        if path != "token":
            forged(browser.request(method, path, headers=headers))
        if headers.get("Content-Type", FORM) == FORM:
            forged(browser.request(method, path, form=fields, headers=untyped))
    assert (site.counts(), site.db.one(ACCOUNT)) == before and sessions(site) == 1
    assert refresh(browser).status == 200


@pytest.mark.parametrize("headers", [
    {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": "{own}"},
    {"Origin": APP, "Sec-Fetch-Site": "cross-site"}], ids=["same-origin", "none", "own", "listed"])
@pytest.mark.parametrize("kind", ["json", "header"])
def test_T137_our_own_pages(shop, headers, kind):
    site = shop(COOKIE, "SocialAuthAllowOrigin " + APP, "SocialAuthAllowCredentials On")
    headers = {k: v.format(own=site.url) for k, v in headers.items()}
    browser = signed_in(site)
    more = {"json": {}} if kind == "json" else {}
    if kind == "header":
        headers["X-Requested-With"] = "x"
    answer = refresh(browser, headers=headers, **more)
    assert answer.status == 200, answer
    if headers.get("Origin") == APP:
        assert answer.header("Access-Control-Allow-Origin") == APP
        assert answer.header("Access-Control-Allow-Credentials") == "true"


def test_T137_a_header_needs_no_proof(shop):
    site = shop(BOTH)
    browser = site.browser()
    tokens = check.signed_in(site.password_login(ADA, browser=browser))
    headers = {"Origin": "https://evil.example.test", "Sec-Fetch-Site": "cross-site"}
    answer = browser.post("google/unlink/", bearer=tokens["access"], headers=headers)
    assert answer.status == 400 and answer.word == "not_linked", answer


@MODES
def test_T137_another_sites_form_signs_nobody_in(shop, mode):
    """Login CSRF: the victim would go on in Mallory's account."""
    site = shop(mode)
    browser = site.browser()
    form = {"email": ADA, "password": STRONG}
    answer = browser.post("token/", form=form, headers={"Origin": "https://evil.example.test",
                                                       "Sec-Fetch-Site": "cross-site"})
    assert answer.set_cookies() == {} and browser.cookies == {}
    if mode is BOTH:
        check.signed_in(answer)
    else:
        forged(answer)
        assert sessions(site) == 0


def test_T137_what_another_sites_page_is_refused_has_not_happened(shop):
    """No session, no account, no refresh token spent, and no event of it."""
    site = shop(COOKIE, "SocialAuthRegistrationLogin On")
    victim = signed_in(site)
    token, before = victim.cookies[REFRESH], site.counts()
    site.httpd.mark()
    browser = site.browser(origin="https://evil.example.test")
    grant = {"username": ADA, "password": STRONG, **site.app}
    google = {"token": site.provider.google.id_token()}
    person = {"email": "eve@example.org", "username": "eve", "first_name": "E", "password": STRONG}
    for path, body in (("token/", {"email": ADA, "password": STRONG}), ("google/login/", google),
                       ("token", {"grant_type": "password", **grant}), ("create/", person),
                       ("create/", {**person, **site.app}), ("token/refresh/", {"refresh": token}),
                       ("convert-token", {"grant_type": "convert_token", "backend": "google",
                                          **google, **site.app})):
        answer = browser.post(path, body)
        assert answer.status == 403 and answer.set_cookies() == {}, (path, answer)
    assert site.counts() == before and "SA0200" not in site.httpd.recent_log()
    assert refresh(victim).status == 200 and victim.cookies[REFRESH] != token


def test_registration_by_an_application_that_gets_codes_sets_no_cookies(shop):
    site = shop(COOKIE, "SocialAuthRegistrationLogin On")
    app = site.application("password authorization_code", redirect_uris="https://x.example.test/cb")
    answer = site.browser().post("create/", {"email": "eve@example.org", "username": "eve",
                                             "first_name": "E", "password": STRONG, **app})
    assert answer.status == 201 and answer.json()["access_token"], answer
    assert answer.set_cookies() == {}


def test_listed_pages_without_credentials_get_json_only(shop):
    site = shop(BOTH, "SocialAuthAllowOrigin " + APP)
    browser = site.browser(origin=APP)
    answer = site.password_login(ADA, browser=browser)
    tokens = check.signed_in(answer)
    assert answer.set_cookies() == {}
    check.signed_in(browser.post("token/refresh/", {"refresh": tokens["refresh"]}))


def test_a_cookie_of_another_client_is_not_thrown_away(shop):
    """It is as good as before where it belongs; a front end may have to try."""
    site = shop()
    browser = signed_in(site)
    grant = {"grant_type": "refresh_token", **site.app}
    answer = browser.post("token", grant, headers=SAME)
    assert answer.status == 400 and answer.word == "invalid_grant" and answer.set_cookies() == {}, answer
    assert refresh(browser).status == 200
    browser = site.browser()
    assert browser.post("token", {"grant_type": "password", "username": ADA, "password": STRONG,
                                  **site.app}).status == 200
    for answer in (refresh(browser), browser.post("token/blacklist/", headers=SAME)):
        check.refresh_refused(answer)
        assert answer.set_cookies() == {}, answer
    assert browser.post("token", grant, headers=SAME).status == 200
    assert sessions(site) == 2
