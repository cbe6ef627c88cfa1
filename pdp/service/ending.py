"""What takes away: suspending, ending, and with both everything that was delegated from it, in one commit.

A child is not suspended by itself when what is above it is: a chain is evaluated whole, so it stops and goes on with it. It
is ended by itself, so that nothing above can bring it back.
"""

from __future__ import annotations

from collections.abc import Iterable

from pdp.grants.grant import EndReason, Grant, State
from pdp.grants.index import Index
from pdp.grants.life import end, take
from pdp.grants.reasons import Refused
from pdp.grants.redeem import refuse_elsewhere
from pdp.grants.store import Bury, Change, Put, Unwritten
from pdp.record import Step
from pdp.service.caller import Caller, Moment, Rules
from pdp.service.giving import refuse_to_give
from pdp.service.marked import refuse_marked
from pdp.service.plan import Plan, tell

#: Why a grant is held back, and who may lift it: the opener, somebody above, an operator. A freeze is lifted by its thaw,
#: what reuse brought about by an operator or an opener from outside.
BY_OPENER, BY_PARENT, BY_OPERATOR, BY_REUSE, BY_FREEZE = "opener", "parent", "operator", "reuse", "freeze"


def plan_end(index: Index, moment: Moment, caller: Caller, grant_id: str, why: str) -> Plan:
    """Ends a grant with everything below it: by its holder, a holder above it, its opener, an operator."""
    chain = index.chain(grant_id)
    refuse_ended(chain[-1])
    role = _role(chain, caller)
    if role is None and caller.workload != chain[-1].holder:
        raise Refused("not_yours")
    reason = EndReason.REVOKED if role == BY_OPERATOR else EndReason.COMPLETED
    return ended(index, (chain[-1],), moment, caller, reason, why)


def ended(index: Index, grants: Iterable[Grant], moment: Moment, caller: Caller, reason: EndReason, why: str) -> Plan:
    """The end of grants and of everything below them. What has ended stays as it ended.

    Nothing may have been written since this was read: a child that was delegated in between is below them as well.
    """
    over: dict[str, Grant] = {}
    for grant in grants:
        for each in (grant, *index.below(grant.id)):
            if not each.is_over:
                over.setdefault(each.id, each)
    puts, steps = [], []
    for each in over.values():
        now_over = end(each, reason, moment.now, why, confidential=caller.operator)
        puts.append(Put(now_over, each.revision))
        steps.append(told_end(index, now_over, caller, moment.now))
    unwritten = (Unwritten(index.revision),) if puts else ()
    return Plan((*puts, *unwritten), tuple(steps), next(iter(over), None))


def told_end(index: Index, over: Grant, caller: Caller, now: int) -> Step:
    return tell("ended", over, ancestry(index, over), caller, now, reason=over.ended and over.ended.value, why=over.why)


def ancestry(index: Index, grant: Grant) -> tuple[Grant, ...]:
    """What stands above a grant and itself, as far as it can be read: a record is never missing for want of a chain."""
    try:
        return (*index.chain(grant.id)[:-1], grant)
    except Refused:
        return (grant,)


def plan_suspend(index: Index, moment: Moment, caller: Caller, grant_id: str, why: str) -> Plan:
    chain = index.chain(grant_id)
    grant = chain[-1]
    role = _role(chain, caller)
    if role is None:
        raise Refused("not_yours")
    if not why:
        raise Refused("reason_missing")
    return held_back(index, (grant,), moment, caller, role, why)


def held_back(index: Index, grants: Iterable[Grant], moment: Moment, caller: Caller, cause: str, why: str) -> Plan:
    """Grants, suspended for one more cause. Whoever suspends something twice for one cause suspends it once."""
    puts, steps, first = [], [], None
    for grant in grants:
        holds = tuple(sorted({*grant.holds, cause}))
        held = take("suspended", grant, State.SUSPENDED, holds=holds, why=why, confidential=caller.operator)
        puts.append(Put(held, grant.revision))
        steps.append(tell("suspended", held, ancestry(index, held), caller, moment.now, reason=cause, why=why))
        first = first or grant.id
    return Plan(tuple(puts), tuple(steps), first)


