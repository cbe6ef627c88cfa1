"""Clients that live longer than their certificate, against a real server (finding S12)."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pdp
from pdp.server.config import Service
from pdp.server.handlers import Deadline, Handlers, Method
from pdp.server.parts import Parts
from pdp.server.peer import Peer
from pdp.server.table import MakeHandlers, make_handlers
from pdp.store.file_state import state_of
from pdp.store.own_certificate import read_pair
from tests.pdp.sdk.kinds import both, in_a_loop, threaded
from tests.pdp.sdk.remote_test import JOB, write_set
from tests.pdp.sdk.rotating import Rotating, asking, ended, pdp_threads
from tests.pdp.server.workload_tls_test import Workloads
from tests.pdp.server.world import DOMAIN, Identities, Running, production, running, wait_until

WRITE = pdp.Request("write", ("Document", "d"))
ROOT = Path(__file__).resolve().parents[3]
CHECK = "/pdp.v1.DecisionService/Check"


class Held:
    """Checks of a server that wait, when they are told to, until they are let go."""

    def __init__(self) -> None:
        self.holds, self.arrived, self.goes_on = False, threading.Event(), threading.Event()

    def handlers(self, parts: Parts) -> Handlers:
        found = dict(make_handlers(parts))
        check: Any = found[CHECK].handle

        def held(raw: bytes, peer: Peer, deadline: Deadline) -> Any:
            if self.holds:
                self.arrived.set()
                self.goes_on.wait(20)
            return check(raw, peer, deadline)

        return {**found, CHECK: Method(held, Service.DECISION, waits=True)}


@contextmanager
def serving(folder: Path, make: MakeHandlers) -> Iterator[tuple[Running, Identities]]:
    identities = Identities(folder)
    limits = {"deadline": "15s", "drain": "2s"}
    config = production(folder, identities, roles={"decision": [f"spiffe://{DOMAIN}/jobs/*"]}, limits=limits)
    write_set(folder)
    with running(config, make) as found:
        yield found, identities


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Identities]]:
    with serving(tmp_path_factory.mktemp("rotation"), make_handlers) as found:
        yield found


@pytest.fixture
def files(guarded: tuple[Running, Identities]) -> Rotating:
    return Rotating(guarded[1], JOB)


@pytest.fixture
def address(guarded: tuple[Running, Identities]) -> str:
    return guarded[0].address


def connection(client: Any) -> Any:
    return client._connections.line.used


def moves(client: Any, change: Callable[[], Any]) -> None:
    before = connection(client)
    change()
    wait_until(lambda: connection(client) is not before, "calls go over another connection")


def test_no_call_fails_while_certificates_end(files: Rotating, address: str) -> None:
    """Finding S12: it was `unauthenticated` for ever, from the end of the certificate that the connection was made with."""
    files.rotate(4)
    with ExitStack() as stack:
        kinds = [stack.enter_context(kind(address, tls=files.tls)) for kind in (threaded, in_a_loop)]
        callers = [stack.enter_context(asking(kind, WRITE)) for kind in kinds]
        for _ in range(4):
            files.wait_for_half()
            files.rotate(4)
        files.wait_for_half()
    assert [set(asked.counts) for asked in callers] == [{"allowed"}, {"allowed"}], [asked.counts for asked in callers]
    assert pdp_threads() == set()


@both
def test_a_call_in_flight_ends_where_it_began(tmp_path: Path, kind: Any) -> None:
    """Finding S12: the connection that is left is closed after its last call."""
    held, found = Held(), []
    with serving(tmp_path, held.handlers) as (server, identities):
        files = Rotating(identities, JOB)
        with kind(server.address, tls=files.tls) as (client, run):
            assert run(client.check(WRITE, timeout_s=10)).allowed
            held.holds = True
            caller = threading.Thread(target=lambda: found.append(ended(lambda: run(client.check(WRITE, timeout_s=15)))))
            caller.start()
            assert held.arrived.wait(15)
            held.holds = False
            old = connection(client)
            moves(client, files.rotate)
            assert run(client.check(WRITE, timeout_s=10)).allowed
            assert (old.is_left, old.users) == (True, 1)
            held.goes_on.set()
            caller.join()
            assert found == ["allowed"]
            wait_until(lambda: client._connections.line.all() == [connection(client)], "the old one is closed")


def spoil_key(files: Rotating) -> None:
    files.key.write_bytes(files.key.read_bytes()[: 2 * files.key.stat().st_size // 3])


def give_other_key(files: Rotating) -> None:
    from pdp.store.dev_domain import new_key, private_pem

    files.key.write_bytes(private_pem(new_key()))


def remove(files: Rotating) -> None:
    files.certificate.unlink()


def put_fifo(files: Rotating) -> None:
    files.authorities.unlink()
    os.mkfifo(files.authorities)


def spoil_authorities(files: Rotating) -> None:
    files.authorities.write_bytes(files.authorities.read_bytes()[:300])


SPOILED = [spoil_key, give_other_key, remove, put_fifo, spoil_authorities]


@pytest.mark.parametrize(("kind", "spoil"), [(in_a_loop, spoil_key), *((threaded, spoil) for spoil in SPOILED)])
def test_what_cannot_be_read_changes_nothing_until_the_end(
    files: Rotating, address: str, kind: Any, spoil: Callable[[Rotating], None]
) -> None:
    """Finding S12: a pair that is half written is not taken; then the end is said with a code, and is not for ever."""
    files.rotate(3)
    authorities = files.authorities.read_bytes()
    with kind(address, tls=files.tls) as found:
        client, run = found
        with asking(found, WRITE, 1) as asked:
            wait_until(lambda: asked.counts["allowed"], "it is connected")
            spoil(files)
            wait_until(lambda: client._connections._problem, "it was looked at")
            assert set(asked.counts) == {"allowed"}
        files.wait_for_end()
        with pytest.raises(pdp.PdpError) as caught:
            run(client.check(WRITE, timeout_s=10))
        assert (caught.value.code, "invalid_file" in caught.value.message) == ("certificate_ended", True)
        files.authorities.unlink()
        files.authorities.write_bytes(authorities)
        files.rotate(3600)
        assert run(client.check(WRITE, timeout_s=10)).allowed


@both
def test_a_certificate_that_ended_without_another_is_said_with_a_code(files: Rotating, address: str, kind: Any) -> None:
    files.rotate(2)
    with kind(address, tls=files.tls) as (client, run):
        files.wait_for_end()
        with pytest.raises(pdp.PdpError) as caught:
            run(client.check(WRITE, timeout_s=2))
        assert (caught.value.code, "no newer one" in caught.value.message) == ("certificate_ended", True)


@both
def test_calls_move_only_to_what_the_other_side_takes(
    files: Rotating, address: str, kind: Any, tmp_path: Path, guarded: tuple[Running, Identities]
) -> None:
    """A certificate of authorities that the server does not know moves nothing; other authorities of the server do."""
    stranger = Identities(tmp_path, "stranger.test")
    with kind(address, tls=files.tls) as found, asking(found, WRITE, 1) as asked:
        client, _ = found
        wait_until(lambda: asked.counts["allowed"], "it is connected")
        before, good = connection(client), (files.certificate.read_bytes(), files.key.read_bytes())
        certificate, key = stranger.write(JOB, "stranger")
        files.certificate.write_bytes(certificate.read_bytes())
        files.key.write_bytes(key.read_bytes())
        trial = wait_until(lambda: client._connections.line._trial, "it is tried")
        wait_until(lambda: trial.was_tried, "it was tried")
        assert connection(client) is before
        files.certificate.write_bytes(good[0])
        files.key.write_bytes(good[1])
        more = stranger.domain.bundle_pem() + guarded[1].domain.bundle_pem()
        moves(client, lambda: files.authorities.write_bytes(more))
        count = asked.counts["allowed"]
        wait_until(lambda: asked.counts["allowed"] > count, "and they are what is verified against")
    assert set(asked.counts) == {"allowed"}


@both
def test_a_server_of_a_withdrawn_authority_is_not_asked_on(
    files: Rotating, address: str, kind: Any, tmp_path: Path, guarded: tuple[Running, Identities]
) -> None:
    """The new authorities do not take the server: that is what withdrawing is for, and no reason to stay."""
    stranger = Identities(tmp_path, "stranger.test")
    with kind(address, tls=files.tls) as (client, run):
        assert run(client.check(WRITE, timeout_s=10)).allowed
        moves(client, lambda: files.authorities.write_bytes(stranger.domain.bundle_pem()))
        with pytest.raises(pdp.PdpError, match="unreachable"):
            run(client.check(WRITE, timeout_s=1))
        moves(client, lambda: files.authorities.write_bytes(guarded[1].domain.bundle_pem()))
        assert run(client.check(WRITE, timeout_s=10)).allowed


@both
def test_a_bundle_that_the_agent_withdraws_ends_the_connection(address: str, kind: Any, tmp_path: Path) -> None:
    ours, theirs = Identities(tmp_path, "ours.test"), Identities(tmp_path, "theirs.test")
    workloads = Workloads(tmp_path)
    try:
        workloads.tell(ours, theirs, spiffe_id="spiffe://ours.test/a")
        tls = pdp.Tls(server_name="pdp", workload_api=workloads.socket, trust_domain="theirs.test")
        with kind(address, tls=tls) as (client, run):
            with pytest.raises(pdp.PdpError):
                run(client.check(WRITE, timeout_s=2))
            assert connection(client) is not None
            workloads.tell(ours, spiffe_id="spiffe://ours.test/a")
            wait_until(lambda: connection(client) is None, "nobody is asked any more")
            with pytest.raises(pdp.PdpError, match="no authorities of the server"):
                run(client.check(WRITE, timeout_s=1))
    finally:
        workloads.close()


@both
def test_a_refusal_makes_it_look_at_once(files: Rotating, address: str, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finding S12: where nobody has looked in time, the call that is refused does, and is asked again."""
    monkeypatch.setattr("pdp.sdk.remote.connections.LOOK_S", 1000)
    files.rotate(2)
    with kind(address, tls=files.tls) as (client, run):
        assert run(client.check(WRITE, timeout_s=10)).allowed
        files.wait_for_end()
        files.rotate(3600)
        assert run(client.check(WRITE, timeout_s=10)).allowed
        assert run(client.check_many([WRITE], timeout_s=10))[0].allowed


