"""Access tokens die when they should: what ends a session is felt by every process of every server
on its database within a second, and without a query per request.

The second is a promise of the server, not a matter of luck: what it has not heard lately it looks up. So
whatever is asked later than that must be refused."""
import contextlib
import os
import signal
import time

import pytest

from support import check, jose
from support.client import at_once
from support.fake_provider import Reply
from support.site import STRONG
from support import webhook

SECOND = 1.02
PG = pytest.mark.cell("event", "pgsql")
GENERATIONS = ("AH0048[45]", "AH10159", "AH03490", "AH00288", "AH00289")
IN_TROUBLE = ("SA0330", "SA0100: unavailable: ", r"\[dbd:error\]", "SA0301")
LONG_PAST = 1500000000


def sign_in(site, email="ada@example.org"):
    if not site.db.query("SELECT id FROM sa_users WHERE email = ?", email):
        site.make_user(email)
    return check.signed_in(site.password_login(email))


def sid_of(tokens):
    return jose.claims_of(tokens["access"])["sid"]


def ask(browser, tokens):
    """A route that asks for no account: only the check of the token may touch the database."""
    return browser.get("github/state/", bearer=tokens["access"])


class Everybody:
    """Connections to (nearly) all children at once: one that is kept alive has its child, on prefork
    for itself alone."""

    def __init__(self, site, n, **kw):
        self.browsers = [site.browser(**kw) for _ in range(n)]
        for browser in self.browsers:
            browser.send_cookies = False

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for browser in self.browsers:
            browser.close()

    def ask(self, tokens):
        return at_once([lambda b=b: ask(b, tokens) for b in self.browsers])

    def all_accept(self, tokens):
        for answer in self.ask(tokens):
            assert answer.status == 200, answer

    def all_refuse(self, tokens):
        for answer in self.ask(tokens):
            check.access_refused(answer)


def end_by_sql(site, tokens):
    """As another server does, or somebody else's program."""
    site.db.query("UPDATE sa_sessions SET revoked_at = ? WHERE sid = ?", LONG_PAST, sid_of(tokens))


@contextlib.contextmanager
def sessions_locked(site):
    """Whoever asks for a session now waits, and is answered 503."""
    with contextlib.closing(site.db.connect()) as connection:
        connection.cursor().execute("LOCK TABLE sa_sessions, sa_users IN ACCESS EXCLUSIVE MODE")
        yield


def is_heard(site, tokens):
    """The token is good, and was found good without the database."""
    site.expect_log("SA0100: unavailable: ")
    with sessions_locked(site):
        try:
            answer = ask(site.browser(timeout=1), tokens)
        except TimeoutError:
            return False
    assert answer.status == 200, answer
    return True


def needs_no_session(browser, tokens):
    """Asked while sessions are locked."""
    try:
        answer = ask(browser, tokens)
    except TimeoutError:
        return False
    assert answer.status in (200, 503), answer
    return answer.status == 200


def nearly_all(answers):
    """On a busy machine a look may come late."""
    return sum(answers) >= 0.8 * len(answers)


