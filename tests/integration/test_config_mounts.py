"""What right configurations become: mounts and merges, the reference, a running server."""
import glob
import grp
import os
import pwd
import re
import signal
import socket
import subprocess
import time

import pytest

from support.config_bench import (SECRET, WHSEC, Bench, is_check_error, is_one_sentence_about)
from support.paths import HTTPD, TOP, server_environment
from support.pki import Authority
from support.ports import free_port

REFERENCE = os.path.join(TOP, "conf", "social_auth.conf.reference")


@pytest.fixture
def bench():
    return Bench()


# ---- what a mount needs

def test_base_url_missing(bench):
    is_check_error(bench.test(base_url=None), "SocialAuthBaseURL is missing",
                   "https://www.example.org")


def test_base_url_without_tls_is_a_warning(bench):
    result = bench.test(base_url="http://www.example.org")
    assert result.code == 0, result.err
    assert "is not https" in result.err
    for fine in ("http://localhost:8080", "http://127.0.0.1:8080", "https://www.example.org"):
        result = bench.test(base_url=fine)
        assert result.code == 0 and "is not https" not in result.err


def test_credentials_without_origin_is_a_warning(bench):
    result = bench.test(["SocialAuthAllowCredentials On"])
    assert result.code == 0
    assert "SocialAuthAllowCredentials On has no effect" in result.err


def test_mod_dbd_missing(bench):
    result = bench.test_raw(['<Location "/a">', "SetHandler social-auth",
                             "SocialAuthBaseURL https://www.example.org",
                             "SocialAuthSecret " + SECRET, "</Location>"], without=("dbd",))
    is_check_error(result, "mod_dbd is not loaded", "LoadModule dbd_module", "DBDriver pgsql",
                   "DBDriver sqlite3", "DBDParams")


def test_driver_missing(bench):
    is_check_error(bench.test(database=None), "DBDriver is missing", "DBDriver pgsql",
                   "DBDriver sqlite3")


def test_params_missing(bench):
    is_check_error(bench.test(database=None, server=["DBDriver sqlite3"]), "DBDParams is missing")


def test_driver_of_another_kind(bench):
    found = {name for path in glob.glob("/usr/lib/*/apr-util-1/apr_dbd_*.so")
             for name in [os.path.basename(path)[8:-3].split("-")[0]]}
    other = sorted(found - {"pgsql", "sqlite3"})
    if not other:
        result = bench.test(database="mysql")
        assert result.code != 0 and "mysql" in result.err       # mod_dbd's own refusal
        return
    is_check_error(bench.test(database=other[0]), "DBDriver %s cannot be used" % other[0],
                   "pgsql or sqlite3")


def test_more_connections_than_the_pool_has(bench):
    is_check_error(bench.test(server=["SocialAuthDBConnections 11"]),
                   "SocialAuthDBConnections 11", "DBDMax, which is 10")
    is_check_error(bench.test(server=["DBDMax 3", "SocialAuthDBConnections 4"]),
                   "DBDMax, which is 3")
    assert bench.mounts(server=["DBDMax 3"])[0]["db_connections"] == 3
    mount, = bench.mounts(server=["DBDMax 20", "SocialAuthDBConnections 20"])
    assert mount["db_connections"] == 20


def test_user_map_rules(bench):
    is_check_error(bench.test(["SocialAuthUserColumn email=mail"]), "needs SocialAuthUserTable")
    is_check_error(bench.test(["SocialAuthUserDeletedField gone"]), "needs SocialAuthUserTable")
    is_check_error(bench.test(["SocialAuthUserTable auth_user", "SocialAuthEmailLinking reclaim"]),
                   "SocialAuthEmailLinking reclaim cannot be used", "verified, always or never")
    mount, = bench.mounts(["SocialAuthUserTable app.people", "SocialAuthUserDeletedField gone",
                           "SocialAuthUserColumn id=pk email=mail",
                           "SocialAuthUserColumn username="])
    assert mount["user_table"] == "app.people"
    assert mount["user_columns"]["id"] == "pk" and mount["user_columns"]["email"] == "mail"
    assert mount["user_columns"]["username"] == "" and mount["user_deleted"] == "gone"
    assert mount["user_columns"]["password"] is None


# ---- providers

