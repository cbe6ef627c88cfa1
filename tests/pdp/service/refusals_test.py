"""Every way in which a step is refused: one thing away from a step that is taken, which the first rows show."""

# ruff: noqa: E501  # a row a line
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pdp.grants.approval import agreement
from pdp.grants.grant import Bindings, Grant, Permit, State, Target
from pdp.grants.reasons import REASONS
from pdp.grants.store import Put
from pdp.record import BINDING_REASONS, Kind
from pdp.service.approving import Yes
from pdp.service.caller import Caller, Vouched
from pdp.service.giving import Child, Opening
from tests.pdp.service.world import (
    API,
    CI,
    DEEP,
    GATE,
    GATE2,
    HELPER,
    LEDGER_DB,
    MINUTE,
    OPS,
    OTHER_DB,
    POLICY,
    SHELL,
    World,
    below,
    person,
    tables,
    thumbprint,
    tied,
    workload,
)

Row = Callable[[World], object]

ASK = Opening("invoicing", API, {"tenant": "acme"}, binding=tied("api"))


def opens(caller: Caller | None = None, **changes: Any) -> Row:
    return lambda w: w.open(caller, **changes)


def requests(caller: Caller | None = None, opener: str = CI, **changes: Any) -> Row:
    ask = replace(Opening("invoicing", API, {"note": "mine"}, binding=tied("api")), **changes)
    return lambda w: w.tasks.request(w.at, caller or workload(API, "api"), ask, opener)


def takes_up(caller: Caller | None = None, facts: dict[str, Any] | None = None, later: int = 0) -> Row:
    def row(w: World) -> object:
        asked = requests()(w)
        assert isinstance(asked, Grant)
        w.now += later
        return w.tasks.take_up(w.at, caller or workload(CI), asked.id, {"tenant": "acme"} if facts is None else facts)

    return row


def delegates(caller: Caller | None = None, parent: dict[str, Any] | None = None, later: int = 0, **changes: Any) -> Row:
    def row(w: World) -> object:
        grant = w.open(**(parent or {}))
        w.now += later
        return w.delegate(grant, caller, **changes)

    return row


def deeper(levels: int) -> Row:
    def row(w: World) -> object:
        grant = w.open(holder=API, binding=tied("key 0"), deeper=2)
        for level in range(1, levels + 1):
            grant = w.delegate(grant, workload(API, f"key {level - 1}"), holder=API, binding=tied(f"key {level}"))
        return grant

    return row


def approves(
    caller: Caller | None = None, later: int = 0, before: Callable[[World, Grant], object] | None = None, **changes: Any
) -> Row:
    def row(w: World) -> object:
        grant = w.release()
        if before is not None:
            before(w, grant)
        w.now += later
        yes = replace(Yes(grant.id, agreement(w.tasks.book.index.find(grant.id))), **changes)
        return w.tasks.approve(w.at, caller or person("ada"), yes)

    return row


def _with_both(w: World) -> Grant:
    return w.open(binding=tied("api", certificate=thumbprint("leaf")))


def _shows_both(*keys: str) -> Caller:
    return replace(workload(API, "api", *keys), certificates=frozenset({thumbprint("leaf")}))


def renews(caller: Caller | None = None, binding: Bindings | None = None, later: int = 0, **opening: Any) -> Row:
    def row(w: World) -> object:
        grant = w.open(**opening)
        w.now += later
        return w.tasks.renew(w.at, caller or workload(API, "api", "new"), grant.id, binding or tied("new"))

    return row


def on_grant(step: Callable[[World, Grant], object], before: Callable[[World, Grant], object] | None = None) -> Row:
    def row(w: World) -> object:
        grant = w.open()
        if before is not None:
            before(w, grant)
        return step(w, grant)

    return row


def after_policy(
    old: str, new: str, row: Callable[[World, Grant], object], waiting: bool = False, suspended: bool = False
) -> Row:
    def changed(w: World) -> object:
        grant = w.release() if waiting else w.open()
        if suspended:
            suspend(w, grant)
        assert old in POLICY
        w.set_policy(POLICY.replace(old, new))
        return row(w, grant)

    return changed


def end(w: World, grant: Grant) -> object:
    return w.tasks.end(w.at, workload(CI), grant.id)


def suspend(w: World, grant: Grant) -> object:
    return w.tasks.suspend(w.at, workload(CI), grant.id, "wait")


def freeze(spiffe_id: str) -> Callable[[World, object], object]:
    return lambda w, _: w.tasks.freeze(w.at, OPS, spiffe_id, "shell seen")


