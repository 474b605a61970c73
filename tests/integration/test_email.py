"""Addresses and passwords proved by mail (CONTRACT section 2; threat rows T46..T49, T77..T79)."""
import json
import statistics
import time
import urllib.parse

import pytest

from support import check, jose
from support.client import at_once
from support.mail import SENDER, MailServer
from support.site import STRONG

NEW = "another long passphrase 8"
LINK_INVALID = {"message": ["This link is not valid any more. Please ask for a new one."]}


@pytest.fixture
def mail():
    server = MailServer()
    yield server
    server.stop()


@pytest.fixture
def mailing(mail, make_site):
    """mailing(more directives) -> a site whose mails arrive at `mail`"""
    def make(more="", rate="off", **kw):
        return make_site(private=True, modules=["watchdog"], mount="SocialAuthSMTP %s\n"
                         'SocialAuthMailFrom "%s"\nSocialAuthMailThrottleRate %s\n%s'
                         % (mail.url, SENDER, rate, more), **kw)
    return make


def refused(answer):
    check.refusal(answer, 400, "link_invalid", LINK_INVALID)


def empty(answer, status):
    assert answer.status == status and answer.body == b"", answer


def ask_reset(site, email, browser=None, **kw):
    return (browser or site.browser()).post("password/reset/", {"email": email}, **kw)


def confirm(site, token, password=NEW):
    return site.browser().post("password/reset/confirm/", {"token": token, "new_password": password})


def verify(site, token):
    return site.browser().post("email/verify/", {"token": token})


def access_of(site, email, password=STRONG):
    return check.signed_in(site.password_login(email, password))["access"]


def change(site, access, email, password=STRONG):
    body = {"email": email, **({"password": password} if password else {})}
    return site.browser().post("email/change/", body, bearer=access)


def resend(site, access):
    return site.browser().post("email/verify/resend/", bearer=access)


def reset_token(site, mail, email):
    empty(ask_reset(site, email), 202)
    return mail.next().token


def column(site, name, user):
    return site.db.value("SELECT %s FROM sa_users WHERE id = ?" % name, user)


# ---- password reset

@pytest.mark.db
def test_reset(mailing, mail):
    site = mailing()
    user = site.make_user("ada@example.org")
    old = check.signed_in(site.password_login("ada@example.org"))
    empty(ask_reset(site, " ada@example.org".strip().upper()), 202)
    sent = mail.next()
    assert sent.recipients == ["ada@example.org"] and sent.sender == "noreply@site.example"
    assert sent["To"] == "ada@example.org" and sent["From"] == SENDER
    assert sent["Auto-Submitted"] == "auto-generated"
    assert sent.link.startswith(site.url + "/reset-password#token=")
    empty(confirm(site, sent.token), 204)
    told = mail.next()
    assert "password" in told["Subject"] and told.recipients == ["ada@example.org"]
    check.refused(site.password_login("ada@example.org"), "bad_credentials")
    check.signed_in(site.password_login("ada@example.org", NEW))
    check.refused(site.browser().post("token/refresh/", {"refresh": old["refresh"]}),
                  "token_blacklisted")
    refused(confirm(site, sent.token, "yet another passphrase 9"))
    assert column(site, "email_verified", user)
    check.signed_in(site.password_login("ada@example.org", NEW))
    mail.none_more()


@pytest.mark.db
@pytest.mark.parametrize("body", [
    {"email": ["ada@example.org", "evil@example.org"]}, {"email": {"0": "ada@example.org"}},
    {"email": "ada@example.org,evil@example.org"}, {"email": "ada@example.org evil@example.org"},
    {"email": "ada@example.org\r\nBcc: evil@example.org"}, {"email": "ada@example.org\u0000"},
    {"email": "<ada@example.org>"}, {"email": 'Ada <ada@example.org>'}, {"email": None}, {},
    {"email": "ada@exa\u00adample.org"}, {"email": "ada"}])
