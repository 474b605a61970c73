"""The rows of the table: what is asked, beside what, and what it should reach."""
import json
import multiprocessing
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import ssl
import sys
import time
import urllib.parse

import load
import peers
import stack
import statements
from stack import MOUNT, paths
from targets import Cpu, Either, Ratio, Seed, Slower, median

from support import jose                                                    # noqa: E402
from support.database import Pgsql, Sqlite                                  # noqa: E402
from support.pgcluster import Cluster                                       # noqa: E402
from support.pki import Authority                                           # noqa: E402

USERS = 2048                            # signed in before the run, through the module
QUEUE = 256                             # refresh tokens in turn
PEER_QUEUE = 64                         # of a peer, each from a password grant
HUBS = 500                              # GitHub users
SLOW = 50                               # ms of the slow provider, per call
STUCK = 1000                            # ms of the one that others wait for
PASSWORD = peers.PASSWORD
WARM = 2500                             # ID tokens for the first, short round
JSON, FORM = "application/json", peers.FORM
APP = peers.CLIENT


class Row:
    def __init__(self, name, run, base=None, targets=(), needs=()):
        """run(round, seconds) -> Sample; round 0 is the warm-up"""
        self.name, self.run, self.targets = name, run, list(targets)
        if base and base not in [getattr(t, "base", None) for t in targets]:
            self.targets.insert(0, Ratio(base))
        self.needs = set(needs) | {getattr(t, "base", None) for t in self.targets}
        self.absent = None              # why it is not measured


# ---- ID tokens

_key = None


def _id_token(numbers):
    subject, email = numbers
    now = int(time.time())
    client = stack.GOOGLE_CLIENT
    return jose.make({"iss": statements.ISSUER, "azp": client, "aud": client, "sub": subject,
                      "email": email, "email_verified": True,
                      "name": "Ada Lovelace", "given_name": "Ada", "family_name": "Lovelace",
                      "picture": "https://lh3.googleusercontent.com/a/AATXAJw", "locale": "en",
                      "iat": now, "exp": now + 36000, "jti": secrets.token_hex(20)}, _key)


def mint(who):
    """[(subject, e-mail)] -> signed tokens, on all cores (a signature costs about 0.5 ms)"""
    with multiprocessing.get_context("fork").Pool(
            initializer=signal.signal, initargs=(signal.SIGTERM, signal.SIG_DFL)) as pool:
        return pool.map(_id_token, who, 64)


class Tokens:
    """ID tokens of one kind; both servers may use the same ones, each remembers what it saw."""

    def __init__(self, who):
        self._who, self._made, self._count = who, 0, WARM
        self._files = {}

    def expect(self, rate, seconds):
        self._count = max(self._count, int(rate * seconds * 1.6) + 200)

    def file(self, round_, request):
        if round_ not in self._files:
            who = [self._who(self._made + i) for i in range(self._count)]
            self._made += self._count
            self._files[round_] = load.write_requests(
                os.path.join(paths.make_dir("requests"), "tokens%d-%d" % (id(self), round_)),
                map(request, mint(who)))
        return self._files[round_]


def login_request(token, mount=MOUNT):
    return ("POST", mount + "/google/login/", JSON, None, json.dumps({"token": token}))


def oauth_request(path, **fields):
    return ("POST", MOUNT + path, FORM, None, urllib.parse.urlencode({**fields, **APP}))


def convert_request(token):
    return oauth_request("/convert-token", grant_type="convert_token", backend="google-oauth2",
                         token=token)


def google_user(i):
    return ("g-%019d" % i, "ada%d@gmail.com" % i)


