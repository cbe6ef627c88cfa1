"""The pages of the server and the doctor name every setting, code and finding, in the words of the code."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

import pytest

from pdp.doctor.finding import RULES
from pdp.server.config import UNSAFE, reloaded_settings
from pdp.server.config.problems import READING
from pdp.server.config.read import types_of
from pdp.server.config.sections import Config
from pdp.server.handlers import EDGE_CODES

DOCS = Path(__file__).resolve().parent.parent / "docs"
SERVER, DOCTOR = ((DOCS / name).read_text("utf-8") for name in ("server.md", "doctor.md"))


def sections() -> list[tuple[str, type]]:
    found: list[tuple[str, type]] = []
    for name, kind in types_of(Config).items():
        inner: list[Any] = [kind, *get_args(kind)]  # users_from of a gate is told in its own row
        found += [(name, each) for each in inner if is_dataclass(each) and isinstance(each, type)]
    return found


@pytest.mark.parametrize(("name", "section"), sections(), ids=lambda v: str(v))
def test_every_setting_is_told(name: str, section: type) -> None:
    (told,) = [part for part in SERVER.split("\n### `")[1:] if part.startswith((f"{name}`", f"{name}["))]
    for each in fields(section):
        assert f"\n| `{each.name}` | " in told
        assert f" | {each.metadata['what']} |\n" in told


def test_what_can_change_while_it_runs_is_told() -> None:
    _, _, told = SERVER.partition("These settings can change while it runs:\n\n")
    assert tuple(told.partition("\n\n")[0].replace("\n", " ").replace("`", "").split(", ")) == reloaded_settings()


def test_every_code_is_told() -> None:
    assert len(sections()) == 12
    assert [f"| `{c}` | {why} |" for c, why in UNSAFE.items() if f"| `{c}` | {why} |" not in SERVER] == []
    assert [c for c, (status, says) in EDGE_CODES.items() if f"| `{c}` | {status} | {says} |" not in SERVER] == []
    assert [c for c in READING if f"`{c}`" not in SERVER] == []
    assert [c for c, r in RULES.items() if f"| `{c}` | {r.level} | {r.says} | {r.fix} |" not in DOCTOR] == []
