"""Where passes leave what they find."""

from __future__ import annotations

from collections.abc import Iterable

from language.diagnostics import Diagnostic, did_you_mean
from language.source import Span

DIAGNOSTICS_MAX = 500


class Report:
    """Collects diagnostics. A pass goes on after an error, with a stand-in, so that one run tells everything."""

    def __init__(self) -> None:
        self.diagnostics: list[Diagnostic] = []

    def say(self, code: str, message: str, span: Span | None, hint: str | None = None) -> None:
        if len(self.diagnostics) >= DIAGNOSTICS_MAX:
            return  # nobody reads more at once, and what goes wrong three hundred thousand times has one cause
        self.diagnostics.append(Diagnostic(code, message, span, hint))

    def unknown(self, what: str, word: str, span: Span, known: Iterable[str], code: str = "unknown_name") -> None:
        self.say(code, f"there is no {what} `{word}`", span, did_you_mean(word, known))

    @property
    def has_errors(self) -> bool:
        return any(d.is_error for d in self.diagnostics)
