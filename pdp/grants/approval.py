"""Approvals: a person's yes to exactly one grant as it stands, counted when the grant is given.

An approval permits nothing by itself. It is bound to every member of what is asked for (`agreement`), it ends, it is
consumed once, and when it is used the approver is looked up anew and the request is evaluated under the policy of then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from language import FOREVER, TaskDecl, World
from pdp.grants.document import canonical, tell_grant
from pdp.grants.grant import Approval, Grant, Reference, Required
from pdp.grants.reasons import Refused
from pdp.grants.scope import above_in, matches, target_of

#: What may change between the yes and its use: the moments and the state, and nothing that says what the grant is good for.
_NOT_AGREED = frozenset(
    {"state", "ended", "ended_at", "why", "confidential", "holds", "approvals", "created", "ends", "started", "generation"}
)


def agreement(grant: Grant) -> str:
    """The digest of all that an approver says yes to, member by member."""
    told = {name: value for name, value in tell_grant(grant).items() if name not in _NOT_AGREED}
    return hashlib.sha256(canonical(told).encode()).hexdigest()


def required_by(decl: TaskDecl) -> Required | None:
    """Whose approval the declaration of today asks for."""
    return None if decl.approval is None else Required(decl.approval.count, target_of(decl.approval.of))


def may_approve(required: Required, person: Reference, world: World) -> bool:
    """Whether a person is one of those whose approval is needed, by the directory of this moment."""
    decl = world.vocabulary.entities.get(person[0])
    if decl is None or (decl.needs_record and person[1] not in world.records.get(person[0], {})):
        return False
    above = above_in(world)
    ancestors = above(person)
    if matches(required.of, person, ancestors):
        return True
    for each in ancestors.get(required.of.type, ()):
        group = (required.of.type, each)
        if matches(required.of, group, above(group)):
            return True
    return False


def refuse_own(people: Iterable[Reference], workloads: Iterable[str], approver: Reference, through: str | None) -> None:
    """Nobody approves what they asked for; nor does anybody through a workload of the chain, which may hold their token."""
    if approver in people or (through is not None and through in workloads):
        raise Refused("self_approval")


def counted(grant: Grant, required: Required, world: World, now: int) -> tuple[Approval, ...]:
    """The approvals that count at this moment: for this agreement, not ended, of different people who may give them now."""
    agreed = agreement(grant)
    found: dict[Reference, Approval] = {}
    for approval in grant.approvals:
        if (
            approval.agreement == agreed
            and approval.at <= now < approval.until
            and approval.approver not in grant.people
            and may_approve(required, approval.approver, world)
        ):
            found.setdefault(approval.approver, approval)
    return tuple(found.values())


def soonest(approvals: Iterable[Approval]) -> int:
    return min((approval.until for approval in approvals), default=FOREVER)
