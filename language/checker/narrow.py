"""What is known to be there when a condition is true, and when it is false.

Optional things are read only where a guard was seen: `x has a`, `task is K`, `user is T`. A fact is a path that is
present. Only paths that cannot change between guard and read are tracked: roots, their fields, quantifier variables.
"""

from __future__ import annotations

from typing import NamedTuple

from language import typed as t

Path = tuple[str, ...]
Facts = frozenset[Path]
NOTHING: Facts = frozenset()
IS = " is "  # no attribute can have this name, so a fact about a type is never the path of a field


class Known(NamedTuple):
    """Facts that hold if a condition is true, and those that hold if it is false."""

    if_true: Facts = NOTHING
    if_false: Facts = NOTHING

    def negated(self) -> Known:
        return Known(self.if_false, self.if_true)


def path_of(expr: t.TypedExpr) -> Path | None:
    """The path of something that can be guarded, or None."""
    match expr:
        case t.Root("process"):
            return ("workload", "process")
        case t.Root(name):
            return (name,)
        case t.Variable(_, number):
            return (f"${number}",)
        case t.FieldOf(of, name) | t.AttributeOf(of, _, name):
            above = path_of(of)
            return None if above is None else (*above, name)
        case _:
            return None


def label_of(of: t.TypedExpr, name: str | None = None) -> str:
    path = path_of(of) or ("?",)
    return ".".join((*path, name) if name else path)


def key_path(of: t.TypedExpr, key: t.TypedExpr) -> Path | None:
    """The path of a map's entry under a constant key, or under a variable that stays the same."""
    above = path_of(of)
    if above is None:
        return None
    if isinstance(key, t.Constant):
        return (*above, f"[{key.value!r}]")
    below = path_of(key)
    return None if below is None else (*above, f"[{'.'.join(below)}]")


def user_fact(type_name: str) -> Path:
    return ("user", IS, type_name)


def task_fact(kind: str) -> Path:
    return ("task", IS, kind)
