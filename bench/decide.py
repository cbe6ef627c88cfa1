"""The decision function of the three OOPSLA applications, uncached, next to Cedar: `python -m bench.decide`.

For every request three of our calls, each with its inputs made before the clock: the compiled function itself,
`Bundle.decide` (which picks the function and its arguments and words the result) and `Engine.check` (which also conforms
the request and looks up its records). Cedar is called from Python with a parsed policy set and parsed entities; what its
engine says it took, in whole microseconds, stands beside. Every decision is compared with Cedar's.
"""

from __future__ import annotations

import argparse
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import cedarpy
from pdp.engine.engine import Snapshot

import pdp
from bench.apps import APPS, App, Ask, Store, cedar_entities, cedar_request, our_entities
from bench.report import Detail, Figure, Report, finish, number
from bench.timing import Call, Spread, clock_overhead_us, settle_heap, spread, time_each
from language import Bundle, Directory, EntityData, RequestData, Source, assemble, compile_policies
from pdp.sdk.engine import Engine

SIZES = (5, 20, 50)
FUNCTION_GOAL_US = 1.2
P99_GOAL_US = 3.0
TIMES_ENGINE, TIMES_CALL = 10, 40


@dataclass(slots=True)
class Samples:
    """Nanoseconds of every timed call, over all stores of one application and size."""

    function: array[int] = field(default_factory=lambda: array("q"))
    decide: array[int] = field(default_factory=lambda: array("q"))
    check: array[int] = field(default_factory=lambda: array("q"))
    cedar: array[int] = field(default_factory=lambda: array("q"))
    cedar_engine: array[int] = field(default_factory=lambda: array("q"))
    allowed: int = 0
    asked: int = 0
    mismatches: list[str] = field(default_factory=list)

    @property
    def allow_rate(self) -> float:
        return self.allowed / self.asked


def measure(*, quick: bool = False, big: bool = False) -> Report:
    stores, passes = (2, 2) if quick else (10, 5)
    sizes = (*SIZES, 200) if big else SIZES
    found = {(a.name, size): _samples(a, size, stores, passes) for a in APPS for size in sizes}
    figures = [f for app in APPS for f in _figures(app.name, found[app.name, 50])]
    mismatches = [m for samples in found.values() for m in samples.mismatches]
    return Report(tuple(figures), (_detail(found, stores, passes),), tuple(mismatches))


def _samples(app: App, size: int, stores: int, passes: int) -> Samples:
    bundle = compile_policies([Source(f"{app.policies}.policy", app.policy_text)])
    policies = cedarpy.PolicySet.from_str(app.cedar_text)
    samples = Samples()
    for seed in range(stores):
        _measure_store(app, app.store(size, seed), bundle, policies, passes, samples)
    return samples


def _measure_store(
    app: App, store: Store, bundle: Bundle, policies: cedarpy.PolicySet, passes: int, samples: Samples
) -> None:
    directory = Directory(bundle.vocabulary)
    directory.upsert(our_entities(store))
    engine = Engine(Snapshot(bundle, directory))
    prepared = [_prepare(bundle, directory, ask) for ask in store.asks]
    functions: list[Call] = [function for function, _ in prepared]
    decides: list[Call] = [decide for _, decide in prepared]
    checks: list[Call] = [
        (engine.check, (pdp.Request(action=a.action, resource=a.resource, user=("User", a.user)),)) for a in store.asks
    ]
    entities = cedarpy.Entities.from_json_str(cedar_entities(app, store))
    cedars: list[Call] = [(cedarpy.is_authorized, (cedar_request(a), policies, entities)) for a in store.asks]
    _compare(app, store.asks, bundle, (functions, decides, checks, cedars), samples)
    settle_heap()
    samples.function += time_each(functions, passes)
    samples.decide += time_each(decides, passes)
    samples.check += time_each(checks, passes)
    samples.cedar += time_each(cedars)
    samples.cedar_engine.extend(_engine_ns(cedars))


