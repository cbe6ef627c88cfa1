"""Typed values of `pdp.v1` -> what the vocabulary conforms, and back. Each kind is one Python type, so none becomes another.

bool, int, str; a time is a datetime and a duration a timedelta, so that neither is ever taken for a text; a reference is a
pair, a list a list, a record a dict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from language import LATEST, BadValue, RecordType, Trust, Vocabulary, refuse_undeclared
from pdp.errors import PdpError
from pdp.model.frozen import DEPTH_MAX
from pdp.model.request import Resource
from pdp.wire.refusals import Unfit

VALUES_MAX = 4_096  # of a question: what stands in its lists and records, however deep, and its parents
MESSAGE_VALUES_MAX = 65_536  # of all questions of one message


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Values:
    """How many more values may be read. They are counted before they are read, so that what is too much costs nothing."""

    __slots__ = ("_left", "_most", "_of")

    def __init__(self, most: int = VALUES_MAX, of: Values | None = None) -> None:
        """`of` is what all questions of a message may have together."""
        self._most = self._left = most
        self._of = of

    def count(self, number: int) -> None:
        if self._of is not None:
            self._of.count(number)
        self._left -= number
        if self._left < 0:
            raise Unfit("too_many_values", f"more than {self._most}")


def take(value: Any, values: Values, depth: int = 0) -> Any:
    """The Python value of a `Value`. The kinds that are frequent come first; a text that is not empty is one of them."""
    text = value.string_value
    if text:
        return text
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return text
    if kind == "list_value":
        items = value.list_value.values
        if depth >= DEPTH_MAX:
            raise Unfit("too_deep")
        values.count(len(items))
        return [each.string_value or take(each, values, depth + 1) for each in items]
    if kind is None:
        raise Unfit("absent_value")
    if kind == "record_value":
        return _take_inner_record(value.record_value, values, depth)
    return _TAKE[kind](getattr(value, kind))


def take_record(
    fields: Any, values: Values, declared: RecordType | None = None, where: str = "", depth: int = 0
) -> dict[str, Any]:
    """`declared` says which names may stand in it, where that is known: another is refused before any value is read."""
    values.count(len(fields))
    if declared is not None:
        try:
            refuse_undeclared(fields, declared, where)
        except BadValue as error:
            raise PdpError("invalid_request", str(error)) from None
    return {name: take(fields[name], values, depth) for name in fields}


def take_entity(entity: Any, where: str, values: Values, vocabulary: Vocabulary | None = None) -> Resource:
    type_name, entity_id = take_reference(entity, where)
    told = entity.parents
    attributes = parents = None
    if entity.HasField("attributes"):
        attributes = take_record(entity.attributes.fields, values, _attributes_of(vocabulary, type_name), where)
    if told:
        values.count(len(told))
        parents = tuple([take_reference(p, f"{where}.parents") for p in told])
    return Resource(type_name, entity_id, attributes, parents)


def take_reference(reference: Any, where: str) -> tuple[str, str]:
    type_name, entity_id = reference.type, reference.id
    if not type_name or not entity_id:
        raise Unfit("missing_field", f"type and id of {where}")
    return type_name, entity_id


def moment_of(timestamp: Any) -> int:
    """Microseconds since the epoch of a Timestamp."""
    if timestamp.nanos % 1000 or not 0 <= timestamp.nanos < 1_000_000_000:
        raise Unfit("malformed_value", "a time finer than a microsecond")
    found: int = timestamp.seconds * 1_000_000 + timestamp.nanos // 1000
    return found


def span_of(duration: Any) -> int:
    """Microseconds of a Duration."""
    nanos = duration.nanos
    if nanos % 1000 or not -1_000_000_000 < nanos < 1_000_000_000 or nanos * duration.seconds < 0:
        raise Unfit("malformed_value", "a duration finer than a microsecond, or of two signs")
    found: int = duration.seconds * 1_000_000 + nanos // 1000
    return found


def _attributes_of(vocabulary: Vocabulary | None, type_name: str) -> RecordType | None:
    """Those that a caller may tell; None where that is for others to refuse."""
    declared = None if vocabulary is None else vocabulary.entities.get(type_name)
    return declared.attributes if declared is not None and declared.fields and declared.trust is not Trust.VERIFIED else None


def _take_inner_record(value: Any, values: Values, depth: int) -> dict[str, Any]:
    if depth >= DEPTH_MAX:
        raise Unfit("too_deep")
    return take_record(value.fields, values, depth=depth + 1)


def _take_time(value: Any) -> datetime:
    try:
        return EPOCH + timedelta(microseconds=moment_of(value))
    except OverflowError:
        pass
    raise Unfit("malformed_value", "a time outside the years 1 to 9999")


def _take_duration(value: Any) -> timedelta:
    try:
        return timedelta(microseconds=span_of(value))
    except OverflowError:
        pass
    raise Unfit("malformed_value", "a duration that is too long")


_TAKE: Mapping[str, Callable[[Any], Any]] = {
    "bool_value": lambda v: v,
    "int_value": lambda v: v,
    "time_value": _take_time,
    "duration_value": _take_duration,
    "reference_value": lambda v: take_reference(v, "a reference"),
}


# ---- and back


def put(into: Any, value: Any, depth: int = 0) -> None:
    """Writes a Python value into a `Value`; PdpError for what the protocol cannot say, such as a float."""
    if depth > DEPTH_MAX:
        raise PdpError("invalid_request", f"nested more than {DEPTH_MAX} deep")
    kind = type(value)
    if kind is str:
        into.string_value = value
    elif kind is bool:
        into.bool_value = value
    elif kind is int:
        if not -(2**63) <= value < 2**63:
            raise PdpError("invalid_request", "an integer that does not fit into 64 bits")
        into.int_value = value
    elif isinstance(value, Mapping):
        into.record_value.SetInParent()
        put_record(into.record_value.fields, value, depth + 1)
    elif isinstance(value, list | tuple | set | frozenset):
        into.list_value.SetInParent()
        for each in value:
            put(into.list_value.values.add(), each, depth + 1)
    else:
        _put_scalar(into, value)


def put_record(fields: Any, values: Mapping[str, Any], depth: int = 0) -> None:
    for name, value in values.items():
        if type(name) is not str:
            raise PdpError("invalid_request", f"a name is a text, not {type(name).__name__}")
        put(fields[name], value, depth)


def put_entity(into: Any, entity: Resource) -> None:
    into.type, into.id = entity.type, entity.id
    if entity.attributes is not None:
        into.attributes.SetInParent()
        put_record(into.attributes.fields, entity.attributes)
    for type_name, entity_id in entity.parents or ():
        into.parents.add(type=type_name, id=entity_id)


def put_moment(into: Any, microseconds: int) -> None:
    """Into a Timestamp, which ends with the year 9999: what is later is its last moment."""
    microseconds = min(microseconds, LATEST)
    into.seconds, into.nanos = microseconds // 1_000_000, microseconds % 1_000_000 * 1000
    into.SetInParent()


def put_span(into: Any, microseconds: int) -> None:
    seconds, rest = divmod(abs(microseconds), 1_000_000)
    sign = -1 if microseconds < 0 else 1
    into.seconds, into.nanos = sign * seconds, sign * rest * 1000
    into.SetInParent()


def _put_scalar(into: Any, value: Any) -> None:
    match value:
        case datetime():
            if value.tzinfo is None:
                raise PdpError("invalid_request", "a time without a zone")
            put_moment(into.time_value, (value - EPOCH) // _MICROSECOND)
        case timedelta():
            put_span(into.duration_value, value // _MICROSECOND)
        case IPv4Address() | IPv6Address() | IPv4Network() | IPv6Network():
            into.string_value = str(value)
        case _:
            raise PdpError("invalid_request", f"a value of type {type(value).__name__}, which the protocol cannot say")
