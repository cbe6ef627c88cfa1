"""Several real processes on one port: one writes state, the others follow, and whoever is killed is started again."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from pdp.errors import PdpError
from pdp.server.config import Config
from pdp.server.supervisor import BEAT_S, SILENT_S, Supervisor, WorkerFailed
from tests.pdp.server.world import GATE, WAIT_S, Identities, call, channel, development, production, refused, wait_until

READ, ADD = "/test.Texts/Read", "/test.Texts/Add"


class Several:
    """A supervisor in a thread of the test."""

    def __init__(self, supervisor: Supervisor, told: dict[str, Any]) -> None:
        self.supervisor, self.address, self.admin = supervisor, told["addresses"][0], told["admin"]

    def read(self, number: int, credentials: Any = None) -> list[str]:
        """What process `number` has: connections are spread by the system, so until one is with it."""
        return list(wait_until(lambda: self._try(number, credentials), f"an answer of worker {number}")[0])

    def _try(self, number: int, credentials: Any) -> tuple[list[str]] | None:
        with channel(self.address, credentials) as opened:
            try:
                found, _, texts = json.loads(call(opened, READ))
            except grpc.RpcError:
                return None
            return (texts,) if found == number else None

    def connected(self, number: int, credentials: Any = None) -> Any:
        """A channel with this process at its other end."""
        while True:
            opened = channel(self.address, credentials)
            connection = opened.__enter__()
            if json.loads(call(connection, READ))[0] == number:
                return opened, connection
            opened.__exit__(None, None, None)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self.admin}{path}", timeout=WAIT_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@contextmanager
def several(
    config: Config, worker: str = "tests.pdp.server.counting_worker", silent_s: float = SILENT_S
) -> Iterator[Several]:
    loop, up, found = asyncio.new_event_loop(), threading.Event(), []
    stop = asyncio.Event()

    async def serve(runtime: Path) -> None:
        supervisor = Supervisor(config, runtime, worker, silent_s=silent_s)

        def started(told: dict[str, Any]) -> None:
            found.append(Several(supervisor, told))
            up.set()

        await supervisor.run(stop, started)

    def run() -> None:
        with tempfile.TemporaryDirectory(prefix="pdp-") as runtime:
            try:
                loop.run_until_complete(serve(Path(runtime)))
            except BaseException as error:  # noqa: BLE001  # for the test to see
                found.append(error)
            finally:
                up.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert up.wait(4 * WAIT_S)
    if isinstance(found[0], BaseException):
        raise found[0]
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(2 * WAIT_S)
        assert not thread.is_alive()
        loop.close()


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Several]:
    with several(development(tmp_path, workers=2)) as running:
        yield running


def test_a_step_that_was_acknowledged_is_effective_in_every_process(two: Several) -> None:
    writer = two.supervisor.processes[0]
    opened, follower = two.connected(1)
    assert call(follower, ADD, b"one").decode() == f"{writer} development"
    assert json.loads(call(follower, READ))[2] == ["one"]
    assert two.read(0) == ["one"]
    for number in range(20):
        call(follower, ADD, f"more {number}".encode())
        assert json.loads(call(follower, READ))[2][-1] == f"more {number}"
    assert refused(follower, ADD, b"bad") == "FAILED_PRECONDITION no_such_thing"
    opened.__exit__(None, None, None)


def test_a_follower_that_is_killed_comes_back_with_everything(two: Several) -> None:
    opened, writer = two.connected(0)
    call(writer, ADD, b"before")
    killed = two.supervisor.processes[1]
    os.kill(killed, signal.SIGKILL)
    assert wait_until(lambda: two.supervisor.processes[1] != killed)
    call(writer, ADD, b"meanwhile")
    assert two.read(1) == ["before", "meanwhile"]
    assert two.supervisor.restarts == 1
    opened.__exit__(None, None, None)


@pytest.mark.parametrize("number", [0, 1])
def test_a_process_that_hangs_is_replaced(tmp_path: Path, number: int) -> None:
    """It would go on to get its share of the connections. While it goes on, it says so."""
    with several(development(tmp_path, workers=2), silent_s=3 * BEAT_S) as two:
        hanging = two.supervisor.processes[number]
        os.kill(hanging, signal.SIGSTOP)
        assert wait_until(lambda: two.supervisor.processes[number] != hanging)
        assert wait_until(lambda: two.supervisor.restarts >= 1)  # a slow machine can make it hang again
        assert two.read(number) == []


def test_without_the_writer_the_others_deny_and_recover_without_a_hand(two: Several) -> None:
    """The state of this test lives in the writer's memory; a real store would bring it back."""
    opened, follower = two.connected(1)
    os.kill(two.supervisor.processes[0], signal.SIGSTOP)
    try:
        assert wait_until(lambda: _code(follower, READ) == "UNAVAILABLE not_ready")
        assert _code(follower, ADD) == "UNAVAILABLE not_ready"
    finally:
        os.kill(two.supervisor.processes[0], signal.SIGCONT)
    assert wait_until(lambda: _code(follower, READ) == "")
    killed = two.supervisor.processes[0]
    os.kill(killed, signal.SIGKILL)
    assert wait_until(lambda: two.supervisor.processes[0] != killed)
    assert wait_until(lambda: _code(follower, ADD) == "")
    assert two.read(0) == two.read(1) == ["x"]
    opened.__exit__(None, None, None)


