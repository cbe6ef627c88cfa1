"""Results -> text, JSON, JUnit. Values in, text out; the verbs do the printing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import typer

from language import (
    Answer,
    ClauseCoverage,
    Diagnostic,
    ExplainedConjunct,
    ExplainedRule,
    RuleError,
    Span,
    TestResult,
    format_instant,
    printable,
    render,
)
from pdp.model.decision import Decision

DIAGNOSTICS_SHOWN_MAX = 200
OK, FINDING, USAGE, NOT_COMPILED, INTERNAL = range(5)


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"


class CheckFormat(StrEnum):
    TEXT = "text"
    JSON = "json"
    GITHUB = "github"


class TestFormat(StrEnum):
    __test__ = False

    TEXT = "text"
    JSON = "json"
    JUNIT = "junit"


def wanted_format(arguments: Sequence[str]) -> str:
    """The `--format` of a command line that ended before its verb could print."""
    for word, value in zip(arguments, [*arguments[1:], ""], strict=True):
        if word.startswith("--format="):
            return word.partition("=")[2]
        if word == "--format":
            return value
    words = [a.upper().replace("-", "_") for a in arguments[1:] if not a.startswith("-")]
    names = ["_".join(words[:count]) for count in (1, 2)]  # `check`, and `log replay`
    found = next((f for n in names if (f := os.environ.get(f"PDP_{n}_FORMAT"))), None)
    return found or os.environ.get("PDP_FORMAT", "text")


def dump(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


# ---- diagnostics


def print_diagnostics(diagnostics: Iterable[Diagnostic], how: str) -> None:
    found = list(diagnostics)
    if how == "json":
        typer.echo(dump({"diagnostics": [d.as_json() for d in found]}))
        return
    for diagnostic in found[:DIAGNOSTICS_SHOWN_MAX]:
        typer.echo(_github(diagnostic) if how == "github" else render(diagnostic))
    if len(found) > DIAGNOSTICS_SHOWN_MAX:
        typer.echo(f"… and {len(found) - DIAGNOSTICS_SHOWN_MAX} more; `--format json` prints them all", err=True)
    errors = sum(d.is_error for d in found)
    if errors and how != "github":
        typer.echo(f"{counted(errors, 'error')}; `pdp explain-code CODE` says more about a code", err=True)


def _github(diagnostic: Diagnostic) -> str:
    place = ""
    if diagnostic.span is not None:
        line, column = diagnostic.span.source.position(diagnostic.span.start)
        place = f" file={diagnostic.span.source.path},line={line},col={column},title={diagnostic.code}"
    message = diagnostic.message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return f"::{diagnostic.severity.value}{place}::{message}"


def counted(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


# ---- decisions


def decision_json(decision: Decision) -> dict[str, Any]:
    return {
        "decision": "allow" if decision.allowed else "deny",
        "allowed": decision.allowed,
        "reason": decision.reason,
        "rule": decision.rule,
        "because": decision.because,
        "errors": [_error_json(e) for e in decision.errors],
        "valid_until": _moment(decision.valid_until_us),
        "fresh_until": _moment(decision.fresh_until_us),
        "bounded_by": decision.bounded_by,
        "generation": decision.generation,
        "id": decision.id,
    }


def _error_json(error: RuleError) -> dict[str, Any]:
    return {"rule": error.rule, "code": error.code, "message": error.message, "at": error.span.location}


def _moment(microseconds: int) -> str | None:
    from language import FOREVER

    return None if microseconds >= FOREVER else format_instant(microseconds)


def decision_text(decision: Decision) -> str:
    """One line that says what was decided, by what, why, and until when."""
    parts = ["allow" if decision.allowed else "deny"]
    parts += [f"by {decision.rule}"] if decision.rule else []
    if not decision.allowed and decision.reason != "denied":
        parts.append(f"because {decision.reason}")
    if decision.because:
        parts.append(f"({printable(decision.because)})")
    if until := _moment(decision.valid_until_us):
        parts.append(f"until {until}" + (f" ({decision.bounded_by})" if decision.bounded_by else ""))
    lines = [" ".join(parts)]
    lines += [f"  error in {e.rule}: {printable(e.message)} at {e.span.location}" for e in decision.errors]
    return "\n".join(lines)


# ---- explanations

SHOWN_MAX = 20


def answer_json(answer: Answer) -> list[dict[str, Any]]:
    return [
        {
            "rule": rule.rule,
            "effect": rule.effect,
            "applies": rule.truth,
            "because": rule.because,
            "at": rule.span.location,
            "until": _moment(rule.until) if rule.until is not None else None,
            "conditions": [_conjunct_json(c) for c in rule.conjuncts],
        }
        for rule in answer.considered
    ]


def _conjunct_json(conjunct: ExplainedConjunct) -> dict[str, Any]:
    return {
        "clause": conjunct.clause,
        "text": conjunct.text,
        "value": conjunct.truth,
        "until": _moment(conjunct.until) if conjunct.until is not None else None,
        "at": conjunct.span.location,
        "read": {r.source: r.value for r in conjunct.readings},
        "error": conjunct.error,
    }


def answer_text(answer: Answer) -> str:
    """Each rule that was considered, the nearest first: what it was missing, with the values that were read."""
    lines: list[str] = []
    nearest = _nearest(answer)
    for rule in answer.considered[:SHOWN_MAX]:
        lines += _rule_lines(rule, nearest=rule is nearest)
    if len(answer.considered) > SHOWN_MAX:
        lines.append(f"… and {counted(len(answer.considered) - SHOWN_MAX, 'rule')} further away")
    if not answer.is_whole:
        lines.append(f"the explanation is not whole: {answer.errors[0].message}")
    elif not answer.considered:
        lines.append("no rule is about this action on this type of resource")
    return "\n".join(lines)


def _nearest(answer: Answer) -> ExplainedRule | None:
    """The allow that was missing least, unless something was allowed, or a deny decided."""
    if any(r.truth == "true" or (r.truth == "error" and r.effect == "deny") for r in answer.considered):
        return None
    return next((r for r in answer.considered if r.effect == "allow"), None)


_WORDS = {"true": "applies", "false": "does not apply", "error": "is in error"}


def _rule_lines(rule: ExplainedRule, *, nearest: bool) -> list[str]:
    mark = "  <- came nearest" if nearest else ""
    lines = [f"{rule.effect} {rule.rule} {_WORDS[rule.truth]}  ({rule.span.location}){mark}"]
    clauses = _clauses(rule.conjuncts)
    if rule.truth != "true":  # what is false settles a rule; what is in error beside it does not matter
        clauses = [c for c in clauses if c[0].truth == rule.truth]
    for parts in clauses:
        lines.append(f"    {_MARKS[parts[0].truth]} {_conjunct_text(parts[0])}")
        readings = dict.fromkeys((r.source, r.value) for part in parts for r in part.readings)
        errors = [part.error for part in parts if part.error and not any(part.error in value for _, value in readings)]
        lines += [f"        {printable(error)}" for error in errors]
        lines += [f"        {printable(source)} is {printable(value)}" for source, value in readings]
    return lines


def _clauses(conjuncts: Sequence[ExplainedConjunct]) -> list[list[ExplainedConjunct]]:
    """Conjuncts of one clause together, those that failed before those that did not."""
    found: dict[Span, list[ExplainedConjunct]] = {}
    for conjunct in conjuncts:
        found.setdefault(conjunct.span, []).append(conjunct)
    order = {"false": 0, "error": 1, "true": 2}
    return [sorted(parts, key=lambda p: order[p.truth]) for parts in found.values()]


_MARKS = {"true": "+", "false": "-", "error": "!"}


def _conjunct_text(conjunct: ExplainedConjunct) -> str:
    text = printable(conjunct.text)
    word = conjunct.clause
    shown = text if text.split(" ")[0] == word else f"{word} {text}"
    if conjunct.until is not None:
        shown += f"   [{conjunct.truth} until {format_instant(conjunct.until)}]"
    return shown


# ---- tests


def results_text(results: Sequence[TestResult], *, verbose: bool) -> str:
    lines = []
    for result in results:
        if result.passed:
            if verbose:
                lines.append(f"ok    {printable(result.test.full_name)}")
            continue
        lines.append(f"FAIL  {printable(result.test.full_name)}  ({result.test.span.location})")
        for failure in result.failures:
            lines.append(f"  {failure.span.location}: {failure.message}")
            lines.append(f"    {' '.join(failure.span.text.split())[:160]}")
            if failure.answer is not None:
                lines += ["    " + line for line in answer_text(failure.answer).split("\n")]
    return "\n".join(lines)


def results_summary(results: Sequence[TestResult]) -> str:
    failed = sum(not r.passed for r in results)
    checks = sum(r.checks for r in results)
    return f"{len(results) - failed} passed, {failed} failed ({counted(checks, 'check')})"


def results_json(results: Sequence[TestResult]) -> list[dict[str, Any]]:
    return [
        {
            "name": result.test.full_name,
            "passed": result.passed,
            "checks": result.checks,
            "at": result.test.span.location,
            "failures": [{"message": f.message, "at": f.span.location} for f in result.failures],
        }
        for result in results
    ]


def results_junit(results: Sequence[TestResult]) -> str:
    failed = sum(not r.passed for r in results)
    suite = ElementTree.Element("testsuite", name="pdp test", tests=str(len(results)), failures=str(failed))
    for result in results:
        path = result.test.span.source.path
        case = ElementTree.SubElement(
            suite, "testcase", name=_xml(result.test.full_name), classname=Path(path).stem, file=path,
            line=str(result.test.span.line),
        )  # fmt: skip
        for failure in result.failures:
            told = ElementTree.SubElement(case, "failure", message=_xml(failure.message))
            told.text = _xml(f"{failure.span.location}: {failure.span.text}")
    suites = ElementTree.Element("testsuites", tests=str(len(results)), failures=str(failed))
    suites.append(suite)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def _xml(text: str) -> str:
    """XML has no place for control characters."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def coverage_percent(clauses: Sequence[ClauseCoverage]) -> float:
    """Of each clause two things can be seen: true and false."""
    seen = sum(c.seen_true + c.seen_false for c in clauses)
    return 100.0 * seen / (2 * len(clauses)) if clauses else 100.0


def coverage_text(clauses: Sequence[ClauseCoverage]) -> str:
    lines = []
    for clause in clauses:
        missing = [word for word, seen in (("true", clause.seen_true), ("false", clause.seen_false)) if not seen]
        if missing:
            text = " ".join(clause.span.text.split())
            lines.append(f"  {clause.span.location}: {clause.rule}: `{text[:80]}` never {' nor '.join(missing)}")
    head = f"coverage: {coverage_percent(clauses):.1f} % of {counted(len(clauses), 'clause')} seen true and false"
    return "\n".join([head, *lines])


def coverage_json(clauses: Sequence[ClauseCoverage]) -> dict[str, Any]:
    return {
        "percent": round(coverage_percent(clauses), 2),
        "clauses": [
            {"rule": c.rule, "clause": c.clause, "at": c.span.location, "true": c.seen_true, "false": c.seen_false}
            for c in clauses
        ],
    }
