"""An explanation as it comes over the wire: every rule that was considered, in texts."""

from __future__ import annotations

from dataclasses import dataclass

from pdp.model.decision import Decision


@dataclass(frozen=True, slots=True)
class ToldConjunct:
    clause: str
    text: str
    truth: str  # true, false, error
    readings: tuple[tuple[str, str], ...]  # what was read, and what it was
    error: str | None


@dataclass(frozen=True, slots=True)
class ToldRule:
    rule: str
    effect: str  # allow, deny
    truth: str
    place: str  # file, line and column
    because: str | None
    conjuncts: tuple[ToldConjunct, ...]


@dataclass(frozen=True, slots=True)
class ToldExplanation:
    decision: Decision
    rules: tuple[ToldRule, ...]
