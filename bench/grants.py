"""Tasks and grants: what redeeming adds to a check, and what a step costs beside many grants: `python -m bench.grants`.

The store is in memory, so that this is the service alone; what a commit to disk costs is in `bench.handles`. After each end
the very next check of that grant is made, and must deny; the cache of decisions must be as full as before.
"""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bench.report import Detail, Figure, Report, finish, number
from bench.timing import clock_overhead_us, seconds, settle_heap, spread, time_each
from language import Directory, EntityData, RequestData, Source, compile_policies
from pdp.engine.cache import DecisionCache
from pdp.engine.decide import Decider
from pdp.engine.revocations import Revocations
from pdp.engine.snapshot import Policy, Snapshot
from pdp.grants import Bindings, Grant, Refused, Shown
from pdp.grants.store import Put
from pdp.record import Step
from pdp.service.book import Book
from pdp.service.caller import Caller, Moment, Rules
from pdp.service.giving import Child, Opening
from pdp.service.tasks import Tasks
from pdp.store.grants.memory import MemoryStore

POLICY = """language 1
entity Database
entity Table in Database { tenant: String }
action select on Table
task invoicing {
  carries  tenant: String
  opened by spiffe://prod.acme/ci
  who      spiffe://prod.acme/ns/*
  may      select on Table in Database "ledger"
  lasts    at most 15m
}
allow reads { who spiffe://prod.acme/ns/* do select on Table during invoicing proof key when resource.tenant == task.tenant }
"""
NOW = 1_790_000_000_000_000
CI, API, HELPER = (f"spiffe://prod.acme/{name}" for name in ("ci", "ns/api", "ns/helper"))
KEYS = ["A" * 42 + "A", "B" * 42 + "A"]


class Service:
    """The service over a store in memory, with a record that takes everything."""

    def __init__(self) -> None:
        bundle = compile_policies([Source("p.policy", POLICY)])
        self.cache = DecisionCache()
        self.policy, self.revoked = Policy(bundle, "bench", self.cache), Revocations()
        self.directory = Directory(bundle.vocabulary)
        self.directory.upsert(
            [
                EntityData("Database", "ledger"),
                EntityData("Table", "invoices", {"tenant": "acme"}, (("Database", "ledger"),)),
            ]
        )
        self.store = MemoryStore()
        self.tasks = Tasks(Book(self.store, self.swap), self, Rules("prod.acme"))  # type: ignore[arg-type]  # steps only
        self.tasks.confirm(NOW)
        self.decider = Decider()

    def swap(self, change: Callable[[Revocations], Revocations]) -> None:
        self.revoked = change(self.revoked)

    def stepped(self, step: Step) -> bool:
        return True

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot(self.policy, self.directory.world, self.revoked)

    def at(self) -> Moment:
        return Moment(NOW, self.snapshot, lambda: secrets.token_urlsafe(24))

    def open(self) -> Grant:
        ask = Opening("invoicing", API, {"tenant": "acme"}, binding=Bindings(key=KEYS[0]))
        return self.tasks.open(self.at(), Caller(CI), ask)

    def end(self, grant: Grant) -> Grant:
        return self.tasks.end(self.at(), Caller(CI), grant.id)

    def redeem(self, grant: Grant) -> Any:
        return self.tasks.redeem(grant.id, *_shown(grant), NOW, self.directory.world)

    def allows(self, grant: Grant) -> bool:
        shown, told = _shown(grant)
        snapshot = self.snapshot
        try:
            task = self.tasks.redeem(grant.id, shown, told, NOW, snapshot.world).task
        except Refused:
            return False
        return self.decider.decide_once(snapshot, told._replace(task=task), None, NOW).allowed


def _shown(grant: Grant) -> tuple[Shown, RequestData]:
    shown = Shown(grant.holder, key=grant.binding.key, audience="prod.acme")
    return shown, RequestData("select", EntityData("Table", "invoices"), workload=grant.holder)


def measure(*, quick: bool = False) -> Report:
    beside, steps = (10_000, 100) if quick else (100_000, 500)
    service = Service()
    root = service.open()
    child = service.tasks.delegate(
        service.at(), Caller(API, keys=frozenset({KEYS[0]})), root.id, Child(HELPER, Bindings(key=KEYS[1]))
    )
    many = [
        replace(root, id=f"many {i}", task=f"task {i}", holder=f"spiffe://prod.acme/ns/{i % 1000}") for i in range(beside)
    ]
    service.store.commit([Put(grant, 0) for grant in many])
    loaded, _ = seconds(lambda: service.tasks.confirm(NOW))
    settle_heap()
    rows = []
    for name, grant in (("a root", root), ("a child", child)):
        shown, told = _shown(grant)
        calls = [(service.tasks.redeem, (grant.id, shown, told, NOW, service.directory.world))] * 1000
        found = spread(time_each(calls, 20))
        rows.append((f"redeem {name}", number(found.p50), number(found.p99)))
    opened = spread(time_each([(service.open, ())] * steps))
    rows.append(("open a task", number(opened.p50), number(opened.p99)))
    entries = _demand_the_next_check_denies(service, many[steps:])
    ended = spread(_ends(service, many[:steps]))
    rows.append(("end a task", number(ended.p50), number(ended.p99)))
    note = (
        f"Beside {beside} active grants, read from the feed in {loaded:.2f} s. After {entries} ends the very next check "
        f"denied, and the cache lost nothing. The clock's own {clock_overhead_us():.2f} us included."
    )
    figures = (Figure("end of one task among many, until it is effective, p50", ended.p50, "us"),)
    return Report(figures, (Detail("Tasks and grants", ("step, us", "p50", "p99"), tuple(rows), note),))


def _demand_the_next_check_denies(service: Service, grants: list[Grant]) -> int:
    """Ends some grants one after the other, each checked just before and just after, with another that goes on."""
    kept, ends = service.open(), grants[:100]
    for grant in ends:
        if not service.allows(grant) or not service.allows(kept):
            raise SystemExit("an active grant was denied")
        before = len(service.cache)
        service.end(grant)
        if service.allows(grant):
            raise SystemExit("an ended grant was allowed")
        if len(service.cache) != before or not service.allows(kept):
            raise SystemExit("an end took something else with it")
    return len(ends)


def _ends(service: Service, grants: list[Grant]) -> Any:
    """Each ends once, so nothing warms up."""
    first, rest = grants[0], grants[1:]
    service.end(first)
    took: list[int] = []
    for grant in rest:
        spent, _ = seconds(lambda grant=grant: service.end(grant))  # type: ignore[misc]
        took.append(round(spent * 1e9))
    return took


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer grants")
    options = parser.parse_args()
    finish(measure(quick=options.quick))
