"""The record on disk: what a crash, a full disk, a full queue, a fork and a second writer do to it."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pdp.errors import PdpError
from pdp.record import Kind, Step
from pdp.record.line import Head
from pdp.record.verify import Verification, verify
from pdp.store import record_segments
from pdp.store.record_files import Full, RecordFiles, RecordSettings, Sync
from pdp.store.record_keys import RecordKeys, open_keys, read_public_key
from pdp.store.record_reader import find_segments, read_lines, read_record
from tests.pdp.record.world import NOW, REQUESTS, World

ROOT = Path(__file__).resolve().parents[3]
WORLD = World()


@pytest.fixture
def keys(tmp_path: Path) -> RecordKeys:
    return open_keys(tmp_path / "keys")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


def step(number: int) -> Step:
    return Step(Kind.GRANT, "opened", NOW + number, f"g-{number}")


def checked(folder: Path, keys: RecordKeys, **more: Any) -> Verification:
    return verify(((p.name, read_lines(p)) for p in find_segments(folder)), {keys.id: keys.public}, **more)


def entries(folder: Path, kind: str | None = None) -> list[dict[str, Any]]:
    found = []
    for _, line in read_record(folder):
        assert line is not None
        if kind is None or line.kind == kind:
            found.append(line.data())
    return found


def ids(folder: Path) -> list[int]:
    return [int(e["id"].removeprefix("g-")) for e in entries(folder, "grant")]


# ---- writing


def test_what_is_offered_is_written_in_order_and_signed(folder: Path, keys: RecordKeys) -> None:
    with RecordFiles(folder, keys) as record:
        for request in REQUESTS:
            entry = WORLD.decided(request)
            assert record.decided(request, entry.decision, NOW, 5, WORLD.bundle, entry.inputs)
        assert all(record.stepped(step(i)) for i in range(3000))
    assert ids(folder) == list(range(3000))
    assert len(entries(folder, "decision")) + len(entries(folder, "reuse_attempt")) == len(REQUESTS)
    assert len(entries(folder, "reuse_attempt")) == 1
    result = checked(folder, keys, whole=True)
    assert result.ok, result.findings
    assert result.uncovered == 0
    assert entries(folder, "start")[0]["process"] == os.getpid()
    assert len(entries(folder, "stop")) == 1


def test_flush_says_when_it_is_on_disk(folder: Path, keys: RecordKeys) -> None:
    with RecordFiles(folder, keys) as record:
        record.stepped(step(1))
        assert record.flush(30)
        assert ids(folder) == [1]
    assert not record.flush(30)


@pytest.mark.parametrize("sync", Sync)
def test_every_way_to_sync_writes_the_same(folder: Path, keys: RecordKeys, sync: Sync) -> None:
    with RecordFiles(folder, keys, RecordSettings(sync=sync, sync_s=0.001, checkpoint_s=0.001)) as record:
        for i in range(20):
            record.stepped(step(i))
            assert record.flush(30)
    assert ids(folder) == list(range(20))
    assert checked(folder, keys).ok


def test_threads_share_one_record(folder: Path, keys: RecordKeys) -> None:
    with RecordFiles(folder, keys) as record:
        threads = [
            threading.Thread(target=lambda n=n: [record.stepped(step(n * 1000 + i)) for i in range(500)]) for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(ids(folder)) == sorted(n * 1000 + i for n in range(4) for i in range(500))
    assert checked(folder, keys).ok


def test_files_are_their_owners_alone(folder: Path, keys: RecordKeys, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with RecordFiles(folder, keys) as record:
            record.stepped(step(1))
        open_keys(tmp_path / "fresh")
    finally:
        os.umask(before)
    for path in (folder, tmp_path / "fresh", *folder.iterdir(), *(tmp_path / "fresh").iterdir()):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o022 == 0, path
        assert mode & 0o077 == 0 or path.name == "signing.pub", path


# ---- files


def test_rotation_by_size_keeps_one_chain(folder: Path, keys: RecordKeys) -> None:
    with RecordFiles(folder, keys, RecordSettings(segment_bytes=4000, checkpoint_entries=5)) as record:
        for i in range(200):
            record.stepped(step(i))
    assert len(find_segments(folder)) > 3
    assert ids(folder) == list(range(200))
    result = checked(folder, keys, whole=True)
    assert result.ok, result.findings
    find_segments(folder)[1].unlink()
    assert [f.code for f in checked(folder, keys).findings] == ["missing_segment"]


def test_rotation_by_age(folder: Path, keys: RecordKeys) -> None:
    with RecordFiles(folder, keys, RecordSettings(segment_s=0.0)) as record:
        for i in range(5):
            record.stepped(step(i))
            assert record.flush(30)
    assert len(find_segments(folder)) >= 5
    assert checked(folder, keys, whole=True).ok


def test_a_next_file_that_cannot_be_made_lets_this_one_grow(folder: Path, keys: RecordKeys) -> None:
    with RecordFiles(folder, keys, RecordSettings(segment_bytes=3000, retry_s=0.0)) as record:
        (folder / "record-00000002.ndjson").mkdir()
        for i in range(100):
            record.stepped(step(i))
            assert record.flush(30)
        (folder / "record-00000002.ndjson").rmdir()
        record.stepped(step(100))
        assert record.flush(30)
        record.stepped(step(101))
    assert ids(folder) == list(range(102))
    assert len(find_segments(folder)) == 2
    assert checked(folder, keys, whole=True).ok


# ---- starting again


def start_again(folder: Path, keys: RecordKeys) -> None:
    with RecordFiles(folder, keys) as record:
        record.stepped(step(900))


def test_a_restart_goes_on_with_the_chain(folder: Path, keys: RecordKeys) -> None:
    for _ in range(3):
        start_again(folder, keys)
    assert len(find_segments(folder)) == 1
    assert len(entries(folder, "start")) == 3
    assert checked(folder, keys, whole=True).ok


@pytest.mark.parametrize("cut", [1, 2, 70, 76, 77, 100])
def test_a_torn_tail_is_cut_off_and_said(folder: Path, keys: RecordKeys, cut: int) -> None:
    start_again(folder, keys)
    path = find_segments(folder)[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert [f.code for f in checked(folder, keys).findings] == ["torn_line"]
    start_again(folder, keys)
    result = checked(folder, keys, whole=True)
    assert {f.code for f in result.findings} == {"adopted", "set_back"}, result.findings  # a signature was cut
    repair, _ = entries(folder, "repair")
    assert repair["what"] == "torn_tail"
    assert repair["bytes"] == len(whole[:-cut]) - whole[:-cut].rfind(b"\n") - 1


@pytest.mark.parametrize("tail", [b"\x00" * 5000, b"x" * 700_000, b'{"seq":9,'])
def test_whatever_stands_behind_the_last_line_goes(folder: Path, keys: RecordKeys, tail: bytes) -> None:
    start_again(folder, keys)
    path = find_segments(folder)[0]
    path.write_bytes(path.read_bytes() + tail)
    start_again(folder, keys)
    assert checked(folder, keys, whole=True).ok
    assert entries(folder, "repair")[0]["bytes"] == len(tail)


@pytest.mark.parametrize("left", ["nothing", "half a header", "a header", "header and half a checkpoint"])
def test_a_file_that_holds_nothing_yet_is_made_anew(folder: Path, keys: RecordKeys, left: str) -> None:
    with RecordFiles(folder, keys, RecordSettings(segment_bytes=2000)) as record:
        for i in range(10):
            record.stepped(step(i))
            record.flush(30)
    paths = find_segments(folder)
    header, checkpoint = list(read_lines(paths[-1]))[:2]
    content = {
        "nothing": b"",
        "half a header": header[:40],
        "a header": header,
        "header and half a checkpoint": header + checkpoint[:9],
    }
    paths[-1].write_bytes(content[left])
    start_again(folder, keys)
    assert checked(folder, keys, whole=True).ok
    assert "empty_segment" in [e["what"] for e in entries(folder, "repair")]


def test_the_very_first_file_half_made(folder: Path, keys: RecordKeys) -> None:
    folder.mkdir(mode=0o700)
    (folder / "record-00000001.ndjson").write_bytes(b'{"seq":0,"ki')
    start_again(folder, keys)
    assert checked(folder, keys, whole=True).ok


def test_whole_lines_that_are_no_entries_are_left_as_evidence(folder: Path, keys: RecordKeys) -> None:
    start_again(folder, keys)
    path = find_segments(folder)[0]
    path.write_bytes(path.read_bytes() + b"who was here\n" * 3)
    start_again(folder, keys)
    assert path.read_bytes().endswith(b"who was here\n")
    assert len(find_segments(folder)) == 2
    result = checked(folder, keys)
    assert {f.code for f in result.findings} == {"malformed_line"}
    lines = [line for _, line in read_record(folder) if line is not None and line.kind == "repair"]
    assert lines[0].data()["lines"] == 3


def test_a_file_that_is_none_of_a_record_is_left_alone(folder: Path, keys: RecordKeys) -> None:
    folder.mkdir(mode=0o700)
    (folder / "record-00000001.ndjson").write_bytes(b"hello\n")
    with pytest.raises(PdpError, match="invalid_file"):
        RecordFiles(folder, keys)
    assert (folder / "record-00000001.ndjson").read_bytes() == b"hello\n"


CHILD = """
import os, resource, signal, sys
from pathlib import Path
from pdp.record import Kind, Step
from pdp.store.record_files import *
from pdp.store.record_keys import open_keys
base = Path(sys.argv[1])
def step(i): return Step(Kind.GRANT, "opened", 1 + i, f"g-{i}", details={"text": "x" * (i % 700)})
"""


def run_child(base: Path, script: str, *, wait: bool = True) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD + script, str(base)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    if wait:
        out, err = child.communicate(timeout=120)
        assert child.returncode == 0, err
        child.said = out  # type: ignore[attr-defined]
    return child


KILLED = """
record = RecordFiles(base / "log", open_keys(base / "keys"), RecordSettings(segment_bytes=60_000, checkpoint_entries=50))
i = 0
while True:
    for _ in range(200):
        record.stepped(step(i)); i += 1
    assert record.flush()
    print(i, flush=True)
