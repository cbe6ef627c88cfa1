"""The tasks that go on beside the work of a process. None ends unnoticed: asyncio alone keeps what they raised to itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from pdp.errors import PdpError

_log = logging.getLogger("pdp.server")

_Work = Coroutine[Any, Any, None]


class Background:
    """Owns its tasks. Used on one loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._ended: list[str] = []  # work that should go on, and does not
        self._has_ended = asyncio.Event()

    def keep(self, name: str, work: _Work) -> None:
        """Begins work that goes on for as long as we do: once it has ended, for whatever reason, `until` raises."""

        def done(task: asyncio.Task[None]) -> None:
            if not self._closing:
                _log.critical("%s ended, and should go on", name, exc_info=_raised(task))
                self._ended.append(name)
                self._has_ended.set()

        self._begin(work, done)

    def let(self, name: str, work: _Work) -> None:
        """Begins work that ends. What it raises is logged."""

        def done(task: asyncio.Task[None]) -> None:
            if (raised := _raised(task)) is not None:
                _log.error("%s failed", name, exc_info=raised)

        self._begin(work, done)

    async def until(self, stop: asyncio.Event) -> None:
        """Returns once `stop` is set. PdpError when something ended that should go on: then we cannot either."""
        await either(stop, self._has_ended)
        if self._ended:
            raise PdpError("server_error", f"{', '.join(self._ended)} ended, and should go on")

    async def close(self) -> None:
        """Ends all of it, and waits until it has ended."""
        self._closing = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, work: _Work, done: Callable[[asyncio.Task[None]], None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(done)
        task.add_done_callback(self._tasks.discard)


async def either(one: asyncio.Event, other: asyncio.Event) -> None:
    """Waits until one of the two is set."""
    waiting = [asyncio.ensure_future(each.wait()) for each in (one, other)]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()


def _raised(task: asyncio.Task[None]) -> BaseException | None:
    return None if task.cancelled() else task.exception()
