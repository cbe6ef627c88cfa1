"""The ways in which policy tests are decided: those of the language, and this engine's cache, warm."""

from __future__ import annotations

from collections.abc import Mapping

from language import WAYS, Bundle, Inputs, RequestData, Result, Way
from pdp.engine.cache import DecisionCache


def test_ways() -> Mapping[str, Way]:
    """Ways for one test: its steps share a cache, so that an entry of an early step meets the later ones."""
    cache = DecisionCache()

    def cached(bundle: Bundle, request: RequestData, inputs: Inputs) -> Result:
        leaf = bundle.leaves[request.action, request.resource.type]
        cache.decide(bundle, leaf, inputs)
        return cache.decide(bundle, leaf, inputs)

    return {**WAYS, "cached": cached}


test_ways.__test__ = False  # type: ignore[attr-defined]  # not a test of ours, whatever its name says to pytest
