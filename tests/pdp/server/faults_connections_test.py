"""Connections that do harm by being there: many idle ones, readers that do not read, calls that nobody waits for."""

from __future__ import annotations

import json
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from pdp.wire.messages import PDP
from tests.pdp.server.faults import Load, ask, descriptors, figure, memory_kib, question, serving
from tests.pdp.server.grants_world import DECISIONS
from tests.pdp.server.raw import Raw, field, frame
from tests.pdp.server.serve_test import Served
from tests.pdp.server.world import WAIT_S, Identities, call, channel, production, running, wait_until

IDLE = 10_000
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)
#: For one connection that has said hello, in the server: 17 KiB were measured.
KIB_EACH = 64


@contextmanager
def as_many_files_as_may_be() -> Iterator[int]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(server: Served) -> socket.socket:
    host, _, port = server.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=WAIT_S)


def test_156_ten_thousand_idle_connections(tmp_path: Path) -> None:
    """Who asks is answered, memory is bounded, and after `limits.idle` they are gone: those that said hello, and a thousand
    that said nothing."""
    with as_many_files_as_may_be() as hard, ExitStack() as open_:
        number = min(IDLE, hard - 500)
        if number < 500:
            pytest.skip(f"only {hard} files may be open here")
        if number < IDLE:
            print(f"scaled down to {number}: only {hard} files may be open here")
        server = open_.enter_context(serving(tmp_path, PDP_LIMITS_IDLE="8s", PDP_LIMITS_CONNECTIONS=str(2 * IDLE)))
        pid = server.process.pid
        with channel(server.address) as opened:
            assert ask(opened) == "allowed"
            before, files = memory_kib(pid), descriptors(pid)
            for nth in range(number):
                idle = open_.enter_context(connect(server))
                if nth >= number // 10:
                    idle.sendall(PREFACE)
            wait_until(lambda: descriptors(pid) >= files + number, "all are taken")
            assert [ask(opened) for _ in range(20)] == ["allowed"] * 20
            with channel(server.address) as another:
                assert ask(another) == "allowed"
            wait_until(lambda: descriptors(pid) < files + 20, "all are gone")
            assert memory_kib(pid) - before < number * KIB_EACH
            assert ask(opened) == "allowed"


def test_156_a_connection_that_never_shakes_hands_is_closed(tmp_path: Path) -> None:
    """Before the handshake of TLS a connection is not even idle; grpcio alone waits two minutes for it."""
    config = production(tmp_path, Identities(tmp_path), limits={"idle": "1s", "drain": "1s"})
    with running(config) as server, ExitStack() as open_:
        host, _, port = server.address.rpartition(":")
        for start in (b"", b"\x16\x03\x01"):
            each = open_.enter_context(socket.create_connection((host, int(port)), timeout=WAIT_S))
            each.sendall(start)
            assert each.recv(1) == b""  # the end; a timeout otherwise


def test_159_no_more_files_can_be_opened(tmp_path: Path) -> None:
    """Who is connected is answered; when there are files again, so is everybody."""
    with serving(tmp_path) as server, channel(server.address) as opened, ExitStack() as open_:
        pid = server.process.pid
        assert ask(opened) == "allowed"
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors(pid) + 20, hard))
        waiting = [open_.enter_context(connect(server)) for _ in range(100)]
        for each in waiting:
            each.sendall(PREFACE)
        assert [ask(opened) for _ in range(20)] == ["allowed"] * 20
        open_.close()

        def another() -> bool:
            with channel(server.address) as fresh:
                return ask(fresh, timeout=2) == "allowed"

        wait_until(another)
        assert resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] < soft


def count(server: Served, name: str, labels: str = "") -> float:
    lines = server.get("/metrics")[1].splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name) and labels in line)


