"""Handles that were read, remembered by digest for as long as they hold under the issuer keys of now.

What is remembered is that a handle is genuine. Which rights its grant gives, and whether it has ended, is asked each time.
"""

from __future__ import annotations

import hashlib

from pdp.grants.handle import Handle, Names, read_handle
from pdp.grants.issuer_keys import IssuerKeys
from pdp.grants.refusals import Refused
from pdp.model.bounded import Bounded
from pdp.tokens.compact import TOKEN_BYTES_MAX

ENTRIES_MAX = 16_384


class Handles:
    """Reads handles, each of them once. Refusals are not remembered. When it is full, the oldest goes."""

    __slots__ = ("_read", "names")

    def __init__(self, names: Names, entries_max: int = ENTRIES_MAX) -> None:
        self.names = names
        self._read: Bounded[bytes, Handle] = Bounded(entries_max)

    def read(self, token: str, keys: IssuerKeys, now: int) -> Handle:
        if len(token) > TOKEN_BYTES_MAX:
            raise Refused("token_too_large")
        mark = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        found = self._read.get(mark)
        if found is None or not found.begins_us <= now < found.ends_us or keys.verifying(found.issuer_key, now) is None:
            found = read_handle(token, self.names, keys, now)
            self._read.keep(mark, found)
        return found

    def __len__(self) -> int:
        return len(self._read)
