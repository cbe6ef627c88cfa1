"""The surface tree: what was written, exactly, before anything is known about its meaning.

Every node is frozen and carries its span, which takes no part in equality. Names are `Ident`s, so that a message can
point at the very word. The typed tree of the checker is a different tree; nothing here is ever rewritten.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal as OneOf

from language.source import Source, Span

_node = dataclass(frozen=True, slots=True)


@_node
class Node:
    span: Span = field(compare=False, repr=False, kw_only=True)


@_node
class Ident(Node):
    text: str

    def __str__(self) -> str:
        return self.text


# ---- expressions


@_node
class Expression(Node):
    depth: int = field(default=1, compare=False, repr=False, kw_only=True)


@_node
class Name(Expression):
    text: str


@_node
class EntityRef(Expression):
    type: Ident
    id: Text


@_node
class Call(Expression):
    name: Ident
    arguments: tuple[Expr, ...]


LiteralKind = OneOf["string", "int", "bool", "duration", "instant", "spiffe", "now"]


@_node
class Literal(Expression):
    kind: LiteralKind
    value: str | int | bool


@_node
class Attribute(Expression):
    of: Expr
    name: Ident


@_node
class Method(Expression):
    of: Expr
    name: Ident
    arguments: tuple[Expr, ...]


@_node
class Index(Expression):
    of: Expr
    key: Expr


@_node
class SetOf(Expression):
    items: tuple[Expr, ...]


@_node
class Quantified(Expression):
    kind: OneOf["any", "all"]
    variable: Ident
    over: Expr
    body: Expr


@_node
class And(Expression):
    items: tuple[Expr, ...]


@_node
class Or(Expression):
    items: tuple[Expr, ...]


@_node
class Not(Expression):
    item: Expr


@_node
class Compare(Expression):
    operator: OneOf["==", "!=", "<", "<=", ">", ">="]
    left: Expr
    right: Expr


@_node
class In(Expression):
    item: Expr
    container: Expr
    negated: bool


@_node
class Has(Expression):
    of: Expr
    name: Ident
    is_key: bool  # `m has "key"` asks a map, `r has field` a record


@_node
class Is(Expression):
    of: Expr
    type: Ident


@_node
class Window(Node):
    days: tuple[int, int]  # first and last weekday, Monday is 0; may wrap
    starts: int  # minutes of the day
    ends: int
    zone: str


@_node
class Within(Expression):
    window: Window


@_node
class Arithmetic(Expression):
    operator: OneOf["+", "-"]
    left: Expr
    right: Expr


@_node
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


@_node
class Text(Node):
    """A string where a string must stand; in tests also the name of a table variable."""

    value: str
    is_variable: bool = False


@_node
class Entry(Node):
    name: Ident
    value: Expr | Record


@_node
class Record(Node):
    entries: tuple[Entry, ...]


# ---- vocabulary


@_node
class NamedType(Node):
    name: Ident
    optional: bool


@_node
class GenericType(Node):
    name: Ident
    arguments: tuple[TypeExpr, ...]
    optional: bool


@_node
class RecordType(Node):
    fields: tuple[Field, ...]
    optional: bool


TypeExpr = NamedType | GenericType | RecordType

SourceWord = OneOf["claimed", "gate", "holder"]


@_node
class Field(Node):
    name: Ident
    type: TypeExpr
    source: SourceWord | None


@_node
class Annotation(Node):
    name: Ident
    value: str | None


@_node
class Declaration(Node):
    """What every statement has beside its own parts."""

    annotations: tuple[Annotation, ...] = field(default=(), kw_only=True)
    doc: str | None = field(default=None, compare=False, kw_only=True)


@_node
class Enum(Declaration):
    name: Ident
    members: tuple[Ident, ...]


@_node
class Entity(Declaration):
    name: Ident
    parents: tuple[Ident, ...]
    source: SourceWord | None
    fields: tuple[Field, ...] | None


@_node
class Workload(Declaration):
    parents: tuple[Ident, ...]
    fields: tuple[Field, ...] | None


@_node
class Relation(Declaration):
    name: Ident
    of: tuple[Ident, ...]
    expiring: bool


@_node
class Action(Declaration):
    names: tuple[Ident, ...]
    on: tuple[Ident, ...]
    context: tuple[Field, ...] | None


@_node
class Group(Declaration):
    name: Ident
    members: tuple[Ident, ...]


# ---- who and what: patterns and scopes


@_node
class Anyone(Node):
    pass


@_node
class Pattern(Node):
    text: str


@_node
class WorkloadIn(Node):
    type: Ident
    id: str


Subject = Anyone | Pattern | WorkloadIn


@_node
class Scope(Node):
    """`Table`, `Table "invoices"` or `Table in Database "ledger"`."""

    type: Ident
    id: str | None
    within: tuple[Ident, str] | None


@_node
class May(Node):
    actions: tuple[Ident, ...]
    on: tuple[Scope, ...]


@_node
class Approval(Node):
    count: int
    of: Scope


@_node
class Carries(Node):
    fields: tuple[Field, ...]


@_node
class OpenedBy(Node):
    openers: tuple[Subject | Ident, ...]  # the `Ident` is the word `holder`


@_node
class TaskWho(Node):
    who: tuple[Subject, ...]


@_node
class Lasts(Node):
    at_most: int  # microseconds


TaskClause = Carries | OpenedBy | TaskWho | May | Lasts | Approval


@_node
class Task(Declaration):
    name: Ident
    clauses: tuple[TaskClause, ...]


# ---- definitions and rules


@_node
class Parameter(Node):
    name: Ident
    type: TypeExpr


@_node
class Define(Declaration):
    name: Ident
    parameters: tuple[Parameter, ...]
    body: Expr


@_node
class Who(Node):
    subjects: tuple[Subject, ...]


@_node
class For(Node):
    scopes: tuple[Scope, ...]


@_node
class Do(Node):
    actions: tuple[Ident, ...] | None  # None is `any`


@_node
class On(Node):
    scopes: tuple[Scope, ...] | None


@_node
class During(Node):
    kinds: tuple[Ident, ...]


@_node
class Proof(Node):
    facts: tuple[Ident, ...]


@_node
class Condition(Node):
    """One of the clauses that hold an expression."""

    clause: OneOf["when", "unless", "from", "until"]
    expression: Expr


@_node
class Trusting(Node):
    paths: tuple[Path, ...]


@_node
class Path(Node):
    parts: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join(self.parts)


@_node
class Because(Node):
    text: str


Clause = Who | For | Do | On | During | Proof | Condition | Trusting | Because


def clause_word(clause: Clause) -> str:
    """The keyword that a clause starts with."""
    return clause.clause if isinstance(clause, Condition) else type(clause).__name__.lower()


@_node
class Rule(Declaration):
    effect: OneOf["allow", "deny"]
    name: Ident
    clauses: tuple[Clause, ...]


# ---- routes


@_node
class Target(Node):
    action: Ident
    type: Ident
    id: Expr
    context: Record | None


@_node
class HttpRoute(Node):
    method: Ident
    path: Ident
    target: Target


@_node
class HttpRoutes(Declaration):
    host: str
    routes: tuple[HttpRoute, ...]


@_node
class TcpRoute(Node):
    destination: Ident
    target: Target


@_node
class TcpRoutes(Declaration):
    routes: tuple[TcpRoute, ...]


# ---- tests


@_node
class Cases(Node):
    variable: Ident
    values: tuple[Expr, ...]


@_node
class Moment(Node):
    """A point of a test's timeline: an offset from its start, or an instant."""

    microseconds: int
    absolute: bool


