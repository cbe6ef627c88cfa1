"""How much of something is in use, in all and by each caller. One caller has half of it at most, and keeps nobody out.

An eighth is kept for those who administer: whatever two callers do together, they can be frozen.
"""

from __future__ import annotations

import threading

#: Figures are changed by the thread of all calls and by those that wait or compute.
COUNTING = threading.Lock()


_KEPT = 8  # a part of so many


class Shares:
    """Numbers of calls, or of bytes. Whoever changes it holds `COUNTING`."""

    __slots__ = ("all", "of")

    def __init__(self) -> None:
        self.all = 0
        self.of: dict[str, int] = {}  # by caller; only those who have any

    def add(self, caller: str, amount: int) -> None:
        """Gives it back, where it is negative."""
        self.all += amount
        of = self.of
        left = of.get(caller, 0) + amount
        if left:
            of[caller] = left
        elif caller in of:
            del of[caller]

    def refuses(self, caller: str, most: int, what: str, *, administers: bool = False) -> str | None:
        """Why there is too much of it, where there is."""
        if self.all <= most // 2:  # nobody has more than all
            return None
        room = most if administers else most - most // _KEPT
        if self.all > room:
            return f"more than {room} {what}"
        if self.of.get(caller, 0) > max(1, most // 2):
            return f"half of all {what} are this caller's"
        return None
