"""One engine asked in every way that it can be asked; each answer is held against the plain evaluator's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pdp
from language import Source, compile_policies
from pdp.sdk.engine import EngineOptions

T0 = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000
FIELDS = ("action", "resource", "workload", "user", "task", "context", "gate", "location", "proof")


def engine_of(policy: str, *records: Any, clock: Callable[[], int] | None = None, entries: int = 10_000) -> pdp.Engine:
    """An engine whose denials are remembered for as long as they hold, so that nothing but the rules bounds them."""
    bundle = compile_policies([Source("catalogue.policy", policy)])
    engine = pdp.Engine(bundle, options=EngineOptions(cache_entries=entries, denials=None, clock=clock))
    engine.directory.upsert(*records)
    return engine


def ask(engine: pdp.Engine, request: pdp.Request, now: int) -> pdp.Decision:
    """Prebuilt, in keywords, and prebuilt by somebody else: all say what a fresh evaluation of the same snapshot says."""
    explained = engine.explain(request, now=now)
    fresh, applying = explained.decision, explained.answer.rules if explained.answer else ()
    if explained.answer is not None:
        assert (explained.answer.allowed, explained.answer.reason) == (fresh.allowed, fresh.reason)
    told = {name: getattr(request, name) for name in FIELDS}
    decisions = [
        engine.check(request, now=now),
        engine.check(**told, now=now),
        engine.check(replace(request), now=now),
        engine.check_many([request], now=now)[0],
        engine.check(request, now=now),
    ]
    for decision in decisions:
        assert said(decision) == said(fresh)
        assert decision.rule in applying if applying else decision.rule is None  # of several, any one
        assert decision.valid_until_us <= fresh.valid_until_us
    return decisions[0]


def said(decision: pdp.Decision) -> tuple[bool, str, str]:
    return (decision.allowed, decision.reason, decision.generation)


def remembered(engine: pdp.Engine, request: pdp.Request, now: int = T0) -> pdp.Decision:
    """Asks until the answer is known, and shows that it is: with the cache, and with the request."""
    decision = ask(engine, request, now)
    report = engine.explain_cache(request, now=now)
    assert report.hit, report
    assert request.memo.opens <= now < request.memo.closes
    return decision
