"""socialauthctl keys: what it makes is what the server takes, and nothing private is shown."""
import os
import stat

import jwt
import pytest

from support.ctl import ctl, failed, on_site, refused_usage
from support.site import SECRET

ALGORITHMS = ["HS256", "RS256", "PS256", "ES256", "ES384", "EdDSA"]


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def header(tokens):
    return jwt.get_unverified_header(tokens["access"])


def signed_in(site):
    return site.tokens(site.password_login("p@example.org"))


def alive(site, tokens):
    return site.browser().post("token/verify/", {"token": tokens["refresh"]}).status == 200


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_generated_key_signs(make_site, tmp_path, alg):
    """From the printed line alone."""
    path = tmp_path / "key"
    made = ctl("--json", "keys", "generate", alg, "-o", str(path)).json()
    assert mode(path) == 0o600
    assert made["alg"] == alg and str(path) in made["directive"] and "key" not in made
    site = make_site(private=True, mount="SocialAuthJWTAlgorithm %s\n%s" % (alg, made["directive"]))
    site.make_user("p@example.org", "p")
    tokens = signed_in(site)
    assert header(tokens)["kid"] == made["kid"] and header(tokens)["alg"] == alg
    listed = on_site(site)("--json", "keys", "list").json()["keys"]
    if alg == "HS256":
        assert listed == []
        key = path.read_text().rstrip("\n")
    else:
        assert [k["kid"] for k in listed] == [made["kid"]]
        key = jwt.PyJWK(listed[0], algorithm=alg).key
    jwt.decode(tokens["access"], key, algorithms=[alg], audience=site.issuer)


def test_generate_to_standard_output():
    done = ctl("keys", "generate", "ES256")
    assert done.status == 0 and done.out.startswith("-----BEGIN PRIVATE KEY-----\n"), done.err
    assert done.out.endswith("\n-----END PRIVATE KEY-----\n")
    secret = ctl("keys", "generate", "HS256").out
    assert len(secret) == 65 and secret[64] == "\n"
    made = ctl("--json", "keys", "generate", "EdDSA", "--kid", "main-2").json()
    assert made["kid"] == "main-2" and "BEGIN PRIVATE KEY" in made["key"] and "directive" not in made


def test_generate_writes_a_new_file_only(tmp_path):
    path = tmp_path / "a key"
    os.umask(0)
    done = ctl("keys", "generate", "HS256", "--kid", "k.1", "--output", str(path))
    os.umask(0o022)
    assert done.out == 'SocialAuthJWTKey kid=k.1 "file:%s"\n' % path
    assert mode(path) == 0o600
    before = path.read_text()
    failed(ctl("keys", "generate", "HS256", "-o", str(path)), "there already")
    assert path.read_text() == before
    failed(ctl("keys", "generate", "HS256", "-o", str(tmp_path / "no" / "key")), "cannot be written")
    failed(ctl("keys", "generate", "HS256", "-o", str(tmp_path / 'a"b')), "directive")
    assert os.listdir(tmp_path) == ["a key"]


@pytest.mark.parametrize("arguments", [
    ["HS384"], ["none"], ["es256"], [""], ["RS256", "--bits", "1024"], ["RS256", "--bits", "2048x"],
    ["ES256", "--bits", "256"], ["HS256", "--bits", "256"], ["ES256", "--kid", "a b"],
    ["ES256", "--kid", ""], ["ES256", "--kid", "k" * 65], [], ["ES256", "ES384"],
    ["ES256", "--yes"],
], ids=" ".join)
def test_generate_usage(arguments):
    refused_usage(ctl("keys", "generate", *arguments))


def test_bits(tmp_path):
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    for arguments, bits in (([], 3072), (["--bits", "2048"], 2048)):
        pem = ctl("keys", "generate", "RS256", *arguments).out
        assert load_pem_private_key(pem.encode(), None).key_size == bits


# ---- list

