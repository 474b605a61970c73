"""GET {provider}/state/ and what binds a state to one browser, one provider, one use."""
import base64
import hashlib
import hmac
import json
import re
import secrets

import pytest

from support import check
from support.client import at_once
from support.jose import b64, unb64

COOKIE = re.compile(r"^__Host-sa-state-[0-9a-f]{8}$")


def pkce():
    verifier = secrets.token_urlsafe(48)
    digest = hashlib.sha256(verifier.encode()).digest()
    return verifier, base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def login(browser, code, state, **more):
    return browser.post("github/login/", {"code": code, "state": state, **more})


@pytest.fixture
def code(provider):
    """code() -> a fresh code of a fresh GitHub user; code(challenge=…)"""
    def make(**kw):
        return provider.github.code(provider.github.user(), **kw)
    return make


def still_well(site):
    """The refused request did no harm: a good login follows."""
    check.signed_in(site.github_login())


# ---- the endpoint

def test_state_answer(site, browser):
    answer = browser.get("github/state/")
    assert answer.status == 200
    check.json_headers(answer)
    assert set(answer.json()) == {"state"}
    assert 20 < len(answer.json()["state"]) <= 1024


def test_state_of_an_id_token_provider_brings_a_nonce(site, browser):
    body = site.state(browser, "google")
    assert set(body) == {"state", "nonce"}
    assert len(unb64(body["nonce"])) >= 16
    assert site.state(browser, "google")["nonce"] != body["nonce"]


def test_states_never_repeat(site, browser):
    assert len({site.state(browser)["state"] for _ in range(200)}) == 200


def test_django_backend_name_is_an_alias(site, browser):
    state = browser.get("google-oauth2/state/").json()
    token = site.provider.google.id_token(nonce=state["nonce"])
    check.signed_in(browser.post("google/login/", {"token": token, "state": state["state"]}))


def test_T135_state_cookie_attributes(site, browser):
    cookies = browser.get("github/state/").set_cookies()
    assert len(cookies) == 1
    (name, (value, attributes)), = cookies.items()
    assert COOKIE.match(name)
    assert value and set(value) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert "httponly" in attributes and "secure" in attributes
    assert attributes["path"] == "/" and attributes["samesite"].lower() == "lax"
    assert "domain" not in attributes


def test_head_makes_no_state(site, browser):
    answer = browser.request("HEAD", "github/state/")
    assert answer.status == 200 and answer.body == b""
    assert not answer.set_cookies()
    check.json_headers(answer)


def test_plain_http_elsewhere_has_no_prefix_and_a_warning(make_site):
    site = make_site(base_url="http://app.example.test", private=True)
    assert re.search(r"SocialAuthBaseURL http://app\.example\.test is not https", site.httpd.recent_log())
    site.expect_log(r"SocialAuthBaseURL http://app\.example\.test is not https")
    cookies = site.browser().get("github/state/").set_cookies()
    (name, (_, attributes)), = cookies.items()
    assert re.match(r"^sa-state-[0-9a-f]{8}$", name) and "secure" not in attributes
    assert "httponly" in attributes and attributes["samesite"].lower() == "lax"


def test_https_base_url_has_the_prefix(make_site):
    site = make_site(base_url="https://app.example.test")
    (name, (_, attributes)), = site.browser().get("github/state/").set_cookies().items()
    assert COOKIE.match(name) and "secure" in attributes


def test_T15_at_most_eight_state_cookies(site, browser):
    first = site.state(browser)["state"]
    first_cookie = next(iter(browser.cookies))
    for _ in range(200):
        assert browser.get("github/state/").status == 200
        assert len([c for c in browser.cookies if COOKIE.match(c)]) <= 8
    assert first_cookie not in browser.cookies
    size = len("; ".join("%s=%s" % kv for kv in browser.cookies.items()))
    assert size < 8000
    assert login(browser, "whatever", first).word == "state_invalid"
    check.signed_in(site.github_login(browser))


def test_T15_two_hundred_stuffed_cookies(site, browser):
    """Cookies that we never set neither block a login nor make an answer grow without bound."""
    browser.cookies = {"__Host-sa-state-%08x" % i: "x" * 8 for i in range(200)}
    for _ in range(20):
        answer = browser.get("github/state/")
        assert answer.status == 200
        assert sum(len(k) + len(v) + 4 for k, v in answer.all_headers) < 8000
    assert len([c for c in browser.cookies if COOKIE.match(c)]) <= 8
    check.signed_in(site.github_login(browser))


