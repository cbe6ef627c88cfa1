"""The threads of a process beside that of all calls: those for what waits, and the one for what takes long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from pdp.server.config import Limits
from pdp.server.counters import Counters
from pdp.server.handlers import edge_refusal
from pdp.server.shares import COUNTING
from pdp.server.turns import Turns

_THREADS = 8
_THREADS_OF_ADMINS = 2


class Pools:
    """What waits and what takes long are counted apart: batches keep no step of a grant out. What an operator
    does has threads of its own: those of steps may all wait, for the process that writes, say."""

    def __init__(self, counters: Counters, limits: Callable[[], Limits]) -> None:
        self._counters, self._limits = counters, limits
        self._waiting = ThreadPoolExecutor(_THREADS, "pdp-waits")
        self._administering = ThreadPoolExecutor(_THREADS_OF_ADMINS, "pdp-administers")
        self._computing = Turns("pdp-computes")

    def submit(self, caller: str, work: Callable[[], Any], *, computes: bool, administers: bool = False) -> Future[Any]:
        """CallRefused where this caller, or all together, have too many."""
        share = self._counters.computing if computes else self._counters.waiting
        with COUNTING:
            share.add(caller, 1)
            what = "calls that take long" if computes else "calls that wait"
            too_many = share.refuses(caller, self._limits().waiting, what, administers=administers)
            if too_many is not None:
                share.add(caller, -1)
                raise edge_refusal("overloaded", too_many)

        def leave(_: object) -> None:
            with COUNTING:
                share.add(caller, -1)

        threads = self._administering if administers else self._waiting
        future = self._computing.submit(caller, work) if computes else threads.submit(work)
        future.add_done_callback(leave)
        return future

    async def in_turn(self, caller: str, size: int, work: Callable[[], Any]) -> Any:
        """One of a stream, which asks for the next when it has this. So their number is that of the streams."""
        held = self._counters.bytes
        with COUNTING:
            held.add(caller, size)
        try:
            too_much = held.refuses(caller, self._limits().held_bytes, "bytes in work")
            if too_much is not None:
                raise edge_refusal("overloaded", too_much)
            return await asyncio.wrap_future(self._computing.submit(caller, work))
        finally:
            with COUNTING:
                held.add(caller, -size)

    def shutdown(self) -> None:
        self._computing.shutdown()
        for threads in (self._waiting, self._administering):
            threads.shutdown(wait=True, cancel_futures=True)
