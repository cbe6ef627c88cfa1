"""Whether there is something to decide by: policy, trust, a fresh store; and whether we are still taking calls.

Each condition is a function that gives a reason why not. Asked on every call that needs it, so each is a comparison.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

Condition = Callable[[], str | None]


class Readiness:
    def __init__(self) -> None:
        self._conditions: dict[str, Condition] = {}
        self._draining = threading.Event()

    def require(self, name: str, condition: Condition) -> None:
        """Adds a condition: it returns None, or why we are not ready."""
        self._conditions = {**self._conditions, name: condition}

    def drain(self) -> None:
        """From now on new callers are sent elsewhere; calls that still come are answered."""
        self._draining.set()

    @property
    def is_draining(self) -> bool:
        return self._draining.is_set()

    def lacking(self) -> Mapping[str, str]:
        """What is missing, by name; empty when decisions can be made."""
        return {name: why for name, condition in self._conditions.items() if (why := _ask(condition)) is not None}

    @property
    def can_decide(self) -> bool:
        for condition in self._conditions.values():  # `_ask`, without its call: this is on the way of every call
            try:
                if condition() is not None:
                    return False
            except Exception:  # noqa: BLE001  # as there
                return False
        return True

    @property
    def is_serving(self) -> bool:
        """What health says: ready, and not about to end."""
        return not self._draining.is_set() and self.can_decide


def _ask(condition: Condition) -> str | None:
    try:
        return condition()
    except Exception as error:  # noqa: BLE001  # a condition that cannot be told is not met
        return f"cannot be told: {type(error).__name__}"
