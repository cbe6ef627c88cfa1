"""Much data: 100,000 allow rules as rows of a relation, a million records, and one change: `python -m bench.directory`.

Each directory is loaded from an NDJSON file by `Engine.load`, as a service would, in a process of its own, whose peak of
resident memory is what the kernel says of it (`VmHWM`, so Linux only), interpreter and all. Beside the rows stands Cedar
with as many permits, one for each pair of user and resource, parsed in a process of its own and asked as it is asked from
Python. A million records are people in a thousand groups. An upsert is one record, put through `engine.directory`.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import random
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cedarpy

import pdp
from bench.apps import POLICIES
from bench.report import Detail, Figure, Report, finish, joined, number
from bench.timing import Call, Spread, seconds, spread, time_each

ROWS, RECORDS, GROUPS, USERS_A_RESOURCE = 100_000, 1_000_000, 1_000, 10
QUICK_ROWS, QUICK_RECORDS = 10_000, 20_000
REQUESTS, PASSES, CEDAR_REQUESTS, UPSERTS = 500, 20, 20, 2_000
DECISION_GOAL_US, LOAD_GOAL_S, MEMORY_GOAL_MIB, RECORDS_GOAL_MIB = 2.0, 20.0, 600.0, 2048.0

PEOPLE = """language 1
entity Group
entity User in Group { level: Int }
action read on User
allow seniors-read-in-their-group {
  for  User in Group "group-7"
  do   read
  on   User in Group "group-7"
  when user.level >= resource.level
}
"""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one process said of itself before it ended."""

    load_s: float
    peak_mib: float
    asked: Spread
    answers: tuple[bool, ...]
    upsert: Spread | None = None


def measure(*, quick: bool = False) -> Report:
    return _measure_rows(QUICK_ROWS if quick else ROWS, quick)


def measure_records(*, quick: bool = False) -> Report:
    return _measure_records(QUICK_RECORDS if quick else RECORDS, quick)


def _measure_rows(count: int, quick: bool) -> Report:
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base)
        (folder / "acl.policy").write_text((POLICIES / "rbac_acl.policy").read_text())
        _write(folder / "data/rows.ndjson", (_row(n) for n in range(count)))
        ours = _alone(_load_rows, folder, count)
    cedar = _alone(_load_permits, count)
    name, peer = f"ACL of {count:,} rules as rows", f"Cedar 4.12, {count:,} permits"
    figures = (
        Figure(f"{name}: check, nothing remembered, p50", ours.asked.p50, "us", DECISION_GOAL_US, peer, cedar.asked.p50),
        Figure(f"{name}: load from a file", ours.load_s, "s", _unless(quick, LOAD_GOAL_S), peer, cedar.load_s),
        Figure(f"{name}: peak of the process", ours.peak_mib, "MiB", _unless(quick, MEMORY_GOAL_MIB), peer, cedar.peak_mib),
        *_upserts(f"one row into {count:,}", ours.upsert),
    )
    rows = (_told("ours", ours), _told(peer, cedar))
    asked = len(cedar.answers)
    note = f"Microseconds where nothing else is said. Cedar answers {asked} of the {REQUESTS} requests, each compared."
    differ = tuple(
        f"rows: request {n}: ours {mine}, Cedar {its}"
        for n, (mine, its) in enumerate(zip(ours.answers, cedar.answers, strict=False))
        if mine is not its
    )
    return Report(figures, (Detail(name, _HEAD, rows, note),), differ)


def _measure_records(count: int, quick: bool) -> Report:
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base)
        (folder / "people.policy").write_text(PEOPLE)
        groups = ({"type": "Group", "id": f"group-{n}"} for n in range(GROUPS))
        _write(folder / "data/groups.ndjson", groups)
        _write(folder / "data/people.ndjson", (_person(n, n % 7) for n in range(count)))
        ours = _alone(_load_people, folder, count)
    name = f"{count:,} records"
    figures = (
        Figure(f"{name}: load from a file", ours.load_s, "s"),
        Figure(f"{name}: peak of the process", ours.peak_mib, "MiB", _unless(quick, RECORDS_GOAL_MIB)),
        Figure(f"{name}: check, nothing remembered, p50", ours.asked.p50, "us"),
        *_upserts(f"one record into {count:,}", ours.upsert),
    )
    return Report(figures, (Detail(name, _HEAD, (_told("ours", ours),), "Microseconds where nothing else is said."),))


