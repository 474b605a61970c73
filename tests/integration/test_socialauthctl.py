"""socialauthctl: every command, its exit status, its words and its JSON."""
import json
import os
import re
import shutil
import stat
import subprocess
import time

import pytest

from support import check, paths
from support.ctl import ctl, failed, on_database, refused_usage
from support.site import STRONG

pytestmark = pytest.mark.db
VERSION = 3                                 # of the schema
WHSEC = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


@pytest.fixture
def database(databases, cell):
    return databases.make(cell[1])


@pytest.fixture
def empty(databases, cell):
    return databases.make(cell[1], migrated=False)


@pytest.fixture
def on(database):
    return on_database(database)


# ---- how it is called

@pytest.mark.parametrize("arguments", [
    [], ["nonsense"], ["users"], ["users", "nonsense"], ["users", "activate"], ["--nonsense"],
    ["users", "activate", "a", "b"], ["migrate", "backwards"], ["--limit", "0", "users", "list"],
    ["--limit", "ten", "users", "list"], ["purge", "all"], ["--driver"],
    ["users", "create"], ["users", "create", "--email", "nonsense"],
    ["users", "list", "--staff"], ["purge", "--dry-run"], ["migrate", "status", "--dry-run"],
], ids=" ".join)
def test_usage(on, arguments):
    refused_usage(on(*arguments))


def test_help_and_version(on):
    done = ctl("--help")
    assert done.status == 0 and done.err == "" and "users create" in done.out
    done = ctl("--version")
    assert done.status == 0 and re.match(r"^socialauthctl \d+\.\d+\.\d+", done.out), done.out


def test_nobody_says_where(cell):
    failed(ctl("users", "list"), "-f", "--driver")


@pytest.mark.cell("event", "pgsql")
def test_database_that_is_not_there(tmp_path):
    failed(ctl("--driver", "oracle", "--params", "x", "users", "list"), "oracle")
    failed(ctl("--driver", "pgsql", "--params", "host=%s dbname=x" % tmp_path, "users", "list"))
    failed(ctl("--driver", "sqlite3", "--params", str(tmp_path / "no" / "x.db"), "users", "list"))


# ---- the schema

@pytest.mark.parametrize("below", [True, False], ids=["a-path", "a-name"])
def test_a_new_sqlite_file_is_its_directorys(tmp_path, below):
    """Root makes it, httpd's user writes it, and others do not read the hashes in it."""
    if os.geteuid() == 0:
        shutil.chown(tmp_path, "www-data", "www-data")
    path = str(tmp_path / "new.db") if below else "new.db"
    done = ctl("--driver", "sqlite3", "--params", path, "migrate", cwd=str(tmp_path))
    assert done.status == 0, done.err
    (name,) = os.listdir(tmp_path)
    made, directory = os.stat(tmp_path / name), os.stat(tmp_path)
    assert (made.st_uid, made.st_gid) == (directory.st_uid, directory.st_gid)
    assert stat.S_IMODE(made.st_mode) == 0o600


def test_migrate(empty):
    on = on_database(empty)
    done = on("migrate", "status")
    assert done.status == 1 and "run socialauthctl migrate" in done.out
    assert on("--json", "migrate", "status").json() == {"schema": 0, "wanted": VERSION}
    failed(on("users", "list"), "socialauthctl migrate")

    done = on("migrate", "--dry-run")
    assert done.status == 0, done.err
    for table in ("sa_users", "sa_links", "sa_sessions", "sa_spent", "sa_outbox", "sa_schema"):
        assert "CREATE TABLE %s" % table in done.out
    assert empty.tables() == [], "a dry run has written"
    dry = on("--json", "migrate", "--dry-run").json()
    assert (dry["from"], dry["to"]) == (0, VERSION), dry
    assert "CREATE TABLE sa_users" in dry["sql"] and empty.tables() == []

    assert on("--json", "migrate").json() == {"from": 0, "to": VERSION}
    tables = empty.tables()
    assert "sa_users" in tables
    assert on("--json", "migrate").json() == {"from": VERSION, "to": VERSION}
    assert on("migrate").status == 0
    assert empty.tables() == tables
    done = on("migrate", "status")
    assert done.status == 0 and "version %d" % VERSION in done.out
    assert "CREATE" not in on("migrate", "--dry-run").out


