"""Decisions of policy, remembered for exactly as long as they hold.

An entry is used inside [decided_at, until) and nowhere else: the interval comes from the rules, not from a guess. Answers in
error are never kept. What bounds one caller only (credential, grant) is added after the hit, by the caller.

Bounded memory in which a stream of keys that are asked once cannot flush those that are asked again: a new key waits in a
small queue and reaches the large one only when it was asked again (S3-FIFO). What waited in vain leaves a mark, so that the
next time it goes to the large one at once.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from sys import getsizeof
from typing import Protocol

from language import FOREVER, Result
from pdp.engine.key import Key
from pdp.model.bounded import Bounded

ENTRIES_MAX = 65_536
KEY_WEIGHT_MAX = 4_096  # bytes; what a caller tells can be large, and such a key is not kept
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
    passed: int = 0  # not kept, since another thread was keeping just then


class Guard(Protocol):
    """A lock, of which only the try is used: nobody who asks ever waits."""

    def acquire(self, blocking: bool = True) -> bool: ...
    def release(self) -> None: ...


class Unguarded:
    """For those who ask from one thread."""

    def acquire(self, blocking: bool = True) -> bool:
        return True

    def release(self) -> None:
        pass


class DecisionCache:
    """Readers take no lock: each operation on the entries is atomic, and an entry's interval and result never change.

    Who asks from several threads gives a lock as `guard`. It is tried when an entry is put and never waited for: who finds
    it taken keeps nothing. So neither a signal handler that asks, nor a process forked while somebody held it, can hang.

    INVARIANT: every entry's key is in a queue. What is interrupted between two steps leaves at most a key twice in a queue,
    or one without an entry; both are passed over when they are met.
    """

    def __init__(
        self,
        entries_max: int = ENTRIES_MAX,
        denials_us: int = FOREVER,
        guard: Guard | None = None,
    ) -> None:
        self.entries_max = entries_max
        self.stats = CacheStats()
        self._denials_us = denials_us
        self.guard = guard if guard is not None else Unguarded()
        self._entries: dict[Key, Entry] = {}
        self._waiting: deque[Key] = deque()
        self._settled: deque[Key] = deque()
        # Hashes of keys that waited in vain; a collision costs nothing but a place.
        self._left: Bounded[int, bool] = Bounded(max(1, entries_max))

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
        guard = self.guard
        if not guard.acquire(blocking=False):
            self.stats.passed += 1
            return None
        try:
            self._put(key, entry)
        finally:
            guard.release()
        return entry

    def _put(self, key: Key, entry: Entry) -> None:
        known = self._entries.get(key)
        if known is not None:
            entry.asked_again = known.asked_again
            self._entries[key] = entry
            return
        waited = self._left.take(hash(key))
        (self._settled if waited else self._waiting).append(key)
        self._entries[key] = entry
        self.stats.kept += 1
        while len(self._entries) > self.entries_max:
            self._evict()

    def _evict(self) -> None:
        waiting = (self._waiting and len(self._waiting) * _WAITING_SHARE >= self.entries_max) or not self._settled
        queue = self._waiting if waiting else self._settled
        key = queue[0]
        entry = self._entries.get(key)
        if entry is not None and entry.asked_again:
            entry.asked_again = False
            self._settled.append(key)
            queue.popleft()
            return
        if entry is not None:
            if waiting:
                self._left.keep(hash(key), True)
            del self._entries[key]
            self.stats.evicted += 1
        queue.popleft()


def is_certain(result: Result) -> bool:
    return not result.errors and result.outcome.reason != "error"


def weight(part: object) -> int:
    """How many bytes a key holds on to. Records of the directory are in it as versions; what callers tell is whole."""
    size = getsizeof(part)
    if type(part) is str:
        return size
    if isinstance(part, tuple | frozenset):
        return size + sum([weight(each) for each in part])
    if isinstance(part, dict):
        return size + sum([weight(k) + weight(v) for k, v in part.items()])
    return size
