"""What the nodes of both trees are: slotted dataclasses that are never changed after they are made.

They are frozen for the type checker and not at run time: a compiler makes hundreds of thousands of them, and a frozen
dataclass costs twice as much to make and five times as much to define, which every start of the command would pay.
Fields declared with `compare=False` take no part in equality: where something stands does not change what it is.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, TypeVar, cast, dataclass_transform

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
        if self.__class__ is not other.__class__:
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in compared_fields(self.__class__))

    def __hash__(self) -> int:
        return hash((self.__class__, *[getattr(self, name) for name in compared_fields(self.__class__)]))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in compared_fields(self.__class__))
        return f"{self.__class__.__name__}({shown})"


@cache
def _compared(cls: Hashable) -> tuple[str, ...]:
    return tuple(f.name for f in fields(cast(Any, cls)) if f.compare)


def compared_fields(cls: type) -> tuple[str, ...]:
    return _compared(cast(Hashable, cls))
