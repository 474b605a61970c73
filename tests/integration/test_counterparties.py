"""Counterparties that nobody here wrote: npm's oidc-provider as Google, npm's emulate as GitHub;
and social-auth-core and django-allauth, which judge what the other tests are made with."""
import base64
import hashlib
import os
import secrets
import subprocess
import sys
import time
import urllib.parse

import jwt
import pytest
import requests
from social_core.exceptions import AuthException

from support import allauth_client, check, jose, paths, ports, social_core_client
from support.emulate import Emulate
from support.fake_provider import (FACEBOOK_APP, FACEBOOK_REDIRECT, FACEBOOK_SECRET, GITHUB_CLIENT,
                                   GITHUB_SECRET, GOOGLE_CLIENT)
from support.op import REDIRECT, Op, Refused
from support.pki import Authority

GOOGLE = "https://accounts.google.com"


@pytest.fixture(scope="module")
def pki():
    authority = Authority("counterparty-pki")
    return (authority.ca, *authority.issue("leaf"))


@pytest.fixture
def make_op(pki):
    ca, chain, key = pki
    made = []

    def make(**more):
        op = Op(chain, key, ca=ca, **more)
        made.append(op)
        return op
    yield make
    for op in made:
        op.close()


@pytest.fixture(scope="module")
def op(pki):
    """Google, as oidc-provider plays it."""
    ca, chain, key = pki
    made = Op(chain, key, ca=ca, google=True, issuer=GOOGLE, clients=["another:client"])
    yield made
    made.close()


@pytest.fixture
def trusting(make_site, pki):
    """make_site for providers whose certificates our own CA signed."""
    def make(*providers, mount="", **more):
        return make_site(providers=list(providers),
                         mount="SocialAuthCABundle %s\nSocialAuthTimeout connect=10 total=30\n%s"
                         % (pki[0], mount), **more)
    return make


@pytest.fixture
def op_site(trusting, op):
    return trusting(op.options)


def id_token_login(site, op, login="ada", browser=None, **query):
    browser = browser or site.browser()
    got = site.state(browser, "google")
    token = op.id_token(login, nonce=got["nonce"], **query)
    return browser.post("google/login/", {"token": token, "state": got["state"]})


def refused_token(site, token):
    answer = site.browser().post("google/login/", {"token": token})
    check.refused(answer, "id_token_invalid", "Google")


def accepted_token(site, token):
    check.signed_in(site.browser().post("google/login/", {"token": token}))


