"""Threats that no other file is about: what parsers choke on, sent over the wire; failing memory and
random numbers; a provider's leftovers."""
import glob
import itertools
import json
import os
import secrets
import socket
import ssl
import struct
import subprocess
import threading
import urllib.parse

import pytest

from support import check, jose, paths, pki, ports, vectors
from support.client import raw, split_answers
from support.fake_provider import Reply
from support.site import MOUNT, STRONG

POSTS = ("github/login/", "google/login/", "github/link/", "github/unlink/", "token/",
         "token/refresh/", "token/verify/", "token/blacklist/")


# ---- providers' leftovers

@pytest.mark.db
def test_T45_a_refresh_asks_no_provider(site):
    """What a provider would say at a later refresh cannot change who somebody is: it is never
    asked, and what it gave for asking is not kept."""
    provider, github = site.provider, site.provider.github
    gho, ghr = "gho_" + secrets.token_hex(18), "ghr_" + secrets.token_hex(18)
    github._tokens[gho] = github.user()
    reply = Reply(200, {"access_token": gho, "token_type": "bearer", "expires_in": 1,
                        "refresh_token": ghr, "refresh_token_expires_in": 15811200,
                        "id_token": provider.google.id_token()})
    with provider.scripted("/github/token", reply):
        first = site.tokens(site.github_login())
    asked = len(provider.asked())
    browser = site.browser()
    second = browser.post("token/refresh/", {"refresh": first["refresh"]}).json()
    assert site.user_id(second) == site.user_id(first)
    assert browser.get("linked-accounts/", bearer=second["access"]).status == 200
    assert len(provider.asked()) == asked
    dump = site.db.dump()
    assert gho not in dump and ghr not in dump
    assert jose.claims_of(second["refresh"])["sid"] == jose.claims_of(first["refresh"])["sid"]


# ---- JWT headers

class Listener:
    """Counts who connects."""

    def __init__(self):
        self.count = 0
        self._socket = socket.create_server(("127.0.0.1", ports.free_port()), backlog=64)
        self.url = "http://127.0.0.1:%d/keys" % self._socket.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.count += 1
            connection.close()

    def close(self):
        self._socket.close()


def tempting_headers(url, key):
    """Headers that offer the attacker's key, by value and by address."""
    jwk = key.jwk()
    for extra in ({"jwk": jwk}, {"jku": url}, {"x5u": url}, {"x5c": ["MIIB"]},
                  {"jku": url, "jwk": jwk, "kid": jwk.get("kid")}, {"jwks_uri": url},
                  {"iss": url}, {"kid": url}, {"kid": "../../../../dev/null"}):
        yield {"alg": key.alg, "typ": "at+jwt", "kid": "mine", **extra}


def test_T83_keys_in_the_header_are_not_used(site):
    listener, browser = Listener(), site.browser()
    rows = site.counts()
    now = jose.now()
    try:
        for key in (jose.Key("RS256", "mine"), jose.Key("ES256", "mine")):
            for header in tempting_headers(listener.url, key):
                claims = {"iss": site.issuer, "aud": site.issuer, "sub": "1", "user_id": 1,
                          "token_type": "access", "iat": now, "exp": now + 600, "jti": "j" * 32,
                          "sid": "s" * 32}
                token = jose.make(claims, key, header)
                check.access_refused(browser.get("linked-accounts/", bearer=token))
                assert browser.post("token/verify/", {"token": token}).status == 401
                assert browser.post("token/refresh/", {"refresh": jose.make(
                    {**claims, "token_type": "refresh"}, key, {**header, "typ": "rt+jwt"})}
                    ).status == 401
                google = jose.make(site.provider.google.claims(), key, header)
                check.refused(browser.post("google/login/", {"token": google}),
                              "id_token_invalid", "Google")
        # The listener would have seen it.
        assert listener.count == 0
        socket.create_connection(listener._socket.getsockname()).close()
        site.httpd.wait_for(lambda: listener.count == 1, "the listener")
    finally:
        listener.close()
    assert site.counts() == rows


@pytest.mark.parametrize("case", vectors.cases("hostile/jwt_hostile.json", "key-injection"))
def test_T83_vectors(site, case):
    check.access_refused(site.browser().get("linked-accounts/", bearer=case["token"]))


# ---- JSON

def nested(depth, opening="[", closing="]"):
    return opening * depth + closing * depth


