"""What `httpd -t` says to wrong values, sections, secrets and keys."""
import re

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding, NoEncryption, PrivateFormat, PublicFormat, load_pem_private_key)

from support.config_bench import (SECRET, WHSEC, Bench, is_check_error, is_one_sentence_about)

MARK = "MARKED-SECRET"          # part of secrets that no message may repeat


@pytest.fixture
def bench():
    return Bench()


# ---- one case per directive and way to be wrong

SECONDS = "whole number of seconds from %s to %s"
RATE = "n/second, n/minute, n/hour"
ON_OFF = "must be On or Off"
KEY = "file:path or exec:program"

BAD_LINES = [
    ("SocialAuthBaseURL www.example.org", "https://www.example.org, without path"),
    ("SocialAuthBaseURL https://www.example.org/path", "without path"),
    ("SocialAuthBaseURL https://www.example.org/?q=1", "without path"),
    ("SocialAuthBaseURL ftp://www.example.org", "https://"),
    ("SocialAuthBaseURL https://user@www.example.org", "user name"),
    ("SocialAuthBaseURL https://WWW.example.org", "lower case"),
    ("SocialAuthBaseURL https://www.example.org:99999", "port"),
    ("SocialAuthBaseURL https://a.example https://b.example", "takes one argument"),
    ("SocialAuthProvider", "name and key=value"),
    ("SocialAuthProvider git/hub client-id=a", "letters, digits"),
    ("SocialAuthProvider github client-id", "key=value"),
    ("SocialAuthProvider github colour=red", "unknown key 'colour'", "'client-id'"),
    ("SocialAuthProvider company client-id=a", "type= is missing", "'github', 'facebook' or 'oidc'"),
    ("SocialAuthProvider company type=ldap", "'github', 'facebook' or 'oidc'"),
    ("SocialAuthProvider company type=oidc client-id=a", "issuer="),
    ("SocialAuthProvider company type=oidc client-id=a issuer=http://id.example.org", "issuer="),
    ("SocialAuthProvider facebook client-id=1 profile-params=access_token=x", "profile-params="),
    ("SocialAuthProvider facebook client-id=1 api-version=v24", "api-version='v24'", "24.0"),
    ("SocialAuthProvider github client-id=a api-version=24.0", "type=facebook"),
    ("SocialAuthProvider github email-required=maybe", "'on' or 'off'"),
    ("SocialAuthProvider github token-url=file:///etc/passwd", "https://"),
    ("SocialAuthProvider github token-url=https://169.254.169.254/", "token-url"),
    ("SocialAuthProvider google id-token-alg=HS256 client-id=a", "RS256"),
    ("SocialAuthProvider google id-token-alg=none client-id=a", "RS256"),
    ('SocialAuthStateSalt ""', "takes one argument"),
    ("SocialAuthStateSalt " + "x" * 256, "1 to 255"),
    ("SocialAuthStateMaxAge 0", SECONDS % (1, 3600)),
    ("SocialAuthStateMaxAge 3601", SECONDS % (1, 3600)),
    ("SocialAuthStateMaxAge 300x", '"300x"', SECONDS % (1, 3600)),
    ("SocialAuthStateMaxAge -1", SECONDS % (1, 3600)),
    ("SocialAuthStateMaxAge 2h", SECONDS % (1, 3600)),
    ("SocialAuthStateMaxAge 4294967297", SECONDS % (1, 3600)),
    ("SocialAuthStateMaxAge 18446744073709551617", SECONDS % (1, 3600)),
    ("SocialAuthStateMaxAge 0x10", SECONDS % (1, 3600)),
    ("SocialAuthStateMaxAge 1.5", SECONDS % (1, 3600)),
    ("SocialAuthStateBinding maybe", '"maybe"', "auto required off"),
    ("SocialAuthTokenDelivery header", '"header"', "json cookie both"),
    ("SocialAuthStripCookies some", ON_OFF),
    ("SocialAuthLoginErrorURL sign-in", '"sign-in"', "like /sign-in"),
    ("SocialAuthLoginErrorURL //evil.example/", "like /sign-in"),
    ("SocialAuthLoginErrorURL http://www.example.org/sign-in", "https://"),
    ("SocialAuthLoginErrorURL https://me@www.example.org/sign-in", "user name"),
    ("SocialAuthLoginErrorURL javascript:alert(1)", "https:// URL"),
    ("SocialAuthLoginURL login", '"login"', "must be a path of this server"),
    ("SocialAuthLoginURL //evil.example/", "must be a path of this server"),
    ('SocialAuthLoginURL "/app#/login"', "must be a path of this server"),
    ("SocialAuthLoginURL javascript:alert(1)", "must be a path of this server"),
    ("SocialAuthLoginURL http://www.example.org/login", "must be a path of this server"),
    ("SocialAuthSharedState disk", "memory database"),
    ("SocialAuthRevocationCheck maybe", '"maybe"', "shared database off"),
    ("SocialAuthMaxTokenAge 0", SECONDS % (1, 86400)),
    ("SocialAuthMaxTokenAge 2d", SECONDS % (1, 86400)),
    ("SocialAuthThrottleRate 10", RATE),
    ("SocialAuthThrottleRate 10/fortnight", RATE),
    ("SocialAuthThrottleRate 0/minute", RATE),
    ("SocialAuthThrottleRate -1/minute", RATE),
    ("SocialAuthThrottleRate 4294967297/minute", RATE),
    ("SocialAuthPasswordThrottleRate often", RATE),
    ("SocialAuthAccountThrottleRate 1e3/hour", RATE),
    ("SocialAuthPasswordPolicy min-length=0", "1 to 128"),
    ("SocialAuthPasswordPolicy min-length=8 common=maybe", "common=maybe", "on or off"),
    ("SocialAuthPasswordPolicy length=8", "min-length=number", "similarity=on|off"),
    ("SocialAuthPasswordPolicy strong", "min-length=number"),
    ("SocialAuthCommonPasswords /nowhere/list", "/nowhere/list", "readable"),
    ("SocialAuthCommonPasswords /dev/zero", "readable"),
    ("SocialAuthUserTable users;drop", "schema.table"),
    ("SocialAuthUserTable a.b.c", "schema.table"),
    ("SocialAuthUserTable " + "x" * 64, "at most 63"),
    ("SocialAuthUserColumn mail=email", "role", "date_joined"),
    ("SocialAuthUserColumn email", "role=column"),
    ("SocialAuthUserColumn email=", "id and email"),
    ("SocialAuthUserColumn email=e-mail", "column name"),
    ("SocialAuthUserColumn email=a email=b", "already"),
    ("SocialAuthUserDeletedField 1st", "column name"),
    ("SocialAuthLinkedEmailUpdate sometimes", ON_OFF),
    ("SocialAuthEmailLinking yes", "verified reclaim always never"),
    ("SocialAuthAccessTokenLifetime 0", SECONDS % (1, 31536000)),
    ("SocialAuthAccessTokenLifetime 366d", SECONDS % (1, 31536000)),
    ("SocialAuthRefreshTokenLifetime 1w", SECONDS % (1, 315360000)),
    ("SocialAuthSessionLifetime 99999999999d", SECONDS % (1, 315360000)),
    ("SocialAuthRotateRefreshTokens yes", ON_OFF),
    ("SocialAuthBlacklistAfterRotation 1", ON_OFF),
    ("SocialAuthRefreshReuseInterval 301", SECONDS % (0, 300)),
    ("SocialAuthAuthHeaderTypes Bearer:", "Bearer or JWT"),
    ("SocialAuthJWTAlgorithm none", "HS256 RS256 PS256 ES256 ES384 EdDSA"),
    ("SocialAuthJWTAlgorithm HS512", "HS256 RS256 PS256 ES256 ES384 EdDSA"),
    ("SocialAuthJWTKey id=a file:x", "kid="),
    ("SocialAuthJWTKey", "takes 1-2 arguments"),
    ("SocialAuthIssuer http://www.example.org", "https://"),
    ('SocialAuthIssuer "two words"', "spaces"),
    ("SocialAuthAudience " + "x" * 256, "1 to 255"),
    ("SocialAuthAudience http://www.example.org", "https://"),
    ("SocialAuthLeeway 301", SECONDS % (0, 300)),
    ("SocialAuthLeeway 5x", SECONDS % (0, 300)),
    ("SocialAuthAcceptSimpleJWT true", ON_OFF),
    ("SocialAuthAllowOrigin *", "https://app.example.org"),
    ("SocialAuthAllowOrigin null", "https://app.example.org"),
    ("SocialAuthAllowOrigin https://app.example.org/", "https://app.example.org"),
    ("SocialAuthAllowOrigin https://*.example.org", "https://app.example.org"),
    ("SocialAuthAllowOrigin https://app.example.org:443", "default port"),
    ("SocialAuthAllowCredentials maybe", ON_OFF),
    ("SocialAuthAllowHeaders *", "request header"),
    ("SocialAuthAllowHeaders X-A,X-B", "request header"),
    ("SocialAuthTimeout 10", "connect=time or total=time"),
    ("SocialAuthTimeout connect=0", "50ms to 60s"),
    ("SocialAuthTimeout total=3m", "50ms to 120s"),
    ("SocialAuthTimeout connect=5 total=3", "not be longer"),
    ("SocialAuthMaxResponse 1", "1024 to 16777216"),
    ("SocialAuthMaxResponse 1G", "1024 to 16777216"),
    ("SocialAuthCABundle /nonexistent/ca.pem", "certificates"),
    ("SocialAuthCABundle /etc/passwd", "certificates"),
    ("SocialAuthCABundle /dev/null", "certificates"),
    ("SocialAuthCABundle /etc", "certificates"),
    ("SocialAuthOutgoingProxy proxy:3128", "http://host:port"),
    ("SocialAuthOutgoingProxy socks5://127.0.0.1:1", "http://host:port"),
    ("SocialAuthMaxBody 0", "256 to 16777216"),
    ("SocialAuthMaxBody 64KB", "256 to 16777216"),
    ("SocialAuthDBTimeout 0", "100ms to 60s"),
    ("SocialAuthDBTimeout 2h", "100ms to 60s"),
    ("SocialAuthPasswordLogin maybe", ON_OFF),
    ("SocialAuthRegistration maybe", ON_OFF),
    ("SocialAuthRegistrationLogin maybe", ON_OFF),
    ("SocialAuthUserList everybody", "off staff authenticated public"),
    ("SocialAuthUnlinkRequiresPassword maybe", ON_OFF),
    ("SocialAuthWebhook https://hooks.example.org", "takes two arguments"),
    ("SocialAuthWebhook http://hooks.example.org " + WHSEC, "https"),
    ("SocialAuthWebhook file:///tmp/x " + WHSEC, "the first value must be the URL"),
    ("SocialAuthNotify always", ON_OFF),
    ("SocialAuthSMTP mail.example.org", "smtp://host"),
    ("SocialAuthSMTP http://mail.example.org", "smtp://host"),
    ("SocialAuthSMTP smtp://user:word@mail.example.org", "smtp://host"),
    ("SocialAuthSMTP smtp://mail.example.org/path", "smtp://host"),
    ("SocialAuthSMTP smtp://mail.example.org/", "smtp://host"),
    ("SocialAuthSMTP smtp://mail.example.org:99999", "smtp://host"),
    ("SocialAuthSMTP smtp://mail.example.org starttls=maybe", "required, optional or off"),
    ("SocialAuthSMTP smtp://mail.example.org tls=on", "user=, password= or starttls="),
    ("SocialAuthSMTP smtp://mail.example.org user=web", "need each other"),
    ("SocialAuthSMTP smtp://mail.example.org password=x", "need each other"),
    ("SocialAuthSMTP smtp://mail.example.org user=web password=file:/nonexistent", "No such file"),
    ("SocialAuthSMTP smtp://mail.example.org user=web password=x starttls=optional",
     "starttls=required"),
    ("SocialAuthSMTP smtp://mail.example.org user=web password=x starttls=off", "starttls=required"),
    ("SocialAuthSMTP smtps://mail.example.org starttls=required", "is for smtp://"),
    ("SocialAuthSMTP sendmail:/nonexistent/sendmail -t", "absolute path of a program"),
    ("SocialAuthSMTP sendmail:bin/sh", "absolute path of a program"),
    ("SocialAuthSMTP", "smtp://host"),
    ("SocialAuthMailFrom Example", "an address like"),
    ('SocialAuthMailFrom "Example <a@x.test"', "Name <address>"),
    ('SocialAuthMailFrom "a@x.test, b@x.test"', "an address like"),
    ("SocialAuthMailLink https://www.example.org/x", "verify=URL"),
    ("SocialAuthMailLink exists=https://www.example.org/x", "verify=URL"),
    ("SocialAuthMailLink verify=/x", "https://"),
    ("SocialAuthMailLink verify=http://www.example.org/x", "https"),
    ("SocialAuthMailLink verify=https://www.example.org/#/x", "{token}"),
    ("SocialAuthMailLink verify=https://www.example.org/?t={token}", "behind the #"),
    ("SocialAuthMailTemplates /nonexistent", "must be a directory"),
    ("SocialAuthMailTemplates /etc/passwd", "must be a directory"),
    ("SocialAuthMailThrottleRate often", RATE),
    ("SocialAuthEmailVerification maybe", "off optional required"),
    ("SocialAuthVerificationLifetime 8d", SECONDS % (60, 604800)),
    ("SocialAuthPasswordResetLifetime 2h", SECONDS % (60, 3600)),
    ("SocialAuthPasswordResetLifetime 59", SECONDS % (60, 3600)),
    ("SocialAuthSecurityMails maybe", ON_OFF),
]

