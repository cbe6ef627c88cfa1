"""A bounded map from a digest to what was found out about it. When it is full, the oldest goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

_V = TypeVar("_V")


class Bounded(Generic[_V]):
    """Each step is one of a dict's own, so that threads need no lock; what one of them loses is found out again."""

    __slots__ = ("_entries", "_entries_max", "get")

    def __init__(self, entries_max: int) -> None:
        if entries_max < 1:
            raise ValueError("entries_max: at least one")
        self._entries: dict[bytes, _V] = {}
        self._entries_max = entries_max
        self.get = self._entries.get

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._entries)

    def keep(self, digest: bytes, value: _V) -> None:
        entries = self._entries
        entries.pop(digest, None)  # so that it becomes the youngest
        while len(entries) >= self._entries_max:
            try:
                entries.pop(next(iter(entries)), None)
            except (RuntimeError, StopIteration):  # another thread was faster
                continue
        entries[digest] = value
