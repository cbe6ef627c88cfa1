"""A YAML or JSON document of somebody else's, with the line of everything in it. Envoy takes more of YAML than we do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

BYTES_MAX = 4 << 20
DEPTH_MAX = 64
NODES_MAX = 200_000

_CAMEL = re.compile(r"[a-z][a-z0-9]*(?:[A-Z][a-z0-9]*)+", re.ASCII)


class NotReadable(ValueError):
    pass


@dataclass(frozen=True, slots=True)
class Located:
    """A value with its line: an object, a list, or a text as it was written."""

    value: Any  # dict[str, Located] | list[Located] | str
    line: int

    def get(self, *path: str) -> Located | None:
        """What stands below these names."""
        found: Located | None = self
        for name in path:
            found = found.value.get(name) if found is not None and isinstance(found.value, dict) else None
        return found

    @property
    def text(self) -> str:
        return self.value if isinstance(self.value, str) else ""

    @property
    def is_true(self) -> bool:
        return self.text.lower() in ("true", "yes", "on")

    def items(self) -> list[Located]:
        return self.value if isinstance(self.value, list) else []

    def walk(self) -> Iterator[tuple[str, Located]]:
        """Everything below, with the name that it stands under."""
        if isinstance(self.value, dict):
            for name, inner in self.value.items():
                yield name, inner
                yield from inner.walk()
        elif isinstance(self.value, list):
            for inner in self.value:
                yield "", inner
                yield from inner.walk()


def read_located(text: str) -> list[Located]:
    """The documents of a file."""
    import yaml

    if len(text) > BYTES_MAX:
        raise NotReadable("larger than 4 MiB")
    count = [0]
    try:
        return [_located(node, 0, count) for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise NotReadable(f"{where}{getattr(error, 'problem', None) or 'not YAML'}") from None
    except RecursionError:
        raise NotReadable("nested too deeply") from None


def _located(node: Any, depth: int, count: list[int]) -> Located:
    """Anchors are followed: they may be used often, so what they unfold to is counted."""
    import yaml

    count[0] += 1
    if depth > DEPTH_MAX or count[0] > NODES_MAX:
        raise NotReadable("nested too deeply, or too much")
    line = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Located] = {}
        for key, value in node.value:
            name = _field(str(key.value))
            if name in found and name != "<<":  # which of the two counts is not ours to guess
                raise NotReadable(f"line {key.start_mark.line + 1}: `{name[:80]}` stands twice")
            found[name] = _located(value, depth + 1, count)
        return Located(found, line)
    if isinstance(node, yaml.SequenceNode):
        return Located([_located(v, depth + 1, count) for v in node.value], line)
    return Located(node.value, line)


def _field(name: str) -> str:
    """The name of a field as it is in the protobuf: JSON may also write it in camel case, and Envoy takes both."""
    return re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name) if _CAMEL.fullmatch(name) else name
