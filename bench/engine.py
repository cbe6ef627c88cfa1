"""What a check costs in process, remembered and not: `python -m bench.engine`.

The ledger example, one allowed request in its task. Nanoseconds of every call, exact percentiles; the reload is of a
policy set of many rules while another thread asks, with the slowest request told.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles

import pdp

LEDGER = Path(__file__).resolve().parent.parent / "policies/examples/ledger"
CALLS = 50_000


def main() -> None:
    warm, cold = pdp.Engine.load(LEDGER), pdp.Engine.load(LEDGER, cache_entries=0)
    now = time.time_ns() // 1000
    told = {
        "action": "select",
        "resource": ("Table", "invoices"),
        "workload": "spiffe://prod.acme/ns/billing/api",
        "task": pdp.Task("invoicing", "t1", {"tenant": "acme"}, now - 1, now + 600_000_000, ("key",)),
    }
    request = pdp.Request(**told)
    print(f"{'the clock of this table':34}", _spread(lambda: None))
    print(f"{'remembered, prebuilt request':34}", _spread(lambda: warm.check(request)))
    print(f"{'not remembered, prebuilt request':34}", _spread(lambda: cold.check(request)))
    print(f"{'remembered, told in keywords':34}", _spread(lambda: warm.check(**told)))
    print(f"{'not remembered, told in keywords':34}", _spread(lambda: cold.check(**told)))
    _reload()


def _spread(call: Callable[[], object], calls: int = CALLS) -> str:
    clock = time.perf_counter_ns
    for _ in range(1000):
        call()
    samples = []
    for _ in range(calls):
        start = clock()
        call()
        samples.append(clock() - start)
    return _told(samples)


def _told(samples: list[int]) -> str:
    cuts = quantiles(samples, n=1000)
    return (
        f"p50 {cuts[499]:8.0f} ns   p99 {cuts[989]:8.0f} ns   p99.9 {cuts[998]:8.0f} ns   max {max(samples) / 1e6:8.3f} ms"
    )


def _reload(rules: int = 2_000) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "many.policy"
        head = "language 1\nentity User\nentity Doc { n: Int }\naction read on Doc\n"
        rule = "allow r{0} {{ for User do read on Doc when resource.n == {0} }}"
        path.write_text(head + "\n".join(rule.format(i) for i in range(rules)))
        engine = pdp.Engine.load(path)
        engine.directory.upsert({"type": "Doc", "id": "d", "attributes": {"n": 7}})
        request = pdp.Request("read", ("Doc", "d"), user=("User", "u"))
        print(f"{'asked at rest':34}", _spread(lambda: engine.check(request)))
        path.write_text(path.read_text() + "\nallow more { for User do read on Doc when resource.n == -1 }")
        samples: list[int] = []
        reload = threading.Thread(target=engine.reload)
        reload.start()
        while reload.is_alive():
            start = time.perf_counter_ns()
            engine.check(request)
            samples.append(time.perf_counter_ns() - start)
            time.sleep(0.0002)
        print(f"{f'asked while {rules} rules are reloaded':34}", _told(samples))


if __name__ == "__main__":
    main()
