"""The environment twins of settings: `PDP_LIMITS_DEADLINE=500ms` is `limits: {deadline: 500ms}`.

Each setting that is one value has a twin, and so has a list of texts, with commas. What stands in the environment counts
more than the file. A variable that begins like one of ours and is none is refused: it is a typo, or it is an attack.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any, get_origin

from language import did_you_mean
from pdp.server.config.problems import BadConfig, Problem
from pdp.server.config.read import types_of
from pdp.server.config.sections import Config, DurationUs

PREFIX = "PDP_"


def overlay(document: Any, environment: Mapping[str, str]) -> Any:
    """The document with what the environment says laid over it."""
    twins = dict(_twins())
    starts = tuple(f"{PREFIX}{name.upper()}" for name in types_of(Config))
    found = {k: v for k, v in sorted(environment.items()) if k in twins}
    unknown = [k for k in environment if k not in twins and any(k == s or k.startswith(s + "_") for s in starts)]
    if unknown:
        problems = [
            Problem("unknown_setting", name, "no setting has this name in the environment", did_you_mean(name, twins))
            for name in sorted(unknown)
        ]
        raise BadConfig("invalid_configuration", problems)
    if not found or not isinstance(document, Mapping):
        return document
    result = dict(document)
    for name, text in found.items():
        section, setting, kind = twins[name]
        if setting is None:
            result[section] = _value(kind, text)
        else:
            held = result.get(section, {})
            if isinstance(held, Mapping):  # anything else is refused by the reader, with its place
                result[section] = {**held, setting: _value(kind, text)}
    return result


def _twins() -> Iterator[tuple[str, tuple[str, str | None, Any]]]:
    """Each variable with the section and setting that it is."""
    for section, kind in types_of(Config).items():
        name = f"{PREFIX}{section.upper()}"
        if section == "listen":
            yield name, (section, None, _LISTEN)
        elif is_dataclass(kind):
            assert isinstance(kind, type)
            for setting, inner in types_of(kind).items():
                yield f"{name}_{setting.upper()}", (section, setting, inner)
        elif get_origin(kind) is None:
            yield name, (section, None, kind)


_LISTEN = object()


def _value(kind: Any, text: str) -> Any:
    """A text as the value that the file would have; what it is not is left for the reader to refuse."""
    if kind is _LISTEN:
        return [{"address": part.strip()} for part in text.split(",")]
    if kind is int and text.isascii() and text.isdigit() and len(text) < 20:
        return int(text)
    if kind is bool:
        return {"true": True, "1": True, "false": False, "0": False}.get(text, text)
    if kind is DurationUs:
        return text
    return text
