"""socialauthctl doctor: each thing that can be wrong is said, with what to do; else all is ok."""
import itertools
import os
import pathlib
import stat
import time

import pytest

from support import paths
from support.ctl import ctl, failed, on_database, on_site
from support.site import SECRET

pytestmark = pytest.mark.db
URL = "https://www.example.org"
WEBHOOK = 'SocialAuthWebhook http://127.0.0.1:9/x "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="'
ROOT = os.geteuid() == 0


_numbers = itertools.count(1)


@pytest.fixture
def secret():
    """A file that its mode alone keeps from others."""
    path = pathlib.Path(paths.make_dir("secrets%d" % next(_numbers))) / "secret"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def site(make_site, secret):
    """An installation without fault."""
    return make_site(base_url=URL, secret=None, server="SocialAuthSecret file:%s" % secret, fresh=secret)


def examine(done, status=0):
    """-> {check: [(level, text, todo)]}, of findings other than ok"""
    assert done.status == status, (done.out, done.err)
    report = done.json()
    found = {}
    for finding in report["findings"]:
        found.setdefault(finding["check"], []).append(
            (finding["level"], finding["text"], finding["todo"]))
    levels = [f["level"] for f in report["findings"]]
    assert report["errors"] == levels.count("error") and report["warnings"] == levels.count("warning")
    assert set(levels) <= {"ok", "warning", "error"}
    return {check: [f for f in findings if f[0] != "ok"] for check, findings in found.items()
            if any(f[0] != "ok" for f in findings)}


def only(found, check, level, *words):
    """This is all that was found, and its text and its advice hold the words."""
    assert list(found) == [check] and len(found[check]) == 1, found
    assert found[check][0][0] == level, found
    for word in words:
        assert word in found[check][0][1] + " " + (found[check][0][2] or ""), (word, found)


def test_healthy(site):
    done = on_site(site)("doctor")
    assert done.status == 0 and done.err == "", done.err
    assert [line.split()[0] for line in done.out.splitlines()] == ["ok"] * 11, done.out
    for word in ("configuration", "modules", "secrets", "base URL", "database", "schema", "user table",
                 "clock", "expired rows", "events", "mails"):
        assert word in done.out, word
    report = on_site(site)("--json", "doctor").json()
    assert (report["errors"], report["warnings"], len(report["findings"])) == (0, 0, 11)
    assert SECRET not in done.out and site.settings.secret is None


@pytest.mark.cell("event", "pgsql")
def test_configuration_that_httpd_refuses(tmp_path):
    conf = tmp_path / "httpd.conf"
    conf.write_text("Nonsense\n")
    done = ctl("-f", str(conf), "--httpd", paths.HTTPD, "--json", "doctor")
    only(examine(done, 1), "configuration", "error", "does not accept", "run doctor again")
    assert "Configuration error" in done.err
    failed(ctl("doctor"), "-f")


@pytest.mark.cell("event", "pgsql")
def test_no_such_mount(site):
    only(examine(on_site(site)("--json", "--mount", "/elsewhere", "doctor"), 1), "mounts", "error",
         "SetHandler social-auth")


@pytest.mark.cell("event", "pgsql")
@pytest.mark.parametrize("webhook", [False, True])
def test_no_watchdog(make_site, tmp_path, webhook):
    """Debian's httpd has it built in: what httpd says is changed on the way."""
    site = make_site(base_url=URL, mount=WEBHOOK if webhook else "")
    program = tmp_path / "httpd"
    program.write_text("#!/bin/sh\n%s \"$@\" | sed 's/\"watchdog\":true/\"watchdog\":false/'\n" % paths.HTTPD)
    program.chmod(0o755)
    found = examine(ctl("-f", site.httpd.conf, "--httpd", str(program), "--json", "doctor"), int(webhook))
    only(found, "modules", "error" if webhook else "warning", "mod_watchdog", "LoadModule",
         *(["no webhook is delivered"] if webhook else []))


@pytest.mark.cell("event", "pgsql")
def test_base_url(make_site):
    only(examine(on_site(make_site())("--json", "doctor")), "base URL", "warning", "development")
    site = make_site(base_url="http://www.example.org")
    site.expect_log("not https|http://")
    only(examine(on_site(site)("--json", "doctor")), "base URL", "warning", "can be read on the way",
         "https://")


