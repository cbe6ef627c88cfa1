"""Tasks and their grants: every step of their life, each a method; and what a check asks.

Each step is planned by a pure function (`giving`, `approving`, `renewing`, `ending`, `incidents`), committed with what it
read, put before the checks, and recorded. A refusal has a code and is recorded as well, with the chain that it is about. A
step that cannot be recorded is not acknowledged: what it gave is taken back, what it ended stays ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from language import RequestData, World
from pdp.grants.approval import agreement
from pdp.grants.grant import Bindings, EndReason, Grant, Mark, State
from pdp.grants.index import Index
from pdp.grants.reasons import Refused
from pdp.grants.redeem import Fits, Redeemed, Shown, redeem
from pdp.grants.scope import resource_ancestors
from pdp.grants.store import Changes
from pdp.record import BINDING_REASONS, Recorder, ReuseCounts, Step, SuspendAfter
from pdp.service.approving import Yes, plan_approve, plan_reject
from pdp.service.book import Book
from pdp.service.caller import Caller, Moment, Rules
from pdp.service.ending import BY_REUSE, ended, held_back, plan_end, plan_expire, plan_forget, plan_resume, plan_suspend
from pdp.service.giving import Child, Opening, plan_again, plan_delegate, plan_open, plan_request, plan_take_up
from pdp.service.incidents import plan_freeze, plan_lift, plan_revoke, plan_thaw
from pdp.service.plan import Plan, tell_refusal
from pdp.service.renewing import plan_renew
from pdp.service.seeing import find_seen, known_chain, list_seen, may_see

EXPIRED_AT_ONCE = 500
FORGOTTEN_AT_ONCE = 500
Planner = Callable[[Index], Plan]


class Tasks:
    """The service. Its caller has verified who calls and has the clock; see `Caller` and `Moment`."""

    def __init__(self, book: Book, recorder: Recorder, rules: Rules, suspend_after: SuspendAfter | None = None) -> None:
        self.book = book
        self.rules = rules
        self._recorder = recorder
        self._fits = Fits()
        self._reuse = None if suspend_after is None else ReuseCounts(suspend_after)

    # ---- giving

    def open(self, moment: Moment, caller: Caller, ask: Opening) -> Grant:
        """An opener opens a task for a holder."""
        return self._give(moment, caller, "opened", None, lambda i: plan_open(i, moment, caller, ask, self.rules))

    def request(self, moment: Moment, caller: Caller, ask: Opening, opener: str) -> Grant:
        """A holder asks an opener for a task."""
        return self._give(
            moment, caller, "requested", None, lambda i: plan_request(i, moment, caller, ask, self.rules, opener)
        )

    def take_up(self, moment: Moment, caller: Caller, grant_id: str, facts: Mapping[str, Any] | None = None) -> Grant:
        """The opener that was asked opens the task, with the facts that are its own."""
        told = dict(facts or {})
        return self._give(
            moment, caller, "opened", grant_id, lambda i: plan_take_up(i, moment, caller, grant_id, told, self.rules)
        )

    def approve(self, moment: Moment, caller: Caller, yes: Yes) -> Grant:
        return self._give(moment, caller, "approved", yes.grant, lambda i: plan_approve(i, moment, caller, yes, self.rules))

    def delegate(self, moment: Moment, caller: Caller, parent_id: str, ask: Child) -> Grant:
        return self._give(
            moment, caller, "delegated", parent_id, lambda i: plan_delegate(i, moment, caller, parent_id, ask, self.rules)
        )

    def renew(self, moment: Moment, caller: Caller, grant_id: str, binding: Bindings) -> Grant:
        """Ties a grant to another key of its holder."""
        return self._give(
            moment, caller, "renewed", grant_id, lambda i: plan_renew(i, moment, caller, grant_id, binding, self.rules)
        )

    def again(self, moment: Moment, caller: Caller, what: str, grant_id: str) -> Grant:
        """What a step made before, when the same step is sent again."""
        return self._give(moment, caller, what, grant_id, lambda i: plan_again(i, moment, caller, grant_id))

    def resume(self, moment: Moment, caller: Caller, grant_id: str) -> Grant:
        plan = _of_seen(moment, caller, grant_id, lambda i: plan_resume(i, moment, caller, grant_id, self.rules))
        grant = self._give(moment, caller, "resumed", grant_id, plan)
        if self._reuse is not None:
            self._reuse.forget(grant_id)
        return grant

    # ---- taking away

    def reject(self, moment: Moment, caller: Caller, grant_id: str, why: str) -> Grant:
        plan = _of_seen(moment, caller, grant_id, lambda i: plan_reject(i, moment, caller, grant_id, why, self.rules))
        return self._give(moment, caller, "rejected", grant_id, plan)

    def suspend(self, moment: Moment, caller: Caller, grant_id: str, why: str) -> Grant:
        plan = _of_seen(moment, caller, grant_id, lambda i: plan_suspend(i, moment, caller, grant_id, why))
        return self._give(moment, caller, "suspended", grant_id, plan)

    def end(self, moment: Moment, caller: Caller, grant_id: str, why: str = "") -> Grant:
        """Ends a grant and everything below it, for the next check and all after it."""
        plan = _of_seen(moment, caller, grant_id, lambda i: plan_end(i, moment, caller, grant_id, why))
        return self._give(moment, caller, "ended", grant_id, plan)

    def expire(self, moment: Moment) -> int:
        """Writes down what has ended by time; how many. With what is below them `EXPIRED_AT_ONCE`, so that others get on."""

        def planned(index: Index) -> Plan:
            return plan_expire(index, moment, self.book.due.late(index, moment.now, EXPIRED_AT_ONCE))

        plan = self._step(moment, Caller(), "ended", None, planned)
        with self.book.lock:
            self.book.forget_ended(moment.now)
        return len(plan.steps)

    def forget(self, moment: Moment, before: int) -> int:
        """Forgets tasks that ended before a moment; how many grants, `FORGOTTEN_AT_ONCE` or a few more. Their ids are never
        used again."""
        plan = self._step(moment, Caller(), "forgotten", None, lambda i: plan_forget(i, before, FORGOTTEN_AT_ONCE))
        return len(plan.changes)

    # ---- incidents

    def freeze(self, moment: Moment, caller: Caller, workload: str, why: str) -> Mark:
        """Holds back everything that a workload has, and refuses it anew."""
        self._step(moment, caller, "freeze", None, lambda i: plan_freeze(i, moment, caller, workload, why))
        return self._marked("workload", workload)

    def thaw(self, moment: Moment, caller: Caller, workload: str, why: str) -> Mark:
        self._step(moment, caller, "thaw", None, lambda i: plan_thaw(i, moment, caller, workload, why, self.rules))
        return self._marked("workload", workload)

    def revoke(self, moment: Moment, caller: Caller, noun: str, name: str, why: str) -> tuple[Grant, ...]:
        """Ends everything that stands on a grant, task, workload, certificate, gate, trust domain or opener; what ended."""
        plan = self._step(moment, caller, "revoke", None, lambda i: plan_revoke(i, moment, caller, noun, name, why))
        return tuple(self.book.index.find(step.id) for step in plan.steps if step.what == "ended")

    def lift(self, moment: Moment, caller: Caller, noun: str, name: str, why: str) -> Mark:
        self._step(moment, caller, "lift", None, lambda i: plan_lift(i, moment, caller, noun, name, why))
        return self._marked(noun, name)

    def would_stop(self, moment: Moment, caller: Caller, noun: str, name: str) -> tuple[Grant, ...]:
        """What a freeze of the workload, or a revocation, would stop: directly, and below. Changes nothing."""
        with self.book.lock:
            index = self.book.catch_up(moment.now)
        plan = plan_revoke(index, moment, caller, noun, name, "plan")
        return tuple(index.find(step.id) for step in plan.steps if step.what == "ended")

    # ---- asking

    def get(self, moment: Moment, caller: Caller, grant_id: str) -> Grant:
        """The grant, for those whom it concerns. For others there is none."""
        with self.book.lock:
            index = self.book.catch_up(moment.now)
        return find_seen(index, grant_id, caller, moment.world)

    def agreement(self, moment: Moment, caller: Caller, grant_id: str) -> str:
        """The digest that an approval of the grant, as it stands, is bound to."""
        return agreement(self.get(moment, caller, grant_id))

    def list(
        self, moment: Moment, caller: Caller, *, task: str | None = None, state: State | None = None
    ) -> tuple[Grant, ...]:
        """The grants that concern the caller: of one task with those that have ended, or all that have not."""
        with self.book.lock:
            index = self.book.catch_up(moment.now)
        states = frozenset() if state is None else frozenset({state})
        return list_seen(index, caller, moment.world, task=task, states=states)

    def held(self, moment: Moment, caller: Caller, workload: str) -> tuple[Grant, ...]:
        """What a workload holds that has not ended: for itself and for operators."""
        if not caller.operator and caller.workload != workload:
            raise Refused("not_operator")
        with self.book.lock:
            return self.book.catch_up(moment.now).held_by(workload)

    def watch(self, moment: Moment, caller: Caller, since: int, incarnation: str) -> Changes:
        """What changed after a revision, of what concerns the caller; marks and forgotten ids are for operators."""
        with self.book.lock:
            index = self.book.catch_up(moment.now)
            changes = self.book.feed(since, incarnation)
        seen = [
            record
            for record in changes.records
            if caller.operator or (isinstance(record, Grant) and may_see(index, record, caller, moment.world))
        ]
        return replace(changes, records=tuple(seen))

    # ---- checks

    def redeem(self, grant_id: str, shown: Shown, told: RequestData, now: int, world: World) -> Redeemed:
        """The task of a request, from a grant that was shown; or a `Refused`, which is the denial. No I/O."""
        index = self.book.index
        if index.is_stale(now, self.rules.freshness_us):
            raise Refused("grants_stale")
        resource = (told.resource.type, told.resource.id)
        above = resource_ancestors(world, told.resource, told.resource_told)
        return redeem(index.chain(grant_id), shown, now, world, told.action, resource, above, self._fits)

    def consume(self, redeemed: Redeemed) -> None:
        """Takes the uses of grants that have a number of them. After an allow, before it is answered."""
        if redeemed.consumes:
            self.book.consume(Plan(redeemed.consumes))

    def confirm(self, now: int) -> None:
        """Reads the feed, so that checks may rely on what is known for another while. To be called again and again."""
        with self.book.lock:
            self.book.catch_up(now)

    def note_reuse(self, moment: Moment, grant_id: str, code: str) -> bool:
        """Counts a failed binding, of a check or a step; True when that suspended the grant."""
        if self._reuse is None or code not in BINDING_REASONS or not isinstance(self.book.index.grants.get(grant_id), Grant):
            return False
        with self.book.lock:
            if not self._reuse.note(grant_id, moment.now):
                return False
            grant = self.book.catch_up(moment.now).find(grant_id)
            if grant.state is not State.ACTIVE:
                return False
            why = "bindings of this grant failed several times"
            try:
                self._taken(moment, lambda i: held_back(i, (i.find(grant_id),), moment, Caller(), BY_REUSE, why))
            except Refused:  # ended in between, or no store: a denial is under way in any case
                return False
            return True

    def note_refused(self, moment: Moment, caller: Caller, what: str, about: str | None, code: str) -> None:
        """Records a step that was refused, here or by whoever verifies callers, and counts it where a binding failed."""
        chain = known_chain(self.book.index, about)
        details = {"about": about} if about is not None and not chain else {}
        self._recorder.stepped(tell_refusal(what, code, chain, caller, moment.now, details))
        if about is not None and chain:
            self.note_reuse(moment, chain[-1].id, code)

    # ---- how a step is taken

    def _give(self, moment: Moment, caller: Caller, what: str, about: str | None, plan: Planner) -> Grant:
        made = self._step(moment, caller, what, about, plan)
        return self.book.index.find(made.grant or "")

    def _step(self, moment: Moment, caller: Caller, what: str, about: str | None, plan: Planner) -> Plan:
        try:
            with self.book.lock:
                return self._taken(moment, plan)
        except Refused as refused:
            self.note_refused(moment, caller, what, about, refused.code)
            raise

    def _taken(self, moment: Moment, plan: Planner) -> Plan:
        made = self.book.take(moment.now, plan)
        recorded = [self._recorder.stepped(step) for step in made.steps]  # each is offered, whatever became of the others
        if not all(recorded):
            self._take_back(moment, made)
            raise Refused("not_recorded")
        return made

    def _take_back(self, moment: Moment, made: Plan) -> None:
        """What was given and could not be recorded ends, with everything below it."""

        def plan(index: Index) -> Plan:
            given = [index.find(each) for each in made.gives]
            return ended(index, given, moment, Caller(), EndReason.REVOKED, "the step could not be recorded")

        if made.gives:
            steps: tuple[Step, ...] = self.book.take(moment.now, plan).steps
            for step in steps:
                self._recorder.stepped(step)

    def _marked(self, noun: str, name: str) -> Mark:
        found = self.book.index.marks.get((noun, name))
        if found is None:
            raise Refused("mark_unknown")
        return found


def _of_seen(moment: Moment, caller: Caller, grant_id: str, plan: Planner) -> Planner:
    """A step about a grant: for those whom that does not concern there is none, whatever else could be said of it."""

    def seen(index: Index) -> Plan:
        find_seen(index, grant_id, caller, moment.world)
        return plan(index)

    return seen


__all__ = ["Child", "Opening", "Tasks", "Yes"]
