"""What SimpleJWT's own test suite asks of its server, asked of this one over HTTP: the suite of
version 5.5.1, with what its master added until commit 998eb63. test_init.py, test_migrations.py,
test_models.py and test_utils.py ask nothing of a server: they are about Python objects.

A comment stands where the answer differs on purpose."""
import time

import pytest

from support import check, jose
from support.jose import Key, make
from support.peers import Suite
from support.site import SECRET, STRONG

pytestmark = pytest.mark.db

SLIDING = "there are no sliding tokens: one that refreshes itself for weeks cannot be rotated"
OBJECT = "the Python object of a token, not what is said over HTTP"
BYTES = "the bytes of a signed token: test_tokens.py holds ours against PyJWT, PyJOSE and SimpleJWT itself"
USER_ID = "no setting makes another column the user id: SocialAuthUserColumn names the key (test_django.py)"
SCHEMA = "a migration of its own tables"
UNVERIFIED = "nothing here reads a token without verifying it"
APP = "revocation is no part that can be left out"

VIEWS, SERIALIZERS, TOKENS = "test_views.py::", "test_serializers.py::", "test_tokens.py::TestToken::"
BLACKLIST, BACKEND = "test_token_blacklist.py::", "test_backends.py::TestTokenBackend::"
AUTH = "test_authentication.py::TestJWTAuthentication::"
STATELESS = "test_authentication.py::TestJWTStatelessUserAuthentication::"

