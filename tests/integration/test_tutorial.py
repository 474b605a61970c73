"""README's "Accounts for a front end, step by step", as it is written there: its configuration, its
command, its calls."""
import json
import re
import shlex
import subprocess

import pytest

from support.ctl import on_site
from test_readme import section

pytestmark = pytest.mark.db
TITLE = "Accounts for a front end, step by step"


def lines(start):
    return [line.strip() for line in section(TITLE).splitlines() if line.startswith("    " + start)]


@pytest.fixture
def tutorial(make_site, provider):
    """The site: the providers' options are the fakes'."""
    mount = re.search(r'<Location "/auth">\n\s+SetHandler social-auth\n(.*?)</Location>', section(TITLE), re.S)
    told = [line.strip() for line in mount.group(1).strip().splitlines()]
    providers = [line for line in told if line.startswith("SocialAuthProvider")]
    assert [line.split()[1] for line in providers] == ["facebook", "google"]
    trust = re.search(r"email-trust=\S+", providers[0]).group(0)
    site = make_site(private=True, path="/auth", mount="\n".join(set(told) - set(providers)),
                     providers=["%s %s" % (provider.facebook.options, trust), provider.google.options])
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
    page = "https://app.example.org"
    assert site.browser().get("all/", headers={"Origin": page}).header("Access-Control-Allow-Origin") == page