@both
def test_files_are_parsed_only_when_they_change(
    files: Rotating, address: str, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found in review: a client without work parsed its private key twice a second, and an RSA key held all threads up."""
    looked: Counter[Path] = Counter()
    parsed: list[Path] = []

    def look(path: Path) -> object:
        looked[path] += 1
        return state_of(path)

    def parse(certificate: Path, key: Path) -> Any:
        parsed.append(key)
        return read_pair(certificate, key)

    monkeypatch.setattr("pdp.sdk.remote.connections.LOOK_S", 0.005)
    monkeypatch.setattr("pdp.sdk.remote.own.state_of", look)
    monkeypatch.setattr("pdp.sdk.remote.own.read_pair", parse)
    with kind(address, tls=files.tls) as (client, run):
        assert run(client.check(WRITE, timeout_s=10)).allowed
        wait_until(lambda: looked[files.authorities] > 20, "it was looked at again and again")
        assert parsed == [files.key]
        os.utime(files.authorities)
        wait_until(lambda: len(parsed) > 1, "any of the three is looked at")
        moves(client, files.rotate)
        assert run(client.check(WRITE, timeout_s=10)).allowed
    assert set(looked) == {files.certificate, files.key, files.authorities}


@contextmanager
def no_threads(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[None]:
    """As where the system has no more of them."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith(name):
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        yield


@pytest.mark.parametrize(
    ("kind", "name"),
    [(threaded, "pdp-own"), (threaded, "workload-api"), (in_a_loop, "workload-api")],
    ids=lambda of: of if isinstance(of, str) else of.__name__,
)
def test_who_follows_begins_again_and_says_why_it_could_not(
    address: str,
    guarded: tuple[Running, Identities],
    kind: Any,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Found in review: what could not be opened once was never opened, and each call said `no certificate of ours`."""
    workloads = Workloads(tmp_path)
    try:
        workloads.tell(guarded[1], spiffe_id=JOB)
        tls = pdp.Tls(server_name="pdp", workload_api=workloads.socket)
        with kind(address, tls=tls) as (client, run):
            with no_threads(monkeypatch, name):
                for _ in range(2):
                    with pytest.raises(pdp.PdpError, match="can't start new thread") as caught:
                        run(client.check(WRITE, timeout_s=1))
                    assert caught.value.code == "trust_unavailable"
            assert run(client.check(WRITE, timeout_s=10)).allowed
        with no_threads(monkeypatch, name), kind(address, tls=tls) as (client, run), pytest.raises(pdp.PdpError):
            run(client.check(WRITE, timeout_s=1))
    finally:
        workloads.close()
    assert pdp_threads() == set()


def test_a_call_needs_no_thread_that_hears(files: Rotating, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept until there is one."""
    with pdp.Client(address, tls=files.tls, cache_entries=10, cache_for_s=600) as client:
        with no_threads(monkeypatch, "pdp-watch"):
            assert client.check(WRITE, timeout_s=10) is not client.check(WRITE, timeout_s=10)
        wait_until(lambda: client.check(WRITE, timeout_s=10) is client.check(WRITE, timeout_s=10), "it is kept")


@both
def test_the_stream_of_epochs_moves_without_a_gap(files: Rotating, guarded: tuple[Running, Identities], kind: Any) -> None:
    """Finding S12: what is kept is used on across the move, and a change after it is known as before."""
    server, identities = guarded
    with kind(server.address, tls=files.tls, cache_entries=10, cache_for_s=600) as (client, run):
        lost: list[int] = []
        client._answers.lost = lambda: lost.append(1)

        def is_kept() -> bool:
            return run(client.check(WRITE, timeout_s=10)) is run(client.check(WRITE, timeout_s=10))

        wait_until(is_kept, "the stream is up")
        for _ in range(3):
            old = connection(client)
            moves(client, files.rotate)
            wait_until(lambda old=old: not old.users and connection(client).users, "the stream is on the new one")  # type: ignore[misc]
        assert lost == []
        wait_until(is_kept, "it is kept on")
        kept = run(client.check(WRITE, timeout_s=10))
        data = identities.folder / "policies" / "data" / "all.json"
        told = json.loads(data.read_text())
        data.write_text(json.dumps([*told, {"type": "User", "id": f"user-{len(told)}"}]))
        server.parts.reload()
        wait_until(lambda: run(client.check(WRITE, timeout_s=10)) is not kept, "a change is known")
        wait_until(lambda: server.parts.counters.streams == 1, "the old streams have ended")


@both
def test_the_workload_api_is_followed(address: str, guarded: tuple[Running, Identities], kind: Any, tmp_path: Path) -> None:
    """Finding S12: `pdp.Tls` takes the Workload API itself."""
    workloads = Workloads(tmp_path)
    try:
        tls = pdp.Tls(server_name="pdp", workload_api=workloads.socket)
        with kind(address, tls=tls) as found:
            client, run = found
            with pytest.raises(pdp.PdpError, match="trust_unavailable"):
                run(client.check(WRITE, timeout_s=0.2))
            workloads.tell(guarded[1], spiffe_id=JOB, life_s=3)
            assert run(client.check(WRITE, timeout_s=10)).allowed
            with asking(found, WRITE, 2) as asked:
                wait_until(lambda: asked.counts["allowed"], "it is asked")
                moves(client, lambda: workloads.tell(guarded[1], spiffe_id=JOB))
                ends_us = connection(client).showing.shown.not_after_us
                wait_until(lambda: asked.counts["allowed"] > 100, "it is asked on")
            assert set(asked.counts) == {"allowed"}
            assert ends_us > 0
    finally:
        workloads.close()
    assert pdp_threads() == set()


def test_the_socket_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tls = pdp.Tls(server_name="pdp", workload_api=True)
    monkeypatch.delenv("SPIFFE_ENDPOINT_SOCKET", raising=False)
    with pytest.raises(pdp.PdpError, match="SPIFFE_ENDPOINT_SOCKET names no socket"):
        pdp.Client("127.0.0.1:1", tls=tls)
    monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", f"unix://{tmp_path}/nobody.sock")
    with pdp.Client("127.0.0.1:1", tls=tls) as client, pytest.raises(pdp.PdpError, match="trust_unavailable"):
        client.check(WRITE, timeout_s=0.1)
    monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", "tcp://127.0.0.1:1")
    with pytest.raises(pdp.PdpError, match="invalid_argument"):
        pdp.Client("127.0.0.1:1", tls=tls)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"server_id": f"spiffe://{DOMAIN}/pdp"}, "server_id_unsupported"),
        ({"server_id": f"spiffe://{DOMAIN}/pdp", "server_name": None}, "server_id_unsupported"),
        ({"server_name": None}, "invalid_argument"),
        ({"server_name": ""}, "invalid_argument"),
        ({"key": None}, "invalid_argument"),
        ({"workload_api": "unix:///agent.sock"}, "invalid_argument"),
        ({"trust_domain": DOMAIN}, "invalid_argument"),
        ({"certificate": None, "key": None, "authorities": None, "workload_api": 5}, "invalid_argument"),
        ({"certificate": None, "key": None, "authorities": None, "workload_api": ""}, "invalid_argument"),
    ],
)
def test_what_cannot_be_kept_is_refused(files: Rotating, change: dict[str, Any], code: str) -> None:
    """Finding S13: a server that is to be known by its SPIFFE ID is not connected to without that check."""
    for kind in (pdp.Client, pdp.AsyncClient):
        with pytest.raises(pdp.PdpError) as caught:
            kind("127.0.0.1:1", tls=replace(files.tls, **change))
        assert caught.value.code == code


