"""Law L7: no deny can be escaped by withholding evidence.

A deny is escapable when some part of it turns false because something optional or claimed is absent. Leaving out a
whole piece of evidence (the user, the task, a proof) is an escape only where an allow is left that does not need it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from language import typed as t
from language.checker.narrow import path_of
from language.checker.report import Report
from language.source import Span
from language.types import MapType, SetType

_EVIDENCE = ("user", "task", "proof", "workload")

Pair = tuple[str, str]


class Escape(NamedTuple):
    """A part of a deny that turns it false when something is left out: the path, or the kind of evidence."""

    pair: Pair
    expr: t.TypedExpr
    evidence: str


def escapes_of(rule: t.Rule) -> tuple[Escape, ...]:
    """Every way to make a deny false by leaving something out; a matter of the rule alone."""
    if rule.effect != "deny" or any(name == "escapable" for name, _ in rule.annotations):
        return ()
    return tuple(
        Escape(pair, expr, evidence)
        for pair, instances in rule.instances.items()
        for instance in instances
        for conjunct in instance.conjuncts
        if conjunct.clause != "who"  # the caller's own identity cannot be left out
        for expr, evidence in _falsified(conjunct.expr, positive=True)
    )


def check_escapes(rules: Iterable[tuple[t.Rule, tuple[Escape, ...]]], report: Report) -> None:
    rules = tuple(rules)
    allows = _Allows([rule for rule, _ in rules if rule.effect == "allow"])
    for rule, escapes in rules:
        said: set[tuple[Span, str]] = set()
        for escape in escapes:
            key = (escape.expr.span, escape.evidence)
            if key in said:
                continue
            other = allows.without(escape) if escape.evidence in _EVIDENCE else None
            if escape.evidence in _EVIDENCE and other is None:
                continue
            said.add(key)
            _say(rule, escape.expr, escape.evidence, other, report)
        for name, why in rule.annotations:
            if name == "escapable" and not (why or "").strip():
                report.say("escapable_without_reason", '`@escapable` says why: `@escapable("…")`', rule.span)


class _Allows:
    """Which allow is left, for an action and type, to a caller who leaves a kind of evidence out."""

    def __init__(self, rules: list[t.Rule]) -> None:
        self._without: dict[tuple[Pair, str], str] = {}
        self._proofs: dict[Pair, dict[frozenset[str], str]] = {}
        for rule in rules:
            for pair, instances in rule.instances.items():
                for instance in instances:
                    self._note(pair, instance, rule.short_name)

    def _note(self, pair: Pair, instance: t.Instance, name: str) -> None:
        needs = {
            "user": instance.user_type is not None,
            "task": instance.task_kind is not None,
            "workload": any(c.clause == "who" for c in instance.conjuncts),
        }
        for evidence, needed in needs.items():
            if not needed:
                self._without.setdefault((pair, evidence), name)
        self._proofs.setdefault(pair, {}).setdefault(instance.proofs, name)

    def without(self, escape: Escape) -> str | None:
        if escape.evidence != "proof":
            return self._without.get((escape.pair, escape.evidence))
        fact = _fact(escape.expr)
        return next((n for proofs, n in self._proofs.get(escape.pair, {}).items() if fact not in proofs), None)


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
    claims = _claims(expr, expr.claimed if positive else _emptied(expr))
    return claims + [found for child in t.children(expr) for found in _hidden(child)]


def _emptied(expr: t.TypedExpr) -> frozenset[str]:
    """Claims that make a condition true by leaving elements out of what is claimed: a set may be sent empty."""
    match expr:
        case t.SetCall("is_empty", of):
            return of.claimed
        case t.SetCall("contains_all", _, argument) if argument is not None:
            return argument.claimed
        case t.Compare(_, left, right) if isinstance(left.type, SetType | MapType):
            return left.claimed | right.claimed
        case _:
            return frozenset()


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
