"""What a commit comes to: one set of rules for every store. A store brings what is there, and keeps what comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeGuard

from pdp.grants.grant import Grant, Mark, Tombstone
from pdp.grants.store import Absorbed, Bury, Change, Conflict, Consume, Expect, Put, Record, Spent, Unwritten

#: ("grant", id, "") or ("mark", noun, name). A tombstone stands where its grant stood.
Key = tuple[str, str, str]


class Taken(NamedTuple):
    """How often a key is consumed now, and of which grant."""

    grant: str
    times: int


@dataclass(frozen=True, slots=True)
class Outcome:
    records: Mapping[Key, Record]
    taken: Mapping[str, Taken]

    @property
    def over(self) -> tuple[str, ...]:
        """The grants that ended, or whose ids are spent: their uses are forgotten."""
        return tuple(record.id for record in self.records.values() if is_over(record))


def outcome(
    changes: Sequence[Change],
    revision: int,
    there: Callable[[Key], Record | None],
    over: Callable[[str], bool],
    used: Callable[[str], int],
    written: Callable[[], int],
) -> Outcome:
    """What stands in the store after these changes at this revision; or the refusal, and then nothing has changed.

    `over` says of a grant's id whether it has ended or is spent, `used` how often a key is consumed, and `written` tells the
    revision of the last commit that wrote a record.
    """
    records: dict[Key, Record] = {}
    taken: dict[str, Taken] = {}
    for change in changes:
        match change:
            case Consume():
                taken[change.key] = _consumed(change, taken.get(change.key), over, used)
            case Expect():
                _refuse_other_revision(there(_key_of(change.key)), change.revision)
            case Unwritten():
                if written() > change.since:
                    raise Conflict("somebody wrote in between")
            case _:
                key, record = _written(change, revision, there)
                if key in records:
                    raise Conflict("a record stands twice in one commit")
                records[key] = record
    return Outcome(records, taken)


def key_of(record: Record) -> Key:
    return ("mark", *record.key) if isinstance(record, Mark) else ("grant", record.id, "")


def _key_of(name: str | tuple[str, str]) -> Key:
    return ("grant", name, "") if isinstance(name, str) else ("mark", *name)


def _consumed(change: Consume, before: Taken | None, over: Callable[[str], bool], used: Callable[[str], int]) -> Taken:
    if over(change.grant):
        raise Absorbed("the grant has ended, or its id is spent")
    times = used(change.key) if before is None else before.times
    if times >= change.limit:
        raise Spent("all uses are consumed")
    return Taken(change.grant, times + 1)


def _written(change: Put | Bury, revision: int, there: Callable[[Key], Record | None]) -> tuple[Key, Record]:
    if isinstance(change, Bury):
        key: Key = ("grant", change.id, "")
        found = there(key)
        if isinstance(found, Grant) and not found.is_over:
            raise Conflict("a grant is ended before it is buried")
        return key, Tombstone(change.id, change.at, revision)
    key = key_of(change.record)
    found = there(key)
    if is_over(found):
        raise Absorbed("the grant has ended, or its id is spent")
    _refuse_other_revision(found, change.expected)
    return key, replace(change.record, revision=revision)


def is_over(record: Record | None) -> TypeGuard[Grant | Tombstone]:
    """Whether nothing can be done with it any more."""
    return isinstance(record, Tombstone) or (isinstance(record, Grant) and record.is_over)


def _refuse_other_revision(found: Record | None, expected: int) -> None:
    if (0 if found is None else found.revision) != expected:
        raise Conflict("somebody wrote in between")
