"""Surface expressions -> typed expressions: conditions, and the dispatch over every kind of expression.

Every mistake is told once: what is wrong gets the type `UNKNOWN`, which agrees with everything. Conditions give, beside
their typed form, the facts that they establish, so that optional things can be read only under a guard.
"""

from __future__ import annotations

from typing import assert_never

from language import typed as t
from language.checker.base import Surroundings
from language.checker.calls import Calls
from language.checker.narrow import NOTHING, Facts, Known, key_path, path_of, task_fact, user_fact
from language.source import Span
from language.syntax import nodes as n
from language.types import BOOL, STRING, UNKNOWN, EntityType, MapType, Type, Unknown, show
from language.vocabulary import GATE, PROCESS, WORKLOAD


class ExpressionChecker(Calls):
    # ---- entry points

    def condition(self, node: n.Expr, around: Surroundings, facts: Facts) -> tuple[t.TypedExpr, Known]:
        """A condition in its surroundings; it must be a Bool."""
        self.around, self._nodes = around, 0
        return self._condition(node, facts)

    def value(self, node: n.Expr, around: Surroundings, facts: Facts, expected: Type) -> t.TypedExpr:
        """A value of an expected type."""
        self.around, self._nodes = around, 0
        return self._expect(node, facts, expected)

    # ---- conditions

    def _condition(self, node: n.Expr, facts: Facts) -> tuple[t.TypedExpr, Known]:
        match node:
            case n.And(items):
                return self._all_of(node, items, facts)
            case n.Or(items):
                return self._any_of(node, items, facts)
            case n.Not(item):
                inner, known = self._condition(item, facts)
                if isinstance(inner, t.Constant):
                    return self._constant(not inner.value, BOOL, node.span), known.negated()
                return self._make(t.Not, node.span, inner), known.negated()
            case n.Has():
                return self._has(node, facts)
            case n.Is():
                return self._is(node, facts)
            case _:
                return self._expect(node, facts, BOOL), Known()

    def _all_of(self, node: n.And, items: tuple[n.Expr, ...], facts: Facts) -> tuple[t.TypedExpr, Known]:
        typed: list[t.TypedExpr] = []
        true, falses = NOTHING, []
        for item in items:
            inner, known = self._condition(item, facts | true)
            if _is_constant(inner, False):  # `resource is T` settled by the type: the rest is about another type
                return self._constant(False, BOOL, node.span), Known()
            if not _is_constant(inner, True):
                typed.append(inner)
            true |= known.if_true
            falses.append(known.if_false)
        return self._join(t.And, typed, node.span), Known(true, frozenset.intersection(*falses))

    def _any_of(self, node: n.Or, items: tuple[n.Expr, ...], facts: Facts) -> tuple[t.TypedExpr, Known]:
        typed: list[t.TypedExpr] = []
        false, trues = NOTHING, []
        for item in items:
            inner, known = self._condition(item, facts | false)
            if _is_constant(inner, True):
                return self._constant(True, BOOL, node.span), Known()
            if not _is_constant(inner, False):
                typed.append(inner)
                trues.append(known.if_true)
            false |= known.if_false
        return self._join(t.Or, typed, node.span), Known(frozenset.intersection(*trues) if trues else NOTHING, false)

    def _join(self, cls: type[t.And] | type[t.Or], items: list[t.TypedExpr], span: Span) -> t.TypedExpr:
        if not items:
            return self._constant(cls is t.And, BOOL, span)
        return items[0] if len(items) == 1 else self._make(cls, span, tuple(items))

    def _has(self, node: n.Has, facts: Facts) -> tuple[t.TypedExpr, Known]:
        if isinstance(node.of, n.Name) and node.of.text in ("workload", "gate") and self._root_visible(node.of):
            return self._has_of_root(node, node.of.text, facts)
        of = self._value(node.of, facts)
        if node.is_key:
            return self._has_key(node, of)
        found = self._field(of, node.name, facts)
        if found is None:
            return self._constant(False, BOOL, node.span, UNKNOWN), Known()
        path = path_of(found)
        known = Known(frozenset([path]) if path else NOTHING)
        return self._make(t.IsPresent, node.span, found), known

    def _has_key(self, node: n.Has, of: t.TypedExpr) -> tuple[t.TypedExpr, Known]:
        if not isinstance(of.type, MapType | Unknown):
            self.report.say("not_a_map", f'`has "…"` asks a map, this is `{show(of.type)}`', node.of.span)
        key = self._constant(node.name.text, STRING, node.name.span)
        path = key_path(of, key)
        return self._make(t.HasKey, node.span, of, key), Known(frozenset([path]) if path else NOTHING)

    def _has_of_root(self, node: n.Has, root: str, facts: Facts) -> tuple[t.TypedExpr, Known]:
        """`workload has …` and `gate has …` also ask whether there is a workload or a gate at all."""
        present: set[tuple[str, ...]] = {(root,)}
        inner: t.TypedExpr
        if root == "gate":
            gate = self._make(t.Root, node.of.span, "gate", GATE)
            found = self._field(gate, node.name, facts)
        elif node.name.text == "process":
            found = self._make(t.Root, node.span, "process", PROCESS)
        elif node.name.text == "id":
            return self._make(t.HasWorkload, node.span), Known(frozenset(present))
        else:
            workload = self._make(t.Root, node.of.span, "workload", EntityType(WORKLOAD))
            found = self._field(workload, node.name, facts)
        if found is None:
            return self._constant(False, BOOL, node.span, UNKNOWN), Known()
        inner = self._make(t.IsPresent, node.span, found)
        path = path_of(found)
        return inner, Known(frozenset(present | ({path} if path else set())))

    def _is(self, node: n.Is, facts: Facts) -> tuple[t.TypedExpr, Known]:
        word = node.of.text if isinstance(node.of, n.Name) and self._root_visible(node.of) else None
        name = node.type.text
        self.used.add(name)
        if word == "task":
            if name not in self.vocabulary.tasks:
                self.report.unknown("task", name, node.type.span, self.vocabulary.tasks)
            kind = self.around.task_kind or self._narrowed("task", facts)
            if kind is not None:
                return self._constant(kind == name, BOOL, node.span), Known()
            return self._make(t.IsTask, node.span, name), Known(frozenset([task_fact(name)]))
        if name not in self.vocabulary.entities:
            self.report.unknown("entity type", name, node.type.span, self.vocabulary.entities)
            return self._constant(False, BOOL, node.span, UNKNOWN), Known()
        if word == "user":
            user_type = self.around.user_type or self._narrowed("user", facts)
            if user_type is not None:
                return self._constant(user_type == name, BOOL, node.span), Known()
            return self._make(t.IsUser, node.span, name), Known(frozenset([user_fact(name)]))
        of = self._value(node.of, facts)
        if not isinstance(of.type, EntityType | Unknown):
            self.report.say("type_mismatch", f"`is` asks an entity, this is `{show(of.type)}`", node.of.span)
        return self._constant(of.type == EntityType(name), BOOL, node.span), Known()

    # ---- values

    def _value(self, node: n.Expr, facts: Facts, expected: Type = UNKNOWN) -> t.TypedExpr:
        match node:
            case n.And() | n.Or() | n.Not() | n.Has() | n.Is():
                return self._condition(node, facts)[0]
            case n.Name():
                return self._name(node, facts, expected)
            case n.Literal():
                return self._literal(node)
            case n.EntityRef(type_, id_):
                return self._entity_ref(node, type_, id_)
            case n.Attribute():
                return self._attribute(node, facts)
            case n.Index(of, key):
                return self._index(node, of, key, facts)
            case n.Method():
                return self._method(node, facts)
            case n.Call():
                return self._call(node, facts)
            case n.SetOf(items):
                return self._set(node, items, facts, expected)
            case n.Compare():
                return self._compare(node, facts)
            case n.In():
                return self._in(node, facts)
            case n.Within(window):
                return self._within(node, window)
            case n.Arithmetic():
                return self._arithmetic(node, facts)
            case n.Negate(item):
                return self._negate(node, item, facts)
            case n.Quantified():
                return self._quantified(node, facts)
            case _:
                assert_never(node)


def _is_constant(expr: t.TypedExpr, value: bool) -> bool:
    return isinstance(expr, t.Constant) and expr.type == BOOL and expr.value is value
