"""A running installation: httpd with the module, its database, its providers; and
the pool that keeps installations of one configuration alive between tests."""
import collections
import hashlib
import itertools
import json
import os

from . import fake_provider, jose, paths
from .client import Browser
from .httpd import Httpd

SECRET = "integration-secret-0123456789-abcdefghijklmnop"
MOUNT = "/api/social-auth"
STRONG = "correct horse battery staple 7"


class Settings:
    """What a test wants of its server. Hashable by what it says.

    mount: directives inside the <Location>; server: directives beside it (global);
    providers: list of SocialAuthProvider argument strings, None = GitHub and Google of the
    fake; more: further configuration text ({port}, {root} and {provider} are replaced)."""

    def __init__(self, mount="", server="", providers=None, more="", modules=(), dbd="",
                 throttle="off", mpm_settings=None, log_level="info", faketime=None,
                 base_url="http://localhost:{port}", secret=SECRET, env=None, path=MOUNT,
                 name=None, fresh=None, preload=()):
        self.mount, self.server, self.providers, self.more = mount, server, providers, more
        self.modules, self.dbd, self.throttle = tuple(modules), dbd, throttle
        self.mpm_settings, self.log_level, self.faketime = mpm_settings, log_level, faketime
        self.base_url, self.secret, self.path = base_url, secret, path
        self.env = tuple(sorted((env or {}).items()))
        self.preload = tuple(preload)
        self.fresh = fresh                      # anything: keeps this server from being shared

    def key(self):
        return repr(sorted((k, repr(v)) for k, v in vars(self).items()))

    def body(self, database, provider):
        providers = self.providers
        if providers is None:
            providers = [provider.github.options, provider.google.options]
        inner = ["    SetHandler social-auth"]
        inner += ["    SocialAuthProvider " + p for p in providers]
        if self.throttle is not None:
            rate = self.throttle
            inner += ["    SocialAuthThrottleRate " + rate, "    SocialAuthPasswordThrottleRate " + rate,
                      "    SocialAuthAccountThrottleRate " + rate]
        inner += ["    " + line for line in self.mount.strip().splitlines()]
        text = ["DBDriver %s" % database.driver, 'DBDParams "%s"' % database.params,
                self.dbd or "DBDMin 1\nDBDKeep 4\nDBDMax 10\nDBDExptime 300"]
        if self.secret is not None:
            text.append('SocialAuthSecret "%s"' % self.secret)
        if self.base_url is not None:
            text.append("SocialAuthBaseURL " + self.base_url)
        text += [self.server, '<Location "%s">' % self.path, *inner, "</Location>", self.more]
        return "\n".join(text).replace("{provider}", provider.url)


