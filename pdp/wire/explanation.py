"""An explained decision -> `pdp.v1.ExplainResponse`: every rule that could have had a say, and what it looked at."""

from __future__ import annotations

from typing import Any

from language import ExplainedConjunct, ExplainedRule
from pdp.engine.decide import Explanation
from pdp.wire.decision import put_decision
from pdp.wire.messages import PDP
from pdp.wire.values import put_moment

_ExplainResponse = PDP.ExplainResponse


def write_explanation(explanation: Explanation, correlation: str | None = None) -> bytes:
    """Only for callers who may be told; who asks for one has been looked at before."""
    response = _ExplainResponse()
    put_decision(response.decision, explanation.decision, correlation, explain=True)
    for rule in explanation.answer.considered if explanation.answer is not None else ():
        _put_rule(response.rules.add(), rule)
    response.partial = explanation.answer is not None and not explanation.answer.is_whole
    return bytes(response.SerializeToString())


def _put_rule(into: Any, rule: ExplainedRule) -> None:
    into.rule, into.effect, into.truth, into.place = rule.rule, rule.effect, rule.truth, rule.span.location
    if rule.because is not None:
        into.because = rule.because
    if rule.until is not None:
        put_moment(into.until, rule.until)
    for conjunct in rule.conjuncts:
        _put_conjunct(into.conjuncts.add(), conjunct)


def _put_conjunct(into: Any, conjunct: ExplainedConjunct) -> None:
    into.clause, into.text, into.truth = conjunct.clause, conjunct.text, conjunct.truth
    if conjunct.until is not None:
        put_moment(into.until, conjunct.until)
    if conjunct.error is not None:
        into.error = conjunct.error
    for reading in conjunct.readings:
        into.readings.add(source=reading.source, value=reading.value)
