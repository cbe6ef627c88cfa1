"""The command, as a user meets it: a real process, its output and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
LEDGER = ROOT / "policies" / "examples" / "ledger"
AT = "2026-01-01T09:00:00Z"


def pdp(*arguments: object, stdin: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from pdp.cli.main import main; main()", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A fresh set made by `pdp init`."""
    assert pdp("init", tmp_path / "p").returncode == 0
    return tmp_path / "p"


def test_a_fresh_set_passes_its_own_tests(work: Path) -> None:
    assert pdp("check", work).returncode == 0
    assert pdp("fmt", work, "--check").returncode == 0
    ran = pdp("test", work, "--threshold", 100)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    allowed = pdp("eval", work, "--request", work / "request.json", "--at", AT)
    assert allowed.returncode == 0
    assert allowed.stdout.startswith("allow by agents-read-reports-in-their-task until 2026-01-01T09:05:00Z")


def test_init_never_overwrites(work: Path) -> None:
    (work / "app.policy").write_text("mine")
    again = pdp("init", work)
    assert again.returncode == 2
    assert (work / "app.policy").read_text() == "mine"


@pytest.mark.parametrize(
    ("change", "arguments", "code"),
    [
        (None, ["check"], 0),
        (None, ["eval", "--request", "request.json", "--at", AT], 0),
        (None, ["eval", "--request", "request.json", "--at", "2026-01-01T09:05:00Z"], 1),
        (None, ["explain", "--request", "request.json", "--at", AT], 0),
        (None, ["eval", "--request", "missing.json"], 2),
        (None, ["eval", "--request", "request.json", "--at", "yesterday"], 2),
        (None, ["eval"], 2),
        (None, ["test", "--run", "("], 2),
        (None, ["test", "--run", "nothing like it"], 1),
        (None, ["test", "--threshold", "101"], 2),
        (None, ["check", "--format", "xml"], 2),
        (("app.policy", "language 1", "language 9"), ["check"], 3),
        (("app.policy", "resource.owner == user", "resource.ownr == user"), ["check"], 3),
        (("app.policy", "resource.owner == user", "resource.ownr == user"), ["test"], 3),
        (("app.policy", "resource.owner == user", "resource.ownr == user"), ["eval", "--request", "request.json"], 3),
        (("app.policy", "allow owners", "allow  owners"), ["fmt", "--check"], 1),
        (("app.policy", "allow owners", "allow  owners"), ["fmt", "--diff"], 1),
        (("app.policy", "allow owners", "allow ( owners"), ["fmt"], 3),
        (("app_test.policy", "allow until 10m", "allow until 9m"), ["test"], 1),
        (("data/entities.json", '"secret": false', '"secret": 0'), ["check"], 2),
        (("data/entities.json", '"secret": false', '"secret": false, "secret": true'), ["check"], 2),
        (("request.json", '"id": "q1"', '"id": "q1", "attributes": {}'), ["eval", "--request", "request.json"], 2),
        (("request.json", '"action"', '"extra": 1, "action"'), ["eval", "--request", "request.json"], 2),
    ],
)
def test_exit_codes(work: Path, change: tuple[str, str, str] | None, arguments: list[str], code: int) -> None:
    if change:
        file, old, new = change
        text = (work / file).read_text()
        assert old in text
        (work / file).write_text(text.replace(old, new))
    verb, *rest = arguments
    ran = pdp(verb, work, *[work / r if r.endswith(".json") else r for r in rest])
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_data_error_names_file_and_record(work: Path) -> None:
    (work / "data" / "more.ndjson").write_text('{"type": "User", "id": "eve"}\n{"type": "User", "id": 7}\n')
    ran = pdp("check", work)
    assert ran.returncode == 2
    assert "more.ndjson:2" in ran.stderr


def test_formats(work: Path, tmp_path: Path) -> None:
    told = json.loads(pdp("eval", work, "--request", work / "request.json", "--at", AT, "--format", "json").stdout)
    assert told["allowed"] is True
    assert told["valid_until"] == "2026-01-01T09:05:00Z"
    assert told["bounded_by"] == "rule agents-read-reports-in-their-task"
    why = json.loads(pdp("explain", work, "--request", work / "request.json", "--at", AT, "--format", "json").stdout)
    assert {r["rule"] for r in why["considered"]} >= {"agents-read-reports-in-their-task", "secrets-stay-with-people"}
    ran = pdp("test", work, "--junit", tmp_path / "out.xml", "--format", "json", "--coverage")
    assert json.loads(ran.stdout)["coverage"]["percent"] == 100
    suites = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert [c.get("name") for c in suites.iter("testcase")][1].endswith('["ada"]')
    (work / "app.policy").write_text("allow {")
    broken = pdp("check", work, "--format", "json")
    assert broken.returncode == 3
    assert json.loads(broken.stdout)["diagnostics"][0]["code"] == "unexpected_word"
    assert pdp("check", work, "--format", "github").stdout.startswith("::error file=")


def test_flags_have_environment_twins(work: Path) -> None:
    ran = pdp("eval", work, PDP_EVAL_REQUEST=str(work / "request.json"), PDP_EVAL_AT=AT, PDP_EVAL_FORMAT="json")
    assert json.loads(ran.stdout)["allowed"] is True
    assert pdp("check", work, PDP_VERSION="1.2").returncode == 0