RESERVED = ["token", "linked-accounts", "create", "convert-token", "revoke-token",
            "invalidate-sessions", "invalidate-refresh-tokens", "disconnect-backend",
            "currentUser", "all", "password", "email", "sessions", "login", "complete",
            "authorize", "introspect", ".well-known", "openapi.json", "TOKEN"]


@pytest.mark.parametrize("name", RESERVED)
def test_T19_provider_named_like_a_path(bench, name):
    line = "SocialAuthProvider %s type=github client-id=a client-secret=b" % name
    is_one_sentence_about(bench.test([line]), line, "path of the API itself")


def test_T19_provider_without_credentials_is_disabled_and_said_once(bench):
    result = bench.test(["SocialAuthProvider github client-id=a",
                         "SocialAuthProvider google client-id="],
                        after=["<VirtualHost *:1>", "</VirtualHost>"], dump=True)
    for mount in result.mounts():
        reasons = {each["name"]: each["disabled_because"] for each in mount["providers"]}
        assert "client-secret" in reasons["github"] and "client-id" in reasons["google"]
    for name, value in (("github", "client-secret"), ("google", "client-id")):
        lines = [line for line in result.err.splitlines()
                 if "SocialAuthProvider %s is disabled" % name in line]
        assert len(lines) == 1 and value in lines[0], result.err
        assert ":%d: " % result.line_of("SocialAuthProvider " + name) in lines[0]


def test_T19_provider_twice_in_one_scope(bench):
    for second in ("github", "google-oauth2"):
        first = "google" if second != "github" else "github"
        result = bench.test(["SocialAuthProvider %s client-id=a" % first,
                             "SocialAuthProvider %s client-id=b" % second])
        is_one_sentence_about(result, "SocialAuthProvider %s client-id=b" % second,
                              "configured already at", ":%d;" % result.line_of("client-id=a"))


def test_provider_secret_from_file(bench):
    secret = bench.file("github", "secret-of-github\n")
    mount, = bench.mounts(["SocialAuthProvider github client-id=a client-secret=file:" + secret])
    assert mount["providers"][0]["disabled_because"] is None
    os.chmod(secret, 0o644)
    result = bench.test(["SocialAuthProvider github client-id=a client-secret=file:" + secret])
    assert result.code != 0 and "client-secret: file %s is open to everybody" % secret in result.err


def test_provider_limits(bench):
    bundle = Authority("limits").ca
    two = bench.mounts(["SocialAuthTimeout connect=500ms total=3", "SocialAuthMaxResponse 2K",
                        "SocialAuthCABundle " + bundle,
                        "SocialAuthOutgoingProxy http://127.0.0.1:3128"],
                       server=["SocialAuthProvider github client-id=a client-secret=b",
                               '<Location "/other">', "SetHandler social-auth", "</Location>",
                               "SocialAuthBaseURL https://www.example.org",
                               'SocialAuthSecret "%s"' % SECRET], base_url=None, secret=None)
    by_path = {mount["mount"]: mount["providers"][0] for mount in two}
    mine, other = by_path["/api/social-auth"], by_path["/other"]
    assert (mine["connect_ms"], mine["total_ms"], mine["max_response"]) == (500, 3000, 2048)
    assert (mine["ca_bundle"], mine["proxy"]) == (bundle, "http://127.0.0.1:3128")
    assert (other["connect_ms"], other["total_ms"], other["max_response"]) == (2000, 10000, 1048576)
    assert other["ca_bundle"] is None and other["proxy"] is None
    short, = bench.mounts(["SocialAuthTimeout total=1",
                           "SocialAuthProvider github client-id=a client-secret=b"])
    assert short["providers"][0]["connect_ms"] == short["providers"][0]["total_ms"] == 1000


# ---- merging

