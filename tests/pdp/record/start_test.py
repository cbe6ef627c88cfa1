"""Finding F1: what a start of the writer finds at the end of a record that somebody else could write to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pdp.errors import PdpError
from pdp.record import Kind
from pdp.record.line import Head, make_line, parse_line
from pdp.record.verify import verify
from pdp.store.record_files import RecordFiles, RecordSettings, Sync
from pdp.store.record_keys import RecordKeys, open_keys
from pdp.store.record_reader import find_segments, read_lines
from tests.pdp.record.files_test import checked, entries, folder, ids, keys, start_again, step
from tests.pdp.record.world import NOW, OTHER_KEY

__all__ = ["folder", "keys"]  # fixtures


def written(folder: Path, keys: RecordKeys, count: int = 5, **settings: Any) -> None:
    with RecordFiles(folder, keys, RecordSettings(**settings)) as record:
        for number in range(count):
            record.stepped(step(number))
            record.flush(30)


def forge(folder: Path, keep: int, count: int = 3) -> Head:
    """What a program does that can write the folder and has no key: a chain of its own behind the first lines."""
    path = find_segments(folder)[-1]
    lines = list(read_lines(path))[:keep]
    last = parse_line(lines[-1])
    assert last is not None
    head = Head(last.seq, last.hash)
    for number in range(count):
        told = json.dumps({"at_us": NOW, "id": f"g-{900 + number}", "what": "forged"}, separators=(",", ":"))
        line, head = make_line(head, Kind.GRANT, told)
        lines.append(line)
    path.write_bytes(b"".join(lines))
    return head


def codes(folder: Path, keys: RecordKeys, **more: Any) -> list[str]:
    return [finding.code for finding in checked(folder, keys, **more).findings]


def without_head(folder: Path, keys: RecordKeys) -> None:
    assert keys.folder is not None
    (path,) = keys.folder.glob("head-*")
    path.unlink()


# ---- the attack


def test_f1_forged_lines_are_not_signed_as_if_they_were_covered(folder: Path, keys: RecordKeys) -> None:
    """Finding F1: cut back to the first checkpoint, forged lines behind it, a restart."""
    written(folder, keys)
    head = forge(folder, keep=2)
    assert codes(folder, keys) == []  # nothing in the record can show it yet
    start_again(folder, keys)
    result = checked(folder, keys, whole=True)
    assert [f.code for f in result.findings] == ["adopted", "set_back"]
    assert "3 entries before it signed only by a later start" in result.findings[0].message
    assert len(find_segments(folder)) == 2
    (adopted,) = entries(folder, "adopted")
    assert (adopted["from"], adopted["to"], adopted["head"]) == (2, 4, head.hash)
    assert [r["what"] for r in entries(folder, "repair")] == ["signed_end_gone"]
    start_again(folder, keys)  # and it does not go away
    assert codes(folder, keys, whole=True) == ["adopted", "set_back"]
    assert len(entries(folder, "repair")) == 1


def test_f1_without_the_kept_head_they_are_named_all_the_same(folder: Path, keys: RecordKeys) -> None:
    """Finding F1: also where the file beside the keys is gone."""
    written(folder, keys)
    forge(folder, keep=2)
    without_head(folder, keys)
    start_again(folder, keys)
    assert codes(folder, keys, whole=True) == ["adopted"]
    assert len(find_segments(folder)) == 1


def test_f1_behind_the_last_signed_entry_they_are_named(folder: Path, keys: RecordKeys) -> None:
    """Finding F1: nothing is cut off, so the kept head is there."""
    written(folder, keys)
    lines = len(list(read_lines(find_segments(folder)[0])))
    forge(folder, keep=lines)
    start_again(folder, keys)
    assert codes(folder, keys, whole=True) == ["adopted"]


def test_f1_while_the_writer_runs_they_do_not_hang_together(folder: Path, keys: RecordKeys) -> None:
    """Finding F1: without a restart at once. The writer goes on from what it knows, and the next one looks."""
    with RecordFiles(folder, keys) as record:
        record.stepped(step(1))
        record.flush(30)
        forge(folder, keep=2)
        record.stepped(step(2))
        record.flush(30)
    found = set(codes(folder, keys))
    assert found & {"inserted", "edited", "cut", "reordered", "wrong_checkpoint"}
    start_again(folder, keys)
    assert len(find_segments(folder)) == 2  # what does not hang together is not written on
    assert "unsound_end" in [r["what"] for r in entries(folder, "repair")]
    assert found <= set(codes(folder, keys))


def test_f1_more_lines_than_a_writer_would_leave_are_not_written_on(folder: Path, keys: RecordKeys) -> None:
    written(folder, keys, checkpoint_entries=3)
    without_head(folder, keys)
    forge(folder, keep=2, count=20)
    start_again(folder, keys)
    assert {"checkpoint_missing", "adopted"} <= set(codes(folder, keys))
    assert entries(folder, "repair")[0] == {
        "at_us": entries(folder, "repair")[0]["at_us"], "what": "unsound_end", "codes": ["checkpoint_missing"],
    }  # fmt: skip


def test_f1_a_forged_word_about_adoption_covers_nothing(folder: Path, keys: RecordKeys) -> None:
    written(folder, keys)
    path = find_segments(folder)[0]
    lines = list(read_lines(path))[:2]
    last = parse_line(lines[-1])
    assert last is not None
    head = Head(last.seq, last.hash)
    for kind, told in ((Kind.GRANT, '{"at_us":1,"id":"g-900"}'), (Kind.ADOPTED, '{"at_us":1,"from":9,"to":9}')):
        line, head = make_line(head, kind, told)
        lines.append(line)
    path.write_bytes(b"".join(lines))
    without_head(folder, keys)
    start_again(folder, keys)
    result = checked(folder, keys)
    assert [f.code for f in result.findings] == ["adopted"]
    assert result.findings[0].message.startswith("2 entries")


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda folder, old: [p.unlink() for p in find_segments(folder)], "record_gone"),
        (lambda folder, old: (shutil.rmtree(folder), shutil.copytree(old, folder)), "other_record"),
    ],
)
def test_f1_a_record_that_is_gone_or_another_is_said(
    folder: Path, keys: RecordKeys, tmp_path: Path, spoil: Callable[[Path, Path], object], what: str
) -> None:
    written(tmp_path / "other", keys)
    written(folder, keys)
    spoil(folder, tmp_path / "other")
    start_again(folder, keys)
    assert [r["what"] for r in entries(folder, "repair")] == [what]
    assert codes(folder, keys) == ["set_back"]


def test_f1_an_older_copy_is_said(folder: Path, keys: RecordKeys) -> None:
    written(folder, keys)
    path = find_segments(folder)[0]
    old = path.read_bytes()
    start_again(folder, keys)
    path.write_bytes(old)
    start_again(folder, keys)
    assert codes(folder, keys) == ["set_back"]
    assert entries(folder, "repair")[0]["what"] == "signed_end_gone"


def test_f1_an_older_copy_of_several_files_is_said(folder: Path, keys: RecordKeys) -> None:
    written(folder, keys, count=40, segment_bytes=3000)
    assert len(find_segments(folder)) > 3
    find_segments(folder)[-1].unlink()
    start_again(folder, keys)
    assert codes(folder, keys) == ["set_back"]


def test_f1_a_link_in_the_place_of_the_record_hides_nothing(tmp_path: Path, keys: RecordKeys) -> None:
    """Review 7: moved, cut back, and a link put there: the path that leads to it by links had no head."""
    folder = tmp_path / "record" / "worker-0"
    written(folder, keys)
    away = tmp_path / "record" / "x" / "worker-0"
    away.parent.mkdir()
    folder.rename(away)
    forge(away, keep=2)
    folder.symlink_to("x/worker-0")
    with pytest.raises(PdpError, match="is a link") as refused:
        RecordFiles(folder, keys)
    assert refused.value.code == "invalid_file"
    folder.unlink()
    away.rename(folder)
    start_again(folder, keys)
    assert codes(folder, keys) == ["adopted", "set_back"]


def test_f1_links_above_the_record_do_not_matter(tmp_path: Path, keys: RecordKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Review 7: the path counts as it was configured, from the root on. Where the links lead can be changed."""
    folder = tmp_path / "link" / "worker-0"
    for number in range(2):
        (tmp_path / f"disk-{number}").mkdir()
    (tmp_path / "link").symlink_to("disk-0")
    written(folder, keys)
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("disk-1")
    monkeypatch.chdir(tmp_path)
    start_again(Path("link/../link/worker-0"), keys)
    assert [r["what"] for r in entries(folder, "repair")] == ["record_gone"]


