"""Who is signed in: the order of decision of CONTRACT section 1, its races, and the
accounts that may not be had (threat sections B and C)."""
import re

import pytest

from support import check, jose
from support.client import at_once
from support.site import STRONG
from test_convert_token import convert
from test_oauth2 import granted

ACCOUNT_WORDS = "SELECT email, username, email_verified, is_active, is_staff, is_superuser FROM sa_users"


def users(site):
    return site.db.value("SELECT count(*) FROM sa_users")


def email_of(site, user_id):
    return site.db.value("SELECT email FROM sa_users WHERE CAST(id AS TEXT) = ?", str(user_id))


@pytest.fixture(autouse=True)
def invariants(make_site):
    yield
    for site in make_site.watch.sites:
        if site.httpd.process is not None:
            assert site.db.broken_invariants() == []


# ---- step 1: the identity is linked

@pytest.mark.db
def test_linked_identity_wins_over_email(site):
    """A link decides even when the provider's address is another local account's."""
    github = site.provider.github
    mine = site.user_id(site.tokens(site.github_login(user=github.user(id=1, email="me@example.com"))))
    site.make_user("other@example.com")
    again = site.tokens(site.github_login(user=github.user(id=1, email="other@example.com")))
    assert site.user_id(again) == mine
    assert email_of(site, mine) == "me@example.com"


@pytest.mark.db
def test_linked_email_is_refreshed(site):
    github = site.provider.github
    tokens = site.tokens(site.github_login(user=github.user(id=1, email="old@example.com")))
    site.github_login(user=github.user(id=1, email="New@Example.com"))
    (entry,) = [p for p in site.browser().get("linked-accounts/", bearer=tokens["access"])
                .json()["providers"] if p["is_linked"]]
    assert entry["email"] == "new@example.com"
    assert email_of(site, site.user_id(tokens)) == "old@example.com"


def test_linked_email_is_kept_when_told_so(make_site):
    site = make_site(mount="SocialAuthLinkedEmailUpdate Off")
    github = site.provider.github
    tokens = site.tokens(site.github_login(user=github.user(id=1, email="old@example.com")))
    site.github_login(user=github.user(id=1, email="new@example.com"))
    (entry,) = [p for p in site.browser().get("linked-accounts/", bearer=tokens["access"])
                .json()["providers"] if p["is_linked"]]
    assert entry["email"] == "old@example.com"


@pytest.mark.db
def test_T44_changed_email_collides_with_others(site):
    github = site.provider.github
    one = site.user_id(site.tokens(site.github_login(user=github.user(id=1, email="one@example.com"))))
    site.github_login(user=github.user(id=2, email="two@example.com"))
    for _ in range(2):
        again = site.github_login(user=github.user(id=1, email="two@example.com"))
        assert site.user_id(check.signed_in(again)) == one
    assert email_of(site, one) == "one@example.com"


@pytest.mark.db
def test_T43_recycled_address(site):
    """Another Google account now owns the address: it is not the first one's user."""
    first = site.tokens(site.google_login(sub="1", email="ada@gmail.com"))
    before = site.counts()
    for _ in range(3):
        check.refused(site.google_login(sub="2", email="ada@gmail.com"), "account_exists", "Google")
    assert site.counts() == before
    assert site.user_id(site.tokens(site.google_login(sub="1", email="ada@gmail.com"))) \
        == site.user_id(first)


def test_T39_same_subject_at_two_issuers(make_site):
    site = make_site(providers=[
        "google client-id=c1 jwks-url={provider}/google/certs allow-http=on",
        "second type=oidc client-id=c1 issuer=https://second.example jwks-url={provider}/google/certs"
        " allow-http=on email-trust=verified label=Second"])
    google = site.provider.google
    ids = set()
    for name, issuer, email in (("google", google.issuer, "a@gmail.com"),
                                ("second", "https://second.example", "b@example.com")):
        token = google.id_token(sub="1001", iss=issuer, aud="c1", azp="c1", email=email)
        ids.add(site.user_id(check.signed_in(site.browser().post(name + "/login/", {"token": token}))))
    assert len(ids) == 2
    assert site.links() == [("https://accounts.google.com", "1001"), ("https://second.example", "1001")]