# The edges of what is allowed, and where the value arrives.
GOOD_LINES = [
    ("SocialAuthStateMaxAge 1", "state_max_age", 1),
    ("SocialAuthStateMaxAge 3600s", "state_max_age", 3600),
    ("SocialAuthStateMaxAge 60m", "state_max_age", 3600),
    ("SocialAuthStateMaxAge 2min", "state_max_age", 120),
    ("SocialAuthStateMaxAge 1H", "state_max_age", 3600),
    ("SocialAuthStateBinding Required", "state_binding", "required"),
    ("SocialAuthStateBinding off", "state_binding", "off"),
    ("SocialAuthSharedState database", "shared_state_in_database", True),
    ("SocialAuthMaxTokenAge 1d", "max_token_age", 86400),
    ("SocialAuthThrottleRate off", "throttle", {"count": 0}),
    ("SocialAuthThrottleRate 100000/day", "throttle", {"count": 100000, "period_ms": 86400000}),
    ("SocialAuthPasswordThrottleRate 3/s", "password_throttle", {"count": 3, "period_ms": 1000}),
    ("SocialAuthAccountThrottleRate 7/hour", "account_throttle",
     {"count": 7, "period_ms": 3600000}),
    ("SocialAuthPasswordPolicy min-length=12 common=off numeric=Off", "password_policy",
     {"min_length": 12, "common": False, "similarity": True, "numeric": False}),
    ("SocialAuthLinkedEmailUpdate Off", "linked_email_update", False),
    ("SocialAuthEmailLinking never", "email_linking", "never"),
    ("SocialAuthEmailLinking reclaim", "email_linking", "reclaim"),
    ("SocialAuthEmailLinking always", "email_linking", "always"),
    ("SocialAuthAccessTokenLifetime 365d", "access_lifetime", 31536000),
    ("SocialAuthRefreshTokenLifetime 315360000", "refresh_lifetime", 315360000),
    ("SocialAuthSessionLifetime 90d", "session_lifetime", 7776000),
    ("SocialAuthRotateRefreshTokens off", "rotate", False),
    ("SocialAuthBlacklistAfterRotation Off", "blacklist_after_rotation", False),
    ("SocialAuthRefreshReuseInterval 0", "reuse_interval", 0),
    ("SocialAuthRefreshReuseInterval 5m", "reuse_interval", 300),
    ("SocialAuthAuthHeaderTypes JWT Bearer", "auth_header_types", ["JWT", "Bearer"]),
    ("SocialAuthIssuer my-site", "issuer", "my-site"),
    ("SocialAuthIssuer http://localhost:8000/x", "issuer", "http://localhost:8000/x"),
    ("SocialAuthAudience https://api.example.org", "audience", "https://api.example.org"),
    ("SocialAuthLeeway 300", "leeway", 300),
    ("SocialAuthAcceptSimpleJWT On", "accept_simplejwt", True),
    ("SocialAuthRevocationCheck database", "revocation_check", "database"),
    ("SocialAuthRevocationCheck OFF", "revocation_check", "off"),
    ("SocialAuthAllowOrigin https://a.example http://localhost:3000", "allow_origins",
     ["https://a.example", "http://localhost:3000"]),
    ("SocialAuthTokenDelivery Cookie", "token_delivery", "cookie"),
    ("SocialAuthTokenDelivery both", "token_delivery", "both"),
    ("SocialAuthLoginErrorURL /sign-in?from=social#top", "login_error_url",
     "/sign-in?from=social#top"),
    ("SocialAuthLoginErrorURL https://app.example.org/#/sign-in", "login_error_url",
     "https://app.example.org/#/sign-in"),
    ("SocialAuthLoginURL /login/?lang=en", "login_url", "/login/?lang=en"),
    ("SocialAuthLoginURL https://www.example.org/login/", "login_url", "https://www.example.org/login/"),
    ("SocialAuthAllowHeaders X-Request-ID authorization", "allow_headers",
     "authorization, content-type, x-requested-with, x-request-id"),
    ("SocialAuthMaxBody 16M", "max_body", 16777216),
    ("SocialAuthDBTimeout 100ms", "db_timeout_ms", 100),
    ("SocialAuthDBTimeout 1m", "db_timeout_ms", 60000),
    ("SocialAuthPasswordLogin Off", "password_login", False),
    ("SocialAuthRegistration Off", "registration", False),
    ("SocialAuthRegistrationLogin On", "registration_login", True),
    ("SocialAuthUserList public", "user_list", "public"),
    ("SocialAuthUnlinkRequiresPassword On", "unlink_requires_password", True),
    ("SocialAuthWebhook http://127.0.0.1:9000/hook " + WHSEC, "webhook_targets",
     "http://127.0.0.1:9000/hook"),
    ("SocialAuthNotify On", "notify", True),
    ("SocialAuthMailThrottleRate 2/day", "mail_throttle", {"count": 2, "period_ms": 86400000}),
    ("SocialAuthVerificationLifetime 7d", "verify_lifetime", 604800),
    ("SocialAuthPasswordResetLifetime 1h", "reset_lifetime", 3600),
    ("SocialAuthSecurityMails Off", "security_mails", False),
    ("SocialAuthEmailVerification off", "email_verification", "off"),
    ("SocialAuthSMTP off", "mails", False),
]

