"""Section I of the catalogue of faults: transport, process, overload. `ROWS` names the tests of each number."""

from __future__ import annotations

import ast
import asyncio
import importlib
import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

import pdp
from pdp.server.config import Service
from pdp.server.handlers import Deadline, Handlers, Method
from pdp.server.parts import Parts
from pdp.server.peer import Peer
from pdp.server.table import make_handlers
from tests.pdp.server.faults import ask, memory_kib, serving
from tests.pdp.server.raw import Raw, frame
from tests.pdp.server.world import (
    DOMAIN,
    GATE,
    WAIT_S,
    Identities,
    call,
    channel,
    development,
    in_own_words,
    production,
    refused,
    running,
    wait_until,
)

ROOT = Path(__file__).resolve().parents[3]

#: Number, name: the tests that show the answer, below `tests`.
ROWS = {
    (151, "overload"): [
        "pdp.server.edge_test.test_too_many_calls_are_denied_at_once_and_health_stays_up",
        "pdp.server.edge_test.test_calls_that_wait_have_a_limit_of_their_own",
        "pdp.server.edge_test.test_streams_have_limits_of_number_and_size",
    ],
    (152, "deadline-expired-in-queue"): [
        "pdp.server.catalogue_i_test.test_152_deadline_expired_in_queue",
        "pdp.server.edge_test.test_our_deadline_holds_where_the_caller_has_none",
    ],
    (153, "cancelled-call"): [
        "pdp.server.faults_connections_test.test_153_cancelled_calls",
        "pdp.server.edge_test.test_a_cancelled_call_is_not_counted_for_ever",
    ],
    (154, "exception-in-handler"): ["pdp.server.catalogue_i_test.test_154_exception_in_handler"],
    (155, "worker-crash"): [
        "pdp.server.faults_test.test_155_kill_9_of_a_worker_under_load",
        "pdp.server.workers_test.test_without_the_writer_the_others_deny_and_recover_without_a_hand",
        "envoy.faults_test.test_a_decision_point_that_is_halted_or_killed_decides_nothing",
    ],
    (156, "half-open-connection"): [
        "pdp.server.faults_connections_test.test_156_ten_thousand_idle_connections",
        "pdp.server.faults_connections_test.test_156_a_connection_that_never_shakes_hands_is_closed",
        "pdp.server.edge_test.test_half_a_call_holds_nobody_up",
        "pdp.server.edge_test.test_a_call_whose_request_does_not_come_ends_at_our_deadline",
    ],
    (157, "rapid-reset"): [
        "pdp.server.catalogue_i_test.test_157_rapid_reset",
        "pdp.server.catalogue_i_test.test_157_continuation_flood",
        "pdp.server.catalogue_i_test.test_157_oversized_metadata",
        "pdp.server.edge_test.test_streams_that_are_cancelled_at_once_leave_nothing_and_the_server_ends",
    ],
    (158, "fork-after-grpc"): [
        "pdp.server.catalogue_i_test.test_158_nothing_forks",
        "pdp.server.workers_test.test_a_follower_that_is_killed_comes_back_with_everything",
    ],
    (159, "fd-exhaustion"): ["pdp.server.faults_connections_test.test_159_no_more_files_can_be_opened"],
    (160, "port-confusion"): [
        "pdp.server.catalogue_i_test.test_160_port_confusion",
        "pdp.server.tls_test.test_a_listener_serves_its_own_services_only",
        "pdp.server.config_test.test_unsafe_combinations_are_refused",
    ],
    (161, "unauthenticated-caller"): [
        "pdp.server.config_test.test_loopback_without_tls_is_for_development_only",
        "pdp.server.tls_test.test_without_a_certificate_there_is_no_connection",
        "pdp.server.tls_test.test_a_unix_socket_is_its_users_alone",
    ],
    (162, "oracle-probing"): [
        "pdp.server.faults_connections_test.test_162_denials_have_one_shape",
        "pdp.wire.decision_test.test_errors_are_for_those_who_may_explain",
        "pdp.wire.answer_test.test_a_denial_says_why_and_no_more",
        "pdp.server.edge_test.test_an_error_of_a_handler_tells_callers_nothing",
    ],
    (163, "graceful-shutdown"): [
        "pdp.server.edge_test.test_drain_ends_streams_and_finishes_calls",
        "pdp.server.serve_test.test_it_serves_says_what_it_is_and_ends",
        "pdp.server.faults_test.test_166_disk_full_for_the_record",  # ends by SIGTERM, with every answer in the record
    ],
    (164, "sdk-pdp-unreachable"): [
        "pdp.server.catalogue_i_test.test_165_sdk_fallback_abuse",
        "pdp.sdk.remote_test.test_nobody_there_is_an_error_with_a_code",
        "pdp.sdk.remote_answers_test.test_an_answer_is_kept_until_the_first_of_its_bounds",
        "pdp.sdk.guard_test.test_what_is_no_question_is_no_answer",
    ],
    (165, "sdk-fallback-abuse"): ["pdp.server.catalogue_i_test.test_165_sdk_fallback_abuse"],
}

