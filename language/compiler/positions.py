"""Policy positions in generated code, and the way back.

A function is made of rules from several files, and a code object knows one file. So all sources of a set are, for
Python, one listing, file after file: tracebacks show the policy's own line, and `locate` gives an exact span back.
"""

from __future__ import annotations

import ast
import linecache
from bisect import bisect_right
from types import TracebackType
from typing import TypeVar
from weakref import finalize

from language.source import Source, Span

A = TypeVar("A", bound=ast.expr | ast.stmt)


class Listing:
    def __init__(self, sources: tuple[Source, ...], name: str) -> None:
        self.sources = sources
        self.name = f"<policies {name}>"
        self.first_lines: list[int] = []
        line = 0
        for source in sources:
            self.first_lines.append(line)
            line += len(source.line_starts)
        self._index = {id(source): i for i, source in enumerate(sources)}
        self._memory: dict[tuple[int, int, int], tuple[int, int, int, int]] = {}

    def place(self, node: A, span: Span) -> A:
        """The node, at the span; nodes inside it that have no place get this one too."""
        key = (id(span.source), span.start, span.end)
        place = self._memory.get(key)
        if place is None:
            first = self.first_lines[self._index[id(span.source)]]
            line, column = span.source.byte_position(span.start)
            end_line, end_column = span.source.byte_position(span.end)
            place = self._memory[key] = (first + line, column, first + end_line, end_column)
        _fill(node, place)
        return node

    def show_in_tracebacks(self) -> None:
        text = "\n".join(s.text for s in self.sources)
        shown = (len(text), None, text.splitlines(True), self.name)
        linecache.cache[self.name] = shown
        finalize(self, _show_no_more, self.name, shown)  # or each reload would leave a whole policy set behind

    def locate(self, error: BaseException) -> Span | None:
        """Where in the policies an exception was raised, or None when it was not raised by compiled policy."""
        found: TracebackType | None = None
        traceback = error.__traceback__
        while traceback is not None:
            if traceback.tb_frame.f_code.co_filename == self.name:
                found = traceback
            traceback = traceback.tb_next
        if found is None:
            return None
        positions = list(found.tb_frame.f_code.co_positions())
        line, end_line, column, end_column = positions[found.tb_lasti // 2]
        if line is None:
            return None
        at = bisect_right(self.first_lines, line - 1) - 1
        source, first = self.sources[at], self.first_lines[at]
        if column is None or end_column is None or end_line is None:
            start = source.line_starts[line - first - 1]
            return Span(source, start, start + len(source.line(line - first)))
        start = source.offset_of_bytes(line - first, column)
        return Span(source, start, source.offset_of_bytes(end_line - first, end_column))


def _fill(node: ast.AST, place: tuple[int, int, int, int]) -> None:
    waiting = [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, ast.expr | ast.stmt | ast.keyword | ast.arg):
            if hasattr(each, "lineno"):
                continue
            each.lineno, each.col_offset, each.end_lineno, each.end_col_offset = place
        waiting += ast.iter_child_nodes(each)


def _show_no_more(name: str, shown: object) -> None:
    if linecache.cache.get(name) is shown:
        del linecache.cache[name]
