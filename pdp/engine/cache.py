"""Decisions of policy, remembered for exactly as long as they hold.

An entry is used inside [decided_at, until) and nowhere else: the interval comes from the rules, not from a guess. Answers in
error are never kept. What bounds one caller only (credential, grant) is added after the hit, by the caller.

Bounded memory in which a stream of keys that are asked once cannot flush those that are asked again: a new key waits in a
small queue and reaches the large one only when it was asked again (S3-FIFO). What waited in vain leaves a mark, so that the
next time it goes to the large one at once.
"""

from __future__ import annotations

from collections import deque
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from language import FOREVER, Result
from pdp.engine.key import Key

ENTRIES_MAX = 65_536
KEY_WEIGHT_MAX = 4_096  # what a caller tells can be large; such a key is not kept
_WAITING_SHARE = 10  # a tenth of the entries wait


class Entry:
    """A remembered decision and the interval in which it holds."""

    __slots__ = ("asked_again", "decided_at", "result", "until")

    def __init__(self, decided_at: int, until: int, result: Result) -> None:
        self.decided_at = decided_at
        self.until = until
        self.result = result
        self.asked_again = False


@dataclass(slots=True)
class CacheStats:
    hits: int = 0
    misses: int = 0
    kept: int = 0
    evicted: int = 0
    refused: int = 0  # in error, or of a key too large


class DecisionCache:
    """Readers take no lock: each operation on the entries is atomic, and an entry's interval and result never change.

    Who asks from several threads gives a lock as `guard`; it is held while an entry is put, never while one is looked up.
    """

    def __init__(
        self,
        entries_max: int = ENTRIES_MAX,
        denials_us: int = FOREVER,
        guard: AbstractContextManager[object] | None = None,
    ) -> None:
        self.entries_max = entries_max
        self.stats = CacheStats()
        self._denials_us = denials_us
        self._guard = guard if guard is not None else nullcontext()
        self._entries: dict[Key, Entry] = {}
        self._waiting: deque[Key] = deque()
        self._settled: deque[Key] = deque()
        self._left: dict[int, None] = {}  # hashes of keys that waited in vain; a collision costs nothing but a place

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: Key, now: int) -> Entry | None:
        """The entry that holds at this moment."""
        entry = self._entries.get(key)
        if entry is not None and entry.decided_at <= now < entry.until:
            entry.asked_again = True
            self.stats.hits += 1
            return entry
        self.stats.misses += 1
        return None

    def peek(self, key: Key) -> Entry | None:
        """The entry of a key, whether it holds or not, and without notice taken."""
        return self._entries.get(key)

    def keep(self, key: Key, now: int, result: Result) -> Entry | None:
        """Remembers a decision made at `now`; None when it is not one to remember."""
        until = result.held_until
        if not result.outcome.allowed:
            until = min(until, now + self._denials_us)
        if until <= now or not is_certain(result) or weight(key) > KEY_WEIGHT_MAX:
            self.stats.refused += 1
            return None
        entry = Entry(now, until, result)
        with self._guard:
            known = self._entries.get(key)
            self._entries[key] = entry
            if known is not None:
                entry.asked_again = known.asked_again
                return entry
            self.stats.kept += 1
            mark = hash(key)
            if mark in self._left:
                del self._left[mark]
                self._settled.append(key)
            else:
                self._waiting.append(key)
            while len(self._entries) > self.entries_max:
                self._evict()
        return entry

    def _evict(self) -> None:
        if (self._waiting and len(self._waiting) * _WAITING_SHARE >= self.entries_max) or not self._settled:
            key = self._waiting.popleft()
            if self._entries[key].asked_again:
                self._entries[key].asked_again = False
                self._settled.append(key)
                return
            self._left[hash(key)] = None
            if len(self._left) > self.entries_max:
                del self._left[next(iter(self._left))]
        else:
            key = self._settled.popleft()
            if self._entries[key].asked_again:
                self._entries[key].asked_again = False
                self._settled.append(key)
                return
        del self._entries[key]
        self.stats.evicted += 1


def is_certain(result: Result) -> bool:
    return not result.errors and result.outcome.reason != "error"


def weight(part: object) -> int:
    """About how many bytes a key holds on to. Records of the directory are in it as versions; what callers tell is whole."""
    if isinstance(part, str):
        return len(part)
    if isinstance(part, tuple | frozenset):
        return 8 * len(part) + sum(map(weight, part))
    if isinstance(part, dict):
        return sum(weight(k) + weight(v) + 16 for k, v in part.items())
    return 8
