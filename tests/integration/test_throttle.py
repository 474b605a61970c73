"""How often one may try (threat section K)."""
import base64
import collections
import hashlib
import itertools
import os
import re
import statistics
import time

import pytest

from support import check, vectors
from support.client import at_once, raw_one
from support.site import STRONG

V6 = """
Listen [::1]:{port}
RemoteIPHeader X-Forwarded-For
RemoteIPInternalProxy 127.0.0.1 ::1
"""
RATES = ("SocialAuthThrottleRate %s\nSocialAuthPasswordThrottleRate %s\nSocialAuthAccountThrottleRate %s")


@pytest.fixture
def limited(make_site):
    """limited("10/minute", password="off", account="off"): a server nobody asked yet."""
    def make(social="off", password="off", account="off", **kw):
        mount = RATES % (social, password, account) + "\n" + kw.pop("mount", "")
        return make_site(throttle=None, mount=mount, private=True, **kw)
    return make


def statuses(calls):
    return collections.Counter(c().status for c in calls)


def throttled(answer):
    assert answer.status == 429, answer
    check.json_headers(answer)
    seconds = int(answer.header("Retry-After"))
    match = re.match(r"^Request was throttled\. Expected available in (\d+) seconds?\.$",
                     answer.json()["detail"])
    assert match and int(match.group(1)) == seconds, answer
    assert answer.word == "throttled"
    return seconds


# ---- the number

def test_default_is_ten_a_minute(make_site):
    site = make_site(throttle=None, private=True)
    browser = site.browser()
    got = [browser.get("github/state/").status for _ in range(15)]
    assert got == [200] * 10 + [429] * 5


def test_T179_answer(limited):
    site = limited("2/minute")
    browser = site.browser()
    for _ in range(2):
        browser.get("github/state/")
    assert 1 <= throttled(browser.get("github/state/")) <= 60
    # Refused before anything of the request is looked at.
    throttled(browser.post("github/login/", {"code": "c", "state": "s"}))
    throttled(browser.request("POST", "github/login/", body=b"{", content_type="application/json"))
    throttled(browser.request("POST", "google/login/", body=b"x", content_type="text/plain"))
    assert site.provider.asked() == []


@pytest.mark.limit(120)
def test_window_slides(limited):
    site = limited("3/second")
    browser = site.browser()
    for _ in range(3):
        while browser.get("github/state/").status != 429:
            pass
        time.sleep(1.05)
        assert [browser.get("github/state/").status for _ in range(3)] == [200] * 3
        time.sleep(1.05)


def test_at_most_n_in_any_window(limited):
    """A sliding window, as DRF's: no second burst at the turn of a minute or second."""
    site = limited("5/second")
    browser = site.browser()
    times = []
    while len(times) < 20:
        before = time.monotonic()
        if browser.get("github/state/").status == 200:
            times.append((before, time.monotonic()))
    for i in range(len(times) - 5):
        assert times[i + 5][1] - times[i][0] > 0.98, i


@pytest.mark.process
def test_T172_T173_exact_over_all_children(limited):
    site = limited("25/minute")
    answers = at_once([lambda: site.browser().get("github/state/") for _ in range(120)])
    assert collections.Counter(a.status for a in answers) == {200: 25, 429: 95}


@pytest.mark.process
def test_T172_kept_across_graceful_restarts(limited):
    site = limited("4/minute")
    got = []
    for _ in range(4):
        got.append(site.browser().get("github/state/").status)
        got.append(site.browser().get("github/state/").status)
        site.httpd.graceful()
    assert got == [200] * 4 + [429] * 4


def test_one_counter_for_the_social_endpoints(limited):
    site = limited("6/minute")
    browser = site.browser()
    got = [browser.get("github/state/"), browser.get("google/state/"), browser.post("github/login/", {}),
           browser.post("google/login/", {}), browser.post("github/login", {}), browser.get("github/state"),
           browser.get("github/state/"), browser.post("google/login/", {})]
    assert [a.status for a in got] == [200, 200, 400, 400, 400, 200, 429, 429]


