"""A program that forks with a client, for a test: parent and child ask, and both follow their certificate.

It says `asked` when the client is in use; then the files are to become other ones.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pdp
from tests.pdp.sdk.rotating import pdp_threads
from tests.pdp.server.world import wait_until

WRITE = pdp.Request("write", ("Document", "d"))


def follows(client: pdp.Client, before: object) -> None:
    def keeps() -> bool:
        return client.check(WRITE, timeout_s=10) is client.check(WRITE, timeout_s=10)

    assert client.check(WRITE, timeout_s=10).allowed
    wait_until(lambda: client._connections.line.used is not before, "calls go over another connection")
    wait_until(keeps, "answers are kept")
    client.close()
    assert pdp_threads() == set()


def main(address: str, certificate: str, key: str, authorities: str) -> None:
    tls = pdp.Tls(Path(certificate), Path(key), Path(authorities), "pdp")
    client = pdp.Client(address, tls=tls, cache_entries=10, cache_for_s=600)
    before = client._connections.line.used
    assert client.check(WRITE, timeout_s=10).allowed
    client._answers._lock.acquire()  # as another thread may hold it
    child = os.fork()
    if child == 0:
        assert pdp_threads() == set()
        follows(client, before)
        os._exit(0)
    client._answers._lock.release()
    print("asked", flush=True)
    follows(client, before)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


if __name__ == "__main__":
    main(*sys.argv[1:])
