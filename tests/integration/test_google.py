"""Google's ID-token flow: which proofs count."""
import json
import time

import pytest

from support import check, jose, vectors
from support.client import at_once
from support.fake_provider import GOOGLE_CLIENT, GOOGLE_SECRET, Reply
from support.jose import Key, make

CERTS = "/google/certs"
NEVER_LOG = r"google|Google|ID token|JWKS|jwks"


def post(browser, token, **more):
    return browser.post("google/login/", {"token": token, **more})


def refused(site, token, word="id_token_invalid", **more):
    before = site.counts()
    answer = post(site.browser(), token, **more)
    check.refused(answer, word, "Google")
    assert site.counts() == before
    return answer


# ---- the good way

@pytest.mark.db
def test_first_login_makes_a_user(site):
    tokens = site.tokens(site.google_login(email="Ada.L@Gmail.com", sub="110169484474386276334"))
    assert site.db.one("SELECT email, username, first_name, last_name FROM sa_users") \
        == ("ada.l@gmail.com", "ada.l", "Ada", "Lovelace")
    assert site.links() == [("https://accounts.google.com", "110169484474386276334")]
    assert "google" in str(jose.claims_of(tokens["access"])["amr"])


def test_same_subject_is_the_same_user(site):
    one = site.tokens(site.google_login(sub="42"))
    two = site.tokens(site.google_login(sub="42", with_state=False))
    assert site.user_id(one) == site.user_id(two)


def test_issuer_without_scheme_is_the_same_identity(site):
    one = site.tokens(site.google_login(sub="42"))
    two = site.tokens(site.google_login(sub="42", iss="accounts.google.com"))
    assert site.user_id(one) == site.user_id(two)
    assert len(site.links()) == 1


def test_several_client_ids(make_site):
    site = make_site(providers=["google client-id=web.apps,%s"
                                " jwks-url={provider}/google/certs allow-http=on" % GOOGLE_CLIENT])
    check.signed_in(site.google_login())
    check.signed_in(site.google_login(aud="web.apps", azp=GOOGLE_CLIENT))
    check.refused(site.google_login(aud="third.apps", azp=GOOGLE_CLIENT), "id_token_invalid", "Google")
    check.refused(site.google_login(azp="third.apps"), "id_token_invalid", "Google")


def test_code_flow_is_not_configured(site, browser):
    """Google without a client secret has no code flow: `code` is no credential then."""
    state = site.state(browser, "google")["state"]
    answer = browser.post("google/login/", {"code": "c", "state": state})
    assert answer.status == 400, answer
    assert site.provider.asked() == []


def test_code_and_token_at_once(site, browser):
    state = site.state(browser, "google")["state"]
    answer = browser.post("google/login/", {"code": "c", "token": "t", "state": state})
    check.field_refused(answer, "invalid", non_field_errors="Send either code or token, not both.")
    assert site.provider.asked() == []


# ---- ID tokens that do not count (T25..T28)

CLAIMS = [
    ("T25_aud_other", dict(aud="9999-evil.apps.googleusercontent.com")),
    ("T25_aud_missing", dict(aud=None)),
    ("T25_aud_empty", dict(aud="")),
    ("T25_aud_empty_list", dict(aud=[])),
    ("T25_aud_superstring", dict(aud=GOOGLE_CLIENT + ".evil")),
    ("T25_aud_substring", dict(aud=GOOGLE_CLIENT[:-1])),
    ("T25_aud_list_with_a_stranger", dict(aud=[GOOGLE_CLIENT, "x"])),
    ("T25_aud_list_without_azp", dict(aud=[GOOGLE_CLIENT, "x"], azp=None)),
    ("T25_aud_list_with_a_number", dict(aud=[GOOGLE_CLIENT, 5])),
    ("T25_aud_object", dict(aud={GOOGLE_CLIENT: 1})),
    ("T25_azp_other", dict(azp="9999-evil.apps.googleusercontent.com")),
    ("T25_azp_number", dict(azp=5)),
    ("T25_azp_empty", dict(azp="")),
    ("T26_iss_evil", dict(iss="https://evil.test")),
    ("T26_iss_slash", dict(iss="https://accounts.google.com/")),
    ("T26_iss_http", dict(iss="http://accounts.google.com")),
    ("T26_iss_superstring", dict(iss="https://accounts.google.com.evil.test")),
    ("T26_iss_upper", dict(iss="https://ACCOUNTS.google.com")),
    ("T26_iss_missing", dict(iss=None)),
    ("T26_iss_list", dict(iss=["https://accounts.google.com"])),
    ("T28_exp_missing", dict(exp=None)),
    ("T28_exp_past", dict(exp=1700000000)),
    ("T28_exp_string", dict(exp="4102444800")),
    ("T28_exp_huge", dict(exp=1e300)),
    ("T28_exp_negative", dict(exp=-1)),
    ("T28_iat_missing", dict(iat=None)),
    ("T28_iat_string", dict(iat="1700000000")),
    ("T28_sub_missing", dict(sub=False)),
    ("T28_sub_empty", dict(sub="")),
    ("T28_sub_number", dict(sub=110169484474386276334)),
    ("T28_sub_long", dict(sub="1" * 256)),
    ("T28_sub_nul", dict(sub="1\x002")),
    ("T28_sub_list", dict(sub=["1"])),
]


