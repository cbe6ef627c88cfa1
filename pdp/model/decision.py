"""The answer to one question."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple, NoReturn

from language import FOREVER, LATEST, Outcome, RuleError, Span

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(microseconds: int) -> datetime | None:
    """A moment as a datetime; None is for ever. What comes after the last that a datetime can say is that one."""
    if microseconds >= FOREVER:
        return None
    return _EPOCH + timedelta(microseconds=min(microseconds, LATEST))


class Settled(NamedTuple):
    """What was decided. Equal decisions share one: it is made once and never changed."""

    outcome: Outcome
    errors: tuple[RuleError, ...]
    generation: str
    instance: str  # who decided; the first part of the decision's id
    valid_until_us: int  # when the authority ends if nothing is revoked
    fresh_until_us: int  # when to ask again
    bounded_by: str | None  # what ends it: `rule NAME`, `task`, `credential`

    def ending(self, until: int, bounded_by: str | None) -> Settled:
        """The same outcome, without errors, with an end of its own. On the hot path, so in one step."""
        return tuple.__new__(Settled, (self[0], (), self[2], self[3], until, FOREVER, bounded_by))


class Decision:
    """A decision, what decided it, and until when it holds. Ask for `.allowed`: a decision has no truth of its own."""

    __slots__ = ("_number", "settled")

    def __init__(self, settled: Settled, number: int) -> None:
        self.settled = settled
        self._number = number

    @property
    def id(self) -> str:
        """Names this decision among all that were made anywhere."""
        return f"{self.settled.instance}-{self._number}"

    @property
    def number(self) -> int:
        return self._number

    @property
    def outcome(self) -> Outcome:
        return self.settled.outcome

    @property
    def allowed(self) -> bool:
        return self.settled.outcome.allowed

    @property
    def reason(self) -> str:
        return self.settled.outcome.reason

    @property
    def rule(self) -> str | None:
        return self.settled.outcome.rule

    @property
    def because(self) -> str | None:
        return self.settled.outcome.because

    @property
    def span(self) -> Span | None:
        return self.settled.outcome.span

    @property
    def annotations(self) -> tuple[tuple[str, str | None], ...]:
        return self.settled.outcome.annotations

    @property
    def errors(self) -> tuple[RuleError, ...]:
        return self.settled.errors

    @property
    def generation(self) -> str:
        return self.settled.generation

    @property
    def bounded_by(self) -> str | None:
        return self.settled.bounded_by

    @property
    def valid_until_us(self) -> int:
        return self.settled.valid_until_us

    @property
    def valid_until(self) -> datetime | None:
        return instant(self.settled.valid_until_us)

    @property
    def fresh_until_us(self) -> int:
        return self.settled.fresh_until_us

    @property
    def fresh_until(self) -> datetime | None:
        return instant(self.settled.fresh_until_us)

    def within(self, ends: int, ended_by: str, fresh_until: int) -> Decision:
        """The same decision, no longer than these bounds."""
        outcome, errors, generation, instance, until, fresh, bounded_by = self.settled
        if until <= ends and fresh <= fresh_until:
            return self
        if ends < until:
            until, bounded_by = ends, ended_by
        settled = Settled(outcome, errors, generation, instance, until, min(fresh, fresh_until), bounded_by)
        return Decision(settled, self._number)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Decision) and (self.settled, self._number) == (other.settled, other._number)

    def __hash__(self) -> int:
        return hash(self.id)

    def __bool__(self) -> NoReturn:
        raise TypeError("a decision is neither true nor false; ask `decision.allowed`")

    def __str__(self) -> str:
        by = f" by {self.rule}" if self.rule else ""
        return f"{'allow' if self.allowed else 'deny'}: {self.reason}{by}"

    def __repr__(self) -> str:
        return f"<Decision {self.id} {self}>"
