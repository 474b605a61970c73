"""The server's life (threat section O): restarts, children that die, clocks that jump, memory, other
modules beside ours."""
import collections
import http.client
import itertools
import os
import re
import signal
import subprocess
import threading
import time

import pytest

from support import check, jose, paths
from support.httpd import READY, static_modules
from support.load import Load
from support.site import SECRET

# The old generation's children are told to go; how many linger is httpd's affair.
GENERATIONS = ("AH0048[45]", "AH10159", "AH03490", "AH00288", "AH00289")

SANITIZED = bool(os.environ.get("SA_SANITIZE"))


def once(browser, path, json=None):
    """On a connection of its own, so that nothing is sent twice."""
    browser.close()
    return browser.get(path) if json is None else browser.post(path, json)


def id_token(site, claims):
    return site.provider.google.id_token({**claims, "jti": os.urandom(8).hex()})


# ---- restarts

def _leaks(site):
    """What a parent may collect from restart to restart."""
    pid = site.httpd.process.pid
    with open("/proc/%d/maps" % pid) as f:
        shared = [line for line in f if re.search(r" rw-s .*(zero|deleted|SYSV)", line)]
    return {"descriptors": len(os.listdir("/proc/%d/fd" % pid)), "shared mappings": len(shared),
            "System V segments": _segments_of(pid)}


def _segments_of(*pids):
    """System V shared memory that one of these processes created."""
    with open("/proc/sysvipc/shm") as f:
        return sum(int(line.split()[4]) in pids for line in f.readlines()[1:])


@pytest.mark.process
@pytest.mark.slow
def test_T221_fifty_graceful_restarts_under_load(make_site):
    site = make_site(private=True, modules=["watchdog"])
    site.expect_log(*GENERATIONS)
    people = [site.provider.google.claims() for _ in range(8)]
    turn = itertools.count()

    def step(browser):
        claims = people[next(turn) % 8]
        answer = once(browser, "google/login/", json={"token": id_token(site, claims)})
        if answer.status != 200:
            return [("login", answer)]
        tokens = answer.json()
        browser.close()
        links = browser.get("linked-accounts/", bearer=tokens["access"])
        return [("login", answer), ("links", links),
                ("refresh", once(browser, "token/refresh/", json={"refresh": tokens["refresh"]})),
                ("state", once(browser, "github/state/"))]
    browser = site.browser()
    tokens = check.signed_in(browser.post("google/login/", {"token": id_token(site, people[0])}))
    state = site.state(browser)["state"]
    with Load(site, step, threads=3, pause=0.005) as load:
        load.wait_for(20)
        for _ in range(4):
            site.httpd.graceful()
        before, rss = _leaks(site), _rss_of(site.httpd.process.pid)
        for _ in range(46):
            site.httpd.graceful()
            time.sleep(0.1)
        load.wait_for(20)
    bad = [s for s in load.samples if s.status != 200]
    assert not bad, (len(bad), len(load.samples), bad[:3])
    assert len(load.samples) > 200
    assert _leaks(site) == before
    if not SANITIZED:           # ASan keeps what is freed for a while
        assert _rss_of(site.httpd.process.pid) - rss < 46 * 64, "the parent grows at restarts"
    # What was begun before the first of them goes on after the last.
    code = site.provider.github.code(site.provider.github.user())
    check.signed_in(browser.post("github/login/", {"code": code, "state": state}))
    check.signed_in(browser.post("token/refresh/", {"refresh": tokens["refresh"]}))
    site.httpd.wait_for(lambda: len(site.httpd.children()) <= 12, "the old children to go", 30)
    assert site.db.broken_invariants() == []


def _rss_of(pid):
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