@pytest.mark.parametrize("name,claims", CLAIMS, ids=[c[0] for c in CLAIMS])
def test_T25_T26_T28_claims(site, name, claims):
    google = site.provider.google
    whole = google.claims()
    for key, value in claims.items():
        if value is None or value is False:
            whole.pop(key, None)
        else:
            whole[key] = value
    refused(site, google.id_token(whole))
    # With a state as well, and then the flow is spent but a new one works.
    browser = site.browser()
    got = site.state(browser, "google")
    whole["nonce"] = got["nonce"]
    check.refused(post(browser, google.id_token(whole), state=got["state"]), "id_token_invalid", "Google")
    check.signed_in(site.google_login())


@pytest.mark.parametrize("seconds,claim,works", [
    (-3600, "exp", False), (-61, "exp", False), (3600, "iat", False), (330, "iat", False),
    (3600, "nbf", False), (-5, "nbf", True)])
def test_T28_time(site, seconds, claim, works):
    claims = site.provider.google.claims()
    claims[claim] = jose.now() + seconds
    token = site.provider.google.id_token(claims)
    if works:
        check.signed_in(post(site.browser(), token))
    else:
        refused(site, token)


def test_T26_issuer_in_the_request_is_not_ours_to_follow(site):
    evil = Key("RS256", "evil")
    token = make(site.provider.google.claims(iss="https://evil.test"), evil)
    refused(site, token, issuer="https://evil.test", iss="https://evil.test",
            jwks_uri=site.provider.url + "/evil")
    assert [r for r in site.provider.asked() if r.path != CERTS] == []


def test_T27_signatures(site):
    google = site.provider.google
    claims = google.claims
    good = google.keys[0]
    foreign = Key("RS256", good.kid)
    secret = Key("HS256", good.kid, secret=GOOGLE_SECRET.encode())
    by_public = Key("HS256", good.kid, secret=good.public_pem().encode())
    es = Key("ES256", good.kid)
    jwk = {**foreign.jwk(), "kid": "mine"}
    header = {"alg": "RS256", "kid": good.kid, "typ": "JWT"}
    token = google.id_token()
    bad = [
        make(claims(), foreign),
        make(claims()),
        make(claims(), None, {"alg": "none", "kid": good.kid}),
        make(claims(), None, {"alg": "None"}), make(claims(), None, {"alg": "nOnE"}),
        make(claims(), secret), make(claims(), by_public), make(claims(), es),
        make(claims(), Key("PS256", good.kid, good.private)),
        make(claims(), Key("RS384", good.kid, good.private)),
        make(claims(), foreign, {**header, "jwk": jwk}),
        make(claims(), foreign, {**header, "jku": site.provider.url + "/evil", "kid": "mine"}),
        make(claims(), foreign, {**header, "x5u": site.provider.url + "/evil", "kid": "mine"}),
        make(claims(), good, {**header, "crit": ["exp"]}),
        make(claims(), good, {**header, "crit": ["b64"], "b64": False}),
        make(claims(), good, {**header, "kid": ["g-1"]}),
        token + ".x",
        jose.spoil_signature(token), token.rsplit(".", 1)[0], token.rsplit(".", 1)[0] + ".",
        token + "=", token + "A", " " + token, token.replace(".", ".."), "x", "a.b.c", "." * 40,
        make(json.dumps(claims())[:-1], good), make("[]", good), make("null", good), make("\"x\"", good),
        make(json.dumps(claims())[:-1] + ',"sub":"1"}', good),
    ]
    for one in bad:
        refused(site, one)
    assert [r for r in site.provider.asked() if r.path != CERTS] == []
    check.signed_in(post(site.browser(), token))


