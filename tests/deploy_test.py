"""The container and the unit start what exists, with options that exist, and give it the time that it needs."""

from __future__ import annotations

import configparser
import re
import shlex
import tomllib
from pathlib import Path

import typer

from pdp.cli import main as command
from pdp.server.config import Config

ROOT = Path(__file__).resolve().parent.parent


def options_of(verb: str) -> set[str]:
    command._add_verbs([])
    found = typer.main.get_command(command.app).commands[verb]  # type: ignore[attr-defined]
    return {opt for parameter in found.params for opt in parameter.opts}


def unit() -> configparser.ConfigParser:
    found = configparser.ConfigParser(strict=False, interpolation=None)
    found.optionxform = str  # type: ignore[assignment, method-assign]
    found.read(ROOT / "deploy" / "pdp.service")
    return found


def test_the_unit_starts_verbs_that_exist() -> None:
    service = unit()["Service"]
    for key in ("ExecStart", "ExecStartPre"):
        _, verb, *arguments = shlex.split(service[key])
        assert {a for a in arguments if a.startswith("--")} <= options_of(verb)
    assert int(service["TimeoutStopSec"]) > Config().limits.drain / 1e6 + 5


def test_a_call_outside_of_the_filter_fails_and_does_not_kill() -> None:
    """The doctor, which the unit runs first, asks for the state of the clock, and `@system-service` has no `@clock`."""
    service = unit()["Service"]
    assert "SystemCallFilter" in service
    assert service["SystemCallErrorNumber"] == "EPERM"


def test_the_unit_is_started_again_however_often_it_failed() -> None:
    found = unit()
    assert found["Service"]["Restart"] == "always"
    assert found["Unit"]["StartLimitIntervalSec"] == "0"


def test_s5_memory_is_bounded_for_each_process_and_one_that_is_killed_is_started_again() -> None:
    """Finding S5: what gRPC does not bound, the unit does; the others go on."""
    service = unit()["Service"]
    gib = {name: int(service[name].removesuffix("G")) for name in ("MemoryMax", "LimitDATA")}
    assert 0 < gib["LimitDATA"] < gib["MemoryMax"]
    assert service["OOMPolicy"] == "continue"
    limits = Config().limits
    listeners = 2
    assert int(service["LimitNOFILE"]) > listeners * limits.connections
    assert 2 * limits.held_bytes < gib["LimitDATA"] << 30


def test_the_image_has_the_extras_and_the_ports() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    extras = re.search(r"'\.\[([a-z,]+)\]'", text)
    assert extras
    known = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert set(extras[1].split(",")) <= set(known)
    assert f"EXPOSE {Config().listen[0].address.rpartition(':')[2]}" in text
    assert f"http://{Config().admin.address}/readyz" in text
    assert re.search(r"^USER pdp$", text, re.MULTILINE)


def test_what_the_image_is_run_with_leaves_the_state_writable() -> None:
    """Its file system is read-only: what lies in the folders that are made for it goes elsewhere."""
    text = (ROOT / "Dockerfile").read_text("utf-8")
    (made,) = re.findall(r"install -d .* (/\S+ /\S+)$", text, re.MULTILINE)
    told = text.partition("FROM ")[0]
    assert [folder for folder in made.split() if not re.search(rf"(-v pdp-state:|--tmpfs ){folder}\b", told)] == []
    assert "-p 7070:7070" in told