#: What the rows ask for and there is not.
NOT_YET = {
    154: "a breaker after repeated exceptions: each is a denial and is counted as `internal`, and the process goes on",
    157: "a soak: `nightly` has none of the server yet",
    164: "nothing is fallen back to: answers that the SDK keeps go with the decision point",
}


@pytest.mark.parametrize(("row", "tests"), ROWS.items(), ids=[f"{n} {name}" for n, name in ROWS])
def test_every_row_has_its_tests(row: tuple[int, str], tests: list[str]) -> None:
    for name in tests:
        module, _, function = name.rpartition(".")
        assert callable(getattr(importlib.import_module(f"tests.{module}"), function)), name


def test_the_section_is_complete() -> None:
    assert [n for n, _ in ROWS] == list(range(151, 166))
    assert set(NOT_YET) <= {n for n, _ in ROWS}


# ---- calls


def test_152_deadline_expired_in_queue(tmp_path: Path) -> None:
    """All threads are taken. What waits behind them longer than its caller does is never worked on."""
    go, entered, worked = threading.Event(), threading.Semaphore(0), []

    def wait(request: bytes, peer: Peer, deadline: Deadline) -> bytes:
        entered.release()
        assert go.wait(15)
        return request

    def work(request: bytes, peer: Peer, deadline: Deadline) -> bytes:
        worked.append(request)
        return request

    handlers: Handlers = {
        "/test.Queue/Wait": Method(wait, Service.GRANTS, waits=True),
        "/test.Queue/Work": Method(work, Service.GRANTS, waits=True),
    }
    limits = {"step_deadline": "30s", "drain": "1s"}
    with running(development(tmp_path, limits=limits), lambda _: handlers) as server, channel(server.address) as opened:
        held = [opened.unary_unary("/test.Queue/Wait").future(b"held") for _ in range(8)]
        assert all(entered.acquire(timeout=15) for _ in held)
        assert refused(opened, "/test.Queue/Work", b"late", timeout=0.1).split()[0] == "DEADLINE_EXCEEDED"
        go.set()
        assert [h.result() for h in held] == [b"held"] * 8
        assert call(opened, "/test.Queue/Work", b"in time") == b"in time"
        assert worked == [b"in time"]


def _recurse(depth: int = 0) -> int:
    return _recurse(depth + 1)


def _raise(error: BaseException) -> Callable[[], object]:
    def run() -> object:
        raise error

    return run


