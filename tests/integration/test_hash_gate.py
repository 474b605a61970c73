"""A flood of password logins takes neither the server's memory nor its threads (threat row T75)."""
import base64
import collections
import os
import random
import signal
import threading
import time

import argon2
import pytest

from support import check, paths
from support.client import at_once
from support.load import Load
from support.site import STRONG

MIB = 1024
HASH = 19 * MIB                 # kB, of one password
ELSE = 48 * MIB                 # what hundreds of connections may take besides

# All children are there from the start, so that a base can be measured.
EVENT = """
StartServers 4
MinSpareThreads 100
MaxSpareThreads 100
ThreadsPerChild 25
MaxRequestWorkers 100
ServerLimit 4
MaxConnectionsPerChild 0
"""
PREFORK = """
StartServers 40
MinSpareServers 40
MaxSpareServers 40
MaxRequestWorkers 40
ServerLimit 40
MaxConnectionsPerChild 0
"""


# What was freed counts as taken while AddressSanitizer keeps it in quarantine.
NO_QUARANTINE = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "")
                 + ":quarantine_size_mb=0:thread_local_quarantine_size_kb=0"}


def make(make_site, cell, turns, **kw):
    static = paths.make_dir("static-%d" % random.getrandbits(40))
    with open(os.path.join(static, "page.txt"), "w") as f:
        f.write("x" * 2000)
    kw.setdefault("mpm_settings", PREFORK if cell[0] == "prefork" else EVENT)
    site = make_site(private=True, server="SocialAuthHashConcurrency %d" % turns,
                     more='Alias /static "%s"\n<Directory "%s">\nRequire all granted\n</Directory>'
                          % (static, static), **kw)
    site.expect_log("busy", "all database connections are in use", "AH03490")
    return site


def anonymous_memory(site):
    """kB of the server's own pages, shared ones counted once."""
    total = 0
    for pid in [site.httpd.process.pid] + site.httpd.children():
        try:
            with open("/proc/%d/smaps_rollup" % pid) as f:
                total += sum(int(line.split()[1]) for line in f if line.startswith("Pss_Anon:"))
        except OSError:
            pass
    return total


class Memory:
    """The highest anonymous memory until the block ends."""

    def __init__(self, site):
        self.site, self.base, self.peak = site, anonymous_memory(site), 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._end.is_set():
            self.peak = max(self.peak, anonymous_memory(self.site))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._end.set()
        self._thread.join()


def warm(site):
    """Every child has its connections and its pools."""
    at_once([lambda: site.browser().get("github/state/") for _ in range(80)])
    at_once([lambda: site.password_login("ada@example.org", "wrong") for _ in range(40)])


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.limit(300)
def test_T75_five_hundred_logins_at_once(make_site, cell):
    site = make(make_site, cell, 2, env=NO_QUARANTINE)
    site.make_user("ada@example.org")
    tokens = check.signed_in(site.password_login("ada@example.org"))
    warm(site)

    def others(browser):
        browser.close()
        refreshed = browser.post("token/refresh/", {"refresh": others.refresh})
        others.refresh = refreshed.json().get("refresh", others.refresh)
        browser.close()
        return [("refresh", refreshed), ("static", browser.get("/static/page.txt")),
                ("verify", browser.post("token/verify/", {"token": tokens["access"]})),
                ("state", browser.get("github/state/")),
                ("linked", browser.get("linked-accounts/", bearer=tokens["access"]))]
    others.refresh = tokens["refresh"]

    def login(i):
        name = "ada@example.org" if i % 2 else "nobody%d@example.org" % i
        return site.password_login(name, STRONG if i % 4 == 1 else "wrong")
    with Memory(site) as memory, Load(site, others, threads=1) as load:
        answers = at_once([lambda i=i: login(i) for i in range(500)])
        load.wait_for(5)
    got = collections.Counter(a.status for a in answers)
    assert set(got) == {200, 401, 503}, got
    for answer in answers:
        if answer.status == 503:
            assert answer.word in ("busy", "unavailable") and int(answer.header("Retry-After")) > 0, answer
    assert memory.peak - memory.base <= 2 * HASH + ELSE, (memory.base, memory.peak)
    bad = [s for s in load.samples if s.status != 200]
    assert {s.status for s in bad} <= {503} and len(bad) < len(load.samples) / 10, bad[:3]
    assert len(load.samples) > 20
    check.signed_in(site.password_login("ada@example.org"))


