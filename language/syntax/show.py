"""Surface expressions, types and scopes as canonical text on one line. Parentheses stand only where they are needed."""

from __future__ import annotations

from typing import assert_never

from language.syntax import nodes as n
from language.syntax.literals import format_duration, format_instant, quote

# how tightly an expression holds together; an operand looser than its place needs parentheses
OR, AND, NOT, COMPARISON, SUM, UNARY, POSTFIX = range(1, 8)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def strength(expr: n.Expr) -> int:
    match expr:
        case n.Or():
            return OR
        case n.And():
            return AND
        case n.Not():
            return NOT
        case n.Compare() | n.In() | n.Has() | n.Is() | n.Within():
            return COMPARISON
        case n.Arithmetic():
            return SUM
        case n.Negate():
            return UNARY
        case n.Literal("int", int(value)) if value < 0:
            return UNARY
        case _:
            return POSTFIX


def show_expr(expr: n.Expr, at_least: int = OR) -> str:
    text = _show(expr)
    return f"({text})" if strength(expr) < at_least else text


def _show(expr: n.Expr) -> str:
    match expr:
        case n.Or(items):
            return " or ".join(show_expr(i, AND) for i in items)
        case n.And(items):
            return " and ".join(show_expr(i, NOT) for i in items)
        case n.Not(item):
            return f"not {show_expr(item, POSTFIX)}"  # `not (a == b)`: nobody should have to know what binds tighter
        case n.Compare(operator, left, right):
            return f"{show_expr(left, SUM)} {operator} {show_expr(right, SUM)}"
        case n.In(item, container, negated):
            return f"{show_expr(item, SUM)} {'not in' if negated else 'in'} {show_expr(container, SUM)}"
        case n.Has(of, name, is_key):
            return f"{show_expr(of, SUM)} has {quote(name.text) if is_key else name}"
        case n.Is(of, type_):
            return f"{show_expr(of, SUM)} is {type_}"
        case n.Within(window):
            return f"now within {_window(window)}"
        case n.Arithmetic(operator, left, right):
            return f"{show_expr(left, SUM)} {operator} {show_expr(right, UNARY)}"
        case n.Negate(item):
            # `-(5)` must not become the literal `-5`, nor `--x` two signs of something else
            tight = isinstance(item, n.Literal | n.Negate)
            return f"-({_show(item)})" if tight else f"-{show_expr(item, UNARY)}"
        case n.Attribute(of, name):
            return f"{show_expr(of, POSTFIX)}.{name}"
        case n.Method(of, name, arguments):
            return f"{show_expr(of, POSTFIX)}.{name}({_list(arguments)})"
        case n.Index(of, key):
            return f"{show_expr(of, POSTFIX)}[{show_expr(key)}]"
        case n.Name(text):
            return text
        case n.EntityRef(type_, id_):
            return f"{type_} {id_.value if id_.is_variable else quote(id_.value)}"
        case n.Call(name, arguments):
            return f"{name}({_list(arguments)})"
        case n.SetOf(items):
            return f"[{', '.join(_entry(i) for i in items)}]"
        case n.Quantified(kind, variable, over, body):
            return f"({kind} {variable} in {show_expr(over)}: {show_expr(body)})"
        case n.Literal():
            return _literal(expr)
        case _:
            assert_never(expr)


def _list(items: tuple[n.Expr, ...]) -> str:
    return ", ".join(show_expr(i) for i in items)


def _literal(literal: n.Literal) -> str:
    match literal.kind, literal.value:
        case "string", str(value):
            return quote(value)
        case "bool", value:
            return "true" if value else "false"
        case "duration", int(value):
            return format_duration(value)
        case "instant", int(value):
            return format_instant(value)
        case _, value:
            return str(value)


def _window(window: n.Window) -> str:
    first, last = window.days
    days = "" if (first, last) == (0, 6) else _DAYS[first] if first == last else f"{_DAYS[first]}..{_DAYS[last]}"
    return f"{days} {_clock(window.starts)}..{_clock(window.ends)} {quote(window.zone)}".strip()


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def show_type(node: n.TypeExpr) -> str:
    match node:
        case n.NamedType(name, optional):
            text = name.text
        case n.GenericType(name, arguments, optional):
            text = f"{name}<{', '.join(show_type(a) for a in arguments)}>"
        case n.RecordType(fields, optional):
            sources = {None: "", "claimed": " claimed", "gate": " from gate", "holder": " from holder"}
            inner = ", ".join(f"{f.name}: {show_type(f.type)}{sources[f.source]}" for f in fields)
            text = f"{{ {inner} }}" if fields else "{}"
    return text + "?" * optional


def show_scope(scope: n.Scope) -> str:
    if scope.within is not None:
        return f"{scope.type} in {scope.within[0]} {quote(scope.within[1])}"
    return f"{scope.type} {quote(scope.id)}" if scope.id is not None else scope.type.text


def show_subject(subject: n.Subject) -> str:
    match subject:
        case n.Anyone():
            return "anyone"
        case n.Pattern(text):
            return text
        case n.WorkloadIn(type_, id_):
            return f"workload in {type_} {quote(id_)}"


def show_record(record: n.Record) -> str:
    if not record.entries:
        return "{}"
    return (
        "{ "
        + ", ".join(f"{quote(e.name.text) if e.is_quoted else e.name}: {_entry(e.value)}" for e in record.entries)
        + " }"
    )


def _entry(value: n.Expr | n.Record) -> str:
    return show_record(value) if isinstance(value, n.Record) else show_expr(value)
