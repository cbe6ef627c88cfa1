"""`pdp log verify`: the records of a folder, each by itself and all of them together.

A server has a record for each of its processes. That a record is whole says little while another one can be put in its
place: so each has to be the one of its folder, and no two may be the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from language import format_instant
from pdp.cli.report import counted
from pdp.errors import PdpError
from pdp.record.checkpoint import key_id
from pdp.record.finding import Finding, Verification
from pdp.record.line import Head
from pdp.record.verify import verify
from pdp.store.record_keys import read_public_key
from pdp.store.record_reader import find_records, find_segments, named, read_lines

_Heads = Mapping[str, Sequence[Head]]  # by the name of a record


@dataclass(frozen=True, slots=True)
class Demands:
    expected: _Heads
    known: _Heads
    records: frozenset[str]  # ids; empty for any
    uncovered_max: int | None
    whole: bool
    now_us: int


@dataclass(frozen=True, slots=True)
class One:
    name: str  # of its folder
    files: int
    result: Verification
    findings: tuple[Finding, ...]  # with those that only the other records show

    def as_text(self, *, prefix: str) -> Iterator[str]:
        result = self.result
        for finding in self.findings:
            looked_into = f" (if you have looked into it: --known {finding.seq}:{finding.hash})" if finding.hash else ""
            yield f"{prefix}{finding}{looked_into}"
        if result.more:
            yield f"{prefix}… and {result.more} more"
        said = counted(len(self.findings) + result.more, "finding") if self.findings else "whole"
        signed = "" if result.signed_us is None else f", signed {format_instant(result.signed_us)}"
        yield (
            f"{prefix}{said}: {counted(self.files, 'file')}, {result.entries} entries, "
            f"{counted(result.checkpoints, 'checkpoint')}, {result.uncovered} after the last{signed}; "
            f"record {result.record}, head {result.head.seq}:{result.head.hash}"
        )

    def as_json(self) -> dict[str, Any]:
        result = self.result
        findings = [
            {"code": f.code, "where": f.where, "seq": f.seq, "message": f.message, **({"hash": f.hash} if f.hash else {})}
            for f in self.findings
        ]
        return {
            "name": self.name, "ok": not self.findings, "entries": result.entries, "checkpoints": result.checkpoints,
            "uncovered": result.uncovered, "signed_us": result.signed_us, "begins_with_file": result.begins,
            "record": result.record, "keys": list(result.keys), "head": {"seq": result.head.seq, "hash": result.head.hash},
            "findings": findings, "more_findings": result.more,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verified:
    records: tuple[One, ...]
    key_given: bool

    @property
    def ok(self) -> bool:
        return not any(one.findings for one in self.records)

    def as_text(self) -> Iterator[str]:
        for one in self.records:
            yield from one.as_text(prefix=f"{one.name}: ")

    def as_json(self) -> dict[str, Any]:
        return {"ok": self.ok, "key_given": self.key_given, "records": [one.as_json() for one in self.records]}

    def warnings(self) -> Iterator[str]:
        if not self.key_given:
            yield "no --key: checked with the key that the record names, which whoever forged it would name, too"
        for one in self.records:
            if one.result.begins > 1:
                yield f"{one.name}: begins with file {one.result.begins}: the ones before it are not here"


def verified(folder: Path, keys: Sequence[Path], demands: Demands) -> Verified:
    """Every record of the folder. PdpError where there is none, or where a demand names one that is not here."""
    trusted = {key_id(public): public for public in map(read_public_key, keys)}
    folders = {named(each).name: each for each in find_records(folder)}
    _refuse_unnamed(folders, demands)
    found: list[One] = []
    ids: dict[str | None, str] = {}
    for name, each in folders.items():
        paths = find_segments(each)
        result = verify(
            ((path.name, read_lines(path)) for path in paths),
            trusted or None,
            expected=next(iter(_of(demands.expected, name)), None),
            whole=demands.whole,
            accepted=_of(demands.known, name),
            uncovered_max=demands.uncovered_max,
            now_us=demands.now_us,
        )
        wrong = _misplaced(result, name, among_several=each != folder, ids=ids, demands=demands)
        where = f"{paths[0].name}:1"
        found.append(
            One(name, len(paths), result, (*(Finding("wrong_record", where, 0, w) for w in wrong), *result.findings))
        )
        ids.setdefault(result.record, name)
    if missing := demands.records - {one.result.record or "" for one in found}:
        last = found[-1]
        gone = tuple(Finding("wrong_record", last.name, None, f"record {each} is not here") for each in sorted(missing))
        found[-1] = One(last.name, last.files, last.result, (*gone, *last.findings))
    return Verified(tuple(found), bool(trusted))


def _of(heads: _Heads, name: str) -> list[Head]:
    return [*heads.get(name, ()), *heads.get("", ())]


def _refuse_unnamed(folders: Mapping[str, Path], demands: Demands) -> None:
    names = ", ".join(f"`{name}`" for name in folders)
    if len(folders) > 1 and "" in demands.expected:
        raise PdpError(
            "invalid_argument", f"--expect: several records are here, so say of which, as NAME=NUMBER:HASH: {names}"
        )
    for name in folders:
        if len(_of(demands.expected, name)) > 1:
            raise PdpError("invalid_argument", f"--expect: one entry of each record, the latest; found several of `{name}`")
    for name in (*demands.expected, *demands.known):
        if name and name not in folders:
            raise PdpError("invalid_argument", f"there is no record `{name}` here, only {names}")


def _misplaced(
    result: Verification, name: str, *, among_several: bool, ids: Mapping[str | None, str], demands: Demands
) -> Iterator[str]:
    if among_several and result.name is not None and result.name != name:
        yield f"the record was written to `{result.name}`, and stands in `{name}`"
    if result.record in ids:
        yield f"the same record stands in `{ids[result.record]}`"
    if demands.records and result.record not in demands.records:
        yield f"the record is {result.record}, which --record does not name"
