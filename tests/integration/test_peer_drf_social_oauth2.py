"""What drf-social-oauth2's own test suite (version 3.2.0, commit 059b4ba) asks of its server, asked of
this one over HTTP. It has no case of disconnect-backend and of the password grant: test_link.py and
test_oauth2.py have ours.

A comment stands where the answer differs on purpose."""
import pytest

from support import check, jose
from support.peers import Suite
from test_convert_token import convert, token_of
from test_oauth2 import ended, granted, oauth_refused, password_grant, refresh_grant

pytestmark = pytest.mark.db

VIEWS, AUTH, ENDPOINTS = "test_views.py::", "test_authentication.py::", "test_oauth2_endpoints.py::"
DEFAULTS = "test_refresh_token_rotation.py::TestRefreshTokenRotationSettings::"
ROTATION = "test_refresh_token_rotation.py::TestRefreshTokenRotationBehavior::"
REUSE = "test_refresh_token_rotation.py::TestRefreshTokenReuseProtection::"
WHOLE = "test_refresh_token_rotation.py::TestRefreshTokenRotationIntegration::"

suite = Suite({"test_views.py": 17, "test_authentication.py": 9, "test_oauth2_endpoints.py": 3,
               "test_refresh_token_rotation.py": 13}, {
    DEFAULTS + "test_settings_from_oauth2_provider":
        "reads a dictionary of Django's settings: here each setting is a directive (test_config.py)",
})
case = suite.case
ADA = "ada@example.org"


def test_every_case_is_here():
    suite.check()


@pytest.fixture
def shop(make_site, provider):
    site = make_site(providers=[provider.github.options, provider.google.options,
                                provider.facebook.options + " email-trust=verified"])
    site.make_user(ADA, "ada")
    site.app = site.application()
    return site


@pytest.fixture
def strict(make_site):
    """A refresh token is dead with its first use, as there."""
    site = make_site(mount="SocialAuthRefreshReuseInterval 0")
    site.expect_log("reuse|refresh")
    site.make_user(ADA, "ada")
    site.app = site.application()
    return site


@pytest.fixture
def access(shop):
    return granted(password_grant(shop))["access_token"]


# ---- convert-token

@case(VIEWS + "test_convert_token_endpoint_with_no_post_params")
def test_convert_token_without_parameters(shop):
    oauth_refused(shop.browser().post("convert-token"), "invalid_request")
    oauth_refused(shop.browser().post("convert-token", {}), "invalid_request")


@case(VIEWS + "test_convert_token_endpoint_with_missing_params")
def test_convert_token_with_missing_parameters(shop):
    body = {"grant_type": "convert_token", "backend": "github", "client_id": ""}
    oauth_refused(shop.browser().post("convert-token", body), "invalid_request")
    # There a client_id alone proves the client: its secret is fetched from the database. Here a confidential
    # client sends it.
    oauth_refused(convert(shop, "github", "x", {"client_id": ""}), "invalid_client", 401)


@case(VIEWS + "test_convert_token_endpoint", ENDPOINTS + "test_create_social_token")
def test_convert_token(shop):
    got = granted(convert(shop, "facebook", token_of(shop, "facebook", "eva@example.org")))
    assert got["expires_in"] == 3600 and got["user"]["email"] == "eva@example.org"


@case(ENDPOINTS + "test_reuse_social_token", ENDPOINTS + "test_social_token_expired")
def test_convert_token_again(shop):
    """There a live access token is found again, with what is left of its time (a case that is skipped
    there), and an expired one is replaced. Here no token is kept: each sign-in is a session of its own."""
    person = shop.provider.facebook.user()
    first, second = (granted(convert(shop, "facebook", shop.provider.facebook.token(person))) for _ in range(2))
    assert first["access_token"] != second["access_token"] and second["expires_in"] == 3600
    assert shop.counts()["sa_sessions"] == 2
    granted(refresh_grant(shop, first["refresh_token"]))


# ---- which application

@case(VIEWS + "test_get_application")
def test_application_of_a_client_id(shop, access):
    """There the function that looks one up: the right id, a wrong one, none."""
    browser = shop.browser()
    check.field_refused(browser.post("invalidate-sessions/", {"client_id": "wrong_client"}, bearer=access),
                        "invalid", client_id="Invalid client_id.")
    check.field_refused(browser.post("invalidate-sessions/", {}, bearer=access), "required",
                        client_id=check.REQUIRED)
    ended(browser.post("invalidate-sessions/", {"client_id": shop.app["client_id"]}, bearer=access), 204)


# ---- revoke-token