def test_migrate_dry_run_is_what_migrate_does(databases, cell):
    """The printed SQL, run by hand, makes the same schema."""
    by_hand, by_itself = (databases.make(cell[1], migrated=False) for _ in range(2))
    sql = by_hand.ctl("migrate", "--dry-run").stdout
    if cell[1] == "sqlite3":
        connection = by_hand.connect()
        connection.executescript(sql)
        connection.close()
    else:
        connection = by_hand.connect()
        connection.autocommit = True
        connection.cursor().execute(sql)
        connection.close()
    by_itself.ctl("migrate")
    if cell[1] == "sqlite3":
        question = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY 1"
    else:
        question = ("SELECT table_name, column_name, data_type, is_nullable, column_default"
                    " FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2")
    assert by_hand.query(question) == by_itself.query(question)


def test_T217_newer_schema_is_refused(on, database):
    database.query("INSERT INTO sa_schema (version) VALUES (7)")
    failed(on("migrate"), "7", "newer")
    failed(on("migrate", "--dry-run"), "7", "newer")
    done = on("migrate", "status")
    assert done.status == 1 and "newer" in done.out
    for command in (["users", "list"], ["purge"], ["users", "create", "--email", "a@example.org",
                                                   "--no-password"]):
        failed(on(*command), "7")
    assert database.value("SELECT max(version) FROM sa_schema") == 7
    assert database.counts()["sa_users"] == 0


def test_migrate_twice_at_once(empty):
    command = [paths.CTL, "--driver", empty.driver, "--params", empty.params, "--json", "migrate"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
               for _ in range(6)]
    for process in running:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert json.loads(out)["to"] == VERSION
    versions = empty.query("SELECT version FROM sa_schema ORDER BY 1")
    assert versions == [(n,) for n in range(1, VERSION + 1)]


@pytest.mark.cell("event", "sqlite3")
def test_sqlite_leaves_no_log_behind(on, database):
    """Root's -wal and -shm would lock the server out."""
    on("users", "create", "--email", "a@example.org", "--no-password")
    on("users", "list")
    assert sorted(os.listdir(os.path.dirname(database.path))) == ["social.db"]


# ---- users

def test_create(on, database):
    done = on("users", "create", "--email", "Ada@Example.ORG", "--username", "ada",
              "--first-name", "Ada", "--last-name", "Lovelace", "--password-stdin",
              stdin=STRONG + "\nmore\n")
    assert done.status == 0 and "created user" in done.out, done.err
    row = database.one("SELECT email, username, first_name, last_name, is_active, is_staff,"
                       " is_superuser, email_verified, password, last_login FROM sa_users")
    assert row[:4] == ("ada@example.org", "ada", "Ada", "Lovelace")
    assert tuple(map(bool, row[4:8])) == (True, False, False, True)
    assert row[8].startswith("argon2$argon2id$v=19$") and row[9] is None
    assert STRONG not in done.out + done.err


def test_create_defaults_and_json(on, database):
    made = on("--json", "users", "create", "--email", "bob@example.org", "--no-password").json()
    assert made["email"] == "bob@example.org" and made["username"] == "bob"
    password = database.value("SELECT password FROM sa_users")
    assert password.startswith("!")
    assert made["id"] == str(database.value("SELECT id FROM sa_users"))


def test_create_staff_and_superuser(on, database):
    on("users", "create", "--email", "s@example.org", "--staff", "--no-password")
    on("users", "create", "--email", "r@example.org", "--superuser", "--no-password")
    rows = {email: (bool(a), bool(b)) for email, a, b in database.query(
        "SELECT email, is_staff, is_superuser FROM sa_users")}
    assert rows == {"s@example.org": (True, False), "r@example.org": (True, True)}


