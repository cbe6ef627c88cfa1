"""One grant among a hundred thousand: its end is effective on the very next check, and costs the others nothing."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock

import pytest

from pdp.engine.cache import DecisionCache
from pdp.engine.decide import Decider
from pdp.engine.revocations import Revocations
from pdp.engine.snapshot import Policy, Snapshot
from pdp.grants.grant import Grant
from pdp.grants.handle import make_handle
from pdp.grants.handles import Handles
from pdp.grants.store import Put
from pdp.identity import ShownVerifier, Verifier
from pdp.model.decision import Decision
from pdp.service.book import Book
from pdp.service.caller import Caller, Moment, Rules
from pdp.service.check import Checks
from pdp.service.standing import Standing
from pdp.service.tasks import Tasks
from pdp.store.grants.memory import MemoryStore
from tests.pdp.identity.world import HOUR, NOW
from tests.pdp.service.desk import ASK, BUNDLE, GRANT, KEYS, NAMES, PLACE, TRUST, Desk
from tests.pdp.service.world import ListRecorder

MANY = 100_000
OPS = Caller("spiffe://dev.test/ops", operator=True)


class Installation:
    """The service over a store in memory, and checks beside it: as a server has them in one process."""

    def __init__(self, grants: int) -> None:
        self.store = MemoryStore()
        self.policy = Policy(BUNDLE, "desk", DecisionCache(1000, 60_000_000, Lock()))
        self.snapshot = Snapshot(self.policy, Desk().data.world)
        self.tasks = Tasks(Book(self.store, self._swap), ListRecorder(), Rules(NAMES.audience, "prod", freshness_us=HOUR))
        for first in range(0, grants, 10_000):
            self.store.commit([Put(self.grant(n), 0) for n in range(first, min(first + 10_000, grants))])
        self.tasks.confirm(NOW)
        self.checks = Checks(Decider(), ShownVerifier(Verifier(NAMES.issuer)), Handles(NAMES))

    @staticmethod
    def grant(number: int) -> Grant:
        return replace(GRANT, id=f"grant-{number:020d}", task=f"task-{number:020d}", revision=0)

    def _swap(self, change) -> None:  # type: ignore[no-untyped-def]
        self.snapshot = Snapshot(self.policy, self.snapshot.world, change(self.snapshot.revoked))

    def moment(self) -> Moment:
        return Moment(NOW, self.snapshot, lambda: "unused")

    def check(self, number: int) -> Decision:
        standing = Standing(self.snapshot, TRUST, self.tasks.book.index, KEYS, {}, HOUR)
        ask = ASK._replace(grant=make_handle(self.grant(number), NAMES, KEYS, NOW))
        return self.checks.check(standing, ask, PLACE, NOW).decision


@pytest.fixture(scope="module")
def installation() -> Installation:
    return Installation(MANY)


def test_one_revocation_among_many(installation: Installation) -> None:
    others = (0, 1, 49_999, 99_999)
    assert all(installation.check(n).allowed for n in (*others, 50_000))
    cache = installation.policy.cache
    assert cache is not None
    entries, misses, hits = len(cache), cache.stats.misses, cache.stats.hits
    ended = installation.tasks.revoke(installation.moment(), OPS, "grant", installation.grant(50_000).id, "a test")
    assert [each.id for each in ended] == [installation.grant(50_000).id]
    assert installation.check(50_000).reason == "task_ended"
    assert all(installation.check(n).allowed for n in others)
    assert (len(cache), cache.stats.misses) == (entries, misses)  # nothing was flushed
    assert cache.stats.hits >= hits + len(others)
    assert sum(1 for _ in installation.tasks.book.index.living()) == MANY - 1


def test_a_task_and_a_workload_among_many(installation: Installation) -> None:
    tasks = installation.tasks
    tasks.revoke(installation.moment(), OPS, "task", installation.grant(7).task, "a test")
    assert (installation.check(7).reason, installation.check(8).reason) == ("task_ended", "allowed")
    tasks.end(installation.moment(), Caller(GRANT.opener), installation.grant(9).id)
    assert (installation.check(9).reason, installation.check(8).reason) == ("task_ended", "allowed")


def test_revocations_are_all_that_a_snapshot_changes(installation: Installation) -> None:
    before = installation.snapshot
    installation.tasks.end(installation.moment(), Caller(GRANT.opener), installation.grant(11).id)
    after = installation.snapshot
    assert after.policy is before.policy
    assert after.world is before.world
    assert after.revoked is not Revocations()
    assert installation.check(12).allowed