@case(VIEWS + "test_revoke_invalid_token_endpoint")
def test_revoke_by_an_unknown_client(shop, access):
    """There 400; RFC 6749 section 5.2 has 401 for a client that is not known."""
    body = {"client_id": "new id"}
    oauth_refused(shop.browser().post("revoke-token", body, bearer=access), "invalid_client", 401)
    check.access_refused(shop.browser().post("revoke-token", body, bearer="Token"))
    assert shop.browser().get("currentUser/", bearer=access).status == 200


@case(VIEWS + "test_revoke_token_endpoint_with_no_post_params",
      VIEWS + "test_revoke_token_endpoint_with_missing_params")
@pytest.mark.parametrize("body", [None, {}])
def test_revoke_without_parameters(shop, access, body):
    """There 400, for want of a client_id; here the Bearer alone says whose session ends."""
    ended(shop.browser().post("revoke-token", body, bearer=access), 204)
    check.access_refused(shop.browser().get("currentUser/", bearer=access))


# ---- invalidate-sessions, invalidate-refresh-tokens

@case(VIEWS + "test_invalidate_sessions_no_authentication", VIEWS + "test_invalidate_refresh_tokens_no_authentication")
@pytest.mark.parametrize("path", ["invalidate-sessions", "invalidate-refresh-tokens"])
def test_invalidate_without_authentication(site, path):
    """There 403; 401 says what to do about it."""
    check.not_signed_in(site.browser().post(path))


@case(VIEWS + "test_invalidate_sessions_endpoint_with_no_post_params",
      VIEWS + "test_invalidate_refresh_tokens_endpoint_with_no_post_params",
      VIEWS + "test_invalidate_sessions_endpoint_no_application",
      VIEWS + "test_invalidate_refresh_tokens_endpoint_no_application",
      VIEWS + "test_invalidate_sessions_endpoint_invalid_application",
      VIEWS + "test_invalidate_refresh_tokens_endpoint_invalid_application")
@pytest.mark.parametrize("path", ["invalidate-sessions", "invalidate-refresh-tokens"])
@pytest.mark.parametrize("body, word, text", [
    (None, "required", check.REQUIRED), ({"client_id": ""}, "blank", check.BLANK),
    ({"client_id": "invalid"}, "invalid", "Invalid client_id.")], ids=["no_post_params", "no_application",
                                                                      "invalid_application"])
def test_invalidate_refusals(shop, path, body, word, text):
    tokens = [granted(password_grant(shop)) for _ in range(2)]
    check.field_refused(shop.browser().post(path, body, bearer=tokens[0]["access_token"]), word, client_id=text)
    for got in tokens:
        granted(refresh_grant(shop, got["refresh_token"]))


@case(VIEWS + "test_invalidate_sessions_endpoint")
def test_invalidate_sessions(shop):
    """There the access tokens end and the refresh tokens stay; here a session ends with all it has."""
    tokens = [granted(password_grant(shop)) for _ in range(5)]
    ended(shop.browser().post("invalidate-sessions", {"client_id": shop.app["client_id"]},
                              bearer=tokens[0]["access_token"]), 204)
    for got in tokens:
        check.access_refused(shop.browser().get("currentUser/", bearer=got["access_token"]))
        oauth_refused(refresh_grant(shop, got["refresh_token"]), "invalid_grant")


@case(VIEWS + "test_invalidate_refresh_tokens_endpoint", ROTATION + "test_invalidate_all_refresh_tokens_endpoint")
def test_invalidate_refresh_tokens(shop):
    tokens = [granted(password_grant(shop)) for _ in range(5)]
    ended(shop.browser().post("invalidate-refresh-tokens", {"client_id": shop.app["client_id"]},
                              bearer=tokens[0]["access_token"]), 204)
    for got in tokens:
        assert shop.browser().get("currentUser/", bearer=got["access_token"]).status == 200
        oauth_refused(refresh_grant(shop, got["refresh_token"]), "invalid_grant")


# ---- who may call: there an API takes "Bearer <backend> <the provider's token>" too

def ask(site, value=None):
    headers = {} if value is None else {"Authorization": value}
    return site.browser().get("currentUser/", headers=headers)


@case(AUTH + "test_authenticate_no_auth_header_fail", AUTH + "test_authenticate_no_backend_fail",
      AUTH + "test_authenticate_header")
@pytest.mark.parametrize("value", [None, "JWT"])
def test_no_token(site, value):
    """There the challenge is `Bearer backend realm="api"`: "backend" is no parameter of RFC 6750."""
    check.not_signed_in(ask(site, value))


@case(AUTH + "test_authenticate_no_bearer_token_type", AUTH + "test_authenticate_empty_bearer_fail",
      AUTH + "test_authenticate_wrongly_formatted_token_fail")
