"""Records of entities and rows as data files and programs write them -> what a directory takes. Their shape is checked
here; whether they fit the vocabulary is the directory's question."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from language import EntityData, RowData, describe, shorten
from pdp.errors import PdpError
from pdp.model.request import moment
from pdp.store.strict_data import BadData

_ENTITY_KEYS = {"type", "id", "attributes", "parents"}
_ROW_KEYS = {"relation", "of", "until"}


def read_record(record: Any) -> EntityData | RowData:
    """An entity or a row; BadData when it has the shape of neither."""
    if not isinstance(record, Mapping):
        raise BadData(f"found {describe(record)}, expected a record")
    is_row = "relation" in record
    allowed = _ROW_KEYS if is_row else _ENTITY_KEYS
    for key in record:
        if key not in allowed:
            raise BadData(f"`{shorten(key)}` means nothing here; known are {', '.join(sorted(allowed))}")
    return _row(record) if is_row else entity_data(record)


def entity_data(record: Mapping[str, Any]) -> EntityData:
    type_name, entity_id = record.get("type"), record.get("id")
    if not isinstance(type_name, str) or not isinstance(entity_id, str):
        raise BadData("an entity has a `type` and an `id`, both texts")
    attributes = record.get("attributes", {})
    if not isinstance(attributes, Mapping):
        raise BadData(f"`attributes`: found {describe(attributes)}, expected an object")
    return EntityData(type_name, entity_id, attributes, references(record.get("parents", ()), "parents"))


def references(value: Any, where: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list | tuple):
        raise BadData(f'`{where}`: found {describe(value)}, expected a list of ["Type", "id"]')
    return tuple([_reference(each, where) for each in value])


def _reference(value: Any, where: str) -> tuple[str, str]:
    if type(value) is list and len(value) == 2 and type(value[0]) is str and type(value[1]) is str:
        return value[0], value[1]  # as files have it; a class pattern raises and catches an error for each text
    match value:
        case [str(type_name), str(entity_id)]:
            return type_name, entity_id
        case _:
            raise BadData(f'`{where}`: found {describe(value)}, expected ["Type", "id"]')


def _row(record: Mapping[str, Any]) -> RowData:
    relation = record["relation"]
    if not isinstance(relation, str):
        raise BadData(f"`relation`: found {describe(relation)}, expected a name")
    of = references(record.get("of"), "of")
    if "until" not in record:
        return RowData(relation, of)
    until = record["until"]
    if not isinstance(until, str | datetime):
        raise BadData(f"`until`: found {describe(until)}, expected an RFC 3339 time")
    try:
        return RowData(relation, of, moment(until, "`until`"))
    except PdpError as error:
        raise BadData(error.message) from None
