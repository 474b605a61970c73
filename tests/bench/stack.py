"""What is measured: an optimised build, servers with little around the module, the provider;
and what processes cost (CPU time, memory)."""
import json
import os
import shutil
import signal
import subprocess
import sys

BENCH = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(BENCH)
TOP = os.path.dirname(TESTS)
BUILD = os.path.join(TOP, ".build", "bench")
CFLAGS = "-O2 -g"
os.environ["SA_BUILD"] = BUILD
sys.path.insert(0, os.path.join(TESTS, "integration"))

from support import paths, ports                                            # noqa: E402
from support.httpd import Httpd, load                                       # noqa: E402

SECRET = "benchmark-secret-0123456789-abcdefghijklmnop"
MOUNT = "/api/social-auth"
SYSTEM_CA = "/etc/ssl/certs/ca-certificates.crt"
GOOGLE_CLIENT = "1234567890-abc.apps.googleusercontent.com"
MPM = """
StartServers 2
ServerLimit 2
ThreadsPerChild %(threads)d
ThreadLimit 64
MaxRequestWorkers %(workers)d
MinSpareThreads 1
MaxSpareThreads 1000
MaxConnectionsPerChild 0
"""
CHILDREN, THREADS = 2, 48               # in a child more threads than wrk has connections


# ---- building

def _run(command, directory, what, **kw):
    done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", **kw)
    if done.returncode:
        raise RuntimeError("%s failed:\n%s" % (what, "\n".join(done.stdout.splitlines()[-40:])))
    return done.stdout


def _sources():
    """The tree to build from. One that was configured in place cannot be built elsewhere at the
    same time, so it is copied."""
    if not os.path.exists(os.path.join(TOP, "config.status")):
        return TOP
    copy = os.path.join(TOP, ".build", "bench-src")
    skip = shutil.ignore_patterns(".git", ".build", "node_modules", "*.o", "*.lo", "*.la", ".libs",
                                  ".deps", "config.status", "config.log", "Makefile", "libtool",
                                  "stamp-h1", ".dirstamp")

    def ignore(directory, names):
        skipped = set(skip(directory, names))
        return skipped | ({"config.h"} if directory == os.path.join(TOP, "src") else set())
    shutil.copytree(TOP, copy, ignore=ignore, dirs_exist_ok=True)
    return copy


def build():
    source = _sources()
    configure = os.path.join(source, "configure")
    if not os.path.exists(configure) or (os.path.getmtime(os.path.join(source, "configure.ac"))
                                         > os.path.getmtime(configure)):
        _run(["autoreconf", "-i"], source, "autoreconf")
    os.makedirs(BUILD, exist_ok=True)
    wanted = "%s CFLAGS=%s" % (source, CFLAGS)
    mark = os.path.join(BUILD, ".configured")
    if not os.path.exists(os.path.join(BUILD, "Makefile")) or not os.path.exists(mark) \
            or open(mark).read() != wanted:
        _run([configure, "-q", "CFLAGS=" + CFLAGS], BUILD, "configure")
        with open(mark, "w") as f:
            f.write(wanted)
    _run(["make", "-s", "-j%d" % (os.cpu_count() or 1), "all"], BUILD, "make")
    return source


def build_sqlite_loop(source):
    program = os.path.join(BUILD, "sqlite_loop")
    flags = subprocess.check_output(["pkg-config", "--cflags", "--libs", "apr-1", "apr-util-1",
                                     "sqlite3", "libcrypto", "jansson", "libcurl", "libpq",
                                     "libargon2", "libxcrypt"], text=True).split()
    libraries = [flag for flag in flags if flag.startswith("-l")]
    _run(["gcc", *CFLAGS.split(), "-std=gnu11", "-Wall", "-I" + os.path.join(source, "src"),
          *[flag for flag in flags if not flag.startswith("-l")],
          os.path.join(BENCH, "sqlite_loop.c"), os.path.join(BUILD, ".libs", "libsocialauth.a"),
          *libraries, "-lpthread", "-o", program], BENCH, "building sqlite_loop")
    return program


# ---- servers

