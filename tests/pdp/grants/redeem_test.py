"""What a grant is good for at a check: every refusal one thing away from a task that is given; what `proof` then says."""

# ruff: noqa: E501  # a row a line
from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from pdp.grants.grant import DEPTH_MAX, Bindings, Fact, Grant, Source, State
from pdp.grants.reasons import REASONS, Refused
from pdp.grants.redeem import Fits, Shown, redeem
from pdp.record import BINDING_REASONS
from tests.pdp.service.world import (
    API,
    CI,
    GATE,
    GATE2,
    HELPER,
    LEDGER_DB,
    MINUTE,
    OTHER_DB,
    POLICY,
    SHELL,
    START,
    World,
    tables,
    thumbprint,
    tied,
)

RESOURCE = ("Table", "invoices")
ABOVE = {"Database": frozenset({"ledger"}), "Schema": frozenset({"public"})}


@dataclass(frozen=True)
class Case:
    """A chain of two, and what the helper shows: a task is given. Each row changes one thing of it."""

    chain: tuple[Grant, ...]
    shown: Shown
    world: World
    now: int = START + MINUTE
    action: str = "select"

    def redeem(self) -> Any:
        return redeem(self.chain, self.shown, self.now, self.world.snapshot.world, self.action, RESOURCE, ABOVE)

    def root(self, **changes: Any) -> Case:
        return replace(self, chain=(replace(self.chain[0], **changes), *self.chain[1:]))

    def leaf(self, **changes: Any) -> Case:
        return replace(self, chain=(*self.chain[:-1], replace(self.chain[-1], **changes)))

    def show(self, **changes: Any) -> Case:
        return replace(self, shown=replace(self.shown, **changes))

    def policy(self, old: str, new: str) -> Case:
        assert old in POLICY
        return replace(self, world=World(POLICY.replace(old, new)))


BOUND = {"gates": (GATE,), "destinations": (LEDGER_DB,), "session": "s1", "process": "p1"}


def success() -> Case:
    world = World()
    root = world.open(binding=tied("api", **BOUND))
    leaf = world.delegate(root, binding=tied("helper", certificate=thumbprint("leaf"), **BOUND))
    return Case((root, leaf), world.shown(leaf), world)


Change = Callable[[Case], Case]