@pytest.mark.process
def test_T221_spent_stays_spent_and_counted_stays_counted(make_site):
    """States, ID tokens and throttle counters outlive a graceful restart."""
    site = make_site(private=True, throttle=None, mount="SocialAuthThrottleRate 8/minute\n"
                     "SocialAuthPasswordThrottleRate 3/minute")
    browser = site.browser()
    state = site.state(browser)["state"]
    user = site.provider.github.user()
    cookies = dict(browser.cookies)
    check.signed_in(browser.post("github/login/", {"code": site.provider.github.code(user),
                                                   "state": state}))
    token = site.provider.google.id_token()
    check.signed_in(browser.post("google/login/", {"token": token}))
    for _ in range(2):
        check.refused(browser.post("token/", {"username": "x", "password": "y"}), "bad_credentials")
    site.httpd.graceful()
    time.sleep(0.3)
    browser.close()
    browser.cookies = cookies
    check.refused(browser.post("github/login/", {"code": site.provider.github.code(user),
                                                 "state": state}), "state_invalid")
    check.refused(browser.post("google/login/", {"token": token}), "id_token_invalid", "Google")
    got = [browser.get("github/state/").status for _ in range(4)]
    assert got == [200, 200, 200, 429], got
    check.refused(browser.post("token/", {"username": "x", "password": "y"}), "bad_credentials")
    assert browser.post("token/", {"username": "x", "password": "y"}).status == 429


LISTEN, TIME_WAIT = "0A", "06"


def _connections(port):
    """The states of what has this port at either end."""
    with open("/proc/net/tcp") as f:
        fields = [line.split() for line in f.readlines()[1:]]
    return {state for _, here, there, state, *_ in fields if ":%04X" % port in (here[8:], there[8:])}


def test_stop_leaves_nothing(make_site):
    site = make_site(private=True, modules=["watchdog"])
    browser = site.browser()
    check.signed_in(site.google_login(browser))
    browser.close()
    pid, children = site.httpd.process.pid, site.httpd.children()
    site.httpd.wait_for(lambda: _connections(site.port) <= {LISTEN, TIME_WAIT},
                        "no connection to be open or being closed: Httpd.stop says why")
    began = time.monotonic()
    site.httpd.process.send_signal(signal.SIGTERM)
    assert site.httpd.process.wait(15) == 0
    assert time.monotonic() - began < 12
    assert [each for each in children + [pid] if os.path.exists("/proc/%d" % each)] == []
    assert _segments_of(pid, *children) == 0


def test_T224_graceful_with_a_key_that_cannot_be_read(make_site, tmp_path):
    """Never a server with an empty key: configtest says so; a restart all the same ends it."""
    directory = paths.make_dir("keys-%d" % time.monotonic_ns())
    key = os.path.join(directory, "secret")

    def write(text, mode=0o600):
        with open(key, "w") as f:
            f.write(text)
        os.chmod(key, mode)
    write(SECRET + "\n")
    site = make_site(private=True, secret=None, server="SocialAuthSecret file:" + key)
    site.expect_log("SA0102", "AH00[0-9]+", "Configuration Failed", "SocialAuthSecret", "Syntax error")
    claims = site.provider.google.claims()
    tokens = check.signed_in(site.browser().post("google/login/", {"token": id_token(site, claims)}))
    for spoil in (lambda: write(""), lambda: write("short"), lambda: write(SECRET, 0o644),
                  lambda: os.unlink(key)):
        spoil()
        status, said = site.httpd.configtest()
        assert status != 0 and "SocialAuthSecret" in said, said
    before = site.httpd.log().count(READY)
    site.httpd.process.send_signal(signal.SIGUSR1)
    site.httpd.wait_for(lambda: site.httpd.process.poll() is not None or site.httpd.log().count(READY) > before,
                        "the restart's outcome")
    forged = jose.make({**jose.claims_of(tokens["access"])}, jose.Key("HS256", "", secret=b""),
                       {"alg": "HS256", "typ": "at+jwt"})
    if site.httpd.process.poll() is None and site.httpd.answers():
        check.access_refused(site.browser().get("linked-accounts/", bearer=forged))
    write(SECRET + "\n")
    site.httpd.stop()
    site.httpd.start()
    assert site.browser().get("linked-accounts/", bearer=tokens["access"]).status == 200
    check.access_refused(site.browser().get("linked-accounts/", bearer=forged))


# ---- children that die

