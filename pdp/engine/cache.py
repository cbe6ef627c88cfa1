"""Decisions of policy, remembered for exactly as long as they hold.

An entry is used inside [decided_at, held_until) and nowhere else: the interval comes from the rules, not from a guess.
Answers in error are never kept. What bounds one caller only (credential, grant) is added after the hit, by the caller.
"""

from __future__ import annotations

from language import Bundle, Inputs, Leaf, Result
from pdp.engine.key import Key, decision_key

ENTRIES_MAX = 65_536


class DecisionCache:
    def __init__(self, entries_max: int = ENTRIES_MAX) -> None:
        self._entries: dict[tuple[str, Key], tuple[int, Result]] = {}
        self._entries_max = entries_max

    def decide(self, bundle: Bundle, leaf: Leaf, inputs: Inputs) -> Result:
        """The remembered decision, or a fresh one."""
        key = (bundle.digest, decision_key(leaf, inputs))
        entry = self._entries.get(key)
        if entry is not None and entry[0] <= inputs.now < entry[1].held_until:
            return entry[1]
        result = bundle.decide(leaf.action, leaf.resource_type, inputs)
        if not result.errors and result.outcome.reason != "error":
            if len(self._entries) >= self._entries_max:
                self._entries.pop(next(iter(self._entries)))
            self._entries[key] = (inputs.now, result)
        return result
