"""Providers that are down, slow, huge, mad or rotating their keys (threat section M)."""
import socket
import threading
import time

import pytest

from support import check, ports
from support.client import at_once
from support.fake_provider import (GITHUB_CLIENT, GITHUB_SECRET, GOOGLE_CLIENT, FakeProvider, Reply)
from support.jose import Key, make
from support.pki import Authority
from support.site import STRONG

TOKEN, USER, EMAILS, CERTS = "/github/token", "/github/user", "/github/emails", "/google/certs"
LOGGED = r"github|GitHub|google|Google|JWKS|jwks"
PATIENT = "SocialAuthTimeout connect=10 total=30"        # a TLS handshake on a busy machine
WIDE = """StartServers 1
ServerLimit 1
ThreadLimit 256
ThreadsPerChild 200
MaxRequestWorkers 200
MinSpareThreads 1
MaxSpareThreads 200"""


def github_at(base, **more):
    options = {"token-url": base + TOKEN, "userinfo-url": base + USER, "emails-url": base + EMAILS, **more}
    return "github client-id=%s client-secret=%s %s" % (
        GITHUB_CLIENT, GITHUB_SECRET, " ".join("%s=%s" % kv for kv in options.items()))


def google_at(base, more=""):
    return "google client-id=%s jwks-url=%s%s %s" % (GOOGLE_CLIENT, base, CERTS, more)


def code_login(site, code="c"):
    browser = site.browser()
    state = site.state(browser)["state"]
    return browser.post("github/login/", {"code": code, "state": state})


# ---- unreachable (T194)

def test_T194_connection_refused(make_site):
    site = make_site(providers=[github_at("http://127.0.0.1:%d" % ports.free_port(), **{"allow-http": "on"}),
                                google_at("http://127.0.0.1:%d" % ports.free_port(), "allow-http=on")],
                     private=True)
    site.expect_log(LOGGED)
    before = site.counts()
    start = time.monotonic()
    check.refused(code_login(site), "provider_unavailable", "GitHub")
    check.refused(site.google_login(), "provider_unavailable", "Google")
    assert time.monotonic() - start < 9
    assert site.counts() == before


def test_T194_name_that_does_not_resolve(make_site):
    site = make_site(providers=[github_at("https://no-such-host.invalid")], private=True,
                     mount="SocialAuthTimeout connect=2 total=4")
    site.expect_log(LOGGED)
    answer = code_login(site)
    assert answer.status in (502, 504) and answer.word in ("provider_unavailable", "provider_timeout"), answer


@pytest.fixture(scope="module")
def authority():
    return Authority("pki")


@pytest.mark.parametrize("leaf,works", [
    (dict(), True), (dict(hosts=("other.example",)), False), (dict(expired=True), False),
    (dict(self_signed=True), False)])
def test_T194_certificates(make_site, authority, leaf, works):
    chain, key = authority.issue("leaf-%s" % "-".join(leaf) or "good", **leaf)
    provider = FakeProvider(chain, key)
    try:
        site = make_site(providers=[github_at(provider.url)], private=True, mount=PATIENT,
                         server='SocialAuthCABundle "%s"' % authority.ca)
        if not works:
            site.expect_log(LOGGED)
        answer = code_login(site, provider.github.code(provider.github.user()))
        if works:
            check.signed_in(answer)
        else:
            check.refused(answer, "provider_unavailable", "GitHub")
            assert provider.asked() == []
    finally:
        provider.close()


def test_T194_unknown_authority(make_site, authority):
    provider = FakeProvider(*authority.issue("leaf-unknown"))
    try:
        site = make_site(providers=[github_at(provider.url)], private=True, mount=PATIENT)
        site.expect_log(LOGGED)
        check.refused(code_login(site), "provider_unavailable", "GitHub")
        assert provider.asked() == []
    finally:
        provider.close()


def test_T194_a_warm_connection_is_not_lent_to_who_trusts_less(make_site, authority):
    """Two mounts with one provider and different bundles: each checks the certificate itself."""
    stranger = Authority("stranger")
    provider = FakeProvider(*authority.issue("leaf-shared"))
    try:
        other = '\n'.join(['<Location "/other">', "SetHandler social-auth",
                           'SocialAuthCABundle "%s"' % stranger.ca, PATIENT, "SocialAuthThrottleRate off", "</Location>"])
        site = make_site(providers=[], private=True, mount=PATIENT, server="\n".join([
            "SocialAuthProvider " + github_at(provider.url), 'SocialAuthCABundle "%s"' % authority.ca, other]))
        site.expect_log(LOGGED)
        for _ in range(4):
            check.signed_in(code_login(site, provider.github.code(provider.github.user())))
            asked = len(provider.asked())
            browser = site.browser()
            state = browser.get("/other/github/state/").json()["state"]
            answer = browser.post("/other/github/login/", {"code": "c", "state": state})
            check.refused(answer, "provider_unavailable", "GitHub")
            assert len(provider.asked()) == asked
    finally:
        provider.close()


