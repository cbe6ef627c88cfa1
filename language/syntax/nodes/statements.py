"""Vocabulary, tasks, definitions, rules and routes."""

from __future__ import annotations

from dataclasses import field
from typing import Literal as OneOf

from language.syntax.nodes.expressions import Expr, Ident, Node, Record
from language.tree import node


@node
class NamedType(Node):
    name: Ident
    optional: bool


@node
class GenericType(Node):
    name: Ident
    arguments: tuple[TypeExpr, ...]
    optional: bool
    depth: int = field(default=1, compare=False, repr=False, kw_only=True)


@node
class RecordType(Node):
    fields: tuple[Field, ...]
    optional: bool
    depth: int = field(default=1, compare=False, repr=False, kw_only=True)


TypeExpr = NamedType | GenericType | RecordType

SourceWord = OneOf["claimed", "gate", "holder"]


@node
class Field(Node):
    name: Ident
    type: TypeExpr
    source: SourceWord | None


@node
class Annotation(Node):
    name: Ident
    value: str | None


@node
class Declaration(Node):
    """What every statement has beside its own parts."""

    annotations: tuple[Annotation, ...] = field(default=(), kw_only=True)
    doc: str | None = field(default=None, compare=False, kw_only=True)


@node
class Enum(Declaration):
    name: Ident
    members: tuple[Ident, ...]


@node
class Entity(Declaration):
    name: Ident
    parents: tuple[Ident, ...]
    source: SourceWord | None
    fields: tuple[Field, ...] | None


@node
class Workload(Declaration):
    parents: tuple[Ident, ...]
    fields: tuple[Field, ...] | None


@node
class Relation(Declaration):
    name: Ident
    of: tuple[Ident, ...]
    expiring: bool


@node
class Action(Declaration):
    names: tuple[Ident, ...]
    on: tuple[Ident, ...]
    context: tuple[Field, ...] | None


@node
class Group(Declaration):
    name: Ident
    members: tuple[Ident, ...]


# ---- who and what: patterns and scopes


@node
class Anyone(Node):
    pass


@node
class Pattern(Node):
    text: str


@node
class WorkloadIn(Node):
    type: Ident
    id: str


Subject = Anyone | Pattern | WorkloadIn


@node
class Scope(Node):
    """`Table`, `Table "invoices"` or `Table in Database "ledger"`."""

    type: Ident
    id: str | None
    within: tuple[Ident, str] | None


@node
class May(Node):
    actions: tuple[Ident, ...]
    on: tuple[Scope, ...]


@node
class Approval(Node):
    count: int
    of: Scope


@node
class Carries(Node):
    fields: tuple[Field, ...]


@node
class OpenedBy(Node):
    openers: tuple[Subject | Ident, ...]  # the `Ident` is the word `holder`


@node
class TaskWho(Node):
    who: tuple[Subject, ...]


@node
class Lasts(Node):
    at_most: int  # microseconds


TaskClause = Carries | OpenedBy | TaskWho | May | Lasts | Approval


@node
class Task(Declaration):
    name: Ident
    clauses: tuple[TaskClause, ...]


# ---- definitions and rules


@node
class Parameter(Node):
    name: Ident
    type: TypeExpr


@node
class Define(Declaration):
    name: Ident
    parameters: tuple[Parameter, ...]
    body: Expr


@node
class Who(Node):
    subjects: tuple[Subject, ...]


@node
class For(Node):
    scopes: tuple[Scope, ...]


@node
class Do(Node):
    actions: tuple[Ident, ...] | None  # None is `any`


@node
class On(Node):
    scopes: tuple[Scope, ...] | None


@node
class During(Node):
    kinds: tuple[Ident, ...]


@node
class Proof(Node):
    facts: tuple[Ident, ...]


@node
class Condition(Node):
    """One of the clauses that hold an expression."""

    clause: OneOf["when", "unless", "from", "until"]
    expression: Expr


@node
class Trusting(Node):
    paths: tuple[Path, ...]


@node
class Path(Node):
    parts: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join(self.parts)


@node
class Because(Node):
    text: str


Clause = Who | For | Do | On | During | Proof | Condition | Trusting | Because


def clause_word(clause: Clause) -> str:
    """The keyword that a clause starts with."""
    return clause.clause if isinstance(clause, Condition) else type(clause).__name__.lower()


@node
class Rule(Declaration):
    effect: OneOf["allow", "deny"]
    name: Ident
    clauses: tuple[Clause, ...]


# ---- routes


@node
class Target(Node):
    action: Ident
    type: Ident
    id: Expr
    context: Record | None


@node
class HttpRoute(Node):
    method: Ident
    path: Ident
    target: Target


@node
class HttpRoutes(Declaration):
    host: str
    routes: tuple[HttpRoute, ...]


@node
class TcpRoute(Node):
    destination: Ident
    target: Target


@node
class TcpRoutes(Declaration):
    routes: tuple[TcpRoute, ...]
