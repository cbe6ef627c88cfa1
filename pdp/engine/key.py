"""The key of a decision: everything that can change the answer, and nothing else (law L10).

Made from the footprint that the compiler derived. Every position of a key has one static type, since inputs were
conformed to the vocabulary, so `1` and `True` never meet; keys are compared in full, never by a digest.
"""

from __future__ import annotations

from typing import Any

from language import Inputs, Leaf, Read
from pdp.errors import PdpError

Key = tuple[Any, ...]

_RECORDS = ("resource", "user", "workload")
_WHOLE = ("resource_id", "user_id", "workload_id", "user_type", "task_kind", "task_covers", "process", "proof")
_FIELDS = ("context", "task", "gate", "location")


def decision_key(leaf: Leaf, inputs: Inputs) -> Key:
    """The key of these inputs in this leaf."""
    return (leaf.action, leaf.resource_type, *[_part(read, inputs) for read in leaf.footprint])


def _part(read: Read, inputs: Inputs) -> Any:
    if read.root in _WHOLE:
        return getattr(inputs, read.root)
    if read.root in _RECORDS:
        record = getattr(inputs, read.root)
        # A record told with the request has version 0 and is its own key; the directory's is known by its version.
        return None if record is None else record if not record or record[0] == 0 else record[0]
    if read.root in _FIELDS:
        fields = getattr(inputs, read.root)
        # A task of another kind has other fields; its kind is in the key as well.
        return None if fields is None or len(fields) <= read.index else fields[read.index]
    if read.root == "records":  # reached through a reference: any record of the type could matter
        return inputs.epochs[read.part]
    if read.root == "rows":
        return inputs.epochs[f"rows {read.part}"]
    if read.root == "now":
        return None  # time is never in a key: it bounds the entry
    raise PdpError("invalid_argument", f"unknown read `{read}`")