def test_es256_only_where_configured(make_site):
    line = ("google client-id=%s jwks-url={provider}/google/certs allow-http=on id-token-alg=ES256"
            % GOOGLE_CLIENT)
    site = make_site(providers=[line], fresh="es")
    google = site.provider.google
    key = Key("ES256", "es-1")
    rs = Key("RS256", "rs-1")
    google.keys = [key, rs]
    check.signed_in(post(site.browser(), make(google.claims(), key)))
    refused(site, make(google.claims(), rs))


# ---- the vectors

RFC_KEY = None


def vector_key():
    global RFC_KEY
    if RFC_KEY is None:
        data = vectors.load("rfc/rfc_vectors.json")
        jwk = next(v["jwk"] for v in data["vectors"]
                   if isinstance(v.get("jwk"), dict) and v["jwk"].get("kty") == "RSA" and "d" in v["jwk"])
        RFC_KEY = Key.from_jwk({**jwk, "kid": "rs-1", "alg": "RS256"})
    return RFC_KEY


@pytest.fixture
def vector_site(make_site):
    """A server that lives shortly after the vectors' iat."""
    def make(config):
        more = " hd=example.test" if config.startswith("hd=") else ""
        site = make_site(
            providers=["google client-id=%s client-secret=%s jwks-url={provider}/google/certs"
                       " allow-http=on%s" % (GOOGLE_CLIENT, GOOGLE_SECRET, more)],
            faketime="@2023-11-14 22:17:20")
        site.httpd.set_clock("@2023-11-14 22:17:20")    # iat + 240 s
        site.provider.google.keys = [vector_key()]
        return site
    return make


@pytest.mark.parametrize("case", vectors.cases("hostile/google_id_token.json"))
def test_T25_T26_T27_T28_T32_T33_id_token_vectors(vector_site, case):
    site = vector_site(case["config"])
    site.expect_log(NEVER_LOG)
    before = site.counts()
    about_nonce = "nonce" in case["why"]
    if not about_nonce:
        judge(site, case, post(site.browser(), case["token"]), before)
    # The same payload inside a flow with a state of ours: the vector's nonce becomes our nonce.
    header = jose.header_of(case["token"])
    if header.get("alg") != "RS256" or case["id"] == "g-key":
        return
    site.db.clean()
    browser = site.browser()
    got = site.state(browser, "google")
    payload = jose.unb64(case["token"].split(".")[1]).decode()
    assert about_nonce or '"nonce":"n-0S6_WzA2Mj"' in payload
    payload = payload.replace('n-0S6_WzA2Mj', got["nonce"])
    token = make(payload, vector_key(), header)
    judge(site, case, post(browser, token, state=got["state"]), before)


def judge(site, case, answer, before):
    if case["expect"] == "accept":
        check.signed_in(answer)
        return
    assert answer.status in (400, 401), (case, answer)
    assert site.counts() == before
    if case["expect"] == "no_email_trust":
        assert answer.word in ("email_unverified", "email_missing", "id_token_invalid"), answer
    else:
        assert answer.word == "id_token_invalid", answer


@pytest.mark.parametrize("case", vectors.cases("hostile/provider_responses.json", "jwks"))
def test_T89_T203_jwks_vectors(make_site, case):
    """Each on a server that has never seen a key."""
    site = make_site(private=True,
                     providers=["google client-id=%s jwks-url={provider}/google/certs allow-http=on"
                                % GOOGLE_CLIENT])
    site.expect_log(NEVER_LOG)
    site.provider.script(CERTS, Reply(case["status"], case["body"].encode(), case["content_type"],
                                      [("Location", case["location"])] if case.get("location") else []))
    token = make(site.provider.google.claims(), vector_key())
    start = time.monotonic()
    answer = post(site.browser(), token)
    assert time.monotonic() - start < 9
    if case["expect"] == "ok":
        check.signed_in(answer)
    else:
        assert answer.status in (400, 502), answer
        assert answer.word in ("id_token_invalid", "provider_unavailable"), answer
        assert site.db.value("SELECT count(*) FROM sa_users") == 0
    assert [r for r in site.provider.asked() if "steal" in r.path] == []


