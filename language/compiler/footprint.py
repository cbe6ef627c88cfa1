"""What can change an answer (law L10): every record and request value that the rules of a leaf read.

The footprint is the value part of a cache key, the scope of an invalidation and what the record of a decision keeps. It
is derived from the typed tree alone; a rule cannot read anything that is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from language import typed as t
from language.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True, order=True)
class Read:
    """One thing that is read: a root, and the part of it where only a part is."""

    root: str  # resource, user, workload: the record; resource_id …: the id; context, task, gate, location: a field
    part: str = ""
    index: int = -1

    def __str__(self) -> str:
        return f"{self.root}.{self.part}" if self.part else self.root


_RECORD_ROOTS = ("resource", "user", "workload")


def footprint(exprs: Iterable[t.TypedExpr], vocabulary: Vocabulary) -> tuple[Read, ...]:
    reads: set[Read] = set()
    for expr in exprs:
        _collect(expr, vocabulary, reads)
    return tuple(sorted(reads))


def _collect(expr: t.TypedExpr, vocabulary: Vocabulary, reads: set[Read]) -> None:
    match expr:
        case t.AttributeOf(of, entity):
            _read_record(of, entity, vocabulary, reads)
            return
        case t.Below(item, entity, target, index) | t.BelowAny(item, entity, target, index):
            _collect(target, vocabulary, reads)
            _collect(item, vocabulary, reads)
            if index is not None:
                _read_record(item, entity, vocabulary, reads)
            return
        case t.FieldOf(t.Root(name), part, index) if name in ("context", "task", "gate", "location"):
            reads.add(Read(name, part, index))
            if name == "task":
                reads.add(Read("task_kind"))  # a field's place means something only together with the kind
            return
        case t.Root("task_covers" | "proof" | "process" as name):
            reads.add(Read(name))
        case t.Root(name) if name in _RECORD_ROOTS:
            reads.add(Read(f"{name}_id"))
        case t.Root(name):
            reads.add(Read(name))
        case t.IsUser():
            reads.add(Read("user_type"))
        case t.IsTask():
            reads.add(Read("task_kind"))
        case t.HasWorkload() | t.Matches(t.Root("workload")):
            reads.add(Read("workload_id"))
        case t.Related(relation):
            reads.add(Read("rows", relation))
        case t.Before() | t.Since() | t.Within():
            reads.add(Read("now"))
    if isinstance(expr, t.Related) and expr.expiring:
        reads.add(Read("now"))
    for child in t.children(expr):
        _collect(child, vocabulary, reads)


def _read_record(of: t.TypedExpr, entity: str, vocabulary: Vocabulary, reads: set[Read]) -> None:
    """A record of the request enters as its version; one reached through a reference as the epoch of its type."""
    if isinstance(of, t.Root) and of.name in _RECORD_ROOTS:
        reads.add(Read(of.name))
        if of.name == "workload":
            reads.add(Read("workload_id"))
        if of.name == "user":
            reads.add(Read("user_type"))
        return
    reads.add(Read("records", entity))
    _collect(of, vocabulary, reads)