suite = Suite({"test_views.py": 31, "test_integration.py": 5, "test_authentication.py": 14,
               "test_serializers.py": 35, "test_token_blacklist.py": 19, "test_tokens.py": 36,
               "test_backends.py": 21}, {
    VIEWS + "TestTokenObtainPairView::test_on_login_failed_is_called":
        "a hook in Python; its request is the one of test_credentials_wrong",
    VIEWS + "TestTokenObtainSlidingView::test_fields_missing": SLIDING,
    VIEWS + "TestTokenObtainSlidingView::test_credentials_wrong": SLIDING,
    VIEWS + "TestTokenObtainSlidingView::test_user_inactive": SLIDING,
    VIEWS + "TestTokenObtainSlidingView::test_success": SLIDING,
    VIEWS + "TestTokenObtainSlidingView::test_update_last_login": SLIDING,
    VIEWS + "TestTokenObtainSlidingView::test_update_last_login_updated": SLIDING,
    VIEWS + "TestTokenRefreshSlidingView::test_fields_missing": SLIDING,
    VIEWS + "TestTokenRefreshSlidingView::test_it_should_return_401_if_token_invalid": SLIDING,
    VIEWS + "TestTokenRefreshSlidingView::test_it_should_return_401_if_token_has_no_refresh_exp_claim": SLIDING,
    VIEWS + "TestTokenRefreshSlidingView::test_it_should_return_401_if_token_has_refresh_period_expired": SLIDING,
    VIEWS + "TestTokenRefreshSlidingView::test_it_should_update_token_exp_claim_if_everything_ok": SLIDING,
    VIEWS + "TestCustomTokenView::test_custom_view_class": "a view class of the site's own",
    VIEWS + "TestTokenViewBase::test_serializer_class_not_set_in_settings_and_class_attribute_or_wrong_path":
        "the import of a serializer that settings name",
    "test_integration.py::TestTestView::test_user_can_get_sliding_token_and_use_it": SLIDING,
    AUTH + "test_get_header_x_access_token": "AUTH_HEADER_NAME has no directive: the header is Authorization",
    AUTH + "test_get_validated_token_accept_known_token": SLIDING,
    AUTH + "test_get_inactive_user": "CHECK_USER_IS_ACTIVE has no directive: an inactive user is signed out",
    STATELESS + "test_custom_tokenuser": "a user class of the site's own",
    SERIALIZERS + "TestTokenObtainSerializer::test_it_should_pass_validate_if_request_not_in_context":
        "a serializer without a request",
    SERIALIZERS + "TestTokenObtainSerializer::test_it_should_validate_if_user_inactive_but_rule_allows":
        "USER_AUTHENTICATION_RULE has no directive: an inactive user does not sign in",
    SERIALIZERS + "TestTokenObtainSlidingSerializer::test_it_should_produce_a_json_web_token_when_valid": SLIDING,
    SERIALIZERS + "TestTokenRefreshSlidingSerializer::test_it_should_not_validate_if_token_invalid": SLIDING,
    SERIALIZERS + "TestTokenRefreshSlidingSerializer::"
                  "test_it_should_raise_token_error_if_token_has_no_refresh_exp_claim": SLIDING,
    SERIALIZERS + "TestTokenRefreshSlidingSerializer::"
                  "test_it_should_raise_token_error_if_token_has_refresh_period_expired": SLIDING,
    SERIALIZERS + "TestTokenRefreshSlidingSerializer::"
                  "test_it_should_raise_token_error_if_token_has_wrong_type": SLIDING,
    SERIALIZERS + "TestTokenRefreshSlidingSerializer::"
                  "test_it_should_update_token_exp_claim_if_everything_ok": SLIDING,
    SERIALIZERS + "TestTokenRefreshSlidingSerializer::test_it_should_raise_error_for_deleted_users": SLIDING,
    SERIALIZERS + "TestTokenRefreshSlidingSerializer::test_it_should_raise_error_for_inactive_users": SLIDING,
    SERIALIZERS + "TestTokenRefreshSlidingSerializer::"
                  "test_sliding_token_should_fail_after_password_change": SLIDING,
    SERIALIZERS + "TestTokenRefreshSlidingSerializer::"
                  "test_sliding_token_should_blacklist_after_password_change": SLIDING,
    SERIALIZERS + "TestTokenRefreshSerializer::test_blacklist_app_not_installed_should_pass": APP,
    SERIALIZERS + "TestTokenBlacklistSerializer::test_blacklist_app_not_installed_should_pass": APP,
    BLACKLIST + "TestTokenBlacklist::test_token_blacklist_old_django": "a Django older than 3.2",
    BLACKLIST + "TestTokenBlacklist::test_sliding_tokens_are_added_to_outstanding_list": SLIDING,
    BLACKLIST + "TestTokenBlacklist::test_outstanding_token_and_blacklisted_token_expected_str": OBJECT,
    BLACKLIST + "TestTokenBlacklist::"
                "test_outstanding_token_and_blacklisted_token_created_at_with_modified_user_id_field": USER_ID,
    BLACKLIST + "TestTokenBlacklist::"
                "test_outstanding_token_and_blacklisted_token_user_with_modifed_user_id_field": USER_ID,
    BLACKLIST + "TestTokenBlacklist::"
                "test_outstanding_token_with_deleted_user_and_modifed_user_id_field": USER_ID,
    BLACKLIST + "TestPopulateJtiHexMigration::test_jti_field_should_contain_uuid_hex_strings": SCHEMA,
    BLACKLIST + "TestBigAutoFieldIDMigration::test_outstandingtoken_id_field_is_biagauto_field": SCHEMA,
    BLACKLIST + "TestBigAutoFieldIDMigration::test_blacklistedtoken_id_field_is_biagauto_field": SCHEMA,
    TOKENS + "test_type_checking": OBJECT,
    TOKENS + "test_init_no_token_type_or_lifetime": OBJECT,
    TOKENS + "test_init_no_token_given": OBJECT,
    TOKENS + "test_init_bad_sig_token_given_no_verify": UNVERIFIED,
    TOKENS + "test_str": BYTES,
    TOKENS + "test_repr": OBJECT,
    TOKENS + "test_getitem": OBJECT,
    TOKENS + "test_setitem": OBJECT,
    TOKENS + "test_delitem": OBJECT,
    TOKENS + "test_contains": OBJECT,
    TOKENS + "test_get": OBJECT,
    TOKENS + "test_optional_jti": "JTI_CLAIM has no directive: every token has its jti",
    TOKENS + "test_optional_type_token": "TOKEN_TYPE_CLAIM has no directive: every token says its type",
    TOKENS + "test_check_token_if_wrong_type_leeway":
        "a SocialAuthLeeway that is no number stops configtest (test_config.py)",
    TOKENS + "test_for_user_with_username": USER_ID,
    TOKENS + "test_revoke_token_claim_included_in_authorization_token":
        "nothing of a password is in a token: a change of it ends the sessions by their sid",
    TOKENS + "test_get_token_backend": OBJECT,
    "test_tokens.py::TestSlidingToken::test_init": SLIDING,
    "test_tokens.py::TestUntypedToken::test_it_should_expire_immediately_if_made_from_scratch": OBJECT,
    BACKEND + "test_init": "an unknown SocialAuthJWTAlgorithm stops configtest (test_config.py)",
    BACKEND + "test_init_fails_for_rs_algorithms_when_crypto_not_installed": "a Python package that is missing",
    BACKEND + "test_jwk_client_not_available": "a Python package that is missing",
    BACKEND + "test_token_encode_should_return_str_for_old_PyJWT": "a PyJWT older than 2",
    BACKEND + "test_encode_hmac": BYTES,
    BACKEND + "test_encode_rsa": BYTES,
    BACKEND + "test_encode_aud_iss": BYTES,
    BACKEND + "test_decode_with_no_expiry_no_verify": UNVERIFIED,
    BACKEND + "test_decode_with_invalid_sig_no_verify": UNVERIFIED,
    BACKEND + "test_decode_rsa_aud_iss_jwk_success":
        "JWK_URL has no directive: the module publishes keys, and reads only its own (SocialAuthJWTKey)",
    BACKEND + "test_decode_jwk_missing_key_raises_tokenbackenderror": "as before",
    BACKEND + "test_decode_when_algorithm_not_available": "a Python package that is missing",
    BACKEND + "test_custom_JSONEncoder": OBJECT,
})
case = suite.case