def test_T77_what_is_no_address_reaches_nobody(mailing, mail, body):
    site = mailing()
    site.make_user("ada@example.org")
    answer = site.browser().post("password/reset/", body)
    assert answer.status == 400, answer
    check.json_headers(answer)
    assert site.counts()["sa_mails"] == 0


def test_T77_mail_goes_to_the_stored_address_only(mailing, mail):
    """Twins in Unicode are nobody; a form with two addresses is refused; extra members do nothing."""
    site = mailing()
    site.make_user("mike@example.org")
    for twin in ("m\u0131ke@example.org", "m\u0130ke@example.org", "\uff4dike@example.org",
                 "mi\u212ae@example.org"):
        empty(ask_reset(site, twin), 202)
    form = "email=mike%40example.org&email=evil%40example.org"
    answer = site.browser().post("password/reset/", body=form,
                                 content_type="application/x-www-form-urlencoded")
    assert answer.status == 400, answer
    mail.none_more()
    answer = site.browser().post("password/reset/", {
        "email": "MIKE@Example.ORG", "to": "evil@example.org", "cc": ["evil@example.org"]})
    empty(answer, 202)
    assert mail.next().recipients == ["mike@example.org"]
    mail.none_more()


@pytest.mark.db
def test_T78_sixteen_parallel_uses(mailing, mail):
    site = mailing(more="SocialAuthSecurityMails Off")
    site.expect_log("SA0100: busy")
    site.make_user("ada@example.org")
    token = reset_token(site, mail, "ada@example.org")
    words = ["passphrase number %d of many" % i for i in range(16)]
    answers = at_once([lambda w=w: confirm(site, token, w) for w in words])
    assert sorted(a.status for a in answers).count(204) == 1, answers
    for answer, word in zip(answers, words):
        if answer.status == 204:
            check.signed_in(site.password_login("ada@example.org", word))
        elif answer.status == 503:              # a hash too many at the same time
            assert answer.word in ("busy", "unavailable")
        else:
            refused(answer)


@pytest.mark.db
def test_T78_twelve_parallel_verifications(mailing, mail):
    site = mailing()
    user = site.make_user("ada@example.org", email_verified=False)
    empty(resend(site, access_of(site, "ada@example.org")), 202)
    token = mail.next().token
    answers = at_once([lambda: verify(site, token)] * 12)
    assert [a.status for a in answers].count(204) == 1, answers
    for answer in answers:
        if answer.status != 204:
            refused(answer)
    assert column(site, "email_verified", user)


@pytest.mark.db
def test_T78_expired(mailing, mail):
    site = mailing(faketime="+0")
    site.make_user("ada@example.org", email_verified=False)
    access = access_of(site, "ada@example.org")
    empty(resend(site, access), 202)
    verification = mail.next().token
    reset = reset_token(site, mail, "ada@example.org")
    for token in (reset, verification):
        claims = jose.claims_of(token)
        assert claims["exp"] - claims["iat"] <= 3600
    site.httpd.set_clock("+3610")
    refused(confirm(site, reset))
    refused(verify(site, verification))
    site.httpd.set_clock("+0")
    empty(verify(site, verification), 204)


@pytest.mark.db
def test_T78_each_token_for_its_purpose(mailing, mail):
    site = mailing()
    user = site.make_user("ada@example.org", email_verified=False)
    access = access_of(site, "ada@example.org")
    empty(resend(site, access), 202)
    verification = mail.next().token
    empty(change(site, access, "new@example.org"), 202)
    changing = mail.next().token
    reset = reset_token(site, mail, "ada@example.org")
    refresh = check.signed_in(site.password_login("ada@example.org"))["refresh"]
    for wrong in (verification, changing, access, refresh, "x", "a.b.c"):
        refused(confirm(site, wrong))
    for wrong in (reset, access, refresh):
        refused(verify(site, wrong))
    for wrong in (verification, changing, reset):
        check.access_refused(site.browser().get("linked-accounts/", bearer=wrong))
        assert site.browser().post("token/verify/", {"token": wrong}).status == 401
        assert site.browser().post("token/refresh/", {"refresh": wrong}).status == 401
    assert not column(site, "email_verified", user)
    empty(verify(site, verification), 204)


