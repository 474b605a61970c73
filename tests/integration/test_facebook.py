"""Facebook's code flow: what the module asks, and users whose address nobody verified."""
import hashlib
import hmac
import re

import pytest

from support import check
from support.fake_provider import FACEBOOK_APP, FACEBOOK_REDIRECT, FACEBOOK_SECRET, Reply

TOKEN, ME = "/facebook/oauth/access_token", "/facebook/me"
ISSUER = "https://www.facebook.com"
UNVERIFIED = "Your Facebook account email address is not verified."


@pytest.fixture
def facebook_site(make_site, provider):
    def make(more="", **settings):
        return make_site(providers=[provider.facebook.options + " " + more, provider.github.options],
                         **settings)
    return make


@pytest.fixture
def site(facebook_site):
    return facebook_site()


def body_of(site, browser, user=None, code=None, bearer=None):
    user = user or site.provider.facebook.user()
    state = site.state(browser, "facebook", **({"bearer": bearer} if bearer else {}))["state"]
    return {"code": code or site.provider.facebook.code(user), "state": state}


def login(site, user=None, code=None):
    browser = site.browser()
    return browser.post("facebook/login/", body_of(site, browser, user, code))


def signed_in_user(site, email):
    user = site.make_user(email, email_verified=True)
    return str(user), site.tokens(site.password_login(email))["access"]


def link(site, access, user):
    browser = site.browser()
    return browser.post("facebook/link/", body_of(site, browser, user, bearer=access), bearer=access)


# ---- the good way

@pytest.mark.db
def test_first_login_makes_a_user_without_an_address(site):
    user = site.provider.facebook.user(id=1207059, email="ada@example.com", first_name="Ada Augusta",
                                       last_name="Lovelace")
    tokens = check.signed_in(login(site, user))
    (row,) = site.db.query("SELECT username, email, first_name, last_name FROM sa_users")
    assert re.fullmatch(r"facebook_[0-9a-f]{8}", row[0])
    assert row[1:] == (None, "Ada Augusta", "Lovelace")
    assert site.links() == [(ISSUER, "1207059")]
    assert site.db.value("SELECT email FROM sa_links") is None
    again = check.signed_in(login(site, user))
    assert site.user_id(again) == site.user_id(tokens)
    others = {site.user_id(check.signed_in(login(site, site.provider.facebook.user(email=email))))
              for email in (None, "ada@example.com")}
    assert len(others | {site.user_id(tokens)}) == 3


def test_what_is_asked_of_facebook(site):
    check.signed_in(login(site))
    (exchange,), (me,) = site.provider.asked(TOKEN), site.provider.asked(ME)
    assert exchange.method == "POST" and exchange.query == {}
    assert {k: v for k, v in exchange.form.items() if k != "code"} == {
        "grant_type": "authorization_code", "client_id": FACEBOOK_APP,
        "client_secret": FACEBOOK_SECRET, "redirect_uri": FACEBOOK_REDIRECT}
    token = me.query["access_token"]
    assert me.method == "GET" and me.query == {
        "fields": "id,email,first_name,last_name", "access_token": token,
        "appsecret_proof": hmac.new(FACEBOOK_SECRET.encode(), token.encode(),
                                    hashlib.sha256).hexdigest()}
    assert len(site.provider.asked()) == 2
    log = site.httpd.recent_log()
    assert FACEBOOK_SECRET not in log and token not in log and exchange.form["code"] not in log


def test_profile_params(facebook_site):
    site = facebook_site('"profile-params=fields=id, name, email&locale=de_DE"')
    check.signed_in(login(site, site.provider.facebook.user(first_name="Grace", last_name="Hopper")))
    (me,) = site.provider.asked(ME)
    assert (me.query["fields"], me.query["locale"]) == ("id, name, email", "de_DE")
    assert site.db.one("SELECT first_name, last_name FROM sa_users") == ("Grace", "Hopper")


def test_front_end_names_the_redirect_uri(site, provider):
    browser = site.browser()
    body = dict(body_of(site, browser), redirect_uri=FACEBOOK_REDIRECT)
    check.signed_in(browser.post("facebook/login/", body))
    browser = site.browser()
    body = dict(body_of(site, browser), redirect_uri=FACEBOOK_REDIRECT + "/")
    answer = browser.post("facebook/login/", body)
    assert answer.status == 400 and "redirect_uri" in answer.json()


# ---- addresses

@pytest.mark.db
def test_T33_address_joins_nobody(site):
    site.make_user("victim@example.org", email_verified=True)
    tokens = check.signed_in(login(site, site.provider.facebook.user(email="victim@example.org")))
    assert site.db.query("SELECT email FROM sa_users WHERE id = ?", int(site.user_id(tokens))) == \
        [(None,)]
    assert site.db.value("SELECT count(*) FROM sa_users") == 2