def test_slow_readers(tmp_path: Path) -> None:
    """They ask and do not read: no more is worked for them than a connection may have in work, and others are answered."""
    many = field(1, b"") * 1000  # 2 KB to ask, and more than 64 KiB to answer: what was wrong with each
    body = b"\0" + len(many).to_bytes(4, "big") + many
    at_once, readers = 10, 4
    with (
        serving(tmp_path, PDP_LIMITS_CALLS_PER_CONNECTION=str(at_once), PDP_LIMITS_DEADLINE="60s") as server,
        Load(server.address, 1) as load,
        ExitStack() as open_,
    ):
        before = memory_kib(server.process.pid)
        for _ in range(readers):
            slow = Raw(server.address)
            open_.callback(slow.close)
            for number in range(25):
                slow.call(f"{DECISIONS}CheckMany".encode(), body, 2 * number + 1)
        wait_until(lambda: count(server, "pdp_call_seconds_count", "CheckMany") >= readers * at_once, "they were worked for")
        load.goes_on(300)
        assert count(server, "pdp_call_seconds_count", "CheckMany") <= readers * (at_once + 1)
        assert memory_kib(server.process.pid) - before < 50 * 1024
        open_.close()
        load.goes_on()
        wait_until(lambda: figure(server, "pdp_calls_in_work") <= 1)
        assert load.wrong == {}


def test_slow_readers_of_streams(tmp_path: Path) -> None:
    """Answers that nobody takes hold back the questions: nothing piles up."""
    one = b"\0" + len(question()).to_bytes(4, "big") + question()
    questions = 63_000 // len(one)  # as many bytes as may be sent before anything was read
    with serving(tmp_path) as server, channel(server.address) as opened:
        slow = Raw(server.address)
        slow.call(f"{DECISIONS}CheckStream".encode(), None, end=False)
        for at in range(0, questions, 300):
            slow.send(frame(0, 0, 1, one * min(300, questions - at)))
        wait_until(lambda: count(server, "pdp_decision_seconds_count") >= 200, "some are answered")
        assert [ask(opened) for _ in range(300)] == ["allowed"] * 300
        assert count(server, "pdp_decision_seconds_count") - 300 < 0.8 * questions  # of 64 KiB of answers, and not of all
        assert figure(server, "pdp_streams_open") == 1
        slow.close()
        wait_until(lambda: figure(server, "pdp_streams_open") == 0)


def test_153_cancelled_calls(tmp_path: Path) -> None:
    """Calls of every shape, dropped at every moment: no work is left, no answer is another's, and the record is whole."""
    record, keys = tmp_path / "record", tmp_path / "keys"
    environment = {"PDP_RECORD_DIRECTORY": str(record), "PDP_RECORD_KEYS": str(keys)}
    many = PDP.CheckManyRequest(requests=[PDP.CheckRequest.FromString(question())] * 50).SerializeToString()
    with serving(tmp_path, **environment) as server, Load(server.address, 1) as load, channel(server.address) as opened:
        load.goes_on()
        check = opened.unary_unary(f"{DECISIONS}Check")
        for number in range(300):
            held = [
                check.future(question("shut")),
                check.future(question(), timeout=0.0005),  # its own deadline
                opened.unary_unary(f"{DECISIONS}CheckMany").future(many),
                opened.unary_unary(f"{DECISIONS}Explain").future(many),
                opened.stream_stream(f"{DECISIONS}CheckStream")(iter([question()] * 5)),
            ]
            if number % 3 == 0:
                ask(opened)  # lets them get somewhere
            for each in held:
                each.cancel()
        load.goes_on()
        wait_until(lambda: figure(server, "pdp_streams_open") == 0 and figure(server, "pdp_calls_waiting") == 0)
        assert load.wrong == {}
        assert not [k for k in load.told if k[1].startswith("UNAVAILABLE")]
        assert ask(opened, question("shut")) == "default_deny"
    with serving(tmp_path, **environment) as server, channel(server.address) as opened:  # killed by then; goes on
        assert ask(opened) == "allowed"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(2 * WAIT_S) == 0
    lines = [json.loads(line) for path in sorted(record.glob("worker-0/record-*")) for line in path.read_text().splitlines()]
    assert [line["seq"] for line in lines] == list(range(len(lines)))
    for line in lines:
        if line["kind"] == "decision":
            allowed = line["entry"]["outcome"] == "allow"
            assert allowed == (line["entry"]["request"]["resource"][1] == "open")


def test_162_denials_have_one_shape(tmp_path: Path) -> None:
    """What there is and what there is not are told apart by nothing that a caller sees but its own question."""
    with serving(tmp_path) as server, channel(server.address) as opened:
        told = []
        for document in ("shut", "gone"):
            raw = call(opened, f"{DECISIONS}Check", question(document))
            decision = PDP.CheckResponse.FromString(raw).decision
            decision.ClearField("id")
            told.append(decision.SerializeToString(deterministic=True))
        assert told[0] == told[1]
