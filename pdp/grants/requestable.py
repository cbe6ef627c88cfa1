"""A denial that a grant could turn: which kinds of task this workload may hold that cover what it asked for.

It promises nothing. Whoever asks for such a task is evaluated like anyone else, and so is the next check; it only saves a
program from guessing what to ask for.
"""

from __future__ import annotations

from dataclasses import dataclass

from language import RequestData, World, may_open, subject_holds
from pdp.grants.approval import required_by
from pdp.grants.grant import Required
from pdp.grants.scope import ceiling, covers, resource_ancestors


@dataclass(frozen=True, slots=True)
class Requestable:
    kind: str
    holder_opens: bool  # the workload may open it itself; else an opener has to
    facts: tuple[str, ...]  # that must be told
    required: Required | None  # whose approval it needs
    lasts: int | None  # at most, in microseconds


def requestable(world: World, told: RequestData) -> tuple[Requestable, ...]:
    """In order of kind. Empty without a workload: a task belongs to one."""
    workload = told.workload
    if workload is None:
        return ()
    above = resource_ancestors(world, told.resource, told.resource_told)
    resource = (told.resource.type, told.resource.id)
    return tuple(
        Requestable(
            kind,
            may_open(decl, world, workload, workload),
            tuple(sorted(field.name for field in decl.carries if not field.optional)),
            required_by(decl),
            decl.lasts,
        )
        for kind, decl in sorted(world.vocabulary.tasks.items())
        if subject_holds(decl.who, world, workload) and covers(ceiling(decl), told.action, resource, above)
    )
