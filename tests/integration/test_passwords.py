"""New passwords: what they must be like, and password/change/ (threat rows T71..T74, T80)."""
import base64
import collections
import hashlib
import json
import os
import unicodedata

import pytest

from support import check, paths, webhook
from support.client import at_once
from support.fake_provider import Reply
from support.site import STRONG

NEW = "another horse, another battery"
EMAIL = "ada@example.org"
SHORT = "This password is too short. It must contain at least 8 characters."
COMMON = "This password is too common."
NUMERIC = "This password is entirely numeric."


def sign_in(site, password=STRONG, email=EMAIL):
    return check.signed_in(site.password_login(email, password))


def change(site, tokens, old=STRONG, new=NEW, browser=None):
    return (browser or site.browser()).post("password/change/", {"old_password": old, "new_password": new},
                                            bearer=tokens["access"])


def changed(answer):
    assert answer.status == 204, answer
    assert answer.body == b"" and answer.header("Cache-Control") == "no-store"


def refused(answer, *texts):
    check.refusal(answer, 400, "invalid", {"new_password": list(texts)})


def wrong_old(answer):
    check.refusal(answer, 400, "wrong_password", {"old_password": ["Incorrect password."]})


def refresh(site, tokens):
    return site.browser().post("token/refresh/", {"refresh": tokens["refresh"]})


# ---- the change

@pytest.mark.db
def test_T80_change_ends_the_other_sessions(site):
    user = site.make_user(EMAIL)
    mine, other, third = (sign_in(site) for _ in range(3))
    bystander = site.make_user("bob@example.org")
    others = sign_in(site, email="bob@example.org")
    changed(change(site, mine))
    for tokens in (other, third):
        check.refused(refresh(site, tokens), "token_blacklisted")
        check.access_refused(site.browser().get("linked-accounts/", bearer=tokens["access"]))
    check.signed_in(refresh(site, mine))
    check.signed_in(refresh(site, others))
    check.refused(site.password_login(EMAIL, STRONG), "bad_credentials")
    sign_in(site, NEW)
    hashes = dict(site.db.query("SELECT id, password FROM sa_users"))
    assert hashes[user].startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")
    assert hashes[user] != hashes[bystander]


@pytest.mark.db
def test_T80_event(make_site, provider):
    secret = webhook.secret()
    provider.script("/hook", Reply(204))
    site = make_site(private=True, modules=["watchdog"],
                     mount="SocialAuthWebhook %s/hook %s" % (provider.url, secret))
    user = site.make_user(EMAIL)
    tokens = sign_in(site)
    wrong_old(change(site, tokens, old="wrong"))
    refused(change(site, tokens, new="short"), SHORT)
    changed(change(site, tokens))
    site.httpd.wait_for(lambda: len(provider.asked("/hook")) >= 2, "the webhooks")
    got = [webhook.verify(secret, r)[1] for r in provider.asked("/hook")]
    assert sorted(p["type"] for p in got) == ["login_successful", "password_changed"]
    event, = (p for p in got if p["type"] == "password_changed")
    assert event["data"]["user_id"] == str(user) and event["data"]["provider"] is None
    assert STRONG not in json.dumps(got) and NEW not in json.dumps(got)


@pytest.mark.db
def test_T80_wrong_or_missing_old_password(site):
    site.make_user(EMAIL)
    tokens, other = sign_in(site), sign_in(site)
    before = site.db.dump()
    browser = site.browser()
    wrong_old(change(site, tokens, old="wrong", browser=browser))
    wrong_old(change(site, tokens, old="x" * 5000, browser=browser))
    # Whoever does not know the old one is not told about the new one.
    wrong_old(change(site, tokens, old="wrong", new="1234", browser=browser))
    for body, word, fields in (
            ({}, "required", {"old_password": check.REQUIRED, "new_password": check.REQUIRED}),
            ({"new_password": NEW}, "required", {"old_password": check.REQUIRED}),
            ({"old_password": STRONG}, "required", {"new_password": check.REQUIRED}),
            ({"old_password": "", "new_password": NEW}, "blank", {"old_password": check.BLANK}),
            ({"old_password": STRONG, "new_password": "  "}, "blank", {"new_password": check.BLANK}),
            ({"old_password": None, "new_password": NEW}, "null", {"old_password": check.NULL}),
            ({"old_password": STRONG, "new_password": [NEW]}, "invalid", {"new_password": check.NOT_STRING})):
        check.field_refused(browser.post("password/change/", body, bearer=tokens["access"]), word, **fields)
    assert site.db.dump() == before
    check.signed_in(refresh(site, other))
    sign_in(site)


