"""Tokens, before anything in them is believed: three parts of base64url in their one form, two JSON objects (J-1, J-2)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from pdp.tokens.keys import ALGORITHMS, TokenKey
from pdp.tokens.refusals import Refused
from pdp.tokens.strict_base64 import NotBase64, read_base64url
from pdp.tokens.strict_json import DuplicateName, NotJson, read_object

TOKEN_BYTES_MAX = 8192

#: The library's part is the algorithms. It is given the very bytes that were read here, so that nothing is read twice.
_REGISTRY = JWSRegistry(algorithms=list(ALGORITHMS))


@dataclass(frozen=True, slots=True)
class Compact:
    """A token that was read and not verified."""

    header: Mapping[str, Any] = field(repr=False)
    claims: Mapping[str, Any] = field(repr=False)
    algorithm: str
    raw_header: bytes = field(repr=False)
    raw_claims: bytes = field(repr=False)
    signed: bytes = field(repr=False)  # the signing input, as it came
    signature: bytes = field(repr=False)


def read_compact(token: str, algorithms: Collection[str] = ALGORITHMS) -> Compact:
    """The token, if it can be read. `algorithms` are those, of the ones that are ever accepted, that this kind may have."""
    if len(token) > TOKEN_BYTES_MAX:
        raise Refused("token_too_large")
    parts = token.encode().split(b".") if token.isascii() else []
    if len(parts) != 3:
        raise Refused("token_not_compact")
    first, second, third = parts
    raw_header, raw_claims, signature = _bytes(first), _bytes(second), _bytes(third)
    header, claims = _object(raw_header), _object(raw_claims)
    algorithm = header.get("alg")
    if algorithm is None:
        raise Refused("algorithm_missing")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise Refused("algorithm_not_allowed")
    return Compact(header, claims, algorithm, raw_header, raw_claims, first + b"." + second, signature)


def is_signed_by(token: Compact, key: TokenKey) -> bool:
    """Whether the bytes that were read are signed by this key. `TokenKey.fits` was asked before."""
    try:
        algorithm = _REGISTRY.get_alg(token.algorithm)
        algorithm.check_key(key.key)
        return algorithm.verify(token.signed, token.signature, key.key)
    except (JoseError, ValueError, TypeError):
        return False


def digest(token: str) -> str:
    """SHA-256 in base64url, as proofs name a token."""
    return base64url(hashlib.sha256(token.encode()).digest())


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def content_digest(token: Compact) -> str:
    """J-9: one value for all spellings and signatures of the same content. Who holds (r, s) of an ECDSA signature can
    write (r, -s), which is valid, too: so the signature is left out."""
    size = len(token.raw_header).to_bytes(4, "big")
    return hashlib.sha256(size + token.raw_header + token.raw_claims).hexdigest()


def _bytes(part: bytes) -> bytes:
    try:
        return read_base64url(part)
    except NotBase64:
        pass
    raise Refused("token_not_compact")


def _object(raw: bytes) -> dict[str, Any]:
    try:
        return read_object(raw)
    except DuplicateName:
        code = "token_duplicate_name"
    except NotJson:
        code = "token_not_json"
    raise Refused(code)