def test_T39_renamed_provider_is_the_same_issuer(make_site, databases, cell):
    database = databases.make(cell[1])
    line = " type=oidc client-id=c1 issuer=https://op.example jwks-url={provider}/google/certs" \
           " allow-http=on email-trust=verified"
    one = make_site(database=database, providers=["first" + line])
    two = make_site(database=database, providers=["renamed" + line])
    claims = dict(sub="5", iss="https://op.example", aud="c1", azp="c1", email="a@example.com")
    ids = []
    for site, name in ((one, "first"), (two, "renamed")):
        token = site.provider.google.id_token(**claims)
        ids.append(site.user_id(check.signed_in(site.browser().post(name + "/login/", {"token": token}))))
    assert ids[0] == ids[1]


# ---- step 2: a local account has the e-mail

@pytest.mark.db
@pytest.mark.parametrize("local_verified,vouched,joins", [
    (True, True, True), (True, False, False), (False, True, False), (False, False, False)])
def test_T46_linking_verified_is_the_default(site, local_verified, vouched, joins):
    email = "ada@gmail.com" if vouched else "ada@corp.example"
    local = site.make_user(email, email_verified=local_verified)
    before = site.counts()
    answer = site.google_login(email=email)
    if joins:
        assert site.user_id(check.signed_in(answer)) == str(local)
        assert len(site.links()) == 1
        check.signed_in(site.password_login(email))     # the password is still good
    else:
        check.refused(answer, "account_exists", "Google")
        assert site.counts() == before


def test_linking_verified_by_github(site):
    local = site.make_user("ada@example.com", email_verified=True)
    answer = site.github_login(user=site.provider.github.user(email="Ada@example.com"))
    assert site.user_id(check.signed_in(answer)) == str(local)


def test_second_identity_of_one_provider_never_joins(make_site):
    for mode, word in (("verified", "account_exists"), ("never", "account_exists"),
                       ("reclaim", "account_exists")):
        site = make_site(mount="SocialAuthEmailLinking " + mode)
        github = site.provider.github
        site.github_login(user=github.user(id=1, email="ada@example.com"))
        before = site.counts()
        answer = site.github_login(user=github.user(id=2, email="ada@example.com"))
        check.refused(answer, word, "GitHub")
        assert site.counts() == before


def test_linking_never(make_site):
    site = make_site(mount="SocialAuthEmailLinking never")
    site.make_user("ada@gmail.com", email_verified=True)
    before = site.counts()
    check.refused(site.google_login(email="ada@gmail.com"), "account_exists", "Google")
    assert site.counts() == before
    check.signed_in(site.google_login(email="new@gmail.com"))


@pytest.mark.db
@pytest.mark.parametrize("verified", [True, False])
def test_linking_reclaim(make_site, verified):
    """T46, T47: an unverified account loses what its maker had before its owner gets it."""
    site = make_site(mount="SocialAuthEmailLinking reclaim")
    local = site.make_user("victim@gmail.com", email_verified=verified)
    squatter = site.tokens(site.password_login("victim@gmail.com"))
    owner = site.tokens(site.google_login(email="victim@gmail.com"))
    assert site.user_id(owner) == str(local)
    browser = site.browser()
    if verified:
        check.signed_in(site.password_login("victim@gmail.com"))
        return
    check.refused(site.password_login("victim@gmail.com"), "bad_credentials")
    assert browser.post("token/refresh/", {"refresh": squatter["refresh"]}).status == 401
    assert browser.post("token/verify/", {"token": squatter["access"]}).status == 401
    check.access_refused(browser.get("linked-accounts/", bearer=squatter["access"]))
    assert browser.post("token/refresh/", {"refresh": owner["refresh"]}).status == 200
    assert site.db.value("SELECT password FROM sa_users").startswith("!")
    assert site.db.value("SELECT email_verified FROM sa_users")


