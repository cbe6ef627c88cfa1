"""What the nodes of both trees are: slotted dataclasses that are never changed after they are made.

They are frozen for the type checker and not at run time: a compiler makes hundreds of thousands of them, and a frozen
dataclass costs twice as much to make and five times as much to define, which every start of the command would pay.
Fields declared with `compare=False` take no part in equality: where something stands does not change what it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, ClassVar, TypeVar, cast, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def node(cls: type[T]) -> type[T]:
    """Declares a class of nodes; it derives from `Tree`."""
    made = dataclass(eq=False, repr=False, slots=True)(cls)
    names = [f.name for f in fields(made) if f.compare]  # type: ignore[arg-type]  # it has just been made one
    tree = cast("type[Tree]", made)
    tree.compared = staticmethod(attrgetter(*names)) if names else staticmethod(_nothing)
    return made


def _nothing(_: object) -> tuple[()]:
    return ()


class Tree:
    """Equality, hash and a short text, by the fields that count."""

    __slots__ = ()
    compared: ClassVar[Any]  # reads the fields that count, all at once

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if self.__class__ is not other.__class__:
            return NotImplemented
        return bool(self.compared(self) == self.compared(other))

    def __hash__(self) -> int:
        return hash((self.__class__, self.compared(self)))

    def __repr__(self) -> str:
        shown = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in fields(cast(Any, self)) if f.compare)
        return f"{self.__class__.__name__}({shown})"
