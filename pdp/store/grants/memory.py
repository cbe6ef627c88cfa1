"""A store of grants in this process's memory: for tests, and for what may be lost with the process."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from secrets import token_hex
from threading import Lock

from pdp.grants.grant import Grant, Mark
from pdp.grants.store import Change, Changes, Committed, Record
from pdp.store.grants.outcome import Key, Taken, is_over, outcome


class MemoryStore:
    """Each commit is worked out on the side and put in place under one lock."""

    def __init__(self) -> None:
        self.incarnation = token_hex(16)
        self.revision = 0
        self._lock = Lock()
        self._records: dict[Key, Record] = {}
        self._consumed: dict[str, Taken] = {}
        self._log: list[tuple[int, Key]] = []  # in order of revision

    def commit(self, changes: Sequence[Change]) -> Committed:
        with self._lock:
            revision = self.revision + 1
            found = outcome(changes, revision, self._records.get, self._over, self._used, self._written)
            self._records.update(found.records)
            self._consumed.update(found.taken)
            if over := set(found.over):
                self._consumed = {key: taken for key, taken in self._consumed.items() if taken.grant not in over}
            self._log += [(revision, key) for key in found.records]
            self.revision = revision
            return Committed(revision, tuple(found.records.values()))

    def _over(self, grant_id: str) -> bool:
        return is_over(self._records.get(("grant", grant_id, "")))

    def _used(self, key: str) -> int:
        found = self._consumed.get(key)
        return 0 if found is None else found.times

    def _written(self) -> int:
        return self._log[-1][0] if self._log else 0

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