def test_what_is_not_throttled(limited):
    site = limited("3/minute", "3/minute", "3/minute")
    browser = site.browser()
    while browser.get("github/state/").status != 429:
        pass
    for _ in range(30):
        assert browser.post("token/refresh/", {"refresh": "x"}).status == 401
        assert browser.post("token/verify/", {"token": "x"}).status == 401
        assert browser.get("linked-accounts/").status == 401
        assert browser.get(".well-known/jwks.json").status == 200


def test_signed_in_users_have_their_own_counter(limited):
    site = limited("6/minute")
    people = []
    for i in range(2):
        browser = site.browser(source="127.0.0.%d" % (20 + i))
        people.append(site.tokens(site.google_login(browser, with_state=False))["access"])
    one = site.browser(source="127.0.0.30")
    got = [one.get("github/state/", bearer=people[0]).status for _ in range(8)]
    assert got == [200] * 6 + [429] * 2
    assert one.get("github/state/", bearer=people[1]).status == 200
    assert one.get("github/state/").status == 200
    elsewhere = site.browser(source="127.0.0.31")
    assert elsewhere.get("github/state/", bearer=people[0]).status == 429


def test_T170_a_garbage_bearer_is_no_new_client(limited):
    site = limited("3/minute")
    browser = site.browser()
    got = [browser.get("github/state/", bearer="garbage%d" % i).status for i in range(8)]
    assert 200 not in got[3:] and (429 in got or set(got) == {401})


# ---- who the client is

_clients = itertools.count(1)


@pytest.mark.parametrize("case", vectors.cases("hostile/http_inputs.json", "xff"))
def test_T170_forwarded_for_from_anyone(make_site, case):
    site = make_site(throttle="20/minute")
    source = "127.0.1.%d" % next(_clients)
    got = []
    for i in range(60):
        answer = raw_one(site.port, b"GET /api/social-auth/github/state/ HTTP/1.1\r\nHost: localhost\r\n"
                         b"X-Forwarded-For: " + case["value"].encode() + b"\r\nForwarded: for=10.0.0.%d\r\n"
                         b"X-Real-IP: 10.0.0.%d\r\nConnection: close\r\n\r\n" % (i, i), source=source)
        got.append(answer.status)
        if answer.status == 429:
            break
    assert 429 in got


def test_T170_rotating_forwarded_for(limited):
    site = limited("5/minute")
    browser = site.browser()
    got = [browser.get("github/state/", headers={"X-Forwarded-For": "10.0.%d.%d" % (i, i)}).status
           for i in range(12)]
    assert got == [200] * 5 + [429] * 7


def test_T170_counts_through_mod_remoteip(limited):
    site = limited("2/minute", server="RemoteIPHeader X-Forwarded-For\nRemoteIPInternalProxy 127.0.0.1")
    browser = site.browser()
    for client in ("198.51.100.1", "198.51.100.2"):
        got = [browser.get("github/state/", headers={"X-Forwarded-For": client}).status for _ in range(3)]
        assert got == [200, 200, 429]
    # What the client itself wrote further left counts for nothing.
    for i in range(3):
        answer = browser.get("github/state/", headers={"X-Forwarded-For": "10.0.0.%d, 198.51.100.1" % i})
        assert answer.status == 429


def test_T171_one_ipv6_network_is_one_client(limited):
    site = limited("4/minute", server="RemoteIPHeader X-Forwarded-For\nRemoteIPInternalProxy 127.0.0.1")
    browser = site.browser()
    data = vectors.load("hostile/http_inputs.json")
    addresses = [c["value"] for c in data["cases"] if c["group"] == "ipv6_same64"] if data else []
    addresses += ["2001:db8:1:1:%x::1" % i for i in range(8)]
    got = [browser.get("github/state/", headers={"X-Forwarded-For": a}).status for a in addresses]
    assert got == [200] * 4 + [429] * (len(addresses) - 4)
    for other in ("2001:db8:1:2::1", "2001:db8:2:1::1"):
        assert browser.get("github/state/", headers={"X-Forwarded-For": other}).status == 200