def revoke(noun: str, name: str) -> Callable[[World, object], object]:
    return lambda w, _: w.tasks.revoke(w.at, OPS, noun, name, "stolen")


def first(*steps: Callable[..., object]) -> Row:
    """Some steps, then the last one."""

    def row(w: World) -> object:
        for step in steps[:-1]:
            step(w, None)
        return steps[-1](w)

    return row


def resume(caller: Caller) -> Callable[[World, Grant], object]:
    return lambda w, g: w.tasks.resume(w.at, caller, g.id)


def in_other_environment(row: Callable[[World, Grant], object], **rules: Any) -> Row:
    """The store of one installation, read by another that shares its keys."""

    def moved(w: World) -> object:
        grant = w.open()
        other = World(store=w.store, **rules)
        w.tasks, w.rules = other.tasks, other.rules
        w.recorder = other.recorder
        return row(w, grant)

    return moved


def written(w: World, grant: Grant, **changes: Any) -> Grant:
    """The record as a later version, or a bad hand, would have written it."""
    committed = w.store.commit([Put(replace(grant, **changes), grant.revision)])
    found = committed.records[0]
    assert isinstance(found, Grant)
    return found


TAKEN: dict[str, Row] = {
    "open": opens(),
    "open, narrower": opens(permits=tables("invoices"), lasting=MINUTE, uses=3, deeper=0),
    "open, without a key": opens(binding=Bindings()),
    "open, a group of actions": opens(permits=below("Schema", "public", ("touch",))),
    "open, by the holder, where it may": opens(workload(API, "api"), kind="errand", holder=API, facts={"note": "x"}),
    "request": requests(),
    "request, of its own, where it may": requests(kind="errand", opener=API),
    "take up": takes_up(),
    "delegate": delegates(),
    "delegate, two levels": deeper(2),
    "approve": approves(),
    "approve, a member of a team below": approves(person("bob")),
    "renew": renews(),
    "renew, the first key": lambda w: w.tasks.renew(w.at, workload(API, "new"), w.open(binding=Bindings()).id, tied("new")),
    "suspend": on_grant(suspend),
    "resume": on_grant(resume(workload(CI)), suspend),
    "end, by its holder": on_grant(lambda w, g: w.tasks.end(w.at, workload(API), g.id)),
    "end, by its opener": on_grant(end),
    "end, by an operator": on_grant(lambda w, g: w.tasks.end(w.at, OPS, g.id, "incident")),
    "reject": lambda w: w.tasks.reject(w.at, person("eve"), w.release().id, "not on a Friday"),
    "freeze": lambda w: w.tasks.freeze(w.at, OPS, API, "shell seen"),
    "revoke": lambda w: w.tasks.revoke(w.at, OPS, "workload", API, "stolen"),
}