def test_create_taken(on, database):
    on("users", "create", "--email", "a@example.org", "--username", "a", "--no-password")
    failed(on("users", "create", "--email", "A@example.org", "--username", "b", "--no-password"),
           "email")
    failed(on("users", "create", "--email", "b@example.org", "--username", "a", "--no-password"),
           "username")
    assert database.counts()["sa_users"] == 1


@pytest.mark.parametrize("stdin", ["", "\n", "x" * 5000 + "\n"], ids=["nothing", "blank", "long"])
def test_create_needs_a_password(on, database, stdin):
    failed(on("users", "create", "--email", "a@example.org", "--password-stdin", stdin=stdin),
           "password")
    assert database.counts()["sa_users"] == 0


def test_password_is_never_asked_of_a_pipe(on, database):
    done = on("users", "create", "--email", "a@example.org", stdin="secret\n")
    assert done.status == 1 and "--password-stdin" in done.err and "secret" not in done.err
    assert database.counts()["sa_users"] == 0


def test_names_are_data(on, database):
    evil = "'; DROP TABLE sa_users; --"
    on("users", "create", "--email", "a@example.org", "--username", evil, "--first-name", evil,
       "--no-password")
    assert database.value("SELECT username FROM sa_users") == evil
    assert on("users", "deactivate", evil).status == 0


def test_list(on, database):
    assert on("users", "list").out == ""
    assert on("--json", "users", "list").json() == []
    ids = [int(on("--json", "users", "create", "--email", "u%d@example.org" % n, "--no-password",
                  "--first-name", "Zoë").json()["id"]) for n in range(5)]
    on("users", "deactivate", "u3@example.org")
    lines = on("users", "list").out.splitlines()
    assert lines[0] == "%d\tu0@example.org\tu0\tactive" % ids[0]
    assert lines[3] == "%d\tu3@example.org\tu3\tinactive" % ids[3] and len(lines) == 5
    users = on("--json", "users", "list").json()
    assert users[0] == {"id": ids[0], "email": "u0@example.org", "username": "u0",
                        "first_name": "Zoë", "last_name": "", "is_active": True,
                        "is_staff": False, "is_superuser": False, "has_password": False}
    assert [u["is_active"] for u in users] == [True, True, True, False, True]
    page = on("--json", "users", "list", "--limit", "2", "--after", str(ids[1])).json()
    assert [u["id"] for u in page] == ids[2:4]
    assert "argon2" not in on("--json", "users", "list").out


# ---- what the server sees of it

@pytest.fixture
def running(make_site):
    site = make_site()
    return site, on_database(site.db)


def alive(site, tokens):
    return site.browser().post("token/verify/", {"token": tokens["refresh"]}).status == 200


@pytest.mark.parametrize("who", ["email", "username", "id"])
def test_set_password(running, who):
    site, on = running
    user = site.make_user("p@example.org", "p")
    other = site.make_user("q@example.org", "q")
    mine, others = (site.tokens(site.password_login(a)) for a in ("p@example.org", "q@example.org"))
    name = {"email": "P@example.org", "username": "p", "id": str(user)}[who]
    done = on("users", "set-password", name, "--password-stdin", stdin="another password\n")
    assert done.status == 0, done.err
    check.refused(site.password_login("p@example.org"), "bad_credentials")
    check.signed_in(site.password_login("p@example.org", "another password"))
    assert not alive(site, mine) and alive(site, others)
    check.refused(site.browser().post("token/refresh/", {"refresh": mine["refresh"]}),
                  "token_blacklisted")
    assert other != user


