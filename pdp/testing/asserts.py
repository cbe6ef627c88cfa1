"""Assertions about decisions. One that fails says what was asked, what was decided, and which rules came nearest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NoReturn

from language import FOREVER, Answer, ExplainedRule, format_duration, format_instant, printable
from pdp.model.decision import Decision
from pdp.model.request import Request, moment
from pdp.sdk.engine import Engine
from pdp.testing.clock import duration_us

RULES_SHOWN_MAX = 3

Until = timedelta | datetime | str | int


def assert_allowed(
    engine: Engine,
    request: Request | None = None,
    *,
    now: Any,
    by: str | None = None,
    until: Until | None = None,
    **asked: Any,
) -> Decision:
    """Asserts that a request, prebuilt or told in keywords, is allowed, and gives the decision.

    `by` names a rule that must apply; others may apply as well. `until` says when the answer must end: a moment, a duration
    from now such as `"10m"`, or `FOREVER`.
    """
    __tracebackhide__ = True
    return _Asked(engine, request, asked, now).expect(True, until=until, by=by)


def assert_denied(
    engine: Engine,
    request: Request | None = None,
    *,
    now: Any,
    reason: str | None = None,
    because: str | None = None,
    by: str | None = None,
    until: Until | None = None,
    **asked: Any,
) -> Decision:
    """Asserts that a request is denied, and gives the decision. `reason` is a code, `because` the text of the rule.

    A request that cannot be answered raises `PdpError`: it is a mistake in the test, and no denial.
    """
    __tracebackhide__ = True
    return _Asked(engine, request, asked, now).expect(False, until=until, by=by, reason=reason, because=because)


class _Asked:
    """A question with its answer."""

    def __init__(self, engine: Engine, request: Request | None, asked: dict[str, Any], now: Any) -> None:
        if request is not None and asked:
            raise TypeError(f"a prebuilt request, or keywords; found both: {', '.join(sorted(asked))}")
        self.engine = engine
        self.request = request if request is not None else Request(**asked)
        self.now_us = moment(now, "now")
        self.decision = engine.check(self.request, now=self.now_us)

    def expect(
        self, allowed: bool, *, until: Until | None, by: str | None, reason: str | None = None, because: str | None = None
    ) -> Decision:
        __tracebackhide__ = True
        decision = self.decision
        if decision.allowed != allowed:
            self._fail(f"expected {'allow' if allowed else 'deny'}, found {_told(decision)}", by)
        wrong = []
        if reason is not None and decision.reason != reason:
            wrong.append(f"expected because {reason}, found {decision.reason}")
        if because is not None and decision.because != because:
            wrong.append(f'expected because "{because}", found {_quoted(decision.because)}')
        if by is not None and decision.rule != by and by not in (applied := self._applied()):
            wrong.append(f"expected `{by}` to apply, found {', '.join(f'`{r}`' for r in applied) or 'no rule'}")
        if until is not None and (expected := self._moment(until)) != decision.valid_until_us:
            wrong.append(f"expected until {self._shown(expected)}, found {self._shown(decision.valid_until_us)}")
        if wrong:
            self._fail("; ".join(wrong), by)
        return decision

    def _applied(self) -> Sequence[str]:
        answer = self.engine.explain(self.request, now=self.now_us).answer
        return answer.rules if answer is not None else ()

    def _moment(self, until: Until) -> int:
        if until == FOREVER:
            return FOREVER
        if isinstance(until, timedelta) or (isinstance(until, str) and "T" not in until):
            return self.now_us + duration_us(until, "until")
        return moment(until, "until")

    def _shown(self, at_us: int) -> str:
        if at_us >= FOREVER:
            return "for ever"
        return f"{format_instant(at_us)} ({format_duration(at_us - self.now_us)} from now)"

    def _fail(self, message: str, by: str | None) -> NoReturn:
        __tracebackhide__ = True
        from pdp.cli.report import decision_text  # only a failure is printed

        lines = [message, f"  asked:   {_question(self.request)}, at {format_instant(self.now_us)}"]
        lines += [f"  decided: {line}" for line in decision_text(self.decision).split("\n")]
        answer = self.engine.explain(self.request, now=self.now_us).answer
        lines += ["  " + line for line in _nearest(answer, by)] if answer is not None else []
        raise AssertionError("\n".join(lines))


def _told(decision: Decision) -> str:
    by = f" by `{decision.rule}`" if decision.rule else ""
    return ("allow" if decision.allowed else f"deny because {decision.reason}") + by


def _quoted(text: str | None) -> str:
    return "no text" if text is None else f'"{printable(text)}"'


def _nearest(answer: Answer, by: str | None) -> list[str]:
    """The rule that was expected, then those that came nearest, as `pdp explain` prints them."""
    from pdp.cli.report import answer_text

    def expected_first(rule: ExplainedRule) -> bool:
        return by is None or rule.rule != by

    considered = sorted(answer.considered, key=expected_first)
    shown = considered[:RULES_SHOWN_MAX]
    lines = answer_text(replace(answer, considered=tuple(shown))).split("\n")
    more = len(considered) - len(shown)
    return [*lines, f"… and {more} more; `engine.explain` has them all"] if more else lines


def _question(request: Request) -> str:
    """A request in the words of a policy test."""
    data = request.data()
    parts = [f'{data.action} on {data.resource.type} "{data.resource.id}"']
    parts += [f"as {data.workload}"] if data.workload is not None else []
    parts += [f'for {data.user.type} "{data.user.id}"'] if data.user is not None else []
    parts += [f"during {data.task.kind} ({data.task.id}, {data.task.state})"] if data.task is not None else []
    proof = data.proof | (data.task.proof if data.task is not None else frozenset())
    parts += [f"proof {', '.join(sorted(proof))}"] if proof else []
    return printable(" ".join(parts))
