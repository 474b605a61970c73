"""Tokens: the password pair, refresh with rotation, verify, blacklist; every algorithm;
and what other people's libraries say to them."""
import base64
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time

import argon2
import jwt
import pytest
from jwcrypto import jwk, jws

from support import check, jose, paths, ports, vectors
from support.client import Browser, at_once, raw_one
from support.jose import Key, b64, make
from support.load import Load
from support.pki import Authority
from support.site import SECRET, STRONG
from test_login_rules import WIDE


# The old generation's children are told to go; how many linger is httpd's affair.
GENERATIONS = ("AH0048[45]", "AH10159", "AH03490", "AH00288", "AH00289")


def refresh(site, token, browser=None):
    return (browser or site.browser()).post("token/refresh/", {"refresh": token})


def verify(site, token):
    return site.browser().post("token/verify/", {"token": token})


def blacklist(site, token):
    return site.browser().post("token/blacklist/", {"refresh": token})


def blacklisted(answer):
    check.refused(answer, "token_blacklisted")


@pytest.fixture
def tokens(site):
    return site.tokens(site.github_login())


# ---- the password pair

@pytest.mark.db
def test_pair_by_email_and_by_username(site):
    user = site.make_user("ada@example.org", username="ada")
    browser = site.browser()
    for body in ({"email": "ada@example.org"}, {"email": "ADA@Example.ORG"}, {"username": "ada"},
                 {"username": "ada@example.org"}):
        for send in (dict(json={**body, "password": STRONG}), dict(form={**body, "password": STRONG})):
            pair = check.signed_in(browser.request("POST", "token/", **send))
            assert site.user_id(pair) == str(user)
            assert "pwd" in str(jose.claims_of(pair["access"])["amr"])
    assert site.db.value("SELECT last_login FROM sa_users") is not None


def test_pair_username_is_exact(site):
    site.make_user("ada@example.org", username="Ada")
    for name in ("ada", "ADA", "Ada ", " Ada", "Ad"):
        check.refused(site.browser().post("token/", {"username": name, "password": STRONG}),
                      "bad_credentials")


@pytest.mark.db
def test_T180_same_answer_for_every_wrong_login(site):
    site.make_user("ada@example.org")
    site.make_user("gone@example.org", is_active=False)
    site.make_user("social@example.org", password=None)
    answers = [site.password_login(email, password) for email, password in (
        ("ada@example.org", "wrong"), ("nobody@example.org", STRONG), ("gone@example.org", STRONG),
        ("gone@example.org", "wrong"), ("social@example.org", STRONG), ("ada@example.org", STRONG + " "),
        ("ada@example.org", STRONG.upper()), ("not an address", STRONG))]
    for answer in answers:
        check.refused(answer, "bad_credentials")
        assert answer.header("WWW-Authenticate") == answers[0].header("WWW-Authenticate")
    assert site.db.value("SELECT count(*) FROM sa_sessions") == 0


def test_pair_off(make_site):
    site = make_site(mount="SocialAuthPasswordLogin Off")
    site.make_user("ada@example.org")
    answer = site.password_login("ada@example.org")
    assert answer.status in (401, 403, 404) and "access" not in answer.json(), answer
    check.signed_in(site.github_login())


@pytest.mark.parametrize("password", ["é" * 10, "e\u0301" * 10, " lead and trail ", "🦊🦊🦊🦊",
                                      "x" * 64, "y" * 4096, "tab\there", "quote\"'\\$"])
def test_T72_T73_passwords_are_byte_exact(site, password):
    site.make_user("ada@example.org", password=password)
    check.signed_in(site.password_login("ada@example.org", password))
    for other in (password + " ", password[:-1], password.replace("é", "e\u0301") + "x"):
        answer = site.password_login("ada@example.org", other)
        if len(other) > 4096:
            check.field_refused(answer, "invalid", password=OVER_LONG)
        else:
            check.refused(answer, "bad_credentials")


OVER_LONG = "Ensure this field has no more than 4096 characters."


def test_T72_over_long_password_is_refused_before_hashing(site):
    """In a fraction of the time that the hash of a wrong one takes; of each the quickest of several."""
    site.make_user("ada@example.org")
    browser = site.browser()

    def quickest(password, judge):
        least = 1e9
        for _ in range(8):
            start = time.monotonic()
            answer = site.password_login("ada@example.org", password, browser)
            least = min(least, time.monotonic() - start)
            judge(answer)
        return least

    hashed = quickest("x" * 4096, lambda answer: check.refused(answer, "bad_credentials"))
    for size in (4097, 60000):
        assert quickest("x" * size, lambda answer: check.field_refused(
            answer, "invalid", password=OVER_LONG)) < hashed / 3


def test_T71_nul_in_a_password(site):
    site.make_user("ada@example.org", password="pw-pw-pw-pw")
    for password in ("pw-pw-pw-pw\x00", "pw-pw-pw-pw\x00x", "\x00"):
        answer = site.password_login("ada@example.org", password)
        assert answer.status == 400, answer
        form = site.browser().request("POST", "token/", body=b"email=ada%40example.org&password=pw-pw-pw-pw%00",
                                      content_type="application/x-www-form-urlencoded")
        assert form.status == 400, form


