"""The configuration of a server that runs, changed in its file: taken whole by every process, or refused whole."""

from __future__ import annotations

import copy
import json
import logging
import os
import re
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from language import CHECK_STEPS
from pdp.errors import PdpError
from pdp.server import follower
from pdp.server.config import (
    BadConfig,
    Config,
    Origin,
    Service,
    Telemetry,
    load_config,
    read_config,
    refuse_restart,
    reloaded_settings,
    with_reloaded,
)
from pdp.server.config.sections import LogLevel
from pdp.server.handlers import Deadline, Method
from pdp.server.parts import Parts, make_parts
from pdp.server.peer import Peer
from pdp.wire.messages import PDP
from tests.pdp.server.grants_world import (
    API,
    CI,
    DECISIONS,
    ENTITIES,
    GATE,
    GRANTS,
    ISSUER,
    LEDGER,
    OPS,
    Client,
    Place,
    asking,
    bound,
)
from tests.pdp.server.serve_test import COMMAND, ENVIRONMENT
from tests.pdp.server.world import (
    DOMAIN,
    SERVER,
    WAIT_S,
    Identities,
    call,
    channel,
    code_of,
    development,
    policies,
    wait_until,
)
from tests.pdp.server.world import running as in_process

NOT_PERMITTED = "PERMISSION_DENIED not_permitted"
CONNECTIONS = 12  # so that each process has some


def document(place: Place, **sections: Any) -> dict[str, Any]:
    folder = place.folder
    told = {
        "listen": [{"address": "127.0.0.1:0", "trust_domain": DOMAIN}],
        "admin": {"address": "127.0.0.1:0"},
        "tls": {"certificate": "own/svid.pem", "key": "own/svid.key", "recheck": "50ms"},
        "trust": {DOMAIN: {"file": str(place.identities.bundle)}},
        "peps": {GATE: {"domains": [DOMAIN], "destinations": [LEDGER], "vouches": True, "explain": True}},
        "roles": {"grants": [f"spiffe://{DOMAIN}/ci/*", f"spiffe://{DOMAIN}/billing/*", OPS], "admin": [OPS]},
        "policies": {"path": "set", "watch": False},
        "store": {"path": str(folder / "store" / "grants.sqlite")},
        "people": {ISSUER: {"audience": "pdp", "keys": "people.json", "roles": ["user", "approver"]}},
        "limits": {"deadline": "10s", "step_deadline": "20s", "drain": "2s"},
    }
    return {**told, **sections}


class Serving:
    """`pdp serve --config pdp.json` in a process of its own, and what it has logged."""

    def __init__(self, place: Place, process: subprocess.Popen[str]) -> None:
        self.place, self.process = place, process
        self.lines: list[str] = []
        self.up = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        assert self.up.wait(4 * WAIT_S), self.lines
        match = re.search(r"serving on (\S+?),? (?:in \d+ processes, )?metrics and health on http://(\S+)", self.lines[-1])
        assert match, self.lines
        self.address, self.admin = match[1], match[2]

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if "serving on" in line:
                self.up.set()
        self.up.set()

    def write(self, told: Any) -> None:
        path = self.place.folder / "pdp.json"
        aside = path.with_suffix(".new")
        aside.write_text(told if isinstance(told, str) else json.dumps(told))
        aside.replace(path)

    def hang_up(self) -> None:
        """SIGHUP, and until it was taken, or refused."""
        before = self._ends()
        self.process.send_signal(signal.SIGHUP)
        assert wait_until(lambda: self._ends() > before, "the end of a reload")

    def _ends(self) -> int:
        return sum("not reloaded" in line for line in self.lines) + int(self.figure("config_reloads"))

    def figure(self, name: str, worker: int = 0) -> float:
        with urllib.request.urlopen(f"http://{self.admin}/metrics", timeout=WAIT_S) as answer:
            text = answer.read().decode()
        (found,) = re.findall(rf'^pdp_{name}{{worker="{worker}"}} (\S+)$', text, re.MULTILINE)
        return float(found)

    def reload(self) -> Any:
        with self.place.calling(self.address, OPS) as ops:
            return ops.admin("Reload", PDP.ReloadRequest())

    @contextmanager
    def connections(self, who: str) -> Iterator[list[Client]]:
        """With every process at the other end of some."""
        with ExitStack() as stack:
            yield [stack.enter_context(self.place.calling(self.address, who)) for _ in range(CONNECTIONS)]