EMAIL = "ada@example.org"
KEY = Key("HS256", "", secret=SECRET.encode())
LATER, EARLIER = 600, -30


def test_every_case_is_here():
    suite.check()


@pytest.fixture
def ada(site):
    site.ada = site.make_user(EMAIL, "ada")
    return site


def obtain(site, **more):
    body = {"username": "ada", "password": STRONG, **more}
    return site.browser().post("token/", {k: v for k, v in body.items() if v is not None})


@pytest.fixture
def pair(ada):
    return check.signed_in(obtain(ada))


def refresh(site, token):
    return site.browser().post("token/refresh/", {"refresh": token})


def verify(site, token):
    return site.browser().post("token/verify/", {"token": token})


def blacklist(site, token):
    return site.browser().post("token/blacklist/", {"refresh": token})


def use(site, token, scheme="Bearer"):
    return site.browser().get("currentUser/", headers={"Authorization": "%s %s" % (scheme, token)})


def altered(token, **claims):
    """The token with other claims, signed as the server signs; None takes a claim away."""
    merged = {**jose.claims_of(token), **claims}
    return make({k: v for k, v in merged.items() if v is not None}, KEY, jose.header_of(token))


def at(seconds):
    return int(time.time()) + seconds


def delete(site):
    site.db.ctl("users", "delete", EMAIL, "--purge", "--yes")
    assert site.counts()["sa_users"] == 0


def empty_object(answer):
    assert answer.status == 200 and answer.json() == {}, answer
    check.json_headers(answer)


def blacklisted(answer):
    check.refused(answer, "token_blacklisted")


# ---- the pair

@case(VIEWS + "TestTokenObtainPairView::test_fields_missing",
      SERIALIZERS + "TestTokenObtainSerializer::test_it_should_not_validate_if_any_fields_missing")
def test_pair_fields_missing(ada):
    check.field_refused(obtain(ada, username=None, password=None), "required", username=check.REQUIRED,
                        password=check.REQUIRED)
    check.field_refused(obtain(ada, password=None), "required", password=check.REQUIRED)
    check.field_refused(obtain(ada, username=None), "required", username=check.REQUIRED)


@case(VIEWS + "TestTokenObtainPairView::test_credentials_wrong",
      SERIALIZERS + "TestTokenObtainSerializer::test_it_should_not_validate_if_user_not_found")
def test_pair_of_wrong_credentials(ada):
    check.refused(obtain(ada, password="test_user"), "bad_credentials")
    check.refused(obtain(ada, username="missing"), "bad_credentials")


@case(VIEWS + "TestTokenObtainPairView::test_user_inactive",
      SERIALIZERS + "TestTokenObtainSerializer::test_it_should_raise_if_user_not_active")
def test_pair_of_an_inactive_user(ada):
    ada.db.query("UPDATE sa_users SET is_active = ?", False)
    check.refused(obtain(ada), "bad_credentials")


@case(VIEWS + "TestTokenObtainPairView::test_success",
      SERIALIZERS + "TestTokenObtainPairSerializer::test_it_should_produce_a_json_web_token_when_valid",
      "test_tokens.py::TestAccessToken::test_init", "test_tokens.py::TestRefreshToken::test_init")
def test_pair(pair):
    assert {name: jose.claims_of(token)["token_type"] for name, token in pair.items()} == {
        "access": "access", "refresh": "refresh"}


