"""Ten thousand rules are reloaded while somebody asks: `python -m bench.reload`.

A thread asks a prepared request two thousand times a second, at moments fixed beforehand; another reloads. Each question
has two times: of the check itself, and from the moment at which it was due until it was answered, which counts what
the asking thread waited for the interpreter (a closed loop, or one that only times the check, would not see that). What is
usual is measured just before and just after in the same way. The same asking beside a thread that counts shows what CPython
does to any thread beside one that computes. The last row is a reload with a shorter switch interval of the interpreter.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns

import pdp
from bench.compile import RULES_PER_FILE, sources_of
from bench.plot import Line, Plot
from bench.report import Detail, Figure, Report, finish, number
from bench.timing import settle_heap, spread

FILES, QUICK_FILES = 100, 10
EVERY_NS, REST_S, BUSY_S = 500_000, 4.0, 3.0
SLOW_TIMES, SLOWEST_GOAL, SHARE_GOAL = 2.0, 1.0, 0.0
SHORT_INTERVAL_S = 0.000_1
BUCKET_S = 0.05

DOCUMENT = {
    "type": "Document",
    "id": "d",
    "parents": [["Folder", "folder-1"]],
    "attributes": {
        "tenant": "tenant-1", "owner": ["User", "u"], "stage": "final", "sensitivity": 1, "tags": ["export-1"],
    },
}  # fmt: skip
PEOPLE = (
    {"type": "Folder", "id": "folder-1", "attributes": {"tenant": "tenant-1"}},
    {"type": "Team", "id": "team-1"},
    {"type": "User", "id": "u", "attributes": {"level": 3, "clearance": 3}, "parents": [["Team", "team-1"]]},
)


@dataclass(slots=True)
class Asked:
    """Nanoseconds of every question: of the check itself, and since it was due."""

    check: array[int] = field(default_factory=lambda: array("q"))
    since_due: array[int] = field(default_factory=lambda: array("q"))
    took_s: float = 0.0


def measure(*, quick: bool = False) -> Report:
    files = QUICK_FILES if quick else FILES
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base)
        _write(folder, files, "tenant")
        engine = pdp.Engine.load(folder)
        engine.directory.replace(DOCUMENT, *PEOPLE)
        request = pdp.Request("read", ("Document", "d"), user=("User", "u"))
        assert engine.check(request).reason != "error"
        settle_heap()
        asker = Asker(engine, request)
        rest = asker.for_seconds(1.0 if quick else REST_S)
        _write(folder, 1, "one-file")
        one = asker.during(lambda: _reload(engine))
        _write(folder, files, "every-file")
        every = asker.during(lambda: _reload(engine))
        after = asker.for_seconds(1.0 if quick else REST_S)
        busy = asker.during(lambda: _count(1.0 if quick else BUSY_S))
        _write(folder, files, "again")
        before = sys.getswitchinterval()
        sys.setswitchinterval(SHORT_INTERVAL_S)
        short = asker.during(lambda: _reload(engine))
        sys.setswitchinterval(before)
    usual = Asked(rest.check + after.check, rest.since_due + after.since_due, rest.took_s + after.took_s)
    rules = f"{files * RULES_PER_FILE:,} rules"
    named = {
        "at rest, before and after": usual,
        f"one file of {files} changed, reloaded": one,
        "every file changed, reloaded": every,
        "beside a thread that counts": busy,
        f"reloaded, switching every {SHORT_INTERVAL_S * 1000:g} ms": short,
    }
    rows = tuple(row for name, asked in named.items() for row in _rows(name, asked, usual))
    head = ("", "time", "p50", "p99", "p99.9", "slowest", "over twice the usual p99", "questions", "lasted s")
    note = (
        f"Microseconds; a set of {rules} in {files} files, asked every {EVERY_NS / 1e6:g} ms. "
        f"The interpreter switches threads every {sys.getswitchinterval() * 1000:g} ms where nothing else is said."
    )
    figures = (*_figures(f"{rules} reloaded, the check itself", every.check, usual.check),
               *_figures(f"{rules} reloaded, since it was due", every.since_due, usual.since_due))  # fmt: skip
    return Report(figures, (Detail("Asked while rules are reloaded", head, rows, note),), plots=(_plot(rest, every, after),))


class Asker:
    """Asks at fixed moments, in the thread that calls it."""

    def __init__(self, engine: pdp.Engine, request: pdp.Request) -> None:
        self._check = engine.check
        self._request = request

    def for_seconds(self, span_s: float) -> Asked:
        ends = time.monotonic() + span_s
        return self._ask(lambda: time.monotonic() < ends)

    def during(self, work: Callable[[], None]) -> Asked:
        """While another thread does the work."""
        thread = threading.Thread(target=work)
        thread.start()
        asked = self._ask(thread.is_alive)
        thread.join()
        return asked

    def _ask(self, goes_on: Callable[[], bool]) -> Asked:
        asked, check, request, clock = Asked(), self._check, self._request, perf_counter_ns
        began = due = clock()
        while goes_on():
            due += EVERY_NS
            while (left := due - clock()) > 0:
                time.sleep(left / 1e9)
            start = clock()
            check(request)
            end = clock()
            asked.check.append(end - start)
            asked.since_due.append(end - due)
        asked.took_s = (clock() - began) / 1e9
        return asked


def _reload(engine: pdp.Engine) -> None:
    before = engine.generation
    engine.reload()
    assert engine.generation != before


def _count(span_s: float) -> None:
    ends = time.monotonic() + span_s
    while time.monotonic() < ends:
        sum(range(1000))


def _write(folder: Path, files: int, word: str) -> None:
    """The vocabulary, and so many files of rules that ask for a tenant of this word."""
    for source in sources_of(files, RULES_PER_FILE):
        path = folder / source.path
        path.parent.mkdir(exist_ok=True)
        path.write_text(source.text.replace('"tenant-', f'"{word}-'))


def _figures(what: str, during: array[int], usual: array[int]) -> tuple[Figure, ...]:
    bound, found, rest = _slow_us(usual), spread(during), spread(usual)
    return (
        Figure(f"{what}: p50", found.p50, "us", None, "at rest", rest.p50),
        Figure(f"{what}: p99", found.p99, "us", None, "at rest", rest.p99),
        Figure(f"{what}: slowest, over twice the usual p99", max(during) / 1000 / bound, "x", SLOWEST_GOAL),
        Figure(f"{what}: share above twice the usual p99", _share(during, bound), "%", SHARE_GOAL, "at rest",
               _share(usual, bound)),
    )  # fmt: skip


def _slow_us(usual: array[int]) -> float:
    return SLOW_TIMES * spread(usual).p99


def _share(samples: array[int], bound_us: float) -> float:
    return 100 * sum(1 for s in samples if s > bound_us * 1000) / len(samples)


def _rows(name: str, asked: Asked, usual: Asked) -> list[tuple[str, ...]]:
    rows = []
    for time_of, samples, at_rest in (
        ("the check itself", asked.check, usual.check),
        ("since it was due", asked.since_due, usual.since_due),
    ):
        s = spread(samples)
        share = f"{_share(samples, _slow_us(at_rest)):.2f} %"
        numbers = map(number, (s.p50, s.p99, s.p999, max(samples) / 1000))
        rows.append((name, time_of, *numbers, share, f"{s.count:,}", f"{asked.took_s:.1f}"))
    return rows


def _plot(rest: Asked, during: Asked, after: Asked) -> Plot:
    """The slowest question in each twentieth of a second, over the three spans one after the other."""
    lines = []
    for name, way in (("since it was due", "since_due"), ("the check itself", "check")):
        points: list[tuple[float, float]] = []
        began = 0.0
        for asked in (rest, during, after):
            samples: array[int] = getattr(asked, way)
            buckets = max(1, int(asked.took_s / BUCKET_S))
            for n in range(buckets):
                part = samples[n * len(samples) // buckets : (n + 1) * len(samples) // buckets]
                if part:
                    points.append((began + n * asked.took_s / buckets, max(part) / 1000))
            began += asked.took_s
        lines.append(Line(name, tuple(points)))
    title = f"Slowest question in {BUCKET_S * 1000:g} ms; every file is reloaded from {rest.took_s:.0f} s to "
    return Plot(
        "reload", f"{title}{rest.took_s + during.took_s:.0f} s", "seconds", "microseconds", tuple(lines)
    )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the files, shorter spans")
    finish(measure(**vars(parser.parse_args())))