@pytest.mark.db
def test_T48_trojan_link_does_not_survive_reclaim(make_site):
    site = make_site(mount="SocialAuthEmailLinking reclaim")
    github = site.provider.github
    site.make_user("victim@gmail.com", email_verified=False)
    browser = site.browser()
    access = site.tokens(site.password_login("victim@gmail.com", browser=browser))["access"]
    attacker = github.user(id=666, email="attacker@example.com")
    state = site.state(browser, bearer=access)["state"]
    assert browser.post("github/link/", {"code": github.code(attacker), "state": state},
                        bearer=access).status == 204
    owner = site.tokens(site.google_login(email="victim@gmail.com"))
    assert [issuer for issuer, _ in site.links()] == ["https://accounts.google.com"]
    again = site.github_login(user=attacker)
    if again.status == 200:
        assert site.user_id(again.json()) != site.user_id(owner)


def test_reclaim_needs_a_provider_that_vouches(make_site):
    site = make_site(mount="SocialAuthEmailLinking reclaim")
    site.make_user("victim@corp.example", email_verified=False)
    before = site.counts()
    check.refused(site.google_login(email="victim@corp.example"), "account_exists", "Google")
    assert site.counts() == before


@pytest.mark.parametrize("column", ["is_staff", "is_superuser"])
def test_reclaim_never_takes_staff(make_site, column):
    site = make_site(mount="SocialAuthEmailLinking reclaim")
    site.make_user("boss@gmail.com", email_verified=False, **{column: True})
    before = site.counts()
    check.refused(site.google_login(email="boss@gmail.com"), "account_exists", "Google")
    assert site.counts() == before


def test_linking_always(make_site):
    site = make_site(mount="SocialAuthEmailLinking always")
    local = site.make_user("ada@corp.example", email_verified=False)
    answer = site.google_login(email="ada@corp.example")
    assert site.user_id(check.signed_in(answer)) == str(local)


@pytest.mark.parametrize("value", ["maybe", "Verified!", ""])
def test_linking_mode_is_checked(site, value):
    status, said = site.httpd.try_edit(
        "SetHandler social-auth", 'SetHandler social-auth\nSocialAuthEmailLinking "%s"' % value)
    assert status != 0 and "SocialAuthEmailLinking" in said
    for word in ("verified", "reclaim", "always", "never"):
        assert word in said


@pytest.mark.db
def test_T46_squatter_with_an_unverified_account(site):
    """Default mode: the owner is told to sign in; the squatter's row is untouched."""
    site.make_user("victim@gmail.com", email_verified=False)
    dump = site.db.dump()
    check.refused(site.google_login(email="victim@gmail.com"), "account_exists", "Google")
    assert site.db.dump() == dump


def test_T50_provider_without_verification_makes_no_account(make_site):
    site = make_site(providers=[
        "loose type=oidc client-id=c1 issuer=https://loose.example jwks-url={provider}/google/certs"
        " allow-http=on", "google client-id=c1 jwks-url={provider}/google/certs allow-http=on"])
    google = site.provider.google
    before = site.counts()
    for verified in (None, False):
        token = google.id_token(iss="https://loose.example", aud="c1", azp="c1",
                                email="victim@gmail.com", email_verified=verified)
        answer = site.browser().post("loose/login/", {"token": token})
        assert (answer.status, answer.word) == (400, "email_unverified"), answer
    assert site.counts() == before
    token = google.id_token(aud="c1", azp="c1", email="victim@gmail.com")
    check.signed_in(site.browser().post("google/login/", {"token": token}))


@pytest.mark.parametrize("trust,joins", [("none", False), ("verified", True),
                                         ("gmail.com", True), ("corp.example,gmail.com", True),
                                         ("mail.com", False)])
def test_email_trust(make_site, trust, joins):
    site = make_site(providers=[
        "op type=oidc client-id=c1 issuer=https://op.example jwks-url={provider}/google/certs"
        " allow-http=on email-trust=" + trust])
    local = site.make_user("ada@gmail.com", email_verified=True)
    token = site.provider.google.id_token(iss="https://op.example", aud="c1", azp="c1",
                                          email="ada@gmail.com")
    answer = site.browser().post("op/login/", {"token": token})
    if joins:
        assert site.user_id(check.signed_in(answer)) == str(local)
    else:
        assert answer.word == "account_exists", answer


