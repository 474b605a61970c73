"""Registration, one's own profile and sessions, the list of users (CONTRACT section 2)."""
import pytest

from support import check, jose
from support.client import at_once
from support.site import STRONG
from test_oauth2 import granted, oauth_refused

pytestmark = pytest.mark.db
ADA = {"email": "ada@example.org", "username": "ada", "first_name": "Ada", "last_name": "Lovelace",
       "password": STRONG}


def create(site, browser=None, **more):
    body = {**ADA, **more}
    return (browser or site.browser()).post("create/", {k: v for k, v in body.items() if v is not None})


def created(answer):
    assert answer.status == 201 and answer.body == b"", answer
    assert answer.header("Cache-Control") == "no-store"


def signed_in(site, login="ada", password=STRONG):
    return site.tokens(site.browser().post("token/", {"username": login, "password": password}))


@pytest.fixture
def ada(site):
    created(create(site))
    return signed_in(site)


# ---- registration

@pytest.mark.parametrize("kind", ["json", "form"])
@pytest.mark.parametrize("path", ["create", "create/"])
def test_register_and_sign_in(site, kind, path):
    created(site.browser().request("POST", path, **{kind: {**ADA, "email": "Ada@Example.ORG"}}))
    row = site.db.one("SELECT email, username, first_name, last_name, is_active, is_staff, is_superuser,"
                      " email_verified FROM sa_users")
    assert row[:4] == ("ada@example.org", "ada", "Ada", "Lovelace")
    assert [bool(flag) for flag in row[4:]] == [True, False, False, False]
    assert site.db.value("SELECT password FROM sa_users").startswith("argon2$argon2id$")
    assert site.counts()["sa_sessions"] == 0
    for body in ({"email": ADA["email"]}, {"username": "ada"}):
        check.signed_in(site.browser().post("token/", {**body, "password": STRONG}))


def test_what_is_missing_is_said_at_once(site):
    check.field_refused(site.browser().post("create/", {}), "required", email=check.REQUIRED,
                        username=check.REQUIRED, first_name=check.REQUIRED, password=check.REQUIRED)
    check.field_refused(create(site, email=None, first_name=""), "required", email=check.REQUIRED,
                        first_name=check.BLANK)
    created(create(site, last_name=None))
    created(create(site, email="bob@example.org", username="bob", last_name=""))


def refused_fields(answer):
    assert answer.status == 400, answer
    body = answer.json()
    assert body.pop("error") == "invalid", body
    return body


def test_T64_malformed_addresses(site):
    for email in ("ada", "ada@", "@example.org", "a@b,c@d.org", "a b@example.org", "a@example.org\r\nBcc: x@y.z",
                  '"a b"@example.org', "a@" + "x" * 250 + ".org", "a@@example.org", "a@ex\u00e4mple.org",
                  "a@example.org."):
        assert refused_fields(create(site, email=email)) == {"email": ["Enter a valid email address."]}, email
    assert site.counts()["sa_users"] == 0


def test_T62_user_names(site):
    text = ("Enter a valid username. This value may contain only letters, numbers, and @/./+/-/_ characters.")
    for name in ("a b", "a/b", "../x", "a\tb", "\u00e4da", "ad\u0430", "a'b", "a\u200bb"):
        assert refused_fields(create(site, username=name)) == {"username": [text]}, name
    for name in ("admin", "ROOT", "Support"):
        assert refused_fields(create(site, username=name)) == {"username": ["This username is reserved."]}
    long = "Ensure this field has no more than 150 characters."
    assert refused_fields(create(site, username="x" * 151)) == {"username": [long]}
    assert refused_fields(create(site, first_name="\u00e4" * 151, last_name="x" * 151)) == \
        {"first_name": [long], "last_name": [long]}
    created(create(site, username="x" * 150, first_name="\u00e4" * 150))


def test_T74_weak_passwords(site):
    assert refused_fields(create(site, password="password1")) == {"password": ["This password is too common."]}
    assert refused_fields(create(site, password="12345")) == {"password": [
        "This password is too short. It must contain at least 8 characters.",
        "This password is too common.", "This password is entirely numeric."]}
    assert "similar to the email" in refused_fields(create(site, password="ada@example.org"))["password"][0]
    assert "similar to the username" in refused_fields(
        create(site, username="lovelaceada", password="lovelaceada1"))["password"][0]
    assert refused_fields(create(site, password="x" * 4097))["password"]
    assert site.counts()["sa_users"] == 0