def test_T67_stored_as_argon2id(site):
    site.make_user("ada@example.org")
    stored = site.db.value("SELECT password FROM sa_users")
    assert "$argon2id$v=19$" in stored and STRONG not in site.db.dump()
    argon2.PasswordHasher().verify(stored[stored.index("$argon2id"):], STRONG)
    parameters = argon2.extract_parameters(stored[stored.index("$argon2id"):])
    assert parameters.memory_cost >= 19456 and parameters.time_cost >= 2
    assert parameters.salt_len >= 16


def django_cases():
    data = vectors.load("django/password_hashes.json")
    if data is None:
        return vectors.cases("django/password_hashes.json")
    return [pytest.param(c, id=c["id"]) for c in data["cases"]]


@pytest.mark.cell("event", "sqlite3")                # stores even the NUL of one row
@pytest.mark.parametrize("case", django_cases())
def test_T68_T69_T70_django_hashes(site, case):
    """Imported rows: the right verdict, in bounded time, and Argon2id after a success."""
    encoded, password = case["encoded"], case["password"]
    site.make_user("ada@example.org", password=None)
    site.db.query("UPDATE sa_users SET password = ?", encoded)
    start = time.monotonic()
    answer = site.password_login("ada@example.org", password)
    took = time.monotonic() - start
    stored = site.db.value("SELECT password FROM sa_users")
    if "\x00" in password or not password:              # T71: never reaches the hash
        assert answer.status == 400 and answer.word in ("parse_error", "blank", "invalid"), answer
        assert stored == encoded
    elif case["expect"] == "match":
        check.signed_in(answer)
        assert "$argon2id$" in stored
        check.signed_in(site.password_login("ada@example.org", password))
    else:
        check.refused(answer, "bad_credentials")
        assert stored == encoded
    assert took < 20, took


PBKDF2_OF_SECRET = "pbkdf2_sha256$1000$seasalt$+hs9qSCcGyNSGDNojIEbomuX9WI/mzTF5yfwAXqyKOo="


@pytest.mark.db
def test_T68_several_first_logins_of_an_imported_hash(make_site):
    """Each finds the old hash and betters it: one of them does, all are signed in."""
    site = make_site(server="SocialAuthHashConcurrency 16")
    site.make_user("ada@example.org", password=None)
    site.db.query("UPDATE sa_users SET password = ?", PBKDF2_OF_SECRET)
    for answer in at_once([lambda: site.password_login("ada@example.org", "secret")] * 6):
        check.signed_in(answer)
    assert "$argon2id$" in site.db.value("SELECT password FROM sa_users")


@pytest.mark.db
def test_T46_T47_password_is_taken_away_while_it_is_checked(site):
    """A password that was right when it was looked up opens nothing once it is gone."""
    site.make_user("ada@example.org")
    thief = site.db.connect()
    thief.cursor().execute("UPDATE sa_users SET password = '!'")
    answers = []
    login = threading.Thread(
        target=lambda: answers.append(site.password_login("ada@example.org")))
    login.start()
    time.sleep(1)
    assert not answers
    thief.commit()
    thief.close()
    login.join(20)
    check.refused(answers[0], "bad_credentials")
    assert site.db.value("SELECT count(*) FROM sa_sessions") == 0


@pytest.mark.parametrize("more,headers,status,word", [
    ({"client_id": "app"}, {}, 400, "invalid_request"),
    ({"client_id": "app", "client_secret": "s"}, {}, 400, "invalid_request"),
    ({}, {"Authorization": "Basic YXBwOnM="}, 400, "invalid_request"),
    ({"grant_type": "password", "client_id": "app"}, {}, 401, "invalid_client"),
])
def test_pair_is_not_for_applications(site, more, headers, status, word):
    site.make_user("ada@example.org", username="ada")
    answer = site.browser().request("POST", "token/", headers=headers,
                                    form={"username": "ada", "password": STRONG, **more})
    assert answer.status == status and answer.json()["error"] == word, answer
    assert set(answer.json()) == {"error", "error_description"}, answer
    assert site.db.value("SELECT count(*) FROM sa_sessions") == 0


# ---- access tokens

@pytest.mark.db
def test_claims(site, tokens):
    access, again = (jose.claims_of(tokens[k]) for k in ("access", "refresh"))
    assert jose.header_of(tokens["access"])["typ"] == "at+jwt"
    assert jose.header_of(tokens["refresh"])["typ"] == "rt+jwt"
    for claims, kind in ((access, "access"), (again, "refresh")):
        assert claims["token_type"] == kind
        assert claims["iss"] == site.issuer and claims["aud"] == site.issuer
        assert claims["sub"] == str(claims["user_id"])
        assert isinstance(claims["user_id"], int)
        assert isinstance(claims["iat"], int) and isinstance(claims["exp"], int)
        assert "client_id" not in claims
        assert abs(claims["iat"] - time.time()) < 60
    assert access["sid"] == again["sid"] and access["jti"] != again["jti"]
    assert access["exp"] - access["iat"] == 3600 and again["exp"] - again["iat"] == 86400
    assert abs(access["auth_time"] - time.time()) < 60