# ---- step 3: a new user

@pytest.mark.db
def test_username_collision_gets_a_suffix(site):
    github = site.provider.github
    names = set()
    for i in range(5):
        site.github_login(user=github.user(email="ada@host%d.example" % i))
    for (name,) in site.db.query("SELECT username FROM sa_users"):
        assert re.match(r"^ada(_[0-9a-f]{8})?$", name), name
        names.add(name)
    assert len(names) == 5 and "ada" in names


@pytest.mark.db
def test_T62_odd_local_parts(site):
    github = site.provider.github
    for i, local in enumerate(["admin", "root", "../x", "a" * 64, "o'brien", "x+tag", "%s%n",
                               "-rf", "..", "null", "A.B", "_"]):
        answer = site.github_login(user=github.user(email="%s@h%d.example" % (local, i)))
        assert answer.status in (200, 400), (local, answer)
        if answer.status == 400:
            assert answer.word == "email_missing", answer
    for (name,) in site.db.query("SELECT username FROM sa_users"):
        assert 1 <= len(name) <= 150 and "/" not in name and "\n" not in name, name


def test_T62_many_of_one_local_part(site):
    github = site.provider.github
    for i in range(60):
        check.signed_in(site.github_login(user=github.user(email="same@h%d.example" % i)))
    assert site.db.value("SELECT count(DISTINCT username) FROM sa_users") == 60


def test_new_user_has_no_password(site):
    """T76: nothing typed signs in to it."""
    site.github_login(user=site.provider.github.user(email="ada@example.com"))
    stored = site.db.value("SELECT password FROM sa_users")
    assert stored.startswith("!") and len(stored) > 20
    for password in ("null", "!", stored, "None", "password"):
        check.refused(site.password_login("ada@example.com", password), "bad_credentials")


def test_T61_extra_fields_change_nothing(site):
    answer = site.github_login(is_staff=True, is_superuser=True, id=1, email_verified=True,
                               email="boss@example.com", username="root", user_id=1, linked=True,
                               is_active=False, provider="x", subject="1", issuer="https://evil")
    check.signed_in(answer)
    email, username, _, active, staff, superuser = site.db.one(ACCOUNT_WORDS)
    assert email != "boss@example.com" and username != "root"
    assert active and not staff and not superuser


def test_email_may_be_missing_where_allowed(make_site):
    from support.fake_provider import GITHUB_CLIENT, GITHUB_SECRET
    site = make_site(providers=["github client-id=%s client-secret=%s token-url={provider}/github/token"
                                " userinfo-url={provider}/github/user emails-url={provider}/github/emails"
                                " allow-http=on email-required=off" % (GITHUB_CLIENT, GITHUB_SECRET)])
    for i in range(3):
        check.signed_in(site.github_login(user=site.provider.github.user(emails=[])))
    for email, name in site.db.query("SELECT email, username FROM sa_users"):
        assert email is None and re.match(r"^github_[0-9a-f]{8}$", name), (email, name)
    assert users(site) == 3


# ---- e-mail addresses (T63, T64)

@pytest.mark.db
def test_T63_one_canonical_form(site):
    site.make_user("ada@gmail.com", email_verified=True)
    for spelling in ("ADA@GMAIL.COM", "Ada@gmail.com", "ada@GMail.com"):
        check.refused(site.google_login(sub="9", email=spelling), "account_exists", "Google") \
            if site.links() else check.signed_in(site.google_login(sub="1", email=spelling))
    assert users(site) == 1


@pytest.mark.db
@pytest.mark.parametrize("twin", ["m\u0131ke@example.org", "mi\u212ae@example.org", "mIKE@\u0130.org",
                                  "\uff4dike@example.org", "mike@ex\u00e0mple.org",
                                  "mi\u017fe@example.org"])
def test_T63_confusables_are_never_equal(site, twin):
    local = site.make_user("mike@example.org", username="mike", email_verified=True)
    answer = site.github_login(user=site.provider.github.user(email=twin))
    assert answer.status in (200, 400), answer
    if answer.status == 200:
        assert site.user_id(answer.json()) != str(local)
    else:
        assert answer.word == "email_missing", answer
    assert len([r for r in site.db.query("SELECT email FROM sa_users")
                if r[0] == "mike@example.org"]) == 1


