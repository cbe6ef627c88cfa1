"""Growth with the number of rules: SAPL's hospital, 33 rules a department and 5 more: `python -m bench.hospital`.

Staff belong to teams, teams to departments, and one in twenty pairs of a person and another department is a membership,
too. A rule asks for role, kind of record, department of the record and membership; one deny a department compares the
record's sensitivity with the person's clearance. Every decision is compared with Cedar's, as far as Cedar gets in its time.
"""

from __future__ import annotations

import argparse
import json
import random
from array import array
from dataclasses import dataclass, field
from time import perf_counter, perf_counter_ns
from typing import Any

import cedarpy

from bench.plot import Line, Plot
from bench.report import Detail, Figure, Report, finish, number
from bench.timing import Call, clock_overhead_us, median, seconds, settle_heap, spread, time_each
from language import Bundle, Directory, EntityData, RequestData, Source, assemble, compile_policies

SEED = 42
REQUESTS = 500
SIZES = (1, 10, 100, 300)
GROWTH_GOAL = 1.3
P50_GOAL_US = 1.5
CEDAR_BUDGET_S = 4.0
STAFF_PER_DEPARTMENT, TEAMS_PER_DEPARTMENT, CROSS_MEMBERSHIP = 5, 2, 0.05

_LETTERS = {"r": "read", "w": "write", "c": "create", "o": "order", "p": "prescribe", "a": "approve", "b": "bill",
            "u": "audit", "d": "delete"}  # fmt: skip

#: Role -> clearance, and the actions on each kind of record.
ROLES: dict[str, tuple[int, dict[str, str]]] = {
    "attending": (4, {"PatientRecord": "rwc", "LabResult": "ro", "Prescription": "rwp", "Imaging": "ro",
                      "CareNote": "rwc", "Referral": "rwc"}),
    "resident": (3, {"PatientRecord": "rw", "LabResult": "r", "Prescription": "r", "Imaging": "ro", "CareNote": "rwc",
                     "Referral": "rc"}),
    "nurse": (3, {"PatientRecord": "rw", "LabResult": "r", "Prescription": "r", "CareNote": "rwc", "Schedule": "rw"}),
    "labTech": (2, {"LabResult": "rwc", "Imaging": "rwc"}),
    "pharmacist": (3, {"Prescription": "rwa", "PatientRecord": "r"}),
    "admin": (2, {"Schedule": "rwcd", "BillingRecord": "rw", "AuditLog": "r"}),
    "billing": (2, {"BillingRecord": "rwcb", "PatientRecord": "r"}),
    "auditor": (4, {"AuditLog": "rwcu", "PatientRecord": "r", "BillingRecord": "r"}),
    "researcher": (1, {"PatientRecord": "r", "LabResult": "r", "Imaging": "r"}),
}  # fmt: skip
EMERGENCY_KINDS = ("PatientRecord", "LabResult", "Prescription", "Imaging", "CareNote")
EMERGENCY_ACTIONS = ("read", "write", "prescribe", "override")

_ACTION_WEIGHTS = {"read": 7, "write": 3, "create": 2, "order": 1, "prescribe": 1, "approve": 1, "bill": 1, "audit": 1,
                   "delete": 1}  # fmt: skip
_KIND_WEIGHTS = {"PatientRecord": 3, "LabResult": 2, "CareNote": 2, "Prescription": 1, "Imaging": 1, "Schedule": 1,
                 "BillingRecord": 1, "AuditLog": 1, "Referral": 1}  # fmt: skip

VOCABULARY = """language 1
package hospital

enum   Role {{ {roles}, emergency }}
enum   Kind {{ {kinds} }}
entity Department
entity Team in Department
entity Staff in Team {{ role: Role, clearance: Int }}
entity Item {{ kind: Kind, department: Department, sensitivity: Int }}
action {actions}, override on Item
"""

