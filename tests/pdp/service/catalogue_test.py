"""Rows of the fault catalogue (`reliability.md`, sections C and G) as far as grants go, and the proofs of `identity.md` 4, by number."""

# ruff: noqa: E501  # policies and rows are read a line
from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from language import EntityData, RequestData
from pdp.grants.approval import agreement
from pdp.grants.grant import DEPTH_MAX, Bindings, EndReason, State, Tombstone
from pdp.grants.reasons import Refused
from pdp.grants.requestable import requestable
from pdp.grants.store import Absorbed, Put
from pdp.record import BINDING_REASONS, Kind, SuspendAfter
from pdp.service.approving import Yes
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
    SHELL,
    World,
    below,
    person,
    tables,
    thumbprint,
    tied,
    workload,
)

SHIP = ("ship", ("Service", "shop"))


def together(*steps: Callable[[], Any]) -> list[Any]:
    """The steps at once, in threads of their own; what each returned, or the code of its refusal."""
    found: list[Any] = [None] * len(steps)
    gate = threading.Barrier(len(steps))

    def run(number: int) -> None:
        gate.wait()
        try:
            found[number] = steps[number]()
        except Refused as refused:
            found[number] = refused.code

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(steps))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


# ---- catalogue, section C


def test_71_a_grant_says_of_which_task_it_is_and_nobody_else_does() -> None:
    """The task of a check is the grant's own; there is no other place from which it could come."""
    world = World()
    one, two = world.open(), world.open()
    told = RequestData("select", EntityData("Table", "invoices"), workload=API)
    found = world.tasks.redeem(one.id, world.shown(one), told, world.now, world.snapshot.world)
    assert found.task.id == one.task != two.task


def test_72_a_chain_is_bounded_when_it_is_made_and_when_it_is_read() -> None:
    world = World()
    grant = world.open(binding=tied("0"))
    for level in range(1, world.rules.deeper + 1):
        grant = world.delegate(grant, workload(API, str(level - 1)), holder=API, binding=tied(str(level)))
    assert grant.depth == world.rules.deeper <= DEPTH_MAX
    assert world.check(grant).allowed
    last = workload(API, str(world.rules.deeper))
    assert world.refused(lambda: world.delegate(grant, last, holder=API, binding=tied("x"))) == "delegation_too_deep"


# ---- catalogue, section G


def test_126_the_moment_of_the_end_is_over() -> None:
    world = World()
    grant = world.open(lasting=MINUTE)
    world.now = grant.ends - 1
    world.tasks.confirm(world.now)
    decision = world.check(grant)
    assert decision.allowed
    assert decision.valid_until_us == grant.ends
    world.now = grant.ends
    world.tasks.confirm(world.now)
    assert world.check(grant).reason == "task_ended"
    assert world.refused(lambda: world.delegate(grant)) == "task_ended"


@pytest.mark.parametrize("lasting", [2**63, -1, 0, 1.5, "15m", True, float("nan")])
def test_127_times_are_numbers_in_range(lasting: Any) -> None:
    world = World()
    assert world.refused(lambda: world.open(lasting=lasting)) in ("lasting_malformed", "lasting_too_long")


def test_129_a_caller_says_nothing_of_the_time() -> None:
    """`now` is in the `Moment`, which the server makes; nothing that a caller asks with has one."""
    asked = {name for kind in (Opening, Yes, Bindings) for name in kind.__dataclass_fields__}
    assert not asked & {"now", "at", "started", "ends", "created"}


def test_130_an_end_that_nobody_told_comes_by_time_and_is_written_down() -> None:
    world = World()
    grant = world.open(lasting=MINUTE)
    child = world.delegate(grant)
    world.now = grant.ends
    world.tasks.confirm(world.now)
    assert world.check(child).reason == "task_ended"
    assert world.tasks.expire(world.at) == 2
    assert world.tasks.book.index.find(child.id).ended is EndReason.EXPIRED
    assert world.tasks.expire(world.at) == 0
    assert [step.what for step in world.recorder.steps[-2:]] == ["ended", "ended"]


