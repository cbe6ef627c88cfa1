"""The edge, over real sockets: what a call may be, and every way in which it ends early."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from pdp.server.calls import CallQueue
from pdp.server.config import Service
from pdp.server.handlers import EDGE_CODES, Deadline, Handlers, Method
from pdp.server.parts import Parts
from pdp.server.peer import Peer
from tests.pdp.server.raw import Raw, frame
from tests.pdp.server.world import (
    call,
    channel,
    code_of,
    development,
    in_own_words,
    refused,
    running,
    wait_until,
)

HEALTH = "/grpc.health.v1.Health/Check"


@pytest.fixture
def queues(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The queues of the servers that a test starts."""
    found: list[Any] = []
    original = CallQueue.start

    def start(queue: CallQueue) -> None:
        found.append(queue)
        original(queue)

    monkeypatch.setattr(CallQueue, "start", start)
    return found


def test_bytes_in_bytes_out(tmp_path: Path) -> None:
    with running(development(tmp_path)) as server, channel(server.address) as opened:
        assert call(opened, "/test.Echo/Echo", b"\xff\x00 not protobuf") == b"\xff\x00 not protobuf"
        assert call(opened, "/test.Echo/Grants", b"in a thread") == b"in a thread"
        assert call(opened, "/test.Echo/Echo", b"who").startswith(b"development development ")
        answers = opened.stream_stream("/test.Echo/Stream")(iter([b"1", b"2"]))
        assert list(answers) == [b"1", b"2"]


def test_ways_to_end_early(tmp_path: Path) -> None:
    config = development(tmp_path, limits={"message_bytes": 100, "drain": "1s"})
    with running(config) as server, channel(server.address) as opened:
        assert refused(opened, "/test.Echo/None") == "UNIMPLEMENTED unknown_method"
        assert refused(opened, "/test.Echo/Echo", b"x" * 101) == "RESOURCE_EXHAUSTED too_large"
        assert refused(opened, "/test.Echo/Echo", b"refuse") == "FAILED_PRECONDITION no_such_thing"
        assert refused(opened, "/test.Echo/Echo", b"bad") == "INTERNAL internal"
        assert call(opened, "/test.Echo/Gate", b"x" * 101) == b"denied: too_large"
        assert call(opened, "/test.Echo/Gate", b"bad") == b"denied: internal"
        assert call(opened, "/test.Echo/Echo", b"still here") == b"still here"


def test_an_error_of_a_handler_tells_callers_nothing(tmp_path: Path) -> None:
    with running(development(tmp_path)) as server, channel(server.address) as opened:
        with pytest.raises(grpc.RpcError) as ended:
            call(opened, "/test.Echo/Echo", b"bad")
        assert "canary" not in str(ended.value.details())


def test_not_ready_is_a_denial_and_not_a_decision(tmp_path: Path) -> None:
    lacking: list[str | None] = [None]
    with (
        running(development(tmp_path), change=lambda parts: parts.readiness.require("store", lambda: lacking[0])) as server,
        channel(server.address) as opened,
    ):
        assert call(opened, HEALTH) == b"\x08\x01"
        lacking[0] = "the store cannot be read"
        assert call(opened, HEALTH) == b"\x08\x02"
        assert refused(opened, "/test.Echo/Echo") == "UNAVAILABLE not_ready"
        assert call(opened, "/test.Echo/Gate") == b"denied: not_ready"
        lacking[0] = None
        assert call(opened, "/test.Echo/Gate") == b""


def test_health_watch_and_names(tmp_path: Path) -> None:
    ready: list[str | None] = [None]
    with (
        running(development(tmp_path), change=lambda parts: parts.readiness.require("x", lambda: ready[0])) as server,
        channel(server.address) as opened,
    ):
        watching = opened.unary_stream("/grpc.health.v1.Health/Watch")(b"\x0a\x09test.Echo")
        assert next(watching) == b"\x08\x01"
        ready[0] = "no"
        assert next(watching) == b"\x08\x02"
        assert call(opened, HEALTH, b"\x0a\x09test.Echo") == b"\x08\x02"
        assert refused(opened, HEALTH, b"\x0a\x05other") == "NOT_FOUND unknown_service"
        for garbage in (b"\x0a\x09test", b"\x08\x01", b"\x0a\x01\xff", b"\x0a"):
            assert refused(opened, HEALTH, garbage) == "INVALID_ARGUMENT invalid_request"
        assert next(opened.unary_stream("/grpc.health.v1.Health/Watch")(b"\x0a\x05other")) == b"\x08\x03"


