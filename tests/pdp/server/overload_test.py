"""One caller who asks for too much: it is refused or ended, and nobody else notices."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import grpc
import pytest

from pdp.server.calls import ACCEPTING, METADATA_MAX
from pdp.server.config import Service
from pdp.server.half_open import SHARE_MIN, HalfOpen
from pdp.server.handlers import Deadline, Method
from pdp.server.native import open_connections
from pdp.server.parts import Parts
from pdp.server.peer import Peer
from pdp.server.queued import Queued
from pdp.server.shares import Shares
from pdp.server.turns import Turns
from tests.pdp.server import half_open_flood as half_open_flood_program
from tests.pdp.server.edge_test import Gate, as_caller
from tests.pdp.server.half_open_flood import context
from tests.pdp.server.raw import TAKES_NOTHING, Raw, frame
from tests.pdp.server.world import (
    GATE,
    STRANGER,
    Identities,
    Running,
    call,
    channel,
    code_of,
    development,
    production,
    refused,
    running,
    wait_until,
)

ROOT = Path(__file__).parents[3]
GREEDY = [(b"pdp-as", b"spiffe://dev.test/greedy")]
ECHO = b"/test.Echo/Echo"
MOST = 2 * SHARE_MIN + 64


def message(body: bytes) -> bytes:
    return b"\0" + len(body).to_bytes(4, "big") + body


def files_of(identities: Identities, spiffe_id: str) -> tuple[str, str, str]:
    """Certificate, key, and the roots of the server."""
    roots = identities.folder / "roots.pem"
    roots.write_bytes(identities.domain.bundle_pem())
    certificate, key = identities.write(spiffe_id, "raw")
    return str(certificate), str(key), str(roots)


# ---- calls without a message (S3)


def test_s3_whoever_may_not_call_is_told_so_before_its_message(tmp_path: Path) -> None:
    """Finding S3: today the message is awaited first, so its call waits among those that count."""
    identities = Identities(tmp_path)
    limits = {"deadline": "30s", "drain": "1s"}
    with running(production(tmp_path, identities, limits=limits)) as server:
        for method in (b"/test.Echo/Gate", b"/test.Echo/Stream", ECHO):
            eve = Raw(server.address, context(*files_of(identities, STRANGER)))
            eve.call(method, None, end=False)
            eve.read_until(b"not_permitted")
            eve.close()


@contextmanager
def half_open_flood(server: Running, identities: Identities, method: str) -> Iterator[IO[str]]:
    """By a workload that has no role: a thousand calls for each line that it is told."""
    command = [sys.executable, "-m", half_open_flood_program.__name__, server.address, method]
    command += files_of(identities, STRANGER)
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True, cwd=ROOT) as flood:
        assert flood.stdin is not None
        yield flood.stdin
        flood.kill()


@pytest.mark.parametrize("method", ["/test.Echo/Gate", "/grpc.health.v1.Health/Check"])
def test_s3_calls_without_a_message_of_a_stranger_fail_no_check_of_a_gate(tmp_path: Path, method: str) -> None:
    """Finding S3: 82 % of a gate's checks ended as failed calls, which are no denials. It may not call the one method, and
    may call the other."""
    identities = Identities(tmp_path)
    with (
        running(production(tmp_path, identities, limits={"deadline": "10s", "drain": "1s"})) as server,
        channel(server.address, identities.credentials(GATE)) as gate,
        half_open_flood(server, identities, method) as flood,
    ):
        answers = []
        for _ in range(20):
            flood.write("\n" * 4)
            flood.flush()
            answers += [call(gate, "/test.Echo/Gate", b"asked") for _ in range(10)]
        assert set(answers) == {b"asked"}
    assert server.parts.counters.in_work.all == server.parts.counters.bytes.all == 0


def test_s3_one_who_opens_calls_and_says_nothing_loses_its_own(tmp_path: Path) -> None:
    """Finding S3: the oldest went, whosever it was."""
    with running(development(tmp_path, limits={"concurrent": 80, "deadline": "30s", "drain": "1s"})) as server:
        innocent, greedy = Raw(server.address), Raw(server.address)
        innocent.call(ECHO, None, end=False)
        with channel(server.address) as opened:
            assert call(opened, "/test.Echo/Echo") == b""  # so the innocent one came first
        for number in range(90):
            greedy.call(ECHO, None, 2 * number + 1, end=False, more=GREEDY)
        greedy.read_until(b"overloaded")
        innocent.send(frame(0, 1, 1, message(b"here it is")))
        innocent.read_until(b"here it is")
        for each in (innocent, greedy):
            each.close()


def test_s3_half_open_calls_are_shared() -> None:
    """The oldest of one who has its share goes; where all have less and it is too much, of the one who has most."""
    half: HalfOpen[str] = HalfOpen()
    assert SHARE_MIN >= 2 * ACCEPTING  # a burst of whole calls is none of half ones
    assert {half.add(f"a{n}", "a", n, MOST) for n in range(SHARE_MIN)} == {None}
    assert half.add("a of many", "a", 20, MOST) == "a0"
    assert {half.add(f"b{n}", "b", 30 + n, MOST) for n in range(SHARE_MIN - 1)} == {None}
    assert {half.add(f"c{n}", "c", 50 + n, MOST) for n in range(MOST - 2 * SHARE_MIN + 1)} == {None}
    assert half.add("d0", "d", 60, MOST) == "a1"
    half.drop("b0")
    assert half.add("d1", "d", 60, MOST) is None
    assert half.late(1) is None
    gone = []
    while (late := half.late(1_000)) is not None:
        gone.append(late)
    assert (len(gone), gone[0], gone[-1]) == (MOST, "a2", "d1")
    assert half.soonest_ns() is None
    half.drop("never there")


# ---- shares of a caller (S4)


def test_s4_one_caller_has_half_of_the_calls_in_work_at_most(tmp_path: Path) -> None:
    gate = Gate()
    limits = {"concurrent": 4, "waiting": 64, "step_deadline": "30s", "drain": "1s"}
    with running(development(tmp_path, limits=limits), gate.handlers) as server, channel(server.address) as opened:
        wait = opened.unary_unary("/test.Gate/Wait")
        held = [wait.future(b"held", metadata=as_caller("greedy")) for _ in range(2)]
        assert all(gate.entered.acquire(timeout=15) for _ in held)
        with pytest.raises(grpc.RpcError) as ended:
            call(opened, "/test.Gate/Plain", metadata=as_caller("greedy"))
        assert code_of(ended.value) == "RESOURCE_EXHAUSTED overloaded"
        assert "half of all calls in work are this caller's" in str(ended.value.details())
        assert call(opened, "/test.Gate/Now", metadata=as_caller("greedy")) == b"denied: overloaded"
        assert call(opened, "/test.Gate/Now", b"another's", metadata=as_caller("other")) == b"another's"
        gate.go.set()
        assert [h.result() for h in held] == [b"held"] * 2
        assert wait_until(lambda: server.parts.counters.in_work.all == 0)
        assert not server.parts.counters.in_work.of


def test_s4_one_caller_has_half_of_the_calls_that_wait_at_most(tmp_path: Path) -> None:
    gate = Gate()
    limits = {"waiting": 4, "step_deadline": "30s", "drain": "1s"}
    with running(development(tmp_path, limits=limits), gate.handlers) as server, channel(server.address) as opened:
        wait = opened.unary_unary("/test.Gate/Wait")
        held = [wait.future(b"held", metadata=as_caller("greedy")) for _ in range(2)]
        assert all(gate.entered.acquire(timeout=15) for _ in held)
        with pytest.raises(grpc.RpcError) as ended:
            call(opened, "/test.Gate/Wait", metadata=as_caller("greedy"))
        assert "half of all calls that wait are this caller's" in str(ended.value.details())
        held.append(wait.future(b"held", metadata=as_caller("other")))
        assert gate.entered.acquire(timeout=15)
        gate.go.set()
        assert [h.result() for h in held] == [b"held"] * 3
        assert wait_until(lambda: server.parts.counters.waiting.all == 0)


def test_shares() -> None:
    shares = Shares()
    for caller, amount in (("a", 3), ("b", 2), ("a", -3)):
        shares.add(caller, amount)
    assert (shares.all, shares.of) == (2, {"b": 2})
    assert shares.refuses("b", 4, "things") is None
    assert shares.refuses("b", 3, "things") == "half of all things are this caller's"
    assert shares.refuses("a", 1, "things") == "more than 1 things"


# ---- what takes long (S4)


def test_s4_what_can_take_long_does_not_run_where_all_calls_arrive(tmp_path: Path) -> None:
    """Finding S4: 52 ms in the thread of all calls, for one question."""

    def where(request: bytes, peer: Peer, deadline: Deadline) -> bytes:
        return threading.current_thread().name.encode()

    def handlers(_: Parts) -> dict[str, Method]:
        return {
            "/test.Long/Question": Method(where, Service.DECISION, quick_bytes=10),
            "/test.Long/Batch": Method(where, Service.DECISION, waits=True, computes=True),
            "/test.Long/Step": Method(where, Service.DECISION, waits=True),
        }

    with running(development(tmp_path), handlers) as server, channel(server.address) as opened:
        assert call(opened, "/test.Long/Question", b"x" * 10) == b"pdp-calls"
        assert call(opened, "/test.Long/Question", b"x" * 11) == b"pdp-computes"
        assert call(opened, "/test.Long/Batch") == b"pdp-computes"
        assert call(opened, "/test.Long/Step").startswith(b"pdp-waits")


def test_s4_callers_take_turns() -> None:
    """Finding S4: whoever asked for many batches had them all answered first."""
    turns, entered, go, done = Turns("test"), threading.Event(), threading.Event(), []

    def hold() -> bool:
        entered.set()
        return go.wait(15)

    first = turns.submit("greedy", hold)
    assert entered.wait(15)
    later = [turns.submit("greedy", lambda n=n: done.append(f"greedy {n}")) for n in range(3)]
    later.append(turns.submit("other", lambda: done.append("other")))
    go.set()
    assert first.result(15)
    for each in later:
        each.result(15)
    assert done == ["greedy 0", "other", "greedy 1", "greedy 2"]
    failed = turns.submit("greedy", lambda: [][0])
    with pytest.raises(IndexError):
        failed.result(15)
    turns.shutdown()
    with pytest.raises(RuntimeError):
        turns.submit("late", list)


def test_what_waits_for_its_turn_is_dropped_at_the_end() -> None:
    turns, entered, go = Turns("test"), threading.Event(), threading.Event()

    def hold() -> bool:
        entered.set()
        return go.wait(15)

    held = turns.submit("a", hold)
    waiting = turns.submit("a", list)
    assert entered.wait(15)
    ending = threading.Thread(target=turns.shutdown)
    ending.start()
    with pytest.raises(CancelledError):
        waiting.result(15)
    go.set()
    assert held.result(15)
    ending.join(15)
    assert not ending.is_alive()


# ---- answers that nobody takes (S6)


def test_s6_an_answer_that_nobody_takes_is_counted_and_then_cancelled(tmp_path: Path) -> None:
    """Finding S6: 852 answers were held, and `pdp_calls_in_work` said 3."""
    with running(development(tmp_path, limits={"deadline": "100ms", "drain": "1s"})) as server:
        counters = server.parts.counters
        silent = Raw(server.address, settings=TAKES_NOTHING)
        for number in range(20):
            silent.call(ECHO, message(b"x" * 1_000), 2 * number + 1)
        assert wait_until(lambda: counters.in_work.all == 20)
        assert wait_until(lambda: counters.bytes.all == 20 * 2_000)  # requests and answers
        assert wait_until(lambda: counters.in_work.all == counters.bytes.all == 0)  # with the connection still open
        silent.close()


def test_s6_answers_that_nobody_takes_keep_no_other_caller_out(tmp_path: Path) -> None:
    """Finding S6: they are bounded by bytes, and each caller has a share of those."""
    limits = {"deadline": "20s", "drain": "1s", "held_bytes": 20_000}
    with running(development(tmp_path, limits=limits)) as server, channel(server.address) as opened:
        bytes_ = server.parts.counters.bytes
        silent = Raw(server.address, settings=TAKES_NOTHING)
        for number in range(20):
            silent.call(ECHO, message(b"x" * 1_000), 2 * number + 1, more=GREEDY)
        assert wait_until(lambda: bytes_.of.get("spiffe://dev.test/greedy", 0) >= 10_000)
        with pytest.raises(grpc.RpcError) as ended:
            call(opened, "/test.Echo/Echo", b"x", metadata=as_caller("greedy"))
        assert "half of all bytes in work are this caller's" in str(ended.value.details())
        assert call(opened, "/test.Echo/Echo", b"x" * 1_000, metadata=as_caller("other")) == b"x" * 1_000
        silent.close()
        assert wait_until(lambda: bytes_.all == 0)


def test_s6_connections_have_a_limit_and_a_figure(tmp_path: Path) -> None:
    """Finding S6: 9,000 of them were taken. One too many is closed; those that are open go on."""
    with (
        running(development(tmp_path, limits={"connections": 5, "drain": "1s"})) as server,
        channel(server.address) as opened,
        ExitStack() as stack,
    ):
        assert call(opened, "/test.Echo/Echo", b"x") == b"x"
        before = open_connections()
        more = [Raw(server.address) for _ in range(4)]
        for each in more:
            stack.callback(each.close)
            each.call(ECHO, message(b"heard"))
            each.read_until(b"heard")
        assert open_connections() == before + 4
        assert {name: value for name, _, value in server.parts.counters.gauges()}["connections_open"] == before + 4
        with pytest.raises((AssertionError, OSError)):
            Raw(server.address).read_until(b"never")  # it is closed
        assert call(opened, "/test.Echo/Echo", b"y") == b"y"
        more[0].close()

        def another() -> Any:
            with channel(server.address) as fresh:
                try:
                    return call(fresh, "/test.Echo/Echo", b"z", timeout=2)
                except grpc.RpcError:
                    return None

        assert wait_until(another) == b"z"


def test_what_a_call_held_is_let_go_when_it_is_over(tmp_path: Path) -> None:
    """Finding S6, its brother: a timer kept a call that had ended, with its request, until the deadline."""
    kept: list[Any] = []
    with (
        running(development(tmp_path, limits={"step_deadline": "30s", "drain": "1s"})) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        from pdp.server.calls import CallQueue

        original = CallQueue.at
        patch.setattr(CallQueue, "at", lambda *args: kept.append(original(*args)) or kept[-1])
        with channel(server.address) as opened:
            assert call(opened, "/test.Echo/Grants", b"x") == b"x"
            assert refused(opened, "/test.Echo/Grants", b"refuse") == "FAILED_PRECONDITION no_such_thing"
        assert wait_until(lambda: kept == [[], []])


def test_metadata_that_unpack_to_much_are_refused_and_not_held(tmp_path: Path) -> None:
    """A brother of S6: one header that HPACK remembers, said 4,000 times in a byte each, became 16 MB in Python, which a
    refusal in its own words kept. The limit in bytes is of grpcio, and holds on the wire alone."""
    many = [(f"m{number}", "x") for number in range(METADATA_MAX + 1)]
    with running(development(tmp_path)) as server, channel(server.address) as opened:
        assert refused(opened, ECHO.decode(), b"x", metadata=many) == "RESOURCE_EXHAUSTED too_large"
        assert call(opened, ECHO.decode(), b"x", metadata=many[: METADATA_MAX // 2]) == b"x"


@pytest.mark.parametrize("callers", [60, 90])
def test_as_many_calls_as_one_connection_may_have_are_answered(tmp_path: Path, callers: int) -> None:
    """grpcio refused some of them: it counted ended calls that Python had not freed yet among those that are open."""
    told: Counter[str] = Counter()
    with running(development(tmp_path)) as server, channel(server.address) as opened:

        def ask() -> None:
            for _ in range(100):
                try:
                    call(opened, ECHO.decode(), b"x" * 500)
                except grpc.RpcError as error:
                    told[code_of(error)] += 1

        threads = [threading.Thread(target=ask) for _ in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert told == {}


def test_a_call_that_is_over_leaves_no_garbage(tmp_path: Path) -> None:
    """Else it lives on until there is a collection, with its request and with grpcio's part of it."""
    with running(development(tmp_path)) as server, channel(server.address) as opened:
        call(opened, ECHO.decode(), b"x")
        gc.collect()
        gc.disable()
        try:
            for method, request in (("Echo", b"x"), ("Echo", b"refuse"), ("Grants", b"x"),
                                    ("Grants", b"refuse"), ("Gate", b"x"), ("None", b"x")):  # fmt: skip
                for _ in range(3):
                    with suppress(grpc.RpcError):
                        call(opened, f"/test.Echo/{method}", request)
                    with suppress(grpc.RpcError):  # by somebody without a role
                        call(opened, f"/test.Echo/{method}", request, metadata=[("pdp-as", "spiffe://dev.test/nobody")])
            wait_until(lambda: server.parts.counters.in_work.all == 0)
            assert wait_until(lambda: not [each for each in gc.get_objects() if isinstance(each, Queued)])
        finally:
            gc.enable()
