"""The module on the user tables of real Django 3.2 projects: auth_user, and a custom user model with
UUID keys, the e-mail as its user name, and soft deletion. Django's rows sign in here, ours are
read by Django."""
import base64
import hashlib
import itertools
import os
import uuid

import pytest

from support import check, jose, paths
from support.client import at_once
from support.database import run_ctl
from support.django_site import CUSTOM_MAPPING, DjangoSite

pytestmark = pytest.mark.db
PASSWORD = "Grüße, 密码 & 7"
_made = itertools.count()
_projects = {}


@pytest.fixture
def project(databases, cell):
    """project(custom) -> a DjangoSite: one per kind, users are made by each test."""
    def get(custom=False):
        key = (cell[1], custom)
        if key not in _projects:
            database = databases.make(cell[1], migrated=False)
            made = DjangoSite("django%d" % next(_made), database, custom)
            if database.driver == "sqlite3" and os.geteuid() == 0:
                os.chmod(database.path, 0o666)
            _projects[key] = made
        return _projects[key]
    return get


def migrated(django):
    django.database.ctl("--user-table", "auth_user", "migrate")
    return django


@pytest.fixture
def stock(make_site, project):
    """auth_user, as SocialAuthUserTable alone maps it -> (site, django)"""
    django = migrated(project())
    site = make_site(database=django.database, mount="SocialAuthUserTable auth_user")
    return site, django


@pytest.fixture
def custom(make_site, project):
    django = project(custom=True)
    site = make_site(database=django.database, mount=CUSTOM_MAPPING)
    site.expect_log("SA0330", "SA0301")         # until the next line is done
    done = migrate_by_conf(site)
    assert done.returncode == 0, done.stdout
    return site, django


def migrate_by_conf(site):
    return run_ctl(["-f", site.httpd.conf, "--httpd", paths.HTTPD, "migrate"], check=False)


def name():
    return "u" + uuid.uuid4().hex[:10]


HASHERS = ["pbkdf2_sha256", "pbkdf2_sha1", "argon2", "bcrypt_sha256"]


@pytest.mark.parametrize("hasher", HASHERS)
def test_T68_password_that_django_hashed(stock, hasher):
    site, django = stock
    user = name()
    made = django.run("""
u = User(username=given["user"], email=given["user"] + "@example.org", first_name="Ada")
u.password = make_password(given["password"], hasher=given["hasher"])
u.save()
out = [u.pk, u.password]""", user=user, password=PASSWORD, hasher=hasher)
    browser = site.browser()
    check.refused(browser.post("token/", {"username": user, "password": "wrong"}), "bad_credentials")
    if hasher == "pbkdf2_sha1":                         # not among the formats that are carried over
        answer = browser.post("token/", {"username": user, "password": PASSWORD})
        check.refused(answer, "bad_credentials")
        return
    tokens = check.signed_in(browser.post("token/", {"username": user, "password": PASSWORD}))
    assert jose.claims_of(tokens["access"])["user_id"] == made[0]       # a number, as SimpleJWT's
    # Rehashed at this login, and Django takes the new hash.
    got = django.run("""
u = User.objects.get(pk=given["pk"])
stored = u.password
out = [stored, u.check_password(given["password"]), u.check_password("wrong"),
       u.last_login is not None]""",
                     pk=made[0], password=PASSWORD)
    assert got[0].startswith("argon2$argon2id$v=19$m=") and got[1:3] == [True, False], got
    assert got[3], "last_login was not set"
    # check_password may have rehashed it to Django's own default: it still works here.
    check.signed_in(browser.post("token/", {"email": user + "@EXAMPLE.org", "password": PASSWORD}))


def test_T68_scrypt_of_a_newer_django(stock):
    """Django 3.2 has no scrypt; a table that a newer one wrote may hold it."""
    site, django = stock
    user = name()
    raw = hashlib.scrypt(PASSWORD.encode(), salt=b"saltsaltsaltsalt", n=16384, r=8, p=1,
                         maxmem=64 << 20, dklen=64)
    pk = django.run("""
u = User.objects.create(username=given["user"], email=given["user"] + "@example.org",
                        password=given["hash"])
out = u.pk""", user=user, hash="scrypt$16384$saltsaltsaltsalt$8$1$" + base64.b64encode(raw).decode())
    check.signed_in(site.browser().post("token/", {"username": user, "password": PASSWORD}))
    assert django.run('out = User.objects.get(pk=given["pk"]).check_password(given["p"])',
                      pk=pk, p=PASSWORD) is True


def test_T69_users_without_a_usable_password(stock):
    site, django = stock
    user = name()
    django.run("""
u = User(username=given["user"], email=given["user"] + "@example.org")
u.set_unusable_password()
u.save()""", user=user)
    for password in ("", "!", PASSWORD):
        answer = site.browser().post("token/", {"username": user, "password": password or " "})
        assert answer.status in (400, 401), answer


