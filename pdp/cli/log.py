"""`pdp log`: the decision record, read, checked and decided again."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer

from language import SpiffePattern, format_instant, parse_pattern, printable
from pdp.cli.report import FINDING, OK, Format, counted, dump
from pdp.errors import PdpError
from pdp.model.request import moment
from pdp.record.reading import Seen, Touched, Wanted, read_entry, touched
from pdp.record.values import show as shown
from pdp.store.record_reader import find_records, read_record

log = typer.Typer(
    help="The decision record: show it, check it, decide it again.", no_args_is_help=True, rich_markup_mode=None
)


class EntryKind(StrEnum):
    DECISION = "decision"
    REUSE_ATTEMPT = "reuse_attempt"
    GRANT = "grant"
    INCIDENT = "incident"
    START = "start"
    STOP = "stop"
    DROP = "drop"
    ADOPTED = "adopted"
    REPAIR = "repair"
    SEGMENT = "segment"
    CHECKPOINT = "checkpoint"


class OutcomeWord(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


_DIR = typer.Argument(..., help="The folder of the record.")
_SINCE = typer.Option(None, "--since", help="From this moment on, for example 2026-01-31T09:00:00Z.")
_UNTIL = typer.Option(None, "--until", help="Before this moment.")
_FORMAT = typer.Option(Format.TEXT, "--format", help="How it is printed.")


@log.command("show")
def show(
    folder: Path = _DIR,
    workload: str | None = typer.Option(None, help="A SPIFFE ID, or a pattern as in `who`."),
    task: str | None = typer.Option(None, help="The id of a task, or of a grant in its chain."),
    gate: str | None = typer.Option(None, help="The SPIFFE ID of a gate."),
    resource: str | None = typer.Option(None, help="A type, or one entity as `Type:id`."),
    action: str | None = typer.Option(None, help="An action."),
    outcome: OutcomeWord | None = typer.Option(None, help="What was decided."),
    kind: list[EntryKind] = typer.Option([], help="Kinds of entries; can be given several times."),
    since: str | None = _SINCE,
    until: str | None = _UNTIL,
    last: int | None = typer.Option(None, min=1, help="Only so many, the latest."),
    format: Format = _FORMAT,
) -> None:
    """Print entries, one a line, the oldest first. All filters must fit."""
    wanted = Wanted(
        _workload(workload),
        task,
        gate,
        _resource(resource),
        action,
        None if outcome is None else outcome.value,
        frozenset(k.value for k in kind),
        _moment(since, "--since"),
        _moment(until, "--until"),
    )
    entries: Iterator[Seen] | list[Seen] = (seen for seen in _entries(folder) if wanted.matches(seen))
    if last is not None:
        entries = _last(entries, last)
    for seen in entries:
        typer.echo(_entry_json(seen) if format is Format.JSON else entry_text(seen))
    raise typer.Exit(OK)


@log.command("touched")
def touched_by(
    folder: Path = _DIR,
    id: str = typer.Argument(..., help="A workload's SPIFFE ID, or the id of a task or grant."),
    since: str | None = _SINCE,
    until: str | None = _UNTIL,
    format: Format = _FORMAT,
) -> None:
    """Say what a workload, task or grant reached, and what it tried to reach: exit 0, or 1 if it stands nowhere."""
    wanted = Wanted(since_us=_moment(since, "--since"), until_us=_moment(until, "--until"))
    found = touched((seen for seen in _entries(folder) if wanted.matches(seen)), id)
    if format is Format.JSON:
        typer.echo(dump([_touched_json(t) for t in found]))
    else:
        for each in found:
            typer.echo(_touched_text(each))
    if not found:
        typer.echo(f"no decision names {printable(id)}", err=True)
    raise typer.Exit(OK if found else FINDING)


@log.command("verify")
def verify_record(
    folder: Path = _DIR,
    key: list[Path] = typer.Option([], help="A public key to trust, in PEM; can be given several times."),
    expect: list[str] = typer.Option([], help="An entry that was there, as `NUMBER:HASH`: the head of an earlier run."),
    known: list[str] = typer.Option(
        [], help="An entry `adopted`, `repair`, or the last of an unsigned end, that was looked into, as `NUMBER:HASH`."
    ),
    record: list[str] = typer.Option([], help="The id of a record that must be here, and no other; several times."),
    max_uncovered: int | None = typer.Option(None, min=0, help="So many entries at the end may be without a signature."),
    whole: bool = typer.Option(False, "--whole", help="The first file must be there, too."),
    format: Format = _FORMAT,
) -> None:
    """Check that nothing was changed, cut out or put in: exit 0, or 1 with place and code."""
    from pdp.cli.log_verify import Demands, verified

    now_us = time.time_ns() // 1000  # before anything is read: what is written meanwhile is newer
    demands = Demands(_heads(expect, "--expect"), _heads(known, "--known"), frozenset(record), max_uncovered, whole, now_us)
    found = verified(folder, key, demands)
    if format is Format.JSON:
        typer.echo(dump(found.as_json()))
    else:
        for line in found.as_text():
            typer.echo(printable(line))
        for warning in found.warnings():
            typer.echo(printable(warning), err=True)
    raise typer.Exit(OK if found.ok else FINDING)


@log.command("replay")
def replay_record(
    folder: Path = _DIR,
    policies: Path = typer.Option(..., help="The policies of the generation to decide again."),
    since: str | None = _SINCE,
    until: str | None = _UNTIL,
    format: Format = _FORMAT,
) -> None:
    """Decide the recorded requests again: exit 0 for the same answers, 1 for a difference, 2 for other policies."""
    from language import Compiler
    from pdp.record.replay import DIFFERS, LOST, NOT_REPLAYABLE, OTHER_GENERATION, SAME, replay
    from pdp.store.files import find_files, read_sources

    bundle = Compiler().compile(read_sources(find_files(policies, with_tests=False).policies))
    wanted = Wanted(since_us=_moment(since, "--since"), until_us=_moment(until, "--until"))
    counts = dict.fromkeys((SAME, DIFFERS, NOT_REPLAYABLE, OTHER_GENERATION), 0)
    reasons: dict[str, int] = {}
    generations: set[str] = set()
    differing = []
    for seen in _entries(folder):
        if not seen.outcome or not wanted.matches(seen):
            continue
        found = replay(seen.entry, bundle)
        counts[found.verdict] += 1
        generations.add(str(seen.entry.get("generation")))
        if found.why is not None:
            reasons[found.why] = reasons.get(found.why, 0) + 1
        if found.differences is not None:
            differing.append((seen, found.differences))
    own = bundle.digest[:16]
    if generations and own not in generations:
        others = ", ".join(printable(g) for g in sorted(generations)[:5])
        message = f"`{policies}` is generation {own}; the record was decided under {others}"
        raise PdpError("invalid_argument", f"{message}: give the policies of that generation")
    if format is Format.JSON:
        told = [
            {"seq": s.seq, "id": s.entry.get("id"), **{n: {"then": t, "now": w} for n, (t, w) in d.items()}}
            for s, d in differing
        ]
        typer.echo(dump({"generation": own, **counts, "not_replayable_because": reasons, "differences": told}))
    else:
        for seen, differences in differing:
            typer.echo(entry_text(seen))
            for name, (then, now) in differences.items():
                typer.echo(f"  {name}: then {printable(str(then))}, now {printable(str(now))}")
        typer.echo(f"generation {own}: {counts[SAME]} the same, {counts[DIFFERS]} differ")
        for why, count in sorted(reasons.items()):
            typer.echo(f"not decided again: {count}, {LOST[why]}")
        if counts[OTHER_GENERATION]:
            typer.echo(f"of other generations: {counts[OTHER_GENERATION]}")
    raise typer.Exit(FINDING if differing else OK)


# ---- reading


def _entries(folder: Path) -> Iterator[Seen]:
    """Every entry that can be read, of all processes, the oldest first. How many cannot is said of each record at the end;
    what is wrong with them is for `verify`."""
    return heapq.merge(*map(_entries_of, find_records(folder)), key=lambda seen: seen.at_us)


def _entries_of(record: Path) -> Iterator[Seen]:
    unread = 0
    for _, line in read_record(record):
        try:
            if line is None:
                raise ValueError
            seen = read_entry(line)
        except (ValueError, RecursionError):
            unread += 1
            continue
        yield seen
    if unread:
        typer.echo(f"{counted(unread, 'line')} cannot be read; `pdp log verify` says more", err=True)


def _last(entries: Iterator[Seen] | list[Seen], count: int) -> list[Seen]:
    from collections import deque

    return list(deque(entries, maxlen=count))


def _workload(told: str | None) -> SpiffePattern | str | None:
    if told is None or "*" not in told:
        return told
    pattern = parse_pattern(told)
    if pattern is None:
        raise PdpError("invalid_argument", f"--workload: `{printable(told[:80])}` is no pattern of SPIFFE IDs")
    return pattern


def _resource(told: str | None) -> tuple[str, str | None] | None:
    if told is None:
        return None
    type_name, colon, entity_id = told.partition(":")
    return type_name, entity_id if colon else None


def _moment(told: str | None, option: str) -> int | None:
    return None if told is None else moment(told, option)


def _heads(told: list[str], option: str) -> dict[str, list[Any]]:
    """Entries by the name of their record; of no name are those that no record was named for."""
    from pdp.record.line import Head

    found: dict[str, list[Any]] = {}
    for each in told:
        name, _, entry = each.rpartition("=")
        seq, _, digest = entry.partition(":")
        if not (seq.isascii() and seq.isdigit() and len(seq) < 19 and len(digest) == 64):
            raise PdpError("invalid_argument", f"{option}: found `{printable(each[:80])}`, expected NUMBER:HASH")
        found.setdefault(name, []).append(Head(int(seq), digest))
    return found


# ---- printing


def entry_text(seen: Seen) -> str:
    """One line; nothing in it can move the cursor or start another."""
    entry = seen.entry
    parts = [format_instant(seen.at_us) if seen.at_us else "-", str(seen.seq), seen.kind]
    if seen.outcome:
        parts += [seen.outcome, seen.action, seen.resource_type, seen.resource]
        parts += [f"workload {seen.workload}"] if seen.workload else []
        parts += [f"user {seen.user}"] if seen.user else []
        parts += [f"task {seen.task_kind} {seen.tasks[0]}"] if seen.task_kind and seen.tasks else []
        parts += [f"gate {seen.gate}"] if seen.gate else []
        if "grant" in seen.presented:
            parts.append(f"showed grant {shown(seen.presented['grant'])} of {shown(seen.presented.get('holder'))}")
        parts += [f"by {shown(entry['rule'])}"] if "rule" in entry else [f"because {shown(entry.get('reason'))}"]
        until = entry.get("valid_until_us")
        parts += [f"until {format_instant(until)}"] if type(until) is int else []
    else:
        parts += [f"{name} {_brief(value)}" for name, value in sorted(entry.items()) if name not in _TECHNICAL]
    return printable(" ".join(parts))


_TECHNICAL = {"at_us", "signature", "public", "chain_hash", "record", "format"}


def _brief(value: Any) -> str:
    return " ".join(map(shown, value)) if isinstance(value, list) else shown(value)


def _entry_json(seen: Seen) -> str:
    import json

    return json.dumps({"seq": seen.seq, "kind": seen.kind, "entry": seen.entry}, separators=(",", ":"))


def _touched_text(each: Touched) -> str:
    span = format_instant(each.first_us)
    if each.last_us != each.first_us:
        span += f" to {format_instant(each.last_us)}"
    what = f"{each.outcome} {each.action} {each.resource_type} {each.resource}"
    return printable(f"{what}  {counted(each.count, 'time')}, {span}")


def _touched_json(each: Touched) -> dict[str, Any]:
    return {
        "outcome": each.outcome,
        "action": each.action,
        "resource": [each.resource_type, each.resource],
        "count": each.count,
        "first": format_instant(each.first_us),
        "last": format_instant(each.last_us),
    }
