"""Which grants and tasks have ended by time: known without looking at all of them, however many there are."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

from pdp.grants.grant import Grant
from pdp.grants.index import Index
from pdp.grants.store import Record


class Due:
    """Ends of grants as records told them, the first one first. Its owner's threads are its owner's business."""

    def __init__(self) -> None:
        self._ends: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []

    def learn(self, records: Iterable[Record], whole: bool) -> None:
        """`whole`: these are all that there are."""
        if whole:
            self._ends = {each.id: each.ends for each in records if isinstance(each, Grant) and not each.is_over}
            self._heap = [(ends, grant_id) for grant_id, ends in self._ends.items()]
            heapify(self._heap)
            return
        for each in records:
            if isinstance(each, Grant) and not each.is_over and self._ends.get(each.id) != each.ends:
                self._ends[each.id] = each.ends
                heappush(self._heap, (each.ends, each.id))

    def late(self, index: Index, now: int, at_most: int) -> tuple[Grant, ...]:
        """What should have ended and has not. It is told again until it has."""
        found: list[Grant] = []
        while self._heap and self._heap[0][0] <= now and len(found) < at_most:
            ends, grant_id = heappop(self._heap)
            if self._ends.get(grant_id) != ends:
                continue  # it ends at another time now, and that stands in the heap as well
            grant = index.grants.get(grant_id)
            if isinstance(grant, Grant) and not grant.is_over:
                found.append(grant)
            else:
                del self._ends[grant_id]
        for grant in found:
            heappush(self._heap, (self._ends[grant.id], grant.id))
        return tuple(found)


class EndedTasks:
    """Tasks that have ended, each until it would have ended by time as well: from then on the clock says it to everyone,
    and nothing else has to. Its owner's threads are its owner's business."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._heap: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, records: Iterable[Record]) -> None:
        for each in records:
            if isinstance(each, Grant) and each.is_over and each.parent is None and each.task not in self._known:
                self._known.add(each.task)
                heappush(self._heap, (each.ends, each.task))

    def take_over(self, now: int) -> list[str]:
        """Those whose time is over; they are forgotten here."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            found.append(heappop(self._heap)[1])
        self._known.difference_update(found)
        return found