def test_T71_T73_passwords_are_taken_byte_by_byte(site):
    answer = site.browser().request("POST", "create/", content_type="application/json",
                                    body='{"email":"a@example.org","username":"a","first_name":"A",'
                                         '"password":"correct horse\\u0000 battery"}')
    assert answer.status == 400 and answer.word == "parse_error"
    for n, password in enumerate((" spaces around it ", "\u00e9clair \U0001f370 composed", "e\u0301clair decomposed 1",
                                  "x7" * 2048)):
        created(create(site, email="u%d@example.org" % n, username="u%d" % n, password=password))
        signed_in(site, "u%d" % n, password)
        assert site.password_login("u%d@example.org" % n, password[:-1] + "y").status == 401
    assert site.password_login("u0@example.org", "spaces around it").status == 401
    assert site.password_login("u2@example.org", "\u00e9clair decomposed 1").status == 401


def test_taken(site):
    created(create(site))
    email, name = "user with this email already exists.", "A user with that username already exists."
    assert refused_fields(create(site)) == {"email": [email], "username": [name]}
    assert refused_fields(create(site, email="ADA@example.org", username="other")) == {"email": [email]}
    assert refused_fields(create(site, email="other@example.org")) == {"username": [name]}
    assert site.counts()["sa_users"] == 1


def test_T55_parallel_registrations_of_one_address(make_site):
    site = make_site(server="SocialAuthHashConcurrency 16")
    answers = at_once([lambda n=n: create(site, username="ada%d" % n) for n in range(8)])
    assert sorted(a.status for a in answers) == [201] + [400] * 7, answers
    assert site.counts()["sa_users"] == 1
    answers = at_once([lambda n=n: create(site, email="b%d@example.org" % n, username="bob") for n in range(8)])
    assert sorted(a.status for a in answers) == [201] + [400] * 7, answers
    assert site.db.broken_invariants() == []


def test_T61_mass_assignment(site):
    created(create(site, is_staff=True, is_superuser=True, id=77, email_verified=True, is_active=False,
                   deleted_at="2020-01-01"))
    row = site.db.one("SELECT id, is_staff, is_superuser, email_verified, is_active FROM sa_users")
    assert row[0] != 77 and [bool(flag) for flag in row[1:]] == [False, False, False, True]


def test_T46_an_address_that_nobody_proved_joins_nothing(site):
    """Somebody registers the victim's address; the victim's Google login must not land in that account."""
    created(create(site, email="victim@gmail.com"))
    check.refused(site.google_login(email="victim@gmail.com"), "account_exists", "Google")
    assert site.counts()["sa_links"] == 0


def test_registration_off(make_site):
    for mount in ("SocialAuthRegistration Off", "SocialAuthPasswordLogin Off"):
        site = make_site(mount=mount)
        check.refusal(create(site), 404, "not_found", {"detail": "Not found."})
        assert site.counts()["sa_users"] == 0


def test_registration_login(make_site):
    site = make_site(mount="SocialAuthRegistrationLogin On")
    answer = create(site)
    assert answer.status == 201 and set(answer.json()) == {"access", "refresh"}, answer
    assert site.browser().get("currentUser/", bearer=answer.json()["access"]).json()["username"] == "ada"
    app = site.application()
    answer = create(site, email="bob@example.org", username="bob", **app)
    assert answer.status == 201
    answer.status = 200
    assert jose.claims_of(granted(answer)["access_token"])["client_id"] == app["client_id"]
    answer = create(site, email="eve@example.org", username="eve", client_id=app["client_id"])
    assert answer.status == 401 and answer.word == "invalid_client", answer
    assert site.counts()["sa_users"] == 2


def test_events(site):
    created(create(site))
    assert "new_user_registered" in site.httpd.recent_log()
    site.httpd.mark()
    site.provider.github.user(email=ADA["email"])
    signed_in(site)
    assert "new_user_registered" not in site.httpd.recent_log()


def test_registration_has_its_own_counter(make_site):
    site = make_site(throttle=None, private=True, mount="SocialAuthPasswordThrottleRate 2/minute")
    browser = site.browser()
    created(create(site, browser))
    assert create(site, browser).status == 400
    assert create(site, browser).status == 429
    check.signed_in(site.password_login(ADA["email"], browser=browser))


# ---- one's own