def test_lifetimes_issuer_audience_leeway(make_site):
    site = make_site(mount="SocialAuthAccessTokenLifetime 120\nSocialAuthRefreshTokenLifetime 600\n"
                           "SocialAuthIssuer https://id.example\nSocialAuthAudience https://api.example")
    tokens = site.tokens(site.github_login())
    access, again = (jose.claims_of(tokens[k]) for k in ("access", "refresh"))
    assert access["exp"] - access["iat"] == 120 and again["exp"] - again["iat"] == 600
    assert (access["iss"], access["aud"]) == ("https://id.example", "https://api.example")
    assert verify(site, tokens["access"]).status == 200


def hostile_tokens(site, tokens):
    """Near misses of a good access token, made with the real key."""
    good, header = jose.claims_of(tokens["access"]), jose.header_of(tokens["access"])
    key = Key("HS256", "", secret=SECRET.encode())
    def with_(**more):
        return make({k: v for k, v in {**good, **more}.items() if v is not None}, key, header)
    assert with_()                                      # the control is tested below
    yield "T91 refresh as access", tokens["refresh"]
    yield "T91 state", site.state(site.browser())["state"]
    yield "T91 id_token", site.provider.google.id_token()
    yield "T91 id_token of ours", make({k: v for k, v in good.items() if k not in ("token_type", "sid")}
                                       | {"nonce": "n", "email": "ada@example.org"}, key, header)
    for name in ("iss", "aud", "sub", "exp", "token_type", "jti"):
        yield "T90 no " + name, with_(**{name: None})
    yield "T90 other iss", with_(iss=site.issuer + "/")
    yield "T90 other aud", with_(aud="https://other.example")
    yield "T90 aud list without us", with_(aud=["a", "b"])
    yield "T90 sub number", with_(sub=1)
    yield "T90 sub empty", with_(sub="")
    yield "T90 sub long", with_(sub="1" * 300)
    yield "T91 type refresh", with_(token_type="refresh")
    yield "T92 expired", with_(exp=int(time.time()) - 30)
    yield "T92 exp string", with_(exp="4102444800")
    yield "T92 exp huge", with_(exp=1e300)
    yield "T92 exp negative", with_(exp=-1)
    yield "T93 nbf", with_(nbf=int(time.time()) + 60)
    yield "T93 iat future", with_(iat=int(time.time()) + 3600)
    yield "T81 none", make(good, None, {**header, "alg": "none"})
    yield "T81 NONE", make(good, None, {**header, "alg": "NONE"})
    for typ in ("rt+jwt", "logout+jwt"):
        yield "T91 typ " + typ, make(good, key, {**header, "typ": typ})
    yield "T82 other alg", make(good, Key("HS384", "", secret=SECRET.encode()), {**header, "alg": "HS384"})
    yield "T83 jwk", make(good, Key("HS256", "", secret=b"k" * 32),
                          {**header, "jwk": {"kty": "oct", "k": b64(b"k" * 32)}})
    yield "T84 kid", make(good, key, {**header, "kid": "../../etc/passwd"})
    yield "T84 kid sql", make(good, key, {**header, "kid": "' OR 1=1--"})
    yield "T85 crit", make(good, key, {**header, "crit": ["exp"]})
    yield "T85 zip", make(good, key, {**header, "zip": "DEF"})
    yield "T103 padded", tokens["access"] + "="
    yield "T103 plus", tokens["access"].replace("-", "+").replace("_", "/") + "+"
    yield "bad signature", jose.spoil_signature(tokens["access"])
    yield "no signature", tokens["access"].rsplit(".", 1)[0] + "."
    yield "T96 five parts", tokens["access"] + ".a.b"
    yield "T97 8 kB", "a" * 7000 + "." + "b" * 500 + ".c"
    yield "empty parts", ".."


def test_T81_T97_bearer_refusals(site, tokens):
    key = Key("HS256", "", secret=SECRET.encode())
    control = make(jose.claims_of(tokens["access"]), key, jose.header_of(tokens["access"]))
    browser = site.browser()
    assert browser.get("linked-accounts/", bearer=control).status == 200
    before = site.counts()
    for name, token in hostile_tokens(site, tokens):
        answer = browser.get("linked-accounts/", bearer=token)
        assert answer.status == 401, (name, answer)
        check.access_refused(answer)
    assert site.counts() == before
    assert browser.get("linked-accounts/", bearer=tokens["access"]).status == 200


def with_authorization(site, *values):
    return site.browser().request("GET", "linked-accounts/", headers=[("Authorization", v) for v in values])


@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "Bearer  x", "Bearer x y", "Bearer\tx", "bearer",
                                   'Bearer "x"', "Bearer x,y", "Bearer \x80"])
def test_T107_malformed_bearer(site, value):
    check.access_refused(with_authorization(site, value))


@pytest.mark.parametrize("value", ["Basic YTpi", "Digest x", "Token x", "", "Bearer\x80", "Bearerx y",
                                   "x" * 7000])
def test_T107_other_schemes_are_none(site, value):
    check.not_signed_in(with_authorization(site, value))


@pytest.mark.parametrize("value", [b"Bearer x\0y", b"Bearer " + b"x" * 16384], ids=["NUL", "16 kB"])
def test_T107_what_httpd_refuses(site, value):
    answer = raw_one(site.port, b"GET %s/linked-accounts/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: %s\r\n"
                     b"Connection: close\r\n\r\n" % (site.settings.path.encode(), value))
    assert answer.status == 400, answer


