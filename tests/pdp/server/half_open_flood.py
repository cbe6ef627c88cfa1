"""A workload that opens calls and says nothing in them, as a process of its own, with an interpreter of its own."""

from __future__ import annotations

import ssl
import sys
from collections import deque

from tests.pdp.server.raw import Raw

CALLS = 1_000


def context(certificate: str, key: str, roots: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.load_verify_locations(roots)
    made.load_cert_chain(certificate, key)
    made.set_alpn_protocols(["h2"])
    return made


def _flood(address: str, tls: ssl.SSLContext, path: bytes) -> None:
    """For each line of input, a thousand calls on a connection of their own, which stays until eight others came."""
    opened: deque[Raw] = deque()
    for _ in sys.stdin:
        while len(opened) > 8:
            opened.popleft().close()
        opened.append(Raw(address, tls))
        try:
            for number in range(CALLS):
                opened[-1].call(path, None, 2 * number + 1, end=False)
        except OSError:  # the server may close it
            pass


if __name__ == "__main__":
    _, where, method, *files = sys.argv
    _flood(where, context(*files), method.encode())
