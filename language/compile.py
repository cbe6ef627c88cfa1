"""Sources -> Bundle, the whole walk: parse, check, plan, emit, load. Pure but for its own memory of earlier walks."""

from __future__ import annotations

from collections.abc import Iterable

from language.checker.check import Checked, Checker
from language.collecting import without_collection
from language.compiler.load import Bundle, load
from language.compiler.plan import Plan, Planner
from language.diagnostics import Diagnostic, PolicyErrors, sort_diagnostics
from language.source import Source
from language.syntax import nodes as n
from language.syntax.parse import parse

LEAF_COST_MAX = 10_000_000


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
        found += [_too_costly(leaf.action, leaf.resource_type) for leaf in plan.leaves.values() if leaf.cost > LEAF_COST_MAX]
        diagnostics = sort_diagnostics(found)
        return checked, None if any(d.is_error for d in found) else plan, diagnostics


def _too_costly(action: str, resource_type: str) -> Diagnostic:
    hint = "quantifiers over large sets multiply; make the relation data, or the sets smaller"
    return Diagnostic("too_costly", f"the rules for `{action}` on `{resource_type}` could take too long", None, hint)


def compile_policies(sources: Iterable[Source]) -> Bundle:
    """Compiles once."""
    return Compiler().compile(sources)
