"""Every benchmark in one go: `python -m bench.run`, or `--quick` for a minute's worth.

Each runs in a process of its own, one after the other, so that none inherits another's heap. The tables are printed, and a
full run puts them into README.md and draws its plots. Ends with 1 when a decision differs from a peer's; a missed goal is
news.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

from bench import (
    batches,
    casbin_rbac,
    decide,
    directory,
    engine,
    grants,
    handles,
    hospital,
    identity,
    record,
    reload,
    server,
    service,
    start,
    wire,
)
from bench import compile as compiling
from bench.report import Report, finish, joined, machine, show, write_plots
from bench.timing import clock_overhead_us

README = Path(__file__).with_name("README.md")
PLOTS = Path(__file__).with_name("plots")
BEGIN, END = "<!-- results: written by `python -m bench.run` -->", "<!-- end of results -->"

BENCHMARKS: dict[str, Callable[..., Report]] = {
    "decide": decide.measure,
    "hospital": hospital.measure,
    "engine": engine.measure,
    "reload": reload.measure,
    "rows": directory.measure,
    "records": directory.measure_records,
    "casbin_rbac": casbin_rbac.measure,
    "compile": compiling.measure,
    "change": compiling.measure_change,
    "check": compiling.measure_check,
    "identity": identity.measure,
    "handles": handles.measure,
    "grants": grants.measure,
    "record": record.measure,
    "wire": wire.measure,
    "batches": batches.measure,
    "start": start.measure,
    "server": server.measure,
    "service": service.measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes and few passes; README.md stays as it is")
    parser.add_argument("--only", choices=BENCHMARKS, nargs="+", default=list(BENCHMARKS), help="README.md stays as it is")
    parser.add_argument("--cerbos", type=Path, help="the binary of Cerbos, to stand beside `service`")
    options = parser.parse_args()
    BENCHMARKS["service"] = partial(service.measure, cerbos=options.cerbos)
    surroundings, pace = _surroundings(), clock_overhead_us()
    reports = []
    for name in options.only:
        start = time.perf_counter()
        print(f"{name} …", end=" ", flush=True)
        reports.append(_apart(name, options.quick))
        print(f"{time.perf_counter() - start:.0f} s", flush=True)
    report = joined(reports)
    print(f"\n{surroundings}\n")
    if not options.quick and len(reports) == len(BENCHMARKS) and not report.mismatches:
        _write(f"{surroundings} {_course(pace)}\n\n{show(report)}\n\n### Plots\n\n{write_plots(report.plots, PLOTS)}")
    finish(report)


def _apart(name: str, quick: bool) -> Report:
    """In a fresh process. One that fails is reported and does not cost the others their results."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(BENCHMARKS[name], quick=quick).result()
        except Exception as error:
            traceback.print_exception(error)
            return Report((), (), failures=(f"{name}: {type(error).__name__}: {error}",))


def _surroundings() -> str:
    peers = ", ".join(f"{name} {version(name)}" for name in ("cedarpy", "casbin"))
    return f"{datetime.now(UTC):%Y-%m-%d}; {machine()}; beside {peers}. Collector on, nothing pinned."


def _course(pace: float) -> str:
    """Others may work on the machine, and its clock rate changes."""
    load = f"Load {os.getloadavg()[1]:.2f} over the last five minutes of the run"
    return f"{load}; reading the clock took {pace:.3f} us at the start and {clock_overhead_us():.3f} at the end."


def _write(results: str) -> None:
    before, _, rest = README.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{BEGIN}\n\n{results}\n\n{END}{after}")


if __name__ == "__main__":
    main()