BAD_SERVER_LINES = [
    ("SocialAuthDBConnections 0", "1 to 1000"),
    ("SocialAuthDBConnections many", "1 to 1000"),
    ("SocialAuthHashConcurrency 0", "1 to 64"),
    ("SocialAuthHashConcurrency 65", "1 to 64"),
    ("SocialAuthSharedMemory 1K", "1048576 to 1073741824"),
    ("SocialAuthSharedMemory 8388608x", "1048576 to 1073741824"),
]


def _case_ids(cases):
    return [re.sub(r"[^\w=./:*-]+", "_", case[0])[:60] for case in cases]


@pytest.mark.parametrize("case", BAD_LINES, ids=_case_ids(BAD_LINES))
def test_T225_bad_value(bench, case):
    line, *parts = case
    is_one_sentence_about(bench.test([line]), line, *parts)


@pytest.mark.parametrize("case", GOOD_LINES, ids=_case_ids(GOOD_LINES))
def test_T225_good_value_arrives(bench, case):
    line, key, value = case
    mount, = bench.mounts([line])
    found = mount["settings"].get(key, mount.get(key))
    if isinstance(value, dict):
        found = {name: found[name] for name in value}
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("case", BAD_SERVER_LINES, ids=_case_ids(BAD_SERVER_LINES))
def test_T225_bad_value_at_server_level(bench, case):
    line, *parts = case
    is_one_sentence_about(bench.test(server=[line]), line, *parts)


