"""A real PostgreSQL behind the gate for connections: libpq speaks mTLS with Envoy, and what PostgreSQL heard of is what was
decided (N-1, N-3).
"""

from __future__ import annotations

import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.envoy.postgres import Postgres
from tests.envoy.stand import BILLING, CI, LEDGER, OPS, OTHER, TCP_GATE, WAIT_S, Stand, wait_until
from tools.programs import Document, Envoy, filter_of

HOST = "ledger.internal"
REPORTS = "spiffe://prod.acme/ns/reports"
_names = count()


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    found = Postgres()
    yield found
    found.stop()


@dataclass
class Desk:
    """The gate before the database, and those who open and end tasks for it by the verbs of `pdp`."""

    stand: Stand
    database: Postgres

    def gate(self, name: str, change: Callable[[Document], None] | None = None, server_port: int | None = None) -> Envoy:
        """Its certificate has a DNS name: libpq can compare no SPIFFE ID."""
        behind = self.stand.identities.svid(LEDGER, "postgres", dns=HOST)
        port = self.database.port
        return self.stand.gate(
            "tcp.yaml", name, id=TCP_GATE, behind=behind, back_end_port=port, server_port=server_port, change=change
        )

    def open(self, holder: str, svid: Path, destination: str = LEDGER) -> str:
        """The id of a task that is known to the decision point when this returns."""
        tied = ("--holder-cert", str(svid / "svid.pem"), "--gate", TCP_GATE, "--destination", destination)
        return str(self.stand.step(CI, "task", "open", "session", "--holder", holder, *tied)["grant"]["task"])

    def end(self, task: str) -> None:
        self.stand.step(CI, "task", "end", task)

    @contextmanager
    def task(self, holder: str, svid: Path, destination: str = LEDGER) -> Iterator[str]:
        task = self.open(holder, svid, destination)
        yield task
        self.end(task)

    # ---- what is decided, and what is heard of

    def decided(self) -> list[Any]:
        """Decisions on connections, in the record of this decision point."""
        return [d for d in self.stand.all_decided() if d["request"]["action"] == "connect"]


@pytest.fixture(scope="module")
def desk(stand: Stand, database: Postgres) -> Desk:
    return Desk(stand, database)


@pytest.fixture(scope="module")
def gate(desk: Desk) -> Envoy:
    return desk.gate("postgres-gate")


@pytest.fixture(scope="module")
def own(stand: Stand) -> Path:
    """A certificate of its own: what other tests open is not for it."""
    return stand.identities.svid(BILLING, "database")


@pytest.fixture
def told(desk: Desk) -> Iterator[Callable[[], list[str]]]:
    """The reasons of what was decided in this test. PostgreSQL must have heard of the allows, and of nothing else."""
    before, heard = len(desk.decided()), desk.database.received

    def reasons() -> list[str]:
        return [str(decision["reason"]) for decision in desk.decided()[before:]]

    yield reasons
    wait_until(lambda: reasons().count("allowed") == desk.database.received - heard, "as many as were allowed")


def connect(stand: Stand, gate: Envoy, svid: Path, name: str) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host=HOST,
        hostaddr="127.0.0.1",
        port=gate.port,
        user="app",
        dbname="postgres",
        application_name=name,
        connect_timeout=int(WAIT_S),
        autocommit=True,
        sslmode="verify-full",
        sslnegotiation="direct",
        sslcert=str(svid / "svid.pem"),
        sslkey=str(svid / "svid.key"),
        sslrootcert=str(stand.identities.ca / "bundle.pem"),
    )


def selects(stand: Stand, gate: Envoy, svid: Path) -> str | None:
    """What `select` gives; None where there is no connection. Not to be told from an answer that is empty."""
    name = f"try-{next(_names)}"
    try:
        with connect(stand, gate, svid, name) as connection:
            (found,) = connection.execute("select application_name from pg_stat_activity where pid = pg_backend_pid()")
    except psycopg.OperationalError:
        return None
    assert found == (name,)
    return name


def test_a_select_with_an_active_grant(stand: Stand, desk: Desk, gate: Envoy, own: Path, told: Any) -> None:
    with desk.task(BILLING, own) as task:
        name = selects(stand, gate, own)
        assert name is not None
        entry = wait_until(lambda: told() == ["allowed"] and desk.decided()[-1], "the allow in the record")
        assert (entry["destination"], entry["request"]["task"]["id"]) == (LEDGER, task)
        assert entry["request"]["resource"] == ["Database", "ledger"]
        assert (
            f"connection authorized: user=app database=postgres application_name={name}" in desk.database.output.read_text()
        )


