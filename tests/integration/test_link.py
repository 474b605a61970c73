"""linked-accounts, link and unlink of a signed-in user (threat rows T51..T59, T65)."""
import pytest

from support import check, jose
from support.client import at_once
from support.site import STRONG


def access_of(site, email=None, verified=True):
    """A local user with a password, signed in -> (access, user id)"""
    n = site.db.value("SELECT count(*) FROM sa_users")
    email = email or "u%d@example.org" % n
    user = site.make_user(email, username="u%d" % n, email_verified=verified)
    tokens = site.tokens(site.password_login(email))
    return tokens["access"], str(user)


def link_github(site, access, user=None, browser=None, bind=True):
    browser = browser or site.browser()
    user = user or site.provider.github.user()
    state = site.state(browser, **({"bearer": access} if bind else {}))["state"]
    return browser.post("github/link/", {"code": site.provider.github.code(user), "state": state},
                        bearer=access)


def link_google(site, access, browser=None, **claims):
    browser = browser or site.browser()
    return browser.post("google/link/", {"token": site.provider.google.id_token(**claims)}, bearer=access)


def listed(site, access):
    answer = site.browser().get("linked-accounts/", bearer=access)
    assert answer.status == 200, answer
    check.json_headers(answer)
    body = answer.json()
    assert set(body) == {"providers"}
    return {p["label"]: p["is_linked"] for p in body["providers"]}


def empty_204(answer):
    assert answer.status == 204, answer
    assert answer.body == b""
    assert answer.header("Cache-Control") == "no-store"


# ---- linked-accounts

@pytest.mark.db
def test_linked_accounts_lists_enabled_providers(site):
    access, _ = access_of(site)
    assert listed(site, access) == {"GitHub": False, "Google": False}
    empty_204(link_github(site, access))
    assert listed(site, access) == {"GitHub": True, "Google": False}
    empty_204(link_google(site, access))
    assert listed(site, access) == {"GitHub": True, "Google": True}


def test_T110_label_is_no_format(make_site, provider):
    label = "%n%s%5$n%x"
    site = make_site(providers=[provider.github.options + " label=" + label])
    first, second = access_of(site)[0], access_of(site)[0]
    assert listed(site, first) == {label: False}
    user = provider.github.user()
    empty_204(link_github(site, first, user))
    assert listed(site, first) == {label: True}
    check.refused(link_github(site, second, user), "identity_taken", label)
    browser = site.browser()
    answer = browser.post("github/login/", {"code": "no such code", "state": site.state(browser)["state"]})
    check.refused(answer, "provider_rejected", label)
    status, dumped = site.httpd.configtest("-D", "DUMP_SOCIAL_AUTH")
    assert status == 0 and label in dumped, dumped


def test_linked_accounts_entries(site):
    access, _ = access_of(site)
    link_github(site, access, site.provider.github.user(email="Hub@example.com"))
    entries = site.browser().get("linked-accounts/", bearer=access).json()["providers"]
    for entry in entries:
        assert set(entry) <= {"label", "is_linked", "name", "email", "linked_at"}
        assert isinstance(entry["is_linked"], bool)
    github = next(e for e in entries if e["label"] == "GitHub")
    assert github.get("name", "github") == "github"
    assert github.get("email", "hub@example.com") == "hub@example.com"


@pytest.mark.parametrize("path", ["linked-accounts", "linked-accounts/"])
def test_T65_linked_accounts_needs_a_bearer(site, path):
    check.not_signed_in(site.browser().get(path))
    check.access_refused(site.browser().get(path, bearer="garbage"))


def test_T65_only_ones_own(site):
    mine, _ = access_of(site)
    theirs, _ = access_of(site)
    link_github(site, mine, site.provider.github.user(email="secret@example.com"))
    answer = site.browser().get("linked-accounts/?user_id=1", bearer=theirs)
    assert "secret@example.com" not in answer.text
    assert not any(p["is_linked"] for p in answer.json()["providers"])


# ---- link

