"""The database goes away, hangs, fills up, refuses, changes (threat section N): 503 and never a
wrong answer, and afterwards everything works again. Django's tables are in test_django.py."""
import collections
import contextlib
import itertools
import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import threading
import time

import psycopg2
import pytest

from support import check, paths
from support.client import at_once, in_background
from support.database import Pgsql, Sqlite
from support.fake_provider import Reply
from support.load import Load
from support.site import MOUNT

PG = pytest.mark.cell("event", "pgsql")
SQLITE = pytest.mark.cell("event", "sqlite3")
DB_ERROR = r"SA0100: unavailable: "
# mod_dbd's and apr_dbd's own words about a server that is away.
DBD_ERROR = r"\[dbd:error\]"
# Half a second after a connect that failed, whenever a busy child noticed that.
RESTED = 3
# The watchdog's purge, outbox and ended sessions notice as well.
WATCHDOG = r"SA03(01|12|30): "
ONE_CONNECTION = "DBDMin 0\nDBDKeep 1\nDBDMax 1\nDBDExptime 300"
ONE_CHILD = """
StartServers 1
ServerLimit 1
ThreadsPerChild 64
ThreadLimit 64
MaxRequestWorkers 64
MinSpareThreads 1
MaxSpareThreads 64
"""


@pytest.fixture(scope="session")
def cluster(databases):
    """A PostgreSQL to be hurt. What it has committed outlives a crash of its own."""
    made = databases.cluster("hurt", settings={"full_page_writes": "on"})
    yield made
    made.stop("immediate")


@pytest.fixture
def hurt(make_site, databases, cluster):
    """hurt(mount=…) -> a site of one's own on that cluster"""
    if cluster.process is None:
        cluster.start()

    def make(database=None, **settings):
        site = make_site(database=database or databases.make("pgsql", cluster), **settings)
        site.expect_log(DB_ERROR, DBD_ERROR, WATCHDOG)
        return site
    yield make
    if cluster.process is not None:
        cluster.thaw()


def unavailable(answer):
    check.refused(answer, "unavailable")


def well(site):
    """A login of somebody new, all the way, and the way back in."""
    browser = site.browser()
    claims = site.provider.google.claims()
    for _ in range(2):
        tokens = check.signed_in(Somebody(site, claims).login(browser))
    answer = browser.get("linked-accounts/", bearer=tokens["access"])
    assert answer.status == 200, answer
    browser.close()


class Somebody:
    """One Google user, signing in again and again without a state."""

    def __init__(self, site, claims=None):
        self.site = site
        self.claims = claims or site.provider.google.claims()

    def login(self, browser):
        token = self.site.provider.google.id_token({**self.claims, "jti": os.urandom(8).hex()})
        return browser.post("google/login/", {"token": token})


