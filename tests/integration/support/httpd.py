"""An Apache httpd of our own: temporary ServerRoot, own port, watched error log."""
import calendar
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request

from . import paths, ports

SANITIZED = bool(os.environ.get("SA_SANITIZE"))
READY = "resuming normal operations"            # sockets listen long before
SUSPICIOUS_LEVELS = ("warn", "error", "crit", "alert", "emerg")
_LINE = re.compile(r"^\[[^\]]*\] \[(?P<module>[^:\]]*):(?P<level>[a-z0-9]+)\]")
# Whatever their level: a child that died, a sanitizer's report.
_ALWAYS_BAD = re.compile(r"exit signal|AddressSanitizer|LeakSanitizer|ThreadSanitizer"
                         r"|runtime error:|SUMMARY: |double free|corrupt(ed|ion)|stack smashing")
# Not ours, and of no consequence for any test.
_HARMLESS = re.compile(r"AH00558|AH01873: Init: Session Cache is not configured|AH00098: pid file .* overwritten"
                       r"|AH00045: child process .* still did not exit, sending a SIGTERM"
                       # Debian's httpd on a machine whose libssl waits for an upgrade.
                       r"|AH01882: Init: this version of mod_ssl was compiled against a newer library"
                       # All workers are busy.
                       r"|AH00484: server reached|AH00161: server reached|AH10159: server is within")
# Where a test expects that the database fails, the watchdog's threads say so, too.
_WATCHDOG = re.compile(r"SA0330: ended sessions are not known|SA0301: expired rows were not purged")
_DATABASE_FAILS = "SA0100: unavailable: database: linked login: failed"

EVENT = """
StartServers 2
MinSpareThreads 1
MaxSpareThreads 250
ThreadsPerChild 25
MaxRequestWorkers 50
ServerLimit 4
ThreadLimit 64
MaxConnectionsPerChild 0
"""
PREFORK = """
StartServers 6
MinSpareServers 4
MaxSpareServers 40
MaxRequestWorkers 40
ServerLimit 40
MaxConnectionsPerChild 0
"""
# For whole_access_log(), and for who may look.
STATUS = '<Location "/server-status">\n    SetHandler server-status\n</Location>'
MODULES = ["authn_core", "authz_core", "authz_user", "authz_host", "access_compat", "mime", "dir",
           "alias", "env", "headers", "setenvif", "reqtimeout", "dbd", "remoteip", "status"]

_static = None


def static_modules():
    global _static
    if _static is None:
        out = subprocess.check_output([paths.HTTPD, "-l"], text=True, stderr=subprocess.DEVNULL)
        _static = {line.strip()[4:-2] for line in out.splitlines() if line.strip().startswith("mod_")}
    return _static


def load(names):
    lines = []
    for name in names:
        if name in static_modules():
            continue
        path = name if name.startswith("/") else os.path.join(paths.MODULES, "mod_%s.so" % name)
        symbol = re.sub(r"^mod_", "", os.path.basename(path)[:-3])
        lines.append("LoadModule %s_module %s" % (symbol, path))
    return "\n".join(lines)


