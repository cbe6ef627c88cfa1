"""Texts that a web framework makes a number or a UUID of, by which another thing would be named than was judged."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from uuid import UUID

_NUMBER = re.compile(r"\s*[+-]?[\d_]*\.?[\d_]+\.?(?:e[+-]?\d+)?\s*", re.IGNORECASE)  # in any script, as `int` takes them
_ONE_FORM = re.compile(r"0|-?[1-9][0-9]*|-?(?:0|[1-9][0-9]*)\.[0-9]*[1-9]")


def changes_when_converted(values: Iterable[Any]) -> bool:
    """Whether one of these texts reads as a number or a UUID that is written otherwise: `07`, ` 7`, `7.0`, `{…}`."""
    return any(_changes(text) for value in values for text in (value if isinstance(value, list) else [value]))


def _changes(text: Any) -> bool:
    if not isinstance(text, str):  # a constant of the route
        return False
    if _NUMBER.fullmatch(text):
        return _ONE_FORM.fullmatch(text) is None
    try:
        return str(UUID(text.strip())) != text
    except ValueError:
        return False
