"""Role-based access in the three sizes of casbin's own benchmark, next to pycasbin: `python -m bench.casbin_rbac`.

Roles read resources and users have roles: 1,100, 11,000 and 110,000 rules, which are data for us and therefore no rules.
Three ways to hold them: grants as rows of a relation, and a user's groups as an attribute; groups as parents of users, and
readers as an attribute of the resource; and everything multiplied out, one row for each user and resource. Seventeen
requests with long names, every second one denied, and each decision is compared.
"""

from __future__ import annotations

import argparse
import random
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

import casbin  # type: ignore[import-untyped]  # it has no types

from bench.apps import POLICIES
from bench.report import Detail, Figure, Report, finish, number
from bench.timing import Call, Spread, seconds, settle_heap, spread, time_each
from language import Bundle, Directory, EntityData, RequestData, RowData, Source, assemble, compile_policies

SIZES = {"small": (100, 10, 1000), "medium": (1000, 100, 10_000), "large": (10_000, 1000, 100_000)}
REQUESTS = 17
PASSES, CASBIN_PASSES = 2000, 2
P50_GOAL_US, LOAD_GOAL_S, MEMORY_GOAL_MIB = 2.0, 20.0, 600.0

MODEL = """
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act
"""

Data = tuple[list[EntityData], list[RowData]]


@dataclass(frozen=True, slots=True)
class Size:
    """So many groups, resources and users; group i reads resource i // (groups / resources), ten users in each group."""

    name: str
    groups: int
    resources: int
    users: int

    @property
    def rules(self) -> int:
        return self.groups + self.users

    def group_of(self, user: int) -> int:
        return user * self.groups // self.users

    def resource_of(self, group: int) -> int:
        return group * self.resources // self.groups

    def asks(self) -> list[tuple[str, str]]:
        rng = random.Random(self.rules)
        found = []
        for i in range(REQUESTS):
            user = rng.randrange(self.users)
            own = self.resource_of(self.group_of(user))
            other = (own + rng.randrange(1, self.resources)) % self.resources
            found.append((_user(user), _resource(own if i % 2 else other)))
        return found


def _user(i: int) -> str:
    return f"a-user-with-quite-a-long-name-{i}"


def _group(i: int) -> str:
    return f"a-group-with-quite-a-long-name-{i}"


def _resource(i: int) -> str:
    return f"a-resource-with-quite-a-long-name-{i}"


# ---- three ways to hold the same grants


def rows(size: Size) -> Data:
    entities = [
        EntityData("User", _user(u), {"groups": [("Group", _group(size.group_of(u)))]}, ()) for u in range(size.users)
    ]
    grants = [RowData("grant", (("Group", _group(g)), ("Data", _resource(size.resource_of(g))))) for g in range(size.groups)]
    return entities, grants


def groups(size: Size) -> Data:
    entities = [EntityData("User", _user(u), {}, (("Group", _group(size.group_of(u))),)) for u in range(size.users)]
    readers: dict[int, list[tuple[str, str]]] = {}
    for g in range(size.groups):
        readers.setdefault(size.resource_of(g), []).append(("Group", _group(g)))
    entities += [EntityData("Data", _resource(r), {"readers": each}, ()) for r, each in readers.items()]
    return entities, []


def acl(size: Size) -> Data:
    def row(user: int) -> RowData:
        resource = _resource(size.resource_of(size.group_of(user)))
        return RowData("reader", (("User", _user(user)), ("Data", resource)))

    return [], [row(u) for u in range(size.users)]


WAYS: dict[str, Callable[[Size], Data]] = {"rows": rows, "groups": groups, "acl": acl}


# ---- measuring


@dataclass(frozen=True, slots=True)
class Measured:
    spread: Spread
    load_s: float
    answers: tuple[bool, ...]


