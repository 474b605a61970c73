"""Holds answers against the description of the API, conf/openapi.json.in.

What is held: every answer that a Browser gets to a path below its mount. The handler marks all it
answers with X-Content-Type-Options, which httpd never sends by itself, and such an answer must be
one that the description allows. What bears no mark must be an error page of httpd's own (a request
that httpd refused before or after the handler saw it), known by its type and status."""
import functools
import json
import os
import posixpath
import re
import urllib.parse

import jsonschema

from . import paths

METHODS = {"get": "GET", "post": "POST", "patch": "PATCH", "delete": "DELETE", "put": "PUT"}


class Wrong(AssertionError):
    """An answer that the description does not allow."""


class Response:
    """What one operation may answer in one status."""

    def __init__(self, response):
        self.headers = [(name, header.get("required", False),
                         [jsonschema.Draft202012Validator(header["schema"])])
                        for name, header in response.get("headers", {}).items()]
        self.may_be_empty = response.get("x-may-be-empty", "content" not in response)
        self.content = {kind: [jsonschema.Draft202012Validator(schema)
                               for schema in media["schema"].get("anyOf", [media["schema"]])]
                        for kind, media in response.get("content", {}).items()}

    def hold(self, answer, has_body):
        for name, required, shapes in self.headers:
            values = answer.headers(name)
            if required and len(values) != 1:
                raise Wrong("%d headers %s" % (len(values), name))
            for value in values:
                _hold(shapes, value, "the header " + name)
        if not has_body:
            return
        if not answer.body:
            if not self.may_be_empty:
                raise Wrong("there is no body")
            return
        kind = (answer.header("Content-Type") or "").split(";")[0]
        if kind not in self.content:
            raise Wrong("a body of type %r" % kind)
        body = answer.json() if kind == "application/json" else answer.body.decode()
        _hold(self.content[kind], body, "the body")


def _hold(shapes, value, what):
    """One of the shapes must fit. Each by itself: to see one fail costs little, a whole anyOf much."""
    if not any(shape.is_valid(value) for shape in shapes):
        raise Wrong("%s: %s" % (what, "; or ".join(
            jsonschema.exceptions.best_match(shape.iter_errors(value)).message for shape in shapes)))


class Description:
    def __init__(self, document):
        self._document = document
        self._literal = {path.rstrip("/"): path for path in document["paths"] if "{" not in path}
        self._templates = [(re.compile(re.sub(r"\{\w+\}", "[^/]+", re.escape(path.rstrip("/"))
                                              .replace(r"\{", "{").replace(r"\}", "}"))), path)
                           for path in document["paths"] if "{" in path]
        self._response = functools.lru_cache(None)(self._compile)

    def _resolve(self, node):
        """A copy without references."""
        if isinstance(node, list):
            return [self._resolve(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            target = self._document
            for name in node["$ref"].split("/")[1:]:
                target = target[name]
            return self._resolve(target)
        return {key: self._resolve(value) for key, value in node.items()}

    def _compile(self, path, method, status):
        """What the operation allows in this status, None when it may not occur."""
        item = self._document["paths"].get(path, {})
        if path is None or (status == "404" and "{" in path):
            response = {"$ref": "#/components/responses/NotFound"} if status == "404" else None
        elif method not in item:
            response = {"$ref": "#/components/responses/MethodNotAllowed"} if status == "405" else None
        else:
            response = item[method]["responses"].get(status)
        return Response(self._resolve(response)) if response else None

    def _find(self, path):
        path = path[:-1] if path.endswith("/") else path
        if path in self._literal:
            return self._literal[path]
        return next((template for pattern, template in self._templates
                     if pattern.fullmatch(path)), None)

    def allow(self, path):
        """The Allow header of this path of the description."""
        out = [name for key, name in METHODS.items() if key in self._document["paths"][path]]
        return set(out) | {"OPTIONS"} | ({"HEAD"} if "GET" in out else set())

    def hold(self, method, path, answer):
        """path: below the mount, with its first slash."""
        if answer.status != 304 and answer.header("X-Content-Type-Options") is None:
            _hold_page(answer)
            return
        found = self._find(path)
        response = self._response(found, {"HEAD": "get"}.get(method, method.lower()),
                                  str(answer.status))
        if response is None:
            raise Wrong("this status is not described")
        response.hold(answer, method != "HEAD")
        allow = answer.header("Allow")
        if found and allow is not None and set(allow.split(", ")) != self.allow(found):
            raise Wrong("Allow differs from the description")


def _hold_page(answer):
    kind = answer.header("Content-Type") or ""
    if answer.status < 400 or not kind.startswith("text/html"):
        raise Wrong("neither the handler nor httpd itself answers so")


@functools.lru_cache(None)
def description():
    with open(os.path.join(paths.TOP, "conf", "openapi.json.in"), encoding="utf-8") as f:
        return Description(json.load(f))


def below(mount, target):
    """The part of a request's target below the mount as httpd sees it, None when it is elsewhere."""
    path = target.split("?", 1)[0]
    if not path.startswith("/"):
        path = urllib.parse.urlsplit(path).path
    path = urllib.parse.unquote(path, "latin-1")
    path = posixpath.normpath("/" + path.lstrip("/")) + ("/" if path.endswith("/") else "")
    mount = mount.rstrip("/")
    return path[len(mount):] if path.startswith(mount + "/") else None


def hold(mount, method, target, answer):
    path = below(mount, target)
    if path is None:
        return
    try:
        description().hold(method, path, answer)
    except Wrong as wrong:
        raise Wrong("%s %s: %s (conf/openapi.json.in)\n%r" % (method, target, wrong, answer)) from None