def test_131_a_single_use_is_used_once_though_two_replicas_are_asked_at_once() -> None:
    world = World()
    grant = world.open(uses=1)
    other = World(store=world.store)
    results = together(lambda: world.check(grant).reason, lambda: other.check(grant).reason)
    assert sorted(results) == ["allowed", "grant_consumed"]
    assert world.check(grant).reason == "grant_consumed"


def test_131_a_child_takes_the_uses_of_its_parent() -> None:
    world = World()
    root = world.open(uses=2)
    child = world.delegate(root, uses=2)
    assert [world.check(g).reason for g in (child, root, child)] == ["allowed", "allowed", "grant_consumed"]


def test_131_a_denial_consumes_nothing() -> None:
    world = World()
    grant = world.open(uses=1)
    assert not world.check(grant, resource=("Table", "victim")).allowed
    assert world.check(grant).allowed


def test_132_a_renewal_widens_nothing_and_the_parent_is_asked_again() -> None:
    world = World()
    root = world.open(permits=tables("invoices"), binding=tied("api", gates=(GATE,)))
    renewed = world.tasks.renew(world.at, workload(API, "api", "new"), root.id, tied("new", gates=(GATE,)))
    assert replace(renewed, binding=root.binding, revision=root.revision) == root
    wide = workload(API, "new", "newer")
    assert (
        world.refused(lambda: world.tasks.renew(world.at, wide, root.id, tied("newer", gates=(GATE, GATE2))))
        == "renewal_too_wide"
    )


def test_133_a_revocation_that_comes_before_its_grant_wins() -> None:
    world = World()
    late = world.new_id()
    world.tasks.revoke(world.at, OPS, "grant", late, "stolen")
    moment = replace(world.at, new_id=lambda: late)
    assert (
        world.refused(lambda: world.tasks.open(moment, workload(CI), Opening("invoicing", API, {"tenant": "a"})))
        == "id_taken"
    )
    with pytest.raises(Absorbed):
        world.store.commit([Put(replace(world.open(), id=late), 0)])


def test_133_records_out_of_order_make_the_same_index() -> None:
    world = World()
    grant = world.open()
    over = world.tasks.end(world.at, workload(CI), grant.id)
    empty = type(world.tasks.book.index)("i")
    for records in ([grant, over], [over, grant], [over, grant, over, grant]):
        index = empty
        for record in records:
            index = index.taking([record], record.revision)
        assert index.find(grant.id).is_over
        assert index.held_by(API) == ()


def test_133_a_late_record_of_a_spent_id_is_left_out() -> None:
    world = World()
    grant = world.open()
    spent = Tombstone(grant.id, world.now, grant.revision + 1)
    late = replace(grant, revision=grant.revision + 2)
    empty = type(world.tasks.book.index)("i")
    for records in ([spent, late], [late, spent], [grant, spent, late]):
        index = empty
        for record in records:
            index = index.taking([record], record.revision)
        with pytest.raises(Refused, match="task_ended"):
            index.chain(grant.id)
        assert index.held_by(API) == ()


def test_134_what_was_not_confirmed_for_long_is_not_relied_on() -> None:
    """A machine that slept wakes up with an old index: it denies until the store has been read."""
    world = World()
    grant = world.open(lasting=10 * MINUTE)
    world.now += world.rules.freshness_us - 1
    assert world.check(grant).allowed
    world.now += 1
    assert world.check(grant).reason == "grants_stale"
    world.tasks.confirm(world.now)
    assert world.check(grant).allowed
    world.now -= world.rules.freshness_us + 1  # the clock was set back
    assert world.check(grant).reason == "grants_stale"


# ---- proofs


ACTIONS = st.sampled_from(["select", "update", "ship", "build"])
TABLES = st.sampled_from(["invoices", "payments", "foreign", "victim", "nowhere"])