ALLOW = """
allow dept-{department}-{role}-{kind} {{
  for  Staff in Department "dept_{department}"
  do   {actions}
  on   Item
  when user.role == {role} and resource.kind == {kind} and resource.department == Department "dept_{department}"
}}
"""

DENY = """
deny sensitivity-{department} {{
  on   Item
  when resource.department == Department "dept_{department}" and user is Staff and resource.sensitivity > user.clearance
}}
"""

EMERGENCY = """
allow emergency-{kind} {{
  for  Staff
  do   {actions}
  on   Item
  when user.role == emergency and resource.kind == {kind}
}}
"""

CEDAR_ALLOW = """permit (principal in Department::"dept_{department}", action in [{actions}], resource) when {{
  principal.role == "{role}" && resource.kind == "{kind}" && resource.department == Department::"dept_{department}" }};
"""
CEDAR_DENY = """forbid (principal, action, resource) when {{
  resource.department == Department::"dept_{department}" && resource.sensitivity > principal.clearance }};
"""
CEDAR_EMERGENCY = """permit (principal, action in [{actions}], resource) when {{
  principal.role == "emergency" && resource.kind == "{kind}" }};
"""


@dataclass(frozen=True, slots=True)
class Ask:
    staff: str
    action: str
    item: str


@dataclass(frozen=True, slots=True)
class Hospital:
    entities: tuple[EntityData, ...]
    asks: tuple[Ask, ...]


@dataclass(slots=True)
class Ward:
    """One size, ready to be asked, with what was measured of it."""

    asks: tuple[Ask, ...]
    rules: int
    functions: list[Call]
    ours: list[bool]
    compile_s: float
    cedars: list[Call]
    parse_s: float
    took: array[int] = field(default_factory=lambda: array("q"))
    cedar_took: array[int] = field(default_factory=lambda: array("q"))
    cedar_engine: array[int] = field(default_factory=lambda: array("q"))
    compared: int = 0
    mismatches: list[str] = field(default_factory=list)


def measure(*, quick: bool = False) -> Report:
    """The sizes take turns, pass by pass: a machine that changes its pace does so for all of them."""
    wards = {size: _prepare(size) for size in (SIZES[:-1] if quick else SIZES)}
    settle_heap()
    clocks = []
    passes = 10 if quick else 40
    for _ in range(passes):
        clocks.append(clock_overhead_us(20_000))
        for ward in wards.values():
            ward.took += time_each(ward.functions)
    for ward in wards.values():
        _ask_cedar(ward)
    few, *_, many = wards.values()
    clock, engine = median(clocks), "Cedar 4.12, inside its engine"
    growth, theirs = _growth(many, few, clock), spread(many.cedar_engine).p50
    what = f"hospital, {few.rules} -> {many.rules:,} rules"
    figures = (
        Figure(f"{what}: growth of p50", growth, "x", GROWTH_GOAL, engine, theirs / spread(few.cedar_engine).p50),
        Figure(f"hospital, {many.rules:,} rules: p50", spread(many.took).p50, "us", P50_GOAL_US, engine, theirs),
    )
    mismatches = tuple(m for ward in wards.values() for m in ward.mismatches)
    return Report(figures, (_detail(wards, few, clock, passes),), mismatches, plots=(_plot(wards),))


def _prepare(departments: int) -> Ward:
    hospital = draw(departments)
    compile_s, bundle = seconds(lambda: compile_policies([Source("hospital.policy", our_text(departments))]))
    directory = Directory(bundle.vocabulary)
    directory.upsert(hospital.entities)
    functions = [_function(bundle, directory, ask) for ask in hospital.asks]
    ours = [bundle.outcomes[function(*arguments)].allowed for function, arguments in functions]
    parse_s, policies = seconds(lambda: cedarpy.PolicySet.from_str(cedar_text(departments)))
    entities = cedarpy.Entities.from_json_str(_cedar_entities(hospital))
    cedars: list[Call] = [(cedarpy.is_authorized, (_cedar_request(a), policies, entities)) for a in hospital.asks]
    return Ward(hospital.asks, len(bundle.program.rules), functions, ours, compile_s, cedars, parse_s)


