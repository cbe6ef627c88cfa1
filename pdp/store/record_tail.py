"""What stands at the end of a record when its writer starts, judged before anything new is signed.

A signature covers all that is before it. So a writer that signs on would vouch for lines that it never wrote, if somebody
put them there while it was away. It says first which entries it found unsigned, and whether the last signed one is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdp.record.finding import TOLD_BY_THE_WRITER
from pdp.record.line import parse_line
from pdp.record.verify import verify
from pdp.store.record_heads import Signed
from pdp.store.record_keys import RecordKeys
from pdp.store.record_reader import find_segments, read_lines
from pdp.store.record_segments import Found


@dataclass(frozen=True, slots=True)
class Tail:
    adopted: Mapping[str, Any] | None  # the entries that nobody has signed; None where there are none
    repairs: tuple[Mapping[str, Any], ...]
    sound: bool  # whether the last file can be written on


def judge_tail(folder: Path, found: Found, keys: RecordKeys, signed: Signed | None) -> Tail:
    """Verifies the last file, and what is before it down to the last signed entry that is known."""
    if not found.number:
        gone = () if signed is None else (_gone("record_gone", signed),)
        return Tail(None, gone, sound=False)
    same = signed is not None and signed.record == found.record
    expected = signed.head if signed is not None and same else None
    own = found.key == keys.id
    paths = _back_to(find_segments(folder), -1 if expected is None else expected.seq)
    result = verify(
        ((path.name, read_lines(path)) for path in paths), {keys.id: keys.public} if own else None, expected=expected
    )
    codes = {finding.code for finding in result.findings} - TOLD_BY_THE_WRITER
    repairs = []
    if signed is not None and not same:
        repairs.append(_gone("other_record", signed))
    elif signed is not None and "cut_end" in codes:
        repairs.append(_gone("signed_end_gone", signed))
    if wrong := sorted(codes - {"cut_end"}):
        repairs.append({"what": "unsound_end", "codes": wrong})
    adopted = None
    if result.uncovered:
        first, last = found.head.seq - result.uncovered + 1, found.head.seq
        adopted = {"from": first, "to": last, "head": found.head.hash}
    return Tail(adopted, tuple(repairs), sound=found.sound and own and not codes)


def _gone(what: str, signed: Signed) -> Mapping[str, Any]:
    return {"what": what, "of": signed.record, "seq": signed.head.seq, "chain": signed.head.hash}


def _back_to(paths: list[Path], seq: int) -> list[Path]:
    """The last file, and the ones before it until one can hold this entry."""
    if seq < 0:
        return paths[-1:]
    for count in range(1, len(paths)):
        line = parse_line(next(read_lines(paths[-count]), b""))
        if line is not None and line.seq <= seq:
            return paths[-count:]
    return paths
