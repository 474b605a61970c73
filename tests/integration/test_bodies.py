"""What is not a body, at every endpoint of the OAuth2 dialect and of the accounts (CONTRACT section 2; test_errors.py
has those of section 1): it is refused in the endpoint's own shape and does nothing. Each request here would be a good
one but for what is wrong with it, so that a body which is taken all the same is seen."""
import json
import urllib.parse

import pytest

from support import check
from support.site import STRONG
from test_errors import JSON_BODIES, wrong_method
from test_oauth2 import oauth_refused

ADA, VERIFIER = "ada@example.org", "v" * 43
FORM, JSON = "application/x-www-form-urlencoded", "application/json"
PASSWORD = {"password": STRONG}
CLIENT = {"client_id": "shop", "client_secret": "a secret of the shop"}
MAILS = """SocialAuthSMTP smtp://127.0.0.1:9
SocialAuthMailFrom noreply@site.example
SocialAuthMailThrottleRate off
SocialAuthEmailVerification optional"""

# name: method, path, whether a Bearer is needed, fields
ENDPOINTS = {
    "create": ("POST", "create/", False, {"email": "new@example.org", "username": "new", "first_name": "N",
                                          "last_name": "E", **PASSWORD}),
    "password grant": ("POST", "token", False, {"grant_type": "password", "username": ADA, "scope": "read",
                                                **PASSWORD, **CLIENT}),
    "refresh grant": ("POST", "token", False, {"grant_type": "refresh_token", "refresh_token": "{refresh}", **CLIENT}),
    "code grant": ("POST", "token", False, {"grant_type": "authorization_code", "code": "c", "code_verifier": VERIFIER,
                                            "redirect_uri": "https://shop.example.test/", **CLIENT}),
    "client credentials": ("POST", "token", False, {"grant_type": "client_credentials", "scope": "read", **CLIENT}),
    "convert-token": ("POST", "convert-token", False, {"grant_type": "convert_token", "backend": "google-oauth2",
                                                       "token": "{google}", "scope": "read", **CLIENT}),
    "revoke-token": ("POST", "revoke-token", False, {"token": "{refresh}", **CLIENT}),
    "revoke-token, Bearer": ("POST", "revoke-token", True, {"token": "{refresh}", **CLIENT}),
    "introspect": ("POST", "introspect", False, {"token": "{refresh}", **CLIENT}),
    "authorize": ("POST", "authorize", True, {"request": "client_id=shop"}),
    "invalidate-sessions": ("POST", "invalidate-sessions", True, {"client_id": "shop"}),
    "invalidate-refresh-tokens": ("POST", "invalidate-refresh-tokens", True, {"client_id": "shop"}),
    "disconnect-backend": ("POST", "disconnect-backend", True, {"backend": "github", "association_id": "{link}"}),
    "currentUser PATCH": ("PATCH", "currentUser/", True, {"username": "eve", "first_name": "E", "last_name": "V"}),
    "currentUser DELETE": ("DELETE", "currentUser/", True, PASSWORD),
    "password/change": ("POST", "password/change/", True, {"old_password": STRONG, "new_password": STRONG + "!"}),
    "password/reset": ("POST", "password/reset/", False, {"email": ADA}),
    "password/reset/confirm": ("POST", "password/reset/confirm/", False, {"token": "t", "new_password": STRONG + "!"}),
    "email/verify": ("POST", "email/verify/", False, {"token": "t"}),
    "email/change": ("POST", "email/change/", True, {"email": "new@example.org", **PASSWORD}),
}
OAUTH = ("token", "convert-token", "revoke-token", "introspect", "authorize")
MAY_BE_EMPTY = ("revoke-token, Bearer", "currentUser PATCH", "currentUser DELETE")