def test_row_of_ours_is_read_by_django(stock):
    site, django = stock
    address = name() + "@gmail.com"
    tokens = check.signed_in(site.google_login(email=address, given_name="Zoë", family_name="Ünal"))
    pk = int(site.user_id(tokens))
    got = django.run("""
u = User.objects.get(email=given["email"])
u.full_clean()
out = dict(pk=u.pk, username=u.username, first=u.first_name, last=u.last_name, active=u.is_active,
           staff=u.is_staff, root=u.is_superuser, usable=u.has_usable_password(),
           joined=u.date_joined.isoformat(), login=u.last_login.isoformat(),
           found=User.objects.filter(is_active=True, is_staff=False, pk=u.pk,
                                     date_joined__lte=u.last_login).exists())""", email=address)
    assert (got["pk"], got["username"], got["first"], got["last"]) == (
        pk, address.split("@")[0], "Zoë", "Ünal")
    assert (got["active"], got["staff"], got["root"], got["usable"]) == (True, False, False, False)
    assert got["found"] is True
    assert abs(_seconds(got["joined"]) - jose.now()) < 60 and got["login"] >= got["joined"][:19]
    # Django sets a password for it: the same account signs in by password here.
    django.run('u = User.objects.get(pk=given["pk"]); u.set_password(given["p"]); u.save()',
               pk=pk, p=PASSWORD)
    again = check.signed_in(site.browser().post("token/", {"email": address, "password": PASSWORD}))
    assert site.user_id(again) == str(pk)
    django.run('User.objects.filter(pk=given["pk"]).update(is_active=False)', pk=pk)
    assert site.browser().get("linked-accounts/", bearer=again["access"]).status in (400, 401)
    answer = site.browser().post("token/refresh/", {"refresh": again["refresh"]})
    assert answer.status == 401, answer


def _seconds(text):
    import datetime
    return datetime.datetime.fromisoformat(text).timestamp()


def test_T34_T46_local_account_is_not_joined_without_a_verified_column(stock):
    site, django = stock
    user = name()
    django.run('User.objects.create_user(given["u"], given["u"] + "@gmail.com", "x")', u=user)
    before = site.counts()
    check.refused(site.google_login(email=user + "@gmail.com"), "account_exists", "Google")
    check.refused(site.google_login(email=user.upper() + "@gmail.com"), "account_exists", "Google")
    assert {k: v for k, v in site.counts().items() if k != "sa_spent"} == \
        {k: v for k, v in before.items() if k != "sa_spent"}


def test_T54_parallel_first_logins_on_django_rows(stock):
    """No unique constraint on auth_user.email: still one user."""
    site, django = stock
    claims = site.provider.google.claims(email=name() + "@gmail.com")
    tokens = [site.provider.google.id_token({**claims, "jti": uuid.uuid4().hex}) for _ in range(12)]
    answers = at_once([lambda t=t: site.browser().post("google/login/", {"token": t})
                       for t in tokens])
    assert {a.status for a in answers} == {200}, answers
    assert len({site.user_id(a.json()) for a in answers}) == 1
    assert django.run('out = User.objects.filter(email=given["e"]).count()', e=claims["email"]) == 1


def test_T62_taken_user_name(stock):
    site, django = stock
    user = name()
    django.run('User.objects.create_user(given["u"], "elsewhere-" + given["u"] + "@example.org", "x")',
               u=user)
    tokens = check.signed_in(site.google_login(email=user + "@gmail.com"))
    got = django.run('out = User.objects.get(pk=given["pk"]).username', pk=int(site.user_id(tokens)))
    assert got.startswith(user + "_") and len(got) == len(user) + 9


def test_T60_inactive_user_of_django(stock):
    site, django = stock
    user = name()
    django.run("""
u = User.objects.create_user(given["u"], given["u"] + "@example.org", given["p"])
u.is_active = False
u.save()""", u=user, p=PASSWORD)
    check.refused(site.browser().post("token/", {"username": user, "password": PASSWORD}),
                  "bad_credentials")


# ---- a user model of the site's own

def test_custom_model_signs_in_by_email(custom):
    site, django = custom
    address = name() + "@example.org"
    pk = django.run("""
u = User(mail=given["mail"], given="Ada", mail_confirmed=True)
u.set_password(given["p"])
u.save()
out = str(u.pk)""", mail=address, p=PASSWORD)
    tokens = check.signed_in(site.browser().post("token/", {"email": address, "password": PASSWORD}))
    claims = jose.claims_of(tokens["access"])
    assert uuid.UUID(claims["user_id"]) == uuid.UUID(pk)        # a string, as SimpleJWT's
    assert claims["sub"] == claims["user_id"]
    got = django.run("""
u = User.objects.get(pk=given["pk"])
out = [str(u.password)[:17], u.check_password(given["p"]), u.last_login is not None]""",
                     pk=pk, p=PASSWORD)
    assert got == ["argon2$argon2id$v", True, True]
    browser = site.browser()
    assert browser.get("linked-accounts/", bearer=tokens["access"]).status == 200
    check.signed_in(browser.post("token/refresh/", {"refresh": tokens["refresh"]}))


