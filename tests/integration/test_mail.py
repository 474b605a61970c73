"""How mails leave: by SMTP, with and without TLS, by a program, in time, late, and after a crash."""
import email
import email.policy
import os
import re
import shutil
import stat
import time

import pytest

from support import check, paths, ports
from support.mail import SENDER, MailServer
from support.pki import Authority

FAST = "SocialAuthTimeout connect=1 total=2\n"


@pytest.fixture
def servers():
    """servers(…) -> a MailServer of these options"""
    made = []

    def make(**options):
        made.append(MailServer(**options))
        return made[-1]
    yield make
    for server in made:
        server.stop()


@pytest.fixture
def mailing(servers, program, make_site):
    def make(smtp, more="", **kw):
        site = make_site(private=True, modules=["watchdog"],
                         mount="SocialAuthSMTP %s\n" 'SocialAuthMailFrom "%s"\n'
                         "SocialAuthMailThrottleRate off\n%s" % (smtp, SENDER, more), **kw)
        site.make_user("ada@example.org")
        return site
    return make


def ask(site, address="ada@example.org"):
    answer = site.browser().post("password/reset/", {"email": address})
    assert answer.status == 202, answer


def complaint(site, text, seconds=60):
    site.expect_log("SA032")
    site.httpd.wait_for(lambda: re.search("SA0320.*" + text, site.httpd.log()), text, seconds)


# ---- TLS

@pytest.fixture(scope="module")
def authority():
    return Authority("mail-ca")


def test_starttls_with_a_login(mailing, servers, authority):
    server = servers(tls=authority.issue("good"), login=("web", "s3cret word"))
    secret = os.path.join(paths.make_dir("mail-secret", 0o755), "password")
    with open(secret, "w") as f:
        f.write("s3cret word\n")
    os.chmod(secret, 0o600)
    site = mailing("%s starttls=required user=web password=file:%s" % (server.url, secret),
                   "SocialAuthCABundle %s" % authority.ca)
    ask(site)
    server.wait()
    assert server.was_encrypted == [True] and server.logins == [("web", "s3cret word")]
    assert "s3cret" not in site.httpd.log()


def test_implicit_tls(mailing, servers, authority):
    server = servers(implicit_tls=authority.issue("good"))
    site = mailing("smtps://localhost:%d" % server.port, "SocialAuthCABundle %s" % authority.ca)
    ask(site)
    server.wait()


@pytest.mark.parametrize("how", ["no TLS", "other authority", "wrong host", "expired", "self-signed"])
def test_T194_nothing_is_sent_where_tls_fails(mailing, servers, authority, how):
    chain = {"other authority": lambda: Authority("mail-other").issue("other"),
             "wrong host": lambda: authority.issue("wrong", hosts=("other.example",)),
             "expired": lambda: authority.issue("old", expired=True),
             "self-signed": lambda: authority.issue("self", self_signed=True),
             "no TLS": lambda: None}[how]()
    server = servers(tls=chain)
    site = mailing(server.url + " starttls=required", "SocialAuthCABundle %s" % authority.ca)
    ask(site)
    complaint(site, "attempt 1")
    time.sleep(1)
    assert server.mails == []


def test_optional_tls(mailing, servers, authority):
    plain, encrypted = servers(), servers(tls=authority.issue("good"))
    for server, is_encrypted in ((plain, False), (encrypted, True)):
        site = mailing(server.url + " starttls=optional", "SocialAuthCABundle %s" % authority.ca)
        ask(site)
        server.wait()
        assert server.was_encrypted == [is_encrypted]


def test_wrong_password(mailing, servers):
    server = servers(login=("web", "right"))
    site = mailing(server.url + " user=web password=wrong")
    ask(site)
    complaint(site, "attempt 1")
    assert server.mails == [] and site.db.value("SELECT dead FROM sa_mails") == 0


# ---- servers that do not take it

@pytest.mark.db
@pytest.mark.parametrize("at", ["RCPT", "DATA"])
def test_refused_for_now_is_sent_later(mailing, servers, at):
    server = servers(at=at)
    server.script = ["451 greylisted, try again later"]
    site = mailing(server.url)
    ask(site)
    complaint(site, "attempt 1")
    server.wait(1)
    assert len(server.mails) == 1
    time.sleep(2)
    assert len(server.mails) == 1 and site.db.value("SELECT attempts FROM sa_mails") == 2


@pytest.mark.db
@pytest.mark.parametrize("at", ["RCPT", "DATA"])
def test_refused_for_good_is_given_up(mailing, servers, at):
    server = servers(at=at)
    server.script = ["550 no such user"]
    site = mailing(server.url)
    ask(site)
    complaint(site, "attempt 1")
    site.httpd.wait_for(lambda: site.db.value("SELECT dead FROM sa_mails") == 1, "dead")
    time.sleep(7)
    assert server.mails == []


