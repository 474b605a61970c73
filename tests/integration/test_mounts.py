"""Several mounts and virtual hosts in one server: nothing of one counts for the other."""
import os

import pytest

from support import check, jose, paths
from support.fake_provider import GITHUB_CLIENT, GITHUB_SECRET, GOOGLE_CLIENT
from support.site import STRONG

OTHER_SECRET = "another-secret-of-the-second-mount-0123456789"
GITHUB = ("SocialAuthProvider github client-id=%s client-secret=%s token-url={provider}/github/token"
          " userinfo-url={provider}/github/user emails-url={provider}/github/emails allow-http=on"
          % (GITHUB_CLIENT, GITHUB_SECRET))
GOOGLE = ("SocialAuthProvider google client-id=%s jwks-url={provider}/google/certs"
          " issuer=https://accounts.google.com allow-http=on" % GOOGLE_CLIENT)
FREE = ("SocialAuthThrottleRate off\nSocialAuthPasswordThrottleRate off\n"
        "SocialAuthAccountThrottleRate off\n")


def location(path, *lines):
    return '<Location "%s">\nSetHandler social-auth\n%s\n</Location>\n' % (path, "\n".join(lines))


@pytest.fixture
def pair(make_site):
    """pair(lines of the second mount) -> (site, browser of the first, browser of the second)"""
    def make(*lines, **kw):
        site = make_site(more=location("/second", FREE, *lines), **kw)
        return site, site.browser(), site.browser(mount="/second")
    return make


def login(site, browser):
    return check.signed_in(site.google_login(browser))


SECONDS = {"the same secret": (GOOGLE, GITHUB),
           "another secret": (GOOGLE, GITHUB, 'SocialAuthSecret "%s"' % OTHER_SECRET)}


@pytest.mark.db
@pytest.mark.parametrize("lines", SECONDS.values(), ids=list(SECONDS))
def test_tokens_of_one_mount_are_nothing_at_the_other(pair, lines):
    site, first, second = pair(*lines)
    ours, theirs = login(site, first), login(site, second)
    for browser, foreign in ((first, theirs), (second, ours)):
        check.access_refused(browser.get("linked-accounts/", bearer=foreign["access"]))
        check.access_refused(browser.post("github/link/", {"code": "x", "state": "y"},
                                          bearer=foreign["access"]))
        check.access_refused(browser.post("google/unlink/", bearer=foreign["access"]))
        for kind in ("access", "refresh"):
            check.refresh_refused(browser.post("token/verify/", {"token": foreign[kind]}))
        check.refresh_refused(browser.post("token/refresh/", {"refresh": foreign["refresh"]}))
        check.refresh_refused(browser.post("token/blacklist/", {"refresh": foreign["refresh"]}))
    # None of that has hurt anybody.
    for browser, own in ((first, ours), (second, theirs)):
        assert browser.get("linked-accounts/", bearer=own["access"]).status == 200
        check.signed_in(browser.post("token/refresh/", {"refresh": own["refresh"]}))


def test_one_issuer_and_audience_on_purpose(pair):
    """The reference says so: one key, issuer and audience accept each other's access tokens."""
    same = ("SocialAuthIssuer https://id.example.org", "SocialAuthAudience https://id.example.org")
    site, first, second = pair(GOOGLE, *same, mount="\n".join(same))
    tokens = login(site, first)
    assert second.get("linked-accounts/", bearer=tokens["access"]).status == 200


@pytest.mark.parametrize("line", ['SocialAuthSecret "%s"' % OTHER_SECRET,
                                  "SocialAuthStateSalt other"], ids=["secret", "salt"])
def test_T5_states_do_not_travel(pair, line):
    """Not even with the cookie, which the browser would send to both."""
    site, first, second = pair(GITHUB, line)
    before = site.counts()
    for here, there in ((first, second), (second, first)):
        state = site.state(here)["state"]
        there.cookies.update(here.cookies)
        code = site.provider.github.code(site.provider.github.user())
        check.refused(there.post("github/login/", {"code": code, "state": state}), "state_invalid")
    assert site.counts() == before
    assert site.provider.asked("/github/token") == []