def _prepare(bundle: Bundle, directory: Directory, ask: Ask) -> tuple[Call, Call]:
    """The compiled function and `Bundle.decide`, with what each takes."""
    resource, user = EntityData(*ask.resource, {}, ()), EntityData("User", ask.user, {}, ())
    leaf = bundle.leaves[ask.action, ask.resource[0]]
    inputs = assemble(directory.world, RequestData(ask.action, resource, user=user), 0, lambda *_: leaf.footprint)
    return (leaf.function, tuple(leaf.arguments(inputs))), (bundle.decide, (ask.action, ask.resource[0], inputs))


def _compare(app: App, asks: Sequence[Ask], bundle: Bundle, calls: tuple[list[Call], ...], samples: Samples) -> None:
    """Four answers to each request, and they are one."""
    for ask, answers in zip(asks, zip(*[_answers(c) for c in calls], strict=True), strict=True):
        rule, decided, checked, cedar = answers
        ours = (bundle.outcomes[rule].allowed, decided.outcome.allowed, checked.allowed)
        samples.asked += 1
        samples.allowed += cedar.allowed
        if cedar.diagnostics.errors:
            samples.mismatches.append(f"{app.name}: {ask}: Cedar errs: {cedar.diagnostics.errors}")
        if any(allowed is not cedar.allowed for allowed in ours):
            samples.mismatches.append(f"{app.name}: {ask}: function, decide, check say {ours}, Cedar {cedar.allowed}")


def _answers(calls: list[Call]) -> Iterator[Any]:
    return (function(*arguments) for function, arguments in calls)


def _engine_ns(cedars: list[Call]) -> Iterator[int]:
    return (answer.metrics["authz_duration_micros"] * 1000 for answer in _answers(cedars))


def _figures(app: str, samples: Samples) -> list[Figure]:
    function, call, engine = spread(samples.function), spread(samples.cedar), spread(samples.cedar_engine)
    name = f"{app}, 50 of a type"
    python, rust = "Cedar 4.12, its call from Python", "Cedar 4.12, inside its engine"
    return [
        Figure(f"{name}: p50", function.p50, "us", FUNCTION_GOAL_US, python, call.p50, TIMES_CALL),
        Figure(f"{name}: p50", function.p50, "us", None, rust, engine.p50, TIMES_ENGINE),
        Figure(f"{name}: p99", function.p99, "us", P99_GOAL_US, rust, engine.p99),
    ]


def _detail(found: dict[tuple[str, int], Samples], stores: int, passes: int) -> Detail:
    published = {a.name: a.published or {} for a in APPS}
    head = ("application", "N", "function p50", "p99", "p99.9", "decide p50", "check p50", "p99",
            "Cedar's engine p50", "p99", "Cedar's call p50", "p99", "allowed", "published")  # fmt: skip
    rows = []
    for (app, size), samples in found.items():
        theirs = published[app].get(size)
        rows.append((
            app, str(size), *_three(spread(samples.function)), number(spread(samples.decide).p50),
            *_two(spread(samples.check)), *_two(spread(samples.cedar_engine)), *_two(spread(samples.cedar)),
            f"{samples.allow_rate:.3f}", f"{theirs:.3f}" if theirs is not None else "",
        ))  # fmt: skip
    note = (
        f"Microseconds, the clock's own {clock_overhead_us():.3f} included; {stores} stores of 500 requests, {passes} "
        "passes for ours, one for Cedar. Cedar tells its engine's time in whole microseconds."
    )
    return Detail("Decisions of the OOPSLA applications", head, tuple(rows), note)


def _two(of: Spread) -> tuple[str, str]:
    return number(of.p50), number(of.p99)


def _three(of: Spread) -> tuple[str, str, str]:
    return number(of.p50), number(of.p99), number(of.p999)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer stores and passes")
    parser.add_argument("--big", action="store_true", help="200 entities of a type, too")
    finish(measure(**vars(parser.parse_args())))