ROWS: list[tuple[str, str, Change]] = [
    ("task_misheld", "another workload", lambda c: c.show(workload=SHELL)),
    ("task_misheld", "the holder of the parent", lambda c: c.show(workload=API)),
    ("grant_unbound", "a grant without a key", lambda c: c.leaf(binding=Bindings())),
    ("proof_missing", "no proof", lambda c: c.show(key=None)),
    ("wrong_key", "a proof by another key", lambda c: c.show(key=thumbprint("other"))),
    ("wrong_key", "a proof by the key of the parent", lambda c: c.show(key=thumbprint("api"))),
    ("proof_missing", "no certificate", lambda c: c.show(certificate=None)),
    ("wrong_key", "the same SPIFFE ID with another certificate (C8)", lambda c: c.show(certificate=thumbprint("other"))),
    ("wrong_key", "the key shown as a certificate", lambda c: c.show(certificate=thumbprint("helper"))),
    ("wrong_session", "another session", lambda c: c.show(session="s2")),
    ("wrong_session", "no session", lambda c: c.show(session=None)),
    ("wrong_process", "another process", lambda c: c.show(process="p2")),
    ("wrong_process", "nobody vouches for the process", lambda c: c.show(process=None)),
    ("wrong_gate", "another gate", lambda c: c.show(gate=GATE2)),
    ("wrong_gate", "no gate", lambda c: c.show(gate=None)),
    ("wrong_gate", "a gate that the parent is not for", lambda c: c.root(binding=tied("api", gates=(GATE2,)))),
    ("wrong_destination", "another destination (C17)", lambda c: c.show(destination=OTHER_DB)),
    ("wrong_destination", "no destination", lambda c: c.show(destination=None)),
    ("wrong_destination", "one that the parent is not for", lambda c: c.root(binding=tied("a", destinations=(OTHER_DB,)))),
    ("wrong_environment", "another environment (C10)", lambda c: c.show(environment="staging")),
    ("wrong_environment", "an installation without one", lambda c: c.show(environment=None)),
    ("wrong_environment", "a parent of another", lambda c: c.root(environment="staging")),
    ("wrong_environment", "a grant without one", lambda c: c.root(environment=None).leaf(environment=None)),
    ("wrong_audience", "another decision point", lambda c: c.show(audience="dev.acme")),
    ("wrong_audience", "a prefix of it", lambda c: c.show(audience="prod")),
    ("binding_unknown", "a tie from the future", lambda c: c.leaf(binding=replace(c.chain[1].binding, unknown=("tpm",)))),
    ("binding_unknown", "one in the parent", lambda c: c.root(binding=replace(c.chain[0].binding, unknown=("tpm",)))),
    ("task_ended", "it has ended", lambda c: c.leaf(state=State.ENDED)),
    ("task_ended", "its parent has ended", lambda c: c.root(state=State.ENDED)),
    ("task_ended", "the very moment of its end (126)", lambda c: c.leaf(ends=c.now)),
    ("task_ended", "the very moment of its parent's end", lambda c: c.root(ends=c.now)),
    ("task_ended", "ended outranks suspended", lambda c: c.root(state=State.SUSPENDED).leaf(state=State.ENDED)),
    ("task_suspended", "it is suspended", lambda c: c.leaf(state=State.SUSPENDED)),
    ("task_suspended", "its parent is suspended", lambda c: c.root(state=State.SUSPENDED)),
    ("task_not_active", "it waits for approval", lambda c: c.leaf(state=State.PENDING_APPROVAL)),
    ("task_not_active", "its parent was only asked for", lambda c: c.root(state=State.REQUESTED)),
    ("grant_unreadable", "it never started", lambda c: c.root(started=None)),
    ("grant_unreadable", "it is of another task than its parent (71)", lambda c: c.leaf(task="x" * 24)),
    ("grant_unreadable", "it is of another kind", lambda c: c.leaf(kind="compile")),
    ("grant_unreadable", "it says that another opened it", lambda c: c.leaf(opener="spiffe://prod.acme/ci/other")),
    ("grant_unreadable", "it names another parent", lambda c: c.leaf(parent="x" * 24)),
    ("grant_unreadable", "it is no level below", lambda c: c.leaf(depth=0)),
    ("grant_unreadable", "the root has a parent", lambda c: c.root(parent="x" * 24)),
    ("grant_unreadable", "the root is a child", lambda c: replace(c, chain=c.chain[1:])),
    ("grant_outdated", "the kind is gone", lambda c: c.policy("invoicing", "billing")),
    ("grant_outdated", "its holder may not hold it any more", lambda c: c.policy("ns/billing/*", "ns/billing/api")),
    ("grant_outdated", "its parent's holder may not", lambda c: c.policy("ns/billing/*", "ns/billing/helper")),
    ("grant_outdated", "its opener may not open it", lambda c: c.policy("opened by spiffe://prod.acme/ci/**", "opened by spiffe://prod.acme/ci/other")),
    ("grant_outdated", "approval is needed now", lambda c: c.policy('Table in Database "ledger"\n  lasts    at most 15m', 'Table in Database "ledger"\n  approved by 1 of Team "leads"\n  lasts    at most 15m')),
    ("grant_outdated", "the holder set what is not claimed", lambda c: c.root(facts=(Fact("tenant", "victim", Source.HOLDER),))),
]  # fmt: skip


def test_the_case_that_the_rows_are_one_thing_away_from() -> None:
    case = success()
    found = case.redeem()
    task = found.task
    assert (task.kind, task.opener, task.holder, task.depth) == ("invoicing", CI, HELPER, 1)
    assert task.id == case.chain[0].task == case.chain[1].task
    assert task.parent == case.chain[0].id
    assert task.covers
    assert task.proof == {"key", "session", "process"}
    assert (task.started, task.ends) == (START, case.chain[0].ends)
    assert task.attributes == {"tenant": "acme"}
    assert found.chain == tuple(grant.id for grant in case.chain)
    assert found.consumes == ()


@pytest.mark.parametrize(("code", "change"), [pytest.param(c, r, id=f"{c}: {name}") for c, name, r in ROWS])
def test_a_grant_is_refused(code: str, change: Change) -> None:
    with pytest.raises(Refused) as refused:
        change(success()).redeem()
    assert refused.value.code == code
    assert REASONS[code].says in refused.value.message


def test_every_code_of_a_check_has_a_row() -> None:
    """The others are of the index, the store and `find_test`, `task_not_started` is the language's, `revoked` the engine's."""
    elsewhere = {
        "ambiguous_task",
        "grant_unknown",
        "grants_stale",
        "store_unavailable",
        "task_not_started",
        "grant_consumed",
        "revoked",
    }
    assert {code for code, r in REASONS.items() if "check" in r.where} - {code for code, _, _ in ROWS} == elsewhere