def test_T100_deep_nesting_on_a_small_stack(make_site):
    site = make_site(more="ThreadStackSize 262144", mount="SocialAuthMaxBody 4000000")
    browser = site.browser()
    access = site.tokens(site.github_login())["access"]
    bodies = [text for depth in (101, 200, 2049, 20000, 500000)
              for text in ("[" * depth, nested(depth), '{"code":%s}' % nested(depth),
                           nested(depth, '{"a":', "}").replace(":}", ":1}"))]
    bodies += ["[" * 1000000, '{"a":[' * 150000, "]" * 1000, '[{' * 5000]
    for body in bodies:
        answer = browser.post("github/link/", body=body, content_type="application/json",
                              bearer=access)
        assert answer.status == 400 and answer.word == "parse_error", (body[:40], answer)
    for path in POSTS:
        answer = browser.post(path, body=nested(20000), content_type="application/json",
                              bearer=access)
        assert answer.status == 400, answer
    assert site.github_login().status == 200


def test_T100_deep_nesting_in_tokens_and_replies(make_site):
    site = make_site(more="ThreadStackSize 262144", mount="SocialAuthMaxBody 4000000")
    google, browser = site.provider.google, site.browser()
    for depth in (101, 200, 2049, 20000):
        claims = google.claims()
        text = json.dumps(claims)[:-1] + ',"deep":%s}' % nested(depth)
        token = jose.make(text, google.keys[0])
        check.refused(browser.post("google/login/", {"token": token}), "id_token_invalid", "Google")
        header = '{"alg":"RS256","kid":"g-1","x":%s}' % nested(depth)
        token = jose.b64(header) + "." + jose.b64(json.dumps(claims)) + ".AAAA"
        check.refused(browser.post("google/login/", {"token": token}), "id_token_invalid", "Google")
        if len(token) < 7000:
            check.access_refused(browser.get("linked-accounts/", bearer=token))
    site.expect_log("SA0100: provider_")
    for body in (nested(2049), nested(20000), "[" * 900000, '{"a":' * 150000):
        for path in ("/github/token", "/github/user", "/github/emails"):
            with site.provider.scripted(path, Reply(200, body)):
                assert site.github_login(browser).status in (400, 502)
    assert site.github_login().status == 200


HUGE = ["1e309", "-1e309", "1e99999", "99999999999999999999999", "-99999999999999999999999",
        "1" * 5000, "0." + "1" * 5000, "9223372036854775808", "1.5e300", "1,5", "0x10", "NaN",
        "Infinity", "01", "1.", ".5", "+1", "--1"]


@pytest.mark.parametrize("number", HUGE, ids=lambda n: n[:12])
def test_T101_numbers_of_any_size(site, number):
    browser = site.browser()
    for path, field in (("github/login/", "code"), ("token/", "password"),
                        ("token/refresh/", "refresh"), ("google/login/", "token")):
        answer = browser.post(path, body='{"%s":%s,"state":"s","email":"a"}' % (field, number),
                              content_type="application/json")
        assert answer.status == 400, answer
        answer = browser.post(path, body=number, content_type="application/json")
        assert answer.status == 400, answer
    claims = site.provider.google.claims()
    for name in ("exp", "iat", "nbf"):
        text = json.dumps({**claims, name: 0}).replace('"%s": 0' % name,
                                                       '"%s": %s' % (name, number))
        token = jose.make(text, site.provider.google.keys[0])
        answer = browser.post("google/login/", {"token": token})
        # A time that is long gone is no ground to refuse it when it is nbf's.
        fine = name == "nbf" and number.startswith("-9")
        assert answer.status == 400 or fine and answer.status == 200, (name, answer)


# ---- pages

SCRIPT = "</pre><script>alert(1)</script>\"'\u2028<img src=x onerror=alert(1)>"


def never_markup(answer):
    kind = (answer.header("Content-Type") or "").split(";")[0]
    if kind == "application/json":
        assert answer.header("X-Content-Type-Options") == "nosniff", answer
        assert "text/html" not in kind
    else:                                               # httpd's own page for what never reached us
        assert b"<script" not in answer.body and b"<img" not in answer.body, answer


