"""The table of refusals of handles, proofs and people: each code is given by a test, and none repeats what was presented."""

from __future__ import annotations

import ast
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pdp.grants.handles import Handles
from pdp.grants.refusals import BREACH_SIGNS, HANDLE_REFUSALS, Refused
from pdp.record.entry import BINDING_REASONS
from pdp.tokens.compact import read_compact
from pdp.tokens.refusals import TOKEN_RULES
from tests.pdp.grants import handle_test, people_test, proof_test
from tests.pdp.grants.handles_world import GOOD_PROOF, HANDLE, KEYS, NAMES, NOW, SHOWN, prove

ROOT = Path(__file__).resolve().parents[3]
SOURCES = ("handle", "handles", "issuer_keys", "nonces", "people", "people_keys", "proof", "replay")
CASES = {**handle_test.CASES, **{f"proof {k}": v for k, v in proof_test.CASES.items()}, **people_test.CASES}


def test_every_code_is_given_by_a_test() -> None:
    given = {code for code, _ in CASES.values()} | {"proof_replayed"}
    assert [code for code in HANDLE_REFUSALS if code not in given] == []


def test_every_code_that_is_raised_is_in_the_table() -> None:
    raised = set()
    for name in SOURCES:
        for node in ast.walk(ast.parse((ROOT / "pdp" / "grants" / f"{name}.py").read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in HANDLE_REFUSALS:
                raised.add(node.value)
    assert HANDLE_REFUSALS.keys() - TOKEN_RULES.keys() <= raised


def test_breach_signs_are_what_the_record_calls_so() -> None:
    assert HANDLE_REFUSALS.keys() >= BREACH_SIGNS
    assert BREACH_SIGNS <= BINDING_REASONS


def test_explanations_are_sentences_of_ours() -> None:
    for code, rule in HANDLE_REFUSALS.items():
        assert re.fullmatch(r"[a-z0-9_]+", code)
        assert re.fullmatch(r"[A-Z]+-\d+", rule.number)
        assert len(rule.says) > 10
        assert not rule.says.endswith(".")


@pytest.mark.parametrize("kind", ["Handle", "ProvenRequest", "Person"])
def test_what_means_verified_has_one_maker(kind: str) -> None:
    places = []
    for path in (ROOT / "pdp").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == kind:
                places.append(path.name)
    assert len(places) == 1


# ---- canaries: nothing of what was presented


def refusals() -> Iterator[tuple[str, Callable[[], Any]]]:
    for name, (_, call) in CASES.items():
        yield name, call


@pytest.mark.parametrize(("name", "call"), list(refusals()), ids=lambda v: v if isinstance(v, str) else "")
def test_no_refusal_shows_what_was_presented(name: str, call: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every token that is read while the case runs is a secret, in whole and in parts."""
    presented: list[str] = []

    def noting(token: str, *rest: Any) -> Any:
        presented.append(token)
        return read_compact(token, *rest)

    for module in ("handle", "proof", "people"):
        monkeypatch.setattr(f"pdp.grants.{module}.read_compact", noting)
    with pytest.raises(Refused) as caught:
        call()
    shown: list[str] = []
    error: BaseException | None = caught.value
    while error is not None:
        shown += [
            str(error),
            repr(error),
            *map(repr, error.args),
            repr(vars(error)),
            *traceback.format_exception_only(error),
        ]
        error = error.__context__ or error.__cause__
    text = "\n".join(shown)
    for secret in presented:
        for part in canaries(secret):
            assert part not in text


def canaries(secret: str) -> list[str]:
    """Every stretch of twelve letters, but for runs of one letter."""
    return [secret[i : i + 12] for i in range(0, max(1, len(secret) - 12), 6) if len(set(secret[i : i + 12])) > 3]


def test_no_repr_shows_a_token() -> None:
    handles = Handles(NAMES)
    handles.read(HANDLE, KEYS, NOW)
    things = [handle_test.read(), prove(GOOD_PROOF), people_test.verify(), people_test.ISSUER, SHOWN, KEYS, handles]
    text = "\n".join(map(repr, [*things, read_compact(HANDLE), read_compact(GOOD_PROOF)]))
    for secret in (HANDLE, GOOD_PROOF, people_test.GOOD):
        for part in canaries(secret):
            assert part not in text
