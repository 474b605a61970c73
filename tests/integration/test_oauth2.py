"""The OAuth2 dialect's token endpoint and what goes with it (CONTRACT section 2; RFC 6749, 7009, 7662,
8414)."""
import base64
import urllib.parse

import pytest

from support import check, jose
from support.client import at_once
from support.site import STRONG

JSON, FORM = "application/json", "application/x-www-form-urlencoded"

pytestmark = pytest.mark.db
ADA = "ada@example.org"


def basic(client_id, secret):
    pair = "%s:%s" % (urllib.parse.quote(client_id, safe=""), urllib.parse.quote(secret, safe=""))
    return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def oauth_refused(answer, word, status=400):
    """RFC 6749 section 5.2, and nothing else in the body."""
    assert answer.status == status, answer
    check.json_headers(answer)
    body = answer.json()
    assert set(body) == {"error", "error_description"}, body
    assert body["error"] == word, body
    assert all(0x20 <= ord(c) <= 0x7e and c not in '"\\' for c in body["error_description"]), body
    if word == "invalid_client":
        assert answer.header("WWW-Authenticate") == 'Basic realm="api"', answer
    else:
        assert answer.header("WWW-Authenticate") is None, answer


def granted(answer, scope="read write", refresh=True):
    assert answer.status == 200, answer
    check.json_headers(answer)
    assert answer.header("Pragma") == "no-cache"
    body = answer.json()
    wanted = {"access_token", "expires_in", "token_type", "scope"} | ({"refresh_token"} if refresh else set())
    assert set(body) - {"user"} == wanted, body
    assert body["token_type"] == "Bearer" and body["expires_in"] == 3600 and body["scope"] == scope
    return body


@pytest.fixture
def shop(site):
    """A site with a confidential application and a user."""
    site.make_user(ADA, "ada")
    site.app = site.application()
    return site


def password_grant(site, app=None, browser=None, **more):
    body = {"grant_type": "password", "username": ADA, "password": STRONG, **(app or site.app), **more}
    return (browser or site.browser()).post("token", {k: v for k, v in body.items() if v is not None})


def refresh_grant(site, token, app=None, **more):
    return site.browser().post("token", {"grant_type": "refresh_token", "refresh_token": token,
                                         **(app or site.app), **more})


# ---- password

@pytest.mark.parametrize("path", ["token", "token/"])
@pytest.mark.parametrize("kind", ["json", "form"])
def test_password_grant(shop, path, kind):
    body = {"grant_type": "password", "username": ADA, "password": STRONG, **shop.app}
    got = granted(shop.browser().request("POST", path, **{kind: body}))
    access, refresh = jose.claims_of(got["access_token"]), jose.claims_of(got["refresh_token"])
    assert access["client_id"] == refresh["client_id"] == shop.app["client_id"]
    assert access["scope"] == "read write" and access["sid"] == refresh["sid"]
    assert access["exp"] - access["iat"] == 3600 and access["amr"] == ["pwd"]
    row = shop.db.one("SELECT client_id, scope, user_id FROM sa_sessions")
    assert row[:2] == (shop.app["client_id"], "read write") and str(row[2]) == access["sub"]
    assert shop.browser().get("linked-accounts/", bearer=got["access_token"]).status == 200


def test_password_grant_by_user_name_and_basic(shop):
    answer = shop.browser().post("token", {"grant_type": "password", "username": "ada", "password": STRONG},
                                 headers=basic(**{"client_id": shop.app["client_id"],
                                                  "secret": shop.app["client_secret"]}))
    granted(answer)


def test_password_grant_refusals(shop):
    for more, word in (({"password": "wrong"}, "invalid_grant"), ({"username": "nobody"}, "invalid_grant"),
                       ({"password": None}, "invalid_request"), ({"username": None}, "invalid_request"),
                       ({"username": ""}, "invalid_request"), ({"password": 7}, "invalid_request"),
                       ({"password": "x" * 4097}, "invalid_grant")):
        oauth_refused(password_grant(shop, **more), word)
    shop.db.ctl("users", "deactivate", ADA)
    oauth_refused(password_grant(shop), "invalid_grant")
    assert shop.counts()["sa_sessions"] == 0