@pytest.mark.db
def test_link_then_login(site):
    access, user = access_of(site)
    github = site.provider.github.user(id=4242)
    empty_204(link_github(site, access, github))
    assert site.user_id(site.tokens(site.github_login(user=github))) == user


def test_link_with_an_unbound_state_of_the_same_browser(site):
    access, _ = access_of(site)
    empty_204(link_github(site, access, bind=False))


def test_link_needs_no_email_match(site):
    access, user = access_of(site)
    empty_204(link_google(site, access, email="quite.other@gmail.com", sub="1"))
    assert site.db.value("SELECT email FROM sa_users") == "u0@example.org"


def test_link_of_an_unverified_address(site):
    """A link proves the identity, not an address: none is stored, and none is joined by it."""
    access, _ = access_of(site)
    answer = link_google(site, access, email="x@gmail.com", email_verified=False)
    assert answer.status in (204, 400), answer
    assert site.db.value("SELECT email FROM sa_users") == "u0@example.org"


def test_link_needs_a_bearer(site):
    browser = site.browser()
    state = site.state(browser)["state"]
    code = site.provider.github.code(site.provider.github.user())
    check.not_signed_in(browser.post("github/link/", {"code": code, "state": state}))
    check.access_refused(browser.post("github/link/", {"code": code, "state": state}, bearer="x.y.z"))
    assert site.provider.asked() == [] and site.links() == []


def test_link_takes_no_refresh_token_as_bearer(site):
    tokens = site.tokens(site.github_login())
    check.access_refused(link_google(site, tokens["refresh"]))


def test_T51_cookie_alone_links_nothing(site):
    """A cross-site POST brings the victim's cookies, but no Bearer."""
    victim = site.browser()
    site.tokens(site.github_login(victim))
    state = site.state(victim)["state"]
    attacker = site.provider.github.code(site.provider.github.user())
    before = site.links()
    answer = victim.post("github/link/", form={"code": attacker, "state": state},
                         headers={"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"})
    check.not_signed_in(answer)
    assert site.links() == before


def test_T51_attackers_state_and_code_in_the_victims_session(site):
    victim_access, _ = access_of(site)
    attacker = site.browser()
    state = site.state(attacker)["state"]
    code = site.provider.github.code(site.provider.github.user())
    victim = site.browser()
    check.refused(victim.post("github/link/", {"code": code, "state": state}, bearer=victim_access),
                  "state_invalid")
    assert site.links() == []


@pytest.mark.db
def test_T52_identity_of_another_user(site):
    one, _ = access_of(site)
    two, _ = access_of(site)
    github = site.provider.github.user(id=1)
    empty_204(link_github(site, one, github))
    before = site.counts()
    check.refused(link_github(site, two, github), "identity_taken", "GitHub")
    assert site.counts() == before
    assert listed(site, two)["GitHub"] is False


def test_link_again_is_harmless(site):
    """The same identity by the same user: refused as django-social-auth-rest does, and kept."""
    access, _ = access_of(site)
    github = site.provider.github.user(id=1)
    empty_204(link_github(site, access, github))
    before = site.links()
    check.refused(link_github(site, access, github), "identity_taken", "GitHub")
    assert site.links() == before and len(before) == 1


def test_second_identity_of_one_provider(site):
    access, _ = access_of(site)
    empty_204(link_github(site, access))
    answer = link_github(site, access)
    assert answer.status == 400 and answer.word == "identity_taken", answer
    assert len(site.links()) == 1


@pytest.mark.db
@pytest.mark.limit(300)
def test_T53_two_users_link_one_identity(site):
    one, _ = access_of(site)
    two, _ = access_of(site)
    for i in range(25):
        claims = dict(sub="race%d" % i, email="r%d@gmail.com" % i)
        answers = at_once([lambda: link_google(site, one, **claims), lambda: link_google(site, two, **claims)])
        assert sorted(a.status for a in answers) == [204, 400], answers
        winner = one if answers[0].status == 204 else two
        assert len(site.links()) == 1
        assert site.browser().post("google/unlink/", bearer=winner).status == 204
    assert site.db.broken_invariants() == []


