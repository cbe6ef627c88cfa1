"""Which Python value stands for which type, and how foreign data becomes one.

Bool: bool. Int: int of 64 bits. String, SpiffeId, an enum's member, an entity's id: str. Time: microseconds since the
epoch. Duration: microseconds. Ip, Cidr: `ipaddress`. Set: frozenset. Map: `FrozenMap`. Record: a tuple in the order of its
fields, with None for an absent optional one. `conform` is the only way in: whatever it returns has exactly its type.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, assert_never

from language.spiffe import is_spiffe_id
from language.syntax.literals import (
    ELEMENTS_MAX,
    HIDDEN,
    INT_MAX,
    INT_MIN,
    STRING_BYTES_MAX,
    BadLiteral,
    format_duration,
    format_instant,
    parse_duration,
    parse_instant,
    quote,
)
from language.types import EntityType, EnumType, MapType, RecordType, Scalar, SetType, TaskType, Type, Unknown, show

ID_BYTES_MAX = 2048

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network

_UNFIT_FOR_IDS = re.compile(f"[\x00-\x1f\x7f-\x9f\ud800-\udfff{HIDDEN}]")


class BadValue(ValueError):
    """Data that is not of its declared type; the text names the place in the data and what was expected there."""


class FrozenMap(dict[str, str]):
    """A map that can stand in a cache key."""

    __slots__ = ()

    def __hash__(self) -> int:  # type: ignore[override]  # a dict is not hashable; this one is never changed
        return hash(frozenset(self.items()))


def conform(value: Any, type_: Type, where: str) -> Any:
    """The runtime value of foreign data, or BadValue. Nothing is converted that is not of the type already."""
    match type_:
        case Scalar():
            return _SCALARS[type_](value, where)
        case EnumType(_, members):
            if type(value) is not str or value not in members:
                raise _wrong(value, where, f"one of {', '.join(members)}")
            return value
        case EntityType(name):
            return conform_reference(value, name, where)
        case SetType(of):
            if not isinstance(value, list | tuple | set | frozenset):
                raise _wrong(value, where, show(type_))
            if len(value) > ELEMENTS_MAX:
                raise BadValue(f"{where}: a set has at most {ELEMENTS_MAX} elements, this one {len(value)}")
            return frozenset([conform(v, of, f"{where}[{i}]") for i, v in enumerate(value)])
        case MapType():
            return _conform_map(value, where)
        case RecordType():
            return conform_record(value, type_, where)
        case TaskType() | Unknown():
            raise _wrong(value, where, show(type_))
        case _:
            assert_never(type_)


def conform_record(value: Any, type_: RecordType, where: str) -> tuple[Any, ...]:
    if not isinstance(value, Mapping):
        raise _wrong(value, where, "an object")
    if not value and type_.absent is not None:
        return type_.absent
    refuse_undeclared(value, type_, where)
    return tuple([_conform_field(value, f.name, f.type, f.optional, where) for f in type_.fields])


def refuse_undeclared(names: Iterable[str], type_: RecordType, where: str) -> None:
    """Before any of their values is looked at."""
    if type_.names.issuperset(names):
        return
    unknown = next(name for name in names if name not in type_.names)
    known = ", ".join(sorted(type_.names)) or "none"
    raise BadValue(f"{where}: `{shorten(unknown)}` is not declared; known are {known}")


def _conform_field(value: Mapping[str, Any], name: str, type_: Type, optional: bool, where: str) -> Any:
    if name not in value:
        if optional:
            return None
        raise BadValue(f"{where}: `{name}` is missing")
    return conform(value[name], type_, f"{where}.{name}")


def conform_reference(value: Any, type_name: str, where: str) -> str:
    """The id of a reference written `["Type", "id"]`."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise _wrong(value, where, f'a reference such as ["{type_name}", "id"]')
    if value[0] != type_name:
        raise BadValue(f"{where}: a reference to `{shorten(value[0])}`, expected `{type_name}`")
    return conform_id(value[1], f"{where}[1]")


def conform_id(value: Any, where: str) -> str:
    """An entity's id: text in NFC without characters that hide or reorder others."""
    if type(value) is not str:
        raise _wrong(value, where, "an id")
    if not value:
        raise BadValue(f"{where}: an id is not empty")
    if value.isascii():
        if value.isprintable() and len(value) <= ID_BYTES_MAX:
            return value
    elif unicodedata.is_normalized("NFC", value) and not _UNFIT_FOR_IDS.search(value):
        if len(value.encode()) <= ID_BYTES_MAX:
            return value
    raise BadValue(f"{where}: `{shorten(value)}` is not an id: at most {ID_BYTES_MAX} bytes, NFC, no hidden characters")


def _conform_map(value: Any, where: str) -> FrozenMap:
    if not isinstance(value, Mapping):
        raise _wrong(value, where, "an object with texts")
    if len(value) > ELEMENTS_MAX:
        raise BadValue(f"{where}: a map has at most {ELEMENTS_MAX} entries, this one {len(value)}")
    return FrozenMap({_string(k, where): _string(v, f"{where}[{shorten(k)}]") for k, v in value.items()})


def _wrong(value: Any, where: str, expected: str) -> BadValue:
    return BadValue(f"{where}: found {describe(value)}, expected {expected}")