def test_T121_password_grant_only_where_the_application_has_it(shop):
    app = shop.application(grants="refresh_token convert_token")
    oauth_refused(password_grant(shop, app), "unauthorized_client")
    default = {k: v for k, v in shop.application().items()}
    shop.db.query("UPDATE sa_applications SET grants = ? WHERE client_id = ?", "convert_token refresh_token",
                  default["client_id"])
    oauth_refused(password_grant(shop, default), "unauthorized_client")
    assert shop.counts()["sa_sessions"] == 0


def test_password_login_off(make_site):
    site = make_site(mount="SocialAuthPasswordLogin Off")
    site.make_user(ADA, "ada")
    oauth_refused(password_grant(site, site.application()), "unsupported_grant_type")
    check.refusal(site.browser().post("token/", {"email": ADA, "password": STRONG}), 404, "not_found",
                  {"detail": "Not found."})


def test_T121_T177_one_counter_for_both_forms_of_password_login(make_site):
    site = make_site(throttle=None, private=True, mount="""
SocialAuthPasswordThrottleRate 4/minute
SocialAuthAccountThrottleRate off""")
    site.make_user(ADA, "ada")
    app = site.application()
    browser = site.browser()
    assert browser.post("token/", {"email": ADA, "password": "wrong"}).status == 401
    for _ in range(3):
        oauth_refused(password_grant(site, app, browser, password="wrong"), "invalid_grant")
    for answer in (browser.post("token/", {"email": ADA, "password": STRONG}),
                   password_grant(site, app, browser)):
        assert answer.status == 429 and answer.word == "throttled", answer
        assert int(answer.header("Retry-After")) > 0
    # What is no password login goes on.
    oauth_refused(browser.post("token", {"grant_type": "refresh_token", "refresh_token": "x", **app}),
                  "invalid_grant")


def test_T174_guesses_by_the_grant_count_for_the_account(make_site):
    site = make_site(throttle=None, private=True, mount="""
SocialAuthPasswordThrottleRate off
SocialAuthAccountThrottleRate 4/minute""")
    site.make_user(ADA, "ada")
    app = site.application()
    got = [password_grant(site, app, password="wrong").status for _ in range(5)]
    assert got == [400] * 3 + [429] * 2
    assert site.password_login(ADA, "wrong").status == 429


# ---- client authentication

def test_T120_client_authentication(shop):
    app = shop.app
    browser = shop.browser()
    body = {"grant_type": "password", "username": ADA, "password": STRONG}
    wrong = [
        ({**body, "client_id": app["client_id"], "client_secret": "wrong"}, {}),
        ({**body, "client_id": app["client_id"]}, {}),                  # T119
        ({**body, "client_id": app["client_id"], "client_secret": ""}, {}),
        ({**body, "client_id": "nobody", "client_secret": "x"}, {}),
        ({**body, "client_secret": app["client_secret"]}, {}),
        (body, {}),
        (body, basic(app["client_id"], "wrong")),
        (body, basic("nobody", "x")),
        (body, {"Authorization": "Basic %%%"}),
        (body, {"Authorization": "Basic " + base64.b64encode(b"no colon").decode()}),
        (body, {"Authorization": "Basic " + base64.b64encode(b"a\0b:c").decode()}),
        (body, {"Authorization": "Basic " + base64.b64encode(b"a%00b:c").decode()}),
        (body, {"Authorization": "Basic " + base64.b64encode(b"\xff:c").decode()}),
        (body, {"Authorization": "Basic " + base64.b64encode(b"%zz:c").decode()}),
        ({**body, "client_id": "x" * 5000, "client_secret": "y" * 5000}, {}),
    ]
    for given, headers in wrong:
        answer = browser.post("token", given, headers=headers)
        oauth_refused(answer, "invalid_client", 401)
    for given, headers in (({**body, **app}, basic(app["client_id"], app["client_secret"])),
                           ({**body, "client_id": "other"}, basic(app["client_id"], app["client_secret"])),
                           ({**body, "client_id": 7, "client_secret": "x"}, {}),
                           ({**body, "client_id": None, "client_secret": "x"}, {})):
        oauth_refused(browser.post("token", given, headers=headers), "invalid_request")
    granted(browser.post("token", {**body, "client_id": app["client_id"]},
                         headers=basic(app["client_id"], app["client_secret"])))
    assert shop.counts()["sa_sessions"] == 1


