"""The answer to one question."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from language import FOREVER, Outcome, RuleError, Span

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(microseconds: int) -> datetime | None:
    """A moment as a datetime; None is for ever."""
    return None if microseconds >= FOREVER else _EPOCH + timedelta(microseconds=microseconds)


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision, what decided it, and until when it holds. Ask for `.allowed`: a decision has no truth of its own."""

    outcome: Outcome
    errors: tuple[RuleError, ...]
    generation: str
    id: str
    valid_until_us: int  # when the authority ends if nothing is revoked
    fresh_until_us: int  # when to ask again
    bounded_by: str | None  # what ends it: `rule NAME`, `task`, `credential`

    @property
    def allowed(self) -> bool:
        return self.outcome.allowed

    @property
    def reason(self) -> str:
        return self.outcome.reason

    @property
    def rule(self) -> str | None:
        return self.outcome.rule

    @property
    def because(self) -> str | None:
        return self.outcome.because

    @property
    def span(self) -> Span | None:
        return self.outcome.span

    @property
    def annotations(self) -> tuple[tuple[str, str | None], ...]:
        return self.outcome.annotations

    @property
    def valid_until(self) -> datetime | None:
        return instant(self.valid_until_us)

    @property
    def fresh_until(self) -> datetime | None:
        return instant(self.fresh_until_us)

    def __bool__(self) -> NoReturn:
        raise TypeError("a decision is neither true nor false; ask `decision.allowed`")

    def __str__(self) -> str:
        by = f" by {self.rule}" if self.rule else ""
        return f"{'allow' if self.allowed else 'deny'}: {self.reason}{by}"