class Httpd:
    def __init__(self, name, mpm, body, modules=(), mpm_settings=None, env=None, log_level="info",
                 head="", preload=(), port=None, faketime=None):
        """body, head: configuration text; "{port}" and "{root}" in them are replaced."""
        self.name, self.mpm = name, mpm
        self.root = paths.make_dir(name)
        self.port = port or ports.free_port()
        self.error_log = os.path.join(self.root, "error.log")
        self.access_log = os.path.join(self.root, "access.log")
        self.conf = os.path.join(self.root, "httpd.conf")
        self.docs = paths.make_dir(name + "/htdocs")
        self._body, self._head, self._modules = body, head, list(modules)
        self._settings = mpm_settings or (PREFORK if mpm == "prefork" else EVENT)
        self._env, self._preload, self._log_level = dict(env or {}), list(preload), log_level
        self._keep_alive = faketime is None     # a clock that is stepped ends connections that clients keep
        if faketime is not None:
            self.clock_file = os.path.join(self.root, "clock")
            self.set_clock(faketime)
            self._preload.append(paths.shim("clock"))
            self._env.update(SA_CLOCK=self.clock_file)
        self.process = None
        self._rewritten = None
        self._seen = 0
        self._expected = []
        self.write()

    # -- configuration
    def text(self):
        """The whole configuration file."""
        if self._rewritten is not None:
            return self._rewritten
        user = "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
        parts = [
            'ServerRoot "%s"' % self.root,
            "ServerName localhost",
            "Listen 127.0.0.1:{port}",
            "PidFile httpd.pid",
            "DefaultRuntimeDir .",
            "Mutex file:. default",
            user,
            load(["mpm_" + self.mpm] + MODULES + self._modules + [paths.MODULE]),
            self._settings,
            'DocumentRoot "%s"' % self.docs,
            "TypesConfig /etc/mime.types",
            'ErrorLog "%s"' % self.error_log,
            'ErrorLogFormat "[%{u}t] [%-m:%l] [pid %P:tid %T] %E: [client\\ %a] %M"',
            "LogLevel %s" % self._log_level,
            'LogFormat "%h %u %t \\"%r\\" %>s %B %D" t',
            'CustomLog "%s" t' % self.access_log,
            "TimeOut 30",
            "KeepAliveTimeout 5",
            "KeepAlive %s" % ("On" if self._keep_alive else "Off"),
            "GracefulShutdownTimeout 10",
            self._head,
            self._body,
        ]
        return "\n".join(parts).replace("{port}", str(self.port)).replace("{root}", self.root) + "\n"

    def write(self):
        with open(self.conf, "w") as f:
            f.write(self.text())

    def edit(self, old, new):
        """Changes the configuration; graceful() or restart() makes it count."""
        text = self.text()
        assert old in text, old
        self._rewritten = text.replace(old, new, 1)
        with open(self.conf, "w") as f:
            f.write(self._rewritten)

    def try_edit(self, old, new):
        """What httpd -t says to a changed configuration -> (exit status, output)"""
        text = self.text()
        assert old in text, old
        path = os.path.join(self.root, "tried.conf")
        with open(path, "w") as f:
            f.write(text.replace(old, new, 1))
        return self.configtest(conf=path)

    def _environment(self):
        return paths.server_environment(self._env, self._preload)

    def configtest(self, *extra, conf=None):
        """httpd -t -> (exit status, its output)"""
        done = subprocess.run([paths.HTTPD, "-d", self.root, "-f", conf or self.conf, "-t", *extra],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env=self._environment(), errors="replace", timeout=60)
        return done.returncode, done.stdout

    # -- life
    def start(self):
        if self.process is not None:
            return self
        open(self.error_log, "ab").close()
        before = self.log().count(READY)
        self.process = subprocess.Popen(
            [paths.HTTPD, "-d", self.root, "-f", self.conf, "-DFOREGROUND"],
            stdin=subprocess.DEVNULL, stdout=open(os.path.join(self.root, "stdout"), "ab"),
            stderr=subprocess.STDOUT, env=self._environment(), start_new_session=True)
        deadline = time.monotonic() + 30
        while self.log().count(READY) == before or not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = self.startup_output() + self.log()
                self.stop()
                raise RuntimeError("httpd did not start:\n%s" % said)
            time.sleep(0.02)
        return self

    def answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def startup_output(self):
        try:
            with open(os.path.join(self.root, "stdout"), errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def stop(self):
        """Ends the server; it may end what it is at. Told to end at once (SIGTERM), httpd has two races
        of its own: event closes sockets its workers are closing, which kills a bare httpd's child in
        one stop of ten when a client has just hung up; prefork frees pools in a signal handler that
        may have interrupted malloc, which a slow sanitizer makes likely."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGWINCH if SANITIZED or self.mpm == "event" else signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                pass
        return self.kill()

    def kill(self):
        """kill -9 of parent and children, as a power cut would -> the parent's exit status. Children that
        die slowly hold the ports for a moment longer than the parent."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        status = self.process.wait()
        self.process = None
        self.wait_for(lambda: all(ports.is_free(port) for port in self.ports()), "the children's end")
        return status

    def ports(self):
        return [int(port) for port in re.findall(r"^Listen (?:\S+:)?(\d+)$", self.text(), re.MULTILINE)]

    def restart(self):
        self.stop()
        self.start()

    def graceful(self, wait=True):
        before = self.log().count(READY)
        self.process.send_signal(signal.SIGUSR1)
        if wait:
            self.wait_for(lambda: self.log().count(READY) > before,
                          "the graceful restart")

    def wait_for(self, condition, what, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError("waited %d s in vain for %s\n%s" % (seconds, what, self.log()[-2000:]))
            time.sleep(0.02)

    def children(self):
        out = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)],
                             stdout=subprocess.PIPE, text=True).stdout
        return [int(x) for x in out.split()]

    def largest(self):
        """kB of memory of the largest of parent and children."""
        most = 0
        for pid in [self.process.pid] + self.children():
            try:
                with open("/proc/%d/status" % pid) as f:
                    most = max(most, int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)))
            except (OSError, AttributeError):
                pass
        return most

    def set_clock(self, text):
        """ "+1h", "-30" (seconds): so far from the real time; "@2030-01-01 00:00:00" (UTC): this time now."""
        if text.startswith("@"):
            then = calendar.timegm(time.strptime(text[1:], "%Y-%m-%d %H:%M:%S"))
            offset = then - int(time.time())
        else:
            offset = int(text.rstrip("h")) * (3600 if text.endswith("h") else 1)
        tmp = self.clock_file + ".new"
        with open(tmp, "w") as f:
            f.write("%d\n" % offset)
        os.chmod(tmp, 0o644)
        os.rename(tmp, self.clock_file)

    def advance_clock(self, seconds):
        """So much further from the real time than before."""
        with open(self.clock_file) as f:
            self.set_clock("%d" % (int(f.read()) + seconds))

    # -- access log
    def whole_access_log(self):
        """With every request that has been answered, which httpd logs afterwards. Needs STATUS."""
        def is_idle():
            url = "http://127.0.0.1:%d/server-status?auto" % self.port
            with urllib.request.urlopen(url, timeout=15) as told:
                workers = told.read().decode().partition("Scoreboard: ")[2]
            return workers.count("W") + workers.count("L") == 1     # who tells it
        self.wait_for(is_idle, "idle workers")
        with open(self.access_log) as f:
            return f.read()

    # -- error log
    def log(self):
        try:
            with open(self.error_log, errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def mark(self):
        """Everything logged so far belongs to the past."""
        self._seen = os.path.getsize(self.error_log) if os.path.exists(self.error_log) else 0
        self._expected = []

    def recent_log(self):
        if not os.path.exists(self.error_log):
            return ""
        with open(self.error_log, "rb") as f:
            f.seek(self._seen)
            return f.read().decode(errors="replace")

    def expect_log(self, *patterns):
        """Lines that this test brings about on purpose."""
        self._expected.extend(re.compile(p) for p in patterns)

    def unexpected_log(self):
        if not os.path.exists(self.error_log):
            return []
        return [line for line in self.recent_log().splitlines() if self._is_unexpected(line)]

    def _is_unexpected(self, line):
        if _HARMLESS.search(line) or any(p.search(line) for p in self._expected):
            return False
        if _WATCHDOG.search(line) and any(p.search(_DATABASE_FAILS) for p in self._expected):
            return False
        if _ALWAYS_BAD.search(line):
            return True
        match = _LINE.match(line)
        if match is None:                               # start-up messages and bare stderr
            return bool(line.strip())
        return match.group("level") in SUSPICIOUS_LEVELS
