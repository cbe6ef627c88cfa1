"""Finding F15: a bundle endpoint that wants to hold us, to fill our memory, or to be taken for somebody else."""

from __future__ import annotations

import itertools
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from pdp.errors import PdpError
from pdp.identity import Refused, TrustStore
from pdp.identity.dev.certificates import changed
from pdp.identity.dev.malformed_svids import SvidShape
from pdp.store.dev_domain import private_pem
from pdp.store.trust import EndpointSource, Trust, WebServer, refresh
from tests.pdp.identity.endpoint_test import NOW, PARTNER, SERVER, stored, svid

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
PAUSE_S = 0.02

Connection = socket.socket


class Hostile:
    """A server on loopback that does one thing with each connection, until its client is gone."""

    def __init__(self, act: Callable[[Connection], None]) -> None:
        self._act = act
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                with connection, suppress(OSError, ValueError):
                    connection.settimeout(20)
                    self._act(connection)

    def close(self) -> None:
        self.over.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(20)
        assert not self._thread.is_alive()


@contextmanager
def hostile(act: Callable[[Connection], None]) -> Iterator[Hostile]:
    server = Hostile(act)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def named(tmp_path: Path) -> ssl.SSLContext:
    """What a server needs to be `localhost`."""

    def shape(svid_shape: SvidShape) -> SvidShape:
        return SvidShape(changed(svid_shape.leaf, uris=(), dns=("localhost",)), svid_shape.intermediate)

    (tmp_path / "ca.pem").write_bytes(PARTNER.bundle_pem())
    return _context(tmp_path, *svid(shape))