# ---- what is no attack


@pytest.mark.parametrize("sync", Sync)
def test_an_orderly_end_leaves_nothing_to_say(folder: Path, keys: RecordKeys, sync: Sync) -> None:
    for _ in range(3):
        written(folder, keys, sync=sync, sync_s=0.001, checkpoint_s=0.001, segment_bytes=4000)
    assert codes(folder, keys, whole=True) == []
    assert entries(folder, "repair") == entries(folder, "adopted") == []


def test_a_head_that_is_older_than_the_record_is_no_news(folder: Path, keys: RecordKeys) -> None:
    """After a crash between a signature and the file beside the keys, also over the end of a file."""
    assert keys.folder is not None
    written(folder, keys, count=1)
    (path,) = keys.folder.glob("head-*")
    old = path.read_bytes()
    written(folder, keys, count=40, segment_bytes=3000)
    path.write_bytes(old)
    start_again(folder, keys)
    assert codes(folder, keys, whole=True) == []


def test_what_was_looked_into_is_no_finding_any_more(folder: Path, keys: RecordKeys) -> None:
    written(folder, keys)
    forge(folder, keep=2)
    start_again(folder, keys)
    findings = checked(folder, keys).findings
    looked_into = [Head(f.seq or 0, f.hash) for f in findings]
    assert codes(folder, keys, accepted=looked_into) == []
    assert codes(folder, keys, accepted=[Head(h.seq, "0" * 64) for h in looked_into]) == ["adopted", "set_back"]


