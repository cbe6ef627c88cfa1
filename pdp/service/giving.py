"""A grant comes into force: opened, its request taken up, or delegated. One order of questions for all three.

Is it fit by the policy of this moment; does it stand on anything that is refused; whose approval is needed. With nobody's it
is active; else it waits, and `approving.py` asks all of this again when the last approval comes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from pdp.grants.approval import required_by
from pdp.grants.grant import Approval, Bindings, Grant, Permit, Reference, Source, State
from pdp.grants.index import Index
from pdp.grants.issue import (
    find_kind,
    is_number,
    lasting_max,
    make_facts,
    refuse_bearer,
    refuse_id,
    refuse_unfit,
    refuse_wider,
)
from pdp.grants.life import first, take
from pdp.grants.reasons import Refused
from pdp.grants.redeem import refuse_broken, refuse_elsewhere, refuse_outdated, refuse_over
from pdp.grants.scope import ceiling, make_scope
from pdp.grants.store import Expect, Put
from pdp.service.caller import Caller, Moment, Rules
from pdp.service.marked import refuse_marked
from pdp.service.plan import Plan, tell

#: An opener need not know the holder's key: the holder's first `renew` ties the grant to one, and it is of no use before.
NO_KEY = Bindings()


@dataclass(frozen=True, slots=True)
class Opening:
    """A task that somebody wants opened. Where nothing is said of scope it is all that the kind may do."""

    kind: str
    holder: str
    facts: dict[str, Any] = field(default_factory=dict)
    permits: tuple[Permit, ...] | None = None
    binding: Bindings = NO_KEY
    lasting: int | None = None
    deeper: int | None = None
    uses: int | None = None
    why: str = ""  # for those who have to say yes


@dataclass(frozen=True, slots=True)
class Child:
    """Part of a grant for another holder. What is not said is as in the parent; a binding must be said."""

    holder: str
    binding: Bindings
    permits: tuple[Permit, ...] | None = None
    lasting: int | None = None
    deeper: int | None = None
    uses: int | None = None


def plan_open(index: Index, moment: Moment, caller: Caller, ask: Opening, rules: Rules) -> Plan:
    """An opener opens a task for a holder. The facts are the opener's, unless it is the holder itself."""
    opener = caller.demand_workload()
    source = Source.HOLDER if opener == ask.holder else Source.OPENER
    grant = _root(moment, caller, ask, rules, opener, source)
    _refuse_bad_opener(moment, grant)
    if source is Source.HOLDER and not grant.binding.is_bearer:
        caller.demand_keys(grant.binding)
    return _given(index, moment, caller, grant, (), "opened")


def plan_request(index: Index, moment: Moment, caller: Caller, ask: Opening, rules: Rules, opener: str) -> Plan:
    """A holder asks an opener for a task. What it says of itself stays a claim; where the kind lets it open, it opens."""
    holder = caller.demand_workload()
    if ask.holder != holder:
        raise Refused("wrong_holder", "a holder asks for itself")
    refuse_bearer(ask.binding)
    caller.demand_keys(ask.binding)
    grant = _root(moment, caller, ask, rules, opener, Source.HOLDER)
    _refuse_bad_opener(moment, grant)
    if opener == holder:
        return _given(index, moment, caller, grant, (), "opened")
    decl = find_kind(moment.world, grant.kind)
    missing = {field.name for field in decl.carries if not field.optional} - {fact.name for fact in grant.facts}
    asked = replace(decl, carries=tuple(field for field in decl.carries if field.name not in missing))
    refuse_unfit(grant, asked, moment.world)  # what the opener still has to say cannot be held against it yet
    expects = refuse_marked(index, (grant,), caller)
    grant = first("requested", replace(grant, state=State.REQUESTED))
    step = tell("requested", grant, (grant,), caller, moment.now, lacks=sorted(missing))
    return Plan((Put(grant, 0), *expects), (step,), grant.id)


def plan_take_up(index: Index, moment: Moment, caller: Caller, grant_id: str, facts: dict[str, Any], rules: Rules) -> Plan:
    """The opener that was asked says yes, and adds the facts that are its own. Nothing else of the request changes."""
    opener = caller.demand_workload()
    asked = index.find(grant_id)
    if opener != asked.opener:
        raise Refused("not_yours")
    refuse_elsewhere((asked,), rules.environment, rules.audience)
    refuse_lapsed(asked, moment.now)
    take("opened", asked, State.ACTIVE)  # refuses what does not wait for this
    told = make_facts(facts, Source.OPENER, asked.facts)
    return _given(index, moment, caller, replace(asked, facts=told, people=_people(asked.people, caller)), (), "opened")


def plan_delegate(index: Index, moment: Moment, caller: Caller, parent_id: str, ask: Child, rules: Rules) -> Plan:
    """A holder gives part of what it has to another workload, as a child of its own active grant."""
    holder = caller.demand_workload()
    chain = index.chain(parent_id)
    parent = chain[-1]
    if holder != parent.holder:
        raise Refused("wrong_holder")
    refuse_elsewhere(chain, rules.environment, rules.audience)
    caller.demand_keys(parent.binding)
    refuse_bearer(ask.binding)
    refuse_over(chain, moment.now)
    grant = replace(
        parent,
        id=_new_id(index, moment),
        parent=parent.id,
        depth=parent.depth + 1,
        holder=ask.holder,
        requester=holder,
        scope=parent.scope if ask.permits is None else make_scope(moment.world.vocabulary, ask.permits),
        environment=rules.environment,
        audience=rules.audience,
        binding=ask.binding,
        created=moment.now,
        lasting=_lasting_of_child(ask, chain, moment.now),
        ends=moment.now + rules.pending_us,
        generation=moment.generation,
        people=_people(parent.people, caller),
        deeper=_level(ask.deeper, parent.deeper - 1),
        uses=parent.uses if ask.uses is None else ask.uses,
        required=None,
        approvals=(),
        revision=0,
    )
    return _given(index, moment, caller, grant, chain, "delegated")


