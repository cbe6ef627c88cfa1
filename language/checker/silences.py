"""Warnings that a comment silences, with a reason: `# silence unused_declaration: used from July on`.

A silence is about what its comment is laid out with: the clause or field on its line or below it; at the head or the end
of a block all of it. The formatter itself says what that is, so that formatting a file changes none of its findings.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

from language.checker.report import Report
from language.codes import CODES, Severity
from language.diagnostics import Diagnostic, did_you_mean
from language.source import Span
from language.syntax import nodes as n
from language.syntax.format import comment_homes

_SILENCE = re.compile(r"#+\s*silence\s+([a-z_]+)\s*(?::\s*(\S.*))?")


@dataclass(frozen=True, slots=True)
class _Silence:
    code: str
    span: Span  # of the comment
    home: Span


def silence(modules: tuple[n.Module, ...], report: Report, *, complete: bool) -> None:
    """Takes away the warnings that a comment silences; errors cannot be silenced. `complete` says that every warning
    was looked for, so that a silence of none is one too many."""
    found = {m.source.path: s for m in modules if (s := _Silences.of(m, report)) is not None}
    used: set[_Silence] = set()
    kept: list[Diagnostic] = []
    for diagnostic in report.diagnostics:
        silences = found.get(diagnostic.span.source.path) if diagnostic.span is not None else None
        by = silences.of_warning(diagnostic) if silences is not None and not diagnostic.is_error else ()
        used.update(by)
        if not by:
            kept.append(diagnostic)
    report.diagnostics = kept
    if complete:
        for each in (s for silences in found.values() for s in silences.all if s not in used):
            report.say("unused_silence", f"there is no `{each.code}` here to silence", each.span)


class _Silences:
    """Those of one file."""

    def __init__(self, homes: tuple[tuple[n.Comment, Span], ...], silences: list[_Silence]) -> None:
        self._homes = homes
        self._starts = [comment.start for comment, _ in homes]
        self.all = silences
        self._by_code: dict[str, _Covers] = {}
        for code in {s.code for s in silences}:
            self._by_code[code] = _Covers([s for s in silences if s.code == code])

    @staticmethod
    def of(module: n.Module, report: Report) -> _Silences | None:
        if not any(_SILENCE.fullmatch(comment.text) for comment in module.comments):
            return None
        homes = comment_homes(module)
        silences = []
        for comment, home in homes:
            match = _SILENCE.fullmatch(comment.text)
            if match is None:
                continue
            span = Span(module.source, comment.start, comment.end)
            if not match[2]:
                report.say("silence_without_reason", "say why: `# silence code: reason`", span)
            elif match[1] not in CODES or CODES[match[1]].severity is not Severity.WARNING:
                hint = did_you_mean(match[1], CODES)
                report.say("silence_without_effect", f"there is no warning `{match[1]}`", span, hint)
            else:
                silences.append(_Silence(match[1], span, home))
        return _Silences(homes, silences)

    def of_warning(self, warning: Diagnostic) -> list[_Silence]:
        assert warning.span is not None
        place = self._home(warning.span)
        covers = self._by_code.get(warning.code)
        return [] if covers is None else covers.around(place)

    def _home(self, span: Span) -> Span:
        """Where a finding is: in a comment, it is where that comment belongs."""
        at = bisect_right(self._starts, span.start) - 1
        if at >= 0 and span.start < self._homes[at][0].end:
            return self._homes[at][1]
        return Span(span.source, span.start, span.start)


class _Covers:
    """Those of one code, found by a place that they are about. Homes stand in one another or apart."""

    def __init__(self, silences: list[_Silence]) -> None:
        by_home: dict[tuple[int, int], list[_Silence]] = {}
        for each in silences:
            by_home.setdefault((each.home.start, -each.home.end), []).append(each)
        self._homes = [by_home[key] for key in sorted(by_home)]
        self._starts = [home[0].home.start for home in self._homes]
        self._outer: list[int] = []  # of each home, the home that it stands in
        outer = -1
        for number, start in enumerate(self._starts):
            while outer >= 0 and self._homes[outer][0].home.end < start:
                outer = self._outer[outer]
            self._outer.append(outer)
            outer = number

    def around(self, place: Span) -> list[_Silence]:
        found: list[_Silence] = []
        at = bisect_right(self._starts, place.start) - 1
        while at >= 0:
            if place.end <= self._homes[at][0].home.end:
                found += self._homes[at]
            at = self._outer[at]
        return found
