"""socialauthctl users, links, tokens and events: what administrators see and change."""
import os
import pty
import subprocess
import time
import uuid

import argon2
import pytest

from support import check, paths
from support.ctl import failed, on_database, on_site, refused_usage
from support.fake_provider import Reply
from support.site import STRONG

pytestmark = pytest.mark.db
WEBHOOK = 'SocialAuthWebhook http://127.0.0.1:9/x "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="'
NOW = int(time.time())


@pytest.fixture
def database(databases, cell):
    return databases.make(cell[1])


@pytest.fixture
def on(database):
    return on_database(database)


def make_user(on, email="ada@example.org", *arguments):
    done = on("--json", "users", "create", "--email", email, *(arguments or ["--no-password"]))
    return int(done.json()["id"])


def make_link(database, user, provider="github", issuer="https://github.com", subject="1", email=None):
    database.query("INSERT INTO sa_links (user_id, provider, issuer, subject, email, linked_at)"
                   " VALUES (?, ?, ?, ?, ?, 1795243799)", user, provider, issuer, subject, email)


def make_session(database, user, expires=NOW + 86400, **columns):
    sid = str(uuid.uuid4())
    row = {"sid": sid, "user_id": user, "jti": "j", "iat": NOW - 60, "exp": NOW + 3600,
           "expires": expires, "auth_time": NOW - 600, "amr": "pwd", "mount": "/api", **columns}
    database.query("INSERT INTO sa_sessions (%s) VALUES (%s)"
                   % (", ".join(row), ", ".join("?" * len(row))), *row.values())
    return sid


def make_event(database, name, dead=0, attempts=0, **columns):
    row = {"id": name, "type": "login_successful", "at": NOW, "targets": "https://hook.test/",
           "attempts": attempts,
           "next_attempt": NOW + 86400, "dead": dead, **columns}
    database.query("INSERT INTO sa_outbox (%s) VALUES (%s)"
                   % (", ".join(row), ", ".join("?" * len(row))), *row.values())


def live_sessions(database):
    return {sid for sid, in database.query("SELECT sid FROM sa_sessions WHERE revoked_at IS NULL")}


