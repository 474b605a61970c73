"""socialauthctl applications."""
import json

import pytest

pytestmark = pytest.mark.db


@pytest.fixture
def database(databases, cell):
    return databases.make(cell[1])


def create(database, *arguments, stdin=None):
    done = database.ctl("--json", "applications", "create", *arguments, stdin=stdin)
    return json.loads(done.stdout)


def listed(database, *arguments):
    return json.loads(database.ctl("--json", "applications", "list", *arguments).stdout)


def wrong(database, word, *arguments, status=2, stdin=""):
    done = database.ctl("applications", *arguments, stdin=stdin, check=False)
    assert done.returncode == status and word in done.stdout, done.stdout
    assert database.counts()["sa_applications"] == 0


def test_create_shows_the_secret_once(database):
    made = create(database, "--name", "Shop")
    assert len(made["client_secret"]) >= 43 and len(made["client_id"]) >= 27
    assert made["client_secret"] not in database.dump()
    row = database.one("SELECT name, grants, scopes, redirect_uris, client_secret FROM sa_applications")
    assert row[:4] == ("Shop", "convert_token refresh_token", "read write", "")
    assert row[4].startswith("sha256$") and len(row[4]) == 71
    other = create(database, "--name", "Shop")
    assert other["client_id"] != made["client_id"]
    text = database.ctl("applications", "create", "--name", "x").stdout
    assert "shown only now" in text
    text = database.ctl("applications", "list").stdout
    assert made["client_id"] in text and made["client_secret"] not in text


def test_public_client_has_no_secret(database):
    made = create(database, "--name", "App", "--public", "--client-id", "app-1",
                  "--grants", "authorization_code refresh_token", "--scopes", "read",
                  "--redirect-uris", "https://app.test/cb http://localhost:3000/cb com.example.app:/cb")
    assert made == {"client_id": "app-1", "client_secret": None}
    assert listed(database) == [
        {"client_id": "app-1", "name": "App", "public": True, "trusted": False,
         "grants": "authorization_code refresh_token", "scopes": "read", "owner": None,
         "redirect_uris": "https://app.test/cb http://localhost:3000/cb com.example.app:/cb"}]
    assert "public" in database.ctl("applications", "list").stdout


def test_the_sites_own_application_is_trusted(database):
    create(database, "--name", "Own", "--trusted")
    assert [row["trusted"] for row in listed(database)] == [True]
    assert "  confidential, trusted  " in database.ctl("applications", "list").stdout


def test_a_secret_may_be_kept(database):
    made = create(database, "--name", "Old", "--client-id", "old", "--secret-stdin",
                  stdin="a secret of the old server\n")
    assert made["client_secret"] == "a secret of the old server"
    again = create(database, "--name", "Twin", "--client-id", "twin", "--secret-stdin",
                   stdin="a secret of the old server\n")
    assert again["client_id"] == "twin"
    hashes = {row[0] for row in database.query("SELECT client_secret FROM sa_applications")}
    assert len(hashes) == 1


def test_owner(database):
    database.ctl("users", "create", "--email", "ada@example.org", "--username", "ada", "--no-password")
    user = str(database.value("SELECT id FROM sa_users"))

    def owners():
        return {row["client_id"]: row["owner"] for row in listed(database)}

    for n, name in enumerate(("ada@example.org", "ada", user)):
        create(database, "--name", "Shop", "--client-id", "c%d" % n, "--owner", name)
    create(database, "--name", "Shop", "--client-id", "nobodys")
    assert owners() == {"c0": user, "c1": user, "c2": user, "nobodys": None}
    text = database.ctl("applications", "list").stdout
    assert text.count("  owner: %s\n" % user) == 3 and text.count("owner") == 3
    done = database.ctl("applications", "create", "--name", "x", "--owner", "eve", check=False)
    assert done.returncode == 1 and 'there is no user "eve"' in done.stdout
    database.ctl("users", "delete", "ada", "--purge", "--yes")
    assert owners() == {"c0": None, "c1": None, "c2": None, "nobodys": None}


def test_what_is_refused(database):
    wrong(database, "--name", "create")
    wrong(database, "--client-id", "create", "--name", "x", "--client-id", "a b")
    wrong(database, "--client-id", "create", "--name", "x", "--client-id", "a:b")
    wrong(database, "--client-id", "create", "--name", "x", "--client-id", "")
    wrong(database, "--grants", "create", "--name", "x", "--grants", "password implicit")
    wrong(database, "--scopes", "create", "--name", "x", "--scopes", 'read "write"')
    wrong(database, "--scopes", "create", "--name", "x", "--scopes", "r\xe9ad")
    for uri in ("http://a.test/cb", "/cb", "https://a.test/cb#x", "javascript:alert(1)", "x"):
        wrong(database, "--redirect-uris", "create", "--name", "x", "--redirect-uris", uri)
    wrong(database, "no secret", "create", "--name", "x", "--public", "--secret-stdin")
    wrong(database, "16", "create", "--name", "x", "--secret-stdin", stdin="short\n", status=1)
    wrong(database, "16", "create", "--name", "x", "--secret-stdin", status=1)


def test_client_id_in_use(database):
    create(database, "--name", "One", "--client-id", "id")
    done = database.ctl("applications", "create", "--name", "Two", "--client-id", "id", check=False)
    assert done.returncode == 1 and "in use" in done.stdout
    assert database.value("SELECT name FROM sa_applications") == "One"


def test_list_in_pages(database):
    for n in range(5):
        create(database, "--name", "n", "--client-id", "c%d" % n)
    page = listed(database, "--limit", "2", "--after", "c1")
    assert [row["client_id"] for row in page] == ["c2", "c3"]
    assert len(listed(database)) == 5


def test_list_of_none(database):
    assert listed(database) == [] and database.ctl("applications", "list").stdout == ""


def test_a_list_is_json_and_harmless_whatever_is_stored(database):
    create(database, "--name", "Shop", "--client-id", "c1")
    create(database, "--name", "x", "--client-id", "c2")
    database.query("UPDATE sa_applications SET name = ? WHERE client_id = 'c2'", "a\x1b[2J\n\"b\"")
    assert [row["name"] for row in listed(database)] == ["Shop", "a\x1b[2J\n\"b\""]
    text = database.ctl("applications", "list").stdout
    assert "a\\x1b[2J" in text and "\x1b" not in text and text.count("\n") == 2, text
    if database.driver == "sqlite3":    # PostgreSQL keeps broken UTF-8 out
        database.query("UPDATE sa_applications SET name = CAST(x'61ff62' AS TEXT)")
        assert [row["name"] for row in listed(database)] == ["a\\xffb", "a\\xffb"]


def test_rotate_and_delete(database):
    made = create(database, "--name", "Shop", "--client-id", "c")
    create(database, "--name", "App", "--client-id", "p", "--public")
    new = json.loads(database.ctl("--json", "applications", "rotate-secret", "c").stdout)
    assert new["client_id"] == "c" and new["client_secret"] != made["client_secret"]
    for name in ("p", "nobody"):
        done = database.ctl("applications", "rotate-secret", name, check=False)
        assert done.returncode == 1 and "no confidential application" in done.stdout
    assert "sessions are over" in database.ctl("applications", "delete", "c").stdout
    assert database.query("SELECT client_id FROM sa_applications") == [("p",)]
    assert database.ctl("applications", "delete", "c", check=False).returncode == 1
