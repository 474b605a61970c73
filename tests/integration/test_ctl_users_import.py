"""socialauthctl users import: people from another program's JSON."""
import base64
import hashlib
import json

import pytest

from support import check
from support.ctl import failed, on_database

pytestmark = pytest.mark.db
PASSWORD = "an old password 7"


def django_hash(password=PASSWORD):
    key = hashlib.pbkdf2_hmac("sha256", password.encode(), b"salt", 1000)
    return "pbkdf2_sha256$1000$salt$" + base64.b64encode(key).decode()


@pytest.fixture
def load(tmp_path):
    """load(site, users or text, further arguments) -> Done"""
    def run(site, users, *arguments):
        path = tmp_path / "users.json"
        path.write_text(users if isinstance(users, str) else json.dumps(users))
        return on_database(site.db)("users", "import", str(path), *arguments)
    return run


PEOPLE = [
    {"email": "Ada@Example.org", "username": "ada", "first_name": "Ada", "last_name": "Lovelace",
     "password": django_hash(), "email_verified": True, "is_staff": True},
    {"email": "bob@example.org", "password": None, "is_active": False},
    {"email": "eve@example.org", "username": "eve", "is_superuser": True, "password": "!gone"},
]


def test_users_come_with_their_passwords(site, load):
    done = load(site, PEOPLE)
    assert done.out == "users: 3 imported, 0 there before, 0 left out\ndone\n"
    assert site.db.query("SELECT email, username, email_verified, is_active, is_staff, is_superuser"
                         " FROM sa_users ORDER BY id") == [
        ("ada@example.org", "ada", 1, 1, 1, 0), ("bob@example.org", "bob", 0, 0, 0, 0),
        ("eve@example.org", "eve", 0, 1, 1, 1)]
    access = check.signed_in(site.password_login("ada@example.org", PASSWORD))["access"]
    assert site.browser().get("currentUser/", bearer=access).json()["last_name"] == "Lovelace"
    check.refused(site.password_login("eve@example.org", "!gone"), "bad_credentials")
    assert load(site, PEOPLE).out == "users: 0 imported, 3 there before, 0 left out\nnothing was new\n"
    check.signed_in(site.password_login("ada@example.org", PASSWORD))


def test_dry_run_and_json(site, load):
    said = load(site, PEOPLE, "--dry-run", "--json").json()
    assert said == {"dry_run": True, "changed": False, "notes": [],
                    "users": {"imported": 3, "there_before": 0, "left_out": 0}}
    assert site.counts()["sa_users"] == 0
    assert load(site, PEOPLE, "--json").json()["changed"] is True
    listed = on_database(site.db)("users", "list", "--json").out      # what list prints can be imported
    assert load(site, listed, "--json").json()["users"]["there_before"] == 3
    assert load(site, [], "--json").json()["changed"] is False


def test_what_is_somebody_elses_is_left_out_and_named(site, load):
    site.make_user("ada@example.org", "lovelace")
    site.make_user("other@example.org", "eve")
    before = site.db.query("SELECT * FROM sa_users ORDER BY id")
    said = load(site, PEOPLE, "--json").json()
    assert said["users"] == {"imported": 1, "there_before": 0, "left_out": 2}
    assert said["notes"] == ["user ada@example.org (ada): left out, the email is somebody else's",
                             "user eve@example.org (eve): left out, the username is somebody else's"]
    assert site.db.query("SELECT * FROM sa_users ORDER BY id")[:2] == before


@pytest.mark.parametrize("users, part", [
    ("{", "line 1: "), ('{"email":"a@b.test"}', "an array of users is needed"), ("[1]", "user 1: is not an object"),
    ([{"email": "bob@example.org"}, {"username": "x"}], "user 2: email must be an e-mail address"),
    ([{"email": "bob@example.org"}, {"email": "a@b,c@d"}], "user 2: email must be an e-mail address"),
    ([{"email": "bob@example.org", "is_admin": True}], "unknown member, is_admin"),
    ([{"email": "bob@example.org", "is_staff": "yes"}], "is_staff must be true or false"),
    ([{"email": "bob@example.org", "first_name": 7}], "first_name must be a string"),
    ([{"email": "bob@example.org", "password": PASSWORD}], "password must be a hash"),
    ([{"email": "bob@example.org", "password": "md5$x$y"}], "password must be a hash"),
    ('[{"email":"bob@example.org","email":"eve@example.org"}]', "duplicate"),
    ('[{"email":"bob@example.org","first_name":"a\\u0000b"}]', "\\u0000"),
    ([{"email": "bob@example.org", "\x1b[31m": 1}], "unknown member")])
def test_a_file_with_a_mistake_imports_nobody(site, load, users, part):
    done = load(site, users)
    failed(done, part)
    assert "\x1b" not in done.err and PASSWORD not in done.err, done.err
    assert site.counts()["sa_users"] == 0


def test_a_file_that_is_not_there(site):
    failed(on_database(site.db)("users", "import", "/nonexistent.json"), "/nonexistent.json")
