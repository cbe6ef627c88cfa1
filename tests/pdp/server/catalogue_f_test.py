"""Section F of the catalogue of faults: policies and configuration as they come from files. There are no signed bundles yet,
so the rows about them wait: `WAITING` is the list, and nothing here passes in their place."""

from __future__ import annotations

import gc
import importlib
import subprocess
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest

import pdp
from pdp.engine.snapshot import Policy
from pdp.errors import PdpError
from pdp.model.gates import Bearer, Xfcc
from pdp.server.config import BadConfig, Config, find_unsafe, load_config, read_config
from pdp.server.config.sections import Pep
from pdp.server.table import make_handlers
from pdp.store import strict_data
from pdp.wire.messages import ENVOY
from tests.pdp.server.config_test import BASE, GATE, changed
from tests.pdp.server.faults import POLICY, ask, ask_as_envoy, question, write_policies
from tests.pdp.server.grants_world import ENVOY_CHECK
from tests.pdp.server.serve_test import COMMAND, ENVIRONMENT
from tests.pdp.server.world import (
    DOMAIN,
    STRANGER,
    WAIT_S,
    Identities,
    call,
    channel,
    development,
    production,
    running,
    wait_until,
)
from tests.pdp.wire.answers import taken

#: Rows that are about signed bundles. They come with the registry, and with tests of their own.
WAITING = {
    112: "unsigned, wrong key, revoked key, alg swap: policies are read from a folder that nobody signs",
    113: "verify-vs-parse: nothing is verified before it is parsed",
    114: "rollback: a set has no sequence number; whoever may write the folder may write an older one",
    115: "freeze: a set has no end of its own",
    116: "mix-and-match: policies and data of one state are read together (`policy_folder_test`), and no manifest pins them",
    118: "zip-slip: no archive is ever opened",
    124: "version-skew: no compiled set is ever loaded; a policy of another version of the language is refused as a text",
}

#: Rows that tests elsewhere show.
ROWS = {
    (117, "partial-download"): [
        "faults_test.test_117_policies_replaced_by_garbage",
        "faults_test.test_117_a_set_is_swapped_whole_by_renaming",
        "serve_test.test_policies_are_replaced_while_it_serves",
    ],
    (122, "config-typo"): ["config_test.test_what_is_not_known_is_refused", "config_test.test_a_wrong_variable_is_refused"],
}


@pytest.mark.parametrize(("row", "tests"), ROWS.items(), ids=[f"{n} {name}" for n, name in ROWS])
def test_every_row_has_its_tests(row: tuple[int, str], tests: list[str]) -> None:
    for name in tests:
        module, _, function = name.partition(".")
        assert callable(getattr(importlib.import_module(f"tests.pdp.server.{module}"), function)), name


def test_the_section_is_complete() -> None:
    here = {int(name.split("_")[1]) for name in globals() if name.startswith("test_1")}
    assert here | WAITING.keys() | {n for n, _ in ROWS} == set(range(112, 126))
    assert not here & WAITING.keys()


# ---- 119

BOMB = "a: &a [x, x]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20))
YAML = {
    "tag": "{name}: !!python/object/apply:os.system [id]",
    "tag-of-a-type": '{name}: !!int "5"',
    "own-tag": "{name}: !secret x",
    "anchor": "{name}: &a 1\nother: *a",
    "bomb": BOMB + "{name}: *u",
    "merge": "<<: {{{name}: 1}}",
    "key-twice": "{name}: 1\n{name}: 2",
    "two-documents": "{name}: 1\n---\n{name}: 2",
    "yes": "{name}: yes",
    "on": "{name}: on",
    "octal": "{name}: 010",
    "octal-of-today": "{name}: 0o10",
    "hex": "{name}: 0x10",
    "sixty": "{name}: 1:30",
    "underscore": "{name}: 1_000",
    "float": "{name}: 1e3",
}


@pytest.mark.parametrize("kind", YAML)
def test_119_yaml_in_a_configuration(tmp_path: Path, kind: str) -> None:
    """`workers` is a number: whatever is not plainly one is refused, and never read as something."""
    path = tmp_path / "pdp.yaml"
    path.write_text("policies: {path: p}\ndevelopment: {enabled: true}\nworkers: 8\n")
    assert load_config(path, {}).workers == 8
    text = YAML[kind].format(name="workers")
    path.write_text(f"policies: {{path: p}}\ndevelopment: {{enabled: true}}\n{text}\n")
    with pytest.raises(PdpError) as refused:
        load_config(path, {})
    assert refused.value.code in ("invalid_file", "invalid_configuration")


