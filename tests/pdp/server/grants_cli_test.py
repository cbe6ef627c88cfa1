"""The verbs of tasks and incidents against a real server, as people type them: what they print, and how they exit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pdp.cli import main as command
from pdp.errors import PdpError
from tests.pdp.server.grants_world import API, CI, OPS, Place, asking
from tests.pdp.server.world import GATE, Running

command._add_verbs([])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def server(place: Place) -> Iterator[Running]:
    with place.serving() as found:
        yield found


class Shell:
    """`pdp` as one caller."""

    def __init__(self, place: Place, server: Running, caller: str) -> None:
        place.credentials(caller)
        folder = place.folder / "callers" / caller.rsplit("/", 1)[-1]
        bundle = place.folder / "bundle.pem"
        bundle.write_bytes(place.identities.domain.bundle_pem())
        self.environment = {
            "PDP_SERVER": server.address,
            "PDP_CERT": str(folder / "svid.pem"),
            "PDP_KEY": str(folder / "svid.key"),
            "PDP_CA": str(bundle),
        }

    def run(self, *words: str, code: int = 0, **more: Any) -> str:
        result = CliRunner().invoke(command.app, list(words), env=self.environment, **more)
        if isinstance(result.exception, PdpError):
            raise result.exception
        assert result.exit_code == code, result.output + repr(result.exception)
        return result.output

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.run(*words, "--format", "json", code=code))


def test_a_task_by_hand(place: Place, server: Running) -> None:
    ci, ops = Shell(place, server, CI), Shell(place, server, OPS)
    holder = str(place.folder / "callers" / "api" / "svid.pem")
    place.credentials(API)
    words = ("task", "open", "invoicing", "--holder", API, "--holder-cert", holder, "--lasting", "10m", "--once", "7")
    opened = ci.json(*words, "--set", "tenant=acme", "--permit", "select Table in Database:ledger")
    task = opened["grant"]["task"]
    assert opened["grant"]["facts"] == {"tenant": "acme"}
    assert opened["grant"]["scope"] == ["select Table in Database:ledger"]
    assert opened["grant"]["bindings"] == {"certificate": place.thumbprint(API)}
    with place.calling(server.address, GATE) as gate:
        ask = asking(place, opened["handle"])
        assert gate.reason(ask) == "allowed"
        assert [each["task"] for each in ci.json("task", "list")] == [task]
        assert f"holder {API}" in ci.run("task", "show", task)
        assert [each["id"] for each in ops.json("held", API)] == [opened["grant"]["id"]]
        assert ops.json("freeze", API, "--plan")["grants"] == [opened["grant"]["id"]]
        ops.run("freeze", API, "--reason", "a shell")
        assert gate.reason(ask) == "task_suspended"
        ops.run("thaw", API, "--reason", "a mistake")
        assert gate.reason(ask) == "allowed"
        assert f"ended {opened['grant']['id']}" in ci.run("task", "end", task)
        assert gate.reason(ask) == "task_ended"
    assert ci.json("task", "end", task, code=1)["refused"] == "task_ended"
    assert ci.json("task", "list") == []
    assert [each["state"] for each in ci.json("task", "list", "--state", "ended")] == ["ended"]
    assert "no such task" in ci.run("task", "show", "x", code=1)
    assert f"refused: not_permitted: who calls may not call this: {CI} is not in `roles.admin`" in ci.run("status", code=1)
    assert [each["stale"] for each in ops.json("status")["trust"]] == [None]  # a bundle from a file


def test_asked_for_approved_delegated(place: Place, server: Running) -> None:
    ci, api, ops = (Shell(place, server, each) for each in (CI, API, OPS))
    helper = f"{API.rsplit('/', 1)[0]}/helper"
    place.credentials(helper)
    token = place.folder / "ada.jwt"
    token.write_text(place.token("ada"))
    opened = ci.json("task", "open", "release", "--holder", API, "--holder-cert", place.thumbprint(API))["grant"]
    assert opened["state"] == "pending_approval"
    assert "refused: self_approval" in ci.run("grant", "approve", opened["id"], "--token", str(token), "--yes", code=1)
    shown = ops.run("grant", "approve", opened["id"], "--token", str(token), input="n\n", code=1)
    assert opened["agreement"] in shown
    approved = ops.json("grant", "approve", opened["id"], "--token", str(token), "--agreement", opened["agreement"])
    assert approved["grant"]["approvals"] == ["User ada"]
    seen = ci.json("task", "open", "release", "--holder", API, "--holder-cert", place.thumbprint(API))["grant"]
    outside = Shell(place, server, helper)  # of nothing in the grant: only the person is
    assert outside.json("grant", "approve", seen["id"], "--token", str(token), "--yes")["grant"]["state"] == "active"
    max_ = place.folder / "max.jwt"
    max_.write_text(place.token("max"))
    assert "refused: grant_unknown" in outside.run("grant", "approve", seen["id"], "--token", str(max_), "--yes", code=1)
    other = ci.json("task", "open", "release", "--holder", API, "--holder-cert", place.thumbprint(API))["grant"]
    rejected = ops.json("grant", "reject", other["id"], "--token", str(token), "--reason", "not today")
    assert (rejected["grant"]["ended"], rejected["grant"]["why"]) == ("revoked", "not today")
    asked = api.json("grant", "request", "invoicing", "--opener", CI, "--set", "note=mine", "--reason", "May")["grant"]
    assert (asked["state"], asked["why"]) == ("requested", "May")
    handle = place.folder / "handle"
    words = ("task", "open", "invoicing", "--holder", API, "--holder-cert", place.thumbprint(API), "--set", "tenant=acme")
    handle.write_text(ci.json(*words)["handle"])
    child = api.json("grant", "delegate", helper, "--handle", str(handle), "--holder-cert", place.thumbprint(helper))
    assert child["grant"]["depth"] == 1
    assert len(api.json("grant", "list", "--task", child["grant"]["task"])) == 2
    ended = ops.json("revoke", "--cert", place.thumbprint(helper), "--reason", "stolen")
    assert ended["grants"] == [child["grant"]["id"]]
    assert ops.json("revoke", "--opener", CI, "--plan")["grants"]
    status = ops.json("status")
    assert (status["ready"], status["generation"]) == (True, server.parts.engine.generation)
    assert "ready" in ops.run("status")


def test_an_operator_looks_and_reads_why(place: Place) -> None:
    """Finding A11: with `roles.admin` alone one could freeze, and see neither what was held nor why."""
    looker = f"{OPS.rsplit('/', 1)[0]}/look"
    roles = {"grants": [CI, API], "admin": [looker]}
    with place.serving(roles=roles) as server:
        ci, ops = Shell(place, server, CI), Shell(place, server, looker)
        place.credentials(API)
        opened = ci.json("task", "open", "invoicing", "--holder", API, "--holder-cert", place.thumbprint(API),
                         "--set", "tenant=acme")["grant"]  # fmt: skip
        ops.run("freeze", API, "--reason", "seen by rule 77")
        for words in (("held", API), ("task", "list"), ("grant", "list"), ("task", "show", opened["task"])):
            assert "because seen by rule 77" in ops.run(*words)
            told = ci.run(*words)
            assert opened["id"] in told
            assert "rule 77" not in told
        again = ci.run("task", "open", "invoicing", "--holder", API, "--holder-cert", place.thumbprint(API),
                       "--set", "tenant=acme", code=1)  # fmt: skip
        assert again.strip() == "refused: workload_frozen: the workload is frozen"
        assert "not_permitted" in ops.run("task", "end", opened["task"], code=1)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("revoke", "--reason", "x"), "exactly one of"),
        (("revoke", "--gate", "a", "--task", "b", "--reason", "x"), "exactly one of"),
        (("revoke", "--cert", "nowhere.pem", "--reason", "x"), "`nowhere.pem` is neither"),
        (("revoke", "--cert", "ab" * 32, "--reason", "x"), "is neither"),
        (("task", "open", "invoicing", "--holder", API, "--holder-cert", "nowhere.pem"), "is neither"),
        (("task", "open", "invoicing", "--holder", API, "--set", "tenant"), "--set"),
        (("task", "open", "invoicing", "--holder", API, "--set", "count:=x"), "not JSON"),
        (("task", "open", "invoicing", "--holder", API, "--permit", "select"), "--permit"),
        (("task", "open", "invoicing", "--holder", API, "--lasting", "soon"), "--lasting"),
        (("task", "list", "--state", "over"), "--state"),
        (("grant", "approve", "x", "--token", "nowhere", "--agreement", "zz"), "--agreement"),
        (("status", "--ca", ""), "invalid_file|go together"),
        (("status", "--caller", "spiffe://prod.test/x"), "development server"),
    ],
)
def test_wrong_usage_says_what_is_right(words: tuple[str, ...], says: str, place: Place, server: Running) -> None:
    with pytest.raises(PdpError, match=says):
        Shell(place, server, OPS).run(*words)


def test_nobody_there(place: Place) -> None:
    with pytest.raises(PdpError) as error:
        CliRunner().invoke(command.app, ["status", "--server", "127.0.0.1:1"], catch_exceptions=False)
    assert error.value.code == "unreachable"
    with pytest.raises(PdpError, match="over TLS only"):
        CliRunner().invoke(command.app, ["status", "--server", "192.0.2.1:7070"], catch_exceptions=False)