def test_T134_list_shows_nothing_private(make_site, tmp_path):
    paths = [tmp_path / name for name in ("new", "old", "secret")]
    for path, alg in zip(paths, ("ES256", "RS256", "HS256")):
        assert ctl("keys", "generate", alg, "-o", str(path)).status == 0
    site = make_site(private=True, mount="SocialAuthJWTAlgorithm ES256\n" + "\n".join(
        "SocialAuthJWTKey %sfile:%s" % (kid, path) for kid, path in zip(("", "kid=old ", "kid=s "), paths)))
    done = on_site(site)("keys", "list")
    rows = [line.split("\t") for line in done.out.splitlines()]
    assert [row[1:3] for row in rows] == [["ES256", "signs"], ["RS256", "verifies"],
                                          ["HS256", "verifies"]]
    assert rows[0][0] == rows[0][3] and len(rows[0][3]) == 43
    assert rows[1][0] == "old" and len(rows[1][3]) == 43 and rows[2][0] == "s" and rows[2][3] == "-"
    jwks = on_site(site)("--json", "keys", "list").json()
    assert [key["kid"] for key in jwks["keys"]] == [rows[0][0], "old"]
    for key in jwks["keys"]:
        assert not set(key) & {"d", "p", "q", "dp", "dq", "qi", "k"}, key


def test_list_of_a_secret(make_site):
    site = make_site()
    assert on_site(site)("keys", "list").out == "-\tHS256\tsigns\t-\n"
    assert on_site(site)("--json", "keys", "list").json() == {"keys": []}
    failed(on_site(site)("--mount", "/elsewhere", "keys", "list"), "no such mount")
    failed(ctl("keys", "list"), "-f")
    failed(ctl("keys", "rotate", "/tmp/x"), "-f")


def test_mounts_with_different_keys(make_site, tmp_path):
    path = tmp_path / "key"
    line = ctl("keys", "generate", "ES256", "-o", str(path)).out
    site = make_site(private=True, more="""<Location "/second">
SetHandler social-auth
SocialAuthJWTAlgorithm ES256
%s</Location>""" % line)
    failed(on_site(site)("keys", "list"), "different keys", "--mount")
    assert "ES256" in on_site(site)("--mount", "/second", "keys", "list").out
    assert "HS256" in on_site(site)("--mount", site.settings.path, "keys", "list").out


# ---- rotation, step by step as its words say

def test_T95_rotate_a_pair(make_site, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old_line = ctl("keys", "generate", "ES256", "-o", str(old)).out.strip()
    site = make_site(private=True, mount="SocialAuthJWTAlgorithm ES256\n" + old_line)
    site.make_user("p@example.org", "p")
    before = signed_in(site)
    done = on_site(site)("keys", "rotate", str(new))
    assert done.status == 0 and mode(new) == 0o600, done.err
    new_line = "SocialAuthJWTKey file:%s" % new
    assert "     %s\n" % new_line in done.out and "86400 seconds" in done.out, done.out

    site.httpd.edit(old_line, old_line + "\n" + new_line)
    site.httpd.restart()
    assert header(signed_in(site))["kid"] == header(before)["kid"]
    assert len(on_site(site)("--json", "keys", "list").json()["keys"]) == 2
    site.httpd.edit(old_line + "\n" + new_line, new_line + "\n" + old_line)
    site.httpd.restart()
    after = signed_in(site)
    assert header(after)["kid"] != header(before)["kid"]
    assert alive(site, before) and alive(site, after)
    site.httpd.edit(new_line + "\n" + old_line, new_line)
    site.httpd.restart()
    assert alive(site, after) and not alive(site, before)


def test_T95_rotate_the_secret(make_site, tmp_path):
    secret, new = tmp_path / "secret", tmp_path / "new"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o600)
    site = make_site(private=True, secret=None, server="SocialAuthSecret file:%s" % secret)
    site.make_user("p@example.org", "p")
    before = signed_in(site)
    done = on_site(site)("--json", "keys", "rotate", str(new), "--kid", "2026").json()
    assert done == {"alg": "HS256", "kid": "2026", "old_until": 86400,
                    "directive": "SocialAuthJWTKey kid=2026 file:%s" % new}
    site.httpd.edit("SetHandler social-auth", "SetHandler social-auth\n%s\nSocialAuthJWTKey file:%s"
                    % (done["directive"], secret))
    site.httpd.restart()
    after = signed_in(site)
    assert header(after)["kid"] == "2026" and "kid" not in header(before)
    assert alive(site, before) and alive(site, after)
    other = tmp_path / "another"
    assert "SocialAuthSecret" in on_site(site)("keys", "rotate", str(other)).out
    failed(on_site(site)("keys", "rotate", str(other)), "there already")
