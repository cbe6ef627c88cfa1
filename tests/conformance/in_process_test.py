"""The conformance pack through `pdp.Engine`: by keywords, by a prebuilt request, among many, explained."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import pdp
from language import CODES, NotRouted, Severity, route_http, route_tcp
from pdp.cli.report import decision_json
from pdp.store.requests import request_from
from pdp.store.strict_data import BadData
from tests.conformance import pack
from tests.conformance.pack import Case, differences, expected_rules, read_cases

CASES = read_cases()
Way = Callable[[pdp.Engine, pdp.Request, str], pdp.Decision]


@cache
def engine(folder: Path) -> pdp.Engine:
    return pdp.Engine.load(folder)


def by_keywords(engine: pdp.Engine, request: pdp.Request, at: str) -> pdp.Decision:
    told = {f.name: getattr(request, f.name) for f in fields(request) if f.init}
    return engine.check(**told, now=at)


def prebuilt(engine: pdp.Engine, request: pdp.Request, at: str) -> pdp.Decision:
    return engine.check(request, now=at)


def asked_again(engine: pdp.Engine, request: pdp.Request, at: str) -> pdp.Decision:
    """What is remembered of the first answer must not show in the second."""
    engine.check(request, now=at)
    return engine.check(request, now=at)


def among_many(engine: pdp.Engine, request: pdp.Request, at: str) -> pdp.Decision:
    first, second = engine.check_many([request, request], now=at)
    assert (first.outcome, first.valid_until_us) == (second.outcome, second.valid_until_us)
    assert first.id != second.id
    return second


def explained(engine: pdp.Engine, request: pdp.Request, at: str) -> pdp.Decision:
    return engine.explain(request, now=at).decision


WAYS: Mapping[str, Way] = {f.__name__: f for f in (by_keywords, prebuilt, asked_again, among_many, explained)}


def answer(case: Case, way: Way) -> Mapping[str, Any]:
    """What a way says to a case, in the form that the pack compares."""
    asked = engine(case.folder)
    try:
        request = request_from(routed(case, asked))
    except NotRouted as refused:
        return {
            "allowed": False,
            "reason": refused.code,
            **dict.fromkeys(("rule", "valid_until", "bounded_by")),
            "errors": [],
        }
    except BadData:
        return {"error": "invalid_request"}
    try:
        return decision_json(way(asked, request, case.at))
    except pdp.PdpError as error:
        return {"error": error.code}


def routed(case: Case, asked: pdp.Engine) -> dict[str, Any]:
    """The request of a case; what a gate was asked is given its meaning by the routes of the set."""
    if case.http is not None:
        http = case.http
        found = route_http(asked.bundle.program, http["method"], http["host"], http["target"], http.get("headers"))
    elif case.tcp is not None:
        found = route_tcp(asked.bundle.program, case.tcp)
    else:
        return dict(case.request)
    meaning = {"action": found.action, "resource": [found.resource_type, found.resource_id], "context": dict(found.context)}
    return {**case.request, **meaning}


def parameters() -> list[Any]:
    return [pytest.param(c, id=str(c), marks=[pytest.mark.xfail(reason=c.differs)] if c.differs else []) for c in CASES]


@pytest.mark.parametrize("case", parameters())
def test_case(case: Case) -> None:
    found = {name: differences(case.expected, answer(case, way)) for name, way in WAYS.items()}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize("case", [c for c in CASES if expected_rules(c.expected)], ids=str)
def test_an_explanation_has_every_rule_that_decides(case: Case) -> None:
    explanation = engine(case.folder).explain(request_from(routed(case, engine(case.folder))), now=case.at)
    assert explanation.answer is not None
    assert set(explanation.answer.rules) == expected_rules(case.expected)


# ---- the pack itself


#: `absent` is no cause of an error that the checker lets through: what may be absent is read under a guard only (L6).
#: `absent` is never a cause where the checker demands guards; two need a history that a single request has not;
#: how many steps there are is for each decision point to say.
WITHOUT_CASE = {"absent", "revoked", "credential_ended", "out_of_steps"}


def test_every_reason_has_a_case() -> None:
    told = {c.expected.get("reason") for c in CASES} | {e["code"] for c in CASES for e in c.expected.get("errors", [])}
    reasons = {name for name, code in CODES.items() if code.severity is Severity.REASON} | {"unknown_action"}
    assert reasons - told == WITHOUT_CASE


def test_each_case_says_why_and_has_a_name_of_its_own() -> None:
    assert len({str(c) for c in CASES}) == len(CASES)
    assert all(c.why for c in CASES)


def test_every_rule_of_the_pack_decides_a_case() -> None:
    decided = {(c.set, rule) for c in CASES for rule in expected_rules(c.expected)}
    rules = {(c.set, r.name) for c in CASES for r in engine(c.folder).bundle.program.rules}
    assert rules - decided == set()


ALLOW = {"allowed": True, "reason": "allowed", "rule": "r", "valid_until": "2026-01-01T00:00:00Z", "bounded_by": "rule r"}
TOLD = {**ALLOW, "because": None, "errors": [{"rule": "x", "code": "overflow", "message": "", "at": ""}]}
EXPECTED = {**ALLOW, "errors": [{"rule": "x", "code": "overflow"}]}


@pytest.mark.parametrize(
    ("expected", "told", "found"),
    [
        (EXPECTED, TOLD, []),
        ({**EXPECTED, "allowed": False}, TOLD, ["allowed"]),
        ({**EXPECTED, "reason": "denied"}, TOLD, ["reason"]),
        ({**EXPECTED, "because": "why"}, TOLD, ["because"]),
        ({k: v for k, v in EXPECTED.items() if k != "rule"}, TOLD, ["rule"]),
        ({k: v for k, v in EXPECTED.items() if k != "rule"} | {"rules": ["q", "r"]}, TOLD, []),
        ({k: v for k, v in EXPECTED.items() if k != "valid_until"}, TOLD, ["valid_until"]),
        ({k: v for k, v in EXPECTED.items() if k != "bounded_by"}, TOLD, ["bounded_by"]),
        ({k: v for k, v in EXPECTED.items() if k != "errors"}, TOLD, ["errors"]),
        ({**EXPECTED, "errors": [{"rule": "x", "code": "absent"}]}, TOLD, ["errors"]),
        ({"error": "invalid_request"}, TOLD, ["error"]),
        (EXPECTED, {"error": "invalid_request"}, ["error"]),
        ({"error": "invalid_request"}, {"error": "invalid_data"}, ["error"]),
        ({"error": "invalid_request"}, {"error": "invalid_request"}, []),
    ],
)
def test_a_difference_is_seen(expected: Mapping[str, Any], told: Mapping[str, Any], found: list[str]) -> None:
    assert [line.split(":")[0] for line in differences(expected, told)] == found


@pytest.mark.parametrize("key", ["expect", "requests"])
def test_a_misspelled_key_is_no_case(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = {"name": "n", "why": "w", "expected": {"allowed": True}, key: {}}
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "cases.json").write_text(json.dumps({"about": "", "at": "", "request": {}, "cases": [case]}))
    monkeypatch.setattr(pack, "HERE", tmp_path)
    with pytest.raises(ValueError, match=f"unknown {key}"):
        read_cases()
