"""socialauthctl import django: out of real Django projects with the packages people sign in with,
from both databases into both; and then the people come and sign in."""
import itertools
import json
import os
import re
import shlex

import pytest

from support import check, jose
from support.database import Sqlite, run_ctl
from support.django_site import DjangoSite
from test_oauth2 import basic, granted, oauth_refused
from test_readme import section

pytestmark = pytest.mark.db
PASSWORD = "Grüße, 密码 & 7"
GITHUB, GOOGLE, FACEBOOK = ("https://github.com", "https://accounts.google.com",
                            "https://www.facebook.com")
_made = itertools.count()
_projects = {}

FILL = """
import datetime
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django_social_auth_rest.models import SocialAccountLinked
from oauth2_provider.models import Application
from social_django.models import UserSocialAuth

start = datetime.datetime(2019, 5, 4, 3, 2, 1, 654321, tzinfo=datetime.timezone.utc)

def user(name, email, hasher="pbkdf2_sha256", **more):
    made = User.objects.create(username=name, email=email, first_name=name.title(), last_name="Ö",
                               password=make_password(given["password"], hasher=hasher),
                               date_joined=start, **more)
    out[name] = made.pk
    return made

out = {}
User.objects.all().delete()
Application.objects.all().delete()
dup = user("dup", "Ada@example.org")
ada = user("ada", "ada@Example.org", last_login=start)
EmailAddress.objects.create(user=ada, email="ada@example.org", verified=True, primary=True)
UserSocialAuth.objects.create(user=ada, provider="github", uid="1001")
SocialAccountLinked.objects.create(user=ada, provider="github", provider_user_id="1001",
                                   email_linked="ada@example.org")
SocialAccountLinked.objects.create(user=ada, provider="google", provider_user_id="1010",
                                   email_linked="ada@example.org")
bob = user("bob", "bob@gmail.com", "argon2")
UserSocialAuth.objects.create(user=bob, provider="google-oauth2", uid="Bob.G@gmail.com")
cy = user("cy", "cy@example.org", "bcrypt_sha256", is_staff=True, is_superuser=True)
SocialAccount.objects.create(user=cy, provider="facebook", uid="3003")
EmailAddress.objects.create(user=cy, email="cy@example.org", verified=False, primary=True)
user("mal", "no address")
user("gone", "gone@example.org", is_active=False)
sha1 = user("sha1", "sha1@example.org", "pbkdf2_sha1")
UserSocialAuth.objects.create(user=sha1, provider="google-oauth2", uid="108108")
UserSocialAuth.objects.create(user=sha1, provider="twitter", uid="55")
UserSocialAuth.objects.create(user=sha1, provider="github", uid="octocat")
both = user("both", "")
both.set_unusable_password()
both.save()
SocialAccount.objects.create(user=both, provider="google", uid="9009")
UserSocialAuth.objects.create(user=both, provider="google-oauth2", uid="both@gmail.com")
UserSocialAuth.objects.create(user=both, provider="google-openidconnect", uid="9010")

def application(client_id, kind, grant, **more):
    Application.objects.create(client_id=client_id, name=more.pop("name", client_id.title()),
                               client_type=kind, authorization_grant_type=grant, **more)

application("service", "confidential", "client-credentials", client_secret="plain as older toolkits")
application("shop", "confidential", "password", user=ada,
            client_secret=make_password("hashed as newer toolkits"))
application("page", "public", "authorization-code", client_secret="", skip_authorization=True,
            redirect_uris="https://page.test/cb\\r\\nhttp://page.test/cb  http://localhost:3000/cb")
application("old", "public", "implicit")
application("a:b", "public", "password")
"""


@pytest.fixture(params=["pgsql", "sqlite3"])
def django(request, databases):
    """A project with users, links and applications; out of `ids` its users' keys."""
    if request.param not in _projects:
        database = databases.make(request.param, migrated=False)
        made = DjangoSite("shop%d" % next(_made), database, packages=True)
        made.ids = made.run(FILL, password=PASSWORD)
        _projects[request.param] = made
    return _projects[request.param]