@pytest.mark.db
def test_server_down(mailing, servers):
    """The request does not wait, nothing is lost, and a mail keeps its Message-ID."""
    port = ports.free_port()
    site = mailing("smtp://127.0.0.1:%d" % port)
    start = time.monotonic()
    ask(site)
    assert time.monotonic() - start < 10
    complaint(site, "attempt 1")
    server = servers(port=port)
    server.wait(1)
    assert site.db.value("SELECT id FROM sa_mails") in server.mails[0]["Message-ID"]


def test_slow_server_slows_no_request(mailing, servers):
    server = servers()
    server.script = [60]
    site = mailing(server.url, "SocialAuthTimeout connect=1 total=15\n")
    ask(site)
    site.httpd.wait_for(lambda: not server.script, "the server to hang")
    check.signed_in(site.password_login("ada@example.org"))
    ask(site)
    assert "SA0320" not in site.httpd.log(), "they waited until the worker gave it up"
    complaint(site, "attempt 1")
    server.wait(2)


def crash(httpd):
    httpd.kill()
    httpd.start()


@pytest.mark.db
@pytest.mark.process
def test_T221_kill_9(mailing, servers):
    """Before it was handed over, and in the middle of it."""
    port = ports.free_port()
    site = mailing("smtp://127.0.0.1:%d" % port, FAST)
    site.expect_log("SA032")
    ask(site)
    crash(site.httpd)
    server = servers(port=port)
    server.wait(1)
    server.script = [30]
    ask(site)
    site.httpd.wait_for(lambda: not server.script, "the server to hang")
    crash(site.httpd)
    server.wait(2)              # its lease ends by itself


def test_graceful_restart_while_the_server_hangs(mailing, servers):
    """The worker lets go at once, and what it could not send is sent by the next."""
    server = servers()
    site = mailing(server.url, "SocialAuthTimeout connect=1 total=60\n")
    site.expect_log("SA032")
    server.script = [60]
    ask(site)
    site.httpd.wait_for(lambda: not server.script, "the server to hang")
    start = time.monotonic()
    site.httpd.graceful()
    server.wait(1, 20)
    assert time.monotonic() - start < 20


def test_expired_mail_is_not_sent(mailing, servers):
    port = ports.free_port()
    site = mailing("smtp://127.0.0.1:%d" % port)
    ask(site)
    complaint(site, "attempt 1")
    site.db.query("UPDATE sa_mails SET expires = ?", int(time.time()))
    server = servers(port=port)
    time.sleep(7)
    assert server.mails == []


# ---- programs

PROGRAM = """#!/bin/sh
[ -f "{dir}/fail" ] && exit "$(cat "{dir}/fail")"
[ -f "{dir}/hang" ] && sleep 60
echo "$@" > "{dir}/arguments"
cat > "{dir}/new" && mv "{dir}/new" "{dir}/mail"
"""


@pytest.fixture
def program():
    directory = paths.make_dir("sendmail-%d" % ports.free_port(), 0o777)
    path = os.path.join(directory, "sendmail")
    with open(path, "w") as f:
        f.write(PROGRAM.replace("{dir}", directory))
    os.chmod(path, 0o755)

    class Program:
        def path(self, name):
            return os.path.join(directory, name)

        def switch(self, name, text="x"):
            with open(self.path(name), "w") as f:
                f.write(text)
            os.chmod(self.path(name), stat.S_IRUSR | stat.S_IROTH)

        def mail(self, site, seconds=60):
            site.httpd.wait_for(lambda: os.path.exists(self.path("mail")), "the program", seconds)
            with open(self.path("mail"), "rb") as f:
                return email.message_from_bytes(f.read(), policy=email.policy.default)
    yield Program()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.process
def test_program(mailing, program):
    site = mailing("sendmail:" + program.path("sendmail"))
    ask(site)
    assert program.mail(site)["To"] == "ada@example.org"
    with open(program.path("arguments")) as f:
        assert f.read() == "-t -i\n"


def test_program_with_arguments(mailing, program):
    site = mailing('sendmail:%s -oi -t "a b"' % program.path("sendmail"))
    ask(site)
    program.mail(site)
    with open(program.path("arguments")) as f:
        assert f.read() == "-oi -t a b\n"


