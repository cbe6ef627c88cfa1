"""An optional rule: a grant whose binding failed several times within a while is suspended.

One failure may be a mistake, a deployment, a clock. Several say that somebody else holds a copy. Suspending denies the
rightful holder as well, and tells it so: `task_suspended`; that is the price, and why the rule is optional.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

GRANTS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class SuspendAfter:
    attempts: int
    within_us: int

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.within_us < 1:
            raise ValueError("at least one attempt, within some time")


def is_due(rule: SuspendAfter, attempts_us: Sequence[int], now_us: int) -> bool:
    """Whether these attempts on one grant suspend it now. The span is half open: an attempt exactly `within` ago is out."""
    return sum(now_us - rule.within_us < at <= now_us for at in attempts_us) >= rule.attempts


class ReuseCounts:
    """The latest attempts on each grant, as many as the rule asks for. Bounded, whatever a caller invents as ids.

    The grant whose last attempt is the oldest is forgotten first. Give only ids of grants that exist: else a caller could
    push real ones out with made-up ones. Not for several threads at once.
    """

    def __init__(self, rule: SuspendAfter, grants_max: int = GRANTS_MAX) -> None:
        self._rule, self._grants_max = rule, grants_max
        self._attempts: OrderedDict[str, deque[int]] = OrderedDict()

    def note(self, grant: str, at_us: int) -> bool:
        """Counts an attempt; True when the grant is to be suspended."""
        attempts = self._attempts.setdefault(grant, deque(maxlen=self._rule.attempts))
        self._attempts.move_to_end(grant)
        attempts.append(at_us)
        if len(self._attempts) > self._grants_max:
            self._attempts.popitem(last=False)
        return is_due(self._rule, attempts, at_us)

    def forget(self, grant: str) -> None:
        """The grant has ended or was resumed."""
        self._attempts.pop(grant, None)
