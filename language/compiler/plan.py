"""Program -> Plan: for each action and resource type, which rules there are and how they are found.

The order in a plan comes from the names of rules and never from files (law L2). Rules of one shape form a family; a
family of many is indexed by its equalities, so that a check looks at the rules that can apply and not at all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any
from typing import Literal as OneOf

from language import typed as t
from language.compiler.footprint import Read, footprint
from language.compiler.shape import Shape, canonical, has_hole, take_constants
from language.syntax.literals import ELEMENTS_MAX
from language.work import LEAF_STEPS_MAX, can_be_too_costly, cost_of

FAMILY_MIN = 4  # fewer rules than this of one shape are written out one by one
KEYS_PER_ROW_MAX = 64  # how far `x in [a, b, …]` is unrolled into an index
CHEAP = 1000  # steps of a shape that goes through nothing, so that constants make none of its rules cheaper


@dataclass(frozen=True, slots=True)
class Row:
    """One instance of one rule."""

    rule: int  # its place in `Program.rules`
    exprs: tuple[t.TypedExpr, ...]
    shape: Shape
    family: int  # the number of the shape
    constants: tuple[Any, ...]
    cost: int  # at the worst


@dataclass(frozen=True, slots=True)
class EqualityIndex:
    """Operands whose values, together, are the key of a dict of rows."""

    operands: tuple[t.TypedExpr, ...]
    parts: tuple[int, ...]  # which conditions of the shape it settles
    holes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MemberIndex:
    """A set of the request; the rows under each of its elements are the candidates."""

    elements: t.TypedExpr  # a Below or Member condition, its constant a hole
    part: int
    hole: int


Index = EqualityIndex | MemberIndex


@dataclass(frozen=True, slots=True)
class Family:
    effect: OneOf["allow", "deny"]
    shape: Shape
    rows: tuple[Row, ...]
    timed: bool
    fallible: bool
    index: Index | None


@dataclass(frozen=True, slots=True)
class LeafPlan:
    action: str
    resource_type: str
    families: tuple[Family, ...]
    timed: bool
    footprint: tuple[Read, ...]
    cost: int


@dataclass(frozen=True, slots=True)
class Plan:
    leaves: Mapping[tuple[str, str], LeafPlan]

    def show(self) -> str:
        """The plan as text, for people and for golden files."""
        return "\n".join(_show_leaf(leaf) for _, leaf in sorted(self.leaves.items()))


class Planner:
    """Keeps what it found out about each rule, so that a rule that did not change is not looked at again."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[t.Rule, dict[tuple[str, str], list[Any]]]] = {}
        self._shapes: dict[Shape, int] = {}  # a number for each; the trees themselves are always a current rule's own
        self._facts: dict[int, tuple[bool, bool, int]] = {}

    def plan(self, program: t.Program) -> Plan:
        by_pair: dict[tuple[str, str], list[Row]] = {
            (action.name, type_name): [] for action in program.vocabulary.actions.values() for type_name in action.on
        }
        kept = {}
        for number, rule in enumerate(program.rules):
            entry = self._rows.get(id(rule)) or (rule, self._take(rule))
            kept[id(rule)] = entry
            for pair, rows in entry[1].items():
                by_pair[pair] += [Row(number, *row) for row in rows]
        self._rows = kept
        leaves = {p: self._leaf(p, rows, program) for p, rows in by_pair.items()}
        return Plan(leaves)

    def _take(self, rule: t.Rule) -> dict[tuple[str, str], list[Any]]:
        found: dict[tuple[str, str], list[Any]] = {}
        memory: dict[tuple[int, ...], Any] = {}
        for pair, instances in rule.instances.items():
            for instance in instances:
                key = tuple(map(id, instance.conjuncts))  # the checker shares what is the same
                if key not in memory:
                    exprs = canonical(instance.conjuncts)
                    shape, constants = take_constants(exprs)
                    number = self._shapes.setdefault(shape, len(self._shapes))
                    cost = self._shape_facts(number, shape)[2]
                    if cost > CHEAP:  # what a rule writes out can be smaller than what its shape has to allow for
                        cost = sum(map(cost_of, exprs))
                    memory[key] = (exprs, shape, number, constants, cost)
                taken = memory[key]
                if not any(isinstance(e, t.Constant) and e.value is False for e in taken[0]):
                    found.setdefault(pair, []).append(taken)
        return found

    def _leaf(self, pair: tuple[str, str], rows: list[Row], program: t.Program) -> LeafPlan:
        grouped: dict[tuple[str, int], list[Row]] = {}
        for row in rows:
            grouped.setdefault((program.rules[row.rule].effect, row.family), []).append(row)
        families = []
        for (effect, _), members in grouped.items():
            shape = members[0].shape
            timed, fallible, _ = self._shape_facts(members[0].family, shape)
            index = _index(shape) if len(members) >= FAMILY_MIN and not timed else None
            families.append(Family(effect, shape, tuple(members), timed, fallible, index))  # type: ignore[arg-type]
        cost = sum(row.cost for row in rows)
        if cost > LEAF_STEPS_MAX:
            cost = sum(map(_family_cost, families))
        reads = footprint([e for family in families for e in family.shape], program.vocabulary)
        timed_leaf = any(f.timed for f in families)
        return LeafPlan(*pair, tuple(families), timed_leaf, reads, cost)

    def _shape_facts(self, number: int, shape: Shape) -> tuple[bool, bool, int]:
        facts = self._facts.get(number)
        if facts is None:
            facts = (
                any(is_timed(e) for e in shape),
                any(is_fallible(e) for e in shape),
                sum(cost_of(e) for e in shape),
            )
            self._facts[number] = facts
        return facts