def test_login_clears_its_cookie(site, browser):
    state = site.state(browser)["state"]
    (name,) = browser.cookies
    answer = login(browser, site.provider.github.code(site.provider.github.user()), state)
    check.signed_in(answer)
    value, attributes = answer.set_cookies()[name]
    assert value == "" or attributes.get("max-age") == "0"
    assert name not in browser.cookies


def test_state_needs_a_valid_challenge(site, browser):
    for query in ("code_challenge=short&code_challenge_method=S256",
                  "code_challenge=%s&code_challenge_method=plain" % ("a" * 43),
                  "code_challenge=%s" % ("a" * 43),
                  "code_challenge=%s&code_challenge_method=S256" % ("a" * 42 + "%2B")):
        answer = browser.get("github/state/?" + query)
        assert answer.status == 400, (query, answer)
        assert "code_challenge" in answer.text, (query, answer)


# ---- one browser (T1)

def test_T1_state_of_another_browser(site, code):
    attacker, victim = site.browser(), site.browser()
    state = site.state(attacker)["state"]
    before = site.counts()
    check.refused(login(victim, code(), state), "state_invalid")
    assert site.counts() == before
    assert site.provider.asked("/github/token") == []
    still_well(site)


def test_T1_state_of_another_browser_that_has_states_itself(site, code):
    attacker, victim = site.browser(), site.browser()
    state = site.state(attacker)["state"]
    for _ in range(3):
        site.state(victim)
    check.refused(login(victim, code(), state), "state_invalid")
    still_well(site)


def test_T1_wrong_value_in_the_right_cookie(site, browser, code):
    state = site.state(browser)["state"]
    (name,) = browser.cookies
    for value in ("x", "", browser.cookies[name][:-1], browser.cookies[name] + "A"):
        other = site.browser()
        other.cookies = {name: value}
        check.refused(login(other, code(), state), "state_invalid")
    check.signed_in(login(browser, code(), state))


def test_T1_cookie_beats_nothing_when_the_verifier_is_wrong(site, browser, code):
    """Whatever binding a request brings must match, all of it."""
    verifier, challenge = pkce()
    got = browser.get("github/state/?code_challenge=%s&code_challenge_method=S256" % challenge).json()
    check.refused(login(browser, code(challenge=challenge), got["state"], code_verifier=pkce()[0]),
                  "state_invalid")
    check.refused(login(browser, code(challenge=challenge), got["state"]), "state_invalid")


@pytest.mark.parametrize("mode,origin,credentials,works", [
    ("auto", None, False, False),
    ("auto", "https://app.example.test", False, True),
    ("auto", "https://app.example.test", True, False),
    ("auto", "https://evil.example", False, False),
    ("required", "https://app.example.test", False, False),
    ("off", None, False, True),
    ("off", "https://evil.example", False, True),
])
def test_T1_binding_modes_without_cookie(make_site, code, mode, origin, credentials, works):
    mount = ("SocialAuthStateBinding %s\nSocialAuthAllowOrigin https://app.example.test\n"
             "SocialAuthAllowCredentials %s" % (mode, "On" if credentials else "Off"))
    site = make_site(mount=mount)
    state = site.state(site.browser(origin=origin))["state"]
    answer = login(site.browser(origin=origin), code(), state)
    if works:
        check.signed_in(answer)
    else:
        check.refused(answer, "state_invalid")


def test_T1_required_wants_a_state_from_id_tokens_too(make_site):
    site = make_site(mount="SocialAuthStateBinding required")
    answer = site.google_login(with_state=False)
    assert answer.status == 400, answer
    assert answer.word in ("required", "state_invalid")
    check.signed_in(site.google_login())


def test_T1_id_token_state_is_bound_as_well(site):
    got = site.state(site.browser(), "google")
    token = site.provider.google.id_token(nonce=got["nonce"])
    answer = site.browser().post("google/login/", {"token": token, "state": got["state"]})
    check.refused(answer, "state_invalid")


