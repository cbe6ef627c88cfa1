"""From the parser's reductions to nodes.

One method for each rule of the grammar, called by lark as it reduces, bottom up: no tree is built in between, and
nothing recurses. Spans come from the tokens at both ends. What a literal means is settled here; what a name means is not.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from lark import Token

from language.source import Span
from language.syntax import nodes as n
from language.syntax.build_scenarios import BuildScenarios
from language.syntax.literals import ELEMENTS_MAX, parse_clock, parse_instant, parse_int
from language.syntax.reductions import (
    DAYS,
    depth_above,
    duration_of,
    find_node,
    ident,
    idents,
    nodes_in,
    read_literal,
    report,
    span_between,
    string_of,
    text_of,
    token_span,
    type_depth,
)


class Build(BuildScenarios):
    """Methods are named after the grammar's rules; the grammar says what their children are."""

    # ---- files

    def start(self, c: list[Any]) -> list[Any]:
        return c

    def pin(self, c: list[Any]) -> tuple[str, int, Span]:
        return "pin", read_literal(parse_int, c[1], 1), span_between(c)

    def package(self, c: list[Any]) -> tuple[str, tuple[str, ...], Span]:
        return "package", tuple(str(t) for t in c if t.type == "NAME"), span_between(c)

    def annotation(self, c: list[Any]) -> n.Annotation:
        token = c[0]
        name = n.Ident(str(token)[1:], span=token_span(token))
        return n.Annotation(name, string_of(c[2]) if len(c) > 1 else None, span=span_between(c))

    # ---- vocabulary

    def enum(self, c: list[Any]) -> n.Enum:
        name, *members = idents(c)
        return n.Enum(name, tuple(members), span=span_between(c))

    def fields(self, c: list[Any]) -> n.RecordType:
        span, fields = span_between(c), nodes_in(c)
        return n.RecordType(fields, False, span=span, depth=type_depth(span, [f.type for f in fields]))

    def field(self, c: list[Any]) -> n.Field:
        source = c[3] if len(c) > 3 else None
        return n.Field(ident(c[0]), c[2], source.text if source else None, span=span_between(c))

    def source(self, c: list[Any]) -> n.Ident:
        return n.Ident(str(c[-1]), span=span_between(c))

    def named_type(self, c: list[Any]) -> n.NamedType:
        return n.NamedType(ident(c[0]), len(c) > 1, span=span_between(c))

    def generic_type(self, c: list[Any]) -> n.GenericType:
        span, inner = span_between(c), nodes_in(c)
        return n.GenericType(ident(c[0]), inner, c[-1].type == "QMARK", span=span, depth=type_depth(span, inner))

    def record_type(self, c: list[Any]) -> n.RecordType:
        return n.RecordType(c[0].fields, len(c) > 1, span=span_between(c), depth=c[0].depth)

    def entity(self, c: list[Any]) -> n.Entity:
        name, *parents = idents(c)
        source = find_node(c, n.Ident)
        fields = find_node(c, n.RecordType)
        word = cast(n.SourceWord | None, source.text if source else None)
        return n.Entity(name, tuple(parents), word, fields.fields if fields else None, span=span_between(c))

    def workload(self, c: list[Any]) -> n.Workload:
        fields = find_node(c, n.RecordType)
        return n.Workload(idents(c), fields.fields if fields else None, span=span_between(c))

    def relation(self, c: list[Any]) -> n.Relation:
        name, *of = idents(c)
        return n.Relation(name, tuple(of), c[-1].type == "EXPIRING", span=span_between(c))

    def action(self, c: list[Any]) -> n.Action:
        at = next(i for i, t in enumerate(c) if isinstance(t, Token) and t.type == "ON")
        fields = find_node(c, n.RecordType)
        return n.Action(idents(c[:at]), idents(c[at:]), fields.fields if fields else None, span=span_between(c))

    def group(self, c: list[Any]) -> n.Group:
        name, *members = idents(c)
        return n.Group(name, tuple(members), span=span_between(c))

    # ---- tasks

    def task(self, c: list[Any]) -> n.Task:
        return n.Task(ident(c[1]), nodes_in(c), span=span_between(c))

    def carries(self, c: list[Any]) -> n.Carries:
        return n.Carries(nodes_in(c), span=span_between(c))

    def opener(self, c: list[Any]) -> n.Subject | n.Ident:
        child = c[0]
        return ident(child) if isinstance(child, Token) else cast(n.Subject, child)

    def opened_by(self, c: list[Any]) -> n.OpenedBy:
        return n.OpenedBy(nodes_in(c), span=span_between(c))

    def task_who(self, c: list[Any]) -> n.TaskWho:
        return n.TaskWho(nodes_in(c), span=span_between(c))

    def may(self, c: list[Any]) -> n.May:
        return n.May(idents(c), nodes_in(c), span=span_between(c))

    def lasts(self, c: list[Any]) -> n.Lasts:
        return n.Lasts(duration_of(c[3]), span=span_between(c))

    def approved_by(self, c: list[Any]) -> n.Approval:
        return n.Approval(read_literal(parse_int, c[2], 1), c[4], span=span_between(c))

    def anyone(self, c: list[Any]) -> n.Anyone:
        return n.Anyone(span=span_between(c))

    def pattern(self, c: list[Any]) -> n.Pattern:
        return n.Pattern(str(c[0]), span=span_between(c))

    def workload_in(self, c: list[Any]) -> n.WorkloadIn:
        return n.WorkloadIn(ident(c[2]), string_of(c[3]), span=span_between(c))

    def scope_type(self, c: list[Any]) -> n.Scope:
        return n.Scope(ident(c[0]), None, None, span=span_between(c))

    def scope_one(self, c: list[Any]) -> n.Scope:
        return n.Scope(ident(c[0]), string_of(c[1]), None, span=span_between(c))

    def scope_in(self, c: list[Any]) -> n.Scope:
        return n.Scope(ident(c[0]), None, (ident(c[2]), string_of(c[3])), span=span_between(c))

    # ---- definitions and rules

    def define(self, c: list[Any]) -> n.Define:
        parameters = tuple(p for p in c if isinstance(p, n.Parameter))
        return n.Define(ident(c[1]), parameters, c[-1], span=span_between(c))

    def param(self, c: list[Any]) -> n.Parameter:
        return n.Parameter(ident(c[0]), c[2], span=span_between(c))

    def rule(self, c: list[Any]) -> n.Rule:
        return n.Rule(c[0].value, ident(c[1]), nodes_in(c), span=span_between(c))

    def who(self, c: list[Any]) -> n.Who:
        return n.Who(nodes_in(c), span=span_between(c))

    def for_(self, c: list[Any]) -> n.For:
        return n.For(nodes_in(c), span=span_between(c))

    def do(self, c: list[Any]) -> n.Do:
        return n.Do(None if c[1].type == "ANY" else idents(c), span=span_between(c))

    def on(self, c: list[Any]) -> n.On:
        return n.On(None if isinstance(c[1], Token) else nodes_in(c), span=span_between(c))

    def during(self, c: list[Any]) -> n.During:
        return n.During(idents(c), span=span_between(c))

    def proof(self, c: list[Any]) -> n.Proof:
        return n.Proof(idents(c), span=span_between(c))

    def _condition(self, c: list[Any]) -> n.Condition:
        return n.Condition(c[0].value, c[1], span=span_between(c))

    when = unless = from_ = until = _condition

    def trusting(self, c: list[Any]) -> n.Trusting:
        return n.Trusting(nodes_in(c), span=span_between(c))

    def path(self, c: list[Any]) -> n.Path:
        return n.Path(tuple(i.text for i in idents(c)), span=span_between(c))

    def because(self, c: list[Any]) -> n.Because:
        return n.Because(string_of(c[1]), span=span_between(c))

    # ---- expressions

    def or_(self, c: list[Any]) -> n.Or:
        span, items = span_between(c), nodes_in(c)
        return n.Or(items, span=span, depth=depth_above(span, *items))

    def and_(self, c: list[Any]) -> n.And:
        span, items = span_between(c), nodes_in(c)
        return n.And(items, span=span, depth=depth_above(span, *items))

    def not_(self, c: list[Any]) -> n.Not:
        span = span_between(c)
        return n.Not(c[1], span=span, depth=depth_above(span, c[1]))

    def compare(self, c: list[Any]) -> n.Compare:
        span = span_between(c)
        return n.Compare(c[1].value, c[0], c[2], span=span, depth=depth_above(span, c[0], c[2]))

    def in_(self, c: list[Any]) -> n.In:
        span = span_between(c)
        return n.In(c[0], c[2], False, span=span, depth=depth_above(span, c[0], c[2]))

    def not_in(self, c: list[Any]) -> n.In:
        span = span_between(c)
        return n.In(c[0], c[3], True, span=span, depth=depth_above(span, c[0], c[3]))

    def has(self, c: list[Any]) -> n.Has:
        span, token = span_between(c), c[2]
        is_key = token.type == "STRING"
        name = n.Ident(string_of(token), span=token_span(token)) if is_key else ident(token)
        return n.Has(c[0], name, is_key, span=span, depth=depth_above(span, c[0]))

    def is_(self, c: list[Any]) -> n.Is:
        span = span_between(c)
        return n.Is(c[0], ident(c[2]), span=span, depth=depth_above(span, c[0]))

    def within(self, c: list[Any]) -> n.Within:
        return n.Within(c[2], span=span_between(c))

    def window(self, c: list[Any]) -> n.Window:
        days = [DAYS[t.value] for t in c if t.type == "DAY"]
        first, last = (days[0], days[-1]) if days else (0, 6)
        starts, ends = (t for t in c if t.type == "TIME")
        start = read_literal(lambda t: parse_clock(t, end=False), starts, 0)
        end = read_literal(lambda t: parse_clock(t, end=True), ends, 24 * 60)
        return n.Window((first, last), start, end, string_of(c[-1]), span=span_between(c))

    def arith(self, c: list[Any]) -> n.Arithmetic:
        span = span_between(c)
        return n.Arithmetic(c[1].value, c[0], c[2], span=span, depth=depth_above(span, c[0], c[2]))

    def negate(self, c: list[Any]) -> n.Expr:
        span, item = span_between(c), c[1]
        if isinstance(item, n.Literal) and item.kind == "int" and cast(int, item.value) >= 0:
            return n.Literal("int", -cast(int, item.value), span=span)
        return n.Negate(item, span=span, depth=depth_above(span, item))

    def attr(self, c: list[Any]) -> n.Attribute:
        span = span_between(c)
        return n.Attribute(c[0], ident(c[2]), span=span, depth=depth_above(span, c[0]))

    def method(self, c: list[Any]) -> n.Method:
        span, arguments = span_between(c), nodes_in(c[3:])
        return n.Method(c[0], ident(c[2]), arguments, span=span, depth=depth_above(span, c[0], *arguments))

    def index(self, c: list[Any]) -> n.Index:
        span = span_between(c)
        return n.Index(c[0], c[2], span=span, depth=depth_above(span, c[0], c[2]))

    def name(self, c: list[Any]) -> n.Name:
        return n.Name(str(c[0]), span=token_span(c[0]))

    def entity_ref(self, c: list[Any]) -> n.EntityRef:
        return n.EntityRef(ident(c[0]), text_of(c[1]), span=span_between(c))

    def call(self, c: list[Any]) -> n.Call:
        span, arguments = span_between(c), nodes_in(c)
        return n.Call(ident(c[0]), arguments, span=span, depth=depth_above(span, *arguments))

    def literal(self, c: list[Any]) -> n.Literal:
        token = c[0]
        span = token_span(token)
        match token.type:
            case "STRING":
                return n.Literal("string", string_of(token), span=span)
            case "INT":
                return n.Literal("int", read_literal(parse_int, token, 0), span=span)
            case "DURATION":
                return n.Literal("duration", duration_of(token), span=span)
            case "INSTANT":
                return n.Literal("instant", read_literal(parse_instant, token, 1), span=span)
            case "SPIFFE":
                return n.Literal("spiffe", str(token), span=span)
            case "NOW":
                return n.Literal("now", "now", span=span)
            case _:
                return n.Literal("bool", token.type == "TRUE", span=span)

    def group_(self, c: list[Any]) -> n.Expr:
        return cast(n.Expr, replace(c[1], span=span_between(c)))

    def quantifier(self, c: list[Any]) -> n.Quantified:
        span, kind = span_between(c), c[1].value
        over, body = nodes_in(c)
        return n.Quantified(kind, ident(c[2]), over, body, span=span, depth=depth_above(span, over, body))

    def set_(self, c: list[Any]) -> n.SetOf:
        span, items = span_between(c), nodes_in(c)
        if len(items) > ELEMENTS_MAX:
            report("too_many_elements", f"a set has at most {ELEMENTS_MAX} elements, this one {len(items)}", span)
        deep = [i for i in items if isinstance(i, n.Expression)]
        return n.SetOf(items, span=span, depth=depth_above(span, *deep))
