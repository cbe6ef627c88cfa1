"""The story in the manual is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from policies.examples.ledger.story import run

MANUAL = Path(__file__).parents[2] / "docs" / "envoy.md"


def test_the_manual_tells_the_story_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    told = re.search(r"^```text story\n(.*?)^```$", MANUAL.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert told is not None
    run.main()
    assert capsys.readouterr().out == told[1]