def test_a_watch_of_health_that_asks_nothing_is_no_error_of_ours(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever may connect can do it again and again: it is one line a second, and no stack for each."""
    with running(development(tmp_path)) as server, channel(server.address) as opened:
        for _ in range(5):
            with pytest.raises(grpc.RpcError) as ended:
                list(opened.stream_stream("/grpc.health.v1.Health/Watch")(iter(())))
            assert code_of(ended.value) == "INVALID_ARGUMENT malformed"
    assert not [record for record in caplog.records if record.exc_info]


# ---- overload, deadlines, cancelled calls


def as_caller(name: str) -> tuple[tuple[str, str], ...]:
    return (("pdp-as", f"spiffe://dev.test/{name}"),)


class Gate:
    """A handler that waits in its thread until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.go = threading.Event()

    def handle(self, request: bytes, peer: Peer, deadline: Deadline) -> bytes:
        self.entered.release()
        assert self.go.wait(15)
        return request

    def handlers(self, _: Parts) -> Handlers:
        return {
            "/test.Gate/Wait": Method(self.handle, Service.GRANTS, waits=True),
            "/test.Gate/Deny": Method(self.handle, Service.GRANTS, refused=in_own_words, waits=True),
            "/test.Gate/Now": Method(lambda request, *_: request, Service.DECISION, refused=in_own_words),
            "/test.Gate/Plain": Method(lambda request, *_: request, Service.DECISION),
        }


def test_too_many_calls_are_denied_at_once_and_health_stays_up(tmp_path: Path) -> None:
    gate = Gate()
    limits = {"concurrent": 2, "waiting": 2, "step_deadline": "30s", "drain": "1s"}
    with running(development(tmp_path, limits=limits), gate.handlers) as server, channel(server.address) as opened:
        wait = opened.unary_unary("/test.Gate/Wait")
        held = [wait.future(b"held", metadata=as_caller(name)) for name in ("one", "two")]
        assert all(gate.entered.acquire(timeout=15) for _ in held)
        assert call(opened, "/test.Gate/Now") == b"denied: overloaded"
        assert refused(opened, "/test.Gate/Plain") == "RESOURCE_EXHAUSTED overloaded"
        gate.go.set()
        assert [h.result() for h in held] == [b"held"] * 2
        assert wait_until(lambda: server.parts.counters.in_work.all == 0)
        assert call(opened, "/test.Gate/Now", b"again") == b"again"


def test_calls_that_wait_have_a_limit_of_their_own(tmp_path: Path) -> None:
    gate = Gate()
    limits = {"waiting": 1, "step_deadline": "30s", "drain": "1s"}
    with running(development(tmp_path, limits=limits), gate.handlers) as server, channel(server.address) as opened:
        held = opened.unary_unary("/test.Gate/Wait").future(b"held")
        assert gate.entered.acquire(timeout=15)
        assert call(opened, "/test.Gate/Deny") == b"denied: overloaded"
        assert call(opened, "/test.Gate/Now", b"decides") == b"decides"
        gate.go.set()
        assert held.result() == b"held"


def test_our_deadline_holds_where_the_caller_has_none(tmp_path: Path) -> None:
    gate = Gate()
    limits = {"step_deadline": "50ms", "drain": "1s"}
    with running(development(tmp_path, limits=limits), gate.handlers) as server, channel(server.address) as opened:
        assert refused(opened, "/test.Gate/Wait") == "DEADLINE_EXCEEDED deadline_passed"
        assert call(opened, "/test.Gate/Deny") == b"denied: deadline_passed"
        gate.go.set()
        assert wait_until(lambda: server.parts.counters.waiting.all == 0)


def test_a_cancelled_call_is_not_counted_for_ever(tmp_path: Path) -> None:
    gate = Gate()
    with running(development(tmp_path, limits={"step_deadline": "30s", "drain": "1s"}), gate.handlers) as server:
        counters = server.parts.counters
        with channel(server.address) as opened:
            for _ in range(5):
                held = opened.unary_unary("/test.Gate/Wait").future(b"x")
                assert gate.entered.acquire(timeout=15)
                held.cancel()
        gate.go.set()
        assert wait_until(lambda: counters.in_work.all == 0)
        assert wait_until(lambda: counters.waiting.all == 0)


def test_half_a_call_holds_nobody_up(tmp_path: Path, queues: list[Any]) -> None:
    """Slowloris: headers without a message, on connections that then fall silent."""
    with running(development(tmp_path, limits={"concurrent": 16, "deadline": "30s", "drain": "1s"})) as server:
        silent = [Raw(server.address) for _ in range(50)]
        half = _HalfCalls(server.address, 20)
        assert wait_until(lambda: len(queues[0]._half) == 16)  # its others were ended, the oldest first
        assert server.parts.counters.in_work.all == 0
        with channel(server.address) as opened:
            assert call(opened, "/test.Echo/Echo", b"served") == b"served"
        half.close()
        assert wait_until(lambda: not queues[0]._live and not queues[0]._half)
        for each in silent:
            each.close()


def test_a_call_whose_request_does_not_come_ends_at_our_deadline(tmp_path: Path, queues: list[Any]) -> None:
    with running(development(tmp_path, limits={"deadline": "50ms", "drain": "1s"})) as server:
        half = _HalfCalls(server.address, 3)
        assert half.codes() == ["DEADLINE_EXCEEDED deadline_passed"] * 3
        assert wait_until(lambda: not queues[0]._live and not queues[0]._half)
        assert server.parts.counters.in_work.all == 0
        half.close()


@pytest.mark.parametrize("body", [None, b"", bytes(4) + b"\x09abc"], ids=["no data", "nothing", "half a message"])
def test_a_call_that_ends_without_a_whole_request_is_denied_in_words(
    tmp_path: Path, queues: list[Any], body: bytes | None
) -> None:
    with running(development(tmp_path)) as server:
        raw = Raw(server.address)
        raw.call(b"/test.Echo/Gate", body)
        raw.read_until(b"denied: malformed")
        raw.close()
        assert wait_until(lambda: not queues[0]._live)
        assert server.parts.counters.in_work.all == 0


def test_streams_that_are_cancelled_at_once_leave_nothing_and_the_server_ends(tmp_path: Path, queues: list[Any]) -> None:
    with running(development(tmp_path)) as server:
        raw = Raw(server.address)
        for number in range(100):
            raw.call(b"/test.Echo/Stream", None, 2 * number + 1, end=False)
            raw.send(frame(3, 0, 2 * number + 1, b"\0\0\0\x08"))
        with channel(server.address) as opened:
            assert list(opened.stream_stream("/test.Echo/Stream")(iter([b"1"]))) == [b"1"]
        raw.close()
        assert wait_until(lambda: not queues[0]._live)
        assert server.parts.counters.streams == 0


def test_streams_for_everyone_keep_out_no_others(tmp_path: Path) -> None:
    with running(development(tmp_path, limits={"streams": 1, "drain": "1s"})) as server, channel(server.address) as opened:
        watching = opened.unary_stream("/grpc.health.v1.Health/Watch")
        first = watching(b"")
        assert next(first) == b"\x08\x01"
        with pytest.raises(grpc.RpcError) as ended:
            next(watching(b""))
        assert code_of(ended.value) == "RESOURCE_EXHAUSTED overloaded"
        assert list(opened.stream_stream("/test.Echo/Stream")(iter([b"1"]))) == [b"1"]
        first.cancel()


def test_one_caller_has_half_of_the_streams_at_most(tmp_path: Path) -> None:
    go = threading.Event()

    def one_and_wait() -> Iterator[bytes]:
        yield b"1"
        go.wait(15)

    with running(development(tmp_path, limits={"streams": 4, "drain": "1s"})) as server, channel(server.address) as opened:
        stream = opened.stream_stream("/test.Echo/Stream")

        def begin(name: str) -> Any:
            call = stream(one_and_wait(), metadata=as_caller(name))
            assert next(call) == b"1"
            return call

        begun = [begin("greedy"), begin("greedy")]
        with pytest.raises(grpc.RpcError) as ended:
            begin("greedy")
        assert code_of(ended.value) == "RESOURCE_EXHAUSTED overloaded"
        begun += [begin("other"), begin("other")]
        for each in begun:
            each.cancel()
        go.set()
        assert wait_until(lambda: server.parts.counters.streams == 0)
        assert not server.parts.counters.streams_of


class _HalfCalls:
    """Calls whose request never comes."""

    def __init__(self, address: str, count: int) -> None:
        self._never = threading.Event()
        self._channel = grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
        self._calls = [self._channel.stream_unary("/test.Echo/Echo").future(self._nothing()) for _ in range(count)]

    def _nothing(self) -> Any:
        self._never.wait(30)
        yield from ()

    def codes(self) -> list[str]:
        return [code_of(each.exception(15)) for each in self._calls]

    def close(self) -> None:
        for each in self._calls:
            each.cancel()
        self._never.set()
        self._channel.close()


def test_streams_have_limits_of_number_and_size(tmp_path: Path) -> None:
    config = development(tmp_path, limits={"streams": 1, "message_bytes": 10, "drain": "1s"})
    with running(config) as server, channel(server.address) as opened:
        stream = opened.stream_stream("/test.Echo/Stream")
        go = threading.Event()

        def one_and_wait() -> Iterator[bytes]:
            yield b"1"
            go.wait(15)

        first = stream(one_and_wait())
        assert next(first) == b"1"
        with pytest.raises(grpc.RpcError) as ended:
            next(stream(iter([b"2"])))
        assert code_of(ended.value) == "RESOURCE_EXHAUSTED overloaded"
        first.cancel()
        go.set()
        assert wait_until(lambda: server.parts.counters.streams == 0)
        with pytest.raises(grpc.RpcError) as ended:
            next(stream(iter([b"x" * 11])))
        assert code_of(ended.value) == "RESOURCE_EXHAUSTED too_large"
        with pytest.raises(grpc.RpcError) as ended:
            list(stream(iter([b"bad"])))
        assert code_of(ended.value) == "INTERNAL internal"


def test_nothing_is_left_of_calls_that_are_over(tmp_path: Path, queues: list[Any]) -> None:
    with running(development(tmp_path)) as server, channel(server.address) as opened:
        for number in range(200):
            call(opened, "/test.Echo/Echo", b"x" * number)
            assert refused(opened, "/test.Echo/Echo", b"refuse")
        assert wait_until(lambda: not queues[0]._live)


# ---- what is told back


def test_a_correlation_id_comes_back(tmp_path: Path) -> None:
    with running(development(tmp_path)) as server, channel(server.address) as opened:
        ask = opened.unary_unary("/test.Echo/Echo")
        _, told = ask.with_call(b"", metadata=(("x-request-id", "abc-1"),))
        assert ("x-request-id", "abc-1") in [tuple(m) for m in told.trailing_metadata()]
        with pytest.raises(grpc.RpcError) as ended:
            ask(b"bad", metadata=(("x-request-id", "abc-2"),))
        assert ("x-request-id", "abc-2") in [tuple(m) for m in ended.value.trailing_metadata()]
        _, told = ask.with_call(b"", metadata=(("x-request-id", "x" * 129),))
        assert list(told.trailing_metadata()) == []


def test_drain_ends_streams_and_finishes_calls(tmp_path: Path) -> None:
    gate = Gate()
    limits = {"step_deadline": "30s", "drain": "10s"}
    with running(development(tmp_path, limits=limits), gate.handlers) as server, channel(server.address) as opened:
        watching = opened.unary_stream("/grpc.health.v1.Health/Watch")(b"")
        assert next(watching) == b"\x08\x01"
        held = opened.unary_unary("/test.Gate/Wait").future(b"finished")
        assert gate.entered.acquire(timeout=15)
        server.stop()
        with pytest.raises(grpc.RpcError) as ended:
            list(watching)
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        gate.go.set()
        assert held.result() == b"finished"


def test_every_code_of_the_edge_is_a_status() -> None:
    assert all(hasattr(grpc.StatusCode, status) for status, _ in EDGE_CODES.values())