@pytest.mark.cell("event", "pgsql")
def test_provider_without_credentials(make_site):
    site = make_site(base_url=URL, providers=["github client-id= client-secret=x"])
    site.expect_log("github")
    only(examine(on_site(site)("--json", "doctor")), "providers", "warning", "github", "client-id",
         "switched off")


# ---- secrets

@pytest.mark.cell("event", "pgsql")
def test_secrets_for_a_group(site, secret):
    secret.chmod(0o640)
    only(examine(on_site(site)("--json", "doctor")), "secrets", "warning", "chmod g-rwx %s" % secret)
    secret.chmod(0o600)
    os.chmod(secret.parent, 0o777)
    only(examine(on_site(site)("--json", "doctor"), 1), "secrets", "error",
         "chmod o-w %s" % secret.parent)
    os.chmod(secret.parent, 0o1777)
    assert examine(on_site(site)("--json", "doctor")) == {}


@pytest.mark.cell("event", "pgsql")
def test_secrets_of_who_answers_requests(site, secret):
    """Where root starts httpd; else both are one user."""
    if ROOT:
        os.chown(secret, 33, 33)
    found = examine(on_site(site)("--json", "doctor"))
    if ROOT:
        only(found, "secrets", "warning", "www-data", "chown root %s" % secret)
    else:
        assert found == {}


@pytest.mark.cell("event", "pgsql")
def test_every_secret_is_looked_at(make_site, tmp_path, secret):
    names = ["client", "key", "hook"]
    files = [tmp_path / name for name in names]
    for path, text in zip(files, ["client secret".replace(" ", "-"), SECRET,
                                  "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="]):
        path.write_text(text + "\n")
        path.chmod(0o640)
    client, key, hook = files
    site = make_site(base_url=URL, secret=None, server="SocialAuthSecret file:%s" % secret,
                     providers=["github client-id=x client-secret=file:%s" % client], fresh=tmp_path,
                     mount="SocialAuthJWTKey kid=k file:%s\nSocialAuthWebhook http://127.0.0.1:9/ file:%s"
                     % (key, hook))
    found = examine(on_site(site)("--json", "doctor"))
    assert list(found) == ["secrets"]
    assert sorted(todo for _, _, todo in found["secrets"]) == sorted(
        "chmod g-rwx %s" % path for path in files)


# ---- the database

def test_database_that_is_not_there(site):
    gone = "host=/nonexistent dbname=x" if site.db.driver == "pgsql" else site.db.params + ".gone"
    site.httpd.edit(site.db.params, gone)
    found = examine(on_site(site)("--json", "doctor"), 1)
    site.httpd.edit(gone, site.db.params)
    only(found, "database", "error", "DBDParams")
    assert not os.path.exists(gone), "doctor has made a file"


def test_T219_no_tables_yet(databases, cell):
    database = databases.make(cell[1], migrated=False)
    only(examine(on_database(database)("--json", "doctor"), 1), "schema", "error", "no tables yet",
         "socialauthctl migrate")
    assert on_database(database)("migrate").status == 0
    assert examine(on_database(database)("--json", "doctor")) == {}


@pytest.mark.parametrize("version,todo", [("2", "socialauthctl migrate"), (None, "install the mod_social_auth")])
def test_T217_another_schema(databases, cell, version, todo):
    database = databases.make(cell[1])
    if version:
        database.query("DELETE FROM sa_schema WHERE version >= 2")
    else:
        database.query("INSERT INTO sa_schema (version) VALUES (99)")
    only(examine(on_database(database)("--json", "doctor"), 1), "schema", "error", todo)


def test_user_table_without_its_columns(databases, cell):
    database = databases.make(cell[1], migrated=False)
    database.query("CREATE TABLE people (id integer PRIMARY KEY, email text, username text,"
                   " first_name text, last_name text, password text, is_active boolean,"
                   " is_staff boolean, is_superuser boolean, date_joined text, last_login text)")
    on = on_database(database)
    assert on("--user-table", "people", "migrate").status == 0
    assert examine(on("--user-table", "people", "--json", "doctor")) == {}
    database.query("ALTER TABLE people RENAME COLUMN last_name TO family_name")
    only(examine(on("--user-table", "people", "--json", "doctor"), 1), "user table", "error",
         "last_name", "SocialAuthUserColumn")
    only(examine(on("--json", "doctor"), 1), "user table", "error", "SocialAuthUserTable")


