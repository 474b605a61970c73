"""What is written down, and what must not be (threat section P)."""
import base64
import hashlib
import json
import re
import secrets

import pytest

from support import jose, ports
from support.client import raw
from support.fake_provider import GITHUB_SECRET, Reply
from support.site import SECRET, STRONG

DSN_PASSWORD = "dsn-password-7f3a9c"
WEBHOOK_KEY = base64.b64encode(b"webhook-key-of-the-log-tests-32b").decode()
WEBHOOK = "SocialAuthWebhook http://127.0.0.1:%d/hook whsec_" + WEBHOOK_KEY
# At trace4 httpd itself prints the headers of requests and answers: that is what was asked for.
HEADER_DUMP = re.compile(r"^\[[^\]]*\] \[(core|http):trace[4-8]\] .*\]   ?[A-Za-z-]+: ")


def lines_of(site):
    """Everything httpd wrote down, without its own dump of headers."""
    with open(site.httpd.access_log, errors="replace") as f:
        access = f.read().splitlines()
    own = [line for line in site.httpd.log().splitlines() if not HEADER_DUMP.match(line)]
    return own + access + site.httpd.startup_output().splitlines()


class Notebook:
    """A browser's errands: remembers what went over the wire that nobody may read again."""

    def __init__(self, site):
        self.site, self.browser = site, site.browser()
        self.secrets = {"the secret": SECRET, "the client secret": GITHUB_SECRET,
                        "the webhook's key": WEBHOOK_KEY, "the password": STRONG}
        self.refusals = []

    def keep(self, what, value):
        assert value and len(value) >= 8, (what, value)
        self.secrets["%s %d" % (what, len(self.secrets))] = value
        if value.count(".") == 2:                       # a part of a token is as good as all of it
            self.secrets["signature %d" % len(self.secrets)] = value.rsplit(".", 1)[1]
        return value

    def post(self, path, body=None, **kw):
        answer = self.browser.post(path, body, **kw)
        for name, value in (answer.json() if answer.body else {}).items():
            if answer.status == 200 and name in ("access", "refresh"):
                self.keep(name, value)
        if answer.status >= 400:
            self.refusals.append(answer)
        return answer

    def state(self, provider="github"):
        got = self.site.state(self.browser, provider)
        for name, value in got.items():
            self.keep(name, value)
        for name, value in self.browser.cookies.items():
            self.keep("cookie", value)
        return got

    def code(self, user=None):
        github = self.site.provider.github
        return self.keep("code", github.code(user or github.user()))

    def id_token(self, **claims):
        return self.keep("ID token", self.site.provider.google.id_token(**claims))

    def hits(self, lines):
        return ["%s in: %s" % (what, line[:400]) for line in lines
                for what, value in self.secrets.items() if value in line]


def github_errands(book):
    site, github = book.site, book.site.provider.github
    user = github.user()
    state = book.state()["state"]
    body = {"code": book.code(user), "state": state}
    assert book.post("github/login/", body).status == 200
    assert book.post("github/login/", body).status == 400                      # used
    assert book.post("github/login/", {"code": secrets.token_hex(10),
                                       "state": book.state()["state"]}).status == 400
    stranger = site.browser()
    assert stranger.post("github/login/", {"code": book.code(), "state": book.state()["state"]}
                         ).status == 400
    verifier = book.keep("verifier", secrets.token_urlsafe(48))
    assert book.post("github/login/", {"code": book.code(), "state": book.state()["state"],
                                       "code_verifier": verifier}).status == 400
    unverified = github.user(emails=[{"email": "u@example.com", "primary": True,
                                      "verified": False, "visibility": None}])
    assert book.post("github/login/", {"code": book.code(unverified),
                                       "state": book.state()["state"]}).status == 400
    for gho in list(github._tokens):
        book.keep("GitHub's token", gho)
    assert book.post("github/link/", {"code": book.code(), "state": book.state()["state"]},
                     bearer=secrets.token_hex(40)).status == 401