@pytest.mark.db
def test_T53_one_user_links_two_identities_at_once(site):
    access, _ = access_of(site)
    for i in range(10):
        answers = at_once([lambda s=s: link_google(site, access, sub="%d-%d" % (i, s))
                           for s in range(4)])
        assert sorted(a.status for a in answers) == [204, 400, 400, 400], answers
        assert len(site.links()) == 1
        assert site.browser().post("google/unlink/", bearer=access).status == 204


def test_T59_body_cannot_name_another_user(site):
    one, _ = access_of(site)
    two, two_id = access_of(site)
    token = site.provider.google.id_token(sub="5")
    answer = site.browser().post("google/link/", {"token": token, "user_id": two_id, "user": two_id,
                                                  "provider_user_id": "6", "sub": "6"}, bearer=one)
    assert answer.status in (204, 400)
    assert listed(site, two)["Google"] is False
    assert ("https://accounts.google.com", "6") not in site.links()


# ---- unlink

@pytest.mark.db
def test_unlink(site):
    access, user = access_of(site)
    github = site.provider.github.user(id=7)
    link_github(site, access, github)
    empty_204(site.browser().post("github/unlink/", bearer=access))
    assert listed(site, access)["GitHub"] is False
    assert site.links() == []
    other = site.tokens(site.github_login(user=github))
    assert site.user_id(other) != user


@pytest.mark.parametrize("body", [
    dict(), dict(json={}), dict(form={}), dict(body=b"", content_type="application/json")])
def test_unlink_body_may_be_empty(site, body):
    access, _ = access_of(site)
    link_github(site, access)
    empty_204(site.browser().request("POST", "github/unlink/", bearer=access, **body))


@pytest.mark.parametrize("name,label", [("github", "github"), ("google", "google")])
def test_unlink_what_is_not_linked(site, name, label):
    access, _ = access_of(site)
    answer = site.browser().post(name + "/unlink/", bearer=access)
    check.refusal(answer, 400, "not_linked",
                  {"non_field_errors": ["No linked %s account found." % label]})


def test_unlink_needs_a_bearer(site):
    check.not_signed_in(site.browser().post("github/unlink/"))
    check.access_refused(site.browser().post("github/unlink/", bearer="x"))


def test_T58_password_is_checked_when_sent(site):
    access, _ = access_of(site)
    link_github(site, access)
    browser = site.browser()
    check.refused(browser.post("github/unlink/", {"password": "wrong"}, bearer=access), "wrong_password")
    assert len(site.links()) == 1
    empty_204(browser.post("github/unlink/", {"password": STRONG}, bearer=access))


def test_T58_password_demanded(make_site):
    site = make_site(mount="SocialAuthUnlinkRequiresPassword On")
    access, _ = access_of(site)
    link_github(site, access)
    browser = site.browser()
    check.field_refused(browser.post("github/unlink/", bearer=access), "required",
                        password=check.REQUIRED)
    check.field_refused(browser.post("github/unlink/", {"password": ""}, bearer=access), "blank",
                        password=check.BLANK)
    check.refused(browser.post("github/unlink/", {"password": "wrong"}, bearer=access), "wrong_password")
    assert len(site.links()) == 1
    empty_204(browser.post("github/unlink/", {"password": STRONG}, bearer=access))


@pytest.mark.db
def test_T56_last_way_in(site):
    tokens = site.tokens(site.github_login())
    browser = site.browser()
    check.refused(browser.post("github/unlink/", bearer=tokens["access"]), "last_login_method")
    assert len(site.links()) == 1
    empty_204(link_google(site, tokens["access"]))
    empty_204(browser.post("github/unlink/", bearer=tokens["access"]))
    check.refused(browser.post("google/unlink/", bearer=tokens["access"]), "last_login_method")


def test_T56_a_password_is_no_way_in_where_it_is_off(make_site):
    site = make_site(mount="SocialAuthPasswordLogin Off")
    tokens = site.tokens(site.github_login(user=site.provider.github.user(email="ada@example.com")))
    site.db.query("UPDATE sa_users SET password = 'pbkdf2_sha256$1$x$x'")
    check.refused(site.browser().post("github/unlink/", bearer=tokens["access"]), "last_login_method")


