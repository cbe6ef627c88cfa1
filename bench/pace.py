"""Requests at an even pace: one at a time on each of a few connections, which take turns.

`h2load --rps` is no such thing: it sends what is due every ten milliseconds, so that most of a latency at a thousand
requests a second is the queue behind nine others.
"""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor

from bench.timing import Spread, spread

REQUEST = b"GET /documents/q1 HTTP/1.1\r\nhost: api.acme.internal\r\n\r\n"
ALLOWED = b"HTTP/1.1 200 OK\r\n"


def at_pace(port: int, per_s: int, calls: int, connections: int = 4) -> Spread:
    """How long each took, from the moment at which it was sent."""
    period_s = connections / per_s
    start = time.perf_counter() + 0.1

    def send(number: int) -> list[int]:
        took_ns = []
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            due = start + number / per_s
            for _ in range(calls // connections):
                time.sleep(max(0.0, due - time.perf_counter()))
                began = time.perf_counter_ns()
                connection.sendall(REQUEST)
                _read(connection)
                took_ns.append(time.perf_counter_ns() - began)
                due += period_s
        return took_ns

    with ThreadPoolExecutor(connections) as threads:
        found = [ns for each in threads.map(send, range(connections)) for ns in each]
    return spread(found)


def _read(connection: socket.socket) -> None:
    """An answer, whole: a head that says how long the body is."""
    told = connection.recv(65_536)
    while b"\r\n\r\n" not in told:
        told += connection.recv(65_536)
    head, _, body = told.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    if not head.startswith(ALLOWED[:-2]):
        raise RuntimeError(f"not allowed: {head[:200]!r}")
    missing = length - len(body)
    while missing > 0:
        missing -= len(connection.recv(65_536))
