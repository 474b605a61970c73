"""OAuth 2.0 clients that were not written for this server complete every grant: requests-oauthlib and authlib,
openid-client and oauth4webapi."""
import json
import os
import subprocess

import pytest
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from authlib.integrations.base_client.errors import OAuthError
from oauthlib.oauth2 import BackendApplicationClient, LegacyApplicationClient, WebApplicationClient
from oauthlib.oauth2.rfc6749.errors import InvalidGrantError, UnsupportedResponseTypeError
from requests_oauthlib import OAuth2Session

from support import jose, paths
from support.op import node_command
from support.site import STRONG

pytestmark = pytest.mark.db
ADA = "ada@example.org"
CALLBACK = "https://shop.example.test/cb"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
GRANTS = "authorization_code refresh_token client_credentials password"


@pytest.fixture(params=["confidential", "public"])
def shop(request, make_site):
    """A site, an application of either kind, and `browse`: a signed-in browser's way to the callback."""
    site = make_site(mount="SocialAuthTokenDelivery both")
    site.make_user(ADA, "ada")
    site.app = site.application(GRANTS, public=request.param == "public", trusted=True, redirect_uris=CALLBACK)
    browser = site.browser()
    assert site.password_login(ADA, browser=browser).status == 200
    site.cookie = "; ".join("%s=%s" % pair for pair in browser.cookies.items())

    def browse(url):
        assert url.startswith(site.url)
        return browser.get(url[len(site.url):]).header("Location")
    site.browse = browse
    return site


def is_for(site, token, scope="read", user=True):
    claims = jose.claims_of(token["access_token"])
    assert token["token_type"] == "Bearer" and token["expires_in"] == 3600
    assert claims["client_id"] == site.app["client_id"] and claims["scope"] == scope
    assert ("sid" in claims) == user == ("refresh_token" in token)


@pytest.mark.parametrize("library", ["openid-client", "oauth4webapi"])
def test_clients_of_npm(shop, library):
    given = {**shop.app, "issuer": shop.issuer, "redirect_uri": CALLBACK, "cookie": shop.cookie, "username": ADA,
             "password": STRONG}
    script = os.path.join(paths.TESTS, "integration", "support", "oauth_clients.mjs")
    done = subprocess.run(node_command(script, library), input=json.dumps(given), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    for name in ("code", "refresh"):
        assert seen[name]["token_type"].lower() == "bearer"
        is_for(shop, {**seen[name], "token_type": "Bearer"})
    if "client_secret" in shop.app:
        is_for(shop, {**seen["credentials"], "token_type": "Bearer"}, "write", user=False)
        is_for(shop, {**seen["password"], "token_type": "Bearer"}, "read write")
        assert seen["introspected"]["active"] is True and seen["introspected"]["username"] == "ada"
    assert seen["dead"] == "invalid_grant" and seen["refused"] == "invalid_scope"


@pytest.fixture
def insecure(monkeypatch):
    for name in ("OAUTHLIB_INSECURE_TRANSPORT", "AUTHLIB_INSECURE_TRANSPORT"):
        monkeypatch.setenv(name, "1")


def test_requests_oauthlib(shop, insecure):
    token_url = shop.issuer + "/token"
    secret = shop.app.get("client_secret")
    session = OAuth2Session(shop.app["client_id"], redirect_uri=CALLBACK, scope=["read"])
    session.trust_env = False
    url, state = session.authorization_url(shop.issuer + "/authorize", code_challenge=CHALLENGE,
                                           code_challenge_method="S256")
    token = session.fetch_token(token_url, authorization_response=shop.browse(url), code_verifier=VERIFIER,
                                client_secret=secret, include_client_id=True)
    is_for(shop, token)
    assert session.get(shop.issuer + "/linked-accounts/").status_code == 200
    again = {"client_id": shop.app["client_id"], **({"client_secret": secret} if secret else {})}
    token = session.refresh_token(token_url, **again)
    is_for(shop, token)
    address, headers, body = WebApplicationClient(shop.app["client_id"]).prepare_token_revocation_request(
        shop.issuer + "/revoke-token", token["refresh_token"], "refresh_token", **again)
    assert session.post(address, data=body, headers=headers, withhold_token=True).status_code == 200
    with pytest.raises(InvalidGrantError):
        session.refresh_token(token_url, **again)
    url, state = session.authorization_url(shop.issuer + "/authorize")
    with pytest.raises(UnsupportedResponseTypeError):
        session.fetch_token(token_url, authorization_response=shop.browse(url.replace("=code", "=token")))


def test_requests_oauthlib_without_a_user(shop, insecure):
    secret = shop.app.get("client_secret")
    legacy = OAuth2Session(client=LegacyApplicationClient(shop.app["client_id"]), scope=["read", "write"])
    legacy.trust_env = False
    is_for(shop, legacy.fetch_token(shop.issuer + "/token", username=ADA, password=STRONG, client_secret=secret,
                                    include_client_id=True), "read write")
    if secret:
        backend = OAuth2Session(client=BackendApplicationClient(shop.app["client_id"]), scope=["write"])
        backend.trust_env = False
        is_for(shop, backend.fetch_token(shop.issuer + "/token", auth=(shop.app["client_id"], secret),
                                         scope=["write"]), "write", user=False)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_authlib(shop, insecure, method):
    secret = shop.app.get("client_secret")
    method = method if secret else "none"
    token_url = shop.issuer + "/token"

    def session(scope):
        made = AuthlibSession(shop.app["client_id"], secret, token_endpoint_auth_method=method,
                              revocation_endpoint_auth_method=method, scope=scope, redirect_uri=CALLBACK,
                              code_challenge_method="S256")
        made.trust_env = False
        return made
    user = session("read")
    url, state = user.create_authorization_url(shop.issuer + "/authorize", code_verifier=VERIFIER)
    token = user.fetch_token(token_url, authorization_response=shop.browse(url), state=state,
                             code_verifier=VERIFIER)
    is_for(shop, token)
    assert user.get(shop.issuer + "/linked-accounts/").status_code == 200
    token = user.refresh_token(token_url, token["refresh_token"])
    is_for(shop, token)
    is_for(shop, session("read write").fetch_token(token_url, username=ADA, password=STRONG), "read write")
    if secret:
        is_for(shop, session("write").fetch_token(token_url, grant_type="client_credentials"), "write", user=False)
        known = user.introspect_token(shop.issuer + "/introspect", token["access_token"]).json()
        assert known["active"] is True and known["username"] == "ada"
    assert user.revoke_token(shop.issuer + "/revoke-token", token["refresh_token"]).status_code == 200
    with pytest.raises(OAuthError, match="invalid_grant"):
        user.refresh_token(token_url, token["refresh_token"])
