"""Surface expressions -> typed expressions.

Every mistake is told once: what is wrong gets the type `UNKNOWN`, which agrees with everything. Conditions give, beside
their typed form, the facts that they establish, so that optional things can be read only under a guard.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, assert_never, cast

from language import typed as t
from language.checker.builtins import METHODS
from language.checker.narrow import NOTHING, Facts, Known, key_path, path_of, task_fact, user_fact
from language.checker.report import Report
from language.diagnostics import did_you_mean
from language.source import Span
from language.spiffe import is_spiffe_id, parse_pattern
from language.syntax import nodes as n
from language.syntax.literals import INT_MAX
from language.types import (
    BOOL,
    CIDR,
    DURATION,
    INT,
    IP,
    SPIFFE_ID,
    STRING,
    TIME,
    UNKNOWN,
    EntityType,
    EnumType,
    MapType,
    RecordType,
    Scalar,
    SetType,
    TaskType,
    Trust,
    Type,
    Unknown,
    agree,
    show,
)
from language.values import conform_id, parse_cidr, parse_ip
from language.vocabulary import GATE, LOCATION, PROCESS, PROOFS, WORKLOAD, EntityDecl, Vocabulary
from language.windows import CalendarWindow, zone_names

QUANTIFIERS_MAX = 2
EXPANDED_NODES_MAX = 5_000

N = TypeVar("N", bound=t.Node)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an expression stands in: which resource, user, task and context its roots are."""

    resource_type: str | None = None
    user_type: str | None = None
    task_kind: str | None = None
    context: RecordType | None = None
    workload_present: bool = False
    roots_visible: bool = True  # a definition sees only its parameters
    variables: Mapping[str, t.TypedExpr] = field(default_factory=dict)
    quantifiers: int = 0


