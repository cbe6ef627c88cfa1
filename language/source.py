"""Policy text and places in it.

Knows: where a character offset lies (line, column, byte column) and how to show it. Does not know files: reading
them is the caller's business, so that the whole compiler is a function from text.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256

TEST_SUFFIX = "_test.policy"


@dataclass(frozen=True)
class Source:
    """One policy file: its path as the user knows it, and its text."""

    path: str
    text: str

    @property
    def is_tests(self) -> bool:
        """Whether it holds tests and nothing else; a decision point serves without it."""
        return self.path.endswith(TEST_SUFFIX)

    @cached_property
    def digest(self) -> str:
        return sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()

    @cached_property
    def line_starts(self) -> list[int]:
        starts = [0]
        find = self.text.find
        at = find("\n")
        while at != -1:
            starts.append(at + 1)
            at = find("\n", at + 1)
        return starts

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both counted from 1, columns in characters."""
        line = bisect_right(self.line_starts, offset)
        return line, offset - self.line_starts[line - 1] + 1

    def byte_position(self, offset: int) -> tuple[int, int]:
        """Line from 1 and column from 0 in UTF-8 bytes, as Python's `ast` counts."""
        line = bisect_right(self.line_starts, offset)
        start = self.line_starts[line - 1]
        return line, len(self.text[start:offset].encode("utf-8", "surrogatepass"))

    def offset_of_bytes(self, line: int, byte_column: int) -> int:
        """The inverse of `byte_position`."""
        start = self.line_starts[line - 1]
        head = self.line(line).encode("utf-8", "surrogatepass")[:byte_column]
        return start + len(head.decode("utf-8", "surrogatepass"))

    def line(self, number: int) -> str:
        start = self.line_starts[number - 1]
        end = self.line_starts[number] - 1 if number < len(self.line_starts) else len(self.text)
        return self.text[start:end].rstrip("\r")


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of characters in one source."""

    source: Source = field(repr=False)
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    @property
    def line(self) -> int:
        return self.source.position(self.start)[0]

    @property
    def location(self) -> str:
        line, column = self.source.position(self.start)
        return f"{self.source.path}:{line}:{column}"