ROWS: list[tuple[str, str, Row]] = [
    # opening
    ("no_workload", "a person alone opens nothing", opens(Caller(person=("User", "ada"), vouched=Vouched.TOKEN))),
    ("unknown_kind", "no such kind", opens(kind="nonsense")),
    ("unknown_kind", "a kind that is not even a text", opens(kind=1)),
    ("wrong_opener", "a workload that is no opener", opens(workload(HELPER))),
    ("wrong_opener", "a prefix of an opener is no opener", opens(workload("spiffe://prod.acme/ci-evil/runner"))),
    ("wrong_opener", "another domain", opens(workload("spiffe://dev.acme/ci/runner"))),
    ("holder_is_opener", "the holder opens its own task", opens(workload(API))),
    ("holder_is_opener", "an opener opens for itself", opens(workload(CI), holder=CI)),
    ("holder_refused", "a holder that may not hold it", opens(holder=SHELL)),
    ("holder_refused", "a holder that is no SPIFFE ID", opens(holder="spiffe://prod.acme/ns/billing/api\n")),
    ("holder_refused", "a holder that is no text", opens(holder=None)),
    ("fact_malformed", "a fact is missing", opens(facts={})),
    ("fact_malformed", "a fact that is not declared", opens(facts={"tenant": "acme", "admin": True})),
    ("fact_malformed", "true is no number", opens(facts={"tenant": "acme", "count": True})),
    ("fact_malformed", "a number is no text", opens(facts={"tenant": 1})),
    ("fact_malformed", "a fraction", opens(facts={"tenant": 1.0})),
    ("fact_malformed", "null", opens(facts={"tenant": None})),
    ("fact_malformed", "no object", opens(facts=["tenant"])),
    ("fact_malformed", "very long", opens(facts={"tenant": "x" * 70_000})),
    (
        "fact_from_holder",
        "the holder sets what is the opener's",
        opens(workload(API, "api"), kind="errand", facts={"tenant": "victim"}),
    ),
    ("scope_malformed", "no such action", opens(permits=tables("invoices", actions=("drop",)))),
    ("scope_malformed", "no such type", opens(permits=(Permit(frozenset({"select"}), (Target("Secret"),)),))),
    ("scope_malformed", "an action of another type", opens(permits=tables("invoices", actions=("build",)))),
    ("scope_malformed", "an id with a hidden character", opens(permits=tables("inv\u202eoices"))),
    ("scope_malformed", "never in such a type", opens(permits=below("Team", "leads"))),
    ("scope_malformed", "no list of permits", opens(permits="select")),
    (
        "scope_malformed",
        "a constraint that nobody understands",
        opens(permits=(replace(tables("invoices")[0], constraints=("columns",)),)),
    ),
    ("scope_empty", "nothing", opens(permits=())),
    ("scope_too_wide", "a whole type where a database is the ceiling", opens(permits=(Permit(frozenset({"select"}), (Target("Table"),)),))),
    ("scope_too_wide", "a table of another database", opens(permits=tables("foreign"))),
    ("scope_too_wide", "a table that nobody knows", opens(permits=tables("nowhere"))),
    ("scope_too_wide", "another database", opens(permits=below("Database", "other"))),
    (
        "scope_too_wide",
        "an action that is not of the kind",
        opens(permits=(Permit(frozenset({"ship"}), (Target("Service", "shop"),)),)),
    ),
    ("lasting_malformed", "no time", opens(lasting=0)),
    ("lasting_malformed", "less than no time", opens(lasting=-1)),
    ("lasting_malformed", "true is no time", opens(lasting=True)),
    ("lasting_too_long", "a microsecond more than the kind lasts", opens(lasting=15 * MINUTE + 1)),
    ("uses_malformed", "none", opens(uses=0)),
    ("uses_malformed", "true is no number", opens(uses=True)),
    ("binding_malformed", "a thumbprint that is none", opens(binding=Bindings(key="abc"))),
    ("binding_malformed", "a thumbprint in another form", opens(binding=Bindings(key=thumbprint("api") + "="))),
    ("binding_malformed", "two texts for one thumbprint", opens(binding=Bindings(key=thumbprint("api")[:-1] + "l"))),
    ("binding_malformed", "no gate at all", opens(binding=tied("api", gates=()))),
    ("binding_malformed", "a gate that is no SPIFFE ID", opens(binding=tied("api", gates=("east",)))),
    ("binding_malformed", "gates out of order", opens(binding=tied("api", gates=(GATE2, GATE)))),
    ("binding_malformed", "a gate twice", opens(binding=tied("api", gates=(GATE, GATE)))),
    ("binding_malformed", "a session without its gate", opens(binding=tied("api", session="s1"))),
    ("binding_malformed", "a session at two gates", opens(binding=tied("api", session="s1", gates=(GATE, GATE2)))),
    ("binding_malformed", "a process without a name", opens(binding=tied("api", process=""))),
    ("binding_malformed", "no bindings", opens(binding={"key": thumbprint("api")})),
    ("binding_unknown", "a kind of binding from the future", opens(binding=tied("api", unknown=("tpm",)))),
    ("delegation_too_deep", "more levels than the installation allows", opens(deeper=4)),
    ("delegation_too_deep", "true is no number of levels", opens(deeper=True)),
    ("workload_frozen", "the holder is frozen", first(freeze(API), opens())),
    ("workload_frozen", "the opener is frozen", first(freeze(CI), opens())),
    ("revoked", "the opener was revoked", first(revoke("opener", CI), opens())),
    ("revoked", "the holder was revoked", first(revoke("workload", API), opens())),
    ("revoked", "the trust domain was revoked", first(revoke("trust_domain", "prod.acme"), opens())),
    ("revoked", "the gate that it comes through was revoked", first(revoke("gate", GATE), opens(workload(CI, gate=GATE)))),
    (
        "revoked",
        "the certificate that it is tied to was revoked",
        first(revoke("certificate", thumbprint("c")), opens(binding=Bindings(certificate=thumbprint("c")))),
    ),
    # requests of holders
    ("no_workload", "a request of nobody", requests(Caller())),
    ("wrong_holder", "a request for another", requests(workload(HELPER, "api"))),
    ("bearer_refused", "a request without a key", requests(binding=Bindings())),
    ("proof_missing", "a key that was not shown", requests(workload(API))),
    ("wrong_key", "another key was shown", requests(workload(API, "other"))),
    ("fact_from_holder", "the holder sets its tenant", requests(facts={"tenant": "victim"})),
    ("wrong_opener", "somebody who may not open is asked", requests(opener=HELPER)),
    ("holder_is_opener", "the holder asks itself", requests(opener=API)),
    ("scope_too_wide", "a request for more than the kind", requests(permits=tables("foreign"))),
    ("not_yours", "taken up by another opener", takes_up(workload("spiffe://prod.acme/ci/other"))),
    ("not_yours", "taken up by the holder", takes_up(workload(API))),
    ("fact_changed", "the opener changes what the holder said", takes_up(facts={"tenant": "acme", "note": "other"})),
    ("fact_malformed", "the opener does not say what is missing", takes_up(facts={})),
    ("task_ended", "taken up too late", takes_up(later=60 * MINUTE)),
    ("not_pending", "an active grant is taken up", on_grant(lambda w, g: w.tasks.take_up(w.at, workload(CI), g.id))),
    ("grant_unknown", "nothing is taken up", lambda w: w.tasks.take_up(w.at, workload(CI), "x" * 24)),
    # delegation
    ("wrong_holder", "a child of another's grant", delegates(workload(HELPER, "api"))),
    ("wrong_holder", "a child by the opener", delegates(workload(CI, "api"))),
    ("no_workload", "a child by nobody", delegates(Caller(keys=frozenset({thumbprint("api")})))),
    ("proof_missing", "a child without showing the key of the parent", delegates(workload(API))),
    ("wrong_key", "a child with another key than the parent's", delegates(workload(API, "stolen"))),
    ("grant_unbound", "a child of a grant without a key", delegates(parent={"binding": Bindings()})),
    ("bearer_refused", "a child without a key", delegates(binding=Bindings())),
    ("child_key_known", "a child with its parent's key", delegates(binding=tied("api"))),
    ("child_too_wide", "an action that the parent has not", delegates(parent={"permits": tables("invoices")}, permits=tables("invoices", actions=("update",)))),
    ("child_too_wide", "a resource that the parent has not", delegates(parent={"permits": tables("invoices")}, permits=tables("payments"))),
    ("child_too_wide", "a schema beside the parent's", delegates(parent={"permits": below("Schema", "public")}, permits=below("Schema", "private"))),
    ("scope_too_wide", "more than the kind", delegates(permits=tables("foreign"))),
    ("child_too_wide", "more uses", delegates(parent={"uses": 2}, uses=3)),
    ("child_too_long", "longer than the parent", delegates(lasting=5 * MINUTE + 1)),
    ("child_too_long", "longer than what is left of the parent", delegates(lasting=5 * MINUTE, later=1)),
    ("lasting_malformed", "no time", delegates(lasting=0)),
    ("task_ended", "a child of a grant whose time is over", delegates(later=5 * MINUTE)),
    ("task_ended", "a child of a grant that has ended", on_grant(lambda w, g: w.delegate(g), end)),
    ("task_suspended", "a child of a suspended grant", on_grant(lambda w, g: w.delegate(g), suspend)),
    ("task_not_active", "a child of a grant that waits", lambda w: w.delegate(w.release())),
    ("delegation_too_deep", "the third level of two", deeper(3)),
    ("delegation_too_deep", "as deep as its parent", delegates(parent={"deeper": 2}, deeper=2)),
    ("delegation_too_deep", "below a grant that is not for delegation", delegates(parent={"deeper": 0})),
    ("child_less_bound", "a gate more", delegates(parent={"binding": tied("api", gates=(GATE,))}, binding=tied("h", gates=(GATE, GATE2)))),
    ("child_less_bound", "any gate", delegates(parent={"binding": tied("api", gates=(GATE,))})),
    ("child_less_bound", "any destination", delegates(parent={"binding": tied("api", destinations=(LEDGER_DB,))}, binding=tied("h", destinations=(OTHER_DB,)))),
    ("child_less_bound", "no session", delegates(parent={"binding": tied("api", gates=(GATE,), session="s")}, binding=tied("h", gates=(GATE,)))),
    ("child_less_bound", "no process", delegates(parent={"binding": tied("api", process="p")})),
    ("child_less_bound", "a task key where the parent has a certificate and one", lambda w: w.delegate(_with_both(w), _shows_both())),
    ("child_less_bound", "a certificate where the parent has a task key", delegates(binding=Bindings(certificate=thumbprint("c")))),
    ("holder_refused", "a child for somebody who may not hold it", delegates(holder=SHELL)),
    ("holder_is_opener", "a child for the opener of the task", delegates(holder=CI)),
    ("workload_frozen", "a child for a frozen workload", on_grant(lambda w, g: w.delegate(g), freeze(HELPER))),
    ("task_suspended", "a child by a frozen workload", on_grant(lambda w, g: w.delegate(g), freeze(API))),
    ("wrong_environment", "a child of a grant of another environment", in_other_environment(lambda w, g: w.delegate(g), environment="staging")),
    ("wrong_audience", "a child of a grant of another decision point", in_other_environment(lambda w, g: w.delegate(g), audience="dev.acme")),
    ("scope_too_wide", "policy of now no longer gives it", after_policy('on Table in Database "ledger"', 'on Table in Schema "public"', lambda w, g: w.delegate(g))),
    ("grant_outdated", "policy of now no longer gives the parent", after_policy("who      spiffe://prod.acme/ns/billing/*", "who      spiffe://prod.acme/ns/billing/helper", lambda w, g: w.delegate(g))),
    ("unknown_kind", "the kind is gone", after_policy("compile", "brew", lambda w, g: w.open(kind="compile"))),
    # approval
    ("no_approver", "a workload approves", approves(workload(CI))),
    ("approver_asserted", "a gate says who approves", approves(person("ada", Vouched.GATE))),
    ("approver_asserted", "nobody says how the person is known", approves(Caller(person=("User", "ada")))),
    ("wrong_approver", "a person who is in no such team", approves(person("max"))),
    ("wrong_approver", "a person whom nobody knows", approves(person("nobody"))),
    ("wrong_approver", "a person of a type that there is not", approves(Caller(person=("Robot", "ada"), vouched=Vouched.TOKEN))),
    ("wrong_approver", "the team itself", approves(Caller(person=("Team", "nowhere"), vouched=Vouched.TOKEN))),
    ("self_approval", "through the holder", approves(person("ada", through=API))),
    ("self_approval", "through the opener", approves(person("ada", through=CI))),
    ("self_approval", "the person who asked for it", lambda w: w.tasks.approve(w.at, person("ada"), _yes(w, w.tasks.open(w.at, workload(CI, person=("User", "ada")), replace(ASK, kind="release", facts={}))))),
    ("agreement_changed", "yes to something else", approves(agreement="0" * 64)),
    ("agreement_changed", "yes to something that is no text", approves(agreement=None)),
    ("agreement_changed", "yes to another grant", lambda w: w.tasks.approve(w.at, person("ada"), replace(_yes(w, w.release()), agreement=agreement(w.release())))),
    ("already_approved", "the same person twice", approves(before=lambda w, g: w.approve(g, "ada"))),
    ("approval_too_long", "longer than approvals count", approves(lasting=60 * MINUTE + 1)),
    ("approval_too_long", "for no time", approves(lasting=0)),
    ("task_ended", "too late", approves(later=60 * MINUTE)),
    ("task_ended", "after it was rejected", approves(before=lambda w, g: w.tasks.reject(w.at, person("eve"), g.id, "no"))),
    ("not_pending", "an active grant", on_grant(lambda w, g: w.tasks.approve(w.at, person("ada"), _yes(w, g)))),
    ("workload_frozen", "the holder was frozen meanwhile", approves(before=lambda w, g: w.tasks.freeze(w.at, OPS, API, "shell"))),
    ("scope_too_wide", "policy of now gives less", after_policy("may      ship on Service", 'may      ship on Service "other"', lambda w, g: w.approve(g, "ada"), waiting=True)),
    ("agreement_changed", "policy of now asks for more approvals", after_policy("by 2 of", "by 3 of", lambda w, g: w.approve(g, "ada"), waiting=True)),
    ("wrong_approver", "policy of now asks for none", after_policy('  approved by 2 of Team "leads"\n', "", lambda w, g: w.approve(g, "max"), waiting=True)),
    ("unknown_kind", "the kind is gone", after_policy("release", "rollout", lambda w, g: w.approve(g, "ada"), waiting=True)),
    ("not_pending", "an active grant is rejected", on_grant(lambda w, g: w.tasks.reject(w.at, workload(CI), g.id, "no"))),
    ("not_yours", "rejected by its holder", lambda w: w.tasks.reject(w.at, workload(API), w.release().id, "no")),
    ("grant_unknown", "rejected by somebody", lambda w: w.tasks.reject(w.at, person("max"), w.release().id, "no")),
    ("reason_missing", "rejected without a word", lambda w: w.tasks.reject(w.at, person("ada"), w.release().id, "")),
    # renewal
    ("wrong_holder", "renewed by another", renews(workload(HELPER, "api", "new"))),
    ("proof_missing", "no key shown", renews(workload(API))),
    ("wrong_key", "without the old key", renews(workload(API, "new"))),
    ("wrong_key", "without the new key", renews(workload(API, "api"))),
    ("bearer_refused", "tied to nothing any more", renews(binding=Bindings())),
    ("renewal_too_wide", "with another gate", renews(binding=tied("new", gates=(GATE,)))),
    ("renewal_too_wide", "without its process", on_grant(lambda w, g: w.tasks.renew(w.at, workload(API, "api", "new"), w.open(binding=tied("api", process="p")).id, tied("new")))),
    ("renewal_too_wide", "a certificate instead of the task key", renews(replace(workload(API, "api"), certificates=frozenset({thumbprint("c")})), Bindings(certificate=thumbprint("c")))),
    ("renewal_too_wide", "a task key instead of a certificate and one", lambda w: w.tasks.renew(w.at, _shows_both("new"), _with_both(w).id, tied("new"))),
    ("binding_malformed", "no thumbprint", renews(binding=Bindings(key="new"))),
    ("task_ended", "after its end", renews(later=5 * MINUTE)),
    ("task_suspended", "while suspended", on_grant(lambda w, g: w.tasks.renew(w.at, workload(API, "api", "new"), g.id, tied("new")), suspend)),
    ("task_suspended", "while frozen", on_grant(lambda w, g: w.tasks.renew(w.at, workload(API, "api", "new"), g.id, tied("new")), freeze(API))),
    ("wrong_environment", "in another environment", in_other_environment(lambda w, g: w.tasks.renew(w.at, workload(API, "api", "new"), g.id, tied("new")), environment=None)),
    ("child_key_known", "the key of a child", on_grant(lambda w, g: w.tasks.renew(w.at, workload(API, "api", "helper"), g.id, tied("helper")), lambda w, g: w.delegate(g))),
    ("child_key_known", "a child takes its parent's key", on_grant(lambda w, g: w.tasks.renew(w.at, workload(HELPER, "helper", "api"), w.delegate(g).id, tied("api")))),
    ("holder_refused", "policy of now names other holders", after_policy("who      spiffe://prod.acme/ns/billing/*", "who      spiffe://prod.acme/ns/other/*", lambda w, g: w.tasks.renew(w.at, workload(API, "api", "new"), g.id, tied("new")))),
    ("binding_unknown", "a binding from the future is renewed", on_grant(lambda w, g: w.tasks.renew(w.at, workload(API, "api", "new"), written(w, g, binding=tied("api", unknown=("tpm",))).id, tied("new")))),
    # suspending, ending
    ("not_yours", "suspended by its holder", on_grant(lambda w, g: w.tasks.suspend(w.at, workload(API), g.id, "x"))),
    ("grant_unknown", "suspended by a stranger", on_grant(lambda w, g: w.tasks.suspend(w.at, workload(SHELL), g.id, "x"))),
    ("reason_missing", "suspended without a word", on_grant(lambda w, g: w.tasks.suspend(w.at, workload(CI), g.id, ""))),
    ("task_ended", "suspended after its end", on_grant(suspend, end)),
    ("task_not_active", "suspended before it is active", lambda w: suspend(w, w.release())),
    ("not_yours", "resumed by its holder", on_grant(resume(workload(API)), suspend)),
    ("not_yours", "resumed by one who did not suspend it", on_grant(resume(OPS), suspend)),
    ("still_frozen", "resumed by its opener while frozen", on_grant(resume(workload(CI)), freeze(API))),
    ("task_not_active", "resumed while active", on_grant(resume(workload(CI)))),
    ("task_ended", "resumed after its end", on_grant(resume(workload(CI)), lambda w, g: (suspend(w, g), end(w, g)))),
    ("task_ended", "resumed when its time is over", on_grant(resume(workload(CI)), lambda w, g: (suspend(w, g), setattr(w, "now", g.ends)))),
    ("holder_refused", "resumed when policy of now names other holders", after_policy("who      spiffe://prod.acme/ns/billing/*", "who      spiffe://prod.acme/ns/other/*", lambda w, g: resume(workload(CI))(w, g), suspended=True)),
    ("grant_unknown", "resumed by a stranger", on_grant(resume(workload(SHELL)), suspend)),
    ("grant_unknown", "ended by a stranger once more", on_grant(lambda w, g: w.tasks.end(w.at, workload(SHELL), g.id), end)),
    ("grant_unknown", "ended by a stranger", on_grant(lambda w, g: w.tasks.end(w.at, workload(SHELL), g.id))),
    ("grant_unknown", "ended by a helper", on_grant(lambda w, g: w.tasks.end(w.at, workload(HELPER, "helper"), g.id), lambda w, g: w.delegate(g))),
    ("task_ended", "ended twice", on_grant(end, end)),
    ("grant_unknown", "nothing is ended", lambda w: w.tasks.end(w.at, OPS, "x" * 24)),
    # incidents
    ("not_operator", "frozen by its opener", lambda w: w.tasks.freeze(w.at, workload(CI), API, "x")),
    ("reason_missing", "frozen without a word", lambda w: w.tasks.freeze(w.at, OPS, API, " ")),
    ("not_frozen", "thawed without a freeze", lambda w: w.tasks.thaw(w.at, OPS, API, "x")),
    ("not_frozen", "thawed twice", first(freeze(API), lambda w, _: w.tasks.thaw(w.at, OPS, API, "x"), lambda w: w.tasks.thaw(w.at, OPS, API, "x"))),
    ("not_frozen", "a revocation is thawed", first(revoke("workload", API), lambda w: w.tasks.thaw(w.at, OPS, API, "x"))),
    ("revoked", "what was revoked is frozen", first(revoke("workload", API), lambda w: w.tasks.freeze(w.at, OPS, API, "x"))),
    ("not_operator", "thawed by its opener", first(freeze(API), lambda w: w.tasks.thaw(w.at, workload(CI), API, "x"))),
    ("noun_unknown", "a noun that there is not", lambda w: w.tasks.revoke(w.at, OPS, "person", "ada", "x")),
    ("noun_unknown", "a workload that is no SPIFFE ID", lambda w: w.tasks.revoke(w.at, OPS, "workload", "billing/api", "x")),
    ("noun_unknown", "a freeze of what is no workload", lambda w: w.tasks.freeze(w.at, OPS, "billing/api", "x")),
    ("proof_missing", "the holder opens for a key that it does not show", opens(workload(API), kind="errand", facts={})),
    ("self_approval", "the person in whose name a request was taken up", lambda w: _taken_up_by_ada(w)),
    ("noun_unknown", "a certificate by another digest", lambda w: w.tasks.revoke(w.at, OPS, "certificate", "ab" * 32, "x")),
    ("noun_unknown", "a certificate with padding", lambda w: w.tasks.revoke(w.at, OPS, "certificate", thumbprint("c") + "=", "x")),
    ("noun_unknown", "a trust domain with its scheme", lambda w: w.tasks.revoke(w.at, OPS, "trust_domain", "spiffe://prod.acme", "x")),
    ("noun_unknown", "a trust domain in capitals", lambda w: w.tasks.revoke(w.at, OPS, "trust_domain", "PROD.ACME", "x")),
    ("noun_unknown", "a pattern of workloads", lambda w: w.tasks.freeze(w.at, OPS, "spiffe://prod.acme/ns/billing/*", "x")),
    ("noun_unknown", "a gate that is no SPIFFE ID", lambda w: w.tasks.revoke(w.at, OPS, "gate", "gate-1", "x")),
    ("noun_unknown", "an opener that is no SPIFFE ID", lambda w: w.tasks.revoke(w.at, OPS, "opener", "ci", "x")),
    ("noun_unknown", "an id that no grant can have", lambda w: w.tasks.revoke(w.at, OPS, "grant", "x", "x")),
    ("noun_unknown", "an id that no task can have", lambda w: w.tasks.revoke(w.at, OPS, "task", "a.b.c", "x")),
    ("noun_unknown", "a task by the id of its grant", on_grant(lambda w, g: w.tasks.revoke(w.at, OPS, "task", g.id, "x"))),
    ("noun_unknown", "a grant by the id of its task", on_grant(lambda w, g: w.tasks.revoke(w.at, OPS, "grant", g.task, "x"))),
    ("noun_unknown", "nothing", lambda w: w.tasks.revoke(w.at, OPS, "workload", "", "x")),
    ("not_operator", "revoked by its holder", lambda w: w.tasks.revoke(w.at, workload(API), "opener", CI, "x")),
    ("mark_unknown", "lifted without a revocation", lambda w: w.tasks.lift(w.at, OPS, "workload", API, "x")),
    ("mark_unknown", "a certificate that was revoked stays so", first(revoke("certificate", thumbprint("c")), lambda w: w.tasks.lift(w.at, OPS, "certificate", thumbprint("c"), "x"))),
    ("still_frozen", "a freeze is lifted", first(freeze(API), lambda w: w.tasks.lift(w.at, OPS, "workload", API, "x"))),
]  # fmt: skip


