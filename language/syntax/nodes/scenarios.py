"""Tests: a small world, and a timeline in it."""

from __future__ import annotations

from typing import Literal as OneOf

from language.syntax.nodes.expressions import Expr, Ident, Node, Record, Text
from language.syntax.nodes.statements import Declaration
from language.tree import node


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
    remove: ParentRef | GivenRow | None


Step = CheckStep | TaskStep | DataStep


@node
class Test(Declaration):
    name: str
    cases: Cases | None
    givens: tuple[Given, ...]
    steps: tuple[Step, ...]
