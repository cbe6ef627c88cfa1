"""Without a decision point there is no 200: it is stopped, killed, halted in the middle, or somebody else."""

from __future__ import annotations

import signal

from tests.envoy.stand import STRANGER, Stand, wait_until
from tools.programs import free_port


def test_a_decision_point_that_is_halted_or_killed_decides_nothing(stand: Stand) -> None:
    server = stand.serve("ending", state=False)
    gate = stand.gate("http.yaml", "before-ending", server_port=server.port)
    assert stand.get(gate, "/pages/home").status == 200
    before = len(stand.http.received)
    server.send(signal.SIGSTOP)
    assert [stand.get(gate, "/pages/home").status for _ in range(5)] == [503] * 5
    assert len(stand.http.received) == before
    server.send(signal.SIGCONT)
    wait_until(lambda: stand.get(gate, "/pages/home").status == 200, "it goes on")
    before = len(stand.http.received)
    server.stop(signal.SIGKILL)
    assert [stand.get(gate, "/pages/home").status for _ in range(5)] == [503] * 5
    assert len(stand.http.received) == before


def test_nobody_listens(stand: Stand) -> None:
    gate = stand.gate("http.yaml", "alone", server_port=free_port())
    assert stand.get(gate, "/pages/home").status == 503


def test_a_caller_that_is_no_gate_is_told_no(stand: Stand) -> None:
    gate = stand.gate("http.yaml", "stranger", id=STRANGER)
    reply = stand.get(gate, "/pages/home")
    assert (reply.status, reply.reason) == (403, "unknown_gate")


def test_a_gate_that_stands_before_another_service_than_it_may_is_told_no(stand: Stand) -> None:
    gate = stand.gate("http.yaml", "elsewhere", service="spiffe://prod.acme/ns/payments")
    assert stand.get(gate, "/pages/home").reason == "destination_not_asserted"


def test_somebody_else_in_the_place_of_the_decision_point_is_not_asked(stand: Stand) -> None:
    """The gate goes by the SPIFFE ID of the decision point, and not by where it is."""
    impostor = stand.gate("http.yaml", "impostor", service=STRANGER)  # takes connections, with another certificate
    gate = stand.gate("http.yaml", "deceived", server_port=impostor.port)
    assert stand.get(gate, "/pages/home").status == 503
