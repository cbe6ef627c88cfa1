"""Memory that a burst needed comes back: `make floods` found 1.7 GB held, a minute after one."""

from __future__ import annotations

import ctypes

import pytest

from pdp.server.memory import Memory, own_memory


class Counted:
    def __init__(self, *sizes: int) -> None:
        self.sizes, self.trims = list(sizes), 0

    def resident(self) -> int:
        return self.sizes.pop(0)

    def trim(self) -> None:
        self.trims += 1


@pytest.mark.parametrize(
    ("sizes", "trims"),
    [
        ((100, 100, 109), 0),  # about as large as at the start
        ((100, 150, 100), 1),
        ((100, 150, 150, 150), 1),  # it is in use: that is what it is compared with from now on
        ((100, 150, 150, 120, 140, 120), 2),  # it became smaller by itself, and grew again
    ],
)
def test_it_is_given_back_when_there_is_much_of_it(sizes: tuple[int, ...], trims: int) -> None:
    counted = Counted(*sizes)
    memory = Memory(counted.resident, counted.trim)
    while counted.sizes:
        memory.give_back()
    assert counted.trims == trims


def test_where_the_library_cannot_nothing_is_tried() -> None:
    counted = Counted(100, 900)
    assert not Memory(counted.resident, None).give_back()


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_pages_between_two_in_use_come_back() -> None:
    """Freed, and kept by the C library: half of it is given back at the least."""
    memory = own_memory()
    before = memory._resident()
    kept = [bytes(4_000) for _ in range(50_000)]
    kept = kept[::1_000]
    held = memory._resident() - before
    assert memory.give_back()
    assert memory._resident() - before < held / 2
    assert kept