def iso(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


# ---- users

def test_show(on, database):
    user = make_user(on, "ada@example.org", "--username", "ada", "--first-name", "Zoë", "--staff",
                     "--no-password")
    make_user(on, "eve@example.org")
    make_link(database, user, email="ada@mail.example")
    make_session(database, user)
    make_session(database, user, expires=NOW - 1)
    make_session(database, user, revoked_at=NOW)
    for name in ("ADA@example.org", "ada", str(user)):
        assert on("--json", "users", "show", name).json() == {
            "id": user, "email": "ada@example.org", "username": "ada", "first_name": "Zoë",
            "last_name": "", "is_active": True, "is_staff": True, "is_superuser": False,
            "has_password": False, "email_verified": True, "sessions": 1,
            "links": [{"provider": "github", "issuer": "https://github.com", "subject": "1",
                       "email": "ada@mail.example", "linked_at": "2026-11-21T06:49:59Z"}]}, name
    shown = on("users", "show", "ada").out
    for line in ("id\t%d" % user, "email\tada@example.org", "name\tZoë -", "status\tactive, staff",
                 "password\tno", "sessions\t1", "link\tgithub\tada@mail.example"):
        assert line in shown.splitlines(), (line, shown)
    failed(on("users", "show", "nobody"), "no user")


def test_T231_a_name_cannot_talk_to_the_terminal(on, database):
    make_user(on)
    database.query("UPDATE sa_users SET username = ?, first_name = ?", "a\x1b[2Jb\n\x7f", "\u009b31m")
    for command in (["users", "list"], ["users", "show", "ada@example.org"]):
        out = on(*command).out
        assert "\\x1b[2Jb" in out, out
        assert not any(c in out for c in "\x1b\x7f\x9b"), out
    assert on("--json", "users", "list").json()[0]["username"] == "a\x1b[2Jb\n\x7f"


@pytest.mark.cell("event", "sqlite3")
def test_T102_broken_utf8_is_shown(on, database):
    make_user(on)
    database.query("UPDATE sa_users SET first_name = CAST(x'41ff' AS TEXT)")
    assert on("--json", "users", "list").json()[0]["first_name"] == "A\\xff"
    assert "A\\xff" in on("users", "show", "ada@example.org").out


@pytest.mark.parametrize("right", ["staff", "superuser"])
def test_rights(on, database, right):
    make_user(on)
    other = make_user(on, "eve@example.org")

    def rights(email="ada@example.org"):
        row = database.one("SELECT is_staff, is_superuser FROM sa_users WHERE email = ?", email)
        return tuple(map(bool, row))
    assert on("--json", "users", right, "ada@example.org").json()["is_" + right] is True
    assert rights() == (True, right == "superuser")
    done = on("users", right, "ada@example.org", "--off")
    assert done.status == 0 and "no longer " + right in done.out
    assert rights() == (right == "superuser", False)
    assert rights("eve@example.org") == (False, False) and other
    failed(on("users", right, "nobody"), "no user")


def test_T60_delete(make_site):
    site = make_site(mount=WEBHOOK)
    site.expect_log("SA031")
    user = site.make_user("p@example.org", "p")
    site.make_user("q@example.org", "q")
    tokens, others = (site.tokens(site.password_login(who + "@example.org")) for who in "pq")
    done = on_site(site)("users", "delete", "p", "--yes")
    assert done.status == 0 and done.out == "deleted user %s\n" % user, done.err
    check.refused(site.password_login("p@example.org"), "bad_credentials")
    for token, status in ((tokens["refresh"], 401), (others["refresh"], 200)):
        assert site.browser().post("token/verify/", {"token": token}).status == status
    assert site.db.value("SELECT count(*) FROM sa_users") == 2
    assert "inactive or deleted" in on_site(site)("users", "show", "p").out
    events = site.db.query("SELECT type, user_id FROM sa_outbox WHERE type = 'user_deleted'")
    assert [(t, str(u)) for t, u in events] == [("user_deleted", str(user))]


def test_delete_with_the_row(on, database):
    user = make_user(on)
    other = make_user(on, "eve@example.org")
    for who in (user, other):
        make_link(database, who, subject=str(who))
        make_session(database, who)
    assert on("--json", "users", "delete", str(user), "--purge", "--yes").json() == {
        "id": str(user), "deleted": True, "purged": True}
    for table, column in (("sa_users", "id"), ("sa_links", "user_id"), ("sa_sessions", "user_id")):
        assert database.query("SELECT %s FROM %s" % (column, table)) == [(other,)]
    failed(on("users", "delete", str(user), "--purge", "--yes"), "no user")


def test_delete_what_others_refer_to(on, database):
    user = make_user(on)
    database.query("CREATE TABLE orders (owner bigint REFERENCES sa_users (id))")
    database.query("INSERT INTO orders VALUES (?)", user)
    failed(on("users", "delete", str(user), "--purge", "--yes"), "other tables refer", "without --purge")
    assert database.counts()["sa_users"] == 1
    assert on("users", "delete", str(user), "--yes").status == 0


def test_delete_needs_a_mark(databases, cell):
    database = databases.make(cell[1], migrated=False)
    database.query("CREATE TABLE people (id integer PRIMARY KEY, email text, username text,"
                   " first_name text, last_name text, password text, is_active boolean,"
                   " is_staff boolean, is_superuser boolean, date_joined text, last_login text)")
    database.query("INSERT INTO people (id, email, username) VALUES (7, 'ada@example.org', 'ada')")

    def on(*arguments):
        return on_database(database)("--user-table", "people", *arguments)
    assert on("migrate").status == 0
    failed(on("users", "delete", "ada", "--yes"), "SocialAuthUserDeletedField", "--purge")
    assert on("users", "delete", "ada", "--purge", "--yes").status == 0
    assert database.query("SELECT id FROM people") == []


def at_a_terminal(database, answer, *command):
    """-> exit status, what was asked and said"""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [paths.CTL, "--driver", database.driver, "--params", database.params, *command],
        stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=paths.server_environment())
    os.close(slave)
    os.write(master, answer.encode())
    out = process.communicate(timeout=30)[0]
    os.close(master)
    return process.returncode, out


def test_delete_asks(on, database):
    user = make_user(on)
    failed(on("users", "delete", str(user), stdin="y\n"), "--yes")
    for answer in ("n\n", "\n", "yesterday\n"):
        status, said = at_a_terminal(database, answer, "users", "delete", str(user))
        assert status == 1 and "ada@example.org" in said and "nothing was done" in said, said
    assert database.value("SELECT count(*) FROM sa_users WHERE deleted_at IS NULL") == 1
    status, said = at_a_terminal(database, "y\n", "users", "delete", str(user))
    assert status == 0 and "[y/N]" in said, said
    assert database.value("SELECT count(*) FROM sa_users WHERE deleted_at IS NULL") == 0