def test_change_needs_a_bearer(site):
    site.make_user(EMAIL)
    tokens = sign_in(site)
    body = {"old_password": STRONG, "new_password": NEW}
    check.not_signed_in(site.browser().post("password/change/", body))
    check.access_refused(site.browser().post("password/change/", body, bearer="x.y.z"))
    check.access_refused(site.browser().post("password/change/", body, bearer=tokens["refresh"]))
    site.browser().post("token/blacklist/", {"refresh": tokens["refresh"]})
    check.access_refused(change(site, tokens))
    answer = site.browser().get("password/change/")
    assert answer.status == 405 and answer.header("Allow") == "POST, OPTIONS"
    sign_in(site)


@pytest.mark.db
def test_T76_social_only_account_cannot_change(site):
    tokens = site.tokens(site.github_login())
    before = site.db.dump()
    for old in ("", "!", "null", STRONG, site.db.value("SELECT password FROM sa_users")):
        answer = change(site, tokens, old=old)
        assert answer.status == 400 and answer.word == ("wrong_password" if old else "blank"), answer
        assert old == "" or answer.json()["old_password"] == [
            "This account has no password yet. Set one by resetting it."]
    assert site.db.dump() == before


@pytest.mark.db
@pytest.mark.parametrize("stored", ["as made", ""])
def test_T76_social_only_account_cannot_sign_in(site, stored):
    site.github_login()
    if stored == "":
        site.db.query("UPDATE sa_users SET password = ''")
    stored, email, username = site.db.one("SELECT password, email, username FROM sa_users")
    app = site.application()
    for name, login in (("email", email), ("username", username)):
        for password in ("", None, "null", "!", login, stored, stored[1:]):
            answer = site.browser().post("token/", {name: login, "password": password})
            grant = site.browser().post("token", {"grant_type": "password", "username": login,
                                                  "password": password or "", **app})
            if password:
                check.refused(answer, "bad_credentials")
                assert (grant.status, grant.word) == (400, "invalid_grant"), grant
            else:
                word, text = ("null", check.NULL) if password is None else ("blank", check.BLANK)
                check.field_refused(answer, word, password=text)
                assert (grant.status, grant.word) == (400, "invalid_request"), grant
    assert site.db.value("SELECT count(*) FROM sa_sessions") == 1


def test_change_of_an_inactive_user(site):
    site.make_user(EMAIL)
    tokens = sign_in(site)
    site.db.query("UPDATE sa_users SET is_active = ?", False)
    check.access_refused(change(site, tokens))


def test_change_is_off_with_password_login(make_site):
    site = make_site(mount="SocialAuthPasswordLogin Off")
    tokens = site.tokens(site.github_login())
    assert change(site, tokens).status == 404


@pytest.mark.db
def test_concurrent_changes(site):
    """One wins; who comes later does not know the new password."""
    site.expect_log("SA0100: busy")
    site.make_user(EMAIL)
    people = [sign_in(site) for _ in range(6)]
    wanted = ["%s %d" % (NEW, i) for i in range(6)]
    answers = at_once([lambda i=i: change(site, people[i], new=wanted[i]) for i in range(6)])
    got = collections.Counter(a.status for a in answers)
    assert got[204] == 1 and set(got) <= {204, 400, 401, 503}, answers
    works = [w for w in wanted if site.password_login(EMAIL, w).status == 200]
    assert works == [wanted[[a.status for a in answers].index(204)]]
    assert site.db.broken_invariants() == []


@pytest.mark.db
def test_change_while_the_hash_is_bettered(site):
    """Sign-ins that replace an old hash do not make the change fail."""
    site.make_user(EMAIL)
    tokens = sign_in(site)
    weak = "pbkdf2_sha256$1000$salt$" + pbkdf2(STRONG)
    for _ in range(5):
        site.db.query("UPDATE sa_users SET password = ?", weak)
        answers = at_once([lambda: site.password_login(EMAIL, STRONG),
                           lambda: change(site, tokens, new=STRONG)])
        assert [a.status for a in answers][1] == 204, answers


def pbkdf2(password):
    return base64.b64encode(hashlib.pbkdf2_hmac("sha256", password.encode(), b"salt", 1000)).decode()


