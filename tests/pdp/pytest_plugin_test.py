"""The pytest plugin, in runs of pytest of its own: what a project sees that has policies, and one that has none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from xml.etree import ElementTree

import pytest

import pdp.testing.collect  # noqa: F401  # runs of pytest in this process share it, instead of loading the compiler each

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[2]
MODULE = "pdp.sdk.pytest_plugin"
INSTALLED = [e.value for e in entry_points(group="pytest11") if e.name == "bulkhead"]

POLICY = """
language 1
package app

entity User { level: Int }
entity Page { owner: User, secret: Bool }
action read, write on Page

task tidy {
  carries  tenant: String
  opened by spiffe://prod.acme/ci
  who      spiffe://prod.acme/agents/*
  may      read on Page
  lasts    at most 15m
}

allow owners { for User do read, write on Page when resource.owner == user }
allow seniors { for User do read on Page when user.level >= 3 }
allow agents {
  who    spiffe://prod.acme/agents/*
  do     read
  on     Page
  during tidy
  proof  key
  when   task.tenant == "acme"
  until  task.started + 10m
}
deny secrets { do write on Page when resource.secret because "secrets stay as they are" }
"""

TESTS = """
language 1
package app

test "owners write" {
  given user User "ada" { level: 1 }
  given Page "p" { owner: User "ada", secret: false }
  at 0s write on Page "p" allow by owners
}

test "others do not" for name in ["bob", "a::b [c]/d"] {
  given user User name { level: 1 }
  given Page "p" { owner: User "ada", secret: false }
  at 0s write on Page "p" deny because default_deny
}
"""

FAILING = """
language 1
package app

test "bob reads" for level in [1, 3] {
  given user User "bob" { level: level }
  given Page "p" { owner: User "ada", secret: false }
  at 0s read on Page "p" allow
}
"""

DATA = [
    {"type": "User", "id": "ada", "attributes": {"level": 1}},
    {"type": "User", "id": "bob", "attributes": {"level": 1}},
    {"type": "Page", "id": "p", "attributes": {"owner": ["User", "ada"], "secret": False}},
    {"type": "Page", "id": "s", "attributes": {"owner": ["User", "ada"], "secret": True}},
]


@pytest.fixture(autouse=True)
def loaded(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin is loaded in the runs of pytest here, also where the project was installed before it had one; that of
    hypothesis is not, which takes a second for each."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest" + ("" if INSTALLED else f" -p {MODULE}"))


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with a policy set, its data and an ini file."""
    put(pytester, "policies/app.policy", POLICY)
    put(pytester, "policies/app_test.policy", TESTS)
    put(pytester, "policies/data/data.json", json.dumps(DATA))
    pytester.makeini("[pytest]\npdp_policies = policies\npdp_trust_domain = prod.acme\n")
    return pytester


def put(pytester: pytest.Pytester, name: str, text: str) -> Path:
    path = pytester.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def collected(project: pytest.Pytester, *arguments: str) -> list[str]:
    items, _ = project.inline_genitems(*arguments)
    return [item.nodeid for item in items]


def test_the_entry_point_is_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]["pytest11"]
    assert declared == {"bulkhead": MODULE}
    assert INSTALLED in ([], [MODULE])