@pytest.mark.db
def test_T78_other_users_token(mailing, mail):
    """A row that now belongs to somebody else, and a token for it, open nothing."""
    site = mailing()
    site.make_user("ada@example.org")
    eve = site.make_user("eve@example.org")
    token = reset_token(site, mail, "ada@example.org")
    site.db.query("UPDATE sa_mails SET user_id = ?", eve)
    refused(confirm(site, token))
    check.signed_in(site.password_login("eve@example.org"))


@pytest.mark.db
@pytest.mark.parametrize("what", ["password", "email", "deactivated"])
def test_T78_dead_after_a_change(mailing, mail, what):
    """Whoever changes it: here the database itself."""
    site = mailing()
    user = site.make_user("ada@example.org", email_verified=False)
    access = access_of(site, "ada@example.org")
    empty(resend(site, access), 202)
    verification = mail.next().token
    empty(change(site, access, "new@example.org"), 202)
    changing = mail.next().token
    reset = reset_token(site, mail, "ada@example.org")
    site.db.query({"password": "UPDATE sa_users SET password = 'argon2$other'",
                   "email": "UPDATE sa_users SET email = 'moved@example.org'",
                   "deactivated": "UPDATE sa_users SET is_active = ?"}[what],
                  *([False] if what == "deactivated" and site.db.driver == "pgsql" else
                    [0] if what == "deactivated" else []))
    refused(verify(site, verification))
    refused(verify(site, changing))
    refused(confirm(site, reset))
    assert not column(site, "email_verified", user)


@pytest.mark.db
def test_T78_nothing_usable_at_rest(mailing, mail):
    site = mailing()
    site.make_user("ada@example.org")
    token = reset_token(site, mail, "ada@example.org")
    dump = site.db.dump()
    assert token not in dump and token.split(".")[2] not in dump and "eyJ" not in dump
    assert token not in site.httpd.log()
    mails = [line for line in dump.splitlines() if line.startswith("sa_mails")]
    assert len(mails) == 1 and "argon2" not in mails[0]


def test_T79_opening_a_link_changes_nothing(mailing, mail):
    site = mailing()
    user = site.make_user("ada@example.org", email_verified=False)
    empty(resend(site, access_of(site, "ada@example.org")), 202)
    verification = mail.next().token
    reset = reset_token(site, mail, "ada@example.org")
    for path in ("email/verify/", "password/reset/confirm/"):
        for method in ("GET", "HEAD", "OPTIONS"):
            for token in (verification, reset):
                answer = site.browser().request(method, path + "?token=" + token)
                assert answer.status == (204 if method == "OPTIONS" else 405), answer
    assert not column(site, "email_verified", user)
    empty(verify(site, verification), 204)
    empty(confirm(site, reset), 204)


def test_a_weak_password_does_not_cost_the_link(mailing, mail):
    site = mailing()
    site.make_user("ada@example.org")
    token = reset_token(site, mail, "ada@example.org")
    answer = confirm(site, token, "short")
    assert answer.status == 400 and list(answer.json()) == ["new_password", "error"], answer
    check.field_refused(site.browser().post("password/reset/confirm/", {}), "required",
                        token=check.REQUIRED, new_password=check.REQUIRED)
    check.signed_in(site.password_login("ada@example.org"))
    empty(confirm(site, token), 204)


def test_T69_reset_gives_a_social_account_a_password(mailing, mail):
    site = mailing()
    site.make_user("ada@example.org", password=None)
    empty(confirm(site, reset_token(site, mail, "ada@example.org")), 204)
    check.signed_in(site.password_login("ada@example.org", NEW))


# ---- enumeration

def same(answers):
    shapes = {(a.status, a.body, tuple(sorted((k, v) for k, v in a.all_headers if k != "Date")))
              for a in answers}
    assert len(shapes) == 1, shapes


