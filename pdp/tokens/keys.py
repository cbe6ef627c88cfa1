"""Public keys: how strong one must be, which algorithm fits which, and reading them from JWKs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from pdp.tokens.roca import is_of_flawed_generator
from pdp.tokens.strict_base64 import NotBase64, read_base64url

RSA_BITS_MIN = 2048
_CURVES = ("secp256r1", "secp384r1", "secp521r1")

#: J-2: each algorithm with the type of key, and the curve, that it needs. Nothing else is ever accepted.
ALGORITHMS: dict[str, tuple[str, str | None]] = {
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "RS512": ("RSA", None),
    "PS256": ("RSA", None),
    "PS384": ("RSA", None),
    "PS512": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
}

_MEMBERS = {"EC": ("crv", "x", "y"), "RSA": ("n", "e")}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class BadKey(ValueError):
    """A JWK that is no public key we use; the message says in our words why."""


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A public key that signs tokens."""

    key: ECKey | RSAKey
    type: str
    curve: str | None
    algorithm: str | None  # the only one that it is for, where the JWK says so
    thumbprint: str  # RFC 7638, SHA-256

    def fits(self, algorithm: str) -> bool:
        """J-2: type and curve agree with the algorithm, and so does the `alg` of the key if it has one."""
        return ALGORITHMS.get(algorithm) == (self.type, self.curve) and self.algorithm in (None, algorithm)


def is_strong(key: object) -> bool:
    """X-11: the floor for keys in certificates and in JWKs."""
    match key:
        case rsa.RSAPublicKey():
            return key.key_size >= RSA_BITS_MIN and not is_of_flawed_generator(key.public_numbers().n)
        case ec.EllipticCurvePublicKey():
            return key.curve.name in _CURVES
        case _:
            return isinstance(key, ed25519.Ed25519PublicKey)


def has_private_part(jwk: Mapping[str, Any]) -> bool:
    return jwk.get("kty") == "oct" or not _PRIVATE.isdisjoint(jwk)


def is_for_signatures(jwk: Mapping[str, Any], uses: Collection[str]) -> bool:
    """Whether a key may verify signatures, as it says itself: by `key_ops` where it is there, and by `use`, one of `uses`.
    A key without `use` is asked nothing here. What is for something else is somebody else's, and is left out."""
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return False
    use = jwk.get("use")
    return "use" not in jwk or (isinstance(use, str) and use in uses)


def read_public_key(jwk: Mapping[str, Any]) -> TokenKey:
    """The key in a JWK. Only the members that are the key are read; `is_for_signatures` says what it is for."""
    kind = jwk.get("kty")
    if not isinstance(kind, str) or kind not in _MEMBERS:
        raise BadKey("not an EC or RSA key")
    members: dict[str, Any] = {name: jwk.get(name) for name in _MEMBERS[kind]}
    algorithm = jwk.get("alg")
    if algorithm is not None and (not isinstance(algorithm, str) or algorithm not in ALGORITHMS):
        raise BadKey("for an algorithm that is not accepted")
    if not all(_is_base64url(value) for name, value in members.items() if name != "crv"):
        raise BadKey("not unpadded base64url")
    if kind == "RSA" and len(members["n"]) * 6 < RSA_BITS_MIN:  # before the library warns of it
        raise BadKey("too weak")
    key = _import(kind, members)
    if key is None or not is_strong(key.public_key):
        raise BadKey("not a point of its curve, or too weak")
    curve = members["crv"] if kind == "EC" else None
    found = TokenKey(key, kind, curve, algorithm, key.thumbprint())
    if algorithm is not None and not found.fits(algorithm):
        raise BadKey("alg does not fit the key")
    return found


def _is_base64url(value: object) -> bool:
    try:
        return isinstance(value, str) and value.isascii() and bool(read_base64url(value.encode()))
    except NotBase64:
        return False


def _import(kind: str, members: dict[str, Any]) -> ECKey | RSAKey | None:
    try:
        return ECKey.import_key({"kty": kind, **members}) if kind == "EC" else RSAKey.import_key({"kty": kind, **members})
    except (JoseError, UnsupportedAlgorithm, ValueError, TypeError, KeyError):
        return None
