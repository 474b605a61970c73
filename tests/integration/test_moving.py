"""A Django site with SimpleJWT moves over one endpoint at a time, and back, as README says: httpd in
front of both, one database, one key."""
import itertools
import os
import re

import pytest

from support import check, jose, paths, ports
from support.django_site import DjangoSite
from support.site import SECRET
from test_readme import section

pytestmark = pytest.mark.db
PASSWORD = "Grüße, 密码 & 7"
_made = itertools.count()


def readme(django_port):
    """The configuration in README -> (server directives, mount directives, what keeps token/ at Django)"""
    text = "\n".join(line[4:] for line in section("One endpoint at a time").splitlines()
                     if line.startswith("    "))
    text = text.replace("127.0.0.1:8000", "127.0.0.1:%d" % django_port)
    mount = re.search(r'<Location "/api/auth">\n(.*?)</Location>\n', text, re.S)
    kept = re.search(r'<Location "/api/auth/token">.*?</Location>\n?', text, re.S)
    assert "SocialAuthSecret" in text and "SetHandler social-auth" in mount.group(1)
    server = text[:mount.start()].replace("file:/etc/apache2/social_auth.secret", '"%s"' % SECRET)
    return server, mount.group(1).replace("SetHandler social-auth\n", "").replace("...", ""), kept.group(0)


@pytest.fixture
def moving(make_site, databases, cell):
    database = databases.make(cell[1], migrated=False)
    django = DjangoSite("moving%d" % next(_made), database, api_key=SECRET)
    database.ctl("--user-table", "auth_user", "migrate")
    if database.driver == "sqlite3" and os.geteuid() == 0:
        os.chmod(database.path, 0o666)
    port = ports.free_port()
    server, mount, kept = readme(port)
    with django.serve(port):
        site = make_site(private=True, database=database, path="/api/auth", secret=None, server=server,
                         mount=mount, more=kept, modules=["proxy", "proxy_http"])
        site.kept = kept
        site.user = django.run("""
u = User.objects.create_user("ada", "ada@gmail.com", given["password"])
out = u.pk""", password=PASSWORD)
        yield site


def sign_in(site):
    return site.browser(held=False).post("token/", {"username": "ada", "password": PASSWORD})


def is_ours(access):
    return "sid" in jose.claims_of(access)


def me(site, access):
    """Django's own view"""
    return site.browser(mount="/api", held=False).get("me/", bearer=access)


def linked(site, access):
    """An endpoint of the module"""
    return site.browser().get("linked-accounts/", bearer=access)


def refresh(site, token):
    return site.browser(held=False).post("token/refresh/", {"refresh": token})


def both_take(site, access):
    assert me(site, access).json() == {"id": site.user, "email": "ada@gmail.com"}
    assert linked(site, access).status == 200


def reconfigure(site, old, new):
    """And nobody is left who answers as the configuration was: an old child of prefork may, once."""
    children = set(site.httpd.children())
    site.httpd.edit(old, new)
    site.httpd.graceful()
    site.httpd.wait_for(lambda: not children & set(site.httpd.children()), "the old children's end")


def test_one_endpoint_at_a_time_and_back(moving):
    site = moving
    # Django has token/ and token/refresh/, the module the rest.
    django = sign_in(site).json()
    assert not is_ours(django["access"])
    both_take(site, django["access"])
    again = refresh(site, django["refresh"]).json()["access"]
    assert not is_ours(again)
    both_take(site, again)
    social = check.signed_in(site.google_login(email="new@gmail.com"))
    assert me(site, social["access"]).json()["email"] == "new@gmail.com"
    assert me(site, jose.spoil_signature(social["access"])).status == 401

    # token/ moves: Django's access tokens stay good, its refresh tokens do not.
    reconfigure(site, site.kept, "")
    ours = check.signed_in(sign_in(site))
    assert is_ours(ours["access"])
    both_take(site, ours["access"])
    both_take(site, django["access"])
    check.refresh_refused(refresh(site, django["refresh"]))
    rotated = refresh(site, ours["refresh"]).json()
    assert is_ours(rotated["access"])
    both_take(site, rotated["access"])

    # And back: who signed in here stays signed in, the password still works.
    reconfigure(site, "</Location>", "</Location>\n" + site.kept)
    back = sign_in(site).json()
    assert not is_ours(back["access"])
    both_take(site, back["access"])
    both_take(site, ours["access"])
    both_take(site, refresh(site, rotated["refresh"]).json()["access"])
