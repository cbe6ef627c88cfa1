"""A store of grants in this process's memory: for tests, and for what may be lost with the process."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from secrets import token_hex
from threading import Lock

from pdp.grants.grant import Grant, Mark, Tombstone
from pdp.grants.store import Absorbed, Bury, Change, Changes, Committed, Conflict, Consume, Expect, Put, Record, Spent

Key = tuple[str, str, str]


class MemoryStore:
    """Each commit is worked out on the side and put in place under one lock."""

    def __init__(self) -> None:
        self.incarnation = token_hex(16)
        self.revision = 0
        self._lock = Lock()
        self._records: dict[Key, Record] = {}
        self._consumed: dict[str, int] = {}
        self._log: list[tuple[int, Key]] = []  # in order of revision

    def commit(self, changes: Sequence[Change]) -> Committed:
        with self._lock:
            revision = self.revision + 1
            written: dict[Key, Record] = {}
            taken: dict[str, int] = {}
            for change in changes:
                if isinstance(change, Consume):
                    self._consume(change, taken)
                    continue
                if isinstance(change, Expect):
                    self._expect(change)
                    continue
                key, record = self._write(change, revision)
                if key in written:
                    raise Conflict("a record stands twice in one commit")
                written[key] = record
            self._records.update(written)
            self._consumed.update(taken)
            self._log += [(revision, key) for key in written]
            self.revision = revision
            return Committed(revision, tuple(written.values()))

    def _write(self, change: Put | Bury, revision: int) -> tuple[Key, Record]:
        if isinstance(change, Bury):
            key: Key = ("grant", change.id, "")
            there = self._records.get(key)
            if isinstance(there, Grant) and not there.is_over:
                raise Conflict("a grant is ended before it is buried")
            return key, Tombstone(change.id, change.at, revision)
        record = change.record
        key = _key(record)
        there = self._records.get(key)
        if isinstance(there, Tombstone) or (isinstance(there, Grant) and there.is_over):
            raise Absorbed("the grant has ended, or its id is spent")
        if (0 if there is None else there.revision) != change.expected:
            raise Conflict("somebody wrote in between")
        return key, replace(record, revision=revision)

    def _expect(self, change: Expect) -> None:
        key: Key = ("grant", change.key, "") if isinstance(change.key, str) else ("mark", *change.key)
        there = self._records.get(key)
        if (0 if there is None else there.revision) != change.revision:
            raise Conflict("somebody wrote in between")

    def _consume(self, change: Consume, taken: dict[str, int]) -> None:
        count = taken.get(change.key, self._consumed.get(change.key, 0))
        if count >= change.limit:
            raise Spent("all uses are consumed")
        taken[change.key] = count + 1

    def grant(self, grant_id: str) -> Grant | None:
        found = self._records.get(("grant", grant_id, ""))
        return found if isinstance(found, Grant) else None

    def mark(self, noun: str, name: str) -> Mark | None:
        found = self._records.get(("mark", noun, name))
        return found if isinstance(found, Mark) else None

    def changes(self, since: int, incarnation: str) -> Changes:
        with self._lock:
            whole = incarnation != self.incarnation or not 0 <= since <= self.revision
            first = 0 if whole else bisect_right(self._log, since, key=lambda entry: entry[0])
            records = sorted({key: self._records[key] for _, key in self._log[first:]}.values(), key=lambda r: r.revision)
            return Changes(self.incarnation, self.revision, tuple(records), whole)

    def confirmed(self) -> None:
        """Memory can always be read."""


def _key(record: Grant | Mark) -> Key:
    return ("grant", record.id, "") if isinstance(record, Grant) else ("mark", *record.key)
