"""`pdp serve` and `pdp task` as two real programs, on one's own machine and without a configuration."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.pdp.server.grants_world import API, CI, Place
from tests.pdp.server.serve_test import COMMAND, ENVIRONMENT, Served, served
from tests.pdp.server.world import WAIT_S

OPEN = ("task", "open", "invoicing", "--holder", API, "--holder-key", "n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def pdp(server: Served, *words: str, caller: str | None = CI, code: int = 0) -> Any:
    variables = {**ENVIRONMENT, "PDP_SERVER": server.address, **({} if caller is None else {"PDP_CALLER": caller})}
    command = [*COMMAND, *words, "--format", "json"]
    run = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=2 * WAIT_S, check=False)
    assert run.returncode == code, run.stdout + run.stderr
    return json.loads(run.stdout)


def serving(place: Place, **environment: str) -> Any:
    variables = {"PDP_DEVELOPMENT_TRUST_DOMAIN": "prod.test", **environment}
    return served(place.folder, "--policies", "set", **variables)


def test_tasks_work_at_once(place: Place) -> None:
    with serving(place) as server:
        opened = pdp(server, *OPEN, "--set", "tenant=acme")
        assert opened["handle"]
        assert pdp(server, *OPEN, "--set", "tenant=acme", caller=API, code=1)["refused"] == "holder_is_opener"
        assert pdp(server, *OPEN, "--set", "tenant=acme", caller=None, code=1)["refused"] == "no_workload"
        assert pdp(server, "freeze", API, "--plan", caller=None)["grants"] == [opened["grant"]["id"]]
        assert pdp(server, "freeze", API, "--plan", code=1)["refused"] == "not_permitted"
        assert pdp(server, "task", "end", opened["grant"]["task"])["grants"] == [opened["grant"]["id"]]
        assert pdp(server, "status", caller=None)["store"]["revision"] >= 2


def test_what_was_acknowledged_survives_a_kill(place: Place) -> None:
    store = {"PDP_STORE_PATH": str(place.folder / "store" / "grants.sqlite")}
    with serving(place, **store) as server:
        first, second = (pdp(server, *OPEN, "--set", "tenant=acme")["grant"] for _ in range(2))
        pdp(server, "task", "end", first["task"])
        server.process.kill()
    with serving(place, **store) as server:
        states = {
            each["id"]: each["state"] for each in pdp(server, "grant", "list", "--state", "active", "--state", "ended")
        }
        assert states == {first["id"]: "ended", second["id"]: "active"}
