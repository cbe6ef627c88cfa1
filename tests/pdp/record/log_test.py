"""`pdp log`, as a user meets it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pdp.model.request import moment
from pdp.record import Circumstances, Kind, Step
from pdp.store.record_files import RecordFiles, RecordSettings
from pdp.store.record_keys import open_keys
from pdp.store.record_reader import find_segments, read_record
from tests.pdp.record.world import AGENT, NOW, POLICY, REQUESTS, World, sources

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from pdp.cli.main import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def told(code: int, *arguments: object, **environment: str) -> Any:
    """What it printed as JSON; when it ended otherwise than it should, the test says how and with what words."""
    ran = run(*arguments, **environment)
    assert ran.returncode == code, (ran.returncode, ran.stdout[-500:], ran.stderr[-2000:])
    return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record of every kind of entry, with the policies that it was decided under."""
    base = tmp_path_factory.mktemp("record")
    world = World()
    with RecordFiles(base / "log", open_keys(base / "keys")) as record:
        for i, request in enumerate(REQUESTS):
            entry = world.decided(request, NOW + i * 1_000_000)
            around = Circumstances("txn-9", ("g-1", "g-2")) if request.task is not None else None
            record.decided(request, entry.decision, entry.at_us, 7, world.bundle, entry.inputs, around)
        record.stepped(Step(Kind.GRANT, "opened", NOW, "g-1", "t-1", "txn-9", holder=AGENT, opener="spiffe://d/ci"))
        record.stepped(
            Step(Kind.INCIDENT, "freeze", NOW + 99_000_000, AGENT, holder=AGENT, actor="ada", reason="shell\x1b[2J\nseen")
        )
    sources(base / "policies")
    sources(base / "others")
    (base / "others" / "app.policy").write_text(POLICY + "\n# other\n")
    return base


def shown(base: Path, *options: str) -> list[dict[str, Any]]:
    ran = run("log", "show", base / "log", *options, "--format", "json")
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (["--kind", "decision", "--kind", "reuse_attempt"], len(REQUESTS)),
        (["--kind", "reuse_attempt"], 1),
        (["--workload", AGENT], 4),
        (["--workload", "spiffe://d/agents/*"], 5),
        (["--workload", "spiffe://d/**"], 5),
        (["--workload", "spiffe://d/agents"], 0),
        (["--task", "t-1"], 4),
        (["--task", "g-2"], 3),
        (["--task", "txn-9"], 4),
        (["--gate", "spiffe://d/gate"], 0),
        (["--resource", "Doc:d"], 7),
        (["--resource", "Doc", "--action", "write"], 3),
        (["--resource", "Parcel", "--outcome", "allow"], 1),
        (["--outcome", "allow", "--action", "read"], 2),
        (["--since", "2026-01-01T09:00:03Z", "--until", "2026-01-01T09:00:05Z", "--kind", "decision"], 2),
        (["--kind", "decision", "--last", "2"], 2),
    ],
)
def test_filters(base: Path, options: list[str], count: int) -> None:
    assert len(shown(base, *options)) == count


def test_text_is_one_line_an_entry_and_cannot_move_the_cursor(base: Path) -> None:
    ran = run("log", "show", base / "log")
    assert ran.returncode == 0
    assert len(ran.stdout.splitlines()) == len(shown(base))
    assert "\x1b" not in ran.stdout
    freeze = next(line for line in ran.stdout.splitlines() if " incident " in line)
    assert freeze.startswith("2026-01-01T09:01:39Z")
    assert "what freeze" in freeze
    first = next(line for line in ran.stdout.splitlines() if " decision " in line)
    assert "allow read Doc d user User ada by own" in first


def test_options_have_twins_in_the_environment(base: Path) -> None:
    ran = run("log", "show", base / "log", PDP_LOG_SHOW_RESOURCE="Parcel", PDP_LOG_SHOW_FORMAT="json")
    assert len(ran.stdout.splitlines()) == 2


def test_touched(base: Path) -> None:
    ran = run("log", "touched", base / "log", AGENT)
    assert ran.returncode == 0
    assert ran.stdout.splitlines() == [
        "allow list Doc d  1 time, 2026-01-01T09:00:07Z",
        "deny list Doc e  1 time, 2026-01-01T09:00:08Z",
    ]
    touched = told(0, "log", "touched", base / "log", "t-1", "--format", "json")
    found = [(t["outcome"], t["resource"], t["count"]) for t in touched]
    assert found == [("allow", ["Doc", "d"], 1), ("deny", ["Doc", "d"], 1), ("deny", ["Doc", "e"], 1)]
    assert run("log", "touched", base / "log", "t-1", "--since", "2027-01-01T00:00:00Z").returncode == 1
    assert run("log", "touched", base / "log", "nobody").returncode == 1