"""


def test_kill_minus_9_in_mid_write_loses_nothing_that_was_flushed(tmp_path: Path, keys: RecordKeys) -> None:
    acknowledged = []
    for round_ in range(4):
        child = run_child(tmp_path, KILLED, wait=False)
        assert child.stdout is not None
        last = 0
        for _ in range(3 + 2 * round_):
            last = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        child.wait(60)
        rest = child.stdout.read().split()
        acknowledged.append(int(rest[-1]) if rest else last)
    folder = tmp_path / "log"
    with RecordFiles(folder, keys):
        pass
    result = checked(folder, keys, whole=True)
    assert {f.code for f in result.findings} <= {"adopted"}, result.findings[:5]  # what a kill left unsigned
    runs: list[list[int]] = []
    for number in ids(folder):
        if number == 0:
            runs.append([])
        assert number == len(runs[-1])
        runs[-1].append(number)
    assert [len(run) >= count for run, count in zip(runs, acknowledged, strict=True)] == [True] * 4


# ---- a disk that says no

FULL = """
import json
limit = 40_000
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
settings = RecordSettings(full=Full(FULL), queue_max=100, retry_s=0.001, segment_bytes=10**9)
record = RecordFiles(base / "log", open_keys(base / "keys"), settings)
said, failed = [], None
for i in range(3000):
    said.append(record.stepped(step(i)))
    if failed is None and i % 20 == 0 and not record.flush(0.05):
        failed = record.failing
    if record.failing and len(said) > 1500: break
