"""Any Python value -> JSON that is safe to write, and back. Total: nothing that a caller can send makes it fail.

What JSON cannot say is an object with one key that begins with `$`; a mapping's own key that does gets a second one. What
is too large is cut with a mark that tells its length and keyed digest. No method of a foreign object is ever called.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from pdp.record.masking import Masking

TEXT_MAX = 2048  # characters of one text that are kept whole
HEAD = 256  # characters that are kept of a longer one
ELEMENTS_MAX = 1000
DEPTH_MAX = 24
_INT_MAX = 2**63
CUT = "$cut"  # whose digests are a domain of their own, as those of a field are


def tell(value: Any, masking: Masking, owner: str = "", depth: int = 0) -> Any:
    """A value as JSON. `owner` is what its fields belong to, for those that are declared secret."""
    kind = type(value)
    if kind is str:
        return value if len(value) <= TEXT_MAX else _cut_text(value, masking)
    if kind is int:
        return value if -_INT_MAX <= value < _INT_MAX else {"$cut": "integer", "length": value.bit_length()}
    if value is None or kind is bool:
        return value
    if depth > DEPTH_MAX:
        return {"$cut": "depth", "length": DEPTH_MAX}
    if kind in (list, tuple):
        return _sequence(value, masking, owner, depth)
    if kind in (set, frozenset):
        told = [tell(v, masking, owner, depth + 1) for v in value]
        return {"$set": _capped(sorted(told, key=_order), masking)}
    if isinstance(value, Mapping):
        return tell_fields(value, masking, owner, depth)
    return _tell_other(value, masking, owner, depth)


def tell_fields(fields: Mapping[str, Any], masking: Masking, owner: str, depth: int = 0) -> dict[str, Any]:
    """A mapping as JSON, with its secret fields masked."""
    told: dict[str, Any] = {}
    for key, value in fields.items():
        if len(told) >= ELEMENTS_MAX:
            told["$more"] = len(fields) - ELEMENTS_MAX
            break
        name = key if type(key) is str else f"$key {type(key).__name__}"
        if masking.is_secret(owner, name):
            told[_key(name, masking)] = masking.hide(_bare(value), f"{owner}.{name}")
        else:
            told[_key(name, masking)] = tell(value, masking, f"{owner}.{name}", depth + 1)
    return told


def _sequence(value: Any, masking: Masking, owner: str, depth: int) -> list[Any]:
    told = [tell(v, masking, owner, depth + 1) for v in value[:ELEMENTS_MAX]]
    return told if len(value) <= ELEMENTS_MAX else [*told, {"$more": len(value) - ELEMENTS_MAX}]


def _capped(told: list[Any], masking: Masking) -> list[Any]:
    return told if len(told) <= ELEMENTS_MAX else [*told[:ELEMENTS_MAX], {"$more": len(told) - ELEMENTS_MAX}]


def _order(told: Any) -> tuple[str, str]:
    return type(told).__name__, str(told)


def _key(name: str, masking: Masking) -> str:
    if len(name) > HEAD:
        return f"$masked {masking.hide(name)['$masked']}"
    return f"${name}" if name.startswith("$") else name


def _cut_text(text: str, masking: Masking) -> dict[str, Any]:
    """The beginning of a long text. Tokens are looked for first: half a token would not be known as one."""
    return {"$cut": masking.head(text, HEAD), "length": len(text), "digest": masking.hide(text, CUT)["$masked"]}


def _tell_other(value: Any, masking: Masking, owner: str, depth: int) -> Any:
    match value:
        case str():
            return tell(str.__str__(value), masking, owner, depth)
        case bool() | int():
            return tell(int.__index__(value), masking, owner, depth)
        case float():
            return {"$float": float.__repr__(value)}
        case bytes() | bytearray() | memoryview():
            return masking.hide(bytes(value))
        case IPv4Address() | IPv6Address():
            return {"$ip": str(value)}
        case IPv4Network() | IPv6Network():
            return {"$net": str(value)}
        case datetime():
            return {"$time": datetime.isoformat(value)}
        case list() | tuple():
            return tell(list(value), masking, owner, depth)
        case set() | frozenset():
            return tell(frozenset(value), masking, owner, depth)
    return {"$type": type(value).__name__[:HEAD]}


def _bare(value: Any) -> Any:
    """A secret as what its digest is made of: a text as it is, anything else as JSON without masks."""
    return value if type(value) in (str, bytes) else tell(value, _NO_MASKS)


_NO_MASKS = Masking(bytes(32))


class Lost(ValueError):
    """What was told cannot be told back: it was masked, cut, or of no known kind. The text says which."""


class _Map(dict[str, Any]):
    """A map that can be an element of a set, as those of the language can."""

    __slots__ = ()

    def __hash__(self) -> int:  # type: ignore[override]  # a dict is not hashable; this one is never changed
        return hash(frozenset(self.items()))


def untell(told: Any) -> Any:
    """The value that `tell` was given: sequences as tuples. Raises `Lost`."""
    if isinstance(told, list):
        return tuple([untell(t) for t in told])
    if not isinstance(told, dict):
        return told
    if len(told) == 1:
        ((key, value),) = told.items()
        match key, value:
            case "$set", list():
                return frozenset([untell(v) for v in value])
            case "$ip", str():
                return ip_address(value)
            case "$net", str():
                return ip_network(value)
            case "$time", str():
                return datetime.fromisoformat(value)
    marks = [k for k in told if k.startswith("$") and not k.startswith("$$")]
    if marks:
        raise Lost({"$masked": "masked", "$text": "masked"}.get(marks[0].split(" ")[0], "cut"))
    return _Map({k[1:] if k.startswith("$$") else k: untell(v) for k, v in told.items()})


def show(told: Any) -> str:
    """What was told, for a person: masks and cuts in angle brackets."""
    match told:
        case str():
            return told
        case {"$masked": str(digest)}:
            return f"<masked {digest}>"
        case {"$text": list(parts)}:
            return "".join(map(show, parts))
        case {"$cut": head, "length": length}:
            return f"{show(head)}<cut, {length} in all>"
        case [str(type_name), entity_id]:
            return f"{type_name} {show(entity_id)}"
    return str(told)
