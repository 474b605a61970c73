"""socialauthctl as an administrator calls it: its exit status, its words, its JSON."""
import json
import subprocess

from . import paths


class Done:
    def __init__(self, done):
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr

    def json(self):
        assert len(self.out.splitlines()) == 1, (self.out, self.err)
        return json.loads(self.out)


def ctl(*arguments, stdin="", env=None, preload=(), cwd=None):
    return Done(subprocess.run([paths.CTL, *arguments], input=stdin, text=True, timeout=60, cwd=cwd,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env=paths.server_environment(env, preload)))


def on_database(database):
    """on("users", "list") -> Done"""
    return lambda *a, **kw: ctl("--driver", database.driver, "--params", database.params, *a, **kw)


def on_site(site):
    """The same by the server's own configuration."""
    return lambda *a, **kw: ctl("-f", site.httpd.conf, "--httpd", paths.HTTPD, *a, **kw)


def failed(done, *words):
    """Status 1, nothing on stdout, one line that says why."""
    assert done.status == 1, (done.status, done.out, done.err)
    assert done.out == "", done.out
    lines = done.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("socialauthctl: "), done.err
    for word in words:
        assert word in lines[0], lines[0]


def refused_usage(done):
    assert done.status == 2, (done.status, done.out, done.err)
    assert done.out == "" and done.err, done