def test_T107_scheme_is_case_insensitive_and_single(site, tokens):
    for scheme in ("Bearer", "bearer", "BEARER"):
        answer = with_authorization(site, scheme + " " + tokens["access"])
        assert answer.status == 200, answer
    good = "Bearer " + tokens["access"]
    for values in ((good, "Bearer x"), ("Bearer x", good), (good, good), (good, "Basic YTpi")):
        check.access_refused(with_authorization(site, *values))
    check.not_signed_in(with_authorization(site, "Basic YTpi", good))


def test_T124_token_in_the_query_is_nothing(site, tokens):
    check.not_signed_in(site.browser().get("linked-accounts/?access_token=" + tokens["access"]))


def test_auth_header_types(make_site):
    site = make_site(mount="SocialAuthAuthHeaderTypes Bearer JWT")
    access = site.tokens(site.github_login())["access"]
    for scheme in ("Bearer", "JWT"):
        assert site.browser().request("GET", "linked-accounts/", headers=[
            ("Authorization", scheme + " " + access)]).status == 200
    answer = site.browser().request("GET", "linked-accounts/", headers=[("Authorization", "Foo " + access)])
    assert answer.status == 401


# ---- refresh

@pytest.mark.db
def test_refresh_rotates(site, tokens):
    answer = refresh(site, tokens["refresh"])
    new = check.signed_in(answer)
    assert new["refresh"] != tokens["refresh"]
    old, fresh = jose.claims_of(tokens["refresh"]), jose.claims_of(new["refresh"])
    assert old["sid"] == fresh["sid"] and old["jti"] != fresh["jti"]
    assert jose.claims_of(new["access"])["sub"] == jose.claims_of(tokens["access"])["sub"]
    assert site.db.value("SELECT count(*) FROM sa_sessions") == 1
    check.signed_in(refresh(site, new["refresh"]))


def test_refresh_form_and_slash(site, tokens):
    answer = site.browser().request("POST", "token/refresh", form={"refresh": tokens["refresh"]})
    check.signed_in(answer)


def test_refresh_without_rotation(make_site):
    """For front ends that do not store the returned refresh token."""
    site = make_site(mount="SocialAuthRotateRefreshTokens Off")
    tokens = site.tokens(site.github_login())
    for _ in range(3):
        answer = refresh(site, tokens["refresh"])
        assert answer.status == 200 and set(answer.json()) == {"access"}, answer
    assert verify(site, tokens["refresh"]).status == 200


def test_blacklist_after_rotation_off(make_site):
    site = make_site(mount="SocialAuthBlacklistAfterRotation Off\nSocialAuthRefreshReuseInterval 0")
    tokens = site.tokens(site.github_login())
    first = check.signed_in(refresh(site, tokens["refresh"]))
    check.signed_in(refresh(site, tokens["refresh"]))
    check.signed_in(refresh(site, first["refresh"]))


@pytest.mark.parametrize("kind", ["access", "garbage", "none", "state", "expired", "other iss", "bare"])
def test_T91_refresh_refuses(site, tokens, kind):
    claims, header = jose.claims_of(tokens["refresh"]), jose.header_of(tokens["refresh"])
    key = Key("HS256", "", secret=SECRET.encode())
    token = {
        "access": tokens["access"], "garbage": "x.y.z", "bare": "x",
        "none": make(claims, None, {**header, "alg": "none"}),
        "state": site.state(site.browser())["state"],
        "expired": make({**claims, "exp": int(time.time()) - 5}, key, header),
        "other iss": make({**claims, "iss": "https://evil"}, key, header),
    }[kind]
    check.refresh_refused(refresh(site, token))
    check.signed_in(refresh(site, tokens["refresh"]))


def test_refresh_of_an_unknown_session(site, tokens):
    claims, header = jose.claims_of(tokens["refresh"]), jose.header_of(tokens["refresh"])
    key = Key("HS256", "", secret=SECRET.encode())
    for sid in ("00000000-0000-4000-8000-000000000000", "x", "' OR 1=1--"):
        answer = refresh(site, make({**claims, "sid": sid}, key, header))
        assert answer.status == 401, answer
    check.signed_in(refresh(site, tokens["refresh"]))


def test_refresh_with_a_client_id_is_another_dialects(site, tokens):
    claims, header = jose.claims_of(tokens["refresh"]), jose.header_of(tokens["refresh"])
    token = make({**claims, "client_id": "app"}, Key("HS256", "", secret=SECRET.encode()), header)
    check.refresh_refused(refresh(site, token))


@pytest.mark.db
def test_T116_reuse_ends_the_family(make_site):
    site = make_site(mount="SocialAuthRefreshReuseInterval 0")
    site.expect_log(r"reuse|refresh")
    first = site.tokens(site.github_login())
    other = site.tokens(site.google_login())
    second = check.signed_in(refresh(site, first["refresh"]))
    third = check.signed_in(refresh(site, second["refresh"]))
    blacklisted(refresh(site, first["refresh"]))
    for token in (third["refresh"], second["refresh"], first["refresh"]):
        blacklisted(refresh(site, token))
    check.access_refused(site.browser().get("linked-accounts/", bearer=third["access"]))
    assert verify(site, third["access"]).status == 401
    check.signed_in(refresh(site, other["refresh"]))    # other sessions live on