def test_T51_state_asked_for_with_a_bearer_is_bound_to_its_user(site, code):
    ada, eve = site.browser(), site.browser()
    ada_access = site.tokens(site.github_login(ada))["access"]
    eve_access = site.tokens(site.github_login(eve))["access"]
    got = site.state(ada, "google", bearer=ada_access)
    token = site.provider.google.id_token(nonce=got["nonce"])
    body = {"token": token, "state": got["state"]}
    for browser, bearer in ((eve, eve_access), (ada, eve_access)):
        check.refused(browser.post("google/link/", body, bearer=bearer), "state_invalid")
    check.refused(ada.post("google/login/", body), "state_invalid")
    assert ada.post("google/link/", body, bearer=ada_access).status == 204


@pytest.mark.parametrize("binding", ["auto", "required"])
def test_T51_user_of_a_state_does_not_stand_for_its_browser(make_site, binding):
    """The user is bound besides the cookie or the verifier, not instead."""
    site = make_site(mount="SocialAuthStateBinding " + binding)
    ada = site.browser()
    access = site.tokens(site.github_login(ada))["access"]
    for elsewhere in (True, False):
        state = site.state(ada, bearer=access)["state"]
        body = {"code": site.provider.github.code(site.provider.github.user()), "state": state}
        google = site.state(ada, "google", bearer=access)
        token = {"token": site.provider.google.id_token(nonce=google["nonce"]),
                 "state": google["state"]}
        if elsewhere:
            for provider, what in (("github", body), ("google", token)):
                check.refused(site.browser().post(provider + "/link/", what, bearer=access),
                              "state_invalid")
        else:
            assert ada.post("google/link/", token, bearer=access).status == 204


# ---- PKCE (T7, T8)

def test_T7_verifier_is_forwarded_and_binds_without_cookie(site, provider, code):
    verifier, challenge = pkce()
    asker, spa = site.browser(), site.browser()
    state = asker.get("github/state/?code_challenge=%s&code_challenge_method=S256"
                      % challenge).json()["state"]
    check.signed_in(login(spa, code(challenge=challenge), state, code_verifier=verifier))
    (asked,) = provider.asked("/github/token")
    assert asked.form["code_verifier"] == verifier


def test_T7_verifier_without_a_challenge_is_not_forwarded(site, browser, provider, code):
    state = site.state(browser)["state"]
    answer = login(browser, code(), state, code_verifier=pkce()[0])
    check.refused(answer, "state_invalid")
    assert provider.asked("/github/token") == []


@pytest.mark.parametrize("spoil", [
    lambda v: v[:42], lambda v: v + "x" * 129, lambda v: v[:-1] + ("A" if v[-1] != "A" else "B"),
    lambda v: v + "=", lambda v: v.swapcase(), lambda v: " " + v])
def test_T7_wrong_verifier(site, spoil, code):
    verifier, challenge = pkce()
    browser = site.browser()
    state = browser.get("github/state/?code_challenge=%s&code_challenge_method=S256"
                        % challenge).json()["state"]
    check.refused(login(browser, code(challenge=challenge), state, code_verifier=spoil(verifier)),
                  "state_invalid")
    assert site.provider.asked("/github/token") == []


def test_T7_challenge_sent_as_verifier_is_no_plain(site, code):
    _, challenge = pkce()
    browser = site.browser()
    state = browser.get("github/state/?code_challenge=%s&code_challenge_method=S256"
                        % challenge).json()["state"]
    check.refused(login(browser, code(), state, code_verifier=challenge), "state_invalid")


def test_T8_victims_code_with_the_attackers_flow(site, code):
    """The provider knows the code's challenge; the attacker's verifier does not fit."""
    _, victims_challenge = pkce()
    verifier, challenge = pkce()
    attacker = site.browser()
    state = attacker.get("github/state/?code_challenge=%s&code_challenge_method=S256"
                         % challenge).json()["state"]
    before = site.counts()
    answer = login(attacker, code(challenge=victims_challenge), state, code_verifier=verifier)
    check.refused(answer, "provider_rejected", "GitHub")
    assert site.counts() == before


# ---- once (T2)