# ---- passwords asked for

def at_the_prompts(database, answers, *command):
    """-> exit status, all that the terminal showed"""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(paths.CTL, [paths.CTL, "--driver", database.driver, "--params", database.params,
                              *command], paths.server_environment())
    shown = b""
    for answer in answers:
        asked = len(shown)
        while not shown[asked:].endswith(b": "):    # what is typed earlier is dropped
            shown += os.read(terminal, 4096)
        os.write(terminal, answer.encode() + b"\n")
    try:
        while True:
            shown += os.read(terminal, 4096)
    except OSError:                                 # nobody holds the other end any more
        os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


def is_the_password(database, password):
    stored = database.value("SELECT password FROM sa_users")
    try:
        return argon2.PasswordHasher().verify(stored[stored.index("$argon2id"):], password)
    except argon2.exceptions.VerifyMismatchError:
        return False


CREATE = "users", "create", "--email", "ada@example.org"
NEW = "another horse of the battery 8"


def test_password_is_asked_for_twice(on, database):
    for command, password in ((CREATE, STRONG), (("users", "set-password", "ada"), NEW)):
        status, shown = at_the_prompts(database, [password, password], *command)
        assert status == 0, shown
        assert shown.index("Password: ") < shown.index("Password (again): ")
        assert password not in shown and password[:8] not in shown, shown
        assert is_the_password(database, password)
    failed(on("users", "set-password", "ada"), "--password-stdin")
    assert is_the_password(database, NEW)


@pytest.mark.parametrize("answers, why", [
    ((STRONG, STRONG + "x"), "the two passwords differ"), ((STRONG, ""), "the two passwords differ"),
    (("", ""), "a password of 1 to 4096 bytes is needed")])
def test_passwords_that_differ_change_nothing(database, answers, why):
    status, shown = at_the_prompts(database, answers, *CREATE)
    assert status == 1 and shown.count("socialauthctl: ") == 1 and why in shown, shown
    assert database.counts()["sa_users"] == 0
    status, shown = at_the_prompts(database, [NEW, NEW], *CREATE)
    assert status == 0, shown
    make_session(database, database.value("SELECT id FROM sa_users"))
    status, shown = at_the_prompts(database, answers, "users", "set-password", "ada")
    assert status == 1 and shown.count("socialauthctl: ") == 1 and why in shown, shown
    assert is_the_password(database, NEW) and live_sessions(database)


# ---- links

def test_links_list(on, database):
    user = make_user(on)
    assert on("links", "list", str(user)).out == "" and on("--json", "links", "list", "ada").json() == []
    make_link(database, user)
    assert on("links", "list", "ada").out == (
        "github\thttps://github.com\t1\t-\t2026-11-21T06:49:59Z\n")
    assert on("--json", "links", "list", "ada").json() == [
        {"provider": "github", "issuer": "https://github.com", "subject": "1", "email": None,
         "linked_at": "2026-11-21T06:49:59Z"}]
    failed(on("links", "list", "nobody"), "no user")


def test_T56_the_last_way_in(on, database):
    user = make_user(on)
    make_link(database, user)
    failed(on("links", "delete", "ada", "github"), "only way", "--force")
    make_link(database, user, "google", "https://accounts.google.com")
    failed(on("links", "delete", "ada", "facebook"), "no link of facebook")
    assert on("--json", "links", "delete", "ada", "github").json() == {
        "id": str(user), "provider": "github", "deleted": True}
    failed(on("links", "delete", "ada", "google"), "--force")
    assert on("links", "delete", "ada", "google", "--force").status == 0
    assert database.counts()["sa_links"] == 0


def test_a_password_is_a_way_in(on, database):
    user = make_user(on)
    make_link(database, user)
    assert on("users", "set-password", "ada", "--password-stdin", stdin=STRONG + "\n").status == 0
    assert on("links", "delete", "ada", "github").status == 0


def test_link_of_an_inactive_user(on, database):
    make_link(database, make_user(on))
    on("users", "deactivate", "ada")
    failed(on("links", "delete", "ada", "github"), "inactive", "--force")
    assert on("links", "delete", "ada", "github", "--force").status == 0