def test_an_installation_is_enough(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pip leaves it: pytest finds the plugin by its entry point, and rewrites the asserts of what the files list."""
    files = [p.relative_to(ROOT) for folder in ("pdp", "language") for p in (ROOT / folder).rglob("*.py")]
    put(project, "site/bulkhead_pdp-0.1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: bulkhead-pdp\nVersion: 0.1.0\n")
    put(project, "site/bulkhead_pdp-0.1.0.dist-info/entry_points.txt", f"[pytest11]\nbulkhead = {MODULE}\n")
    put(project, "site/bulkhead_pdp-0.1.0.dist-info/RECORD", "".join(f"{file.as_posix()},,\n" for file in files))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(project.path / "site"), str(ROOT)]))
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest")
    result = project.runpytest_subprocess("-W", "error", "--strict-config")
    result.assert_outcomes(passed=3)
    off = project.runpytest_subprocess("-p", "no:bulkhead", "--collect-only")
    assert off.ret == pytest.ExitCode.NO_TESTS_COLLECTED


# ---- policy tests


def test_each_case_is_a_test_of_its_own(project: pytest.Pytester) -> None:
    assert collected(project) == [
        "policies/app_test.policy::owners write",
        'policies/app_test.policy::others do not["bob"]',
        'policies/app_test.policy::others do not["a::b [c]/d"]',
    ]
    project.runpytest().assert_outcomes(passed=3)


def test_ids_can_be_given_back(project: pytest.Pytester) -> None:
    for node_id in collected(project):
        assert collected(project, node_id) == [node_id]
    assert len(collected(project, "policies/app_test.policy::others do not")) == 2


def test_ids_do_not_depend_on_the_process(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """What xdist asks of its workers: the same ids in the same order."""
    put(project, "policies/more_test.policy", FAILING)
    told = []
    for seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        told.append(project.runpytest_subprocess("--collect-only", "-q").outlines)
    ids = [[line for line in lines if "::" in line] for lines in told]
    assert len(ids[0]) == 5
    assert ids[0] == ids[1]


def test_two_tests_of_one_name_have_two_ids(project: pytest.Pytester) -> None:
    put(
        project,
        "policies/app_test.policy",
        TESTS.replace('"bob", "a::b [c]/d"', '"bob", "bob"').replace("others do not", "t::x"),
    )
    ids = collected(project)
    assert ids[1:] == ['policies/app_test.policy::t:x["bob"]', 'policies/app_test.policy::t:x["bob"]#2']
    assert collected(project, ids[2]) == [ids[2]]


def test_k_selects_by_words_package_and_case(project: pytest.Pytester) -> None:
    project.runpytest("-k", "owners").assert_outcomes(passed=1, deselected=2)
    project.runpytest("-k", "others and bob").assert_outcomes(passed=1, deselected=2)
    project.runpytest("-k", "app").assert_outcomes(passed=3)
    project.runpytest("-k", "nobody").assert_outcomes(deselected=3)


def test_collect_only_lists_what_there_is(project: pytest.Pytester) -> None:
    project.runpytest("--collect-only").stdout.fnmatch_lines(["*<PolicyFile app_test.policy>", "*<PolicyItem owners write>"])


def test_a_failure_says_what_pdp_test_says(project: pytest.Pytester) -> None:
    put(project, "policies/more_test.policy", FAILING)
    result = project.runpytest()
    result.assert_outcomes(passed=4, failed=1)
    command = [sys.executable, "-c", "from pdp.cli.main import main; main()", "test", "policies"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, cwd=project.path, env=None).stdout
    told = said.rstrip("\n").split("\n")[:-1]  # without the summary
    assert told[0] == "FAIL  app: bob reads [1]  (policies/more_test.policy:5:1)"
    assert len(told) > 5
    result.stdout.fnmatch_lines([line.replace("[", "[[]") for line in told], consecutive=True)
    result.stdout.fnmatch_lines(["FAILED policies/more_test.policy::bob reads[[]1] - *"])


def test_a_broken_set_is_one_collection_error(project: pytest.Pytester) -> None:
    put(
        project,
        "policies/app.policy",
        POLICY.replace("resource.owner == user", "resource.ownr == user").replace("secret:", "secrt:"),
    )
    put(project, "policies/more_test.policy", FAILING)
    project.makepyfile("def test_other(): pass")
    result = project.runpytest("--continue-on-collection-errors")
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*ERROR collecting policies/app_test.policy*",
            "policies/app.policy:17:*: error[[]unknown_attribute]: *",
            "   17 | allow owners *",
            "*^^^^*",
            "  hint: did you mean `owner`?",
            "* errors; `pdp explain-code CODE` says more about a code",
        ]
    )


def test_a_policy_that_is_no_text_is_a_collection_error(project: pytest.Pytester) -> None:
    (project.path / "policies" / "bad.policy").write_bytes(b"language 1\n\xff")
    result = project.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*error[[]bad_encoding]*"])


def test_junit_names_test_file_and_failure(project: pytest.Pytester) -> None:
    put(project, "policies/more_test.policy", FAILING)
    project.runpytest("--junit-xml=out.xml")
    cases = {c.get("name"): c for c in ElementTree.parse(project.path / "out.xml").getroot().iter("testcase")}
    assert set(cases) == {
        "owners write",
        'others do not["bob"]',
        'others do not["a::b [c]/d"]',
        "bob reads[1]",
        "bob reads[3]",
    }
    assert cases["bob reads[1]"].get("classname") == "policies.more_test.policy"
    (failure,) = cases["bob reads[1]"].iter("failure")
    assert "expected allow, found deny because default_deny" in (failure.text or "")
    assert list(cases["bob reads[3]"]) == []


@pytest.mark.parametrize(
    ("files", "option", "passed"),
    [
        ({"set/app.policy": POLICY, "set/deep/tests/a_test.policy": TESTS}, None, 3),  # the topmost folder with a policy
        ({"set/rules/app.policy": POLICY, "set/tests/a_test.policy": TESTS}, "set", 3),  # told where a policy lies aside
        ({"set/rules/app.policy": POLICY, "set/tests/a_test.policy": TESTS}, None, 0),
        ({"one/a.policy": POLICY, "one/a_test.policy": TESTS, "two/a.policy": POLICY, "two/a_test.policy": TESTS}, None, 6),
        ({"one/a.policy": POLICY, "one/a_test.policy": TESTS, "two/a.policy": POLICY, "two/a_test.policy": TESTS}, "one", 6),
    ],
)
def test_what_is_compiled_with_a_test_file(
    pytester: pytest.Pytester, files: dict[str, str], option: str | None, passed: int
) -> None:
    for name, text in files.items():
        put(pytester, name, text)
    pytester.makeini("[pytest]\n")
    result = pytester.runpytest(*(["--pdp-policies", option] if option else []))
    result.assert_outcomes(passed=passed, errors=not passed)


def test_a_set_is_compiled_once(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    from language import Compiler

    compiled: list[int] = []
    compile_really = Compiler.compile
    monkeypatch.setattr(Compiler, "compile", lambda self, sources: compiled.append(1) or compile_really(self, sources))
    for number in range(5):
        put(project, f"policies/t{number}_test.policy", FAILING.replace("bob reads", f"bob reads {number}"))
    project.runpytest_inprocess("-k", "others").assert_outcomes(passed=2, deselected=11)
    assert compiled == [1]


def test_a_folder_that_is_not_there_is_wrong_usage(project: pytest.Pytester) -> None:
    result = project.runpytest("--pdp-policies", "elsewhere")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*pdp_policies: there is no `*elsewhere`"])


def test_the_policies_that_we_ship(pytester: pytest.Pytester) -> None:
    """All of them in one run: each test file finds the set that it belongs to."""
    result = pytester.runpytest_subprocess(str(ROOT / "policies"), "-q", "-c", "/dev/null", f"--rootdir={ROOT}")
    assert result.ret == 0
    assert result.parseoutcomes()["passed"] > 100


# ---- what must stay undisturbed


@pytest.mark.parametrize("collect", [False, True])
def test_a_project_without_policies_imports_nothing_of_ours(pytester: pytest.Pytester, collect: bool) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_nothing_is_loaded():
            loaded = sorted(m for m in sys.modules if m.split(".")[0] in ("pdp", "language", "lark", "typer"))
            assert loaded == ["pdp", "pdp.sdk", "pdp.sdk.pytest_plugin"]

        def test_no_fixture_is_automatic(request):
            assert request.fixturenames == ["request"]
        """
    )
    result = pytester.runpytest_subprocess(*(["--collect-only"] if collect else []))
    assert result.ret == 0