@pytest.fixture
def site(make_site, provider):
    return make_site(providers=[provider.github.options, provider.google.options,
                                provider.facebook.options + " email-trust=verified"])


def bring(site, django, *more):
    done = site.db.ctl("--json", "import", "django", *source(django), *more)
    return parsed(done.stdout)


def source(django):
    return "--from-driver", django.database.driver, "--from-params", django.database.params


def parsed(text):
    (line,) = text.splitlines()
    return json.loads(line)


def tally(imported, there, left_out):
    return {"imported": imported, "there_before": there, "left_out": left_out}


def user_of(site, name):
    return str(site.db.value("SELECT id FROM sa_users WHERE username = ?", name))


def test_counts_and_rows(site, django):
    got = bring(site, django)
    assert got["users"] == tally(8, 0, 0)
    assert got["links"] == tally(5, 1, 2)      # 1001 twice; octocat; a second Google account
    assert got["pending_links"] == tally(1, 1, 0)
    assert got["applications"] == tally(3, 0, 2)
    assert got["unknown_providers"] == {"twitter": 1}
    assert got["without_email"] == 2 and got["strange_passwords"] == 1
    assert got["changed"] and not got["dry_run"] and len(got["notes"]) == 7, got["notes"]
    rows = site.db.query("SELECT username, id, email, first_name, last_name, email_verified, is_active,"
                         " is_staff, is_superuser FROM sa_users ORDER BY username")
    ids = django.ids
    wanted = [("ada", "ada@example.org", True, True, False), ("bob", "bob@gmail.com", False, True, False),
              ("both", None, False, True, False), ("cy", "cy@example.org", False, True, True),
              ("dup", None, False, True, False), ("gone", "gone@example.org", False, False, False),
              ("mal", None, False, True, False), ("sha1", "sha1@example.org", False, True, False)]
    assert rows == [(n, ids[n], e, n.title(), "Ö", v, a, s, s) for n, e, v, a, s in wanted]
    assert site.links() == sorted([(GITHUB, "1001"), (GOOGLE, "1010"), (FACEBOOK, "3003"),
                                   (GOOGLE, "108108"), (GOOGLE, "9010")])
    assert site.db.query("SELECT issuer, email, user_id, provider FROM sa_pending_links") == [
        (GOOGLE, "bob.g@gmail.com", ids["bob"], "google")]
    hashes = django.run("out = dict(User.objects.values_list('username', 'password'))")
    assert dict(site.db.query("SELECT username, password FROM sa_users")) == hashes
    joined = site.db.query("SELECT date_joined, last_login FROM sa_users WHERE username = 'ada'")
    if isinstance(site.db, Sqlite):
        assert joined == [("2019-05-04 03:02:01", "2019-05-04 03:02:01")]
    else:
        assert [t.timestamp() for t in joined[0]] == [1556938921, 1556938921]
    assert site.db.query("SELECT last_login FROM sa_users WHERE username = 'bob'") == [(None,)]


def test_applications(site, django):
    bring(site, django)
    rows = site.db.query("SELECT client_id, name, grants, scopes, redirect_uris, owner_id, trusted"
                         " FROM sa_applications ORDER BY client_id")
    assert rows == [
        ("page", "Page", "authorization_code refresh_token", "read write",
         "https://page.test/cb http://localhost:3000/cb", None, 1),
        ("service", "Service", "client_credentials", "read write", "", None, 0),
        ("shop", "Shop", "password refresh_token convert_token", "read write", "", django.ids["ada"], 0)]
    secrets = dict(site.db.query("SELECT client_id, client_secret FROM sa_applications"))
    assert secrets["page"] is None and secrets["service"].startswith("sha256$")
    assert secrets["shop"].startswith("pbkdf2_sha256$")