@pytest.mark.db
@pytest.mark.process
def test_T57_two_unlinks_of_the_last_two(site):
    for i in range(10):
        tokens = site.tokens(site.github_login())
        access = tokens["access"]
        empty_204(link_google(site, access))
        answers = at_once([lambda: site.browser().post("github/unlink/", bearer=access),
                           lambda: site.browser().post("google/unlink/", bearer=access)])
        assert sorted(a.status for a in answers) == [204, 400], answers
        refused = next(a for a in answers if a.status == 400)
        assert refused.word == "last_login_method"
    assert site.db.broken_invariants() == []


def test_T59_unlink_touches_only_the_bearers_link(site):
    one, one_id = access_of(site)
    two, two_id = access_of(site)
    link_github(site, one)
    link_github(site, two)
    answer = site.browser().post("github/unlink/", {"user_id": two_id, "id": two_id, "user": two_id},
                                 bearer=one)
    assert answer.status in (204, 400)
    assert listed(site, two)["GitHub"] is True


def test_session_that_was_ended_links_and_lists_nothing(site):
    """T127: an access token dies with its session."""
    tokens = site.tokens(site.github_login())
    browser = site.browser()
    assert browser.post("token/blacklist/", {"refresh": tokens["refresh"]}).status == 200
    check.access_refused(browser.get("linked-accounts/", bearer=tokens["access"]))
    check.access_refused(link_google(site, tokens["access"]))
    check.access_refused(browser.post("github/unlink/", bearer=tokens["access"]))
    assert len(site.links()) == 1


def test_linked_identity_issuer_survives_in_the_token(site):
    tokens = site.tokens(site.github_login())
    assert jose.claims_of(tokens["access"])["sid"]


# ---- disconnect-backend: unlink in the OAuth2 dialect

class Shop:
    """A user signed in by an application; everything is done with its tokens."""

    def __init__(self, site, email="ada@example.org"):
        self.site, self.app = site, site.application()
        self.user = site.make_user(email)
        answer = site.browser().post("token", {"grant_type": "password", "username": email,
                                               "password": STRONG, **self.app})
        self.access = site.tokens(answer)["access_token"]

    def ids(self):
        answer = self.site.browser().get("linked-accounts/", bearer=self.access)
        return {p["name"]: p.get("association_id") for p in answer.json()["providers"]}

    def disconnect(self, backend, association_id, kind="json", path="disconnect-backend", **more):
        body = {"backend": backend, "association_id": association_id, **more}
        body = {k: v for k, v in body.items() if v is not None}
        return self.site.browser().request("POST", path, bearer=self.access, **{kind: body})


@pytest.fixture
def shop(site):
    made = Shop(site)
    empty_204(link_github(site, made.access))
    return made


def unknown(answer, name="github"):
    check.refusal(answer, 400, "not_linked", {"non_field_errors": ["No linked %s account found." % name]})


@pytest.mark.db
@pytest.mark.parametrize("kind", ["json", "form"])
@pytest.mark.parametrize("path", ["disconnect-backend", "disconnect-backend/"])
def test_disconnect_backend(shop, kind, path):
    empty_204(link_google(shop.site, shop.access))
    ids = shop.ids()
    empty_204(shop.disconnect("github", ids["github"], kind, path))
    assert shop.ids() == {"github": None, "google": ids["google"]}
    unknown(shop.disconnect("github", ids["github"], kind, path))
    empty_204(shop.disconnect("google-oauth2", str(ids["google"]), kind, path))
    assert shop.site.links() == []


def test_association_id_is_for_applications(shop):
    """The REST dialect's shape is as before; another session and mount of the link say the same id."""
    pair = shop.site.tokens(shop.site.password_login("ada@example.org"))
    entries = shop.site.browser().get("linked-accounts/", bearer=pair["access"]).json()["providers"]
    assert all(set(e) == {"label", "is_linked", "name", "email", "linked_at"} for e in entries)
    ids = shop.ids()
    assert ids == shop.ids() and ids["google"] is None
    assert isinstance(ids["github"], int) and 0 < ids["github"] < 2 ** 53


