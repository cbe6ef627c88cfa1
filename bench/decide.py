"""Cedar's three OOPSLA applications, uncached, next to Cedar: `python -m bench.decide`.

Three of our calls. `function` is the compiled function with its arguments at hand. `check` is the public `Engine.check`
of an engine that remembers no decision, with a prepared request that it was asked before: it reads the clock, looks
whether policy, data and revocations are still those that the request was bound to, runs the function and numbers the
decision. `first` is the same call with a request that it never saw: it also conforms the request and looks up its
records. Cedar is called from Python with a parsed policy set, parsed entities and a prepared request; what its engine
says it took, in whole microseconds, comes with the same calls. The four take turns, pass by pass, on the same store. Every
decision of each is compared with Cedar's.
"""

from __future__ import annotations

import argparse
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any

import cedarpy

import pdp
from bench.apps import APPS, App, Ask, Store, cedar_entities, cedar_request, our_entities
from bench.plot import Line, Plot
from bench.report import Detail, Figure, Report, finish, number
from bench.timing import Call, Spread, clock_overhead_us, settle_heap, spread, time_each
from language import Bundle, Directory, EntityData, RequestData, Source, assemble, compile_policies
from pdp.sdk.engine import EngineOptions

SIZES = (5, 10, 20, 50, 100, 200)
QUICK_SIZES = (5, 50, 200)
GOAL_SIZE = 50
P99_GOAL_US = 3.0
TIMES_ENGINE, TIMES_CALL = 10, 40
PYTHON, RUST = "Cedar 4.12, its call from Python", "Cedar 4.12, inside its engine"


@dataclass(slots=True)
class Samples:
    """Nanoseconds of every timed call, over all stores of one application and size."""

    function: array[int] = field(default_factory=lambda: array("q"))
    check: array[int] = field(default_factory=lambda: array("q"))
    first: array[int] = field(default_factory=lambda: array("q"))
    cedar: array[int] = field(default_factory=lambda: array("q"))
    cedar_engine: array[int] = field(default_factory=lambda: array("q"))
    allowed: int = 0
    asked: int = 0
    mismatches: list[str] = field(default_factory=list)

    @property
    def allow_rate(self) -> float:
        return self.allowed / self.asked


@dataclass(frozen=True, slots=True)
class Subject:
    """One store, ready to be asked in every way."""

    asks: tuple[Ask, ...]
    engine: pdp.Engine
    functions: list[Call]
    checks: list[Call]
    cedars: list[Call]


def measure(*, quick: bool = False) -> Report:
    stores, passes = (2, 2) if quick else (10, 4)
    sizes = QUICK_SIZES if quick else SIZES
    found = {(a.name, size): _samples(a, size, stores, passes) for a in APPS for size in sizes}
    figures = [f for app in APPS for f in _figures(app.name, found[app.name, GOAL_SIZE])]
    mismatches = [m for samples in found.values() for m in samples.mismatches]
    plots = tuple(_plot(app, {n: s for (a, n), s in found.items() if a == app.name}) for app in APPS)
    return Report(tuple(figures), (_detail(found, stores, passes),), tuple(mismatches), plots=plots)


def _samples(app: App, size: int, stores: int, passes: int) -> Samples:
    bundle = compile_policies([Source(f"{app.policies}.policy", app.policy_text)])
    policies = cedarpy.PolicySet.from_str(app.cedar_text)
    samples = Samples()
    for seed in range(stores):
        subject = _prepare(app, app.store(size, seed), bundle, policies)
        _compare(app, subject, bundle, samples)
        settle_heap()
        for _ in range(passes):
            samples.function += time_each(subject.functions)
            samples.check += time_each(subject.checks)
            samples.first += time_each([(subject.engine.check, (_request(a),)) for a in subject.asks], warm=False)
            _time_cedar(subject.cedars, samples)
    return samples


def _prepare(app: App, store: Store, bundle: Bundle, policies: cedarpy.PolicySet) -> Subject:
    directory = Directory(bundle.vocabulary)
    directory.upsert(our_entities(store))
    engine = pdp.Engine(bundle, directory, EngineOptions(cache_entries=0))
    entities = cedarpy.Entities.from_json_str(cedar_entities(app, store))
    return Subject(
        store.asks,
        engine,
        [_function(bundle, directory, ask) for ask in store.asks],
        [(engine.check, (_request(a),)) for a in store.asks],
        [(cedarpy.is_authorized, (cedar_request(a), policies, entities)) for a in store.asks],
    )


def _request(ask: Ask) -> pdp.Request:
    return pdp.Request(ask.action, ask.resource, user=("User", ask.user))


