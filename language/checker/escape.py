"""Law L7: no deny can be escaped by withholding evidence.

A deny is escapable when some part of it turns false because something is left out: an optional value, the parents of a
claimed entity, the elements of a claimed set. Leaving out a whole piece of evidence (the user, the task, the workload, a
proof) is an escape only where an allow is left that does not need it. One thing that can be left out is one error.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from language import typed as t
from language.checker.narrow import Path
from language.checker.report import Report
from language.checker.withheld import EVIDENCE, Places, Withheld, Without, withheld

Pair = tuple[str, str]


class Escape(NamedTuple):
    """A part of a deny that turns it false when something is left out."""

    pair: Pair
    expr: t.TypedExpr
    by: Withheld


def escapes_of(rule: t.Rule) -> tuple[Escape, ...]:
    """Every way to make a deny false by leaving something out; a matter of the rule alone. A part of a request is told
    once, and a whole piece of evidence for each action and type, since other rules differ there."""
    if rule.effect != "deny" or any(name == "escapable" for name, _ in rule.annotations):
        return ()
    known: dict[int, list[tuple[t.TypedExpr, Withheld]]] = {}  # conditions are shared by what a rule can meet
    found: dict[tuple[Pair | None, Withheld], Escape] = {}
    for pair, instances in rule.instances.items():
        for conjunct in (c for instance in instances for c in instance.conjuncts):
            if id(conjunct) not in known:
                turning = _turning(conjunct.expr)
                found |= {(None, by): Escape(pair, expr, by) for expr, by in turning if by.kind not in EVIDENCE}
                known[id(conjunct)] = [(expr, by) for expr, by in turning if by.kind in EVIDENCE]
            for expr, by in known[id(conjunct)]:
                found.setdefault((pair, by), Escape(pair, expr, by))
    return tuple(found.values())


def _turning(expr: t.TypedExpr) -> list[tuple[t.TypedExpr, Withheld]]:
    """What can be left out to turn a condition false, each with the first part that turns."""
    asked = dict.fromkeys(withheld(expr))
    places = Places(expr) if asked else None
    turned = ((Without(by, places).turns(expr, False), by) for by in asked)
    return [(min(parts, key=lambda e: e.span.start), by) for parts, by in turned if parts]


def check_own_escapes(rule: t.Rule, escapes: Iterable[Escape], report: Report) -> None:
    """The escapes in which no other rule has a part. What is inside of a thing goes with it, and a set or map with what
    was looked for in it."""
    said: set[Path] = set()
    above: set[Path] = set()
    for escape in sorted(escapes, key=lambda e: (e.by.kind == "elements", len(e.by.path), e.expr.span.start)):
        place = escape.by.place
        wholes = [place[:length] for length in range(1, len(place) + 1)]
        if escape.by.kind in EVIDENCE or place in above or not said.isdisjoint(wholes):
            continue
        said.add(place)
        above.update(wholes)
        _say(rule, escape, None, report)
    if any(name == "escapable" and not (why or "").strip() for name, why in rule.annotations):
        report.say("escapable_without_reason", '`@escapable` says why: `@escapable("…")`', rule.span)


def check_escapes(rules: Iterable[tuple[t.Rule, tuple[Escape, ...]]], report: Report) -> None:
    """The escapes by a whole piece of evidence, which an allow that does without it makes possible."""
    rules = tuple(rules)
    allows = _Allows([rule for rule, _ in rules if rule.effect == "allow"])
    for rule, escapes in rules:
        said: set[str] = set()
        for escape in escapes:
            if escape.by.kind not in EVIDENCE or escape.by.kind in said:
                continue
            other = allows.without(escape.pair, escape.by)
            if other is not None:
                said.add(escape.by.kind)
                _say(rule, escape, other, report)


class _Allows:
    """Which allow is left, for an action and type, to a caller who leaves a piece of evidence out."""

    def __init__(self, rules: list[t.Rule]) -> None:
        self._rules: dict[Pair, list[tuple[str, t.Instance]]] = {}
        for rule in rules:
            for pair, instances in rule.instances.items():
                self._rules.setdefault(pair, []).extend((rule.short_name, instance) for instance in instances)
        self._found: dict[tuple[Pair, Withheld], str | None] = {}
        self._ended: dict[tuple[int, Withheld], bool] = {}  # by condition, since what a rule can meet shares them

    def without(self, pair: Pair, by: Withheld) -> str | None:
        if (pair, by) not in self._found:
            left = (name for name, i in self._rules.get(pair, ()) if not any(self._ends(c, by) for c in i.conjuncts))
            self._found[pair, by] = next(left, None)
        return self._found[pair, by]

    def _ends(self, conjunct: t.Conjunct, by: Withheld) -> bool:
        key = id(conjunct), by
        if key not in self._ended:
            self._ended[key] = Without(by).worth(conjunct.expr) is False
        return self._ended[key]


def _say(rule: t.Rule, escape: Escape, other: str | None, report: Report) -> None:
    message = f"`{rule.short_name}` is escaped by leaving out {_named(escape)}"
    if other is not None:
        message += f"; `{other}` would still allow"
    hint = 'write the exemption positively, with `unless`, or say `@escapable("why")`'
    if escape.by.kind == "elements":
        hint = f'say what an empty set means, with `{escape.by.label}.is_empty()`, or say `@escapable("why")`'
    report.say("escapable_deny", message, escape.expr.span, hint)


def _named(escape: Escape) -> str:
    by = escape.by
    match by.kind:
        case "parents":
            return f"the parents of `{by.label}`"
        case "elements":
            return f"all of `{by.label}`"
        case "optional" if by.path[0].startswith("$"):
            return f"`{by.path[-1] if len(by.path) > 1 else escape.expr.span.text}`"
        case "optional":
            return f"an entry of `{by.label}`" if by.path[-1].startswith("[") else f"`{by.label}`"
        case _:
            return f"the {by.kind}"
