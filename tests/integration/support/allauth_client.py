"""Debian's django-allauth as a client of Facebook: a site of its own, in a process of its own, whose
visitors come with a code or with a token of the JavaScript SDK."""
import json
import subprocess
import sys

SITE = r"""
import json, sys
import django
from django.conf import settings

given = json.loads(sys.stdin.read())
settings.configure(
    SECRET_KEY="of the tests", ALLOWED_HOSTS=["*"], SITE_ID=1, USE_TZ=True, ROOT_URLCONF="allauth.urls",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField", LOGIN_REDIRECT_URL="/signed-in",
    INSTALLED_APPS=["django.contrib." + n for n in ("auth", "contenttypes", "sessions", "messages",
                                                    "sites")]
    + ["allauth", "allauth.account", "allauth.socialaccount",
       "allauth.socialaccount.providers.facebook"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware",
                "django.contrib.auth.middleware.AuthenticationMiddleware",
                "django.contrib.messages.middleware.MessageMiddleware"],
    AUTHENTICATION_BACKENDS=["allauth.account.auth_backends.AuthenticationBackend"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
                "OPTIONS": {"context_processors": ["django.template.context_processors.request"]}}],
    ACCOUNT_EMAIL_VERIFICATION="none", SOCIALACCOUNT_AUTO_SIGNUP=True, SOCIALACCOUNT_STORE_TOKENS=True,
    SOCIALACCOUNT_LOGIN_ON_GET=True,
    SOCIALACCOUNT_PROVIDERS={"facebook": {"APP": {"client_id": given["app"], "key": "",
                                                  "secret": given["secret"]}}})
django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from urllib.parse import parse_qs, urlsplit
from allauth.socialaccount.models import SocialAccount
from allauth.socialaccount.providers.facebook import views

call_command("migrate", verbosity=0)
views.GRAPH_API_URL = given["graph"]
views.FacebookOAuth2Adapter.access_token_url = given["graph"] + "/oauth/access_token"


def visit(code=None, token=None):
    browser = Client()
    SocialAccount.objects.all().delete()
    User.objects.all().delete()
    if token:
        answer = browser.post("/facebook/login/token/", {"access_token": token})
    else:
        asked = parse_qs(urlsplit(browser.get("/facebook/login/")["Location"]).query)
        assert asked["redirect_uri"] == [given["redirect_uri"]], asked
        answer = browser.get("/facebook/login/callback/", {"code": code, "state": asked["state"][0]})
    for account in SocialAccount.objects.all():
        user = account.user
        return {"uid": account.uid, "email": user.email, "first_name": user.first_name,
                "last_name": user.last_name, "location": answer.headers.get("Location")}
    return None


print(json.dumps([visit(**brought) for brought in given["visits"]]))
"""
REDIRECT = "http://testserver/facebook/login/callback/"


def facebook(graph, app, secret, *visits):
    """Who the site signed in at each visit, None for nobody; a visit is {"code": …} or {"token": …}."""
    given = {"graph": graph, "app": app, "secret": secret, "visits": visits, "redirect_uri": REDIRECT}
    done = subprocess.run([sys.executable, "-c", SITE], input=json.dumps(given), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