def _function(bundle: Bundle, directory: Directory, ask: Ask) -> Call:
    leaf = bundle.leaves[ask.action, "Item"]
    resource, user = EntityData("Item", ask.item, {}, ()), EntityData("Staff", ask.staff, {}, ())
    inputs = assemble(directory.world, RequestData(ask.action, resource, user=user), 0, lambda *_: leaf.footprint)
    return leaf.function, tuple(leaf.arguments(inputs))


def _ask_cedar(ward: Ward) -> None:
    """As many requests as fit into the budget, each answer compared with ours."""
    ends = perf_counter() + CEDAR_BUDGET_S
    for ask, mine, (function, arguments) in zip(ward.asks, ward.ours, ward.cedars, strict=True):
        start = perf_counter_ns()
        theirs = function(*arguments)
        ward.cedar_took.append(perf_counter_ns() - start)
        ward.cedar_engine.append(theirs.metrics["authz_duration_micros"] * 1000)
        ward.compared += 1
        if mine is not theirs.allowed or theirs.diagnostics.errors:
            found = f"ours {mine}, Cedar {theirs.allowed}, its errors {theirs.diagnostics.errors}"
            ward.mismatches.append(f"hospital, {ward.rules} rules: {ask}: {found}")
        if perf_counter() > ends:
            break


def _growth(ward: Ward, first: Ward, clock: float) -> float:
    """Without what the clock takes, which would make any growth look smaller."""
    return (spread(ward.took).p50 - clock) / (spread(first.took).p50 - clock)


def _detail(wards: dict[int, Ward], first: Ward, clock: float, passes: int) -> Detail:
    head = ("departments", "rules", "function p50", "p99", "p99.9", "growth", "compile s", "Cedar's engine p50",
            "Cedar's call p50", "p99", "growth", "parse s", "allowed", "compared")  # fmt: skip
    rows = []
    for departments, ward in wards.items():
        ours, call, engine = spread(ward.took), spread(ward.cedar_took), spread(ward.cedar_engine)
        rows.append((
            str(departments), f"{ward.rules:,}", number(ours.p50), number(ours.p99), number(ours.p999),
            f"{_growth(ward, first, clock):.2f}", number(ward.compile_s), number(engine.p50), number(call.p50),
            number(call.p99), number(engine.p50 / spread(first.cedar_engine).p50), f"{ward.parse_s:.3f}",
            f"{sum(ward.ours) / len(ward.ours):.3f}", str(ward.compared),
        ))  # fmt: skip
    note = (
        f"Microseconds where nothing else is said, the clock's own {clock:.3f} included, but not in our growth; {passes} "
        f"passes over 500 requests for ours, the sizes by turns; Cedar answers as many as it can in {CEDAR_BUDGET_S:g} s."
    )
    return Detail("Growth with the number of rules", head, tuple(rows), note)


def _plot(wards: dict[int, Ward]) -> Plot:
    def line(name: str, way: str, dashed: bool = False) -> Line:
        return Line(name, tuple((w.rules, spread(getattr(w, way)).p50) for w in wards.values()), dashed)

    lines = (
        line("Cedar's call", "cedar_took", True),
        line("Cedar's engine", "cedar_engine", True),
        line("our function", "took"),
    )
    title = "hospital: p50 of a decision by number of rules"
    return Plot("rules-hospital", title, "rules", "microseconds", lines, log_x=True)


# ---- the scenario