@_node
class ParentRef(Node):
    type: Ident
    id: Text


@_node
class GivenNow(Node):
    instant: int


@_node
class GivenWorkload(Node):
    id: str
    attributes: Record | None
    parents: tuple[ParentRef, ...]


@_node
class GivenEntity(Node):
    type: Ident
    id: Text
    attributes: Record | None
    parents: tuple[ParentRef, ...]
    is_subject: bool  # `given user T "id"`


@_node
class GivenRow(Node):
    relation: Ident
    arguments: tuple[Expr, ...]
    until: Moment | None


@_node
class GivenTask(Node):
    name: Ident
    kind: Ident
    facts: Record | None
    holder: str | None
    opener: str | None
    lasting: int | None
    proof: tuple[Ident, ...]


@_node
class GivenGate(Node):
    id: str
    attributes: Record | None


@_node
class GivenLocation(Node):
    attributes: Record


@_node
class GivenProof(Node):
    facts: tuple[Ident, ...]


Given = GivenNow | GivenWorkload | GivenEntity | GivenRow | GivenTask | GivenGate | GivenLocation | GivenProof


@_node
class Outcome(Node):
    effect: OneOf["allow", "deny"]
    until: Moment | None
    rule: Ident | None
    reason: Ident | None
    because: str | None


@_node
class CheckStep(Node):
    at: Moment
    action: Ident
    type: Ident
    id: Text
    context: Record | None
    workload: str | None
    user: ParentRef | None
    task: Ident | None
    without_task: bool
    proof: tuple[Ident, ...] | None
    outcome: Outcome | None


@_node
class TaskStep(Node):
    at: Moment
    verb: OneOf["end", "suspend", "resume"]
    task: Ident


@_node
class DataStep(Node):
    """The directory changes at a moment: a record or a row is put, or a record is removed."""

    at: Moment
    put: GivenEntity | GivenRow | None
    remove: ParentRef | None


Step = CheckStep | TaskStep | DataStep


@_node
class Test(Declaration):
    name: str
    cases: Cases | None
    givens: tuple[Given, ...]
    steps: tuple[Step, ...]


Statement = (
    Enum | Entity | Workload | Relation | Action | Group | Task | Define | Rule | HttpRoutes | TcpRoutes | Test
)


@dataclass(frozen=True, slots=True)
class Comment:
    start: int
    end: int
    text: str
    own_line: bool


@dataclass(frozen=True, slots=True)
class Module:
    """One parsed file."""

    source: Source
    version: int | None
    package: tuple[str, ...]
    package_span: Span | None
    statements: tuple[Statement, ...]
    comments: tuple[Comment, ...]
    pin_span: Span | None = None
    broken: bool = False  # a syntax error took a piece of it away