@pytest.mark.db
def test_T180_reset_answers_everybody_alike(mailing, mail):
    site = mailing()
    site.make_user("ada@example.org")
    site.make_user("social@example.org", password=None)
    site.make_user("gone@example.org",
                   is_active=False if site.db.driver == "pgsql" else 0)
    browser = site.browser()
    same([ask_reset(site, email, browser) for email in
          ("ada@example.org", "nobody@example.org", "social@example.org", "gone@example.org")])
    assert sorted(m.recipients[0] for m in mail.wait(2)) == ["ada@example.org", "social@example.org"]
    time.sleep(2.5)
    assert len(mail.mails) == 2
    site.httpd.wait_for(lambda: site.counts()["sa_mails"] == 2, "the end of mails to nobody")
    assert "nobody" not in site.db.dump() and "nobody" not in site.httpd.log()


@pytest.mark.db
def test_T180_change_to_a_taken_address(mailing, mail):
    """It answers as for a free one; its owner is told."""
    site = mailing()
    site.make_user("ada@example.org")
    site.make_user("eve@example.org")
    access = access_of(site, "eve@example.org")
    same([change(site, access, "ada@example.org"), change(site, access, "free@example.org")])
    got = {m.recipients[0]: m for m in mail.wait(2)}
    assert set(got) == {"ada@example.org", "free@example.org"}
    assert "#token=" not in got["ada@example.org"].text


@pytest.mark.db
@pytest.mark.limit(180)
def test_T181_reset_takes_the_same_time(mailing, mail):
    """Also while the mail server hangs: nothing of it is in the request. The quicker ones are compared,
    and five times if need be: what else the machine does is not in them."""
    site = mailing()
    site.make_user("ada@example.org")
    mail.script = [60] * 10
    browser = site.browser()
    site.expect_log("SA032")
    for _ in range(5):
        took = {"known": [], "unknown": []}
        for i in range(250):
            for kind, email in (("known", "ada@example.org"), ("unknown", "nobody%d@example.org" % i)):
                start = time.perf_counter()
                empty(ask_reset(site, email, browser), 202)
                took[kind].append(time.perf_counter() - start)
        quick = {k: statistics.quantiles(v, n=10)[0] for k, v in took.items()}
        assert statistics.median(took["known"]) < 0.5
        if max(quick.values()) / min(quick.values()) < 1.05:
            return
    assert False, quick


def test_T182_mails_to_one_address_are_limited(mailing, mail):
    site = mailing(rate="3/hour")
    site.make_user("ada@example.org")
    for email in ("ada@example.org", "nobody@example.org"):
        answers = [ask_reset(site, spelled) for spelled in (email, email.upper()) * 3]
        assert [a.status for a in answers] == [202] * 3 + [429] * 3
        assert int(answers[-1].header("Retry-After")) > 0
    mail.wait(3)
    check.signed_in(site.password_login("ada@example.org"))     # another counter


def test_a_client_is_limited(mailing, mail):
    site = mailing(throttle="4/minute")
    answers = [ask_reset(site, "nobody%d@example.org" % i) for i in range(6)]
    assert [a.status for a in answers] == [202] * 4 + [429] * 2


def test_a_reset_has_a_counter_of_its_own(mailing, mail):
    """Who has failed too often at signing in needs it most."""
    site = mailing("SocialAuthPasswordThrottleRate 2/minute", throttle=None)
    site.make_user("ada@example.org")
    browser = site.browser()
    answers = [site.password_login("ada@example.org", "wrong", browser=browser) for _ in range(3)]
    assert [a.status for a in answers] == [401, 401, 429]
    empty(ask_reset(site, "ada@example.org", browser), 202)
    empty(confirm(site, mail.next().token), 204)
    assert ask_reset(site, "ada@example.org", browser).status == 429
    assert site.password_login("ada@example.org", NEW, browser=browser).status == 429


# ---- verification

