"""GitHub, Google and Facebook, as strict as the real ones where it matters, and misbehaving on
demand.

One threaded server on the loopback. What the module asked is in `requests`. script()
replaces the answers of one path: by another answer, silence, endless bodies."""
import base64
import contextlib
import hashlib
import hmac
import itertools
import json
import re
import secrets
import socket
import ssl
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from . import jose, ports

GITHUB_CLIENT, GITHUB_SECRET = "Iv1.0123456789abcdef", "gh-secret-" + "5a" * 15
GOOGLE_CLIENT = "1234567890-abc.apps.googleusercontent.com"
GOOGLE_SECRET = "GOCSPX-test-secret-of-google"
FACEBOOK_APP, FACEBOOK_SECRET = "138483919580948", "fb" + "0c" * 15
FACEBOOK_REDIRECT = "https://app.example/facebook"


class Request:
    def __init__(self, method, path, query, headers, body, peer):
        self.method, self.path, self.query = method, path, query
        self.headers, self.body, self.peer = headers, body, peer
        self.time = time.monotonic()

    @property
    def form(self):
        return dict(urllib.parse.parse_qsl(self.body.decode(), keep_blank_values=True))

    def __repr__(self):
        return "<%s %s %r>" % (self.method, self.path, self.body[:200])


class Reply:
    """What to answer. delay: seconds before the first byte; hang: never answer; drop: close at once;
    drip: seconds between single bytes of the body; endless: the body never ends; raw: these bytes."""

    def __init__(self, status=200, body=b"", content_type="application/json", headers=(), delay=0,
                 hang=False, drop=False, drip=0, endless=None, raw=None, times=None):
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        self.body = body.encode() if isinstance(body, str) else body
        self.status, self.content_type = status, content_type
        self.headers = list(headers.items()) if isinstance(headers, dict) else list(headers)
        self.delay, self.hang, self.drop, self.drip = delay, hang, drop, drip
        self.endless, self.raw, self.times = endless, raw, times


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512
    allow_reuse_address = True

    def handle_error(self, request, client_address):
        pass                                            # a client that went away is no news


class FakeProvider:
    def __init__(self, chain=None, key=None, host="localhost", address="127.0.0.1", port=None):
        self.lock = threading.Lock()
        self.requests = []
        self._scripts = {}
        self.port = port or ports.free_port()
        self.released = threading.Event()
        self.github = GitHub(self)
        self.google = Google(self)
        self.facebook = Facebook(self)
        self._server = _Server((address, self.port), self._handler())
        scheme = "http"
        if chain:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(chain, key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True,
                                                      do_handshake_on_connect=False)
            scheme = "https"
        self.url = "%s://%s:%d" % (scheme, host, self.port)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self):
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    # -- for tests
    def reset(self):
        self.released.set()
        with self.lock:
            self.requests.clear()
            self._scripts.clear()
            self.released = threading.Event()
        self.github.reset()
        self.google.reset()
        self.facebook.reset()

    def asked(self, path=None):
        with self.lock:
            return [r for r in self.requests if path is None or r.path == path]

    def script(self, path, *replies):
        """The next requests for path get these replies; the last one stays unless it has times=."""
        with self.lock:
            self._scripts[path] = list(replies)

    @contextlib.contextmanager
    def scripted(self, path, *replies):
        self.script(path, *replies)
        try:
            yield
        finally:
            self.unscript(path)

    def unscript(self, path):
        with self.lock:
            self._scripts.pop(path, None)

    def release(self):
        """Lets hanging requests end."""
        self.released.set()

    # -- the server
    def _scripted_reply(self, path):
        with self.lock:
            replies = self._scripts.get(path)
            if not replies:
                return None
            reply = replies[0]
            if reply.times is not None:
                reply.times -= 1
                if reply.times <= 0:
                    replies.pop(0)
            elif len(replies) > 1:
                replies.pop(0)
            return reply

    def _handler(provider):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def log_message(self, *args):
                pass

            def setup(self):
                self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                super().setup()

            def _serve(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length) if length else b""
                url = urllib.parse.urlsplit(self.path)
                request = Request(self.command, url.path,
                                  dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True)),
                                  {k.lower(): v for k, v in self.headers.items()}, body,
                                  self.client_address)
                with provider.lock:
                    provider.requests.append(request)
                    released = provider.released
                reply = provider._scripted_reply(url.path) or provider._answer(request)
                self._send(reply, released)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _serve

            def _send(self, reply, released):
                if reply.delay:
                    released.wait(reply.delay)
                if reply.hang:
                    released.wait(60)
                    self.close_connection = True
                    return
                if reply.drop:
                    self.close_connection = True
                    return
                if reply.raw is not None:
                    self.wfile.write(reply.raw)
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                self.send_header("Content-Type", reply.content_type)
                for name, value in reply.headers:
                    self.send_header(name, value)
                if reply.endless is not None:
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    self.close_connection = True
                    chunk = b"%x\r\n%s\r\n" % (len(reply.endless), reply.endless)
                    while not released.is_set():
                        self.wfile.write(chunk)
                    return
                no_body = reply.status in (204, 304)
                if not no_body:
                    self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                if no_body:
                    return
                if reply.drip:
                    for i in range(len(reply.body)):
                        self.wfile.write(reply.body[i:i + 1])
                        self.wfile.flush()
                        if released.wait(reply.drip):
                            break
                    return
                self.wfile.write(reply.body)

        return Handler

    def _answer(self, request):
        for part in (self.github, self.google, self.facebook):
            reply = part.answer(request)
            if reply is not None:
                return reply
        return Reply(404, {"message": "Not Found"})