def test_two_links_of_one_name(on, database):
    user = make_user(on)
    make_link(database, user, "corp", "https://old.example")
    make_link(database, user, "corp", "https://new.example")
    failed(on("links", "delete", "ada", "corp"), "issuer")
    assert on("links", "delete", "ada", "https://old.example").status == 0
    assert database.value("SELECT issuer FROM sa_links") == "https://new.example"


def test_T56_ways_in_of_the_configuration(make_site):
    """Neither a link to a provider that is gone nor a password nobody asks for is a way in."""
    site = make_site(mount="SocialAuthPasswordLogin Off\n" + WEBHOOK)
    site.expect_log("SA031")
    user = site.make_user("p@example.org", "p")
    make_link(site.db, user, issuer="https://github.com")
    make_link(site.db, user, "gone", "https://gone.example")
    failed(on_site(site)("links", "delete", "p", "github"), "only way")
    assert site.db.counts()["sa_outbox"] == 0
    assert on_site(site)("links", "delete", "p", "gone").status == 0
    assert site.db.query("SELECT type, provider FROM sa_outbox") == [
        ("unlink_account_successful", "gone")]
    assert on_site(site)("links", "delete", "p", "github", "--force").status == 0
    assert ("unlink_account_successful", "github") in site.db.query(
        "SELECT type, provider FROM sa_outbox")


# ---- sessions

def test_tokens_list(on, database):
    user = make_user(on)
    make_session(database, make_user(on, "eve@example.org"))
    assert on("tokens", "list", "ada").out == "" and on("--json", "tokens", "list", "ada").json() == []
    old = make_session(database, user, auth_time=NOW - 9000)
    sid = make_session(database, user, client_id="app", scope="read")
    make_session(database, user, expires=NOW - 1)
    assert on("--json", "tokens", "list", "ada").json()[0] == {
        "sid": sid, "made": iso(NOW - 600), "refreshed": iso(NOW - 60),
        "refresh_expires": iso(NOW + 3600), "expires": iso(NOW + 86400), "mount": "/api",
        "client_id": "app", "scope": "read", "amr": "pwd"}
    assert on("tokens", "list", "ada").out.splitlines() == [
        "\t".join([sid, iso(NOW - 600), iso(NOW - 60), iso(NOW + 86400), "/api", "app", "pwd"]),
        "\t".join([old, iso(NOW - 9000), iso(NOW - 60), iso(NOW + 86400), "/api", "-", "pwd"])]
    failed(on("tokens", "list", "nobody"), "no user")


def test_tokens_revoke(make_site):
    site = make_site(mount=WEBHOOK)
    site.expect_log("SA031")
    on = on_site(site)
    user = site.make_user("p@example.org", "p")
    first, second, third = (site.tokens(site.password_login("p@example.org")) for _ in range(3))

    def alive():
        return [site.browser().post("token/verify/", {"token": t["refresh"]}).status == 200
                for t in (first, second, third)]
    listed = on("--json", "tokens", "list", "p").json()
    assert len(listed) == 3 and alive() == [True] * 3
    assert on("--json", "tokens", "revoke", listed[0]["sid"]).json() == {"id": str(user), "revoked": 1}
    assert sum(alive()) == 2
    assert on("--json", "tokens", "revoke", listed[0]["sid"]).json()["revoked"] == 0
    failed(on("tokens", "revoke", "nothing"), "no session nothing")

    def events():
        return [(t, str(u)) for t, u in site.db.query(
            "SELECT type, user_id FROM sa_outbox WHERE type = 'sessions_revoked'")]
    assert events() == [("sessions_revoked", str(user))]
    done = on("tokens", "revoke", "--user", "p")
    assert done.status == 0 and done.out == "ended 2 sessions of user %s\n" % user
    assert alive() == [False] * 3
    assert on("--json", "tokens", "revoke", "--user", "p").json()["revoked"] == 0
    assert events() == [("sessions_revoked", str(user))] * 2
    check.signed_in(site.password_login("p@example.org"))