def _context(folder: Path, chain: tuple[bytes, ...], key: Any) -> ssl.SSLContext:
    (folder / "chain.pem").write_text("".join(map(ssl.DER_cert_to_PEM_cert, chain)))
    (folder / "key.pem").write_bytes(private_pem(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    return context


def after_handshake(context: ssl.SSLContext, say: Callable[[Connection], None]) -> Callable[[Connection], None]:
    def act(connection: Connection) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            asked = b""
            while b"\r\n\r\n" not in asked:
                if not (part := secure.recv(4096)):
                    return
                asked += part
            say(secure)

    return act


def dripping(before: bytes, after: Iterator[bytes]) -> Callable[[Connection], None]:
    """A byte now and then: each is within any timeout of a socket."""

    def say(connection: Connection) -> None:
        connection.sendall(before)
        for part in after:
            connection.sendall(part)
            threading.Event().wait(PAUSE_S)

    return say


def flooding(before: bytes, part: bytes) -> Callable[[Connection], None]:
    def say(connection: Connection) -> None:
        connection.sendall(before)
        while True:
            connection.sendall(part)

    return say


def silent(connection: Connection) -> None:
    connection.recv(1)


def document(body: bytes) -> bytes:
    return OK + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


SAYS: dict[str, tuple[str, Callable[[Connection], None]]] = {
    "nothing": ("trust_unavailable", silent),
    "a body without end": ("bundle_too_large", flooding(OK + b"\r\n", b" " * 65_536)),
    "a body of pieces without end": (
        "bundle_too_large",
        flooding(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 65_536 + b"\r\n"),
    ),
    "a length that is too long, and so many bytes": (
        "bundle_too_large",
        flooding(OK + b"Content-Length: 99999999999\r\n\r\n", b" " * 65_536),
    ),
    "a slow body": ("trust_unavailable", dripping(OK + b"Content-Length: 9999\r\n\r\n", itertools.repeat(b" "))),
    "a slow size of a piece": (
        "trust_unavailable",
        dripping(OK + b"Transfer-Encoding: chunked\r\n\r\n", itertools.repeat(b"0")),
    ),
    "a slow header": ("trust_unavailable", dripping(OK, itertools.repeat(b"a"))),
    "a slow status": ("trust_unavailable", dripping(b"", itertools.repeat(b"H"))),
    "slow headers without end": ("trust_unavailable", dripping(OK, itertools.repeat(b"A: b\r\n"))),
    "headers without end": ("trust_unavailable", flooding(OK, b"A: b\r\n" * 1000)),
    "one header without end": ("trust_unavailable", flooding(OK + b"A: ", b"a" * 65_536)),
    "promises without end": ("trust_unavailable", flooding(b"", b"HTTP/1.1 100 Continue\r\n\r\n")),
    "garbage": ("trust_unavailable", lambda c: c.sendall(b"\x00\xff\xfe" * 1000)),
    "a piece of no size": (
        "trust_unavailable",
        lambda c: c.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n"),
    ),
    "no status": ("trust_unavailable", lambda c: c.sendall(b"HTTP/1.1 abc OK\r\n\r\n")),
    "an end in the middle": ("trust_unavailable", lambda c: c.sendall(OK + b"Content-Length: 50\r\n\r\n{")),
    "an end before anything": ("trust_unavailable", lambda c: None),
    "other bytes": ("bundle_malformed", lambda c: c.sendall(document(b"\x30\x82" * 100))),
    "a list": ("bundle_malformed", lambda c: c.sendall(document(b"[]"))),
    "brackets": ("bundle_malformed", lambda c: c.sendall(document(b"[" * 100_000))),
    "many keys": ("bundle_too_large", lambda c: c.sendall(document(b'{"keys":[' + b"{}," * 5000 + b"{}]}"))),
    "keys of the wrong type": ("bundle_without_keys", lambda c: c.sendall(document(b'{"keys":7}'))),
    "a redirect to bytes": (
        "endpoint_not_https",
        lambda c: c.sendall(b"HTTP/1.1 302 x\r\nLocation: https://\xff\xfe/\r\n\r\n"),
    ),
    "a redirect to a long name": (
        "endpoint_left_host",
        lambda c: c.sendall(b"HTTP/1.1 302 x\r\nLocation: https://" + b"a" * 300 + b"/\r\n\r\n"),
    ),
}


@pytest.mark.parametrize("name", SAYS)
def test_what_a_hostile_server_says(name: str, tmp_path: Path, named: ssl.SSLContext) -> None:
    code, say = SAYS[name]
    with hostile(after_handshake(named, say)) as server:
        source = EndpointSource("partner.test", f"https://localhost:{server.port}/", WebServer(tmp_path / "ca.pem"), 1.0)
        trust = Trust()
        assert refresh(source, trust, NOW).code == code
        assert not trust.current.bundles


BEFORE: dict[str, Callable[[Connection], None]] = {
    "no handshake": silent,
    "garbage for a handshake": lambda c: c.sendall(b"\x16\x03\x03\xff\xff" + b"\x00" * 70_000),
    "plain HTTP": lambda c: c.sendall(document(b"{}")),
    "a slow handshake": dripping(b"\x16\x03\x03\x40\x00", itertools.repeat(b"\x02")),
    "an end": lambda c: None,
}


@pytest.mark.parametrize("spiffe", [False, True])
@pytest.mark.parametrize("name", BEFORE)
def test_what_a_hostile_server_does_before(name: str, spiffe: bool, tmp_path: Path, named: ssl.SSLContext) -> None:
    with hostile(BEFORE[name]) as server:
        by = SERVER if spiffe else WebServer(tmp_path / "ca.pem")
        source = EndpointSource("partner.test", f"https://localhost:{server.port}/", by, 1.0)
        with pytest.raises(PdpError, match="trust_unavailable"):
            source.read(stored(), NOW)


def test_more_certificates_than_anybody_has(tmp_path: Path) -> None:
    chain, key = svid()
    context = _context(tmp_path, (*chain, *[chain[1]] * 20), key)
    with hostile(after_handshake(context, silent)) as server:
        source = EndpointSource("partner.test", f"https://localhost:{server.port}/", SERVER, 5.0)
        with pytest.raises(Refused, match="too_many_certificates"):
            source.read(stored(), NOW)


def test_a_host_that_has_no_spelling() -> None:
    source = EndpointSource("partner.test", f"https://{'a' * 80}.test/", WebServer(), 1.0)
    with pytest.raises(PdpError, match="trust_unavailable"):
        source.read(TrustStore(), NOW)
