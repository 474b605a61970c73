"""HTTP as a front end speaks it. A Browser keeps cookies the way Chromium does on
http://localhost (Secure and __Host- cookies are kept and sent there, each below its Path); raw() sends bytes
as they are."""
import http.client
import json as jsonlib
import re
import socket
import subprocess
import threading
import urllib.parse

from . import openapi

http.client._MAXHEADERS = 2000          # how many are too many is for the tests to say


class Answer:
    def __init__(self, status, headers, body, reason=""):
        self.status, self.reason, self.body = status, reason, body
        self.all_headers = [(k, v) for k, v in headers]

    def header(self, name, default=None):
        for key, value in self.all_headers:
            if key.lower() == name.lower():
                return value
        return default

    def headers(self, name):
        return [v for k, v in self.all_headers if k.lower() == name.lower()]

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def json(self):
        return jsonlib.loads(self.body)

    @property
    def word(self):
        """The stable machine word of a refusal."""
        return self.json()["error"]

    def set_cookies(self):
        """{name: (value, {attribute: value})}"""
        out = {}
        for line in self.headers("Set-Cookie"):
            first, *rest = [part.strip() for part in line.split(";")]
            name, _, value = first.partition("=")
            attributes = {}
            for part in rest:
                key, _, v = part.partition("=")
                attributes[key.lower()] = v
            out[name] = (value, attributes)
        return out

    def __repr__(self):
        return "<%d %s %s>" % (self.status, self.all_headers, self.text[:600])


class _Bound(http.client.HTTPConnection):
    def __init__(self, port, timeout, source, address="127.0.0.1"):
        super().__init__("localhost", port, timeout=timeout)
        self._source, self._address = source, address

    def connect(self):
        source = (self._source, 0) if self._source else None
        self.sock = socket.create_connection((self._address, self.port), self.timeout, source)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Browser:
    """One client. Not for use by several threads at once."""

    def __init__(self, port, mount="/api/social-auth", source=None, origin=None, timeout=40,
                 held=True, host=None):
        """held: all below the mount is the module's, and is held against its description.
        host: the virtual host that is asked for."""
        self.held, self.host = held, host
        self.port, self.mount, self.source, self.origin = port, mount, source, origin
        self.timeout = timeout
        self.cookies = {}                   # name -> value
        self.paths = {}                     # name -> Path, for those that are not sent everywhere
        self.send_cookies = True
        self._connection = None

    def close(self):
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def fetch(self, method, target, body=None, headers=()):
        """target as it goes on the wire; keep-alive, retried once when an idle connection was closed."""
        headers = list(headers.items()) if isinstance(headers, dict) else list(headers)
        names = {k.lower() for k, _ in headers}
        cookies = self.cookies_for(target)
        if self.send_cookies and cookies and "cookie" not in names:
            headers.append(("Cookie", "; ".join("%s=%s" % kv for kv in cookies.items())))
        if self.origin and "origin" not in names:
            headers.append(("Origin", self.origin))
        if self.host and "host" not in names:
            headers.append(("Host", self.host))
            names.add("host")
        for attempt in (1, 2):
            fresh = self._connection is None
            if fresh:
                self._connection = _Bound(self.port, self.timeout, self.source)
            c = self._connection
            try:
                c.putrequest(method, target, skip_accept_encoding=True, skip_host="host" in names)
                for key, value in headers:
                    c.putheader(key, value)
                if body is not None and "content-length" not in names \
                        and "transfer-encoding" not in names:
                    c.putheader("Content-Length", str(len(body)))
                elif body is None and method in ("POST", "PUT", "PATCH") \
                        and "content-length" not in names:
                    c.putheader("Content-Length", "0")
                c.endheaders(body if body else None)
                response = c.getresponse()
                data = response.read()
                break
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                self.close()
                if fresh or attempt == 2:
                    raise
            except BaseException:
                self.close()
                raise
        answer = Answer(response.status, response.getheaders(), data, response.reason)
        if response.will_close:
            self.close()
        self._keep(answer)
        if self.held:
            openapi.hold(self.mount, method, target, answer)
        return answer

    def cookies_for(self, target):
        """RFC 6265 section 5.1.4."""
        path = target.partition("?")[0]

        def reaches(name):
            own = self.paths.get(name, "/")
            return path == own or path.startswith(own if own.endswith("/") else own + "/")
        return {name: value for name, value in self.cookies.items() if reaches(name)}

    def _keep(self, answer):
        for name, (value, attributes) in answer.set_cookies().items():
            if attributes.get("max-age") == "0" or value == "":
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
                self.paths[name] = attributes.get("path", "/")

    def request(self, method, path, json=None, form=None, body=None, bearer=None, headers=(),
                content_type=None):
        """path: under the mount when it does not begin with "/"."""
        target = path if path.startswith("/") else self.mount + "/" + path
        out = list(headers.items()) if isinstance(headers, dict) else list(headers)
        if json is not None:
            body, content_type = jsonlib.dumps(json).encode(), content_type or "application/json"
        elif form is not None:
            body = urllib.parse.urlencode(form).encode()
            content_type = content_type or "application/x-www-form-urlencoded"
        elif isinstance(body, str):
            body = body.encode()
        if content_type:
            out.append(("Content-Type", content_type))
        if bearer:
            out.append(("Authorization", "Bearer " + bearer))
        return self.fetch(method, target, body, out)

    def get(self, path, **kw):
        return self.request("GET", path, **kw)

    def post(self, path, json=None, **kw):
        return self.request("POST", path, json=json, **kw)


