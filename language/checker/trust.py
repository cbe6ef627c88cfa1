"""Law L9: a rule that depends on what a caller claims lists exactly those paths after `trusting`.

For an allow that is plain. A deny that depends on a claim is lifted by saying something else, wherever the claim stands in
it and however the condition is written: `when x != y`, `unless x == y` and `when not (x == y)` are one rule.
"""

from __future__ import annotations

from collections.abc import Iterable

from language import typed as t
from language.checker.escape import Escape
from language.checker.report import Report
from language.checker.withheld import EVIDENCE, Withheld
from language.syntax import nodes as n


def check_trust(node: n.Rule, rule: t.Rule, escapes: Iterable[Escape], report: Report) -> None:
    """A claim that can be left out to escape a deny is told as that: one cause is one error."""
    conjuncts = {id(c): c for found in rule.instances.values() for instance in found for c in instance.conjuncts}
    claimed = {path: conjunct.expr.span for conjunct in conjuncts.values() for path in conjunct.expr.claimed}
    trusted = {str(p): p.span for clause in node.clauses if isinstance(clause, n.Trusting) for p in clause.paths}
    left_out = _LeftOut({escape.by for escape in escapes})
    hint = f"say `trusting {', '.join(sorted(claimed))}` if that is meant"
    for path in sorted(claimed.keys() - trusted.keys()):
        if path in left_out:
            continue
        message = f"`{path}` is only claimed by the caller"
        if rule.effect == "deny":
            message += f", and `{rule.short_name}` is escaped by saying something else"
        report.say("untrusted_claim", message, claimed[path], hint)
    for path in sorted(trusted.keys() - claimed.keys()):
        report.say("needless_trust", f"nothing here depends on `{path}` being claimed", trusted[path])


class _LeftOut:
    """The claims about what can be left out, or about a part of it, or of which it is a part."""

    def __init__(self, withheld: set[Withheld]) -> None:
        parts = [by for by in withheld if by.kind not in EVIDENCE]
        self._wholes = {by.label for by in parts if by.kind != "parents"}
        self._exact = {by.label for by in parts}.union(*map(_upwards, self._wholes))

    def __contains__(self, claim: str) -> bool:
        return claim in self._exact or not self._wholes.isdisjoint(_upwards(claim))


def _upwards(claim: str) -> list[str]:
    """A claim and what it is a part of."""
    parts = claim.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