# ---- slow (T195, T196)

@pytest.mark.parametrize("path,reply", [
    (TOKEN, dict(hang=True)), (USER, dict(hang=True)), (EMAILS, dict(hang=True)),
    (TOKEN, dict(body=b"x" * 200, drip=0.1)), (USER, dict(body=b"x" * 200, drip=0.1))])
def test_T195_total_deadline(make_site, path, reply):
    site = make_site(mount="SocialAuthTimeout connect=1 total=4")
    site.expect_log(LOGGED)
    before = site.counts()
    with site.provider.scripted(path, Reply(**reply)):
        start = time.monotonic()
        check.refused(site.github_login(), "provider_timeout", "GitHub")
        assert 3.5 < time.monotonic() - start < 12
    assert site.counts() == before
    check.signed_in(site.github_login())


def test_T195_total_deadline_of_all_calls_together(make_site):
    site = make_site(mount="SocialAuthTimeout connect=1 total=2")
    site.expect_log(LOGGED)
    user = site.provider.github.user()
    token = Reply(body={"access_token": "gho_x", "token_type": "bearer"}, delay=1.4)
    with site.provider.scripted(TOKEN, token), \
            site.provider.scripted(USER, Reply(body=user["user"], delay=1.4)), \
            site.provider.scripted(EMAILS, Reply(body=user["emails"])):
        check.refused(site.github_login(user=user), "provider_timeout", "GitHub")


def test_T195_connection_that_is_never_taken(make_site):
    """A full backlog: SYNs are dropped, connect hangs."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = []
        for _ in range(4):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", port))
            fillers.append(s)
        site = make_site(providers=[github_at("http://127.0.0.1:%d" % port, **{"allow-http": "on"})],
                         mount="SocialAuthTimeout connect=1 total=30", private=True)
        site.expect_log(LOGGED)
        start = time.monotonic()
        answer = code_login(site)
        assert answer.status in (502, 504), answer
        assert time.monotonic() - start < 15
        for s in fillers:
            s.close()


@pytest.mark.cell("event", "pgsql")
@pytest.mark.limit(180)
def test_T195_T196_hanging_logins_hold_nothing(make_site):
    """Fifty logins wait for GitHub; nobody else notices, and no database connection is held."""
    site = make_site(mpm_settings=WIDE, private=True, dbd="DBDMin 1\nDBDKeep 2\nDBDMax 4\nDBDExptime 60",
                     mount="SocialAuthTimeout connect=2 total=60", server="SocialAuthHashConcurrency 20")
    site.expect_log(LOGGED)
    site.make_user("ada@example.org")
    site.google_login()
    site.provider.script(TOKEN, Reply(hang=True))
    waiting = [threading.Thread(target=lambda: code_login(site)) for _ in range(50)]
    for t in waiting:
        t.start()
    site.httpd.wait_for(lambda: len(site.provider.asked(TOKEN)) >= 45, "the logins to hang", 30)
    start = time.monotonic()
    for i in range(20):
        check.signed_in(site.google_login(sub="s%d" % i))
    assert time.monotonic() - start < 30
    start = time.monotonic()
    answers = at_once([lambda: site.password_login("ada@example.org") for _ in range(20)])
    assert {a.status for a in answers} == {200}
    assert time.monotonic() - start < 30
    site.provider.release()
    for t in waiting:
        t.join()


@pytest.mark.cell("event", "pgsql")
def test_T195_bounded_waiters_then_busy(make_site):
    site = make_site(private=True, mount="SocialAuthTimeout connect=2 total=30", mpm_settings="""StartServers 1
