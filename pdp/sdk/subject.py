"""On whose behalf a gated call is made, as the host program says after it has verified it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pdp.errors import PdpError
from pdp.model.request import EntityLike, Task, Workload


@dataclass(frozen=True, slots=True)
class Subject:
    """Who asks: a workload, a user, or both; the task that they are in, and what was proven for this call."""

    workload: str | Workload | None = None
    user: EntityLike | None = None
    task: Task | None = None
    proof: Sequence[str] | frozenset[str] = ()
    location: Mapping[str, Any] = field(default_factory=dict)


NOBODY = Subject()


def told(found: object) -> Subject:
    """What a `subject` callable gave. None is nobody; anything else that is no Subject is a mistake, never somebody."""
    if found is None:
        return NOBODY
    if isinstance(found, Subject):
        return found
    raise PdpError("invalid_argument", f"subject: found {type(found).__name__}, expected a Subject or None")
