"""A person says yes or no to a grant that waits.

With the last approval that is needed, the grant is evaluated again by the policy of that moment, every approver is looked up
again, and the approvals are consumed in the commit that makes it active.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pdp.grants.approval import agreement, counted, may_approve, refuse_own, required_by
from pdp.grants.grant import Approval, EndReason, Grant, Reference, Required, State
from pdp.grants.index import Index
from pdp.grants.issue import find_kind, is_number
from pdp.grants.life import end, take
from pdp.grants.reasons import Refused
from pdp.grants.redeem import refuse_elsewhere, refuse_over
from pdp.grants.store import Consume, Expect, Put
from pdp.service.caller import Caller, Moment, Rules, Vouched
from pdp.service.giving import in_force, refuse_lapsed, refuse_to_give
from pdp.service.marked import refuse_marked
from pdp.service.plan import Plan, tell


@dataclass(frozen=True, slots=True)
class Yes:
    """What an approver says yes to: `agreement` is the digest of what they were shown."""

    grant: str
    agreement: str
    lasting: int | None = None  # how long the yes counts; as long as the installation allows


def plan_approve(index: Index, moment: Moment, caller: Caller, yes: Yes, rules: Rules) -> Plan:
    chain = index.chain(yes.grant)
    grant, above = chain[-1], chain[:-1]
    take("approved", grant, State.PENDING_APPROVAL)  # refuses what does not wait for this
    refuse_lapsed(grant, moment.now)
    refuse_over(above, moment.now)
    refuse_elsewhere(chain, rules.environment, rules.audience)
    required = required_by(find_kind(moment.world, grant.kind))
    person = _approver(caller, chain, required or grant.required, moment)
    if type(yes.agreement) is not str or yes.agreement != agreement(grant):
        raise Refused("agreement_changed")
    if any(each.approver == person for each in counted(grant, _need(grant), moment.world, moment.now)):
        raise Refused("already_approved")
    approval = Approval(moment.new_id(), person, moment.now, moment.now + _lasting(yes, rules), yes.agreement)
    noted = replace(grant, approvals=(*_others(grant, person), approval))
    refuse_to_give(noted, above, moment)
    expects = refuse_marked(index, (*above, grant), caller)
    expects += tuple(Expect(each.id, each.revision) for each in above)
    if required != grant.required:
        raise Refused("agreement_changed", "policy asks for other approvals than when this was asked for")
    counting = counted(noted, _need(noted), moment.world, moment.now)
    if len(counting) < _need(noted).count:
        waiting = take("approved", noted, State.PENDING_APPROVAL)
        step = tell("approved", waiting, (*above, waiting), caller, moment.now, approval=approval.id)
        return Plan((Put(waiting, grant.revision), *expects), (step,), grant.id)
    active = in_force(noted, above, moment, counting)
    given = take("approved", noted, State.ACTIVE, started=active.started, ends=active.ends, approvals=counting)
    given = replace(given, generation=moment.generation)
    consumed = tuple(Consume(f"approval {each.id}", each.until) for each in counting)
    step = tell("approved", given, (*above, given), caller, moment.now, approval=approval.id)
    return Plan((Put(given, grant.revision), *consumed, *expects), (step,), grant.id, (grant.id,))


def plan_reject(index: Index, moment: Moment, caller: Caller, grant_id: str, why: str, rules: Rules) -> Plan:
    """No: by the opener that was asked, or by a person who could have said yes."""
    chain = index.chain(grant_id)
    grant, above = chain[-1], chain[:-1]
    take("rejected", grant, State.ENDED)
    refuse_elsewhere(chain, rules.environment, rules.audience)
    if caller.person is None and caller.workload != grant.opener:
        raise Refused("not_yours")
    if caller.person is not None:
        _approver(caller, chain, grant.required, moment)
    if not why:
        raise Refused("reason_missing")
    over = end(grant, EndReason.REVOKED, moment.now, why, confidential=False)  # the requester has to know what to ask for
    step = tell("rejected", over, (*above, over), caller, moment.now, reason="rejected", why=why)
    return Plan((Put(over, grant.revision),), (step,), grant.id)


def _approver(caller: Caller, chain: tuple[Grant, ...], required: Required | None, moment: Moment) -> Reference:
    """The person, when they are one who may say something about this grant."""
    if caller.person is None:
        raise Refused("no_approver")
    if caller.vouched is not Vouched.TOKEN:
        raise Refused("approver_asserted")
    workloads = {spiffe_id for each in chain for spiffe_id in (each.holder, each.opener, each.requester)}
    refuse_own([person for each in chain for person in each.people], workloads, caller.person, caller.workload)
    if required is None or not may_approve(required, caller.person, moment.world):
        raise Refused("wrong_approver")
    return caller.person


def _need(grant: Grant) -> Required:
    if grant.required is None:
        raise Refused("grant_unreadable", "it waits for approval and says not of whom")
    return grant.required


def _others(grant: Grant, person: Reference) -> tuple[Approval, ...]:
    """What stands beside a new approval: that of others, and not one of the same person that does not count any more."""
    return tuple(each for each in grant.approvals if each.approver != person)


def _lasting(yes: Yes, rules: Rules) -> int:
    if yes.lasting is None:
        return rules.approval_us
    if not is_number(yes.lasting) or not 0 < yes.lasting <= rules.approval_us:
        raise Refused("approval_too_long")
    return yes.lasting