def test_again_changes_nothing(site, django):
    bring(site, django)
    before = site.db.dump()
    got = bring(site, django)
    assert got["users"] == tally(0, 8, 0) and got["links"] == tally(0, 6, 2)
    assert got["pending_links"] == tally(0, 2, 0) and got["applications"] == tally(0, 3, 2)
    assert not got["changed"] and site.db.dump() == before
    text = site.db.ctl("import", "django", *source(django)).stdout.splitlines()
    assert "users: 0 imported, 8 there before, 0 left out" in text and text[-1] == "nothing was new"
    assert "links of twitter, which is not known here: 1 left out" in text


def test_again_after_people_changed(site, django):
    """Names, addresses, passwords and links that changed since stay as they are."""
    bring(site, django)
    site.db.query("UPDATE sa_users SET username = 'lovelace', email = 'new@example.org', password = '!'"
                  " WHERE username = 'ada'")
    site.db.query("UPDATE sa_users SET email = 'ada@example.org' WHERE username = 'cy'")
    check.signed_in(site.google_login(sub="4004", email="bob.g@gmail.com"))
    before = site.db.dump()
    assert not bring(site, django)["changed"] and site.db.dump() == before


def test_dry_run_writes_nothing(site, django):
    got = bring(site, django, "--dry-run")
    assert got["users"] == tally(8, 0, 0) and got["links"] == tally(5, 1, 2)
    assert got["dry_run"] and not got["changed"] and not any(site.counts().values())
    assert "nothing was written" in site.db.ctl("import", "django", *source(django), "--dry-run").stdout


def test_people_who_are_there_already(site, django):
    """Somebody else's name, address and id stay theirs, and nobody gets a link of another."""
    for _ in range(django.ids["bob"]):
        last = site.make_user()
    site.db.query("UPDATE sa_users SET id = ? WHERE id = ?", 10000, last)
    site.db.query("UPDATE sa_users SET id = ?, email = 'cy@example.org' WHERE id = ?",
                  django.ids["bob"], 10000)
    stranger = str(site.make_user("eve@example.org", "ada"))
    got = bring(site, django)
    assert got["users"] == tally(7, 0, 1) and got["without_email"] == 2, got["notes"]
    assert any("ada" in note and "left out" in note for note in got["notes"])
    rows = dict(site.db.query("SELECT username, id FROM sa_users"))
    assert rows["bob"] != django.ids["bob"] and rows["bob"] > max(django.ids.values())
    assert site.db.value("SELECT email FROM sa_users WHERE username = 'cy'") is None
    assert site.db.query("SELECT * FROM sa_links WHERE CAST(user_id AS TEXT) = ?", stranger) == []
    assert site.db.value("SELECT user_id FROM sa_pending_links") == rows["bob"]
    before = site.db.dump()
    assert not bring(site, django)["changed"] and site.db.dump() == before
    newest = site.make_user("zoe@example.org", "zoe")
    assert newest > max(rows.values())


@pytest.mark.parametrize("name", ["ada", "bob", "cy"])
def test_T68_old_passwords_sign_in(site, django, name):
    bring(site, django)
    browser = site.browser()
    check.refused(browser.post("token/", {"username": name, "password": "wrong"}), "bad_credentials")
    tokens = check.signed_in(browser.post("token/", {"username": name, "password": PASSWORD}))
    assert site.user_id(tokens) == user_of(site, name) == str(django.ids[name])
    stored = site.db.value("SELECT password FROM sa_users WHERE username = ?", name)
    assert stored.startswith("argon2$argon2id$v=19$m=19456,")
    check.signed_in(browser.post("token/", {"username": name, "password": PASSWORD}))


def test_those_who_cannot_sign_in(site, django):
    bring(site, django)
    for name in ("sha1", "both", "gone"):
        answer = site.browser().post("token/", {"username": name, "password": PASSWORD})
        assert answer.status in (400, 401), answer


