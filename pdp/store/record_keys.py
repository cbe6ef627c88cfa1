"""The keys of a record on disk: one signs checkpoints, one masks secrets. Both are its owner's alone.

Keep the folder apart from the record, and a copy of `signing.pub` on another machine: a record that is checked with the key
that lies beside it proves nothing to anyone who can write both.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from pdp.errors import PdpError
from pdp.record.checkpoint import key_id, public_bytes
from pdp.store.private_files import FILE_BYTES_MAX, private_folder, read_private, write_whole
from pdp.store.regular_file import read_regular

SIGNING, PUBLIC, MASKING = "signing.pem", "signing.pub", "masking.key"


@dataclass(frozen=True, slots=True)
class RecordKeys:
    signing: Ed25519PrivateKey = field(repr=False)
    masking: bytes = field(repr=False)
    folder: Path | None = None  # where they are kept, and the last signed entry of each record with them

    @property
    def id(self) -> str:
        return key_id(self.public)

    @property
    def public(self) -> bytes:
        return public_bytes(self.signing)


def open_keys(folder: Path) -> RecordKeys:
    """The keys in a folder; those that are missing are made."""
    private_folder(folder)
    signing = _read_or_make(folder / SIGNING, _new_signing_key)
    masking = _read_or_make(folder / MASKING, lambda: secrets.token_hex(32).encode() + b"\n")
    try:
        key = load_pem_private_key(signing, None)
        mask = bytes.fromhex(masking.decode("ascii").strip())
    except (ValueError, TypeError) as error:
        raise PdpError("invalid_file", f"`{folder}` holds no keys of a record: {error}") from None
    if not isinstance(key, Ed25519PrivateKey) or len(mask) < 32:
        raise PdpError("invalid_file", f"`{folder}`: expected an Ed25519 key and 32 bytes of masking key")
    if not (folder / PUBLIC).exists():
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        write_whole(folder / PUBLIC, pem, 0o644)
    return RecordKeys(key, mask, folder)


def read_public_key(path: Path) -> bytes:
    """The raw public key of a PEM file."""
    try:
        key = load_pem_public_key(read_regular(path, FILE_BYTES_MAX))
    except (OSError, ValueError) as error:
        raise PdpError("invalid_file", f"`{path}` is no public key in PEM: {error}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise PdpError("invalid_file", f"`{path}` is not an Ed25519 key")
    return key.public_bytes_raw()


def _new_signing_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read_or_make(path: Path, make: Callable[[], bytes]) -> bytes:
    if not path.exists():
        write_whole(path, make())
    return read_private(path)