def test_every_public_name_is_where_it_is_said_to_be() -> None:
    import pdp

    assert sorted(pdp._HOMES) == sorted(pdp.__all__)
    assert all(callable(getattr(pdp, name)) for name in pdp.__all__)
    assert set(pdp.__all__) <= set(dir(pdp))
    with pytest.raises(AttributeError, match="no attribute 'engine_'"):
        pdp.engine_  # noqa: B018  # the lookup is the test


# ---- fixtures


def test_fixtures_decide_at_a_moment_of_their_own(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import datetime
        import pdp
        from pdp.testing import ended, suspended, resumed, FOREVER

        def test_task(assert_allowed, assert_denied, open_task, workload, fake_clock):
            agent = workload("agents/owl")
            assert agent == "spiffe://prod.acme/agents/owl"
            task = open_task("tidy", tenant="acme", lasting="12m", proof=["key"])
            asked = dict(action="read", resource=("Page", "p"), workload=agent)
            decision = assert_allowed(**asked, task=task, by="agents", until="10m")
            assert decision.bounded_by == "rule agents"
            fake_clock.advance("9m")
            assert_allowed(**asked, task=task, until=datetime.timedelta(minutes=1))
            assert_denied(**asked, task=suspended(task), reason="task_suspended")
            assert_allowed(**asked, task=resumed(suspended(task)))
            assert_denied(**asked, task=resumed(ended(task)), reason="task_ended")
            assert_denied(**asked, task=open_task("tidy", tenant="other", proof=["key"]), reason="default_deny")
            fake_clock.advance(datetime.timedelta(minutes=1))
            assert_denied(**asked, task=task, reason="default_deny", until=FOREVER if False else None)
            fake_clock.set("2026-01-01T00:12:00Z")
            assert_denied(**asked, task=task, reason="task_ended")
            assert_denied(**asked, reason="default_deny", until=FOREVER)

        def test_users(assert_allowed, assert_denied):
            request = pdp.Request("write", ("Page", "p"), user=("User", "ada"))
            assert_allowed(request, by="owners", until=FOREVER)
            secret = dict(action="write", resource=("Page", "s"), user=("User", "ada"))
            assert_denied(**secret, by="secrets", because="secrets stay as they are")

        def test_ids_are_told_apart(open_task):
            assert [open_task("tidy", tenant="a").id for _ in "ab"] == ["task-1", "task-2"]
        """
    )
    project.runpytest("-k", "test_task or test_users or test_ids").assert_outcomes(passed=3, deselected=3)


@pytest.mark.parametrize(
    ("call", "lines"),
    [
        (
            'assert_allowed(action="read", resource=("Page", "p"), user=("User", "bob"))',
            [
                "E*expected allow, found deny because default_deny",
                'E*asked:   read on Page "p" for User "bob", at 2026-01-01T00:00:00Z',
                "E*decided: deny because default_deny",
                "E*allow owners does not apply*<- came nearest",
                "E*- when resource.owner == user",
                'E*resource.owner is User "ada"',
            ],
        ),
        (
            'assert_allowed(action="read", resource=("Page", "p"), user=("User", "bob"), by="seniors")',
            ["E*allow seniors does not apply*", "E*user.level is 1", "E*allow owners does not apply*"],
        ),
        (
            'assert_denied(action="write", resource=("Page", "p"), user=("User", "ada"))',
            ["E*expected deny, found allow by `owners`", "E*allow owners applies*"],
        ),
        (
            'assert_denied(action="write", resource=("Page", "s"), user=("User", "ada"), reason="default_deny")',
            ["E*expected because default_deny, found denied", "E*decided: deny by secrets (secrets stay as they are)"],
        ),
        (
            'assert_denied(action="write", resource=("Page", "s"), user=("User", "ada"), because="no")',
            ['E*expected because "no", found "secrets stay as they are"'],
        ),
        (
            'assert_allowed(action="write", resource=("Page", "p"), user=("User", "ada"), by="seniors", until="5m")',
            [
                "E*expected `seniors` to apply, found `owners`; expected until 2026-01-01T00:05:00Z (5m from now), "
                "found for ever",
            ],
        ),
        (
            'assert_denied(action="read", resource=("Page", "p"), reason="default_deny")',
            ["E*expected because default_deny, found no_subject"],
        ),
        ('assert_denied(action="read", resource="p", user=("User", "ada"))', ["E*PdpError: invalid_request: *"]),
        (
            'assert_denied(pdp.Request("read", ("Page", "p")), action="read")',
            ["E*TypeError: a prebuilt request, or keywords; found both: action"],
        ),
    ],
)
def test_a_failed_assertion_explains_itself(project: pytest.Pytester, call: str, lines: list[str]) -> None:
    project.makepyfile(f"import pdp\n\ndef test_it(assert_allowed, assert_denied):\n    {call}\n")
    result = project.runpytest("-k", "test_it")
    result.assert_outcomes(failed=1, deselected=3)
    result.stdout.fnmatch_lines(lines)
    if "AssertionError" in result.stdout.str():
        result.stdout.no_fnmatch_line("*asserts.py*")  # the traceback ends where the user wrote
        assert len([line for line in result.outlines if line.startswith("E  ")]) < 20


def test_a_change_of_data_ends_with_its_test(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        seen = []

        def test_change(pdp_engine, assert_denied):
            seen.append(pdp_engine)
            pdp_engine.directory.remove([("Page", "p")])
            assert_denied(action="write", resource=("Page", "p"), user=("User", "ada"), reason="error")

        def test_fresh(pdp_engine, assert_allowed):
            assert pdp_engine is not seen[0]
            seen.append(pdp_engine)
            assert_allowed(action="write", resource=("Page", "p"), user=("User", "ada"))

        def test_kept(pdp_engine):
            assert pdp_engine is seen[1]
        """
    )
    project.runpytest("-k", "test_").assert_outcomes(passed=3, deselected=3)


