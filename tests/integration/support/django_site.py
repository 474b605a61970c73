"""A real Django project (startproject + migrate) on a database of the tests, and code run inside it."""
import contextlib
import json
import os
import subprocess
import sys

from . import paths, ports

SETTINGS = """
DATABASES = {"default": %r}
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers." + name for name in (
    "PBKDF2PasswordHasher", "PBKDF2SHA1PasswordHasher", "Argon2PasswordHasher",
    "BCryptSHA256PasswordHasher")]
"""

CUSTOM_SETTINGS = """
INSTALLED_APPS.remove("django.contrib.admin")
INSTALLED_APPS += ["people"]
AUTH_USER_MODEL = "people.Person"
ROOT_URLCONF = "people.models"
urlpatterns = []
"""

CUSTOM_MODELS = """
import uuid
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models

urlpatterns = []


class Person(AbstractBaseUser):
    key = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    mail = models.EmailField(unique=True)
    mail_confirmed = models.BooleanField(default=False)
    given = models.CharField(max_length=40, blank=True)
    active = models.BooleanField(default=True)
    removed_at = models.DateTimeField(null=True, blank=True)
    joined = models.DateTimeField(auto_now_add=True)
    objects = BaseUserManager()
    USERNAME_FIELD = "mail"
    EMAIL_FIELD = "mail"
"""

# The packages people sign in with; the last is made here, as its one migration makes it, since
# Debian has it not.
PACKAGES_SETTINGS = """
SITE_ID = 1
INSTALLED_APPS += ["django.contrib.sites", "allauth", "allauth.account", "allauth.socialaccount",
                   "social_django", "oauth2_provider", "django_social_auth_rest"]
SILENCED_SYSTEM_CHECKS = ["models.W042"]
"""

REST_MODELS = """
from django.conf import settings
from django.db import models


class SocialAccountLinked(models.Model):
    provider = models.CharField(max_length=20)
    provider_user_id = models.CharField(max_length=255, db_index=True)
    email_linked = models.EmailField(db_index=True)
    linked_at = models.DateTimeField(auto_now_add=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
"""

# What the module is told of that model.
CUSTOM_MAPPING = """
SocialAuthUserTable people_person
SocialAuthUserColumn id=key email=mail email_verified=mail_confirmed username= first_name=given
SocialAuthUserColumn last_name= is_active=active is_staff= is_superuser= date_joined=joined
SocialAuthUserDeletedField removed_at
"""

# A REST API as SimpleJWT's own introduction sets it up, at /api/.
API_SETTINGS = """
INSTALLED_APPS += ["rest_framework"]
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "site1.api"
REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": [
    "rest_framework_simplejwt.authentication.JWTAuthentication"]}
SIMPLE_JWT = {"SIGNING_KEY": %r}
"""

API_URLS = """
from django.urls import path
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView


@api_view()
@permission_classes([IsAuthenticated])
def me(request):
    return Response({"id": request.user.pk, "email": request.user.email})


urlpatterns = [path("api/me/", me), path("api/auth/token/", TokenObtainPairView.as_view()),
               path("api/auth/token/refresh/", TokenRefreshView.as_view())]
"""

SERVE = """
import sys
from site1.wsgi import application
from wsgiref.simple_server import WSGIServer, make_server
from socketserver import ThreadingMixIn


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


make_server("127.0.0.1", int(sys.argv[1]), application, Server).serve_forever()
"""

PRELUDE = """
import json, os, sys
sys.path.insert(0, %r)
os.environ["DJANGO_SETTINGS_MODULE"] = "site1.settings"
import django
django.setup()
from django.contrib.auth import authenticate, get_user_model
from django.contrib.auth.hashers import check_password, make_password, is_password_usable
User = get_user_model()
given = json.loads(sys.stdin.read())
out = None
"""


class DjangoSite:
    def __init__(self, name, database, custom=False, packages=False, api_key=None):
        """api_key: the API's signing key, for serve()."""
        self.directory = os.path.join(paths.scratch(), name)
        self.database = database
        os.makedirs(self.directory)
        self._run(["-m", "django", "startproject", "site1", self.directory])
        with open(os.path.join(self.directory, "site1", "settings.py"), "a") as f:
            f.write(SETTINGS % self._connection())
            f.write(CUSTOM_SETTINGS if custom else "")
            f.write(PACKAGES_SETTINGS if packages else "")
            f.write(API_SETTINGS % api_key if api_key else "")
        for name, text in (("site1/api.py", API_URLS), ("serve.py", SERVE)) if api_key else ():
            with open(os.path.join(self.directory, name), "w") as f:
                f.write(text)
        if custom:
            self._app("people", CUSTOM_MODELS)
        if packages:
            self._app("django_social_auth_rest", REST_MODELS)
        self._run(["manage.py", "migrate", "-v0"])

    def _app(self, name, models):
        directory = os.path.join(self.directory, name)
        os.makedirs(os.path.join(directory, "migrations"))
        for path in ("__init__.py", "migrations/__init__.py"):
            open(os.path.join(directory, path), "w").close()
        with open(os.path.join(directory, "models.py"), "w") as f:
            f.write(models)
        self._run(["manage.py", "makemigrations", "-v0", name])

    def _connection(self):
        if self.database.driver == "sqlite3":
            return {"ENGINE": "django.db.backends.sqlite3", "NAME": self.database.path}
        return {"ENGINE": "django.db.backends.postgresql", "NAME": self.database.name,
                "HOST": self.database.cluster.directory, "USER": "postgres"}

    def _run(self, arguments, stdin=""):
        done = subprocess.run([sys.executable, *arguments], cwd=self.directory, input=stdin,
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextlib.contextmanager
    def serve(self, port):
        """The project behind a WSGI server of Python's own."""
        with open(os.path.join(self.directory, "served"), "ab") as log:
            server = subprocess.Popen([sys.executable, "serve.py", str(port)], cwd=self.directory,
                                      stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            ports.wait_for(port)
            yield
        finally:
            server.kill()
            server.wait()

    def run(self, code, **given):
        """Runs code with User, check_password … and `given` -> what it put into `out`"""
        path = os.path.join(self.directory, "step.py")
        with open(path, "w") as f:
            f.write(PRELUDE % self.directory + code + "\nprint(json.dumps(out, default=str))\n")
        return json.loads(self._run([path], json.dumps(given)).splitlines()[-1])
