"""npm's emulate as GitHub. What it does not do as GitHub does: it ignores PKCE and the redirect_uri
at the token endpoint, answers a bad token with a default user, and knows one verified address
per user."""
import json
import os
import signal
import subprocess
import time
import urllib.parse

import requests

from . import paths, ports
from .op import REDIRECT, node_command


class Emulate:
    client, secret = "Iv1.emulated0client", "emulated-secret-0123456789"

    def __init__(self, logins):
        """logins: who has an account there, with LOGIN@example.com as address."""
        self.port = ports.free_port()
        self.url = "http://localhost:%d" % self.port
        directory = paths.make_dir("emulate-%d" % self.port)
        seed = os.path.join(directory, "seed.json")
        with open(seed, "w") as f:
            json.dump({"github": {
                "users": [{"login": login, "name": login.title() + " Emulated",
                           "email": login + "@example.com"} for login in logins],
                "oauth_apps": [{"client_id": self.client, "client_secret": self.secret,
                                "name": "tests", "redirect_uris": [REDIRECT]}]}}, f)
        self._log = open(os.path.join(directory, "log"), "w+")
        self._process = subprocess.Popen(
            node_command(os.path.join(paths.NODE_MODULES, "emulate", "dist", "index.js"), "start",
                         "--port", str(self.port), "--service", "github", "--seed", seed),
            cwd=directory, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT)
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def _wait(self):
        deadline = time.monotonic() + 60
        while True:
            try:
                requests.get(self.url + "/user", timeout=5)
                return
            except requests.ConnectionError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self._log.seek(0)
                    raise RuntimeError("emulate did not start:\n" + self._log.read()) from None
                time.sleep(0.05)

    def close(self):
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    @property
    def options(self):
        return ("github client-id=%s client-secret=%s redirect-uri=%s"
                " token-url=%s/login/oauth/access_token userinfo-url=%s/user"
                " emails-url=%s/user/emails"
                % (self.client, self.secret, REDIRECT, self.url, self.url, self.url))

    def code(self, login, scope="read:user user:email", state="s"):
        """This user agrees -> the code in the redirect."""
        query = {"client_id": self.client, "redirect_uri": REDIRECT, "scope": scope, "state": state}
        page = requests.get(self.url + "/login/oauth/authorize", query, timeout=30)
        assert page.status_code == 200 and 'value="%s"' % login in page.text, page.text
        back = requests.post(self.url + "/login/oauth/callback", dict(query, login=login),
                             allow_redirects=False, timeout=30)
        assert back.status_code == 302 and back.headers["Location"].startswith(REDIRECT), back
        found = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(back.headers["Location"]).query))
        assert found["state"] == state
        return found["code"]
