"""Values that a request was given, so that nobody who keeps a hold on them can change the request afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pdp.errors import PdpError

DEPTH_MAX = 32
_PLAIN = frozenset({str, int, bool, type(None)})  # most of what is told, and it cannot be changed


class FrozenDict(Mapping[str, Any]):
    """A mapping that cannot be changed, and that can be hashed, copied and pickled as a value can."""

    __slots__ = ("_of",)

    def __init__(self, of: Mapping[str, Any]) -> None:
        self._of = dict(of)

    def __getitem__(self, key: str) -> Any:
        return self._of[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._of)

    def __len__(self) -> int:
        return len(self._of)

    def __hash__(self) -> int:
        return hash(frozenset(self._of.items()))

    def __repr__(self) -> str:
        return repr(self._of)

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (self._of,)


def frozen(value: Any, depth: int = 0) -> Any:
    """A copy that cannot be changed. What is not data is left as it is, for the vocabulary to refuse."""
    if depth > DEPTH_MAX:
        raise PdpError("invalid_request", f"nested more than {DEPTH_MAX} deep")
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Mapping):
        return FrozenDict({key: frozen(each, depth + 1) for key, each in value.items()})
    if isinstance(value, list | tuple):
        return tuple([frozen(each, depth + 1) for each in value])
    if isinstance(value, set | frozenset):
        return frozenset(value)
    return value