def _sent_back(query, **fields):
    """The browser on its way back from the authorization endpoint."""
    fields["state"] = query["state"]
    return Reply(302, headers={"Location": query["redirect_uri"] + "?"
                               + urllib.parse.urlencode(fields)})


def _challenge(verifier):
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


class GitHub:
    """https://docs.github.com/en/apps/oauth-apps: errors with status 200, single-use codes, form
    encoding unless JSON is asked for, PKCE when the code was asked for with a challenge."""

    def __init__(self, provider):
        self._provider = provider
        self._ids = itertools.count(583000)
        self.reset()

    def reset(self):
        self._codes, self._tokens = {}, {}
        self._foreign = set()
        self.visitor = None             # whose browser comes by, agreeing to all; None: cancels

    @property
    def options(self):
        """The SocialAuthProvider line that points the module here."""
        u = self._provider.url
        return ("github client-id=%s client-secret=%s authorize-url=%s/github/authorize"
                " token-url=%s/github/token userinfo-url=%s/github/user"
                " emails-url=%s/github/emails token-check-url=%s/applications/%s/token"
                " allow-http=on"
                % (GITHUB_CLIENT, GITHUB_SECRET, u, u, u, u, u, GITHUB_CLIENT))

    def user(self, email=None, id=None, login=None, name="Ada Lovelace", emails=None, **more):
        """A GitHub account. emails: /user/emails as it is; email: one primary and verified address."""
        id = next(self._ids) if id is None else id
        login = login or "user%s" % id
        email = email or "%s@example.com" % login
        if emails is None:
            emails = [{"email": email, "primary": True, "verified": True, "visibility": "private"}]
        return {"user": {"login": login, "id": id, "name": name, "email": None, **more},
                "emails": emails, "email": email}

    def code(self, user, challenge=None, redirect_uri=None):
        """What GitHub puts into the callback after this user agreed."""
        code = secrets.token_hex(10)
        with self._provider.lock:
            self._codes[code] = (user, challenge, redirect_uri)
        return code

    def token(self, user, foreign=False):
        """An access token that a front end got by itself; foreign: as another application."""
        token = "gho_" + secrets.token_hex(18)
        with self._provider.lock:
            self._tokens[token] = user
            if foreign:
                self._foreign.add(token)
        return token

    # GitHub's own paths, for clients that know no others
    _real = {"/login/oauth/access_token": "/github/token", "/user": "/github/user",
             "/user/emails": "/github/emails"}

    def answer(self, request):
        path = self._real.get(request.path, request.path)
        if path == "/github/authorize":
            return self._authorize(request.query)
        if path == "/github/token":
            return self._token(request)
        if path == "/github/user":
            return self._about(request, "user")
        if path == "/github/emails":
            return self._about(request, "emails")
        if path == "/applications/%s/token" % GITHUB_CLIENT:
            return self._check(request)
        return None

    def _authorize(self, query):
        if query.get("client_id") != GITHUB_CLIENT:
            return Reply(404)
        if self.visitor is None:
            return _sent_back(query, error="access_denied",
                              error_description="The user has denied your application access.")
        return _sent_back(query, code=self.code(self.visitor, query.get("code_challenge"),
                                                query["redirect_uri"]))

    def _check(self, request):
        pair = "%s:%s" % (GITHUB_CLIENT, GITHUB_SECRET)
        if request.method != "POST" or request.headers.get("authorization") != \
                "Basic " + base64.b64encode(pair.encode()).decode():
            return Reply(401, {"message": "Bad credentials"})
        try:
            token = json.loads(request.body)["access_token"]
        except (ValueError, KeyError, TypeError):
            return Reply(422, {"message": "Validation Failed"})
        with self._provider.lock:
            user = None if token in self._foreign else self._tokens.get(token)
        if user is None:
            return Reply(404, {"message": "Not Found"})
        return Reply(200, {"id": 1, "token": token, "scopes": ["read:user", "user:email"],
                           "app": {"name": "Tests", "client_id": GITHUB_CLIENT},
                           "user": {k: user["user"][k] for k in ("id", "login")}})

    def _token(self, request):
        form = request.form
        def refuse(error):
            return Reply(200, {"error": error, "error_description": "The code is not for you.",
                               "error_uri": "https://docs.github.com/"})
        if (form.get("client_id"), form.get("client_secret")) != (GITHUB_CLIENT, GITHUB_SECRET):
            return refuse("incorrect_client_credentials")
        with self._provider.lock:
            found = self._codes.pop(form.get("code"), None)
        if found is None:
            return refuse("bad_verification_code")
        user, challenge, redirect_uri = found
        if challenge and _challenge(form.get("code_verifier", "")) != challenge:
            return refuse("bad_verification_code")
        if redirect_uri and form.get("redirect_uri") != redirect_uri:
            return refuse("redirect_uri_mismatch")
        grant = {"access_token": self.token(user), "scope": "read:user,user:email", "token_type": "bearer"}
        if "json" in request.headers.get("accept", ""):
            return Reply(200, grant)
        return Reply(200, urllib.parse.urlencode(grant),
                     content_type="application/x-www-form-urlencoded")

    def _about(self, request, what):
        if not request.headers.get("user-agent"):
            return Reply(403, "Request forbidden by administrative rules. User-Agent missing",
                         content_type="text/plain")
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        with self._provider.lock:
            user = self._tokens.get(token) if kind.lower() in ("bearer", "token") else None
        if user is None:
            return Reply(401, {"message": "Bad credentials"})
        return Reply(200, user[what],
                     content_type="application/json; charset=utf-8",
                     headers=[("X-OAuth-Scopes", "read:user, user:email")])


