"""Sources -> Bundle, the whole walk: parse, check, plan, emit, load. Pure but for its own memory of earlier walks."""

from __future__ import annotations

from collections.abc import Iterable

from language import typed as t
from language.checker.check import Checked, Checker
from language.collecting import without_collection
from language.compiler.load import Bundle, load
from language.compiler.plan import LeafPlan, Plan, Planner
from language.diagnostics import Diagnostic, PolicyErrors, sort_diagnostics
from language.source import Source, Span
from language.syntax import nodes as n
from language.syntax.parse import parse
from language.work import LEAF_STEPS_MAX, cost_of


class Compiler:
    """Compiles policy sets. One compiler used again does not parse or check again what did not change."""

    def __init__(self) -> None:
        self._parsed: dict[tuple[str, str], tuple[n.Module, list[Diagnostic]]] = {}
        self._checker = Checker()
        self._planner = Planner()

    def check(self, sources: Iterable[Source]) -> tuple[Checked, tuple[Diagnostic, ...]]:
        """Everything that can be said about a policy set, short of making functions of it."""
        with without_collection():
            checked, _, diagnostics = self._check(tuple(sources))
            return checked, diagnostics

    def compile(self, sources: Iterable[Source]) -> Bundle:
        """The compiled policy set, or PolicyErrors with every diagnostic of every file."""
        with without_collection():
            checked, plan, diagnostics = self._check(tuple(sources))
            if plan is None:
                raise PolicyErrors(diagnostics)
            # INVARIANT: the listing holds the very sources that the trees' spans point to, not equal ones.
            read = tuple(sorted((module.source for module, _ in self._parsed.values()), key=lambda s: s.path))
            return load(checked.program, plan, read, checked.tests, diagnostics)

    def _check(self, sources: tuple[Source, ...]) -> tuple[Checked, Plan | None, tuple[Diagnostic, ...]]:
        parsed = {}
        for source in sources:
            key = (source.path, source.digest)
            parsed[key] = self._parsed.get(key) or parse(source)
        self._parsed = parsed
        found = [d for _, diagnostics in parsed.values() for d in diagnostics]
        checked = self._checker.check(module for module, _ in parsed.values())
        found += checked.diagnostics
        if any(d.is_error for d in found):
            return checked, None, sort_diagnostics(found)
        plan = self._planner.plan(checked.program)
        found += _too_costly(checked.program, plan)
        diagnostics = sort_diagnostics(found)
        return checked, None if any(d.is_error for d in found) else plan, diagnostics


def _too_costly(program: t.Program, plan: Plan) -> list[Diagnostic]:
    """One finding for each clause that is the dearest of some leaf, however many actions it is the dearest of."""
    causes: dict[Span, list[tuple[LeafPlan, str]]] = {}
    for leaf in plan.leaves.values():
        if leaf.cost <= LEAF_STEPS_MAX:
            continue
        row = max((r for family in leaf.families for r in family.rows), key=lambda r: (r.cost, -r.rule))
        expr = max(row.exprs, key=cost_of)
        rule = program.rules[row.rule]
        conjuncts = [c for i in rule.instances[leaf.action, leaf.resource_type] for c in i.conjuncts]
        clause = next((c.clause for c in conjuncts if c.expr.span == expr.span), "head")
        told = f"the `{clause}` of `{rule.effect} {rule.name}`, {cost_of(expr):,} steps"
        causes.setdefault(expr.span, []).append((leaf, told))
    return [_cause(span, found) for span, found in causes.items()]


def _cause(span: Span, found: list[tuple[LeafPlan, str]]) -> Diagnostic:
    leaf, dearest = max(found, key=lambda each: (each[0].cost, each[0].action, each[0].resource_type))
    others = f" (and for {len(found) - 1} more)" if len(found) > 1 else ""
    message = (
        f"the rules for `{leaf.action}` on `{leaf.resource_type}`{others} can take {leaf.cost:,} steps, "
        f"at most {LEAF_STEPS_MAX:,} are allowed; the dearest is {dearest}"
    )
    hint = "ask with `contains`, `overlaps`, `in` or a relation instead of going through a set, or let fewer rules do so"
    return Diagnostic("too_costly", message, span, hint)


def compile_policies(sources: Iterable[Source]) -> Bundle:
    """Compiles once."""
    return Compiler().compile(sources)
