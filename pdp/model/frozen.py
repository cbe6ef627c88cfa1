"""Values that a request was given, so that nobody who keeps a hold on them can change the request afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from pdp.errors import PdpError

DEPTH_MAX = 32
_PLAIN = frozenset({str, int, bool, type(None)})  # most of what is told, and it cannot be changed


class FrozenDict(dict[str, Any]):
    """A mapping that cannot be changed, and that can be hashed, copied and pickled as a value can. Made by `frozen` alone,
    so that what is in it cannot be changed either."""

    __slots__ = ()

    def __hash__(self) -> int:  # type: ignore[override]  # a dict is not hashable; this one is never changed
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (dict(self),)

    def __copy__(self) -> FrozenDict:
        return self

    def _unchangeable(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("what a request was given is never changed")

    __setitem__ = __delitem__ = __ior__ = _unchangeable
    clear = pop = popitem = setdefault = update = _unchangeable


def frozen(value: Any, depth: int = 0) -> Any:
    """A copy that cannot be changed. What is not data is left as it is, for the vocabulary to refuse."""
    if depth > DEPTH_MAX:
        raise PdpError("invalid_request", f"nested more than {DEPTH_MAX} deep")
    if type(value) in _PLAIN or type(value) is FrozenDict:
        return value
    if isinstance(value, Mapping):
        return FrozenDict({key: frozen(each, depth + 1) for key, each in value.items()})
    if isinstance(value, list | tuple):
        return tuple([frozen(each, depth + 1) for each in value])
    if isinstance(value, set | frozenset):
        return frozenset(value)
    return value
