"""Messages of GrantService and AdminService: each row one thing away from a message that can be read, with its code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pdp.grants.grant import EndReason, State, Target
from pdp.grants.reasons import REASONS, Refused
from pdp.wire import admin, grant_answers, grants
from pdp.wire.messages import PDP
from pdp.wire.refusals import UNFIT, Unfit
from tests.pdp.service.desk import GRANT

UNKNOWN = b"\xa2\x06\x01x"  # field 100
LATER = b"\xaa\x01\x01x"  # field 21


def opening() -> Any:
    message = PDP.OpenRequest(kind="invoicing", holder="spiffe://prod.test/a", uses=3, idempotency_key="k")
    message.facts.fields["tenant"].string_value = "acme"
    message.facts.fields["count"].int_value = 3
    message.facts.fields["at"].time_value.seconds = 1_700_000_000
    message.facts.fields["wait"].duration_value.seconds = 90
    message.lasting.seconds = 60
    permit = message.scope.add(actions=["select"])
    permit.on.add(type="Table").within.type = "Database"
    permit.on[0].within.id = "ledger"
    message.bindings.gates.extend(["spiffe://prod.test/b", "spiffe://prod.test/a"])
    return message


def renewing() -> Any:
    message = PDP.RenewRequest(grant="g", proof="p.p.p", new_proof="q.q.q")
    message.bindings.key = "k"
    return message


def delegating() -> Any:
    message = PDP.DelegateRequest(grant="h.h.h", holder="spiffe://prod.test/a")
    message.bindings.key = "k"
    return message


MESSAGES: dict[str, tuple[Callable[[], Any], Callable[[bytes], Any]]] = {
    "open": (opening, grants.read_open),
    "request": (lambda: PDP.RequestGrantRequest(kind="invoicing", opener="spiffe://prod.test/ci"), grants.read_request),
    "approve": (lambda: PDP.ApproveRequest(grant="g", agreement=b"\0" * 32), grants.read_approve),
    "reject": (lambda: PDP.RejectRequest(grant="g", why="no"), grants.read_reject),
    "delegate": (delegating, grants.read_delegate),
    "renew": (renewing, grants.read_renew),
    "suspend": (lambda: PDP.SuspendRequest(grant="g"), grants.read_suspend),
    "end": (lambda: PDP.EndRequest(task="t"), grants.read_end),
    "get": (lambda: PDP.GetRequest(grant="g", approver_token="e.e.e"), grants.read_get),
    "list": (lambda: PDP.ListRequest(), grants.read_list),
    "watch": (lambda: PDP.WatchRequest(), grants.read_watch),
    "freeze": (lambda: PDP.FreezeRequest(workload="w"), admin.read_freeze),
    "thaw": (lambda: PDP.ThawRequest(workload="w"), admin.read_thaw),
    "revoke": (lambda: PDP.RevokeRequest(gate="g"), admin.read_revoke),
    "reload": (lambda: PDP.ReloadRequest(), admin.read_reload),
}


def test_an_opening_is_read() -> None:
    asked = grants.read_open(opening().SerializeToString())
    opened = asked.opening
    assert opened.facts == {"tenant": "acme", "count": 3, "at": "2023-11-14T22:13:20Z", "wait": "90s"} or (
        opened.facts["wait"] in ("1m30s", "90s")
    )
    assert opened.lasting == 60_000_000
    assert opened.permits is not None
    assert opened.permits[0].on == (Target("Table", None, ("Database", "ledger")),)
    assert opened.binding.gates == ("spiffe://prod.test/a", "spiffe://prod.test/b")
    assert (opened.uses, opened.deeper, asked.requested) == (3, None, None)
    assert asked.once is not None


@pytest.mark.parametrize("name", MESSAGES)
def test_every_message_is_read_in_its_one_form(name: str) -> None:
    make, read = MESSAGES[name]
    raw = make().SerializeToString()
    read(raw)
    rows = {"malformed": b"\xff", "must_understand": raw + UNKNOWN, "too_large": b"\0" * (1 << 21)}
    if raw:
        rows["not_canonical"] = raw + raw
    for code, bad in rows.items():
        with pytest.raises(Unfit) as unfit:
            read(bad)
        assert unfit.value.code == code, bad[:20]


def change(name: str, edit: Callable[[Any], object]) -> Callable[[], object]:
    def row() -> object:
        make, read = MESSAGES[name]
        message = make()
        edit(message)
        return read(message.SerializeToString())

    return row


ROWS: dict[str, tuple[Callable[[], object], str]] = {
    "open without a kind": (change("open", lambda m: m.ClearField("kind")), "missing_field"),
    "open with an empty kind": (change("open", lambda m: setattr(m, "kind", "")), "missing_field"),
    "open without a holder": (change("open", lambda m: m.ClearField("holder")), "missing_field"),
    "a holder without end": (change("open", lambda m: setattr(m, "holder", "a" * 3000)), "malformed_value"),
    "taking up and opening": (change("open", lambda m: setattr(m, "requested", "g")), "conflicting_fields"),
    "a token that is none": (change("open", lambda m: setattr(m, "user_token", "a b")), "malformed_credential"),
    "a token without end": (change("open", lambda m: setattr(m, "user_token", "a" * 9000)), "credential_too_large"),
    "no idempotency key": (change("open", lambda m: setattr(m, "idempotency_key", "")), "malformed_value"),
    "one with a line": (change("open", lambda m: setattr(m, "idempotency_key", "a\nb")), "malformed_value"),
    "half a microsecond": (change("open", lambda m: setattr(m.lasting, "nanos", 500)), "malformed_value"),
    "a duration of two signs": (change("open", lambda m: setattr(m.lasting, "nanos", -1000)), "malformed_value"),
    "a fact of no kind": (change("open", lambda m: m.facts.fields["x"].SetInParent()), "absent_value"),
    "a target of no type": (change("open", lambda m: m.scope[0].on[0].ClearField("type")), "missing_field"),
    "many permits": (change("open", lambda m: [m.scope.add() for _ in range(1001)]), "too_many_items"),
    "a binding of later": (change("open", lambda m: m.bindings.MergeFromString(LATER)), "must_understand"),
    "a permit of later": (change("open", lambda m: m.scope[0].MergeFromString(LATER)), "must_understand"),
    "a target of later": (change("open", lambda m: m.scope[0].on[0].MergeFromString(LATER)), "must_understand"),
    "a request of nobody": (change("request", lambda m: m.ClearField("opener")), "missing_field"),
    "a yes to nothing": (change("approve", lambda m: m.ClearField("agreement")), "missing_field"),
    "a yes to half": (change("approve", lambda m: setattr(m, "agreement", b"x")), "malformed_value"),
    "a child of nothing": (change("delegate", lambda m: m.ClearField("grant")), "missing_field"),
    "a child without a key": (change("delegate", lambda m: m.ClearField("bindings")), "missing_field"),
    "tied to a session": (change("renew", lambda m: setattr(m.bindings, "session", "s")), "binding_unsupported"),
    "tied to a process": (change("open", lambda m: setattr(m.bindings, "process", "p")), "binding_unsupported"),
    "renewed to nothing": (change("renew", lambda m: m.ClearField("bindings")), "missing_field"),
    "a long reason": (change("suspend", lambda m: setattr(m, "why", "a" * 1001)), "malformed_value"),
    "an end of nothing": (change("end", lambda m: m.ClearField("task")), "missing_field"),
    "an end by time": (change("end", lambda m: setattr(m, "reason", 3)), "malformed_value"),
    "an end of no reason": (change("end", lambda m: setattr(m, "reason", 0)), "malformed_value"),
    "a state of later": (change("list", lambda m: m.states.append(9)), "malformed_value"),
    "a page of nothing": (change("list", lambda m: setattr(m, "page_size", 0)), "malformed_value"),
    "a page of all": (change("list", lambda m: setattr(m, "page_size", 1001)), "malformed_value"),
    "before the first": (change("watch", lambda m: setattr(m, "after_revision", -1)), "malformed_value"),
    "a freeze of nobody": (change("freeze", lambda m: m.ClearField("workload")), "missing_field"),
    "a revocation of nothing": (change("revoke", lambda m: m.ClearField("gate")), "missing_field"),
    "planned and lifted": (
        change("revoke", lambda m: (setattr(m, "plan", True), setattr(m, "lift", True))), "conflicting_fields"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_what_cannot_be_read_says_why(name: str) -> None:
    row, code = ROWS[name]
    with pytest.raises(Unfit) as unfit:
        row()
    assert unfit.value.code == code
    assert code in UNFIT


def test_a_proof_covers_all_but_itself() -> None:
    message = renewing()
    covered = grants.covered_by(message)
    message.new_proof = "another"
    message.ClearField("proof")
    assert grants.covered_by(message) == covered
    message.bindings.gates.append("spiffe://prod.test/gate")
    assert grants.covered_by(message) != covered


def test_a_key_names_the_message_and_not_its_tokens() -> None:
    first = opening()
    second = opening()
    second.user_token = "other"
    third = opening()
    third.facts.fields["tenant"].string_value = "victim"
    digests = [grants._once(each).digest for each in (first, second, third)]  # type: ignore[union-attr]
    assert digests[0] == digests[1] != digests[2]


def test_a_grant_is_told_whole() -> None:
    response = PDP.GrantResponse.FromString(grant_answers.write_response(GRANT, "handle"))
    told = response.grant
    assert (told.id, told.task, told.holder, told.opener, told.audience) == (
        GRANT.id, GRANT.task, GRANT.holder, GRANT.opener, GRANT.audience
    )  # fmt: skip
    assert grants.STATES[told.state] is State.ACTIVE
    assert told.facts.fields["tenant"].string_value == "acme"
    assert told.scope[0].on[0].within.id == "ledger"
    assert told.bindings.certificate == GRANT.binding.certificate
    assert not told.agreement
    assert response.handle == "handle"


def test_every_refusal_of_a_step_has_a_status() -> None:
    allowed = {"PERMISSION_DENIED", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "UNAVAILABLE"}
    assert {grant_answers.status_of(Refused(code)) for code in REASONS} == allowed
    assert grant_answers.STATUS.keys() <= REASONS.keys()
    assert grants.REASONS[1] is EndReason.COMPLETED