# ---- nonce and replay (T18, T29)

def test_T18_nonce(site):
    google = site.provider.google
    for nonce in (None, "other", "", "nonce"):
        browser = site.browser()
        got = site.state(browser, "google")
        claims = google.claims()
        if nonce is not None:
            claims["nonce"] = got["nonce"] + "x" if nonce == "nonce" else nonce
        check.refused(post(browser, google.id_token(claims), state=got["state"]),
                      "id_token_invalid", "Google")


def test_T18_nonce_of_another_browser(site):
    victim, attacker = site.browser(), site.browser()
    theirs, mine = site.state(attacker, "google"), site.state(victim, "google")
    token = site.provider.google.id_token(nonce=theirs["nonce"])
    check.refused(post(victim, token, state=mine["state"]), "id_token_invalid", "Google")
    check.refused(post(victim, token, state=theirs["state"]), "state_invalid")


def test_T18_nonce_of_an_own_other_state(site, browser):
    first, second = site.state(browser, "google"), site.state(browser, "google")
    token = site.provider.google.id_token(nonce=first["nonce"])
    check.refused(post(browser, token, state=second["state"]), "id_token_invalid", "Google")


@pytest.mark.process
def test_T18_token_without_a_state_is_good_once(site):
    token = site.provider.google.id_token()
    check.signed_in(post(site.browser(), token))
    for _ in range(8):
        check.refused(post(site.browser(), token), "id_token_invalid", "Google")
    site.httpd.graceful()
    check.refused(post(site.browser(), token), "id_token_invalid", "Google")


@pytest.mark.db
@pytest.mark.parametrize("where", ["memory", "database"])
def test_T18_T29_token_is_good_once_as_long_as_it_is_accepted(make_site, where):
    """Clocks may differ by a minute: a token is accepted that long after its exp, and remembered
    longer."""
    site = make_site(mount="SocialAuthSharedState " + where)
    now = jose.now()
    token = site.provider.google.id_token(iat=now - 200, exp=now - 20)
    check.signed_in(post(site.browser(), token))
    for _ in range(2):
        time.sleep(1.3)
        site.db.ctl("purge")
        check.refused(post(site.browser(), token), "id_token_invalid", "Google")


def test_T18_token_used_with_its_state_is_used(site, browser):
    """Who saw it cannot post it without the state."""
    got = site.state(browser, "google")
    token = site.provider.google.id_token(nonce=got["nonce"])
    check.signed_in(post(browser, token, state=got["state"]))
    check.refused(post(site.browser(), token), "id_token_invalid", "Google")


def test_T18_sixteen_at_once(site):
    site.google_login()                                 # the keys are there
    token = site.provider.google.id_token()
    browsers = [site.browser() for _ in range(16)]
    answers = at_once([lambda b=b: post(b, token) for b in browsers])
    assert sorted(a.status for a in answers) == [200] + [400] * 15


def test_T18_respelled_signature_is_the_same_token(site):
    """What is spent is header and payload, so that another spelling of one token is no new token."""
    google = site.provider.google
    claims, key = google.claims(), google.keys[0]
    ps = make(claims, key, {"alg": "RS256", "kid": key.kid})
    check.signed_in(post(site.browser(), ps))
    for spelling in (ps + "=", ps[:-1] + ("A" if ps[-1] != "A" else "B")):
        check.refused(post(site.browser(), spelling), "id_token_invalid", "Google")
    check.refused(post(site.browser(), ps), "id_token_invalid", "Google")


def test_T29_old_token_without_a_state(make_site):
    site = make_site(mount="SocialAuthMaxTokenAge 600")
    now = jose.now()
    refused(site, site.provider.google.id_token(iat=now - 605, exp=now + 60))
    check.signed_in(site.google_login(iat=now - 605, exp=now + 60))       # a nonce proves freshness
    check.signed_in(post(site.browser(), site.provider.google.id_token(iat=now - 580, exp=now + 60)))


def test_T29_default_is_ten_minutes(site):
    now = jose.now()
    refused(site, site.provider.google.id_token(iat=now - 605, exp=now + 60))
    check.signed_in(post(site.browser(), site.provider.google.id_token(iat=now - 580, exp=now + 60)))


# ---- hosted domain and e-mail (T32..T34)

