"""What the builders share: spans of what the parser reduces, and literals read with a diagnostic for bad ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any, TypeVar, cast

from lark import Token

from language.diagnostics import Diagnostic
from language.source import Source, Span
from language.syntax import nodes as n
from language.syntax.literals import BadLiteral, parse_duration, parse_instant, unquote

NESTING_MAX = 64
TYPE_NESTING_MAX = 8

T = TypeVar("T")

#: What the parse in hand reads and what it has found wrong; a context variable, so that threads do not meet.
current_source: ContextVar[Source] = ContextVar("current_source")
current_diagnostics: ContextVar[list[Diagnostic]] = ContextVar("current_diagnostics")

DAYS = {"mon": 0, "tue": 1, "wed": 2, "thu": 3, "fri": 4, "sat": 5, "sun": 6}


def report(code: str, message: str, span: Span, hint: str | None = None) -> None:
    current_diagnostics.get().append(Diagnostic(code, message, span, hint))


def token_span(token: Token) -> Span:
    start = cast(int, token.start_pos)
    return Span(current_source.get(), start, start + len(token))


def span_of(child: Any) -> Span:
    return token_span(child) if isinstance(child, Token) else child.span


def span_between(children: list[Any]) -> Span:
    return Span(current_source.get(), span_of(children[0]).start, span_of(children[-1]).end)


def ident(token: Token) -> n.Ident:
    return n.Ident(str(token), span=token_span(token))


def idents(children: list[Any]) -> tuple[n.Ident, ...]:
    return tuple(ident(c) for c in children if isinstance(c, Token) and c.type == "NAME")


def nodes_in(children: list[Any]) -> tuple[Any, ...]:
    return tuple(c for c in children if not isinstance(c, Token))


def find_node(children: list[Any], kind: type[T]) -> T | None:
    return next((c for c in children if isinstance(c, kind)), None)


def read_literal(reader: Callable[[str], T], token: Token, fallback: T) -> T:
    """A literal's value; when it has none, a diagnostic and a stand-in."""
    try:
        return reader(token)
    except BadLiteral as error:
        report("bad_literal", str(error), token_span(token))
        return fallback


def string_of(token: Token) -> str:
    return read_literal(unquote, token, "")


def duration_of(token: Token) -> int:
    return read_literal(parse_duration, token, 1)


def text_of(token: Token) -> n.Text:
    if token.type == "STRING":
        return n.Text(string_of(token), span=token_span(token))
    return n.Text(str(token), True, span=token_span(token))


def type_depth(span: Span, inner: Iterable[n.TypeExpr]) -> int:
    depth = 1 + max((i.depth for i in inner if not isinstance(i, n.NamedType)), default=0)
    if depth == TYPE_NESTING_MAX + 1:
        report("nesting_too_deep", f"types nest at most {TYPE_NESTING_MAX} deep", span)
    return depth


def depth_above(span: Span, *children: n.Expression) -> int:
    depth = 1 + max((c.depth for c in children), default=0)
    if depth == NESTING_MAX + 1:
        report("nesting_too_deep", f"expressions nest at most {NESTING_MAX} deep", span)
    return depth


class Parents(tuple[n.ParentRef, ...]):
    """The `in` part of a given; a type of its own so that it is found among the children."""

    span: Span


class Carrying(dict[str, Any]):
    span: Span


def moment_of(token: Token) -> n.Moment:
    if token.type == "INSTANT":
        return n.Moment(read_literal(parse_instant, token, 1), True, span=token_span(token))
    return n.Moment(duration_of(token), False, span=token_span(token))


def carried(c: list[Any], **what: Any) -> Carrying:
    carrying = Carrying(what)
    carrying.span = span_between(c)
    return carrying
