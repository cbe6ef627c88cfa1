"""What the nodes of both trees are: slotted dataclasses that are never changed after they are made.

They are frozen for the type checker and not at run time: a compiler makes hundreds of thousands of them, and a frozen
dataclass costs twice as much to make and five times as much to define, which every start of the command would pay.
Fields declared with `compare=False` take no part in equality: where something stands does not change what it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cache
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def node(cls: type[T]) -> type[T]:
    """Declares a class of nodes; it derives from `Tree`."""
    return dataclass(eq=False, repr=False, slots=True)(cls)


class Tree:
    """Equality, hash and a short text, by the fields that count."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in compared_fields(type(self)))

    def __hash__(self) -> int:
        return hash((type(self), *[getattr(self, name) for name in compared_fields(type(self))]))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in compared_fields(type(self)))
        return f"{type(self).__name__}({shown})"


@cache
def compared_fields(cls: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(cls) if f.compare)