def profile(site, tokens):
    answer = site.browser().get("currentUser/", bearer=tokens["access"])
    assert answer.status == 200, answer
    return answer.json()


def test_current_user(site, ada):
    user = profile(site, ada)
    assert user == {"id": int(site.user_id(ada)), "email": ADA["email"], "username": "ada", "first_name": "Ada",
                    "last_name": "Lovelace"}
    check.not_signed_in(site.browser().get("currentUser/"))
    check.access_refused(site.browser().get("currentUser", bearer=ada["refresh"]))
    answer = site.browser().request("PUT", "currentUser/", json={}, bearer=ada["access"])
    assert answer.status == 405 and answer.header("Allow") == "GET, HEAD, PATCH, DELETE, OPTIONS"
    options = site.browser().request("OPTIONS", "currentUser/")
    assert options.status == 204 and options.header("Allow") == "GET, HEAD, PATCH, DELETE, OPTIONS"


def patch(site, tokens, **changes):
    return site.browser().request("PATCH", "currentUser/", json=changes, bearer=tokens["access"])


def test_change_of_profile(site, ada):
    answer = patch(site, ada, username="countess", first_name="Augusta", last_name="")
    assert answer.status == 200 and answer.json() == profile(site, ada)
    assert profile(site, ada)["username"] == "countess" and profile(site, ada)["last_name"] == ""
    assert patch(site, ada, last_name="King").json()["first_name"] == "Augusta"
    assert patch(site, ada).json()["last_name"] == "King"


def test_change_of_profile_refusals(site, ada):
    site.make_user("bob@example.org", "bob")
    assert refused_fields(patch(site, ada, username="bob")) == \
        {"username": ["A user with that username already exists."]}
    assert "username" in refused_fields(patch(site, ada, username="a b"))
    assert "first_name" in refused_fields(patch(site, ada, first_name="x" * 151))
    check.field_refused(patch(site, ada, username=""), "blank", username=check.BLANK)
    check.field_refused(patch(site, ada, username=7), "invalid", username=check.NOT_STRING)
    before = profile(site, ada)
    assert patch(site, ada, email="x@example.org", is_staff=True, id=1).json() == before      # T61
    assert patch(site, ada, username="ada").status == 200                                    # one's own
    check.not_signed_in(site.browser().request("PATCH", "currentUser/", json={}))


def test_a_name_from_before_these_rules_may_stay(site):
    site.make_user("old@example.org", "old name")
    tokens = site.tokens(site.password_login("old@example.org"))
    assert patch(site, tokens, username="old name", first_name="New").json()["first_name"] == "New"


def delete(site, tokens, **body):
    return site.browser().request("DELETE", "currentUser/", json=body, bearer=tokens["access"])


def test_deletion_of_oneself(site, ada):
    check.field_refused(delete(site, ada), "required", password=check.REQUIRED)
    check.refused(delete(site, ada, password="wrong"), "wrong_password")
    assert profile(site, ada)
    answer = delete(site, ada, password=STRONG)
    assert answer.status == 204 and answer.body == b"", answer
    check.access_refused(site.browser().get("currentUser/", bearer=ada["access"]))
    check.refused(site.password_login(ADA["email"]), "bad_credentials")
    assert site.browser().post("token/refresh/", {"refresh": ada["refresh"]}).status == 401
    assert site.db.value("SELECT deleted_at FROM sa_users") is not None
    assert "user_deleted" in site.httpd.recent_log()
    assert refused_fields(create(site))["email"]                # the address stays taken


def test_deletion_without_a_password(site):
    person = site.provider.github.user()
    tokens = site.tokens(site.github_login(user=person))
    assert delete(site, tokens).status == 204
    check.refused(site.github_login(user=person), "account_unavailable")


# ---- the list

def test_list_of_users_is_for_staff(site, ada):
    check.not_signed_in(site.browser().get("all/"))
    check.refusal(site.browser().get("all/", bearer=ada["access"]), 403, "forbidden",
                  {"detail": "You do not have permission to perform this action."})
    site.db.query("UPDATE sa_users SET is_staff = ?", True)
    assert site.browser().get("all/", bearer=ada["access"]).json() == [profile(site, ada)]
    check.access_refused(site.browser().get("all/", bearer="x.y.z"))