def test_custom_model_row_of_ours(custom):
    site, django = custom
    address = name() + "@gmail.com"
    tokens = check.signed_in(site.google_login(email=address, given_name="Zoë"))
    got = django.run("""
u = User.objects.get(mail=given["mail"])
out = dict(pk=str(u.pk), given=u.given, active=u.active, removed=u.removed_at,
           confirmed=u.mail_confirmed, usable=u.has_usable_password(), joined=u.joined.isoformat(),
           again=User.objects.filter(pk=u.pk).count())""", mail=address)
    assert uuid.UUID(got["pk"]) == uuid.UUID(site.user_id(tokens))
    assert uuid.UUID(got["pk"]).version == 4
    assert (got["given"], got["active"], got["removed"], got["confirmed"], got["usable"]) == (
        "Zoë", True, None, True, False)
    assert got["again"] == 1


def test_custom_model_verified_email_is_joined(custom):
    """The column says that the address was confirmed: the contract's step 2."""
    site, django = custom
    address = name() + "@gmail.com"
    pk = django.run('out = str(User.objects.create(mail=given["mail"], mail_confirmed=True).pk)',
                    mail=address)
    other = name() + "@gmail.com"
    django.run('User.objects.create(mail=given["mail"])', mail=other)
    tokens = check.signed_in(site.google_login(email=address))
    assert uuid.UUID(site.user_id(tokens)) == uuid.UUID(pk)
    check.refused(site.google_login(email=other), "account_exists", "Google")


def test_T60_soft_deleted_in_django(custom):
    site, django = custom
    address = name() + "@gmail.com"
    claims = site.provider.google.claims(email=address)
    browser = site.browser()

    def login():
        return browser.post("google/login/", {"token": site.provider.google.id_token(
            {**claims, "jti": uuid.uuid4().hex})})
    tokens = check.signed_in(login())
    django.run("""
from django.utils import timezone
u = User.objects.get(mail=given["mail"])
u.set_password("x")
u.removed_at = timezone.now()
u.save()""", mail=address)
    check.refused(login(), "account_unavailable")
    check.refused(browser.post("token/", {"email": address, "password": "x"}), "bad_credentials")
    assert browser.get("linked-accounts/", bearer=tokens["access"]).status in (400, 401)
    assert browser.post("token/refresh/", {"refresh": tokens["refresh"]}).status == 401
    django.run('User.objects.filter(mail=given["mail"]).update(removed_at=None)', mail=address)
    check.signed_in(login())


def test_T37_deleted_by_the_orm_takes_links_and_sessions(custom):
    site, django = custom
    address = name() + "@gmail.com"
    tokens = check.signed_in(site.google_login(email=address))
    links = site.db.value("SELECT count(*) FROM sa_links")
    django.run('User.objects.filter(mail=given["mail"]).delete()', mail=address)
    if site.db.driver == "pgsql":                       # Django on SQLite enforces keys as well
        assert site.db.value("SELECT count(*) FROM sa_links") == links - 1
    answer = site.browser().post("token/refresh/", {"refresh": tokens["refresh"]})
    assert answer.status == 401, answer
    assert site.db.query("SELECT 1 FROM sa_links l LEFT JOIN people_person u ON u.key = l.user_id"
                         " WHERE u.key IS NULL") == []


# ---- wrong names

WRONG = [
    ("SocialAuthUserTable auth_users", "auth_users"),
    ("SocialAuthUserTable auth_user\nSocialAuthUserColumn email=e_mail", "e_mail"),
    ("SocialAuthUserTable auth_user\nSocialAuthUserDeletedField deleted_at", "deleted_at"),
    ("SocialAuthUserTable auth_user\nSocialAuthUserColumn id=nr", "nr"),
]


@pytest.mark.parametrize("mount, wrong", WRONG, ids=[w for _, w in WRONG])
def test_wrong_name_is_a_clear_error(make_site, project, mount, wrong):
    django = migrated(project())
    site = make_site(database=django.database, mount=mount)
    site.expect_log("SA0100: unavailable: ", "SA0301")
    check.refused(site.browser().post("token/", {"username": "x", "password": "y"}), "unavailable")
    lines = [line for line in site.httpd.recent_log().splitlines() if ":error]" in line]
    assert len(lines) == 1 and wrong in lines[0], lines
    done = migrate_by_conf(site)
    assert done.returncode == 1, done.stdout
    said, = [line for line in done.stdout.splitlines() if line.startswith("socialauthctl: ")]
    assert wrong in said, said


@pytest.mark.parametrize("bad", ['auth_user;drop', 'a"b', "x y", "auth_user--", "1table", "a.b.c"])
def test_name_that_is_no_identifier_stops_the_start(site, bad):
    status, output = site.httpd.try_edit("SetHandler social-auth",
                                         "SetHandler social-auth\nSocialAuthUserTable '%s'" % bad)
    assert status != 0 and "SocialAuthUserTable" in output, output
