"""Freeze, thaw, revoke: everything of a noun stops, in one commit with the grants that stand on it.

A freeze holds what a workload has and refuses it anew; its thaw lets that go on, if policy would still give it, and revives
nothing that ended. A revocation ends. What a plan says would stop is what the step itself would write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from language import shorten
from pdp.engine.revocations import demand_name
from pdp.errors import PdpError
from pdp.grants.grant import EndReason, Grant, Mark, State
from pdp.grants.index import Index
from pdp.grants.issue import is_thumbprint, refuse_id
from pdp.grants.reasons import Refused
from pdp.grants.store import Bury, Change, Expect, Put, Unwritten
from pdp.record import Kind, Step
from pdp.service.book import IN_ENGINE
from pdp.service.caller import Caller, Moment, Rules
from pdp.service.ending import BY_FREEZE, ended, held_back, let_go
from pdp.service.marked import refuse_marked, trust_domain
from pdp.service.plan import Plan

#: What can be revoked with a mark, and which grants stand on it. `grant` and `task` need none: their ends are records.
STANDS_ON: dict[str, Callable[[Grant, str], bool]] = {
    "workload": lambda grant, name: grant.holder == name,
    "certificate": lambda grant, name: grant.binding.certificate == name,
    "gate": lambda grant, name: grant.binding.gates == (name,),
    "trust_domain": lambda grant, name: name in (trust_domain(grant.holder), trust_domain(grant.opener)),
    "opener": lambda grant, name: grant.opener == name,
}
NOUNS = ("grant", "task", *STANDS_ON)
LIFTED = ("workload", "gate", "trust_domain", "opener")  # a certificate that was revoked stays so; there are others


def plan_freeze(index: Index, moment: Moment, caller: Caller, workload: str, why: str) -> Plan:
    unmarked = _operator(index, caller)
    _demand_reason(why)
    _demand_name(index, "workload", workload)
    there = index.marks.get(("workload", workload))
    if there is not None and not there.lifted and not there.freezes:
        raise Refused("revoked", f"the workload {shorten(workload)}")
    mark = _mark("workload", workload, why, moment, caller, freezes=True)
    living = [grant for grant in index.held_by(workload) if grant.state in (State.ACTIVE, State.SUSPENDED)]
    held = held_back(index, living, moment, caller, BY_FREEZE, why)
    step = _told("freeze", "workload", workload, caller, moment.now, why, living)
    changes = (Put(mark, _revision(there)), *held.changes, *_but(mark, unmarked), Unwritten(index.revision))
    return Plan(changes, (step, *held.steps))


def plan_thaw(index: Index, moment: Moment, caller: Caller, workload: str, why: str, rules: Rules) -> Plan:
    unmarked = _operator(index, caller)
    _demand_reason(why)
    there = index.mark("workload", workload)
    if there is None or not there.freezes:
        raise Refused("not_frozen")
    lifted = replace(there, lifted=True, at=moment.now, actor=caller.name, why=why)
    after = index.taking((replace(lifted, revision=there.revision + 1),), index.revision)
    held = [grant for grant in index.held_by(workload) if BY_FREEZE in grant.holds]
    plans: dict[str, Plan] = {}
    over: list[Grant] = []
    for grant in held:
        try:
            plans[grant.id] = let_go(after, index.chain(grant.id), moment, caller, {BY_FREEZE}, rules)
        except Refused:
            over.append(grant)
    ends = ended(index, over, moment, caller, EndReason.REVOKED, "not resumed: it would not be given now")
    gone = {step.id for step in ends.steps}  # with what is below: nothing of it goes on, whatever it would have done alone
    kept = [plan for grant_id, plan in plans.items() if grant_id not in gone]
    changes = [*unmarked, *(change for plan in (*kept, ends) for change in plan.changes)]
    step = _told("thaw", "workload", workload, caller, moment.now, why, held)
    return Plan(
        (Put(lifted, there.revision), *dict.fromkeys(_but(there, changes))),
        (step, *(step for plan in (*kept, ends) for step in plan.steps)),
        None,
        tuple(given for plan in kept for given in plan.gives),
    )


def plan_revoke(index: Index, moment: Moment, caller: Caller, noun: str, name: str, why: str) -> Plan:
    """Ends everything that stands on a noun, and refuses it from now on."""
    unmarked = _operator(index, caller)
    _demand_reason(why)
    _demand_name(index, noun, name)
    living = living_on(index, noun, name)
    over = ended(index, living, moment, caller, EndReason.REVOKED, why)
    changes: list[Change] = [*(over.changes or (Unwritten(index.revision),)), *unmarked]
    if noun == "grant" and name not in index.grants:
        changes.append(Bury(name, moment.now))
    elif noun in STANDS_ON or (noun == "task" and not index.of_task(name)):
        mark = _mark(noun, name, why, moment, caller)
        changes = [*_but(mark, changes), Put(mark, _revision(index.marks.get(mark.key)))]
    step = _told("revoke", noun, name, caller, moment.now, why, living)
    return Plan(tuple(changes), (step, *over.steps))


def plan_lift(index: Index, moment: Moment, caller: Caller, noun: str, name: str, why: str) -> Plan:
    """Takes a revocation back. What it ended stays ended."""
    unmarked = _operator(index, caller)
    _demand_reason(why)
    there = index.mark(noun, name)
    if there is None or noun not in LIFTED:
        raise Refused("mark_unknown")
    if there.freezes:
        raise Refused("still_frozen")
    lifted = replace(there, lifted=True, at=moment.now, actor=caller.name, why=why)
    return Plan((Put(lifted, there.revision), *unmarked), (_told("lift", noun, name, caller, moment.now, why, ()),))


def living_on(index: Index, noun: str, name: str) -> tuple[Grant, ...]:
    """The grants that a revocation of this noun would end, before what is below them."""
    if noun == "grant":
        found = index.grants.get(name)
        return (found,) if isinstance(found, Grant) and not found.is_over else ()
    if noun == "task":
        return tuple(grant for grant in index.of_task(name) if not grant.is_over)
    if noun == "workload":
        return index.held_by(name)
    return tuple(grant for grant in index.living() if STANDS_ON[noun](grant, name))


def _operator(index: Index, caller: Caller) -> tuple[Expect, ...]:
    """That the caller may: an operator on whom, or on whose certificate, nothing was laid. They would lift it themselves."""
    caller.demand_operator()
    return refuse_marked(index, (), caller)


def _mark(noun: str, name: str, why: str, moment: Moment, caller: Caller, freezes: bool = False) -> Mark:
    return Mark(noun, name, why, moment.now, caller.name, freezes)


def _revision(mark: Mark | None) -> int:
    return 0 if mark is None else mark.revision


def _but(mark: Mark, changes: Iterable[Change]) -> list[Change]:
    """The changes without what they expect of a mark that the same commit writes."""
    return [change for change in changes if not (isinstance(change, Expect) and change.key == mark.key)]


def _demand_name(index: Index, noun: str, name: str) -> None:
    """A name that nothing can have would stop nothing, and look as if it did. So would an id in the wrong place."""
    if noun not in NOUNS:
        raise Refused("noun_unknown", f"known are {', '.join(NOUNS)}")
    if type(name) is not str or not name:
        raise Refused("noun_unknown", f"the {noun} has no name")
    if noun == "certificate" and not is_thumbprint(name):
        raise Refused("noun_unknown", f"{shorten(name)} is no SHA-256 of a certificate in unpadded base64url")
    if (noun == "task" and name in index.grants) or (noun == "grant" and index.of_task(name)):
        raise Refused("noun_unknown", f"{name} is the id of a {'grant' if noun == 'task' else 'task'}")
    try:
        if noun in ("grant", "task"):
            refuse_id(name)
        else:
            demand_name(IN_ENGINE[noun], name)
    except (PdpError, Refused) as error:
        raise Refused("noun_unknown", error.message) from None


def _demand_reason(why: str) -> None:
    if type(why) is not str or not why.strip():
        raise Refused("reason_missing")


def _told(
    what: str, noun: str, name: str, caller: Caller, now: int, why: str, grants: tuple[Grant, ...] | list[Grant]
) -> Step:
    return Step(
        Kind.INCIDENT,
        what,
        now,
        id=name,
        actor=caller.name,
        holder=name if noun == "workload" else None,
        gate=name if noun == "gate" else None,
        certificate=name if noun == "certificate" else None,
        reason=why,
        details={"noun": noun, "grants": [grant.id for grant in grants]},
    )