def gossiping_provider(book):
    """It repeats what it was told, in every way it can."""
    provider, site = book.site.provider, book.site
    gho = book.keep("GitHub's token", "gho_" + secrets.token_hex(18))
    site.expect_log(r"SA0100: provider_(unavailable|timeout|rejected): ")
    for status, text in ((200, '{"error":"bad_verification_code","error_description":"%s"}'),
                         (400, '{"error":"%s","error_description":"x"}'), (500, "%s"),
                         (200, '{"access_token":"%s"'), (200, "access_token=%s&"),
                         (302, "%s"), (200, '{"access_token":["%s"]}')):
        code = book.code()
        for told in (code, gho, GITHUB_SECRET):
            provider.script("/github/token", Reply(status, text % told,
                                                   headers=[("Location", "/" + told)]))
            answer = book.post("github/login/", {"code": book.code(),
                                                 "state": book.state()["state"]})
            assert answer.status >= 400, answer
    provider.unscript("/github/token")
    for path in ("/github/user", "/github/emails"):
        provider.script("/github/token", Reply(200, {"access_token": gho, "token_type": "bearer"}))
        for reply in (Reply(401, {"message": gho}), Reply(500, gho), Reply(200, '{"id":"%s"' % gho),
                      Reply(200, {"id": gho, "login": gho})):
            provider.script(path, reply)
            answer = book.post("github/login/", {"code": book.code(),
                                                 "state": book.state()["state"]})
            assert answer.status >= 400, answer
        provider.unscript(path)
    provider.unscript("/github/token")


def google_errands(book):
    google = book.site.provider.google
    got = book.state("google")
    body = {"token": book.id_token(nonce=got["nonce"]), "state": got["state"]}
    assert book.post("google/login/", body).status == 200
    assert book.post("google/login/", body).status == 400
    once = {"token": book.id_token()}
    assert book.post("google/login/", once).status == 200
    assert book.post("google/login/", once).status == 400
    now = jose.now()
    for claims in ({"aud": "someone-else"}, {"iss": "https://evil.test"}, {"exp": now - 4000},
                   {"email_verified": False}, {"iat": now - 3000}, {"sub": None},
                   {"nonce": secrets.token_hex(16)}):
        got = book.state("google")
        claims.setdefault("nonce", got["nonce"])
        answer = book.post("google/login/", {"token": book.id_token(**claims),
                                             "state": got["state"]})
        assert answer.status in (200, 400), answer
    spoilt = book.keep("ID token", jose.spoil_signature(book.id_token()))
    assert book.post("google/login/", {"token": spoilt}).status == 400
    assert book.post("google/login/", {"token": spoilt[:-30]}).status == 400
    foreign = jose.make(google.claims(), jose.Key("RS256", "no-such-kid"))
    assert book.post("google/login/", {"token": book.keep("ID token", foreign)}).status == 400


def password_errands(book):
    site = book.site
    user = site.make_user("keeper@example.org", "keeper")
    asleep = site.make_user("asleep@example.org", "asleep", is_active=False)
    for i in (user, asleep):
        book.keep("hash", site.db.value("SELECT password FROM sa_users WHERE id = ?", i))
    wrong = book.keep("wrong password", "wr0ng-" + secrets.token_hex(8))
    signed_in = book.post("token/", {"email": "keeper@example.org", "password": STRONG})
    assert signed_in.status == 200
    for who in ("keeper@example.org", "asleep@example.org", "nobody@example.org"):
        assert book.post("token/", {"email": who, "password": wrong}).status == 401
    assert book.post("token/", {"email": "asleep@example.org", "password": STRONG}).status == 401
    # A password in the wrong field, in a broken body, in the address.
    assert book.post("token/", {"username": wrong, "password": wrong}).status == 401
    for broken in ('{"password":"%s"', '{"password":"%s",}', '{"password":"%s"}}', '"%s"', '%s',
                   '["%s"]', '{"%s":1}', '{"password":"%s\x01"}', '{"password":"\\ud800%s"}',
                   '{"email":"a","email":"%s"}'):
        answer = book.post("token/", body=broken % wrong, content_type="application/json")
        assert answer.status == 400, answer
    for broken in ("password=%s%%zz", "password=%s&password=%s", "%s", "password=%s%%00"):
        answer = book.post("token/", body=broken.replace("%s", wrong).replace("%%", "%"),
                           content_type="application/x-www-form-urlencoded")
        assert answer.status == 400, answer
    assert book.post("token/", body=wrong, content_type="text/plain").status == 415
    return signed_in.json()


