"""A server in this process, with real sockets: its loop in a thread, its callers in the test."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc

from pdp.server.config import Config, Service, read_config
from pdp.server.handlers import CallRefused, Deadline, Handlers, Method, StreamMethod
from pdp.server.parts import Parts, make_parts
from pdp.server.peer import Peer
from pdp.server.process import Started, run_process
from pdp.store.dev_domain import create_domain, new_key, private_pem, write_files

DOMAIN = "prod.test"
SERVER, GATE, STRANGER = (f"spiffe://{DOMAIN}/{name}" for name in ("pdp", "gate", "stranger"))
WAIT_S = 15.0

POLICY = """language 1
package app
entity Document
action read on Document
allow all-read { who anyone do read on Document }
"""


def wait_until(condition: Callable[[], Any], what: str = "") -> Any:
    """What the condition gives once that is true; a condition, and no amount of time, is waited for."""
    ends = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < ends, f"not within {WAIT_S} s: {what or condition}"
        threading.Event().wait(0.005)
    return found


def policies(folder: Path) -> Path:
    path = folder / "policies"
    path.mkdir(exist_ok=True)
    (path / "app.policy").write_text(POLICY)
    return path


# ---- identities


def now_us() -> int:
    return time.time_ns() // 1000


class Identities:
    """A trust domain in a folder, with SVIDs."""

    def __init__(self, folder: Path, name: str = DOMAIN) -> None:
        self.folder = folder
        self.domain = create_domain(folder / f"ca-{name}", name, now_us(), 365 * 86_400_000_000)[0]
        self.bundle = folder / f"{name}.json"
        self.bundle.write_bytes(self.domain.bundle_document())

    def write(self, spiffe_id: str, into: str, ttl_s: float = 3600, malformed: str | None = None) -> tuple[Path, Path]:
        """`svid.pem` and `svid.key` in a folder."""
        key = new_key()
        domain, ttl_us = self.domain, int(ttl_s * 1e6)
        chain = domain.certificates(spiffe_id, key.public_key(), now_us(), ttl_us, malformed)
        if malformed is None and spiffe_id.endswith("/pdp"):  # Python's gRPC clients look for a host name
            shape = domain.shape(spiffe_id, now_us(), ttl_us)
            chain = domain.issue(replace(shape, leaf=replace(shape.leaf, dns=("pdp",))), key.public_key())
        pem = b"".join(_pem(der) for der in chain)
        write_files(self.folder / into, {"svid.pem": pem}, {"svid.key": private_pem(key)})
        return self.folder / into / "svid.pem", self.folder / into / "svid.key"

    def credentials(self, spiffe_id: str, **changes: Any) -> grpc.ChannelCredentials:
        certificate, key = self.write(spiffe_id, "callers/" + spiffe_id.rsplit("/", 1)[-1], **changes)
        return grpc.ssl_channel_credentials(self.domain.bundle_pem(), key.read_bytes(), certificate.read_bytes())


def _pem(der: bytes) -> bytes:
    from pdp.cli.dev import _pem as pem

    return pem(der)


# ---- handlers


def echo(request: bytes, peer: Peer, deadline: Deadline) -> bytes:
    if request == b"bad":
        raise ValueError("a mistake of a handler, with secret-canary in it")
    if request == b"refuse":
        raise CallRefused("FAILED_PRECONDITION", "no_such_thing", "there is none")
    if request == b"who":
        return f"{peer.name} {peer.transport} {sorted(peer.roles)} {peer.gate is not None}".encode()
    return request


async def echo_stream(requests: AsyncIterator[bytes], peer: Peer, deadline: Deadline) -> AsyncGenerator[bytes, None]:
    async for request in requests:
        yield echo(request, peer, deadline)


def in_own_words(request: bytes, code: str) -> bytes:
    return b"denied: " + code.encode()


def test_handlers(parts: Parts) -> Handlers:
    return {
        "/test.Echo/Echo": Method(echo, Service.DECISION),
        "/test.Echo/Gate": Method(echo, Service.DECISION, refused=in_own_words, for_gates=True),
        "/test.Echo/Grants": Method(echo, Service.GRANTS, waits=True),
        "/test.Echo/Admin": Method(echo, Service.ADMIN),
        "/test.Echo/Stream": StreamMethod(echo_stream, Service.DECISION),
    }


test_handlers.__test__ = False  # type: ignore[attr-defined]


# ---- a server


class Running:
    def __init__(self, parts: Parts, started: Started, loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
        self.parts, self.started, self._loop, self._stop = parts, started, loop, stop

    @property
    def address(self) -> str:
        return str(self.started.addresses[0])

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)


@contextmanager
def running(
    config: Config,
    make: Callable[[Parts], Handlers] = test_handlers,
    *,
    worker: int = 0,
    runtime: Path | None = None,
    change: Callable[[Parts], None] = lambda _: None,
) -> Iterator[Running]:
    """A server until the block ends; it has then ended without an error."""
    loop, up = asyncio.new_event_loop(), threading.Event()
    found: list[Any] = []

    async def serve() -> None:
        parts = make_parts(config, worker)
        change(parts)
        stop = asyncio.Event()

        def started(told: Started) -> None:
            found.append(Running(parts, told, loop, stop))
            up.set()

        await run_process(parts, runtime, stop, started, make)

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        except BaseException as error:  # noqa: BLE001  # for the test to see
            found.append(error)
        finally:
            up.set()
            loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert up.wait(WAIT_S)
    if isinstance(found[0], BaseException):
        raise found[0]
    try:
        yield found[0]
    finally:
        if thread.is_alive():
            found[0].stop()
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert len(found) == 1, found[1:]


def development(folder: Path, **sections: Any) -> Config:
    document = {
        "policies": {"path": str(policies(folder)), "watch": False},
        "listen": [{"address": "127.0.0.1:0"}],
        "admin": {"address": "127.0.0.1:0"},
        "development": {"enabled": True},
        "limits": {"drain": "2s"},
    }
    return read_config({**document, **sections}, folder)


def production(folder: Path, identities: Identities, **sections: Any) -> Config:
    identities.write(SERVER, "own")
    config = development(
        folder,
        development={},
        listen=[{"address": "127.0.0.1:0", "trust_domain": DOMAIN}],
        tls={"certificate": "own/svid.pem", "key": "own/svid.key", "recheck": "50ms"},
        trust={DOMAIN: {"file": str(identities.bundle)}},
        peps={GATE: {"domains": [DOMAIN]}},
        roles={"grants": [f"spiffe://{DOMAIN}/ci/*"], "admin": [f"spiffe://{DOMAIN}/ops/ann"]},
    )
    return replace(config, **read_sections(folder, sections))


def read_sections(folder: Path, sections: dict[str, Any]) -> dict[str, Any]:
    config = read_config(sections, folder)
    return {name: getattr(config, name) for name in sections}


# ---- callers


@contextmanager
def channel(address: str, credentials: grpc.ChannelCredentials | None = None) -> Iterator[grpc.Channel]:
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    if credentials is None:
        opened = grpc.insecure_channel(address, options)
    else:
        opened = grpc.secure_channel(address, credentials, [*options, ("grpc.ssl_target_name_override", "pdp")])
    with opened:
        yield opened


def call(opened: grpc.Channel, method: str, request: bytes = b"", timeout: float = WAIT_S, **more: Any) -> bytes:
    answer: bytes = opened.unary_unary(method)(request, timeout=timeout, **more)
    return answer


def code_of(error: grpc.RpcError) -> str:
    """The status, and our own code where there is one."""
    metadata = dict(error.trailing_metadata() or ())
    return f"{error.code().name} {metadata.get('pdp-code', '')}".strip()


def refused(opened: grpc.Channel, method: str, request: bytes = b"", **more: Any) -> str:
    try:
        answer = call(opened, method, request, **more)
    except grpc.RpcError as error:
        return code_of(error)
    raise AssertionError(f"answered: {answer!r}")
