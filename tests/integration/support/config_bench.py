"""A configuration to write and to test with `httpd -t`, and what to expect of its messages."""
import json
import os
import re
import subprocess
import tempfile

from support.paths import HTTPD, MODULE, MODULES, scratch, server_environment

SECRET = "a-secret-of-this-test-0123456789-abcdefgh"
WHSEC = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


class Result:
    def __init__(self, done, conf):
        self.code = done.returncode
        self.err = done.stderr
        self.out = done.stdout
        self.conf = conf

    def line_of(self, text):
        with open(self.conf, encoding="utf-8") as file:
            found = [n for n, line in enumerate(file, 1) if text in line]
        assert len(found) == 1, "%r stands in %d lines" % (text, len(found))
        return found[0]

    def mounts(self):
        assert self.code == 0, self.err
        return json.loads(self.out)["mounts"]


class Bench:
    """One directory, of the run's scratch, with a configuration to write and test."""

    def __init__(self):
        assert os.path.exists(MODULE), "the module is not built: " + MODULE
        self.root = tempfile.mkdtemp(prefix="config-", dir=scratch())
        os.chmod(self.root, 0o755)
        self.conf = os.path.join(self.root, "httpd.conf")

    def path(self, name):
        return os.path.join(self.root, name)

    def file(self, name, content, mode=0o600):
        path = self.path(name)
        with open(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        os.chmod(path, mode)
        return path

    def head(self, without=()):
        lines = ["ServerRoot " + self.root, "ServerName localhost",
                 "DefaultRuntimeDir " + self.root, "PidFile %s/httpd.pid" % self.root,
                 "ErrorLog %s/error.log" % self.root]
        for name in ("mpm_event", "dbd"):
            if name not in without:
                lines += ["<IfModule !mod_%s.c>" % name,
                          "LoadModule %s_module %s/mod_%s.so" % (name, MODULES, name),
                          "</IfModule>"]
        return lines + ["LoadModule social_auth_module " + MODULE]

    def write(self, text):
        with open(self.conf, "w", encoding="utf-8") as file:
            file.write(text)

    def run(self, *args):
        done = subprocess.run([HTTPD, *args, "-f", self.conf], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, errors="replace", timeout=60,
                              env=server_environment())
        return Result(done, self.conf)

    def test_raw(self, lines, *args, without=()):
        self.write("\n".join(self.head(without) + list(lines)) + "\n")
        return self.run("-t", *args)

    def test(self, mount=(), server=(), after=(), *, base_url="https://www.example.org",
             secret=SECRET, database="sqlite3", dump=False):
        """A configuration with one mount, complete unless a part is None."""
        lines = []
        if database:
            lines += ["DBDriver " + database, "DBDParams %s/users.db" % self.root]
        lines += list(server) + ['<Location "/api/social-auth">', "SetHandler social-auth"]
        if base_url:
            lines.append("SocialAuthBaseURL " + base_url)
        if secret:
            lines.append('SocialAuthSecret "%s"' % secret)
        lines += list(mount) + ["</Location>"] + list(after)
        return self.test_raw(lines, *(["-D", "DUMP_SOCIAL_AUTH"] if dump else []))

    def mounts(self, *args, **kwargs):
        return self.test(*args, dump=True, **kwargs).mounts()


def is_one_sentence_about(result, line, *parts):
    """httpd names file and line; the next line is the whole message."""
    assert result.code != 0, "accepted: " + line
    head = "Syntax error on line %d of %s:\n" % (result.line_of(line), result.conf)
    assert head in result.err, result.err
    message = result.err.split(head)[1].split("\n")[0]
    assert message.startswith(line.split()[0]), message
    for part in parts:
        assert part in message, message
    return message


def is_check_error(result, *parts):
    """check_config logs "file:line: sentence" by itself."""
    assert result.code != 0, "accepted"
    messages = [line for line in result.err.splitlines() if "SA0102: " in line]
    assert messages, result.err
    hits = [line for line in messages if all(part in line for part in parts)]
    assert hits, "\n".join(messages)
    assert re.search(r"SA0102: %s:\d+: " % re.escape(result.conf), hits[0]), hits[0]
    return hits[0]