def test_T120_basic_is_form_encoded(shop):
    """RFC 6749 section 2.3.1, with characters that need it."""
    secret = "a secret: of 100% + more & = more"
    shop.db.ctl("applications", "create", "--name", "x", "--client-id", "enc", "--secret-stdin",
                "--grants", "password", stdin=secret + "\n")
    body = {"grant_type": "password", "username": ADA, "password": STRONG}
    granted(shop.browser().post("token", body, headers=basic("enc", secret)))


def test_public_client_sends_no_secret(shop):
    app = shop.application(public=True)
    granted(password_grant(shop, app))
    granted(password_grant(shop, {**app, "client_secret": ""}))
    oauth_refused(password_grant(shop, {**app, "client_secret": "x"}), "invalid_client", 401)


def test_an_imported_secret_is_hashed_fast_after_its_first_use(shop):
    """oauth toolkit stores secrets as Django stores passwords."""
    hashed = ("pbkdf2_sha256$1000$salt$"
              + base64.b64encode(__import__("hashlib").pbkdf2_hmac("sha256", b"old secret", b"salt", 1000)).decode())
    app = shop.application()
    shop.db.query("UPDATE sa_applications SET client_secret = ? WHERE client_id = ?", hashed, app["client_id"])
    stored = "SELECT client_secret FROM sa_applications WHERE client_id = ?"
    oauth_refused(password_grant(shop, {**app, "client_secret": "wrong"}), "invalid_client", 401)
    assert shop.db.value(stored, app["client_id"]) == hashed
    granted(password_grant(shop, {**app, "client_secret": "old secret"}))
    assert shop.db.value(stored, app["client_id"]).startswith("sha256$")
    granted(password_grant(shop, {**app, "client_secret": "old secret"}))


def test_rotated_secret(shop):
    granted(password_grant(shop))
    shop.db.ctl("applications", "rotate-secret", shop.app["client_id"])
    oauth_refused(password_grant(shop), "invalid_client", 401)


# ---- the endpoint

def test_T122_grants(shop):
    browser = shop.browser()
    for body, word in (({**shop.app}, "invalid_request"),
                       ({"grant_type": "", **shop.app}, "invalid_request"),
                       ({"grant_type": ["password"], **shop.app}, "invalid_request"),
                       ({"grant_type": "implicit", **shop.app}, "unsupported_grant_type"),
                       ({"grant_type": "Password", **shop.app}, "unsupported_grant_type"),
                       ({"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"},
                        "unsupported_grant_type")):
        oauth_refused(browser.post("token", body), word)
    check.field_refused(browser.post("token", {}), "required", username=check.REQUIRED, password=check.REQUIRED)


def test_T122_repeated_parameters_are_refused(shop):
    body = "grant_type=password&grant_type=refresh_token&username=a&password=b"
    oauth_refused(shop.browser().request("POST", "token", body=body,
                                         content_type="application/x-www-form-urlencoded"),
                  "invalid_request")


def test_T124_what_cannot_be_read_is_refused_in_the_clients_words(shop):
    """token/ is the REST dialect's, too."""
    basic = {"Authorization": "Basic eDp5"}
    for body, kind, headers in (("a=%00", FORM, {}), ("a=%ff", FORM, {}), ("{", JSON, basic),
                                ("x", "text/plain", basic), ("a=1", None, basic)):
        answer = shop.browser().request("POST", "token", body=body, content_type=kind, headers=headers)
        oauth_refused(answer, "invalid_request")
    for body, kind, status, word in (("{", JSON, 400, "parse_error"),
                                     ("x", "text/plain", 415, "unsupported_media_type")):
        answer = shop.browser().request("POST", "token", body=body, content_type=kind)
        assert answer.status == status and answer.word == word and "detail" in answer.json(), answer


def test_T124_only_post_and_nothing_from_the_query(shop):
    query = urllib.parse.urlencode({"grant_type": "password", "username": ADA, "password": STRONG, **shop.app})
    answer = shop.browser().get("token?" + query)
    assert answer.status == 405 and answer.header("Allow") == "POST, OPTIONS"
    check.field_refused(shop.browser().post("token?" + query, {}), "required", username=check.REQUIRED,
                        password=check.REQUIRED)


# ---- scope

