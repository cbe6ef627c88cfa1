"""Handles that were read, remembered by digest for as long as they hold under the issuer keys of now.

What is remembered is that a handle is genuine. Which rights its grant gives, and whether it has ended, is asked each time.
"""

from __future__ import annotations

import hashlib

from pdp.errors import PdpError
from pdp.grants.handle import Handle, Names, read_handle
from pdp.grants.issuer_keys import IssuerKeys

ENTRIES_MAX = 65_536


class Handles:
    """Reads handles, each of them once. Refusals are not remembered. When it is full, the oldest goes."""

    __slots__ = ("_entries", "_entries_max", "names")

    def __init__(self, names: Names, entries_max: int = ENTRIES_MAX) -> None:
        if entries_max < 1:
            raise PdpError("invalid_argument", "entries_max: at least one")
        self.names = names
        self._entries: dict[bytes, Handle] = {}
        self._entries_max = entries_max

    def read(self, token: str, keys: IssuerKeys, now: int) -> Handle:
        mark = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        found = self._entries.get(mark)
        if (
            found is not None
            and found.begins_us <= now < found.ends_us
            and keys.verifying(found.issuer_key, now) is not None
        ):
            return found
        read = read_handle(token, self.names, keys, now)
        self._keep(mark, read)
        return read

    def __len__(self) -> int:
        return len(self._entries)

    def _keep(self, mark: bytes, handle: Handle) -> None:
        entries = self._entries
        entries.pop(mark, None)  # so that it becomes the youngest
        while len(entries) >= self._entries_max:
            try:
                entries.pop(next(iter(entries)), None)
            except (RuntimeError, StopIteration):  # another thread was faster
                continue
        entries[mark] = handle
