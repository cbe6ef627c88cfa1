"""What was measured, as figures that can be compared with a goal, and as tables to read."""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.plot import Plot, svg


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table of goals: ours is at most `goal`, and the peer's at least `times` ours."""

    what: str
    ours: float
    unit: str  # us, s, MiB, %, or x for a growth
    goal: float | None = None
    peer: str = ""
    peers: float | None = None
    times: float | None = None

    @property
    def ratio(self) -> float | None:
        return None if self.peers is None or not self.ours else self.peers / self.ours

    @property
    def margin(self) -> float:
        """How far inside its goals it is; below 1 one is missed."""
        margins = [] if self.goal is None or not self.ours else [self.goal / self.ours]
        if self.times is not None and self.ratio is not None:
            margins.append(self.ratio / self.times)
        return min(margins, default=math.inf)

    @property
    def goals(self) -> str:
        at_most = [f"<= {self.goal:g} {self.unit}"] if self.goal is not None else []
        return ", ".join([*at_most, *([f"{self.times:g} times"] if self.times is not None else [])])

    @property
    def verdict(self) -> str:
        if not self.goals:
            return "no goal"
        if self.margin >= 1:
            return "met" if self.margin == math.inf else f"met, {self.margin:.1f} times over"
        return f"**missed** by {1 / self.margin:.2f} times" if self.margin else "**missed**"


@dataclass(frozen=True, slots=True)
class Detail:
    """A table of its own, for whoever wants to know more."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    figures: tuple[Figure, ...]
    details: tuple[Detail, ...]
    mismatches: tuple[str, ...] = ()  # decisions in which a peer and we differ: evidence against the whole report
    failures: tuple[str, ...] = ()  # benchmarks that did not come to an end
    plots: tuple[Plot, ...] = ()


def number(value: float) -> str:
    """Three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns stand straight in a terminal, too."""
    every = [tuple(head), *[tuple(r) for r in rows]]
    widths = [max(len(r[i]) for r in every) for i in range(len(head))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) + " |" for r in every]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def show(report: Report) -> str:
    parts = []
    if report.figures:
        head = ("what", "ours", "peer", "peer's", "ratio", "goal", "")
        parts.append(table(head, [_figure_row(f) for f in report.figures]))
    for detail in report.details:
        text = f"### {detail.title}\n\n{table(detail.head, detail.rows)}"
        parts.append(f"{text}\n\n{detail.note}" if detail.note else text)
    if report.failures:
        parts.append("### DID NOT FINISH\n\n" + "\n".join(f"- {f}" for f in report.failures))
    if report.mismatches:
        parts.append("### DECISIONS DIFFER\n\n" + "\n".join(f"- {m}" for m in report.mismatches[:20]))
    return "\n\n".join(parts)


def _figure_row(figure: Figure) -> tuple[str, ...]:
    peers = "" if figure.peers is None else f"{number(figure.peers)} {figure.unit}"
    ratio = "" if figure.ratio is None else number(figure.ratio)
    return figure.what, f"{number(figure.ours)} {figure.unit}", figure.peer, peers, ratio, figure.goals, figure.verdict


def joined(reports: Iterable[Report]) -> Report:
    every = list(reports)
    return Report(
        tuple(f for r in every for f in r.figures),
        tuple(d for r in every for d in r.details),
        tuple(m for r in every for m in r.mismatches),
        tuple(f for r in every for f in r.failures),
        tuple(p for r in every for p in r.plots),
    )


def write_plots(plots: Iterable[Plot], folder: Path) -> str:
    """Puts each into a file of its own; returns the Markdown that shows them."""
    folder.mkdir(exist_ok=True)
    shown = []
    for plot in plots:
        (folder / f"{plot.name}.svg").write_text(svg(plot))
        shown.append(f"![{plot.title}]({folder.name}/{plot.name}.svg)")
    return "\n\n".join(shown)


def machine() -> str:
    """What it was measured on."""
    load = ", ".join(f"{v:.2f}" for v in os.getloadavg())
    return (
        f"{_cpu()}, {os.cpu_count()} cores, load {load} at the start; "
        f"{platform.python_implementation()} {platform.python_version()} ({platform.python_compiler()}), {sys.platform}"
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def finish(report: Report) -> None:
    """Prints, and ends with 1 when decisions differ: a benchmark of two different functions says nothing."""
    print(show(report))
    raise SystemExit(1 if report.mismatches or report.failures else 0)
