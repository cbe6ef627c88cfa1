"""Freeze, thaw, revoke, lift: what stops, what goes on, what never comes back; and that a plan says what the step does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from pdp.grants.grant import Bindings, EndReason, Grant
from pdp.grants.reasons import Refused
from pdp.grants.store import Change, Committed, Consume
from pdp.record import Kind
from pdp.service.giving import Opening
from tests.pdp.service.world import (
    API,
    CI,
    DEEP,
    GATE,
    GATE2,
    HELPER,
    MINUTE,
    OPS,
    POLICY,
    World,
    thumbprint,
    tied,
    workload,
)


def family(world: World) -> tuple[Grant, Grant, Grant, Grant]:
    """A root held by API, a child by HELPER, a grandchild by DEEP, and another task that HELPER holds."""
    root = world.open()
    child = world.delegate(root)
    grandchild = world.delegate(child, workload(HELPER, "helper"), holder=DEEP, binding=tied("deep"))
    return root, child, grandchild, world.open(holder=HELPER, binding=tied("own"))


def reasons(world: World, *grants: Grant) -> list[str]:
    return [world.check(grant).reason for grant in grants]


def test_a_freeze_holds_what_a_workload_has_and_all_below_and_nothing_else() -> None:
    world = World()
    root, child, grandchild, own = family(world)
    plan = world.tasks.would_stop(world.at, OPS, "workload", HELPER)
    mark = world.tasks.freeze(world.at, OPS, HELPER, "shell seen")
    assert (mark.freezes, mark.why, mark.actor) == (True, "shell seen", OPS.name)
    assert reasons(world, root, child, grandchild, own) == ["allowed", "task_suspended", "task_suspended", "task_suspended"]
    assert {grant.id for grant in plan} == {child.id, grandchild.id, own.id}
    step = next(step for step in world.recorder.steps if step.what == "freeze")
    assert (step.kind, step.id, step.reason) == (Kind.INCIDENT, HELPER, "shell seen")
    assert set(step.details["grants"]) == {child.id, own.id}
    assert ("workload", HELPER) in world.revoked.reasons


def test_a_thaw_lets_go_on_what_has_not_ended() -> None:
    world = World()
    _, child, grandchild, own = family(world)
    world.tasks.freeze(world.at, OPS, HELPER, "shell seen")
    world.tasks.end(world.at, workload(CI), own.id)
    world.tasks.thaw(world.at, OPS, HELPER, "it was a test")
    assert reasons(world, child, grandchild, own) == ["allowed", "allowed", "task_ended"]
    assert ("workload", HELPER) not in world.revoked.reasons
    assert world.open(holder=HELPER, binding=tied("new")).holder == HELPER


def test_a_thaw_gives_nothing_that_policy_would_not_give_now() -> None:
    world = World()
    _, child, grandchild, own = family(world)
    world.tasks.freeze(world.at, OPS, HELPER, "shell seen")
    world.set_policy(
        POLICY.replace("who      spiffe://prod.acme/ns/billing/*", "who      spiffe://prod.acme/ns/billing/api")
    )
    world.tasks.thaw(world.at, OPS, HELPER, "found")
    over = [world.tasks.book.index.find(grant.id) for grant in (child, grandchild, own)]
    assert [grant.ended for grant in over] == [EndReason.REVOKED] * 3


def test_a_thaw_lifts_the_freeze_and_not_what_else_holds_a_grant() -> None:
    world = World()
    grant = world.open()
    world.tasks.suspend(world.at, workload(CI), grant.id, "look first")
    world.tasks.freeze(world.at, OPS, API, "shell seen")
    assert world.tasks.book.index.find(grant.id).holds == ("freeze", "opener")
    world.tasks.thaw(world.at, OPS, API, "found")
    assert world.check(grant).reason == "task_suspended"
    world.tasks.resume(world.at, workload(CI), grant.id)
    assert world.check(grant).allowed


def test_a_freeze_holds_time_back_for_nobody() -> None:
    world = World()
    grant = world.open(lasting=MINUTE)
    world.tasks.freeze(world.at, OPS, API, "shell seen")
    world.now += MINUTE
    world.tasks.thaw(world.at, OPS, API, "found")
    assert world.tasks.book.index.find(grant.id).is_over
    assert world.check(grant).reason == "task_ended"


def test_a_freeze_of_nothing_refuses_what_comes() -> None:
    world = World()
    world.tasks.freeze(world.at, OPS, API, "shell seen")
    assert world.refused(world.open) == "workload_frozen"


def test_a_freeze_twice_is_one_freeze() -> None:
    world = World()
    grant = world.open()
    world.tasks.freeze(world.at, OPS, API, "shell seen")
    world.tasks.freeze(world.at, OPS, API, "and again")
    assert world.tasks.book.index.find(grant.id).holds == ("freeze",)
    world.tasks.thaw(world.at, OPS, API, "found")
    assert world.check(grant).allowed


CERTIFICATE = thumbprint("leaf")


@pytest.mark.parametrize(
    ("noun", "name", "stops"),
    [
        ("grant", "", {"root", "child", "grandchild"}),
        ("task", "", {"root", "child", "grandchild"}),
        ("workload", HELPER, {"child", "grandchild", "own"}),
        ("workload", DEEP, {"grandchild"}),
        ("certificate", CERTIFICATE, {"tied"}),
        ("gate", GATE, {"gated"}),
        ("gate", GATE2, set()),
        ("trust_domain", "prod.acme", {"root", "child", "grandchild", "own", "tied", "gated", "gates"}),
        ("trust_domain", "dev.acme", set()),
        ("opener", CI, {"root", "child", "grandchild", "own", "tied", "gated", "gates"}),
    ],
)
def test_a_revocation_ends_what_stands_on_its_noun(noun: str, name: str, stops: set[str]) -> None:
    world = World()
    root, child, grandchild, own = family(world)
    grants = {
        "root": root,
        "child": child,
        "grandchild": grandchild,
        "own": own,
        "tied": world.open(binding=Bindings(certificate=CERTIFICATE)),
        "gated": world.open(binding=tied("g", gates=(GATE,))),
        "gates": world.open(binding=tied("g2", gates=(GATE, GATE2))),
    }
    named = {"grant": root.id, "task": root.task}.get(noun, name)
    plan = world.tasks.would_stop(world.at, OPS, noun, named)
    before = world.store.changes(0, "").records
    assert {key for key, grant in grants.items() if grant.id in {each.id for each in plan}} == stops
    assert world.store.changes(0, "").records == before  # a plan changes nothing
    over = world.tasks.revoke(world.at, OPS, noun, named, "stolen")
    assert {each.id for each in over} == {each.id for each in plan}
    assert all((each.ended, each.why) == (EndReason.REVOKED, "stolen") for each in over)
    for key, grant in grants.items():
        assert world.tasks.book.index.find(grant.id).is_over is (key in stops)
    assert len({step.id for step in world.recorder.steps if step.what == "ended"}) == len(stops)


def test_a_lifted_revocation_revives_nothing() -> None:
    world = World()
    grant = world.open()
    world.tasks.revoke(world.at, OPS, "workload", API, "stolen")
    assert world.refused(world.open) == "revoked"
    world.tasks.lift(world.at, OPS, "workload", API, "new image")
    assert world.check(grant).reason == "task_ended"
    assert world.check(world.open(binding=tied("new"))).allowed
    assert "workload" not in {noun for noun, _ in world.revoked.reasons}


def test_an_incident_is_known_after_a_restart() -> None:
    world = World()
    grant = world.open()
    world.tasks.freeze(world.at, OPS, API, "shell seen")
    world.tasks.revoke(world.at, OPS, "certificate", CERTIFICATE, "stolen")
    fresh = World(store=world.store)
    assert fresh.refused(fresh.open) == "workload_frozen"
    assert fresh.check(grant).reason == "task_suspended"
    assert set(fresh.revoked.reasons) == {("workload", API), ("credential", CERTIFICATE)}


def test_a_freeze_and_an_opening_at_once_have_one_order() -> None:
    """Another process freezes between the reading and the writing of this one: the commit sees it."""
    world = World()
    other = World(store=world.store)
    asked = Opening("invoicing", API, {"tenant": "acme"}, binding=tied("api"))
    moment = world.at
    commit = world.store.commit
    frozen = []

    def late(changes: object) -> object:
        if not frozen:
            frozen.append(True)
            world.store.commit = commit  # type: ignore[method-assign]
            other.tasks.freeze(other.at, OPS, API, "shell seen")
        return commit(changes)  # type: ignore[arg-type]

    world.store.commit = late  # type: ignore[method-assign,assignment]
    with pytest.raises(Refused, match="workload_frozen"):
        world.tasks.open(moment, workload(CI), asked)
    assert world.tasks.book.index.held_by(API) == ()


def test_a_child_and_the_end_of_its_parent_at_once_have_one_order() -> None:
    world = World()
    root = world.open()
    other = World(store=world.store)
    commit = world.store.commit
    ended = []

    def late(changes: object) -> object:
        if not ended:
            ended.append(True)
            world.store.commit = commit  # type: ignore[method-assign]
            other.tasks.end(other.at, workload(CI), root.id)
        return commit(changes)  # type: ignore[arg-type]

    world.store.commit = late  # type: ignore[method-assign,assignment]
    with pytest.raises(Refused, match="task_ended"):
        world.delegate(root)
    assert world.tasks.book.index.below(root.id) == ()


def test_a_task_that_ended_leaves_the_engines_list_when_its_time_is_over() -> None:
    world = World()
    grant = world.open(lasting=MINUTE)
    world.tasks.end(world.at, workload(CI), grant.id)
    assert list(world.revoked.reasons) == [("task", grant.task)]
    world.now += MINUTE - 1
    world.tasks.expire(world.at)
    assert list(world.revoked.reasons) == [("task", grant.task)]
    world.now += 1
    world.tasks.expire(world.at)
    assert list(world.revoked.reasons) == []


def test_what_cannot_be_recorded_is_not_acknowledged() -> None:
    """What it gave ends, what it ended stays ended."""
    world = World()
    kept = world.open()
    world.recorder.full = True
    assert world.refused(world.open) == "not_recorded"
    assert [grant.id for grant in world.tasks.book.index.living()] == [kept.id]
    assert world.refused(lambda: world.tasks.end(world.at, workload(CI), kept.id)) == "not_recorded"
    assert world.check(kept).reason == "task_ended"


def test_a_workload_sees_what_it_holds_and_others_see_nothing() -> None:
    world = World()
    root, child, grandchild, own = family(world)
    assert [grant.id for grant in world.tasks.held(world.at, workload(HELPER), HELPER)] == [child.id, own.id]
    assert world.tasks.get(world.at, workload(API), child.id) == child  # the holder above
    assert world.tasks.get(world.at, workload(CI), child.id) == child  # the opener
    for stranger in (workload("spiffe://prod.acme/ns/web/front"), workload(DEEP)):
        with pytest.raises(Refused, match="grant_unknown"):
            world.tasks.get(world.at, stranger, own.id)
    with pytest.raises(Refused, match="not_operator"):
        world.tasks.held(world.at, workload(API), HELPER)
    assert [grant.id for grant in world.tasks.list(world.at, workload(HELPER))] == [child.id, grandchild.id, own.id]
    everything = world.tasks.list(world.at, OPS, task=root.task)
    assert len(everything) == 3
    with pytest.raises(Refused, match="task_ended"):
        world.tasks.get(world.at, OPS, _buried(world))


def test_a_watcher_hears_of_what_concerns_it_and_an_operator_of_everything() -> None:
    world = World()
    root, _, grandchild, own = family(world)
    since, life = world.store.revision, world.store.incarnation
    world.tasks.end(world.at, workload(CI), own.id)
    world.tasks.freeze(world.at, OPS, DEEP, "shell seen")
    world.tasks.end(world.at, workload(CI), root.id)
    heard = world.tasks.watch(world.at, workload(DEEP), since, life)
    assert {record.id for record in heard.records if isinstance(record, Grant)} == {grandchild.id}
    everything = world.tasks.watch(world.at, OPS, since, life)
    assert len(everything.records) == 5  # four grants and a mark
    assert heard.revision == everything.revision == world.store.revision
    assert world.tasks.watch(world.at, OPS, heard.revision, life).records == ()
    assert world.tasks.watch(world.at, OPS, heard.revision, "another").whole


def _buried(world: World) -> str:
    world.tasks.revoke(world.at, OPS, "grant", "x" * 24, "early")
    return "x" * 24


def test_a_revoked_task_that_nobody_knows_is_never_opened() -> None:
    world = World()
    world.tasks.revoke(world.at, OPS, "task", "t" * 24, "early")
    ids = iter(["g" * 24, "t" * 24])
    moment = replace(world.at, new_id=lambda: next(ids))
    ask = Opening("invoicing", API, {"tenant": "acme"}, binding=tied("api"))
    assert world.refused(lambda: world.tasks.open(moment, workload(CI), ask)) == "revoked"


MARKED_OPS = replace(OPS, certificates=frozenset({thumbprint("laptop")}))
OTHER_OPS = replace(OPS, workload="spiffe://prod.acme/ops/other")


@pytest.mark.parametrize(
    ("noun", "name"),
    [("workload", OPS.workload), ("certificate", thumbprint("laptop")), ("trust_domain", "prod.acme")],
)
def test_an_operator_who_is_marked_takes_no_step_of_an_incident(noun: str, name: str) -> None:
    world = World()
    grant = world.open()
    world.tasks.freeze(world.at, OPS, API, "shell seen")
    world.tasks.revoke(world.at, OPS, "gate", GATE, "stolen")
    world.tasks.revoke(world.at, OTHER_OPS, noun, name, "stolen laptop")
    tasks, at, why = world.tasks, world.at, "it was nothing"
    assert world.refused(lambda: tasks.thaw(at, MARKED_OPS, API, why)) == "revoked"
    assert world.refused(lambda: tasks.freeze(at, MARKED_OPS, HELPER, why)) == "revoked"
    assert world.refused(lambda: tasks.revoke(at, MARKED_OPS, "workload", HELPER, why)) == "revoked"
    assert world.refused(lambda: tasks.lift(at, MARKED_OPS, "gate", GATE, why)) == "revoked"
    assert world.refused(lambda: tasks.lift(at, MARKED_OPS, noun, name, why)) == "revoked"
    assert world.tasks.book.index.find(grant.id).is_over is (noun == "trust_domain")


def test_an_operator_can_freeze_or_revoke_itself_and_not_take_it_back() -> None:
    world = World()
    assert OPS.workload is not None
    world.tasks.freeze(world.at, OPS, OPS.workload, "my laptop is gone")
    assert world.refused(lambda: world.tasks.thaw(world.at, OPS, str(OPS.workload), "found")) == "workload_frozen"
    world.tasks.thaw(world.at, OTHER_OPS, OPS.workload, "found")
    world.tasks.revoke(world.at, OPS, "workload", OPS.workload, "sold")
    assert world.refused(lambda: world.tasks.lift(world.at, OPS, "workload", str(OPS.workload), "back")) == "revoked"


def test_what_an_operator_holds_back_stays_so_when_the_operator_is_marked() -> None:
    world = World()
    grant = world.open()
    world.tasks.suspend(world.at, OPS, grant.id, "look first")
    world.tasks.suspend(world.at, workload(CI), grant.id, "as well")
    world.tasks.revoke(world.at, OTHER_OPS, "workload", str(OPS.workload), "stolen laptop")
    assert world.refused(lambda: world.tasks.resume(world.at, OPS, grant.id)) == "revoked"


def in_between(world: World, step: Callable[[World], object]) -> None:
    """Another process over the same store takes a step between the next reading and its writing."""
    other, commit, waiting = World(store=world.store), world.store.commit, [step]

    def late(changes: Sequence[Change]) -> Committed:
        if waiting:
            waiting.pop()(other)
        return commit(changes)

    world.store.commit = late  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("noun", "name"),
    [("workload", API), ("opener", CI), ("trust_domain", "prod.acme"), ("certificate", CERTIFICATE), ("gate", GATE)],
)
@pytest.mark.parametrize("before", [0, 1])
def test_a_revocation_and_an_opening_at_once_have_one_order(noun: str, name: str, before: int) -> None:
    world = World()
    binding = tied("api", certificate=CERTIFICATE, gates=(GATE,))
    for _ in range(before):
        world.open(binding=binding)
    in_between(world, lambda other: other.open(binding=binding))
    assert len(world.tasks.revoke(world.at, OPS, noun, name, "stolen")) == before + 1
    assert list(world.tasks.book.index.living()) == []


def test_a_freeze_and_an_opening_before_it_have_one_order() -> None:
    world = World()
    in_between(world, lambda other: other.open())
    world.tasks.freeze(world.at, OPS, API, "shell seen")
    assert [grant.holds for grant in world.tasks.book.index.held_by(API)] == [("freeze",)]


def test_an_end_and_a_delegation_before_it_have_one_order() -> None:
    world = World()
    root = world.open()
    in_between(world, lambda other: other.delegate(root))
    world.tasks.end(world.at, workload(CI), root.id)
    assert [grant.is_over for grant in world.tasks.book.index.below(root.id)] == [True]


def test_a_renewal_and_a_delegation_before_it_have_one_order() -> None:
    world = World()
    root = world.open()
    in_between(world, lambda other: other.delegate(root))
    assert world.refused(lambda: world.tasks.renew(world.at, workload(API, "api", "helper"), root.id, tied("helper"))) == (
        "child_key_known"
    )


def test_what_is_used_meanwhile_does_not_make_an_end_wait() -> None:
    world = World()
    root = world.open()
    in_between(world, lambda other: other.store.commit([Consume("x", "of no grant")]))
    world.tasks.end(world.at, workload(CI), root.id)
    assert world.tasks.book.index.revision == world.store.revision == root.revision + 2


def test_a_thaw_tells_of_nothing_resumed_that_it_ended() -> None:
    """A parent that would not be given now ends with its child, which alone would have gone on."""
    world = World()
    root = world.open()
    child = world.delegate(root, holder=API, binding=tied("own"), lasting=MINUTE)
    world.tasks.freeze(world.at, OPS, API, "shell seen")
    world.set_policy(POLICY.replace("lasts    at most 15m", "lasts    at most 2m"))
    before = len(world.recorder.steps)
    world.tasks.thaw(world.at, OPS, API, "found")
    told = [(step.what, step.id) for step in world.recorder.steps[before:]]
    assert told == [("thaw", API), ("ended", root.id), ("ended", child.id)]
    assert world.state(child) == "ended"
