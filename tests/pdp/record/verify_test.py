"""Every way to tamper with a record, with the code that it is found by and the place."""

# ruff: noqa: E501  # tables are read a row a line
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp.record import Kind
from pdp.record.canonical import canonical
from pdp.record.checkpoint import key_id, make_checkpoint, public_bytes
from pdp.record.finding import FINDING_CODES
from pdp.record.line import GENESIS, START, Head, make_line, parse_line
from pdp.record.verify import verify
from tests.pdp.record.world import KEY, KEYS, NOW, OTHER_KEY, REQUESTS, World, notices, record_lines

# 0 header, 1 checkpoint, 2..5 entries, 6 checkpoint, 7..10 entries, 11 checkpoint, 12..13 entries
LINES = record_lines(notices(10))
Lines = list[bytes]


def found(lines: Lines, **more: object) -> list[tuple[str, str]]:
    result = verify([("f", lines)], KEYS, **more)  # type: ignore[arg-type]
    assert all(f.code in FINDING_CODES for f in result.findings)
    return [(f.code, f.where) for f in result.findings]


def head_of(line: bytes) -> Head:
    parsed = parse_line(line)
    assert parsed is not None
    return Head(parsed.seq, parsed.hash)


def rehash(lines: Lines, start: int) -> Lines:
    """From this line on a chain that hangs together, as a forger without the key would make it."""
    made, head = list(lines[:start]), head_of(lines[start - 1]) if start else START
    for raw in lines[start:]:
        parsed = parse_line(raw)
        assert parsed is not None
        line, head = make_line(head, Kind(parsed.kind), parsed.entry.decode())
        made.append(line)
    return made


def edit(line: bytes) -> bytes:
    return line.replace(b'"count":', b'"count":9')


def signed_by(by: object, lines: Lines, at: int, **change: object) -> Lines:
    """A checkpoint in place of another, made with this key, and everything after it hung on it."""
    told = make_checkpoint("r", head_of(lines[at - 1]), NOW, by)  # type: ignore[arg-type]
    line, _ = make_line(head_of(lines[at - 1]), Kind.CHECKPOINT, canonical({**told, **change}))
    return rehash([*lines[:at], line, *lines[at + 1 :]], at + 1)


def changed(index: int, change: Callable[[bytes], bytes]) -> Callable[[Lines], Lines]:
    return lambda lines: [*lines[:index], change(lines[index]), *lines[index + 1 :]]


def without(*indexes: int) -> Callable[[Lines], Lines]:
    return lambda lines: [line for i, line in enumerate(lines) if i not in indexes]


def swapped(a: int, b: int) -> Callable[[Lines], Lines]:
    def swap(lines: Lines) -> Lines:
        lines = list(lines)
        lines[a], lines[b] = lines[b], lines[a]
        return lines

    return swap


def put(index: int, line: bytes) -> Callable[[Lines], Lines]:
    return lambda lines: [*lines[:index], line, *lines[index:]]


