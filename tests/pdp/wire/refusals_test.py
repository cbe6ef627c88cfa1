"""The table of refusals: every code is raised somewhere and given by some test, and none repeats what was sent."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from pdp.wire.refusals import UNFIT, Unfit

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).parent

#: What the route tables of the language refuse comes through with the language's own code.
OF_THE_LANGUAGE = {"malformed_host", "no_route", "missing_value", "ambiguous_value"}


def constants(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def test_every_code_is_raised_and_every_raised_code_is_known() -> None:
    files = [p for p in (ROOT / "pdp" / "wire").glob("*.py") if p.name != "refusals.py"]
    said = set().union(*map(constants, files)) | OF_THE_LANGUAGE
    assert UNFIT.keys() - said == set()
    raised = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Unfit":
                raised |= {
                    n.value
                    for n in ast.walk(node.args[0])
                    if isinstance(n, ast.Constant) and re.fullmatch("[a-z_]+", str(n.value))
                }
    assert raised - UNFIT.keys() == set()


def test_every_code_is_given_by_a_test() -> None:
    said = set().union(*(constants(p) for p in HERE.glob("*_test.py") if p.name != "refusals_test.py"))
    assert UNFIT.keys() - said == set()


@pytest.mark.parametrize("code", UNFIT)
def test_a_code_says_what_is_wrong(code: str) -> None:
    rule = UNFIT[code]
    assert re.fullmatch(r"[a-z0-9_]+", code)
    assert rule.status in (400, 401, 403)
    assert len(rule.says) > 15
    assert not rule.says.endswith(".")
    assert str(Unfit(code, "here")) == f"{code}: {rule.says} (here)"