@pytest.mark.parametrize("status,dead", [("75", 0), ("1", 0), ("67", 1)])
def test_program_that_fails(mailing, program, status, dead):
    program.switch("fail", status)
    site = mailing("sendmail:" + program.path("sendmail"))
    ask(site)
    complaint(site, "status " + status)
    site.httpd.wait_for(lambda: site.db.value("SELECT dead FROM sa_mails") == dead, "the row")
    os.unlink(program.path("fail"))
    if not dead:
        program.mail(site)


def test_program_that_hangs_is_ended(mailing, program):
    program.switch("hang")
    site = mailing("sendmail:" + program.path("sendmail"), FAST)
    ask(site)
    complaint(site, "too long")
    os.unlink(program.path("hang"))
    program.mail(site)


# ---- texts

def test_templates_of_the_site(mailing, servers):
    server = servers()
    directory = paths.make_dir("mail-texts")
    with open(os.path.join(directory, "reset.txt"), "w", encoding="utf-8") as f:
        f.write("Subject: Neues Passwort für {site} 🙂\n\nHallo {email},\n{link}\n.\nbis {expires}\n"
                "{{Grüße}} = \n")
    site = mailing(server.url, "SocialAuthMailTemplates " + directory)
    ask(site)
    sent = server.wait()[0]
    assert sent["Subject"] == "Neues Passwort für localhost 🙂"
    assert sent.text.startswith("Hallo ada@example.org,\nhttp://localhost:")
    assert sent.text.endswith("UTC\n{{Grüße}} = \n") and "\n.\n" in sent.text
    assert max(len(line) for line in sent.raw.split(b"\r\n")) <= 78


FORMAT = "%n%s%5$n%x"


def test_T110_format_strings_are_text(mailing, servers, provider):
    """In the sender's name, in a label, in a site's own text and in the module's."""
    server = servers()
    directory = paths.make_dir("mail-formats")
    with open(os.path.join(directory, "reset.txt"), "w", encoding="utf-8") as f:
        f.write("Subject: %s of {site}\n\n{link}\n100%% of %s\n" % (FORMAT, FORMAT))
    site = mailing(server.url, 'SocialAuthMailFrom "%s <noreply@site.example>"\nSocialAuthMailTemplates %s'
                   % (FORMAT, directory), providers=[provider.github.options + " label=" + FORMAT])
    ask(site)
    sent = server.next()
    assert sent["From"].addresses[0].display_name == FORMAT and sent["Subject"] == FORMAT + " of localhost"
    assert sent.text.endswith("\n100%% of %s\n" % FORMAT), sent.text
    access = check.signed_in(site.password_login("ada@example.org"))["access"]
    browser = site.browser()
    answer = browser.post("github/link/", {"code": provider.github.code(provider.github.user()),
                                           "state": site.state(browser, bearer=access)["state"]}, bearer=access)
    assert answer.status == 204, answer
    sent = server.next()
    assert FORMAT in sent.text and sent["From"].addresses[0].display_name == FORMAT, sent.text


def test_T231_no_header_from_a_users_table(mailing, servers):
    """An address that somebody wrote into the table by himself is not written to."""
    server = servers()
    site = mailing(server.url)
    site.expect_log("no address")
    site.make_user("bob@gmail.com")
    for bad in ("bob@gmail.com\r\nBcc: evil@example.org", "bob@gmail.com, evil@example.org",
                "bob@gmail.com>"):
        site.db.query("UPDATE sa_users SET email = ? WHERE username <> 'local1'", bad)
        ask(site, "bob@gmail.com")
    check.signed_in(site.google_login(email="eve@gmail.com"))
    time.sleep(2.5)
    assert server.mails == []


def test_two_mounts_and_their_own_servers(servers, make_site):
    """Each mount's mails go its own way, and its links work there only."""
    one, two = servers(), servers()
    lines = 'SocialAuthSMTP %s\nSocialAuthMailFrom %s\n'
    site = make_site(private=True, modules=["watchdog"],
                     mount=lines % (one.url, "one@site.example"),
                     more='<Location "/two">\nSetHandler social-auth\n'
                          "SocialAuthPasswordThrottleRate off\n%s</Location>"
                          % (lines % (two.url, "two@site.example")))
    site.make_user("ada@example.org")
    ask(site)
    answer = site.browser(mount="/two").post("password/reset/", {"email": "ada@example.org"})
    assert answer.status == 202
    first, second = one.wait()[0], two.wait()[0]
    assert first.sender == "one@site.example" and second.sender == "two@site.example"
    body = {"token": second.token, "new_password": "another long passphrase 8"}
    assert site.browser().post("password/reset/confirm/", body).word == "link_invalid"
    assert site.browser(mount="/two").post("password/reset/confirm/", body).status == 204