def test_T60_deactivate_and_activate(running):
    site, on = running
    user = site.make_user("p@example.org", "p")
    tokens = site.tokens(site.password_login("p@example.org"))
    assert on("--json", "users", "deactivate", "p").json() == {"id": str(user), "is_active": False}
    check.refused(site.password_login("p@example.org"), "bad_credentials")
    assert not alive(site, tokens)
    assert site.browser().get("linked-accounts/", bearer=tokens["access"]).status in (400, 401)
    assert on("--json", "users", "activate", "p").json() == {"id": str(user), "is_active": True}
    check.signed_in(site.password_login("p@example.org"))
    assert not alive(site, tokens), "an ended session came back"


@pytest.mark.parametrize("command", ["set-password", "activate", "deactivate"])
def test_unknown_user(on, command):
    stdin = ["--password-stdin"] if command == "set-password" else []
    for name in ("nobody", "nobody@example.org", "999999999999999999999", "-1", "1.5", ""):
        failed(on("users", command, *stdin, "--", name, stdin="x\n")
               if name.startswith("-") else
               on("users", command, *stdin, name, stdin="x\n"), "no user")


def test_purge(on, database):
    on("users", "create", "--email", "a@example.org", "--no-password")
    user = database.value("SELECT id FROM sa_users")
    connection = database.connect()
    mark = "%s" if database.driver == "pgsql" else "?"
    connection.cursor().executemany(
        "INSERT INTO sa_sessions (sid, user_id, jti, iat, exp, expires, auth_time)"
        " VALUES (%s, %s, 'j', 1, 2, %s, 1)" % (mark, mark, mark),
        [("s%d" % n, user, 3) for n in range(2500)] + [("live", user, 4000000000)])
    connection.cursor().executemany("INSERT INTO sa_spent (id, expires) VALUES (%s, 3)" % mark,
                                    [("x%d" % n,) for n in range(10)])
    connection.commit()
    connection.close()
    assert on("--json", "purge").json() == {"purged": 2510}
    assert on("purge").out == "purged 0 expired rows\n"
    assert database.query("SELECT sid FROM sa_sessions") == [("live",)]


def test_by_the_servers_own_configuration(make_site):
    """-f: the database, its user and the mount come from httpd.conf."""
    site = make_site()
    on = ["-f", site.httpd.conf, "--httpd", paths.HTTPD]
    made = ctl(*on, "--json", "users", "create", "--email", "conf@example.org", "--password-stdin",
               stdin=STRONG + "\n")
    assert made.status == 0, made.err
    assert made.json()["email"] == "conf@example.org"
    check.signed_in(site.password_login("conf@example.org"))
    assert ctl(*on, "--mount", site.settings.path, "migrate", "status").status == 0
    done = ctl(*on, "--mount", "/elsewhere", "migrate", "status")
    assert done.status == 1 and "/elsewhere" in done.err


def test_configuration_that_does_not_help(tmp_path, cell):
    conf = tmp_path / "httpd.conf"
    conf.write_text("ServerRoot %s\nServerName x\nErrorLog %s/log\nPidFile %s/pid\n"
                    "DefaultRuntimeDir %s\nLoadModule mpm_event_module %s/mod_mpm_event.so\n"
                    % (tmp_path, tmp_path, tmp_path, tmp_path, paths.MODULES))
    done = ctl("-f", str(conf), "--httpd", paths.HTTPD, "users", "list")
    assert done.status == 1 and "mod_social_auth" in done.err, done.err
    conf.write_text("Nonsense\n")
    done = ctl("-f", str(conf), "--httpd", paths.HTTPD, "users", "list")
    assert done.status == 1 and "does not accept" in done.err, done.err
    done = ctl("-f", str(conf), "--httpd", "/no/such/program", "users", "list")
    assert done.status == 1 and "/no/such/program" in done.err, done.err


