"""Which proofs were used: each (key, jti) once, until nobody can come with it any more.

Bounded without evicting anything, since what is evicted can be replayed: a full memory says no. Every key has a share that
no other key can take, and beyond it draws from a common pool up to its own bound. So one key, however busy, costs others
nothing.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from enum import Enum
from heapq import heappop, heappush
from typing import Protocol

from pdp.errors import PdpError

KEYS_MAX = 16_384
SHARE = 32  # proofs of a key that nobody can keep out
POOL = 524_288  # of all keys together, beyond their shares
OF_KEY_MAX = 65_536
_SWEPT_AT_ONCE = 8
_SWEPT_WHEN_FULL = 4096


class Use(Enum):
    FIRST = "first"
    REPLAYED = "replayed"
    FULL = "full"
    YOUNG = "young"  # issued before the memory began, so it may have been used before
    UNREACHABLE = "unreachable"


class ProofMemory(Protocol):
    """One memory for all replicas that share a target. Of two that ask at once, one is told FIRST."""

    def use(self, key: str, jti: str, issued_us: int, until_us: int, now: int) -> Use:
        """Whether this is the first time. `issued_us` is the earliest moment at which the proof could have been made, and
        `until_us` the one from which it is refused anyway."""


class ReplayMemory:
    """The memory of one process. `lock` makes each use one step (`threading.Lock()`; this floor has no threads)."""

    def __init__(
        self,
        started_us: int,
        lock: AbstractContextManager[object],
        *,
        keys_max: int = KEYS_MAX,
        share: int = SHARE,
        pool: int = POOL,
        of_key_max: int = OF_KEY_MAX,
    ) -> None:
        if min(keys_max, share) < 1 or pool < 0 or of_key_max < share:
            raise PdpError("invalid_argument", "a memory of proofs holds at least one of one key")
        self._began_us = started_us
        self._lock = lock
        self._keys_max, self._share, self._pool_max, self._of_key_max = keys_max, share, pool, of_key_max
        self._used: dict[str, set[str]] = {}
        self._ends: list[tuple[int, str, str]] = []  # a heap: what ends first, first
        self._pooled = 0
        self._forgotten_us = 0  # everything that ended by then may be forgotten

    def __len__(self) -> int:
        return len(self._ends)

    def use(self, key: str, jti: str, issued_us: int, until_us: int, now: int) -> Use:
        with self._lock:
            self._forget(now, _SWEPT_AT_ONCE)
            known = self._known(key, jti, issued_us, until_us)
            if known is not None:
                return known
            used = self._used.get(key)
            if not self._has_room(used):
                self._forget(now, _SWEPT_WHEN_FULL)
                used = self._used.get(key)
                if not self._has_room(used):
                    return Use.FULL
            if used is None:
                used = self._used[key] = set()
            self._pooled += len(used) >= self._share
            used.add(jti)
            heappush(self._ends, (until_us, key, jti))
            return Use.FIRST

    def look(self, key: str, jti: str, issued_us: int, until_us: int) -> Use:
        """What is known of a proof, without using it."""
        with self._lock:
            return self._known(key, jti, issued_us, until_us) or Use.FIRST

    def _known(self, key: str, jti: str, issued_us: int, until_us: int) -> Use | None:
        if issued_us < self._began_us or until_us <= self._forgotten_us:
            return Use.YOUNG  # in the second case the clock went back: it was remembered, and is not any more
        return Use.REPLAYED if jti in self._used.get(key, ()) else None

    def _has_room(self, used: set[str] | None) -> bool:
        if used is None:
            return len(self._used) < self._keys_max
        return len(used) < self._share or (len(used) < self._of_key_max and self._pooled < self._pool_max)

    def _forget(self, now: int, at_most: int) -> None:
        """What has ended, a little at a time: no single use pays for a burst."""
        ends = self._ends
        for _ in range(at_most):
            if not ends or ends[0][0] > now:
                return
            until, key, jti = heappop(ends)
            self._forgotten_us = max(self._forgotten_us, until)
            used = self._used[key]
            used.remove(jti)
            self._pooled -= len(used) >= self._share
            if not used:
                del self._used[key]


class Looking:
    """A memory that is only looked at: a question about a proof does not use it up."""

    def __init__(self, memory: ReplayMemory) -> None:
        self._memory = memory

    def use(self, key: str, jti: str, issued_us: int, until_us: int, now: int) -> Use:
        return self._memory.look(key, jti, issued_us, until_us)