def test_T225_inner_scopes_win(bench):
    mounts = bench.mounts(
        ["SocialAuthLeeway 3", "SocialAuthProvider google client-id=inner"],
        server=["SocialAuthLeeway 1", "SocialAuthStateMaxAge 100", "SocialAuthMaxTokenAge 60",
                "SocialAuthRotateRefreshTokens Off",
                "SocialAuthProvider google-oauth2", "SocialAuthProvider github",
                '<Location "/api">', "SocialAuthLeeway 2", "SocialAuthStateMaxAge 200",
                "SocialAuthAllowOrigin https://a.example https://b.example", "</Location>"],
        after=["<VirtualHost *:1>", "ServerName host.example", "SocialAuthMaxTokenAge 70",
               "SocialAuthRotateRefreshTokens On",
               '<Location "/api/social-auth">', "SocialAuthLeeway 4",
               "SocialAuthAllowOrigin https://c.example", "</Location>", "</VirtualHost>"])
    main, host = mounts
    assert main["server"].startswith("localhost") and host["server"].startswith("host.example")
    assert main["settings"]["leeway"] == 3 and host["settings"]["leeway"] == 4
    assert main["settings"]["state_max_age"] == host["settings"]["state_max_age"] == 200
    assert main["settings"]["max_token_age"] == 60 and host["settings"]["max_token_age"] == 70
    assert not main["settings"]["rotate"] and host["settings"]["rotate"]
    assert main["allow_origins"] == ["https://a.example", "https://b.example"]
    assert host["allow_origins"] == ["https://c.example"]
    names = {each["name"]: each["disabled_because"] for each in main["providers"]}
    assert names["google"] is None and names["github"] is not None and len(names) == 2


def test_virtual_hosts_have_their_own_mounts_and_databases(bench):
    mounts = bench.mounts(after=[
        "<VirtualHost *:1>", "ServerName one.example", "DBDParams /one.db", "DBDMax 2",
        '<Location "/api/social-auth">', "SetHandler none", "</Location>",
        '<Location "/auth/">', "SetHandler social-auth", "SocialAuthBaseURL https://one.example",
        'SocialAuthSecret "%s"' % SECRET, "</Location>", "</VirtualHost>",
        "<VirtualHost *:2>", "ServerName two.example", "DBDriver pgsql",
        "DBDParams \"host=/run dbname=two\"", "</VirtualHost>"])
    seen = [(mount["server"].split(":")[0], mount["mount"], mount["driver"], mount["params"],
             mount["db_connections"]) for mount in mounts]
    assert sorted(seen) == [
        ("localhost", "/api/social-auth", "sqlite3", bench.path("users.db"), 4),
        ("one.example", "/auth", "sqlite3", "/one.db", 2),
        ("two.example", "/api/social-auth", "pgsql", "host=/run dbname=two", 4)]


def test_nested_mount_inherits(bench):
    mounts = bench.mounts(["SocialAuthLeeway 7"], after=[
        '<Location "/api/social-auth/inner">', "SetHandler social-auth", "SocialAuthStateMaxAge 9",
        "</Location>"])
    by_path = {mount["mount"]: mount["settings"] for mount in mounts}
    assert by_path["/api/social-auth/inner"]["leeway"] == 7
    assert by_path["/api/social-auth/inner"]["state_max_age"] == 9
    assert by_path["/api/social-auth"]["state_max_age"] == 300
    assert by_path["/api/social-auth/inner"]["issuer"].endswith("/api/social-auth/inner")


def test_neighbour_with_the_same_beginning_is_not_inside(bench):
    is_check_error(bench.test(after=['<Location "/api/social">', "SocialAuthLeeway 9", "</Location>"]),
                   '"/api/social"', "no effect")


def test_directives_that_configure_no_mount(bench):
    is_check_error(bench.test(after=['<Location "/elsewhere">', "SocialAuthLeeway 9", "</Location>"]),
                   '"/elsewhere"', "no effect", "no SetHandler social-auth")
    for outer in ("/api", "/"):
        mount, = bench.mounts(after=['<Location "%s">' % outer, "SocialAuthLeeway 9", "</Location>"])
        assert mount["settings"]["leeway"] == 9


def test_one_user_table_on_one_database(bench):
    """Links and sessions refer to one table's people."""
    def second(*lines):
        return ['<Location "/two">', "SetHandler social-auth", "SocialAuthBaseURL https://www.example.org",
                'SocialAuthSecret "%s"' % SECRET, *lines, "</Location>"]
    table = "SocialAuthUserTable people"
    for line in (table, "SocialAuthUserTable sa_users"):
        is_check_error(bench.test(after=second(line)), "/two", "SocialAuthUserTable", "same database")
    is_check_error(bench.test([table], after=second(table, "SocialAuthUserDeletedField gone")),
                   "/two", "SocialAuthUserDeletedField", "same database")
    assert len(bench.mounts(after=second())) == 2
    assert len(bench.mounts([table], after=second(table))) == 2


