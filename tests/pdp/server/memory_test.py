"""Memory that a burst needed comes back: `make floods` found 1.7 GB held, a minute after one."""

from __future__ import annotations

import ctypes

import pytest

from pdp.server.memory import LOOKS_MAX, Memory, own_memory


class Process:
    """So much is in use, and so much is free and held."""

    def __init__(self) -> None:
        self.used, self.free, self.trims = 100, 0, 0

    def resident(self) -> int:
        return self.used + self.free

    def trim(self) -> None:
        self.trims += 1
        self.free = 0


def looked(process: Process, times: int) -> int:
    """How often it was tried."""
    memory, before = Memory(process.resident, process.trim), process.trims
    for _ in range(times):
        memory.look()
    return process.trims - before


def test_what_a_burst_leaves_comes_back_also_when_the_last_try_was_in_the_midst_of_it() -> None:
    process = Process()
    memory = Memory(process.resident, process.trim)
    for process.used, process.free in ((400, 0), (400, 50), (100, 300)):
        memory.look()
    memory.look()
    assert process.resident() == 100


def test_while_nothing_comes_back_it_is_tried_more_and_more_rarely() -> None:
    assert looked(Process(), 63) == 6  # 1, 3, 7, 15, 31, 63
    assert looked(Process(), 63 + 10 * LOOKS_MAX) == 6 + 10


def test_what_has_grown_is_looked_at_at_once() -> None:
    process = Process()
    memory = Memory(process.resident, process.trim)
    for _ in range(100):
        memory.look()
    before, process.free = process.trims, 60
    memory.look()
    assert (process.trims - before, process.free) == (1, 0)


def test_where_the_library_cannot_nothing_is_tried() -> None:
    Memory(Process().resident, None).look()


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_pages_between_two_in_use_come_back() -> None:
    """Freed, and kept by the C library: half of it is given back at the least."""
    memory = own_memory()
    before = memory._resident()
    kept = [bytes(4_000) for _ in range(50_000)]
    kept = kept[::1_000]
    held = memory._resident() - before
    memory.look()
    assert memory._resident() - before < held / 2
    assert kept
