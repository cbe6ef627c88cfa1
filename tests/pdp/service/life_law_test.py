"""Laws of tasks over any sequence of steps: by rightful callers, wrong ones, with time passing, policy changing, restarts.

1. A child is good for nothing that its parent is not good for, and not for longer.
2. Nothing is given at or after any end in the chain; what ended stays so, with everything below it.
3. A grant that needs approval is active only after enough people, who may, said yes to exactly it; none of them its own.
4. Nothing that a frozen workload holds, or that was delegated from it, is of use.
5. The index of this process is what a reader of the store would make of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from language import EntityData, RequestData
from pdp.grants.approval import agreement
from pdp.grants.grant import Bindings, Grant, State
from pdp.grants.reasons import REASONS, Refused
from pdp.grants.redeem import Redeemed
from pdp.record import SuspendAfter
from pdp.service.approving import Yes
from pdp.service.caller import Caller, Vouched
from pdp.service.giving import Child, Opening
from tests.pdp.service.world import (
    API,
    CI,
    DEEP,
    ENTITIES,
    GATE,
    GATE2,
    HELPER,
    MINUTE,
    OPS,
    POLICY,
    SHELL,
    World,
    below,
    tables,
    thumbprint,
)

HOLDERS = [API, API, HELPER, HELPER, DEEP, DEEP, CI, SHELL]
KEYS = [f"k{number}" for number in range(12)]
PEOPLE = ["ada", "bob", "eve", "max"]
SCOPES = [
    None,
    None,
    None,
    below("Database", "ledger", ("select", "update")),
    below("Schema", "public", ("select",)),
    tables("invoices"),
    tables("payments", actions=("select", "update")),
    tables("foreign"),
]
ASKED = [
    (action, ("Table", name)) for action in ("select", "update") for name in ("invoices", "payments", "foreign", "victim")
]
GATES = [None, None, None, (GATE,), (GATE, GATE2)]
TIGHT = POLICY.replace('on Table in Database "ledger"', 'on Table in Schema "public"').replace("at most 15m", "at most 3m")
FEWER = [each for each in ENTITIES if each.id != "bob"]

holders, keys, people = st.sampled_from(HOLDERS), st.sampled_from(KEYS), st.sampled_from(PEOPLE)
times = st.sampled_from([None, None, None, 1, MINUTE, 3 * MINUTE, 10 * MINUTE, 16 * MINUTE])
bindings = st.builds(
    lambda key, gates: Bindings(key=key and thumbprint(key), gates=gates),
    st.sampled_from([*KEYS, None]),
    st.sampled_from(GATES),
)
numbers, mostly = st.integers(0, 30), st.sampled_from([True, True, True, True, False])
openers, scopes = st.sampled_from([CI, API]), st.sampled_from(SCOPES)


class Lives(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.world = World(suspend_after=SuspendAfter(3, MINUTE))
        root = self.world.open(lasting=10 * MINUTE)
        child = self.world.delegate(root)
        self.ids = [root.id, child.id, self.world.release(lasting=10 * MINUTE).id]
        self.over: set[str] = set()
        self.frozen: set[str] = set()
        self.said_yes: dict[str, dict[str, tuple[str, int]]] = {}  # grant, person: agreement and until when

    # ---- steps

    def take(self, step: Any) -> Any:
        try:
            return step()
        except Refused as refused:
            code = refused.code
        assert "step" in REASONS[code].where
        return None

    def some(self, number: int) -> Grant:
        return self.world.tasks.book.index.find(self.ids[number % len(self.ids)])

    def living(self, number: int) -> Grant:
        """One that is active, where there is one: else most of what is tried is refused for the same reason."""
        index = self.world.tasks.book.index
        active = [each for each in self.ids if index.find(each).state is State.ACTIVE]
        return index.find(active[number % len(active)]) if active else self.some(number)

    def caller(self, spiffe_id: str, grant: Grant | None, rightful: bool, extra: str | None = None) -> Caller:
        known = set() if grant is None or grant.binding.key is None or not rightful else {grant.binding.key}
        return Caller(spiffe_id, keys=frozenset(known | ({thumbprint(extra)} if extra else set())))

    @rule(
        opener=st.sampled_from([CI, CI, CI, CI, API, SHELL]),
        holder=holders,
        kind=st.sampled_from(["invoicing", "invoicing", "errand", "release"]),
        binding=bindings,
        scope=scopes,
        lasting=times,
        by=st.sampled_from([None, None, None, *PEOPLE]),
    )
    def open(self, opener: str, holder: str, kind: str, binding: Bindings, scope: Any, lasting: Any, by: Any) -> None:
        facts = {"tenant": "acme"} if kind == "invoicing" else {}
        ask = Opening(kind, holder, facts, scope if kind != "release" else None, binding, lasting)
        caller = Caller(opener, person=None if by is None else ("User", by))
        grant = self.take(lambda: self.world.tasks.open(self.world.at, caller, ask))
        if grant is not None:
            assert opener != holder or kind == "errand"
            self.ids.append(grant.id)

    @rule(
        holder=holders, key=keys, opener=st.sampled_from([CI, API]), note=st.sampled_from([{"note": "x"}, {"tenant": "v"}])
    )
    def request(self, holder: str, key: str, opener: str, note: dict[str, str]) -> None:
        ask = Opening("invoicing", holder, note, binding=Bindings(key=thumbprint(key)))
        caller = Caller(holder, keys=frozenset({thumbprint(key)}))
        grant = self.take(lambda: self.world.tasks.request(self.world.at, caller, ask, opener))
        if grant is not None:
            self.ids.append(grant.id)

    @rule(number=numbers, opener=openers)
    def take_up(self, number: int, opener: str) -> None:
        grant = self.some(number)
        self.take(lambda: self.world.tasks.take_up(self.world.at, Caller(opener), grant.id, {"tenant": "acme"}))

    @rule(
        number=numbers,
        holder=holders,
        binding=bindings,
        scope=scopes,
        lasting=times,
        rightful=mostly,
    )
    def delegate(self, number: int, holder: str, binding: Bindings, scope: Any, lasting: Any, rightful: bool) -> None:
        parent = self.living(number)
        caller = self.caller(parent.holder, parent, rightful)
        ask = Child(holder, binding, scope, lasting)
        grant = self.take(lambda: self.world.tasks.delegate(self.world.at, caller, parent.id, ask))
        if grant is not None:
            assert rightful
            assert not binding.is_bearer
            self.ids.append(grant.id)

    @rule(number=numbers, new=keys, rightful=mostly, gates=st.sampled_from(GATES))
    def renew(self, number: int, new: str, rightful: bool, gates: Any) -> None:
        grant = self.living(number)
        caller = self.caller(grant.holder, grant, rightful, new)
        binding = Bindings(key=thumbprint(new), gates=gates)
        found = self.take(lambda: self.world.tasks.renew(self.world.at, caller, grant.id, binding))
        if found is not None:
            assert (found.ends, found.started, found.scope) == (grant.ends, grant.started, grant.scope)
            assert rightful or grant.binding.key in (None, thumbprint(new))

    @rule(number=numbers, other=numbers, name=people, sure=mostly, lasting=times, own=mostly)
    def approve(self, number: int, other: int, name: str, sure: bool, lasting: Any, own: bool) -> None:
        grant = self.some(number)
        self.say_yes(grant, grant if own else self.some(other), name, sure, lasting)

    def say_yes(self, grant: Grant, source: Grant, name: str, sure: bool, lasting: Any) -> None:
        yes = Yes(grant.id, agreement(source), lasting)
        caller = Caller(person=("User", name), vouched=Vouched.TOKEN if sure else Vouched.GATE)
        found = self.take(lambda: self.world.tasks.approve(self.world.at, caller, yes))
        if found is not None:
            assert sure
            assert source.id == grant.id
            until = self.world.now + (lasting or self.world.rules.approval_us)
            self.said_yes.setdefault(grant.id, {})[name] = (yes.agreement, until)
            if found.state is State.ACTIVE:
                self.was_approved(found, grant)

    def was_approved(self, found: Grant, asked: Grant) -> None:
        """Law 3, from what this test saw itself."""
        agreed = agreement(asked)
        users = self.world.snapshot.world.records["User"]
        yes = {
            name
            for name, (digest, until) in self.said_yes[found.id].items()
            if digest == agreed and self.world.now < until and name in users and name != "max"
        }
        assert len(yes) >= 2
        assert not {("User", name) for name in yes} & set(found.people)
        assert {approval.approver[1] for approval in found.approvals} <= yes

    @rule(number=numbers, caller=st.sampled_from([CI, API, HELPER, SHELL]), operator=st.sampled_from([False, False, True]))
    def end(self, number: int, caller: str, operator: bool) -> None:
        grant = self.some(number)
        if number % 3 == 0:
            grant = self.living(number)
        if self.take(lambda: self.world.tasks.end(self.world.at, Caller(caller, operator=operator), grant.id)):
            assert operator or caller != SHELL
            self.note_over(grant)

    def note_over(self, grant: Grant) -> None:
        self.over.add(grant.id)
        self.over |= {each.id for each in self.world.tasks.book.index.below(grant.id)}

    @rule(number=numbers, caller=st.sampled_from([CI, API, SHELL]))
    def suspend(self, number: int, caller: str) -> None:
        grant = self.living(number)
        self.take(lambda: self.world.tasks.suspend(self.world.at, Caller(caller), grant.id, "wait"))

    @rule(number=numbers, caller=st.sampled_from([CI, API, SHELL]))
    def resume(self, number: int, caller: str) -> None:
        grant = self.some(number)
        self.take(lambda: self.world.tasks.resume(self.world.at, Caller(caller), grant.id))

    @rule(holder=holders)
    def freeze(self, holder: str) -> None:
        if self.take(lambda: self.world.tasks.freeze(self.world.at, OPS, holder, "shell")):
            self.frozen.add(holder)

    @precondition(lambda self: self.frozen)
    @rule()
    def thaw(self) -> None:
        for holder in sorted(self.frozen):
            if self.take(lambda holder=holder: self.world.tasks.thaw(self.world.at, OPS, holder, "found")):
                self.frozen.discard(holder)
                index = self.world.tasks.book.index
                self.over |= {each for each in self.ids if index.find(each).is_over}

    @rule(number=numbers)
    def two_approve(self, number: int) -> None:
        self.approve_one(self.some(number), "ada")
        self.approve_one(self.some(number), "eve")

    def approve_one(self, grant: Grant, name: str) -> None:
        self.say_yes(grant, grant, name, True, None)

    @rule(noun=st.sampled_from(["grant", "task"]), number=numbers)
    def revoke(self, noun: str, number: int) -> None:
        grant = self.some(number)
        name = grant.id if noun == "grant" else grant.task
        found = self.take(lambda: self.world.tasks.revoke(self.world.at, OPS, noun, name, "stolen"))
        for each in found or ():
            self.note_over(each)

    @rule(step=st.sampled_from([1, MINUTE, 4 * MINUTE]))
    def wait(self, step: int) -> None:
        self.world.now += step
        self.world.tasks.confirm(self.world.now)

    @rule()
    def expire(self) -> None:
        self.world.tasks.expire(self.world.at)

    @rule(policy=st.sampled_from([POLICY, TIGHT]), entities=st.sampled_from([ENTITIES, FEWER]))
    def change_policy(self, policy: str, entities: list[EntityData]) -> None:
        self.world.set_policy(policy, entities)

    @rule()
    def restart(self) -> None:
        fresh = World(store=self.world.store)
        fresh.now = self.world.now
        fresh.tasks.confirm(fresh.now)
        self.world.tasks = fresh.tasks
        self.world.recorder = fresh.recorder

    @rule(number=numbers)
    def reuse(self, number: int) -> None:
        self.world.tasks.note_reuse(self.world.at, self.some(number).id, "wrong_key")

    # ---- laws

    def redeemed(self, grant: Grant, action: str, resource: tuple[str, str], **shown: Any) -> Redeemed | None:
        told = RequestData(action, EntityData(*resource), workload=grant.holder)
        world = self.world
        try:
            seen = world.shown(grant, **shown)
            return world.tasks.redeem(grant.id, seen, told, world.now, world.snapshot.world)
        except Refused as refused:
            code = refused.code
        assert "check" in REASONS[code].where
        return None

    @invariant()
    def a_child_is_good_for_nothing_that_its_parent_is_not(self) -> None:
        index = self.world.tasks.book.index
        for each in self.ids:
            child = index.find(each)
            if child.parent is None:
                continue
            parent = index.find(child.parent)
            for action, resource in ASKED:
                found = self.redeemed(child, action, resource)
                if found is None:
                    break
                gate = self.world.shown(child).gate
                above = self.redeemed(parent, action, resource, gate=gate)
                assert above is not None
                assert above.task.covers or not found.task.covers
                assert found.task.ends <= above.task.ends
                assert found.task.id == above.task.id
                assert found.task.attributes == above.task.attributes
                assert found.task.started == above.task.started

    @invariant()
    def nothing_is_given_at_or_after_an_end(self) -> None:
        index = self.world.tasks.book.index
        for each in self.ids:
            chain = index.chain(each)
            late = any(self.world.now >= grant.ends for grant in chain)
            if each in self.over or late:
                assert self.redeemed(chain[-1], *ASKED[0]) is None
            if each in self.over:
                assert index.find(each).is_over

    @invariant()
    def nothing_of_a_frozen_workload_is_of_use(self) -> None:
        index = self.world.tasks.book.index
        for each in self.ids:
            chain = index.chain(each)
            if any(grant.holder in self.frozen for grant in chain):
                assert self.redeemed(chain[-1], *ASKED[0]) is None

    @invariant()
    def nobody_else_can_use_it(self) -> None:
        index = self.world.tasks.book.index
        for each in self.ids:
            grant = index.find(each)
            assert self.redeemed(grant, *ASKED[0], workload=SHELL) is None
            assert self.redeemed(grant, *ASKED[0], key=thumbprint("stolen")) is None
            assert self.redeemed(grant, *ASKED[0], key=None) is None
            assert self.redeemed(grant, *ASKED[0], environment="staging") is None

    @invariant()
    def the_index_is_what_the_store_tells(self) -> None:
        told = replace(self.world.tasks.book.index)
        fresh = type(told)().fed(self.world.store.changes(0, ""))
        assert dict(told.grants) == dict(fresh.grants)
        assert dict(told.marks) == dict(fresh.marks)
        assert dict(told.by_holder) == dict(fresh.by_holder)
        assert dict(told.by_task) == dict(fresh.by_task)
        assert dict(told.children) == dict(fresh.children)


Lives.TestCase.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLives = Lives.TestCase
