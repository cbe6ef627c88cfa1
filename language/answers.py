"""What an explained decision is made of. Values only; how they come about is in `meaning.py` and `explain.py`."""

from __future__ import annotations

from dataclasses import dataclass

from language.source import Span

OUT_OF_STEPS = "out_of_steps"


@dataclass(frozen=True, slots=True)
class RuleError:
    """A rule whose value is an error, and the first cause."""

    rule: str
    code: str
    message: str
    span: Span


@dataclass(frozen=True, slots=True)
class Reading:
    """A value that a condition read, as text."""

    source: str
    value: str


@dataclass(frozen=True, slots=True)
class ExplainedConjunct:
    clause: str
    text: str
    span: Span
    truth: str  # true, false, error
    until: int | None
    readings: tuple[Reading, ...]
    error: str | None
    parts: tuple[tuple[Span, bool], ...]  # the conditions that it is made of, and which of them were true


@dataclass(frozen=True, slots=True)
class ExplainedRule:
    rule: str
    effect: str
    because: str | None
    span: Span
    truth: str
    until: int | None
    conjuncts: tuple[ExplainedConjunct, ...]

    @property
    def failing(self) -> tuple[ExplainedConjunct, ...]:
        return tuple(c for c in self.conjuncts if c.truth != "true")


@dataclass(frozen=True, slots=True)
class Answer:
    """What policy says: the decision, every rule that applies and every one in error, and until when."""

    allowed: bool
    reason: str  # allowed, denied, default_deny, error
    rules: tuple[str, ...]  # all that decided, in order of name
    rule: str | None  # the one of them that applies the longest
    errors: tuple[RuleError, ...]
    until: int
    held_until: int  # until when reason and rule stay true as well
    bound: str | None  # the rule whose life is `until`
    considered: tuple[ExplainedRule, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether every rule was read to its end."""
        return not out_of_steps(self.errors)


def out_of_steps(errors: tuple[RuleError, ...]) -> bool:
    return any(e.code == OUT_OF_STEPS for e in errors)
