"""What a check costs in process when the answer is known: `python -m bench.engine`.

Five hundred requests of gdrive, 50 of a type, and one request of the ledger example in its task. `remembered by the request`
is a prepared `pdp.Request` that was asked before; `remembered by the engine` is a new `pdp.Request` with a question that was
asked before, so that it is understood anew and its decision found by its key; `in keywords` is the same without a
`pdp.Request`. All ways take turns, pass by pass, and `nothing` is the same loop around a function that does nothing. In a
plain loop the clock stands outside, around five hundred checks: what a program pays, without spread.
"""

from __future__ import annotations

import argparse
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import pdp
from bench.apps import APPS, Ask, our_entities
from bench.report import Detail, Figure, Report, finish, number
from bench.timing import Call, median, settle_heap, spread, time_each
from language import Directory, Source, compile_policies
from pdp.sdk.engine import EngineOptions

LEDGER = Path(__file__).resolve().parent.parent / "policies/examples/ledger"
HIT_GOAL_US = 0.6
HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Way:
    """`calls` makes what is called in one pass, before the clock; `warm` when it may be called before it is timed."""

    name: str
    calls: Callable[[], list[Call]]
    warm: bool = True


def measure(*, quick: bool = False) -> Report:
    ways = [*_gdrive(), *_ledger()]
    took: dict[str, array[int]] = {way.name: array("q") for way in ways}
    settle_heap()
    looped: dict[str, list[float]] = {way.name: [] for way in ways if way.warm}
    for _ in range(4 if quick else 40):
        for way in ways:
            calls = way.calls()
            took[way.name] += time_each(calls, warm=way.warm)
            if way.warm:
                looped[way.name].append(_in_a_loop(calls))
    found = {name: spread(samples) for name, samples in took.items()}
    hit, keywords, task = found["remembered by the request"], found["remembered, in keywords"], found["ledger: remembered"]
    loop = {name: median(each) for name, each in looped.items()}
    empty, in_loop = found["nothing"].p50, loop["remembered by the request"]
    figures = (
        Figure("remembered: check of a prepared request, p50", hit.p50, "us", HIT_GOAL_US, "an empty call", empty),
        Figure("remembered: the same in a task, p50", task.p50, "us", HIT_GOAL_US, "an empty call", empty),
        Figure("remembered: in a plain loop", in_loop, "us", HIT_GOAL_US, "an empty call", loop["nothing"]),
        Figure("remembered: what telling it in keywords adds, p50", keywords.p50 - hit.p50, "us"),
    )
    rows = []
    for name, s in found.items():
        in_loop = number(loop[name]) if name in loop else ""
        rows.append((name, number(s.p50), number(s.p99), number(s.p999), in_loop, f"{s.count:,}"))
    head = ("", "p50", "p99", "p99.9", "in a loop", "checks")
    note = "Microseconds, the clock's own included but in the loop; it is the row `nothing`, with an empty call."
    return Report(figures, (Detail("A check in process", head, tuple(rows), note),))


def _in_a_loop(calls: list[Call]) -> float:
    """Microseconds a call."""
    start = perf_counter_ns()
    for function, arguments in calls:
        function(*arguments)
    return (perf_counter_ns() - start) / 1000 / len(calls)


def _gdrive() -> list[Way]:
    app = next(a for a in APPS if a.name == "gdrive-fixed")
    store = app.store(50, 1)
    bundle = compile_policies([Source("gdrive.policy", app.policy_text)])
    directory = Directory(bundle.vocabulary)
    directory.upsert(our_entities(store))
    warm, cold = pdp.Engine(bundle, directory), pdp.Engine(bundle, directory, EngineOptions(cache_entries=0))
    for_warm, for_cold = [_request(a) for a in store.asks], [_request(a) for a in store.asks]
    told = [_keywords(a) for a in store.asks]
    return [
        Way("nothing", lambda: [(_nothing, ())] * len(store.asks)),
        Way("making the request", lambda: [(_request, (a,)) for a in store.asks]),
        Way("remembered by the request", lambda: [(warm.check, (r,)) for r in for_warm]),
        Way("remembered by the engine", lambda: [(warm.check, (_request(a),)) for a in store.asks], warm=False),
        Way("remembered, in keywords", lambda: [(_ask, (warm, k)) for k in told]),
        Way("not remembered, prepared", lambda: [(cold.check, (r,)) for r in for_cold]),
        Way("not remembered, new", lambda: [(cold.check, (_request(a),)) for a in store.asks], warm=False),
        Way("not remembered, in keywords", lambda: [(_ask, (cold, k)) for k in told]),
    ]


def _ledger() -> list[Way]:
    warm, cold = pdp.Engine.load(LEDGER), pdp.Engine.load(LEDGER, cache_entries=0)
    now = time.time_ns() // 1000
    task = pdp.Task("invoicing", "t1", {"tenant": "acme"}, now - 1, now + HOUR_US, ("key",))
    workload, resource = "spiffe://prod.acme/ns/billing/api", ("Table", "invoices")
    for_warm, for_cold = (pdp.Request("select", resource, workload, task=task) for _ in range(2))
    assert warm.check(for_warm).allowed
    return [
        Way("ledger: remembered", lambda: [(warm.check, (for_warm,))] * 500),
        Way("ledger: not remembered", lambda: [(cold.check, (for_cold,))] * 500),
    ]


def _nothing() -> None:
    pass


def _request(ask: Ask) -> pdp.Request:
    return pdp.Request(ask.action, ask.resource, user=("User", ask.user))


def _keywords(ask: Ask) -> dict[str, Any]:
    return {"action": ask.action, "resource": ask.resource, "user": ("User", ask.user)}


def _ask(engine: pdp.Engine, told: dict[str, Any]) -> pdp.Decision:
    return engine.check(**told)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer passes")
    finish(measure(**vars(parser.parse_args())))
