"""What a gate raises instead of letting a call through."""

from __future__ import annotations

from typing import Any

from language import printable
from pdp.model.decision import Decision


class Denied(PermissionError):
    """A gate said no. Its text is one line: what was asked, the reason, the rule and its words, the decision's id.

    `decision` is None where a gate refused what it could not even put as a question, such as raw SQL.
    """

    def __init__(
        self, decision: Decision | None, *, asked: str = "", reason: str | None = None, because: str | None = None
    ) -> None:
        self.decision = decision
        self.asked = asked
        self.reason = reason or (decision.reason if decision is not None else "refused")
        self.because = because or (decision.because if decision is not None else None)
        super().__init__(_line(self))

    @property
    def rule(self) -> str | None:
        return self.decision.rule if self.decision is not None else None

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception is rebuilt from its text when it comes back from another process; this one has more than text.
        return _rebuilt, (type(self), self.decision, self.asked, self.reason, self.because)


def _line(denied: Denied) -> str:
    asked = f"{denied.asked}: " if denied.asked else ""
    by = f" by {denied.rule}" if denied.rule else ""
    because = f": {denied.because}" if denied.because else ""
    decision = f" (decision {denied.decision.id})" if denied.decision is not None else ""
    return printable(f"{asked}{denied.reason}{by}{because}{decision}")


def _rebuilt(kind: type[Denied], decision: Decision | None, asked: str, reason: str, because: str | None) -> Denied:
    return kind(decision, asked=asked, reason=reason, because=because)