def test_mount_at_the_root(bench):
    mounts = bench.test_raw(
        ["DBDriver sqlite3", "DBDParams x", '<Location "/">', "SetHandler social-auth",
         "SocialAuthBaseURL https://www.example.org/", 'SocialAuthSecret "%s"' % SECRET,
         "</Location>"], "-D", "DUMP_SOCIAL_AUTH").mounts()
    assert [mount["mount"] for mount in mounts] == [""]
    assert mounts[0]["settings"]["issuer"] == "https://www.example.org"


def test_another_handler_inside_a_mount(make_site):
    """Some of its paths are somebody else's: of the deepest section that says so."""
    site = make_site(private=True, more="""
<Location "/api/social-auth/inner">
SetHandler server-status
</Location>
<Location "/api/social-auth/inner/deep/">
SetHandler social-auth
</Location>
<Location "/api/social-auth/inner/deep/down">
SetHandler server-status
</Location>""")
    browser = site.browser(held=False)

    def is_ours(path):
        answer = browser.get(path)
        if answer.status == 200:
            assert b"Apache Server Status" in answer.body, answer
            return False
        assert answer.status == 404 and answer.header("Content-Type") == "application/json", answer
        return True
    for path, ours in (("inne", 1), ("inner", 0), ("inner/", 0), ("inner/x", 0), ("inner2", 1), ("inner/deep", 1),
                       ("inner/deep/x", 1), ("inner/deep/down", 0), ("inner/deep/down/x", 0), ("x/inner", 1),
                       ("inner/../x", 1), ("%69nner", 0)):
        assert is_ours(path) == bool(ours), path


def test_later_sethandler_takes_the_mount_away(bench):
    assert bench.mounts(after=['<Location "/api">', "SetHandler none", "</Location>"]) == []


def test_inside_ifmodule_and_include(bench):
    bench.file("part.conf", "<IfModule mod_dbd.c>\nSocialAuthLeeway 6\n</IfModule>\n")
    mount, = bench.mounts(['<IfModule mod_dbd.c>', "Include " + bench.path("part.conf"),
                           "</IfModule>"])
    assert mount["settings"]["leeway"] == 6


# ---- the reference

def reference_entries():
    with open(REFERENCE, encoding="utf-8") as file:
        blocks = re.split(r"\n\s*\n", file.read())
    for block in blocks:
        if re.match(r"# SocialAuth\w+ ", block):
            default = re.search(r"^#   Default: +(.*)", block, re.M).group(1)
            for line in re.findall(r"^#(SocialAuth\w+ .*)", block, re.M):
                yield line, default


def _prepared(bench, line):
    """The line with this test's files in the place of the example's."""
    folder = "/etc/apache2/social-auth/"
    for name in re.findall(re.escape(folder) + r"([\w-]+(?:\.txt)?)", line):
        bench.file(name, {"webhook": WHSEC}.get(name, SECRET))
    return line.replace(folder, bench.root + "/")


SMTP, FROM = ["SocialAuthSMTP smtp://mail.example.org"], ["SocialAuthMailFrom a@site.example"]
ENTRIES = list(reference_entries())


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry[0].split(" ")[0][10:] for entry in ENTRIES])
def test_reference_lines_work_and_defaults_are_true(bench, entry):
    line, default = entry
    name = line.split()[0]
    server_level = name in ("SocialAuthDBConnections", "SocialAuthSharedMemory",
                            "SocialAuthHashConcurrency")
    companions = {"SocialAuthUserColumn": ["SocialAuthUserTable auth_user"],
                  "SocialAuthUserDeletedField": ["SocialAuthUserTable auth_user"],
                  "SocialAuthSMTP": FROM, "SocialAuthEmailVerification": SMTP + FROM,
                  "SocialAuthSecurityMails": SMTP + FROM,
                  "SocialAuthMailTemplates": ["#"],
                  "SocialAuthProvider": []}.get(name, ["SocialAuthProvider google client-id=a"])
    kwargs = {"base_url": None} if name == "SocialAuthBaseURL" else {}
    kwargs.update({"secret": None} if name == "SocialAuthSecret" else {})
    if name == "SocialAuthMailTemplates":
        os.mkdir(bench.path("mail"))
        line = line.replace("/etc/apache2/social-auth", bench.root)
    lines = [_prepared(bench, line)]
    with_line = bench.mounts(companions + ([] if server_level else lines),
                             server=lines if server_level else [], **kwargs)
    if line.split(" ", 1)[1] == default:
        assert with_line == bench.mounts(companions + ([] if server_level else ["#"]),
                                         server=["#"] if server_level else [])


