"""A compact JWS with ES256. Deterministic (RFC 6979), so that making one needs no chance and can meet no bad one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from pdp.tokens.compact import base64url

ALGORITHM = "ES256"
_SIGNATURE = ec.ECDSA(SHA256(), deterministic_signing=True)


def sign_compact(header: Mapping[str, Any], claims: Mapping[str, Any], key: ec.EllipticCurvePrivateKey) -> str:
    """The token. `alg` is added; the key is on P-256."""
    signed = f"{base64url(_json({**header, 'alg': ALGORITHM}))}.{base64url(_json(claims))}"
    r, s = decode_dss_signature(key.sign(signed.encode(), _SIGNATURE))
    return f"{signed}.{base64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()