@pytest.mark.parametrize("email", [
    "a@b,c@d", "ada@example.org\r\nBcc: x@y", "ada@example.org\x00", '"ada"@example.org', "@example.org",
    "ada@", "ada", "a@b@c", "x" * 65 + "@example.org", "a@" + "b" * 260, " ada@example.org",
    "ada@example.org ", "<ada@example.org>", "ada@exa mple.org", "ada@-x.org", "ada@x..org",
    "ada@[127.0.0.1]", "a\tb@example.org", ""])
def test_T64_malformed_email(site, email):
    site.expect_log("github: e-mail addresses: NUL character")
    before = site.counts()
    answer = site.github_login(user=site.provider.github.user(
        emails=[{"email": email, "primary": True, "verified": True}]))
    assert answer.status in (400, 502), answer
    assert answer.word in ("email_missing", "provider_rejected", "provider_unavailable"), answer
    assert site.counts() == before


# ---- accounts that are gone (T60)

@pytest.fixture(params=["inactive", "deleted"])
def end_account(request):
    def end(site, user_id):
        if request.param == "inactive":
            site.db.ctl("users", "deactivate", email_of(site, user_id))
        else:
            site.db.query("UPDATE sa_users SET deleted_at = '2024-01-01 00:00:00'"
                          " WHERE CAST(id AS TEXT) = ?", str(user_id))
    return end


@pytest.mark.db
def test_T60_every_way_in_is_closed(site, end_account):
    browser = site.browser()
    github = site.provider.github.user(email="ada@example.com")
    tokens = site.tokens(site.github_login(browser, github))
    user = site.user_id(tokens)
    site.db.ctl("users", "set-password", "ada@example.com", "--password-stdin", stdin=STRONG + "\n")
    tokens = site.tokens(site.github_login(browser, github))
    other = site.tokens(site.google_login(email="eve@gmail.com"))
    end_account(site, user)
    before = site.links()

    check.refused(site.github_login(browser, github), "account_unavailable")
    check.refused(site.password_login("ada@example.com"), "bad_credentials")
    check.refused(site.password_login("ada@example.com", "wrong"), "bad_credentials")
    assert browser.post("token/refresh/", {"refresh": tokens["refresh"]}).status == 401
    assert browser.post("token/verify/", {"token": tokens["access"]}).status == 401
    assert browser.post("token/verify/", {"token": tokens["refresh"]}).status == 401
    assert browser.get("linked-accounts/", bearer=tokens["access"]).status == 401
    state = site.state(browser, "google")
    answer = browser.post("google/link/", {"state": state["state"], "token": site.provider.google.id_token(
        nonce=state["nonce"])}, bearer=tokens["access"])
    assert answer.status in (400, 401), answer
    assert browser.post("github/unlink/", bearer=tokens["access"]).status in (400, 401)
    assert site.links() == before
    # Nor does its e-mail bring it back.
    answer = site.google_login(sub="77", email="ada@example.com", hd="example.com")
    assert answer.status == 400 and answer.word in ("account_unavailable", "account_exists"), answer
    assert browser.post("token/refresh/", {"refresh": other["refresh"]}).status == 200


def test_reactivated_account_signs_in_again(site):
    user = site.provider.github.user(email="ada@example.com")
    site.github_login(user=user)
    site.db.ctl("users", "deactivate", "ada@example.com")
    check.refused(site.github_login(user=user), "account_unavailable")
    site.db.ctl("users", "activate", "ada@example.com")
    check.signed_in(site.github_login(user=user))


# ---- races

# Room for 32 logins that wait for GitHub at once in one child: half of its threads may.
WIDE = """StartServers 2
ServerLimit 2
ThreadLimit 128
ThreadsPerChild 128
MaxRequestWorkers 256
MinSpareThreads 1
MaxSpareThreads 256"""


@pytest.fixture
def wide_site(make_site, cell):
    return make_site(mpm_settings=WIDE if cell[0] == "event" else None)