def test_T123_scope(shop):
    for scope in ("admin", "read admin", "read\nwrite", "read\twrite", '"read"', "re\u00e4d", "READ",
                  "read " * 1000, " ".join("s%d" % n for n in range(10000))):
        oauth_refused(password_grant(shop, scope=scope), "invalid_scope")
    assert granted(password_grant(shop, scope="write"), "write")
    assert granted(password_grant(shop, scope="write  read write"), "write read")
    oauth_refused(password_grant(shop, scope=7), "invalid_request")


def test_T123_refresh_can_only_narrow(shop):
    first = granted(password_grant(shop, scope="read"), "read")
    oauth_refused(refresh_grant(shop, first["refresh_token"], scope="read write"), "invalid_scope")
    wide = granted(password_grant(shop))
    narrow = granted(refresh_grant(shop, wide["refresh_token"], scope="read"), "read")
    assert jose.claims_of(narrow["access_token"])["scope"] == "read"
    again = granted(refresh_grant(shop, narrow["refresh_token"]))       # RFC 6749 section 6
    assert jose.claims_of(again["access_token"])["scope"] == "read write"


def test_a_scope_taken_from_the_application_is_gone_at_the_next_refresh(shop):
    first = granted(password_grant(shop))
    shop.db.query("UPDATE sa_applications SET scopes = 'read'")
    granted(refresh_grant(shop, first["refresh_token"]), "read")


# ---- refresh

def test_refresh_grant_rotates(shop):
    first = granted(password_grant(shop))
    second = granted(refresh_grant(shop, first["refresh_token"]))
    assert second["refresh_token"] != first["refresh_token"]
    third = granted(refresh_grant(shop, second["refresh_token"]))
    assert jose.claims_of(third["refresh_token"])["sid"] == jose.claims_of(first["refresh_token"])["sid"]
    # T116: long dead, and with it the family
    oauth_refused(refresh_grant(shop, first["refresh_token"]), "invalid_grant")
    oauth_refused(refresh_grant(shop, third["refresh_token"]), "invalid_grant")


def test_expires_in_is_the_tokens_own(make_site):
    """Near the end of the session an access token is shorter than configured."""
    site = make_site(mount="SocialAuthAccessTokenLifetime 60\nSocialAuthSessionLifetime 50")
    site.make_user(ADA, "ada")
    site.app = site.application()
    for body in (password_grant(site).json(), password_grant(site).json()):
        claims = jose.claims_of(body["access_token"])
        assert body["expires_in"] == claims["exp"] - claims["iat"] <= 50
        again = refresh_grant(site, body["refresh_token"]).json()
        claims = jose.claims_of(again["access_token"])
        assert again["expires_in"] == claims["exp"] - claims["iat"] <= 50


def test_T115_parallel_refreshes_get_one_successor(shop):
    first = granted(password_grant(shop))
    answers = at_once([lambda: refresh_grant(shop, first["refresh_token"]) for _ in range(8)])
    successors = {jose.claims_of(granted(a)["refresh_token"])["jti"] for a in answers}
    assert len(successors) == 1


def test_T118_refresh_token_of_another_client(shop):
    other = shop.application()
    pair = shop.tokens(shop.password_login(ADA))
    first = granted(password_grant(shop))
    oauth_refused(refresh_grant(shop, first["refresh_token"], other), "invalid_grant")
    oauth_refused(refresh_grant(shop, pair["refresh"]), "invalid_grant")
    oauth_refused(refresh_grant(shop, first["refresh_token"], {"client_id": shop.app["client_id"]}),
                  "invalid_client", 401)
    check.refresh_refused(shop.browser().post("token/refresh/", {"refresh": first["refresh_token"]}))
    # Nothing of that has hurt either family.
    granted(refresh_grant(shop, first["refresh_token"]))
    assert shop.browser().post("token/refresh/", {"refresh": pair["refresh"]}).status == 200


def test_refresh_refusals(shop):
    first = granted(password_grant(shop))
    for token in ("x", "a.b.c", first["access_token"], first["refresh_token"] + "x"):
        oauth_refused(refresh_grant(shop, token), "invalid_grant")
    oauth_refused(shop.browser().post("token", {"grant_type": "refresh_token", **shop.app}), "invalid_request")
    no_refresh = shop.application(grants="password")
    alone = granted(password_grant(shop, no_refresh))
    oauth_refused(refresh_grant(shop, alone["refresh_token"], no_refresh), "unauthorized_client")
    shop.db.ctl("users", "deactivate", ADA)
    oauth_refused(refresh_grant(shop, first["refresh_token"]), "invalid_grant")


