"""The grants as this process knows them: the store behind, the index in front, and what the engine must be told.

Every step catches up with the feed first and commits with what it read; a check reads the index alone. An end that was
committed is in the index, and in the engine's revocations, before the step returns: the next check sees it.

Threads are the caller's: steps of one book are taken under its lock, readers take `index` once and need none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext

from pdp.engine.revocations import Revocations
from pdp.grants.grant import Grant, Mark
from pdp.grants.index import Index
from pdp.grants.reasons import Refused
from pdp.grants.store import Absorbed, Changes, Conflict, GrantStore, Record, Spent, Unavailable
from pdp.service.due import Due, EndedTasks
from pdp.service.plan import Plan

#: Changes the engine's revocations: one swap of its snapshot.
Edit = Callable[[Revocations], Revocations]
SwapRevocations = Callable[[Edit], None]

#: Tells other processes of records, and of the index that they lead to; returns when it is effective everywhere.
Tell = Callable[[Index, Iterable[Record], bool], None]

#: Nouns of marks, by the names that the engine has for them. A task that ended whole is told as well.
IN_ENGINE = {
    "workload": "workload",
    "certificate": "credential",
    "gate": "gate",
    "trust_domain": "trust_domain",
    "opener": "opener",
    "task": "task",
}
ATTEMPTS = 32  # what takes away everything of a noun gives way to every other write, and must come to pass


class Book:
    def __init__(
        self,
        store: GrantStore,
        swap: SwapRevocations,
        lock: AbstractContextManager[object] | None = None,
        tell: Tell | None = None,
    ) -> None:
        self.index = Index()
        self.lock: AbstractContextManager[object] = lock if lock is not None else nullcontext()
        self._store = store
        self._ended = EndedTasks()  # of which the engine was told
        self.due = Due()
        self._swap = swap
        self._tell = tell

    def catch_up(self, now: int) -> Index:
        """The index as the store is at this moment. To be called under the lock."""
        try:
            changes = self._store.changes(self.index.revision, self.index.incarnation)
        except Unavailable:
            raise Refused("store_unavailable") from None
        if changes.whole or changes.records or changes.revision != self.index.revision:
            before = self.index
            self.index = self.index.fed(changes)
            self._tell_all(before, changes.records, changes.whole)
        self.index = self.index.confirmed(now)
        return self.index

    def take(self, now: int, plan: Callable[[Index], Plan]) -> Plan:
        """Plans a step and commits it; plans again when somebody wrote in between. To be called under the lock."""
        for _ in range(ATTEMPTS):
            made = plan(self.catch_up(now))
            if not made.changes:
                return made
            try:
                committed = self._store.commit(made.changes)
            except Conflict:
                continue
            except Absorbed:
                raise Refused("task_ended") from None
            except Spent:
                raise Refused("approval_consumed") from None
            except Unavailable:
                raise Refused("store_unavailable") from None
            before = self.index
            if committed.revision == before.revision + 1:
                self.index = before.taking(committed.records, committed.revision)
                self._tell_all(before, committed.records, False)
            else:
                self.catch_up(now)  # others wrote as well; the feed has all of it, in order
            return made
        raise Refused("store_unavailable", "others write all the time")

    def feed(self, since: int, incarnation: str) -> Changes:
        """What the store tells readers after a revision."""
        try:
            return self._store.changes(since, incarnation)
        except Unavailable:
            raise Refused("store_unavailable") from None

    def consume(self, plan: Plan) -> None:
        """Takes uses of grants, before an allow is answered."""
        try:
            self._store.commit(plan.changes)
        except Spent:
            raise Refused("grant_consumed") from None
        except Absorbed:  # it ended while the question was decided
            raise Refused("task_ended") from None
        except (Unavailable, Conflict):
            raise Refused("store_unavailable") from None

    def forget_ended(self, now: int) -> None:
        """Takes from the engine what the clock says as well. To be called under the lock."""
        forget_over(self._ended, now, self._swap)

    def _tell_all(self, before: Index, records: Iterable[Record], whole: bool) -> None:
        self.due.learn(records, whole)
        if not whole:
            self._ended.learn(records)
        edit = told_engine(before, records, whole)
        if edit is not None:
            self._swap(edit)
        if self._tell is not None:
            self._tell(self.index, records, whole)


def told_engine(before: Index, records: Iterable[Record], whole: bool) -> Edit | None:
    """What records are to the engine: marks and ended tasks become revocations, in one swap."""
    edits: list[tuple[str, str, str | None]] = []
    known = before.marks if not whole else {}
    for record in records:
        if isinstance(record, Mark):
            if record.key not in known or not record.lifted or not known[record.key].lifted:
                edits.append((IN_ENGINE[record.noun], record.name, None if record.lifted else record.why))
        elif isinstance(record, Grant) and record.is_over and record.parent is None and not whole:
            edits.append(("task", record.task, record.why))
    return (lambda revocations: _edited(revocations, edits)) if edits else None


def forget_over(ended: EndedTasks, now: int, swap: SwapRevocations) -> None:
    """Takes from the engine the tasks whose time is over. None can be allowed by that: a task is denied by its own end."""
    over = ended.take_over(now)
    if over:
        swap(lambda revocations: revocations.forget(over))


def _edited(revocations: Revocations, edits: Iterable[tuple[str, str, str | None]]) -> Revocations:
    for noun, name, why in edits:
        revocations = revocations.lift(noun, name) if why is None else revocations.revoke(noun, name, why)
    return revocations
