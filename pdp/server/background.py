"""The tasks and threads that go on beside the work of a process. None ends unnoticed.

By itself asyncio keeps to itself what a task raised that nobody awaits, and a thread that raises ends with a few lines on
standard error; the process would go on without it, and look well.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from pdp.errors import PdpError

_log = logging.getLogger("pdp.server")

_THREADS = ("pdp-", "workload-api-")  # how the names of ours begin

_Work = Coroutine[Any, Any, None]
_Result = TypeVar("_Result")


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
                self._end(name)

        self._begin(work, done)

    def keep_threads(self) -> None:
        """The same for the threads of this process that are ours, whoever began them: what one raises ends the process."""
        loop, before = asyncio.get_running_loop(), threading.excepthook

        def raised(told: threading.ExceptHookArgs) -> None:
            name = "" if told.thread is None else told.thread.name
            if not name.startswith(_THREADS):
                before(told)
                return
            _log.critical("the thread %s ended, and should go on", name, exc_info=told.exc_value)
            with suppress(RuntimeError):  # the loop has ended before it
                loop.call_soon_threadsafe(self._end, f"the thread {name}")

        threading.excepthook = raised

    def _end(self, name: str) -> None:
        self._ended.append(name)
        self._has_ended.set()

    def let(self, name: str, work: _Work) -> None:
        """Begins work that ends. What it raises is logged."""

        def done(task: asyncio.Task[None]) -> None:
            if (raised := _raised(task)) is not None:
                _log.error("%s failed", name, exc_info=raised)

        self._begin(work, done)

    async def until(self, *wanted: asyncio.Event) -> None:
        """Returns once one of them is set. PdpError when something ended that should go on: then we cannot either."""
        waiting = [asyncio.ensure_future(each.wait()) for each in (*wanted, self._has_ended)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
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


async def within(seconds: float | None, work: Awaitable[_Result]) -> _Result:
    """TimeoutError where it takes longer. `asyncio.wait_for` of Python 3.11 is not for work that goes on: it forgets that it
    was cancelled, where the awaited has just ended."""
    async with asyncio.timeout(seconds):
        return await work


def _raised(task: asyncio.Task[None]) -> BaseException | None:
    return None if task.cancelled() else task.exception()
