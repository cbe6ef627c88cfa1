"""Which grants concern whom: what `get`, `list` and a watch show. For others there is no such grant."""

from __future__ import annotations

from collections.abc import Iterable

from language import World
from pdp.grants.approval import may_approve
from pdp.grants.grant import Grant, State
from pdp.grants.index import Index
from pdp.grants.reasons import Refused
from pdp.service.caller import Caller


def find_seen(index: Index, grant_id: str, caller: Caller, world: World) -> Grant:
    grant = index.find(grant_id)
    if not may_see(index, grant, caller, world):
        raise Refused("grant_unknown")
    return grant


def list_seen(
    index: Index,
    caller: Caller,
    world: World,
    *,
    task: str | None = None,
    holder: str | None = None,
    kind: str | None = None,
    states: frozenset[State] = frozenset(),
) -> tuple[Grant, ...]:
    """In the order in which they were made. Without states: all of a task; else those that have not ended."""
    found = [
        grant
        for grant in _candidates(index, task, holder, State.ENDED in states)
        if (not states or grant.state in states)
        and (holder is None or grant.holder == holder)
        and (kind is None or grant.kind == kind)
        and may_see(index, grant, caller, world)
    ]
    return tuple(sorted(found, key=lambda grant: (grant.created, grant.id)))


def may_see(index: Index, grant: Grant, caller: Caller, world: World) -> bool:
    """Operators; those of the grant, and holders above it; people who asked for it, or whose approval it waits for."""
    if caller.operator:
        return True
    workloads = {grant.holder, grant.opener, grant.requester, *(each.holder for each in known_chain(index, grant.id))}
    if caller.workload is not None and caller.workload in workloads:
        return True
    if caller.person is None:
        return False
    return caller.person in grant.people or (
        grant.required is not None and may_approve(grant.required, caller.person, world)
    )


def known_chain(index: Index, grant_id: str | None) -> tuple[Grant, ...]:
    """The chain of a grant, as far as there is one."""
    if grant_id is None:
        return ()
    try:
        return index.chain(grant_id)
    except Refused:
        found = index.grants.get(grant_id) if type(grant_id) is str else None
        return (found,) if isinstance(found, Grant) else ()


def _candidates(index: Index, task: str | None, holder: str | None, ended_too: bool) -> Iterable[Grant]:
    if task is not None:
        return index.of_task(task)
    if ended_too:
        return (grant for grant in index.grants.values() if isinstance(grant, Grant))
    return index.held_by(holder) if holder is not None else index.living()