class ExpressionChecker:
    def __init__(self, vocabulary: Vocabulary, definitions: Mapping[str, n.Define], report: Report) -> None:
        self.vocabulary = vocabulary
        self.definitions = definitions
        self.report = report
        self.around = Surroundings()
        self._expanding: list[str] = []
        self._nodes = 0
        self.used: set[str] = set()
        self.expanded = 0  # nodes made by writing definitions out

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
            if self.around.task_kind is not None:
                return self._constant(self.around.task_kind == name, BOOL, node.span), Known()
            return self._make(t.IsTask, node.span, name), Known(frozenset([task_fact(name)]))
        if name not in self.vocabulary.entities:
            self.report.unknown("entity type", name, node.type.span, self.vocabulary.entities)
            return self._constant(False, BOOL, node.span, UNKNOWN), Known()
        if word == "user":
            if self.around.user_type is not None:
                return self._constant(self.around.user_type == name, BOOL, node.span), Known()
            return self._make(t.IsUser, node.span, name), Known(frozenset([user_fact(name)]))
        of = self._value(node.of, facts)
        if not isinstance(of.type, EntityType | Unknown):
            self.report.say("type_mismatch", f"`is` asks an entity, this is `{show(of.type)}`", node.of.span)
        return self._constant(of.type == EntityType(name), BOOL, node.span), Known()

    # ---- values

    def _expect(self, node: n.Expr, facts: Facts, expected: Type) -> t.TypedExpr:
        typed = self._value(node, facts, expected)
        if not agree(typed.type, expected):
            found = f"expected `{show(expected)}`, found `{show(typed.type)}`"
            self.report.say("type_mismatch", found, node.span, _mismatch_hint(typed.type, expected))
        return typed

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

    # ---- names and literals

    def _root_visible(self, node: n.Name) -> bool:
        return node.text not in self.around.variables and self.around.roots_visible

    def _name(self, node: n.Name, facts: Facts, expected: Type) -> t.TypedExpr:
        name = node.text
        if name in self.around.variables:
            variable = self.around.variables[name]
            return replace(variable, span=node.span)
        if isinstance(expected, EnumType) and name in expected.members:
            self.used.add(expected.name)
            return self._constant(name, expected, node.span)
        if not self.around.roots_visible and name in _ROOTS:
            return self._wrong("unknown_name", f"a definition sees only its parameters, not `{name}`", node.span)
        if name in _ROOTS:
            return self._root(node, name, facts)
        hint = did_you_mean(name, [*_ROOTS, *self.around.variables, *self.vocabulary.enum_members])
        if name in self.vocabulary.enum_members:
            hint = f"`{name}` is a member of {self._enums_with(name)}; nothing here says that this enum is meant"
        elif name in self.vocabulary.entities:
            hint = f'an entity is written `{name} "id"`'
        return self._wrong("unknown_name", f"there is no `{name}` here", node.span, hint)

    def _enums_with(self, member: str) -> str:
        return " and ".join(f"`{e.name}`" for e in self.vocabulary.enums.values() if member in e.members)

    def _root(self, node: n.Name, name: str, facts: Facts) -> t.TypedExpr:
        around, span = self.around, node.span
        match name:
            case "resource" if around.resource_type is not None:
                return self._make(t.Root, span, "resource", EntityType(around.resource_type))
            case "workload":
                return self._make(t.Root, span, "workload", EntityType(WORKLOAD))
            case "user":
                kind = around.user_type or self._narrowed("user", facts)
                if kind is None:
                    hint = "say `for T`, or guard with `user is T and …`"
                    return self._wrong("unguarded_user", "there may be no user here", span, hint)
                return self._make(t.Root, span, "user", EntityType(kind))
            case "task":
                kind = around.task_kind or self._narrowed("task", facts)
                if kind is None:
                    hint = "say `during K`, or guard with `task is K and …`"
                    return self._wrong("unguarded_task", "there may be no task here", span, hint)
                return self._make(t.Root, span, "task", TaskType(kind))
            case "context" if around.context is not None:
                return self._make(t.Root, span, "context", around.context)
            case "gate":
                return self._make(t.Root, span, "gate", GATE)
            case "location":
                return self._make(t.Root, span, "location", LOCATION)
            case "proof":
                return self._make(t.Root, span, "proof", PROOFS)
            case _:
                return self._wrong("unknown_name", f"there is no `{name}` here", span)

    def _narrowed(self, root: str, facts: Facts) -> str | None:
        return next((fact[2] for fact in facts if fact[:2] == (root, "is")), None)

    def _literal(self, node: n.Literal) -> t.TypedExpr:
        match node.kind:
            case "string":
                return self._constant(node.value, STRING, node.span)
            case "bool":
                return self._constant(node.value, BOOL, node.span)
            case "int":
                if cast(int, node.value) > INT_MAX:
                    return self._wrong("bad_literal", f"`{node.value}` does not fit into 64 bits", node.span)
                return self._constant(node.value, INT, node.span)
            case "duration":
                return self._constant(node.value, DURATION, node.span)
            case "instant":
                return self._constant(node.value, TIME, node.span)
            case "spiffe":
                if not is_spiffe_id(cast(str, node.value)):
                    hint = "a pattern stands after `in`, or in `who`"
                    return self._wrong("bad_spiffe_pattern", f"`{node.value}` is not a SPIFFE ID", node.span, hint)
                return self._constant(node.value, SPIFFE_ID, node.span)
            case "now":
                hint = 'write `now < t`, `now >= t` or `now within mon..fri 09:00..17:00 "Europe/Berlin"`'
                return self._wrong("clock_form", "the clock may only be compared", node.span, hint)
            case _:
                assert_never(node.kind)

    def _entity_ref(self, node: n.EntityRef, type_: n.Ident, id_: n.Text) -> t.TypedExpr:
        self.used.add(type_.text)
        if type_.text not in self.vocabulary.entities:
            self.report.unknown("entity type", type_.text, type_.span, self.vocabulary.entities)
            return self._constant("", UNKNOWN, node.span)
        if id_.is_variable:
            return self._wrong("unknown_name", f"the id of a `{type_}` stands in quotes", id_.span)
        try:
            conform_id(id_.value, "id")
        except ValueError as error:
            self.report.say("bad_literal", str(error), id_.span)
        return self._constant(id_.value, EntityType(type_.text), node.span)

    # ---- reading

    def _attribute(self, node: n.Attribute, facts: Facts) -> t.TypedExpr:
        if isinstance(node.of, n.Name):
            enum = self.vocabulary.enums.get(node.of.text)
            if enum is not None and node.of.text not in self.around.variables:
                self.used.add(enum.name)
                if node.name.text not in enum.members:
                    self.report.unknown(f"member of `{enum.name}`", node.name.text, node.name.span, enum.members)
                return self._constant(node.name.text, enum, node.span)
        of = self._value(node.of, facts)
        found = self._field(of, node.name, facts)
        if found is None:
            return self._constant(None, UNKNOWN, node.span)
        found = replace(found, span=node.span)
        self._demand_guard(found, node, facts)
        return found

    def _field(self, of: t.TypedExpr, name: n.Ident, facts: Facts) -> t.TypedExpr | None:
        """The read of a field, whether or not it may be absent."""
        match of.type:
            case EntityType(type_name):
                return self._entity_field(of, type_name, name, facts)
            case TaskType(kind):
                record: RecordType = self.vocabulary.tasks[kind].record if kind in self.vocabulary.tasks else RecordType(())
            case RecordType() as record:
                pass
            case Unknown():
                return None
            case _:
                self.report.say("no_attributes", f"`{show(of.type)}` has no attributes", name.span)
                return None
        hit = record.find(name.text)
        if hit is None:
            known = [f.name for f in record.fields]
            self.report.unknown(
                f"`{name}` in `{show(of.type)}`: no attribute", name.text, name.span, known, "unknown_attribute"
            )
            return None
        index, found = hit
        claimed = frozenset([_label(of, name.text)]) if found.trust is Trust.CLAIMED else frozenset()
        return self._make(t.FieldOf, name.span, of, name.text, index, found.type, claimed=claimed)

    def _entity_field(self, of: t.TypedExpr, type_name: str, name: n.Ident, facts: Facts) -> t.TypedExpr | None:
        decl = self.vocabulary.entity(type_name)
        if name.text == "id":
            id_type: Type = SPIFFE_ID if type_name == WORKLOAD else STRING
            self._demand_workload(of, name.span, facts)
            return self._make(t.IdOf, name.span, of, id_type)
        if type_name == WORKLOAD and name.text == "process":
            return self._make(t.Root, name.span, "process", PROCESS)
        hit = decl.find(name.text)
        if hit is None:
            known = [*decl.indexes, "id"] + (["process"] if type_name == WORKLOAD else [])
            message = f"`{type_name}` has no attribute `{name}`"
            self.report.say("unknown_attribute", message, name.span, did_you_mean(name.text, known))
            return None
        self._demand_directory(of, decl, name.span)
        index, found = hit
        claimed = frozenset([_label(of, name.text)]) if decl.trust is Trust.CLAIMED else frozenset()
        return self._make(t.AttributeOf, name.span, of, type_name, name.text, index, found.type, claimed=claimed)

    def _demand_directory(self, of: t.TypedExpr, decl: EntityDecl, span: Span) -> None:
        """What comes with a request comes for its resource and its user only; behind a reference there is no record."""
        told = isinstance(of, t.Root) or (isinstance(of, t.Variable) and of.number < 0)  # a parameter may become a root
        if decl.trust is not Trust.VERIFIED and not told:
            hint = "only `resource` and `user` bring their attributes with them"
            self.report.say("not_in_directory", f"the directory holds no `{decl.name}`", span, hint)

    def _demand_workload(self, of: t.TypedExpr, span: Span, facts: Facts) -> None:
        if isinstance(of, t.Root) and of.name == "workload" and not self.around.workload_present:
            if ("workload",) not in facts:
                hint = "say `who` with a pattern, or guard with `workload has …`"
                self.report.say("unguarded_workload", "there may be no workload here", span, hint)

    def _demand_guard(self, found: t.TypedExpr, node: n.Attribute, facts: Facts) -> None:
        """An optional thing may be read only where it was seen to be there."""
        path = path_of(found)
        if isinstance(found, t.AttributeOf) and path and path not in facts:
            self._demand_workload(found.of, node.of.span, facts)
        if (
            isinstance(found, t.FieldOf)
            and isinstance(found.of, t.Root)
            and found.of.name == "gate"
            and ("gate",) not in facts
        ):
            hint = f"write `gate has {node.name} and …`"
            self.report.say("unguarded_gate", "there may be no gate here", node.of.span, hint)
            return
        if self._is_optional(found) and (path is None or path not in facts):
            written = node.of.span.text if len(node.of.span.text) < 60 else "it"
            hint = f"write `{written} has {node.name} and …`"
            self.report.say("unguarded_optional", f"`{node.name}` may be absent here", node.span, hint)

    def _is_optional(self, found: t.TypedExpr) -> bool:
        match found:
            case t.Root("process"):
                return True
            case t.AttributeOf(_, entity, name):
                hit = self.vocabulary.entity(entity).find(name)
                return hit is not None and hit[1].optional
            case t.FieldOf(of, name):
                record = self.vocabulary.tasks[of.type.kind].record if isinstance(of.type, TaskType) else of.type
                hit = record.find(name) if isinstance(record, RecordType) else None
                return hit is not None and hit[1].optional
            case _:
                return False

    def _index(self, node: n.Index, of_node: n.Expr, key_node: n.Expr, facts: Facts) -> t.TypedExpr:
        of = self._value(of_node, facts)
        key = self._expect(key_node, facts, STRING)
        if not isinstance(of.type, MapType | Unknown):
            return self._wrong("not_a_map", f"`{show(of.type)}` is not a map", of_node.span)
        path = key_path(of, key)
        if path is None or path not in facts:
            hint = f"write `{of_node.span.text} has {key_node.span.text} and …`" if path else None
            self.report.say("unguarded_optional", "this entry may be absent here", node.span, hint)
        return self._make(t.KeyOf, node.span, of, key)

    # ---- operators

    def _compare(self, node: n.Compare, facts: Facts) -> t.TypedExpr:
        if _is_now(node.left) or _is_now(node.right):
            return self._clock(node, facts)
        left, right = self._pair(node.left, node.right, facts)
        if not agree(left.type, right.type):
            message = f"`{show(left.type)}` and `{show(right.type)}` are never equal"
            self.report.say("type_mismatch", message, node.span, _mismatch_hint(left.type, right.type))
        elif node.operator not in ("==", "!=") and not _is_ordered(left.type):
            self.report.say("not_ordered", f"`{show(left.type)}` has no order", node.span)
        return self._make(t.Compare, node.span, node.operator, left, right)

    def _pair(self, left_node: n.Expr, right_node: n.Expr, facts: Facts) -> tuple[t.TypedExpr, t.TypedExpr]:
        """Both sides of an operator, where each may tell which enum or set the other is."""
        if _needs_expectation(left_node, self.around.variables) and not _needs_expectation(
            right_node, self.around.variables
        ):
            right = self._value(right_node, facts)
            return self._value(left_node, facts, right.type), right
        left = self._value(left_node, facts)
        return left, self._value(right_node, facts, left.type)

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
            hint = did_you_mean(window.zone, zone_names())
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
                    self.report.say("type_mismatch", message, node.span, _mismatch_hint(item.type, of))
                return self._make(t.Member, node.span, item, container)
            case (Unknown(), _) | (_, Unknown()):
                return self._constant(False, BOOL, node.span, UNKNOWN)
            case _:
                hint = "for a part of a text, `.includes`" if container.type == STRING else None
                message = f"nothing is in a `{show(container.type)}`; `in` asks sets, entities and networks"
                return self._wrong("type_mismatch", message, node.container.span, hint)

    def _in_pair(self, node: n.In, facts: Facts) -> tuple[t.TypedExpr, t.TypedExpr]:
        if _needs_expectation(node.item, self.around.variables):
            container = self._value(node.container, facts)
            of = container.type.of if isinstance(container.type, SetType) else UNKNOWN
            return self._value(node.item, facts, of), container
        item = self._value(node.item, facts)
        return item, self._value(node.container, facts, SetType(item.type))

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
        claimed = frozenset([_label(item)]) if decl.trust is Trust.CLAIMED and index is not None else frozenset()
        return self._make(cls, node.span, item, low, target, index, low == high, claimed=claimed)

    def _arithmetic(self, node: n.Arithmetic, facts: Facts) -> t.TypedExpr:
        left, right = self._value(node.left, facts), self._value(node.right, facts)
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

    def _set(
        self, node: n.SetOf, items: tuple[n.Expr | n.Record, ...], facts: Facts, expected: Type
    ) -> t.TypedExpr:
        of: Type = expected.of if isinstance(expected, SetType) else UNKNOWN
        typed: list[t.TypedExpr] = []
        for item in items:
            if isinstance(item, n.Record):
                return self._wrong("bad_type", "a record stands only in the data of a test", item.span)
            element = self._value(item, facts, of)
            if not agree(element.type, of):
                message = f"one element is `{show(of)}`, this one `{show(element.type)}`"
                self.report.say("type_mismatch", message, item.span, _mismatch_hint(element.type, of))
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
        over = self._value(node.over, facts)
        if not isinstance(over.type, SetType | Unknown):
            self.report.say("type_mismatch", f"`{node.kind}` goes over a set, this is `{show(over.type)}`", node.over.span)
        of = over.type.of if isinstance(over.type, SetType) else UNKNOWN
        if self.around.quantifiers >= QUANTIFIERS_MAX:
            return self._wrong("nesting_too_deep", f"quantifiers nest at most {QUANTIFIERS_MAX} deep", node.span)
        name = node.variable.text
        if name in _ROOTS or name in self.around.variables:
            self.report.say("shadowed_name", f"`{name}` means something else already", node.variable.span)
        # INVARIANT: the number is the depth of nesting, so that rules of one shape compare equal and no two
        # variables that can be seen at once share a number.
        outer = self.around
        variable = t.Variable(name, outer.quantifiers + 1, of, span=node.variable.span, claimed=over.claimed)
        self.around = replace(outer, variables={**outer.variables, name: variable}, quantifiers=outer.quantifiers + 1)
        body, _ = self._condition(node.body, facts)
        self.around = outer
        return self._make(t.Quantified, node.span, node.kind, variable, over, body)

    # ---- calls

    def _method(self, node: n.Method, facts: Facts) -> t.TypedExpr:
        of = self._value(node.of, facts)
        kind = "set" if isinstance(of.type, SetType) else "string" if of.type == STRING else None
        builtin = METHODS.get((kind, node.name.text)) if kind else None
        if builtin is None:
            if of.type != UNKNOWN:
                known = [name for k, name in METHODS if k == kind]
                message = f"`{show(of.type)}` has no `.{node.name}()`"
                self.report.say("unknown_method", message, node.name.span, did_you_mean(node.name.text, known))
            return self._constant(False, BOOL, node.span, UNKNOWN)
        wanted = 0 if builtin.takes == "nothing" else 1
        if len(node.arguments) != wanted:
            message = f"`.{node.name}` takes {wanted or 'no'} argument, found {len(node.arguments)}"
            return self._wrong("wrong_arguments", message, node.span)
        argument = None
        if wanted:
            element = of.type.of if isinstance(of.type, SetType) else STRING
            expected: Type = SetType(element) if builtin.takes == "set" else element
            argument = self._expect(node.arguments[0], facts, expected)
            self._refuse_clock((argument,))
        if kind == "set":
            return self._make(t.SetCall, node.span, builtin.name, of, argument)
        return self._make(t.TextCall, node.span, builtin.name, of, argument)

    def _call(self, node: n.Call, facts: Facts) -> t.TypedExpr:
        name = node.name.text
        self.used.add(name)
        if name in ("ip", "cidr"):
            return self._address(node, name)
        if name in self.vocabulary.relations:
            return self._relation(node, facts)
        if name in self.definitions:
            return self._expand(node, self.definitions[name], facts)
        known = [*self.vocabulary.relations, *self.definitions, "ip", "cidr"]
        self.report.unknown("definition or relation", name, node.name.span, known)
        return self._constant(False, BOOL, node.span, UNKNOWN)

    def _address(self, node: n.Call, name: str) -> t.TypedExpr:
        if len(node.arguments) == 1 and isinstance(node.arguments[0], n.Literal) and node.arguments[0].kind == "string":
            text = cast(str, node.arguments[0].value)
            value: Any = parse_ip(text) if name == "ip" else parse_cidr(text)
            if value is not None:
                return self._constant(value, IP if name == "ip" else CIDR, node.span)
            what = "an IP address" if name == "ip" else "a network such as `10.0.0.0/8`, with no host bits set"
            return self._wrong("bad_literal", f"`{text[:60]}` is not {what}", node.arguments[0].span)
        return self._wrong("wrong_arguments", f'`{name}` takes one string, as in `{name}("10.0.0.1")`', node.span)

    def _relation(self, node: n.Call, facts: Facts) -> t.TypedExpr:
        relation = self.vocabulary.relations[node.name.text]
        if len(node.arguments) != len(relation.of):
            message = f"`{relation.name}` relates {len(relation.of)} things, found {len(node.arguments)}"
            return self._wrong("wrong_arguments", message, node.span)
        arguments = []
        for argument, type_name in zip(node.arguments, relation.of, strict=True):
            typed = self._expect(argument, facts, EntityType(type_name))
            self._demand_workload(typed, argument.span, facts)
            arguments.append(typed)
        return self._make(t.Related, node.span, relation.name, tuple(arguments), relation.expiring)

    def _expand(self, node: n.Call, define: n.Define, facts: Facts) -> t.TypedExpr:
        """A definition is written in where it is called, in surroundings that hold its parameters and nothing else."""
        if len(node.arguments) != len(define.parameters):
            message = f"`{define.name}` takes {len(define.parameters)} arguments, found {len(node.arguments)}"
            return self._wrong("wrong_arguments", message, node.span)
        if define.name.text in self._expanding:
            return self._constant(False, BOOL, node.span, UNKNOWN)  # told once, where definitions are resolved
        bound: dict[str, t.TypedExpr] = {}
        for argument, parameter in zip(node.arguments, define.parameters, strict=True):
            expected = self._parameter_type(parameter)
            bound[parameter.name.text] = self._expect(argument, facts, expected)
        self._nodes += 1
        if self._nodes > EXPANDED_NODES_MAX:
            return self._wrong("too_costly", "definitions written out are too large here", node.span)
        outer = self.around
        self._expanding.append(define.name.text)
        self.around = replace(outer, roots_visible=False, variables=bound, workload_present=outer.workload_present)
        before = self._nodes
        body = self._value(define.body, facts)
        if not self._expanding[:-1]:
            self.expanded += self._nodes - before
        self.around = outer
        self._expanding.pop()
        return body

    def _parameter_type(self, parameter: n.Parameter) -> Type:
        from_type = parameter_type(parameter.type, self.vocabulary)
        if from_type is None:
            self.report.say("bad_type", "a parameter has no such type", parameter.type.span)
        return from_type or UNKNOWN

    def check_definition(self, define: n.Define) -> None:
        """A definition by itself, its parameters opaque, so that it is right or wrong before anyone calls it."""
        bound: dict[str, t.TypedExpr] = {}
        for parameter in define.parameters:
            name = parameter.name.text
            if name in bound:
                self.report.say("duplicate_declaration", f"`{name}` stands twice", parameter.name.span)
            if name in _ROOTS and name != "resource" and name not in ("user", "task", "workload", "context"):
                self.report.say("shadowed_name", f"`{name}` means something else already", parameter.name.span)
            type_ = self._parameter_type(parameter)
            bound[name] = t.Variable(name, -len(bound) - 1, type_, span=parameter.name.span)
        self.around = Surroundings(roots_visible=False, variables=bound, workload_present=True)
        self._nodes = 0
        self._expanding.append(define.name.text)
        self._value(define.body, NOTHING)
        self._expanding.pop()

    # ---- making nodes

    def _make(self, cls: type[N], span: Span, *parts: Any, claimed: frozenset[str] = frozenset()) -> N:
        """A node whose labels are its own and those of everything below it (law L9)."""
        self._nodes += 1
        for part in parts:
            if isinstance(part, t.Node):
                if part.claimed:
                    claimed |= part.claimed
            elif isinstance(part, tuple):
                for each in part:
                    if isinstance(each, t.Node) and each.claimed:
                        claimed |= each.claimed
        return cls(*parts, span=span, claimed=claimed)

    def _constant(self, value: Any, type_: Type, span: Span, shown: Type | None = None) -> t.Constant:
        self._nodes += 1
        return t.Constant(value, shown if shown is not None else type_, span=span)

    def _wrong(self, code: str, message: str, span: Span, hint: str | None = None) -> t.Constant:
        """Reports, and stands in for what could not be checked."""
        self.report.say(code, message, span, hint)
        return self._constant(None, UNKNOWN, span)