@settings(max_examples=60, deadline=None)
@given(ACTIONS, TABLES, st.sets(TABLES.filter(lambda name: name in ("invoices", "payments", "victim")), min_size=1))
def test_c3_nothing_outside_the_details_of_a_grant_is_allowed(action: str, table: str, granted: set[str]) -> None:
    world = World()
    grant = world.open(permits=tables(*sorted(granted)))
    resource = ("Service", "shop") if action in ("ship", "build") else ("Table", table)
    allowed = world.check(grant, action, resource, request=True).allowed
    assert allowed is (action == "select" and table in granted and table != "victim")


def test_c5_the_end_of_a_task_is_effective_on_the_very_next_check_with_the_clock_frozen() -> None:
    """The same certificate, the same key, a fresh proof: the credentials are as good as before, and it is over."""
    world = World()
    replicas = [World(store=world.store) for _ in range(3)]
    root = world.open(binding=tied("api"))
    child = world.delegate(root)
    for replica in replicas:
        replica.tasks.confirm(replica.now)
        assert replica.check(child).allowed
    world.tasks.end(world.at, workload(CI), root.id, "done")
    assert world.check(child).reason == world.check(root).reason == "task_ended"
    for replica in replicas:
        replica.tasks.confirm(replica.now)  # the feed, which a replica reads within its freshness bound
        assert replica.check(child).reason == "task_ended"
    assert [("task", root.task)] == list(world.revoked.reasons)


def test_c5_a_replica_that_does_not_hear_of_an_end_denies_after_its_bound() -> None:
    world, replica = World(), World()
    replica = World(store=world.store)
    grant = world.open()
    replica.tasks.confirm(replica.now)
    world.tasks.end(world.at, workload(CI), grant.id)
    replica.now += replica.rules.freshness_us
    assert replica.check(grant).reason == "grants_stale"


def test_c4_a_grant_that_was_good_is_held_against_the_policy_of_now() -> None:
    """The same check before and after; nothing that was worked out for the old policy is used."""
    world = World()
    child = world.delegate(world.open())
    assert world.check(child).allowed
    names = "who      spiffe://prod.acme/ns/billing/*"
    world.set_policy(POLICY.replace(names, "who      spiffe://prod.acme/ns/billing/helper"))
    assert world.check(child).reason == "grant_outdated"  # its parent's holder may not hold it any more
    world.set_policy(POLICY)
    assert world.check(child).allowed


def test_c8_a_handle_and_an_identity_without_the_key_are_of_no_use() -> None:
    world = World()
    for binding in (tied("api"), Bindings(certificate=thumbprint("leaf"))):
        grant = world.open(binding=binding)
        assert world.check(grant).allowed
        assert world.check(grant, key=None, certificate=None).reason == "proof_missing"
        stolen = thumbprint("other host")
        assert world.check(grant, key=stolen, certificate=stolen).reason == "wrong_key"


def test_c10_a_grant_of_staging_is_refused_in_production_though_they_share_keys_and_store() -> None:
    staging = World(environment="staging")
    grant = staging.open()
    production = World(store=staging.store, environment="prod")
    shown = staging.shown(grant, environment="prod")
    assert production.check(grant, shown=shown).reason == "wrong_environment"
    assert staging.check(grant).allowed


def test_c11_a_helper_gets_no_more_than_its_caller_holds() -> None:
    """The helper may read whatever is of tenant `open`, by itself; in the caller's task it may read what the caller may."""
    world = World()
    world.directory.upsert([EntityData("Table", "wide", {"tenant": "open"}, (("Schema", "private"),))])
    root = world.open(permits=tables("invoices"))
    child = world.delegate(root)
    own = world.open(holder=HELPER, binding=tied("own"))
    assert world.check(child).allowed
    assert not world.check(child, resource=("Table", "payments")).allowed
    assert world.check(own, resource=("Table", "payments")).allowed
    # its own grant is of another task, and nothing of the caller's task can be made from it
    assert own.task != root.task
    assert world.refused(lambda: world.delegate(root, workload(HELPER, "own"))) == "wrong_holder"
    assert world.check(root, workload=HELPER, key=thumbprint("own")).reason == "task_misheld"