def test_without_rotation_the_same_refresh_token_is_answered(make_site):
    """oauth toolkit answers it, and front ends store what is answered."""
    site = make_site(mount="SocialAuthRotateRefreshTokens Off")
    site.make_user(ADA, "ada")
    app = site.application()
    first = granted(password_grant(site, app))
    for _ in range(3):
        got = granted(refresh_grant(site, first["refresh_token"], app))
        assert got["refresh_token"] == first["refresh_token"]


# ---- client credentials

def test_client_credentials(shop):
    app = shop.application(grants="client_credentials", scopes="jobs read")
    got = granted(shop.browser().post("token", {"grant_type": "client_credentials", **app}), "jobs read",
                  refresh=False)
    claims = jose.claims_of(got["access_token"])
    assert claims["sub"] == claims["client_id"] == app["client_id"] and claims["scope"] == "jobs read"
    assert "user_id" not in claims and "sid" not in claims
    assert shop.counts()["sa_sessions"] == 0
    # It is nobody's: no user's endpoint takes it.
    check.access_refused(shop.browser().get("linked-accounts/", bearer=got["access_token"]))
    oauth_refused(shop.browser().post("token", {"grant_type": "client_credentials", **app, "scope": "write"}),
                  "invalid_scope")
    oauth_refused(shop.browser().post("token", {"grant_type": "client_credentials", **shop.app}),
                  "unauthorized_client")
    public = shop.application(grants="client_credentials", public=True)
    oauth_refused(shop.browser().post("token", {"grant_type": "client_credentials", **public}),
                  "unauthorized_client")


# ---- revocation

def ended(answer, status):
    assert answer.status == status and answer.body == b"", answer
    assert answer.header("Cache-Control") == "no-store"


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_T126_revoke_as_client(shop, kind):
    first, other = granted(password_grant(shop)), granted(password_grant(shop))
    browser = shop.browser()
    ended(browser.post("revoke-token", {"token": first[kind], **shop.app}), 200)
    oauth_refused(refresh_grant(shop, first["refresh_token"]), "invalid_grant")
    check.access_refused(browser.get("linked-accounts/", bearer=first["access_token"]))
    ended(browser.post("revoke-token/", {"token": first[kind], **shop.app}), 200)       # again
    granted(refresh_grant(shop, other["refresh_token"]))


def test_T126_what_is_not_the_clients_is_left_alone(shop):
    foreign = shop.application()
    first, pair = granted(password_grant(shop)), shop.tokens(shop.password_login(ADA))
    browser = shop.browser()
    for token in (first["refresh_token"], first["access_token"], pair["refresh"], "garbage", "a.b.c"):
        ended(browser.post("revoke-token", {"token": token, "token_type_hint": "x", **foreign}), 200)
    oauth_refused(browser.post("revoke-token", {**shop.app}), "invalid_request")
    oauth_refused(browser.post("revoke-token", {"token": first["refresh_token"]}), "invalid_client", 401)
    oauth_refused(browser.post("revoke-token", {"token": first["refresh_token"], **shop.app,
                                                "client_secret": "wrong"}), "invalid_client", 401)
    oauth_refused(browser.request("POST", "revoke-token", body="{", content_type="application/json"),
                  "invalid_request")
    granted(refresh_grant(shop, first["refresh_token"]))
    assert browser.post("token/refresh/", {"refresh": pair["refresh"]}).status == 200


def test_revoke_with_a_bearer(shop):
    first, second = granted(password_grant(shop)), granted(password_grant(shop))
    third = granted(password_grant(shop))
    browser = shop.browser()
    ended(browser.post("revoke-token/", {"token": second["access_token"], **shop.app},
                       bearer=first["access_token"]), 204)
    oauth_refused(refresh_grant(shop, second["refresh_token"]), "invalid_grant")
    ended(browser.post("revoke-token/", {}, bearer=first["access_token"]), 204)         # its own
    oauth_refused(refresh_grant(shop, first["refresh_token"]), "invalid_grant")
    oauth_refused(browser.post("revoke-token/", {**shop.app, "client_secret": "wrong"},
                               bearer=third["access_token"]), "invalid_client", 401)
    other = shop.application()
    ended(browser.post("revoke-token/", other, bearer=third["access_token"]), 204)      # not that client's
    granted(refresh_grant(shop, third["refresh_token"]))
    check.access_refused(browser.post("revoke-token/", {}, bearer="x.y.z"))