def test_a_request_may_come_from_standard_input(work: Path) -> None:
    ran = pdp("eval", work, "--request", "-", "--at", AT, stdin=(work / "request.json").read_text())
    assert ran.returncode == 0


def test_no_test_is_a_finding_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.policy").write_text("language 1\nentity A\n")
    assert pdp("test", tmp_path).returncode == 0
    assert pdp("test", tmp_path, "--fail-on-empty").returncode == 1


def test_explain_names_the_rule_that_came_nearest() -> None:
    """What failed, with the values in it."""
    request = LEDGER / "requests" / "allowed.json"
    ran = pdp("explain", LEDGER, "--request", request, "--at", "2026-01-01T09:06:00Z")
    assert ran.returncode == 1
    assert "billing-reads-its-tenant does not apply" in ran.stdout
    assert "<- came nearest" in ran.stdout
    assert "- until task.started + 10m" in ran.stdout
    assert "task.started is 2026-01-01T08:55:00Z" in ran.stdout


SHELF = """\
language 1
entity User
entity Folder { secret: Bool }
entity Document { folder: Folder, owner: User, opens: Time }
action read on Document
deny secrets { do read on Document when resource.folder.secret }
allow owners { for User do read on Document when resource.owner == user until resource.opens + 500000w }
"""


def shelf(at: Path, *folders: str) -> Path:
    """A document of ada's, and a request of hers to read it; with records of these folders alone."""
    (at / "data").mkdir()
    (at / "app.policy").write_text(SHELF)
    document = {"folder": ["Folder", "f"], "owner": ["User", "ada"], "opens": "9999-12-31T23:59:59Z"}
    entities = [{"type": "Document", "id": "d", "attributes": document}]
    entities += [{"type": "Folder", "id": name, "attributes": {"secret": False}} for name in folders]
    (at / "data" / "entities.json").write_text(json.dumps(entities))
    (at / "request.json").write_text('{"action": "read", "resource": ["Document", "d"], "user": ["User", "ada"]}')
    return at / "request.json"


def test_a_deny_in_error_comes_first_and_no_allow_came_nearest(tmp_path: Path) -> None:
    """Finding D12: the allow stood first and was marked, though it applied or was of no account."""
    request = shelf(tmp_path)
    for user in ("ada", "bob"):
        ran = pdp("explain", tmp_path, "--request", "-", "--at", AT, stdin=request.read_text().replace("ada", user))
        assert ran.returncode == 1
        lines = ran.stdout.splitlines()
        first = next(line for line in lines if line.startswith(("allow ", "deny secrets ")))
        assert first.startswith("deny secrets is in error")
        assert '        resource.folder.secret is unknown: there is no record of Folder "f"' in lines
        assert "came nearest" not in ran.stdout
        assert sum("no record of Folder" in line for line in lines) == 2  # once above, with the decision


def test_an_end_after_the_last_year_is_told_as_its_last_moment(tmp_path: Path) -> None:
    """Findings D10 and D11: a document that opens "never" is data like any other, and what ends later still is RFC 3339."""
    request = shelf(tmp_path, "f")
    for verb in ("eval", "explain"):
        ran = pdp(verb, tmp_path, "--request", request, "--at", AT, "--format", "json")
        assert ran.returncode == 0, ran.stderr
        assert json.loads(ran.stdout)["valid_until"] == "9999-12-31T23:59:59.999999Z"
        assert 'us"' not in ran.stdout
    last = pdp("eval", tmp_path, "--request", request, "--at", "9999-12-31T23:59:59.999999Z")
    assert last.stdout.startswith("allow by owners until 9999-12-31T23:59:59.999999Z")


@pytest.mark.parametrize("code", ["escapable_deny", "task_ended", "missing_pin"])
def test_every_code_is_explained(code: str) -> None:
    assert "fix:" in pdp("explain-code", code).stdout


def test_an_unknown_code_is_a_usage_error_with_a_hint() -> None:
    ran = pdp("explain-code", "escapeable_deny")
    assert ran.returncode == 2
    assert "did you mean `escapable_deny`?" in ran.stderr


@pytest.mark.parametrize("verb", ["init", "check", "fmt", "test", "eval", "explain", "explain-code"])
def test_help(verb: str) -> None:
    assert "Usage: " in pdp(verb, "--help").stdout


@pytest.mark.parametrize(
    "folder", sorted({p.parent.relative_to(ROOT) for p in (ROOT / "policies").rglob("*_test.policy")}), ids=str
)
def test_the_policies_that_we_ship(folder: Path) -> None:
    """Canonical, without a warning, and each condition seen true and false."""
    checked = pdp("check", ROOT / folder)
    assert checked.returncode == 0
    assert "warning" not in checked.stdout
    assert pdp("fmt", ROOT / folder, "--check").returncode == 0
    ran = pdp("test", ROOT / folder, "--coverage", "--threshold", 100)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_ledger_story() -> None:
    """What `make walk` shows."""
    command = f'#!/bin/sh\nexec "{sys.executable}" -c "from pdp.cli.main import main; main()" "$@"\n'
    ran = subprocess.run(
        [
            "bash",
            "-c",
            f"pdp() {{ {command.splitlines()[1].removeprefix('exec ')}; }}; export -f pdp; bash {LEDGER}/walk.sh",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "deny because task_ended" in ran.stdout
