"""CheckMany of 100, as the server's handler has it, bytes in and bytes out: `python -m bench.batches [--quick]`.

What a connection adds is in `bench.service`; divided by a hundred it is next to nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pdp
from bench.report import Detail, Figure, Report, finish, number
from bench.timing import Spread, settle_heap, spread, time_each
from pdp.server.config import read_config
from pdp.server.desk import Desk
from pdp.server.handlers import Deadline, Method
from pdp.server.parts import make_parts
from pdp.server.services.decisions import decision_handlers
from pdp.service.rest import whole
from pdp.wire.client import write_requests
from pdp.wire.messages import PDP

SIZE, GOAL_US = 100, 5.0
POLICY = """language 1
package app
entity User
entity Document { owner: User }
action read on Document
allow owners { for User do read on Document when resource.owner == user }
"""


def measure(*, quick: bool = False) -> Report:
    count, passes = (50, 5) if quick else (300, 10)
    with tempfile.TemporaryDirectory() as name:
        desk, handler = _handler(Path(name), count * SIZE)
        again = [_batch(0)] * count
        for raw in again:  # twice, and it is remembered
            _demand(whole(partial(handler.handle, raw, desk.parts.callers.in_development(), _DEADLINE)))
        found = {"asked again": _each(desk, handler, again, passes)}
        found["asked for the first time"] = _each(desk, handler, [_batch(n) for n in range(1, count)], 1, warm=False)
    rows = [(name, number(s.p50 / SIZE), number(s.p99 / SIZE)) for name, s in found.items()]
    note = (
        f"Batches of {SIZE} questions of one user about {count * SIZE:,} documents; the mean of a batch is what is spread."
    )
    figures = [Figure(f"CheckMany of {SIZE}, a decision, {name}", s.p50 / SIZE, "us", GOAL_US) for name, s in found.items()]
    return Report(tuple(figures), (Detail("CheckMany", ("a decision, us", "p50", "p99"), tuple(rows), note),))


_DEADLINE = Deadline.after_s(86_400)


def _handler(folder: Path, documents: int) -> tuple[Desk, Method]:
    policies = folder / "policies"
    (policies / "data").mkdir(parents=True)
    (policies / "app.policy").write_text(POLICY)
    data: list[object] = [{"type": "User", "id": "ada"}]
    data += [{"type": "Document", "id": f"q{n}", "attributes": {"owner": ["User", "ada"]}} for n in range(documents)]
    (policies / "data" / "data.json").write_text(json.dumps(data))
    told = {
        "policies": {"path": str(policies), "watch": False},
        "listen": [{"address": "127.0.0.1:0"}],
        "admin": {"address": ""},
        "development": {"enabled": True},
    }
    desk = Desk(make_parts(read_config(told, folder)))
    method = decision_handlers(desk)["/pdp.v1.DecisionService/CheckMany"]
    assert isinstance(method, Method)
    return desk, method


def _batch(number_: int) -> bytes:
    first = number_ * SIZE
    return write_requests(
        [pdp.Request("read", ("Document", f"q{n}"), user=("User", "ada")) for n in range(first, first + SIZE)]
    )


def _demand(answer: bytes) -> None:
    results = PDP.CheckManyResponse.FromString(answer).results
    if len(results) != SIZE or not all(r.decision.allowed for r in results):
        raise RuntimeError("not all of a batch is allowed")


def _each(desk: Desk, handler: Method, batches: Iterable[bytes], passes: int, *, warm: bool = True) -> Spread:
    peer = desk.parts.callers.in_development()
    settle_heap()
    gc.freeze()  # as `pdp serve` does once it has started
    return spread(time_each([(handler.handle, (raw, peer, _DEADLINE)) for raw in batches], passes, warm=warm))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer batches")
    finish(measure(quick=parser.parse_args().quick))