FOREIGN = make_line(head_of(LINES[3]), Kind.DECISION, '{"at_us":1}')[0]
TAMPERINGS = [
    ("an edit", changed(4, edit), [("edited", "f:5")]),
    ("an edit of the last", changed(13, edit), [("edited", "f:14")]),
    ("an edit with its own hash made anew", lambda ls: [*ls[:4], make_line(head_of(ls[3]), Kind.DROP, '{"at_us":1}')[0], *ls[5:]],
     [("edited", "f:6")]),
    ("a kind changed", changed(4, lambda r: r.replace(b'"drop"', b'"stop"')), [("edited", "f:5")]),
    ("a hash changed", changed(4, lambda r: r[:-6] + b"00" + r[-4:]), [("edited", "f:5"), ("edited", "f:6")]),
    ("one cut out", without(4), [("cut", "f:5")]),
    ("three cut out", without(3, 4, 5), [("cut", "f:4")]),
    ("cut twice", without(3, 8), [("cut", "f:4"), ("cut", "f:8")]),
    ("a checkpoint cut out", without(6), [("cut", "f:7")]),
    ("every later checkpoint cut out, chain made anew", lambda ls: rehash(renumbered(without(6, 11)(ls)), 2), []),
    ("neighbours swapped", swapped(3, 4), [("reordered", "f:5")]),
    ("moved to the end", lambda ls: [*without(4)(ls), ls[4]], [("reordered", "f:14")]),
    ("doubled", put(5, LINES[4]), [("duplicated", "f:6")]),
    ("an old one again", put(10, LINES[3]), [("duplicated", "f:11")]),
    ("one put in", put(5, FOREIGN), [("inserted", "f:6")]),
    ("one put in before the real one", put(4, FOREIGN), [("inserted", "f:6")]),
    ("garbage put in", put(4, b"hello\n"), [("malformed_line", "f:5")]),
    ("an empty line", put(4, b"\n"), [("malformed_line", "f:5")]),
    ("garbage in place of one", changed(4, lambda _: b"\x00\xff\n"), [("malformed_line", "f:5")]),
    ("a torn end", changed(13, lambda r: r[:50]), [("torn_line", "f:14")]),
    ("only the line end gone", changed(13, lambda r: r[:-1]), [("torn_line", "f:14")]),
    ("no header", without(0), [("bad_segment", "f:1"), ("cut", "f:1")]),
    ("a header in the middle", lambda ls: rehash([*ls[:12], ls[0], *ls[12:]], 12), [("bad_segment", "f:13")]),
    ("no checkpoint after the header", lambda ls: rehash(renumbered(without(1)(ls)), 1), None),
    ("a checkpoint of another key", lambda ls: signed_by(OTHER_KEY, ls, 11), [("unknown_key", "f:12")]),
    ("a checkpoint that only names the key", lambda ls: signed_by(OTHER_KEY, ls, 11, key=key_id(public_bytes(KEY))),
     [("forged_checkpoint", "f:12")]),
    ("a signature that is none", lambda ls: signed_by(KEY, ls, 11, signature="zz"), [("forged_checkpoint", "f:12")]),
    ("no signature", lambda ls: signed_by(KEY, ls, 11, signature=None), [("forged_checkpoint", "f:12")]),
    ("a later time in a checkpoint", lambda ls: signed_by(KEY, ls, 11, at_us=NOW + 1), [("forged_checkpoint", "f:12")]),
    ("a signed entry changed, chain made anew", lambda ls: rehash(changed(8, edit)(ls), 8), [("wrong_checkpoint", "f:12")]),
    ("a checkpoint from elsewhere", lambda ls: rehash([*ls[:11], renumber(ls[6], 11), *ls[12:]], 11), [("wrong_checkpoint", "f:12")]),
]  # fmt: skip


def renumber(line: bytes, seq: int) -> bytes:
    parsed = parse_line(line)
    assert parsed is not None
    return line.replace(b'"seq":%d,' % parsed.seq, b'"seq":%d,' % seq, 1)


def renumbered(lines: Lines) -> Lines:
    return [renumber(line, i) for i, line in enumerate(lines)]


@pytest.mark.parametrize(("what", "tamper", "expected"), TAMPERINGS, ids=[t[0] for t in TAMPERINGS])
def test_tampering_is_found_by_its_code_at_its_place(
    what: str, tamper: Callable[[Lines], Lines], expected: list[object]
) -> None:
    result = found(tamper(LINES))
    if expected is None or not expected:  # what takes checkpoints away shows in their absence
        assert "checkpoint_missing" in {c for c, _ in result}, result
    else:
        assert result == expected


def test_an_untouched_record_is_whole() -> None:
    result = verify([("f", LINES)], KEYS)
    assert result.ok
    assert (result.entries, result.checkpoints, result.uncovered) == (14, 3, 2)
    assert result.head == head_of(LINES[-1])
    assert result.keys == tuple(KEYS)