@pytest.mark.cell("event", "pgsql")
def test_notify_of_ended_sessions(make_site):
    site = make_site(mount="SocialAuthNotify On")
    user = site.make_user("p@example.org", "p")
    make_link(site.db, user)
    make_session(site.db, user)
    listener = site.db.listen()
    for command in (["tokens", "revoke", "--user", "p"], ["tokens", "revoke", "--user", "p"],
                    ["links", "delete", "p", "github"], ["users", "delete", "p", "--yes"]):
        assert on_site(site)(*command).status == 0
    assert [event["type"] for event in listener.heard()] \
        == ["sessions_revoked", "unlink_account_successful", "user_deleted"]
    listener.close()


def test_tokens_revoke_all(on, database):
    users = [make_user(on, "u%d@example.org" % n) for n in range(3)]
    kept = make_session(database, users[0], revoked_at=5)
    for user in users:
        make_session(database, user)
    failed(on("tokens", "revoke", "--all"), "--yes")
    assert len(live_sessions(database)) == 3
    assert on("--json", "tokens", "revoke", "--all", "--yes").json() == {"revoked": 3}
    assert live_sessions(database) == set()
    assert database.value("SELECT revoked_at FROM sa_sessions WHERE sid = ?", kept) == 5
    assert on("tokens", "revoke", "--all", "--yes").out == "ended 0 sessions\n"


@pytest.mark.parametrize("arguments", [
    ["tokens", "revoke"], ["tokens", "revoke", "x", "--all"], ["tokens", "revoke", "x", "--user", "p"],
    ["tokens", "revoke", "--user", "p", "--all"], ["tokens", "revoke", "x", "y"], ["tokens", "list"],
    ["events", "retry"], ["events", "retry", "x", "--all"], ["events", "list", "--all"],
    ["links", "delete", "p"], ["users", "delete", "--yes"], ["users", "show", "p", "--purge"],
    ["users", "staff", "p", "--off", "--yes"],
], ids=" ".join)
@pytest.mark.cell("event", "sqlite3")
def test_usage(on, arguments):
    refused_usage(on(*arguments))


# ---- events

def test_events(on, database):
    assert on("events", "list").out == "" and on("--json", "events", "list").json() == []
    user = make_user(on)
    make_event(database, "evt_waits", attempts=2, user_id=user, provider="github", at=NOW - 5,
               request_id="r")
    make_event(database, "evt_dead", dead=1, attempts=10)
    make_event(database, "evt_dead2", dead=1, attempts=10)
    assert on("--json", "events", "list", "--limit", "1").json() == [
        {"id": "evt_waits", "type": "login_successful", "user_id": str(user), "provider": "github",
         "request_id": "r", "time": iso(NOW - 5), "targets": "https://hook.test/", "attempts": 2,
         "next_attempt": iso(NOW + 86400), "dead": False}]
    lines = on("events", "list").out.splitlines()
    assert lines[0] == "\t".join(["evt_waits", iso(NOW - 5), "login_successful", str(user), "2",
                                  iso(NOW + 86400), "https://hook.test/"])
    assert [line.split("\t")[5] for line in lines[1:]] == ["dead", "dead"]
    assert [e["id"] for e in on("--json", "events", "list", "--dead").json()] == [
        "evt_dead", "evt_dead2"]

    failed(on("events", "retry", "evt_nothing"), "evt_nothing")
    assert on("events", "retry", "evt_dead").out == "1 event is due now\n"
    assert on("--json", "events", "retry", "--all").json() == {"retried": 1}
    assert on("--json", "events", "retry", "--all").json() == {"retried": 0}
    assert on("events", "list", "--dead").out == ""
    rows = dict(database.query("SELECT id, attempts FROM sa_outbox"))
    assert rows == {"evt_waits": 2, "evt_dead": 0, "evt_dead2": 0}
    assert on("events", "retry", "evt_waits").status == 0
    assert database.value("SELECT count(*) FROM sa_outbox WHERE next_attempt <= ?", time.time()) == 3


def test_T235_a_retried_event_is_delivered(make_site, provider):
    """Dead because its receiver was away; the receiver is back."""
    provider.script("/hook", Reply(204))
    site = make_site(private=True, modules=["watchdog"],
                     mount=WEBHOOK.replace("http://127.0.0.1:9/x", provider.url + "/hook"))
    make_event(site.db, "evt_again", dead=1, attempts=10, targets=provider.url + "/hook")
    assert on_site(site)("events", "retry", "--all").status == 0
    site.httpd.wait_for(lambda: site.db.counts()["sa_outbox"] == 0, "the delivery")
    assert [r.headers["webhook-id"] for r in provider.asked("/hook")] == ["evt_again"]