@pytest.mark.parametrize("value", ["yes", "on", "True", "TRUE", "1", '"true"', "y"])
def test_119_yaml_has_two_truth_values(tmp_path: Path, value: str) -> None:
    path = tmp_path / "pdp.yaml"
    path.write_text(f"policies: {{path: p, watch: {value}}}\ndevelopment: {{enabled: true}}\n")
    with pytest.raises(PdpError) as refused:
        load_config(path, {})
    assert refused.value.code in ("invalid_file", "invalid_configuration")


@pytest.mark.parametrize("kind", YAML)
def test_119_yaml_in_data(tmp_path: Path, kind: str) -> None:
    """The attribute is an Int: the set is refused, and the one before stays in force."""
    text = "language 1\nentity User { level: Int }\naction read on User\nallow ok { for User do read on User }\n"
    (tmp_path / "app.policy").write_text(text)
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "d.yaml"
    record = "- type: User\n  id: ada\n  attributes:\n    level: 8\n"
    path.write_text(record)
    engine = pdp.Engine.load(tmp_path)
    lines = "\n".join(f"    {line}" for line in YAML[kind].format(name="level").splitlines())
    path.write_text(record.replace("    level: 8", lines))
    with pytest.raises(PdpError) as refused:
        engine.reload()
    assert refused.value.code == "invalid_data"
    assert engine.check(action="read", resource=("User", "ada"), user=("User", "ada")).allowed


def test_119_a_bomb_is_not_unfolded() -> None:
    """What it would unfold to has 2^26 elements: refused where the first anchor stands."""
    with pytest.raises(strict_data.BadData) as refused:
        strict_data.read_yaml(BOMB + "z: *u\n")
    assert refused.value.line == 1


# ---- 120, 121

EMPTY = {"nothing": "", "no rule": "language 1\nentity Document\naction read on Document\n"}


@pytest.mark.parametrize("text", EMPTY.values(), ids=EMPTY)
def test_120_empty_policy_set(tmp_path: Path, text: str) -> None:
    """It is not served unless that was said; then every answer is a denial."""
    config = development(tmp_path)
    (tmp_path / "policies" / "app.policy").write_text(text)
    with pytest.raises(PdpError) as refused, running(config, make_handlers):
        pass
    assert refused.value.code == "no_rules"
    said = development(tmp_path, policies={"path": str(tmp_path / "policies"), "watch": False, "empty": True})
    (tmp_path / "policies" / "app.policy").write_text(text)
    with running(said, make_handlers) as server, channel(server.address) as opened:
        assert ask(opened) in ("default_deny", "unknown_action", "PERMISSION_DENIED user_not_asserted")
        assert ask_as_envoy(opened) == "no_route"


def test_120_a_set_that_was_emptied_does_not_take_the_place_of_a_good_one(tmp_path: Path) -> None:
    path = write_policies(tmp_path)
    config = development(tmp_path, policies={"path": str(path.parent), "watch": False})
    with running(config, make_handlers) as server, channel(server.address) as opened:
        for text in EMPTY.values():
            path.write_text(text)
            with pytest.raises(PdpError, match="no_rules"):
                server.parts.reload()
            assert ask(opened) == "allowed"


@pytest.mark.parametrize(
    ("there", "workers"), [("no folder", "1"), ("no policy", "1"), ("not whole", "1"), ("not whole", "2")]
)
def test_121_first_boot_without_policies(tmp_path: Path, there: str, workers: str) -> None:
    """Nothing listens until there is a set to decide by, so nobody takes it for ready; the exit code says why."""
    if there != "no folder":
        (tmp_path / "set").mkdir()
    if there == "not whole":
        (tmp_path / "set" / "app.policy").write_text(POLICY[: POLICY.index("do read")])
    arguments = ["serve", "--policies", "set", "--listen", "127.0.0.1:0", "--workers", workers]
    variables = {**ENVIRONMENT, "PDP_ADMIN_ADDRESS": "127.0.0.1:0"}
    ended = subprocess.run(
        [*COMMAND, *arguments], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=4 * WAIT_S, check=False
    )
    assert ended.returncode == (3 if there == "not whole" else 2), ended.stderr
    assert "serving on" not in ended.stderr


def test_121_without_a_set_it_is_not_ready_and_denies(tmp_path: Path) -> None:
    """Should there ever be a server without one: health says no, and every answer is a denial in words."""
    path = write_policies(tmp_path)
    config = development(tmp_path, policies={"path": str(path.parent), "watch": False})
    with running(config, make_handlers) as server, channel(server.address) as opened:
        server.parts.readiness.require("policy", lambda: "no policy set is in force")
        assert call(opened, "/grpc.health.v1.Health/Check") == b"\x08\x02"
        assert ask(opened) == "UNAVAILABLE not_ready"
        assert ask_as_envoy(opened) == "not_ready"