def _directives(bench):
    listing = bench.test_raw([])
    assert listing.code == 0, listing.err
    return set(re.findall(r"^(SocialAuth\w+) \(", bench.run("-L").out, re.M))


# Their wrong values are in tests of their own below.
ELSEWHERE = {"SocialAuthSecret"}


def test_T225_every_directive_has_a_bad_value_above(bench):
    covered = {case[0].split()[0] for case in BAD_LINES + BAD_SERVER_LINES} | ELSEWHERE
    assert _directives(bench) == covered


def test_T225_unknown_directive(bench):
    result = bench.test(["SocialAuthColour red"])
    assert result.code != 0
    assert "Invalid command 'SocialAuthColour'" in result.err
    assert "line %d " % result.line_of("SocialAuthColour") in result.err


# ---- where directives and mounts may stand

@pytest.mark.parametrize("section", [
    '<LocationMatch "^/x">', '<Location ~ "^/x">', '<Location "/x*">', '<Directory "/srv">',
    '<Files "x">', '<If "true">'])
def test_directive_in_a_wrong_section(bench, section):
    end = "</%s>" % re.match(r"<(\w+)", section).group(1)
    result = bench.test(after=[section, "SocialAuthLeeway 5", end])
    is_one_sentence_about(result, "SocialAuthLeeway 5", "<VirtualHost>", "without wildcards",
                          section.split()[0])