def wait_until(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain for " + what
        time.sleep(0.02)


# ---- PostgreSQL goes away

@PG
def test_T211_queue_leaves_threads(hurt):
    """The database answers nobody: half of a child's threads may wait for it, not all."""
    site = hurt(mount="SocialAuthDBTimeout 6", server="SocialAuthDBConnections 2",
                dbd="DBDMin 1\nDBDMax 2",
                mpm_settings=ONE_CHILD.replace("64", "10").replace("ThreadLimit 10", "ThreadLimit 64"))
    with open(site.httpd.docs + "/page.txt", "w") as f:
        f.write("here")
    person = Somebody(site)
    check.signed_in(person.login(site.browser()))
    lock = site.db.connect()
    lock.cursor().execute("LOCK TABLE sa_users IN ACCESS EXCLUSIVE MODE")
    answers = [in_background(lambda: person.login(site.browser())) for _ in range(12)]
    wait_until(lambda: "all database connections are in use" in site.httpd.recent_log(), "the queue's end")
    began = time.monotonic()
    assert site.browser().get("/page.txt").status == 200
    assert time.monotonic() - began < 4
    lock.rollback()
    lock.close()
    statuses = collections.Counter(answer().status for answer in answers)
    assert set(statuses) == {200, 503} and statuses[200] >= 5, statuses


@PG
def test_T211_role_that_may_connect_less_often(hurt, cluster, make_site):
    """PostgreSQL gives fewer connections than the pool would take: those there are have to do, also when all of
    them are free again before the refusal of one more has been digested."""
    own = hurt(base_url="http://localhost:1")
    own.db.query("CREATE ROLE few LOGIN CONNECTION LIMIT 3")
    own.db.query("GRANT ALL ON ALL TABLES IN SCHEMA public TO few")
    own.db.query("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO few")
    database = Pgsql(cluster, own.db.name)
    database.params = database.params.replace("user=postgres", "user=few")
    site = make_site(database=database, server="SocialAuthDBConnections 8",
                     dbd="DBDMin 0\nDBDKeep 8\nDBDMax 8", mpm_settings=ONE_CHILD,
                     preload=[paths.shim("slow_complaint")])
    site.expect_log(DBD_ERROR, WATCHDOG)
    try:
        people = [Somebody(site) for _ in range(8)]
        for person in people:
            check.signed_in(person.login(site.browser()))
        for _ in range(10):
            answers = at_once([lambda p=p: p.login(site.browser()) for p in people * 3])
            assert collections.Counter(a.status for a in answers) == {200: 24}
    finally:
        site.httpd.stop()
        own.db.query("DROP OWNED BY few")
        own.db.query("DROP ROLE few")


@PG
@pytest.mark.slow
@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_T208_restart_under_load(hurt, cluster, how):
    site = hurt()
    people = [Somebody(site) for _ in range(10)]
    browser = site.browser()
    for person in people:
        person.tokens = check.signed_in(person.login(browser))
    turn = itertools.count()

    def step(browser):
        """A login, a read and a refresh; each must be right or unavailable."""
        n = next(turn)
        got = people[n % len(people)].login(browser)
        out = [("login", got)]
        if got.status == 200:
            tokens = got.json()
            out.append(("links", browser.get("linked-accounts/", bearer=tokens["access"])))
            out.append(("refresh", browser.post("token/refresh/", {"refresh": tokens["refresh"]})))
        if n % 5 == 0:
            out.append(("new", Somebody(site).login(browser)))
        return out

    down = []
    with Load(site, step, threads=6, pause=0.1) as load:
        load.wait_for(40)
        for _ in range(3):
            began = time.monotonic()
            cluster.stop(how)
            time.sleep(0.4)
            cluster.start()
            down.append((began, time.monotonic()))
            load.wait_for(60)
    bad = collections.Counter()
    for sample in load.samples:
        assert sample.status in (200, 503), sample
        if sample.status == 503:
            unavailable(sample.answer)
            assert any(sample.began < end + RESTED and sample.ended > start for start, end in down), \
                (sample, down)
            bad[sample.what] += 1
    assert bad["login"], "no request noticed that the database was away"
    deadline = down[-1][1] + RESTED
    time.sleep(max(0, deadline - time.monotonic()))

    # Old connections and new ones, for ever after.
    results = []

    def burst(person):
        client = site.browser()
        for _ in range(100):
            results.append(person.login(client))
        client.close()
    at_once([lambda person=person: burst(person) for person in people])
    assert collections.Counter(r.status for r in results) == {200: 1000}
    assert site.db.broken_invariants() == []


@PG
def test_T208_unreachable_from_the_start(hurt, cluster):
    """No connection was ever made: mod_dbd opens none, the module answers, and recovers."""
    site = hurt(dbd="DBDMin 0\nDBDKeep 2\nDBDMax 4")
    cluster.stop("fast")
    browser = site.browser()
    began = time.monotonic()
    for _ in range(3):
        unavailable(Somebody(site).login(browser))
    assert time.monotonic() - began < 5
    cluster.start()
    time.sleep(RESTED)
    well(site)


@PG
def test_T208_the_outbox_says_once_that_it_cannot_be_delivered(hurt, cluster):
    """One line for an outage, not one for every tick of the worker; a second outage has its own."""
    site = hurt(mount="SocialAuthWebhook http://localhost:1/ whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
    for outage in (1, 2):
        cluster.stop("fast")
        wait_until(lambda n=outage: site.httpd.log().count("SA0312") == n, "the line")
        time.sleep(4)
        assert site.httpd.log().count("SA0312") == outage
        cluster.start()
        time.sleep(RESTED)
        site.db.query("DELETE FROM sa_outbox")
        well(site)
        wait_until(lambda: site.db.query("SELECT 1 FROM sa_outbox WHERE attempts > 0 AND leased_until IS NULL"),
                   "the worker")


@PG
def test_T208_plans_are_renewed(hurt, cluster):
    """A column that changed under the plans of a connection: no request fails."""
    site = hurt(dbd=ONE_CONNECTION, mpm_settings=ONE_CHILD)
    person, browser = Somebody(site), site.browser()
    tokens = check.signed_in(person.login(browser))
    site.db.query("ALTER TABLE sa_users ALTER COLUMN first_name TYPE varchar(200)")
    site.db.query("ALTER TABLE sa_sessions ADD COLUMN more text")
    for _ in range(2):
        answer = browser.get("linked-accounts/", bearer=tokens["access"])
        assert answer.status == 200, answer
        tokens = browser.post("token/refresh/", {"refresh": tokens["refresh"]}).json()
        check.signed_in(person.login(browser))


@PG
def test_T208_deallocated_statements_are_prepared_again(hurt, cluster):
    """The back end forgets every prepared statement, as after a pooler's DEALLOCATE ALL."""
    site = hurt(dbd=ONE_CONNECTION, mpm_settings=ONE_CHILD)
    person, browser = Somebody(site), site.browser()
    site.db.query("CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                  "EXECUTE 'DEALLOCATE ALL'; RETURN NEW; END $$")
    for table in ("sa_sessions", "sa_spent"):
        site.db.query("CREATE TRIGGER forget AFTER INSERT OR UPDATE ON %s FOR EACH ROW"
                      " EXECUTE FUNCTION forget()" % table)
    for _ in range(3):
        tokens = check.signed_in(person.login(browser))
        tokens = check.signed_in(browser.post("token/refresh/", {"refresh": tokens["refresh"]}))
        assert browser.get("linked-accounts/", bearer=tokens["access"]).status == 200


def hold_back(database, table):
    """Every INSERT into table waits for a lock that the returned connection holds."""
    database.query("CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                   "PERFORM pg_advisory_xact_lock(4711); RETURN NEW; END $$")
    database.query("CREATE TRIGGER hold BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION hold()"
                   % table)
    connection = database.connect()
    connection.cursor().execute("SELECT pg_advisory_lock(4711)")
    connection.commit()
    return connection


def waiting_backends(database):
    # One argument, no placeholders: asked through another connection.
    return [row[0] for row in database.query(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock' AND wait_event = 'advisory'")]


@PG
@pytest.mark.parametrize("how", ["terminate", "kill -9"])
@pytest.mark.parametrize("table", ["sa_links", "sa_sessions"])
def test_T209_backend_dies_in_mid_transaction(hurt, cluster, how, table):
    """The user row is there, inside the transaction, when its back end dies."""
    site = hurt(mount="SocialAuthDBTimeout 10")
    person, before = Somebody(site), site.counts()
    connection = hold_back(site.db, table)
    answer = in_background(lambda: person.login(site.browser()))
    wait_until(lambda: waiting_backends(site.db), "the login to reach " + table)
    pid, = waiting_backends(site.db)
    if how == "terminate":
        site.db.query("SELECT pg_terminate_backend(?)", pid)
    else:
        os.kill(pid, signal.SIGKILL)    # the postmaster ends everybody else's back end, too
        wait_until(lambda: _is_lost(connection), "the other back ends to end")
    unavailable(answer())
    connection.close()
    wait_until(lambda: _answers(cluster), "PostgreSQL to recover")
    site.db.query("DROP FUNCTION hold() CASCADE")
    assert site.counts() == before
    time.sleep(RESTED)
    tokens = check.signed_in(person.login(site.browser()))
    assert site.db.query("SELECT user_id FROM sa_links") == [(int(site.user_id(tokens)),)]
    assert site.db.value("SELECT count(*) FROM sa_users") == 1


def _is_lost(connection):
    try:
        connection.cursor().execute("SELECT 1")
        connection.commit()
        return False
    except psycopg2.Error:
        return True


def _answers(cluster):
    try:
        cluster.execute("SELECT 1")
        return True
    except psycopg2.Error:
        return False


# ---- PostgreSQL hangs

@PG
@pytest.mark.slow
def test_T210_frozen_server(hurt, cluster):
    site = hurt(mount="SocialAuthDBTimeout 1")
    people = [Somebody(site) for _ in range(24)]
    tokens = check.signed_in(people[0].login(site.browser()))
    with open(os.path.join(site.httpd.docs, "plain.txt"), "w") as f:
        f.write("plain")
    cluster.freeze()
    try:
        def timed(call):
            began = time.monotonic()
            return call(), time.monotonic() - began
        calls = [lambda p=p: timed(lambda: p.login(site.browser())) for p in people]
        calls.append(lambda: timed(lambda: site.browser().get("linked-accounts/",
                                                              bearer=tokens["access"])))
        for answer, seconds in at_once(calls):
            unavailable(answer)
            # connect: libpq's own minimum is two seconds
            assert seconds < 10, seconds
        answer, seconds = timed(lambda: site.browser().get("/plain.txt"))
        assert answer.status == 200 and seconds < 3, "the workers are stuck"
        # What does not need the database goes on.
        assert site.browser().get("github/state/").status == 200
    finally:
        cluster.thaw()
    time.sleep(RESTED)
    well(site)
    for person in people[:4]:
        check.signed_in(person.login(site.browser()))
    assert site.db.broken_invariants() == []


@PG
def test_T210_default_timeout_is_five_seconds(hurt, cluster):
    site = hurt()
    person = Somebody(site)
    check.signed_in(person.login(site.browser()))
    cluster.freeze()
    try:
        began = time.monotonic()
        unavailable(person.login(site.browser()))
        assert 4.5 < time.monotonic() - began < 9.5
    finally:
        cluster.thaw()


@PG
def test_T210_answer_that_comes_too_late_belongs_to_nobody(hurt):
    """A connection given up with its statement unanswered never serves the next request."""
    site = hurt(mount="SocialAuthDBTimeout 3", dbd=ONE_CONNECTION, mpm_settings=ONE_CHILD)
    ada, bob = Somebody(site), Somebody(site)
    browser = site.browser()
    of_ada = check.signed_in(ada.login(browser))
    of_bob = check.signed_in(bob.login(browser))
    for _ in range(2):
        lock = site.db.connect()
        lock.cursor().execute("LOCK TABLE sa_users IN ACCESS EXCLUSIVE MODE")
        unavailable(browser.get("linked-accounts/", bearer=of_ada["access"]))
        lock.rollback()
        lock.close()
        mine = check.signed_in(bob.login(browser))
        assert site.user_id(mine) == site.user_id(of_bob)


@PG
def test_T210_each_mount_waits_its_own_time(make_site):
    """Two mounts on one database share its connections, not their patience."""
    more = """<Location "/two">
        SetHandler social-auth
        SocialAuthThrottleRate off
        SocialAuthPasswordThrottleRate off
        SocialAuthDBTimeout 500ms
    </Location>"""
    site = make_site(private=True, more=more)
    site.expect_log(DB_ERROR, WATCHDOG)
    site.make_user("ada@example.org")
    lock = site.db.connect()
    lock.cursor().execute("LOCK TABLE sa_users IN ACCESS EXCLUSIVE MODE")
    took = []
    for mount in ("/two", MOUNT):
        began = time.monotonic()
        unavailable(site.browser(mount=mount).post("token/", {"username": "ada", "password": "x"}))
        took.append(time.monotonic() - began)
    lock.rollback()
    lock.close()
    assert took[0] < 4 < took[1] < 12, took


@PG
def test_T211_full_pool_answers_503(hurt):
    site = hurt(mount="SocialAuthDBTimeout 3", server="SocialAuthDBConnections 2",
                dbd="DBDMin 1\nDBDMax 2", mpm_settings=ONE_CHILD)
    people = [Somebody(site) for _ in range(10)]
    for person in people:
        check.signed_in(person.login(site.browser()))
    lock = site.db.connect()
    lock.cursor().execute("LOCK TABLE sa_users IN ACCESS EXCLUSIVE MODE")
    began = time.monotonic()
    answers = at_once([lambda p=p: p.login(site.browser()) for p in people * 10])
    assert time.monotonic() - began < 20
    for answer in answers:
        unavailable(answer)
    log = site.httpd.recent_log()
    assert "all database connections are in use" in log
    lock.rollback()
    lock.close()
    # No connection was lost on the way, and a queue is no failure: as many as may wait their time out.
    answers = at_once([lambda p=p: p.login(site.browser()) for p in people * 3])
    assert collections.Counter(a.status for a in answers) == {200: 30}
    held = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    wait_until(lambda: site.db.value(held) <= 3, "the abandoned back ends to end")  # one hears of ended sessions


@PG
@pytest.mark.slow
def test_T196_no_connection_is_held_during_an_outbound_call(hurt, provider):
    site = hurt(dbd="DBDMin 1\nDBDKeep 5\nDBDMax 5", mpm_settings="""
StartServers 1
ServerLimit 1
ThreadsPerChild 256
ThreadLimit 256
MaxRequestWorkers 256
MinSpareThreads 1
MaxSpareThreads 256
""", server="SocialAuthDBConnections 5\nSocialAuthHashConcurrency 20")
    for n in range(20):
        site.make_user("u%d@example.org" % n)
    states = [site.browser() for _ in range(50)]
    ready = [(b, site.state(b)["state"]) for b in states]
    with provider.scripted("/github/token", Reply(hang=True)):
        hanging = [threading.Thread(target=lambda b=b, s=s: b.post(
            "github/login/", {"code": "x", "state": s})) for b, s in ready]
        for thread in hanging:
            thread.start()
        wait_until(lambda: len(provider.asked("/github/token")) >= 40, "the hanging calls")
        began = time.monotonic()
        answers = at_once([lambda n=n: site.password_login("u%d@example.org" % n)
                           for n in range(20)])
        seconds = time.monotonic() - began
        for answer in answers:
            check.signed_in(answer)
        assert sum(t.is_alive() for t in hanging) >= 40, "the provider did not hang long enough"
        assert seconds < 8, seconds
        assert site.db.query("SELECT state FROM pg_stat_activity WHERE datname ="
                             " current_database() AND state LIKE 'idle in%'") == []
        provider.release()
        for thread in hanging:
            thread.join()
    site.expect_log("SA0100: provider_(timeout|unavailable|rejected)", "SA0100: busy")
    well(site)


def median_seconds(samples):
    """Not the longest: a busy machine may let one wait as long as it likes."""
    return statistics.median(s.ended - s.began for s in samples)


def steps_of_purges(db):
    """-> check(): 20000 sessions went in steps, and their locks were not kept from one step to the next."""
    if db.driver != "pgsql":            # a trigger there does not know its transaction
        return lambda: None
    db.query("CREATE TABLE steps AS SELECT txid_current() AS id, 0::bigint AS n, interval '0' AS took LIMIT 0")
    db.query("""CREATE FUNCTION step() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO steps SELECT txid_current(), count(*), clock_timestamp() - now() FROM gone; RETURN NULL;
             END $$""")
    db.query("CREATE TRIGGER step AFTER DELETE ON sa_sessions REFERENCING OLD TABLE AS gone"
             " FOR EACH STATEMENT EXECUTE FUNCTION step()")

    def check_steps():
        rows = [int(n) for n, in db.query("SELECT sum(n) FROM steps GROUP BY id HAVING sum(n) > 0")]
        assert sum(rows) == 20000 and max(rows) <= 1000, rows
        assert db.value("SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM took)) FROM steps"
                        " WHERE n > 0") < 0.1
    return check_steps


@contextlib.contextmanager
def expired_sessions(db):
    """-> how many of them somebody else sees, again and again, meanwhile"""
    seen, over = [], threading.Event()

    def look():
        connection = db.connect()
        cursor = connection.cursor()
        while not over.is_set():
            cursor.execute("SELECT count(*) FROM sa_sessions WHERE expires < 100")
            seen.append(cursor.fetchone()[0])
            connection.commit()
        connection.close()
    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        over.set()
        looking.join()


@pytest.mark.db
def test_T129_purge_under_load(make_site):
    """The watchdog and socialauthctl remove what has expired, in steps, while logins go on."""
    site = make_site(private=True)
    person, browser = Somebody(site), site.browser()
    tokens = check.signed_in(person.login(browser))
    user = int(site.user_id(tokens))
    rows = [("old%d" % n, user, "j%d" % n) for n in range(20000)]
    connection = site.db.connect()
    mark = "%s" if site.db.driver == "pgsql" else "?"
    connection.cursor().executemany(
        "INSERT INTO sa_sessions (sid, user_id, jti, iat, exp, expires, auth_time)"
        " VALUES (%s, %s, %s, 1, 2, 3, 1)" % (mark, mark, mark), rows)
    connection.cursor().executemany("INSERT INTO sa_spent (id, expires) VALUES (%s, 3)" % mark,
                                    [("s%d" % n,) for n in range(5000)])
    connection.commit()
    connection.close()
    people = [Somebody(site) for _ in range(4)]
    turn = itertools.count()
    steps = steps_of_purges(site.db)
    with Load(site, lambda b: people[next(turn) % 4].login(b), threads=3, pause=0.02) as load:
        load.wait_for(30)
        with expired_sessions(site.db) as seen:
            began = time.monotonic()
            done = site.db.ctl("--json", "purge")
            ended = time.monotonic()
        load.wait_for(10)
    assert {s.status for s in load.samples} == {200}, load.samples
    before = median_seconds(s for s in load.samples if s.ended < began)
    # A lock kept for the whole purge would make each of them wait for its end. Steps are slow where disks are.
    step = max(0.1, (ended - began) / 4)
    assert median_seconds(s for s in load.samples if s.ended > began and s.began < ended) < before + step
    steps()
    assert any(0 < n < 20000 for n in seen), seen
    assert site.db.value("SELECT count(*) FROM sa_sessions WHERE expires < 100") == 0
    assert site.db.value("SELECT count(*) FROM sa_spent WHERE expires < 100") == 0
    assert int(re.search(r'"purged":\s*(\d+)', done.stdout).group(1)) > 0
    # Live ones are kept.
    check.signed_in(browser.post("token/refresh/", {"refresh": tokens["refresh"]}))
    assert site.db.value("SELECT count(*) FROM sa_sessions") == 1 + len(load.samples)


@pytest.mark.db
def test_T129_watchdog_purges_by_itself(make_site):
    site = make_site(private=True, modules=["watchdog"])
    person = Somebody(site)
    tokens = check.signed_in(person.login(site.browser()))
    site.db.query("UPDATE sa_sessions SET expires = 3")
    site.db.query("INSERT INTO sa_spent (id, expires) VALUES ('x', 3)")
    site.httpd.restart()                                # it starts with a purge
    wait_until(lambda: site.counts()["sa_sessions"] == 0 and site.counts()["sa_spent"] == 0,
               "the purge", 20)
    check.refresh_refused(site.browser().post("token/refresh/", {"refresh": tokens["refresh"]}))
    well(site)


# ---- how much is asked

def statements(cluster, start):
    """What the server ran since, but for the looks at ended sessions: (kind, SQL)"""
    out = []
    with open(cluster.log_path, errors="replace") as f:
        f.seek(start)
        for line in f.read().splitlines():
            match = re.search(r"LOG:  duration: \S+ ms  (statement|parse|bind|execute) ?[^:]*: (.*)",
                              line)
            if match and "sa_revocations" not in line:
                out.append(match.groups())
    return out


@pytest.fixture
def counted(hurt, databases, cluster):
    """(site, ask): ask(call) -> the statements that call brought about, and its answer"""
    cluster.execute("ALTER SYSTEM SET log_min_duration_statement = 0")
    cluster.execute("SELECT pg_reload_conf()")
    database = databases.make("pgsql", cluster)
    database.query("INSERT INTO sa_spent (id, expires) VALUES ('old', 3)")
    site = hurt(database, dbd=ONE_CONNECTION, mpm_settings=ONE_CHILD, server="SocialAuthDBConnections 1")
    site.httpd.wait_for(lambda: "SA0302" in site.httpd.recent_log(), "the purge: the next is in 300 s")

    def ask(call):
        start = os.path.getsize(cluster.log_path)
        answer = call()
        time.sleep(0.1)
        return statements(cluster, start), answer
    yield site, ask
    cluster.execute("ALTER SYSTEM RESET log_min_duration_statement")
    cluster.execute("SELECT pg_reload_conf()")


@PG
def test_one_round_trip_each(counted):
    site, ask = counted
    person, browser = Somebody(site), site.browser()
    tokens = {}

    def login():
        answer = person.login(browser)
        tokens.update(check.signed_in(answer))
        return answer

    def refresh():
        answer = browser.post("token/refresh/", {"refresh": tokens["refresh"]})
        tokens.update(check.signed_in(answer))
        return answer

    def links():
        return browser.get("linked-accounts/", bearer=tokens["access"])
    for call in (login, refresh, links):                # statements are prepared now
        call()
        call()
    for call in (login, refresh, links):
        ran, answer = ask(call)
        assert answer.status == 200
        kinds = [kind for kind, sql in ran]
        assert kinds.count("execute") == 1, ran
        assert set(kinds) <= {"bind", "execute"}, ran   # both in one round trip


@PG
def test_first_login_is_one_transaction(counted):
    site, ask = counted
    browser = site.browser()
    Somebody(site).login(browser)
    ran, answer = ask(lambda: Somebody(site).login(browser))
    check.signed_in(answer)
    simple = [sql for kind, sql in ran if kind == "statement"]
    assert simple == ["BEGIN", "COMMIT"], ran
    order = [sql for kind, sql in ran if kind in ("statement", "execute")]
    inside = order[order.index("BEGIN"):order.index("COMMIT")]
    for table in ("sa_users", "sa_links", "sa_sessions"):
        assert any(("INSERT INTO " + table) in sql or ('INSERT INTO "%s"' % table) in sql
                   for sql in inside), (table, order)
    assert order[-1] == "COMMIT"


# ---- the disk is full

@pytest.fixture
def tiny(databases):
    """A SQLite database on a file system of 2 MB -> (database, fill, free)"""
    if os.geteuid() != 0:
        yield None
        return
    directory = paths.make_dir("tiny")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=777", "tmpfs", directory],
                   check=True)
    try:
        path = os.path.join(directory, "social.db")
        database = Sqlite(path)
        database.ctl("migrate")
        shutil.chown(directory, "www-data", "www-data")
        shutil.chown(path, "www-data", "www-data")
        yield database
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


def _fill(directory):
    """Every byte that is left."""
    path = os.path.join(directory, "ballast")
    with open(path, "wb", buffering=0) as f:
        for size in (65536, 4096, 512, 1):
            try:
                while True:
                    f.write(b"x" * size)
            except OSError:
                pass
    return path


@SQLITE
def test_T212_disk_full(tiny, make_site, cell, databases):
    """Without root there is no small file system to mount: the quota below it is the same then."""
    if tiny is None:
        return _quota(make_site, databases)
    site = make_site(database=tiny)
    site.expect_log(DB_ERROR, DBD_ERROR, WATCHDOG)
    person = Somebody(site)
    tokens = check.signed_in(person.login(site.browser()))
    ballast = _fill(os.path.dirname(tiny.path))
    given, refused = _until_full(site)
    os.unlink(ballast)
    _all_stored(site, given + [tokens])
    well(site)
    check.signed_in(person.login(site.browser()))
    assert site.db.broken_invariants() == []


def _all_stored(site, given):
    """A token that was handed out is one that the database knows."""
    browser = site.browser()
    for tokens in given:
        answer = browser.post("token/verify/", {"token": tokens["refresh"]})
        assert answer.status == 200, answer
        assert browser.get("linked-accounts/", bearer=tokens["access"]).status == 200


@SQLITE
def test_T212_quota(make_site, databases):
    _quota(make_site, databases)


def _quota(make_site, databases):
    """The children may not write beyond a size, as a disk quota has it. httpd ignores SIGXFSZ."""
    site = make_site(private=True)
    site.expect_log(DB_ERROR, DBD_ERROR, WATCHDOG)
    site.httpd.stop()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (900000, hard))
    try:
        site.httpd.start()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    person = Somebody(site)
    tokens = check.signed_in(person.login(site.browser()))
    site.db.query("CREATE TABLE ballast (x BLOB)")
    site.db.query("INSERT INTO ballast VALUES (randomblob(780000))")
    given, refused = _until_full(site)
    site.db.query("DROP TABLE ballast")
    connection = site.db.connect()
    assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    connection.close()
    _all_stored(site, given + [tokens])
    well(site)
    assert site.db.broken_invariants() == []


def _until_full(site):
    """Logins until they are refused, and some more -> (tokens that were given, refusals)"""
    given, refused, before = [], 0, None
    for _ in range(400):
        before = site.counts()
        answer = Somebody(site).login(site.browser())
        if answer.status == 200:
            given.append(answer.json())
            continue
        unavailable(answer)
        assert site.counts() == before
        refused += 1
        if refused >= 20:
            break
    assert refused >= 20, "the disk did not fill up"
    return given, refused


@PG
def test_T212_postgresql_disk_full(hurt, cluster):
    """53100 from the server, at any statement that writes."""
    site = hurt()
    person = Somebody(site)
    browser = site.browser()
    tokens = check.signed_in(person.login(browser))
    before = site.counts()
    for table in ("sa_users", "sa_links", "sa_sessions"):
        site.db.query("CREATE FUNCTION full_%s() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                      "RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$"
                      % table)
        site.db.query("CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON %s"
                      " FOR EACH ROW EXECUTE FUNCTION full_%s()" % (table, table))
        unavailable(Somebody(site).login(browser))
        assert site.counts() == before
        site.db.query("DROP FUNCTION full_%s() CASCADE" % table)
    check.signed_in(browser.post("token/refresh/", {"refresh": tokens["refresh"]}))
    well(site)


# ---- the clock is set meanwhile

def hold(site):
    """Nobody writes a user until -> release()"""
    other = site.db.connect()
    if isinstance(site.db, Sqlite):
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
    else:
        other.cursor().execute("LOCK TABLE sa_users IN ACCESS EXCLUSIVE MODE")

    def release():
        other.rollback()
        other.close()
    return release


@pytest.mark.db
def test_T226_forward_while_the_database_is_waited_for(make_site):
    """An hour that did not pass is not counted: who waits goes on waiting."""
    site = make_site(private=True, faketime="+0", mount="SocialAuthDBTimeout 20")
    site.make_user("ada@example.org")
    release = hold(site)
    answer = in_background(lambda: site.password_login("ada@example.org"))
    time.sleep(1)
    site.httpd.set_clock("+1h")
    time.sleep(1)
    release()
    check.signed_in(answer())


@pytest.mark.db
def test_T226_back_while_the_database_is_waited_for(make_site):
    """Who waits does not wait an hour longer."""
    site = make_site(private=True, faketime="+0", mount="SocialAuthDBTimeout 3")
    site.expect_log(DB_ERROR, WATCHDOG)
    site.make_user("ada@example.org")
    release = hold(site)
    answer = in_background(lambda: site.password_login("ada@example.org"))
    time.sleep(1)
    site.httpd.set_clock("-1h")
    unavailable(answer(10))
    release()
    site.httpd.set_clock("+0")
    time.sleep(1)
    check.signed_in(site.password_login("ada@example.org"))


# ---- SQLite: one writer at a time

@SQLITE
def test_T213_waits_for_a_writer(make_site):
    site = make_site(private=True, mount="SocialAuthDBTimeout 20")
    person = Somebody(site)
    check.signed_in(person.login(site.browser()))
    other = site.db.connect()
    other.isolation_level = None
    other.execute("BEGIN IMMEDIATE")
    other.execute("UPDATE sa_users SET first_name = 'x'")
    answer = in_background(lambda: person.login(site.browser()))
    # Readers do not wait (WAL).
    assert site.browser().get("github/state/").status == 200
    time.sleep(1.5)
    began = time.monotonic()
    other.execute("COMMIT")
    check.signed_in(answer())
    assert time.monotonic() - began < 10
    other.close()


@SQLITE
def test_T213_writer_that_does_not_end(make_site):
    site = make_site(private=True, mount="SocialAuthDBTimeout 2")
    site.expect_log(DB_ERROR, WATCHDOG)
    person = Somebody(site)
    tokens = check.signed_in(person.login(site.browser()))
    other = site.db.connect()
    other.isolation_level = None
    other.execute("BEGIN IMMEDIATE")
    before = site.counts()
    began = time.monotonic()
    for answer in at_once([lambda: person.login(site.browser()) for _ in range(8)]):
        unavailable(answer)
    assert time.monotonic() - began < 10
    answer = site.browser().get("linked-accounts/", bearer=tokens["access"])
    assert answer.status == 200, "reading waited for the writer: %r" % answer
    other.execute("ROLLBACK")
    other.close()
    assert site.counts() == before
    well(site)


@SQLITE
@pytest.mark.slow
def test_T213_32_writers(make_site):
    # Room for all to wait their time out, also in one child.
    site = make_site(private=True, mount="SocialAuthDBTimeout 30", mpm_settings="""
StartServers 2
ServerLimit 2
ThreadsPerChild 128
ThreadLimit 128
MaxRequestWorkers 256
MinSpareThreads 1
MaxSpareThreads 256
""")
    people = [Somebody(site) for _ in range(32)]

    def life(person):
        browser = site.browser()
        out = []
        for _ in range(6):
            tokens = check.signed_in(person.login(browser))
            out.append(site.user_id(tokens))
            tokens = check.signed_in(browser.post("token/refresh/", {"refresh": tokens["refresh"]}))
            answer = browser.get("linked-accounts/", bearer=tokens["access"])
            assert answer.status == 200
            email, = {p["email"] for p in answer.json()["providers"] if p["is_linked"]}
            assert email == person.claims["email"]
        browser.close()
        return set(out)
    ids = at_once([lambda p=p: life(p) for p in people])
    assert all(len(own) == 1 for own in ids)
    assert len(set.union(*ids)) == 32
    counts = site.counts()
    assert (counts["sa_users"], counts["sa_links"], counts["sa_sessions"]) == (32, 32, 192)
    assert site.db.broken_invariants() == []
    assert site.db.value("PRAGMA journal_mode") == "wal"
    assert site.db.value("PRAGMA integrity_check") == "ok"


# ---- lost races

@PG
@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
@pytest.mark.parametrize("who", ["new", "returning", "refresh"])
def test_T214_serialization_failure_is_tried_again(hurt, sqlstate, who):
    site = hurt()
    person, browser = Somebody(site), site.browser()
    tokens = check.signed_in(person.login(browser))
    table, event = {"new": ("sa_links", "INSERT"), "returning": ("sa_sessions", "INSERT"),
                    "refresh": ("sa_sessions", "UPDATE")}[who]

    def go():
        if who == "new":
            return Somebody(site).login(browser)
        if who == "returning":
            return person.login(browser)
        return browser.post("token/refresh/", {"refresh": tokens["refresh"]})
    site.db.query("CREATE SEQUENCE fails")
    site.db.query("CREATE TABLE how_often (n bigint)")
    site.db.query("INSERT INTO how_often VALUES (2)")
    site.db.query("CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                  "IF nextval('fails') <= (SELECT n FROM how_often) THEN "
                  "RAISE EXCEPTION 'lost' USING ERRCODE = '%s'; END IF; RETURN NEW; END $$"
                  % sqlstate)
    site.db.query("CREATE TRIGGER fail BEFORE %s ON %s FOR EACH ROW EXECUTE FUNCTION fail()"
                  % (event, table))
    tokens = check.signed_in(go())
    assert site.db.value("SELECT last_value FROM fails") == 3
    before = site.counts()
    site.db.query("UPDATE how_often SET n = 1000000")
    site.db.query("ALTER SEQUENCE fails RESTART")
    unavailable(go())
    tries = site.db.value("SELECT last_value FROM fails")
    assert 2 <= tries <= 9, tries
    assert site.counts() == before
    site.db.query("DROP FUNCTION fail() CASCADE")
    assert site.db.broken_invariants() == []


@PG
def test_T214_real_deadlock(hurt, cluster):
    """Our statement waits for a row of somebody who waits for ours: one of the two is thrown out."""
    site = hurt(mount="SocialAuthDBTimeout 8")
    person, browser = Somebody(site), site.browser()
    tokens = check.signed_in(person.login(browser))
    cluster.execute("ALTER SYSTEM SET deadlock_timeout = '200ms'")
    cluster.execute("SELECT pg_reload_conf()")
    user = int(site.user_id(tokens))
    # The trigger makes a login lock its user first and then the row of a table of ours.
    site.db.query("CREATE TABLE other (id int PRIMARY KEY, n int)")
    site.db.query("INSERT INTO other VALUES (1, 0)")
    site.db.query("CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                  "UPDATE other SET n = n + 1 WHERE id = 1; RETURN NEW; END $$")
    site.db.query("CREATE TRIGGER touch BEFORE INSERT ON sa_sessions"
                  " FOR EACH ROW EXECUTE FUNCTION touch()")
    for _ in range(3):
        rival = site.db.connect()
        cursor = rival.cursor()
        cursor.execute("UPDATE other SET n = n + 1 WHERE id = 1")
        answer = in_background(lambda: person.login(site.browser()))
        wait_until(lambda: site.db.query(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock'"), "the login to wait")
        try:
            cursor.execute("UPDATE sa_users SET first_name = 'rival' WHERE id = %s", (user,))
            rival.commit()
        except psycopg2.errors.DeadlockDetected:
            rival.rollback()
        rival.close()
        check.signed_in(answer())
    cluster.execute("ALTER SYSTEM RESET deadlock_timeout")
    cluster.execute("SELECT pg_reload_conf()")


# ---- children die

def _kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass                                            # it went by itself


def _kill_children(make_site, provider, kills, pause):
    site = make_site(private=True)
    site.expect_log("exit signal", DB_ERROR, "SA0100: provider_", "AH0005[12]", "SA03")
    people = [Somebody(site) for _ in range(12)]
    turn = itertools.count()
    handed_out = []

    def step(browser):
        n = next(turn)
        # Everybody new now and then, several at once: the first login is what can break.
        if n % 3 == 0:
            people.append(Somebody(site))
        person = people[-1 - n % 5]
        browser.close()                 # a fresh connection: nothing is sent twice
        answer = person.login(browser)
        if answer.status != 200:
            return answer
        handed_out.append(answer.json())
        again = browser.post("token/refresh/", {"refresh": handed_out[-1]["refresh"]})
        return [("login", answer), ("refresh", again)]

    with Load(site, step, threads=6, pause=0.01) as load:
        load.wait_for(10)
        for n in range(kills):
            children = site.httpd.children()
            if children:
                _kill(children[n % len(children)])
            time.sleep(pause * (1 + n % 3) / 2)
        wait_until(lambda: site.httpd.children(), "children")
        load.wait_for(20, seconds=60)
    statuses = collections.Counter(s.status for s in load.samples)
    assert set(statuses) <= {200, 503, None}, statuses
    assert statuses[200] >= 30, statuses
    assert site.db.broken_invariants() == []
    # A token that arrived was committed before.
    known = dict(site.db.query("SELECT sid, jti FROM sa_sessions"))
    for tokens in handed_out:
        assert _claims(tokens["access"])["sid"] in known
    browser = site.browser()
    for tokens in handed_out[-20:]:
        answer = browser.get("linked-accounts/", bearer=tokens["access"])
        assert answer.status == 200, answer
    well(site)


def _claims(token):
    from support import jose
    return jose.claims_of(token)


@pytest.mark.db
@pytest.mark.process
@pytest.mark.slow
def test_T215_children_killed_at_random(make_site, provider):
    _kill_children(make_site, provider, 20, 0.25)


@pytest.mark.db
@pytest.mark.soak
@pytest.mark.limit(600)
def test_T215_two_hundred_kills(make_site, provider):
    _kill_children(make_site, provider, 200, 0.3)


# ---- odd rows

def _odd_user(site, name, **columns):
    user = site.make_user("%s@example.org" % name, username=name)
    for column, value in columns.items():
        site.db.query("UPDATE sa_users SET %s = ? WHERE id = ?" % column, value, user)
    return user


@pytest.mark.db
@pytest.mark.parametrize("column, value", [
    ("email", None), ("password", ""), ("password", "x" * 1000000), ("password", "argon2$$$$"),
    ("password", "pbkdf2_sha256$999999999999$salt$aGFzaA=="), ("password", "!"),
    ("password", "argon2$argon2id$v=19$m=4294967295,t=4294967295,p=4294967295$c2FsdA$aGFzaA"),
    ("first_name", "n" * 1000000), ("last_name", "\u202e\x01\u0000".replace("\x00", "") * 50),
    ("email", "not an address"), ("email", ""), ("is_active", False), ("deleted_at", "2020-01-01"),
], ids=lambda v: str(v)[:20].encode("ascii", "replace").decode() or "empty")
def test_T216_odd_row(site, browser, column, value):
    """Whoever has it is served or refused as any other; nobody else notices."""
    user = _odd_user(site, "odd", **{column: value})
    answer = browser.post("token/", {"username": "odd", "password": "correct horse battery staple 7"})
    assert answer.status == (401 if column in ("password", "is_active", "deleted_at") else 200), answer
    if answer.status == 200:
        tokens = answer.json()
        assert site.user_id(tokens) == str(user)
        assert browser.get("linked-accounts/", bearer=tokens["access"]).status == 200
        assert browser.post("token/refresh/", {"refresh": tokens["refresh"]}).status == 200
    else:
        check.refused(answer, "bad_credentials")
    well(site)


@SQLITE
def test_T216_bytes_that_are_not_utf8(site, browser):
    user = _odd_user(site, "odd", email=None)
    site.db.query("UPDATE sa_users SET first_name = CAST(x'ff41fe' AS TEXT),"
                  " last_name = CAST(x'00' AS TEXT) WHERE id = ?", user)
    answer = browser.post("token/", {"username": "odd", "password": "correct horse battery staple 7"})
    tokens = check.signed_in(answer)
    assert browser.get("linked-accounts/", bearer=tokens["access"]).status == 200
    # A link whose e-mail cannot be written as JSON
    person = Somebody(site)
    tokens = check.signed_in(person.login(browser))
    site.db.query("UPDATE sa_links SET email = CAST(x'ff' AS TEXT)")
    answer = browser.get("linked-accounts/", bearer=tokens["access"])
    assert answer.status == 200, answer
    answer.json()
    well(site)


@pytest.mark.db
def test_T216_two_users_with_one_email(make_site, databases, cell):
    """A site's own table need not forbid it: neither of them is taken for the other."""
    database = databases.make(cell[1], migrated=False)
    flag = "boolean" if cell[1] == "pgsql" else "bool"
    key = "serial PRIMARY KEY" if cell[1] == "pgsql" else "integer PRIMARY KEY AUTOINCREMENT"
    database.query("CREATE TABLE people (id %s, email varchar(200), username varchar(200) UNIQUE,"
                   " first_name varchar(50) NOT NULL DEFAULT '', last_name varchar(50) NOT NULL"
                   " DEFAULT '', password varchar(200) NOT NULL DEFAULT '', is_active %s NOT NULL,"
                   " is_staff %s NOT NULL, is_superuser %s NOT NULL, date_joined %s, last_login %s)"
                   % (key, flag, flag, flag, *["timestamptz" if cell[1] == "pgsql"
                                               else "datetime"] * 2))
    for name, email in (("one", "Twin@gmail.com"), ("two", "twin@gmail.com"), ("three", None)):
        database.query("INSERT INTO people (email, username, is_active, is_staff, is_superuser)"
                       " VALUES (?, ?, ?, ?, ?)", email, name, True, False, False)
    database.ctl("--user-table", "people", "migrate")
    site = make_site(database=database, mount="SocialAuthUserTable people\n"
                     "SocialAuthEmailLinking always")
    browser = site.browser()
    check.refused(browser.post("google/login/", {"token": site.provider.google.id_token(
        email="twin@gmail.com")}), "account_exists", "Google")
    check.refused(browser.post("token/", {"email": "twin@gmail.com", "password": "x"}),
                  "bad_credentials")
    assert database.value("SELECT count(*) FROM people") == 3
    tokens = check.signed_in(browser.post("google/login/", {
        "token": site.provider.google.id_token(email="other@gmail.com")}))
    assert site.user_id(tokens) not in ("1", "2", "3")


# ---- the schema

@pytest.mark.db
@pytest.mark.parametrize("version", ["missing", "older", "newer"])
def test_T217_schema_of_another_version(make_site, databases, cell, version):
    database = databases.make(cell[1], migrated=version != "missing")
    if version == "older":
        newest = database.value("SELECT max(version) FROM sa_schema")
        database.query("DELETE FROM sa_schema WHERE version = ?", newest)
    if version == "newer":
        database.query("INSERT INTO sa_schema (version) VALUES (1000)")
    site = make_site(database=database)
    site.expect_log(DB_ERROR, WATCHDOG)
    unavailable(site.browser().post("token/", {"username": "x", "password": "y"}))
    lines = [line for line in site.httpd.recent_log().splitlines() if ":error]" in line]
    assert len(lines) == 1 and "socialauthctl migrate" in lines[0], lines
    if version == "newer":
        assert "1000" in lines[0], lines
        done = database.ctl("migrate", check=False)
        assert done.returncode == 1 and "newer" in done.stdout, done.stdout
        assert database.value("SELECT max(version) FROM sa_schema") == 1000
        database.query("DELETE FROM sa_schema WHERE version = 1000")
    elif version == "older":
        database.query("INSERT INTO sa_schema (version) VALUES (?)", newest)
    else:
        database.ctl("migrate")
        if cell[1] == "sqlite3" and os.geteuid() == 0:
            for suffix in ("", "-wal", "-shm"):
                if os.path.exists(database.path + suffix):
                    os.chmod(database.path + suffix, 0o666)
    well(site)                                          # without a restart


@pytest.mark.db
def test_T217_upgrade_while_children_run(make_site):
    """A schema that becomes newer under running children is refused by those that look again; what
    they knew stays right for the connections they have."""
    site = make_site(private=True)
    site.expect_log(DB_ERROR, WATCHDOG)
    well(site)
    site.db.query("INSERT INTO sa_schema (version) VALUES (1000)")
    site.httpd.restart()
    unavailable(site.browser().post("token/", {"username": "x", "password": "y"}))
    site.db.query("DELETE FROM sa_schema WHERE version = 1000")
    well(site)


@PG
def test_T219_read_only_role(hurt, cluster, make_site):
    own = hurt(base_url="http://localhost:1")
    person = Somebody(own)
    tokens = check.signed_in(person.login(own.browser()))
    own.db.query("CREATE ROLE reader LOGIN")
    own.db.query("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    database = Pgsql(cluster, own.db.name)
    database.params = database.params.replace("user=postgres", "user=reader")
    site = make_site(database=database, base_url="http://localhost:1")
    site.expect_log(DB_ERROR, WATCHDOG)
    before = own.counts()
    try:
        for _ in range(3):
            unavailable(person.login(site.browser()))
            unavailable(Somebody(site).login(site.browser()))
            unavailable(site.browser().post("token/refresh/", {"refresh": tokens["refresh"]}))
        assert own.counts() == before
        assert "permission denied for table sa_" in site.httpd.recent_log()
        assert site.browser().get("linked-accounts/", bearer=tokens["access"]).status == 200
        own.db.query("GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO reader")
        own.db.query("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO reader")
        well(site)
    finally:
        site.httpd.stop()
        own.db.query("DROP OWNED BY reader")
        own.db.query("DROP ROLE reader")


@SQLITE
def test_T219_read_only_file(make_site):
    if os.geteuid() != 0:
        mode = (0o555, 0o444)
    else:
        mode = (0o755, 0o644)                           # root's own: the children are www-data
    site = make_site(private=True)
    site.expect_log(DB_ERROR, DBD_ERROR, WATCHDOG)
    person = Somebody(site)
    check.signed_in(person.login(site.browser()))
    site.httpd.stop()
    directory = os.path.dirname(site.db.path)
    names = [directory] + [os.path.join(directory, n) for n in os.listdir(directory)]
    owners = [(n, os.stat(n)) for n in names]
    for name in names:
        if os.geteuid() == 0:
            os.chown(name, 0, 0)
        os.chmod(name, mode[0] if name == directory else mode[1])
    site.httpd.start()
    for _ in range(2):
        unavailable(person.login(site.browser()))
    for name, was in owners:
        if os.geteuid() == 0:
            os.chown(name, was.st_uid, was.st_gid)
        os.chmod(name, was.st_mode & 0o777)
    site.httpd.restart()                # SQLite opened the file for reading only
    well(site)


@pytest.mark.db
@pytest.mark.parametrize("table", ["sa_links", "sa_sessions", "sa_spent"])
def test_T219_missing_table(make_site, table):
    site = make_site(private=True, mount="SocialAuthSharedState database")
    site.expect_log(DB_ERROR, WATCHDOG)
    person = Somebody(site)
    browser = site.browser()
    check.signed_in(person.login(browser))
    site.db.query("ALTER TABLE %s RENAME TO gone" % table)
    site.httpd.mark()
    site.expect_log(DB_ERROR, WATCHDOG)
    for _ in range(2):
        unavailable(person.login(browser))
    log = site.httpd.recent_log()
    assert table in log and "socialauthctl migrate" in log, log
    site.db.query("ALTER TABLE gone RENAME TO %s" % table)
    well(site)


# ---- only what is committed is true

def _no_commit(database, table, event):
    """Every transaction that has written into table fails at its COMMIT. -> undo"""
    if database.driver == "sqlite3":
        database.query("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        database.query("CREATE TABLE child (id INTEGER REFERENCES parent (id)"
                       " DEFERRABLE INITIALLY DEFERRED)")
        database.query("CREATE TRIGGER no_commit AFTER %s ON %s BEGIN"
                       " INSERT INTO child VALUES (7); END" % (event, table))
        return lambda: database.query("DROP TRIGGER no_commit")
    database.query("CREATE FUNCTION no_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                   "RAISE EXCEPTION 'no'; END $$")
    database.query("CREATE CONSTRAINT TRIGGER no_commit AFTER %s ON %s DEFERRABLE INITIALLY"
                   " DEFERRED FOR EACH ROW EXECUTE FUNCTION no_commit()" % (event, table))
    return lambda: database.query("DROP FUNCTION no_commit() CASCADE")


HOOK = 'SocialAuthWebhook http://127.0.0.1:9/never "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="'


@pytest.mark.db
@pytest.mark.parametrize("who", ["new", "returning", "password", "refresh"])
def test_T220_commit_fails(make_site, who):
    site = make_site(private=True, mount=HOOK)
    site.expect_log(DB_ERROR, WATCHDOG, "SA031")
    person, browser = Somebody(site), site.browser()
    tokens = check.signed_in(person.login(browser))
    if who == "password":
        site.make_user("p@example.org")
    table = "sa_links" if who == "new" else "sa_sessions"
    undo = _no_commit(site.db, table, "UPDATE" if who == "refresh" else "INSERT")
    before, dump = site.counts(), _sessions(site)
    site.httpd.mark()
    site.expect_log(DB_ERROR, WATCHDOG, "SA031")
    answer = {"new": lambda: Somebody(site).login(browser),
              "returning": lambda: person.login(browser),
              "password": lambda: site.password_login("p@example.org", browser=browser),
              "refresh": lambda: browser.post("token/refresh/", {"refresh": tokens["refresh"]}),
              }[who]()
    unavailable(answer)
    assert "access" not in answer.text
    after = site.counts()
    assert after == before and _sessions(site) == dump
    assert "SA0200:" not in site.httpd.recent_log(), "an event left before the commit"
    undo()
    check.signed_in(person.login(browser))
    if who == "refresh":
        check.signed_in(browser.post("token/refresh/", {"refresh": tokens["refresh"]}))


def _sessions(site):
    return sorted(site.db.query("SELECT sid, jti, revoked_at FROM sa_sessions"))


@PG
@pytest.mark.parametrize("who", ["new", "returning"])
def test_T220_killed_at_commit(hurt, who):
    """The back end goes away while it commits."""
    site = hurt(mount=HOOK)
    site.expect_log("SA031", WATCHDOG)
    person, browser = Somebody(site), site.browser()
    check.signed_in(person.login(browser))
    site.db.query("CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                  "PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5);"
                  " RETURN NULL; END $$")
    site.db.query("CREATE CONSTRAINT TRIGGER die AFTER INSERT ON sa_sessions DEFERRABLE INITIALLY"
                  " DEFERRED FOR EACH ROW EXECUTE FUNCTION die()")
    before = site.counts()
    site.httpd.mark()
    site.expect_log(DB_ERROR, DBD_ERROR, WATCHDOG, "SA031")
    unavailable(Somebody(site).login(browser) if who == "new" else person.login(browser))
    assert site.counts() == before
    assert "SA0200:" not in site.httpd.recent_log()
    site.db.query("DROP FUNCTION die() CASCADE")
    well(site)
