"""The clock of the process: wall time that does not go back."""

from __future__ import annotations

import time
from collections.abc import Callable

from language import LATEST
from pdp.errors import PdpError

BEHIND_MAX_US = 5_000_000
EARLIEST_US = 100 * 86_400_000_000  # below it, a count of seconds or milliseconds was taken for microseconds
_LOOK_AGAIN_NS = 1_000_000


def demanded(clock: Callable[[], int]) -> Callable[[], int]:
    """Somebody's own clock, of which every answer is looked at: one in seconds, such as `time.time`, stands in 1970."""

    def now() -> int:
        at = clock()
        if type(at) is not int or not EARLIEST_US <= at <= LATEST:
            raise PdpError("invalid_argument", "clock: it did not give microseconds since the epoch, as a whole number")
        return at

    return now


class Clock:
    """Microseconds since the epoch, UTC.

    Anchored to the monotonic clock, so that a wall clock set back gives no entry and no grant more life: time goes on
    from where it was. A wall clock that is ahead is followed within a millisecond, since what has ended has ended. One
    that is further behind than `behind_max_us` cannot be explained, and nothing is decided until it has caught up or the
    process started anew: whoever sets it may be an attacker. The wall clock is looked at once a millisecond.
    """

    __slots__ = ("_ahead", "_behind_max", "_look_at")

    def __init__(self, behind_max_us: int = BEHIND_MAX_US) -> None:
        self._behind_max = behind_max_us * 1000
        self._ahead = time.time_ns() - time.monotonic_ns()  # of the wall clock before the monotonic one
        self._look_at = 0

    def now(self) -> int:
        steady = time.monotonic_ns()
        return (steady + self._ahead) // 1000 if steady < self._look_at else self._look()

    def _look(self) -> int:
        wall, steady = time.time_ns(), time.monotonic_ns()
        now = steady + self._ahead
        if wall >= now:
            self._ahead, now = wall - steady, wall
        elif now - wall > self._behind_max and self.behind_us * 1000 > self._behind_max:
            raise PdpError("clock_stepped_back", f"the wall clock is {self.behind_us // 1_000_000} s behind where it was")
        self._look_at = steady + _LOOK_AGAIN_NS
        return now // 1000

    @property
    def behind_us(self) -> int:
        """How far the wall clock is behind; 0 when it is not."""
        now = time.monotonic_ns() + self._ahead
        return max(0, now - time.time_ns()) // 1000