@pytest.mark.parametrize("section", [
    '<LocationMatch "^/x">', '<Location "/elsewhere">', '<Directory "/srv">', '<Files "x">',
    '<If "true">', "<VirtualHost *:1>"])
def test_what_is_about_others_may_stand_in_any_section(bench, section):
    end = "</%s>" % re.match(r"<(\w+)", section).group(1)
    result = bench.test(after=[section, "SocialAuthStripCookies Off", end])
    assert result.code == 0, result.err


@pytest.mark.parametrize("section", [
    '<LocationMatch "^/x">', '<Location ~ "^/x">', '<Location "/x*">', '<Directory "/srv">',
    '<Files "x">', '<If "true">', None])
def test_mount_in_a_wrong_section(bench, section):
    after = ["SetHandler social-auth"]
    if section:
        after = [section] + after + ["</%s>" % re.match(r"<(\w+)", section).group(1)]
    else:
        after = ["", 'SetHandler "social-auth"']
    result = bench.test(after=after)
    message = is_check_error(result, "SetHandler social-auth must stand in a <Location",
                             section.split()[0] if section else "server configuration itself")
    with open(result.conf, encoding="utf-8") as file:
        last = [n for n, line in enumerate(file, 1) if line.startswith("SetHandler")][-1]
    assert "%s:%d: " % (result.conf, last) in message