def test_the_engine_can_be_overridden(project: pytest.Pytester) -> None:
    put(
        project,
        "other/o.policy",
        "language 1\nentity User\nentity Page\naction read on Page\nallow all { for User do read on Page }",
    )
    project.makeconftest(
        "import pdp, pytest\n\n@pytest.fixture(scope='session')\ndef pdp_engine():\n    return pdp.Engine.load('other')\n"
    )
    project.makepyfile(
        "def test_it(assert_allowed):\n"
        "    assert_allowed(action='read', resource=('Page', '1'), user=('User', 'x'), by='all')\n"
    )
    project.runpytest("-k", "test_it").assert_outcomes(passed=1, deselected=3)


def test_without_a_folder_the_fixture_says_what_to_do(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(pdp_engine): pass")
    result = pytester.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*which policies? There is no `policies` here: say `pdp_policies = DIR`*"])


def test_a_fresh_set_needs_no_configuration(pytester: pytest.Pytester) -> None:
    init = [sys.executable, "-c", "from pdp.cli.main import main; main()", "init"]
    assert subprocess.run(init, cwd=pytester.path, capture_output=True, check=False).returncode == 0
    pytester.makepyfile(
        "def test_it(assert_allowed):\n"
        "    assert_allowed(action='read', resource=('Document', 'q1'), user=('User', 'ada'), by='owners-read-and-write')\n"
    )
    pytester.runpytest().assert_outcomes(passed=4)
