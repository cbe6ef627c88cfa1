"""Values that a request was given, so that nobody who keeps a hold on them can change the request afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pdp.errors import PdpError

DEPTH_MAX = 32
_PLAIN = frozenset({str, int, bool, type(None)})  # most of what is told, and it cannot be changed


def frozen(value: Any, depth: int = 0) -> Any:
    """A copy that cannot be changed. What is not data is left as it is, for the vocabulary to refuse."""
    if depth > DEPTH_MAX:
        raise PdpError("invalid_request", f"nested more than {DEPTH_MAX} deep")
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Mapping):
        return MappingProxyType({key: frozen(each, depth + 1) for key, each in value.items()})
    if isinstance(value, list | tuple):
        return tuple([frozen(each, depth + 1) for each in value])
    if isinstance(value, set | frozenset):
        return frozenset(value)
    return value
