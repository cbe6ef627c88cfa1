"""The typed tree: what a policy means, after every name is resolved and every type is known.

Only the checker makes these nodes, and the compiler and the oracle accept nothing else: unchecked code cannot be run,
because it has no type that fits. Definitions are already written in, sugar is gone, and every read says where in its
record it reads. Spans take no part in equality, so that two rules that mean the same are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, cast
from typing import Literal as OneOf

from language.source import Span
from language.spiffe import SpiffePattern
from language.tree import Tree, node
from language.types import BOOL, STRING, Type
from language.vocabulary import Vocabulary
from language.windows import CalendarWindow

RootName = OneOf["resource", "user", "workload", "task", "context", "gate", "location", "process", "proof", "task_covers"]


@node
class Node(Tree):
    span: Span = field(compare=False, repr=False, kw_only=True)
    claimed: frozenset[str] = field(default=frozenset(), compare=False, repr=False, kw_only=True)


@node
class Constant(Node):
    value: Any
    type: Type


@node
class Hole(Node):
    """Stands for a constant in a shape that several rules share; made by the planner."""

    index: int
    type: Type


@node
class Root(Node):
    """Something that a request brings: a record, a task, the context."""

    name: RootName
    type: Type


@node
class Variable(Node):
    """A quantifier's variable; numbered, so that no two meet."""

    name: str
    number: int
    type: Type


@node
class FieldOf(Node):
    """A field of a record value, of the context, or of a task."""

    of: TypedExpr
    name: str
    index: int
    type: Type


@node
class AttributeOf(Node):
    """An attribute of an entity, read from its record; an entity without a record is an error."""

    of: TypedExpr
    entity: str
    name: str
    index: int
    type: Type


@node
class IdOf(Node):
    """An entity's own id, which needs no record."""

    of: TypedExpr
    type: Type = STRING


@node
class KeyOf(Node):
    of: TypedExpr
    key: TypedExpr
    type: Type = STRING


@node
class IsPresent(Node):
    """Whether an optional thing is there; false when what it is read from is absent."""

    of: TypedExpr
    type: Type = BOOL


@node
class HasKey(Node):
    of: TypedExpr
    key: TypedExpr
    type: Type = BOOL


@node
class IsUser(Node):
    entity: str
    type: Type = BOOL


@node
class IsTask(Node):
    kind: str
    type: Type = BOOL


@node
class Matches(Node):
    """A SPIFFE ID against a pattern of `who`; an absent workload matches nothing."""

    of: TypedExpr
    pattern: SpiffePattern
    type: Type = BOOL


@node
class PathAbove(Node):
    """A SPIFFE ID without its last segment; the planner turns `…/*` into an equality on it."""

    of: TypedExpr
    type: Type = STRING


@node
class HasWorkload(Node):
    """A workload was verified for this request."""

    type: Type = BOOL


@node
class HasSubject(Node):
    """`anyone`: true of every request that reaches policy, since one without a subject does not."""

    type: Type = BOOL


@node
class Compare(Node):
    operator: OneOf["==", "!=", "<", "<=", ">", ">="]
    left: TypedExpr
    right: TypedExpr
    type: Type = BOOL


@node
class Below(Node):
    """`e in x` for entities: x is e, or an ancestor of e."""

    item: TypedExpr
    entity: str  # the item's type
    target: TypedExpr
    ancestors: int | None  # where the item's record has ancestors of the target's type
    same_type: bool
    type: Type = BOOL


@node
class BelowAny(Node):
    """`e in s` for an entity and a set of references."""

    item: TypedExpr
    entity: str
    targets: TypedExpr
    ancestors: int | None
    same_type: bool
    type: Type = BOOL


@node
class Member(Node):
    item: TypedExpr
    container: TypedExpr
    type: Type = BOOL


@node
class InNetwork(Node):
    address: TypedExpr
    network: TypedExpr
    type: Type = BOOL


@node
class And(Node):
    items: tuple[TypedExpr, ...]
    type: Type = BOOL


@node
class Or(Node):
    items: tuple[TypedExpr, ...]
    type: Type = BOOL


@node
class Not(Node):
    item: TypedExpr
    type: Type = BOOL


@node
class Arithmetic(Node):
    operator: OneOf["+", "-"]
    left: TypedExpr
    right: TypedExpr
    type: Type


@node
class Before(Node):
    """`now < t`."""

    moment: TypedExpr
    type: Type = BOOL


@node
class Since(Node):
    """`now >= t`."""

    moment: TypedExpr
    type: Type = BOOL