def test_T171_ipv4_in_ipv6_is_that_address(limited):
    site = limited("2/minute", server="RemoteIPHeader X-Forwarded-For\nRemoteIPInternalProxy 127.0.0.1")
    browser = site.browser()
    got = [browser.get("github/state/", headers={"X-Forwarded-For": a}).status
           for a in ("::ffff:198.51.100.7", "198.51.100.7", "198.51.100.7", "::ffff:198.51.100.8")]
    assert got == [200, 200, 429, 200]


def test_clients_do_not_share(limited):
    site = limited("2/minute")
    for i in range(5):
        browser = site.browser(source="127.0.0.%d" % (100 + i))
        assert [browser.get("github/state/").status for _ in range(3)] == [200, 200, 429]


def test_T177_spellings_share_one_counter(limited):
    site = limited("4/minute")
    browser = site.browser()
    mount = site.settings.path
    paths = [mount + "/github/login", mount + "/github/login/", mount + "//github/login/",
             mount + "/./github/login/", mount + "/github/%6Cogin/", mount + "/x/../github/login/"]
    got = [browser.request("POST", p, json={}).status for p in paths]
    got += [browser.request("POST", paths[0], form={}).status]
    assert got[4:] == [429] * 3, got


def test_T183_github_is_not_asked_beyond_the_limit(limited):
    site = limited("10/minute")
    browser = site.browser()
    states = [site.state(browser)["state"] for _ in range(4)]
    for i in range(40):
        browser.post("github/login/", {"code": "guess%d" % i, "state": states[i % 4]})
    assert len(site.provider.asked("/github/token")) <= 10


# ---- passwords

def test_password_login_has_its_own_counter(limited):
    site = limited(social="2/minute", password="3/minute")
    site.make_user("ada@example.org")
    browser = site.browser()
    while browser.get("github/state/").status != 429:
        pass
    assert [site.password_login("ada@example.org", "wrong", browser).status for _ in range(5)] \
        == [401] * 3 + [429] * 2
    throttled(site.password_login("ada@example.org", browser=browser))


# A fifth of an account's rate, at least one, is for clients that gave its right password before.

def test_T174_one_account_from_many_addresses(limited):
    site = limited(account="6/minute")
    site.make_user("ada@example.org")
    got = [site.password_login("ada@example.org", "wrong", site.browser(source="127.0.2.%d" % i)).status
           for i in range(1, 13)]
    assert got == [401] * 5 + [429] * 7
    # The name is no other account than the e-mail.
    answer = site.browser(source="127.0.2.99").post("token/", {"username": "local1", "password": "wrong"})
    assert answer.status == 429


def test_T174_spelling_of_the_address_is_one_account(limited):
    site = limited(account="4/minute")
    site.make_user("ada@example.org")
    got = [site.password_login(e, "wrong").status for e in (
        "ada@example.org", "ADA@example.org", "Ada@EXAMPLE.org", "ada@Example.Org")]
    assert got == [401, 401, 401, 429]


def test_T174_account_is_one_whatever_the_mount(limited):
    """Mounts on one database have the same accounts."""
    site = limited(account="5/minute", more="""
<Location "/two">
    SetHandler social-auth
    %s
</Location>""" % (RATES % ("off", "off", "5/minute")))
    site.make_user("ada@example.org")
    two = site.browser(mount="/two")
    got = [site.password_login("ada@example.org", "wrong", browser).status
           for browser in (site.browser(), two) * 3]
    assert got == [401] * 4 + [429] * 2


def test_T175_success_elsewhere_resets_nothing(limited):
    site = limited(account="7/minute", password="1000/minute")
    site.make_user("victim@example.org")
    site.make_user("mine@example.org")
    got = []
    for _ in range(4):
        got += [site.password_login("victim@example.org", "wrong").status for _ in range(2)]
        got.append(site.password_login("mine@example.org").status)
    assert got[:9] == [401, 401, 200] * 3 and got[9:11] == [429, 429]