@pytest.mark.parametrize("content", [b"", b"{}", b"\x00" * 40, b'{"record":1,"seq":"x"}'])
def test_a_head_beside_the_keys_that_is_none_is_an_error(folder: Path, keys: RecordKeys, content: bytes) -> None:
    assert keys.folder is not None
    written(folder, keys)
    (path,) = keys.folder.glob("head-*")
    path.write_bytes(content)
    with pytest.raises(Exception, match="invalid_file"):
        RecordFiles(folder, keys)


def test_keys_on_a_disk_that_cannot_be_written_keep_no_head(folder: Path, tmp_path: Path) -> None:
    keys = RecordKeys(OTHER_KEY, bytes(32), tmp_path / "nowhere")
    for _ in range(2):
        with RecordFiles(folder, keys) as record:
            assert record.head_failing is not None
    assert codes(folder, keys, whole=True) == []


def test_while_the_head_is_not_kept_it_is_said(folder: Path, tmp_path: Path) -> None:
    """Review 7: keys that could not be written switched the protection off, and nobody heard of it."""
    place = tmp_path / "keys"
    with RecordFiles(folder, open_keys(place), RecordSettings(checkpoint_entries=1)) as record:
        assert record.head_failing is None
        place.rename(tmp_path / "away")
        record.stepped(step(1))
        assert record.flush(30)
        assert "cannot be written" in str(record.head_failing)
        (tmp_path / "away").rename(place)
        record.stepped(step(2))
        assert record.flush(30)
        assert record.head_failing is None


def test_records_share_the_folder_of_their_keys(tmp_path: Path) -> None:
    keys = open_keys(tmp_path / "keys")
    for _ in range(2):
        for place in ("a/worker-0", "a/worker-1", "b/worker-0"):
            written(tmp_path / place, keys)
    assert all(codes(tmp_path / place, keys) == [] for place in ("a/worker-0", "a/worker-1", "b/worker-0"))
    assert len(list((tmp_path / "keys").glob("head-*"))) == 3


# ---- the unsigned end


def followed(lines: list[bytes], *entries_: str) -> list[bytes]:
    """With these entries behind them, chained and unsigned."""
    lines, last = list(lines), parse_line(lines[-1])
    assert last is not None
    head = Head(last.seq, last.hash)
    for told in entries_:
        line, head = make_line(head, Kind.GRANT, told)
        lines.append(line)
    return lines