dropped = record.lost
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
flushed = record.flush(60)
again = record.stepped(step(9000))
left = record.close()
print(json.dumps([len(said), said.count(False), failed, dropped, flushed, again, left]))
"""


@pytest.mark.parametrize("full", Full)
def test_a_full_disk_follows_the_policy_and_comes_back_without_a_hand(tmp_path: Path, keys: RecordKeys, full: Full) -> None:
    child = run_child(tmp_path, FULL.replace("FULL)", repr(full.value) + ")"))
    offered, refused, failed, dropped, flushed, again, left = json.loads(child.said)  # type: ignore[attr-defined]
    assert failed == os.strerror(errno.EFBIG)
    assert (flushed, again, left) == (True, True, 0)
    folder = tmp_path / "log"
    result = checked(folder, keys, whole=True)
    assert result.ok, result.findings[:5]
    written = ids(folder)
    assert written[-1] == 9000
    counted = sum(e["count"] for e in entries(folder, "drop"))
    if full is Full.DENY:
        assert refused > 0
        assert counted == 0
        assert len(written) - 1 == offered - refused
    else:
        assert refused == 0
        assert counted == dropped > 0
        assert len(written) - 1 == offered - counted


def test_a_disk_that_says_no_at_the_start_is_an_error(tmp_path: Path, keys: RecordKeys) -> None:
    script = """
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
try: RecordFiles(base / "log", open_keys(base / "keys"))
except Exception as error: print(type(error).__name__, error)
"""
    assert run_child(tmp_path, script).said.startswith("PdpError invalid_file:")  # type: ignore[attr-defined]


# ---- a queue that is full


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A disk that does not answer until the event is set."""
    gate = threading.Event()
    real = record_segments.SegmentWriter.write
    started = threading.Event()

    def write(self: record_segments.SegmentWriter) -> None:
        if started.is_set():
            assert gate.wait(60)
        real(self)

    monkeypatch.setattr(record_segments.SegmentWriter, "write", write)
    gate.start = started.set  # type: ignore[attr-defined]
    yield gate
    gate.set()


