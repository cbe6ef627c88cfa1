"""CONNECT through a real Envoy that takes it (finding S9): a tunnel is for a host, and a path never decides about one."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.envoy.stand import HOST, Stand, lax, wait_until
from tests.pdp.server.raw import frame
from tools.programs import Document, Envoy, filter_of

HEADERS, GOAWAY, END_HEADERS = 1, 7, 4


def tunnelling(document: Document) -> None:
    """`h1up` of the finding: CONNECT is taken over HTTP/2, also extended, and goes to a back end over HTTP/1.1."""
    lax(document)
    manager = filter_of(document, "envoy.filters.network.http_connection_manager")
    manager["upgrade_configs"] = [{"upgrade_type": "CONNECT"}]
    manager["http2_protocol_options"] = {"allow_connect": True}
    manager["codec_type"] = "HTTP2"
    back_end = next(each for each in document["static_resources"]["clusters"] if each["name"] == "back_end")
    del back_end["typed_extension_protocol_options"]
    del filter_of(document, "envoy.filters.http.ext_authz")["with_request_body"]  # a tunnel has no end to wait for
    for host in manager["route_config"]["virtual_hosts"]:
        host["domains"] = ["*"]
        forward = next(route["route"] for route in host["routes"] if "route" in route)
        host["routes"].insert(0, {"match": {"connect_matcher": {}}, "route": forward})


@pytest.fixture(scope="module")
def gate(stand: Stand) -> Envoy:
    return stand.gate("http.yaml", "tunnelling", change=tunnelling)


def answer(stand: Stand, gate: Envoy, *more: tuple[bytes, bytes]) -> bytes:
    """What is sent back on the stream of a CONNECT with these pseudo-headers, until it is answered."""
    said = [(b":method", b"CONNECT"), (b":authority", HOST.encode()), *more]
    block = b"".join(b"\0" + bytes([len(n)]) + n + bytes([len(v)]) + v for n, v in said)
    with stand.connect(gate, alpn="h2") as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(HEADERS, END_HEADERS, 1, block))
        found = b""
        while not any(kind == HEADERS for kind, _ in frames(found)):
            found += read_more(connection, found)
        return found


def read_more(connection: socket.socket, found: bytes) -> bytes:
    more = connection.recv(65_536)
    assert more, found
    return more


def frames(raw: bytes) -> Iterator[tuple[int, bytes]]:
    while len(raw) >= 9 and len(raw) >= 9 + (length := int.from_bytes(raw[:3], "big")):
        yield raw[3], raw[9 : 9 + length]
        raw = raw[9 + length :]


@pytest.mark.parametrize("path", [b"/", b"/pages/home"])
def test_the_path_of_an_extended_connect_decides_nothing(stand: Stand, gate: Envoy, path: bytes) -> None:
    received, denied = len(stand.http.received), gate.counter("ext_authz.denied")
    answer(stand, gate, (b":scheme", b"https"), (b":path", path), (b":protocol", b"bytestream"))
    assert len(stand.http.received) == received
    assert gate.counter("ext_authz.denied") > denied


def test_a_tunnel_to_a_host_is_decided_by_the_route_of_that_host(stand: Stand, gate: Envoy) -> None:
    before = len(stand.http.received)
    answer(stand, gate)
    tunnels = stand.http.received[before:]
    assert {t.head.split(b"\r\n")[0] for t in tunnels} == {b"CONNECT %s HTTP/1.1" % HOST.encode()}

    def decided() -> list[str]:
        told = [entry for entry in stand.all_decided() if entry.get("request", {}).get("resource") == ["Page", "tunnel"]]
        return [entry["reason"] for entry in told]

    assert wait_until(decided, "the tunnel in the record") == ["allowed"]
