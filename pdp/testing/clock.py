"""A clock that stands still until it is moved."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from language import BadLiteral, format_instant, parse_duration
from pdp.errors import PdpError
from pdp.model.decision import instant
from pdp.model.request import moment

#: Where policy tests start as well.
START = "2026-01-01T00:00:00Z"


class FakeClock:
    """Called, it says the microseconds since the epoch, as the engine counts them."""

    def __init__(self, at: datetime | str | int = START) -> None:
        self._now_us = moment(at, "the clock")

    def __call__(self) -> int:
        return self._now_us

    @property
    def now(self) -> datetime:
        return instant(self._now_us) or datetime.max.replace(tzinfo=UTC)

    def advance(self, by: timedelta | str) -> None:
        """Moves on by a `timedelta` or a duration such as `"10m"`. Time goes back only by `set`."""
        span_us = duration_us(by, "advance")
        if span_us < 0:
            raise PdpError("invalid_argument", "advance: the clock goes back; say that with `set`")
        self.set(self._now_us + span_us)

    def set(self, to: datetime | str | int) -> None:
        """Moves to a moment, earlier or later: a time with a zone, an RFC 3339 text, or microseconds."""
        self._now_us = moment(to, "the clock")

    def __repr__(self) -> str:
        return f"FakeClock({format_instant(self._now_us)!r})"


def duration_us(value: timedelta | str, where: str) -> int:
    """Microseconds of a `timedelta`, or of a duration as the language writes it."""
    if isinstance(value, timedelta):
        return (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    if not isinstance(value, str):
        raise PdpError("invalid_argument", f"{where}: expected a timedelta, or a text such as `10m`")
    try:
        return parse_duration(value)
    except BadLiteral as error:
        raise PdpError("invalid_argument", f"{where}: {error}") from None