def _unless(quick: bool, goal: float) -> float | None:
    return None if quick else goal


def _upserts(what: str, found: Spread | None) -> tuple[Figure, ...]:
    return () if found is None else (Figure(f"upsert of {what}: p50", found.p50, "us"),)


_HEAD = ("", "load s", "peak MiB", "check p50", "p99", "p99.9", "upsert p50", "p99")


def _told(name: str, found: Loaded) -> tuple[str, ...]:
    put = (number(found.upsert.p50), number(found.upsert.p99)) if found.upsert else ("", "")
    asked = found.asked
    cells = (found.load_s, found.peak_mib, asked.p50, asked.p99, asked.p999)
    return (name, *map(number, cells), *put)


# ---- what the processes do


def _alone(work: Callable[..., Loaded], *arguments: Any) -> Loaded:
    """In a fresh process, so that the peak is its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _load_rows(folder: Path, count: int) -> Loaded:
    requests = [pdp.Request("read", ("Data", data), user=("User", user)) for user, data in _pairs(count)]
    changes = [_row(count + n) for n in range(UPSERTS)]
    return _loaded(folder, requests, changes)


def _load_people(folder: Path, count: int) -> Loaded:
    rng = random.Random(count)
    pairs = [(rng.randrange(count), rng.randrange(count)) for _ in range(REQUESTS)]
    requests = [pdp.Request("read", ("User", f"user-{a}"), user=("User", f"user-{b}")) for a, b in pairs]
    changes = [_person(rng.randrange(count), n % 5) for n in range(UPSERTS)]
    return _loaded(folder, requests, changes)


def _loaded(folder: Path, requests: list[pdp.Request], changes: list[dict[str, Any]]) -> Loaded:
    load_s, engine = seconds(lambda: pdp.Engine.load(folder, cache_entries=0))
    peak = _peak_mib()
    gc.collect()
    asked = spread(time_each([(engine.check, (r,)) for r in requests], PASSES))
    answers = tuple(engine.check(r).allowed for r in requests)
    puts: list[Call] = [(engine.directory.upsert, (change,)) for change in changes]
    return Loaded(load_s, peak, asked, answers, spread(time_each(puts, warm=False)))


def _load_permits(count: int) -> Loaded:
    """Cedar, from text: the same pairs, a permit each."""
    text = "".join(_permit(n) for n in range(count))
    load_s, policies = seconds(lambda: cedarpy.PolicySet.from_str(text))
    peak, entities = _peak_mib(), cedarpy.Entities.from_json_str("[]")
    calls: list[Call] = [
        (cedarpy.is_authorized, (_cedar_request(user, data), policies, entities)) for user, data in _pairs(count)
    ]
    del calls[CEDAR_REQUESTS:]
    asked = spread(time_each(calls))
    return Loaded(load_s, peak, asked, tuple(function(*a).allowed for function, a in calls))


def _peak_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


# ---- the data


def _names(n: int) -> tuple[str, str]:
    return f"a-user-with-a-name-{n}", f"a-resource-with-a-name-{n // USERS_A_RESOURCE}"


def _row(n: int) -> dict[str, Any]:
    user, data = _names(n)
    return {"relation": "reader", "of": [["User", user], ["Data", data]]}


def _person(n: int, level: int) -> dict[str, Any]:
    group = ["Group", f"group-{n % GROUPS}"]
    return {"type": "User", "id": f"user-{n}", "attributes": {"level": level}, "parents": [group]}


def _pairs(count: int) -> list[tuple[str, str]]:
    """Users and resources of which every second pair is in a row."""
    rng = random.Random(count)
    pairs = []
    for n in range(REQUESTS):
        user = rng.randrange(count)
        other = user if n % 2 else (user + USERS_A_RESOURCE * rng.randrange(1, count // USERS_A_RESOURCE)) % count
        pairs.append((_names(user)[0], _names(other)[1]))
    return pairs


def _permit(n: int) -> str:
    user, data = _names(n)
    return f'permit (principal == User::"{user}", action == Action::"read", resource == Data::"{data}");\n'


def _cedar_request(user: str, data: str) -> dict[str, Any]:
    return {
        "principal": {"type": "User", "id": user},
        "action": {"type": "Action", "id": "read"},
        "resource": {"type": "Data", "id": data},
    }


def _write(path: Path, records: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, a fiftieth of the records")
    options = parser.parse_args()
    finish(joined(each(quick=options.quick) for each in (measure, measure_records)))
