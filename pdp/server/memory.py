"""Memory that was needed for a while, given back to the system.

The C library keeps what a burst of calls has freed: pages between two that are in use stay ours, and the process looks as
large as it was at its worst.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable
from pathlib import Path

LOOK_S, LOOKS_MAX = 5.0, 60
#: So much of the memory makes it worth while: what it has grown by, and what came back.
WORTH = 0.05


class Memory:
    """`trim` gives back; None where the C library cannot. How much is free only trimming tells, so it is tried again and
    again, and more and more rarely while nothing comes back and nothing grows."""

    def __init__(self, resident: Callable[[], int], trim: Callable[[], object] | None) -> None:
        self._resident, self._trim = resident, trim
        self._size = resident()  # when it was last tried
        self._pause = self._looks = 1

    def look(self) -> None:
        now = self._resident()
        self._looks -= 1
        if self._trim is None or (self._looks > 0 and now <= self._size * (1 + WORTH)):
            return
        self._trim()
        left = self._resident()
        was_worth_it = left < now * (1 - WORTH) or now > self._size * (1 + WORTH)
        self._pause = 1 if was_worth_it else min(2 * self._pause, LOOKS_MAX)
        self._size, self._looks = left, self._pause


async def keep_small() -> None:
    """For as long as the process lives. Aside: a large heap takes a while, in which the interpreter is free."""
    memory = own_memory()
    while True:
        await asyncio.sleep(LOOK_S)
        await asyncio.to_thread(memory.look)


def own_memory() -> Memory:
    """Of this process. Its pages are given back without the lock of the interpreter."""
    library = ctypes.CDLL(None)
    trim = getattr(library, "malloc_trim", None)  # glibc has it
    return Memory(_resident, None if trim is None else lambda: trim(0))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
