"""Diagnostics: what is wrong with somebody's policy, as values.

A diagnostic is data (code, place, message, hint) that is collected, sorted and rendered at the edge; it is never an
exception on its own. `PolicyErrors` is the one exception, and it carries all of them at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from language.codes import CODES, Severity
from language.source import Span


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding. `code` is stable for ever; the wording may improve."""

    code: str
    message: str
    span: Span | None
    hint: str | None = None

    def __post_init__(self) -> None:
        assert self.code in CODES, self.code  # a wrong code is a bug of ours, found by the first test that meets it

    @property
    def severity(self) -> Severity:
        return CODES[self.code].severity

    @property
    def is_error(self) -> bool:
        return self.severity is Severity.ERROR

    @property
    def location(self) -> str:
        return self.span.location if self.span else "<policy set>"

    def as_json(self) -> dict[str, object]:
        found: dict[str, object] = {
            "code": self.code,
            "severity": self.severity.value,
            "message": self.message,
            "hint": self.hint,
        }
        if self.span is not None:
            line, column = self.span.source.position(self.span.start)
            end_line, end_column = self.span.source.position(self.span.end)
            found |= {
                "path": self.span.source.path,
                "line": line,
                "column": column,
                "end_line": end_line,
                "end_column": end_column,
            }
        return found


SHOWN_MAX = 50
MESSAGE_MAX = 600


class PolicyErrors(Exception):
    """A policy set that does not compile: every diagnostic of every file, sorted; at least one is an error."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = sort_diagnostics(diagnostics)
        shown = [render(d, excerpt=False) for d in self.diagnostics[:SHOWN_MAX]]
        more = len(self.diagnostics) - len(shown)
        super().__init__("\n".join([*shown, f"and {more} more"] if more else shown))


def sort_diagnostics(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """In order of file, place and code, each said once."""
    unique = {(d.location, d.code, d.message): d for d in diagnostics}
    return tuple(sorted(unique.values(), key=_place))


def _place(diagnostic: Diagnostic) -> tuple[str, int, str, str]:
    span = diagnostic.span
    return (span.source.path if span else "", span.start if span else 0, diagnostic.code, diagnostic.message)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint naming the closest known word, when one is close."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f"did you mean `{close[0]}`?" if close else None


def render(diagnostic: Diagnostic, *, excerpt: bool = True) -> str:
    """Text for a person: place, severity, code, message; the line with carets under the span; the hint."""
    message = diagnostic.message if len(diagnostic.message) <= MESSAGE_MAX else diagnostic.message[:MESSAGE_MAX] + "…"
    lines = [f"{diagnostic.location}: {diagnostic.severity.value}[{diagnostic.code}]: {message}"]
    if excerpt and diagnostic.span is not None:
        lines += _excerpt(diagnostic.span)
    if diagnostic.hint:
        lines.append(f"  hint: {diagnostic.hint}")
    return "\n".join(lines)


_EXCERPT_WIDTH = 160


def _excerpt(span: Span) -> list[str]:
    line, column = span.source.position(span.start)
    text = span.source.line(line).replace("\t", " ")
    first = max(0, column - 1 - _EXCERPT_WIDTH // 2)
    shown = text[first : first + _EXCERPT_WIDTH]
    start = column - 1 - first
    width = max(1, min(span.end - span.start, len(shown) - start))
    gutter = f"{line:>5} | "
    return [gutter + printable(shown), " " * (len(gutter) - 2) + "| " + " " * start + "^" * width]


def printable(text: str) -> str:
    """Text that cannot move the cursor, reverse the line or hide characters on a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