def draw(departments: int) -> Hospital:
    """Staff, memberships, and requests about as many records."""
    rng = random.Random(SEED)
    entities: list[EntityData] = []
    staff: list[tuple[str, int]] = []
    teams = [[f"team_{d}_{t}" for t in range(TEAMS_PER_DEPARTMENT)] for d in range(departments)]
    for d in range(departments):
        entities.append(EntityData("Department", f"dept_{d}", {}, ()))
        entities += [EntityData("Team", team, {}, (("Department", f"dept_{d}"),)) for team in teams[d]]
    for d in range(departments):
        for _ in range(STAFF_PER_DEPARTMENT):
            role = rng.choice(list(ROLES))
            others = [o for o in range(departments) if o != d and rng.random() < CROSS_MEMBERSHIP]
            member = tuple(("Team", rng.choice(teams[o])) for o in [d, *others])
            name = f"staff_{len(staff)}"
            entities.append(EntityData("Staff", name, {"role": role, "clearance": ROLES[role][0]}, member))
            staff.append((name, d))
    asks = []
    for i in range(REQUESTS):
        name, own = rng.choice(staff)
        action = rng.choices(list(_ACTION_WEIGHTS), list(_ACTION_WEIGHTS.values()))[0]
        kind = rng.choices(list(_KIND_WEIGHTS), list(_KIND_WEIGHTS.values()))[0]
        department = own if rng.random() < 0.8 else rng.randrange(departments)
        sensitivity = 1 if rng.random() < 0.7 else rng.randint(1, 4)
        attributes = {"kind": kind, "department": ("Department", f"dept_{department}"), "sensitivity": sensitivity}
        entities.append(EntityData("Item", f"item_{i}", attributes, ()))
        asks.append(Ask(name, action, f"item_{i}"))
    return Hospital(tuple(entities), tuple(asks))


def our_text(departments: int) -> str:
    actions, kinds = ", ".join(_ACTION_WEIGHTS), ", ".join(_KIND_WEIGHTS)
    parts = [VOCABULARY.format(roles=", ".join(ROLES), kinds=kinds, actions=actions)]
    for d in range(departments):
        for role, (_, kinds_of) in ROLES.items():
            for kind, letters in kinds_of.items():
                allowed = ", ".join(_LETTERS[c] for c in letters)
                parts.append(ALLOW.format(department=d, role=role, kind=kind, actions=allowed))
        parts.append(DENY.format(department=d))
    parts += [EMERGENCY.format(kind=k, actions=", ".join(EMERGENCY_ACTIONS)) for k in EMERGENCY_KINDS]
    return "".join(parts)


def cedar_text(departments: int) -> str:
    def quoted(actions: list[str] | tuple[str, ...]) -> str:
        return ", ".join(f'Action::"{a}"' for a in actions)

    parts = []
    for d in range(departments):
        for role, (_, kinds_of) in ROLES.items():
            for kind, letters in kinds_of.items():
                allowed = quoted([_LETTERS[c] for c in letters])
                parts.append(CEDAR_ALLOW.format(department=d, role=role, kind=kind, actions=allowed))
        parts.append(CEDAR_DENY.format(department=d))
    parts += [CEDAR_EMERGENCY.format(kind=k, actions=quoted(EMERGENCY_ACTIONS)) for k in EMERGENCY_KINDS]
    return "".join(parts)


def _cedar_entities(hospital: Hospital) -> str:
    return json.dumps([
        {
            "uid": {"type": e.type, "id": e.id},
            "attrs": {k: _cedar_value(v) for k, v in e.attributes.items()},
            "parents": [{"type": t, "id": i} for t, i in e.parents],
        }
        for e in hospital.entities
    ])  # fmt: skip


def _cedar_value(value: Any) -> Any:
    return {"__entity": {"type": value[0], "id": value[1]}} if isinstance(value, tuple) else value


def _cedar_request(ask: Ask) -> dict[str, Any]:
    return {
        "principal": {"type": "Staff", "id": ask.staff},
        "action": {"type": "Action", "id": ask.action},
        "resource": {"type": "Item", "id": ask.item},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="without the largest size")
    finish(measure(**vars(parser.parse_args())))