@case(VIEWS + "TestTokenObtainPairView::test_update_last_login",
      VIEWS + "TestTokenObtainPairView::test_update_last_login_updated")
def test_last_login_is_always_written(ada):
    """There UPDATE_LAST_LOGIN decides, and is off: here new_user_registered depends on it."""
    last_login = "SELECT last_login FROM sa_users"
    assert ada.db.value(last_login) is None
    check.signed_in(obtain(ada))
    assert ada.db.value(last_login) is not None


# ---- refresh

@case(VIEWS + "TestTokenRefreshView::test_fields_missing")
def test_refresh_fields_missing(site):
    check.field_refused(site.browser().post("token/refresh/", {}), "required", refresh=check.REQUIRED)


@case(VIEWS + "TestTokenRefreshView::test_it_should_return_401_if_token_invalid",
      SERIALIZERS + "TestTokenRefreshSerializer::test_it_should_raise_token_error_if_token_invalid")
def test_refresh_of_a_token_that_is_over(ada, pair):
    check.refresh_refused(refresh(ada, altered(pair["refresh"], exp=None)))
    check.refresh_refused(refresh(ada, altered(pair["refresh"], exp=at(EARLIER))))


@case(SERIALIZERS + "TestTokenRefreshSerializer::test_it_should_raise_token_error_if_token_has_wrong_type")
def test_refresh_of_a_token_of_another_type(ada, pair):
    check.refresh_refused(refresh(ada, altered(pair["refresh"], token_type="wrong_type")))
    check.refresh_refused(refresh(ada, pair["access"]))


@case(VIEWS + "TestTokenRefreshView::test_it_should_return_access_token_if_everything_ok",
      SERIALIZERS + "TestTokenRefreshSerializer::test_it_should_return_access_token_if_everything_ok",
      SERIALIZERS + "TestTokenRefreshSerializer::test_it_should_return_access_token_for_active_users",
      "test_tokens.py::TestRefreshToken::test_access_token")
def test_refresh(ada, pair):
    """There every claim of the refresh token goes on to the access token; here a token says only what
    this server signed: what is the session's goes on."""
    old, claims = jose.claims_of(pair["refresh"]), jose.claims_of(
        check.signed_in(refresh(ada, altered(pair["refresh"], test_claim="x")))["access"])
    assert claims["token_type"] == "access" and claims["exp"] == claims["iat"] + 3600
    assert abs(claims["iat"] - time.time()) < 60
    assert {k: claims[k] for k in ("sid", "sub", "user_id", "auth_time", "amr")} == {
        k: old[k] for k in ("sid", "sub", "user_id", "auth_time", "amr")}
    assert claims["jti"] != old["jti"] and claims["exp"] != old["exp"] and "test_claim" not in claims


@case(SERIALIZERS + "TestTokenRefreshSerializer::test_it_should_return_refresh_token_if_tokens_should_be_rotated")
def test_refresh_rotates_without_blacklisting(make_site):
    site = make_site(mount="SocialAuthBlacklistAfterRotation Off\nSocialAuthRefreshReuseInterval 0")
    site.make_user(EMAIL, "ada")
    old = check.signed_in(obtain(site))
    new = check.signed_in(refresh(site, old["refresh"]))
    before, after = jose.claims_of(old["refresh"]), jose.claims_of(new["refresh"])
    assert before["jti"] != after["jti"] and after["exp"] == after["iat"] + 86400
    assert jose.claims_of(new["access"])["exp"] == after["iat"] + 3600
    check.signed_in(refresh(site, old["refresh"]))


@case(SERIALIZERS + "TestTokenRefreshSerializer::"
                    "test_it_should_blacklist_refresh_token_if_tokens_should_be_rotated_and_blacklisted")
def test_refresh_rotates_and_blacklists(make_site):
    """There a family lives on when a dead token comes back; here it ends."""
    site = make_site(mount="SocialAuthRefreshReuseInterval 0")
    site.expect_log("reuse|refresh")
    site.make_user(EMAIL, "ada")
    old = check.signed_in(obtain(site))
    new = check.signed_in(refresh(site, old["refresh"]))
    assert site.db.query("SELECT jti FROM sa_sessions") == [(jose.claims_of(new["refresh"])["jti"],)]
    blacklisted(refresh(site, old["refresh"]))
    blacklisted(refresh(site, new["refresh"]))


