"""Modules -> Program: the order of the passes, and the resolution of what packages hold.

Rules that were checked before, against the same vocabulary and definitions, are not checked again: a change of one file
costs what that file costs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from language import typed as t
from language.checker.base import EXPANDED_NODES_MAX
from language.checker.declare import declare
from language.checker.escape import Escape, check_escapes, check_own_escapes, escapes_of
from language.checker.expressions import ExpressionChecker
from language.checker.lints import lint, lint_rule
from language.checker.report import Report
from language.checker.routes import RouteChecker
from language.checker.rules import RuleChecker
from language.checker.silences import silence
from language.checker.tests import TestChecker
from language.checker.trust import check_trust
from language.diagnostics import Diagnostic
from language.source import TEST_SUFFIX
from language.syntax import nodes as n
from language.testing.cases import PolicyTest
from language.vocabulary import Vocabulary

LANGUAGE_VERSION = 1
RULES_MAX = 20_000
EXPANDED_TOTAL_MAX = 500_000
INSTANCES_TOTAL_MAX = 400_000
DEFINITIONS_DEPTH_MAX = 32


@dataclass(frozen=True)
class Checked:
    """A checked policy set: a program that may be trusted only when no diagnostic is an error."""

    program: t.Program
    tests: tuple[PolicyTest, ...]
    diagnostics: tuple[Diagnostic, ...]


@dataclass(frozen=True)
class _CheckedRule:
    rule: t.Rule
    diagnostics: tuple[Diagnostic, ...]
    used: frozenset[str]
    expanded: int
    escapes: tuple[Escape, ...]


class Checker:
    """Checks policy sets, one after another, and remembers rules between them."""

    def __init__(self) -> None:
        self._surroundings: object = None
        self._memory: dict[tuple[int, str], tuple[n.Rule, _CheckedRule]] = {}

    def check(self, modules: Iterable[n.Module]) -> Checked:
        modules = tuple(sorted(modules, key=lambda m: m.source.path))
        report = Report()
        _check_pins(modules, report)
        _check_test_files(modules, report)
        vocabulary = declare(modules, report)
        used: set[str] = set()
        definitions = self._definitions(modules, vocabulary, report, used)
        names = _rule_names(modules, report)
        if any(d.code in ("too_costly", "recursive_definition") for d in report.diagnostics):
            definitions = {package: {} for package in definitions}  # writing them out is what would cost
            checked: tuple[_CheckedRule, ...] = ()
        else:
            checked = self._rules(modules, vocabulary, definitions, names, report, used)
        everything: dict[str, n.Define] = {k: v for own in definitions.values() for k, v in own.items()}
        expressions = ExpressionChecker(vocabulary, everything, report)
        routes = RouteChecker(vocabulary, expressions, report)
        statements = [s for m in modules for s in m.statements]
        http = routes.http([s for s in statements if isinstance(s, n.HttpRoutes)])
        tcp = routes.tcp([s for s in statements if isinstance(s, n.TcpRoutes)])
        program = t.Program(vocabulary, tuple(r.rule for r in checked), http, tcp)
        if not report.has_errors:
            check_escapes(((r.rule, r.escapes) for r in checked), report)
        whole = not any(m.broken for m in modules)  # else a name may be missing only because its file is broken
        tests = _tests(modules, vocabulary, expressions, names, report if whole else Report())
        used |= expressions.used
        complete = whole and not report.has_errors
        if complete:
            lint(modules, program, definitions, used, report)
        silence(modules, report, complete=complete)
        return Checked(program, tests, tuple(report.diagnostics))

    # ---- definitions

    def _definitions(
        self, modules: tuple[n.Module, ...], vocabulary: Vocabulary, report: Report, used: set[str]
    ) -> dict[str, dict[str, n.Define]]:
        """Definitions by package. A package sees its own."""
        found: dict[str, dict[str, n.Define]] = {}
        for module in modules:
            own = found.setdefault(package_of(module), {})
            for node in module.statements:
                if not isinstance(node, n.Define):
                    continue
                name = node.name.text
                if name in own:
                    place = own[name].name.span.location
                    report.say("duplicate_declaration", f"`{name}` is defined twice; first at {place}", node.name.span)
                elif name in vocabulary.relations or name in ("ip", "cidr"):
                    report.say("duplicate_declaration", f"`{name}` is a relation or built in", node.name.span)
                else:
                    own[name] = node
        for own in found.values():
            _refuse_recursion(own, report)
            if not report.has_errors:
                _refuse_large(own, report)
            checker = ExpressionChecker(vocabulary, own, report)
            if not report.has_errors:
                for define in own.values():
                    checker.check_definition(define)
            used |= checker.used
        return found

    # ---- rules

    def _rules(
        self,
        modules: tuple[n.Module, ...],
        vocabulary: Vocabulary,
        definitions: Mapping[str, Mapping[str, n.Define]],
        names: Mapping[str, Mapping[str, str]],
        report: Report,
        used: set[str],
    ) -> tuple[_CheckedRule, ...]:
        """The rules in order of name: the order of files and lines is forgotten here."""
        surroundings = (vocabulary, {p: dict(d) for p, d in definitions.items()})
        if surroundings != self._surroundings:
            self._surroundings, self._memory = surroundings, {}
        memory, self._memory = self._memory, {}
        found: dict[str, _CheckedRule] = {}
        nodes: dict[str, n.Rule] = {}
        expanded = instances = 0
        for module in modules:
            package = package_of(module)
            for node in module.statements:
                if not isinstance(node, n.Rule):
                    continue
                name = names[package][node.name.text]
                if name in nodes:
                    _check_homonym(nodes[name], node, report)
                    continue
                nodes[name] = node
                key = (id(node), name)
                known = memory.get(key)
                checked = known[1] if known else _check_rule(node, name, package, vocabulary, definitions[package])
                self._memory[key] = (node, checked)
                report.diagnostics += checked.diagnostics
                used |= checked.used
                found[name] = checked
                expanded += checked.expanded
                instances += sum(map(len, checked.rule.instances.values()))
                if expanded > EXPANDED_TOTAL_MAX or instances > INSTANCES_TOTAL_MAX:
                    hint = "make the definitions smaller, or the many rules rows of a relation"
                    report.say(
                        "too_costly",
                        "the rules, written out for all that they meet, are too large",
                        node.name.span,
                        hint,
                    )
                    return tuple(found.values())
        if len(found) > RULES_MAX:
            hint = "what is many is data: make it rows of a relation"
            report.say("too_many_rules", f"at most {RULES_MAX} rules, found {len(found)}", None, hint)
        return tuple(found[name] for name in sorted(found))


def _check_rule(
    node: n.Rule, name: str, package: str, vocabulary: Vocabulary, definitions: Mapping[str, n.Define]
) -> _CheckedRule:
    report = Report()
    expressions = ExpressionChecker(vocabulary, definitions, report)
    rule = RuleChecker(vocabulary, expressions, report).check(node, name, package)
    escapes: tuple[Escape, ...] = ()
    if not report.has_errors:
        lint_rule(rule, report)
        escapes = escapes_of(rule)
    check_trust(node, rule, escapes, report)
    check_own_escapes(rule, escapes, report)
    return _CheckedRule(rule, tuple(report.diagnostics), frozenset(expressions.used), expressions.expanded, escapes)


def package_of(module: n.Module) -> str:
    return ".".join(module.package)


def _check_pins(modules: tuple[n.Module, ...], report: Report) -> None:
    for module in modules:
        if module.version is not None and module.version != LANGUAGE_VERSION:
            message = f"this compiler knows language {LANGUAGE_VERSION}, not {module.version}"
            report.say("unknown_language", message, module.pin_span)
    unpinned = [m for m in modules if m.version is None and m.statements]
    if unpinned and not any(m.version is not None for m in modules):
        module = unpinned[0]
        hint = "start the file with `language 1`, so that it means the same for ever"
        report.say("missing_pin", "no file says which version of the language it is in", module.statements[0].span, hint)


def _check_test_files(modules: tuple[n.Module, ...], report: Report) -> None:
    """Nothing that a file of tests says is in force, so a rule there would be tested and not enforced."""
    for module in modules:
        if module.source.is_tests:
            for node in module.statements:
                if not isinstance(node, n.Test):
                    hint = f"move it to a file whose name does not end in `{TEST_SUFFIX}`"
                    message = "a file of tests holds nothing but tests; a decision point serves without it"
                    report.say("not_a_test", message, node.span, hint)


def _rule_names(modules: tuple[n.Module, ...], report: Report) -> dict[str, dict[str, str]]:
    """By package: short name -> the name in decisions, which has its package only where that is needed."""
    packages: dict[str, set[str]] = {}
    by_package: dict[str, list[str]] = {}
    for module in modules:
        package = package_of(module)
        own = by_package.setdefault(package, [])
        for node in module.statements:
            if isinstance(node, n.Rule):
                own.append(node.name.text)
                packages.setdefault(node.name.text, set()).add(package)
                if "." in node.name.text:
                    report.say("bad_rule_name", "a rule's name has no dots", node.name.span)
    return {
        package: {short: short if len(packages[short]) == 1 else f"{package}.{short}" if package else short for short in own}
        for package, own in by_package.items()
    }


def _check_homonym(first: n.Rule, second: n.Rule, report: Report) -> None:
    """Saying a rule twice means nothing (L2); two rules of one name that differ are refused."""
    place = first.name.span.location
    if (first.effect, set(first.clauses)) == (second.effect, set(second.clauses)):
        report.say("repeated_rule", f"`{second.name}` stands at {place} already, word for word", second.name.span)
    else:
        report.say("duplicate_rule", f"another rule `{second.name}` stands at {place}", second.name.span)


def _refuse_recursion(own: Mapping[str, n.Define], report: Report) -> None:
    calls = {name: _calls(define.body).keys() & own.keys() for name, define in own.items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            cycle = " -> ".join([*path[path.index(name) :], name])
            report.say("recursive_definition", f"a definition uses itself: {cycle}", own[name].name.span)
            done.update(path)
        elif name not in done:
            if len(path) >= DEFINITIONS_DEPTH_MAX:
                message = f"definitions build on each other at most {DEFINITIONS_DEPTH_MAX} deep"
                report.say("nesting_too_deep", message, own[name].name.span)
                done.update(path)
                return
            for called in sorted(calls[name]):
                visit(called, (*path, name))
            done.add(name)

    for name in sorted(own):
        visit(name, ())


def _refuse_large(own: Mapping[str, n.Define], report: Report) -> None:
    """A definition written out where it is called, with all that it calls, has a bounded size."""
    sizes: dict[str, int] = {}

    def size(name: str) -> int:
        if name not in sizes:
            calls = _calls(own[name].body)
            sizes[name] = calls.total() + sum(size(called) * times for called, times in calls.items() if called in own)
            if sizes[name] > EXPANDED_NODES_MAX:
                report.say("too_costly", f"`{name}`, with what it calls, is too large", own[name].name.span)
                sizes[name] = 0  # said once, where it first grows too large
        return sizes[name]

    for name in sorted(own):
        size(name)


def _calls(expr: n.Expr) -> Counter[str]:
    """How often each name is called in an expression; nodes that call nothing count under no name."""
    found: Counter[str] = Counter()
    waiting: list[object] = [expr]
    while waiting:
        node = waiting.pop()
        if isinstance(node, n.Expression):
            found[node.name.text if isinstance(node, n.Call) else ""] += 1
        if isinstance(node, tuple):
            waiting += node
        elif isinstance(node, n.Expression):
            waiting += [getattr(node, name) for name in node.__dataclass_fields__ if name not in ("span", "depth")]
    return found


def _tests(
    modules: tuple[n.Module, ...],
    vocabulary: Vocabulary,
    expressions: ExpressionChecker,
    names: Mapping[str, Mapping[str, str]],
    report: Report,
) -> tuple[PolicyTest, ...]:
    checker = TestChecker(vocabulary, ExpressionChecker(vocabulary, expressions.definitions, report), names, report)
    found: list[PolicyTest] = []
    seen: dict[tuple[str, str], n.Test] = {}
    for module in modules:
        for node in module.statements:
            if isinstance(node, n.Test):
                key = (package_of(module), node.name)
                if key in seen:
                    place = seen[key].span.location
                    report.say("duplicate_declaration", f"another test has this name at {place}", node.span)
                seen.setdefault(key, node)
                found += checker.check(node, key[0])
    return tuple(found)