@pytest.mark.db
def test_T117_lost_reply_within_the_interval(make_site):
    site = make_site(mount="SocialAuthRefreshReuseInterval 30")
    first = site.tokens(site.github_login())
    second = check.signed_in(refresh(site, first["refresh"]))
    again = check.signed_in(refresh(site, first["refresh"]))
    a, b = jose.claims_of(second["refresh"]), jose.claims_of(again["refresh"])
    assert (a["jti"], a["iat"], a["exp"], a["sid"]) == (b["jti"], b["iat"], b["exp"], b["sid"])
    third = check.signed_in(refresh(site, again["refresh"]))
    # The successor was used: now it is a reuse, inside the interval or not.
    site.expect_log(r"reuse|refresh")
    blacklisted(refresh(site, first["refresh"]))
    blacklisted(refresh(site, third["refresh"]))


@pytest.mark.db
@pytest.mark.process
def test_T117_connection_dropped_after_the_commit(make_site):
    site = make_site(mount="SocialAuthRefreshReuseInterval 30")
    token = site.tokens(site.github_login())["refresh"]

    def stored():
        return site.db.one("SELECT jti, iat, exp FROM sa_sessions")

    for _ in range(3):
        body, before = json.dumps({"refresh": token}).encode(), stored()
        with socket.create_connection(("127.0.0.1", site.port), 10) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close: RST
            s.sendall(b"POST %s/token/refresh/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
                      b"\r\nContent-Length: %d\r\n\r\n%s" % (site.settings.path.encode(), len(body), body))
            site.httpd.wait_for(lambda: stored() != before, "the rotation")
        rotated = stored()
        for _ in range(2):
            again = check.signed_in(refresh(site, token))
            claims = jose.claims_of(again["refresh"])
            assert (claims["jti"], claims["iat"], claims["exp"]) == rotated == stored()
        assert site.browser().get("linked-accounts/", bearer=again["access"]).status == 200
        token = again["refresh"]


def test_T117_after_the_interval(make_site):
    site = make_site(mount="SocialAuthRefreshReuseInterval 1")
    first = site.tokens(site.github_login())
    second = check.signed_in(refresh(site, first["refresh"]))
    time.sleep(2.2)
    site.expect_log(r"reuse|refresh")
    blacklisted(refresh(site, first["refresh"]))
    blacklisted(refresh(site, second["refresh"]))


@pytest.mark.db
@pytest.mark.process
@pytest.mark.limit(300)
def test_T115_32_at_once_share_one_successor(make_site, cell):
    site = make_site(mount="SocialAuthRefreshReuseInterval 60",
                     mpm_settings=WIDE if cell[0] == "event" else None)
    for _ in range(8):
        tokens = site.tokens(site.github_login())
        browsers = [site.browser() for _ in range(32)]
        answers = at_once([lambda b=b: refresh(site, tokens["refresh"], b) for b in browsers])
        successors = {jose.claims_of(check.signed_in(a)["refresh"])["jti"] for a in answers}
        assert len(successors) == 1
        for b in browsers:
            b.close()


@pytest.mark.db
@pytest.mark.process
@pytest.mark.limit(300)
def test_T115_32_at_once_without_an_interval(make_site, cell):
    site = make_site(mount="SocialAuthRefreshReuseInterval 0",
                     mpm_settings=WIDE if cell[0] == "event" else None)
    site.expect_log(r"reuse|refresh")
    for _ in range(8):
        tokens = site.tokens(site.github_login())
        browsers = [site.browser() for _ in range(32)]
        answers = at_once([lambda b=b: refresh(site, tokens["refresh"], b) for b in browsers])
        good = [a for a in answers if a.status == 200]
        assert len(good) == 1, [a.status for a in answers]
        for answer in answers:
            if answer.status != 200:
                blacklisted(answer)
        blacklisted(refresh(site, good[0].json()["refresh"]))
        for b in browsers:
            b.close()


@pytest.mark.db
def test_T132_absolute_end_of_a_session(make_site):
    site = make_site(mount="SocialAuthSessionLifetime 600\nSocialAuthRefreshTokenLifetime 400",
                     faketime="+0", private=True)
    site.httpd.set_clock("+0")
    tokens = site.tokens(site.github_login())
    born = jose.claims_of(tokens["refresh"])["iat"]
    site.httpd.set_clock("+350")
    tokens = check.signed_in(refresh(site, tokens["refresh"]))
    assert jose.claims_of(tokens["refresh"])["exp"] <= born + 600
    site.httpd.set_clock("+560")
    tokens = check.signed_in(refresh(site, tokens["refresh"]))
    site.httpd.set_clock("+605")
    answer = refresh(site, tokens["refresh"])
    assert answer.status == 401, answer


@pytest.mark.parametrize("leeway", [0, 60])
def test_leeway_is_added_to_the_end_of_a_token(make_site, leeway):
    site = make_site(mount="SocialAuthLeeway %d\nSocialAuthAccessTokenLifetime 300" % leeway,
                     faketime="+0", private=True)
    site.httpd.set_clock("+0")
    browser = site.browser()
    access = site.tokens(site.github_login(browser))["access"]

    def taken_at(seconds):
        site.httpd.set_clock("+%d" % seconds)
        return browser.get("linked-accounts/", bearer=access).status == 200
    assert taken_at(290) and not taken_at(300 + leeway + 5)
    assert taken_at(300 + leeway - 10)
    if leeway:
        assert taken_at(305)


