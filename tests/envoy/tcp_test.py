"""Envoy's network filter before a TCP service: decided when the first bytes come, and ended by the cap (N-1, N-3)."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pdp.grants.grant import Grant
from tests.envoy.back_end import GreetingBackEnd
from tests.envoy.stand import BILLING, LEDGER, OTHER, TCP_GATE, Stand, wait_until
from tools.programs import Document, Envoy, filter_of

PLACES: dict[str, Any] = {"gates": (TCP_GATE,), "destinations": (LEDGER,)}


@pytest.fixture(scope="module")
def gate(stand: Stand) -> Envoy:
    return stand.gate("tcp.yaml", "tcp", id=TCP_GATE, service=LEDGER, back_end_port=stand.echo.port)


@pytest.fixture(scope="module")
def holder(stand: Stand) -> Path:
    """A certificate of its own: what other tests open is not for it."""
    return stand.identities.svid(BILLING, "tcp")


@pytest.fixture
def session(stand: Stand, holder: Path) -> Iterator[Grant]:
    found = stand.tasks.open("session", BILLING, stand.identities.thumbprint(holder), **PLACES)
    yield found
    stand.tasks.end(found)


def says(stand: Stand, gate: Envoy, svid: Path, text: bytes = b"hello") -> bytes:
    """What comes back: the same, or nothing when the connection was refused."""
    with stand.connect(gate, svid) as connection:
        try:
            connection.sendall(text)
            return connection.recv(100)
        except OSError:
            return b""


def test_without_a_grant_nothing_comes_through(stand: Stand, gate: Envoy, holder: Path) -> None:
    before = stand.echo.received
    assert says(stand, gate, holder) == b""
    assert stand.echo.received == before


def test_with_an_active_grant_it_does_until_that_ends(stand: Stand, gate: Envoy, holder: Path) -> None:
    grant = stand.tasks.open("session", BILLING, stand.identities.thumbprint(holder), **PLACES)
    wait_until(lambda: says(stand, gate, holder) == b"hello", "the grant is known")
    entry = wait_until(lambda: (last := stand.last_decided())["reason"] == "allowed" and last, "the allow in the record")
    assert (entry["request"]["task"]["id"], entry["chain"], entry["destination"]) == (grant.task, [grant.id], LEDGER)
    assert entry["request"]["resource"] == ["Database", "ledger"]
    stand.tasks.end(grant)
    wait_until(lambda: says(stand, gate, holder) == b"", "the end is known")


def test_it_is_for_its_certificate_alone(stand: Stand, gate: Envoy, holder: Path, session: Grant) -> None:
    wait_until(lambda: says(stand, gate, holder) == b"hello", "the grant is known")
    assert says(stand, gate, stand.identities.svid(BILLING, "stolen")) == b""
    assert says(stand, gate, stand.identities.svid(OTHER)) == b""


@pytest.mark.parametrize(
    "elsewhere",
    [{"destinations": ("spiffe://prod.acme/ns/db/other",)}, {"gates": ("spiffe://prod.acme/gates/other",)}],
    ids=["destination", "gate"],
)
def test_a_grant_for_another_place_is_of_no_use(stand: Stand, gate: Envoy, elsewhere: dict[str, tuple[str, ...]]) -> None:
    svid = stand.identities.svid(BILLING, next(iter(elsewhere)))
    thumbprint = stand.identities.thumbprint(svid)
    other = stand.tasks.open("session", BILLING, thumbprint, **elsewhere)
    beside = stand.tasks.open("session", BILLING, thumbprint, **PLACES)
    wait_until(lambda: says(stand, gate, svid) == b"hello", "both are known, and one fits")
    stand.tasks.end(beside)
    wait_until(lambda: says(stand, gate, svid) == b"", "the end is known")
    wait_until(lambda: stand.last_decided()["reason"] == "default_deny", "the denial in the record")
    stand.tasks.end(other)


def test_of_two_that_fit_none_is_taken(stand: Stand, gate: Envoy, holder: Path, session: Grant) -> None:
    wait_until(lambda: says(stand, gate, holder) == b"hello", "the grant is known")
    second = stand.tasks.open("session", BILLING, stand.identities.thumbprint(holder), **PLACES)
    wait_until(lambda: says(stand, gate, holder) == b"", "the second is known")
    wait_until(lambda: stand.last_decided()["reason"] == "ambiguous_task", "the denial in the record")
    stand.tasks.end(second)
    wait_until(lambda: says(stand, gate, holder) == b"hello", "the end is known")


def test_a_connection_ends_at_the_cap(stand: Stand, holder: Path, session: Grant) -> None:
    """The answer is about the opening; the cap of the shipped configuration is what ends it."""

    def soon(document: Document) -> None:
        proxy = filter_of(document, "envoy.filters.network.tcp_proxy")
        assert proxy["max_downstream_connection_duration"] == "600s"
        proxy["max_downstream_connection_duration"] = "1s"

    gate = stand.gate("tcp.yaml", "capped", id=TCP_GATE, service=LEDGER, back_end_port=stand.echo.port, change=soon)
    wait_until(lambda: says(stand, gate, holder) == b"hello", "the grant is known")
    with stand.connect(gate, holder) as connection:
        connection.sendall(b"hello")
        assert connection.recv(100) == b"hello"
        assert connection.recv(100) == b""  # and nobody here has closed it
    wait_until(lambda: stand.echo.open == 0, "the back end's side ends, too")
    assert gate.counter("max_downstream_connection_duration") >= 1


def test_without_a_decision_point_nothing_comes_through(stand: Stand, holder: Path, session: Grant) -> None:
    server = stand.serve("tcp-ending")
    gate = stand.gate(
        "tcp.yaml", "tcp-alone", id=TCP_GATE, service=LEDGER, back_end_port=stand.echo.port, server_port=server.port
    )
    wait_until(lambda: says(stand, gate, holder) == b"hello", "the grant is known")
    before = stand.echo.received
    server.stop(signal.SIGKILL)
    assert [says(stand, gate, holder) for _ in range(3)] == [b""] * 3
    assert stand.echo.received == before


def test_a_service_that_speaks_first_is_not_heard_before_the_decision(stand: Stand) -> None:
    """Nor is it reached: a connection behind is made once the answer is yes."""
    holder = stand.identities.svid(BILLING, "greeted")  # whom nothing was ever given
    with GreetingBackEnd() as greeting:
        gate = stand.gate("tcp.yaml", "greeting", id=TCP_GATE, service=LEDGER, back_end_port=greeting.port)
        with stand.connect(gate, holder):  # about which nothing is asked yet
            assert says(stand, gate, holder) == b""
            assert gate.counter("cluster.back_end.upstream_cx_total") == greeting.connections == 0
        grant = stand.tasks.open("session", BILLING, stand.identities.thumbprint(holder), **PLACES)
        wait_until(lambda: says(stand, gate, holder) == b"version 9, welcome", "the grant is known")
        stand.tasks.end(grant)
