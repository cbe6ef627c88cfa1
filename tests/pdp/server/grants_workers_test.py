"""Several real processes with one store: what was acknowledged is known to all of them, survives all, and is used once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from pdp.store.issuer_keys import read_issuer_keys, withdraw
from pdp.wire.messages import PDP
from tests.pdp.server.grants_world import API as HOLDER
from tests.pdp.server.grants_world import (
    CI,
    DECISIONS,
    Client,
    Place,
    asking,
    asking_envoy,
    bound,
    opening,
)
from tests.pdp.server.workers_test import Several, several
from tests.pdp.server.world import GATE, call, channel, wait_until

WORKER = "tests.pdp.server.grants_worker"
URI = "https://ledger.test/rows"
EMPTY = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def two(place: Place) -> Iterator[Several]:
    with several(place.config(workers=2), WORKER) as found:
        yield found


def keyed(place: Place) -> Any:
    message = opening()
    message.bindings.key = place.jkt
    return message


def proving(place: Place, handle: str) -> Any:
    """A question with a proof of its own."""
    message = asking(place, handle, action="update")
    message.task.target.method, message.task.target.uri, message.task.target.body_sha256 = "POST", URI, EMPTY
    message.task.proof = place.proof("POST", URI, handle, EMPTY)
    return message


def client(place: Place, server: Several, number: int) -> tuple[Any, Client]:
    """A gate that is connected with this process."""
    opened, connection = server.connected(number, place.credentials(GATE))
    return opened, Client(connection)


def test_a_step_anywhere_is_known_everywhere_and_a_proof_is_used_once(place: Place, two: Several) -> None:
    ends = [client(place, two, number) for number in (0, 1)]
    gates = [gate for _, gate in ends]
    with place.calling(two.address, CI) as ci:
        opened = ci.grants("Open", keyed(place))
        for first, second in ((0, 1), (1, 0), (1, 1)):
            ask = proving(place, opened.handle)
            assert [gates[first].reason(ask), gates[second].reason(ask)] == ["allowed", "proof_replayed"]
        # At the same time, at both.
        for _ in range(20):
            ask = proving(place, opened.handle)
            reasons = at_once([lambda gate=gate, ask=ask: gate.reason(ask) for gate in gates])  # type: ignore[misc]
            assert Counter(reasons) == {"allowed": 1, "proof_replayed": 1}
        # Many in one message, and one after the other in a stream.
        ask = proving(place, opened.handle)
        raw = call(gates[1].channel, f"{DECISIONS}CheckMany", PDP.CheckManyRequest(requests=[ask]).SerializeToString())
        assert [r.decision.allowed for r in PDP.CheckManyResponse.FromString(raw).results] == [True]
        asks = [proving(place, opened.handle), ask, asking(place, opened.handle, action="update")]
        stream = gates[1].channel.stream_stream(f"{DECISIONS}CheckStream")
        told = [PDP.CheckResult.FromString(r).decision for r in stream(iter([a.SerializeToString() for a in asks]))]
        assert [decision.reason for decision in told] == ["allowed", "proof_replayed", "proof_missing"]
        envoy = asking_envoy(place, opened.handle)
        assert [gate.envoy(envoy).status.message for gate in gates] == ["proof_missing"] * 2
        proof = place.proof("GET", "https://ledger.test/tables/invoices", opened.handle, None)
        envoy.attributes.request.http.headers["task-proof"] = proof
        assert [gate.envoy(envoy).status.code for gate in gates] == [0, 16]
        ci.grants("End", PDP.EndRequest(task=opened.grant.task))
        assert [gate.reason(proving(place, opened.handle)) for gate in gates] == ["task_ended"] * 2
    for opened_channel, _ in ends:
        opened_channel.__exit__(None, None, None)


def test_uses_are_counted_in_one_place(place: Place, two: Several) -> None:
    ends = [client(place, two, number) for number in (0, 1)]
    with place.calling(two.address, CI) as ci:
        handle = ci.grants("Open", bound(place, uses=3)).handle
        ask = asking(place, handle)
        reasons = at_once([lambda gate=gate: gate.reason(ask) for _, gate in ends * 4])  # type: ignore[misc]
        assert Counter(reasons) == {"allowed": 3, "grant_consumed": 5}
        assert [gate.reason(asking(place, handle, "others")) for _, gate in ends] == ["default_deny"] * 2
    for opened_channel, _ in ends:
        opened_channel.__exit__(None, None, None)


def test_failed_bindings_count_wherever_they_are_tried(place: Place) -> None:
    store = {"path": str(place.folder / "store" / "grants.sqlite"), "suspend_after": 2}
    with several(place.config(workers=2, store=store), WORKER) as server, place.calling(server.address, CI) as ci:
        ends = [client(place, server, number) for number in (0, 1)]
        opened = ci.grants("Open", bound(place))
        stolen = asking(place, opened.handle, holder=f"{HOLDER}2")
        for _, gate in ends:
            assert gate.reason(stolen) == "task_misheld"
        for _, gate in ends:
            assert wait_until(lambda gate=gate: gate.reason(asking(place, opened.handle)) == "task_suspended")  # type: ignore[misc]
        for opened_channel, _ in ends:
            opened_channel.__exit__(None, None, None)


def test_a_killed_writer_loses_nothing_that_it_acknowledged(place: Place, two: Several) -> None:
    """Steps are taken while it is killed again and again; each that was answered is there afterwards, ended or not."""
    acknowledged: dict[str, bool] = {}
    for round_ in range(3):
        writer = two.supervisor.processes[0]
        for number in range(12):
            if number == 6:
                os.kill(writer, signal.SIGKILL)
            name = f"{round_} {number}"
            grant = take(place, two, lambda ci: ci.grants("Open", bound(place, idempotency_key=name)).grant)  # type: ignore[misc]  # noqa: B023
            assert grant is not None
            acknowledged[grant.id] = False
            if number % 2:
                take(place, two, lambda ci: ci.grants("End", PDP.EndRequest(grant=grant.id)))  # type: ignore[misc]  # noqa: B023
                acknowledged[grant.id] = True
        assert two.supervisor.processes[0] != writer
    with place.calling(two.address, CI) as ci:
        known = {g.id: g.state for g in ci.grants("List", PDP.ListRequest(states=[3, 5], page_size=1000)).grants}
    assert len(acknowledged) == 36
    assert known == {grant_id: 5 if ended else 3 for grant_id, ended in acknowledged.items()}


def test_no_process_relies_on_a_store_that_is_not_confirmed(place: Place) -> None:
    store = place.folder / "store" / "grants.sqlite"
    with several(place.config(workers=2, store={"path": str(store), "freshness": "1s"}), WORKER) as server:
        ends = [client(place, server, number) for number in (0, 1)]
        with place.calling(server.address, CI) as ci:
            handle = ci.grants("Open", bound(place)).handle
        store.with_name(f"{store.name}.witness").rename(place.folder / "elsewhere")
        for opened_channel, gate in ends:
            wait_until(lambda gate=gate: gate.envoy(asking_envoy(place, handle)).status.message == "not_ready")  # type: ignore[misc]
            assert gate.refused("Check", asking(place, handle), DECISIONS) == "UNAVAILABLE not_ready"
            opened_channel.__exit__(None, None, None)


def test_a_key_that_was_withdrawn_stops_in_every_process(place: Place, two: Several) -> None:
    keys = place.folder / "store" / "keys"
    ends = [client(place, two, number) for number in (0, 1)]
    with place.calling(two.address, CI) as ci:
        handle = ci.grants("Open", bound(place)).handle
    now = time.time_ns() // 1000
    withdraw(keys, read_issuer_keys(keys).signing(now).id, now)
    for opened_channel, gate in ends:
        assert wait_until(lambda gate=gate: gate.reason(asking(place, handle)) == "key_unknown")  # type: ignore[misc]
        opened_channel.__exit__(None, None, None)


def take(place: Place, server: Several, step: Any) -> Any:
    """Tried again for as long as nobody answers; None where a step turned out to be taken already."""

    def once() -> tuple[Any] | None:
        with channel(server.address, place.credentials(CI)) as opened:
            try:
                return (step(Client(opened)),)
            except grpc.RpcError as error:
                if "task_ended" in (error.details() or ""):
                    return (None,)
                if error.code().name not in ("UNAVAILABLE", "UNKNOWN", "CANCELLED", "DEADLINE_EXCEEDED"):
                    raise
                return None

    return wait_until(once, "an answer")[0]


def at_once(steps: list[Any]) -> list[Any]:
    found: list[Any] = [None] * len(steps)
    ready = threading.Barrier(len(steps))

    def run(number: int) -> None:
        ready.wait()
        found[number] = steps[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(steps))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
