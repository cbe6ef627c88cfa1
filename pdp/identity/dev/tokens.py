"""Tokens of any shape, and the bundle documents that they are verified against."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.jwk import ECKey, OctKey, RSAKey
from joserfc.jws import JWSRegistry

from pdp.tokens.compact import base64url

TokenPrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class TokenShape:
    """A token before it is signed. What a dict cannot say (a name twice, no JSON at all) is said by `raw_…`."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    raw_header: bytes | None = field(default=None, repr=False)
    raw_claims: bytes | None = field(default=None, repr=False)
    signed_as: str | None = None  # another algorithm than the header says
    respell: Callable[[str], str] | None = None  # what is done to the finished token


def svid_shape(spiffe_id: str, audience: str, kid: str, algorithm: str, issued_s: int, expires_s: int) -> TokenShape:
    return TokenShape(
        {"alg": algorithm, "kid": kid, "typ": "JWT"},
        {"sub": spiffe_id, "aud": [audience], "iat": issued_s, "exp": expires_s},
    )


def sign_token(shape: TokenShape, key: TokenPrivateKey) -> str:
    header = json_bytes(shape.header) if shape.raw_header is None else shape.raw_header
    claims = json_bytes(shape.claims) if shape.raw_claims is None else shape.raw_claims
    signed = f"{base64url(header)}.{base64url(claims)}"
    signature = _signature(signed.encode(), shape.signed_as or str(shape.header.get("alg")), key)
    token = f"{signed}.{base64url(signature)}"
    return token if shape.respell is None else shape.respell(token)


def _signature(signed: bytes, algorithm: str, key: TokenPrivateKey) -> bytes:
    if algorithm[:2] not in ("RS", "PS", "ES", "HS") or algorithm not in JWSRegistry.algorithms:
        return b"none"
    model = JWSRegistry.algorithms[algorithm]
    if algorithm.startswith("HS"):  # the old confusion: the public key as a shared secret
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return model.sign(signed, OctKey.import_key(base64url(pem)))
    return model.sign(signed, _key(key))


def _key(key: TokenPrivateKey) -> ECKey | RSAKey:
    return ECKey.import_key(key) if isinstance(key, ec.EllipticCurvePrivateKey) else RSAKey.import_key(key)


def algorithm_for(key: TokenPrivateKey) -> str:
    if isinstance(key, rsa.RSAPrivateKey):
        return "RS256"
    return {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}[key.curve.name]


def public_jwk(key: TokenPrivateKey, **members: Any) -> dict[str, Any]:
    """The public half, with further members such as `kid`, `use`, `alg`."""
    return {**_key(key).as_dict(private=False), **members}


def key_id_for(key: TokenPrivateKey) -> str:
    return _key(key).thumbprint()


def authority_jwk(certificate: x509.Certificate) -> dict[str, Any]:
    """An authority as an entry of a SPIFFE bundle."""
    der = certificate.public_bytes(Encoding.DER)
    entry: dict[str, Any] = {"use": "x509-svid", "x5c": [base64.b64encode(der).decode()]}
    public = certificate.public_key()
    if isinstance(public, ec.EllipticCurvePublicKey):
        return {**ECKey.import_key(public).as_dict(private=False), **entry}
    if isinstance(public, rsa.RSAPublicKey):
        return {**RSAKey.import_key(public).as_dict(private=False), **entry}
    return {"kty": "OKP", **entry}


def bundle_document(keys: Iterable[Mapping[str, Any]], **members: Any) -> bytes:
    """A SPIFFE bundle with these entries; `spiffe_sequence` and the like as further members."""
    return json_bytes({"keys": [dict(k) for k in keys], **members})


def json_bytes(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