def test_c12_what_a_grant_does_not_list_is_denied_and_what_does_not_exist_too() -> None:
    world = World()
    grant = world.open(permits=tables("invoices"))
    assert world.check(grant, "update", request=True).reason == "default_deny"
    assert world.check(grant, "drop").reason == "unknown_action"
    assert world.check(grant, "ship", ("Service", "shop")).reason == "default_deny"


def test_c13_requested_approved_evaluated_again() -> None:
    world = World()
    grant = world.release()
    assert world.check(grant, *SHIP).reason == "task_not_active"
    world.approve(grant, "ada")
    assert world.check(grant, *SHIP).reason == "task_not_active"
    world.now += MINUTE
    given = world.approve(grant, "bob")
    assert given.state is State.ACTIVE
    assert (given.started, given.ends) == (world.now, world.now + given.lasting)
    assert world.check(given, *SHIP).allowed
    assert world.recorder.steps[-1].approvers == ("User ada", "User bob")


def test_c13_a_denial_that_could_be_asked_for_is_asked_for_taken_up_approved_and_evaluated_again() -> None:
    world = World()
    told = RequestData("ship", EntityData("Service", "shop"), workload=API)
    denied = world.decider.decide_once(world.snapshot, told, None, world.now)
    assert denied.reason == "default_deny"
    (found,) = requestable(world.snapshot.world, told)
    assert (found.kind, found.holder_opens) == ("release", False)
    ask = Opening(found.kind, API, binding=tied("api"))
    asked = world.tasks.request(world.at, workload(API, "api"), ask, CI)
    waiting = world.tasks.take_up(world.at, workload(CI), asked.id)
    assert waiting.state is State.PENDING_APPROVAL
    world.approve(waiting, "ada")
    assert world.check(world.approve(waiting, "bob"), *SHIP).allowed
    assert [step.what for step in world.recorder.steps] == ["requested", "opened", "approved", "approved"]


@pytest.mark.parametrize(
    "member",
    [
        {"holder": HELPER},
        {"kind": "compile"},
        {"scope": None},
        {"facts": None},
        {"binding": tied("stolen")},
        {"lasting": 14 * MINUTE},
        {"uses": 5},
        {"deeper": 1},
        {"requester": SHELL},
        {"people": (("User", "max"),)},
        {"environment": "staging"},
        {"audience": "dev.acme"},
        {"task": "x" * 24},
        {"id": "y" * 24},
        {"parent": "z" * 24},
        {"depth": 1},
        {"opener": "spiffe://prod.acme/ci/other"},
        {"required": None},
    ],
    ids=lambda member: next(iter(member)),
)
def test_c13_a_yes_is_to_every_member(member: dict[str, Any]) -> None:
    """What was approved and then changed, by whatever hand, is not what was approved."""
    from pdp.grants.grant import Fact, Source

    world = World()
    grant = world.release()
    name, value = next(iter(member.items()))
    if name == "scope":
        value = world.open().scope
    if name == "facts":
        value = (Fact("tenant", "victim", Source.OPENER),)
    assert agreement(replace(grant, **{name: value})) != agreement(grant)


def test_c13_no_member_of_a_grant_is_forgotten_by_the_agreement() -> None:
    """A new field is agreed to, or stands among those that say nothing of what a grant is good for."""
    from pdp.grants.approval import _NOT_AGREED
    from pdp.grants.document import tell_grant

    assert tell_grant(World().release()).keys() - _NOT_AGREED == {
        "id", "task", "parent", "depth", "kind", "holder", "opener", "requester", "facts", "scope", "environment", "audience",
        "binding", "lasting", "people", "deeper", "uses", "required",
    }  # fmt: skip


