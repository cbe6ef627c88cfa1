"""What a policy set talks about, resolved: types, actions, relations, kinds of task. Pure data.

A directory record is a tuple: its version, its id, one set of ancestor ids for each type that can be an ancestor, then
the attributes in declared order (None for an absent optional one). Where a thing stands in that tuple is settled here,
once, for the compiler, the oracle and the directory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from language.spiffe import SpiffePattern
from language.types import (
    INT,
    IP,
    SPIFFE_ID,
    STRING,
    TIME,
    EntityType,
    EnumType,
    Field,
    RecordType,
    SetType,
    TaskType,
    Trust,
    Type,
)

#: A directory record; see above. `VERSION` and `ID` are where every record has them.
EntityRecord = tuple[Any, ...]
VERSION, ID, FIRST_ANCESTORS = 0, 1, 2

WORKLOAD = "workload"  # the name of the one entity type whose ids are SPIFFE IDs; not a name that a policy can declare

PROCESS_KIND = EnumType("ProcessKind", ("service", "job", "interpreter", "shell", "other"))
PROOF_FACT = EnumType("ProofFact", ("key", "request", "session", "process"))

PROCESS = RecordType((Field("kind", PROCESS_KIND, False), Field("executable", STRING, True)), "process")
GATE = RecordType((Field("id", SPIFFE_ID, False), Field("environment", STRING, True)), "gate")
LOCATION = RecordType((Field("ip", IP, True, Trust.GATE), Field("port", INT, True, Trust.GATE)), "location")
PROOFS = SetType(PROOF_FACT)

#: What every task has, before what it carries.
TASK_FIELDS = (
    Field("id", STRING, False),
    Field("started", TIME, False),
    Field("ends", TIME, False),
    Field("opener", SPIFFE_ID, False),
    Field("holder", SPIFFE_ID, False),
    Field("depth", INT, False),
    Field("parent", STRING, True),
)

BUILTIN_ENUMS = (PROCESS_KIND, PROOF_FACT)
BUILTIN_TYPES = ("Bool", "Int", "String", "Time", "Duration", "Ip", "Cidr", "SpiffeId", "Set", "Map")


@dataclass(frozen=True)
class EntityDecl:
    name: str
    parents: tuple[str, ...]
    ancestors: tuple[str, ...]  # every type that can stand above, in order of name
    trust: Trust
    fields: tuple[Field, ...]
    indexes: Mapping[str, int] = field(compare=False, repr=False)
    ancestor_indexes: Mapping[str, int] = field(compare=False, repr=False)

    @property
    def needs_record(self) -> bool:
        """Types with neither attributes nor parents are known by their id alone."""
        return bool(self.fields or self.parents)

    @cached_property
    def attributes(self) -> RecordType:
        return RecordType(self.fields, self.name)

    def find(self, name: str) -> tuple[int, Field] | None:
        index = self.indexes.get(name)
        return None if index is None else (index, self.fields[index - FIRST_ANCESTORS - len(self.ancestors)])


def entity_decl(
    name: str, parents: tuple[str, ...], ancestors: tuple[str, ...], trust: Trust, fields: tuple[Field, ...]
) -> EntityDecl:
    first = FIRST_ANCESTORS + len(ancestors)
    return EntityDecl(
        name,
        parents,
        ancestors,
        trust,
        fields,
        {f.name: first + i for i, f in enumerate(fields)},
        {a: FIRST_ANCESTORS + i for i, a in enumerate(ancestors)},
    )


@dataclass(frozen=True, slots=True)
class RelationDecl:
    name: str
    of: tuple[str, ...]
    expiring: bool


@dataclass(frozen=True, slots=True)
class ActionDecl:
    name: str
    on: tuple[str, ...]
    context: RecordType


@dataclass(frozen=True, slots=True)
class ScopeDecl:
    """Resources or users: a type, one entity of it, or those below an entity."""

    type: str
    id: str | None = None
    within: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class SubjectDecl:
    """Workloads: anyone, those whose id matches, or those below an entity."""

    pattern: SpiffePattern | None = None
    within: tuple[str, str] | None = None

    @property
    def is_anyone(self) -> bool:
        return self.pattern is None and self.within is None


@dataclass(frozen=True, slots=True)
class MayDecl:
    actions: frozenset[str]
    on: tuple[ScopeDecl, ...]


@dataclass(frozen=True, slots=True)
class ApprovalDecl:
    count: int
    of: ScopeDecl


@dataclass(frozen=True)
class TaskDecl:
    """A kind of task, and the ceiling of every grant for it."""

    kind: str
    carries: tuple[Field, ...]
    openers: tuple[SubjectDecl, ...]
    holder_opens: bool
    who: tuple[SubjectDecl, ...]
    may: tuple[MayDecl, ...]
    lasts: int | None  # microseconds
    approval: ApprovalDecl | None

    @cached_property
    def record(self) -> RecordType:
        """A task as a value: what every task has, then what this kind carries."""
        return RecordType((*TASK_FIELDS, *self.carries), f"task {self.kind}")

    @cached_property
    def facts(self) -> RecordType:
        return RecordType(self.carries, f"task {self.kind}")


@dataclass(frozen=True)
class Vocabulary:
    enums: Mapping[str, EnumType]
    entities: Mapping[str, EntityDecl]
    workload: EntityDecl
    relations: Mapping[str, RelationDecl]
    actions: Mapping[str, ActionDecl]
    groups: Mapping[str, frozenset[str]]  # every action below the group
    tasks: Mapping[str, TaskDecl]

    def entity(self, name: str) -> EntityDecl:
        return self.workload if name == WORKLOAD else self.entities[name]

    @cached_property
    def enum_members(self) -> frozenset[str]:
        return frozenset(m for enum in self.enums.values() for m in enum.members)

    def type_named(self, name: str) -> Type | None:
        """What a declared name means where a type stands."""
        if name in self.enums:
            return self.enums[name]
        if name in self.entities:
            return EntityType(name)
        if name in self.tasks:
            return TaskType(name)
        return None