@case(SERIALIZERS + "TestTokenRefreshSerializer::test_it_should_raise_error_for_deleted_users")
def test_refresh_of_a_deleted_user(ada, pair):
    """5.5.1 fails with 500 here, its master answers as for an inactive user: 401."""
    delete(ada)
    check.refresh_refused(refresh(ada, pair["refresh"]))


@case(SERIALIZERS + "TestTokenRefreshSerializer::test_it_should_raise_error_for_inactive_users")
def test_refresh_of_an_inactive_user(ada, pair):
    ada.db.query("UPDATE sa_users SET is_active = ?", False)
    check.refused(refresh(ada, pair["refresh"]), "bad_credentials")


@case(SERIALIZERS + "TestTokenRefreshSerializer::test_refresh_token_should_fail_after_password_change",
      SERIALIZERS + "TestTokenRefreshSerializer::test_refresh_token_should_blacklist_after_password_change",
      AUTH + "test_get_user_with_check_revoke_token")
def test_tokens_after_a_password_change(ada, pair):
    """There CHECK_REVOKE_TOKEN decides, and is off."""
    assert use(ada, pair["access"]).status == 200
    ada.db.ctl("users", "set-password", EMAIL, "--password-stdin", stdin="another-One-77\n")
    blacklisted(refresh(ada, pair["refresh"]))
    blacklisted(verify(ada, pair["refresh"]))
    check.access_refused(use(ada, pair["access"]))


# ---- verify

@case(VIEWS + "TestTokenVerifyView::test_fields_missing")
def test_verify_fields_missing(site):
    check.field_refused(site.browser().post("token/verify/", {}), "required", token=check.REQUIRED)


@case(VIEWS + "TestTokenVerifyView::test_it_should_return_401_if_token_invalid",
      SERIALIZERS + "TestTokenVerifySerializer::test_it_should_raise_token_error_if_token_invalid")
def test_verify_of_a_token_that_is_over(ada, pair):
    for token in pair.values():
        check.refresh_refused(verify(ada, altered(token, exp=None)))
        check.refresh_refused(verify(ada, altered(token, exp=at(EARLIER))))


@case(VIEWS + "TestTokenVerifyView::test_it_should_return_200_if_everything_okay",
      SERIALIZERS + "TestTokenVerifySerializer::test_it_should_return_given_token_if_everything_ok",
      "test_tokens.py::TestUntypedToken::test_it_should_accept_and_verify_any_type_of_token")
def test_verify(ada, pair):
    for token in pair.values():
        empty_object(verify(ada, token))


@case(VIEWS + "TestTokenVerifyView::test_it_should_ignore_token_type",
      SERIALIZERS + "TestTokenVerifySerializer::test_it_should_not_raise_token_error_if_token_has_wrong_type")
def test_verify_of_a_token_of_no_type_we_know(ada, pair):
    """There the type is ignored; here only what this server would take somewhere is called valid."""
    for token in pair.values():
        check.refresh_refused(verify(ada, altered(token, token_type="fake_type")))


# ---- blacklist

@case(VIEWS + "TestTokenBlacklistView::test_fields_missing")
def test_blacklist_fields_missing(site):
    check.field_refused(site.browser().post("token/blacklist/", {}), "required", refresh=check.REQUIRED)


@case(VIEWS + "TestTokenBlacklistView::test_it_should_return_401_if_token_invalid",
      SERIALIZERS + "TestTokenBlacklistSerializer::test_it_should_raise_token_error_if_token_invalid")
def test_blacklist_of_a_token_that_is_over(ada, pair):
    check.refresh_refused(blacklist(ada, altered(pair["refresh"], exp=None)))
    check.refresh_refused(blacklist(ada, altered(pair["refresh"], exp=at(EARLIER))))


@case(SERIALIZERS + "TestTokenBlacklistSerializer::test_it_should_raise_token_error_if_token_has_wrong_type")
def test_blacklist_of_a_token_of_another_type(ada, pair):
    check.refresh_refused(blacklist(ada, altered(pair["refresh"], token_type="wrong_type")))
    check.refresh_refused(blacklist(ada, pair["access"]))


