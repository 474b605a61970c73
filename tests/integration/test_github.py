"""GitHub's code flow: what the module asks, and what it makes of the answers."""
import pytest

from support import check, jose, vectors
from support.client import in_background
from support.fake_provider import GITHUB_CLIENT, GITHUB_SECRET, Reply

TOKEN, USER, EMAILS = "/github/token", "/github/user", "/github/emails"
NAMES = "SELECT email, username, first_name, last_name FROM sa_users"


def login_with(site, path, reply, user=None):
    with site.provider.scripted(path, reply):
        return site.github_login(user=user)


def reply_of(case):
    headers = [("Location", case["location"])] if case.get("location") else []
    return Reply(case["status"], case["body"].encode("utf-8", "surrogatepass"),
                 case["content_type"], headers)


# ---- the good way

@pytest.mark.db
def test_first_login_makes_a_user(site, browser):
    user = site.provider.github.user(email="Ada@Example.com", id=583231, login="ada",
                                     name="Ada Augusta Lovelace")
    tokens = check.signed_in(site.github_login(browser, user))
    (row,) = site.db.query(NAMES)
    assert row[0] == "ada@example.com"
    assert row[1] == "ada"
    assert (row[2] + " " + row[3]).strip() == "Ada Augusta Lovelace"
    assert site.links() == [("https://github.com", "583231")]
    assert site.user_id(tokens) == str(site.db.value("SELECT id FROM sa_users"))
    assert site.db.value("SELECT last_login FROM sa_users") is not None


@pytest.mark.db
def test_second_login_is_the_same_user(site):
    user = site.provider.github.user()
    first, second = (site.tokens(site.github_login(user=user)) for _ in range(2))
    assert site.user_id(first) == site.user_id(second)
    assert len(site.links()) == 1


def test_form_body_and_no_slash(site, browser):
    state = site.state(browser)["state"]
    code = site.provider.github.code(site.provider.github.user())
    check.signed_in(browser.post("github/login", form={"code": code, "state": state}))


def test_what_is_asked_of_github(site):
    provider = site.provider
    check.signed_in(site.github_login())
    (token,) = provider.asked(TOKEN)
    assert token.method == "POST"
    assert token.headers["content-type"] == "application/x-www-form-urlencoded"
    assert "application/json" in token.headers["accept"]
    assert token.headers["user-agent"]
    form = token.form
    basic = token.headers.get("authorization", "")
    assert form.get("client_secret") == GITHUB_SECRET or basic.startswith("Basic ")
    assert form["client_id"] == GITHUB_CLIENT
    assert "redirect_uri" not in form and "code_verifier" not in form
    for path in (USER, EMAILS):
        (asked,) = provider.asked(path)
        assert asked.method == "GET"
        assert asked.headers["authorization"].startswith("Bearer gho_")
        assert asked.headers["user-agent"]
        assert not asked.body


def test_user_and_emails_are_asked_at_the_same_time(site):
    def asked():
        return [len(site.provider.asked(path)) for path in (USER, EMAILS)]
    site.provider.script(USER, Reply(delay=9, body=site.provider.github.user()["user"]))
    site.provider.script(EMAILS, Reply(delay=9, body=site.provider.github.user()["emails"]))
    answer = in_background(site.github_login)
    site.httpd.wait_for(lambda: asked() == [1, 1], "both to be asked, none being answered", 8)
    site.provider.release()
    check.signed_in(answer())


ONE_CHILD = """StartServers 1
ServerLimit 1
ThreadsPerChild 8
MaxRequestWorkers 8
MinSpareThreads 1
MaxSpareThreads 8"""


@pytest.mark.cell("event", "pgsql")
def test_connections_to_github_stay_warm(make_site):
    site = make_site(mpm_settings=ONE_CHILD)
    for _ in range(5):
        check.signed_in(site.github_login())
    peers = {r.peer for r in site.provider.asked()}
    assert len(peers) <= 3, peers


def test_no_provider_token_is_kept(site):
    """T66."""
    site.github_login()
    dump = site.db.dump()
    tokens = list(site.provider.github._tokens)
    assert tokens and not any(t in dump for t in tokens)
    assert GITHUB_SECRET not in dump


def test_T37_renamed_at_github_is_the_same_user(site):
    github = site.provider.github
    first = site.tokens(site.github_login(user=github.user(id=77, login="old", email="old@example.com")))
    again = site.tokens(site.github_login(user=github.user(id=77, login="new", email="new@example.com")))
    assert site.user_id(first) == site.user_id(again)
    other = site.github_login(user=github.user(id=78, login="old", email="third@example.com"))
    assert site.user_id(site.tokens(other)) != site.user_id(first)