def test_verify(base: Path, tmp_path: Path) -> None:
    key = base / "keys" / "signing.pub"
    ran = run("log", "verify", base / "log", "--key", key, "--whole")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("log: whole: 1 file, ")
    assert "0 after the last" in ran.stdout
    assert "no --key" in run("log", "verify", base / "log").stderr
    head = ran.stdout.split("head ")[1].strip()
    assert run("log", "verify", base / "log", "--key", key, "--expect", head).returncode == 0
    assert run("log", "verify", base / "log", "--expect", "nothing").returncode == 2

    spoilt = tmp_path / "log"
    spoilt.mkdir()
    (path,) = find_segments(base / "log")
    (spoilt / path.name).write_bytes(path.read_bytes().replace(b'"outcome":"deny"', b'"outcome":"allow"', 1))
    ran = run("log", "verify", spoilt, "--key", key)
    assert ran.returncode == 1
    line = next(i for i, raw in enumerate(path.read_bytes().splitlines(), 1) if b'"outcome":"deny"' in raw)
    assert ran.stdout.startswith(f"log: {path.name}:{line}: edited: ")
    verified = told(1, "log", "verify", spoilt, "--key", key, "--format", "json")
    assert verified["ok"] is False
    assert verified["key_given"] is True
    (one,) = verified["records"]
    assert [(f["code"], f["where"]) for f in one["findings"]] == [("edited", f"{path.name}:{line}")]

    open_keys(tmp_path / "stranger")
    ran = run("log", "verify", base / "log", "--key", tmp_path / "stranger" / "signing.pub")
    assert ran.returncode == 1
    assert "unknown_key" in ran.stdout


def test_replay(base: Path, tmp_path: Path) -> None:
    ran = run("log", "replay", base / "log", "--policies", base / "policies")
    assert ran.returncode == 0, ran.stdout
    assert ran.stdout.splitlines()[0].endswith(f"{len(REQUESTS)} the same, 0 differ")

    ran = run("log", "replay", base / "log", "--policies", base / "others")
    assert ran.returncode == 2
    assert "invalid_argument" in ran.stderr
    assert "give the policies of that generation" in ran.stderr

    (tmp_path / "bad.policy").write_text("language 1\nallow ( x")
    assert run("log", "replay", base / "log", "--policies", tmp_path).returncode == 3
    assert told(3, "log", "replay", base / "log", "--policies", tmp_path, PDP_LOG_REPLAY_FORMAT="json")["diagnostics"]

    forged = tmp_path / "log"
    forged.mkdir()
    (path,) = find_segments(base / "log")
    then, now = b'"outcome":"deny","reason":"default_deny"', b'"outcome":"allow","reason":"allowed"'
    (forged / path.name).write_bytes(path.read_bytes().replace(then, now, 1))
    ran = run("log", "replay", forged, "--policies", base / "policies")
    assert ran.returncode == 1
    assert "  outcome: then allow, now deny" in ran.stdout
    replayed = told(1, "log", "replay", forged, "--policies", base / "policies", "--format", "json")
    assert replayed["differs"] == 1
    assert replayed["differences"][0]["outcome"] == {"then": "allow", "now": "deny"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["show", "nowhere"], 2),
        (["verify", "nowhere"], 2),
        (["show", "{log}", "--since", "yesterday"], 2),
        (["show", "{log}", "--workload", "spiffe://*/x"], 2),
        (["show", "{log}", "--kind", "rumour"], 2),
        (["show", "{log}", "--outcome", "maybe"], 2),
        (["show"], 2),
        (["verify", "{log}", "--key", "{log}/lock"], 2),
        (["replay", "{log}"], 2),
        (["erase", "{log}"], 2),
    ],
)
def test_wrong_usage_is_2(base: Path, arguments: list[str], code: int) -> None:
    ran = run("log", *[a.replace("{log}", str(base / "log")) for a in arguments])
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr


def test_lines_that_cannot_be_read_are_counted(base: Path, tmp_path: Path) -> None:
    (path,) = find_segments(base / "log")
    (tmp_path / path.name).write_bytes(
        b"garbage\n" + path.read_bytes() + b'{"seq":1,"kind":"x","entry":{]},"hash":"' + b"0" * 64 + b'"}\n'
    )
    ran = run("log", "show", tmp_path, "--kind", "decision")
    assert ran.returncode == 0
    assert "2 lines cannot be read" in ran.stderr


