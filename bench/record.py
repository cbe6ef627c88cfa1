"""What the decision record costs: `python -m bench.record`.

Twenty thousand decisions a second, twenty of them every millisecond as a server would meet them, with a record and
without, in turns; each check is timed by itself, with the offer to the record in it. Then how fast the writer is when it
alone is the limit, and how fast a record is verified. The files are on the disk where the temporary folder is.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import pdp
from bench.apps import APPS, our_entities
from bench.report import Detail, Figure, Report, finish, number
from bench.timing import Spread, median, seconds, settle_heap, spread, time_each
from language import Directory, Inputs, Source, assemble, compile_policies
from pdp.record.verify import verify
from pdp.store.record_files import RecordFiles, RecordSettings
from pdp.store.record_keys import open_keys
from pdp.store.record_reader import find_segments, read_lines

RATE_PER_S = 20_000
BURST_S = 0.001
ADDED_GOAL, OFFER_GOAL_US = 1.10, 2.0
WRITE_GOAL_US, VERIFY_GOAL_US = 1e6 / RATE_PER_S, 10.0

#: A question with what the engine has at hand when it answers it.
Case = tuple[pdp.Request, Inputs]


class Subject:
    """The application gdrive, 50 of a type, with its requests as the engine meets them."""

    def __init__(self) -> None:
        app = APPS[0]
        store = app.store(50, 1)
        self.bundle = compile_policies([Source("app.policy", app.policy_text)])
        directory = Directory(self.bundle.vocabulary)
        directory.upsert(our_entities(store))
        self.engine = pdp.Engine(self.bundle, directory)
        leaves = self.bundle.leaves
        requests = [pdp.Request(a.action, a.resource, user=("User", a.user)) for a in store.asks]
        self.cases: list[Case] = [
            (r, assemble(directory.world, r.data(), 1, lambda a, t: leaves[a, t].footprint)) for r in requests
        ]

    def plain(self, request: pdp.Request, inputs: Inputs) -> None:
        self.engine.check(request)

    def recorded(self, record: RecordFiles) -> Callable[[pdp.Request, Inputs], None]:
        check, bundle, decided = self.engine.check, self.bundle, record.decided

        def ask(request: pdp.Request, inputs: Inputs) -> None:
            decided(request, check(request), 1_767_258_000_000_000, 16_000, bundle, inputs)

        return ask


def measure(*, quick: bool = False) -> Report:
    subject = Subject()
    rounds, span_s = (3, 1.0) if quick else (9, 4.0)
    without, with_, ratios, lost, late = _paced_rounds(subject, rounds, span_s)
    offer = _offer(subject, 2 if quick else 20)
    written_us, verified_us, size = _write_alone(subject, 20_000 if quick else 200_000)
    head = ("", "check p50", "p99", "p99.9", "checks")
    rows = [_row("without a record", without), _row("with a record", with_)]
    note = (
        f"Microseconds; {RATE_PER_S:,} a second, {int(RATE_PER_S * BURST_S)} every {BURST_S * 1000:g} ms; {rounds} rounds "
        f"of each in turns; entries lost: {lost}. How late a burst began, p99: {number(late[0])} without, "
        f"{number(late[1])} with. An entry is "
        f"{size:.0f} bytes, with what is needed to decide it again."
    )
    figures = (
        Figure("record: p99 of a check at 20,000/s, beside none", median(ratios), "x", ADDED_GOAL),
        Figure("record: an offer, p50", offer.p50, "us", OFFER_GOAL_US),
        Figure("record: an entry written, nothing else running", written_us, "us", WRITE_GOAL_US),
        Figure("record: an entry verified", verified_us, "us", VERIFY_GOAL_US),
    )
    failures = (f"record: {lost} entries were lost at {RATE_PER_S:,} a second",) if lost else ()
    return Report(figures, (Detail("The decision record", head, tuple(rows), note),), failures=failures)


def _row(name: str, found: Spread) -> tuple[str, ...]:
    return name, number(found.p50), number(found.p99), number(found.p999), f"{found.count:,}"


@contextmanager
def _record(**settings: Any) -> Iterator[tuple[RecordFiles, Path, dict[str, bytes]]]:
    with tempfile.TemporaryDirectory() as base:
        keys = open_keys(Path(base) / "keys")
        record = RecordFiles(Path(base) / "log", keys, RecordSettings(queue_bytes=10**12, **settings))
        try:
            yield record, Path(base) / "log", {keys.id: keys.public}
        finally:
            record.close()


def _paced_rounds(
    subject: Subject, rounds: int, span_s: float
) -> tuple[Spread, Spread, list[float], int, tuple[float, float]]:
    """Both ways in turns, so that what else the machine does meets both."""
    every: tuple[array[int], array[int]] = (array("q"), array("q"))
    late: tuple[array[int], array[int]] = (array("q"), array("q"))
    ratios, lost = [], 0
    settle_heap()
    for _ in range(rounds):
        plain = _paced(subject.plain, subject.cases, span_s, late[0])
        with _record() as (record, _, _):
            recorded = _paced(subject.recorded(record), subject.cases, span_s, late[1])
            record.flush(60)
            lost += record.lost
        every[0].extend(plain)
        every[1].extend(recorded)
        ratios.append(spread(recorded).p99 / spread(plain).p99)
    return spread(every[0]), spread(every[1]), ratios, lost, (spread(late[0]).p99, spread(late[1]).p99)


def _paced(ask: Callable[[pdp.Request, Inputs], None], cases: Sequence[Case], span_s: float, late: array[int]) -> array[int]:
    """Nanoseconds of each call. Between bursts the thread sleeps, as one does that waits for a socket."""
    took = array("q")
    burst, position = int(RATE_PER_S * BURST_S), 0
    start = perf_counter_ns()
    for number_ in range(int(span_s / BURST_S)):
        due = start + int(number_ * BURST_S * 1e9)
        while (left := due - perf_counter_ns()) > 0:
            time.sleep(left / 1e9)
        late.append(perf_counter_ns() - due)
        for _ in range(burst):
            request, inputs = cases[position % len(cases)]
            position += 1
            before = perf_counter_ns()
            ask(request, inputs)
            took.append(perf_counter_ns() - before)
    return took


def _offer(subject: Subject, passes: int) -> Spread:
    """An offer by itself, into a queue that holds them all."""
    decisions = [(r, subject.engine.check(r), i) for r, i in subject.cases]
    with _record(queue_max=10**7) as (record, _, _):
        calls = [(record.decided, (r, d, 1, 1, subject.bundle, i)) for r, d, i in decisions]
        return spread(time_each(calls, passes))


def _write_alone(subject: Subject, count: int) -> tuple[float, float, float]:
    """Microseconds an entry for the writer to empty a queue, and to verify what it wrote; bytes of an entry."""
    decisions = [(r, subject.engine.check(r), i) for r, i in subject.cases]
    with _record(queue_max=10**7) as (record, folder, keys):
        start = perf_counter_ns()
        for position in range(count):
            request, decision, inputs = decisions[position % len(decisions)]
            record.decided(request, decision, 1, 1, subject.bundle, inputs)
        record.flush(600)
        took = (perf_counter_ns() - start) / 1e9
        record.close()
        paths = find_segments(folder)
        times = []
        for _ in range(3):
            took_s, result = seconds(lambda: verify(((p.name, read_lines(p)) for p in paths), keys))
            assert result.ok, result.findings[:3]
            times.append(took_s / result.entries * 1e6)
        return took / count * 1e6, median(times), sum(os.path.getsize(p) for p in paths) / result.entries


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    finish(measure(**vars(parser.parse_args())))
