"""The issuer keys in a folder of their own, in one file: a rotation is one rename, and never half there.

The folder is for its owner only (0700), the file too (0600); looser ones are refused, since whoever read the keys could name
any grant. Keep it apart from SVID keys and from the keys of the record.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from pdp.errors import PdpError
from pdp.grants.issuer_keys import LEAD_US, IssuerKey, IssuerKeys, first_keys, issuer_key
from pdp.store.private_files import private_folder, read_private, write_whole
from pdp.tokens.strict_json import NotJson, read_object

FILE, LOCK = "issuer-keys.json", "lock"
_VERSION = 1
_MEMBERS = {"id", "pem", "published_us", "signs_from_us", "withdrawn"}


def open_issuer_keys(folder: Path, now: int) -> IssuerKeys:
    """The keys; a first one is made where there is none."""
    with _locked(folder):
        if not (folder / FILE).exists():
            _write(folder, first_keys(_new_key(), now))
        return _read(folder)


def read_issuer_keys(folder: Path) -> IssuerKeys:
    """The keys as they are: for a process that watches them for a rotation by another. Nothing is made."""
    private_folder(folder, hidden=True)
    return _read(folder)


def rotate(folder: Path, now: int, lead_us: int = LEAD_US) -> IssuerKeys:
    """A next key: published from now on, signing after the lead; the one of today verifies through the overlap."""
    return _change(folder, lambda keys: keys.rotated(_new_key(), now, lead_us))


def withdraw(folder: Path, kid: str, now: int) -> IssuerKeys:
    """For a key that somebody else may have: what it signed is refused as soon as the keys are read again."""
    return _change(folder, lambda keys: keys.without(kid, _new_key, now))


def _change(folder: Path, change: Callable[[IssuerKeys], IssuerKeys]) -> IssuerKeys:
    with _locked(folder):
        changed = change(_read(folder))
        _write(folder, changed)
        return changed


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One at a time reads and writes; the others wait, for as long as a write takes."""
    private_folder(folder, hidden=True)
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise PdpError("invalid_file", f"`{folder}` cannot be locked: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _read(folder: Path) -> IssuerKeys:
    path = folder / FILE
    raw = read_private(path)
    try:
        found = read_object(raw)
        if set(found) != {"version", "keys"} or found["version"] != _VERSION or not isinstance(found["keys"], list):
            raise NotJson("another shape")
        return IssuerKeys(tuple(_key(entry) for entry in found["keys"]))
    except (PdpError, ValueError, TypeError):
        pass
    raise PdpError("invalid_file", f"`{path}` holds no issuer keys of this version")


def _key(entry: Any) -> IssuerKey:
    """What does not fit is a plain error without the content: it is a private key."""
    if not isinstance(entry, dict) or set(entry) != _MEMBERS:
        raise NotJson("a key is not what it should be")
    times, private = (entry["published_us"], entry["signs_from_us"]), load_pem_private_key(entry["pem"].encode(), None)
    if not isinstance(private, ec.EllipticCurvePrivateKey) or not all(type(t) is int and t >= 0 for t in times):
        raise NotJson("a key is not what it should be")
    found = issuer_key(private, *times, withdrawn=entry["withdrawn"] is not False)
    if found.id != entry["id"]:
        raise NotJson("a key is not the one that its id names")
    return found


def _write(folder: Path, keys: IssuerKeys) -> None:
    document = {"version": _VERSION, "keys": [_entry(k) for k in keys.keys]}
    write_whole(folder / FILE, json.dumps(document, indent=1).encode() + b"\n")


def _entry(key: IssuerKey) -> Mapping[str, Any]:
    return {
        "id": key.id,
        "pem": key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii"),
        "published_us": key.published_us,
        "signs_from_us": key.signs_from_us,
        "withdrawn": key.withdrawn,
    }


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())
