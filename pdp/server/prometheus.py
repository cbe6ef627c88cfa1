"""Figures as Prometheus reads them. What several processes counted is added up; what each has is told for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pdp.server.counters import BUCKETS_S, Counters

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Names are stable: dashboards and alarms lean on them. Gauges of `parts.py` have a `pdp_` before their names.
CALLS, DECISIONS = "pdp_call_seconds", "pdp_decision_seconds"

_SAYS = {
    CALLS: "how long calls took, by method and by the code that they ended with",
    DECISIONS: "how long decisions took, by outcome, reason, and whether the answer was remembered",
}


def figures_of(counters: Counters) -> dict[str, Any]:
    """What a process counted, as JSON can say it."""
    return {
        CALLS: [[{"method": m, "code": c}, h.counts, h.sum_ns] for (m, c), h in counters.calls.read()],
        DECISIONS: [
            [{"outcome": o, "reason": r, "cache": "hit" if hit else "miss"}, h.counts, h.sum_ns]
            for (o, r, hit), h in counters.decisions.read()
        ],
        "gauges": list(counters.gauges()),
    }


def prometheus_text(by_worker: Mapping[int, Mapping[str, Any]], workers: int) -> str:
    lines: list[str] = []
    lines += ["# HELP pdp_worker_up whether a process answers", "# TYPE pdp_worker_up gauge"]
    lines += [f'pdp_worker_up{{worker="{number}"}} {int(number in by_worker)}' for number in range(workers)]
    for name, says in _SAYS.items():
        lines += [f"# HELP {name} {says}", f"# TYPE {name} histogram"]
        lines += _histograms(name, (row for figures in by_worker.values() for row in figures[name]))
    gauges: dict[str, list[str]] = {}
    for number, figures in sorted(by_worker.items()):
        for name, says, value in figures["gauges"]:
            told = gauges.setdefault(name, [f"# HELP pdp_{name} {says}", f"# TYPE pdp_{name} gauge"])
            told.append(f'pdp_{name}{{worker="{number}"}} {_number(value)}')
    return "\n".join([*lines, *(line for told in gauges.values() for line in told), ""])


def _histograms(name: str, rows: Iterable[Any]) -> Iterable[str]:
    added: dict[str, tuple[list[int], int]] = {}
    for labels, counts, sum_ns in rows:
        key = ",".join(f'{k}="{_escaped(v)}"' for k, v in labels.items())
        before, sum_before = added.get(key, ([0] * len(counts), 0))
        added[key] = [a + b for a, b in zip(before, counts, strict=True)], sum_before + sum_ns
    for key, (counts, sum_ns) in sorted(added.items()):
        total = 0
        for bound, count in zip((*map(_number, BUCKETS_S), "+Inf"), counts, strict=True):
            total += count
            yield f'{name}_bucket{{{key},le="{bound}"}} {total}'
        yield f"{name}_sum{{{key}}} {sum_ns / 1e9:.9f}"
        yield f"{name}_count{{{key}}} {total}"


def _number(value: float) -> str:
    return "+Inf" if value == float("inf") else f"{value:.12g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
