"""JSON data -> its one text: keys in order, no white space, ASCII without control characters."""

from __future__ import annotations

import json
from typing import Any

_json = json.JSONEncoder(ensure_ascii=True, sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def canonical(value: Any) -> str:
    """The one encoding of a JSON value."""
    text = _json(value)
    return text if "\x7f" not in text else text.replace("\x7f", "\\u007f")
