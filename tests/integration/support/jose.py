"""Compact JWS made by hand, right and wrong ones alike. Uses only `cryptography`."""
import base64
import hashlib
import hmac
import json
import time
import uuid

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

_HASH = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}


def b64(data):
    if isinstance(data, str):
        data = data.encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _int(n, size=None):
    return b64(n.to_bytes(size or (n.bit_length() + 7) // 8, "big"))


def _from_int(text):
    return int.from_bytes(unb64(text), "big")


class Key:
    """kind: RS256 …, PS256 …, ES256 …, EdDSA, HS256 …"""

    def __init__(self, alg, kid=None, private=None, secret=None):
        self.alg, self.kid = alg, kid if kid is not None else uuid.uuid4().hex[:8]
        self.private, self.secret = private, secret
        if private is None and secret is None:
            if alg[:2] in ("RS", "PS"):
                self.private = rsa.generate_private_key(65537, 2048)
            elif alg[:2] == "ES":
                curve = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}[alg]
                self.private = ec.generate_private_key(curve())
            elif alg == "EdDSA":
                self.private = ed25519.Ed25519PrivateKey.generate()
            else:
                raise ValueError(alg)

    @classmethod
    def from_jwk(cls, jwk, alg=None):
        """A private RSA key in JWK form."""
        assert jwk["kty"] == "RSA"
        numbers = rsa.RSAPublicNumbers(_from_int(jwk["e"]), _from_int(jwk["n"]))
        d, p, q = (_from_int(jwk[x]) for x in "dpq")
        private = rsa.RSAPrivateNumbers(p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q),
                                        rsa.rsa_crt_iqmp(p, q), numbers).private_key()
        return cls(alg or jwk.get("alg", "RS256"), jwk.get("kid", ""), private)

    def pem(self):
        return self.private.private_bytes(serialization.Encoding.PEM,
                                          serialization.PrivateFormat.PKCS8,
                                          serialization.NoEncryption()).decode()

    def public_pem(self):
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()

    def jwk(self):
        out = {"kid": self.kid, "alg": self.alg, "use": "sig"}
        if self.alg[:2] in ("RS", "PS"):
            n = self.private.public_key().public_numbers()
            out.update(kty="RSA", n=_int(n.n), e=_int(n.e))
        elif self.alg[:2] == "ES":
            n = self.private.public_key().public_numbers()
            size = (self.private.curve.key_size + 7) // 8
            out.update(kty="EC", crv={256: "P-256", 384: "P-384", 521: "P-521"}[self.private.curve.key_size],
                       x=_int(n.x, size), y=_int(n.y, size))
        else:
            raw = self.private.public_key().public_bytes(serialization.Encoding.Raw,
                                                         serialization.PublicFormat.Raw)
            out.update(kty="OKP", crv="Ed25519", x=b64(raw))
        return out

    def sign(self, data, alg=None):
        alg = alg or self.alg
        digest = _HASH.get(alg[2:])
        if alg[:2] == "HS":
            return hmac.new(self.secret, data, getattr(hashlib, "sha" + alg[2:])).digest()
        if alg[:2] == "RS":
            return self.private.sign(data, padding.PKCS1v15(), digest())
        if alg[:2] == "PS":
            return self.private.sign(data, padding.PSS(padding.MGF1(digest()), digest.digest_size),
                                     digest())
        if alg[:2] == "ES":
            r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(digest())))
            size = (self.private.curve.key_size + 7) // 8
            return r.to_bytes(size, "big") + s.to_bytes(size, "big")
        return self.private.sign(data)


def make(claims, key=None, header=None, **more_header):
    """A token; claims may be a dict or the payload's very text. key None: alg none, no signature."""
    if header is None:
        header = {"alg": key.alg if key else "none", "typ": "JWT"}
        if key is not None and key.kid:
            header["kid"] = key.kid
        header.update(more_header)
    payload = claims if isinstance(claims, (str, bytes)) else json.dumps(claims)
    signed = b64(json.dumps(header)) + "." + b64(payload)
    alg = header["alg"]
    if key is None:
        return signed + "."
    return signed + "." + b64(key.sign(signed.encode(), alg if alg[:2] == key.alg[:2] else key.alg))


def header_of(token):
    return json.loads(unb64(token.split(".")[0]))


def claims_of(token):
    return json.loads(unb64(token.split(".")[1]))


def spoil_signature(token):
    """Another signature of the same length."""
    head, payload, signature = token.split(".")
    data = bytearray(unb64(signature))
    data[len(data) // 2] ^= 0x40
    return ".".join((head, payload, b64(bytes(data))))


def now():
    return int(time.time())
