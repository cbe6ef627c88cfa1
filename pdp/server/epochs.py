"""Whoever watches the epoch of this process: woken when it is another, and when they have asked.

What decisions are made by is replaced in many places, by whatever thread; so nobody has to tell. One task looks, while
somebody watches, many times in the second within which a client must know.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress

LOOK_S = 0.02

_log = logging.getLogger("pdp.server")


class Epochs:
    """Used on the loop alone. `current` is quick."""

    def __init__(self, current: Callable[[], str]) -> None:
        self._current = current
        self._watching: set[asyncio.Event] = set()
        self._looking: asyncio.Task[None] | None = None
        self._failing = False

    @contextmanager
    def watched(self) -> Iterator[asyncio.Event]:
        """Set when the epoch is another than it was. Whoever waits clears it."""
        woken = asyncio.Event()
        self._watching.add(woken)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look())
        try:
            yield woken
        finally:
            self._watching.discard(woken)

    async def _look(self) -> None:
        known = self._now()
        while self._watching:
            await asyncio.sleep(LOOK_S)
            now = self._now()
            if now is None or now != known:
                known = now
                for woken in self._watching:
                    woken.set()

    def _now(self) -> str | None:
        """None where it cannot be told: then each who watches asks for itself, and is told why."""
        try:
            found = self._current()
        except Exception:  # noqa: BLE001  # the look goes on
            if not self._failing:
                _log.exception("the epoch cannot be told")
            self._failing = True
            return None
        self._failing = False
        return found


class Asked:
    """The questions of one who watches, read while answers go out: the last one counts."""

    def __init__(self, woken: asyncio.Event, read: Callable[[bytes], int]) -> None:
        self._woken, self._read = woken, read
        self.number: int | None = None
        self._reading: asyncio.Task[None] | None = None

    def begin(self, raws: AsyncIterator[bytes]) -> None:
        self._reading = asyncio.get_running_loop().create_task(self._follow(raws))
        self._reading.add_done_callback(lambda _: self._woken.set())

    async def _follow(self, raws: AsyncIterator[bytes]) -> None:
        async for raw in raws:
            self.number = self._read(raw)
            self._woken.set()

    async def next(self) -> int | None:
        """The number to answer with, when there is something to say; None when there are no more questions. Raises what
        was wrong with one."""
        assert self._reading is not None
        while True:
            await self._woken.wait()
            self._woken.clear()
            if self._reading.done():
                self._reading.result()
                return None
            if self.number is not None:
                return self.number

    async def end(self) -> None:
        assert self._reading is not None
        self._reading.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(self._reading, return_exceptions=True)
