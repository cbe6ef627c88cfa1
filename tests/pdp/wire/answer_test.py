"""A-1 to A-7: what Envoy is told, looked at in the bytes."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pdp
from language import FOREVER, Outcome, RuleError, Source, Span
from pdp.model.decision import Decision, Settled
from pdp.model.gates import Gate
from pdp.wire import envoy_answer
from pdp.wire.envoy_answer import (
    UNAVAILABLE_REASONS,
    Answer,
    Told,
    answer,
    refuse,
    refuse_credential,
    unavailable,
)
from pdp.wire.messages import ENVOY
from pdp.wire.refusals import UNFIT, Unfit
from tests.pdp.wire.answers import taken
from tests.pdp.wire.captures import GATE

ROOT = Path(__file__).resolve().parents[3]
UNTIL = 1_767_258_000_000_000
ERROR = RuleError("r2", "unknown_entity", "no such table", Span(Source("x", ""), 0, 0))


def decided(allowed: bool, reason: str = "allowed", because: str | None = None, until: int = UNTIL) -> Decision:
    outcome = Outcome(allowed, reason, "r1", because, None)
    return Decision(Settled(outcome, (ERROR,), "0123456789abcdef", "feedbeef", until, FOREVER, "task"), 7)


ALLOW = decided(True)
DENY = decided(False, "denied", "personal data is read only by attested services")
NOBODY = decided(False, "no_subject")
TOLD = Told("spiffe://dev.test/ns/billing/api", "ada", "t-1", "g-1", "corr-1")

ALL: dict[str, Answer] = {
    "allow": answer(ALLOW, GATE, TOLD),
    "allow-told-nothing": answer(ALLOW, GATE),
    "deny": answer(DENY, GATE, TOLD),
    "deny-nobody": answer(NOBODY, GATE),
    "refuse-credential": refuse_credential("expired", "the certificate has expired"),
    **{code: refuse(Unfit(code)) for code in UNFIT},
    **{reason: unavailable(reason) for reason in UNAVAILABLE_REASONS},
}


@pytest.mark.parametrize("name", ALL)
def test_every_answer_is_whole(name: str) -> None:
    """A-1: the status is there, and code and response say the same. Only an allow is an allow."""
    raw = ALL[name]
    assert raw[:1] == b"\x0a", "the status is explicit in the bytes"
    found = taken(raw)
    assert found.response.HasField("status")
    assert found.allowed is name.startswith("allow")
    kind = found.response.WhichOneof("http_response")
    code = found.response.status.code
    assert (code, kind) in {(0, "ok_response"), (7, "denied_response"), (16, "denied_response"), (13, "error_response")}
    assert found.allowed == (code == 0)
    assert found.allowed or found.status >= 400
    assert (code == 16) == (found.status == 401)


def test_internal_failures_are_errors_of_ours() -> None:
    """A-2."""
    for reason in UNAVAILABLE_REASONS:
        found = taken(unavailable(reason))
        assert (found.response.status.code, found.status) == (13, 503)
        assert json.loads(found.body)["reason"] == reason


@pytest.mark.parametrize(
    ("code", "reason", "grpc"),
    [
        ("overloaded", "overloaded", 13),
        ("deadline_passed", "deadline_passed", 13),
        ("ending", "ending", 13),
        ("too_large", "too_large", 7),
        ("revoked", "revoked", 7),
        ("unauthenticated", "unknown_gate", 7),
        ("not_permitted", "unknown_gate", 7),
        ("something_new", "internal", 13),
    ],
)
def test_whatever_an_edge_says_is_a_denial(code: str, reason: str, grpc: int) -> None:
    for correlation in (None, "a b\x7f"):
        found = taken(envoy_answer.at_edge(code, correlation))
        assert (found.allowed, found.response.status.code, json.loads(found.body)["reason"]) == (False, grpc, reason)
        assert found.headers.get("pdp-correlation-id") == (correlation and "a%20b%7F")


def test_a_default_response_cannot_be_represented() -> None:
    empty = ENVOY.CheckResponse()
    assert taken(empty.SerializeToString()).allowed, "the trap that this is about"
    for raw in (
        b"",
        b"\x0a\x00",  # a status and nothing else
        b"\x1a\x00",  # an allow without a status
        b"\x12\x00",  # a denial without a status, which is an allow
        b"\x0a\x00\x12\x00",  # code 0 with a denial
        b"\x0a\x02\x08\x07\x1a\x00",  # a refusal with an allow
        b"\x0a\x05\x1a\x00",
        b"\x0a",
    ):
        for wanted in (0x12, 0x1A, 0x2A):
            with pytest.raises(AssertionError):
                envoy_answer._whole(raw, wanted)


def test_one_file_makes_check_responses() -> None:
    """Nowhere else in the tree is the message named, and in that file one function makes an `Answer`."""
    named, made = set(), 0
    for path in (ROOT / "pdp").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr == "CheckResponse" and isinstance(node.value, ast.Name):
                if node.value.id == "ENVOY":
                    named.add(path.name)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Answer":
                made += path.name == "envoy_answer.py"
    assert named == {"envoy_answer.py"}
    assert made == 1


# ---- headers


def gate(**headers: str) -> Gate:
    return replace(GATE, headers={name.replace("_", "-"): tells for name, tells in headers.items()})


def test_headers_for_the_back_end_overwrite() -> None:
    found = taken(
        answer(ALLOW, gate(x_workload="workload", x_user="user", x_decision="decision", x_until="valid_until"), TOLD)
    )
    assert found.headers == {
        "x-workload": "spiffe://dev.test/ns/billing/api",
        "x-user": "ada",
        "x-decision": "feedbeef-7",
        "x-until": "2026-01-01T09:00:00Z",
    }
    assert found.removed == ()


def test_what_is_not_known_is_removed_rather_than_left_to_the_client() -> None:
    names = gate(x_workload="workload", x_user="user", x_task="task", x_grant="grant", x_until="valid_until")
    found = taken(answer(decided(True, until=FOREVER), names))
    assert found.headers == {}
    assert set(found.removed) == {"x-workload", "x-user", "x-task", "x-grant", "x-until"}


def test_consumed_credentials_are_removed() -> None:
    found = taken(answer(ALLOW, GATE, TOLD, ("task-grant", "task-proof", "authorization")))
    assert found.removed == ("task-grant", "task-proof", "authorization")


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("a\r\nx-admin: 1", "a%0D%0Ax-admin:%201"),
        ("a\x00b", "a%00b"),
        ("caf\u00e9", "caf%C3%A9"),
        ("100%", "100%25"),
        (" a b ", "%20a%20b%20"),
        ('x"y,z;w', 'x"y,z;w'),
        ("\u202eada", "%E2%80%AEada"),
    ],
)
def test_a_value_cannot_leave_its_header(value: str, sent: str) -> None:
    found = taken(answer(ALLOW, gate(x_user="user"), Told(user=value)))
    assert found.headers == {"x-user": sent}


@pytest.mark.parametrize("name", [":path", ":authority", "host", "Host", "x-user\r\n", "", "x user", "content-length", "te"])
def test_a_header_that_would_rewrite_the_request_is_not_configured(name: str) -> None:
    with pytest.raises(pdp.PdpError, match="invalid_argument"):
        replace(GATE, headers={name: "user"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "spiffe://dev.test"},
        {"id": "gate"},
        {"id": "uid:07"},
        {"domains": frozenset({"Dev.test"})},
        {"destinations": frozenset({"ledger"})},
        {"scheme": "ftp"},
        {"headers": {"x-user": "password"}},
    ],
)
def test_a_gate_that_makes_no_sense_is_not_configured(wrong: dict[str, Any]) -> None:
    with pytest.raises(pdp.PdpError, match="invalid_argument"):
        replace(GATE, **wrong)


def test_a_gate_on_a_socket_is_no_gate_to_policy() -> None:
    assert replace(GATE, id="uid:1000").facts is None
    assert GATE.facts == {"id": GATE.id, "environment": "prod"}
    assert replace(GATE, environment=None).facts == {"id": GATE.id}


# ---- metadata and bodies


def test_metadata_are_ids_and_ends() -> None:
    assert taken(ALL["allow"]).metadata == {
        "decision_id": "feedbeef-7",
        "generation": "0123456789abcdef",
        "reason": "allowed",
        "grant_id": "g-1",
        "task_id": "t-1",
        "valid_until": "2026-01-01T09:00:00Z",
    }
    assert taken(ALL["deny"]).metadata["reason"] == "denied"
    assert taken(ALL["no_route"]).metadata == {"reason": "no_route"}


def test_a_denial_says_why_and_no_more() -> None:
    found = taken(ALL["deny"])
    because = "personal data is read only by attested services"
    assert json.loads(found.body) == {"reason": "denied", "decision": "feedbeef-7", "because": because}
    assert found.status == 403
    assert found.headers == {
        "content-type": "application/json",
        "cache-control": "no-store",
        "pdp-reason": "denied",
        "pdp-decision-id": "feedbeef-7",
        "pdp-correlation-id": "corr-1",
    }


def test_a_gate_that_may_explain_says_rules_and_errors() -> None:
    body = json.loads(taken(answer(DENY, replace(GATE, explain=True), TOLD)).body)
    assert body["rule"] == "r1"
    assert body["errors"] == [{"rule": "r2", "code": "unknown_entity", "message": "no such table"}]


def test_nobody_is_told_401() -> None:
    found = taken(ALL["deny-nobody"])
    assert (found.response.status.code, found.status) == (16, 401)
    assert "www-authenticate" in found.headers
    assert taken(answer(DENY, GATE, Told(unauthenticated=True))).status == 401


def test_a_body_stays_small() -> None:
    found = taken(answer(decided(False, "denied", "x" * 60_000), GATE))
    assert json.loads(found.body) == {"reason": "denied", "decision": "feedbeef-7"}


def test_the_correlation_id_comes_back() -> None:
    assert taken(refuse(Unfit("no_route"), "corr-2")).headers["pdp-correlation-id"] == "corr-2"