@pytest.mark.parametrize("path", ["/a b", "/a//b", "/a/../b", "/a%41", "relative", "/ä"])
def test_mount_with_a_strange_path(bench, path):
    is_check_error(bench.test(after=['<Location "%s">' % path, "SetHandler social-auth",
                                     "</Location>"]), "letters, digits")


@pytest.mark.parametrize("line", ["SocialAuthDBConnections 2", "SocialAuthSharedMemory 2M",
                                  "SocialAuthHashConcurrency 2"])
def test_server_directives_in_a_location(bench, line):
    result = bench.test([line])
    is_one_sentence_about(result, line, "not allowed in <Location> context")


def test_shared_memory_in_a_virtual_host(bench):
    result = bench.test(after=["<VirtualHost *:1>", "SocialAuthSharedMemory 2M", "</VirtualHost>"])
    is_one_sentence_about(result, "SocialAuthSharedMemory", "cannot occur within <VirtualHost>")


def test_directives_below_a_mount_would_have_no_effect(bench):
    result = bench.test(after=['<Location "/api/social-auth/github">', "SocialAuthThrottleRate 1/h",
                               "</Location>"])
    message = is_check_error(result, '<Location "/api/social-auth/github">', "no effect")
    assert ":%d: " % result.line_of("SocialAuthThrottleRate") in message


# ---- secrets

def secret_cases(bench):
    script = "#!/bin/sh\n"
    print_it = script + "echo %s\n" % SECRET
    return {
        "short": ("x" * 31, "31 bytes", "32"),
        "short-file": ("file:" + bench.file("short", "x" * 31 + "\n"), "31 bytes", "32"),
        "short-crlf": ("file:" + bench.file("crlf", "x" * 31 + "\r\n"), "31 bytes", "32"),
        "missing-file": ("file:" + bench.path("absent"), "No such file"),
        "no-path": ("file:", "path of a file"),
        "directory": ("file:" + bench.root, "not a regular file"),
        "empty-file": ("file:" + bench.file("empty", ""), "is empty"),
        "blank-file": ("file:" + bench.file("blank", "\n"), "empty line"),
        "huge-file": ("file:" + bench.file("huge", "x" * 70000), "longer than 65536"),
        "world-readable": ("file:" + bench.file("open", SECRET, 0o644), "chmod o-rwx"),
        "world-writable": ("file:" + bench.file("writable", SECRET, 0o602), "chmod o-rwx"),
        "relative-program": ("exec:bin/secret", "absolute path"),
        "missing-program": ("exec:" + bench.path("absent"), "cannot be run"),
        "failing-program": ("exec:" + bench.file("fails", print_it + "exit 3\n", 0o700),
                            "exit status 3"),
        "killed-program": ("exec:" + bench.file("dies", print_it + "kill -9 $$\n", 0o700),
                           "signal 9"),
        "silent-program": ("exec:" + bench.file("silent", script, 0o700), "printed nothing"),
        "blank-line-program": ("exec:" + bench.file(
            "blank.sh", script + "echo\necho %s\n" % SECRET, 0o700), "first line is empty"),
        "short-program": ("exec:" + bench.file("short.sh", script + "echo abc\necho %s\n" % SECRET,
                                               0o700), "3 bytes"),
    }


