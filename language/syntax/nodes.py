"""The surface tree: what was written, exactly, before anything is known about its meaning.

Every node is frozen and carries its span, which takes no part in equality. Names are `Ident`s, so that a message can
point at the very word. The typed tree of the checker is a different tree; nothing here is ever rewritten.
"""

from __future__ import annotations

from dataclasses import field
from typing import Literal as OneOf

from language.source import Source, Span
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


@node
class Record(Node):
    entries: tuple[Entry, ...]


# ---- vocabulary


@node
class NamedType(Node):
    name: Ident
    optional: bool


@node
class GenericType(Node):
    name: Ident
    arguments: tuple[TypeExpr, ...]
    optional: bool


@node
class RecordType(Node):
    fields: tuple[Field, ...]
    optional: bool


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


# ---- tests


@node
class Cases(Node):
    variable: Ident
    values: tuple[Expr, ...]


@node
class Moment(Node):
    """A point of a test's timeline: an offset from its start, or an instant."""

    microseconds: int
    absolute: bool


@node
class ParentRef(Node):
    type: Ident
    id: Text


@node
class GivenNow(Node):
    instant: int


@node
class GivenWorkload(Node):
    id: str
    attributes: Record | None
    parents: tuple[ParentRef, ...]


@node
class GivenEntity(Node):
    type: Ident
    id: Text
    attributes: Record | None
    parents: tuple[ParentRef, ...]
    is_subject: bool  # `given user T "id"`


@node
class GivenRow(Node):
    relation: Ident
    arguments: tuple[Expr, ...]
    until: Moment | None


@node
class GivenTask(Node):
    name: Ident
    kind: Ident
    facts: Record | None
    holder: str | None
    opener: str | None
    lasting: int | None
    depth: int
    proof: tuple[Ident, ...]


@node
class GivenGate(Node):
    id: str
    attributes: Record | None


@node
class GivenLocation(Node):
    attributes: Record


@node
class GivenProof(Node):
    facts: tuple[Ident, ...]


Given = GivenNow | GivenWorkload | GivenEntity | GivenRow | GivenTask | GivenGate | GivenLocation | GivenProof


@node
class Outcome(Node):
    effect: OneOf["allow", "deny"]
    until: Moment | None
    rule: Ident | None
    reason: Ident | None
    because: str | None


@node
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


@node
class TaskStep(Node):
    at: Moment
    verb: OneOf["end", "suspend", "resume"]
    task: Ident


@node
class DataStep(Node):
    """The directory changes at a moment: a record or a row is put, or a record is removed."""

    at: Moment
    put: GivenEntity | GivenRow | None
    remove: ParentRef | None


Step = CheckStep | TaskStep | DataStep


@node
class Test(Declaration):
    name: str
    cases: Cases | None
    givens: tuple[Given, ...]
    steps: tuple[Step, ...]


Statement = Enum | Entity | Workload | Relation | Action | Group | Task | Define | Rule | HttpRoutes | TcpRoutes | Test


@node
class Comment(Tree):
    start: int
    end: int
    text: str
    own_line: bool


@node
class Module(Tree):
    """One parsed file."""

    source: Source
    version: int | None
    package: tuple[str, ...]
    package_span: Span | None
    statements: tuple[Statement, ...]
    comments: tuple[Comment, ...]
    pin_span: Span | None = None
    broken: bool = False  # a syntax error took a piece of it away