def test_T131_no_token_is_stored(site, tokens):
    new = check.signed_in(refresh(site, tokens["refresh"]))
    dump = site.db.dump()
    for token in (*tokens.values(), *new.values()):
        assert token not in dump and token.split(".")[2] not in dump


def test_T130_ids_are_unique_across_children(site):
    site.make_user("ada@example.org")
    seen = []

    def some(browser, tokens):
        for _ in range(10):
            tokens = browser.post("token/refresh/", {"refresh": tokens["refresh"]}).json()
            seen.extend(jose.claims_of(t)["jti"] for t in tokens.values())
        browser.close()
    threads = []
    for _ in range(10):
        browser = site.browser()
        tokens = site.tokens(site.github_login(browser))
        threads.append(threading.Thread(target=some, args=(browser, tokens)))
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(seen) == 200 and len(set(seen)) == 200
    for jti in seen:
        assert len(jti) >= 22


# ---- verify and blacklist

@pytest.mark.db
def test_verify(site, tokens):
    for token in tokens.values():
        answer = verify(site, token)
        assert answer.status == 200 and answer.json() == {}, answer
    for token in ("x", jose.spoil_signature(tokens["access"])):
        check.refresh_refused(verify(site, token))


@pytest.mark.db
def test_blacklist(site, tokens):
    answer = blacklist(site, tokens["refresh"])
    assert answer.status == 200 and answer.json() == {}, answer
    blacklisted(blacklist(site, tokens["refresh"]))
    blacklisted(refresh(site, tokens["refresh"]))
    blacklisted(verify(site, tokens["refresh"]))
    answer = verify(site, tokens["access"])
    assert answer.status == 401, answer


def test_blacklist_wants_a_refresh_token(site, tokens):
    for token in (tokens["access"], "x"):
        check.refresh_refused(blacklist(site, token))
    check.signed_in(refresh(site, tokens["refresh"]))


@pytest.mark.db
def test_T80_password_change_ends_every_session(site):
    site.make_user("ada@example.org")
    pairs = [site.tokens(site.password_login("ada@example.org")) for _ in range(3)]
    site.db.ctl("users", "set-password", "ada@example.org", "--password-stdin", stdin="another-One-77\n")
    for pair in pairs:
        assert refresh(site, pair["refresh"]).status == 401
        assert verify(site, pair["access"]).status == 401
    check.refused(site.password_login("ada@example.org"), "bad_credentials")
    check.signed_in(site.password_login("ada@example.org", "another-One-77"))


@pytest.mark.db
def test_T129_purge_removes_only_what_is_over(make_site):
    site = make_site()
    old = [site.tokens(site.github_login()) for _ in range(5)]
    live = [site.tokens(site.github_login()) for _ in range(3)]
    for pair in old:
        site.db.query("UPDATE sa_sessions SET exp = 1700000000, expires = 1700000000 WHERE sid = ?",
                      jose.claims_of(pair["refresh"])["sid"])
    site.db.ctl("purge")
    assert site.db.value("SELECT count(*) FROM sa_sessions") == 3
    for pair in live:
        check.signed_in(refresh(site, pair["refresh"]))


# ---- algorithms and other people's libraries

ALGORITHMS = ["HS256", "RS256", "PS256", "ES256", "ES384", "EdDSA"]


@pytest.fixture(scope="module")
def key_files():
    """{alg: (Key, PEM file)}, readable by nobody else."""
    directory = paths.make_dir("keys")
    out = {}
    for alg in ALGORITHMS[1:]:
        key = Key(alg, "k-" + alg.lower())
        path = os.path.join(directory, alg + ".pem")
        with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as f:
            f.write(key.pem())
        out[alg] = key, path
    return out


@pytest.fixture
def alg_site(make_site, key_files):
    def make(alg, more=""):
        if alg == "HS256":
            return make_site(mount=more)
        key, path = key_files[alg]
        return make_site(mount="SocialAuthJWTAlgorithm %s\nSocialAuthJWTKey kid=%s file:%s\n%s"
                               % (alg, key.kid, path, more))
    return make


def jwks_of(site):
    answer = site.browser().get(".well-known/jwks.json")
    assert answer.status == 200, answer
    return answer.json()


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_T134_jwks_holds_public_members_only(alg_site, key_files, alg):
    site = alg_site(alg)
    keys = jwks_of(site)["keys"]
    assert not any(set(k) & {"d", "p", "q", "dp", "dq", "qi", "k"} for k in keys)
    assert SECRET not in json.dumps(keys)
    if alg == "HS256":
        assert keys == []
        return
    (key,) = keys
    ours = key_files[alg][0].jwk()
    for member in ours:
        assert key[member] == ours[member], member


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_pyjwt_verifies_ours(alg_site, alg):
    site = alg_site(alg)
    tokens = site.tokens(site.github_login())
    if alg == "HS256":
        key = SECRET
    else:
        kid = jose.header_of(tokens["access"])["kid"]
        jwk = next(k for k in jwks_of(site)["keys"] if k["kid"] == kid)
        key = jwt.PyJWK(jwk, algorithm=alg).key
    claims = jwt.decode(tokens["access"], key, algorithms=[alg], audience=site.issuer, issuer=site.issuer,
                        options={"require": ["exp", "iat", "sub", "aud", "iss", "jti"]})
    assert claims["token_type"] == "access"
    check.signed_in(refresh(site, tokens["refresh"]))