def token_errands(book, pair):
    keep = book.keep
    access, refresh = pair["access"], pair["refresh"]
    assert book.browser.get("linked-accounts/", bearer=access).status == 200
    for bad in (access[:-4], refresh, keep("garbage", secrets.token_hex(20)),
                keep("garbage", jose.spoil_signature(access))):
        book.refusals.append(book.browser.get("linked-accounts/", bearer=bad))
        assert book.refusals[-1].status == 401
        assert book.post("token/verify/", {"token": bad}).status in (200, 401)
    assert book.post("unlink/", {}, bearer=access).status == 404
    assert book.post("github/unlink/", {"password": STRONG}, bearer=access).status == 400
    assert book.post("github/unlink/", {"password": keep("password", secrets.token_hex(9))},
                     bearer=access).status == 400
    assert book.post("github/link/", {"code": book.code(), "state": book.state()["state"]},
                     bearer=access).status == 204
    assert book.post("github/unlink/", {}, bearer=access).status == 204
    second = book.post("token/refresh/", {"refresh": refresh}).json()
    third = book.post("token/refresh/", {"refresh": second["refresh"]}).json()
    assert book.post("token/blacklist/", {"refresh": third["refresh"]}).status == 200
    assert book.post("token/refresh/", {"refresh": third["refresh"]}).status == 401
    assert book.post("token/refresh/", {"refresh": refresh}).status == 401     # reuse
    assert book.post("token/refresh/", {"refresh": access}).status == 401
    assert book.post("token/blacklist/", {"refresh": keep("garbage", secrets.token_hex(20))}
                     ).status == 401


def broken_database(book):
    """The database refuses a row, and says in its own words which."""
    site, pgsql = book.site, book.site.db.driver == "pgsql"
    site.expect_log(r"SA0100: unavailable: ")
    if pgsql:
        site.db.query("ALTER TABLE sa_sessions ADD CONSTRAINT refuse_all CHECK (user_id IS NULL)"
                      " NOT VALID")
    else:
        site.db.query("CREATE TRIGGER refuse_all BEFORE INSERT ON sa_sessions BEGIN"
                      " SELECT RAISE(ABORT, 'refused'); END")
    assert book.post("token/", {"email": "keeper@example.org", "password": STRONG}).status == 503
    site.db.query("ALTER TABLE sa_sessions DROP CONSTRAINT refuse_all" if pgsql
                  else "DROP TRIGGER refuse_all")
    # A weaker hash that Django made: its replacement is refused.
    old = "pbkdf2_sha256$1000$saltsaltsalt$" + base64.b64encode(
        hashlib.pbkdf2_hmac("sha256", STRONG.encode(), b"saltsaltsalt", 1000)).decode()
    site.make_user("django@example.org", "django")
    site.db.query("UPDATE sa_users SET password = ? WHERE username = 'django'",
                  book.keep("hash", old))
    site.db.query("ALTER TABLE sa_users ADD CONSTRAINT refuse_all CHECK (username <> 'django')"
                  " NOT VALID" if pgsql else
                  "CREATE TRIGGER refuse_all BEFORE UPDATE ON sa_users BEGIN"
                  " SELECT RAISE(ABORT, 'refused'); END")
    assert book.post("token/", {"email": "django@example.org", "password": STRONG}).status == 503
    site.db.query("ALTER TABLE sa_users DROP CONSTRAINT refuse_all" if pgsql
                  else "DROP TRIGGER refuse_all")
    site.db.query("ALTER TABLE sa_users RENAME TO sa_users_away")
    assert book.post("token/", {"email": "keeper@example.org", "password": STRONG}).status == 503
    site.db.query("ALTER TABLE sa_users_away RENAME TO sa_users")
    assert book.post("token/", {"email": "keeper@example.org", "password": STRONG}).status == 200


@pytest.mark.db
def test_T230_no_secret_in_a_log_or_a_refusal(make_site, databases, cell):
    database = databases.make(cell[1])
    if cell[1] == "pgsql":
        database.params += " password=" + DSN_PASSWORD
    hook = ports.free_port()                            # nobody answers there
    site = make_site(database=database, log_level="trace8", mount=WEBHOOK % hook,
                     modules=["watchdog"])
    book = Notebook(site)
    if cell[1] == "pgsql":
        book.secrets["the DSN's password"] = DSN_PASSWORD
    github_errands(book)
    google_errands(book)
    token_errands(book, password_errands(book))
    gossiping_provider(book)
    broken_database(book)
    for row in site.db.query("SELECT password FROM sa_users"):
        book.keep("hash", row[0])
    lines = lines_of(site)
    assert len(book.secrets) > 100 and len(book.refusals) > 60
    assert any("SA0200: login_successful" in line for line in lines)
    assert any(":trace" in line for line in lines), "the log is not as talkative as it can be"
    assert book.hits(site.httpd.log().splitlines()), "httpd's own dump must hold some of them"
    assert book.hits(lines) == []
    told = [a.text + "\n" + "\n".join("%s: %s" % h for h in a.all_headers
                                      if h[0].lower() != "set-cookie") for a in book.refusals]
    assert book.hits(told) == []