@pytest.fixture
def two_hosts(make_site, databases, cell):
    """two_hosts(inside) -> a site, its database, and that of the virtual host second.test"""
    def make(inside=""):
        first, second = databases.make(cell[1]), databases.make(cell[1])
        site = make_site(database=first, more="""
<VirtualHost *:{port}>
ServerName second.test
DBDriver %s
DBDParams "%s"
%s
</VirtualHost>""" % (second.driver, second.params, inside))
        return site, first, second
    return make


def test_each_mount_its_own_database(two_hosts):
    """Two virtual hosts: --mount says whose users."""
    site, first, second = two_hosts("""<Location "/second">
SetHandler social-auth
SocialAuthProvider github client-id=x client-secret=y
</Location>""")
    on = ["-f", site.httpd.conf, "--httpd", paths.HTTPD]
    assert ctl(*on, "--mount", "/second", "users", "create", "--email", "two@example.org",
               "--no-password").status == 0
    assert ctl(*on, "--mount", site.settings.path, "users", "create", "--email", "one@example.org",
               "--no-password").status == 0
    assert first.query("SELECT email FROM sa_users") == [("one@example.org",)]
    assert second.query("SELECT email FROM sa_users") == [("two@example.org",)]


def test_the_same_mount_of_two_hosts(two_hosts):
    """--server says which; without it nobody's database is guessed."""
    site, first, second = two_hosts()
    on = ["-f", site.httpd.conf, "--httpd", paths.HTTPD]
    create = ["users", "create", "--no-password", "--email"]
    done = ctl(*on, *create, "x@example.org")
    failed(done, "--server second.test", "--mount " + site.settings.path)
    for server, email in (("second.test", "two@example.org"), ("SECOND.TEST", "again@example.org"),
                          ("localhost", "one@example.org")):
        assert ctl(*on, "--server", server, *create, email).status == 0
    failed(ctl(*on, "--server", "third.test", *create, "x@example.org"), "third.test")
    assert first.query("SELECT email FROM sa_users") == [("one@example.org",)]
    assert sorted(second.query("SELECT email FROM sa_users")) == [
        ("again@example.org",), ("two@example.org",)]


@pytest.mark.slow
@pytest.mark.cell("event", "pgsql")
def test_typing_takes_its_time(databases, cell):
    """The time limit of the database does not run while somebody types."""
    database = databases.make("pgsql")
    process = subprocess.Popen(
        [paths.CTL, "--driver", database.driver, "--params", database.params, "users", "create",
         "--email", "slow@example.org", "--password-stdin"], stdin=subprocess.PIPE,
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=paths.server_environment())
    time.sleep(31)
    out, err = process.communicate("a password after a while\n", timeout=30)
    assert process.returncode == 0, err
    assert database.query("SELECT email FROM sa_users") == [("slow@example.org",)]


@pytest.mark.cell("event", "pgsql")
def test_notify_of_the_administrator(make_site):
    site = make_site(private=True, mount="SocialAuthNotify On")
    site.make_user("p@example.org", "p")
    listener = site.db.listen()
    on = ["-f", site.httpd.conf, "--httpd", paths.HTTPD]
    assert ctl(*on, "users", "deactivate", "p").status == 0
    assert ctl(*on, "users", "activate", "p").status == 0
    assert [event["type"] for event in listener.heard()] == ["user_deactivated"]
    listener.close()


def test_T237_events_of_the_administrator_reach_the_webhooks(make_site, cell):
    """Deactivation and a new password are events of CONTRACT section 5."""
    site = make_site(private=True, mount='SocialAuthWebhook http://127.0.0.1:9/x "%s"' % WHSEC)
    site.expect_log("SA031")
    site.make_user("p@example.org", "p")
    on = ["-f", site.httpd.conf, "--httpd", paths.HTTPD]
    assert ctl(*on, "users", "deactivate", "p").status == 0
    assert ctl(*on, "users", "set-password", "p", "--password-stdin", stdin="x y z\n").status == 0
    assert {t for t, in site.db.query("SELECT type FROM sa_outbox")} == {
        "user_deactivated", "password_changed"}