@pytest.mark.db
@pytest.mark.process
@pytest.mark.limit(300)
def test_T54_many_first_logins_of_one_identity(wide_site):
    site = wide_site
    github = site.provider.github
    for round in range(4):
        user = github.user(email="race%d@example.com" % round)
        browsers = [site.browser() for _ in range(32)]
        answers = at_once([lambda b=b: site.github_login(b, user) for b in browsers])
        ids = {site.user_id(check.signed_in(a)) for a in answers}
        assert len(ids) == 1, ids
        for b in browsers:
            b.close()
    assert users(site) == 4 and len(site.links()) == 4


@pytest.mark.db
def test_T55_one_new_email_through_two_providers(site):
    github = site.provider.github
    for i in range(6):
        email = "both%d@gmail.com" % i
        user = github.user(email=email)
        answers = at_once([lambda: site.github_login(user=user), lambda: site.google_login(email=email),
                           lambda: site.github_login(user=user), lambda: site.google_login(email=email)])
        for answer in answers:
            assert answer.status in (200, 400), answer
            if answer.status == 400:
                assert answer.word == "account_exists", answer
        assert any(a.status == 200 for a in answers)
    assert users(site) == 6


@pytest.mark.db
def test_T54_same_local_part_at_once(wide_site):
    site = wide_site
    github = site.provider.github
    people = [github.user(email="same@h%d.example" % i) for i in range(24)]
    answers = at_once([lambda u=u: site.github_login(user=u) for u in people])
    assert len({site.user_id(check.signed_in(a)) for a in answers}) == 24


def test_T133_nobody_gets_anothers_answer(wide_site):
    site = wide_site
    site.expect_log("AH00161: server reached MaxRequestWorkers")
    github = site.provider.github
    people = [github.user(id=10000 + i, email="p%d@example.com" % i) for i in range(40)]
    owner = {str(p["user"]["id"]): site.user_id(site.tokens(site.github_login(user=p))) for p in people}

    def again(person):
        browser = site.browser()
        out = []
        for _ in range(8):
            tokens = site.tokens(site.github_login(browser, person))
            out.append(site.user_id(tokens))
            fresh = browser.post("token/refresh/", {"refresh": tokens["refresh"]}).json()
            out.append(jose.claims_of(fresh["access"])["sub"])
        browser.close()
        return set(out)
    results = at_once([lambda p=p: again(p) for p in people])
    for person, result in zip(people, results):
        assert result == {owner[str(person["user"]["id"])]}


def test_T133_nobody_gets_anothers_conversion(make_site, provider, cell):
    site = make_site(mpm_settings=WIDE if cell[0] == "event" else None,
                     providers=[provider.github.options, provider.google.options,
                                provider.facebook.options + " email-trust=verified"])
    site.expect_log("AH00161: server reached MaxRequestWorkers")
    app = site.application()

    def token_of(n):
        email, name = "p%d@gmail.com" % n, "Ada%d" % n
        if n % 2:
            return email, "facebook", provider.facebook.token(provider.facebook.user(email=email, first_name=name))
        return email, "google-oauth2", provider.google.access_token(email=email, sub=str(10000 + n), given_name=name)

    def again(n):
        browser, (email, backend, token) = site.browser(), token_of(n)
        subjects = set()
        for _ in range(5):
            got = granted(convert(site, backend, token, app, browser))
            assert (got["user"]["email"], got["user"]["first_name"]) == (email, "Ada%d" % n)
            fresh = granted(browser.post("token", {"grant_type": "refresh_token",
                                                   "refresh_token": got["refresh_token"], **app}))
            assert jose.claims_of(fresh["refresh_token"])["sid"] == jose.claims_of(got["refresh_token"])["sid"]
            subjects |= {jose.claims_of(tokens[kind])["sub"] for tokens in (got, fresh)
                         for kind in ("access_token", "refresh_token")}
            me = browser.get("currentUser/", bearer=fresh["access_token"]).json()
            assert me["email"] == email and subjects == {str(me["id"])}
        browser.close()
        return email, subjects
    results = at_once([lambda n=n: again(n) for n in range(50)])
    owners = {email: {str(id)} for id, email in site.db.query("SELECT id, email FROM sa_users")}
    assert dict(results) == owners


