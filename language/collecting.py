"""Work that makes millions of objects without cycles, and a collector that need not walk them again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

MANY = 100_000


@contextmanager
def without_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            if gc.get_count()[0] > MANY:
                _count_as_old()
            gc.enable()


def _count_as_old() -> None:
    """What was made is to stay. As young objects the next allocation of any thread would walk them all while every other
    thread waits: a second, for ten thousand rules. Freezing and thawing moves lists and looks at no object. What the host
    program froze stays so."""
    if gc.get_freeze_count() == 0:
        gc.freeze()
        gc.unfreeze()
