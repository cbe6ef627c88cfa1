"""Runs policy tests: each step is decided in several ways, and a difference between them fails the test.

The ways here are compiled code and the plain evaluator; whoever owns another way in (a cache, a server) adds it. Nothing
is printed and no clock is read: results are values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from language.answers import Answer, out_of_steps
from language.asked import Refusal, RequestData, TaskData, task_end
from language.assemble import assemble
from language.compiler.load import Bundle, Outcome, Result
from language.directory import Directory, DirectoryError
from language.explain import conditions
from language.inputs import FOREVER, Inputs
from language.source import Span
from language.syntax.literals import format_duration, format_instant
from language.testing.cases import Check, DataChange, PolicyTest, TaskChange
from language.values import BadValue

#: A way to decide: the bundle, the request as told, its inputs.
Way = Callable[[Bundle, RequestData, Inputs], Result]


def compiled(bundle: Bundle, request: RequestData, inputs: Inputs) -> Result:
    return bundle.decide(request.action, request.resource.type, inputs)


def explained(bundle: Bundle, request: RequestData, inputs: Inputs) -> Result:
    return bundle.settle(request.action, request.resource.type, inputs)


WAYS: Mapping[str, Way] = {"compiled": compiled, "explained": explained}


@dataclass(frozen=True, slots=True)
class Failure:
    message: str
    span: Span
    answer: Answer | None = None  # the explanation of what was decided instead


@dataclass(frozen=True, slots=True)
class TestResult:
    __test__ = False

    test: PolicyTest
    failures: tuple[Failure, ...]
    checks: int

    @property
    def passed(self) -> bool:
        return not self.failures


@dataclass
class Coverage:
    """Which clauses were seen true, and which false."""

    seen: dict[tuple[str, Span], set[bool]] = field(default_factory=dict)

    def note(self, answer: Answer) -> None:
        for rule in answer.considered:
            whole: dict[Span, list[bool]] = {}
            for span, is_true in (part for conjunct in rule.conjuncts for part in conjunct.parts):
                whole.setdefault(span, []).append(is_true)
            for span, truths in whole.items():
                self.seen.setdefault((rule.rule, span), set()).add(all(truths))


@dataclass(frozen=True, slots=True)
class ClauseCoverage:
    rule: str
    clause: str
    span: Span
    seen_true: bool
    seen_false: bool


def clause_coverage(bundle: Bundle, coverage: Coverage) -> tuple[ClauseCoverage, ...]:
    """Every clause of every rule, with what the tests saw of it."""
    found: dict[tuple[str, Span], ClauseCoverage] = {}
    for rule in bundle.program.rules:
        for instances in rule.instances.values():
            for conjunct in (c for i in instances for c in i.conjuncts):
                for part in conditions(conjunct.expr):
                    key = (rule.name, part.span)
                    seen = coverage.seen.get(key, set())
                    found[key] = ClauseCoverage(rule.name, conjunct.clause, part.span, True in seen, False in seen)
    return tuple(sorted(found.values(), key=lambda c: (c.span.source.path, c.span.start)))


def run_test(
    bundle: Bundle, test: PolicyTest, ways: Mapping[str, Way] = WAYS, coverage: Coverage | None = None
) -> TestResult:
    """One test, in a world of its own."""
    directory = Directory(bundle.vocabulary)
    failures: list[Failure] = []
    try:
        directory.upsert(test.entities)
        directory.put_rows(test.rows)
    except DirectoryError as error:
        return TestResult(test, (Failure(error.message, test.span),), 0)
    tasks = dict(test.tasks)
    checks = 0
    for event in test.events:
        match event:
            case TaskChange(_, verb, name):
                tasks[name] = _changed(tasks[name], verb)
            case DataChange():
                try:
                    _change_data(directory, event)
                except DirectoryError as error:
                    failures.append(Failure(error.message, test.span))
            case Check():
                checks += 1
                failures += _check(bundle, directory, event, test, tasks, ways, coverage)
    return TestResult(test, tuple(failures), checks)


_STATES = {"suspend": "suspended", "resume": "active", "end": "ended"}


def _changed(task: TaskData, verb: str) -> TaskData:
    """Ended is for ever."""
    return task if task.state == "ended" else replace(task, state=_STATES[verb])


def _change_data(directory: Directory, change: DataChange) -> None:
    if change.put is not None:
        directory.upsert([change.put])
    if change.put_row is not None:
        directory.put_rows([change.put_row])
    if change.remove is not None:
        directory.remove([change.remove])
    if change.remove_row is not None:
        directory.remove_rows([change.remove_row])


def _check(
    bundle: Bundle,
    directory: Directory,
    check: Check,
    test: PolicyTest,
    tasks: Mapping[str, TaskData],
    ways: Mapping[str, Way],
    coverage: Coverage | None,
) -> Iterable[Failure]:
    task = tasks[check.task] if check.task is not None else None
    request = check.request._replace(task=task)
    pair = (request.action, request.resource.type)
    try:
        inputs = assemble(directory.world, request, check.at, lambda a, r: bundle.leaves[a, r].footprint)
    except Refusal as refusal:
        refused = Result(Outcome(False, refusal.code, None, None, None), FOREVER, FOREVER, None, ())
        return _compare(check, test, refused, refusal.until, None)
    except BadValue as error:
        return [Failure(str(error), check.span)]
    answer = bundle.explain(*pair, inputs)
    if coverage is not None:
        coverage.note(answer)
    if not answer.is_whole:
        return [Failure("this step takes too many steps to hold its answer against the plain evaluator", check.span, answer)]
    results = {name: way(bundle, request, inputs) for name, way in ways.items()}
    differing = [name for name, result in results.items() if not _agrees(result, answer)]
    if differing:
        return [Failure(f"the answer differs: {', '.join(differing)} against explained", check.span, answer)]
    end = task_end(bundle.vocabulary.tasks[task.kind], task) if task is not None else FOREVER
    result = next(iter(results.values()))
    return _compare(check, test, result, min(result.until, end), answer)


def _agrees(result: Result, answer: Answer) -> bool:
    """A check has fewer steps than a test has to look into it: where they end, it is a denial, whatever the rules say."""
    if out_of_steps(result.errors):
        return not result.outcome.allowed
    rule = result.outcome.rule
    return (
        (result.outcome.allowed, result.outcome.reason, result.until) == (answer.allowed, answer.reason, answer.until)
        and (rule in answer.rules if rule is not None else not answer.rules)
        and {e.rule for e in result.errors} == {e.rule for e in answer.errors}
    )


def _compare(check: Check, test: PolicyTest, result: Result, until: int, answer: Answer | None) -> list[Failure]:
    """What the step expected against what was decided."""
    expected, outcome = check.expected, result.outcome
    wrong: list[str] = []
    if outcome.allowed != expected.allowed:
        by = f" by `{outcome.rule}`" if outcome.rule else ""
        found = "allow" if outcome.allowed else f"deny because {outcome.reason}"
        wrong.append(f"expected {'allow' if expected.allowed else 'deny'}, found {found}{by}")
    else:
        applied = answer.rules if answer is not None else ()
        if expected.rule is not None and expected.rule not in applied:
            wrong.append(f"expected `{expected.rule}` to apply, found {', '.join(f'`{r}`' for r in applied) or 'no rule'}")
        if expected.reason is not None and outcome.reason != expected.reason:
            wrong.append(f"expected because {expected.reason}, found {outcome.reason}")
        if expected.because is not None and outcome.because != expected.because:
            wrong.append(f'expected because "{expected.because}", found {outcome.because!r}')
        if expected.until is not None and until != expected.until:
            wrong.append(f"expected until {_shown(expected.until, test)}, found {_shown(until, test)}")
    return [Failure("; ".join(wrong), check.span, answer)] if wrong else []


def _shown(moment: int, test: PolicyTest) -> str:
    if moment >= FOREVER:
        return "for ever"
    if moment >= test.starts:
        return f"{format_duration(moment - test.starts)} ({format_instant(moment)})"
    return format_instant(moment)