def test_the_shipped_example_works(bench):
    with open(os.path.join(TOP, "conf", "social_auth.conf"), encoding="utf-8") as file:
        text = file.read()
    assert len(text.splitlines()) <= 15
    result = bench.test_raw([_prepared(bench, text)], "-D", "DUMP_SOCIAL_AUTH")
    mount, = result.mounts()
    assert [each["disabled_because"] for each in mount["providers"]] == [None, None]
    assert "SA01" not in result.err


# ---- other modes of httpd

def test_htaccess_is_refused(bench):
    root = bench.path("htdocs")
    os.mkdir(root)
    port = free_port()
    with open(os.path.join(root, ".htaccess"), "w", encoding="utf-8") as file:
        file.write("SocialAuthLeeway 5\n")
    ready = bench.test(server=_runtime_lines(port) + [
        "DocumentRoot " + root, '<Directory "%s">' % root, "AllowOverride All", "</Directory>"])
    assert ready.code == 0, ready.err
    running = Running(bench)
    with running:
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            client.sendall(b"GET /x HTTP/1.0\r\n\r\n")
            assert b" 500 " in client.recv(100)
    assert "%s/.htaccess: SocialAuthLeeway not allowed here" % root in running.said, running.said


def test_showing_the_configuration_reads_no_secret(bench):
    ran = bench.path("ran")
    program = bench.file("print.sh", "#!/bin/sh\ntouch %s\necho %s\n" % (ran, SECRET), 0o700)
    lines = ["SocialAuthProvider github client-id=a client-secret=file:/nonexistent/x",
             'SocialAuthSecret "exec:%s"' % program, "SocialAuthJWTKey file:/nonexistent/y"]
    bench.test(lines, secret=None)
    if os.path.exists(ran):
        os.unlink(ran)
    shown = bench.run("-S")
    assert shown.code == 0, shown.err
    assert not os.path.exists(ran)


