"""A small installation with tasks: a policy, a directory, a store in memory, a record that is a list."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from language import Bundle, Directory, EntityData, Inputs, RequestData, Source, compile_policies
from pdp.engine.decide import Decider
from pdp.engine.revocations import Revocations
from pdp.engine.snapshot import Policy, Snapshot
from pdp.grants.approval import agreement
from pdp.grants.grant import Bindings, Grant, Permit, Target
from pdp.grants.reasons import Refused
from pdp.grants.redeem import Shown
from pdp.model.decision import Decision
from pdp.model.request import Credential, Request
from pdp.record import Circumstances, Step, SuspendAfter
from pdp.service.approving import Yes
from pdp.service.book import Book
from pdp.service.caller import Caller, Moment, Rules, Vouched
from pdp.service.giving import Child, Opening
from pdp.service.tasks import Tasks
from pdp.store.grants.memory import MemoryStore

MINUTE = 60_000_000
START = 1_790_000_000_000_000

CI = "spiffe://prod.acme/ci/runner"
API = "spiffe://prod.acme/ns/billing/api"
HELPER = "spiffe://prod.acme/ns/billing/helper"
DEEP = "spiffe://prod.acme/ns/billing/deep"
SHELL = "spiffe://prod.acme/ns/web/front"
GATE, GATE2 = "spiffe://prod.acme/gates/east", "spiffe://prod.acme/gates/west"
LEDGER_DB, OTHER_DB = "spiffe://prod.acme/ns/db/ledger", "spiffe://prod.acme/ns/db/other"
OPERATOR = "spiffe://prod.acme/ops/console"

POLICY = """language 1
entity   Team in Team
entity   User in Team
entity   Database
entity   Schema in Database
entity   Table in Schema, Database { tenant: String }
entity   Parcel in Database claimed { weight: Int }
entity   Service
workload in Team
action   select, update on Table
action   weigh on Parcel
action   build, ship on Service
action   touch = select, update
task invoicing {
  carries  tenant: String, ticket: String?, count: Int?, note: String? from holder
  opened by spiffe://prod.acme/ci/**
  who      spiffe://prod.acme/ns/billing/*
  may      select, update on Table in Database "ledger"
  lasts    at most 15m
}
task release {
  opened by spiffe://prod.acme/ci/**
  who      spiffe://prod.acme/ns/billing/*
  may      ship on Service
  lasts    at most 15m
  approved by 2 of Team "leads"
}
task compile {
  opened by spiffe://prod.acme/ci/**
  who      spiffe://prod.acme/ns/billing/*
  may      build on Service
  lasts    at most 15m
}
task errand {
  carries  note: String? from holder, tenant: String?
  opened by spiffe://prod.acme/ci/** or holder
  who      spiffe://prod.acme/ns/billing/*, spiffe://prod.acme/ci/**
  may      select on Table in Database "ledger"
  lasts    at most 15m
}
allow reads { who spiffe://prod.acme/ns/billing/* do select on Table during invoicing proof key when resource.tenant == task.tenant }
allow writes { who spiffe://prod.acme/ns/billing/* do update on Table during invoicing proof request when resource.tenant == task.tenant }
allow ships { who spiffe://prod.acme/ns/billing/* do ship on Service during release proof key }
allow builds { who spiffe://prod.acme/ns/billing/* do build on Service during compile proof key }
allow errands { who anyone do select on Table during errand proof key }
allow helper-reads-all { who spiffe://prod.acme/ns/billing/helper do select on Table when resource.tenant == "open" }
"""  # noqa: E501  # policies are read a rule a line

ENTITIES = [
    EntityData("Team", "leads", {}, ()),
    EntityData("Team", "seniors", {}, (("Team", "leads"),)),
    EntityData("User", "ada", {}, (("Team", "leads"),)),
    EntityData("User", "bob", {}, (("Team", "seniors"),)),
    EntityData("User", "eve", {}, (("Team", "leads"),)),
    EntityData("User", "max", {}, ()),
    EntityData("Database", "ledger", {}, ()),
    EntityData("Database", "other", {}, ()),
    EntityData("Schema", "public", {}, (("Database", "ledger"),)),
    EntityData("Schema", "private", {}, (("Database", "ledger"),)),
    EntityData("Table", "invoices", {"tenant": "acme"}, (("Schema", "public"),)),
    EntityData("Table", "payments", {"tenant": "acme"}, (("Schema", "private"),)),
    EntityData("Table", "foreign", {"tenant": "acme"}, (("Database", "other"),)),
    EntityData("Table", "victim", {"tenant": "victim"}, (("Schema", "public"),)),
    EntityData("Service", "shop", {}, ()),
]


def thumbprint(name: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(name.encode()).digest()).rstrip(b"=").decode()


def tied(name: str, **more: Any) -> Bindings:
    """A grant is tied to the task key of this name."""
    return Bindings(key=thumbprint(name), **more)


def workload(spiffe_id: str, *keys: str, **more: Any) -> Caller:
    return Caller(spiffe_id, keys=frozenset(thumbprint(key) for key in keys), **more)


def person(name: str, vouched: Vouched = Vouched.TOKEN, through: str | None = None) -> Caller:
    return Caller(workload=through, person=("User", name), vouched=vouched)


OPS = Caller(OPERATOR, operator=True)
WORLDS = count(1)


class ListRecorder:
    """A record that is a list; `full` says that nothing more goes in."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.full = False

    def stepped(self, step: Step) -> bool:
        self.steps.append(step)
        return not self.full

    def decided(
        self,
        request: Request,
        decision: Decision,
        at_us: int,
        took_ns: int,
        bundle: Bundle | None = None,
        inputs: Inputs | None = None,
        around: Circumstances | None = None,
    ) -> bool:
        return not self.full


class World:
    """Time, policy, directory and the service over them. `now` moves by hand."""

    def __init__(
        self,
        policy: str = POLICY,
        suspend_after: SuspendAfter | None = None,
        store: MemoryStore | None = None,
        environment: str | None = "prod",
        audience: str = "prod.acme",
    ) -> None:
        self.now = START
        self.numbers = count(next(WORLDS) * 1_000_000)  # so that two worlds over one store give different ids
        self.rules = Rules(audience, environment)
        self.revoked = Revocations()
        self.store = store if store is not None else MemoryStore()
        self.recorder = ListRecorder()
        self.set_policy(policy)
        self.tasks = Tasks(Book(self.store, self.swap), self.recorder, self.rules, suspend_after)
        self.tasks.confirm(self.now)
        self.decider = Decider()

    def set_policy(self, text: str, entities: list[EntityData] | None = None) -> None:
        bundle = compile_policies([Source("p.policy", text)])
        self.policy = Policy(bundle, "i", None)
        self.directory = Directory(bundle.vocabulary)
        self.directory.upsert(ENTITIES if entities is None else entities)

    def swap(self, change: Callable[[Revocations], Revocations]) -> None:
        self.revoked = change(self.revoked)

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot(self.policy, self.directory.world, self.revoked)

    @property
    def at(self) -> Moment:
        return Moment(self.now, self.snapshot, self.new_id)

    def new_id(self) -> str:
        return f"id-{next(self.numbers):024d}"

    # ---- steps as most tests take them

    def open(self, caller: Caller | None = None, **changes: Any) -> Grant:
        ask = Opening("invoicing", API, {"tenant": "acme"}, binding=tied("api"))
        return self.tasks.open(self.at, caller or workload(CI), replace(ask, **changes))

    def delegate(self, parent: Grant, caller: Caller | None = None, **changes: Any) -> Grant:
        ask = replace(Child(HELPER, tied("helper")), **changes)
        return self.tasks.delegate(self.at, caller or workload(API, "api"), parent.id, ask)

    def release(self, **changes: Any) -> Grant:
        """A grant that waits for the approval of two leads."""
        return self.open(kind="release", facts={}, **changes)

    def approve(self, grant: Grant, name: str, **changes: Any) -> Grant:
        yes = replace(Yes(grant.id, agreement(self.tasks.book.index.find(grant.id))), **changes)
        return self.tasks.approve(self.at, person(name), yes)

    def check(
        self,
        grant: Grant,
        action: str = "select",
        resource: tuple[str, str] = ("Table", "invoices"),
        shown: Shown | None = None,
        **changes: Any,
    ) -> Decision:
        """A check as the service makes it: the grant is redeemed, then policy is asked."""
        seen = replace(shown or self.shown(grant), **changes)
        told = RequestData(
            action,
            EntityData(*resource),
            workload=seen.workload,
            gate=None if seen.gate is None else {"id": seen.gate},
        )
        snapshot = self.snapshot
        try:
            found = self.tasks.redeem(grant.id, seen, told, self.now, snapshot.world)
        except Refused as refused:
            return Decision(snapshot.policy.refused(refused), 0)
        credential = None if seen.certificate is None else Credential(seen.certificate, 2**62)
        decision = self.decider.decide_once(snapshot, told._replace(task=found.task), credential, self.now)
        if decision.allowed:
            try:
                self.tasks.consume(found)
            except Refused as refused:
                return Decision(snapshot.policy.refused(refused), 0)
        return decision

    def shown(self, grant: Grant, **changes: Any) -> Shown:
        """What the rightful holder of a grant shows."""
        binding = self.tasks.book.index.find(grant.id).binding
        gate = binding.gates[0] if binding.gates else None
        destination = binding.destinations[0] if binding.destinations else None
        seen = Shown(
            grant.holder,
            binding.certificate,
            binding.key,
            False,
            binding.session,
            binding.process,
            gate,
            destination,
            self.rules.environment,
            self.rules.audience,
        )
        return replace(seen, **changes)

    # ---- what came of it

    def refused(self, step: Callable[[], object]) -> str:
        """The code with which a step is refused. Refused steps are recorded, with the same code."""
        before = len(self.recorder.steps)
        with pytest.raises(Refused) as refused:
            step()
        told = self.recorder.steps[before:]
        code = refused.value.code
        assert [each.reason for each in told if each.what in ("refused", code)] == [code], told
        return code

    def state(self, grant: Grant) -> str:
        return self.tasks.book.index.find(grant.id).state.value


def tables(*names: str, actions: tuple[str, ...] = ("select",)) -> tuple[Permit, ...]:
    return (Permit(frozenset(actions), tuple(Target("Table", name) for name in names)),)


def below(type_name: str, entity_id: str, actions: tuple[str, ...] = ("select",)) -> tuple[Permit, ...]:
    return (Permit(frozenset(actions), (Target("Table", within=(type_name, entity_id)),)),)


def facts(**told: Any) -> Mapping[str, Any]:
    return told
