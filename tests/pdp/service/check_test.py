"""One check, each row one thing away from an allow: the reason that the design names, and never an allow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

import pdp
from pdp.grants.grant import Bindings, EndReason, State
from pdp.identity import TrustStore
from pdp.service.call import Call, Credentials
from pdp.service.recorded import Recording
from tests.pdp.identity.world import HOUR, NOW, SECOND, domain
from tests.pdp.service.desk import (
    API,
    BATCH,
    CALL,
    CERTIFICATES,
    GRANT,
    JKT,
    LEAF_KEY,
    MESSAGE,
    Desk,
    at,
    certificates,
    handle,
    proof,
    showing,
)  # fmt: skip
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
AWAY: dict[str, tuple[Call, str]] = {
    "no certificate": (showing(certificates=()), "task_misheld"),
    "nothing at all": (replace(CALL, credentials=Credentials()), "no_subject"),
    "a malformed certificate": (showing(certificates=certificates(malformed="two-ids")), "several_uri_names"),
    "no certificate but bytes": (showing(certificates=(b"x",)), "certificate_malformed"),
    "a certificate of other keys": (
        showing(certificates=SAME_NAME.certificates(API, LEAF_KEY.public_key(), NOW, HOUR)), "untrusted_issuer"),
    "a domain without a bundle": (
        showing(certificates=OTHER.certificates("spiffe://other.test/a", LEAF_KEY.public_key(), NOW, HOUR)), "no_bundle"),
    "another workload of the kind": (showing(certificates=certificates("spiffe://dev.test/billing/other")), "task_misheld"),
    "another certificate of the workload": (showing(certificates=certificates(ttl_us=HOUR // 2)), "wrong_key"),
    "another principal": (showing(principal=BATCH), "principal_mismatch"),
    "a principal and no certificate": (showing(certificates=(), principal=API), "principal_mismatch"),
    "no task": (showing(handles=()), "default_deny"),
    "two tasks": (showing(handles=(handle(), handle())), "handle_several"),
    "no handle but a text": (showing(handles=("x",)), "token_not_compact"),
    "a proof that is none": (showing(proofs=("x",)), "proof_key_unbound"),
    "another gate's environment": (at(environment="staging"), "wrong_environment"),
    "no environment": (at(environment=None), "wrong_environment"),
    "a table of another tenant": (replace(CALL, resource=pdp.Resource("Table", "others")), "default_deny"),
    "a table outside": (replace(CALL, resource=pdp.Resource("Table", "outside")), "default_deny"),
    "another action": (replace(CALL, action="update"), "default_deny"),
    "an unknown action": (replace(CALL, action="drop"), "unknown_action"),
}  # fmt: skip


@pytest.mark.parametrize("name", AWAY)
def test_one_thing_away_is_denied_with_its_code(name: str) -> None:
    call, reason = AWAY[name]
    assert Desk().reason(call) == reason


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
    desk, call = Desk(longer), showing(handles=(handle(longer),))
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
    batch = replace(CALL, credentials=Credentials(certificates(BATCH, ttl_us=3 * HOUR)))
    assert desk.reason(batch, NOW + HOUR - 1) == "allowed"
    assert desk.reason(batch, NOW + HOUR) == "grants_stale"


@pytest.mark.parametrize(("noun", "name"), [("workload", API), ("credential", GRANT.binding.certificate),
    ("trust_domain", "dev.test"), ("gate", CALL.place.gate), ("opener", GRANT.opener)])  # fmt: skip
def test_what_was_revoked_is_denied_on_the_very_next_check(noun: str, name: str) -> None:
    desk = Desk()
    assert desk.reason() == "allowed"
    snapshot = desk.standing.snapshot
    desk.put(snapshot=replace(snapshot, revoked=snapshot.revoked.revoke(noun, name, "")))
    assert desk.reason() == "revoked"


def test_a_proof_is_good_once() -> None:
    desk, shown = Desk(KEYED), handle(KEYED)
    call = showing(handles=(shown,), proofs=(proof(shown),))
    assert desk.reason(call) == "allowed"
    assert desk.reason(call) == "proof_replayed"
    assert desk.reason(showing(handles=(shown,), proofs=(proof(shown, jti="two"),))) == "allowed"


KEYED_AWAY: dict[str, tuple[Callable[[str], tuple[str, ...]], str]] = {
    "no proof": (lambda h: (), "proof_missing"),
    "two proofs": (lambda h: (proof(h), proof(h)), "proof_several"),
    "of another key": (lambda h: (proof(h, LEAF_KEY),), "proof_wrong_key"),
    "for another method": (lambda h: (proof(h, htm="POST"),), "proof_wrong_method"),
    "for another address": (lambda h: (proof(h, htu=MESSAGE.url + "/x"),), "proof_wrong_url"),
    "for another grant": (lambda h: (proof(handle(GRANT)),), "proof_of_other_grant"),
    "of yesterday": (lambda h: (proof(h, iat=NOW // SECOND - 86400, exp=NOW // SECOND - 86370),), "proof_expired"),
}  # fmt: skip


@pytest.mark.parametrize("name", KEYED_AWAY)
def test_a_proof_one_thing_away(name: str) -> None:
    make, reason = KEYED_AWAY[name]
    shown = handle(KEYED)
    assert Desk(KEYED).reason(showing(handles=(shown,), proofs=make(shown))) == reason


def test_a_leaf_by_the_word_of_a_gate_is_remembered_apart() -> None:
    desk = Desk()
    assert desk.ask(showing(certificates=CERTIFICATES[:1], path_by_gate=True)).verified.workload.verified_by == "pep"  # type: ignore[union-attr]
    assert desk.ask(showing(certificates=CERTIFICATES)).verified.workload.verified_by == "pdp"  # type: ignore[union-attr]
    assert Desk().reason(showing(certificates=CERTIFICATES[:1])) == "untrusted_issuer"


def test_every_denial_before_policy_is_recorded_with_what_was_verified() -> None:
    offered, ticks = Offered(), iter(range(1, 1000))
    desk = Desk(recording=Recording(offered, lambda: next(ticks)))
    desk.ask()
    desk.ask(at(environment="staging"))
    desk.ask(showing(certificates=(b"x",)))
    allowed, wrong, unread = offered.entries
    assert allowed[1].allowed
    assert allowed[4] is not None
    assert (wrong[1].reason, wrong[4]) == ("wrong_environment", None)
    assert (unread[1].reason, unread[0].workload) == ("certificate_malformed", None)
    offered.takes = False
    assert desk.reason() == "not_recorded"
