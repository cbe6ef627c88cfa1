"""What one decision is made from: the values of a request, already of their declared types, beside the directory.

Nothing here is read from anywhere: who assembles an `Inputs` has looked up the records and conformed the values. The
names of the fields are the names of the compiled functions' parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from language.vocabulary import EntityRecord

FOREVER: Final = 2**63 - 1

#: Rows of one relation: the ids that it relates, and when the row ends.
Rows = Mapping[tuple[str, ...], int]

#: Stands for the record of a subject that is not there, or whose type needs none. A record that is missing is None.
NO_SUBJECT: EntityRecord = ()


@dataclass(slots=True)
class Inputs:
    now: int
    resource_id: str
    resource: EntityRecord | None
    workload_id: str | None = None
    workload: EntityRecord | None = NO_SUBJECT
    process: tuple[Any, ...] | None = None
    user_type: str | None = None
    user_id: str | None = None
    user: EntityRecord | None = NO_SUBJECT
    task_kind: str | None = None
    task: tuple[Any, ...] | None = None
    task_covers: bool = False
    context: tuple[Any, ...] = ()
    gate: tuple[Any, ...] | None = None
    location: tuple[Any, ...] = (None, None)
    proof: frozenset[str] = frozenset()
    records: Mapping[str, Mapping[str, EntityRecord]] = field(default_factory=dict)
    rows: Mapping[str, Rows] = field(default_factory=dict)
    epochs: Mapping[str, int] = field(default_factory=dict)  # how often each type and relation has changed
