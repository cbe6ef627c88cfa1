"""Catalogue A through a real Envoy: what is malformed never comes through, and what comes through is what was decided on."""

from __future__ import annotations

from typing import Any

import pytest

from pdp.identity.dev.malformed_svids import MALFORMED_SVIDS
from tests.envoy.malformed import BODY, ENVOY, ROWS, Row
from tests.envoy.stand import API, BILLING, GATE, STRANGER, Stand, request

NAMES = [f"{row.number}-{row.name}" for row in ROWS]


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_malformed_is_denied_where_envoy_would_let_everything_through(stand: Stand, row: Row) -> None:
    before = len(stand.http.received)
    reply = stand.ask(stand.lax, row.raw)
    assert (reply.reason or ENVOY) == row.says, reply
    assert 400 <= reply.status < 500
    assert len(stand.http.received) == before
    assert stand.lax.counter("ext_authz.failure_mode_allowed") == 0


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_malformed_is_denied_in_the_shipped_configuration(stand: Stand, row: Row) -> None:
    before = len(stand.http.received)
    reply = stand.ask(stand.strict, row.raw)
    assert 400 <= reply.status < 500, reply
    assert len(stand.http.received) == before


#: What is allowed: lines of the request, what the back end receives, what was decided on (resource, context).
READ: dict[str, tuple[bytes, str, dict[str, list[str]], str, dict[str, Any]]] = {
    "8-the query stands in the path": (
        request("GET", "/pages/home?q=a%2fb+c&z=1"), "/pages/home?q=a%2fb+c&z=1", {}, "home", {"q": "a/b c"},
    ),
    "9-escaped parameters are part of the name": (
        request("GET", "/pages/home%3Bx=1"), "/pages/home%3Bx=1", {}, "home;x=1", {},
    ),
    "10-a dot at the end is not trimmed": (request("GET", "/pages/admin."), "/pages/admin.", {}, "admin.", {}),
    "10-a blank at the end is not trimmed": (request("GET", "/pages/admin%20"), "/pages/admin%20", {}, "admin ", {}),
    "13-an override of the method is not read": (
        request("GET", "/pages/home", "x-http-method-override: DELETE"), "/pages/home", {}, "home", {},
    ),
    "14-host in capitals, with a port and a dot": (
        request("GET", "/pages/home", host="API.acme.internal.:443"), "/pages/home", {}, "home", {},
    ),
    "16-a header twice, read as a list": (
        request("GET", "/lists/home", "x-role: user", "x-role: admin"),
        "/lists/home", {"x-role": ["user", "admin"]}, "home", {"roles": ["user", "admin"]},
    ),
    "17-a comma separates nothing": (
        request("GET", "/lists/home", "x-role: user,admin"),
        "/lists/home", {"x-role": ["user,admin"]}, "home", {"roles": ["user,admin"]},
    ),
    "19-bytes that nobody reads": (
        request("GET", "/pages/home", b"x-other: \xff\xfe"), "/pages/home", {"x-other": ["\xff\xfe"]}, "home", {},
    ),
    "20-a carriage return is gone for both": (
        request("GET", "/pages/home", "x-role: a\rb"), "/pages/home", {"x-role": ["ab"]}, "home", {"role": "ab"},
    ),
    "20-a folded line is one for both": (
        request("GET", "/pages/home", "x-role: a", " b"), "/pages/home", {"x-role": ["a b"]}, "home", {"role": "a b"},
    ),
    "21-what others say of somebody": (
        request(
            "GET", "/pages/home", "x-spiffe-id: spiffe://prod.acme/root", "x-envoy-original-path: /pages/admin",
            "x-envoy-internal: true", "x-envoy-expected-rq-timeout-ms: 1", "x-forwarded-for: 10.0.0.1",
        ),
        "/pages/home", {"x-envoy-original-path": [], "x-envoy-internal": []}, "home", {},
    ),
    "22-nominated by `connection`": (
        request("GET", "/pages/home", "connection: x-role, x-workload", "x-role: a", "x-workload: root"),
        "/pages/home", {"x-role": [], "x-workload": [BILLING]}, "home", {},
    ),
    "23-a body that no route reads": (
        request("POST", "/forms/home", "content-type: application/json", body=BODY), "/forms/home", {}, "home", {},
    ),
    "24-another content type": (
        request("POST", "/forms/home", "content-type: text/plain", body=b'{"a":1}'), "/forms/home", {}, "home", {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("gate", ["strict", "lax"])
def test_the_back_end_receives_what_was_decided_on(stand: Stand, gate: str, name: str) -> None:
    raw, target, headers, resource, context = READ[name]
    before = len(stand.http.received)
    reply = stand.ask(getattr(stand, gate), raw)
    assert reply.status == 200, reply
    (received,) = stand.http.received[before:]
    assert received.target == target
    assert {header: received.values(header) for header in headers} == headers
    assert received.body == raw.partition(b"\r\n\r\n")[2]
    (decision,) = received.values("x-decision")
    asked = stand.decided(decision)["request"]
    assert asked["resource"] == ["Page", resource]
    assert {k: v for k, v in asked.get("context", {}).items() if v is not None} == context
    assert (asked["workload"], asked["gate"]["id"]) == (BILLING, GATE)


def test_identity_headers_cannot_be_spoofed(stand: Stand) -> None:
    before = len(stand.http.received)
    forged = f"By={API};Hash={'0' * 64};URI=spiffe://prod.acme/root"
    lines = (
        "x-workload: spiffe://prod.acme/root",
        "X-Workload: spiffe://prod.acme/root",
        "x-user: User:root",
        "x-task: t",
        "x-decision: d",
        f"x-forwarded-client-cert: {forged}",
    )
    assert stand.get(stand.strict, "/pages/home", *lines).status == 200
    (received,) = stand.http.received[before:]
    assert received.values("x-workload") == [BILLING]
    assert received.values("x-user") == received.values("x-task") == []  # there is none, and nobody else says so
    assert received.values("x-decision") != ["d"]
    (forwarded,) = received.values("x-forwarded-client-cert")
    assert f"URI={BILLING}" in forwarded
    assert "root" not in forwarded


@pytest.mark.parametrize("what", sorted(MALFORMED_SVIDS))
def test_an_svid_that_breaks_a_rule_is_nobodys(stand: Stand, what: str) -> None:
    """Our side of TLS, Envoy or the decision point refuses it; none lets it through."""
    before = len(stand.http.received)
    svid = stand.identities.malformed(BILLING, what)
    for gate in (stand.strict, stand.lax):
        try:
            assert stand.get(gate, "/pages/home", svid=svid).status in (0, 400, 401)
        except (OSError, ValueError):  # TLS said no
            continue
    assert len(stand.http.received) == before
    assert stand.lax.counter("ext_authz.failure_mode_allowed") == 0


def test_a_workload_that_no_rule_names_is_denied(stand: Stand) -> None:
    reply = stand.get(stand.strict, "/pages/home", svid=stand.identities.svid(STRANGER))
    assert (reply.status, reply.reason) == (403, "default_deny")
    assert b'"decision":' in reply.body


def test_a_body_that_is_too_large_to_be_sent_along_is_refused(stand: Stand) -> None:
    before = len(stand.http.received)
    reply = stand.ask(stand.strict, request("POST", "/forms/home", body=b"x" * 70_000))
    assert reply.status == 413
    assert len(stand.http.received) == before
