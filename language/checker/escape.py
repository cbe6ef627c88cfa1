"""Law L7: no deny can be escaped by withholding evidence.

A deny is escapable when some part of it turns false because something optional or claimed is absent. Leaving out a
whole piece of evidence (the user, the task, a proof) is an escape only where an allow is left that does not need it.
"""

from __future__ import annotations

from collections.abc import Iterable

from language import typed as t
from language.checker.narrow import path_of
from language.checker.report import Report
from language.source import Span

_EVIDENCE = ("user", "task", "proof", "workload")


def check_escapes(rules: Iterable[t.Rule], report: Report) -> None:
    rules = tuple(rules)
    allows = [r for r in rules if r.effect == "allow"]
    for rule in rules:
        if rule.effect == "deny" and not any(name == "escapable" for name, _ in rule.annotations):
            _check(rule, allows, report)
    for rule in rules:
        for name, why in rule.annotations:
            if name == "escapable" and not (why or "").strip():
                report.say("escapable_without_reason", '`@escapable` says why: `@escapable("…")`', rule.span)


def _check(rule: t.Rule, allows: list[t.Rule], report: Report) -> None:
    said: set[tuple[Span, str]] = set()
    for pair, instances in rule.instances.items():
        for instance in instances:
            for conjunct in instance.conjuncts:
                if conjunct.clause == "who":
                    continue  # the caller's own identity cannot be left out
                for expr, evidence in _falsified(conjunct.expr, positive=True):
                    other = _allow_without(evidence, expr, pair, allows) if evidence in _EVIDENCE else None
                    if evidence in _EVIDENCE and other is None:
                        continue
                    if (expr.span, evidence) in said:
                        continue
                    said.add((expr.span, evidence))
                    _say(rule, expr, evidence, other, report)


def _say(rule: t.Rule, expr: t.TypedExpr, evidence: str, other: str | None, report: Report) -> None:
    message = f"`{rule.short_name}` is escaped by leaving out {_named(evidence, expr)}"
    if other is not None:
        message += f"; `{other}` would still allow"
    hint = 'write the exemption positively, with `unless`, or say `@escapable("why")`'
    report.say("escapable_deny", message, expr.span, hint)


def _named(evidence: str, expr: t.TypedExpr) -> str:
    match evidence:
        case "user":
            return "the user"
        case "task":
            return "the task"
        case "proof":
            return "the proof"
        case "workload":
            return "the workload"
        case _:
            return f"`{evidence}`"


def _allow_without(evidence: str, expr: t.TypedExpr, pair: tuple[str, str], allows: list[t.Rule]) -> str | None:
    """An allow for the same action and resource type that does not need this evidence."""
    for rule in allows:
        for instance in rule.instances.get(pair, ()):
            match evidence:
                case "user" if instance.user_type is None:
                    return rule.short_name
                case "task" if instance.task_kind is None:
                    return rule.short_name
                case "proof" if _fact(expr) not in instance.proofs:
                    return rule.short_name
                case "workload" if all(c.clause != "who" for c in instance.conjuncts):
                    return rule.short_name
    return None


def _fact(expr: t.TypedExpr) -> str | None:
    match expr:
        case t.Member(t.Constant(value), _) | t.SetCall("contains", _, t.Constant(value)):
            return str(value)
        case _:
            return None


def _falsified(expr: t.TypedExpr, *, positive: bool) -> list[tuple[t.TypedExpr, str]]:
    """The parts that make the whole false when something is absent: each with the path or kind of evidence."""
    match expr:
        case t.And(items) | t.Or(items):
            return [found for item in items for found in _falsified(item, positive=positive)]
        case t.Not(item):
            return _falsified(item, positive=not positive)
        case t.Quantified(kind, _, over, body):
            counts = (kind == "any") == positive
            return (
                _claims(expr, over.claimed if counts else frozenset()) + _hidden(over) + _falsified(body, positive=positive)
            )
    found = _evidence_of(expr)
    if found is not None:
        return [(expr, found)] if positive else []
    claims = _claims(expr, expr.claimed if positive else frozenset())
    return claims + [found for child in t.children(expr) for found in _hidden(child)]


def _claims(expr: t.TypedExpr, paths: frozenset[str]) -> list[tuple[t.TypedExpr, str]]:
    return [(expr, path) for path in sorted(paths)]


def _evidence_of(expr: t.TypedExpr) -> str | None:
    """What a condition asks for, when it asks whether something was shown at all."""
    match expr:
        case t.IsUser():
            return "user"
        case t.IsTask():
            return "task"
        case t.HasWorkload():
            return "workload"
        case t.Member(_, t.Root("proof")) | t.SetCall("contains", t.Root("proof")):
            return "proof"
        case t.IsPresent(of) | t.HasKey(of):
            return _path(of)
        case _:
            return None


def _hidden(expr: t.TypedExpr) -> list[tuple[t.TypedExpr, str]]:
    """Evidence inside an operand, where a comparison may turn its truth either way: taken for the worse."""
    found: list[tuple[t.TypedExpr, str]] = []
    for each in t.walk(expr):
        evidence = "proof" if isinstance(each, t.Root) and each.name == "proof" else _evidence_of(each)
        if evidence is not None:
            found.append((each, evidence))
    return found


def _path(expr: t.TypedExpr) -> str:
    path = path_of(expr)
    return ".".join(path) if path else expr.span.text