@pytest.mark.parametrize(
    "fails",
    [_recurse, _raise(MemoryError()), _raise(ValueError("secret-canary")), _raise(TimeoutError()), _raise(StopIteration())],
    ids=["RecursionError", "MemoryError", "ValueError", "TimeoutError", "StopIteration"],
)
def test_154_exception_in_handler(tmp_path: Path, fails: Callable[[], object]) -> None:
    """A refusal, in words where there are some; the next call is answered."""

    def handle(request: bytes, peer: Peer, deadline: Deadline) -> bytes:
        if request == b"fail":
            fails()
        return request

    async def stream(requests: object, peer: Peer, deadline: Deadline) -> object:
        async for request in requests:  # type: ignore[attr-defined]
            yield handle(request, peer, deadline)

    from pdp.server.handlers import StreamMethod

    def make(_: Parts) -> Handlers:
        return {
            "/test.Fails/Status": Method(handle, Service.DECISION),
            "/test.Fails/Words": Method(handle, Service.DECISION, refused=in_own_words),
            "/test.Fails/Waits": Method(handle, Service.DECISION, waits=True),
            "/test.Fails/Stream": StreamMethod(stream, Service.DECISION),  # type: ignore[arg-type]
        }

    with running(development(tmp_path), make) as server, channel(server.address) as opened:
        for _ in range(3):
            assert refused(opened, "/test.Fails/Status", b"fail") == "INTERNAL internal"
            assert call(opened, "/test.Fails/Words", b"fail") == b"denied: internal"
            assert refused(opened, "/test.Fails/Waits", b"fail") == "INTERNAL internal"
            with pytest.raises(grpc.RpcError) as ended:
                list(opened.stream_stream("/test.Fails/Stream")(iter([b"fail"])))
            assert ended.value.code() is grpc.StatusCode.INTERNAL
            assert "canary" not in str(ended.value.details())
        assert call(opened, "/test.Fails/Words", b"fine") == b"fine"
        assert wait_until(lambda: server.parts.counters.in_work.all == server.parts.counters.streams == 0)


def test_153_a_task_that_is_cancelled_allows_nothing(tmp_path: Path) -> None:
    """`CancelledError` is no `Exception`: in a stream it ends the stream, and no answer goes out."""

    async def stream(requests: object, peer: Peer, deadline: Deadline) -> object:
        async for _ in requests:  # type: ignore[attr-defined]
            raise asyncio.CancelledError
        yield b"allowed"

    from pdp.server.handlers import StreamMethod

    def make(_: Parts) -> Handlers:
        return {"/test.Cancels/Stream": StreamMethod(stream, Service.DECISION)}  # type: ignore[arg-type]

    with running(development(tmp_path, limits={"drain": "1s"}), make) as server, channel(server.address) as opened:
        with pytest.raises(grpc.RpcError) as ended:
            list(opened.stream_stream("/test.Cancels/Stream")(iter([b"x"]), timeout=WAIT_S))
        assert ended.value.code() is grpc.StatusCode.INTERNAL
        assert wait_until(lambda: server.parts.counters.streams == 0)
        assert call(opened, "/grpc.health.v1.Health/Check") == b"\x08\x01"


# ---- connections


def test_157_rapid_reset(tmp_path: Path) -> None:
    """Ten thousand calls, each taken back at once, on connections that go away or are sent away; others are answered."""
    with running(development(tmp_path)) as server, channel(server.address) as opened:
        for _ in range(4):
            raw = Raw(server.address)
            try:
                for number in range(2_500):
                    raw.call(b"/test.Echo/Echo", b"\0\0\0\0\x01x", 2 * number + 1)
                    raw.send(frame(3, 0, 2 * number + 1, b"\0\0\0\x08"))
            except OSError:
                pass  # it was sent away
            raw.close()
            assert call(opened, "/test.Echo/Echo", b"served") == b"served"
        assert wait_until(lambda: server.parts.counters.in_work.all == 0)


