"""The providers' real addresses, as the module knows them by itself: in a network namespace that
has nothing but lo, where those names lead to oidc-provider and to our GitHub on port 443."""
import json
import os
import subprocess
import sys

import pytest

from support import paths
from support.fake_provider import GITHUB_CLIENT
from support.op import Op


def inside(scratch, database, *options):
    return subprocess.run(
        ["unshare", "-n", "-m", *options, "--fork", "--kill-child", sys.executable, "-B", "-m",
         "support.netns", database],
        cwd=os.path.join(paths.TESTS, "integration"), env=dict(os.environ, SA_SCRATCH=scratch),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        timeout=300)


@pytest.fixture(scope="module", params=["sqlite3", "pgsql"])
def world(request):
    """What happened inside. Root must be able to make one; others may not, which is said."""
    if os.geteuid() != 0:
        pytest.skip("a network namespace with port 443 needs root")
    scratch = paths.make_dir("netns-" + request.param)
    done = inside(scratch, request.param)
    if "cannot change root filesystem propagation" in done.stderr:      # in a chroot
        done = inside(scratch, request.param, "--propagation", "unchanged")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_only_credentials_are_configured(world):
    github, google = world["configured"]
    line = "SocialAuthProvider %s client-id=%s client-secret="
    assert github.startswith(line % ("github", GITHUB_CLIENT))
    assert google.startswith(line % ("google", Op.client))
    assert "url" not in github + google and "issuer" not in github + google
    assert "allow-http" not in github + google


def test_everybody_gets_in(world):
    assert world["answers"] == {"github": 200, "github again": 200, "google": 200,
                                "google code": 200, "password": 200, "link": 204, "linked": 200}
    who = world["people"]
    assert who["github"] == who["github again"] and who["google"] == who["google code"]
    assert who["linked"] == who["password"]
    assert len(set(who.values())) == 3
    assert world["emails"] == ["ada@example.com", "bob@gmail.com", "grace@example.org"]
    assert sorted(issuer for issuer, _ in world["links"]) == \
        ["https://accounts.google.com", "https://github.com", "https://github.com"]


def test_github_is_asked_where_it_is(world):
    each = [["POST", "github.com", "/login/oauth/access_token"], ["GET", "api.github.com", "/user"],
            ["GET", "api.github.com", "/user/emails"]]
    asked = world["asked of github"]
    assert sorted(asked) == sorted(each * 4)


def test_google_is_asked_where_it_is(world):
    assert sorted(world["asked of google"]) == ["GET /oauth2/v3/certs", "POST /token"]


def test_T41_names_that_lead_to_secrets(world):
    words = world["forbidden"]["words"]
    assert len(words) == 6 and set(words.values()) == {"provider_unavailable"}, words
    assert world["forbidden"]["sent"] == 0


def test_nobody_else_is_asked(world):
    assert world["routes"] == []
    assert world["sent nowhere"] == 0
    assert world["probe"]["status"] != 0 and world["probe"]["seen"] > 0


def test_the_error_log_is_clean(world):
    assert world["log"] == []
