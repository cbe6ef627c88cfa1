"""The built-in operations on sets and strings, as a table that the checker, the manual and its tests all read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal as OneOf


@dataclass(frozen=True, slots=True)
class Builtin:
    name: str
    of: OneOf["set", "string"]
    takes: OneOf["element", "set", "string", "nothing"]
    meaning: str
    true_example: str
    false_example: str


BUILTINS = (
    Builtin("contains", "set", "element", "the element is in the set", "[1, 2].contains(2)", "[1, 2].contains(3)"),
    Builtin(
        "contains_all",
        "set",
        "set",
        "every element of the other set is in this one",
        "[1, 2].contains_all([2])",
        "[1, 2].contains_all([2, 3])",
    ),
    Builtin("overlaps", "set", "set", "some element is in both", "[1, 2].overlaps([2, 3])", "[1, 2].overlaps([3])"),
    Builtin(
        "is_empty",
        "set",
        "nothing",
        "the set has no element",
        "context.none.is_empty()",
        "[1].is_empty()",
    ),
    Builtin(
        "starts_with", "string", "string", "the text begins so", '"invoice".starts_with("inv")', '"invoice".starts_with("x")'
    ),
    Builtin("ends_with", "string", "string", "the text ends so", '"a.pdf".ends_with(".pdf")', '"a.pdf".ends_with("a")'),
    Builtin("includes", "string", "string", "the text holds the other", '"abc".includes("b")', '"abc".includes("d")'),
)

METHODS: dict[tuple[str, str], Builtin] = {(b.of, b.name): b for b in BUILTINS}
