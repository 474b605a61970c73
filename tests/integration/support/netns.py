"""What test_netns.py runs in a network namespace of its own, as
`unshare -n -m --fork python3 -m support.netns DATABASE`: the providers' real host names lead to
what plays them here, on their real ports and paths, and the module is told of client ids only.
Prints one JSON object: what happened."""
import json
import os
import re
import subprocess
import sys

from . import jose, paths
from .database import Databases
from .fake_provider import GITHUB_CLIENT, GITHUB_SECRET, FakeProvider
from .op import REDIRECT, Op, node_command
from .pki import Authority
from .site import STRONG, Settings, Site

GOOGLE = ["accounts.google.com", "oauth2.googleapis.com", "www.googleapis.com",
          "openidconnect.googleapis.com"]
GITHUB = ["github.com", "api.github.com"]
GOOGLE_ADDRESS, GITHUB_ADDRESS = "127.0.0.1", "127.0.0.2"
ELSEWHERE = "192.0.2.53"                # RFC 5737: leads nowhere, and there is no route to it
# Names that somebody has pointed at where cloud machines keep their secrets.
FORBIDDEN = {"linklocal.example": "169.254.169.254", "alibaba.example": "100.100.100.200",
             "aws.example": "fd00:ec2::254", "sixtofour.example": "2002:a9fe:a9fe::1",
             "nat64.example": "64:ff9b::a9fe:a9fe", "multicast.example": "224.0.0.1"}

PROVIDERS = ["github client-id=%s client-secret=%s" % (GITHUB_CLIENT, GITHUB_SECRET),
             "google client-id=%s client-secret=%s redirect-uri=%s"
             % (Op.client, Op.secret, REDIRECT)]


def mount_over(made, target, text):
    path = os.path.join(paths.make_dir("etc"), os.path.basename(target))
    with open(path, "w") as f:
        f.write(text)
    subprocess.run(["mount", "--bind", path, target], check=True)
    made.append(lambda: subprocess.run(["umount", target], check=True))


def build_the_world(made):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    mount_over(made, "/etc/hosts", "127.0.0.1 localhost\n%s %s\n%s %s\n"
               % (GOOGLE_ADDRESS, " ".join(GOOGLE), GITHUB_ADDRESS, " ".join(GITHUB))
               + "".join("%s %s\n" % (address, name) for name, address in FORBIDDEN.items()))
    mount_over(made, "/etc/resolv.conf", "nameserver %s\noptions timeout:1 attempts:1\n" % ELSEWHERE)


def sent_nowhere():
    """How often anything in this namespace wanted to send a packet that no route takes."""
    with open("/proc/net/snmp") as f:
        names, values = [line.split() for line in f if line.startswith("Ip:")]
    with open("/proc/net/snmp6") as f:
        six = dict(line.split() for line in f)
    return int(values[names.index("OutNoRoutes")]) + int(six["Ip6OutNoRoutes"])


def routes():
    """Those that do not end on lo."""
    out = ""
    for family in ("-4", "-6"):
        out += subprocess.check_output(["ip", family, "route", "show", "table", "all"], text=True)
    return [line for line in out.splitlines() if not re.search(r"\bdev lo\b", line)]


def github_login(site, github, user, browser=None):
    browser = browser or site.browser()
    state = site.state(browser)["state"]
    return browser.post("github/login/", {"code": github.github.code(user), "state": state})


def google_code_login(site, op, login):
    browser = site.browser()
    state = site.state(browser, "google")["state"]
    return browser.post("google/login/", {"code": op.code(login), "state": state,
                                          "redirect_uri": REDIRECT})


def google_login(site, op, login):
    browser = site.browser()
    got = site.state(browser, "google")
    return browser.post("google/login/", {"token": op.id_token(login, nonce=got["nonce"]),
                                          "state": got["state"]})


def link_github(site, github, user, access):
    browser = site.browser()
    state = site.state(browser, bearer=access)["state"]
    return browser.post("github/link/", {"code": github.github.code(user), "state": state},
                        bearer=access)


def use(site, github, op):
    """Everything a user does -> {what: status}, and who it was done by."""
    user, other = github.github.user(email="ada@example.com"), github.github.user()
    answers = {
        "github": github_login(site, github, user),
        "github again": github_login(site, github, user),
        "google": google_login(site, op, "bob"),
        "google code": google_code_login(site, op, "bob"),
    }
    site.make_user("grace@example.org")
    answers["password"] = site.password_login("grace@example.org", STRONG)
    access = answers["password"].json()["access"]
    answers["link"] = link_github(site, github, other, access)
    answers["linked"] = github_login(site, github, other)
    people = {what: jose.claims_of(answer.json()["access"])["sub"]
              for what, answer in answers.items() if answer.status == 200}
    return {"answers": {what: answer.status for what, answer in answers.items()}, "people": people,
            "links": site.links(), "emails": sorted(e for (e,) in site.db.query(
                "SELECT email FROM sa_users")),
            "asked of github": [[r.method, r.headers["host"], r.path] for r in github.asked()],
            "asked of google": [line for line in op.asked()
                                if "/sign-in/" not in line and "/auth" not in line]}


def forbidden(site):
    """Each name as a provider's token endpoint -> its answers, and whether a packet went out."""
    before, words = sent_nowhere(), {}
    site.expect_log("SA0100: provider_unavailable")
    for name in FORBIDDEN:
        provider = name.split(".")[0]
        browser = site.browser()
        state = site.state(browser, provider)["state"]
        answer = browser.post(provider + "/login/", {"code": "c", "state": state})
        words[provider] = answer.word
    return {"words": words, "sent": sent_nowhere() - before}


def scenario(database, made):
    authority = Authority("netns-pki")
    chain, key = authority.issue("google", GOOGLE + ["localhost"])
    op = Op(chain, key, issuer="https://accounts.google.com", port=443, address=GOOGLE_ADDRESS,
            ca=authority.ca, google=True)
    made.append(op.close)
    chain, key = authority.issue("github", GITHUB)
    github = FakeProvider(chain, key, host="github.com", address=GITHUB_ADDRESS, port=443)
    made.append(github.close)
    databases = Databases()
    made.append(databases.close)
    traps = ["%s type=github client-id=x client-secret=y token-url=https://%s/token"
             % (name.split(".")[0], name) for name in FORBIDDEN]
    settings = Settings(providers=PROVIDERS + traps,
                        mount="SocialAuthCABundle %s\nSocialAuthTimeout connect=10 total=30" % authority.ca)
    site = Site("inside", "event", databases.make(database), github, settings)
    site.httpd.start()
    made.append(site.httpd.stop)
    out = use(site, github, op)
    out["forbidden"] = forbidden(site)
    out["sent nowhere"] = sent_nowhere()
    out["routes"] = routes()
    out["configured"] = [line.strip() for line in site.httpd.text().splitlines()
                         if "SocialAuthProvider" in line][:len(PROVIDERS)]
    out["log"] = site.httpd.unexpected_log()
    return out


def probe():
    """That sent_nowhere() would have told."""
    before = sent_nowhere()
    done = subprocess.run(node_command("-e", "fetch('https://example.com').catch(() => "
                                             "fetch('https://%s'))" % ELSEWHERE),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    return {"status": done.returncode, "seen": sent_nowhere() - before}


def main():
    made = []
    try:
        build_the_world(made)
        out = scenario(sys.argv[1], made)
        out["probe"] = probe()
    finally:
        for end in reversed(made):
            end()
        paths.forget_scratch()
    json.dump(out, sys.stdout)


if __name__ == "__main__":
    main()
