"""What `pdp.v1.GrantService` answers: grants -> bytes; and what a step was refused for -> the status of the call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from language import Refusal
from pdp.grants.approval import agreement
from pdp.grants.grant import Bindings, Grant, Permit, State, Target
from pdp.wire.grants import REASONS, STATES
from pdp.wire.messages import PDP
from pdp.wire.values import put_moment, put_record

_TEXTS = ("id", "task", "kind", "holder", "opener", "requester", "generation", "audience")
_PLAIN = (*_TEXTS, "depth", "revision", "deeper")
_STATE = {state: number for number, state in STATES.items()}
_REASON = {reason: number for number, reason in REASONS.items()}

#: Refusals by what they say to a caller: that it is the wrong one, that it said something that cannot be, or that it should
#: come back. Every other one says that the grant, or the installation, is not as it would have to be.
_NOT_YOU = """
no_workload wrong_opener holder_is_opener holder_refused wrong_holder not_yours not_operator proof_missing wrong_key
no_approver approver_asserted self_approval wrong_approver workload_frozen revoked wrong_environment wrong_audience
"""
_NOT_SO = """
unknown_kind fact_from_holder fact_changed fact_malformed scope_malformed scope_empty scope_too_wide lasting_malformed
lasting_too_long uses_malformed binding_malformed bearer_refused id_malformed delegation_too_deep child_too_wide
child_too_long child_less_bound child_key_known child_other_kind approval_too_long renewal_too_wide noun_unknown
reason_missing
"""
_LATER = "store_unavailable grants_stale not_recorded"
STATUS = {
    **dict.fromkeys(_NOT_YOU.split(), "PERMISSION_DENIED"),
    **dict.fromkeys(_NOT_SO.split(), "INVALID_ARGUMENT"),
    **dict.fromkeys(_LATER.split(), "UNAVAILABLE"),
}


def status_of(refusal: Refusal) -> str:
    """The gRPC status of a refused step."""
    return STATUS.get(refusal.code, "FAILED_PRECONDITION")


def write_response(grant: Grant, handle: str = "", *, operator: bool = False) -> bytes:
    response = PDP.GrantResponse(handle=handle)
    put_grant(response.grant, grant, operator=operator)
    return bytes(response.SerializeToString())


def write_end(grants: Iterable[str], revision: int) -> bytes:
    return bytes(PDP.EndResponse(grants=list(grants), revision=revision).SerializeToString())


def write_list(grants: Iterable[Grant], next_page: str, *, operator: bool) -> bytes:
    response = PDP.ListResponse(next_page_token=next_page)
    for grant in grants:
        put_grant(response.grants.add(), grant, operator=operator)
    return bytes(response.SerializeToString())


def write_change(grant: Grant, incarnation: str, *, operator: bool) -> bytes:
    change = PDP.GrantChange(revision=grant.revision, incarnation=incarnation)
    put_grant(change.grant, grant, operator=operator)
    return bytes(change.SerializeToString())


def put_grant(into: Any, grant: Grant, *, operator: bool) -> None:
    """`operator` says that the answer goes to one, who alone is told what operators wrote."""
    for name in _PLAIN:
        setattr(into, name, getattr(grant, name))
    if operator or not grant.confidential:
        into.why = grant.why
    into.parent, into.environment = grant.parent or "", grant.environment or ""
    put_record(into.facts.fields, grant.attributes)
    into.facts.SetInParent()
    for permit in grant.scope.permits:
        _put_permit(into.scope.add(), permit)
    _put_bindings(into.bindings, grant.binding)
    into.state = _STATE[grant.state]
    into.holds.extend(grant.holds)
    if grant.ended is not None:
        into.ended = _REASON[grant.ended]
    put_moment(into.created, grant.created)
    if grant.started is not None:
        put_moment(into.started, grant.started)
    put_moment(into.ends, grant.ends)
    if grant.uses is not None:
        into.uses = grant.uses
    into.approvals_needed = 0 if grant.required is None else grant.required.count
    for approval in grant.approvals:
        told = into.approvals.add(id=approval.id)
        told.approver.type, told.approver.id = approval.approver
        put_moment(told.at, approval.at)
        put_moment(told.until, approval.until)
    if grant.state is State.PENDING_APPROVAL:
        into.agreement = bytes.fromhex(agreement(grant))


def _put_permit(into: Any, permit: Permit) -> None:
    into.actions.extend(sorted(permit.actions))
    into.constraints.extend(permit.constraints)
    for target in permit.on:
        put_target(into.on.add(), target)


def put_target(into: Any, target: Target) -> None:
    into.type = target.type
    if target.id is not None:
        into.id = target.id
    if target.within is not None:
        into.within.type, into.within.id = target.within


def _put_bindings(into: Any, binding: Bindings) -> None:
    for name in ("certificate", "key", "session", "process"):
        if getattr(binding, name) is not None:
            setattr(into, name, getattr(binding, name))
    into.gates.extend(binding.gates or ())
    into.destinations.extend(binding.destinations or ())
    into.SetInParent()
