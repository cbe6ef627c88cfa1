"""`engine.directory`: the entities and relations of an engine, to be changed while it decides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from language import Change, DirectoryError, EntityData, RowData, World
from language import Directory as Data
from pdp.errors import PdpError
from pdp.store.records import read_record
from pdp.store.strict_data import BadData

#: A record as data files write it, or `pdp.Entity` and `pdp.Row`.
Record = EntityData | RowData | Mapping[str, Any]


class Directory:
    """Each change is one step: checked whole, then seen by every later check, or refused whole and seen by none.

    Records of a type and rows of a relation that a change leaves alone keep their versions, and so do the answers that
    were remembered about them.
    """

    def __init__(self, change: Callable[[Callable[[Data], None]], World], world: Callable[[], World]) -> None:
        self._change = change
        self._world = world

    @property
    def version(self) -> int:
        """Grows with every change."""
        return self._world().version

    def __len__(self) -> int:
        world = self._world()
        return sum(map(len, world.records.values())) + sum(map(len, world.rows.values()))

    def __contains__(self, key: object) -> bool:
        match key:
            case (str(type_name), str(entity_id)):
                return entity_id in self._world().records.get(type_name, ())
            case _:
                return False

    def upsert(self, *records: Record | Iterable[Record]) -> int:
        """Puts entities and rows, new or known. Returns the version that has them."""
        entities, rows = _sorted(records)
        return self._apply(lambda data: data.change(Change(put=entities, put_rows=rows)))

    def remove(self, *records: Record | tuple[str, str] | Iterable[Any]) -> int:
        """Takes away entities, named by `("Type", "id")` or told whole, and rows; what is not there is gone already."""
        keys, told = [], []
        for each in _flat(records):
            match each:
                case (str(type_name), str(entity_id)):
                    keys.append((type_name, entity_id))
                case _:
                    told.append(each)
        entities, rows = _sorted(told)
        keys += [(e.type, e.id) for e in entities]
        return self._apply(lambda data: data.change(Change(remove=keys, remove_rows=rows)))

    def replace(self, *records: Record | Iterable[Record]) -> int:
        """Holds these entities and rows and nothing else."""
        entities, rows = _sorted(records)
        return self._apply(lambda data: data.replace(entities, rows))

    def _apply(self, step: Callable[[Data], None]) -> int:
        try:
            return self._change(step).version
        except DirectoryError as error:
            raise PdpError("invalid_data", error.message) from None


def _sorted(records: Iterable[Any]) -> tuple[list[EntityData], list[RowData]]:
    entities: list[EntityData] = []
    rows: list[RowData] = []
    for each in _flat(records):
        try:
            read = each if isinstance(each, EntityData | RowData) else read_record(each)
        except BadData as error:
            raise PdpError("invalid_data", str(error)) from None
        if isinstance(read, RowData):
            rows.append(read)
        else:
            entities.append(read)
    return entities, rows


def _flat(records: Iterable[Any]) -> Iterable[Any]:
    """Records may be given one by one or as a list of them."""
    for each in records:
        if isinstance(each, EntityData | RowData | Mapping) or _is_reference(each):
            yield each
        elif isinstance(each, Iterable) and not isinstance(each, str | bytes):
            yield from each
        else:
            raise PdpError("invalid_data", f"found {type(each).__name__}, expected a record")


def _is_reference(value: object) -> bool:
    match value:
        case (str(), str()):
            return True
        case _:
            return False