def plan_again(index: Index, moment: Moment, caller: Caller, grant_id: str) -> Plan:
    """A step that was taken before, sent again: nothing is done, and what it made is not told when it is of no use now."""
    chain = index.chain(grant_id)
    refuse_marked(index, chain, caller)
    if any(each.is_over or moment.now >= each.ends for each in chain):
        raise Refused("task_ended")
    return Plan(grant=grant_id)


def _root(moment: Moment, caller: Caller, ask: Opening, rules: Rules, opener: str, source: Source) -> Grant:
    decl = find_kind(moment.world, ask.kind)
    vocabulary = moment.world.vocabulary
    return Grant(
        id=_fresh(moment),
        task=_fresh(moment),
        parent=None,
        depth=0,
        kind=decl.kind,
        holder=ask.holder,
        opener=opener,
        requester=caller.demand_workload(),
        facts=make_facts(ask.facts, source),
        scope=ceiling(decl) if ask.permits is None else make_scope(vocabulary, ask.permits),
        environment=rules.environment,
        audience=rules.audience,
        binding=ask.binding,
        created=moment.now,
        lasting=min(rules.lasting_us, lasting_max(decl)) if ask.lasting is None else ask.lasting,
        ends=moment.now + rules.pending_us,
        state=State.ACTIVE,
        generation=moment.generation,
        people=_people((), caller),
        deeper=_level(ask.deeper, rules.deeper, rules.deeper),
        uses=ask.uses,
        why=ask.why,
    )


def _refuse_bad_opener(moment: Moment, grant: Grant) -> None:
    """Before anything else is said about the request: who may not open hears no more than that."""
    decl = find_kind(moment.world, grant.kind)
    refuse_unfit(replace(grant, facts=()), replace(decl, carries=()), moment.world)


def _given(index: Index, moment: Moment, caller: Caller, grant: Grant, above: tuple[Grant, ...], what: str) -> Plan:
    """The grant in force, or waiting for approval."""
    _refuse_taken(index, grant)
    refuse_to_give(grant, above, moment)
    expects = refuse_marked(index, (*above, grant), caller)
    expects += tuple(Expect(each.id, each.revision) for each in above)
    required = required_by(find_kind(moment.world, grant.kind))
    if required is not None:
        given = replace(grant, state=State.PENDING_APPROVAL, required=required, generation=moment.generation)
    else:
        given = in_force(replace(grant, required=None), above, moment)
    given = first(what, given) if grant.revision == 0 else take(what, grant, given.state, **_changes(given))
    step = tell(what, given, (*above, given), caller, moment.now)
    return Plan((Put(given, grant.revision), *expects), (step,), given.id, (given.id,))


def _changes(grant: Grant) -> dict[str, Any]:
    return {name: getattr(grant, name) for name in ("facts", "required", "generation", "started", "ends", "approvals")}


def refuse_to_give(grant: Grant, above: tuple[Grant, ...], moment: Moment) -> None:
    """Everything that policy, and the chain above, ask of a grant that is about to be in force."""
    decl = find_kind(moment.world, grant.kind)
    refuse_unfit(grant, decl, moment.world)
    if above:
        refuse_over(above, moment.now)
        refuse_broken((*above, grant))
        refuse_outdated(above, decl, moment.world)
        refuse_wider(grant, above, moment.world)


def in_force(grant: Grant, above: tuple[Grant, ...], moment: Moment, approvals: tuple[Approval, ...] = ()) -> Grant:
    """The grant as it is from this moment on. It ends with the first of: what was asked, what the kind may last since the
    task began, and every grant above it."""
    started = above[0].started if above else moment.now
    if started is None:
        raise Refused("grant_unreadable", "an active task has started")
    decl = find_kind(moment.world, grant.kind)
    ends = min([moment.now + grant.lasting, started + lasting_max(decl), *(each.ends for each in above)])
    if ends <= moment.now:
        raise Refused("task_ended")
    return replace(grant, state=State.ACTIVE, started=started, ends=ends, approvals=approvals, generation=moment.generation)


def refuse_lapsed(grant: Grant, now: int) -> None:
    if now >= grant.ends and not grant.is_over:
        raise Refused("task_ended", "nobody answered in time")


def _people(before: tuple[Reference, ...], caller: Caller) -> tuple[Reference, ...]:
    """In whose name a grant is asked for: none of them approves it."""
    return before if caller.person is None else tuple(sorted({*before, caller.person}))


def _refuse_taken(index: Index, grant: Grant) -> None:
    if grant.revision == 0 and (grant.id in index.grants or (grant.parent is None and index.of_task(grant.task))):
        raise Refused("id_taken")


def _new_id(index: Index, moment: Moment) -> str:
    found = _fresh(moment)
    if found in index.grants:
        raise Refused("id_taken")
    return found


def _fresh(moment: Moment) -> str:
    found = moment.new_id()
    refuse_id(found)
    return found


def _level(asked: int | None, otherwise: int, most: int | None = None) -> int:
    if asked is None:
        return max(otherwise, 0)
    if not is_number(asked) or asked < 0 or (most is not None and asked > most):
        raise Refused("delegation_too_deep")
    return asked


def _lasting_of_child(ask: Child, chain: tuple[Grant, ...], now: int) -> int:
    left = min(grant.ends for grant in chain) - now
    if ask.lasting is None:
        return left
    if not is_number(ask.lasting) or ask.lasting <= 0:
        raise Refused("lasting_malformed")
    if ask.lasting > left:
        raise Refused("child_too_long")
    return ask.lasting