_ROOTS = ("resource", "workload", "user", "task", "context", "gate", "location", "proof")

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


def parameter_type(node: n.TypeExpr, vocabulary: Vocabulary) -> Type | None:
    """What a parameter's type means: any declared or built-in type, `workload`, or a kind of task; never optional."""
    match node:
        case n.NamedType(name, False):
            if name.text == WORKLOAD:
                return EntityType(WORKLOAD)
            scalar = next((s for s in Scalar if s.value == name.text), None)
            return scalar or vocabulary.type_named(name.text)
        case n.GenericType(name, (inner,), False) if name.text == "Set":
            of = parameter_type(inner, vocabulary)
            return None if of is None else SetType(of)
        case n.GenericType(name, _, False) if name.text == "Map":
            return MapType()
        case _:
            return None


def _is_constant(expr: t.TypedExpr, value: bool) -> bool:
    return isinstance(expr, t.Constant) and expr.type == BOOL and expr.value is value


def _is_now(node: n.Expr) -> bool:
    return isinstance(node, n.Literal) and node.kind == "now"


def _is_ordered(type_: Type) -> bool:
    return type_ in (INT, TIME, DURATION) or isinstance(type_, Unknown)


def _needs_expectation(node: n.Expr, variables: Mapping[str, t.TypedExpr]) -> bool:
    """A bare word that is no root: an enum's member, which only the other side can place; or a set of such."""
    match node:
        case n.Name(text):
            return text not in _ROOTS and text not in variables
        case n.SetOf(items):
            return all(not isinstance(i, n.Record) and _needs_expectation(i, variables) for i in items)
        case _:
            return False


def _label(of: t.TypedExpr, name: str | None = None) -> str:
    path = path_of(of) or ("?",)
    return ".".join((*path, name) if name else path)


def _mismatch_hint(found: Type, expected: Type) -> str | None:
    match found, expected:
        case (Scalar.STRING, Scalar.INT) | (Scalar.INT, Scalar.STRING):
            return 'nothing is converted: `1` and `"1"` are different values'
        case Scalar.STRING, EntityType(name):
            return f'an entity is written `{name} "id"`'
        case Scalar.STRING, Scalar.SPIFFE_ID:
            return "a SPIFFE ID is written without quotes"
        case Scalar.STRING, Scalar.IP | Scalar.CIDR:
            return 'addresses are written `ip("10.0.0.1")` and `cidr("10.0.0.0/8")`'
        case _:
            return None
