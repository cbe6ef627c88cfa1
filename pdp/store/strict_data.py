"""JSON, NDJSON and YAML, read strictly: what two readers could take for two things is refused.

No duplicate keys, no fractions, NaN or infinities, no huge integers, no deep nesting, no YAML beyond what JSON can say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NoReturn

from language import shorten

DEPTH_MAX = 32
DIGITS_MAX = 20


class BadData(ValueError):
    """The text is not strict data; the message says why, `line` where that is known."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


def read_json(text: str) -> Any:
    _refuse_depth(text)
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise BadData(f"not JSON: {error.msg.lower()}", error.lineno) from None
    except RecursionError:
        raise BadData("nested too deeply") from None


def read_ndjson(text: str) -> Iterator[tuple[int, Any]]:
    """Each record with its line."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, read_json(line)
            except BadData as error:
                raise BadData(str(error), number) from None


def read_yaml(text: str) -> Any:
    """YAML 1.2 in its JSON schema only: no tags, anchors or merges; `yes` and `012` are texts and not data."""
    import yaml  # only for those who write YAML

    _refuse_depth(text)
    try:
        return _yaml_value(yaml.compose(text, Loader=_untagged()), 0, set())
    except RecursionError:
        raise BadData("nested too deeply") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise BadData(f"not YAML: {getattr(error, 'problem', error)}", mark.line + 1 if mark else None) from None


def yaml_lines(text: str) -> list[int]:
    """The line at which each element of a list begins, of a text that was read without error."""
    import yaml

    whole = yaml.compose(text, Loader=yaml.SafeLoader)
    return [node.start_mark.line + 1 for node in (whole.value if whole is not None else ())]


@cache
def _untagged() -> Any:
    """A reader that refuses tags: `!!str 5` would be a text to one reader and a number to another."""
    import yaml

    class Untagged(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's own
            if getattr(event, "tag", None) is not None:
                raise BadData(f"the tag `{shorten(event.tag)}` means nothing here", event.start_mark.line + 1)
            return super().compose_node(parent, index)

    return Untagged


def _yaml_value(node: Any, depth: int, seen: set[int]) -> Any:
    import yaml

    if node is None:
        raise BadData("the file is empty")
    line = node.start_mark.line + 1
    if depth > DEPTH_MAX:
        raise BadData("nested too deeply", line)
    if id(node) in seen:
        raise BadData("an anchor is used; write the value out", line)
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        pairs = []
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                raise BadData("a key is a text", key.start_mark.line + 1)
            pairs.append((key.value, _yaml_value(value, depth + 1, seen)))
        return _object(pairs, line)
    if isinstance(node, yaml.SequenceNode):
        return [_yaml_value(v, depth + 1, seen) for v in node.value]
    return _yaml_scalar(node, line)


def _yaml_scalar(node: Any, line: int) -> Any:
    text: str = node.value
    if node.style in ("'", '"', "|", ">"):
        return text
    if text in ("true", "false"):
        return text == "true"
    if text in ("null", "~", ""):
        return None
    if text.lstrip("-").isascii() and text.lstrip("-").isdigit() and len(text) - len(text.lstrip("-")) <= 1:
        digits = text.lstrip("-")
        if len(digits) > 1 and digits[0] == "0":
            raise BadData(f"`{shorten(text)}` could be octal; put it in quotes or drop the zero", line)
        return _integer(text)
    if text.lower() in ("yes", "no", "on", "off", "y", "n", "true", "false", "null"):
        raise BadData(f"`{shorten(text)}` could be a truth value; write `true`, `false`, or put it in quotes", line)
    if node.tag == "tag:yaml.org,2002:float":
        _fraction(text)
    return text


def _object(pairs: list[tuple[str, Any]], line: int | None = None) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise BadData(f"the key `{shorten(twice)}` stands twice", line)
    return found


def _fraction(text: str) -> NoReturn:
    raise BadData(f"`{shorten(text)}` is not a whole number; there are no others")


def _integer(text: str) -> int:
    if len(text) > DIGITS_MAX:
        raise BadData(f"`{text[:20]}…` does not fit into 64 bits")
    if text.startswith("-0"):
        raise BadData("`-0` is written `0`")
    return int(text)


# One for all: `json.loads` with hooks makes another for each line of a file. It takes no byte order mark, which is no JSON.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_fraction, parse_constant=_fraction, parse_int=_integer)

_BRACKETS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\Z|\\\Z)|[\[\]{}]', re.DOTALL)


def _refuse_depth(text: str) -> None:
    """Before any recursive reader sees it: how deep brackets nest, strings left out."""
    if text.count("[") + text.count("{") <= DEPTH_MAX:
        return
    depth = 0
    for found in _BRACKETS.finditer(text):
        c = found[0]
        if c in "[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise BadData("nested too deeply")
        elif c in "]}":
            depth -= 1
