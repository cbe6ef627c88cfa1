"""Tasks as a test needs them: opened now, for some time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

from pdp.model.request import Task
from pdp.testing.clock import duration_us


class TaskOpener:
    """Called, it opens a task at the moment of its clock, with an id of its own: `task-1`, `task-2`, …"""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._numbers = count(1)

    def __call__(
        self,
        kind: str,
        *,
        lasting: timedelta | str = "15m",
        proof: Sequence[str] = (),
        opener: str | None = None,
        holder: str | None = None,
        depth: int = 0,
        parent: str | None = None,
        id: str | None = None,
        facts: Mapping[str, Any] | None = None,
        **more_facts: Any,
    ) -> Task:
        """A task of this kind. What it carries is told by name, or in `facts` where the name is one of those above."""
        started = self._clock()
        return Task(
            kind=kind,
            id=id if id is not None else f"task-{next(self._numbers)}",
            attributes={**(facts or {}), **more_facts},
            started=started,
            ends=started + duration_us(lasting, "lasting"),
            proof=tuple(proof),
            opener=opener,
            holder=holder,
            depth=depth,
            parent=parent,
        )


def ended(task: Task) -> Task:
    """The same task after somebody ended it."""
    return replace(task, state="ended")


def suspended(task: Task) -> Task:
    """The same task while it is suspended. One that has ended stays so."""
    return task if task.state == "ended" else replace(task, state="suspended")


def resumed(task: Task) -> Task:
    """The same task, active again. One that has ended stays so."""
    return task if task.state == "ended" else replace(task, state="active")