@case(VIEWS + "TestTokenBlacklistView::test_it_should_return_if_everything_ok",
      VIEWS + "TestTokenBlacklistView::test_it_should_return_401_if_token_is_blacklisted",
      SERIALIZERS + "TestTokenBlacklistSerializer::test_it_should_return_nothing_if_everything_ok",
      SERIALIZERS + "TestTokenBlacklistSerializer::test_it_should_blacklist_refresh_token_if_everything_ok",
      BLACKLIST + "TestTokenBlacklist::test_token_will_not_validate_if_blacklisted",
      BLACKLIST + "TokenVerifySerializerShouldHonourBlacklist::"
                  "test_token_verify_serializer_should_honour_blacklist_if_blacklisting_enabled")
def test_blacklist(ada, pair):
    empty_object(blacklist(ada, pair["refresh"]))
    assert ada.db.value("SELECT revoked_at FROM sa_sessions") is not None
    blacklisted(refresh(ada, pair["refresh"]))
    blacklisted(verify(ada, pair["refresh"]))


@case(BLACKLIST + "TokenVerifySerializerShouldHonourBlacklist::"
                  "test_token_verify_serializer_should_not_honour_blacklist_if_blacklisting_not_enabled")
def test_verify_knows_of_a_sign_out_without_blacklisting_after_rotation(make_site):
    """There verify then takes what was signed out; here that setting is about rotation alone."""
    site = make_site(mount="SocialAuthBlacklistAfterRotation Off")
    site.make_user(EMAIL, "ada")
    pair = check.signed_in(obtain(site))
    empty_object(blacklist(site, pair["refresh"]))
    blacklisted(verify(site, pair["refresh"]))


@case(BLACKLIST + "TestTokenBlacklist::test_tokens_can_be_manually_blacklisted")
def test_blacklist_twice(ada, pair):
    """There a token of no session is put on the list; here it is none of ours."""
    empty_object(blacklist(ada, pair["refresh"]))
    blacklisted(blacklist(ada, pair["refresh"]))
    check.refresh_refused(blacklist(ada, altered(pair["refresh"], sid="a-session-that-never-was")))
    assert ada.counts()["sa_sessions"] == 1


@case(BLACKLIST + "TestTokenBlacklist::test_refresh_tokens_are_added_to_outstanding_list",
      BLACKLIST + "TestTokenBlacklist::test_access_tokens_are_not_added_to_outstanding_list",
      BLACKLIST + "TestTokenBlacklist::test_outstanding_token_and_blacklisted_token_created_at",
      BLACKLIST + "TestTokenBlacklist::test_outstanding_token_and_blacklisted_token_user")
def test_what_is_kept_of_a_token(ada, pair):
    """There the token itself is kept; here its jti is."""
    claims = jose.claims_of(pair["refresh"])
    assert ada.db.query("SELECT user_id, jti, iat, exp FROM sa_sessions") == [
        (ada.ada, claims["jti"], claims["iat"], claims["exp"])]
    empty_object(blacklist(ada, pair["refresh"]))
    kept = ada.db.dump()
    assert claims["jti"] in kept and jose.claims_of(pair["access"])["jti"] not in kept
    assert pair["refresh"] not in kept and pair["access"] not in kept


@case(BLACKLIST + "TestTokenBlacklistFlushExpiredTokens::test_it_should_delete_any_expired_tokens")
def test_purge(ada):
    pairs = [check.signed_in(obtain(ada)) for _ in range(4)]
    sids = [jose.claims_of(pair["refresh"])["sid"] for pair in pairs]
    empty_object(blacklist(ada, pairs[1]["refresh"]))
    empty_object(blacklist(ada, pairs[3]["refresh"]))
    for sid in sids[2:]:
        ada.db.query("UPDATE sa_sessions SET exp = ?, expires = ?, revoked_at = CASE WHEN revoked_at IS NULL"
                     " THEN NULL ELSE ? END WHERE sid = ?", 1700000000, 1700000000, 1700000000, sid)
    ada.db.ctl("purge")
    assert {row[0] for row in ada.db.query("SELECT sid FROM sa_sessions")} == set(sids[:2])
    check.signed_in(refresh(ada, pairs[0]["refresh"]))
    blacklisted(refresh(ada, pairs[1]["refresh"]))


@case(BLACKLIST + "TestTokenBlacklistFlushExpiredTokens::test_token_blacklist_will_not_be_removed_on_User_delete")
def test_blacklisted_token_of_a_deleted_user(ada, pair):
    empty_object(blacklist(ada, pair["refresh"]))
    delete(ada)
    check.refresh_refused(refresh(ada, pair["refresh"]))
    check.refresh_refused(verify(ada, pair["refresh"]))


# ---- the header

