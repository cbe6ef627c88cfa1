"""One line of the record, and how it hangs on the line before.

    {"seq":12,"kind":"decision","entry":{…},"hash":"<64 hex digits>"}

`hash` is SHA-256 over the hash of the line before, as its 64 digits, and the bytes of this one up to `,"hash":`. The number
and the hash stand at fixed places, so that a verifier reads a hundred thousand lines a second without reading JSON.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from pdp.record.encode import ENTRY_BYTES_MAX
from pdp.record.entry import Kind

GENESIS = "0" * 64  # what the first line of a record hangs on
LINE_BYTES_MAX = ENTRY_BYTES_MAX + 512
TAIL_BYTES = len(b',"hash":"') + 64 + len(b'"}\n')

_LINE = re.compile(rb'\{"seq":(0|[1-9][0-9]{0,17}),"kind":"([a-z_]{1,40})","entry":(\{.*\}),"hash":"([0-9a-f]{64})"\}\n')


@dataclass(frozen=True, slots=True)
class Line:
    """A line that has the form of one; whether it belongs where it stands is the verifier's question."""

    seq: int
    kind: str
    entry: bytes
    hash: str
    raw: bytes

    def data(self) -> dict[str, Any]:
        """The entry, read. Raises ValueError when it is not one."""
        found = json.loads(self.entry)
        if not isinstance(found, dict):
            raise ValueError("not an object")
        return found

    def hangs_on(self, before: str) -> bool:
        return sha256(before.encode() + self.raw[:-TAIL_BYTES]).hexdigest() == self.hash


class Head(NamedTuple):
    """The end of a chain: the last line's number and hash."""

    seq: int
    hash: str


START = Head(-1, GENESIS)


def make_line(head: Head, kind: Kind, entry: str) -> tuple[bytes, Head]:
    """The line after `head`, and the new head."""
    seq = head.seq + 1
    body = f'{{"seq":{seq},"kind":"{kind.value}","entry":{entry}'.encode("ascii")
    digest = sha256(head.hash.encode() + body).hexdigest()
    return body + f',"hash":"{digest}"}}\n'.encode("ascii"), Head(seq, digest)


def parse_line(raw: bytes) -> Line | None:
    """A line's parts, or None when these bytes are not a line."""
    match = _LINE.fullmatch(raw)
    if match is None:
        return None
    return Line(int(match[1]), match[2].decode(), match[3], match[4].decode(), raw)