def test_T2_replay_with_a_fresh_code(site, browser, code):
    state = site.state(browser)["state"]
    cookies = dict(browser.cookies)
    check.signed_in(login(browser, code(), state))
    browser.cookies = cookies
    before = site.counts()
    check.refused(login(browser, code(), state), "state_invalid")
    assert site.counts() == before
    assert len(site.provider.asked("/github/token")) == 1


def test_T2_state_is_spent_even_when_the_provider_refuses(site, browser, code):
    state = site.state(browser)["state"]
    cookies = dict(browser.cookies)
    check.refused(login(browser, "wrong-code", state), "provider_rejected", "GitHub")
    browser.cookies = cookies
    check.refused(login(browser, code(), state), "state_invalid")


@pytest.mark.process
@pytest.mark.db
def test_T2_sixteen_at_once(site, code):
    asker = site.browser()
    for _ in range(5):
        state = site.state(asker)["state"]
        cookies = dict(asker.cookies)
        browsers = [site.browser() for _ in range(16)]
        for b in browsers:
            b.cookies = cookies
        codes = [code() for _ in browsers]
        answers = at_once([lambda b=b, c=c: login(b, c, state) for b, c in zip(browsers, codes)])
        statuses = sorted(a.status for a in answers)
        assert statuses == [200] + [400] * 15, statuses
        for answer in answers:
            if answer.status != 200:
                check.refused(answer, "state_invalid")
        for b in browsers:
            b.close()
    assert site.db.broken_invariants() == []


@pytest.mark.process
def test_T2_spent_and_unspent_states_survive_a_graceful_restart(site, code):
    browser, other = site.browser(), site.browser()
    spent = site.state(browser)["state"]
    cookies = dict(browser.cookies)
    check.signed_in(login(browser, code(), spent))
    unspent = site.state(other)["state"]
    site.httpd.graceful()
    browser.cookies = cookies
    check.refused(login(browser, code(), spent), "state_invalid")
    check.signed_in(login(other, code(), unspent))


@pytest.mark.db
def test_T2_servers_that_share_a_database(make_site, databases, cell, code):
    database = databases.make(cell[1])
    mount = "SocialAuthSharedState database"
    one = make_site(database=database, mount=mount, base_url="http://localhost:1")
    two = make_site(database=database, mount=mount, base_url="http://localhost:1")
    browser = one.browser()
    state = one.state(browser)["state"]
    cookies = dict(browser.cookies)
    check.signed_in(login(browser, code(), state))
    there = two.browser()
    there.cookies = cookies
    check.refused(login(there, code(), state), "state_invalid")
    fresh = one.state(browser)["state"]
    there.cookies = dict(browser.cookies)
    check.signed_in(login(there, code(), fresh))


# ---- unforgeable (T3), for one provider (T5), for a while (T4)

def test_T3_every_byte_matters(site, browser, code):
    state = site.state(browser)["state"]
    cookies = dict(browser.cookies)
    before = site.counts()
    for i in range(len(state)):
        spoilt = state[:i] + ("A" if state[i] != "A" else "B") + state[i + 1:]
        browser.cookies = dict(cookies)
        answer = browser.post("github/login/", {"code": "c", "state": spoilt})
        assert (answer.status, answer.word) == (400, "state_invalid"), (i, answer)
    assert site.provider.asked("/github/token") == []
    assert site.counts() == before
    browser.cookies = dict(cookies)
    check.signed_in(login(browser, code(), state))


@pytest.mark.parametrize("spoil", [
    lambda s: s[:-1], lambda s: s[1:], lambda s: s + "A", lambda s: s + "=", lambda s: s + ".",
    lambda s: s.split(".")[0], lambda s: s.split(".")[0] + ".", lambda s: "." + s.split(".")[-1],
    lambda s: s + " ", lambda s: " " + s, lambda s: s + "\n", lambda s: s.replace("-", "+"),
    lambda s: "." * 50, lambda s: "A" * 5000, lambda s: "é" + s, lambda s: s.upper(), lambda s: s + s])
def test_T3_cut_extended_respelled(site, browser, spoil):
    state = site.state(browser)["state"]
    if spoil(state) == state:
        state = site.state(browser)["state"] + "+"
    answer = browser.post("github/login/", {"code": "c", "state": spoil(state)})
    assert answer.status == 400 and answer.word in ("state_invalid", "blank"), answer
    assert site.provider.asked("/github/token") == []


