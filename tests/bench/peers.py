"""Servers that do the same, on the same PostgreSQL and loopback: each has one client and one user
with a password, and starts when it is first measured."""
import concurrent.futures
import json
import os
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request

from stack import paths, ports

from support.database import Pgsql                                          # noqa: E402
from support.django_site import DjangoSite                                  # noqa: E402

FORM = "application/x-www-form-urlencoded"
CLIENT = {"client_id": "bench", "client_secret": "bench-secret-of-the-application"}
USER, PASSWORD, SCOPE = "ada", "correct horse battery staple 7", "read"


class Absent(Exception):
    """Why a peer cannot be measured."""


class Peer:
    name = token_path = introspect_path = None

    def __init__(self):
        self.port = self.process = self.absent = None

    def url(self, path="/"):
        return "http://127.0.0.1:%d%s" % (self.port, path)

    def pids(self):
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)],
                                  stdout=subprocess.PIPE, text=True).stdout
        return [self.process.pid] + [int(pid) for pid in children.split()]

    def grant(self, kind, **fields):
        return self._form(self.token_path, grant_type=kind, **fields)

    def password_grant(self):
        return self.grant("password", username=USER, password=PASSWORD, scope=SCOPE)

    def introspection(self, token):
        return self._form(self.introspect_path, token=token)

    def _form(self, path, **fields):
        return ("POST", path, FORM, None, urllib.parse.urlencode({**fields, **CLIENT}))

    def granted(self, number):
        """The answers to so many password grants."""
        return self._answers([self.password_grant()] * number)

    def _answers(self, requests):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            return list(pool.map(self._answer, requests))

    def _answer(self, request):
        _, path, kind, _, body = request
        with self._post(path, kind, body) as answer:
            return json.load(answer)

    def _post(self, path, kind, body, *handlers):
        browser = urllib.request.build_opener(urllib.request.ProxyHandler({}), *handlers)
        return browser.open(urllib.request.Request(self.url(path), body.encode(),
                                                   {"Content-Type": kind}), timeout=60)

    # -- starting

    def start(self, cluster):
        """Does nothing when it runs. Raises Absent."""
        if not self.process and not self.absent:
            self.port = ports.free_port()
            try:
                self._start(Pgsql(cluster, cluster.create_database()))
                self._check()
            except Exception as e:
                self.stop()
                self.absent = " ".join(str(e).split())[-300:] or repr(e)
        if self.absent:
            raise Absent(self.absent)

    def _start(self, database):
        raise NotImplementedError

    def _run(self, command, directory):
        if not shutil.which(command[0]):
            raise Absent("%s is not installed" % command[0])
        output = os.path.join(directory, "output")
        with open(output, "wb") as log:
            self.process = subprocess.Popen(command, cwd=directory, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)
        for _ in range(60):
            try:
                return ports.wait_for(self.port, 1)
            except OSError:
                if self.process.poll() is not None:
                    break
        with open(output, errors="replace") as f:
            raise Absent("it does not listen: " + f.read())

    def _check(self):
        """One grant, its refresh and an introspection answer as the rows take for granted."""
        first, = self.granted(1)
        second, = self._answers([self.grant("refresh_token", refresh_token=first["refresh_token"])])
        seen, = self._answers([self.introspection(second["access_token"])])
        if second["refresh_token"] == first["refresh_token"] or seen.get("active") is not True:
            raise Absent("answers %r, %r" % (second, seen))

    def stop(self):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


# ---- glewlwyd

