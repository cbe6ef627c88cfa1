"""What a step does when the store fails, when somebody else writes, and when a backup was restored."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from secrets import token_hex
from typing import Any

import pytest

from pdp.grants.grant import EndReason, Grant
from pdp.grants.index import Index
from pdp.grants.reasons import Refused
from pdp.grants.store import Change, Changes, Committed, Conflict, Expect, Put, Unavailable
from pdp.service.giving import Child, Opening
from pdp.store.grants.memory import MemoryStore
from tests.pdp.service.world import API, CI, HELPER, OPS, World, tied, workload


class Failing(MemoryStore):
    """Fails as it is told: reading, writing, or writing as often as there are conflicts."""

    def __init__(self) -> None:
        super().__init__()
        self.unreadable = self.unwritable = False
        self.conflicts = 0

    def changes(self, since: int, incarnation: str) -> Changes:
        if self.unreadable:
            raise Unavailable("gone")
        return super().changes(since, incarnation)

    def commit(self, changes: Sequence[Change]) -> Committed:
        if self.unwritable:
            raise Unavailable("gone")
        if self.conflicts:
            self.conflicts -= 1
            raise Conflict("somebody wrote in between")
        return super().commit(changes)


def test_a_step_without_a_store_is_refused_and_a_check_goes_on_until_the_bound() -> None:
    store = Failing()
    world = World(store=store)
    grant = world.open()
    store.unreadable = True
    assert world.refused(world.open) == "store_unavailable"
    assert world.refused(lambda: world.tasks.end(world.at, workload(CI), grant.id)) == "store_unavailable"
    assert world.check(grant).allowed
    with pytest.raises(Refused, match="store_unavailable"):
        world.tasks.confirm(world.now)
    world.now += world.rules.freshness_us
    assert world.check(grant).reason == "grants_stale"


def test_a_use_that_cannot_be_counted_is_denied() -> None:
    store = Failing()
    world = World(store=store)
    grant = world.open(uses=5)
    store.unwritable = True
    assert world.check(grant).reason == "store_unavailable"


def test_a_step_is_planned_again_when_somebody_wrote_in_between() -> None:
    store = Failing()
    world = World(store=store)
    store.conflicts = 7
    assert world.check(world.open()).allowed
    store.conflicts = 100
    assert world.refused(world.open) == "store_unavailable"


def test_two_processes_see_each_others_steps() -> None:
    one = World()
    two = World(store=one.store)
    grant = one.open()
    two.tasks.confirm(two.now)
    child = two.delegate(grant)
    one.open()
    assert one.check(child).allowed
    two.tasks.end(two.at, OPS, grant.id, "incident")
    one.tasks.confirm(one.now)
    assert one.check(child).reason == "task_ended"
    assert one.tasks.book.index.revision == two.tasks.book.index.revision


def test_another_incarnation_is_read_whole_and_what_is_not_in_it_is_gone() -> None:
    world = World()
    grant = world.open()
    restored = MemoryStore()
    over = replace(grant, state=grant.state.ENDED, ended=EndReason.SUPERSEDED, ended_at=world.now)
    restored.commit([Put(over, 0)])
    lost = world.open(binding=tied("later"))
    world.store.incarnation = restored.incarnation = token_hex(16)
    world.tasks.book._store = restored
    world.tasks.confirm(world.now)
    assert world.check(grant).reason == "task_ended"
    assert world.check(lost, shown=world.shown(grant)).reason == "grant_unknown"


def test_a_reader_that_is_ahead_of_the_store_reads_it_whole() -> None:
    """A revision that went back is another life of the store (catalogue 141)."""
    store = MemoryStore()
    assert store.changes(5, store.incarnation).whole
    assert store.changes(0, "").whole


def test_the_feed_tells_each_record_once_as_it_is_now() -> None:
    world = World()
    grant = world.open()
    since = world.store.revision
    world.tasks.suspend(world.at, workload(CI), grant.id, "wait")
    world.tasks.end(world.at, workload(CI), grant.id)
    changes = world.store.changes(since, world.store.incarnation)
    assert [(record.id, record.is_over) for record in changes.records if isinstance(record, Grant)] == [(grant.id, True)]
    assert not changes.whole
    assert world.store.changes(changes.revision, world.store.incarnation).records == ()


def test_a_commit_expects_what_it_read() -> None:
    world = World()
    grant = world.open()
    for expected in (Expect(grant.id, 0), Expect(grant.id, grant.revision + 1), Expect(("workload", "x"), 1)):
        with pytest.raises(Conflict):
            world.store.commit([expected])
    world.store.commit([Expect(grant.id, grant.revision), Expect(("workload", "x"), 0)])


def test_the_index_of_a_parent_that_is_missing_is_unreadable() -> None:
    world = World()
    child = world.delegate(world.open())
    alone = Index().taking([child], 1)
    with pytest.raises(Refused, match="grant_unreadable"):
        alone.chain(child.id)


@pytest.mark.parametrize("grant_id", ["", "x" * 24, None, 5, ["x"]])
def test_a_grant_that_there_is_not(grant_id: Any) -> None:
    world = World()
    with pytest.raises(Refused, match="grant_unknown"):
        world.tasks.book.index.chain(grant_id)


def test_what_ended_long_ago_is_forgotten_whole_and_its_id_never() -> None:
    world = World()
    root = world.open()
    child = world.delegate(root)
    world.tasks.end(world.at, workload(API), child.id)
    world.now += 1
    assert world.tasks.forget(world.at, world.now) == 0  # its root is active
    world.tasks.end(world.at, workload(CI), root.id)
    world.now += 1
    assert world.tasks.forget(world.at, world.now) == 0  # it would not have ended yet
    world.now = root.ends - 1
    kept = world.open()
    world.now = root.ends
    assert world.tasks.forget(world.at, world.now) == 2
    index = world.tasks.book.index
    assert (dict(index.by_task), dict(index.children)) == ({kept.task: frozenset({kept.id})}, {})
    assert set(index.grants) == {kept.id}  # nothing of them stays in memory
    for grant, told in (root, "task_ended"), (child, "grant_unreadable"):
        assert world.check(grant, shown=world.shown(kept)).reason == "grant_unknown"
        late = index.taking([grant], grant.revision)  # as it was while it lived
        world.tasks.book.index = late
        assert world.check(grant).reason == told
        world.tasks.book.index = index
    moment = replace(world.at, new_id=lambda: root.id)
    asked = Opening("invoicing", API, {"tenant": "acme"}, binding=tied("api"))
    assert world.refused(lambda: world.tasks.open(moment, workload(CI), asked)) == "task_ended"  # says the store
    fresh = World(store=world.store)
    assert dict(fresh.tasks.book.index.by_task) == dict(index.by_task)
    assert set(fresh.tasks.book.index.grants) == {kept.id}


def test_what_is_over_is_forgotten_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdp.service.tasks.FORGOTTEN_AT_ONCE", 3)
    world = World()
    ended = [world.open() for _ in range(7)]
    world.now = ended[-1].ends
    world.tasks.expire(world.at)
    world.now += 1
    assert [world.tasks.forget(world.at, world.now) for _ in range(4)] == [3, 3, 1, 0]


def test_many_threads_take_steps_and_none_is_lost() -> None:
    world = World()
    world.tasks.book.lock = threading.Lock()
    root = world.open(binding=tied("root"))
    found: list[Grant] = []

    def work(number: int) -> None:
        for turn in range(20):
            ask = Child(HELPER, tied(f"{number} {turn}"))
            found.append(world.tasks.delegate(world.at, workload(API, "root"), root.id, ask))
            if turn % 2:
                world.tasks.end(world.at, workload(API), found[-1].id)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    index = world.tasks.book.index
    assert len(found) == len({grant.id for grant in found}) == 120
    assert sorted(each.id for each in index.below(root.id)) == sorted(grant.id for grant in found)
    fresh = Index().fed(world.store.changes(0, ""))
    assert dict(fresh.grants) == dict(index.grants)


def test_one_lock_is_held_for_a_step_and_none_for_a_check() -> None:
    held: list[str] = []

    class Lock:
        def __enter__(self) -> None:
            held.append("in")

        def __exit__(self, *_: object) -> None:
            held.append("out")

    world = World()
    world.tasks.book.lock = Lock()
    grant = world.open()
    assert held == ["in", "out"]
    world.check(grant)
    assert held == ["in", "out"]
