"""`pdp keys`, over a real folder."""

from __future__ import annotations

import json
import time
from pathlib import Path

from typer.testing import CliRunner

from pdp.cli.keys import keys
from pdp.store.issuer_keys import open_issuer_keys


def run(*arguments: str) -> str:
    result = CliRunner().invoke(keys, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def test_keys_are_shown_rotated_and_withdrawn(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    first = open_issuer_keys(folder, time.time_ns() // 1000).keys[0].id
    assert first in run("show", str(folder))
    (published,) = json.loads(run("show", str(folder), "--jwks"))["keys"]
    assert (published["kid"], "d" in published) == (first, False)
    told = json.loads(run("rotate", str(folder), "--format", "json"))["keys"]
    assert [each["state"] for each in told] == ["signing", "next"]
    assert CliRunner().invoke(keys, ["rotate", str(folder)]).exit_code != 0
    told = json.loads(run("withdraw", str(folder), first, "--format", "json"))["keys"]
    assert {each["id"]: each["state"] for each in told}[first] == "withdrawn"
    assert "signing" in {each["state"] for each in told}
