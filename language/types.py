"""The closed set of types of the policy language.

There are no floats, no null and no conversions. A type says which Python value stands for it (`values.py`), and two
values are only ever compared when their types are the same, so that `1`, `true` and `"1"` never meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum as PythonEnum
from functools import cached_property
from typing import assert_never


class Scalar(PythonEnum):
    BOOL = "Bool"
    INT = "Int"
    STRING = "String"
    TIME = "Time"
    DURATION = "Duration"
    IP = "Ip"
    CIDR = "Cidr"
    SPIFFE_ID = "SpiffeId"


BOOL, INT, STRING, TIME = Scalar.BOOL, Scalar.INT, Scalar.STRING, Scalar.TIME
DURATION, IP, CIDR, SPIFFE_ID = Scalar.DURATION, Scalar.IP, Scalar.CIDR, Scalar.SPIFFE_ID


@dataclass(frozen=True, slots=True)
class EnumType:
    name: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EntityType:
    """A reference to an entity of one type."""

    name: str


@dataclass(frozen=True, slots=True)
class TaskType:
    """A task of one kind; what it carries is in the vocabulary."""

    kind: str


@dataclass(frozen=True, slots=True)
class SetType:
    of: Type


@dataclass(frozen=True, slots=True)
class MapType:
    """`Map<String, String>`; there is no other."""


class Trust(PythonEnum):
    """Where a value comes from, and so how far it may be believed."""

    VERIFIED = "verified"  # the directory, or proven for this call
    GATE = "gate"
    CLAIMED = "claimed"


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    type: Type
    optional: bool
    trust: Trust = Trust.VERIFIED


@dataclass(frozen=True)
class RecordType:
    fields: tuple[Field, ...]
    name: str = ""  # how messages call it, for the records that have a name

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(f.name for f in self.fields)

    @cached_property
    def absent(self) -> tuple[None, ...] | None:
        """The record of which nothing was said; None when something must be."""
        return (None,) * len(self.fields) if all(f.optional for f in self.fields) else None

    def find(self, name: str) -> tuple[int, Field] | None:
        for index, field in enumerate(self.fields):
            if field.name == name:
                return index, field
        return None


@dataclass(frozen=True, slots=True)
class Unknown:
    """The type of what is already in error: agrees with everything, so that one mistake gives one message."""


Type = Scalar | EnumType | EntityType | TaskType | SetType | MapType | RecordType | Unknown
UNKNOWN = Unknown()


def show(type_: Type) -> str:
    """A type as a policy would write it."""
    match type_:
        case Scalar():
            return type_.value
        case EnumType(name, _) | EntityType(name):
            return name
        case TaskType(kind):
            return f"task {kind}"
        case SetType(of):
            return f"Set<{show(of)}>"
        case MapType():
            return "Map<String, String>"
        case RecordType(fields, name):
            return name or "{ " + ", ".join(f"{f.name}: {show(f.type)}{'?' * f.optional}" for f in fields) + " }"
        case Unknown():
            return "?"
        case _:
            assert_never(type_)


def agree(left: Type, right: Type) -> bool:
    """Whether two types are the same, as far as that can be said."""
    match left, right:
        case (Unknown(), _) | (_, Unknown()):
            return True
        case SetType(a), SetType(b):
            return agree(a, b)
        case _:
            return left == right