def test_a_line_that_is_being_written_is_no_entry_yet(base: Path, tmp_path: Path) -> None:
    """Whoever reads a record while it grows sees any part of its last lines: what is whole is read, and the rest is none."""
    (path,) = find_segments(base / "log")
    lines = path.read_bytes().splitlines(keepends=True)
    head, last = b"".join(lines[:-2]), b"".join(lines[-2:])
    copy = tmp_path / path.name
    for cut in range(len(last)):
        copy.write_bytes(head + last[:cut])
        found = [line for _, line in read_record(tmp_path)]
        whole = len(lines) - 2 + last[:cut].count(b"\n")
        assert [line is not None for line in found[:whole]] == [True] * whole
        assert found[whole:] in ([], [None])


def test_nobody_else_pays_for_the_record() -> None:
    """`import pdp` and `pdp check` load neither the record nor the cryptography that it needs."""
    script = """
import sys, pdp
from pdp.cli import main
main._add_verbs(["check"])
print([m for m in sys.modules if m.startswith(("cryptography", "pdp.record", "pdp.cli.log"))])
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout == "[]\n"


def test_moments_are_those_of_the_record() -> None:
    assert moment("2026-01-01T09:00:00Z", "") == NOW


@pytest.fixture
def several(base: Path, tmp_path: Path) -> Path:
    """Records of two processes in one folder, as several workers write them."""
    for number in (0, 1):
        shutil.copytree(base / "log", tmp_path / f"worker-{number}")
    return tmp_path


@pytest.mark.parametrize("earlier", [False, True])
def test_the_records_of_several_processes_are_read_together(base: Path, several: Path, *, earlier: bool) -> None:
    """Also beside one from a time when there was one process."""
    if earlier:
        for path in find_segments(base / "log"):
            shutil.copy(path, several)
    ran = run("log", "touched", several, AGENT, "--format", "json")
    assert ran.returncode == 0, ran.stderr
    alone = json.loads(run("log", "touched", base / "log", AGENT, "--format", "json").stdout)
    assert [t["count"] for t in json.loads(ran.stdout)] == [t["count"] * (2 + earlier) for t in alone]


def test_what_several_processes_wrote_is_shown_in_order_of_time(tmp_path: Path) -> None:
    for number in (0, 1):
        with RecordFiles(tmp_path / f"worker-{number}", open_keys(tmp_path / "keys"), now_us=lambda: NOW) as record:
            for second in (number, number + 2):
                record.stepped(Step(Kind.INCIDENT, "freeze", NOW + second * 1_000_000, f"at-{second}", actor="ada"))
    ran = run("log", "show", tmp_path, "--kind", "incident")
    assert [line.split(" ")[0][-3:-1] for line in ran.stdout.splitlines()] == ["00", "01", "02", "03"], ran.stdout


@pytest.fixture
def server_record(tmp_path: Path) -> Path:
    """As a server leaves it that had two processes, and before that one, by the layout of then."""
    keys = open_keys(tmp_path / "keys")
    for name in ("record", "record/worker-0", "record/worker-1"):
        with RecordFiles(tmp_path / name, keys) as record:
            record.stepped(Step(Kind.INCIDENT, "freeze", NOW, name))
    return tmp_path / "record"


def verified(code: int, folder: Path, *options: object) -> list[dict[str, Any]]:
    key = next(p for up in folder.parents if (p := up / "keys" / "signing.pub").exists())
    found: list[dict[str, Any]] = told(code, "log", "verify", folder, "--key", key, *options, "--format", "json")["records"]
    return found


def found_in(records: list[dict[str, Any]]) -> dict[str, list[str]]:
    return {one["name"]: [f["code"] for f in one["findings"]] for one in records}


def test_a13_all_records_of_a_server_are_verified(server_record: Path) -> None:
    """Finding A13: whatever `workers` was, one command verifies all that there is, and says each by its name."""
    assert found_in(verified(0, server_record, "--whole")) == {"record": [], "worker-0": [], "worker-1": []}
    ran = run("log", "verify", server_record, "--key", server_record.parent / "keys" / "signing.pub")
    assert [line.split(": ")[:2] for line in ran.stdout.splitlines()] == [
        [name, "whole"] for name in ("record", "worker-0", "worker-1")
    ]
    assert found_in(verified(0, server_record / "worker-1")) == {"worker-1": []}
    (server_record / "worker-1" / "record-00000001.ndjson").write_text("spoilt\n")
    assert found_in(verified(1, server_record)) == {
        "record": [],
        "worker-0": [],
        "worker-1": ["bad_segment", "malformed_line"],
    }


@pytest.mark.parametrize("stolen", ["worker-0", "."])
def test_f6_another_record_under_the_same_key_is_found(server_record: Path, stolen: str) -> None:
    """Finding F6: the record of another process, whole and signed, in the place of one."""
    (path,), (other,) = find_segments(server_record / "worker-1"), find_segments(server_record / stolen)
    path.write_bytes(other.read_bytes())
    found = found_in(verified(1, server_record))
    assert set(found["worker-1"]) == {"wrong_record"}
    assert found["worker-0"] == []


def test_f6_records_can_be_pinned(server_record: Path) -> None:
    """Finding F6: `--record ID` is for what stands in one folder."""
    ids = {one["name"]: one["record"] for one in verified(0, server_record)}
    every = [word for each in ids.values() for word in ("--record", each)]
    verified(0, server_record, *every)
    verified(0, server_record / "worker-1", "--record", ids["worker-1"])
    assert found_in(verified(1, server_record / "worker-1", "--record", ids["worker-0"])) == {
        "worker-1": ["wrong_record"] * 2
    }
    for path in (server_record / "worker-1").iterdir():
        path.unlink()
    assert found_in(verified(1, server_record, *every)) == {"record": [], "worker-0": ["wrong_record"]}


def test_an_entry_that_was_there_is_asked_for_by_record(server_record: Path) -> None:
    heads = {one["name"]: f"{one['head']['seq']}:{one['head']['hash']}" for one in verified(0, server_record)}
    verified(0, server_record, *[word for name, head in heads.items() for word in ("--expect", f"{name}={head}")])
    found = found_in(verified(1, server_record, "--expect", f"worker-1={heads['worker-0']}"))
    assert found == {"record": [], "worker-0": [], "worker-1": ["cut_end"]}
    for wrong in (heads["worker-0"], f"worker-7={heads['worker-0']}"):
        ran = run("log", "verify", server_record, "--expect", wrong)
        assert ran.returncode == 2
        assert "`worker-1`" in ran.stderr
    twice = ["--expect", f"worker-1={heads['worker-1']}"] * 2
    assert run("log", "verify", server_record, *twice).returncode == 2


def test_f1_what_a_start_said_is_accepted_by_name(tmp_path: Path) -> None:
    """Finding F1: a finding of the writer's own stays until somebody has looked into it, and says so with `--known`."""
    keys = open_keys(tmp_path / "keys")
    with RecordFiles(tmp_path / "log", keys):
        pass
    (path,) = find_segments(tmp_path / "log")
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    with RecordFiles(tmp_path / "log", keys) as record:
        assert record.found_at_start == ("signed_end_gone", "entries 4 to 4 were not signed")
    (one,) = verified(1, tmp_path / "log")
    assert found_in([one]) == {"log": ["adopted", "set_back"]}
    known = [word for f in one["findings"] for word in ("--known", f"{f['seq']}:{f['hash']}")]
    assert found_in(verified(0, tmp_path / "log", *known)) == {"log": []}
    assert found_in(verified(1, tmp_path / "log", *known[:2])) == {"log": ["set_back"]}
    text = run("log", "verify", tmp_path / "log", "--key", tmp_path / "keys" / "signing.pub").stdout
    assert all(f"--known {f['seq']}:{f['hash']}" in text for f in one["findings"])


