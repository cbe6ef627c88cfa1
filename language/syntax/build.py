"""From the parser's reductions to nodes.

One method for each rule of the grammar, called by lark as it reduces, bottom up: no tree is built in between, and
nothing recurses. Spans come from the tokens at both ends. What a literal means is settled here; what a name means is not.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, TypeVar, cast

from lark import Token, Transformer

from language.diagnostics import Diagnostic
from language.source import Source, Span
from language.syntax import nodes as n
from language.syntax.literals import INT_MAX, BadLiteral, parse_clock, parse_duration, parse_instant, parse_int, unquote

NESTING_MAX = 64
ELEMENTS_MAX = 1000

T = TypeVar("T")

#: What the parse in hand reads and what it has found wrong; a context variable, so that threads do not meet.
current_source: ContextVar[Source] = ContextVar("current_source")
current_diagnostics: ContextVar[list[Diagnostic]] = ContextVar("current_diagnostics")

_DAYS = {"mon": 0, "tue": 1, "wed": 2, "thu": 3, "fri": 4, "sat": 5, "sun": 6}


def _report(code: str, message: str, span: Span, hint: str | None = None) -> None:
    current_diagnostics.get().append(Diagnostic(code, message, span, hint))


def _token_span(token: Token) -> Span:
    start = cast(int, token.start_pos)
    return Span(current_source.get(), start, start + len(token))


def _span_of(child: Any) -> Span:
    return _token_span(child) if isinstance(child, Token) else child.span


def _span(children: list[Any]) -> Span:
    return Span(current_source.get(), _span_of(children[0]).start, _span_of(children[-1]).end)


def _ident(token: Token) -> n.Ident:
    return n.Ident(str(token), span=_token_span(token))


def _idents(children: list[Any]) -> tuple[n.Ident, ...]:
    return tuple(_ident(c) for c in children if isinstance(c, Token) and c.type == "NAME")


def _nodes(children: list[Any]) -> tuple[Any, ...]:
    return tuple(c for c in children if not isinstance(c, Token))


def _find(children: list[Any], kind: type[T]) -> T | None:
    return next((c for c in children if isinstance(c, kind)), None)


def _read(reader: Callable[[str], T], token: Token, fallback: T) -> T:
    """A literal's value; when it has none, a diagnostic and a stand-in."""
    try:
        return reader(token)
    except BadLiteral as error:
        _report("bad_literal", str(error), _token_span(token))
        return fallback


def _string(token: Token) -> str:
    return _read(unquote, token, "")


def _duration(token: Token) -> int:
    return _read(parse_duration, token, 1)


def _text(token: Token) -> n.Text:
    if token.type == "STRING":
        return n.Text(_string(token), span=_token_span(token))
    return n.Text(str(token), True, span=_token_span(token))


def _depth(span: Span, *children: n.Expression) -> int:
    depth = 1 + max((c.depth for c in children), default=0)
    if depth == NESTING_MAX + 1:
        _report("nesting_too_deep", f"expressions nest at most {NESTING_MAX} deep", span)
    return depth


class _Parents(tuple[n.ParentRef, ...]):
    """The `in` part of a given; a type of its own so that it is found among the children."""

    span: Span


class _Carrying(dict[str, Any]):
    span: Span


def _moment(token: Token) -> n.Moment:
    if token.type == "INSTANT":
        return n.Moment(_read(parse_instant, token, 1), True, span=_token_span(token))
    return n.Moment(_duration(token), False, span=_token_span(token))


def _carried(c: list[Any], **what: Any) -> _Carrying:
    carrying = _Carrying(what)
    carrying.span = _span(c)
    return carrying


