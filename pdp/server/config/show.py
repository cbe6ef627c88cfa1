"""The configuration as a document again: what `--print-config` prints can be read back and means the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from language import format_duration
from pdp.server.config.read import types_of
from pdp.server.config.sections import Config, DurationUs


def show_config(config: Config) -> str:
    return json.dumps(_value(config, Config), indent=2, ensure_ascii=False)


def _value(value: Any, kind: Any) -> Any:
    if kind is DurationUs:
        return format_duration(value)
    if is_dataclass(value) and not isinstance(value, type):
        known = types_of(type(value))
        return {f.name: _value(getattr(value, f.name), known[f.name]) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _value(v, None) for k, v in value.items()}
    if isinstance(value, tuple):
        return [_value(v, None) for v in value]
    if isinstance(value, StrEnum):
        return value.value
    return str(value) if isinstance(value, Path) else value