def test_failed_bindings_are_reuse_attempts() -> None:
    bindings = {c for c in REASONS if c.startswith("wrong_") and "check" in REASONS[c].where} | {
        "task_misheld",
        "proof_missing",
    }
    assert bindings <= BINDING_REASONS
    assert not BINDING_REASONS & {"task_ended", "task_suspended", "grant_outdated", "grant_unknown"}


def test_ends_is_the_first_of_the_chain() -> None:
    case = success()
    assert case.leaf(ends=START + 2 * MINUTE).redeem().task.ends == START + 2 * MINUTE
    assert case.leaf(ends=START + 60 * MINUTE).redeem().task.ends == case.chain[0].ends


@pytest.mark.parametrize("wide", [0, 1])
def test_every_grant_of_the_chain_is_evaluated_by_itself(wide: int) -> None:
    """A bug in the comparison of child and parent widens nothing."""
    world = World()
    root = world.open(permits=tables("invoices") if wide else tables("payments"))
    leaf = replace(world.delegate(root), scope=world.open().scope)
    found = redeem((root, leaf), world.shown(leaf), world.now, world.snapshot.world, "select", RESOURCE, ABOVE)
    assert found.task.covers is bool(wide)


def test_what_a_child_says_of_facts_is_not_asked() -> None:
    case = success().leaf(facts=(Fact("tenant", "victim", Source.OPENER),))
    assert case.redeem().task.attributes == {"tenant": "acme"}


@pytest.mark.parametrize(
    ("binding", "shown", "facts"),
    [
        (Bindings(certificate=thumbprint("c")), {"certificate": thumbprint("c")}, {"key"}),
        (tied("k"), {"key": thumbprint("k")}, {"key"}),
        (tied("k"), {"key": thumbprint("k"), "request": True}, {"key", "request"}),
        (Bindings(certificate=thumbprint("c")), {"certificate": thumbprint("c"), "request": True}, {"key"}),
        (tied("k"), {"key": thumbprint("k"), "session": "s", "process": "p"}, {"key"}),
        (tied("k", gates=(GATE,), session="s"), {"key": thumbprint("k"), "session": "s", "gate": GATE}, {"key", "session"}),
        (tied("k", process="p"), {"key": thumbprint("k"), "process": "p"}, {"key", "process"}),
    ],
)
def test_a_fact_is_proven_when_the_grant_is_tied_to_it_and_it_was_shown(
    binding: Bindings, shown: dict[str, Any], facts: set[str]
) -> None:
    world = World()
    root = world.open(binding=binding)
    seen = Shown(API, environment="prod", audience="prod.acme", **shown)
    assert redeem((root,), seen, world.now, world.snapshot.world, "select", RESOURCE, ABOVE).task.proof == facts


def test_a_chain_has_an_end() -> None:
    world = World()
    root = world.open()
    grants = {root.id: root}
    for level in range(1, DEPTH_MAX + 3):
        grants[f"g{level}"] = replace(root, id=f"g{level}", parent=f"g{level - 1}" if level > 1 else root.id, depth=level)
    index = replace(world.tasks.book.index, grants=grants)
    assert len(index.chain(f"g{DEPTH_MAX}")) == DEPTH_MAX + 1
    with pytest.raises(Refused) as refused:
        index.chain(f"g{DEPTH_MAX + 2}")
    assert refused.value.code == "grant_unreadable"


def test_a_chain_that_closes_on_itself_is_refused() -> None:
    world = World()
    root = world.open()
    loop = {"a": replace(root, id="a", parent="b", depth=1), "b": replace(root, id="b", parent="a", depth=1)}
    with pytest.raises(Refused) as refused:
        replace(world.tasks.book.index, grants=loop).chain("a")
    assert refused.value.code == "grant_unreadable"


def test_what_was_found_of_chains_keeps_no_world_of_before_alive() -> None:
    """A world holds all that the directory has. What is found in the next is found anew."""
    fits, worlds = Fits(), [World() for _ in range(3)]
    for world in worlds:
        chain = (world.open(),)
        assert fits.demand(chain, world.snapshot.world) == fits.demand(chain, world.snapshot.world) == chain[0].started
        assert world.snapshot.world in gc.get_referents(fits._of)
        assert len([each for each in gc.get_referents(fits._of) if isinstance(each, type(world.snapshot.world))]) == 1
