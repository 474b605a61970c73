"""Accounts that are made where mails are sent (CONTRACT section 2; threat rows T180, T181)."""
import statistics
import time

import pytest

from test_accounts import ADA, create, created, refused_fields, signed_in
from test_email import column, empty, mail, mailing, verify      # noqa: F401 (fixtures)

REQUIRED = "SocialAuthEmailVerification required"
NAME_TAKEN = {"username": ["A user with that username already exists."]}


def user_of(site, email):
    return site.db.value("SELECT id FROM sa_users WHERE email = ?", email)


@pytest.mark.db
def test_a_new_user_is_asked_to_verify(mailing, mail):
    site = mailing()                                    # optional is the default here
    created(create(site))
    sent = mail.next()
    assert sent.recipients == [ADA["email"]]
    assert sent.link.startswith(site.url + "/verify-email#token=")
    user = user_of(site, ADA["email"])
    assert not column(site, "email_verified", user)
    signed_in(site)                                     # not needed for that
    empty(verify(site, sent.token), 204)
    assert column(site, "email_verified", user)
    mail.none_more()


def test_off_asks_nobody(mailing, mail):
    site = mailing("SocialAuthEmailVerification off")
    created(create(site))
    assert refused_fields(create(site, username="other")) == {
        "email": ["user with this email already exists."]}
    assert site.counts()["sa_mails"] == 0


@pytest.mark.db
def test_required_asks_before_the_first_sign_in(mailing, mail):
    site = mailing(REQUIRED)
    created(create(site))
    answer = site.password_login(ADA["email"])
    assert answer.status == 401 and answer.word == "email_not_confirmed", answer
    assert site.counts()["sa_sessions"] == 0
    mail.next()                                         # each try sent one
    empty(verify(site, mail.next().token), 204)
    signed_in(site)


@pytest.mark.db
def test_T180_required_tells_nobody_but_the_owner(mailing, mail):
    """The answers are alike whether the address is known, and however often one asks."""
    site = mailing(REQUIRED)
    site.make_user("eve@example.org", "eve")
    before = column(site, "password", user_of(site, "eve@example.org"))
    bodies = []
    for email, name in (("eve@example.org", "fresh"), ("EVE@example.org", "eve"),
                        ("ada@example.org", "ada"), ("ada@example.org", "ada")):
        answer = create(site, email=email, username=name)
        created(answer)
        bodies.append(sorted((k, v) for k, v in answer.all_headers if k.lower() != "date"))
    assert all(headers == bodies[0] for headers in bodies), bodies
    assert site.counts()["sa_users"] == 2
    assert column(site, "password", user_of(site, "eve@example.org")) == before
    mail.wait(4)
    told = {}
    for sent in mail.mails:
        told.setdefault(sent.recipients[0], []).append("#token=" in sent.text)
    assert {to: sorted(links) for to, links in told.items()} == {
        "eve@example.org": [False, False], "ada@example.org": [False, True]}
    assert [m["Subject"].startswith("Your account at ") for m in mail.mails].count(True) == 3


def test_T180_a_name_that_another_has_is_refused_for_all_addresses(mailing, mail):
    site = mailing(REQUIRED)
    site.make_user("eve@example.org", "eve")
    site.make_user("bob@example.org", "bob")
    for email in ("eve@example.org", "nobody@example.org"):
        assert refused_fields(create(site, email=email, username="bob")) == NAME_TAKEN
    assert site.counts()["sa_mails"] == 0


def test_T182_the_owner_is_not_flooded(mailing, mail):
    site = mailing(REQUIRED, rate="2/hour")
    site.make_user("eve@example.org", "eve")
    for n in range(4):
        created(create(site, email="eve@example.org", username="n%d" % n))
    mail.next()
    mail.next()
    mail.none_more()


@pytest.mark.db
@pytest.mark.parametrize("verification", ["optional", "required"])
def test_registration_login_gives_no_tokens_before_the_address_is_verified(mailing, mail,
                                                                           verification):
    site = mailing("SocialAuthRegistrationLogin On\nSocialAuthEmailVerification " + verification)
    answer = create(site)
    if verification == "required":
        created(answer)
        assert site.counts()["sa_sessions"] == 0
    else:
        assert answer.status == 201 and set(answer.json()) == {"access", "refresh"}, answer
    assert mail.next().token


@pytest.mark.db
@pytest.mark.limit(180)
def test_T181_a_known_address_takes_the_same_time(mailing, mail):
    """Most of it is the hash, which is made for both."""
    site = mailing(REQUIRED)
    site.make_user("eve@example.org", "eve")
    browser = site.browser()
    for batch in range(3):
        took = {"known": [], "unknown": []}
        for n in range(40):
            for kind, email in (("known", "eve@example.org"),
                                ("unknown", "u%d.%d@example.org" % (batch, n))):
                start = time.perf_counter()
                created(create(site, browser, email=email, username="n%d.%d.%s" % (batch, n, kind)))
                took[kind].append(time.perf_counter() - start)
        quick = {k: statistics.quantiles(v, n=10)[0] for k, v in took.items()}
        if max(quick.values()) / min(quick.values()) < 1.05:
            return
    assert False, quick
