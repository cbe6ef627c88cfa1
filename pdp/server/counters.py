"""What is counted, as plain numbers that are read when somebody asks. A call pays for two additions and a bisection.

Everything here is touched by the loop of one process, so nothing is locked; what another thread reads may be a call old.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

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


class Counters:
    """The figures of one process."""

    def __init__(self) -> None:
        self.calls: dict[tuple[str, str], Histogram] = defaultdict(Histogram)  # (method, code): "ok", or an edge code
        self.decisions: dict[tuple[str, str, bool], Histogram] = defaultdict(Histogram)  # (outcome, reason, from cache)
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
        self.decisions[outcome, reason, from_cache].add(ns)

    def gauge(self, name: str, says: str, read: Callable[[], float]) -> None:
        """A figure that is read when it is asked for; `pdp_` is put before its name."""
        self._gauges[name] = says, read

    def gauges(self) -> Iterator[tuple[str, str, float]]:
        for name, (says, read) in list(self._gauges.items()):
            try:
                yield name, says, float(read())
            except Exception:  # noqa: BLE001, S112  # a figure that cannot be told is left out
                continue