def test_T176_social_login_of_the_victim_still_works(limited):
    site = limited(account="3/minute", social="100/minute")
    user = site.provider.github.user(email="ada@example.com")
    site.make_user("ada@example.com")
    for _ in range(10):
        site.password_login("ada@example.com", "wrong")
    throttled(site.password_login("ada@example.com"))
    check.signed_in(site.github_login(user=user))


def test_T174_T176_right_passwords_do_not_count(limited):
    site = limited(account="4/minute")
    site.make_user("ada@example.org")
    for i in range(12):
        check.signed_in(site.password_login("ada@example.org", browser=site.browser(source="127.0.3.%d" % i)))


@pytest.mark.process
def test_T176_owner_gets_in_while_somebody_fails_all_day(limited):
    site = limited(account="20/hour")
    site.make_user("ada@example.org")
    owner = site.browser(source="127.0.4.1")
    check.signed_in(site.password_login("ada@example.org", browser=owner))
    failed = collections.Counter()
    for i in range(40):
        attacker = site.browser(source="127.0.5.%d" % (1 + i))
        failed[site.password_login("ada@example.org", "wrong", attacker).status] += 1
        attacker.close()
        if i % 8 == 0:
            check.signed_in(site.password_login("ada@example.org", browser=owner))
    assert failed == {401: 16, 429: 24}
    # An address nobody signed in from is one like any other, and so is the owner's for other accounts.
    throttled(site.password_login("ada@example.org", browser=site.browser(source="127.0.4.2")))
    # The owner's share is bounded as well: both together are the rate.
    got = [site.password_login("ada@example.org", "wrong", owner).status for _ in range(6)]
    assert got == [401] * 4 + [429] * 2
    throttled(site.password_login("ada@example.org", browser=owner))


def test_T176_known_is_known_to_one_account_only(limited):
    site = limited(account="6/minute")
    site.make_user("mine@example.org")
    site.make_user("victim@example.org")
    browser = site.browser(source="127.0.4.3")
    check.signed_in(site.password_login("mine@example.org", browser=browser))
    got = [site.password_login("victim@example.org", "wrong", browser).status for _ in range(7)]
    assert got == [401] * 5 + [429] * 2
    check.signed_in(site.password_login("mine@example.org", browser=browser))


def test_T176_known_after_a_graceful_restart(limited):
    site = limited(account="6/hour")
    site.make_user("ada@example.org")
    owner = site.browser(source="127.0.4.4")
    check.signed_in(site.password_login("ada@example.org", browser=owner))
    site.httpd.graceful()
    while site.password_login("ada@example.org", "wrong", site.browser(source="127.0.4.5")).status != 429:
        pass
    owner.close()
    check.signed_in(site.password_login("ada@example.org", browser=owner))


@pytest.mark.process
def test_T173_T174_burst_of_wrong_passwords(limited):
    """Counted before they are checked: no more are checked than the rate allows."""
    site = limited(account="50/hour")
    site.expect_log("busy", "all database connections are in use")
    site.make_user("ada@example.org")
    answers = at_once([lambda i=i: site.password_login("ada@example.org", "wrong",
                                                       site.browser(source="127.0.6.%d" % (1 + i)))
                       for i in range(100)])
    got = collections.Counter(a.status for a in answers)
    assert set(got) <= {401, 429, 503} and 1 <= got[401] <= 40, got
    while site.password_login("ada@example.org", "wrong").status == 401:
        got[401] += 1
    assert got[401] == 40, got        # what nobody checked was taken back


def test_T182_unknown_users_are_limited_alike(limited):
    site = limited(account="5/minute")
    site.make_user("ada@example.org")
    for email in ("ada@example.org", "nobody@example.org"):
        got = [site.password_login(email, "wrong").status for _ in range(7)]
        assert got == [401] * 4 + [429] * 3