@pytest.mark.parametrize("full", Full)
def test_a_full_queue_follows_the_policy(folder: Path, keys: RecordKeys, stuck: Any, full: Full) -> None:
    record = RecordFiles(folder, keys, RecordSettings(full=full, queue_max=10))
    stuck.start()
    said = [record.stepped(step(i)) for i in range(2000)]
    lost = record.lost
    stuck.set()
    assert record.flush(30)
    assert record.stepped(step(5000))
    assert record.close() == 0
    written = ids(folder)
    assert checked(folder, keys, whole=True).ok
    assert written[-1] == 5000
    if full is Full.DENY:
        assert said.count(False) > 1900
        assert written[:-1] == [i for i, kept in enumerate(said) if kept]
        assert entries(folder, "drop") == []
    else:
        assert all(said)
        assert lost > 1900
        assert sum(e["count"] for e in entries(folder, "drop")) == lost == 2000 - len(written[:-1])


def test_a_closed_record_says_no_whatever_the_policy(folder: Path, keys: RecordKeys) -> None:
    record = RecordFiles(folder, keys)
    record.close()
    assert not record.stepped(step(1))
    request = REQUESTS[0]
    assert not record.decided(request, WORLD.decided(request).decision, NOW, 1)
    assert record.close() == 0


def test_an_entry_that_cannot_be_told_is_told_as_lost(folder: Path, keys: RecordKeys) -> None:
    class Rude(dict):  # type: ignore[type-arg]
        def items(self) -> Any:
            raise RuntimeError("canary")

    with RecordFiles(folder, keys) as record:
        record.stepped(Step(Kind.GRANT, "opened", NOW, "g-1", details=Rude(a=1)))
        record.stepped(step(2))
    assert entries(folder, "drop") == [{"at_us": entries(folder, "drop")[0]["at_us"], "count": 1, "error": "RuntimeError"}]
    assert ids(folder) == [2]
    assert checked(folder, keys).ok


# ---- only one writer


def test_a_second_writer_is_refused(folder: Path, keys: RecordKeys, tmp_path: Path) -> None:
    with RecordFiles(folder, keys):
        with pytest.raises(PdpError, match="record_locked"):
            RecordFiles(folder, keys)
        script = """
try: RecordFiles(base / "log", open_keys(base / "keys"))
except Exception as error: print(error.code)
"""
        assert run_child(tmp_path, script).said == "record_locked\n"  # type: ignore[attr-defined]
    start_again(folder, keys)
    assert checked(folder, keys, whole=True).ok


