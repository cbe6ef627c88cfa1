"""How much of something is in use, in all and by each caller. One caller has half of it at most, and keeps nobody out."""

from __future__ import annotations


class Shares:
    """Numbers of calls, or of bytes. The calls lock it: several threads change it."""

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

    def refuses(self, caller: str, most: int, what: str) -> str | None:
        """Why there is too much of it, where there is."""
        if self.all <= most // 2:  # nobody has more than all
            return None
        if self.all > most:
            return f"more than {most} {what}"
        if self.of.get(caller, 0) > max(1, most // 2):
            return f"half of all {what} are this caller's"
        return None