# ---- redirect_uri

def test_redirect_uri_must_be_listed(make_site):
    uri = "https://app.example.test/callback?x=1"
    site = make_site(providers=["github client-id=%s client-secret=%s token-url={provider}/github/token"
                                " userinfo-url={provider}/github/user emails-url={provider}/github/emails"
                                " allow-http=on redirect-uri=%s redirect-uri=https://two.example/cb"
                                % (GITHUB_CLIENT, GITHUB_SECRET, uri)])
    github = site.provider.github
    for bad in (uri + "/", uri.upper(), uri[:-1], "https://evil.example/", "//", uri + "#",
                uri.replace("https", "http")):
        browser = site.browser()
        state = site.state(browser)["state"]
        answer = browser.post("github/login/", {"code": github.code(github.user()), "state": state,
                                                "redirect_uri": bad})
        assert answer.status == 400 and list(answer.json()) != [], answer
        assert "redirect_uri" in answer.json(), answer
    assert site.provider.asked(TOKEN) == []
    browser = site.browser()
    state = site.state(browser)["state"]
    check.signed_in(browser.post("github/login/", {
        "code": github.code(github.user(), redirect_uri=uri), "state": state, "redirect_uri": uri}))
    assert site.provider.asked(TOKEN)[0].form["redirect_uri"] == uri


def test_redirect_uri_without_a_list(site, browser):
    state = site.state(browser)["state"]
    answer = browser.post("github/login/", {"code": "c", "state": state,
                                            "redirect_uri": "https://evil.example/"})
    assert answer.status == 400 and "redirect_uri" in answer.json(), answer


# ---- refusals

def test_T36_bad_code(site, browser):
    before = site.counts()
    state = site.state(browser)["state"]
    check.refused(browser.post("github/login/", {"code": "wrong", "state": state}),
                  "provider_rejected", "GitHub")
    assert site.counts() == before


def test_T36_wrong_client_secret_does_not_show(make_site):
    site = make_site(providers=["github client-id=%s client-secret=not-the-right-secret"
                                " token-url={provider}/github/token userinfo-url={provider}/github/user"
                                " emails-url={provider}/github/emails allow-http=on" % GITHUB_CLIENT])
    site.expect_log(r"incorrect_client_credentials|github")
    answer = site.github_login()
    check.refused(answer, "provider_rejected", "GitHub")
    assert "not-the-right-secret" not in answer.text + site.httpd.recent_log()


@pytest.mark.parametrize("case", vectors.cases("hostile/provider_responses.json",
                                               "github_token", "github_user", "github_emails"))
def test_T199_T35_T36_T38_provider_response_vectors(site, case):
    site.expect_log(r"github|GitHub")
    group = case["id"].rsplit("-", 1)[0]
    path = {"github_token": TOKEN, "github_user": USER, "github_emails": EMAILS}[group]
    user = site.provider.github.user(email="ada@example.test", id=583231)
    before = site.counts()
    if group == "github_token":
        # The vector's token is one that the fake knows, so that a login may succeed.
        for known in ("gho_16C7e42F292c6912E7710c838347Ae178B4a", "gho_x", "x", "a", "b"):
            site.provider.github._tokens[known] = user
    answer = login_with(site, path, reply_of(case), user)
    if case["expect"] == "ok" and not case.get("either"):
        check.signed_in(answer)
    elif case.get("either"):
        assert answer.status in (200, 400, 502), answer
    else:
        assert answer.status in (400, 401, 502, 504), answer
        check.json_headers(answer)
        assert "error" in answer.json()
    if answer.status != 200:
        assert site.counts() == before
        for word in ("example.test", "evil", "gho_", "octocat", "accessible", "incorrect or expired"):
            assert word not in answer.text, answer
    else:
        (link,) = site.links()
        assert link[0] == "https://github.com"
        if "9007199254740993" in case["body"]:
            assert link[1] == "9007199254740993"
        elif group == "github_user" and "583231" in case["body"] and "e5" not in case["body"]:
            assert link[1] == "583231"
        if group == "github_emails":
            assert site.db.value("SELECT email FROM sa_users") == "ada@example.test"
    assert [r for r in site.provider.asked() if "steal" in r.path] == []
    assert len(site.provider.asked(TOKEN)) == 1         # a code is never sent twice
    check.signed_in(site.github_login())


def test_T35_public_address_is_never_used(site):
    user = site.provider.github.user(emails=[])
    user["user"]["email"] = "public@example.com"
    check.refused(site.github_login(user=user), "email_missing", "GitHub")
    assert site.db.value("SELECT count(*) FROM sa_users") == 0