class Flow:
    """A code flow with PKCE, by one browser."""

    def __init__(self, site, provider="google"):
        self.browser, self.provider = site.browser(), provider
        self.verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(self.verifier.encode()).digest()
        self.challenge = {
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256"}
        answer = self.browser.get(provider + "/state/?" + urllib.parse.urlencode(self.challenge))
        assert answer.status == 200, answer
        self.state, self.nonce = answer.json()["state"], answer.json().get("nonce")

    def code(self, op, login="ada", **query):
        return op.code(login, nonce=self.nonce, **self.challenge, **query)

    def login(self, code, **body):
        return self.browser.post(self.provider + "/login/", {
            "code": code, "state": self.state, "code_verifier": self.verifier,
            "redirect_uri": REDIRECT, **body})


# ---- oidc-provider: ID tokens

@pytest.mark.db
def test_id_token_login(op_site, op):
    first = op_site.tokens(id_token_login(op_site, op))
    claims = jose.claims_of(op.id_token())
    assert op_site.links() == [(GOOGLE, claims["sub"])]
    (row,) = op_site.db.query("SELECT email, first_name, last_name FROM sa_users")
    assert row == ("ada@gmail.com", "Ada", "Tester")
    second = op_site.tokens(id_token_login(op_site, op))
    assert op_site.user_id(first) == op_site.user_id(second)
    other = op_site.tokens(id_token_login(op_site, op, "bob"))
    assert op_site.user_id(other) != op_site.user_id(first)


def test_id_token_without_a_state_works_once(op_site, op):
    token = op.id_token()
    accepted_token(op_site, token)
    refused_token(op_site, token)


def test_T18_id_token_with_another_nonce(op_site, op):
    browser = op_site.browser()
    got = op_site.state(browser, "google")
    answer = browser.post("google/login/", {"token": op.id_token(), "state": got["state"]})
    check.refused(answer, "id_token_invalid", "Google")
    assert op_site.links() == []


def test_link_and_unlink(op_site, op):
    user = op_site.make_user("grace@example.org")
    access = op_site.tokens(op_site.password_login("grace@example.org"))["access"]
    browser = op_site.browser()
    got = op_site.state(browser, "google", bearer=access)
    body = {"token": op.id_token("carol", nonce=got["nonce"]), "state": got["state"]}
    assert browser.post("google/link/", body, bearer=access).status == 204
    assert op_site.user_id(op_site.tokens(id_token_login(op_site, op, "carol"))) == str(user)
    assert browser.post("google/unlink/", bearer=access).status == 204
    assert op_site.links() == []


def test_T25_id_token_for_another_client(op_site, op):
    check.refused(id_token_login(op_site, op, client="another"), "id_token_invalid", "Google")


def test_T26_T27_id_tokens_of_another_provider(op_site, make_op):
    """One says who it is, the other says it is Google; both sign with keys of their own."""
    for issuer in (None, GOOGLE):
        other = make_op(google=True, issuer=issuer)
        check.refused(id_token_login(op_site, other), "id_token_invalid", "Google")
        assert other.asked("/oauth2/v3/certs") == []
    assert op_site.counts()["sa_users"] == 0


def test_T28_id_token_outside_its_time(trusting, op):
    site = trusting(op.options, private=True, faketime="+0")
    for clock, works in (("+0", True), ("+3700", False), ("-90", False), ("+3500", True)):
        site.httpd.set_clock(clock)
        answer = id_token_login(site, op)
        if works:
            check.signed_in(answer)
        else:
            check.refused(answer, "id_token_invalid", "Google")


def test_T29_old_id_token_without_a_state(trusting, op):
    site = trusting(op.options, mount="SocialAuthMaxTokenAge 60", private=True, faketime="+0")
    token = op.id_token()
    site.httpd.set_clock("+65")
    refused_token(site, token)
    site.httpd.set_clock("+0")
    accepted_token(site, op.id_token())


@pytest.mark.parametrize("claims, word", [
    ({"email_verified": False}, "email_unverified"),
    ({"email_verified": "true"}, "email_unverified"),
    ({"email": ""}, "email_unverified"),
])
def test_T33_address_that_is_not_verified(op_site, op, claims, word):
    login = "eve" + secrets.token_hex(4)
    op.person(login, **claims)
    answer = id_token_login(op_site, op, login)
    assert (answer.status, answer.json()["message"]) == \
        (400, ["Your Google account email address is not verified."])
    assert op_site.counts()["sa_users"] == 0


def test_T194_certificate_of_an_unknown_authority(make_site, op):
    site = make_site(providers=[op.options])
    site.expect_log(r"provider_unavailable|certificate")
    check.refused(id_token_login(site, op), "provider_unavailable", "Google")


# ---- oidc-provider: codes

@pytest.mark.db
def test_code_login(op_site, op):
    flow = Flow(op_site)
    tokens = check.signed_in(flow.login(flow.code(op, "dora")))
    assert op_site.db.value("SELECT email FROM sa_users") == "dora@gmail.com"
    again = op_site.tokens(id_token_login(op_site, op, "dora"))
    assert op_site.user_id(again) == op_site.user_id(tokens)


def test_T2_code_works_once(op_site, op):
    flow = Flow(op_site)
    code = flow.code(op)
    check.signed_in(flow.login(code))
    again = Flow(op_site)
    again.verifier = flow.verifier
    check.refused(again.login(code), "state_invalid")
    state = op_site.state(again.browser, "google")["state"]
    answer = again.browser.post("google/login/", {"code": code, "state": state})
    check.refused(answer, "provider_rejected", "Google")


def test_T7_code_without_its_verifier(op_site, op):
    """The code was asked for with a challenge; a login that knows of none does not get through."""
    code = Flow(op_site).code(op)
    browser = op_site.browser()
    state = op_site.state(browser, "google")["state"]
    answer = browser.post("google/login/", {"code": code, "state": state, "redirect_uri": REDIRECT})
    check.refused(answer, "provider_rejected", "Google")
    assert op_site.links() == []


def test_T8_code_of_somebody_else(op_site, op):
    victim, attacker = Flow(op_site), Flow(op_site)
    check.refused(attacker.login(victim.code(op)), "provider_rejected", "Google")
    assert op_site.links() == []


def test_code_flow_needs_the_redirect_uri_it_began_with(op_site, trusting, op):
    flow = Flow(op_site)
    answer = flow.login(flow.code(op), redirect_uri="https://evil.test/callback")
    assert answer.status == 400 and set(answer.json()) == {"error", "redirect_uri"}, answer
    two = trusting(op.options + " redirect-uri=https://app.test/other")
    flow = Flow(two)
    answer = flow.login(flow.code(op), redirect_uri="https://app.test/other")
    check.refused(answer, "provider_rejected", "Google")


def test_code_flow_with_the_only_redirect_uri_unsaid(op_site, op):
    flow = Flow(op_site)
    check.signed_in(flow.browser.post("google/login/", {
        "code": flow.code(op), "state": flow.state, "code_verifier": flow.verifier}))


def test_wrong_client_secret(trusting, op):
    site = trusting(op.options.replace(op.secret, "wrong"))
    site.expect_log("google: token endpoint: status 401, invalid_client")
    flow = Flow(site)
    check.refused(flow.login(flow.code(op)), "provider_rejected", "Google")


def test_provider_itself_is_strict(op):
    """What the refusals above rest on."""
    with pytest.raises(Refused):
        op.code(redirect_uri="https://evil.test/callback")
    with pytest.raises(Refused):
        op.code(client="unknown")


# ---- oidc-provider: discovery and userinfo, as "Company"

def company(op, more=""):
    return ("company type=oidc label=Company issuer=%s client-id=%s client-secret=%s"
            " redirect-uri=%s %s" % (op.issuer, op.client, op.secret, REDIRECT, more))


@pytest.mark.db
def test_discovery_and_userinfo(trusting, make_op):
    op = make_op(lean=True)
    op.person("ada", email="ada@company.example")
    site = trusting(company(op, "email-trust=verified"))
    flow = Flow(site, "company")
    check.signed_in(flow.login(flow.code(op)))
    assert site.db.value("SELECT email FROM sa_users") == "ada@company.example"
    (link,) = site.links()
    assert link[0] == op.issuer
    assert len(op.asked("/me")) == 1
    assert len(op.asked("/.well-known/openid-configuration")) == 1


def test_T40_discovery_of_another_issuer(trusting, make_op):
    op = make_op()
    site = trusting(company(op).replace("https://localhost:", "https://127.0.0.1:"))
    site.expect_log(r"company: ")
    flow = Flow(site, "company")
    check.refused(flow.login("code"), "provider_unavailable", "Company")
    assert op.asked("/token") == []


def test_other_algorithm_only_when_configured(trusting, make_op):
    op = make_op(alg="ES256")
    site = trusting(company(op, "email-trust=verified id-token-alg=ES256"))
    flow = Flow(site, "company")
    check.signed_in(flow.login(flow.code(op)))
    site = trusting(company(op, "email-trust=verified"))
    flow = Flow(site, "company")
    check.refused(flow.login(flow.code(op)), "id_token_invalid", "Company")


# ---- oidc-provider: other keys

def test_T202_new_key_is_fetched_once(trusting, make_op):
    op = make_op(google=True, issuer=GOOGLE)
    site = trusting(op.options, private=True)
    old = [op.id_token() for _ in range(2)]
    accepted_token(site, old[0])
    assert op.rotate() == ["op-2", "op-1"]
    for login in ("ada", "bob", "carol"):
        token = op.id_token(login)
        assert jose.header_of(token)["kid"] == "op-2"
        accepted_token(site, token)
    accepted_token(site, old[1])
    assert len(op.asked(op.jwks_path)) == 2


def test_T202_dropped_key_is_refused(trusting, make_op):
    op = make_op(google=True, issuer=GOOGLE)
    site = trusting(op.options, private=True)
    old = [op.id_token() for _ in range(2)]
    accepted_token(site, old[0])
    assert op.rotate(drop=True) == ["op-2"]
    accepted_token(site, op.id_token())
    refused_token(site, old[1])
    assert len(op.asked(op.jwks_path)) == 2


def test_T201_unknown_key_is_looked_for_once_a_minute(trusting, make_op):
    op = make_op(google=True, issuer=GOOGLE)
    site = trusting(op.options, private=True)
    accepted_token(site, op.id_token())
    op.rotate()
    accepted_token(site, op.id_token())                 # the one renewal of this minute
    op.rotate()
    for _ in range(20):
        refused_token(site, op.id_token())
    assert len(op.asked(op.jwks_path)) == 2


def test_T203_known_keys_outlive_the_provider(trusting, make_op):
    op, other = make_op(google=True, issuer=GOOGLE), make_op(google=True, issuer=GOOGLE)
    site = trusting(op.options, private=True)
    site.expect_log(r"google: ")
    tokens = [op.id_token() for _ in range(3)]
    accepted_token(site, tokens[0])
    op.close()
    accepted_token(site, tokens[1])
    refused_token(site, other.id_token())               # signed by nobody we know
    accepted_token(site, tokens[2])


# ---- emulate as GitHub

@pytest.fixture(scope="module")
def emulate():
    made = Emulate(["octo", "hubot"])
    yield made
    made.close()


@pytest.fixture
def emulate_site(make_site, emulate, provider):
    return make_site(providers=[emulate.options, provider.google.options])


def emulated_login(site, emulate, login, browser=None):
    browser = browser or site.browser()
    state = site.state(browser)["state"]
    return browser.post("github/login/", {"code": emulate.code(login, state=state), "state": state})


@pytest.mark.db
def test_emulate_login_and_second_login(emulate_site, emulate):
    first = check.signed_in(emulated_login(emulate_site, emulate, "octo"))
    row = emulate_site.db.one("SELECT email, first_name, last_name FROM sa_users")
    assert row == ("octo@example.com", "Octo", "Emulated")
    issuer, subject = emulate_site.links()[0]
    assert issuer == "https://github.com" and subject.isdigit()
    second = check.signed_in(emulated_login(emulate_site, emulate, "octo"))
    assert emulate_site.user_id(first) == emulate_site.user_id(second)
    other = check.signed_in(emulated_login(emulate_site, emulate, "hubot"))
    assert emulate_site.user_id(other) != emulate_site.user_id(first)


def test_emulate_link_then_login(emulate_site, emulate):
    tokens = emulate_site.tokens(emulate_site.google_login())
    browser = emulate_site.browser()
    state = emulate_site.state(browser, bearer=tokens["access"])["state"]
    answer = browser.post("github/link/", {"code": emulate.code("octo"), "state": state},
                          bearer=tokens["access"])
    assert answer.status == 204, answer
    listed = browser.get("linked-accounts/", bearer=tokens["access"]).json()["providers"]
    assert {p["label"]: p["is_linked"] for p in listed} == {"GitHub": True, "Google": True}
    after = check.signed_in(emulated_login(emulate_site, emulate, "octo"))
    assert emulate_site.user_id(after) == emulate_site.user_id(tokens)


def test_emulate_refuses_a_used_and_an_invented_code(emulate_site, emulate):
    code = emulate.code("octo")
    for i, given in enumerate((code, code, "0" * 40)):
        browser = emulate_site.browser()
        state = emulate_site.state(browser)["state"]
        answer = browser.post("github/login/", {"code": given, "state": state})
        if i == 0:
            check.signed_in(answer)
        else:
            check.refused(answer, "provider_rejected", "GitHub")


def test_emulate_refuses_a_wrong_secret(make_site, emulate):
    site = make_site(providers=[emulate.options.replace(emulate.secret, "wrong")])
    site.expect_log("github: token endpoint: status 200, incorrect_client_credentials")
    check.refused(emulated_login(site, emulate, "octo"), "provider_rejected", "GitHub")
    assert site.counts()["sa_users"] == 0


# ---- social-auth-core signs in at what plays the providers here

def at_the_fake(provider, secret=GITHUB_SECRET):
    return social_core_client.github(
        provider.url + "/", provider.url + "/login/oauth/access_token",
        "https://github.com/login/oauth/authorize", GITHUB_CLIENT, secret, REDIRECT)


def test_social_auth_core_at_the_fake_github(provider):
    client = at_the_fake(provider)
    _, asked = client.start()
    assert asked["client_id"] == GITHUB_CLIENT and asked["redirect_uri"] == REDIRECT
    user = provider.github.user(login="ada", id=583231, name="Ada Lovelace",
                                email="ada@example.com")
    code = provider.github.code(user, redirect_uri=REDIRECT)
    found = client.complete(code=code, state=asked["state"])
    assert found["id"] == 583231
    assert found["details"] == {"username": "ada", "email": "ada@example.com", "first_name": "Ada",
                                "last_name": "Lovelace", "fullname": "Ada Lovelace"}
    _, asked = client.start()
    with pytest.raises(AuthException):
        client.complete(code=code, state=asked["state"])


def test_social_auth_core_is_refused_by_the_fake_github(provider):
    client = at_the_fake(provider, "wrong")
    _, asked = client.start()
    with pytest.raises(AuthException):
        client.complete(code=provider.github.code(provider.github.user()), state=asked["state"])


def test_social_auth_core_verifies_the_fake_googles_id_token(provider):
    google = provider.google
    client = social_core_client.oidc(
        "https://unused.test", GOOGLE_CLIENT, "", REDIRECT, ID_TOKEN_ISSUER=google.issuer,
        JWKS_URI=provider.url + "/google/certs",
        AUTHORIZATION_URL=google.issuer + "/o/oauth2/v2/auth")
    backend = client.backend

    def nonce():
        return backend.get_and_store_nonce(backend.authorization_url(), "state")
    claims = backend.validate_and_return_id_token(google.id_token(nonce=nonce()), None)
    assert claims["email_verified"] is True and claims["azp"] == GOOGLE_CLIENT
    for key in google.keys:
        backend.validate_and_return_id_token(google.id_token(key=key, nonce=nonce()), None)
    for wrong in (google.id_token(nonce="unknown"), google.id_token(nonce=nonce(), aud="another"),
                  google.id_token(nonce=nonce(), iss="https://evil.test"),
                  jose.spoil_signature(google.id_token(nonce=nonce()))):
        with pytest.raises(AuthException):
            backend.validate_and_return_id_token(wrong, None)


@pytest.mark.parametrize("fields", ["id,email,first_name,last_name", "id, name, email"])
def test_social_auth_core_at_the_fake_facebook(provider, fields):
    facebook = provider.facebook
    client = social_core_client.facebook(provider.url, FACEBOOK_APP, FACEBOOK_SECRET,
                                         FACEBOOK_REDIRECT, fields)
    _, asked = client.start()
    assert asked["client_id"] == FACEBOOK_APP and asked["redirect_uri"] == FACEBOOK_REDIRECT
    user = facebook.user(id=1207059, email="ada@example.com")
    code = facebook.code(user)
    found = client.complete(code=code, state=asked["state"])
    assert (found["id"], found["details"]["email"]) == ("1207059", "ada@example.com")
    assert (found["details"]["first_name"], found["details"]["last_name"]) == ("Ada", "Lovelace")
    for code in (code, "unknown", facebook.code(user, redirect_uri="https://other.example/")):
        _, asked = client.start()
        with pytest.raises(AuthException):
            client.complete(code=code, state=asked["state"])


def test_social_auth_core_is_refused_by_the_fake_facebook(provider):
    """Wrong secret: neither its code nor, by its appsecret_proof, its token is of use."""
    client = social_core_client.facebook(provider.url, FACEBOOK_APP, "wrong", FACEBOOK_REDIRECT, "id")
    user = provider.facebook.user()
    _, asked = client.start()
    with pytest.raises(AuthException):
        client.complete(code=provider.facebook.code(user), state=asked["state"])
    with pytest.raises(AuthException):
        client.backend.do_auth(provider.facebook.token(user))


def test_allauth_at_the_fake_facebook(provider):
    facebook = provider.facebook
    user = facebook.user(id=1207059, email="ada@example.com")
    expected = {"uid": "1207059", "email": "ada@example.com", "first_name": "Ada",
                "last_name": "Lovelace", "location": "/signed-in"}

    def site(secret, *visits):
        return allauth_client.facebook(provider.url + "/facebook", FACEBOOK_APP, secret, *visits)
    code = facebook.code(user, allauth_client.REDIRECT)
    assert site(FACEBOOK_SECRET, {"code": code}, {"token": facebook.token(user)}, {"code": code},
                {"code": facebook.code(user)}, {"token": facebook.token(user, expires_in=-1)}) == \
        [expected, expected, None, None, None]
    assert site("wrong", {"token": facebook.token(user)}) == [None]


def test_social_auth_core_at_the_fake_googles_tokeninfo(provider):
    google = provider.google
    client = social_core_client.google_plus(provider.url + "/google", GOOGLE_CLIENT)
    claims = {"email": "ada@gmail.com", "sub": "1101"}
    found = client.complete(access_token=google.access_token(**claims))
    assert (found["id"], found["details"]["email"]) == ("1101", "ada@gmail.com")
    assert found["details"]["fullname"] == "Ada Lovelace"
    assert (found["response"]["aud"], found["response"]["email_verified"]) == (GOOGLE_CLIENT, True)
    assert len(provider.asked("/google/tokeninfo")) == len(provider.asked("/google/userinfo")) == 1
    for token in ("unknown", google.access_token(exp=jose.now() - 1)):
        with pytest.raises(AuthException):
            client.complete(access_token=token)


def test_pyjwt_verifies_the_fake_googles_id_token(provider):
    token = provider.google.id_token(nonce="n")
    key = jwt.PyJWKClient(provider.url + "/google/certs").get_signing_key_from_jwt(token).key
    claims = jwt.decode(token, key, algorithms=["RS256"], audience=GOOGLE_CLIENT, issuer=GOOGLE,
                        options={"require": ["exp", "iat", "sub", "nonce"]})
    assert claims["nonce"] == "n"


@pytest.fixture(scope="module")
def demo():
    """conf/demo/provider -> its address"""
    port = ports.free_port()
    url = "http://localhost:%d" % port
    directory = paths.make_dir("demo-provider")
    process = subprocess.Popen(
        [sys.executable, os.path.join(paths.TOP, "conf", "demo", "provider"), "--port", str(port),
         "--key", os.path.join(directory, "key.pem"), "--issuer", url, "--redirect-uri", REDIRECT])
    try:
        for _ in range(400):
            try:
                requests.get(url + "/jwks", timeout=10)
                break
            except requests.ConnectionError:
                assert process.poll() is None, "conf/demo/provider ended"
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def picked(url, query, person="ada"):
    back = requests.post(url, dict(query, person=person), allow_redirects=False, timeout=20)
    assert back.status_code == 303, back.text
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(back.headers["Location"]).query))


def test_social_auth_core_at_the_demo_github(demo):
    client = social_core_client.github(demo + "/", demo + "/login/oauth/access_token",
                                       demo + "/login/oauth/authorize", "demo", "demo", REDIRECT)
    url, asked = client.start()
    found = client.complete(**picked(url, asked))
    assert isinstance(found["id"], int)
    assert found["details"]["email"] == "ada@example.org"
    assert found["details"]["fullname"] == "Ada Lovelace"


def test_social_auth_core_at_the_demo_openid_provider(demo):
    client = social_core_client.oidc(demo, "demo", "demo", REDIRECT)
    url, asked = client.start()
    assert url == demo + "/authorize" and asked["nonce"]
    found = client.complete(**picked(url, asked))
    assert client.backend.id_token["sub"] == found["id"] and client.backend.id_token["iss"] == demo
    assert found["details"]["email"] == "ada@example.org"
    url, asked = client.start()
    replayed = dict(asked, nonce="of somebody else")
    with pytest.raises(AuthException):
        client.complete(**picked(url, replayed))
