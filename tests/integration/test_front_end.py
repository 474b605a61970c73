"""A front end written for django-social-auth-rest (support/front_end.mjs): its base URL changes,
nothing else does."""
import json
import os
import subprocess

import pytest

from support import paths
from support.op import node_command
from support.site import STRONG


class FrontEnd:
    def __init__(self, site, stores_refresh=False, origin=None):
        options = ["stores-refresh"] * stores_refresh + ["origin=%s" % origin] * bool(origin)
        self._process = subprocess.Popen(
            node_command(os.path.join(paths.TESTS, "integration", "support", "front_end.mjs"),
                         site.url + site.settings.path, *options),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _ask(self, what):
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def __call__(self, name, *arguments):
        """What works is asked like this …"""
        answer = self._ask([name, *arguments])
        assert "result" in answer, answer
        return answer["result"]

    def fails(self, name, *arguments):
        """… and this is what the user reads when it does not."""
        answer = self._ask([name, *arguments])
        assert "problem" in answer, answer
        return answer["status"], answer["problem"]

    def close(self):
        self._process.stdin.close()
        assert self._process.wait(20) == 0


@pytest.fixture
def open_page():
    pages = []

    def open_one(site, **more):
        pages.append(FrontEnd(site, **more))
        return pages[-1]
    yield open_one
    for page in pages:
        page.close()


@pytest.mark.db
def test_a_visit(site, open_page):
    """Login, link, unlink, refresh, sign out."""
    github, google = site.provider.github, site.provider.google
    page = open_page(site, stores_refresh=True)
    user = github.user()
    page("loginWithGithub", github.code(user))
    assert page("accounts") == {"GitHub": True, "Google": False}
    me = google.claims()
    page("linkGoogle", google.id_token(me))
    assert page("accounts") == {"GitHub": True, "Google": True}
    page("unlink", "github")
    assert page("accounts") == {"GitHub": False, "Google": True}
    page("refresh")
    page("isStillGood")
    page("leave")
    assert not page("isSignedIn")
    page("loginWithGoogle", google.id_token(dict(me, jti="2")))
    assert page("accounts") == {"GitHub": False, "Google": True}
    page("linkGithub", github.code(user))
    assert page("accounts") == {"GitHub": True, "Google": True}
    assert site.counts()["sa_users"] == 1


def test_a_visit_with_a_password(site, open_page):
    site.make_user("ada@example.org", username="ada")
    page = open_page(site)
    assert page.fails("loginWithPassword", "ada", "wrong") == \
        (401, "No active account found with the given credentials")
    page("loginWithPassword", "ada", STRONG)
    assert page("accounts") == {"GitHub": False, "Google": False}
    page("linkGithub", site.provider.github.code(site.provider.github.user()))
    page("unlink", "github")
    assert page.fails("unlink", "github") == (400, "No linked github account found.")


def test_what_it_tells_its_users(site, open_page):
    """The texts that its pages show, from the keys that it knows."""
    github, google = site.provider.github, site.provider.google
    page, other = open_page(site), open_page(site)
    assert page.fails("accounts") == (401, "Authentication credentials were not provided.")
    assert page.fails("loginWithGithub", "") == (400, "code: This field may not be blank.")
    assert page.fails("loginWithGithub", "invented") == \
        (400, "GitHub authentication could not be completed.")
    assert page.fails("loginWithStolenState", "code", "forged") == \
        (400, "Invalid or expired authentication state.")
    assert page.fails("loginWithGoogle", "no.id.token") == \
        (400, "Google authentication could not be completed.")
    assert page.fails("loginWithGoogle", google.id_token(email_verified=False)) == \
        (400, "Your Google account email address is not verified.")
    unverified = github.user(emails=[{"email": "a@example.com", "primary": True,
                                      "verified": False}])
    assert page.fails("loginWithGithub", github.code(unverified)) == \
        (400, "Your GitHub account does not have a primary verified email address.")
    user = github.user()
    page("loginWithGithub", github.code(user))
    assert page.fails("unlink", "github") == \
        (400, "This is the only way to sign in to this account.")
    other("loginWithGoogle", google.id_token())
    assert other.fails("linkGithub", github.code(user)) == \
        (400, "This GitHub account is already linked to another user.")
    page("leave")
    assert page.fails("refresh")[0] == 400


ELSEWHERE = "https://app.test"


def test_a_page_on_another_origin(make_site, open_page):
    """It cannot carry our cookie: listed in SocialAuthAllowOrigin, it need not."""
    site = make_site(mount="SocialAuthAllowOrigin " + ELSEWHERE)
    page = open_page(site, stores_refresh=True, origin=ELSEWHERE)
    page("loginWithGithub", site.provider.github.code(site.provider.github.user()))
    page("linkGoogle", site.provider.google.id_token())
    assert page("accounts") == {"GitHub": True, "Google": True}
    page("unlink", "google")
    page("refresh")
    assert page.fails("unlink", "google") == (400, "No linked google account found.")
    page("leave")


def test_T1_a_page_on_an_origin_that_is_not_listed(make_site, open_page):
    site = make_site(mount="SocialAuthAllowOrigin " + ELSEWHERE)
    page = open_page(site, origin="https://evil.test")
    code = site.provider.github.code(site.provider.github.user())
    assert page.fails("loginWithGithub", code) == (0, "Failed to fetch")
    assert site.provider.asked() == [] and site.counts()["sa_users"] == 0


SHORT = "SocialAuthAccessTokenLifetime 60\nSocialAuthRefreshReuseInterval 1\n"


def out_of_time(site):
    """The access token and the reuse interval have run out."""
    site.ahead = getattr(site, "ahead", 0) + 61
    site.httpd.set_clock("+%d" % site.ahead)


def test_a_front_end_that_keeps_its_first_refresh_token(make_site, open_page):
    """Without rotation it works for as long as the token lives."""
    site = make_site(mount=SHORT + "SocialAuthRotateRefreshTokens Off", private=True, faketime="+0")
    page = open_page(site)
    page("loginWithGithub", site.provider.github.code(site.provider.github.user()))
    for _ in range(3):
        out_of_time(site)
        assert page("accounts") == {"GitHub": True, "Google": False}
    assert page("isSignedIn")


def test_T116_the_same_front_end_under_rotation(make_site, open_page):
    """As README says: it is signed out at its second refresh, which looks like a stolen token."""
    site = make_site(mount=SHORT, private=True, faketime="+0")
    site.expect_log(r"token_reuse_detected")
    page, careful = open_page(site), open_page(site, stores_refresh=True)
    for each in (page, careful):
        each("loginWithGithub", site.provider.github.code(site.provider.github.user()))
    out_of_time(site)
    for each in (page, careful):
        assert each("accounts") == {"GitHub": True, "Google": False}
    out_of_time(site)
    assert page.fails("accounts") == (401, "Token is blacklisted")
    assert not page("isSignedIn")
    for _ in range(2):
        assert careful("accounts") == {"GitHub": True, "Google": False}
        out_of_time(site)
    assert careful("isSignedIn")