def raw(port, data, source=None, timeout=10, half_close=False, chunks=None):
    """Sends bytes (or several, one packet each) on a fresh connection, returns all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout,
                                  (source, 0) if source else None) as s:
        s.settimeout(timeout)
        try:
            for part in chunks or [data]:
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                s.sendall(part)
            if half_close:
                s.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass
        out = b""
        try:
            while True:
                got = s.recv(65536)
                if not got:
                    break
                out += got
        except (socket.timeout, ConnectionResetError):
            pass
        return out


def split_answers(data):
    """The answers on one connection, by Content-Length or chunks."""
    out = []
    while data:
        head, separator, rest = data.partition(b"\r\n\r\n")
        if not separator:
            break
        lines = head.split(b"\r\n")
        status = int(lines[0].split(b" ", 2)[1])
        headers = [tuple(x.strip().decode("latin-1") for x in line.split(b":", 1)) for line in lines[1:]]
        answer = Answer(status, headers, b"")
        length = answer.header("Content-Length")
        if status in (100, 204, 304) or status < 200:
            body = b""
        elif (answer.header("Transfer-Encoding") or "").lower() == "chunked":
            body = b""
            while True:
                size, _, rest = rest.partition(b"\r\n")
                n = int(size.split(b";")[0], 16)
                body, rest = body + rest[:n], rest[n + 2:]
                if n == 0:
                    break
        elif length is not None:
            body, rest = rest[:int(length)], rest[int(length):]
        else:
            body, rest = rest, b""
        answer.body = body
        if status >= 200:
            out.append(answer)
        data = rest
    return out


def raw_one(port, data, mount="/api/social-auth", **kw):
    answers = split_answers(raw(port, data, **kw))
    assert answers, "no answer to %r" % data[:200]
    line = re.match(rb"([!-~]+) ([!-~]+) HTTP/1\.[01]\r\n", data or b"")
    if line:
        openapi.hold(mount, line[1].decode(), line[2].decode(), answers[0])
    return answers[0]


def curl(*arguments):
    """curl -> Answer, for HTTP/2."""
    done = subprocess.run(["curl", "-sS", "-i", "--max-time", "30", *arguments],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise AssertionError("curl: %s" % done.stderr.decode(errors="replace"))
    data = done.stdout
    while True:
        head, _, rest = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        status = int(lines[0].split()[1])
        if status >= 200:
            headers = [tuple(x.strip().decode("latin-1") for x in line.split(b":", 1))
                       for line in lines[1:]]
            return Answer(status, headers, rest, lines[0].decode())
        data = rest


def at_once(calls):
    """Runs all calls at the same moment, each in its own thread -> their results in order."""
    barrier = threading.Barrier(len(calls))
    results = [None] * len(calls)

    def run(i, call):
        barrier.wait()
        try:
            results[i] = call()
        except Exception as e:                          # the test judges it
            results[i] = e
    threads = [threading.Thread(target=run, args=(i, call)) for i, call in enumerate(calls)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def in_background(call):
    """-> join(): the result"""
    result = []
    thread = threading.Thread(target=lambda: result.append(call()))
    thread.start()

    def join(seconds=30):
        thread.join(seconds)
        assert result, "no answer after %d s" % seconds
        return result[0]
    return join