def test_T3_payload_rewritten_with_foreign_keys(site, browser):
    """The payload is readable; signing another one needs our key."""
    state = site.state(browser)["state"]
    payload = json.loads(unb64(state.split(".")[0]))
    payload["t"] = payload.get("t", 0) + 60
    text = b64(json.dumps(payload, separators=(",", ":")))
    for key in (b"", b"social-auth-state-salt", site.settings.secret.encode()):
        for data in (text.encode(), json.dumps(payload, separators=(",", ":")).encode()):
            forged = text + "." + b64(hmac.new(key, data, hashlib.sha256).digest())
            answer = browser.post("github/login/", {"code": "c", "state": forged})
            check.refused(answer, "state_invalid")


def test_T3_other_salt_other_states(make_site, code):
    one, two = make_site(mount="SocialAuthStateSalt one"), make_site(mount="SocialAuthStateSalt two")
    browser = one.browser()
    state = one.state(browser)["state"]
    there = two.browser()
    there.cookies = dict(browser.cookies)
    check.refused(login(there, code(), state), "state_invalid")
    check.signed_in(login(browser, code(), state))


def test_T3_tokens_are_no_states(site, browser, code):
    tokens = site.tokens(site.github_login(browser))
    for text in tokens.values():
        check.refused(login(browser, code(), text), "state_invalid")
    state = site.state(browser)["state"]
    check.access_refused(browser.get("linked-accounts/", bearer=state))


def test_T5_state_of_one_provider_at_another(site, browser):
    github, google = site.state(browser)["state"], site.state(browser, "google")
    token = site.provider.google.id_token(nonce=google["nonce"])
    check.refused(browser.post("google/login/", {"token": token, "state": github}), "state_invalid")
    check.refused(login(browser, "c", google["state"]), "state_invalid")
    assert site.provider.asked("/github/token") == []


def test_T4_lifetime(make_site, code):
    site = make_site(mount="SocialAuthStateMaxAge 300", faketime="+0", private=True)
    for seconds, works in ((270, True), (302, False)):
        site.httpd.set_clock("+0")
        browser = site.browser()
        state = site.state(browser)["state"]
        site.httpd.set_clock("+%d" % seconds)
        answer = login(browser, code(), state)
        if works:
            check.signed_in(answer)
        else:
            check.refused(answer, "state_invalid")


def test_T4_state_from_the_future(make_site, code):
    site = make_site(faketime="+600", private=True)
    browser = site.browser()
    state = site.state(browser)["state"]
    site.httpd.set_clock("+0")
    check.refused(login(browser, code(), state), "state_invalid")


@pytest.mark.parametrize("value", ["0", "3601", "-1", "1.5", "5x", "x", ""])
def test_T4_max_age_is_checked_at_start(make_site, value):
    site = make_site()
    status, said = site.httpd.try_edit(
        "SetHandler social-auth", 'SetHandler social-auth\n    SocialAuthStateMaxAge "%s"' % value)
    assert status != 0
    assert "SocialAuthStateMaxAge" in said and "3600" in said, said


# ---- several mounts

def test_T19_unknown_and_odd_providers(site, browser):
    before = site.counts()
    for name in ("nosuch", "GitHub", "github%00", "github%2e", ".github", "github;x", "git%20hub", "a" * 3000):
        for path in ("%s/state/", "%s/login/", "%s/link/"):
            method = "GET" if "state" in path else "POST"
            answer = browser.request(method, path % name, json=None if method == "GET" else {})
            assert answer.status in (404, 400, 414), (name, answer)
    assert site.provider.asked() == []
    assert site.counts() == before


@pytest.mark.cell("event", "pgsql")      # idle prefork children answer once more
def test_T19_provider_removed_mid_flow(make_site, code):
    site = make_site(private=True)
    browser = site.browser()
    state = site.state(browser)["state"]
    site.httpd.edit("SocialAuthProvider github", "# SocialAuthProvider github")
    site.httpd.graceful()
    answer = browser.post("github/login/", {"code": code(), "state": state})
    assert answer.status in (400, 404), answer
    assert site.provider.asked() == []
    check.signed_in(site.google_login())
