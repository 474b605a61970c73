#!/usr/bin/python3
"""A real Django project for the store's tests.

    django_project.py make DIR auth|uuid sqlite3|postgresql NAME [HOST]   new project, migrated
    django_project.py run DIR CODE                                        runs CODE inside it
"""
import os
import subprocess
import sys

SETTINGS = """
DATABASES = {"default": {"ENGINE": "django.db.backends.%s", "NAME": %r, "HOST": %r, "USER": "postgres"}}
USE_TZ = True
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""

CUSTOM = """
INSTALLED_APPS += ["people"]
AUTH_USER_MODEL = "people.Person"
"""

MODELS = """
import uuid
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models


class Person(AbstractBaseUser):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField(unique=True)
    confirmed = models.BooleanField(default=False)
    active = models.BooleanField(default=True)
    is_deleted = models.BooleanField(default=False)
    joined = models.DateTimeField(auto_now_add=True)
    objects = BaseUserManager()
    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
"""


def manage(directory, *arguments):
    subprocess.run([sys.executable, "manage.py", *arguments], cwd=directory, check=True,
                   stdout=subprocess.DEVNULL)


def make(directory, kind, engine, name, host=""):
    os.makedirs(directory)
    subprocess.run([sys.executable, "-m", "django", "startproject", "site1", directory], check=True)
    with open(os.path.join(directory, "site1", "settings.py"), "a") as settings:
        settings.write(SETTINGS % (engine, name, host))
        if kind == "uuid":
            settings.write('INSTALLED_APPS.remove("django.contrib.admin")\n' + CUSTOM)
    if kind == "uuid":
        with open(os.path.join(directory, "site1", "urls.py"), "w") as urls:
            urls.write("urlpatterns = []\n")
        os.makedirs(os.path.join(directory, "people", "migrations"))
        open(os.path.join(directory, "people", "__init__.py"), "w").close()
        open(os.path.join(directory, "people", "migrations", "__init__.py"), "w").close()
        with open(os.path.join(directory, "people", "models.py"), "w") as models:
            models.write(MODELS)
        manage(directory, "makemigrations", "people")
    manage(directory, "migrate", "-v0")


def run(directory, code):
    sys.path.insert(0, directory)
    os.environ["DJANGO_SETTINGS_MODULE"] = "site1.settings"
    import django
    django.setup()
    from django.contrib.auth import get_user_model
    exec(code, {"User": get_user_model()})


if __name__ == "__main__":
    {"make": make, "run": run}[sys.argv[1]](*sys.argv[2:])