def wait_until(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain for " + what
        time.sleep(0.1)


# ---- felt everywhere

@pytest.mark.db
@pytest.mark.process
def test_T127_sign_out_is_felt_by_every_child(site):
    ada, bob, eve = sign_in(site), sign_in(site, "bob@example.org"), sign_in(site, "eve@example.org")
    with Everybody(site, 20) as everybody:
        everybody.all_accept(ada)
        assert site.browser().post("token/blacklist/", {"refresh": ada["refresh"]}).status == 200
        everybody.all_refuse(ada)                       # this server ended it: at once
        end_by_sql(site, bob)
        time.sleep(SECOND)
        everybody.all_refuse(bob)
        everybody.all_accept(eve)
    check.access_refused(site.browser().post("github/link/", {}, bearer=bob["access"]))
    check.access_refused(site.browser().get("linked-accounts/", bearer=bob["access"]))
    check.refused(site.browser().post("token/verify/", {"token": bob["access"]}), "token_blacklisted")


@pytest.mark.db
def test_T127_two_servers_on_one_database(make_site):
    one = make_site(private=True, base_url="https://site.example.test")
    two = make_site(private=True, base_url="https://site.example.test", database=one.db)
    tokens, other = sign_in(one), sign_in(one, "bob@example.org")
    with Everybody(two, 10) as everybody:
        everybody.all_accept(tokens)
        assert one.browser().post("token/blacklist/", {"refresh": tokens["refresh"]}).status == 200
        time.sleep(SECOND)
        everybody.all_refuse(tokens)
        everybody.all_accept(other)


@pytest.mark.db
def test_T60_deactivated_deleted_and_changed(site):
    """By another process: socialauthctl, or SQL."""
    people = {name: sign_in(site, name + "@example.org") for name in ("a", "b", "c", "d")}
    site.db.ctl("users", "deactivate", "a@example.org")
    site.db.ctl("users", "set-password", "b@example.org", "--password-stdin", stdin=STRONG + "!\n")
    connection = site.db.connect()
    cursor = connection.cursor()
    if site.db.driver == "sqlite3":
        cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("DELETE FROM sa_users WHERE email = 'c@example.org'")
    connection.commit()
    connection.close()
    time.sleep(SECOND)
    with Everybody(site, 10) as everybody:
        for name in ("a", "b", "c"):
            everybody.all_refuse(people[name])
        everybody.all_accept(people["d"])


@pytest.mark.process
def test_T116_access_dies_with_its_family(make_site):
    site = make_site(mount="SocialAuthRefreshReuseInterval 0")
    tokens = sign_in(site)
    newer = check.signed_in(site.browser().post("token/refresh/", {"refresh": tokens["refresh"]}))
    with Everybody(site, 10) as everybody:
        everybody.all_accept(tokens)
        everybody.all_accept(newer)
        check.refused(site.browser().post("token/refresh/", {"refresh": tokens["refresh"]}),
                      "token_blacklisted")
        everybody.all_refuse(tokens)
        everybody.all_refuse(newer)


def test_T60_inactive_user_who_refreshes(site):
    """Somebody else's program deactivated the account: our own look at it ends the session."""
    tokens = sign_in(site)
    site.db.query("UPDATE sa_users SET is_active = ?", False)
    assert site.browser().post("token/refresh/", {"refresh": tokens["refresh"]}).status == 401
    check.access_refused(ask(site.browser(), tokens))


def test_no_access_token_outlives_its_session(make_site):
    site = make_site(mount="SocialAuthSessionLifetime 90s")
    claims = jose.claims_of(sign_in(site)["access"])
    assert claims["exp"] == claims["iat"] + 90


@PG
def test_T127_a_transaction_that_stays_open(site):
    """Others commit meanwhile; what it ended is felt when it commits."""
    slow, fast = sign_in(site), sign_in(site, "bob@example.org")
    connection = site.db.connect()
    connection.cursor().execute("UPDATE sa_sessions SET revoked_at = 1 WHERE sid = %s",
                                (sid_of(slow),))
    end_by_sql(site, fast)
    time.sleep(SECOND)
    check.access_refused(ask(site.browser(), fast))
    assert ask(site.browser(), slow).status == 200
    connection.commit()
    connection.close()
    time.sleep(SECOND)
    check.access_refused(ask(site.browser(), slow))


# ---- without a query

@PG
@pytest.mark.slow
def test_no_query_per_request(make_site):
    site = make_site(private=True)
    tokens = sign_in(site)
    wait_until(lambda: is_heard(site, tokens), "the first look")
    heard = []
    with Everybody(site, 8, timeout=1) as everybody, sessions_locked(site):
        for _ in range(20):
            heard += at_once([lambda b=b: needs_no_session(b, tokens) for b in everybody.browsers])
            time.sleep(0.1)
    assert nearly_all(heard), heard


@PG
@pytest.mark.slow
def test_T235_not_held_up_by_a_hanging_receiver(make_site, provider):
    provider.script("/hook", Reply(hang=True))
    site = make_site(private=True, mount='SocialAuthWebhook %s/hook "%s"' % (provider.url,
                                                                            webhook.secret()))
    site.expect_log("SA031")
    tokens = sign_in(site)
    wait_until(lambda: provider.asked("/hook"), "the hanging delivery")
    wait_until(lambda: is_heard(site, tokens), "the first look")
    heard = []
    with sessions_locked(site):
        for _ in range(30):
            heard.append(needs_no_session(site.browser(timeout=1), tokens))
            time.sleep(0.1)
    assert nearly_all(heard), heard
    end_by_sql(site, tokens)
    time.sleep(SECOND)
    check.access_refused(ask(site.browser(), tokens))


# ---- restarts and deaths

@pytest.mark.db
@pytest.mark.process
def test_T127_cold_start(make_site):
    """A token that was revoked before the server started, or while it was away."""
    site = make_site(private=True)
    site.expect_log("SA0330")           # SQLite's files may still be root's
    before, meanwhile, good = (sign_in(site, name + "@example.org") for name in "abc")
    assert site.browser().post("token/blacklist/", {"refresh": before["refresh"]}).status == 200
    site.httpd.kill()
    end_by_sql(site, meanwhile)
    site.httpd.start()
    for _ in range(2):                                  # asked of the database, then heard
        with Everybody(site, 6) as everybody:
            everybody.all_refuse(before)
            everybody.all_refuse(meanwhile)
            everybody.all_accept(good)
        time.sleep(2)


@pytest.mark.process
@pytest.mark.slow
def test_T127_T221_graceful_restart(make_site):
    site = make_site(private=True)
    site.expect_log(*GENERATIONS)
    good = sign_in(site, "good@example.org")
    for n in range(4):
        ended = sign_in(site, "u%d@example.org" % n)
        end_by_sql(site, ended)
        site.httpd.graceful()
        time.sleep(SECOND)
        for _ in range(10):
            check.access_refused(ask(site.browser(), ended))
            assert ask(site.browser(), good).status == 200
            time.sleep(0.05)


def owner(site):
    """The child that hears: it has a thread more than the others, which have equally many."""
    found = []

    def look():
        threads = {pid: len(os.listdir("/proc/%d/task" % pid)) for pid in site.httpd.children()}
        found[:] = sorted(threads, key=threads.get)
        *others, most = sorted(threads.values())
        return len(set(others)) == 1 and others[0] < most
    wait_until(look, "a child to hear")
    return found[-1]


@pytest.mark.db
@pytest.mark.process
@pytest.mark.slow
def test_T222_T127_the_child_that_hears_is_killed(make_site):
    """mod_watchdog gives its place to another one ten seconds later; until then each token is looked
    up."""
    site = make_site(private=True)
    site.expect_log("exit signal Kill", *GENERATIONS)
    good, ended, later = (sign_in(site, name + "@example.org") for name in "abc")
    os.kill(owner(site), signal.SIGKILL)
    end_by_sql(site, ended)
    time.sleep(SECOND)
    with Everybody(site, 6) as everybody:
        everybody.all_refuse(ended)
        everybody.all_accept(good)
    if site.db.driver == "pgsql":
        assert not is_heard(site, good)
        wait_until(lambda: is_heard(site, good), "another child to take over")
    end_by_sql(site, later)
    time.sleep(SECOND)
    check.access_refused(ask(site.browser(), later))


@PG
@pytest.mark.slow
def test_T157_the_child_that_hears_is_frozen(make_site):
    """It has the worker's lock and does nothing: the others notice."""
    site = make_site(private=True)
    ended, good = sign_in(site), sign_in(site, "good@example.org")
    wait_until(lambda: is_heard(site, good), "the first look")
    pid = owner(site)
    os.kill(pid, signal.SIGSTOP)
    try:
        end_by_sql(site, ended)
        time.sleep(SECOND)
        for _ in range(6):
            browser = site.browser(timeout=2)
            try:
                check.access_refused(ask(browser, ended))
                assert ask(browser, good).status == 200
            except TimeoutError:
                pass                                    # the frozen one took the connection
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: is_heard(site, good), "it to hear again")