@pytest.mark.parametrize("name", [
    "short", "short-file", "short-crlf", "missing-file", "no-path", "directory",
    "empty-file", "blank-file",
    "huge-file", "world-readable", "world-writable", "relative-program", "missing-program",
    "failing-program", "killed-program", "silent-program", "blank-line-program", "short-program"])
def test_T225_secret_refused(bench, name):
    cases = secret_cases(bench)
    value, *parts = cases[name]
    line = 'SocialAuthSecret "%s"' % value
    message = is_one_sentence_about(bench.test([line], secret=None), line, *parts)
    assert SECRET not in message and "x" * 31 not in message


def test_T225_secret_missing(bench):
    result = bench.test(secret=None)
    message = is_check_error(result, "SocialAuthSecret is missing", "32 random bytes")
    assert ":%d: " % result.line_of("<Location") in message


@pytest.mark.parametrize("spelling", ["file", "file-crlf", "exec", "exec-arguments", "relative"])
def test_secret_spellings_are_accepted(bench, spelling):
    program = bench.file("print.sh", "#!/bin/sh\necho ${1:-%s}\necho second line\n" % SECRET, 0o700)
    value = {
        "file": "file:" + bench.file("secret", SECRET + "\n"),
        "file-crlf": "file:" + bench.file("crlf", SECRET + "\r\n"),
        "exec": "exec:" + program,
        "exec-arguments": "exec:%s %s" % (program, SECRET),
        "relative": "file:secret",
    }[spelling]
    result = bench.test(['SocialAuthSecret "%s"' % value], secret=None)
    assert result.code == 0, result.err


def test_T225_no_message_repeats_a_secret(bench):
    long = MARK + "-0123456789-0123456789-0123456789"
    script = bench.file("fail.sh", "#!/bin/sh\necho %s\nexit 1\n" % long, 0o700)
    open_file = bench.file("open", long, 0o644)
    for line in ('SocialAuthSecret "%s"' % MARK,
                 'SocialAuthSecret "exec:%s"' % script,
                 "SocialAuthSecret file:" + open_file,
                 'SocialAuthProvider github client-id=a "client-secret=%s with spaces"' % MARK,
                 "SocialAuthProvider github client-id=a client-secret=%s colour=red" % MARK,
                 'SocialAuthProvider github client-id=a "client-secret=exec:%s"' % script,
                 "SocialAuthProvider github client-id=a client-secret " + MARK,
                 "SocialAuthProvider github client-id=a %s=" % MARK,
                 "SocialAuthProvider github client-id=a client-secret = " + MARK,
                 "SocialAuthWebhook whsec_%s https://hooks.example.org" % MARK,
                 "SocialAuthJWTKey " + long,
                 "SocialAuthJWTKey %s file:x" % long,
                 "SocialAuthWebhook https://hooks.example.org whsec_" + MARK,
                 "SocialAuthWebhook http://hooks.example.org whsec_" + MARK,
                 "SocialAuthWebhook https://hooks.example.org " + long):
        result = bench.test([line], secret=None)
        assert result.code != 0, line
        assert MARK not in result.err + result.out, line
        assert "Syntax error on line %d of " % result.line_of(line) in result.err, result.err


def test_T225_dump_holds_no_secret(bench):
    key = bench.file("key", MARK + "-0123456789-0123456789-0123456789")
    result = bench.test(["SocialAuthProvider github client-id=a client-secret=" + MARK,
                         "SocialAuthJWTKey file:" + key,
                         "SocialAuthWebhook https://hooks.example.org " + WHSEC],
                        secret=MARK + SECRET, dump=True)
    mount = result.mounts()[0]
    assert mount["webhooks"] == ["https://hooks.example.org"]
    assert mount["providers"][0]["disabled_because"] is None
    assert MARK not in result.out + result.err and WHSEC not in result.out + result.err


@pytest.mark.parametrize("secret", ["whsec_", "whsec_AAAA", "whsec_not!base64", "AAAA" * 8,
                                    WHSEC.rstrip("="), "whsec_" + "A" * 200])
def test_webhook_secret_refused(bench, secret):
    line = "SocialAuthWebhook https://hooks.example.org " + secret
    is_one_sentence_about(bench.test([line]), line, "whsec_", "24 to 64")


def test_webhook_twice(bench):
    line = "SocialAuthWebhook https://hooks.example.org "
    result = bench.test([line + WHSEC, line + WHSEC])
    assert result.code != 0 and "configured twice" in result.err


# ---- keys

