"""Memory that was needed for a while, given back to the system.

The C library keeps what a burst of calls has freed: pages between two that are in use stay ours, and the process looks as
large as it was at its worst. Looking is cheap; what is given back has to be faulted in again, so that is done only when
there is much of it.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable
from pathlib import Path

LOOK_S = 5.0
#: Grown by so much since it was last given back, a process is worth a look.
GROWN = 1.1


class Memory:
    """`trim` gives back; None where the C library cannot."""

    def __init__(self, resident: Callable[[], int], trim: Callable[[], object] | None) -> None:
        self._resident, self._trim = resident, trim
        self._least = resident()

    def give_back(self) -> bool:
        """Whether it was tried."""
        now = self._resident()
        if self._trim is None or now <= self._least * GROWN:
            self._least = min(self._least, now)
            return False
        self._trim()
        self._least = self._resident()
        return True


async def keep_small() -> None:
    """For as long as the process lives. Aside: a large heap takes a while, in which the interpreter is free."""
    memory = own_memory()
    while True:
        await asyncio.sleep(LOOK_S)
        await asyncio.to_thread(memory.give_back)


def own_memory() -> Memory:
    """Of this process. Its pages are given back without the lock of the interpreter."""
    library = ctypes.CDLL(None)
    trim = getattr(library, "malloc_trim", None)  # glibc has it
    return Memory(_resident, None if trim is None else lambda: trim(0))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