def test_T126_revoke_of_another_users_token(shop):
    shop.make_user("bob@example.org", "bob")
    mine, his = granted(password_grant(shop)), granted(password_grant(shop, username="bob"))
    ended(shop.browser().post("revoke-token", {"token": his["refresh_token"]}, bearer=mine["access_token"]), 204)
    granted(refresh_grant(shop, his["refresh_token"]))


def test_invalidate_sessions(shop):
    other = shop.application()
    shop.make_user("bob@example.org", "bob")
    mine = [granted(password_grant(shop)) for _ in range(2)]
    elsewhere, his = granted(password_grant(shop, other)), granted(password_grant(shop, username="bob"))
    browser = shop.browser()
    check.not_signed_in(browser.post("invalidate-sessions/", {"client_id": shop.app["client_id"]}))
    check.field_refused(browser.post("invalidate-sessions/", {}, bearer=mine[0]["access_token"]), "required",
                        client_id=check.REQUIRED)
    check.field_refused(browser.post("invalidate-sessions/", {"client_id": "nobody"},
                                     bearer=mine[0]["access_token"]), "invalid", client_id="Invalid client_id.")
    ended(browser.post("invalidate-sessions/", {"client_id": shop.app["client_id"]},
                       bearer=mine[0]["access_token"]), 204)
    for tokens in mine:
        oauth_refused(refresh_grant(shop, tokens["refresh_token"]), "invalid_grant")
        check.access_refused(browser.get("linked-accounts/", bearer=tokens["access_token"]))
    check.access_refused(browser.post("invalidate-sessions/", {"client_id": shop.app["client_id"]},
                                      bearer=mine[0]["access_token"]))
    granted(refresh_grant(shop, his["refresh_token"]))
    granted(refresh_grant(shop, elsewhere["refresh_token"], other))


def test_invalidate_refresh_tokens_leaves_access_tokens(shop):
    first = granted(password_grant(shop))
    browser = shop.browser()
    ended(browser.post("invalidate-refresh-tokens", {"client_id": shop.app["client_id"]},
                       bearer=first["access_token"]), 204)
    oauth_refused(refresh_grant(shop, first["refresh_token"]), "invalid_grant")
    assert browser.get("linked-accounts/", bearer=first["access_token"]).status == 200


def test_deleted_application(shop):
    first = granted(password_grant(shop))
    shop.db.ctl("applications", "delete", shop.app["client_id"])
    oauth_refused(refresh_grant(shop, first["refresh_token"]), "invalid_client", 401)
    check.access_refused(shop.browser().get("linked-accounts/", bearer=first["access_token"]))


# ---- introspection

def introspect(site, token, app=None):
    answer = site.browser().request("POST", "introspect", form={"token": token, **(app or site.app)})
    assert answer.status == 200, answer
    check.json_headers(answer)
    return answer.json()


def test_T128_introspection(shop):
    first = granted(password_grant(shop))
    claims = jose.claims_of(first["access_token"])
    assert introspect(shop, first["access_token"]) == {
        "active": True, "token_type": "Bearer", "username": "ada", "scope": "read write",
        "client_id": shop.app["client_id"], **{k: claims[k] for k in ("exp", "iat", "sub", "aud", "iss", "jti")}}
    refresh = introspect(shop, first["refresh_token"])
    assert refresh["active"] and "token_type" not in refresh
    second = granted(refresh_grant(shop, first["refresh_token"]))
    inactive = {"active": False}
    assert introspect(shop, first["refresh_token"]) == inactive
    pair = shop.tokens(shop.password_login(ADA))
    for token in ("x", "a.b.c", pair["access"], pair["refresh"]):
        assert introspect(shop, token) == inactive
    assert introspect(shop, second["access_token"], shop.application()) == inactive
    everybody = shop.application(scopes="introspection")
    assert introspect(shop, second["access_token"], everybody)["username"] == "ada"
    assert introspect(shop, pair["access"], everybody)["active"] is True
    ended(shop.browser().post("revoke-token", {"token": second["access_token"], **shop.app}), 200)
    assert introspect(shop, second["access_token"]) == inactive
    assert introspect(shop, second["refresh_token"]) == inactive


