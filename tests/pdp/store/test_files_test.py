"""Files of tests: they hold tests and nothing else, and no way from text to policy takes anything from them (finding D1)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings

import pdp
from language import CODES, Compiler, Diagnostic, PolicyErrors, Source
from pdp.store.files import find_files, read_sources
from pdp.store.policy_folder import PolicyFolder, Read
from tests.language.generated import compile_world, make_world
from tests.language.laws_test import CASES, law, randoms, statements_of
from tests.pdp.cli_test import pdp as command_line

POLICY = "language 1\nentity User\nentity Doc\naction read on Doc\nallow all-read { for User do read on Doc }\n"
TEST = 'test "open" { at 0s read on Doc "d" for User "ada" allow by all-read }\n'
STATEMENTS = [
    "enum Tier { prod }",
    "entity Team",
    "workload { n: Int? }",
    "relation reader(User, Doc)",
    "action write on Doc",
    "action touch = read",
    "task job { opened by spiffe://a.b/ci who spiffe://a.b/w may read on Doc lasts at most 1m }",
    "define yes(n: Int) = n == n",
    "allow helper { for User do read on Doc }",
    'deny no-secret { do read on Doc "secret" }',
    '@escapable("why")\ndeny late { unless now < 2020-01-01T00:00:00Z }',
    'routes http "docs.example" { GET /{id} -> read on Doc(path.id) }',
    'routes tcp { spiffe://a.b/db -> read on Doc("d") }',
]
REQUEST = {"user": ["User", "ada"], "action": "read", "resource": ["Doc", "secret"]}


def put(folder: Path, tests: str, *, policy: str = POLICY, name: str = "p_test.policy") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "p.policy").write_text(policy)
    (folder / name).write_text(tests)
    (folder / "request.json").write_text(json.dumps(REQUEST))
    return folder


def errors(*sources: Source) -> list[Diagnostic]:
    return [d for d in Compiler().check(sources)[1] if d.is_error]


@pytest.mark.parametrize("statement", STATEMENTS)
@pytest.mark.parametrize("where", ["p_test.policy", "deep/down/p_test.policy", "_test.policy"])
def test_nothing_but_tests_stands_in_a_file_of_tests(statement: str, where: str) -> None:
    found = errors(Source("p.policy", POLICY), Source(where, f"package t\n{TEST}{statement}\n"))
    assert [d.code for d in found] == ["not_a_test"]
    assert found[0].span is not None
    assert (found[0].span.source.path, statement.endswith(found[0].span.text)) == (where, True)
    assert "does not end in `_test.policy`" in (found[0].hint or "")
    assert "not_a_test" in CODES


@pytest.mark.parametrize("text", ["", "language 1\n", "package t\n", f"language 1\npackage t\n{TEST}", "# a comment\n"])
def test_what_a_file_of_tests_may_hold(text: str) -> None:
    assert errors(Source("p.policy", POLICY), Source("p_test.policy", text)) == []


def test_a_test_may_stand_beside_rules() -> None:
    assert errors(Source("p.policy", POLICY + TEST)) == []
    assert errors(Source("latest.policy", POLICY)) == []


@pytest.mark.parametrize("statement", [s for s in STATEMENTS if s.startswith(("allow", "deny"))])
def test_every_command_refuses_it_or_does_not_see_it(statement: str, tmp_path: Path) -> None:
    folder = put(tmp_path / "set", TEST + statement)
    for command in ("check", "test"):
        ran = command_line(command, folder)
        assert ran.returncode != 0
        assert "not_a_test" in ran.stdout + ran.stderr
    for command in ("eval", "explain"):
        ran = command_line(command, folder, "--request", folder / "request.json")
        assert ran.returncode == 0
        assert "all-read" in ran.stdout
    assert pdp.Engine.load(folder).check(action="read", resource=("Doc", "secret"), user=("User", "ada")).rule == "all-read"
    with pytest.raises(PolicyErrors, match="not_a_test"):
        pdp.Engine.load(folder, run_tests=True)


def test_running_the_tests_changes_neither_what_is_served_nor_its_name(tmp_path: Path) -> None:
    folder = put(tmp_path / "set", TEST)
    plain, tested = pdp.Engine.load(folder), pdp.Engine.load(folder, run_tests=True)
    assert plain.bundle.digest == tested.bundle.digest
    assert plain.loaded == tested.loaded
    assert [s.path for s in tested.bundle.sources] == [str(folder / "p.policy")]
    assert tested.bundle.tests == ()
    assert plain.bundle.vocabulary == tested.bundle.vocabulary
    (folder / "p_test.policy").unlink()
    assert pdp.Engine.load(folder).loaded == plain.loaded


def test_tests_that_change_are_run_again_and_change_nothing_that_is_served(tmp_path: Path) -> None:
    folder = put(tmp_path / "set", TEST)
    engine = pdp.Engine.load(folder, run_tests=True)
    bundle, loaded = engine.bundle, engine.loaded
    put(folder, TEST.replace("allow by all-read", "deny"))
    with pytest.raises(pdp.PdpError) as caught:
        engine.reload()
    assert caught.value.code == "failing_tests"
    assert (engine.bundle, engine.loaded) == (bundle, loaded)
    put(folder, TEST.replace('"open"', '"still open"'))
    assert engine.reload() is False
    assert (engine.bundle, engine.loaded) == (bundle, loaded)
    put(folder, TEST, policy=POLICY.replace("do read on Doc }", 'do read on Doc "x" }'))
    with pytest.raises(pdp.PdpError, match="open"):
        engine.reload()


def test_tests_that_passed_are_not_run_again_for_data_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pdp.store import policy_folder

    ran: list[str] = []
    run = policy_folder.run_test
    monkeypatch.setattr(policy_folder, "run_test", lambda b, t, ways: ran.append(t.name) or run(b, t, ways))
    engine = pdp.Engine.load(put(tmp_path / "set", TEST), run_tests=True)
    engine.reload()
    assert ran == ["open"]


@pytest.mark.parametrize("run_tests", [False, True])
@pytest.mark.parametrize("pick", [lambda f: f, lambda f: f / "p_test.policy"], ids=["folder", "file"])
def test_tests_alone_are_no_policy_set(run_tests: bool, pick: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = put(tmp_path / "set", TEST)
    (folder / "p.policy").unlink()
    with pytest.raises((pdp.PdpError, PolicyErrors)) as caught:
        PolicyFolder(pick(folder), run_tests=run_tests).read()
    assert isinstance(caught.value, pdp.PdpError)
    assert caught.value.code == "invalid_file"


@settings(law, max_examples=CASES // 4)  # each compiles four times
@given(randoms)
def test_statements_in_any_file_are_in_force_or_refused(random: Random) -> None:
    """What is no test in a file of tests is told, and in force nowhere; running the tests changes nothing that is served."""
    statements = statements_of(compile_world(make_world(random, rules=3).text()).sources[0].text)[1:]
    files = {name: ["language 1\npackage generated"] for name in ("a.policy", "b.policy", "a_test.policy", "_test.policy")}
    astray = random.choice([0.0, 0.2])
    strays: list[str] = []
    for statement in ["enum Tier { prod, staging, dev }", *statements]:
        plain = random.random() >= astray
        files[random.choice(["a.policy", "b.policy"] if plain else ["a_test.policy", "_test.policy"])].append(statement)
        strays += [] if plain else [statement]
    files["b.policy"].append("entity Plain\naction look on Plain")
    files[random.choice(list(files))].append('test "t" { given workload spiffe://t.d/a at 0s look on Plain "x" deny }')
    with TemporaryDirectory() as at:
        for name, texts in files.items():
            (Path(at) / name).write_text("\n".join(texts))
        found = errors(*read_sources(find_files(Path(at), with_tests=True).policies))
        assert sorted(d.span.text for d in found if d.code == "not_a_test" and d.span) == sorted(map(bare, strays))
        names = set(re.findall(r"^(?:allow|deny) (\w+)", "\n".join(files["a.policy"] + files["b.policy"]), re.MULTILINE))
        plain, tested = (served(Path(at), run_tests=run) for run in (False, True))
        assert plain is None or {r.name for r in plain.bundle.program.rules} == names
        if strays:
            assert tested is None
        else:
            assert plain is not None
            assert tested is not None
            assert (plain.name, plain.bundle.digest) == (tested.name, tested.bundle.digest)


def served(folder: Path, *, run_tests: bool) -> Read | None:
    try:
        return PolicyFolder(folder, run_tests=run_tests).read()
    except PolicyErrors:
        return None


def bare(statement: str) -> str:
    """Without its annotations, which are no part of a statement's place."""
    return statement[statement.index("\n") + 1 :] if statement.startswith("@") else statement