@pytest.mark.parametrize("hd,email,works", [
    ("example.com", "ada@example.com", True),
    (None, "ada@example.com", False),
    ("evil-example.com", "a@evil-example.com", False),
    ("example.com.evil.test", "a@example.com", False),
    ("sub.example.com", "a@sub.example.com", False),
    ("example.com.", "a@example.com", False),
    (" example.com", "a@example.com", False),
    (["example.com"], "a@example.com", False),
    ("", "a@example.com", False),
    (5, "a@example.com", False),
])
def test_T32_hosted_domain(make_site, hd, email, works):
    site = make_site(providers=["google client-id=%s jwks-url={provider}/google/certs allow-http=on"
                                " hd=example.com" % GOOGLE_CLIENT])
    answer = site.google_login(email=email, hd=hd)
    if works:
        check.signed_in(answer)
    else:
        check.refused(answer, "id_token_invalid", "Google")
        assert site.db.value("SELECT count(*) FROM sa_users") == 0


@pytest.mark.parametrize("verified", [False, "false", "False", "true", 1, 0, None, [], {}, [True]])
def test_T33_unverified_email_neither_creates_nor_joins(site, verified):
    site.make_user("ada@gmail.com", email_verified=True)
    before = site.counts()
    for email in ("ada@gmail.com", "new@gmail.com"):
        check.refused(site.google_login(email=email, email_verified=verified),
                      "email_unverified", "Google")
    assert site.counts() == before


def test_T33_linked_subject_signs_in_whatever_its_email(site):
    first = site.tokens(site.google_login(sub="7"))
    for claims in ({"email_verified": False}, {"email": None, "email_verified": None}):
        assert site.user_id(site.tokens(site.google_login(sub="7", **claims))) == site.user_id(first)


def test_T33_missing_email(site):
    answer = site.google_login(email=None)
    assert answer.status == 400 and answer.word in ("email_missing", "email_unverified"), answer
    assert site.db.value("SELECT count(*) FROM sa_users") == 0


@pytest.mark.parametrize("email,hd,joins", [
    ("victim@corp.example", None, False),
    ("victim@corp.example", "other.example", False),
    ("victim@corp.example", "example", False),
    ("victim@corp.example", "corp.example", True),
    ("victim@gmail.com", None, True),
    ("victim@gmail.com.evil.example", None, False),
    ("victim@notgmail.com", None, False),
    ("Victim@GMail.Com", None, True),
])
def test_T34_google_vouches_only_for_its_own(site, email, hd, joins):
    local = site.make_user(email.lower(), email_verified=True)
    before = site.counts()
    answer = site.google_login(email=email, hd=hd)
    if joins:
        assert site.user_id(check.signed_in(answer)) == str(local)
    else:
        check.refused(answer, "account_exists", "Google")
        assert site.counts() == before


def test_T34_verified_but_not_vouched_may_make_a_new_user(site):
    check.signed_in(site.google_login(email="new@corp.example"))
    assert not site.db.value("SELECT email_verified FROM sa_users")
    check.signed_in(site.google_login(email="new@gmail.com"))
    assert site.db.value("SELECT email_verified FROM sa_users WHERE email = 'new@gmail.com'")


# ---- keys (the cache itself: test_provider_faults)

def test_unknown_kid_brings_one_refetch(site, make_site):
    site = make_site(private=True)
    google = site.provider.google
    check.signed_in(site.google_login())
    assert len(site.provider.asked(CERTS)) == 1
    stranger = Key("RS256", "never-seen")
    for _ in range(5):
        refused(site, make(google.claims(), stranger))
    assert len(site.provider.asked(CERTS)) <= 2


def test_T19_provider_without_credentials_is_not_there(make_site):
    site = make_site(providers=["github", "google client-id=%s jwks-url={provider}/google/certs allow-http=on"
                                % GOOGLE_CLIENT])
    site.expect_log("SocialAuthProvider github is disabled at /api/social-auth: client-id is missing")
    browser = site.browser()
    for method, path in (("GET", "github/state/"), ("POST", "github/login/"), ("POST", "github/link/"),
                         ("POST", "github/unlink/")):
        answer = browser.request(method, path, json=None if method == "GET" else {})
        assert answer.status == 404 and answer.word == "not_found", answer
    tokens = site.tokens(site.google_login())
    listed = browser.get("linked-accounts/", bearer=tokens["access"]).json()["providers"]
    assert [p["label"] for p in listed] == ["Google"]
    assert "client-id" in site.httpd.log() and "github" in site.httpd.log()