def plan_resume(index: Index, moment: Moment, caller: Caller, grant_id: str, rules: Rules) -> Plan:
    """Lifts what the caller may lift. The grant goes on when nothing else holds it, and policy would still give it."""
    chain = index.chain(grant_id)
    role = _role(chain, caller)
    if role is None:
        raise Refused("not_yours")
    lifts = {role} | ({BY_REUSE} if role == BY_OPERATOR or _is_outside(chain, caller, role) else set())
    grant = chain[-1]
    take("resumed", grant, State.SUSPENDED)
    if not lifts.intersection(grant.holds):
        raise Refused("still_frozen" if BY_FREEZE in grant.holds else "not_yours")
    return let_go(index, chain, moment, caller, lifts, rules)


def let_go(index: Index, chain: tuple[Grant, ...], moment: Moment, caller: Caller, lifts: set[str], rules: Rules) -> Plan:
    """A suspended grant without some of its causes. Nothing is resumed that would not be given now."""
    grant, above = chain[-1], chain[:-1]
    holds = tuple(cause for cause in grant.holds if cause not in lifts)
    take("resumed", grant, State.SUSPENDED)  # refuses what is not suspended
    if holds:
        after = take("resumed", grant, State.SUSPENDED, holds=holds)
        step = tell("resumed", after, (*above, after), caller, moment.now)
        return Plan((Put(after, grant.revision), *refuse_marked(index, (), caller)), (step,), grant.id)
    refuse_elsewhere(chain, rules.environment, rules.audience)
    if any(each.is_over or moment.now >= each.ends for each in chain):
        raise Refused("task_ended")
    refuse_to_give(grant, (), moment)
    after = take("resumed", grant, State.ACTIVE, holds=(), why="", confidential=False)
    step = tell("resumed", after, (*above, after), caller, moment.now)
    return Plan((Put(after, grant.revision), *refuse_marked(index, (*above, grant), caller)), (step,), grant.id, (grant.id,))


def plan_expire(index: Index, moment: Moment, late: Iterable[Grant]) -> Plan:
    """Ends what has ended by time. Only tidying: a check looks at the clock and does not wait for this."""
    return ended(index, late, moment, Caller(), EndReason.EXPIRED, "its time is over")


def plan_forget(index: Index, before: int, at_most: int) -> Plan:
    """Forgets tasks that ended, and would have by time, before a moment. Whole: a grant is never forgotten while one that
    hangs on it is known, so that it can be a few more than `at_most`.

    Their ids stay spent. What they did is in the record, which is not the store's business.
    """
    changes: list[Change] = []
    for task in index.by_task:
        grants = index.of_task(task)
        if all(_was_over(grant, before) for grant in grants):
            changes += [Bury(grant.id, before) for grant in grants]
        if len(changes) >= at_most:
            break
    return Plan(tuple(changes))


def _was_over(grant: Grant, at: int) -> bool:
    """Also by its own time, or a record of it that came late would be one of a grant that lives."""
    return grant.ended_at is not None and grant.ended_at < at and grant.ends <= at


def refuse_ended(grant: Grant) -> None:
    if grant.is_over:
        raise Refused("task_ended")


def _is_outside(chain: tuple[Grant, ...], caller: Caller, role: str) -> bool:
    """An opener that holds nothing of the chain. One that does would lift what its own failed bindings brought about."""
    return role == BY_OPENER and all(caller.workload != grant.holder for grant in chain)


def _role(chain: tuple[Grant, ...], caller: Caller) -> str | None:
    """As what a caller may hold back or end the last grant of a chain."""
    if caller.operator:
        return BY_OPERATOR
    if caller.workload is None:
        return None
    if caller.workload == chain[0].opener:
        return BY_OPENER
    return BY_PARENT if any(caller.workload == grant.holder for grant in chain[:-1]) else None
