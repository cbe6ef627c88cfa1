"""The life of a grant: which step leads from which state to which. The manual and the tests read this table.

Where a step may lead to several states, the rest of the world decides: whether approvals are needed, whether there are
enough, whether something else still holds the grant.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pdp.grants.grant import EndReason, Grant, State
from pdp.grants.reasons import Refused

REQUESTED, PENDING, ACTIVE, SUSPENDED, ENDED = (
    State.REQUESTED,
    State.PENDING_APPROVAL,
    State.ACTIVE,
    State.SUSPENDED,
    State.ENDED,
)


@dataclass(frozen=True, slots=True)
class Step:
    """A step, by the name that it has in the record."""

    name: str
    before: tuple[State | None, ...]  # None: there is no grant yet
    after: tuple[State, ...]
    who: str


STEPS = (
    Step("requested", (None,), (REQUESTED,), "the holder to be"),
    Step("opened", (None, REQUESTED), (PENDING, ACTIVE), "an opener of the kind"),
    Step("delegated", (None,), (PENDING, ACTIVE), "the holder of the parent"),
    Step("approved", (PENDING,), (PENDING, ACTIVE), "a person whose approval is needed"),
    Step("rejected", (REQUESTED, PENDING), (ENDED,), "an opener, or a person whose approval is needed"),
    Step("renewed", (ACTIVE,), (ACTIVE,), "the holder, with the old key and the new"),
    Step("suspended", (ACTIVE, SUSPENDED), (SUSPENDED,), "the opener, or whoever handles an incident"),
    Step("resumed", (SUSPENDED,), (SUSPENDED, ACTIVE), "whoever may suspend, for what they suspended"),
    Step("ended", (REQUESTED, PENDING, ACTIVE, SUSPENDED), (ENDED,), "its holder, its opener, an incident, time"),
)
STEP = {step.name: step for step in STEPS}


def first(name: str, grant: Grant) -> Grant:
    """A grant that comes into being by a step."""
    step = STEP[name]
    if None not in step.before or grant.state not in step.after:
        raise ValueError(f"no grant begins as {grant.state} by being {name}")
    return grant


def take(name: str, grant: Grant, after: State, **changes: Any) -> Grant:
    """The grant after a step; a coded refusal when its state does not allow it."""
    step = STEP[name]
    if grant.state not in step.before:
        raise Refused(not_now(name, grant.state), f"a grant that is {grant.state.value} cannot be {name}")
    if after not in step.after:
        raise ValueError(f"{name} does not lead to {after}")
    return replace(grant, state=after, **changes)


def end(grant: Grant, reason: EndReason, now: int, why: str, *, confidential: bool) -> Grant:
    """The grant after its end."""
    return take("ended", grant, ENDED, ended=reason, ended_at=now, why=why, confidential=confidential, holds=())


def not_now(name: str, state: State) -> str:
    """The code that says why a step is not taken in a state."""
    if state is ENDED:
        return "task_ended"
    if name in ("opened", "approved", "rejected"):
        return "not_pending"
    return "task_suspended" if state is SUSPENDED else "task_not_active"
