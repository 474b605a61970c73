"""README's "Accounts for a front end, step by step", as it is written there: its configuration, its
command, its calls."""
import json
import re
import shlex
import subprocess
import urllib.parse

import pytest

from support.ctl import on_site
from test_readme import section
from test_redirect import at_provider

pytestmark = pytest.mark.db
PAGE = "https://app.example.org"
TITLE = "Accounts for a front end, step by step"


def lines(start):
    return [line.strip() for line in section(TITLE).splitlines() if line.startswith("    " + start)]


@pytest.fixture
def mount(provider):
    """What the <Location> says, and its providers with the fakes' options."""
    found = re.search(r'<Location "/auth">\n\s+SetHandler social-auth\n(.*?)</Location>', section(TITLE), re.S)
    told = [line.strip() for line in found.group(1).strip().splitlines()]
    providers = [line for line in told if line.startswith("SocialAuthProvider")]
    assert [line.split()[1] for line in providers] == ["facebook", "google"]
    trust = re.search(r"email-trust=\S+", providers[0]).group(0)
    return "\n".join(set(told) - set(providers)), ["%s %s" % (provider.facebook.options, trust),
                                                   provider.google.options]


@pytest.fixture
def tutorial(make_site, mount):
    site = make_site(private=True, path="/auth", mount=mount[0], providers=mount[1])
    for line in lines("socialauthctl"):
        done = on_site(site)(*shlex.split(line)[3:])
        assert done.status == 0, done.err
    return site


def obey(site, line, **variables):
    """A line of the shell -> (status, JSON)"""
    line = line.replace("https://www.example.org", site.url)
    done = subprocess.run(["bash", "-c", line + " -s -w '\\n%{http_code}'"], env={"PATH": "/usr/bin:/bin", **variables},
                          stdout=subprocess.PIPE, text=True, check=True)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body) if body else None


def test_step_by_step(tutorial):
    site, calls = tutorial, lines("curl")
    facebook = site.provider.facebook
    given = {"FACEBOOK_TOKEN": facebook.token(facebook.user(email="grace@example.com")),
             "GOOGLE_TOKEN": site.provider.google.access_token(email="joan@gmail.com")}
    seen = []
    for line in calls:
        status, body = obey(site, line, **given)
        assert status in (200, 201), (line, status, body)
        path = line.split()[1].removeprefix("https://www.example.org/auth/")
        seen.append(path)
        if body and "access_token" in body:
            given.update(ACCESS_TOKEN=body["access_token"], REFRESH_TOKEN=body["refresh_token"])
        if path == "currentUser/":
            assert (body["email"], body["first_name"], body["last_name"]) == ("ada@example.org", "Ada", "Lovelace")
        if path == "all/":
            assert [user["username"] for user in body] == ["ada"]
        if path == "convert-token":
            assert body["user"]["email"] == ("grace@example.com" if "facebook" in line else "joan@gmail.com")
    assert seen == ["create/", "token", "currentUser/", "all/", "token", "convert-token", "convert-token",
                    "revoke-token"]
    refused = site.browser().post("token", {"grant_type": "refresh_token", "client_id": "app",
                                            "refresh_token": given["REFRESH_TOKEN"]})
    assert refused.status == 400 and refused.json()["error"] == "invalid_grant"
    assert site.browser(origin=PAGE).get("all/").header("Access-Control-Allow-Origin") == PAGE


def test_the_link_and_the_cookies(make_site, mount, provider):
    """As the browser of a page on the other origin takes them."""
    text = section("In the browser")
    more = re.findall(r"^    (SocialAuth\w+ .*)", text, re.M)
    site = make_site(path="/auth", mount="\n".join([mount[0], *more]), providers=[provider.google.code_options])
    provider.google.visitor = {"sub": "77"}
    browser = site.browser(origin=PAGE)
    link = urllib.parse.urlsplit(re.search(r'<a href="(.*?)"', text).group(1))
    assert "%s://%s" % link[:2] == "https://www.example.org"
    answer = browser.get(at_provider(site, browser.get("%s?%s" % (link.path, link.query))))
    assert answer.header("Location") == PAGE + "/welcome"
    answer = browser.get("currentUser/")
    assert answer.status == 200 and answer.header("Access-Control-Allow-Credentials") == "true"
    assert browser.post("token/refresh/", {}).status == 200