def _bool(value: Any, where: str) -> bool:
    if type(value) is not bool:
        raise _wrong(value, where, "true or false")
    return value


def _int(value: Any, where: str) -> int:
    if type(value) is not int:
        raise _wrong(value, where, "an integer")
    if not INT_MIN <= value <= INT_MAX:
        raise BadValue(f"{where}: the integer does not fit into 64 bits")
    return value


def _string(value: Any, where: str) -> str:
    if type(value) is not str:
        raise _wrong(value, where, "a text")
    if value.isascii():
        size = len(value)
    else:
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise BadValue(f"{where}: the text holds half of a surrogate pair") from None
    if size > STRING_BYTES_MAX:
        raise BadValue(f"{where}: a text has at most 64 KiB, this one {size} bytes")
    return value


def _time(value: Any, where: str) -> int:
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise BadValue(f"{where}: a time without a zone")
        value = value.isoformat()
    if type(value) is not str:
        raise _wrong(value, where, "an RFC 3339 time")
    try:
        return parse_instant(value)
    except BadLiteral as error:
        raise BadValue(f"{where}: {error}") from None


def _duration(value: Any, where: str) -> int:
    if isinstance(value, timedelta):
        microseconds = value // timedelta(microseconds=1)
        if not 0 <= microseconds <= INT_MAX:
            raise BadValue(f"{where}: a duration is not negative, and of at most 292,000 years")
        return microseconds
    if type(value) is not str:
        raise _wrong(value, where, "a duration such as `15m`")
    try:
        return parse_duration(value)
    except BadLiteral as error:
        raise BadValue(f"{where}: {error}") from None


def parse_ip(text: str) -> IpAddress | None:
    """An address in its one strict form; a mapped v4 address is that v4 address; a scope id is refused."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return None if address.scope_id else address.ipv4_mapped or address
    return address


_ONE_FORM = re.compile(r"[0-9A-Fa-f.:]+/(?:0|[1-9][0-9]{0,2})")  # `ip_network` also takes masks, host masks and scopes


def parse_cidr(text: str) -> IpNetwork | None:
    try:
        network = ip_network(text)
    except ValueError:
        return None
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        return None  # mapped addresses are v4 addresses here, so such a network would hold nothing
    return network if _ONE_FORM.fullmatch(text) else None


def _ip(value: Any, where: str) -> IpAddress:
    if isinstance(value, IPv4Address | IPv6Address):
        value = str(value)
    address = parse_ip(value) if type(value) is str else None
    if address is None:
        raise _wrong(value, where, "an IP address")
    return address


def _cidr(value: Any, where: str) -> IpNetwork:
    if isinstance(value, IPv4Network | IPv6Network):
        value = str(value)
    network = parse_cidr(value) if type(value) is str else None
    if network is None:
        raise _wrong(value, where, "a network such as `10.0.0.0/8`, with no host bits set")
    return network


def _spiffe_id(value: Any, where: str) -> str:
    if type(value) is not str or not is_spiffe_id(value):
        raise _wrong(value, where, "a SPIFFE ID")
    return value


_SCALARS = {
    Scalar.BOOL: _bool,
    Scalar.INT: _int,
    Scalar.STRING: _string,
    Scalar.TIME: _time,
    Scalar.DURATION: _duration,
    Scalar.IP: _ip,
    Scalar.CIDR: _cidr,
    Scalar.SPIFFE_ID: _spiffe_id,
}


def describe(value: Any) -> str:
    """Foreign data in a message: its kind, and a little of it."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | str() if type(value) not in (int, str):
            kind = "an integer" if isinstance(value, int) else "a text"
            return f"a {shorten(type(value).__name__)}, which is more than {kind}"
        case int():
            return "an integer" if abs(value) > INT_MAX else f"the integer {value}"
        case float():
            return "a number with a fraction"
        case str():
            return f"the text `{shorten(value)}`"
        case list() | tuple() | set() | frozenset():
            return "a list"
        case Mapping():
            return "an object"
        case _:
            return "something that is not data"


def shorten(value: Any) -> str:
    text = value if isinstance(value, str) else describe(value)
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:60])
    return clean + ("…" if len(text) > 60 else "")


def show_value(value: Any, type_: Type) -> str:
    """A runtime value as a policy would write it."""
    if value is None:
        return "absent"
    match type_:
        case Scalar.BOOL:
            return "true" if value else "false"
        case Scalar.TIME:
            return format_instant(value)
        case Scalar.DURATION:
            return format_duration(value)
        case Scalar.STRING:
            return quote(value if len(value) <= 200 else value[:200] + "…")
        case EntityType(name):
            return f"{name} {quote(value)}"
        case SetType(of):
            shown = sorted(show_value(v, of) for v in value)
            return "[" + ", ".join(shown[:20]) + (", …" if len(shown) > 20 else "") + "]"
        case MapType():
            return "{" + ", ".join(f"{quote(k)}: {quote(v)}" for k, v in sorted(value.items())[:20]) + "}"
        case RecordType(fields):
            pairs = [(f, v) for f, v in zip(fields, value, strict=True) if v is not None]
            return "{ " + ", ".join(f"{f.name}: {show_value(v, f.type)}" for f, v in pairs) + " }"
        case _:
            return str(value)