def test_a_forked_child_has_no_record_and_does_not_keep_the_lock(tmp_path: Path, keys: RecordKeys) -> None:
    script = """
record = RecordFiles(base / "log", open_keys(base / "keys"))
record.stepped(step(0)); record.flush()
reader, writer = os.pipe()
release_r, release_w = os.pipe()
child = os.fork()
if child == 0:
    os.write(writer, b"1" if record.stepped(step(1)) or record.flush(1) else b"0")
    os.close(release_w); os.read(release_r, 1)
    os._exit(0)
print(os.read(reader, 1))
record.stepped(step(2)); record.close()
RecordFiles(base / "log", open_keys(base / "keys")).close()   # the child lives, and the lock is free
os.write(release_w, b"x"); os.waitpid(child, 0)
"""
    assert run_child(tmp_path, script).said == "b'0'\n"  # type: ignore[attr-defined]
    assert ids(tmp_path / "log") == [0, 2]
    assert checked(tmp_path / "log", keys, whole=True).ok


# ---- keys


def test_a_new_key_begins_a_new_file_and_both_verify(folder: Path, keys: RecordKeys, tmp_path: Path) -> None:
    start_again(folder, keys)
    fresh = open_keys(tmp_path / "fresh")
    start_again(folder, fresh)
    assert len(find_segments(folder)) == 2
    lines = [(p.name, list(read_lines(p))) for p in find_segments(folder)]
    assert verify(lines, {k.id: k.public for k in (keys, fresh)}, whole=True).ok
    assert verify(lines).ok
    assert {f.code for f in checked(folder, keys).findings} == {"unknown_key"}


def test_keys_are_made_once_and_read_again(tmp_path: Path, keys: RecordKeys) -> None:
    again = open_keys(tmp_path / "keys")
    assert (again.id, again.masking) == (keys.id, keys.masking)
    assert read_public_key(tmp_path / "keys" / "signing.pub") == keys.public
    assert re.search("PRIVATE|" + keys.masking.hex(), repr(keys)) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda f: (f / "signing.pem").chmod(0o644),
        lambda f: (f / "masking.key").chmod(0o640),
        lambda f: f.chmod(0o777),
        lambda f: (f / "signing.pem").write_text("no key"),
        lambda f: (f / "masking.key").write_text("abcd"),
        lambda f: (f / "masking.key").write_text("not hex"),
    ],
)
def test_keys_that_others_could_have_are_refused(tmp_path: Path, keys: RecordKeys, spoil: Any) -> None:
    spoil(tmp_path / "keys")
    with pytest.raises(PdpError, match="invalid_file"):
        open_keys(tmp_path / "keys")


def test_a_folder_that_others_write_to_is_refused(folder: Path, keys: RecordKeys) -> None:
    folder.mkdir()
    folder.chmod(0o775)
    with pytest.raises(PdpError, match="others may write"):
        RecordFiles(folder, keys)


@pytest.mark.parametrize("settings", [{"queue_max": 0}, {"segment_bytes": 0}, {"checkpoint_entries": 0}, {"sync_s": 0.0}])
def test_settings_that_mean_nothing_are_refused(settings: Any) -> None:
    with pytest.raises(PdpError, match="invalid_argument"):
        RecordSettings(**settings)


def test_a_record_that_is_set_back_shows_against_a_known_head(folder: Path, keys: RecordKeys) -> None:
    start_again(folder, keys)
    path = find_segments(folder)[0]
    old = path.read_bytes()
    start_again(folder, keys)
    head: Head = checked(folder, keys).head
    path.write_bytes(old)
    assert checked(folder, keys).ok
    assert [f.code for f in checked(folder, keys, expected=head).findings] == ["cut_end"]


@pytest.mark.parametrize("full", list(Full))
def test_while_the_disk_refuses_nothing_is_taken_where_that_denies(tmp_path: Path, keys: RecordKeys, full: Full) -> None:
    """P13: a queue that has room is no record."""
    decided = WORLD.decided(REQUESTS[0])
    with RecordFiles(tmp_path / "log", keys, RecordSettings(full=full)) as record:
        assert record.decided(decided.request, decided.decision, NOW, 1)
        record.flush()
        record._writer.failing = "No space left on device"
        assert record.decided(decided.request, decided.decision, NOW, 1) == (full is Full.DROP)
        assert record.stepped(Step(Kind.INCIDENT, "freeze", NOW)) == (full is Full.DROP)
        record._writer.failing = None