@contextmanager
def serving(place: Place, told: dict[str, Any], *arguments: str) -> Iterator[Serving]:
    place.identities.write(SERVER, "own")
    (place.folder / "pdp.json").write_text(json.dumps(told))
    command = [*COMMAND, "serve", "--config", "pdp.json", *arguments]
    with subprocess.Popen(command, cwd=place.folder, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Serving(place, process)
        finally:
            process.terminate()
            try:
                process.wait(2 * WAIT_S)
            finally:
                process.kill()


def said(client: Client, method: str, message: Any) -> str:
    """The code with which a call is refused, or nothing."""
    try:
        call(client.channel, method, message.SerializeToString())
    except grpc.RpcError as error:
        return code_of(error)
    return ""


def without(told: dict[str, Any], section: str, key: str) -> dict[str, Any]:
    changed = copy.deepcopy(told)
    del changed[section][key]
    return changed


# ---- what is taken


@pytest.mark.parametrize("workers", [1, 2])
def test_a_gate_and_a_role_are_gone_with_the_next_call_on_open_connections(tmp_path: Path, workers: int) -> None:
    place = Place(tmp_path)
    told = document(place, workers=workers)
    ask = asking(place, "")
    with serving(place, told) as server, server.connections(GATE) as gates, server.connections(CI) as openers:
        assert {said(each, f"{DECISIONS}Check", ask) for each in gates} == {""}
        assert {said(each, f"{GRANTS}List", PDP.ListRequest()) for each in openers} == {""}
        server.write(without(told, "peps", GATE) | {"roles": {"admin": [OPS]}})
        server.hang_up()
        assert {said(each, f"{DECISIONS}Check", ask) for each in gates} == {NOT_PERMITTED}
        assert {said(each, f"{GRANTS}List", PDP.ListRequest()) for each in openers} == {NOT_PERMITTED}
        server.write(told)
        answer = server.reload()
        assert answer.changed
        assert list(answer.problems) == []
        assert {said(each, f"{DECISIONS}Check", ask) for each in gates} == {""}
        assert {said(each, f"{GRANTS}List", PDP.ListRequest()) for each in openers} == {""}
        assert not server.reload().changed
        assert [server.figure("config_reloads"), server.figure("config_reload_failing")] == [2, 0]


def test_a_process_that_is_started_later_begins_with_what_is_in_force(tmp_path: Path) -> None:
    """Also the one that writes, when the file says something else again that was not asked for."""
    place = Place(tmp_path)
    told = document(place, workers=2)
    ask = asking(place, "")
    with serving(place, told) as server:
        server.write(without(told, "peps", GATE))
        server.hang_up()
        server.write("{")
        for pid in children(server.process.pid):
            os.kill(pid, signal.SIGKILL)
            assert wait_until(lambda gone=pid: gone not in children(server.process.pid))
            assert wait_until(lambda: len(children(server.process.pid)) == 2)

        def codes() -> set[str]:
            """None while a process has yet to come back."""
            with server.connections(GATE) as gates:
                found = {said(each, f"{DECISIONS}Check", ask) for each in gates}
            return set() if any(code.startswith("UNAVAILABLE") for code in found) else found

        assert wait_until(codes) == {NOT_PERMITTED}


OPEN = f"allow all {{ who spiffe://{DOMAIN}/billing/* do select on Table }}\n"


def reasons(server: Serving, ask: Any) -> set[str]:
    """What a question gets, wherever it arrives: a reason, or the code of the call."""
    found = set()
    with server.connections(GATE) as gates:
        for each in gates:
            try:
                raw = call(each.channel, f"{DECISIONS}Check", ask.SerializeToString())
                found.add(PDP.CheckResponse.FromString(raw).decision.reason)
            except grpc.RpcError as error:
                found.add(code_of(error))
    return found


@pytest.mark.parametrize("after", ["", "the next draft"])
def test_when_a_reload_has_returned_no_process_allows_by_the_policies_of_before(tmp_path: Path, after: str) -> None:
    """Also when something else stands on disk before the others have read it: who cannot have the set in force denies."""
    place = Place(tmp_path)
    policy = tmp_path / "set" / "app.policy"
    tight = policy.read_text()
    policy.write_text(tight + OPEN)
    ask = asking(place, "")
    with serving(place, document(place, workers=2)) as server:
        assert reasons(server, ask) == {"allowed"}
        policy.write_text(tight)
        assert server.reload().changed
        policy.write_text(after or tight)
        for _ in range(3):
            assert "allowed" not in reasons(server, ask)
        policy.write_text(tight)
        assert wait_until(lambda: reasons(server, ask) == {"default_deny"}, "both to have it")


def test_a_draft_that_nobody_asked_for_is_in_force_nowhere(tmp_path: Path) -> None:
    """Also not in a process that is started meanwhile: it does not listen until what stands on disk is in force."""
    place = Place(tmp_path)
    policy = tmp_path / "set" / "app.policy"
    tight = policy.read_text()
    ask = asking(place, "")
    with serving(place, document(place, workers=2)) as server:
        policy.write_text(tight + OPEN)
        _, follower = sorted(children(server.process.pid))
        os.kill(follower, signal.SIGKILL)
        assert wait_until(lambda: any("is not the set that is wanted" in line for line in server.lines), "its word")
        assert reasons(server, ask) == {"default_deny"}
        assert server.reload().changed
        assert wait_until(lambda: server.figure("worker_up", 1) == 1, "the other process")
        assert wait_until(lambda: reasons(server, ask) == {"allowed"})


def test_a_policy_that_changed_is_taken_by_every_process_where_policies_are_watched(tmp_path: Path) -> None:
    place = Place(tmp_path)
    policy = tmp_path / "set" / "app.policy"
    tight = policy.read_text()
    ask = asking(place, "")
    with serving(place, document(place, workers=2, policies={"path": "set", "watch": True})) as server:
        for text, reason in (tight + OPEN, "allowed"), (tight, "default_deny"):
            policy.write_text(text)
            assert wait_until(lambda reason=reason: reasons(server, ask) == {reason})


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_changed_file_is_taken_without_a_word_where_policies_are_watched(tmp_path: Path) -> None:
    place = Place(tmp_path)
    told = document(place, policies={"path": "set", "watch": True})
    ask = asking(place, "")
    with serving(place, told) as server, place.calling(server.address, GATE) as gate:
        assert said(gate, f"{DECISIONS}Check", ask) == ""
        server.write("{")
        assert wait_until(lambda: server.figure("config_reload_failing") == 1)
        assert said(gate, f"{DECISIONS}Check", ask) == ""
        server.write(without(told, "peps", GATE))
        assert wait_until(lambda: said(gate, f"{DECISIONS}Check", ask) == NOT_PERMITTED)
        assert wait_until(lambda: server.figure("config_reload_failing") == 0)


def test_a_gate_that_may_say_less_is_not_believed_in_a_question_that_was_asked_before(tmp_path: Path) -> None:
    """Questions that are asked again are remembered, and what a gate may say is not."""
    place = Place(tmp_path)
    told = document(place)
    with serving(place, told) as server, place.calling(server.address, GATE) as gate:
        ask = asking(place, "")
        assert [said(gate, f"{DECISIONS}Check", ask) for _ in range(4)] == [""] * 4
        less = copy.deepcopy(told)
        less["peps"][GATE]["domains"] = []
        server.write(less)
        server.hang_up()
        assert gate.reason(ask) == "domain_not_asserted"
        server.write(told)
        server.hang_up()
        assert gate.reason(ask) == "default_deny"


def test_a_stream_ends_when_its_caller_may_say_something_else(tmp_path: Path) -> None:
    place = Place(tmp_path)
    told = document(place)
    with serving(place, told) as server, place.calling(server.address, GATE) as gate:
        ended = threading.Event()

        def questions() -> Iterator[bytes]:
            yield asking(place, "").SerializeToString()
            ended.wait(4 * WAIT_S)

        stream = gate.channel.stream_stream(f"{DECISIONS}CheckStream")(questions(), timeout=4 * WAIT_S)
        try:
            assert next(stream)
            told["peps"][GATE]["vouches"] = False
            server.write(told)
            server.hang_up()
            with pytest.raises(grpc.RpcError) as refusal:
                next(stream)
        finally:
            ended.set()
        assert code_of(refusal.value) == "UNAVAILABLE rights_changed"


def test_trust_environment_and_people_are_other_ones(tmp_path: Path) -> None:
    place, partner = Place(tmp_path), Identities(tmp_path, "partner.test")
    told = document(place)
    with (
        serving(place, told) as server,
        place.calling(server.address, OPS) as ops,
        place.calling(server.address, CI) as ci,
        place.calling(server.address, GATE) as gate,
    ):
        other = copy.deepcopy(told)
        other["trust"]["partner.test"] = {"file": str(partner.bundle)}
        other["environment"] = "prod"
        del other["people"]
        handle = ci.grants("Open", bound(place)).handle
        assert gate.reason(asking(place, handle)) == "allowed"
        server.write(other)
        server.hang_up()
        assert domains(ops) == ["partner.test", DOMAIN]
        assert gate.reason(asking(place, handle)) == "wrong_environment"
        given = ci.grants("Open", bound(place))
        assert gate.reason(asking(place, given.handle)) == "allowed"
        read = PDP.GetRequest(grant=given.grant.id, approver_token=place.token("ada"))
        assert ci.refused("Get", read).startswith("UNAUTHENTICATED ")
        server.write(told | {"environment": "lab"})
        server.hang_up()
        assert domains(ops) == [DOMAIN]
        assert gate.reason(asking(place, given.handle)) == "wrong_environment"
        assert said(ci, f"{GRANTS}Get", read) == ""


def domains(ops: Client) -> list[str]:
    return [each.name for each in ops.admin("Status", PDP.StatusRequest()).trust]


def test_policies_and_configuration_are_taken_together_or_not_at_all(tmp_path: Path) -> None:
    place = Place(tmp_path)
    told = document(place)
    data = tmp_path / "set" / "data" / "entities.json"
    with serving(place, told) as server, place.calling(server.address, GATE) as gate:
        server.write(without(told, "peps", GATE))
        data.write_text("garbage")
        assert len(server.reload().problems) == 1
        assert server.figure("config_reload_failing") == 1
        assert said(gate, f"{DECISIONS}Check", asking(place, "")) == ""
        data.write_text(json.dumps(ENTITIES))
        assert server.reload().changed
        assert said(gate, f"{DECISIONS}Check", asking(place, "")) == NOT_PERMITTED


@pytest.mark.parametrize("workers", [1, 2])
def test_trust_and_keys_that_cannot_be_read_are_told_and_keep_nothing_from_being_taken(tmp_path: Path, workers: int) -> None:
    """Finding S11: a reload with a spoilt file of trust answered that nothing was wrong."""
    place = Place(tmp_path)
    told = document(place, workers=workers)
    partner = Identities(tmp_path, "partner.test").bundle
    told["trust"]["partner.test"] = {"file": str(partner)}
    policy = tmp_path / "set" / "app.policy"
    good = {each: each.read_bytes() for each in (partner, tmp_path / "people.json")}
    with serving(place, told) as server:
        assert list(server.reload().problems) == []
        for each in good:
            each.unlink()
            os.mkfifo(each)
        policy.write_text(policy.read_text() + "# another\n")
        answer = server.reload()
        assert answer.changed
        assert [problem.split(":")[0] for problem in answer.problems] == ["trust[partner.test]", "people"]
        assert all("it is no regular file" in problem for problem in answer.problems)
        assert server.figure("trust_sources_failing") == 1
        assert 0 < server.figure("trust_fresh_seconds") <= 15 * 60
        for each, content in good.items():
            each.unlink()
            each.write_bytes(content)
        assert list(server.reload().problems) == []
        partner.write_text('{"keys": []}')
        (problem,) = server.reload().problems
        assert problem.startswith("trust[partner.test]: bundle_revoked")
        assert (server.figure("trust_fresh_seconds"), server.figure("ready")) == (0, 1)


def test_policies_that_were_not_taken_are_a_figure_where_nobody_watches_them(tmp_path: Path) -> None:
    place = Place(tmp_path)
    policy = tmp_path / "set" / "app.policy"
    good = policy.read_text()
    with serving(place, document(place)) as server:
        policy.write_text("garbage")
        assert len(server.reload().problems) == 1
        assert (server.figure("policy_reload_failing"), server.figure("policy_reloads")) == (1, 0)
        policy.write_text(good + "# another\n")
        assert server.reload().changed
        assert (server.figure("policy_reload_failing"), server.figure("policy_reloads")) == (0, 1)
        assert wait_until(lambda: any("policies and data were reloaded" in line for line in server.lines), "the log")


# ---- in this process


def test_a_process_that_is_told_of_the_set_that_it_has_fails_no_more(tmp_path: Path) -> None:
    """Whatever it could not take in between."""
    parts = make_parts(development(tmp_path))
    try:
        with pytest.raises(PdpError, match="other_policies"):
            parts.read_again("a set that nobody has")
        assert parts.policy_failing
        assert not parts.read_again(parts.engine.loaded)
        assert not parts.policy_failing
    finally:
        parts.close()


def test_the_steps_of_a_check_follow_its_deadline(tmp_path: Path) -> None:
    """Finding S2: a check that the plain evaluator settles holds up all others, so it has a part of the deadline."""
    config = development(tmp_path)
    parts = make_parts(config)
    try:
        assert parts.engine.snapshot.policy.steps == CHECK_STEPS  # of a second
        shorter = replace(config, limits=replace(config.limits, deadline=200_000))
        parts.prepare(shorter)()
        assert parts.engine.snapshot.policy.steps == CHECK_STEPS // 5
        folder = config.policies.path
        assert folder is not None
        policy = next(folder.rglob("*.policy"))
        policy.write_text(policy.read_text() + "# another set\n")
        assert parts.read_again()
        assert parts.engine.snapshot.policy.steps == CHECK_STEPS // 5
    finally:
        parts.close()


def tells(request: bytes, peer: Peer, deadline: Deadline) -> bytes:
    return f"{sorted(peer.roles)} {deadline.left_s > 60}".encode()


def test_a_user_of_a_socket_and_a_limit_are_other_ones_with_the_next_call(tmp_path: Path) -> None:
    uid, address = os.geteuid(), f"unix:{tmp_path}/s/pdp.sock"
    (tmp_path / "s").mkdir(mode=0o700)
    roles = {"decision": [f"uid:{uid}"]}
    config = development(tmp_path, development={}, listen=[{"address": address}], roles=roles)
    handlers = {"/test/Tell": Method(tells, Service.DECISION)}
    level = logging.getLogger().level
    try:
        with in_process(config, lambda _: handlers) as server, channel(address) as opened:
            assert call(opened, "/test/Tell", timeout=300) == b"[<Service.DECISION: 'decision'>] False"
            other = read_config({"roles": {**roles, "admin": [f"uid:{uid}"]}, "limits": {"deadline": "5m"}}, tmp_path)
            other = replace(config, roles=other.roles, limits=other.limits, telemetry=Telemetry(log_level=LogLevel.ERROR))
            server.parts.prepare(other)()
            told = b"[<Service.ADMIN: 'admin'>, <Service.DECISION: 'decision'>] True"
            assert call(opened, "/test/Tell", timeout=300) == told
            assert logging.getLogger().level == logging.ERROR
            server.parts.prepare(replace(other, roles={}))()
            with pytest.raises(grpc.RpcError) as refusal:
                call(opened, "/test/Tell")
            assert code_of(refusal.value) == NOT_PERMITTED
    finally:
        logging.getLogger().setLevel(level)


def test_a_process_that_cannot_take_it_denies_until_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody decides by a configuration that another process has given up."""
    monkeypatch.setattr(follower, "_NOT_TAKEN_AGAIN_S", 0.05)
    file, can_take = tmp_path / "pdp.json", threading.Event()
    policies(tmp_path)
    told: dict[str, Any] = {
        "listen": [{"address": "127.0.0.1:0"}],
        "admin": {"address": ""},
        "policies": {"path": "policies", "watch": False},
        "development": {"enabled": True},
        "workers": 2,
    }
    file.write_text(json.dumps(told))
    origin = Origin.load(file, {})
    can_take.set()

    def begins(parts: Parts) -> None:
        parts.origin = origin

    def takes(config: Config) -> Callable[[], None]:
        if not can_take.is_set():
            raise PdpError("invalid_file", "as the test wants")
        return lambda: None

    with (
        in_process(origin.started, runtime=tmp_path, change=begins) as writer,
        in_process(origin.started, worker=1, runtime=tmp_path, change=lambda parts: parts.prepares(takes)) as other,
        channel(other.address) as opened,
    ):
        assert wait_until(lambda: other.parts.readiness.can_decide)
        assert call(opened, "/test.Echo/Echo", b"x") == b"x"
        can_take.clear()
        file.write_text(json.dumps(told | {"environment": "prod"}))
        assert writer.parts.reload()
        with pytest.raises(grpc.RpcError) as refusal:  # the reload has returned, so it does not rely on what it has
            call(opened, "/test.Echo/Echo", b"x")
        assert code_of(refusal.value) == "UNAVAILABLE not_ready"
        assert (writer.parts.config.environment, other.parts.config.environment) == ("prod", None)
        can_take.set()
        assert wait_until(lambda: other.parts.readiness.can_decide)
        assert other.parts.config.environment == "prod"
        assert call(opened, "/test.Echo/Echo", b"x") == b"x"


# ---- what is refused


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serving, dict[str, Any]]]:
    place = Place(tmp_path_factory.mktemp("refused"))
    told = document(place)
    with serving(place, told) as server:
        yield server, told


#: What is written, and what is said of it. In each of them the gate is gone as well, and serves on.
BAD: dict[str, tuple[Any, str]] = {
    "garbage": ("{", "invalid_file: "),
    "no_settings": ([], "invalid_configuration: the file: wrong_type"),
    "unknown": ({"pep": {}}, "invalid_configuration: pep: unknown_setting"),
    "unknown_inside": ({"limits": {"dedline": "1s"}}, "invalid_configuration: limits.dedline: unknown_setting"),
    "wrong_type": ({"environment": 1}, "invalid_configuration: environment: wrong_type"),
    "unsafe_role": ({"roles": {"admin": [f"spiffe://{DOMAIN}/**"]}}, "role_for_a_whole_domain"),
    "no_trust": ({"trust": {}}, "unsafe_configuration: listen[0].trust_domain: domain_missing"),
    "bundle_missing": ({"trust": {"x.test": {"file": "none.json"}}}, "trust_unavailable: trust[x.test]"),
    "bundle_bad": ({"trust": {"x.test": {"file": "pdp.json"}}}, "trust_unavailable: trust[x.test]"),
    "source_bad": ({"trust": {DOMAIN: {"file": "none.json"}}}, f"trust_unavailable: trust[{DOMAIN}]"),
    "keys_missing": ({"people": {ISSUER: {"audience": "pdp", "keys": "none.json"}}}, "invalid_file: "),
    "keys_bad": ({"people": {ISSUER: {"audience": "pdp", "keys": "set/app.policy"}}}, "invalid_file: people"),
    "limit": ({"limits": {"concurrent": 0}}, "unsafe_configuration: limits.concurrent: limit_of_nothing"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_bad_changes_nothing(name: str, running: tuple[Serving, dict[str, Any]]) -> None:
    server, told = running
    change, says = BAD[name]
    bad = change if not isinstance(change, dict) else merged(without(told, "peps", GATE), change)
    server.write(json.dumps(bad) if isinstance(bad, list) else bad)
    assert_refused(server, told, says)


def merged(told: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    for name, value in change.items():
        both = isinstance(value, dict) and isinstance(told.get(name), dict) and value
        told[name] = {**told[name], **value} if both else value
    return told


def assert_refused(server: Serving, told: dict[str, Any], says: str) -> None:
    place = server.place
    try:
        answer = server.reload()
        assert not answer.changed
        assert says in "\n".join(answer.problems)
        assert server.figure("config_reload_failing") == 1
        assert wait_until(
            lambda: any("the one before stays in force" in x and says.split(": ")[0] in x for x in server.lines)
        )
        server.lines.clear()
        with place.calling(server.address, GATE) as gate, place.calling(server.address, CI) as ci:
            assert said(gate, f"{DECISIONS}Check", asking(place, "")) == ""
            handle = ci.grants("Open", bound(place)).handle
            assert gate.reason(asking(place, handle)) == "allowed"
    finally:
        server.write(told)
    assert not server.reload().changed
    assert server.figure("config_reload_failing") == 0


#: One change each of a setting that is read at the start.
RESTART: dict[str, Any] = {
    "name": f"spiffe://{DOMAIN}/other",
    "listen": [{"address": "127.0.0.1:0", "trust_domain": DOMAIN, "services": ["decision"]}],
    "admin.address": "",
    "workers": 2,
    "tls.certificate": "other.pem",
    "tls.key": "other.key",
    "policies.path": "other",
    "policies.watch": True,
    "policies.run_tests": True,
    "store.path": "other.sqlite",
    "store.freshness": "6s",
    "store.suspend_after": 3,
    "limits.message_bytes": 1000,
    "limits.drain": "3s",
    "telemetry.log_format": "text",
    "development.trust_domain": "lab.test",
}


@pytest.mark.parametrize("name", RESTART)
def test_what_needs_a_restart_is_refused_and_named(name: str, running: tuple[Serving, dict[str, Any]]) -> None:
    server, told = running
    changed = without(told, "peps", GATE)
    section, _, setting = name.partition(".")
    changed = merged(changed, {section: {setting: RESTART[name]} if setting else RESTART[name]})
    server.write(changed)
    assert_refused(server, told, f"restart_needed: {name}: restart_needed: ")


def test_each_setting_can_change_while_it_runs_or_needs_a_restart(tmp_path: Path) -> None:
    """Those of the table above, and no setting of `reloaded_settings` among them."""
    assert not set(RESTART) & set(reloaded_settings())
    file = tmp_path / "pdp.json"
    file.write_text("{}")
    before = load_config(None, {"PDP_LIMITS_DEADLINE": "1s"}, policies=tmp_path)
    after = load_config(None, {"PDP_LIMITS_DEADLINE": "2s", "PDP_LIMITS_IDLE": "2s"}, policies=tmp_path)
    with pytest.raises(BadConfig) as refusal:
        refuse_restart(before, after)
    assert [(p.code, p.place) for p in refusal.value.problems] == [("restart_needed", "limits.idle")]
    both = with_reloaded(before, after)
    assert (both.limits.deadline, both.limits.idle) == (2_000_000, before.limits.idle)
    assert with_reloaded(both, after) is both


def test_nobody_takes_the_place_of_a_signal_while_it_starts(tmp_path: Path) -> None:
    """SIGHUP ends a program that knows nothing of it; a server it does not end, however often it comes."""
    place = Place(tmp_path)
    with serving(place, document(place, workers=2)) as server:
        for _ in range(5):
            server.process.send_signal(signal.SIGHUP)
        assert not server.reload().changed
        assert len(children(server.process.pid)) == 2
        with channel(server.address, place.credentials(API)) as opened:
            assert call(opened, "/grpc.health.v1.Health/Check") == b"\x08\x01"
