"""Finding S10: a process that follows keeps nothing of a task that is over, and forgets none before its own time is over."""

from __future__ import annotations

from collections.abc import Iterable

from language import EntityData, RequestData
from pdp.grants.grant import Grant
from pdp.grants.index import Index
from pdp.grants.redeem import Shown
from pdp.grants.store import Record
from pdp.server.shared_grants import SharedGrants, message
from tests.pdp.service.world import API, MINUTE, OPS, World, workload


def shown(grant: Grant) -> Shown:
    """What its rightful holder shows, whatever has become of it."""
    return Shown(grant.holder, key=grant.binding.key, environment="prod", audience="prod.acme")


class Follower:
    """Another process of the server of a world: told what the book of that world tells."""

    def __init__(self, writer: World) -> None:
        self.here = World()
        self._writer = writer
        self.shared = SharedGrants(None, self.here.swap, lambda *_: None)
        writer.tasks.book._tell = self._tell
        self._take(message(writer.tasks.book.index, (), whole=True))

    def _tell(self, index: Index, records: Iterable[Record], whole: bool) -> None:
        self._take(message(index, records, whole=whole))

    def _take(self, raw: bytes) -> None:
        self.shared.change(raw)
        self.here.tasks.book.index = self.shared.index

    def confirm(self, at: int) -> None:
        """As the process that writes does again and again."""
        self._writer.now = at
        self._writer.tasks.confirm(at)
        self._writer.tasks.expire(self._writer.at)
        self._tell(self._writer.tasks.book.index, (), False)

    def entries(self) -> dict[str, int]:
        """How many things are kept, wherever there is more to keep with more tasks."""
        index = self.shared.index
        groups = {"by task": index.by_task, "by holder": index.by_holder, "children": index.children}
        told = {"grants": index.grants, "marks": index.marks, **groups, "by certificate": index.by_certificate}
        kept = {name: len(found) for name, found in told.items()}
        return {**kept, "revocations": len(self.here.revoked.reasons), "ended": len(self.shared._ended)}

    def reason(self, grant: Grant, now: int) -> str:
        """Of a check by what this process knows: its index and its revocations."""
        self.here.now = now
        return self.here.check(grant, shown=shown(grant)).reason

    def reason_of_engine(self, grant: Grant, now: int) -> str:
        """The same if no index said anything, with the task as it was while it lived."""
        alive = World()
        alive.tasks.book.index = Index().taking([grant], grant.revision).confirmed(grant.created)
        told = RequestData("select", EntityData("Table", "invoices"), workload=grant.holder)
        task = alive.tasks.redeem(grant.id, shown(grant), told, grant.created, alive.snapshot.world).task
        return self.here.decider.decide_once(self.here.snapshot, told._replace(task=task), None, now).reason


def test_a_follower_keeps_nothing_of_tasks_that_are_over() -> None:
    writer = World()
    follower = Follower(writer)
    rounds = []
    for _ in range(25):
        for number in range(80):  # some are ended, with what was delegated from them, and others run out
            grant = writer.open(lasting=MINUTE)
            child = writer.delegate(grant)
            if number % 2:
                writer.tasks.end(writer.at, OPS, (grant if number % 4 == 1 else child).id, "done")
        follower.confirm(writer.now + MINUTE)
        follower.confirm(writer.now + MINUTE)
        writer.tasks.forget(writer.at, writer.now)
        rounds.append(follower.entries())
    assert rounds[-1] == rounds[0]
    assert {name: kept for name, kept in rounds[-1].items() if kept} == {}
    assert len(writer.tasks.book._ended) == len(writer.revoked.reasons) == 0


def test_no_task_that_has_ended_is_allowed_by_forgetting_it() -> None:
    """The engine is told of an end until the clock says it as well, to the microsecond; then the clock denies for ever."""
    writer = World()
    follower = Follower(writer)
    grant = writer.open(lasting=MINUTE)
    assert follower.reason(grant, writer.now) == "allowed"
    assert follower.reason_of_engine(grant, writer.now) == "allowed"
    writer.tasks.end(writer.at, OPS, grant.id, "stop")
    ended = "task", grant.task
    for at, known in ((writer.now, True), (grant.ends - 1, True), (grant.ends, False), (grant.ends + MINUTE, False)):
        follower.confirm(at)
        assert (ended in follower.here.revoked.reasons) is known
        assert follower.reason(grant, at) == "task_ended"
        assert follower.reason_of_engine(grant, at) == "task_ended"
    writer.tasks.forget(writer.at, writer.now)
    assert grant.id not in follower.shared.index.grants
    assert follower.reason(grant, writer.now) == "grant_unknown"
    # With the clock set back by less than is noticed, nothing is revived: what was forgotten is known to nobody.
    assert follower.reason(grant, writer.now - MINUTE // 30) == "grant_unknown"


def test_an_end_that_is_told_late_or_twice_is_not_kept() -> None:
    writer = World()
    follower = Follower(writer)
    grant = writer.open(lasting=MINUTE)
    writer.tasks.end(writer.at, workload(API, "api"), grant.id)
    over = writer.tasks.book.index.find(grant.id)
    follower.confirm(grant.ends)
    before = follower.entries()
    follower._tell(writer.tasks.book.index, [over], False)
    assert follower.entries() == before
    assert follower.reason(grant, grant.ends) == "task_ended"
