"""Operators: comparison, the clock, membership, arithmetic, sets and quantifiers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import cast

from language import typed as t
from language.checker.base import ROOTS, mismatch_hint
from language.checker.narrow import Facts, label_of
from language.checker.reading import Reading
from language.diagnostics import did_you_mean
from language.spiffe import parse_pattern
from language.syntax import nodes as n
from language.types import (
    BOOL,
    DURATION,
    INT,
    SPIFFE_ID,
    STRING,
    TIME,
    UNKNOWN,
    EntityType,
    Scalar,
    SetType,
    Trust,
    Type,
    Unknown,
    agree,
    show,
)
from language.vocabulary import WORKLOAD
from language.windows import CalendarWindow, zone_names

QUANTIFIERS_MAX = 2


class Operators(Reading):
    # ---- operators

    def _compare(self, node: n.Compare, facts: Facts) -> t.TypedExpr:
        if _is_now(node.left) or _is_now(node.right):
            return self._clock(node, facts)
        left, right = self._pair(node.left, node.right, facts)
        if not agree(left.type, right.type):
            message = f"`{show(left.type)}` and `{show(right.type)}` are never equal"
            self.report.say("type_mismatch", message, node.span, mismatch_hint(left.type, right.type))
        elif node.operator not in ("==", "!=") and not _is_ordered(left.type):
            self.report.say("not_ordered", f"`{show(left.type)}` has no order", node.span)
        return self._make(t.Compare, node.span, node.operator, left, right)

    def _pair(self, left_node: n.Expr, right_node: n.Expr, facts: Facts) -> tuple[t.TypedExpr, t.TypedExpr]:
        """Both sides of an operator, where each may tell which enum or set the other is."""
        if _needs_expectation(left_node, self.around.variables) and not _needs_expectation(
            right_node, self.around.variables
        ):
            right = self._operand(right_node, facts)
            return self._operand(left_node, facts, right.type), right
        left = self._operand(left_node, facts)
        return left, self._operand(right_node, facts, left.type)

    def _clock(self, node: n.Compare, facts: Facts) -> t.TypedExpr:
        if _is_now(node.left) and _is_now(node.right):
            return self._wrong("clock_form", "`now` against itself", node.span)
        moment_node = node.right if _is_now(node.left) else node.left
        moment = self._expect(moment_node, facts, TIME)
        if _is_now(node.left) and node.operator == "<":
            return self._make(t.Before, node.span, moment)
        if _is_now(node.left) and node.operator == ">=":
            return self._make(t.Since, node.span, moment)
        early = node.operator in ("<", "<=") if _is_now(node.left) else node.operator in (">", ">=")
        text = moment_node.span.text
        hint = f"write `now < {text}`" if early else f"write `now >= {text}`"
        if node.operator in ("==", "!="):
            hint = "an instant is over before anyone could use it; write `now < t` or `now >= t`"
        return self._wrong("clock_form", "the clock is compared only as `now < t` and `now >= t`", node.span, hint)

    def _within(self, node: n.Within, window: n.Window) -> t.TypedExpr:
        if window.zone not in zone_names():
            near = [name for name in zone_names() if name.endswith(f"/{window.zone}")]
            hint = f"did you mean `{min(near)}`?" if near else did_you_mean(window.zone, zone_names())
            return self._wrong("unknown_zone", f"there is no time zone `{window.zone[:60]}`", window.span, hint)
        if window.ends <= window.starts:
            hint = "a window over midnight is two: `… or …`"
            return self._wrong("bad_window", "a window ends after it starts, on the same day", window.span, hint)
        calendar = CalendarWindow(*window.days, window.starts, window.ends, window.zone)
        return self._make(t.Within, node.span, calendar)

    def _in(self, node: n.In, facts: Facts) -> t.TypedExpr:
        found = self._membership(node, facts)
        return self._make(t.Not, node.span, found) if node.negated else found

    def _membership(self, node: n.In, facts: Facts) -> t.TypedExpr:
        if isinstance(node.container, n.Literal) and node.container.kind == "spiffe":
            return self._in_pattern(node, node.container, facts)
        item, container = self._in_pair(node, facts)
        self._refuse_clock((item,))
        match item.type, container.type:
            case EntityType(low), EntityType(high):
                self._demand_workload(item, node.item.span, facts)
                return self._below(t.Below, node, item, low, container, high)
            case EntityType(low), SetType(EntityType(high)):
                self._demand_workload(item, node.item.span, facts)
                return self._below(t.BelowAny, node, item, low, container, high)
            case Scalar.IP, Scalar.CIDR:
                return self._make(t.InNetwork, node.span, item, container)
            case _, SetType(of):
                if not agree(item.type, of):
                    message = f"`{show(item.type)}` is never in `{show(container.type)}`"
                    self.report.say("type_mismatch", message, node.span, mismatch_hint(item.type, of))
                return self._make(t.Member, node.span, item, container)
            case (Unknown(), _) | (_, Unknown()):
                return self._constant(False, BOOL, node.span, UNKNOWN)
            case _:
                hint = "for a part of a text, `.includes`" if container.type == STRING else None
                message = f"nothing is in a `{show(container.type)}`; `in` asks sets, entities and networks"
                return self._wrong("type_mismatch", message, node.container.span, hint)

    def _in_pair(self, node: n.In, facts: Facts) -> tuple[t.TypedExpr, t.TypedExpr]:
        if _needs_expectation(node.item, self.around.variables):
            container = self._operand(node.container, facts)
            of = container.type.of if isinstance(container.type, SetType) else UNKNOWN
            return self._operand(node.item, facts, of), container
        item = self._operand(node.item, facts)
        # an entity may be in a set of what stands above it, so its own type says nothing about the set
        of = UNKNOWN if isinstance(item.type, EntityType) else item.type
        return item, self._operand(node.container, facts, SetType(of))

    def _in_pattern(self, node: n.In, literal: n.Literal, facts: Facts) -> t.TypedExpr:
        item = self._expect(node.item, facts, SPIFFE_ID)
        pattern = parse_pattern(cast(str, literal.value))
        if pattern is None:
            message = f"`{literal.value}` is not a SPIFFE ID or pattern"
            return self._wrong("bad_spiffe_pattern", message, literal.span)
        return self._make(t.Matches, node.span, item, pattern)

    def _below(
        self,
        cls: type[t.Below] | type[t.BelowAny],
        node: n.In,
        item: t.TypedExpr,
        low: str,
        target: t.TypedExpr,
        high: str,
    ) -> t.TypedExpr:
        decl = self.vocabulary.entity(low)
        index = decl.ancestor_indexes.get(high)
        if index is None and low != high:
            hint = f"declare it: `entity {low} in {high}`" if low != WORKLOAD else f"`workload in {high}`"
            return self._wrong("never_below", f"a `{low}` is never in a `{high}`", node.span, hint)
        if index is not None:
            self._demand_directory(item, decl, node.item.span)
        claimed = frozenset([label_of(item)]) if decl.trust is Trust.CLAIMED and index is not None else frozenset()
        return self._make(cls, node.span, item, low, target, index, low == high, claimed=claimed)

    def _arithmetic(self, node: n.Arithmetic, facts: Facts) -> t.TypedExpr:
        left, right = self._operand(node.left, facts), self._operand(node.right, facts)
        result = _SUMS.get((node.operator, left.type, right.type))
        if result is None:
            if Unknown() not in (left.type, right.type):
                message = f"`{show(left.type)} {node.operator} {show(right.type)}` is not defined"
                self.report.say("type_mismatch", message, node.span)
            result = UNKNOWN
        return self._make(t.Arithmetic, node.span, node.operator, left, right, result)

    def _negate(self, node: n.Negate, item: n.Expr, facts: Facts) -> t.TypedExpr:
        inner = self._value(item, facts)
        if inner.type not in (INT, DURATION):
            if inner.type != UNKNOWN:
                self.report.say("type_mismatch", f"`-` of `{show(inner.type)}` is not defined", node.span)
            return self._constant(0, UNKNOWN, node.span)
        zero = self._constant(0, inner.type, node.span)
        return self._make(t.Arithmetic, node.span, "-", zero, inner, inner.type)

    def _refuse_clock(self, operands: Iterable[t.TypedExpr]) -> None:
        """A life cannot be kept inside a value, so the clock stands only where truth is combined."""
        for operand in operands:
            if operand.type == BOOL and any(t.is_clocked(e) for e in t.walk(operand)):
                self.report.say("clock_value", "a clock comparison cannot be a value here", operand.span)

    def _set(self, node: n.SetOf, items: tuple[n.Expr | n.Record, ...], facts: Facts, expected: Type) -> t.TypedExpr:
        of: Type = expected.of if isinstance(expected, SetType) else UNKNOWN
        typed: list[t.TypedExpr] = []
        for item in items:
            if isinstance(item, n.Record):
                return self._wrong("bad_type", "a record stands only in the data of a test", item.span)
            element = self._operand(item, facts, of)
            if not agree(element.type, of):
                message = f"one element is `{show(of)}`, this one `{show(element.type)}`"
                self.report.say("type_mismatch", message, item.span, mismatch_hint(element.type, of))
            elif isinstance(of, Unknown):
                of = element.type
            typed.append(element)
        if not items and isinstance(of, Unknown):
            return self._wrong("empty_set_type", "nothing says what this empty set is a set of", node.span)
        self._refuse_clock(typed)
        if all(isinstance(e, t.Constant) for e in typed):
            return self._constant(frozenset(cast(t.Constant, e).value for e in typed), SetType(of), node.span)
        return self._make(t.SetOf, node.span, tuple(typed), SetType(of))

    def _quantified(self, node: n.Quantified, facts: Facts) -> t.TypedExpr:
        over = self._operand(node.over, facts)
        if not isinstance(over.type, SetType | Unknown):
            self.report.say("type_mismatch", f"`{node.kind}` goes over a set, this is `{show(over.type)}`", node.over.span)
        of = over.type.of if isinstance(over.type, SetType) else UNKNOWN
        if self.around.quantifiers >= QUANTIFIERS_MAX:
            return self._wrong("nesting_too_deep", f"quantifiers nest at most {QUANTIFIERS_MAX} deep", node.span)
        name = node.variable.text
        if name in ROOTS or name in self.around.variables:
            self.report.say("shadowed_name", f"`{name}` means something else already", node.variable.span)
        # INVARIANT: the number is the depth of nesting, so that rules of one shape compare equal and no two
        # variables that can be seen at once share a number.
        outer = self.around
        variable = t.Variable(name, outer.quantifiers + 1, of, span=node.variable.span, claimed=over.claimed)
        self.around = replace(outer, variables={**outer.variables, name: variable}, quantifiers=outer.quantifiers + 1)
        body, _ = self._condition(node.body, facts)
        self.around = outer
        return self._make(t.Quantified, node.span, node.kind, variable, over, body)


_SUMS: dict[tuple[str, Type, Type], Type] = {
    ("+", INT, INT): INT,
    ("-", INT, INT): INT,
    ("+", TIME, DURATION): TIME,
    ("+", DURATION, TIME): TIME,
    ("-", TIME, DURATION): TIME,
    ("-", TIME, TIME): DURATION,
    ("+", DURATION, DURATION): DURATION,
    ("-", DURATION, DURATION): DURATION,
}


def _is_now(node: n.Expr) -> bool:
    return isinstance(node, n.Literal) and node.kind == "now"


def _is_ordered(type_: Type) -> bool:
    return type_ in (INT, TIME, DURATION) or isinstance(type_, Unknown)


def _needs_expectation(node: n.Expr, variables: Mapping[str, t.TypedExpr]) -> bool:
    """A bare word that is no root: an enum's member, which only the other side can place; or a set of such."""
    match node:
        case n.Name(text):
            return text not in ROOTS and text not in variables
        case n.SetOf(items):
            return all(not isinstance(i, n.Record) and _needs_expectation(i, variables) for i in items)
        case _:
            return False
