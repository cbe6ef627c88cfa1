"""Lines, indentation, blank lines and comments: the part of formatting that knows nothing about the language."""

from __future__ import annotations

from language.source import Source, Span
from language.syntax import nodes as n
from language.syntax.show import AND, NOT, show_expr

WIDTH = 110
INDENT = "  "


class Printer:
    """Writes items in source order and puts every comment back where its neighbours are."""

    def __init__(self, source: Source, comments: tuple[n.Comment, ...]) -> None:
        self.source = source
        self.comments = list(comments)
        self.homes: list[tuple[n.Comment, Span]] = []  # each comment, with the item or the block that it is laid out with
        self.whole = Span(source, 0, 0)  # the statement that is being written, with its annotations
        self.lines: list[str] = []
        self.depth = 0
        self.last_end = 0  # where in the source the last thing written ended
        self.wants_blank = False
        self.first_in_block = False

    def fits(self, line: str) -> bool:
        return len(INDENT * self.depth + line) <= WIDTH

    def blank_line(self) -> None:
        """The next thing is set off from what came before."""
        self.wants_blank = bool(self.lines)

    def item(self, text: str, span: Span) -> None:
        """One line of its own; the comments inside it and behind it follow on its end."""
        home = span if self.depth else self.whole
        self._own_comments(span.start, home)
        self._separate(span.start)
        self._write(text)
        self._trailing(span.end, home)
        self.last_end = span.end

    def expression(self, head: str, expr: n.Expr, span: Span) -> None:
        """`when …` on one line, or one operand of its `and` or `or` a line."""
        line = head + show_expr(expr)
        if self.fits(line) or not isinstance(expr, n.And | n.Or):
            self.item(line, span)
            return
        word, strength = ("and", NOT) if isinstance(expr, n.And) else ("or", AND)
        home = span if self.depth else self.whole
        self._own_comments(span.start, home)
        self._separate(span.start)
        first, *rest = [show_expr(i, strength) for i in expr.items]
        self._write(head + first)
        for text in rest:
            self._write(f"{INDENT}{word} {text}")
        self._trailing(span.end, home)
        self.last_end = span.end

    def open(self, text: str, span: Span) -> None:
        """The first line of a block, whose items are then indented."""
        brace = span.start + _first_brace(span.text)
        self._own_comments(span.start, self.whole)
        self._separate(span.start)
        self._write(text)
        self._trailing(brace + 1, self.whole)
        self.last_end = brace + 1
        self.depth += 1
        self.first_in_block = True

    def close(self, span: Span) -> None:
        self._own_comments(span.end - 1, self.whole)
        self.depth -= 1
        self.first_in_block = False
        self.wants_blank = False
        self._write("}")
        self._trailing(span.end, self.whole)
        self.last_end = span.end

    def finish(self) -> str:
        end = len(self.source.text)
        self._own_comments(end + 1, Span(self.source, self.last_end, end))
        return "\n".join(self.lines) + "\n" if self.lines else ""

    # ---- lines

    def _write(self, text: str) -> None:
        self.lines.append((INDENT * self.depth + text).rstrip())

    def _separate(self, start: int) -> None:
        """A blank line where one is wanted or was written; never first in a block."""
        between = self.source.text[self.last_end : start]
        was_blank = between.count("\n") > 1 and any(not line.strip() for line in between.split("\n")[1:-1])
        if (self.wants_blank or was_blank) and self.lines and not self.first_in_block and self.lines[-1] != "":
            self.lines.append("")
        self.wants_blank = False
        self.first_in_block = False

    # ---- comments

    def _take(self, home: Span) -> n.Comment:
        comment = self.comments.pop(0)
        self.homes.append((comment, home))
        return comment

    def _own_comments(self, before: int, home: Span) -> None:
        """Comments that stand before the next thing, each on its own line."""
        while self.comments and self.comments[0].start < before:
            comment = self._take(home)
            self._separate(comment.start)
            self._write(comment.text)
            self.last_end = comment.end

    def _trailing(self, end: int, home: Span) -> None:
        """Comments inside what was just written, or behind it on its last line, go on its end."""
        line_end = self.source.text.find("\n", end)
        line_end = len(self.source.text) if line_end == -1 else line_end
        taken = []
        while self.comments:
            comment = self.comments[0]
            behind = comment.start < line_end and not self.source.text[end : comment.start].strip(" \t,")
            if comment.start >= end and not behind:
                break
            taken.append(self._take(home))
        if not taken:
            return
        *before, last = taken
        if before:  # only one comment can end a line: the others stand above it
            line = self.lines.pop()
            for comment in before:
                self.lines.append(INDENT * self.depth + comment.text)
            self.lines.append(line)
        self.lines[-1] += f"  {last.text}"


def _first_brace(text: str) -> int:
    """Where a block opens; no string and no comment before it holds a brace that counts."""
    at, quoted = 0, False
    while at < len(text):
        c = text[at]
        if quoted:
            at += c == "\\"
            quoted = c != '"'
        elif c == "#":
            at = text.find("\n", at)
            if at == -1:
                return len(text)
        elif c == '"':
            quoted = True
        elif c == "{":
            return at
        at += 1
    return len(text)