def _function(bundle: Bundle, directory: Directory, ask: Ask) -> Call:
    resource, user = EntityData(*ask.resource, {}, ()), EntityData("User", ask.user, {}, ())
    leaf = bundle.leaves[ask.action, ask.resource[0]]
    inputs = assemble(directory.world, RequestData(ask.action, resource, user=user), 0, lambda *_: leaf.footprint)
    return leaf.function, tuple(leaf.arguments(inputs))


def _compare(app: App, subject: Subject, bundle: Bundle, samples: Samples) -> None:
    """Each request is answered by the function, by a first check, by a check again and by Cedar: the answers are one."""
    ways = (subject.functions, subject.checks, subject.checks, subject.cedars)
    for ask, answers in zip(subject.asks, zip(*map(_answers, ways), strict=True), strict=True):
        rule, first, again, cedar = answers
        ours = (bundle.outcomes[rule].allowed, first.allowed, again.allowed)
        samples.asked += 1
        samples.allowed += cedar.allowed
        if cedar.diagnostics.errors:
            samples.mismatches.append(f"{app.name}: {ask}: Cedar errs: {cedar.diagnostics.errors}")
        if any(allowed is not cedar.allowed for allowed in ours):
            samples.mismatches.append(f"{app.name}: {ask}: function, first, check say {ours}, Cedar {cedar.allowed}")


def _answers(calls: list[Call]) -> Iterator[Any]:
    return (function(*arguments) for function, arguments in calls)


def _time_cedar(calls: Sequence[Call], samples: Samples) -> None:
    """A pass to warm up, as for ours; then each call with what its engine says of itself."""
    for _ in _answers(list(calls)):
        pass
    for function, arguments in calls:
        start = perf_counter_ns()
        answer = function(*arguments)
        samples.cedar.append(perf_counter_ns() - start)
        samples.cedar_engine.append(answer.metrics["authz_duration_micros"] * 1000)


def _figures(app: str, samples: Samples) -> list[Figure]:
    function, check = spread(samples.function), spread(samples.check)
    call, engine = spread(samples.cedar), spread(samples.cedar_engine)
    name = f"{app}, {GOAL_SIZE} of a type"
    return [
        Figure(f"{name}: function, p50", function.p50, "us", None, RUST, engine.p50, TIMES_ENGINE),
        Figure(f"{name}: check, p50", check.p50, "us", None, RUST, engine.p50, TIMES_ENGINE),
        Figure(f"{name}: check, p50", check.p50, "us", None, PYTHON, call.p50, TIMES_CALL),
        Figure(f"{name}: check, p99", check.p99, "us", P99_GOAL_US, RUST, engine.p99),
        Figure(f"{name}: first check, p50", spread(samples.first).p50, "us", None, PYTHON, call.p50),
    ]


def _detail(found: dict[tuple[str, int], Samples], stores: int, passes: int) -> Detail:
    published = {a.name: a.published or {} for a in APPS}
    head = ("application", "N", "function p50", "p99", "p99.9", "check p50", "p99", "p99.9", "first p50", "p99", "p99.9",
            "Cedar's engine p50", "p99", "p99.9", "Cedar's call p50", "p99", "p99.9", "allowed", "published")  # fmt: skip
    rows = []
    for (app, size), s in found.items():
        theirs = published[app].get(size)
        ways = (s.function, s.check, s.first, s.cedar_engine, s.cedar)
        rows.append((
            app, str(size), *[text for each in ways for text in _three(spread(each))],
            f"{s.allow_rate:.3f}", f"{theirs:.3f}" if theirs is not None else "",
        ))  # fmt: skip
    note = (
        f"Microseconds, the clock's own {clock_overhead_us():.3f} included; {stores} stores of 500 requests, {passes} "
        "passes over each, all ways by turns. Cedar tells its engine's time in whole microseconds."
    )
    return Detail("Decisions of the OOPSLA applications, nothing remembered", head, tuple(rows), note)


def _three(of: Spread) -> tuple[str, str, str]:
    return number(of.p50), number(of.p99), number(of.p999)


def _plot(app: App, by_size: dict[int, Samples]) -> Plot:
    def line(name: str, way: str, dashed: bool = False) -> Line:
        return Line(name, tuple((n, spread(getattr(s, way)).p50) for n, s in by_size.items()), dashed)

    return Plot(
        f"entities-{app.name}",
        f"{app.name}: p50 of a decision by number of entities, nothing remembered",
        "entities of a type",
        "microseconds",
        (
            line("Cedar's call", "cedar", True),
            line("Cedar's engine", "cedar_engine", True),
            line("our first check", "first"),
            line("our check", "check"),
            line("our function", "function"),
        ),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer sizes, stores and passes")
    finish(measure(**vars(parser.parse_args())))
