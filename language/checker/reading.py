"""Names and attributes: what a policy may read, and under which guard."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never, cast

from language import typed as t
from language.checker.base import EXPANDED_NODES_MAX, ROOTS, CheckerBase
from language.checker.narrow import IS, Facts, key_path, label_of, path_of
from language.diagnostics import did_you_mean
from language.source import Span
from language.spiffe import is_spiffe_id
from language.syntax import nodes as n
from language.syntax.literals import INT_MAX
from language.types import (
    BOOL,
    DURATION,
    INT,
    SPIFFE_ID,
    STRING,
    TIME,
    UNKNOWN,
    EntityType,
    EnumType,
    MapType,
    RecordType,
    TaskType,
    Trust,
    Type,
    Unknown,
    show,
)
from language.values import conform_id
from language.vocabulary import GATE, LOCATION, PROCESS, PROOFS, WORKLOAD, EntityDecl


class Reading(CheckerBase):
    # ---- names and literals

    def _name(self, node: n.Name, facts: Facts, expected: Type) -> t.TypedExpr:
        name = node.text
        if name in self.around.variables:
            variable = self.around.variables[name]
            self._nodes += self.around.sizes.get(name, 0)  # an argument used twice is written out twice
            if self._nodes > EXPANDED_NODES_MAX:
                return self._wrong("too_costly", "definitions written out are too large here", node.span)
            return replace(variable, span=node.span)
        if isinstance(expected, EnumType) and name in expected.members:
            self.used.add(expected.name)
            return self._constant(name, expected, node.span)
        if not self.around.roots_visible and name in ROOTS:
            return self._wrong("unknown_name", f"a definition sees only its parameters, not `{name}`", node.span)
        if name in ROOTS:
            return self._root(node, name, facts)
        hint = did_you_mean(name, [*ROOTS, *self.around.variables, *self.vocabulary.enum_members])
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
        return min((fact[2] for fact in facts if fact[:2] == (root, IS)), default=None)

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
            self.report.say(
                "unknown_attribute",
                f"`{show(of.type)}` has no attribute `{name}`",
                name.span,
                did_you_mean(name.text, known),
            )
            return None
        index, found = hit
        claimed = frozenset([label_of(of, name.text)]) if found.trust is Trust.CLAIMED else frozenset()
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
        claimed = frozenset([label_of(of, name.text)]) if decl.trust is Trust.CLAIMED else frozenset()
        return self._make(t.AttributeOf, name.span, of, type_name, name.text, index, found.type, claimed=claimed)

    def _operand(self, node: n.Expr, facts: Facts, expected: Type = UNKNOWN) -> t.TypedExpr:
        """A value on its own: not every root is one, and the workload only where it is known to be there."""
        return self._whole(self._value(node, facts, expected), facts)

    def _whole(self, typed: t.TypedExpr, facts: Facts) -> t.TypedExpr:
        if isinstance(typed, t.Root) and typed.name in ("context", "gate", "location", "process", "task"):
            hint = f"compare what it holds, such as `{typed.span.text}.…`"
            return self._wrong("bare_root", f"`{typed.span.text}` is not a value by itself", typed.span, hint)
        self._demand_workload(typed, typed.span, facts)
        return typed

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