@pytest.mark.cell("event", "pgsql")
def test_T230_no_dsn_when_the_database_is_away(make_site, databases):
    cluster = databases.cluster("logs-pg")
    database = databases.make("pgsql", cluster=cluster)
    database.params += " password=" + DSN_PASSWORD
    site = make_site(database=database, log_level="trace8")
    site.expect_log("SA0100: unavailable: ", r"\[dbd:", r"AH006\d\d")
    book = Notebook(site)
    book.secrets["the DSN's password"] = DSN_PASSWORD
    assert book.post("token/", {"email": "a@example.org", "password": STRONG}).status == 401
    cluster.stop("immediate")
    for _ in range(3):
        assert book.post("token/", {"email": "a@example.org", "password": STRONG}).status == 503
    lines = lines_of(site)
    assert any("SA0100: unavailable: " in line for line in lines)
    assert book.hits(lines) == [] and book.hits([a.text for a in book.refusals]) == []


# ---- lines

AGENTS = """
HttpProtocolOptions Unsafe
LogFormat "%h %u \\"%r\\" %>s \\"%{User-Agent}i\\" %{social-auth-error}n %{social-auth-user-id}n" u
CustomLog "{root}/access.log" u
"""
HOSTILE = "x\r\nFAKE [social_auth:info] SA0200: login_successful user=1\x1b[31m\u2028end\u0085\x7f"


def check_lines(site, marks):
    """One line per event: nothing that a client sent begins a line or moves a cursor."""
    for path in (site.httpd.error_log, site.httpd.access_log):
        with open(path, "rb") as f:
            data = f.read()
        for line in data.split(b"\n"):
            assert not line.startswith(b"FAKE"), line
            bad = [c for c in line if c < 0x20 or c >= 0x7f]
            assert not bad, (path, line)
    for mark in marks:
        assert mark in site.httpd.log() or mark in open(site.httpd.access_log).read(), mark


@pytest.mark.db
def test_T231_log_lines_are_whole_and_escaped(make_site):
    # Unsafe: httpd lets control characters in header fields pass.
    site = make_site(private=True, more=AGENTS)
    browser, provider = site.browser(), site.provider
    for field in ("username", "email"):
        answer = browser.post("token/", {field: HOSTILE, "password": STRONG})
        assert answer.status == 401, answer
    for kid in (HOSTILE, "a\nb"):
        token = jose.make(provider.google.claims(), provider.google.keys[0], kid=kid)
        assert browser.post("google/login/", {"token": token}).status == 400
        own = jose.make({"sub": "1"}, jose.Key("HS256", None, secret=SECRET.encode()), kid=kid)
        assert browser.get("linked-accounts/", bearer=own).status == 401
        assert browser.post("token/refresh/", {"refresh": own}).status == 401
    for claims in ({"iss": HOSTILE}, {"aud": HOSTILE}, {"sub": HOSTILE}, {"nonce": HOSTILE},
                   {"email": HOSTILE}, {"azp": HOSTILE}):
        token = provider.google.id_token(**claims)
        assert browser.post("google/login/", {"token": token}).status in (200, 400)
    site.expect_log("SA0100: provider_")
    for reply in (Reply(200, {"error": HOSTILE, "error_description": HOSTILE}),
                  Reply(200, {"error": "bad_verification_code", "error_description": HOSTILE}),
                  Reply(200, {"access_token": HOSTILE, "token_type": HOSTILE}),
                  Reply(500, HOSTILE), Reply(200, HOSTILE, content_type="a/b; x=\x1b\u0085")):
        with provider.scripted("/github/token", reply):
            answer = site.github_login(browser)
            assert answer.status >= 400, answer
    user = provider.github.user(name=HOSTILE, login=HOSTILE, email="hostile@example.com")
    assert site.github_login(browser, user).status == 200
    agent = b"Mozilla\x1b[2J \xe2\x80\xa8\xc2\x85 FAKE"
    for target in (b"linked-accounts/", b"nosuch%0d%0aFAKE/state/", b"%1b%e2%80%a8/login/"):
        raw(site.port, b"GET /api/social-auth/" + target + b" HTTP/1.1\r\nHost: localhost\r\n"
            b"User-Agent: " + agent + b"\r\nConnection: close\r\n\r\n", timeout=5)
    check_lines(site, ["SA0100: bad_credentials: no such account", "SA0100: provider_rejected",
                       "SA0200: login_successful", "\\x1b[2J"])


