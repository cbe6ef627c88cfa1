"""What both clients remember of answers, and when one may be used again.

An answer carries the epoch that it was decided by, and a stream tells the epoch that the decision point is in
(`watching.py`). An answer is used while both are the same, while the stream was heard of lately, and no longer than it says
itself. So where a stream hangs, or ended, or is with another process than the one that answers, nothing is used.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

from pdp.errors import PdpError
from pdp.model.decision import Decision
from pdp.sdk.forks import make_anew_in_children
from pdp.wire.client import ToldEpoch

#: For how long an epoch is believed, from when the question was sent that it answers; and how often that is asked.
LEASE_S = 1.0
ASK_S = LEASE_S / 4


class Epoch(NamedTuple):
    """Numbers of one process grow. Those of two say nothing about each other."""

    process: str
    number: int


def epoch_of(text: str) -> Epoch | None:
    process, _, number = text.rpartition("-")
    return Epoch(process, int(number)) if process and number.isascii() and number.isdigit() and len(number) <= 18 else None


@dataclass(frozen=True, slots=True)
class _Kept:
    decision: Decision
    until_us: int


class Answers:
    """Allows and denials, by the bytes of the question. INVARIANT: all that is kept is of the epoch that was heard of last.

    Safe to share between threads. Times with `_s` are monotonic; others are microseconds of the clock by which answers end.
    """

    def __init__(self, entries_max: int, keep_us: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        if type(entries_max) is not int or entries_max < 0 or keep_us <= 0:
            raise PdpError("invalid_argument", "cache_entries: 0 or more; cache_for_s: more than nothing")
        self.keeps = entries_max > 0
        self._entries_max, self._keep_us, self._monotonic = entries_max, keep_us, monotonic
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._lock = Lock()
        self._epoch: Epoch | None = None
        self._believed_until_s = 0.0
        self._theirs_us, self._theirs_at_s = 0, 0.0  # their clock, and when it was told
        make_anew_in_children(self)

    def begin_in_child(self) -> None:
        """The stream stayed in the parent, and another thread may have held the lock."""
        self._lock = Lock()
        self._believed_until_s = 0.0

    # ---- the stream

    def told(self, told: ToldEpoch, asked_at_s: float) -> None:
        """An epoch, in answer to a question that was sent then."""
        epoch, now_s = epoch_of(told.epoch), self._monotonic()
        with self._lock:
            if epoch is None or (self._is_ours(epoch) and epoch.number < self._number):
                return  # an answer said more already
            self._move_to(epoch)
            self._believed_until_s = min(asked_at_s, now_s) + LEASE_S
            self._theirs_us, self._theirs_at_s = told.now, now_s

    def lost(self) -> None:
        """The stream has ended. What is kept stays, for the case that the next one tells of the same epoch."""
        with self._lock:
            self._believed_until_s = 0.0

    @property
    def is_live(self) -> bool:
        """Whether anything may be used now."""
        return self._epoch is not None and self._monotonic() < self._believed_until_s

    # ---- questions

    def find(self, raw: bytes, now: int) -> Decision | None:
        if not self.keeps:
            return None
        with self._lock:
            found = self._kept.get(raw)
            if found is None or not self.is_live:
                return None
            if self._latest(now) >= found.until_us:
                del self._kept[raw]
                return None
            self._kept.move_to_end(raw)
            return found.decision

    def keep(self, raw: bytes, decision: Decision, epoch_text: str, now: int) -> None:
        if not self.keeps or not epoch_text or decision.errors or decision.reason == "error":
            return
        epoch = epoch_of(epoch_text)
        with self._lock:
            if epoch is None or not self._is_ours(epoch) or epoch.number < self._number:
                return  # of a process that is not watched, or made before what is known by now
            self._move_to(epoch)  # the stream will say so in a moment
            now = self._latest(now)
            until = min(decision.valid_until_us, decision.fresh_until_us, now + self._keep_us)
            if until <= now:
                return
            self._kept[raw] = _Kept(decision, until)
            self._kept.move_to_end(raw)
            while len(self._kept) > self._entries_max:
                self._kept.popitem(last=False)

    def forget(self) -> None:
        with self._lock:
            self._kept.clear()

    # ---- under the lock

    @property
    def _number(self) -> int:
        return -1 if self._epoch is None else self._epoch.number

    def _is_ours(self, epoch: Epoch) -> bool:
        return self._epoch is not None and self._epoch.process == epoch.process

    def _move_to(self, epoch: Epoch) -> None:
        if epoch != self._epoch:
            self._kept.clear()
            self._epoch = epoch

    def _latest(self, now: int) -> int:
        """Our clock, or theirs where ours is behind it."""
        return max(now, self._theirs_us + int((self._monotonic() - self._theirs_at_s) * 1e6)) if self._theirs_us else now


def keep_time(seconds: float) -> int:
    """In microseconds."""
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 < seconds <= 86_400:
        raise PdpError("invalid_argument", "cache_for_s: more than 0 and at most a day")
    return int(seconds * 1e6)