@case("test_integration.py::TestTestView::test_no_authorization", AUTH + "test_get_header")
def test_no_authorization(ada, pair):
    check.not_signed_in(ada.browser().get("currentUser/"))
    assert use(ada, pair["access"]).status == 200


@case("test_integration.py::TestTestView::test_wrong_auth_type",
      AUTH + "test_get_raw_token_incorrect_header_keyword")
def test_wrong_auth_type(make_site):
    site = make_site(mount="SocialAuthAuthHeaderTypes JWT")
    site.make_user(EMAIL, "ada")
    access = check.signed_in(obtain(site))["access"]
    for scheme in ("Wrong", "Bearer"):
        answer = use(site, access, scheme)
        assert answer.status == 401 and "credentials were not provided" in answer.json()["detail"], answer
    assert use(site, access, "JWT").status == 200


@case(AUTH + "test_get_raw_token_multi_header_keyword")
def test_several_auth_types(make_site):
    site = make_site(mount="SocialAuthAuthHeaderTypes JWT Bearer")
    site.make_user(EMAIL, "ada")
    access = check.signed_in(obtain(site))["access"]
    assert [use(site, access, scheme).status for scheme in ("JWT", "Bearer", "Token")] == [200, 200, 401]


@case(AUTH + "test_get_raw_token")
def test_malformed_header(site):
    check.not_signed_in(site.browser().get("currentUser/", headers={"Authorization": ""}))
    for value in ("Bearer one two", "Bearer"):
        answer = site.browser().get("currentUser/", headers={"Authorization": value})
        assert answer.status == 401 and answer.word in ("not_authenticated", "token_not_valid"), answer


# ---- the access token

@case("test_integration.py::TestTestView::test_expired_token", AUTH + "test_get_validated_token",
      TOKENS + "test_init_expired_token_given", BACKEND + "test_decode_with_expiry",
      BACKEND + "test_decode_success")
def test_expired_token(ada, pair):
    check.access_refused(use(ada, altered(pair["access"], exp=at(EARLIER))))
    assert use(ada, altered(pair["access"], exp=at(LATER), foo="baz")).status == 200


@case(TOKENS + "test_check_exp")
def test_a_token_ends_with_its_last_second(ada, pair):
    check.access_refused(use(ada, altered(pair["access"], exp=None, refresh_exp=at(LATER))))
    check.access_refused(use(ada, altered(pair["access"], exp=at(0))))
    assert use(ada, altered(pair["access"], exp=at(30))).status == 200


@case(BACKEND + "test_decode_with_no_expiry")
def test_token_without_an_end(ada, pair):
    """There the decoder takes it and the token's class does not."""
    check.access_refused(use(ada, altered(pair["access"], exp=None)))


@case("test_integration.py::TestTestView::test_user_can_get_access_and_refresh_tokens_and_use_them")
def test_access_and_refresh_in_use(ada, pair):
    assert use(ada, pair["access"]).json()["username"] == "ada"
    assert use(ada, check.signed_in(refresh(ada, pair["refresh"]))["access"]).json()["username"] == "ada"


@case(AUTH + "test_get_validated_token_reject_unknown_token", TOKENS + "test_init_wrong_type_token_given")
def test_token_of_another_type(ada, pair):
    """There the message says that the type is wrong; here it is the same for all tokens."""
    check.access_refused(use(ada, altered(pair["access"], token_type="sliding")))
    check.access_refused(use(ada, altered(pair["access"], token_type="wrong_type")))
    check.access_refused(use(ada, pair["refresh"]))


@case(TOKENS + "test_init_no_type_token_given", TOKENS + "test_init_no_jti_token_given")
@pytest.mark.parametrize("claim", ["token_type", "jti"])
def test_token_without_a_claim(ada, pair, claim):
    check.access_refused(use(ada, altered(pair["access"], **{claim: None})))
    check.refresh_refused(refresh(ada, altered(pair["refresh"], **{claim: None})))


@case(TOKENS + "test_init_bad_sig_token_given", BACKEND + "test_decode_with_invalid_sig")
def test_signature_of_another_token(ada, pair):
    one, two = pair["access"], altered(pair["access"], foo="baz")
    check.access_refused(use(ada, two.rsplit(".", 1)[0] + "." + one.rsplit(".", 1)[1]))
    check.refresh_refused(verify(ada, two.rsplit(".", 1)[0] + "." + one.rsplit(".", 1)[1]))