class Google:
    """A JWKS and the ID tokens that go with it; access tokens, tokeninfo and userinfo."""

    issuer = "https://accounts.google.com"
    _keys = None

    def __init__(self, provider):
        self._provider = provider
        self._subjects = itertools.count(110169484474386276334)
        self._emails = itertools.count(1)
        if Google._keys is None:
            Google._keys = [jose.Key("RS256", "g-1"), jose.Key("RS256", "g-2")]
        self.reset()

    def reset(self):
        self.keys = list(Google._keys)
        self._codes, self._tokens = {}, {}
        self.visitor = None             # claims of whose browser comes by; None: cancels
        self.cache_control = "public, max-age=3600"

    @property
    def options(self):
        u = self._provider.url
        return ("google client-id=%s jwks-url=%s/google/certs userinfo-url=%s/google/userinfo"
                " token-check-url=%s/google/tokeninfo issuer=%s allow-http=on"
                % (GOOGLE_CLIENT, u, u, u, self.issuer))

    @property
    def code_options(self):
        """The same with the code flow."""
        u = self._provider.url
        return ("%s client-secret=%s authorize-url=%s/google/authorize token-url=%s/google/token"
                % (self.options, GOOGLE_SECRET, u, u))

    def jwks(self):
        return {"keys": [key.jwk() for key in self.keys]}

    def claims(self, email="", sub=None, nonce=None, **more):
        """What Google says of somebody, somebody new unless named; None removes a claim."""
        t = jose.now()
        if email == "":
            email = "user%d@gmail.com" % next(self._emails)
        out = {"iss": self.issuer, "azp": GOOGLE_CLIENT, "aud": GOOGLE_CLIENT,
               "sub": str(next(self._subjects)) if sub is None else sub,
               "email": email, "email_verified": True, "name": "Ada Lovelace",
               "given_name": "Ada", "family_name": "Lovelace", "iat": t, "exp": t + 3600,
               "jti": secrets.token_hex(8)}
        if nonce is not None:
            out["nonce"] = nonce
        out.update(more)
        return {k: v for k, v in out.items() if v is not None}

    def id_token(self, claims=None, key=None, header=None, **kw):
        if claims is None:
            claims = self.claims(**kw)
        return jose.make(claims, key or self.keys[0], header)

    def access_token(self, scope="openid email profile", **claims):
        """What Google gives to a front end; claims as for claims(), exp, aud and azp included."""
        token = "ya29.a0" + secrets.token_urlsafe(40)
        with self._provider.lock:
            self._tokens[token] = (scope.split(), self.claims(**claims))
        return token

    def answer(self, request):
        if request.path == "/google/certs":
            headers = [("Cache-Control", self.cache_control)] if self.cache_control else []
            return Reply(200, self.jwks(), headers=headers)
        if request.path == "/google/authorize":
            return self._authorize(request.query)
        if request.path == "/google/token":
            return self._token(request.form)
        if request.path == "/google/tokeninfo":
            return self._tokeninfo(request)
        if request.path == "/google/userinfo":
            return self._userinfo(request)
        return None

    def _authorize(self, query):
        if (query.get("client_id"), query.get("response_type")) != (GOOGLE_CLIENT, "code") \
                or "openid" not in query.get("scope", "").split():
            return Reply(400, "invalid_request", content_type="text/plain")
        if self.visitor is None:
            return _sent_back(query, error="access_denied")
        code = "4/0A" + secrets.token_urlsafe(30)
        with self._provider.lock:
            self._codes[code] = (self.claims(**{"nonce": query.get("nonce"), **self.visitor}),
                                 query.get("code_challenge"), query["redirect_uri"])
        return _sent_back(query, code=code, iss=self.issuer, scope=query["scope"], prompt="none")

    def _token(self, form):
        with self._provider.lock:
            claims, challenge, redirect_uri = self._codes.pop(form.get("code"), (None, None, None))
        if (form.get("client_id"), form.get("client_secret")) != (GOOGLE_CLIENT, GOOGLE_SECRET):
            return Reply(401, {"error": "invalid_client"})
        if claims is None or form.get("redirect_uri") != redirect_uri \
                or (challenge and _challenge(form.get("code_verifier", "")) != challenge):
            return Reply(400, {"error": "invalid_grant", "error_description": "Bad Request"})
        return Reply(200, {"access_token": "ya29.a0" + secrets.token_urlsafe(40),
                           "expires_in": 3599, "token_type": "Bearer", "scope": "openid email",
                           "id_token": self.id_token(claims)})

    def _claims_of(self, token):
        with self._provider.lock:
            scope, claims = self._tokens.get(token, ((), None))
        if claims is None or claims["exp"] <= jose.now():
            return (), None
        return scope, claims

    @staticmethod
    def _signs_in(scope):
        return not {"openid", "email", "profile"}.isdisjoint(scope)

    def _tokeninfo(self, request):
        """All values are strings, and there are no names."""
        given = request.form if request.method == "POST" else request.query
        scope, claims = self._claims_of(given.get("access_token"))
        if claims is None:
            return Reply(400, {"error": "invalid_token", "error_description": "Invalid Value"})
        info = {"azp": claims.get("azp"), "aud": claims["aud"], "scope": " ".join(scope),
                "exp": str(claims["exp"]), "expires_in": str(claims["exp"] - jose.now()),
                "access_type": "online"}
        if self._signs_in(scope):
            info["sub"] = claims["sub"]
        if "email" in scope and "email" in claims:
            info["email"] = claims["email"]
            info["email_verified"] = str(claims.get("email_verified", False)).lower()
        return Reply(200, {k: v for k, v in info.items() if v is not None})

    def _userinfo(self, request):
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        scope, claims = self._claims_of(token if kind == "Bearer" else None)
        if not self._signs_in(scope):
            return Reply(401, {"error": "invalid_request", "error_description": "Invalid Credentials"})
        names = ["sub"]
        names += ["email", "email_verified", "hd"] if "email" in scope else []
        names += ["name", "given_name", "family_name"] if "profile" in scope else []
        return Reply(200, {name: claims[name] for name in names if name in claims})


