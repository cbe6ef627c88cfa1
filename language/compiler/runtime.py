"""The floor that generated code stands on: the few things that it cannot say in an expression.

Whatever raises here, or in generated code, settles nothing: the plain evaluator then decides that request (law L3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from language.inputs import FOREVER
from language.syntax.literals import INT_MAX, INT_MIN
from language.texts import includes, search_steps
from language.work import QUANTIFIER_STEPS_MAX, size


class MissingRecord(Exception):
    """A record that some rule reads is not in the directory."""


class TooCostly(Exception):
    """A quantifier that would take more steps than it may."""


def afford(over: Any, steps: int) -> Any:
    """What a quantifier goes through, if that costs no more than it may."""
    if steps > QUANTIFIER_STEPS_MAX:
        raise TooCostly
    return over


def part(record: tuple[Any, ...] | None, index: int) -> Any:
    """A part of what may not be there, for counting."""
    return record[index] if record else None


def entry(of: Mapping[Any, Any] | None, key: Any) -> Any:
    """The same, of a map."""
    return None if of is None else of.get(key)


def bounded(value: int) -> int:
    """64-bit arithmetic: what does not fit is an error and never wraps."""
    if INT_MIN <= value <= INT_MAX:
        return value
    raise OverflowError


def same(left: int, right: int) -> int:
    """`==` of two timed truths: true or false for as long as both last."""
    life = min(abs(left), abs(right))
    return life if (left > 0) == (right > 0) else -life


#: What a timed function returns: the deciding rule (0 for none), until when the answer holds, until when its reason
#: does, and the rule whose end that is.
Verdict = tuple[int, int, int, int]


def verdict(deny: int, deny_rule: int, allow: int, allow_rule: int) -> Verdict:
    """min(max of allows, not max of denies), as law L8 defines it."""
    low = allow if allow < -deny else -deny
    until = low if low > 0 else -low
    bound = 0 if until == FOREVER else (allow_rule if low == allow else deny_rule)
    if deny > 0:
        return deny_rule, until, deny, bound
    if allow > 0:
        return allow_rule, until, until, bound
    return 0, until, min(-allow, -deny), bound


HELPERS = {
    "afford": afford,
    "size": size,
    "search_steps": search_steps,
    "includes": includes,
    "part": part,
    "entry": entry,
    "sum": sum,
    "bounded": bounded,
    "same": same,
    "verdict": verdict,
    "MissingRecord": MissingRecord,
    "Exception": Exception,
    "frozenset": frozenset,
    "any": any,
    "all": all,
    "min": min,
    "max": max,
}