def test_T80_guesses_count_as_sign_ins_do(make_site):
    site = make_site(throttle=None, private=True, mount="SocialAuthPasswordThrottleRate off\n"
                     "SocialAuthAccountThrottleRate 10/hour")
    site.make_user(EMAIL)
    tokens = sign_in(site)
    thief = site.browser(source="127.0.7.1")
    got = [change(site, tokens, old="wrong", browser=thief).status for _ in range(5)]
    got += [site.password_login(EMAIL, "wrong", thief).status for _ in range(5)]
    assert got == [400] * 5 + [401] * 3 + [429] * 2
    answer = change(site, tokens, browser=thief)
    assert answer.status == 429 and int(answer.header("Retry-After")) > 0
    changed(change(site, tokens))               # the owner, from where they signed in


def test_change_counts_as_password_request(make_site):
    site = make_site(throttle=None, private=True, mount="SocialAuthPasswordThrottleRate 3/hour\n"
                     "SocialAuthAccountThrottleRate off")
    site.make_user(EMAIL)
    tokens = sign_in(site)
    got = [change(site, tokens, old="wrong").status for _ in range(5)]
    assert got == [400] * 3 + [429] * 2


# ---- what they must be like

def test_T74_weak_passwords(site):
    site.make_user(EMAIL, username="countess", first_name="Augusta", last_name="Lovelace-King")
    tokens = sign_in(site)
    similar = "The password is too similar to the %s."
    for new, texts in (
            ("x7#", [SHORT]),
            ("password1", [COMMON]), ("PassWord1", [COMMON]),
            ("trustno1", [COMMON]),
            ("1234", [SHORT, COMMON, NUMERIC]),
            ("84629173550", [NUMERIC]),
            ("countess1", [similar % "username"]),
            ("augusta!", [similar % "first name"]),
            ("Lovelace", [similar % "last name"]),
            ("ada@example.org", [similar % "email address"]),
            ("example99", [similar % "email address"])):
        refused(change(site, tokens, new=new), *texts)
    changed(change(site, tokens, new="fünf 😀 8x"))
    sign_in(site, "fünf 😀 8x")


def test_policy_is_configured(make_site):
    site = make_site(private=True,
                     mount="SocialAuthPasswordPolicy min-length=4 similarity=off\n"
                           "SocialAuthPasswordPolicy numeric=off\nSocialAuthCommonPasswords %s" % word_list(),
                     server="SocialAuthPasswordPolicy common=off min-length=20")
    site.make_user(EMAIL, username="ada")
    tokens = sign_in(site)
    refused(change(site, tokens, new="abc"),
            "This password is too short. It must contain at least 4 characters.")
    for old, new in ((STRONG, "zebra"), ("zebra", "9361"), ("9361", "ada@example.org")):
        changed(change(site, tokens, old=old, new=new))

    site = make_site(private=True, mount="SocialAuthCommonPasswords %s" % word_list())
    site.make_user(EMAIL)
    tokens = sign_in(site)
    refused(change(site, tokens, new=" ZEBRAzebra"), COMMON)
    changed(change(site, tokens, new="password1"))


def word_list():
    path = os.path.join(paths.make_dir("words"), "list")
    with open(path, "w") as f:
        f.write("# ours\nzebra\nZebraZebra\n")
    return path


def test_T72_length(site):
    site.make_user(EMAIL)
    tokens = sign_in(site)
    refused(change(site, tokens, new="ä" * 2048 + "x"), "Ensure this field has no more than 4096 characters.")
    longest = "ä" * 2047 + "xy"
    changed(change(site, tokens, new=longest))
    check.refused(site.password_login(EMAIL, longest[:-1] + "z"), "bad_credentials")
    check.refused(site.password_login(EMAIL, longest[:72]), "bad_credentials")
    sign_in(site, longest)


def test_T71_nul(site):
    site.make_user(EMAIL)
    tokens = sign_in(site)
    before = site.db.dump()
    for new in (NEW + "\0", NEW + "\0x", "\0" + NEW):
        answer = change(site, tokens, new=new)
        assert (answer.status, answer.word) == (400, "parse_error"), answer
        answer = site.browser().request("POST", "password/change/", form={
            "old_password": STRONG, "new_password": new}, bearer=tokens["access"])
        assert (answer.status, answer.word) == (400, "parse_error"), answer
    assert site.db.dump() == before


@pytest.mark.db
def test_T73_byte_exact(site):
    site.make_user(EMAIL)
    tokens = sign_in(site)
    composed, old = " Ünïcode 密码 😀 ", STRONG
    decomposed = unicodedata.normalize("NFD", composed)
    for new, others in ((composed, (decomposed, composed.strip(), composed.lower())),
                        (decomposed, (composed,))):
        changed(change(site, tokens, old=old, new=new))
        for other in others:
            check.refused(site.password_login(EMAIL, other), "bad_credentials")
        sign_in(site, new)
        old = new