class Server(Httpd):
    """httpd with no more modules than needed, without an access log."""

    def __init__(self, name, body, with_module=True):
        self._with_module = with_module
        super().__init__(name, "event", body)
        with open(os.path.join(self.docs, "index.txt"), "w") as f:
            f.write("a plain static file")
        open(os.path.join(self.docs, "empty"), "w").close()

    def text(self):
        user = "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
        modules = ["mpm_event", "authz_core", "alias", "mime", "dbd"]
        return "\n".join([
            'ServerRoot "%s"' % self.root, "ServerName localhost", "Listen 127.0.0.1:{port}",
            "PidFile httpd.pid", "DefaultRuntimeDir .", "Mutex file:. default", user,
            load(modules + ([paths.MODULE] if self._with_module else [])),
            MPM % {"threads": THREADS, "workers": CHILDREN * THREADS},
            'DocumentRoot "%s"' % self.docs, "TypesConfig /etc/mime.types",
            'ErrorLog "%s"' % self.error_log, "LogLevel warn", "TimeOut 30",
            "KeepAlive On", "MaxKeepAliveRequests 0", "KeepAliveTimeout 30",
            "<Directory />", "    AllowOverride None", "</Directory>",
            "Redirect 204 /nothing", self._body,
        ]).replace("{port}", str(self.port)) + "\n"

    def pids(self):
        return [self.process.pid] + self.children()

    def url(self, path="/"):
        return "http://127.0.0.1:%d%s" % (self.port, path)


def github(provider, delay):
    base = "%s/%d" % (provider.url, delay)
    return ("github client-id=bench client-secret=bench-secret token-url=%s/token"
            " userinfo-url=%s/user emails-url=%s/user/emails" % (base, base, base))


def body(database, provider, delays):
    """One mount for each delay of GitHub: the first is MOUNT, the others MOUNT + delay."""
    text = ["DBDriver %s" % database.driver, 'DBDParams "%s"' % database.params,
            "DBDMin 1\nDBDKeep 4\nDBDMax 4\nDBDExptime 300", 'SocialAuthSecret "%s"' % SECRET,
            "SocialAuthBaseURL http://localhost:{port}", "SocialAuthSharedMemory 256M",
            "SocialAuthCABundle " + provider.ca]
    for i, delay in enumerate(delays):
        text += ['<Location "%s">' % (MOUNT + (str(delay) if i else "")),
                 "    SetHandler social-auth",
                 "    SocialAuthProvider " + github(provider, delay),
                 "    SocialAuthProvider google client-id=%s jwks-url=%s/jwks"
                 % (GOOGLE_CLIENT, provider.url),
                 "    SocialAuthThrottleRate off", "    SocialAuthPasswordThrottleRate off",
                 "    SocialAuthAccountThrottleRate off", "    SocialAuthStateBinding off",
                 "    SocialAuthStateMaxAge 3600", "    SocialAuthMaxTokenAge 86400",
                 "    SocialAuthTimeout connect=5 total=60", "</Location>"]
    return "\n".join(text)


class Provider:
    """provider.mjs"""

    def __init__(self, authority, jwks):
        node = paths.NODE if os.path.exists(paths.NODE) else shutil.which("node")
        if not node:
            raise RuntimeError("node was not found: run npm ci in tests/, or install nodejs")
        chain, key = authority.issue("provider")
        self.port = ports.free_port()
        self.url = "https://localhost:%d" % self.port
        directory = paths.make_dir("provider")
        # among the system's, as a site's provider is
        self.ca = os.path.join(directory, "ca-bundle.pem")
        with open(self.ca, "w") as bundle:
            for name in (SYSTEM_CA, authority.ca):
                if os.path.exists(name):
                    with open(name) as f:
                        bundle.write(f.read())
        file = os.path.join(directory, "jwks")
        with open(file, "w") as f:
            json.dump(jwks, f)
        self.process = subprocess.Popen(
            [node, os.path.join(BENCH, "provider.mjs"), str(self.port), chain, key, file],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True)
        if self.process.stdout.readline().strip() != "ready":
            self.stop()
            raise RuntimeError("the provider did not start")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


# ---- what processes cost

TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids):
    """User and system time of all threads. A process that ended is not counted."""
    total = 0
    for pid in pids:
        try:
            with open("/proc/%d/stat" % pid) as f:
                fields = f.read().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        except OSError:
            pass
    return total / TICK


def memory(pids):
    """-> [(RSS, private) in MB], without segments shared with other processes, whose size is
    configured"""
    out = []
    for pid in pids:
        sizes, shared = {"Rss": 0, "Private_Clean": 0, "Private_Dirty": 0}, False
        try:
            with open("/proc/%d/smaps" % pid) as f:
                for line in f:
                    name, _, rest = line.partition(":")
                    if " " in name:                     # a mapping's first line
                        shared = line.split()[1].endswith("s")
                    elif name in sizes and not shared:
                        sizes[name] += int(rest.split()[0])
        except OSError:
            continue
        out.append((sizes["Rss"] / 1024,
                    (sizes["Private_Clean"] + sizes["Private_Dirty"]) / 1024))
    return out