# ---- audit

LINE = re.compile(r"^\[(?P<time>[^\]]+)\] \[social_auth:\w+\] .*\[client (?P<ip>[^\]]+)\] "
                  r"(?P<tag>SA0[12]00): (?P<word>\w+):?(?P<rest>.*)$")


def records(site):
    """The audit lines that came since the last look: (word, user, provider)."""
    out = []
    for line in site.httpd.recent_log().splitlines():
        match = LINE.match(line)
        if match:
            assert match.group("ip").rsplit(":", 1)[0] == "127.0.0.1", line
            assert re.search(r"\d\d:\d\d:\d\d", match.group("time")), line
            who = re.search(r" user=(\S+) provider=(\S+)$", line)
            assert who, line
            out.append((match.group("word"), who.group(1), who.group(2)))
    site.httpd.mark()
    return out


@pytest.fixture
def audited(make_site):
    """one(answer, word, user, provider): the last request left exactly this record."""
    site = make_site(private=True, mount="SocialAuthRefreshReuseInterval 0")
    site.httpd.mark()

    def expect(*wanted):
        assert records(site) == [tuple(str(x) for x in one) for one in wanted]
    site.expect = expect
    return site


def test_T232_one_record_for_each_success(audited):
    site, github = audited, audited.provider.github
    person = github.user()
    user = site.user_id(site.tokens(site.github_login(user=person)))
    site.expect(("new_user_registered", user, "github"), ("login_successful", user, "github"))
    site.github_login(user=person)
    site.expect(("login_successful", user, "github"))
    keeper = site.make_user("keeper@example.org", "keeper")
    tokens = site.tokens(site.password_login("keeper@example.org"))
    site.expect(("login_successful", keeper, "-"))
    browser = site.browser()
    state = site.state(browser, bearer=tokens["access"])["state"]
    assert browser.post("github/link/", {"code": github.code(github.user()), "state": state},
                        bearer=tokens["access"]).status == 204
    site.expect(("link_account_successful", keeper, "github"))
    assert browser.post("github/unlink/", bearer=tokens["access"]).status == 204
    site.expect(("unlink_account_successful", keeper, "github"))


def test_T232_one_record_for_each_refused_password(audited):
    site = audited
    keeper = site.make_user("keeper@example.org", "keeper")
    site.make_user("asleep@example.org", "asleep", is_active=False)
    for email, reason in (("keeper@example.org", "wrong password for user %s; " % keeper),
                          ("asleep@example.org", "not an active account: user "),
                          ("nobody@example.org", "no such account; ")):
        password = STRONG if email.startswith("asleep") else STRONG + "x"
        assert site.password_login(email, password).status == 401
        assert "SA0100: bad_credentials: " + reason in site.httpd.recent_log()
        site.expect(("bad_credentials", "-", "-"))
    tokens = site.tokens(site.password_login("keeper@example.org"))
    site.httpd.mark()
    browser = site.browser()
    assert browser.post("github/unlink/", {"password": "x"}, bearer=tokens["access"]).status == 400
    assert [r[0] for r in records(site)] in (["wrong_password"], ["not_linked"])


def test_T232_one_record_for_each_refused_token(audited):
    site = audited
    keeper = site.make_user("keeper@example.org", "keeper")
    first = site.tokens(site.password_login("keeper@example.org"))
    browser = site.browser()
    second = browser.post("token/refresh/", {"refresh": first["refresh"]}).json()
    site.httpd.mark()
    assert browser.get("linked-accounts/").status == 401
    site.expect(("not_authenticated", "-", "-"))
    assert browser.get("linked-accounts/", bearer="x.y.z").status == 401
    site.expect(("token_not_valid", "-", "-"))
    assert browser.post("token/refresh/", {"refresh": "x.y.z"}).status == 401
    site.expect(("token_not_valid", "-", "-"))
    assert browser.post("token/refresh/", {"refresh": first["refresh"]}).status == 401
    site.expect(("token_reuse_detected", keeper, "-"), ("token_blacklisted", "-", "-"))
    assert browser.post("token/refresh/", {"refresh": second["refresh"]}).status == 401
    site.expect(("token_blacklisted", "-", "-"))