def found_in(lines: list[bytes], keys: RecordKeys, **more: Any) -> list[str]:
    return [f.code for f in verify([("f", lines)], {keys.id: keys.public}, **more).findings]


@pytest.fixture
def running(folder: Path, keys: RecordKeys) -> list[bytes]:
    """As a writer leaves it whose last signature is of `NOW`, and who has not stopped."""
    with RecordFiles(folder, keys, now_us=lambda: NOW) as record:
        record.stepped(step(1))
        record.flush(30)
        lines = list(read_lines(find_segments(folder)[0]))
    signed = max(i for i, line in enumerate(lines) if b'"kind":"checkpoint"' in line)
    return lines[: signed + 1]


SECOND = 1_000_000


def test_f6_an_end_that_is_unsigned_for_long_is_a_finding(running: list[bytes], keys: RecordKeys) -> None:
    """Finding F6: a running writer signs each second, so an entry of much later stands there by another hand, or a hang."""
    for late_s, found in ((9, []), (11, ["unsigned_end"])):
        lines = followed(running, f'{{"at_us":{NOW + late_s * SECOND}}}')
        assert found_in(lines, keys) == found
    assert found_in(running, keys, uncovered_max=0, now_us=NOW * 2) == []
    more = verify([("f", lines)], {keys.id: keys.public}, uncovered_max=0)
    assert [f.code for f in more.findings] == ["unsigned_end"]
    assert "1 entry at the end" in more.findings[0].message


@pytest.mark.parametrize("told", [f'{{"at_us":{NOW + 1}}}', '{"at_us":0}'])
def test_f6_an_end_is_as_old_as_its_signature(running: list[bytes], keys: RecordKeys, told: str) -> None:
    """Review 8: forged entries said that they were of the moment of the signature, and that was years ago."""
    lines = followed(running, *[told] * 1000)
    assert found_in(lines, keys, now_us=NOW + 9 * SECOND) == []  # a record that is being written
    late = verify([("f", lines)], {keys.id: keys.public}, now_us=NOW + 11 * SECOND)
    assert [f.code for f in late.findings] == ["unsigned_end"]
    known = Head(late.findings[0].seq or 0, late.findings[0].hash)
    assert known == late.head
    assert found_in(lines, keys, now_us=NOW * 2, accepted=[known]) == []
    assert found_in(followed(lines, told), keys, now_us=NOW * 2, accepted=[known]) == ["unsigned_end"]


@pytest.mark.parametrize("told", ["{}", '{"at_us":"1"}', '{"at_us":1.5}', '{"at_us":true}', '{"at_us":null}'])
def test_f6_an_unsigned_entry_says_when_it_was_written(running: list[bytes], keys: RecordKeys, told: str) -> None:
    """Review 8: one without a time was never too old."""
    assert found_in(followed(running, told), keys) == ["unsigned_end"]


def test_f6_behind_a_signed_stop_stands_nothing(folder: Path, keys: RecordKeys) -> None:
    """Review 8: whatever it says of itself, and at once."""
    written(folder, keys)
    (path,) = find_segments(folder)
    lines = list(read_lines(path))
    assert found_in(lines, keys, now_us=NOW * 2) == []  # an archive
    assert found_in(followed(lines, f'{{"at_us":{NOW}}}'), keys) == ["unsigned_end"]
    start_again(folder, keys)
    assert codes(folder, keys, now_us=NOW * 2) == []
    path.write_bytes(b"".join(followed(list(read_lines(path)), f'{{"at_us":{NOW}}}')))
    start_again(folder, keys)
    assert codes(folder, keys) == ["adopted"]  # it is signed from here on, and said


def test_f6_a_writer_that_signs_rarely_says_so_in_its_header(folder: Path, keys: RecordKeys) -> None:
    with RecordFiles(folder, keys, RecordSettings(checkpoint_s=60.0), now_us=lambda: NOW) as record:
        record.stepped(step(500_000_000))
        assert record.flush(30)
        assert ids(folder) == [500_000_000]
        assert codes(folder, keys) == []
