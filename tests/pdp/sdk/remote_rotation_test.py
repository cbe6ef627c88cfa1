"""Clients that live longer than their certificate, against a real server (finding S12)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import pdp
from pdp.server.table import make_handlers
from tests.pdp.sdk.remote_test import JOB, write_set
from tests.pdp.sdk.rotating import Rotating, asking_from_tasks, asking_from_threads
from tests.pdp.server.world import DOMAIN, Identities, Running, production, running

WRITE = pdp.Request("write", ("Document", "d"))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Identities]]:
    folder: Path = tmp_path_factory.mktemp("rotation")
    identities = Identities(folder)
    config = production(folder, identities, roles={"decision": [f"spiffe://{DOMAIN}/jobs/*"]})
    write_set(folder)
    with running(config, make_handlers) as found:
        yield found, identities


def test_no_call_fails_while_certificates_end(guarded: tuple[Running, Identities]) -> None:
    """Finding S12: it was `unauthenticated` for ever, from the end of the certificate that the connection was made with."""
    server, identities = guarded
    files = Rotating(identities, JOB)
    with (
        pdp.Client(server.address, tls=files.tls) as client,
        asking_from_threads(client, WRITE) as threads,
        asking_from_tasks(lambda: pdp.AsyncClient(server.address, tls=files.tls), WRITE) as tasks,
    ):
        for _ in range(4):
            files.wait_for_half()
            files.rotate()
    assert set(threads.counts) == set(tasks.counts) == {"allowed"}, (threads.counts, tasks.counts)
    assert files.rotations == 4