def test_T5_one_secret_and_salt_on_purpose(pair):
    """What the reference says of mounts that differ in neither: the tests above can fail."""
    site, first, second = pair(GITHUB)
    state = site.state(first)["state"]
    second.cookies.update(first.cookies)
    code = site.provider.github.code(site.provider.github.user())
    check.signed_in(second.post("github/login/", {"code": code, "state": state}))


@pytest.mark.db
def test_T19_providers_of_the_other_mount_are_not_there(pair):
    site, first, second = pair(GOOGLE)
    tokens = login(site, second)
    labels = [p["label"] for p in second.get("linked-accounts/",
                                             bearer=tokens["access"]).json()["providers"]]
    assert labels == ["Google"]
    for answer in (second.get("github/state/"), second.post("github/login/", {"code": "x"}),
                   second.post("github/unlink/", bearer=tokens["access"])):
        assert answer.status == 404, answer
    assert first.get("github/state/").status == 200
    mine = login(site, first)
    labels = [p["label"] for p in first.get("linked-accounts/",
                                            bearer=mine["access"]).json()["providers"]]
    assert sorted(labels) == ["GitHub", "Google"]


def test_settings_are_each_mounts_own(pair):
    site, first, second = pair(
        GOOGLE, "SocialAuthPasswordLogin Off", "SocialAuthAccessTokenLifetime 77",
        "SocialAuthRotateRefreshTokens Off", "SocialAuthAllowOrigin https://second.test",
        "SocialAuthAuthHeaderTypes JWT", "SocialAuthMaxBody 3000")
    site.make_user("p@example.org")
    ours, theirs = login(site, first), login(site, second)
    span = [c["exp"] - c["iat"] for c in map(jose.claims_of, (ours["access"], theirs["access"]))]
    assert span == [3600, 77]
    check.signed_in(site.password_login("p@example.org", browser=first))
    assert site.password_login("p@example.org", browser=second).status != 200
    assert set(first.post("token/refresh/", {"refresh": ours["refresh"]}).json()) == \
        {"access", "refresh"}
    assert set(second.post("token/refresh/", {"refresh": theirs["refresh"]}).json()) == {"access"}
    long = {"token": "x" * 5000}
    assert (first.post("token/verify/", long).status, second.post("token/verify/", long).status) == (
        401, 413)
    for browser, allowed in ((first, None), (second, "https://second.test")):
        answer = browser.get("google/state/", headers={"Origin": "https://second.test"})
        assert answer.header("Access-Control-Allow-Origin") == allowed, answer
    answer = second.get("linked-accounts/", bearer=theirs["access"])
    check.refused(answer, "not_authenticated")
    answer = second.get("linked-accounts/", headers={"Authorization": "JWT " + theirs["access"]})
    assert answer.status == 200, answer


@pytest.mark.process
def test_throttles_are_each_mounts_own(make_site):
    site = make_site(private=True, throttle=None, mount="SocialAuthThrottleRate 3/minute",
                     more=location("/second", GOOGLE, "SocialAuthThrottleRate 5/minute"))
    first, second = site.browser(), site.browser(mount="/second")
    assert [first.get("google/state/").status for _ in range(4)] == [200] * 3 + [429]
    assert [second.get("google/state/").status for _ in range(6)] == [200] * 5 + [429]