@pytest.mark.db
def test_T59_disconnect_backend_of_another_users_link(shop):
    """Like one that is not there: nothing is said about whose it is."""
    other = Shop(shop.site, "bob@example.org")
    foreign = shop.ids()["github"]
    unknown(other.disconnect("github", foreign))
    empty_204(link_github(shop.site, other.access))
    unknown(other.disconnect("github", foreign))
    unknown(other.disconnect("github", foreign + 1))
    unknown(other.disconnect("google", foreign), "google")
    assert len(shop.site.links()) == 2
    empty_204(other.disconnect("github", other.ids()["github"]))
    assert shop.ids()["github"] == foreign


def test_disconnect_backend_refusals(shop):
    good, number = shop.ids()["github"], "A valid integer is required."
    field = check.field_refused
    field(shop.disconnect(None, None), "required", backend=check.REQUIRED, association_id=check.REQUIRED)
    field(shop.disconnect("", " "), "blank", backend=check.BLANK, association_id=check.BLANK)
    field(shop.disconnect(7, good), "invalid", backend=check.NOT_STRING)
    for wrong in ("x", "1x", "0x10", "1.5", 1.5, True, [good], {}, "9" * 30):
        field(shop.disconnect("github", wrong), "invalid", association_id=number)
    for backend in ("nobody", "GitHub", "../github"):
        field(shop.disconnect(backend, good), "invalid", backend="Invalid backend.")
    field(shop.disconnect("nobody", "x"), "invalid", association_id=number, backend="Invalid backend.")
    field(shop.site.browser().post("disconnect-backend", {"backend": "github", "association_id": None},
                                   bearer=shop.access), "null", association_id=check.NULL)
    for wrong in (0, -1, -good, "-%d" % good, 2 ** 62):
        unknown(shop.disconnect("github", wrong))
    assert shop.ids()["github"] == good


def test_disconnect_backend_needs_a_bearer(shop):
    body = {"backend": "github", "association_id": shop.ids()["github"]}
    browser = shop.site.browser()
    check.not_signed_in(browser.post("disconnect-backend/", body))
    check.access_refused(browser.post("disconnect-backend/", body, bearer="x"))
    answer = browser.get("disconnect-backend/", bearer=shop.access)
    assert answer.status == 405 and answer.header("Allow") == "POST, OPTIONS"
    assert len(shop.site.links()) == 1


@pytest.mark.db
def test_T56_disconnect_backend_of_the_last_way_in(shop):
    shop.site.db.query("UPDATE sa_users SET password = '!'")
    good = shop.ids()["github"]
    check.refused(shop.disconnect("github", good), "last_login_method")
    empty_204(link_google(shop.site, shop.access))
    empty_204(shop.disconnect("github", good))
    check.refused(shop.disconnect("google", shop.ids()["google"]), "last_login_method")


def test_T58_disconnect_backend_is_no_way_round_the_password(make_site):
    shop = Shop(make_site(mount="SocialAuthUnlinkRequiresPassword On"))
    link_github(shop.site, shop.access)
    good = shop.ids()["github"]
    check.field_refused(shop.disconnect("github", good), "required", password=check.REQUIRED)
    check.refused(shop.disconnect("github", good, password="wrong"), "wrong_password")
    check.refused(shop.disconnect("github", good, password="x" * 5000), "wrong_password")
    assert len(shop.site.links()) == 1
    empty_204(shop.disconnect("github", good, password=STRONG))


def test_disconnect_backend_is_throttled_with_unlink(make_site):
    site = make_site(throttle=None, private=True, mount="SocialAuthThrottleRate 2/minute")
    shop = Shop(site)
    unknown(shop.disconnect("github", 1))
    unknown(site.browser().post("github/unlink/", bearer=shop.access))
    answer = shop.disconnect("github", 1)
    assert answer.status == 429 and answer.word == "throttled", answer
