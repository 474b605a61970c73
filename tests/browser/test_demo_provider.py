"""conf/demo/provider on its own: as strict as what it plays, and for this machine only."""
import base64
import hashlib
import http.client
import json
import pathlib
import socket
import subprocess
import time
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest
import requests

PROVIDER = pathlib.Path(__file__).resolve().parents[2] / "conf" / "demo" / "provider"
HOME = "http://localhost:9/"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(
    hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    site = "http://localhost:%d" % port
    process = subprocess.Popen([str(PROVIDER), "--port", str(port), "--issuer", site,
                                "--key", str(tmp_path_factory.mktemp("demo") / "key.pem"),
                                "--redirect-uri", HOME])
    for _ in range(200):
        try:
            requests.get(site, timeout=5)
            break
        except requests.ConnectionError:
            assert process.poll() is None
            time.sleep(0.05)
    yield site
    process.terminate()
    assert process.wait(10) == 0


def answer(url, path, person="ada", **fields):
    """What the provider puts into the redirect after somebody was picked."""
    form = {"client_id": "demo", "redirect_uri": HOME, "state": "s+1 &", "person": person}
    form.update(fields)
    back = requests.post(url + path, form, allow_redirects=False)
    assert back.status_code == 303, back.text
    target = urlsplit(back.headers["Location"])
    assert back.headers["Location"].startswith(HOME)
    found = {k: v[0] for k, v in parse_qs(target.query or target.fragment).items()}
    assert found.pop("state") == "s+1 &"
    return found


def github_code(url, **fields):
    return answer(url, "/login/oauth/authorize", scope="read:user user:email",
                  code_challenge=CHALLENGE, code_challenge_method="S256", **fields)["code"]


def github_token(url, code, **fields):
    form = {"client_id": "demo", "client_secret": "demo", "code": code, "code_verifier": VERIFIER}
    form.update(fields)
    reply = requests.post(url + "/login/oauth/access_token", form,
                          headers={"Accept": "application/json"})
    assert reply.status_code == 200
    return reply.json()


def test_github_flow(url):
    token = github_token(url, github_code(url))
    assert token["token_type"] == "bearer" and token["scope"] == "read:user,user:email"
    bearer = {"Authorization": "Bearer " + token["access_token"]}
    user = requests.get(url + "/user", headers=bearer).json()
    assert (user["login"], user["name"]) == ("ada", "Ada Lovelace")
    emails = requests.get(url + "/user/emails", headers=bearer).json()
    assert [e["email"] for e in emails if e["primary"] and e["verified"]] == ["ada@example.org"]
    again = github_token(url, github_code(url))
    assert user["id"] == requests.get(url + "/user", headers={
        "Authorization": "token " + again["access_token"]}).json()["id"]


@pytest.mark.parametrize("fields, error", [
    ({"client_secret": "x"}, "incorrect_client_credentials"),
    ({"code": "x"}, "bad_verification_code"),
    ({"code_verifier": "x" * 43}, "bad_verification_code"),
    ({"code_verifier": ""}, "bad_verification_code"),
    ({"redirect_uri": "http://localhost:9/other"}, "redirect_uri_mismatch"),
])
def test_github_says_no_with_status_200(url, fields, error):
    token = github_token(url, **dict({"code": github_code(url)}, **fields))
    assert token["error"] == error and "access_token" not in token


def test_github_code_works_once(url):
    code = github_code(url)
    assert "access_token" in github_token(url, code)
    assert github_token(url, code)["error"] == "bad_verification_code"


def test_github_answers_a_form_unless_json_is_asked_for(url):
    reply = requests.post(url + "/login/oauth/access_token", {"client_id": "x"})
    assert reply.headers["Content-Type"].startswith("application/x-www-form-urlencoded")
    assert parse_qs(reply.text)["error"] == ["incorrect_client_credentials"]


def test_github_api_wants_a_token_a_scope_and_a_user_agent(url):
    assert requests.get(url + "/user").status_code == 401
    code = answer(url, "/login/oauth/authorize", scope="read:user")["code"]
    bearer = {"Authorization": "Bearer " + github_token(url, code)["access_token"]}
    assert requests.get(url + "/user", headers=bearer).status_code == 200
    assert requests.get(url + "/user/emails", headers=bearer).status_code == 404
    bare = http.client.HTTPConnection(urlsplit(url).netloc)
    bare.request("GET", "/user", headers=bearer)
    assert bare.getresponse().status == 403
    bare.close()


def id_claims(url, token):
    key = jwt.PyJWKClient(url + "/jwks").get_signing_key_from_jwt(token).key
    return jwt.decode(token, key, algorithms=["RS256"], audience="demo", issuer=url,
                      options={"require": ["exp", "iat", "sub", "nonce"]})


def test_id_token_in_the_fragment(url):
    found = answer(url, "/authorize", response_type="id_token", nonce="n-1", scope="openid")
    claims = id_claims(url, found["id_token"])
    assert claims["nonce"] == "n-1" and claims["azp"] == "demo"
    assert (claims["email"], claims["email_verified"]) == ("ada@example.org", True)
    assert len(claims["sub"]) == 21 and claims["sub"].isdigit()
    mallory = answer(url, "/authorize", "mallory", response_type="id_token", nonce="n",
                     scope="openid")
    assert id_claims(url, mallory["id_token"])["email_verified"] is False


def test_code_flow(url):
    found = answer(url, "/authorize", response_type="code", nonce="n-2", scope="openid email",
                   code_challenge=CHALLENGE, code_challenge_method="S256")
    form = {"grant_type": "authorization_code", "code": found["code"], "redirect_uri": HOME}
    wrong = requests.post(url + "/token", form, auth=("demo", "wrong"))
    assert (wrong.status_code, wrong.json()) == (401, {"error": "invalid_client"})
    token = requests.post(url + "/token", dict(form, code_verifier=VERIFIER),
                          auth=("demo", "demo")).json()
    assert id_claims(url, token["id_token"])["nonce"] == "n-2"
    userinfo = requests.get(url + "/userinfo", headers={
        "Authorization": "Bearer " + token["access_token"]}).json()
    assert userinfo["sub"] == id_claims(url, token["id_token"])["sub"]
    again = requests.post(url + "/token", dict(form, code_verifier=VERIFIER),
                          auth=("demo", "demo"))
    assert (again.status_code, again.json()) == (400, {"error": "invalid_grant"})


def test_discovery_names_what_is_there(url):
    found = requests.get(url + "/.well-known/openid-configuration").json()
    assert found["issuer"] == url
    assert requests.get(found["jwks_uri"]).json()["keys"][0]["kty"] == "RSA"


@pytest.mark.parametrize("path", ["/authorize", "/login/oauth/authorize"])
@pytest.mark.parametrize("fields", [
    {"redirect_uri": "http://localhost:9.example.net/"},
    {"client_id": "other"},
    {"code_challenge": VERIFIER, "code_challenge_method": "plain"},
])
def test_wrong_requests_are_not_redirected(url, path, fields):
    query = {"client_id": "demo", "redirect_uri": HOME, "response_type": "code", "state": "s"}
    query.update(fields)
    shown = requests.get(url + path + "?" + urlencode(query), allow_redirects=False)
    picked = requests.post(url + path, dict(query, person="ada"), allow_redirects=False)
    assert (shown.status_code, picked.status_code) == (400, 400)


def test_the_page_escapes_what_it_is_given(url):
    page = requests.get(url + "/authorize?" + urlencode({
        "client_id": "demo", "redirect_uri": HOME, "state": '"><script>alert(1)</script>'}))
    assert page.status_code == 200 and "<script" not in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


def test_cancel_and_nobody(url):
    assert answer(url, "/authorize", "", response_type="code", do="cancel") == \
        {"error": "access_denied"}
    nobody = requests.post(url + "/authorize", {
        "client_id": "demo", "redirect_uri": HOME, "response_type": "code", "email": "@"},
        allow_redirects=False)
    assert nobody.status_code == 400


def test_other_names_and_other_addresses_get_nothing(url):
    port = urlsplit(url).port
    rebound = requests.get(url + "/jwks", headers={"Host": "evil.example:%d" % port})
    assert rebound.status_code == 421
    listening = [line.split()[1] for line in pathlib.Path("/proc/net/tcp").read_text().split("\n")
                 if line[:1].isspace() and line.split()[3] == "0A"]
    assert "0100007F:%04X" % port in listening and "00000000:%04X" % port not in listening


def test_the_key_is_private_and_kept(url, tmp_path_factory):
    key = next(tmp_path_factory.getbasetemp().glob("demo*/key.pem"))
    assert key.stat().st_mode & 0o077 == 0
    assert json.dumps(requests.get(url + "/jwks").json()).count('"d"') == 0