def test_T168_no_answer_is_a_page_with_the_clients_words(site):
    browser = site.browser()
    for path in POSTS:
        for body in ({name: SCRIPT for name in ("code", "state", "token", "email", "username",
                                                "password", "refresh", "redirect_uri")}, [SCRIPT]):
            never_markup(browser.post(path, body))
        never_markup(browser.post(path, body=SCRIPT.encode(), content_type="application/json"))
        never_markup(browser.post(path, form={"code": SCRIPT, "state": SCRIPT}))
        never_markup(browser.post(path, body=b"x", content_type="text/<script>alert(1)</script>"))
    quoted = "%3Cscript%3Ealert(1)%3C/script%3E"
    for target in ("/github/state/?code_challenge=" + quoted, "/" + quoted + "/state/",
                   "/" + quoted, "/github/state/?" + quoted, "/nosuch/<script>alert(1)</script>"):
        never_markup(browser.get(MOUNT + target))
    for method, target in (("<script>", "/token/"), ("SCRIPT", "/token/<script>"),
                           ("GET", "/token/<script>x</script>")):
        got = split_answers(raw(site.port, ("%s %s%s HTTP/1.1\r\nHost: localhost\r\n"
                                            "Connection: close\r\n\r\n"
                                            % (method, MOUNT, target)).encode()))
        assert got
        never_markup(got[0])
    user = site.provider.github.user(name=SCRIPT, login="scripter")
    tokens = site.tokens(site.github_login(user=user))
    never_markup(browser.get("linked-accounts/", bearer=tokens["access"]))
    # The demo page writes text, never markup.
    scripts = glob.glob(os.path.join(paths.TOP, "conf", "demo", "htdocs", "*.js"))
    assert scripts
    for path in scripts:
        with open(path) as f:
            text = f.read()
        for writer in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert writer not in text, (path, writer)


# ---- TLS

TLS = """
Listen 127.0.0.1:%(port)d
<IfModule !socache_shmcb_module>
    LoadModule socache_shmcb_module %(modules)s/mod_socache_shmcb.so
</IfModule>
SSLSessionCache shmcb:{root}/tls(512000)
%(hosts)s
"""
TLS_HOST = """
<VirtualHost 127.0.0.1:%(port)d>
    ServerName %(name)s
    SSLEngine on
    SSLProtocol all
    SSLCertificateFile %(chain)s
    SSLCertificateKeyFile %(key)s
    SocialAuthSecret "%(secret)s"
    SocialAuthBaseURL https://%(name)s:%(port)d
    <Location "/%(name)s">
        SetHandler social-auth
        SocialAuthProvider {github}
    </Location>
</VirtualHost>
"""


def ask(context, port, name, session=None, bearer=None):
    """One GET linked-accounts over TLS -> (status, the TLS session, whether it was resumed)"""
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        with context.wrap_socket(plain, server_hostname=name, session=session) as s:
            who = "Authorization: Bearer %s\r\n" % bearer if bearer else ""
            s.sendall(("GET /%s/linked-accounts/ HTTP/1.1\r\nHost: %s:%d\r\n%s"
                       "Connection: close\r\n\r\n" % (name, name, port, who)).encode())
            data = b""
            while True:
                try:
                    got = s.recv(65536)
                except ssl.SSLError:
                    break
                if not got:
                    break
                data += got
            return split_answers(data)[0].status, s.session, s.session_reused


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_T193_a_resumed_tls_session_carries_no_identity(make_site, provider, version):
    port = ports.free_port()
    authority = pki.Authority("resume-" + version)
    chain, key = authority.issue("hosts", ("a.localhost", "b.localhost"))
    names = ("a.localhost", "b.localhost")
    hosts = "".join(TLS_HOST % {"port": port, "name": name, "chain": chain, "key": key,
                                "secret": "secret of %s 0123456789-0123456789" % name}
                    for name in names).replace("{github}", provider.github.options)
    site = make_site(private=True, modules=["ssl"],
                     more=TLS % {"port": port, "modules": paths.MODULES, "hosts": hosts})
    user = site.make_user("keeper@example.org", "keeper")
    now = jose.now()
    context = ssl.create_default_context(cafile=authority.ca)
    context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
    # Signing in at the first host, as its own browser would.
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        with context.wrap_socket(plain, server_hostname=names[0]) as s:
            body = json.dumps({"email": "keeper@example.org", "password": STRONG})
            s.sendall(("POST /%s/token/ HTTP/1.1\r\nHost: %s:%d\r\n"
                       "Content-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
                       % (names[0], names[0], port, len(body), body)).encode())
            data = b""
            while True:
                got = s.recv(65536)
                if not got:
                    break
                data += got
    access = split_answers(data)[0].json()["access"]
    assert jose.claims_of(access)["sub"] == str(user) and now > 0
    status, session, _ = ask(context, port, names[0], bearer=access)
    assert status == 200
    status, _, reused = ask(context, port, names[0], session)
    assert status == 401 and reused, "the test must really resume"
    for session in (session, None):
        assert ask(context, port, names[1], session)[0] == 401
        assert ask(context, port, names[1], session, bearer=access)[0] == 401


