"""A document -> the configuration. What is not known is refused, with what was meant; all of it is said at once.

The dataclasses of `sections.py` are the schema: their types say what a value may be, so that no setting is described twice.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Union, get_args, get_origin, get_type_hints

from language import BadLiteral, describe, did_you_mean, parse_duration
from pdp.server.config.problems import BadConfig, Problem
from pdp.server.config.sections import Config, DurationUs, Limits

#: gRPC counts in 32 bits: milliseconds, and twice the largest request. What is more would mean something else there.
DURATION_US_MAX, AMOUNT_MAX = (1 << 31) * 1000, 1 << 30
_WRONG = object()  # stands for a value that was refused, until all have been looked at


def read_config(document: Any, base: Path) -> Config:
    """The configuration that a document says. Paths in it are relative to `base`."""
    reader = _Reader(base)
    found = reader.section(Config, document, "")
    if reader.problems:
        raise BadConfig("invalid_configuration", reader.problems)
    assert isinstance(found, Config)
    return found


@cache
def types_of(section: type) -> Mapping[str, Any]:
    """The settings of a section with their types."""
    hints = get_type_hints(section)
    return {f.name: hints[f.name] for f in fields(section)}


class _Reader:
    def __init__(self, base: Path) -> None:
        self.problems: list[Problem] = []
        self._base = base

    def section(self, section: type, value: Any, place: str) -> Any:
        if not isinstance(value, Mapping):
            return self._wrong_type(place or "the file", value, "settings by name")
        known = types_of(section)
        for name in value:
            if name not in known:
                where = f"{place}.{name}" if place else str(name)
                self._refuse("unknown_setting", where, f"there is no setting `{name}`", did_you_mean(str(name), known))
        found = {
            name: self._value(known[name], given, f"{place}.{name}" if place else name)
            for name, given in value.items()
            if name in known
        }
        for name, amount in found.items() if section is Limits else ():
            if known[name] is int and amount is not _WRONG and amount >= AMOUNT_MAX:
                found[name] = self._refuse("wrong_value", f"{place}.{name}", f"`{amount}`: it has to be below {AMOUNT_MAX}")
        return _WRONG if any(v is _WRONG for v in found.values()) else section(**found)

    def _value(self, kind: Any, value: Any, place: str) -> Any:
        if kind is DurationUs:
            return self._duration(value, place)
        origin = get_origin(kind)
        if origin in (Union, types.UnionType):
            inner = next(k for k in get_args(kind) if k is not type(None))
            return None if value is None else self._value(inner, value, place)
        if origin is tuple:
            return self._list(get_args(kind)[0], value, place)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            key, inner = get_args(kind)
            return self._map(key, inner, value, place)
        if is_dataclass(kind):
            assert isinstance(kind, type)
            return self.section(kind, value, place)
        return self._scalar(kind, value, place)

    def _scalar(self, kind: type, value: Any, place: str) -> Any:
        if issubclass(kind, StrEnum):
            names = [m.value for m in kind]
            if value not in names:
                message = f"found `{str(value)[:60]}`, expected one of {', '.join(names)}"
                return self._refuse("wrong_value", place, message, did_you_mean(str(value), names))
            return kind(value)
        if kind is Path:
            if type(value) is not str or not value or "\0" in value:
                return self._wrong_type(place, value, "a path")
            return self._base / Path(value).expanduser()
        if type(value) is not kind:  # a truth value is no number
            return self._wrong_type(place, value, {int: "a number", bool: "true or false", str: "a text"}[kind])
        if isinstance(value, int) and not 0 <= value < 1 << 40:
            return self._refuse("wrong_value", place, f"`{value}` cannot be")
        return value

    def _duration(self, value: Any, place: str) -> Any:
        if type(value) is not str:
            return self._wrong_type(place, value, "a duration such as `30s`")
        try:
            found = parse_duration(value)
        except BadLiteral as error:
            return self._refuse("wrong_value", place, str(error))
        if found <= 0:
            return self._refuse("wrong_value", place, "a duration here is more than nothing")
        if found >= DURATION_US_MAX:
            return self._refuse("wrong_value", place, "a duration here is less than 2^31 milliseconds, which are 24 days")
        return DurationUs(found)

    def _list(self, kind: Any, value: Any, place: str) -> Any:
        if not isinstance(value, list | tuple):
            return self._wrong_type(place, value, "a list")
        return self._all((self._value(kind, each, f"{place}[{i}]") for i, each in enumerate(value)), tuple)

    def _map(self, key_kind: Any, kind: Any, value: Any, place: str) -> Any:
        if not isinstance(value, Mapping):
            return self._wrong_type(place, value, "settings by name")
        keys = [self._value(key_kind, key, place) for key in value]
        values = [self._value(kind, each, f"{place}[{key}]") for key, each in value.items()]
        if _WRONG in keys or _WRONG in values:
            return _WRONG
        return MappingProxyType(dict(zip(keys, values, strict=True)))

    def _all(self, values: Iterable[Any], make: Callable[[list[Any]], Any]) -> Any:
        found = list(values)
        return _WRONG if any(v is _WRONG for v in found) else make(found)

    def _wrong_type(self, place: str, value: Any, expected: str) -> Any:
        return self._refuse("wrong_type", place, f"found {describe(value)}, expected {expected}")

    def _refuse(self, code: str, place: str, message: str, hint: str | None = None) -> Any:
        self.problems.append(Problem(code, place, message, hint))
        return _WRONG