@pytest.mark.db
def test_trusted_address_is_kept_and_joins(facebook_site):
    site = facebook_site("email-trust=verified")
    local = site.make_user("grace@example.org", email_verified=True)
    joined = check.signed_in(login(site, site.provider.facebook.user(email="Grace@Example.org")))
    assert site.user_id(joined) == str(local)
    new = check.signed_in(login(site, site.provider.facebook.user(email="ada@example.org")))
    (row,) = site.db.query("SELECT email, username, email_verified FROM sa_users WHERE id = ?",
                           int(site.user_id(new)))
    assert row[:2] == ("ada@example.org", "ada") and bool(row[2])
    without = check.signed_in(login(site, site.provider.facebook.user(email=None)))
    assert site.user_id(without) not in (site.user_id(new), str(local))


@pytest.mark.parametrize("email, word", [("ada@example.org", "email_unverified"),
                                         (None, "email_missing"), ("no address", "email_missing")])
def test_T33_address_is_required_where_the_site_says_so(facebook_site, email, word):
    site = facebook_site("email-required=on")
    before = site.counts()
    answer = login(site, site.provider.facebook.user(email=email))
    check.refusal(answer, 400, word, {"message": [UNVERIFIED]})
    assert site.counts() == before


# ---- refusals

def test_T36_bad_code(site):
    before = site.counts()
    user = site.provider.facebook.user()
    check.refused(login(site, code="wrong"), "provider_rejected", "Facebook")
    elsewhere = site.provider.facebook.code(user, redirect_uri="https://evil.example/")
    check.refused(login(site, code=elsewhere), "provider_rejected", "Facebook")
    assert site.counts() == before and site.provider.asked(ME) == []
    check.signed_in(login(site, user))


def test_T36_wrong_client_secret_is_in_the_log(make_site, provider):
    options = provider.facebook.options.replace(FACEBOOK_SECRET, "not-the-right-secret")
    site = make_site(providers=[options])
    site.expect_log(r"facebook: token endpoint: status 400, 1\b")
    answer = login(site)
    check.refused(answer, "provider_rejected", "Facebook")
    assert "not-the-right-secret" not in answer.text + site.httpd.recent_log()


@pytest.mark.parametrize("path", [TOKEN, ME])
@pytest.mark.parametrize("reply, word", [
    (Reply(500, "evil"), "provider_unavailable"), (Reply(200, "false"), "provider_unavailable"),
    (Reply(drop=True), "provider_unavailable"), (Reply(hang=True), "provider_timeout"),
    (Reply(400, {"error": {"code": 190, "message": "evil"}}), "provider_rejected")])
def test_T199_facebook_misbehaves(facebook_site, path, reply, word):
    site = facebook_site(mount="SocialAuthTimeout connect=5 total=5" if word == "provider_timeout" else "")
    site.expect_log(r"facebook: (token endpoint|me): ")
    before = site.counts()
    with site.provider.scripted(path, reply):
        answer = login(site)
    check.refused(answer, word, "Facebook")
    assert "evil" not in answer.text + site.httpd.recent_log() and site.counts() == before
    site.provider.release()
    check.signed_in(login(site))


def test_only_the_code_flow(site):
    browser = site.browser()
    state = site.state(browser, "facebook")["state"]
    answer = browser.post("facebook/login/", {"token": site.provider.facebook.token(
        site.provider.facebook.user()), "state": state})
    check.field_refused(answer, "required", code=check.REQUIRED)
    assert site.provider.asked() == []


def test_without_a_secret_it_is_off(make_site):
    site = make_site(providers=["facebook client-id=1", "github client-id=a client-secret=b"])
    site.expect_log(r"SocialAuthProvider facebook is disabled at .*: client-secret is missing")
    browser = site.browser()
    assert browser.get("facebook/state/").status == 404
    _, access = signed_in_user(site, "u@example.org")
    (only,) = browser.get("linked-accounts/", bearer=access).json()["providers"]
    assert only["label"] == "GitHub"


# ---- links

@pytest.mark.db
def test_link_list_unlink(site):
    user, access = signed_in_user(site, "grace@example.org")
    account = site.provider.facebook.user(id=77)
    assert link(site, access, account).status == 204
    assert site.links() == [(ISSUER, "77")]
    assert site.user_id(check.signed_in(login(site, account))) == user
    browser = site.browser()
    listed = {p["label"]: p["is_linked"]
              for p in browser.get("linked-accounts/", bearer=access).json()["providers"]}
    assert listed == {"Facebook": True, "GitHub": False}
    assert browser.post("facebook/unlink/", bearer=access).status == 204
    assert site.links() == []
    answer = browser.post("facebook/unlink/", bearer=access)
    check.refusal(answer, 400, "not_linked",
                  {"non_field_errors": ["No linked facebook account found."]})


def test_T51_account_of_another_user(site):
    account = site.provider.facebook.user()
    check.signed_in(login(site, account))
    _, access = signed_in_user(site, "grace@example.org")
    check.refused(link(site, access, account), "identity_taken", "Facebook")


def test_user_without_an_address_keeps_its_only_way_in(site):
    access = check.signed_in(login(site))["access"]
    check.refused(site.browser().post("facebook/unlink/", bearer=access), "last_login_method")
    browser = site.browser()
    state = site.state(browser, bearer=access)["state"]
    code = site.provider.github.code(site.provider.github.user())
    assert browser.post("github/link/", {"code": code, "state": state}, bearer=access).status == 204
    assert browser.post("facebook/unlink/", bearer=access).status == 204
