"""What the directory holds at one moment: records and rows that never change. A decision reads one world, throughout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import immutables

from language.inputs import Rows
from language.vocabulary import EntityRecord, Vocabulary

#: Up to this many entries a table is a plain dict, copied when it changes: the quickest to read. A larger one is a
#: persistent map, which takes three times as long to read and a microsecond to change.
COPIED_MAX = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """A consistent state. `epochs` tells for each type, and as `rows NAME` for each relation, when it last changed."""

    vocabulary: Vocabulary
    records: Mapping[str, Mapping[str, EntityRecord]]
    rows: Mapping[str, Rows]
    epochs: Mapping[str, int]
    version: int


K = TypeVar("K")
V = TypeVar("V")


def changed(table: Mapping[K, V], put: Mapping[K, V], gone: Iterable[K] = ()) -> Mapping[K, V]:
    """The table with entries put and taken away; the one given stays as it is."""
    if len(table) + len(put) <= COPIED_MAX:
        copy = {**table, **put}
        for key in gone:
            copy.pop(key, None)
        return copy
    whole: immutables.Map[K, V] = table if isinstance(table, immutables.Map) else immutables.Map()
    edit = whole.mutate()
    for source in (put,) if whole is table else (table, put):
        for key, value in source.items():
            edit[key] = value
    for key in gone:
        edit.pop(key, None)
    return edit.finish()
