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
from language.types import SetType

FAMILY_MIN = 4  # fewer rules than this of one shape are written out one by one
KEYS_PER_ROW_MAX = 64  # how far `x in [a, b, …]` is unrolled into an index


@dataclass(frozen=True, slots=True)
class Row:
    """One instance of one rule."""

    rule: int  # its place in `Program.rules`
    exprs: tuple[t.TypedExpr, ...]
    shape: Shape
    family: int  # the number of the shape
    constants: tuple[Any, ...]


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
                    memory[key] = (exprs, shape, self._shapes.setdefault(shape, len(self._shapes)), constants)
                taken = memory[key]
                if not any(isinstance(e, t.Constant) and e.value is False for e in taken[0]):
                    found.setdefault(pair, []).append(taken)
        return found

    def _leaf(self, pair: tuple[str, str], rows: list[Row], program: t.Program) -> LeafPlan:
        grouped: dict[tuple[str, int], list[Row]] = {}
        for row in rows:
            grouped.setdefault((program.rules[row.rule].effect, row.family), []).append(row)
        families = []
        cost = 0
        for (effect, _), members in grouped.items():
            shape = members[0].shape
            timed, fallible, shape_cost = self._shape_facts(members[0].family, shape)
            cost += shape_cost * len(members)
            index = _index(shape) if len(members) >= FAMILY_MIN and not timed else None
            families.append(Family(effect, shape, tuple(members), timed, fallible, index))  # type: ignore[arg-type]
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


def cost_of(expr: t.TypedExpr) -> int:
    """The worst cost of a condition, in steps of about fifty nanoseconds."""
    below = sum(cost_of(c) for c in t.children(expr))
    match expr:
        case t.Quantified(_, _, over, body):
            return cost_of(over) + (1 + cost_of(body)) * _size(over)
        case t.SetCall("contains_all" | "overlaps"):
            return below + ELEMENTS_MAX // 10
        case t.TextCall():
            return below + 100
        case t.Compare(_, left, _) if isinstance(left.type, SetType):
            return below + ELEMENTS_MAX // 10
        case t.Within():
            return 50
        case _:
            return 1 + below


def _size(over: t.TypedExpr) -> int:
    if isinstance(over, t.Constant):
        return max(1, len(over.value))
    return len(over.items) if isinstance(over, t.SetOf) else ELEMENTS_MAX


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
