"""npm's oidc-provider (tests/op) as a running process, and somebody who signs in there."""
import html
import json
import os
import queue
import re
import secrets
import subprocess
import threading
import urllib.parse

import requests

from . import paths, ports

REDIRECT = "https://app.test/callback"      # nobody calls it: the answer is read off the redirect


def node_command(*arguments):
    if not os.path.exists(paths.NODE):
        raise RuntimeError("%s was not found: run npm ci --ignore-scripts in tests/" % paths.NODE)
    return [paths.NODE, *arguments]


class Refused(Exception):
    """The provider did not redirect back with what was asked for."""


class Op:
    client, secret = "op-client", "op-secret"

    def __init__(self, chain=None, key=None, issuer=None, port=None, address="127.0.0.1", ca=None,
                 clients=(), google=False, lean=False, alg="RS256"):
        """chain, key: for https; ca: what its certificate is checked with here."""
        self.port = port or ports.free_port()
        self.url = "%s://localhost:%d" % ("https" if chain else "http", self.port)
        self.issuer, self.google, self._ca = issuer or self.url, google, ca
        arguments = ["--port", str(self.port), "--address", address, "--issuer", self.issuer,
                     "--redirect", REDIRECT, "--alg", alg]
        for client in ("%s:%s" % (self.client, self.secret), *clients):
            arguments += ["--client", client]
        if chain:
            arguments += ["--cert", chain, "--cert-key", key]
        arguments += ["--google"] * google + ["--lean"] * lean
        self._log = open(os.path.join(paths.scratch(), "op-%d.log" % self.port), "w")
        self._process = subprocess.Popen(
            node_command(os.path.join(paths.TESTS, "op", "op.mjs"), *arguments),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True)
        self._lines = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._answer("start")

    def _read(self):
        for line in self._process.stdout:
            if line.startswith(("[", "{", '"')):
                self._lines.put(line)
        self._lines.put(None)

    def _answer(self, what):
        try:
            line = self._lines.get(timeout=60)
        except queue.Empty:
            line = None
        if line is None:
            self.close()
            with open(self._log.name) as f:
                raise RuntimeError("oidc-provider did not %s:\n%s" % (what, f.read()))
        return json.loads(line)

    def _tell(self, **command):
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._answer(command["do"])

    def close(self):
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    # -- what it is told
    def person(self, login, **claims):
        """What is said of this person from now on -> all of it."""
        return self._tell(do="person", login=login, claims=claims)

    def rotate(self, drop=False):
        """A new key signs -> the kids that are published."""
        return self._tell(do="rotate", drop=drop)

    def asked(self, path=None):
        return [line for line in self._tell(do="asked")
                if path is None or line.endswith(" " + path)]

    # -- where it is
    @property
    def jwks_path(self):
        return "/oauth2/v3/certs" if self.google else "/jwks"

    @property
    def options(self):
        """Every endpoint named, as for a Google that is elsewhere."""
        assert self.google
        return ("google client-id=%s client-secret=%s redirect-uri=%s issuer=%s"
                " jwks-url=%s/oauth2/v3/certs token-url=%s/token userinfo-url=%s/v1/userinfo"
                % (self.client, self.secret, REDIRECT, self.issuer, self.url, self.url, self.url))

    # -- a person in a browser
    def authorize(self, login="ada", response_type="code", client=None, **query):
        """Signs in and is sent back -> the parameters of the redirect."""
        path = "/o/oauth2/v2/auth" if self.google else "/auth"
        query = {"client_id": client or self.client, "redirect_uri": REDIRECT,
                 "response_type": response_type, "scope": "openid email profile",
                 "state": secrets.token_hex(8), **query}
        with requests.Session() as session:
            session.trust_env = False
            session.verify = self._ca
            url = self.url + path + "?" + urllib.parse.urlencode(query)
            back = self._follow(session, url, login)
        found = dict(urllib.parse.parse_qsl(back.fragment or back.query))
        if found.pop("state", None) != query["state"]:
            raise Refused("another state came back")
        if "error" in found:
            raise Refused(found)
        return found

    def _follow(self, session, url, login):
        answer = session.get(url, allow_redirects=False, timeout=30)
        for _ in range(10):
            if answer.status_code in (302, 303):
                url = urllib.parse.urljoin(url, answer.headers["Location"])
                if url.startswith(REDIRECT):
                    return urllib.parse.urlsplit(url)
                url = self._here(url)
                answer = session.get(url, allow_redirects=False, timeout=30)
            elif answer.status_code == 200 and "name=\"login\"" in answer.text:
                answer = session.post(url, {"login": login}, allow_redirects=False, timeout=30)
            else:
                break
        text = " ".join(html.unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())
        raise Refused("%d: %s" % (answer.status_code, text[:300]))

    def _here(self, url):
        """Its issuer's address may be one that only the module is meant to use."""
        parts = urllib.parse.urlsplit(url)
        return self.url + urllib.parse.urlunsplit(("", "", parts.path, parts.query, ""))

    def code(self, login="ada", **query):
        return self.authorize(login, **query)["code"]

    def id_token(self, login="ada", nonce=None, **query):
        """As a "Sign in with Google" button hands it to a page."""
        nonce = nonce if nonce is not None else secrets.token_hex(8)
        return self.authorize(login, "id_token", nonce=nonce, **query)["id_token"]
