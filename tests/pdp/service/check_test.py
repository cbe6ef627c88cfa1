"""One check, each row one thing away from an allow: the reason that the design names, and never an allow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

import pdp
from language import Directory, EntityData, Source, compile_policies
from pdp.engine.snapshot import Policy, Snapshot
from pdp.grants.grant import Bindings, EndReason, Grant, Scope, State
from pdp.identity import TrustStore
from pdp.model.ask import Ask
from pdp.service.recorded import Recording
from pdp.tokens.compact import base64url
from tests.pdp.grants.handles_world import sha256
from tests.pdp.identity.world import HOUR, NOW, SECOND, WORLD, domain
from tests.pdp.service.desk import (
    API,
    ASK,
    BATCH,
    CERTIFICATES,
    GATE,
    GATEWAY,
    GRANT,
    JKT,
    LEAF_KEY,
    PLACE,
    POLICY,
    TARGET,
    Desk,
    certificates,
    handle,
    proof,
    showing,
)
from tests.pdp.service.recorded_test import Offered

KEYED = replace(GRANT, binding=Bindings(key=JKT))


def test_in_its_task_with_its_key_it_is_allowed() -> None:
    answer = Desk().ask()
    decision = answer.decision
    assert (decision.allowed, decision.rule) == (True, "own-tenant")
    assert (decision.valid_until_us, decision.bounded_by) == (GRANT.ends, "task")
    assert decision.fresh_until_us == NOW + HOUR
    assert answer.verified.redeemed is not None
    assert answer.verified.redeemed.chain == (GRANT.id,)


OTHER = domain("other.test")
SAME_NAME = domain("dev.test")
AWAY: dict[str, tuple[Ask, str]] = {
    "no certificate": (ASK._replace(shown=None), "task_misheld"),
    "nothing at all": (ASK._replace(shown=None, grant=None), "no_subject"),
    "a malformed certificate": (showing(*certificates(malformed="two-ids")), "several_uri_names"),
    "no certificate but bytes": (showing(b"x"), "certificate_malformed"),
    "a certificate of other keys": (
        showing(*SAME_NAME.certificates(API, LEAF_KEY.public_key(), NOW, HOUR)), "untrusted_issuer"),
    "a domain without a bundle": (
        showing(*OTHER.certificates("spiffe://other.test/a", LEAF_KEY.public_key(), NOW, HOUR)), "no_bundle"),
    "another workload of the kind": (showing(*certificates("spiffe://dev.test/billing/other")), "task_misheld"),
    "another certificate of the workload": (showing(*certificates(ttl_us=HOUR // 2)), "wrong_key"),
    "another principal": (showing(*CERTIFICATES, principal=BATCH), "principal_mismatch"),
    "a principal and no certificate": (showing(principal=API), "no_certificate"),
    "a bearer token of the workload": (
        showing(token=WORLD.token(API, "spiffe://dev.test/pdp", NOW, HOUR)), "proof_missing"),
    "the caller itself, and there is none": (ASK._replace(itself=True), "task_misheld"),
    "no task": (ASK._replace(grant=None), "default_deny"),
    "no handle but a text": (ASK._replace(grant="x"), "token_not_compact"),
    "an empty handle": (ASK._replace(grant=""), "token_not_compact"),
    "a proof that is none": (ASK._replace(proof="x"), "proof_key_unbound"),
    "a proof of no request": (ASK._replace(proof="x", target=None), "proof_out_of_place"),
    "a table of another tenant": (ASK._replace(resource=pdp.Resource("Table", "others")), "default_deny"),
    "a table outside": (ASK._replace(resource=pdp.Resource("Table", "outside")), "default_deny"),
    "another action": (ASK._replace(action="update"), "default_deny"),
    "an unknown action": (ASK._replace(action="drop"), "unknown_action"),
}  # fmt: skip


@pytest.mark.parametrize("name", AWAY)
def test_one_thing_away_is_denied_with_its_code(name: str) -> None:
    ask, reason = AWAY[name]
    assert Desk().reason(ask) == reason


@pytest.mark.parametrize("environment", ["staging", None])
def test_a_grant_of_another_environment_is_refused(environment: str | None) -> None:
    assert Desk().reason(place=PLACE._replace(environment=environment)) == "wrong_environment"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"state": State.ENDED, "ended": EndReason.COMPLETED, "ended_at": NOW}, "task_ended"),
        ({"state": State.SUSPENDED, "holds": ("x",)}, "task_suspended"),
        ({"state": State.PENDING_APPROVAL}, "task_not_active"),
        ({"state": State.REQUESTED}, "task_not_active"),
        ({"ends": NOW}, "task_ended"),
        ({"environment": "staging"}, "wrong_environment"),
        ({"audience": "staging.test"}, "wrong_audience"),
        ({"binding": Bindings()}, "grant_unbound"),
        ({"binding": Bindings(certificate="A" * 43)}, "wrong_key"),
        ({"binding": replace(GRANT.binding, gates=("spiffe://dev.test/other",))}, "wrong_gate"),
        ({"binding": replace(GRANT.binding, destinations=("spiffe://dev.test/other",))}, "wrong_destination"),
        ({"binding": replace(GRANT.binding, session="1")}, "wrong_session"),
        ({"binding": replace(GRANT.binding, process="1")}, "wrong_process"),
        ({"holder": BATCH}, "task_misheld"),
        ({"opener": BATCH}, "grant_outdated"),
        ({"opener": API}, "grant_outdated"),
        ({"kind": "gone"}, "grant_outdated"),
        ({"id": "h" * 22}, "grant_unknown"),
    ],
    ids=lambda v: ",".join(v) if isinstance(v, dict) else v,
)
def test_the_record_is_the_authority_whatever_the_handle_says(changes: dict[str, object], reason: str) -> None:
    assert Desk(replace(GRANT, **changes)).reason() == reason  # type: ignore[arg-type]


def test_nothing_is_allowed_at_or_after_an_end() -> None:
    longer = replace(GRANT, ends=NOW + 2 * HOUR)
    desk, call = Desk(longer), ASK._replace(grant=handle(longer))
    lasts = GRANT.started + HOUR // 2  # type: ignore[operator]  # it has started
    assert desk.reason(call, lasts - 1) == "allowed"
    assert desk.reason(call, lasts) == "task_ended"
    assert desk.ask(call, lasts - 1).decision.valid_until_us == lasts


def test_an_ended_grant_is_denied_on_the_very_next_check() -> None:
    desk = Desk()
    assert desk.reason() == "allowed"
    ended = replace(GRANT, state=State.ENDED, ended=EndReason.COMPLETED, ended_at=NOW, revision=2)
    desk.put(grants=desk.standing.grants.taking([ended], 2))
    assert desk.reason() == "task_ended"


def test_trust_that_is_withdrawn_ends_what_was_remembered() -> None:
    desk = Desk()
    assert desk.reason() == "allowed"
    desk.put(trust=TrustStore())
    assert desk.reason() == "no_bundle"


def test_stale_knowledge_of_grants_denies_everything() -> None:
    desk = Desk()
    batch = showing(*certificates(BATCH, ttl_us=3 * HOUR))._replace(grant=None)
    assert desk.reason(batch, NOW + HOUR - 1) == "allowed"
    assert desk.reason(batch, NOW + HOUR) == "grants_stale"


@pytest.mark.parametrize(("noun", "name"), [("workload", API), ("credential", GRANT.binding.certificate),
    ("trust_domain", "dev.test"), ("gate", GATE), ("opener", GRANT.opener)],
    ids=["workload", "credential", "trust_domain", "gate", "opener"])  # fmt: skip
def test_what_was_revoked_is_denied_on_the_very_next_check(noun: str, name: str) -> None:
    desk = Desk()
    assert desk.reason() == "allowed"
    snapshot = desk.standing.snapshot
    desk.put(snapshot=replace(snapshot, revoked=snapshot.revoked.revoke(noun, name, "")))
    assert desk.reason() == "revoked"


def test_a_proof_is_good_once() -> None:
    desk, shown = Desk(KEYED), handle(KEYED)
    call = ASK._replace(grant=shown, proof=proof(shown))
    assert desk.reason(call) == "allowed"
    assert desk.reason(call) == "proof_replayed"
    assert desk.reason(ASK._replace(grant=shown, proof=proof(shown, jti="two"))) == "allowed"


KEYED_AWAY: dict[str, tuple[Callable[[str], str | None], str]] = {
    "no proof": (lambda h: None, "proof_missing"),
    "of another key": (lambda h: proof(h, LEAF_KEY), "proof_wrong_key"),
    "for another method": (lambda h: proof(h, htm="POST"), "proof_wrong_method"),
    "for another address": (lambda h: proof(h, htu=TARGET.uri + "/x"), "proof_wrong_url"),
    "for another grant": (lambda h: proof(handle(GRANT)), "proof_of_other_grant"),
    "of yesterday": (lambda h: proof(h, iat=NOW // SECOND - 86400, exp=NOW // SECOND - 86370), "proof_expired"),
}  # fmt: skip


@pytest.mark.parametrize("name", KEYED_AWAY)
def test_a_proof_one_thing_away(name: str) -> None:
    make, reason = KEYED_AWAY[name]
    shown = handle(KEYED)
    assert Desk(KEYED).reason(ASK._replace(grant=shown, proof=make(shown))) == reason


@pytest.mark.parametrize(
    ("seen", "claims", "reason"),
    [
        (b"", {}, "allowed"),
        (b"x", {"bdh": base64url(sha256(b"x"))}, "allowed"),
        (b"x", {}, "default_deny"),
        (None, {}, "default_deny"),
        (None, {"bdh": base64url(sha256(b"x"))}, "proof_body_unseen"),
        (b"y", {"bdh": base64url(sha256(b"x"))}, "proof_body_wrong"),
    ],
)
def test_a_proof_is_of_the_request_only_with_its_body(seen: bytes | None, claims: dict[str, str], reason: str) -> None:
    keyed = replace(KEYED, scope=Scope((replace(KEYED.scope.permits[0], actions=frozenset({"update"})),)))
    shown = handle(keyed)
    target = replace(TARGET, body_sha256=None if seen is None else sha256(seen))
    ask = ASK._replace(action="update", grant=shown, proof=proof(shown, **claims), target=target)
    assert Desk(keyed).reason(ask) == reason


def test_a_leaf_by_the_word_of_a_gate_is_remembered_apart() -> None:
    desk, vouching = Desk(), PLACE._replace(gate=replace(GATEWAY, vouches=True))
    assert desk.reason(showing(*CERTIFICATES[:1], whole_path=False)) == "path_not_verified"
    assert desk.ask(showing(*CERTIFICATES[:1], whole_path=False), place=vouching).verified.workload.verified_by == "pep"  # type: ignore[union-attr]
    assert desk.ask(showing(*CERTIFICATES)).verified.workload.verified_by == "pdp"  # type: ignore[union-attr]
    assert Desk().reason(showing(*CERTIFICATES[:1])) == "untrusted_issuer"


def test_every_denial_before_policy_is_recorded_with_what_was_verified() -> None:
    offered, ticks = Offered(), iter(range(1, 1000))
    desk = Desk(recording=Recording(offered, lambda: next(ticks)))
    desk.ask()
    desk.ask(place=PLACE._replace(environment="staging"))
    desk.ask(showing(b"x"))
    allowed, wrong, unread = offered.entries
    assert allowed[1].allowed
    assert allowed[4] is not None
    assert (wrong[1].reason, wrong[4]) == ("wrong_environment", None)
    assert (unread[1].reason, unread[0].workload) == ("certificate_malformed", None)
    offered.takes = False
    assert desk.reason() == "not_recorded"


def test_an_allow_that_took_a_use_is_asked_for_again() -> None:
    """A client that keeps answers would get more out of the grant than it has."""
    taken: list[object] = []
    counted = replace(GRANT, uses=1)
    desk = Desk(counted, consume=taken.extend)
    decision = desk.ask(ASK._replace(grant=handle(counted))).decision
    assert decision.allowed
    assert (decision.fresh_until_us, len(taken)) == (NOW, 1)


COUNTED = replace(GRANT, uses=9)
OTHERS = pdp.Resource("Table", "others")


@pytest.mark.parametrize(
    ("grant", "ask", "epoch"),
    [
        (GRANT, ASK, "p-1"),
        (GRANT, ASK._replace(resource=OTHERS), "p-1"),  # a denial
        (GRANT, showing(b"x"), "p-1"),
        (KEYED, ASK._replace(proof=proof(handle(KEYED))), ""),  # a proof is good once
        (KEYED, ASK._replace(proof="x"), ""),
        (COUNTED, ASK, ""),  # and a use is taken once
        (COUNTED, ASK._replace(resource=OTHERS), ""),
    ],
)
def test_an_answer_says_whether_it_may_be_used_again(grant: Grant, ask: Ask, epoch: str) -> None:
    desk = Desk(grant, consume=lambda _: None)
    desk.put(epoch="p-1")
    assert desk.ask(ask._replace(grant=handle(grant))).epoch == epoch


def test_what_is_not_fresh_or_not_recorded_is_for_once() -> None:
    offered, ticks = Offered(), iter(range(1, 1000))
    desk = Desk(recording=Recording(offered, lambda: next(ticks)))
    desk.put(epoch="p-1")
    assert desk.ask(now=NOW + HOUR // 60).epoch == "p-1"
    assert (desk.ask(now=NOW + HOUR).decision.reason, desk.ask(now=NOW + HOUR).epoch) == ("grants_stale", "")
    offered.takes = False
    assert (desk.ask().decision.reason, desk.ask().epoch) == ("not_recorded", "")


def test_an_answer_is_fresh_no_longer_than_the_bundle_that_its_workload_was_verified_by() -> None:
    desk = Desk()
    desk.put(trust=desk.standing.trust.fresh_until("dev.test", NOW + 5))
    assert desk.ask().decision.fresh_until_us == NOW + 5
    assert desk.reason(now=NOW + 6) == "bundle_stale"


@pytest.mark.parametrize(("n", "reason", "epoch"), [(-1, "default_deny", "p-1"), (1, "error", "")])
def test_an_answer_with_errors_is_for_once(n: int, reason: str, epoch: str) -> None:
    when = "when context.n + 9223372036854775807 < 0 trusting context.n"
    sums = f"allow sums {{ who spiffe://dev.test/billing/* do select on Table {when} }}"
    text = POLICY.replace("columns: Set<String>? claimed", "n: Int claimed") + sums
    bundle = compile_policies([Source("app.policy", text)])
    desk = Desk()
    data = Directory(bundle.vocabulary)
    data.upsert([EntityData("Table", "outside", {"tenant": "acme", "pii": False})])
    desk.put(epoch="p-1", snapshot=Snapshot(Policy(bundle, "desk", None), data.world))
    answer = desk.ask(ASK._replace(grant=None, resource=pdp.Resource("Table", "outside"), context={"n": n}))
    assert (answer.decision.reason, answer.epoch) == (reason, epoch)
