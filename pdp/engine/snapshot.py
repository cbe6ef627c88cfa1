"""What one decision reads: policy, data and revocations that belong together. Replaced whole, never changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from language import CHECK_STEPS, FOREVER, Bundle, Effort, Inputs, Leaf, Outcome, Read, Refusal, Result, World
from pdp.engine.cache import DecisionCache
from pdp.engine.key import Key, Part, key_parts
from pdp.engine.revocations import Revocations
from pdp.model.decision import Settled

GENERATION_DIGITS = 16


class PreparedLeaf:
    """A leaf with all that can be worked out before anyone asks."""

    __slots__ = ("_parts", "bounds", "effort", "function", "leaf", "reads", "settled", "takes_now", "timed")

    def __init__(self, leaf: Leaf, effort: Effort, settled: tuple[Settled, ...], bounds: tuple[str | None, ...]) -> None:
        self.leaf = leaf
        self.effort = effort if effort.can_be_long else None
        self.bounds = bounds  # `bounded_by`, by the number of the rule that ends it
        self.function: Callable[..., Any] = leaf.function
        self.timed = leaf.timed
        self.takes_now = leaf.parameters[:1] == ("now",)
        self.settled = settled  # by the number of the deciding rule
        parts = key_parts(leaf)
        self.reads: tuple[Read, ...] = tuple(read for read, _ in parts)
        self._parts: tuple[Part, ...] = tuple(part for _, part in parts)

    def arguments(self, inputs: Inputs) -> tuple[Any, ...]:
        """The function's arguments but for the moment, which comes first where it takes one."""
        arguments = self.leaf.arguments(inputs)
        return arguments[1:] if self.takes_now else arguments

    def key(self, inputs: Inputs) -> Key:
        return (self.leaf.action, self.leaf.resource_type, *[part(inputs) for part in self._parts])


class Policy:
    """A bundle that is active, with the decisions that it made. A cache belongs to one policy and goes with it."""

    def __init__(self, bundle: Bundle, instance: str, cache: DecisionCache | None, steps: int = CHECK_STEPS) -> None:
        self.bundle = bundle
        self.instance = instance
        self.cache = cache
        self.steps = steps  # of a check that the plain evaluator settles
        self.generation = bundle.digest[:GENERATION_DIGITS]
        self._settled = tuple(self.settle(Result(o, FOREVER, FOREVER, None, ()), FOREVER, None) for o in bundle.outcomes)
        self._bounds = tuple(f"rule {o.rule}" if o.rule else None for o in bundle.outcomes)
        self._leaves: dict[tuple[str, str], PreparedLeaf] = {}

    def leaf(self, action: str, resource_type: str) -> PreparedLeaf:
        pair = (action, resource_type)
        found = self._leaves.get(pair)
        if found is None:
            found = self._leaves[pair] = PreparedLeaf(
                self.bundle.leaves[pair], self.bundle.effort(*pair), self._settled, self._bounds
            )
        return found

    def count_hit(self) -> None:
        """What is remembered beside the cache was in it when it was decided."""
        if self.cache is not None:
            self.cache.stats.hits += 1

    def footprint(self, action: str, resource_type: str) -> tuple[Read, ...]:
        return self.bundle.leaves[action, resource_type].footprint

    def settle(self, result: Result, ends: int, ended_by: str | None) -> Settled:
        """What policy said, with the caller's own end."""
        until, bounded_by = result.until, f"rule {result.bound}" if result.bound else None
        if ends < until:
            until, bounded_by = ends, ended_by
        return Settled(result.outcome, result.errors, self.generation, self.instance, until, FOREVER, bounded_by)

    def refused(self, refusal: Refusal) -> Settled:
        outcome = Outcome(False, refusal.code, None, refusal.message, None)
        ended_by = "task" if refusal.until < FOREVER else None
        return Settled(outcome, (), self.generation, self.instance, refusal.until, FOREVER, ended_by)


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    policy: Policy
    world: World
    revoked: Revocations = field(default_factory=Revocations)
    #: Questions that were bound to it, by what keeps them: they go with the request, or with the snapshot.
    bounds: WeakKeyDictionary[Any, Any] = field(default_factory=WeakKeyDictionary, repr=False)
    #: What names it, for those who must not keep it.
    mark: object = field(default_factory=object, repr=False)