def test_social_accounts_sign_in(site, django):
    bring(site, django)
    github, facebook = site.provider.github, site.provider.facebook
    answer = site.github_login(user=github.user(id=1001, email="else@example.org"))
    assert site.user_id(check.signed_in(answer)) == str(django.ids["ada"])
    for sub, email, name in (("1010", "ada@gmail.com", "ada"), ("108108", "s@gmail.com", "sha1"),
                             ("9010", "both@gmail.com", "both"), ("777", "bob.g@gmail.com", "bob")):
        tokens = check.signed_in(site.google_login(sub=sub, email=email))
        assert site.user_id(tokens) == str(django.ids[name]), name
    answer = site.browser().post("token", {
        "grant_type": "password", "username": "cy@example.org", "password": PASSWORD,
        "client_id": "shop", "client_secret": "hashed as newer toolkits"})
    granted(answer)
    answer = site.browser().post("convert-token", {
        "grant_type": "convert_token", "client_id": "shop", "backend": "facebook",
        "client_secret": "hashed as newer toolkits",
        "token": facebook.token(facebook.user(id=3003, email="other@example.org"))})
    assert jose.claims_of(granted(answer)["access_token"])["sub"] == str(django.ids["cy"])
    assert site.counts()["sa_users"] == 8 and site.counts()["sa_pending_links"] == 0


def test_applications_keep_their_secrets(site, django):
    bring(site, django)
    form = {"grant_type": "client_credentials"}
    answer = site.browser().post("token", headers=basic("service", "plain as older toolkits"), form=form)
    granted(answer, refresh=False)
    answer = site.browser().post("token", headers=basic("service", "another"), form=form)
    oauth_refused(answer, "invalid_client", 401)
    body = {"grant_type": "password", "username": "ada@example.org", "password": PASSWORD,
            "client_id": "shop"}
    oauth_refused(site.browser().post("token", {**body, "client_secret": "wrong"}), "invalid_client", 401)
    granted(site.browser().post("token", {**body, "client_secret": "hashed as newer toolkits"}))


def test_params_on_stdin(site, django):
    got = site.db.ctl("--json", "import", "django", "--from-driver", django.database.driver,
                      "--from-params-stdin", "--dry-run", stdin=django.database.params + "\n")
    assert parsed(got.stdout)["users"] == tally(8, 0, 0)


def test_custom_user_table(make_site, databases, cell):
    """UUID keys, other column names, the e-mail as the user name."""
    site = make_site()
    project = DjangoSite("people%d" % next(_made), databases.make(cell[1], migrated=False), custom=True)
    project.run("""
for n in ("ann", "ben"):
    u = User(mail=n + "@Example.org", given=n.title(), password=make_password(given["password"]))
    u.save()
""", password=PASSWORD)
    assert bring(site, project, "--from-user-table", "people_person")["users"] == tally(2, 0, 0)
    rows = site.db.query("SELECT username, email, first_name, is_active, is_staff FROM sa_users ORDER BY 1")
    assert rows == [(n + "@Example.org", n + "@example.org", n.title(), True, False)
                    for n in ("ann", "ben")]
    check.signed_in(site.password_login("ann@example.org", PASSWORD))
    before = site.db.dump()
    assert bring(site, project, "--from-user-table", "people_person")["users"] == tally(0, 2, 0)
    assert site.db.dump() == before


def test_what_is_refused(site, tmp_path):
    def wrong(word, *arguments, status=2):
        done = site.db.ctl("import", "django", *arguments, check=False)
        assert done.returncode == status and word in done.stdout, done.stdout

    wrong("--from-driver", "--from-params", "x")
    wrong("--from-driver", "--from-driver", "mysql", "--from-params", "x")
    wrong("--from-params", "--from-driver", "pgsql")
    wrong("--from-params", "--from-driver", "pgsql", "--from-params", "x", "--from-params-stdin")
    for text in ("host=h password=x", "host=h PASSWORD = x", "postgres://me:secret@h/db"):
        wrong("may not hold a password", "--from-driver", "pgsql", "--from-params", text)
    path = str(tmp_path / "nothing")
    wrong("cannot be read", "--from-driver", "sqlite3", "--from-params", path, status=1)
    assert not os.path.exists(path)
    open(path, "w").close()
    wrong("auth_user", "--from-driver", "sqlite3", "--from-params", path, status=1)
    wrong("identifier", "--from-driver", "sqlite3", "--from-params", path, "--from-user-table", "a b",
          status=1)
    wrong("cannot be opened", "--from-driver", "pgsql", "--from-params", "host=/nonexistent", status=1)
    assert not any(site.counts().values())


