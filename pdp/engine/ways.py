"""The ways in which policy tests are decided: those of the language, and this engine's cache, warm."""

from __future__ import annotations

from collections.abc import Mapping

from language import WAYS, Bundle, Inputs, Leaf, RequestData, Result, Way
from pdp.engine.cache import DecisionCache
from pdp.engine.key import decision_key


def through_cache(cache: DecisionCache, bundle: Bundle, leaf: Leaf, inputs: Inputs) -> Result:
    """The remembered decision of policy, or a fresh one, which is remembered."""
    key = decision_key(leaf, inputs)
    entry = cache.find(key, inputs.now)
    if entry is not None:
        return entry.result
    result = bundle.decide(leaf.action, leaf.resource_type, inputs)
    cache.keep(key, inputs.now, result)
    return result


def test_ways() -> Mapping[str, Way]:
    """Ways for one test: its steps share a cache, so that an entry of an early step meets the later ones."""
    cache = DecisionCache()

    def cached(bundle: Bundle, request: RequestData, inputs: Inputs) -> Result:
        leaf = bundle.leaves[request.action, request.resource.type]
        through_cache(cache, bundle, leaf, inputs)
        return through_cache(cache, bundle, leaf, inputs)

    return {**WAYS, "cached": cached}


test_ways.__test__ = False  # type: ignore[attr-defined]  # not a test of ours, whatever its name says to pytest
