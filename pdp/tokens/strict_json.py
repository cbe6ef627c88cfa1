"""JSON that can be read in only one way, for documents that are to be believed: no name twice, no NaN, no lone surrogate."""

from __future__ import annotations

import json
from typing import Any

NESTING_MAX = 32
_DIGITS_MAX = 400


class NotJson(ValueError):
    """The text is not such a document. It says nothing of the text."""


class DuplicateName(NotJson):
    """A name stands twice in one object."""


def read_object(raw: bytes) -> dict[str, Any]:
    """The object that a document is."""
    value = _read(raw)
    if not isinstance(value, dict):
        raise NotJson("not an object")
    return value


def _read(raw: bytes) -> Any:
    """No error of the reader goes on as a cause: it would carry the document along."""
    try:
        text = raw.decode("utf-8")
        if raw.count(b"{") + raw.count(b"[") > NESTING_MAX and _depth(text) > NESTING_MAX:
            problem: type[NotJson] = NotJson
        else:
            value = _DECODER.decode(text)
            if "\\" in text:
                json.dumps(value, ensure_ascii=False).encode("utf-8")  # a lone surrogate has no bytes
            return value
    except DuplicateName:
        problem = DuplicateName
    except (ValueError, RecursionError):
        problem = NotJson
    raise problem("not one strict JSON document")


def _depth(text: str) -> int:
    """How deep brackets nest, those in texts left out; before any recursive reader sees it."""
    deepest = depth = 0
    quoted = escaped = False
    for c in text:
        if escaped:
            escaped = False
        elif quoted:
            escaped = c == "\\"
            quoted = c != '"'
        elif c == '"':
            quoted = True
        elif c in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif c in "]}":
            depth -= 1
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise DuplicateName("a name stands twice")
    return found


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS_MAX:
        raise NotJson("a number is too long")
    return int(digits)


def _refuse(_: str) -> None:
    raise NotJson("not a number of JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_constant=_refuse)
