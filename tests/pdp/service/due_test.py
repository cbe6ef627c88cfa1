"""What has ended by time is written down a little at a time, and nothing is looked at that is not due."""

from __future__ import annotations

import pytest

from pdp.grants.grant import EndReason
from pdp.service import tasks
from pdp.service.book import Book
from tests.pdp.service.world import MINUTE, OPS, World


def test_much_is_ended_in_several_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "EXPIRED_AT_ONCE", 3)
    world = World()
    grants = [world.open(lasting=MINUTE) for _ in range(8)]
    later = world.open(lasting=2 * MINUTE)
    assert world.tasks.expire(world.at) == 0
    world.now = grants[-1].ends
    assert [world.tasks.expire(world.at) for _ in range(4)] == [3, 3, 2, 0]
    find = world.tasks.book.index.find
    assert {find(each.id).ended for each in grants} == {EndReason.EXPIRED}
    assert not find(later.id).is_over
    world.now = later.ends
    assert world.tasks.expire(world.at) == 1


def test_what_ended_otherwise_is_not_ended_again() -> None:
    world = World()
    grant = world.open(lasting=MINUTE)
    world.tasks.end(world.at, OPS, grant.id, "enough")
    world.now = grant.ends
    assert world.tasks.expire(world.at) == 0


def test_a_process_that_begins_knows_what_is_due() -> None:
    world = World()
    grant = world.open(lasting=MINUTE)
    book = Book(world.store, lambda _: None)
    index = book.catch_up(grant.ends)
    assert [each.id for each in book.due.late(index, grant.ends, 9)] == [grant.id]
    assert [each.id for each in book.due.late(index, grant.ends, 9)] == [grant.id]  # told again until it has ended
    assert book.due.late(index, grant.ends - 1, 9) == ()