@pytest.mark.parametrize("value", ["Bearer", "Bearer facebook",
                                   "Bearer facebook 401f7ac837da42b9 7f613d789819ff93537bee6a"])
def test_malformed_token(site, value):
    answer = ask(site, value)
    assert answer.status == 401 and answer.word in ("not_authenticated", "token_not_valid"), answer


@case(AUTH + "test_authenticate", AUTH + "test_authenticate_missing_backend",
      AUTH + "test_authenticate_user_not_found")
def test_a_providers_token_is_no_bearer(shop):
    """There the first of these signs in, and nobody asks for whom Facebook made the token (T21). Here
    convert-token asks that, once, and our own token is what an API takes."""
    facebook = shop.provider.facebook
    good = facebook.token(facebook.user())
    for value in ("facebook " + good, "unknown " + good, "facebook 401f7ac837da42b97f613d789819ff93537bee6a"):
        answer = ask(shop, "Bearer " + value)
        assert answer.status == 401 and answer.word in ("not_authenticated", "token_not_valid"), answer
    assert shop.provider.asked() == [] and shop.counts()["sa_sessions"] == 0
    assert ask(shop, "Bearer " + granted(convert(shop, "facebook", good))["access_token"]).status == 200


# ---- rotation

@case(DEFAULTS + "test_default_rotation_enabled", DEFAULTS + "test_default_reuse_protection_enabled",
      DEFAULTS + "test_default_grace_period", DEFAULTS + "test_default_expire_seconds")
def test_rotation_by_default(shop):
    """There a refresh token lives 14 days and has no grace; here a day (SocialAuthRefreshTokenLifetime), and
    10 s in which two tabs get one successor (SocialAuthRefreshReuseInterval)."""
    shop.expect_log("reuse|refresh")
    first = granted(password_grant(shop))
    claims = jose.claims_of(first["refresh_token"])
    assert claims["exp"] - claims["iat"] == 86400
    second, twin = (granted(refresh_grant(shop, first["refresh_token"])) for _ in range(2))
    assert second["refresh_token"] != first["refresh_token"]
    assert jose.claims_of(second["refresh_token"])["jti"] == jose.claims_of(twin["refresh_token"])["jti"]
    third = granted(refresh_grant(shop, second["refresh_token"]))
    oauth_refused(refresh_grant(shop, first["refresh_token"]), "invalid_grant")
    oauth_refused(refresh_grant(shop, third["refresh_token"]), "invalid_grant")


@case(WHOLE + "test_rotation_settings_applied", REUSE + "test_token_family_revocation")
def test_reuse_ends_the_family(strict):
    first, other = granted(password_grant(strict)), granted(password_grant(strict))
    second = granted(refresh_grant(strict, first["refresh_token"]))
    oauth_refused(refresh_grant(strict, first["refresh_token"]), "invalid_grant")
    oauth_refused(refresh_grant(strict, second["refresh_token"]), "invalid_grant")
    check.access_refused(strict.browser().get("currentUser/", bearer=second["access_token"]))
    granted(refresh_grant(strict, other["refresh_token"]))


@case(ROTATION + "test_refresh_token_created_with_access_token")
def test_tokens_of_one_session(shop):
    got = granted(password_grant(shop))
    access, refresh = jose.claims_of(got["access_token"]), jose.claims_of(got["refresh_token"])
    assert [access[k] for k in ("sid", "sub", "client_id")] == [refresh[k] for k in ("sid", "sub", "client_id")]
    assert refresh["client_id"] == shop.app["client_id"]


@case(ROTATION + "test_multiple_refresh_tokens_per_user")
def test_several_sessions_of_a_user(shop):
    tokens = [granted(password_grant(shop)) for _ in range(3)]
    assert len({jose.claims_of(got["refresh_token"])["sid"] for got in tokens}) == 3
    for got in tokens:
        granted(refresh_grant(shop, got["refresh_token"]))


@case(ROTATION + "test_refresh_token_invalidation", REUSE + "test_revoked_token_has_revoked_timestamp")
def test_revocation_is_written_down(shop):
    got = granted(password_grant(shop))
    revoked = "SELECT revoked_at FROM sa_sessions"
    assert shop.db.value(revoked) is None
    ended(shop.browser().post("revoke-token", {"token": got["refresh_token"], **shop.app}), 200)
    assert shop.db.value(revoked) is not None
    oauth_refused(refresh_grant(shop, got["refresh_token"]), "invalid_grant")


@case(WHOLE + "test_token_endpoint_exists")
def test_token_endpoint_is_there(shop):
    assert shop.browser().post("token").status == 400
    granted(password_grant(shop))