def test_T182_spellings_of_an_unknown_address_share_a_counter(limited):
    site = limited(account="5/minute")
    site.make_user("ada@example.org")
    for email in ("ada@example.org", "nobody@example.org"):
        got = [site.password_login(spelled, "wrong").status for spelled in
               (email, email.upper(), email.title()) * 2]
        assert got == [401] * 4 + [429] * 2


def imported(password):
    """A hash as Django stores it."""
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), b"salt", 400000)
    return "pbkdf2_sha256$400000$salt$" + base64.b64encode(digest).decode()


def sorts_of_accounts(site, with_imported):
    site.make_user("known@example.org")
    site.make_user("inactive@example.org", is_active=False)
    site.make_user("social@example.org", password=None)
    sorts = {"known": "known@example.org", "inactive": "inactive@example.org",
             "social": "social@example.org", "unknown": "unknown%d@example.org"}
    if with_imported:
        site.make_user("imported@example.org", **{"password": STRONG})
        site.db.query("UPDATE sa_users SET password = ? WHERE email = 'imported@example.org'",
                      imported(STRONG))
        sorts["imported"] = "imported@example.org"
    return sorts


def processor_time(site):
    """ns that the children have computed: a busy machine stretches the time, but not this."""
    total = 0
    for pid in site.httpd.children():
        for task in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/schedstat" % (pid, task)) as f:
                total += int(f.read().split()[0])
    return total


def spread_of(site, sorts, clock, rounds=30):
    """How far the sorts are apart in the median, each round compared with itself only."""
    ratios = collections.defaultdict(list)
    browser = site.browser()
    for i in range(rounds):
        took = {}
        for sort, email in sorts.items():
            start = clock()
            answer = site.password_login(email.replace("%d", str(i)), "wrong-password", browser)
            took[sort] = clock() - start
            check.refused(answer, "bad_credentials")
        for sort in sorts:
            ratios[sort].append(took[sort] / statistics.median(took.values()))
    medians = {sort: statistics.median(r) for sort, r in ratios.items()}
    return max(medians.values()) / min(medians.values()), medians


def same_time(site, sorts, clock):
    """The best of four: nothing but a real difference is there every time."""
    spreads = []
    while len(spreads) < 4 and (not spreads or spreads[-1][0] >= 1.05):
        spreads.append(spread_of(site, sorts, clock))
    assert spreads[-1][0] < 1.05, spreads


@pytest.mark.db
@pytest.mark.limit(300)
def test_T181_all_sorts_of_accounts_take_the_same_time(make_site):
    site = make_site(private=True)
    sorts = sorts_of_accounts(site, False)
    same_time(site, sorts, lambda: processor_time(site))


@pytest.mark.db
@pytest.mark.slow
@pytest.mark.own_malloc
@pytest.mark.limit(300)
def test_T181_imported_hashes_take_the_same_time(make_site):
    """Their cost is another: here all refusals wait for the slowest."""
    site = make_site(private=True)
    sorts = sorts_of_accounts(site, True)
    site.password_login("imported@example.org", "wrong-password")       # the first one sets the pace
    same_time(site, sorts, time.perf_counter)


@pytest.mark.db
def test_T120_unknown_and_wrong_clients_take_the_same_time(site):
    """Of the secrets that socialauthctl made. An imported one is hashed as slowly as where it comes from until it is
    used for the first time: that is outside of this."""
    app, browser = site.application(), site.browser(held=False)
    clients = {"wrong": {**app, "client_secret": "x" * len(app["client_secret"])},
               "unknown": {**app, "client_id": "x" * len(app["client_id"])}}

    def spread():
        took = collections.defaultdict(list)
        for _ in range(300):
            for sort, client in clients.items():
                start = time.perf_counter()
                answer = browser.post("introspect", {"token": "x", **client})
                took[sort].append(time.perf_counter() - start)
                assert (answer.status, answer.word) == (401, "invalid_client"), answer
        deciles = [statistics.quantiles(times, n=10)[0] for times in took.values()]
        return max(deciles) / min(deciles)
    spreads = []
    while len(spreads) < 3 and (not spreads or spreads[-1] >= 1.1):
        spreads.append(spread())
    assert spreads[-1] < 1.1, spreads