class Build(Transformer[Token, Any]):
    """Methods are named after the grammar's rules; the grammar says what their children are."""

    # ---- files

    def start(self, c: list[Any]) -> list[Any]:
        return c

    def pin(self, c: list[Any]) -> tuple[str, int, Span]:
        return "pin", _read(parse_int, c[1], 1), _span(c)

    def package(self, c: list[Any]) -> tuple[str, tuple[str, ...], Span]:
        return "package", tuple(str(t) for t in c if t.type == "NAME"), _span(c)

    def annotation(self, c: list[Any]) -> n.Annotation:
        token = c[0]
        name = n.Ident(str(token)[1:], span=_token_span(token))
        return n.Annotation(name, _string(c[2]) if len(c) > 1 else None, span=_span(c))

    # ---- vocabulary

    def enum(self, c: list[Any]) -> n.Enum:
        name, *members = _idents(c)
        return n.Enum(name, tuple(members), span=_span(c))

    def fields(self, c: list[Any]) -> n.RecordType:
        return n.RecordType(_nodes(c), False, span=_span(c))

    def field(self, c: list[Any]) -> n.Field:
        source = c[3] if len(c) > 3 else None
        return n.Field(_ident(c[0]), c[2], source.text if source else None, span=_span(c))

    def source(self, c: list[Any]) -> n.Ident:
        return n.Ident(str(c[-1]), span=_span(c))

    def named_type(self, c: list[Any]) -> n.NamedType:
        return n.NamedType(_ident(c[0]), len(c) > 1, span=_span(c))

    def generic_type(self, c: list[Any]) -> n.GenericType:
        return n.GenericType(_ident(c[0]), _nodes(c), c[-1].type == "QMARK", span=_span(c))

    def record_type(self, c: list[Any]) -> n.RecordType:
        return n.RecordType(c[0].fields, len(c) > 1, span=_span(c))

    def entity(self, c: list[Any]) -> n.Entity:
        name, *parents = _idents(c)
        source = _find(c, n.Ident)
        fields = _find(c, n.RecordType)
        word = cast(n.SourceWord | None, source.text if source else None)
        return n.Entity(name, tuple(parents), word, fields.fields if fields else None, span=_span(c))

    def workload(self, c: list[Any]) -> n.Workload:
        fields = _find(c, n.RecordType)
        return n.Workload(_idents(c), fields.fields if fields else None, span=_span(c))

    def relation(self, c: list[Any]) -> n.Relation:
        name, *of = _idents(c)
        return n.Relation(name, tuple(of), c[-1].type == "EXPIRING", span=_span(c))

    def action(self, c: list[Any]) -> n.Action:
        at = next(i for i, t in enumerate(c) if isinstance(t, Token) and t.type == "ON")
        fields = _find(c, n.RecordType)
        return n.Action(_idents(c[:at]), _idents(c[at:]), fields.fields if fields else None, span=_span(c))

    def group(self, c: list[Any]) -> n.Group:
        name, *members = _idents(c)
        return n.Group(name, tuple(members), span=_span(c))

    # ---- tasks

    def task(self, c: list[Any]) -> n.Task:
        return n.Task(_ident(c[1]), _nodes(c), span=_span(c))

    def carries(self, c: list[Any]) -> n.Carries:
        return n.Carries(_nodes(c), span=_span(c))

    def opener(self, c: list[Any]) -> n.Subject | n.Ident:
        child = c[0]
        return _ident(child) if isinstance(child, Token) else cast(n.Subject, child)

    def opened_by(self, c: list[Any]) -> n.OpenedBy:
        return n.OpenedBy(_nodes(c), span=_span(c))

    def task_who(self, c: list[Any]) -> n.TaskWho:
        return n.TaskWho(_nodes(c), span=_span(c))

    def may(self, c: list[Any]) -> n.May:
        return n.May(_idents(c), _nodes(c), span=_span(c))

    def lasts(self, c: list[Any]) -> n.Lasts:
        return n.Lasts(_duration(c[3]), span=_span(c))

    def approved_by(self, c: list[Any]) -> n.Approval:
        return n.Approval(_read(parse_int, c[2], 1), c[4], span=_span(c))

    def anyone(self, c: list[Any]) -> n.Anyone:
        return n.Anyone(span=_span(c))

    def pattern(self, c: list[Any]) -> n.Pattern:
        return n.Pattern(str(c[0]), span=_span(c))

    def workload_in(self, c: list[Any]) -> n.WorkloadIn:
        return n.WorkloadIn(_ident(c[2]), _string(c[3]), span=_span(c))

    def scope_type(self, c: list[Any]) -> n.Scope:
        return n.Scope(_ident(c[0]), None, None, span=_span(c))

    def scope_one(self, c: list[Any]) -> n.Scope:
        return n.Scope(_ident(c[0]), _string(c[1]), None, span=_span(c))

    def scope_in(self, c: list[Any]) -> n.Scope:
        return n.Scope(_ident(c[0]), None, (_ident(c[2]), _string(c[3])), span=_span(c))

    # ---- definitions and rules

    def define(self, c: list[Any]) -> n.Define:
        parameters = tuple(p for p in c if isinstance(p, n.Parameter))
        return n.Define(_ident(c[1]), parameters, c[-1], span=_span(c))

    def param(self, c: list[Any]) -> n.Parameter:
        return n.Parameter(_ident(c[0]), c[2], span=_span(c))

    def rule(self, c: list[Any]) -> n.Rule:
        return n.Rule(c[0].value, _ident(c[1]), _nodes(c), span=_span(c))

    def who(self, c: list[Any]) -> n.Who:
        return n.Who(_nodes(c), span=_span(c))

    def for_(self, c: list[Any]) -> n.For:
        return n.For(_nodes(c), span=_span(c))

    def do(self, c: list[Any]) -> n.Do:
        return n.Do(None if c[1].type == "ANY" else _idents(c), span=_span(c))

    def on(self, c: list[Any]) -> n.On:
        return n.On(None if isinstance(c[1], Token) else _nodes(c), span=_span(c))

    def during(self, c: list[Any]) -> n.During:
        return n.During(_idents(c), span=_span(c))

    def proof(self, c: list[Any]) -> n.Proof:
        return n.Proof(_idents(c), span=_span(c))

    def _condition(self, c: list[Any]) -> n.Condition:
        return n.Condition(c[0].value, c[1], span=_span(c))

    when = unless = from_ = until = _condition

    def trusting(self, c: list[Any]) -> n.Trusting:
        return n.Trusting(_nodes(c), span=_span(c))

    def path(self, c: list[Any]) -> n.Path:
        return n.Path(tuple(i.text for i in _idents(c)), span=_span(c))

    def because(self, c: list[Any]) -> n.Because:
        return n.Because(_string(c[1]), span=_span(c))

    # ---- expressions

    def or_(self, c: list[Any]) -> n.Or:
        span, items = _span(c), _nodes(c)
        return n.Or(items, span=span, depth=_depth(span, *items))

    def and_(self, c: list[Any]) -> n.And:
        span, items = _span(c), _nodes(c)
        return n.And(items, span=span, depth=_depth(span, *items))

    def not_(self, c: list[Any]) -> n.Not:
        span = _span(c)
        return n.Not(c[1], span=span, depth=_depth(span, c[1]))

    def compare(self, c: list[Any]) -> n.Compare:
        span = _span(c)
        return n.Compare(c[1].value, c[0], c[2], span=span, depth=_depth(span, c[0], c[2]))

    def in_(self, c: list[Any]) -> n.In:
        span = _span(c)
        return n.In(c[0], c[2], False, span=span, depth=_depth(span, c[0], c[2]))

    def not_in(self, c: list[Any]) -> n.In:
        span = _span(c)
        return n.In(c[0], c[3], True, span=span, depth=_depth(span, c[0], c[3]))

    def has(self, c: list[Any]) -> n.Has:
        span, token = _span(c), c[2]
        is_key = token.type == "STRING"
        name = n.Ident(_string(token), span=_token_span(token)) if is_key else _ident(token)
        return n.Has(c[0], name, is_key, span=span, depth=_depth(span, c[0]))

    def is_(self, c: list[Any]) -> n.Is:
        span = _span(c)
        return n.Is(c[0], _ident(c[2]), span=span, depth=_depth(span, c[0]))

    def within(self, c: list[Any]) -> n.Within:
        return n.Within(c[2], span=_span(c))

    def window(self, c: list[Any]) -> n.Window:
        days = [_DAYS[t.value] for t in c if t.type == "DAY"]
        first, last = (days[0], days[-1]) if days else (0, 6)
        starts, ends = (t for t in c if t.type == "TIME")
        start = _read(lambda t: parse_clock(t, end=False), starts, 0)
        end = _read(lambda t: parse_clock(t, end=True), ends, 24 * 60)
        return n.Window((first, last), start, end, _string(c[-1]), span=_span(c))

    def arith(self, c: list[Any]) -> n.Arithmetic:
        span = _span(c)
        return n.Arithmetic(c[1].value, c[0], c[2], span=span, depth=_depth(span, c[0], c[2]))

    def negate(self, c: list[Any]) -> n.Expr:
        span, item = _span(c), c[1]
        if isinstance(item, n.Literal) and item.kind == "int" and cast(int, item.value) >= 0:
            return n.Literal("int", -cast(int, item.value), span=span)
        return n.Negate(item, span=span, depth=_depth(span, item))

    def attr(self, c: list[Any]) -> n.Attribute:
        span = _span(c)
        return n.Attribute(c[0], _ident(c[2]), span=span, depth=_depth(span, c[0]))

    def method(self, c: list[Any]) -> n.Method:
        span, arguments = _span(c), _nodes(c[3:])
        return n.Method(c[0], _ident(c[2]), arguments, span=span, depth=_depth(span, c[0], *arguments))

    def index(self, c: list[Any]) -> n.Index:
        span = _span(c)
        return n.Index(c[0], c[2], span=span, depth=_depth(span, c[0], c[2]))

    def name(self, c: list[Any]) -> n.Name:
        return n.Name(str(c[0]), span=_token_span(c[0]))

    def entity_ref(self, c: list[Any]) -> n.EntityRef:
        return n.EntityRef(_ident(c[0]), _text(c[1]), span=_span(c))

    def call(self, c: list[Any]) -> n.Call:
        span, arguments = _span(c), _nodes(c)
        return n.Call(_ident(c[0]), arguments, span=span, depth=_depth(span, *arguments))

    def literal(self, c: list[Any]) -> n.Literal:
        token = c[0]
        span = _token_span(token)
        match token.type:
            case "STRING":
                return n.Literal("string", _string(token), span=span)
            case "INT":
                return n.Literal("int", _read(parse_int, token, 0), span=span)
            case "DURATION":
                return n.Literal("duration", _duration(token), span=span)
            case "INSTANT":
                return n.Literal("instant", _read(parse_instant, token, 1), span=span)
            case "SPIFFE":
                return n.Literal("spiffe", str(token), span=span)
            case "NOW":
                return n.Literal("now", "now", span=span)
            case _:
                return n.Literal("bool", token.type == "TRUE", span=span)

    def group_(self, c: list[Any]) -> n.Expr:
        return cast(n.Expr, replace(c[1], span=_span(c)))

    def quantifier(self, c: list[Any]) -> n.Quantified:
        span, kind = _span(c), c[1].value
        over, body = _nodes(c)
        return n.Quantified(kind, _ident(c[2]), over, body, span=span, depth=_depth(span, over, body))

    def set_(self, c: list[Any]) -> n.SetOf:
        span, items = _span(c), _nodes(c)
        if len(items) > ELEMENTS_MAX:
            _report("too_many_elements", f"a set has at most {ELEMENTS_MAX} elements, this one {len(items)}", span)
        deep = [i for i in items if isinstance(i, n.Expression)]
        return n.SetOf(items, span=span, depth=_depth(span, *deep))

    # ---- routes

    def http_routes(self, c: list[Any]) -> n.HttpRoutes:
        return n.HttpRoutes(_string(c[2]), _nodes(c), span=_span(c))

    def http_route(self, c: list[Any]) -> n.HttpRoute:
        return n.HttpRoute(_ident(c[0]), _ident(c[1]), c[3], span=_span(c))

    def tcp_routes(self, c: list[Any]) -> n.TcpRoutes:
        return n.TcpRoutes(_nodes(c), span=_span(c))

    def tcp_route(self, c: list[Any]) -> n.TcpRoute:
        return n.TcpRoute(_ident(c[0]), c[2], span=_span(c))

    def target(self, c: list[Any]) -> n.Target:
        return n.Target(_ident(c[0]), _ident(c[2]), c[4], _find(c, n.Record), span=_span(c))

    def record(self, c: list[Any]) -> n.Record:
        return n.Record(_nodes(c), span=_span(c))

    def entry(self, c: list[Any]) -> n.Entry:
        return n.Entry(_ident(c[0]), c[2], span=_span(c))

    # ---- tests

    def test(self, c: list[Any]) -> n.Test:
        givens = tuple(g for g in c if isinstance(g, n.Given))
        steps = tuple(s for s in c if isinstance(s, n.Step))
        return n.Test(_string(c[1]), _find(c, n.Cases), givens, steps, span=_span(c))

    def cases(self, c: list[Any]) -> n.Cases:
        return n.Cases(_ident(c[1]), _nodes(c), span=_span(c))

    def given_now(self, c: list[Any]) -> n.GivenNow:
        return n.GivenNow(_read(parse_instant, c[2], 1), span=_span(c))

    def given_workload(self, c: list[Any]) -> n.GivenWorkload:
        return n.GivenWorkload(str(c[2]), _find(c, n.Record), _find(c, _Parents) or (), span=_span(c))

    def given_user(self, c: list[Any]) -> n.GivenEntity:
        return n.GivenEntity(_ident(c[2]), _text(c[3]), _find(c, n.Record), _find(c, _Parents) or (), True, span=_span(c))

    def given_entity(self, c: list[Any]) -> n.GivenEntity:
        return n.GivenEntity(_ident(c[1]), _text(c[2]), _find(c, n.Record), _find(c, _Parents) or (), False, span=_span(c))

    def given_task(self, c: list[Any]) -> n.GivenTask:
        holder = opener = lasting = None
        depth = 0
        for i, child in enumerate(c):
            match child:
                case Token(type="HELD"):
                    holder = str(c[i + 2])
                case Token(type="OPENED"):
                    opener = str(c[i + 2])
                case Token(type="INT"):
                    depth = _read(parse_int, child, 0)
                case Token(type="DURATION"):
                    lasting = _duration(child)
        proof = _idents(c[5:])
        facts = _find(c, n.Record)
        return n.GivenTask(_ident(c[2]), _ident(c[4]), facts, holder, opener, lasting, depth, proof, span=_span(c))

    def given_gate(self, c: list[Any]) -> n.GivenGate:
        return n.GivenGate(str(c[2]), _find(c, n.Record), span=_span(c))

    def given_location(self, c: list[Any]) -> n.GivenLocation:
        return n.GivenLocation(c[2], span=_span(c))

    def given_proof(self, c: list[Any]) -> n.GivenProof:
        return n.GivenProof(_idents(c), span=_span(c))

    def given_row(self, c: list[Any]) -> n.GivenRow:
        until = _moment(c[-1]) if c[-1].type != "RPAR" else None
        return n.GivenRow(_ident(c[1]), _nodes(c), until, span=_span(c))

    def parents(self, c: list[Any]) -> _Parents:
        parents = _Parents(_nodes(c))
        parents.span = _span(c)
        return parents

    def parent(self, c: list[Any]) -> n.ParentRef:
        return n.ParentRef(_ident(c[0]), _text(c[1]), span=_span(c))

    def action_name(self, c: list[Any]) -> n.Ident:
        return _ident(c[0])

    def as_(self, c: list[Any]) -> _Carrying:
        return _carried(c, workload=str(c[1]))

    def for_user(self, c: list[Any]) -> _Carrying:
        return _carried(c, user=n.ParentRef(_ident(c[1]), _text(c[2]), span=_span(c)))

    def with_task(self, c: list[Any]) -> _Carrying:
        return _carried(c, task=_ident(c[1]))

    def without_task(self, c: list[Any]) -> _Carrying:
        return _carried(c, without_task=True)

    def with_proof(self, c: list[Any]) -> _Carrying:
        return _carried(c, proof=_idents(c))

    def check_step(self, c: list[Any]) -> n.CheckStep:
        carried: dict[str, Any] = {"workload": None, "user": None, "task": None, "without_task": False, "proof": None}
        for child in c:
            if isinstance(child, _Carrying):
                carried |= child
        return n.CheckStep(
            _moment(c[1]),
            c[2],
            _ident(c[4]),
            _text(c[5]),
            _find(c, n.Record),
            outcome=_find(c, n.Outcome),
            span=_span(c),
            **carried,
        )

    def task_step(self, c: list[Any]) -> n.TaskStep:
        return n.TaskStep(_moment(c[1]), c[2].value, _ident(c[3]), span=_span(c))

    def remove_step(self, c: list[Any]) -> n.DataStep:
        removed = n.ParentRef(_ident(c[3]), _text(c[4]), span=_span(c))
        return n.DataStep(_moment(c[1]), None, removed, span=_span(c))

    def put_step(self, c: list[Any]) -> n.DataStep:
        return n.DataStep(_moment(c[1]), c[2], None, span=_span(c))

    row_step = put_step

    def outcome(self, c: list[Any]) -> n.Outcome:
        until = rule = reason = because = None
        for word, value in zip(c[1::2], c[2::2], strict=True):
            match word.type, value.type:
                case "UNTIL", _:
                    until = _moment(value)
                case "BY", _:
                    rule = _ident(value)
                case _, "NAME":
                    reason = _ident(value)
                case _:
                    because = _string(value)
        return n.Outcome(c[0].value, until, rule, reason, because, span=_span(c))


def check_int_range(literal: n.Literal) -> bool:
    """Whether an integer literal fits; `9223372036854775808` is read only so that its negation can be."""
    return cast(int, literal.value) <= INT_MAX
