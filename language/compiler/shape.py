"""What rules have in common: a rule's conditions with their constants taken out.

Ten thousand rules that differ only in constants have one shape. They are compiled once, as one loop over a table of
constants, and where the shape holds an equality the table becomes a dict.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from language import typed as t
from language.types import SPIFFE_ID, STRING

Shape = tuple[t.TypedExpr, ...]


def canonical(conjuncts: tuple[t.Conjunct, ...]) -> tuple[t.TypedExpr, ...]:
    """The conditions of an instance, with `who` patterns as equalities where they are ones."""
    found: list[t.TypedExpr] = []
    for conjunct in conjuncts:
        expr = conjunct.expr
        match expr:
            case t.HasSubject() | t.Constant(True):
                continue
            case t.Matches(of, pattern) if pattern.is_exact:
                found.append(t.Compare("==", of, t.Constant(pattern.text, SPIFFE_ID, span=expr.span), span=expr.span))
            case t.Matches(t.Root("workload") as of, pattern) if pattern.is_one_below:
                found.append(t.HasWorkload(span=expr.span))
                above = t.Constant(pattern.text.removesuffix("/*"), STRING, span=expr.span)
                found.append(t.Compare("==", t.PathAbove(of, span=expr.span), above, span=expr.span))
            case _:
                found.append(expr)
    return tuple(found)


def take_constants(exprs: tuple[t.TypedExpr, ...]) -> tuple[Shape, tuple[Any, ...]]:
    """The shape, and the constants that fill its holes."""
    constants: list[Any] = []
    shape = tuple(_open(e, constants) for e in exprs)
    return shape, tuple(constants)


def _open(expr: t.TypedExpr, constants: list[Any]) -> t.TypedExpr:
    if isinstance(expr, t.Constant):
        constants.append(expr.value)
        return t.Hole(len(constants) - 1, expr.type, span=expr.span)
    changed: dict[str, Any] = {}
    for name in t.child_fields(expr.__class__):
        child = getattr(expr, name)
        if isinstance(child, tuple):
            opened: Any = tuple([_open(c, constants) for c in child])
        elif child is None:
            continue
        else:
            opened = _open(child, constants)
        if opened is not child:
            changed[name] = opened
    return replace(expr, **changed) if changed else expr


def has_hole(expr: t.TypedExpr) -> bool:
    return any(isinstance(e, t.Hole) for e in t.walk(expr))