@pytest.mark.parametrize(
    ("holder", "name", "destination"),
    [
        (None, "", LEDGER),
        (OTHER, "database", LEDGER),
        (BILLING, "database-of-another", LEDGER),
        (BILLING, "database", "spiffe://prod.acme/ns/db/other"),
    ],
    ids=["none", "of another workload", "of another certificate", "for another destination"],
)
def test_no_grant_that_fits(
    stand: Stand, desk: Desk, gate: Envoy, own: Path, told: Any, holder: str | None, name: str, destination: str
) -> None:
    with ExitStack() as stack:
        if holder is not None:
            stack.enter_context(desk.task(holder, stand.identities.svid(holder, name), destination))
        assert selects(stand, gate, own) is None
        wait_until(lambda: told() == ["default_deny"], "the denial in the record")
    with desk.task(BILLING, own):  # one thing away from success
        assert selects(stand, gate, own) is not None


def test_after_the_end_of_the_task_the_next_connection_is_refused_and_an_open_one_goes_on(
    stand: Stand, desk: Desk, gate: Envoy, own: Path, told: Any
) -> None:
    """It goes on for as long as the cap lets it: nobody is asked again. What ends it is the test of the cap."""
    task = desk.open(BILLING, own)
    with connect(stand, gate, own, "open") as connection:
        desk.end(task)
        assert selects(stand, gate, own) is None  # at once: the end was acknowledged
        assert connection.execute("select 1").fetchone() == (1,)
        wait_until(lambda: told() == ["allowed", "default_deny"], "both in the record")


def use_until_cut(connection: psycopg.Connection[Any], statement: str | None) -> None:
    while True:
        connection.execute(statement or "select 1")


@pytest.mark.parametrize("statement", [None, "select pg_sleep(600)"], ids=["in use", "in one statement"])
def test_an_open_connection_is_cut_at_the_cap_and_postgresql_lets_it_go(
    stand: Stand, desk: Desk, own: Path, told: Any, statement: str | None
) -> None:
    """The shipped cap is ten minutes; here it is two seconds, counted from the opening, whatever is going on."""

    def soon(document: Document) -> None:
        proxy = filter_of(document, "envoy.filters.network.tcp_proxy")
        assert proxy["max_downstream_connection_duration"] == "600s"
        proxy["max_downstream_connection_duration"] = "2s"

    gate = desk.gate(f"postgres-capped-{statement is None}", soon)
    name = f"capped {statement is None}"
    with desk.task(BILLING, own):
        connection = connect(stand, gate, own, name)
        assert len(desk.database.there(name)) == 1
        with pytest.raises(psycopg.OperationalError):
            use_until_cut(connection, statement)
        wait_until(lambda: desk.database.there(name) == [], "its back end is gone, with what it was doing")
        assert gate.counter("max_downstream_connection_duration") == 1
        connection.close()


def test_a_revoked_certificate_and_a_frozen_workload(stand: Stand, desk: Desk, gate: Envoy, told: Any) -> None:
    svid = stand.identities.svid(REPORTS, "revoked")
    desk.open(REPORTS, svid)
    assert selects(stand, gate, svid) is not None
    stand.step(OPS, "revoke", "--cert", str(svid / "svid.pem"), "--reason", "stolen")
    assert selects(stand, gate, svid) is None
    other = stand.identities.svid(REPORTS)
    with desk.task(REPORTS, other):  # of the same workload
        assert selects(stand, gate, other) is not None
        stand.step(OPS, "freeze", REPORTS, "--reason", "odd")
        assert selects(stand, gate, other) is None
        stand.step(OPS, "thaw", REPORTS, "--reason", "was nothing")
        assert selects(stand, gate, other) is not None
    wait_until(lambda: told() == ["allowed", "revoked", "allowed", "revoked", "allowed"], "all in the record")


def test_without_a_decision_point_there_is_no_connection(stand: Stand, desk: Desk, own: Path) -> None:
    server = stand.serve("postgres-ending")
    gate = desk.gate("postgres-alone", server_port=server.port)
    with desk.task(BILLING, own):
        wait_until(lambda: selects(stand, gate, own), "the grant is known there, too")
        before = desk.database.received
        server.stop(signal.SIGKILL)
        assert [selects(stand, gate, own) for _ in range(3)] == [None] * 3
        assert desk.database.received == before


def test_whoever_is_not_decided_about_is_not_heard_of(stand: Stand, desk: Desk, gate: Envoy, own: Path, told: Any) -> None:
    """Neither a connection without TLS, nor one without a certificate, nor one that says nothing takes up one behind."""
    nobody = ssl.create_default_context(cafile=str(stand.identities.ca / "bundle.pem"))
    nobody.check_hostname = False
    with ExitStack() as stack:
        plain = stack.enter_context(socket.create_connection(("127.0.0.1", gate.port), WAIT_S))
        connection = stack.enter_context(nobody.wrap_socket(plain))
        with pytest.raises(OSError):  # with TLS 1.3 it is told on reading
            connection.recv(100)
    with ExitStack() as stack:
        stack.enter_context(socket.create_connection(("127.0.0.1", gate.port), WAIT_S))
        stack.enter_context(stand.connect(gate, stand.identities.svid(OTHER)))
        stack.enter_context(desk.task(BILLING, own))
        before = desk.database.received
        assert selects(stand, gate, own) is not None  # Envoy has seen all that came before
        assert desk.database.received == before + 1