@pytest.mark.parametrize("emails", [
    [{"email": "a@example.com", "primary": True, "verified": False}],
    [{"email": "a@example.com", "primary": False, "verified": True}],
    [{"email": "victim@example.com", "primary": True, "verified": False},
     {"email": "a@example.com", "primary": False, "verified": True}],
    [{"email": "a@example.com", "primary": 1, "verified": 1}],
    [{"email": "a@example.com", "primary": "true", "verified": "true"}],
    [{"primary": True, "verified": True}],
    [],
])
def test_T35_primary_and_verified_in_one_entry(site, emails):
    before = site.counts()
    check.refused(site.github_login(user=site.provider.github.user(emails=emails)),
                  "email_missing", "GitHub")
    assert site.counts() == before


def test_T35_two_primaries(site):
    emails = [{"email": "a@example.com", "primary": True, "verified": True},
              {"email": "b@example.com", "primary": True, "verified": True}]
    answer = site.github_login(user=site.provider.github.user(emails=emails))
    assert answer.status == 400, answer
    assert site.db.value("SELECT count(*) FROM sa_users") == 0


def test_linked_identity_needs_no_email_any_more(site):
    """E-mail checks apply at steps 2 and 3 only."""
    github = site.provider.github
    first = site.tokens(site.github_login(user=github.user(id=5, email="a@example.com")))
    again = site.tokens(site.github_login(user=github.user(id=5, emails=[])))
    assert site.user_id(first) == site.user_id(again)


def test_T38_ids_are_compared_byte_by_byte(site):
    github = site.provider.github
    ids = [9007199254740992, 9007199254740993, 9223372036854775807, 1, 10]
    users = {site.user_id(site.tokens(site.github_login(user=github.user(id=i, login="l%d" % i))))
             for i in ids}
    assert len(users) == len(ids)
    assert {s for _, s in site.links()} == {str(i) for i in ids}


@pytest.mark.db
@pytest.mark.parametrize("name", ["Robert'); DROP TABLE sa_users;--", "<script>alert(1)</script>",
                                  "%s%n%x", "Łukasz Żółć", "🦊 Fox", "O'Brien \\", "$1 ?1 :a",
                                  "x" * 5000, " ", "\t\n", "one"])
def test_T109_names_are_text(site, name):
    tokens = site.tokens(site.github_login(user=site.provider.github.user(name=name)))
    assert site.db.value("SELECT count(*) FROM sa_users") == 1
    assert site.user_id(tokens)
    first, last = site.db.one("SELECT first_name, last_name FROM sa_users")
    assert " ".join(name.split()).startswith((first + " " + last).strip())
    assert "\n" not in first + last


def test_enterprise_issuer(make_site):
    site = make_site(providers=["github client-id=%s client-secret=%s token-url={provider}/github/token"
                                " userinfo-url={provider}/github/user emails-url={provider}/github/emails"
                                " allow-http=on issuer=https://git.corp.example label=Forge"
                                % (GITHUB_CLIENT, GITHUB_SECRET)])
    tokens = site.tokens(site.github_login(user=site.provider.github.user(id=9)))
    assert site.links() == [("https://git.corp.example", "9")]
    (entry,) = site.browser().get("linked-accounts/", bearer=tokens["access"]).json()["providers"]
    assert entry["label"] == "Forge" and entry["is_linked"] is True
    answer = site.github_login(user=site.provider.github.user(emails=[]))
    check.refused(answer, "email_missing", "Forge")


def test_token_and_code_together(make_site):
    site = make_site(providers=["google client-id=c1 client-secret=s1 token-url={provider}/google/token"
                                " jwks-url={provider}/google/certs allow-http=on"])
    browser = site.browser()
    state = site.state(browser, "google")["state"]
    answer = browser.post("google/login/", {"code": "c", "token": "t", "state": state})
    assert answer.status == 400, answer
    assert site.provider.asked() == []


def test_access_token_claims(site):
    tokens = site.tokens(site.github_login())
    claims, header = jose.claims_of(tokens["access"]), jose.header_of(tokens["access"])
    assert header["typ"] == "at+jwt" and header["alg"] == "HS256"
    assert claims["token_type"] == "access" and claims["sub"] == str(claims["user_id"])
    assert claims["iss"] == site.issuer and claims["aud"] == site.issuer
    assert claims["exp"] - claims["iat"] == 3600
    assert "github" in str(claims["amr"])
    assert jose.header_of(tokens["refresh"])["typ"] == "rt+jwt"