def test_the_line_in_the_readme(site, django):
    line, = re.findall(r"^    socialauthctl -f \S+ (import django .*)$", section("Coming from Django"), re.M)
    words = shlex.split(line)
    words[words.index("--from-driver") + 1] = django.database.driver
    words[words.index("--from-params") + 1] = django.database.params
    assert "dry run: nothing was written" in site.db.ctl(*words).stdout


# ---- users who stay where they are

@pytest.fixture
def mapped(make_site, databases, cell, provider):
    """A site on the database of a project, and that project."""
    database = databases.make(cell[1], migrated=False)
    project = DjangoSite("stay%d" % next(_made), database, packages=True)
    database.ctl("--user-table", "auth_user", "migrate")
    return make_site(database=database, mount="SocialAuthUserTable auth_user", providers=[
        provider.github.options, provider.google.options,
        provider.facebook.options + " email-trust=verified"]), project


def bring_to(site, django, *more):
    done = run_ctl(["-f", site.httpd.conf, "--json", "import", "django", *source(django), *more])
    return parsed(done.stdout)


def test_links_of_users_who_stay(mapped):
    site, django = mapped
    ids = django.run(FILL, password=PASSWORD)
    users = site.db.query("SELECT * FROM auth_user ORDER BY id")
    dry = bring_to(site, django, "--dry-run")
    assert site.db.value("SELECT count(*) FROM sa_links") == 0
    got = bring_to(site, django)
    assert {**dry, "changed": True, "dry_run": False} == got
    assert got["users"] == tally(0, 8, 0) and got["links"] == tally(5, 1, 2), got
    assert got["pending_links"]["imported"] == 1 and got["applications"] == tally(3, 0, 2), got
    assert site.db.query("SELECT * FROM auth_user ORDER BY id") == users
    again = bring_to(site, django)
    assert not again["changed"] and again["users"] == tally(0, 8, 0)
    answer = site.github_login(user=site.provider.github.user(id=1001, email="else@example.org"))
    assert site.user_id(check.signed_in(answer)) == str(ids["ada"])
    for sub, email, name in (("1010", "ada@gmail.com", "ada"), ("777", "bob.g@gmail.com", "bob")):
        assert site.user_id(check.signed_in(site.google_login(sub=sub, email=email))) == str(ids[name])
    answer = site.browser().post("token", {
        "grant_type": "password", "username": "cy", "password": PASSWORD, "client_id": "shop",
        "client_secret": "hashed as newer toolkits"})
    assert jose.claims_of(granted(answer)["access_token"])["sub"] == str(ids["cy"])


def test_links_of_somebody_else_of_the_same_id(mapped, django):
    """The project read is another one: the same numbers are other people there."""
    site, other = mapped
    other.run("""
for pk in given["ids"]:
    User.objects.create(id=pk, username="other%d" % pk, email="other%d@example.org" % pk)
User.objects.last().delete()
""", ids=sorted(django.ids.values()))
    got = bring_to(site, django)
    assert got["users"] == tally(0, 0, 8), got
    assert not got["links"]["imported"] and not got["pending_links"]["imported"], got
    assert sum("somebody else is of this id" in note for note in got["notes"]) == 7
    assert sum("nobody is of this id" in note for note in got["notes"]) == 1
    assert site.db.value("SELECT count(*) FROM sa_links") == 0