@node
class Within(Node):
    window: CalendarWindow
    type: Type = BOOL


@node
class Quantified(Node):
    kind: OneOf["any", "all"]
    variable: Variable
    over: TypedExpr
    body: TypedExpr
    type: Type = BOOL


@node
class SetOf(Node):
    items: tuple[TypedExpr, ...]
    type: Type


@node
class SetCall(Node):
    method: OneOf["contains", "contains_all", "overlaps", "is_empty"]
    of: TypedExpr
    argument: TypedExpr | None
    type: Type = BOOL


@node
class TextCall(Node):
    method: OneOf["starts_with", "ends_with", "includes"]
    of: TypedExpr
    argument: TypedExpr
    type: Type = BOOL


@node
class Related(Node):
    """A row of a relation holds."""

    relation: str
    arguments: tuple[TypedExpr, ...]
    expiring: bool
    type: Type = BOOL


TypedExpr = (
    Constant
    | Hole
    | Root
    | Variable
    | FieldOf
    | AttributeOf
    | IdOf
    | KeyOf
    | IsPresent
    | HasKey
    | IsUser
    | IsTask
    | Matches
    | PathAbove
    | HasWorkload
    | HasSubject
    | Compare
    | Below
    | BelowAny
    | Member
    | InNetwork
    | And
    | Or
    | Not
    | Arithmetic
    | Before
    | Since
    | Within
    | Quantified
    | SetOf
    | SetCall
    | TextCall
    | Related
)


def is_clocked(node: TypedExpr) -> bool:
    """Whether the node itself reads the clock; a row of a relation does where rows expire."""
    return isinstance(node, Before | Since | Within) or (isinstance(node, Related) and node.expiring)


def child_fields(cls: type) -> tuple[str, ...]:
    """Which fields of a node class hold nodes, read off their annotations."""
    found = _CHILD_FIELDS.get(cls)
    if found is None:
        found = tuple(f.name for f in fields(cast(Any, cls)) if "TypedExpr" in str(f.type))
        _CHILD_FIELDS[cls] = found
    return found


_CHILD_FIELDS: dict[type, tuple[str, ...]] = {}


def children(node: TypedExpr) -> list[TypedExpr]:
    """The nodes directly below, for the passes that only search."""
    found: list[TypedExpr] = []
    for name in child_fields(node.__class__):
        child = getattr(node, name)
        if child.__class__ is tuple:
            found += child
        elif child is not None:
            found.append(child)
    return found


def walk(node: TypedExpr) -> list[TypedExpr]:
    """The node and everything below it, parents first."""
    found = [node]
    for each in found:
        found += children(each)
    return found


@node
class Conjunct(Tree):
    """One clause of a rule, or one part of a clause: the rule applies only where all of them are true."""

    clause: str
    expr: TypedExpr
    span: Span = field(compare=False, repr=False)


@node
class Instance(Tree):
    """A rule as it is for one kind of user and one kind of task."""

    user_type: str | None
    task_kind: str | None
    proofs: frozenset[str]
    conjuncts: tuple[Conjunct, ...]


@dataclass(frozen=True)
class Rule:
    name: str  # as decisions name it: the short name where that is unique, else with its package
    short_name: str
    package: str
    effect: OneOf["allow", "deny"]
    span: Span = field(compare=False, repr=False)
    because: str | None
    doc: str | None
    annotations: tuple[tuple[str, str | None], ...]
    instances: Mapping[tuple[str, str], tuple[Instance, ...]]  # by action and resource type


@node
class RouteInput(Node):
    """A part of an HTTP request; `many` takes every value of a query parameter or header."""

    part: OneOf["path", "query", "header"]
    name: str
    many: bool


RouteValue = Constant | RouteInput | TypedExpr


@node
class RouteTarget(Tree):
    action: str
    type: str
    id: RouteValue
    context: tuple[RouteValue | None, ...]  # in the order of the action's context
    span: Span = field(compare=False, repr=False)


@node
class PathSegment(Tree):
    text: str
    is_parameter: bool


@node
class HttpRoute(Tree):
    host: str
    method: str
    path: tuple[PathSegment, ...]
    target: RouteTarget
    span: Span = field(compare=False, repr=False)


@node
class TcpRoute(Tree):
    destination: str
    target: RouteTarget
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Program:
    """A whole policy set that has no errors."""

    vocabulary: Vocabulary
    rules: tuple[Rule, ...]  # in order of name: the order of files and lines is already forgotten
    http_routes: tuple[HttpRoute, ...]
    tcp_routes: tuple[TcpRoute, ...]