GLEWLWYD_SCHEMA = "/usr/share/dbconfig-common/data/glewlwyd/install/"
GLEWLWYD = """
port = %(port)d
bind_address = "127.0.0.1"
external_url = "http://127.0.0.1:%(port)d/"
api_prefix = "api"
log_mode = "file"
log_level = "WARNING"
log_file = "%(log)s"
cookie_secure = 0
session_key = "GLEWLWYD2_SESSION_ID"
admin_scope = "g_admin"
profile_scope = "g_profile"
user_module_path = "/usr/lib/glewlwyd/user"
client_module_path = "/usr/lib/glewlwyd/client"
user_auth_scheme_module_path = "/usr/lib/glewlwyd/scheme"
plugin_module_path = "/usr/lib/glewlwyd/plugin"
hash_algorithm = "SHA512"
database = { type = "postgre"  conninfo = "%(database)s" };
"""
# HS256 and tokens that are used once, as the module's; the rest as the administration page has it
GLEWLWYD_PLUGIN = {
    "iss": "https://peer.example", "jwt-type": "sha", "jwt-key-size": "256",
    "key": "bench-key-0123456789-abcdefghijklmnopqrstuvwxyz",
    "access-token-duration": 3600, "refresh-token-duration": 1209600, "code-duration": 600,
    "refresh-token-rolling": True, "refresh-token-one-use": "always", "allow-non-oidc": True,
    "auth-type-code-enabled": False, "auth-type-token-enabled": False,
    "auth-type-password-enabled": True, "auth-type-client-enabled": False,
    "auth-type-refresh-enabled": True, "introspection-revocation-allowed": True,
    "introspection-revocation-allow-target-client": True}


class Glewlwyd(Peer):
    name = "glewlwyd"
    token_path, introspect_path = "/api/oidc/token", "/api/oidc/introspect"

    def _start(self, database):
        for name in ("pgsql", "postgre.default.sql"):
            if not os.path.exists(GLEWLWYD_SCHEMA + name):
                raise Absent("glewlwyd is not installed")
        database.cluster.execute("CREATE EXTENSION pgcrypto", database=database.name)
        for name in ("pgsql", "postgre.default.sql"):
            with open(GLEWLWYD_SCHEMA + name) as f:
                database.cluster.execute(f.read(), database=database.name)
        directory = paths.make_dir("glewlwyd")
        file = os.path.join(directory, "glewlwyd.conf")
        with open(file, "w") as f:
            f.write(GLEWLWYD % {"port": self.port, "database": database.params,
                                "log": os.path.join(directory, "log")})
        self._run(["glewlwyd", "--config-file=" + file], directory)
        self._set_up()

    def _set_up(self):
        cookies = urllib.request.HTTPCookieProcessor()

        def post(path, **body):
            self._post("/api/" + path, "application/json", json.dumps(body), cookies).close()
        post("auth/", username="admin", password="password")
        post("scope/", name=SCOPE, password_required=True)
        post("user/", username=USER, password=PASSWORD, scope=[SCOPE], enabled=True)
        post("client/", client_id=CLIENT["client_id"], client_secret=CLIENT["client_secret"],
             confidential=True, enabled=True, scope=[SCOPE],
             authorization_type=["password", "refresh_token"],
             token_endpoint_auth_method=["client_secret_post"])
        post("mod/plugin/", module="oidc", name="oidc", display_name="oidc",
             parameters=GLEWLWYD_PLUGIN)


# ---- django-oauth-toolkit

DJANGO_SETTINGS = """
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
DATABASES["default"]["CONN_MAX_AGE"] = None
ROOT_URLCONF = "site1.peer"
"""
DJANGO_URLS = """
from django.urls import include, path

urlpatterns = [path("o/", include("oauth2_provider.urls"))]
"""
DJANGO_SET_UP = """
from oauth2_provider.models import Application
user = User.objects.create_user(given["user"], password=given["password"])
Application.objects.create(name="Bench", user=user, client_type="confidential",
                           authorization_grant_type="password", **given["client"])
"""


class Django(Peer):
    name = "Django"
    token_path, introspect_path = "/o/token/", "/o/introspect/"

    def _start(self, database):
        site = DjangoSite("django", database, packages=True)
        for file, text, mode in (("settings", DJANGO_SETTINGS, "a"), ("peer", DJANGO_URLS, "w")):
            with open(os.path.join(site.directory, "site1", file + ".py"), mode) as f:
                f.write(text)
        site.run(DJANGO_SET_UP, user=USER, password=PASSWORD, client=CLIENT)
        self._run([sys.executable, "-m", "gunicorn", "--bind=127.0.0.1:%d" % self.port,
                   "--workers=2", "--threads=4", "site1.wsgi"], site.directory)