def _taken_up_by_ada(w: World) -> object:
    ask = Opening("release", API, binding=tied("api"))
    asked = w.tasks.request(w.at, workload(API, "api"), ask, CI)
    w.tasks.take_up(w.at, workload(CI, person=("User", "ada")), asked.id)
    return w.approve(asked, "ada")


def _yes(w: World, grant: Grant) -> Yes:
    return Yes(grant.id, agreement(w.tasks.book.index.find(grant.id)))


@pytest.mark.parametrize("row", TAKEN.values(), ids=TAKEN.keys())
def test_what_the_rows_below_are_one_thing_away_from(row: Row) -> None:
    world = World()
    row(world)
    assert all(step.what != "refused" for step in world.recorder.steps)


@pytest.mark.parametrize(("code", "row"), [pytest.param(c, r, id=f"{c}: {name}") for c, name, r in ROWS])
def test_a_step_is_refused_with_its_code_and_recorded(code: str, row: Row) -> None:
    world = World()
    before = [0]

    def step() -> object:
        before[0] = len(world.recorder.steps)
        return row(world)

    assert world.refused(step) == code
    told = world.recorder.steps[-1]
    assert told.kind is (Kind.REUSE_ATTEMPT if code in BINDING_REASONS else Kind.GRANT)
    assert told.reason == code