@pytest.mark.db
def test_T180_all_sorts_of_accounts_get_the_same_answer(site):
    browser = site.browser()
    seen = {}
    for sort, email in sorts_of_accounts(site, True).items():
        for password in ("wrong-password", STRONG) if sort not in ("known", "imported") else ("wrong-password",):
            answer = site.password_login(email, password, browser)
            headers = [(k, v) for k, v in answer.all_headers if k.lower() not in ("date", "keep-alive")]
            seen[sort, password] = (answer.status, headers, answer.body)
    assert len(seen) == 8
    assert len({repr(v) for v in seen.values()}) == 1, seen


def test_many_hashes_at_once_leave_room(make_site):
    """Forty wrong passwords at once: everybody else is served, and the account is not locked."""
    site = make_site()
    site.expect_log("busy", "all database connections are in use")
    site.make_user("ada@example.org")
    answers = at_once([lambda: site.password_login("ada@example.org", "wrong") for _ in range(40)]
                      + [lambda: site.browser().get("github/state/")])
    assert {a.status for a in answers[:-1]} <= {401, 429, 503}
    assert answers[-1].status == 200
    check.signed_in(site.password_login("ada@example.org"))


# ---- settings

@pytest.mark.parametrize("directive", ["SocialAuthThrottleRate", "SocialAuthPasswordThrottleRate",
                                       "SocialAuthAccountThrottleRate"])
@pytest.mark.parametrize("value", ["10", "x/minute", "10/fortnight", "0/minute", "-1/minute", "1.5/minute",
                                   "10/", "/minute", "999999999999/day", "10 per minute"])
def test_rates_are_checked(site, directive, value):
    status, said = site.httpd.try_edit("SetHandler social-auth",
                                       'SetHandler social-auth\n%s "%s"' % (directive, value))
    assert status != 0 and directive in said and "minute" in said, said


def test_mounts_count_apart(make_site):
    """Nothing leaks from one mount to the other."""
    more = """<Location "/two">
    SetHandler social-auth
    SocialAuthThrottleRate 2/minute
    SocialAuthProvider github client-id=x client-secret=y
</Location>"""
    site = make_site(throttle="2/minute", more=more, private=True)
    browser = site.browser()
    assert [browser.get("github/state/").status for _ in range(3)] == [200, 200, 429]
    assert [browser.get("/two/github/state/").status for _ in range(3)] == [200, 200, 429]


def test_T178_many_keys_fill_no_memory(make_site):
    """A flood of addresses pushes out old ones; nobody is locked out and nothing is an error."""
    site = make_site(throttle="5/minute", private=True,
                     server="SocialAuthSharedMemory 1M\n"
                            "RemoteIPHeader X-Forwarded-For\nRemoteIPInternalProxy 127.0.0.1")
    browser = site.browser()
    for i in range(6000):
        answer = browser.get("github/state/", headers={"X-Forwarded-For": "10.%d.%d.7" % (i >> 8, i & 255)})
        assert answer.status == 200, (i, answer)
    got = [browser.get("github/state/", headers={"X-Forwarded-For": "192.0.2.1"}).status for _ in range(7)]
    assert got == [200] * 5 + [429] * 2


def test_T178_wall_clock_steps_back(limited):
    site = limited("3/second", faketime="+0")
    site.httpd.set_clock("+0")
    browser = site.browser()
    while browser.get("github/state/").status != 429:
        pass
    site.httpd.set_clock("-3600")
    time.sleep(1.1)
    assert browser.get("github/state/").status == 200


def test_password_of_the_right_user_after_the_window(limited):
    site = limited(account="2/second")
    site.make_user("ada@example.org")
    while site.password_login("ada@example.org", "wrong").status != 429:
        pass
    time.sleep(1.1)
    check.signed_in(site.password_login("ada@example.org", STRONG))
