"""Expressions, and the records of a test's data: what was written, exactly."""

from __future__ import annotations

from dataclasses import field
from typing import Literal as OneOf

from language.source import Span
from language.tree import Tree, node


@node
class Node(Tree):
    span: Span = field(compare=False, repr=False, kw_only=True)


@node
class Ident(Node):
    text: str

    def __str__(self) -> str:
        return self.text


# ---- expressions


@node
class Expression(Node):
    depth: int = field(default=1, compare=False, repr=False, kw_only=True)


@node
class Name(Expression):
    text: str


@node
class EntityRef(Expression):
    type: Ident
    id: Text


@node
class Call(Expression):
    name: Ident
    arguments: tuple[Expr, ...]


LiteralKind = OneOf["string", "int", "bool", "duration", "instant", "spiffe", "now"]


@node
class Literal(Expression):
    kind: LiteralKind
    value: str | int | bool


@node
class Attribute(Expression):
    of: Expr
    name: Ident


@node
class Method(Expression):
    of: Expr
    name: Ident
    arguments: tuple[Expr, ...]


@node
class Index(Expression):
    of: Expr
    key: Expr


@node
class SetOf(Expression):
    items: tuple[Expr | Record, ...]  # records stand only in a test's data


@node
class Quantified(Expression):
    kind: OneOf["any", "all"]
    variable: Ident
    over: Expr
    body: Expr


@node
class And(Expression):
    items: tuple[Expr, ...]


@node
class Or(Expression):
    items: tuple[Expr, ...]


@node
class Not(Expression):
    item: Expr


@node
class Compare(Expression):
    operator: OneOf["==", "!=", "<", "<=", ">", ">="]
    left: Expr
    right: Expr


@node
class In(Expression):
    item: Expr
    container: Expr
    negated: bool


@node
class Has(Expression):
    of: Expr
    name: Ident
    is_key: bool  # `m has "key"` asks a map, `r has field` a record


@node
class Is(Expression):
    of: Expr
    type: Ident


@node
class Window(Node):
    days: tuple[int, int]  # first and last weekday, Monday is 0; may wrap
    starts: int  # minutes of the day
    ends: int
    zone: str


@node
class Within(Expression):
    window: Window


@node
class Arithmetic(Expression):
    operator: OneOf["+", "-"]
    left: Expr
    right: Expr


@node
class Negate(Expression):
    item: Expr


Expr = (
    Name
    | EntityRef
    | Call
    | Literal
    | Attribute
    | Method
    | Index
    | SetOf
    | Quantified
    | And
    | Or
    | Not
    | Compare
    | In
    | Has
    | Is
    | Within
    | Arithmetic
    | Negate
)


@node
class Text(Node):
    """A string where a string must stand; in tests also the name of a table variable."""

    value: str
    is_variable: bool = False


@node
class Entry(Node):
    name: Ident
    value: Expr | Record
    is_quoted: bool  # a key of a map may be any text


@node
class Record(Node):
    entries: tuple[Entry, ...]