class Bench:
    def __init__(self, options):
        self.rounds, self.seconds, self.word = options.rounds, options.seconds, options.word
        self.users = max(USERS, (self.rounds + 1) * QUEUE)
        self.openssl, self._memory = {}, []
        self._data_dir = options.data and os.path.join(options.data, "sa-bench-%d" % os.getpid())
        self._open, self.peers = [], [peers.Glewlwyd(), peers.Django()]
        self.returning = Tokens(lambda i: google_user(i % self.users))
        self.converted = Tokens(lambda i: google_user(i % self.users))
        self.new = Tokens(lambda i: google_user(self.users + i))
        self.httpd_program, self.pg_program = paths.HTTPD, paths.pg_bin("postgres")
        self.sqlite_version = sqlite3.sqlite_version
        self.rows = self._select(self._all_rows())

    def say(self, text):
        print("· " + text, file=sys.stderr, flush=True)

    # -- which rows

    def _select(self, rows):
        if not self.word:
            return rows
        wanted = {row.name for row in rows if self.word in row.name}
        while True:
            more = {name for row in rows if row.name in wanted for name in row.needs if name}
            if more <= wanted:
                return [row for row in rows if row.name in wanted]
            wanted |= more

    def _all_rows(self):
        get, pg, lite = self._get, lambda: self.pg, lambda: self.lite
        bare, slow = "bare SQLite, full sync: ", "github/login, provider %d ms" % SLOW
        alone = slow.replace("github/login, ", "") + ": two calls"

        def beside(what):
            return [Ratio("%s: %s" % (peer.name, what)) for peer in self.peers]
        return [
            Row("open static file", get("/index.txt")),
            Row("Redirect 204", get("/nothing"), "open static file"),
            Row("state", get(MOUNT + "/github/state/"), None, [Ratio("Redirect 204", 0.75)]),
            Row("linked-accounts", self._cycle(pg, "links"), "pgbench: linked-accounts",
                [Ratio("open static file", 0.45), Seed(30, 718)]),
            Row("pgbench: linked-accounts", self._pgbench("links")),
            Row("token/verify", self._cycle(pg, "verify"), "pgbench: token/verify"),
            Row("pgbench: token/verify", self._pgbench("verify")),
            Row("token/verify beside 32 waiting logins", self._beside(
                32, lambda seconds: self._cycle(pg, "verify")(0, seconds)), None,
                [Ratio("token/verify", 0.90)]),
            Row("token/refresh", self._refresh(pg), None,
                [Ratio("pgbench: rotation", 0.55), Seed(15, 389)]),
            Row("pgbench: rotation", self._pgbench("refresh")),
            Row("login, returning", self._google(pg, self.returning), None,
                [Ratio("pgbench: login, returning", 0.50), Seed(10, 521),
                 Seed(100, 42, "its real path")]),
            Row("pgbench: login, returning", self._pgbench("login")),
            Row("login, new user", self._google(pg, self.new), "pgbench: login, new user",
                [Seed(10, 217)]),
            Row("pgbench: login, new user", self._pgbench("new")),
            Row("password login, 4 at a time", self._password),
            Row("password login beside 50 hanging logins", self._beside(
                50, lambda seconds: self._password(0, seconds)), None,
                [Slower("p99", "password login, 4 at a time", 1.25)]),
            Row("grant: password, 4 at a time", self._password_grant,
                "password login, 4 at a time", beside("grant password, 4 at a time")),
            Row("grant: refresh_token", self._refresh_grant, "token/refresh",
                beside("grant refresh_token")),
            Row("convert_token, returning", self._google(pg, self.converted, convert_request),
                "login, returning"),
            Row("introspect", self._cycle(pg, "introspect"), "token/verify",
                beside("introspect")),
            *[row for peer in self.peers for row in self._peer_rows(peer)],
            Row("github/login, provider 0 ms", self._github(MOUNT, 32), None,
                [Either(Seed(50, 14), Cpu(1000))]),
            Row(slow, self._github(MOUNT + str(SLOW), 32), None, [Seed(10, 10)]),
            Row(slow + ", one at a time", self._github(MOUNT + str(SLOW), 1), None,
                [Slower("p50", alone, ms=2)]),
            Row(alone, self._two_calls),
            Row("SQLite: linked-accounts", self._cycle(lite, "links"), None,
                [Ratio(bare + "linked-accounts", 0.30)]),
            Row("SQLite: token/refresh", self._refresh(lite), None,
                [Ratio(bare + "rotation", 0.30)]),
            Row("SQLite: login, returning", self._google(lite, self.returning), None,
                [Ratio(bare + "login", 0.30)]),
            Row("SQLite: login, new user", self._google(lite, self.new),
                "SQLite: login, returning"),
            Row(bare + "linked-accounts", self._sqlite("links", "full")),
            Row(bare + "rotation", self._sqlite("refresh", "full")),
            Row(bare + "login", self._sqlite("login", "full")),
            Row("bare SQLite, normal sync: rotation", self._sqlite("refresh", "normal"),
                bare + "rotation"),
            Row("bare SQLite, normal sync: login", self._sqlite("login", "normal"), bare + "login"),
        ]

    def _peer_rows(self, peer):
        def row(what, measure):
            def run(round_, seconds):
                peer.start(self.cluster)
                try:
                    return measure(peer, seconds)
                except OSError as e:
                    return load.Sample(0, problem=str(e))
            return Row("%s: %s" % (peer.name, what), run)
        return [row("grant password, 4 at a time",
                    lambda peer, seconds: self._hash(seconds, peer.password_grant(), peer)),
                row("grant refresh_token", self._peer_refresh),
                row("introspect", self._peer_introspect)]

    # -- how each is measured

    def _meter(self, server):
        parts = {"server": server.pids}
        if server is self.lite:
            return lambda: load.Meter(parts)
        parts["postgres"] = self.cluster.pids
        return lambda: load.Meter(parts, self.cluster.postmaster())

    def _get(self, path):
        def run(round_, seconds):
            file = load.write_requests(os.path.join(paths.make_dir("requests"), "get"),
                                       [("GET", path, None, None, None)])
            return load.wrk(self.pg.url(), seconds, 32, ["cycle", file], self._meter(self.pg))
        return run

    def _cycle(self, server, what):
        return lambda round_, seconds: load.wrk(
            server().url(), seconds, 32, ["cycle", self.signed_in[server(), what]],
            self._meter(server()))

    def _refresh(self, server):
        return lambda round_, seconds: self._rotate(
            server(), MOUNT + "/token/refresh/", self._turn(self.refresh_tokens[server()], round_),
            seconds, [JSON, '{"refresh":"', '"}'])

    def _refresh_grant(self, round_, seconds):
        return self._rotate_grant(self.pg, oauth_request("/token", grant_type="refresh_token"),
                                  self._turn(self.granted_tokens, round_), seconds)

    def _peer_refresh(self, peer, seconds):
        tokens = [answer["refresh_token"] for answer in peer.granted(PEER_QUEUE)]
        return self._rotate_grant(peer, peer.grant("refresh_token"), tokens, seconds)

    def _peer_introspect(self, peer, seconds):
        if (peer, "introspect") not in self.signed_in:
            self.signed_in[peer, "introspect"] = load.write_requests(
                os.path.join(paths.make_dir("requests"), peer.name + "-introspect"),
                [peer.introspection(answer["access_token"])
                 for answer in peer.granted(PEER_QUEUE)])
        return self._cycle(lambda: peer, "introspect")(0, seconds)

    def _turn(self, tokens, round_):
        return tokens[round_ * QUEUE:(round_ + 1) * QUEUE]

    def _rotate_grant(self, server, request, tokens, seconds):
        _, path, kind, _, body = request
        return self._rotate(server, path, tokens, seconds, [kind, body + "&refresh_token="])

    def _rotate(self, server, path, tokens, seconds, form):
        file = os.path.join(paths.make_dir("requests"), "refresh")
        with open(file, "w") as f:
            f.write("\n".join(tokens) + "\n")
        return load.wrk(server.url(path), seconds, 32, ["refresh", file, *form],
                        self._meter(server))

    def _google(self, server, tokens, request=login_request):
        def run(round_, seconds):
            sample = load.wrk(server().url(), seconds, 32, ["once", tokens.file(round_, request)],
                              self._meter(server()))
            tokens.expect(sample.rate, self.seconds)
            return sample
        return run

    def _states(self, mount, number):
        file = load.write_requests(os.path.join(paths.make_dir("requests"), "states"),
                                   [("GET", mount + "/github/state/", None, None, None)] * number)
        return [json.loads(body)["state"] for body in load.collect(self.pg, file, number)]

    def _hub_logins(self, mount, number, name="hub"):
        return load.write_requests(
            os.path.join(paths.make_dir("requests"), name),
            [("POST", mount + "/github/login/", JSON, None,
              json.dumps({"code": "c%d" % (1 + i % HUBS), "state": state}))
             for i, state in enumerate(self._states(mount, number))])

    def _github(self, mount, connections):
        rate = [1500 if mount == MOUNT else 20 * connections]

        def run(round_, seconds):
            file = self._hub_logins(mount, int(rate[0] * seconds * 1.5) + 50)
            sample = load.wrk(self.pg.url(), seconds, connections, ["once", file],
                              self._meter(self.pg))
            rate[0] = max(rate[0], sample.rate)
            return sample
        return run

    def _beside(self, waiting, measure):
        """measure(seconds) while so many logins wait for a provider that takes its time."""
        def run(round_, seconds):
            file = self._hub_logins(MOUNT + str(STUCK), waiting * (2 + 5 * int(seconds)), "stuck")
            others = load.start_wrk(self.pg.url(), 120, waiting, ["hold", file])
            try:
                time.sleep(0.8)
                return measure(seconds)
            finally:
                others.kill()
                others.wait()
                time.sleep(2 * STUCK / 1000 + 0.2)
        return run

    def _password(self, round_, seconds):
        return self._hash(seconds, ("POST", MOUNT + "/token/", JSON, None, json.dumps(
            {"email": "password@example.org", "password": PASSWORD})))

    def _password_grant(self, round_, seconds):
        return self._hash(seconds, oauth_request(
            "/token", grant_type="password", username="password@example.org", password=PASSWORD))

    def _hash(self, seconds, request, server=None):
        server = server or self.pg
        file = load.write_requests(os.path.join(paths.make_dir("requests"), "password"), [request])
        return load.wrk(server.url(), seconds, 4, ["cycle", file], self._meter(server))

    def _two_calls(self, round_, seconds):
        """The provider alone: what a login with warm connections waits for."""
        context = ssl.create_default_context(cafile=self.provider.ca)
        raw = socket.create_connection(("localhost", self.provider.port))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        taken, end = [], time.monotonic() + seconds
        with context.wrap_socket(raw, server_hostname="localhost") as s:
            while len(taken) < 2 or time.monotonic() < end:
                begin = time.perf_counter()
                for _ in range(2):
                    s.sendall(b"GET /%d/user HTTP/1.1\r\nHost: localhost\r\n"
                              b"Authorization: Bearer gho_1\r\n\r\n" % SLOW)
                    while not s.recv(65536).endswith(b"}"):
                        pass
                taken.append((time.perf_counter() - begin) * 1000)
        return load.Sample(1000 / median(taken), median(taken), max(taken), answers=len(taken))

    def _pgbench(self, what):
        def run(round_, seconds):
            script, variables = self.scripts[what]
            known = {"users": self.users, "round": round_, "n": -1, **variables}
            sample = load.pgbench(self.db.params, script, known, seconds, self.pgbench_directory,
                                  statements.CLIENTS, lambda: load.Meter(
                                      {"postgres": self.cluster.pids}, self.cluster.postmaster()))
            if what == "refresh" and not sample.problem:
                sample.problem = self._rotation_problem(round_, sample.answers)
            return sample
        return run

    def _rotation_problem(self, round_, done):
        """pgbench does not look at what a statement answers."""
        turned, revoked = self.db.one(
            "SELECT sum(CAST(jti AS bigint)), count(revoked_at) FROM sa_sessions WHERE sid LIKE ?",
            "00000000-0000-4000-9%03d-%%" % round_)
        if revoked or turned < done:
            return "%d rotations, %d of them real, %d sessions revoked" % (done, turned, revoked)
        return None

    def _sqlite(self, operation, sync):
        def run(round_, seconds):
            # the two sync modes refresh different sessions
            number = 2 * round_ + (sync == "normal") if operation == "refresh" else round_
            return load.sqlite_loop(self.sqlite_program, self.bare, operation, seconds, sync,
                                    number, self.users, self.sqlite_params[operation])
        return run

    # -- preparation

    def prepare(self):
        global _key
        self.say("building .build/bench")
        source = stack.build()
        self.sqlite_program = stack.build_sqlite_loop(source)
        self.say("starting the servers")
        _key = jose.Key("RS256", "bench-1")
        self.provider = self._keep(stack.Provider(Authority("ca"), {"keys": [_key.jwk()]}))
        self.cluster = Cluster(self._data("pg"), durable=True, settings={
            "shared_buffers": "128MB", "max_wal_size": "4GB", "log_line_prefix": "''"})
        self._keep(self.cluster).start()
        self._open += self.peers
        self.db = Pgsql(self.cluster, self.cluster.create_database())
        self.db.ctl("migrate")
        self.pg = self._start("bench-pg", self.db)
        self.lite = self._start("bench-sqlite", self._sqlite_file("served"))
        self.bare = self._sqlite_file("bare").path
        self.plain = self._keep(stack.Server("bench-plain", "", with_module=False)).start()
        self.pgbench_directory = paths.make_dir("pgbench")
        self.signed_in, self.refresh_tokens = {}, {}
        for server in (self.pg, self.lite):
            self._sign_in(server)
        self._fill()
        self._capture()

    def _data(self, name):
        """A database's directory, as paths.make_dir takes it: absolute with --data."""
        if not self._data_dir:
            return name
        os.makedirs(self._data_dir, mode=0o755, exist_ok=True)
        return os.path.join(self._data_dir, name)

    def fdatasync_ms(self):
        """What a commit waits for, on the file system of the databases."""
        taken, path = [], os.path.join(os.path.dirname(self.bare), "fdatasync")
        fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
        for _ in range(50):
            os.write(fd, b"x" * 4096)
            begin = time.perf_counter()
            os.fdatasync(fd)
            taken.append((time.perf_counter() - begin) * 1000)
        os.close(fd)
        os.unlink(path)
        return median(taken)

    def _keep(self, thing):
        self._open.append(thing)
        return thing

    def _start(self, name, database):
        body = stack.body(database, self.provider, [0, SLOW, STUCK])
        return self._keep(stack.Server(name, body)).start()

    def _sqlite_file(self, name):
        directory = paths.make_dir(self._data(name))
        database = Sqlite(os.path.join(directory, "social.db"))
        database.ctl("migrate")
        if os.geteuid() == 0:
            for entry in [directory] + [os.path.join(directory, f) for f in os.listdir(directory)]:
                shutil.chown(entry, "www-data", "www-data")
        return database

    def _sign_in(self, server):
        """Everybody signs in for the first time; their tokens are what later rows send."""
        directory = paths.make_dir("requests")
        tokens = mint([google_user(i) for i in range(self.users)])
        file = load.write_requests(os.path.join(directory, "sign-in"), map(login_request, tokens))
        pairs = [json.loads(body) for body in load.collect(server, file, self.users)]
        name = os.path.join(directory, server.name)
        self.refresh_tokens[server] = [pair["refresh"] for pair in pairs]
        self.signed_in[server, "links"] = load.write_requests(
            name + "-links", [("GET", MOUNT + "/linked-accounts/", None, pair["access"], None)
                              for pair in pairs])
        self.signed_in[server, "verify"] = load.write_requests(
            name + "-verify", [("POST", MOUNT + "/token/verify/", JSON, None,
                                json.dumps({"token": pair["access"]})) for pair in pairs])
        if server is self.pg:
            load.collect(server, self._hub_logins(MOUNT, HUBS), HUBS)
            self.db.ctl("users", "create", "--email", "password@example.org", "--password-stdin",
                        stdin=PASSWORD + "\n")
            self._sign_in_by_grant()

    def _sign_in_by_grant(self):
        directory = paths.make_dir("requests")
        self.db.ctl("applications", "create", "--name", "Bench", "--client-id", APP["client_id"],
                    "--secret-stdin", "--grants", "password refresh_token convert_token",
                    "--scopes", "read introspection", stdin=APP["client_secret"] + "\n")
        number = (self.rounds + 1) * QUEUE
        file = load.write_requests(
            os.path.join(directory, "convert"),
            map(convert_request, mint([google_user(i) for i in range(number)])))
        granted = [json.loads(body) for body in load.collect(self.pg, file, number)]
        self.granted_tokens = [pair["refresh_token"] for pair in granted]
        file = self.signed_in[self.pg, "introspect"] = load.write_requests(
            os.path.join(directory, "introspect"),
            [oauth_request("/introspect", token=pair["access_token"]) for pair in granted])
        if not all(json.loads(body)["active"] for body in load.collect(self.pg, file, number)):
            raise RuntimeError("introspection calls a new token inactive")

    def _fill(self):
        statements.fill_postgres(self.db.params, self.users, 2 * self.rounds + 4)
        statements.fill_sqlite(self.bare, self.users, 2 * self.rounds + 4)

    # -- what the module sends

    def _ask(self, method, path, bearer=None, **body):
        from support.client import Browser
        browser = Browser(self.pg.port, MOUNT)
        try:
            answer = browser.request(method, path, json=body or None, bearer=bearer)
        finally:
            browser.close()
        if not 200 <= answer.status < 300:
            raise RuntimeError("%s %s: %r" % (method, path, answer))
        return answer.json()

    def _capture(self):
        log = statements.Log(self.cluster, self.db.name)
        subject, email = google_user(0)
        user = str(self.db.value("SELECT user_id FROM sa_links WHERE subject = ?", subject))

        def login(who):
            return lambda: self._ask("POST", "google/login/", token=mint([who])[0])

        def claims(pair):
            return jose.claims_of(pair["refresh"])
        found, pair = log.of(login((subject, email)))
        old = claims(pair)
        self._script("login", found, {subject: "subject", email: "email", old["sid"]: "fresh",
                                      old["jti"]: "fresh"})
        found, _ = log.of(lambda: self._ask("GET", "linked-accounts/", bearer=pair["access"]))
        self._script("links", found, {user: "uid", old["sid"]: "sid"})
        found, _ = log.of(lambda: self._ask("POST", "token/verify/", token=pair["access"]))
        self._script("verify", found, {old["sid"]: "sid"})
        found, pair = log.of(lambda: self._ask("POST", "token/refresh/", refresh=pair["refresh"]))
        self._script("refresh", found, {old["sid"]: "session", old["jti"]: "jti",
                                        claims(pair)["jti"]: "next"})
        subject, email = "g-capture", "capture@gmail.com"
        found, pair = log.of(login((subject, email)))
        new = claims(pair)
        self._script("new", found, {subject: "new_subject", email: "new_email",
                                    "capture": "new_name", new["sub"]: "new_id",
                                    new["sid"]: "fresh", new["jti"]: "fresh"})

    def _script(self, what, found, kinds):
        kinds.update({value: "fresh" for _, params in found for value in params.values()
                      if value and value.startswith("evt_")})
        sent = statements.captured(self.db.params, found, kinds)
        text, variables = statements.pgbench_script(sent)
        path = os.path.join(self.pgbench_directory, what + ".sql")
        with open(path, "w") as f:
            f.write(text)
        self.__dict__.setdefault("scripts", {})[what] = (path, variables)
        if len(sent) == 1:
            self.__dict__.setdefault("sqlite_params", {})[what] = sent[0].sqlite_params()

    # -- the run

    def measure(self):
        results = {row.name: [] for row in self.rows}
        for round_ in range(self.rounds + 1):
            self.say("round %d of %d" % (round_, self.rounds) if round_ else "warm-up")
            for row in self.rows:
                try:
                    sample = row.run(round_, self.seconds if round_ else 1)
                except peers.Absent as e:
                    row.absent = str(e)
                    continue
                if round_ or sample.problem:
                    results[row.name].append(sample)
            if round_:
                for name, value in load.openssl_speed().items():
                    self.openssl.setdefault(name, []).append(value)
            else:
                self._remember("after the warm-up")
        self._remember("at the end")
        return results

    def _remember(self, when):
        file = os.path.join(paths.make_dir("requests"), "plain")
        load.write_requests(file, [("GET", "/index.txt", None, None, None)])
        load.wrk(self.plain.url(), 1, 32, ["cycle", file])
        for name, server in (("bare httpd", self.plain), ("on PostgreSQL", self.pg),
                             ("on SQLite", self.lite)):
            self._memory.append((name + ", " + when, stack.memory(server.children())))

    def memory_lines(self):
        def word(met):
            return "met" if met else "NOT MET"
        bare = max(rss for name, children in self._memory if name.startswith("bare")
                   for rss, _ in children)
        for name, children in self._memory:
            rss, private = max(c[0] for c in children), max(c[1] for c in children)
            text = "%6.1f  %6.1f" % (rss, private)
            if not name.startswith("bare") and name.endswith("end"):
                text += "    private ≤ 4: %s; RSS ≤ bare + 10: %s" % (
                    word(private <= 4), word(rss <= bare + 10))
            yield name, text

    def close(self):
        for thing in reversed(self._open):
            try:
                thing.stop()
            except Exception as e:
                self.say("stopping: %s" % e)
        if self._data_dir and not os.environ.get("SA_KEEP"):
            shutil.rmtree(self._data_dir, ignore_errors=True)
        paths.forget_scratch()
