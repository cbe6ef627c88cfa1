"""Tasks through a real Envoy: in its task, with its key, before its gate, until it ends; and nothing of it goes further."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pdp.grants.grant import Grant
from tests.envoy.stand import BILLING, GATE, OTHER, STAGING_GATE, Reply, Stand, request, wait_until
from tools.programs import Envoy


@pytest.fixture
def grant(stand: Stand) -> Iterator[Grant]:
    """A visit of billing's that the server knows of."""
    found = stand.tasks.open("visit", BILLING, stand.identities.thumbprint(stand.billing))
    wait_until(lambda: write(stand, found).reason != "grant_unknown", "the grant is known")
    yield found
    stand.tasks.end(found)


def write(stand: Stand, grant: Grant, gate: Envoy | None = None, name: str = "", holder: str = BILLING) -> Reply:
    line = f"task-grant: {stand.tasks.handle(grant)}"
    svid = stand.identities.svid(holder, name)
    return stand.ask(stand.strict if gate is None else gate, request("POST", "/pages/home", line, body=b"text"), svid)


def test_in_its_task_it_is_allowed_and_the_credentials_end_here(stand: Stand, grant: Grant) -> None:
    assert stand.ask(stand.strict, request("POST", "/pages/home", body=b"text")).reason == "default_deny"
    before = len(stand.http.received)
    assert write(stand, grant).status == 200
    (received,) = stand.http.received[before:]
    assert received.values("task-grant") == received.values("task-proof") == []
    assert received.values("x-task") == [grant.task]
    assert stand.tasks.handle(grant).encode() not in received.head
    (decision,) = received.values("x-decision")
    entry = stand.decided(decision)
    assert (entry["request"]["task"]["id"], entry["chain"]) == (grant.task, [grant.id])
    assert (entry["rule"], entry["request"]["gate"]["id"]) == ("writes-in-a-visit", GATE)


def test_every_credential_ends_at_the_gate_also_where_it_was_of_no_use(stand: Stand, grant: Grant) -> None:
    before = len(stand.http.received)
    lines = (f"task-grant: {stand.tasks.handle(grant)}", "workload-identity-token: a.b.c", "txn-token: a.b.c")
    assert stand.get(stand.strict, "/pages/home", *lines, "authorization: Basic eDp5").status == 200
    (received,) = stand.http.received[before:]
    for name in ("task-grant", "workload-identity-token", "txn-token"):
        assert received.values(name) == [], name
    assert received.values("authorization") == ["Basic eDp5"]  # the back end's own: this gate reads none


def test_another_key_of_the_same_workload_is_refused(stand: Stand, grant: Grant) -> None:
    assert write(stand, grant, name="stolen").reason == "wrong_key"


def test_another_workload_is_refused(stand: Stand, grant: Grant) -> None:
    assert write(stand, grant, holder=OTHER).reason == "task_misheld"


def test_another_environment_is_refused(stand: Stand, grant: Grant) -> None:
    staging = stand.gate("http.yaml", "staging", id=STAGING_GATE)
    assert write(stand, grant, staging).reason == "wrong_environment"


def test_after_its_end_it_is_refused(stand: Stand) -> None:
    grant = stand.tasks.open("visit", BILLING, stand.identities.thumbprint(stand.billing))
    wait_until(lambda: write(stand, grant).status == 200, "the grant is known")
    stand.tasks.end(grant)
    wait_until(lambda: write(stand, grant).status != 200, "the end is known")
    assert write(stand, grant).reason == "task_ended"
