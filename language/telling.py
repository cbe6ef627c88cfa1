"""Values as they could be told again: the way back from `conform`, which takes what is told here for the same value."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from language.syntax.literals import format_instant
from language.types import EntityType, MapType, RecordType, Scalar, SetType, Type


def tell(value: Any, type_: Type) -> Any:
    """INVARIANT: `conform(tell(value, type_), type_, …) == value` for every value of the type."""
    match type_:
        case Scalar.TIME:
            return format_instant(value)
        case Scalar.DURATION:
            return timedelta(microseconds=value)
        case Scalar.IP | Scalar.CIDR:
            return str(value)
        case EntityType(name):
            return (name, value)
        case SetType(of):
            return [tell(v, of) for v in value]
        case MapType():
            return dict(value)
        case RecordType():
            return tell_record(value, type_)
        case _:
            return value


def tell_record(values: tuple[Any, ...], type_: RecordType) -> dict[str, Any]:
    """Absent optional fields are left out."""
    fields = zip(type_.fields, values, strict=True)
    return {f.name: tell(value, f.type) for f, value in fields if value is not None}
