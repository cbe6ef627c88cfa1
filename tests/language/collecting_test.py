"""After much work the collector has nothing new to walk, and what the host froze stays frozen."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from language.collecting import MANY, without_collection


@pytest.fixture(autouse=True)
def clean_collector() -> Iterator[None]:
    gc.unfreeze()
    gc.collect()
    yield
    gc.unfreeze()
    gc.enable()


def young() -> int:
    return len(gc.get_objects(generation=0)) + len(gc.get_objects(generation=1))


def test_what_much_work_made_is_old_at_once() -> None:
    with without_collection():
        kept = [[n] for n in range(2 * MANY)]
    assert young() < MANY < len(kept)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_what_little_work_made_stays_young() -> None:
    with without_collection():
        kept = [[n] for n in range(300)]
    assert any(each is kept for each in gc.get_objects(generation=0))


def test_what_the_host_froze_stays_frozen() -> None:
    gc.freeze()
    frozen = gc.get_freeze_count()
    with without_collection():
        kept = [[n] for n in range(2 * MANY)]
    assert frozen - 100 < gc.get_freeze_count() <= frozen
    assert len(kept) == 2 * MANY


def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    with without_collection():
        pass
    assert not gc.isenabled()