# ---- when the machine fails

@pytest.mark.db
def test_T112_without_random_numbers_nothing_is_given(make_site):
    directory = paths.make_dir("random")
    flag = os.path.join(directory, "fails")
    site = make_site(private=True, preload=[paths.shim("random_fails")], env={"SA_RANDOM_FAILS": flag},
                     mount=MAILS)
    site.expect_log("SA0100: unavailable: ")
    site.make_user("keeper@example.org", "keeper")
    browser = site.browser()
    tokens = site.tokens(site.password_login("keeper@example.org"))
    github, google = site.provider.github, site.provider.google
    person = github.user()
    states = [site.state(browser)["state"] for _ in range(2)]
    app = application(site)
    code = exchange(browser, app, tokens["access"])
    rows = {k: v for k, v in site.counts().items() if k != "sa_states"}
    open(flag, "w").close()
    try:
        answers = [browser.get("github/state/"),
                   browser.post("github/login/", {"code": github.code(person), "state": states[0]}),
                   browser.post("google/login/", {"token": google.id_token()}),
                   browser.post("token/", {"email": "keeper@example.org", "password": STRONG}),
                   browser.post("token/refresh/", {"refresh": tokens["refresh"]}),
                   browser.post("create/", registration(1)),
                   browser.post("convert-token", conversion(app, google)),
                   browser.post("token", code),
                   browser.post("password/reset/", {"email": "keeper@example.org"})]
    finally:
        os.unlink(flag)
    for answer in answers:
        check.refused(answer, "unavailable")
        assert not answer.set_cookies() or all(v[0] == "" for v in answer.set_cookies().values())
    assert {k: v for k, v in site.counts().items() if k != "sa_states"} == rows
    # What needs no random number went on, and all goes on now.
    assert browser.get("linked-accounts/", bearer=tokens["access"]).status == 200
    check.signed_in(browser.post("token/refresh/", {"refresh": tokens["refresh"]}))
    check.signed_in(site.github_login(browser, person))
    assert site.db.broken_invariants() == []


CALLBACK = "https://shop.example.test/cb"
MAILS = """SocialAuthSMTP smtp://127.0.0.1:9
SocialAuthMailFrom noreply@site.example
SocialAuthMailThrottleRate off"""
DONE = (200, 201, 202)


class FailingMemory:
    """Says which allocation fails; see support/shims/malloc_fails.c."""

    def __init__(self):
        self.path = os.path.join(paths.make_dir("memory"), "control")
        with open(self.path, "wb") as f:
            f.write(bytes(16))
        os.chmod(self.path, 0o666)

    def _write(self, *values):
        with open(self.path, "r+b", buffering=0) as f:
            f.write(struct.pack("=%di" % len(values), *values))

    def during(self, n, call):
        """Runs call with the n-th allocation failing -> (answer, allocations, whether it failed)"""
        self._write(0, n, 0, 0)
        self._write(1)
        try:
            answer = call()
        finally:
            self._write(0)
        with open(self.path, "rb") as f:
            _, _, count, failed = struct.unpack("=4i", f.read(16))
        return answer, count, failed


