"""A plain port before a connection that is opened otherwise, for a client that cannot open it itself."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress


class Tunnel:
    def __init__(self, connect: Callable[[], AbstractContextManager[socket.socket]]) -> None:
        self._connect = connect
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])

    def __enter__(self) -> Tunnel:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with suppress(OSError), near, self._connect() as far:
            _pump(near, far)


def _pump(near: socket.socket, far: socket.socket) -> None:
    """Both ways in one thread: two threads must not read and write the same TLS connection at once."""
    far.setblocking(False)
    while True:
        readable, _, _ = select.select([near, far], [], [])
        if near in readable:
            data = near.recv(65536)
            if not data:
                return
            _send(far, data)
        while (data := _received(far)) is not None:
            if not data:
                return
            near.sendall(data)


def _received(far: socket.socket) -> bytes | None:
    """What is there; None where nothing is, yet."""
    try:
        return far.recv(65536)
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
        return None


def _send(far: socket.socket, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[far.send(rest) :]
        except (ssl.SSLWantWriteError, BlockingIOError):
            select.select([], [far], [])
        except ssl.SSLWantReadError:
            select.select([far], [], [])