class Endpoint:
    """One endpoint, its good fields, and the account that they would act upon."""

    def __init__(self, site, name):
        self.site, self.name = site, name
        self.method, self.path, wants_bearer, fields = ENDPOINTS[name]
        self.is_oauth, self.browser = self.path in OAUTH, site.browser()
        tokens = site.browser().post("token", {"grant_type": "password", "username": ADA, **PASSWORD, **CLIENT}).json()
        self.access, self.bearer = tokens["access_token"], tokens["access_token"] if wants_bearer else None
        links = self.browser.get("linked-accounts/", bearer=self.access).json()["providers"]
        own = {"{refresh}": tokens["refresh_token"], "{link}": str(links[0]["association_id"]),
               "{google}": site.provider.google.access_token(email="someone@gmail.com")}
        self.fields = {key: own.get(value, value) for key, value in fields.items()}
        self.before = self.now()

    def now(self):
        return self.site.counts(), self.site.db.query("SELECT email, username, first_name, password, is_active"
                                                      " FROM sa_users ORDER BY id")

    def ask(self, **kw):
        return self.browser.request(self.method, self.path, bearer=self.bearer, **kw)

    def unreadable(self, answer, word, text=""):
        """The body could not be read: word is that of section 1. What /token answers to it depends on the client
        that it cannot see, and is test_oauth2's."""
        if self.path == "token":
            assert answer.status in (400, 415), answer
            check.json_headers(answer)
        elif self.is_oauth:
            oauth_refused(answer, "invalid_request")
        else:
            check.json_headers(answer)
            assert answer.status == (415 if word == "unsupported_media_type" else 400), answer
            body = answer.json()
            assert set(body) == {"error", "detail"} and body["error"] == word, answer
            assert body["detail"].startswith(text), answer

    def untouched(self):
        assert self.now() == self.before
        assert self.site.browser().get("currentUser/", bearer=self.access).status == 200
        assert self.site.provider.asked() == []


@pytest.fixture
def endpoint(make_site, name):
    site = make_site(mount=MAILS)
    site.make_user(ADA, "ada", email_verified=False)
    site.db.query("INSERT INTO sa_links (issuer, subject, user_id, provider, linked_at)"
                  " SELECT 'https://github.com', '1', id, 'github', 1 FROM sa_users")
    site.db.ctl("applications", "create", "--name", "Shop", "--client-id", CLIENT["client_id"], "--secret-stdin",
                "--grants", "password refresh_token client_credentials convert_token authorization_code",
                "--redirect-uris", "https://shop.example.test/", "--scopes", "read write", "--trusted",
                stdin=CLIENT["client_secret"] + "\n")
    return Endpoint(site, name)


def not_json(endpoint):
    for body in JSON_BODIES:
        endpoint.unreadable(endpoint.ask(body=body, content_type=JSON), "parse_error", "JSON parse error - ")


def nul_in_a_field(endpoint):
    for field, value in endpoint.fields.items():
        for broken in (value + "\0", "\0" + value):
            given = {**endpoint.fields, field: broken}
            endpoint.unreadable(endpoint.ask(json=given), "parse_error", "JSON parse error - ")
            endpoint.unreadable(endpoint.ask(form=given), "parse_error", "Form parse error - ")


def field_given_twice(endpoint):
    """Also twice the same."""
    whole, form = json.dumps(endpoint.fields), urllib.parse.urlencode(endpoint.fields)
    for field, value in endpoint.fields.items():
        for other in ("x", value):
            pair = json.dumps({field: other})[1:-1]
            for body in ("{%s, %s" % (pair, whole[1:]), "%s, %s}" % (whole[:-1], pair)):
                endpoint.unreadable(endpoint.ask(body=body, content_type=JSON), "parse_error", "JSON parse error - ")
            pair = urllib.parse.urlencode({field: other})
            for body in ("%s&%s" % (pair, form), "%s&%s" % (form, pair)):
                endpoint.unreadable(endpoint.ask(body=body, content_type=FORM), "parse_error", "Form parse error - ")


def not_a_form(endpoint):
    field = next(iter(endpoint.fields))
    form = urllib.parse.urlencode({k: v for k, v in endpoint.fields.items() if k != field})
    for broken in ("%", "%0", "%zz", "%ff", "%ed%a0%80", "%01", "a&" + "a=1&" * 10000):
        endpoint.unreadable(endpoint.ask(body="%s=%s&%s" % (field, broken, form), content_type=FORM), "parse_error",
                            "Form parse error - ")


