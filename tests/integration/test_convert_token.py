"""convert-token: a token that a front end got from Facebook, Google or GitHub becomes one of ours
(CONTRACT section 2)."""
import pytest

from support import jose
from support.client import at_once
from support.fake_provider import Reply
from test_oauth2 import granted, oauth_refused, refresh_grant

pytestmark = pytest.mark.db


@pytest.fixture
def shop(make_site, provider):
    site = make_site(providers=[provider.github.options, provider.google.options,
                                provider.facebook.options + " email-trust=verified",
                                "corp type=oidc client-id=c issuer=https://corp.test"
                                " jwks-url={provider}/google/certs allow-http=on"])
    site.app = site.application(grants="convert_token refresh_token")
    return site


def convert(site, backend, token, app=None, browser=None, path="convert-token", **more):
    body = {"grant_type": "convert_token", "backend": backend, "token": token, **(app or site.app), **more}
    return (browser or site.browser()).post(path, {k: v for k, v in body.items() if v is not None})


def token_of(site, backend, email):
    if backend == "facebook":
        return site.provider.facebook.token(site.provider.facebook.user(email=email))
    if backend == "github":
        return site.provider.github.token(site.provider.github.user(email=email))
    return site.provider.google.access_token(email=email)


@pytest.mark.parametrize("backend", ["facebook", "google-oauth2", "google", "github"])
@pytest.mark.parametrize("path", ["convert-token", "convert-token/", "token"])
def test_token_becomes_ours(shop, backend, path):
    email = "ada@gmail.com"
    first = granted(convert(shop, backend, token_of(shop, backend, email), path=path))
    assert first["user"] == {"email": email, "first_name": "Ada", "last_name": "Lovelace"}
    claims = jose.claims_of(first["access_token"])
    assert claims["client_id"] == shop.app["client_id"]
    assert claims["amr"] == [backend.replace("-oauth2", "")]
    assert shop.counts()["sa_users"] == shop.counts()["sa_links"] == 1
    assert shop.browser().get("linked-accounts/", bearer=first["access_token"]).status == 200
    granted(refresh_grant(shop, first["refresh_token"]))


@pytest.mark.parametrize("path", ["convert-token", "token"])
def test_conversions_are_throttled(make_site, path):
    site = make_site(throttle="2/minute", private=True)
    site.app = site.application(grants="convert_token")
    browser = site.browser()
    answers = [convert(site, "github", "x", browser=browser, path=path) for _ in range(3)]
    assert [a.status for a in answers] == [400, 400, 429]


def test_the_same_person_is_the_same_user(shop):
    person = shop.provider.facebook.user()
    subjects = {jose.claims_of(granted(convert(shop, "facebook", shop.provider.facebook.token(person)))
                               ["access_token"])["sub"] for _ in range(3)}
    assert len(subjects) == 1 and shop.counts()["sa_sessions"] == 3


def test_T54_parallel_first_conversions_are_one_user(shop):
    person = shop.provider.github.user()
    answers = at_once([lambda: convert(shop, "github", shop.provider.github.token(person)) for _ in range(6)])
    assert len({jose.claims_of(granted(a)["access_token"])["sub"] for a in answers}) == 1
    assert shop.counts()["sa_users"] == 1 and shop.db.broken_invariants() == []


def test_google_id_token_is_taken_once(shop):
    token = shop.provider.google.id_token(email="ada@gmail.com")
    assert granted(convert(shop, "google-oauth2", token))["user"]["email"] == "ada@gmail.com"
    oauth_refused(convert(shop, "google-oauth2", token), "invalid_grant")


def test_T21_T24_foreign_tokens(shop):
    facebook, google, github = (getattr(shop.provider, name) for name in ("facebook", "google", "github"))
    asked = len(shop.provider.asked())
    for backend, token in (("facebook", facebook.token(facebook.user(), app="999")),
                           ("facebook", facebook.token(facebook.user(), expires_in=-1)),
                           ("facebook", facebook.token(facebook.user(), type="PAGE")),
                           ("google-oauth2", google.access_token(aud="999.apps.test", azp="999.apps.test")),
                           ("google-oauth2", google.id_token(aud="999.apps.test", azp="999.apps.test")),
                           ("github", github.token(github.user(), foreign=True)),
                           ("facebook", github.token(github.user())), ("github", "x"), ("google", "a.b.c")):
        oauth_refused(convert(shop, backend, token), "invalid_grant")
    paths = [request.path for request in shop.provider.asked()[asked:]]
    assert not [path for path in paths if path in ("/facebook/me", "/google/userinfo", "/github/user")], paths
    assert shop.counts()["sa_users"] == shop.counts()["sa_sessions"] == 0


