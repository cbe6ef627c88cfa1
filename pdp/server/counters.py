"""What is counted, as plain numbers that are read when somebody asks. A call pays for two additions and a bisection.

Several threads count, so histograms have a lock. What is of calls in work is touched with the lock of the calls, and what is
of streams by the loop alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Generic, TypeVar

from pdp.server.shares import Shares

#: Upper bounds of a latency histogram, in seconds; one more bucket is for everything above.
BUCKETS_S = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_BUCKETS_NS = tuple(int(s * 1e9) for s in BUCKETS_S)


@dataclass(slots=True)
class Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    sum_ns: int = 0

    def add(self, ns: int) -> None:
        self.counts[bisect_left(_BUCKETS_NS, ns)] += 1
        self.sum_ns += ns


Key = TypeVar("Key", bound=Hashable)


class Histograms(Generic[Key]):
    """By key. No thread loses what another one adds, and what is read is of one moment."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._by_key: dict[Key, Histogram] = defaultdict(Histogram)

    def add(self, key: Key, ns: int) -> None:
        with self._lock:
            self._by_key[key].add(ns)

    def read(self) -> list[tuple[Key, Histogram]]:
        with self._lock:
            return [(key, replace(each, counts=list(each.counts))) for key, each in self._by_key.items()]


class Counters:
    """The figures of one process."""

    def __init__(self) -> None:
        self.calls: Histograms[tuple[str, str]] = Histograms()  # (method, code): "ok", or an edge code
        self.decisions: Histograms[tuple[str, str, bool]] = Histograms()  # (outcome, reason, from cache)
        self.in_work = Shares()
        self.bytes = Shares()  # of requests in work, and of answers that are not sent
        self.waiting = Shares()
        self.computing = Shares()
        self.streams = 0
        self.streams_for_all = 0  # of methods that need no role
        self.streams_of: Counter[tuple[str, bool]] = Counter()  # by caller, and whether they are for all
        self.computing_of: Counter[str] = Counter()  # of those, streams of questions
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}

    def decided(self, outcome: str, reason: str, from_cache: bool, ns: int) -> None:
        """What a handler that decides tells: `allow` or `deny`, the reason code, whether it was remembered."""
        self.decisions.add((outcome, reason, from_cache), ns)

    def gauge(self, name: str, says: str, read: Callable[[], float]) -> None:
        """A figure that is read when it is asked for; `pdp_` is put before its name."""
        self._gauges[name] = says, read

    def gauges(self) -> Iterator[tuple[str, str, float]]:
        for name, (says, read) in list(self._gauges.items()):
            try:
                yield name, says, float(read())
            except Exception:  # noqa: BLE001, S112  # a figure that cannot be told is left out
                continue