def make_key(bench, name, kind):
    private = {"rsa": lambda: rsa.generate_private_key(65537, 2048),
               "rsa1024": lambda: rsa.generate_private_key(65537, 1024),
               "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
               "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
               "ed25519": ed25519.Ed25519PrivateKey.generate}[kind]()
    return bench.file(name, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8,
                                                  NoEncryption()))


def public_half(bench, name, private):
    with open(private, "rb") as file:
        key = load_pem_private_key(file.read(), None).public_key()
    return bench.file(name, key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def who_signs(mount):
    return [(key["kid"], key["alg"], key["signs"]) for key in mount["settings"]["keys"]]


FITTING = [("RS256", "rsa"), ("PS256", "rsa"), ("ES256", "p256"), ("ES384", "p384"),
           ("EdDSA", "ed25519")]


@pytest.mark.parametrize("alg,kind", FITTING)
def test_key_fits_algorithm(bench, alg, kind):
    key = make_key(bench, "key", kind)
    mount, = bench.mounts(["SocialAuthJWTAlgorithm " + alg, "SocialAuthJWTKey kid=k1 file:" + key])
    assert who_signs(mount) == [("k1", alg, True)]


def test_key_by_program_keeps_all_lines(bench):
    key = make_key(bench, "key", "p256")
    mount, = bench.mounts(["SocialAuthJWTAlgorithm ES256",
                           'SocialAuthJWTKey "exec:/bin/cat %s"' % key])
    assert mount["settings"]["keys"][0]["alg"] == "ES256"
    assert len(mount["settings"]["keys"][0]["kid"]) == 43       # RFC 7638


def test_key_rotation_keeps_old_keys_of_other_algorithms(bench):
    new, old = make_key(bench, "new", "p256"), make_key(bench, "old", "rsa")
    shared = bench.file("shared", SECRET)
    mount, = bench.mounts(["SocialAuthJWTAlgorithm ES256", "SocialAuthJWTKey kid=new file:" + new,
                           "SocialAuthJWTKey kid=old file:" + public_half(bench, "pub", old),
                           "SocialAuthJWTKey file:" + shared])
    assert who_signs(mount) == [("new", "ES256", True), ("old", "RS256", False), (None, "HS256", False)]


@pytest.mark.parametrize("case", ["none", "wrong-type", "weak", "public", "garbage", "same-kid",
                                  "pem-for-hs256", "short-for-hs256", "empty"])
def test_T225_bad_key(bench, case):
    first = make_key(bench, "first", "p256")
    lines, part = {
        "none": (["SocialAuthJWTAlgorithm RS256"], "SocialAuthJWTAlgorithm RS256 needs a key"),
        "wrong-type": (["SocialAuthJWTAlgorithm RS256", "SocialAuthJWTKey file:" + first],
                       "must fit SocialAuthJWTAlgorithm RS256"),
        "weak": (["SocialAuthJWTAlgorithm RS256",
                  "SocialAuthJWTKey file:" + make_key(bench, "weak", "rsa1024")], "2048"),
        "public": (["SocialAuthJWTAlgorithm ES256",
                    "SocialAuthJWTKey file:" + public_half(bench, "pub", first)], "private key"),
        "garbage": (["SocialAuthJWTAlgorithm ES256",
                     "SocialAuthJWTKey file:" + bench.file("garbage", "x" * 100)], "PEM"),
        "same-kid": (["SocialAuthJWTAlgorithm ES256", "SocialAuthJWTKey kid=a file:" + first,
                      "SocialAuthJWTKey kid=a file:" + make_key(bench, "second", "p256")],
                     "same kid"),
        "pem-for-hs256": (["SocialAuthJWTKey file:" + first], "not with a PEM key"),
        "short-for-hs256": (["SocialAuthJWTKey file:" + bench.file("short", "x" * 31)], "32"),
        "empty": (["SocialAuthJWTKey file:" + bench.file("zero", "")], "is empty"),
    }[case]
    result = bench.test(lines)
    if case == "empty":
        is_one_sentence_about(result, lines[0], part)
    else:
        is_check_error(result, part)


def test_simplejwt_needs_hs256(bench):
    key = make_key(bench, "key", "p256")
    is_check_error(bench.test(["SocialAuthJWTAlgorithm ES256", "SocialAuthJWTKey file:" + key,
                               "SocialAuthAcceptSimpleJWT On"]),
                   "SocialAuthAcceptSimpleJWT On needs SocialAuthJWTAlgorithm HS256")
