"""Reads the conformance pack: cases as data, and the comparison of an answer with what a case expects.

Every way in is run against it, so nothing here decides: a way turns a case into its own kind of request and its answer into
the form of `pdp eval --format json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

_FILE_KEYS = {"about", "at", "request", "cases"}
_CASE_KEYS = {"name", "why", "at", "request", "http", "tcp", "expected", "differs"}
_EXPECTED_KEYS = {"allowed", "reason", "rule", "rules", "because", "valid_until", "bounded_by", "errors"}


@dataclass(frozen=True, slots=True)
class Case:
    """One question, at one moment, with its answer."""

    set: str
    name: str
    why: str
    at: str
    request: Mapping[str, Any]  # the content of a request file
    http: Mapping[str, Any] | None  # what a gate was asked, in place of action, resource and context
    tcp: str | None  # the verified destination of a connection, likewise
    expected: Mapping[str, Any]
    differs: str | None  # in which way today's engine is known to answer otherwise

    @property
    def folder(self) -> Path:
        return HERE / self.set

    def __str__(self) -> str:
        return f"{self.set}: {self.name}"


def read_cases() -> tuple[Case, ...]:
    """Every case of every set, in order of set and place."""
    return tuple(case for path in sorted(HERE.glob("*/cases.json")) for case in _cases(path))


def _cases(path: Path) -> list[Case]:
    content = json.loads(path.read_text("utf-8"))
    _demand_keys(content, _FILE_KEYS, str(path))
    found = []
    for told in content["cases"]:
        where = f"{path}: {told.get('name')}"
        _demand_keys(told, _CASE_KEYS, where)
        expected = told["expected"]
        _demand_keys(expected, {"error"} if "error" in expected else _EXPECTED_KEYS, where)
        found.append(
            Case(
                set=path.parent.name,
                name=told["name"],
                why=told["why"],
                at=told.get("at", content["at"]),
                request=_merged(content["request"], told.get("request", {})),
                http=told.get("http"),
                tcp=told.get("tcp"),
                expected=expected,
                differs=told.get("differs"),
            )
        )
    return found


def _merged(usual: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The usual request of the set, with the keys that a case has put whole in their place; null takes one away."""
    return {key: value for key, value in {**usual, **own}.items() if value is not None}


def _demand_keys(told: Mapping[str, Any], known: set[str], where: str) -> None:
    """A key that is misspelled would silently expect nothing."""
    unknown = sorted(told.keys() - known)
    if unknown:
        raise ValueError(f"{where}: unknown {', '.join(unknown)}")


def differences(expected: Mapping[str, Any], told: Mapping[str, Any]) -> list[str]:
    """What an answer says otherwise than expected. `told` is a decision as `pdp eval --format json` prints it, or
    `{"error": CODE}` for a refusal to decide."""
    if "error" in expected or "error" in told:
        return _unequal("error", expected.get("error"), told.get("error"))
    wrong = []
    for key in ("allowed", "reason", "valid_until", "bounded_by"):
        wrong += _unequal(key, expected.get(key), told[key])
    if "because" in expected:
        wrong += _unequal("because", expected["because"], told["because"])
    rules = expected_rules(expected)
    if told["rule"] not in (rules or {None}):
        wrong.append(f"rule: expected {' or '.join(sorted(rules)) or 'none'}, found {told['rule']}")
    errors = {(e["rule"], e["code"]) for e in told["errors"]}
    wrong += _unequal("errors", sorted((e["rule"], e["code"]) for e in expected.get("errors", [])), sorted(errors))
    return wrong


def expected_rules(expected: Mapping[str, Any]) -> set[str]:
    """Every rule that decides: an answer names one of them, an explanation all."""
    return set(expected.get("rules", [expected["rule"]] if "rule" in expected else []))


def _unequal(key: str, expected: Any, found: Any) -> list[str]:
    return [] if expected == found else [f"{key}: expected {expected}, found {found}"]