def test_the_end_cut_off_shows_only_against_a_known_head() -> None:
    head = head_of(LINES[-1])
    shorter = verify([("f", LINES[:-2])], KEYS)
    assert shorter.ok
    assert shorter.uncovered == 0
    assert found(LINES[:-2], expected=head) == [("cut_end", "f:12")]
    assert found(LINES, expected=head) == []
    assert found(LINES, expected=head_of(LINES[7])) == []
    assert found(LINES, expected=Head(7, GENESIS)) == [("cut_end", "f:14")]


def test_a_change_after_the_last_checkpoint_that_keeps_the_chain_is_said_to_be_possible() -> None:
    forged = rehash(changed(12, edit)(LINES), 12)
    result = verify([("f", forged)], KEYS)
    assert result.ok
    assert result.uncovered == 2  # and that is what it says of both


def test_without_a_key_damage_shows_and_a_forger_does_not() -> None:
    assert verify([("f", LINES)], None).ok
    assert not verify([("f", changed(4, edit)(LINES))], None).ok
    stranger = {key_id(public_bytes(OTHER_KEY)): public_bytes(OTHER_KEY)}
    assert {f.code for f in verify([("f", LINES)], stranger).findings} == {"unknown_key", "checkpoint_missing"}


def files() -> list[tuple[str, Lines]]:
    first = record_lines(notices(4))
    second = record_lines(notices(4, 4), number=2, head=head_of(first[-1]))
    third = record_lines(notices(4, 8), number=3, head=head_of(second[-1]))
    return [("f1", first), ("f2", second), ("f3", third)]


@pytest.mark.parametrize(
    ("what", "tamper", "expected"),
    [
        ("nothing", lambda fs: fs, []),
        ("the middle file gone", lambda fs: [fs[0], fs[2]], [("missing_segment", "f3:1")]),
        ("the end of a file gone", lambda fs: [("f1", fs[0][1][:-2]), *fs[1:]], [("cut", "f1:5")]),
        ("a file twice", lambda fs: [fs[0], fs[0], *fs[1:]], None),
        ("files swapped", lambda fs: [fs[0], fs[2], fs[1]], None),
        ("a file of another record", lambda fs: [fs[0], ("f2", record_lines(notices(4), number=2, head=Head(6, "ab" * 32)))], None),
        ("a header changed", lambda fs: [fs[0], ("f2", changed(0, lambda r: r.replace(b'"number":2', b'"number":"2"'))(fs[1][1])), fs[2]],
         None),
    ],
)  # fmt: skip
def test_files_belong_together(what: str, tamper: Callable[[object], object], expected: list[object] | None) -> None:
    result = [(f.code, f.where) for f in verify(tamper(files()), KEYS).findings]  # type: ignore[arg-type]
    assert result == expected if expected is not None else result


def test_old_files_may_be_kept_elsewhere_and_that_is_said() -> None:
    result = verify(files()[1:], KEYS)
    assert result.ok
    assert result.begins == 2
    assert [f.code for f in verify(files()[1:], KEYS, whole=True).findings] == ["missing_start"]


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_change_of_covered_bytes_is_found(data: st.DataObject) -> None:
    text = b"".join(LINES[:12])  # up to a checkpoint
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start, min(len(text), start + 400)))
    new = data.draw(st.binary(max_size=40))
    forged = text[:start] + new + text[end:]
    lines = forged.split(b"\n")
    rest = lines.pop()
    whole = [line + b"\n" for line in lines] + ([rest] if rest else [])
    result = verify([("f", whole)], KEYS, expected=head_of(LINES[11]))
    assert result.ok == (forged == text)


def test_findings_are_bounded() -> None:
    result = verify([("f", [*LINES, *[b"x\n"] * 5000])], KEYS)
    assert len(result.findings) == 1000
    assert result.more > 3900


def test_decisions_hang_together_as_anything_else() -> None:
    world = World()
    lines = record_lines([world.decided(q) for q in REQUESTS])
    assert verify([("f", lines)], KEYS).ok
    assert all(json.loads(line)["seq"] == i for i, line in enumerate(lines))


def test_every_code_is_in_the_manual() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "record.md").read_text("utf-8")
    assert [code for code in (*FINDING_CODES, *Kind) if f"`{code}`" not in page] == []