@pytest.mark.cell("event", "sqlite3")
def test_T75_an_imported_hash_counts_by_its_memory(make_site, cell):
    """Django's own Argon2 takes 100 MiB: one at a time where 38 MiB are the bound."""
    site = make(make_site, cell, 2)
    site.make_user("ada@example.org")
    warm(site)
    django = "argon2" + argon2.PasswordHasher(time_cost=2, memory_cost=102400, parallelism=8).hash(STRONG)
    site.db.query("UPDATE sa_users SET password = ?", django)
    with Memory(site) as memory:
        answers = at_once([lambda: site.password_login("ada@example.org", "wrong") for _ in range(8)])
    assert {a.status for a in answers} <= {401, 503} and 401 in {a.status for a in answers}
    assert 90 * MIB < memory.peak - memory.base <= 100 * MIB + ELSE, (memory.base, memory.peak)
    check.signed_in(site.password_login("ada@example.org"))
    assert site.db.value("SELECT password FROM sa_users").startswith("argon2$argon2id$v=19$m=19456,")


# Of no password, and as slow as is accepted.
SLOW_HASH = "pbkdf2_sha256$10000000$salt$" + base64.b64encode(bytes(32)).decode()


@pytest.mark.cell("event", "pgsql")
def test_T75_no_connection_is_held_meanwhile(make_site, cell):
    """One connection, one turn: while one password is hashed and others wait, the database is free."""
    site = make(make_site, cell, 1, dbd="DBDMin 1\nDBDKeep 1\nDBDMax 1\nSocialAuthDBConnections 1",
                mpm_settings="StartServers 1\nThreadsPerChild 25\nMaxRequestWorkers 25\nServerLimit 1\n"
                             "MinSpareThreads 1\nMaxSpareThreads 25\n")
    site.make_user("ada@example.org")
    tokens = check.signed_in(site.password_login("ada@example.org"))
    site.db.query("UPDATE sa_users SET password = ?", SLOW_HASH)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(site.password_login("ada@example.org", "no")))
               for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    for _ in range(5):
        assert site.browser().get("linked-accounts/", bearer=tokens["access"]).status == 200
    assert {a.status for a in answers} <= {503}, "the hash was too fast for this test"
    for thread in threads:
        thread.join()
    assert {a.status for a in answers} == {401, 503}


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.limit(300)
def test_T222_T75_children_killed_while_they_hash(make_site, cell):
    """Turns and places of the dead are free again."""
    site = make(make_site, cell, 2)
    site.expect_log("exit signal", "AH0005[12]", "AH10392")
    site.make_user("ada@example.org")

    def login(browser):
        browser.close()
        return site.password_login("ada@example.org", "wrong", browser)
    with Load(site, login, threads=30) as load:
        for _ in range(12):
            load.wait_for(20, 60)
            children = site.httpd.children()
            for child in random.sample(children, min(2, len(children))):
                try:
                    os.kill(child, signal.SIGKILL)
                except ProcessLookupError:
                    pass
    assert {s.status for s in load.samples} <= {401, 503, None}
    assert any(s.status is None for s in load.samples), "nobody was hurt"
    site.httpd.wait_for(site.httpd.answers, "new children")
    for _ in range(5):
        check.signed_in(site.password_login("ada@example.org"))
    # Both turns: two at once take no longer than they must, and nobody is refused.
    answers = at_once([lambda: site.password_login("ada@example.org") for _ in range(6)])
    assert {a.status for a in answers} == {200}