# ---- the database is away

@pytest.fixture(scope="module")
def cluster(databases):
    made = databases.cluster("revocation")
    yield made
    made.stop("immediate")


@PG
@pytest.mark.slow
def test_T157_T209_database_away_and_back(make_site, databases, cluster):
    """Away for httpd only: its socket has another name. What is ended meanwhile is known afterwards."""
    site = make_site(database=databases.make("pgsql", cluster))
    site.expect_log(*IN_TROUBLE)
    ended, good = sign_in(site), sign_in(site, "good@example.org")
    wait_until(lambda: is_heard(site, good), "the first look")
    socket = os.path.join(cluster.directory, ".s.PGSQL.")
    elsewhere = site.db.params.replace("port=5432", "port=5433")
    here, site.db.params = site.db.params, elsewhere
    os.rename(socket + "5432", socket + "5433")
    site.db.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                  " AND datname = current_database()")
    end_by_sql(site, ended)
    time.sleep(SECOND)
    for tokens in (ended, good):
        for _ in range(5):
            check.refused(ask(site.browser(), tokens), "unavailable")
    wait_until(lambda: "SA0330" in site.httpd.recent_log(), "the complaint")
    os.rename(socket + "5433", socket + "5432")
    site.db.params = here
    for _ in range(20):
        answer = ask(site.browser(), ended)
        assert answer.status in (401, 503), answer
        time.sleep(0.1)
    check.access_refused(ask(site.browser(), ended))
    assert ask(site.browser(), good).status == 200
    wait_until(lambda: is_heard(site, good), "it to hear again")
    wait_until(lambda: "SA0331" in site.httpd.recent_log(), "it to say so")


