"""What leaves the module when something happened (CONTRACT section 5): the optional hook, webhooks,
NOTIFY. Each exactly where it belongs, nothing lost, nothing told that should not be."""
import calendar
import collections
import json
import os
import re
import shutil
import statistics
import subprocess
import time
import uuid

import pytest

from support import check, jose, paths, webhook
from support.client import at_once
from support.fake_provider import Reply
from support.site import STRONG

NOT_TAKEN = "SA0310"
FIRST_PAUSE = 5                 # seconds before the second attempt


def hook_line(provider, secret, path="/hook"):
    return 'SocialAuthWebhook %s%s "%s"' % (provider.url, path, secret)


@pytest.fixture
def hooked(make_site, provider):
    """hooked(mount=…) -> (site, secret, received): a site with a webhook that is answered 204"""
    def make(path="/hook", mount="", **kw):
        secret = webhook.secret()
        provider.script(path, Reply(204))
        site = make_site(private=True, modules=["watchdog"],
                         mount=hook_line(provider, secret, path) + "\n" + mount, **kw)

        def received():
            return [webhook.verify(secret, r) for r in provider.asked(path)]
        return site, secret, received
    return make


def until(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while True:
        got = condition()
        if got:
            return got
        assert time.monotonic() < deadline, "waited in vain for " + what
        time.sleep(0.05)


def types(received):
    return [payload["type"] for _, payload in received()]


# ---- webhooks

@pytest.mark.db
def test_T234_signed_after_the_standard(hooked, provider):
    site, secret, received = hooked()
    tokens = check.signed_in(site.github_login())
    until(lambda: len(provider.asked("/hook")) >= 2, "two webhooks")
    request = provider.asked("/hook")[0]
    assert request.method == "POST"
    assert request.headers["content-type"].split(";")[0] == "application/json"
    webhook.verify(secret, request)
    # What a receiver must refuse: another body, another id, another time, another key, old news.
    for change in ("body", "webhook-id", "webhook-timestamp"):
        forged = type(request)(request.method, request.path, request.query, dict(request.headers),
                               request.body, request.peer)
        if change == "body":
            forged.body = request.body.replace(b"login_successful", b"login_successfu1") \
                .replace(b"new_user_registered", b"new_user_registere1")
        elif change == "webhook-id":
            forged.headers[change] = "evt_x"
        else:
            forged.headers[change] = str(int(forged.headers[change]) + 1)
        with pytest.raises(webhook.Refused):
            webhook.verify(secret, forged)
    with pytest.raises(webhook.Refused):
        webhook.verify(webhook.secret(), request)
    with pytest.raises(webhook.Refused):
        webhook.verify(secret, request, now=time.time() + 301)
    ids = [identifier for identifier, _ in received()]
    assert len(set(ids)) == len(ids) == 2
    assert sorted(types(received)) == ["login_successful", "new_user_registered"]
    assert {p["data"]["user_id"] for _, p in received()} == {site.user_id(tokens)}
    # Taken is taken.
    until(lambda: site.counts()["sa_outbox"] == 0, "an empty outbox")
    time.sleep(1.5)
    assert len(provider.asked("/hook")) == 2


def test_T237_payload(hooked, provider):
    """Facts, and nothing that opens anything."""
    site, secret, received = hooked()
    browser = site.browser()
    user = provider.github.user(email="ada@example.com")
    before = int(time.time())
    tokens = check.signed_in(site.github_login(browser, user))
    until(lambda: len(provider.asked("/hook")) >= 2, "two webhooks")
    for identifier, payload in received():
        assert re.match(r"^evt_[A-Za-z0-9_-]{16,}$", identifier)
        assert set(payload) == {"type", "timestamp", "data"}, payload
        assert set(payload["data"]) == {"user_id", "provider", "address", "request_id"}, payload
        stamp = re.match(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)$", payload["timestamp"])
        assert stamp, payload
        at = calendar.timegm(time.strptime(payload["timestamp"], "%Y-%m-%dT%H:%M:%SZ"))
        assert before <= at <= time.time() + 1
        assert payload["data"]["provider"] == "github"
        assert payload["data"]["address"] == "127.0.0.1"
    sent = b"".join(r.body + json.dumps(r.headers).encode() for r in provider.asked("/hook"))
    for what in (tokens["access"], tokens["refresh"], "ada@example.com", "gho_", secret,
                 site.settings.secret, "argon2", jose.claims_of(tokens["refresh"])["jti"]):
        assert what.encode() not in sent, what


@pytest.mark.db
def test_T236_one_registration_per_user(hooked, provider):
    """Sixteen first logins at once, and then some: one new_user_registered."""
    site, secret, received = hooked()
    claims = provider.google.claims()

    def login():
        token = provider.google.id_token({**claims, "jti": uuid.uuid4().hex})
        return site.browser().post("google/login/", {"token": token})
    answers = at_once([login] * 16)
    answers += [login() for _ in range(3)]
    ok = sum(a.status == 200 for a in answers)
    assert ok == 19, answers
    until(lambda: len(provider.asked("/hook")) >= 20, "the webhooks")
    time.sleep(1.5)
    assert collections.Counter(types(received)) == {"new_user_registered": 1, "login_successful": 19}
    ids = [identifier for identifier, _ in received()]
    assert len(set(ids)) == len(ids)


def test_T236_refused_logins_tell_nothing(hooked, provider):
    site, secret, received = hooked()
    site.make_user("p@example.org")
    check.refused(site.password_login("p@example.org", "wrong"), "bad_credentials")
    assert site.google_login(email_verified=False).status == 400
    browser = site.browser()
    state = site.state(browser)["state"]
    assert browser.post("github/login/", {"code": "nonsense", "state": state}).status == 400
    time.sleep(2.2)
    assert provider.asked("/hook") == [] and site.counts()["sa_outbox"] == 0


def test_every_type_there_is(hooked, provider):
    site, secret, received = hooked(mount="SocialAuthRefreshReuseInterval 0")
    browser = site.browser()
    site.make_user("p@example.org", "p")
    tokens = check.signed_in(site.password_login("p@example.org", browser=browser))
    state = site.state(browser)["state"]
    code = provider.github.code(provider.github.user())
    assert browser.post("github/link/", {"code": code, "state": state},
                        bearer=tokens["access"]).status == 204
    assert browser.post("github/unlink/", bearer=tokens["access"]).status == 204
    for _ in range(2):
        answer = browser.post("token/refresh/", {"refresh": tokens["refresh"]})
    check.refused(answer, "token_blacklisted")
    until(lambda: len(provider.asked("/hook")) >= 4, "the webhooks")
    got = {p["type"]: p["data"] for _, p in received()}
    assert set(got) == {"login_successful", "link_account_successful", "unlink_account_successful",
                        "token_reuse_detected"}, got
    assert got["login_successful"]["provider"] is None
    assert got["link_account_successful"]["provider"] == "github"
    assert got["unlink_account_successful"]["provider"] == "github"
    assert {d["user_id"] for d in got.values()} == {site.user_id(tokens)}


def test_disconnect_backend_tells_what_unlink_tells(hooked, provider):
    site, secret, received = hooked()
    site.make_user("p@example.org", "p")
    browser = site.browser()
    access = site.tokens(browser.post("token", {"grant_type": "password", "username": "p", "password": STRONG,
                                                **site.application()}))["access_token"]
    assert browser.post("google/link/", {"token": provider.google.id_token()}, bearer=access).status == 204
    entries = browser.get("linked-accounts/", bearer=access).json()["providers"]
    number = next(e["association_id"] for e in entries if e["is_linked"])
    body = {"backend": "google-oauth2", "association_id": number + 1}
    assert browser.post("disconnect-backend/", body, bearer=access).status == 400
    assert browser.post("disconnect-backend/", {**body, "association_id": number}, bearer=access).status == 204
    until(lambda: len(provider.asked("/hook")) >= 3, "the webhooks")
    got = {p["type"]: p["data"]["provider"] for _, p in received()}
    assert got == {"login_successful": None, "link_account_successful": "google",
                   "unlink_account_successful": "google"}


FAILING = {
    "500": Reply(500, {"no": "thanks"}),
    "400": Reply(400),
    "closed": Reply(drop=True),
    "redirect": Reply(307, headers=[("Location", "/elsewhere")]),
    "found": Reply(302, headers=[("Location", "/elsewhere")]),
    "endless": Reply(endless=b"x" * 65536),
    "garbage": Reply(raw=b"\x00\x01\x02 not HTTP at all\r\n\r\n"),
    "hangs": Reply(hang=True),
}


@pytest.mark.parametrize("how", FAILING, ids=list(FAILING))
def test_T235_T238_receiver_that_does_not_take_it(hooked, provider, how):
    """It is told again after a pause, at the same address only, and signing in never waits."""
    site, secret, received = hooked(mount="SocialAuthTimeout connect=1 total=2\n"
                                          "SocialAuthMaxResponse 64K")
    site.expect_log("SA031")
    provider.script("/hook", Reply(**{k: v for k, v in vars(FAILING[how]).items()
                                      if k in ("status", "body", "headers", "hang", "drop", "raw",
                                               "endless")}))
    provider.script("/elsewhere", Reply(204))
    before = site.httpd.largest()
    check.signed_in(site.google_login())
    until(lambda: len(provider.asked("/hook")) >= 2, "the first attempts")
    times = []
    for _ in range(10):
        began = time.monotonic()
        assert site.browser().get("github/state/").status == 200
        times.append(time.monotonic() - began)
    assert statistics.median(times) < 0.5, times
    pauses = {}
    until(lambda: pauses.update(site.db.query("SELECT id, next_attempt FROM sa_outbox WHERE attempts = 1"
                                              " AND leased_until IS NULL AND dead = 0")) or len(pauses) == 2,
          "the pause")
    assert site.httpd.largest() - before < 60000, "the answer was kept"
    provider.script("/hook", Reply(204))
    provider.release()
    until(lambda: site.counts()["sa_outbox"] == 0, "the second attempt")
    # The same event keeps its id, so that a receiver can tell.
    assert sorted(dict(received()).items()) == sorted(received()[-2:])
    assert sorted(types(received)[-2:]) == ["login_successful", "new_user_registered"]
    sent = collections.defaultdict(list)
    for request in provider.asked("/hook"):
        sent[request.headers["webhook-id"]].append(int(request.headers["webhook-timestamp"]))
    assert sent.keys() == pauses.keys()
    for identifier, stamps in sent.items():
        assert FIRST_PAUSE <= pauses[identifier] - stamps[0] <= FIRST_PAUSE + 10, (stamps, pauses)
        assert stamps[1] >= pauses[identifier], (stamps, pauses)
    assert provider.asked("/elsewhere") == []


def test_T235_login_is_not_slowed_by_a_hanging_receiver(hooked, provider):
    site, secret, received = hooked()
    site.expect_log("SA031")
    provider.script("/hook", Reply(hang=True))
    check.signed_in(site.google_login())
    until(lambda: provider.asked("/hook"), "the hanging delivery")
    times = []
    for _ in range(40):
        began = time.monotonic()
        check.signed_in(site.google_login())
        times.append(time.monotonic() - began)
    assert sorted(times)[37] < 1 and max(times) < 8, sorted(times)[-5:]
    assert site.counts()["sa_outbox"] == 82, "the queue lost some"


def test_T235_gone_means_gone(hooked, provider):
    site, secret, received = hooked()
    provider.script("/hook", Reply(410))
    check.signed_in(site.google_login())
    until(lambda: len(provider.asked("/hook")) >= 2 and site.counts()["sa_outbox"] == 0, "the end")
    time.sleep(2)
    assert len(provider.asked("/hook")) == 2


@pytest.mark.db
def test_T235_given_up_after_ten_attempts(hooked, provider):
    """Kept as dead, said in the log, not sent again."""
    site, secret, received = hooked()
    site.expect_log("SA031")
    provider.script("/hook", Reply(500))
    check.signed_in(site.google_login())
    until(lambda: len(provider.asked("/hook")) >= 2, "the first attempts")
    until(lambda: site.db.value("SELECT count(*) FROM sa_outbox WHERE leased_until IS NULL") == 2,
          "the settling")
    site.db.query("UPDATE sa_outbox SET attempts = 9, next_attempt = 0")
    until(lambda: site.db.value("SELECT count(*) FROM sa_outbox WHERE dead = 1") == 2, "the end")
    assert site.httpd.recent_log().count("is given up after 10 attempts") == 2
    n = len(provider.asked("/hook"))
    site.db.query("UPDATE sa_outbox SET next_attempt = 0")
    time.sleep(2.5)
    assert len(provider.asked("/hook")) == n
    assert site.counts()["sa_outbox"] == 2


@pytest.mark.db
@pytest.mark.parametrize("when", ["before", "during", "between"])
def test_kill_9_of_the_server_loses_nothing(hooked, provider, when):
    """before: right after the answer; during: while the receiver has it and has not said yes;
    between: after a failed attempt."""
    site, secret, received = hooked()
    site.expect_log("SA031")
    provider.script("/hook", Reply(500) if when == "between" else Reply(hang=True))
    tokens = check.signed_in(site.google_login())
    if when != "before":
        until(lambda: provider.asked("/hook"), "an attempt")
    if when == "between":
        until(lambda: len(provider.asked("/hook")) >= 2, "both attempts")
    site.httpd.kill()
    assert site.counts()["sa_outbox"] == 2
    provider.script("/hook", Reply(204))
    provider.release()
    # A lease ends by itself after a minute; nobody wants to wait for that here.
    site.db.query("UPDATE sa_outbox SET leased_until = 1 WHERE leased_until IS NOT NULL")
    site.httpd.start()
    until(lambda: site.counts()["sa_outbox"] == 0, "the delivery")
    # What was sent before has its id again.
    events = dict(received())
    assert sorted(p["type"] for p in events.values()) == ["login_successful", "new_user_registered"]
    assert {p["data"]["user_id"] for p in events.values()} == {site.user_id(tokens)}


def test_a_lease_ends_by_itself(hooked, provider):
    """What a killed server had in hand is in nobody's for a while, and then anybody's."""
    site, secret, received = hooked()
    provider.script("/hook", Reply(hang=True))
    check.signed_in(site.google_login())
    until(lambda: provider.asked("/hook"), "an attempt")
    site.httpd.kill()
    lease = site.db.value("SELECT max(leased_until) FROM sa_outbox") - time.time()
    assert 12 < lease <= 120, lease
    free = int(time.time()) + 3
    site.db.query("UPDATE sa_outbox SET leased_until = ?", free)
    provider.script("/hook", Reply(204))
    provider.release()
    before = len(provider.asked("/hook"))
    site.httpd.start()
    until(lambda: site.counts()["sa_outbox"] == 0, "the delivery")
    assert time.time() >= free
    assert len(provider.asked("/hook")) == before + 2


def test_graceful_restart_keeps_delivering(hooked, provider):
    site, secret, received = hooked()
    for n in range(3):
        check.signed_in(site.google_login())
        site.httpd.graceful()
    check.signed_in(site.google_login())
    until(lambda: len({i for i, _ in received()}) >= 8 and site.counts()["sa_outbox"] == 0,
          "eight events")
    assert collections.Counter(p["type"] for i, p in {i: (i, p) for i, p in received()}.values()) == {
        "new_user_registered": 4, "login_successful": 4}


@pytest.mark.process
def test_server_ends_while_a_receiver_hangs(hooked, provider):
    """The worker's thread does not outlive what it works with: no child crashes, none lingers."""
    site, secret, received = hooked()
    site.expect_log("SA031")
    provider.script("/hook", Reply(204, delay=1.5))
    for n in range(1, 4):
        before = len(provider.asked("/hook"))
        check.signed_in(site.google_login())
        until(lambda: len(provider.asked("/hook")) > before, "delivery %d" % n)
        began = time.monotonic()
        site.httpd.restart() if n < 3 else site.httpd.stop()
        assert time.monotonic() - began < 15
        site.db.query("UPDATE sa_outbox SET leased_until = NULL")
    assert "exit signal" not in site.httpd.log()


@pytest.mark.cell("prefork", "sqlite3")
def test_T235_hanging_receiver_takes_no_childs_place(hooked, provider):
    """One child, one thread for requests: a delivery under way is not in its way."""
    site, secret, received = hooked(mpm_settings="StartServers 1\nMinSpareServers 1\n"
                                    "MaxSpareServers 1\nMaxRequestWorkers 1\nServerLimit 1")
    site.expect_log("SA031", "AH00161")
    provider.script("/hook", Reply(hang=True))
    check.signed_in(site.github_login())
    until(lambda: provider.asked("/hook"), "the hanging delivery")
    for _ in range(3):
        check.signed_in(site.github_login())


def test_two_receivers_each_until_it_has_it(make_site, provider):
    one, two = webhook.secret(), webhook.secret()
    provider.script("/one", Reply(204))
    provider.script("/two", Reply(503))
    site = make_site(private=True, modules=["watchdog"],
                     mount=hook_line(provider, one, "/one") + "\n" + hook_line(provider, two, "/two"))
    site.expect_log("SA031")
    check.signed_in(site.google_login())
    until(lambda: len(provider.asked("/one")) >= 2 and len(provider.asked("/two")) >= 2, "both")
    provider.script("/two", Reply(200, "fine"))
    until(lambda: site.counts()["sa_outbox"] == 0, "the second attempt")
    assert len(provider.asked("/one")) == 2, "who had it got it again"
    assert len(provider.asked("/two")) == 4
    for path, secret in (("/one", one), ("/two", two)):
        for request in provider.asked(path):
            webhook.verify(secret, request)


# ---- several mounts

SECOND = """
<Location "/second">
    SetHandler social-auth
    SocialAuthProvider google client-id=1234567890-abc.apps.googleusercontent.com \
jwks-url={provider}/google/certs issuer=https://accounts.google.com allow-http=on
    SocialAuthThrottleRate off
    %s
</Location>
"""


def test_T238_webhooks_of_mounts_do_not_mix(make_site, provider):
    """One database, two mounts, each with its receiver and secret; a third without any."""
    first, second = webhook.secret(), webhook.secret()
    provider.script("/first", Reply(204))
    provider.script("/second-hook", Reply(204))
    site = make_site(private=True, modules=["watchdog"], mount=hook_line(provider, first, "/first"),
                     more=SECOND % hook_line(provider, second, "/second-hook") +
                     (SECOND % "").replace('"/second"', '"/third"'))
    users = {}
    for mount in (site.settings.path, "/second", "/third"):
        users[mount] = site.user_id(check.signed_in(site.google_login(site.browser(mount=mount))))
    until(lambda: len(provider.asked("/first")) >= 2 and len(provider.asked("/second-hook")) >= 2,
          "both receivers")
    time.sleep(1.5)
    for path, secret, mount in (("/first", first, site.settings.path),
                                ("/second-hook", second, "/second")):
        got = [webhook.verify(secret, r)[1] for r in provider.asked(path)]
        assert {p["data"]["user_id"] for p in got} == {users[mount]} and len(got) == 2
    assert site.counts()["sa_outbox"] == 0


@pytest.mark.db
def test_events_of_another_server_are_left_to_it(make_site, provider):
    """Two servers, one database, each with its receiver: none takes away what the other must tell."""
    one, two = webhook.secret(), webhook.secret()
    provider.script("/one", Reply(503))
    provider.script("/two", Reply(204))
    first = make_site(private=True, modules=["watchdog"], mount=hook_line(provider, one, "/one"))
    first.expect_log("SA031")
    check.signed_in(first.google_login())
    until(lambda: len(provider.asked("/one")) >= 2, "the first attempts")
    first.httpd.stop()
    second = make_site(database=first.db, modules=["watchdog"], mount=hook_line(provider, two, "/two"))
    check.signed_in(second.google_login())
    until(lambda: len(provider.asked("/two")) >= 1, "the second server's")
    time.sleep(6)                                       # those of the first are due again
    assert first.counts()["sa_outbox"] == 2
    assert {webhook.verify(two, r)[1]["type"] for r in provider.asked("/two")} == {"login_successful"} \
        or len(provider.asked("/two")) == 2
    second.httpd.stop()
    provider.script("/one", Reply(204))
    asked = len(provider.asked("/one"))
    first.httpd.start()
    until(lambda: len(provider.asked("/one")) >= asked + 2, "what was kept")
    until(lambda: first.counts()["sa_outbox"] == 0, "the end")


@pytest.mark.db
def test_T236_first_sign_in_of_a_user_made_elsewhere(hooked, provider):
    """Once, as the package tells it of a user who never signed in; then never again."""
    site, secret, received = hooked()
    site.make_user("ada@gmail.com", "ada")
    for _ in range(2):
        check.signed_in(site.google_login(sub="1", email="ada@gmail.com"))
    until(lambda: len(provider.asked("/hook")) >= 4, "the webhooks")
    assert collections.Counter(types(received)) == {
        "new_user_registered": 1, "link_account_successful": 1, "login_successful": 2}
    # A link that was made elsewhere as well.
    site.make_user("eve@gmail.com", "eve")
    site.db.query("INSERT INTO sa_links (issuer, subject, user_id, provider, linked_at) SELECT issuer, '2',"
                  " (SELECT id FROM sa_users WHERE username = 'eve'), provider, linked_at FROM sa_links")
    for _ in range(2):
        check.signed_in(site.google_login(sub="2", email="eve@gmail.com"))
    until(lambda: len(provider.asked("/hook")) >= 7, "the webhooks")
    assert collections.Counter(types(received)) == {
        "new_user_registered": 2, "link_account_successful": 1, "login_successful": 4}


# ---- NOTIFY

@pytest.mark.cell("event", "pgsql")
def test_notify(hooked, provider):
    site, secret, received = hooked(mount="SocialAuthNotify On")
    listener = site.db.listen()
    tokens = check.signed_in(site.google_login())
    heard = listener.heard()
    assert [set(h) for h in heard] == [{"id", "type"}] * 2
    assert [h["type"] for h in heard] == ["new_user_registered", "login_successful"]
    until(lambda: len(provider.asked("/hook")) >= 2, "the webhooks")
    assert {h["id"] for h in heard} == {i for i, _ in received()}
    # The row is there for who looks it up, before it is delivered: NOTIFY comes after the commit.
    site.browser().post("token/refresh/", {"refresh": tokens["refresh"]})
    assert listener.heard() == []
    listener.close()


@pytest.mark.cell("event", "pgsql")
def test_notify_is_off_by_default(hooked):
    site, secret, received = hooked()
    listener = site.db.listen()
    check.signed_in(site.google_login())
    assert listener.heard() == []
    listener.close()


@pytest.mark.cell("event", "sqlite3")
def test_notify_on_sqlite_does_nothing(make_site):
    site = make_site(mount="SocialAuthNotify On")
    check.signed_in(site.google_login())


# ---- other modules

@pytest.fixture(scope="session")
def event_sample(_everything_ends):
    """The sample module, built with apxs as its author would."""
    directory = paths.make_dir("event-sample")
    source = os.path.join(paths.TESTS, "integration", "support", "mod_event_sample.c")
    shutil.copy(source, directory)
    apxs = shutil.which("apxs") or shutil.which("apxs2")
    done = subprocess.run([apxs, "-Wc,-Wall", "-Wc,-Werror", "-I", os.path.join(paths.TOP, "src"),
                           "-c", "mod_event_sample.c"], cwd=directory, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return os.path.join(directory, ".libs", "mod_event_sample.so")


@pytest.fixture
def sampled(make_site, event_sample, provider):
    """sampled(…) -> (site, events)"""
    def make(more="", **kw):
        path = os.path.join(paths.make_dir("events"), uuid.uuid4().hex)
        open(path, "w").close()
        os.chmod(path, 0o666)
        site = make_site(private=True, modules=[event_sample],
                         more="EventSampleFile %s\n%s" % (path, more), **kw)

        def events():
            with open(path) as f:
                return [json.loads(line) for line in f]
        return site, events
    return make


@pytest.mark.process
def test_optional_hook(sampled, provider):
    site, events = sampled()
    before = time.time()
    browser = site.browser()
    tokens = check.signed_in(site.github_login(browser))
    got = events()
    assert [e["type"] for e in got] == ["new_user_registered", "login_successful"]
    for event in got:
        assert event["user_id"] == site.user_id(tokens)
        assert event["provider"] == "github" and event["mount"] == site.settings.path
        assert event["address"] == "127.0.0.1" and event["id"].startswith("evt_")
        assert event["uri"] == site.settings.path + "/github/login/"
        assert before - 2 < event["time"] / 1e6 < time.time() + 2
        assert event["size"] >= 72
    assert got[0]["id"] != got[1]["id"]
    site.make_user("p@example.org")
    check.signed_in(site.password_login("p@example.org"))
    assert events()[-1]["type"] == "login_successful" and events()[-1]["provider"] is None
    n = len(events())
    check.refused(site.password_login("p@example.org", "wrong"), "bad_credentials")
    assert len(events()) == n


def test_hook_and_webhook_speak_of_the_same_event(sampled, provider):
    secret = webhook.secret()
    provider.script("/hook", Reply(204))
    site, events = sampled(mount=hook_line(provider, secret))
    check.signed_in(site.google_login())
    until(lambda: len(provider.asked("/hook")) >= 2, "the webhooks")
    by_hook = {e["id"]: (e["type"], e["user_id"], e["request_id"]) for e in events()}
    by_web = {i: (p["type"], p["data"]["user_id"], p["data"]["request_id"])
              for i, p in (webhook.verify(secret, r) for r in provider.asked("/hook"))}
    assert by_hook == by_web


def test_hook_cannot_veto(sampled):
    site, events = sampled(more="EventSampleReturn 500")
    tokens = check.signed_in(site.google_login())
    assert site.browser().get("linked-accounts/", bearer=tokens["access"]).status == 200
    assert events()


@pytest.mark.db
def test_T54_T236_hook_once_per_user(sampled, provider):
    site, events = sampled()
    claims = provider.google.claims()
    tokens = [provider.google.id_token({**claims, "jti": uuid.uuid4().hex}) for _ in range(16)]
    answers = at_once([lambda t=t: site.browser().post("google/login/", {"token": t})
                       for t in tokens])
    assert {a.status for a in answers} == {200}
    assert collections.Counter(e["type"] for e in events()) == {
        "new_user_registered": 1, "login_successful": 16}