def test_backends_that_cannot_be_used(shop):
    for backend in ("nobody", "../github", "GitHub"):
        oauth_refused(convert(shop, backend, "x"), "invalid_request")
    oauth_refused(convert(shop, "corp", "an-access-token"), "invalid_grant")     # ID tokens only
    oauth_refused(convert(shop, None, "x"), "invalid_request")
    oauth_refused(convert(shop, "github", None), "invalid_request")
    oauth_refused(convert(shop, "github", ""), "invalid_request")
    assert shop.provider.asked() == []


def test_T119_the_client_must_prove_itself(shop):
    token = token_of(shop, "github", "ada@gmail.com")
    for app, word, status in (({"client_id": shop.app["client_id"]}, "invalid_client", 401),
                              ({**shop.app, "client_secret": "wrong"}, "invalid_client", 401),
                              ({"client_id": "nobody"}, "invalid_client", 401),
                              (shop.application(grants="password"), "unauthorized_client", 400)):
        oauth_refused(convert(shop, "github", token, app), word, status)
    assert shop.provider.asked() == []
    granted(convert(shop, "github", token, shop.application(public=True)))


def test_T122_grant_type_and_scope(shop):
    token = token_of(shop, "github", "ada@gmail.com")
    oauth_refused(convert(shop, "github", token, grant_type=None), "invalid_request")
    oauth_refused(convert(shop, "github", token, grant_type="password"), "unsupported_grant_type")
    oauth_refused(convert(shop, "github", token, scope="admin"), "invalid_scope")
    granted(convert(shop, "github", token, scope="read"), "read")
    oauth_refused(shop.browser().request("POST", "convert-token", body="{", content_type="application/json"),
                  "invalid_request")
    oauth_refused(shop.browser().request("POST", "convert-token", body="x", content_type="text/plain"),
                  "invalid_request")
    assert shop.browser().get("convert-token").status == 405


def test_the_rules_of_login_hold(shop):
    """What may join an account does not depend on the way in."""
    shop.make_user("ada@gmail.com", "ada")
    shop.db.query("UPDATE sa_users SET email_verified = ?", False)
    answer = convert(shop, "google-oauth2", token_of(shop, "google-oauth2", "ada@gmail.com"))
    oauth_refused(answer, "invalid_grant")
    assert "already exists" in answer.json()["error_description"]
    shop.db.query("UPDATE sa_users SET email_verified = ?", True)
    granted(convert(shop, "google-oauth2", token_of(shop, "google-oauth2", "ada@gmail.com")))
    shop.db.ctl("users", "deactivate", "ada")
    oauth_refused(convert(shop, "google-oauth2", token_of(shop, "google-oauth2", "ada@gmail.com")),
                  "invalid_grant")


@pytest.mark.parametrize("reply, status, word", [
    (Reply(500, b"{}"), 502, "provider_unavailable"), (Reply(200, b"no json"), 502, "provider_unavailable")])
def test_provider_trouble(shop, reply, status, word):
    token = token_of(shop, "facebook", "ada@gmail.com")
    shop.expect_log("SA0100: provider_")
    with shop.provider.scripted("/facebook/debug_token", reply, reply, reply):
        answer = convert(shop, "facebook", token)
    assert answer.status == status and answer.word == word, answer
    granted(convert(shop, "facebook", token))


def test_counts_with_the_social_requests(make_site, provider):
    site = make_site(throttle=None, private=True, mount="SocialAuthThrottleRate 3/minute")
    app = site.application(grants="convert_token")
    browser = site.browser()
    assert browser.get("github/state/").status == 200
    for _ in range(2):
        oauth_refused(convert(site, "github", "x", app, browser), "invalid_grant")
    answer = convert(site, "github", token_of(site, "github", "ada@gmail.com"), app, browser)
    assert answer.status == 429 and answer.word == "throttled"


def test_T66_the_providers_token_is_nowhere(shop):
    tokens = [token_of(shop, backend, "ada%d@gmail.com" % n)
              for n, backend in enumerate(("facebook", "google-oauth2", "github"))]
    for backend, token in zip(("facebook", "google-oauth2", "github"), tokens):
        granted(convert(shop, backend, token))
    kept = shop.db.dump() + shop.httpd.log()
    assert not [token for token in tokens if token in kept]