@pytest.mark.process
@pytest.mark.slow
def test_T222_child_killed_in_shared_memory(make_site):
    """Children crash and are killed while all of them count and spend: nobody hangs, counts stay
    exact."""
    quiet = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":handle_segv=0"}
    site = make_site(private=True, throttle=None, mount="SocialAuthThrottleRate 20/minute",
                     env=quiet)
    site.expect_log("exit signal", "AH0005[12]", "seg fault", *GENERATIONS)
    addresses = itertools.count(2)
    end = threading.Event()
    answers, hung = collections.Counter(), []

    def client():
        while not end.is_set():
            browser = site.browser(source="127.0.%d.%d" % divmod(next(addresses), 250), timeout=15)
            for _ in range(3):
                try:
                    answers[browser.get("github/state/").status] += 1
                except (OSError, http.client.HTTPException) as e:
                    answers["broken"] += 1
                    if isinstance(e, TimeoutError):
                        hung.append(e)
            browser.close()
    threads = [threading.Thread(target=client) for _ in range(6)]
    for thread in threads:
        thread.start()
    for n in range(24):
        goal = answers[200] + 10                        # each kill is earned
        site.httpd.wait_for(lambda: answers[200] >= goal, "answers")
        children = site.httpd.children()
        if children:
            try:
                os.kill(children[n % len(children)], signal.SIGSEGV if n % 2 else signal.SIGKILL)
            except ProcessLookupError:
                pass                                    # it went by itself
    end.set()
    for thread in threads:
        thread.join()
    assert not hung
    assert set(answers) <= {200, "broken"} and answers[200] > 200, answers
    site.httpd.wait_for(site.httpd.answers, "children", 20)
    for n in range(3):
        browser = site.browser(source="127.1.0.%d" % (n + 2))
        got = [browser.get("github/state/").status for _ in range(22)]
        assert got == [200] * 20 + [429] * 2, got
    # States made before the last crash are still spent once.
    browser = site.browser(source="127.1.1.1")
    state, user = site.state(browser)["state"], site.provider.github.user()
    cookies = dict(browser.cookies)
    check.signed_in(browser.post("github/login/", {"code": site.provider.github.code(user),
                                                   "state": state}))
    browser.cookies = cookies
    check.refused(browser.post("github/login/", {"code": site.provider.github.code(user),
                                                 "state": state}), "state_invalid")


# ---- memory

HOSTILE = [
    ("GET", "nosuch/state/", None), ("GET", "%2e%2e/state/", None), ("POST", "token/", b"{"),
    ("POST", "token/", b'{"username": "a", "password": ' + b"[" * 3000),
    ("POST", "github/login/", b'{"code": "' + b"x" * 60000 + b'", "state": "y"}'),
    ("POST", "google/login/", b'{"token": "a.b.c"}'), ("POST", "token/refresh/", b'{"refresh": 7}'),
    ("POST", "token/verify/", b'{"token": "' + b"e" * 5000 + b'"}'), ("DELETE", "token/", None),
    ("POST", "token/blacklist/", b"\xff\xfe"), ("GET", "linked-accounts/", None),
]


def mixed(site, claims):
    """One round of good and hostile requests on one connection."""
    browser = site.browser()
    tokens = check.signed_in(browser.post("google/login/", {"token": id_token(site, claims)}))
    browser.get("linked-accounts/", bearer=tokens["access"])
    tokens = check.signed_in(browser.post("token/refresh/", {"refresh": tokens["refresh"]}))
    browser.post("token/verify/", {"token": tokens["access"]})
    browser.get("github/state/")
    browser.get("google/state/")
    n = 6
    for method, path, body in HOSTILE:
        answer = browser.request(method, path, body=body, content_type="application/json"
                                 if body is not None else None)
        assert 400 <= answer.status < 500, answer
        n += 1
    browser.close()
    return n


ONE_CHILD = """
StartServers 1
ServerLimit 1
ThreadsPerChild 8
ThreadLimit 8
MaxRequestWorkers 8
MinSpareThreads 1
MaxSpareThreads 8
"""


@pytest.mark.cell("event", "pgsql")      # one child, many threads
@pytest.mark.own_malloc
@pytest.mark.slow
def test_T223_memory_stays(make_site, cell):
    """Some thousand requests of each kind: no growth that goes on."""
    site = make_site(private=True, mpm_settings=ONE_CHILD, log_level="warn")
    site.expect_log(*GENERATIONS)
    claims = site.provider.google.claims()
    child, = site.httpd.children()
    sizes, done = [], 0
    for part in range(4):
        until = done + (1200 if part == 0 else 800)
        while done < until:
            done += mixed(site, claims)
        sizes.append(_rss_of(child))
    assert site.httpd.children() == [child], "the child was replaced"
    # Steps of the allocator apart (one of 1 MB at most), the later thousands cost nothing.
    assert sizes[-1] - sizes[1] < 1024, sizes


