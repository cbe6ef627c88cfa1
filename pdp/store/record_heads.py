"""The last signed entry of a record, kept beside its keys: out of reach of those who can write the record alone.

A chain of hashes cannot tell by itself that its end was cut off. At its next start the writer can, by this file. It is kept
after the record is on disk, so it never names an entry that a crash of the machine took away.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pdp.errors import PdpError
from pdp.record.line import Head
from pdp.store.private_files import read_private, write_whole
from pdp.store.record_reader import named


@dataclass(frozen=True, slots=True)
class Signed:
    """A checkpoint that is on disk."""

    record: str
    head: Head


class SignedHead:
    """Of one record in one place: several records can share the folder of their keys. None: there is no such folder.

    The place is the path as it was configured. Where links lead is up to those who can write the record.
    """

    def __init__(self, keys: Path | None, record: Path) -> None:
        place = named(record)
        mark = sha256(str(place).encode("utf-8", "surrogateescape")).hexdigest()[:12]
        self._path = None if keys is None else keys / f"head-{place.name}-{mark}"
        self._kept: Signed | None = None
        self.failing: str | None = None  # why the last one was not kept

    def read(self) -> Signed | None:
        """None where there is none; PdpError where it cannot be read, since that hides what it is for."""
        if self._path is None or not self._path.exists():
            return None
        raw, told = read_private(self._path), None
        with contextlib.suppress(ValueError):
            told = json.loads(raw)
        match told:
            case {"record": str(record), "seq": int(seq), "hash": str(digest)}:
                return Signed(record, Head(seq, digest))
        raise PdpError("invalid_file", f"`{self._path}` is no head of a record; move it away, and say where it came from")

    def keep(self, signed: Signed) -> None:
        """Keys can lie on a disk that cannot be written: then nothing is kept, and the next start knows less."""
        if self._path is None or signed == self._kept:
            return
        told = {"record": signed.record, "seq": signed.head.seq, "hash": signed.head.hash}
        try:
            write_whole(self._path, json.dumps(told).encode() + b"\n")
        except PdpError as error:
            self.failing = error.message
            return
        self._kept, self.failing = signed, None