@pytest.mark.cell("event", "pgsql")
@pytest.mark.parametrize("offset,level", [("+3", None), ("+30", "warning"), ("-30", "warning"),
                                          ("+600", "error")])
def test_clocks_that_differ(site, tmp_path, offset, level):
    clock = tmp_path / "clock"
    clock.write_text(offset + "\n")
    done = on_site(site)("--json", "doctor", env={"SA_CLOCK": str(clock)}, preload=[paths.shim("clock")])
    found = examine(done, int(level == "error"))
    if level is None:
        assert found == {}
    else:
        only(found, "clock", level, "seconds %s ours" % ("ahead of" if "-" in offset else "behind"), "NTP")


def test_what_piles_up(databases, cell):
    """Without a server, which would clear it away."""
    now = int(time.time())
    database = databases.make(cell[1])
    on = on_database(database)
    user = int(on("--json", "users", "create", "--email", "p@example.org", "--no-password").json()["id"])
    for n, age in enumerate((7200, 4000, 60)):
        database.query("INSERT INTO sa_sessions (sid, user_id, jti, iat, exp, expires, auth_time)"
                       " VALUES (?, ?, 'j', 1, 2, ?, 1)", "s%d" % n, user, now - age)
    for name, dead, late in (("d1", 1, 60), ("d2", 1, 9000), ("late", 0, 9000), ("young", 0, 60)):
        database.query("INSERT INTO sa_outbox (id, type, at, targets, next_attempt, dead)"
                       " VALUES (?, 't', ?, 'https://hook.test/', ?, ?)", name, now, now - late, dead)
    for n, (age, dead, due) in enumerate(((-900, 1, 60), (-900, 0, 9000), (-900, 0, 60), (7200, 0, -60))):
        database.query("INSERT INTO sa_mails (id, kind, email, mount, created, expires, next_attempt, dead)"
                       " VALUES (?, 'k', 'a@b.test', '/', 1, ?, ?, ?)", "m%d" % n, now - age, now - due, dead)
    app, = on("--json", "applications", "create", "--name", "App", "--public").json()["client_id"],
    for n, age in enumerate((86400 + 7200, 86400)):
        database.query("INSERT INTO sa_codes (id, client_id, user_id, redirect_uri, scope, auth_time, expires)"
                       " VALUES (?, ?, ?, '', '', 1, ?)", "c%d" % n, app, user, now - age)
    found = examine(on("--json", "doctor"))
    assert sorted(found) == ["events", "expired rows", "mails"], found
    (level, text, todo), = found["expired rows"]
    assert level == "warning" and ": 4 rows" in text and "purge" in todo
    dead, late = found["mails"]
    assert dead[0] == late[0] == "warning" and "SocialAuthSMTP" in late[2]
    assert ": 1 mails were given up" in dead[1] and ": 1 mails are due" in late[1]
    dead, late = found["events"]
    assert dead[0] == late[0] == "warning"
    assert ": 2 events were given up" in dead[1] and "events retry --all" in dead[2]
    assert ": 1 events are due" in late[1] and "mod_watchdog" in late[2]


@pytest.mark.cell("event", "sqlite3")
def test_sqlite_directory_that_the_server_cannot_write(site):
    site.expect_log("SA0330")
    directory = os.path.dirname(site.db.path)
    before = os.stat(directory)
    if ROOT:
        os.chown(directory, 0, 0)
    os.chmod(directory, 0o555)
    found = examine(on_site(site)("--json", "doctor"), 1)
    os.chmod(directory, stat.S_IMODE(before.st_mode))
    os.chown(directory, before.st_uid, before.st_gid)
    only(found, "database", "error", "cannot write %s" % site.db.path, "chown")


def test_each_mount_and_each_database(make_site, databases, cell):
    first, second = databases.make(cell[1]), databases.make(cell[1], migrated=False)
    site = make_site(database=first, base_url=URL, more="""
<VirtualHost *:{port}>
ServerName second.test
DBDriver %s
DBDParams "%s"
<Location "/second">
SetHandler social-auth
</Location>
<Location "/third">
SetHandler social-auth
</Location>
</VirtualHost>""" % (second.driver, second.params))
    site.expect_log("SA0")
    found = examine(on_site(site)("--json", "doctor"), 1)
    assert {level for level, _, _ in found["schema"]} == {"error"} and len(found["schema"]) == 1, found
    assert "second.test" in found["schema"][0][1]
    assert examine(on_site(site)("--json", "--server", "localhost", "doctor")) == {}