@pytest.mark.parametrize("who", ["off", "authenticated", "public"])
def test_who_sees_the_list(make_site, who):
    site = make_site(mount="SocialAuthUserList " + who)
    created(create(site))
    tokens = signed_in(site)
    anonymous, signed = site.browser().get("all/"), site.browser().get("all", bearer=tokens["access"])
    if who == "off":
        assert anonymous.status == signed.status == 404
        return
    assert signed.json() == [profile(site, tokens)]
    if who == "public":
        assert anonymous.json() == signed.json()
    else:
        check.not_signed_in(anonymous)


def test_list_in_pages(make_site):
    site = make_site(mount="SocialAuthUserList public")
    for n in range(5):
        site.make_user("u%d@example.org" % n, "u%d" % n)
    seen, path = [], "all/?limit=2"
    while path:
        answer = site.browser().get(path)
        seen += [user["username"] for user in answer.json()]
        link = answer.header("Link")
        path = link.split("/social-auth/")[1].split(">")[0] if link else None
        assert link is None or link.endswith('; rel="next"')
    assert seen == ["u%d" % n for n in range(5)]
    for wrong in ("0", "10abc", "99999999999", "", "1001", "x", "-1"):
        assert "limit" in refused_fields(site.browser().get("all/?limit=" + wrong))


# ---- sessions

def test_sessions(site, ada):
    other = signed_in(site)
    browser = site.browser()
    listed = browser.get("sessions/", bearer=ada["access"])
    check.json_headers(listed)
    sids = {jose.claims_of(t["access"])["sid"]: t for t in (ada, other)}
    assert {s["id"] for s in listed.json()} == set(sids)
    mine = [s for s in listed.json() if s["current"]]
    assert len(mine) == 1 and mine[0]["id"] == jose.claims_of(ada["access"])["sid"]
    assert set(mine[0]) == {"id", "created", "last_used", "expires", "method", "client_id", "current"}
    assert mine[0]["method"] == "pwd" and mine[0]["client_id"] is None and mine[0]["created"].endswith("Z")
    gone = jose.claims_of(other["access"])["sid"]
    assert browser.request("DELETE", "sessions/%s/" % gone, bearer=ada["access"]).status == 204
    check.access_refused(browser.get("currentUser/", bearer=other["access"]))
    assert [s["id"] for s in browser.get("sessions", bearer=ada["access"]).json()] == [mine[0]["id"]]
    for sid in (gone + "x", "nobody"):
        assert browser.request("DELETE", "sessions/" + sid, bearer=ada["access"]).status == 404
    assert browser.request("DELETE", "sessions/", bearer=ada["access"]).status == 405
    assert browser.request("DELETE", "sessions/a/b", bearer=ada["access"]).status == 404


def test_T59_sessions_of_others(site, ada):
    site.make_user("bob@example.org", "bob")
    bob = site.tokens(site.password_login("bob@example.org"))
    sid = jose.claims_of(bob["access"])["sid"]
    check.refusal(site.browser().request("DELETE", "sessions/" + sid, bearer=ada["access"]), 404, "not_found",
                  {"detail": "Not found."})
    assert site.browser().get("currentUser/", bearer=bob["access"]).status == 200
    assert len(site.browser().get("sessions/", bearer=ada["access"]).json()) == 1


def test_password_grant_after_registration(site):
    """The tutorial: create/, then the password grant."""
    created(create(site))
    app = site.application()
    body = {"grant_type": "password", "username": ADA["email"], "password": STRONG, **app}
    got = granted(site.browser().request("POST", "token", form=body))
    assert profile(site, {"access": got["access_token"]})["email"] == ADA["email"]
    oauth_refused(site.browser().request("POST", "token", form={**body, "password": "wrong"}), "invalid_grant")


def test_T125_only_the_header_names_the_user(site, ada):
    """A token in the query or in the body is none, whosever it is."""
    site.make_user("bob@example.org", "bob")
    bob = site.tokens(site.password_login("bob@example.org"))
    browser = site.browser()
    path = "currentUser/?access_token=" + bob["access"]
    check.not_signed_in(browser.get(path))
    assert browser.get(path, bearer=ada["access"]).json()["username"] == "ada"
    changed = browser.request("PATCH", "currentUser/", form={"access_token": bob["access"], "first_name": "A"},
                              bearer=ada["access"])
    assert changed.json()["username"] == "ada"
    check.not_signed_in(browser.request("PATCH", "currentUser/", form={"access_token": bob["access"]}))
