"""What README and the shipped example say is true: their configurations are accepted as they stand."""
import os
import re
import shutil
import subprocess

import pytest

from support.config_bench import Bench
from support.paths import BUILD, MODULE, MODULES

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def read(*path):
    with open(os.path.join(TOP, *path), encoding="utf-8") as file:
        return file.read()


def section(title):
    text = read("README")
    found = re.search(r"^%s\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)" % re.escape(title), text, re.M | re.S)
    assert found, "README has no section " + title
    return found.group(1)


def accepted(lines):
    """configtest of these lines, with the secrets and the module replaced by ones that are here."""
    bench = Bench()
    secret = bench.file("secret", "s" * 48 + "\n")
    text = "\n".join(lines)
    text = re.sub(r"file:/\S+", "file:" + secret, text)
    text = text.replace("/usr/lib/apache2/modules/mod_social_auth.so", MODULE)
    text = "LoadModule mpm_event_module %s/mod_mpm_event.so\n%s" % (MODULES, text)
    bench.write("ServerRoot %s\nServerName localhost\nErrorLog error.log\n%s\n" % (bench.root, text))
    return bench.run("-t")


def test_the_configuration_of_the_readme_is_accepted_and_short():
    lines = [line.strip() for line in section("A working configuration").splitlines()
             if line.startswith("    ")]
    end = lines.index("</Location>") + 1
    lines = [line for line in lines[:end] if line]
    assert len(lines) <= 15
    result = accepted(lines)
    assert result.code == 0 and "Syntax OK" in result.err, result.err


def test_the_shipped_example_is_accepted():
    lines = read("conf", "social_auth.conf").splitlines()
    result = accepted(["LoadModule dbd_module %s/mod_dbd.so" % MODULES,
                       read("conf", "social_auth.load")] + lines)
    assert result.code == 0 and "Syntax OK" in result.err, result.err


@pytest.mark.parametrize("file", [("README",), ("conf", "social_auth.conf")])
def test_codes_come_back_to_a_page_that_is_listed(file):
    """social-auth.js names it, and unlisted ones are refused."""
    github, = re.findall(r"^ +SocialAuthProvider github .*", read(*file), re.M)
    assert " redirect-uri=https://www.example.org/" in github


def test_what_the_page_imports_is_served_from_where_it_is_installed(make_site):
    text = section("In the browser")
    alias = re.search(r"^ +Alias .*</Directory>", text, re.M | re.S).group(0)
    installed = subprocess.run(["make", "-s", "-C", BUILD, "--eval=where: ; @echo $(jsdir)", "where"],
                               stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    assert alias.count('"%s"' % installed) == 2
    site = make_site(private=True, more=alias.replace(installed, "{root}/js"))
    shutil.copytree(os.path.join(TOP, "conf", "js"), os.path.join(site.httpd.root, "js"))
    answer = site.browser().get(re.search(r'from "(.*?)"', text).group(1))
    assert answer.status == 200 and answer.header("Content-Type") == "text/javascript"
    assert answer.body == read("conf", "js", "social-auth.js").encode()


def test_the_readme_names_only_directives_that_exist():
    known = set(re.findall(r"^# (SocialAuth\w+)", read("conf", "social_auth.conf.reference"), re.M))
    named = set(re.findall(r"\bSocialAuth[A-Z]\w+", read("README")))
    assert named and named <= known, named - known


def test_the_readme_names_only_commands_that_socialauthctl_has():
    source = read("src", "ctl", "main.c")
    for command in re.findall(r"socialauthctl -f \S+ ((?:[a-z]+s |import )?[a-z-]+)", read("README")):
        assert '"%s"' % command in source, command


def test_the_readme_tells_front_ends_that_keep_one_refresh_token_what_to_set():
    assert "SocialAuthRotateRefreshTokens Off" in section("Using it from a front end")
