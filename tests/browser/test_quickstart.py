"""conf/quickstart as a person meets it: one command, a page in a browser, Ctrl-C."""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

TOP = pathlib.Path(__file__).resolve().parents[2]
QUICKSTART = TOP / "conf" / "quickstart"
pytestmark = pytest.mark.limit(400)
START_SECONDS = 300     # the first start builds the module
PAGE_SECONDS = 15
# Nothing to complain of: notices, and a child that httpd had to remind of its end.
NOTICE = r"\[[^]]*\] \[\w+:(notice|info)\] |.*\bAH00045: child process"
REAL_PROVIDERS = ("GITHUB_CLIENT_ID", "GITHUB_CLIENT_SECRET", "GOOGLE_CLIENT_ID",
                  "GOOGLE_CLIENT_SECRET")


def free_ports(count):
    """The first of `count` consecutive free ports."""
    for first in range(20000 + os.getpid() % 5000, 32000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
    raise RuntimeError("no free ports")


def environment(**more):
    env = {name: value for name, value in os.environ.items() if name not in REAL_PROVIDERS}
    env.update(more)
    return env


def processes_of(data):
    """Command lines of everything that still runs on this data directory."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(data) in line:
            found.append(line)
    return found


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


class Quickstart:
    def __init__(self, data, port, *args, **env):
        self.data = data
        self.site = "http://localhost:%d" % port
        self.output = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [str(QUICKSTART), "--port", str(port), "--data", str(data), *args],
            stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT,
            env=environment(**env), start_new_session=True,
            # Ctrl-C works at a terminal, but not for what a script's & started.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        wait_until(lambda: self.process.poll() is not None or "Ctrl-C" in self.said(),
                   START_SECONDS)
        if self.process.poll() is not None or "Ctrl-C" not in self.said():
            self.kill()
            pytest.fail("quickstart did not start:\n" + self.said())

    def said(self):
        self.output.seek(0)
        return self.output.read()

    def ctrl_c(self):
        """What a terminal does: SIGINT for the whole foreground process group."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(30)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        if self.process.poll() is None:
            self.ctrl_c()
        self.kill()


@pytest.fixture
def expected_log():
    """What a test adds to it may be in httpd's log."""
    return [NOTICE]


@pytest.fixture
def data(expected_log):
    """Reachable for www-data, and short enough for PostgreSQL's socket."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="qs-", dir=os.environ.get("SA_SCRATCH")))
    path.chmod(0o711)
    yield path
    assert wait_until(lambda: not processes_of(path), 10), processes_of(path)
    log = (path / "logs" / "error.log").read_text()
    assert [line for line in log.splitlines() if not re.match("|".join(expected_log), line)] == []
    shutil.rmtree(path)


@pytest.fixture
def port():
    return free_ports(3)


class Page:
    """The page, by what is on it."""

    def __init__(self, browser, site):
        self.browser = browser
        self.site = site

    def open(self):
        self.browser.get(self.site + "/")
        self.wait_idle()
        return self

    def find(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def wait_for(self, condition, what):
        WebDriverWait(self.browser, PAGE_SECONDS, 0.05).until(lambda _: condition(), what)

    def here(self):
        return self.browser.current_url.startswith(self.site + "/")

    def wait_idle(self):
        self.wait_for(lambda: self.here() and self.browser.execute_script(
            "return document.querySelector('#main')?.getAttribute('aria-busy') === 'false'"),
            "the page is still busy")

    def pick(self, person):
        """At the demo provider."""
        self.wait_for(lambda: not self.here() and self.browser.find_elements(
            By.CSS_SELECTOR, "button[name=person]"), "the provider's page did not come")
        if isinstance(person, str):
            self.find("button[value=%s]" % person).click()
        else:
            name, email = person
            self.find("input[name=name]").send_keys(name)
            self.find("input[name=email]").send_keys(email)
            self.find("button[value=typed]").click()
        self.wait_idle()

    def sign_in(self, provider, person):
        self.find("#login-" + provider).click()
        self.pick(person)

    def click(self, selector):
        self.find(selector).click()
        self.wait_idle()

    def account(self, provider):
        """Clicks Link or Unlink."""
        self.find("#account-%s button" % provider).click()

    def linked(self):
        return {item.get_attribute("id").partition("-")[2]
                for item in self.browser.find_elements(By.CSS_SELECTOR, "#accounts .linked")}

    def signed_in(self):
        return self.find("#signed-in").is_displayed()

    def status(self):
        return self.find("#status").text

    def message(self):
        return self.find("#message").text

    def user_id(self):
        return json.loads(self.find("#claims").get_attribute("textContent"))["user_id"]

    def tokens(self):
        return json.loads(self.browser.execute_script(
            "return Object.entries(sessionStorage).find(([key]) => key.startsWith('social-auth http'))?.[1]")
            or "null")

    def console_errors(self):
        return [entry["message"] for entry in self.browser.get_log("browser")
                if entry["level"] == "SEVERE"]


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def use_everything(page):
    """Signs in, links, unlinks, refreshes and signs out; ends signed out."""
    api = page.site + "/api/social-auth"
    page.open()
    assert not page.signed_in()

    page.sign_in("github", "ada")
    assert page.status() == "Signed in with GitHub."
    assert page.linked() == {"github"}
    assert "code=" not in page.browser.current_url
    user = page.user_id()

    page.account("google")
    page.pick("linus")
    assert page.status() == "Google is linked."
    assert page.linked() == {"github", "google"}
    assert page.user_id() == user

    page.account("github")
    page.wait_idle()
    assert page.status() == "GitHub is no longer linked."
    assert page.linked() == {"google"}

    page.account("google")
    page.wait_idle()
    assert page.message() == "This is the only way to sign in to this account."
    assert page.linked() == {"google"}
    assert [error for error in page.console_errors() if "400" not in error] == []

    before = page.tokens()
    page.click("#refresh")
    assert page.status() == "The tokens are new."
    after = page.tokens()
    assert after["refresh"] != before["refresh"] and after["access"] != before["access"]

    page.browser.refresh()
    page.wait_idle()
    assert page.signed_in() and page.linked() == {"google"}

    page.click("#sign-out")
    assert not page.signed_in() and page.tokens() is None
    status, body = post(api + "/token/refresh/", {"refresh": after["refresh"]})
    assert (status, body["detail"]) == (401, "Token is blacklisted")
    assert page.console_errors() == []


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_everything_on_the_page_and_again_after_a_restart(browser, data, port, database):
    args = ["--postgres"] if database == "postgres" else []
    with Quickstart(data, port, *args) as server:
        assert server.site + "/" in server.said()
        page = Page(browser, server.site)
        use_everything(page)
        page.sign_in("google", "linus")
        user = page.user_id()
        tokens = page.tokens()
        assert server.ctrl_c() == 0
        assert server.said().endswith("Stopped.\n")
        assert wait_until(lambda: not processes_of(data), 5), processes_of(data)

    with Quickstart(data, port, *args):
        page.open()
        assert page.signed_in(), "the secret and the session must survive a restart"
        assert page.user_id() == user and page.tokens() == tokens
        page.click("#sign-out")
        page.sign_in("google", "linus")
        assert page.user_id() == user and page.linked() == {"google"}


def test_passwords_and_what_the_server_refuses(browser, data, port):
    with Quickstart(data, port) as server:
        page = Page(browser, server.site).open()
        page.sign_in("github", "mallory")
        assert page.message() == \
            "Your GitHub account does not have a primary verified email address."
        page.sign_in("google", "mallory")
        assert page.message() == "Your Google account email address is not verified."

        page.find("#login-github").click()
        page.wait_for(lambda: not page.here(), "the provider's page did not come")
        page.find("button[value=cancel]").click()
        page.wait_idle()
        assert page.message() == "You cancelled at GitHub."
        assert not page.signed_in()

        page.find("input[name=email]").send_keys("ada@example.org")
        page.find("input[name=password]").send_keys("not the password")
        page.click("#password-form button")
        assert page.message() == "No active account found with the given credentials"

        email, password = re.search(r"Password +(\S+) with (\S+)", server.said()).groups()
        for name, value in (("email", email), ("password", password)):
            page.find("input[name=%s]" % name).clear()
            page.find("input[name=%s]" % name).send_keys(value)
        page.click("#password-form button")
        assert page.status() == "Signed in with a password." and page.linked() == set()
        page.click("#sign-out")

        page.browser.get(server.site + "/?code=stolen&state=unknown")
        page.wait_idle()
        assert page.message().startswith("That answer belongs to no sign-in")
        assert page.browser.current_url == server.site + "/"


def test_the_same_person_at_both_providers_is_one_user(browser, data, port):
    with Quickstart(data, port) as server:
        page = Page(browser, server.site).open()
        page.sign_in("github", ("Emmy Noether", "emmy@example.org"))
        user = page.user_id()
        page.click("#sign-out")
        page.sign_in("google", ("Emmy Noether", "emmy@example.org"))
        assert page.user_id() == user
        assert page.linked() == {"github", "google"}
        page.click("#sign-out")
        page.sign_in("github", "linus")
        assert page.user_id() != user
        page.account("google")
        page.pick(("Emmy Noether", "emmy@example.org"))
        assert page.message() == "This Google account is already linked to another user."
        assert page.linked() == {"github"}


def test_real_providers_come_from_the_environment(data, port):
    with Quickstart(data, port, GITHUB_CLIENT_ID="Iv1.0123", GITHUB_CLIENT_SECRET="hush-github",
                    GOOGLE_CLIENT_ID="1-a.apps.googleusercontent.com") as server:
        with urllib.request.urlopen(server.site + "/config.json") as answer:
            github, google = json.load(answer)["providers"]
        assert github["authorize_url"] == "https://github.com/login/oauth/authorize"
        assert github["client_id"] == "Iv1.0123" and not github["demo"]
        assert google["authorize_url"].startswith("https://accounts.google.com/")
        assert "hush-github" not in server.said() + (data / "httpd.conf").read_text()
        assert not any("provider" in line for line in processes_of(data))
        for secret in (data / "secrets").iterdir():
            assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        with urllib.request.urlopen(server.site + "/api/social-auth/github/state/") as answer:
            assert json.load(answer)["state"]


def test_nothing_outlives_a_killed_quickstart(data, port, expected_log):
    """All end at once: httpd may miss its database for a moment."""
    expected_log.append(r".*\bSA0330: ")
    with Quickstart(data, port, "--postgres") as server:
        assert len(processes_of(data)) >= 4
        server.kill()
        assert wait_until(lambda: not processes_of(data), 15), processes_of(data)
    with Quickstart(data, port, "--postgres") as server:
        assert server.ctrl_c() == 0


# ---- one clear sentence each

def refused(*args, **env):
    done = subprocess.run([str(QUICKSTART), *args], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60, env=environment(**env))
    assert done.returncode != 0 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("quickstart: "), done.stderr
    return done.stderr[len("quickstart: "):-1]


def test_busy_port(port):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert refused("--port", str(port)) == \
            "port %d is in use; choose another with --port" % port


def test_a_second_quickstart_on_the_same_data(data, port):
    with Quickstart(data, port):
        assert refused("--port", str(port + 2), "--data", str(data)) == \
            "another quickstart is running on %s" % data


@pytest.mark.parametrize("args, sentence", [
    (["--port", "http"], "--port needs a number from 1 to 65535, not 'http'"),
    (["--port", "65536"], "--port needs a number from 1 to 65535, not '65536'"),
    (["--port"], "--port needs a number"),
    (["--mysql"], "unknown option --mysql (try --help)"),
])
def test_wrong_options(args, sentence):
    assert refused(*args) == sentence


@pytest.mark.parametrize("env, sentence", [
    ({"GITHUB_CLIENT_ID": "x"}, "GITHUB_CLIENT_ID is set, but GITHUB_CLIENT_SECRET is not"),
    ({"GOOGLE_CLIENT_SECRET": "x"}, "GOOGLE_CLIENT_SECRET is set, but GOOGLE_CLIENT_ID is not"),
    ({"GOOGLE_CLIENT_ID": 'x"\nLoadModule'},
     "GOOGLE_CLIENT_ID holds a character that no such value has"),
])
def test_wrong_environment(env, sentence):
    assert refused(**env) == sentence


def command(folder, name, script):
    path = folder / name
    path.write_text("#!/bin/sh\n" + script + "\n")
    path.chmod(0o755)


def test_a_missing_package_without_root(tmp_path, port):
    command(tmp_path, "id", "echo 1000")
    command(tmp_path, "sudo", "exit 1")
    command(tmp_path, "dpkg-query",
            'for p; do case $p in libpq-dev) echo "$p config-files" ;; '
            'libssl-dev) ;; *) echo "$p installed" ;; esac; done; exit 1')
    assert refused("--port", str(port), PATH="%s:%s" % (tmp_path, os.environ["PATH"])) == \
        "these packages are missing and only root can install them: " \
        "libpq-dev libssl-dev"


def test_packages_that_cannot_be_installed(tmp_path, port):
    command(tmp_path, "id", "echo 0")
    command(tmp_path, "dpkg-query", "exit 1")
    command(tmp_path, "apt-get", "echo 'E: Unable to locate package x'; exit 100")
    path = "%s:%s" % (tmp_path, os.environ["PATH"])
    done = subprocess.run([str(QUICKSTART), "--port", str(port)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60, env=environment(PATH=path))
    assert done.returncode == 1
    assert "apt-get could not install them: E: Unable to locate package x" in done.stderr


def test_no_package_manager(tmp_path, port):
    for name in ("id", "dirname", "mkdir"):
        (tmp_path / name).symlink_to(shutil.which(name))
    assert refused("--port", str(port), PATH=str(tmp_path)) == \
        "this is no Debian (dpkg-query was not found); see README for building by hand"