@pytest.mark.db
def test_verify(mailing, mail):
    site = mailing()
    user = site.make_user("ada@example.org", email_verified=False)
    access = access_of(site, "ada@example.org")
    empty(resend(site, access), 202)
    sent = mail.next()
    assert sent.link.startswith(site.url + "/verify-email#token=") and "{" not in sent.text
    empty(verify(site, sent.token), 204)
    assert column(site, "email_verified", user)
    refused(verify(site, sent.token))
    empty(resend(site, access), 202)            # nothing left to verify
    mail.none_more()
    check.not_signed_in(site.browser().post("email/verify/resend/"))


@pytest.mark.db
def test_required(mailing, mail):
    site = mailing("SocialAuthEmailVerification required")
    site.make_user("ada@example.org", email_verified=False)
    site.make_user("eve@example.org")
    answer = site.password_login("ada@example.org")
    check.refusal(answer, 401, "email_not_confirmed", {
        "detail": "The email address is not verified yet. Follow the link in the mail that was sent "
                  "to it."})
    check.refused(site.password_login("ada@example.org", "wrong"), "bad_credentials")
    grant = site.browser().post("token", {"grant_type": "password", "username": "ada@example.org",
                                          "password": STRONG, **site.application("password")})
    assert grant.status == 400 and grant.json() == {
        "error": "invalid_grant", "error_description": answer.json()["detail"]}
    assert site.counts()["sa_sessions"] == 0
    mail.next()                                 # each try sent one
    empty(verify(site, mail.next().token), 204)
    check.signed_in(site.password_login("ada@example.org"))
    check.signed_in(site.password_login("eve@example.org"))
    mail.none_more()


def test_required_a_reset_verifies_as_well(mailing, mail):
    site = mailing("SocialAuthEmailVerification required\nSocialAuthSecurityMails Off")
    site.make_user("ada@example.org", email_verified=False)
    empty(confirm(site, reset_token(site, mail, "ada@example.org")), 204)
    check.signed_in(site.password_login("ada@example.org", NEW))


@pytest.mark.db
def test_a_new_user_that_nobody_vouches_for_is_asked(mailing, mail):
    """Google is not authoritative for this address."""
    site = mailing()
    tokens = check.signed_in(site.google_login(email="ada@company.example", hd=None))
    user = site.user_id(tokens)
    assert not column(site, "email_verified", user)
    empty(verify(site, mail.next().token), 204)
    assert column(site, "email_verified", user)
    check.signed_in(site.google_login(email="bob@gmail.com"))
    mail.none_more()


# ---- pre-hijacking

def trojan(site, email="victim@example.org"):
    """Mallory registers the victim's address and links an identity of his own."""
    victim = site.make_user(email, email_verified=False)
    session = check.signed_in(site.password_login(email))
    github = site.provider.github.user()
    browser = site.browser()
    state = site.state(browser, bearer=session["access"])["state"]
    answer = browser.post("github/link/", {"code": site.provider.github.code(github), "state": state},
                          bearer=session["access"])
    assert answer.status == 204, answer
    assert site.user_id(check.signed_in(site.github_login(user=github))) == str(victim)
    return victim, session, github


@pytest.mark.db
def test_T48_trojan_identifier_is_gone_after_a_reset(mailing, mail):
    site = mailing("SocialAuthSecurityMails Off")
    victim, session, github = trojan(site)
    empty(confirm(site, reset_token(site, mail, "victim@example.org")), 204)
    assert site.links() == []
    check.refused(site.browser().post("token/refresh/", {"refresh": session["refresh"]}),
                  "token_blacklisted")
    answer = site.github_login(user=github)
    assert answer.status != 200 or site.user_id(answer.json()) != str(victim)
    check.signed_in(site.password_login("victim@example.org", NEW))
    assert site.db.broken_invariants() == []


@pytest.mark.db
def test_T48_trojan_identifier_is_gone_after_a_verification(mailing, mail):
    site = mailing("SocialAuthSecurityMails Off")
    victim, session, github = trojan(site)
    empty(resend(site, session["access"]), 202)
    empty(verify(site, mail.next().token), 204)
    assert site.links() == []
    answer = site.github_login(user=github)
    assert answer.status != 200 or site.user_id(answer.json()) != str(victim)