def _code(opened: grpc.Channel, method: str) -> str:
    try:
        call(opened, method, b"x")
    except grpc.RpcError as error:
        return f"{error.code().name} {dict(error.trailing_metadata() or ()).get('pdp-code', '')}"
    return ""


def test_a_follower_that_hangs_is_denying_before_a_step_is_acknowledged(two: Several) -> None:
    """The one that hangs cannot say that it has the change; when the step is acknowledged its lease is over."""
    opened, writer = two.connected(0)
    held, follower = two.connected(1)
    hangs = two.supervisor.processes[1]
    os.kill(hangs, signal.SIGSTOP)
    assert wait_until(lambda: _state(hangs) == "T")  # all of its threads have stopped, so it cannot have answered before
    waiting = follower.unary_unary(READ).future(b"")  # asked while it hangs
    try:
        call(writer, ADD, b"revoked")
    finally:
        os.kill(hangs, signal.SIGCONT)
    failed = waiting.exception()
    if failed is None:
        assert "revoked" in json.loads(waiting.result())[2]
    else:
        assert dict(failed.trailing_metadata())["pdp-code"] in ("not_ready", "deadline_passed")
    assert wait_until(lambda: _code(follower, READ) == "")
    assert "revoked" in json.loads(call(follower, READ))[2]
    for each in (opened, held):
        each.__exit__(None, None, None)


def _state(process: int) -> str:
    """What its threads are doing, where that is the same of all."""
    tasks = Path(f"/proc/{process}/task").glob("*/stat")
    states = {task.read_text().rpartition(")")[2].split()[0] for task in tasks}
    return states.pop() if len(states) == 1 else ""


def test_figures_of_all_processes_are_on_one_page(two: Several) -> None:
    for number in (0, 1):
        opened, _ = two.connected(number)
        opened.__exit__(None, None, None)
    _, text = two.get("/metrics")
    assert 'pdp_worker_up{worker="0"} 1\npdp_worker_up{worker="1"} 1\n' in text
    assert 'pdp_call_seconds_count{method="/test.Texts/Read",code="ok"}' in text
    assert 'pdp_ready{worker="1"} 1' in text
    assert two.get("/readyz")[0] == 200


def test_who_calls_is_verified_again_where_the_call_is_passed_on(tmp_path: Path) -> None:
    identities = Identities(tmp_path)
    config = production(tmp_path, identities, workers=2, roles={"grants": [GATE]})
    credentials = identities.credentials(GATE)
    with several(config) as running:
        opened, follower = running.connected(1, credentials)
        assert call(follower, ADD, b"x").decode().split() == [str(running.supervisor.processes[0]), GATE]
        opened.__exit__(None, None, None)


def test_a_port_that_is_taken_is_not_shared_with_a_stranger(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = development(tmp_path, workers=2, listen=[{"address": f"127.0.0.1:{taken.getsockname()[1]}"}])
        with pytest.raises(PdpError) as refusal, several(config):
            pass
    assert refusal.value.code == "address_unavailable"


def spoil_policy(folder: Path) -> None:
    (folder / "policies" / "app.policy").write_text("language 1\nallow {")


def remove_policies(folder: Path) -> None:
    shutil.rmtree(folder / "policies")


def damage_store(folder: Path) -> None:
    (folder / "grants.db").write_bytes(b"SQLite format 3\x00" + bytes(4096))
    (folder / "grants.db").chmod(0o600)


@pytest.mark.parametrize(
    ("spoil", "code", "status"),
    [
        (spoil_policy, "invalid_file", 3),
        (remove_policies, "invalid_file", 2),
        (damage_store, "store_unavailable", 2),
    ],
)
def test_a_process_that_cannot_start_ends_the_start(tmp_path: Path, spoil: Any, code: str, status: int) -> None:
    """With the code that it told, and its exit code: each was `address_unavailable` before."""
    config = development(tmp_path, workers=2, store={"path": str(tmp_path / "grants.db")})
    spoil(tmp_path)
    with pytest.raises(WorkerFailed, match="worker 0 could not start") as refusal, several(config, "pdp.server.worker"):
        pass
    assert (refusal.value.code, refusal.value.status) == (code, status)