def test_T232_one_record_for_each_refused_social_login(audited):
    site, github, google = audited, audited.provider.github, audited.provider.google
    browser = site.browser()

    def login(code, state=None, **kw):
        state = state or site.state(browser)["state"]
        return browser.post("github/login/", {"code": code, "state": state}, **kw)
    assert login(github.code(github.user()), "forged").status == 400
    site.expect(("state_invalid", "-", "github"))
    assert login("no-such-code").status == 400
    site.expect(("provider_rejected", "-", "github"))
    unverified = github.user(emails=[{"email": "u@example.com", "primary": True,
                                      "verified": False}])
    assert login(github.code(unverified)).status == 400
    assert records(site)[0][0] in ("email_unverified", "email_missing")
    assert browser.post("google/login/", {"token": google.id_token(aud="other")}).status == 400
    site.expect(("id_token_invalid", "-", "google"))
    site.expect_log("SA0100: provider_unavailable")
    with site.provider.scripted("/github/token", Reply(drop=True)):
        assert login("whatever").status == 502
    assert "SA0100: provider_unavailable: " in site.httpd.recent_log()
    site.httpd.mark()

    owner = site.make_user("owner@example.org", "owner", email_verified=False)
    assert login(github.code(github.user(email="owner@example.org"))).status == 400
    assert "the account is user %s" % owner in site.httpd.recent_log()
    site.expect(("account_exists", "-", "github"))
    person = github.user()
    gone = site.user_id(site.tokens(login(github.code(person))))
    site.db.query("UPDATE sa_users SET is_active = ? WHERE id = ?", False, gone)
    site.httpd.mark()
    assert login(github.code(person)).status == 400
    assert "the account is user %s" % gone in site.httpd.recent_log()
    site.expect(("account_unavailable", "-", "github"))


def test_T232_one_record_for_each_refused_link(audited):
    site, github = audited, audited.provider.github
    taken = github.user()
    alone = site.tokens(site.github_login(user=taken))
    owner = site.user_id(alone)
    keeper = site.make_user("keeper@example.org", "keeper")
    tokens = site.tokens(site.password_login("keeper@example.org"))
    site.httpd.mark()
    browser = site.browser()
    state = site.state(browser, bearer=tokens["access"])["state"]
    assert browser.post("github/link/", {"code": github.code(taken), "state": state},
                        bearer=tokens["access"]).status == 400
    site.expect(("identity_taken", keeper, "github"))
    assert browser.post("github/unlink/", bearer=tokens["access"]).status == 400
    site.expect(("not_linked", keeper, "github"))
    assert browser.post("github/unlink/", bearer=alone["access"]).status == 400
    site.expect(("last_login_method", owner, "github"))


def test_T232_a_flood_is_recorded_as_what_it_is(make_site):
    site = make_site(private=True, throttle="3/hour", mount="SocialAuthAccountThrottleRate off")
    site.httpd.mark()
    got = [site.password_login("nobody@example.org").status for _ in range(8)]
    assert got == [401] * 3 + [429] * 5
    assert records(site) == [("bad_credentials", "-", "-")] * 3 + [("throttled", "-", "-")] * 5


# ---- what the administrator's pages show

STATUS = """
ExtendedStatus On
<Location "/server-status">
    SetHandler server-status
</Location>
<Location "/server-info">
    SetHandler server-info
</Location>
<VirtualHost *:{port}>
    ServerName other.example
    DocumentRoot "{root}/htdocs"
    SocialAuthSecret "the-secret-of-the-other-host-0123456789"
    SocialAuthBaseURL http://localhost:{port}
    <Location "/other">
        SetHandler social-auth
        SocialAuthProvider github client-id=other-id "client-secret=other-hosts-client-secret" \\
            token-url={provider}/github/token
        SocialAuthSMTP smtps://mail.example.org user=web "password=the password of the mail server"
        SocialAuthMailFrom noreply@site.example
    </Location>
</VirtualHost>
"""
HIDDEN = ["the password of the mail server", "the-secret-of-the-other-host-0123456789", "other-hosts-client-secret"]


