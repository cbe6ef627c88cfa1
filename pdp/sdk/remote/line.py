"""Over which connection a client asks, and when it moves to another one. Nothing here reads, waits or connects.

One connection is in use. Another may be on trial, with a newer certificate; once it has proven itself, calls go over it. A
connection that was left is closed when its last call has ended, so a move ends no call.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Any

from pdp.sdk.forks import make_anew_in_children
from pdp.sdk.remote.channel import HEALTH, SERVICE
from pdp.sdk.remote.own import Showing


class Connection:
    """A channel, what is shown on it, and how many use it."""

    def __init__(self, channel: Any, showing: Showing | None) -> None:
        self.channel, self.showing = channel, showing
        self.methods = {name: channel.unary_unary(f"{SERVICE}/{name}") for name in ("Check", "CheckMany", "Explain")}
        self.watch_epoch = channel.stream_stream(f"{SERVICE}/WatchEpoch")
        self.health = channel.unary_unary(HEALTH)
        self.users = 0
        self.is_left = False
        self.was_tried = False
        self._stream: Any = None

    @property
    def has_ended(self) -> bool:
        """Whether our certificate has, by our clock."""
        return self.showing is not None and self.showing.shown.not_after_us <= time.time_ns() // 1000

    def ends_when_left(self, stream: Any) -> None:
        """For the stream of epochs, which has no end of its own: its reader looks at `is_left`, and begins it elsewhere."""
        self._stream = stream
        if self.is_left:
            stream.cancel()

    def leave(self) -> None:
        self.is_left = True
        if self._stream is not None:
            self._stream.cancel()


class Line:
    """Safe to share between threads. `connect` makes a connection, and does not wait for it."""

    def __init__(self, connect: Callable[[Showing | None], Connection]) -> None:
        self._connect = connect
        self._lock = Lock()
        self._used: Connection | None = None
        self._trial: Connection | None = None
        self._left: list[Connection] = []
        self._inherited: list[Connection] = []  # the parent's: not used here, and not closed under it
        make_anew_in_children(self)

    def begin_in_child(self) -> None:
        """What a channel has of threads and sockets stayed with the parent; the next call makes another one."""
        self._lock = Lock()
        self._inherited += self.all()
        self._trial, self._left = None, []

    @property
    def used(self) -> Connection | None:
        return self._used

    def take(self) -> Connection | None:
        """The connection to ask over; it is given back when the call has ended."""
        with self._lock:
            used = self._used
            if used is not None:
                if self._inherited and used in self._inherited:
                    used = self._used = self._connect(used.showing)
                used.users += 1
            return used

    def give_back(self, connection: Connection) -> None:
        with self._lock:
            connection.users -= 1

    def try_out(self, showing: Showing | None) -> Connection | None:
        """A connection with this, if it is not what is shown already."""
        with self._lock:
            if self._trial is not None and self._trial.showing != showing:
                self._left.append(self._trial)
                self._trial = None
            if self._used is not None and self._used.showing == showing:
                return None
            if self._trial is None:
                self._trial = self._connect(showing)
            return self._trial

    def move(self, connection: Connection) -> bool:
        """From now on calls go over this one, if it is still the one on trial."""
        with self._lock:
            if connection is not self._trial:
                return False  # another thread was faster
            before, self._used, self._trial = self._used, connection, None
            if before is not None:
                self._left.append(before)
        if before is not None:
            before.leave()
        return True

    def drop(self) -> None:
        """From now on there is no connection to ask over, until there is another one."""
        with self._lock:
            before, self._used = self._used, None
            if before is not None:
                self._left.append(before)
        if before is not None:
            before.leave()

    def take_unused(self) -> list[Connection]:
        """Those that were left and that nobody uses any more, to be closed."""
        with self._lock:
            unused = [each for each in self._left if not each.users]
            self._left = [each for each in self._left if each.users]
        return unused

    def all(self) -> list[Connection]:
        found = (self._used, self._trial, *self._left)
        return [each for each in found if each is not None and each not in self._inherited]