ServerLimit 1
ThreadsPerChild 10
MaxRequestWorkers 10
MinSpareThreads 1
MaxSpareThreads 10""")
    site.expect_log(LOGGED, "busy")
    site.google_login()
    site.provider.script(TOKEN, Reply(hang=True))
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(code_login(site))) for _ in range(9)]
    for t in threads:
        t.start()
    site.httpd.wait_for(lambda: any(a.status == 503 for a in list(answers)), "busy", 20)
    for answer in [a for a in list(answers) if a.status == 503]:
        assert answer.word == "busy" and int(answer.header("Retry-After")) > 0
    check.signed_in(site.google_login())
    site.provider.release()
    for t in threads:
        t.join()


TEN_THREADS = """StartServers 1
ServerLimit 1
ThreadsPerChild 10
MaxRequestWorkers 10
MinSpareThreads 1
MaxSpareThreads 10"""


@pytest.mark.cell("event", "pgsql")
def test_T195_waiting_for_the_first_keys_leaves_threads(make_site):
    """Nobody has the keys yet, and they do not come: everything else goes on."""
    site = make_site(private=True, mount="SocialAuthTimeout connect=2 total=30",
                     mpm_settings=TEN_THREADS)
    site.expect_log(LOGGED, "busy")
    with open(site.httpd.docs + "/page.txt", "w") as f:
        f.write("here")
    site.provider.script(CERTS, Reply(hang=True))
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(site.google_login(with_state=False)))
               for _ in range(12)]
    for t in threads:
        t.start()
    site.httpd.wait_for(lambda: site.provider.asked(CERTS), "the keys to be asked for", 20)
    site.httpd.wait_for(lambda: len([a for a in list(answers) if a.word == "busy"]) >= 6, "busy", 20)
    start = time.monotonic()
    assert site.browser().get("/page.txt").status == 200
    assert time.monotonic() - start < 15
    site.provider.release()
    for t in threads:
        t.join()


@pytest.mark.cell("event", "pgsql")
def test_T195_one_hanging_provider_leaves_places_to_the_others(make_site):
    site = make_site(private=True, mount="SocialAuthTimeout connect=2 total=30",
                     mpm_settings=TEN_THREADS)
    site.expect_log(LOGGED, "busy")
    site.provider.script(TOKEN, Reply(hang=True))
    threads = [threading.Thread(target=lambda: code_login(site)) for _ in range(6)]
    for t in threads:
        t.start()
    site.httpd.wait_for(lambda: len(site.provider.asked(TOKEN)) >= 2, "the logins to hang", 20)
    for _ in range(3):
        check.signed_in(site.google_login())            # asks for the keys, the first time
    site.provider.release()
    for t in threads:
        t.join()


# ---- too much (T197)

@pytest.mark.parametrize("path", [TOKEN, USER, EMAILS])
@pytest.mark.parametrize("kind", ["endless", "big", "gzip"])
def test_T197_huge_answers(make_site, path, kind):
    import gzip
    site = make_site(mount="SocialAuthTimeout connect=1 total=20")
    site.expect_log(LOGGED)
    reply = {
        "endless": Reply(endless=b" " * 65536),
        "big": Reply(body=b'{"access_token":"' + b"a" * (5 << 20) + b'"}'),
        "gzip": Reply(body=gzip.compress(b" " * (50 << 20)), headers=[("Content-Encoding", "gzip")]),
    }[kind]
    before = site.counts()
    with site.provider.scripted(path, reply):
        start = time.monotonic()
        answer = site.github_login()
        assert answer.status in (400, 502) and time.monotonic() - start < 15, answer
        assert answer.word in ("provider_unavailable", "provider_rejected")
    site.provider.release()
    assert site.counts() == before
    assert site.httpd.largest() < 400000
    check.signed_in(site.github_login())


def test_max_response_is_a_setting(make_site):
    site = make_site(mount="SocialAuthMaxResponse 2048")
    site.expect_log(LOGGED)
    user = site.provider.github.user(bio="x" * 4000)
    answer = site.github_login(user=user)
    check.refused(answer, "provider_unavailable", "GitHub")


# ---- redirects, errors, retries (T198..T200)

@pytest.mark.parametrize("path", [TOKEN, USER, EMAILS])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_T198_redirects_are_not_followed(site, path, status):
    site.expect_log(LOGGED)
    with site.provider.scripted(path, Reply(status, headers=[("Location", site.provider.url + "/steal")])):
        answer = site.github_login()
    assert answer.status in (400, 502), answer
    assert site.provider.asked("/steal") == []


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_T200_a_code_is_never_sent_twice(site, status):
    site.expect_log(LOGGED)
    with site.provider.scripted(TOKEN, Reply(status, headers=[("Retry-After", "0")])):
        answer = site.github_login()
    assert answer.status in (400, 502), answer
    assert len(site.provider.asked(TOKEN)) == 1


def test_T200_reads_are_retried_at_most_once(site):
    site.expect_log(LOGGED)
    with site.provider.scripted(USER, Reply(503)):
        assert site.github_login().status in (400, 502)
    assert len(site.provider.asked(USER)) <= 2


@pytest.mark.parametrize("raw", [
    b"", b"\x00" * 100, b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\n", b"HTTP/9.9 999 \r\n\r\n", b"garbage\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20000,
    b"HTTP/1.1 200 OK\r\nX: " + b"y" * 400000 + b"\r\n\r\n"], ids=range(11))
def test_T199_what_is_no_http(site, raw):
    site.expect_log(LOGGED)
    before = site.counts()
    with site.provider.scripted(TOKEN, Reply(raw=raw)):
        answer = site.github_login()
    assert answer.status in (400, 502, 504), answer
    assert site.counts() == before
    check.signed_in(site.github_login())


def test_T206_proxy_environment_is_not_used(make_site):
    proxy = "http://127.0.0.1:%d" % ports.free_port()
    site = make_site(env={"http_proxy": proxy, "HTTPS_PROXY": proxy, "ALL_PROXY": proxy}, private=True)
    check.signed_in(site.github_login())


def test_T207_connection_closed_between_calls(site):
    """One transparent reconnect."""
    check.signed_in(site.github_login())
    for _ in range(3):
        user = site.provider.github.user()
        site.provider.script(EMAILS, Reply(body=user["emails"], headers=[("Connection", "close")]))
        site.provider.script(USER, Reply(body=user["user"], headers=[("Connection", "close")]))
        check.signed_in(site.github_login(user=user))
        site.provider.unscript(EMAILS)
        site.provider.unscript(USER)
        check.signed_in(site.github_login(user=user))


@pytest.mark.process
def test_T207_handles_do_not_outlive_a_restart(site):
    for _ in range(3):
        check.signed_in(site.github_login())
        site.httpd.graceful()
    check.signed_in(site.github_login())


# ---- keys of a provider (T201..T205)

@pytest.fixture
def fresh(make_site):
    """A server that has fetched no key yet."""
    return make_site(private=True)


def test_T205_one_fetch_for_many_first_tokens(fresh):
    site = fresh
    site.provider.script(CERTS, Reply(delay=0.5, body=site.provider.google.jwks()))
    answers = at_once([lambda: site.google_login() for _ in range(20)])
    assert {a.status for a in answers} <= {200, 502, 503, 504}
    assert len([a for a in answers if a.status == 200]) >= 1
    assert len(site.provider.asked(CERTS)) <= 2
    site.expect_log(LOGGED)
    check.signed_in(site.google_login())


@pytest.mark.process
def test_T201_flood_of_unknown_kids(fresh):
    site = fresh
    google = site.provider.google
    site.expect_log(LOGGED)
    check.signed_in(site.google_login())
    stranger = Key("RS256", "x")
    start = time.monotonic()
    browser = site.browser()
    for i in range(150):
        header = {"alg": "RS256", "kid": "random-%d" % i}
        answer = browser.post("google/login/", {"token": make(google.claims(), stranger, header)})
        check.refused(answer, "id_token_invalid", "Google")
    assert time.monotonic() - start < 40
    assert len(site.provider.asked(CERTS)) <= 2
    check.signed_in(site.google_login())


ALL_CLOCKS = {"SA_CLOCK_ALL": "1"}


def test_T202_rotation(make_site):
    """The first token of a new key is verified after one refetch."""
    site = make_site(private=True, faketime="+0", env=ALL_CLOCKS)
    google = site.provider.google
    check.signed_in(site.google_login())
    site.httpd.set_clock("+65")                         # refetches are 60 s apart
    new = Key("RS256", "g-new")
    google.keys = [new] + google.keys
    check.signed_in(site.google_login())
    assert len(site.provider.asked(CERTS)) == 2
    old = google.keys[1]
    check.signed_in(site.browser().post("google/login/", {"token": make(google.claims(), old)}))


def test_T202_dropped_key_is_refused_after_the_next_fetch(make_site):
    site = make_site(private=True, faketime="+0", env=ALL_CLOCKS)
    google = site.provider.google
    check.signed_in(site.google_login())
    site.httpd.set_clock("+65")
    old = google.keys[0]
    google.keys = [Key("RS256", "g-other")]
    check.signed_in(site.google_login())                # unknown kid: fetched
    site.expect_log(LOGGED)
    answer = site.browser().post("google/login/", {"token": make(google.claims(), old)})
    check.refused(answer, "id_token_invalid", "Google")


def test_T203_keys_are_not_used_for_ever(make_site):
    """An outage of over a day: the last good set is too old to trust."""
    site = make_site(private=True, faketime="+0", env=ALL_CLOCKS)
    site.expect_log(LOGGED)
    check.signed_in(site.google_login())
    site.provider.script(CERTS, Reply(500))
    site.httpd.set_clock("+12h")
    claims = {"iat": int(time.time()) + 12 * 3600, "exp": int(time.time()) + 13 * 3600}
    check.signed_in(site.google_login(**claims))
    site.httpd.set_clock("+25h")
    claims = {"iat": int(time.time()) + 25 * 3600, "exp": int(time.time()) + 26 * 3600}
    answer = site.google_login(**claims)
    assert answer.status in (400, 502), answer


@pytest.mark.parametrize("reply", [Reply(500), Reply(404), Reply(200, b"garbage"), Reply(200, b'{"keys":[]}'),
                                   Reply(drop=True), Reply(301, headers=[("Location", "/x")])],
                         ids=["500", "404", "garbage", "empty", "drop", "301"])
def test_T203_outage_keeps_the_last_good_keys(fresh, reply):
    site = fresh
    google = site.provider.google
    site.expect_log(LOGGED)
    check.signed_in(site.google_login())
    site.provider.script(CERTS, reply)
    stranger = make(google.claims(), Key("RS256", "unknown"))
    for _ in range(3):
        answer = site.browser().post("google/login/", {"token": stranger})
        assert answer.status in (400, 502), answer
        check.signed_in(site.google_login())
    # The first fetch and one for the unknown kid; libcurl tries a GET that died on a warm connection again.
    assert len(site.provider.asked(CERTS)) <= (3 if reply.drop else 2)


@pytest.mark.parametrize("value", ["max-age=0", "max-age=-1", "max-age=1000000000000", "max-age=x", "no-store",
                                   None, "max-age=", "public,,,max-age=5;x"])
def test_T204_cache_headers_are_clamped(fresh, value):
    site = fresh
    site.provider.google.cache_control = value
    for _ in range(6):
        check.signed_in(site.google_login())
    assert len(site.provider.asked(CERTS)) == 1


@pytest.mark.parametrize("content_type", ["application/json", "application/jwk-set+json",
                                          "application/json; charset=UTF-8"])
def test_key_set_content_types(fresh, content_type):
    fresh.provider.script(CERTS, Reply(body=fresh.provider.google.jwks(), content_type=content_type))
    check.signed_in(fresh.google_login())


# ---- where it may connect to (T41)

@pytest.mark.parametrize("url", ["file:///etc/passwd", "gopher://127.0.0.1/x", "ftp://127.0.0.1/x",
                                 "http://example.com/certs", "http://169.254.169.254/latest", "https://",
                                 "javascript:alert(1)", "//127.0.0.1/x", "dict://127.0.0.1:11211/"])
def test_T41_endpoints_are_https(site, url):
    for key in ("jwks-url", "token-url", "userinfo-url"):
        status, said = site.httpd.try_edit(
            "SocialAuthProvider google", "SocialAuthProvider extra type=oidc client-id=x client-secret=y"
            " issuer=https://op.example %s=%s\n    SocialAuthProvider google" % (key, url))
        assert status != 0, (key, url, said)
        assert key in said and ("https" in said or "link-local" in said), said


def test_T41_answers_cannot_move_the_module(site):
    """Nothing in a token or an answer is followed."""
    google, url = site.provider.google, site.provider.url
    key = google.keys[0]
    token = make(google.claims(jku=url + "/evil", picture=url + "/evil", iss_url=url + "/evil"), key,
                 {"alg": "RS256", "kid": key.kid, "jku": url + "/evil", "x5u": url + "/evil"})
    site.browser().post("google/login/", {"token": token})
    user = site.provider.github.user(avatar_url=url + "/evil", url=url + "/evil", emails_url=url + "/evil")
    site.github_login(user=user)
    assert site.provider.asked("/evil") == []


def test_password_login_needs_no_provider(make_site):
    site = make_site(providers=[github_at("http://127.0.0.1:%d" % ports.free_port(), **{"allow-http": "on"})],
                     private=True)
    site.make_user("ada@example.org")
    check.signed_in(site.password_login("ada@example.org", STRONG))