def test_T128_introspection_of_a_clients_own_token(shop):
    app = shop.application(grants="client_credentials")
    got = granted(shop.browser().post("token", {"grant_type": "client_credentials", **app}), refresh=False)
    answer = introspect(shop, got["access_token"], app)
    assert answer["active"] and answer["sub"] == app["client_id"] and "username" not in answer


def test_T126_revocation_of_a_clients_own_token(shop):
    app = shop.application(grants="client_credentials", scopes="introspection")

    def own():
        return granted(shop.browser().post("token", {"grant_type": "client_credentials", **app}),
                       "introspection", refresh=False)["access_token"]
    first, second = own(), own()
    for token, client in ((first, shop.app), (first, app), (first, app)):
        ended(shop.browser().post("revoke-token", {"token": token, **client}), 200)
        assert introspect(shop, first, app)["active"] is (client is shop.app)
    assert introspect(shop, second, app)["active"] is True
    shop.db.query("DELETE FROM sa_spent")           # as the purge does when the token is out of time
    assert introspect(shop, first, app)["active"] is True


def test_a_clients_own_token_ends_with_the_client(shop):
    app = shop.application(grants="client_credentials")
    reader = shop.application(scopes="introspection")
    got = granted(shop.browser().post("token", {"grant_type": "client_credentials", **app}), refresh=False)
    assert introspect(shop, got["access_token"], reader)["active"] is True
    shop.db.ctl("applications", "delete", app["client_id"])
    assert introspect(shop, got["access_token"], reader) == {"active": False}


def test_T128_introspection_needs_a_confidential_client(shop):
    first = granted(password_grant(shop))
    browser = shop.browser()
    oauth_refused(browser.post("introspect", {"token": first["access_token"]}), "invalid_client", 401)
    oauth_refused(browser.post("introspect", {"token": first["access_token"], **shop.application(public=True)}),
                  "invalid_client", 401)
    oauth_refused(browser.post("introspect", {**shop.app}), "invalid_request")
    assert introspect(shop, first["access_token"])["active"]
    shop.db.ctl("users", "deactivate", ADA)
    assert introspect(shop, first["access_token"]) == {"active": False}


# ---- metadata

def test_T134_metadata(site):
    answer = site.browser().get(".well-known/oauth-authorization-server")
    check.json_headers(answer)
    body = answer.json()
    assert body["issuer"] == site.issuer
    for name, path in (("token_endpoint", "token"), ("revocation_endpoint", "revoke-token"),
                       ("introspection_endpoint", "introspect"), ("jwks_uri", ".well-known/jwks.json")):
        assert body[name] == "%s/%s" % (site.issuer, path)
    assert body["grant_types_supported"] == ["password", "refresh_token", "client_credentials",
                                             "authorization_code", "convert_token"]
    assert body["authorization_endpoint"] == site.issuer + "/authorize"
    assert body["response_types_supported"] == ["code"] and body["response_modes_supported"] == ["query"]
    assert body["code_challenge_methods_supported"] == ["S256"]
    assert body["authorization_response_iss_parameter_supported"] is True
    confidential = ["client_secret_basic", "client_secret_post"]
    assert body["token_endpoint_auth_methods_supported"] == confidential + ["none"]
    assert body["revocation_endpoint_auth_methods_supported"] == confidential + ["none"]
    assert body["introspection_endpoint_auth_methods_supported"] == confidential


def test_metadata_without_password_login(make_site):
    site = make_site(mount="SocialAuthPasswordLogin Off")
    body = site.browser().get(".well-known/oauth-authorization-server").json()
    assert "password" not in body["grant_types_supported"] and "refresh_token" in body["grant_types_supported"]


def test_a_token_of_an_application_is_verified_like_others(shop):
    first = granted(password_grant(shop))
    browser = shop.browser()
    assert browser.post("token/verify/", {"token": first["access_token"]}).status == 200
    check.refresh_refused(browser.post("token/blacklist/", {"refresh": first["refresh_token"]}))
