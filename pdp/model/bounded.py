"""A bounded map of what was found out once. When it is full, the oldest goes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class Bounded(Generic[_K, _V]):
    """Each step is one of the map's own, so that threads need no lock; what one of them loses is found out again.

    Ordered by itself, since a dict would look for its oldest key through the places of all that went before it.
    """

    __slots__ = ("_entries", "_entries_max", "get")

    def __init__(self, entries_max: int) -> None:
        if entries_max < 1:
            raise ValueError("entries_max: at least one")
        self._entries: OrderedDict[_K, _V] = OrderedDict()
        self._entries_max = entries_max
        self.get = self._entries.get

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[_K]:
        return iter(self._entries)

    def keep(self, key: _K, value: _V) -> None:
        entries = self._entries
        entries.pop(key, None)  # so that it becomes the youngest
        while len(entries) >= self._entries_max:
            with suppress(KeyError):  # another thread was faster
                entries.popitem(last=False)
        entries[key] = value

    def take(self, key: _K) -> _V | None:
        """Out of the map."""
        return self._entries.pop(key, None)
