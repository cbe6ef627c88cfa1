"""Calls whose message has not come, by caller: whoever opens calls and says nothing loses its own, and nobody else's.

All of them have the same time to wait, so the oldest ends first and no heap is needed. Where a shorter time comes into
force, those that have it wait behind those that have the longer one.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

_Call = TypeVar("_Call", bound=Hashable)

#: One caller may have an eighth of all that may be open, and this many in any case: in a burst of whole calls, as many as
#: are taken at a time (`calls.ACCEPTING`) seem to be without their message, until we come to look at it.
SHARES, SHARE_MIN = 8, 128


class HalfOpen(Generic[_Call]):
    """Used by one thread."""

    def __init__(self) -> None:
        self._all: dict[_Call, tuple[int, str]] = {}  # oldest first: when it ends, and whose it is
        self._of: dict[str, dict[_Call, None]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(self, call: _Call, caller: str, ends_ns: int, most: int) -> _Call | None:
        """The call that has to go for it, where there are too many: the oldest of this caller, when it has its share; the
        oldest of the one who has most, when there are `most` in all."""
        theirs, gone = self._of.get(caller), None
        if theirs is not None and len(theirs) >= SHARE_MIN and len(theirs) >= most // SHARES:
            gone = next(iter(theirs))
        elif len(self._all) >= most:
            gone = next(iter(self._of[max(self._of, key=lambda name: len(self._of[name]))]))
        if gone is not None:
            self.drop(gone)
            theirs = self._of.get(caller)
        self._all[call] = ends_ns, caller
        if theirs is None:
            self._of[caller] = {call: None}
        else:
            theirs[call] = None
        return gone

    def drop(self, call: _Call) -> None:
        found = self._all.pop(call, None)
        if found is None:
            return
        theirs = self._of[found[1]]
        del theirs[call]
        if not theirs:
            del self._of[found[1]]

    def soonest_ns(self) -> int | None:
        return next(iter(self._all.values()))[0] if self._all else None

    def late(self, now_ns: int) -> _Call | None:
        """One whose time is over, which is dropped."""
        call = next(iter(self._all), None)
        if call is None or self._all[call][0] > now_ns:
            return None
        self.drop(call)
        return call
