"""A connection to a server that may be hostile: all of it ends at one moment, and what the server showed can be judged.

A timeout of a socket bounds each wait, so that a byte now and then holds the client for as long as the server likes. Here
each wait has what is left until the deadline.
"""

from __future__ import annotations

import io
import socket
import ssl
import time
from _ssl import ENCODING_DER
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def connected(host: str, port: int, context: ssl.SSLContext, deadline: float) -> Iterator[ssl.SSLSocket]:
    """A connection after its handshake. `deadline` is a moment of the monotonic clock."""
    with _reached(host, port, deadline) as plain:
        plain.settimeout(left_until(deadline))
        with context.wrap_socket(plain, server_hostname=host) as secure:
            yield secure


def left_until(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def shown_by(server: ssl.SSLSocket) -> tuple[bytes, ...]:
    """The certificates that a server showed, in DER, its own first. The function is public from Python 3.13 on."""
    public = getattr(server, "get_unverified_chain", None)
    if public is not None:
        return tuple(public())
    held: Any = server._sslobj  # type: ignore[attr-defined]  # not in the stubs
    return tuple(certificate.public_bytes(ENCODING_DER) for certificate in held.get_unverified_chain() or ())


class Timed:
    """A connection as `http.client` uses one. It is closed by who opened it."""

    def __init__(self, server: ssl.SSLSocket, deadline: float) -> None:
        self._server, self._deadline = server, deadline

    def sendall(self, data: bytes) -> None:
        self._server.settimeout(left_until(self._deadline))
        self._server.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reading(self._server, self._deadline))

    def close(self) -> None:
        """Not here: the answer may still have to be read."""


class _Reading(io.RawIOBase):
    def __init__(self, server: ssl.SSLSocket, deadline: float) -> None:
        self._server, self._deadline = server, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._server.settimeout(left_until(self._deadline))
        return self._server.recv_into(buffer)


def _reached(host: str, port: int, deadline: float) -> socket.socket:
    """A connection to the first address that answers."""
    problem: OSError = ConnectionError()
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        found = socket.socket(family, kind, protocol)
        try:
            found.settimeout(left_until(deadline))
            found.connect(address)
        except OSError as error:
            found.close()
            problem = error
        else:
            return found
    raise problem
