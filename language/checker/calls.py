"""Calls: built-in methods, addresses, relations, and definitions, which are written in where they are called."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from language import typed as t
from language.checker.base import EXPANDED_NODES_MAX, Surroundings
from language.checker.builtins import METHODS
from language.checker.narrow import NOTHING, Facts
from language.checker.operators import Operators
from language.diagnostics import did_you_mean
from language.syntax import nodes as n
from language.types import BOOL, CIDR, IP, STRING, UNKNOWN, EntityType, MapType, Scalar, SetType, Type, show
from language.values import parse_cidr, parse_ip
from language.vocabulary import WORKLOAD, Vocabulary


class Calls(Operators):
    # ---- calls

    def _method(self, node: n.Method, facts: Facts) -> t.TypedExpr:
        of = self._operand(node.of, facts)
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
            argument = self._whole(self._expect(node.arguments[0], facts, expected), facts)
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
        sizes: dict[str, int] = {}
        for argument, parameter in zip(node.arguments, define.parameters, strict=True):
            expected = self._parameter_type(parameter)
            before = self._nodes
            typed = self._expect(argument, facts, expected)
            self._demand_workload(typed, argument.span, facts)
            bound[parameter.name.text] = typed
            sizes[parameter.name.text] = self._nodes - before
        self._nodes += 1
        if self._nodes > EXPANDED_NODES_MAX:
            return self._wrong("too_costly", "definitions written out are too large here", node.span)
        outer = self.around
        self._expanding.append(define.name.text)
        self.around = replace(outer, roots_visible=False, variables=bound, sizes=sizes)
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
            if name in ("gate", "location", "proof"):  # the other roots are good names for what is passed in their place
                self.report.say("shadowed_name", f"`{name}` means something else already", parameter.name.span)
            type_ = self._parameter_type(parameter)
            bound[name] = t.Variable(name, -len(bound) - 1, type_, span=parameter.name.span)
        self.around = Surroundings(roots_visible=False, variables=bound, workload_present=True)
        self._nodes = 0
        self._expanding.append(define.name.text)
        self._value(define.body, NOTHING)
        self._expanding.pop()


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