@pytest.mark.parametrize("alg", ALGORITHMS[1:])
def test_jose_verifies_ours(alg_site, alg, tmp_path):
    if alg == "EdDSA":                                  # jose 11 knows none
        site = alg_site(alg)
        token = jws.JWS()
        token.deserialize(site.tokens(site.github_login())["access"])
        token.verify(jwk.JWK(**jwks_of(site)["keys"][0]))
        return
    site = alg_site(alg)
    access = site.tokens(site.github_login())["access"]
    keys, token = tmp_path / "jwks.json", tmp_path / "token"
    keys.write_text(json.dumps(jwks_of(site)))
    token.write_text(access)
    done = subprocess.run(["jose", "jws", "ver", "-i", str(token), "-k", str(keys), "-O", "-"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["token_type"] == "access"
    token.write_text(jose.spoil_signature(access))
    assert subprocess.run(["jose", "jws", "ver", "-i", str(token), "-k", str(keys)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE).returncode != 0


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_T82_no_other_algorithm_for_a_key(alg_site, key_files, alg):
    site = alg_site(alg)
    tokens = site.tokens(site.github_login())
    claims, header = jose.claims_of(tokens["access"]), jose.header_of(tokens["access"])
    forged = [make(claims, None, {**header, "alg": "none"})]
    if alg == "HS256":
        forged += [make(claims, Key(a, header.get("kid", ""), secret=SECRET.encode()), {**header, "alg": a})
                   for a in ("HS384", "HS512")]
    else:
        key = key_files[alg][0]
        public = key.public_pem().encode()
        der = base64.b64decode("".join(key.public_pem().splitlines()[1:-1]))
        for secret in (public, public.strip(), der, json.dumps(key.jwk()).encode(), SECRET.encode()):
            forged.append(make(claims, Key("HS256", key.kid, secret=secret), {**header, "alg": "HS256"}))
        if alg in ("RS256", "PS256"):
            other = "PS256" if alg == "RS256" else "RS256"
            forged.append(make(claims, Key(other, key.kid, key.private), {**header, "alg": other}))
    for token in forged:
        check.access_refused(site.browser().get("linked-accounts/", bearer=token))


@pytest.mark.process
def test_T95_key_rotation(make_site, key_files):
    """A new key signs, the old one still verifies; once dropped, its tokens are dead."""
    es, es_path = key_files["ES256"]
    new = Key("ES256", "k-new")
    new_path = os.path.join(os.path.dirname(es_path), "new.pem")
    with open(os.open(new_path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as f:
        f.write(new.pem())
    old_line = "SocialAuthJWTKey kid=k-es256 file:%s" % es_path
    new_line = "SocialAuthJWTKey kid=k-new file:%s" % new_path
    site = make_site(mount="SocialAuthJWTAlgorithm ES256\n" + old_line, private=True)
    tokens = site.tokens(site.github_login())
    site.expect_log(*GENERATIONS)

    def alive(browser, **bearers):
        return [(name, browser.get("linked-accounts/", bearer=token)) for name, token in bearers.items()]

    with Load(site, lambda browser: alive(browser, old=tokens["access"]), pause=0.005) as load:
        load.wait_for(20)
        site.httpd.edit(old_line, new_line + "\n    " + old_line)
        site.httpd.graceful()
        load.wait_for(100)
    assert [s for s in load.samples if s.status != 200] == []
    browser = site.browser()
    fresh = check.signed_in(refresh(site, tokens["refresh"]))
    assert jose.header_of(fresh["access"])["kid"] == "k-new"
    assert [k["kid"] for k in jwks_of(site)["keys"]] == ["k-new", "k-es256"]
    with Load(site, lambda browser: alive(browser, old=tokens["access"], fresh=fresh["access"]),
              pause=0.005) as load:
        load.wait_for(20)
        site.httpd.edit(old_line, "")
        began = time.monotonic()
        site.httpd.graceful()
        load.wait_for(100)
    assert [s for s in load.samples if s.what == "fresh" and s.status != 200] == []
    old = [s for s in load.samples if s.what == "old"]
    assert {s.status for s in old if s.ended < began} == {200}
    assert {s.status for s in old} == {200, 401}, old
    browser = site.browser()
    check.access_refused(browser.get("linked-accounts/", bearer=tokens["access"]))
    assert browser.get("linked-accounts/", bearer=fresh["access"]).status == 200


SIMPLEJWT = r"""
import json, sys, uuid
import django
from django.conf import settings
job = json.load(sys.stdin)
settings.configure(
    SECRET_KEY="x" * 50, USE_TZ=True, DATABASES={},
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "rest_framework_simplejwt"],
    SIMPLE_JWT=dict(job["settings"]))
django.setup()
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken
out = {}
if "verify" in job:
    try:
        token = AccessToken(job["verify"])
        out["user_id"], out["ok"] = token["user_id"], True
    except Exception as e:
        out["ok"], out["why"] = False, str(e)
if "sign" in job:
    for kind, cls in (("access", AccessToken), ("refresh", RefreshToken)):
        token = cls()
        for name, value in job["sign"].items():
            token[name] = value
        out[kind] = str(token)
json.dump(out, sys.stdout)
"""


def simplejwt(**job):
    done = subprocess.run([sys.executable, "-c", SIMPLEJWT], input=json.dumps(job), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("alg", ["HS256", "RS256"])
def test_simplejwt_verifies_ours(alg_site, key_files, alg):
    site = alg_site(alg)
    tokens = site.tokens(site.github_login())
    options = {"ALGORITHM": alg, "AUDIENCE": site.issuer, "ISSUER": site.issuer}
    if alg == "HS256":
        options["SIGNING_KEY"] = SECRET
    else:
        options.update(SIGNING_KEY="", VERIFYING_KEY=key_files[alg][0].public_pem())
    got = simplejwt(settings=options, verify=tokens["access"])
    assert got["ok"], got
    assert str(got["user_id"]) == site.user_id(tokens)
    assert not simplejwt(settings=options, verify=tokens["refresh"])["ok"]
    assert not simplejwt(settings=options, verify=jose.spoil_signature(tokens["access"]))["ok"]


def test_simplejwt_signed_is_accepted_only_when_told(make_site):
    on = make_site(mount="SocialAuthAcceptSimpleJWT On")
    off = make_site()
    for site, works in ((on, True), (off, False)):
        user = site.make_user("ada@example.org", username="ada")
        signed = simplejwt(settings={"ALGORITHM": "HS256", "SIGNING_KEY": SECRET}, sign={"user_id": user})
        answer = site.browser().get("linked-accounts/", bearer=signed["access"])
        if works:
            assert answer.status == 200, answer
        else:
            check.access_refused(answer)
        check.access_refused(site.browser().get("linked-accounts/", bearer=signed["refresh"]))
        check.refresh_refused(refresh(site, signed["refresh"]))
        for wrong in ({"ISSUER": "https://evil"}, {"AUDIENCE": "https://evil"}, {"SIGNING_KEY": "y" * 40}):
            other = simplejwt(settings={"ALGORITHM": "HS256", "SIGNING_KEY": SECRET, **wrong},
                              sign={"user_id": user})
            check.access_refused(site.browser().get("linked-accounts/", bearer=other["access"]))


def test_simplejwt_made_it_of_a_refresh_token_of_ours(make_site):
    """As Django's token/refresh/ does: it copies the claims. It ends with the session all the same."""
    site = make_site(mount="SocialAuthAcceptSimpleJWT On")
    tokens = site.tokens(site.google_login())
    claims = jose.claims_of(tokens["refresh"])
    copied = {name: claims[name] for name in claims if name not in ("token_type", "exp", "jti", "iat")}
    made = simplejwt(settings={"ALGORITHM": "HS256", "SIGNING_KEY": SECRET, "ISSUER": site.issuer,
                               "AUDIENCE": site.issuer}, sign=copied)["access"]
    assert jose.claims_of(made)["sid"] == claims["sid"]
    assert site.browser().get("linked-accounts/", bearer=made).status == 200
    assert site.browser().post("token/blacklist/", {"refresh": tokens["refresh"]}).status == 200
    check.access_refused(site.browser().get("linked-accounts/", bearer=made))


RESOURCE_SERVER = """
Listen 127.0.0.1:%(port)d
Listen 127.0.0.1:%(tls)d
<VirtualHost 127.0.0.1:%(tls)d>
  SSLEngine On
  SSLCertificateFile %(chain)s
  SSLCertificateKeyFile %(key)s
  ProxyPass "/" "http://127.0.0.1:{port}/"
</VirtualHost>
<VirtualHost 127.0.0.1:%(port)d>
  OIDCOAuthVerifyJwksUri https://localhost:%(tls)d/api/social-auth/.well-known/jwks.json
  OIDCOAuthSSLValidateServer Off
  OIDCOAuthRemoteUserClaim sub
  OIDCCryptoPassphrase 0123456789abcdef
  <Location "/">
    AuthType oauth20
    Require valid-user
  </Location>
</VirtualHost>
"""


@pytest.mark.cell("event", "pgsql")
@pytest.mark.parametrize("alg", ["RS256", "ES256"])
def test_mod_auth_openidc_accepts_ours_by_our_jwks(make_site, key_files, alg):
    """A resource server in C that nobody here wrote."""
    port, tls = ports.free_port(), ports.free_port()
    key, path = key_files[alg]
    chain, chain_key = Authority("resource-pki").issue("leaf")
    site = make_site(private=True, modules=["auth_openidc", "ssl", "proxy", "proxy_http"],
                     more=RESOURCE_SERVER % {"port": port, "tls": tls, "chain": chain,
                                             "key": chain_key},
                     mount="SocialAuthJWTAlgorithm %s\nSocialAuthJWTKey kid=%s file:%s"
                           % (alg, key.kid, path))
    site.expect_log(r"oidc|AH01630|AH01797")
    tokens = site.tokens(site.github_login())
    there = Browser(port)
    assert there.get("/", bearer=tokens["access"]).status in (200, 404)
    assert there.get("/").status == 401
    assert there.get("/", bearer=jose.spoil_signature(tokens["access"])).status == 401