# ---- before step 2: an imported link that names the identity by its address only

def pending(site, email="ada@gmail.com", **columns):
    """A user whose Google account is known by its address, which is not the user's own -> id"""
    user = site.make_user("local@example.org", "imported", **columns)
    site.db.query("INSERT INTO sa_pending_links (issuer, email, user_id, provider) VALUES (?, ?, ?, ?)",
                  "https://accounts.google.com", email, user, "google")
    return str(user)


@pytest.mark.db
def test_pending_link_is_bound_at_the_first_login(site):
    user = pending(site, email_verified=False)
    tokens = check.signed_in(site.google_login(sub="77", email="Ada@gmail.com"))
    assert site.user_id(tokens) == user
    assert site.links() == [("https://accounts.google.com", "77")]
    assert site.counts()["sa_pending_links"] == 0 and users(site) == 1
    assert site.user_id(check.signed_in(site.google_login(sub="77", email="other@gmail.com"))) == user
    # The address belongs to this subject now: another one with it is a stranger.
    assert site.user_id(check.signed_in(site.google_login(sub="78", email="ada@gmail.com"))) != user


@pytest.mark.db
def test_pending_link_wins_over_the_email_of_another_user(site):
    user = pending(site)
    site.make_user("ada@gmail.com", "ada")
    assert site.user_id(check.signed_in(site.google_login(sub="77", email="ada@gmail.com"))) == user


@pytest.mark.db
def test_pending_link_needs_an_authoritative_address(site):
    user = pending(site, "ada@example.com")
    check.signed_in(site.google_login(sub="66", email="eve@gmail.com"))
    tokens = check.signed_in(site.google_login(sub="77", email="ada@example.com"))   # no hd: not vouched
    assert site.user_id(tokens) != user
    answer = site.google_login(sub="78", email="ada@example.com", email_verified=False)
    assert answer.status == 400, answer
    tokens = check.signed_in(site.github_login(user=site.provider.github.user(email="ada2@example.com")))
    assert site.user_id(tokens) != user
    assert site.counts()["sa_pending_links"] == 1
    tokens = check.signed_in(site.google_login(sub="79", email="ada@example.com", hd="example.com"))
    assert site.user_id(tokens) == user


@pytest.mark.db
def test_pending_link_of_another_issuer(site):
    user = pending(site, "ada@example.com")
    answer = site.github_login(user=site.provider.github.user(email="ada@example.com"))
    assert site.user_id(check.signed_in(answer)) != user
    assert site.counts()["sa_pending_links"] == 1


@pytest.mark.db
def test_pending_link_of_an_inactive_user(site):
    pending(site, is_active=False)
    check.refused(site.google_login(sub="77", email="ada@gmail.com"), "account_unavailable")
    assert site.counts()["sa_pending_links"] == 1 and site.links() == []


@pytest.mark.db
def test_pending_link_of_a_user_who_has_another_identity(site):
    """One identity of an issuer per user: the later one is a stranger."""
    user = pending(site)
    site.db.query("INSERT INTO sa_links (issuer, subject, user_id, provider, linked_at)"
                  " VALUES ('https://accounts.google.com', '5', ?, 'google', 1)", int(user))
    tokens = check.signed_in(site.google_login(sub="77", email="ada@gmail.com"))
    assert site.user_id(tokens) != user


@pytest.mark.db
def test_parallel_logins_bind_a_pending_link_once(site):
    user = pending(site)
    answers = at_once([lambda: site.google_login(sub="77", email="ada@gmail.com") for _ in range(8)])
    assert {site.user_id(check.signed_in(answer)) for answer in answers} == {user}
    assert site.links() == [("https://accounts.google.com", "77")] and users(site) == 1


@pytest.mark.db
def test_parallel_logins_of_two_identities_with_one_pending_link(site):
    user = pending(site)
    answers = at_once([lambda n=n: site.google_login(sub=str(n), email="ada@gmail.com")
                       for n in range(71, 75)])
    assert [site.user_id(a.json()) for a in answers if a.status == 200].count(user) == 1
    assert site.counts()["sa_pending_links"] == 0
