"""A small file outside the database that knows its last acknowledged commit, and the lock that orders commits.

A database cannot tell by itself that it was replaced by an older copy of itself. The witness can: the file must contain the
commit that the witness saw last, by a random token. It is written after each commit and before it is acknowledged.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pdp.errors import PdpError
from pdp.grants.store import Unavailable
from pdp.store.regular_file import refuse_other

_SLOT = 256  # bytes; two of them, written in turn, so that one is whole whatever happens to the other
_PAUSE_S = 0.002


@dataclass(frozen=True, slots=True)
class Seen:
    incarnation: str
    revision: int
    token: str


def witness_of(path: Path, witness: Path | None) -> Path:
    """Where the witness of a database lies: where it is said to, or beside it."""
    return path.with_name(f"{path.name}.witness") if witness is None else witness


def lies_with(path: Path, witness: Path | None) -> bool:
    """Whether whoever copies or restores the folder of one has the other in it: then the witness witnesses nothing."""
    store, other = path.parent.resolve(), witness_of(path, witness).parent.resolve()
    return store == other or store in other.parents or other in store.parents


class Witness:
    """Its owner's alone, like the database. It may lie on another disk, and then knows more."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise PdpError("invalid_file", f"`{path}` cannot be opened: {error.strerror}") from None
        found = os.fstat(self._file)
        try:
            refuse_other(found, path)
        except OSError as error:
            os.close(self._file)
            raise PdpError("invalid_file", f"`{path}` cannot be opened: {error.strerror}") from None
        if found.st_mode & 0o077 or found.st_uid != os.geteuid():
            os.close(self._file)
            raise PdpError("invalid_file", f"`{path}`: others may read or write it; it must be its owner's alone")

    @contextmanager
    def locked(self, until_s: float) -> Iterator[None]:
        """One process at a time commits. Waits until a moment of the monotonic clock, and no longer."""
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() >= until_s:
                    raise Unavailable("the store is locked by another process") from None
            time.sleep(_PAUSE_S)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def seen(self) -> Seen | None:
        """The last commit that was written down. None where there is none, or where nothing of it can be read."""
        newest = max(self._slots(), key=lambda slot: slot[0], default=None)
        return None if newest is None else newest[1]

    def see(self, seen: Seen) -> None:
        """On disk when this returns. Only under the lock."""
        turn = max((turn for turn, _ in self._slots()), default=0) + 1
        told = json.dumps({"turn": turn, **asdict(seen)}, sort_keys=True)
        slot = f"{_checksum(told)} {told}".encode().ljust(_SLOT - 1) + b"\n"
        if len(slot) != _SLOT:
            raise ValueError("a witness fits its slot")
        os.pwrite(self._file, slot, turn % 2 * _SLOT)
        os.fsync(self._file)

    def is_there(self) -> bool:
        """Whether the file is still the one that its name names."""
        return _same(self._path, self._file)

    def close(self) -> None:
        os.close(self._file)

    def _slots(self) -> list[tuple[int, Seen]]:
        raw = os.pread(self._file, 2 * _SLOT, 0)
        return [slot for at in (0, _SLOT) if (slot := _read(raw[at : at + _SLOT])) is not None]


def _same(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except OSError:
        return False


def _read(raw: bytes) -> tuple[int, Seen] | None:
    checksum, _, told = raw.decode("ascii", "replace").rstrip().partition(" ")
    if not told or checksum != _checksum(told):
        return None
    found = json.loads(told)
    return found["turn"], Seen(found["incarnation"], found["revision"], found["token"])


def _checksum(told: str) -> str:
    return hashlib.sha256(told.encode("ascii", "replace")).hexdigest()[:32]