def test_c13_a_scope_altered_after_approval_is_not_given() -> None:
    world = World()
    grant = world.release()
    world.approve(grant, "ada")
    there = world.tasks.book.index.find(grant.id)
    wide = replace(there, lasting=15 * MINUTE)
    world.store.commit([Put(wide, there.revision)])  # a hand in the store
    assert world.refused(lambda: world.approve(grant, "bob")) == "agreement_changed"  # to what bob was shown
    world.tasks.confirm(world.now)
    found = world.approve(grant, "bob")
    assert found.state is State.PENDING_APPROVAL  # ada said yes to something else


def test_c13_an_approval_is_consumed_once_though_two_replicas_take_it_at_once() -> None:
    world = World()
    grant = world.release()
    world.approve(grant, "ada")
    replicas = [World(store=world.store), World(store=world.store)]
    yes = Yes(grant.id, agreement(grant))
    results = together(
        lambda: replicas[0].tasks.approve(replicas[0].at, person("bob"), yes).state.value,
        lambda: replicas[1].tasks.approve(replicas[1].at, person("eve"), yes).state.value,
    )
    assert sorted(results) == ["active", "not_pending"]


def test_c13_a_consumed_approval_is_refused_by_the_store() -> None:
    from pdp.grants.store import Consume

    world = World()
    grant = world.release()
    world.approve(grant, "ada")
    for approval in world.tasks.book.index.find(grant.id).approvals:
        world.store.commit([Consume(f"approval {approval.id}", grant.id)])
    assert world.refused(lambda: world.approve(grant, "bob")) == "approval_consumed"
    assert world.state(grant) == "pending_approval"


def test_c13_an_approval_that_ended_does_not_count() -> None:
    world = World()
    grant = world.release()
    world.approve(grant, "ada", lasting=MINUTE)
    world.now += MINUTE
    assert world.approve(grant, "bob").state is State.PENDING_APPROVAL
    assert world.approve(grant, "ada").state is State.ACTIVE


def test_c13_an_approver_who_left_the_team_does_not_count() -> None:
    world = World()
    grant = world.release()
    world.approve(grant, "ada")
    world.directory.upsert([EntityData("User", "ada", {}, ())])
    assert world.approve(grant, "bob").state is State.PENDING_APPROVAL
    assert world.approve(grant, "eve").state is State.ACTIVE
    assert {approval.approver[1] for approval in world.tasks.book.index.find(grant.id).approvals} == {"bob", "eve"}


def test_c13_nobody_in_the_chain_approves_a_child() -> None:
    """Who asked for the parent asked, in effect, for what was made from it."""
    world = World()
    asking = workload(CI, person=("User", "ada"))
    root = world.tasks.open(world.at, asking, Opening("release", API, binding=tied("api")))
    world.approve(root, "bob")
    world.approve(root, "eve")
    child = world.delegate(root)
    assert child.state is State.PENDING_APPROVAL
    assert world.refused(lambda: world.approve(child, "ada")) == "self_approval"
    yes = Yes(child.id, agreement(child))
    for holder in (HELPER, API, CI):
        through = person("bob", through=holder)
        assert world.refused(lambda t=through: world.tasks.approve(world.at, t, yes)) == "self_approval"  # type: ignore[misc]
    world.approve(child, "bob")
    assert world.approve(child, "eve").state is State.ACTIVE
    assert world.check(child, *SHIP).allowed


def test_c13_a_child_that_was_approved_late_ends_with_its_parent() -> None:
    world = World()
    root = world.release()
    world.approve(root, "ada")
    root = world.approve(root, "bob")
    child = world.delegate(root)
    world.approve(child, "ada")
    world.now += MINUTE
    child = world.approve(child, "bob")
    assert (child.started, child.ends) == (root.started, root.ends)


