"""Lines of a record -> is it whole, and is it what was written.

One pass, no look-ahead, bounded memory. The regular line costs one SHA-256 and no JSON; everything else goes through the
irregular path, which names what happened and finds its place again, so that one wrong line is one finding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256
from typing import Any

from pdp.record.checkpoint import is_signed, key_id
from pdp.record.entry import Kind
from pdp.record.finding import Finding, Verification
from pdp.record.line import GENESIS, START, TAIL_BYTES, Head, Line, parse_line

FINDINGS_MAX = 1000
_REMEMBERED = 65_536  # hashes of the latest entries, to tell a duplicate from an insertion
_SLACK = 4  # a header, or what a restart says, may come on top

_HASH = b',"hash":"'
#: Kinds of lines whose entries are read.
_READ = (b'checkpoint"', b'segment"', b'adopted"', b'repair"', b'stop"')
_SPECIAL = frozenset({Kind.CHECKPOINT, Kind.SEGMENT, Kind.ADOPTED, Kind.REPAIR, Kind.STOP})
#: Repairs that say: what was signed last is gone.
_SET_BACK = {
    "signed_end_gone": "it was cut off, or the record was set back to an older copy",
    "record_gone": "the whole record was gone",
    "other_record": "another record was in its place",
}
#: How long entries may stand without a signature: so often the interval of the writer, and no less than this.
_LATE_TIMES, _LATE_US_MIN = 10, 10_000_000


def verify(
    segments: Iterable[tuple[str, Iterable[bytes]]],
    keys: Mapping[str, bytes] | None = None,
    *,
    expected: Head | None = None,
    whole: bool = False,
    accepted: Collection[Head] = (),
    uncovered_max: int | None = None,
    now_us: int | None = None,
) -> Verification:
    """The files of a record, in order, each with its name and its lines (line ends included).

    `keys`: public keys by id. None takes those that the record itself names, which shows damage, but not a forger.
    `expected`: an entry that is known to have been there. `whole`: the first file must be there, too. `accepted`: entries
    of the writer's own about its starts, or last ones without a signature, that somebody has looked into; they are no
    findings. `uncovered_max`: so many entries may stand at the end without a signature. `now_us`: since when the end may
    be waiting for its signature; without it the entries themselves say, and whoever forged them can say anything.
    """
    verifier = _Verifier(keys, expected, frozenset(accepted), uncovered_max, now_us)
    for name, lines in segments:
        verifier.walk(name, lines)
    return verifier.finish(whole)


class _Verifier:
    def __init__(
        self,
        keys: Mapping[str, bytes] | None,
        expected: Head | None,
        accepted: frozenset[Head],
        uncovered_max: int | None,
        now_us: int | None,
    ) -> None:
        self._accepted, self._uncovered_max, self._now_us = accepted, uncovered_max, now_us
        self._pinned, self._keys = keys is not None, dict(keys or {})
        self._expected, self._met = expected, expected is None or expected == START
        self._findings: list[Finding] = []
        self._more = 0
        self._entries = self._checkpoints = 0
        self._seq, self._prev = 0, GENESIS.encode()  # what the next line is to be
        self._branches: list[bytes] = []  # hashes that it may hang on as well, after a line that did not belong
        self._recent: deque[bytes | None] = deque(maxlen=_REMEMBERED)
        self._gaps: list[tuple[int, int, str]] = []
        self._unread = 0  # malformed lines, each of which may stand for one entry
        self._record: str | None = None
        self._name: str | None = None
        self._number, self._begins = 0, 0
        self._covered = -1  # the number of the last valid checkpoint
        self._stop = -1  # the number of the last entry `stop`
        self._limit: int | None = None  # entries that may stand without one
        self._late_us = _LATE_US_MIN  # for so long may entries stand without one
        self._signed_us: int | None = None
        self._adopted: tuple[Line, int] | None = None  # says so of so many entries before it, and waits for its checkpoint
        self._end = b""  # the last line
        self._fresh = False  # the line before was a header, and the next is its checkpoint
        self._disturbed = False  # something was found since; a checkpoint that is missing, too, would be no news
        self._used: dict[str, None] = {}
        self._where, self._last = "", ""

    def walk(self, name: str, lines: Iterable[bytes]) -> None:
        seq, prev, number = self._seq, self._prev, 0
        prefix = b'{"seq":%d,"kind":"' % seq
        remember = self._recent.append
        wanted = self._expected.seq if self._expected else -1
        raw = b""
        for raw in lines:
            number += 1
            if number == 1:
                self._seq, self._prev = seq, prev
                self._where = f"{name}:1"
                self._open(raw)
                seq, prev = self._seq, self._prev
                prefix = b'{"seq":%d,"kind":"' % seq
            cut = len(raw) - TAIL_BYTES
            stored = raw[cut + 9 : -3]
            if (
                raw.startswith(prefix)
                and raw[cut : cut + 9] == _HASH
                and raw.endswith(b'"}\n')
                and sha256(prev + raw[:cut]).hexdigest().encode() == stored
            ):
                at = len(prefix)
                if self._fresh or raw.startswith(_READ, at):
                    self._seq, self._prev, self._where = seq, prev, f"{name}:{number}"
                    self._special(raw, first=number == 1, hangs=True)
                prev = stored
                remember(stored)
                if seq == wanted:
                    self._meet(stored)
                seq += 1
                prefix = b'{"seq":%d,"kind":"' % seq
                continue
            self._seq, self._prev, self._where = seq, prev, f"{name}:{number}"
            self._irregular(raw, first=number == 1)
            seq, prev = self._seq, self._prev
            prefix = b'{"seq":%d,"kind":"' % seq
        self._entries += number
        self._end = raw or self._end
        self._seq, self._prev = seq, prev
        self._last = f"{name}:{number}"

    def finish(self, whole: bool) -> Verification:
        for start, end, where in self._gaps:
            self._find("cut", f"{_span(start, end)} missing", start, where)
        if whole and self._begins != 1:
            self._find("missing_start", f"begins with file {self._begins}, not with the first", None, self._last)
        if not self._met and self._expected is not None:
            self._find("cut_end", f"entry {self._expected.seq} is not there with this hash", self._expected.seq, self._last)
        uncovered = max(0, self._seq - 1 - self._covered)
        self._check_limit(uncovered)
        self._check_end(uncovered)
        order = sorted(self._findings, key=lambda f: (f.where.rpartition(":")[0], int(f.where.rpartition(":")[2] or 0)))
        return Verification(
            tuple(order), self._more, self._entries, self._checkpoints, uncovered, self._begins,
            Head(self._seq - 1, self._prev.decode()), self._record, self._name, self._signed_us, tuple(self._used),
        )  # fmt: skip

    def _find(self, code: str, message: str, seq: int | None = None, where: str | None = None, digest: str = "") -> None:
        if len(self._findings) >= FINDINGS_MAX:
            self._more += 1
        else:
            self._findings.append(Finding(code, where or self._where, seq, message, digest))

    def _said(self, code: str, line: Line, message: str) -> None:
        """What the writer itself says in a line."""
        if Head(line.seq, line.hash) not in self._accepted:
            self._find(code, message, line.seq, None, line.hash)

    def _meet(self, stored: bytes) -> None:
        self._met = self._expected is not None and stored == self._expected.hash.encode()

    # ---- files

    def _open(self, raw: bytes) -> None:
        """The first line of a file says where the file belongs; what does not lead up to it is told by how it differs."""
        line = parse_line(raw)
        header = _data(line) if line is not None and line.kind == Kind.SEGMENT else None
        if line is None or header is None:
            self._find("bad_segment", "the file does not begin with a header", None if line is None else line.seq)
            return
        number, previous = header.get("number"), _previous(header, line.seq)
        if type(number) is not int or previous is None:
            self._find("bad_segment", "the header does not say what it follows", line.seq)
            return
        if not self._begins:
            self._begins, self._record, self._name = number, str(header.get("record")), _name(header)
            self._covered = line.seq - 1
        elif number > self._number + 1:
            self._find(
                "missing_segment",
                f"after file {self._number} comes file {number}: {_span(self._seq, line.seq - 1)} missing",
                line.seq,
            )
        elif number <= self._number:
            self._find("bad_segment", f"file {number} stands after file {self._number}", line.seq)
            return
        elif line.seq > self._seq:
            self._find(
                "cut", f"{_span(self._seq, line.seq - 1)} missing at the end of the file before", self._seq, self._last
            )
        elif previous != Head(self._seq - 1, self._prev.decode()):
            self._find("bad_segment", "the header follows another entry than the last of the file before", line.seq)
        self._disturbed = self._disturbed or self._seq != line.seq
        self._number = number
        self._seq, self._prev = line.seq, previous.hash.encode()
        self._branches = []

    def _header(self, header: Mapping[str, Any]) -> None:
        if str(header.get("record")) != self._record:
            self._find("bad_segment", "the file belongs to another record", self._seq)
        self._check_limit(self._seq - 1 - self._covered)  # as the writer before would have it
        limit, interval, public = (header.get(name) for name in ("checkpoint_entries", "checkpoint_us", "public"))
        self._limit = limit if type(limit) is int else None
        self._late_us = max(_LATE_US_MIN, _LATE_TIMES * interval) if type(interval) is int else _LATE_US_MIN
        if not self._pinned and isinstance(public, str):
            self._trust(public)
        self._fresh = True

    def _trust(self, public: str) -> None:
        try:
            key = bytes.fromhex(public)
        except ValueError:
            return
        self._keys[key_id(key)] = key

    # ---- lines

    def _special(self, raw: bytes, *, first: bool, hangs: bool) -> None:
        """A header, a checkpoint, what a start says, or the line that should have been the checkpoint of a header."""
        line = parse_line(raw)
        entry = _data(line) if line is not None else None
        if line is None or entry is None:
            self._find("malformed_line", "the line's entry cannot be read", self._seq)
            return
        fresh, self._fresh = self._fresh, self._fresh and line.kind == Kind.ADOPTED
        if line.kind == Kind.ADOPTED:
            self._adopted = line, line.seq - self._covered - (2 if fresh else 1)  # a header of the same start is not counted
        elif line.kind == Kind.SEGMENT:
            if first:
                self._header(entry)
            else:
                self._find("bad_segment", "a header in the middle of a file", line.seq)
        elif line.kind == Kind.CHECKPOINT:
            self._checkpoint(line, entry, hangs=hangs)
        elif line.kind == Kind.STOP:
            self._stop = line.seq
        elif fresh:
            self._find("checkpoint_missing", "the header of this file is not followed by its checkpoint", line.seq)
        if line.kind == Kind.REPAIR and entry.get("what") in _SET_BACK:
            seq, why = str(entry.get("seq"))[:20], _SET_BACK[str(entry["what"])]
            self._said("set_back", line, f"entry {seq}, which had been signed, was not there when the writer started: {why}")

    def _checkpoint(self, line: Line, entry: Mapping[str, Any], *, hangs: bool) -> None:
        key = self._keys.get(str(entry.get("key")))
        if key is None:
            self._find("unknown_key", f"the checkpoint is signed by {str(entry.get('key'))[:40]}", line.seq)
        elif not is_signed(entry, key):
            self._find("forged_checkpoint", f"the signature is not of {entry['key']}", line.seq)
        elif (self._record is not None and entry.get("record") != self._record) or entry.get("after") != line.seq - 1:
            self._find("wrong_checkpoint", "the checkpoint was made for another place", line.seq)
        elif hangs and entry.get("chain") != self._prev.decode():
            self._find("wrong_checkpoint", "the checkpoint was made for other entries before it", line.seq)
        elif hangs:
            self._check_limit(line.seq - 1 - self._covered)
            self._tell_adopted()
            self._covered, self._disturbed = line.seq, False
            at_us = entry.get("at_us")
            self._signed_us = at_us if type(at_us) is int else None
            self._checkpoints += 1
            self._used[str(entry["key"])] = None

    def _check_limit(self, stretch: int) -> None:
        if self._limit is not None and stretch > self._limit + _SLACK and not self._disturbed:
            message = f"{stretch} entries without a checkpoint; the writer leaves at most {self._limit}"
            self._find("checkpoint_missing", message, self._covered + 1, self._where or self._last)
            self._disturbed = True

    def _tell_adopted(self) -> None:
        """At the signature that covers them: how many entries were there before anybody signed them."""
        if self._adopted is not None:
            line, count = self._adopted
            self._said("adopted", line, f"{_entries(count)} before it signed only by a later start of the writer")
            self._adopted = None

    def _check_end(self, uncovered: int) -> None:
        head = Head(self._seq - 1, self._prev.decode())
        if (why := self._unsigned(uncovered)) and head not in self._accepted:
            self._find("unsigned_end", why, head.seq, self._last, head.hash)

    def _unsigned(self, uncovered: int) -> str | None:
        """What is wrong with the entries that stand behind the last signature."""
        if self._uncovered_max is not None and uncovered > self._uncovered_max:
            return f"{_entries(uncovered)} at the end without a signature; at most {self._uncovered_max} may be"
        if not uncovered or self._signed_us is None:
            return None
        if self._stop == self._covered - 1:
            return f"{_entries(uncovered)} without a signature after a signed `stop`, behind which the writer writes no more"
        line = parse_line(self._end)
        entry = (_data(line) if line is not None else None) or {}
        at_us = entry.get("at_us")
        if line is not None and type(at_us) is not int:
            return f"the last of {_entries(uncovered)} without a signature does not say when it was written"
        waits_us = max(at_us or 0, self._now_us or 0) - self._signed_us
        if waits_us > self._late_us:
            return f"{_entries(uncovered)} without a signature, {waits_us // 1_000_000} s after the last one"
        return None

    def _irregular(self, raw: bytes, *, first: bool) -> None:
        line = parse_line(raw)
        self._disturbed = True
        if line is None:
            if raw.endswith(b"\n"):
                self._find("malformed_line", "the line is not an entry")
            else:
                self._find("torn_line", f"the line ends after {len(raw)} bytes")
            self._unread += 1
        elif line.seq < self._seq:
            self._late(line)
        else:
            self._next(line, first=first)

    def _late(self, line: Line) -> None:
        """A line whose number has been passed: it does not move the chain on, though the next may hang on it."""
        for i, (start, end, where) in enumerate(self._gaps):
            if start <= line.seq <= end:
                self._gaps[i : i + 1] = [
                    g for g in ((start, line.seq - 1, where), (line.seq + 1, end, where)) if g[0] <= g[1]
                ]
                self._find("reordered", f"entry {line.seq} stands after entry {self._seq - 1}", line.seq)
                self._branches.append(line.hash.encode())
                return
        back = self._seq - line.seq
        known = self._recent[-back] if back <= len(self._recent) else None
        if known == line.hash.encode():
            self._find("duplicated", f"entry {line.seq} stands twice", line.seq)
        else:
            self._find("inserted", f"a second entry {line.seq}, which is not the one in the chain", line.seq)
        self._branches.append(line.hash.encode())

    def _next(self, line: Line, *, first: bool) -> None:
        """A line that moves on, from where it should or from further."""
        missing = line.seq - self._seq
        hangs = not missing and any(line.hangs_on(b.decode()) for b in self._branches)
        if missing and missing != self._unread:
            self._gaps.append((self._seq, line.seq - 1, self._where))
        elif not missing and not hangs:
            self._find(
                "edited", f"entry {line.seq} does not follow from the one before: one of the two was changed", line.seq
            )
        self._recent.extend([None] * min(missing, _REMEMBERED))
        if line.kind in _SPECIAL:
            self._special(line.raw, first=first, hangs=False)
        self._fresh = self._fresh and first
        if self._expected is not None and line.seq == self._expected.seq:
            self._meet(line.hash.encode())
        self._recent.append(line.hash.encode())
        self._seq, self._prev = line.seq + 1, line.hash.encode()
        self._branches, self._unread = [], 0


def _data(line: Line) -> dict[str, Any] | None:
    try:
        return line.data()
    except (ValueError, RecursionError):
        return None


def _previous(header: Mapping[str, Any], seq: int) -> Head | None:
    """The entry that a header follows; its number is the one before its own."""
    found = header.get("previous")
    if found is None:
        return START if seq == 0 and header.get("number") == 1 else None
    match found:
        case {"seq": int(before), "hash": str(digest)} if before == seq - 1:
            return Head(before, digest)
    return None


def _name(header: Mapping[str, Any]) -> str | None:
    found = header.get("name")
    return found if isinstance(found, str) else None


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


def _span(start: int, end: int) -> str:
    return f"entry {start} is" if start == end else f"entries {start} to {end} are"