@pytest.mark.db
def test_links_of_a_verified_account_stay(mailing, mail):
    site = mailing("SocialAuthSecurityMails Off")
    user = site.make_user("ada@example.org")
    access = access_of(site, "ada@example.org")
    browser = site.browser()
    state = site.state(browser, bearer=access)["state"]
    browser.post("github/link/", {"code": site.provider.github.code(site.provider.github.user()),
                                  "state": state}, bearer=access)
    empty(confirm(site, reset_token(site, mail, "ada@example.org")), 204)
    assert len(site.links()) == 1 and column(site, "email_verified", user)


@pytest.mark.db
def test_T49_a_change_to_an_address_that_is_taken_by_then(mailing, mail):
    site = mailing()
    site.make_user("mallory@example.org")
    empty(change(site, access_of(site, "mallory@example.org"), "victim@example.org"), 202)
    token = mail.next().token
    victim = site.make_user("victim@example.org")
    refused(verify(site, token))
    assert site.db.value("SELECT id FROM sa_users WHERE email = 'victim@example.org'") == victim
    check.signed_in(site.password_login("mallory@example.org"))


# ---- change of address

@pytest.mark.db
def test_change_of_address(mailing, mail):
    site = mailing()
    user = site.make_user("ada@example.org", email_verified=False)
    access = access_of(site, "ada@example.org")
    empty(change(site, access, "New@Example.org"), 202)
    sent = mail.next()
    assert sent.recipients == ["new@example.org"]
    assert sent.link.startswith(site.url + "/change-email#token=")
    assert column(site, "email", user) == "ada@example.org"     # not before it is confirmed
    reset = reset_token(site, mail, "ada@example.org")
    empty(verify(site, sent.token), 204)
    assert column(site, "email", user) == "new@example.org" and column(site, "email_verified", user)
    told = mail.next()
    assert told.recipients == ["ada@example.org"] and "new@example.org" not in told.text
    refused(confirm(site, reset))
    refused(verify(site, sent.token))
    check.signed_in(site.password_login("new@example.org"))
    check.refused(site.password_login("ada@example.org"), "bad_credentials")


@pytest.mark.db
def test_change_needs_the_password(mailing, mail):
    """A stolen access token must not be enough to take the account."""
    site = mailing()
    site.make_user("ada@example.org")
    access = access_of(site, "ada@example.org")
    check.field_refused(change(site, access, "new@example.org", None), "required",
                        password=check.REQUIRED)
    check.refused(change(site, access, "new@example.org", "wrong"), "wrong_password")
    check.refused(change(site, access, "new@example.org", "x" * 5000), "wrong_password")
    check.not_signed_in(site.browser().post("email/change/", {"email": "new@example.org"}))
    check.field_refused(change(site, access, "new@example.org\r\nBcc: evil@example.org"), "invalid",
                        email="Enter a valid email address.")
    assert site.counts()["sa_mails"] == 0
    tokens = check.signed_in(site.google_login(email="bob@gmail.com"))
    empty(change(site, tokens["access"], "robert@example.org", None), 202)
    assert mail.next().recipients == ["robert@example.org"]
    site.browser().post("token/blacklist/", {"refresh": tokens["refresh"]})
    check.access_refused(change(site, tokens["access"], "again@example.org", None))


# ---- what users are told

@pytest.mark.db
def test_security_mails(mailing, mail):
    site = mailing()
    site.make_user("ada@example.com")
    access = access_of(site, "ada@example.com")
    browser = site.browser()
    state = site.state(browser, bearer=access)["state"]
    code = site.provider.github.code(site.provider.github.user())
    assert browser.post("github/link/", {"code": code, "state": state},
                        bearer=access).status == 204
    told = mail.next()
    assert "GitHub" in told["Subject"] and told.recipients == ["ada@example.com"]
    site.make_user("bob@gmail.com")
    check.signed_in(site.google_login(email="bob@gmail.com"))   # joined
    told = mail.next()
    assert "Google" in told["Subject"] and told.recipients == ["bob@gmail.com"]
    check.signed_in(site.google_login(email="new@gmail.com"))   # a new account is no news
    mail.none_more()


