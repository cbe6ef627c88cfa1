"""The key of a decision: everything that can change the answer, and nothing else (law L10).

Made from the footprint that the compiler derived. Every position of a key has one static type, since inputs were
conformed to the vocabulary, so `1` and `True` never meet; keys are compared in full, never by a digest. Versions and epochs
are given once in a process, so that a key of an older world can never be met again.

Numbers that callers tell stand in it as texts: Python's hash of a number, and of a tuple or set of them, can be computed by
anybody, who could then have thousands of keys share one; its hash of a text is salted in each process.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from language import Inputs, Leaf, Read
from pdp.errors import PdpError

Key = tuple[Any, ...]
Part = Callable[[Inputs], Any]

_RECORDS = ("resource", "user", "workload")
_WHOLE = ("resource_id", "user_id", "workload_id", "user_type", "task_kind", "task_covers", "process", "proof")
_FIELDS = ("context", "task", "gate", "location")


def key_parts(leaf: Leaf) -> tuple[tuple[Read, Part], ...]:
    """What a leaf's keys are made of. Time is in no key: it bounds the entry."""
    return tuple((read, _part(read)) for read in leaf.footprint if read.root != "now")


def decision_key(leaf: Leaf, inputs: Inputs) -> Key:
    """The key of these inputs in this leaf."""
    return (leaf.action, leaf.resource_type, *[part(inputs) for _, part in key_parts(leaf)])


def _part(read: Read) -> Part:
    if read.root in _WHOLE:
        return attrgetter(read.root)
    if read.root in _RECORDS:
        return _record(attrgetter(read.root))
    if read.root in _FIELDS:
        return _field(attrgetter(read.root), read.index)
    if read.root == "records":  # reached through a reference: any record of the type could matter
        return lambda inputs: inputs.epochs[read.part]
    if read.root == "rows":
        epoch = f"rows {read.part}"
        return lambda inputs: inputs.epochs[epoch]
    raise PdpError("invalid_argument", f"unknown read `{read}`")


def _record(of: Part) -> Part:
    """A record told with the request has version 0 and is its own key; the directory's is known by its version. One that
    is missing, and the empty one of a subject that is not there, are themselves."""

    def part(inputs: Inputs) -> Any:
        record = of(inputs)
        return record[0] or salted(record) if record else record

    return part


def _field(of: Part, index: int) -> Part:
    """A task of another kind has other fields; its kind is in the key as well."""

    def part(inputs: Inputs) -> Any:
        fields = of(inputs)
        return None if fields is None or len(fields) <= index else salted(fields[index])

    return part


def salted(value: Any) -> Any:
    """The value, its numbers as texts. Of one type no two values become one."""
    kind = type(value)
    if kind is int:
        return str(value)
    if kind is tuple:
        return tuple([salted(each) for each in value])
    if kind is frozenset:
        return frozenset([salted(each) for each in value])
    return value