def measure(*, quick: bool = False) -> Report:
    sizes = [Size(name, *counts) for name, counts in SIZES.items() if not (quick and name == "large")]
    ours = {(size.name, way): _ours(size, way) for size in sizes for way in WAYS}
    theirs = {size.name: _casbin(size) for size in sizes}
    mismatches = tuple(
        f"rbac {size.name}, {way}: ours {ours[size.name, way].answers}, casbin {theirs[size.name].answers}"
        for size in sizes
        for way in WAYS
        if ours[size.name, way].answers != theirs[size.name].answers
    )
    most = sizes[-1]
    peer = theirs[most.name]
    figures = [
        Figure(
            f"RBAC, {most.rules:,} rules as {way}: p50", ours[most.name, way].spread.p50, "us", P50_GOAL_US,
            "pycasbin", peer.spread.p50,
        )
        for way in WAYS
    ]  # fmt: skip
    bundle = _bundle("acl")
    held, peers = _held_mib(lambda: _directory(bundle, "acl", most)), _held_mib(lambda: _enforcer(most))
    name = f"ACL of {most.users:,} rows"
    figures += [
        Figure(f"{name}: load", ours[most.name, "acl"].load_s, "s", None if quick else LOAD_GOAL_S, "pycasbin", peer.load_s),
        Figure(f"{name}: memory", held, "MiB", None if quick else MEMORY_GOAL_MIB, "pycasbin", peers),
    ]
    return Report(tuple(figures), (_detail(sizes, ours, theirs),), mismatches)


def _ours(size: Size, way: str) -> Measured:
    bundle = _bundle(way)
    load_s, directory = seconds(lambda: _directory(bundle, way, size))
    leaf = bundle.leaves["read", "Data"]
    calls: list[Call] = []
    for user, resource in size.asks():
        request = RequestData("read", EntityData("Data", resource, {}, ()), user=EntityData("User", user, {}, ()))
        inputs = assemble(directory.world, request, 0, lambda *_: leaf.footprint)
        calls.append((leaf.function, tuple(leaf.arguments(inputs))))
    settle_heap()
    took = spread(time_each(calls, PASSES))
    return Measured(took, load_s, tuple(bundle.outcomes[f(*a)].allowed for f, a in calls))


def _bundle(way: str) -> Bundle:
    return compile_policies([Source(f"rbac_{way}.policy", (POLICIES / f"rbac_{way}.policy").read_text())])


def _directory(bundle: Bundle, way: str, size: Size) -> Directory:
    entities, related = WAYS[way](size)
    directory = Directory(bundle.vocabulary)
    directory.upsert(entities)
    directory.put_rows(related)
    return directory


def _enforcer(size: Size) -> casbin.Enforcer:
    model = casbin.Model()
    model.load_model_from_text(MODEL)
    enforcer = casbin.Enforcer(model)
    enforcer.add_policies([[_group(g), _resource(size.resource_of(g)), "read"] for g in range(size.groups)])
    enforcer.add_grouping_policies([[_user(u), _group(size.group_of(u))] for u in range(size.users)])
    return enforcer


def _casbin(size: Size) -> Measured:
    load_s, enforcer = seconds(lambda: _enforcer(size))
    calls: list[Call] = [(enforcer.enforce, (user, resource, "read")) for user, resource in size.asks()]
    settle_heap()
    took = spread(time_each(calls, CASBIN_PASSES))
    return Measured(took, load_s, tuple(bool(f(*a)) for f, a in calls))


def _held_mib(build: Callable[[], object]) -> float:
    """What is still held of all that was allocated to build something, its inputs let go."""
    tracemalloc.start()
    kept = build()
    settle_heap()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept
    return held / 2**20


def _detail(sizes: list[Size], ours: dict[tuple[str, str], Measured], theirs: dict[str, Measured]) -> Detail:
    head = ("size", "rules", "held as", "p50", "p99", "load s", "pycasbin p50", "its load s")
    lines = []
    for size in sizes:
        peer = theirs[size.name]
        for way in WAYS:
            mine = ours[size.name, way]
            lines.append((
                size.name, f"{size.rules:,}", way, number(mine.spread.p50), number(mine.spread.p99),
                number(mine.load_s), number(peer.spread.p50), number(peer.load_s),
            ))  # fmt: skip
    note = f"Microseconds; {REQUESTS} requests, {PASSES} passes for ours, {CASBIN_PASSES} for pycasbin."
    return Detail("Role-based access in casbin's sizes", head, tuple(lines), note)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="without the largest size")
    finish(measure(**vars(parser.parse_args())))