@case(BACKEND + "test_decode_when_token_algorithm_does_not_match")
def test_token_of_another_algorithm(ada, pair):
    header = jose.header_of(pair["access"])
    for alg in ("RS256", "HS384"):
        key = Key(alg, "", secret=SECRET.encode() if alg == "HS384" else None)
        token = make(jose.claims_of(pair["access"]), key, {**header, "alg": alg})
        check.access_refused(use(ada, token))
        check.refresh_refused(verify(ada, token))


@case(BACKEND + "test_decode_aud_iss_success")
def test_audience_and_issuer(make_site):
    site = make_site(mount="SocialAuthAudience openid-client-id\nSocialAuthIssuer https://www.example.com")
    site.make_user(EMAIL, "ada")
    access = check.signed_in(obtain(site))["access"]
    assert use(site, access).status == 200
    check.access_refused(use(site, altered(access, aud="other")))
    check.access_refused(use(site, altered(access, iss="https://example.com")))


@case(BACKEND + "test_decode_leeway_hmac_fail", BACKEND + "test_decode_leeway_hmac_success",
      TOKENS + "test_check_token_not_expired_if_in_leeway")
def test_leeway(make_site):
    site = make_site(mount="SocialAuthLeeway 100")
    site.make_user(EMAIL, "ada")
    access = check.signed_in(obtain(site))["access"]
    check.access_refused(use(site, altered(access, exp=at(-200))))
    assert use(site, altered(access, exp=at(-50))).status == 200


@case(TOKENS + "test_init_token_given", TOKENS + "test_set_exp", TOKENS + "test_set_iat", TOKENS + "test_for_user",
      TOKENS + "test_token_user_id_claim_should_always_be_string")
def test_claims(ada, pair):
    """There user_id is a string since 5.5; here it is a number where the key is one, as it was until then
    and as both read it, and `sub` is the string."""
    for token, lifetime in ((pair["access"], 3600), (pair["refresh"], 86400)):
        claims = jose.claims_of(token)
        assert claims["exp"] == claims["iat"] + lifetime and abs(claims["iat"] - time.time()) < 60
        assert claims["user_id"] == ada.ada and claims["sub"] == str(ada.ada)
        assert {"token_type", "jti"} <= set(claims)


@case(TOKENS + "test_set_jti")
def test_every_token_has_its_own_jti(ada):
    pairs = [check.signed_in(obtain(ada)) for _ in range(3)]
    assert len({jose.claims_of(token)["jti"] for pair in pairs for token in pair.values()}) == 6


# ---- tokens that SimpleJWT signed

@pytest.fixture
def shared(make_site):
    """Beside a Django site that signs with the same key."""
    site = make_site(mount="SocialAuthAcceptSimpleJWT On")
    site.ada = site.make_user(EMAIL, "ada")
    return site


def signed_there(**claims):
    return make({"token_type": "access", "exp": at(LATER), "iat": at(0), "jti": "0123", **claims}, KEY)


@case(AUTH + "test_get_user")
def test_user_of_a_simplejwt_token(shared):
    check.access_refused(use(shared, signed_there(some_other_id="foo")))
    check.access_refused(use(shared, signed_there(user_id=42424242)))
    shared.db.query("UPDATE sa_users SET is_active = ?", False)
    check.access_refused(use(shared, signed_there(user_id=shared.ada)))
    shared.db.query("UPDATE sa_users SET is_active = ?", True)
    assert use(shared, signed_there(user_id=shared.ada)).json()["id"] == shared.ada


def test_verify_asks_for_the_user_of_a_simplejwt_token(shared):
    token = signed_there(user_id=shared.ada)
    browser = shared.browser()
    assert browser.post("token/verify/", {"token": token}).status == 200
    check.refresh_refused(browser.post("token/verify/", {"token": signed_there(user_id=42424242)}))
    shared.db.query("UPDATE sa_users SET is_active = ?", False)
    check.refresh_refused(browser.post("token/verify/", {"token": token}))


@case(AUTH + "test_get_user_with_str_user_id_claim")
def test_user_id_as_a_string(shared):
    assert use(shared, signed_there(user_id=str(shared.ada))).json()["id"] == shared.ada


@case(STATELESS + "test_get_user")
def test_token_is_enough_where_no_account_is_asked_for(shared):
    def state(**claims):
        return shared.browser().get("github/state/", bearer=signed_there(**claims))
    check.access_refused(state(some_other_id="foo"))
    assert state(user_id=42424242).status == 200