@pytest.fixture
def shown(make_site):
    return make_site(private=True, modules=["info"], more=STATUS,
                     mount=WEBHOOK % ports.free_port())


def test_T233_server_info_shows_no_secret(shown):
    browser = shown.browser()
    text = browser.get("/server-info?config").text
    # What is shown is this configuration, and says what it is.
    assert "client-id=other-id" in text and "SocialAuthWebhook" in text and "/other" in text
    assert "client-secret=(hidden)" in text and "<i>(hidden)</i>" in text
    for page in ("/server-info", "/server-info?config", "/server-info?mod_social_auth.c"):
        answer = browser.get(page)
        assert answer.status == 200, answer
        for secret in HIDDEN + [SECRET, GITHUB_SECRET, WEBHOOK_KEY]:
            assert secret not in answer.text, (page, secret)
    assert shown.github_login().status == 200           # the secrets themselves are as they were


def test_T233_dumped_configuration_shows_no_secret(shown):
    status, text = shown.httpd.configtest("-D", "DUMP_CONFIG")
    assert "client-id=other-id" in text, text
    for secret in HIDDEN + [SECRET, GITHUB_SECRET, WEBHOOK_KEY]:
        assert secret not in text, secret


@pytest.mark.cell("event", "pgsql")      # one child, so that its status shows what it did
def test_T233_server_status_and_process_list_show_no_token(shown):
    site, browser = shown, shown.browser()
    site.make_user("keeper@example.org", "keeper")
    book = Notebook(site)
    book.keep("code", "c0de-" + secrets.token_hex(8))
    tokens = site.tokens(book.post("token/", {"email": "keeper@example.org", "password": STRONG}))
    state = book.state()
    book.post("github/login/", {"code": book.code(), "state": state["state"]})
    browser.get("linked-accounts/", bearer=tokens["access"])
    book.post("token/refresh/", {"refresh": tokens["refresh"]})
    text = browser.get("/server-status").text + browser.get("/server-status?auto").text
    assert "POST /api/social-auth/github/login/" in text
    seen = []
    for pid in [site.httpd.process.pid] + site.httpd.children():
        for name in ("cmdline", "environ", "comm"):
            with open("/proc/%d/%s" % (pid, name), "rb") as f:
                seen.append(f.read().decode(errors="replace"))
    assert site.httpd.conf in "".join(seen)
    assert book.hits([text] + seen) == []


# ---- what lies in the database

@pytest.mark.db
def test_T66_T131_no_token_lies_in_the_database(make_site):
    site = make_site(mount=WEBHOOK % ports.free_port())
    book = Notebook(site)
    github_errands(book)
    google_errands(book)
    site.make_user("keeper@example.org", "keeper")
    tokens = site.tokens(book.post("token/", {"email": "keeper@example.org", "password": STRONG}))
    book.post("token/refresh/", {"refresh": tokens["refresh"]})
    dump = site.db.dump()
    assert "sa_sessions " in dump and "sa_links " in dump and "sa_outbox " in dump
    # A bytea or a base64 text would hide it from a plain search.
    for value in list(book.secrets.values()):
        for form in (value, value.encode().hex(), base64.b64encode(value.encode()).decode()):
            assert form not in dump, value
    jti = jose.claims_of(tokens["refresh"])["jti"]
    assert jti in dump or jti.encode().hex() in dump    # what is kept instead


@pytest.mark.db
def test_T237_stored_events_hold_no_secret(make_site):
    site = make_site(mount=WEBHOOK % ports.free_port())
    book = Notebook(site)
    github_errands(book)
    google_errands(book)
    site.make_user("keeper@example.org", "keeper")
    book.keep("hash", site.db.value("SELECT password FROM sa_users WHERE username = 'keeper'"))
    assert book.post("token/", {"email": "keeper@example.org", "password": STRONG}).status == 200
    columns = [json.dumps(row, default=str) for row in site.db.query("SELECT * FROM sa_outbox")]
    assert len(columns) >= 5
    assert book.hits(columns) == []
    allowed = {"user_id", "id", "type", "timestamp", "provider", "time", "address", "request_id",
               "mount", "data", "user"}
    for text in (column for row in site.db.query("SELECT * FROM sa_outbox") for column in row):
        payload = json.loads(text) if isinstance(text, str) and text[:1] == "{" else text
        if isinstance(payload, dict):
            assert set(payload) | set(payload.get("data") or {}) <= allowed, payload
