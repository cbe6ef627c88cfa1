"""Who may import whom: downward only, and no I/O or clock below the assembly."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: Floors of the house, lowest first. A module may import from its own floor's package and from floors below.
FLOORS: dict[str, int] = {
    "language": 0,
    "pdp.errors": 1,
    "pdp.model": 1,
    "pdp.tokens": 1,
    "pdp.identity": 2,
    "pdp.grants": 2,
    "pdp.record": 2,
    "pdp.engine": 3,
    "pdp.service": 4,
    "pdp.wire": 5,
    "pdp.store": 6,
    "pdp.sdk": 6,
    "pdp.sdk.pytest_plugin": 7,
    "pdp.testing": 7,
    "pdp.cli": 7,
    "pdp.server": 7,
    "pdp.doctor": 7,
    "pdp.agent": 7,
}
PURE_MAX = 4
IMPURE = {"socket", "os", "threading", "asyncio", "grpc", "random", "logging", "time", "secrets", "pathlib", "subprocess"}

#: Inside `language`, in the order of the pipeline; nothing imports from further right.
PASSES = ["syntax", "checker", "compiler", "testing"]


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in ("language", "pdp"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            yield name, ast.parse(path.read_text("utf-8"))


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""


def floor(module: str) -> int | None:
    known = [f for prefix, f in FLOORS.items() if module == prefix or module.startswith(prefix + ".")]
    return max(known) if known else None


def violations(name: str, tree: ast.Module) -> list[str]:
    own = floor(name)
    found = []
    for imported in imports(tree):
        other = floor(imported)
        if own is not None and other is not None and other > own:
            found.append(f"{name} imports {imported}, which is above it")
        if name.startswith("pdp") and imported.startswith("language."):
            found.append(f"{name} imports {imported}: only the root of `language` is for others")
        if name.startswith("language") and imported.split(".")[0] == "pdp":
            found.append(f"{name} imports {imported}: the language knows nothing of the decision point")
        if own is not None and own <= PURE_MAX and imported.split(".")[0] in IMPURE:
            found.append(f"{name} imports {imported}: no I/O, clock or chance below floor {PURE_MAX + 1}")
    return found


def test_imports_run_downward_and_the_core_is_pure() -> None:
    found = [v for name, tree in modules() for v in violations(name, tree)]
    assert not found, "\n".join(found)


def test_every_module_has_a_floor() -> None:
    assert [name for name, _ in modules() if floor(name) is None and name not in ("pdp",)] == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pdp.engine.key", "from pdp.store.files import find_files"),
        ("pdp.engine.key", "import time"),
        ("pdp.model.request", "from language.values import conform"),
        ("language.explain", "from pdp.errors import PdpError"),
        ("language.directory", "import os"),
    ],
)
def test_the_rule_finds_a_planted_violation(name: str, text: str) -> None:
    assert violations(name, ast.parse(text))


def test_no_security_check_lives_in_an_assert() -> None:
    """`python -O` drops asserts: each one here narrows a type or states what the code before it made true."""
    import subprocess
    import sys

    script = "import language; b = language.compile_policies([language.Source('x', 'allow r { who anyone }')])"
    run = subprocess.run([sys.executable, "-O", "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert "PolicyErrors" in run.stderr
    assert "missing_clause" in run.stderr


def test_files_are_small() -> None:
    """A file is one idea; one that is long hides another noun."""
    long = {
        name: len((ROOT / (name.replace(".", "/") + ".py")).read_text("utf-8").splitlines())
        for name, _ in modules()
        if (ROOT / (name.replace(".", "/") + ".py")).exists()
    }
    assert {name: lines for name, lines in long.items() if lines > 520 and name not in ("language.codes",)} == {}
