"""The state that all processes of a server share, such as tasks, grants and revocations: one writes, the others follow.

What the state is, this does not know: bytes that its owner can take. The promise is about time (P10): when `publish`
returns, every process has taken the change, or denies whatever stands on the state. It is kept by a lease. A process may
rely on what it has for `LEASE_S` after the writer's last sign of life; signs of life and changes come over one ordered
connection, so whoever has heard a later sign has taken the change before it. So the writer waits for all to say that they
have it, and at most one lease: after that, who has not said so relies on nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

LEASE_S = 1.0
BEAT_S = LEASE_S / 4


class State(Protocol):
    """What the owner of the state gives. All three are quick, and safe to call from the loop of the process."""

    def snapshot(self) -> bytes:
        """In the writer: everything, for a process that begins to follow."""

    def restore(self, raw: bytes) -> None:
        """In a follower: takes everything, in the place of what was."""

    def change(self, raw: bytes) -> None:
        """In a follower: takes one published change; one that it has already changes nothing."""


class NoState:
    """For a server without tasks and grants."""

    def snapshot(self) -> bytes:
        return b""

    def restore(self, raw: bytes) -> None:
        return None

    def change(self, raw: bytes) -> None:
        return None


class Lease:
    """Until when a follower may rely on what it has."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._until = 0.0

    def extend(self, sent_at: float) -> None:
        self._until = max(self._until, sent_at + LEASE_S)

    def lacking(self) -> str | None:
        """As a condition of readiness."""
        return None if self._monotonic() < self._until else "nothing was heard from the process that writes state"