def test_keys_are_each_mounts_own(make_site):
    directory = paths.make_dir("mount-keys")
    keys = {}
    for name, alg in (("one", "RS256"), ("two", "ES256")):
        key = jose.Key(alg, name)
        keys[name] = os.path.join(directory, name)
        with open(keys[name], "w") as f:
            f.write(key.pem())
        os.chmod(keys[name], 0o600)
    site = make_site(private=True,
                     mount="SocialAuthJWTAlgorithm RS256\nSocialAuthJWTKey kid=one file:%s"
                     % keys["one"],
                     more=location("/second", FREE, GOOGLE, "SocialAuthJWTAlgorithm ES256",
                                   "SocialAuthJWTKey kid=two file:%s" % keys["two"]))
    first, second = site.browser(), site.browser(mount="/second")
    for browser, kid, alg in ((first, "one", "RS256"), (second, "two", "ES256")):
        jwks = browser.get(".well-known/jwks.json").json()["keys"]
        assert [(k["kid"], k["alg"]) for k in jwks] == [(kid, alg)], jwks
        head = jose.header_of(login(site, browser)["access"])
        assert (head["kid"], head["alg"]) == (kid, alg)


# ---- virtual hosts

def vhost(name, database, *lines):
    dbd = "DBDriver %s\nDBDParams \"%s\"\n" % (database.driver, database.params) if database else ""
    return ("<VirtualHost *:{port}>\nServerName %s\n%s%s\n</VirtualHost>\n"
            % (name, dbd, "\n".join(lines)))


@pytest.fixture
def hosts(make_site, databases, cell):
    """Two virtual hosts with one path, different databases, secrets and providers."""
    def make():
        first, second = databases.make(cell[1]), databases.make(cell[1])
        site = make_site(database=first, path="/main", more=(
            vhost("one.test", None, "SocialAuthBaseURL https://one.test",
                  location("/auth", FREE, GOOGLE)) +
            vhost("two.test", second, "SocialAuthBaseURL https://two.test",
                  'SocialAuthSecret "%s"' % OTHER_SECRET, location("/auth", FREE, GOOGLE, GITHUB))))
        return site, first, second
    return make


def at_host(site, host):
    return site.browser(mount="/auth", host=host)


@pytest.mark.db
def test_T39_virtual_hosts_with_their_own_databases(hosts):
    site, first, second = hosts()
    one, two = at_host(site, "one.test"), at_host(site, "two.test")
    first.ctl("users", "create", "--email", "p@example.org", "--password-stdin", stdin=STRONG + "\n")
    ours = check.signed_in(one.post("token/", {"email": "p@example.org", "password": STRONG}))
    check.refused(two.post("token/", {"email": "p@example.org", "password": STRONG}),
                  "bad_credentials")
    check.access_refused(two.get("linked-accounts/", bearer=ours["access"]))
    check.refresh_refused(two.post("token/refresh/", {"refresh": ours["refresh"]}))
    theirs = check.signed_in(two.post("google/login/", {"token": site.provider.google.id_token()}))
    check.access_refused(one.get("linked-accounts/", bearer=theirs["access"]))
    assert first.value("SELECT count(*) FROM sa_links") == 0
    assert second.value("SELECT count(*) FROM sa_links") == 1
    assert one.get("github/state/").status == 404 and two.get("github/state/").status == 200
    for browser, issuer in ((one, "https://one.test/auth"), (two, "https://two.test/auth")):
        tokens = check.signed_in(browser.post("google/login/",
                                              {"token": site.provider.google.id_token()}))
        claims = jose.claims_of(tokens["access"])
        assert (claims["iss"], claims["aud"]) == (issuer, issuer)
    # The server configuration's own mount is inherited by both, with each host's settings.
    assert at_host(site, "two.test").get("/main/google/state/").status == 200


@pytest.mark.db
def test_T10_a_host_nobody_configured_gets_the_first(hosts):
    site, first, second = hosts()
    answer = at_host(site, "evil.test").post("google/login/", {"token": site.provider.google.id_token()})
    tokens = check.signed_in(answer)
    assert jose.claims_of(tokens["access"])["iss"] == "https://one.test/auth"
    assert "evil.test" not in answer.text and "evil.test" not in str(answer.all_headers)