@pytest.mark.soak
@pytest.mark.limit(5400)
def test_T223_a_million_requests(make_site):
    site = make_site(private=True, mpm_settings=ONE_CHILD.replace("8", "16"), log_level="warn")
    site.expect_log(*GENERATIONS)
    claims = site.provider.google.claims()
    tokens = check.signed_in(site.browser().post("google/login/", {"token": id_token(site, claims)}))
    body = os.path.join(site.httpd.root, "body.json")
    with open(body, "w") as f:
        f.write('{"token": "%s"}' % tokens["access"])
    child, = site.httpd.children()
    base, total, sizes = site.url + site.settings.path, 0, []

    def ab(n, *arguments):
        done = subprocess.run(["ab", "-q", "-k", "-c", "8", "-n", str(n), *arguments],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert "Complete requests:      %d" % n in done.stdout, done.stdout
    while total < 1000000:
        ab(20000, base.replace("localhost", "127.0.0.1") + "/github/state/")
        ab(20000, "-H", "Authorization: Bearer " + tokens["access"],
           base.replace("localhost", "127.0.0.1") + "/linked-accounts/")
        ab(20000, "-p", body, "-T", "application/json",
           base.replace("localhost", "127.0.0.1") + "/token/verify/")
        total += 60000
        for _ in range(100):
            total += mixed(site, claims)
        sizes.append((total, _rss_of(child)))
    assert site.httpd.children() == [child]
    warm = sizes[len(sizes) // 4:]
    slope = (warm[-1][1] - warm[0][1]) / ((warm[-1][0] - warm[0][0]) / 1000)
    assert slope < 1, (slope, sizes)


# ---- the clock

@pytest.mark.process
@pytest.mark.slow
def test_T226_clock_steps(make_site):
    """Back an hour, forward an hour, past 2038: no crash, limits heal, times have 64 bits."""
    site = make_site(private=True, throttle=None, faketime="+0", modules=["watchdog"],
                     mount="SocialAuthThrottleRate 5/second\nSocialAuthPasswordThrottleRate off\n"
                           "SocialAuthAccountThrottleRate off\nSocialAuthSharedState memory")
    site.make_user("p@example.org")
    children = set(site.httpd.children())
    browser = site.browser()
    now = int(time.time())
    for step, expected in (("+0", now), ("-1h", now - 3600), ("+1h", now + 3600),
                           ("@2038-01-19 03:14:05", None), ("@2038-01-20 00:00:00", 2147558400),
                           ("@2100-01-01 00:00:00", 4102444800), ("-1h", now - 3600), ("+0", now)):
        site.httpd.set_clock(step)
        time.sleep(1.1)                                 # 5 a second: the limit has healed by then
        browser.cookies.clear()
        tokens = check.signed_in(site.password_login("p@example.org", browser=browser))
        claims = jose.claims_of(tokens["access"])
        if expected:
            assert -5 <= claims["iat"] - expected < 120, (step, claims)
        assert claims["exp"] == claims["iat"] + 3600
        answer = browser.get("linked-accounts/", bearer=tokens["access"])
        assert answer.status == 200, (step, answer)
        check.signed_in(browser.post("token/refresh/", {"refresh": tokens["refresh"]}))
        check.signed_in(site.github_login(browser))
        time.sleep(1.1)
        got = []
        while 429 not in got and len(got) < 500:
            got.append(browser.get("github/state/").status)
        assert got[:5] == [200] * 5 and got[-1] == 429, (step, got)
    assert children <= set(site.httpd.children()), "a child died"


@pytest.mark.parametrize("step", ["+1h", "-1h"])
def test_T226_what_is_older_than_the_step(make_site, step):
    """A state and a session from before a step: taken or refused, as their times say."""
    site = make_site(private=True, faketime="+0")
    site.make_user("p@example.org")
    browser = site.browser()
    tokens = check.signed_in(site.password_login("p@example.org", browser=browser))
    state = site.state(browser)["state"]
    site.httpd.set_clock(step)
    code = site.provider.github.code(site.provider.github.user())
    answer = browser.post("github/login/", {"code": code, "state": state})
    check.refused(answer, "state_invalid")              # too old, or from the future
    answer = browser.get("linked-accounts/", bearer=tokens["access"])
    if step == "+1h":
        check.access_refused(answer)
    else:
        assert answer.status in (200, 401), answer      # from the future: within its exp
    site.httpd.set_clock("+0")
    assert browser.get("linked-accounts/", bearer=tokens["access"]).status == 200


# ---- beside others

TOGETHER = ["ssl", "socache_shmcb", "http2", "md", "proxy", "proxy_http", "rewrite", "session",
            "session_cookie", "session_crypto", "deflate", "filter", "authn_dbd", "authn_file",
            "auth_basic", "auth_openidc", "auth_form", "request", "ldap", "authnz_ldap", "cgid", "info",
            "ratelimit", "substitute", "expires", "negotiation", "autoindex", "userdir", "vhost_alias",
            "unique_id", "dav", "dav_fs", "slotmem_shm", "watchdog"]


@pytest.mark.process
def test_T227_beside_other_modules(make_site):
    """OpenSSL, libcurl, jansson and libpq have other users in the process: everybody works."""
    found = [m for m in TOGETHER if m in static_modules()
             or os.path.exists(os.path.join(paths.MODULES, "mod_%s.so" % m))]
    for needed in ("ssl", "http2", "md", "auth_openidc", "session_crypto", "proxy_http"):
        assert needed in found, needed + " is missing: install what tests/packages lists"
    site = make_site(private=True, modules=found, server="""
OIDCCryptoPassphrase 0123456789abcdef
OIDCProviderMetadataURL http://127.0.0.1:9/
OIDCClientID x
OIDCRedirectURI http://localhost/cb""", more="""
SetOutputFilter DEFLATE
RewriteEngine On
RewriteRule ^/api/(.*)$ /elsewhere/$1 [PT]
ProxyPass /api/ http://127.0.0.1:9/
<Location "/private">
AuthType openid-connect
Require valid-user
</Location>""")
    site.expect_log("AH10034", "http2:", "AH01882", "auth_openidc", "md:", "AH0158[0-9]", "AH10085")
    for _ in range(2):
        check.signed_in(site.github_login())
        check.signed_in(site.google_login())
        site.httpd.graceful()
        time.sleep(0.3)
    site.make_user("p@example.org")
    check.signed_in(site.password_login("p@example.org"))


# ---- randomness

@pytest.mark.process
def test_T130_no_identifier_comes_twice(make_site):
    """Children are forked with the same state: their tokens and states differ all the same."""
    site = make_site(private=True)
    site.expect_log(*GENERATIONS)
    seen = collections.Counter()
    served = set()
    for _ in range(3):
        lock = threading.Lock()

        def client():
            browser = site.browser()
            claims = site.provider.google.claims()
            mine = []
            tokens = check.signed_in(once(browser, "google/login/",
                                          json={"token": id_token(site, claims)}))
            for _ in range(20):
                mine += [jose.claims_of(tokens["access"])["jti"],
                         jose.claims_of(tokens["refresh"])["jti"]]
                mine.append(browser.get("github/state/").json()["state"])
                mine.append(browser.get("google/state/").json()["nonce"])
                browser.close()
                tokens = check.signed_in(browser.post("token/refresh/",
                                                      {"refresh": tokens["refresh"]}))
            mine.append(jose.claims_of(tokens["access"])["sid"])
            with lock:
                seen.update(mine)
        threads = [threading.Thread(target=client) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        served.update(site.httpd.children())
        site.httpd.graceful()
        time.sleep(0.5)
    assert len(served) >= 4
    assert len(seen) > 1800 and max(seen.values()) == 1, seen.most_common(3)
    assert all(len(x) >= 22 for x in seen), "under 128 bits"
    # No common beginnings either, which a shared generator would leave.
    assert len({x[:12] for x in seen if re.match(r"^[0-9a-f]{32}$", x)}) > 900
