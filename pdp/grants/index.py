"""What a decision point knows of the store: every record, found by what is asked. It never changes; the next replaces it.

A check reads one index throughout and does no I/O, so an end is seen whole or not at all: a cascade is one commit, one feed
entry and one new index.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from language import changed
from pdp.grants.grant import DEPTH_MAX, Grant, Mark, State, Tombstone
from pdp.grants.reasons import Refused
from pdp.grants.store import Changes, Record

Ids = frozenset[str]
Groups = Mapping[str, Ids]
Fresh = dict[str, set[str]]  # groups that change
NONE: Ids = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    incarnation: str = ""
    revision: int = 0
    confirmed_at: int = 0  # the store was as it is told here at this moment, or later
    grants: Mapping[str, Grant | Tombstone] = field(default_factory=dict)
    marks: Mapping[tuple[str, str], Mark] = field(default_factory=dict)
    by_task: Mapping[str, Ids] = field(default_factory=dict)  # ended ones too
    by_holder: Mapping[str, Ids] = field(default_factory=dict)  # those that have not ended
    children: Mapping[str, Ids] = field(default_factory=dict)
    by_certificate: Mapping[str, Ids] = field(default_factory=dict)  # those that have not ended, by what they are tied to

    def is_stale(self, now: int, bound_us: int) -> bool:
        """Whether it may not be relied on: not confirmed within the bound. A clock that was set back confirms nothing."""
        return not self.confirmed_at - bound_us <= now < self.confirmed_at + bound_us

    def find(self, grant_id: str) -> Grant:
        found = self.grants.get(grant_id) if type(grant_id) is str else None
        if found is None:
            raise Refused("grant_unknown")
        if isinstance(found, Tombstone):
            raise Refused("task_ended")
        return found

    def chain(self, grant_id: str) -> tuple[Grant, ...]:
        """The grant with everything above it, the root first."""
        found = [self.find(grant_id)]
        while found[-1].parent is not None:
            if len(found) > DEPTH_MAX:
                raise Refused("grant_unreadable", "the chain is longer than any that is given")
            try:
                found.append(self.find(found[-1].parent))
            except Refused as refused:
                # What a grant was delegated from is never forgotten before it; if it is gone, nothing is known for sure.
                code = "task_ended" if refused.code == "task_ended" else "grant_unreadable"
                raise Refused(code, "the grant that it was delegated from is not there") from None
        return tuple(reversed(found))

    def below(self, grant_id: str) -> tuple[Grant, ...]:
        """Every grant that was delegated from this one, by any number of steps."""
        waiting, found = [grant_id], []
        while waiting:
            for child in sorted(self.children.get(waiting.pop(), NONE)):
                grant = self.grants.get(child)
                if isinstance(grant, Grant):
                    found.append(grant)
                    waiting.append(child)
        return tuple(found)

    def of_task(self, task: str) -> tuple[Grant, ...]:
        return self._grants(self.by_task.get(task, NONE))

    def held_by(self, holder: str) -> tuple[Grant, ...]:
        """What a workload holds that has not ended."""
        return self._grants(self.by_holder.get(holder, NONE))

    def tied_to(self, certificate: str) -> tuple[Grant, ...]:
        """What is tied to a certificate and has not ended."""
        return self._grants(self.by_certificate.get(certificate, NONE))

    def living(self) -> Iterable[Grant]:
        """Every grant that has not ended."""
        for ids in self.by_holder.values():
            yield from self._grants(ids)

    def mark(self, noun: str, name: str) -> Mark | None:
        """The mark on a noun, unless it was lifted."""
        found = self.marks.get((noun, name))
        return None if found is None or found.lifted else found

    def _grants(self, ids: Ids) -> tuple[Grant, ...]:
        found = [grant for each in ids if isinstance(grant := self.grants.get(each), Grant)]
        return tuple(sorted(found, key=lambda grant: (grant.created, grant.id)))

    # ---- the next one

    def confirmed(self, at: int) -> Index:
        """The same, confirmed later. It never goes back."""
        return replace(self, confirmed_at=at) if at > self.confirmed_at else self

    def fed(self, changes: Changes) -> Index:
        """With what the feed told. Told twice, or in another order, it makes the same."""
        if changes.whole or changes.incarnation != self.incarnation:
            start = Index(changes.incarnation, 0, self.confirmed_at)
            known = [record for record in changes.records if not isinstance(record, Tombstone)]
            return start.taking(known, changes.revision)  # nothing of what is spent comes after all that there is
        return self.taking(changes.records, changes.revision)

    def taking(self, records: Iterable[Record], revision: int) -> Index:
        """With records of one commit or more. One that is older than what is here, or comes after an end, is left out."""
        grants: dict[str, Grant | Tombstone] = {}
        marks: dict[tuple[str, str], Mark] = {}
        forgotten: list[str] = []
        for record in records:
            if isinstance(record, Mark):
                there = marks.get(record.key, self.marks.get(record.key))
                if there is None or there.revision < record.revision:
                    marks[record.key] = record
                continue
            known = grants.get(record.id, self.grants.get(record.id))
            if self._is_news(known, record):
                grants[record.id] = record
                if isinstance(record, Tombstone) and isinstance(known, Grant) and known.ends <= record.at:
                    forgotten.append(record.id)  # a late record of it would be one of a grant whose time is over
        return Index(
            self.incarnation,
            max(self.revision, revision),
            self.confirmed_at,
            changed(self.grants, grants, forgotten) if grants else self.grants,
            changed(self.marks, marks) if marks else self.marks,
            *self._groups(grants),
        )

    def _is_news(self, there: Grant | Tombstone | None, record: Grant | Tombstone) -> bool:
        """INVARIANT: an end is absorbing here too, whatever the order in which records come."""
        if there is None or isinstance(record, Tombstone):
            return not isinstance(there, Tombstone)
        if isinstance(there, Tombstone):
            return False
        if there.is_over or record.is_over:
            return record.is_over and (not there.is_over or record.revision > there.revision)
        return record.revision > there.revision

    def _groups(self, fresh: Mapping[str, Grant | Tombstone]) -> tuple[Groups, Groups, Groups, Groups]:
        tasks: Fresh = {}
        holders: Fresh = {}
        children: Fresh = {}
        certificates: Fresh = {}
        for grant_id, record in fresh.items():
            before = self.grants.get(grant_id)
            grant = record if isinstance(record, Grant) else before
            if not isinstance(grant, Grant):
                continue
            if isinstance(record, Tombstone):
                _take(tasks, self.by_task, grant.task, grant_id)
            else:
                _put(tasks, self.by_task, grant.task, grant_id)
            if isinstance(record, Tombstone) or grant.state is State.ENDED:
                _take(holders, self.by_holder, grant.holder, grant_id)
            else:
                _put(holders, self.by_holder, grant.holder, grant_id)
            if isinstance(before, Grant) and before.binding.certificate is not None:  # it may be tied to another now
                _take(certificates, self.by_certificate, before.binding.certificate, grant_id)
            if isinstance(record, Grant) and not record.is_over and record.binding.certificate is not None:
                _put(certificates, self.by_certificate, record.binding.certificate, grant_id)
            if grant.parent is not None and isinstance(record, Tombstone):
                _take(children, self.children, grant.parent, grant_id)
            elif grant.parent is not None and before is None:
                _put(children, self.children, grant.parent, grant_id)
        return (
            _merged(self.by_task, tasks),
            _merged(self.by_holder, holders),
            _merged(self.children, children),
            _merged(self.by_certificate, certificates),
        )


def _put(fresh: Fresh, old: Groups, key: str, grant_id: str) -> None:
    _group(fresh, old, key).add(grant_id)


def _take(fresh: Fresh, old: Groups, key: str, grant_id: str) -> None:
    _group(fresh, old, key).discard(grant_id)


def _group(fresh: Fresh, old: Groups, key: str) -> set[str]:
    """A group as it will be: copied once, however many of the records are of it."""
    found = fresh.get(key)
    if found is None:
        found = fresh[key] = set(old.get(key, NONE))
    return found


def _merged(old: Groups, fresh: Fresh) -> Groups:
    if all(old.get(key, NONE) == ids for key, ids in fresh.items()):
        return old
    full = {key: frozenset(ids) for key, ids in fresh.items() if ids}
    return changed(old, full, [key for key, ids in fresh.items() if not ids])
