"""The plain evaluator: every rule is read, and nothing stops early. The oracle, and what `pdp explain` shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from language import typed as t
from language.answers import OUT_OF_STEPS, Answer, ExplainedConjunct, ExplainedRule, Reading, RuleError
from language.inputs import FOREVER, Inputs
from language.meaning import ERROR, FALSE, Evaluator, Steps, StepsEnded, Truth, Unanswerable, all_of, any_of, is_error
from language.values import show_value


def evaluate(
    program: t.Program,
    action: str,
    resource_type: str,
    inputs: Inputs,
    rules: Iterable[t.Rule],
    *,
    steps: Steps,
    explain: bool = False,
    allowing: Callable[[], tuple[str, int] | None] = lambda: None,
) -> Answer:
    """One decision by reading every one of the rules, denies first; nothing here stops early.

    The one end before the last rule is that of the steps. What was not read then may be anything, so it is an error. Where
    that was an allow, `allowing` may know of another, and for how long it is true: an error takes none away (law L3).
    """
    considered: list[ExplainedRule] = []
    errors: list[RuleError] = []
    lives: dict[str, list[tuple[str, Truth]]] = {"allow": [], "deny": []}
    for rule in sorted(rules, key=lambda rule: rule.effect == "allow"):
        truth = FALSE
        instances = rule.instances.get((action, resource_type), ())
        try:
            for instance in instances:
                evaluator = Evaluator(program.vocabulary, inputs, steps)
                values = [evaluator.truth(c.expr) for c in instance.conjuncts]
                value = all_of(values)
                truth = any_of((truth, value))
                if is_error(value) and evaluator.error is not None:
                    errors.append(_rule_error(rule.name, evaluator.error))
                if explain:
                    considered.append(_explained(rule, instance, values, value, evaluator))
        except StepsEnded:
            errors.append(
                RuleError(rule.name, OUT_OF_STEPS, f"the rules together take more than {steps.most} steps", rule.span)
            )
            lives[rule.effect].append((rule.name, ERROR))
            if rule.effect == "allow" and (known := allowing()) is not None:
                lives["allow"] = [entry for entry in lives["allow"] if entry[0] != known[0]] + [
                    (known[0], (known[1], known[1]))
                ]
            break
        if instances:
            lives[rule.effect].append((rule.name, truth))
    return _answer(lives, tuple(errors), _nearest_first(considered))


def _rule_error(rule: str, error: Unanswerable) -> RuleError:
    return RuleError(rule, error.code, error.message, error.span)


def _answer(
    lives: dict[str, list[tuple[str, Truth]]], errors: tuple[RuleError, ...], considered: tuple[ExplainedRule, ...]
) -> Answer:
    allow_low, allow_high = any_of(v for _, v in lives["allow"])
    deny_low, deny_high = any_of(v for _, v in lives["deny"])
    low = min(allow_low, -deny_high)
    allowed = low > 0
    errors = tuple({e.rule: e for e in sorted(errors, key=lambda e: (e.rule, e.span.start))}.values())
    longest = _longest(lives["deny"] if deny_high > 0 else lives["allow"])
    if deny_low > 0:
        reason, rules, held = "denied", _true(lives["deny"]), deny_low
    elif deny_high > 0:
        reason, rules, held = "error", tuple(n for n, v in lives["deny"] if is_error(v)), 0
    elif allow_low > 0:
        reason, rules, held = "allowed", _true(lives["allow"]), low
    elif allow_high > 0:
        reason, rules, held = "error", tuple(n for n, v in lives["allow"] if is_error(v)), 0
    else:
        reason, rules, held, longest = "default_deny", (), min(-allow_high, -deny_high), None
    return Answer(allowed, reason, rules, longest, errors, abs(low), held, _bound(lives, low), considered)


def _longest(lives: list[tuple[str, Truth]]) -> str | None:
    """The rule that is true the longest, the first by name of equals; else the first in error."""
    applying = [(-low, name) for name, (low, _) in lives if low > 0]
    in_error = [(0, name) for name, value in lives if is_error(value)]
    return min(applying or in_error, default=(0, None))[1]


def _true(lives: list[tuple[str, Truth]]) -> tuple[str, ...]:
    return tuple(name for name, (low, _) in lives if low > 0)


def _bound(lives: dict[str, list[tuple[str, Truth]]], low: int) -> str | None:
    """The rule whose own end is the end of the answer."""
    if abs(low) == FOREVER:
        return None
    names = [n for n, v in lives["allow"] if v[0] == low] + [n for n, v in lives["deny"] if -v[1] == low]
    return min(names, default=None)


# ---- explanations


def _explained(rule: t.Rule, instance: t.Instance, values: list[Truth], value: Truth, evaluator: Evaluator) -> ExplainedRule:
    conjuncts = tuple(_explained_conjunct(c, v, evaluator) for c, v in zip(instance.conjuncts, values, strict=True))
    return ExplainedRule(rule.name, rule.effect, rule.because, rule.span, _truth_word(value), _until(value), conjuncts)


def _explained_conjunct(conjunct: t.Conjunct, value: Truth, of_rule: Evaluator) -> ExplainedConjunct:
    evaluator = of_rule.anew()
    evaluator.truth(conjunct.expr)
    error = evaluator.error.message if is_error(value) and evaluator.error else None
    return ExplainedConjunct(
        conjunct.clause,
        " ".join(conjunct.span.text.split()),
        conjunct.span,
        _truth_word(value),
        _until(value),
        tuple(_readings(conjunct.expr, evaluator)),
        error,
        tuple((part.span, evaluator.truth(part)[0] > 0) for part in conditions(conjunct.expr)),
    )


def conditions(expr: t.TypedExpr) -> list[t.TypedExpr]:
    """The conditions that `and`, `or` and `not` put together."""
    match expr:
        case t.And(items) | t.Or(items):
            return [part for item in items for part in conditions(item)]
        case t.Not(item):
            return conditions(item)
        case _:
            return [expr]


def _truth_word(value: Truth) -> str:
    return "error" if is_error(value) else "true" if value[0] > 0 else "false"


def _until(value: Truth) -> int | None:
    until = min(abs(value[0]), abs(value[1]))
    return until if until < FOREVER and not is_error(value) else None


def _readings(expr: t.TypedExpr, evaluator: Evaluator) -> list[Reading]:
    """What the condition read from the request and the directory, outermost reads only; each reads `SOURCE is VALUE`."""
    inputs = evaluator.inputs
    if isinstance(expr, t.Root) and expr.name == "task_covers":
        covers = "absent" if inputs.task is None else "for this" if inputs.task_covers else "not for this"
        return [Reading("the grant", covers)]
    if isinstance(expr, t.FieldOf | t.AttributeOf | t.KeyOf | t.IdOf | t.Root):
        try:
            value, _ = evaluator.value(expr)
        except Unanswerable as error:
            return [Reading(_source(expr), "absent" if error.code == "absent" else f"unknown: {error.message}")]
        return [Reading(_source(expr), show_value(value, expr.type))]
    if isinstance(expr, t.IsUser):
        return [Reading("user", inputs.user_type or "absent")]
    if isinstance(expr, t.IsTask):
        return [Reading("task", inputs.task_kind or "absent")]
    if isinstance(expr, t.Matches):
        return [Reading("workload", inputs.workload_id or "absent")]
    if isinstance(expr, t.Quantified):
        return _readings(expr.over, evaluator)
    found: list[Reading] = []
    for child in t.children(expr):
        found += [r for r in _readings(child, evaluator) if r not in found]
    return found


def _source(expr: t.TypedExpr) -> str:
    match expr:
        case t.Root(name):
            return name
        case t.FieldOf(of, name) | t.AttributeOf(of, _, name):
            return f"{_source(of)}.{name}"
        case t.IdOf(of):
            return f"{_source(of)}.id"
        case _:
            return " ".join(expr.span.text.split())


def _nearest_first(considered: list[ExplainedRule]) -> tuple[ExplainedRule, ...]:
    """What denied, else what allowed, else by how little was missing."""
    order = ("true deny", "error deny", "true allow", "error allow", "false allow", "false deny")
    return tuple(sorted(considered, key=lambda r: (order.index(f"{r.truth} {r.effect}"), len(r.failing), r.rule)))