def test_f6_the_unsigned_end_can_be_bounded(tmp_path: Path) -> None:
    folder, now = tmp_path / "log", time.time_ns() // 1000
    with RecordFiles(folder, open_keys(tmp_path / "keys"), RecordSettings(checkpoint_s=3600.0)) as record:
        record.stepped(Step(Kind.GRANT, "opened", now, "g-1"))
        assert record.flush(30)
        assert found_in(verified(0, folder)) == {"log": []}
        ran = run("log", "verify", folder, "--max-uncovered", "0")
    assert ran.returncode == 1
    assert "1 entry at the end without a signature; at most 0 may be" in ran.stdout


def test_f6_an_old_end_without_a_signature_is_found(tmp_path: Path) -> None:
    """Review 8: the last signature is of last winter, and what stands behind it says that it is, too."""
    folder, keys, told = tmp_path / "log", open_keys(tmp_path / "keys"), Step(Kind.GRANT, "opened", NOW, "g-1")
    with RecordFiles(folder, keys, RecordSettings(checkpoint_s=3600.0), now_us=lambda: NOW) as record:
        record.stepped(told)
        assert record.flush(30)
        (one,) = verified(1, folder)
    (finding,) = one["findings"]
    assert finding["code"] == "unsigned_end"
    (path,) = find_segments(folder)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[: finding["seq"] + 1]))  # as of a killed process
    assert found_in(verified(0, folder, "--known", f"{finding['seq']}:{finding['hash']}")) == {"log": []}


def test_a_link_in_the_place_of_a_record_is_that_of_its_own_name(server_record: Path) -> None:
    """Review 7: it counted as the record that it leads to, so one of the two was not missed."""
    shutil.rmtree(server_record / "worker-1")
    (server_record / "worker-1").symlink_to("worker-0")
    assert found_in(verified(1, server_record)) == {"record": [], "worker-0": [], "worker-1": ["wrong_record"] * 2}