class Facebook:
    """https://developers.facebook.com/docs/facebook-login: Graph's errors are numbers with status 400,
    redirect_uri is compared, each call needs appsecret_proof (the application demands it), and /me
    gives what fields= names and the user granted."""

    _path = re.compile(r"(?:/facebook|/v\d+\.\d)/(oauth/access_token|me|debug_token)\Z")

    def __init__(self, provider):
        self._provider = provider
        self._ids = itertools.count(1001001001001001)
        self.reset()

    def reset(self):
        self._codes, self._tokens = {}, {}

    @property
    def options(self):
        u = self._provider.url + "/facebook"
        return ("facebook client-id=%s client-secret=%s token-url=%s/oauth/access_token"
                " userinfo-url=%s/me token-check-url=%s/debug_token redirect-uri=%s allow-http=on"
                % (FACEBOOK_APP, FACEBOOK_SECRET, u, u, u, FACEBOOK_REDIRECT))

    def user(self, id=None, email="", first_name="Ada", last_name="Lovelace", **more):
        """A Facebook account: what /me may say. email: None for one that has a telephone number."""
        id = str(next(self._ids)) if id is None else str(id)
        me = {"id": id, "email": "user%s@example.com" % id if email == "" else email,
              "first_name": first_name, "last_name": last_name,
              "name": " ".join(n for n in (first_name, last_name) if n), **more}
        return {k: v for k, v in me.items() if v is not None}

    def code(self, user, redirect_uri=FACEBOOK_REDIRECT):
        code = "AQ" + secrets.token_urlsafe(60)
        with self._provider.lock:
            self._codes[code] = (user, redirect_uri)
        return code

    def token(self, user, app=FACEBOOK_APP, scopes=("email", "public_profile"), expires_in=5183944,
              type="USER"):
        """What the JavaScript SDK gives to a page. app: whose page it was."""
        token = "EAAB" + secrets.token_hex(40)
        with self._provider.lock:
            self._tokens[token] = {"user": user, "app": app, "scopes": list(scopes), "type": type,
                                   "issued_at": jose.now(), "expires_at": jose.now() + expires_in}
        return token

    def answer(self, request):
        found = self._path.match(request.path)
        if not found:
            return None
        given = dict(request.query, **(request.form if request.method == "POST" else {}))
        call = {"oauth/access_token": self._exchange, "me": self._me, "debug_token": self._debug}
        return call[found.group(1)](given)

    def _error(self, code, message, type="OAuthException", **more):
        return Reply(400, {"error": {"message": message, "type": type, "code": code, **more,
                                     "fbtrace_id": secrets.token_urlsafe(8)}},
                     content_type="application/json; charset=UTF-8")

    def _exchange(self, given):
        if given.get("client_id") != FACEBOOK_APP:
            return self._error(101, "Error validating application.")
        if given.get("client_secret") != FACEBOOK_SECRET:
            return self._error(1, "Error validating client secret.")
        if "redirect_uri" not in given:
            return self._error(191, "Missing redirect_uri parameter.")
        with self._provider.lock:
            user, redirect_uri = self._codes.pop(given.get("code"), (None, None))
        if user is None:
            return self._error(100, "This authorization code has been used.", error_subcode=36009)
        if redirect_uri != given["redirect_uri"]:
            return self._error(100, "Error validating verification code. Please make sure your "
                                    "redirect_uri is identical", error_subcode=36008)
        return Reply(200, {"access_token": self.token(user), "token_type": "bearer",
                           "expires_in": 5183944})

    def _proof_problem(self, given, token):
        proof = hmac.new(FACEBOOK_SECRET.encode(), token.encode(), hashlib.sha256).hexdigest()
        if "appsecret_proof" not in given:
            return self._error(100, "API calls from the server require an appsecret_proof argument",
                               "GraphMethodException")
        if given["appsecret_proof"] != proof:
            return self._error(100, "Invalid appsecret_proof provided in the API argument",
                               "GraphMethodException")
        return None

    def _found(self, token):
        with self._provider.lock:
            return self._tokens.get(token)

    def _me(self, given):
        token = given.get("access_token", "")
        found = self._found(token)
        if not token:
            return self._error(2500, "An active access token must be used to query information "
                                     "about the current user.")
        if found is None or found["expires_at"] <= jose.now():
            return self._error(190, "Invalid OAuth access token - Cannot parse access token")
        # What another application's token and secret would make is theirs to know.
        problem = self._proof_problem(given, token) if found["app"] == FACEBOOK_APP else None
        if problem:
            return problem
        fields = {"id", *(f.strip() for f in given.get("fields", "id,name").split(","))}
        if "email" not in found["scopes"]:
            fields.discard("email")
        return Reply(200, {k: v for k, v in found["user"].items() if k in fields},
                     content_type="application/json; charset=UTF-8")

    def _debug(self, given):
        token = given.get("access_token", "")
        if token != "%s|%s" % (FACEBOOK_APP, FACEBOOK_SECRET):
            return self._error(190, "Invalid OAuth access token signature.")
        problem = self._proof_problem(given, token)
        if problem:
            return problem
        found = self._found(given.get("input_token"))
        if found is None:
            return self._invalid(190, "Invalid OAuth access token.")
        if found["app"] != FACEBOOK_APP:
            return self._invalid(100, "(#100) The App_id in the input_token did not match the "
                                      "Viewing App")
        data = {"app_id": found["app"], "type": found["type"], "application": "Tests",
                "data_access_expires_at": jose.now() + 7776000, "expires_at": found["expires_at"],
                "issued_at": found["issued_at"], "is_valid": found["expires_at"] > jose.now(),
                "scopes": found["scopes"], "user_id": found["user"]["id"]}
        return Reply(200, {"data": data}, content_type="application/json; charset=UTF-8")

    def _invalid(self, code, message):
        return Reply(200, {"data": {"error": {"code": code, "message": message},
                                    "is_valid": False, "scopes": []}})