class Site:
    def __init__(self, name, mpm, database, provider, settings):
        self.mpm, self.db, self.provider, self.settings = mpm, database, provider, settings
        self.httpd = Httpd(name, mpm, settings.body(database, provider), settings.modules,
                           settings.mpm_settings, dict(settings.env), settings.log_level,
                           preload=settings.preload, faketime=settings.faketime)
        self._names = itertools.count(1)

    @property
    def port(self):
        return self.httpd.port

    @property
    def url(self):
        return "http://localhost:%d" % self.port

    @property
    def issuer(self):
        return self.url + self.settings.path

    def expect_log(self, *patterns):
        self.httpd.expect_log(*patterns)

    def browser(self, **kw):
        kw.setdefault("mount", self.settings.path)
        return Browser(self.port, **kw)

    # -- accounts
    def make_user(self, email=None, username=None, password=STRONG, **columns):
        """A local account made by socialauthctl -> its id. columns: written afterwards, e.g.
        email_verified=False."""
        n = next(self._names)
        email = email if email is not None else "local%d@example.org" % n
        username = username or "local%d" % n
        if password is None:
            arguments, text = ["--no-password"], None
        else:
            arguments, text = ["--password-stdin"], password + "\n"
        self.db.ctl("users", "create", "--email", email, "--username", username, *arguments,
                    stdin=text)
        user = self.db.value("SELECT id FROM sa_users WHERE username = ?", username)
        for column, value in columns.items():
            self.db.query("UPDATE sa_users SET %s = ? WHERE id = ?" % column, value, user)
        return user

    def application(self, grants="password refresh_token convert_token", scopes="read write",
                    public=False, client_id=None, redirect_uris="", trusted=False, name="Shop"):
        """An OAuth 2.0 client made by socialauthctl -> {"client_id"[, "client_secret"]}."""
        arguments = ["--name", name, "--grants", grants, "--scopes", scopes,
                     "--redirect-uris", redirect_uris]
        arguments += ["--public"] if public else []
        arguments += ["--trusted"] if trusted else []
        arguments += ["--client-id", client_id] if client_id else []
        done = self.db.ctl("--json", "applications", "create", *arguments)
        return {k: v for k, v in json.loads(done.stdout).items() if v is not None}

    # -- short cuts through the dialect
    def state(self, browser, provider="github", **kw):
        answer = browser.get("%s/state/" % provider, **kw)
        assert answer.status == 200, answer
        return answer.json()

    def github_login(self, browser=None, user=None, **more):
        """One whole GitHub login -> the answer."""
        browser = browser or self.browser()
        user = user or self.provider.github.user()
        state = self.state(browser)["state"]
        return browser.post("github/login/",
                            {"code": self.provider.github.code(user), "state": state, **more})

    def google_login(self, browser=None, with_state=True, **claims):
        browser = browser or self.browser()
        body = {}
        if with_state:
            got = self.state(browser, "google")
            body["state"], claims["nonce"] = got["state"], got["nonce"]
        body["token"] = self.provider.google.id_token(**claims)
        return browser.post("google/login/", body)

    def tokens(self, answer):
        assert answer.status == 200, answer
        return answer.json()

    def user_id(self, tokens):
        return jose.claims_of(tokens["access"])["sub"]

    def password_login(self, email, password=STRONG, browser=None, **kw):
        browser = browser or self.browser()
        return browser.post("token/", {"email": email, "password": password}, **kw)

    def counts(self):
        return self.db.counts()

    def links(self):
        return sorted(self.db.query("SELECT issuer, subject FROM sa_links"))


class Pool:
    """At most `limit` servers run at a time; the one unused for longest goes first."""

    limit = 6

    def __init__(self, databases, provider):
        self._databases, self._provider = databases, provider
        self._sites = collections.OrderedDict()
        self._made = 0

    def get(self, mpm, db, settings):
        key = (mpm, db, settings.key())
        site = self._sites.pop(key, None)
        if site is None:
            while len(self._sites) >= self.limit:
                _, old = self._sites.popitem(last=False)
                old.httpd.stop()
            site = self.make(mpm, self._databases.make(db), settings)
        else:
            site.httpd.mark()
            if site.httpd.process is None or site.httpd.process.poll() is not None:
                site.httpd.stop()
                site.httpd.start()
        self._sites[key] = site
        return site

    def make(self, mpm, database, settings):
        self._made += 1
        name = "s%d" % self._made
        site = Site(name, mpm, database, self._provider, settings)
        if os.environ.get("SA_VERBOSE"):
            print("server %s: %s" % (name, hashlib.sha1(settings.key().encode()).hexdigest()[:8]))
        try:
            site.httpd.start()
        except Exception:
            site.httpd.stop()
            raise
        return site

    def forget(self, site):
        """A test that bent this server: nobody else may get it."""
        for key, value in list(self._sites.items()):
            if value is site:
                del self._sites[key]
        site.httpd.stop()

    def close(self):
        for site in self._sites.values():
            site.httpd.stop()
        self._sites.clear()


__all__ = ["Settings", "Site", "Pool", "SECRET", "MOUNT", "STRONG", "fake_provider", "paths"]