def test_every_row_is_of_the_table() -> None:
    assert {code for code, _, _ in ROWS} <= {code for code, reason in REASONS.items() if "step" in reason.where}


def test_every_code_of_a_step_has_a_row() -> None:
    """The others are shown where they need more than one installation: other tests of this folder name them."""
    elsewhere = {
        "grant_unreadable", "store_unavailable", "id_malformed", "id_taken", "child_other_kind",
        "approval_consumed", "not_recorded",
    }  # fmt: skip
    steps = {code for code, reason in REASONS.items() if "step" in reason.where}
    assert steps - {code for code, _, _ in ROWS} == elsewhere


def test_a_refusal_names_the_chain() -> None:
    world = World()
    root = world.open()
    child = world.delegate(root)
    assert (
        world.refused(lambda: world.delegate(child, workload(API, "api"), holder=DEEP, binding=tied("d"))) == "wrong_holder"
    )
    told = world.recorder.steps[-1]
    assert told.chain == (root.id, child.id)
    assert (told.kind, told.what, told.actor, told.holder, told.txn) == (
        Kind.REUSE_ATTEMPT, "wrong_holder", API, HELPER, root.task,
    )  # fmt: skip
    assert told.details == {"step": "delegated"}


@pytest.mark.parametrize("new_id", ["", "short", "x" * 21, "x" * 129, "x" * 23 + "\n", "x" * 23 + "/", 5])
def test_an_id_has_128_bits(new_id: Any) -> None:
    world = World()
    moment = replace(world.at, new_id=lambda: new_id)
    assert world.refused(lambda: world.tasks.open(moment, workload(CI), ASK)) == "id_malformed"


def test_an_id_is_used_once() -> None:
    world = World()
    grant = world.open()
    world.tasks.end(world.at, workload(CI), grant.id)
    moment = replace(world.at, new_id=lambda: grant.id)
    assert world.refused(lambda: world.tasks.open(moment, workload(CI), ASK)) == "id_taken"
    live = world.open()
    moment = replace(world.at, new_id=lambda: live.id)
    assert world.refused(lambda: world.tasks.delegate(moment, workload(API, "api"), live.id, Child(HELPER, tied("h")))) == (
        "id_taken"
    )


def test_a_request_shows_the_opener_what_is_missing_and_keeps_its_claims() -> None:
    world = World()
    asked = world.tasks.request(
        world.at, workload(API, "api"), Opening("invoicing", API, {"note": "mine"}, binding=tied("api")), CI
    )
    assert asked.state is State.REQUESTED
    assert world.recorder.steps[-1].details["lacks"] == ["tenant"]
    assert world.check(asked).reason == "task_not_active"
    given = world.tasks.take_up(world.at, workload(CI), asked.id, {"tenant": "acme"})
    assert {fact.name: fact.source.value for fact in given.facts} == {"note": "holder", "tenant": "opener"}
    assert world.check(given).allowed
