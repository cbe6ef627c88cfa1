"""What a step would do, worked out before anything is done: changes for the store, entries for the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pdp.grants.grant import Grant
from pdp.grants.store import Change
from pdp.record import BINDING_REASONS, Kind, Step
from pdp.service.caller import Caller


@dataclass(frozen=True, slots=True)
class Plan:
    changes: tuple[Change, ...] = ()
    steps: tuple[Step, ...] = ()
    grant: str | None = None  # what the step is about, to be handed back
    gives: tuple[str, ...] = ()  # grants that are taken back when the step cannot be recorded


def tell(
    what: str,
    grant: Grant,
    chain: tuple[Grant, ...],
    caller: Caller,
    now: int,
    *,
    reason: str | None = None,
    **details: Any,
) -> Step:
    """The entry for a step of a grant. `chain` is what stands above it and itself, the root first."""
    return Step(
        Kind.GRANT,
        what,
        now,
        id=grant.id,
        task=grant.task,
        txn=grant.task,
        chain=tuple(each.id for each in chain),
        holder=grant.holder,
        opener=grant.opener,
        actor=caller.name,
        approvers=tuple(f"{approval.approver[0]} {approval.approver[1]}" for approval in grant.approvals),
        gate=caller.gate,
        state=grant.state.value,
        reason=reason,
        ends_us=grant.ends,
        certificate=next(iter(sorted(caller.certificates)), None),
        proof=caller.proof,
        details={"kind": grant.kind, **details},
    )


def tell_refusal(
    step: str, code: str, chain: tuple[Grant, ...], caller: Caller, now: int, details: Mapping[str, Any]
) -> Step:
    """The entry for a step that was refused; with a failed binding, of the kind that is read when a breach is sought."""
    leaf = chain[-1] if chain else None
    reuse = code in BINDING_REASONS
    return Step(
        Kind.REUSE_ATTEMPT if reuse else Kind.GRANT,
        code if reuse else "refused",
        now,
        id=leaf.id if leaf else "",
        task=leaf.task if leaf else None,
        txn=leaf.task if leaf else None,
        chain=tuple(each.id for each in chain),
        holder=leaf.holder if leaf else None,
        opener=leaf.opener if leaf else None,
        actor=caller.name,
        gate=caller.gate,
        state=leaf.state.value if leaf else None,
        reason=code,
        certificate=next(iter(sorted(caller.certificates)), None),
        proof=caller.proof,
        details={"step": step, **details},
    )