def wrong_content_type(endpoint):
    body = json.dumps(endpoint.fields).encode()
    for content_type in (None, "text/plain", "multipart/form-data; boundary=x", "application/xml", "application/jsonx",
                         "text/json", "application", ";", "application/json, text/plain", " ",
                         "application/x-www-form-urlencodedx", "application/json; charset=utf-16"):
        endpoint.unreadable(endpoint.ask(body=body, content_type=content_type), "unsupported_media_type")


def no_object(endpoint):
    for body in (b"[]", b"1", b'"x"', b"null", b"true", b"[%s]" % json.dumps(endpoint.fields).encode()):
        answer = endpoint.ask(body=body, content_type=JSON)
        if endpoint.path == "token":
            assert answer.status == 400, answer
        elif endpoint.is_oauth:
            oauth_refused(answer, "invalid_request")
        else:
            check.field_refused(answer, "invalid", non_field_errors="Invalid data. Expected a dictionary.")


def fields_of_other_types(endpoint):
    for field in endpoint.fields:
        for value in (None, True, 1.5, [], {}, [endpoint.fields[field]]):
            answer = endpoint.ask(json={**endpoint.fields, field: value})
            if endpoint.is_oauth:
                oauth_refused(answer, "invalid_request")
                assert answer.json()["error_description"].startswith(field + ": "), answer
            elif value is None:
                check.field_refused(answer, "null", **{field: check.NULL})
            else:
                check.field_refused(answer, "invalid", **{field: "A valid integer is required."
                                                          if field == "association_id" else check.NOT_STRING})


def no_body_at_all(endpoint):
    """Nor are fields in the query one."""
    if endpoint.name in MAY_BE_EMPTY:
        return
    for query in ("", "?" + urllib.parse.urlencode(endpoint.fields)):
        answer = endpoint.browser.request(endpoint.method, endpoint.path + query, bearer=endpoint.bearer)
        assert answer.status == 400, answer
        if endpoint.is_oauth and endpoint.path != "token":
            oauth_refused(answer, "invalid_request")
        else:
            assert answer.word == "required", answer


@pytest.mark.parametrize("name", ENDPOINTS)
def test_T98_T99_T102_T105_T108_T190_what_is_no_body_does_nothing(endpoint):
    for wrong in (not_json, nul_in_a_field, field_given_twice, not_a_form, wrong_content_type, no_object,
                  fields_of_other_types, no_body_at_all):
        wrong(endpoint)
        endpoint.untouched()


@pytest.mark.parametrize("name", ["password/change"])
def test_T108_where_no_body_is_wanted_none_is_read(endpoint):
    browser, site = endpoint.browser, endpoint.site
    for body, content_type in ((b"{", JSON), (b"%", FORM), (b"x", None), (b"\0" * 9000, "text/plain"), (b"", ";")):
        answer = browser.request("POST", "email/verify/resend/", body=body, content_type=content_type,
                                 bearer=endpoint.access)
        assert answer.status == 202 and answer.body == b"", answer
        answer = browser.request("DELETE", "sessions/nobodys/", body=body, content_type=content_type,
                                 bearer=endpoint.access)
        check.refusal(answer, 404, "not_found", {"detail": "Not found."})
    assert site.db.value("SELECT count(*) FROM sa_mails WHERE email = ?", ADA) == 5


def test_T108_T124_other_methods(site):
    browser, posts = site.browser(), {path for method, path, *_ in ENDPOINTS.values() if method == "POST"}
    for path in sorted(posts - {"authorize"}) + ["email/verify/resend/"]:
        for method in ("GET", "PUT", "DELETE", "PATCH", "FOO"):
            wrong_method(browser.request(method, path), method, {"POST", "OPTIONS"})
    for method in ("POST", "PUT", "FOO"):
        wrong_method(browser.request(method, "currentUser/"), method, {"GET", "HEAD", "PATCH", "DELETE", "OPTIONS"})


def test_T98_T99_query_of_the_list(make_site):
    site = make_site(mount="SocialAuthUserList public")
    for query, why in (("limit=1&limit=1", "a field is given twice"), ("after=%00", "control character"),
                       ("after=%ff", "invalid UTF-8"), ("x=%zz", "malformed percent escape")):
        check.refusal(site.browser().get("all/?" + query), 400, "parse_error",
                      {"detail": "Query string parse error - " + why})
    assert site.browser().get("all/?limit=1").status == 200