def torture(site, memory, prepare, request, healthy, rounds):
    """request(prepare()) with one allocation failing, another one each time -> {status: count}.
    Each round begins in good health: after a connect that failed nobody connects for a moment,
    and what is answered then is not what this failure made of the request."""
    total = 0
    for _ in range(3):                                  # warm: connections, lazy tables
        answer, total, _ = memory.during(0, lambda given=prepare(): request(given))
        assert answer.status in DONE, answer
    assert total > 5, "the shim counts nothing"
    seen = {}
    step = max(1, total // rounds)
    for n in range(1, total + 1, step):
        answer, _, failed = memory.during(n, lambda given=prepare(): request(given))
        seen[answer.status] = seen.get(answer.status, 0) + 1
        access = answer.status == 200 and (answer.json().get("access") or answer.json()["access_token"])
        if access:
            assert site.browser().post("token/verify/", {"token": access}
                                       ).status == 200, "a token of a session that is not there"
        assert site.httpd.process.poll() is None
        site.httpd.wait_for(healthy, "the database after allocation %d failed" % n, seconds=20)
        if n % 7 == 0:
            assert site.db.broken_invariants() == []
    for _ in range(4):
        assert request(prepare()).status in DONE        # the same children, in good health
    return seen


def rest_flows(site, browser):
    """name: (what prepares it, what is asked)"""
    github, google, old = site.provider.github, site.provider.google, site.provider.github.user()

    def state(provider="github"):
        return site.state(browser, provider)
    return {
        "new": (lambda: {"code": github.code(github.user()), "state": state()["state"]},
                lambda body: browser.post("github/login/", body)),
        "old": (lambda: {"code": github.code(old), "state": state()["state"]},
                lambda body: browser.post("github/login/", body)),
        "google": (lambda: {"token": google.id_token()},
                   lambda body: browser.post("google/login/", body)),
        "password": (lambda: {"email": "keeper@example.org", "password": STRONG},
                     lambda body: browser.post("token/", body)),
        "refresh": (lambda: {"refresh": site.tokens(site.github_login(browser, old))["refresh"]},
                    lambda body: browser.post("token/refresh/", body)),
    }


def oauth2_flows(site, browser):
    google, app, numbers = site.provider.google, application(site), itertools.count()
    access = site.tokens(site.password_login("keeper@example.org"))["access"]
    return {
        "create": (lambda: registration(next(numbers)), lambda body: browser.post("create/", body)),
        "convert": (lambda: conversion(app, google), lambda body: browser.post("convert-token", body)),
        "code": (lambda: exchange(browser, app, access), lambda body: browser.post("token", body)),
        "reset": (lambda: {"email": "keeper@example.org"}, lambda body: browser.post("password/reset/", body)),
    }


def application(site):
    return site.application("authorization_code convert_token", redirect_uris=CALLBACK, trusted=True)


def registration(number):
    return {"email": "new%d@example.org" % number, "username": "new%d" % number, "first_name": "N", "password": STRONG}


def conversion(app, google):
    return {"grant_type": "convert_token", "backend": "google", "token": google.access_token(), **app}


def exchange(browser, app, access):
    """Somebody's code."""
    answer = browser.get("authorize?response_type=code&redirect_uri=%s&client_id=%s" % (CALLBACK, app["client_id"]),
                         bearer=access)
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(answer.header("Location")).query)
    return {"grant_type": "authorization_code", "code": query["code"][0], "redirect_uri": CALLBACK, **app}


def allocations_fail(make_site, rounds, flows_of):
    """Each kind of request, up to so many times, another of its allocations failing each time."""
    memory = FailingMemory()
    site = make_site(private=True, preload=[paths.shim("malloc_fails")], mount=MAILS,
                     env={"SA_MALLOC_CONTROL": memory.path}, mpm_settings=ONE_CHILD)
    site.expect_log("SA0100: (unavailable|provider_|busy)", r"\[dbd:", r"\[social_auth:")
    children, browser = site.httpd.children(), site.browser()
    site.make_user("keeper@example.org", "keeper")
    keeper = site.tokens(site.password_login("keeper@example.org"))["refresh"]

    def healthy():
        return browser.post("token/verify/", {"token": keeper}).status == 200
    for name, (prepare, request) in flows_of(site, browser).items():
        seen = torture(site, memory, prepare, request, healthy, rounds)
        print(name, seen)
        # 400, 401: what could not be read for lack of memory is refused like what is wrong.
        assert set(seen) <= {*DONE, 400, 401, 500, 502, 503}, (name, seen)
        assert len(seen) > 1, "no failure was ever felt"
    assert site.db.broken_invariants() == []
    assert site.httpd.children() == children, "a child died"


FLOWS = pytest.mark.parametrize("flows_of", [rest_flows, oauth2_flows])


@FLOWS
@pytest.mark.cell("event", "pgsql")      # one child, many threads
@pytest.mark.own_malloc
def test_T111_any_allocation_may_fail(make_site, flows_of):
    allocations_fail(make_site, 40, flows_of)


@FLOWS
@pytest.mark.cell("event", "pgsql")
@pytest.mark.own_malloc
@pytest.mark.soak
@pytest.mark.limit(5400)
def test_T111_every_allocation_fails_once(make_site, flows_of):
    allocations_fail(make_site, 100000, flows_of)


ONE_CHILD = """
StartServers 1
MinSpareThreads 1
MaxSpareThreads 8
ThreadsPerChild 8
MaxRequestWorkers 8
ServerLimit 1
ThreadLimit 8
MaxConnectionsPerChild 0
"""
