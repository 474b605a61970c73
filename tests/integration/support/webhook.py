"""A receiver's view of webhooks, after the Standard Webhooks specification and not after our source."""
import base64
import hashlib
import hmac
import json
import os
import time


def secret():
    return "whsec_" + base64.b64encode(os.urandom(32)).decode()


class Refused(Exception):
    pass


def verify(secret, request, now=None):
    """-> (id, payload). Raises Refused as a receiver must."""
    headers = request.headers
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        if not headers.get(name):
            raise Refused("no " + name)
    identifier, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
    if abs((now or time.time()) - int(timestamp)) > 300:
        raise Refused("too old or too new")
    key = base64.b64decode(secret[len("whsec_"):])
    content = identifier.encode() + b"." + timestamp.encode() + b"." + request.body
    wanted = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    for signature in headers["webhook-signature"].split(" "):
        version, _, value = signature.partition(",")
        if version == "v1" and hmac.compare_digest(value, wanted):
            return identifier, json.loads(request.body)
    raise Refused("no signature fits")