@pytest.mark.parametrize("step", ["end", "suspend", "expire"])
def test_c13_a_child_is_not_approved_when_what_is_above_it_stopped(step: str) -> None:
    world = World()
    root = world.release()
    world.approve(root, "ada")
    root = world.approve(root, "bob")
    child = world.delegate(root)
    world.approve(child, "ada")
    if step == "end":
        world.tasks.end(world.at, workload(CI), root.id)
    elif step == "suspend":
        world.tasks.suspend(world.at, workload(CI), root.id, "wait")
    else:
        world.now = root.ends
    code = "task_suspended" if step == "suspend" else "task_ended"
    assert world.refused(lambda: world.approve(child, "bob")) == code


def test_c13_the_name_of_an_approval_is_no_bearer_right() -> None:
    world = World()
    grant = world.release()
    found = world.approve(grant, "ada")
    other = world.release()
    with pytest.raises(Refused, match="grant_unknown"):
        world.tasks.redeem(found.approvals[0].id, world.shown(grant), *_asked(world))
    assert world.tasks.book.index.find(other.id).approvals == ()


def _asked(world: World) -> tuple[RequestData, int, Any]:
    return RequestData("ship", EntityData("Service", "shop"), workload=API), world.now, world.snapshot.world


def test_c14_build_and_release_do_not_inherit_from_each_other() -> None:
    world = World()
    build = world.open(kind="compile", facts={}, binding=tied("b"))
    assert world.check(build, "build", ("Service", "shop")).allowed
    assert not world.check(build, *SHIP).allowed
    child = world.delegate(build, workload(API, "b"))
    assert not world.check(child, *SHIP).allowed
    wide = below("Service", "shop", ("ship",))
    assert (
        world.refused(lambda: world.delegate(build, workload(API, "b"), holder=DEEP, binding=tied("d"), permits=wide))
        == "scope_malformed"
    )


def test_c24_failed_bindings_in_a_while_suspend_the_grant_and_its_holder_is_told_so() -> None:
    world = World(suspend_after=SuspendAfter(3, MINUTE))
    grant = world.open(lasting=10 * MINUTE)
    codes = []
    for _ in range(3):
        assert world.check(grant).allowed
        codes.append(world.check(grant, key=thumbprint("stolen")).reason)
        world.now += 1
        suspended = world.tasks.note_reuse(world.at, grant.id, codes[-1])
    assert codes == ["wrong_key"] * 3
    assert set(codes) <= BINDING_REASONS
    assert suspended
    assert world.check(grant).reason == "task_suspended"
    assert world.recorder.steps[-1].reason == "reuse"
    world.tasks.resume(world.at, workload(CI), grant.id)
    assert world.check(grant).allowed


def test_c24_a_holder_that_opened_its_own_task_does_not_lift_what_its_failed_bindings_brought_about() -> None:
    world = World(suspend_after=SuspendAfter(1, MINUTE))
    own = world.open(workload(API, "api"), kind="errand", facts={})
    assert world.tasks.note_reuse(world.at, own.id, "wrong_key")
    assert world.refused(lambda: world.tasks.resume(world.at, workload(API), own.id)) == "not_yours"
    world.tasks.resume(world.at, OPS, own.id)
    assert world.check(own).allowed


def test_c24_refused_steps_count_and_made_up_ids_do_not() -> None:
    world = World(suspend_after=SuspendAfter(2, MINUTE))
    grant = world.open()
    for _ in range(2):
        assert world.refused(lambda: world.delegate(grant, workload(API, "stolen"))) == "wrong_key"
    assert world.state(grant) == "suspended"
    assert not world.tasks.note_reuse(world.at, "made up", "wrong_key")
    assert not world.tasks.note_reuse(world.at, grant.id, "task_ended")


def test_the_signal_of_a_breach_is_a_kind_of_its_own() -> None:
    world = World()
    grant = world.open()
    world.refused(lambda: world.tasks.renew(world.at, workload(API, "new"), grant.id, tied("new")))
    step = world.recorder.steps[-1]
    assert (step.kind, step.what, step.chain) == (Kind.REUSE_ATTEMPT, "wrong_key", (grant.id,))
