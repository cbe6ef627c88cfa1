"""Time, measured so that a decision of less than a microsecond can be seen.

Every call is timed by itself with the nanosecond clock and kept; percentiles are exact. The collector stays on, as it is
in a service. What the clock itself takes is measured with the same loop around nothing.
"""

from __future__ import annotations

import gc
import math
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

#: A function and its arguments, ready before the clock starts.
Call = tuple[Callable[..., Any], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Spread:
    """What a set of samples says, in microseconds, the clock's own time included."""

    p50: float
    p99: float
    p999: float
    count: int


def time_each(calls: Sequence[Call], passes: int = 1, *, warm: bool = True) -> array[int]:
    """Nanoseconds of every call of every pass; one pass before them warms up and is not counted, unless `warm` is false.

    Who wants a collection calls `settle_heap` before: one just before the clock walks the whole heap and leaves cold caches.
    """
    if warm:
        for function, arguments in calls:
            function(*arguments)
    took = array("q")
    note = took.append
    clock = perf_counter_ns
    for _ in range(passes):
        for function, arguments in calls:
            start = clock()
            function(*arguments)
            end = clock()
            note(end - start)
    return took


def settle_heap() -> None:
    """What was built stays and what was left over goes, so that the collector finds little to do. It stays on."""
    gc.collect()


def clock_overhead_us(samples: int = 200_000) -> float:
    """The median of timing nothing."""
    took = array("q")
    note = took.append
    clock = perf_counter_ns
    for _ in range(samples):
        start = clock()
        end = clock()
        note(end - start)
    return spread(took).p50


def spread(samples_ns: Iterable[int]) -> Spread:
    ordered = sorted(samples_ns)
    p50, p99, p999 = (_nearest_rank(ordered, p) / 1000 for p in (0.5, 0.99, 0.999))
    return Spread(p50, p99, p999, len(ordered))


def median(values: Iterable[float]) -> float:
    return _nearest_rank(sorted(values), 0.5)


def _nearest_rank(ordered: Sequence[float], p: float) -> float:
    return ordered[max(0, math.ceil(p * len(ordered)) - 1)]


def seconds(function: Callable[[], Any]) -> tuple[float, Any]:
    """How long a long thing takes, and what it gives."""
    start = perf_counter_ns()
    result = function()
    return (perf_counter_ns() - start) / 1e9, result