# ---- what a condition is like


def is_timed(expr: t.TypedExpr) -> bool:
    return any(t.is_clocked(e) for e in t.walk(expr))


def is_fallible(expr: t.TypedExpr) -> bool:
    """Whether evaluation can end in an error though every record of the request's own roots is there."""
    if can_be_too_costly(expr):
        return True
    for each in t.walk(expr):
        match each:
            case t.Arithmetic():
                return True
            case t.AttributeOf(of) if not isinstance(of, t.Root):
                return True
            case t.Below(item, _, _, index) | t.BelowAny(item, _, _, index) if index is not None:
                if not isinstance(item, t.Root):
                    return True
    return False


def _family_cost(family: Family) -> int:
    """Where an index finds the rules, only those under one key are evaluated."""
    found = ELEMENTS_MAX if isinstance(family.index, MemberIndex) else 1
    if not isinstance(family.index, EqualityIndex):
        return found + sum(row.cost for row in family.rows)
    under: dict[tuple[Any, ...], int] = {}
    for row in family.rows:
        keys = equality_keys(row, family.index)
        if keys is None:
            found += row.cost
        for key in keys or ():
            under[key] = under.get(key, 0) + row.cost
    return found + max(under.values(), default=0)


# ---- indexes


def _index(shape: Shape) -> Index | None:
    equalities: list[tuple[int, t.TypedExpr, int]] = []
    members: list[MemberIndex] = []
    for part, expr in enumerate(shape):
        match expr:
            case t.Compare("==", operand, t.Hole(hole)) | t.Compare("==", t.Hole(hole), operand):
                if _can_index(operand):
                    equalities.append((part, operand, hole))
            case t.Member(operand, t.Hole(hole)) if _can_index(operand):
                equalities.append((part, operand, hole))
            case t.Member(t.Hole(hole), elements) if _can_index(elements):
                members.append(MemberIndex(expr, part, hole))
            case t.SetCall("contains", elements, t.Hole(hole)) if _can_index(elements):
                members.append(MemberIndex(expr, part, hole))
            case t.Below(t.Root(), _, t.Hole(hole)):
                members.append(MemberIndex(expr, part, hole))
    if equalities:
        parts, operands, holes = zip(*equalities, strict=True)
        return EqualityIndex(operands, parts, holes)
    return members[0] if members else None


def _can_index(operand: t.TypedExpr) -> bool:
    return not has_hole(operand) and not is_fallible(operand) and not is_timed(operand)


def equality_keys(row: Row, index: EqualityIndex) -> list[tuple[Any, ...]] | None:
    """The keys under which a row stands: several where a condition is `x in […]`; None where that would be too many."""
    choices: list[tuple[Any, ...]] = []
    total = 1
    for part, hole in zip(index.parts, index.holes, strict=True):
        value = row.constants[hole]
        choice = tuple(value) if isinstance(row.shape[part], t.Member) else (value,)
        total *= len(choice)
        choices.append(choice)
    return list(product(*choices)) if total <= KEYS_PER_ROW_MAX else None


def _show_leaf(leaf: LeafPlan) -> str:
    lines = [f"{leaf.action} on {leaf.resource_type}{' (timed)' if leaf.timed else ''}"]
    lines.append("  reads " + ", ".join(str(r) for r in leaf.footprint))
    for family in leaf.families:
        kind = "one by one" if family.index is None else _show_index(family.index)
        flags = " timed" * family.timed + " fallible" * family.fallible
        rules = sorted({r.rule for r in family.rows})
        lines.append(f"  {family.effect}{flags}: {len(rules)} rule{'s' * (len(rules) != 1)}, {kind}")
    return "\n".join(lines)


def _show_index(index: Index) -> str:
    operands: Iterable[t.TypedExpr] = index.operands if isinstance(index, EqualityIndex) else [index.elements]
    return "by " + " and ".join(o.span.text for o in operands)