def test_157_continuation_flood(tmp_path: Path) -> None:
    """Headers that never end, 85 MB of them: they are not kept, and others are answered."""
    header = b"\0\x04x-id\x64" + b"v" * 100
    with serving(tmp_path) as server, channel(server.address) as opened:
        assert ask(opened) == "allowed"
        before = memory_kib(server.process.pid)
        raw = Raw(server.address)
        try:
            raw.send(frame(1, 0, 1, header))
            for _ in range(8_000):
                raw.send(frame(9, 0, 1, header * 100))
        except OSError:
            pass  # it was sent away
        assert ask(opened) == "allowed"
        assert memory_kib(server.process.pid) - before < 60 * 1024
        raw.close()


@pytest.mark.parametrize("size", [20_000, 200_000])
def test_157_oversized_metadata(tmp_path: Path, size: int) -> None:
    with running(development(tmp_path)) as server, channel(server.address) as opened:
        status = refused(opened, "/test.Echo/Echo", metadata=(("x-large", "v" * size),)).split()[0]
        assert status in ("RESOURCE_EXHAUSTED", "UNAVAILABLE", "INTERNAL")
        assert call(opened, "/test.Echo/Echo", b"served") == b"served"


def test_158_nothing_forks() -> None:
    """gRPC does not survive a fork: processes are started, and no code of ours can do otherwise."""
    for path in (ROOT / "pdp").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            assert "multiprocessing" not in [*names, getattr(node, "module", None)], path
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("fork", "forkpty", "ProcessPoolExecutor"), path


@pytest.mark.parametrize(
    "method",
    [
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/grpc.channelz.v1.Channelz/GetServers",
        "/metrics",
        "/debug/pprof",
        "/pdp.v1.AdminService/Reload",
        "/pdp.v1.GrantService/Open",
    ],
)
def test_160_port_confusion(tmp_path: Path, method: str) -> None:
    """On a port for decisions there are decisions, health, and nothing else; and the admin port has no gRPC."""
    identities = Identities(tmp_path)
    listen = [{"address": "127.0.0.1:0", "trust_domain": DOMAIN, "services": ["decision"]}]
    config = production(tmp_path, identities, listen=listen, roles={"admin": [GATE], "grants": [GATE]})
    with (
        running(config, make_handlers) as server,
        channel(server.address, identities.credentials(GATE)) as opened,
        channel(str(server.started.admin)) as admin,
    ):
        assert refused(opened, method) == "UNIMPLEMENTED unknown_method"
        assert refused(admin, "/pdp.v1.DecisionService/Check", timeout=2).split()[0] in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


# ---- the SDK


def test_165_sdk_fallback_abuse(tmp_path: Path) -> None:
    """Whoever keeps the decision point from a client gets errors out of it: what was kept goes with the decision point, and
    there is never an allow that nobody decided."""
    kept = pdp.Request("read", ("Document", "d"), user=("User", "ada"))
    other = pdp.Request("read", ("Document", "e"), user=("User", "ada"))
    config = development(tmp_path)
    text = "language 1\nentity User\nentity Document\naction read on Document\nallow all { for User do read on Document }\n"
    (tmp_path / "policies" / "app.policy").write_text(text)
    with running(config, make_handlers) as server:
        keeping = pdp.Client(server.address, cache_entries=10, cache_for_s=3600, timeout_s=10)
        plain = pdp.Client(server.address, timeout_s=10)
        assert keeping.check(kept).allowed
        assert plain.check(kept).allowed

    def unanswered(client: pdp.Client, request: pdp.Request) -> bool:
        try:
            client.check(request, timeout_s=0.3)
        except pdp.PdpError as error:
            return error.code in ("unreachable", "deadline_exceeded")
        return False

    with keeping, plain:
        assert wait_until(lambda: unanswered(keeping, kept))  # it hears that the decision point has gone
        for client, request in ((keeping, kept), (keeping, other), (plain, kept), (plain, other)):
            with pytest.raises(pdp.PdpError) as caught:
                client.check(request, timeout_s=0.3)
            assert caught.value.code in ("unreachable", "deadline_exceeded")
