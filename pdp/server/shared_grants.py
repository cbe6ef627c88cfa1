"""What all processes of a server know of grants, in the form in which the one that writes tells the others.

A message is JSON: the records of some commits, with the revision that they lead to, and when the store was last
confirmed. Told twice or late it changes nothing, since a record that is older than what is there is left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from pdp.engine.revocations import Revocations
from pdp.grants.document import read_record, tell_record
from pdp.grants.index import Index
from pdp.grants.store import Changes, Record
from pdp.service.book import forget_over, told_engine
from pdp.service.due import EndedTasks

Swap = Callable[[Callable[[Revocations], Revocations]], None]


class SharedGrants:
    """An index that follows. In the writing process `current` is the book's."""

    def __init__(
        self, current: Callable[[], Index] | None, swap: Swap, tell: Callable[[tuple[Record, ...], bool], None]
    ) -> None:
        self._current = current
        self._swap = swap
        self._tell = tell
        self._followed = Index()
        self._ended = EndedTasks()  # of which the engine was told

    @property
    def index(self) -> Index:
        return self._followed if self._current is None else self._current()

    # ---- in the writer

    def snapshot(self) -> bytes:
        index = self.index
        return message(index, (*index.grants.values(), *index.marks.values()), whole=True)

    # ---- in a follower

    def restore(self, raw: bytes) -> None:
        self._take(raw)

    def change(self, raw: bytes) -> None:
        self._take(raw)

    def _take(self, raw: bytes) -> None:
        told = json.loads(raw)
        records = tuple(read_record(record, revision) for revision, record in told["records"])
        changes = Changes(told["incarnation"], told["revision"], records, told["whole"])
        before = self._followed
        edit = told_engine(before, records, changes.whole)
        if edit is not None:
            self._swap(edit)
        self._followed = before.fed(changes).confirmed(told["confirmed"])
        if not changes.whole:
            self._ended.learn(records)
        # By the clock of the process that writes, which is the clock of this machine, and not before it has said so.
        forget_over(self._ended, self._followed.confirmed_at, self._swap)
        self._tell(records, changes.whole)


def message(index: Index, records: Iterable[Record], *, whole: bool = False) -> bytes:
    told: dict[str, Any] = {
        "incarnation": index.incarnation,
        "revision": index.revision,
        "confirmed": index.confirmed_at,
        "whole": whole,
        "records": [(record.revision, tell_record(record)) for record in records],
    }
    return json.dumps(told, separators=(",", ":")).encode()
