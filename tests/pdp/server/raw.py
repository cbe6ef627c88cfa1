"""HTTP/2 and protobuf as they are written by hand, for what no client would say."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable

#: SETTINGS_INITIAL_WINDOW_SIZE 0: whoever says so takes no answer.
TAKES_NOTHING = b"\0\4" + bytes(4)

Headers = Iterable[tuple[bytes, bytes]]


def varint(n: int) -> bytes:
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


class Raw:
    """A connection that says what no client of gRPC would."""

    def __init__(self, address: str, tls: ssl.SSLContext | None = None, settings: bytes = b"") -> None:
        host, _, port = address.rpartition(":")
        plain = socket.create_connection((host, int(port)), timeout=15)
        self._socket = plain if tls is None else tls.wrap_socket(plain)
        self.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, settings))

    def send(self, raw: bytes) -> None:
        self._socket.sendall(raw)

    def call(self, path: bytes, body: bytes | None, stream: int = 1, *, end: bool = True, more: Headers = ()) -> None:
        said = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"x")]
        said += [(b"te", b"trailers"), (b"content-type", b"application/grpc"), *more]
        block = b"".join(b"\0" + bytes([len(n)]) + n + bytes([len(v)]) + v for n, v in said)
        self.send(frame(1, 4 | (end and body is None), stream, block))
        if body is not None:
            self.send(frame(0, int(end), stream, body))

    def read_until(self, wanted: bytes) -> None:
        found = b""
        while wanted not in found:
            more = self._socket.recv(65_536)
            assert more, found
            found += more

    def close(self) -> None:
        self._socket.close()