@PG
@pytest.mark.slow
def test_T157_database_restarts(make_site, databases, cluster):
    site = make_site(database=databases.make("pgsql", cluster))
    site.expect_log(*IN_TROUBLE)
    ended, good = sign_in(site), sign_in(site, "good@example.org")
    cluster.stop("immediate")
    time.sleep(SECOND)
    check.refused(ask(site.browser(), good), "unavailable")
    cluster.start()
    end_by_sql(site, ended)
    time.sleep(SECOND)
    for _ in range(5):
        assert ask(site.browser(), ended).status in (401, 503)
    wait_until(lambda: is_heard(site, good), "it to hear again")
    check.access_refused(ask(site.browser(), ended))


@PG
@pytest.mark.slow
def test_one_failed_look_is_not_worth_a_line(make_site):
    """A look fails after two seconds; the next one, a third of a second later, waits for the lock's end."""
    def looking():
        return {pid for pid, in site.db.query(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock' AND query LIKE '%pg_current_snapshot%'")}
    site = make_site(private=True)
    tokens = sign_in(site)
    wait_until(lambda: is_heard(site, tokens), "the first look")
    with contextlib.closing(site.db.connect()) as lock:
        lock.cursor().execute("LOCK TABLE sa_revocations IN ACCESS EXCLUSIVE MODE")
        first = set()
        wait_until(lambda: first.update(looking()) or first, "a look to wait")
        wait_until(lambda: looking() - first, "it to fail, and another one to wait")
    wait_until(lambda: is_heard(site, tokens), "the next look")
    assert "SA033" not in site.httpd.recent_log()


@pytest.mark.cell("event", "sqlite3")
@pytest.mark.slow
def test_T157_no_feed(make_site):
    """Something is wrong with the table itself: each token is looked up, and one line is logged."""
    site = make_site(private=True)
    site.expect_log(*IN_TROUBLE)
    ended, good = sign_in(site), sign_in(site, "good@example.org")
    site.db.query("ALTER TABLE sa_revocations RENAME TO away")
    wait_until(lambda: "SA0330" in site.httpd.recent_log(), "the complaint")
    time.sleep(SECOND)
    site.db.query("DROP TRIGGER sa_session_revoked")
    end_by_sql(site, ended)
    check.access_refused(ask(site.browser(), ended))
    assert ask(site.browser(), good).status == 200
    assert site.httpd.recent_log().count("SA0330") == 1


# ---- full

@pytest.mark.db
@pytest.mark.slow
def test_T157_more_than_fits(make_site):
    site = make_site(private=True, server="SocialAuthSharedMemory 1M")
    site.expect_log("SA0330")
    good, ended, last = (sign_in(site, name + "@example.org") for name in "abc")
    at = int(time.time()) - 3600 - 600 + 25             # they are forgotten in as many seconds
    many = ["%032x" % n for n in range(6000)]
    connection = site.db.connect()
    for n in range(0, 6000, 500):
        connection.cursor().execute("INSERT INTO sa_revocations (sid, at) VALUES "
                                    + ", ".join("('%s', %d)" % (sid, at) for sid in many[n:n + 500]))
    connection.commit()
    connection.close()
    wait_until(lambda: "SA0330" in site.httpd.recent_log(), "the complaint")
    time.sleep(SECOND)
    end_by_sql(site, ended)
    with Everybody(site, 6) as everybody:
        everybody.all_refuse(ended)                     # each is looked up: at once
        everybody.all_accept(good)
        if site.db.driver == "pgsql":
            assert not is_heard(site, good)
    wait_until(lambda: "SA0331" in site.httpd.recent_log(), "room")
    with Everybody(site, 6) as everybody:
        everybody.all_refuse(ended)
        everybody.all_accept(good)
        end_by_sql(site, last)
        time.sleep(SECOND)
        everybody.all_refuse(last)
    if site.db.driver == "pgsql":
        wait_until(lambda: is_heard(site, good), "it to hear again")


# ---- the directive

@pytest.mark.db
def test_check_in_the_database(make_site):
    """At once, and whoever deactivated the account."""
    site = make_site(mount="SocialAuthRevocationCheck database")
    ended, inactive = sign_in(site), sign_in(site, "bob@example.org")
    end_by_sql(site, ended)
    site.db.query("UPDATE sa_users SET is_active = ? WHERE email = ?", False, "bob@example.org")
    check.access_refused(ask(site.browser(), ended))
    check.access_refused(ask(site.browser(), inactive))


@PG
@pytest.mark.slow
def test_check_off(make_site, databases, cluster):
    """Good until they expire, whatever the database says or does not say."""
    if cluster.process is None:
        cluster.start()
    site = make_site(database=databases.make("pgsql", cluster),
                     mount="SocialAuthRevocationCheck off")
    site.expect_log(*IN_TROUBLE)
    tokens = sign_in(site)
    assert site.browser().post("token/blacklist/", {"refresh": tokens["refresh"]}).status == 200
    time.sleep(SECOND)
    assert ask(site.browser(), tokens).status == 200
    check.access_refused(site.browser().get("linked-accounts/", bearer=tokens["access"]))
    cluster.stop("immediate")
    time.sleep(SECOND)
    assert ask(site.browser(), tokens).status == 200
    assert "SA0330" not in site.httpd.recent_log()
    cluster.start()


@PG
@pytest.mark.slow
def test_T157_tokens_that_live_longer_than_memory(make_site):
    """Nobody remembers for sure that their session ended: each is looked up."""
    site = make_site(private=True, mount="SocialAuthAccessTokenLifetime 2d")
    site.expect_log("SA0100: unavailable: ", *GENERATIONS)
    long_lived = sign_in(site)
    time.sleep(2)
    assert not is_heard(site, long_lived)
    site.httpd.edit("SocialAuthAccessTokenLifetime 2d", "SocialAuthAccessTokenLifetime 1d")
    site.httpd.graceful()
    a_day, older = sign_in(site), long_lived
    wait_until(lambda: is_heard(site, a_day), "the first look")
    assert not is_heard(site, older)
    site.httpd.edit("SocialAuthAccessTokenLifetime 1d", "SocialAuthAccessTokenLifetime 60s")
    site.httpd.graceful()
    short = sign_in(site)
    wait_until(lambda: is_heard(site, short), "the first look")
    assert not is_heard(site, a_day)
    end_by_sql(site, a_day)
    check.access_refused(ask(site.browser(), a_day))
