"""Private PostgreSQL clusters: unix socket only, no durability unless asked for."""
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import time

import psycopg2

from . import paths

_template = None


def _as_owner(command):
    """postgres refuses to run as root; everything of a cluster belongs to the user postgres then."""
    if os.geteuid() == 0:
        return ["runuser", "-u", "postgres", "--"] + command
    return command


def _owner():
    return "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


def _initdb(data):
    subprocess.run(_as_owner([paths.pg_bin("initdb"), "-D", data, "-U", "postgres", "-A", "trust",
                              "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]),
                   check=True, stdout=subprocess.DEVNULL, cwd="/")


class Cluster:
    def __init__(self, name, durable=False, settings=None):
        self.name = name
        self.directory = paths.make_dir(name)
        if os.geteuid() == 0:
            shutil.chown(self.directory, "postgres", "postgres")
        self.data = os.path.join(self.directory, "data")
        self.process = None
        self.settings = {
            "listen_addresses": "''",
            "unix_socket_directories": "'%s'" % self.directory,
            "port": "5432",
            "max_connections": "200",
            "fsync": "on" if durable else "off",
            "full_page_writes": "on" if durable else "off",
            "shared_buffers": "32MB",
            "log_min_messages": "warning",
            "timezone": "'UTC'",
        }
        self.settings.update(settings or {})

    # -- life
    def start(self):
        global _template
        if not os.path.exists(self.data):
            if _template is None:
                _initdb(self.data)
                _template = self.directory + ".template"
                shutil.copytree(self.data, _template)
            else:
                shutil.copytree(_template, self.data)
            if os.geteuid() == 0:
                subprocess.run(["chown", "-R", "postgres:postgres", self.data], check=True)
            os.chmod(self.data, 0o700)
            with open(os.path.join(self.data, "postgresql.auto.conf"), "w") as f:
                f.writelines("%s = %s\n" % item for item in self.settings.items())
        self.log_path = os.path.join(self.directory, "log")
        log = open(self.log_path, "ab")
        try:
            self.process = subprocess.Popen(
                _as_owner([paths.pg_bin("postgres"), "-D", self.data]), cwd="/",
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        finally:
            log.close()
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg2.connect(self.dsn("postgres")).close()
                return self
            except psycopg2.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("PostgreSQL did not start:\n" + self.log())
                time.sleep(0.05)

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def postmaster(self):
        with open(os.path.join(self.data, "postmaster.pid")) as f:
            return int(f.readline())

    def pids(self):
        """The postmaster and its back ends."""
        parent = self.postmaster()
        out = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)],
                             stdout=subprocess.PIPE, text=True).stdout
        return [parent] + [int(x) for x in out.split()]

    def stop(self, how="fast"):
        if self.process is None:
            return
        sig = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT, "smart": signal.SIGTERM}[how]
        try:
            self.thaw()
            os.kill(self.postmaster(), sig)
        except (OSError, ValueError):
            pass
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def restart(self, how="fast", pause=0.0):
        self.stop(how)
        time.sleep(pause)
        self.start()

    def freeze(self):
        for pid in self.pids():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self):
        for pid in reversed(self.pids()):
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass

    # -- databases
    def dsn(self, database):
        return "host=%s port=5432 user=postgres dbname=%s" % (self.directory, database)

    def execute(self, sql, *args, database="postgres"):
        connection = psycopg2.connect(self.dsn(database))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql, args or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    _databases = itertools.count(1)     # a cluster may be started again by a later test: never the same name

    def create_database(self, template=None):

        name = "sa%d" % next(self._databases)
        self.execute("CREATE DATABASE %s%s" % (name, " TEMPLATE " + template if template else ""))
        return name
