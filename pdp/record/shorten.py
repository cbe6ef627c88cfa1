"""An entry that is too long -> one that fits, and that still says who did what to what.

What a caller may fill goes first, the largest part before the others: so a part that was made large takes away itself, and
no other. Names and ids are never taken away. Only one that is longer than a name can be keeps no more than its beginning.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pdp.record.canonical import canonical
from pdp.record.masking import Masking
from pdp.record.values import CUT, ELEMENTS_MAX, HEAD, TEXT_MAX

_NAME_MAX = TEXT_MAX + 64  # of a text that stays, as JSON: one of ASCII that is not cut anyway
_MARK_MAX = 128  # of what stands in the place of a part
_LIST_MAX = 8192  # of a list that stays, such as the grants above a task
_SHOWN = frozenset({"$masked", "$cut", "$text"})  # what a text may have become

_OF_ENTRY = ("evidence", "details", "errors", "because", "annotations")
_OF_REQUEST = ("context", "process", "location", "proof")
_OF_ENTITY = ("attributes", "parents")
_OF_TASK = ("attributes", "covers", "proof")

_Place = tuple[dict[str, Any], str]


def shortened(told: dict[str, Any], masking: Masking, size: int) -> dict[str, Any]:
    """The entry in about so many bytes; never in more, where its names are as short as names are. Changes `told`."""
    places = [(len(canonical(within[name])), within, name) for within, name in _places(told)]
    over = len(canonical(told)) - size
    for length, within, name in sorted(places, key=lambda place: -place[0]):
        if over <= 0 or length <= _MARK_MAX:
            break
        value = within[name]
        within[name] = {"id": value["id"], "$more": len(value) - 1} if name == "gate" else _mark(value, name, masking)
        over -= length - len(canonical(within[name]))
    return told if over <= 0 else {name: _bounded(value, name, masking) for name, value in told.items()}


def _places(told: dict[str, Any]) -> Iterator[_Place]:
    """What can be taken away."""
    yield from _in(told, _OF_ENTRY)
    request = told.get("request")
    if not isinstance(request, dict):
        return
    yield from _in(request, _OF_REQUEST)
    for name, parts in (("resource", _OF_ENTITY), ("user", _OF_ENTITY), ("task", _OF_TASK)):
        if isinstance(within := request.get(name), dict):
            yield from _in(within, parts)
    if isinstance(gate := request.get("gate"), dict) and "id" in gate:
        yield request, "gate"


def _in(within: dict[str, Any], names: tuple[str, ...]) -> Iterator[_Place]:
    return ((within, name) for name in names if name in within)


def _mark(value: Any, name: str, masking: Masking) -> dict[str, Any]:
    text = canonical(value)
    return {"$cut": name, "length": len(text), "digest": masking.hide(text, CUT)["$masked"]}


def _bounded(value: Any, name: str, masking: Masking, depth: int = 0) -> Any:
    """What stays, no longer than names are."""
    text = canonical(value)
    if len(text) <= _NAME_MAX:
        return value
    if isinstance(value, str):
        return {**_mark(value, name, masking), "$cut": masking.head(value, HEAD), "length": len(value)}
    if isinstance(value, dict) and not _SHOWN & value.keys() and depth < 3 and len(value) <= ELEMENTS_MAX // 10:
        return {key: _bounded(each, key, masking, depth + 1) for key, each in value.items()}
    if isinstance(value, list) and len(value) == 2 and depth < 3:  # a type and an id
        return [_bounded(each, name, masking, depth + 1) for each in value]
    return value if isinstance(value, list) and len(text) <= _LIST_MAX else _mark(value, name, masking)