def _log(bench):
    try:
        with open(bench.path("error.log"), encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _refuses(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return False
    except ConnectionRefusedError:
        return True


def _wait_for(what, seconds=15):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.05)
    return False


def _runtime_lines(port):
    lines = ["Listen 127.0.0.1:%d" % port]
    if os.geteuid() == 0:
        user = pwd.getpwnam("www-data")
        lines += ["User " + user.pw_name, "Group " + grp.getgrgid(user.pw_gid).gr_name]
    return lines


class Running:
    """The configuration in bench.conf as a server, for as long as the block lasts."""

    def __init__(self, bench):
        self.bench = bench

    def __enter__(self):
        self.process = subprocess.Popen([HTTPD, "-DFOREGROUND", "-f", self.bench.conf],
                                        stderr=subprocess.PIPE, text=True,
                                        env=server_environment())
        if not _wait_for(lambda: "resuming normal operations" in _log(self.bench)):
            self.__exit__()
            raise AssertionError("httpd did not start: " + self.said)
        return self.process

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
        self.said = self.process.communicate(timeout=20)[1] + _log(self.bench)


@pytest.mark.parametrize("damage", ["emptied", "removed", "opened"])
def test_T224_reload_with_a_bad_key_never_serves(bench, damage):
    port = free_port()
    key = bench.file("key", SECRET)
    ready = bench.test(["SocialAuthJWTKey file:" + key], server=_runtime_lines(port))
    assert ready.code == 0, ready.err
    running = Running(bench)
    with running as server:
        {"emptied": lambda: bench.file("key", ""), "removed": lambda: os.unlink(key),
         "opened": lambda: os.chmod(key, 0o644)}[damage]()
        server.send_signal(signal.SIGUSR1)
        assert _wait_for(lambda: server.poll() is not None), "httpd went on with a bad key"
        assert server.returncode > 0, "killed by signal %d" % -server.returncode
        assert _wait_for(lambda: _refuses(port)), "somebody still answers"
    assert "SocialAuthJWTKey: file %s" % key in running.said, running.said
    assert SECRET not in running.said


def test_start_says_disabled_providers_once(bench):
    ready = bench.test(["SocialAuthProvider google"], server=_runtime_lines(free_port()))
    assert ready.code == 0, ready.err
    running = Running(bench)
    with running:
        pass
    assert running.said.count("SocialAuthProvider google is disabled at /api/social-auth: "
                              "client-id is missing") == 1, running.said


def test_one_webhook_has_one_secret_on_one_database(bench):
    """The outbox knows a receiver by its URL."""
    mounts = []
    for path, secret in (("/a", WHSEC), ("/b", "whsec_" + "QUJD" * 12)):
        mounts += ['<Location "%s">' % path, "SetHandler social-auth",
                   "SocialAuthBaseURL https://www.example.org", 'SocialAuthSecret "%s"' % SECRET,
                   "SocialAuthWebhook https://hooks.example.org/x " + secret, "</Location>"]
    database = ["DBDriver sqlite3", "DBDParams " + bench.path("site.db")]
    result = bench.test_raw(database + mounts)
    assert result.code != 0 and "another secret" in result.err, result.err
    same = [line.replace("whsec_" + "QUJD" * 12, WHSEC) for line in mounts]
    assert bench.test_raw(database + same).code == 0


# ---- mails

def mail_settings(bench, *lines, **kw):
    return bench.mounts(list(lines), **kw)[0]["settings"]


def test_mail_rules(bench):
    is_check_error(bench.test(SMTP), "SocialAuthMailFrom is missing")
    for line in ("SocialAuthEmailVerification required", "SocialAuthEmailVerification optional",
                 "SocialAuthSecurityMails On"):
        is_check_error(bench.test([line]), line.split()[0], "needs SocialAuthSMTP")
        is_check_error(bench.test([line, "SocialAuthSMTP off"], server=SMTP), "needs SocialAuthSMTP")
    off, on = mail_settings(bench), mail_settings(bench, *SMTP, *FROM)
    assert (off["mails"], off["email_verification"], off["security_mails"]) == (False, "off", False)
    assert (on["mails"], on["email_verification"], on["security_mails"]) == (True, "optional", True)


def test_verification_needs_a_column_for_it(bench):
    table = SMTP + FROM + ["SocialAuthUserTable auth_user"]
    for word in ("optional", "required"):
        is_check_error(bench.test(table + ["SocialAuthEmailVerification " + word]),
                       "SocialAuthUserColumn email_verified=COLUMN")
        named = mail_settings(bench, *table, "SocialAuthEmailVerification " + word,
                              "SocialAuthUserColumn email_verified=confirmed")
        assert named["email_verification"] == word
    assert mail_settings(bench, *table)["email_verification"] == "off"


@pytest.mark.parametrize("text,line,part", [
    ("Hello\n\n{link}\n", 1, "Subject: "),
    ("Subject: Hello\n\nno link\n", 1, "{link} is missing"),
    ("Subject: Hello\n\n{link}\nfor {person}\n", 4, "{person} is unknown"),
    ("Subject: Hello\n\n{link}\nby {provider}\n", 4, "{provider} is unknown"),
    (b"Subject: Hell\xf6\n\n{link}\n", 1, "UTF-8"),
    ("Subject: Hello\n\n{link}\n" + "x" * 65536, None, "65536"),
])
def test_bad_template(bench, text, line, part):
    os.mkdir(bench.path("mail"))
    path = bench.file("mail/reset.txt", text)
    result = bench.test(SMTP + FROM + ["SocialAuthMailTemplates " + bench.path("mail")])
    assert result.code != 0
    where = path if line is None else "%s:%d" % (path, line)
    assert re.search(r"SA0102: %s: .*%s" % (re.escape(where), re.escape(part)), result.err), result.err


def test_T230_mail_password(bench):
    """Neither the dump nor a message repeats it, and what only shows the configuration reads none."""
    for options in ("user=web password=MARKED-WORD", "user=web MARKED-WORD"):
        result = bench.test(["SocialAuthSMTP smtps://mail.example.org " + options] + FROM, dump=True)
        assert "MARKED-WORD" not in result.out + result.err
    result = bench.test(["SocialAuthSMTP smtps://mail.example.org user=web password=file:/nonexistent"])
    assert result.code != 0
    assert bench.run("-S").code == 0