def test_security_mails_off(mailing, mail):
    site = mailing("SocialAuthSecurityMails Off")
    site.make_user("bob@gmail.com")
    check.signed_in(site.google_login(email="bob@gmail.com"))
    empty(confirm(site, reset_token(site, mail, "bob@gmail.com")), 204)
    mail.none_more()


@pytest.mark.db
def test_events_of_it(mailing, mail, provider):
    from support import webhook
    from support.fake_provider import Reply
    secret = webhook.secret()
    provider.script("/hook", Reply(204))
    site = mailing('SocialAuthWebhook %s/hook "%s"' % (provider.url, secret))
    site.make_user("ada@example.org", email_verified=False)
    access = access_of(site, "ada@example.org")
    empty(resend(site, access), 202)
    empty(verify(site, mail.next().token), 204)
    empty(change(site, access, "new@example.org"), 202)
    empty(verify(site, mail.next().token), 204)
    mail.next()
    empty(confirm(site, reset_token(site, mail, "new@example.org")), 204)
    site.httpd.wait_for(lambda: len(provider.asked("/hook")) >= 4, "the webhooks")
    types = [webhook.verify(secret, r)[1]["type"] for r in provider.asked("/hook")]
    assert set(types) >= {"email_verified", "email_changed", "password_changed"}


# ---- off

def test_without_a_mail_server_the_paths_are_not_there(site):
    site.make_user("ada@example.org")
    access = access_of(site, "ada@example.org")
    for path, body in (("email/verify/", {"token": "x"}), ("email/verify/resend/", None),
                       ("email/change/", {"email": "a@example.org"}),
                       ("password/reset/", {"email": "ada@example.org"}),
                       ("password/reset/confirm/", {"token": "x", "new_password": NEW})):
        answer = site.browser().post(path, body, bearer=access)
        check.refusal(answer, 404, "not_found", {"detail": "Not found."})
    assert site.counts()["sa_mails"] == 0


def test_off_and_social_only(mailing, mail):
    site = mailing("SocialAuthEmailVerification off\nSocialAuthPasswordLogin Off")
    tokens = check.signed_in(site.google_login(email="bob@gmail.com"))
    assert resend(site, tokens["access"]).status == 404
    assert ask_reset(site, "bob@gmail.com").status == 404
    assert confirm(site, "x").status == 404
    empty(change(site, tokens["access"], "robert@example.org", None), 202)
    empty(verify(site, mail.next().token), 204)


def test_links_lead_where_the_site_says(mailing, mail):
    site = mailing("SocialAuthMailLink verify=https://app.example.org/v reset=http://localhost:3000/r\n"
                   "SocialAuthMailLink email-change=https://app.example.org/?a=b#/change/{token}/x")
    site.make_user("ada@example.org", email_verified=False)
    access = access_of(site, "ada@example.org")
    empty(resend(site, access), 202)
    assert mail.next().link.startswith("https://app.example.org/v#token=")
    empty(ask_reset(site, "ada@example.org"), 202)
    assert mail.next().link.startswith("http://localhost:3000/r#token=")
    empty(change(site, access, "new@example.org"), 202)
    start, rest = "https://app.example.org/?a=b#/change/", mail.next().link
    assert rest.startswith(start) and rest.endswith("/x")
    assert not urllib.parse.urlsplit(rest).query.count("eyJ")
    empty(verify(site, rest[len(start):-2]), 204)


def test_T10_no_host_header_gets_into_a_link(mailing, mail):
    site = mailing()
    site.make_user("ada@example.org")
    site.browser().request("POST", "password/reset/", json={"email": "ada@example.org"},
                           headers={"Host": "evil.test", "X-Forwarded-Host": "evil.test"})
    sent = mail.next()
    assert "evil" not in sent.raw.decode() and sent.link.startswith(site.url)
    assert json.dumps("evil") not in site.db.dump()