def test_the_child_of_a_fork_follows_by_itself(files: Rotating, address: str) -> None:
    """Finding S12: the threads stay in the parent, and so may a lock that one of them held."""
    script = [sys.executable, "-m", "tests.pdp.sdk.forking_client", address]
    script += map(str, (files.certificate, files.key, files.authorities))
    with subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "asked\n", program.communicate(timeout=60)[1]
        files.rotate()
        _, errors = program.communicate(timeout=60)
        assert program.returncode == 0, errors


def test_a_client_that_nobody_has_any_more_follows_no_more(files: Rotating, address: str) -> None:
    client = pdp.Client(address, tls=files.tls)
    assert client.check(WRITE, timeout_s=10).allowed
    assert pdp_threads() == {"pdp-own"}
    del client
    wait_until(lambda: pdp_threads() == set(), "the thread has ended")


def test_a_task_ends_with_its_client(files: Rotating, address: str) -> None:
    async def run() -> None:
        client = pdp.AsyncClient(address, tls=files.tls)
        assert (await client.check(WRITE, timeout_s=10)).allowed
        task = client._connections._task
        assert task is not None
        del client
        gc.collect()
        await asyncio.wait([task], timeout=15)
        assert task.done()

    asyncio.run(run())


@both
def test_a_client_that_is_closed_before_it_had_a_certificate(address: str, kind: Any, tmp_path: Path) -> None:
    tls = pdp.Tls(server_name="pdp", workload_api=f"unix://{tmp_path}/nobody.sock")
    with kind(address, tls=tls) as (client, run):
        closed = client.close()
        if closed is not None:
            run(closed)
        with pytest.raises(pdp.PdpError, match="unreachable"):
            run(client.check(WRITE, timeout_s=10))


@both
@pytest.mark.parametrize("trust_domain", [DOMAIN, "nobody.test"])
def test_a_server_of_another_domain_is_verified_by_its_bundle(
    address: str, guarded: tuple[Running, Identities], kind: Any, tmp_path: Path, trust_domain: str
) -> None:
    """Federated: the agent tells the bundle of the server's domain beside ours."""
    workloads = Workloads(tmp_path)
    try:
        workloads.tell(Identities(tmp_path, "ours.test"), guarded[1], spiffe_id="spiffe://ours.test/jobs/a")
        tls = pdp.Tls(server_name="pdp", workload_api=workloads.socket, trust_domain=trust_domain)
        with kind(address, tls=tls) as (client, run):
            with pytest.raises(pdp.PdpError) as caught:  # the server's port is for its own domain
                run(client.check(WRITE, timeout_s=2))
            if trust_domain == DOMAIN:
                assert connection(client).showing.authorities_pem == guarded[1].domain.bundle_pem()
            else:
                assert "no authorities of the server: no_bundle" in str(caught.value)
    finally:
        workloads.close()
