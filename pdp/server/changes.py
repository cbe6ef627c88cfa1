"""Changes of grants, told to whoever watches in this process: from whatever thread they come, into the loop of the watcher.

Nobody is waited for. A watcher that does not keep up is told so, and begins anew after the last revision that it has seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from pdp.grants.store import Record

WAITING_MAX = 10_000

#: Records of one commit or more, and whether they are all that there is now.
Told = tuple[tuple[Record, ...], bool]


class Lagging(Exception):
    """More changes are waiting than are kept for one who watches."""


class Watcher:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: asyncio.Queue[Told] = asyncio.Queue(WAITING_MAX)
        self._lagging = False

    async def next(self) -> Told:
        if self._lagging:
            raise Lagging
        return await self._waiting.get()

    def tell(self, told: Told) -> None:
        """From any thread."""
        self._loop.call_soon_threadsafe(self._put, told)

    def _put(self, told: Told) -> None:
        if self._waiting.full():
            self._lagging = True
        else:
            self._waiting.put_nowait(told)


class Changes:
    def __init__(self) -> None:
        self._watchers: tuple[Watcher, ...] = ()  # replaced whole, on the loop; read from any thread

    def tell(self, records: tuple[Record, ...], whole: bool) -> None:
        if records or whole:
            for watcher in self._watchers:
                watcher.tell((records, whole))

    @contextmanager
    def watched(self) -> Iterator[Watcher]:
        watcher = Watcher(asyncio.get_running_loop())
        self._watchers = (*self._watchers, watcher)
        try:
            yield watcher
        finally:
            self._watchers = tuple(each for each in self._watchers if each is not watcher)
