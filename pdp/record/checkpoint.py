"""Checkpoints: an Ed25519 signature over the head of the chain, in the chain.

Whoever can write the files can make a chain of anything; nobody without the key can make its checkpoints. A checkpoint
names the record and the entry before it by number and hash, so that one of another record, or from elsewhere, does not fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pdp.record.canonical import canonical
from pdp.record.line import Head

_PURPOSE = b"pdp record checkpoint 1\n"  # what the key signs, it signs as this and nothing else


def key_id(public: bytes) -> str:
    """Names a public key by its content."""
    return sha256(b"pdp record signing key\n" + public).hexdigest()[:16]


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def make_checkpoint(record: str, head: Head, at_us: int, key: Ed25519PrivateKey) -> dict[str, Any]:
    """The entry of a checkpoint that follows `head`."""
    told = {"record": record, "after": head.seq, "chain": head.hash, "at_us": at_us, "key": key_id(public_bytes(key))}
    return {**told, "signature": key.sign(_message(told)).hex()}


def is_signed(entry: Mapping[str, Any], public: bytes) -> bool:
    """Whether the holder of this key said exactly this."""
    told = {name: value for name, value in entry.items() if name != "signature"}
    signature = entry.get("signature")
    if not isinstance(signature, str):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(bytes.fromhex(signature), _message(told))
    except (InvalidSignature, ValueError):
        return False
    return True


def _message(told: Mapping[str, Any]) -> bytes:
    return _PURPOSE + canonical(told).encode("ascii")