# ---- 122, 123


@pytest.mark.parametrize(
    ("path", "value", "codes"),
    [
        ("failure_mode", "allow", {"unknown_setting"}),
        ("failure_mode_allow", True, {"unknown_setting"}),
        ("limits/failure_mode", "allow", {"unknown_setting"}),
        ("policies/default", "allow", {"unknown_setting"}),
        ("record/full", "allow", {"wrong_value"}),
        ("peps", {GATE: {"failure_mode": "allow"}}, {"unknown_setting"}),
        ("people", {"https://issuer.test": {"keys": "k.json"}}, {"people_incomplete"}),
        ("people", {"https://issuer.test": {"keys": "k.json", "audience": ""}}, {"people_incomplete"}),
        ("people", {"": {"keys": "k.json", "audience": "pdp"}}, {"people_incomplete"}),
        ("trust/prod.acme", {}, {"source_unclear"}),
        ("listen/0/trust_domain", None, {"domain_missing"}),
    ],
    ids=lambda v: str(v)[:40],
)
def test_122_config_typo(path: str, value: Any, codes: set[str]) -> None:
    """Nothing that would let through is a setting, and nobody is believed without an audience, an issuer or a source."""
    try:
        found = {p.code for p in find_unsafe(read_config(changed(path, value), BASE))}
    except BadConfig as refused:
        found = {p.code for p in refused.problems}
    assert found
    assert found <= codes


def test_123_trust_all_proxies() -> None:
    """A gate without settings may say nothing for anybody, and without an entry nobody is a gate."""
    assert Config().peps == {}
    pep = Pep()
    assert (pep.domains, pep.destinations, pep.users, pep.users_from) == ((), (), (), None)
    assert (pep.vouches, pep.location, pep.explain) == (False, False, False)
    assert (pep.bearer, pep.xfcc) == (Bearer.IGNORE, Xfcc.IGNORE)


def test_123_who_is_no_gate_is_no_proxy(tmp_path: Path) -> None:
    """A caller with a certificate and the role to ask: whomever it speaks for, and whatever headers it shows."""
    identities = Identities(tmp_path)
    config = production(tmp_path, identities, roles={"decision": [STRANGER]})
    (tmp_path / "policies" / "app.policy").write_text(POLICY)
    message = ENVOY.CheckRequest()
    http = message.attributes.request.http
    http.method, http.host, http.path = "GET", "api.test", "/open"
    http.headers["x-forwarded-client-cert"] = f"By=spiffe://{DOMAIN}/pdp;URI=spiffe://{DOMAIN}/gate"
    http.headers["x-forwarded-for"] = "10.0.0.1"
    with running(config, make_handlers) as server, channel(server.address, identities.credentials(STRANGER)) as opened:
        found = taken(call(opened, ENVOY_CHECK, message.SerializeToString()))
        assert (found.allowed, found.response.status.message) == (False, "unknown_gate")
        assert ask(opened, question()) == "PERMISSION_DENIED unknown_gate"


# ---- 125


def test_125_hot_reload_storm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred sets one after the other: fewer are put into force, the last one is, no more than two generations live, and
    whoever asks is answered meanwhile."""
    generations: weakref.WeakSet[Policy] = weakref.WeakSet()
    most, made = [0], Policy.__init__

    def counted(policy: Policy, *arguments: Any) -> None:
        made(policy, *arguments)
        generations.add(policy)
        gc.collect()
        most[0] = max(most[0], len(generations))

    monkeypatch.setattr(Policy, "__init__", counted)
    Policy.__hash__ = object.__hash__  # type: ignore[method-assign]
    path = write_policies(tmp_path)
    engine = pdp.Engine.load(path.parent, demand_rules=True)
    over, asked, wrong = threading.Event(), [0], []

    def ask_on() -> None:
        while not over.is_set():
            answer = engine.check(action="read", resource=("Document", "open"), user=("User", "ada"))
            asked[0] += 1
            if not answer.allowed:
                wrong.append(answer)

    reader = threading.Thread(target=ask_on, daemon=True)
    reader.start()
    with engine.watch() as watch:
        seen = []
        for number in range(100):
            aside = path.with_name(".next")
            aside.write_text(f'{POLICY}allow last {{ for User do read on Document "{number}" }}\n')
            aside.rename(path)
            seen.append(asked[0])
        wait_until(lambda: engine.check(action="read", resource=("Document", "99"), user=("User", "ada")).allowed)
        assert 1 <= watch.reloads < 50
    over.set()
    reader.join()
    assert wrong == []
    assert most[0] <= 2
    assert seen[-1] > seen[0]
