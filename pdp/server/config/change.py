"""Which settings a process takes while it runs, and what becomes of the others.

A setting says itself that it is one of them (`reloads` in `sections.py`). All others are read when a process starts: a
change of one is refused with its name, and with it all that changed, since nobody wrote half of a configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field, fields, is_dataclass, replace
from functools import cache
from typing import Any

from pdp.server.config.problems import BadConfig, Problem
from pdp.server.config.sections import Config

RESTART = "it is read when a process starts, so it needs a restart"


@cache
def reloaded_settings() -> tuple[str, ...]:
    """What can change without a restart: `peps`, `limits.deadline`."""
    return tuple(name for name, reloads in _settings() if reloads)


def refuse_restart(started: Config, wanted: Config) -> None:
    """Raises with the name of each setting that would need a restart."""
    changed = [name for name, reloads in _settings() if not reloads and _of(started, name) != _of(wanted, name)]
    if changed:
        raise BadConfig("restart_needed", [Problem("restart_needed", name, RESTART) for name in changed])


def with_reloaded(in_force: Config, wanted: Config) -> Config:
    """`in_force`, with what may change as `wanted` has it; the very same where nothing does."""
    found = in_force
    for name in reloaded_settings():
        section, _, setting = name.rpartition(".")
        value = _of(wanted, name)
        if _of(found, name) == value:
            continue
        if section:
            name, value = section, replace(getattr(found, section), **{setting: value})
        found = replace(found, **{name: value})
    return found


def _settings() -> Iterator[tuple[str, bool]]:
    for field in fields(Config):
        section = field.default
        if is_dataclass(section) and not isinstance(section, type):
            for inner in fields(section):
                yield f"{field.name}.{inner.name}", _reloads(inner)
        else:
            yield field.name, _reloads(field)


def _reloads(field: Field[Any]) -> bool:
    return bool(field.metadata["reloads"])


def _of(config: Config, name: str) -> Any:
    found: Any = config
    for part in name.split("."):
        found = getattr(found, part)
    return found
